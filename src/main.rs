//! x
fn main(){println!("hi");}

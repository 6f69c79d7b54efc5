//! Gives the linker the order in which the launcher's code lies (src/start.ld), and its first instruction.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the folder");
    println!("cargo:rerun-if-changed=src/start.ld");
    println!("cargo:rustc-link-arg-bin=rcache=-T");
    println!("cargo:rustc-link-arg-bin=rcache={folder}/src/start.ld");
    let target = |name: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if target("ARCH") == "x86_64" && target("OS") == "linux" {
        println!("cargo:rustc-link-arg-bin=rcache=-Wl,--entry=rcache_start");
    }
}

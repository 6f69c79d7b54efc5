//! What a call means: its settings, its compiler, its options, its source, and what else counts.

pub mod besides;
pub mod compilers;
pub mod day;
pub mod modules;
pub mod settings;
pub mod unit;

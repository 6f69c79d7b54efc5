//! Traps: what some compiler cache is known to answer wrongly. docs/soundness.md lists them all.

mod compiler;
mod environment;
mod files;
mod outputs;
mod place;
mod precompiled;
mod text;

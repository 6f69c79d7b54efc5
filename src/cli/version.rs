//! What `rcache --version` says: the version, the commit that it was built from, and what is built in.

/// The version and the commit, in one line without the program's name.
pub const LINE: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("RCACHE_COMMIT"), ")");

/// All that a bug report needs to name a build.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("RCACHE_COMMIT"),
    ")\ntarget: ",
    env!("RCACHE_TARGET"),
    "\nfeatures: ",
    env!("RCACHE_FEATURES"),
);

/// The same with the program's name and the name of this build, by which daemons are told apart.
pub fn text() -> String {
    format!("rcache {LONG}\nbuild: {}\n", talk::launcher_protocol::BUILD)
}

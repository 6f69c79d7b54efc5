//! Gives the linker the order in which the launcher's code lies (src/start.ld), and its first instruction.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the folder");
    println!("cargo:rerun-if-changed=src/start.ld");
    println!("cargo:rustc-link-arg-bin=rcache=-T");
    println!("cargo:rustc-link-arg-bin=rcache={folder}/src/start.ld");
    name_the_build();
    let target = |name: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if ["x86_64", "aarch64"].contains(&target("ARCH").as_str()) && target("OS") == "linux" {
        println!("cargo:rustc-link-arg-bin=rcache=-Wl,--entry=rcache_start");
    }
}

/// What `rcache --version` says. A tree without git (a source package) may name its commit in
/// RCACHE_COMMIT; the same commit gives the same bytes either way.
fn name_the_build() {
    println!("cargo:rerun-if-env-changed=RCACHE_COMMIT");
    let commit = std::env::var("RCACHE_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = commit.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    // Each commit and each checkout adds a line there.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    let commit = commit.unwrap_or_else(|| "unknown commit".to_owned());
    println!("cargo:rustc-env=RCACHE_COMMIT={commit}");
    println!("cargo:rustc-env=RCACHE_TARGET={}", std::env::var("TARGET").unwrap_or_default());
    let is_static = std::env::var("CARGO_CFG_TARGET_FEATURE")
        .is_ok_and(|features| features.split(',').any(|feature| feature == "crt-static"));
    let linked = if is_static { "static" } else { "dynamic" };
    println!("cargo:rustc-env=RCACHE_FEATURES={linked}, distcc, worker, zstd");
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

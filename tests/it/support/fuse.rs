//! `Share`: a folder on a file system of a server's kind, by FUSE.

use super::{Project, run, skip, wait_until};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SCRIPT: &str = include_str!("fuse.py");

/// Far above what a mount needs.
const LIMIT: Duration = Duration::from_secs(60);

/// A folder of a project that lies on a server; it is unmounted at the end.
pub struct Share {
    server: Child,
    mount: PathBuf,
    full: PathBuf,
}

impl Share {
    /// The folder `name` of the project, on a server whose clock is this much ahead. `None`, with a
    /// note for `what`, where FUSE or its Python package is missing.
    pub fn mount(project: &Project, name: &str, ahead_s: i64, what: &str) -> Option<Share> {
        let mut python = Command::new("python3");
        python.args(["-c", "import mfusepy"]).stdin(Stdio::null());
        let has_package = run(&mut python, LIMIT).ok();
        if !has_package || !Path::new("/dev/fuse").exists() {
            skip(what, "it needs /dev/fuse and the Python package mfusepy");
            return None;
        }
        let (mount, real) = (project.path(name), project.beside(&format!("{name}.real")));
        let (script, full) = (project.beside("fuse.py"), project.beside(&format!("{name}.full")));
        std::fs::write(&script, SCRIPT).unwrap();
        std::fs::create_dir_all(&mount).unwrap();
        std::fs::create_dir_all(&real).unwrap();
        let server = Command::new("python3")
            .arg(&script)
            .args([&real, &mount])
            .arg(ahead_s.to_string())
            .arg(&full)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3");
        let mut share = Share { server, mount, full };
        let device = |path: &Path| std::os::unix::fs::MetadataExt::dev(&path.metadata().unwrap());
        let mut ended = false;
        wait_until("the share is mounted", LIMIT, || {
            ended = share.server.try_wait().unwrap().is_some();
            ended || share.mount.metadata().is_ok() && device(&share.mount) != device(&real)
        });
        if ended {
            skip(what, "FUSE cannot be mounted here");
            return None;
        }
        Some(share)
    }

    /// From now on, and until told otherwise, nothing that is written has room.
    pub fn set_full(&self, full: bool) {
        match full {
            true => std::fs::write(&self.full, "").unwrap(),
            false => std::fs::remove_file(&self.full).unwrap(),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        for program in ["fusermount3", "fusermount", "umount"] {
            let lazily = if program == "umount" { vec!["-l"] } else { vec!["-u", "-z"] };
            let mut command = Command::new(program);
            command.args(lazily).arg(&self.mount).stdout(Stdio::null()).stderr(Stdio::null());
            if command.status().is_ok_and(|status| status.success()) {
                break;
            }
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

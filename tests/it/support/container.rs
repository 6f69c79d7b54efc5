//! `Container`: a worker's image in Docker, as a node of a cluster; it is gone after the test.

use super::{LIMIT_BUILD, LIMIT_CALL, Outcome, SYSTEM_PATH, have, rcache_binary, run, skip};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// The status of `tests/image` where this machine can make no image.
const STATUS_CANNOT: i32 = 77;

/// The name of the worker's image with the program under test in it, made by `tests/image`; where
/// that is not possible, `what` is noted as skipped.
pub fn worker_image(what: &str) -> Option<&'static str> {
    static IMAGE: OnceLock<Result<String, String>> = OnceLock::new();
    match IMAGE.get_or_init(make_image) {
        Ok(image) => Some(image),
        Err(why) => {
            skip(what, why);
            None
        }
    }
}

fn make_image() -> Result<String, String> {
    if !have("docker") {
        return Err("docker is not installed".to_owned());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/image");
    let made = run(Command::new(script).arg(rcache_binary()), LIMIT_BUILD);
    match made.status {
        STATUS_CANNOT => Err(made.err().trim().to_owned()),
        _ => Ok(made.success().out().trim().to_owned()),
    }
}

/// Runs `docker WORD…`.
#[track_caller]
pub fn docker(words: &[&str]) -> Outcome {
    run(Command::new("docker").args(words).env("PATH", SYSTEM_PATH), LIMIT_CALL)
}

/// A container that runs.
pub struct Container {
    id: String,
}

impl Container {
    /// `docker run OPTION… IMAGE ARGUMENT…`, in the background.
    #[track_caller]
    pub fn start(options: &[&str], image: &str, arguments: &[&str]) -> Container {
        let words = [&["run", "--detach"], options, &[image], arguments].concat();
        Container { id: docker(&words).success().out().trim().to_owned() }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `docker COMMAND ID`: kill, stop, logs …
    #[track_caller]
    pub fn docker(&self, command: &str) -> Outcome {
        docker(&[command, &self.id])
    }

    /// Sends a signal to its first process. `STOP` and `CONT` pause and resume a worker; `docker
    /// pause` does not do, since some kernels cannot freeze a group of processes that is busy.
    #[track_caller]
    pub fn signal(&self, name: &str) -> Outcome {
        docker(&["kill", "--signal", name, &self.id])
    }

    /// What the engine knows of the container.
    #[track_caller]
    pub fn inspect(&self) -> Value {
        let answer = self.docker("inspect").success();
        serde_json::from_slice::<Value>(&answer.stdout).expect("JSON")[0].clone()
    }

    /// The address at which this machine reaches it.
    #[track_caller]
    pub fn address(&self) -> String {
        let about = self.inspect();
        let address = about["NetworkSettings"]["IPAddress"].as_str().unwrap_or("");
        assert!(!address.is_empty(), "no address: {}\n{:?}", about["State"], self.docker("logs"));
        address.to_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", "--volumes", &self.id]).output();
    }
}

//! The one runtime for all that waits for a network below a miss. A daemon without such hosts starts none.

use std::future::Future;
use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};

/// Threads that drive connections; compilers run elsewhere.
const THREADS: usize = 2;

/// Threads that read files meanwhile.
const FILE_THREADS_MAX: usize = 8;

/// How often whoever waits is asked whether it still waits.
const LOOK_UP: Duration = Duration::from_millis(400);

/// Started when it is first needed.
#[derive(Default)]
pub struct Runtime(OnceLock<Result<tokio::runtime::Runtime, String>>);

impl Runtime {
    /// The runtime, which is started where it does not run yet.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub fn handle(&self) -> Result<&Handle, &str> {
        let started = self.0.get_or_init(|| {
            Builder::new_multi_thread()
                .worker_threads(THREADS)
                .max_blocking_threads(FILE_THREADS_MAX)
                .thread_name("network")
                .enable_all()
                .build()
                .map_err(|error| error.to_string())
        });
        started.as_ref().map(tokio::runtime::Runtime::handle).map_err(String::as_str)
    }
}

/// Does work there, and waits for it here. Where nobody waits any more, the work ends, too.
///
/// # Errors
/// That of `still_waiting`.
pub fn wait<T: Send + 'static>(
    handle: &Handle,
    work: impl Future<Output = T> + Send + 'static,
    still_waiting: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<T> {
    let (sender, receiver) = sync_channel(1);
    let task = handle.spawn(async move {
        // Nobody listens where nobody waits.
        let _ = sender.send(work.await);
    });
    loop {
        match receiver.recv_timeout(LOOK_UP) {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Timeout) => {
                if let Err(error) = still_waiting() {
                    task.abort();
                    return Err(error);
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the work ended without a result"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn work_is_waited_for_and_ends_with_its_customer() {
        let runtime = Runtime::default();
        let handle = runtime.handle().unwrap();
        assert_eq!(wait(handle, async { 7 }, &mut || Ok(())).unwrap(), 7);
        let held = Arc::new(());
        let holder = Arc::clone(&held);
        let endless = async move {
            let _holder = holder;
            std::future::pending::<()>().await;
        };
        let gone = || Err(io::ErrorKind::BrokenPipe.into());
        let ended = wait(handle, endless, &mut { gone }).unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::BrokenPipe);
        while Arc::strong_count(&held) > 1 {
            std::thread::yield_now();
        }
    }
}

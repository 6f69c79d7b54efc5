//! Compilers as the daemon asks for them: the probes run in the launcher's process.

use crate::serve::conversation::Conversation;
use crate::serve::descriptors;
use compiler::outcome::Uncacheable;
use identify::Unidentified;
use std::io;
use talk::launcher_protocol::Run;

pub use identify::{Asker, Compilers, Probed, Prober, driver_name};

/// Why a call is not served as usual.
pub enum Stop {
    /// The launcher is gone.
    Gone(io::Error),
    /// The call is not cached: the launcher is to step aside.
    Uncacheable(Uncacheable),
    /// The compiler failed, and the launcher knows.
    CompileFailed,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        // It is this end that lacks something; the launcher is there.
        match descriptors::shortage(&error) {
            Some(shortage) => Stop::Uncacheable(shortage),
            None => Stop::Gone(error),
        }
    }
}

impl From<Unidentified> for Stop {
    fn from(unidentified: Unidentified) -> Stop {
        match unidentified {
            Unidentified::NoProbe(error) => error.into(),
            Unidentified::Unusable(why) | Unidentified::Stranger(why) => Stop::Uncacheable(why),
        }
    }
}

impl Prober for Conversation {
    fn probe(&mut self, order: Run) -> io::Result<Probed> {
        let mut captured = self.run(order, 0)?;
        let (stdout, stderr) = (captured.stdout()?, captured.stderr()?);
        Ok(Probed { status: captured.status, stdout, stderr })
    }
}

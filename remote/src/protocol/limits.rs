//! How long anything on the wire may be; a peer that claims more is cut off before memory is taken.

use std::time::Duration;

/// An rcache worker says that it lives this often while a job waits or runs.
pub const ALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// An rcache worker that says nothing for this long hangs.
pub const SILENCE_MAX: Duration = Duration::from_secs(12);

/// Words of one command line. Linux allows more, no build uses it.
pub const ARGUMENTS_MAX: u32 = 16_384;

/// One word (Linux's MAX_ARG_STRLEN).
pub const ARGUMENT_BYTES_MAX: u32 = 128 << 10;

/// All words together.
pub const COMMAND_BYTES_MAX: usize = 2 << 20;

/// A text to compile, plain. The largest units of real projects have some 50 MB; a client reads no more
/// than 64 MB from its preprocessor.
pub const SOURCE_BYTES_MAX: usize = 128 << 20;

/// What a compiler printed, plain.
pub const STREAM_BYTES_MAX: usize = 64 << 20;

/// An object file, plain.
pub const OUTPUT_BYTES_MAX: usize = 1 << 30;

/// A description of a worker's compiler.
pub const IDENTITY_BYTES_MAX: usize = 64 << 10;

/// Files of one request of protocol 3, which are read only to be refused.
pub const PUMP_FILES_MAX: u32 = 100_000;

/// All bytes of one request of protocol 3.
pub const PUMP_BYTES_MAX: usize = 512 << 20;

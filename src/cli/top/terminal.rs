//! The terminal while `rcache top` has it: a screen of its own, keys one by one, and all put back at
//! the end, however that comes.

use super::frame::Size;
use crate::cli::signals;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcgetwinsize,
    tcsetattr,
};
use std::io::{self, PipeReader, Read};
use std::sync::{Mutex, Once};

/// The alternate screen, without a cursor (ECMA-48 and xterm's control sequences).
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the first column of the first row.
const HOME: &str = "\x1b[H";
/// The rest of the row, and all below.
const CLEAR_ROW: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// The byte of Ctrl-C, which is a key here: Ctrl-Z must not stop the view with its screen up.
const CONTROL_C: u8 = 3;

/// Used where a terminal does not tell its size, as through a serial line.
const SIZE_UNKNOWN: Size = Size { columns: 80, rows: 24 };

/// How the terminal was; there while it is to be put back.
static BEFORE: Mutex<Option<Before>> = Mutex::new(None);

struct Before {
    /// `None` where standard input is no terminal.
    input: Option<Termios>,
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// There is something to read.
    News,
    /// The size may be another.
    Resized,
    /// It is over, with this status.
    End(u8),
}

/// Whether standard output can show a screen.
pub fn is_capable() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    isatty(io::stdout()) && !dumb
}

/// The terminal; put back when dropped.
pub struct Terminal {
    signals: PipeReader,
    has_keys: bool,
}

impl Terminal {
    /// Takes the terminal.
    pub fn enter() -> io::Result<Terminal> {
        let signals = signals::catch(&[&signals::ENDING[..], &[libc::SIGWINCH]].concat())?;
        let input = tcgetattr(io::stdin()).ok();
        put_back_on_panic();
        *lock() = Some(Before { input: input.clone() });
        let terminal = Terminal { signals, has_keys: input.is_some() };
        if let Some(mut modes) = input {
            modes.local_modes -=
                LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
            modes.special_codes[SpecialCodeIndex::VMIN] = 1;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
        }
        write(ENTER)?;
        Ok(terminal)
    }

    /// Columns and rows.
    pub fn size(&self) -> Size {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                Size { columns: size.ws_col.into(), rows: size.ws_row.into() }
            }
            _ => SIZE_UNKNOWN,
        }
    }

    /// Shows lines that fit in place of those before, in one write: nothing flickers.
    pub fn show(&mut self, lines: &[String]) -> io::Result<()> {
        write(&whole(lines))
    }

    /// Waits for a key, a signal, or `news`.
    pub fn wait(&mut self, news: &PipeReader) -> io::Result<Event> {
        loop {
            let stdin = io::stdin();
            let mut polled =
                vec![PollFd::new(&self.signals, PollFlags::IN), PollFd::new(news, PollFlags::IN)];
            polled.extend(self.has_keys.then(|| PollFd::new(&stdin, PollFlags::IN)));
            match poll(&mut polled, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let happened: Vec<bool> =
                polled.iter().map(|polled| !polled.revents().is_empty()).collect();
            drop(polled);
            if happened[0] {
                return self.signal();
            }
            if happened.get(2) == Some(&true) && self.is_end_key() {
                return Ok(Event::End(0));
            }
            if happened[1] {
                return Ok(Event::News);
            }
        }
    }

    fn signal(&mut self) -> io::Result<Event> {
        let mut signal = [0];
        self.signals.read_exact(&mut signal)?;
        match i32::from(signal[0]) {
            libc::SIGWINCH => Ok(Event::Resized),
            _ => Ok(Event::End(signals::status_of(signal[0]))),
        }
    }

    fn is_end_key(&mut self) -> bool {
        let mut keys = [0; 64];
        // Not through std's buffer, which poll cannot see.
        match rustix::io::read(io::stdin(), &mut keys) {
            Ok(0) => {
                self.has_keys = false;
                false
            }
            Ok(count) => keys[..count].iter().any(|key| matches!(key, b'q' | b'Q' | &CONTROL_C)),
            Err(Errno::INTR | Errno::AGAIN) => false,
            Err(_) => {
                self.has_keys = false;
                false
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        put_back();
    }
}

/// The frame as the terminal gets it. Each row is overwritten and its rest cleared, so that nothing
/// is blank in between.
fn whole(lines: &[String]) -> String {
    let mut text = String::from(HOME);
    for (index, line) in lines.iter().enumerate() {
        text += if index > 0 { "\r\n" } else { "" };
        text += line;
        text += CLEAR_ROW;
    }
    text + CLEAR_BELOW
}

fn write(text: &str) -> io::Result<()> {
    // std would write what follows the last newline apart.
    let mut left = text.as_bytes();
    while !left.is_empty() {
        match rustix::io::write(io::stdout(), left) {
            Ok(count) => left = &left[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn put_back() {
    if let Some(before) = lock().take() {
        // A terminal that is gone needs nothing.
        let _ = write(LEAVE);
        if let Some(modes) = before.input {
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &modes);
        }
    }
}

/// What a panic says belongs on the screen that stays.
fn put_back_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            put_back();
            previous(panic);
        }));
    });
}

fn lock() -> std::sync::MutexGuard<'static, Option<Before>> {
    BEFORE.lock().unwrap_or_else(|poison| poison.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_text_that_clears_only_what_it_leaves() {
        let lines = ["one".to_owned(), "two".to_owned()];
        assert_eq!(whole(&lines), "\x1b[Hone\x1b[K\r\ntwo\x1b[K\x1b[J");
        assert_eq!(whole(&[]), "\x1b[H\x1b[J");
    }
}

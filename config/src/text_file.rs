//! Reads the small text files that hold settings.

use crate::error::{Place, Problem};
use std::io::{self, Read};
use std::path::Path;

/// Settings are short; what is longer is another file that was named by mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The text of a file; `Ok(None)` where there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, Problem> {
    text_of(path, read_bytes(path))
}

/// As [`read`], but a file that this user may not read is as good as none.
pub(crate) fn read_if_allowed(path: &Path) -> Result<Option<String>, Problem> {
    match read_bytes(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
        bytes => text_of(path, bytes),
    }
}

fn text_of(path: &Path, bytes: io::Result<Vec<u8>>) -> Result<Option<String>, Problem> {
    let whole =
        |what: String| Problem { place: Place::File(path.to_owned()), key: String::new(), what };
    match bytes {
        Ok(bytes) if bytes.len() as u64 > FILE_BYTES_MAX => Err(whole(format!(
            "is larger than {FILE_BYTES_MAX} bytes, so it is not a file of settings"
        ))),
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            whole(format!("is not UTF-8 (line {line}); save it as UTF-8"))
        }),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
            _ => Err(whole(format!("cannot be read: {error}"))),
        },
    }
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe or a terminal would keep every compile waiting.
    let metadata = std::fs::metadata(path)?;
    if path == Path::new("/dev/null") {
        return Ok(Vec::new());
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

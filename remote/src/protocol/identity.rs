//! What a worker says of itself and of a compiler that it has.
//!
//! ```text
//! identity = "rcache-worker " version LF "slots " count LF (compiler | error)
//! compiler = "compiler " digest LF "banner " text LF ("file " digest " " name LF)*
//! error    = "error " text LF
//! ```

/// The answer to "which compiler is this?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The worker's version.
    pub worker: String,
    /// How many compiles it runs at one time.
    pub slots: u32,
    /// The compiler, or why it cannot be run.
    pub compiler: Result<CompilerIdentity, String>,
}

/// One compiler, by content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompilerIdentity {
    /// Over all that compiles, in hex.
    pub digest: String,
    /// The line with its version.
    pub banner: String,
    /// Each file's name (its last part) and digest in hex: to say what differs.
    pub files: Vec<(String, String)>,
}

impl Identity {
    /// As lines of text.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("rcache-worker {}\nslots {}\n", line(&self.worker), self.slots);
        match &self.compiler {
            Ok(compiler) => {
                text += &format!("compiler {}\n", line(&compiler.digest));
                text += &format!("banner {}\n", line(&compiler.banner));
                for (name, digest) in &compiler.files {
                    text += &format!("file {} {}\n", line(digest), line(name));
                }
            }
            Err(why) => text += &format!("error {}\n", line(why)),
        }
        text.into_bytes()
    }

    /// `None` where the lines are not those of an identity, or hold what a terminal would obey.
    pub fn decode(bytes: &[u8]) -> Option<Identity> {
        let text = std::str::from_utf8(bytes).ok()?;
        if text.chars().any(|letter| letter.is_control() && letter != '\n') {
            return None;
        }
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let worker = lines.next()?.strip_prefix("rcache-worker ")?.to_owned();
        let slots = lines.next()?.strip_prefix("slots ")?.parse().ok()?;
        let third = lines.next()?;
        if let Some(why) = third.strip_prefix("error ") {
            let compiler = Err(why.to_owned());
            return lines.next().is_none().then_some(Identity { worker, slots, compiler });
        }
        let digest = third.strip_prefix("compiler ")?.to_owned();
        let banner = lines.next()?.strip_prefix("banner ")?.to_owned();
        let file = |line: &str| {
            let (digest, name) = line.strip_prefix("file ")?.split_once(' ')?;
            Some((name.to_owned(), digest.to_owned()))
        };
        let files = lines.map(file).collect::<Option<Vec<_>>>()?;
        let compiler = Ok(CompilerIdentity { digest, banner, files });
        Some(Identity { worker, slots, compiler })
    }
}

/// A text that must stay on one line.
fn line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

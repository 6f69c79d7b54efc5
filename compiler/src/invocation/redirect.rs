//! The same call with its outputs in another folder: what it then writes is what it would have written.
//!
//! Only names may change that no output holds, which are those that do not count in the key. The
//! target of a dependency file's rule is such a name once it is given by `-MQ`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Invocation, Role};
use crate::part::PartKind;

/// The folders below the one that is given: names of outputs must not meet.
const MAIN: &str = "main";
const DEPFILE: &str = "depfile";

/// A call whose outputs go elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirected {
    /// The words after the compiler.
    pub words: Vec<OsString>,
    /// What it writes.
    pub outputs: Vec<(PartKind, PathBuf)>,
    /// The folders that have to be there.
    pub folders: Vec<PathBuf>,
}

impl Invocation {
    /// Lets the outputs go below `folder`, an absolute path.
    ///
    /// # Errors
    /// Why the outputs would not be the same, or not all be there.
    pub fn redirected(&self, folder: &Path) -> Result<Redirected, &'static str> {
        if self.names_output {
            return Err("an option makes an output depend on the output's name");
        }
        if !self.side_outputs.is_empty() {
            return Err("there are outputs beside the object");
        }
        let mut redirected =
            Redirected { words: Vec::new(), outputs: Vec::new(), folders: Vec::new() };
        if let Some(output) = &self.output {
            let name = output.file_name().ok_or("the output has no name")?;
            let path = redirected.add(PartKind::Object, folder.join(MAIN).join(name));
            redirected.words.extend(["-o".into(), path.into()]);
        }
        if self.discards_output {
            redirected.words.extend(["-o".into(), "/dev/null".into()]);
        }
        let mut rule = None;
        if let Some(depfile) = &self.depfile {
            let name = depfile.path.file_name().ok_or("the dependency file has no name")?;
            let path = redirected.add(PartKind::Depfile, folder.join(DEPFILE).join(name));
            if depfile.target_is_output {
                let target = depfile.target.clone().or_else(|| self.target());
                let target = target.ok_or("the rule's target is not known")?;
                redirected.words.extend(["-MQ".into(), target]);
            }
            rule = Some(path);
        }
        let mut handed_on = false;
        for argument in &self.arguments {
            match (argument.role, &rule) {
                (Role::Output, _) => {}
                (Role::Dependency, Some(rule)) => {
                    let first = argument.words[0].as_bytes();
                    let styles: [&[u8]; 2] = [b"-Wp,-MD,", b"-Wp,-MMD,"];
                    if let Some(style) = styles.into_iter().find(|style| first.starts_with(style)) {
                        let rule = rule.as_os_str();
                        if rule.as_bytes().contains(&b',') {
                            return Err("the cache folder's name contains a comma");
                        }
                        let mut word = std::ffi::OsStr::from_bytes(style).to_owned();
                        word.push(rule);
                        redirected.words.push(word);
                        handed_on = true;
                    } else if !first.starts_with(b"-MF") {
                        redirected.words.extend(argument.words.iter().cloned());
                    }
                }
                _ => redirected.words.extend(argument.words.iter().cloned()),
            }
        }
        if let Some(rule) = rule.filter(|_| !handed_on) {
            // In front: `--` may be among the words.
            redirected.words.splice(0..0, ["-MF".into(), rule.into_os_string()]);
        }
        Ok(redirected)
    }

    /// What the rule names where no option says so: the operand of `-o`, else an object beside the
    /// working directory, also under `-S`.
    fn target(&self) -> Option<OsString> {
        let named = self.arguments.iter().any(|argument| argument.role == Role::Output);
        match (&self.output, named) {
            (Some(output), true) => Some(output.clone().into_os_string()),
            // Under -fsyntax-only the operand counts without being an output.
            (None, true) => None,
            _ => Some(Path::new(self.source.file_name()?).with_extension("o").into_os_string()),
        }
    }
}

impl Redirected {
    fn add(&mut self, kind: PartKind, path: PathBuf) -> PathBuf {
        self.outputs.push((kind, path.clone()));
        self.folders.extend(path.parent().map(Path::to_owned));
        path
    }
}

//! Results of actions that are kept: what they name has to be there, or they are not.

use super::action::action_name;
use super::cas::{Cas, Kind, NotStored};
use super::{Counts, MESSAGE_BYTES_MAX, Reapi};
use prost::Message;
use prost::bytes::Bytes;
use remote::reapi::digest::{BlobName, Function};
use remote::reapi::proto;
use std::sync::Arc;
use tonic::Status;

/// What comes with a result, all together; the rest of the message has room beside it.
const INLINE_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (1 << 20);

/// What a client wants to have with a result.
#[derive(Clone, Debug, Default)]
pub struct Inline {
    stdout: bool,
    stderr: bool,
    files: Vec<String>,
}

impl Inline {
    /// What a request to run an action says.
    pub fn of_execute(request: &proto::ExecuteRequest) -> Inline {
        Inline {
            stdout: request.inline_stdout,
            stderr: request.inline_stderr,
            files: request.inline_output_files.clone(),
        }
    }

    /// What a request for a result says.
    fn of_get(request: &proto::GetActionResultRequest) -> Inline {
        Inline {
            stdout: request.inline_stdout,
            stderr: request.inline_stderr,
            files: request.inline_output_files.clone(),
        }
    }

    /// Puts it there, as far as there is room.
    pub fn fill(&self, cas: &Cas, function: Function, result: &mut proto::ActionResult) {
        let mut left = INLINE_BYTES_MAX;
        let mut take = |digest: &Option<proto::Digest>| -> Option<Bytes> {
            let name = BlobName::of_message(function, digest.as_ref()?)?;
            left = left.checked_sub(usize::try_from(name.bytes).ok()?)?;
            cas.get(&name)
        };
        if self.stdout
            && let Some(text) = take(&result.stdout_digest)
        {
            result.stdout_raw = text;
        }
        if self.stderr
            && let Some(text) = take(&result.stderr_digest)
        {
            result.stderr_raw = text;
        }
        for file in &mut result.output_files {
            if self.files.contains(&file.path)
                && let Some(content) = take(&file.digest)
            {
                file.contents = content;
            }
        }
    }
}

/// Keeps a result.
pub fn keep(
    cas: &Arc<Cas>,
    action: &BlobName,
    result: &proto::ActionResult,
) -> Result<(), NotStored> {
    cas.put_result(action, &result.encode_to_vec())
}

/// The result of an action, where it and all that it names is there; all of that counts as used.
pub fn find(cas: &Cas, action: &BlobName) -> Option<proto::ActionResult> {
    let result = proto::ActionResult::decode(cas.result(action)?.as_slice()).ok()?;
    if !is_complete(cas, action.function, &result) {
        cas.forget(&(Kind::Result, *action));
        return None;
    }
    Some(result)
}

fn is_complete(cas: &Cas, function: Function, result: &proto::ActionResult) -> bool {
    let has = |digest: Option<&proto::Digest>| {
        let name = digest.and_then(|digest| BlobName::of_message(function, digest));
        name.is_some_and(|name| cas.has(Kind::Blob, &name))
    };
    let streams = [&result.stdout_digest, &result.stderr_digest];
    let trees = |directory: &proto::OutputDirectory| {
        let name = directory.tree_digest.as_ref();
        let name = name.and_then(|digest| BlobName::of_message(function, digest));
        let tree = name.and_then(|name| cas.get(&name));
        let Some(tree) = tree.and_then(|tree| proto::Tree::decode(tree).ok()) else { return false };
        let folders = tree.root.iter().chain(&tree.children);
        folders.flat_map(|folder| &folder.files).all(|file| has(file.digest.as_ref()))
    };
    streams.into_iter().flatten().all(|digest| has(Some(digest)))
        && result.output_files.iter().all(|file| has(file.digest.as_ref()))
        && result.output_directories.iter().all(trees)
}

/// Answers whether an action's result is there.
pub fn get(
    reapi: &Reapi,
    request: &proto::GetActionResultRequest,
) -> Result<proto::ActionResult, Status> {
    let name = action_name(request.digest_function, request.action_digest.as_ref())?;
    let cas = &reapi.workshop.cas;
    let found = find(cas, &name);
    let mut result = found.ok_or_else(|| Status::not_found("there is no result of this action"))?;
    Counts::add(&reapi.counts.cached);
    Inline::of_get(request).fill(cas, name.function, &mut result);
    Ok(result)
}

/// Takes a result that a client brings, where that is allowed.
pub fn update(
    reapi: &Reapi,
    request: proto::UpdateActionResultRequest,
) -> Result<proto::ActionResult, Status> {
    if !reapi.accepts_results {
        let text = "this worker takes no results from clients (`--accept-results`)";
        return Err(Status::permission_denied(text));
    }
    let name = action_name(request.digest_function, request.action_digest.as_ref())?;
    let mut result = request.action_result.unwrap_or_default();
    for file in &mut result.output_files {
        file.contents = Bytes::new();
    }
    let cas = &reapi.workshop.cas;
    if result.exit_code != 0 || !is_complete(cas, name.function, &result) {
        let text = "a result that failed, or that names blobs that are not there";
        return Err(Status::failed_precondition(text));
    }
    keep(cas, &name, &result).map_err(|error| Status::resource_exhausted(error.to_string()))?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(files: &[&[u8]]) -> proto::ActionResult {
        let output = |content: &&[u8]| proto::OutputFile {
            path: String::from_utf8_lossy(content).into_owned(),
            digest: Some(Function::Sha256.name(content).message()),
            ..Default::default()
        };
        let output_files = files.iter().map(output).collect();
        proto::ActionResult { output_files, ..Default::default() }
    }

    #[test]
    fn a_result_whose_blobs_are_gone_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let cas = Arc::new(Cas::open(folder.path(), 1 << 20).unwrap());
        let action = Function::Sha256.name(b"action");
        let made = result(&[b"a.o", b"a.d"]);
        for content in [b"a.o", b"a.d"] {
            cas.put(&Function::Sha256.name(content), content).unwrap();
        }
        keep(&cas, &action, &made).unwrap();
        let mut found = find(&cas, &action).unwrap();
        assert_eq!(found, made);
        let inline = Inline { files: vec!["a.d".to_owned()], ..Inline::default() };
        inline.fill(&cas, Function::Sha256, &mut found);
        let contents: Vec<_> = found.output_files.iter().map(|file| &file.contents[..]).collect();
        assert_eq!(contents, [&b""[..], b"a.d"]);
        cas.forget(&(Kind::Blob, Function::Sha256.name(b"a.d")));
        assert!(find(&cas, &action).is_none());
        cas.put(&Function::Sha256.name(b"a.d"), b"a.d").unwrap();
        assert!(find(&cas, &action).is_none(), "it was forgotten");
    }
}

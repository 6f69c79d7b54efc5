//! `Reapi`: any client of the Remote Execution API, as plain as can be; `InputTree`: what it uploads.

use prost::Message;
use prost::bytes::Bytes;
use remote::reapi::Codec;
use remote::reapi::digest::{BlobName, Function};
use remote::reapi::proto::{self, path};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

/// Longer than any action here takes.
const PATIENCE: Duration = Duration::from_secs(100);

/// A connection to a server of REAPI.
pub struct Reapi {
    runtime: Runtime,
    channel: Channel,
    token: Option<String>,
    /// How its blobs are named.
    pub function: Function,
}

impl Reapi {
    /// Connects without keys.
    #[track_caller]
    pub fn connect(address: &str) -> Reapi {
        Reapi::connect_with(&format!("http://{address}"), None, None).expect("connect")
    }

    /// Connects with what is given.
    pub fn connect_with(
        url: &str,
        tls: Option<ClientTlsConfig>,
        token: Option<&str>,
    ) -> Result<Reapi, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut endpoint = Endpoint::from_shared(url.to_owned()).unwrap().timeout(PATIENCE);
        if let Some(tls) = tls {
            endpoint = endpoint.tls_config(tls).map_err(|error| format!("{error:?}"))?;
        }
        let channel = runtime.block_on(endpoint.connect());
        let channel = channel.map_err(|error| format!("{error:?}"))?;
        let token = token.map(|token| format!("Bearer {token}"));
        Ok(Reapi { runtime, channel, token, function: Function::Blake3 })
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.parse().unwrap());
        }
        request
    }

    /// One message, one answer.
    pub fn ask<Q, A>(&self, path: &'static str, message: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        self.runtime.block_on(async {
            grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let codec = Codec::<Q, A>::default();
            let path = PathAndQuery::from_static(path);
            Ok(grpc.unary(self.request(message), path, codec).await?.into_inner())
        })
    }

    /// One message, all answers.
    pub fn ask_for_all<Q, A>(&self, path: &'static str, message: Q) -> Result<Vec<A>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        self.runtime.block_on(async {
            grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let codec = Codec::<Q, A>::default();
            let path = PathAndQuery::from_static(path);
            let answers = grpc.server_streaming(self.request(message), path, codec).await?;
            let mut answers = answers.into_inner();
            let mut all = Vec::new();
            while let Some(answer) = answers.next().await {
                all.push(answer?);
            }
            Ok(all)
        })
    }

    /// Writes a blob in pieces.
    pub fn write(&self, pieces: Vec<proto::WriteRequest>) -> Result<i64, Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        self.runtime.block_on(async {
            grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let codec = Codec::<proto::WriteRequest, proto::WriteResponse>::default();
            let path = PathAndQuery::from_static(path::WRITE);
            let request = self.request(tokio_stream::iter(pieces));
            let answer = grpc.client_streaming(request, path, codec).await?;
            Ok(answer.into_inner().committed_size)
        })
    }

    /// A blob, read in pieces.
    pub fn read(&self, resource: &str) -> Result<Vec<u8>, Status> {
        let resource_name = resource.to_owned();
        let message = proto::ReadRequest { resource_name, ..Default::default() };
        let pieces: Vec<proto::ReadResponse> = self.ask_for_all(path::READ, message)?;
        Ok(pieces.iter().flat_map(|piece| piece.data.iter().copied()).collect())
    }

    /// Which of these are not there.
    #[track_caller]
    pub fn missing(&self, names: &[BlobName]) -> Vec<BlobName> {
        let message = proto::FindMissingBlobsRequest {
            instance_name: String::new(),
            blob_digests: names.iter().map(BlobName::message).collect(),
            digest_function: self.function.proto() as i32,
        };
        let answer: proto::FindMissingBlobsResponse =
            self.ask(path::FIND_MISSING_BLOBS, message).unwrap();
        let missing = answer.missing_blob_digests.iter();
        missing.map(|digest| BlobName::of_message(self.function, digest).unwrap()).collect()
    }

    /// Uploads one batch.
    pub fn put(&self, blobs: &[(BlobName, Bytes)]) -> Result<Vec<proto::Status>, Status> {
        let requests = blobs.iter().map(|(name, data)| proto::BlobToStore {
            digest: Some(name.message()),
            data: data.clone(),
            compressor: 0,
        });
        let message = proto::BatchUpdateBlobsRequest {
            instance_name: String::new(),
            requests: requests.collect(),
            digest_function: self.function.proto() as i32,
        };
        let answer: proto::BatchUpdateBlobsResponse =
            self.ask(path::BATCH_UPDATE_BLOBS, message)?;
        Ok(answer.responses.into_iter().map(|response| response.status.unwrap()).collect())
    }

    /// Uploads what is missing of these; how many bytes that were.
    #[track_caller]
    pub fn upload(&self, blobs: &HashMap<BlobName, Bytes>) -> u64 {
        const PIECE_BYTES: usize = 1 << 20;
        let names: Vec<_> = blobs.keys().copied().collect();
        let missing = self.missing(&names);
        for name in &missing {
            let content = &blobs[name];
            if content.len() <= PIECE_BYTES {
                let stored = self.put(&[(*name, content.clone())]).unwrap();
                assert_eq!(stored[0].code, 0, "{stored:?}");
                continue;
            }
            let resource = format!("uploads/1/{}", name.resource());
            let count = content.len().div_ceil(PIECE_BYTES);
            let pieces = content.chunks(PIECE_BYTES).enumerate().map(|(number, piece)| {
                proto::WriteRequest {
                    resource_name: if number == 0 { resource.clone() } else { String::new() },
                    write_offset: (number * PIECE_BYTES) as i64,
                    finish_write: number + 1 == count,
                    data: Bytes::copy_from_slice(piece),
                }
            });
            assert_eq!(self.write(pieces.collect()).unwrap(), content.len() as i64);
        }
        missing.iter().map(|name| name.bytes).sum()
    }

    /// Uploads an action with all that it needs.
    #[track_caller]
    pub fn prepare(&self, tree: &InputTree, command: &proto::Command) -> Upload {
        let mut upload = tree.upload(self.function);
        upload.action(command, |_| {});
        self.upload(&upload.blobs);
        upload
    }

    /// Runs an action that was uploaded; its inputs come with it.
    pub fn execute(&self, action: &BlobName) -> Result<proto::ExecuteResponse, Status> {
        self.execute_as(action, |_| {})
    }

    /// The same by a client that goes away after a while.
    pub fn execute_for(&self, action: &BlobName, time: Duration) -> Result<(), Status> {
        let request = proto::ExecuteRequest {
            action_digest: Some(action.message()),
            digest_function: self.function.proto() as i32,
            ..Default::default()
        };
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        self.runtime.block_on(async {
            grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let codec = Codec::<proto::ExecuteRequest, proto::Operation>::default();
            let path = PathAndQuery::from_static(path::EXECUTE);
            let news = grpc.server_streaming(self.request(request), path, codec).await?;
            let mut news = news.into_inner();
            let all = async { while news.next().await.is_some() {} };
            let gone = |_| Status::deadline_exceeded("the client went away");
            tokio::time::timeout(time, all).await.map_err(gone)
        })
    }

    /// The same, in a way that can be chosen.
    pub fn execute_as(
        &self,
        action: &BlobName,
        choose: impl FnOnce(&mut proto::ExecuteRequest),
    ) -> Result<proto::ExecuteResponse, Status> {
        let mut request = proto::ExecuteRequest {
            action_digest: Some(action.message()),
            digest_function: self.function.proto() as i32,
            ..Default::default()
        };
        choose(&mut request);
        let news: Vec<proto::Operation> = self.ask_for_all(path::EXECUTE, request)?;
        let last = news.last().expect("an operation");
        assert!(last.done, "{last:?}");
        match last.result.as_ref() {
            Some(proto::OperationResult::Response(any)) => {
                assert_eq!(any.type_url, proto::type_url::EXECUTE_RESPONSE);
                Ok(proto::ExecuteResponse::decode(any.value.clone()).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    /// A file that an action made.
    #[track_caller]
    pub fn output(&self, result: &proto::ActionResult, path: &str) -> Vec<u8> {
        let file = result.output_files.iter().find(|file| file.path == path);
        let file = file.unwrap_or_else(|| panic!("{path}: {result:?}"));
        let name = BlobName::of_message(self.function, file.digest.as_ref().unwrap()).unwrap();
        let content = self.read(&name.resource()).unwrap();
        assert_eq!(self.function.name(&content), name);
        content
    }
}

/// What is uploaded for one action.
pub struct Upload {
    function: Function,
    /// All blobs.
    pub blobs: HashMap<BlobName, Bytes>,
    /// The folder that becomes the root.
    pub root: BlobName,
    /// The action itself, once it was made.
    pub action: BlobName,
}

impl Upload {
    /// One more blob.
    pub fn put(&mut self, content: impl Into<Bytes>) -> BlobName {
        let content = content.into();
        let name = self.function.name(&content);
        self.blobs.insert(name, content);
        name
    }

    /// The action of a command, which may be changed before it is named.
    pub fn action(&mut self, command: &proto::Command, change: impl FnOnce(&mut proto::Action)) {
        let command = self.put(command.encode_to_vec());
        let mut action = proto::Action {
            command_digest: Some(command.message()),
            input_root_digest: Some(self.root.message()),
            ..Default::default()
        };
        change(&mut action);
        self.action = self.put(action.encode_to_vec());
    }
}

#[derive(Clone, Debug)]
enum Node {
    Folder,
    File { content: Bytes, executable: bool },
    Link(String),
}

/// An input tree, by absolute paths.
#[derive(Clone, Default)]
pub struct InputTree(BTreeMap<PathBuf, Node>);

impl InputTree {
    /// A file.
    pub fn file(&mut self, path: impl AsRef<Path>, content: impl Into<Bytes>, executable: bool) {
        self.0.insert(path.as_ref().to_owned(), Node::File { content: content.into(), executable });
    }

    /// An empty folder.
    pub fn folder(&mut self, path: impl AsRef<Path>) {
        self.0.insert(path.as_ref().to_owned(), Node::Folder);
    }

    /// A file of this machine at its own place, with all links that lead there.
    #[track_caller]
    pub fn take(&mut self, path: impl AsRef<Path>) {
        let mut here = PathBuf::from("/");
        let mut rest: Vec<_> =
            path.as_ref().components().rev().map(|c| c.as_os_str().to_owned()).collect();
        while let Some(part) = rest.pop() {
            match Path::new(&part).components().next() {
                Some(Component::RootDir) => here = PathBuf::from("/"),
                Some(Component::ParentDir) => {
                    here.pop();
                }
                _ => here.push(&part),
            }
            if let Ok(target) = fs::read_link(&here) {
                let text = target.to_str().unwrap().to_owned();
                self.0.insert(here.clone(), Node::Link(text));
                here.pop();
                rest.extend(target.components().rev().map(|c| c.as_os_str().to_owned()));
            } else if here.is_file() {
                let executable = fs::metadata(&here).unwrap().permissions().mode() & 0o111 != 0;
                let content = Bytes::from(fs::read(&here).unwrap());
                self.0.insert(here.clone(), Node::File { content, executable });
            }
        }
    }

    /// A program of this machine with its libraries and its dynamic linker.
    #[track_caller]
    pub fn take_program(&mut self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        self.take(path);
        let linked = std::process::Command::new("ldd").arg(path).output().unwrap().stdout;
        for word in String::from_utf8(linked).unwrap().split_whitespace() {
            if word.starts_with('/') {
                self.take(word);
            }
        }
    }

    /// A compiler of this machine, as it compiles C and C++.
    #[track_caller]
    pub fn take_compiler(&mut self, driver: &str) {
        self.take_program(format!("/usr/bin/{driver}"));
        // By this they know which quotes there are.
        self.take("/usr/lib/locale/C.utf8/LC_CTYPE");
        self.take("/usr/include/stdc-predef.h");
        if driver.starts_with("clang") {
            // By this clang finds the headers of gcc.
            let asked = std::process::Command::new("/usr/bin/gcc")
                .arg("-print-file-name=crtbegin.o")
                .output()
                .unwrap();
            self.take(String::from_utf8(asked.stdout).unwrap().trim());
            return;
        }
        for program in ["cc1", "cc1plus", "as", "objcopy"] {
            let asked = std::process::Command::new(format!("/usr/bin/{driver}"))
                .arg(format!("-print-prog-name={program}"))
                .output()
                .unwrap();
            let said = String::from_utf8(asked.stdout).unwrap();
            let path = Path::new(said.trim());
            let path =
                if path.is_absolute() { path.to_owned() } else { Path::new("/usr/bin").join(path) };
            self.take_program(path);
        }
        // By which it finds them.
        let link = format!("/usr/bin/{driver}");
        self.take(link);
    }

    /// All blobs of it.
    pub fn upload(&self, function: Function) -> Upload {
        let empty = function.name(b"");
        let mut upload = Upload { function, blobs: HashMap::new(), root: empty, action: empty };
        upload.root = self.directory(Path::new("/"), &mut upload);
        upload
    }

    fn directory(&self, folder: &Path, upload: &mut Upload) -> BlobName {
        let mut directory = proto::Directory::default();
        let below =
            self.0.range(folder.to_owned()..).take_while(|(path, _)| path.starts_with(folder));
        let mut children: Vec<PathBuf> = Vec::new();
        for (path, _) in below {
            let rest = path.strip_prefix(folder).unwrap();
            if let Some(first) = rest.components().next() {
                let child = folder.join(first);
                if children.last() != Some(&child) {
                    children.push(child);
                }
            }
        }
        children.sort();
        children.dedup();
        for child in children {
            let name = child.file_name().unwrap().to_str().unwrap().to_owned();
            match self.0.get(&child) {
                Some(Node::File { content, executable }) => {
                    let digest = Some(upload.put(content.clone()).message());
                    directory.files.push(proto::FileNode {
                        name,
                        digest,
                        is_executable: *executable,
                        node_properties: None,
                    });
                }
                Some(Node::Link(target)) => directory.symlinks.push(proto::SymlinkNode {
                    name,
                    target: target.clone(),
                    node_properties: None,
                }),
                Some(Node::Folder) | None => {
                    let digest = Some(self.directory(&child, upload).message());
                    directory.directories.push(proto::DirectoryNode { name, digest });
                }
            }
        }
        upload.put(directory.encode_to_vec())
    }
}

//! Blobs: small and large, packed and plain, more than there is room for, and other than their names say.

use crate::support::{InputTree, Random, Reapi, Worker};
use prost::Message;
use prost::bytes::Bytes;
use remote::reapi::digest::{BlobName, Function};
use remote::reapi::proto::{self, path};
use tonic::Code;

fn pieces(resource: &str, content: &[u8], piece_bytes: usize) -> Vec<proto::WriteRequest> {
    let count = content.len().div_ceil(piece_bytes);
    let pieces = content.chunks(piece_bytes).enumerate();
    pieces
        .map(|(number, piece)| proto::WriteRequest {
            resource_name: resource.to_owned(),
            write_offset: (number * piece_bytes) as i64,
            finish_write: number + 1 == count,
            data: Bytes::copy_from_slice(piece),
        })
        .collect()
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut random = Random::announced("blobs");
    (0..bytes / 8).flat_map(|_| random.below(u64::MAX).to_le_bytes()).collect()
}

#[test]
fn a_thousand_small_ones() {
    let worker = Worker::start("");
    let mut reapi = Reapi::connect(&worker.address);
    for function in Function::ALL {
        reapi.function = function;
        let blobs: Vec<(BlobName, Bytes)> = (0..1_000_u32)
            .map(|number| {
                let content = Bytes::from(number.to_string().repeat(1 + number as usize % 50));
                (function.name(&content), content)
            })
            .collect();
        let names: Vec<_> = blobs.iter().map(|(name, _)| *name).collect();
        assert_eq!(reapi.missing(&names).len(), 1_000);
        let stored = reapi.put(&blobs).unwrap();
        assert!(stored.len() == 1_000 && stored.iter().all(|status| status.code == 0));
        assert_eq!(reapi.missing(&names), []);
        for compressors in [vec![], vec![proto::Compressor::Zstd as i32]] {
            let asked = proto::BatchReadBlobsRequest {
                digests: names.iter().map(BlobName::message).collect(),
                acceptable_compressors: compressors,
                digest_function: function.proto() as i32,
                ..Default::default()
            };
            let read: proto::BatchReadBlobsResponse =
                reapi.ask(path::BATCH_READ_BLOBS, asked).unwrap();
            for (blob, (name, content)) in read.responses.iter().zip(&blobs) {
                let data = match blob.compressor {
                    0 => blob.data.to_vec(),
                    _ => zstd::stream::decode_all(&blob.data[..]).unwrap(),
                };
                assert!(blob.digest == Some(name.message()) && data == content[..]);
            }
        }
    }
    assert_eq!(worker.metric("cas_files"), 2_000);
}

#[test]
fn large_ones_come_in_pieces() {
    let worker = Worker::start("");
    let reapi = Reapi::connect(&worker.address);
    let content = [noise(3 << 20), vec![b'x'; 3 << 20]].concat();
    let name = reapi.function.name(&content);
    let upload = format!("main/uploads/7/{}", name.packed_resource());
    let packed = zstd::stream::encode_all(&content[..], 3).unwrap();
    assert_eq!(reapi.write(pieces(&upload, &packed, 300_000)).unwrap(), packed.len() as i64);
    assert_eq!(reapi.write(pieces(&upload, &packed, 300_000)).unwrap(), -1, "it is there");
    let plain = format!("uploads/8/{}", name.resource());
    assert_eq!(reapi.write(pieces(&plain, &content, 1 << 20)).unwrap(), content.len() as i64);
    assert!(reapi.read(&name.resource()).unwrap() == content);
    let read = reapi.read(&format!("main/{}", name.packed_resource())).unwrap();
    assert!(zstd::stream::decode_all(&read[..]).unwrap() == content);
    let part =
        proto::ReadRequest { resource_name: name.resource(), read_offset: 5, read_limit: 10 };
    let part: Vec<proto::ReadResponse> = reapi.ask_for_all(path::READ, part).unwrap();
    assert_eq!(part[0].data, content[5..15]);
    let status = proto::QueryWriteStatusRequest { resource_name: plain };
    let status: proto::QueryWriteStatusResponse =
        reapi.ask(path::QUERY_WRITE_STATUS, status).unwrap();
    assert!(status.complete && status.committed_size == content.len() as i64);
}

#[test]
fn what_is_not_what_its_name_says_is_refused() {
    let worker = Worker::start("");
    let reapi = Reapi::connect(&worker.address);
    let content = noise(1 << 20);
    let name = reapi.function.name(&content);
    let stored = reapi.put(&[(name, Bytes::from_static(b"other"))]).unwrap();
    assert_eq!(stored[0].code, Code::InvalidArgument as i32);
    let mut wrong = content.clone();
    wrong[99] ^= 1;
    let long = [&content[..], b"more"].concat();
    let upload = format!("uploads/1/{}", name.resource());
    let packed_upload = format!("uploads/1/{}", name.packed_resource());
    let pack = |content: &[u8]| zstd::stream::encode_all(content, 3).unwrap();
    let bomb = pack(&vec![0; 64 << 20]);
    for (what, upload, content) in [
        ("another", &upload, &wrong),
        ("too long", &upload, &long),
        ("too short", &upload, &content[..content.len() - 1].to_vec()),
        ("another, packed", &packed_upload, &pack(&wrong)),
        ("too long, packed", &packed_upload, &bomb),
        ("not packed at all", &packed_upload, &content),
    ] {
        let error = reapi.write(pieces(upload, content, 100_000)).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{what}: {error}");
        assert_eq!(reapi.missing(&[name]), [name], "{what}");
    }
    let mut gap = pieces(&upload, &content, 100_000);
    gap.remove(2);
    assert_eq!(reapi.write(gap).unwrap_err().code(), Code::InvalidArgument);
    let mut unfinished = pieces(&upload, &content, 100_000);
    unfinished.pop();
    assert!(reapi.write(unfinished).is_err());
    assert_eq!(reapi.write(Vec::new()).unwrap_err().code(), Code::InvalidArgument);
    let nowhere = pieces("uploads/1/blobs/x/1", &content, 1 << 20);
    assert_eq!(reapi.write(nowhere).unwrap_err().code(), Code::InvalidArgument);
    assert_eq!((worker.metric("cas_bytes"), worker.metric("cas_files")), (0, 0));
    assert_eq!(reapi.read(&name.resource()).unwrap_err().code(), Code::NotFound);
}

#[test]
fn the_cap_is_kept() {
    let worker = Worker::start("--cas-size 1M");
    let reapi = Reapi::connect(&worker.address);
    let blob = |number: u8| {
        let content = Bytes::from(vec![number; 200_000]);
        (reapi.function.name(&content), content)
    };
    let names: Vec<_> = (0..8)
        .map(|number| {
            let blob = blob(number);
            assert_eq!(reapi.put(std::slice::from_ref(&blob)).unwrap()[0].code, 0);
            blob.0
        })
        .collect();
    assert_eq!(reapi.missing(&names), names[..4], "the oldest are gone");
    assert!(worker.metric("cas_bytes") <= worker.metric("cas_max_bytes"));
    assert_eq!(worker.metric("cas_evicted_total"), 4);
    let large = vec![1; 2 << 20];
    let upload = format!("uploads/1/{}", reapi.function.name(&large).resource());
    let error = reapi.write(pieces(&upload, &large, 1 << 20)).unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    let huge = BlobName { bytes: i64::MAX as u64, ..reapi.function.name(b"") };
    let upload = format!("uploads/1/{}", huge.resource());
    let error = reapi.write(pieces(&upload, b"x", 1)).unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
}

#[test]
fn they_outlive_a_worker_that_is_told_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let options = format!("--cas-dir {}", folder.path().join("cas").display());
    let content = Bytes::from_static(b"kept");
    let name = {
        let mut worker = Worker::start(&options);
        let reapi = Reapi::connect(&worker.address);
        let name = reapi.function.name(&content);
        reapi.put(&[(name, content.clone())]).unwrap();
        worker.terminate();
        assert_eq!(worker.end(), Some(0));
        name
    };
    let worker = Worker::start(&options);
    let reapi = Reapi::connect(&worker.address);
    assert_eq!(reapi.read(&name.resource()).unwrap(), content);
    // What the disk made of it meanwhile is not handed on.
    let digits = name.digits();
    let path = folder.path().join(format!("cas/blobs/blake3/{}/{digits}-4", &digits[..2]));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "Kept").unwrap();
    assert_eq!(reapi.read(&name.resource()).unwrap_err().code(), Code::DataLoss);
    assert_eq!(reapi.missing(&[name]), [name]);
}

#[test]
fn a_tree_comes_in_pages() {
    let worker = Worker::start("");
    let reapi = Reapi::connect(&worker.address);
    let mut tree = InputTree::default();
    for number in 0..30 {
        tree.file(format!("/a/{number}/f"), Bytes::from(number.to_string()), false);
    }
    let upload = tree.upload(reapi.function);
    reapi.upload(&upload.blobs);
    let ask = |page_size, page_token: &str| -> Vec<proto::GetTreeResponse> {
        let asked = proto::GetTreeRequest {
            root_digest: Some(upload.root.message()),
            page_size,
            page_token: page_token.to_owned(),
            digest_function: reapi.function.proto() as i32,
            ..Default::default()
        };
        reapi.ask_for_all(path::GET_TREE, asked).unwrap()
    };
    let all = ask(0, "");
    assert_eq!((all.len(), all[0].directories.len()), (1, 32));
    let root = all[0].directories[0].encode_to_vec();
    assert_eq!(reapi.function.name(&root), upload.root);
    let pages = ask(10, "");
    assert_eq!(
        pages.iter().map(|page| page.directories.len()).collect::<Vec<_>>(),
        [10, 10, 10, 2]
    );
    let rest = ask(10, &pages[1].next_page_token);
    let folders = |pages: &[proto::GetTreeResponse]| -> Vec<proto::Directory> {
        pages.iter().flat_map(|page| page.directories.clone()).collect()
    };
    assert_eq!(folders(&rest), folders(&pages[2..]));
}

//! What the worker says of itself.

use super::{BATCH_BYTES_MAX, Reapi};
use remote::reapi::digest::Function;
use remote::reapi::proto;

/// Everything that a client has to know first.
pub fn capabilities(reapi: &Reapi) -> proto::ServerCapabilities {
    let functions = Function::ALL.map(|function| function.proto() as i32).to_vec();
    let workshop = &reapi.workshop;
    let version = |minor| Some(proto::SemVer { major: 2, minor, ..Default::default() });
    proto::ServerCapabilities {
        cache_capabilities: Some(cache(reapi, functions.clone())),
        execution_capabilities: Some(proto::ExecutionCapabilities {
            digest_function: Function::ALL[0].proto() as i32,
            exec_enabled: workshop.way.is_ok(),
            supported_node_properties: vec!["mtime".to_owned()],
            digest_functions: functions,
        }),
        deprecated_api_version: None,
        low_api_version: version(0),
        high_api_version: Some(proto::API_VERSION),
    }
}

fn cache(reapi: &Reapi, digest_functions: Vec<i32>) -> proto::CacheCapabilities {
    let zstd = vec![proto::Compressor::Zstd as i32];
    proto::CacheCapabilities {
        digest_functions,
        action_cache_update_capabilities: Some(proto::ActionCacheUpdateCapabilities {
            update_enabled: reapi.accepts_results,
        }),
        max_batch_total_size_bytes: BATCH_BYTES_MAX as i64,
        // In the root of an action they lead to what is in the tree.
        symlink_absolute_path_strategy: proto::SymlinkAbsolutePathStrategy::Allowed as i32,
        supported_compressors: zstd.clone(),
        supported_batch_update_compressors: zstd,
        max_cas_blob_size_bytes: reapi.workshop.cas.blob_bytes_max() as i64,
    }
}

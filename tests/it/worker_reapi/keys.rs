//! Keys: who has none, or a wrong one, is told so.

use crate::support::{Reapi, Worker};
use remote::reapi::proto::{self, path};
use tonic::Code;

const TOKEN: &str = "0123456789abcdef";

fn ask(reapi: &Reapi) -> Result<proto::ServerCapabilities, tonic::Status> {
    reapi.ask(path::GET_CAPABILITIES, proto::GetCapabilitiesRequest::default())
}

#[test]
fn a_token_opens() {
    let scratch = tempfile::tempdir().unwrap();
    let tokens = scratch.path().join("tokens");
    std::fs::write(&tokens, format!("another-token-here\n{TOKEN}\n")).unwrap();
    let worker = Worker::start(&format!("--token-file {}", tokens.display()));
    let url = format!("http://{}", worker.address);
    let with = |token| ask(&Reapi::connect_with(&url, None, token).unwrap());
    with(Some(TOKEN)).unwrap();
    let error = with(None).unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::Unauthenticated, "this worker wants a bearer token")
    );
    let error = with(Some("0123456789abcdeX")).unwrap_err();
    assert!(error.message().contains("is not one of this worker's"), "{error}");
    assert_eq!(worker.metric("reapi_denied_total"), 2);
    // distcc's protocol goes on as before.
    assert_eq!(worker.compile("gcc -c a.c -o a.o", b"int a;\n").status, 0);
}

//! Keys: who has none, or a wrong one, is told so.

use crate::support::{Reapi, Worker, rcache_binary};
use remote::reapi::proto::{self, path};
use tonic::Code;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

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

/// What `rcache keys worker` made, and clients that have some of it.
struct Team(tempfile::TempDir);

impl Team {
    fn new() -> Team {
        let team = Team(tempfile::tempdir().unwrap());
        team.make();
        team
    }

    fn make(&self) {
        let made = std::process::Command::new(rcache_binary())
            .args(["keys", "worker", self.path("keys").as_str(), "--host", "localhost"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("keys/{name}"))).unwrap()
    }

    fn worker(&self, more: &str) -> Worker {
        let at = |name: &str| self.path(&format!("keys/{name}"));
        let (certificate, key) = (at("worker.pem"), at("worker.key"));
        Worker::start(&format!("--tls-cert {certificate} --tls-key {key} {more}"))
    }

    /// Trusts the authority, and shows a certificate.
    fn connect(&self, worker: &Worker, shown: Option<(String, String)>) -> Result<(), String> {
        let authority = Certificate::from_pem(self.read("ca.pem"));
        let mut tls = ClientTlsConfig::new().ca_certificate(authority);
        if let Some((certificate, key)) = shown {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let port = worker.address.rsplit(':').next().unwrap();
        let reapi = Reapi::connect_with(&format!("https://localhost:{port}"), Some(tls), None)?;
        ask(&reapi).map(drop).map_err(|error| error.to_string())
    }

    /// A client's certificate of the authority that was good long ago.
    fn expired(&self) -> (String, String) {
        let mut authority = rcgen::CertificateParams::default();
        authority.distinguished_name.push(rcgen::DnType::CommonName, "rcache workers");
        let authority_key = rcgen::KeyPair::from_pem(&self.read("ca.key")).unwrap();
        let authority = rcgen::Issuer::new(authority, authority_key);
        let mut params = rcgen::CertificateParams::default();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

#[test]
fn a_certificate_opens() {
    let team = Team::new();
    let worker = team.worker(&format!("--client-ca {}", team.path("keys/ca.pem")));
    let good = || Some((team.read("client.pem"), team.read("client.key")));
    team.connect(&worker, good()).unwrap();
    // Also one that was made later.
    team.make();
    team.connect(&worker, good()).unwrap();
    assert!(team.connect(&worker, None).is_err());
    assert!(team.connect(&worker, Some(team.expired())).is_err());
    let stranger = Team::new();
    let other = Some((stranger.read("client.pem"), stranger.read("client.key")));
    assert!(team.connect(&worker, other).is_err());
    // A worker's certificate is not a client's, and no client takes a worker of another team.
    let workers = Some((team.read("worker.pem"), team.read("worker.key")));
    assert!(team.connect(&worker, workers).is_err());
    assert!(stranger.connect(&worker, good()).is_err());
    let plain = ask(&Reapi::connect(&worker.address)).unwrap_err();
    assert!(plain.message().contains("grpcs://"), "{plain}");
    team.connect(&worker, good()).unwrap();
}

#[test]
fn tls_without_keys_is_refused_and_so_is_what_makes_no_sense() {
    let team = Team::new();
    let worker = Worker::start("");
    assert!(team.connect(&worker, None).is_err());
    assert!(ask(&Reapi::connect(&worker.address)).is_ok(), "on this machine none are needed");
    for (options, culprit) in [
        ("--toolchains sent", "--toolchains sent needs"),
        ("--accept-results", "--accept-results needs"),
        ("--client-ca /nowhere", "--client-ca needs"),
        ("--token-file /nowhere", "/nowhere"),
        ("--tls-cert /nowhere --tls-key /nowhere", "/nowhere"),
    ] {
        let ended = std::process::Command::new(rcache_binary())
            .args(["worker", "--listen", "127.0.0.1", "--port", "0"])
            .args(options.split(' '))
            .env("TMPDIR", team.0.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && said.contains(culprit), "{options}: {said}");
    }
}

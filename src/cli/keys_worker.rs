//! `rcache keys worker DIR`: an authority for a team, a certificate for its workers, one for its clients.

use super::{Outcome, screen};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// How long certificates are good if nothing else is said, in days.
const DAYS: &str = "397";

/// How long the authority is.
const AUTHORITY_DAYS: u64 = 3_650;

/// No certificate lives longer than its authority.
const DAYS_MAX: u64 = AUTHORITY_DAYS;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The name of the authority.
const AUTHORITY: &str = "rcache workers";

/// What belongs to this machine besides its name.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The file names in the folder.
const AUTHORITY_FILE: &str = "ca.pem";
const AUTHORITY_KEY_FILE: &str = "ca.key";

const NOTES: &str = "\
DIR gets ca.pem and ca.key (once; they are used again), worker.pem and worker.key (anew each time), and
client.pem and client.key. Keep ca.key where no worker is.

Example, for workers that are called build1.lan, build2.lan …:
  rcache keys worker ~/workers --host '*.lan'
  rcache worker --tls-cert worker.pem --tls-key worker.key --client-ca ca.pem";

/// The options.
pub fn definition() -> Command {
    Command::new("worker")
        .about(
            "Certificates for workers that serve the Remote Execution API, and for their clients",
        )
        .arg(
            Arg::new("directory")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Where the files go"),
        )
        .arg(Arg::new("host").long("host").value_name("NAME").action(ArgAction::Append).help(
            "A name or an address by which clients know the workers, once for each [default: \
                 this machine]",
        ))
        .arg(
            Arg::new("days")
                .long("days")
                .value_name("N")
                .default_value(DAYS)
                .value_parser(value_parser!(u64).range(1..=DAYS_MAX))
                .help("How long the certificates are good"),
        )
        .after_help(NOTES)
}

/// Makes the files and says what to do with them.
pub fn run(matches: &ArgMatches) -> Outcome {
    let folder = matches.get_one::<PathBuf>("directory").ok_or("name a folder")?;
    let hosts = matches.get_many::<String>("host").into_iter().flatten().cloned();
    let days = matches.get_one::<u64>("days").copied().unwrap_or(1);
    let mut hosts: Vec<String> = hosts.collect();
    if hosts.is_empty() {
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        hosts.extend([node].into_iter().chain(LOOPBACK.map(str::to_owned)));
    }
    make(folder, hosts.clone(), days).map_err(|error| format!("{}: {error}", folder.display()))?;
    let shown = folder.display();
    screen::print(&format!(
        "certificates in {shown}, good for {days} days, for {}\n\
         on each worker:  rcache worker --tls-cert worker.pem --tls-key worker.key --client-ca ca.pem\n\
         on each client:  hosts = [\"grpcs://{},ca=ca.pem,certificate=client.pem,key=client.key\"], \
         each file with its folder\n",
        hosts.join(", "),
        hosts[0],
    ));
    Ok(ExitCode::SUCCESS)
}

fn make(folder: &Path, hosts: Vec<String>, days: u64) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(text)?;
    let authority = authority(folder)?;
    for (name, hosts, purpose) in [
        ("worker", hosts, ExtendedKeyUsagePurpose::ServerAuth),
        ("client", Vec::new(), ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut params = CertificateParams::new(hosts).map_err(|error| error.to_string())?;
        params.distinguished_name.push(DnType::CommonName, format!("rcache {name}"));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        good_for(&mut params, days);
        let key = new_key()?;
        let certificate = params.signed_by(&key, &authority).map_err(|error| error.to_string())?;
        let at = |ending: &str| folder.join(format!("{name}.{ending}"));
        write(&at("key"), &key.serialize_pem(), 0o600).map_err(text)?;
        write(&at("pem"), &certificate.pem(), 0o644).map_err(text)?;
    }
    Ok(())
}

fn new_key() -> Result<KeyPair, String> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| error.to_string())
}

/// The one that is there, or a new one.
fn authority(folder: &Path) -> Result<Issuer<'static, KeyPair>, String> {
    let (path, key_path) = (folder.join(AUTHORITY_FILE), folder.join(AUTHORITY_KEY_FILE));
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    good_for(&mut params, AUTHORITY_DAYS);
    let key = match fs::read_to_string(&key_path) {
        Ok(pem) if path.exists() => {
            let named = |error| format!("{}: {error}", key_path.display());
            return Ok(Issuer::new(params, KeyPair::from_pem(&pem).map_err(named)?));
        }
        Ok(_) => return Err(format!("there is {AUTHORITY_KEY_FILE} without {AUTHORITY_FILE}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => new_key()?,
        Err(error) => return Err(format!("{}: {error}", key_path.display())),
    };
    if path.exists() {
        // Clients may trust it already; another one must not take its place in silence.
        return Err(format!("there is {AUTHORITY_FILE} without {AUTHORITY_KEY_FILE}"));
    }
    let certificate = params.self_signed(&key).map_err(|error| error.to_string())?;
    let text = |error: io::Error| error.to_string();
    write(&key_path, &key.serialize_pem(), 0o600).map_err(text)?;
    write(&path, &certificate.pem(), 0o644).map_err(text)?;
    Ok(Issuer::new(params, key))
}

/// From yesterday, since clocks differ, until so many days from now.
fn good_for(params: &mut CertificateParams, days: u64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + now.saturating_sub(DAY);
    params.not_after = epoch + now + DAY * u32::try_from(days).unwrap_or(1);
}

/// Whole or not at all.
fn write(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_authority_stays_and_the_others_are_new() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("keys");
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let names = ["ca.pem", "ca.key", "worker.pem", "worker.key", "client.pem", "client.key"];
        make(&folder, vec!["a.lan".into(), "10.0.0.1".into()], 1).unwrap();
        let first = names.map(read);
        make(&folder, vec!["a.lan".into()], 1).unwrap();
        let second = names.map(read);
        let same: Vec<bool> = first.iter().zip(&second).map(|(one, other)| one == other).collect();
        assert_eq!(same, [true, true, false, false, false, false]);
        for name in names.iter().filter(|name| name.ends_with("key")) {
            let mode = fs::metadata(folder.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        fs::remove_file(folder.join("ca.key")).unwrap();
        assert!(make(&folder, vec!["a.lan".into()], 1).unwrap_err().contains("ca.pem"));
        assert!(make(&scratch.path().join("b"), vec!["ü".into()], 1).is_err());
    }
}

//! Object stores, web servers and folders, by way of opendal.

use super::{Before, Fault, LISTED_MAX, Listed, Object};
use crate::location::{Layout, Location, Scheme};
use crate::name::Name;
use crate::queue::UNDER_WAY_MAX;
use futures_util::StreamExt;
use opendal::{Builder, ErrorKind, HttpTransporter, OperationContext, Operator, services};
use opendal_http_transport_reqwest::ReqwestTransport;
use std::path::Path;
use std::time::SystemTime;

/// Where nothing else is said.
const HTTPS: &str = "https://";
/// Where a folder keeps what is being written.
const UNFINISHED: &str = ".unfinished";

/// An operator of opendal.
pub struct ObjectStore {
    operator: Operator,
    can_compare: bool,
    can_create: bool,
    /// It knows GET, PUT and DELETE alone.
    is_plain_web: bool,
}

impl ObjectStore {
    /// Sets it up.
    pub fn new(location: &Location) -> Result<ObjectStore, String> {
        let operator = match location.scheme {
            Scheme::S3 => s3(location),
            Scheme::Gcs => gcs(location),
            Scheme::Azblob => azblob(location),
            Scheme::Memcached => memcached(location),
            Scheme::Http => http(location),
            Scheme::File => folder(location),
            Scheme::Ghac => ghac(location),
            Scheme::Redis => Err("redis has an engine of its own".to_owned()),
        }?;
        let capability = operator.info().capability();
        Ok(ObjectStore {
            can_compare: capability.write_with_if_match,
            can_create: capability.write_with_if_not_exists && location.scheme != Scheme::File,
            is_plain_web: location.scheme == Scheme::Http && location.layout != Layout::Webdav,
            operator,
        })
    }

    /// The object, whose length is looked at before it is fetched, and again while it is.
    pub async fn get(&self, object: &str, limit: usize) -> Result<Option<Object>, Fault> {
        let read = async {
            let reader = self.operator.reader(object).await?;
            let mut stream = reader.into_stream(..).await?;
            let metadata = match stream.metadata().await {
                Ok(metadata) => Some(metadata),
                Err(error) if error.kind() == ErrorKind::Unsupported => None,
                Err(error) => return Err(error),
            };
            if metadata.as_ref().is_some_and(|found| found.content_length() > limit as u64) {
                return Ok(Err(Fault::TooLarge));
            }
            let mut bytes = Vec::new();
            while let Some(buffer) = stream.next().await.transpose()? {
                if bytes.len() + buffer.len() > limit {
                    return Ok(Err(Fault::TooLarge));
                }
                for chunk in buffer {
                    bytes.extend_from_slice(&chunk);
                }
            }
            let tag = metadata.and_then(|found| found.etag().map(str::to_owned));
            Ok(Ok(Object { bytes, tag }))
        };
        match read.await {
            Ok(object) => object.map(Some),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(fault(&error)),
        }
    }

    /// Whether it is there.
    pub async fn has(&self, object: &str) -> Result<bool, Fault> {
        let asked = match self.is_plain_web {
            false => return self.operator.exists(object).await.map_err(|error| fault(&error)),
            // The library would ask by PROPFIND, which such a server does not know. The body is not waited for.
            true => {
                async {
                    let mut stream = self.operator.reader(object).await?.into_stream(..).await?;
                    stream.metadata().await
                }
            }
        };
        match asked.await {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(fault(&error)),
        }
    }

    /// Puts it there. Where the engine cannot compare, whoever writes last stays.
    pub async fn put(&self, object: &str, bytes: Vec<u8>, before: &Before) -> Result<(), Fault> {
        let compared = match before {
            Before::Nothing if self.can_create => {
                Some(self.operator.write_with(object, bytes.clone()).if_not_exists(true).await)
            }
            Before::State { tag: Some(tag), .. } if self.can_compare => {
                Some(self.operator.write_with(object, bytes.clone()).if_match(tag).await)
            }
            _ => None,
        };
        match compared {
            Some(Ok(_)) => return Ok(()),
            Some(Err(error)) => match (error.kind(), fault(&error)) {
                (
                    ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists | ErrorKind::Conflict,
                    _,
                ) => {
                    return Err(Fault::Overtaken);
                }
                (_, fault) if fault.is_temporary() => return Err(fault),
                // A server that does not know conditions.
                _ => {}
            },
            None => {}
        }
        match self.operator.write(object, bytes).await {
            Ok(_) => Ok(()),
            Err(error) => Err(fault(&error)),
        }
    }

    /// Removes it.
    pub async fn remove(&self, object: &str) -> Result<(), Fault> {
        self.operator.delete(object).await.map_err(|error| fault(&error))
    }

    /// All objects below the root.
    pub async fn list(&self) -> Result<Vec<Listed>, Fault> {
        if !self.operator.info().capability().list || self.is_plain_web {
            return Err(Fault::Refused("it cannot list its objects".to_owned()));
        }
        let lister = self.operator.lister_with("").recursive(true).await;
        let mut lister = lister.map_err(|error| fault(&error))?;
        let mut listed = Vec::new();
        while let Some(entry) = lister.next().await {
            let entry = entry.map_err(|error| fault(&error))?;
            let Some(name) = Name::from_path(entry.path()) else { continue };
            if listed.len() == LISTED_MAX {
                break;
            }
            let (mut bytes, mut written) = described(entry.metadata());
            if written.is_none()
                && let Ok(found) = self.operator.stat(entry.path()).await
            {
                (bytes, written) = described(&found);
            }
            listed.push(Listed { name, bytes, used: written });
        }
        Ok(listed)
    }
}

fn described(metadata: &opendal::Metadata) -> (u64, Option<SystemTime>) {
    (metadata.content_length(), metadata.last_modified().map(SystemTime::from))
}

/// A missing object. Servers that hide what one may not see say that it is forbidden: that is a fault.
fn is_missing(error: &opendal::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The kind alone is told: messages may hold URLs with tokens in them.
fn fault(error: &opendal::Error) -> Fault {
    match error.kind() {
        ErrorKind::RateLimited => Fault::Busy("429".to_owned()),
        ErrorKind::PermissionDenied => Fault::Refused("permission denied".to_owned()),
        ErrorKind::ConfigInvalid => Fault::Refused("its configuration is wrong".to_owned()),
        ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists => Fault::Overtaken,
        ErrorKind::Unexpected if is_too_many(error) => Fault::Busy("429".to_owned()),
        kind if error.is_temporary() => Fault::Unreachable(format!("{kind}, for now")),
        ErrorKind::Unexpected => Fault::Refused("an unexpected answer".to_owned()),
        kind => Fault::Refused(kind.to_string()),
    }
}

/// Whether a web server answered 429, which opendal tells from others only in what it prints.
fn is_too_many(error: &opendal::Error) -> bool {
    error.to_string().contains("Parts { status: 429,")
}

fn finish(builder: impl Builder) -> Result<Operator, String> {
    Operator::new(builder).map_err(|error| match error.kind() {
        ErrorKind::ConfigInvalid => format!("its settings are not complete: {error}"),
        kind => kind.to_string(),
    })
}

/// The same for what speaks HTTP, over connections that are kept.
fn finish_http(
    builder: impl Builder,
    location: &Location,
    endpoint: &str,
) -> Result<Operator, String> {
    let mut client = reqwest::Client::builder()
        .user_agent("rcache")
        .pool_max_idle_per_host(UNDER_WAY_MAX)
        .connect_timeout(location.timeout);
    if endpoint.starts_with("http://") {
        // Nobody has to read the system's certificates for that.
        client = client.tls_certs_only(std::iter::empty());
    } else if let Some(path) = location.attribute("ca") {
        let told = |why: String| format!("{path}: {why}");
        let text = std::fs::read(path).map_err(|error| told(error.to_string()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&text);
        client = client.tls_certs_merge(certificates.map_err(|error| told(error.to_string()))?);
    }
    let client = client.build().map_err(|error| error.to_string())?;
    let transport = HttpTransporter::new(ReqwestTransport::new(client));
    let context = OperationContext::new().with_http_transport(transport);
    Ok(finish(builder)?.with_context(context))
}

/// Bucket and prefix; keys from the variables, else from the profile, else none.
fn s3(location: &Location) -> Result<Operator, String> {
    let variable = |name| location.variable(name);
    let profile = location.attribute("profile").or_else(|| variable("AWS_PROFILE"));
    let stored = Profile::read(location, profile.unwrap_or("default"));
    let endpoint = location
        .attribute("endpoint")
        .or_else(|| variable("AWS_ENDPOINT_URL_S3"))
        .or_else(|| variable("AWS_ENDPOINT_URL"));
    let region = location
        .attribute("region")
        .or_else(|| variable("AWS_REGION"))
        .or_else(|| variable("AWS_DEFAULT_REGION"))
        .or(stored.region.as_deref());
    let mut builder = services::S3::default()
        .bucket(&location.authority)
        .root(&location.path)
        .region(region.unwrap_or("us-east-1"))
        .disable_config_load();
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint(endpoint);
    }
    let of_variables = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
    let token = variable("AWS_SESSION_TOKEN");
    let (id, secret, token) = match (of_variables, profile) {
        // A profile that is named goes before variables only where the URL names it.
        ((Some(id), Some(secret)), _) if location.attribute("profile").is_none() => {
            (Some(id), Some(secret), token)
        }
        _ => (stored.id.as_deref(), stored.secret.as_deref(), stored.token.as_deref()),
    };
    match (id, secret) {
        (Some(id), Some(secret)) => {
            builder = builder.access_key_id(id).secret_access_key(secret).disable_ec2_metadata();
            if let Some(token) = token {
                builder = builder.session_token(token);
            }
        }
        _ if location.instance => {}
        _ => builder = builder.skip_signature().disable_ec2_metadata(),
    }
    finish_http(builder, location, endpoint.unwrap_or(HTTPS))
}

/// What a profile of AWS says.
#[derive(Default)]
struct Profile {
    id: Option<String>,
    secret: Option<String>,
    token: Option<String>,
    region: Option<String>,
}

impl Profile {
    fn read(location: &Location, name: &str) -> Profile {
        let file = location.variable("AWS_SHARED_CREDENTIALS_FILE").map(Into::into);
        let home = location.variable("HOME").map(|home| Path::new(home).join(".aws"));
        let file = file.or_else(|| home.as_ref().map(|home| home.join("credentials")));
        let mut profile = Profile::default();
        for (path, section) in [
            (file, format!("[{name}]")),
            (
                home.map(|home| home.join("config")),
                match name {
                    "default" => "[default]".to_owned(),
                    name => format!("[profile {name}]"),
                },
            ),
        ] {
            let text = path.and_then(|path| std::fs::read_to_string(path).ok());
            profile.add(text.as_deref().unwrap_or_default(), &section);
        }
        profile
    }

    fn add(&mut self, text: &str, section: &str) {
        let lines = text.lines().map(str::trim).skip_while(|line| *line != section).skip(1);
        for line in lines.take_while(|line| !line.starts_with('[')) {
            let Some((name, value)) = line.split_once('=') else { continue };
            let field = match name.trim() {
                "aws_access_key_id" => &mut self.id,
                "aws_secret_access_key" => &mut self.secret,
                "aws_session_token" => &mut self.token,
                "region" => &mut self.region,
                _ => continue,
            };
            *field = Some(value.trim().to_owned());
        }
    }
}

fn gcs(location: &Location) -> Result<Operator, String> {
    let mut builder = services::Gcs::default()
        .bucket(&location.authority)
        .root(&location.path)
        .disable_config_load();
    if let Some(endpoint) = location.attribute("endpoint") {
        builder = builder.endpoint(endpoint);
    }
    if let Some(token) = &location.token {
        builder = builder.token(token.reveal().to_owned());
    } else if let Some(path) = location.variable("GOOGLE_APPLICATION_CREDENTIALS") {
        builder = builder.credential_path(path).disable_vm_metadata();
    } else if !location.instance {
        builder = builder.skip_signature().disable_vm_metadata();
    }
    finish_http(builder, location, location.attribute("endpoint").unwrap_or(HTTPS))
}

fn azblob(location: &Location) -> Result<Operator, String> {
    let account =
        location.attribute("account").or_else(|| location.variable("AZURE_STORAGE_ACCOUNT"));
    let account = account.ok_or("name the account: |account=NAME, or AZURE_STORAGE_ACCOUNT")?;
    let usual = format!("https://{account}.blob.core.windows.net");
    let endpoint = location.attribute("endpoint").unwrap_or(&usual);
    let mut builder = services::Azblob::default()
        .container(&location.authority)
        .root(&location.path)
        .account_name(account)
        .endpoint(endpoint);
    if let Some(key) = location.variable("AZURE_STORAGE_KEY") {
        builder = builder.account_key(key);
    } else if let Some(token) = location.variable("AZURE_STORAGE_SAS_TOKEN") {
        builder = builder.sas_token(token);
    } else if !location.instance {
        builder = builder.skip_signature();
    }
    finish_http(builder, location, endpoint)
}

fn memcached(location: &Location) -> Result<Operator, String> {
    let port = if location.authority.contains(':') { "" } else { ":11211" };
    let mut builder = services::Memcached::default()
        .endpoint(&format!("tcp://{}{port}", location.authority))
        .root(location.attribute("prefix").unwrap_or("/rcache"));
    if let (Some(user), Some(password)) = (&location.user, &location.password) {
        builder = builder.username(user).password(password.reveal());
    }
    if let Some(ttl) = location.ttl {
        builder = builder.default_ttl(ttl);
    }
    finish(builder)
}

/// Plain GET and PUT: nginx and Bazel's caches know no folders.
fn http(location: &Location) -> Result<Operator, String> {
    let endpoint = format!("{}://{}", location.scheme_name, location.authority);
    let mut builder = services::Webdav::default()
        .endpoint(&endpoint)
        .root(&location.path)
        .disable_create_dir(location.layout != Layout::Webdav);
    if let Some(token) = &location.token {
        builder = builder.token(token.reveal());
    } else if let Some(user) = &location.user {
        let password = location.password.as_ref().map_or("", |password| password.reveal());
        builder = builder.username(user).password(password);
    }
    finish_http(builder, location, &endpoint)
}

/// What is written is visible whole or not at all, also for the other clients of a server.
fn folder(location: &Location) -> Result<Operator, String> {
    let unfinished = Path::new(&location.path).join(UNFINISHED);
    let builder = services::Fs::default()
        .root(&location.path)
        .atomic_write_dir(&unfinished.to_string_lossy());
    finish(builder)
}

fn ghac(location: &Location) -> Result<Operator, String> {
    let url = location.variable("ACTIONS_RESULTS_URL");
    let url = url.ok_or("ACTIONS_RESULTS_URL and ACTIONS_RUNTIME_TOKEN are not set")?;
    let token = location.variable("ACTIONS_RUNTIME_TOKEN").unwrap_or_default();
    let version = location.attribute("version").unwrap_or("rcache");
    let builder = services::Ghac::default()
        .endpoint(url)
        .runtime_token(token)
        .version(version)
        .root(location.path.as_str());
    finish_http(builder, location, url)
}

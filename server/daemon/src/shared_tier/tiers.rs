//! The shared caches in use: each setting and environment has one, with its connections.

use crate::lock;
use crate::serve::runtime::Runtime;
use config::{Config, Environment};
use shared::keys::{KeyError, PublicKey, SigningKey, Trusted};
use shared::{Location, Settings, Tier, ci};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Different settings at one time; more than a few are rare.
const KEPT_MAX: usize = 8;
/// Beside the user's rcache.toml.
const SIGNING_KEY: &str = "signing.key";
/// The same, and beside the machine's.
const TRUSTED_KEYS: &str = "trusted_keys";
const MACHINE_FOLDER: &str = "/etc/rcache";

/// All tiers that were used lately.
#[derive(Default)]
pub struct Tiers(Mutex<Vec<Arc<Kept>>>);

/// A tier and what it was made of.
pub struct Kept {
    wanted: Wanted,
    /// The tier.
    pub tier: Tier,
}

/// What settings and environment say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    locations: Vec<Location>,
    trusted: Trusted,
    signer: Option<PublicKey>,
    may_write: bool,
    /// What is wrong, or why nothing is written, in words.
    pub problems: Vec<String>,
}

/// Where the keys of a user are.
pub fn key_files(config: &Config, environment: &Environment) -> (Option<PathBuf>, Vec<PathBuf>) {
    let variable = |name: &str| environment.get(name).map(ToOwned::to_owned);
    let folder = config::paths::settings_folder(&variable);
    let signing = config.signing_key.clone();
    let signing = signing.or_else(|| folder.as_ref().map(|folder| folder.join(SIGNING_KEY)));
    let folders = folder.into_iter().chain([PathBuf::from(MACHINE_FOLDER)]);
    (signing, folders.map(|folder| folder.join(TRUSTED_KEYS)).collect())
}

/// Reads what settings and environment say of the shared cache.
pub fn wanted(config: &Config, environment: &Environment) -> (Wanted, Option<SigningKey>) {
    let lookup = |name: &str| environment.get(name)?.to_str().map(str::to_owned);
    let mut wanted = Wanted::default();
    for text in &config.remote_storage {
        match Location::parse(text, &lookup) {
            Ok(location) => wanted.locations.push(location),
            Err(error) => wanted.problems.push(format!("remote_storage: {error}")),
        }
    }
    let (signing, lists) = key_files(config, environment);
    let listed = lists.iter().map(|list| wanted.trusted.add_file(list)).collect::<Vec<_>>();
    let set =
        config.trusted_keys.iter().map(|key| wanted.trusted.add_list(key)).collect::<Vec<_>>();
    let wrong = listed.into_iter().chain(set).filter_map(Result::err);
    wanted.problems.extend(wrong.map(|error| format!("trusted keys: {error}")));
    let signer = signing_key(config, signing.as_deref(), &mut wanted);
    let refusal = ci::refusal(&lookup);
    if let (true, Some(why)) = (config.remote_write, refusal) {
        let is_told = |location: &Location| location.any_branch || location.read_only;
        if !wanted.locations.iter().all(is_told) {
            wanted.problems.push(format!("{why}; the attribute any-branch lets it"));
        }
        for location in &mut wanted.locations {
            location.read_only |= !location.any_branch;
        }
    }
    wanted.signer = signer.as_ref().map(SigningKey::public);
    wanted.may_write = config.remote_write && !config.read_only;
    let is_lax = wanted.locations.iter().any(|location| location.unsigned);
    if wanted.trusted.is_empty() && signer.is_none() && !is_lax && !wanted.locations.is_empty() {
        let what =
            "no key is trusted, so nothing of the shared cache counts; `rcache keys trust KEY`";
        wanted.problems.push(what.to_owned());
    }
    (wanted, signer)
}

fn signing_key(config: &Config, path: Option<&Path>, wanted: &mut Wanted) -> Option<SigningKey> {
    let path = path?;
    let is_missing = |error: &KeyError| match error {
        KeyError::File { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    };
    let needs = wanted.locations.iter().any(|location| !location.read_only && !location.unsigned);
    match SigningKey::read(path) {
        Ok(key) => Some(key),
        Err(error) if is_missing(&error) && config.signing_key.is_none() => {
            if config.remote_write && needs {
                let what =
                    "no key signs uploads, so nothing is written; `rcache keys new` makes one";
                wanted.problems.push(what.to_owned());
            }
            None
        }
        Err(error) => {
            wanted.problems.push(format!("signing_key: {error}"));
            None
        }
    }
}

impl Tiers {
    /// The shared cache of these settings; made where it is not there yet.
    pub fn find(
        &self,
        runtime: &Runtime,
        config: &Config,
        environment: &Environment,
    ) -> Option<Arc<Kept>> {
        let (wanted, signer) = wanted(config, environment);
        if wanted.locations.is_empty() {
            return None;
        }
        let mut kept = lock(&self.0);
        if let Some(found) = kept.iter().find(|kept| kept.wanted == wanted) {
            return Some(Arc::clone(found));
        }
        for problem in &wanted.problems {
            tracing::warn!("{problem}");
        }
        let runtime = runtime.handle();
        let runtime = runtime.inspect_err(|error| tracing::error!("no shared cache: {error}"));
        let settings = Settings {
            locations: wanted.locations.clone(),
            trusted: wanted.trusted.clone(),
            signer,
            may_write: wanted.may_write,
        };
        let tier = Tier::new(settings, runtime.ok()?.clone());
        if kept.len() == KEPT_MAX {
            // One that still uploads is kept, for whoever waits for that.
            let idle = kept.iter().position(|kept| kept.tier.waiting() == 0);
            kept.remove(idle.unwrap_or(0));
        }
        let new = Arc::new(Kept { wanted, tier });
        kept.push(Arc::clone(&new));
        Some(new)
    }

    /// Waits until nothing is to be uploaded any more, or for so long; gives what is left.
    pub fn flush(&self, limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        let all: Vec<Arc<Kept>> = lock(&self.0).clone();
        all.iter()
            .map(|kept| kept.tier.flush(deadline.saturating_duration_since(Instant::now())))
            .sum()
    }
}

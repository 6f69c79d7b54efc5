//! Uploads, behind the builds' backs: what is there is read, the own result added, the whole put back.
//!
//! Where the engine can compare (S3 and Azure by tags, Redis by a script), a bundle is replaced only in the state
//! in which it was read. Elsewhere it is read back once; two that write within the same moment may still lose one
//! record, which is a miss later and never a wrong answer.

use super::{Count, Event, Shared, Tier};
use crate::bundle::{Addition, BUNDLE_BYTES_MAX, Bundle, NEWEST_BYTES_MAX, merge, state};
use crate::engine::{Before, Engine, Fault, Object};
use crate::envelope::{BODY_BYTES_MAX, Envelope, seal};
use crate::location::Scheme;
use crate::name::Name;
use crate::queue::{self, TRY_FOR};
use crate::remote::{Remote, add};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Writers of one unit at one moment.
const MERGES_MAX: usize = 6;
/// A record and its bundle take this much beside the result.
const ROOM_BYTES: usize = 128 << 10;

/// A result that may be uploaded.
#[derive(Clone)]
pub struct Offer {
    /// The unit of which it is a result.
    pub unit: Name,
    /// What its compile read: leads to the result.
    pub record: Vec<u8>,
    /// To which result the record leads.
    pub result: Name,
    /// The name of the outputs: the result's, or that of one of its looks.
    pub outputs: Name,
    /// How long the outputs are.
    pub bytes: u64,
    /// Reads them.
    pub read: Arc<dyn Fn() -> Option<Vec<u8>> + Send + Sync>,
    /// Whom to tell.
    pub count: Count,
}

impl Tier {
    /// Uploads a result to each remote that may be written to. Nobody waits.
    pub fn offer(&self, offer: Offer) {
        if offer.bytes > BODY_BYTES_MAX as u64 {
            return;
        }
        for index in 0..self.shared.remotes.len() {
            let remote = &self.shared.remotes[index];
            if !self.shared.may_write_to(remote) {
                continue;
            }
            let Some(one) = self.shared.waiting.begin() else {
                add(&remote.counts.errors, 1);
                (offer.count)(Event::Error);
                continue;
            };
            let (shared, offer) = (Arc::clone(&self.shared), offer.clone());
            self.runtime.spawn(async move {
                shared.upload(index, offer).await;
                drop(one);
            });
        }
    }
}

/// How an upload ended.
enum Uploaded {
    Written,
    /// It was there already.
    Known,
}

impl Shared {
    /// Tries until it is written, or no longer worth it.
    async fn upload(&self, index: usize, offer: Offer) {
        let remote = &self.remotes[index];
        let (begun, mut failures) = (Instant::now(), 0);
        loop {
            let rest = remote.rest();
            if !rest.is_zero() {
                tokio::time::sleep(rest).await;
            }
            let fault = match self.try_upload(remote, &offer).await {
                Ok(Uploaded::Written) => {
                    self.forget(offer.unit);
                    add(&remote.counts.writes, 1);
                    (offer.count)(Event::Write);
                    return;
                }
                Ok(Uploaded::Known) => {
                    self.forget(offer.unit);
                    return;
                }
                Err(fault) => fault,
            };
            if !fault.is_temporary() || begun.elapsed() >= TRY_FOR {
                tracing::warn!(remote = remote.location.shown, "a result is not uploaded: {fault}");
                add(&remote.counts.errors, 1);
                (offer.count)(Event::Error);
                return;
            }
            let pause = queue::pause(failures, offer.unit.digest[failures as usize % Name::LEN]);
            failures += 1;
            if let Fault::Busy(_) = fault {
                // Everybody's uploads rest: what is asked for goes first.
                remote.pause(pause.min(Duration::from_secs(1)));
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_upload(&self, remote: &Remote, offer: &Offer) -> Result<Uploaded, Fault> {
        let closed = |_| Fault::Refused("the daemon ends".to_owned());
        let _turn = remote.under_way.acquire().await.map_err(closed)?;
        let steps = queue::steps(offer.bytes);
        let _memory = remote.memory.acquire_many(steps).await.map_err(closed)?;
        let mut outputs = None;
        for _ in 0..MERGES_MAX {
            let old = remote.get(offer.unit, BUNDLE_BYTES_MAX).await;
            let old = match old {
                // Nobody of ours wrote that.
                Err(Fault::TooLarge) => None,
                old => old?,
            };
            if self.is_known(remote, offer, old.as_ref()).await? {
                return Ok(Uploaded::Known);
            }
            let sealed = match outputs.take() {
                Some(sealed) => sealed,
                None => self.sealed_outputs(remote, offer).await?,
            };
            match self.add(remote, offer, old, &sealed).await {
                Err(Fault::Overtaken) => outputs = Some(sealed),
                Ok(()) if self.is_there(remote, offer).await? => return Ok(Uploaded::Written),
                Ok(()) => outputs = Some(sealed),
                Err(fault) => return Err(fault),
            }
        }
        Err(Fault::Overtaken)
    }

    async fn sealed_outputs(&self, remote: &Remote, offer: &Offer) -> Result<Vec<u8>, Fault> {
        let read = Arc::clone(&offer.read);
        let gone = || Fault::Refused("the result left the cache before".to_owned());
        let outputs = tokio::task::spawn_blocking(move || read()).await.ok().flatten();
        let outputs = outputs.ok_or_else(gone)?;
        if outputs.len() > BODY_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        let sealed = seal(offer.outputs, None, &outputs, self.signer.as_ref());
        match sealed.len() > Engine::bytes_max(&remote.location) {
            true => Err(Fault::TooLarge),
            false => Ok(sealed),
        }
    }

    /// Whether others have uploaded the same.
    async fn is_known(
        &self,
        remote: &Remote,
        offer: &Offer,
        old: Option<&Object>,
    ) -> Result<bool, Fault> {
        let Some(bundle) = old.and_then(|old| Bundle::decode(&old.bytes).ok()) else {
            return Ok(false);
        };
        let trusted = self.trusted_on(remote);
        let mut records = bundle.open(offer.unit, &trusted).flatten();
        if !records.any(|(subject, _)| subject == offer.result.digest) {
            return Ok(false);
        }
        let is_newest = |newest: &Envelope| {
            newest.name() == offer.outputs && newest.open(offer.outputs, &trusted).is_ok()
        };
        match bundle.newest.as_ref().is_some_and(is_newest) {
            true => Ok(true),
            false => remote.has(offer.outputs).await,
        }
    }

    async fn add(
        &self,
        remote: &Remote,
        offer: &Offer,
        old: Option<Object>,
        sealed: &[u8],
    ) -> Result<(), Fault> {
        let bytes_max = Engine::bytes_max(&remote.location);
        let is_small = sealed.len() <= NEWEST_BYTES_MAX
            && sealed.len().saturating_add(ROOM_BYTES) <= bytes_max;
        let envelope =
            Envelope::parse(sealed).map_err(|fault| Fault::Refused(fault.to_string()))?;
        if !is_small {
            remote.put(offer.outputs, sealed.to_vec(), &Before::Whatever).await?;
        }
        let record = seal(offer.unit, Some(offer.result), &offer.record, self.signer.as_ref());
        let record = Envelope::parse(&record).map_err(|fault| Fault::Refused(fault.to_string()))?;
        let before = match &old {
            None => Before::Nothing,
            Some(old) => Before::State { check: state(&old.bytes), tag: old.tag.clone() },
        };
        let bundle = old.as_ref().and_then(|old| Bundle::decode(&old.bytes).ok());
        let addition = Addition { record, newest: is_small.then_some(envelope) };
        let trusted = self.trusted_on(remote);
        let merged = merge(bundle.unwrap_or_default(), addition, offer.unit, &trusted, bytes_max);
        if let Some((name, moved)) = merged.moved
            && !remote.has(name).await?
        {
            remote.put(name, moved.bytes.to_vec(), &Before::Whatever).await?;
        }
        remote.put(offer.unit, merged.bundle.encode(), &before).await
    }

    /// Whether what was written stayed, where the engine cannot compare.
    async fn is_there(&self, remote: &Remote, offer: &Offer) -> Result<bool, Fault> {
        if matches!(remote.location.scheme, Scheme::Redis | Scheme::S3 | Scheme::Azblob) {
            return Ok(true);
        }
        let Some(now) = remote.get(offer.unit, BUNDLE_BYTES_MAX).await? else { return Ok(true) };
        let trusted = self.trusted_on(remote);
        let bundle = Bundle::decode(&now.bytes).unwrap_or_default();
        let mut records = bundle.open(offer.unit, &trusted).flatten();
        Ok(records.any(|(subject, _)| subject == offer.result.digest))
    }
}

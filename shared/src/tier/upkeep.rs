//! Looking after a remote: what is there, what is old, what is not as it was written.

use super::{Shared, Tier};
use crate::bundle::{BUNDLE_BYTES_MAX, Bundle};
use crate::engine::{Fault, Listed};
use crate::envelope::{BODY_BYTES_MAX, Envelope, HEADER_BYTES};
use crate::name::{Kind, Name};
use crate::remote::Remote;
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Requests of upkeep that are under way at one time.
const REQUESTS: usize = 16;

/// What is on a remote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Units of which something is known.
    pub units: u64,
    /// Results that have objects of their own.
    pub results: u64,
    /// All of their bytes.
    pub bytes: u64,
}

/// What a trim did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Objects removed.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is left.
    pub left_bytes: u64,
}

/// What a check found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Objects that are as somebody trusted wrote them.
    pub sound: u64,
    /// Objects of which a part is not, or is of nobody who is trusted.
    pub untrusted: u64,
    /// Of these, how many were removed.
    pub removed: u64,
}

impl Tier {
    fn each<T: Send + 'static, F>(
        &self,
        work: impl Fn(Arc<Shared>, usize) -> F,
    ) -> Vec<(String, Result<T, Fault>)>
    where
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let each = self.shared.remotes.iter().enumerate().map(|(index, remote)| {
            let (send, receive) = std::sync::mpsc::sync_channel(1);
            let work = work(Arc::clone(&self.shared), index);
            self.runtime.spawn(async move {
                let _ = send.send(work.await);
            });
            let ended = || Err(Fault::Unreachable("it broke off".to_owned()));
            (remote.location.shown.clone(), receive.recv().unwrap_or_else(|_| ended()))
        });
        each.collect()
    }

    /// How long each remote takes to answer.
    pub fn ping(&self) -> Vec<(String, Result<Duration, Fault>)> {
        self.each(|shared, index| async move {
            let begun = Instant::now();
            let nothing = Name::of(Kind::Unit, b"ping", b"");
            shared.remotes[index].get(nothing, BUNDLE_BYTES_MAX).await?;
            Ok(begun.elapsed())
        })
    }

    /// What is on each remote.
    pub fn contents(&self) -> Vec<(String, Result<Contents, Fault>)> {
        self.each(|shared, index| async move {
            let listed = shared.remotes[index].connected()?.list().await?;
            let mut contents = Contents::default();
            for object in listed {
                match object.name.kind {
                    Kind::Unit => contents.units += 1,
                    Kind::Result => contents.results += 1,
                }
                contents.bytes += object.bytes;
            }
            Ok(contents)
        })
    }

    /// Removes what was not used or written for so long, then the oldest until all fits. Remotes that are only
    /// read are left alone.
    pub fn trim(
        &self,
        max_bytes: Option<u64>,
        older_than: Option<Duration>,
    ) -> Vec<(String, Result<Trimmed, Fault>)> {
        self.each(move |shared, index| async move {
            let remote = &shared.remotes[index];
            if remote.location.read_only {
                return Err(Fault::Refused("it is read-only".to_owned()));
            }
            let listed = remote.connected()?.list().await?;
            let before = older_than.and_then(|age| SystemTime::now().checked_sub(age));
            let (victims, left_bytes) = victims(listed, max_bytes, before);
            let mut trimmed = Trimmed { left_bytes, ..Trimmed::default() };
            let mut removals = futures_util::stream::iter(victims)
                .map(|victim| async move {
                    let engine = remote.connected()?;
                    engine.remove(&remote.location, victim.name).await.map(|()| victim.bytes)
                })
                .buffer_unordered(REQUESTS);
            while let Some(removed) = removals.next().await {
                trimmed.bytes += removed?;
                trimmed.objects += 1;
            }
            Ok(trimmed)
        })
    }

    /// Reads every object; removes those that are no answer, where that is wanted.
    pub fn verify(&self, remove: bool) -> Vec<(String, Result<Verified, Fault>)> {
        self.each(move |shared, index| async move {
            let remote = &shared.remotes[index];
            let listed = remote.connected()?.list().await?;
            let mut verified = Verified::default();
            let shared = &shared;
            let mut checks = futures_util::stream::iter(listed)
                .map(|object| async move {
                    let is_sound = shared.is_sound(remote, object.name).await;
                    (object, is_sound)
                })
                .buffer_unordered(REQUESTS);
            while let Some((object, is_sound)) = checks.next().await {
                match is_sound? {
                    true => verified.sound += 1,
                    false => {
                        verified.untrusted += 1;
                        if remove && !remote.location.read_only {
                            remote.connected()?.remove(&remote.location, object.name).await?;
                            verified.removed += 1;
                        }
                    }
                }
            }
            Ok(verified)
        })
    }
}

impl Shared {
    async fn is_sound(&self, remote: &Remote, name: Name) -> Result<bool, Fault> {
        let limit = match name.kind {
            Kind::Unit => BUNDLE_BYTES_MAX,
            Kind::Result => BODY_BYTES_MAX + HEADER_BYTES,
        };
        let object = match remote.get(name, limit).await {
            Ok(Some(object)) => object,
            // Somebody removed it meanwhile.
            Ok(None) => return Ok(true),
            Err(Fault::TooLarge) => return Ok(false),
            Err(fault) => return Err(fault),
        };
        let trusted = self.trusted_on(remote);
        Ok(match name.kind {
            Kind::Result => {
                let opened = Envelope::parse(&object.bytes);
                opened.is_ok_and(|envelope| envelope.open(name, &trusted).is_ok())
            }
            Kind::Unit => Bundle::decode(&object.bytes).is_ok_and(|bundle| {
                bundle.open(name, &trusted).all(|record| record.is_ok())
                    && bundle.newest.is_none_or(|newest| {
                        newest.name().kind == Kind::Result
                            && newest.open(newest.name(), &trusted).is_ok()
                    })
            }),
        })
    }
}

/// What has to go, the oldest first, and what is left.
fn victims(
    mut listed: Vec<Listed>,
    max_bytes: Option<u64>,
    before: Option<SystemTime>,
) -> (Vec<Listed>, u64) {
    listed.sort_by_key(|object| object.used);
    let mut left: u64 = listed.iter().map(|object| object.bytes).sum();
    let mut victims = Vec::new();
    for object in listed {
        let is_old = object.used.zip(before).is_some_and(|(used, before)| used < before);
        if is_old || max_bytes.is_some_and(|max| left > max) {
            left -= object.bytes;
            victims.push(object);
        }
    }
    (victims, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let now = SystemTime::now();
        let object = |age: u64, bytes| Listed {
            name: Name::of(Kind::Result, b"", &age.to_le_bytes()),
            bytes,
            used: Some(now - Duration::from_secs(age)),
        };
        let all = vec![object(1, 10), object(100, 20), object(50, 30)];
        let ages = |(victims, left): (Vec<Listed>, u64)| {
            let age = |listed: &Listed| now.duration_since(listed.used.unwrap()).unwrap().as_secs();
            (victims.iter().map(age).collect::<Vec<_>>(), left)
        };
        let old = Some(now - Duration::from_secs(60));
        assert_eq!(ages(victims(all.clone(), None, old)), (vec![100], 40));
        assert_eq!(ages(victims(all.clone(), Some(15), None)), (vec![100, 50], 10));
        assert_eq!(ages(victims(all, None, None)), (vec![], 60));
    }
}

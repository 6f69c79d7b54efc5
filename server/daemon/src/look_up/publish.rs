//! Putting the files of a result into their places, where they are still wanted there.

use crate::serve::conversation::Conversation;
use crate::understand::compilers::Stop;
use crate::understand::unit::Unit;
use crate::{Daemon, lock};
use cache::entry::{Entry, Part, PartKind};
use cache::outputs::{self, Delivery, Whole};
use compiler::invocation::Way;
use compiler::outcome::{Counter, Uncacheable};
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::SystemTime;

/// Folders that were searched for leftovers; at 16 bytes each. When full, all are searched again.
const FOLDERS_MAX: usize = 10_000;

/// Renames the files, unless their launcher was stopped or a later call has begun to write them:
/// in both cases what is there by now may be newer.
pub fn publish(conversation: &Conversation, unit: &Unit, whole: Whole) -> Result<(), Stop> {
    if conversation.is_gone() {
        return Err(Stop::Gone(io::ErrorKind::BrokenPipe.into()));
    }
    let Some(writer) = unit.claim.begin_unless_overtaken() else {
        let overtaken = Uncacheable::new(Counter::BadOutputFile, "a later call writes it");
        return Err(Stop::Uncacheable(overtaken));
    };
    let published = whole.publish();
    drop(writer);
    published.map_err(not_delivered)
}

/// The compiler is to say itself what is wrong with the file.
pub fn not_delivered(error: io::Error) -> Stop {
    Stop::Uncacheable(Uncacheable::new(Counter::BadOutputFile, error.to_string()))
}

/// Puts the rule of this call in place of the stored one, where they differ.
pub fn own_rule(unit: &Unit, delivery: &mut Delivery) -> io::Result<()> {
    if !unit.has_own_rule() {
        return Ok(());
    }
    let stored = delivery.stored().part(PartKind::Depfile).map(|part| part.content());
    if let Some(stored) = stored.transpose()? {
        let rule = unit.own_rule(&stored, Way::ToCaller).ok_or(io::ErrorKind::InvalidData)?;
        delivery.replace(PartKind::Depfile, rule);
    }
    Ok(())
}

/// The same for a result that is not stored yet.
pub fn prepare(unit: &Unit, entry: &Entry) -> io::Result<Whole> {
    if !unit.has_own_rule() {
        return outputs::prepare(&unit.here, entry, &unit.outputs);
    }
    outputs::prepare(&unit.here, &own_entry(unit, entry)?, &unit.outputs)
}

/// A stored result as this call's compile would give it.
pub fn own_entry(unit: &Unit, entry: &Entry) -> io::Result<Entry> {
    let mut own = Entry::default();
    for Part { kind, bytes } in &entry.parts {
        let bytes = match kind {
            PartKind::Depfile => {
                unit.own_rule(bytes, Way::ToCaller).ok_or(io::ErrorKind::InvalidData)?
            }
            _ => bytes.clone(),
        };
        own.push(*kind, bytes);
    }
    Ok(own)
}

/// The folders in which this daemon has looked for what another left when it was killed.
#[derive(Default)]
pub struct Searched(Mutex<HashSet<(u64, u64)>>);

impl Searched {
    fn is_new(&self, folder: (u64, u64)) -> bool {
        let mut folders = lock(&self.0);
        if folders.len() >= FOLDERS_MAX {
            folders.clear();
        }
        folders.insert(folder)
    }
}

/// Removes what is left of deliveries that were never finished, once for each folder. To be called
/// when nobody waits.
pub fn remove_leftovers(daemon: &Daemon, unit: &Unit) {
    let new = unit.claim.folders().filter(|folder| daemon.searched.is_new(*folder)).count();
    if new == 0 {
        return;
    }
    let folders = unit.outputs.iter().map(|output| output.path.parent().unwrap_or(Path::new("")));
    for folder in folders.collect::<HashSet<_>>() {
        outputs::remove_leftovers(&unit.here, folder, SystemTime::now());
    }
}

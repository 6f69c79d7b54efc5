//! A whole build at once: each unit is asked for before anybody waits for the first answer.

use super::{Asked, ask, fetch};
use crate::look_up::{Known, mapped};
use crate::serve::conversation::Conversation;
use crate::understand::compilers::Stop;
use crate::understand::unit::{Call, Unit};
use crate::{Cache, Daemon};
use cache::key;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use talk::launcher_protocol::{Caller, Terminal};
use talk::party::Party;
use talk::questions::Prefetched;

/// Units that are asked for at one time.
const WINDOW: usize = 128;

/// Asks for the calls of the caller's folder, and waits for what comes.
pub fn answer(
    daemon: &Daemon,
    conversation: &mut Conversation,
    caller: &Caller,
    calls: &[Vec<String>],
) -> io::Result<Result<Prefetched, String>> {
    let environment = config::Environment::new(&caller.environment);
    let found = daemon.settings.find(&environment);
    let config = &found.loaded.config;
    let cache = match daemon.cache(config) {
        Ok(cache) => cache,
        Err(why) => return Ok(Err(why)),
    };
    if config.remote_storage.is_empty() {
        return Ok(Err("remote_storage is not set".to_owned()));
    }
    let calls: Vec<Call> = calls.iter().filter_map(|words| call(caller, words)).collect();
    let mut came = Prefetched::default();
    let mut window: VecDeque<(Unit, Asked)> = VecDeque::new();
    for call in &calls {
        match Unit::understand(daemon, conversation, call, config) {
            Ok(unit) if is_here(daemon, &cache, &unit) => came.here += 1,
            Ok(unit) => match ask(daemon, &cache, &unit) {
                Some(asked) => window.push_back((unit, asked)),
                None => came.not_cached += 1,
            },
            Err(Stop::Gone(error)) => return Err(error),
            Err(_) => came.not_cached += 1,
        }
        if window.len() >= WINDOW {
            take_first(daemon, &cache, &mut window, &mut came);
        }
        conversation.still_waiting()?;
    }
    while !window.is_empty() {
        take_first(daemon, &cache, &mut window, &mut came);
        conversation.still_waiting()?;
    }
    Ok(Ok(came))
}

fn call(caller: &Caller, words: &[String]) -> Option<Call> {
    let (compiler, arguments) = words.split_first()?;
    Some(Call {
        caller: caller.clone(),
        terminal: Terminal::default(),
        compiler: compiler.into(),
        arguments: arguments.iter().map(OsString::from).collect(),
    })
}

fn take_first(
    daemon: &Daemon,
    cache: &Arc<Cache>,
    window: &mut VecDeque<(Unit, Asked)>,
    came: &mut Prefetched,
) {
    let Some((unit, asked)) = window.pop_front() else { return };
    match fetch(daemon, cache, &unit, asked) {
        true => came.fetched += 1,
        false => came.missing += 1,
    }
}

/// Whether the local store has what is right now.
fn is_here(daemon: &Daemon, cache: &Cache, unit: &Unit) -> bool {
    let known = Known::load(cache, unit);
    let manifest = known.manifest();
    manifest.results().any(|recorded| {
        let looks = [recorded.key, key::look_key(recorded.key, unit.look)];
        looks.iter().any(|key| cache.store.contains(*key))
            && mapped::fits(unit, &recorded)
            && recorded.check(&daemon.memo, &unit.here, unit.now).is_ok()
    })
}

//! `rcache explain`: whether a call would hit, miss or not be cached, and why, without compiling.

use crate::look_up::{self, Known};
use crate::make::elsewhere;
use crate::remember;
use crate::serve::conversation::Conversation;
use crate::understand::compilers::Stop;
use crate::understand::unit::{Call, Unit};
use crate::{Cache, Daemon, shared_tier};
use cache::entry::PartKind;
use compiler::hasher::Digest;
use compiler::outcome::Counter;
use config::Environment;
use std::io;
use std::sync::Arc;
use talk::launcher_protocol::Caller;
use talk::questions::Foretold;

/// Reasons that are listed for a miss; the first few say it all.
const REASONS_MAX: usize = 12;

/// A value longer than this is cut in the middle of a sentence.
const VALUE_CHARS_MAX: usize = 100;

/// What would become of a call; `words` are its compiler and the words after it.
pub fn explain(
    daemon: &Daemon,
    conversation: &mut Conversation,
    caller: &Caller,
    words: &[String],
) -> io::Result<Result<Foretold, String>> {
    let Some(call) = Call::asked_about(caller, words) else {
        return Ok(Err("no compiler is named".to_owned()));
    };
    let found = daemon.settings.find(&Environment::new(&caller.environment));
    let config = &found.loaded.config;
    let cache = match daemon.cache(config) {
        Ok(cache) => cache,
        Err(why) => return Ok(Err(why)),
    };
    if config.disable {
        return Ok(Ok(verdict(Counter::Disabled.name(), vec!["`disable` is set".to_owned()])));
    }
    let foretold = Unit::understand(daemon, conversation, &call, config)
        .and_then(|unit| explain_unit(daemon, conversation, &cache, &unit));
    match foretold {
        Ok(verdict) => Ok(Ok(verdict)),
        Err(Stop::Uncacheable(reason)) => {
            let detail = Some(reason.detail).filter(|detail| !detail.is_empty());
            Ok(Ok(verdict(reason.counter.name(), detail.into_iter().collect())))
        }
        Err(Stop::Gone(error)) => Err(error),
        Err(Stop::CompileFailed) => Ok(Ok(verdict(Counter::CompileFailed.name(), Vec::new()))),
    }
}

fn verdict(name: &str, reasons: Vec<String>) -> Foretold {
    Foretold { verdict: name.to_owned(), reasons }
}

fn explain_unit(
    daemon: &Daemon,
    conversation: &mut Conversation,
    cache: &Arc<Cache>,
    unit: &Unit,
) -> Result<Foretold, Stop> {
    let (known, found) = look_up::direct(daemon, cache, unit);
    if found.is_some() {
        let reason = "the source, and every file that it read or missed, are as they were";
        return Ok(verdict(Counter::DirectCacheHit.name(), vec![reason.to_owned()]));
    }
    let shared = shared_tier::outlook(daemon, unit);
    if let Some((true, reason)) = shared {
        return Ok(verdict(Counter::DirectCacheHit.name(), vec![reason]));
    }
    // A compile would ask, too; without an answer nothing is stored.
    let search = remember::search_path(daemon, conversation, unit)?;
    let mut reasons = Vec::new();
    if let Some(why) = &known.needs_text {
        let usual = "time macros, or a __has_include or #include whose operand is a macro";
        let why = if why.is_empty() { usual } else { why };
        reasons.push(format!(
            "the source needs preprocessed mode ({why}): whether it hits shows when it is \
             preprocessed"
        ));
    } else if !unit.config.direct_mode {
        reasons.push("`direct_mode` is off: the preprocessed text decides".to_owned());
    } else if known.is_seen {
        reasons = changed_inputs(daemon, unit, &known);
    } else {
        reasons = nearest(cache, unit);
    }
    reasons.truncate(REASONS_MAX);
    reasons.extend(shared.map(|(_, reason)| reason));
    reasons.extend(elsewhere::outlook(daemon, conversation, cache, unit, search.as_deref())?);
    Ok(verdict(Counter::CacheMiss.name(), reasons))
}

/// The same call was seen, with other headers.
fn changed_inputs(daemon: &Daemon, unit: &Unit, known: &Known) -> Vec<String> {
    let manifest = known.manifest();
    let Some(newest) = manifest.results().next() else {
        return vec!["the call was seen, but no result of it was stored".to_owned()];
    };
    if !unit.is_of_today(newest.day) {
        return vec!["the last result shows the date of another day".to_owned()];
    }
    match newest.check(&daemon.memo, &unit.here, unit.now) {
        Err(mismatch) => vec![format!("compared with the last result: {mismatch}")],
        Ok(()) => {
            vec!["the inputs are as they were, but the result is no longer in the store".to_owned()]
        }
    }
}

/// The same source was seen, with another option, compiler or environment; or not at all.
fn nearest(cache: &Cache, unit: &Unit) -> Vec<String> {
    let now = unit.key_fields().0;
    let differences = cache
        .store
        .manifests_of_source(unit.source_name())
        .into_iter()
        .filter_map(|key| stored_fields(cache, key))
        .map(|then| compare(&then, &now))
        .min_by_key(Vec::len);
    match differences {
        Some(differences) => differences,
        None => vec!["this source was never compiled through this cache".to_owned()],
    }
}

fn stored_fields(cache: &Cache, key: Digest) -> Option<Vec<(String, String)>> {
    let entry = cache.store.load(key)?;
    let text = String::from_utf8_lossy(entry.part(PartKind::KeyFields)?).into_owned();
    let fields = text.split_terminator('\0').filter_map(|field| field.split_once('\t'));
    Some(fields.map(|(label, value)| (label.to_owned(), value.to_owned())).collect())
}

/// What one call has and the other has not, label by label.
fn compare(then: &[(String, String)], now: &[(String, String)]) -> Vec<String> {
    let (then, now) = (paired(then), paired(now));
    let missing = |from: &[(String, String)], other: &[(String, String)]| {
        let mut rest = other.to_vec();
        let mut missing = Vec::new();
        for field in from {
            match rest.iter().position(|candidate| candidate == field) {
                Some(at) => {
                    rest.remove(at);
                }
                None => missing.push(field.clone()),
            }
        }
        missing
    };
    let mut gone = missing(&then, &now);
    let come = missing(&now, &then);
    let mut differences = Vec::new();
    for (label, value) in come {
        match gone.iter().position(|(other, _)| *other == label) {
            Some(at) => {
                let (_, before) = gone.remove(at);
                differences.push(changed(&label, &before, &value));
            }
            None => differences.push(format!("{label} {} is new", shown(&value))),
        }
    }
    differences.extend(
        gone.into_iter().map(|(label, value)| format!("{label} {} is gone", shown(&value))),
    );
    if differences.is_empty() {
        differences.push("the order of the options changed".to_owned());
    }
    differences
}

/// Puts the value of a variable or the content of a file under its name.
fn paired(fields: &[(String, String)]) -> Vec<(String, String)> {
    let mut paired: Vec<(String, String)> = Vec::new();
    for (label, value) in fields {
        let name = match label.as_str() {
            "value" | "content" => paired.pop(),
            _ => None,
        };
        match name {
            Some((label, name)) => paired.push((format!("{label} {name}"), value.clone())),
            None => paired.push((label.clone(), value.clone())),
        }
    }
    paired
}

fn changed(label: &str, before: &str, now: &str) -> String {
    match label {
        "compiler" => "the compiler changed".to_owned(),
        "source content" => "the source changed".to_owned(),
        label if label.starts_with("other file") => format!("{label} changed"),
        label => format!("{label}: {} became {}", shown(before), shown(now)),
    }
}

fn shown(value: &str) -> String {
    if value.chars().count() <= VALUE_CHARS_MAX {
        return value.to_owned();
    }
    value.chars().take(VALUE_CHARS_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &[(&str, &str)]) -> Vec<(String, String)> {
        text.iter().map(|(label, value)| (label.to_string(), value.to_string())).collect()
    }

    #[test]
    fn the_option_that_changed_is_named() {
        let then = fields(&[("option", "-O2"), ("option", "-g"), ("source content", "1")]);
        let now = fields(&[("option", "-O3"), ("option", "-g"), ("source content", "1")]);
        assert_eq!(compare(&then, &now), ["option: -O2 became -O3"]);
        let now = fields(&[("option", "-O2"), ("source content", "2")]);
        assert_eq!(compare(&then, &now), ["the source changed", "option -g is gone"]);
        let now = fields(&[("option", "-g"), ("option", "-O2"), ("source content", "1")]);
        assert_eq!(compare(&then, &now), ["the order of the options changed"]);
    }

    #[test]
    fn a_variable_is_shown_with_its_name() {
        let then = fields(&[("variable", "LANG"), ("value", "C")]);
        let now = fields(&[("variable", "LANG"), ("value", "de_DE")]);
        assert_eq!(compare(&then, &now), ["variable LANG: C became de_DE"]);
        assert_eq!(compare(&[], &now), ["variable LANG de_DE is new"]);
    }
}

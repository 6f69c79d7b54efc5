//! The units that are under way because the direct lookup did not find them, for `rcache top`.

use crate::lock;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use talk::questions::UnitRow;

/// Where a unit is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is looked for once more, or waits for another call that compiles the same.
    LookingUp,
    /// It waits for a slot of this machine.
    WaitingHere,
    /// It is preprocessed on this machine.
    Preprocessing,
    /// It waits for a slot of a host.
    Waiting,
    /// This host has it.
    Host(String),
    /// It is compiled on this machine.
    Local,
    /// Its results are stored; its launcher waits no more.
    Storing,
}

impl Stage {
    /// Its name in answers.
    fn name(&self) -> &'static str {
        match self {
            Stage::LookingUp => "looking_up",
            Stage::WaitingHere => "waiting_here",
            Stage::Preprocessing => "preprocessing",
            Stage::Waiting => "waiting",
            Stage::Host(_) => "host",
            Stage::Local => "local",
            Stage::Storing => "storing",
        }
    }
}

/// All units that are under way.
#[derive(Default)]
pub struct Active(Arc<Mutex<Units>>);

#[derive(Default)]
struct Units {
    next_number: u64,
    units: BTreeMap<u64, ActiveUnit>,
}

struct ActiveUnit {
    source: String,
    stage: Stage,
    began: Instant,
    stage_began: Instant,
}

/// One unit's place among them; it goes when this is dropped. The default has none, and costs nothing.
#[derive(Default)]
pub struct Progress(Option<(Arc<Mutex<Units>>, u64)>);

impl Active {
    /// A unit begins.
    pub fn enter(&self, source: &Path) -> Progress {
        let now = Instant::now();
        let source = source.to_string_lossy().into_owned();
        let unit = ActiveUnit { source, stage: Stage::LookingUp, began: now, stage_began: now };
        let mut units = lock(&self.0);
        let number = units.next_number;
        units.next_number += 1;
        units.units.insert(number, unit);
        Progress(Some((Arc::clone(&self.0), number)))
    }

    /// Each unit, the oldest first.
    pub fn report(&self, now: Instant) -> Vec<UnitRow> {
        let since = |then| now.saturating_duration_since(then).as_millis() as u64;
        let row = |unit: &ActiveUnit| UnitRow {
            source: unit.source.clone(),
            stage: unit.stage.name().to_owned(),
            host: match &unit.stage {
                Stage::Host(host) => Some(host.clone()),
                _ => None,
            },
            age_ms: since(unit.began),
            stage_ms: since(unit.stage_began),
        };
        lock(&self.0).units.values().map(row).collect()
    }
}

impl Progress {
    /// The unit is there now.
    pub fn at(&self, stage: Stage) {
        let Some((units, number)) = &self.0 else { return };
        if let Some(unit) = lock(units).units.get_mut(number)
            && unit.stage != stage
        {
            unit.stage = stage;
            unit.stage_began = Instant::now();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((units, number)) = &self.0 {
            lock(units).units.remove(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn units_come_and_go_and_say_where_they_are() {
        let active = Active::default();
        let first = active.enter(Path::new("a.c"));
        let second = active.enter(Path::new("b.c"));
        second.at(Stage::Host("k8n0:3632".to_owned()));
        let report = active.report(Instant::now() + Duration::from_secs(5));
        assert_eq!((report[0].source.as_str(), report[0].stage.as_str()), ("a.c", "looking_up"));
        assert_eq!((&report[0].host, report[1].host.as_deref()), (&None, Some("k8n0:3632")));
        assert!(report[1].age_ms >= 5_000, "{report:?}");
        drop(first);
        let report = active.report(Instant::now());
        assert_eq!((report.len(), report[0].source.as_str()), (1, "b.c"));
        drop(second);
        assert_eq!(active.report(Instant::now()), []);
    }

    #[test]
    fn a_stage_begins_once() {
        let active = Active::default();
        let unit = active.enter(Path::new("a.c"));
        unit.at(Stage::Waiting);
        let began = lock(&active.0).units[&0].stage_began;
        unit.at(Stage::Waiting);
        assert_eq!(lock(&active.0).units[&0].stage_began, began);
        Progress::default().at(Stage::Storing);
        assert_eq!(lock(&active.0).units[&0].stage, Stage::Waiting);
    }
}

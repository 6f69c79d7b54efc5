//! The rules of the scheduler, one by one.

use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
/// The text of a compile that takes a second on the hosts of these tests.
const COST: u64 = 1_000_000;

fn address(number: usize) -> SocketAddr {
    SocketAddr::new(std::net::Ipv4Addr::from(0x7f00_0000 + number as u32).into(), 3632)
}

fn candidates(slots: &[usize]) -> Vec<Candidate> {
    let candidate =
        |(number, slots): (usize, &usize)| Candidate { address: address(number), slots: *slots };
    slots.iter().enumerate().map(candidate).collect()
}

/// A scheduler with a clock that tests turn.
struct Fixture {
    scheduler: Scheduler,
    candidates: Vec<Candidate>,
    now: Instant,
}

impl Fixture {
    fn new(slots: &[usize]) -> Fixture {
        let scheduler = Scheduler::default();
        Fixture { scheduler, candidates: candidates(slots), now: Instant::now() }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn pick_excluding(&mut self, excluded: &[SocketAddr]) -> Verdict {
        self.scheduler.pick(&self.candidates, COST, excluded, 1, self.now)
    }

    fn pick(&mut self) -> Verdict {
        self.pick_excluding(&[])
    }

    /// The index and ticket of a run; panics where there is none.
    #[track_caller]
    fn run(&mut self) -> (usize, Ticket) {
        match self.pick() {
            Verdict::Run { index, ticket } => (index, ticket),
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, ticket: Ticket, ended: Ended) {
        self.scheduler.released(ticket, ended, self.now);
    }

    /// Has every host answer several compiles, each in its own time.
    fn teach(&mut self, times: &[Duration]) {
        let start = self.now;
        for (candidate, time) in self.candidates.clone().iter().zip(times) {
            for _ in 0..24 {
                let ticket = self.scheduler.take(candidate.address, COST, start);
                self.scheduler.released(ticket, Ended::Completed, start + *time);
            }
        }
        self.now += *times.iter().max().unwrap();
    }

    fn report(&self, number: usize) -> HostReport {
        let reports = self.scheduler.reports(self.now);
        reports.into_iter().find(|report| report.address == address(number)).unwrap()
    }
}

#[test]
fn unknown_hosts_are_filled_as_by_distcc() {
    let mut fixture = Fixture::new(&[3, 1, 2]);
    let order: Vec<usize> = (0..6).map(|_| fixture.run().0).collect();
    assert_eq!(order, [0, 1, 2, 0, 2, 0]);
    assert_eq!(fixture.pick(), Verdict::Wait { until: None });
}

#[test]
fn nobody_to_ask() {
    let mut fixture = Fixture::new(&[]);
    assert_eq!(fixture.pick(), Verdict::Nobody);
    let mut fixture = Fixture::new(&[0]);
    assert_eq!(fixture.pick(), Verdict::Nobody);
    let mut fixture = Fixture::new(&[2, 1]);
    assert!(matches!(fixture.pick_excluding(&[address(0)]), Verdict::Run { index: 1, .. }));
    assert_eq!(fixture.pick_excluding(&[address(0)]), Verdict::Wait { until: None });
    assert_eq!(fixture.pick_excluding(&[address(0), address(1)]), Verdict::Nobody);
}

#[test]
fn slots_are_shared_and_each_call_has_its_own_limit() {
    let mut fixture = Fixture::new(&[2]);
    let (_, ticket) = fixture.run();
    fixture.run();
    assert_eq!(fixture.pick(), Verdict::Wait { until: None });
    let more = candidates(&[3]);
    let now = fixture.now;
    let verdict = fixture.scheduler.pick(&more, COST, &[], 1, now);
    assert!(matches!(verdict, Verdict::Run { .. }), "{verdict:?}");
    fixture.end(ticket, Ended::Completed);
    assert_eq!(fixture.pick(), Verdict::Wait { until: None });
    assert_eq!(fixture.report(0).in_flight, 2);
    // A ticket counts once.
    fixture.end(ticket, Ended::Completed);
    assert_eq!((fixture.report(0).in_flight, fixture.report(0).completed), (2, 1));
}

impl Fixture {
    /// Probes what is due; all of them end after `took`.
    fn probe(&mut self, took: Duration, is_well: bool) -> usize {
        let started = self.now;
        let due = self.scheduler.probes_due(10, started);
        assert_eq!(self.scheduler.probes_due(10, started), [], "each once");
        self.wait(took);
        for address in &due {
            self.scheduler.probed(*address, started, is_well, self.now);
        }
        due.len()
    }
}

#[test]
fn a_host_that_failed_gets_no_compile_before_a_probe_finds_it_well() {
    let mut fixture = Fixture::new(&[4]);
    let (_, first) = fixture.run();
    let (_, second) = fixture.run();
    fixture.wait(SECOND);
    fixture.end(first, Ended::HostFailed);
    assert_eq!(fixture.report(0).backing_off_for, Some(BACK_OFF_FIRST));
    // It started before the failure, and tells nothing new.
    fixture.wait(BACK_OFF_FIRST / 2);
    fixture.end(second, Ended::HostFailed);
    assert_eq!(fixture.report(0).backing_off_for, Some(BACK_OFF_FIRST / 2));
    assert_eq!(fixture.probe(Duration::ZERO, true), 0, "not yet");

    let mut expected = BACK_OFF_FIRST;
    fixture.wait(BACK_OFF_FIRST / 2);
    for _ in 0..7 {
        assert_eq!(fixture.pick(), Verdict::Nobody);
        assert_eq!(fixture.probe(10 * SECOND, false), 1);
        expected = (2 * expected).min(BACK_OFF_MAX);
        assert_eq!(fixture.report(0).backing_off_for, Some(expected));
        fixture.wait(10 * expected);
        assert_eq!(fixture.probe(SECOND, true), 0, "nobody wants it");
        assert_eq!(fixture.scheduler.next_probe(), None);
    }
    assert_eq!((expected, fixture.pick()), (BACK_OFF_MAX, Verdict::Nobody));
    assert_eq!(fixture.probe(SECOND, true), 1);
    (0..4).for_each(|_| assert_eq!(fixture.run().0, 0));
    assert_eq!((fixture.report(0).failed, fixture.report(0).completed), (2, 0));
}

#[test]
fn cheap_probes_are_made_often() {
    let mut fixture = Fixture::new(&[4]);
    let (_, ticket) = fixture.run();
    fixture.end(ticket, Ended::HostFailed);
    let mut back_offs = Vec::new();
    for _ in 0..5 {
        let back_off = fixture.report(0).backing_off_for.unwrap();
        back_offs.push(back_off.as_secs());
        fixture.wait(back_off);
        fixture.pick();
        assert_eq!(fixture.probe(Duration::ZERO, false), 1);
    }
    assert_eq!(back_offs, [1, 2, 4, 5, 5]);
}

/// Where small packets come through and large ones do not, every probe says that all is well.
#[test]
fn what_probes_do_not_see_costs_a_small_share_of_the_time() {
    let mut fixture = Fixture::new(&[4]);
    let took = 100 * SECOND;
    let mut lost = Duration::ZERO;
    let start = fixture.now;
    for round in 0..5 {
        let (_, ticket) = fixture.run();
        fixture.wait(took);
        fixture.end(ticket, Ended::HostHung);
        lost += took;
        let back_off = fixture.report(0).backing_off_for.unwrap();
        assert_eq!(back_off > 10 * took, round > 0, "{back_off:?}");
        fixture.wait(back_off);
        assert_eq!(fixture.probe(SECOND, true), 1);
    }
    assert!(10 * lost < fixture.now - start);
    // A compile that is answered ends all that.
    let (_, ticket) = fixture.run();
    fixture.end(ticket, Ended::Completed);
    let (_, ticket) = fixture.run();
    fixture.end(ticket, Ended::HostFailed);
    assert_eq!(fixture.report(0).backing_off_for, Some(BACK_OFF_FIRST));
}

#[test]
fn all_runs_of_a_host_that_hangs_are_lost_at_once() {
    let mut fixture = Fixture::new(&[4, 4]);
    fixture.candidates.truncate(1);
    let (_, first) = fixture.run();
    fixture.wait(SECOND);
    let (_, second) = fixture.run();
    fixture.wait(7 * SECOND);
    assert!(!fixture.scheduler.is_lost(second));
    fixture.end(first, Ended::HostHung);
    assert!(fixture.scheduler.is_lost(second));
    fixture.end(second, Ended::HostHung);
    assert_eq!(fixture.report(0).backing_off_for, Some(BACK_OFF_FIRST));

    // A host that answers others meanwhile is slow with one of them, and does not hang.
    let mut fixture = Fixture::new(&[4]);
    let (_, slow) = fixture.run();
    let (_, running) = fixture.run();
    fixture.wait(SECOND);
    let (_, quick) = fixture.run();
    fixture.end(quick, Ended::Completed);
    fixture.end(slow, Ended::HostHung);
    assert!(!fixture.scheduler.is_lost(running));
    fixture.end(running, Ended::Completed);
    assert_eq!(fixture.report(0).backing_off_for, None);
}

#[test]
fn a_compile_error_is_no_failure() {
    let mut fixture = Fixture::new(&[1]);
    for ended in [Ended::Completed, Ended::Cancelled] {
        let (_, ticket) = fixture.run();
        fixture.end(ticket, ended);
        assert_eq!((fixture.report(0).failed, fixture.report(0).backing_off_for), (0, None));
    }
}

#[test]
fn the_fastest_free_host_first() {
    let mut fixture = Fixture::new(&[2, 2, 2]);
    fixture.teach(&[2 * SECOND, SECOND, SECOND * 11 / 10]);
    // The second and the third are as good as equal.
    let order: Vec<usize> = (0..4).map(|_| fixture.run().0).collect();
    assert_eq!(order, [1, 2, 1, 2]);
}

#[test]
fn a_slow_slot_is_passed_over_where_waiting_ends_earlier() {
    let mut fixture = Fixture::new(&[2, 2]);
    fixture.teach(&[SECOND, 10 * SECOND]);
    assert_eq!((fixture.run().0, fixture.run().0), (0, 0));
    let Verdict::Wait { until: Some(until) } = fixture.pick() else { panic!() };
    let ahead = until - fixture.now;
    assert!(ahead > SECOND / 2 && ahead < 2 * SECOND, "{ahead:?}");
    // Behind twenty others the slow slot ends earlier.
    let verdict = fixture.scheduler.pick(&fixture.candidates, COST, &[], 21, fixture.now);
    assert!(matches!(verdict, Verdict::Run { index: 1, .. }), "{verdict:?}");
}

#[test]
fn absurd_sizes_are_waited_for_like_others() {
    let mut fixture = Fixture::new(&[1, 1]);
    fixture.teach(&[SECOND, 10 * SECOND]);
    let now = fixture.now;
    let pick = |scheduler: &mut Scheduler, candidates: &[Candidate], cost| {
        scheduler.pick(candidates, cost, &[], 1, now)
    };
    let first = pick(&mut fixture.scheduler, &fixture.candidates, u64::MAX);
    assert!(matches!(first, Verdict::Run { index: 0, .. }), "{first:?}");
    let second = pick(&mut fixture.scheduler, &fixture.candidates, u64::MAX);
    assert_eq!(second, Verdict::Wait { until: Some(now + LOOK_AGAIN_MAX) });
    let third = pick(&mut fixture.scheduler, &fixture.candidates, 0);
    assert!(matches!(third, Verdict::Run { index: 1, .. }), "{third:?}");
}

#[test]
fn a_slow_slot_serves_in_the_middle_of_a_long_build() {
    let mut fixture = Fixture::new(&[2, 2]);
    fixture.teach(&[SECOND, 5 * SECOND]);
    fixture.run();
    let mut last = fixture.run().1;
    assert!(matches!(fixture.pick(), Verdict::Wait { .. }));
    for _ in 0..30 {
        fixture.wait(SECOND);
        fixture.end(last, Ended::Completed);
        last = fixture.run().1;
    }
    let taken: Vec<Verdict> = (0..2).map(|_| fixture.pick()).collect();
    assert!(taken.iter().all(|verdict| matches!(verdict, Verdict::Run { index: 1, .. })));
}

#[test]
fn runs_that_are_overdue_make_a_host_slow() {
    let mut fixture = Fixture::new(&[4, 4]);
    fixture.teach(&[SECOND, SECOND]);
    let slow: Vec<Ticket> =
        (0..4).map(|_| fixture.run()).filter(|run| run.0 == 0).map(|run| run.1).collect();
    assert_eq!(slow.len(), 2);
    let before = fixture.report(0).speed.unwrap();
    fixture.wait(60 * SECOND);
    let (waiting, answering) = (fixture.report(0).speed.unwrap(), before);
    assert!(waiting < 0.8 * answering, "{waiting} {answering}");
    // A run that was given up still counts as one that took too long.
    for ticket in slow {
        fixture.end(ticket, Ended::Cancelled);
    }
    assert!(fixture.report(0).speed.unwrap() < 0.8 * before);
}

#[test]
fn a_second_run_where_it_ends_much_earlier() {
    let mut fixture = Fixture::new(&[1, 1, 1]);
    fixture.teach(&[SECOND, 20 * SECOND, SECOND]);
    let (index, quick) = fixture.run();
    assert_eq!(index, 0);
    let cancelled = [address(0), address(2)];
    let Verdict::Run { index: 1, ticket: slow } = fixture.pick_excluding(&cancelled) else {
        panic!()
    };
    let (candidates, now) = (fixture.candidates.clone(), fixture.now);
    // No gain for a run on a fast host, nor where the fast host is out of the question.
    assert_eq!(fixture.scheduler.repeat(quick, &candidates, &[], now), None);
    assert_eq!(fixture.scheduler.repeat(slow, &candidates, &[address(2)], now), None);
    assert_eq!(fixture.scheduler.late(0, now), [slow]);
    // While others wait, it counts while it goes on for longer than the build has.
    assert_eq!(fixture.scheduler.late(3, now), [slow]);
    assert_eq!(fixture.scheduler.late(3, now + 15 * SECOND), []);
    let (index, second) = fixture.scheduler.repeat(slow, &candidates, &[], now).unwrap();
    assert_eq!(index, 2);
    assert_eq!(fixture.report(2).in_flight, 1);
    // The fast hosts are full now.
    assert_eq!(fixture.scheduler.repeat(slow, &candidates, &[], now), None);
    fixture.end(slow, Ended::Cancelled);
    fixture.end(second, Ended::Completed);
    assert_eq!(fixture.scheduler.repeat(slow, &candidates, &[], now), None);
}

#[test]
fn a_silent_host_is_given_up_in_time() {
    let mut fixture = Fixture::new(&[1, 1]);
    fixture.teach(&[SECOND, SECOND]);
    let (_, silent) = fixture.run();
    let candidates = fixture.candidates.clone();
    let mut given_up = None;
    for second in 0..30 {
        if fixture.scheduler.repeat(silent, &candidates, &[], fixture.now).is_some() {
            given_up = Some(second);
            break;
        }
        fixture.wait(SECOND);
    }
    assert!(given_up.is_some_and(|seconds| (2..10).contains(&seconds)), "{given_up:?}");
}

#[test]
fn nothing_is_repeated_while_nothing_is_known() {
    let mut fixture = Fixture::new(&[1, 1]);
    let (_, ticket) = fixture.run();
    fixture.wait(100 * SECOND);
    let candidates = fixture.candidates.clone();
    assert_eq!(fixture.scheduler.repeat(ticket, &candidates, &[], fixture.now), None);
}

#[test]
fn addresses_without_runs_are_forgotten() {
    let mut fixture = Fixture::new(&[]);
    let busy = fixture.scheduler.take(address(0), COST, fixture.now);
    for number in 1..2 * HOSTS_KEPT_MAX {
        let ticket = fixture.scheduler.take(address(number), COST, fixture.now);
        fixture.wait(SECOND);
        fixture.end(ticket, Ended::Completed);
    }
    let reports = fixture.scheduler.reports(fixture.now);
    assert_eq!(reports.len(), HOSTS_KEPT_MAX);
    assert_eq!(reports[0].address, address(0));
    fixture.end(busy, Ended::Completed);
    assert_eq!(fixture.report(0).completed, 1);
}

proptest! {
    /// Whatever happens, no host gets more than its slots, and every slot comes back.
    #[test]
    fn slots_are_never_lost_nor_exceeded(
        slots in proptest::collection::vec(0..4_usize, 1..4),
        steps in proptest::collection::vec((0..8_u8, 0..8_usize, 0..40_u64), 0..120),
    ) {
        let mut fixture = Fixture::new(&slots);
        let candidates = fixture.candidates.clone();
        let mut running: Vec<(usize, Ticket)> = Vec::new();
        for (kind, which, seconds) in steps {
            fixture.wait(Duration::from_millis(250 * seconds));
            let at = which % running.len().max(1);
            match kind {
                0..4 => match fixture.pick() {
                    Verdict::Run { index, ticket } => running.push((index, ticket)),
                    Verdict::Wait { until } => {
                        prop_assert!(until.is_none_or(|until| until > fixture.now));
                        prop_assert!(!running.is_empty());
                    }
                    Verdict::Nobody => {}
                },
                4 if !running.is_empty() => {
                    let ticket = running[at].1;
                    let second = fixture.scheduler.repeat(ticket, &candidates, &[], fixture.now);
                    if let Some((index, ticket)) = second {
                        prop_assert_ne!(index, running[at].0);
                        running.push((index, ticket));
                    }
                }
                _ if running.is_empty() => {}
                kind => {
                    fixture.probe(Duration::ZERO, which % 2 == 0);
                    let endings = [Ended::Completed, Ended::HostFailed, Ended::Cancelled];
                    fixture.end(running.swap_remove(at).1, endings[usize::from(kind) - 5]);
                }
            }
            for (index, slots) in slots.iter().enumerate() {
                let used = running.iter().filter(|(host, _)| *host == index).count();
                prop_assert!(used <= *slots, "{used} of {slots}");
            }
        }
        for (_, ticket) in running {
            fixture.end(ticket, Ended::Cancelled);
        }
        prop_assert!(fixture.scheduler.reports(fixture.now).iter().all(|host| host.in_flight == 0));
    }
}

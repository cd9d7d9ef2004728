//! Automatic compaction: which revision to compact at, and when. Pure; the loop that asks is in
//! `background.rs`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::Retention;

/// Compactions by age happen at most this far apart (etcd: 1 h).
const PERIODIC_INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// Samples taken per interval.
const SAMPLES_PER_INTERVAL: u32 = 10;
/// How often compaction by revision looks (etcd: 5 min).
const REVISION_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Decides about automatic compactions; asked once per [`Schedule::tick`].
#[derive(Debug)]
pub(crate) enum Schedule {
    /// History of a certain age is kept.
    Periodic(Periodic),
    /// A number of revisions is kept.
    Revision(Revision),
}

impl Schedule {
    /// The schedule of a retention; `None` if nothing is to be compacted.
    pub(crate) fn new(retention: Retention, revision: i64) -> Option<Schedule> {
        match retention {
            Retention::Off => None,
            Retention::Periodic(period) => {
                Some(Schedule::Periodic(Periodic::new(period, revision)))
            }
            Retention::Revisions(kept) => Some(Schedule::Revision(Revision { kept, last: 0 })),
        }
    }

    /// Time between two questions.
    pub(crate) fn tick(&self) -> Duration {
        match self {
            Schedule::Periodic(periodic) => periodic.sample_interval(),
            Schedule::Revision(_) => REVISION_INTERVAL,
        }
    }

    /// Asked one [`Schedule::tick`] after the last time: the revision to compact at.
    pub(crate) fn due(&mut self, revision: i64, leading: bool) -> Option<i64> {
        match self {
            Schedule::Periodic(periodic) => periodic.due(revision, leading),
            Schedule::Revision(by_revision) => by_revision.due(revision, leading),
        }
    }

    /// The compaction that was due is done, or was done already.
    pub(crate) fn done(&mut self, revision: i64) {
        match self {
            Schedule::Periodic(periodic) => periodic.done(revision),
            Schedule::Revision(by_revision) => by_revision.last = revision,
        }
    }
}

/// Keeps the history of a period.
#[derive(Debug)]
pub(crate) struct Periodic {
    period: Duration,
    /// Revisions at the last ticks, oldest first: the oldest is a period old once there are
    /// `capacity` of them.
    samples: VecDeque<i64>,
    capacity: usize,
    /// Ticks since the last compaction; before the first one since the start.
    ticks: u32,
    /// Ticks to wait for the next: a period for the first, an interval afterwards.
    wait: u32,
    last: i64,
}

impl Periodic {
    fn new(period: Duration, revision: i64) -> Periodic {
        let mut periodic = Periodic {
            period,
            samples: VecDeque::from([revision]),
            capacity: 0,
            ticks: 0,
            wait: 0,
            last: 0,
        };
        let ticks = period.as_nanos() / periodic.sample_interval().as_nanos().max(1);
        periodic.wait = u32::try_from(ticks).unwrap_or(u32::MAX);
        periodic.capacity = usize::try_from(ticks).unwrap_or(usize::MAX).saturating_add(1);
        periodic
    }

    fn sample_interval(&self) -> Duration {
        self.period.min(PERIODIC_INTERVAL_MAX) / SAMPLES_PER_INTERVAL
    }

    fn due(&mut self, revision: i64, leading: bool) -> Option<i64> {
        self.samples.push_back(revision);
        while self.samples.len() > self.capacity {
            self.samples.pop_front();
        }
        self.ticks = self.ticks.saturating_add(1);
        let oldest = *self.samples.front()?;
        let due = leading && self.ticks >= self.wait && oldest != self.last;
        due.then_some(oldest)
    }

    fn done(&mut self, revision: i64) {
        self.last = revision;
        self.ticks = 0;
        self.wait = SAMPLES_PER_INTERVAL;
    }
}

/// Keeps a number of revisions.
#[derive(Debug)]
pub(crate) struct Revision {
    kept: i64,
    last: i64,
}

impl Revision {
    fn due(&self, revision: i64, leading: bool) -> Option<i64> {
        let target = revision.saturating_sub(self.kept);
        (leading && target > 0 && target != self.last).then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Runs a schedule over revisions that grow by `growth` per tick; what was compacted when.
    fn run(retention: Retention, ticks: u64, growth: i64) -> Vec<(Duration, i64)> {
        let mut schedule = Schedule::new(retention, 1).expect("a schedule");
        let mut compacted = Vec::new();
        for n in 1..=ticks {
            let revision = 1 + i64::try_from(n).expect("small") * growth;
            if let Some(at) = schedule.due(revision, true) {
                compacted.push((schedule.tick() * u32::try_from(n).expect("small"), at));
                schedule.done(at);
            }
        }
        compacted
    }

    #[test]
    fn an_hour_is_sampled_every_six_minutes_and_compacted_hourly() {
        let hour = 60 * MINUTE;
        let retention = Retention::Periodic(hour);
        assert_eq!(Schedule::new(retention, 1).expect("a schedule").tick(), 6 * MINUTE);
        // 100 revisions per sample: after an hour the state of an hour ago is revision 1.
        let want = [(hour, 1), (2 * hour, 1001), (3 * hour, 2001)];
        assert_eq!(run(retention, 35, 100), want);
    }

    #[test]
    fn a_day_waits_a_day_and_then_goes_hourly() {
        let hour = 60 * MINUTE;
        let compacted = run(Retention::Periodic(24 * hour), 260, 1);
        assert_eq!(compacted, [(24 * hour, 1), (25 * hour, 11), (26 * hour, 21)]);
    }

    #[test]
    fn ten_minutes_are_compacted_every_ten_minutes() {
        let compacted = run(Retention::Periodic(10 * MINUTE), 30, 5);
        assert_eq!(compacted, [(10 * MINUTE, 1), (20 * MINUTE, 51), (30 * MINUTE, 101)]);
    }

    #[test]
    fn nothing_new_is_not_compacted_again() {
        assert_eq!(run(Retention::Periodic(10 * MINUTE), 100, 0), [(10 * MINUTE, 1)]);
    }

    #[test]
    fn a_member_that_does_not_lead_is_paused_and_a_failure_tried_again() {
        let mut schedule = Schedule::new(Retention::Periodic(10 * MINUTE), 1).expect("a schedule");
        for n in 2..=14 {
            assert_eq!(schedule.due(n, false), None);
        }
        assert_eq!(schedule.due(15, true), Some(5));
        // No `done`: it failed, so the next tick asks again.
        assert_eq!(schedule.due(16, true), Some(6));
        schedule.done(6);
        assert_eq!(schedule.due(17, true), None);
    }

    #[test]
    fn revisions_are_kept_by_number() {
        let mut schedule = Schedule::new(Retention::Revisions(100), 1).expect("a schedule");
        assert_eq!(schedule.tick(), 5 * MINUTE);
        assert_eq!(schedule.due(100, true), None);
        assert_eq!(schedule.due(150, false), None);
        assert_eq!(schedule.due(150, true), Some(50));
        schedule.done(50);
        assert_eq!(schedule.due(150, true), None);
        assert_eq!(schedule.due(151, true), Some(51));
    }

    #[test]
    fn no_retention_is_no_schedule() {
        assert!(Schedule::new(Retention::Off, 1).is_none());
    }
}

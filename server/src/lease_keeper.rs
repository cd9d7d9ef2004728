//! When leases expire. Only the leader counts time; expiry itself goes through the log.
//!
//! [`Deadlines`] is pure: it is told the time. [`Keeper`] puts a lock around it and a clock
//! beside it, for the thread that applies, for renewals, and for the loop that proposes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

/// How often expired leases are looked for (etcd: 500 ms).
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Revokes proposed per look (etcd: 1,000 per second).
pub(crate) const REVOKES_PER_CHECK_MAX: usize = 500;
/// Revokes under way at once (etcd: 16).
pub(crate) const REVOKES_IN_FLIGHT_MAX: usize = 16;
/// Leases above which a new leader spreads their expiry.
const SPREAD_FROM_LEASES: usize = 1000;
/// Leases that may expire per second when they are spread: three quarters of what can be revoked,
/// so that leases that expire anyway find room.
const SPREAD_PER_SECOND: u64 = 750;

const _: () = assert!(SPREAD_PER_SECOND * 4 == 2 * REVOKES_PER_CHECK_MAX as u64 * 3);

/// Milliseconds since the keeper began.
type Ms = u64;

#[derive(Clone, Copy, Debug)]
struct Timer {
    ttl_s: i64,
    /// None: no deadline, because another member leads.
    deadline: Option<Ms>,
    /// Until when a proposed revoke is waited for before it is proposed again.
    revoking_until: Option<Ms>,
}

impl Timer {
    /// Whether an entry of the heap still stands for this timer.
    fn is_due_at(&self, at: Ms) -> bool {
        match self.revoking_until {
            Some(again) => again == at,
            None => self.deadline == Some(at),
        }
    }
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// The lease lives for its full TTL again.
    Renewed {
        /// The full TTL.
        ttl_s: i64,
    },
    /// There is no such lease.
    Unknown,
    /// It has expired and waits for its revocation.
    Expired,
    /// This member does not lead.
    NotPrimary,
}

/// Deadlines of all leases.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    leading: bool,
    timers: HashMap<i64, Timer>,
    /// Deadlines, soonest first; outdated ones are skipped when they come up.
    soonest: BinaryHeap<Reverse<(Ms, i64)>>,
}

impl Deadlines {
    /// A lease was granted.
    pub(crate) fn granted(&mut self, id: i64, ttl_s: i64, now: Ms) {
        self.timers.insert(id, Timer { ttl_s, deadline: None, revoking_until: None });
        if self.leading {
            self.set(id, now.saturating_add(ms(ttl_s)));
        }
    }

    /// A lease is gone.
    pub(crate) fn revoked(&mut self, id: i64) {
        self.timers.remove(&id);
    }

    fn set(&mut self, id: i64, deadline: Ms) {
        if let Some(timer) = self.timers.get_mut(&id) {
            timer.deadline = Some(deadline);
            timer.revoking_until = None;
            self.soonest.push(Reverse((deadline, id)));
        }
        // Renewals leave outdated entries behind; they must not outgrow the leases.
        if self.soonest.len() > 2 * self.timers.len() + 64 {
            let timers = &self.timers;
            self.soonest
                .retain(|Reverse((at, id))| timers.get(id).is_some_and(|t| t.is_due_at(*at)));
        }
    }

    /// Renews a lease.
    pub(crate) fn renew(&mut self, id: i64, now: Ms) -> Renewal {
        if !self.leading {
            return Renewal::NotPrimary;
        }
        match self.timers.get(&id) {
            None => Renewal::Unknown,
            Some(timer) if timer.deadline.is_some_and(|at| at <= now) => Renewal::Expired,
            Some(&Timer { ttl_s, .. }) => {
                self.set(id, now.saturating_add(ms(ttl_s)));
                Renewal::Renewed { ttl_s }
            }
        }
    }

    /// Whole seconds a lease has left; `None` if it is unknown, expired, or nobody counts here.
    ///
    /// Of the present millisecond a part has passed: etcd tells 59 right after a grant of 60 s.
    pub(crate) fn remaining_s(&self, id: i64, now: Ms) -> Option<i64> {
        let left = self.timers.get(&id)?.deadline?.checked_sub(now)?.checked_sub(1)?;
        i64::try_from(left / 1000).ok()
    }

    /// All leases, soonest to expire first; by id where nobody counts.
    pub(crate) fn ids(&self) -> Vec<i64> {
        let mut ids: Vec<(Option<Ms>, i64)> =
            self.timers.iter().map(|(id, timer)| (timer.deadline, *id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// Another state takes the place of this one; nobody counts until a promotion. `leases` gives
    /// id and TTL of all leases.
    pub(crate) fn replace(&mut self, leases: impl IntoIterator<Item = (i64, i64)>) {
        let timer = |ttl_s| Timer { ttl_s, deadline: None, revoking_until: None };
        self.timers = leases.into_iter().map(|(id, ttl_s)| (id, timer(ttl_s))).collect();
        self.soonest.clear();
        self.leading = false;
    }

    /// This member leads now: every lease lives for `grace` and what remained of it, or its full
    /// TTL. `leases` gives id, TTL and remaining seconds (0 if not recorded) of all leases.
    pub(crate) fn promote(
        &mut self,
        leases: impl IntoIterator<Item = (i64, i64, i64)>,
        grace: Duration,
        now: Ms,
    ) {
        self.leading = true;
        self.timers.clear();
        self.soonest.clear();
        let grace = u64::try_from(grace.as_millis()).unwrap_or(Ms::MAX);
        let mut deadlines: Vec<(Ms, i64)> = Vec::new();
        for (id, ttl_s, remaining_s) in leases {
            self.timers.insert(id, Timer { ttl_s, deadline: None, revoking_until: None });
            let left_s = if remaining_s > 0 { remaining_s } else { ttl_s };
            deadlines.push((now.saturating_add(grace).saturating_add(ms(left_s)), id));
        }
        deadlines.sort_unstable();
        let spread = deadlines.len() >= SPREAD_FROM_LEASES;
        // The earliest free slot, in thousandths of a slot's length so that none is lost.
        let mut free: u64 = 0;
        for (deadline, id) in deadlines {
            let mut at = deadline;
            if spread {
                let slot = deadline.saturating_mul(SPREAD_PER_SECOND).max(free);
                at = slot.div_ceil(SPREAD_PER_SECOND);
                free = slot.saturating_add(1000);
            }
            self.set(id, at);
        }
    }

    /// Another member leads: nothing expires here.
    pub(crate) fn demote(&mut self) {
        self.leading = false;
        self.soonest.clear();
        for timer in self.timers.values_mut() {
            timer.deadline = None;
            timer.revoking_until = None;
        }
    }

    /// Up to `max` leases to revoke now. Each is given again only after `retry`.
    pub(crate) fn expired(&mut self, now: Ms, retry: Duration, max: usize) -> Vec<i64> {
        let mut due = Vec::new();
        let retry = u64::try_from(retry.as_millis()).unwrap_or(Ms::MAX);
        while due.len() < max {
            let Some(&Reverse((at, id))) = self.soonest.peek() else { break };
            if at > now {
                break;
            }
            self.soonest.pop();
            let Some(timer) = self.timers.get_mut(&id) else { continue };
            if !timer.is_due_at(at) {
                continue;
            }
            let again = now.saturating_add(retry);
            timer.revoking_until = Some(again);
            self.soonest.push(Reverse((again, id)));
            due.push(id);
        }
        due
    }
}

/// Seconds of a TTL in milliseconds.
fn ms(seconds: i64) -> Ms {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)
}

/// The deadlines of this member, shared by all who change them.
#[derive(Debug)]
pub(crate) struct Keeper {
    deadlines: Mutex<Deadlines>,
    began: Instant,
    /// Changes whenever a lease goes or leadership changes.
    changes: watch::Sender<()>,
}

impl Default for Keeper {
    fn default() -> Self {
        Keeper {
            deadlines: Mutex::default(),
            began: Instant::now(),
            changes: watch::Sender::new(()),
        }
    }
}

impl Keeper {
    fn now(&self) -> Ms {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(Ms::MAX)
    }

    /// A lease was granted.
    pub(crate) fn granted(&self, id: i64, ttl_s: i64) {
        self.deadlines.lock().granted(id, ttl_s, self.now());
    }

    /// A lease is gone.
    pub(crate) fn revoked(&self, id: i64) {
        self.deadlines.lock().revoked(id);
        self.changes.send_replace(());
    }

    /// Renews a lease; the caller has made sure that this member still leads.
    pub(crate) fn renew(&self, id: i64) -> Renewal {
        self.deadlines.lock().renew(id, self.now())
    }

    /// Whether time is counted here: not yet right after an election.
    pub(crate) fn counts(&self) -> bool {
        self.deadlines.lock().leading
    }

    /// Whole seconds a lease has left; see [`Deadlines::remaining_s`].
    pub(crate) fn remaining_s(&self, id: i64) -> Option<i64> {
        self.deadlines.lock().remaining_s(id, self.now())
    }

    /// All leases; see [`Deadlines::ids`].
    pub(crate) fn ids(&self) -> Vec<i64> {
        self.deadlines.lock().ids()
    }

    /// Something to wait on for an expired lease to go: it changes when a lease is revoked or
    /// leadership changes.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Another state takes the place of this one; see [`Deadlines::replace`].
    pub(crate) fn replace(&self, leases: impl IntoIterator<Item = (i64, i64)>) {
        self.deadlines.lock().replace(leases);
        self.changes.send_replace(());
    }

    /// This member leads now; see [`Deadlines::promote`].
    pub(crate) fn promote(
        &self,
        leases: impl IntoIterator<Item = (i64, i64, i64)>,
        grace: Duration,
    ) {
        self.deadlines.lock().promote(leases, grace, self.now());
        self.changes.send_replace(());
    }

    /// Another member leads now.
    pub(crate) fn demote(&self) {
        self.deadlines.lock().demote();
        self.changes.send_replace(());
    }

    /// Leases to revoke now; see [`Deadlines::expired`].
    pub(crate) fn expired(&self, retry: Duration) -> Vec<i64> {
        self.deadlines.lock().expired(self.now(), retry, REVOKES_PER_CHECK_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Duration = Duration::from_secs(7);
    const GRACE: Duration = Duration::from_secs(1);
    const NONE: [i64; 0] = [];

    fn leading(leases: &[(i64, i64, i64)], now: Ms) -> Deadlines {
        let mut deadlines = Deadlines::default();
        deadlines.promote(leases.iter().copied(), GRACE, now);
        deadlines
    }

    #[test]
    fn a_lease_expires_after_its_ttl_and_not_before() {
        let mut d = leading(&[], 0);
        d.granted(1, 2, 100);
        assert_eq!(d.expired(2099, RETRY, 10), NONE);
        assert_eq!(d.expired(2100, RETRY, 10), [1]);
    }

    #[test]
    fn a_renewal_starts_the_ttl_again() {
        let mut d = leading(&[], 0);
        d.granted(1, 2, 0);
        assert_eq!(d.renew(1, 1999), Renewal::Renewed { ttl_s: 2 });
        assert_eq!(d.expired(3998, RETRY, 10), NONE);
        assert_eq!(d.expired(3999, RETRY, 10), [1]);
        assert_eq!(d.renew(1, 4000), Renewal::Expired);
        assert_eq!(d.renew(9, 4000), Renewal::Unknown);
        d.revoked(1);
        assert_eq!(d.renew(1, 4000), Renewal::Unknown);
    }

    #[test]
    fn an_unfinished_revoke_is_tried_again_later() {
        let mut d = leading(&[], 0);
        d.granted(1, 1, 0);
        assert_eq!(d.expired(1000, RETRY, 10), [1]);
        assert_eq!(d.expired(7999, RETRY, 10), NONE);
        assert_eq!(d.expired(8000, RETRY, 10), [1]);
        d.revoked(1);
        assert_eq!(d.expired(99_000, RETRY, 10), NONE);
    }

    #[test]
    fn a_look_gives_a_bounded_number_soonest_first() {
        let mut d = leading(&[], 0);
        for (id, ttl_s) in [(1, 3), (2, 1), (3, 2)] {
            d.granted(id, ttl_s, 0);
        }
        assert_eq!(d.expired(5000, RETRY, 2), [2, 3]);
        assert_eq!(d.expired(5000, RETRY, 2), [1]);
    }

    #[test]
    fn a_new_leader_gives_every_lease_its_ttl_and_a_grace() {
        let mut d = leading(&[(1, 10, 0), (2, 10, 3)], 5000);
        assert_eq!((d.remaining_s(1, 5000), d.remaining_s(2, 5000)), (Some(10), Some(3)));
        assert_eq!(d.expired(8999, RETRY, 10), NONE);
        assert_eq!(d.expired(9000, RETRY, 10), [2]);
        assert_eq!(d.expired(16_000, RETRY, 10), [1, 2]);
    }

    #[test]
    fn nothing_expires_on_a_member_that_does_not_lead() {
        let mut d = leading(&[(1, 1, 0)], 0);
        d.demote();
        d.granted(2, 1, 0);
        assert_eq!(d.expired(1_000_000, RETRY, 10), NONE);
        assert_eq!((d.renew(1, 0), d.remaining_s(1, 0)), (Renewal::NotPrimary, None));
        assert_eq!(d.ids(), [1, 2]);
    }

    #[test]
    fn remaining_seconds_are_rounded_down() {
        let mut d = leading(&[], 0);
        d.granted(1, 60, 0);
        assert_eq!(d.remaining_s(1, 0), Some(59));
        assert_eq!(d.remaining_s(1, 999), Some(59));
        assert_eq!(d.remaining_s(1, 1000), Some(58));
        assert_eq!(d.remaining_s(1, 59_999), Some(0));
        assert_eq!(d.remaining_s(1, 60_000), None);
        assert_eq!(d.remaining_s(2, 0), None);
    }

    #[test]
    fn ids_are_ordered_by_what_remains() {
        let d = leading(&[(1, 30, 0), (2, 10, 0), (3, 20, 0)], 0);
        assert_eq!(d.ids(), [2, 3, 1]);
    }

    #[test]
    fn many_leases_are_spread_after_a_change_of_leader() {
        let leases: Vec<(i64, i64, i64)> = (1..=3000).map(|id| (id, 5, 0)).collect();
        let mut d = leading(&leases, 0);
        let mut seen = 0;
        for second in 6..=10u64 {
            let due = d.expired(second * 1000, RETRY, usize::MAX).len();
            assert!(due <= 751, "{due} leases expire in second {second}");
            seen += due;
        }
        assert_eq!(seen, 3000);
        // Fewer are not worth it.
        let mut d = leading(&leases[..999], 0);
        assert_eq!(d.expired(6000, RETRY, usize::MAX).len(), 999);
    }

    #[test]
    fn renewals_do_not_grow_the_heap() {
        let mut d = leading(&[], 0);
        d.granted(1, 10, 0);
        for now in 0..10_000 {
            assert_eq!(d.renew(1, now), Renewal::Renewed { ttl_s: 10 });
        }
        assert!(d.soonest.len() < 100);
    }
}

//! Whether one order of the calls on a register explains every answer: the search of Wing and
//! Gong, with Lowe's memory of what was tried.

use std::collections::HashSet;
use std::time::Duration;

/// What one call did, values numbered. Each number is written by one call only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Sets the value.
    Write(u64),
    /// Found this value, or none.
    Read(Option<u64>),
    /// Found the first value and set the second.
    Swap(u64, u64),
}

/// A step and when it can have happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timed {
    pub(crate) step: Step,
    pub(crate) called: Duration,
    /// `None` when no answer came: it happened at any time after the call, or never.
    pub(crate) returned: Option<Duration>,
}

impl Step {
    fn found(self) -> Option<u64> {
        match self {
            Self::Write(_) => None,
            Self::Read(value) => value,
            Self::Swap(from, _) => Some(from),
        }
    }

    fn set(self) -> Option<u64> {
        match self {
            Self::Write(value) | Self::Swap(_, value) => Some(value),
            Self::Read(_) => None,
        }
    }

    /// The register after the step, if the step is possible.
    fn apply(self, register: Option<u64>) -> Option<Option<u64>> {
        match self {
            Self::Write(value) => Some(Some(value)),
            Self::Read(found) => (found == register).then_some(register),
            Self::Swap(from, to) => (register == Some(from)).then_some(Some(to)),
        }
    }
}

/// Whether the steps, on a register without a value at first, have an order that agrees with time
/// and with every answer.
pub(crate) fn is_linearizable(steps: &[Timed]) -> bool {
    let steps = settled(steps);
    let mut search = Search::new(&steps);
    search.run(&steps)
}

/// Steps without an answer are dropped when nobody found their value: whether they happened, just
/// before another write, makes no difference. The others happened, before their value was found.
fn settled(steps: &[Timed]) -> Vec<Timed> {
    let (mut settled, mut open): (Vec<Timed>, Vec<Timed>) =
        steps.iter().partition(|step| step.returned.is_some());
    loop {
        let first_found = |value: u64| {
            let finds = |step: &&Timed| step.step.found() == Some(value);
            settled.iter().filter(finds).filter_map(|step| step.returned).min()
        };
        let bounds: Vec<Option<Duration>> =
            open.iter().map(|step| step.step.set().and_then(first_found)).collect();
        let mut rest = Vec::new();
        let mut any = false;
        for (mut step, bound) in open.into_iter().zip(bounds) {
            if bound.is_some() {
                step.returned = bound;
                settled.push(step);
                any = true;
            } else {
                rest.push(step);
            }
        }
        open = rest;
        if !any {
            return settled;
        }
    }
}

/// Calls and returns in order of time, as a list from which those tried are taken out.
struct Search {
    /// By place in the list: the step and whether this is its return. Place 0 is the head.
    entries: Vec<(usize, bool)>,
    next: Vec<usize>,
    before: Vec<usize>,
    /// By step: the place of its return.
    return_at: Vec<usize>,
}

impl Search {
    fn new(steps: &[Timed]) -> Self {
        let mut moments: Vec<(Duration, bool, usize)> = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let returned = step.returned.expect("settled");
            moments.push((step.called, false, at));
            // A return bounded by another's may lie before the call: then nothing explains it.
            moments.push((returned.max(step.called), true, at));
        }
        // At the same moment calls go first: the steps may have overlapped.
        moments.sort_unstable();
        let mut entries = vec![(usize::MAX, false)];
        let mut return_at = vec![0; steps.len()];
        for (_, is_return, step) in moments {
            if is_return {
                return_at[step] = entries.len();
            }
            entries.push((step, is_return));
        }
        let length = entries.len();
        // The list is a ring: its end is the head.
        let next = (1..length).chain([0]).collect();
        let before = [length - 1].into_iter().chain(0..length - 1).collect();
        Self { entries, next, before, return_at }
    }

    fn take_out(&mut self, at: usize) {
        let (before, next) = (self.before[at], self.next[at]);
        self.next[before] = next;
        self.before[next] = before;
    }

    fn put_back(&mut self, at: usize) {
        let (before, next) = (self.before[at], self.next[at]);
        self.next[before] = at;
        self.before[next] = at;
    }

    fn run(&mut self, steps: &[Timed]) -> bool {
        let mut done = vec![0_u64; steps.len().div_ceil(64)];
        let mut tried: HashSet<(Vec<u64>, Option<u64>)> = HashSet::new();
        let mut path: Vec<(usize, Option<u64>)> = Vec::new();
        let mut register = None;
        let mut at = self.next[0];
        while self.next[0] != 0 {
            let (step, is_return) = self.entries[at];
            if is_return || at == 0 {
                // Whatever was chosen before, this step had to happen by now: choose otherwise.
                let Some((last, before)) = path.pop() else { return false };
                let (step, _) = self.entries[last];
                done[step / 64] &= !(1 << (step % 64));
                register = before;
                self.put_back(self.return_at[step]);
                self.put_back(last);
                at = self.next[last];
                continue;
            }
            if let Some(after) = steps[step].step.apply(register) {
                done[step / 64] |= 1 << (step % 64);
                if tried.insert((done.clone(), after)) {
                    path.push((at, register));
                    register = after;
                    self.take_out(at);
                    self.take_out(self.return_at[step]);
                    at = self.next[0];
                    continue;
                }
                done[step / 64] &= !(1 << (step % 64));
            }
            at = self.next[at];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(step: Step, called: u64, returned: Option<u64>) -> Timed {
        let ms = Duration::from_millis;
        Timed { step, called: ms(called), returned: returned.map(ms) }
    }

    fn write(value: u64, called: u64, returned: u64) -> Timed {
        timed(Step::Write(value), called, Some(returned))
    }

    fn read(value: Option<u64>, called: u64, returned: u64) -> Timed {
        timed(Step::Read(value), called, Some(returned))
    }

    #[test]
    fn what_one_order_explains_passes() {
        assert!(is_linearizable(&[]));
        assert!(is_linearizable(&[read(None, 0, 1), write(1, 2, 3), read(Some(1), 4, 5)]));
        // While writes overlap, a read may find either or none.
        for found in [None, Some(1), Some(2)] {
            let steps = [write(1, 0, 10), write(2, 0, 10), read(found, 1, 9)];
            assert!(is_linearizable(&steps), "{found:?}");
        }
        // The order of two overlapping writes is told by later reads.
        let steps =
            [write(1, 0, 10), write(2, 0, 10), read(Some(2), 11, 12), read(Some(2), 13, 14)];
        assert!(is_linearizable(&steps));
        let swap = timed(Step::Swap(1, 2), 0, Some(20));
        assert!(is_linearizable(&[swap, write(1, 5, 6), read(Some(2), 21, 22)]));
    }

    #[test]
    fn a_stale_read_is_found() {
        let steps = [write(1, 0, 1), write(2, 2, 3), read(Some(1), 4, 5)];
        assert!(!is_linearizable(&steps));
        assert!(!is_linearizable(&[write(1, 0, 1), read(None, 2, 3)]));
        // Two reads one after the other may not see writes in opposite orders.
        let steps = [write(1, 0, 9), write(2, 0, 9), read(Some(2), 1, 2), read(Some(1), 3, 4)];
        assert!(is_linearizable(&steps));
        let steps = [write(1, 0, 1), write(2, 0, 9), read(Some(2), 2, 3), read(Some(1), 4, 5)];
        assert!(!is_linearizable(&steps));
    }

    #[test]
    fn a_lost_update_is_found() {
        let steps = [
            write(1, 0, 1),
            timed(Step::Swap(1, 2), 2, Some(9)),
            timed(Step::Swap(1, 3), 2, Some(9)),
        ];
        assert!(!is_linearizable(&steps));
    }

    #[test]
    fn a_write_without_answer_happened_late_or_never_but_once() {
        let unknown = timed(Step::Write(7), 0, None);
        assert!(is_linearizable(&[unknown, write(1, 1, 2), read(Some(1), 3, 4)]));
        assert!(is_linearizable(&[unknown, write(1, 1, 2), read(Some(7), 3, 4)]));
        let steps = [unknown, read(Some(7), 1, 2), write(1, 3, 4), read(Some(7), 5, 6)];
        assert!(!is_linearizable(&steps));
        // Not before it was asked for.
        assert!(!is_linearizable(&[timed(Step::Write(7), 5, None), read(Some(7), 1, 2)]));
        // One that is known only through another unknown one.
        let chain = [unknown, timed(Step::Swap(7, 8), 1, None), read(Some(8), 5, 6)];
        assert!(is_linearizable(&chain));
        assert!(!is_linearizable(&chain[1..]));
    }

    #[test]
    fn a_value_nobody_wrote_is_found() {
        assert!(!is_linearizable(&[read(Some(9), 0, 1)]));
    }

    /// Thousands of calls of which many overlap take no time worth speaking of.
    #[test]
    fn a_long_history_is_searched_quickly() {
        let mut steps = Vec::new();
        for n in 0..2_000 {
            steps.push(write(n, 10 * n, 10 * n + 35));
            steps.push(read(Some(n), 10 * n + 20, 10 * n + 25));
            steps.push(timed(Step::Write(100_000 + n), 10 * n, None));
        }
        assert!(is_linearizable(&steps));
        steps.push(read(Some(5), 20_100, 20_101));
        assert!(!is_linearizable(&steps));
    }
}

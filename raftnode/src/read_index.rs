//! Reads that wait for the leader's word: batches of one round each.
//!
//! ```text
//!  add ─▶ waiting ──start──▶ round {ids} ──confirm(index)──▶ confirmed ──applied ≥ index──▶ ready
//!                              │  retry: one more id            
//!                              └──── leader change ──▶ failed
//! ```
//!
//! One round is under way at a time and serves every reader that came before it began. A
//! retry asks under a fresh id and older ids of the round stay acceptable: an id is never
//! used for two questions, so an answer from before a pause cannot serve a later read (R11).

use std::collections::VecDeque;

use crate::driver::{Driver, ReadState};

/// Readers of type `W` in their batches.
#[derive(Debug)]
pub(crate) struct ReadIndex<W> {
    waiting: Vec<W>,
    round: Option<Round<W>>,
    confirmed: VecDeque<(u64, Vec<W>)>,
    retry_ticks: u32,
}

#[derive(Debug)]
struct Round<W> {
    ids: Vec<u64>,
    readers: Vec<W>,
    ticks: u32,
    /// raft took the last question; otherwise it is asked again as soon as that may help.
    taken: bool,
}

impl<W> ReadIndex<W> {
    /// Batches that ask again after `retry_ticks` ticks.
    pub(crate) fn new(retry_ticks: u32) -> Self {
        Self {
            waiting: Vec::new(),
            round: None,
            confirmed: VecDeque::new(),
            retry_ticks: retry_ticks.max(1),
        }
    }

    /// Adds readers to the next round.
    pub(crate) fn add(&mut self, readers: &mut Vec<W>) {
        self.waiting.append(readers);
    }

    /// Begins a round when none is under way and somebody waits.
    pub(crate) fn start(&mut self, driver: &mut Driver, mut fresh_id: impl FnMut() -> u64) {
        if self.round.is_some() || self.waiting.is_empty() {
            return;
        }
        let id = fresh_id();
        let taken = driver.read_index(id);
        let readers = std::mem::take(&mut self.waiting);
        self.round = Some(Round { ids: vec![id], readers, ticks: 0, taken });
    }

    /// Counts a tick; asks again when it is time.
    pub(crate) fn tick(&mut self, driver: &mut Driver, fresh_id: impl FnMut() -> u64) {
        let Some(round) = &mut self.round else { return };
        round.ticks += 1;
        if round.ticks >= self.retry_ticks {
            round.ask(driver, fresh_id);
        }
    }

    /// Asks again at once if raft dropped the question: called when the leader has committed
    /// in its term.
    pub(crate) fn retry_dropped(&mut self, driver: &mut Driver, fresh_id: impl FnMut() -> u64) {
        if let Some(round) = &mut self.round
            && !round.taken
        {
            round.ask(driver, fresh_id);
        }
    }

    /// An answer came; those to other rounds are ignored.
    pub(crate) fn confirm(&mut self, state: &ReadState) {
        if let Some(round) = self.round.take_if(|round| round.ids.contains(&state.id)) {
            self.confirmed.push_back((state.index, round.readers));
        }
    }

    /// The leader changed: the readers of the round under way cannot be answered.
    pub(crate) fn leader_changed(&mut self) -> Vec<W> {
        self.round.take().map(|round| round.readers).unwrap_or_default()
    }

    /// The next batch whose index is applied.
    pub(crate) fn next_ready(&mut self, applied: u64) -> Option<Vec<W>> {
        let ready = |(index, _): &mut (u64, Vec<W>)| *index <= applied;
        self.confirmed.pop_front_if(ready).map(|(_, readers)| readers)
    }
}

impl<W> Round<W> {
    fn ask(&mut self, driver: &mut Driver, mut fresh_id: impl FnMut() -> u64) {
        let id = fresh_id();
        self.ids.push(id);
        self.ticks = 0;
        self.taken = driver.read_index(id);
    }
}

#[cfg(test)]
mod tests;

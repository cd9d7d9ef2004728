//! Whole clusters on one thread: drivers over disks, a network and crashes made from a seed.
//!
//! After every step it holds that members agree on what they have applied, that nothing
//! promised is missing on disk, that no term has two leaders, and that reads see what was
//! acknowledged before them. A failing seed is printed first; it fails the same way again.

#![forbid(unsafe_code)]

mod member;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use member::{Machine, Member, Wishes, founder};
use proto::raftpb;
use raftnode::{Founder, Proposal, Role};
use wal::EntryKind;

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        if high <= low { low } else { low + self.below(high - low + 1) }
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// What may go wrong, in percent.
#[derive(Clone, Copy)]
struct Weather {
    drop: u64,
    duplicate: u64,
    crash: u64,
    part: u64,
    membership: u64,
    /// Whether a cluster of two may become one.
    to_one: bool,
}

const STORM: Weather =
    Weather { drop: 5, duplicate: 5, crash: 2, part: 1, membership: 0, to_one: false };
const MOVING: Weather = Weather { membership: 2, ..STORM };
/// A voter that was removed may be the only one whose vote the other can get, and refuse it for
/// a longer log: raft with two voters that lose power while one is removed can stand still.
const SHRINKING: Weather = Weather { membership: 4, crash: 0, to_one: true, ..STORM };

struct World {
    random: Random,
    weather: Weather,
    members: BTreeMap<u64, Member>,
    founders: Vec<Founder>,
    network: Vec<raftpb::Message>,
    /// Members that hear nobody and are heard by nobody.
    parted: BTreeSet<u64>,
    /// What was applied at each index, by whoever came first.
    history: Machine,
    leaders: BTreeMap<u64, u64>,
    /// Proposals by number: where they were made, and where they were first applied.
    proposed: u64,
    acknowledged: u64,
    /// Open reads: id to (member, what was acknowledged before).
    reads: BTreeMap<u64, (u64, u64)>,
    next_read: u64,
    reads_answered: u64,
    log: Vec<String>,
}

impl World {
    fn new(seed: u64, size: u64, weather: Weather) -> Self {
        let founders: Vec<Founder> = (1..=size).map(founder).collect();
        let mut members: BTreeMap<u64, Member> =
            (1..=size).map(|id| (id, Member::new(id))).collect();
        let founding: Vec<u64> = members.keys().copied().collect();
        let history = Machine {
            first_conf_state: base::ConfState { voters: founding, ..Default::default() },
            ..Machine::default()
        };
        members.values_mut().for_each(|member| member.start(&founders, &history));
        Self {
            random: Random(seed),
            weather,
            members,
            founders,
            network: Vec::new(),
            parted: BTreeSet::new(),
            history,
            leaders: BTreeMap::new(),
            proposed: 0,
            acknowledged: 0,
            reads: BTreeMap::new(),
            next_read: 0,
            reads_answered: 0,
            log: Vec::new(),
        }
    }

    fn some_member(&mut self) -> u64 {
        let nth = self.random.below(self.members.len() as u64);
        *self.members.keys().nth(usize::try_from(nth).expect("small")).expect("a member")
    }

    fn step(&mut self) {
        let id = self.some_member();
        match self.random.below(100) {
            0..15 => self.with_driver(id, raftnode::Driver::tick),
            15..50 => self.deliver(),
            50..62 => self.member(id).sync_some(),
            62..77 => self.apply(id),
            77..88 => self.propose(id),
            88..92 => self.read(id),
            92..94 => self.member(id).0.write_commit(),
            94..95 => self.member(id).0.trim(),
            _ => self.trouble(id),
        }
        self.settle(id);
    }

    fn member(&mut self, id: u64) -> (&mut Member, &mut Random) {
        (self.members.get_mut(&id).expect("a member"), &mut self.random)
    }

    fn with_driver(&mut self, id: u64, act: impl FnOnce(&mut raftnode::Driver)) {
        if let Some(up) = self.members.get_mut(&id).and_then(|member| member.up.as_mut()) {
            act(&mut up.driver);
        }
    }

    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let nth = self.random.below(self.network.len() as u64);
        let message = self.network.swap_remove(usize::try_from(nth).expect("small"));
        let (from, to) = (message.from.unwrap_or_default(), message.to.unwrap_or_default());
        let lost = self.parted.contains(&from)
            || self.parted.contains(&to)
            || self.random.percent(self.weather.drop);
        if !lost && self.random.percent(self.weather.duplicate) {
            self.network.push(message.clone());
        }
        let snapshot = message.snapshot.is_some();
        let arrives = !lost && self.members.get(&to).is_some_and(|member| member.up.is_some());
        if arrives {
            // Whether raft has a use for it is its own affair.
            self.with_driver(to, |driver| driver.step(message).unwrap_or_default());
        } else {
            self.with_driver(from, |driver| driver.report_unreachable(to));
        }
        if snapshot {
            self.with_driver(from, |driver| driver.report_snapshot(to, arrives));
        }
        self.settle(from);
        self.settle(to);
    }

    fn apply(&mut self, id: u64) {
        let mut wishes = Wishes::default();
        let member = self.members.get_mut(&id).expect("a member");
        member.apply(&self.history, &mut wishes);
        for entry in wishes.applied {
            if entry.index <= self.history.applied() {
                let at = usize::try_from(entry.index - 1).expect("small");
                assert_eq!(self.history.entries[at], entry, "members disagree");
                continue;
            }
            assert_eq!(entry.index, self.history.applied() + 1, "a gap in what is applied");
            let conf_state = self.members[&id].machine.conf_states
                [usize::try_from(entry.index - 1).expect("small")]
            .clone();
            self.history.entries.push(entry);
            self.history.conf_states.push(conf_state);
        }
        // Applied somewhere: whoever proposed it may have been told.
        self.acknowledged = self.history.applied();
    }

    fn propose(&mut self, id: u64) {
        let count = self.random.between(1, 4);
        let mut proposals: Vec<Proposal> = (1..=count)
            .map(|n| Proposal {
                kind: EntryKind::Normal,
                data: Bytes::copy_from_slice(&(self.proposed + n).to_be_bytes()),
            })
            .collect();
        self.proposed += count;
        if self.random.percent(self.weather.membership) {
            let operation = b"+l-"[usize::try_from(self.random.below(3)).expect("small")];
            let whom = u8::try_from(self.random.between(1, 5)).expect("small");
            let voters = &self.history.conf_state().voters;
            let few = voters.len() <= 2 && voters.contains(&u64::from(whom));
            if few && operation == b'-' && !self.weather.to_one {
                return;
            }
            let data = Bytes::from(vec![operation, whom]);
            proposals.push(Proposal { kind: EntryKind::ConfChange, data });
        }
        self.with_driver(id, |driver| {
            driver.propose(&mut proposals);
        });
    }

    fn read(&mut self, id: u64) {
        self.next_read += 1;
        let read = self.next_read;
        let acknowledged = self.acknowledged;
        let mut taken = false;
        self.with_driver(id, |driver| taken = driver.read_index(read));
        if taken {
            self.reads.insert(read, (id, acknowledged));
        }
    }

    fn trouble(&mut self, id: u64) {
        if self.random.percent(self.weather.crash * 10) {
            let (member, random) = self.member(id);
            if member.up.is_some() {
                member.crash(random);
                self.reads.retain(|_, (of, _)| *of != id);
            }
        } else if self.random.percent(self.weather.part * 10) && !self.parted.remove(&id) {
            self.parted.insert(id);
        } else if self.random.percent(30) {
            self.parted.clear();
        } else if self.random.percent(10) {
            let to = self.some_member();
            self.with_driver(id, |driver| driver.transfer_leader(to));
        }
        if self.random.percent(40) {
            self.restart_all();
        }
    }

    fn restart_all(&mut self) {
        let missing = |id: &u64| !self.members.contains_key(id);
        let conf_state = self.history.conf_state();
        let joiners: Vec<u64> =
            conf_state.voters.iter().chain(&conf_state.learners).copied().filter(missing).collect();
        for id in joiners {
            self.members.insert(id, Member::new(id));
        }
        for (id, member) in &mut self.members {
            if member.up.is_none() {
                let founds = self.founders.iter().any(|founder| founder.id == *id);
                member.start(if founds { &self.founders } else { &[] }, &self.history);
            }
        }
    }

    /// Takes what a member has to say, and checks what must always hold.
    fn settle(&mut self, id: u64) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let mut wishes = Wishes::default();
        member.poll(&mut wishes);
        self.network.extend(wishes.sent);
        for term in wishes.led {
            let first = *self.leaders.entry(term).or_insert(id);
            assert_eq!(first, id, "two leaders in term {term}");
            self.log.push(format!("{id} leads term {term}"));
        }
        for read in wishes.reads {
            if let Some((of, acknowledged)) = self.reads.remove(&read.id) {
                assert_eq!(of, id, "a read answered elsewhere");
                assert!(read.index >= acknowledged, "a stale read");
                self.reads_answered += 1;
            }
        }
        let Some(up) = &member.up else { return };
        if up.driver.facts().local_reads {
            assert_eq!(member.machine.applied(), self.acknowledged, "a stale local read");
        }
    }

    /// Good weather until everybody has applied the same.
    fn heal(&mut self) {
        self.weather = Weather { drop: 0, duplicate: 0, crash: 0, part: 0, ..STORM };
        self.parted.clear();
        for round in 0.. {
            self.restart_all();
            if round % 500 == 499 {
                self.stop_removed();
            }
            assert!(round < 20_000, "the cluster does not heal: {}", self.describe());
            let ids: Vec<u64> = self.members.keys().copied().collect();
            for id in ids {
                if round % 20 == 0 {
                    self.with_driver(id, raftnode::Driver::tick);
                }
                if self.members[&id].has_work() {
                    self.member(id).sync_some();
                    self.apply(id);
                }
                self.settle(id);
            }
            (0..20).for_each(|_| self.deliver());
            if self.is_healed() {
                return;
            }
        }
    }

    /// Members that have applied their own removal end, as the server ends them.
    fn stop_removed(&mut self) {
        let ids: Vec<u64> =
            self.members.values().filter(|member| member.is_removed()).map(|m| m.id).collect();
        ids.iter().for_each(|id| drop(self.members.remove(id)));
    }

    fn describe(&self) -> String {
        let one = |member: &Member| {
            let up = member.up.as_ref().map(|up| {
                let log = up.driver.log();
                let log = (log.first_index(), log.last());
                (up.driver.leadership(), up.driver.facts(), log, up.driver.conf_state().clone())
            });
            format!("\n{}: applied {}, {up:?}", member.id, member.machine.applied())
        };
        let members: String = self.members.values().map(one).collect();
        format!("{:?}{members}", self.history.conf_state())
    }

    fn is_healed(&self) -> bool {
        let conf_state = self.history.conf_state();
        let leads = |member: &&Member| {
            member.up.as_ref().is_some_and(|up| up.driver.leadership().role == Role::Leader)
        };
        let leader =
            self.members.values().filter(|m| conf_state.voters.contains(&m.id)).find(leads);
        let Some(up) = leader.and_then(|member| member.up.as_ref()) else { return false };
        let last = up.driver.log().last().index;
        conf_state
            .voters
            .iter()
            .chain(&conf_state.learners)
            .all(|id| self.members.get(id).is_some_and(|member| member.machine.applied() == last))
    }

    /// Each proposal is in the history at most once, whatever was lost on the way.
    fn check_history(&self) {
        let mut seen = BTreeSet::new();
        for entry in &self.history.entries {
            if entry.kind == EntryKind::Normal && !entry.data.is_empty() {
                let fresh = seen.insert(entry.data.clone());
                // A duplicated forward is proposed twice: that is the network's doing.
                assert!(fresh || self.weather.duplicate == 0, "{entry:?} twice");
            }
        }
    }
}

/// Lets `sync` read like the other events.
trait SyncSome {
    fn sync_some(self);
}

impl SyncSome for (&mut Member, &mut Random) {
    fn sync_some(self) {
        self.0.sync(self.1);
    }
}

/// Runs one world; gives its story.
fn run(seed: u64, size: u64, steps: u64, weather: Weather) -> (Vec<String>, u64, u64) {
    let guard = Announce(seed, size);
    let mut world = World::new(seed, size, weather);
    (0..steps).for_each(|_| world.step());
    world.heal();
    world.check_history();
    std::mem::forget(guard);
    world.log.push(format!("{} applied", world.history.applied()));
    (world.log, world.history.applied(), world.reads_answered)
}

/// Names the seed when a run panics.
struct Announce(u64, u64);

impl Drop for Announce {
    fn drop(&mut self) {
        let text = format!("failing: seed {}, {} members\n", self.0, self.1);
        std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).expect("stderr");
    }
}

fn run_seeds(size: u64, weather: Weather) {
    let (mut applied, mut reads) = (0, 0);
    for seed in 0..150 {
        let (_, entries, answered) = run(seed, size, 4_000, weather);
        applied += entries;
        reads += answered;
    }
    assert!(applied > 150 * 100, "{applied} entries are too few to mean anything");
    assert!(reads > 150, "{reads} reads are too few to mean anything");
}

#[test]
fn three_members_agree_in_any_weather() {
    run_seeds(3, STORM);
}

#[test]
fn five_members_agree_in_any_weather() {
    run_seeds(5, STORM);
}

#[test]
fn a_member_alone_loses_nothing_over_crashes() {
    run_seeds(1, STORM);
}

#[test]
fn members_that_come_and_go_agree() {
    run_seeds(1, MOVING);
    run_seeds(3, MOVING);
}

#[test]
fn clusters_that_shrink_to_one_member_agree() {
    run_seeds(1, SHRINKING);
    run_seeds(2, SHRINKING);
}

#[test]
fn equal_seeds_give_equal_stories() {
    let (one, ..) = run(7, 3, 4_000, STORM);
    let (other, ..) = run(7, 3, 4_000, STORM);
    assert_eq!(one, other);
    assert!(one.len() > 3, "{one:?}");
}

//! The books of a cluster against a model of its coordinator: whatever happens in whatever order,
//! the load differs from the truth by no more than what no one could have seen, and a poll that
//! begins after it all makes it right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use warren::cluster::live::LiveQuery;
use warren::cluster::load::{Ledger, Listed, Stage};
use warren::ids::QueryId;
use warren::time::Instant;

/// Longer than any sequence of steps: what fades is looked at elsewhere.
const GRACE: Duration = Duration::from_secs(3600);

const STATES: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A submit is sent.
    Reserve,
    /// A submit is answered.
    Confirm,
    /// A submit comes to nothing.
    Refuse,
    /// A client asks for the first page of its query.
    FirstGet(usize),
    /// A query moves on to its next state.
    Move(usize),
    /// A query ends, and its last page passes the gateway.
    LastPage(usize),
    /// A query ends, and the gateway does not see it.
    Killed(usize),
    /// Somebody else brings a query to the cluster.
    Foreign,
    /// A poll begins, or asks for its next state, or comes in.
    Poll,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Reserve),
        3 => Just(Step::Confirm),
        1 => Just(Step::Refuse),
        4 => any::<usize>().prop_map(Step::FirstGet),
        4 => any::<usize>().prop_map(Step::Move),
        2 => any::<usize>().prop_map(Step::LastPage),
        1 => any::<usize>().prop_map(Step::Killed),
        1 => Just(Step::Foreign),
        6 => Just(Step::Poll),
    ];
    proptest::collection::vec(step, 0..150)
}

/// The coordinator, and the gateway's books about it.
struct Model {
    ledger: Ledger,
    now: Instant,
    made: u32,
    reserved: usize,
    /// Posted; not started.
    registered: BTreeMap<u32, Arc<LiveQuery>>,
    /// Started; by their state.
    started: BTreeMap<u32, usize>,
    foreign: BTreeSet<u32>,
    /// Ended without the gateway's seeing it, and still counted perhaps.
    unseen: BTreeSet<u32>,
    poll: Option<Poll>,
}

struct Poll {
    began: Instant,
    asked: usize,
    list: Vec<Listed>,
    /// Unseen ends from before it began: it tells them.
    tells: BTreeSet<u32>,
}

impl Model {
    fn new() -> Self {
        Self {
            ledger: Ledger::default(),
            now: warren::time::now(),
            made: 0,
            reserved: 0,
            registered: BTreeMap::new(),
            started: BTreeMap::new(),
            foreign: BTreeSet::new(),
            unseen: BTreeSet::new(),
            poll: None,
        }
    }

    fn step(&mut self, step: Step) {
        // Each act has a moment of its own.
        self.now += Duration::from_millis(10);
        match step {
            Step::Reserve => {
                self.reserved += 1;
                self.ledger.reserve();
            }
            Step::Confirm if self.reserved > 0 => {
                self.reserved -= 1;
                self.made += 1;
                let query = Arc::new(LiveQuery::posted_at(id(self.made), self.now));
                self.ledger.confirm(query.clone(), GRACE);
                self.registered.insert(self.made, query);
            }
            Step::Refuse if self.reserved > 0 => {
                self.reserved -= 1;
                self.ledger.release();
            }
            Step::FirstGet(pick) => {
                let Some(own) = picked(self.registered.keys(), pick) else { return };
                let query = self.registered.remove(&own).expect("it was picked");
                query.asked(self.now);
                self.ledger.begin(&id(own));
                self.started.insert(own, 0);
            }
            Step::Move(pick) => {
                let Some(any) = picked(self.started.keys(), pick) else { return };
                let state = self.started.get_mut(&any).expect("it was picked");
                *state = (*state + 1).min(STATES - 1);
            }
            Step::LastPage(pick) => {
                let own = self.started.keys().filter(|any| !self.foreign.contains(any));
                let Some(own) = picked(own, pick) else { return };
                self.started.remove(&own);
                assert!(self.ledger.end(&id(own), self.now), "it was held for live");
            }
            Step::Killed(pick) => {
                let Some(any) = picked(self.started.keys(), pick) else { return };
                self.started.remove(&any);
                self.unseen.insert(any);
            }
            Step::Foreign => {
                self.made += 1;
                self.foreign.insert(self.made);
                self.started.insert(self.made, 0);
            }
            Step::Poll => self.poll(),
            Step::Confirm | Step::Refuse => {}
        }
    }

    fn poll(&mut self) {
        let poll = self.poll.get_or_insert_with(|| Poll {
            began: self.now,
            asked: 0,
            list: Vec::new(),
            tells: self.unseen.clone(),
        });
        if poll.asked < STATES {
            let stage = if poll.asked == 0 { Stage::Queued } else { Stage::Running };
            let there = self.started.iter().filter(|(_, state)| **state == poll.asked);
            poll.list.extend(there.map(|(any, _)| Listed { id: id(*any), stage }));
            poll.asked += 1;
            return;
        }
        let poll = self.poll.take().expect("it was there");
        for (id, _) in self.ledger.poll(poll.began, poll.list) {
            assert!(self.ledger.end(&id, self.now));
        }
        self.unseen.retain(|any| !poll.tells.contains(any));
    }

    /// What the cluster carries: what is on its way to it, too.
    fn truth(&self) -> usize {
        self.reserved + self.registered.len() + self.started.len()
    }

    fn check(&mut self) {
        let load = self.ledger.load(self.now) as usize;
        let foreign = self.started.keys().filter(|any| self.foreign.contains(any)).count();
        let (least, most) = (self.truth() - foreign, self.truth() + self.unseen.len());
        assert!((least..=most).contains(&load), "{load} is not within {least} and {most}");
    }
}

fn picked<'a>(mut from: impl Iterator<Item = &'a u32> + Clone, pick: usize) -> Option<u32> {
    let count = from.clone().count();
    from.nth(pick.checked_rem(count)?).copied()
}

fn id(index: u32) -> QueryId {
    QueryId::parse(&format!("20260101_000000_{index:05}_abcde")).expect("a good id")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn load_differs_from_the_truth_by_what_nobody_could_see(steps in steps()) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
            model.check();
        }
        // What is left of the poll under way, and a whole one.
        while model.poll.is_some() {
            model.step(Step::Poll);
        }
        for _ in 0..=STATES {
            model.step(Step::Poll);
        }
        prop_assert_eq!(model.ledger.load(model.now) as usize, model.truth());
    }
}

//! Rollouts: one cluster of a group takes over from others, in steps, and no query is lost.
//!
//! A rollout is a document in the store, and `plan` says from it and from what is seen of the
//! clusters what to do next, or what it waits for. `execute` does that, under a lease, and keeps
//! how far it came; whatever was done when a gateway died is done again by the next one, and changes
//! nothing then. It starts and stops no coordinator: that is for the hooks, and for whoever watches.

mod canary;
pub mod execute;
mod hooks;
pub mod left;
pub mod look;
mod plan;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterName, GroupName};
use crate::store::Intent;

/// How many steps a document keeps.
const STEPS: usize = 100;

/// A rollout: what was asked, and how far it has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// The group.
    pub group: GroupName,
    /// The cluster that takes over.
    pub to: ClusterName,
    /// The clusters that finish their queries and end.
    pub from: Vec<ClusterName>,
    /// How long these may take, in milliseconds.
    pub drain_timeout_ms: u64,
    /// What happens when that has passed.
    pub on_timeout: OnTimeout,
    /// The share of new queries that `to` takes first.
    pub canary: Option<Canary>,
    /// Who began it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What was wanted of all of them before: an abort gives it back.
    pub before: BTreeMap<ClusterName, Intent>,
    /// Where it stands.
    pub phase: Phase,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Whether what comes before this phase was done: its hook ran.
    pub begun: bool,
    /// What it does or waits for now.
    pub told: String,
    /// How many queries were left when draining began.
    pub left_at_first: u32,
    /// What happened, the oldest first.
    pub steps: Vec<Step>,
}

/// A part of the queries for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Of a hundred new queries.
    pub percent: u8,
    /// For how long, in milliseconds.
    pub for_ms: u64,
}

/// What happens when queries are left after the time for draining.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// It goes on waiting.
    Wait,
    /// It is aborted.
    Abort,
    /// They are killed.
    Kill,
}

impl OnTimeout {
    /// All, in the order of the docs.
    pub const ALL: [Self; 3] = [Self::Wait, Self::Abort, Self::Kill];

    /// The word in API and command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Abort => "abort",
            Self::Kill => "kill",
        }
    }
}

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Until the target is ready.
    Waiting,
    /// The target takes a part of the new queries.
    Canary,
    /// New queries move to the target.
    Shifting,
    /// The others finish their queries.
    Draining,
    /// The others are taken out.
    Deactivating,
    /// All is done.
    Done,
    /// Traffic is taken back.
    Aborting,
    /// It was taken back.
    Aborted,
}

impl Phase {
    /// The word in API and command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Canary => "canary",
            Self::Shifting => "shifting",
            Self::Draining => "draining",
            Self::Deactivating => "deactivating",
            Self::Done => "done",
            Self::Aborting => "aborting",
            Self::Aborted => "aborted",
        }
    }

    /// Whether nothing happens any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Aborted)
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The phase that began.
    pub phase: Phase,
    /// Why.
    pub text: String,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The group.
    pub group: GroupName,
    /// The cluster that takes over.
    pub to: ClusterName,
    /// The clusters that end.
    pub from: Vec<ClusterName>,
    /// How long these may take to finish their queries.
    pub drain_timeout: Duration,
    /// What happens then.
    pub on_timeout: OnTimeout,
    /// The share of new queries that `to` takes first.
    pub canary: Option<Canary>,
    /// Who asks.
    pub actor: String,
    /// Why.
    pub reason: String,
}

impl Rollout {
    /// A rollout that begins at `now_ms`, while `intents` are wanted.
    pub fn new(asked: Asked, intents: BTreeMap<ClusterName, Intent>, now_ms: u64) -> Self {
        let Asked { group, to, from, drain_timeout, on_timeout, canary, actor, reason } = asked;
        let told = format!("{to} is to take over from {}", names(&from));
        Self {
            group,
            to,
            from,
            drain_timeout_ms: u64::try_from(drain_timeout.as_millis()).unwrap_or(u64::MAX),
            on_timeout,
            canary,
            actor,
            reason,
            before: intents,
            phase: Phase::Waiting,
            since_ms: now_ms,
            begun: false,
            told: told.clone(),
            left_at_first: 0,
            steps: vec![Step { at_ms: now_ms, phase: Phase::Waiting, text: told }],
        }
    }

    /// Moves on to `phase` at `now_ms`, because of what `text` says.
    fn enter(&mut self, phase: Phase, text: String, now_ms: u64) {
        self.phase = phase;
        self.since_ms = now_ms;
        self.begun = phase.is_over();
        self.told.clone_from(&text);
        self.steps.push(Step { at_ms: now_ms, phase, text });
        // The first ones tell why it began, the last ones how it ends.
        if self.steps.len() > STEPS {
            self.steps.remove(STEPS / 2);
        }
    }
}

/// Names in a row, for people.
fn names(clusters: &[ClusterName]) -> String {
    let names: Vec<_> = clusters.iter().map(ClusterName::as_str).collect();
    names.join(", ")
}

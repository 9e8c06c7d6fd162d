//! What a coordinator counts of itself, read from one of three sources: nodes, queries, memory and
//! processors in use. Pure.
//!
//! Nothing that an answer says may panic, and a number that makes no sense (negative, not a number,
//! beyond all clusters) is no number: what it would have told is missing, and missing is not 0.

pub mod jmx;
pub mod metrics;
pub mod ui;

use crate::cluster::load::{Signals, Tally};
use crate::config::ClusterConfig;

/// What was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// The nodes that are active.
    pub active: Active,
    /// The queries; `None`: not told.
    pub tally: Option<Tally>,
    /// What is in use.
    pub signals: Signals,
}

/// Nodes that are active, as a source counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Active {
    /// All, the coordinator among them.
    Nodes(u32),
    /// Those that work; the coordinator is one of them if it works too.
    Workers(u32),
}

impl Active {
    /// The workers.
    pub fn workers(self) -> u32 {
        match self {
            Self::Nodes(nodes) => nodes.saturating_sub(1),
            Self::Workers(workers) => workers,
        }
    }
}

impl Counts {
    /// What the cluster lacks to be ready, in words.
    pub fn lacking(&self, settings: &ClusterConfig) -> Option<String> {
        let (workers, needed) = (self.active.workers(), settings.needed_workers());
        if workers < needed {
            return Some(format!("{workers} active workers, {needed} wanted"));
        }
        let none = matches!(self.active, Active::Nodes(0) | Active::Workers(0));
        (none && settings.min_workers > 0).then(|| "no active node, 1 wanted".to_owned())
    }
}

/// A number of things.
fn whole(number: f64) -> Option<u32> {
    // The cast saturates, and what lies between is no number of things.
    let fits = (0.0..f64::from(u32::MAX)).contains(&number);
    fits.then_some(number as u32)
}

/// How much of `all` is `used`, in thousandths.
fn share(used: Option<f64>, all: Option<f64>) -> Option<u32> {
    let (used, all) = (used?, all?);
    let sound = used.is_finite() && used >= 0.0 && all.is_finite() && all > 0.0;
    sound.then(|| whole((used / all).min(1.0) * 1000.0)).flatten()
}

/// Queries that wait and queries that work, where both are told.
fn tally(queued: Option<f64>, running: Option<f64>) -> Option<Tally> {
    Some(Tally { queued: whole(queued?)?, running: whole(running?)? })
}

/// The active nodes, without which a source says nothing about a cluster.
fn nodes(told: Option<f64>, name: &str) -> Result<u32, String> {
    let number = told.ok_or_else(|| format!("no `{name}` in it"))?;
    whole(number).ok_or_else(|| format!("`{name}` is {number}, which is no number of nodes"))
}

#[cfg(test)]
mod tests;

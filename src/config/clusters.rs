//! `[[groups]]` and `[[clusters]]`, resolved.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;
use super::{Scheme, address};
use crate::ids::{ClusterName, GroupName};
use crate::store::Intent;

/// `[[groups]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// `name`.
    pub name: GroupName,
    /// `mode`. Default: active-active.
    pub mode: Mode,
    /// `queued_weight` and `running_weight`, 1 each by default; `memory_weight` and `cpu_weight`, 0.
    pub load: LoadWeights,
    /// `auto_failover`: whether a ready standby takes over when no active cluster can take a query.
    /// Default: false.
    pub auto_failover: bool,
    /// `fallback`: the groups that take its queries, in this order, while none of its own can.
    pub fallback: Vec<GroupName>,
    /// `reject`: what its clients are told at once while nobody can take a query; else they wait.
    pub reject: Option<String>,
    /// `hold`: how its queries are held while nobody can take them; `None`: they are not.
    pub hold: Option<Hold>,
}

/// `hold` of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// `max_wait`: how long a query is held at most. Default: 5 min.
    pub max_wait: Duration,
    /// `max_queries`: how many are held. Default: 1,000.
    pub max_queries: usize,
    /// `max_bytes`: the room for their statements and headers, in bytes. Default: 64 MiB.
    pub max_bytes: usize,
    /// `per_user`: how many of them may be of one user. Default: 100.
    pub per_user: usize,
}

/// How much queries of a cluster count when one is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadWeights {
    /// One that waits in Trino's queue.
    pub queued: u32,
    /// One that works, or that no list shows yet.
    pub running: u32,
    /// How many queries a memory counts for that is wholly in use.
    pub memory: u32,
    /// How many queries processors count for that are all in use.
    pub cpu: u32,
}

impl LoadWeights {
    /// Each query counts the same, and nothing else counts.
    pub const EVEN: Self = Self { queued: 1, running: 1, memory: 0, cpu: 0 };
}

/// How the active clusters of a group share its queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Each takes the share that its load and weight allow.
    ActiveActive,
    /// The first in the file takes all.
    ActiveStandby,
}

/// What shows that a cluster can take queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A statement that ran.
    Statement,
    /// `/v1/info` alone.
    Info,
    /// What `/metrics` counts.
    Metrics,
    /// What the web UI shows.
    Ui,
    /// What the beans of its Java process count.
    Jmx,
}

impl Source {
    /// All, in the order of the docs.
    pub const ALL: [Self; 5] = [Self::Statement, Self::Info, Self::Metrics, Self::Ui, Self::Jmx];

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Info => "info",
            Self::Metrics => "metrics",
            Self::Ui => "ui",
            Self::Jmx => "jmx",
        }
    }

    /// Whether it counts nodes and queries, so that neither a statement nor a list is asked for.
    pub fn counts(self) -> bool {
        matches!(self, Self::Metrics | Self::Ui | Self::Jmx)
    }

    /// Whether it tells how much of the memory is in use. The web UI does not tell how much there is.
    pub fn tells_memory(self) -> bool {
        matches!(self, Self::Metrics | Self::Jmx)
    }
}

/// A metric that must lie within bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricBounds {
    /// Its name.
    pub name: String,
    /// `metrics_min`: what it must be at least.
    pub min: Option<f64>,
    /// `metrics_max`: what it may be at most.
    pub max: Option<f64>,
}

/// `[[clusters]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterConfig {
    /// `name`.
    pub name: ClusterName,
    /// `group`.
    pub group: GroupName,
    /// `url`.
    pub url: ClusterUrl,
    /// `weight`: its capacity beside the others'. Default: 1.
    pub weight: u32,
    /// How its queries count, as its group says.
    pub load: LoadWeights,
    /// `zone`.
    pub zone: Option<String>,
    /// `initial_intent`: counts only for a name that the store has never seen. Default: active.
    pub initial_intent: Intent,
    /// `min_workers`: active workers that it must have to be ready; above 1 they are counted by a
    /// statement, which then is the probe, or by `probe.source`. Default: 1.
    pub min_workers: u32,
    /// `expected_workers`: how many it has when all is well. 0: not told, which is the default.
    pub expected_workers: u32,
    /// `workers_percent`: the share of them that must be active. Default: 50.
    pub workers_percent: u32,
    /// `max_running`: the most queries that it has at a time; `None`: no bound of ours.
    pub max_running: Option<u32>,
    /// `probe`.
    pub probe: Probe,
    /// `tls.ca`: a PEM file with the authorities to believe instead of the system's.
    pub ca: Option<PathBuf>,
    /// `tls.server_name`: the name in its certificate, if not the host of `url`.
    pub server_name: Option<String>,
}

impl ClusterConfig {
    /// The active workers that it must have to be ready; 0: they are not counted.
    pub fn needed_workers(&self) -> u32 {
        let share = u64::from(self.expected_workers) * u64::from(self.workers_percent);
        let share = u32::try_from(share.div_ceil(100)).unwrap_or(u32::MAX);
        let needed = self.min_workers.max(share);
        if needed > 1 { needed } else { 0 }
    }
}

/// The address of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterUrl {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// A host name or an address (IPv6 without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
}

impl ClusterUrl {
    /// Reads an origin, such as `https://trino.example.com`.
    pub fn parse(text: &str) -> Option<Self> {
        address::cluster_url(text).ok()
    }

    /// What stands in `Host`: the port only where it is not the scheme's.
    pub fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }
}

impl std::fmt::Display for ClusterUrl {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

/// `[clusters.probe]`: as whom Warren asks a cluster how it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// `user`. Default: `warren`.
    pub user: String,
    /// `password`: sent as Basic credentials.
    pub password: Option<Secret>,
    /// `token`: sent as a bearer's, in the place of a password.
    pub token: Option<Secret>,
    /// `certificate` and `key`: the PEM files of the certificate that probes show.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// `source`: what shows that the cluster can take queries. Default: a statement.
    pub source: Source,
    /// `statement`. Default: `SELECT 1`.
    pub statement: String,
    /// `headers`: further headers.
    pub headers: BTreeMap<String, String>,
    /// `metrics_min` and `metrics_max`: what `/metrics` must tell beside.
    pub metrics: Vec<MetricBounds>,
}

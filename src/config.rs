//! Settings: the file's shape (`raw`) becomes, or does not become, the [`Config`] that the program
//! uses (`resolve`). All problems of a file are told at once, each with its path, its value and
//! what would be right.

mod address;
mod clusters;
mod duration;
pub mod problem;
mod raw;
mod resolve;
mod restart;
pub mod secret;
mod services;
pub mod settings;
mod size;
mod statement_paths;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use regex::Regex;

use crate::ids::GroupName;
use secret::Secret;

pub use clusters::{
    ClusterConfig, ClusterUrl, Group, Hold, LoadWeights, MetricBounds, Mode, Probe, Source,
};
pub use resolve::{load, parse};
pub use restart::needs_restart;
pub use services::{OnFailure, RuleHttp, ServiceUrl};

/// All settings, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file they came from.
    pub file: PathBuf,
    /// `[listen]`.
    pub listen: Listen,
    /// `[admin]`.
    pub admin: Admin,
    /// `[peers]`.
    pub peers: Peers,
    /// `[store]`.
    pub store: StoreUrl,
    /// `[store] keep_history`: how long the store keeps the history of queries. Default: 30 days.
    pub keep_history: Duration,
    /// `[state] folder`: journal, last known intents and rules, id of this gateway. Absolute.
    pub state_folder: PathBuf,
    /// `[rules]`.
    pub rules: Rules,
    /// `[paths]`.
    pub paths: Paths,
    /// `[limits]`.
    pub limits: Limits,
    /// `[queries]`.
    pub queries: Queries,
    /// `[timeouts]`.
    pub timeouts: Timeouts,
    /// `[health]`.
    pub health: Health,
    /// `[rollouts]`.
    pub rollouts: Rollouts,
    /// `[log]`.
    pub log: Log,
    /// `[[groups]]`, in the order of the file.
    pub groups: Vec<Group>,
    /// `[[clusters]]`, in the order of the file.
    pub clusters: Vec<ClusterConfig>,
}

impl Config {
    /// The names of all groups, in the order of the file: those that rules may name.
    pub fn group_names(&self) -> Vec<GroupName> {
        self.groups.iter().map(|group| group.name.clone()).collect()
    }
}

/// `[listen]`.
#[derive(Debug, Clone)]
pub struct Listen {
    /// `client`: where Trino clients connect.
    pub client: SocketAddr,
    /// `tls` of `client`.
    pub tls: Option<Tls>,
    /// `[[listeners]]`: further ports for clients.
    pub more: Vec<Listener>,
    /// `admin`: the operators' port.
    pub admin: SocketAddr,
    /// `public_url`: what clients are told to come back to; else the `Host` that they sent.
    pub public_url: Option<PublicUrl>,
    /// `allowed_hosts`: which `Host` a client may send (host names, without port, lower case).
    /// Empty: any.
    pub allowed_hosts: Vec<String>,
    /// `trusted_proxies`: whose `X-Forwarded-*` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `cookie_key`: what the cookie for browsers is signed with; else a random one is kept.
    pub cookie_key: Option<Secret>,
    /// `workers`: threads of the data path. Default: one for each processor.
    pub workers: usize,
    /// `work_stealing`: whether workers take tasks from each other. Default: false.
    pub work_stealing: bool,
}

/// The origin that clients are told to come back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host, and port where it is not the scheme's.
    pub authority: String,
}

impl PublicUrl {
    /// Reads an origin, as it is shown.
    pub fn parse(text: &str) -> Option<Self> {
        address::public_url(text).ok()
    }
}

impl std::fmt::Display for PublicUrl {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}://{}", self.scheme.as_str(), self.authority)
    }
}

/// How a peer is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The word in an address.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that an address without one means.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Listen {
    /// The name of the port for clients with this number.
    pub fn name_of(&self, port: u16) -> &str {
        let further = self.more.iter().find(|listener| listener.address.port() == port);
        further.map_or(FIRST, |listener| &listener.name)
    }

    /// All ports for clients, that of `client` first.
    pub fn listeners(&self) -> Vec<Listener> {
        let first =
            Listener { name: FIRST.to_owned(), address: self.client, tls: self.tls.clone() };
        std::iter::once(first).chain(self.more.iter().cloned()).collect()
    }
}

/// The name of the port in `[listen]`.
pub const FIRST: &str = "client";

/// A port for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// `name`.
    pub name: String,
    /// `address`.
    pub address: SocketAddr,
    /// `tls`.
    pub tls: Option<Tls>,
}

/// `tls` of a port for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// `certificate` and `key`, then those of `more`. Absolute.
    pub pairs: Vec<(PathBuf, PathBuf)>,
    /// `client_ca`: authorities of which each client must show a certificate.
    pub client_ca: Option<PathBuf>,
}

/// `[admin]`.
#[derive(Debug, Clone, Default)]
pub struct Admin {
    /// `token`: what a caller of the operators' API must carry as `Authorization: Bearer …`.
    pub token: Option<Secret>,
}

/// `[peers]`.
#[derive(Debug, Clone)]
pub struct Peers {
    /// `address`: where other gateways reach the operators' port. Default: `listen.admin`.
    pub address: SocketAddr,
    /// `secret`: what gateways show each other.
    pub secret: Option<Secret>,
}

/// `[store] url`.
#[derive(Debug, Clone)]
pub enum StoreUrl {
    /// `sqlite:FILE`, absolute.
    Sqlite(PathBuf),
    /// `mysql://user:password@host:port/database`.
    Mysql(Secret),
}

impl StoreUrl {
    /// Whether no other gateway can share it.
    pub fn serves_one_gateway(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }
}

/// `[rules]`.
#[derive(Debug, Clone)]
pub struct Rules {
    /// `file`, absolute.
    pub file: PathBuf,
    /// `default_group`: where a query goes that no rule names.
    pub default_group: GroupName,
    /// `routing_group_header`: whether `X-Trino-Routing-Group` is honoured. Default: false.
    pub routing_group_header: bool,
    /// `cpu`: the most time that one decision may take. Default: 2 ms.
    pub cpu: Duration,
    /// `memory`: the most memory of one virtual machine, in bytes. Default: 32 MiB.
    pub memory: usize,
    /// `on_error`: what becomes of a query for which the rules failed. Default: default_group.
    pub on_error: OnError,
    /// `alarm_after`: how many failures in a row raise the alarm. Default: 10.
    pub alarm_after: u32,
    /// `http`: what rules may call; `None`: nothing.
    pub http: Option<RuleHttp>,
}

/// `[rules] on_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It goes to the default group.
    DefaultGroup,
    /// It is refused.
    Reject,
}

/// `[paths]`.
#[derive(Debug, Clone)]
pub struct Paths {
    /// `statement`: `/v1/statement` first, then configured ones (absolute, no trailing slash).
    pub statement: Vec<String>,
    /// `extra`: whole-path patterns that are passed to a ready cluster.
    pub extra: Vec<Regex>,
}

/// `[limits]`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `statement`: the largest statement that is kept in memory, in bytes. Default: 16 MiB.
    pub statement: usize,
    /// `statement_history`: how much of a statement the history keeps, in bytes. Default: 4 KiB.
    pub statement_history: usize,
    /// `hot_routes`: how many exact routes are kept in memory. Default: 1,000,000.
    pub hot_routes: usize,
    /// `journal`: the room for events that the store has not taken yet, in bytes. Default: 256 MiB.
    pub journal: u64,
    /// `submit_clusters`: how many clusters one submit may try. Default: 3.
    pub submit_clusters: usize,
    /// `held`: how many requests may wait at once. Default: 10,000.
    pub held: usize,
    /// `statements`: the room for the statements of all submits on their way, in bytes.
    /// Default: 256 MiB.
    pub statements: usize,
}

/// `[queries]`.
#[derive(Debug, Clone)]
pub struct Queries {
    /// `rebind`: whether a read whose cluster cannot be connected at its first page is submitted
    /// to another one. Default: true (`reads`).
    pub rebind: bool,
    /// `rebind_for`: how long a statement is kept for that. Default: 30 s.
    pub rebind_for: Duration,
    /// `rebind_statement`: the largest one that is kept, in bytes. Default: 1 MiB.
    pub rebind_statement: usize,
    /// `rebind_memory`: the room for all of them, in bytes. Default: 64 MiB.
    pub rebind_memory: usize,
}

/// `[timeouts]`.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// `connect`: to a coordinator. Default: 2 s.
    pub connect: Duration,
    /// `answer`: for a submit's whole answer, once connected. Default: 10 s.
    pub answer: Duration,
    /// `submit`: for a submit with all its tries. Default: 25 s.
    pub submit: Duration,
    /// `ask`: for finding the owner of an unknown query. Default: 2 s.
    pub ask: Duration,
    /// `page_hold`: how long a page waits for its owner. Default: 20 s.
    pub page_hold: Duration,
    /// `page_read`: for the next byte of a page. Default: 60 s.
    pub page_read: Duration,
    /// `store`: for a read of the store by a page. Default: 300 ms.
    pub store: Duration,
    /// `first_get`: how long a query counts as load whose first page nobody asked for. Default: 5 s.
    pub first_get: Duration,
    /// `client`: Trino's `query.client.timeout`; a query that nobody asked for that long, and one
    /// minute more, is abandoned. Default: 5 min.
    pub client: Duration,
    /// `transaction`: Trino's `transaction.idle-timeout`; a transaction that nobody used that long is
    /// over. Default: 5 min.
    pub transaction: Duration,
    /// `segment`: how long a spooled segment that nobody acknowledges is waited for. Default: 15 min.
    pub segment: Duration,
    /// `shutdown`: the most that a shutdown waits for requests in flight. Default: 30 s.
    pub shutdown: Duration,
}

/// `[health]`.
#[derive(Debug, Clone)]
pub struct Health {
    /// `info_period`: between two looks at `/v1/info`. Default: 2 s.
    pub info_period: Duration,
    /// `statement_period`: between two probe statements. Default: 30 s.
    pub statement_period: Duration,
    /// `load_period`: between two polls of the queries. Default: 2 s.
    pub load_period: Duration,
    /// `timeout`: for `/v1/info` and the list of queries. Default: 2 s.
    pub timeout: Duration,
    /// `statement_timeout`: until a probe statement is called busy. Default: 10 s.
    pub statement_timeout: Duration,
    /// `rise`: good probes in a row that make a cluster ready. Default: 2.
    pub rise: u32,
    /// `fall`: failed ones that make it unhealthy. Default: 3.
    pub fall: u32,
    /// `settle`: how long a coordinator must have been started before it is ready. Default: 10 s.
    pub settle: Duration,
    /// `lost_after`: how long nothing of a coordinator must have been reached until its queries
    /// are answered with an error. Default: 60 s.
    pub lost_after: Duration,
    /// `ramp`: how long a cluster that became ready takes fewer queries than its share. Default: 60 s.
    pub ramp: Duration,
    /// `eject_percent`: the share of submits, or of pages, within ten seconds that must have failed
    /// until the cluster is taken out. 0: never. Default: 50.
    pub eject_percent: u32,
    /// `eject_requests`: how many of them it takes at least. Default: 20.
    pub eject_requests: u32,
}

/// `[rollouts]`.
#[derive(Debug, Clone)]
pub struct Rollouts {
    /// `command`: a program and its arguments, run before and after each phase.
    pub command: Vec<String>,
    /// `webhook`: called before and after each phase.
    pub webhook: Option<String>,
    /// `hook_timeout`: for either. Default: 60 s.
    pub hook_timeout: Duration,
}

/// `[log]`.
#[derive(Debug, Clone)]
pub struct Log {
    /// `format`: `text` or `json`. Default: text.
    pub json: bool,
    /// `level`: `error`, `warn`, `info`, `debug` or `trace`, or a filter of `tracing`. Default: info.
    pub level: String,
}

#[cfg(test)]
mod tests;

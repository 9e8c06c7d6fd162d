//! The events that the store keeps. Pure data: no I/O, no clock.

mod request;

use serde::{Deserialize, Serialize};

pub use self::request::{HEADERS, Request};
use crate::ids::{BadName, ClusterName, CoordinatorId, GroupName, QueryId};

/// Something that happened and must reach the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A cluster accepted a statement.
    Submitted(Submission),
    /// A query ended, as far as Warren could see.
    Ended(Ending),
    /// A coordinator process was seen.
    Coordinator(Sighting),
}

/// A statement that a cluster accepted. Written when the answer to the submit passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// The id that the coordinator gave.
    pub query_id: QueryId,
    /// The id that it had while it was held, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_id: Option<QueryId>,
    /// The cluster that owns the query.
    pub cluster: ClusterName,
    /// The routing group that the rules named.
    pub group: GroupName,
    /// The rule that named it, if one did.
    pub rule: Option<String>,
    /// `X-Trino-User`.
    pub user: Option<String>,
    /// `X-Trino-Source`, as the coordinator saw it.
    pub source: Option<String>,
    /// `X-Trino-Client-Tags`, as the coordinator saw it.
    pub tags: Option<String>,
    /// The request as the rules saw it; older gateways kept none. Boxed: other events are small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Box<Request>>,
    /// The statement, shortened to what the store keeps.
    pub statement: String,
    /// When the answer passed, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The end of a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// The query that ended.
    pub query_id: QueryId,
    /// The cluster that owned it.
    pub cluster: ClusterName,
    /// What Warren took for the end.
    pub cause: EndCause,
    /// The state that the coordinator told, such as `FINISHED`, where it did.
    pub state: Option<String>,
    /// The name of Trino's error, where a page told one.
    pub error: Option<String>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// A coordinator process, seen behind a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// The mark in its query ids.
    pub coordinator: CoordinatorId,
    /// The cluster that showed it.
    pub cluster: ClusterName,
    /// When this gateway saw it first there, in milliseconds since 1970.
    pub first_seen_ms: u64,
    /// When this gateway saw it last there.
    pub last_seen_ms: u64,
    /// Where other gateways reach it, if it is the process of a gateway, which gives ids to the queries
    /// that it holds; `cluster` is then the name of that gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

/// Why Warren holds a query for ended. Each is a label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// A page without `nextUri`.
    LastPage,
    /// DELETE answered 204.
    Cancelled,
    /// Its id was missing from two successive lists of its cluster.
    Missing,
    /// Its cluster listed it as ended.
    Listed,
    /// Its coordinator is gone.
    CoordinatorGone,
    /// No client asked for it any more.
    Abandoned,
    /// It never began: its statement was submitted to another cluster.
    Moved,
}

impl EndCause {
    /// All causes, in the order of the docs.
    pub const ALL: [Self; 7] = [
        Self::LastPage,
        Self::Cancelled,
        Self::Missing,
        Self::Listed,
        Self::CoordinatorGone,
        Self::Abandoned,
        Self::Moved,
    ];

    /// The label in metrics and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LastPage => "last_page",
            Self::Cancelled => "cancelled",
            Self::Missing => "missing",
            Self::Listed => "listed",
            Self::CoordinatorGone => "coordinator_gone",
            Self::Abandoned => "abandoned",
            Self::Moved => "moved",
        }
    }
}

/// An event with the place that it has in its gateway's journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Rises by one with each event of a gateway, also over restarts.
    pub sequence: u64,
    /// What happened.
    pub event: Event,
}

macro_rules! serde_as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Self::parse(&text).map_err(|error: BadName| serde::de::Error::custom(error))
            }
        }
    )*};
}

serde_as_text!(QueryId, CoordinatorId, ClusterName, GroupName);

//! How groups and clusters stand at the moment of a decision, for rules that go by it.

use std::fmt::Debug;

use crate::ids::{ClusterName, GroupName};

/// Whoever knows it.
pub trait Standings: Debug + Send + Sync {
    /// How a group of that name stands, if there is one.
    fn group_standing(&self, name: &GroupName) -> Option<GroupStanding>;
    /// How a cluster of that name stands, if there is one.
    fn cluster_standing(&self, name: &ClusterName) -> Option<ClusterStanding>;
    /// The clusters that there are, for a message about one that is not.
    fn cluster_names(&self) -> Vec<ClusterName>;
}

/// How a group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupStanding {
    /// How many clusters it has.
    pub clusters: u32,
    /// How many of them take new queries.
    pub ready: u32,
    /// Whether one of them can take a query now.
    pub has_room: bool,
    /// Queries that wait in the queues of its clusters, as far as is known.
    pub queued: u32,
    /// Queries that work there, as far as is known.
    pub running: u32,
    /// The sum of what choices reckon with.
    pub load: u32,
}

/// How a cluster stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterStanding {
    /// Its group.
    pub group: String,
    /// Whether it takes new queries.
    pub ready: bool,
    /// Whether it can take one now.
    pub has_room: bool,
    /// Queries that wait in its queue, as far as is known.
    pub queued: u32,
    /// Queries that work there, as far as is known.
    pub running: u32,
    /// What choices reckon with.
    pub load: u32,
}

/// Where there is no fleet: each group has one cluster, and whatever cluster is asked for is there,
/// ready and idle.
#[derive(Debug, Clone, Copy)]
pub struct AllIdle;

impl Standings for AllIdle {
    fn group_standing(&self, _: &GroupName) -> Option<GroupStanding> {
        Some(GroupStanding {
            clusters: 1,
            ready: 1,
            has_room: true,
            queued: 0,
            running: 0,
            load: 0,
        })
    }

    fn cluster_standing(&self, _: &ClusterName) -> Option<ClusterStanding> {
        Some(ClusterStanding {
            group: String::new(),
            ready: true,
            has_room: true,
            queued: 0,
            running: 0,
            load: 0,
        })
    }

    fn cluster_names(&self) -> Vec<ClusterName> {
        Vec::new()
    }
}

//! Exact routes in memory: query id → cluster.
//!
//! A lost entry costs little: the coordinator's mark in the id still names the owner.

use std::sync::Arc;

use super::generations::Generations;
use crate::cluster::Cluster;
use crate::cluster::live::LiveQuery;
use crate::ids::QueryId;

/// Where a query lives.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its owner.
    pub cluster: Arc<Cluster>,
    /// Its life, as far as Warren saw it.
    pub query: Arc<LiveQuery>,
}

/// The exact routes.
pub type HotRoutes = Generations<QueryId, Route>;

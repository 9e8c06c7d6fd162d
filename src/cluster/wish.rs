//! Where the rules let a query go, and the cluster that takes it now.

use std::sync::Arc;

use super::Reservation;
use super::registry::{Fleet, Group};
use crate::ids::{ClusterName, GroupName};

/// Where a query may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The first group.
    pub group: GroupName,
    /// Further ones, each for when those before it cannot take the query.
    pub others: Vec<GroupName>,
    /// The only cluster that may take it, whatever the others carry.
    pub cluster: Option<ClusterName>,
}

/// Which groups of a wish may take a query now, given who waits for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Open {
    /// All, and those that stand in for them: it is its turn.
    All,
    /// These further ones alone, in their order.
    Others(Vec<GroupName>),
}

impl From<GroupName> for Wish {
    fn from(group: GroupName) -> Self {
        Self { group, others: Vec::new(), cluster: None }
    }
}

impl Wish {
    /// Whether a query that goes to `group` goes where it was wished to go.
    pub fn names(&self, group: &GroupName) -> bool {
        self.cluster.is_some() || self.group == *group || self.others.contains(group)
    }
}

impl Open {
    /// Whether no group may take it.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Others(others) if others.is_empty())
    }
}

impl Fleet {
    /// Chooses a cluster for a new query, one that was not `tried` before: of the groups that the wish
    /// names, in their order, else of those that stand in for them, else an unhealthy one of the first
    /// that may be tried. Tells which group it is of.
    pub fn choose(&self, wish: &Wish, tried: &[u64]) -> Option<(&Arc<Group>, Reservation)> {
        if let Some(name) = &wish.cluster {
            return self.choose_pinned(name, tried);
        }
        let first = self.group(&wish.group)?;
        let chosen = self.wished(wish).find_map(|group| Some((group, group.choose(tried)?)));
        chosen.or_else(|| Some((first, first.choose_unhealthy(tried)?)))
    }

    /// Chooses a ready cluster of these groups alone, in their order, one that was not `tried` before.
    pub fn choose_among(&self, groups: &[GroupName], tried: &[u64]) -> Option<Reservation> {
        let mut known = groups.iter().filter_map(|name| self.group(name));
        known.find_map(|group| group.choose(tried))
    }

    /// Whether room for such a query may come of itself, of which nobody is told.
    pub fn is_bounded(&self, wish: &Wish) -> bool {
        self.wished(wish).any(|group| group.is_bounded())
    }

    /// The groups that the wish names, then those that stand in for them.
    fn wished(&self, wish: &Wish) -> impl Iterator<Item = &Arc<Group>> {
        let named: Vec<_> = std::iter::once(&wish.group)
            .chain(&wish.others)
            .filter_map(|name| self.group(name))
            .collect();
        let fallback = named.iter().flat_map(|group| &group.settings.fallback);
        let fallback: Vec<_> = fallback.filter_map(|name| self.group(name)).collect();
        named.into_iter().chain(fallback)
    }

    fn choose_pinned(
        &self,
        name: &ClusterName,
        tried: &[u64],
    ) -> Option<(&Arc<Group>, Reservation)> {
        let cluster = self.cluster(name)?;
        let group = self.group(&cluster.settings().group)?;
        let fits = cluster.takes_new() && cluster.has_room() && !tried.contains(&cluster.key());
        fits.then(|| (group, Reservation::new(cluster.clone())))
    }
}

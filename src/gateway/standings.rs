//! How the clusters of this gateway stand, as rules may ask.

use crate::cluster::Cluster;
use crate::cluster::registry::Fleet;
use crate::ids::{ClusterName, GroupName};
use crate::route::standing::{ClusterStanding, GroupStanding, Standings};

impl Standings for Fleet {
    fn group_standing(&self, name: &GroupName) -> Option<GroupStanding> {
        let group = self.group(name)?;
        let mut standing = GroupStanding {
            clusters: 0,
            ready: 0,
            has_room: group.can_take(),
            queued: 0,
            running: 0,
            load: 0,
        };
        for cluster in &group.clusters {
            let one = of(cluster);
            standing.clusters += 1;
            standing.ready += u32::from(one.ready);
            standing.queued = standing.queued.saturating_add(one.queued);
            standing.running = standing.running.saturating_add(one.running);
            standing.load = standing.load.saturating_add(one.load);
        }
        Some(standing)
    }

    fn cluster_standing(&self, name: &ClusterName) -> Option<ClusterStanding> {
        self.cluster(name).map(|cluster| of(cluster))
    }

    fn cluster_names(&self) -> Vec<ClusterName> {
        self.clusters.iter().map(|cluster| cluster.name().clone()).collect()
    }
}

fn of(cluster: &Cluster) -> ClusterStanding {
    let figures = cluster.figures();
    let ready = cluster.takes_new();
    ClusterStanding {
        group: cluster.settings().group.to_string(),
        ready,
        has_room: ready && cluster.has_room(),
        queued: figures.queued.unwrap_or_default(),
        running: figures.running.unwrap_or_default(),
        load: figures.load,
    }
}

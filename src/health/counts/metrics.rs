//! `/metrics` of a coordinator, in the format of OpenMetrics. Pure.
//!
//! The whole page has over a megabyte and takes a coordinator most of half a second, so names are
//! asked for. Trino up to 476 names its count of nodes otherwise than later ones: both are.

use super::{Active, Counts, nodes, share, tally};
use crate::cluster::load::Signals;
use crate::config::{LoadWeights, MetricBounds};

/// The active nodes, the coordinator among them: up to Trino 476, and since.
const NODES: [&str; 2] = [
    "trino_metadata_name_DiscoveryNodeManager_ActiveNodeCount",
    "trino_node_name_CoordinatorNodeManager_ActiveNodeCount",
];
const QUEUED: &str = "trino_execution_name_QueryManager_QueuedQueries";
const RUNNING: &str = "trino_execution_name_QueryManager_RunningQueries";
const DRIVERS: &str = "trino_execution_name_QueryManager_RunningDrivers";
const PROCESSORS: &str = "trino_memory_name_ClusterMemoryManager_TotalAvailableProcessors";
const RESERVED: &str = "trino_memory_name_ClusterMemoryManager_ClusterTotalMemoryReservation";
const MEMORY: &str = "trino_memory_name_ClusterMemoryManager_ClusterMemoryBytes";

/// The path that asks for what is needed, and for no more.
pub fn path(weights: LoadWeights, bounds: &[MetricBounds]) -> String {
    let mut names = vec![NODES[0], NODES[1], QUEUED, RUNNING];
    if weights.memory > 0 {
        names.extend([RESERVED, MEMORY]);
    }
    if weights.cpu > 0 {
        names.extend([DRIVERS, PROCESSORS]);
    }
    names.extend(bounds.iter().map(|bound| bound.name.as_str()));
    let asked: Vec<String> = names.iter().map(|name| format!("name%5B%5D={name}")).collect();
    format!("/metrics?{}", asked.join("&"))
}

/// Reads a page.
pub fn read(page: &str) -> Result<Counts, String> {
    let known = NODES.iter().find_map(|name| Some((*name, value(page, name)?)));
    let (name, told) = known.unzip();
    let number = nodes(told, name.unwrap_or(NODES[0]))?;
    let signals = Signals {
        memory: share(value(page, RESERVED), value(page, MEMORY)),
        cpu: share(value(page, DRIVERS), value(page, PROCESSORS)),
    };
    let tally = tally(value(page, QUEUED), value(page, RUNNING));
    Ok(Counts { active: Active::Nodes(number), tally, signals })
}

/// What lies outside its bounds, in words.
pub fn outside(page: &str, bounds: &[MetricBounds]) -> Option<String> {
    bounds.iter().find_map(|MetricBounds { name, min, max }| {
        let Some(value) = value(page, name).filter(|value| !value.is_nan()) else {
            return Some(format!("`{name}` is not in /metrics, or is no number"));
        };
        if let Some(min) = min.filter(|min| value < *min) {
            return Some(format!("`{name}` is {value}, at least {min} wanted"));
        }
        let max = max.filter(|max| value > *max)?;
        Some(format!("`{name}` is {value}, at most {max} wanted"))
    })
}

/// The first sample of a metric, whatever its labels.
fn value(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest,
        };
        rest.strip_prefix([' ', '\t'])?.split_ascii_whitespace().next()?.parse().ok()
    })
}

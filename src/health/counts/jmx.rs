//! Beans of a coordinator's Java process, as `/v1/jmx/mbean/…` tells them. Pure.

use serde::Deserialize;
use serde_json::Value;

use super::{Active, Counts, nodes, share, tally};
use crate::cluster::load::Signals;

/// Who counts the nodes: up to Trino 476, and since.
pub const NODES: [&str; 2] =
    ["trino.metadata:name=DiscoveryNodeManager", "trino.node:name=CoordinatorNodeManager"];

/// Who counts the queries.
pub const QUERIES: &str = "trino.execution:name=QueryManager";

/// Who counts memory and processors.
pub const MEMORY: &str = "trino.memory:name=ClusterMemoryManager";

/// A bean.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Bean {
    attributes: Vec<Attribute>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Attribute {
    name: String,
    #[serde(default)]
    value: Value,
}

impl Bean {
    /// Reads one.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(body).map_err(|error| format!("it is no bean in JSON: {error}"))
    }

    fn value(&self, name: &str) -> Option<f64> {
        self.attributes.iter().find(|attribute| attribute.name == name)?.value.as_f64()
    }
}

/// Puts together what the beans count.
pub fn read(manager: &Bean, queries: &Bean, memory: Option<&Bean>) -> Result<Counts, String> {
    let number = nodes(manager.value("ActiveNodeCount"), "ActiveNodeCount")?;
    let tally = tally(queries.value("QueuedQueries"), queries.value("RunningQueries"));
    let of_memory = |name: &str| memory.and_then(|bean| bean.value(name));
    let signals = Signals {
        memory: share(of_memory("ClusterTotalMemoryReservation"), of_memory("ClusterMemoryBytes")),
        cpu: share(queries.value("RunningDrivers"), of_memory("TotalAvailableProcessors")),
    };
    Ok(Counts { active: Active::Nodes(number), tally, signals })
}

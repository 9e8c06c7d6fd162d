//! Makes a standby the active cluster of its group when no active one can take a query, for groups
//! with `auto_failover`. Of several gateways one does it.
//!
//! No query waits for this: a choice falls on the standby at once (`cluster::registry`). What is
//! done here makes that last, visible, and the same on every gateway: the intents change, and a
//! cluster that comes back takes nothing before operators want it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, warn};

use super::intents;
use crate::cluster::Cluster;
use crate::cluster::registry::Group;
use crate::gateway::Gateway;
use crate::ids::GroupName;
use crate::store::{Intent, IntentChange, StoreError};
use crate::time::{self, Instant};

/// What the lease is for.
const LEASE: &str = "failover";

/// Between two looks, and how long a gateway that died keeps others from it at most.
const PERIOD: Duration = Duration::from_millis(500);
const TERM: Duration = Duration::from_secs(5);

/// How long no active cluster must have been able to take a query: less is a hiccup.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks for as long as the gateway lives.
pub(super) async fn keep(gateway: Arc<Gateway>) {
    let mut since = HashMap::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        let fleet = gateway.registry.fleet();
        let now = time::now();
        let fallen: Vec<_> = fleet
            .groups()
            .filter_map(|group| Some((group, successor(group, &mut since, now)?)))
            .collect();
        for (group, standby) in fallen {
            if let Err(error) = promote(&gateway, group, &standby).await {
                error!(
                    group = %group.name(), cluster = %standby.name(), error = crate::store::chain(&error),
                    "the standby takes the queries, and cannot be made the active one: the store is away"
                );
            }
        }
    }
}

/// The standby that takes over a group now.
fn successor(
    group: &Group,
    since: &mut HashMap<GroupName, Instant>,
    now: Instant,
) -> Option<Arc<Cluster>> {
    let active = group.clusters.iter().any(|cluster| cluster.intent() == Intent::Active);
    let able = group.clusters.iter().any(|cluster| cluster.takes_new());
    // Without any active one, operators want nobody to take queries.
    if !group.settings.auto_failover || !active || able {
        since.remove(group.name());
        return None;
    }
    let began = *since.entry(group.name().clone()).or_insert(now);
    let standby = group.clusters.iter().find(|cluster| cluster.stands_by());
    standby.filter(|_| now >= began + PATIENCE).cloned()
}

/// The standby becomes active first: between the two changes, two are better than none.
async fn promote(
    gateway: &Gateway,
    group: &Group,
    standby: &Arc<Cluster>,
) -> Result<(), StoreError> {
    if gateway.store.lease(LEASE, &gateway.name, TERM).await?.is_none() {
        return Ok(());
    }
    let fallen = group.clusters.iter().filter(|cluster| cluster.intent() == Intent::Active);
    let fallen: Vec<_> = fallen.collect();
    let names: Vec<_> = fallen.iter().map(|cluster| cluster.name().as_str()).collect();
    let reason = format!("failover: {} cannot take queries", names.join(", "));
    warn!(group = %group.name(), cluster = %standby.name(), reason, "a standby is made the active cluster");
    intents::set(gateway, change(standby, Intent::Active, &reason)).await?;
    for cluster in fallen {
        if !cluster.is_ready() {
            let reason = format!("failover: {} took over", standby.name());
            intents::set(gateway, change(cluster, Intent::Standby, &reason)).await?;
        }
    }
    Ok(())
}

fn change(cluster: &Cluster, intent: Intent, reason: &str) -> IntentChange {
    IntentChange {
        cluster: cluster.name().clone(),
        intent,
        actor: "failover".to_owned(),
        reason: reason.to_owned(),
        at_ms: time::unix_ms(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::settings;
    use crate::config::{self, LoadWeights, Mode, Source};
    use crate::health::verdict::{Evidence, Thresholds};
    use crate::ids::CoordinatorId;

    const LIMITS: Thresholds = Thresholds {
        rise: 1,
        fall: 1,
        min_workers: 1,
        statement_period: PERIOD,
        ramp: Duration::ZERO,
        source: Source::Statement,
        settle: Duration::ZERO,
    };

    fn cluster(name: &str, port: u16, intent: Intent) -> Arc<Cluster> {
        let cluster = Cluster::new(settings(name, port), intent);
        observe(&cluster, true);
        cluster
    }

    fn observe(cluster: &Cluster, good: bool) {
        let coordinator = CoordinatorId::parse("abcde").expect("a good mark");
        let evidence = match good {
            true => Evidence::StatementDone { coordinator, workers: None },
            false => Evidence::CannotConnect("refused".to_owned()),
        };
        cluster.observe(|verdict| verdict.observe(evidence.clone(), &LIMITS, time::now()));
    }

    fn group(auto_failover: bool, clusters: &[&Arc<Cluster>]) -> Arc<Group> {
        let settings = config::Group {
            name: GroupName::parse("bi").expect("a good name"),
            mode: Mode::ActiveStandby,
            load: LoadWeights::EVEN,
            auto_failover,
            fallback: Vec::new(),
            reject: None,
            hold: None,
        };
        Group::new(settings, clusters.iter().map(|cluster| (*cluster).clone()).collect(), None)
    }

    #[test]
    fn a_standby_takes_over_once_no_active_one_could_for_a_while() {
        let blue = cluster("blue", 1, Intent::Active);
        let green = cluster("green", 2, Intent::Standby);
        let group = group(true, &[&blue, &green]);
        let (mut since, start) = (HashMap::new(), time::now());
        let mut ask = |after| {
            successor(&group, &mut since, start + after).map(|found| found.name().to_string())
        };
        let second = Duration::from_secs(1);
        assert_eq!(ask(second), None);
        observe(&blue, false);
        assert_eq!(ask(second * 2), None, "it may be a hiccup");
        assert_eq!(ask(second * 3), None);
        assert_eq!(ask(second * 4).as_deref(), Some("green"));
        observe(&blue, true);
        assert_eq!(ask(second * 5), None);
        observe(&blue, false);
        assert_eq!(ask(second * 6), None, "it is counted anew");
        blue.set_intent(Intent::Draining);
        assert_eq!(ask(second * 60), None, "operators want nobody");
    }

    #[test]
    fn nobody_takes_over_unasked_or_unready() {
        let blue = cluster("blue", 1, Intent::Active);
        let green = cluster("green", 2, Intent::Standby);
        observe(&blue, false);
        let start = time::now();
        let late = start + Duration::from_secs(60);
        let mut since = HashMap::new();
        successor(&group(false, &[&blue, &green]), &mut since, start);
        assert!(successor(&group(false, &[&blue, &green]), &mut since, late).is_none());
        observe(&green, false);
        successor(&group(true, &[&blue, &green]), &mut since, start);
        assert!(successor(&group(true, &[&blue, &green]), &mut since, late).is_none());
    }
}

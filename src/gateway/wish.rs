//! What the rules wish of a query, held against the clusters that there are.

use crate::cluster::registry::Fleet;
use crate::cluster::wish::Wish;
use crate::route::rules::RuleSet;
use crate::route::standing::Standings;
use crate::route::verdict::Decision;

/// The same decision; one for a cluster that does not exist is a failure of the rules.
pub fn checked(decision: Decision, rules: &RuleSet, fleet: &Fleet) -> Decision {
    rules.placed(decision, |name| {
        let group = fleet.cluster(name).map(|cluster| cluster.settings().group.clone());
        group.ok_or_else(|| fleet.cluster_names())
    })
}

/// Where the decision lets a query go, as far as `fleet` has it, else to the default group.
pub fn of(decision: &Decision, fleet: &Fleet) -> Wish {
    let Decision { group, others, cluster, .. } = decision;
    let named = std::iter::once(group).chain(others);
    // Rules may be newer than these clusters.
    let mut known = named.filter(|name| fleet.group(name).is_some()).cloned();
    let group = known.next().unwrap_or_else(|| fleet.default_group().name().clone());
    Wish { group, others: known.collect(), cluster: cluster.clone() }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::cluster::registry::Registry;
    use crate::config;
    use crate::ids::{ClusterName, GroupName};
    use crate::store::Intent;

    const CONFIG: &str = "\
[rules]
default_group = \"bi\"
[[groups]]
name = \"bi\"
[[groups]]
name = \"olap\"
fallback = [\"bi\"]
[[clusters]]
name = \"bi-blue\"
group = \"bi\"
url = \"http://127.0.0.1:1\"
[[clusters]]
name = \"olap-blue\"
group = \"olap\"
url = \"http://127.0.0.1:2\"
";

    /// Two groups with a cluster each.
    pub(in crate::gateway) fn fleet() -> Arc<Fleet> {
        let config = config::parse(CONFIG, Path::new("/etc/warren/warren.toml"));
        Registry::new(Arc::new(config.expect("good settings")), |_| Intent::Active).fleet()
    }

    fn decision(groups: &[&str], cluster: Option<&str>) -> Decision {
        let mut groups = groups.iter().map(|name| GroupName::parse(name).expect("a good name"));
        Decision {
            group: groups.next().expect("a group"),
            others: groups.collect(),
            cluster: cluster.map(|name| ClusterName::parse(name).expect("a good name")),
            ..Decision::of(GroupName::parse("bi").expect("a good name"))
        }
    }

    #[test]
    fn groups_that_are_not_there_are_passed_over() {
        let fleet = fleet();
        for (named, expected) in [
            (&["olap", "bi"][..], "olap+bi"),
            (&["new", "olap"], "olap+"),
            (&["new", "newer"], "bi+"),
        ] {
            let wish = of(&decision(named, None), &fleet);
            let others: Vec<_> = wish.others.iter().map(ToString::to_string).collect();
            assert_eq!(format!("{}+{}", wish.group, others.join("+")), expected, "{named:?}");
        }
    }

    #[test]
    fn a_cluster_that_is_named_gives_the_group() {
        let fleet = fleet();
        let settings = crate::route::tests::settings();
        let rules = RuleSet::compile(b"function route() end", &settings, &[]).expect("good rules");
        let pinned = checked(decision(&["bi"], Some("olap-blue")), &rules, &fleet);
        assert_eq!((pinned.group.as_str(), pinned.error), ("olap", None));
        let failed = checked(decision(&["bi"], Some("olap-red")), &rules, &fleet);
        let failure = failed.error.expect("a failure");
        assert_eq!(
            failure.to_string(),
            "no cluster is named `olap-red`, known: `bi-blue`, `olap-blue`"
        );
        assert_eq!((failed.group.as_str(), failed.cluster), ("bi", None));
    }
}

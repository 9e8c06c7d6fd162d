//! How the load of a group lies over its zones: a line below the list of clusters.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Row;
use crate::cli::table::plain;

/// What the clusters of a group in one zone carry together.
#[derive(Debug, Default)]
struct Zone {
    load: f64,
    ready: usize,
    clusters: usize,
}

/// A line for each group with clusters in several zones.
pub(super) fn spread(rows: &[Row]) -> String {
    let mut groups: BTreeMap<&str, BTreeMap<&str, Zone>> = BTreeMap::new();
    for row in rows {
        let Some(zone) = &row.zone else { continue };
        let zone = groups.entry(&row.group).or_default().entry(zone).or_default();
        zone.load += row.load.unwrap_or_default();
        zone.ready += usize::from(row.intent == "active" && row.health == "ready");
        zone.clusters += 1;
    }
    let mut text = String::new();
    for (group, zones) in groups.iter().filter(|(_, zones)| zones.len() > 1) {
        let all: f64 = zones.values().map(|zone| zone.load).sum();
        let words: Vec<String> =
            zones.iter().map(|(name, zone)| in_words(name, zone, all)).collect();
        let written = writeln!(text, "zones of {}: {}", plain(group), words.join("; "));
        debug_assert!(written.is_ok(), "writing to memory");
    }
    text
}

fn in_words(name: &str, zone: &Zone, all: f64) -> String {
    let Zone { load, ready, clusters } = zone;
    let share = if all > 0.0 { format!(" ({:.0} %)", 100.0 * load / all) } else { String::new() };
    format!("{} carries {load:.0}{share}, {ready} of {clusters} take queries", plain(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(clusters: &[(&str, Option<&str>, f64, &str)], expected: &str) {
        let rows: Vec<Row> = clusters
            .iter()
            .map(|(group, zone, load, health)| {
                let row = json!({
                    "name": "x", "group": group, "url": "http://x", "intent": "active",
                    "health": health, "load": load, "zone": zone,
                });
                serde_json::from_value(row).expect("a row")
            })
            .collect();
        assert_eq!(spread(&rows), expected);
    }

    #[test]
    fn load_lies_over_zones() {
        check(&[("bi", None, 1.0, "ready"), ("bi", Some("a"), 1.0, "ready")], "");
        check(
            &[
                ("bi", Some("a"), 3.0, "ready"),
                ("bi", Some("b"), 4.0, "ready"),
                ("bi", Some("b"), 1.0, "unhealthy"),
                ("olap", Some("a"), 0.0, "ready"),
                ("olap", Some("c"), 0.0, "starting"),
            ],
            "zones of bi: a carries 3 (38 %), 1 of 1 take queries; b carries 5 (62 %), 1 of 2 take queries\n\
             zones of olap: a carries 0, 1 of 1 take queries; c carries 0, 0 of 1 take queries\n",
        );
    }
}

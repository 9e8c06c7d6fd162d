//! Whether a canary does worse than the clusters beside it. Pure.

use crate::ids::ClusterName;
use crate::store::rollout::EndedQuery;

/// Fewer ended queries than this say nothing about times.
const ENOUGH: usize = 20;

/// Fewer failed queries than this say nothing about errors.
const FAILED: usize = 3;

/// By how much its share of failed queries may be higher.
const ERRORS: f64 = 0.05;

/// By how much its median time may be longer: half again and half a second.
const TIMES: f64 = 1.5;
const SLACK_MS: f64 = 500.0;

/// How the queries of some clusters ended.
#[derive(Debug, Default)]
struct Side {
    failed: usize,
    times: Vec<u64>,
}

impl Side {
    fn of<'a>(ended: impl Iterator<Item = &'a EndedQuery>) -> Self {
        let mut side = Self::default();
        for query in ended {
            side.failed += usize::from(query.error.is_some());
            side.times.push(query.took_ms);
        }
        side.times.sort_unstable();
        side
    }

    #[expect(clippy::cast_precision_loss, reason = "at most 10,000 queries are looked at")]
    fn failed_share(&self) -> f64 {
        self.failed as f64 / self.times.len().max(1) as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "a time in milliseconds, for a comparison")]
    fn median(&self) -> f64 {
        self.times.get(self.times.len() / 2).map_or(0.0, |time| *time as f64)
    }
}

/// Why `canary` does worse than the others; `None`: it does not, as far as can be told.
pub(super) fn worse(canary: &ClusterName, ended: &[EndedQuery]) -> Option<String> {
    let is_canary = |query: &&EndedQuery| query.cluster == canary.as_str();
    let own = Side::of(ended.iter().filter(is_canary));
    let others = Side::of(ended.iter().filter(|query| !is_canary(query)));
    let (own_share, other_share) = (own.failed_share(), others.failed_share());
    if own.failed >= FAILED && own_share > other_share + ERRORS {
        return Some(format!(
            "{:.0} % of its {} queries failed, and {:.0} % elsewhere",
            own_share * 100.0,
            own.times.len(),
            other_share * 100.0
        ));
    }
    let enough = own.times.len() >= ENOUGH && others.times.len() >= ENOUGH;
    if enough && own.median() > others.median() * TIMES + SLACK_MS {
        return Some(format!(
            "half of its queries took more than {:.0} ms, and elsewhere {:.0} ms",
            own.median(),
            others.median()
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries(cluster: &str, count: usize, failed: usize, took_ms: u64) -> Vec<EndedQuery> {
        let one = |number| EndedQuery {
            cluster: cluster.to_owned(),
            took_ms,
            error: (number < failed).then(|| "SYNTAX_ERROR".to_owned()),
        };
        (0..count).map(one).collect()
    }

    fn check(own: (usize, usize, u64), others: (usize, usize, u64), expected: Option<&str>) {
        let mut ended = queries("green", own.0, own.1, own.2);
        ended.extend(queries("blue", others.0, others.1, others.2));
        let green = ClusterName::parse("green").expect("a good name");
        assert_eq!(worse(&green, &ended).as_deref(), expected, "{own:?} {others:?}");
    }

    #[test]
    fn a_canary_is_judged_beside_the_others() {
        check((0, 0, 0), (0, 0, 0), None);
        check((2, 2, 10), (100, 0, 10), None);
        check((10, 3, 10), (100, 30, 10), None);
        check(
            (10, 4, 10),
            (100, 30, 10),
            Some("40 % of its 10 queries failed, and 30 % elsewhere"),
        );
        check((19, 0, 9000), (100, 0, 10), None);
        check((20, 0, 600), (100, 0, 100), None);
        check(
            (20, 0, 700),
            (100, 0, 100),
            Some("half of its queries took more than 700 ms, and elsewhere 100 ms"),
        );
        check((5, 5, 1), (0, 0, 0), Some("100 % of its 5 queries failed, and 0 % elsewhere"));
    }
}

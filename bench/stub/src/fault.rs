//! Faults: what goes wrong, with which requests, how often.
//!
//! Pure but for the seeded generator: the same rules and requests in the same order give the
//! same faults. The acts on the socket are `server`'s.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// What a request is for; rules of faults and records name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// `POST /v1/statement`
    Submit,
    /// `HEAD /v1/statement`
    Validate,
    /// `GET` of a queued or executing page
    Page,
    /// `HEAD` of an executing page
    Heartbeat,
    /// `DELETE` of a page
    Cancel,
    /// `DELETE …/partialCancel/…`
    PartialCancel,
    /// `GET /v1/query`
    QueryList,
    /// `GET /v1/query/{id}`
    Query,
    /// `DELETE /v1/query/{id}`, `PUT …/killed`, `PUT …/preempted`
    Kill,
    /// `GET /v1/info` and below
    Info,
    /// `GET /v1/status`
    Status,
    /// `/v1/spooled/…`
    Spooled,
    /// `/ui/…`
    Ui,
    /// `/metrics`, `/v1/jmx/…`
    Counts,
    /// anything else
    Other,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Answers this status without acting.
    Status {
        /// The status.
        code: u16,
        /// Seconds for `Retry-After`.
        #[serde(default)]
        retry_after: Option<u32>,
    },
    /// Answers 200 with an HTML page without acting.
    Html,
    /// Resets the connection without acting.
    ResetBefore,
    /// Acts, then resets the connection instead of answering.
    ResetAfter,
    /// Closes the connection without acting.
    CloseBefore,
    /// Acts, then closes the connection instead of answering.
    CloseAfter,
    /// Acts, announces the whole body, sends half of it and closes.
    CutBody,
    /// Acts at once and answers after this many real milliseconds.
    SlowMs(u64),
    /// Acts at once and answers after a random time below this many real milliseconds.
    SlowUpToMs(u64),
    /// Acts at once and sends the body in pieces of this many bytes, a millisecond apart.
    Drip(usize),
    /// Takes the request, does not act, never answers.
    Hang,
}

/// Which requests a fault hits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// The kinds that are hit; empty: all.
    #[serde(default)]
    pub kinds: Vec<RequestKind>,
    /// What happens to them.
    pub fault: Fault,
    /// How many matching requests pass first.
    #[serde(default)]
    pub skip: u64,
    /// How many are hit; `None`: all that follow.
    #[serde(default)]
    pub count: Option<u64>,
    /// The share of them that is hit, 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// Only requests whose path contains this, such as `/executing/`.
    #[serde(default)]
    pub path: Option<String>,
    /// Only requests of this user, or about a query of theirs.
    #[serde(default)]
    pub user: Option<String>,
}

/// What rules look at in a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// What it is for.
    pub kind: RequestKind,
    /// Its path.
    pub path: &'a str,
    /// Who sent it, or whose query it is about.
    pub user: Option<&'a str>,
}

fn always() -> f64 {
    1.0
}

impl FaultRule {
    /// Hits every request of this kind until the rules are cleared.
    pub fn every(kind: RequestKind, fault: Fault) -> Self {
        Self { kinds: vec![kind], ..Self::all(fault) }
    }

    /// Hits the next `count` requests of this kind.
    pub fn next(count: u64, kind: RequestKind, fault: Fault) -> Self {
        Self { count: Some(count), ..Self::every(kind, fault) }
    }

    /// Hits every request of any kind.
    pub fn all(fault: Fault) -> Self {
        Self {
            kinds: Vec::new(),
            fault,
            skip: 0,
            count: None,
            probability: 1.0,
            path: None,
            user: None,
        }
    }

    /// The same rule, after this many matching requests passed.
    #[must_use]
    pub fn after(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    /// The same rule for this share of the matching requests.
    #[must_use]
    pub fn sometimes(self, probability: f64) -> Self {
        Self { probability, ..self }
    }

    /// The same rule for paths that contain this.
    #[must_use]
    pub fn at(self, path: &str) -> Self {
        Self { path: Some(path.to_owned()), ..self }
    }

    /// The same rule for the requests of one user.
    #[must_use]
    pub fn of(self, user: &str) -> Self {
        Self { user: Some(user.to_owned()), ..self }
    }

    fn matches(&self, asked: Asked<'_>) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&asked.kind))
            && self.path.as_ref().is_none_or(|path| asked.path.contains(path))
            && self.user.as_ref().is_none_or(|user| asked.user == Some(user))
    }
}

/// The rules in force and the generator behind their chances.
#[derive(Debug)]
pub(crate) struct FaultTable {
    rules: Vec<FaultRule>,
    random: SmallRng,
    hits: u64,
}

impl FaultTable {
    /// No rules yet.
    pub(crate) fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), random: SmallRng::seed_from_u64(seed), hits: 0 }
    }

    /// Adds a rule behind those in force.
    pub(crate) fn add(&mut self, rule: FaultRule) {
        self.rules.push(rule);
    }

    /// Takes all rules away.
    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The fault that hits this request: of the first rule that matches and has not passed it.
    pub(crate) fn pick(&mut self, asked: Asked<'_>) -> Option<Fault> {
        for rule in &mut self.rules {
            if !rule.matches(asked) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if rule.count == Some(0) || !hits(&mut self.random, rule.probability) {
                continue;
            }
            if let Some(left) = &mut rule.count {
                *left -= 1;
            }
            self.hits += 1;
            return Some(rule.fault.clone());
        }
        None
    }

    /// How many requests were hit since the start.
    pub(crate) fn hits(&self) -> u64 {
        self.hits
    }

    /// A random time below `limit`.
    pub(crate) fn up_to(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.random.random::<f64>())
    }
}

fn hits(random: &mut SmallRng, probability: f64) -> bool {
    probability >= 1.0 || random.random::<f64>() < probability
}

#[cfg(test)]
mod tests {
    use super::*;
    use RequestKind::{Page, Submit};

    fn picks(rules: &[FaultRule], kinds: &[RequestKind]) -> Vec<bool> {
        let mut table = FaultTable::new(1);
        rules.iter().cloned().for_each(|rule| table.add(rule));
        let asked = |kind: &RequestKind| Asked { kind: *kind, path: "/", user: None };
        let told: Vec<bool> = kinds.iter().map(|kind| table.pick(asked(kind)).is_some()).collect();
        assert_eq!(table.hits(), told.iter().filter(|hit| **hit).count() as u64);
        told
    }

    #[test]
    fn a_rule_hits_its_kind_and_count() {
        let kinds = [Submit, Page, Submit, Submit, Submit];
        for (rule, expected) in [
            (FaultRule::every(Submit, Fault::Html), [true, false, true, true, true]),
            (FaultRule::next(2, Submit, Fault::Html), [true, false, true, false, false]),
            (FaultRule::next(1, Submit, Fault::Html).after(1), [false, false, true, false, false]),
            (FaultRule::all(Fault::Hang), [true; 5]),
            (FaultRule::all(Fault::Hang).sometimes(0.0), [false; 5]),
        ] {
            assert_eq!(picks(std::slice::from_ref(&rule), &kinds), expected, "{rule:?}");
        }
    }

    #[test]
    fn a_rule_hits_its_path_and_user() {
        let rule = FaultRule::next(1, Page, Fault::Html).at("/executing/").of("eve");
        let mut table = FaultTable::new(1);
        table.add(rule);
        let mut hits = |path, user| table.pick(Asked { kind: Page, path, user }).is_some();
        assert!(!hits("/v1/statement/queued/1", Some("eve")));
        assert!(!hits("/v1/statement/executing/1", Some("bob")));
        assert!(!hits("/v1/statement/executing/1", None));
        assert!(hits("/v1/statement/executing/1", Some("eve")));
    }

    #[test]
    fn chances_are_seeded() {
        let rule = [FaultRule::all(Fault::ResetBefore).sometimes(0.3)];
        let kinds = vec![Page; 1000];
        let first = picks(&rule, &kinds);
        assert_eq!(first, picks(&rule, &kinds));
        let hit = first.iter().filter(|hit| **hit).count();
        assert!((200..400).contains(&hit), "{hit}");
    }

    #[test]
    fn a_rule_is_read_from_json() {
        let rule: FaultRule =
            serde_json::from_str(r#"{"kinds":["page"],"fault":{"status":{"code":503}},"count":2}"#)
                .unwrap();
        let fault = Fault::Status { code: 503, retry_after: None };
        assert_eq!(rule, FaultRule::next(2, Page, fault));
        assert!(serde_json::from_str::<FaultRule>(r#"{"fault":"hang","colour":1}"#).is_err());
    }
}

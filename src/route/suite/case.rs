//! One case: a request, how clusters stand, and what is expected of the rules.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use crate::config::ServiceUrl;
use crate::ids::{ClusterName, GroupName};
use crate::route::facts::{Facts, Statement};
use crate::route::priority::Priority;
use crate::route::services::{Post, Reply, Unanswered, offline};
use crate::route::standing::{AllIdle, ClusterStanding, GroupStanding, Standings};
use crate::route::verdict::{Answer, Decision, Groups, RuleFailure};
use crate::time::LocalTime;

/// A case as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    #[serde(default)]
    headers: BTreeMap<String, Lines>,
    user: Option<String>,
    #[serde(default)]
    query: String,
    remote_addr: Option<IpAddr>,
    listener: Option<String>,
    #[serde(default = "noon")]
    hour: u8,
    #[serde(default = "monday")]
    weekday: u8,
    #[serde(default)]
    group: BTreeMap<String, State>,
    #[serde(default)]
    cluster: BTreeMap<String, State>,
    #[serde(default)]
    http: BTreeMap<String, Service>,
    expect: Expect,
}

fn noon() -> u8 {
    12
}

fn monday() -> u8 {
    1
}

/// A header: its value, or one for each of its lines.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Lines {
    One(String),
    Many(Vec<String>),
}

/// How a group or a cluster stands; what is not said is as if it were idle.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    clusters: Option<u32>,
    ready: Option<Readiness>,
    has_room: Option<bool>,
    queued: Option<u32>,
    running: Option<u32>,
    load: Option<u32>,
    group: Option<String>,
}

/// What a service answers to each question at its URL.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    #[serde(default = "fine")]
    status: u16,
    body: Option<String>,
    json: Option<serde_json::Value>,
}

fn fine() -> u16 {
    200
}

/// Of a group how many are ready, of a cluster whether it is.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Readiness {
    Is(bool),
    Count(u32),
}

/// What is expected of the rules. What is not said may be anything, but for an error or a refusal.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    group: Option<String>,
    groups: Option<Vec<String>>,
    cluster: Option<String>,
    reject: Option<String>,
    rule: Option<String>,
    reason: Option<String>,
    error: Option<String>,
    set_headers: Option<BTreeMap<String, String>>,
    remove_headers: Option<Vec<String>>,
    add_client_tags: Option<Vec<String>>,
    set_session: Option<BTreeMap<String, String>>,
    set_source: Option<String>,
    priority: Option<u8>,
}

/// A case that can be asked.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) line: u32,
    pub(super) name: String,
    headers: HeaderMap,
    query: String,
    remote_addr: Option<IpAddr>,
    listener: Option<String>,
    local_time: LocalTime,
    standings: Arc<Told>,
    services: Vec<(ServiceUrl, Result<Reply, Unanswered>)>,
    pub(super) expect: Expect,
}

impl Case {
    /// An error: what no gateway with these groups would see or do.
    pub(super) fn new(
        line: u32,
        name: String,
        wire: Wire,
        groups: &Groups,
    ) -> Result<Self, String> {
        for name in wire.group.keys() {
            groups.named(name).map_err(|failure| failure.message)?;
        }
        let mut headers = HeaderMap::new();
        let user = wire.user.map(|user| ("X-Trino-User".to_owned(), Lines::One(user)));
        for (name, lines) in user.into_iter().chain(wire.headers) {
            let lines = match lines {
                Lines::One(line) => vec![line],
                Lines::Many(lines) => lines,
            };
            for line in lines {
                let parsed = (HeaderName::try_from(&name), HeaderValue::try_from(&line));
                let (Ok(name), Ok(value)) = parsed else {
                    return Err(format!("`{name}` with its value is no header"));
                };
                if headers.try_append(name, value).is_err() {
                    return Err("these are more headers than a request can have".to_owned());
                }
            }
        }
        if wire.hour > 23 || !(1..=7).contains(&wire.weekday) {
            return Err("`hour` is from 0 to 23, `weekday` from 1 (Monday) to 7".to_owned());
        }
        Ok(Self {
            line,
            name,
            headers,
            query: wire.query,
            remote_addr: wire.remote_addr,
            listener: wire.listener,
            local_time: LocalTime { hour: wire.hour, weekday: wire.weekday },
            standings: Arc::new(Told { groups: wire.group, clusters: wire.cluster }),
            services: wire.http.into_iter().map(service).collect::<Result<_, _>>()?,
            expect: wire.expect,
        })
    }

    /// What comes of a question. A service of which the case says nothing does not answer.
    pub(super) fn reply(&self, post: &Post) -> Result<Reply, Unanswered> {
        let told = self.services.iter().find(|(url, _)| *url == post.url);
        told.map_or_else(|| offline(post), |(_, reply)| reply.clone())
    }

    pub(super) fn ask(
        &self,
        ask: impl FnOnce(&Facts<'_>) -> Result<Answer, RuleFailure>,
    ) -> Result<Answer, RuleFailure> {
        let plain = Facts::plain(&self.headers);
        ask(&Facts {
            remote_addr: self.remote_addr.unwrap_or(plain.remote_addr),
            listener: self.listener.as_deref().unwrap_or(plain.listener),
            statement: Statement { text: self.query.clone().into(), ..Statement::default() },
            standings: self.standings.clone(),
            local_time: Some(self.local_time),
            ..plain
        })
    }
}

/// A service, and its answer as it would be taken if it came.
fn service(
    (url, told): (String, Service),
) -> Result<(ServiceUrl, Result<Reply, Unanswered>), String> {
    let parsed = ServiceUrl::parse(&url).map_err(|what| format!("`{url}` is {what}"))?;
    let Service { status, body, json } = told;
    let (is_json, body) = match (body, json) {
        (Some(_), Some(_)) => return Err(format!("`{url}` has `body` and `json`, write one")),
        (None, Some(json)) => (true, json.to_string()),
        (body, None) => (false, body.unwrap_or_default()),
    };
    Ok((parsed, Reply::of(status, is_json, body.into())))
}

/// What a case says of groups and clusters.
#[derive(Debug)]
struct Told {
    groups: BTreeMap<String, State>,
    clusters: BTreeMap<String, State>,
}

impl Standings for Told {
    fn group_standing(&self, name: &GroupName) -> Option<GroupStanding> {
        let idle = AllIdle.group_standing(name)?;
        let Some(state) = self.groups.get(name.as_str()) else { return Some(idle) };
        let ready = match state.ready {
            None => idle.ready,
            Some(Readiness::Is(is)) => u32::from(is),
            Some(Readiness::Count(count)) => count,
        };
        Some(GroupStanding {
            clusters: state.clusters.unwrap_or_else(|| idle.clusters.max(ready)),
            ready,
            has_room: state.has_room.unwrap_or(ready > 0),
            queued: state.queued.unwrap_or_default(),
            running: state.running.unwrap_or_default(),
            load: state.load.unwrap_or_default(),
        })
    }

    fn cluster_standing(&self, name: &ClusterName) -> Option<ClusterStanding> {
        let idle = AllIdle.cluster_standing(name)?;
        let Some(state) = self.clusters.get(name.as_str()) else { return Some(idle) };
        let ready = match state.ready {
            None => idle.ready,
            Some(Readiness::Is(is)) => is,
            Some(Readiness::Count(count)) => count > 0,
        };
        Some(ClusterStanding {
            group: state.group.clone().unwrap_or_default(),
            ready,
            has_room: state.has_room.unwrap_or(ready),
            queued: state.queued.unwrap_or_default(),
            running: state.running.unwrap_or_default(),
            load: state.load.unwrap_or_default(),
        })
    }

    fn cluster_names(&self) -> Vec<ClusterName> {
        AllIdle.cluster_names()
    }
}

impl Expect {
    /// The first thing that is not as expected.
    pub(super) fn difference(&self, got: &Decision) -> Option<String> {
        match (&self.error, &got.error) {
            (None, Some(failure)) => return Some(format!("the rules failed: {failure}")),
            (Some(kind), Some(failure)) if *kind != failure.kind.as_str() => {
                let got = failure.kind.as_str();
                return Some(format!("expected the error {kind}, got {got}: {failure}"));
            }
            (Some(kind), None) => {
                return Some(format!("expected the error {kind}, got group {}", got.group));
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        if let (None, None, Some(text)) = (&self.reject, &got.error, &got.reject) {
            return Some(format!("expected no refusal, got {text:?}"));
        }
        self.differences(got).into_iter().flatten().next()
    }

    /// A cluster that is named gives the group, and only a gateway knows its clusters.
    fn group_of(&self, got: &Decision) -> Option<String> {
        let (wanted, Some(cluster)) = (self.group.as_ref()?, &got.cluster) else {
            return differs("group", self.group.as_ref(), Some(&got.group.to_string()));
        };
        Some(format!(
            "expected group {wanted:?}, got the cluster {cluster} (expect it by `cluster`)"
        ))
    }

    fn differences(&self, got: &Decision) -> [Option<String>; 12] {
        let changes = &got.changes;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut groups = vec![got.group.to_string()];
        groups.extend(got.others.iter().map(ToString::to_string));
        // A wish names headers in any case.
        let lower = |names: &Vec<String>| -> Vec<String> {
            names.iter().map(|name| name.to_ascii_lowercase()).collect()
        };
        let set_headers: BTreeMap<_, _> =
            changes.set.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let wanted_headers = self.set_headers.as_ref().map(|headers| -> BTreeMap<_, _> {
            let lower =
                |(name, value): (&String, &String)| (name.to_ascii_lowercase(), value.clone());
            headers.iter().map(lower).collect()
        });
        let removed = changes.remove.iter().map(ToString::to_string).collect();
        [
            self.group_of(got),
            differs("groups", self.groups.as_ref(), Some(&groups)),
            differs(
                "cluster",
                self.cluster.as_ref(),
                got.cluster.as_ref().map(ToString::to_string).as_ref(),
            ),
            differs("reject", self.reject.as_ref(), got.reject.as_ref()),
            differs("rule", self.rule.as_ref(), got.rule.as_ref()),
            differs("reason", self.reason.as_ref(), got.reason.as_ref()),
            differs("set_headers", wanted_headers.as_ref(), Some(&set_headers)),
            differs(
                "remove_headers",
                self.remove_headers.as_ref().map(lower).as_ref(),
                Some(&removed),
            ),
            differs("add_client_tags", self.add_client_tags.as_ref(), Some(&changes.tags)),
            differs(
                "set_session",
                self.set_session.as_ref(),
                Some(&changes.session.iter().cloned().collect()),
            ),
            differs(
                "set_source",
                self.set_source.as_ref(),
                changes.source.as_ref().map(text).as_ref(),
            ),
            differs(
                "priority",
                self.priority.as_ref(),
                got.priority.map(Priority::number).as_ref(),
            ),
        ]
    }
}

fn differs<T: PartialEq + std::fmt::Debug>(
    what: &str,
    wanted: Option<&T>,
    got: Option<&T>,
) -> Option<String> {
    let wanted = wanted?;
    match got {
        Some(got) if got == wanted => None,
        Some(got) => Some(format!("expected {what} {wanted:?}, got {got:?}")),
        None => Some(format!("expected {what} {wanted:?}, got none")),
    }
}

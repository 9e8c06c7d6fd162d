//! What a coordinator counts of itself: `/metrics`, `/v1/jmx/mbean/…` and the web UI with its logins,
//! as Trino 476 tells them, or 477 and 483.

use std::fmt::Write;

use serde_json::json;

use crate::api::not_found;
use crate::coordinator::{Coordinator, Moment};
use crate::http::{Request, Response};
use crate::options::{Behaviour, UiLogin};

/// All its memory.
const MEMORY: u64 = 1_000_000;

/// All its processors.
const PROCESSORS: u64 = 10;

/// A bean, and what it counts.
type Bean = (String, Vec<(&'static str, u64)>);

/// Answers one of these paths.
pub(crate) fn answer(
    coordinator: &mut Coordinator,
    request: &Request,
    moment: Moment<'_>,
) -> Response {
    let behaviour = moment.behaviour;
    let path = request.path();
    if request.method == "POST" {
        return login(behaviour, request);
    }
    if path == "/ui/api/stats" && !knows(behaviour, request) {
        let mut refused = Response::text(401, "Unauthorized");
        refused.headers.push(("WWW-Authenticate", "Trino-Form-Login".to_owned()));
        return refused;
    }
    let wanted = behaviour.counts_for.as_deref();
    if wanted.is_some() && wanted != request.header("authorization") {
        return Response::text(401, "Unauthorized");
    }
    if let Some(text) = &behaviour.counts_say {
        return Response::json(text.clone().into_bytes());
    }
    match path.strip_prefix("/v1/jmx/mbean/") {
        Some(name) => bean(&beans(coordinator, moment), name),
        None if path == "/metrics" => metrics(&beans(coordinator, moment), request),
        None if path == "/ui/api/stats" => stats(coordinator, moment),
        None => not_found(),
    }
}

fn beans(coordinator: &mut Coordinator, moment: Moment<'_>) -> Vec<Bean> {
    let (counts, behaviour) = (coordinator.counts_now(moment), moment.behaviour);
    let manager = match behaviour.counts_as_477 {
        true => "trino.node:name=CoordinatorNodeManager",
        false => "trino.metadata:name=DiscoveryNodeManager",
    };
    vec![
        // The coordinator is a node too.
        (manager.to_owned(), vec![("ActiveNodeCount", behaviour.workers + 1)]),
        (
            "trino.execution:name=QueryManager".to_owned(),
            vec![
                ("QueuedQueries", counts.queued as u64),
                ("RunningQueries", counts.running as u64),
                ("RunningDrivers", behaviour.drivers),
            ],
        ),
        (
            "trino.memory:name=ClusterMemoryManager".to_owned(),
            vec![
                ("ClusterMemoryBytes", MEMORY),
                ("ClusterTotalMemoryReservation", MEMORY * behaviour.memory_percent / 100),
                ("TotalAvailableProcessors", PROCESSORS),
            ],
        ),
    ]
}

/// Trino answers 500 and a trace for a bean that it does not have.
fn bean(beans: &[Bean], name: &str) -> Response {
    let Some((name, counts)) = beans.iter().find(|(known, _)| known == name) else {
        let text =
            format!("javax.management.InstanceNotFoundException: {name}\n\tat java.management");
        return Response::text(500, &text);
    };
    let attribute = |(name, value): &(&str, u64)| json!({ "name": name, "value": value });
    let attributes: Vec<_> = counts.iter().map(attribute).collect();
    let told = json!({ "objectName": name, "attributes": attributes, "operations": [] });
    Response::json(told.to_string().into_bytes())
}

/// The metrics that are asked for by name.
fn metrics(beans: &[Bean], request: &Request) -> Response {
    if request.header("accept").is_some_and(|accept| !accept.contains("openmetrics")) {
        return Response::empty(406);
    }
    let asked = request.target.split('?').nth(1).unwrap_or_default();
    let asked: Vec<&str> =
        asked.split('&').filter_map(|one| one.strip_prefix("name%5B%5D=")).collect();
    let mut page = String::new();
    for (bean, counts) in beans {
        for (attribute, value) in counts {
            let name = format!("{}_{attribute}", bean.replace(['.', ':', '='], "_"));
            if asked.is_empty() || asked.contains(&name.as_str()) {
                let _ = write!(page, "# TYPE {name} gauge\n{name} {value}.0\n");
            }
        }
    }
    page.push_str("# EOF\n");
    let kind = "application/openmetrics-text;charset=utf-8;version=1.0.0";
    Response { status: 200, headers: vec![("Content-Type", kind.to_owned())], body: page.into() }
}

fn stats(coordinator: &mut Coordinator, moment: Moment<'_>) -> Response {
    let (counts, behaviour) = (coordinator.counts_now(moment), moment.behaviour);
    let told = json!({
        "runningQueries": counts.running, "blockedQueries": 0, "queuedQueries": counts.queued,
        "activeCoordinators": 1, "activeWorkers": behaviour.workers,
        "runningDrivers": behaviour.drivers, "totalAvailableProcessors": PROCESSORS,
        "reservedMemory": 0.0, "totalInputRows": 0, "totalInputBytes": 0, "totalCpuTimeSecs": 0,
    });
    Response::json(told.to_string().into_bytes())
}

fn cookie(behaviour: &Behaviour) -> String {
    format!("Trino-UI-Token=stub-{}", behaviour.ui_cookie)
}

fn knows(behaviour: &Behaviour, request: &Request) -> bool {
    behaviour.ui_login == UiLogin::Open || request.header("cookie") == Some(&*cookie(behaviour))
}

/// Who names a user may log in, with any password.
fn login(behaviour: &Behaviour, request: &Request) -> Response {
    let body = String::from_utf8_lossy(&request.body);
    let kind = request.header("content-type").unwrap_or_default();
    let (status, named) = match (behaviour.ui_login, request.path()) {
        (UiLogin::Form, "/ui/login") if kind == "application/x-www-form-urlencoded" => {
            (303, body.starts_with("username="))
        }
        (UiLogin::Json, "/ui/auth/login") if kind == "application/json" => {
            (204, body.contains("\"username\""))
        }
        _ => return not_found(),
    };
    let mut response = Response::empty(status);
    if status == 303 {
        response.headers.push(("Location", "/ui/".to_owned()));
    }
    if named {
        let set = format!("{};Version=1;Path=/ui;HttpOnly", cookie(behaviour));
        response.headers.push(("Set-Cookie", set));
    }
    response
}

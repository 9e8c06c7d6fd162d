//! The coordinator's paths: what a request is for, and its answer.

use std::time::Duration;

use serde_json::json;

use crate::coordinator::{Coordinator, LONG_POLL, Moment, Page, PageAsk, PageOutcome, Posted};
use crate::counting;
use crate::fault::RequestKind;
use crate::http::{Request, Response};
use crate::names::{self, Stage};
use crate::oauth::{self, Awaited};

/// A page asked for, owned, because it may be waited for.
#[derive(Debug)]
pub(crate) struct Wanted {
    id: String,
    stage: Stage,
    slug: String,
    token: u64,
    /// Until when it may wait, in simulated time.
    pub deadline: Duration,
}

impl Wanted {
    /// The same for the coordinator.
    pub(crate) fn ask(&self) -> PageAsk<'_> {
        PageAsk {
            id: &self.id,
            stage: self.stage,
            slug: &self.slug,
            token: self.token,
            deadline: self.deadline,
        }
    }
}

/// What to do about a request.
pub(crate) enum Act {
    /// Answer this.
    Answer(Response),
    /// Answer this page when it is ready.
    Page(Wanted),
    /// Answer when somebody has logged in.
    Token(Awaited),
}

/// What a request is for, by its method and path.
pub(crate) fn kind(method: &str, path: &str) -> RequestKind {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match (method, segments.as_slice()) {
        ("POST", ["v1", "statement"]) => RequestKind::Submit,
        ("HEAD", ["v1", "statement"]) => RequestKind::Validate,
        ("DELETE", ["v1", "statement", "executing", "partialCancel", ..]) => {
            RequestKind::PartialCancel
        }
        ("GET", ["v1", "statement", ..]) => RequestKind::Page,
        ("HEAD", ["v1", "statement", ..]) => RequestKind::Heartbeat,
        ("DELETE", ["v1", "statement", ..]) => RequestKind::Cancel,
        ("GET", ["v1", "query"]) => RequestKind::QueryList,
        ("GET", ["v1", "query", _]) => RequestKind::Query,
        ("DELETE", ["v1", "query", _]) | ("PUT", ["v1", "query", _, "killed" | "preempted"]) => {
            RequestKind::Kill
        }
        ("GET" | "HEAD", ["v1", "info", ..]) => RequestKind::Info,
        ("GET" | "HEAD", ["v1", "status"]) => RequestKind::Status,
        (_, ["v1", "spooled", ..]) => RequestKind::Spooled,
        (_, ["ui", ..]) => RequestKind::Ui,
        ("GET", ["metrics"] | ["v1", "jmx", ..]) => RequestKind::Counts,
        _ => RequestKind::Other,
    }
}

/// The query id in a path, if there is one of the right form.
pub(crate) fn query_id(path: &str) -> Option<&str> {
    path.split('/').find(|segment| names::mark_of(segment).is_some())
}

/// Decides about a request.
pub(crate) fn act(coordinator: &mut Coordinator, request: &Request, moment: Moment<'_>) -> Act {
    let segments: Vec<&str> = request.path().split('/').skip(1).collect();
    let method = request.method.as_str();
    let answer = match (method, segments.as_slice()) {
        ("POST", ["v1", "statement"]) => submit(coordinator, request, moment),
        ("HEAD", ["v1", "statement"]) => Response::empty(200),
        ("DELETE", ["v1", "statement", "executing", "partialCancel", id, _, slug, token]) => {
            let known = coordinator.knows(id, Stage::Executing, slug, number(token));
            Response::empty(if known { 204 } else { 404 })
        }
        (_, ["v1", "statement", stage @ ("queued" | "executing"), id, slug, token]) => {
            let stage = if *stage == "queued" { Stage::Queued } else { Stage::Executing };
            let wanted = Wanted {
                id: (*id).to_owned(),
                stage,
                slug: (*slug).to_owned(),
                token: number(token),
                deadline: moment.now + LONG_POLL,
            };
            return page(coordinator, method, wanted, moment);
        }
        ("GET", ["v1", "query"]) => list(coordinator, request, moment),
        (_, ["v1", "query", id, ..]) if names::mark_of(id).is_none() => Response::empty(404),
        ("GET", ["v1", "query", id]) => match coordinator.info(id, moment) {
            Some(told) => Response::json(told),
            None => Response::empty(410),
        },
        ("DELETE", ["v1", "query", id]) => {
            coordinator.cancel(id, moment);
            Response::empty(204)
        }
        ("PUT", ["v1", "query", id, "killed" | "preempted"]) => {
            let known = coordinator.query(id).is_some();
            let killed = coordinator.kill(id, moment);
            Response::empty(if killed {
                200
            } else if known {
                409
            } else {
                410
            })
        }
        ("GET", ["metrics"] | ["v1", "jmx", ..] | ["ui", "api", "stats"])
        | ("POST", ["ui", "login"] | ["ui", "auth", "login"]) => {
            counting::answer(coordinator, request, moment)
        }
        (_, ["oauth2", ..]) => return oauth::act(coordinator, request, moment),
        ("GET" | "HEAD", ["v1", "spooled", verb, name]) => segment(coordinator, verb, name),
        ("GET" | "HEAD", _) => about(coordinator, &segments, moment),
        _ => not_found(),
    };
    Act::Answer(answer)
}

fn number(token: &str) -> u64 {
    token.parse().unwrap_or(u64::MAX)
}

fn submit(coordinator: &mut Coordinator, request: &Request, moment: Moment<'_>) -> Response {
    if let Some(refusal) = oauth::refusal(coordinator, request, moment) {
        return refusal;
    }
    let told = |name| request.header(name).map(str::to_owned);
    let Some(user) = told("x-trino-user").or_else(|| told("authorization")) else {
        return Response::text(401, "Basic authentication or X-Trino-User must be sent");
    };
    let sql = String::from_utf8_lossy(&request.body).into_owned();
    if sql.is_empty() {
        return Response::text(400, "SQL statement is empty");
    }
    let posted = Posted {
        sql,
        user,
        source: told("x-trino-source"),
        transaction: told("x-trino-transaction-id").filter(|id| !id.eq_ignore_ascii_case("NONE")),
        spooling: request.header("x-trino-query-data-encoding").is_some(),
    };
    match coordinator.submit(posted, moment) {
        Some(body) => Response::json(body),
        None => Response::text(503, "the stub keeps no more queries"),
    }
}

fn page(coordinator: &mut Coordinator, method: &str, wanted: Wanted, moment: Moment<'_>) -> Act {
    let known = coordinator.knows(&wanted.id, wanted.stage, &wanted.slug, wanted.token);
    match method {
        "GET" => {
            coordinator.arrive(&wanted.ask(), moment);
            Act::Page(wanted)
        }
        "DELETE" if known => {
            coordinator.cancel(&wanted.id, moment);
            Act::Answer(Response::empty(204))
        }
        "HEAD" if known => {
            coordinator.touch(&wanted.id, moment.now);
            Act::Answer(Response::empty(200))
        }
        "DELETE" | "HEAD" => Act::Answer(Response::empty(404)),
        _ => Act::Answer(Response::empty(405)),
    }
}

/// Tries to answer a page; `Err`: wait until then, or for the bell.
pub(crate) fn try_page(
    coordinator: &mut Coordinator,
    wanted: &Wanted,
    moment: Moment<'_>,
) -> Result<Response, (Duration, std::sync::Arc<tokio::sync::Notify>)> {
    match coordinator.page(&wanted.ask(), moment) {
        PageOutcome::Ready(page) => Ok(page_response(&page)),
        PageOutcome::Wait(until, bell) => Err((until, bell)),
        PageOutcome::Gone => Ok(Response::text(410, "Invalid token")),
        PageOutcome::Unknown => Ok(Response::text(404, "Query not found")),
    }
}

fn page_response(page: &Page) -> Response {
    let mut response = Response::json(page.body.clone());
    response.headers.extend(page.headers.iter().cloned());
    response
}

fn list(coordinator: &mut Coordinator, request: &Request, moment: Moment<'_>) -> Response {
    const STATES: [&str; 9] = [
        "QUEUED",
        "WAITING_FOR_RESOURCES",
        "DISPATCHING",
        "PLANNING",
        "STARTING",
        "RUNNING",
        "FINISHING",
        "FINISHED",
        "FAILED",
    ];
    let state = request.parameter("state").map(str::to_ascii_uppercase);
    match &state {
        Some(state) if !STATES.contains(&state.as_str()) => {
            Response::text(500, "No enum constant io.trino.execution.QueryState")
        }
        _ => {
            let user = request.header("x-trino-user");
            Response::json(coordinator.list(state.as_deref(), user, moment))
        }
    }
}

fn segment(coordinator: &mut Coordinator, verb: &str, name: &str) -> Response {
    match verb {
        "download" => match coordinator.segment(name) {
            Some(bytes) => Response {
                status: 200,
                headers: vec![("Content-Type", "application/octet-stream".to_owned())],
                body: bytes.to_vec(),
            },
            None => not_found(),
        },
        "ack" if coordinator.acknowledge(name) => Response::empty(200),
        _ => not_found(),
    }
}

/// What a coordinator tells about itself.
fn about(coordinator: &Coordinator, segments: &[&str], moment: Moment<'_>) -> Response {
    let behaviour = moment.behaviour;
    let uptime = format!("{:.2}s", moment.now.as_secs_f64());
    match segments {
        ["v1", "info"] => {
            let mut told = json!({
                "nodeVersion": {"version": behaviour.version}, "environment": behaviour.environment,
                "coordinator": behaviour.coordinator, "starting": behaviour.starting,
                "uptime": uptime,
            });
            if behaviour.tells_coordinator_id {
                told["coordinatorId"] = coordinator.mark().into();
                told["nodeId"] = format!("stub-{}", coordinator.mark()).into();
                told["state"] = "ACTIVE".into();
            }
            Response::json(told.to_string().into_bytes())
        }
        ["v1", "info", "state"] => Response::json(b"\"ACTIVE\"".to_vec()),
        ["v1", "info", "coordinator"] => {
            Response::empty(if behaviour.coordinator { 200 } else { 404 })
        }
        ["v1", "status"] => {
            let told = json!({
                "nodeId": format!("stub-{}", coordinator.mark()),
                "nodeVersion": {"version": behaviour.version},
                "environment": behaviour.environment, "coordinator": behaviour.coordinator,
                "uptime": uptime, "processors": 1, "processCpuLoad": 0.0, "systemCpuLoad": 0.0,
                "heapUsed": 0, "heapAvailable": 1, "nonHeapUsed": 0,
            });
            Response::json(told.to_string().into_bytes())
        }
        ["ui", ..] => {
            let page = format!("<!DOCTYPE html><title>stub {}</title>", coordinator.mark());
            Response::html(200, &page)
        }
        [""] => Response {
            status: 303,
            headers: vec![("Location", "/ui/".to_owned())],
            body: Vec::new(),
        },
        _ => not_found(),
    }
}

pub(crate) fn not_found() -> Response {
    Response::html(404, "<html><body><h2>HTTP ERROR 404 Not Found</h2></body></html>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_what_a_request_is_for() {
        let id = "20200416_160256_03078_6b4yt";
        for (method, path, expected) in [
            ("POST", "/v1/statement".to_owned(), RequestKind::Submit),
            ("HEAD", "/v1/statement".to_owned(), RequestKind::Validate),
            ("GET", format!("/v1/statement/queued/{id}/y0/1"), RequestKind::Page),
            ("HEAD", format!("/v1/statement/executing/{id}/y0/1"), RequestKind::Heartbeat),
            ("DELETE", format!("/v1/statement/executing/{id}/y0/1"), RequestKind::Cancel),
            (
                "DELETE",
                format!("/v1/statement/executing/partialCancel/{id}/0/y0/1"),
                RequestKind::PartialCancel,
            ),
            ("GET", "/v1/query".to_owned(), RequestKind::QueryList),
            ("GET", format!("/v1/query/{id}"), RequestKind::Query),
            ("DELETE", format!("/v1/query/{id}"), RequestKind::Kill),
            ("PUT", format!("/v1/query/{id}/killed"), RequestKind::Kill),
            ("GET", "/v1/info/state".to_owned(), RequestKind::Info),
            ("GET", "/ui/".to_owned(), RequestKind::Ui),
            ("PATCH", "/v1/statement".to_owned(), RequestKind::Other),
        ] {
            assert_eq!(kind(method, &path), expected, "{method} {path}");
            assert_eq!(query_id(&path), path.contains(id).then_some(id));
        }
    }
}

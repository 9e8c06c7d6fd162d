//! Control of a running stub for scripts: JSON over HTTP on an address of its own.
//!
//! Its own, so that a frozen or refusing stub can still be told to go on.

use std::io;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::fault::FaultRule;
use crate::http::{Framing, Request, Response, read_request};
use crate::options::Behaviour;
use crate::stub::Stub;

/// What can be asked; the answer to an unknown path.
pub const USAGE: &str = "\
GET    /stub/state       counts, counters, behaviour
GET    /stub/queries     kept queries
GET    /stub/requests    the latest 1,000 requests
POST   /stub/faults      adds a rule, e.g. {\"kinds\":[\"page\"],\"fault\":\"reset_after\",\"count\":1}
DELETE /stub/faults      takes all rules away
PATCH  /stub/behaviour   changes the fields it names, e.g. {\"starting\":true}
POST   /stub/freeze | thaw | refuse | accept | disconnect | stop | restart
";

/// Serves control requests for a stub, until the task is dropped.
pub async fn serve(stub: Stub, listener: TcpListener) -> io::Result<()> {
    let stub = Arc::new(stub);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection(Arc::clone(&stub), stream));
    }
}

async fn connection(stub: Arc<Stub>, mut stream: TcpStream) {
    let mut buffer = Vec::new();
    while let Ok(Some(request)) = read_request(&mut stream, &mut buffer).await {
        let framing = Framing { chunked: false, close: !request.keep_alive };
        let (bytes, _) = answer(&stub, &request).encoded(&request.method, framing);
        if stream.write_all(&bytes).await.is_err() || !request.keep_alive {
            return;
        }
    }
}

/// Carries out a control request.
pub fn answer(stub: &Stub, request: &Request) -> Response {
    match (request.method.as_str(), request.path()) {
        ("GET", "/stub/state") => told(&state(stub)),
        ("GET", "/stub/queries") => told(&queries(stub)),
        ("GET", "/stub/requests") => told(&requests(stub)),
        ("POST", "/stub/faults") => match serde_json::from_slice::<FaultRule>(&request.body) {
            Ok(rule) => {
                stub.fault(rule);
                Response::empty(204)
            }
            Err(error) => Response::text(400, &format!("cannot read the rule: {error}\n")),
        },
        ("DELETE", "/stub/faults") => {
            stub.clear_faults();
            Response::empty(204)
        }
        ("PATCH", "/stub/behaviour") => match changed(&stub.behaviour(), &request.body) {
            Ok(behaviour) => {
                stub.change(|current| *current = behaviour);
                Response::empty(204)
            }
            Err(error) => Response::text(400, &format!("cannot read the behaviour: {error}\n")),
        },
        ("POST", path) => switch(stub, path),
        _ => Response::text(404, USAGE),
    }
}

fn switch(stub: &Stub, path: &str) -> Response {
    match path.strip_prefix("/stub/") {
        Some("freeze") => stub.freeze(),
        Some("thaw") => stub.thaw(),
        Some("refuse") => stub.refuse(),
        Some("accept") => stub.accept(),
        Some("disconnect") => stub.disconnect(),
        Some("stop") => stub.stop(),
        Some("restart") => stub.restart(),
        _ => return Response::text(404, USAGE),
    }
    Response::empty(204)
}

fn changed(current: &Behaviour, patch: &[u8]) -> Result<Behaviour, serde_json::Error> {
    let mut whole = serde_json::to_value(current)?;
    let patch: serde_json::Map<String, Value> = serde_json::from_slice(patch)?;
    for (name, value) in patch {
        whole[name] = value;
    }
    serde_json::from_value(whole)
}

fn state(stub: &Stub) -> Value {
    let (foreign, _) = stub.foreign_ids();
    json!({
        "url": stub.url(), "coordinatorId": stub.coordinator_id(), "counts": stub.counts(),
        "counters": stub.counters(), "foreignRequests": foreign, "behaviour": stub.behaviour(),
    })
}

fn queries(stub: &Stub) -> Value {
    let told = |query: crate::QueryRecord| {
        json!({
            "id": query.id, "state": query.state, "user": query.user, "source": query.source,
            "executed": query.executed, "error": query.error, "pagesAsked": query.pages_asked,
        })
    };
    stub.queries().into_iter().map(told).collect()
}

fn requests(stub: &Stub) -> Value {
    let requests = stub.requests();
    let latest = requests.len().saturating_sub(1000);
    let told = |request: &crate::RequestRecord| {
        json!({
            "kind": request.kind, "method": request.method, "target": request.target,
            "headers": request.headers, "bodyLength": request.body_len,
        })
    };
    requests[latest..].iter().map(told).collect()
}

fn told(value: &Value) -> Response {
    Response::json(value.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RequestKind, StubOptions};

    #[test]
    fn a_script_changes_a_stub() {
        let stub = Stub::start(StubOptions::default());
        let send = |method: &str, path: &str, body: &str| {
            let request = Request {
                method: method.to_owned(),
                target: path.to_owned(),
                body: body.as_bytes().to_vec(),
                ..Request::default()
            };
            answer(&stub, &request)
        };
        assert_eq!(send("PATCH", "/stub/behaviour", r#"{"starting":true}"#).status, 204);
        assert!(stub.behaviour().starting);
        assert_eq!(send("PATCH", "/stub/behaviour", r#"{"colour":1}"#).status, 400);
        assert_eq!(send("POST", "/stub/faults", r#"{"fault":"html"}"#).status, 204);
        let client = crate::client::Client::new(stub.addr());
        assert!(client.get("/v1/info").unwrap().body.starts_with(b"<html>"));
        assert_eq!(send("DELETE", "/stub/faults", "").status, 204);
        assert_eq!(send("POST", "/stub/faults", "{}").status, 400);
        assert_eq!(client.get("/v1/info").unwrap().json()["starting"], true);
        assert_eq!(stub.request_count(RequestKind::Info), 2);
        let before = stub.coordinator_id();
        assert_eq!(send("POST", "/stub/restart", "").status, 204);
        let told: Value = serde_json::from_slice(&send("GET", "/stub/state", "").body).unwrap();
        assert_ne!(told["coordinatorId"], before);
        assert_eq!(send("GET", "/nothing", "").body, USAGE.as_bytes());
    }
}

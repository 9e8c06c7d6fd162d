//! Heads that Trino or another proxy reads in a way of its own. None of them may reach a coordinator
//! in a form that could be read in two ways, and the next decent request is served.

use warren_stub::{RequestRecord, Stub, StubOptions};

use crate::support::clients::Query;
use crate::support::gateway::Plan;
use crate::support::raw;

/// What has to become of a request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Refused with this status; nothing of it reaches a coordinator.
    Refused(u16),
    /// Served, and what is forged in it has gone.
    Cleaned,
    /// Either of them.
    Safe,
}

use Fate::{Cleaned, Refused, Safe};

const USER: &str = "X-Trino-User: hostile\r\n";

/// A submit with these header lines behind `Host` and user.
fn submit(lines: &str) -> String {
    format!(
        "POST /v1/statement HTTP/1.1\r\nHost: a\r\n{USER}{lines}Content-Length: 8\r\n\r\nSELECT 2"
    )
}

type Case = (&'static str, String, Fate);

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// A submit with these header lines and this body as it is.
fn body(lines: &str, body: &str) -> String {
    format!("POST /v1/statement HTTP/1.1\r\nHost: a\r\n{USER}{lines}\r\n{body}")
}

/// A submit to this target.
fn post(target: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: a\r\n{USER}Content-Length: 8\r\n\r\nSELECT 2")
}

/// Where a request ends, and its lines.
fn framings() -> Vec<Case> {
    let chunks = "8\r\nSELECT 2\r\n0\r\n\r\n";
    let old = body(CHUNKED, chunks).replace("HTTP/1.1", "HTTP/1.0");
    let both = body(&format!("Content-Length: 18\r\n{CHUNKED}"), chunks);
    let sized = |size: &str| body(CHUNKED, &format!("{size}\r\nSELECT 2\r\n0\r\n\r\n"));
    vec![
        ("length and bad chunks", submit(CHUNKED), Refused(400)),
        ("length and chunks", both, Refused(400)),
        ("chunks in HTTP/1.0", old, Refused(400)),
        ("bare line feeds", submit("").replace("\r\n", "\n"), Refused(400)),
        ("chunk lines that end in line feeds", body(CHUNKED, "8\nSELECT 2\n0\n\n"), Refused(400)),
        ("chunk size 0x8", sized("0x8"), Refused(400)),
        ("chunk size -8", sized("-8"), Refused(400)),
        ("chunk size beyond 64 bits", sized("10000000000000008"), Refused(400)),
        ("a body on a page", post("/v1/info").replace("POST", "GET"), Refused(400)),
        ("a tunnel", submit("").replace("POST /v1/statement", "CONNECT evil.example:80"), Safe),
    ]
}

/// Where a request goes.
fn targets() -> Vec<Case> {
    vec![
        ("parameters in the path", post("/v1/statement;x=y"), Refused(400)),
        ("a slash at the end", post("/v1/statement/"), Refused(400)),
        ("an escaped letter", post("/v1/st%61tement"), Refused(400)),
        ("dots", post("/ui/../v1/statement"), Refused(400)),
        ("another host in the line", post("http://evil.example/v1/statement"), Refused(400)),
        ("a task for workers", post("/v1/task/x"), Refused(404)),
        ("a shutdown", post("/v1/info/state").replace("POST", "PUT"), Refused(404)),
    ]
}

/// What a request says of itself.
fn headers() -> Vec<Case> {
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
               HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n";
    let forwarded = "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\n\
                     X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Port: 666\r\n\
                     X-Forwarded-Server: evil.example\r\nX-Forwarded-Prefix: //evil.example\r\n\
                     X-Proxied-Https: on\r\nForwarded: for=6.6.6.6;host=evil.example\r\n";
    vec![
        ("no host", submit("").replace("Host: a\r\n", ""), Refused(400)),
        ("two hosts", submit("Host: b\r\n"), Refused(400)),
        ("two users", submit("X-Trino-User: other\r\n"), Refused(400)),
        ("a user who is nominated away", submit("Connection: X-Trino-User\r\n"), Refused(400)),
        ("an offer of h2c", submit(h2c), Cleaned),
        ("what only coordinators say", submit("X-Trino-Internal-Bearer: junk\r\n"), Cleaned),
        ("forwarded lines", submit(forwarded), Cleaned),
        ("a name with a space", submit("X-Trino-Source : a\r\n"), Safe),
    ]
}

/// The requests that are not Warren's own.
fn arrived(stub: &Stub) -> Vec<RequestRecord> {
    let ours = |request: &RequestRecord| request.header("x-trino-source") == Some("warren-probe");
    stub.requests().into_iter().filter(|request| !ours(request)).collect()
}

/// What must not be in a request, whoever sent it.
fn complaint(request: &RequestRecord) -> Option<String> {
    let forbidden = |(name, value): &&(String, String)| {
        let name = name.to_ascii_lowercase();
        name.starts_with("x-trino-internal-")
            || ["upgrade", "http2-settings", "forwarded", "x-proxied-https"].contains(&&*name)
            || ["x-forwarded-server", "x-forwarded-prefix"].contains(&&*name)
            || value.contains("evil")
            || value.contains("6.6.6.6")
            || (name == "x-forwarded-proto" && value != "http")
            || (name == "x-forwarded-port" && value == "666")
            || (name == "connection" && value.to_ascii_lowercase().contains("upgrade"))
    };
    if let Some((name, value)) = request.headers.iter().find(forbidden) {
        return Some(format!("{name}: {value}"));
    }
    let single = ["host", "x-trino-user", "authorization", "content-length", "x-forwarded-for"];
    if let Some(name) = single.into_iter().find(|name| request.header_lines(name).len() > 1) {
        return Some(format!("{name} twice"));
    }
    let framings = ["content-length", "transfer-encoding"].map(|name| request.header(name));
    if framings.iter().flatten().count() > 1 {
        return Some("two framings".to_owned());
    }
    let ambiguous = request.target.contains([';', '%', '\\']) || !request.target.starts_with('/');
    ambiguous.then(|| request.target.clone())
}

/// What could not be framed says nothing of where the next request begins.
fn closes(answer: &str) -> bool {
    let framing = ["malformed", "Transfer-Encoding", "CR and LF"];
    let framed = !framing.iter().any(|word| answer.contains(word));
    framed || answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n")
}

#[test]
fn hostile_requests_change_nothing_for_anybody() {
    let blue = Stub::start(StubOptions::default());
    let gateway = Plan::of(&[("blue", "bi", &blue)]).start_ready();
    let mut wrong = Vec::new();
    for (name, bytes, fate) in [framings(), targets(), headers()].concat() {
        blue.clear_records();
        let answer = raw::exchange(gateway.address(), bytes.as_bytes());
        let status = raw::status(&answer);
        let reached = arrived(&blue);
        let as_wanted = match fate {
            Refused(wanted) => status == wanted && reached.is_empty(),
            Cleaned => status == 200 && reached.len() == 1,
            Safe => status != 101 && reached.len() <= 1,
        };
        let complaints: Vec<String> = reached.iter().filter_map(complaint).collect();
        if !as_wanted || !complaints.is_empty() {
            let targets: Vec<&str> = reached.iter().map(|r| r.target.as_str()).collect();
            wrong.push(format!("{name}: {status}, reached {targets:?}, {complaints:?}"));
        }
        if matches!(fate, Refused(400)) && !closes(&answer) {
            wrong.push(format!("{name}: the connection goes on"));
        }
        if let Err(error) = Query::run(&gateway.client(), "SELECT 3") {
            wrong.push(format!("after {name}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

//! A query from its submit to its end: bytes that stay as they are, clusters that refuse, statements
//! of any size, heads that nobody should send.

mod hostile;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Command;

use warren_stub::client::{Answer, Client};
use warren_stub::{ProcessForwarded, RequestKind, Stub, StubOptions};

use crate::support::clients::{Query, in_parallel};
use crate::support::gateway::Plan;
use crate::support::{eventually, raw};

/// Statements, with the fewest pages that each has: rows, headers for the client, an error.
const STATEMENTS: [(&str, usize); 3] = [
    ("SELECT n /* stub: rows=3000 pages=3 size=40 */", 4),
    ("SET SESSION a.b = 'x y'", 2),
    ("SELECT n /* stub: rows=9 pages=1 fail=DIVISION_BY_ZERO */", 2),
];

/// What `answer` says, without what each leg has for itself.
fn told(answer: &Answer) -> (u16, Vec<(String, String)>, &[u8]) {
    let own = ["connection", "date", "via", "content-length", "transfer-encoding"];
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .collect();
    headers.sort();
    (answer.status, headers, &answer.body)
}

#[test]
fn pages_have_the_same_bytes_on_both_legs() {
    let blue = Stub::start(StubOptions::default());
    let gateway = Plan::of(&[("blue", "bi", &blue)]).start_ready();
    for encoding in ["identity", "gzip", "zstd"] {
        for chunked in [false, true] {
            blue.change(|behaviour| behaviour.chunked = chunked);
            for (statement, fewest) in STATEMENTS {
                let pages = same_pages(&blue, &gateway.client(), encoding, statement);
                assert!(pages >= fewest, "{pages} pages of {statement}");
            }
        }
    }
    eventually("no query is owned any more", || (gateway.owned("blue") == 0).then_some(()));
}

/// Compares each page of a statement, as it comes through Warren, with the coordinator's own.
fn same_pages(blue: &Stub, client: &Client, encoding: &str, statement: &str) -> usize {
    let through = client.clone().with("Accept-Encoding", encoding);
    // The same page again, without Warren: a token always gives the same page.
    let direct = Client::new(blue.addr()).with("Accept-Encoding", encoding);
    let plain = Client::new(blue.addr());
    let mut next = client.submit(statement).unwrap().next();
    let mut pages = 0;
    while let Some(target) = next {
        let page = through.get(&target).unwrap();
        let same = direct.get(&target).unwrap();
        assert_eq!(told(&page), told(&same), "{encoding}, {statement}");
        assert_eq!(page.header("content-encoding").unwrap_or("identity"), encoding);
        next = plain.get(&target).unwrap().next();
        pages += 1;
    }
    pages
}

#[test]
fn header_lines_of_a_client_arrive_in_their_order() {
    let blue = Stub::start(StubOptions::default());
    let gateway = Plan::of(&[("blue", "bi", &blue)]).start_ready();
    let request = "POST /v1/statement HTTP/1.1\r\nHost: a.example\r\nX-Trino-User: ordered\r\n\
                   X-Trino-Session: a=1,b=2\r\nX-Trino-Source: s\r\nX-Trino-Session: c=3\r\n\
                   X-Trino-Client-Tags: \r\nX-Trino-Prepared-Statement: p=SELECT%201\r\n\
                   x-trino-session: d=4\r\nContent-Length: 8\r\n\r\nSELECT 2";
    let answer = raw::exchange(gateway.address(), request.as_bytes());
    assert_eq!(raw::status(&answer), 200, "{answer}");
    let arrived = blue.requests_of(RequestKind::Submit);
    let arrived = arrived.iter().find(|r| r.header("x-trino-user") == Some("ordered")).unwrap();
    assert_eq!(arrived.header_lines("x-trino-session"), ["a=1,b=2", "c=3", "d=4"]);
    assert_eq!(arrived.header("x-trino-client-tags"), Some(""));
    assert_eq!(arrived.header("x-trino-prepared-statement"), Some("p=SELECT%201"));
    assert_eq!(arrived.header_lines("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(arrived.header_lines("x-forwarded-host"), ["a.example"]);
    assert_eq!(arrived.header_lines("x-forwarded-proto"), ["http"]);
    assert_eq!(arrived.header_lines("via"), ["1.1 warren"]);
    assert_eq!(arrived.body, b"SELECT 2");
}

#[test]
fn a_submit_goes_on_to_the_next_cluster_when_one_refuses() {
    let stubs = [(); 3].map(|()| Stub::start(StubOptions::default()));
    let [blue, green, red] = &stubs;
    let clusters = [("blue", "bi", blue), ("green", "bi", green), ("red", "bi", red)];
    let gateway = Plan::of(&clusters).start_ready();
    let client = gateway.client();
    blue.refuse();
    blue.disconnect();
    let sql: Vec<String> = (0..200).map(|number| format!("SELECT {number} -- once")).collect();
    let done = in_parallel(sql.clone(), |sql| Query::run(&client, &sql));
    let failed: Vec<_> = done.iter().filter_map(|done| done.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} failed: {failed:?}", failed.len());
    let mut registered: Vec<String> =
        stubs.iter().flat_map(Stub::queries).map(|query| query.sql).collect();
    registered.retain(|text| text.ends_with("-- once"));
    let mut once = sql;
    registered.sort();
    once.sort();
    assert_eq!(registered, once, "each was registered once");
    let health = gateway.cluster("blue").unwrap()["health"].clone();
    assert_ne!(health, "ready");
    blue.accept();
    gateway.wait_until_ready();
}

/// Sends a statement of `size` bytes; the answer and what the stub saw of it.
fn submit_large(address: SocketAddr, stub: &Stub, size: usize, chunked: bool) -> (String, usize) {
    let mut stream = raw::connect(address);
    let framing = if chunked {
        "Transfer-Encoding: chunked".to_owned()
    } else {
        format!("Content-Length: {size}")
    };
    let head = format!(
        "POST /v1/statement HTTP/1.1\r\nHost: {address}\r\nX-Trino-User: large\r\n{framing}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let piece = vec![b' '; 1 << 20];
    let mut left = size - 8;
    let mut parts: Vec<&[u8]> = vec![b"SELECT 2"];
    while left > 0 {
        let length = left.min(piece.len());
        parts.push(&piece[..length]);
        left -= length;
    }
    for part in parts {
        if chunked {
            stream.write_all(format!("{:x}\r\n", part.len()).as_bytes()).unwrap();
        }
        stream.write_all(part).unwrap();
        if chunked {
            stream.write_all(b"\r\n").unwrap();
        }
    }
    if chunked {
        stream.write_all(b"0\r\n\r\n").unwrap();
    }
    let answer = raw::read(&mut stream);
    let seen = stub.requests_of(RequestKind::Submit).into_iter().rev();
    let seen = seen.filter(|request| request.header("x-trino-user") == Some("large"));
    (answer, seen.map(|request| request.body_len).next().unwrap_or_default())
}

#[test]
fn a_statement_of_any_size_arrives_whole() {
    let blue = Stub::start(StubOptions::default());
    let gateway = Plan::of(&[("blue", "bi", &blue)]).start_ready();
    const MIB: usize = 1 << 20;
    for size in [MIB, 16 * MIB, 16 * MIB + 1, 24 * MIB] {
        for chunked in [false, true] {
            blue.clear_records();
            let (answer, arrived) = submit_large(gateway.address(), &blue, size, chunked);
            let status = raw::status(&answer);
            assert_eq!((status, arrived), (200, size), "chunked: {chunked}; {answer:.400}");
            assert!(answer.contains("nextUri"), "{answer:.400}");
        }
    }
    assert!(Query::run(&gateway.client(), "SELECT 3").is_ok());
}

#[test]
fn who_asks_before_sending_is_told_to_go_on() {
    let blue = Stub::start(StubOptions::default());
    let gateway = Plan::of(&[("blue", "bi", &blue)]).start_ready();
    let mut stream = raw::connect(gateway.address());
    let head = "POST /v1/statement HTTP/1.1\r\nHost: a\r\nX-Trino-User: u\r\n\
                Content-Length: 8\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let interim = raw::read_until(&mut stream, "\r\n\r\n");
    assert_eq!(raw::status(&interim), 100, "{interim}");
    stream.write_all(b"SELECT 2").unwrap();
    let answer = raw::read(&mut stream);
    assert_eq!(raw::status(&answer), 200, "{answer}");
    let expects = |kind| blue.requests_of(kind).iter().any(|r| r.header("expect").is_some());
    assert!(!expects(RequestKind::Submit), "the expectation is between client and Warren");
}

#[test]
fn http2_without_tls_is_served() {
    let blue = Stub::start(StubOptions::default());
    let gateway = Plan::of(&[("blue", "bi", &blue)]).start_ready();
    let url = format!("http://{}/v1/statement", gateway.address());
    let curl = Command::new("curl")
        .args(["--silent", "--http2-prior-knowledge", "--header", "X-Trino-User: u"])
        .args(["--data-binary", "SELECT 2", "--write-out", " %{http_version} %{http_code}", &url])
        .output()
        .expect("curl is here");
    let told = String::from_utf8_lossy(&curl.stdout).into_owned();
    assert!(told.ends_with(" 2 200"), "{told}");
    let next = told.split("\"nextUri\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let start = format!("http://{}/v1/statement/queued/", gateway.address());
    assert!(next.is_some_and(|next| next.starts_with(&start)), "{told}");
}

/// Where the `nextUri`s of a whole query point, asked for as `Host: a.example`.
fn origins(address: SocketAddr, forged: &str) -> Vec<String> {
    let mut asked = ("POST".to_owned(), "/v1/statement".to_owned(), "SELECT 2");
    let mut origins = Vec::new();
    loop {
        let (method, target, body) = &asked;
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: a.example\r\nX-Trino-User: u\r\n{forged}\
             Connection: close\r\n{}\r\n{body}",
            if body.is_empty() { String::new() } else { "Content-Length: 8\r\n".to_owned() }
        );
        let answer = raw::exchange(address, request.as_bytes());
        assert_eq!(raw::status(&answer), 200, "{answer}");
        let Some(next) = answer.split("\"nextUri\":\"").nth(1) else { return origins };
        let next = next.split('"').next().unwrap();
        let path = next.find("/v1/").unwrap();
        origins.push(next[..path].to_owned());
        asked = ("GET".to_owned(), next[path..].to_owned(), "");
    }
}

#[test]
fn clients_are_sent_back_to_where_they_came() {
    use ProcessForwarded::{Honour, Ignore, Reject};
    for process in [Honour, Reject, Ignore] {
        let options = StubOptions::default().with(|b| b.process_forwarded = process);
        let blue = Stub::start(options);
        let gateway = Plan::of(&[("blue", "bi", &blue)]).start_ready();
        for forged in ["", "X-Forwarded-Host: evil.example\r\n", "Forwarded: host=evil.example\r\n"]
        {
            let origins = origins(gateway.address(), forged);
            assert!(origins.len() >= 2, "{process:?}, {forged}: {origins:?}");
            let right = |origin: &String| origin == "http://a.example";
            assert!(origins.iter().all(right), "{process:?}, {forged}: {origins:?}");
        }
    }
}

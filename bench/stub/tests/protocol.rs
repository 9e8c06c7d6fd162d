//! The stub's contract over the wire: what `PROTOCOL.md` says of a coordinator, and each fault.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use warren_stub::client::{Answer, Client};
use warren_stub::{Counts, Fault, FaultRule, ProcessForwarded, RequestKind, Stub, StubOptions};

/// A simulated second lasts 10 ms, and no query is abandoned while a busy machine dawdles.
fn stub() -> (Stub, Client) {
    with(StubOptions::scaled(0.01).with(|behaviour| behaviour.client_timeout_seconds = 360_000))
}

fn with(options: StubOptions) -> (Stub, Client) {
    let stub = Stub::start(options);
    let client = Client::new(stub.addr());
    (stub, client)
}

fn id(answer: &Answer) -> String {
    answer.json()["id"].as_str().expect("a page of a query").to_owned()
}

fn state(answer: &Answer) -> String {
    answer.json()["stats"]["state"].as_str().expect("a page of a query").to_owned()
}

/// `path` with its last segments replaced: slug and token.
fn forged(path: &str, slug: Option<&str>, token: Option<u64>) -> String {
    let (head, old_token) = path.rsplit_once('/').expect("a page's path");
    let (head, old_slug) = head.rsplit_once('/').expect("a page's path");
    let token = token.map_or_else(|| old_token.to_owned(), |token| token.to_string());
    format!("{head}/{}/{token}", slug.unwrap_or(old_slug))
}

/// Asks until `done`; a bounded wait for another thread's event.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..5000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("never seen: {what}");
}

#[test]
fn a_statement_runs_at_its_first_get() {
    let (stub, client) = stub();
    let posted = client.submit("SELECT 1").unwrap();
    let id = id(&posted);
    assert!(id.ends_with(&format!("_00000_{}", stub.coordinator_id())), "{id}");
    let first = posted.next().unwrap();
    assert!(first.starts_with(&format!("/v1/statement/queued/{id}/y")) && first.ends_with("/1"));
    assert_eq!(state(&posted), "QUEUED");
    assert_eq!(client.get(&format!("/v1/query/{id}")).unwrap().status, 410);
    assert_eq!(stub.counts(), Counts { registered: 1, queued: 0, running: 0 });

    let queued = client.get(&first).unwrap();
    assert_eq!(client.get(&format!("/v1/query/{id}")).unwrap().status, 200);
    assert_eq!(stub.counts(), Counts { registered: 0, queued: 0, running: 1 });

    let executing = queued.next().unwrap();
    assert!(executing.contains("/executing/") && executing.ends_with("/0"), "{executing}");
    let data = client.get(&executing).unwrap();
    assert_eq!(data.json()["data"], serde_json::json!([[1]]));
    let text = String::from_utf8(data.body.clone()).unwrap();
    let place = |name: &str| text.find(&format!("\"{name}\"")).unwrap();
    assert!(place("id") < place("nextUri") && place("nextUri") < place("data"));

    let last = client.get(&data.next().unwrap()).unwrap();
    assert_eq!((last.next(), state(&last)), (None, "FINISHED".to_owned()));
    assert_eq!(stub.counts(), Counts::default());
    assert_eq!(stub.counters().finished, 1);
    assert_eq!(stub.pages_asked(&id), 3);
}

#[test]
fn tokens_and_slugs() {
    let (_stub, client) = stub();
    let posted = client.submit("SELECT 1 /* stub: pages=3 rows=3 */").unwrap();
    let first = posted.next().unwrap();
    let zero = client.get(&first).unwrap().next().unwrap();
    let one = client.get(&zero).unwrap().next().unwrap();
    let page = client.get(&one).unwrap();
    let wrong = format!("y{}", "0".repeat(40));
    for (path, expected) in [
        (one.clone(), 200),
        (zero.clone(), 410),
        (forged(&one, None, Some(0)), 404),
        (forged(&one, None, Some(9)), 404),
        (forged(&one, Some(&wrong), None), 404),
        (one.replace("executing", "queued"), 404),
        ("/v1/statement/executing/nonsense/y/1".to_owned(), 404),
    ] {
        assert_eq!(client.get(&path).unwrap().status, expected, "{path}");
    }
    assert_eq!(client.get(&one).unwrap().body, page.body, "the same token, the same bytes");
    let slug = |path: &str| path.split('/').nth(5).unwrap().to_owned();
    assert_ne!(slug(&zero), slug(&one), "a new slug for each token");
}

#[test]
fn rows_come_page_by_page_in_order() {
    let (_stub, client) = stub();
    let answers = client.run("SELECT /* stub: run=2s rows=10 pages=4 size=2 */ *").unwrap();
    let rows: Vec<u64> = answers
        .iter()
        .flat_map(|answer| answer.json()["data"].as_array().cloned().unwrap_or_default())
        .map(|row| row[0].as_u64().unwrap())
        .collect();
    assert_eq!(rows, (0..10).collect::<Vec<_>>());
}

#[test]
fn statements_that_probes_and_clients_send() {
    let (_stub, client) = with(StubOptions::default().with(|behaviour| behaviour.workers = 7));
    let workers = "SELECT count(*) FROM system.runtime.nodes WHERE state = 'active'";
    assert_eq!(client.run(workers).unwrap()[2].json()["data"][0][0], 7);
    let told = |sql: &str, header: &str| {
        client.run(sql).unwrap().last().unwrap().header(header).map(str::to_owned)
    };
    let set = told("SET SESSION a = 'b c'", "X-Trino-Set-Session");
    assert_eq!(set.as_deref(), Some("a=b%20c"));
    let transaction = told("START TRANSACTION", "X-Trino-Started-Transaction-Id").unwrap();
    for (inside, expected) in [(transaction.as_str(), None), ("other", Some("UNKNOWN_TRANSACTION"))]
    {
        let answers =
            client.clone().with("X-Trino-Transaction-Id", inside).run("SELECT 1").unwrap();
        let last = answers.last().unwrap().json();
        assert_eq!(last["error"]["errorName"].as_str(), expected);
    }
    assert_eq!(Client::new(_stub.addr()).submit("").unwrap().status, 400);
}

#[test]
fn queries_fail_as_told() {
    let (stub, client) = stub();
    let name = |sql: &str| {
        let last = client.run(sql).unwrap().pop().unwrap();
        assert_eq!((last.status, state(&last).as_str()), (200, "FAILED"));
        last.json()["error"]["errorName"].as_str().unwrap().to_owned()
    };
    assert_eq!(name("SELECT 1 /* stub: run=3s fail=DIVISION_BY_ZERO */"), "DIVISION_BY_ZERO");
    stub.change(|behaviour| behaviour.statements_fail = Some("NO_NODES_AVAILABLE".to_owned()));
    assert_eq!(client.get("/v1/info").unwrap().json()["starting"], false);
    assert_eq!(name("SELECT 1"), "NO_NODES_AVAILABLE");
    stub.change(|behaviour| behaviour.starting = true);
    assert_eq!(client.get("/v1/info").unwrap().json()["starting"], true);
    assert_eq!(name("SELECT 1"), "SERVER_STARTING_UP");
}

#[test]
fn a_resource_group_queues_and_overflows() {
    let (stub, client) = with(StubOptions::scaled(0.001).with(|behaviour| {
        behaviour.max_running = 1;
        behaviour.max_queued = 1;
        behaviour.client_timeout_seconds = 3_600_000;
    }));
    let sql = "SELECT 1 /* stub: run=9h */";
    let start = || {
        let posted = client.submit(sql).unwrap();
        (id(&posted), client.get(&posted.next().unwrap()).unwrap())
    };
    let (running, _) = start();
    let (_, waiting) = start();
    assert!(waiting.next().unwrap().contains("/queued/"), "after a second it still waits");
    assert_eq!(stub.counts(), Counts { registered: 0, queued: 1, running: 1 });
    let (_, full) = start();
    assert_eq!(full.json()["error"]["errorName"], "QUERY_QUEUE_FULL");
    assert_eq!(client.send("DELETE", &format!("/v1/query/{running}"), "").unwrap().status, 204);
    assert_eq!(stub.counts(), Counts { registered: 0, queued: 0, running: 1 });
    assert!(client.get(&waiting.next().unwrap()).unwrap().next().unwrap().contains("/executing/"));
    let live: Vec<_> = stub.history().iter().map(|(_, counts)| counts.live()).collect();
    assert_eq!(live.iter().max(), Some(&2), "{live:?}");
}

#[test]
fn ways_to_end_a_query() {
    let (stub, client) = stub();
    let start = || {
        let posted = client.submit("SELECT 1 /* stub: run=1h */").unwrap();
        let next = client.get(&posted.next().unwrap()).unwrap().next().unwrap();
        (id(&posted), next)
    };
    let send = |method: &str, path: &str| client.send(method, path, "").unwrap().status;

    let (_, page) = start();
    assert_eq!(send("HEAD", &page), 200);
    assert_eq!(send("DELETE", &forged(&page, Some("y0"), None)), 404);
    assert_eq!(send("DELETE", &page), 204);
    assert_eq!(client.get(&page).unwrap().json()["error"]["errorName"], "USER_CANCELED");

    let (killed, page) = start();
    assert_eq!(send("PUT", &format!("/v1/query/{killed}/killed")), 200);
    assert_eq!(send("PUT", &format!("/v1/query/{killed}/killed")), 409);
    assert_eq!(client.get(&page).unwrap().json()["error"]["errorName"], "ADMINISTRATIVELY_KILLED");

    let (called, _) = start();
    client.run(&format!("CALL system.runtime.kill_query(query_id => '{called}')")).unwrap();
    assert_eq!(stub.query(&called).unwrap().error.as_deref(), Some("ADMINISTRATIVELY_KILLED"));

    let (left, _) = start();
    stub.change(|behaviour| behaviour.client_timeout_seconds = 1);
    until("abandoned", || stub.query(&left).unwrap().error.as_deref() == Some("ABANDONED_QUERY"));
    assert_eq!(stub.counts(), Counts::default());
}

#[test]
fn a_submit_that_nobody_follows_is_dropped() {
    let (stub, client) = stub();
    client.submit("SELECT 1").unwrap();
    stub.change(|behaviour| behaviour.client_timeout_seconds = 1);
    until("dropped", || stub.counters().dropped == 1);
    assert_eq!((stub.counts(), stub.counters().executed), (Counts::default(), 0));
}

#[test]
fn the_list_of_queries() {
    let (stub, client) = stub();
    let posted = client.submit("SELECT 1 /* stub: run=1h */").unwrap();
    let listed = |path: &str| client.get(path).unwrap().json().as_array().unwrap().len();
    assert_eq!(listed("/v1/query"), 0, "posted is not submitted");
    client.get(&posted.next().unwrap()).unwrap();
    for (path, expected) in [
        ("/v1/query", 1),
        ("/v1/query?state=running", 1),
        ("/v1/query?state=QUEUED", 0),
        ("/v1/query?state=FINISHED", 0),
    ] {
        assert_eq!(listed(path), expected, "{path}");
    }
    let entry = client.get("/v1/query").unwrap().json()[0].clone();
    assert_eq!(entry["queryId"], id(&posted));
    assert_eq!(
        (entry["state"].as_str(), entry["session"]["user"].as_str()),
        (Some("RUNNING"), Some("stub"))
    );
    assert_eq!(entry["self"], format!("{}/v1/query/{}", stub.url(), id(&posted)));
    let unknown = "/v1/query/20200416_160256_03078_6b4yt";
    for (method, path, expected) in [
        ("GET", unknown, 410),
        ("DELETE", unknown, 204),
        ("PUT", "/v1/query/20200416_160256_03078_6b4yt/killed", 410),
        ("GET", "/v1/query/nonsense", 404),
        ("GET", "/v1/query?state=nonsense", 500),
    ] {
        assert_eq!(client.send(method, path, "").unwrap().status, expected, "{method} {path}");
    }
    assert_eq!(stub.foreign_ids().0, 3);
}

#[test]
fn what_a_coordinator_tells_about_itself() {
    let (stub, client) = stub();
    assert_eq!(client.get("/v1/info").unwrap().json().get("coordinatorId"), None);
    stub.change(|behaviour| behaviour.tells_coordinator_id = true);
    let told = client.get("/v1/info").unwrap().json();
    assert_eq!(told["coordinatorId"], stub.coordinator_id());
    for (method, path, expected) in [
        ("HEAD", "/v1/statement", 200),
        ("GET", "/v1/info/state", 200),
        ("GET", "/v1/info/coordinator", 200),
        ("GET", "/v1/status", 200),
        ("GET", "/ui/", 200),
        ("GET", "/v1/cluster", 404),
    ] {
        assert_eq!(client.send(method, path, "").unwrap().status, expected, "{method} {path}");
    }
}

#[test]
fn uris_follow_the_proxy_as_configured() {
    let (stub, client) = stub();
    let proxied = client.with("X-Forwarded-Host", "gw:9").with("X-Forwarded-Proto", "https");
    let uri = || proxied.submit("SELECT 1").unwrap().json()["nextUri"].as_str().map(str::to_owned);
    assert!(uri().unwrap().starts_with("https://gw:9/v1/statement/queued/"));
    stub.change(|behaviour| behaviour.process_forwarded = ProcessForwarded::Ignore);
    assert!(uri().unwrap().starts_with(&stub.url()));
    stub.change(|behaviour| behaviour.process_forwarded = ProcessForwarded::Reject);
    let refused = proxied.get("/v1/info").unwrap();
    assert_eq!(refused.status, 406);
    assert!(String::from_utf8_lossy(&refused.body).contains("X-Forwarded-Host"));
}

#[test]
fn segments_are_spooled_fetched_and_acknowledged() {
    let (stub, client) = stub();
    let client = client.with("X-Trino-Query-Data-Encoding", "json");
    let answers = client.run("SELECT n /* stub: rows=5 spooled=2 */").unwrap();
    let segments = answers[2].json()["data"]["segments"].as_array().unwrap().clone();
    let path = |uri: &str| uri.strip_prefix(&stub.url()).unwrap().to_owned();
    let mut rows = 0;
    for segment in &segments {
        let fetched = client.get(&path(segment["uri"].as_str().unwrap())).unwrap();
        rows += fetched.json().as_array().unwrap().len();
        let ack = path(segment["ackUri"].as_str().unwrap());
        assert_eq!(client.get(&ack).unwrap().status, 200);
        assert_eq!(client.get(&ack).unwrap().status, 404);
    }
    assert_eq!((segments.len(), rows, stub.segments()), (2, 5, 0));
}

#[test]
fn answers_are_compressed_and_chunked_when_told() {
    let (stub, client) = stub();
    let zipped = client.clone().with("Accept-Encoding", "gzip, deflate");
    assert_eq!(zipped.get("/v1/info").unwrap().header("Content-Encoding"), Some("gzip"));
    stub.change(|behaviour| behaviour.compression = false);
    assert_eq!(zipped.get("/v1/info").unwrap().header("Content-Encoding"), None);
    stub.change(|behaviour| behaviour.chunked = true);
    let chunked = client.get("/v1/info").unwrap();
    assert_eq!(chunked.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(chunked.json()["environment"], "stub");
}

#[test]
fn each_fault_is_seen_as_such() {
    use RequestKind::Submit;
    let busy = Fault::Status { code: 503, retry_after: Some(1) };
    for (fault, status, acts) in [
        (busy, Some(503), 0),
        (Fault::Html, Some(200), 0),
        (Fault::ResetBefore, None, 0),
        (Fault::CloseBefore, None, 0),
        (Fault::ResetAfter, None, 1),
        (Fault::CloseAfter, None, 1),
        (Fault::CutBody, None, 1),
        (Fault::SlowMs(1), Some(200), 1),
        (Fault::SlowUpToMs(1), Some(200), 1),
        (Fault::Drip(100), Some(200), 1),
    ] {
        let (stub, client) = stub();
        stub.fault(FaultRule::next(1, Submit, fault.clone()));
        let answer = client.submit("SELECT 1");
        assert_eq!(answer.as_ref().ok().map(|answer| answer.status), status, "{fault:?}");
        assert_eq!(stub.counters().submitted, acts, "{fault:?}");
        assert_eq!(client.submit("SELECT 1").unwrap().status, 200, "only once: {fault:?}");
    }
}

#[test]
fn a_hanging_request_does_not_act_and_leaves_others_alone() {
    let (stub, client) = stub();
    stub.fault(FaultRule::next(1, RequestKind::Submit, Fault::Hang));
    let mut stream = TcpStream::connect(stub.addr()).unwrap();
    stream.write_all(b"POST /v1/statement HTTP/1.1\r\nContent-Length: 1\r\n\r\nx").unwrap();
    until("the request", || stub.request_count(RequestKind::Submit) == 1);
    assert_eq!(client.get("/v1/info").unwrap().status, 200);
    assert_eq!(stub.counters().submitted, 0);
}

#[test]
fn a_frozen_stub_holds_all_and_thaws() {
    let (stub, client) = stub();
    let posted = client.submit("SELECT 1").unwrap();
    stub.freeze();
    let mut old = TcpStream::connect(stub.addr()).expect("the system takes connections");
    old.write_all(b"GET /v1/info HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    old.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
    assert!(old.read(&mut [0; 1]).is_err(), "nobody answers");
    let waiting = {
        let client = client.clone();
        thread::spawn(move || client.get(&posted.next().unwrap()).unwrap())
    };
    stub.thaw();
    assert_eq!(waiting.join().unwrap().status, 200);
    let mut answer = String::new();
    old.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    old.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn a_stopped_stub_is_gone_and_a_restarted_one_is_another() {
    let (stub, client) = stub();
    let posted = client.submit("SELECT 1").unwrap();
    let mut open = TcpStream::connect(stub.addr()).unwrap();
    stub.stop();
    assert_eq!(open.read(&mut [0; 1]).unwrap_or(0), 0, "open connections end");
    assert!(client.get("/v1/info").is_err());
    stub.stop();
    let before = stub.coordinator_id();
    stub.restart();
    assert_ne!(stub.coordinator_id(), before);
    assert_eq!(client.get(&posted.next().unwrap()).unwrap().status, 404);
    assert_eq!((stub.foreign_ids().0, stub.counters().submitted), (1, 1));
    stub.restart_as("abcde");
    assert!(id(&client.submit("SELECT 1").unwrap()).ends_with("_abcde"));
}

#[test]
fn a_closed_door_refuses_and_opens_again() {
    let (stub, client) = stub();
    let mut open = TcpStream::connect(stub.addr()).unwrap();
    open.write_all(b"GET /v1/info HTTP/1.1\r\n\r\n").unwrap();
    until("it is accepted", || stub.request_count(RequestKind::Info) == 1);
    stub.refuse();
    let refused = TcpStream::connect(stub.addr()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    open.write_all(b"GET /v1/info HTTP/1.1\r\n\r\n").unwrap();
    until("an open connection lives on", || stub.request_count(RequestKind::Info) == 2);
    stub.accept();
    assert_eq!(client.get("/v1/info").unwrap().status, 200);
    stub.disconnect();
    open.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    open.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn requests_are_recorded_as_sent() {
    let (stub, client) = stub();
    let client = client.with("x-trino-SESSION", "a=1").with("X-Trino-Session", "b=2");
    client.submit("SELECT 'é'").unwrap();
    let seen = stub.requests_of(RequestKind::Submit);
    let lines: Vec<_> = seen[0].headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        lines,
        [
            "Host",
            "X-Trino-User",
            "x-trino-SESSION",
            "X-Trino-Session",
            "Connection",
            "Content-Length"
        ]
    );
    assert_eq!(seen[0].header_lines("X-Trino-Session"), ["a=1", "b=2"]);
    assert_eq!((seen[0].body_len, seen[0].body.as_slice()), (11, "SELECT 'é'".as_bytes()));
}

#[test]
fn what_is_no_request_is_refused_as_trino_does() {
    let (stub, _) = stub();
    for (sent, expected) in [
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", "HTTP/1.1 400 "),
        (
            "POST /v1/statement HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x8\r\n",
            "HTTP/1.1 204 ",
        ),
        (
            "POST /v1/statement HTTP/1.1\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 ",
        ),
    ] {
        let mut stream = TcpStream::connect(stub.addr()).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(expected), "{sent}: {answer}");
    }
}

#[test]
fn a_lean_stub_answers_the_same_bytes() {
    let (stub, client) = with(StubOptions { lean: true, ..StubOptions::default() });
    let page = "/v1/statement/executing/20260101_000000_00000_abcde/y0/1";
    assert_eq!(client.get(page).unwrap().body.len(), warren_stub::lean::PAGE_BYTES);
    let (first, second) = (client.submit("x").unwrap(), client.submit("x").unwrap());
    assert_ne!(id(&first), id(&second));
    assert!(id(&first).ends_with(&stub.coordinator_id()) && first.next().is_none());
    assert!(stub.requests().is_empty());
}

#[test]
fn what_cannot_start_says_why() {
    let (stub, _) = stub();
    let taken = StubOptions { listen: stub.addr(), ..StubOptions::default() };
    let error = Stub::try_start(taken).unwrap_err().to_string();
    assert!(error.contains(&stub.addr().to_string()), "{error}");
    let error = Stub::try_start(StubOptions::default().with_coordinator_id("lol")).unwrap_err();
    assert!(error.to_string().contains("five characters"));
}

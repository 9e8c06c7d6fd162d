//! What carries no query id and lives in one coordinator all the same: transactions, `kill_query`,
//! spooled segments, hand-shakes of OAuth2, web pages. Three clusters, so that luck shows.

use warren_stub::client::{Answer, Client};
use warren_stub::{RequestKind, Stub, StubOptions, UiLogin};

use crate::support::clients::{Load, Query, in_parallel};
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan};

fn three() -> [Stub; 3] {
    [(); 3].map(|()| Stub::start(StubOptions::default()))
}

fn plan([blue, green, red]: &[Stub; 3]) -> Plan {
    Plan::of(&[("blue", "bi", blue), ("green", "bi", green), ("red", "bi", red)])
}

/// The first header line of that name in the answers.
pub(crate) fn told(answers: &[Answer], name: &str) -> Option<String> {
    answers.iter().find_map(|answer| answer.header(name)).map(str::to_owned)
}

/// Runs a statement; its answers, none of which may carry an error.
pub(crate) fn run(client: &Client, statement: &str) -> Result<Vec<Answer>, String> {
    let answers = client.run(statement).map_err(|error| error.to_string())?;
    match answers.iter().find(|answer| answer.status != 200 || !answer.json()["error"].is_null()) {
        Some(bad) => Err(format!("{statement}: {} {}", bad.status, bad.json()["error"])),
        None => Ok(answers),
    }
}

fn transaction(client: &Client) -> Result<(), String> {
    let begun = run(&client.clone().with("X-Trino-Transaction-Id", "NONE"), "START TRANSACTION")?;
    let id = told(&begun, "x-trino-started-transaction-id").ok_or("no transaction began")?;
    let inside = client.clone().with("X-Trino-Transaction-Id", &id);
    for _ in 0..3 {
        run(&inside, "SELECT n /* stub: rows=4 pages=2 */")?;
    }
    let ended = run(&inside, "COMMIT")?;
    told(&ended, "x-trino-clear-transaction-id")
        .map(drop)
        .ok_or_else(|| "it did not end".to_owned())
}

#[test]
fn statements_of_a_transaction_reach_its_coordinator() {
    let stubs = three();
    let gateway = plan(&stubs).start_ready();
    let client = gateway.client();
    let load = Load::start(2, &client, "SELECT n /* stub: run=20ms rows=4 pages=2 */");
    let ends = in_parallel((0..100).collect(), |_| transaction(&client));
    let failed: Vec<_> = ends.iter().filter_map(|end| end.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} failed: {failed:?}", failed.len());
    load.all_good();
    let each = stubs
        .each_ref()
        .map(|stub| stub.queries().iter().filter(|query| query.sql == "COMMIT").count());
    assert!(each.iter().all(|count| *count > 5), "all of them had some: {each:?}");
    // Trino says what it says of one that it does not know.
    let strange = client.with("X-Trino-Transaction-Id", "00000000-0000-0000-0000-000000000000");
    assert!(run(&strange, "SELECT 1").is_err_and(|error| error.contains("UNKNOWN_TRANSACTION")));
}

fn want(gateway: &Gateway, name: &str, intent: &str) {
    let set = gateway.run(&["clusters", "intent", name, intent, "--reason", "test"]);
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
}

#[test]
fn a_draining_cluster_finishes_its_transactions() {
    let stubs = three();
    let gateway = plan(&stubs).start_ready();
    let client = gateway.client();
    let begun = run(&client.clone().with("X-Trino-Transaction-Id", "NONE"), "START TRANSACTION");
    let id = told(&begun.unwrap(), "x-trino-started-transaction-id").unwrap();
    for name in ["blue", "green", "red"] {
        want(&gateway, name, "draining");
    }
    run(&client.with("X-Trino-Transaction-Id", &id), "COMMIT").unwrap();
}

#[test]
fn a_query_is_killed_where_it_runs() {
    let stubs = three();
    let gateway = plan(&stubs).start_ready();
    let client = gateway.client();
    for number in 0..12 {
        let mut victim =
            Query::submit(&client, "SELECT n /* stub: run=1h rows=5 pages=5 */").unwrap();
        victim.page(&client).unwrap();
        let call = match number % 2 {
            0 => format!("CALL system.runtime.kill_query('{}')", victim.id),
            _ => format!("/* x */ call system.runtime.kill_query(query_id => '{}')", victim.id),
        };
        // The stub reads the first shape alone; where it was sent is what counts.
        let _answers = client.run(&call).unwrap();
        let owner = stubs.iter().find(|stub| stub.coordinator_id() == victim.mark()).unwrap();
        assert!(owner.queries().iter().any(|query| query.sql == call), "{call}");
        client.send("DELETE", &format!("/v1/query/{}", victim.id), "").unwrap();
    }
}

/// Path of an address.
pub(crate) fn path(address: &str) -> &str {
    &address[address.find("/v1/").unwrap()..]
}

#[test]
fn spooled_segments_are_fetched_and_acknowledged_where_they_lie() {
    let stubs = three();
    let mut gateway = plan(&stubs).start_ready();
    for encoding in ["identity", "gzip", "zstd"] {
        let plain = gateway.client();
        let spooling = plain.clone().with("X-Trino-Query-Data-Encoding", "json");
        let client = spooling.clone().with("Accept-Encoding", encoding);
        let statement = "SELECT n /* stub: rows=40 pages=4 spooled=3 */";
        let mut segments: Vec<(String, String)> = Vec::new();
        for _ in 0..6 {
            let mut next = spooling.submit(statement).unwrap().next();
            while let Some(target) = next {
                // The same page again, readable; the first one taught Warren.
                client.get(&target).unwrap();
                let page = plain.get(&target).unwrap();
                let json = page.json();
                for segment in json["data"]["segments"].as_array().into_iter().flatten() {
                    let uri = |name: &str| path(segment[name].as_str().unwrap()).to_owned();
                    segments.push((uri("uri"), uri("ackUri")));
                }
                next = page.next();
            }
        }
        assert!(segments.len() >= 6 * 4 * 3, "{} segments", segments.len());
        if encoding == "zstd" {
            // Nobody remembers what the pages listed: the clusters are asked.
            gateway.kill();
            gateway.forget();
            gateway.start();
            gateway.wait_until_ready();
        }
        let half = segments.len() / 2;
        for (place, (uri, ack)) in segments.iter().enumerate() {
            // Some clients acknowledge what they did not fetch.
            if place < half {
                assert_eq!(plain.get(uri).unwrap().status, 200, "{uri}");
            }
            assert_eq!(plain.get(ack).unwrap().status, 200, "{ack}");
        }
        assert_eq!(stubs.each_ref().map(Stub::segments), [0, 0, 0], "all were acknowledged");
    }
}

/// A hand-shake that a statement without a token began: its id, and the hash of it.
fn challenged(client: &Client) -> (String, String) {
    let answer = client.submit("SELECT 1").unwrap();
    assert_eq!(answer.status, 401);
    let lines = answer.headers.iter().filter(|(name, _)| name == "WWW-Authenticate");
    let told = lines.map(|(_, line)| line).find(|line| line.starts_with("Bearer ")).unwrap();
    let after = |part: &str| {
        let (_, rest) = told.split_once(part).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    (after("x_token_server=\"").rsplit_once('/').unwrap().1.to_owned(), after("/initiate/"))
}

/// The stubs believe every password, so any text serves.
const WITH_PASSWORD: &str = "probe = { password = { env = \"CARGO_PKG_NAME\" } }";

#[test]
fn a_handshake_stays_at_the_coordinator_that_began_it() {
    let login = "http://login.example/login";
    let options = || StubOptions::default().with(|told| told.oauth = Some(login.to_owned()));
    let stubs = [(); 3].map(|()| Stub::start(options()));
    let gateway = plan(&stubs).setting("clusters", WITH_PASSWORD).start_ready();
    let client = gateway.client();
    for number in 0..24 {
        let (id, hash) = challenged(&client);
        // The client polls by the id, and the browser, which shares nothing with it, by its hash.
        let token = format!("/oauth2/token/{id}");
        let sent = client.get(&format!("/oauth2/token/initiate/{hash}")).unwrap();
        let location = sent.header("location").unwrap().to_owned();
        assert!(sent.status == 303 && location.starts_with(login), "{location}");
        let (_, state) = location.split_once("&state=").unwrap();
        let nonce = cookie_named("__Secure-Trino-Nonce", &sent);
        let browser = client.clone().with("Cookie", &nonce);
        let path = format!("/oauth2/callback?code=c{number}&state={state}");
        assert_eq!(browser.get(&path).unwrap().status, 200, "{id}");
        let polled = client.get(&token).unwrap();
        let told = polled.json()["token"].as_str().map(str::to_owned).unwrap();
        assert_eq!((polled.status, told.as_str()), (200, &*format!("stub-token-c{number}")));
        assert_eq!(client.send("DELETE", &token, "").unwrap().status, 200);
        run(&client.clone().with("Authorization", &format!("Bearer {told}")), "SELECT 1").unwrap();
    }
    for stub in &stubs {
        let began = stub.requests_of(RequestKind::Other).into_iter();
        let began = began.filter(|request| request.target.contains("/initiate/")).count();
        assert!(began > 1, "each began some");
        assert_eq!(stub.foreign_ids(), (0, Vec::new()), "asked about a login of another");
    }
}

/// How many requests of web pages came to a stub.
fn visits(stub: &Stub, part: &str) -> usize {
    let seen = stub.requests_of(RequestKind::Ui).into_iter();
    seen.filter(|request| request.target.contains(part)).count()
}

/// A cookie that an answer sets.
fn cookie_named(name: &str, answer: &Answer) -> String {
    let lines = answer.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case("set-cookie"));
    let mut pairs = lines.filter_map(|(_, line)| line.split(';').next());
    pairs.find(|pair| pair.starts_with(name)).unwrap().to_owned()
}

fn cookie_of(answer: &Answer) -> String {
    let line = answer.header("set-cookie").unwrap();
    line.split(';').next().unwrap().to_owned()
}

#[test]
fn a_browser_stays_at_one_coordinator() {
    let stubs = three();
    stubs.iter().for_each(|stub| stub.change(|behaviour| behaviour.ui_login = UiLogin::Open));
    let mut gateway = plan(&stubs).start_ready();
    let first = gateway.client().get("/ui/").unwrap();
    let cookie = cookie_of(&first);
    let name = cookie.rsplit_once('.').unwrap().1.to_owned();
    let place = ["blue", "green", "red"].iter().position(|known| *known == name).unwrap();
    let browser = gateway.client().with("Cookie", &format!("a=1; {cookie}; b=2"));
    // New visitors go elsewhere from now on; this one stays.
    want(&gateway, &name, "draining");
    assert_ne!(cookie_of(&gateway.client().get("/ui/").unwrap()), cookie);
    for number in 0..20 {
        let answer = browser.get(&format!("/ui/api/stats?{number}")).unwrap();
        assert_eq!((answer.status, answer.header("set-cookie")), (200, None));
    }
    assert_eq!(visits(&stubs[place], "/ui/api/stats"), 20);
    let seen = stubs[place].requests_of(RequestKind::Ui);
    let seen = seen.iter().find(|request| request.target.contains("stats")).unwrap();
    assert_eq!(seen.header("cookie"), Some("a=1; b=2"), "ours is between us and the browser");
    // It is known again after a restart, and one that somebody made up is not.
    gateway.kill();
    gateway.start();
    gateway.wait_until_ready();
    assert_eq!(browser.get("/ui/api/cluster").unwrap().header("set-cookie"), None);
    let forged = cookie.replace(&name, if name == "red" { "blue" } else { "red" });
    let forger = gateway.client().with("Cookie", &forged);
    let answer = eventually("it is told another one", || {
        forger.get("/ui/").unwrap().header("set-cookie").map(str::to_owned)
    });
    assert!(!answer.starts_with(&forged), "{answer}");
}

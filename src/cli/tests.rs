//! Command lines in; answers, complaints and exit codes out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use clap::CommandFactory;
use expect_test::{Expect, expect};

use super::exit::Exit;
use super::{Arguments, Shell, run};
use crate::config::StoreUrl;
use crate::history::record::{EndCause, Ending, Event, Recorded, Request, Submission};
use crate::ids::{ClusterName, GroupName, QueryId};
use crate::{store, time};

const DOCS: &str = include_str!("../../docs/cli.md");

/// A server that gives one answer to whoever asks, and keeps what it was asked.
struct Answering {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Answering {
    /// The first line and the body, which is JSON, of the first request.
    fn first(&self) -> (String, serde_json::Value) {
        let asked = self.asked.lock().expect("not poisoned")[0].clone();
        let (head, body) = asked.split_once("\r\n\r\n").expect("a body");
        let line = head.lines().next().expect("a line").to_owned();
        (line, serde_json::from_str(body).expect("JSON"))
    }
}

/// Answers each connection with `status` and `body`, until the test process ends.
fn answering(status: &'static str, body: &'static str) -> Answering {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let notes = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let request = read_request(&stream);
            if !request.is_empty() {
                notes.lock().expect("not poisoned").push(request);
            }
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
            drop((&stream).write_all(format!("{head}{body}").as_bytes()));
        }
    });
    Answering { address, asked }
}

/// Reads head and body; empty if the peer only knocked.
fn read_request(mut stream: &TcpStream) -> String {
    let mut text = String::new();
    let mut chunk = [0; 4096];
    loop {
        let length = text
            .to_ascii_lowercase()
            .split_once("content-length: ")
            .and_then(|(_, rest)| rest.split("\r\n").next()?.parse::<usize>().ok())
            .unwrap_or_default();
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
        if body.is_some_and(|body| body >= length) {
            return text;
        }
        match stream.read(&mut chunk) {
            Ok(count) if count > 0 => text.push_str(&String::from_utf8_lossy(&chunk[..count])),
            _ => return text,
        }
    }
}

/// Runs a command line; shows its exit code and what it wrote.
fn shown(line: &[&str]) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let environment = |name: &str| (name == "WARREN_TOKEN").then(|| "canary".to_owned());
    let mut shell = Shell { out: &mut out, err: &mut err, environment: &environment };
    let words = std::iter::once("warren").chain(line.iter().copied());
    let exit = run(words.map(Into::into), &mut shell);
    let [out, err] = [out, err].map(|bytes| String::from_utf8(bytes).expect("text"));
    assert!(!format!("{out}{err}").contains("canary"), "a token is shown: {out}{err}");
    format!("exit {}\n{out}{}", exit.code(), if err.is_empty() { err } else { format!("! {err}") })
}

fn check(line: &[&str], hide: &[(&str, &str)], expected: Expect) {
    let mut text = shown(line);
    for (what, with) in hide {
        text = text.replace(what, with);
    }
    expected.assert_eq(&text);
}

fn settings(folder: &Path, clusters: &str, more: &str) -> String {
    let rules = folder.join("route.lua");
    std::fs::write(&rules, "function route(request) end").expect("written");
    let text = format!(
        "{more}\n[rules]\nfile = \"route.lua\"\ndefault_group = \"bi\"\n\
         [[groups]]\nname = \"bi\"\n{clusters}"
    );
    let file = folder.join("warren.toml");
    std::fs::write(&file, text).expect("written");
    file.display().to_string()
}

fn cluster(name: &str, address: SocketAddr) -> String {
    format!("[[clusters]]\nname = \"{name}\"\ngroup = \"bi\"\nurl = \"http://{address}\"\n")
}

const ROWS: &str = r#"[{"name":"bi-blue","group":"bi","url":"http://a:8080","intent":"active",
"health":"ready","health_reason":null,"queued":0,"running":12,"owned":11,"load":12.0,"weight":1,
"zone":"b","coordinator_id":"6b4yt","version":"476"},
{"name":"bi-green","group":"bi","url":"http://b:8080","intent":"standby","health":"unhealthy",
"health_reason":"cannot \u001b[2J connect","queued":null,"running":null,"owned":0,"load":null,
"weight":2,"zone":null,"coordinator_id":null,"version":null}]"#;

#[test]
fn clusters_are_listed() {
    let server = answering("200 OK", ROWS);
    let admin = format!("http://{}", server.address);
    check(
        &["clusters", "list", "--admin", &admin],
        &[],
        expect![[r#"
            exit 0
            NAME      GROUP  INTENT   HEALTH     QUEUED  RUNNING  OWNED  OLDEST  LOAD  WEIGHT  ZONE  COORDINATOR  VERSION  URL            REASON
            bi-blue   bi     active   ready           0       12     11       -  12.0       1  b     6b4yt            476  http://a:8080
            bi-green  bi     standby  unhealthy       -        -      0       -     -       2  -     -                  -  http://b:8080  cannot �[2J connect
        "#]],
    );
    let asked = server.asked.lock().expect("not poisoned")[0].to_ascii_lowercase();
    assert!(asked.starts_with("get /api/v1/clusters http/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nauthorization: bearer canary\r\n"), "{asked}");

    let json = shown(&["clusters", "list", "--json", "--admin", &format!("{admin}/")]);
    assert!(json.starts_with("exit 0\n[\n  {") && json.contains("\"6b4yt\""), "{json}");
}

#[test]
fn the_settings_file_tells_where_the_operators_port_is() {
    let server = answering("200 OK", "[]");
    let folder = tempfile::tempdir().expect("a folder");
    let listen = format!("[listen]\nadmin = \"0.0.0.0:{}\"", server.address.port());
    let file = settings(folder.path(), &cluster("a", server.address), &listen);
    check(
        &["clusters", "list", "--config", &file],
        &[],
        expect![[r#"
        exit 0
        no clusters
    "#]],
    );
}

#[test]
fn an_intent_is_set_with_its_reason() {
    let row = r#"{"cluster":"bi-blue","intent":"draining","actor":"api","reason":"node \"x\"",
        "at_ms":1767225600000,"version":7}"#;
    let server = answering("200 OK", row);
    let admin = format!("http://{}", server.address);
    let line =
        ["clusters", "intent", "bi-blue", "draining", "--reason", "node \"x\"", "--admin", &admin];
    check(
        &line,
        &[],
        expect![[r#"
        exit 0
        bi-blue is now draining (version 7 of the intents)
    "#]],
    );
    let asked = server.asked.lock().expect("not poisoned")[0].clone();
    assert!(asked.starts_with("PUT /api/v1/clusters/bi-blue/intent HTTP/1.1\r\n"), "{asked}");
    assert!(asked.ends_with(r#"{"intent":"draining","reason":"node \"x\""}"#), "{asked}");
}

#[test]
fn a_no_is_told() {
    let server = answering("503 Service Unavailable", r#"{"error":"the store is away"}"#);
    let admin = format!("http://{}", server.address);
    let hide = [(&*admin, "http://(admin)")];
    let line = ["clusters", "intent", "bi-blue", "active", "--reason", "x", "--admin", &admin];
    check(
        &line,
        &hide,
        expect![[r#"
        exit 4
        ! warren: failed to get this from http://(admin)/api/v1/clusters/bi-blue/intent: 503 Service Unavailable: the store is away
    "#]],
    );

    let server = answering("401 Unauthorized", "");
    let admin = format!("http://{}", server.address);
    check(
        &["clusters", "list", "--admin", &admin],
        &[(&admin, "http://(admin)")],
        expect![[r#"
        exit 4
        ! warren: failed to get this from http://(admin)/api/v1/clusters: 401 Unauthorized: give the token by --token-file or $WARREN_TOKEN
    "#]],
    );

    let server = answering("200 OK", "<html>");
    let admin = format!("http://{}", server.address);
    check(
        &["clusters", "list", "--admin", &admin],
        &[(&admin, "http://(admin)")],
        expect![[r#"
        exit 1
        ! warren: failed to understand the answer of http://(admin)/api/v1/clusters: expected value at line 1 column 1; is this the operators' port of Warren?
    "#]],
    );
}

#[test]
fn nobody_there_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let admin = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    check(
        &["clusters", "list", "--admin", &admin],
        &[(&admin, "http://(admin)")],
        expect![[r#"
        exit 1
        ! warren: failed to reach the operators' port at http://(admin)/api/v1/clusters (is `warren serve` running there?): io: Connection refused (os error 111)
    "#]],
    );
}

#[test]
fn a_route_is_explained() {
    let server = answering(
        "200 OK",
        r#"{"group":"bi","rule":"superset","reason":"X-Trino-Source is Apache Superset","cluster":
        "bi-blue","candidates":[{"name":"bi-blue","intent":"active","health":"ready","load":3.5,
        "chosen":true,"why_not":null},{"name":"bi-green","intent":"standby","health":"ready","load":
        0.0,"chosen":false,"why_not":"its intent is standby"}],"priority":50}"#,
    );
    let admin = format!("http://{}", server.address);
    let line = [
        "route",
        "-H",
        "X-Trino-Source: Apache Superset",
        "-H",
        "X-Trino-Client-Tags:",
        "--query",
        "SELECT 1",
        "--admin",
        &admin,
    ];
    check(
        &line,
        &[],
        expect![[r#"
        exit 0
        group    bi
        rule     superset
        reason   X-Trino-Source is Apache Superset
        priority 50
        cluster  bi-blue

        CANDIDATE  INTENT   HEALTH  LOAD  CHOSEN
        bi-blue    active   ready    3.5  yes
        bi-green   standby  ready    0.0  its intent is standby
    "#]],
    );
    let asked = server.asked.lock().expect("not poisoned")[0].clone();
    assert!(asked.starts_with("POST /api/v1/explain HTTP/1.1\r\n"), "{asked}");
    let body = r#"{"headers":[["X-Trino-Source","Apache Superset"],["X-Trino-Client-Tags",""]],"listener":null,"query":"SELECT 1","remote_addr":null,"user":null}"#;
    assert!(asked.ends_with(body), "{asked}");
}

#[test]
fn a_route_to_nowhere_is_a_no() {
    let server = answering(
        "200 OK",
        r#"{"group":"bi","rule":null,"reason":null,"error":"no cluster of bi is ready","cluster":
        null,"candidates":[{"name":"bi-blue","intent":"active","health":"starting","load":null,
        "chosen":false,"why_not":"it is starting"}]}"#,
    );
    let admin = format!("http://{}", server.address);
    check(
        &["route", "--admin", &admin],
        &[],
        expect![[r#"
        exit 4
        group    bi
        rule     none; the default group
        error    no cluster of bi is ready
        cluster  none can take the query now

        CANDIDATE  INTENT  HEALTH    LOAD  CHOSEN
        bi-blue    active  starting     -  it is starting
    "#]],
    );
}

const RULES: &str = r#"{"source":"version","number":8,"hash":"5f0c1a9e1234","loaded_at_ms":1767225600000,
"fallback":false,"warnings":[],"error":{"text":"route.lua:1: no","findings":["a"],"line":1,"at_ms":5},
"active":9,"before":8,"versions":[
{"number":9,"hash":"aaaaaaaaaaaa","author":"ana","comment":"more \u001b[2J","at_ms":1767225600000,"used_ms":1767225600000},
{"number":8,"hash":"5f0c1a9e1234","author":"file","comment":"","at_ms":1767225500000,"used_ms":null}],
"store_error":null}"#;

#[test]
fn versions_of_rules_are_listed() {
    let server = answering("200 OK", RULES);
    let admin = format!("http://{}", server.address);
    check(
        &["rules", "list", "--limit", "2", "--admin", &admin],
        &[],
        expect![[r#"
            exit 0
            in force  version 8 (5f0c1a9e1234)
            active    version 9
            error     route.lua:1: no

            VERSION  HASH          STATE   AUTHOR  PUT                   IN FORCE LAST         COMMENT
                  9  aaaaaaaaaaaa  active  ana     2026-01-01T00:00:00Z  2026-01-01T00:00:00Z  more �[2J
                  8  5f0c1a9e1234  before  file    2025-12-31T23:58:20Z  -
        "#]],
    );
    let asked = server.asked.lock().expect("not poisoned")[0].clone();
    assert!(asked.starts_with("GET /api/v1/rules?limit=2 HTTP/1.1\r\n"), "{asked}");
}

#[test]
fn rules_are_put_with_the_tests_beside_them() {
    let server = answering(
        "201 Created",
        r#"{"number":9,"hash":"aaaaaaaaaaaa","is_new":true,"cases":1,"warnings":["route.lua:2: hm"],
        "activated":{"active":9,"before":0,"change":1}}"#,
    );
    let admin = format!("http://{}", server.address);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("route.lua");
    std::fs::write(&file, "function route() end").expect("written");
    std::fs::create_dir(folder.path().join("tests")).expect("made");
    std::fs::write(folder.path().join("tests/a.lua"), "case").expect("written");
    let file = file.display().to_string();
    let by = ["--comment=why", "--author=ana", "--activate"];
    check(
        &["rules", "put", &file, by[0], by[1], by[2], "--admin", &admin],
        &[],
        expect![[r#"
            exit 0
            version 9 is aaaaaaaaaaaa; it holds its 1 cases of tests. It is active.
            ! warning: route.lua:2: hm
        "#]],
    );
    let (line, body) = server.first();
    assert_eq!(line, "POST /api/v1/rules HTTP/1.1");
    let test = serde_json::json!({"name": "tests/a.lua", "text": "case"});
    let expected = serde_json::json!({
        "script": "function route() end", "files": [test], "comment": "why", "author": "ana",
        "activate": true
    });
    assert_eq!(body, expected);
}

#[test]
fn active_rules_that_are_not_in_force_where_they_were_activated_are_a_problem() {
    let active =
        r#"{"active":7,"before":6,"change":3,"in_force":false,"why_not":"route.lua:1: no"}"#;
    let server = answering("200 OK", active);
    let admin = format!("http://{}", server.address);
    check(
        &["rules", "activate", "7", "--admin", &admin],
        &[],
        expect![[r#"
            exit 3
            version 7 is active; `warren rules rollback` leads to version 6
            ! warren: version 7 is active, but the Warren that was asked does not run it: route.lua:1: no
        "#]],
    );
    let json = shown(&["rules", "rollback", "--json", "--admin", &admin]);
    assert!(json.starts_with("exit 3\n{") && json.contains("\"why_not\""), "{json}");
}

#[test]
fn rules_that_are_refused_are_told_with_all_findings() {
    let server = answering(
        "422 Unprocessable Entity",
        r#"{"error":"the rules are refused: 2 of 3 cases","findings":["tests/a.lua:1: a","tests/a.lua:2: b"]}"#,
    );
    let admin = format!("http://{}", server.address);
    check(
        &["rules", "activate", "7", "--admin", &admin],
        &[],
        expect![[r#"
            exit 3
            tests/a.lua:1: a
            tests/a.lua:2: b
            ! warren: the rules are refused: 2 of 3 cases
        "#]],
    );
    let json = shown(&["rules", "rollback", "--json", "--admin", &admin]);
    assert!(json.starts_with("exit 3\n{") && json.contains("\"tests/a.lua:2: b\""), "{json}");
    let busy = answering("409 Conflict", r#"{"error":"version 8 is active and not version 7"}"#);
    let admin = format!("http://{}", busy.address);
    let line = ["rules", "activate", "--file", "--instead-of", "7", "--admin", &admin];
    check(
        &line,
        &[(&admin, "http://(admin)")],
        expect![[r#"
            exit 4
            ! warren: failed to get this from http://(admin)/api/v1/rules/file/activate: 409 Conflict: version 8 is active and not version 7
        "#]],
    );
    let expected = serde_json::json!({"comment": "", "author": null, "instead_of": 7});
    assert_eq!(busy.first().1, expected);
}

#[test]
fn versions_of_rules_are_shown() {
    let server = answering(
        "200 OK",
        r#"{"number":7,"script":"a\n\tb\u001b\n","files":[{"name":"tests/a.lua","text":"case\n"}]}"#,
    );
    let admin = format!("http://{}", server.address);
    check(&["rules", "show", "7", "--admin", &admin], &[], expect!["exit 0\na\n\tb�\n"]);
    let test = ["rules", "show", "7", "tests/a.lua", "--admin", &admin];
    check(&test, &[], expect!["exit 0\ncase\n"]);
    let none = shown(&["rules", "show", "7", "b.lua", "--admin", &admin]);
    assert!(none.starts_with("exit 2\n") && none.contains("route.lua, tests/a.lua"), "{none}");
    check(&["rules", "diff", "7", "8", "--admin", &admin], &[], expect!["exit 0\n"]);
}

const CANDIDATE: &str = r#"function route(request)
  if request.source == "dbt" and not request:header("X-Team") then
    return { group = "olap", rule = "dbt" }
  end
  if request.user == "eve" then
    return { reject = "no", rule = "eve" }
  end
  if request.user == "mallory" then
    error("oh")
  end
  return nil
end
"#;

/// A query that the rules of then sent to `bi`.
fn recorded(id: QueryId, [user, source, rule]: [&str; 3]) -> Submission {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Submission {
        query_id: id,
        held_id: None,
        cluster: ClusterName::parse("a").expect("a name"),
        group: GroupName::parse("bi").expect("a name"),
        rule: text(rule),
        user: text(user),
        source: text(source),
        tags: None,
        request: Some(Box::new(Request {
            headers: BTreeMap::from([("x-trino-source".to_owned(), vec![source.to_owned()])]),
            left_out: BTreeSet::new(),
            path: "/v1/statement".to_owned(),
            listener: "client".to_owned(),
            remote_addr: "10.0.0.9".parse().expect("an address"),
            hour: 9,
            weekday: 1,
            statement_bytes: 8,
        })),
        statement: "SELECT 1".to_owned(),
        at_ms: 5,
    }
}

fn ended(id: QueryId, cause: EndCause) -> Event {
    let cluster = ClusterName::parse("a").expect("a name");
    Event::Ended(Ending { query_id: id, cluster, cause, state: None, error: None, at_ms: 9 })
}

/// Five queries, one of them of an older Warren; one that was moved to another cluster before it began, and
/// one of which the end alone is known.
fn history(moment: &str) -> Vec<Recorded> {
    let id =
        |number: u8| QueryId::parse(&format!("{moment}_{number:05}_abcde")).expect("a query id");
    let older = Submission { request: None, ..recorded(id(2), ["ben", "dbt", "old"]) };
    let events = [
        Event::Submitted(recorded(id(1), ["ana", "dbt", "old"])),
        Event::Submitted(older),
        Event::Submitted(recorded(id(3), ["ana", "cli", ""])),
        Event::Submitted(recorded(id(4), ["eve", "cli", ""])),
        Event::Submitted(recorded(id(5), ["mallory", "cli", ""])),
        Event::Submitted(recorded(id(6), ["ana", "dbt", "old"])),
        ended(id(6), EndCause::Moved),
        ended(id(7), EndCause::LastPage),
    ];
    (1..).zip(events).map(|(sequence, event)| Recorded { sequence, event }).collect()
}

/// Settings with two groups and a store, and a rules file to try.
fn replayable(folder: &Path) -> [String; 2] {
    let address: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let clusters = format!("[[groups]]\nname = \"olap\"\n{}", cluster("a", address));
    let file = settings(folder, &clusters, "[store]\nurl = \"sqlite:warren.db\"");
    let candidate = folder.join("new.lua");
    std::fs::write(&candidate, CANDIDATE).expect("written");
    [file, candidate.display().to_string()]
}

#[test]
fn a_history_that_cannot_be_replayed_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let [file, candidate] = replayable(folder.path());
    let place = folder.path().display().to_string();
    let line = ["rules", "replay", "--config", &file, "--rules", &candidate];
    check(
        &line,
        &[(&place, "(folder)")],
        expect![[r#"
            exit 1
            ! warren: failed to use the store at sqlite:(folder)/warren.db: there is no such file; has a gateway run with these settings on this machine?
        "#]],
    );
    let url = StoreUrl::Sqlite(folder.path().join("warren.db"));
    drop(store::open(&url).expect("opened"));
    check(
        &line,
        &[(&place, "(folder)")],
        expect![[r#"
            exit 1
            ! warren: failed to find a query of the last 1day in the history of sqlite:(folder)/warren.db
        "#]],
    );
    std::fs::write(&candidate, "function route(").expect("written");
    let wrong = shown(&line);
    assert!(wrong.starts_with("exit 3\n! warren: new.lua:1"), "{wrong}");
    assert!(shown(&[&line[..], &["--limit", "0"]].concat()).starts_with("exit 2\n"));
}

#[test]
fn recorded_queries_are_replayed() {
    let folder = tempfile::tempdir().expect("a folder");
    let [file, candidate] = replayable(folder.path());
    let place = folder.path().display().to_string();
    let line = ["rules", "replay", "--config", &file, "--rules", &candidate];
    // A gateway that runs has the file open.
    let store = store::open(&StoreUrl::Sqlite(folder.path().join("warren.db"))).expect("opened");
    let moment = time::query_id_time(time::unix_ms());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(store.apply("g1", &history(&moment))).expect("written");
    let mut told = shown(&line).replace(&place, "(folder)").replace(&moment, "(moment)");
    let since = told.find("since ").expect("it says since when") + "since ".len();
    told.replace_range(since..since + "2026-01-01T00:00:00Z".len(), "(then)");
    expect![[r#"
        exit 0
        rules    (folder)/new.lua, version 4156bec4a1c1
        history  sqlite:(folder)/warren.db, since (then)

                    QUERIES      %
        unchanged         1   20.0
        moved             2   40.0
        refused           1   20.0
        rules fail        1   20.0
        all               5  100.0

        FROM  TO         RULE       QUERIES     %  USERS  MOST          SOURCES  EXAMPLE
        bi    olap       old → dbt        2  40.0      2  ana 1, ben 1  dbt 2    (moment)_00002_abcde
        bi    (refused)  - → eve          1  20.0      1  eve 1         cli 1    (moment)_00004_abcde

        LINE  FAILURE  QUERIES  EXAMPLE                      ERROR
           9  runtime        1  (moment)_00005_abcde  oh

        note: not recorded, and so absent for rules that asked for it (of so many queries): the header x-team (2)
        note: queries of an older Warren: 1; it recorded of headers the user alone, and source and client tags as its rules left them; hours and weekdays are by the time zone of this machine
        note: rows left out, since they tell of the end of a query alone: 1
    "#]]
    .assert_eq(&told);

    let json = shown(&[&line[..], &["--json", "--limit", "3"]].concat());
    let (exit, json) = json.split_once('\n').expect("two parts");
    let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let counts = ["queries", "unchanged", "moved", "refused", "failed"].map(|name| &value[name]);
    assert_eq!((exit, counts), ("exit 0", [1, 0, 0, 0, 1].map(serde_json::Value::from).each_ref()));
    assert_eq!(value["asked"]["limit"], 3);
}

#[test]
fn wrong_command_lines() {
    check(
        &["clusters", "intent", "a/b", "gone", "--reason", "x"],
        &[],
        expect![[r#"
        exit 2
        ! error: invalid value 'a/b' for '<NAME>': `a/b` is no name, expected 1 to 64 characters of a-z, A-Z, 0-9, `-`, `_`, `.`, the first a letter or digit

        For more information, try '--help'.
    "#]],
    );
    check(
        &["route", "-H", "no colon"],
        &[],
        expect![[r#"
        exit 2
        ! error: invalid value 'no colon' for '--header <NAME: VALUE>': write NAME: VALUE, as 'X-Trino-Source: dbt'

        For more information, try '--help'.
    "#]],
    );
    check(
        &["route", "--admin", "https://a"],
        &[],
        expect![[r#"
        exit 2
        ! warren: --admin "https://a": the operators' port speaks plain HTTP; forward its port to this machine
    "#]],
    );
    check(
        &["route", "--admin", "a:8081"],
        &[],
        expect![[r#"
        exit 2
        ! warren: --admin "a:8081": write it as http://127.0.0.1:8081
    "#]],
    );
    check(
        &["route", "--admin", "http://a", "--token-file", "/nowhere"],
        &[],
        expect![[r#"
        exit 2
        ! warren: cannot read --token-file /nowhere: No such file or directory (os error 2)
    "#]],
    );
}

#[test]
fn a_good_setting_is_checked() {
    let ready = answering(
        "200 OK",
        r#"{"nodeVersion":{"version":"476"},"environment":"test","coordinator":true,"starting":false,"uptime":"1m"}"#,
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = settings(folder.path(), &cluster("a", ready.address), "");
    let place = folder.path().display().to_string();
    let address = ready.address.to_string();
    let hide = [(&*place, "(folder)"), (&*address, "(address)")];
    check(
        &["check", "--config", &file, "--offline"],
        &hide,
        expect![[r#"
            exit 0
            settings: (folder)/warren.toml (named by --config)

                WHAT      WHICH                      FOUND
            ok  settings                             groups: 1, clusters: 1
            ok  rules     (folder)/route.lua  version b7a85a4bf394

            problems: 0, warnings: 0
        "#]],
    );
    let text = shown(&["check", "--config", &file]);
    assert!(text.starts_with("exit 0\n"), "{text}");
    assert!(text.contains(": Trino 476, environment test\n"), "{text}");
}

#[test]
fn clusters_are_tried() {
    let starting = answering(
        "200 OK",
        r#"{"nodeVersion":{"version":"476"},"starting":true,"coordinator":true}"#,
    );
    let worker = answering(
        "200 OK",
        r#"{"nodeVersion":{"version":"476"},"starting":false,"coordinator":false}"#,
    );
    let page = answering("200 OK", "<html>");
    let broken = answering("500 Internal Server Error", "");
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed_address = closed.local_addr().expect("bound");
    drop(closed);
    let clusters = [
        cluster("starting", starting.address),
        cluster("worker", worker.address),
        cluster("page", page.address),
        cluster("broken", broken.address),
        cluster("closed", closed_address),
    ]
    .concat();
    let folder = tempfile::tempdir().expect("a folder");
    let file = settings(folder.path(), &clusters, "");
    let text = shown(&["check", "--json", "--config", &file]);
    let (exit, json) = text.split_once('\n').expect("two parts");
    assert_eq!(exit, "exit 3");
    let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(value["ok"], false);
    let found: Vec<String> = value["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|finding| finding["area"] == "cluster")
        .map(|finding| {
            let text = finding["text"].as_str().expect("a text");
            let (_, what) = text.split_once(": ").expect("an address first");
            format!("{} {} {what}", finding["grade"], finding["subject"])
        })
        .collect();
    expect![[r#"
        "warning" "starting" Trino 476, environment unknown, still starting
        "problem" "worker" a worker, not a coordinator
        "problem" "page" /v1/info is not that of a Trino coordinator
        "problem" "broken" /v1/info answers 500 Internal Server Error
        "problem" "closed" cannot connect: Connection refused (os error 111)"#]]
    .assert_eq(&found.join("\n"));
}

#[test]
fn problems_of_settings_are_checked_and_stop_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = settings(folder.path(), "[[clusters]]\nname = \"a b\"\n", "[listne]");
    let place = folder.path().display().to_string();
    let hide = [(&*place, "(folder)")];
    check(
        &["check", "--config", &file],
        &hide,
        expect![[r#"
        exit 3
        settings: (folder)/warren.toml (named by --config)

                 WHAT      WHICH   FOUND
        PROBLEM  settings  line 1  listne: unknown setting; did you mean `listen`?
        PROBLEM  settings  line 7  clusters[0].group: missing, and it has no default; add it
        PROBLEM  settings  line 7  clusters[0].url: missing, and it has no default; add it
        PROBLEM  settings  line 8  clusters[0].name = "a b": not a name; use 1 to 64 characters of a-z, A-Z, 0-9, `-`, `_`, `.`, the first a letter or digit

        problems: 4, warnings: 0
    "#]],
    );
    check(
        &["serve", "--config", &file],
        &hide,
        expect![[r#"
        exit 3
        ! (folder)/warren.toml:1:2: listne: unknown setting; did you mean `listen`?
        (folder)/warren.toml:7:1: clusters[0].group: missing, and it has no default; add it
        (folder)/warren.toml:7:1: clusters[0].url: missing, and it has no default; add it
        (folder)/warren.toml:8:8: clusters[0].name = "a b": not a name; use 1 to 64 characters of a-z, A-Z, 0-9, `-`, `_`, `.`, the first a letter or digit
        4 problems in (folder)/warren.toml
    "#]],
    );
    check(
        &["clusters", "list", "--config", "/nowhere/warren.toml"],
        &[],
        expect![[r#"
        exit 3
        ! /nowhere/warren.toml: No such file or directory (os error 2); name another with `--config FILE`
        1 problem in /nowhere/warren.toml
    "#]],
    );
}

#[test]
fn slips_are_warned_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let address: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let standby = format!("{}initial_intent = \"standby\"\n", cluster("a", address));
    let clusters = format!("[[groups]]\nname = \"olap\"\n{standby}");
    let file = settings(folder.path(), &clusters, "[listen]\nadmin = \"0.0.0.0:8081\"");
    std::fs::remove_file(folder.path().join("route.lua")).expect("there");
    let place = folder.path().display().to_string();
    check(
        &["check", "--offline", "--config", &file],
        &[(&place, "(folder)")],
        expect![[r#"
            exit 3
            settings: (folder)/warren.toml (named by --config)

                     WHAT      WHICH                      FOUND
            ok       settings                             groups: 2, clusters: 1
            warning  group     bi                         none of its clusters is active at first; see `initial_intent`
            warning  group     olap                       no cluster serves it
            warning  settings  listen.admin               bound elsewhere than on loopback without `admin.token`: it will serve /livez, /readyz and /metrics only
            PROBLEM  rules     (folder)/route.lua  rules file `(folder)/route.lua` cannot be read: No such file or directory (os error 2)

            problems: 1, warnings: 3
        "#]],
    );
}

#[test]
fn help_teaches() {
    check(
        &["--help"],
        &[],
        expect![[r#"
            exit 0
            One address in front of many Trino clusters.

            Warren takes the queries of Trino clients, asks your Lua rules to which group of clusters each one
            goes, gives it to the least loaded cluster that is ready, and keeps it there.

            Usage: warren <COMMAND>

            Commands:
              serve      Run Warren
              supervise  Run Warren so that its own restarts and upgrades refuse nobody
              upgrade    Replace the running worker of `warren supervise` by a new one, without a refused
                         request
              check      Tell all that is wrong with settings, rules, store and clusters
              doctor     Run a query over each hop, and tell which one is wrong
              clusters   Show clusters, and say what is wanted of them
              rollout    Replace a cluster of a group by another one, without losing a query
              route      Tell to which group and cluster a query would go, and why. No query is run
              rules      Try the rules of a settings file; put and activate versions in a running Warren
              migrate    Make settings and rules of those of another gateway
              help       Print this message or the help of the given subcommand(s)

            Options:
              -h, --help
                      Print help (see a summary with '-h')

              -V, --version
                      Print version

            Examples:
              warren check --config conf/warren.toml      tell all that is wrong, change nothing
              warren doctor --config conf/warren.toml     run a query over each hop, tell which one is wrong
              warren serve --config conf/warren.toml      run
              warren supervise --config conf/warren.toml  run, and refuse nobody by restarts and upgrades
              warren clusters list                        show clusters, their health and load
              warren clusters drain bi-blue --wait        take one out, until nothing is left there
              warren rollout start bi --to bi-green --wait
              warren route -H 'X-Trino-Source: Apache Superset' --query 'SELECT 1'
              warren rules test                           run the tests of the rules
              warren migrate trino-gateway --config config.yaml --from-url http://gateway:8080

            Where settings are looked for: --config, $WARREN_CONFIG, ./conf/warren.toml, ./warren.toml,
            /etc/warren/warren.toml. The first one counts.

            Exit codes:
              0  done
              1  failed: something cannot be reached, read or started
              2  the command line is wrong, or no settings file was found
              3  problems in the settings, the rules or the clusters
              4  a running Warren answered, and said no
        "#]],
    );
    let version = shown(&["--version"]);
    assert_eq!(version, format!("exit 0\nwarren {}\n", env!("CARGO_PKG_VERSION")));
    assert!(shown(&[]).starts_with("exit 2\n"));
}

#[test]
fn the_docs_have_every_verb_flag_and_exit_code() {
    fn walk(command: &clap::Command, name: &str) {
        for argument in command.get_arguments() {
            let Some(long) = argument.get_long() else { continue };
            if !matches!(long, "help" | "version") {
                assert!(DOCS.contains(&format!("`--{long}")), "{name} --{long}");
            }
        }
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let name = format!("{name} {}", verb.get_name());
            let ends = verb.get_subcommands().next().is_none();
            assert!(!ends || DOCS.contains(&format!("## {name}\n")), "{name}");
            walk(verb, &name);
        }
    }
    let command = Arguments::command();
    command.clone().debug_assert();
    walk(&command, "warren");
    for exit in Exit::ALL {
        let row = format!("| {} | {} |", exit.code(), exit.meaning());
        assert!(DOCS.contains(&row), "{row}");
    }
}

#[test]
fn a_java_gateway_is_migrated() {
    let server = answering(
        "200 OK",
        r#"[{"name":"bi-1","proxyTo":"http://a:8080/","active":true,"routingGroup":"bi"}]"#,
    );
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().display().to_string();
    let rules = "name: a\ncondition: request.getHeader(\"X-Trino-Source\") == \"a\"\n\
                 actions:\n  - result.put(\"routingGroup\", \"bi\")\n";
    let config = "routing:\n  defaultRoutingGroup: bi\n\
                  routingRules:\n  rulesEngineEnabled: true\n  rulesConfigPath: rules.yml\n";
    std::fs::write(folder.path().join("rules.yml"), rules).expect("written");
    std::fs::write(folder.path().join("config.yaml"), config).expect("written");
    let (config, url) = (format!("{place}/config.yaml"), format!("http://{}", server.address));
    let line =
        ["migrate", "trino-gateway", "--config", &config, "--from-url", &url, "--out", &place];
    check(
        &line,
        &[(&place, "(folder)")],
        expect![[r#"
            exit 0
            written: (folder)/warren.toml, (folder)/lua/route.lua, (folder)/lua/tests/route.lua
            clusters: 1, groups: 1, rules: 1 of 1 translated, tests: 2
        "#]],
    );
    let asked = server.asked.lock().expect("not poisoned")[0].clone();
    assert!(asked.starts_with("GET /api/public/backends HTTP/1.1\r\n"), "{asked}");
    check(
        &["rules", "test", "--config", &format!("{place}/warren.toml")],
        &[],
        expect![[r#"
            exit 0
            2 of 2 cases hold, in 1 files
        "#]],
    );
    check(
        &line,
        &[(&place, "(folder)")],
        expect![[r#"
            exit 2
            ! warren: (folder)/warren.toml is there already; --force writes over it
        "#]],
    );
}

#[test]
fn what_cannot_be_migrated_is_told() {
    check(
        &["migrate", "trino-gateway", "--config", "/nowhere/config.yaml", "--out", "/nowhere"],
        &[],
        expect![[r#"
            exit 1
            ! warren: failed to read `/nowhere/config.yaml`: No such file or directory (os error 2)
        "#]],
    );
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().display().to_string();
    let config = format!("{place}/config.yaml");
    std::fs::write(&config, "colour: red\n").expect("written");
    check(
        &["migrate", "trino-gateway", "--config", &config, "--out", &place],
        &[(&place, "(folder)")],
        expect![[r#"
            exit 3
            written: (folder)/warren.toml, (folder)/lua/route.lua, (folder)/lua/tests/route.lua
            clusters: 0, groups: 1, rules: 0 of 0 translated, tests: 1

            not translated:
              (folder)/config.yaml:1: `colour` is not translated: no counterpart is known
              no backend is known, so `warren.toml` has no cluster: name the running gateway with `--from-url`, its database with `--database`, or a file with `--backends`

            to be known:
              the default group `adhoc` has no backend; name another one, or add a cluster
        "#]],
    );
    let out = format!("{place}/x");
    let line = ["migrate", "trino-gateway", "--config", &config, "--out", &out];
    let told = shown(&[&line[..], &["--from-url", "https://a"]].concat());
    assert!(told.starts_with("exit 2\n! warren: --from-url: expected http://"), "{told}");
}

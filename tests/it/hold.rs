//! Queries that are held while no cluster can take them: their clients see them QUEUED, and all end
//! well once one is back. Bounds, cancels, and clients that do not come back.

use std::time::Duration;

use serde_json::Value;
use tempfile::NamedTempFile;
use warren::time;
use warren_stub::client::{Answer, Client};
use warren_stub::{Fault, FaultRule, QueryRecord, RequestKind, Stub, StubOptions};

use crate::support::clients::Query;
use crate::support::gateway::{Gateway, Plan};
use crate::support::mariadb::Server;
use crate::support::{eventually, tell};

const LOST: &str = "held query was lost with its gateway, submit it again";

fn stub() -> Stub {
    Stub::start(StubOptions::default())
}

fn plan(stubs: &[&Stub]) -> Plan {
    let names = ["blue", "green"];
    let clusters: Vec<_> =
        stubs.iter().zip(names).map(|(stub, name)| (name, "bi", *stub)).collect();
    Plan::of(&clusters)
}

/// Clusters that are down, behind a gateway that knows it.
fn down(plan: Plan, stubs: &[&Stub]) -> Gateway {
    let gateway = plan.start_ready();
    for (stub, name) in stubs.iter().zip(["blue", "green"]) {
        stub.refuse();
        stub.disconnect();
        eventually("it is taken out", || (!gateway.is_ready(name)).then_some(()));
    }
    gateway
}

fn held(gateway: &Gateway, figure: &str) -> i64 {
    let line = format!("warren_held{{figure=\"{figure}\",group=\"bi\"}}");
    gateway.metric(&line).unwrap_or_default()
}

fn ended(gateway: &Gateway, end: &str) -> Option<i64> {
    gateway.metric(&format!("warren_held_ends_total{{end=\"{end}\",group=\"bi\"}}"))
}

/// How often a statement with this text in it began to run.
fn runs(stubs: &[&Stub], text: &str) -> usize {
    let ran = |query: &QueryRecord| query.executed && query.sql.contains(text);
    stubs.iter().flat_map(|stub| stub.queries()).filter(ran).count()
}

fn as_user(gateway: &Gateway, user: &str) -> Client {
    Client::named(gateway.address(), user)
}

fn error(answer: &Answer) -> (Value, String) {
    assert_eq!(answer.status, 200);
    let error = &answer.json()["error"];
    (error["errorName"].clone(), error["message"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn two_hundred_queries_wait_for_a_group_that_is_down_and_all_end_well() {
    let (blue, green) = (stub(), stub());
    let stubs = [&blue, &green];
    let gateway = down(plan(&stubs).setting("groups.bi", "hold = {}"), &stubs);
    let clients: Vec<Client> =
        (0..20).map(|user| as_user(&gateway, &format!("user{user}"))).collect();
    let text = |number: usize| format!("SELECT n /* stub: rows=4 pages=2 */ -- mark{number:03}");
    let ends: Vec<Result<Query, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..200)
            .map(|number| {
                let client = &clients[number % 20];
                scope.spawn(move || Query::run(client, &text(number)))
            })
            .collect();
        eventually("all are held", || (held(&gateway, "queries") == 200).then_some(()));
        assert_eq!(gateway.metric("warren_held_requests{kind=\"submit\"}").unwrap_or_default(), 0);
        green.accept();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let failed: Vec<_> = ends.iter().filter_map(|end| end.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} failed: {failed:?}", failed.len());
    for number in 0..200 {
        assert_eq!(runs(&stubs, &format!("mark{number:03}")), 1, "{number}");
    }
    assert_eq!(ended(&gateway, "handed_over"), Some(200));
    assert_eq!((held(&gateway, "queries"), held(&gateway, "bytes")), (0, 0));
    let none_held = Query::run(&clients[0], "SELECT 1").unwrap();
    assert_eq!(none_held.mark(), green.coordinator_id());
}

#[test]
fn a_held_query_is_queued_to_its_client_and_becomes_the_one_that_a_cluster_took() {
    let blue = stub();
    let gateway = down(plan(&[&blue]).setting("groups.bi", "hold = {}"), &[&blue]);
    let client = gateway.client();
    let first = client.submit("SELECT n /* stub: rows=4 pages=2 */ -- mine").unwrap();
    assert_eq!((first.status, first.header("X-Warren-Position")), (200, Some("1")));
    let json = first.json();
    assert_eq!(
        (&json["stats"]["state"], &json["stats"]["queued"]),
        (&"QUEUED".into(), &true.into())
    );
    assert!(json["error"].is_null() && json["data"].is_null());
    let id = json["id"].as_str().unwrap().to_owned();
    let second = as_user(&gateway, "other").submit("SELECT 2").unwrap();
    assert_eq!(second.header("X-Warren-Position"), Some("2"));

    let page = first.next().unwrap();
    let began = time::now();
    let [one, again] = [(); 2].map(|()| client.get(&page).unwrap().json());
    assert!(began.elapsed() >= Duration::from_secs(2), "a page waits a second for news");
    for answer in [&one, &again] {
        assert_eq!((&answer["id"], &answer["nextUri"]), (&json["id"], &one["nextUri"]));
        assert_eq!(answer["stats"]["state"], "QUEUED");
    }
    let told = client.get(&format!("/v1/query/{id}")).unwrap().json();
    assert_eq!((&told["state"], &told["held"]["position"]), (&"QUEUED".into(), &1.into()));
    let shown = client.get(&format!("/ui/query.html?{id}")).unwrap();
    assert!(String::from_utf8_lossy(&shown.body).contains("position 1 of 2"));
    let elsewhere = page.replace("/y", "/x");
    assert_eq!(client.get(&elsewhere).unwrap().status, 404, "the slug is wrong");

    blue.accept();
    let moved = eventually("a cluster takes it", || {
        let answer = client.get(&page).unwrap();
        (answer.json()["id"] != json["id"]).then_some(answer)
    });
    assert!(moved.json()["id"].as_str().unwrap().ends_with(&blue.coordinator_id()));
    assert_eq!(client.get(&page).unwrap().json(), moved.json(), "the old page is an alias");
    // Trino knows a query from its first page on.
    let mut next = client.get(&moved.next().unwrap()).unwrap().next();
    let now = client.get(&format!("/v1/query/{id}")).unwrap();
    assert_eq!((now.status, &now.json()["queryId"]), (200, &moved.json()["id"]));
    while let Some(page) = next {
        let answer = client.get(&page).unwrap();
        assert!(answer.json()["error"].is_null());
        next = answer.next();
    }
    assert_eq!(runs(&[&blue], "mine"), 1);
}

#[test]
fn each_bound_gives_its_error() {
    let blue = stub();
    let hold = "hold = { max_queries = 3, per_user = 2, max_bytes = \"64KiB\", max_wait = \"3s\" }";
    let gateway = down(plan(&[&blue]).setting("groups.bi", hold), &[&blue]);
    let [ann, bob] = ["ann", "bob"].map(|user| as_user(&gateway, user));
    let first = ann.submit("SELECT 1").unwrap();
    assert!(first.next().is_some() && ann.submit("SELECT 2").unwrap().next().is_some());
    let (name, text) = error(&ann.submit("SELECT 3").unwrap());
    assert_eq!(name, "QUERY_QUEUE_FULL");
    assert!(text.contains("of this user") && text.contains("`hold.per_user`"), "{text}");
    let long = format!("SELECT '{}'", "x".repeat(64 << 10));
    let (name, text) = error(&bob.submit(&long).unwrap());
    assert_eq!(name, "QUERY_QUEUE_FULL");
    assert!(text.contains("memory") && text.contains("`hold.max_bytes`"), "{text}");
    assert!(bob.submit("SELECT 4").unwrap().next().is_some());
    let (name, text) = error(&as_user(&gateway, "eve").submit("SELECT 5").unwrap());
    assert_eq!(name, "QUERY_QUEUE_FULL");
    assert!(text.contains("`hold.max_queries`"), "{text}");

    let mut next = first.next();
    let last = eventually("it has waited for too long", || {
        let answer = ann.get(next.as_ref()?).unwrap();
        next = answer.next();
        next.is_none().then_some(answer)
    });
    let (name, text) = error(&last);
    assert_eq!(name, "GENERIC_INSUFFICIENT_RESOURCES");
    assert!(
        text.contains("'bi'") && text.contains("within 3s") && text.contains("never ran"),
        "{text}"
    );
    assert_eq!(error(&ann.get(&first.next().unwrap()).unwrap()).1, text, "however often it asks");
    eventually("the others too", || (ended(&gateway, "waited_too_long") == Some(3)).then_some(()));
    assert_eq!((held(&gateway, "queries"), held(&gateway, "bytes")), (0, 0));
}

#[test]
fn a_cancel_works_at_any_moment() {
    let blue = stub();
    let gateway = down(plan(&[&blue]).setting("groups.bi", "hold = {}"), &[&blue]);
    let client = gateway.client();
    let submit = |text: &str| {
        let answer = client.submit(text).unwrap();
        (answer.json()["id"].as_str().unwrap().to_owned(), answer.next().unwrap())
    };
    let ((_, one), (two, _), (three, third)) = (
        submit("SELECT 1 -- gone"),
        submit("SELECT 2 -- gone"),
        submit("SELECT n /* stub: run=1h */"),
    );
    let delete = |client: &Client, path: &str| client.send("DELETE", path, "").unwrap().status;
    assert_eq!(delete(&client, &one.replace("/y", "/x")), 404, "the slug is wrong");
    assert_eq!(delete(&client, &one), 204);
    let stranger = as_user(&gateway, "stranger");
    assert_eq!(delete(&stranger, &format!("/v1/query/{two}")), 404);
    assert_eq!(held(&gateway, "queries"), 2, "a stranger cancels nothing");
    assert_eq!(delete(&client, &format!("/v1/query/{two}")), 204);
    assert_eq!(error(&client.get(&one).unwrap()).0, "USER_CANCELED");
    assert_eq!(delete(&client, &one), 204, "once more");
    assert_eq!(held(&gateway, "queries"), 1);

    blue.accept();
    let moved = eventually("a cluster takes it", || {
        let answer = client.get(&third).unwrap();
        (answer.json()["id"] != three.as_str()).then_some(answer)
    });
    client.get(&moved.next().unwrap()).unwrap();
    assert_eq!(runs(&[&blue], "run=1h"), 1);
    assert_eq!(delete(&client, &third), 204, "by the page that it had");
    eventually("it is cancelled there", || (blue.counters().cancelled == 1).then_some(()));
    assert_eq!(runs(&[&blue], "gone"), 0);
    assert!(!blue.queries().iter().any(|query| query.sql.contains("gone")));
    eventually("Warren knows", || (gateway.owned("blue") == 0).then_some(()));
}

#[test]
fn a_client_that_does_not_come_back_holds_nobody_up_and_is_dropped() {
    let blue = stub();
    let plan = plan(&[&blue]).setting("groups.bi", "hold = {}").timeout("client", "4s");
    let gateway = down(plan, &[&blue]);
    let [ann, bob] = ["ann", "bob"].map(|user| as_user(&gateway, user));
    let away = ann.submit("SELECT 1 -- away").unwrap();
    let began = time::now();
    let waits = bob.submit("SELECT 2 -- there").unwrap();
    assert_eq!(waits.header("X-Warren-Position"), Some("2"));
    blue.accept();
    let mut next = waits.next();
    while let Some(page) = next {
        next = bob.get(&page).unwrap().next();
    }
    assert_eq!(runs(&[&blue], "there"), 1);
    tell(&format!(
        "the second one ended after {:?}, with nobody to ask for the first",
        began.elapsed()
    ));
    assert_eq!(held(&gateway, "queries"), 1, "it keeps its place");
    eventually("it is dropped", || (ended(&gateway, "abandoned") == Some(1)).then_some(()));
    assert!(began.elapsed() >= Duration::from_secs(4), "too early");
    let (_, text) = error(&ann.get(&away.next().unwrap()).unwrap());
    assert!(text.contains("nobody asked for it for too long; it never ran"), "{text}");
    assert!(!blue.queries().iter().any(|query| query.sql.contains("away")));
}

#[test]
fn a_cluster_that_fails_to_take_it_is_asked_again_and_a_refusal_is_passed_on() {
    let blue = stub();
    let gateway = down(plan(&[&blue]).setting("groups.bi", "hold = {}"), &[&blue]);
    let client = gateway.client();
    // Not of the probe.
    let failing = |count, code| FaultRule {
        user: Some("stub".to_owned()),
        ..FaultRule::next(count, RequestKind::Submit, Fault::Status { code, retry_after: None })
    };
    let first = client.submit("SELECT 1 -- failed twice").unwrap();
    blue.accept();
    blue.fault(failing(2, 503));
    let mut query = Query { id: String::new(), next: first.next(), pages: 0 };
    query.finish(&client).unwrap();
    assert_eq!(runs(&[&blue], "failed twice"), 1);

    blue.refuse();
    blue.disconnect();
    let first = eventually("it is held", || {
        let answer = client.submit("SELECT 2").ok()?;
        (answer.header("X-Warren-Position").is_some()).then_some(answer)
    });
    blue.fault(failing(1, 403));
    blue.accept();
    let refused = eventually("the refusal comes", || {
        let answer = client.get(&first.next().unwrap()).unwrap();
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.status, 403);
    assert_eq!(ended(&gateway, "refused"), Some(1));
}

#[test]
fn a_query_that_was_lost_with_its_gateway_is_told_so() {
    let blue = stub();
    let mut gateway = down(plan(&[&blue]).setting("groups.bi", "hold = {}"), &[&blue]);
    let client = gateway.client();
    let first = client.submit("SELECT 1 -- lost").unwrap();
    let page = client.get(&first.next().unwrap()).unwrap();
    gateway.kill();
    gateway.start();
    blue.accept();
    gateway.wait_until_ready();
    let (name, text) = error(&client.get(&page.next().unwrap()).unwrap());
    assert_eq!(name, "REMOTE_HOST_GONE");
    assert!(text.starts_with(LOST) && text.ends_with("it never ran"), "{text}");
    assert!(!blue.queries().iter().any(|query| query.sql.contains("lost")));
}

/// A cluster that takes one query at a time.
fn narrow(blue: &Stub) -> Plan {
    plan(&[blue]).setting("groups.bi", "hold = {}").setting("clusters", "max_running = 1")
}

/// In which order queries that `came` in this one get to a narrow cluster, which is full until all are
/// held. The first three letters of a name are its user.
fn order_of(gateway: &Gateway, blue: &Stub, came: &[&str]) -> Vec<String> {
    let mut first = Query::submit(&gateway.client(), "SELECT n /* stub: run=1h */").unwrap();
    first.page(&gateway.client()).unwrap();
    let all = i64::try_from(came.len()).unwrap();
    std::thread::scope(|scope| {
        for (count, name) in (1..).zip(came) {
            let client = as_user(gateway, &name[..3]);
            let text = format!("SELECT n /* stub: run=50ms rows=4 pages=2 */ -- {name}");
            scope.spawn(move || Query::run(&client, &text).unwrap());
            eventually("it is held", || (held(gateway, "queries") == count).then_some(()));
        }
        assert!(blue.queries().iter().all(|query| !query.sql.contains(" -- ")), "it is full");
        let cancelled = gateway.client().send("DELETE", &first.next.unwrap(), "").unwrap();
        assert_eq!(cancelled.status, 204);
        eventually("all went", || (ended(gateway, "handed_over") == Some(all)).then_some(()));
        let posts = blue.requests_of(RequestKind::Submit);
        let texts = posts.iter().map(|post| String::from_utf8_lossy(&post.body).into_owned());
        let names = texts.filter_map(|text| Some(text.split_once("*/ -- ")?.1.to_owned()));
        names.collect()
    })
}

#[test]
fn a_full_cluster_takes_queries_one_by_one_in_the_order_of_the_line() {
    let blue = stub();
    let gateway = narrow(&blue).start_ready();
    // One user comes with four queries before the others come with one each.
    let came = ["ann1", "ann2", "ann3", "ann4", "bob1", "eve1", "bob2"];
    let went = order_of(&gateway, &blue, &came);
    assert_eq!(went, ["ann1", "bob1", "eve1", "ann2", "bob2", "ann3", "ann4"]);
    assert!(blue.history().iter().all(|(_, counts)| counts.live() <= 2), "the probe is one");
}

#[test]
fn a_larger_priority_goes_first() {
    let blue = stub();
    let rules = "local PRIORITIES = { eve = 50, ann = 5 }
    function route(request)
        return { priority = PRIORITIES[request.user] }
    end";
    let gateway = narrow(&blue).rules(rules).start_ready();
    for (user, priority) in [("eve", Value::from(50)), ("bob", Value::Null)] {
        let question = format!("{{\"user\": \"{user}\"}}");
        let told = gateway.operator().send("POST", "/api/v1/explain", &question).unwrap().json();
        assert_eq!(told["priority"], priority, "{user}");
    }
    let came = ["ann1", "ann2", "bob1", "bob2", "eve1", "eve2"];
    let went = order_of(&gateway, &blue, &came);
    assert_eq!(went, ["eve1", "eve2", "bob1", "bob2", "ann1", "ann2"]);
}

#[test]
fn a_query_that_may_go_to_another_group_is_held_up_by_nobody_who_may_not() {
    let (blue, green) = (stub(), stub());
    let rules = "function route(request)
        return { groups = if request.user == \"bob\" then { \"bi\", \"olap\" } else { \"bi\" } }
    end";
    let plan = Plan::of(&[("blue", "bi", &blue), ("green", "olap", &green)])
        .setting("groups.bi", "hold = { max_wait = \"2m\" }")
        .setting("clusters", "max_running = 1");
    let gateway = plan.rules(rules).start_ready();
    let [ann, bob] = ["ann", "bob"].map(|user| as_user(&gateway, user));
    let mut long = Query::submit(&gateway.client(), "SELECT n /* stub: run=1h */").unwrap();
    long.page(&gateway.client()).unwrap();
    assert_eq!(long.mark(), blue.coordinator_id());
    std::thread::scope(|scope| {
        scope.spawn(|| Query::run(&ann, "SELECT 1 -- waits").unwrap());
        eventually("it is held", || (held(&gateway, "queries") == 1).then_some(()));
        let mut first = Query::submit(&bob, "SELECT n /* stub: run=1h */ -- first").unwrap();
        assert_eq!(first.mark(), green.coordinator_id(), "a newcomer goes there at once");
        first.page(&bob).unwrap();
        let second = bob.submit("SELECT 2 -- second").unwrap();
        assert_eq!(second.header("X-Warren-Position"), Some("2"), "both are full");
        assert_eq!(bob.send("DELETE", &first.next.unwrap(), "").unwrap().status, 204);
        let mut second = Query { id: String::new(), next: second.next(), pages: 0 };
        second.finish(&bob).unwrap();
        assert_eq!((runs(&[&green], "second"), held(&gateway, "queries")), (1, 1));
        assert_eq!(gateway.client().send("DELETE", &long.next.unwrap(), "").unwrap().status, 204);
    });
    assert_eq!(runs(&[&blue], "waits"), 1);
}

#[test]
fn no_standby_stands_in_for_a_cluster_that_is_full() {
    let (blue, green) = (stub(), stub());
    let plan = plan(&[&blue, &green])
        .setting("groups.bi", "auto_failover = true")
        .setting("groups.bi", "hold = {}")
        .setting("clusters", "max_running = 1");
    let gateway = plan.start_ready();
    assert_eq!(gateway.set_intent("green", "standby"), 200);
    let client = gateway.client();
    let long = Query::submit(&client, "SELECT n /* stub: run=1h */").unwrap();
    assert_eq!(long.mark(), blue.coordinator_id());
    client.get(&long.next.unwrap()).unwrap();
    let waits = client.submit("SELECT 1 -- waits").unwrap();
    assert_eq!(waits.header("X-Warren-Position"), Some("1"));
    let page = client.get(&waits.next().unwrap()).unwrap();
    assert_eq!(page.json()["stats"]["state"], "QUEUED");
    // Once it has fallen, the standby takes what waits.
    blue.refuse();
    blue.disconnect();
    let mut query = Query { id: String::new(), next: page.next(), pages: 0 };
    query.finish(&client).unwrap();
    assert_eq!(runs(&[&green], "waits"), 1);
}

#[test]
fn without_hold_a_query_waits_for_room_up_to_its_timeout() {
    let blue = stub();
    let plan = plan(&[&blue]).setting("clusters", "max_running = 1");
    let gateway = plan.timeout("submit", "3s").timeout("answer", "1s").start_ready();
    let client = gateway.client();
    let long = Query::submit(&client, "SELECT n /* stub: run=1h */").unwrap();
    client.get(&long.next.clone().unwrap()).unwrap();
    let (name, text) = error(&client.submit("SELECT 1").unwrap());
    assert_eq!(name, "GENERIC_INSUFFICIENT_RESOURCES", "{text}");
    let why = gateway.operator().send("POST", "/api/v1/explain", "{}").unwrap().json();
    assert!(why["candidates"][0]["why_not"].as_str().unwrap().contains("`max_running`"), "{why}");
    let waits = std::thread::scope(|scope| {
        let waits = scope.spawn(|| Query::run(&client, "SELECT 2"));
        let line = "warren_held_requests{kind=\"submit\"}";
        eventually("it waits", || (gateway.metric(line) == Some(1)).then_some(()));
        assert_eq!(client.send("DELETE", &long.next.unwrap(), "").unwrap().status, 204);
        waits.join().unwrap()
    });
    assert!(waits.is_ok(), "{waits:?}");
}

/// Two gateways with one store, in front of a cluster that is down.
fn pair(server: &Server, blue: &Stub) -> (NamedTempFile, [Gateway; 2]) {
    let secret = NamedTempFile::new().unwrap();
    std::fs::write(&secret, "a secret of the gateways\n").unwrap();
    let file = secret.path().display();
    let peers = format!("[peers]\nsecret = {{ file = \"{file}\" }}\n");
    let plan = plan(&[blue])
        .setting("groups.bi", "hold = {}")
        .setting("health", "lost_after = \"5s\"")
        .store(&server.url())
        .sections(&peers);
    let gateways = [(); 2].map(|()| plan.clone().start_ready());
    blue.refuse();
    blue.disconnect();
    for gateway in &gateways {
        eventually("it is taken out", || (!gateway.is_ready("blue")).then_some(()));
    }
    (secret, gateways)
}

#[test]
fn pages_that_reach_another_gateway_are_passed_on_and_end_well() {
    let (server, blue) = (Server::start(), stub());
    let (_secret, [one, other]) = pair(&server, &blue);
    let (here, there) = (one.client(), other.client());
    let text = |number: usize| format!("SELECT n /* stub: rows=4 pages=2 */ -- mark{number:03}");
    let first: Vec<_> = (0..20).map(|number| here.submit(&text(number)).unwrap()).collect();
    let page = there.get(&first[0].next().unwrap()).unwrap();
    assert_eq!((page.status, &page.json()["id"]), (200, &first[0].json()["id"]));
    assert_eq!(page.json()["stats"]["state"], "QUEUED");
    assert_eq!(page.header("X-Warren-Position"), Some("1"));
    let uri = page.json()["nextUri"].as_str().unwrap().to_owned();
    assert!(uri.contains(&other.address().to_string()), "the client goes on where it asked: {uri}");
    let id = first[1].json()["id"].as_str().unwrap().to_owned();
    assert_eq!(there.send("DELETE", &format!("/v1/query/{id}"), "").unwrap().status, 204);
    assert_eq!(held(&one, "queries"), 19, "cancelled through the other one");
    assert_eq!(held(&other, "queries"), 0);

    blue.accept();
    std::thread::scope(|scope| {
        for (number, answer) in first.iter().enumerate().filter(|(number, _)| *number != 1) {
            let there = &there;
            scope.spawn(move || {
                let mut query = Query { id: String::new(), next: answer.next(), pages: 0 };
                query.finish(there).unwrap_or_else(|error| panic!("{number}: {error}"));
            });
        }
    });
    for number in 0..20 {
        assert_eq!(runs(&[&blue], &format!("mark{number:03}")), usize::from(number != 1));
    }
    assert_eq!(ended(&one, "handed_over"), Some(19));
    let old = first[0].json()["id"].as_str().unwrap().to_owned();
    let known = there.get(&format!("/v1/query/{old}")).unwrap();
    assert_eq!(known.status, 200, "the old id is good there too");
    let new = known.json()["queryId"].as_str().unwrap().to_owned();
    assert_ne!(old, new);
    // One row with both ids.
    let count = |what: &str| {
        server.ask("warren", &format!("SELECT COUNT(*) FROM query_routes WHERE {what}"))
    };
    let both = format!("held_id = '{old}' AND query_id = '{new}' AND end_cause = 'last_page'");
    eventually("the store has it", || (count(&both) == 1).then_some(()));
    eventually("and the others", || (count("held_id IS NOT NULL") == 19).then_some(()));
    assert_eq!(count(&format!("query_id = '{old}'")), 0);
}

#[test]
fn a_held_query_of_a_gateway_that_died_is_lost_and_one_of_a_gateway_that_is_away_is_not() {
    let (server, blue) = (Server::start(), stub());
    let (_secret, [mut one, other]) = pair(&server, &blue);
    let there = other.client();
    let first = one.client().submit("SELECT 1").unwrap();
    let next = first.next().unwrap();
    assert_eq!(there.get(&next).unwrap().json()["stats"]["state"], "QUEUED");
    one.kill();
    let away = there.get(&next).unwrap();
    assert_eq!((away.status, away.header("Retry-After")), (503, Some("1")));
    let told = eventually("it counts as lost", || {
        let answer = there.get(&next).unwrap();
        (answer.status == 200).then_some(answer)
    });
    assert!(error(&told).1.starts_with(LOST));
    one.start();
    assert!(
        error(&one.client().get(&next).unwrap()).1.starts_with(LOST),
        "told by its own gateway"
    );
}

#[test]
fn only_who_knows_the_secret_is_taken_for_a_gateway() {
    let (server, blue) = (Server::start(), stub());
    let (_secret, [one, _other]) = pair(&server, &blue);
    for token in [None, Some("Bearer wrong")] {
        let operator = match token {
            Some(token) => one.operator().with("Authorization", token),
            None => one.operator(),
        };
        assert_eq!(operator.send("POST", "/peer/v1/held", "{}").unwrap().status, 401);
    }
    let known = one.operator().with("Authorization", "Bearer a secret of the gateways");
    assert_eq!(known.send("POST", "/peer/v1/held", "{}").unwrap().status, 400);
    assert_eq!(one.client().send("POST", "/peer/v1/held", "{}").unwrap().status, 404);
}

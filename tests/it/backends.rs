//! Scripts that were written for the Java gateway (trinodb/trino-gateway) drive Warren: the same
//! paths, words and shapes.

use serde_json::{Value, json};
use warren_stub::client::{Answer, Client};
use warren_stub::{Stub, StubOptions};

use crate::support::clients::Query;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan};

/// Method, path, status, and what is answered.
type Case = (&'static str, &'static str, u16, Told);

/// An answer in the words of that gateway.
enum Told {
    Nothing,
    Text(&'static str),
    Json(Value),
}

fn check(client: &Client, (method, path, status, told): &Case) {
    let answer = client.send(method, path, "").unwrap();
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, *status, "{method} {path}: {body}");
    match told {
        Told::Nothing => assert_eq!(body, "", "{method} {path}"),
        Told::Text(text) => {
            assert_eq!(body, *text, "{method} {path}");
            let kind = answer.header("content-type").unwrap_or_default();
            assert!(kind.starts_with("text/plain"), "{method} {path}: {kind}");
        }
        Told::Json(value) => {
            assert_eq!(answer.json(), *value, "{method} {path}: {body}");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{method} {path}");
        }
    }
}

fn state(gateway: &Gateway, name: &str) -> Answer {
    gateway.operator().get(&format!("/api/public/backends/{name}/state")).unwrap()
}

fn status(gateway: &Gateway, name: &str) -> String {
    state(gateway, name).json()["trinoStatus"].as_str().unwrap().to_owned()
}

#[test]
fn paths_and_shapes_are_those_of_the_java_gateway() {
    let (blue, green) = (Stub::start(StubOptions::default()), Stub::start(StubOptions::default()));
    let gateway = Plan::of(&[("blue", "bi", &blue), ("green", "etl", &green)]).start_ready();
    let backend = |name: &str, group: &str, stub: &Stub, active: bool| {
        json!({
            "name": name, "proxyTo": stub.url(), "active": active, "routingGroup": group,
            "externalUrl": stub.url(),
        })
    };
    let blue_on = backend("blue", "bi", &blue, true);
    let blue_off = backend("blue", "bi", &blue, false);
    let green_on = backend("green", "etl", &green, true);
    let unknown = "No cluster found with name: mauve, could not (de)activate";
    let both = || Told::Json(json!([blue_on, green_on]));
    let cases: [Case; 18] = [
        ("GET", "/trino-gateway/livez", 200, Told::Text("ok")),
        ("GET", "/trino-gateway/readyz", 200, Told::Text("ok")),
        ("GET", "/gateway/backend/all", 200, both()),
        ("GET", "/gateway/backend/active", 200, both()),
        ("GET", "/api/public/backends", 200, both()),
        ("GET", "/api/public/backends/blue", 200, Told::Json(blue_on.clone())),
        ("GET", "/api/public/backends/mauve", 404, Told::Nothing),
        ("GET", "/api/public/backends/mauve/state", 404, Told::Nothing),
        ("POST", "/gateway/backend/activate/mauve", 404, Told::Text(unknown)),
        ("POST", "/gateway/backend/deactivate/mauve", 404, Told::Text(unknown)),
        ("POST", "/gateway/backend/deactivate/blue", 200, Told::Nothing),
        ("GET", "/gateway/backend/active", 200, Told::Json(json!([green_on]))),
        ("GET", "/gateway/backend/all", 200, Told::Json(json!([blue_off, green_on]))),
        ("GET", "/api/public/backends/blue", 200, Told::Json(blue_off.clone())),
        ("POST", "/gateway/backend/deactivate/blue", 200, Told::Nothing),
        ("POST", "/gateway/backend/activate/blue", 200, Told::Nothing),
        ("GET", "/gateway/backend/active", 200, both()),
        ("GET", "/api/public/backends/blue", 200, Told::Json(blue_on.clone())),
    ];
    let client = gateway.operator();
    for case in &cases {
        check(&client, case);
    }
    // The fields stand in their order, too: scripts cut them out with `sed`.
    let text = String::from_utf8(client.get("/api/public/backends/blue").unwrap().body).unwrap();
    let order = ["name", "proxyTo", "active", "routingGroup", "externalUrl"];
    let places = order.map(|name| text.find(&format!("\"{name}\":")).unwrap());
    assert!(places.is_sorted(), "{text}");
    assert!(gateway.log().contains("java-api"), "the log names who changed it");
}

#[test]
fn the_state_of_a_backend() {
    let blue = Stub::start(StubOptions::default());
    let gateway = Plan::of(&[("blue", "bi", &blue)]).start_ready();
    eventually("a list was read", || state(&gateway, "blue").json()["runningQueryCount"].as_u64());
    let expected = |status: &str| {
        json!({
            "clusterId": "blue", "runningQueryCount": 0, "queuedQueryCount": 0,
            "numWorkerNodes": null, "trinoStatus": status, "proxyTo": blue.url(),
            "externalUrl": blue.url(), "routingGroup": "bi", "userQueuedCount": null,
            "customMetrics": {},
        })
    };
    eventually("it is HEALTHY", || (status(&gateway, "blue") == "HEALTHY").then_some(()));
    assert_eq!(state(&gateway, "blue").json(), expected("HEALTHY"));

    let client = gateway.operator();
    let turn = |verb: &str| {
        let path = format!("/gateway/backend/{verb}/blue");
        assert_eq!(client.send("POST", &path, "").unwrap().status, 200);
    };
    turn("deactivate");
    assert_eq!(gateway.cluster("blue").unwrap()["intent"], "draining");
    assert_eq!(state(&gateway, "blue").json(), expected("UNKNOWN"));
    blue.change(|behaviour| behaviour.starting = true);
    gateway.wait_until("blue", "starting");
    turn("activate");
    assert_eq!(gateway.cluster("blue").unwrap()["intent"], "active");
    assert_eq!(state(&gateway, "blue").json(), expected("PENDING"));
    blue.change(|behaviour| behaviour.starting = false);
    eventually("it is HEALTHY again", || (status(&gateway, "blue") == "HEALTHY").then_some(()));
    blue.stop();
    eventually("it is UNHEALTHY", || (status(&gateway, "blue") == "UNHEALTHY").then_some(()));
}

/// The roll that its users script: activate the new one, wait until it is HEALTHY, deactivate the
/// old one, wait until it runs nothing.
#[test]
fn a_roll_in_their_words_fails_no_query() {
    let (blue, green) = (Stub::start(StubOptions::default()), Stub::start(StubOptions::default()));
    let plan = Plan::of(&[("blue", "bi", &blue), ("green", "bi", &green)]);
    let gateway = plan.start_ready();
    let client = gateway.operator();
    let turn = |verb: &str, name: &str| {
        let path = format!("/gateway/backend/{verb}/{name}");
        assert_eq!(client.send("POST", &path, "").unwrap().status, 200);
    };
    turn("deactivate", "green");
    let long = "SELECT n /* stub: run=1s rows=60 pages=20 */";
    let mut query = Query::submit(&gateway.client(), long).unwrap();
    query.pages(&gateway.client(), 2).unwrap();
    assert_eq!(query.mark(), blue.coordinator_id());
    turn("activate", "green");
    eventually("green is HEALTHY", || (status(&gateway, "green") == "HEALTHY").then_some(()));
    turn("deactivate", "blue");
    eventually("blue shows its query", || {
        (state(&gateway, "blue").json()["runningQueryCount"] == 1).then_some(())
    });
    let next = Query::run(&gateway.client(), "SELECT 2").unwrap();
    assert_eq!(next.mark(), green.coordinator_id());
    query.finish(&gateway.client()).unwrap();
    eventually("blue runs nothing", || {
        let told = state(&gateway, "blue").json();
        (told["runningQueryCount"] == 0 && told["queuedQueryCount"] == 0).then_some(())
    });
}

#[test]
fn who_may_call_them() {
    let blue = Stub::start(StubOptions::default());
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret of it\n").unwrap();
    let token = format!("[admin]\ntoken = {{ file = \"{}\" }}\n", secret.display());
    let gateway = Plan::of(&[("blue", "bi", &blue)]).sections(&token).start();
    let told =
        |client: &Client, method: &str, path: &str| client.send(method, path, "").unwrap().status;
    let (stranger, friend) =
        (gateway.operator(), gateway.operator().with("Authorization", "Bearer a secret of it"));
    assert_eq!(told(&stranger, "GET", "/trino-gateway/livez"), 200);
    assert_ne!(told(&stranger, "GET", "/trino-gateway/readyz"), 401);
    for (method, path) in [
        ("GET", "/gateway/backend/all"),
        ("GET", "/gateway/backend/active"),
        ("POST", "/gateway/backend/activate/blue"),
        ("POST", "/gateway/backend/deactivate/blue"),
        ("GET", "/api/public/backends"),
        ("GET", "/api/public/backends/blue"),
        ("GET", "/api/public/backends/blue/state"),
    ] {
        assert_eq!(told(&stranger, method, path), 401, "{method} {path}");
        assert_eq!(told(&friend, method, path), 200, "{method} {path}");
    }
    // Nothing of it is reachable where clients connect.
    for path in ["/gateway/backend/all", "/api/public/backends", "/trino-gateway/livez"] {
        assert_eq!(gateway.client().get(path).unwrap().status, 404, "{path}");
    }
}

#[test]
fn with_the_store_away_nothing_changes_and_it_says_so() {
    let blue = Stub::start(StubOptions::default());
    // Nobody listens there.
    let nobody = warren_stub::free_address();
    let plan = Plan::of(&[("blue", "bi", &blue)]).store(&format!("mysql://a:b@{nobody}/warren"));
    let gateway = plan.start();
    let answer = gateway.operator().send("POST", "/gateway/backend/deactivate/blue", "").unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    assert_eq!(answer.status, 503, "{text}");
    assert!(text.starts_with("the intent is unchanged"), "{text}");
    assert_eq!(gateway.cluster("blue").unwrap()["intent"], "active");
}

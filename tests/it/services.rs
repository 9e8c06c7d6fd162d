//! Rules that ask a service: its answer routes, a call has a deadline, and what becomes of a query whose
//! call failed is as the settings say. Nobody else waits for it.

use std::time::Duration;

use serde_json::Value;
use tempfile::NamedTempFile;
use warren::time;
use warren_stub::client::Client;
use warren_stub::{Stub, StubOptions, free_address};

use crate::support::authority::Authority;
use crate::support::clients::Query;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan};
use crate::support::service::Service;

const TO_OLAP: &str = "{\"group\": \"olap\"}";

/// Longer than any call may take here.
const LONG: Duration = Duration::from_secs(20);

/// Asks the service about requests with `X-Ask`. If it cannot, and the settings leave that to the rule, the
/// query goes to `olap` too; all others go to `bi`.
fn rules(url: &str) -> String {
    format!(
        "function route(request)
            local ask = request:header('X-Ask')
            if not ask then return 'bi' end
            local body = {{ user = request.user, tables = request.query.tables, ask = ask }}
            local answer, why = http.post('{url}', body, {{ headers = {{ ['X-Team'] = 'data' }} }})
            if not answer then return {{ group = 'olap', rule = 'away', reason = why }} end
            local group = answer.json and answer.json.group or 'bi'
            return {{ group = group, rule = 'service', reason = 'status ' .. answer.status }}
        end"
    )
}

/// Two groups of one cluster each; rules may call `url`, with these further settings of `[rules.http]`.
fn gateway(url: &str, more: &str) -> (Gateway, Stub, Stub) {
    gateway_with(&rules(url), &format!("allow = [\"{url}\"], {more}"), |plan| plan)
}

fn gateway_with(rules: &str, http: &str, more: impl FnOnce(Plan) -> Plan) -> (Gateway, Stub, Stub) {
    let (bi, olap) = (Stub::start(StubOptions::default()), Stub::start(StubOptions::default()));
    let plan = Plan::of(&[("bi-blue", "bi", &bi), ("olap-blue", "olap", &olap)]).rules(rules);
    let plan = plan.setting("rules", &format!("http = {{ {http} }}"));
    (more(plan).start_ready(), bi, olap)
}

fn asking(gateway: &Gateway) -> Client {
    gateway.client().with("X-Ask", "1")
}

fn mark(client: &Client) -> String {
    Query::run(client, "SELECT 2").unwrap().mark().to_owned()
}

fn outcome(gateway: &Gateway, outcome: &str) -> i64 {
    let line = format!("warren_rule_http_total{{outcome=\"{outcome}\"}}");
    gateway.metric(&line).unwrap_or_default()
}

/// Waits until its log says this; a thread of its own writes it.
fn logged(gateway: &Gateway, text: &str) {
    eventually(text, || gateway.log().contains(text).then_some(()));
}

/// What the rules decide just now about a request with `X-Ask`.
fn explained(gateway: &Gateway) -> Value {
    let question = "{\"headers\": [[\"X-Ask\", \"1\"]]}";
    gateway.operator().send("POST", "/api/v1/explain", question).unwrap().json()
}

#[test]
fn the_answer_of_a_service_routes() {
    let (service, key) = (Service::start(TO_OLAP), NamedTempFile::new().unwrap());
    std::fs::write(key.path(), "Bearer of-warren\n").unwrap();
    let key = format!("authorization = {{ file = \"{}\" }}", key.path().display());
    let (gateway, bi, olap) = gateway(&service.url(), &format!("timeout = \"5s\", {key}"));
    assert_eq!(service.seen(), [""; 0], "nothing is asked while rules are loaded");
    let client =
        asking(&gateway).with("Authorization", "Basic c2VjcmV0").with("Cookie", "a=secret");
    let query = Query::run(&client, "SELECT * FROM hive.web.hits").unwrap();
    assert_eq!(query.mark(), olap.coordinator_id());
    let seen = service.seen();
    let [asked] = &seen[..] else { panic!("{seen:?}") };
    let (head, body) = asked.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /route HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("\r\nx-team: data"), "{head}");
    assert!(head.to_lowercase().contains("\r\ncontent-type: application/json"), "{head}");
    assert!(head.to_lowercase().contains("\r\nauthorization: bearer of-warren"), "{head}");
    assert_eq!(body, "{\"ask\":\"1\",\"tables\":[\"hive.web.hits\"],\"user\":\"stub\"}");
    assert!(!asked.contains("secret") && !asked.contains("c2VjcmV0"), "{asked}");
    assert_eq!((outcome(&gateway, "ok"), outcome(&gateway, "failed")), (1, 0));
    // Its next answer counts for the next query.
    service.answers("200 OK", "{\"group\": \"bi\"}");
    assert_eq!(mark(&client), bi.coordinator_id());
    // Operators who ask get the answer of today.
    let told = explained(&gateway);
    assert_eq!((&told["group"], &told["rule"]), (&"bi".into(), &"service".into()), "{told}");
    assert_eq!(service.seen().len(), 3);
    // Without a running gateway nobody is asked.
    let offline = gateway.run(&["rules", "explain", "-H", "X-Ask: 1"]);
    let said = String::from_utf8_lossy(&offline.stdout).into_owned();
    assert!(said.contains("away") && said.contains("a running gateway alone"), "{said}");
    assert_eq!(service.seen().len(), 3);
}

#[test]
fn a_slow_service_costs_its_timeout_and_the_policy_counts() {
    let service = Service::start(TO_OLAP);
    service.takes(LONG);
    for policy in ["nil", "default_group", "reject"] {
        let settings = format!("timeout = \"300ms\", on_failure = \"{policy}\"");
        let (gateway, bi, olap) = gateway(&service.url(), &settings);
        let began = time::now();
        let answer = asking(&gateway).submit("SELECT 2").unwrap().json();
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(300) && took < LONG / 2, "{policy}: {took:?}");
        let mark = answer["id"].as_str().unwrap().rsplit('_').next().unwrap();
        let error = answer["error"]["message"].as_str().unwrap_or_default();
        match policy {
            "nil" => assert_eq!(mark, olap.coordinator_id(), "{answer}"),
            "default_group" => assert_eq!(mark, bi.coordinator_id(), "{answer}"),
            _ => assert!(error.contains("does not answer now"), "{answer}"),
        }
        assert_eq!(error.is_empty(), policy != "reject", "{answer}");
        assert_eq!(outcome(&gateway, "timeout"), 1, "{policy}");
        // It is a policy, not a failure of the rules.
        assert!(!gateway.log().contains("a rule failed"), "{}", gateway.log());
        let told = explained(&gateway);
        let reason = told["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("no answer within 300ms"), "{policy}: {told}");
    }
}

#[test]
fn a_service_that_fails_in_a_row_is_left_alone_for_a_while() {
    let service = Service::start(TO_OLAP);
    service.answers("503 Service Unavailable", TO_OLAP);
    let settings =
        "open_after = 2, open_for = \"3s\", timeout = \"5s\", on_failure = \"default_group\"";
    let (gateway, bi, olap) = gateway(&service.url(), settings);
    let client = asking(&gateway);
    let began = time::now();
    for _ in 0..6 {
        assert_eq!(mark(&client), bi.coordinator_id());
    }
    if began.elapsed() < Duration::from_secs(3) {
        assert_eq!(service.seen().len(), 2);
        assert_eq!((outcome(&gateway, "failed"), outcome(&gateway, "open")), (2, 4));
    }
    logged(&gateway, "is left alone");
    service.answers("200 OK", TO_OLAP);
    eventually("it is asked again", || (mark(&client) == olap.coordinator_id()).then_some(()));
    logged(&gateway, "answers again");
    assert_eq!(mark(&client), olap.coordinator_id());
}

#[test]
fn nobody_else_waits_while_one_query_does() {
    let service = Service::start(TO_OLAP);
    service.takes(LONG);
    let settings = "timeout = \"10s\", max_in_flight = 1";
    let http = format!("allow = [\"{}\"], {settings}", service.url());
    let (gateway, bi, olap) =
        gateway_with(&rules(&service.url()), &http, |plan| plan.setting("listen", "workers = 1"));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| mark(&asking(&gateway)));
        eventually("it is asked", || (service.seen().len() == 1).then_some(()));
        for _ in 0..20 {
            assert_eq!(mark(&gateway.client()), bi.coordinator_id());
        }
        // There is no room for a second one.
        assert_eq!(mark(&asking(&gateway)), olap.coordinator_id());
        assert_eq!(outcome(&gateway, "busy"), 1);
        assert!(!waits.is_finished(), "it waits for longer than all that took");
        assert_eq!(waits.join().unwrap(), olap.coordinator_id(), "its rule was told");
    });
    assert_eq!((service.seen().len(), outcome(&gateway, "timeout")), (1, 1));
}

#[test]
fn what_a_rule_is_told_of_an_answer() {
    let service = Service::start(TO_OLAP);
    let (gateway, _bi, _olap) = gateway(&service.url(), "timeout = \"5s\", open_after = 1000");
    let large = format!("\"{}\"", "x".repeat(70_000));
    let json = "\r\nContent-Type: application/json";
    for (head, body, expected) in [
        (format!("200 OK{json}"), TO_OLAP, "status 200"),
        ("204 No Content\r\nX-A: b".to_owned(), "", "status 204"),
        ("404 Not Found".to_owned(), "nobody", "status 404"),
        (format!("302 Found\r\nLocation: {}/other", service.url()), "", "status 302"),
        ("500 Oh".to_owned(), "", "it answered 500"),
        (format!("200 OK{json}"), "{\"group\": ", "it answered what should be JSON"),
        (format!("200 OK{json}"), large.as_str(), "is larger than 65536 bytes"),
    ] {
        service.answers_with(&head, body);
        let told = explained(&gateway);
        let reason = told["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(expected), "{head}: {told}");
    }
    // A redirect was not followed.
    assert!(service.seen().iter().all(|asked| asked.starts_with("POST /route ")));
}

#[test]
fn nobody_listens_there() {
    let url = format!("http://{}/route", free_address());
    let (gateway, _bi, olap) = gateway(&url, "timeout = \"5s\"");
    assert_eq!(mark(&asking(&gateway)), olap.coordinator_id());
    assert_eq!(outcome(&gateway, "failed"), 1);
    let reason = explained(&gateway)["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("connect to the service"), "{reason}");
}

#[test]
fn what_is_not_allowed_is_never_called() {
    let service = Service::start(TO_OLAP);
    let other = Service::start(TO_OLAP);
    for url in [format!("{}X", service.url()), service.url().replace("/route", "/"), other.url()] {
        let allowed = format!("allow = [\"{}\"]", service.url());
        let (gateway, bi, _olap) = gateway_with(&rules(&url), &allowed, |plan| plan);
        assert_eq!(mark(&asking(&gateway)), bi.coordinator_id(), "{url}");
        let errors = gateway.metric("warren_rule_errors_total{kind=\"runtime\"}");
        assert_eq!(errors, Some(1), "{url}");
        logged(&gateway, "rules.http.allow");
    }
    assert_eq!((service.seen(), other.seen()), (Vec::new(), Vec::new()));
}

#[test]
fn a_flood_of_questions_is_a_failure_of_the_rule() {
    let service = Service::start(TO_OLAP);
    let flood = format!(
        "function route(request)
            if not request:header('X-Ask') then return 'olap' end
            while true do pcall(http.post, '{}', request.user) end
        end",
        service.url()
    );
    let http = format!("allow = [\"{}\"], timeout = \"5s\"", service.url());
    let (gateway, bi, olap) = gateway_with(&flood, &http, |plan| plan);
    assert_eq!(mark(&asking(&gateway)), bi.coordinator_id());
    assert_eq!(service.seen().len(), 4);
    assert_eq!(gateway.metric("warren_rule_errors_total{kind=\"runtime\"}"), Some(1));
    logged(&gateway, "more than 4 questions");
    assert_eq!(mark(&gateway.client()), olap.coordinator_id());
}

/// The service is another Warren with TLS, which does not serve that path; so it is the answer of somebody
/// who was believed, and whose name was looked up.
#[test]
fn a_service_with_tls_is_believed_by_its_authority() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.sign("own", &["localhost"]);
    let (stub, address) = (Stub::start(StubOptions::default()), free_address());
    let listener = authority.listener(address, &["own"], "");
    let _far = Plan::of(&[("stub", "bi", &stub)]).sections(&listener).start_ready();
    let url = format!("https://localhost:{}/route", address.port());
    for (believed, expected) in [(&authority, "status 404"), (&other, "UnknownIssuer")] {
        let ca = believed.path("ca.pem").display().to_string();
        let settings = format!("timeout = \"5s\", open_after = 1000, ca = \"{ca}\"");
        let (gateway, _bi, _olap) = gateway(&url, &settings);
        eventually("it is asked", || {
            let told = explained(&gateway);
            told["reason"].as_str().unwrap_or_default().contains(expected).then_some(())
        });
    }
}

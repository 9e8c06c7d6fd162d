//! What rules may answer beside a group, and what they may see beside headers, over the wire.

use serde_json::Value;
use warren_stub::client::Client;
use warren_stub::{RequestKind, RequestRecord, Stub, StubOptions};

use crate::support::clients::Query;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan};

/// Two groups of one cluster each, under these rules.
fn gateway(rules: &str) -> (Gateway, Stub, Stub) {
    gateway_with(rules, |plan| plan)
}

fn gateway_with(rules: &str, more: impl FnOnce(Plan) -> Plan) -> (Gateway, Stub, Stub) {
    let (bi, olap) = (Stub::start(StubOptions::default()), Stub::start(StubOptions::default()));
    let plan = Plan::of(&[("bi-blue", "bi", &bi), ("olap-blue", "olap", &olap)]).rules(rules);
    (more(plan).start_ready(), bi, olap)
}

fn mark(client: &Client, sql: &str) -> String {
    Query::run(client, sql).unwrap().mark().to_owned()
}

/// The error of a query that was refused.
fn refusal(client: &Client, sql: &str) -> Value {
    let answer = client.submit(sql).unwrap();
    assert_eq!(answer.status, 200);
    let error = answer.json()["error"].clone();
    assert!(!error.is_null(), "{}", String::from_utf8_lossy(&answer.body));
    error
}

/// The last statement of a client, not a probe, as the coordinator saw it.
fn last_submit(stub: &Stub) -> RequestRecord {
    let mut submits = stub.requests().into_iter().filter(|it| it.kind == RequestKind::Submit);
    let own = |it: &RequestRecord| it.header("x-trino-user") == Some("warren");
    submits.rfind(|it| !own(it)).unwrap()
}

#[test]
fn the_first_group_that_can_takes_the_query() {
    let (gateway, bi, olap) =
        gateway("function route() return { groups = { 'olap', 'bi' }, rule = 'spill' } end");
    let client = gateway.client();
    assert_eq!(mark(&client, "SELECT 2"), olap.coordinator_id());
    assert_eq!(gateway.set_intent("olap-blue", "draining"), 200);
    assert_eq!(mark(&client, "SELECT 2"), bi.coordinator_id());
    let told = gateway.operator().send("POST", "/api/v1/explain", "{}").unwrap().json();
    assert_eq!((&told["group"], &told["rule"]), (&"bi".into(), &"spill".into()));
    assert_eq!(told["groups"], serde_json::json!(["olap", "bi"]));
    assert!(told["instead_of"].is_null(), "{told}");
}

#[test]
fn one_cluster_is_the_only_one() {
    let rules = "function route(request)
        local name = request.source == 'red' and 'olap-red' or 'olap-blue'
        return { cluster = name, rule = 'pin' }
    end";
    let (gateway, _bi, olap) = gateway_with(rules, |plan| {
        let plan = plan.timeout("connect", "1s").timeout("answer", "1s").timeout("submit", "1s");
        plan.setting("groups.olap", "fallback = [\"bi\"]")
    });
    let client = gateway.client();
    assert_eq!(mark(&client, "SELECT 2"), olap.coordinator_id());
    assert_eq!(gateway.set_intent("olap-blue", "draining"), 200);
    let error = refusal(&client, "SELECT 2");
    assert_eq!(error["errorName"], "GENERIC_INSUFFICIENT_RESOURCES");
    let text = error["message"].as_str().unwrap();
    assert!(text.contains("'olap-blue', the only one for it"), "{text}");
    // A cluster that is not there is a failure of the rules.
    let unknown = client.with("X-Trino-Source", "red");
    mark(&unknown, "SELECT 2");
    let line = "warren_rule_errors_total{kind=\"unknown_cluster\"}";
    assert_eq!(gateway.metric(line), Some(1));
}

#[test]
fn a_refusal_is_the_error_of_a_query() {
    let (gateway, bi, _olap) = gateway(
        "function route(request)
            if request.query.kind == 'DATA_DEFINITION' then
                return { reject = 'tables are made by the admins', rule = 'ddl' }
            end
        end",
    );
    let client = gateway.client();
    assert_eq!(mark(&client, "SELECT 2"), bi.coordinator_id());
    let before = bi.counters().submitted;
    let error = refusal(&client, "DROP TABLE hive.web.hits");
    assert_eq!(error["errorName"], "PERMISSION_DENIED");
    assert_eq!(error["errorType"], "USER_ERROR");
    assert_eq!(error["message"], "tables are made by the admins");
    let sent = bi.requests().into_iter().any(|it| it.body.starts_with(b"DROP"));
    assert!(!sent, "{} statements were sent before", before);
    assert_eq!(gateway.metric("warren_own_answers_total{why=\"rejected\"}"), Some(1));
}

#[test]
fn a_coordinator_sees_what_the_rules_changed() {
    let (gateway, bi, _olap) = gateway(
        "function route()
            return {
                set_headers = { ['X-Trino-Client-Info'] = 'by rule', ['X-Team'] = 'bi' },
                remove_headers = { 'X-Trino-Trace-Token' },
                add_client_tags = { 'night', 'ü' },
                set_session = { query_max_run_time = '10m', ['hive.x'] = 'a,b' },
                set_source = 'airflow',
            }
        end",
    );
    let client = gateway
        .client()
        .with("X-Trino-Client-Tags", "etl")
        .with("X-Trino-Source", "cli")
        .with("X-Trino-Trace-Token", "t")
        .with("X-Trino-Session", "query_max_run_time=1h");
    mark(&client, "SELECT 2");
    let seen = last_submit(&bi);
    assert_eq!(seen.header_lines("x-trino-user").len(), 1);
    assert_eq!(seen.header_lines("x-trino-client-info"), ["by rule"]);
    assert_eq!(seen.header("x-team"), Some("bi"));
    assert_eq!(seen.header("x-trino-trace-token"), None);
    assert_eq!(seen.header_lines("x-trino-client-tags"), ["etl,night,ü"]);
    let session = ["query_max_run_time=1h", "hive.x=a%2Cb", "query_max_run_time=10m"];
    assert_eq!(seen.header_lines("x-trino-session"), session);
    assert_eq!(seen.header_lines("x-trino-source"), ["airflow"]);
}

#[test]
fn statements_of_any_length_are_known() {
    let (gateway, bi, olap) = gateway(
        "function route(request)
            local query = request.query
            if query.tables[1] == 'hive.web.hits' and query.is_read_only then return 'olap' end
        end",
    );
    let client = gateway.client().with("X-Trino-Catalog", "hive").with("X-Trino-Schema", "web");
    for length in [0, 20 << 10, 500 << 10] {
        let pad = "'x',".repeat(length / 4);
        let statement = format!("SELECT * FROM hits WHERE a IN ({pad}'y')");
        assert_eq!(mark(&client, &statement), olap.coordinator_id(), "{length}");
        let statement = format!("INSERT INTO hits SELECT * FROM t WHERE a IN ({pad}'y')");
        assert_eq!(mark(&client, &statement), bi.coordinator_id(), "{length}");
    }
}

#[test]
fn rules_that_fail_raise_an_alarm_until_they_work() {
    let rules = "function route(request)
        if request.source == 'bad' then error('oh') end
    end";
    let (gateway, bi, _olap) = gateway_with(rules, |plan| {
        plan.setting("rules", "alarm_after = 3").setting("rules", "on_error = \"reject\"")
    });
    let (good, bad) = (gateway.client(), gateway.client().with("X-Trino-Source", "bad"));
    for _ in 0..3 {
        assert_eq!(gateway.figure("rules_alarm"), 0);
        let error = refusal(&bad, "SELECT 2");
        let text = error["message"].as_str().unwrap();
        assert!(text.starts_with("the routing rules failed"), "{text}");
    }
    assert_eq!(gateway.figure("rules_alarm"), 1);
    let told = || gateway.log().contains("the rules failed 3 times in a row").then_some(());
    eventually("the alarm is told", told);
    assert_eq!(mark(&good, "SELECT 2"), bi.coordinator_id());
    assert_eq!(gateway.figure("rules_alarm"), 0);
}

#[test]
fn a_query_is_killed_whatever_the_rules_say() {
    let (gateway, bi, _olap) = gateway(
        "function route(request)
            if request.source == 'killer' then return { reject = 'no' } end
        end",
    );
    let client = gateway.client();
    let query = Query::submit(&client, "SELECT n /* stub: rows=3000 pages=30 size=40 */").unwrap();
    let killer = gateway.client().with("X-Trino-Source", "killer");
    assert_eq!(refusal(&killer, "SELECT 2")["message"], "no");
    let kill = format!("CALL system.runtime.kill_query('{}')", query.id);
    assert_eq!(mark(&killer, &kill), bi.coordinator_id());
    assert_eq!(bi.counters().killed, 1);
}

#[test]
fn the_command_line_tries_rules_without_a_gateway_that_runs() {
    let rules = "function route(request)
        if request.query.kind == 'DELETE' then return { reject = 'no deletes', rule = 'no-deletes' } end
        return { cluster = 'olap-blue', rule = 'pin', priority = 7 }
    end";
    let (gateway, _bi, _olap) = gateway(rules);
    let tests = gateway.rules_file().with_file_name("tests");
    std::fs::create_dir(&tests).unwrap();
    let case = "case 'a' { query = 'DELETE FROM t', expect = { reject = 'no deletes' } }\n";
    std::fs::write(tests.join("a.lua"), case).unwrap();
    let run = |verb: &[&str]| {
        let output = gateway.run(verb);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(run(&["rules", "test"]), (Some(0), "1 of 1 cases hold, in 1 files\n".to_owned()));
    std::fs::write(tests.join("b.lua"), "\ncase 'b' { expect = { cluster = 'bi-blue' } }\n")
        .unwrap();
    let (code, told) = run(&["rules", "test"]);
    assert_eq!(code, Some(3));
    assert!(told.contains("tests/b.lua:2: `b`: expected"), "{told}");
    let next = gateway.rules_file().with_file_name("next");
    std::fs::create_dir(&next).unwrap();
    std::fs::write(next.join("route.lua"), "function route() return 'olap' end").unwrap();
    let next = next.join("route.lua").display().to_string();
    assert_eq!(run(&["rules", "test", "--rules", &next]).1, "0 of 0 cases hold, in 0 files\n");
    let (code, told) = run(&["rules", "explain", "--rules", &next, "--query", "DELETE FROM t"]);
    assert_eq!(code, Some(0));
    assert!(told.contains("olap") && !told.contains("no deletes"), "{told}");
    let (code, told) = run(&["rules", "explain", "--query", "DELETE FROM hive.web.hits"]);
    assert_eq!(code, Some(0));
    for line in ["query    DELETE (Delete)", "tables   hive.web.hits", "reject   no deletes"] {
        assert!(told.contains(line), "{told}");
    }
    let (code, told) = run(&["rules", "explain"]);
    assert_eq!(code, Some(0));
    assert!(told.contains("group    olap\npinned   olap-blue\n"), "{told}");
    assert!(told.contains("rule     pin\npriority 7\n"), "{told}");
    std::fs::write(gateway.rules_file(), "function route() return {").unwrap();
    assert_eq!(run(&["rules", "test"]).0, Some(3));
}

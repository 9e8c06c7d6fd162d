//! Versions of the rules: put and activated through the operators' API, in force on every gateway of
//! a store; what stands in for rules that cannot be used.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use warren::time;
use warren_stub::client::Answer;
use warren_stub::{Stub, StubOptions};

use crate::support::clients::{Load, Query};
use crate::support::gateway::{Gateway, Plan, replace};
use crate::support::mariadb::Server;
use crate::support::{eventually, tell, within};

const SECOND: Duration = Duration::from_secs(1);

/// A rule set of one group.
fn all_to(group: &str) -> String {
    format!(
        "function route(request)\n  return {{ group = \"{group}\", rule = \"{group}\" }}\nend\n"
    )
}

/// A test that such a set holds.
fn test_of(group: &str) -> Value {
    let text = format!("case \"all\" {{ expect = {{ group = \"{group}\" }} }}\n");
    json!({ "name": "tests/a.lua", "text": text })
}

fn two_groups() -> (Stub, Stub) {
    (Stub::start(StubOptions::default()), Stub::start(StubOptions::default()))
}

fn plan(bi: &Stub, olap: &Stub) -> Plan {
    Plan::of(&[("bi-blue", "bi", bi), ("olap-blue", "olap", olap)])
}

fn post(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    gateway.operator().send("POST", path, &body.to_string()).unwrap()
}

fn put(gateway: &Gateway, script: &str, test: &Value, activate: bool) -> Answer {
    let body = json!({
        "script": script, "files": [test], "comment": "a test", "author": "ada", "activate": activate
    });
    post(gateway, "/api/v1/rules", &body)
}

fn rules(gateway: &Gateway) -> Value {
    let answer = gateway.operator().get("/api/v1/rules").unwrap();
    assert_eq!(answer.status, 200);
    answer.json()
}

/// Whether a query goes to `stub`.
fn goes_to(gateway: &Gateway, stub: &Stub) -> Option<()> {
    let query = Query::run(&gateway.client(), "SELECT 2").unwrap();
    (query.mark() == stub.coordinator_id()).then_some(())
}

fn assert_status(answer: &Answer, status: u16) {
    let body = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, status, "{body}");
}

#[test]
fn a_version_is_in_force_on_every_gateway_within_a_second() {
    let (bi, olap) = two_groups();
    let server = Server::start();
    let plan = plan(&bi, &olap).rules(&all_to("bi")).store(&server.url());
    let (one, other) = (plan.clone().start_ready(), plan.start_ready());
    let loads = [&one, &other].map(|gateway| Load::start(2, &gateway.client(), "SELECT 2"));
    loads.iter().for_each(|load| load.more(20));
    for gateway in [&one, &other] {
        eventually("the file is a version", || kept_script(gateway));
    }

    let answer = put(&one, &all_to("olap"), &test_of("olap"), true);
    let began = time::now();
    assert_status(&answer, 201);
    let version = answer.json()["number"].as_u64().unwrap();
    assert_eq!(goes_to(&one, &olap), Some(()), "in force with the answer");
    within(SECOND, "the other runs it", || goes_to(&other, &olap));
    tell(&format!("the other gateway routed by it {:?} after the answer", began.elapsed()));
    for gateway in [&one, &other] {
        let told = rules(gateway);
        assert_eq!((&told["source"], &told["number"]), (&json!("version"), &json!(version)));
        assert_eq!((&told["active"], &told["before"]), (&json!(version), &json!(0)));
        assert_eq!(told["hash"], told["versions"][0]["hash"]);
        assert_eq!(told["versions"][0]["author"], "ada");
        assert_eq!(gateway.figure("rules_number"), i64::try_from(version).unwrap());
    }

    // The file does not count now.
    replace(&one.rules_file(), "nope");
    let overtaken = json!({ "instead_of": 0 });
    let path = format!("/api/v1/rules/{version}/activate");
    assert_status(&post(&other, &path, &overtaken), 409);
    assert_status(&post(&other, "/api/v1/rules/9999/activate", &json!({})), 404);
    let refused = post(&one, "/api/v1/rules/file/activate", &json!({}));
    assert_status(&refused, 422);
    assert!(refused.json()["error"].as_str().unwrap().contains("route.lua:1"), "{refused:?}");
    replace(&one.rules_file(), &all_to("bi"));
    loads.iter().for_each(|load| load.more(20));
    assert_eq!(goes_to(&one, &olap), Some(()));

    let back = post(&other, "/api/v1/rules/rollback", &json!({ "comment": "too much" }));
    let began = time::now();
    assert_status(&back, 200);
    let expected = json!({
        "active": 0, "before": version, "change": 2, "in_force": true, "why_not": null
    });
    assert_eq!(back.json(), expected);
    assert_eq!(goes_to(&other, &bi), Some(()));
    within(SECOND, "the first one is back, too", || goes_to(&one, &bi));
    tell(&format!("the first gateway was back {:?} after the answer", began.elapsed()));
    assert_eq!(rules(&one)["source"], "file");
    let events = "SELECT COUNT(*) FROM admin_events WHERE action = 'activate_rules' AND
                  (actor = 'ada' AND subject LIKE 'version%' OR reason = 'too much')";
    assert_eq!(server.ask("warren", events), 2);
    for load in loads {
        load.all_good();
    }
}

#[test]
fn what_is_wrong_is_refused_with_all_findings_and_changes_nothing() {
    let (bi, olap) = two_groups();
    let gateway = plan(&bi, &olap).rules(&all_to("bi")).start_ready();
    eventually("the file is a version", || {
        let told = rules(&gateway);
        (told["versions"][0]["author"] == "file").then_some(())
    });
    let before = rules(&gateway);
    let tests = json!({
        "name": "tests/b.lua",
        "text": "case \"a\" { expect = { group = \"bi\" } }\ncase \"b\" { expect = { rule = \"x\" } }\n"
    });
    let answer = put(&gateway, &all_to("olap"), &tests, true);
    assert_status(&answer, 422);
    let findings = answer.json()["findings"].clone();
    let starts = |place: usize, with: &str| {
        let found = findings[place].as_str().unwrap_or_default();
        assert!(found.starts_with(with), "{findings}");
    };
    starts(0, "tests/b.lua:1: `a`: ");
    starts(1, "tests/b.lua:2: `b`: ");
    for (script, status) in [
        ("function route(request)\n  return \"bi\n", 422),
        ("function route(request) return reqest.source end", 422),
        ("function route(request) while true do end end", 422),
        ("", 422),
    ] {
        let answer = put(&gateway, script, &test_of("bi"), true);
        assert_status(&answer, status);
    }
    let huge = "-".repeat((1 << 20) + 1);
    assert_status(&put(&gateway, &huge, &test_of("bi"), true), 422);
    let odd = json!({ "script": all_to("olap"), "author": "file" });
    assert_status(&post(&gateway, "/api/v1/rules", &odd), 400);
    assert_status(&post(&gateway, "/api/v1/rules", &json!({ "scirpt": "" })), 400);
    assert_status(&post(&gateway, "/api/v1/rules/rollback", &json!({})), 409);
    assert_status(&post(&gateway, "/api/v1/rules/x/activate", &json!({})), 400);
    let no_number = "Cannot parse `x` to a `u64`";
    let no_limit = "Failed to deserialize query string: limit: invalid digit found in string";
    for (path, wrong) in [
        ("/api/v1/rules/x", no_number),
        ("/api/v1/rules?limit=x", no_limit),
        ("/api/v1/rollouts/x", no_number),
    ] {
        let answer = gateway.operator().get(path).unwrap();
        assert_status(&answer, 400);
        let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.starts_with(wrong), "{path}: {error}");
    }

    let body = json!({ "script": all_to("olap"), "files": [test_of("olap")] });
    let dry = post(&gateway, "/api/v1/rules?dry_run=true", &body);
    assert_status(&dry, 200);
    assert_eq!((&dry.json()["number"], &dry.json()["cases"]), (&Value::Null, &json!(1)));
    assert_eq!(rules(&gateway), before);
    assert_eq!(goes_to(&gateway, &bi), Some(()));

    // The same texts are the same version.
    let first = put(&gateway, &all_to("olap"), &test_of("olap"), false);
    let again = put(&gateway, &all_to("olap"), &test_of("olap"), false);
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.json()["number"], again.json()["number"]);
    assert_eq!(goes_to(&gateway, &bi), Some(()), "put is not active");
}

fn kept(gateway: &Gateway) -> PathBuf {
    gateway.settings_file().with_file_name("state").join("rules.json")
}

/// What of the rules is kept for a start without the store.
fn kept_script(gateway: &Gateway) -> Option<String> {
    let text = fs::read_to_string(kept(gateway)).ok()?;
    let kept: Value = serde_json::from_str(&text).ok()?;
    // Without a number the store does not have it yet.
    (kept["number"] != 0).then(|| kept["script"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_start_with_a_broken_file_takes_the_last_good_rules_and_says_so() {
    let (bi, olap) = two_groups();
    let mut gateway = plan(&bi, &olap).rules(&all_to("olap")).start_ready();
    let good = all_to("olap");
    eventually("the rules are kept", || (kept_script(&gateway)? == good).then_some(()));
    for by_folder in [true, false] {
        gateway.kill();
        fs::write(gateway.rules_file(), "function route(").unwrap();
        if !by_folder {
            fs::remove_file(kept(&gateway)).unwrap();
        }
        gateway.start();
        gateway.wait_until_ready();
        assert_eq!(goes_to(&gateway, &olap), Some(()), "by the folder: {by_folder}");
        let told = rules(&gateway);
        assert_eq!((&told["fallback"], &told["number"]), (&json!(true), &json!(1)), "{told}");
        assert!(told["error"]["text"].as_str().unwrap().starts_with("route.lua:1"), "{told}");
        assert_eq!((gateway.figure("rules_fallback"), gateway.figure("rules_rejected")), (1, 1));
        assert!(gateway.log().contains("others stand in"), "the log says so");
    }
    fs::remove_file(gateway.rules_file()).unwrap();
    replace(&gateway.rules_file(), &all_to("bi"));
    eventually("the file counts again", || (gateway.figure("rules_fallback") == 0).then_some(()));
    assert_eq!(goes_to(&gateway, &bi), Some(()));
    assert_eq!(rules(&gateway)["source"], "file");
}

#[test]
fn the_active_version_outlives_a_restart_without_the_store() {
    let (bi, olap) = two_groups();
    let mut server = Server::start();
    let plan = plan(&bi, &olap).rules(&all_to("bi")).store(&server.url());
    let mut gateway = plan.start_ready();
    assert_status(&put(&gateway, &all_to("olap"), &test_of("olap"), true), 201);
    let active = all_to("olap");
    eventually("the rules are kept", || (kept_script(&gateway)? == active).then_some(()));
    gateway.kill();
    server.kill();
    gateway.start();
    gateway.wait_until_ready();
    assert_eq!(goes_to(&gateway, &olap), Some(()));
    let told = rules(&gateway);
    assert!(told["active"].is_null() && told["store_error"].is_string(), "{told}");
    assert_eq!((&told["source"], &told["fallback"]), (&json!("version"), &json!(false)));
    assert_status(&post(&gateway, "/api/v1/rules/rollback", &json!({})), 503);

    server.start_again();
    eventually("a rollback is possible", || {
        let answer = post(&gateway, "/api/v1/rules/rollback", &json!({}));
        (answer.status == 200).then_some(())
    });
    assert_eq!(goes_to(&gateway, &bi), Some(()));
}

#[test]
fn operators_do_all_that_from_the_command_line() {
    let (bi, olap) = two_groups();
    let gateway = plan(&bi, &olap).rules(&all_to("bi")).start_ready();
    let run = |line: &[&str], code: i32| {
        let mut words = vec!["rules"];
        words.extend(line);
        let output = gateway.run(&words);
        let told = String::from_utf8(output.stdout).unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{line:?}: {told}{complaint}");
        told
    };
    eventually("the file is a version", || run(&["list"], 0).contains("file").then_some(()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("route.lua");
    let path = file.display().to_string();
    fs::create_dir(folder.path().join("tests")).unwrap();
    let test = "case \"all\" { expect = { group = \"olap\" } }\n";
    fs::write(folder.path().join("tests/a.lua"), test).unwrap();
    fs::write(&file, all_to("bi")).unwrap();
    run(&["put", &path, "--activate"], 3);
    let to_module = "local WHERE = require 'where'\nfunction route() return WHERE end\n";
    fs::write(&file, to_module).unwrap();
    run(&["put", &path, "--dry-run"], 3);
    fs::write(folder.path().join("where.lua"), "return 'olap'\n").unwrap();
    run(&["put", &path, "--dry-run"], 0);
    assert_eq!(goes_to(&gateway, &bi), Some(()));
    let told = run(&["put", &path, "--activate", "--comment", "all to olap", "--author", "ada"], 0);
    assert!(told.starts_with("version 2 is ") && told.ends_with("It is active.\n"), "{told}");
    assert_eq!(goes_to(&gateway, &olap), Some(()));
    let told = run(&["list"], 0);
    assert!(told.starts_with("in force  version 2 (") && told.contains("all to olap"), "{told}");
    assert_eq!(run(&["show", "2"], 0), to_module);
    assert_eq!(run(&["show", "2", "tests/a.lua"], 0), test);
    assert_eq!(run(&["show", "2", "where.lua"], 0), "return 'olap'\n");
    let told = run(&["diff", "1", "2"], 0);
    assert!(
        told.contains("-  return { group = \"bi\"")
            && told.contains("+return 'olap'")
            && told.contains("+case \"all\""),
        "{told}"
    );
    run(&["show", "3"], 4);
    run(&["rollback"], 0);
    assert_eq!(goes_to(&gateway, &bi), Some(()));
    run(&["activate", "2", "--instead-of", "1"], 4);
    run(&["activate", "2", "--instead-of", "0"], 0);
    assert_eq!(goes_to(&gateway, &olap), Some(()));
    run(&["activate", "--file"], 0);
    assert_eq!(goes_to(&gateway, &bi), Some(()));
}

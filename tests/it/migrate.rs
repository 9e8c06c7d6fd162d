//! Rules of a Java gateway, held against what that gateway decides by them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Deserialize;
use serde_json::Value;
use warren::config::{self, OnError, Rules};
use warren::ids::GroupName;
use warren::migrate::{Backend, File, Grade, Migration, Sources, migrate};
use warren::route::engine;
use warren::route::facts::{Facts, Statement};
use warren::route::rules::RuleSet;
use warren::route::suite::{self, TestFile};

const CONFIG: &str = "\
serverConfig:
  http-server.http.port: 8080
routingRules:
  rulesEngineEnabled: true
  rulesConfigPath: rules.yml
";

/// A file of rules, and what becomes of requests.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    rules: Vec<Value>,
    tests: Vec<Test>,
}

/// A request, and the group that the rules give it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    uri: Option<String>,
    method: Option<String>,
    group: Option<String>,
    /// Whether a rule fails for it.
    #[serde(default)]
    error: bool,
}

fn cases() -> Vec<Case> {
    let lines = include_str!("migrate/cases.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn migrated(config: &str, rules: Option<&str>, backends: &[Backend]) -> Migration {
    let file = |name, text| File { name, text };
    migrate(&Sources {
        config: file("config.yaml", config),
        rules: rules.map(|text| file("rules.yml", text)),
        backends,
        environment: &|_| None,
    })
    .unwrap()
}

/// The migrated rules, compiled as Warren compiles them.
fn compiled(migration: &Migration) -> Arc<RuleSet> {
    let groups: Vec<_> =
        migration.groups.iter().map(|name| GroupName::parse(name).unwrap()).collect();
    let settings = Rules {
        file: PathBuf::from("route.lua"),
        default_group: groups[0].clone(),
        routing_group_header: false,
        // A machine under test may be slow; how much time rules take is measured elsewhere.
        cpu: Duration::from_millis(200),
        memory: 32 << 20,
        on_error: OnError::DefaultGroup,
        alarm_after: 10,
        http: None,
    };
    let compiled = RuleSet::compile(migration.script.as_bytes(), &settings, &groups);
    Arc::new(compiled.unwrap_or_else(|error| panic!("{error}\n{}", migration.script)))
}

/// The tests that were written with the rules all hold.
fn own_tests_hold(migration: &Migration, rules: &RuleSet) {
    let script = migration.tests.clone().into_bytes();
    let file = TestFile { name: "tests/route.lua".to_owned(), script };
    let report = suite::run(rules, &[file]).unwrap();
    assert_eq!(report.broken, [], "{}", migration.tests);
    assert_eq!(report.cases, migration.cases);
}

impl Test {
    fn told(&self, rules: &Arc<RuleSet>) -> (Option<String>, bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::try_from(name).unwrap();
            headers.append(name, HeaderValue::try_from(value).unwrap());
        }
        let method = Method::try_from(self.method.as_deref().unwrap_or("POST")).unwrap();
        let plain = Facts::plain(&headers);
        let decision = engine::decide(
            rules,
            &Facts {
                method: &method,
                path: self.uri.as_deref().unwrap_or(plain.path),
                statement: Statement { text: self.body.clone().into(), ..Statement::default() },
                ..plain
            },
        );
        let is_default = decision.rule.is_none() && decision.group == *rules.default_group();
        ((!is_default).then(|| decision.group.to_string()), decision.error.is_some())
    }
}

#[test]
fn migrated_rules_decide_as_they_did() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in cases() {
        let documents = case.rules.iter().map(|rule| format!("---\n{rule:#}\n"));
        let yaml = documents.collect::<String>();
        let migration = migrated(CONFIG, Some(&yaml), &[]);
        assert_eq!(migration.rules, (case.rules.len(), case.rules.len()), "{}", case.id);
        let rules = compiled(&migration);
        own_tests_hold(&migration, &rules);
        for (place, test) in case.tests.iter().enumerate() {
            count += 1;
            let (expected, got) = ((test.group.clone(), test.error), test.told(&rules));
            if expected != got {
                let id = &case.id;
                wrong.push(format!("{id} {place}: expected {expected:?}, got {got:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(count, 52);
}

fn backend(name: &str, group: &str, active: bool) -> Backend {
    Backend {
        name: name.to_owned(),
        proxy_to: format!("http://{name}.example.com:8080/"),
        external_url: None,
        active,
        routing_group: Some(group.to_owned()),
    }
}

fn write(folder: &Path, migration: &Migration) -> PathBuf {
    let settings = folder.join("warren.toml");
    std::fs::create_dir_all(folder.join("lua/tests")).unwrap();
    std::fs::write(&settings, &migration.settings).unwrap();
    std::fs::write(folder.join("lua/route.lua"), &migration.script).unwrap();
    std::fs::write(folder.join("lua/tests/route.lua"), &migration.tests).unwrap();
    settings
}

#[test]
fn what_is_written_can_be_used() {
    let rules = r#"---
name: airflow
condition: request.getHeader("X-Trino-Source") == "airflow"
actions:
  - result.put("routingGroup", "etl")
---
name: nobody has this group
condition: trinoQueryProperties.tablesContains("hive.web.hits")
actions:
  - result.put("routingGroup", "web")
"#;
    let config = format!(
        "{CONFIG}routing:\n  defaultRoutingGroup: bi\nclusterStatsConfiguration:\n  monitorType: \
         JDBC\nbackendState:\n  username: ana\n  password: secret\nadditionalStatementPaths: \
         [/v2/statement/]\nextraWhitelistPaths: ['/custom/.*']\n"
    );
    let backends = [backend("bi-1", "bi", true), backend("etl-1", "etl", false)];
    let migration = migrated(&config, Some(rules), &backends);
    assert!(!migration.settings.contains("secret"), "{}", migration.settings);
    assert_eq!(migration.cases, 3, "{}", migration.tests);
    let left = migration.findings.iter().find(|finding| finding.grade == Grade::Left);
    assert_eq!(left, None);

    let folder = tempfile::tempdir().unwrap();
    let loaded = config::load(&write(folder.path(), &migration)).map_err(|it| it.to_string());
    let config = loaded.unwrap();
    assert_eq!(migration.groups, ["bi", "etl", "web"]);
    assert_eq!((config.groups.len(), config.clusters.len()), (3, 2));
    let groups: Vec<_> = config.groups.iter().map(|group| group.name.clone()).collect();
    let rules = RuleSet::load(&config.rules, &groups).unwrap();
    assert_eq!(rules.warnings(), []);
    own_tests_hold(&migration, &rules);
}

#[test]
fn a_gateway_without_rules_takes_the_group_that_clients_ask_for() {
    let migration = migrated("", None, &[backend("a", "adhoc", true)]);
    assert!(migration.settings.contains("routing_group_header = true"), "{}", migration.settings);
    own_tests_hold(&migration, &compiled(&migration));
    let folder = tempfile::tempdir().unwrap();
    let config = config::load(&write(folder.path(), &migration)).map_err(|it| it.to_string());
    assert!(config.unwrap().rules.routing_group_header);
}

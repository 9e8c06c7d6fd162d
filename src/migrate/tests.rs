//! Whole files in, whole files out.

use expect_test::expect;

use super::*;

fn migrated(config: &str, rules: &str) -> Migration {
    let backends = [
        Backend {
            name: "bi 1".to_owned(),
            proxy_to: "http://bi-1:8080/".to_owned(),
            external_url: None,
            active: true,
            routing_group: Some("bi".to_owned()),
        },
        Backend {
            name: "broken".to_owned(),
            proxy_to: "bi-2".to_owned(),
            external_url: None,
            active: true,
            routing_group: Some("bi".to_owned()),
        },
    ];
    let sources = Sources {
        config: File { name: "config.yaml", text: config },
        rules: Some(File { name: "rules.yml", text: rules }),
        backends: &backends,
        environment: &|_| None,
    };
    migrate(&sources).unwrap()
}

const CONFIG: &str = "\
routing: {defaultRoutingGroup: bi}
routingRules: {rulesEngineEnabled: true}
clusterStatsConfiguration: {monitorType: UI_API}
";

const RULES: &str = r#"---
name: airflow
description: nightly jobs
priority: 1
condition: request.getHeader("X-Trino-Source") == "airflow"
actions:
  - result.put("routingGroup", "etl")
---
name: cookies
condition: request.getCookies() != null
actions:
  - |
    result.put("routingGroup", "web")
---
name: all
condition: "true"
actions:
  - System.out.println("x")
  - log.info("x of the estate")
  - result.put("routingGroup", "bi")
"#;

#[test]
fn rules_become_lua() {
    expect![[r#"
        -- To which group a query goes: the rules of `rules.yml`, as `warren migrate` translated them.
        --
        -- As in the Java gateway all rules that match count, in the order of their priority, and the last of
        -- them decides. A method of a value that is null is an error there and here: such a query goes to the
        -- default group, and `warren_rule_errors_total` counts it.

        function route(request)
          local group, rule

          -- Rule `cookies` (rules.yml:9, priority 0)
          -- NOT TRANSLATED: `getCookies` of the request
          --   condition:
          --     request.getCookies() != null
          --   action:
          --     result.put("routingGroup", "web")

          -- Rule `all` (rules.yml:15, priority 0)
          -- LEFT OUT: log.info("x of the estate")
          group = "bi"
          rule = "all"

          -- Rule `airflow` (rules.yml:2, priority 1)
          -- nightly jobs
          if request.source == "airflow" then
            group = "etl"
            rule = "airflow"
          end

          if group == nil then
            return nil
          end
          return { group = group, rule = rule }
        end
    "#]]
    .assert_eq(&migrated(CONFIG, RULES).script);
}

#[test]
fn settings_become_toml() {
    expect![[r##"
        # What `warren migrate` made of `config.yaml`. docs/config.md tells of all settings.
        #
        #   warren check --config warren.toml --offline
        #   warren rules test --config warren.toml

        [listen]
        client = "0.0.0.0:8080"
        # The operators' port: the API of the Java gateway's backends is there too.
        admin = "127.0.0.1:8081"

        [store]
        # For several gateways: "mysql://user:password@host:3306/warren", not the Java gateway's own.
        url = "sqlite:warren.db"

        [rules]
        file = "lua/route.lua"
        default_group = "bi"

        [[groups]]
        name = "bi"

        [[groups]]
        name = "etl"
        # As in the Java gateway, while none of its own clusters can take a query.
        fallback = ["bi"]

        [[clusters]]
        name = "bi-1"
        group = "bi"
        url = "http://bi-1:8080"
        [clusters.probe]
        source = "ui"
    "##]]
    .assert_eq(&migrated(CONFIG, RULES).settings);
}

#[test]
fn what_is_not_translated_is_told() {
    let findings = migrated(CONFIG, RULES).findings;
    let told = findings.iter().map(|finding| format!("{:?} {finding}\n", finding.grade));
    expect![[r#"
        Left rules.yml:10: rule `cookies`: not translated: `getCookies` of the request
        Left rules.yml:19: rule `all`: an action is left out: the variable `log`
        Note rules.yml:15: rule `all`: prints (`println`): that is left out, rules cannot print
        Note backend `bi 1` is called `bi-1` here
        Left backend `broken` has no address: expected an origin as `http://trino:8080`
        Note the group `etl` has no backend; its queries go to `bi`, as in the Java gateway
    "#]]
    .assert_eq(&told.collect::<String>());
}

#[test]
fn cases_are_reckoned_from_the_rules() {
    let rules = r#"---
name: tags
condition: request.getHeader("X-Trino-Source") == "a" && request.getHeader("X-Trino-Client-Tags") contains "b"
actions:
  - result.put("routingGroup", "etl")
---
name: table
condition: trinoQueryProperties.tablesContains("hive.web.hits")
actions:
  - result.put("routingGroup", "web")
---
name: number
condition: request.getHeader("X-Num") > 4
actions: []
"#;
    // One rule that cannot be reckoned leaves nothing sure.
    let unsure = migrated(CONFIG, rules);
    assert_eq!(unsure.cases, 0);
    assert!(unsure.tests.ends_with("so those have no case:\n--   number\n"), "{}", unsure.tests);
    let (rules, _) = rules.split_once("---\nname: number").unwrap();
    expect![[r#"
        -- What the migrated rules must do. Run with `warren rules test`. What is expected was reckoned from
        -- the rules of the Java gateway, not from their translation.

        case "a request that says nothing of itself" {
          expect = { group = default_group },
        }

        case "rule tags fires" {
          headers = { ["x-trino-client-tags"] = "b", ["x-trino-source"] = "a" },
          expect = { group = "etl", rule = "tags" },
        }

        case "rule tags does not fire" {
          headers = { ["x-trino-source"] = "a" },
          expect = { group = default_group },
        }

        case "rule tags does not fire" {
          headers = { ["x-trino-client-tags"] = "b" },
          expect = { group = default_group },
        }

        case "rule table fires" {
          query = "SELECT * FROM hive.web.hits",
          expect = { group = "web", rule = "table" },
        }
    "#]]
    .assert_eq(&migrated(CONFIG, rules).tests);
}

#[test]
fn rules_that_do_not_count_are_told() {
    let told = |config: &str| {
        let findings = migrated(config, "").findings;
        findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(!told(CONFIG).contains("rulesEngineEnabled"));
    assert!(told("").contains("config.yaml:1: `routingRules.rulesEngineEnabled` is not true"));
    let file = File { name: "config.yaml", text: "routingRules: {rulesConfigPath: a.yml}" };
    assert_eq!(rules_path(file, &|_| None).unwrap(), None);
    let broken = rules_path(File { name: "config.yaml", text: "a: [" }, &|_| None).unwrap_err();
    assert_eq!(broken.to_string(), "read `config.yaml`");
}

#[test]
fn the_rules_file_may_be_named_by_the_environment() {
    let text = "routingRules: {rulesEngineEnabled: true, rulesConfigPath: '${ENV:DIR}/rules.yml'}";
    let environment = |name: &str| (name == "DIR").then(|| "/etc/gateway".to_owned());
    let path = rules_path(File { name: "config.yaml", text }, &environment).unwrap();
    assert_eq!(path.as_deref(), Some("/etc/gateway/rules.yml"));
}

#[test]
fn credentials_are_read_once() {
    let rule = |name: &str| {
        format!(
            "---\nname: {name}\ncondition: trinoRequestUser.userExistsAndEquals(\"{name}\")\n\
             actions: ['result.put(\"routingGroup\", \"bi\")']\n"
        )
    };
    let script = migrated(CONFIG, &(rule("ana") + &rule("bo"))).script;
    assert_eq!(script.matches("  local user = user_of(request)\n").count(), 1, "{script}");
    assert_eq!(script.matches("user_of(request)").count(), 2, "{script}");
    assert!(script.contains("  if user == \"bo\" then\n"), "{script}");
    assert!(!migrated(CONFIG, RULES).script.contains("user_of"));
}

#[test]
fn groups_that_get_one_name_are_told() {
    let told = |config: &str, groups: &[&str], rules: &str| {
        let backends = groups.iter().enumerate().map(|(place, group)| Backend {
            name: format!("c{place}"),
            proxy_to: "http://c:8080".to_owned(),
            external_url: None,
            active: true,
            routing_group: Some((*group).to_owned()),
        });
        let sources = Sources {
            config: File { name: "config.yaml", text: config },
            rules: Some(File { name: "rules.yml", text: rules }),
            backends: &backends.collect::<Vec<_>>(),
            environment: &|_| None,
        };
        let migration = migrate(&sources).unwrap();
        let named = migration.findings.iter().filter(|it| it.text.contains("called"));
        let named = named.map(|it| format!("{:?} {}\n", it.grade, it.text)).collect::<String>();
        format!("{}\n{named}", migration.groups.join(" "))
    };
    let rules =
        "---\nname: a\ncondition: 'true'\nactions: ['result.put(\"routingGroup\", \"x/y\")']\n";
    expect![[r#"
        my-default x-y
        Note the group `my default` is called `my-default` here
        Note the group `x y` is called `x-y` here
        Left the groups `x y` and `x/y` would both be called `x-y` here; rename one of them in the Java gateway, and migrate again
    "#]]
    .assert_eq(&told(
        "routing: {defaultRoutingGroup: my default}\nroutingRules: {rulesEngineEnabled: true}\n",
        &["x y", "x y"],
        rules,
    ));
    expect![[r#"
        adhoc unnamed
        Left the group `ü` is called `unnamed` here; clients that ask for it by `X-Trino-Routing-Group` must take the new name
        Left the groups `ü` and `é` would both be called `unnamed` here; rename one of them in the Java gateway, and migrate again
    "#]]
    .assert_eq(&told("", &["ü", "é"], ""));
}

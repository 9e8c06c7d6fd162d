//! Files in, problems out. What a file becomes is told by differences from the smallest one.

use std::path::Path;
use std::time::Duration;

use expect_test::{Expect, expect};

use super::problem::Problems;
use super::settings::{Change, Fallback, SETTINGS, markdown};
use super::{Config, StoreUrl, needs_restart, resolve};

const FILE: &str = "/etc/warren/warren.toml";
const COMPLETE: &str = include_str!("../../conf/warren.toml");
const TWO_GROUPS: &str = include_str!("../../conf/examples/two-groups.toml");
const DOCS: &str = include_str!("../../docs/config.md");

/// The file that is promised to be enough.
const SMALLEST: &str = r#"
[listen]
client = "127.0.0.1:8080"
admin = "127.0.0.1:8081"

[store]
url = "sqlite:warren.db"

[rules]
file = "lua/route.lua"
default_group = "bi"

[[groups]]
name = "bi"

[[clusters]]
name = "bi-blue"
group = "bi"
url = "http://127.0.0.1:18081"
"#;

/// What stands below the groups in most tests, which begin with their own sections.
const REST: &str = r#"
[[groups]]
name = "bi"
[[clusters]]
name = "bi-blue"
group = "bi"
url = "http://127.0.0.1:18081"
"#;

fn parse_at(text: &str, file: &str) -> Result<Config, Problems> {
    resolve::parse_with(text, Path::new(file), &|name| match name {
        "TOKEN" | "WARREN_TOKEN" | "WARREN_PEERS" | "WARREN_COOKIE_KEY" | "WARREN_SERVICES" => {
            Some("canary-of-env".to_owned())
        }
        "WARREN_STORE" => Some("mysql://warren:canary@mysql:3306/warren".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    })
}

fn parse(text: &str) -> Result<Config, Problems> {
    parse_at(text, FILE)
}

/// Shows the problems of a file, or how it differs from the smallest one.
fn check(text: &str, expected: Expect) {
    let shown = match parse(text) {
        Ok(config) => differences(&config),
        Err(problems) => problems.to_string(),
    };
    assert!(!shown.contains("canary"), "a secret is shown: {shown}");
    expected.assert_eq(&shown);
}

/// The same with a default group, a group and a cluster added below.
fn check_part(part: &str, expected: Expect) {
    let rules = if part.contains("[rules]") { "" } else { "[rules]\ndefault_group = \"bi\"\n" };
    check(&format!("{part}\n{rules}{REST}"), expected);
}

fn differences(config: &Config) -> String {
    let smallest = format!("{:#?}", parse(SMALLEST).expect("the smallest file is good"));
    let before: Vec<&str> = smallest.lines().collect();
    let shown = format!("{config:#?}");
    let new = shown.lines().filter(|line| !before.contains(line)).map(str::trim);
    let new: Vec<&str> = new.collect();
    new.join("\n")
}

fn whole_of_conf() -> String {
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
            rest.to_owned()
        }
        _ => line.to_owned(),
    };
    COMPLETE.lines().map(uncommented).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_smallest_file_is_enough() {
    check(SMALLEST, expect![[""]]);
    check_part("", expect![[""]]);
    let config = parse(SMALLEST).expect("good");
    assert_eq!(config.state_folder, Path::new("/etc/warren/warren-state"));
    assert_eq!(config.rules.file, Path::new("/etc/warren/lua/route.lua"));
    assert!(
        matches!(&config.store, StoreUrl::Sqlite(p) if p == Path::new("/etc/warren/warren.db"))
    );
    assert_eq!(config.limits.statement, 16 << 20);
    let processors = std::thread::available_parallelism().expect("known").get();
    assert_eq!(config.listen.workers, processors);
}

#[test]
fn every_default_of_the_list_is_a_good_value() {
    let config = parse(SMALLEST).expect("good");
    expect![[r#"
        Limits {
            statement: 16777216,
            statement_history: 4096,
            hot_routes: 1000000,
            journal: 268435456,
            submit_clusters: 3,
            held: 10000,
            statements: 268435456,
        }
        Timeouts {
            connect: 2s,
            answer: 10s,
            submit: 25s,
            ask: 2s,
            page_hold: 20s,
            page_read: 60s,
            store: 300ms,
            first_get: 5s,
            client: 300s,
            transaction: 300s,
            segment: 900s,
            shutdown: 30s,
        }
        Health {
            info_period: 2s,
            statement_period: 30s,
            load_period: 2s,
            timeout: 2s,
            statement_timeout: 10s,
            rise: 2,
            fall: 3,
            settle: 10s,
            lost_after: 60s,
            ramp: 60s,
            eject_percent: 50,
            eject_requests: 20,
        }"#]]
    .assert_eq(&format!("{:#?}\n{:#?}\n{:#?}", config.limits, config.timeouts, config.health));
}

#[expect(clippy::too_many_lines, reason = "the whole file as it is read")]
#[test]
fn the_complete_file_has_all_settings_at_their_defaults() {
    let mut shipped = parse(COMPLETE).expect("the shipped file is good");
    let smallest = parse(SMALLEST).expect("good");
    shipped.rules.file.clone_from(&smallest.rules.file);
    assert_eq!(format!("{shipped:#?}"), format!("{smallest:#?}"));

    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [
        ("ca.pem", "-----BEGIN CERTIFICATE-----"),
        ("probe.pem", "-----BEGIN CERTIFICATE-----"),
        ("probe.key", "-----BEGIN PRIVATE KEY-----"),
        ("password", "canary\n"),
        ("token", "canary.canary.canary\n"),
    ] {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let at = |name: &str| folder.path().join(name).display().to_string();
    let whole = whole_of_conf()
        .replace("/etc/warren/trino-ca.pem", &at("ca.pem"))
        .replace("/etc/warren/services-ca.pem", &at("ca.pem"))
        .replace("/run/secrets/warren-probe", &at("password"))
        .replace("/run/secrets/warren-token", &at("token"))
        .replace("/etc/warren/probe.", &at("probe."))
        .replace("http://127.0.0.1:18081", "https://127.0.0.1:18081");
    let config = parse(&whole).map_err(|problems| problems.to_string()).expect("good");
    let shown = differences(&config).replace(&folder.path().display().to_string(), "(folder)");
    // Only what has no default may differ.
    expect![[r#"
        tls: Some(
        Tls {
        pairs: [
        (
        "/etc/warren/tls/warren.pem",
        "/etc/warren/tls/warren.key",
        ),
        (
        "/etc/warren/tls/other.pem",
        "/etc/warren/tls/other.key",
        ),
        ],
        client_ca: Some(
        "/etc/warren/tls/clients.pem",
        ),
        ),
        more: [
        Listener {
        name: "https",
        address: 0.0.0.0:8443,
        tls: Some(
        Tls {
        pairs: [
        (
        "/etc/warren/tls/warren.pem",
        "/etc/warren/tls/warren.key",
        ),
        (
        "/etc/warren/tls/other.pem",
        "/etc/warren/tls/other.key",
        ),
        ],
        client_ca: Some(
        "/etc/warren/tls/clients.pem",
        ),
        },
        ),
        public_url: Some(
        PublicUrl {
        scheme: Https,
        authority: "trino.example.com",
        ),
        cookie_key: Some(
        (secret),
        ),
        workers: (number),
        token: Some(
        (secret),
        ),
        address: 10.0.0.7:8081,
        secret: Some(
        (secret),
        ),
        file: "/etc/warren/../lua/route.lua",
        webhook: Some(
        "http://127.0.0.1:9000/warren",
        ),
        reject: Some(
        "bi is being repaired, see https://status.example.com",
        ),
        hold: Some(
        Hold {
        max_wait: 300s,
        max_queries: 1000,
        max_bytes: 67108864,
        per_user: 100,
        },
        ),
        scheme: Https,
        zone: Some(
        "eu-central-1b",
        ),
        max_running: Some(
        100,
        ),
        password: Some(
        (secret),
        ),
        token: Some(
        (secret),
        ),
        certificate: Some(
        (
        "(folder)/probe.pem",
        "(folder)/probe.key",
        ),
        ),
        ca: Some(
        "(folder)/ca.pem",
        ),
        server_name: Some(
        "trino.internal",
        ),"#]]
    .assert_eq(&shown.replace("workers: 4,", "workers: (number),"));
}

#[test]
fn every_setting_is_in_the_file_and_in_the_docs() {
    let whole = whole_of_conf();
    for setting in SETTINGS {
        let line = format!("{} = ", setting.name());
        assert!(whole.lines().any(|found| found.starts_with(&line)), "{}", setting.key);
        if let Fallback::Value(default) = setting.fallback
            && setting.key != "rules.file"
            && setting.section() != "limits"
        {
            let quoted = [format!("{line}{default}"), format!("{line}\"{default}\"")];
            assert!(quoted.iter().any(|text| whole.contains(text)), "{}", setting.key);
        }
    }
    assert!(DOCS.contains(&markdown()), "docs/config.md must hold this table:\n{}", markdown());
}

#[test]
fn the_example_with_two_groups_is_good() {
    let config = parse(TWO_GROUPS).map_err(|problems| problems.to_string()).expect("good");
    let shown: Vec<String> = config
        .clusters
        .iter()
        .map(|c| format!("{} {} {} {}", c.name, c.group, c.url, c.initial_intent.as_str()))
        .collect();
    expect![[r#"
        bi-blue bi http://bi-blue.trino.svc:8080 active
        bi-green bi http://bi-green.trino.svc:8080 standby
        olap-blue olap http://olap-blue.trino.svc:8080 active
        olap-green olap http://olap-green.trino.svc:8080 standby"#]]
    .assert_eq(&shown.join("\n"));
}

#[test]
fn all_problems_are_told_at_once() {
    check(
        r#"
[listen]
client = "localhost"
admin = 8081
wokers = 2

[rules]
default_group = "bo"

[timeouts]
page_hold = "30s"
timeout = "2s"
conect = "2s"

[[groups]]
name = "bi"

[[groups]]
name = "olap"

[[clusters]]
name = "bi-blue"
group = "olpa"
ulr = "http://a:8080"

[[clusters]]
name = "bi-blue"
group = "etl"
url = "http://u:canary@b"
weight = 0
initial_intent = "off"

[cluster]
x = 1
"#,
        expect![[r#"
            /etc/warren/warren.toml:3:10: listen.client = "localhost": not the address of a socket; write address and port, as `"127.0.0.1:8080"`, `"0.0.0.0:8080"` or `"[::]:8080"`
            /etc/warren/warren.toml:4:9: listen.admin = 8081: integer where a text belongs; write it in quotes
            /etc/warren/warren.toml:5:1: listen.wokers: unknown setting; did you mean `listen.workers`?
            /etc/warren/warren.toml:8:17: rules.default_group = "bo": no such group; did you mean `bi`?
            /etc/warren/warren.toml:11:13: timeouts.page_hold = "30s": too large; between 10ms and 29s
            /etc/warren/warren.toml:12:1: timeouts.timeout: unknown setting; did you mean `rules.http.timeout`?
            /etc/warren/warren.toml:13:1: timeouts.conect: unknown setting; did you mean `timeouts.connect`?
            /etc/warren/warren.toml:21:1: clusters[0].url: missing, and it has no default; add it
            /etc/warren/warren.toml:23:9: clusters[0].group = "olpa": no such group; did you mean `olap`?
            /etc/warren/warren.toml:24:1: clusters[0].ulr: unknown setting; did you mean `clusters[0].url`?
            /etc/warren/warren.toml:27:8: clusters[1].name = "bi-blue": already taken on line 22; each must be there once
            /etc/warren/warren.toml:28:9: clusters[1].group = "etl": no such group; known groups: `bi`, `olap`
            /etc/warren/warren.toml:29:7: clusters[1].url = (not shown): an address with a user in it; write the coordinator's origin, as `"http://trino-blue:8080"`
            /etc/warren/warren.toml:30:10: clusters[1].weight = 0: too small; between 1 and 1000000
            /etc/warren/warren.toml:31:18: clusters[1].initial_intent = "off": no such intent; one of `active`, `standby`, `draining`, `drained`
            /etc/warren/warren.toml:33:2: cluster: unknown setting; did you mean `clusters`?"#]],
    );
}

#[test]
fn what_is_not_toml() {
    check(
        "[listen\nclient = \"a\"",
        expect!["/etc/warren/warren.toml:1:8: not TOML: unclosed table, expected `]`"],
    );
    check(
        "[store]\nurl = \"mysql://u:canary@h/d\n",
        expect![[r#"/etc/warren/warren.toml:2:28: not TOML: invalid basic string, expected `"`"#]],
    );
    check(
        "[rules]\ndefault_group = \"a\"\ndefault_group = \"canary\"\n",
        expect!["/etc/warren/warren.toml:3:1: not TOML: duplicate key"],
    );
}

#[test]
fn what_must_be_there() {
    check(
        "",
        expect![[r#"
        /etc/warren/warren.toml: groups: no group; add `[[groups]]` with `name = "…"`
        /etc/warren/warren.toml: rules.default_group: missing, and it has no default; add it
        /etc/warren/warren.toml: clusters: no cluster; add `[[clusters]]` with `name`, `group` and `url`"#]],
    );
    check(
        "[rules]\n[[groups]]\n[[clusters]]\n",
        expect![[r#"
        /etc/warren/warren.toml:1:1: rules.default_group: missing, and it has no default; add it
        /etc/warren/warren.toml:2:1: groups[0].name: missing, and it has no default; add it
        /etc/warren/warren.toml:3:1: clusters[0].name: missing, and it has no default; add it
        /etc/warren/warren.toml:3:1: clusters[0].group: missing, and it has no default; add it
        /etc/warren/warren.toml:3:1: clusters[0].url: missing, and it has no default; add it"#]],
    );
    check(
        "groups = []\nclusters = 1\nrules = \"x\"",
        expect![[r#"
        /etc/warren/warren.toml:1:10: groups: no group; add `[[groups]]` with `name = "…"`
        /etc/warren/warren.toml:2:12: clusters = 1: integer where a list of tables belongs; write `[[clusters]]` above each
        /etc/warren/warren.toml:3:9: rules = "x": string where a table belongs; write `[rules]`
        /etc/warren/warren.toml:3:9: rules.default_group: missing, and it has no default; add it"#]],
    );
}

#[test]
fn values_have_types_and_bounds() {
    check_part(
        r#"
[listen]
allowed_hosts = "a"
trusted_proxies = ["10.0.0.0/8", "10.0.0.0/33", 7]
public_url = "trino.example.com"
workers = "2"
work_stealing = "yes"
[paths]
extra = ["[/api/v1/custom/.*", "/fine/.*"]
[limits]
statement = "16MB"
statement_history = "1GiB"
hot_routes = -1
submit_clusters = 0
[timeouts]
connect = 2
ask = "2"
client = "0s"
[health]
rise = 1.5
info_period = 2026-11-23
[log]
format = "yaml"
level = "loud=very"
"#,
        expect![[r#"
            /etc/warren/warren.toml:3:17: listen.allowed_hosts = "a": string where a list belongs; write it in brackets, as `["…", "…"]`
            /etc/warren/warren.toml:4:34: listen.trusted_proxies[1] = "10.0.0.0/33": not a network; write it as `"10.0.0.0/8"`, `"fd00::/8"` or one address
            /etc/warren/warren.toml:4:49: listen.trusted_proxies[2] = 7: integer where a text belongs; write it in quotes
            /etc/warren/warren.toml:5:14: listen.public_url = "trino.example.com": an address that begins neither with `http://` nor `https://`; write the origin that clients use, as `"https://trino.example.com"`
            /etc/warren/warren.toml:6:11: listen.workers = "2": string where a whole number belongs; write it without quotes
            /etc/warren/warren.toml:7:17: listen.work_stealing = "yes": string where `true` or `false` belongs; write it without quotes
            /etc/warren/warren.toml:9:10: paths.extra[0] = "[/api/v1/custom/.*": not a regular expression: unclosed character class; write a regular expression for the whole path, as `"/custom/.*"`
            /etc/warren/warren.toml:11:13: limits.statement = "16MB": unknown unit of size; did you mean `"16MiB"`?
            /etc/warren/warren.toml:12:21: limits.statement_history = "1GiB": too large; between 0 and 1MiB
            /etc/warren/warren.toml:13:14: limits.hot_routes = -1: not a number that this can take; between 1000 and 100000000
            /etc/warren/warren.toml:14:19: limits.submit_clusters = 0: too small; between 1 and 16
            /etc/warren/warren.toml:16:11: timeouts.connect = 2: integer where a text belongs; write it in quotes
            /etc/warren/warren.toml:17:7: timeouts.ask = "2": not a span of time; write a number and a unit, as `"300ms"`, `"30s"` or `"5m"`
            /etc/warren/warren.toml:18:10: timeouts.client = "0s": too small; between 1s and 1day
            /etc/warren/warren.toml:20:8: health.rise = 1.5: float where a whole number belongs; write it without quotes
            /etc/warren/warren.toml:21:15: health.info_period = 2026-11-23: datetime where a text belongs; write it in quotes
            /etc/warren/warren.toml:23:10: log.format = "yaml": not a format of logs; write `"text"` or `"json"`
            /etc/warren/warren.toml:24:9: log.level = "loud=very": not a level of logs; write `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,warren::health=debug`"#]],
    );
    check_part(
        "[limits]\njournal = 1048576\nstatement = 0x100000\n",
        expect![[r#"
                statement: 1048576,
                journal: 1048576,"#]],
    );
}

#[test]
fn values_must_fit_together() {
    check_part(
        "[listen]\nadmin = \"127.0.0.1:8080\"\n[timeouts]\nconnect = \"30s\"\nsubmit = \"5s\"\n\
         [health]\nstatement_period = \"5s\"",
        expect![[r#"
            /etc/warren/warren.toml:2:9: listen.admin: the same address as `listen.client`; choose another port
            /etc/warren/warren.toml:4:11: timeouts.connect: 30s is more than `submit`, which is 5s; at most 5s
            /etc/warren/warren.toml:5:10: timeouts.submit: 5s is less than `answer`, which is 10s; at least 10s
            /etc/warren/warren.toml:7:20: health.statement_period: 5s is less than `statement_timeout`, which is 10s; at least 10s"#]],
    );
}

#[test]
fn statement_paths() {
    check_part(
        "[paths]\nstatement = ['/ui/api/insights/ide/statement/','/v2/statement']",
        expect![[r#"
                        "/ui/api/insights/ide/statement",
                        "/v2/statement","#]],
    );
    check_part(
        "[paths]\nstatement = ['relative/path/']",
        expect![[
            r#"/etc/warren/warren.toml:2:14: paths.statement[0] = "relative/path/": a statement path that is not absolute; begin it with `/`, as `"/v2/statement"`"#
        ]],
    );
    check_part(
        "[paths]\nstatement = ['/v1/statement/additional']",
        expect![[
            r#"/etc/warren/warren.toml:2:14: paths.statement[0] = "/v1/statement/additional": a statement path that is, holds or lies beneath `/v1/statement`; choose paths of which none begins with another"#
        ]],
    );
    check_part(
        "[paths]\nstatement = ['/api/v2','/api/v2/statement']",
        expect![[
            r#"/etc/warren/warren.toml:2:24: paths.statement[1] = "/api/v2/statement": a statement path that is, holds or lies beneath `/api/v2`; choose paths of which none begins with another"#
        ]],
    );
}

#[test]
fn extra_paths_match_whole_paths() {
    let text = format!("[rules]\ndefault_group=\"bi\"\n[paths]\nextra = ['/a|/b']\n{REST}");
    let config = parse(&text).expect("good");
    let pattern = &config.paths.extra[0];
    assert!(pattern.is_match("/a") && pattern.is_match("/b"));
    assert!(!pattern.is_match("/a/x") && !pattern.is_match("/x/b"));
}

#[test]
fn stores() {
    check_part(
        "[store]\nurl = \"sqlite:/var/lib/warren.db\"",
        expect![[r#""/var/lib/warren.db","#]],
    );
    check_part(
        "[store]\nurl = \"mysql://u:canary@h:3306/warren\"",
        expect![[r#"
            store: Mysql(
            (secret),"#]],
    );
    check_part(
        "[store]\nurl = { env = \"WARREN_STORE\" }",
        expect![[r#"
            store: Mysql(
            (secret),"#]],
    );
    check_part(
        "[store]\nurl = \"mysql://u:canary@h:3306\"",
        expect![[
            r#"/etc/warren/warren.toml:2:7: store.url: a MySQL address without host or database; write `"sqlite:warren.db"`, `"mysql://user:password@host:3306/database"`, or where the address is, `{ env = "NAME" }` or `{ file = "PATH" }`"#
        ]],
    );
    check_part(
        "[store]\nurl = \"postgres://u:canary@h/d\"",
        expect![[
            r#"/etc/warren/warren.toml:2:7: store.url: not the address of a store; write `"sqlite:warren.db"`, `"mysql://user:password@host:3306/database"`, or where the address is, `{ env = "NAME" }` or `{ file = "PATH" }`"#
        ]],
    );
    check_part(
        "[store]\nurl = \"sqlite:\"",
        expect![[
            r#"/etc/warren/warren.toml:2:7: store.url: an SQLite store without a file; write `"sqlite:warren.db"`, `"mysql://user:password@host:3306/database"`, or where the address is, `{ env = "NAME" }` or `{ file = "PATH" }`"#
        ]],
    );
    check_part(
        "[store]\nurl = { env = \"TOKEN\" }",
        expect![[
            r#"/etc/warren/warren.toml:2:7: store.url: not the address of a store; write `"sqlite:warren.db"`, `"mysql://user:password@host:3306/database"`, or where the address is, `{ env = "NAME" }` or `{ file = "PATH" }`"#
        ]],
    );
}

#[test]
fn secrets_are_named_and_never_shown() {
    check_part(
        "[admin]\ntoken = \"canary\"",
        expect![[
            r#"/etc/warren/warren.toml:2:9: admin.token: a secret must not stand in this file; write where it is, `{ env = "NAME" }` or `{ file = "PATH" }`"#
        ]],
    );
    check_part(
        "[admin]\ntoken = 7",
        expect![[
            r#"/etc/warren/warren.toml:2:9: admin.token: a secret must not stand in this file; write where it is, `{ env = "NAME" }` or `{ file = "PATH" }`"#
        ]],
    );
    check_part(
        "[admin]\ntoken = { env = \"TOKEN\" }",
        expect![[r#"
            token: Some(
            (secret),
            ),"#]],
    );
    check_part(
        "[admin]\ntoken = { env = \"MISSING\" }",
        expect![
            "/etc/warren/warren.toml:2:9: admin.token: the environment variable `MISSING` is not set; set it for Warren's process, or name another"
        ],
    );
    check_part(
        "[admin]\ntoken = { env = \"EMPTY\" }",
        expect![
            "/etc/warren/warren.toml:2:9: admin.token: the secret is empty; put a text where it is read from"
        ],
    );
    check_part(
        "[admin]\ntoken = { file = \"/nowhere/token\" }",
        expect![
            "/etc/warren/warren.toml:2:9: admin.token: cannot read the secret file `/nowhere/token`: No such file or directory (os error 2); name a file of one line of UTF-8 that Warren may read"
        ],
    );
    check_part(
        "[admin]\ntoken = { env = \"TOKEN\", fiel = \"canary\" }",
        expect![[
            r#"/etc/warren/warren.toml:2:9: admin.token: a secret with `env`, `fiel`; write `{ env = "NAME" }` or `{ file = "PATH" }`"#
        ]],
    );
    check_part(
        "[admin]\ntoken = {}",
        expect![[
            r#"/etc/warren/warren.toml:2:9: admin.token: a secret without a source; write `{ env = "NAME" }` or `{ file = "PATH" }`"#
        ]],
    );

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, "canary-of-file\r\n").expect("written");
    let text = format!(
        "[admin]\ntoken = {{ file = {:?} }}\n[rules]\ndefault_group = \"bi\"\n{REST}",
        path.display().to_string()
    );
    let token = parse(&text).expect("good").admin.token.expect("a token");
    assert_eq!(token.reveal(), "canary-of-file");
    assert_eq!(format!("{token:?}"), "(secret)");
}

#[test]
fn clusters_are_told_apart() {
    let twice = r#"
[[clusters]]
name = "bi-green"
group = "bi"
url = "HTTP://127.0.0.1:18081/"
[[groups]]
name = "bi"
"#;
    check_part(
        &format!("{REST}{twice}").replacen("[[groups]]\nname = \"bi\"\n", "", 1),
        expect![[r#"
        /etc/warren/warren.toml:10:7: clusters[1].url = "HTTP://127.0.0.1:18081/": already taken on line 5; each must be there once
        /etc/warren/warren.toml:18:8: groups[1].name = "bi": already taken on line 12; each must be there once
        /etc/warren/warren.toml:20:8: clusters[2].name = "bi-blue": already taken on line 3; each must be there once
        /etc/warren/warren.toml:22:7: clusters[2].url = "http://127.0.0.1:18081": already taken on line 5; each must be there once"#]],
    );
}

#[test]
fn probes_and_tls() {
    check_part(
        r#"
[[clusters]]
name = "a"
group = "bi"
url = "https://a"
[clusters.probe]
user = "a:b"
statement = "SELECT 1;"
password = "canary"
headers = { Authorization = "canary", "X Y" = "1", Host = "h", X-Fine = "1", X-Bad = "a\nb" }
[clusters.tls]
ca = "nowhere.pem"
server_name = "https://a"
sni = "a"
[[clusters]]
name = "b"
group = "bi"
url = "http://b"
tls = { server_name = "b" }
[[groups]]
name = "bi"
"#,
        expect![[r#"
            /etc/warren/warren.toml:7:8: clusters[0].probe.user = "a:b": a user with `:`, which Basic credentials cannot carry; choose another
            /etc/warren/warren.toml:8:13: clusters[0].probe.statement = "SELECT 1;": not one statement; write one statement without `;`, as `"SELECT 1"`
            /etc/warren/warren.toml:9:12: clusters[0].probe.password: a secret must not stand in this file; write where it is, `{ env = "NAME" }` or `{ file = "PATH" }`
            /etc/warren/warren.toml:10:11: clusters[0].probe.headers: `Authorization` must not stand here; use `user`, `password` and `token` of the probe
            /etc/warren/warren.toml:10:11: clusters[0].probe.headers: `Host` is set by Warren; remove it
            /etc/warren/warren.toml:10:11: clusters[0].probe.headers: "X Y" is no name of a header; use letters, digits and `-`
            /etc/warren/warren.toml:10:11: clusters[0].probe.headers: the value of `X-Bad` is not one line of text; write it in quotes, without control characters
            /etc/warren/warren.toml:12:6: clusters[0].tls.ca: cannot read `/etc/warren/nowhere.pem`: No such file or directory (os error 2); name a PEM file with one or more certificates
            /etc/warren/warren.toml:13:15: clusters[0].tls.server_name = "https://a": not a host name; write the name alone, without scheme, port or path
            /etc/warren/warren.toml:14:1: clusters[0].tls.sni: unknown setting; known here: `ca`, `server_name`
            /etc/warren/warren.toml:19:7: clusters[1].tls: settings of TLS for a cluster that is spoken to without; write `https://` in `url`, or remove them
            /etc/warren/warren.toml:27:8: groups[1].name = "bi": already taken on line 21; each must be there once"#]],
    );
}

#[test]
fn some_changes_need_a_restart() {
    let old = parse(SMALLEST).expect("good");
    assert_eq!(needs_restart(&old, &old), [""; 0]);
    let new = SMALLEST
        .replace("8080", "8090")
        .replace("sqlite:warren.db", "mysql://a:b@c/d")
        .replace("18081", "18082");
    let mut new = parse(&new).expect("good");
    assert_eq!(needs_restart(&old, &new), ["listen.client", "store.url"]);

    new.listen.admin.set_port(1);
    let paths = |number: usize| (format!("c{number}").into(), format!("k{number}").into());
    let tls = super::Tls { pairs: vec![paths(1), paths(2)], client_ca: Some("ca".into()) };
    new.listen.tls = Some(tls.clone());
    let address = "127.0.0.1:1".parse().expect("an address");
    new.listen.more.push(super::Listener { name: "a".to_owned(), address, tls: Some(tls) });
    new.listen.public_url = super::address::public_url("http://a").ok();
    new.listen.allowed_hosts.push("a".to_owned());
    new.listen.trusted_proxies.extend(super::address::network("::1"));
    new.listen.cookie_key = Some(super::secret::Secret::new("a".to_owned()));
    new.listen.workers += 1;
    new.listen.work_stealing = true;
    new.admin.token = Some(super::secret::Secret::new("a".to_owned()));
    new.peers.address.set_port(1);
    new.peers.secret = Some(super::secret::Secret::new("a".to_owned()));
    new.state_folder.push("x");
    new.limits.hot_routes += 1;
    new.limits.journal += 1;
    new.limits.statements += 1;
    new.timeouts.shutdown *= 2;
    new.log.json = true;
    new.log.level.push('x');
    let listed: Vec<&str> = SETTINGS
        .iter()
        .filter(|setting| setting.change == Change::Restart)
        .map(|setting| setting.key)
        .collect();
    assert_eq!(needs_restart(&old, &new), listed);
}

proptest::proptest! {
    /// Nothing that a file says may panic.
    #[test]
    fn any_text_is_answered(text in ".{0,200}", key in "[a-z]{1,8}", value in "[-a-z0-9\"'{}\\[\\]=.:/@ ]{0,30}") {
        let _ = parse(&text);
        for setting in SETTINGS {
            let section = setting.section().replace("[]", "");
            let _ = parse(&format!("[{section}]\n{} = {value}\n{key} = {value}", setting.name()));
        }
    }
}

#[test]
fn a_share_of_workers_or_a_number() {
    let needed = |lines: &str| {
        let text = format!("{SMALLEST}\n{lines}\n");
        let config = parse(&text).map_err(|problems| problems.to_string()).expect("good");
        config.clusters.last().map(super::ClusterConfig::needed_workers)
    };
    assert_eq!(needed(""), Some(0), "one is not counted");
    assert_eq!(needed("min_workers = 3"), Some(3));
    assert_eq!(needed("expected_workers = 5"), Some(3), "half of them, rounded up");
    assert_eq!(needed("expected_workers = 2"), Some(0), "one again");
    assert_eq!(needed("expected_workers = 10\nworkers_percent = 80\nmin_workers = 3"), Some(8));
    assert_eq!(needed("expected_workers = 10\nworkers_percent = 10\nmin_workers = 3"), Some(3));
}

#[test]
fn credentials_of_probes() {
    check(
        r#"
[rules]
default_group = "bi"
[[groups]]
name = "bi"
[[clusters]]
name = "a"
group = "bi"
url = "http://a:1"
workers_percent = 101
probe = { token = "abc", certificate = "/nowhere/probe.pem", key = "/nowhere/probe.key" }
[[clusters]]
name = "b"
group = "bi"
url = "https://b:1"
probe = { key = "/nowhere/probe.key", source = "guess" }
[[clusters]]
name = "c"
group = "bi"
url = "https://c:1"
expected_workers = 4
probe = { source = "info" }
"#,
        expect![[r#"
            /etc/warren/warren.toml:10:19: clusters[0].workers_percent = 101: too large; between 1 and 100
            /etc/warren/warren.toml:11:19: clusters[0].probe.token: a secret must not stand in this file; write where it is, `{ env = "NAME" }` or `{ file = "PATH" }`
            /etc/warren/warren.toml:11:40: clusters[0].probe.certificate: cannot read `/nowhere/probe.pem`: No such file or directory (os error 2); name a PEM file with a certificate, and one with its key
            /etc/warren/warren.toml:11:40: clusters[0].probe.certificate: a certificate for a cluster that is spoken to without TLS; write `https://` in `url`, or remove `certificate` and `key`
            /etc/warren/warren.toml:11:68: clusters[0].probe.key: cannot read `/nowhere/probe.key`: No such file or directory (os error 2); name a PEM file with a certificate, and one with its key
            /etc/warren/warren.toml:16:17: clusters[1].probe.key: no `certificate` beside it; name both, or none
            /etc/warren/warren.toml:16:48: clusters[1].probe.source = "guess": not a source; one of `statement`, `info`, `metrics`, `ui`, `jmx`
            /etc/warren/warren.toml:21:20: clusters[2].expected_workers: workers that must be counted, which `probe.source = "info"` cannot; let a statement be the source, or do not ask for workers"#]],
    );
}

#[test]
fn sources_that_count() {
    let parsed = |lines: &str| parse(&format!("{SMALLEST}\n{lines}\n"));
    let cluster = |lines: &str| {
        let config = parsed(lines).map_err(|problems| problems.to_string()).expect("good");
        config.clusters.last().expect("a cluster").clone()
    };
    let told = cluster(
        "min_workers = 4\nprobe = { source = \"metrics\", metrics_min = { a_b = 1, c = 0.5 }, metrics_max = { c = 2 } }",
    );
    let bounds = |name: &str, min, max| super::MetricBounds { name: name.to_owned(), min, max };
    let expected = [bounds("a_b", Some(1.0), None), bounds("c", Some(0.5), Some(2.0))];
    assert_eq!((told.probe.metrics.as_slice(), told.needed_workers()), (&expected[..], 4));
    for source in super::Source::ALL {
        let line = format!("probe = {{ source = \"{}\" }}", source.as_str());
        assert_eq!(cluster(&line).probe.source, source);
    }
    for (lines, wrong) in [
        ("probe = { source = \"ui\", metrics_min = { a = 1 } }", "bounds of metrics"),
        ("probe = { metrics_max = { a = 1 } }", "bounds of metrics"),
        ("probe = { source = \"metrics\", metrics_min = { \"a&b\" = 1 } }", "no name of a metric"),
        ("probe = { source = \"metrics\", metrics_min = { a = nan } }", "is no number"),
        ("probe = { source = \"metrics\", metrics_min = { a = \"1\" } }", "is no number"),
        ("probe = { source = \"metrics\", metrics_min = 1 }", "not a table of metrics"),
    ] {
        let told = parsed(lines).map(|_| ()).map_err(|problems| problems.to_string());
        let told = told.expect_err(lines);
        assert!(told.contains(wrong), "{lines}: {told}");
    }
}

#[test]
fn weights_of_what_a_source_does_not_tell() {
    let parsed = |weight: &str, source: &str| {
        let text = format!(
            "[rules]\ndefault_group = \"bi\"\n[[groups]]\nname = \"bi\"\n{weight} = 10\n[[clusters]]\n\
             name = \"a\"\ngroup = \"bi\"\nurl = \"http://a:1\"\nprobe = {{ source = \"{source}\" }}\n"
        );
        parse(&text).map(|_| ()).map_err(|problems| problems.to_string())
    };
    for (weight, source, good) in [
        ("memory_weight", "metrics", true),
        ("memory_weight", "jmx", true),
        ("memory_weight", "ui", false),
        ("memory_weight", "statement", false),
        ("cpu_weight", "ui", true),
        ("cpu_weight", "info", false),
    ] {
        let told = parsed(weight, source);
        assert_eq!(told.is_ok(), good, "{weight} {source}: {told:?}");
        let words = told.err().unwrap_or_default();
        assert!(good || words.contains("does not tell") && words.contains(weight), "{words}");
    }
}

#[test]
fn services_that_rules_may_call() {
    check_part("[rules]\ndefault_group = \"bi\"\nhttp = { timeout = \"1s\" }", expect![[""]]);
    let text = format!(
        "[rules]\ndefault_group = \"bi\"\n[rules.http]\nallow = [\"HTTP://A/route/\"]\n\
         authorization = {{ env = \"TOKEN\" }}\n{REST}"
    );
    let http = parse(&text).expect("good").rules.http.expect("something is allowed");
    let called = super::ServiceUrl::parse("http://a:80/route/v1").expect("a good URL");
    assert!(http.allow[0].covers(&called));
    let expected = (Duration::from_millis(200), super::OnFailure::Nil, 5, 64);
    assert_eq!((http.timeout, http.on_failure, http.open_after, http.max_in_flight), expected);
    check_part(
        r#"
[rules]
default_group = "bi"
[rules.http]
allow = ["a:9000", "http://u:canary@a/route", "http://a/route?x", "http://a/../b", 7]
authorization = "canary"
timeout = "11s"
on_failure = "retry"
open_after = 0
max_in_flght = 1
"#,
        expect![[r#"
            /etc/warren/warren.toml:5:10: rules.http.allow[0] = "a:9000": an address that begins neither with `http://` nor `https://`; write it as `"http://127.0.0.1:9000/route"`
            /etc/warren/warren.toml:5:20: rules.http.allow[1] = (not shown): an address with a user in it; write it as `"http://127.0.0.1:9000/route"`
            /etc/warren/warren.toml:5:47: rules.http.allow[2] = "http://a/route?x": a URL with a query; write origin and path alone; a call may add any query
            /etc/warren/warren.toml:5:67: rules.http.allow[3] = "http://a/../b": a URL whose path is not plain segments, without escapes, `;` and dots alone; write it as `"http://127.0.0.1:9000/route"`
            /etc/warren/warren.toml:5:84: rules.http.allow[4] = 7: integer where a text belongs; write it in quotes
            /etc/warren/warren.toml:6:17: rules.http.authorization: a secret must not stand in this file; write where it is, `{ env = "NAME" }` or `{ file = "PATH" }`
            /etc/warren/warren.toml:7:11: rules.http.timeout = "11s": too large; between 1ms and 10s
            /etc/warren/warren.toml:8:14: rules.http.on_failure = "retry": not what can become of such a query; write `"nil"`, `"default_group"` or `"reject"`
            /etc/warren/warren.toml:9:14: rules.http.open_after = 0: too small; between 1 and 1000000
            /etc/warren/warren.toml:10:1: rules.http.max_in_flght: unknown setting; did you mean `rules.http.max_in_flight`?"#]],
    );
}

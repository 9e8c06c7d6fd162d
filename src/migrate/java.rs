//! The settings of a Java gateway, `config.yaml`: what has a counterpart, and a word on all else.

use super::yaml::{Node, Value};
use super::{Finding, Place};

/// What a Java gateway takes where nothing is said.
const DEFAULT_GROUP: &str = "adhoc";
const DEFAULT_PORT: u16 = 8080;
const DEFAULT_USER_FIELD: &str = "email";
const DEFAULT_METRICS: (&str, &str) =
    ("trino_metadata_name_DiscoveryNodeManager_ActiveNodeCount", "1");
/// Settings of `monitor` for what Warren asks by names of its own.
const METRICS: [(&str, &str); 3] = [
    ("metricsEndpoint", "/metrics"),
    ("runningQueriesMetricName", "trino_execution_name_QueryManager_RunningQueries"),
    ("queuedQueriesMetricName", "trino_execution_name_QueryManager_QueuedQueries"),
];
/// The least and most that the history may be kept, in hours.
const KEEP_HOURS: std::ops::RangeInclusive<u64> = 1..=876_600;

/// What is translated.
#[derive(Debug)]
pub(super) struct Java {
    pub(super) port: u16,
    pub(super) default_group: String,
    /// Whether rules choose the group. Else `X-Trino-Routing-Group` does.
    pub(super) has_rules: bool,
    pub(super) rules_path: Option<String>,
    pub(super) statement_paths: Vec<String>,
    /// Each with its line.
    pub(super) extra_paths: Vec<(usize, String)>,
    /// `probe.source` of each cluster.
    pub(super) source: &'static str,
    pub(super) metrics_min: Bounds,
    pub(super) metrics_max: Bounds,
    pub(super) probe_user: Option<String>,
    pub(super) has_probe_password: bool,
    pub(super) keep_hours: Option<u64>,
    /// The field of a token that names its user.
    pub(super) user_field: String,
}

/// Settings that need no counterpart, or another one: section, key or `*`, why.
const NOTES: [(&str, &str, &str); 17] = [
    ("serverConfig", "node.environment", "Warren has no environments"),
    ("monitor", "*", "Warren probes by itself, each two seconds; see `[health]`"),
    ("routing", "addXForwardedHeaders", "Warren always tells clusters the client's address"),
    ("routing", "forwardedHeadersEnabled", "see `listen.trusted_proxies`"),
    ("routing", "asyncTimeout", "see `[timeouts]`"),
    ("routing", "databaseCacheTTL", "no query of Warren waits for a database"),
    ("routingRules", "rulesRefreshPeriod", "Warren reads changed rules within a second"),
    ("databaseCache", "*", "no query of Warren waits for a database"),
    ("gatewayCookieConfiguration", "*", "Warren finds a coordinator without cookies of clients"),
    ("oauth2GatewayCookieConfiguration", "*", "Warren keeps hand-shakes at one coordinator"),
    ("proxyResponseConfiguration", "*", "Warren streams answers, see `[limits]`"),
    ("includeClusterHostInResponse", "*", "see `warren route` and the access log"),
    ("uiConfiguration", "*", "Warren has no such web pages"),
    ("distributedCacheConfiguration", "*", "gateways share a MySQL store, see `store.url`"),
    ("valkeyConfiguration", "*", "gateways share a MySQL store, see `store.url`"),
    ("requestAnalyzerConfig", "analyzeRequest", "Warren reads a statement when a rule asks"),
    ("requestAnalyzerConfig", "maxBodySize", "see `limits.statement`"),
];
/// Settings that somebody must look at.
const LEFT: [(&str, &str, &str); 12] = [
    ("authentication", "*", "who may operate the gateway: see `admin.token`"),
    ("authorization", "*", "who may operate the gateway: see `admin.token`"),
    ("presetUsers", "*", "who may operate the gateway: see `admin.token`"),
    ("notifier", "*", "alert on Warren's metrics instead, see docs/metrics.md"),
    ("modules", "*", "code of your own that the Java gateway loads"),
    ("managedApps", "*", "code of your own that the Java gateway loads"),
    ("routingRules", "rulesExternalConfiguration", "ask it from the rules by `http.post`"),
    ("requestAnalyzerConfig", "isClientsUseV2Format", "rules do not see statements in JSON"),
    ("requestAnalyzerConfig", "clientsUseV2Format", "rules do not see statements in JSON"),
    ("requestAnalyzerConfig", "oauthTokenInfoUrl", "no rule asks who an opaque token belongs to"),
    ("backendState", "ssl", "a cluster's scheme stands in its `url`"),
    ("backendState", "xForwardedProtoHeader", "see `probe.headers`"),
];

/// Reads the settings.
pub(super) fn read(
    document: &Node,
    file: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    findings: &mut Vec<Finding>,
) -> Java {
    let mut reader = Reader { document, file, environment, findings, read: Vec::new() };
    let rules_type = reader.text("routingRules", "rulesType");
    let is_enabled = reader.flag("routingRules", "rulesEngineEnabled");
    let rules_path = reader.text("routingRules", "rulesConfigPath");
    let is_external = rules_type.is_some_and(|it| !it.eq_ignore_ascii_case("FILE"));
    if is_enabled && is_external {
        reader.left("routingRules", "rulesType", "rules that do not come from a file");
    }
    let has_rules = is_enabled && !is_external;
    let source = reader.source();
    let (metrics_min, metrics_max) =
        if source == "metrics" { reader.metrics() } else { (Vec::new(), Vec::new()) };
    let java = Java {
        port: reader.number("serverConfig", "http-server.http.port").unwrap_or(DEFAULT_PORT),
        default_group: reader
            .text("routing", "defaultRoutingGroup")
            .unwrap_or_else(|| DEFAULT_GROUP.to_owned()),
        has_rules,
        rules_path: rules_path.filter(|_| has_rules),
        statement_paths: reader
            .list("additionalStatementPaths")
            .into_iter()
            .map(|(_, path)| path)
            .collect(),
        extra_paths: reader.list("extraWhitelistPaths"),
        source,
        metrics_min,
        metrics_max,
        probe_user: reader.text("backendState", "username"),
        has_probe_password: reader.secret("backendState", "password"),
        keep_hours: reader.keep_hours(),
        user_field: reader
            .text("requestAnalyzerConfig", "tokenUserField")
            .unwrap_or_else(|| DEFAULT_USER_FIELD.to_owned()),
    };
    reader.store();
    reader.tell_rest();
    java
}

/// Names of metrics, each with a number.
type Bounds = Vec<(String, String)>;

struct Reader<'a> {
    document: &'a Node,
    file: &'a str,
    environment: &'a dyn Fn(&str) -> Option<String>,
    findings: &'a mut Vec<Finding>,
    /// The settings that were looked at, as section and key.
    read: Vec<(&'static str, &'static str)>,
}

impl<'a> Reader<'a> {
    /// The value of a setting: of a section, or of the file itself (`*`).
    fn find(&mut self, section: &'static str, key: &'static str) -> Option<&'a Node> {
        self.read.push((section, key));
        let node = self.document.get(section)?;
        let node = if key == "*" { node } else { node.get(key)? };
        (node.value != Value::Null).then_some(node)
    }

    fn left(&mut self, section: &'static str, key: &'static str, what: &str) {
        let line = self.find(section, key).map_or(1, |node| node.line);
        self.left_at(line, &format!("{section}.{key}"), what);
    }

    fn left_at(&mut self, line: usize, name: &str, what: &str) {
        let text = format!("`{name}`: {what}");
        self.findings.push(Finding::left(Place::of(self.file, line), text));
    }

    fn text(&mut self, section: &'static str, key: &'static str) -> Option<String> {
        let node = self.find(section, key)?;
        self.text_of(node, &format!("{section}.{key}"))
    }

    /// The text of a value, which is told by this name if it has none.
    fn text_of(&mut self, node: &Node, name: &str) -> Option<String> {
        let Some(text) = node.text() else {
            self.left_at(node.line, name, "not a text");
            return None;
        };
        match replaced(text, self.environment) {
            Ok(text) => Some(text),
            Err(variable) => {
                let what = format!("the environment variable `{variable}` is not set here");
                self.left_at(node.line, name, &what);
                None
            }
        }
    }

    /// Whether there is a text, which is not looked at.
    fn secret(&mut self, section: &'static str, key: &'static str) -> bool {
        self.find(section, key).is_some()
    }

    fn flag(&mut self, section: &'static str, key: &'static str) -> bool {
        self.text(section, key).is_some_and(|text| text.trim().eq_ignore_ascii_case("true"))
    }

    fn number<T: std::str::FromStr>(
        &mut self,
        section: &'static str,
        key: &'static str,
    ) -> Option<T> {
        let number = self.text(section, key)?.trim().parse().ok();
        if number.is_none() {
            self.left(section, key, "not a number that this can be");
        }
        number
    }

    fn keep_hours(&mut self) -> Option<u64> {
        let (section, key) = ("dataStore", "queryHistoryHoursRetention");
        let hours = self.number(section, key)?;
        if !KEEP_HOURS.contains(&hours) {
            let what = format!(
                "`{hours}`, expected {} to {} hours here",
                KEEP_HOURS.start(),
                KEEP_HOURS.end()
            );
            self.left(section, key, &what);
            return None;
        }
        Some(hours)
    }

    /// Texts, each with its line.
    fn list(&mut self, key: &'static str) -> Vec<(usize, String)> {
        let items = self.find(key, "*").map(Node::items).unwrap_or_default();
        items.iter().filter_map(|item| Some((item.line, self.text_of(item, key)?))).collect()
    }

    /// The least and most of metrics; what is asked by other names than Warren's is told.
    fn metrics(&mut self) -> (Bounds, Bounds) {
        for (key, known) in METRICS {
            if self.text("monitor", key).is_some_and(|given| given != known) {
                self.left("monitor", key, &format!("Warren asks for `{known}` alone"));
            }
        }
        let least = self.bounds("metricMinimumValues");
        let (name, bound) = DEFAULT_METRICS;
        let least = least.unwrap_or_else(|| vec![(name.to_owned(), bound.to_owned())]);
        (least, self.bounds("metricMaximumValues").unwrap_or_default())
    }

    /// Names of metrics with their bounds. `None`: nothing is said of them.
    fn bounds(&mut self, key: &'static str) -> Option<Bounds> {
        let node = self.find("monitor", key)?;
        if !matches!(node.value, Value::Map(_)) {
            self.left("monitor", key, "expected names of metrics, each with a number");
            return None;
        }
        let mut bounds = Vec::new();
        for (metric, _, node) in node.entries() {
            let name = format!("monitor.{key}.{metric}");
            let Some(text) = self.text_of(node, &name) else { continue };
            match text.trim().parse::<f64>().ok().filter(|it| it.is_finite()) {
                Some(bound) => bounds.push((metric.clone(), bound.to_string())),
                None => self.left_at(node.line, &name, "not a number"),
            }
        }
        Some(bounds)
    }

    /// What shows that a cluster can take queries.
    fn source(&mut self) -> &'static str {
        let section = "clusterStatsConfiguration";
        let monitor = self.text(section, "monitorType");
        match monitor.as_deref().map(str::to_ascii_uppercase).as_deref() {
            None | Some("INFO_API") => "info",
            Some("UI_API") => "ui",
            Some("JDBC") => "statement",
            Some("JMX") => "jmx",
            Some("METRICS") => "metrics",
            Some("NOOP") => {
                self.left(section, "monitorType", "`NOOP`; Warren looks at each cluster");
                "info"
            }
            Some(_) => {
                self.left(section, "monitorType", "not a monitor that is known");
                "info"
            }
        }
    }

    /// The database stays the Java gateway's; Warren has a store of its own.
    fn store(&mut self) {
        for key in ["user", "password", "driver", "runMigrationsEnabled"] {
            self.find("dataStore", key);
        }
        if let Some(node) = self.find("dataStore", "jdbcUrl") {
            let text = "`dataStore.jdbcUrl`: Warren has a store of its own, and does not touch this \
                 database; for several gateways name a MySQL database in `store.url`";
            self.findings.push(Finding::note(Place::of(self.file, node.line), text));
        }
    }

    /// A word on each setting that nobody looked at.
    fn tell_rest(&mut self) {
        for (section, line, node) in self.document.entries() {
            if node.value == Value::Null || self.is_read(section, "*") {
                continue;
            }
            if matches!(&node.value, Value::Map(_)) && told(section, "*").is_none() {
                let entries = node.entries().iter();
                for (key, line, _) in entries.filter(|(_, _, node)| node.value != Value::Null) {
                    self.tell_unread(section, key, *line);
                }
            } else {
                let seen = node.entries().iter().filter(|(key, _, _)| self.is_read(section, key));
                if seen.count() < node.entries().len().max(1) {
                    self.tell(section, "*", *line);
                }
            }
        }
    }

    fn tell_unread(&mut self, section: &str, key: &str, line: usize) {
        if !self.is_read(section, key) {
            self.tell(section, key, line);
        }
    }

    fn is_read(&self, section: &str, key: &str) -> bool {
        self.read.iter().any(|(own, of)| *own == section && *of == key)
    }

    fn tell(&mut self, section: &str, key: &str, line: usize) {
        let name = if key == "*" { format!("`{section}`") } else { format!("`{section}.{key}`") };
        let place = Place::of(self.file, line);
        self.findings.push(match told(section, key) {
            Some((true, why)) => Finding::left(place, format!("{name} is not translated: {why}")),
            Some((false, why)) => Finding::note(place, format!("{name} is not needed: {why}")),
            None => {
                Finding::left(place, format!("{name} is not translated: no counterpart is known"))
            }
        });
    }
}

/// What is known of a setting that is not translated: whether somebody must look, and why.
fn told(section: &str, key: &str) -> Option<(bool, &'static str)> {
    let is = |own: &str, of: &str| own == section && of == key;
    let left = LEFT.iter().find(|(own, of, _)| is(own, of)).map(|(_, _, why)| (true, *why));
    let note = || NOTES.iter().find(|(own, of, _)| is(own, of)).map(|(_, _, why)| (false, *why));
    left.or_else(note)
}

/// A text with each `${ENV:NAME}` in it replaced. `Err`: the name of one that is not set.
fn replaced(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${ENV:") {
        let Some((name, behind)) = after.split_once('}') else { break };
        whole.push_str(before);
        whole.push_str(&environment(name).ok_or_else(|| name.to_owned())?);
        rest = behind;
    }
    whole.push_str(rest);
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::yaml;

    fn told(text: &str) -> String {
        let documents = yaml::parse(text).unwrap();
        let mut findings = Vec::new();
        let environment = |name: &str| (name == "GROUP").then(|| "bi".to_owned());
        let java = read(&documents[0], "config.yaml", &environment, &mut findings);
        let findings = findings.iter().map(ToString::to_string).collect::<Vec<_>>();
        format!("{java:#?}\n{}\n", findings.join("\n"))
    }

    const CONFIG: &str = "\
serverConfig:
  node.environment: test
  http-server.http.port: 9080
  http-server.https.enabled: true
dataStore:
  jdbcUrl: jdbc:mysql://db/gateway
  user: x
  password: secret
  queryHistoryHoursRetention: 24
routing:
  defaultRoutingGroup: ${ENV:GROUP}
  asyncTimeout: 2m
routingRules:
  rulesEngineEnabled: True
  rulesConfigPath: rules.yml
clusterStatsConfiguration:
  monitorType: METRICS
monitor:
  taskDelay: 1m
  metricMinimumValues:
    trino_nodes: 1
backendState:
  username: ${ENV:NOBODY}
  password: ${ENV:SECRET}
additionalStatementPaths: ['/v2/statement/']
extraWhitelistPaths:
  - '/custom/.*'
authentication:
  defaultType: oauth
colour: red
";

    #[test]
    fn settings_are_read_or_told() {
        expect_test::expect![[r#"
            Java {
                port: 9080,
                default_group: "bi",
                has_rules: true,
                rules_path: Some(
                    "rules.yml",
                ),
                statement_paths: [
                    "/v2/statement/",
                ],
                extra_paths: [
                    (
                        27,
                        "/custom/.*",
                    ),
                ],
                source: "metrics",
                metrics_min: [
                    (
                        "trino_nodes",
                        "1",
                    ),
                ],
                metrics_max: [],
                probe_user: None,
                has_probe_password: true,
                keep_hours: Some(
                    24,
                ),
                user_field: "email",
            }
            config.yaml:23: `backendState.username`: the environment variable `NOBODY` is not set here
            config.yaml:6: `dataStore.jdbcUrl`: Warren has a store of its own, and does not touch this database; for several gateways name a MySQL database in `store.url`
            config.yaml:2: `serverConfig.node.environment` is not needed: Warren has no environments
            config.yaml:4: `serverConfig.http-server.https.enabled` is not translated: no counterpart is known
            config.yaml:12: `routing.asyncTimeout` is not needed: see `[timeouts]`
            config.yaml:18: `monitor` is not needed: Warren probes by itself, each two seconds; see `[health]`
            config.yaml:28: `authentication` is not translated: who may operate the gateway: see `admin.token`
            config.yaml:30: `colour` is not translated: no counterpart is known
        "#]]
        .assert_eq(&told(CONFIG));
    }

    #[test]
    fn rules_of_a_service_are_no_rules() {
        let text = "routingRules:\n  rulesEngineEnabled: true\n  rulesType: EXTERNAL\n";
        let told = told(text);
        assert!(told.contains("has_rules: false"), "{told}");
        assert!(told.contains("config.yaml:3: `routingRules.rulesType`: rules that do not come"));
    }

    #[test]
    fn what_is_of_no_use_is_told_with_its_line() {
        let told = told(
            "\
dataStore: {queryHistoryHoursRetention: 0}
clusterStatsConfiguration: {monitorType: METRICS}
monitor:
  metricsEndpoint: /prometheus
  runningQueriesMetricName: trino_execution_name_QueryManager_RunningQueries
  metricMaximumValues:
    a: ${ENV:MOST}
    b: many
    c: 2
additionalStatementPaths: ['/${ENV:GROUP}', '${ENV:NOBODY}']
extraWhitelistPaths:
  - [x]
",
        );
        for expected in [
            "config.yaml:1: `dataStore.queryHistoryHoursRetention`: `0`, expected 1 to 876600",
            "config.yaml:4: `monitor.metricsEndpoint`: Warren asks for `/metrics` alone",
            "config.yaml:7: `monitor.metricMaximumValues.a`: the environment variable `MOST`",
            "config.yaml:8: `monitor.metricMaximumValues.b`: not a number",
            "config.yaml:10: `additionalStatementPaths`: the environment variable `NOBODY`",
            "config.yaml:12: `extraWhitelistPaths`: not a text",
            "\"/bi\"",
            "\"trino_metadata_name_DiscoveryNodeManager_ActiveNodeCount\"",
        ] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
        assert!(!told.contains("runningQueriesMetricName"), "{told}");
    }
}

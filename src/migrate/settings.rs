//! Writes `warren.toml`: groups, clusters, and the settings of a Java gateway that have a counterpart.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use super::java::Java;
use super::{Backend, Finding, Grade, Place, names};

/// The operators' port.
const ADMIN_PORT: u16 = 8081;

/// The settings, and what is in them.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) text: String,
    /// The default one first.
    pub(super) groups: Vec<String>,
    pub(super) clusters: usize,
}

/// Writes the settings. `named` are the groups that rules name, as the Java gateway calls them.
pub(super) fn write(
    java: &Java,
    backends: &[Backend],
    named: &BTreeSet<String>,
    file: &str,
    findings: &mut Vec<Finding>,
) -> Settings {
    let mut writer = Writer { java, file, findings, text: String::new(), called: BTreeMap::new() };
    let default_group = writer.called(&java.default_group);
    let mut groups = vec![default_group.clone()];
    let clusters = writer.clusters(backends, &default_group);
    let of_clusters = clusters.iter().map(|cluster| cluster.group.clone());
    let of_rules = named.iter().map(|group| writer.called(group));
    for group in of_clusters.chain(of_rules) {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    for group in groups.iter().filter(|group| !clusters.iter().any(|it| it.group == **group)) {
        let what = if *group == default_group {
            format!(
                "the default group `{group}` has no backend; name another one, or add a cluster"
            )
        } else {
            format!(
                "the group `{group}` has no backend; its queries go to `{default_group}`, as in the Java gateway"
            )
        };
        writer.findings.push(Finding { grade: Grade::Note, place: None, text: what });
    }
    writer.head(&default_group);
    for group in &groups {
        writer.group(group, &default_group);
    }
    for cluster in &clusters {
        writer.cluster(cluster);
    }
    if clusters.is_empty() {
        let text = "no backend is known, so `warren.toml` has no cluster: name the running gateway \
             with `--from-url`, its database with `--database`, or a file with `--backends`";
        let text = text.to_owned();
        writer.findings.push(Finding { grade: Grade::Left, place: None, text });
    }
    Settings { text: writer.text, clusters: clusters.len(), groups }
}

/// A cluster as it will stand in the settings.
struct Cluster<'a> {
    name: String,
    group: String,
    url: String,
    backend: &'a Backend,
}

struct Writer<'a> {
    java: &'a Java,
    file: &'a str,
    findings: &'a mut Vec<Finding>,
    text: String,
    /// Groups of the Java gateway, and what they are called here.
    called: BTreeMap<String, String>,
}

impl Writer<'_> {
    fn line(&mut self, line: &str) {
        self.text.extend([line, "\n"]);
    }

    fn set(&mut self, name: &str, value: &str) {
        self.line(&format!("{name} = {}", quoted(value)));
    }

    fn tell(&mut self, grade: Grade, text: String) {
        self.findings.push(Finding { grade, place: None, text });
    }

    /// What a group of the Java gateway is called here; that is told if it is another name.
    fn called(&mut self, java: &str) -> String {
        if let Some(name) = self.called.get(java) {
            return name.clone();
        }
        let (name, shown) = (names::label(java), java.escape_debug());
        let other = self.called.iter().find(|(_, known)| **known == name);
        if let Some(other) = other.map(|(other, _)| other.escape_debug()) {
            let what = format!(
                "the groups `{other}` and `{shown}` would both be called `{name}` here; rename one \
                 of them in the Java gateway, and migrate again"
            );
            self.tell(Grade::Left, what);
        } else if name != java && self.java.has_rules {
            self.tell(Grade::Note, format!("the group `{shown}` is called `{name}` here"));
        } else if name != java {
            let what = format!(
                "the group `{shown}` is called `{name}` here; clients that ask for it by \
                 `X-Trino-Routing-Group` must take the new name"
            );
            self.tell(Grade::Left, what);
        }
        self.called.insert(java.to_owned(), name.clone());
        name
    }

    fn clusters<'b>(&mut self, backends: &'b [Backend], default_group: &str) -> Vec<Cluster<'b>> {
        let mut clusters: Vec<Cluster<'b>> = Vec::new();
        for backend in backends {
            let name = names::label(&backend.name);
            let shown = backend.name.escape_debug().to_string();
            let Some(url) = origin(&backend.proxy_to) else {
                let right = "expected an origin as `http://trino:8080`";
                self.tell(Grade::Left, format!("backend `{shown}` has no address: {right}"));
                continue;
            };
            if clusters.iter().any(|cluster| cluster.name == name) {
                let what = format!("backend `{shown}`: a cluster is named `{name}` already");
                self.tell(Grade::Left, what);
                continue;
            }
            if name != backend.name {
                self.tell(Grade::Note, format!("backend `{shown}` is called `{name}` here"));
            }
            let group = backend.routing_group.as_deref().filter(|group| !group.is_empty());
            let group = group.map_or_else(|| default_group.to_owned(), |it| self.called(it));
            clusters.push(Cluster { name, group, url, backend });
        }
        clusters
    }

    fn head(&mut self, default_group: &str) {
        let java = self.java;
        let file: String = self.file.chars().filter(|char| !char.is_control()).collect();
        self.line(&format!(
            "# What `warren migrate` made of `{file}`. docs/config.md tells of all settings."
        ));
        self.line("#");
        self.line("#   warren check --config warren.toml --offline");
        self.line("#   warren rules test --config warren.toml");
        self.line("");
        self.line("[listen]");
        self.set("client", &format!("0.0.0.0:{}", java.port));
        self.line("# The operators' port: the API of the Java gateway's backends is there too.");
        let admin = if java.port == ADMIN_PORT { ADMIN_PORT + 1 } else { ADMIN_PORT };
        self.set("admin", &format!("127.0.0.1:{admin}"));
        self.line("");
        self.line("[store]");
        self.line("# For several gateways: \"mysql://user:password@host:3306/warren\", not the Java gateway's own.");
        self.set("url", "sqlite:warren.db");
        if let Some(hours) = java.keep_hours {
            self.set("keep_history", &format!("{hours}h"));
        }
        self.line("");
        self.line("[rules]");
        self.set("file", "lua/route.lua");
        self.set("default_group", default_group);
        if !java.has_rules {
            self.line(
                "# Without rules, the Java gateway takes the group that the client asks for.",
            );
            self.line("routing_group_header = true");
        }
        self.paths();
    }

    fn paths(&mut self) {
        let java = self.java;
        let mut extra = Vec::new();
        for (line, path) in &java.extra_paths {
            if Regex::new(path).is_ok() {
                extra.push(path);
                continue;
            }
            let path = path.escape_debug();
            let text =
                format!("`extraWhitelistPaths`: `{path}` is no regular expression of Rust's");
            self.findings.push(Finding::left(Place::of(self.file, *line), text));
        }
        if java.statement_paths.is_empty() && extra.is_empty() {
            return;
        }
        self.line("");
        self.line("[paths]");
        if !java.statement_paths.is_empty() {
            self.line(&format!("statement = {}", list(&java.statement_paths)));
        }
        if !extra.is_empty() {
            self.line(&format!("extra = {}", list(extra)));
        }
    }

    fn group(&mut self, group: &str, default_group: &str) {
        self.line("");
        self.line("[[groups]]");
        self.set("name", group);
        if group != default_group {
            self.line("# As in the Java gateway, while none of its own clusters can take a query.");
            self.line(&format!("fallback = {}", list([default_group])));
        }
    }

    fn cluster(&mut self, cluster: &Cluster<'_>) {
        self.line("");
        self.line("[[clusters]]");
        self.set("name", &cluster.name);
        self.set("group", &cluster.group);
        self.set("url", &cluster.url);
        if !cluster.backend.active {
            self.line("# It was not active.");
            self.set("initial_intent", "drained");
        }
        self.line("[clusters.probe]");
        let java = self.java;
        if java.source == "info" {
            self.line("# Better: \"statement\", where Warren may run `SELECT 1` as `user`.");
        }
        self.set("source", java.source);
        if let Some(user) = &java.probe_user {
            self.set("user", user);
        }
        if java.has_probe_password {
            self.line("# Secrets are not copied. Set the variable for Warren, and remove the `#`.");
            self.line("#password = { env = \"WARREN_PROBE_PASSWORD\" }");
        }
        for (name, bounds) in
            [("metrics_min", &java.metrics_min), ("metrics_max", &java.metrics_max)]
        {
            if !bounds.is_empty() {
                let bounds =
                    bounds.iter().map(|(name, bound)| format!("{} = {bound}", quoted(name)));
                let bounds = bounds.collect::<Vec<_>>().join(", ");
                self.line(&format!("{name} = {{ {bounds} }}"));
            }
        }
    }
}

/// The origin in an address, without a slash behind it. `None`: it is more or less than one.
fn origin(url: &str) -> Option<String> {
    let url = url.trim();
    let url = url.strip_suffix('/').unwrap_or(url);
    let (scheme, host) = url.split_once("://")?;
    let is_known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let is_host = !host.is_empty()
        && host.chars().all(|char| char.is_ascii_alphanumeric() || "-._:[]".contains(char));
    (is_known && is_host).then(|| url.to_owned())
}

/// A text as TOML writes it: what JSON writes is fit for it, but for one control character.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

fn list<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let texts = texts.into_iter().map(|text| quoted(text.as_ref()));
    format!("[{}]", texts.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_origin_is() {
        for (url, expected) in [
            ("http://trino:8080/", Some("http://trino:8080")),
            (" https://[::1]:8443", Some("https://[::1]:8443")),
            ("http://trino/path", None),
            ("http://user:secret@trino", None),
            ("trino:8080", None),
            ("http://", None),
        ] {
            assert_eq!(origin(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn texts_are_toml() {
        let text = "a\"b\\c\n\u{7f}ü";
        let toml = format!("x = {}", quoted(text));
        let table: toml::Table = toml.parse().unwrap();
        assert_eq!(table["x"].as_str(), Some(text));
        assert_eq!(list(["a", "b"]), r#"["a", "b"]"#);
    }
}

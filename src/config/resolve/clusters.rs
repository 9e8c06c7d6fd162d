//! `[[clusters]]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use toml::de::DeValue;

use super::names::{Once, known_group, label};
use crate::config::problem::{Wrong, quoted};
use crate::config::raw::Section;
use crate::config::{
    ClusterConfig, Group, LoadWeights, MetricBounds, Probe, Source, address, secret,
};
use crate::ids::{ClusterName, GroupName};
use crate::store::Intent;

/// Reads `[[clusters]]`.
pub(super) fn clusters(root: &Section<'_>, groups: &[Group]) -> Vec<ClusterConfig> {
    let sections = root.sections("clusters", "clusters[]");
    if sections.is_empty() && root.find("clusters").is_none_or(|found| found.value.is_array()) {
        root.complain(
            "clusters",
            "no cluster",
            "add `[[clusters]]` with `name`, `group` and `url`",
        );
    }
    let known: Vec<&GroupName> = groups.iter().map(|group| &group.name).collect();
    let mut names = Once::default();
    let mut urls = Once::default();
    let mut clusters = Vec::new();
    for section in &sections {
        let cluster = cluster(section, &known);
        if let Some(name) = &cluster.name {
            names.is_new(section, "name", name);
        }
        if let Some(url) = &cluster.url {
            urls.is_new(section, "url", url);
        }
        let whole = cluster.whole(groups);
        if let Some(cluster) = &whole {
            fits_its_source(section, cluster);
        }
        clusters.extend(whole);
    }
    clusters
}

/// Notes what is asked of a source that does not tell it.
fn fits_its_source(section: &Section<'_>, cluster: &ClusterConfig) {
    let source = cluster.probe.source;
    let word = source.as_str();
    if source == Source::Info && cluster.needed_workers() > 0 {
        let what = "workers that must be counted, which `probe.source = \"info\"` cannot";
        let named = if cluster.min_workers > 1 { "min_workers" } else { "expected_workers" };
        section.complain(named, what, "let a statement be the source, or do not ask for workers");
    }
    let told = format!("`probe.source = \"{word}\"`");
    if cluster.load.memory > 0 && !source.tells_memory() {
        let what =
            format!("{told} does not tell memory, for which its group has a `memory_weight`");
        section.complain(
            "probe",
            what,
            "let `metrics` or `jmx` be the source, or leave the weight out",
        );
    }
    if cluster.load.cpu > 0 && !source.counts() {
        let what =
            format!("{told} does not tell processors, for which its group has a `cpu_weight`");
        let right = "let `metrics`, `ui` or `jmx` be the source, or leave the weight out";
        section.complain("probe", what, right);
    }
}

/// What could be read of one cluster.
struct Parts {
    name: Option<ClusterName>,
    group: Option<GroupName>,
    url: Option<crate::config::ClusterUrl>,
    weight: Option<u64>,
    zone: Option<String>,
    initial_intent: Option<Intent>,
    min_workers: Option<u64>,
    expected_workers: Option<u64>,
    workers_percent: Option<u64>,
    max_running: Option<u64>,
    probe: Option<Probe>,
    ca: Option<PathBuf>,
    server_name: Option<String>,
}

impl Parts {
    fn whole(self, groups: &[Group]) -> Option<ClusterConfig> {
        let group = groups.iter().find(|group| Some(&group.name) == self.group.as_ref());
        let load = group.map_or(LoadWeights::EVEN, |group| group.load);
        Some(ClusterConfig {
            name: self.name?,
            group: self.group?,
            url: self.url?,
            weight: u32::try_from(self.weight?).ok()?,
            load,
            zone: self.zone,
            initial_intent: self.initial_intent?,
            min_workers: u32::try_from(self.min_workers?).ok()?,
            expected_workers: u32::try_from(self.expected_workers?).ok()?,
            workers_percent: u32::try_from(self.workers_percent?).ok()?,
            max_running: self.max_running.and_then(|count| u32::try_from(count).ok()),
            probe: self.probe?,
            ca: self.ca,
            server_name: self.server_name,
        })
    }
}

fn cluster(section: &Section<'_>, known: &[&GroupName]) -> Parts {
    let name = section.parsed("name", |text| label(ClusterName::parse(text)));
    let group = known_group(section, "group", known);
    let url = section.parsed("url", address::cluster_url);
    let initial_intent = section.parsed("initial_intent", intent);
    let tls = section.section("tls", "clusters[].tls");
    let (ca, server_name) = (ca(&tls), tls.parsed("server_name", address::host_name));
    if let Some(url) = &url
        && url.scheme == crate::config::Scheme::Http
        && section.find("tls").is_some()
    {
        section.complain(
            "tls",
            "settings of TLS for a cluster that is spoken to without",
            "write `https://` in `url`, or remove them",
        );
    }
    let probe_section = section.section("probe", "clusters[].probe");
    let probe = probe(&probe_section);
    if let (Some(url), Some(probe)) = (&url, &probe)
        && url.scheme == crate::config::Scheme::Http
        && probe.certificate.is_some()
    {
        let what = "a certificate for a cluster that is spoken to without TLS";
        let right = "write `https://` in `url`, or remove `certificate` and `key`";
        probe_section.complain("certificate", what, right);
    }
    Parts {
        name,
        group,
        url,
        weight: section.number("weight", 1..=1_000_000),
        zone: section.parsed("zone", one_line),
        initial_intent,
        min_workers: section.number("min_workers", 0..=1_000_000),
        expected_workers: section.number("expected_workers", 0..=1_000_000),
        workers_percent: section.number("workers_percent", 1..=100),
        max_running: section.number("max_running", 1..=1_000_000),
        probe,
        ca,
        server_name,
    }
}

/// Reads `ca`, and notes a file that holds no certificate.
pub(super) fn ca(tls: &Section<'_>) -> Option<PathBuf> {
    let path = tls.path("ca")?;
    let named = path.display();
    let right = "name a PEM file with one or more certificates";
    match std::fs::read_to_string(&path) {
        Err(error) => tls.complain("ca", format!("cannot read `{named}`: {error}"), right),
        Ok(text) if !text.contains("-----BEGIN CERTIFICATE-----") => {
            tls.complain("ca", format!("no certificate in `{named}`"), right);
        }
        Ok(_) => {}
    }
    Some(path)
}

fn probe(section: &Section<'_>) -> Option<Probe> {
    let user = section.parsed("user", |text| {
        if text.contains(':') {
            return Err(Wrong::new(
                "a user with `:`, which Basic credentials cannot carry",
                "choose another",
            ));
        }
        one_line(text)
    });
    let statement = section.parsed("statement", |text| {
        let text = text.trim();
        if text.is_empty() || text.ends_with(';') {
            let right = "write one statement without `;`, as `\"SELECT 1\"`";
            return Err(Wrong::new("not one statement", right));
        }
        Ok(text.to_owned())
    });
    let password = secret::read(section, "password");
    let token = secret::read(section, "token");
    if let Some(token) = &token
        && HeaderValue::from_str(token.reveal()).is_err()
    {
        let right = "name where the token stands, alone and in one line";
        section.complain("token", "not a token that a header can carry", right);
    }
    let source = section.parsed("source", |text| {
        let known = Source::ALL.into_iter().find(|source| source.as_str() == text);
        let words = quoted(Source::ALL.iter().map(|source| source.as_str()));
        known.ok_or_else(|| Wrong::new("not a source", format!("one of {words}")))
    });
    let (certificate, headers, metrics) = (pair(section), headers(section), metrics(section));
    let (source, user, statement) = (source?, user?, statement?);
    if !metrics.is_empty() && source != Source::Metrics {
        let named = ["metrics_min", "metrics_max"];
        let named = named.into_iter().find(|name| section.find(name).is_some());
        let word = source.as_str();
        let what = format!("bounds of metrics, which `source = \"{word}\"` does not read");
        let right = "write `source = \"metrics\"`, or leave them out";
        section.complain(named.unwrap_or("source"), what, right);
    }
    Some(Probe { user, password, token, certificate, source, statement, headers, metrics })
}

/// The certificate that a probe shows, and its key.
fn pair(section: &Section<'_>) -> Option<(PathBuf, PathBuf)> {
    let (certificate, key) = (section.path("certificate"), section.path("key"));
    let (Some(certificate), Some(key)) = (&certificate, &key) else {
        for (given, name, missing) in
            [(certificate, "certificate", "key"), (key, "key", "certificate")]
        {
            if given.is_some() {
                section.complain(name, format!("no `{missing}` beside it"), "name both, or none");
            }
        }
        return None;
    };
    for (name, path, holds) in
        [("certificate", certificate, "CERTIFICATE"), ("key", key, "PRIVATE KEY")]
    {
        let right = "name a PEM file with a certificate, and one with its key";
        let named = path.display();
        match std::fs::read_to_string(path) {
            Err(error) => section.complain(name, format!("cannot read `{named}`: {error}"), right),
            Ok(text) if !text.contains(&format!("{holds}-----")) => {
                section.complain(name, format!("no {} in `{named}`", holds.to_lowercase()), right);
            }
            Ok(_) => {}
        }
    }
    Some((certificate.clone(), key.clone()))
}

/// Reads a table of headers. Their values are not shown: some hold credentials.
fn headers(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    let Some(found) = section.find("headers") else { return headers };
    let Some(table) = found.value.as_table() else {
        section.refuse_hidden(
            &found,
            Wrong::new("not a table of headers", "write `headers = { X-Name = \"value\" }`"),
        );
        return headers;
    };
    for (key, value) in table {
        match header(key.get_ref(), value.get_ref().as_str()) {
            Ok((name, value)) => {
                headers.insert(name, value);
            }
            Err(wrong) => section.refuse_hidden(&found, wrong),
        }
    }
    headers
}

/// Reads the bounds of metrics.
fn metrics(section: &Section<'_>) -> Vec<MetricBounds> {
    let (least, most) = (bounds(section, "metrics_min"), bounds(section, "metrics_max"));
    let names: BTreeSet<&String> = least.keys().chain(most.keys()).collect();
    let of = |name: &String| MetricBounds {
        name: name.clone(),
        min: least.get(name).copied(),
        max: most.get(name).copied(),
    };
    names.into_iter().map(of).collect()
}

fn bounds(section: &Section<'_>, name: &str) -> BTreeMap<String, f64> {
    let mut bounds = BTreeMap::new();
    let Some(found) = section.find(name) else { return bounds };
    let Some(table) = found.value.as_table() else {
        let right = format!("write `{name} = {{ trino_a_name_B_C = 1 }}`");
        section.refuse(&found, Wrong::new("not a table of metrics", right));
        return bounds;
    };
    for (key, value) in table {
        let metric = key.get_ref();
        let named = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == ':';
        if metric.is_empty() || !metric.chars().all(named) {
            let what = format!("{metric:?} is no name of a metric");
            section.refuse(&found, Wrong::new(what, "use letters, digits, `_` and `:`"));
            continue;
        }
        match number(value.get_ref()) {
            Some(number) => drop(bounds.insert(metric.to_string(), number)),
            None => {
                let what = format!("the bound of `{metric}` is no number");
                section.refuse(&found, Wrong::new(what, "write a number without quotes"));
            }
        }
    }
    bounds
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    let text = match value {
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
        DeValue::Float(float) => float.as_str(),
        _ => return None,
    };
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn header(name: &str, value: Option<&str>) -> Result<(String, String), Wrong> {
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        let what = format!("{name:?} is no name of a header");
        return Err(Wrong::new(what, "use letters, digits and `-`"));
    };
    if parsed == AUTHORIZATION || parsed == "x-trino-user" {
        let what = format!("`{name}` must not stand here");
        return Err(Wrong::new(what, "use `user`, `password` and `token` of the probe"));
    }
    if [HOST, CONTENT_LENGTH, http::header::CONNECTION, http::header::TRANSFER_ENCODING]
        .contains(&parsed)
    {
        return Err(Wrong::new(format!("`{name}` is set by Warren"), "remove it"));
    }
    match value {
        Some(value) if HeaderValue::from_str(value).is_ok() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(Wrong::new(
            format!("the value of `{name}` is not one line of text"),
            "write it in quotes, without control characters",
        )),
    }
}

fn intent(text: &str) -> Result<Intent, Wrong> {
    Intent::parse(text).ok_or_else(|| {
        let known = quoted(Intent::ALL.iter().map(|intent| intent.as_str()));
        Wrong::new("no such intent", format!("one of {known}"))
    })
}

fn one_line(text: &str) -> Result<String, Wrong> {
    let fine = !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
    fine.then(|| text.to_owned())
        .ok_or_else(|| Wrong::new("not one line of text", "write 1 to 256 characters"))
}

//! `warren doctor`: a query over each hop, which of them is wrong, and what to do about it.
//!
//! It asks the running Warren through its API, its port for clients as a client, and each cluster as
//! the probe user does. It changes nothing; its statements are `SELECT 1` and two that read
//! `system.runtime`.

mod clients;
mod cluster;
mod hop;
mod judge;
mod operators;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use futures::future::join_all;
use serde_json::json;

use super::client::Client;
use super::exit::Exit;
use super::finding::{self, Finding, Grade};
use super::{Failure, Shell, locate};
use crate::config::secret::Secret;
use crate::config::{self, ClusterConfig, ClusterUrl, Config, LoadWeights, Probe, Scheme, Source};
use crate::ids::{ClusterName, GroupName};
use crate::store::Intent;
use clients::Door;

const EXAMPLES: &str = "\
Examples:
  warren doctor --config conf/warren.toml
  warren doctor --url https://trino.example.com --user alice --password-file alice.txt
  warren doctor --json | jq -r '.findings[] | select(.grade != \"fine\") | .text + \" -> \" + .fix'

Exits with 3 if there is a problem. Warnings alone exit with 0.
";

/// What cannot be seen from here.
const NOT_SEEN: &str = "what a proxy between your clients and Warren adds to their requests or takes from them; \
     run this where they are, with --url";

/// Who asks where nobody was named.
const STRANGER: &str = "warren-doctor";

/// Run a query over each hop, and tell which one is wrong.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Doctor {
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where clients come to; else `listen.public_url` and `listen.client` of the settings.
    #[arg(long, value_name = "URL", value_parser = url)]
    url: Option<ClusterUrl>,
    /// A PEM file with the authority of the certificate at that URL; else the system's are believed.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Who asks as a client; else a stranger, or the probe user where one needs a password.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A file that holds that user's password.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// The operators' port, as http://127.0.0.1:8081; else that of the settings.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// A file that holds the token of the operators' port; else $WARREN_TOKEN is used, else the
    /// token of the settings file.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

fn url(text: &str) -> Result<ClusterUrl, String> {
    ClusterUrl::parse(text).ok_or_else(|| "write it as https://trino.example.com".to_owned())
}

/// Somebody who asks as a client.
#[derive(Debug, Clone)]
struct Who {
    user: String,
    password: Option<Secret>,
    token: Option<Secret>,
    certificate: Option<(PathBuf, PathBuf)>,
    headers: BTreeMap<String, String>,
    /// Whether it is the probe user of the cluster.
    is_probe: bool,
}

impl Who {
    fn apply(&self, settings: ClusterConfig) -> ClusterConfig {
        let Self { user, password, token, certificate, headers, .. } = self.clone();
        let probe = Probe { user, password, token, certificate, headers, ..settings.probe };
        ClusterConfig { probe, ..settings }
    }
}

/// Who asks a cluster as a client: who was named, else a stranger, else, where the probe user needs
/// credentials, that one.
fn who_asks(given: Option<&Who>, settings: &ClusterConfig) -> Who {
    let Probe { user, password, token, certificate, headers, .. } = settings.probe.clone();
    let logs_in = password.is_some() || token.is_some() || certificate.is_some();
    match given {
        Some(who) => Who { is_probe: who.user == user, ..who.clone() },
        None if logs_in || !headers.is_empty() => {
            Who { user, password, token, certificate, headers, is_probe: true }
        }
        None => {
            let (user, headers) = (STRANGER.to_owned(), BTreeMap::new());
            let (password, token, certificate) = (None, None, None);
            Who { user, password, token, certificate, headers, is_probe: false }
        }
    }
}

impl Doctor {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let variable = (shell.environment)("WARREN_CONFIG");
        let located = locate::locate(self.config.as_deref(), variable, Path::is_file)?;
        let findings = match config::load(&located.path) {
            Ok(config) => self.examine(&config, shell)?,
            Err(problems) => problems.list.iter().map(Finding::of_settings).collect(),
        };
        let file = located.path.display().to_string();
        let text = if self.json {
            let ok = !findings.iter().any(|finding| finding.grade == Grade::Problem);
            let told = json!({
                "settings": file, "ok": ok, "findings": findings, "not_seen": [NOT_SEEN],
            });
            format!("{told:#}\n")
        } else {
            let report = finding::report(&findings);
            format!(
                "settings: {file} ({})\n\n{report}not seen from here: {NOT_SEEN}\n",
                located.why
            )
        };
        write!(shell.out, "{text}")?;
        Ok(finding::exit(&findings))
    }

    fn examine(&self, config: &Config, shell: &Shell<'_>) -> Result<Vec<Finding>, Failure> {
        let who = self.who()?;
        let url = match &self.admin {
            Some(url) => super::operators::origin(url)?,
            None => format!("http://{}", super::operators::reachable(config.listen.admin)),
        };
        let token = super::operators::given_token(self.token_file.as_deref(), shell)?;
        let client = Client::new(url.clone(), token.or_else(|| config.admin.token.clone()));
        let mut findings = operators::examine(&client, &url, config);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        findings.extend(runtime.block_on(self.run_queries(config, who.as_ref())));
        Ok(findings)
    }

    /// The doors for clients first, as a query comes; though the clusters are asked first, since the
    /// marks of their coordinators tell where a client's query went.
    async fn run_queries(&self, config: &Config, given: Option<&Who>) -> Vec<Finding> {
        let visits = config.clusters.iter().map(|one| cluster::examine(one, config, given));
        let clusters = join_all(visits).await;
        let mut findings = Vec::new();
        let doors = self.doors(config, given);
        if doors.is_empty() {
            let text = "speaks TLS, and no name of it is known here".to_owned();
            let fix = "give the address that clients use by --url, as https://trino.example.com";
            findings.push(Finding::warning("clients", "listen.client", text).with_fix(fix));
        }
        for door in doors {
            findings.extend(clients::examine(&door, config, &clusters).await);
        }
        findings.extend(clusters.into_iter().flat_map(|cluster| cluster.findings));
        findings
    }

    fn who(&self) -> Result<Option<Who>, Failure> {
        let Some(user) = self.user.clone() else { return Ok(None) };
        let password = match &self.password_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let path = path.display();
                    Failure::Usage(format!("cannot read --password-file {path}: {error}"))
                })?;
                Some(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
        };
        let (token, certificate, headers) = (None, None, BTreeMap::new());
        Ok(Some(Who { user, password, token, certificate, headers, is_probe: false }))
    }

    /// Where clients come in: what --url names, else the address that they are told, and the port.
    fn doors(&self, config: &Config, given: Option<&Who>) -> Vec<Door> {
        let public = config.listen.public_url.as_ref().map(ToString::to_string);
        let door = |name, url: ClusterUrl, leads_to: Option<String>| {
            let leads_to = leads_to.unwrap_or_else(|| url.to_string());
            Door { name, settings: self.door(url, config, given), leads_to }
        };
        if let Some(url) = &self.url {
            return vec![door("--url", url.clone(), None)];
        }
        let known = public.as_deref().and_then(ClusterUrl::parse);
        let known = known.map(|url| door("listen.public_url", url, None));
        let own = config.listen.tls.is_none().then(|| {
            let at = super::operators::reachable(config.listen.client);
            ClusterUrl { scheme: Scheme::Http, host: at.ip().to_string(), port: at.port() }
        });
        let own = own.map(|url| door("listen.client", url, public.clone()));
        known.into_iter().chain(own).collect()
    }

    /// A door in the shape of a cluster.
    fn door(&self, url: ClusterUrl, config: &Config, given: Option<&Who>) -> ClusterConfig {
        let nobody = || Probe {
            user: STRANGER.to_owned(),
            password: None,
            token: None,
            certificate: None,
            source: Source::Statement,
            statement: String::new(),
            headers: BTreeMap::new(),
            metrics: Vec::new(),
        };
        let settings = ClusterConfig {
            name: ClusterName::parse("warren").expect("a name"),
            group: GroupName::parse("warren").expect("a name"),
            url,
            weight: 1,
            load: LoadWeights::EVEN,
            zone: None,
            initial_intent: Intent::Active,
            min_workers: 1,
            expected_workers: 0,
            workers_percent: 50,
            max_running: None,
            probe: config.clusters.first().map_or_else(nobody, |like| like.probe.clone()),
            ca: self.ca.clone(),
            server_name: None,
        };
        who_asks(given, &settings).apply(settings)
    }
}

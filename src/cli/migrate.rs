//! `warren migrate`: from another gateway to Warren. Writes files, and changes nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use thiserror::Error;

use super::exit::Exit;
use super::{Failure, Shell, client, rules};
use crate::config;
use crate::migrate::{
    Backend, BackendsError, File, Finding, Grade, MigrateError, Migration, Sources, migrate,
    of_json, rules_path,
};
use crate::route::suite;
use crate::store::{StoreError, java_backends};

/// The longest that a Java gateway may take to tell its backends.
const ASK_MAX: Duration = Duration::from_secs(15);
/// Where it tells them, and where older ones do.
const PATHS: [&str; 2] = ["/api/public/backends", "/gateway/backend/all"];

const EXAMPLES: &str = "\
Examples:
  warren migrate trino-gateway --config config.yaml --from-url http://gateway:8080 --out warren
  warren migrate trino-gateway --config config.yaml --rules rules.yml --database mysql://root@db/gateway
  curl https://gateway/api/public/backends > backends.json
  warren migrate trino-gateway --config config.yaml --backends backends.json

Then: warren check --config warren/warren.toml, warren rules test --config warren/warren.toml
";

/// Make settings and rules of those of another gateway.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Migrate {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    TrinoGateway(TrinoGateway),
}

/// Turn a Java Trino Gateway's backends, settings and rules into warren.toml, Lua rules and tests.
///
/// Exits with 3 if something was not translated. Nothing of the Java gateway is changed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct TrinoGateway {
    /// Its settings, config.yaml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Its rules; without it, those that its settings name.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Ask the running gateway for its backends; plain HTTP.
    #[arg(long, value_name = "URL", conflicts_with_all = ["database", "backends"])]
    from_url: Option<String>,
    /// Read its backends in its MySQL or MariaDB, as mysql://user:password@host:3306/gateway.
    #[arg(long, value_name = "URL", conflicts_with = "backends")]
    database: Option<String>,
    /// Read its backends in a file with what its /api/public/backends answers.
    #[arg(long, value_name = "FILE")]
    backends: Option<PathBuf>,
    /// Where to write.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// Write over files that are there.
    #[arg(long)]
    force: bool,
    /// Print what came of it as JSON.
    #[arg(long)]
    json: bool,
}

/// Why nothing was migrated.
#[derive(Debug, Error)]
pub(super) enum MigrateFailure {
    #[error("read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("read the backends of {of}")]
    Backends { of: String, source: BackendsError },
    #[error("get the backends from {url}: {what}")]
    Refused { url: String, what: String },
    #[error("get the backends from {url}")]
    Unreachable { url: String, source: Box<ureq::Error> },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("start a runtime")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
}

impl Migrate {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        match &self.verb {
            Verb::TrinoGateway(gateway) => gateway.run(shell),
        }
    }
}

impl TrinoGateway {
    fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let files = ["warren.toml", "lua/route.lua", "lua/tests/route.lua"];
        let files = files.map(|file| self.out.join(file));
        if let (false, Some(file)) = (self.force, files.iter().find(|file| file.exists())) {
            let what = format!("{} is there already; --force writes over it", file.display());
            return Err(Failure::Usage(what));
        }
        let migration = self.translate(shell)?;
        let texts = [&migration.settings, &migration.script, &migration.tests];
        for (file, text) in files.iter().zip(texts) {
            write(file, text)?;
        }
        let problems = if migration.clusters > 0 { verify(&files[0]) } else { Vec::new() };
        self.tell(&migration, &files, &problems, shell)?;
        let is_whole = migration.findings.iter().all(|finding| finding.grade == Grade::Note);
        Ok(if is_whole && problems.is_empty() { Exit::Fine } else { Exit::Problems })
    }

    fn translate(&self, shell: &Shell<'_>) -> Result<Migration, Failure> {
        let text = read(&self.config)?;
        let name = self.config.display().to_string();
        let config = File { name: &name, text: &text };
        let rules = match &self.rules {
            Some(path) => Some(path.clone()),
            None => rules_path(config, shell.environment)
                .map_err(MigrateFailure::from)?
                .map(|it| self.beside(&it)),
        };
        let rules = match rules {
            Some(path) => Some((path.display().to_string(), read(&path)?)),
            None => None,
        };
        let backends = self.known_backends()?;
        let rules = rules.as_ref().map(|(name, text)| File { name, text });
        let environment = shell.environment;
        let sources = Sources { config, rules, backends: &backends, environment };
        Ok(migrate(&sources).map_err(MigrateFailure::from)?)
    }

    /// A file that the settings name: beside them, else from where we are.
    fn beside(&self, file: &str) -> PathBuf {
        let beside = self.config.with_file_name(file);
        if beside.is_file() { beside } else { PathBuf::from(file) }
    }

    fn known_backends(&self) -> Result<Vec<Backend>, Failure> {
        if let Some(url) = &self.from_url {
            return ask(url);
        }
        if let Some(url) = &self.database {
            return Ok(look(url)?);
        }
        let Some(path) = &self.backends else { return Ok(Vec::new()) };
        let text = read(path)?;
        let of = || format!("`{}`", path.display());
        let backends = of_json(text.as_bytes());
        Ok(backends.map_err(|source| MigrateFailure::Backends { of: of(), source })?)
    }

    fn tell(
        &self,
        migration: &Migration,
        files: &[PathBuf],
        problems: &[String],
        shell: &mut Shell<'_>,
    ) -> io::Result<()> {
        let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        let (rules, translated) = migration.rules;
        let is_left = |finding: &&Finding| finding.grade == Grade::Left;
        if self.json {
            let told = json!({
                "ok": problems.is_empty() && !migration.findings.iter().any(|it| is_left(&it)),
                "files": files,
                "clusters": migration.clusters,
                "groups": migration.groups,
                "rules": rules,
                "translated": translated,
                "cases": migration.cases,
                "findings": migration.findings,
                "problems": problems,
            });
            return writeln!(shell.out, "{told:#}");
        }
        writeln!(shell.out, "written: {}", files.join(", "))?;
        writeln!(
            shell.out,
            "clusters: {}, groups: {}, rules: {translated} of {rules} translated, tests: {}",
            migration.clusters,
            migration.groups.len(),
            migration.cases
        )?;
        let findings = migration.findings.iter();
        let (left, notes): (Vec<_>, Vec<_>) = findings.partition(is_left);
        let lines = |list: Vec<&Finding>| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        section("not translated", &lines(left), shell)?;
        section("to be known", &lines(notes), shell)?;
        section("problems of what was written", problems, shell)
    }
}

fn section(title: &str, lines: &[String], shell: &mut Shell<'_>) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(shell.out, "\n{title}:")?;
    lines.iter().try_for_each(|line| writeln!(shell.out, "  {}", super::table::plain(line)))
}

fn read(path: &Path) -> Result<String, MigrateFailure> {
    fs::read_to_string(path)
        .map_err(|source| MigrateFailure::Read { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str) -> Result<(), MigrateFailure> {
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    folder
        .and_then(|()| fs::write(path, text))
        .map_err(|source| MigrateFailure::Write { path: path.to_owned(), source })
}

/// Asks a running Java gateway.
fn ask(url: &str) -> Result<Vec<Backend>, Failure> {
    if !url.starts_with("http://") {
        let what = "--from-url: expected http://; with https, let curl write \
             /api/public/backends to a file and name it by --backends";
        return Err(Failure::Usage(what.to_owned()));
    }
    let agent = client::agent(ASK_MAX);
    let mut refused = String::new();
    for path in PATHS {
        let url = format!("{}{path}", url.trim_end_matches('/'));
        let told = without_user(&url);
        let unreachable =
            |source| MigrateFailure::Unreachable { url: told.clone(), source: Box::new(source) };
        let mut answer = agent.get(&url).call().map_err(unreachable)?;
        let body = client::read(&mut answer).map_err(unreachable)?;
        if answer.status().is_success() {
            let backends = of_json(&body);
            return Ok(
                backends.map_err(|source| MigrateFailure::Backends { of: told.clone(), source })?
            );
        }
        refused = format!("{path} answers {}", answer.status());
    }
    Err(MigrateFailure::Refused { url: without_user(url), what: refused }.into())
}

/// A URL as it may be shown: without the user and the password before its host.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// Looks into the database of a Java gateway.
fn look(url: &str) -> Result<Vec<Backend>, MigrateFailure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(MigrateFailure::Runtime)?;
    let rows = runtime.block_on(java_backends(url))?;
    let backends = rows.into_iter().map(|row| Backend {
        name: row.name,
        proxy_to: row.backend_url,
        external_url: row.external_url,
        active: row.active,
        routing_group: row.routing_group,
    });
    Ok(backends.collect())
}

/// What is wrong with the settings, rules and tests that were written.
fn verify(settings: &Path) -> Vec<String> {
    let config = match config::load(settings) {
        Ok(config) => config,
        Err(problems) => return problems.list.iter().map(ToString::to_string).collect(),
    };
    let report = rules::compiled(&config).and_then(|rules| {
        let files = suite::read(&config.rules.file)?;
        Ok((suite::run(&rules, &files)?, rules))
    });
    match report {
        Ok((report, rules)) => {
            let warnings = rules.warnings().iter().map(ToString::to_string);
            report.broken.iter().map(ToString::to_string).chain(warnings).collect()
        }
        Err(error) => error.findings(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("http://ana:secret@gateway:8080/api", "http://gateway:8080/api"),
            ("http://ana:se@cret@gateway", "http://gateway"),
            ("http://gateway:8080/a@b", "http://gateway:8080/a@b"),
            ("gateway", "gateway"),
        ] {
            assert_eq!(without_user(url), shown, "{url}");
        }
    }

    #[test]
    fn a_gateway_that_cannot_be_asked_is_told_without_its_password() {
        // Nobody listens at port 1.
        let Err(failure) = ask("http://ana:secret@127.0.0.1:1") else { panic!("it was asked") };
        let Failure::Migrate(failure) = failure else { panic!("it is another failure") };
        assert_eq!(
            failure.to_string(),
            "get the backends from http://127.0.0.1:1/api/public/backends"
        );
    }
}

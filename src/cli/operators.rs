//! How a verb finds the operators' port of a running Warren, and its token.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;

use super::client::Client;
use super::{Failure, Shell, locate};
use crate::config::secret::Secret;
use crate::config::{self, Config};

/// Which Warren is asked.
#[derive(Debug, Args)]
pub(super) struct Operators {
    /// Find the operators' port and its token in this settings file.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// The operators' port, as http://127.0.0.1:8081.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// A file that holds the token of the operators' port; else $WARREN_TOKEN is used, else the
    /// token of the settings file.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print the answer as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl Operators {
    pub(super) fn client(&self, shell: &mut Shell<'_>) -> Result<Client, Failure> {
        let given = given_token(self.token_file.as_deref(), shell)?;
        if let Some(url) = &self.admin {
            return Ok(Client::new(origin(url)?, given));
        }
        let config = load(self.config.as_ref(), shell)?;
        let url = format!("http://{}", reachable(config.listen.admin));
        Ok(Client::new(url, given.or(config.admin.token)))
    }
}

/// The token of a file, else of the environment.
pub(super) fn given_token(
    file: Option<&Path>,
    shell: &Shell<'_>,
) -> Result<Option<Secret>, Failure> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            Failure::Usage(format!("cannot read --token-file {}: {error}", path.display()))
        })?,
        None => (shell.environment)("WARREN_TOKEN").unwrap_or_default(),
    };
    let token = text.trim_end();
    if token.chars().any(|c| c.is_control() || !c.is_ascii()) {
        return Err(Failure::Usage("the token is not one line of plain text".to_owned()));
    }
    Ok((!token.is_empty()).then(|| Secret::new(token.to_owned())))
}

/// Loads the settings file that counts, and says which it is unless it was named.
pub(super) fn load(flag: Option<&PathBuf>, shell: &mut Shell<'_>) -> Result<Config, Failure> {
    let variable = (shell.environment)("WARREN_CONFIG");
    let located = locate::locate(flag.map(PathBuf::as_path), variable, Path::is_file)?;
    if flag.is_none() {
        writeln!(shell.err, "settings: {} ({})", located.path.display(), located.why)?;
    }
    Ok(config::load(&located.path)?)
}

/// The address to call for one that is listened on: "all interfaces" is no place to call.
pub(super) fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

/// The origin of an operators' port that a flag names.
pub(super) fn origin(url: &str) -> Result<String, Failure> {
    let usage = |what: &str| Failure::Usage(format!("--admin {url:?}: {what}"));
    let wanted = "write it as http://127.0.0.1:8081";
    let parsed: http::Uri = url.parse().map_err(|_| usage(wanted))?;
    if parsed.scheme_str() == Some("https") {
        return Err(usage(
            "the operators' port speaks plain HTTP; forward its port to this machine",
        ));
    }
    let whole = parsed.scheme_str() == Some("http")
        && parsed.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        && parsed.path() == "/"
        && parsed.query().is_none();
    if !whole {
        return Err(usage(wanted));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

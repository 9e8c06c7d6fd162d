//! Whether clusters can be reached, all at once, within the connect timeout of the settings.
//!
//! Of an `https` cluster only the connection is tried: its certificate is judged by the very code
//! that will speak to it, in `serve`.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use crate::cli::client;
use crate::cli::finding::Finding;
use crate::config::{ClusterConfig, Config, Scheme};

/// How many clusters are asked at the same time; more wait for their turn.
const AT_ONCE: usize = 32;

/// What `/v1/info` tells.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    node_version: Version,
    environment: Option<String>,
    coordinator: Option<bool>,
    starting: bool,
}

#[derive(Debug, Deserialize)]
struct Version {
    version: String,
}

/// Tries each cluster; findings come in the order of the file.
pub(super) fn clusters(config: &Config) -> Vec<Finding> {
    let (connect, answer) = (config.timeouts.connect, config.health.timeout);
    let mut findings = Vec::new();
    for some in config.clusters.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let tries: Vec<_> =
                some.iter().map(|one| scope.spawn(move || cluster(one, connect, answer))).collect();
            let found = tries.into_iter().zip(some).map(|(one, cluster)| {
                one.join().unwrap_or_else(|_| {
                    let what = "the check itself broke off".to_owned();
                    Finding::problem("cluster", cluster.name.as_str(), what)
                })
            });
            findings.extend(found);
        });
    }
    findings
}

fn cluster(cluster: &ClusterConfig, connect: Duration, answer: Duration) -> Finding {
    let (name, url) = (cluster.name.as_str(), &cluster.url);
    let problem = |what: String| Finding::problem("cluster", name, format!("{url}: {what}"));
    if let Err(error) = knock(&url.host, url.port, connect) {
        return problem(format!("cannot connect: {error}"));
    }
    if url.scheme == Scheme::Https {
        let what = format!("{url}: takes connections; TLS was not tried");
        return Finding::fine("cluster", name, what);
    }
    match ask(&format!("{url}/v1/info"), connect + answer) {
        Ok(info) if info.coordinator == Some(false) => {
            problem("a worker, not a coordinator".to_owned())
        }
        Ok(info) => {
            let version = info.node_version.version;
            let environment = info.environment.unwrap_or_else(|| "unknown".to_owned());
            let what = format!("{url}: Trino {version}, environment {environment}");
            if info.starting {
                Finding::warning("cluster", name, format!("{what}, still starting"))
            } else {
                Finding::fine("cluster", name, what)
            }
        }
        Err(what) => problem(what),
    }
}

/// Opens a connection to the first address that takes one, and closes it.
fn knock(host: &str, port: u16, timeout: Duration) -> io::Result<()> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ask(url: &str, timeout: Duration) -> Result<Info, String> {
    let mut response = client::agent(timeout)
        .get(url)
        .call()
        .map_err(|error| format!("no answer to /v1/info: {error}"))?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("/v1/info answers {status}"));
    }
    let body =
        client::read(&mut response).map_err(|error| format!("no whole /v1/info: {error}"))?;
    serde_json::from_slice(&body)
        .map_err(|_| "/v1/info is not that of a Trino coordinator".to_owned())
}

//! A statement of our own at a cluster, and how its coordinator builds addresses, which the first
//! answer shows.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tracing::info;

use crate::cluster::Forwarding;
use crate::config::Config;
use crate::health::ask::{Asker, FORWARDED_PROTO, Question};
use crate::ids::{CoordinatorId, QueryId};
use crate::time;

/// A host that no client can have: an address that shows it was built from what we sent.
const SENTINEL: &str = "warren-probe.invalid";

/// Between two pages that come at once.
const PAGE_PAUSE: Duration = Duration::from_millis(20);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    id: String,
    next_uri: Option<String>,
    data: Option<Vec<Vec<Value>>>,
    error: Option<PageError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageError {
    message: String,
    error_name: Option<String>,
}

/// How a statement of ours went.
#[derive(Debug)]
pub enum Ran {
    /// To its end.
    Done {
        /// Who ran it.
        coordinator: CoordinatorId,
        /// What it gave.
        rows: Vec<Vec<Value>>,
    },
    /// It stood QUEUED or RUNNING at its deadline, and was cancelled.
    Unfinished {
        /// Who has it.
        coordinator: CoordinatorId,
    },
}

/// Runs a statement to its end, or for `health.statement_timeout`, over a connection of its own.
pub async fn run(asker: &Asker, config: &Config, text: &str) -> Result<Ran, String> {
    let asker = &asker.afresh();
    Statement { asker, config }.to_its_end(text).await
}

struct Statement<'a> {
    asker: &'a Asker,
    config: &'a Config,
}

impl Statement<'_> {
    async fn to_its_end(&self, text: &str) -> Result<Ran, String> {
        let deadline = time::now() + self.config.health.statement_timeout;
        let mut page = self.post(text).await?;
        let coordinator =
            QueryId::parse(&page.id).map_err(|error| error.to_string())?.coordinator();
        let mut rows = Vec::new();
        loop {
            if let Some(error) = page.error {
                let name = error.error_name.unwrap_or_default();
                return Err(format!("a probe statement failed: {name} {}", error.message));
            }
            rows.extend(page.data.take().unwrap_or_default());
            let Some(next) = page.next_uri.as_deref().map(path_of) else { break };
            let next = next.ok_or("a page's nextUri is no address")?.to_owned();
            if time::now() >= deadline {
                self.cancel(&next).await;
                return Ok(Ran::Unfinished { coordinator });
            }
            let left = deadline.saturating_duration_since(time::now()) + Duration::from_secs(2);
            let question = Question::get(&next, left.min(self.config.health.statement_timeout));
            match self.asker.json(question, &self.config.timeouts).await {
                Ok(next_page) => page = next_page,
                Err(why) => {
                    self.cancel(&next).await;
                    return Err(why.to_string());
                }
            }
            tokio::time::sleep(PAGE_PAUSE).await;
        }
        Ok(Ran::Done { coordinator, rows })
    }

    async fn cancel(&self, path: &str) {
        let question =
            Question { method: "DELETE", ..Question::get(path, self.config.health.timeout) };
        if let Err(why) = self.asker.ask(question, &self.config.timeouts).await {
            info!(cluster = %self.asker.cluster.name(), why, "a probe statement was not cancelled");
        }
    }

    /// Posts the statement, finding out how the coordinator learns our address if it is not known.
    async fn post(&self, text: &str) -> Result<Page, String> {
        let cluster = &self.asker.cluster;
        let tests = match cluster.forwarding() {
            Forwarding::Unknown => {
                vec![Forwarding::Honoured, Forwarding::HostOnly, Forwarding::Rewritten]
            }
            known => vec![known],
        };
        let mut why = None;
        let mut forgotten = false;
        for test in tests {
            let headers = match test {
                Forwarding::Honoured if self.asker.vouches_for_tls() => vec![
                    ("X-Forwarded-Host", SENTINEL.to_owned()),
                    (FORWARDED_PROTO, "https".to_owned()),
                ],
                Forwarding::Honoured => vec![("X-Forwarded-Host", SENTINEL.to_owned())],
                Forwarding::HostOnly => vec![("Host", SENTINEL.to_owned())],
                Forwarding::Unknown | Forwarding::Rewritten => Vec::new(),
            };
            let question = Question {
                method: "POST",
                body: Bytes::copy_from_slice(text.as_bytes()),
                headers: &headers,
                ..Question::get("/v1/statement", self.config.timeouts.answer)
            };
            let (status, body) = self.asker.ask(question, &self.config.timeouts).await?;
            if status != 200 {
                // 406 is how a coordinator refuses forwarded headers; any other tells of a trouble,
                // and the first one is not about what the later tests leave out.
                forgotten |= status == 406;
                if status != 406 {
                    why.get_or_insert(status);
                }
                continue;
            }
            let page: Page = serde_json::from_slice(&body).map_err(|error| {
                format!("a probe statement was answered with no result: {error}")
            })?;
            self.learn(test, &page);
            return Ok(page);
        }
        if forgotten {
            cluster.set_forwarding(Forwarding::Unknown);
        }
        Err(format!("a probe statement was answered with {}", why.unwrap_or(406)))
    }

    fn learn(&self, tested: Forwarding, page: &Page) {
        let cluster = &self.asker.cluster;
        let Some(next) = &page.next_uri else { return };
        let host = next.split("://").nth(1).and_then(|rest| rest.split(['/', ':']).next());
        let found = match (tested, host == Some(SENTINEL)) {
            (Forwarding::Honoured | Forwarding::HostOnly, true) => tested,
            // It ignores what it does not know: then `Host` is tried next time.
            (Forwarding::Honoured, false) => Forwarding::HostOnly,
            _ => Forwarding::Rewritten,
        };
        if cluster.forwarding() != found {
            info!(cluster = %cluster.name(), addresses = found.as_str(), "how it builds addresses");
            cluster.set_forwarding(found);
        }
    }
}

/// Path and query of an address.
fn path_of(address: &str) -> Option<&str> {
    let authority = address.find("://")? + 3;
    let path = address[authority..].find('/')?;
    Some(&address[authority + path..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_an_address() {
        assert_eq!(path_of("http://a:1/v1/x?y=1"), Some("/v1/x?y=1"));
        for text in ["", "/v1/x", "http://a"] {
            assert_eq!(path_of(text), None, "{text}");
        }
    }
}

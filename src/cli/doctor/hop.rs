//! One hop: who is asked, as whom, and what came of it. It is reached by the very code that `serve`
//! reaches it by, so that names and certificates are judged the same.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};

use super::judge::{self, Asked};
use super::words::{NO_HANDSHAKE, Trouble};
use crate::cluster::Cluster;
use crate::config::{ClusterConfig, Config, Scheme};
use crate::health::ask::{Asker, Question};
use crate::health::counting::{self, Session, Told};
use crate::ids::QueryId;
use crate::store::Intent;
use crate::time;
use crate::upstream::exchange::{Answer, ExchangeError, Upstream};

/// For looking a name up.
const LOOKUP: Duration = Duration::from_secs(5);

/// Between two pages that come at once.
const PAGE_PAUSE: Duration = Duration::from_millis(20);

/// How much is shown of a text that nobody expected.
const SHOWN: usize = 160;

/// What is asked of whoever is at the other end.
pub(super) struct Hop<'a> {
    asker: Asker,
    config: &'a Config,
    /// For one answer.
    patience: Duration,
}

/// A statement that was taken.
pub(super) struct Submitted {
    pub(super) id: QueryId,
    /// Where its first page is.
    pub(super) next: String,
    /// By how many seconds the coordinator's clock is ahead.
    pub(super) ahead: i64,
}

/// A statement that ran to its end.
pub(super) struct Ran {
    pub(super) first: Submitted,
    pub(super) rows: Vec<Vec<Value>>,
    pub(super) took: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    id: String,
    next_uri: Option<String>,
    data: Option<Vec<Vec<Value>>>,
    error: Option<PageError>,
    stats: Option<Stats>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageError {
    message: String,
    error_name: Option<String>,
}

#[derive(Deserialize)]
struct Stats {
    state: String,
}

impl<'a> Hop<'a> {
    /// The way to a cluster, or to what is spoken to like one; finds its addresses.
    pub(super) async fn to(
        settings: ClusterConfig,
        config: &'a Config,
        patience: Duration,
    ) -> Result<Self, Trouble> {
        let cluster = Cluster::new(settings, Intent::Active);
        if cluster.addresses().is_empty() {
            let host = cluster.url().host.as_str();
            let found = tokio::time::timeout(LOOKUP, lookup_host((host, cluster.url().port))).await;
            let found = found.ok().and_then(Result::ok);
            let found = found.ok_or_else(|| Trouble::NoName(host.to_owned()))?;
            cluster.set_addresses(found.collect());
        }
        let asker = Asker { cluster, upstream: Arc::new(Upstream::with_pool(1)) };
        Ok(Self { asker, config, patience })
    }

    /// As whom it is asked.
    pub(super) fn user(&self) -> String {
        self.asker.cluster.settings().probe.user.clone()
    }

    /// Asks; any answer but 200 and 204 is a trouble.
    pub(super) async fn ask(&self, question: Question<'_>) -> Result<Answer, Trouble> {
        let limit = question.timeout;
        let asked = self.asker.whole(question, &self.config.timeouts).await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) if error.is_unsent() && self.answers_without_tls().await => {
                return Err(Trouble::Tls(NO_HANDSHAKE.to_owned()));
            }
            Err(error) => return Err(trouble_of(&error, limit)),
        };
        match answer.header.status.as_u16() {
            200 | 204 => Ok(answer),
            code => Err(refused(code, &answer)),
        }
    }

    /// Whether it is to speak TLS and answers to plain HTTP. Such a port may wait for the rest of what
    /// it takes for a request, so that the handshake ends by its time alone.
    async fn answers_without_tls(&self) -> bool {
        let cluster = &self.asker.cluster;
        if cluster.url().scheme == Scheme::Http {
            return false;
        }
        let limit = self.config.timeouts.connect;
        let addresses = cluster.addresses();
        for address in addresses.iter() {
            let knock = tokio::time::timeout(limit, TcpStream::connect(*address)).await;
            let Ok(Ok(stream)) = knock else { continue };
            if plain_answer(stream, limit).await.is_some_and(|text| text.starts_with(b"HTTP/")) {
                return true;
            }
        }
        false
    }

    /// What the cluster's `probe.source` counts.
    pub(super) async fn count(&self) -> Result<Told, String> {
        counting::count(&self.asker, self.config, &Session::default()).await
    }

    /// `GET` of something small.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, Trouble> {
        self.ask(Question::get(path, self.patience)).await
    }

    /// Posts a statement and leaves it there.
    pub(super) async fn submit(
        &self,
        text: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Submitted, Trouble> {
        let (page, ahead) = self.post(text, headers).await?;
        submitted(&page, ahead)
    }

    /// Cancels what was submitted. A statement that nobody asks for never starts and is soon forgotten,
    /// so nothing is lost where this fails.
    pub(super) async fn cancel(&self, submitted: &Submitted) {
        if let Some((_, path)) = judge::split(&submitted.next) {
            let question = Question { method: "DELETE", ..Question::get(path, self.patience) };
            drop(self.ask(question).await);
        }
    }

    /// Runs a statement to its end.
    pub(super) async fn run(&self, text: &str) -> Result<Ran, Trouble> {
        let began = time::now();
        let limit = self.config.health.statement_timeout + self.patience;
        let (mut page, ahead) = self.post(text, &[]).await?;
        let first = submitted(&page, ahead)?;
        let mut rows = Vec::new();
        loop {
            if let Some(error) = page.error {
                let name = error.error_name.unwrap_or_default();
                return Err(Trouble::Failed { name, message: error.message });
            }
            rows.extend(page.data.take().unwrap_or_default());
            let Some(next) = page.next_uri.take() else { break };
            let (_, path) = judge::split(&next).ok_or_else(|| no_address(&next))?;
            if began.elapsed() > limit {
                let state = page.stats.map_or_else(|| "UNKNOWN".to_owned(), |stats| stats.state);
                self.cancel(&Submitted { id: first.id.clone(), next, ahead }).await;
                return Err(Trouble::Waits { state, limit });
            }
            page = read(&self.get(path).await?)?;
            tokio::time::sleep(PAGE_PAUSE).await;
        }
        Ok(Ran { first, rows, took: began.elapsed() })
    }

    async fn post(
        &self,
        text: &str,
        headers: &[(&'static str, String)],
    ) -> Result<(Page, i64), Trouble> {
        let question = Question {
            method: "POST",
            body: Bytes::copy_from_slice(text.as_bytes()),
            headers,
            ..Question::get("/v1/statement", self.patience)
        };
        let from = time::unix_ms();
        let answer = self.ask(question).await?;
        let asked = Asked { from, to: time::unix_ms() };
        let page = read(&answer)?;
        let second = QueryId::parse(&page.id).ok().and_then(|id| judge::second_of_id(&id));
        Ok((page, second.map_or(0, |second| asked.ahead(second))))
    }
}

fn submitted(page: &Page, ahead: i64) -> Result<Submitted, Trouble> {
    let id = QueryId::parse(&page.id).map_err(|error| Trouble::NoTrino(error.to_string()))?;
    if let Some(error) = &page.error {
        let name = error.error_name.clone().unwrap_or_default();
        return Err(Trouble::Failed { name, message: error.message.clone() });
    }
    let next = page.next_uri.clone().ok_or_else(|| no_address(""))?;
    Ok(Submitted { id, next, ahead })
}

fn read(answer: &Answer) -> Result<Page, Trouble> {
    serde_json::from_slice(&answer.body).map_err(|_| Trouble::NoTrino(shown(&answer.body)))
}

fn no_address(next: &str) -> Trouble {
    Trouble::NoTrino(format!("nextUri is no address: {next:?}"))
}

fn refused(code: u16, answer: &Answer) -> Trouble {
    let lines = answer.header.headers.get_all("www-authenticate").iter();
    let kinds: Vec<&str> =
        lines.filter_map(|line| line.to_str().ok()?.split_whitespace().next()).collect();
    let asks_for = (!kinds.is_empty()).then(|| kinds.join(", "));
    Trouble::Status { code, text: shown(&answer.body), asks_for }
}

/// The beginning of a body, on one line.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(SHOWN).collect()
}

/// What a port says to a request without TLS.
async fn plain_answer(mut stream: TcpStream, limit: Duration) -> Option<Vec<u8>> {
    let asked = async {
        stream.write_all(b"HEAD /v1/info HTTP/1.1\r\nHost: warren-doctor.invalid\r\n\r\n").await?;
        let mut text = vec![0; 5];
        stream.read_exact(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    tokio::time::timeout(limit, asked).await.ok()?.ok()
}

fn trouble_of(error: &ExchangeError, limit: Duration) -> Trouble {
    if let Some(why) = error.tls() {
        return Trouble::Tls(why);
    }
    match error {
        ExchangeError::NoAddress(_) => Trouble::NoName("of it".to_owned()),
        ExchangeError::Connect { source, .. } => {
            let system = source.root_cause().downcast_ref::<std::io::Error>();
            let kind = || source.root_etype().as_str().to_owned();
            Trouble::Connect(system.map_or_else(kind, ToString::to_string))
        }
        ExchangeError::Deadline { .. } => Trouble::Silent(limit),
        ExchangeError::Broken { source, .. } if source.etype().as_str() == "ReadTimedout" => {
            Trouble::Silent(limit)
        }
        ExchangeError::Broken { source, .. } => Trouble::Broken(source.etype().as_str().to_owned()),
        ExchangeError::TooLarge { .. } => Trouble::NoTrino(error.to_string()),
    }
}

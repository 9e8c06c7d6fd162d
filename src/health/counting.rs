//! Asks a coordinator for what it counts of itself, where `probe.source` is not a statement.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::cluster::Forwarding;
use crate::config::{Config, Source};
use crate::health::ask::{Asker, FORWARDED_PROTO, Question};
use crate::health::counts::jmx::{self, Bean};
use crate::health::counts::{Counts, metrics, ui};
use crate::time::{self, Instant};
use crate::upstream::exchange::Answer;

/// The most of an answer that is read: the whole of `/metrics`, should a coordinator not know names,
/// three times over.
const ANSWER_MAX: usize = 4 << 20;

/// How long nobody logs in after a login was refused: many in a row lock an account.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// The longest part of an answer that is told.
const SHOWN: usize = 80;

/// What is kept from one asking to the next.
#[derive(Debug, Default)]
pub struct Session {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default, Clone)]
struct Kept {
    /// What the web UI gave at the last login.
    cookies: Option<String>,
    /// Until when nobody logs in, and why.
    refused: Option<(Instant, String)>,
    /// The place of the bean that counts nodes, in `jmx::NODES`.
    nodes: usize,
}

impl Session {
    fn look<T>(&self, at: impl FnOnce(&mut Kept) -> T) -> T {
        at(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What was counted, and what is wrong with it, in words.
#[derive(Debug)]
pub struct Told {
    /// The counts.
    pub counts: Counts,
    /// What the cluster lacks to be ready.
    pub lacking: Option<String>,
}

/// Asks in the way that `probe.source` names.
pub async fn count(asker: &Asker, config: &Config, session: &Session) -> Result<Told, String> {
    let asking = Asking { asker, config, session };
    let settings = asker.cluster.settings();
    let (counts, outside) = match settings.probe.source {
        Source::Ui => (asking.ui().await?, None),
        Source::Jmx => (asking.jmx(settings.load.memory + settings.load.cpu > 0).await?, None),
        Source::Metrics | Source::Statement | Source::Info => {
            let bounds = &settings.probe.metrics;
            let page = asking.metrics(&metrics::path(settings.load, bounds)).await?;
            let counts = metrics::read(&page).map_err(|why| format!("/metrics: {why}"))?;
            (counts, metrics::outside(&page, bounds))
        }
    };
    let lacking = counts.lacking(&settings).or(outside);
    Ok(Told { counts, lacking })
}

struct Asking<'a> {
    asker: &'a Asker,
    config: &'a Config,
    session: &'a Session,
}

type Header = (&'static str, String);

impl Asking<'_> {
    async fn metrics(&self, path: &str) -> Result<String, String> {
        // Trino answers 406 to who takes JSON only.
        let accept = "application/openmetrics-text, text/plain;q=0.5";
        let answer = self.send(path, None, vec![("Accept", accept.to_owned())]).await?;
        Ok(String::from_utf8_lossy(&good(path, &answer)?).into_owned())
    }

    async fn jmx(&self, with_memory: bool) -> Result<Counts, String> {
        let mut place = self.session.look(|kept| kept.nodes);
        let manager = match self.bean(jmx::NODES[place]).await {
            Ok(bean) => bean,
            // Another Trino than the last time may have the other one.
            Err(why) => {
                place = 1 - place;
                let bean = self.bean(jmx::NODES[place]).await.map_err(|_| why)?;
                self.session.look(|kept| kept.nodes = place);
                bean
            }
        };
        let queries = self.bean(jmx::QUERIES).await?;
        let memory = if with_memory { Some(self.bean(jmx::MEMORY).await?) } else { None };
        jmx::read(&manager, &queries, memory.as_ref())
            .map_err(|why| format!("/v1/jmx/mbean/{}: {why}", jmx::NODES[place]))
    }

    async fn bean(&self, name: &str) -> Result<Bean, String> {
        let path = format!("/v1/jmx/mbean/{name}");
        let answer = self.send(&path, None, Vec::new()).await?;
        Bean::read(&good(&path, &answer)?).map_err(|why| format!("{path}: {why}"))
    }

    /// Without a cookie at first: some UIs need no login, or know who shows a token or certificate.
    async fn ui(&self) -> Result<Counts, String> {
        let mut answer = self.stats().await?;
        if wants_login(&answer) {
            self.session.look(|kept| kept.cookies = None);
            let cookies = self.login().await?;
            self.session.look(|kept| kept.cookies = Some(cookies));
            answer = self.stats().await?;
        }
        if wants_login(&answer) {
            return Err(format!("{} asks for a login after one", ui::STATS));
        }
        let body = good(ui::STATS, &answer)?;
        ui::read(&body).map_err(|why| format!("{}: {why}", ui::STATS))
    }

    async fn stats(&self) -> Result<Answer, String> {
        let cookies = self.session.look(|kept| kept.cookies.clone());
        let headers = cookies.map(|cookies| ("Cookie", cookies)).into_iter().collect();
        self.send(ui::STATS, None, headers).await
    }

    async fn login(&self) -> Result<String, String> {
        let refused = self.session.look(|kept| kept.refused.clone());
        if let Some((_, why)) = refused.filter(|(until, _)| time::now() < *until) {
            return Err(why);
        }
        let settings = self.asker.cluster.settings();
        let user = &settings.probe.user;
        let password = settings.probe.password.as_ref().map_or("", |password| password.reveal());
        let ways = [
            (ui::FORM_LOGIN, ui::form(user, password), "application/x-www-form-urlencoded"),
            (ui::JSON_LOGIN, ui::json(user, password), "application/json"),
        ];
        let mut answered = Vec::new();
        for (path, body, kind) in ways {
            let headers = vec![("Content-Type", kind.to_owned())];
            let answer = self.send(path, Some(body), headers).await?;
            let status = answer.header.status.as_u16();
            let set = answer.header.headers.get_all("set-cookie").iter();
            let cookies = ui::cookies(set.filter_map(|value| value.to_str().ok()));
            if let Some(cookies) = cookies.filter(|_| status < 400) {
                return Ok(cookies);
            }
            answered.push(format!("{path} answered {status}"));
        }
        let why = format!(
            "the web UI does not let `{user}` log in ({}); give the password that it takes as `probe.password`, or let its \
             `web-ui.authentication.type` be one that `probe.token` or `probe.certificate` serves",
            answered.join(", ")
        );
        let until = time::now() + REFUSED_FOR;
        self.session.look(|kept| kept.refused = Some((until, why.clone())));
        Err(why)
    }

    /// A GET, or a POST of a body.
    async fn send(
        &self,
        path: &str,
        body: Option<String>,
        mut headers: Vec<Header>,
    ) -> Result<Answer, String> {
        // No statement found out whether it believes a proxy about TLS, without which it takes no
        // credentials. It says 406 if it does not.
        if self.asker.vouches_for_tls() && self.asker.cluster.forwarding() == Forwarding::Unknown {
            headers.push((FORWARDED_PROTO, "https".to_owned()));
        }
        let question = Question {
            method: if body.is_some() { "POST" } else { "GET" },
            body: body.map(Bytes::from).unwrap_or_default(),
            headers: &headers,
            most: ANSWER_MAX,
            ..Question::get(path, self.config.health.timeout)
        };
        let answer = self.asker.whole(question, &self.config.timeouts).await;
        let answer = answer.map_err(|error| format!("{}: {}", bare(path), error.chain()))?;
        self.asker.cluster.reached(time::now());
        Ok(answer)
    }
}

/// A path without what is asked for.
fn bare(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}

/// The UI says 401 to programs, and sends browsers to its login.
fn wants_login(answer: &Answer) -> bool {
    matches!(answer.header.status.as_u16(), 401 | 302 | 303 | 307)
}

/// The body of an answer that tells something.
fn good(path: &str, answer: &Answer) -> Result<Bytes, String> {
    let (path, status) = (bare(path), answer.header.status.as_u16());
    let right = match status {
        200 => {
            let kind = answer.header.headers.get("content-type");
            let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            if kind.starts_with("text/html") || answer.body.first() == Some(&b'<') {
                let what = "answered with a web page; does a proxy with a login stand before it?";
                return Err(format!("{path} {what}"));
            }
            return Ok(answer.body.clone());
        }
        401 | 403 => "the probe user may not read it; see `probe.user`, `password`, `token`",
        404 => "this coordinator does not have it; choose another `probe.source`",
        406 => {
            "it refuses forwarded headers, and so takes no credentials without TLS; write `https://` in `url`, or set \
             `http-server.process-forwarded=true` there"
        }
        _ => {
            let text = String::from_utf8_lossy(&answer.body);
            let line: String =
                text.lines().next().unwrap_or_default().chars().take(SHOWN).collect();
            return Err(format!("{path} answered {status} {line}").trim_end().to_owned());
        }
    };
    Err(format!("{path} answered {status}: {right}"))
}

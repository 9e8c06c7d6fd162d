//! What rules ask services outside: a question, what came of it, and what becomes of a query when nothing
//! good did. Pure.
//!
//! No rule waits in its machine, which belongs to a thread. `route` ends at the first question whose
//! answer is not known (`services/call.rs`). Whoever runs the rules asks the service and runs `route`
//! anew, with all that was heard so far among its facts.

mod call;
mod json;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use thiserror::Error;

pub(super) use self::call::{Line, library};
use super::verdict::{Answer, Given};
use crate::config::{OnFailure, ServiceUrl};

/// The most questions of one decision. A client waits for all of them, one after the other.
pub(super) const QUESTIONS_MAX: usize = 4;
/// The most bytes of a body, of a question or an answer: they are held while a query waits.
pub const BODY_MAX: usize = 64 * 1024;
/// The most values in a body that is JSON: a rule's machine makes them at one go.
const VALUES_MAX: usize = 2000;
/// The longest text of a failure, in bytes: it becomes a reason, which is stored with its query.
const TEXT_MAX: usize = 200;

/// What clients are told when the settings refuse queries whose call failed.
const REFUSED: &str = "the service that the gateway asks about this query does not answer now; try \
     again, or ask the operators of the gateway";

/// A question: what is posted, where to, and how long the answer may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// The service. The settings allow it.
    pub url: ServiceUrl,
    /// All headers of the rule, sorted, `Content-Type` among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// For the whole exchange.
    pub timeout: Duration,
}

/// What a service answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    status: u16,
    body: Bytes,
    /// The body, if the service calls it JSON.
    json: Option<serde_json::Value>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unanswered {
    /// The service could not be reached, or answered badly.
    #[error("{0}")]
    Failed(String),
    /// It took longer than the question has.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The query has no time left for it.
    #[error("the query has no time left to ask it (`timeouts.submit`)")]
    Late,
    /// It failed too often of late.
    #[error("it failed too often and is not asked now (`rules.http.open_for`)")]
    Open,
    /// As many questions are on their way as may be.
    #[error("{0} questions are on their way already (`rules.http.max_in_flight`)")]
    Busy(usize),
    /// Rules are only tried.
    #[error("it is asked by a running gateway alone")]
    Offline,
}

/// A question, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The question.
    pub post: Post,
    /// What came of it.
    pub reply: Result<Reply, Unanswered>,
}

impl Reply {
    /// Takes an answer. An error: it is as good as none.
    pub fn of(status: u16, is_json: bool, body: Bytes) -> Result<Self, Unanswered> {
        if status >= 500 {
            return Err(Unanswered::failed(&format!("it answered {status}")));
        }
        let json = is_json.then(|| json::parsed(&body)).transpose()?;
        Ok(Self { status, body, json })
    }
}

impl Unanswered {
    /// A failure in these words, made fit for a line of text.
    pub fn failed(text: &str) -> Self {
        let plain =
            |letter: char| if letter == ' ' || letter.is_ascii_graphic() { letter } else { '?' };
        Self::Failed(text.chars().map(plain).take(TEXT_MAX).collect())
    }

    /// The label of a metric.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Failed(_) | Self::Offline => "failed",
            Self::Timeout(_) | Self::Late => "timeout",
            Self::Open => "open",
            Self::Busy(_) => "busy",
        }
    }
}

impl Heard {
    /// The answer in the place of the rules', if the settings say what becomes of this query.
    pub(super) fn instead(&self, on_failure: OnFailure) -> Option<Answer> {
        let why = self.why()?;
        let text = |text: &str| Given::Text(text.to_owned());
        let mut fields = vec![(text("reason"), Given::Text(why))];
        match on_failure {
            OnFailure::Nil => return None,
            OnFailure::DefaultGroup => {}
            OnFailure::Reject => fields.push((text("reject"), text(REFUSED))),
        }
        Some(Answer::Fields(fields))
    }

    /// Why there is no answer, for operators.
    fn why(&self) -> Option<String> {
        let why = self.reply.as_ref().err()?;
        Some(format!("http.post to {}: {why}", self.post.url.origin))
    }
}

/// What comes of each question where no service is asked.
pub(super) fn offline(_: &Post) -> Result<Reply, Unanswered> {
    Err(Unanswered::Offline)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, is_json: bool, body: &str) -> String {
        match Reply::of(status, is_json, Bytes::from(body.to_owned())) {
            Ok(reply) => format!("{} {:?}", reply.status, reply.json.map(|json| json.to_string())),
            Err(why) => format!("{}: {why}", why.as_str()),
        }
    }

    #[test]
    fn what_an_answer_is_taken_for() {
        let many = format!("[{}1]", "1,".repeat(VALUES_MAX));
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        for (status, is_json, body, expected) in [
            (200, true, "{\"group\":\"bi\"}", "200 Some(\"{\\\"group\\\":\\\"bi\\\"}\")"),
            (200, false, "{\"group\":\"bi\"}", "200 None"),
            (302, false, "", "302 None"),
            (404, true, "null", "404 Some(\"null\")"),
            (499, false, "", "499 None"),
            (500, true, "{}", "failed: it answered 500"),
            (503, false, "busy", "failed: it answered 503"),
        ] {
            assert_eq!(reply(status, is_json, body), expected, "{body}");
        }
        for bad in ["", "{", "{\"a\":1} x", "\u{f6}", many.as_str(), deep.as_str()] {
            assert!(reply(200, true, bad).starts_with("failed: it answered "), "{bad}");
        }
    }

    #[test]
    fn a_failure_is_short_and_plain() {
        let long = format!("a\r\nb\u{f6} {}", "x".repeat(1000));
        let Unanswered::Failed(text) = Unanswered::failed(&long) else { panic!("it failed") };
        assert!(text.starts_with("a??b? x") && text.len() == TEXT_MAX, "{text}");
    }
}

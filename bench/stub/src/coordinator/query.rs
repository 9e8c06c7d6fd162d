//! One query: its life, its pages, what was asked of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::names::Stage;
use crate::plan::{Failure, Plan};

/// Where a query stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Life {
    /// Posted; nobody has asked for its first page, so nothing runs.
    Registered,
    /// Waits for its resource group.
    Queued,
    /// Runs since then.
    Running { since: Duration },
    /// Ended then, with this error if with one.
    Ended { at: Duration, failure: Option<Failure> },
}

impl Life {
    /// The state as Trino spells it.
    pub(crate) fn state(&self) -> &'static str {
        match self {
            Self::Registered | Self::Queued => "QUEUED",
            Self::Running { .. } => "RUNNING",
            Self::Ended { failure: None, .. } => "FINISHED",
            Self::Ended { failure: Some(_), .. } => "FAILED",
        }
    }
}

/// An answer to a page request, kept so that the same token gets the same bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The JSON.
    pub body: Vec<u8>,
    /// `X-Trino-…` lines.
    pub headers: Vec<(&'static str, String)>,
}

/// The tokens of one stage.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// The token that makes a new page.
    pub next: u64,
    /// The page of the token before.
    pub last: Option<Arc<Page>>,
}

/// What a token is.
#[derive(Debug, PartialEq)]
pub(crate) enum Token {
    /// The next one.
    Next,
    /// The last one again.
    Again(Arc<Page>),
    /// Older: 410.
    Old,
    /// Not given out yet: 404.
    Future,
}

impl Pages {
    /// Places a token.
    pub(crate) fn place(&self, token: u64) -> Token {
        match &self.last {
            _ if token == self.next => Token::Next,
            _ if token > self.next => Token::Future,
            Some(last) if token + 1 == self.next => Token::Again(Arc::clone(last)),
            _ => Token::Old,
        }
    }

    /// Keeps the page that was made for the next token.
    pub(crate) fn keep(&mut self, page: Page) -> Arc<Page> {
        let page = Arc::new(page);
        self.next += 1;
        self.last = Some(Arc::clone(&page));
        page
    }
}

/// What a statement was posted with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Posted {
    /// The text.
    pub sql: String,
    /// `X-Trino-User`.
    pub user: String,
    /// `X-Trino-Source`.
    pub source: Option<String>,
    /// `X-Trino-Transaction-Id`, but for `NONE`.
    pub transaction: Option<String>,
    /// The client takes spooled segments.
    pub spooling: bool,
}

/// One query.
#[derive(Debug)]
pub(crate) struct Query {
    /// Its id.
    pub id: String,
    /// What its slugs are made of.
    pub key: u64,
    /// What it was posted with.
    pub posted: Posted,
    /// What it does.
    pub plan: Plan,
    /// When it was posted.
    pub created: Duration,
    /// The last request for it.
    pub touched: Duration,
    /// Where it stands.
    pub life: Life,
    /// Data pages made so far.
    pub delivered: u32,
    /// Pages under `queued/`.
    pub queued: Pages,
    /// Pages under `executing/`.
    pub executing: Pages,
    /// Page requests, repeated ones too.
    pub pages_asked: u64,
    /// Lines of its executing answers.
    pub told: Vec<(&'static str, String)>,
    /// Rung at each change of life.
    pub bell: Arc<Notify>,
}

impl Query {
    /// A query that was just posted.
    pub(crate) fn new(id: String, key: u64, posted: Posted, now: Duration) -> Self {
        Self {
            id,
            key,
            plan: Plan::read(&posted.sql),
            posted,
            created: now,
            touched: now,
            life: Life::Registered,
            delivered: 0,
            queued: Pages { next: 1, last: None },
            executing: Pages::default(),
            pages_asked: 0,
            told: Vec::new(),
            bell: Arc::default(),
        }
    }

    /// The tokens of a stage.
    pub(crate) fn pages(&mut self, stage: Stage) -> &mut Pages {
        match stage {
            Stage::Queued => &mut self.queued,
            Stage::Executing => &mut self.executing,
        }
    }

    /// When something happens to it by itself: abandoned, or its own failure.
    pub(crate) fn due(&self, client_timeout: Duration) -> Option<Duration> {
        let abandoned = self.touched + client_timeout;
        match &self.life {
            Life::Registered | Life::Queued => Some(abandoned),
            Life::Running { since } if self.plan.fail.is_some() => {
                Some(abandoned.min(*since + self.plan.run))
            }
            Life::Running { .. } => Some(abandoned),
            Life::Ended { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page { body: text.as_bytes().to_vec(), headers: Vec::new() }
    }

    #[test]
    fn a_token_is_next_again_old_or_future() {
        let mut pages = Pages { next: 1, last: None };
        assert_eq!(pages.place(0), Token::Old);
        assert_eq!(pages.place(1), Token::Next);
        let first = pages.keep(page("a"));
        assert_eq!(pages.place(1), Token::Again(first));
        assert_eq!(pages.place(2), Token::Next);
        assert_eq!(pages.place(3), Token::Future);
        pages.keep(page("b"));
        assert_eq!(pages.place(1), Token::Old);
        assert_eq!(pages.place(u64::MAX), Token::Future);
    }
}

//! Pages: which token gets which answer, and what stands on it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::query::{Life, Page, Query, Token};
use super::results::{self, Sheet};
use super::{Coordinator, Moment, PageAsk, PageOutcome};
use crate::names::{self, Stage};
use crate::plan::Statement;

impl Coordinator {
    /// Counts a request for a page; before the first `page` of that request.
    pub(crate) fn arrive(&mut self, ask: &PageAsk<'_>, moment: Moment<'_>) {
        self.advance(moment);
        if let Some(query) = self.queries.get_mut(ask.id)
            && ask.slug == names::slug(query.key, ask.stage, ask.token)
        {
            query.touched = moment.now;
            query.pages_asked += 1;
        }
    }

    /// Asks for a page.
    pub(crate) fn page(&mut self, ask: &PageAsk<'_>, moment: Moment<'_>) -> PageOutcome {
        self.advance(moment);
        let Some(query) = self.queries.get_mut(ask.id) else {
            return PageOutcome::Unknown;
        };
        if ask.slug != names::slug(query.key, ask.stage, ask.token) {
            return PageOutcome::Unknown;
        }
        match query.pages(ask.stage).place(ask.token) {
            Token::Again(page) => return PageOutcome::Ready(page),
            Token::Old => return PageOutcome::Gone,
            Token::Future => return PageOutcome::Unknown,
            Token::Next => {}
        }
        match ask.stage {
            Stage::Queued => self.queued_page(ask, moment),
            Stage::Executing => self.executing_page(ask, moment),
        }
    }

    fn queued_page(&mut self, ask: &PageAsk<'_>, moment: Moment<'_>) -> PageOutcome {
        if self.queries.get(ask.id).is_some_and(|query| query.life == Life::Registered) {
            self.execute(ask.id, moment);
        }
        let Some(query) = self.queries.get_mut(ask.id) else {
            return PageOutcome::Unknown;
        };
        let mut sheet = Sheet::default();
        match &query.life {
            Life::Registered | Life::Queued if moment.now < ask.deadline => {
                return PageOutcome::Wait(ask.deadline, Arc::clone(&query.bell));
            }
            Life::Registered | Life::Queued => {
                sheet.next_uri = Some(uri(moment.base, query, Stage::Queued, ask.token + 1));
            }
            Life::Ended { failure: Some(failure), .. } => sheet.error = Some(failure.clone()),
            Life::Running { .. } | Life::Ended { failure: None, .. } => {
                sheet.next_uri = Some(uri(moment.base, query, Stage::Executing, 0));
            }
        }
        let body = results::page(query, moment.base, moment.now, sheet);
        PageOutcome::Ready(query.queued.keep(Page { body, headers: Vec::new() }))
    }

    fn executing_page(&mut self, ask: &PageAsk<'_>, moment: Moment<'_>) -> PageOutcome {
        let Some(query) = self.queries.get_mut(ask.id) else {
            return PageOutcome::Unknown;
        };
        let mut sheet = Sheet::default();
        match &query.life {
            Life::Registered | Life::Queued => return PageOutcome::Unknown,
            Life::Ended { failure: Some(failure), .. } => sheet.error = Some(failure.clone()),
            Life::Ended { failure: None, .. } => {}
            Life::Running { since } => {
                let more = query.delivered < query.plan.pages;
                let ready = *since + query.plan.page_after(query.delivered);
                if moment.now < ready && moment.now < ask.deadline {
                    return PageOutcome::Wait(ready.min(ask.deadline), Arc::clone(&query.bell));
                }
                if moment.now < ready || more {
                    sheet.next_uri = Some(uri(moment.base, query, Stage::Executing, ask.token + 1));
                    sheet.partial_cancel_uri =
                        Some(partial_cancel(moment.base, query, ask.token + 1));
                }
                if moment.now >= ready && more {
                    sheet.data = Some(self.data(ask.id, moment));
                } else if moment.now >= ready {
                    self.end(ask.id, None, moment);
                }
            }
        }
        let Some(query) = self.queries.get_mut(ask.id) else {
            return PageOutcome::Unknown;
        };
        let body = results::page(query, moment.base, moment.now, sheet);
        let mut headers = query.told.clone();
        if query.posted.spooling && query.plan.spooled > 0 {
            headers.push(("X-Trino-Query-Data-Encoding", "json".to_owned()));
        }
        PageOutcome::Ready(query.executing.keep(Page { body, headers }))
    }

    /// The rows of the next data page.
    fn data(&mut self, id: &str, moment: Moment<'_>) -> Value {
        let Some(query) = self.queries.get(id) else {
            return json!([]);
        };
        let all = moment.behaviour.shows_queries_of_others;
        let shown = |other: &&Query, wanted: Option<&str>| {
            let live = matches!(other.life, Life::Queued | Life::Running { .. });
            wanted.map_or(live && other.id != id, |wanted| other.id == wanted)
                && (all || other.posted.user == query.posted.user)
        };
        let rows: Vec<Value> = match &query.plan.statement {
            Statement::One => vec![json!([1])],
            Statement::Workers => vec![json!([moment.behaviour.workers])],
            Statement::Queries(wanted) => self
                .queries
                .values()
                .filter(|other| shown(other, wanted.as_deref()))
                .map(|query| json!([query.id, query.life.state(), query.posted.source]))
                .collect(),
            Statement::Session(_) | Statement::Begin | Statement::End | Statement::Kill(_) => {
                vec![json!([true])]
            }
            Statement::Rows => {
                let text = "x".repeat(query.plan.size);
                let row = |n: u64| if text.is_empty() { json!([n]) } else { json!([n, text]) };
                query.plan.rows_of(query.delivered).map(row).collect()
            }
        };
        let (key, spooling) = (query.key, query.posted.spooling);
        let parts = if spooling { query.plan.spooled as usize } else { 0 };
        if let Some(query) = self.queries.get_mut(id) {
            query.delivered += 1;
        }
        self.spool.store(key, &rows, parts, moment.base)
    }
}

pub(super) fn uri(base: &str, query: &Query, stage: Stage, token: u64) -> String {
    let slug = names::slug(query.key, stage, token);
    format!("{base}/v1/statement/{}/{}/{slug}/{token}", stage.as_str(), query.id)
}

fn partial_cancel(base: &str, query: &Query, token: u64) -> String {
    let slug = names::slug(query.key, Stage::Executing, token);
    format!("{base}/v1/statement/executing/partialCancel/{}/0/{slug}/{token}", query.id)
}

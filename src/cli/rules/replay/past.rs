//! A recorded query as rules see it again. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::history::record::HEADERS;
use crate::route::facts::{Facts, Statement, Unrecorded};
use crate::store::HistoryRow;
use crate::time::{LocalTime, local_at};

const USER: &str = "x-trino-user";
const SOURCE: &str = "x-trino-source";
const TAGS: &str = "x-trino-client-tags";

/// The most bytes by which a beginning is shorter than it may be, so as not to cut a character.
const SPARE: usize = 3;

/// What is known of a query when rules are asked about it again.
pub(super) struct Past {
    headers: HeaderMap,
    path: String,
    listener: String,
    remote_addr: IpAddr,
    local_time: LocalTime,
    statement: Statement,
    unrecorded: Arc<Unrecorded>,
}

impl Past {
    /// `kept`: how much of a statement the history keeps, in bytes, for rows that do not tell how long
    /// theirs was.
    pub(super) fn of(row: &HistoryRow, kept: usize) -> Self {
        let is_cut = match &row.request {
            Some(request) => request.statement_bytes > row.statement.len() as u64,
            None => row.statement.len() + SPARE >= kept,
        };
        let statement = Statement { text: row.statement.clone().into(), is_cut, analysis: None };
        let headers = headers(row);
        let unrecorded = Arc::new(Unrecorded::beside(known_headers(row), row.request.is_some()));
        match &row.request {
            Some(request) => Self {
                headers,
                path: request.path.clone(),
                listener: request.listener.clone(),
                remote_addr: request.remote_addr,
                local_time: LocalTime { hour: request.hour, weekday: request.weekday },
                statement,
                unrecorded,
            },
            // Path, port and address are not shown to rules then.
            None => Self {
                headers,
                path: String::new(),
                listener: String::new(),
                remote_addr: Ipv4Addr::UNSPECIFIED.into(),
                local_time: local_at(row.submitted_ms.unwrap_or_default()),
                statement,
                unrecorded,
            },
        }
    }

    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            path: &self.path,
            listener: &self.listener,
            remote_addr: self.remote_addr,
            statement: self.statement.clone(),
            local_time: Some(self.local_time),
            unrecorded: Some(self.unrecorded.clone()),
            ..Facts::plain(&self.headers)
        }
    }

    /// What rules asked for that was not recorded.
    pub(super) fn asked(&self) -> BTreeSet<String> {
        self.unrecorded.asked()
    }
}

fn headers(row: &HistoryRow) -> HeaderMap {
    let mut lines: Vec<(&str, &str)> = Vec::new();
    lines.extend(row.user.iter().map(|text| (USER, text.as_str())));
    match &row.request {
        Some(request) => {
            for (name, texts) in &request.headers {
                lines.extend(texts.iter().map(|text| (name.as_str(), text.as_str())));
            }
        }
        None => {
            lines.extend(row.source.iter().map(|text| (SOURCE, text.as_str())));
            lines.extend(row.tags.iter().map(|text| (TAGS, text.as_str())));
        }
    }
    let mut headers = HeaderMap::new();
    for (name, text) in lines {
        // All of them were headers once.
        let parsed = (HeaderName::try_from(name), HeaderValue::from_bytes(text.as_bytes()));
        if let (Ok(name), Ok(value)) = parsed {
            headers.append(name, value);
        }
    }
    headers
}

/// The headers of which the row tells what they were, or that they were absent.
fn known_headers(row: &HistoryRow) -> BTreeSet<String> {
    let known: Vec<&str> = match &row.request {
        Some(request) => {
            let kept = HEADERS.into_iter().filter(|name| !request.left_out.contains(*name));
            kept.chain([USER]).collect()
        }
        None => vec![USER, SOURCE, TAGS],
    };
    known.into_iter().map(str::to_owned).collect()
}

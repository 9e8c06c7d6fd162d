//! The row of a query as a list of fields, the same for every store. Pure.

use crate::store::effect::{Ended, QueryRow, Stamp, Submitted};

/// The columns of `query_routes`, in the order of [`fields_of`].
pub(super) const NAMES: [&str; 20] = [
    "query_id",
    "cluster",
    "route_group",
    "rule",
    "user_name",
    "source",
    "client_tags",
    "statement",
    "submitted_ms",
    "submitted_by",
    "submitted_seq",
    "ended_ms",
    "ended_by",
    "ended_seq",
    "end_rank",
    "end_cause",
    "state",
    "error",
    "held_id",
    "request",
];

/// What stands in one column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Field {
    Null,
    Text(String),
    Number(u64),
}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Field {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl<T: Into<Self>> From<Option<T>> for Field {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A row as fields, in the order of [`NAMES`].
pub(super) fn fields_of(id: &str, row: &QueryRow) -> [Field; 20] {
    let (submitted, ended) = (row.submitted.as_ref(), row.ended.as_ref());
    [
        id.into(),
        row.cluster().into(),
        submitted.map_or("", |half| half.group.as_str()).into(),
        submitted.and_then(|half| half.rule.as_deref()).into(),
        submitted.and_then(|half| half.user.as_deref()).into(),
        submitted.and_then(|half| half.source.as_deref()).into(),
        submitted.and_then(|half| half.tags.as_deref()).into(),
        submitted.map_or("", |half| half.statement.as_str()).into(),
        submitted.map(|half| half.stamp.at_ms).into(),
        submitted.map(|half| half.stamp.gateway.as_str()).into(),
        submitted.map(|half| half.stamp.sequence).into(),
        ended.map(|half| half.stamp.at_ms).into(),
        ended.map(|half| half.stamp.gateway.as_str()).into(),
        ended.map(|half| half.stamp.sequence).into(),
        ended.map(|half| u64::from(half.rank)).into(),
        ended.map(|half| half.cause.as_str()).into(),
        ended.and_then(|half| half.state.as_deref()).into(),
        ended.and_then(|half| half.error.as_deref()).into(),
        submitted.and_then(|half| half.held_id.as_deref()).into(),
        submitted.and_then(|half| half.request.as_deref()).into(),
    ]
}

/// The row that some fields are, with its id. A field of another kind than its column counts as
/// absent: somebody else wrote it.
pub(super) fn row_of(fields: impl IntoIterator<Item = Field>) -> (String, QueryRow) {
    let mut fields = Fields(fields.into_iter());
    let id = fields.text().unwrap_or_default();
    let cluster = fields.text().unwrap_or_default();
    let group = fields.text().unwrap_or_default();
    let (rule, user, source, tags) = (fields.text(), fields.text(), fields.text(), fields.text());
    let statement = fields.text().unwrap_or_default();
    let mut submitted = fields.stamp().map(|stamp| Submitted {
        stamp,
        cluster: cluster.clone(),
        group,
        rule,
        user,
        source,
        tags,
        statement,
        held_id: None,
        request: None,
    });
    let stamp = fields.stamp();
    let rank = fields.number().and_then(|rank| u8::try_from(rank).ok()).unwrap_or(u8::MAX);
    let cause = fields.text().unwrap_or_default();
    let (state, error) = (fields.text(), fields.text());
    let (held_id, request) = (fields.text(), fields.text());
    if let Some(half) = &mut submitted {
        half.held_id = held_id;
        half.request = request;
    }
    let ended = stamp.map(|stamp| Ended { rank, stamp, cluster, cause, state, error });
    (id, QueryRow { submitted, ended })
}

struct Fields<I>(I);

impl<I: Iterator<Item = Field>> Fields<I> {
    fn text(&mut self) -> Option<String> {
        match self.0.next() {
            Some(Field::Text(text)) => Some(text),
            Some(Field::Null | Field::Number(_)) | None => None,
        }
    }

    fn number(&mut self) -> Option<u64> {
        match self.0.next() {
            Some(Field::Number(number)) => Some(number),
            Some(Field::Null | Field::Text(_)) | None => None,
        }
    }

    fn stamp(&mut self) -> Option<Stamp> {
        let (at_ms, gateway, sequence) = (self.number(), self.text(), self.number());
        Some(Stamp { at_ms: at_ms?, gateway: gateway?, sequence: sequence? })
    }
}

//! The JSON of a coordinator: query results, the query list.
//!
//! Fields stand in Trino's order: `id` and `nextUri` come before `data`, and a gateway may rely
//! on that.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::query::{Life, Query};
use crate::clock;
use crate::plan::{Failure, Statement};

/// `QueryResults`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QueryResults<'a> {
    id: &'a str,
    info_uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    partial_cancel_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    stats: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    warnings: [(); 0],
}

/// What differs from page to page.
#[derive(Default)]
pub(super) struct Sheet {
    /// The next token's URI; `None` on the last page.
    pub next_uri: Option<String>,
    /// The partial cancel of executing pages.
    pub partial_cancel_uri: Option<String>,
    /// The rows or segments.
    pub data: Option<Value>,
    /// The error that ended it.
    pub error: Option<Failure>,
}

/// Writes a page of a query.
pub(super) fn page(query: &Query, base: &str, now: Duration, sheet: Sheet) -> Vec<u8> {
    let shows_columns = matches!(query.life, Life::Running { .. } | Life::Ended { .. })
        && sheet.error.is_none()
        && (sheet.data.is_some() || query.delivered > 0);
    let results = QueryResults {
        id: &query.id,
        info_uri: format!("{base}/ui/query.html?{}", query.id),
        partial_cancel_uri: sheet.partial_cancel_uri,
        next_uri: sheet.next_uri,
        columns: shows_columns.then(|| columns(query)),
        data: sheet.data,
        stats: stats(query, now),
        error: sheet.error.as_ref().map(error),
        warnings: [],
    };
    serde_json::to_vec(&results).expect("values without maps of odd keys always serialise")
}

fn stats(query: &Query, now: Duration) -> Value {
    let queued = matches!(query.life, Life::Registered | Life::Queued);
    let elapsed = millis(now.saturating_sub(query.created));
    json!({
        "state": query.life.state(), "queued": queued, "scheduled": !queued,
        "nodes": u8::from(!queued), "totalSplits": u8::from(!queued), "queuedSplits": 0,
        "runningSplits": 0, "completedSplits": u8::from(!queued),
        "planningTimeMillis": 0, "analysisTimeMillis": 0, "cpuTimeMillis": 0, "wallTimeMillis": 0,
        "queuedTimeMillis": 0, "elapsedTimeMillis": elapsed, "finishingTimeMillis": 0,
        "physicalInputTimeMillis": 0, "processedRows": 0, "processedBytes": 0,
        "physicalInputBytes": 0, "physicalWrittenBytes": 0, "internalNetworkInputBytes": 0,
        "peakMemoryBytes": 0, "spilledBytes": 0,
    })
}

fn error(failure: &Failure) -> Value {
    json!({
        "message": failure.message, "errorCode": failure.code, "errorName": failure.name,
        "errorType": failure.kind,
        "failureInfo": {
            "type": "io.trino.spi.TrinoException", "message": failure.message,
            "suppressed": [], "stack": [],
        },
    })
}

fn columns(query: &Query) -> Value {
    let column = |name: &str, kind: &str| json!({"name": name, "type": kind, "typeSignature": {"rawType": kind, "arguments": []}});
    match &query.plan.statement {
        Statement::One => json!([column("_col0", "integer")]),
        Statement::Workers => json!([column("_col0", "bigint")]),
        Statement::Queries(_) => {
            json!(["query_id", "state", "source"].map(|name| column(name, "varchar")))
        }
        Statement::Session(_) | Statement::Begin | Statement::End | Statement::Kill(_) => {
            json!([column("result", "boolean")])
        }
        Statement::Rows if query.plan.size == 0 => json!([column("n", "bigint")]),
        Statement::Rows => json!([column("n", "bigint"), column("text", "varchar")]),
    }
}

/// One entry of `GET /v1/query`, and the whole of `GET /v1/query/{id}`: `BasicQueryInfo`.
pub(super) fn info(query: &Query, base: &str, now: Duration, started_unix: u64) -> Value {
    let created = clock::iso(started_unix + query.created.as_secs());
    let mut told = json!({
        "queryId": query.id,
        "session": {
            "queryId": query.id, "user": query.posted.user, "principal": query.posted.user,
            "source": query.posted.source, "clientTags": [], "clientCapabilities": [],
        },
        "resourceGroupId": ["global"],
        "state": query.life.state(),
        "scheduled": !matches!(query.life, Life::Registered | Life::Queued),
        "self": format!("{base}/v1/query/{}", query.id),
        "query": query.posted.sql,
        "queryStats": {
            "createTime": created,
            "elapsedTime": format!("{}ms", millis(now.saturating_sub(query.created))),
            "totalDrivers": 1, "runningDrivers": 0, "queuedDrivers": 0, "completedDrivers": 0,
        },
        "retryPolicy": "NONE",
    });
    if let Life::Ended { at, failure } = &query.life {
        told["queryStats"]["endTime"] = clock::iso(started_unix + at.as_secs()).into();
        if let Some(failure) = failure {
            told["errorType"] = failure.kind.into();
            told["errorCode"] = json!({
                "code": failure.code, "name": failure.name, "type": failure.kind,
            });
        }
    }
    told
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

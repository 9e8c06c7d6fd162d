//! Trino's protocol page by page, for tests that act between two pages. Any status but 200 and any
//! error of a query fails the test.

use serde_json::Value;

use super::coordinator::{self, USER};
use super::wire;

/// A query of twenty seconds that takes no CPU: exactly 200 rows from `blackhole.default.slow`.
pub(crate) const SLOW: &str = "CREATE TABLE IF NOT EXISTS blackhole.default.slow (x bigint) WITH \
     (split_count = 1, pages_per_split = 20, rows_per_page = 10, field_length = 8, \
     page_processing_delay = '1s')";

/// Posts a statement, and gives the answer's JSON.
pub(crate) async fn post(address: &str, source: &str, statement: &str) -> Value {
    let headers = [("X-Trino-User", USER), ("X-Trino-Source", source)];
    let answer = wire::ask(address, "POST", "/v1/statement", &headers, statement).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 200, "{}", String::from_utf8_lossy(&answer.body));
    coordinator::json(&answer)
}

/// Asks for the next page of `page` at `address`.
pub(crate) async fn next(address: &str, page: &Value) -> Option<Value> {
    let uri = page["nextUri"].as_str()?;
    let path = path_of(uri);
    let headers = [("X-Trino-User", USER)];
    let answer = wire::ask(address, "GET", path, &headers, "").await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    let page = coordinator::json(&answer);
    assert!(page["error"].is_null(), "{}", page["error"]);
    Some(page)
}

/// The path of a `nextUri`.
pub(crate) fn path_of(uri: &str) -> &str {
    &uri[uri.find("/v1/").expect("a path of Trino's")..]
}

/// Asks for all pages after `page`; tells how many there were, and the rows of all.
pub(crate) async fn to_its_end(client: String, mut page: Value) -> (u32, usize) {
    let (mut asked, mut rows) = (0, 0);
    loop {
        rows += page["data"].as_array().map_or(0, Vec::len);
        let Some(following) = next(&client, &page).await else { return (asked, rows) };
        page = following;
        asked += 1;
    }
}

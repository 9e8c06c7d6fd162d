//! Talks to a coordinator, or to Warren, as a plain client: runs a statement, asks what became of a
//! query.

use std::time::Duration;

use serde_json::Value;

use super::wire::{self, Message};

/// The user of every query of these tests; Warren's own probes have another.
pub(crate) const USER: &str = "real-test";

/// The longest that a test waits for something that must happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// One answer on the way through a query.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// `METHOD PATH` of its request.
    pub(crate) asked: String,
    /// The answer as it came.
    pub(crate) answer: Message,
}

/// Runs a statement to its end and returns every answer, the first of which is that to the POST.
pub(crate) async fn follow(address: &str, headers: &[(&str, &str)], statement: &str) -> Vec<Page> {
    let mut all = vec![("X-Trino-User", USER)];
    all.extend_from_slice(headers);
    let mut pages = Vec::new();
    let (mut method, mut path, mut body) = ("POST", "/v1/statement".to_owned(), statement);
    loop {
        let answer = wire::ask(address, method, &path, &all, body).await.expect("an answer");
        let asked = format!("{method} {path}");
        assert_eq!(answer.status(), 200, "{asked}: {}", String::from_utf8_lossy(&answer.body));
        let next = json(&answer)["nextUri"].as_str().map(str::to_owned);
        pages.push(Page { asked, answer });
        let Some(next) = next else { return pages };
        let own = format!("http://{address}");
        let rest = next.strip_prefix(&own).map(str::to_owned);
        path = rest.unwrap_or_else(|| panic!("nextUri {next} does not lead back to {own}"));
        (method, body) = ("GET", "");
    }
}

/// Runs a statement for its effect; an error of Trino fails the test.
pub(crate) async fn run(address: &str, statement: &str) {
    let pages = follow(address, &[], statement).await;
    let error = &json(&pages.last().expect("a POST has an answer").answer)["error"];
    // Trino's `IF NOT EXISTS` says so to the second of two tests that make a table at once.
    let made = statement.contains("IF NOT EXISTS") && error["errorName"] == "TABLE_ALREADY_EXISTS";
    assert!(error.is_null() || made, "`{statement}`: {error}");
}

/// The rows of a statement.
pub(crate) async fn rows(address: &str, statement: &str) -> Vec<Value> {
    let pages = follow(address, &[], statement).await;
    let pages = pages.iter().map(|page| json(&page.answer));
    let rows = pages.flat_map(|page| {
        assert!(page["error"].is_null(), "`{statement}`: {}", page["error"]);
        page["data"].as_array().cloned().unwrap_or_default()
    });
    rows.collect()
}

/// The JSON of an answer, decompressed.
pub(crate) fn json(answer: &Message) -> Value {
    let plain = match answer.header("content-encoding") {
        None | Some("identity") => answer.body.clone(),
        Some("gzip") => {
            let mut plain = Vec::new();
            let mut decoder = flate2::read::MultiGzDecoder::new(&answer.body[..]);
            std::io::Read::read_to_end(&mut decoder, &mut plain).expect("whole gzip");
            plain
        }
        Some("zstd") => zstd::decode_all(&answer.body[..]).expect("whole zstd"),
        Some(other) => panic!("content encoding {other}"),
    };
    serde_json::from_slice(&plain).expect("JSON")
}

/// What a coordinator lists of the queries of one source: `(state, name of the error)`.
pub(crate) async fn queries_of(address: &str, source: &str) -> Vec<(String, String)> {
    let headers = [("X-Trino-User", USER)];
    let answer = wire::ask(address, "GET", "/v1/query", &headers, "").await.expect("an answer");
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = json(&answer);
    list.as_array()
        .expect("a list of queries")
        .iter()
        .filter(|query| query["session"]["source"] == source)
        .map(|query| (word(&query["state"]), word(&query["errorCode"]["name"])))
        .collect()
}

/// The states of a coordinator's queries that have `mark` in their text. Trino lists a query from its
/// first GET on.
pub(crate) async fn states_of_marked(address: &str, mark: &str) -> Vec<String> {
    let headers = [("X-Trino-User", USER)];
    let answer = wire::ask(address, "GET", "/v1/query", &headers, "").await.expect("an answer");
    let list = json(&answer);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let queries = list.as_array().expect("a list of queries").iter();
    let marked = queries.filter(|query| word(&query["query"]).contains(mark));
    marked.map(|query| word(&query["state"])).collect()
}

/// Waits until one of the coordinators runs a query of `source`.
pub(crate) async fn running(coordinators: &[String], source: &str) {
    loop {
        for coordinator in coordinators {
            let queries = queries_of(coordinator, source).await;
            if queries.iter().any(|(state, _)| state == "RUNNING") {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the only query of `source` on a coordinator has ended, and tells with which error.
pub(crate) async fn end_of(address: &str, source: &str) -> String {
    let ended = async {
        loop {
            match &*queries_of(address, source).await {
                [(state, error)] if state == "FAILED" || state == "FINISHED" => {
                    return error.clone();
                }
                [_] => tokio::time::sleep(Duration::from_millis(100)).await,
                other => panic!("one query of {source} was expected, there are {other:?}"),
            }
        }
    };
    let told = tokio::time::timeout(SOON, ended).await;
    told.unwrap_or_else(|_| panic!("the query of {source} still runs after {SOON:?}"))
}

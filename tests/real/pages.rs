//! Bytes pass through untouched: status, header lines and body of every page are the same on the leg
//! to the client and on the leg to the coordinator.

use std::collections::HashMap;

use crate::support::coordinator::{self, Page, USER};
use crate::support::gateway::Gateway;
use crate::support::recorder::{Exchange, Recorder};
use crate::support::surroundings::blue;
use crate::support::wire;

/// Several pages of a megabyte, with text, numbers and bytes.
const STATEMENT: &str = "SELECT orderkey, comment, totalprice, sha256(to_utf8(comment)) AS digest \
     FROM tpch.tiny.orders";
const PICTURE: &str = "/ui/assets/logo.png";

/// What the coordinator answered to each request of ours; where a page was asked for twice, its
/// last answer is the one that was passed on.
fn upstream_leg(recorder: &Recorder, source: &str) -> HashMap<String, Exchange> {
    let exchanges = recorder.exchanges().into_iter();
    exchanges
        .filter(|exchange| exchange.request.header("x-trino-user") == Some(USER))
        .filter(|exchange| match exchange.request.header("x-trino-source") {
            Some(own) => own == source,
            None => true,
        })
        .map(|exchange| (exchange.request.method_and_path().to_owned(), exchange))
        .collect()
}

/// Compares one answer on both legs.
fn assert_same(page: &Page, upstream: &HashMap<String, Exchange>) {
    let asked = &page.asked;
    let exchange = upstream.get(asked).unwrap_or_else(|| panic!("`{asked}` never reached Trino"));
    assert_eq!(page.answer.status(), exchange.answer.status(), "{asked}");
    // Pingora dates each HTTP/1.1 answer itself, and 0.9.1 has no way to leave Trino's line.
    let lines = |answer: &wire::Message| -> Vec<String> {
        let dates = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("date"));
        assert_eq!(dates.count(), 1, "{asked}");
        let lines = answer.end_to_end_lines().into_iter();
        lines.filter(|line| !line.to_ascii_lowercase().starts_with("date:")).collect()
    };
    assert_eq!(lines(&page.answer), lines(&exchange.answer), "{asked}");
    assert!(page.answer.body == exchange.answer.body, "the bodies of {asked} differ");
}

/// Runs the statement with an `Accept-Encoding` and compares every page; returns the pages.
async fn assert_pages_are_same(recorder: &Recorder, gateway: &Gateway, coding: &str) -> Vec<Page> {
    let source = format!("pages-{coding}");
    let headers = [("X-Trino-Source", &*source), ("Accept-Encoding", coding)];
    let pages = coordinator::follow(gateway.client(), &headers, STATEMENT).await;
    let upstream = upstream_leg(recorder, &source);
    assert!(pages.len() >= 4, "{} pages do not show much", pages.len());
    for page in &pages {
        assert_same(page, &upstream);
    }
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_the_same_on_both_legs() {
    let recorder = Recorder::start(blue()).await;
    let gateway = Gateway::start(&[("blue", recorder.address())]).await;

    let plain = assert_pages_are_same(&recorder, &gateway, "identity").await;
    let zipped = assert_pages_are_same(&recorder, &gateway, "gzip").await;
    assert_pages_are_same(&recorder, &gateway, "zstd").await;

    let coded = |pages: &[Page], coding| {
        pages.iter().any(|page| page.answer.header("content-encoding") == Some(coding))
    };
    assert!(!coded(&plain, "gzip"), "a client that takes no gzip got some");
    assert!(coded(&zipped, "gzip"), "Trino compressed no page, so nothing was shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_the_same_on_both_legs() {
    let recorder = Recorder::start(blue()).await;
    let gateway = Gateway::start(&[("blue", recorder.address())]).await;

    let headers = [("X-Trino-User", USER)];
    let answer = wire::ask(gateway.client(), "GET", PICTURE, &headers, "").await;
    let page = Page { asked: format!("GET {PICTURE}"), answer: answer.expect("an answer") };

    assert_eq!(page.answer.body.get(..4), Some(&b"\x89PNG"[..]), "{}", page.answer.start);
    assert_same(&page, &upstream_leg(&recorder, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorder_alone_changes_nothing() {
    let recorder = Recorder::start(blue()).await;
    let headers = [("X-Trino-Source", "pages-recorder"), ("Accept-Encoding", "gzip")];
    let pages = coordinator::follow(recorder.address(), &headers, STATEMENT).await;
    let upstream = upstream_leg(&recorder, "pages-recorder");
    for page in &pages {
        assert_same(page, &upstream);
    }
    assert!(pages.iter().any(|page| page.answer.body.len() > 100_000), "no page was large");
}

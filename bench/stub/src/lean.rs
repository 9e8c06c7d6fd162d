//! Constant answers for load: a stub that costs next to nothing.
//!
//! Every page is the same 499 bytes with a `nextUri`, every submit gets a fresh id of the stub's
//! mark. Nothing is kept, recorded or delayed; only a freeze holds them up. A probe is answered
//! as by an idle coordinator: statements end at once.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock;
use crate::http::{Framing, Request, Response};

/// The length of a page, as in the figures of the README.
pub const PAGE_BYTES: usize = 499;

/// The page of a query: its JSON, padded to 499 bytes.
pub fn page(id: &str) -> String {
    let slug = "y0123456789012345678901234567890123456789";
    let head = format!(
        r#"{{"id":"{id}","infoUri":"http://localhost/ui/query.html?{id}","nextUri":"http://localhost/v1/statement/executing/{id}/{slug}/2","stats":{{"state":"RUNNING","queued":false,"scheduled":true,"nodes":1,"totalSplits":1,"queuedSplits":0,"runningSplits":1,"completedSplits":0}},"warnings":[],"pad":""#
    );
    let pad = PAGE_BYTES.saturating_sub(head.len() + 2);
    format!("{head}{}\"}}", "x".repeat(pad))
}

/// The answer to a statement that ended at once with one bigint.
pub fn ended(id: &str) -> String {
    format!(
        r#"{{"id":"{id}","infoUri":"http://localhost/ui/query.html?{id}","columns":[{{"name":"_col0","type":"bigint","typeSignature":{{"rawType":"bigint","arguments":[]}}}}],"data":[[1]],"stats":{{"state":"FINISHED","queued":false,"scheduled":true,"nodes":1,"totalSplits":1,"queuedSplits":0,"runningSplits":0,"completedSplits":1}},"warnings":[]}}"#
    )
}

/// The bytes of an answer.
pub(crate) fn answer(request: &Request, ids: &AtomicU64, mark: &str) -> Vec<u8> {
    let response = match (request.method.as_str(), request.path()) {
        ("POST", "/v1/statement") => {
            let stamp = clock::stamp(clock::unix_seconds());
            let index = ids.fetch_add(1, Ordering::Relaxed) % 10_000_000_000;
            Response::json(ended(&format!("{stamp}_{index:05}_{mark}")).into_bytes())
        }
        ("GET", path) if path.starts_with("/v1/statement/") => {
            let id = path.split('/').nth(4).unwrap_or_default();
            Response::json(page(id).into_bytes())
        }
        ("GET" | "HEAD", "/v1/info") => Response::json(
            br#"{"nodeVersion":{"version":"476"},"environment":"stub","coordinator":true,"starting":false,"uptime":"1.00h"}"#
                .to_vec(),
        ),
        ("GET", "/v1/query") => Response::json(b"[]".to_vec()),
        ("DELETE", _) => Response::empty(204),
        ("HEAD", _) => Response::empty(200),
        _ => Response::text(404, "not in a lean stub"),
    };
    let framing = Framing { chunked: false, close: !request.keep_alive };
    response.encoded(&request.method, framing).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_length_and_is_json() {
        let page = page("20260101_000000_00000_bench");
        assert_eq!(page.len(), PAGE_BYTES);
        let read: serde_json::Value = serde_json::from_str(&page).unwrap();
        assert!(read["nextUri"].is_string());
        let ended = ended("20260101_000000_00000_bench");
        let read: serde_json::Value = serde_json::from_str(&ended).unwrap();
        assert!(read.get("nextUri").is_none());
        assert_eq!(read["data"][0][0], 1);
    }
}

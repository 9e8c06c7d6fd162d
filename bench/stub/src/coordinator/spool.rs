//! Spooled segments: a page lists them, a client fetches and acknowledges them.
//!
//! As in Trino their names carry no query id and mean nothing to another coordinator.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::names::{Stage, mix, slug};

/// The most segments that wait to be fetched; beyond it a page carries its rows itself.
const SEGMENTS_MAX: usize = 100_000;

/// The segments that were listed and not acknowledged.
#[derive(Debug, Default)]
pub(super) struct Spool {
    segments: HashMap<String, Vec<u8>>,
    made: u64,
}

impl Spool {
    /// Spreads rows over `parts` segments; answers what the page shows instead of rows.
    pub(super) fn store(&mut self, key: u64, rows: &[Value], parts: usize, base: &str) -> Value {
        if parts == 0 || self.segments.len() + parts > SEGMENTS_MAX {
            return json!(rows);
        }
        let mut listed = Vec::with_capacity(parts);
        let mut offset = 0;
        for part in 0..parts {
            let end = rows.len() * (part + 1) / parts;
            let rows = &rows[offset..end];
            self.made += 1;
            let name = slug(mix(key ^ 0x5b00), Stage::Executing, self.made);
            let bytes = serde_json::to_vec(rows).expect("rows are plain values");
            listed.push(json!({
                "type": "spooled",
                "uri": format!("{base}/v1/spooled/download/{name}"),
                "ackUri": format!("{base}/v1/spooled/ack/{name}"),
                "metadata": {
                    "segmentSize": bytes.len(), "rowOffset": offset, "rowsCount": rows.len(),
                },
                "headers": {"x-stub-segment": [name]},
            }));
            self.segments.insert(name, bytes);
            offset = end;
        }
        json!({"encoding": "json", "metadata": {}, "segments": listed})
    }

    /// The bytes of a segment.
    pub(super) fn fetch(&self, name: &str) -> Option<&[u8]> {
        self.segments.get(name).map(Vec::as_slice)
    }

    /// Forgets a segment; tells whether it was there.
    pub(super) fn acknowledge(&mut self, name: &str) -> bool {
        self.segments.remove(name).is_some()
    }

    /// How many segments nobody acknowledged.
    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }
}

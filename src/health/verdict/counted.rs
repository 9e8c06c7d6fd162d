//! What counts of a coordinator amount to, where they are the proof and no statement is. Pure.

use super::{Stage, Thresholds, Verdict};
use crate::time::Instant;

impl Verdict {
    /// Takes in counts, and what the cluster lacks by them.
    pub(super) fn counted(
        self,
        lacking: Option<String>,
        limits: &Thresholds,
        now: Instant,
    ) -> Self {
        if let Some(why) = lacking {
            return Self { lacks_workers: true, ..self }.statement_failed(why, limits, now);
        }
        let next = Self { lacks_workers: false, last_statement: Some(now), failures: 0, ..self };
        let next = next.alone(now);
        if next.failures > 0 { next } else { next.proved(limits, now) }
    }

    /// Whether it should be counted, after `/v1/info` was good: each time, for it costs little.
    pub(super) fn wants_count(&self) -> bool {
        !matches!(self.stage, Stage::Unknown | Stage::Booting)
    }
}

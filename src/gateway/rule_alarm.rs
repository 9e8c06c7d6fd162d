//! Tells of rules that fail, and not each time.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use tracing::{error, info, warn};

use crate::route::rules::RuleSet;
use crate::route::verdict::RuleFailure;

/// The first failures are told one by one.
const TOLD_FIRST: u64 = 10;
/// Then each of so many.
const TOLD_EACH: u64 = 1000;

/// How the rules fared in the last decisions of this process.
#[derive(Debug, Default)]
pub struct RuleAlarm {
    failures: AtomicU64,
    /// Failures without a success between them.
    in_row: AtomicU32,
    raised: AtomicBool,
}

impl RuleAlarm {
    /// A decision failed; after `alarm_after` in a row the alarm is raised.
    pub fn failed(&self, failure: &RuleFailure, rules: &RuleSet, alarm_after: u32) {
        let count = self.failures.fetch_add(1, Ordering::Relaxed);
        let (version, kind) = (rules.version(), failure.kind.as_str());
        if count < TOLD_FIRST || count.is_multiple_of(TOLD_EACH) {
            warn!(%version, file = rules.chunk(), kind, error = %failure, count, "a rule failed");
        }
        let before = self.in_row.load(Ordering::Relaxed);
        self.in_row.store(before.saturating_add(1), Ordering::Relaxed);
        if before.saturating_add(1) >= alarm_after && !self.raised.swap(true, Ordering::Relaxed) {
            error!(
                %version, file = rules.chunk(), kind, error = %failure,
                "the rules failed {alarm_after} times in a row: put the last good ones back"
            );
        }
    }

    /// A decision did not fail.
    pub fn succeeded(&self) {
        if self.in_row.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.in_row.store(0, Ordering::Relaxed);
        if self.raised.swap(false, Ordering::Relaxed) {
            info!("the rules do not fail any more");
        }
    }

    /// Whether the rules failed so often in a row.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::tests::{groups, settings};
    use crate::route::verdict::FailureKind;

    #[test]
    fn an_alarm_is_raised_by_failures_in_a_row_and_ends_with_a_success() {
        let script = b"function route() return 'bi' end";
        let rules = RuleSet::compile(script, &settings(), &groups()).expect("good rules");
        let failure =
            RuleFailure { kind: FailureKind::Runtime, message: "no".to_owned(), line: Some(1) };
        let alarm = RuleAlarm::default();
        for success_between in [true, false] {
            for _ in 0..2 {
                alarm.failed(&failure, &rules, 3);
            }
            assert!(!alarm.is_raised(), "2 of 3");
            if success_between {
                alarm.succeeded();
            }
        }
        alarm.failed(&failure, &rules, 3);
        assert!(alarm.is_raised());
        alarm.succeeded();
        assert!(!alarm.is_raised());
    }
}

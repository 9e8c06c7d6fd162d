//! Tells of rules that fail, and not each time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    /// Whether the last decision failed. Without that, one that works takes no lock.
    is_failing: AtomicBool,
    /// Held for a moment.
    fared: Mutex<Fared>,
}

/// How one rule set fared.
#[derive(Debug, Default)]
struct Fared {
    /// Which one. None has the number 0.
    generation: u64,
    failures: u64,
    /// Failures without a success between them.
    in_row: u32,
    is_raised: bool,
}

impl RuleAlarm {
    /// A decision failed; after `alarm_after` in a row the alarm is raised.
    pub fn failed(&self, failure: &RuleFailure, rules: &RuleSet, alarm_after: u32) {
        let (count, raises) = self.count(rules.generation(), alarm_after);
        let (version, kind) = (rules.version(), failure.kind.as_str());
        if count < TOLD_FIRST || count.is_multiple_of(TOLD_EACH) {
            warn!(%version, file = rules.chunk(), kind, error = %failure, count, "a rule failed");
        }
        if raises {
            error!(
                %version, file = rules.chunk(), kind, error = %failure,
                "the rules failed {alarm_after} times in a row: put the last good ones back"
            );
        }
    }

    /// Counts a failure: how many this rule set had before, and whether the alarm is raised by it.
    fn count(&self, generation: u64, alarm_after: u32) -> (u64, bool) {
        let mut fared = self.fared();
        if fared.generation != generation {
            *fared = Fared { generation, ..Fared::default() };
        }
        let before = fared.failures;
        fared.failures += 1;
        fared.in_row = fared.in_row.saturating_add(1);
        let raises = fared.in_row >= alarm_after && !fared.is_raised;
        fared.is_raised |= raises;
        self.is_failing.store(true, Ordering::Relaxed);
        (before, raises)
    }

    /// A decision did not fail.
    pub fn succeeded(&self) {
        if !self.is_failing.load(Ordering::Relaxed) {
            return;
        }
        let mut fared = self.fared();
        fared.in_row = 0;
        self.is_failing.store(false, Ordering::Relaxed);
        if std::mem::take(&mut fared.is_raised) {
            info!("the rules do not fail any more");
        }
    }

    /// Whether these rules failed so often in a row.
    pub fn is_raised(&self, rules: &RuleSet) -> bool {
        let fared = self.fared();
        fared.is_raised && fared.generation == rules.generation()
    }

    fn fared(&self) -> MutexGuard<'_, Fared> {
        self.fared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::tests::{groups, settings};
    use crate::route::verdict::FailureKind;

    fn rules() -> RuleSet {
        let script = b"function route() return 'bi' end";
        RuleSet::compile(script, &settings(), &groups()).expect("good rules")
    }

    fn failure() -> RuleFailure {
        RuleFailure { kind: FailureKind::Runtime, message: "no".to_owned(), line: Some(1) }
    }

    #[test]
    fn an_alarm_is_raised_by_failures_in_a_row_and_ends_with_a_success() {
        let (rules, failure, alarm) = (rules(), failure(), RuleAlarm::default());
        for success_between in [true, false] {
            for _ in 0..2 {
                alarm.failed(&failure, &rules, 3);
            }
            assert!(!alarm.is_raised(&rules), "2 of 3");
            if success_between {
                alarm.succeeded();
            }
        }
        alarm.failed(&failure, &rules, 3);
        assert!(alarm.is_raised(&rules));
        alarm.succeeded();
        assert!(!alarm.is_raised(&rules));
    }

    #[test]
    fn each_rule_set_has_an_alarm_of_its_own() {
        let (old, new, failure, alarm) = (rules(), rules(), failure(), RuleAlarm::default());
        for _ in 0..20 {
            alarm.failed(&failure, &old, 20);
        }
        assert!(alarm.is_raised(&old));
        assert!(!alarm.is_raised(&new), "nobody asked them yet");
        // The first one of them is told, and raises nothing for what others did.
        assert_eq!(alarm.count(new.generation(), 2), (0, false));
        assert!(!alarm.is_raised(&new));
        assert_eq!(alarm.count(new.generation(), 2), (1, true));
        assert!(alarm.is_raised(&new));
    }

    #[test]
    fn no_failure_is_lost_between_workers() {
        let alarm = RuleAlarm::default();
        let fail = || {
            for _ in 0..1000 {
                alarm.count(1, u32::MAX);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(fail);
            }
        });
        assert_eq!(alarm.count(1, 4001), (4000, true));
    }
}

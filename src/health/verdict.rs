//! What observations of a cluster mean. Pure: no I/O, no clock.

use std::time::Duration;

use crate::ids::CoordinatorId;
use crate::time::Instant;

/// A process that has been up for less may have started a moment ago; booting takes most of a minute.
const YOUNG: Duration = Duration::from_secs(180);

/// Whether a cluster can take queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// Not looked at yet.
    Unknown,
    /// It answers, and has not shown yet that it can run a statement.
    Starting,
    /// It can take queries.
    Ready,
    /// It cannot.
    Unhealthy,
}

impl Health {
    /// All, in the order of the docs.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Starting, Self::Ready, Self::Unhealthy];

    /// The word in API and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What one look showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// `/v1/info` answered.
    Info {
        /// `starting`.
        starting: bool,
        /// How long the process has been up.
        uptime: Duration,
    },
    /// `/v1/info` could not be read, or told of something else than a coordinator.
    InfoFailed(String),
    /// A statement ran to its end.
    StatementDone {
        /// Who ran it.
        coordinator: CoordinatorId,
        /// The active workers, where the statement asked for them.
        workers: Option<u32>,
    },
    /// A statement stood QUEUED or RUNNING at its deadline.
    StatementBusy {
        /// Who has it.
        coordinator: CoordinatorId,
        /// Whether the coordinator runs queries of others.
        others_run: bool,
    },
    /// A statement failed.
    StatementFailed(String),
    /// A client's request could not connect.
    CannotConnect(String),
}

/// How many looks it takes.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    /// Good ones in a row that make it ready.
    pub rise: u32,
    /// Failed ones in a row that make it unhealthy.
    pub fall: u32,
    /// Active workers that it must have.
    pub min_workers: u32,
    /// Between two statements.
    pub statement_period: Duration,
    /// How long a coordinator must have been started. Trino runs `SELECT 1` at once, and fails the
    /// scan of a table with "No nodes available to run query" until it has placed its catalogs.
    pub settle: Duration,
}

/// What all looks so far amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    stage: Stage,
    /// Why, in words for an operator.
    pub reason: String,
    failures: u32,
    uptime: Option<Duration>,
    coordinator: Option<CoordinatorId>,
    last_statement: Option<Instant>,
    /// When it has settled after a start.
    settled: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unknown,
    /// It says itself that it is starting.
    Booting,
    /// It answers; `proven` once a statement ran, then `good` looks in a row.
    Starting {
        proven: bool,
        good: u32,
    },
    Ready,
    Unhealthy {
        proven: bool,
        good: u32,
    },
}

impl Default for Verdict {
    fn default() -> Self {
        Self {
            stage: Stage::Unknown,
            reason: "not probed yet".to_owned(),
            failures: 0,
            uptime: None,
            coordinator: None,
            last_statement: None,
            settled: None,
        }
    }
}

impl Verdict {
    /// Whether it can take queries.
    pub fn health(&self) -> Health {
        match self.stage {
            Stage::Unknown => Health::Unknown,
            Stage::Booting | Stage::Starting { .. } => Health::Starting,
            Stage::Ready => Health::Ready,
            Stage::Unhealthy { .. } => Health::Unhealthy,
        }
    }

    /// The coordinator that its last statement showed, unless it restarted since.
    pub fn coordinator(&self) -> Option<CoordinatorId> {
        self.coordinator
    }

    /// Whether `coordinator` ran a statement at `since` or later, and no look failed after it.
    pub fn showed(&self, coordinator: CoordinatorId, since: Instant) -> bool {
        self.coordinator == Some(coordinator)
            && self.failures == 0
            && self.last_statement.is_some_and(|last| last >= since)
    }

    /// Whether a statement should run at `now`, after `/v1/info` was good.
    pub fn wants_statement(&self, limits: &Thresholds, now: Instant) -> bool {
        let due = self.last_statement.is_none_or(|last| last + limits.statement_period <= now);
        match self.stage {
            Stage::Unknown | Stage::Booting => false,
            Stage::Starting { proven, .. } | Stage::Unhealthy { proven, .. } => !proven || due,
            // After a failed look, the next good one is not believed without a statement.
            Stage::Ready => due || self.failures > 0,
        }
    }

    /// Takes in one look at `now`.
    #[must_use]
    pub fn observe(self, evidence: Evidence, limits: &Thresholds, now: Instant) -> Self {
        match evidence {
            Evidence::Info { starting: true, uptime } => self.still_starting(uptime),
            Evidence::Info { starting: false, uptime } => self.info_good(uptime, limits, now),
            Evidence::StatementDone { workers: Some(workers), coordinator }
                if workers < limits.min_workers =>
            {
                let text = format!("{workers} active workers, {} wanted", limits.min_workers);
                Self { coordinator: Some(coordinator), ..self }.statement_failed(text, limits, now)
            }
            Evidence::StatementDone { coordinator, .. } => {
                self.statement_good(coordinator, limits, now)
            }
            Evidence::StatementBusy { coordinator, others_run: true } => {
                self.statement_good(coordinator, limits, now)
            }
            Evidence::StatementBusy { coordinator, others_run: false } => Self {
                coordinator: Some(coordinator),
                last_statement: Some(now),
                reason: self.reason_or("a probe statement waits and nothing runs"),
                ..self
            },
            Evidence::InfoFailed(why) => self.failed(why, limits),
            Evidence::StatementFailed(why) => self.statement_failed(why, limits, now),
            Evidence::CannotConnect(why) => self.fallen(why),
        }
    }

    fn still_starting(self, uptime: Duration) -> Self {
        Self {
            stage: Stage::Booting,
            reason: "the coordinator says that it is starting".to_owned(),
            failures: 0,
            uptime: Some(uptime),
            coordinator: None,
            last_statement: None,
            settled: None,
        }
    }

    fn info_good(self, uptime: Duration, limits: &Thresholds, now: Instant) -> Self {
        let restarted = self.uptime.is_some_and(|before| uptime < before);
        let settled = Some(now + limits.settle).filter(|_| uptime < YOUNG);
        if restarted {
            let fresh = Self { uptime: Some(uptime), settled, ..Self::default() };
            return Self {
                stage: Stage::Starting { proven: false, good: 0 },
                reason: "the coordinator restarted; waiting for a statement to run".to_owned(),
                ..fresh
            };
        }
        let next = Self { uptime: Some(uptime), ..self };
        match next.stage {
            Stage::Unknown | Stage::Booting => Self {
                stage: Stage::Starting { proven: false, good: 0 },
                reason: "waiting for a statement to run".to_owned(),
                settled,
                ..next
            },
            Stage::Starting { proven: true, good } => {
                next.risen(good + 1, limits, now, |good| Stage::Starting { proven: true, good })
            }
            Stage::Unhealthy { proven: true, good } => {
                next.risen(good + 1, limits, now, |good| Stage::Unhealthy { proven: true, good })
            }
            Stage::Starting { .. } | Stage::Unhealthy { .. } | Stage::Ready => next,
        }
    }

    fn statement_good(self, coordinator: CoordinatorId, limits: &Thresholds, now: Instant) -> Self {
        let next =
            Self { coordinator: Some(coordinator), last_statement: Some(now), failures: 0, ..self };
        match next.stage {
            Stage::Ready => next,
            Stage::Unknown | Stage::Booting => {
                next.risen(1, limits, now, |good| Stage::Starting { proven: true, good })
            }
            Stage::Starting { good, .. } => {
                next.risen(good + 1, limits, now, |good| Stage::Starting { proven: true, good })
            }
            Stage::Unhealthy { good, .. } => {
                next.risen(good + 1, limits, now, |good| Stage::Unhealthy { proven: true, good })
            }
        }
    }

    fn risen(
        self,
        good: u32,
        limits: &Thresholds,
        now: Instant,
        waiting: impl Fn(u32) -> Stage,
    ) -> Self {
        if good < limits.rise {
            let reason = format!("{good} of {} good looks in a row", limits.rise);
            return Self { stage: waiting(good), reason, ..self };
        }
        let settling = self.settled.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        if settling > Duration::ZERO {
            let reason = format!("it has started, and settles for {settling:.0?}");
            return Self { stage: waiting(good), reason, ..self };
        }
        Self { stage: Stage::Ready, reason: "ready".to_owned(), failures: 0, ..self }
    }

    fn statement_failed(self, why: String, limits: &Thresholds, now: Instant) -> Self {
        Self { last_statement: Some(now), ..self.failed(why, limits) }
    }

    fn failed(self, why: String, limits: &Thresholds) -> Self {
        let failures = self.failures.saturating_add(1);
        let next = Self { failures, ..self };
        match next.stage {
            Stage::Ready if failures < limits.fall => {
                let reason =
                    format!("ready, though {failures} of {} looks failed: {why}", limits.fall);
                Self { reason, ..next }
            }
            Stage::Unknown | Stage::Booting | Stage::Starting { .. } if failures < limits.fall => {
                Self { stage: Stage::Starting { proven: false, good: 0 }, reason: why, ..next }
            }
            _ => next.fallen(why),
        }
    }

    fn fallen(self, why: String) -> Self {
        let failures = self.failures.max(1);
        Self { stage: Stage::Unhealthy { proven: false, good: 0 }, reason: why, failures, ..self }
    }

    fn reason_or(&self, text: &str) -> String {
        if self.stage == Stage::Ready { self.reason.clone() } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use expect_test::{Expect, expect};

    use super::*;

    const LIMITS: Thresholds = Thresholds {
        rise: 2,
        fall: 3,
        min_workers: 2,
        statement_period: Duration::from_secs(30),
        settle: Duration::ZERO,
    };

    fn info(uptime: u64) -> Evidence {
        Evidence::Info { starting: false, uptime: Duration::from_secs(uptime) }
    }

    fn booting(uptime: u64) -> Evidence {
        Evidence::Info { starting: true, uptime: Duration::from_secs(uptime) }
    }

    fn done(workers: Option<u32>) -> Evidence {
        let coordinator = CoordinatorId::parse("abcde").expect("a good mark");
        Evidence::StatementDone { coordinator, workers }
    }

    fn busy(others_run: bool) -> Evidence {
        let coordinator = CoordinatorId::parse("abcde").expect("a good mark");
        Evidence::StatementBusy { coordinator, others_run }
    }

    fn refused() -> Evidence {
        Evidence::CannotConnect("connection refused".to_owned())
    }

    fn check(looks: &[Evidence], expect: &Expect) {
        let start = crate::time::now();
        let mut verdict = Verdict::default();
        let mut told = String::new();
        for (seconds, look) in (0u64..).step_by(2).zip(looks) {
            let now = start + Duration::from_secs(seconds);
            verdict = verdict.observe(look.clone(), &LIMITS, now);
            let health = verdict.health().as_str();
            let next = if verdict.wants_statement(&LIMITS, now) { " +statement" } else { "" };
            writeln!(told, "{health}{next}: {}", verdict.reason).expect("to memory");
        }
        expect.assert_eq(&told);
    }

    #[test]
    fn a_booting_coordinator_is_not_ready_before_a_statement_ran() {
        check(
            &[booting(1), booting(3), info(5), info(7), done(None), info(9)],
            &expect![[r#"
                starting: the coordinator says that it is starting
                starting: the coordinator says that it is starting
                starting +statement: waiting for a statement to run
                starting +statement: waiting for a statement to run
                starting: 1 of 2 good looks in a row
                ready: ready
            "#]],
        );
    }

    #[test]
    fn one_that_was_seen_to_start_settles_before_it_is_ready() {
        let limits = Thresholds { settle: Duration::from_secs(10), ..LIMITS };
        let start = crate::time::now();
        let health_after = |looks: &[(u64, Evidence)]| {
            let fresh = Verdict::default();
            let verdict = looks.iter().fold(fresh, |verdict, (second, look)| {
                verdict.observe(look.clone(), &limits, start + Duration::from_secs(*second))
            });
            (verdict.health().as_str(), verdict.reason)
        };
        let mut looks = vec![(0, booting(20)), (2, info(22)), (3, done(None)), (4, info(24))];
        let settling = "it has started, and settles for 8s".to_owned();
        assert_eq!(health_after(&looks), ("starting", settling));
        looks.push((11, info(31)));
        assert_eq!(health_after(&looks).0, "starting");
        looks.push((12, info(32)));
        assert_eq!(health_after(&looks).0, "ready");
        // A gateway that has just started does not know when an old one did.
        let old = [(0, info(3600)), (1, done(None)), (2, info(3602))];
        assert_eq!(health_after(&old).0, "ready");
        let young = [(0, info(30)), (1, done(None)), (2, info(32)), (9, info(39))];
        assert_eq!(health_after(&young).0, "starting");
        let restarted = [&old[..], &[(3, info(1)), (4, done(None)), (5, info(3))]].concat();
        assert_eq!(health_after(&restarted).0, "starting");
    }

    fn failed() -> Evidence {
        Evidence::StatementFailed("a probe statement failed".to_owned())
    }

    fn silent() -> Evidence {
        Evidence::InfoFailed("no answer".to_owned())
    }

    #[test]
    fn a_coordinator_that_cannot_run_statements_is_not_ready() {
        check(
            &[info(5), failed(), info(7), failed(), info(9), failed(), info(11)],
            &expect![[r#"
            starting +statement: waiting for a statement to run
            starting +statement: a probe statement failed
            starting +statement: a probe statement failed
            starting +statement: a probe statement failed
            starting +statement: a probe statement failed
            unhealthy +statement: a probe statement failed
            unhealthy +statement: a probe statement failed
        "#]],
        );
    }

    #[test]
    fn a_ready_one_falls_after_failures_in_a_row_and_rises_by_a_statement() {
        check(
            &[
                info(1),
                done(None),
                info(3),
                silent(),
                info(4),
                silent(),
                silent(),
                silent(),
                info(9),
            ],
            &expect![[r#"
                starting +statement: waiting for a statement to run
                starting: 1 of 2 good looks in a row
                ready: ready
                ready +statement: ready, though 1 of 3 looks failed: no answer
                ready +statement: ready, though 1 of 3 looks failed: no answer
                ready +statement: ready, though 2 of 3 looks failed: no answer
                unhealthy +statement: no answer
                unhealthy +statement: no answer
                unhealthy +statement: no answer
            "#]],
        );
        check(
            &[info(1), done(None), info(3), refused(), info(5), done(None), info(7)],
            &expect![[r#"
                starting +statement: waiting for a statement to run
                starting: 1 of 2 good looks in a row
                ready: ready
                unhealthy +statement: connection refused
                unhealthy +statement: connection refused
                unhealthy: 1 of 2 good looks in a row
                ready: ready
            "#]],
        );
    }

    #[test]
    fn a_restart_shows_by_its_uptime() {
        check(
            &[info(100), done(None), info(102), info(1), done(None), info(3)],
            &expect![[r#"
            starting +statement: waiting for a statement to run
            starting: 1 of 2 good looks in a row
            ready: ready
            starting +statement: the coordinator restarted; waiting for a statement to run
            starting: 1 of 2 good looks in a row
            ready: ready
        "#]],
        );
    }

    #[test]
    fn a_full_coordinator_is_busy_and_not_failed() {
        check(
            &[info(1), busy(false), info(3), busy(true), info(5), busy(true)],
            &expect![[r#"
            starting +statement: waiting for a statement to run
            starting +statement: a probe statement waits and nothing runs
            starting +statement: a probe statement waits and nothing runs
            starting: 1 of 2 good looks in a row
            ready: ready
            ready: ready
        "#]],
        );
    }

    #[test]
    fn too_few_workers() {
        check(
            &[info(1), done(Some(1)), info(3), done(Some(2)), info(5)],
            &expect![[r#"
            starting +statement: waiting for a statement to run
            starting +statement: 1 active workers, 2 wanted
            starting +statement: 1 active workers, 2 wanted
            starting: 1 of 2 good looks in a row
            ready: ready
        "#]],
        );
    }
}

//! What observations of a cluster mean. Pure: no I/O, no clock.

mod counted;
mod evidence;
mod falls;
mod seats;

use std::time::Duration;

use crate::config::Source;
use crate::ids::CoordinatorId;
use crate::time::Instant;
pub use evidence::{Evidence, Thresholds};
use falls::Falls;
use seats::Seats;

/// A process that has been up for less may have started a moment ago; booting takes most of a minute.
const YOUNG: Duration = Duration::from_secs(180);

/// The warmth of a cluster that takes its whole share of queries.
pub const WARM: u32 = 1000;

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
    falls: Falls,
    seats: Seats,
    /// Whether it was ready since its coordinator started.
    was_ready: bool,
    /// Whether the last look at `/v1/info` was good, and nothing failed to connect since.
    answers: bool,
    /// Whether it had too few workers when they were counted last.
    lacks_workers: bool,
    /// Whether it has to warm up when it is ready: it started, fell, or is another one than before.
    cold: bool,
    /// From when and for how long it warms up.
    warming: Option<(Instant, Duration)>,
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
            falls: Falls::default(),
            seats: Seats::default(),
            was_ready: false,
            answers: false,
            lacks_workers: false,
            cold: false,
            warming: None,
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

    /// Who answered last, a probe or a client.
    pub fn answers_as(&self) -> Option<CoordinatorId> {
        self.seats.present()
    }

    /// Whether a query may be tried there though it is unhealthy, when no other cluster is left: it was
    /// ready in this life of its coordinator, answers, has its workers, and is alone at its address.
    pub fn may_be_tried(&self, now: Instant) -> bool {
        matches!(self.stage, Stage::Unhealthy { .. })
            && self.was_ready
            && self.answers
            && !self.lacks_workers
            && !self.seats.are_shared(now)
    }

    /// How much of its share of queries it should take, of a thousand; a tenth at first.
    pub fn warmth(&self, now: Instant) -> u32 {
        let Some((from, ramp)) = self.warming.filter(|(_, ramp)| !ramp.is_zero()) else {
            return WARM;
        };
        let gone = now.saturating_duration_since(from).as_millis() * u128::from(WARM);
        let warmth =
            gone.checked_div(ramp.as_millis()).and_then(|warmth| u32::try_from(warmth).ok());
        warmth.unwrap_or(WARM).clamp(WARM / 10, WARM)
    }

    /// Whether `coordinator` ran a statement at `since` or later, and no look failed after it.
    pub fn showed(&self, coordinator: CoordinatorId, since: Instant) -> bool {
        self.coordinator == Some(coordinator)
            && self.failures == 0
            && self.last_statement.is_some_and(|last| last >= since)
    }

    /// Whether a statement should run at `now`, after `/v1/info` was good.
    pub fn wants_statement(&self, limits: &Thresholds, now: Instant) -> bool {
        if limits.source != Source::Statement {
            return limits.source.counts() && self.wants_count();
        }
        let due = self.last_statement.is_none_or(|last| last + limits.statement_period <= now);
        match self.stage {
            Stage::Unknown | Stage::Booting => false,
            Stage::Starting { proven, .. } | Stage::Unhealthy { proven, .. } => !proven || due,
            // After a failed look, the next good one is not believed without a statement.
            Stage::Ready => due || self.failures > 0,
        }
    }

    /// Whether nothing speaks against it but that it was not looked at often enough: it ran long
    /// before it was first seen, and a statement ran there.
    ///
    /// So a gateway that was restarted lets nobody wait for the periods of its looks.
    pub fn may_hurry(&self) -> bool {
        let never_seen_otherwise = !self.cold && !self.was_ready && self.failures == 0;
        matches!(self.stage, Stage::Starting { proven: true, .. }) && never_seen_otherwise
    }

    /// Takes in one look at `now`.
    #[must_use]
    pub fn observe(self, evidence: Evidence, limits: &Thresholds, now: Instant) -> Self {
        match evidence {
            Evidence::Info { starting: true, uptime } => self.still_starting(uptime, now),
            Evidence::Info { starting: false, uptime } => {
                let next = self.info_good(uptime, limits, now);
                match limits.source {
                    Source::Info => next.proven_by_info(limits, now).alone(now),
                    Source::Statement | Source::Metrics | Source::Ui | Source::Jmx => next,
                }
            }
            Evidence::StatementDone { workers: Some(workers), coordinator }
                if workers < limits.min_workers =>
            {
                let text = format!("{workers} active workers, {} wanted", limits.min_workers);
                let seats = self.seats.and(coordinator, now);
                let coordinator = Some(coordinator);
                Self { coordinator, seats, lacks_workers: true, ..self }
                    .statement_failed(text, limits, now)
            }
            Evidence::StatementDone { coordinator, .. } => {
                Self { lacks_workers: false, ..self }.statement_good(coordinator, limits, now)
            }
            Evidence::StatementBusy { coordinator, others_run: true } => {
                self.statement_good(coordinator, limits, now)
            }
            Evidence::StatementBusy { coordinator, others_run: false } => Self {
                coordinator: Some(coordinator),
                last_statement: Some(now),
                reason: self.reason_or("a probe statement waits and nothing runs"),
                seats: self.seats.and(coordinator, now),
                ..self
            },
            Evidence::InfoFailed(why) => Self { answers: false, ..self }.failed(why, limits, now),
            Evidence::Counted(lacking) => self.counted(lacking, limits, now),
            Evidence::StatementFailed(why) | Evidence::CountFailed(why) => {
                self.statement_failed(why, limits, now)
            }
            Evidence::CannotConnect(why) => Self { answers: false, ..self }.fallen(why, now),
            Evidence::TrafficFailed(why) if self.stage == Stage::Ready => self.fallen(why, now),
            Evidence::TrafficFailed(_) => self,
            Evidence::Answered(coordinator) => {
                Self { seats: self.seats.and(coordinator, now), ..self }.alone(now)
            }
            Evidence::Moved => Self {
                stage: Stage::Starting { proven: false, good: 0 },
                reason: "its name leads to other addresses; waiting for a statement to run"
                    .to_owned(),
                falls: self.falls,
                cold: true,
                ..Self::default()
            },
        }
    }

    /// The same, unless two coordinators share the address.
    fn alone(self, now: Instant) -> Self {
        if !self.seats.are_shared(now) {
            return self;
        }
        let why = self.seats.complaint();
        self.fallen(why, now)
    }

    fn still_starting(self, uptime: Duration, now: Instant) -> Self {
        let restarted = self.uptime.is_some_and(|before| uptime < before);
        let flaps = self.stage == Stage::Ready && !restarted;
        Self {
            stage: Stage::Booting,
            reason: "the coordinator says that it is starting".to_owned(),
            uptime: Some(uptime),
            falls: if flaps { self.falls.and(now) } else { self.falls },
            seats: self.seats,
            cold: true,
            ..Self::default()
        }
    }

    fn info_good(self, uptime: Duration, limits: &Thresholds, now: Instant) -> Self {
        let restarted = self.uptime.is_some_and(|before| uptime < before);
        let settled = Some(now + limits.settle).filter(|_| uptime < YOUNG);
        if restarted {
            let (falls, seats, answers) = (self.falls, self.seats, true);
            let fresh = Self { uptime: Some(uptime), settled, falls, seats, ..Self::default() };
            return Self {
                stage: Stage::Starting { proven: false, good: 0 },
                reason: "the coordinator restarted; waiting for a statement to run".to_owned(),
                answers,
                cold: true,
                ..fresh
            };
        }
        let next = Self { uptime: Some(uptime), answers: true, ..self };
        match next.stage {
            Stage::Unknown | Stage::Booting => Self {
                stage: Stage::Starting { proven: false, good: 0 },
                reason: "waiting for a statement to run".to_owned(),
                settled,
                cold: next.cold || uptime < YOUNG,
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

    /// Takes a good `/v1/info` for the proof that only a statement gives.
    fn proven_by_info(self, limits: &Thresholds, now: Instant) -> Self {
        match self.stage {
            Stage::Ready => Self { failures: 0, ..self },
            Stage::Starting { proven: false, good } => {
                self.risen(good + 1, limits, now, |good| Stage::Starting { proven: true, good })
            }
            Stage::Unhealthy { proven: false, good } => {
                self.risen(good + 1, limits, now, |good| Stage::Unhealthy { proven: true, good })
            }
            Stage::Starting { .. } | Stage::Unhealthy { .. } | Stage::Unknown | Stage::Booting => {
                self
            }
        }
    }

    fn statement_good(self, coordinator: CoordinatorId, limits: &Thresholds, now: Instant) -> Self {
        let seats = self.seats.and(coordinator, now);
        let coordinator = Some(coordinator);
        let next = Self { coordinator, seats, last_statement: Some(now), failures: 0, ..self };
        let next = next.alone(now);
        if next.failures > 0 { next } else { next.proved(limits, now) }
    }

    fn proved(self, limits: &Thresholds, now: Instant) -> Self {
        match self.stage {
            Stage::Ready => self,
            Stage::Unknown | Stage::Booting => {
                self.risen(1, limits, now, |good| Stage::Starting { proven: true, good })
            }
            Stage::Starting { good, .. } => {
                self.risen(good + 1, limits, now, |good| Stage::Starting { proven: true, good })
            }
            Stage::Unhealthy { good, .. } => {
                self.risen(good + 1, limits, now, |good| Stage::Unhealthy { proven: true, good })
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
        let looks = self.falls.looks(limits.rise, now);
        if good < looks {
            let reason = format!("{good} of {looks} good looks in a row");
            return Self { stage: waiting(good), reason, ..self };
        }
        let settling = self.settled.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        if settling > Duration::ZERO {
            let reason = format!("it has started, and settles for {settling:.0?}");
            return Self { stage: waiting(good), reason, ..self };
        }
        let warming = self.cold.then_some((now, limits.ramp));
        let (stage, reason) = (Stage::Ready, "ready".to_owned());
        Self { stage, reason, failures: 0, was_ready: true, cold: false, warming, ..self }
    }

    fn statement_failed(self, why: String, limits: &Thresholds, now: Instant) -> Self {
        Self { last_statement: Some(now), ..self.failed(why, limits, now) }
    }

    fn failed(self, why: String, limits: &Thresholds, now: Instant) -> Self {
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
            _ => next.fallen(why, now),
        }
    }

    fn fallen(self, why: String, now: Instant) -> Self {
        let failures = self.failures.max(1);
        let falls = if self.stage == Stage::Ready { self.falls.and(now) } else { self.falls };
        let stage = Stage::Unhealthy { proven: false, good: 0 };
        Self { stage, reason: why, failures, falls, cold: true, ..self }
    }

    fn reason_or(&self, text: &str) -> String {
        if self.stage == Stage::Ready { self.reason.clone() } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests;

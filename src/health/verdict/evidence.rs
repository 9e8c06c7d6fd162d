//! What looks at a cluster show, and what they are measured by.

use std::time::Duration;

use crate::config::{self, Source};
use crate::ids::CoordinatorId;

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
    /// It was counted, and lacks this to be ready.
    Counted(Option<String>),
    /// It could not be counted.
    CountFailed(String),
    /// A client's request could not connect.
    CannotConnect(String),
    /// Too many requests of clients had no answer, or 5xx.
    TrafficFailed(String),
    /// A submit of a client was answered by this coordinator.
    Answered(CoordinatorId),
    /// Its name leads to addresses that it never had.
    Moved,
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
    /// How long a cluster that became ready takes fewer queries.
    pub ramp: Duration,
    /// What shows that it can take queries.
    pub source: Source,
}

impl Thresholds {
    /// Those of the settings, for a cluster that may have any number of workers and runs statements.
    pub fn of(health: &config::Health) -> Self {
        Self {
            rise: health.rise,
            fall: health.fall,
            min_workers: 0,
            statement_period: health.statement_period,
            settle: health.settle,
            ramp: health.ramp,
            source: Source::Statement,
        }
    }
}

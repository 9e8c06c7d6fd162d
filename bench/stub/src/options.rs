//! What a stub is told: once at its start, and at any time afterwards.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ports::free_address;

/// What a stub is told at its start.
#[derive(Debug, Clone)]
pub struct StubOptions {
    /// The address. By default one that is also free when it is started again.
    pub listen: SocketAddr,
    /// The mark in all query ids; `None` draws one. A restart always draws a new one.
    pub coordinator_id: Option<String>,
    /// How many real seconds a simulated second lasts: 0.01 runs a minute in 0.6 s.
    pub time_scale: f64,
    /// The seed of the faults' chances.
    pub seed: u64,
    /// Answers every page and submit with constant bytes, keeps no queries and records nothing.
    pub lean: bool,
    /// What can be changed while it runs.
    pub behaviour: Behaviour,
}

impl Default for StubOptions {
    fn default() -> Self {
        Self {
            listen: free_address(),
            coordinator_id: None,
            time_scale: 1.0,
            seed: 1,
            lean: false,
            behaviour: Behaviour::default(),
        }
    }
}

impl StubOptions {
    /// The defaults with another time scale.
    pub fn scaled(time_scale: f64) -> Self {
        Self { time_scale, ..Self::default() }
    }

    /// The same with this mark.
    #[must_use]
    pub fn with_coordinator_id(self, mark: &str) -> Self {
        Self { coordinator_id: Some(mark.to_owned()), ..self }
    }

    /// The same with changes to the behaviour.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Behaviour)) -> Self {
        change(&mut self.behaviour);
        self
    }
}

/// How a coordinator behaves; can be changed while it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// `/v1/info` says `"starting": true` and statements fail with `SERVER_STARTING_UP`.
    pub starting: bool,
    /// `"coordinator"` in `/v1/info`.
    pub coordinator: bool,
    /// `/v1/info` tells `coordinatorId`, as Trino 479 does and 476 does not.
    pub tells_coordinator_id: bool,
    /// The environment in `/v1/info`.
    pub environment: String,
    /// The version in `/v1/info`.
    pub version: String,
    /// Active workers, as `system.runtime.nodes` counts them.
    pub workers: u64,
    /// How many seconds its clock is ahead of this machine's, as its query ids show.
    pub clock_ahead_seconds: i64,
    /// Users see the queries of others in its lists, as Trino's default access control has it.
    pub shows_queries_of_others: bool,
    /// Each statement fails with an error of this name, though `/v1/info` looks well.
    pub statements_fail: Option<String>,
    /// Where people log in, such as `http://127.0.0.1:9000/login`. If it is set, a statement needs
    /// a token from there, or a password.
    pub oauth: Option<String>,
    /// What is done with `X-Forwarded-*`.
    pub process_forwarded: ProcessForwarded,
    /// Answers are compressed when the client takes gzip or zstd.
    pub compression: bool,
    /// Bodies are sent chunked rather than with their length.
    pub chunked: bool,
    /// Whether its UI knows people by a cookie, and how they log in.
    pub ui_login: UiLogin,
    /// Cookies of other numbers have run out.
    pub ui_cookie: u64,
    /// `Authorization` without which it counts nothing, if it is set.
    pub counts_for: Option<String>,
    /// What it says in the place of counts, whatever is asked for.
    pub counts_say: Option<String>,
    /// Whether its nodes are counted under the name that Trino gives them since 477.
    pub counts_as_477: bool,
    /// How much of its memory is in use, of a hundred.
    pub memory_percent: u64,
    /// How many drivers run on its ten processors.
    pub drivers: u64,
    /// How many queries run at once.
    pub max_running: usize,
    /// How many wait; one more fails with `QUERY_QUEUE_FULL`.
    pub max_queued: usize,
    /// Simulated seconds without a request after which a query is abandoned.
    pub client_timeout_seconds: u64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            starting: false,
            coordinator: true,
            tells_coordinator_id: false,
            environment: "stub".to_owned(),
            version: "476".to_owned(),
            workers: 1,
            clock_ahead_seconds: 0,
            shows_queries_of_others: true,
            statements_fail: None,
            oauth: None,
            process_forwarded: ProcessForwarded::Honour,
            compression: true,
            chunked: false,
            ui_login: UiLogin::Form,
            ui_cookie: 1,
            counts_for: None,
            counts_say: None,
            counts_as_477: false,
            memory_percent: 0,
            drivers: 0,
            max_running: 100_000,
            max_queued: 100_000,
            client_timeout_seconds: 300,
        }
    }
}

/// How the web UI knows people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UiLogin {
    /// By a form, as Trino up to 482.
    Form,
    /// By JSON, as later ones.
    Json,
    /// It does not ask, as with `web-ui.authentication.type=fixed`.
    Open,
}

/// `http-server.process-forwarded`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessForwarded {
    /// `true`: URIs follow `Forwarded` and `X-Forwarded-*`.
    Honour,
    /// The default of Trino: any `X-Forwarded-*` is answered 406.
    Reject,
    /// `ignore`: only `Host` counts.
    Ignore,
}

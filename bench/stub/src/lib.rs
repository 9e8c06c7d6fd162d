//! A simulated Trino coordinator, for tests and benches, in-process or as a program.
//!
//! Owns the protocol of one coordinator as a gateway sees it (`/v1/statement` with slugs and
//! tokens, `/v1/query`, `/v1/info`, spooled segments, logins by OAuth2), resource group limits, faults of every
//! kind, and a record of all that was asked. Statements do not compute: a comment in the SQL says
//! how long they run and what they return (`/* stub: run=2s rows=1000 pages=5 */`), in simulated
//! time that can run faster than the clock.
//!
//! ```no_run
//! # use warren_stub::{Fault, FaultRule, RequestKind, Stub, StubOptions};
//! let stub = Stub::start(StubOptions::scaled(0.01));
//! stub.fault(FaultRule::next(1, RequestKind::Page, Fault::ResetAfter));
//! assert_eq!(stub.counts().live(), 0);
//! stub.restart(); // the same address, another coordinator, no queries
//! ```
//!
//! It does not speak TLS or HTTP/2 or run SQL, and believes every password.

mod api;
mod clock;
mod coordinator;
mod counting;
mod encode;
mod fault;
mod forwarded;
mod http;
mod names;
mod oauth;
mod options;
mod plan;
mod ports;
mod record;
mod server;
mod stub;

pub mod client;
pub mod control;
pub mod lean;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use fault::{Fault, FaultRule, RequestKind};
pub use http::{Request, Response};
pub use names::Stage;
pub use options::{Behaviour, ProcessForwarded, StubOptions, UiLogin};
pub use plan::Failure;
pub use ports::free_address;
pub use record::{Counters, Counts, CountsAt, RequestRecord};
pub use stub::{QueryRecord, StartError, Stub};

/// Locks, also after a panic elsewhere: what is guarded here is never half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

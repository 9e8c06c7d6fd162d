//! What the tests against real parts share: the surroundings that `make test` has made, Warren as a
//! child process, the clients, and a look at the bytes on both of its legs.

pub(crate) mod booted;
pub(crate) mod clients;
pub(crate) mod coordinator;
pub(crate) mod front;
pub(crate) mod gateway;
#[expect(clippy::unwrap_used, reason = "the other tests' part: in a test a panic is the report")]
#[path = "../it/support/mariadb.rs"]
pub(crate) mod mariadb;
pub(crate) mod recorder;
pub(crate) mod size;
pub(crate) mod surroundings;
pub(crate) mod wire;

use std::time::Duration;

/// Waits until `seen` gives something, for code that blocks.
pub(crate) fn eventually<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    const PATIENCE: Duration = Duration::from_secs(60);
    let began = warren::time::now();
    loop {
        if let Some(found) = seen() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

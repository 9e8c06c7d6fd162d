//! What the journeys share: Warren as a process, clients, load, and a database server of our own.

pub(crate) mod authority;
mod believers;
pub(crate) mod clients;
pub(crate) mod crossroads;
pub(crate) mod gateway;
pub(crate) mod mariadb;
pub(crate) mod raw;
pub(crate) mod service;

use std::time::Duration;

use warren::time;

/// For whatever is waited for: a busy machine takes long, a broken one for ever.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `seen` gives something; panics with `what` when it does not within [`PATIENCE`].
pub(crate) fn eventually<T>(what: &str, seen: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, seen)
}

/// The same within `limit`.
pub(crate) fn within<T>(limit: Duration, what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let end = time::now() + limit;
    loop {
        if let Some(found) = seen() {
            return found;
        }
        assert!(time::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Shows a figure that a reader of the test's output wants to see.
#[expect(clippy::print_stdout, reason = "figures belong to the output of the tests")]
pub(crate) fn tell(text: &str) {
    println!("{text}");
}

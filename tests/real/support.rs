//! What the tests against real parts share: the surroundings that `make test` has made, Warren as a
//! child process, the clients, and a look at the bytes on both of its legs.

#[expect(clippy::unwrap_used, reason = "the other tests' part: in a test a panic is the report")]
#[path = "../it/support/authority.rs"]
pub(crate) mod authority;
pub(crate) mod clients;
pub(crate) mod coordinator;
pub(crate) mod front;
pub(crate) mod gate;
pub(crate) mod gateway;
#[expect(clippy::unwrap_used, reason = "the other tests' part: in a test a panic is the report")]
#[path = "../it/support/mariadb.rs"]
pub(crate) mod mariadb;
pub(crate) mod own;
pub(crate) mod raw;
pub(crate) mod recorder;
pub(crate) mod size;
pub(crate) mod storage;
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

/// Waits until `holds`.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let told = tokio::time::timeout(coordinator::SOON * 2, waiting).await;
    assert!(told.is_ok(), "{what}: not in time");
}

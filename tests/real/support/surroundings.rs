//! The real Trinos and the clients that `make test` has made ready. A missing one fails the test:
//! what was not tried must not look as if it worked.

use std::path::PathBuf;

/// The address of the first Trino, `host:port`.
pub(crate) fn blue() -> String {
    address("WARREN_TEST_TRINO_BLUE")
}

/// The address of the second Trino, `host:port`.
pub(crate) fn green() -> String {
    address("WARREN_TEST_TRINO_GREEN")
}

/// A file that `make test` names.
pub(crate) fn file(variable: &str) -> PathBuf {
    PathBuf::from(value(variable))
}

fn address(variable: &str) -> String {
    let url = value(variable);
    let address = url.strip_prefix("http://").expect("a coordinator's address is an http URL");
    address.trim_end_matches('/').to_owned()
}

fn value(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run `make test`, which boots what this test needs")
    })
}

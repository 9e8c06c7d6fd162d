//! What a record of a past request lacks. Rules see it as absent; which of it they asked for is noted,
//! so that whoever reads their answers knows how far to trust them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::route::verdict::shown;
use crate::sql::Analysis;

/// The most that is noted of one request: rules may ask for headers of any name.
const NOTED_MAX: usize = 32;

/// What a record lacks, and what of it was asked for.
#[derive(Debug)]
pub struct Unrecorded {
    headers: BTreeSet<String>,
    place: bool,
    asked: Mutex<BTreeSet<String>>,
}

impl Unrecorded {
    /// Of a record that knows these headers, named in lower case, also where the request had none of
    /// them. `place`: whether it tells path, port, address and local time.
    pub fn beside(headers: BTreeSet<String>, place: bool) -> Self {
        Self { headers, place, asked: Mutex::default() }
    }

    /// What rules asked for and the record lacks, in words.
    pub fn asked(&self) -> BTreeSet<String> {
        self.noted().clone()
    }

    fn noted(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, what: String) {
        let mut asked = self.noted();
        if asked.len() < NOTED_MAX {
            asked.insert(what);
        }
    }

    /// A header is asked for.
    pub(super) fn header(&self, name: &str) {
        let name = name.to_ascii_lowercase();
        if !self.headers.contains(&name) {
            self.note(format!("the header {}", shown(&name)));
        }
    }

    /// Something else is asked for; tells whether it is known.
    pub(super) fn place(&self, what: &str) -> bool {
        if !self.place {
            self.note(what.to_owned());
        }
        self.place
    }

    /// A service is asked.
    pub(in crate::route) fn service(&self) {
        self.note("what services say".to_owned());
    }

    /// It is asked what the statement is and touches.
    pub(super) fn statement(&self, known: &Analysis<'_>, is_cut: bool) {
        if is_cut {
            self.note("the rest of a long statement".to_owned());
        }
        if known.statement_type == Some("Execute") {
            self.note("prepared statements".to_owned());
        }
        // These make names whole.
        if known.parse_error.is_some() {
            self.header("x-trino-catalog");
            self.header("x-trino-schema");
        }
    }
}

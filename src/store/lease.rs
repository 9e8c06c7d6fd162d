//! Leases: what must be done by one gateway at a time. Pure; the stores keep the rows.
//!
//! A lease has a number that rises whenever another gateway takes it. What is done under a lease
//! carries the number, and the store does it only while that number is the newest: a gateway that
//! slept through the end of its lease changes nothing any more.

use std::time::Duration;

/// A lease that is held, as long as nobody has a newer number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// What is leased.
    pub name: String,
    /// Rises with each change of holder.
    pub number: u64,
}

/// The row of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeaseRow {
    pub(super) holder: String,
    pub(super) number: u64,
    pub(super) until_ms: u64,
}

/// The row once `holder` asked for the lease at `now_ms`; `None`: another one holds it.
pub(super) fn taken(
    row: Option<LeaseRow>,
    holder: &str,
    now_ms: u64,
    term: Duration,
) -> Option<LeaseRow> {
    let term = u64::try_from(term.as_millis()).unwrap_or(u64::MAX);
    let holder = holder.to_owned();
    let until_ms = now_ms.saturating_add(term);
    match row {
        None => Some(LeaseRow { holder, number: 1, until_ms }),
        // Nobody else had it in between, so the number stays.
        Some(row) if row.holder == holder => Some(LeaseRow { holder, until_ms, ..row }),
        Some(row) if row.until_ms <= now_ms => {
            Some(LeaseRow { holder, number: row.number + 1, until_ms })
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(holder: &str, number: u64, until_ms: u64) -> LeaseRow {
        LeaseRow { holder: holder.to_owned(), number, until_ms }
    }

    #[test]
    fn one_at_a_time_and_the_number_rises() {
        let term = Duration::from_millis(10);
        assert_eq!(taken(None, "a", 5, term), Some(row("a", 1, 15)));
        assert_eq!(taken(Some(row("a", 1, 15)), "b", 14, term), None);
        assert_eq!(taken(Some(row("a", 1, 15)), "a", 14, term), Some(row("a", 1, 24)));
        assert_eq!(taken(Some(row("a", 1, 15)), "b", 15, term), Some(row("b", 2, 25)));
        assert_eq!(taken(Some(row("b", 2, 25)), "a", 99, term), Some(row("a", 3, 109)));
        assert_eq!(taken(Some(row("a", 3, 9)), "a", 99, term), Some(row("a", 3, 109)));
    }
}

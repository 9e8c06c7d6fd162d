//! Statements to measure with: one as people write it, and long ones as programs do.

use std::fmt::Write as _;

/// How many bytes the long ones have.
pub(crate) const LONG: usize = 500_000;

/// A join of a kilobyte.
pub(crate) fn join() -> String {
    let mut join =
        "SELECT o.id, c.name, sum(l.price * (1 - l.discount)) AS revenue FROM ".to_owned();
    join += "lake.sales.orders o JOIN crm.customers c ON o.customer = c.id LEFT JOIN lines l ON l.id = o.id";
    while join.len() < 900 {
        let column = join.len();
        let _ = write!(join, " AND coalesce(l.c{column}, 'none') <> 'x{column}'");
    }
    join + " WHERE o.day BETWEEN DATE '2026-01-01' AND DATE '2026-01-31' GROUP BY 1, 2 ORDER BY 3 DESC"
}

/// A long list behind IN, of one element again and again.
pub(crate) fn list(element: &str) -> String {
    let mut text = format!("SELECT * FROM lake.sales.orders WHERE id IN ({element}");
    while text.len() < LONG {
        let _ = write!(text, ", {element}");
    }
    text + ")"
}

/// A long union over so many tables.
pub(crate) fn union(tables: usize) -> String {
    let mut union = "SELECT 1".to_owned();
    while union.len() < LONG {
        let table = union.len() % tables;
        let _ =
            write!(union, " UNION ALL SELECT a, b FROM lake.s{table}.t{table} WHERE a > {table}");
    }
    union
}

//! Whether a cluster can take queries, observed for all clusters whatever their intent.
//!
//! `/v1/info` answers 200 while a coordinator is still starting, so readiness is shown by a real
//! statement that ran to its end. One task for each cluster looks, decides (`verdict`, pure) and
//! publishes; another one polls what the cluster carries. Where `probe.source` says so, what a
//! coordinator counts of itself is both the proof and the load.

pub mod ask;
pub mod counting;
pub mod counts;
pub mod poll;
pub mod probe;
pub mod resolve;
pub mod statement;
pub mod verdict;

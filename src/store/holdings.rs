//! What the store keeps of what gateways hold open. The document is a text here; `sticky::holdings`
//! reads and writes it.

use std::time::Duration;

/// What a process of Warren says of what it knows to be open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldingsWord {
    /// Its gateway.
    pub gateway: String,
    /// Its number; that of a later process of the same gateway is larger.
    pub process: u64,
    /// What it says.
    pub document: String,
}

/// The same as the store gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldingsRow {
    /// Who said what.
    pub word: HoldingsWord,
    /// How long ago, by the clock of the store.
    pub age: Duration,
}

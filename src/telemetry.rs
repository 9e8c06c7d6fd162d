//! What Warren tells of itself: figures (`metrics`) and events (`log`).

pub mod log;
pub mod metrics;

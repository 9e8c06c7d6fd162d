//! What Warren tells of itself: figures (`metrics`) and events (`log`).

pub mod held;
pub mod log;
pub mod metrics;

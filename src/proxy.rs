//! The way to a cluster and back: Pingora's phases (`service`), each a few lines that call the
//! owner of the step.
//!
//! Submits are ended here (`submit`, `asking`, `amend`, `place`): only a request that is wholly ours
//! can be sent elsewhere when its cluster cannot take it, and moved until it has begun (`rebind`).
//! Everything else streams through Pingora to the owner that `follow` finds; its bytes are looked at
//! (`observe`) and not touched, but for clusters that do not honour forwarded headers (`rewrite`).
//! All answers of our own come from `rescue`.

mod amend;
mod asking;
pub mod context;
pub mod cookie;
pub mod decode;
pub mod direct;
pub mod finish;
pub mod follow;
pub mod headers;
pub mod held;
pub mod kill;
pub mod observe;
pub mod passing;
pub mod peers;
pub mod pinned;
pub mod place;
pub mod reads;
pub mod rebind;
pub mod rescue;
pub mod rewrite;
pub mod segments;
pub mod service;
pub mod statement;
pub mod submit;

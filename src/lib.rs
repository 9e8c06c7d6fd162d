//! Warren: one address in front of many Trino clusters.
//!
//! A request's journey, in the order of the modules: `listener` (who the client is), `classify`
//! (what it asks for), `sql` (what its statement is and touches), `route` (to which group),
//! `cluster` (which cluster), `proxy` (the way there and back), `sticky` (who owns a query). Beside
//! it the control side, which publishes snapshots and is never called by the journey: `health`,
//! `rollout`, `history`, `control`, `admin`. Under both: `gateway` (what both share), `upstream`,
//! `config`, `store`, `state`, `telemetry`, `ids`, `time`.
//! `cli` is how people start and ask it, `app` wires it, `supervise` keeps it running; `outlast` is
//! what the last two say to each other. `migrate` makes settings and rules of those of a Java gateway.

pub mod app;
pub mod cli;
pub mod migrate;
pub mod supervise;

pub mod classify;
pub mod cluster;
pub mod listener;
pub mod proxy;
pub mod route;
pub mod sql;
pub mod sticky;

pub mod admin;
pub mod control;
pub mod health;
pub mod history;
pub mod rollout;

pub mod config;
pub mod gateway;
pub mod ids;
pub mod outlast;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod time;
pub mod upstream;

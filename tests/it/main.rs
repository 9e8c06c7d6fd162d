//! Tests of Warren's parts together, and of the whole against the stub coordinator.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod answers;
mod backends;
mod balance;
mod doctor;
mod fuzz;
mod groups;
mod history;
mod hold;
mod hostile_clusters;
mod hostile_rules;
mod image;
mod intent;
mod left;
mod migrate;
mod moved;
mod outlast;
mod pinned;
mod ready;
mod repair;
mod replay;
mod roll;
mod rollout;
mod rules;
mod services;
mod sources;
mod sql;
mod sticky;
mod store;
mod submit;
mod supervise;
mod support;
mod tidy;
mod tls;
mod trust;
mod versions;
mod waiting;

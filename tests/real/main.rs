//! Tests against real parts: Trino itself and the clients that people use. `make test` boots them
//! and names them in WARREN_TEST_* variables; without these every test here fails.

mod activation;
mod doctor;
mod falls;
mod handshake;
mod hold;
mod left;
mod life;
mod matrix;
mod outlive;
mod pages;
mod queries;
mod rebinding;
mod replace;
mod roll;
mod rules;
mod secure;
mod sources;
mod spooling;
mod sql;
mod standby;
mod support;
mod survive;

//! The integration tests: one binary, because linking costs more than running.
//!
//! A module is a subject. Modules that start processes are in the group `processes` of `.config/nextest.toml`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod agreement;
mod aws;
mod bad_input;
mod canary;
mod cli;
mod crash;
mod defects;
mod demo;
mod desk;
mod docs;
mod failures_of_others;
mod full_disk;
mod furnished;
mod hygiene;
mod idempotency;
mod keys;
mod lifecycle;
mod managed_keys;
mod matrix;
mod numbers;
mod objectives;
mod personas;
mod queries;
mod refusals;
mod results;
mod schemathesis;
mod sdk;
mod seeds;
mod serve;
mod slow_bodies;
mod sockets;
mod turns;
mod wire;
mod workers;

//! The integration tests. They are one binary, because linking costs more than running.
//!
//! Each module has one subject. Modules that start processes are in the group `processes` of
//! `.config/nextest.toml`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod archived;
mod audit_archive;
mod auth_matrix;
mod aws;
mod bad_input;
mod batches;
mod check_parity;
mod claims;
mod cli;
mod crash;
mod decisions;
mod deletion;
mod demo;
mod deployment_consistency;
mod docs;
mod endpoints;
mod evaluations;
mod explicit_personas;
mod export;
mod fixtures;
mod full_disk;
mod idempotency;
mod imports;
mod keys;
mod known_vulnerabilities;
mod lifecycle;
mod log_privacy;
mod managed_keys;
mod model_faults;
mod model_personas;
mod models;
mod monitors;
mod numbers;
mod objectives;
mod pages;
mod personas;
mod privacy;
mod provider;
mod queries;
mod refusals;
mod reports;
mod response_shapes;
mod results;
mod schemathesis;
mod sdk;
mod secret_leaks;
mod seeded_project;
mod seeds;
mod serve;
mod slow_bodies;
mod slow_turns;
mod sockets;
mod source_style;
mod turns;
mod unreliable_provider;
mod upstream_parity;
mod usage;
mod webhooks;
mod wires;
mod worker_program;
mod workers;

//! The kit of the integration tests: the application in this process ([`app`]); and the real program as a process,
//! Python beside it, and an HTTP client. Every call of either client says which status it expects.
//!
//! The second half knows the server only from outside: its command line, its environment, its files and its wire. What
//! fails, fails by a panic that says what was seen, with the log of the process concerned. Each wait has a deadline and
//! polls for what it waits for.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a test kit fails by panicking")]

pub mod app;
mod http;
pub mod process;
pub mod sdk;
pub mod template;
mod wait;

pub use http::{Client, Reply};
pub use wait::{eventually, eventually_within};

//! The kit of the integration tests: the application in this process ([`app`]); the real program as a process
//! ([`process`]); and its functions, each as a process, with what AWS puts between them ([`aws`]). Python beside them, and
//! an HTTP client. Every call of either client says which status it expects.
//!
//! All but the first know the server only from outside: its command line, its environment, its files and its wire. What
//! fails, fails by a panic that says what was seen, with the log of the process concerned. Each wait has a deadline and
//! polls for what it waits for.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a test kit fails by panicking")]

pub mod app;
pub mod aws;
mod http;
pub mod process;
pub mod rights;
pub mod sdk;
pub mod template;
pub mod tls;
mod wait;

pub use http::{Client, Reply};
pub use wait::{eventually, eventually_within};

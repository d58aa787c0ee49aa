//! The kit of the integration tests: the application in this process ([`app`]), the real program as
//! a process ([`process`]), its functions as processes with local AWS services ([`aws`]), and an
//! HTTP client. Every call of a client names the expected status.
//!
//! All but the first use the server only by its command line, environment, files and HTTP. Each
//! failure is a panic with the observed value and the process's log. Each wait polls until a
//! deadline.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a test kit fails by panicking")]

pub mod app;
pub mod aws;
pub mod decisions;
mod http;
mod listener;
pub mod process;
pub mod provider;
pub mod receiver;
pub mod rights;
pub mod sdk;
pub mod template;
pub mod tls;
mod wait;

pub use http::{Client, Reply, http_client};
pub use wait::{eventually, eventually_within};

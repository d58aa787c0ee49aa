//! A typed client of OneRun's API, and an agent worker.
//!
//! The client knows the wire and nothing of how the server works: what it reads is a part of what is sent, and words
//! that it does not know are [`Unknown`](resource::SimulationStatus::Unknown) rather than an error, so that a newer
//! server does not break it. It sends each request once; [`Worker`] is what tries again.
//!
//! ```no_run
//! use onerun_client::{Agent, AgentError, ApiKey, Client, Message, Worker};
//!
//! struct Parrot;
//!
//! impl Agent for Parrot {
//!     async fn reply(&self, transcript: &[Message]) -> Result<Option<String>, AgentError> {
//!         Ok(transcript.last().map(|message| message.text.clone()))
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("http://127.0.0.1:9000", &ApiKey::new("…")?)?;
//! let worker = Worker::new(client.project("AbCdEfGhIjKl"), "MnOpQrStUvWx", Parrot);
//! worker.run(std::future::pending()).await?; // until the process is stopped
//! # Ok(())
//! # }
//! ```
//!
//! # HTTPS
//!
//! Not yet: `https` addresses are refused. In reqwest 0.13 TLS is rustls by either of two features. `rustls` brings
//! aws-lc, whose C sources more than double the time to build this crate; `rustls-no-provider` leaves the choice of the
//! cryptography to the program. Which one a OneRun program has is to be decided once, together with the clients of AWS,
//! so that there is one TLS stack in it.

mod client;
mod error;
pub mod resource;
mod retry;
mod worker;

#[cfg(test)]
mod testing;

pub use client::{ApiKey, Client, ConversationClient, ProjectClient, SetupError, SimulationClient};
pub use error::Error;
pub use worker::{Agent, AgentError, Message, Worker, WorkerOptions, WorkerReport};

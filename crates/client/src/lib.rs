//! A typed client of OneRun's API, and an agent worker.
//!
//! The client knows the wire and nothing of how the server works: what it reads is a part of what is sent, and words
//! that it does not know are [`Unknown`](resource::SimulationStatus::Unknown) rather than an error, so that a newer
//! server does not break it. It sends each request once; [`Worker`] is what tries again, and calls that read and
//! those about keys are if [asked for](ClientOptions::retry_budget).
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
//! By rustls with ring, trusting what the system trusts. Plain HTTP is for a server on this machine: to another it would
//! show the key to whoever is on the way, so that has to be [asked for](ClientOptions::clear_text).

mod client;
mod error;
pub mod resource;
mod retry;
mod tls;
mod verbatim;
mod worker;

#[cfg(test)]
mod testing;

pub use client::{
    ApiKey, Client, ClientOptions, ConversationClient, ProjectClient, SetupError, SimulationClient,
};
pub use error::Error;
pub use verbatim::Verbatim;
pub use worker::{Agent, AgentError, Message, Worker, WorkerOptions, WorkerReport};

//! A typed client of OneRun's API, and an agent worker.
//!
//! The client works with newer servers: it ignores unknown fields, and unknown values become
//! [`Unknown`](resource::SimulationStatus::Unknown). By default it sends each request once.
//! [`ClientOptions::retry_budget`] lets it retry reads, creations and calls about keys. A
//! [`Worker`] always retries.
//!
//! ```no_run
//! use onerun_client::{
//!     Agent, AgentError, AgentSession, ApiKey, Client, ConversationInfo, Message, Reply, Worker,
//! };
//!
//! struct Parrot;
//!
//! impl Agent for Parrot {
//!     type Session = Parrot;
//!
//!     async fn open(&self, _: &ConversationInfo) -> Result<Parrot, AgentError> {
//!         Ok(Parrot)
//!     }
//! }
//!
//! impl AgentSession for Parrot {
//!     async fn reply(&mut self, transcript: &[Message]) -> Result<Reply, AgentError> {
//!         Ok(transcript.last().map(|message| message.text.clone()).into())
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
//! TLS is rustls with ring and the system's root certificates. Plain HTTP reveals the key to anyone
//! on the network path, so to another machine it must be [allowed](ClientOptions::clear_text).

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
pub use error::{Error, FieldError};
pub use verbatim::Verbatim;
pub use worker::{
    Agent, AgentError, AgentSession, ConversationInfo, Message, Reply, Worker, WorkerOptions, WorkerReport,
    WorkerStatus,
};

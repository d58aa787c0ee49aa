//! Chat models of OpenAI, Anthropic and Bedrock, and of every server that speaks one of their wires, and decision
//! models as judges.
//!
//! Nothing here opens a socket: a [`Provider`] sends requests through a [`Transport`](onerun_transport::Transport),
//! which each host implements. The wires are pure: they turn a [`ChatRequest`] into an HTTP request and an HTTP
//! response into a [`ChatAnswer`].
//!
//! Answers are untrusted. A wire accepts every shape that servers are known to send, and reports
//! everything else as an error without panicking.

mod ask;
mod chat;
mod chat_model;
mod config;
mod decisions;
mod dialect;
mod json;
mod judge;
mod persona;
mod prices;
mod provider;
mod record;
mod reply;
mod schema;
mod secret;
#[cfg(test)]
mod testing;
mod wire;

pub use chat::{ChatAnswer, ChatError, ChatMessage, ChatRequest, ChatRole, Detail, Finish};
pub use config::{ChatModels, ModelConfig};
pub use dialect::{Dialect, Parameter, Structure};
pub use json::json_text;
pub use prices::{Price, Prices, PricesError};
pub use provider::{CircuitConfig, Limits, Provider, Sent};
pub use record::{RecordError, RecordingTransport, ReplayingTransport};
pub use schema::{Kind, Property, Schema};
pub use secret::Secret;
pub use wire::{Anthropic, AwsCredentials, Converse, Decisions, EndpointError, OpenAi, Wire};

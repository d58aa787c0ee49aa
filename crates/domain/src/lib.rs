//! What OneRun is about, without how it is stored, hosted or spoken to: ids, resources, their state machines,
//! check lines and statistics.
//!
//! Nothing here reads a clock, a random source, a file or the network; time and randomness are arguments. A value
//! of one of these types is valid: the text and number types can only be made by parsing, and a state changes only
//! by a method that may refuse.

mod agent;
mod check;
mod conversation;
mod digest;
mod evaluation;
mod id;
mod item;
mod job;
#[cfg(test)]
mod model_tests;
mod number;
mod objective;
mod page;
mod persona;
mod project;
mod refusal;
mod resource;
mod seed;
mod simulation;
mod source;
mod statistics;
mod text;

pub use agent::{Agent, AgentPatch};
pub use check::{Check, CheckLineError, CheckResult, Examination, Rubric};
pub use conversation::{
    Conversation, ConversationStatus, EndReason, EndedAttempt, EvaluationStatus, MAX_ATTEMPTS, TurnClaim,
    TurnToken,
};
pub use digest::sha256_hex;
pub use evaluation::{Evaluation, MAX_QUOTES, Outcome, Quote, Score};
pub use id::{
    AgentId, ConversationId, EvaluationId, IdError, ItemId, ObjectiveId, PersonaId, ProjectId, SimulationId,
};
pub use item::{Item, Role, Transcript};
pub use job::{Job, JobId, JobKind, Work};
pub use number::{MaxTurns, NumberError, Seed, Target};
pub use objective::{Objective, ObjectivePatch, ObjectiveRef};
pub use page::{Direction, Limit, Page, PageRequest};
pub use persona::{AgeGroup, ApprovalStatus, Persona, PersonaAttributes};
pub use project::Project;
pub use refusal::Refusal;
pub use resource::Resource;
pub use seed::derive_seed;
pub use simulation::{Progress, Simulation, SimulationStatus};
pub use source::{Clock, Random, later};
pub use statistics::{Interval, wilson_interval};
pub use text::{Criteria, Description, MessageText, Metadata, Name, Scenario, TextError};

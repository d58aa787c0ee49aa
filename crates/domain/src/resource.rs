//! The kinds of resources.

use std::fmt::{self, Display, Formatter};

/// A kind of resource that has ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A project.
    Project,
    /// An agent under test.
    Agent,
    /// An objective.
    Objective,
    /// A simulation.
    Simulation,
    /// A persona of a simulation.
    Persona,
    /// A conversation of a simulation.
    Conversation,
    /// An evaluation run of a simulation.
    Evaluation,
    /// A monitor.
    Monitor,
    /// A batch of simulations.
    Batch,
    /// A webhook.
    Webhook,
    /// A delivery of a webhook.
    Delivery,
    /// An API key.
    Key,
}

/// The name in messages, capitalised.
impl Display for Resource {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}

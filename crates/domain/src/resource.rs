//! The kinds of things that ids name.

use std::fmt::{self, Display, Formatter};

/// A kind of thing that an id names.
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
    /// An API key.
    Key,
}

/// The kind's name in messages, with a capital.
impl Display for Resource {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}

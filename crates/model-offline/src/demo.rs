//! The data of `onerun demo`: a scenario, an agent and objectives that the [sample
//! agent](super::SampleAgent) meets most of the time.

/// The name of the simulation.
pub const SIMULATION_NAME: &str = "Something went wrong with an order";

/// The situation that the personas are in.
pub const SCENARIO: &str = "A customer of Larch & Linen, a small online shop for the home, writes to support because \
something went wrong with an order. It is late, or it arrived damaged, or the wrong item was in the box. Some want \
their money back, others still want what they ordered, and nobody wants to ask twice.";

/// The name of the agent.
pub const AGENT_NAME: &str = "Larch & Linen Support";

/// The description of the agent.
pub const AGENT_DESCRIPTION: &str = "Answers customers of a small online shop in chat. It looks orders up by their \
number and can refund them or send replacements. It must not promise dates, because the carrier decides them.";

/// The maximum number of messages in a conversation of the demo; enough for the most patient
/// persona.
pub const MAX_TURNS: u32 = 20;

/// An objective of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemoObjective {
    /// Its name.
    pub name: &'static str,
    /// Its criteria.
    pub criteria: &'static str,
}

/// The objectives: check lines only, because prose needs a language model.
pub const OBJECTIVES: [DemoObjective; 3] = [
    DemoObjective {
        name: "Looks the order up",
        criteria: "check: agent says /order number/i\ncheck: persona says /\\d{8}/",
    },
    DemoObjective {
        name: "Promises no dates",
        criteria: "check: agent never says /guaranteed?\\b|\\bI promise\\b|by tomorrow/i",
    },
    DemoObjective {
        name: "Settles the matter in a few messages",
        criteria: "check: agent says /refund|replacement/i\ncheck: agent replies <= 4\ncheck: persona ended",
    },
];

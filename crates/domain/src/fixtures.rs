//! Fixtures for the tests of the state machines.

use jiff::Timestamp;

use crate::{
    AgentId, ApprovalStatus, Conversation, MaxTurns, Metadata, Name, Persona, PersonaAttributes, Scenario,
    Seed, Simulation, SimulationOptions, SimulationStatus, Target, TurnToken,
};

/// Seconds after the creation of the simulation.
pub(crate) type Second = i64;

/// When the simulation expires.
pub(crate) const EXPIRY: Second = 2_000;

pub(crate) fn at(second: Second) -> Timestamp {
    Timestamp::from_second(1_900_000_000 + second).unwrap()
}

pub(crate) fn simulation(target_conversations: u32, target_personas: u32) -> Simulation {
    Simulation {
        id: "simulation00000000001".parse().unwrap(),
        project_id: "project00001".parse().unwrap(),
        agent_id: "agent0000001".parse::<AgentId>().unwrap(),
        name: Name::parse("Simulation").unwrap(),
        scenario: Scenario::parse("A parcel is late.").unwrap(),
        target_conversations: Target::parse(target_conversations.into()).unwrap(),
        target_personas: Target::parse(target_personas.into()).unwrap(),
        max_turns: MaxTurns::default(),
        auto_approve: true,
        seed: Seed::parse(1).unwrap(),
        options: SimulationOptions::default(),
        metadata: Metadata::default(),
        status: SimulationStatus::Pending,
        last_failure_reason: None,
        created_at: at(0),
        updated_at: at(0),
        expires_at: at(EXPIRY),
        transcripts_deleted_at: None,
    }
}

pub(crate) fn conversation(now: Timestamp) -> Conversation {
    Conversation::queued(
        "conversation000000001".parse().unwrap(),
        "simulation00000000001".parse().unwrap(),
        "persona00000000000001".parse().unwrap(),
        1,
        now,
    )
}

pub(crate) fn persona() -> Persona {
    let attributes = serde_json::json!({
        "age_group": "adult", "speech_style": "", "education": "", "occupation": "", "economic_status": "",
        "personality_traits": "", "values": "", "habits": "", "interests": "", "speech_patterns": "",
        "typical_behavior": "", "stress_triggers": "", "stress_reactions": "", "version": "1",
    });
    Persona {
        id: "persona00000000000001".parse().unwrap(),
        simulation_id: "simulation00000000001".parse().unwrap(),
        seq: 1,
        approval: ApprovalStatus::Pending,
        summary: String::new(),
        story: String::new(),
        purpose: String::new(),
        attributes: serde_json::from_value::<PersonaAttributes>(attributes).unwrap(),
        metadata: Metadata::default(),
        created_at: at(0),
        updated_at: at(0),
    }
}

pub(crate) fn token(number: u8) -> TurnToken {
    TurnToken::restore(format!("{number}.input{number}"))
}

/// A deterministic generator (`SplitMix64`) for simulated results.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Whether a trial passes that passes at a rate.
    pub(crate) fn passes(&mut self, rate: f64) -> bool {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 <= rate
    }
}

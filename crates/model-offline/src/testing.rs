//! Fixtures for tests.

use jiff::Timestamp;
use onerun_domain::{
    Agent, ApprovalStatus, Description, Item, MaxTurns, MessageText, Metadata, Name, Persona, Role, Scenario,
    Seed, Simulation, SimulationOptions, SimulationStatus, Target,
};

use super::{SampleAgent, character::Character, demo, reply};
use onerun_engine::{Meter, Reply, ReplyRequest};

pub(crate) fn simulation(seed: u64, scenario: &str) -> Simulation {
    Simulation {
        id: "simulation00000000001".parse().unwrap(),
        project_id: "project00001".parse().unwrap(),
        agent_id: "agent0000001".parse().unwrap(),
        name: Name::parse("A simulation").unwrap(),
        scenario: Scenario::parse(scenario).unwrap(),
        target_conversations: Target::parse(20).unwrap(),
        target_personas: Target::parse(10).unwrap(),
        max_turns: MaxTurns::parse(20).unwrap(),
        auto_approve: true,
        seed: Seed::parse(seed).unwrap(),
        options: SimulationOptions::default(),
        metadata: Metadata::default(),
        status: SimulationStatus::InProgress,
        last_failure_reason: None,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        expires_at: Timestamp::MAX,
        transcripts_deleted_at: None,
    }
}

pub(crate) fn agent() -> Agent {
    Agent {
        id: "agent0000001".parse().unwrap(),
        project_id: "project00001".parse().unwrap(),
        name: Name::parse(demo::AGENT_NAME).unwrap(),
        description: Some(Description::parse(demo::AGENT_DESCRIPTION).unwrap()),
        metadata: Metadata::default(),
        last_polled_at: None,
        endpoint: None,
        archived_at: None,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

pub(crate) fn persona(simulation: &Simulation, agent: &Agent, seq: u32) -> Persona {
    let draft = Character::of(simulation, seq).draft(simulation, agent, seq);
    Persona {
        id: "persona00000000000001".parse().unwrap(),
        simulation_id: simulation.id.clone(),
        seq,
        approval: ApprovalStatus::Approved,
        summary: draft.summary,
        story: draft.story,
        purpose: draft.purpose,
        attributes: draft.attributes,
        metadata: Metadata::default(),
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

pub(crate) fn item(position: usize, role: Role, text: &str) -> Item {
    Item {
        id: format!("item{position:017}").parse().unwrap(),
        conversation_id: "conversation000000001".parse().unwrap(),
        attempt: 1,
        position: u32::try_from(position).unwrap(),
        role,
        content: vec![MessageText::parse(text).unwrap()],
        created_at: Timestamp::UNIX_EPOCH,
    }
}

/// The persona's reply to these lines.
pub(crate) fn answer(simulation: &Simulation, seq: u32, conversation: u32, lines: &[(Role, &str)]) -> Reply {
    let agent = agent();
    let persona = persona(simulation, &agent, seq);
    let transcript: Vec<Item> =
        lines.iter().enumerate().map(|(position, (role, text))| item(position, *role, text)).collect();
    reply::reply(&ReplyRequest {
        meter: &Meter::default(),
        simulation,
        agent: &agent,
        persona: &persona,
        conversation_seq: conversation,
        transcript: &transcript,
    })
}

/// A conversation with the sample agent, and whether the persona ended it.
pub(crate) fn conversation(simulation: &Simulation, seq: u32, conversation: u32) -> (Vec<Item>, bool) {
    converse(simulation, seq, conversation, |lines| SampleAgent.reply(lines))
}

/// A conversation with any agent, of up to 40 messages.
pub(crate) fn converse(
    simulation: &Simulation,
    seq: u32,
    conversation_seq: u32,
    agent_says: impl Fn(&[(Role, &str)]) -> Option<String>,
) -> (Vec<Item>, bool) {
    let agent = agent();
    let persona = persona(simulation, &agent, seq);
    let mut transcript: Vec<Item> = Vec::new();
    while transcript.len() < 40 {
        let reply = reply::reply(&ReplyRequest {
            meter: &Meter::default(),
            simulation,
            agent: &agent,
            persona: &persona,
            conversation_seq,
            transcript: &transcript,
        });
        if let Some(text) = &reply.text {
            transcript.push(item(transcript.len(), Role::User, text));
        }
        if reply.ends || reply.text.is_none() {
            return (transcript, true);
        }
        let texts: Vec<(Role, String)> = transcript.iter().map(|item| (item.role, item.text())).collect();
        let lines: Vec<(Role, &str)> = texts.iter().map(|(role, text)| (*role, text.as_str())).collect();
        let Some(text) = agent_says(&lines) else { return (transcript, false) };
        transcript.push(item(transcript.len(), Role::Assistant, &text));
    }
    (transcript, false)
}

pub(crate) fn as_text(transcript: &[Item]) -> String {
    let mut text = String::new();
    for item in transcript {
        text.extend([item.role.as_str(), ": ", &item.text(), "\n"]);
    }
    text
}

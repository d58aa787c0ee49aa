//! Personas in responses.

use onerun_domain::{Persona, PersonaAttributes};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    openapi::examples::{MADE, PERSONA, SIMULATION},
    operation::Example,
    views::{ApprovalStatusOut, Time},
};

/// A person that the agent talks to.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Persona")]
pub(crate) struct PersonaOut {
    id: String,
    simulation_id: String,
    /// Its number within the simulation, from 1. A persona that replaces a rejected one has a number above
    /// the target.
    seq_id: u32,
    approval_status: ApprovalStatusOut,
    /// The persona in a sentence.
    summary: String,
    /// The background of the conversation.
    story: String,
    /// The persona's goal in the conversation.
    purpose: String,
    /// Traits by name; an empty text is an unknown trait.
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    attributes: PersonaAttributes,
    metadata: Map<String, Value>,
    created_at: Time,
    updated_at: Time,
}

impl From<Persona> for PersonaOut {
    fn from(persona: Persona) -> Self {
        Self {
            id: persona.id.into(),
            simulation_id: persona.simulation_id.into(),
            seq_id: persona.seq,
            approval_status: ApprovalStatusOut(persona.approval),
            summary: persona.summary,
            story: persona.story,
            purpose: persona.purpose,
            attributes: persona.attributes,
            metadata: persona.metadata.as_map().clone(),
            created_at: Time(persona.created_at),
            updated_at: Time(persona.updated_at),
        }
    }
}

impl Example for PersonaOut {
    fn example() -> Value {
        json!({
            "id": PERSONA,
            "simulation_id": SIMULATION,
            "seq_id": 1,
            "approval_status": "approved",
            "summary": "Kwame Tran, 38, an insurance clerk: restless and hurried.",
            "story": "The parcel came with a dent, and the frying pan in it is bent.",
            "purpose": "To get the money back.",
            "attributes": { "age_group": "adult", "speech_style": "few words", "version": "1" },
            "metadata": {},
            "created_at": MADE,
            "updated_at": MADE,
        })
    }
}

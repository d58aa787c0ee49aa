//! A persona's faults in responses.

use onerun_domain::PersonaFault;
use schemars::JsonSchema;
use serde::Serialize;

use crate::views::{FaultSeverityOut, FaultSourceOut, PersonaFaultKindOut};

/// A fault of the persona, found from the transcript and from what the persona knows. It says nothing about the
/// agent.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PersonaFault")]
pub(crate) struct PersonaFaultOut {
    kind: PersonaFaultKindOut,
    /// A conversation with a critical fault is left out of pass rates.
    severity: FaultSeverityOut,
    /// The message with the fault. If the persona stopped without a word, the message that it left unanswered.
    item_id: String,
    /// Words of that message; empty if the transcript was deleted.
    quote: String,
    source: FaultSourceOut,
}

impl From<PersonaFault> for PersonaFaultOut {
    fn from(fault: PersonaFault) -> Self {
        Self {
            kind: PersonaFaultKindOut(fault.kind),
            severity: FaultSeverityOut(fault.severity),
            item_id: fault.item_id.into(),
            quote: fault.quote,
            source: FaultSourceOut(fault.source),
        }
    }
}

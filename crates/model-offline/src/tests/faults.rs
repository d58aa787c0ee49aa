//! The rules that find faults of personas find no critical one in conversations of the offline model.

use onerun_domain::{EndReason, FaultSeverity, Transcript, persona_faults};

use super::scenarios::SCENARIOS;
use crate::{
    demo,
    testing::{agent, as_text, conversation, persona, simulation},
};

#[test]
fn scripted_personas_make_no_critical_fault() {
    for (scenario, seed) in SCENARIOS.into_iter().chain([demo::SCENARIO]).zip(1..) {
        let simulation = simulation(seed, scenario);
        for seq in 1..=2 {
            let (items, ended) = conversation(&simulation, seq, seq);
            let end_reason = if ended { EndReason::PersonaDecided } else { EndReason::AgentDecided };
            let transcript = Transcript { items, end_reason: Some(end_reason) };
            let persona = persona(&simulation, &agent(), seq);
            let faults = persona_faults(&simulation.scenario, &persona, &transcript);
            let is_minor = faults.iter().all(|fault| fault.severity == FaultSeverity::Minor);
            assert!(is_minor, "{scenario}: {faults:?}\n{}", as_text(&transcript.items));
        }
    }
}

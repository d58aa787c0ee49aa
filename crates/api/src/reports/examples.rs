//! A report and a comparison for the OpenAPI document, made by the code that makes real ones.

use jiff::Timestamp;
use onerun_domain::Outcome;
use onerun_report::{
    CaseRun, Comparison, Plan, PlannedCase, PlannedObjective, Report, Side, SideObjective, Trial, TrialEnd,
    TrialEvaluation, compare, evaluate, persona_key,
};
use serde_json::Value;

use crate::{
    openapi::examples::{CONVERSATION, OBJECTIVE, SIMULATION},
    operation::Example,
};

const NAME: &str = "Refunds, nightly";
const AGENT: &str = "Support bot";
const SCENARIO: &str = "A parcel arrived damaged, and the customer wants the money back.";
const OBJECTIVE_NAME: &str = "Offers a refund";
const BEFORE: &str = "sK4NdPcW0qYx7uTzR2vLm";

/// The number of conversations that the test needs at least to find a difference significant.
const TRIALS: u32 = 6;

fn run(simulation: &str, failed: u32) -> CaseRun {
    let trial = |number: u32| Trial {
        number,
        persona: number,
        persona_key: Some(persona_key("Ada, a retired teacher", "", &number.to_string())),
        persona_summary: "Ada, a retired teacher, whose kettle arrived broken.".to_owned(),
        // Ids have a fixed length.
        conversation_id: format!("{}{number}", &CONVERSATION[..CONVERSATION.len() - 1]),
        messages: 6,
        end: TrialEnd::Judged,
        evaluations: vec![TrialEvaluation {
            objective: OBJECTIVE.to_owned(),
            outcome: if number <= failed { Outcome::Failed } else { Outcome::Passed },
            score: Some(if number <= failed { 0.2 } else { 1.0 }),
            reason: "The agent never offers the money back.".to_owned(),
            quotes: vec!["I can only send you a voucher.".to_owned()],
        }],
    };
    CaseRun {
        case: NAME.to_owned(),
        simulation_id: simulation.to_owned(),
        status: "completed".to_owned(),
        failure: None,
        cost_usd: Some(0.177_428),
        trials: (1..=TRIALS).map(trial).collect(),
    }
}

impl Example for Report {
    fn example() -> Value {
        let objective = PlannedObjective { key: OBJECTIVE.to_owned(), name: OBJECTIVE_NAME.to_owned() };
        let case = PlannedCase {
            key: NAME.to_owned(),
            agent: AGENT.to_owned(),
            scenario_key: "scenario".to_owned(),
            scenario: SCENARIO.to_owned(),
            objectives: vec![objective],
            trials: 2,
            personas: 2,
        };
        let plan =
            Plan { name: NAME.to_owned(), cases: vec![case], gates: Vec::new(), quarantine: Vec::new() };
        let mut run = run(SIMULATION, 1);
        run.trials.truncate(2);
        serde_json::to_value(evaluate(&plan, &[run], None, Timestamp::UNIX_EPOCH)).unwrap_or_default()
    }
}

impl Example for Comparison {
    fn example() -> Value {
        let side = |simulation: &str, failed: u32| Side {
            name: NAME.to_owned(),
            agent: AGENT.to_owned(),
            scenario: SCENARIO.to_owned(),
            judge: "openai:gpt-5.4".to_owned(),
            objectives: vec![SideObjective {
                id: OBJECTIVE.to_owned(),
                version: 1,
                name: OBJECTIVE_NAME.to_owned(),
            }],
            trials: TRIALS,
            personas: TRIALS,
            run: run(simulation, failed),
        };
        let (before, mut after) = (side(BEFORE, 1), side(SIMULATION, 2));
        for trial in &mut after.run.trials {
            trial.conversation_id.replace_range(..1, "k");
        }
        serde_json::to_value(compare(&before, &after, Timestamp::UNIX_EPOCH)).unwrap_or_default()
    }
}

//! Checks that the configured models work: one persona, one reply and one verdict.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{
    Agent, AgentId, Clock, ConversationId, Criteria, Description, Item, ItemId, MaxTurns, MessageText,
    Metadata, ModelName, ModelUsage, Name, Objective, ObjectiveId, Persona, PersonaDraft, PersonaId,
    ProjectId, Purpose, Role, Scenario, Seed, Simulation, SimulationId, SimulationModels, SimulationOptions,
    SimulationStatus, Target, TextError, later,
};
use onerun_engine::{
    JudgeRequest, Meter, ModelError, Models, PersonaRequest, Question, RETIREMENT_DAYS, ReplyRequest,
};
use onerun_host::{OsRandom, SystemClock};

use crate::{Config, ModelsError, models};

/// The result of one check.
#[derive(Debug)]
pub struct Checked {
    /// The model.
    pub model: ModelName,
    /// The purpose it was asked for.
    pub purpose: Purpose,
    /// The answer in short, or the error.
    pub answer: Result<String, ModelError>,
    /// The usage of the calls.
    pub usage: ModelUsage,
    /// How long it took.
    pub elapsed: Duration,
    /// The date on which the model retires, if that is within 30 days or past.
    pub retires: Option<jiff::civil::Date>,
}

/// Asks each configured model for one persona, one reply and one verdict. `report` gets each result at once.
pub async fn check_models(config: &Config, mut report: impl FnMut(&Checked)) -> Result<(), ModelsError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let models = models::open(config.models.clone(), &config.traffic, &clock)?;
    let names = models.defaults().clone();
    let sample =
        Sample::new(clock.now(), names.clone()).map_err(|error| ModelsError::Sample(error.to_string()))?;
    let mut persona = sample.offline_persona();
    for purpose in Purpose::ALL {
        let name = names.name(purpose);
        let (meter, started) = (Meter::default(), Instant::now());
        let answer = match models.open(name) {
            Ok(model) => match purpose {
                Purpose::Persona => {
                    let request = PersonaRequest {
                        simulation: &sample.simulation,
                        agent: &sample.agent,
                        seq: 1,
                        others: &[],
                        meter: &meter,
                    };
                    model.persona(request).await.map(|draft| {
                        let summary = draft.summary.clone();
                        persona = sample.persona(draft);
                        summary
                    })
                }
                Purpose::Reply => {
                    let request = ReplyRequest {
                        simulation: &sample.simulation,
                        agent: &sample.agent,
                        persona: &persona,
                        conversation_seq: 1,
                        transcript: &[],
                        meter: &meter,
                    };
                    model.reply(request).await.map(|reply| reply.text.unwrap_or_default())
                }
                Purpose::Judge => {
                    let question =
                        Question { objective: &sample.objective, prose: sample.objective.criteria.as_str() };
                    let request = JudgeRequest {
                        persona: None,
                        simulation: &sample.simulation,
                        questions: &[question],
                        transcript: &sample.transcript,
                        meter: &meter,
                    };
                    model.judge(request).await.map(|answer| {
                        let verdicts = answer.verdicts.iter();
                        let texts = verdicts
                            .map(|verdict| format!("{}: {}", verdict.outcome.as_str(), verdict.reason));
                        texts.collect::<Vec<_>>().join("; ")
                    })
                }
            },
            Err(error) => Err(error),
        };
        let today = clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
        report(&Checked {
            model: name.clone(),
            purpose,
            answer,
            usage: meter.usage(),
            elapsed: started.elapsed(),
            retires: models.retires(name, today, RETIREMENT_DAYS),
        });
    }
    Ok(())
}

/// A simulation to ask about.
struct Sample {
    simulation: Simulation,
    agent: Agent,
    objective: Objective,
    transcript: Vec<Item>,
    now: Timestamp,
}

impl Sample {
    fn new(now: Timestamp, models: SimulationModels) -> Result<Self, TextError> {
        let (project_id, agent_id) = (ProjectId::generate(&OsRandom), AgentId::generate(&OsRandom));
        let agent = Agent {
            id: agent_id.clone(),
            project_id: project_id.clone(),
            name: Name::parse("Clinic desk")?,
            description: Some(Description::parse(
                "Books, moves and cancels appointments at a dental clinic",
            )?),
            metadata: Metadata::default(),
            last_polled_at: None,
            endpoint: None,
            archived_at: None,
            created_at: now,
            updated_at: now,
        };
        let one = Target::parse(1).unwrap_or_else(|_| unreachable!("one is a valid target"));
        let simulation = Simulation {
            id: SimulationId::generate(&OsRandom),
            project_id: project_id.clone(),
            agent_id,
            name: Name::parse("Check of the models")?,
            scenario: Scenario::parse("A patient wants to move a dental appointment to next week.")?,
            target_conversations: one,
            target_personas: one,
            max_turns: MaxTurns::parse(6).unwrap_or_else(|_| unreachable!("six is a valid number of turns")),
            auto_approve: true,
            seed: Seed::from_bits(1),
            options: SimulationOptions { models, ..SimulationOptions::default() },
            metadata: Metadata::default(),
            status: SimulationStatus::InProgress,
            last_failure_reason: None,
            created_at: now,
            updated_at: now,
            expires_at: later(now, SignedDuration::from_hours(1)),
            transcripts_deleted_at: None,
        };
        let objective = Objective {
            id: ObjectiveId::generate(&OsRandom),
            project_id,
            version: 1,
            name: Name::parse("Offers a date")?,
            criteria: Criteria::parse("The agent offers at least one concrete date.")?,
            created_at: now,
            updated_at: now,
        };
        let conversation_id = ConversationId::generate(&OsRandom);
        let mut transcript = Vec::new();
        for (role, text) in [
            (Role::User, "Hello, I would like to move my appointment to next week."),
            (Role::Assistant, "Gladly. I can offer you Tuesday the 8th at 10:30. Does that suit you?"),
        ] {
            transcript.push(Item {
                id: ItemId::generate(&OsRandom),
                conversation_id: conversation_id.clone(),
                attempt: 1,
                position: u32::try_from(transcript.len()).unwrap_or(u32::MAX),
                role,
                content: vec![MessageText::parse(text)?],
                created_at: now,
            });
        }
        Ok(Self { simulation, agent, objective, transcript, now })
    }

    /// The persona that replies if the model for personas fails.
    fn offline_persona(&self) -> Persona {
        self.persona(onerun_model_offline::outline(&self.simulation, &self.agent, 1))
    }

    fn persona(&self, draft: PersonaDraft) -> Persona {
        Persona {
            id: PersonaId::generate(&OsRandom),
            simulation_id: self.simulation.id.clone(),
            seq: 1,
            approval: onerun_domain::ApprovalStatus::Approved,
            summary: draft.summary,
            story: draft.story,
            purpose: draft.purpose,
            attributes: draft.attributes,
            metadata: Metadata::default(),
            created_at: self.now,
            updated_at: self.now,
        }
    }
}

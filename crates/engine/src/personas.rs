//! Generates personas or adds those that a caller wrote, and approves or rejects them.

use futures_util::{StreamExt, TryStreamExt, stream};
use onerun_domain::{
    ApprovalStatus, Job, Limit, Metadata, PageRequest, Persona, PersonaAttributes, PersonaDraft, PersonaId,
    PersonaText, Purpose, Refusal, Resource, Simulation, SimulationId, SimulationStatus, Work,
};
use onerun_store::{PersonaChange, ProjectStore, SimulationDetail, StoreError};

use crate::{Engine, JobError, Meter, OperationError, PersonaRequest, is_similar, turns::clean};

/// How many personas one job generates, so that a job stays well within its time limit.
const PERSONAS_A_JOB: u32 = 25;

/// How many personas are generated or copied at once.
pub(crate) const PERSONAS_AT_ONCE: usize = 8;

/// How many of the newest personas a new one is compared with. A replacement must differ from the persona that was
/// rejected, too, so this is the longest page.
const OTHERS: u32 = Limit::MAX;

/// The longest text of a persona's field, in characters. A model's longer text is truncated.
const MAX_PERSONA_TEXT: usize = PersonaText::MAX_LENGTH;

impl Engine {
    /// Approves a persona. A job queues its conversations.
    pub async fn approve_persona(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &PersonaId,
    ) -> Result<Persona, OperationError> {
        self.decide_persona(project, simulation, id, ApprovalStatus::Approved).await
    }

    /// Rejects a persona. A job generates a replacement.
    pub async fn reject_persona(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &PersonaId,
    ) -> Result<Persona, OperationError> {
        self.decide_persona(project, simulation, id, ApprovalStatus::Rejected).await
    }

    async fn decide_persona(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &PersonaId,
        approval: ApprovalStatus,
    ) -> Result<Persona, OperationError> {
        if project.simulation(simulation).await?.is_none() {
            return Err(OperationError::NotFound(Resource::Simulation));
        }
        let now = self.now();
        let changed = project
            .change_persona(
                simulation,
                id,
                Box::new(move |(simulation, persona)| {
                    if persona.approval == approval {
                        return Ok(PersonaChange { persona, jobs: Vec::new() });
                    }
                    if simulation.status.is_final() {
                        return Err(Refusal::SimulationOver { status: simulation.status });
                    }
                    let (persona, work) = if approval == ApprovalStatus::Approved {
                        let persona = persona.approve(now)?;
                        (persona.clone(), Some(queue_conversations(&persona)))
                    } else {
                        let persona = persona.reject(now)?;
                        let work = simulation
                            .replacement_of(persona.seq)
                            .map(|seq| Work::ReplacePersona { simulation: simulation.id.clone(), seq });
                        (persona, work)
                    };
                    let jobs =
                        work.map(|work| Job::new(simulation.project_id.clone(), work)).into_iter().collect();
                    Ok(PersonaChange { persona, jobs })
                }),
            )
            .await?;
        changed.ok_or(OperationError::NotFound(Resource::Persona))
    }

    /// Generates a bounded number of a simulation's personas, and enqueues a job for the rest.
    pub(crate) async fn generate_personas(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        first_seq: u32,
    ) -> Result<(), JobError> {
        let Some(detail) = running_simulation(project, simulation).await? else { return Ok(()) };
        if let Some(source) = &detail.simulation.options.personas_from {
            return self.copy_personas(project, &detail.simulation, source).await;
        }
        if detail.simulation.options.explicit_personas {
            return self.add_explicit_personas(project, &detail.simulation).await;
        }
        let target = detail.simulation.target_personas.get();
        let last_seq = first_seq.saturating_add(PERSONAS_A_JOB - 1).min(target);
        let present = project.persona_seqs(simulation, first_seq, PERSONAS_A_JOB).await?;
        let missing = (first_seq..=last_seq).filter(|seq| !present.contains(seq));
        let others = self.other_personas(project, &detail).await?;
        self.generate_distinct(project, &detail, missing, others).await?;
        if last_seq < target {
            let work = Work::GeneratePersonas { simulation: simulation.clone(), first_seq: last_seq + 1 };
            self.store().enqueue(vec![Job::new(project.project_id().clone(), work)]).await?;
        }
        Ok(())
    }

    /// Adds the personas that the caller of a simulation wrote. At most 100, they are the work of one job.
    async fn add_explicit_personas(
        &self,
        project: &dyn ProjectStore,
        simulation: &Simulation,
    ) -> Result<(), JobError> {
        let drafts = project.explicit_personas(&simulation.id).await?;
        if drafts.is_empty() {
            let reason = "its explicit personas are missing".into();
            return Err(StoreError::Corrupt { what: "simulation", reason }.into());
        }
        let added: Vec<_> = drafts
            .into_iter()
            .zip(1..)
            .map(|(draft, seq)| self.add_persona(project, simulation, seq, draft))
            .collect();
        stream::iter(added).buffered(PERSONAS_AT_ONCE).try_for_each(async |_| Ok(())).await
    }

    /// Generates some personas at the same time. One that is similar to an earlier one of them is generated
    /// again, when the model knows the others. The order is that of the numbers, so that a replayed recording
    /// contains the same requests.
    async fn generate_distinct(
        &self,
        project: &dyn ProjectStore,
        detail: &SimulationDetail,
        seqs: impl Iterator<Item = u32>,
        mut others: Vec<Persona>,
    ) -> Result<(), JobError> {
        let simulation = &detail.simulation;
        let (mut added, mut similar) = (Vec::new(), Vec::new());
        let mut failure: Option<JobError> = None;
        {
            let others = others.as_slice();
            let draft =
                |seq| async move { Ok((seq, self.draft_persona(project, detail, seq, others).await?)) };
            let drafts: Vec<_> = seqs.map(draft).collect();
            let mut drafts = stream::iter(drafts).buffered(PERSONAS_AT_ONCE);
            while let Some(drafted) = drafts.next().await {
                let (seq, draft): (u32, PersonaDraft) = match drafted {
                    Ok(drafted) => drafted,
                    // The others finish, because their calls are paid.
                    Err(error) => {
                        failure.get_or_insert(error);
                        continue;
                    }
                };
                let is_scripted = simulation.options.models.persona.is_offline();
                let is_repeated = |other| is_similar(&simulation.scenario, &draft, other);
                if !is_scripted && added.iter().any(is_repeated) {
                    similar.push(seq);
                } else {
                    added.push(self.add_persona(project, simulation, seq, draft).await?);
                }
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        others.extend(added);
        for seq in similar {
            let draft = self.draft_persona(project, detail, seq, &others).await?;
            others.push(self.add_persona(project, simulation, seq, draft).await?);
        }
        Ok(())
    }

    /// Generates the persona numbered `seq`, unless it exists.
    pub(crate) async fn replace_persona(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        seq: u32,
    ) -> Result<(), JobError> {
        let Some(detail) = running_simulation(project, simulation).await? else { return Ok(()) };
        if project.persona_seqs(simulation, seq, 1).await? == [seq] {
            return Ok(());
        }
        let others = self.other_personas(project, &detail).await?;
        let draft = self.draft_persona(project, &detail, seq, &others).await?;
        self.add_persona(project, &detail.simulation, seq, draft).await?;
        Ok(())
    }

    /// The personas that a new one must differ from. The offline model needs none.
    async fn other_personas(
        &self,
        project: &dyn ProjectStore,
        detail: &SimulationDetail,
    ) -> Result<Vec<Persona>, JobError> {
        let simulation = &detail.simulation;
        if simulation.options.models.persona.is_offline() {
            return Ok(Vec::new());
        }
        let page = PageRequest::first(Limit::clamped(OTHERS));
        Ok(project.personas(&simulation.id, page).await?.data)
    }

    async fn draft_persona(
        &self,
        project: &dyn ProjectStore,
        detail: &SimulationDetail,
        seq: u32,
        others: &[Persona],
    ) -> Result<PersonaDraft, JobError> {
        let simulation = &detail.simulation;
        let meter = Meter::default();
        let request = PersonaRequest { simulation, agent: &detail.agent, seq, others, meter: &meter };
        let model = self.open_model::<JobError>(project, simulation, Purpose::Persona).await?;
        let draft = self.within_limit(model.persona(request)).await;
        self.count_usage(project, simulation, Purpose::Persona, &meter).await;
        Ok(draft?)
    }

    /// Stores a persona, with the job that queues its conversations if it needs no approval.
    async fn add_persona(
        &self,
        project: &dyn ProjectStore,
        simulation: &Simulation,
        seq: u32,
        draft: PersonaDraft,
    ) -> Result<Persona, JobError> {
        let now = self.now();
        let approval =
            if simulation.auto_approve { ApprovalStatus::Approved } else { ApprovalStatus::Pending };
        let persona = Persona {
            id: PersonaId::generate(self.random()),
            simulation_id: simulation.id.clone(),
            seq,
            approval,
            summary: clean(&draft.summary, MAX_PERSONA_TEXT),
            story: clean(&draft.story, MAX_PERSONA_TEXT),
            purpose: clean(&draft.purpose, MAX_PERSONA_TEXT),
            attributes: clean_attributes(draft.attributes),
            metadata: Metadata::default(),
            created_at: now,
            updated_at: now,
        };
        let jobs = if simulation.auto_approve {
            vec![Job::new(project.project_id().clone(), queue_conversations(&persona))]
        } else {
            Vec::new()
        };
        project.add_persona(persona.clone(), jobs).await?;
        Ok(persona)
    }
}

/// The simulation, if it is in progress.
pub(crate) async fn running_simulation(
    project: &dyn ProjectStore,
    simulation: &SimulationId,
) -> Result<Option<SimulationDetail>, StoreError> {
    let detail = project.simulation(simulation).await?;
    Ok(detail.filter(|detail| detail.simulation.status == SimulationStatus::InProgress))
}

pub(crate) fn queue_conversations(persona: &Persona) -> Work {
    Work::QueueConversations { simulation: persona.simulation_id.clone(), persona: persona.id.clone() }
}

/// Cleans and bounds all attributes. Every field is named, so that a new one does not compile until
/// it is added.
fn clean_attributes(attributes: PersonaAttributes) -> PersonaAttributes {
    let bounded = |text: String| clean(&text, MAX_PERSONA_TEXT);
    let PersonaAttributes {
        age_group,
        speech_style,
        education,
        occupation,
        economic_status,
        personality_traits,
        values,
        habits,
        interests,
        speech_patterns,
        typical_behavior,
        stress_triggers,
        stress_reactions,
        version,
    } = attributes;
    PersonaAttributes {
        age_group,
        speech_style: bounded(speech_style),
        education: bounded(education),
        occupation: bounded(occupation),
        economic_status: bounded(economic_status),
        personality_traits: bounded(personality_traits),
        values: bounded(values),
        habits: bounded(habits),
        interests: bounded(interests),
        speech_patterns: bounded(speech_patterns),
        typical_behavior: bounded(typical_behavior),
        stress_triggers: bounded(stress_triggers),
        stress_reactions: bounded(stress_reactions),
        version: bounded(version),
    }
}

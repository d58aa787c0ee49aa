//! Copies the personas of another simulation, so that two agents meet the same people.

use futures_util::{StreamExt, TryStreamExt, stream};
use onerun_domain::{
    ApprovalStatus, Job, Limit, PageRequest, Persona, PersonaId, PersonaSource, Scenario, Simulation,
    SimulationId, Target,
};
use onerun_store::{ProjectStore, StoreError};

use crate::{
    Engine, JobError, OperationError,
    personas::{PERSONAS_AT_ONCE, queue_conversations},
};

/// The simulation that a new one copies `target` personas from.
pub(crate) async fn find_persona_source(
    project: &dyn ProjectStore,
    id: &SimulationId,
    target: Target,
    scenario: &Scenario,
) -> Result<Simulation, OperationError> {
    let refuse = |field, detail| Err(OperationError::Field { field, detail });
    let (detail, counts) = (project.simulation(id).await?, project.counts(id).await?);
    let (Some(detail), Some(counts)) = (detail, counts) else {
        return refuse(
            "personas_from",
            format!("names a simulation that does not exist in this project: `{id}`"),
        );
    };
    let source = detail.simulation;
    if source.is_imported() {
        return refuse(
            "personas_from",
            "names an imported simulation, and of the people in it no story is known; name one with personas"
                .to_owned(),
        );
    }
    if source.scenario != *scenario {
        return refuse(
            "scenario",
            "must be that of the simulation in `personas_from`, because its personas have a goal in it"
                .to_owned(),
        );
    }
    let available = source.target_personas;
    if target > available {
        return refuse(
            "target_personas",
            format!(
                "must be at most {available}, the number of personas of the simulation in `personas_from`"
            ),
        );
    }
    let personas = |approval: ApprovalStatus| counts.personas.get(approval.as_str()).copied().unwrap_or(0);
    // The number of a replacement fits only a simulation with the same number of personas.
    if target < available && personas(ApprovalStatus::Rejected) > 0 {
        return refuse(
            "target_personas",
            format!(
                "must be {available}, the number of personas of the simulation in `personas_from`, because some of \
                 its personas were rejected"
            ),
        );
    }
    let approved = personas(ApprovalStatus::Approved);
    if approved < u64::from(available.get()) {
        return Err(OperationError::PersonasNotReady { approved, target: available.get() });
    }
    Ok(source)
}

impl Engine {
    /// Copies personas with their numbers. Those of the source are approved, so they do not change.
    pub(crate) async fn copy_personas(
        &self,
        project: &dyn ProjectStore,
        simulation: &Simulation,
        source: &PersonaSource,
    ) -> Result<(), JobError> {
        let Some(source) = project.simulation(&source.simulation).await? else { return Ok(()) };
        let source = source.simulation;
        let last_seq = if simulation.target_personas < source.target_personas {
            simulation.target_personas.get()
        } else {
            u32::MAX
        };
        let is_wanted =
            |persona: &Persona| persona.approval == ApprovalStatus::Approved && persona.seq <= last_seq;
        let limit = Limit::clamped(Limit::MAX);
        let mut request = PageRequest::first(limit);
        loop {
            let page = project.personas(&source.id, request).await?;
            let wanted = page.data.into_iter().rev().filter(is_wanted);
            let copies: Vec<_> =
                wanted.map(|persona| self.copy_persona(project, simulation, persona)).collect();
            stream::iter(copies).buffered(PERSONAS_AT_ONCE).try_collect::<()>().await?;
            let Some(position) = page.next else { return Ok(()) };
            request = PageRequest::after(limit, position);
        }
    }

    async fn copy_persona(
        &self,
        project: &dyn ProjectStore,
        simulation: &Simulation,
        persona: Persona,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let copy = Persona {
            id: PersonaId::generate(self.random()),
            simulation_id: simulation.id.clone(),
            created_at: now,
            updated_at: now,
            ..persona
        };
        let jobs = vec![Job::new(project.project_id().clone(), queue_conversations(&copy))];
        project.add_persona(copy, jobs).await?;
        Ok(())
    }
}

//! Imports: simulations whose conversations were held elsewhere, and are judged here.
//!
//! The call stores the simulation, and all words of its conversations as one text, in one write. The job
//! `import_conversations` then adds the conversations, a bounded number at a time, and deletes the text after the last
//! one. Alternatives were to write the conversations in the call, which exceed one transaction on `DynamoDB` and could
//! be left half written, and to let the caller append pages, whose order and completeness every caller would have to
//! care about.
//!
//! A conversation is added with a claimed turn, so that no worker can take it. Its messages, its end and the job that
//! judges it are one write, as in a conversation that is held here. Ids follow from simulation and number, so a
//! repeated job adds nothing twice.

use futures_util::{StreamExt, TryStreamExt, stream};
use onerun_domain::{
    Conversation, ImportedConversation, Job, NewImport, NewPersonas, NewSimulation, Objective, Refusal,
    RequestedModels, Simulation, SimulationId, Work,
};
use onerun_store::{
    ChangeError, ConversationChange, ConversationView, IdempotencyRecord, NewImportedSimulation,
    ProjectStore, SimulationDetail, StoreError,
};

use crate::{
    Engine, JobError, OperationError,
    conversations::judge,
    error::ignore_refusal,
    personas::running_simulation,
    simulations::{SimulationOrigin, start},
};

/// How many conversations one job adds, so that a job stays well within its time limit.
const CONVERSATIONS_A_JOB: usize = 100;

/// How many conversations one write adds.
const CONVERSATIONS_A_WRITE: usize = 50;

/// How many conversations are added at once.
const CONVERSATIONS_AT_ONCE: usize = 8;

impl Engine {
    /// Creates a simulation with conversations that were held elsewhere, and enqueues the job that starts it. The
    /// deployment's redaction is applied before anything is stored. The idempotency record that `record` builds is
    /// written in the same transaction.
    pub async fn import_simulation(
        &self,
        project: &dyn ProjectStore,
        mut new: NewImport,
        created_by: &str,
        record: impl FnOnce(&SimulationDetail) -> Option<IdempotencyRecord> + Send,
    ) -> Result<SimulationDetail, OperationError> {
        let refuse = |detail| OperationError::Field { field: "conversations", detail };
        let target = new.target().map_err(refuse)?;
        let redaction = self.redaction.clone();
        // Patterns may need seconds for a megabyte of words.
        let (import, bytes) = self
            .parse_off_thread(move || {
                for conversation in &mut new.conversations {
                    conversation.redact(&redaction);
                }
                let bytes = serde_json::to_vec(&new.conversations).map_or(usize::MAX, |json| json.len());
                (new, bytes)
            })
            .await;
        if bytes > NewImport::MAX_BYTES {
            let max = NewImport::MAX_BYTES;
            let detail = format!("must be at most {max} bytes as JSON after redaction, and are {bytes}");
            return Err(refuse(detail));
        }
        let max_turns = import.max_turns();
        let NewImport { conversations, left_out, .. } = import;
        let settings = NewSimulation {
            agent_id: import.agent_id,
            name: import.name,
            scenario: import.scenario,
            target_conversations: target,
            personas: NewPersonas::Generated(target),
            max_turns,
            auto_approve: true,
            objective_ids: import.objective_ids,
            seed: None,
            metadata: import.metadata,
            expires_in_seconds: import.expires_in_seconds,
            models: RequestedModels { judge: import.judge, ..RequestedModels::default() },
            max_cost_usd: import.max_cost_usd,
            max_tokens: import.max_tokens,
        };
        let prepared = self.prepare(project, &settings).await?;
        let id = SimulationId::generate(self.random());
        let origin = SimulationOrigin { id, created_by: created_by.into(), monitor_run: None, batch: None };
        let mut detail = self.new_simulation(project, settings, prepared, origin);
        detail.simulation.options.import = Some(left_out);
        let record = record(&detail);
        let new = NewImportedSimulation {
            simulation: detail.simulation.clone(),
            objectives: detail.objectives.iter().map(Objective::reference).collect(),
            conversations,
            jobs: vec![start(&detail.simulation)],
            record,
        };
        project.insert_import(new).await?;
        Ok(detail)
    }

    /// Adds a bounded number of a simulation's conversations, and enqueues a job for the rest.
    pub(crate) async fn import_conversations(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        first_seq: u32,
    ) -> Result<(), JobError> {
        let Some(detail) = running_simulation(project, simulation).await? else { return Ok(()) };
        let simulation = &detail.simulation;
        let Some(waiting) = project.waiting_import(&simulation.id).await? else {
            // The job was interrupted after the last conversation, or came late.
            return Ok(project.delete_import(&simulation.id).await?);
        };
        let count = waiting.len();
        let skipped = usize::try_from(first_seq.saturating_sub(1)).unwrap_or(usize::MAX);
        let some: Vec<(u32, ImportedConversation)> =
            (1..).zip(waiting).skip(skipped).take(CONVERSATIONS_A_JOB).collect();
        let next = skipped.saturating_add(some.len());
        let now = self.now();
        let personas: Vec<_> = some
            .iter()
            .map(|(seq, conversation)| {
                project.add_persona(conversation.persona(simulation, *seq, now), Vec::new())
            })
            .collect();
        stream::iter(personas)
            .buffer_unordered(CONVERSATIONS_AT_ONCE)
            .try_for_each(async |_: bool| Ok(()))
            .await?;
        for some in some.chunks(CONVERSATIONS_A_WRITE) {
            let begun: Vec<Conversation> = some
                .iter()
                .map(|(seq, conversation)| conversation.begin(simulation, *seq, self.random(), now))
                .collect();
            match project.add_conversations(&simulation.id, begun).await {
                Ok(()) => {}
                Err(ChangeError::Refused(_)) => return Ok(()),
                Err(ChangeError::Store(error)) => return Err(error.into()),
            }
        }
        let held: Vec<_> = some
            .into_iter()
            .map(|(seq, conversation)| self.import_conversation(project, simulation, seq, conversation))
            .collect();
        stream::iter(held).buffer_unordered(CONVERSATIONS_AT_ONCE).try_for_each(async |()| Ok(())).await?;
        if next < count {
            let work = Work::ImportConversations {
                simulation: simulation.id.clone(),
                first_seq: u32::try_from(next).unwrap_or(u32::MAX).saturating_add(1),
            };
            self.store().enqueue(vec![Job::new(project.project_id().clone(), work)]).await?;
            return Ok(());
        }
        Ok(project.delete_import(&simulation.id).await?)
    }

    /// Adds the messages of a conversation and ends it, unless that was done before.
    async fn import_conversation(
        &self,
        project: &dyn ProjectStore,
        simulation: &Simulation,
        seq: u32,
        imported: ImportedConversation,
    ) -> Result<(), StoreError> {
        let (now, lease, random) = (self.now(), self.settings.lease, self.random.clone());
        let decide = move |view: ConversationView| {
            let ConversationView { simulation, conversation } = view;
            let token = conversation.turn.as_ref().map(|turn| turn.token.clone()).ok_or(Refusal::TurnLost)?;
            let items = imported.items(&conversation, random.as_ref(), now);
            let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
            let end = Some(imported.end_reason);
            let held = conversation.complete_turn(&simulation, &token, count, end, lease, now)?;
            let jobs = vec![judge(&simulation, &held)];
            Ok(ConversationChange { items, jobs, ..ConversationChange::to(held) })
        };
        let id = ImportedConversation::id(simulation, seq);
        ignore_refusal(project.change_conversation(&simulation.id, &id, Box::new(decide)).await)?;
        Ok(())
    }
}

//! Evaluation runs: another judge on the conversations of a simulation that has ended, and how far it agrees with
//! the simulation's own judge and with people's labels.

mod report;

pub use report::{Disagreement, EvaluationReport, ObjectiveReport};

use std::sync::Arc;

use onerun_domain::{
    Conversation, ConversationId, ConversationStatus, Evaluation, EvaluationRun, EvaluationRunId,
    EvaluationRunStatus, FaultSeverity, Job, Limit, ModelName, Objective, Outcomes, PageRequest, Position,
    Refusal, Resource, RunResult, SimulationId, Transcript, Work,
};
use onerun_store::{
    EvaluationRunChange, EvaluationRunView, IdempotencyRecord, ListConversations, ProjectStore, RunCounts,
    StoreError,
};

use crate::{Engine, JobError, OperationError, conversations::all_items, error::ignore_refusal};

/// How many conversations one job queues for the judge, in one write. Some stores bound the size of a write.
const CONVERSATIONS_A_JOB: u32 = 50;

impl Engine {
    /// Creates an evaluation run and enqueues the job that starts it. The idempotency record that `record` builds is
    /// written in the same transaction.
    pub async fn create_evaluation_run(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        judge: ModelName,
        record: impl FnOnce(&EvaluationRunView) -> Option<IdempotencyRecord> + Send,
    ) -> Result<EvaluationRunView, OperationError> {
        let not_found = OperationError::NotFound(Resource::Simulation);
        let Some(detail) = project.simulation(simulation).await? else { return Err(not_found) };
        self.require_allowed(&[&judge], detail.simulation.options.max_cost)?;
        detail.simulation.require_transcripts()?;
        let status = detail.simulation.status;
        if !status.is_final() {
            return Err(Refusal::SimulationNotOver { status }.into());
        }
        let Some(counts) = project.counts(simulation).await? else { return Err(not_found) };
        let conversations = &counts.conversations;
        let judged = conversations
            .in_status(ConversationStatus::Ended)
            .saturating_sub(conversations.with_worst_fault(FaultSeverity::Critical));
        if judged == 0 || detail.objectives.is_empty() {
            return Err(Refusal::NothingToJudge.into());
        }
        let now = self.now();
        let run = EvaluationRun {
            id: EvaluationRunId::generate(self.random()),
            simulation_id: simulation.clone(),
            judge,
            status: EvaluationRunStatus::Pending,
            conversations: u32::try_from(judged).unwrap_or(u32::MAX),
            created_at: now,
            updated_at: now,
        };
        let jobs = vec![queue_job(project, &run, None)];
        let view = EvaluationRunView { run, counts: RunCounts::default() };
        let record = record(&view);
        project.insert_evaluation_run(view.run.clone(), jobs, record).await?;
        Ok(view)
    }

    /// Queues some of a run's conversations for its judge, and enqueues the job for the next ones.
    pub(crate) async fn queue_evaluations(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        run: &EvaluationRunId,
        after: Option<&str>,
    ) -> Result<(), JobError> {
        let limit = Limit::clamped(CONVERSATIONS_A_JOB);
        let page = match after {
            Some(position) => PageRequest::after(limit, Position::new(position)),
            None => PageRequest::first(limit),
        };
        let list = ListConversations { status: Some(ConversationStatus::Ended), outcome: None, page };
        let page = project.conversations(simulation, list).await?;
        let conversations = page.data.into_iter().map(|row| row.conversation).filter(is_judged);
        let jobs: Vec<Job> = conversations
            .map(|conversation| {
                let work = Work::JudgeAgain {
                    simulation: simulation.clone(),
                    run: run.clone(),
                    conversation: conversation.id,
                };
                Job::new(project.project_id().clone(), work)
            })
            .collect();
        let now = self.now();
        let next = page.next;
        let project_id = project.project_id().clone();
        let decide = move |view: EvaluationRunView| {
            let run = view.run;
            if run.status.is_final() {
                return Err(Refusal::EvaluationRunOver);
            }
            let mut jobs = jobs.clone();
            let run = match &next {
                Some(position) => {
                    let after = Some(position.as_str().to_owned());
                    let work = Work::QueueEvaluations {
                        simulation: run.simulation_id.clone(),
                        run: run.id.clone(),
                        after,
                    };
                    jobs.push(Job::new(project_id.clone(), work));
                    run
                }
                None => run.queued(now)?,
            };
            Ok(EvaluationRunChange { run, jobs })
        };
        ignore_refusal(project.change_evaluation_run(simulation, run, Box::new(decide)).await)?;
        Ok(())
    }

    /// Judges one conversation of a run, unless the run has its result already.
    pub(crate) async fn judge_again(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        run: &EvaluationRunId,
        id: &ConversationId,
    ) -> Result<(), JobError> {
        let Some(view) = project.evaluation_run(simulation, run).await? else { return Ok(()) };
        if view.run.status.is_final() {
            return Ok(());
        }
        if project.run_result(simulation, run, id).await?.is_none() {
            let Some(detail) = project.simulation(simulation).await? else { return Ok(()) };
            let Some(evaluated) = project.conversation(simulation, id).await? else { return Ok(()) };
            let conversation = evaluated.conversation;
            let items = all_items(project, simulation, id, conversation.attempt).await?;
            // Read after the messages: if it is not set, none of them was deleted.
            let Some(after) = project.simulation(simulation).await? else { return Ok(()) };
            if after.simulation.transcripts_deleted_at.is_some() {
                self.fail_judging_again(project, simulation, run, id).await?;
                return Ok(());
            }
            let transcript = Arc::new(Transcript { items, end_reason: conversation.end_reason });
            let evaluations =
                self.evaluate(project, &detail, &view.run.judge, &transcript, None).await?.drafts;
            let originals = evaluated.evaluations.into_iter().map(|(evaluation, _)| evaluation);
            let judged = evaluations.iter().find(|evaluation| evaluation.details.usage.is_some());
            let details = judged.map(|evaluation| evaluation.details.clone()).unwrap_or_default();
            let result = RunResult {
                conversation_id: id.clone(),
                original: outcomes(&detail.objectives, &originals.collect::<Vec<_>>()),
                outcomes: Some(Outcomes(evaluations.iter().map(|one| Some(one.outcome)).collect())),
                model_version: details.model_version,
                usage: details.usage,
            };
            project.add_run_result(simulation, run, result).await?;
        }
        self.complete_run(project, simulation, run).await?;
        Ok(())
    }

    /// Stores that the evaluation of one conversation failed in a run.
    pub(crate) async fn fail_judging_again(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        run: &EvaluationRunId,
        id: &ConversationId,
    ) -> Result<(), StoreError> {
        let result = RunResult {
            conversation_id: id.clone(),
            original: Outcomes::default(),
            outcomes: None,
            model_version: None,
            usage: None,
        };
        project.add_run_result(simulation, run, result).await?;
        self.complete_run(project, simulation, run).await
    }

    /// Fails a run whose conversations could not be queued.
    pub(crate) async fn fail_run(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        run: &EvaluationRunId,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let decide = Box::new(move |view: EvaluationRunView| {
            Ok(EvaluationRunChange { run: view.run.fail(now)?, jobs: Vec::new() })
        });
        ignore_refusal(project.change_evaluation_run(simulation, run, decide).await)?;
        Ok(())
    }

    /// Completes a run if all of its conversations are settled. Every settlement tries: only the last one succeeds,
    /// and a repeated job tries again if its first attempt died in between.
    async fn complete_run(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        run: &EvaluationRunId,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let decide = Box::new(move |view: EvaluationRunView| {
            let run = view.run.complete(view.counts.settled(), now)?;
            Ok(EvaluationRunChange { run, jobs: Vec::new() })
        });
        ignore_refusal(project.change_evaluation_run(simulation, run, decide).await)?;
        Ok(())
    }
}

/// Whether runs judge an ended conversation: not if a fault of its persona decided it.
fn is_judged(conversation: &Conversation) -> bool {
    conversation.worst_fault() != Some(FaultSeverity::Critical)
}

/// The outcomes of evaluations, in the order of the objectives.
fn outcomes(objectives: &[Objective], evaluations: &[Evaluation]) -> Outcomes {
    let outcome = |objective: &Objective| {
        let evaluation = evaluations.iter().find(|one| one.objective == objective.reference());
        evaluation.map(|one| one.outcome)
    };
    Outcomes(objectives.iter().map(outcome).collect())
}

fn queue_job(project: &dyn ProjectStore, run: &EvaluationRun, after: Option<String>) -> Job {
    let (simulation, run) = (run.simulation_id.clone(), run.id.clone());
    Job::new(project.project_id().clone(), Work::QueueEvaluations { simulation, run, after })
}

//! Judging a conversation: check lines from the transcript alone, prose by the model.

use std::sync::Arc;

use futures_util::future::try_join_all;
use onerun_domain::{
    CheckLineError, ConversationId, Evaluation, EvaluationId, EvaluationStatus, Examination, Finding, Item,
    Objective, Outcome, Quote, Role, Rubric, Score, SimulationId, Transcript, sha256_hex,
};
use onerun_store::{ConversationChange, ConversationView, ProjectStore, SimulationDetail, StoreError};

use crate::{
    Engine, JobError, JudgeRequest, ModelError, Verdict,
    conversations::{all_items, clean},
    error::ignore_refusal,
};

/// The judge's name where check lines alone decide.
const CHECKS: &str = "checks";

/// The longest reason that is kept, in characters.
const MAX_REASON: usize = 4_000;

/// The most quotes that are kept of one verdict, and the longest, in characters.
const MAX_QUOTES: usize = 20;
const MAX_QUOTE: usize = 1_000;

/// How much work is done for one conversation before it is another's turn: bytes times the width of patterns. Mostly it is
/// all there is; it takes a tenth of a second at worst, unless a single message is longer.
const WORK_A_PIECE: u64 = 16 * 1024 * 1024;

impl Engine {
    /// Judges one attempt at a conversation and records what was found, all of it or nothing.
    pub(crate) async fn judge_conversation(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
        attempt: u32,
    ) -> Result<(), JobError> {
        let now = self.now();
        let begin = move |view: ConversationView| {
            let begun = view.conversation.begin_evaluation(&view.simulation, attempt, now)?;
            Ok(ConversationChange::to(begun))
        };
        let changed = project.change_conversation(simulation, id, Box::new(begin)).await;
        let Some(conversation) = ignore_refusal(changed)? else { return Ok(()) };
        let Some(detail) = project.simulation(simulation).await? else { return Ok(()) };
        let items = all_items(project, simulation, id, attempt).await?;
        let transcript = Arc::new(Transcript { items, end_reason: conversation.end_reason });
        let checked = self.check(&detail.objectives, &transcript).await?;
        let objectives = detail.objectives.iter().zip(checked);
        let verdicts: Vec<_> = objectives
            .map(|(objective, checked)| self.judge(&detail, objective, checked, &transcript))
            .collect();
        let verdicts = try_join_all(verdicts).await?;

        let now = self.now();
        let evaluations: Vec<_> = detail
            .objectives
            .iter()
            .zip(verdicts)
            .map(|(objective, judgement)| Evaluation {
                id: EvaluationId::generate(self.random()),
                conversation_id: id.clone(),
                attempt,
                objective: objective.reference(),
                judge: judgement.judge,
                prompt_hash: judgement.prompt_hash,
                outcome: judgement.outcome,
                score: judgement.score,
                reason: clean(&judgement.reason, MAX_REASON),
                quotes: judgement.quotes,
                created_at: now,
            })
            .collect();
        let status = if evaluations.is_empty() {
            EvaluationStatus::NotApplicable
        } else {
            EvaluationStatus::Completed
        };
        self.conclude(project, simulation, id, attempt, status, evaluations).await?;
        Ok(())
    }

    /// Records that one attempt at a conversation could not be judged.
    pub(crate) async fn fail_evaluation(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
        attempt: u32,
    ) -> Result<(), StoreError> {
        self.conclude(project, simulation, id, attempt, EvaluationStatus::Failed, Vec::new()).await
    }

    async fn conclude(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
        attempt: u32,
        status: EvaluationStatus,
        evaluations: Vec<Evaluation>,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let decide = move |view: ConversationView| {
            let conversation =
                view.conversation.conclude_evaluation(&view.simulation, attempt, status, now)?;
            Ok(ConversationChange {
                evaluations: evaluations.clone(),
                ..ConversationChange::to(conversation)
            })
        };
        ignore_refusal(project.change_conversation(simulation, id, Box::new(decide)).await)?;
        Ok(())
    }

    /// Decides the check lines of all objectives. Patterns and transcript come from outside and may need a processor for
    /// seconds, so it is done in pieces, in turns with other conversations, and ends where its job does.
    async fn check(
        &self,
        objectives: &[Objective],
        transcript: &Arc<Transcript>,
    ) -> Result<Vec<Checked>, JobError> {
        let queue = &self.processor.judging;
        let mut read = Vec::with_capacity(objectives.len());
        for objective in objectives {
            read.push(self.rubrics.of(objective, queue).await?);
        }
        let rubrics: Vec<Arc<Rubric>> = read.iter().flatten().cloned().collect();
        let mut examination = Box::new(Examination::new(rubrics, Arc::clone(transcript)));
        let findings = loop {
            let piece = move || {
                if examination.advance(WORK_A_PIECE) { Ok(examination.findings()) } else { Err(examination) }
            };
            match queue.run(piece).await? {
                Ok(findings) => break findings,
                Err(unfinished) => examination = unfinished,
            }
        };
        let mut findings = findings.into_iter();
        let checked = read.into_iter().map(|read| match read {
            Ok(rubric) => Ok((rubric, findings.next().unwrap_or_default())),
            Err(error) => Err(error),
        });
        Ok(checked.collect())
    }

    async fn judge(
        &self,
        detail: &SimulationDetail,
        objective: &Objective,
        checked: Checked,
        transcript: &Transcript,
    ) -> Result<Judgement, JobError> {
        let (rubric, findings) = match checked {
            Ok(checked) => checked,
            Err(error) => return Ok(Judgement::of_refused(objective, &error)),
        };
        let has_checks = !findings.is_empty();
        let checked = Judgement::of_checks(findings, objective);
        let Some(prose) = &rubric.prose else { return Ok(checked) };
        if checked.outcome == Outcome::Failed {
            // A check that fails decides, whatever a model would say of the rest.
            return Ok(checked);
        }
        let request =
            JudgeRequest { simulation: &detail.simulation, objective, prose, transcript: &transcript.items };
        let mut verdict = self.within_turn(self.model.judge(request)).await?;
        if verdict.outcome == Outcome::Passed && !transcript.speaks(Role::Assistant) {
            verdict.outcome = Outcome::Inconclusive;
            verdict.reason = format!("The agent said nothing. {}", verdict.reason);
        }
        Ok(checked.with(verdict, self.model.name(), has_checks, transcript)?)
    }
}

/// An objective's criteria and what their checks found; why the criteria were refused, if they were.
type Checked = Result<(Arc<Rubric>, Vec<Finding>), CheckLineError>;

/// What was found about one objective.
struct Judgement {
    outcome: Outcome,
    score: Option<Score>,
    reason: String,
    quotes: Vec<Quote>,
    judge: String,
    prompt_hash: String,
}

impl Judgement {
    /// What the check lines find: passed if all hold, failed if one does not; with none, nothing was found.
    fn of_checks(findings: Vec<Finding>, objective: &Objective) -> Self {
        let held = findings.iter().filter(|finding| finding.outcome == Outcome::Passed).count();
        let outcome = Outcome::all(findings.iter().map(|finding| finding.outcome));
        let score = if outcome == Outcome::Inconclusive { None } else { Score::of(held, findings.len()) };
        let reasons: Vec<_> = findings.iter().map(|finding| finding.reason.as_str()).collect();
        Self {
            outcome,
            score,
            reason: reasons.join("; "),
            quotes: findings.into_iter().flat_map(|finding| finding.quotes).take(MAX_QUOTES).collect(),
            judge: CHECKS.to_owned(),
            prompt_hash: sha256_hex([objective.criteria.as_str()]),
        }
    }

    /// Criteria that an earlier release accepted and this one refuses decide nothing.
    fn of_refused(objective: &Objective, error: &CheckLineError) -> Self {
        Self {
            outcome: Outcome::Inconclusive,
            score: None,
            reason: format!("The objective's `criteria` {error}. Change them, and judge by the new version."),
            quotes: Vec::new(),
            judge: CHECKS.to_owned(),
            prompt_hash: sha256_hex([objective.criteria.as_str()]),
        }
    }

    /// Together with what a model found about the prose.
    fn with(
        self,
        verdict: Verdict,
        model: &str,
        has_checks: bool,
        transcript: &Transcript,
    ) -> Result<Self, ModelError> {
        if verdict.reason.trim().is_empty() {
            return Err(ModelError::Unusable("a verdict without a reason".to_owned()));
        }
        let outcome =
            if has_checks { Outcome::all([self.outcome, verdict.outcome]) } else { verdict.outcome };
        let mut reasons = vec![verdict.reason];
        reasons.extend(has_checks.then_some(self.reason));
        let quotes = verdict.quotes.iter().filter_map(|text| find_quote(text, &transcript.items));
        Ok(Self {
            outcome,
            score: verdict.score.filter(|_| outcome != Outcome::Inconclusive),
            reason: reasons.join("; "),
            quotes: self.quotes.into_iter().chain(quotes).take(MAX_QUOTES).collect(),
            judge: if has_checks { format!("{CHECKS}+{model}") } else { model.to_owned() },
            prompt_hash: sha256_hex([self.prompt_hash.as_str(), &verdict.prompt]),
        })
    }
}

/// A quote, if it occurs to the letter in a message. What does not occur is no evidence.
fn find_quote(text: &str, items: &[Item]) -> Option<Quote> {
    let fits = !text.trim().is_empty() && text.chars().count() <= MAX_QUOTE;
    let item =
        items.iter().find(|item| fits && item.content.iter().any(|part| part.as_str().contains(text)))?;
    Some(Quote { item_id: item.id.clone(), text: text.to_owned() })
}

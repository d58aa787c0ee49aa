//! Evaluates a conversation: check lines are decided from the transcript alone, prose is judged by the model.

use std::sync::Arc;

use onerun_domain::{
    CheckLineError, CheckResult, ConversationId, Evaluation, EvaluationDetails, EvaluationId,
    EvaluationStatus, Examination, Item, MAX_ORDINAL, MAX_QUOTES, ModelName, ModelUsage, Objective,
    ObjectiveRef, Outcome, Persona, PersonaFault, Purpose, Quote, ReportedFault, Role, Rubric, Score,
    Simulation, SimulationId, Transcript, sha256_hex, with_reported_faults,
};
use onerun_store::{ConversationChange, ConversationView, ProjectStore, SimulationDetail, StoreError};

use crate::{
    Engine, JobError, JudgeRequest, Meter, ModelError, Question, Verdict, conversations::all_items,
    error::ignore_refusal, turns::clean,
};

/// The judge of an evaluation that check lines alone decide.
const CHECKS: &str = "checks";

/// The most text that one evaluation stores, in bytes: half for its reason, half for its quotes.
const MAX_EVALUATION: usize = 8 * 1024;

/// The most text that all evaluations of one conversation store, in bytes. Each gets an equal share.
const MAX_EVALUATIONS: usize = 256 * 1024;

/// The longest quote that is taken from a model, in characters.
const MAX_QUOTE: usize = 1_000;

/// The longest version of a model that is stored, in bytes.
const MAX_VERSION: usize = 200;

/// The end of a truncated reason.
const TRUNCATED: &str = " […]";

/// The end of a reason if some quotes were dropped.
const QUOTES_DROPPED: &str = " More quotes were found than are stored.";

/// How much work one conversation does before the next one gets its turn, in bytes times the width
/// of patterns. Most conversations need less in total. It takes at most a tenth of a second, unless
/// a single message is longer.
const WORK_A_TURN: u64 = 16 * 1024 * 1024;

impl Engine {
    /// Evaluates one attempt at a conversation against all objectives, and stores all evaluations or none.
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
        // A person who spoke elsewhere plays no role, and has no faults in playing it.
        let persona = if detail.simulation.is_imported() {
            None
        } else {
            project.persona(simulation, &conversation.persona_id).await?
        };
        let judge = &detail.simulation.options.models.judge;
        let Evaluated { drafts, faults: reported } =
            self.evaluate(project, &detail, judge, &transcript, persona.as_ref()).await?;
        let faults = self.persona_faults(&detail.simulation, persona, &transcript, reported).await?;
        let evaluations: Vec<_> = drafts.into_iter().map(|one| one.stored(self, id, attempt)).collect();
        let status = if evaluations.is_empty() {
            EvaluationStatus::NotApplicable
        } else {
            EvaluationStatus::Completed
        };
        self.conclude(project, simulation, id, attempt, status, evaluations, faults).await?;
        Ok(())
    }

    /// The faults of the conversation's persona: those found by rule, and those that the judge reports. The transcript
    /// comes from outside and may be long, so conversations take turns.
    async fn persona_faults(
        &self,
        simulation: &Simulation,
        persona: Option<Persona>,
        transcript: &Arc<Transcript>,
        reported: Vec<ReportedFault>,
    ) -> Result<Vec<PersonaFault>, JobError> {
        let Some(persona) = persona else { return Ok(Vec::new()) };
        let (scenario, transcript) = (simulation.scenario.clone(), Arc::clone(transcript));
        let find = move || {
            let faults = onerun_domain::persona_faults(&scenario, &persona, &transcript);
            with_reported_faults(faults, reported, &transcript)
        };
        Ok(self.cpu_queues.judging.run(find).await?)
    }

    /// Evaluates a transcript against all objectives of its simulation, in their order. Prose is judged by `judge`,
    /// which may also report faults of `persona`.
    pub(crate) async fn evaluate(
        &self,
        project: &dyn ProjectStore,
        detail: &SimulationDetail,
        judge: &ModelName,
        transcript: &Arc<Transcript>,
        persona: Option<&Persona>,
    ) -> Result<Evaluated, JobError> {
        let checked = self.check(&detail.objectives, transcript).await?;
        let Evaluated { drafts, faults } =
            self.judge(project, detail, judge, checked, transcript, persona).await?;
        let share = (MAX_EVALUATIONS / drafts.len().max(1)).min(MAX_EVALUATION);
        Ok(Evaluated { drafts: drafts.into_iter().map(|draft| draft.truncated(share)).collect(), faults })
    }

    /// Stores that the evaluation of one attempt at a conversation failed.
    pub(crate) async fn fail_evaluation(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
        attempt: u32,
    ) -> Result<(), StoreError> {
        self.conclude(project, simulation, id, attempt, EvaluationStatus::Failed, Vec::new(), Vec::new())
            .await
    }

    #[expect(clippy::too_many_arguments, reason = "they are the parts of one write")]
    async fn conclude(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
        attempt: u32,
        status: EvaluationStatus,
        evaluations: Vec<Evaluation>,
        faults: Vec<PersonaFault>,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let decide = move |view: ConversationView| {
            let concluded = view.conversation.conclude_evaluation(&view.simulation, attempt, status, now)?;
            let conversation = concluded.with_persona_faults(faults.clone());
            Ok(ConversationChange {
                evaluations: evaluations.clone(),
                ..ConversationChange::to(conversation)
            })
        };
        ignore_refusal(project.change_conversation(simulation, id, Box::new(decide)).await)?;
        Ok(())
    }

    /// Decides the check lines of all objectives. Patterns and transcript come from outside and may
    /// need seconds of CPU time, so conversations take turns. The work ends when the job's future
    /// is dropped.
    async fn check(
        &self,
        objectives: &[Objective],
        transcript: &Arc<Transcript>,
    ) -> Result<Vec<Checked>, JobError> {
        let queue = &self.cpu_queues.judging;
        let mut compiled = Vec::with_capacity(objectives.len());
        for objective in objectives {
            compiled.push(self.rubrics.get_or_compile(objective, queue).await?);
        }
        let rubrics: Vec<Arc<Rubric>> = compiled.iter().flatten().cloned().collect();
        let mut examination = Box::new(Examination::new(rubrics, Arc::clone(transcript)));
        let results = loop {
            let turn = move || {
                if examination.advance(WORK_A_TURN) { Ok(examination.results()) } else { Err(examination) }
            };
            match queue.run(turn).await? {
                Ok(results) => break results,
                Err(unfinished) => examination = unfinished,
            }
        };
        let mut results = results.into_iter();
        let checked = compiled.into_iter().map(|rubric| match rubric {
            Ok(rubric) => Ok((rubric, results.next().unwrap_or_default())),
            Err(error) => Err(error),
        });
        Ok(checked.collect())
    }

    /// Asks the judge, in one call, about the prose of all objectives that no failed check has decided.
    async fn judge(
        &self,
        project: &dyn ProjectStore,
        detail: &SimulationDetail,
        judge: &ModelName,
        checked: Vec<Checked>,
        transcript: &Transcript,
        persona: Option<&Persona>,
    ) -> Result<Evaluated, JobError> {
        let mut drafts = Vec::with_capacity(checked.len());
        let mut rubrics = Vec::new();
        for (objective, checked) in detail.objectives.iter().zip(checked) {
            let draft = match checked {
                Err(error) => EvaluationDraft::of_refused_criteria(objective, &error),
                Ok((rubric, results)) => {
                    let has_checks = !results.is_empty();
                    let draft = EvaluationDraft::of_checks(results, objective);
                    if rubric.prose.is_some() && draft.outcome != Outcome::Failed {
                        rubrics.push((drafts.len(), rubric, has_checks));
                    }
                    draft
                }
            };
            drafts.push(draft);
        }
        let questions: Vec<_> = rubrics
            .iter()
            .filter_map(|(index, rubric, _)| {
                let prose = rubric.prose.as_deref()?;
                Some(Question { objective: detail.objectives.get(*index)?, prose })
            })
            .collect();
        if questions.is_empty() {
            return Ok(Evaluated { drafts, faults: Vec::new() });
        }
        let simulation = &detail.simulation;
        let meter = Meter::default();
        let request = JudgeRequest {
            simulation,
            questions: &questions,
            transcript: &transcript.items,
            persona,
            meter: &meter,
        };
        let model = self.open_named_model::<JobError>(project, simulation, judge).await?;
        let answer = self.within_limit(model.judge(request)).await;
        self.count_usage_of(project, simulation, Purpose::Judge, judge, &meter).await;
        let mut answer = answer?;
        let faults = std::mem::take(&mut answer.faults);
        if answer.verdicts.len() != questions.len() {
            let reason = format!("{} verdicts on {} objectives", answer.verdicts.len(), questions.len());
            return Err(ModelError::Unusable(reason).into());
        }
        let version = answer.version.map(|version| clean(&version, MAX_VERSION));
        let source = VerdictSource { judge, prompt: &answer.prompt, version, usage: meter.usage() };
        let agent_spoke = transcript.speaks(Role::Assistant);
        for ((index, _, has_checks), mut verdict) in rubrics.iter().zip(answer.verdicts) {
            if verdict.outcome == Outcome::Passed && !agent_spoke {
                verdict.outcome = Outcome::Inconclusive;
                verdict.reason = format!("The agent said nothing. {}", verdict.reason);
            }
            if let Some(draft) = drafts.get_mut(*index) {
                draft.add_verdict(verdict, &source, *has_checks, transcript)?;
            }
        }
        Ok(Evaluated { drafts, faults })
    }
}

/// An objective's rubric with the results of its checks, or why its criteria were refused.
type Checked = Result<(Arc<Rubric>, Vec<CheckResult>), CheckLineError>;

/// The evaluations of a conversation, and the faults of its persona that the judge reports.
pub(crate) struct Evaluated {
    pub(crate) drafts: Vec<EvaluationDraft>,
    faults: Vec<ReportedFault>,
}

/// The judge's answer that verdicts come from.
struct VerdictSource<'a> {
    judge: &'a ModelName,
    prompt: &'a str,
    version: Option<String>,
    usage: ModelUsage,
}

/// The evaluation against one objective, before it has an id.
pub(crate) struct EvaluationDraft {
    objective: ObjectiveRef,
    pub(crate) outcome: Outcome,
    score: Option<Score>,
    reason: String,
    quotes: Vec<Quote>,
    judge: String,
    prompt_hash: String,
    pub(crate) details: EvaluationDetails,
}

impl EvaluationDraft {
    /// Passed if all checks hold, failed if one does not, inconclusive without checks.
    fn of_checks(results: Vec<CheckResult>, objective: &Objective) -> Self {
        let held = results.iter().filter(|result| result.outcome == Outcome::Passed).count();
        let outcome = Outcome::all(results.iter().map(|result| result.outcome));
        let score = if outcome == Outcome::Inconclusive { None } else { Score::of(held, results.len()) };
        let reasons: Vec<_> = results.iter().map(|result| result.reason.as_str()).collect();
        let reason = reasons.join("; ");
        // A failed check decides the outcome, so its quotes come first.
        let (decisive, others): (Vec<_>, Vec<_>) =
            results.into_iter().partition(|result| result.outcome == Outcome::Failed);
        Self {
            objective: objective.reference(),
            outcome,
            score,
            reason,
            quotes: decisive.into_iter().chain(others).flat_map(|result| result.quotes).collect(),
            judge: CHECKS.to_owned(),
            prompt_hash: sha256_hex([objective.criteria.as_str()]),
            details: EvaluationDetails::default(),
        }
    }

    /// Inconclusive: an earlier release accepted these criteria, and this one refuses them.
    fn of_refused_criteria(objective: &Objective, error: &CheckLineError) -> Self {
        Self {
            objective: objective.reference(),
            outcome: Outcome::Inconclusive,
            score: None,
            reason: format!("The objective's `criteria` {error}. Change them, and judge by the new version."),
            quotes: Vec::new(),
            judge: CHECKS.to_owned(),
            prompt_hash: sha256_hex([objective.criteria.as_str()]),
            details: EvaluationDetails::default(),
        }
    }

    /// Adds the model's verdict on the prose.
    fn add_verdict(
        &mut self,
        verdict: Verdict,
        source: &VerdictSource<'_>,
        has_checks: bool,
        transcript: &Transcript,
    ) -> Result<(), ModelError> {
        if verdict.reason.trim().is_empty() {
            return Err(ModelError::Unusable("a verdict without a reason".to_owned()));
        }
        if verdict.ordinal.is_some_and(|ordinal| ordinal > MAX_ORDINAL) {
            return Err(ModelError::Unusable(format!("a verdict with a grade above {MAX_ORDINAL}")));
        }
        self.outcome =
            if has_checks { Outcome::all([self.outcome, verdict.outcome]) } else { verdict.outcome };
        let is_decided = self.outcome != Outcome::Inconclusive;
        self.score = verdict.score.filter(|_| is_decided);
        self.details = EvaluationDetails {
            model_version: source.version.clone(),
            ordinal: verdict.ordinal.filter(|_| is_decided),
            usage: Some(source.usage),
        };
        self.reason =
            if has_checks { format!("{}; {}", verdict.reason, self.reason) } else { verdict.reason };
        let quotes = verdict.quotes.iter().filter_map(|text| find_quote(text, &transcript.items));
        self.quotes.extend(quotes);
        // One more than is stored shows that some were dropped.
        self.quotes.truncate(MAX_QUOTES + 1);
        let VerdictSource { judge, prompt, .. } = source;
        self.judge = if has_checks { format!("{CHECKS}+{judge}") } else { judge.to_string() };
        self.prompt_hash = sha256_hex([self.prompt_hash.as_str(), *prompt]);
        Ok(())
    }
}

impl EvaluationDraft {
    /// The evaluation of one attempt at a conversation.
    fn stored(self, engine: &Engine, conversation: &ConversationId, attempt: u32) -> Evaluation {
        Evaluation {
            id: EvaluationId::generate(engine.random()),
            conversation_id: conversation.clone(),
            attempt,
            objective: self.objective,
            judge: self.judge,
            prompt_hash: self.prompt_hash,
            outcome: self.outcome,
            score: self.score,
            reason: self.reason,
            quotes: self.quotes,
            details: self.details,
            created_at: engine.now(),
        }
    }

    /// Bounds reason and quotes to `max_bytes` of text together, and notes it in the reason. Quotes
    /// stay whole or are dropped, so that each still occurs literally in the transcript.
    fn truncated(mut self, max_bytes: usize) -> Self {
        let found = self.quotes.len();
        let mut room = max_bytes / 2;
        self.quotes.retain(|quote| {
            let left = room.checked_sub(quote.text.len());
            room = left.unwrap_or(room);
            left.is_some()
        });
        self.quotes.truncate(MAX_QUOTES);
        let note = if self.quotes.len() < found { QUOTES_DROPPED } else { "" };
        self.reason = clean(&self.reason, max_bytes);
        let room = (max_bytes / 2).saturating_sub(note.len());
        if self.reason.len() > room {
            self.reason.truncate(self.reason.floor_char_boundary(room.saturating_sub(TRUNCATED.len())));
            self.reason.push_str(TRUNCATED);
        }
        self.reason.push_str(note);
        self
    }
}

/// A quote of the message that contains `text` literally. `None` if no message does: then it is no evidence.
fn find_quote(text: &str, items: &[Item]) -> Option<Quote> {
    let fits = !text.trim().is_empty() && text.chars().count() <= MAX_QUOTE;
    let item =
        items.iter().find(|item| fits && item.content.iter().any(|part| part.as_str().contains(text)))?;
    Some(Quote { item_id: item.id.clone(), text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use onerun_domain::ItemId;
    use proptest::prelude::*;

    use super::*;

    fn draft(reason: &str, quotes: &[String]) -> EvaluationDraft {
        let item_id: ItemId = "iB8nD5vF1TgR6pWqY3sKa".parse().unwrap();
        let quote = |text: &String| Quote { item_id: item_id.clone(), text: text.clone() };
        EvaluationDraft {
            objective: ObjectiveRef { id: "objective001".parse().unwrap(), version: 1 },
            outcome: Outcome::Failed,
            score: None,
            reason: reason.to_owned(),
            quotes: quotes.iter().map(quote).collect(),
            judge: CHECKS.to_owned(),
            prompt_hash: String::new(),
            details: EvaluationDetails::default(),
        }
    }

    fn texts(draft: &EvaluationDraft) -> Vec<&str> {
        draft.quotes.iter().map(|quote| quote.text.as_str()).collect()
    }

    #[test]
    fn evaluation_within_its_bounds_is_unchanged() {
        let quotes = vec!["refund".to_owned(); MAX_QUOTES];
        let truncated = draft("Because.", &quotes).truncated(MAX_EVALUATION);
        assert_eq!(
            (truncated.reason.as_str(), texts(&truncated)),
            ("Because.", quotes.iter().map(String::as_str).collect())
        );
    }

    #[test]
    fn excess_quotes_are_dropped_with_a_note() {
        let truncated =
            draft("Because.", &vec!["refund".to_owned(); MAX_QUOTES + 1]).truncated(MAX_EVALUATION);
        assert_eq!(truncated.quotes.len(), MAX_QUOTES);
        assert_eq!(truncated.reason, format!("Because.{QUOTES_DROPPED}"));
    }

    #[test]
    fn quote_that_does_not_fit_is_dropped_whole() {
        let quotes = ["a".repeat(3_000), "b".repeat(2_000), "c".repeat(1_000)];
        let truncated = draft("Because.", &quotes).truncated(MAX_EVALUATION);
        assert_eq!(texts(&truncated), [&quotes[0], &quotes[2]]);
        assert!(truncated.reason.ends_with(QUOTES_DROPPED), "{}", truncated.reason);
    }

    #[test]
    fn truncated_reason_ends_with_a_mark() {
        let truncated = draft(&"é".repeat(5_000), &[]).truncated(MAX_EVALUATION);
        assert!(
            truncated.reason.ends_with(&format!("é{TRUNCATED}"))
                && truncated.reason.len() <= MAX_EVALUATION / 2
        );
    }

    proptest! {
        #[test]
        fn evaluation_has_no_more_text_than_its_share(
            reason in "(?s).{0,3000}",
            quotes in prop::collection::vec("(?s).{0,500}", 0..15),
            share in 1_000..MAX_EVALUATION,
        ) {
            let truncated = draft(&reason, &quotes).truncated(share);
            let text: usize = texts(&truncated).iter().map(|text| text.len()).sum();
            prop_assert!(truncated.reason.len() + text <= share);
            prop_assert!(truncated.quotes.len() <= MAX_QUOTES);
            prop_assert!(texts(&truncated).iter().all(|text| quotes.iter().any(|quote| quote == text)));
            prop_assert!(truncated.quotes.len() == quotes.len() || truncated.reason.ends_with(QUOTES_DROPPED));
        }
    }
}

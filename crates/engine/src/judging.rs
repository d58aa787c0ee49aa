//! Judging a conversation: check lines from the transcript alone, prose by the model.

use std::sync::Arc;

use futures_util::future::try_join_all;
use onerun_domain::{
    CheckLineError, CheckResult, ConversationId, Evaluation, EvaluationId, EvaluationStatus, Examination,
    Item, MAX_QUOTES, Objective, Outcome, Quote, Role, Rubric, Score, SimulationId, Transcript, sha256_hex,
};
use onerun_store::{ConversationChange, ConversationView, ProjectStore, SimulationDetail, StoreError};

use crate::{
    Engine, JobError, JudgeRequest, ModelError, Verdict,
    conversations::{all_items, clean},
    error::ignore_refusal,
};

/// The judge's name where check lines alone decide.
const CHECKS: &str = "checks";

/// The most text that is kept of one verdict, in bytes: half for its reason, half for its quotes.
const MAX_VERDICT: usize = 8 * 1024;

/// The most text that is kept of all verdicts on one conversation, in bytes. Each gets an equal share.
const MAX_VERDICTS: usize = 256 * 1024;

/// The longest quote of a model, in characters.
const MAX_QUOTE: usize = 1_000;

/// The end of a reason that is cut.
const CUT: &str = " […]";

/// The end of a reason whose verdict has more quotes than are kept.
const LEFT_OUT: &str = " More quotes were found than are kept.";

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
        let share = (MAX_VERDICTS / verdicts.len().max(1)).min(MAX_VERDICT);
        let evaluations: Vec<_> = detail
            .objectives
            .iter()
            .zip(verdicts.into_iter().map(|judgement| judgement.cut(share)))
            .map(|(objective, judgement)| Evaluation {
                id: EvaluationId::generate(self.random()),
                conversation_id: id.clone(),
                attempt,
                objective: objective.reference(),
                judge: judgement.judge,
                prompt_hash: judgement.prompt_hash,
                outcome: judgement.outcome,
                score: judgement.score,
                reason: judgement.reason,
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
                if examination.advance(WORK_A_PIECE) { Ok(examination.results()) } else { Err(examination) }
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
type Checked = Result<(Arc<Rubric>, Vec<CheckResult>), CheckLineError>;

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
    fn of_checks(findings: Vec<CheckResult>, objective: &Objective) -> Self {
        let held = findings.iter().filter(|finding| finding.outcome == Outcome::Passed).count();
        let outcome = Outcome::all(findings.iter().map(|finding| finding.outcome));
        let score = if outcome == Outcome::Inconclusive { None } else { Score::of(held, findings.len()) };
        let reasons: Vec<_> = findings.iter().map(|finding| finding.reason.as_str()).collect();
        let reason = reasons.join("; ");
        // A check that does not hold decides the verdict, so its quotes come first.
        let (decisive, others): (Vec<_>, Vec<_>) =
            findings.into_iter().partition(|finding| finding.outcome == Outcome::Failed);
        Self {
            outcome,
            score,
            reason,
            quotes: decisive.into_iter().chain(others).flat_map(|finding| finding.quotes).collect(),
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
            // One more than are kept tells that there are more.
            quotes: self.quotes.into_iter().chain(quotes).take(MAX_QUOTES + 1).collect(),
            judge: if has_checks { format!("{CHECKS}+{model}") } else { model.to_owned() },
            prompt_hash: sha256_hex([self.prompt_hash.as_str(), &verdict.prompt]),
        })
    }
}

impl Judgement {
    /// Leaves of reason and quotes no more than `most` bytes of text, and says so. A quote stays whole or is left out, so that
    /// it still occurs to the letter.
    fn cut(mut self, most: usize) -> Self {
        let found = self.quotes.len();
        let mut room = most / 2;
        self.quotes.retain(|quote| {
            let left = room.checked_sub(quote.text.len());
            room = left.unwrap_or(room);
            left.is_some()
        });
        self.quotes.truncate(MAX_QUOTES);
        let note = if self.quotes.len() < found { LEFT_OUT } else { "" };
        self.reason = clean(&self.reason, most);
        let room = (most / 2).saturating_sub(note.len());
        if self.reason.len() > room {
            self.reason.truncate(self.reason.floor_char_boundary(room.saturating_sub(CUT.len())));
            self.reason.push_str(CUT);
        }
        self.reason.push_str(note);
        self
    }
}

/// A quote, if it occurs to the letter in a message. What does not occur is no evidence.
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

    fn judgement(reason: &str, quotes: &[String]) -> Judgement {
        let item_id: ItemId = "iB8nD5vF1TgR6pWqY3sKa".parse().unwrap();
        let quote = |text: &String| Quote { item_id: item_id.clone(), text: text.clone() };
        Judgement {
            outcome: Outcome::Failed,
            score: None,
            reason: reason.to_owned(),
            quotes: quotes.iter().map(quote).collect(),
            judge: CHECKS.to_owned(),
            prompt_hash: String::new(),
        }
    }

    fn texts(judgement: &Judgement) -> Vec<&str> {
        judgement.quotes.iter().map(|quote| quote.text.as_str()).collect()
    }

    #[test]
    fn a_verdict_within_its_bounds_is_kept_as_it_is() {
        let quotes = vec!["refund".to_owned(); MAX_QUOTES];
        let kept = judgement("Because.", &quotes).cut(MAX_VERDICT);
        assert_eq!(
            (kept.reason.as_str(), texts(&kept)),
            ("Because.", quotes.iter().map(String::as_str).collect())
        );
    }

    #[test]
    fn more_quotes_than_are_kept_are_left_out_and_said() {
        let kept = judgement("Because.", &vec!["refund".to_owned(); MAX_QUOTES + 1]).cut(MAX_VERDICT);
        assert_eq!(kept.quotes.len(), MAX_QUOTES);
        assert_eq!(kept.reason, format!("Because.{LEFT_OUT}"));
    }

    #[test]
    fn a_quote_without_room_is_left_out_whole() {
        let quotes = ["a".repeat(3_000), "b".repeat(2_000), "c".repeat(1_000)];
        let kept = judgement("Because.", &quotes).cut(MAX_VERDICT);
        assert_eq!(texts(&kept), [&quotes[0], &quotes[2]]);
        assert!(kept.reason.ends_with(LEFT_OUT), "{}", kept.reason);
    }

    #[test]
    fn a_reason_that_is_cut_says_so() {
        let kept = judgement(&"é".repeat(5_000), &[]).cut(MAX_VERDICT);
        assert!(kept.reason.ends_with(&format!("é{CUT}")) && kept.reason.len() <= MAX_VERDICT / 2);
    }

    proptest! {
        #[test]
        fn a_verdict_never_has_more_text_than_its_share(
            reason in "(?s).{0,3000}",
            quotes in prop::collection::vec("(?s).{0,500}", 0..15),
            share in 1_000..MAX_VERDICT,
        ) {
            let kept = judgement(&reason, &quotes).cut(share);
            let text: usize = texts(&kept).iter().map(|text| text.len()).sum();
            prop_assert!(kept.reason.len() + text <= share);
            prop_assert!(kept.quotes.len() <= MAX_QUOTES);
            prop_assert!(texts(&kept).iter().all(|text| quotes.iter().any(|quote| quote == text)));
            prop_assert!(kept.quotes.len() == quotes.len() || kept.reason.ends_with(LEFT_OUT));
        }
    }
}

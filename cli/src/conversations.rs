//! `onerun conversations`: transcripts and evaluations.

use std::fmt::{self, Write};

use clap::{Args, Subcommand, ValueEnum, value_parser};
use onerun_client::{
    SimulationClient, Verbatim,
    resource::{Conversation, ConversationStatus, CountedOutcome, Evaluation, Item, Outcome},
};

use crate::{
    list::{self, Listing},
    output,
    project::ProjectArgument,
    results,
    text::{fields, plain, prose, table, utc},
};

/// The width of the widest field name, in columns.
const NAME_WIDTH: usize = 8;

/// Subcommands of `onerun conversations`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the conversations of a simulation, newest first. With `--status queued`, the longest
    /// waiting come first.
    List(List),
    /// Show a conversation: the persona, the transcript, and the evaluations with the words they quote.
    Show(Show),
}

/// Options that select a simulation.
#[derive(Debug, Args)]
struct InSimulation {
    /// The simulation's id or exact name.
    #[arg(long, value_name = "ID")]
    simulation: String,
    #[command(flatten)]
    of: ProjectArgument,
}

impl InSimulation {
    async fn client(&self) -> anyhow::Result<SimulationClient> {
        self.of.simulation(&self.simulation).await
    }
}

/// Options of `onerun conversations list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    of: InSimulation,
    /// Only conversations with this status.
    #[arg(long)]
    status: Option<Status>,
    /// Only conversations that the results count with this outcome.
    #[arg(long, group = "counted")]
    outcome: Option<OutcomeValue>,
    /// The same as `--outcome failed`.
    #[arg(long, group = "counted")]
    failed: bool,
    /// With `--outcome` or `--failed`: the outcome of this objective instead of the whole conversation.
    #[arg(long, value_name = "ID", requires = "counted")]
    objective: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

/// Values of `--status`.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Status {
    Queued,
    InProgress,
    Ended,
    Failed,
}

impl From<Status> for ConversationStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Queued => Self::Queued,
            Status::InProgress => Self::InProgress,
            Status::Ended => Self::Ended,
            Status::Failed => Self::Failed,
        }
    }
}

/// Values of `--outcome`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OutcomeValue {
    Passed,
    Failed,
    Inconclusive,
}

impl From<OutcomeValue> for Outcome {
    fn from(outcome: OutcomeValue) -> Self {
        match outcome {
            OutcomeValue::Passed => Self::Passed,
            OutcomeValue::Failed => Self::Failed,
            OutcomeValue::Inconclusive => Self::Inconclusive,
        }
    }
}

/// Options of `onerun conversations show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The conversation's id.
    #[arg(value_name = "CONVERSATION_ID")]
    id: String,
    #[command(flatten)]
    of: InSimulation,
    /// Show the messages of this attempt [default: the last attempt].
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    attempt: Option<u32>,
    /// Print the API's responses as JSON: `{"conversation": …, "items": …}`.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::List(options) => list(options).await,
        Command::Show(options) => show(options).await,
    }
}

impl List {
    /// The outcome that is asked for.
    fn counted_outcome(&self) -> Option<CountedOutcome> {
        let outcome = if self.failed { Some(Outcome::Failed) } else { self.outcome.map(Into::into) };
        outcome.map(|outcome| CountedOutcome { outcome, objective_id: self.objective.clone() })
    }
}

async fn list(options: &List) -> anyhow::Result<()> {
    let simulation = options.of.client().await?;
    let status = options.status.map(Into::into);
    let outcome = options.counted_outcome();
    list::print(
        &options.listing,
        |conversation: &Conversation| &conversation.id,
        async |page| simulation.conversations_by_outcome(status, outcome.as_ref(), page).await,
        async |conversations| {
            let rows: Vec<_> = conversations.iter().map(|conversation| row(conversation)).collect();
            Ok(table(["ID", "NO.", "STATUS", "MESSAGES", "EVALUATIONS", "PERSONA"], &[5], &rows))
        },
    )
    .await
}

fn row(conversation: &Conversation) -> [String; 6] {
    [
        plain(&conversation.id),
        conversation.seq_id.to_string(),
        conversation.status.as_str().to_owned(),
        conversation.item_count.to_string(),
        evaluation_counts(conversation),
        plain(&conversation.persona.summary),
    ]
}

/// The number of evaluations by outcome, or the evaluation status if there are none.
fn evaluation_counts(conversation: &Conversation) -> String {
    let counts = [Outcome::Passed, Outcome::Failed, Outcome::Inconclusive].map(|outcome| {
        let number =
            conversation.evaluations.iter().filter(|evaluation| evaluation.outcome == outcome).count();
        (number, results::outcome(outcome))
    });
    let counts: Vec<String> = counts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    if counts.is_empty() { words(&conversation.evaluation_status) } else { counts.join(", ") }
}

/// A value such as `turn_limit` with spaces instead of underscores.
fn words(word: &str) -> String {
    plain(word).replace('_', " ")
}

async fn show(options: &Show) -> anyhow::Result<()> {
    let client = options.of.client().await?.conversation(&options.id);
    let conversation = client.get().await?;
    let items =
        list::all(|item: &Item| &item.id, async |page| client.items(options.attempt, page).await).await?;
    if options.json {
        let (conversation, items) = (conversation.json(), list::array(&items));
        return output::print_json(&format!(
            "{{\"conversation\":{conversation},\"items\":{{\"data\":{items},\"has_more\":false,\"next_cursor\":null}}}}"
        ));
    }
    let mut text = String::new();
    describe(&mut text, &conversation, &items)?;
    output::print(&text)
}

/// Writes all details of a conversation.
fn describe(out: &mut String, conversation: &Conversation, items: &[Verbatim<Item>]) -> fmt::Result {
    let prose = |text: &str| prose(text, NAME_WIDTH);
    let status = conversation.status.as_str();
    let status = match &conversation.end_reason {
        Some(reason) => format!("{status} ({})", words(reason)),
        None => status.to_owned(),
    };
    out.push_str(&fields(&[
        ("id", plain(&conversation.id)),
        ("number", conversation.seq_id.to_string()),
        ("status", status),
        ("attempt", attempts(conversation).join("\n")),
        ("persona", prose(&conversation.persona.summary)),
        ("story", prose(&conversation.persona.story)),
        ("purpose", prose(&conversation.persona.purpose)),
    ]));
    out.push('\n');
    if items.is_empty() {
        out.push_str("There are no messages.\n");
    }
    for item in items {
        results::message(out, item.role, &item.text())?;
    }
    for fault in &conversation.persona_faults {
        results::persona_fault(out, fault)?;
    }
    if conversation.evaluations.is_empty() {
        return writeln!(out, "\nNo evaluations: {}.", words(&conversation.evaluation_status));
    }
    conversation.evaluations.iter().try_for_each(|evaluation| evaluated(out, evaluation))
}

/// The number of the current attempt, and how each lost attempt ended.
fn attempts(conversation: &Conversation) -> Vec<String> {
    let mut lines = vec![conversation.attempt.to_string()];
    for ended in &conversation.ended_attempts {
        // The status already shows how an attempt that was not lost ended.
        let is_late = ended.end_reason == "reply_late";
        let is_lost = ended.failure_reason.is_some() || is_late || ended.end_reason == "lease_expired";
        if is_lost {
            let reason = end_reason(&ended.end_reason);
            lines.push(format!("attempt {} ended {}: {reason}", ended.attempt, utc(&ended.ended_at)));
            if is_late {
                continue;
            }
            let reason = match &ended.failure_reason {
                Some(reason) => format!("the worker's reason: {reason}"),
                None => "the worker gave no reason".to_owned(),
            };
            lines.push(prose(&reason, NAME_WIDTH));
        }
    }
    lines
}

/// An end reason in words.
fn end_reason(reason: &str) -> String {
    match reason {
        "lease_expired" => "lease expired because the worker stopped answering".to_owned(),
        "reply_late" => "the persona's reply came late, so the worker left".to_owned(),
        "agent_failed" => "the worker reported that the agent failed".to_owned(),
        other => words(other),
    }
}

fn evaluated(out: &mut String, evaluation: &Evaluation) -> fmt::Result {
    let score = evaluation.score.map_or_else(|| "no score".to_owned(), |score| format!("score {score:.2}"));
    let outcome =
        format!("{}, {score}, judged by {}", results::outcome(evaluation.outcome), evaluation.judge);
    let reason = evaluation.reason.as_deref().unwrap_or("no reason given");
    out.push('\n');
    results::evaluation(out, &evaluation.objective.name, &outcome, reason)?;
    evaluation.quotes.iter().try_for_each(|quote| results::quote(out, &quote.text))
}

//! `onerun batch` and `onerun batches`.

mod create;
mod follow;

pub(crate) use create::{Create, HELP, create};

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use onerun_client::{
    ProjectClient, Verbatim,
    resource::{Batch, BatchCounts, BatchItem, PageRequest},
};

use crate::{
    list::{self, Listing},
    outcome, output,
    project::{ProjectArgument, find},
    text::{fields, plain, prose, table, time, utc, utc_or},
};

/// The width of the widest field name, in columns.
const NAME_WIDTH: usize = 13;

/// How many items that did not complete are shown.
const SHOWN_ITEMS: usize = 20;

/// Subcommands of `onerun batches`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the batches of a project, newest first.
    List(List),
    /// Show a batch: its progress and the items that did not complete.
    #[command(visible_alias = "show")]
    Get(Get),
    /// List the items of a batch in the order of the request.
    Items(Items),
    /// Wait until a batch is over, show its progress, and print it.
    #[command(after_help = follow::HELP)]
    Wait(Wait),
    /// Cancel a batch and its simulations.
    Cancel(Selected),
    /// Run the items of a batch again that failed, expired or were canceled.
    Rerun(Selected),
}

/// Options of `onerun batches list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    of: ProjectArgument,
    #[command(flatten)]
    listing: Listing,
}

/// A batch.
#[derive(Debug, Args)]
pub(crate) struct Selected {
    /// The batch's id or exact name.
    #[arg(value_name = "BATCH_ID")]
    batch: String,
    #[command(flatten)]
    of: ProjectArgument,
}

/// Options of `onerun batches get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    of: Selected,
    /// Print the API's response as JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `onerun batches items`.
#[derive(Debug, Args)]
pub(crate) struct Items {
    #[command(flatten)]
    of: Selected,
    /// Only items in this status.
    #[arg(long)]
    status: Option<Status>,
    #[command(flatten)]
    listing: Listing,
}

/// Values of `--status`.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Status {
    Queued,
    InProgress,
    Completed,
    Failed,
    Canceled,
    Expired,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
        }
    }
}

/// Options of `onerun batches wait`.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    #[command(flatten)]
    of: Selected,
    #[command(flatten)]
    follow: follow::Options,
}

pub(crate) async fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Wait(options) => return follow::report(wait(options).await),
        Command::List(options) => list(options).await,
        Command::Get(options) => get(options).await,
        Command::Items(options) => items(options).await,
        Command::Cancel(options) => cancel(options).await,
        Command::Rerun(options) => rerun(options).await,
    };
    outcome::report(done.map(|()| ExitCode::SUCCESS))
}

impl Selected {
    /// A client of its project, and its id.
    async fn find(&self) -> anyhow::Result<(ProjectClient, String)> {
        let project = self.of.client().await?;
        let id = find_batch(&project, &self.batch).await?;
        Ok((project, id))
    }
}

async fn find_batch(project: &ProjectClient, wanted: &str) -> anyhow::Result<String> {
    find(
        "batch",
        wanted,
        async || project.batch(wanted).await.map(drop),
        async || {
            let list = async |page| project.list_batches(page).await;
            list::ids_named(wanted, |batch: &Batch| (&batch.id, &batch.name), list).await
        },
    )
    .await
}

async fn list(options: &List) -> anyhow::Result<()> {
    let project = options.of.client().await?;
    list::print(
        &options.listing,
        |batch: &Batch| &batch.id,
        async |page| project.list_batches(page).await,
        async |batches| {
            let rows: Vec<_> = batches.iter().map(|batch| row(batch)).collect();
            Ok(table(["ID", "NAME", "STATUS", "SIMULATIONS", "CREATED (UTC)"], &[1, 3], &rows))
        },
    )
    .await
}

fn row(batch: &Batch) -> [String; 5] {
    [
        plain(&batch.id),
        plain(&batch.name),
        batch.status.as_str().to_owned(),
        progress(&batch.counts),
        time(&batch.created_at),
    ]
}

/// The progress in words, such as `3 of 10 completed, 1 failed, 6 in progress`.
fn progress(counts: &BatchCounts) -> String {
    let completed = format!("{} of {} completed", counts.completed, counts.total);
    let others = [
        (counts.failed, "failed"),
        (counts.expired, "expired"),
        (counts.canceled, "canceled"),
        (counts.in_progress, "in progress"),
        (counts.queued, "queued"),
    ];
    let others = others.iter().filter(|(number, _)| *number > 0);
    let parts: Vec<_> =
        std::iter::once(completed).chain(others.map(|(number, words)| format!("{number} {words}"))).collect();
    parts.join(", ")
}

async fn get(options: &Get) -> anyhow::Result<()> {
    let (project, id) = options.of.find().await?;
    let batch = project.batch(&id).await?;
    if options.json {
        return output::print_json(batch.json());
    }
    print_batch(&project, &batch).await
}

/// Prints a batch and the items that did not complete.
async fn print_batch(project: &ProjectClient, batch: &Batch) -> anyhow::Result<()> {
    let per_agent = batch.max_in_flight_per_agent.map(|most| format!(", {most} of one agent"));
    let lines = [
        ("id", plain(&batch.id)),
        ("name", prose(&batch.name, NAME_WIDTH)),
        ("status", batch.status.as_str().to_owned()),
        ("simulations", prose(&progress(&batch.counts), NAME_WIDTH)),
        ("max in flight", format!("{}{}", batch.max_in_flight, per_agent.unwrap_or_default())),
        ("created", utc(&batch.created_at)),
        ("ended", utc_or(batch.ended_at.as_deref(), "not yet")),
    ];
    let mut text = fields(&lines);
    let mut wrong = Vec::new();
    for status in ["failed", "expired", "canceled"] {
        let request = PageRequest::first(SHOWN_ITEMS);
        wrong.extend(project.list_batch_items(&batch.id, Some(status), request).await?.into_value().data);
    }
    wrong.sort_by_key(|item| item.index);
    let of = &batch.counts;
    let more = usize::try_from(of.failed + of.expired + of.canceled).unwrap_or(usize::MAX);
    wrong.truncate(SHOWN_ITEMS);
    if !wrong.is_empty() {
        text.push('\n');
        text.push_str(&item_table(&wrong));
    }
    if let Some(more) = more.checked_sub(wrong.len()).filter(|more| *more > 0) {
        let note = format!("and {more} more: `onerun batches items {}`\n", plain(&batch.id));
        text.push_str(&note);
    }
    output::print(&text)
}

fn item_table(items: &[Verbatim<BatchItem>]) -> String {
    let rows: Vec<_> = items.iter().map(|item| item_row(item)).collect();
    table(["ITEM", "STATUS", "SIMULATION", "AGENT", "ATTEMPT", "NOTE"], &[5], &rows)
}

fn item_row(item: &BatchItem) -> [String; 6] {
    [
        item.index.to_string(),
        plain(&item.status),
        plain(&item.simulation_id),
        plain(&item.agent_id),
        item.attempt.to_string(),
        plain(item.failure_reason.as_deref().unwrap_or_default()),
    ]
}

async fn items(options: &Items) -> anyhow::Result<()> {
    let (project, id) = options.of.find().await?;
    let status = options.status.map(Status::as_str);
    list::print(
        &options.listing,
        |item: &BatchItem| &item.simulation_id,
        async |page| project.list_batch_items(&id, status, page).await,
        async |items| Ok(item_table(items)),
    )
    .await
}

async fn wait(options: &Wait) -> anyhow::Result<onerun_report::Verdict> {
    let (project, id) = options.of.find().await?;
    follow::follow(&project, &id, &options.follow).await
}

async fn cancel(options: &Selected) -> anyhow::Result<()> {
    let (project, id) = options.find().await?;
    let batch = project.cancel_batch(&id).await?;
    output::print(&format!("{}\n", batch.status.as_str()))
}

async fn rerun(options: &Selected) -> anyhow::Result<()> {
    let (project, id) = options.find().await?;
    let batch = project.rerun_batch(&id).await?;
    output::print(&format!("{}: {}\n", batch.status.as_str(), progress(&batch.counts)))
}

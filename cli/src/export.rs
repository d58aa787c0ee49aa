//! `onerun export`: the conversations of a simulation with evaluations and messages, for other programs.

mod csv;
mod file;

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use onerun_client::resource::Conversation;
use serde::{Deserialize, Serialize};

use crate::{output, project::ProjectArgument, text};
use file::ExportFile;

/// Help text below the options.
pub(crate) const AFTER_HELP: &str = "\
JSON lines: each line is an object with one member, `conversation` (with its
persona, evaluations and quotes) or `item` (a message of the conversation before
it, oldest first).

CSV: one row for each evaluation, without messages; a conversation without
evaluations has one row. A text that a spreadsheet could take for a formula
begins with an apostrophe.

With --output, FILE appears when it is complete. Until then the data is in
FILE.part. If the command is interrupted, run it again: it continues there.";

/// Options of `onerun export`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The simulation's id or exact name.
    #[arg(value_name = "SIMULATION")]
    simulation: String,
    #[command(flatten)]
    of: ProjectArgument,
    /// The format.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Write to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Values of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// JSON lines: conversations and messages.
    Jsonl,
    /// A table of the evaluations.
    Csv,
}

/// A line of the API's export.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    conversation: Option<Conversation>,
}

/// Exports a simulation page by page, so that memory does not grow with its size.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let simulation = options.of.simulation(&options.simulation).await?;
    let shown = simulation.get().await?;
    let mut file = match &options.output {
        Some(path) => Some(ExportFile::open(path, &shown.id, options.format)?),
        None => None,
    };
    let is_shown = io::stderr().is_terminal() && (file.is_some() || !io::stdout().is_terminal());
    let progress = progress(is_shown, shown.target_conversations.into());
    let (mut cursor, mut conversations) = file.as_ref().map(ExportFile::position).unwrap_or_default();
    if conversations > 0 {
        progress.set_position(conversations);
        output::print_note(&format!("Continuing after {}.\n", text::count(conversations, "conversation")));
    }
    let mut is_first = cursor.is_none();
    loop {
        let page = simulation.export(cursor.as_deref()).await?;
        let page_conversations = parsed(&page.lines)?;
        conversations += page_conversations.len() as u64;
        let written = match options.format {
            Format::Jsonl => page.lines,
            Format::Csv => csv::rows(&page_conversations, is_first)?,
        };
        is_first = false;
        match &mut file {
            Some(file) => file.append(&written, page.next.as_deref(), conversations)?,
            None => print(&written, options.format)?,
        }
        progress.set_position(conversations);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    progress.finish_and_clear();
    if let (Some(file), Some(path)) = (file, &options.output) {
        file.finish()?;
        let number = text::count(conversations, "conversation");
        output::print_note(&format!("{}: {number}\n", text::plain(&path.display().to_string())));
    }
    Ok(())
}

/// The conversations in these lines.
fn parsed(lines: &str) -> anyhow::Result<Vec<Conversation>> {
    let conversations = lines.lines().filter_map(|line| {
        let line: Result<Line, _> = serde_json::from_str(line);
        line.map(|line| line.conversation).transpose()
    });
    conversations
        .collect::<Result<_, _>>()
        .context("the export has a line that is not JSON of the expected form")
}

fn print(written: &str, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Jsonl => output::print(&text::plain_json(written)),
        Format::Csv => output::print(written),
    }
}

fn progress(is_shown: bool, conversations: u64) -> ProgressBar {
    if !is_shown {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} conversations, {eta} left");
    ProgressBar::new(conversations).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

//! `onerun import`: conversations that were held elsewhere become a simulation, which judges them.

mod lines;

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context, anyhow};
use clap::{Args, value_parser};
use onerun_client::{Error, ProjectClient, resource::NewImport};
use onerun_domain::Name;
use onerun_report::Verdict;
use serde_json::Map;

use self::lines::Conversations;
use crate::{
    creation::print_warnings,
    input,
    outcome::Negative,
    output,
    project::{ProjectArgument, find_agent},
    simulations::{Follow, find_objectives, follow, report},
    text::{count, plain},
};

/// The maximum size of a file, in bytes. Exports have more in a file than is imported.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The maximum number of conversations of one import.
const MAX_CONVERSATIONS: usize = onerun_domain::NewImport::MAX_CONVERSATIONS;

/// The most errors that are shown.
const MAX_ERRORS: usize = 20;

pub(crate) const HELP: &str = "\
The file has JSON lines, each a conversation in the format of OpenAI's chat
completions:

  {\"messages\": [{\"role\": \"user\", \"content\": \"…\"}, …], \"case\": \"Refund\"}

`user` is the person and `assistant` the agent. System messages and calls of
tools are left out and counted. `case`, `end_reason` and `metadata` may be left
out; docs/import.md describes them. The file may also be what `onerun export`
writes.

One import has at most 1,000 conversations and 1 MiB. Split a larger file, for
example with `split -l 1000`, and import each part.

Without --wait the id of the simulation is printed. With it, progress goes to
standard error and the results to standard output.

Exit codes, as those of `onerun run`:
  0  the simulation was created, or with --wait: every conversation was judged
  2  it is not over within --timeout, or it was canceled
  3  it failed or expired, or the server cannot be reached
  4  the file is wrong, or the API refused the request

Example:
  onerun import chats.jsonl --agent Refunds --objective Polite --wait";

/// Options of `onerun import`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The file, or `-` for standard input.
    file: PathBuf,
    #[command(flatten)]
    of: ProjectArgument,
    /// The agent that spoke: its id or exact name.
    #[arg(long, value_name = "ID|NAME")]
    agent: String,
    /// An objective to score conversations against: its id or exact name. Repeat it for several.
    #[arg(long = "objective", value_name = "ID|NAME", required = true)]
    objectives: Vec<String>,
    /// The simulation's name [default: that of the file].
    #[arg(long)]
    name: Option<String>,
    /// The situation of the conversations, for people to read.
    #[arg(long, value_name = "TEXT")]
    scenario: Option<String>,
    /// The model that judges, `offline` or `provider:model` [default: the server's].
    #[arg(long, value_name = "MODEL")]
    judge: Option<String>,
    /// Make the call repeatable: the same file under the same text is the same simulation for 24 hours.
    #[arg(long, value_name = "TEXT")]
    idempotency_key: Option<String>,
    /// Wait until the conversations are judged, and print the results.
    #[arg(long)]
    wait: bool,
    /// Wait at most this long [default: until it is over].
    #[arg(long, value_name = "SECONDS", requires = "wait", value_parser = value_parser!(u32).range(1..=30 * 24 * 60 * 60))]
    timeout: Option<u32>,
    /// Print no progress.
    #[arg(long)]
    quiet: bool,
    /// Print the API's response as JSON, with --wait both: `{"simulation": …, "results": …}`.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    report(import(options).await)
}

async fn import(options: &Options) -> anyhow::Result<Verdict> {
    let read = input::read("FILE", &options.file, MAX_FILE_BYTES)
        .and_then(|text| lines::read(&text).map_err(|errors| anyhow!(list(options, &errors))));
    let conversations = match read.and_then(|conversations| fitting(options, conversations)) {
        Ok(conversations) => conversations,
        Err(error) => {
            output::print_error(&error);
            return Ok(Verdict::Config);
        }
    };
    let Conversations { bodies, lines, left_out } = conversations;
    let project = options.of.client().await?;
    let new = NewImport {
        agent_id: find_agent(&project, &options.agent).await?,
        name: options.name.clone().unwrap_or_else(|| default_name(options)),
        scenario: options.scenario.clone(),
        objective_ids: find_objectives(&project, &options.objectives).await?,
        conversations: bodies,
        judge: options.judge.clone(),
        metadata: Map::new(),
        ..NewImport::default()
    };
    let note = |text: &str| {
        if !options.quiet {
            output::print_note(text);
        }
    };
    if left_out > 0 {
        let count = count(left_out, "conversation");
        note(&format!("Left out {count} that did not end or has no messages.\n"));
    }
    note(&format!("Importing {}.\n", count(new.conversations.len() as u64, "conversation")));
    let created = create(&project, options, &new, &lines).await?;
    print_warnings(&created.warnings);
    if let Some(import) = created.import {
        let (system, tool) = (import.left_out.system.into(), import.left_out.tool.into());
        if system > 0 || tool > 0 {
            let (system, tool) = (count(system, "system message"), count(tool, "tool message"));
            note(&format!("Left out {system} and {tool}: nobody said them to the other side.\n"));
        }
    }
    if options.wait {
        let how = Follow { timeout: options.timeout, quiet: options.quiet, json: options.json };
        return follow(&project, &created.id, &how).await;
    }
    if options.json {
        output::print_json(project.simulation(&created.id).get().await?.json())?;
    } else {
        output::print(&format!("{}\n", plain(&created.id)))?;
    }
    Ok(Verdict::Pass)
}

/// Sends the import. Errors of a conversation are shown with its line.
async fn create(
    project: &ProjectClient,
    options: &Options,
    new: &NewImport,
    lines: &[usize],
) -> anyhow::Result<onerun_client::resource::Simulation> {
    let refused = match project.import_simulation(new, options.idempotency_key.as_deref()).await {
        Ok(created) => return Ok(created),
        Err(error) => error,
    };
    match of_lines(&refused, lines) {
        Some(errors) => Err(Negative(list(options, &errors)).into()),
        None => Err(refused.into()),
    }
}

/// The errors of an answer, if one of them is in a conversation.
fn of_lines(refused: &Error, lines: &[usize]) -> Option<Vec<String>> {
    let line = |pointer: &str| {
        let rest = pointer.strip_prefix("#/conversations/")?;
        let (index, place) = rest.split_once('/').unwrap_or((rest, ""));
        let line = lines.get(index.parse::<usize>().ok()?)?;
        Some(if place.is_empty() {
            format!("line {line}:")
        } else {
            format!("line {line}: `{}`", path(place))
        })
    };
    let fields = refused.fields();
    fields.iter().any(|field| line(&field.pointer).is_some()).then(|| {
        let written = fields.iter().map(|field| {
            let place = line(&field.pointer).unwrap_or_else(|| format!("`{}`", plain(&field.pointer)));
            format!("{place} {}", plain(&field.detail))
        });
        written.collect()
    })
}

/// A JSON pointer without its first slash, as a path: `messages[3].content`.
fn path(pointer: &str) -> String {
    let mut path = String::new();
    for token in pointer.split('/') {
        if token.bytes().all(|byte| byte.is_ascii_digit()) && !token.is_empty() {
            let _ = write!(path, "[{token}]");
        } else {
            let dot = if path.is_empty() { "" } else { "." };
            let _ = write!(path, "{dot}{}", plain(&token.replace("~1", "/").replace("~0", "~")));
        }
    }
    path
}

/// Prints the first errors, one a line, and returns the error that sums them up.
fn list(options: &Options, errors: &[String]) -> String {
    for error in errors.iter().take(MAX_ERRORS) {
        output::print_note(&format!("{error}\n"));
    }
    let more = errors.len().saturating_sub(MAX_ERRORS);
    let more = if more > 0 { format!(", of which {more} are not shown") } else { String::new() };
    format!("{} cannot be imported: it has {}{more}", shown(options), count(errors.len() as u64, "error"))
}

/// Refuses what one import cannot take, before anything is sent.
fn fitting(options: &Options, conversations: Conversations) -> anyhow::Result<Conversations> {
    let (number, file) = (conversations.bodies.len(), shown(options));
    let advice = "Split the file between conversations, for example with `split -l`, and import each part";
    if number == 0 {
        return Err(anyhow!("{file} has no conversation with a message"));
    }
    if number > MAX_CONVERSATIONS {
        return Err(anyhow!(
            "{file} has {number} conversations, and one import takes at most {MAX_CONVERSATIONS}. {advice}"
        ));
    }
    let bytes = serde_json::to_vec(&conversations.bodies).context("the conversations are no JSON")?.len();
    // The rest of the body is small.
    let max = onerun_api::MAX_BODY_BYTES - 32 * 1024;
    if bytes > max {
        return Err(anyhow!(
            "the conversations of {file} have {bytes} bytes, and one import takes at most {max}. {advice}"
        ));
    }
    Ok(conversations)
}

fn is_stdin(options: &Options) -> bool {
    options.file.as_os_str() == "-"
}

/// The file in messages.
fn shown(options: &Options) -> String {
    if is_stdin(options) { "standard input".to_owned() } else { plain(&options.file.to_string_lossy()) }
}

/// The name of the file as the name of the simulation.
fn default_name(options: &Options) -> String {
    const STANDARD_INPUT: &str = "Imported conversations";
    let name = options.file.file_name().filter(|_| !is_stdin(options));
    let name: String = name.map(|name| plain(&name.to_string_lossy())).unwrap_or_default();
    let name: String = name.chars().take(Name::MAX_LENGTH).collect();
    if name.trim().is_empty() { STANDARD_INPUT.to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_of_an_error_is_a_path_in_its_line() {
        let field = |pointer: &str, detail: &str| onerun_client::FieldError {
            pointer: pointer.to_owned(),
            detail: detail.to_owned(),
        };
        let refused = |fields| Error::Api {
            status: 422,
            code: "invalid_request".to_owned(),
            message: "wrong".to_owned(),
            request_id: None,
            retry_after: None,
            fields,
        };
        let errors = vec![
            field("#/conversations/1/messages/3/content/0/type", "must be `text`"),
            field("#/conversations/0", "must be an object"),
            field("#/conversations/7/case", "is of no line"),
            field("#/name", "must not be empty\u{1b}"),
        ];
        assert_eq!(
            of_lines(&refused(errors), &[2, 40]).unwrap(),
            [
                "line 40: `messages[3].content[0].type` must be `text`",
                "line 2: must be an object",
                "`#/conversations/7/case` is of no line",
                "`#/name` must not be empty\\u{001B}",
            ]
        );
        assert_eq!(of_lines(&refused(vec![field("#/name", "must not be empty")]), &[1]), None);
    }
}

//! `onerun demo`: a whole simulation, from an empty directory to results.
//!
//! The server listens on loopback, and the demo uses it through the published client, like any other user.

mod report;

use std::{
    fs::{self, DirBuilder},
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::{Args, value_parser};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use onerun_client::{
    Agent, AgentError, AgentSession, ApiKey, Client, ConversationInfo, Message, ProjectClient, Reply,
    SimulationClient, Verbatim, Worker, WorkerOptions,
    resource::{
        Conversation, Item, NewAgent, NewObjective, NewSimulation, Outcome, PageRequest, Results, Role,
        Simulation, SimulationStatus,
    },
};
use onerun_domain::{ModelName, Seed, Target};
use onerun_model_offline::{SampleAgent, demo};
use onerun_server::{Config, Server};
use serde::Serialize;
use tempfile::TempDir;
use tokio::{sync::oneshot, time::sleep};

use crate::{output, signals::StopSignal};
use report::{Excerpt, Report};

/// How many conversations the worker holds at once.
const CONCURRENCY: usize = 32;

/// How often the worker and the progress bar poll.
const POLL: Duration = Duration::from_millis(25);

/// The progress bar requests the results, which cost more than the status, once in this many polls.
const POLLS_PER_COUNT: u32 = 8;

/// Options of `onerun demo`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many conversations to hold.
    #[arg(
        long, value_name = "N", default_value_t = 20,
        value_parser = value_parser!(u32).range(i64::from(Target::MIN)..=i64::from(Target::MAX)),
    )]
    conversations: u32,
    /// Repeat the run that had this seed [default: a random seed].
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(Seed::MIN..=Seed::MAX))]
    seed: Option<u64>,
    /// Keep the data in this directory for `onerun serve --data`. It must be empty or not exist.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Let this model play the personas, such as `openai:gpt-5.4-mini`. Its key is read from the environment: see
    /// `onerun models --help`. [default: the offline model]
    #[arg(long, value_name = "PROVIDER:MODEL")]
    model: Option<ModelName>,
    /// Print one JSON document instead of a report.
    #[arg(long)]
    json: bool,
}

/// The output of `--json`.
#[derive(Serialize)]
struct Document {
    seed: u64,
    conversations: u32,
    personas: u32,
    /// From the creation of the simulation to its last evaluation.
    elapsed_seconds: f64,
    conversations_per_second: f64,
    /// Messages of both sides.
    messages: u64,
    results: Results,
    /// Of the whole process, server and worker together; null if the system does not report it.
    peak_memory_bytes: Option<u64>,
}

/// The demo's output.
enum Output {
    Report(String),
    Json(String),
}

/// Runs the demo.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let mut stop = StopSignal::listen()?;
    let data = DataDirectory::open(options.keep.as_deref())?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // The demo ignores the rest of the environment, which may hold the key and settings of a real server.
    let config = match &options.model {
        Some(model) => Config::with_models_of_env(Some(model))?,
        None => Config::default(),
    };
    let server = Server::start(config, data.path(), address).await?;
    let result = tokio::select! {
        result = simulate(&server, options) => result,
        () = stop.received() => bail_interrupted(),
    };
    let stopped = server.shutdown().await;
    match result? {
        Output::Report(text) => output::print(&text)?,
        Output::Json(json) => output::print_json(&json)?,
    }
    Ok(stopped?)
}

fn bail_interrupted() -> anyhow::Result<Output> {
    bail!("interrupted before the simulation was complete")
}

/// Runs a simulation on a server and returns the report.
async fn simulate(server: &Server, options: &Options) -> anyhow::Result<Output> {
    let file = server.key_file().context("the demo server has no key file")?;
    let key = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let client = Client::new(&format!("http://{}", server.address()), &ApiKey::new(&key)?)?;
    let seed = match options.seed {
        Some(seed) => seed,
        // 32 bits are enough, and short to type.
        None => getrandom::u32()?.into(),
    };
    // Two conversations for each persona, so that personas can be compared.
    let personas = (options.conversations / 2).max(1);

    let project = client.project(&client.create_project("Demo").await?.id);
    let agent = project.create_agent(&agent()).await?;
    let mut objective_ids = Vec::new();
    for objective in demo::OBJECTIVES {
        let new = NewObjective { name: objective.name.into(), criteria: objective.criteria.into() };
        objective_ids.push(project.create_objective(&new).await?.id);
    }
    let started = Instant::now();
    let created = project
        .create_simulation(&NewSimulation {
            agent_id: agent.id.clone(),
            name: demo::SIMULATION_NAME.into(),
            scenario: demo::SCENARIO.into(),
            target_conversations: options.conversations,
            target_personas: personas,
            personas: Vec::new(),
            max_turns: demo::MAX_TURNS,
            personas_from: None,
            auto_approve: true,
            objective_ids,
            seed: Some(seed),
            ..NewSimulation::default()
        })
        .await?;
    let simulation = project.simulation(&created.id);
    complete(project, &agent.id, &simulation, options.conversations).await?;
    let elapsed = started.elapsed();

    let results = simulation.results().await?.into_value();
    let Survey { messages, best } = survey(&simulation).await?;
    if options.json {
        let document = Document {
            seed,
            conversations: options.conversations,
            personas,
            elapsed_seconds: elapsed.as_secs_f64(),
            conversations_per_second: f64::from(options.conversations) / elapsed.as_secs_f64(),
            messages,
            results,
            peak_memory_bytes: peak_memory(),
        };
        return Ok(Output::Json(serde_json::to_string_pretty(&document)?));
    }
    let excerpt = match best {
        Some((_, conversation)) => Some(excerpt(&simulation, conversation).await?),
        None => None,
    };
    let report = Report {
        scenario: demo::SCENARIO,
        agent: demo::AGENT_NAME,
        max_turns: demo::MAX_TURNS,
        seed,
        conversations: options.conversations,
        personas,
        model: options.model.as_ref().filter(|name| !name.is_offline()).map(ModelName::to_string),
        messages,
        results,
        excerpt,
        elapsed,
        kept: options.keep.clone().map(|directory| (directory, created.id)),
    };
    Ok(Output::Report(report.to_string()))
}

fn agent() -> NewAgent {
    NewAgent { name: demo::AGENT_NAME.into(), description: Some(demo::AGENT_DESCRIPTION.into()) }
}

/// Holds all conversations of the simulation and waits until the last one is judged.
async fn complete(
    project: ProjectClient,
    agent_id: &str,
    simulation: &SimulationClient,
    conversations: u32,
) -> anyhow::Result<()> {
    let mut options = WorkerOptions::default();
    options.concurrency = CONCURRENCY;
    options.poll_interval = POLL;
    let worker = Worker::new(project, agent_id, BuiltIn).with_options(options);

    let (complete, completed) = oneshot::channel::<()>();
    let work = async {
        // Also completes if the sender is dropped.
        let stop = async { drop(completed.await) };
        worker.run(stop).await.context("the worker failed")
    };
    let watch = async {
        let ended = watch(simulation, conversations).await;
        drop(complete);
        ended
    };
    let (_, ended) = tokio::try_join!(work, watch)?;
    if ended.status == SimulationStatus::Completed {
        return Ok(());
    }
    bail!(
        "the simulation did not complete: {}",
        ended.last_failure_reason.as_deref().unwrap_or("the server gave no reason")
    )
}

/// Waits until the simulation ends, with a progress bar if standard error is a terminal.
async fn watch(simulation: &SimulationClient, conversations: u32) -> anyhow::Result<Simulation> {
    let bar = ProgressBar::with_draw_target(Some(conversations.into()), ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos} of {len} conversations scored, {elapsed}")?);
    let mut polls = 0;
    let ended = loop {
        let seen = simulation.get().await?;
        if !matches!(seen.status, SimulationStatus::Pending | SimulationStatus::InProgress) {
            break seen.into_value();
        }
        if !bar.is_hidden() && polls % POLLS_PER_COUNT == 0 {
            bar.set_position(simulation.results().await?.overall.evaluated);
        }
        polls += 1;
        sleep(POLL).await;
    };
    bar.finish_and_clear();
    Ok(ended)
}

/// The offline model's sample agent, as a worker's agent.
struct BuiltIn;

impl Agent for BuiltIn {
    type Session = Self;

    async fn open(&self, _: &ConversationInfo) -> Result<Self, AgentError> {
        Ok(Self)
    }
}

impl AgentSession for BuiltIn {
    async fn reply(&mut self, transcript: &[Message]) -> Result<Reply, AgentError> {
        let transcript: Vec<_> = transcript
            .iter()
            .map(|message| {
                let role = match message.role {
                    Role::Persona => onerun_domain::Role::User,
                    Role::Agent => onerun_domain::Role::Assistant,
                };
                (role, message.text.as_str())
            })
            .collect();
        Ok(SampleAgent.reply(&transcript).into())
    }
}

/// The data that the demo collects from all conversations.
#[derive(Default)]
struct Survey {
    messages: u64,
    /// The conversation to show, and its rank; a lower rank is better.
    best: Option<((u8, u32), Conversation)>,
}

/// Reads all conversations a page at a time, as there may be too many to hold in memory.
async fn survey(simulation: &SimulationClient) -> anyhow::Result<Survey> {
    let mut survey = Survey::default();
    let mut request = PageRequest::first(100);
    loop {
        let page = simulation.conversations(None, request.clone()).await?.into_value();
        let next = page.following(&request);
        for conversation in page.data.into_iter().map(Verbatim::into_value) {
            survey.messages += u64::from(conversation.item_count);
            let rank = rank(&conversation);
            if survey.best.as_ref().is_none_or(|(best, _)| rank < *best) {
                survey.best = Some((rank, conversation));
            }
        }
        match next {
            Some(next) => request = next,
            None => return Ok(survey),
        }
    }
}

/// The rank of a conversation to show: first a failed one with a quote, then a failed one without,
/// then any other. Equal ones are ordered by number, so that each run of a seed shows the same
/// conversation.
fn rank(conversation: &Conversation) -> (u8, u32) {
    let mut failed =
        conversation.evaluations.iter().filter(|evaluation| evaluation.outcome == Outcome::Failed);
    let kind = match failed.clone().next() {
        Some(_) if failed.any(|evaluation| !evaluation.quotes.is_empty()) => 0,
        Some(_) => 1,
        None => 2,
    };
    (kind, conversation.seq_id)
}

async fn excerpt(simulation: &SimulationClient, conversation: Conversation) -> anyhow::Result<Excerpt> {
    // A demo conversation always fits in one page.
    let items = simulation.conversation(&conversation.id).items(None, PageRequest::first(100)).await?;
    let items: Vec<Item> = items.into_value().data.into_iter().map(Verbatim::into_value).collect();
    Ok(Excerpt::new(conversation, &items))
}

/// Where the demo's server keeps its data.
enum DataDirectory {
    Temporary(TempDir),
    Permanent(PathBuf),
}

impl DataDirectory {
    fn open(keep: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = keep else {
            let directory = tempfile::Builder::new().prefix("onerun-demo-").tempdir();
            return Ok(Self::Temporary(directory.context("cannot create a temporary directory")?));
        };
        match fs::read_dir(path).map(|mut entries| entries.next().is_some()) {
            Ok(false) => {}
            Ok(true) => bail!("{} is not empty; use an empty or a new directory", path.display()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create_private(path).with_context(|| format!("cannot create {}", path.display()))?;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot use {}", path.display()));
            }
        }
        Ok(Self::Permanent(path.to_owned()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Permanent(path) => path,
        }
    }
}

/// Creates a directory that only its owner can read, as it holds transcripts and a key.
fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// The peak resident memory of this process in bytes, if the system reports it.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix("kB")?;
    Some(kibibytes.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_directory_must_be_empty() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        for _ in 0..2 {
            assert_eq!(DataDirectory::open(Some(&path)).unwrap().path(), path);
        }
        fs::write(path.join("notes.txt"), "mine").unwrap();
        let error = DataDirectory::open(Some(&path)).err().unwrap().to_string();
        assert!(error.contains("is not empty"), "{error}");
        let error = DataDirectory::open(Some(&path.join("notes.txt"))).err().unwrap().to_string();
        assert!(error.starts_with("cannot use"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn data_directory_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("kept");
        DataDirectory::open(Some(&path)).unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn failure_with_a_quote_ranks_before_one_without() {
        let conversation = |seq: u32, outcome: &str, quotes: &str| {
            let json = format!(
                r#"{{"id":"c","simulation_id":"s","seq_id":{seq},"status":"ended","attempt":1,"item_count":2,
                "end_reason":null,"evaluation_status":"completed",
                "persona":{{"id":"p","seq_id":1,"summary":"","story":"","purpose":""}},
                "evaluations":[{{"objective":{{"id":"o","version":1,"name":"","criteria":""}},
                "outcome":"{outcome}","score":null,"reason":null,"quotes":{quotes},"judge":"checks"}}]}}"#
            );
            rank(&serde_json::from_str(&json).unwrap())
        };
        let quotes = r#"[{"item_id":"i","text":"refund"}]"#;
        let ranks = [
            conversation(3, "failed", quotes),
            conversation(4, "failed", quotes),
            conversation(2, "failed", "[]"),
            conversation(1, "passed", quotes),
        ];
        assert!(ranks.is_sorted(), "{ranks:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn peak_memory_is_reported() {
        assert!(peak_memory().unwrap() > 1024 * 1024);
    }
}

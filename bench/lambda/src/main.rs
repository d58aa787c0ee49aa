//! Measures functions as Lambda runs them. Each start is a whole process under a Runtime API, with
//! TLS endpoints in the place of Secrets Manager and DynamoDB. `bench/README.md` has the purpose
//! and the figures; `run.sh` builds and runs this program.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for a person who waits before it")]

mod aws;
mod event;
mod function;
mod measure;
mod process;
mod record;
mod report;
mod runtime_api;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use crate::{
    function::{COMPARED, Function, WITH_MODELS},
    measure::Plan,
    record::Recording,
};

/// The everyday release build.
const EVERYDAY: &str = "everyday";

/// The deployed build: smaller, and slower to compile.
const DEPLOY: &str = "deploy";

/// Measures functions as whole processes.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    folders: Folders,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Folders {
    /// Where results go, and `sizes.json` is
    #[arg(long)]
    out: PathBuf,
    /// Holds `chain.pem` and `leaf.key` of the endpoints, and `bundle.pem`, which functions trust
    #[arg(long)]
    certificates: PathBuf,
    /// Programs of the everyday release build
    #[arg(long)]
    everyday: PathBuf,
    /// Programs of the deploy build
    #[arg(long)]
    deploy: PathBuf,
    /// A Python that has the packages of `requirements.txt`
    #[arg(long)]
    python: PathBuf,
    /// The folder of `handler.py`
    #[arg(long)]
    handler: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Fills a DynamoDB through the functions and keeps what it answers
    Record {
        /// Its address
        #[arg(long, env = "ONERUN_TEST_DYNAMODB")]
        database: String,
    },
    /// Measures, with the recorded replies
    Measure {
        /// Starts of each function on a full core
        #[arg(long, default_value_t = 40)]
        starts: u32,
        /// Starts of each function at 7% of one
        #[arg(long, default_value_t = 15)]
        slow_starts: u32,
        /// Starts of each function in Python at 7% of one
        #[arg(long, default_value_t = 5)]
        slow_python_starts: u32,
        /// Invocations after the first on a full core; at 7%, a fifth of them
        #[arg(long, default_value_t = 50)]
        warm: u32,
        /// Only functions whose name contains this; those of hello world always
        #[arg(long)]
        only: Option<String>,
    },
}

/// The locations of inputs and outputs.
struct Paths {
    out: PathBuf,
    certificates: PathBuf,
    everyday: PathBuf,
    deploy: PathBuf,
    python: PathBuf,
    handler: PathBuf,
    /// The core of the functions. This program runs on the first.
    core: usize,
}

impl Paths {
    fn build(&self, build: &str) -> &Path {
        if build == DEPLOY { &self.deploy } else { &self.everyday }
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let cores = thread::available_parallelism()?.get();
    let Folders { out, certificates, everyday, deploy, python, handler } = options.folders;
    let places = Paths { out, certificates, everyday, deploy, python, handler, core: cores - 1 };
    fs::create_dir_all(&places.out)?;
    process::pin(0)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&places, options.command))
}

async fn run(places: &Paths, command: Command) -> Result<()> {
    let file = places.out.join("recording.json");
    match command {
        Command::Record { database } => {
            let address = database.strip_prefix("http://").unwrap_or(&database).trim_end_matches('/');
            let recording = record::record(places, address).await?;
            fs::write(&file, serde_json::to_vec(&recording)?)?;
        }
        Command::Measure { starts, slow_starts, slow_python_starts, warm, only } => {
            let recording = fs::read(&file).with_context(|| file.display().to_string())?;
            let recording: Recording = serde_json::from_slice(&recording)?;
            let plan = Plan { starts, slow_starts, slow_python_starts, warm };
            let functions = functions(places, only.as_deref());
            let series = measure::measure(places, &recording, &functions, &plan).await?;
            fs::write(places.out.join("samples.json"), serde_json::to_vec_pretty(&series)?)?;
            let tables = report::tables(places, &functions, &series)?;
            fs::write(places.out.join("tables.md"), &tables)?;
            print!("{tables}");
        }
    }
    Ok(())
}

/// The measured functions.
fn functions(places: &Paths, only: Option<&str>) -> Vec<Function> {
    let mut functions = Vec::new();
    for build in [EVERYDAY, DEPLOY] {
        functions.push(Function::hello(places, build));
        let operations = COMPARED.into_iter().chain([WITH_MODELS]);
        functions.extend(operations.map(|operation| Function::onerun(places, build, operation)));
    }
    functions.extend(COMPARED.map(|operation| Function::python(places, operation)));
    functions.retain(|function| {
        function.operation == "hello" || only.is_none_or(|only| function.name().contains(only))
    });
    functions
}

//! `onerun run`: a whole run from one file, with a verdict and reports.

pub(crate) mod baseline;
mod execute;
mod failure;
mod file;
mod host;
mod observe;
mod outputs;
mod plan;
mod progress;
mod resources;
mod summary;

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use onerun_report::{CaseRun, Report, Verdict, evaluate, plan_problems};
use onerun_targets::TargetSpec;

use crate::{
    api::variable, output, project::ProjectArgument, signals::StopSignal, text::plain,
    worker::agent::TargetAgent,
};
use execute::Execution;
use failure::Failure;
pub(crate) use file::RunFile;
use file::Source;
use host::Host;
use outputs::{GitHub, Outputs};
use plan::RunPlan;
use progress::Progress;
use resources::Resources;

/// Options of `onerun run`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Options {
    /// The run, in YAML or JSON. docs/run.md describes it, and `onerun init` writes an example.
    #[arg(default_value = "onerun.yaml")]
    file: PathBuf,
    /// Check the file, and show what would run and what it would cost. Nothing is created.
    #[arg(long)]
    dry_run: bool,
    /// Compare with this baseline, instead of the file's.
    #[arg(long, value_name = "FILE", conflicts_with = "no_baseline")]
    baseline: Option<PathBuf>,
    /// Leave out the gates that need a baseline, to make the report that becomes the first one.
    #[arg(long)]
    no_baseline: bool,
    /// If the verdict is pass, make the report the baseline. For the main branch.
    #[arg(long, conflicts_with = "no_baseline")]
    update_baseline: bool,
    #[command(flatten)]
    outputs: Outputs,
    /// Attach this value to every simulation. Repeat it for several.
    #[arg(long = "metadata", value_name = "NAME=VALUE")]
    metadata: Vec<String>,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
    /// The server's address. [default: `ONERUN_API_BASE_URL`, or else a server in this process]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    #[command(flatten)]
    project: ProjectArgument,
}

const AFTER_HELP: &str = "\
Environment:
  ONERUN_API_BASE_URL  the API's address; without it, the run has a server of its
                       own, which ends with it
  ONERUN_API_KEY       an API key with the preset `ci`, for a server elsewhere
  ONERUN_PROJECT       the project, unless --project is given
  ONERUN_MODEL         the language model of a server of its own; see
                       `onerun models --help`

Exit codes:
  0  pass: every gate passed
  1  fail: a gate failed
  2  inconclusive: evaluations that could not be decided could decide a gate
  3  infra: results are missing that could decide a gate
  4  config: the command line, the file, the baseline, the key or the project is
     wrong";

/// Runs the file and returns its verdict.
pub(crate) async fn run(options: &Options) -> Verdict {
    let mut github = match GitHub::detect(options.outputs.use_stdout()) {
        Ok(github) => github,
        Err(error) => return report_failure(&Failure::infra(format!("{error:#}"))),
    };
    let Prepared { plan, baseline, targets } = match prepare(options) {
        Ok(prepared) => prepared,
        Err(failure) => return report_failure(&failure),
    };
    if !options.dry_run {
        return perform(options, &plan, baseline.as_ref(), targets, github.as_mut()).await;
    }
    match dry_run(options, &plan).await {
        Ok(text) => print(&text, Verdict::Pass),
        Err(failure) => report_failure(&failure),
    }
}

/// Prints to standard output. A reader that closed it, as in `onerun run | head`, changes no verdict.
fn print(text: &str, verdict: Verdict) -> Verdict {
    match output::print(text) {
        Err(error) if !output::is_closed(&error) => {
            worse(verdict, report_failure(&Failure::infra(format!("standard output: {error:#}"))))
        }
        _ => verdict,
    }
}

/// Prints a failure and returns its verdict.
pub(crate) fn report_failure(failure: &Failure) -> Verdict {
    output::print_note(&format!("{}: {}\n", failure.verdict, failure.reason));
    failure.verdict
}

/// A run that was checked.
struct Prepared {
    plan: RunPlan,
    baseline: Option<Report>,
    targets: Vec<Option<TargetAgent>>,
}

/// Checks everything that can be checked before anything starts.
fn prepare(options: &Options) -> Result<Prepared, Failure> {
    let source = Source::open(&options.file).map_err(|error| Failure::config(format!("{error:#}")))?;
    let mut file = source.parse().map_err(Failure::config)?;
    for pair in &options.metadata {
        let Some((name, value)) = pair.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Failure::config(format!("--metadata {pair}: write NAME=VALUE")));
        };
        file.metadata.insert(name.to_owned(), value.into());
    }
    let mut plan = RunPlan::new(file, &source).map_err(|problems| of_problems(&source, &problems))?;
    if options.no_baseline {
        plan.without_baseline();
    }
    if let Some(path) = &options.baseline {
        plan.baseline = Some(path.clone());
    }
    let baseline = match (&plan.baseline, plan.needs_baseline()) {
        (Some(path), true) => Some(baseline::read_baseline(path)?),
        (Some(_), false) => {
            return Err(Failure::config(
                "a baseline is named, but no gate compares with it: add the gate `no_regression: {against: baseline}`",
            ));
        }
        (None, _) => None,
    };
    if options.update_baseline && plan.baseline.is_none() {
        return Err(Failure::config(
            "--update-baseline: name the file of the baseline with `baseline` or --baseline",
        ));
    }
    let problems = plan_problems(&plan.report, baseline.as_ref(), now());
    if !problems.is_empty() {
        return Err(of_problems(&source, &problems));
    }
    let mut targets = Vec::new();
    for agent in &plan.agents {
        targets.push(match &agent.target {
            TargetSpec::Workers => None,
            spec => Some(TargetAgent::new(spec).map_err(|error| {
                Failure::config(format!("the target of agent `{}`: {error:#}", agent.key))
            })?),
        });
    }
    options.outputs.check()?;
    Ok(Prepared { plan, baseline, targets })
}

/// Every problem of a file. Those with a place name the file themselves.
fn of_problems(source: &Source, problems: &[String]) -> Failure {
    let named = |problem: &String| {
        if problem.starts_with(&source.path) {
            problem.clone()
        } else {
            format!("{}: {problem}", source.path)
        }
    };
    Failure::config(problems.iter().map(named).collect::<Vec<_>>().join("\n"))
}

/// Runs the simulations, and reports what came of them.
async fn perform(
    options: &Options,
    plan: &RunPlan,
    baseline: Option<&Report>,
    targets: Vec<Option<TargetAgent>>,
    github: Option<&mut GitHub>,
) -> Verdict {
    // From here on a signal ends the run instead of the process.
    let signals = (StopSignal::listen(), StopSignal::listen());
    let (Ok(mut stop), Ok(mut stop_at_once)) = signals else {
        return report_failure(&Failure::infra("cannot listen for signals"));
    };
    let is_ci = github.is_some() || variable("CI").ok().flatten().is_some();
    let mut progress = Progress::new(plan, options.quiet, is_ci);
    let collected = async {
        let host = match Host::open(options, plan).await {
            Ok(host) => host,
            Err(failure) => return Collected::failed(failure),
        };
        let collected = collect(plan, &host, targets, &mut progress, &mut stop).await;
        host.close().await;
        collected
    };
    let twice = async {
        stop_at_once.received().await;
        stop_at_once.received().await;
    };
    let Collected { runs, failure, judge_is_offline } = tokio::select! {
        collected = collected => collected,
        () = twice => {
            return report_failure(&Failure::infra(
                "stopped at once; simulations on a server elsewhere end when they expire",
            ));
        }
    };
    drop(progress);
    let mut report = evaluate(&plan.report, &runs, baseline, now());
    if let Some(failure) = &failure {
        apply(&mut report, failure);
    }
    let written = options.outputs.write(&report);
    let text = summary::summary(&report, judge_is_offline);
    let mut verdict = report.verdict;
    if options.outputs.use_stdout() {
        output::print_note(&text);
    } else {
        verdict = print(&text, verdict);
    }
    let shown = github.map_or(Ok(()), |github| github.show(&report));
    for result in [written, shown] {
        if let Err(error) =
            result.or_else(|error| if output::is_closed(&error) { Ok(()) } else { Err(error) })
        {
            verdict = worse(verdict, report_failure(&Failure::infra(format!("{error:#}"))));
        }
    }
    if options.update_baseline {
        verdict = worse(verdict, update_baseline(&report, plan, verdict));
    }
    verdict
}

/// Makes the report the baseline, if it may be one. Returns the verdict, or that of a failure.
fn update_baseline(report: &Report, plan: &RunPlan, verdict: Verdict) -> Verdict {
    let Some(path) = &plan.baseline else { return verdict };
    let shown = plain(&path.display().to_string());
    if verdict != Verdict::Pass || !report.complete {
        output::print_note(&format!(
            "{shown} stays the baseline: only a complete run that passes becomes one\n"
        ));
        return verdict;
    }
    match baseline::write(report, path) {
        Ok(()) => {
            output::print_note(&format!("this report is the baseline {shown} now\n"));
            verdict
        }
        Err(failure) => report_failure(&failure),
    }
}

/// The results of the simulations.
struct Collected {
    runs: Vec<CaseRun>,
    /// Why some results are missing.
    failure: Option<Failure>,
    judge_is_offline: bool,
}

impl Collected {
    fn failed(failure: Failure) -> Self {
        Self { runs: Vec::new(), failure: Some(failure), judge_is_offline: false }
    }
}

/// Holds the simulations until they are over, or a signal cancels them.
async fn collect(
    plan: &RunPlan,
    host: &Host,
    targets: Vec<Option<TargetAgent>>,
    progress: &mut Progress,
    stop: &mut StopSignal,
) -> Collected {
    let resources = tokio::select! {
        resources = Resources::provide(&host.project, plan) => resources,
        () = stop.received() => Err(Failure::infra("interrupted before a simulation was created")),
    };
    let resources = match resources {
        Ok(resources) => resources,
        Err(failure) => return Collected::failed(failure),
    };
    for (agent, id) in plan.agents.iter().zip(&resources.agents) {
        if agent.target == TargetSpec::Workers {
            output::print_note(&format!(
                "agent `{}` is held by workers of agent {} in project {}\n",
                agent.key,
                plain(id),
                plain(host.project.id())
            ));
        }
    }
    let execution = Execution::new(plan, host, resources);
    let failure = tokio::select! {
        held = execution.hold(targets, progress) => {
            if held.is_err() {
                execution.cancel().await;
            }
            held.err()
        }
        () = stop.received() => {
            output::print_note("interrupted: simulations are canceled; another signal stops at once\n");
            // Without anything to cancel, the run is complete.
            execution.cancel().await.then(|| Failure::infra("the run was interrupted"))
        }
    };
    let (runs, unread) = execution.observe().await;
    Collected { runs, failure: failure.or(unread), judge_is_offline: execution.judge_is_offline() }
}

#[expect(clippy::disallowed_methods, reason = "the program is a composition root")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Adds to a report why results are missing. A failed gate stays failed.
fn apply(report: &mut Report, failure: &Failure) {
    report.complete = false;
    report.reasons.insert(0, failure.reason.clone());
    report.verdict = worse(report.verdict, failure.verdict);
}

/// The verdict of a report of which something is missing.
fn worse(verdict: Verdict, failure: Verdict) -> Verdict {
    match verdict {
        Verdict::Fail | Verdict::Config => verdict,
        Verdict::Pass | Verdict::Inconclusive | Verdict::Infra => failure,
    }
}

/// The plan and its estimated cost, as a text.
async fn dry_run(options: &Options, plan: &RunPlan) -> Result<String, Failure> {
    let host = Host::open(options, plan).await?;
    let estimates = execute::estimates(plan, &host).await;
    let where_ = if host.is_here() { "a server in this process" } else { "the configured server" };
    host.close().await;
    Ok(summary::plan(plan, &estimates?, where_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_results_never_improve_a_verdict() {
        for failure in [Verdict::Infra, Verdict::Config] {
            assert_eq!(worse(Verdict::Pass, failure), failure);
            assert_eq!(worse(Verdict::Inconclusive, failure), failure);
            assert_eq!(worse(Verdict::Infra, failure), failure);
            assert_eq!(worse(Verdict::Fail, failure), Verdict::Fail);
            assert_eq!(worse(Verdict::Config, failure), Verdict::Config);
        }
    }
}

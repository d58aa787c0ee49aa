//! `onerun evaluations`: judge a simulation again, and compare the judges.

use std::fmt::{self, Write};

use clap::{Args, Subcommand};
use onerun_client::resource::{Agreement, EvaluationReport, EvaluationRun};

use crate::{
    list::{self, Listing},
    output,
    project::ProjectArgument,
    results,
    text::{count, fields, labelled, plain, table, utc},
};

/// Subcommands of `onerun evaluations`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Judge the conversations of a simulation that has ended again, with another judge. Its own results stay.
    Create(Create),
    /// List the evaluation runs of a simulation, newest first.
    List(List),
    /// Show an evaluation run: pass rates, and the agreement with the simulation's judge and with people's labels.
    Show(Show),
}

/// Options of `onerun evaluations create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The simulation's id or exact name.
    #[arg(value_name = "SIMULATION_ID")]
    simulation: String,
    /// The model that judges, as `provider:model`. The server must allow it.
    #[arg(long, value_name = "MODEL")]
    judge: String,
    #[command(flatten)]
    of: ProjectArgument,
    /// Print the API's response as JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `onerun evaluations list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// The simulation's id or exact name.
    #[arg(value_name = "SIMULATION_ID")]
    simulation: String,
    #[command(flatten)]
    of: ProjectArgument,
    #[command(flatten)]
    listing: Listing,
}

/// Options of `onerun evaluations show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The simulation's id or exact name.
    #[arg(value_name = "SIMULATION_ID")]
    simulation: String,
    /// The run's id, as `onerun evaluations list` prints it.
    #[arg(value_name = "EVALUATION_ID")]
    id: String,
    #[command(flatten)]
    of: ProjectArgument,
    /// Print the API's response as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Create(options) => create(options).await,
        Command::List(options) => list(options).await,
        Command::Show(options) => show(options).await,
    }
}

async fn create(options: &Create) -> anyhow::Result<()> {
    let simulation = options.of.simulation(&options.simulation).await?;
    let run = simulation.create_evaluation(&options.judge).await?;
    if options.json {
        return output::print_json(run.json());
    }
    let conversations = count(run.conversations.target.into(), "conversation");
    output::print(&format!("{} judges {conversations} again: run {}\n", plain(&run.judge), plain(&run.id)))
}

async fn list(options: &List) -> anyhow::Result<()> {
    let simulation = options.of.simulation(&options.simulation).await?;
    list::print(
        &options.listing,
        |run: &EvaluationRun| &run.id,
        async |page| simulation.list_evaluations(page).await,
        async |runs| {
            let rows: Vec<_> = runs
                .iter()
                .map(|run| {
                    [plain(&run.id), plain(&run.judge), plain(&run.status), judged(run), utc(&run.created_at)]
                })
                .collect();
            Ok(table(["ID", "JUDGE", "STATUS", "JUDGED", "CREATED"], &[1], &rows))
        },
    )
    .await
}

/// The number of judged conversations, and of failed ones.
fn judged(run: &EvaluationRun) -> String {
    let counts = run.conversations;
    let failed = if counts.failed > 0 { format!(", {} failed", counts.failed) } else { String::new() };
    format!("{} of {}{failed}", counts.judged, counts.target)
}

async fn show(options: &Show) -> anyhow::Result<()> {
    let simulation = options.of.simulation(&options.simulation).await?;
    let report = simulation.evaluation(&options.id).await?;
    if options.json {
        return output::print_json(report.json());
    }
    let mut text = String::new();
    describe(&mut text, &report)?;
    output::print(&text)
}

/// Writes a run with its results.
fn describe(out: &mut String, report: &EvaluationReport) -> fmt::Result {
    let run = &report.run;
    out.push_str(&fields(&[
        ("id", plain(&run.id)),
        ("judge", plain(&run.judge)),
        ("status", plain(&run.status).replace('_', " ")),
        ("judged", judged(run)),
        ("created", utc(&run.created_at)),
    ]));
    for objective in &report.objectives {
        out.push('\n');
        labelled(out, "", &objective.name)?;
        let rate = match (objective.pass_rate, objective.pass_rate_interval) {
            (Some(rate), Some(interval)) => results::rate_with_interval(rate, interval),
            _ => "no results yet".to_owned(),
        };
        writeln!(
            out,
            "  results            {} passed, {} failed, {} inconclusive; pass rate {rate}",
            objective.passed, objective.failed, objective.inconclusive
        )?;
        let agreement = &objective.agreement;
        for (who, agreement) in [
            ("simulation's judge", agreement.with_original),
            ("people's labels", agreement.with_labels),
            ("its judge and labels", agreement.original_with_labels),
        ] {
            if agreement.n > 0 {
                writeln!(out, "  {who:20} {}", in_words(agreement))?;
            }
        }
    }
    if !report.disagreements.is_empty() {
        out.push_str("\nThe judges differ on these conversations:\n");
    }
    for one in &report.disagreements {
        let objective = report.objectives.iter().find(|objective| objective.objective_id == one.objective_id);
        let name = objective.map_or("", |objective| objective.name.as_str());
        let (original, outcome) = (results::outcome(one.original), results::outcome(one.outcome));
        labelled(out, "  ", &format!("{}: {original}, now {outcome} ({name})", one.conversation_id))?;
    }
    Ok(())
}

/// An agreement: the share of equal outcomes, and kappa.
fn in_words(agreement: Agreement) -> String {
    let rate = agreement.rate.map_or_else(String::new, results::percent);
    let kappa = agreement.kappa.map_or_else(|| "undefined".to_owned(), |kappa| format!("{kappa:.2}"));
    format!("agree on {rate}% of {}, kappa {kappa}", count(agreement.n, "conversation"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_without_kappa_says_so() {
        let agreement = Agreement { n: 3, rate: Some(1.0), kappa: None };
        assert_eq!(in_words(agreement), "agree on 100% of 3 conversations, kappa undefined");
        let agreement = Agreement { n: 1, rate: Some(0.5), kappa: Some(-0.125) };
        assert_eq!(in_words(agreement), "agree on 50% of 1 conversation, kappa -0.12");
    }
}

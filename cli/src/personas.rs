//! `onerun personas`: list, approve and reject the personas of a simulation.

use clap::{Args, Subcommand};
use onerun_client::{
    SimulationClient,
    resource::{ApprovalStatus, PageRequest, Persona},
};

use crate::{
    list::{self, Listing, PAGE},
    output,
    project::ProjectArgument,
    text::{count, plain, table},
};

/// Subcommands of `onerun personas`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the personas of a simulation, newest first.
    List(List),
    /// Approve personas, so that their conversations start.
    Approve(Decide),
    /// Reject personas; others replace them.
    Reject(Decide),
}

/// Options of `onerun personas list`.
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

/// Options of `onerun personas approve` and `reject`.
#[derive(Debug, Args)]
pub(crate) struct Decide {
    /// The simulation's id or exact name.
    #[arg(value_name = "SIMULATION_ID")]
    simulation: String,
    /// The ids of the personas, as `onerun personas list` prints them.
    #[arg(value_name = "PERSONA_ID", required_unless_present = "all")]
    personas: Vec<String>,
    /// All pending personas.
    #[arg(long, conflicts_with = "personas")]
    all: bool,
    #[command(flatten)]
    of: ProjectArgument,
}

pub(crate) async fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::List(options) => list(options).await,
        Command::Approve(options) => {
            let decided =
                decide(options, async |simulation, id| simulation.approve_persona(id).await).await?;
            output::print(&format!("approved {}\n", count(decided, "persona")))
        }
        Command::Reject(options) => {
            let decided = decide(options, async |simulation, id| simulation.reject_persona(id).await).await?;
            output::print(&format!("rejected {}; others replace them\n", count(decided, "persona")))
        }
    }
}

async fn list(options: &List) -> anyhow::Result<()> {
    let simulation = options.of.simulation(&options.simulation).await?;
    list::print(
        &options.listing,
        |persona: &Persona| &persona.id,
        async |page| simulation.personas(page).await,
        async |personas| {
            let rows: Vec<_> = personas.iter().map(|persona| row(persona)).collect();
            Ok(table(["ID", "NO.", "APPROVAL", "SUMMARY", "PURPOSE"], &[3, 4], &rows))
        },
    )
    .await
}

fn row(persona: &Persona) -> [String; 5] {
    [
        plain(&persona.id),
        persona.seq_id.to_string(),
        persona.approval_status.as_str().to_owned(),
        plain(&persona.summary),
        plain(&persona.purpose),
    ]
}

/// Calls `decide` for each selected persona and returns their number. Decisions before a failure stay.
async fn decide(
    options: &Decide,
    decide: impl AsyncFn(&SimulationClient, &str) -> Result<(), onerun_client::Error>,
) -> anyhow::Result<u64> {
    let simulation = options.of.simulation(&options.simulation).await?;
    let ids = if options.all { pending(&simulation).await? } else { options.personas.clone() };
    let mut decided = 0;
    for id in &ids {
        decide(&simulation, id).await?;
        decided += 1;
    }
    Ok(decided)
}

/// Approves all pending personas and returns their number.
pub(crate) async fn approve_all(simulation: &SimulationClient) -> anyhow::Result<u64> {
    let mut approved = 0;
    for id in pending(simulation).await? {
        simulation.approve_persona(&id).await?;
        approved += 1;
    }
    Ok(approved)
}

/// The ids of the pending personas.
async fn pending(simulation: &SimulationClient) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    let mut request = PageRequest::first(PAGE as usize);
    loop {
        let page = simulation.personas(request.clone()).await?.into_value();
        let next = page.following(&request);
        let pending = page.data.iter().filter(|persona| persona.approval_status == ApprovalStatus::Pending);
        ids.extend(pending.map(|persona| persona.id.clone()));
        match next {
            Some(next) => request = next,
            None => return Ok(ids),
        }
    }
}

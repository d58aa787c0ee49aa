//! How many replies a second the table takes before DynamoDB throttles one of its partitions: a model, fed with the
//! calls that the code makes for whole conversations.
//!
//! DynamoDB gives one partition at most 1,000 write and 3,000 read units a second, and an index that cannot keep up
//! throttles the table's writes. The model leaves out what only helps: unused capacity of the last five minutes, and
//! the splitting of hot partitions. It assumes that the table has been warmed up, because a new one takes 4,000 writes
//! a second.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>,
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html#GSI.ThroughputConsiderations>

#![expect(clippy::print_stderr, reason = "the table is for people")]

use std::{collections::BTreeMap, fmt::Write as _};

use onerun_engine::Reply;
use onerun_tests::app::{Behavior, Load, TestApp};
use serde_json::{Value, json};

use super::units::{REPLIED, SAID, passes, say};
use crate::fixtures::{TestProject, data, text};

const WRITES: f64 = 1_000.0;
const READS: f64 = 3_000.0;

/// How much more the busiest of several partitions has than the average. Ids are hashed, and 10,000 over 8 partitions
/// differ by some per cent.
const UNEVEN: f64 = 1.2;

/// The replies of a conversation, and how many conversations are recorded.
const REPLIES: usize = 7;
const RECORDED: usize = 8;

/// Where the limit of a partition matters.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shared {
    /// By the conversations of a simulation, over this many partitions.
    Simulation(u32),
    /// By all conversations of the stack.
    Stack(u32),
    /// By nothing that other conversations do.
    Nobody,
}

/// The kind of a partition, and who shares it.
fn kind(partition: &str, project: &str, simulation: &str) -> (String, Shared) {
    let below = partition.strip_prefix(project).and_then(|rest| rest.strip_prefix('#'));
    let Some(below) = below else {
        return match partition.split('#').next().unwrap_or_default() {
            own if own == project => ("project".into(), Shared::Simulation(1)),
            "lease" => ("by-due: leases".into(), Shared::Stack(16)),
            // The template's number of shards.
            "job" => ("by-due: jobs".into(), Shared::Stack(16)),
            "jobs" => ("each job".into(), Shared::Nobody),
            "idempotency" => ("each idempotency record".into(), Shared::Nobody),
            // Searches of the tick, which do not depend on the number of replies.
            "expiry" | "end" | "deletion" | "monitor" => ("by-due: others".into(), Shared::Nobody),
            other => panic!("no such partition: {other}"),
        };
    };
    let rest = below.strip_prefix(simulation).map(|rest| rest.split('#').nth(1).unwrap_or_default());
    match rest {
        Some("") => ("simulation".into(), Shared::Simulation(1)),
        Some("shard") => ("shards of the simulation".into(), Shared::Simulation(8)),
        Some("queue") => ("queue of the simulation".into(), Shared::Simulation(1)),
        Some("usage") => ("usage of the simulation".into(), Shared::Simulation(4)),
        Some(_) => ("each conversation".into(), Shared::Nobody),
        None if below.starts_with("usage#") => ("usage of the project".into(), Shared::Simulation(4)),
        None => panic!("no such partition: {partition}"),
    }
}

/// The replies a second at which a partition is at its limit.
fn limit(load: Load, shared: Shared) -> Option<f64> {
    let partitions = match shared {
        Shared::Simulation(partitions) | Shared::Stack(partitions) => f64::from(partitions),
        Shared::Nobody => return None,
    };
    let uneven = if partitions > 1.0 { UNEVEN } else { 1.0 };
    Some(partitions / uneven / (load.writes / WRITES).max(load.reads / READS))
}

/// The chance that a transaction meets another one at its item and is cancelled, if each takes this long.
fn chance_of_conflict(transactions_a_second: f64, seconds: f64) -> f64 {
    1.0 - (-2.0 * transactions_a_second * seconds).exp()
}

/// The counter shards of a simulation of 10,000 conversations. Each conversation writes to one when it starts, ends and
/// is judged.
const COUNTER_SHARDS: f64 = 64.0;
const COUNTED: f64 = 3.0;

#[test]
fn limit_is_that_of_the_scarcer_unit() {
    let load = |writes, reads| Load { writes, reads };
    assert_eq!(limit(load(2.0, 0.0), Shared::Simulation(1)), Some(500.0));
    assert_eq!(limit(load(1.0, 6.0), Shared::Simulation(1)), Some(500.0));
    assert_eq!(limit(load(2.0, 0.0), Shared::Stack(12)), Some(5_000.0));
    assert_eq!(limit(load(9.0, 0.0), Shared::Nobody), None);
}

#[tokio::test]
async fn table_takes_two_thousand_replies_a_second_in_one_simulation() {
    let (app, meter) = TestApp::metered().await;
    app.model().on_reply(Behavior::Says(Reply { text: Some(REPLIED.into()), ends: false }));
    app.model().on_judge(passes());
    let project = TestProject::open(&app).await;
    let objective = project.objective("Is kind", "The agent is kind.").await;
    let wanted = json!({ "objective_ids": [objective], "target_conversations": 64, "max_turns": 200 });
    let simulation = project.create(wanted).await;
    app.run_jobs().await;
    // The first claim notes that the agent's worker is there.
    let claim = async |limit: usize| {
        let body = json!({ "agent_ids": [project.agent], "limit": limit });
        data(&project.client.post(&project.path("/conversations/claim"), &body, 200).await).clone()
    };
    claim(1).await;
    meter.take_loads();
    let claimed: Vec<Value> = claim(RECORDED).await;
    assert_eq!(claimed.len(), RECORDED);
    let id = |one: &Value| text(one, "conversation_id");
    let conversations = claimed.iter().map(|one| project.test_conversation(&simulation, &id(one)));
    for conversation in conversations {
        say(&conversation, "opening", None).await;
        for number in 1..REPLIES {
            say(&conversation, &number.to_string(), Some(SAID)).await;
        }
        conversation.end(200).await;
    }
    app.run_jobs().await;

    let mut kinds: BTreeMap<String, (Shared, Load)> = BTreeMap::new();
    for (partition, load) in meter.take_loads() {
        let (kind, shared) = kind(&partition, &project.id, &simulation);
        let sum = &mut kinds.entry(kind).or_insert((shared, Load::default())).1;
        sum.writes += load.writes / (RECORDED * REPLIES) as f64;
        // On AWS the tick alone reads the index, once a minute. This application searches it for each job.
        if !matches!(shared, Shared::Stack(_)) {
            sum.reads += load.reads / (RECORDED * REPLIES) as f64;
        }
    }
    let mut table =
        format!("{:26} {:>12} {:>12} {:>14}\n", "units for a reply", "writes", "reads", "replies a s");
    let (mut of_simulation, mut of_stack) = (f64::INFINITY, f64::INFINITY);
    for (kind, (shared, load)) in &kinds {
        let most = limit(*load, *shared);
        let told = most.map_or_else(|| "no limit".to_owned(), |most| format!("{most:.0}"));
        // Writing to a `String` cannot fail.
        let _ = writeln!(table, "{kind:26} {:12.2} {:12.2} {told:>14}", load.writes, load.reads);
        match shared {
            Shared::Simulation(_) => of_simulation = of_simulation.min(most.unwrap_or(f64::INFINITY)),
            Shared::Stack(_) => of_stack = of_stack.min(most.unwrap_or(f64::INFINITY)),
            Shared::Nobody => {}
        }
    }
    let transactions = 2_000.0 / REPLIES as f64 * COUNTED / COUNTER_SHARDS;
    let conflicts = 100.0 * chance_of_conflict(transactions, 0.01);
    let _ = writeln!(
        table,
        "2,000 replies a second: {transactions:.0} transactions a second at a counter shard, of which {conflicts:.0}% \
         meet another one if each takes 10 ms"
    );
    eprintln!("{table}");
    assert!(of_simulation >= 2_000.0, "one simulation takes {of_simulation:.0} replies a second:\n{table}");
    assert!(of_stack >= 20_000.0, "the stack takes {of_stack:.0} replies a second:\n{table}");
}

//! Compares the times and the consumption of operations on two designs of the table: see `bench/README.md`.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints its figures, and stops at a failure"
)]

use std::{env, ffi::OsStr, process::Stdio, time::Duration};

use onerun_tests::app::{Meter, Units};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
};

/// The delay that is added to each call to DynamoDB, as a network adds it.
const LATENCY: Duration = Duration::from_millis(3);

/// How often both designs take turns.
const ROUNDS: usize = 3;

/// One operation on one design.
#[derive(Clone, Debug, Default)]
struct Row {
    name: String,
    milliseconds: Vec<f64>,
    rounds: Vec<f64>,
    writes: Vec<f64>,
    reads: Vec<f64>,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    #[expect(clippy::disallowed_methods, reason = "the variable names the database, as in tests")]
    let endpoint = env::var("ONERUN_TEST_DYNAMODB").ok();
    let ([old, new], Some(endpoint)) = (&arguments[..], endpoint) else {
        println!("usage: tools/dynamodb.sh run bench_table OLD NEW, two builds of bench_table_operations");
        return;
    };
    let mut designs = [(old, Vec::new()), (new, Vec::new())];
    for _ in 0..ROUNDS {
        for (program, rows) in &mut designs {
            let meter = Meter::with_latency(&endpoint, LATENCY).await;
            run(program, &meter, |name, milliseconds, units| {
                let row = row(rows, name);
                row.milliseconds.push(milliseconds);
                row.rounds.push(f64::from(units.rounds));
            })
            .await;
        }
    }
    for (program, rows) in &mut designs {
        let meter = Meter::start(&endpoint).await;
        run(program, &meter, |name, _, units| {
            let row = row(rows, name);
            row.writes.push(f64::from(units.writes));
            row.reads.push(units.reads);
        })
        .await;
    }
    let [(_, old), (_, new)] = designs;
    print(&old, &new);
}

/// Runs the operations of one build through a meter.
async fn run(program: &OsStr, meter: &Meter, mut measured: impl FnMut(&str, f64, Units)) {
    let mut child = Command::new(program)
        .env("ONERUN_TEST_DYNAMODB", meter.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("a pipe");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    while let Some(line) = lines.next_line().await.expect("lines of text") {
        let (microseconds, name) = line.split_once(' ').expect("a time and a name");
        let units = meter.take();
        if name != "ready" {
            let microseconds: u32 = microseconds.parse().expect("a number");
            measured(name, f64::from(microseconds) / 1_000.0, units);
        }
        input.write_all(b"\n").await.expect("the program listens");
    }
    assert!(child.wait().await.expect("the program ends").success(), "{}", program.display());
}

fn row<'a>(rows: &'a mut Vec<Row>, name: &str) -> &'a mut Row {
    let index = rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
        rows.push(Row { name: name.to_owned(), ..Row::default() });
        rows.len() - 1
    });
    &mut rows[index]
}

/// Prints the table of `bench/README.md`.
fn print(old: &[Row], new: &[Row]) {
    println!(
        "| operation | old, ms | new, ms | old, round trips | new | old, write units | new | old, read units | new |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (old, new) in old.iter().zip(new) {
        assert_eq!(old.name, new.name, "operations in the same order");
        let cell = |values: fn(&Row) -> &[f64], digits: usize| {
            let [old, new] = [old, new].map(|row| median(values(row)));
            format!("{old:.digits$} | {new:.digits$}")
        };
        let cells = [
            cell(|row| &row.milliseconds, 1),
            cell(|row| &row.rounds, 0),
            cell(|row| &row.writes, 0),
            cell(|row| &row.reads, 1),
        ];
        println!("| {} | {} |", old.name, cells.join(" | "));
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

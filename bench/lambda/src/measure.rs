//! Starts functions in turns and records the cost of each start.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde::Serialize;

use crate::{
    Paths,
    aws::Endpoints,
    function::{Function, Kind},
    process::{Share, Starter},
    record::{Recording, read},
    runtime_api::Environment,
};

/// A function's share of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// The whole core.
    Full,
    /// 7% from the start: the share of a function of 128 MB.
    Share,
    /// The whole core until the first poll, then 7%. Lambda gives initialisation a whole core.
    InitFull,
}

/// One start of a function, in microseconds and KiB.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    /// From the start to the first poll.
    pub(crate) init_cpu: f64,
    pub(crate) init_wall: f64,
    /// From the start to the first reply.
    pub(crate) first_cpu: f64,
    pub(crate) first_wall: f64,
    /// From the first event to its reply.
    pub(crate) invocation_wall: f64,
    /// A later invocation: mean CPU time to the next poll, and median wall time to the reply.
    pub(crate) warm_cpu: f64,
    pub(crate) warm_wall: f64,
    /// The peak resident memory.
    pub(crate) peak_kib: f64,
}

/// The measurement of one function in one mode.
#[derive(Serialize)]
pub(crate) struct Series {
    pub(crate) function: String,
    pub(crate) mode: Mode,
    /// AWS calls by operation in one start with all its invocations, and the number of those
    /// invocations.
    pub(crate) calls: BTreeMap<String, u32>,
    pub(crate) invocations: u32,
    pub(crate) samples: Vec<Sample>,
}

/// The numbers of repetitions.
pub(crate) struct Plan {
    /// Starts of each function on a full core.
    pub(crate) starts: u32,
    /// Starts of each function at 7%.
    pub(crate) slow_starts: u32,
    /// Starts of a Python function at 7%, each of which takes tens of seconds.
    pub(crate) slow_python_starts: u32,
    /// Later invocations on a full core; at 7%, a fifth of them.
    pub(crate) warm: u32,
}

impl Plan {
    fn warm(&self, mode: Mode) -> u32 {
        if mode == Mode::Full { self.warm } else { self.warm / 5 }
    }
}

struct Bench<'a> {
    places: &'a Paths,
    recording: &'a Recording,
    aws: Endpoints,
    full: Starter,
    share: Option<(Share, Starter)>,
}

/// Measures functions. Each round starts every function once, so that disturbances affect all
/// alike.
pub(crate) async fn measure(
    places: &Paths,
    recording: &Recording,
    functions: &[Function],
    plan: &Plan,
) -> Result<Vec<Series>> {
    let share = match Share::new().and_then(|share| Ok((Starter::new(places.core, Some(&share))?, share))) {
        Ok((starter, share)) => Some((share, starter)),
        Err(error) => {
            eprintln!("bench: nothing is measured at 7% of a core: {error:#}");
            None
        }
    };
    let backend = crate::aws::Backend::Recorded(std::sync::Arc::default());
    let bench = Bench {
        places,
        recording,
        aws: Endpoints::start(&places.certificates, &recording.key, backend).await?,
        full: Starter::new(places.core, None)?,
        share,
    };
    let mut series = Vec::new();
    for mode in [Mode::Full, Mode::Share, Mode::InitFull] {
        if mode != Mode::Full && bench.share.is_none() {
            continue;
        }
        let mut all: Vec<Series> = functions
            .iter()
            .map(|function| Series {
                function: function.name(),
                mode,
                calls: BTreeMap::new(),
                invocations: 1 + plan.warm(mode),
                samples: Vec::new(),
            })
            .collect();
        let rounds = if mode == Mode::Full { plan.starts } else { plan.slow_starts };
        // Each function's first start finds its files uncached and is left out.
        for round in 0..=rounds {
            for (function, series) in functions.iter().zip(&mut all) {
                let slow = mode != Mode::Full && function.kind == Kind::Python;
                if slow && round > plan.slow_python_starts {
                    continue;
                }
                let sample = bench.start(function, mode, plan.warm(mode)).await;
                let sample =
                    sample.with_context(|| format!("{}\n{}", function.name(), function.logged(places)))?;
                series.calls = bench.aws.take_counts();
                if round > 0 {
                    series.samples.push(sample);
                }
            }
            eprintln!("bench: {mode:?}: {round} of {rounds}");
        }
        series.extend(all);
    }
    Ok(series)
}

impl Bench<'_> {
    async fn start(&self, function: &Function, mode: Mode, warm: u32) -> Result<Sample> {
        let tape = self.recording.tapes.get(&function.tape()).cloned().unwrap_or_default();
        self.aws.play(tape);
        let event = self.recording.events.get(function.operation).context("no event")?;
        let event = Bytes::from(event.to_string());

        let mut environment = Environment::listen().await?;
        let command = function.command(self.places, &environment, &self.aws)?;
        if mode != Mode::Full {
            // Waits until the previous process's excess over the share is repaid.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let starter = match (mode, &self.share) {
            (Mode::Share, Some((_, starter))) => starter,
            _ => &self.full,
        };
        environment.hold(starter.start(command)?);
        let init = environment.polled().await?;
        let started = environment.process()?.started;
        if let (Mode::InitFull, Some((share, _))) = (mode, &self.share) {
            share.take(environment.process()?)?;
        }
        let first = environment.invoke(&event).await?;
        let invocation_wall = first.answered.at - first.sent;
        if read(&first.answer)?.0 != 200 {
            bail!("it answered {}", String::from_utf8_lossy(&first.answer));
        }
        let mut walls = Vec::new();
        let mut polled = first.polled;
        for _ in 0..warm {
            let next = environment.invoke(&event).await?;
            if read(&next.answer)?.0 != 200 {
                bail!("it answered {}", String::from_utf8_lossy(&next.answer));
            }
            walls.push(micros(next.answered.at - next.sent));
            polled = next.polled;
        }
        let sample = Sample {
            init_cpu: micros(init.cpu),
            init_wall: micros(init.at - started),
            first_cpu: micros(first.answered.cpu),
            first_wall: micros(init.at - started) + micros(invocation_wall),
            invocation_wall: micros(invocation_wall),
            warm_cpu: micros(polled.cpu.saturating_sub(first.polled.cpu)) / f64::from(warm.max(1)),
            warm_wall: median(walls),
            peak_kib: environment.process()?.peak_memory_kib()? as f64,
        };
        environment.end()?;
        Ok(sample)
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The median; 0 without values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.as_slice() {
        [] => 0.0,
        values if values.len() % 2 == 1 => values[middle],
        values => f64::midpoint(values[middle - 1], values[middle]),
    }
}

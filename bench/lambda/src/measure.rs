//! Starts functions in turns and notes what each start took.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde::Serialize;

use crate::{
    Places,
    aws::Aws,
    function::{Function, Kind},
    process::{Share, Starter},
    record::{Recording, read},
    runtime_api::Environment,
};

/// How much of a core a function has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// All of it.
    Full,
    /// 7%, a function of 128 MB's share, from its start.
    Share,
    /// All of it until it polls for the first time, then 7%: what Lambda does, which gives initialisation a whole core.
    InitFull,
}

/// One start of a function, in microseconds and KiB.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    /// From its start until it polled for the first time.
    pub(crate) init_cpu: f64,
    pub(crate) init_wall: f64,
    /// From its start until its first answer.
    pub(crate) first_cpu: f64,
    pub(crate) first_wall: f64,
    /// From the first event until its answer.
    pub(crate) invocation_wall: f64,
    /// An invocation after that: CPU on average, to the next poll; wall in the median, to the answer.
    pub(crate) warm_cpu: f64,
    pub(crate) warm_wall: f64,
    /// The most memory that was resident.
    pub(crate) peak_kib: f64,
}

/// What was measured of one function in one mode.
#[derive(Serialize)]
pub(crate) struct Series {
    pub(crate) function: String,
    pub(crate) mode: Mode,
    /// How often which operation of AWS was called by one start and all its invocations; and how many those were.
    pub(crate) calls: BTreeMap<String, u32>,
    pub(crate) invocations: u32,
    pub(crate) samples: Vec<Sample>,
}

/// How often what is done.
pub(crate) struct Plan {
    /// Starts of each function on a full core.
    pub(crate) starts: u32,
    /// Starts of each function at 7%.
    pub(crate) slow_starts: u32,
    /// Starts of a function in Python at 7%, where each takes some tens of seconds.
    pub(crate) slow_python_starts: u32,
    /// Invocations after the first on a full core, and, a fifth of them, at 7%.
    pub(crate) warm: u32,
}

impl Plan {
    fn warm(&self, mode: Mode) -> u32 {
        if mode == Mode::Full { self.warm } else { self.warm / 5 }
    }
}

struct Bench<'a> {
    places: &'a Places,
    recording: &'a Recording,
    aws: Aws,
    full: Starter,
    share: Option<(Share, Starter)>,
}

/// Measures functions. Each round starts every function once, so that whatever else the machine does meets all alike.
pub(crate) async fn measure(
    places: &Places,
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
    let behind = crate::aws::Behind::Kept(std::sync::Arc::default());
    let bench = Bench {
        places,
        recording,
        aws: Aws::start(&places.certificates, &recording.key, behind).await?,
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
        // The first start of each finds its files cold, and is left out.
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
            // What the last one overdrew of the share is made up for by then.
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

/// The middle one; 0 of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.as_slice() {
        [] => 0.0,
        values if values.len() % 2 == 1 => values[middle],
        values => f64::midpoint(values[middle - 1], values[middle]),
    }
}

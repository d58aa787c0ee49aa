//! The figures as tables for `bench/README.md`.

use std::{collections::BTreeMap, fmt::Write, fs};

use anyhow::Result;
use serde::Deserialize;

use crate::{
    Paths,
    function::Function,
    measure::{Mode, Sample, Series, median},
};

/// The deployed size in bytes.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Size {
    size: f64,
    zip: f64,
}

/// All tables.
pub(crate) fn tables(places: &Paths, functions: &[Function], all: &[Series]) -> Result<String> {
    let sizes: BTreeMap<String, Size> = serde_json::from_slice(&fs::read(places.out.join("sizes.json"))?)?;
    let of =
        |name: &str, mode: Mode| all.iter().find(|series| series.function == name && series.mode == mode);
    let middle = |name: &str, mode: Mode, figure: fn(&Sample) -> f64| {
        of(name, mode).map_or(0.0, |series| median(series.samples.iter().map(figure).collect()))
    };
    let mut text = String::new();

    writeln!(text, "On a full core, {}:\n", starts(all, Mode::Full))?;
    writeln!(
        text,
        "| function | start to first poll, CPU ms | start to first answer, CPU ms | wall ms | times hello's CPU \
         | warm, CPU µs | warm, wall µs | peak MiB | binary MB | zip MB |"
    )?;
    writeln!(text, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    for function in functions {
        let name = function.name();
        let figure = |figure| middle(&name, Mode::Full, figure);
        let hello = middle(&hello(function), Mode::Full, |sample| sample.first_cpu);
        let size = sizes.get(&function.package()).copied().unwrap_or(Size { size: 0.0, zip: 0.0 });
        writeln!(
            text,
            "| {name} | {:.2} | {:.2} | {:.1} | {:.1} | {:.0} | {:.0} | {:.1} | {:.2} | {:.2} |",
            figure(|sample| sample.init_cpu) / 1e3,
            figure(|sample| sample.first_cpu) / 1e3,
            figure(|sample| sample.first_wall) / 1e3,
            figure(|sample| sample.first_cpu) / hello,
            figure(|sample| sample.warm_cpu),
            figure(|sample| sample.warm_wall),
            figure(|sample| sample.peak_kib) / 1024.0,
            size.size / 1e6,
            size.zip / 1e6,
        )?;
    }

    if all.iter().any(|series| series.mode == Mode::Share) {
        writeln!(text, "\nAt 7% of a core, {}:\n", starts(all, Mode::Share))?;
        writeln!(
            text,
            "| function | start to first answer, CPU ms | wall ms | warm, wall ms \
             | initialised at full speed: start to first poll, wall ms | then first event to answer, wall ms | together |"
        )?;
        writeln!(text, "|---|---:|---:|---:|---:|---:|---:|")?;
        for function in functions {
            let name = function.name();
            let figure = |mode, figure| middle(&name, mode, figure);
            writeln!(
                text,
                "| {name} | {:.2} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} |",
                figure(Mode::Share, |sample| sample.first_cpu) / 1e3,
                figure(Mode::Share, |sample| sample.first_wall) / 1e3,
                figure(Mode::Share, |sample| sample.warm_wall) / 1e3,
                figure(Mode::InitFull, |sample| sample.init_wall) / 1e3,
                figure(Mode::InitFull, |sample| sample.invocation_wall) / 1e3,
                figure(Mode::InitFull, |sample| sample.first_wall) / 1e3,
            )?;
        }
    }

    writeln!(text, "\nPython takes, for the same operation, times:\n")?;
    writeln!(
        text,
        "| operation | build | CPU to first answer | wall | at 7%, wall | warm CPU | peak memory |"
    )?;
    writeln!(text, "|---|---|---:|---:|---:|---:|---:|")?;
    for function in functions {
        let python = format!("python/{}", function.operation);
        if function.build == "python" || of(&python, Mode::Full).is_none() {
            continue;
        }
        let times = |mode, figure| middle(&python, mode, figure) / middle(&function.name(), mode, figure);
        writeln!(
            text,
            "| {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} |",
            function.operation,
            function.build,
            times(Mode::Full, |sample| sample.first_cpu),
            times(Mode::Full, |sample| sample.first_wall),
            times(Mode::Share, |sample| sample.first_wall),
            times(Mode::Full, |sample| sample.warm_cpu),
            times(Mode::Full, |sample| sample.peak_kib),
        )?;
    }

    writeln!(text, "\nCalls of AWS by one start and its invocations on a full core:\n")?;
    for series in all.iter().filter(|series| series.mode == Mode::Full && !series.calls.is_empty()) {
        let calls: Vec<_> = series.calls.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(text, "- {}: {} in {} invocations", series.function, calls.join(", "), series.invocations)?;
    }
    Ok(text)
}

/// The baseline of a function: hello world of the same build, or the smaller one.
fn hello(function: &Function) -> String {
    let build = if function.build == "python" { crate::DEPLOY } else { function.build };
    format!("{build}/hello")
}

fn starts(all: &[Series], mode: Mode) -> String {
    let counts = all.iter().filter(|series| series.mode == mode).map(|series| series.samples.len());
    match (counts.clone().min(), counts.max()) {
        (Some(least), Some(most)) if least != most => {
            format!("medians of {most} starts each ({least} in Python)")
        }
        (_, most) => format!("medians of {} starts each", most.unwrap_or(0)),
    }
}

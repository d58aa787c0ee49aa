//! The progress of a run: a live table on a terminal, otherwise a line now and then.

use std::io::{self, IsTerminal};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Duration, Instant};

use super::plan::RunPlan;
use crate::{
    output,
    text::{count, plain},
};

/// With more cases, one bar shows them together.
const MAX_BARS: usize = 15;

/// A line is printed after this share of the conversations, or after this time.
const STEPS: u64 = 10;
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// The settled conversations of each case.
pub(crate) struct Progress {
    /// Settled and planned conversations, by the places of the simulations.
    cases: Vec<(u64, u64)>,
    started: Instant,
    display: Display,
}

enum Display {
    Bars(Vec<ProgressBar>),
    Bar(ProgressBar),
    Lines { step: u64, at: Instant },
    Hidden,
}

impl Progress {
    /// Shows bars if standard error is a terminal and this is not CI, else lines.
    pub(crate) fn new(plan: &RunPlan, is_quiet: bool, is_ci: bool) -> Self {
        let cases: Vec<(u64, u64)> =
            plan.simulations.iter().map(|simulation| (0, simulation.conversations.into())).collect();
        let display = if is_quiet {
            Display::Hidden
        } else if io::stderr().is_terminal() && !is_ci {
            bars(plan)
        } else {
            Display::Lines { step: 0, at: Instant::now() }
        };
        Self { cases, started: Instant::now(), display }
    }

    /// Whether the numbers are shown at all.
    pub(crate) fn is_shown(&self) -> bool {
        !matches!(self.display, Display::Hidden)
    }

    /// Sets the number of settled conversations of a case.
    pub(crate) fn set(&mut self, place: usize, settled: u64, is_over: bool) {
        if let Some((known, planned)) = self.cases.get_mut(place) {
            *known = settled.min(*planned);
            if let Display::Bars(bars) = &self.display
                && let Some(bar) = bars.get(place)
            {
                bar.set_position(*known);
                if is_over {
                    bar.abandon();
                }
            }
        }
    }

    /// Shows the current numbers.
    pub(crate) fn show(&mut self) {
        let (settled, planned) =
            self.cases.iter().fold((0, 0), |(settled, planned), one| (settled + one.0, planned + one.1));
        match &mut self.display {
            Display::Bar(bar) => bar.set_position(settled),
            Display::Lines { step, at } => {
                let now = settled * STEPS / planned.max(1);
                if now > *step || at.elapsed() >= LINE_INTERVAL {
                    (*step, *at) = (now, Instant::now());
                    let elapsed = self.started.elapsed().as_secs();
                    output::print_note(&format!(
                        "{settled} of {} judged or failed after {elapsed} s\n",
                        count(planned, "conversation")
                    ));
                }
            }
            Display::Bars(_) | Display::Hidden => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        match &self.display {
            Display::Bars(bars) => bars.iter().for_each(ProgressBar::finish_and_clear),
            Display::Bar(bar) => bar.finish_and_clear(),
            Display::Lines { .. } | Display::Hidden => {}
        }
    }
}

fn bars(plan: &RunPlan) -> Display {
    let style = |template: &str| {
        // A wrong template is a bug, but no reason to end a run.
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
    };
    if plan.simulations.len() > MAX_BARS {
        let bar = ProgressBar::with_draw_target(Some(plan.conversations()), ProgressDrawTarget::stderr());
        return Display::Bar(bar.with_style(style("{bar:30} {pos} of {len} conversations, {elapsed}")));
    }
    let width = plan.simulations.iter().map(|one| one.case.len()).max().unwrap_or_default().min(40);
    let style = style(&format!("{{prefix:{width}}} {{bar:24}} {{pos}} of {{len}}, {{elapsed}}"));
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    let bars = plan.simulations.iter().map(|simulation| {
        let bar = all.add(ProgressBar::new(simulation.conversations.into()));
        bar.with_style(style.clone()).with_prefix(plain(&simulation.case))
    });
    Display::Bars(bars.collect())
}

//! Alerts of monitors: a sequential test of whether the pass rate has dropped.
//!
//! The test is the cumulative sum of log-likelihood ratios (CUSUM) of a binomial rate. Each judged conversation moves
//! the score by the logarithm of how much more likely its outcome is at the low rate than at the expected one. An alert
//! opens when the score exceeds a threshold, and ends when the same sum in the other direction exceeds another one. So
//! one bad run of a few conversations opens no alert, and a small drop does as soon as there is evidence enough.
//!
//! Source: E. S. Page, "Continuous Inspection Schemes", Biometrika 41 (1954); M. R. Reynolds and Z. G. Stoumbos, "A
//! CUSUM Chart for Monitoring a Proportion When Inspecting Continuously", Journal of Quality Technology 31 (1999).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{MonitorRun, MonitorRunId, RunOutcomes};

/// The score above which an alert opens. At the expected rate, it takes more than 8,760 runs on average, which is a
/// year of hourly runs.
const ALERT_THRESHOLD: f64 = 8.0;

/// The score above which an alert ends.
const RECOVERY_THRESHOLD: f64 = 4.0;

/// Why two rates were refused. The message completes a sentence that starts with the field's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlertRatesError {
    /// The expected rate.
    #[error("must be a number from 0.02 to 0.999, such as `0.9`")]
    Expected,
    /// The low rate.
    #[error("must be at least 0.01, and at least 0.01 below `expected_pass_rate`")]
    Low,
}

/// The rates that an alert tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertRates {
    /// The pass rate of the agent as it should be.
    expected_pass_rate: f64,
    /// The lower pass rate that an alert must notice.
    low_pass_rate: f64,
}

impl AlertRates {
    /// Parses the rates. The expected rate is below 1, because a single failure would open an alert otherwise.
    pub fn parse(expected: f64, low: f64) -> Result<Self, AlertRatesError> {
        if !(0.02..=0.999).contains(&expected) {
            return Err(AlertRatesError::Expected);
        }
        // A rounding error must not refuse 0.9 and 0.89.
        if !(0.01..=expected - 0.01 + 1e-9).contains(&low) {
            return Err(AlertRatesError::Low);
        }
        Ok(Self { expected_pass_rate: expected, low_pass_rate: low })
    }

    /// The pass rate of the agent as it should be.
    pub fn expected(self) -> f64 {
        self.expected_pass_rate
    }

    /// The lower pass rate that an alert must notice.
    pub fn low(self) -> f64 {
        self.low_pass_rate
    }

    /// The logarithm of how much more likely these outcomes are at the low rate than at the expected one.
    fn evidence_of_drop(self, passed: u64, failed: u64) -> f64 {
        let (expected, low) = (self.expected_pass_rate, self.low_pass_rate);
        passed as f64 * (low / expected).ln() + failed as f64 * ((1.0 - low) / (1.0 - expected)).ln()
    }
}

/// Whether an alert is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertState {
    /// There is too little evidence of a drop.
    Ok,
    /// The pass rate has dropped.
    Alerting,
}

impl AlertState {
    /// Every state.
    pub const ALL: [Self; 2] = [Self::Ok, Self::Alerting];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Alerting => "alerting",
        }
    }
}

/// The effect of a run on an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertChange {
    /// The alert opened.
    Opened,
    /// The alert ended.
    Recovered,
}

impl AlertChange {
    /// Every change.
    pub const ALL: [Self; 2] = [Self::Opened, Self::Recovered];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Recovered => "recovered",
        }
    }
}

/// A run that opened or ended an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertEvent {
    /// Its effect.
    pub change: AlertChange,
    /// The run.
    pub run: MonitorRunId,
    /// The time for which the run was planned.
    pub planned_at: Timestamp,
}

/// The alert of a monitor after some of its runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    rates: AlertRates,
    state: AlertState,
    /// Towards the next change.
    score: f64,
    runs: usize,
    events: Vec<AlertEvent>,
}

impl Alert {
    /// The alert before the first run.
    pub fn new(rates: AlertRates) -> Self {
        Self { rates, state: AlertState::Ok, score: 0.0, runs: 0, events: Vec::new() }
    }

    /// The alert after these runs, the earliest first. A run without passed and failed conversations says nothing about
    /// the agent and is not counted.
    pub fn after<'a>(rates: AlertRates, runs: impl IntoIterator<Item = &'a MonitorRun>) -> Self {
        let mut alert = Self::new(rates);
        for run in runs {
            let Some(results) = &run.results else { continue };
            if let Some(change) = alert.count(results.outcomes) {
                alert.events.push(AlertEvent { change, run: run.id.clone(), planned_at: run.planned_at });
            }
        }
        alert
    }

    /// Counts a run.
    fn count(&mut self, outcomes: RunOutcomes) -> Option<AlertChange> {
        let RunOutcomes { passed, failed, .. } = outcomes;
        if passed + failed == 0 {
            return None;
        }
        self.runs += 1;
        let evidence = self.rates.evidence_of_drop(passed, failed);
        let (evidence, other, change) = match self.state {
            AlertState::Ok => (evidence, AlertState::Alerting, AlertChange::Opened),
            AlertState::Alerting => (-evidence, AlertState::Ok, AlertChange::Recovered),
        };
        self.score = (self.score + evidence).max(0.0);
        if self.score <= self.threshold() {
            return None;
        }
        self.state = other;
        self.score = 0.0;
        Some(change)
    }

    /// The rates that it tells apart.
    pub fn rates(&self) -> AlertRates {
        self.rates
    }

    /// Whether it is open.
    pub fn state(&self) -> AlertState {
        self.state
    }

    /// The evidence of the next change.
    pub fn score(&self) -> f64 {
        self.score
    }

    /// The score above which the next change happens.
    pub fn threshold(&self) -> f64 {
        match self.state {
            AlertState::Ok => ALERT_THRESHOLD,
            AlertState::Alerting => RECOVERY_THRESHOLD,
        }
    }

    /// The number of runs that were counted.
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// The runs that opened or ended an alert, the earliest first.
    pub fn events(&self) -> &[AlertEvent] {
        &self.events
    }
}

#[cfg(test)]
mod tests;

//! Metrics in log lines, in CloudWatch's embedded metric format.
//!
//! The line of a request or job names those of its members that are metrics, so a metric costs no call and no further
//! line. A log level above `INFO` drops these lines, and their metrics with them.
//!
//! | metric | unit | meaning | dimensions beside `stack` |
//! |---|---|---|---|
//! | `Requests` | Count | all requests | |
//! | `Latency` | Milliseconds | latency of requests | |
//! | `Faults` | Count | requests answered with a 5xx | |
//! | `Refusals` | Count | requests refused because of their credentials | none, and `cause` |
//! | `ModelFailures` | Count | requests and jobs that failed because of the model | |
//! | `Jobs` | Count | attempts of jobs | none, and `work` |
//! | `JobFailures` | Count | failed attempts | |
//! | `JobsBuried` | Count | buried jobs that were reported, at least once each | |

use onerun_api::REQUEST_TARGET;
use onerun_engine::JOB_TARGET;
use serde_json::{Map, Value, json};

/// The namespace of the metrics.
pub(super) const NAMESPACE: &str = "OneRun";

/// One metric of a log line.
pub(super) struct Metric {
    pub(super) name: &'static str,
    unit: &'static str,
    pub(super) value: Value,
    /// A second dimension, beside `stack`.
    by: Option<&'static str>,
}

impl Metric {
    fn count(name: &'static str) -> Self {
        Self { name, unit: "Count", value: 1.into(), by: None }
    }

    fn by(self, dimension: &'static str) -> Self {
        Self { by: Some(dimension), ..self }
    }

    pub(super) fn directive(&self) -> Value {
        let mut dimensions = vec![vec!["stack"]];
        dimensions.extend(self.by.map(|by| vec!["stack", by]));
        json!({
            "Namespace": NAMESPACE,
            "Dimensions": dimensions,
            "Metrics": [{ "Name": self.name, "Unit": self.unit }],
        })
    }
}

/// The metrics of a log line.
pub(super) fn metrics(target: &str, members: &Map<String, Value>) -> Vec<Metric> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let latency = || members.get("latency_us").and_then(Value::as_f64).map(|us| Value::from(us / 1_000.0));
    let mut metrics = Vec::new();
    match (target, text("message")) {
        (REQUEST_TARGET, Some("request")) => {
            metrics.push(Metric::count("Requests"));
            metrics.extend(latency().map(|value| Metric {
                name: "Latency",
                unit: "Milliseconds",
                value,
                by: None,
            }));
            let status = members.get("status").and_then(Value::as_u64).unwrap_or(0);
            let is_pending = text("code") == Some("turn_pending");
            if is_pending {
                metrics.push(Metric::count("PendingTurns"));
            }
            if status >= 500 && !is_pending {
                metrics.push(Metric::count("Faults"));
            }
            if members.get("refused") == Some(&Value::Bool(true)) {
                metrics.push(Metric::count("Refusals").by("cause"));
            }
            if text("code") == Some("model_unavailable") {
                metrics.push(Metric::count("ModelFailures"));
            }
        }
        (JOB_TARGET, Some("job")) => {
            metrics.push(Metric::count("Jobs").by("work"));
            if text("outcome") != Some("completed") {
                metrics.push(Metric::count("JobFailures"));
            }
            if members.get("model_failure") == Some(&Value::Bool(true)) {
                metrics.push(Metric::count("ModelFailures"));
            }
        }
        (JOB_TARGET, Some("buried job")) => metrics.push(Metric::count("JobsBuried")),
        _ => {}
    }
    metrics
}

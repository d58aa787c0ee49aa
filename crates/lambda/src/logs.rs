//! Logs on Lambda: JSON lines that are metrics, too.
//!
//! Lambda's log controls are honoured: `AWS_LAMBDA_LOG_LEVEL`, and `AWS_LAMBDA_LOG_FORMAT` with `JSON` or `Text`. A
//! line has the ids of its invocation and of its X-Ray trace. The line that a request leaves, and that of a job, also
//! say in CloudWatch's embedded metric format which of their members are metrics, so that counting costs no call and no
//! line of its own. A log level above `INFO` silences those lines, and their metrics with them.
//!
//! | metric | unit | what | dimensions beside `stack` |
//! |---|---|---|---|
//! | `Requests` | Count | requests | |
//! | `Latency` | Milliseconds | of requests | |
//! | `Faults` | Count | requests answered with a 5xx | |
//! | `Refusals` | Count | requests refused for their credentials | none, and `cause` |
//! | `ModelFailures` | Count | requests and jobs that a model failed | |
//! | `Jobs` | Count | tries of jobs | none, and `work` |
//! | `JobFailures` | Count | tries that failed | |
//! | `JobsGivenUp` | Count | jobs that were given up | |

use std::{fmt, io};

use jiff::Timestamp;
use onerun_domain::Clock;
use onerun_host::{SystemClock, Variables};
use serde_json::{Map, Value, json};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{JsonFields, Writer},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// The namespace of the metrics.
const NAMESPACE: &str = "OneRun";

/// How the targets of OneRun's own lines begin.
const OURS: &str = "onerun";

/// Where the line of a request comes from, and that of a job.
const REQUESTS: &str = "onerun_api::dispatch";
const JOBS: &str = "onerun_engine::jobs";

/// Where the runtime opens the span that the ids of an invocation are in.
const INVOCATIONS: &str = "lambda_runtime::layers";

/// Starts logging to standard output, which is where Lambda takes logs from.
pub(crate) fn start(variables: &Variables<'_>) {
    let level = level(variables.text("AWS_LAMBDA_LOG_LEVEL").as_deref());
    let is_json =
        variables.text("AWS_LAMBDA_LOG_FORMAT").is_none_or(|format| !format.eq_ignore_ascii_case("text"));
    let stack = variables.text("ONERUN_STACK").unwrap_or_else(|| "onerun".to_owned());
    // What the SDK and the runtime say below that are whole requests: keys and transcripts.
    let others = level.min(LevelFilter::INFO);
    let filter = Targets::new()
        .with_default(others)
        .with_target(OURS, level)
        // Nothing but the span of an invocation, which must be there for its lines to have its ids.
        .with_target(INVOCATIONS, LevelFilter::INFO);
    let layer = tracing_subscriber::fmt::layer()
        .fmt_fields(JsonFields::new())
        .event_format(Lines { stack, is_json })
        .with_writer(io::stdout)
        .with_filter(filter);
    // Only a second start in one process fails, and then logging is on.
    let _ = tracing_subscriber::registry().with(layer).try_init();
}

/// Lambda's level. It has `FATAL`, which is no level here.
fn level(text: Option<&str>) -> LevelFilter {
    match text.map(str::to_ascii_uppercase).as_deref() {
        Some("TRACE") => LevelFilter::TRACE,
        Some("DEBUG") => LevelFilter::DEBUG,
        Some("WARN") => LevelFilter::WARN,
        Some("ERROR" | "FATAL") => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    }
}

/// How a line is written.
struct Lines {
    stack: String,
    is_json: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut members = fields.0;
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            let Some(text) = extensions.get::<FormattedFields<N>>() else { continue };
            let Ok(Value::Object(found)) = serde_json::from_str(text) else { continue };
            for (name, value) in found {
                let name = match name.as_str() {
                    "requestId" => "request_id",
                    "xrayTraceId" => "trace_id",
                    _ => continue,
                };
                members.entry(name).or_insert(value);
            }
        }
        self.write(writer, *event.metadata().level(), event.metadata().target(), members, SystemClock.now())
    }
}

impl Lines {
    fn write(
        &self,
        mut writer: Writer<'_>,
        level: Level,
        target: &str,
        members: Map<String, Value>,
        now: Timestamp,
    ) -> fmt::Result {
        let metrics = metrics(target, &members);
        // Metrics are only found in JSON.
        if !self.is_json && metrics.is_empty() {
            let message = members.get("message").and_then(Value::as_str).unwrap_or_default();
            write!(writer, "{level} {target}: {message}")?;
            for (name, value) in members.iter().filter(|(name, _)| *name != "message") {
                write!(writer, " {name}={value}")?;
            }
            return writeln!(writer);
        }
        let mut line = Map::new();
        line.insert("timestamp".into(), format!("{now:.3}").into());
        line.insert("level".into(), level.as_str().into());
        line.insert("target".into(), target.into());
        line.extend(members);
        if !metrics.is_empty() {
            line.insert("stack".into(), self.stack.as_str().into());
            let directives: Vec<Value> = metrics.iter().map(Metric::directive).collect();
            let description = json!({ "Timestamp": now.as_millisecond(), "CloudWatchMetrics": directives });
            for metric in metrics {
                line.insert(metric.name.into(), metric.value);
            }
            line.insert("_aws".into(), description);
        }
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// A member of a line that CloudWatch counts.
struct Metric {
    name: &'static str,
    unit: &'static str,
    value: Value,
    /// The dimension that it is counted by besides.
    by: Option<&'static str>,
}

impl Metric {
    fn count(name: &'static str) -> Self {
        Self { name, unit: "Count", value: 1.into(), by: None }
    }

    fn by(self, dimension: &'static str) -> Self {
        Self { by: Some(dimension), ..self }
    }

    fn directive(&self) -> Value {
        let mut dimensions = vec![vec!["stack"]];
        dimensions.extend(self.by.map(|by| vec!["stack", by]));
        json!({
            "Namespace": NAMESPACE,
            "Dimensions": dimensions,
            "Metrics": [{ "Name": self.name, "Unit": self.unit }],
        })
    }
}

/// The metrics of a line.
fn metrics(target: &str, members: &Map<String, Value>) -> Vec<Metric> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let latency = || members.get("latency_us").and_then(Value::as_f64).map(|us| Value::from(us / 1_000.0));
    let mut metrics = Vec::new();
    match (target, text("message")) {
        (REQUESTS, Some("request")) => {
            metrics.push(Metric::count("Requests"));
            metrics.extend(latency().map(|value| Metric {
                name: "Latency",
                unit: "Milliseconds",
                value,
                by: None,
            }));
            let status = members.get("status").and_then(Value::as_u64).unwrap_or(0);
            if status >= 500 {
                metrics.push(Metric::count("Faults"));
            }
            if members.get("refused") == Some(&Value::Bool(true)) {
                metrics.push(Metric::count("Refusals").by("cause"));
            }
            if text("code") == Some("model_unavailable") {
                metrics.push(Metric::count("ModelFailures"));
            }
        }
        (JOBS, Some("job")) => {
            metrics.push(Metric::count("Jobs").by("work"));
            if text("outcome") != Some("done") {
                metrics.push(Metric::count("JobFailures"));
            }
            if text("outcome") == Some("given_up") {
                metrics.push(Metric::count("JobsGivenUp"));
            }
            if members.get("model_failure") == Some(&Value::Bool(true)) {
                metrics.push(Metric::count("ModelFailures"));
            }
        }
        _ => {}
    }
    metrics
}

/// The fields of an event as JSON.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}

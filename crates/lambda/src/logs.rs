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
use onerun_api::REQUEST_TARGET;
use onerun_domain::Clock;
use onerun_engine::JOB_TARGET;
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
        FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter,
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

/// Where the runtime opens the span that the ids of an invocation are in.
const INVOCATIONS: &str = "lambda_runtime::layers";

/// Starts logging to standard output, which is where Lambda takes logs from.
pub(crate) fn start(variables: &Variables<'_>) {
    // Only a second start in one process fails, and then logging is on.
    let _ = subscriber(variables, io::stdout).try_init();
}

fn subscriber<W>(variables: &Variables<'_>, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
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
        .with_writer(writer)
        .with_filter(filter);
    tracing_subscriber::registry().with(layer)
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
        (REQUEST_TARGET, Some("request")) => {
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
        (JOB_TARGET, Some("job")) => {
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn lines(is_json: bool) -> Lines {
        Lines { stack: "onerun-test".to_owned(), is_json }
    }

    fn written(lines: &Lines, target: &str, members: Value) -> String {
        let Value::Object(members) = members else { panic!("an object") };
        let mut text = String::new();
        let now = "2026-01-05T09:00:00.123456Z".parse().unwrap();
        lines.write(Writer::new(&mut text), Level::INFO, target, members, now).unwrap();
        text
    }

    fn line(target: &str, members: Value) -> Value {
        let text = written(&lines(true), target, members);
        assert!(text.ends_with('\n') && text.matches('\n').count() == 1, "{text:?}");
        serde_json::from_str(&text).unwrap()
    }

    /// Each metric of a line, with the names of its dimensions and its value, as CloudWatch reads it.
    fn metrics_of(line: &Value) -> Vec<String> {
        let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
        let told = directives.iter().flat_map(|directive| {
            assert_eq!(directive["Namespace"], NAMESPACE);
            let metric = &directive["Metrics"][0];
            let name = metric["Name"].as_str().unwrap();
            directive["Dimensions"].as_array().unwrap().iter().map(move |dimensions| {
                let values = dimensions.as_array().unwrap().iter().map(|name| &line[name.as_str().unwrap()]);
                let values: Vec<_> =
                    values.map(|value| value.as_str().expect("a dimension is a text")).collect();
                format!("{name} {} by {}", line[name], values.join(","))
            })
        });
        told.collect()
    }

    #[test]
    fn a_request_is_one_line_that_is_counted() {
        let line = line(
            REQUEST_TARGET,
            json!({
                "message": "request", "request_id": "r", "operation": "get_whoami", "status": 200,
                "latency_us": 1_500, "trace_id": "Root=1",
            }),
        );
        assert_eq!(line["timestamp"], "2026-01-05T09:00:00.123Z");
        assert_eq!(
            (&line["level"], &line["operation"], &line["trace_id"]),
            (&json!("INFO"), &json!("get_whoami"), &json!("Root=1"))
        );
        assert_eq!(line["_aws"]["Timestamp"], 1_767_603_600_123_i64);
        assert_eq!(metrics_of(&line), ["Requests 1 by onerun-test", "Latency 1.5 by onerun-test"]);
    }

    #[test]
    fn what_went_wrong_is_counted_by_cause() {
        let refused = line(
            REQUEST_TARGET,
            json!({"message": "request", "status": 401, "refused": true, "cause": "absent", "code": "missing_api_key"}),
        );
        assert_eq!(
            metrics_of(&refused),
            ["Requests 1 by onerun-test", "Refusals 1 by onerun-test", "Refusals 1 by onerun-test,absent"]
        );
        let failed = line(
            REQUEST_TARGET,
            json!({"message": "request", "status": 503, "code": "model_unavailable", "cause": "long text"}),
        );
        assert_eq!(
            metrics_of(&failed),
            ["Requests 1 by onerun-test", "Faults 1 by onerun-test", "ModelFailures 1 by onerun-test"]
        );
        let given_up = line(
            JOB_TARGET,
            json!({"message": "job", "work": "judge_conversation", "outcome": "given_up", "model_failure": true}),
        );
        assert_eq!(
            metrics_of(&given_up),
            [
                "Jobs 1 by onerun-test",
                "Jobs 1 by onerun-test,judge_conversation",
                "JobFailures 1 by onerun-test",
                "JobsGivenUp 1 by onerun-test",
                "ModelFailures 1 by onerun-test",
            ]
        );
        let done = line(JOB_TARGET, json!({"message": "job", "work": "start_simulation", "outcome": "done"}));
        assert_eq!(metrics_of(&done), ["Jobs 1 by onerun-test", "Jobs 1 by onerun-test,start_simulation"]);
    }

    #[test]
    fn other_lines_are_not_counted_and_need_not_be_json() {
        let other = json!({"message": "tick", "jobs": 2});
        assert!(line("onerun_lambda::jobs", other.clone()).get("_aws").is_none());
        assert_eq!(
            written(&lines(false), "onerun_lambda::jobs", other),
            "INFO onerun_lambda::jobs: tick jobs=2\n"
        );
        let request = written(&lines(false), REQUEST_TARGET, json!({"message": "request", "status": 200}));
        assert!(request.starts_with('{'), "metrics are found in JSON alone: {request}");
    }

    /// The lines that `log` leaves with these variables.
    fn logged(set: &[(&str, &str)], log: impl FnOnce()) -> Vec<Value> {
        let text = Arc::new(Mutex::new(Vec::new()));
        let variables = Variables::new(|name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        });
        let written = Arc::clone(&text);
        let writer = move || Written(Arc::clone(&written));
        tracing::subscriber::with_default(subscriber(&variables, writer), log);
        let text = text.lock().unwrap().clone();
        String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The span that the runtime opens for an invocation.
    fn in_an_invocation(log: impl FnOnce()) {
        let span = tracing::info_span!(
            target: "lambda_runtime::layers::trace",
            "Lambda runtime invoke",
            requestId = "r1",
            xrayTraceId = "Root=1-2"
        );
        span.in_scope(log);
    }

    #[test]
    fn a_line_has_the_ids_of_its_invocation_and_of_its_trace_at_any_level() {
        for level in ["INFO", "WARN", "ERROR"] {
            let lines = logged(&[("AWS_LAMBDA_LOG_LEVEL", level)], || {
                in_an_invocation(|| tracing::error!(status = 500, "request"));
            });
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert_eq!(lines[0]["request_id"], "r1");
            assert_eq!(lines[0]["trace_id"], "Root=1-2");
            assert_eq!((&lines[0]["level"], &lines[0]["status"]), (&json!("ERROR"), &json!(500)));
        }
    }

    #[test]
    fn a_level_silences_what_is_below_it_and_no_level_lets_dependencies_write_requests() {
        let log = || {
            tracing::info!("ours");
            tracing::trace!("ours in detail");
            tracing::info!(target: "aws_smithy_runtime::client", "theirs");
            tracing::debug!(target: "aws_smithy_runtime::client", "a whole request");
            tracing::trace!(target: "lambda_runtime::runtime", "a whole event");
        };
        let messages = |level: &'static str| {
            let lines = logged(&[("AWS_LAMBDA_LOG_LEVEL", level)], log);
            lines.iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(messages("TRACE"), ["ours", "ours in detail", "theirs"]);
        assert_eq!(messages("INFO"), ["ours", "theirs"]);
        assert!(messages("WARN").is_empty());
    }

    #[test]
    fn lambdas_levels_are_known() {
        for (text, expected) in [
            (None, LevelFilter::INFO),
            (Some("DEBUG"), LevelFilter::DEBUG),
            (Some("warn"), LevelFilter::WARN),
            (Some("FATAL"), LevelFilter::ERROR),
            (Some("loud"), LevelFilter::INFO),
        ] {
            assert_eq!(level(text), expected, "{text:?}");
        }
    }
}

use std::sync::{Arc, Mutex};

use onerun_api::REQUEST_TARGET;
use onerun_engine::JOB_TARGET;

use super::{metrics::NAMESPACE, *};

fn lines(is_json: bool) -> LineFormat {
    LineFormat { stack: "onerun-test".to_owned(), is_json }
}

fn written(lines: &LineFormat, target: &str, members: Value) -> String {
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

/// The metrics of a line as CloudWatch reads them: name, value and dimensions.
fn metrics_of(line: &Value) -> Vec<String> {
    let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
    let metrics = directives.iter().flat_map(|directive| {
        assert_eq!(directive["Namespace"], NAMESPACE);
        let metric = &directive["Metrics"][0];
        let name = metric["Name"].as_str().unwrap();
        directive["Dimensions"].as_array().unwrap().iter().map(move |dimensions| {
            let values = dimensions.as_array().unwrap().iter().map(|name| &line[name.as_str().unwrap()]);
            let values: Vec<_> = values.map(|value| value.as_str().expect("a dimension is a text")).collect();
            format!("{name} {} by {}", line[name], values.join(","))
        })
    });
    metrics.collect()
}

#[test]
fn request_line_has_metrics() {
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
fn failures_are_counted_by_cause() {
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
    let pending = line(REQUEST_TARGET, json!({"message": "request", "status": 503, "code": "turn_pending"}));
    assert_eq!(metrics_of(&pending), ["Requests 1 by onerun-test", "PendingTurns 1 by onerun-test"]);
    let buried = line(
        JOB_TARGET,
        json!({"message": "job", "work": "judge_conversation", "outcome": "buried", "model_failure": true}),
    );
    assert_eq!(
        metrics_of(&buried),
        [
            "Jobs 1 by onerun-test",
            "Jobs 1 by onerun-test,judge_conversation",
            "JobFailures 1 by onerun-test",
            "ModelFailures 1 by onerun-test",
        ]
    );
    let reported = line(JOB_TARGET, json!({"message": "buried job", "work": "judge_conversation"}));
    assert_eq!(metrics_of(&reported), ["JobsBuried 1 by onerun-test"]);
    let completed =
        line(JOB_TARGET, json!({"message": "job", "work": "start_simulation", "outcome": "completed"}));
    assert_eq!(metrics_of(&completed), ["Jobs 1 by onerun-test", "Jobs 1 by onerun-test,start_simulation"]);
}

#[test]
fn other_lines_have_no_metrics_and_may_be_text() {
    let other = json!({"message": "tick", "jobs": 2});
    assert!(line("onerun_lambda::jobs", other.clone()).get("_aws").is_none());
    assert_eq!(
        written(&lines(false), "onerun_lambda::jobs", other),
        "INFO onerun_lambda::jobs: tick jobs=2\n"
    );
    let request = written(&lines(false), REQUEST_TARGET, json!({"message": "request", "status": 200}));
    assert!(request.starts_with('{'), "CloudWatch finds metrics only in JSON: {request}");
}

/// The lines that `log` writes with these variables.
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

/// Runs `log` in the span that the runtime opens for an invocation.
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
fn line_has_the_ids_of_its_invocation_at_any_level() {
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
fn log_level_never_lets_dependencies_log_requests() {
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
fn log_levels_of_lambda_are_read() {
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

use serde_json::{Value, json};

use super::*;

fn parse(spec: Value) -> Result<TargetSpec, String> {
    serde_json::from_value(spec).map_err(|error| error.to_string())
}

#[test]
fn shortest_forms_are_accepted() {
    let TargetSpec::OpenAi(chat) =
        parse(json!({ "openai": { "url": "http://localhost:8000/v1", "model": "my-agent" } })).unwrap()
    else {
        panic!("not a chat API")
    };
    assert_eq!(chat.timeout_seconds.duration(), Duration::from_mins(1));
    let TargetSpec::Command(command) = parse(json!({ "command": ["python", "agent.py"] })).unwrap() else {
        panic!("not a command")
    };
    assert_eq!(command.run, ["python", "agent.py"]);
    let endpoint = json!({ "http": {
        "url": "https://example.com/chat",
        "body": { "message": "{{ message }}", "session": "{{ conversation_id }}", "history": "{{ messages }}" },
        "reply": "$.output.text",
    } });
    assert!(matches!(parse(endpoint).unwrap(), TargetSpec::Http(_)));
    assert_eq!(parse(json!("workers")).unwrap(), TargetSpec::Workers);
}

#[test]
fn complete_forms_are_accepted() {
    let command = json!({ "command": {
        "run": ["./agent"], "env": { "MODE": "test", "TOKEN": "${env:AGENT_TOKEN}" }, "cwd": "agents", "timeout_seconds": 5,
    } });
    let TargetSpec::Command(command) = parse(command).unwrap() else { panic!("not a command") };
    assert_eq!((command.env.len(), command.timeout_seconds), (2, Timeout(5)));
    let endpoint = json!({ "http": {
        "url": "${env:AGENT_URL}/chat", "method": "PUT", "headers": { "Authorization": "Bearer ${env:TOKEN}" },
        "body": [], "reply": "/text", "end": "/done", "timeout_seconds": 600,
    } });
    assert!(parse(endpoint).is_ok());
    let chat = json!({ "openai": {
        "url": "http://[::1]:1", "model": "m", "api_key_env": "KEY", "system": "Be brief.", "headers": {},
    } });
    assert!(parse(chat).is_ok());
}

#[test]
fn wrong_field_is_refused_with_the_next_step() {
    let http = |change: Value| {
        let mut spec = json!({ "url": "http://a", "body": {}, "reply": "$.text" });
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({ "http": spec })
    };
    for (spec, expected) in [
        (json!("worker"), "`worker` is not a kind of target: write `{openai: {url: …, model: …}}`"),
        (json!("http"), "`http` needs settings: write "),
        (json!({ "workers": {} }), "`workers` has no settings: write `target: workers`"),
        (json!({ "command": ["a"], "http": {} }), "a target has one kind"),
        (json!({ "\u{1b}[31m": 1 }), "`\\u{1b}[31m` is not a kind of target"),
        (json!({}), "the target is missing: write "),
        (json!({ "openai": "http://a" }), "expected an object with `url` and `model`"),
        (json!({ "openai": { "url": "http://a" } }), "missing field `model`"),
        (json!({ "openai": { "url": "http://a", "model": "m", "modle": 1 } }), "unknown field `modle`"),
        (json!({ "command": [] }), "must start with a program"),
        (json!({ "command": "python agent.py" }), "expected a list such as `[python, agent.py]`"),
        (
            json!({ "command": { "run": ["a"], "env": { "A-B": "" } } }),
            "`A-B` is not the name of an environment",
        ),
        (http(json!({ "url": "localhost:8000" })), "must start with http:// or https://"),
        (http(json!({ "url": "ftp://a/b" })), "must start with http:// or https://"),
        (http(json!({ "url": "http://user:hunter2@a" })), "must not have a user name or password"),
        (http(json!({ "method": "GET" })), "unknown variant `GET`"),
        (http(json!({ "headers": { "a b": "" } })), "`a b` is not the name of a header"),
        (http(json!({ "headers": { "a": "b\nc" } })), "the value of `a` is not one line of text"),
        (http(json!({ "headers": { "Content-Length": "1" } })), "`content-length` is set by onerun"),
        (http(json!({ "headers": { "a": "${env:}" } })), "`` is not the name of an environment variable"),
        (http(json!({ "body": { "a": "{{ mesage }}" } })), "`.a`: unknown variable `mesage`"),
        (http(json!({ "reply": "output.text" })), "write it as `$.output[0].text`"),
        (http(json!({ "timeout_seconds": 601 })), "must be from 1 to 600 seconds"),
        (http(json!({ "timeout_seconds": 0 })), "must be from 1 to 600 seconds"),
    ] {
        let error = parse(spec.clone()).unwrap_err();
        assert!(error.contains(expected), "{spec}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn schema_describes_every_form() {
    let schema = schemars::schema_for!(TargetSpec).to_value().to_string();
    for word in ["openai", "http", "command", "workers", "api_key_env", "reply", "run", "timeout_seconds"] {
        assert!(schema.contains(&format!("\"{word}\"")), "{word}: {schema}");
    }
}

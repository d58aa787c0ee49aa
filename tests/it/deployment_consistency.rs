//! The routes and the deployment agree: template, functions, events and OpenAPI document have the
//! same operations, and each function has exactly the rights that its route needs.

mod archive;
mod events;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use http::Method;
use onerun_api::{Handler, ROUTES, Route};
use onerun_auth::{Access, Scope};
use onerun_domain::ProjectId;
use onerun_tests::{
    aws,
    process::workspace,
    rights::Rights,
    template::{self, logical_id},
};
use serde_json::{Value, json};

/// Functions without a route.
const EVENT_FUNCTIONS: [&str; 6] =
    ["run_jobs", "run_outbound_jobs", "tick", "run_monitor", "archive_audit", "rotate_secret"];

fn operations() -> BTreeSet<&'static str> {
    ROUTES.iter().map(|route| route.operation).chain(EVENT_FUNCTIONS).collect()
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// The items of a list, or the single value in its place.
fn list(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |values| values.iter().collect())
}

struct Template(Value);

impl Template {
    fn read() -> Self {
        Self(template::read())
    }

    fn of_type(&self, kind: &str) -> BTreeMap<&str, &Value> {
        entries(&self.0["Resources"]).filter(|(_, resource)| resource["Type"] == kind).collect()
    }

    fn function(&self, operation: &str) -> &Value {
        let id = logical_id(operation);
        let found = &self.0["Resources"][&id];
        assert!(found.is_object(), "the template has no {id}");
        found
    }
}

fn set(actions: &[&str]) -> BTreeSet<String> {
    actions.iter().map(|action| (*action).to_owned()).collect()
}

#[test]
fn every_operation_has_its_own_function() {
    let template = Template::read();
    let functions: BTreeSet<_> =
        template.of_type("AWS::Serverless::Function").into_keys().map(str::to_owned).collect();
    assert_eq!(functions, operations().into_iter().map(logical_id).collect());
    for operation in operations() {
        let metadata = &template.function(operation)["Metadata"];
        assert_eq!(metadata["BuildMethod"], "rust-cargolambda", "{operation}");
        assert_eq!(metadata["BuildProperties"], json!({ "Binary": operation }));
    }
    let globals = &template.0["Globals"]["Function"];
    assert_eq!((&globals["CodeUri"], &globals["Handler"]), (&json!("functions/"), &json!("bootstrap")));
}

#[test]
fn every_route_invokes_exactly_its_function() {
    let template = Template::read();
    for route in ROUTES {
        let events: BTreeMap<_, _> =
            entries(&template.function(route.operation)["Properties"]["Events"]).collect();
        let api = |method: &Method| {
            let api = json!({ "ApiId": { "Ref": "HttpApi" }, "Method": method.as_str(), "Path": route.path });
            json!({ "Type": "HttpApi", "Properties": api })
        };
        let mut expected = BTreeMap::from([("Api", api(&route.method))]);
        // API Gateway needs a HEAD route beside each GET route.
        if route.method == Method::GET {
            expected.insert("Head", api(&Method::HEAD));
        }
        // The default route answers unknown paths.
        if route.operation == "get_health" {
            let properties = json!({ "ApiId": { "Ref": "HttpApi" } });
            expected.insert("Default", json!({ "Type": "HttpApi", "Properties": properties }));
        }
        let expected: BTreeMap<_, _> = expected.iter().map(|(name, event)| (*name, event)).collect();
        assert_eq!(events, expected, "{}", route.operation);
    }
    for operation in EVENT_FUNCTIONS {
        for (name, event) in entries(&template.function(operation)["Properties"]["Events"]) {
            assert_ne!(event["Type"], "HttpApi", "{operation} can be called by {name}");
        }
    }
    for (name, queue) in [("RunJobs", "JobQueue"), ("RunOutboundJobs", "OutboundQueue")] {
        let mapping = &template.0["Resources"][format!("{name}Mapping")]["Properties"];
        assert_eq!(mapping["FunctionName"], json!({ "Ref": format!("{name}Function") }));
        assert_eq!(mapping["EventSourceArn"], json!({ "Fn::GetAtt": [queue, "Arn"] }));
        assert_eq!(mapping["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]));
        assert_eq!(mapping["BatchSize"], 10);
    }
    let schedule = &template.function("tick")["Properties"]["Events"]["EveryMinute"];
    assert_eq!(schedule["Properties"]["ScheduleExpression"], "rate(1 minute)");
    let rotation = &template.0["Resources"]["SecretRotation"]["Properties"];
    assert_eq!(rotation["RotationLambdaARN"], json!({ "Fn::GetAtt": ["RotateSecretFunction", "Arn"] }));
}

#[test]
fn failed_first_deployment_leaves_nothing_behind() {
    let template = Template::read();
    let mut kept = BTreeSet::new();
    for (name, resource) in entries(&template.0["Resources"]) {
        match resource["DeletionPolicy"].as_str() {
            None => assert!(resource.get("UpdateReplacePolicy").is_none(), "{name}"),
            Some(policy) => {
                assert_eq!(policy, "RetainExceptOnCreate", "{name}");
                assert_eq!(resource["UpdateReplacePolicy"], "Retain", "{name}");
                kept.insert(name);
            }
        }
    }
    let expected = BTreeSet::from(["AuditBucket", "AuditBucketPolicy", "Key", "MasterKeySecret", "Table"]);
    assert_eq!(kept, expected, "what outlives a stack that was deleted");
    // CloudFormation cannot delete a protected table.
    let protection = &template.0["Parameters"]["TableDeletionProtection"];
    assert_eq!(protection["Default"], "false");
    let table = &template.0["Resources"]["Table"]["Properties"];
    assert_eq!(table["DeletionProtectionEnabled"], json!({ "Ref": "TableDeletionProtection" }));
}

#[test]
fn python_packages_are_locked_with_hashes() {
    let read = |path: &str| fs::read_to_string(workspace().join(path)).unwrap();
    let name = |pin: &str| pin.split(['=', '[', ' ']).next().unwrap().to_lowercase().replace(['_', '.'], "-");
    for lock in [
        "tools/requirements.lock",
        "tools/aws-requirements.lock",
        "bench/requirements.txt",
        "bench/lambda/requirements.txt",
    ] {
        let text = read(lock).replace("\\\n", "");
        let pins: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        for pin in &pins {
            assert!(pin.contains("==") && pin.contains("--hash=sha256:"), "{lock}: {pin}");
            assert!(!pin.contains("://"), "{lock} names a host: {pin}");
        }
        let locked: BTreeSet<String> = pins.iter().map(|pin| name(pin)).collect();
        let asked = read(&format!("{}.in", lock.rsplit_once('.').unwrap().0));
        for asked in asked.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            assert!(locked.contains(&name(asked)), "{lock} lacks {asked}");
        }
    }
    assert!(
        read("tools/install.sh").contains("pip install --quiet --disable-pip-version-check --require-hashes")
    );
}

#[test]
fn sam_deploys_only_the_built_template() {
    let config = fs::read_to_string(workspace().join("samconfig.toml")).unwrap();
    let deploy = config.split_once("[default.deploy.parameters]").unwrap().1;
    let deploy = deploy.split("\n[").next().unwrap();
    assert!(
        deploy.lines().any(|line| line == "template_file = \".aws-sam/build/template.yaml\""),
        "{deploy}"
    );
}

#[test]
fn function_reads_the_secret_only_if_it_checks_keys() {
    let rights = aws::Template::rights();
    let reads = set(&["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]);
    for route in ROUTES {
        let expected = if route.access == Access::Public { BTreeSet::new() } else { reads.clone() };
        assert_eq!(rights.actions(route.operation, "secretsmanager"), expected, "{}", route.operation);
    }
    for operation in ["run_jobs", "tick", "run_monitor", "archive_audit"] {
        assert!(!rights.may_read_secret(operation, "Secret"), "{operation}");
    }
    let rotates = set(&["secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"]);
    assert_eq!(rights.actions("rotate_secret", "secretsmanager"), &reads | &rotates);
}

#[test]
fn only_functions_with_models_have_their_keys_and_bedrock() {
    const WITH_MODELS: [&str; 2] = ["create_response", "run_jobs"];
    let (rights, without) = (aws::Template::rights(), aws::Template::rights_with(&[]));
    let template = Template::read();
    for operation in operations() {
        let calls_models = WITH_MODELS.contains(&operation);
        assert_eq!(rights.may_read_secret(operation, "ModelKeys"), calls_models, "{operation}");
        assert!(!without.may_read_secret(operation, "ModelKeys"), "{operation}");
        let invokes = if calls_models { set(&["bedrock:InvokeModel"]) } else { BTreeSet::new() };
        assert_eq!(rights.actions(operation, "bedrock"), invokes, "{operation}");
        assert_eq!(without.actions(operation, "bedrock"), BTreeSet::new(), "{operation}");
        let variables = &template.function(operation)["Properties"]["Environment"]["Variables"];
        for name in ["ONERUN_MODEL_KEYS_SECRET_ID", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"] {
            assert_eq!(variables.get(name).is_some(), calls_models, "{operation}: {name}");
        }
    }
}

#[test]
fn only_functions_with_a_reason_read_the_master_key() {
    const WITH_MASTER_KEY: [&str; 4] =
        ["create_webhook", "put_agent_endpoint", "rotate_webhook_secret", "run_outbound_jobs"];
    let (rights, template) = (aws::Template::rights(), Template::read());
    for operation in operations() {
        let needs_it = WITH_MASTER_KEY.contains(&operation);
        assert_eq!(rights.may_read_secret(operation, "MasterKeySecret"), needs_it, "{operation}");
        let variables = &template.function(operation)["Properties"]["Environment"]["Variables"];
        let expected = needs_it.then(|| json!({ "Ref": "MasterKeySecret" }));
        assert_eq!(variables.get("ONERUN_MASTER_KEY_SECRET_ID"), expected.as_ref(), "{operation}");
    }
}

#[test]
fn parameter_reaches_exactly_the_functions_that_use_it() {
    const WITH_MODELS: &[&str] = &["create_response", "run_jobs"];
    let template = Template::read();
    for (parameter, variable, functions) in [
        ("ModelConcurrency", "ONERUN_MODEL_CONCURRENCY", WITH_MODELS),
        ("ModelCallsPerMinute", "ONERUN_MODEL_CALLS_PER_MINUTE", WITH_MODELS),
        ("RedactPatterns", "ONERUN_REDACT", WITH_MODELS),
        ("JudgePersonaFaults", "ONERUN_JUDGE_PERSONA_FAULTS", &["run_jobs"]),
        ("RetentionDays", "ONERUN_RETENTION_DAYS", &["tick"]),
        ("AuditArchiveDays", "ONERUN_AUDIT_ARCHIVE_DAYS", &["archive_audit"]),
    ] {
        assert!(template.0["Parameters"][parameter]["Default"] != Value::Null, "{parameter}");
        for operation in operations() {
            let variables = &template.function(operation)["Properties"]["Environment"]["Variables"];
            let expected = functions.contains(&operation).then(|| json!({ "Ref": parameter }));
            assert_eq!(variables.get(variable), expected.as_ref(), "{operation}: {variable}");
        }
    }
    // Each function that creates or estimates a simulation knows the prices.
    let common = &template.0["Globals"]["Function"]["Environment"]["Variables"];
    assert_eq!(common["ONERUN_PRICES"], json!({ "Ref": "Prices" }));
}

#[test]
fn queue_hides_a_message_for_six_timeouts_of_its_function() {
    let template = Template::read();
    for (function, queue) in [("run_jobs", "JobQueue"), ("run_outbound_jobs", "OutboundQueue")] {
        let timeout = template.function(function)["Properties"]["Timeout"].as_u64();
        let hidden = &template.0["Resources"][queue]["Properties"]["VisibilityTimeout"];
        assert_eq!(hidden.as_u64(), timeout.map(|timeout| 6 * timeout));
    }
}

#[test]
fn one_reader_of_the_stream_carries_all_jobs() {
    let template = Template::read();
    let stream = json!({ "Fn::GetAtt": ["Table", "StreamArn"] });
    let readers: Vec<_> = entries(&template.0["Resources"])
        .filter(|(_, resource)| {
            let properties = &resource["Properties"];
            [&properties["Source"], &properties["EventSourceArn"]].contains(&&stream)
        })
        .collect();
    assert_eq!(readers.len(), 1, "{readers:?}");
    let (name, pipe) = readers[0];
    assert_eq!((name, &pipe["Type"]), ("JobPipe", &json!("AWS::Pipes::Pipe")));
    // Its role is for this pipe alone.
    let named = pipe["Properties"]["Name"]["Fn::Sub"].as_str().expect("a name");
    let role = &template.0["Resources"]["PipeRole"]["Properties"]["AssumeRolePolicyDocument"];
    let source = &role["Statement"][0]["Condition"]["StringEquals"]["aws:SourceArn"]["Fn::Sub"];
    assert!(source.as_str().is_some_and(|arn| arn.ends_with(&format!(":pipe/{named}"))), "{source}");
    // The topic may write to each queue that its subscriptions name, and nobody else may.
    assert_eq!(pipe["Properties"]["Target"], json!({ "Ref": "JobTopic" }));
    let policy =
        &template.0["Resources"]["TopicToQueuesPolicy"]["Properties"]["PolicyDocument"]["Statement"][0];
    assert_eq!(policy["Condition"], json!({ "ArnEquals": { "aws:SourceArn": { "Ref": "JobTopic" } } }));
    let queues = policy["Resource"].as_array().expect("queues");
    for (name, subscription) in template.of_type("AWS::SNS::Subscription") {
        let properties = &subscription["Properties"];
        for queue in [&properties["Endpoint"], &properties["RedrivePolicy"]["deadLetterTargetArn"]] {
            assert!(queues.contains(queue), "{name}: {queue}");
        }
    }
}

/// One partition of each kind: see the list of `onerun-store-dynamodb`.
const PARTITIONS: [&str; 20] = [
    "projects",
    "p3Xk81LmQzTb",
    "p3Xk81LmQzTb#sV1StGXR8Z5jdHi6BmyT0",
    "p3Xk81LmQzTb#sV1StGXR8Z5jdHi6BmyT0#cM3hK8xQ5ZrT1uVbN6wJd",
    "p3Xk81LmQzTb#sV1StGXR8Z5jdHi6BmyT0#shard#3",
    "p3Xk81LmQzTb#sV1StGXR8Z5jdHi6BmyT0#queue",
    "p3Xk81LmQzTb#m4Wf93TcNqRs",
    "jobs#start_simulation:sV1StGXR8Z5jdHi6BmyT0",
    "jobs#notify_webhooks:sV1StGXR8Z5jdHi6BmyT0",
    KEY_EVENTS,
    "outbound-jobs#deliver_webhook:cM3hK8xQ5ZrT1uVbN6wJd",
    "dead-jobs",
    "dead-jobs#list",
    "keys",
    "key-uses",
    "key-calls",
    "idempotency#6f1c",
    "key-rates#keyOfReader0",
    "audit",
    "audit#2031-03",
];

/// The partitions that only routes of keys write.
const OF_KEYS: [&str; 4] = ["keys", "key-calls", "audit", "audit#2031-03"];

/// The partition of a job that tells webhooks of a key. Routes of keys write no other jobs.
const KEY_EVENTS: &str = "jobs#notify_webhooks:key:keyOfReader0:2";

/// The partitions that every function that checks keys writes.
const OF_USES: [&str; 2] = ["key-uses", "key-rates#keyOfReader0"];

/// A read-only route that records a worker's poll at an agent.
const NOTES_POLLS: [&str; 2] = ["list_conversations", "list_simulations"];

/// The partitions on whose items a function may do any of some actions.
fn partitions(rights: &Rights, operation: &str, actions: &[&str]) -> BTreeSet<&'static str> {
    let may =
        |partition: &&str| actions.iter().any(|action| rights.may(operation, action, "Table", partition));
    PARTITIONS.into_iter().filter(may).collect()
}

const WRITES: [&str; 3] = ["DeleteItem", "PutItem", "UpdateItem"];

fn is_about_keys(route: &Route) -> bool {
    let scopes = [Scope::KeysRead, Scope::KeysWrite, Scope::AuditRead];
    route.operation == "revoke_leaked_keys"
        || matches!(route.access, Access::Requires(scope) if scopes.contains(&scope))
}

#[test]
fn function_has_only_the_table_rights_of_its_route() {
    let rights = aws::Template::rights();
    let known =
        ["BatchGetItem", "ConditionCheckItem", "DeleteItem", "GetItem", "PutItem", "Query", "UpdateItem"];
    let known: BTreeSet<String> = known.iter().map(|action| format!("dynamodb:{action}")).collect();
    let (of_keys, of_uses) = (BTreeSet::from(OF_KEYS), BTreeSet::from(OF_USES));
    for route in ROUTES {
        let operation = route.operation;
        let actions = rights.actions(operation, "dynamodb");
        assert!(actions.is_subset(&known), "{operation}: {actions:?}");
        if matches!(route.handler, Handler::Static(_) | Handler::Document(_)) {
            assert!(actions.is_empty(), "{operation}: {actions:?}");
            continue;
        }
        let writes = partitions(&rights, operation, &WRITES);
        let is_write = match route.access {
            // It counts leak reports by address, and checks no key.
            Access::Public => {
                assert_eq!(
                    writes,
                    BTreeSet::from(["keys", "audit", "audit#2031-03", KEY_EVENTS, OF_USES[1]]),
                    "{operation}"
                );
                continue;
            }
            Access::AnyKey => false,
            Access::Requires(scope) => scope.as_str().ends_with(":write"),
        };
        // It writes nothing, but reads in transactions.
        assert!(is_write || !actions.contains("dynamodb:ConditionCheckItem"), "{operation}");
        for partition in OF_USES {
            assert!(rights.may(operation, "UpdateItem", "Table", partition), "{operation}: {partition}");
        }
        assert!(rights.may(operation, "GetItem", "Table", "keys"), "{operation}");
        let writes_besides: BTreeSet<&str> = writes.difference(&of_uses).copied().collect();
        match (is_about_keys(route), is_write) {
            (_, false) => assert!(writes_besides.is_empty(), "{operation} writes {writes_besides:?}"),
            (true, true) => {
                let others: BTreeSet<&str> = &writes_besides - &of_keys;
                assert_eq!(others, BTreeSet::from([KEY_EVENTS]), "{operation}");
                assert!(["keys", "audit"].iter().all(|one| writes_besides.contains(one)), "{operation}");
            }
            (false, true) => {
                assert!(!writes_besides.is_empty(), "{operation} writes nothing");
                assert!(writes_besides.is_disjoint(&of_keys), "{operation} writes {writes_besides:?}");
            }
        }
    }
    for operation in ["run_jobs", "run_outbound_jobs", "tick", "run_monitor"] {
        let writes = partitions(&rights, operation, &["PutItem", "UpdateItem"]);
        assert!(writes.is_disjoint(&of_keys), "{operation} writes {writes:?}");
    }
    assert!(rights.actions("rotate_secret", "dynamodb").is_empty());
}

#[test]
fn function_that_calls_users_addresses_reaches_no_keys() {
    let rights = aws::Template::rights();
    let actions =
        ["BatchGetItem", "ConditionCheckItem", "DeleteItem", "GetItem", "PutItem", "Query", "UpdateItem"];
    let reached = partitions(&rights, "run_outbound_jobs", &actions);
    assert!(reached.contains("p3Xk81LmQzTb"), "{reached:?}");
    assert!(reached.is_disjoint(&(&BTreeSet::from(OF_KEYS) | &BTreeSet::from(OF_USES))), "{reached:?}");
    assert!(!rights.may_read_secret("run_outbound_jobs", "Secret"), "it has no root key");
}

#[test]
fn list_function_may_write_only_the_poll_time() {
    let rights = aws::Template::rights();
    let uses = BTreeSet::from(OF_USES);
    for route in ROUTES.iter().filter(|route| route.method == Method::GET) {
        let operation = route.operation;
        let sets = |attributes: &[&str]| -> BTreeSet<&str> {
            let may_set = |partition: &&str| rights.may_set(operation, "Table", partition, attributes);
            PARTITIONS.into_iter().filter(may_set).filter(|one| !uses.contains(one)).collect()
        };
        let projects: &[&str] = if NOTES_POLLS.contains(&operation) { &["p3Xk81LmQzTb"] } else { &[] };
        assert_eq!(sets(&["last_polled_at"]), projects.iter().copied().collect(), "{operation}");
        for other in ["body", "revision", "simulations", "made", "expires"] {
            assert_eq!(sets(&[other]), BTreeSet::new(), "{operation} may set {other}");
            assert_eq!(sets(&["last_polled_at", other]), BTreeSet::new(), "{operation} may set {other}");
        }
    }
    // The policy recognizes the partition of a project by its length.
    let policy = &Template::read().0["Resources"]["NotePollsPolicy"]["Properties"]["PolicyDocument"];
    let pattern = &policy["Statement"][0]["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
    assert_eq!(pattern, &json!("?".repeat(ProjectId::LENGTH)));
}

#[test]
fn function_deletes_only_what_its_route_moves_and_never_keys() {
    let is_of_project = |partition: &&str| partition.starts_with("p3Xk81LmQzTb");
    let below = |partition: &&str| partition.matches('#').count() > 1;
    let all = || PARTITIONS.into_iter();
    let simulations: BTreeSet<&str> = all()
        .filter(|one| is_of_project(one) || one.starts_with("jobs#") || one.starts_with("idem"))
        .collect();
    let queue: BTreeSet<&str> =
        all().filter(|one| (is_of_project(one) && below(one)) || one.starts_with("idem")).collect();
    let jobs: BTreeSet<&str> = all().filter(|one| one.starts_with("dead-jobs")).collect();
    let is_delivery = |partition: &&str| *partition == "p3Xk81LmQzTb#m4Wf93TcNqRs";
    let deliveries: BTreeSet<&str> = all()
        .filter(|one| is_delivery(one) || one.starts_with("outbound") || one.starts_with("idem"))
        .collect();
    let rights = aws::Template::rights();
    for operation in operations() {
        let expected = match operation {
            // Simulations change their status, and queued conversations are stopped.
            "run_simulation" | "cancel_simulation" | "delete_simulation" | "tick" => simulations.clone(),
            // Jobs end, messages do after their retention, and what is below a deleted simulation is purged.
            "run_jobs" => &simulations | &jobs,
            // Deliveries change their state, and jobs end.
            "run_outbound_jobs" => &deliveries | &jobs,
            "replay_webhook_delivery" => deliveries.clone(),
            "claim_conversations" | "start_conversation" => queue.clone(),
            "update_agent" | "update_objective" | "update_monitor" | "delete_monitor" => {
                BTreeSet::from(["p3Xk81LmQzTb"])
            }
            "update_project" => BTreeSet::from(["projects"]),
            // Archived entries.
            "archive_audit" => BTreeSet::from(["audit#2031-03"]),
            _ => BTreeSet::new(),
        };
        assert_eq!(partitions(&rights, operation, &["DeleteItem"]), expected, "{operation}");
    }
}

#[test]
fn read_only_function_may_not_encrypt() {
    let rights = aws::Template::rights();
    let writes = set(&["dynamodb:PutItem", "dynamodb:UpdateItem", "secretsmanager:PutSecretValue"]);
    for operation in operations() {
        let [table, secret, key] =
            ["dynamodb", "secretsmanager", "kms"].map(|service| rights.actions(operation, service));
        let uses = &table | &secret;
        assert_eq!(key.contains("kms:GenerateDataKey"), !uses.is_disjoint(&writes), "{operation}");
        assert_eq!(key.contains("kms:Decrypt"), !uses.is_empty(), "{operation}");
    }
}

/// In a key's own policy, `*` means only that key.
#[test]
fn no_policy_has_a_wildcard() {
    fn statements<'a>(place: &str, value: &'a Value, found: &mut Vec<(String, &'a Value)>) {
        for (name, value) in entries(value) {
            if name == "Statement" {
                found.extend(list(value).into_iter().map(|statement| (place.to_owned(), statement)));
            }
            statements(&format!("{place}/{name}"), value, found);
        }
        for value in value.as_array().into_iter().flatten() {
            statements(place, value, found);
        }
    }
    let template = Template::read();
    let mut found = Vec::new();
    statements("", &template.0["Resources"], &mut found);
    assert!(found.len() > ROUTES.len(), "only {} statements were found", found.len());
    for (place, statement) in found {
        // A denial may name everybody.
        if statement["Effect"] == "Deny" && place.starts_with("/AuditBucketPolicy/") {
            continue;
        }
        let wildcard = |part: &str| statement[part].to_string().contains('*');
        assert!(!wildcard("Action") && !wildcard("Principal"), "{place}: {statement}");
        let is_archive = statement["Resource"] == json!({ "Fn::Sub": "${AuditBucket.Arn}/audit/*" });
        let may_have_wildcard = is_archive || place == "/Key/Properties/KeyPolicy";
        assert!(!wildcard("Resource") || may_have_wildcard, "{place}: {statement}");
    }
}

#[test]
fn every_operation_has_its_binary() {
    let directory = workspace().join("functions/src/bin");
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let programs: BTreeSet<_> = files.map(|name| name.trim_end_matches(".rs").to_owned()).collect();
    assert_eq!(programs, operations().into_iter().map(str::to_owned).collect());
}

#[test]
fn document_describes_every_route() {
    let document = fs::read_to_string(workspace().join("openapi.json")).unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut described = BTreeSet::new();
    for (path, methods) in entries(&document["paths"]) {
        for (method, operation) in entries(methods) {
            let id = operation["operationId"].as_str().unwrap();
            described.insert((id.to_owned(), method.to_uppercase(), path.to_owned()));
        }
    }
    let route =
        |route: &&Route| (route.operation.to_owned(), route.method.to_string(), route.path.to_owned());
    assert_eq!(described, ROUTES.iter().map(route).collect());
}

//! The deployment on this machine: every function of the template as a process under AWS's runtime
//! emulator, with DynamoDB Local, and with moto for Secrets Manager and SQS.
//!
//! This module emulates the services between them as AWS documents them: the HTTP API ([`Front`]),
//! the pipe from the table's stream, and the event source mapping of the queue ([`Queue::poll`]).
//! Functions get the variables of the template and those of Lambda.
//!
//! A function's call succeeds only if the template's policies allow it. AWS's delays are not
//! emulated.

mod event;
mod front;
mod function;
mod pipe;
mod queue;
mod relay;
mod secret;
mod service;
mod table;
mod template;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

pub use self::{
    event::{Context, Payload},
    front::{Exchange, Front},
    function::{Function, InvocationError},
    queue::{Queue, message_id, sqs_event},
    relay::{Call, Hold, Relay, When},
    secret::{Secret, SecretVersion},
    service::Moto,
    template::{Template, TemplateRoute},
};
use self::{
    pipe::{Pipe, PipeRun, Stream, Subscription},
    service::aws_program,
    table::Table,
};
use crate::{
    Client,
    listener::Task,
    process::{Process, workspace},
    rights::{Rights, bucket_arn},
};

const REGION: &str = "eu-central-1";
const ACCOUNT: &str = "123456789012";
const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";

/// The name of the secret with the keys of models' providers. Tests create it, if they need it.
pub const MODEL_KEYS_SECRET: &str = "model-keys";

/// The master key of the deployment.
const MASTER_KEY: &str = "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQEaBcDeFgHiJkLmNoPqRsTu";

/// The functions without a route.
const EVENT_FUNCTIONS: [&str; 6] =
    ["run_jobs", "run_outbound_jobs", "tick", "run_monitor", "archive_audit", "rotate_secret"];

/// The bucket of the audit trail's archive.
const AUDIT_BUCKET: &str = "onerun-audit";

/// The polling interval of the stream and the queue.
const PAUSE: Duration = Duration::from_millis(50);

/// The interval between ticks. AWS has one each minute.
const TICK: Duration = Duration::from_secs(1);

/// The number of queue batches handled at once.
const POLLERS: usize = 3;

/// A whole deployment. Its processes are killed on drop.
#[derive(Debug)]
pub struct Cloud {
    // Declared first, so that functions stop before the services they use.
    tasks: Mutex<Vec<Task>>,
    front: Front,
    functions: BTreeMap<String, Arc<Function>>,
    /// The relay from functions to the table.
    pub dynamodb: Relay,
    /// The relay to Secrets Manager of the functions that check keys.
    pub secrets_manager: Relay,
    /// The relay to Secrets Manager of the function that rotates the secret.
    pub rotation: Relay,
    /// The relay to S3.
    pub s3: Relay,
    /// The secret with the root key.
    pub secret: Secret,
    /// The queue of jobs.
    pub job_queue: Queue,
    /// The queue of jobs that call addresses of users.
    pub outbound_queue: Queue,
    /// The dead-letter queue.
    pub dead_letters: Queue,
    batch_size: u32,
    pipe: Arc<PipeRun>,
    table: Table,
    moto: Moto,
    rotation_function: String,
    template: Template,
    changes: Vec<(String, String)>,
}

impl Cloud {
    /// Deploys the template. Nothing runs in the background.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Deploys the template with changed variables in every function.
    pub async fn start_with(changes: &[(&str, &str)]) -> Self {
        let mut template = Template::read();
        let (moto, table) = tokio::join!(Moto::start(), Table::create(&template));
        let Queues { dead_letters, jobs: job_queue, outbound: outbound_queue } =
            queues(&moto, &template).await;
        let subscription = |name: &str, queue: &Queue| {
            Subscription::new(template.resource("AWS::SNS::Subscription", |id, _| id == name).1, queue)
        };
        let pipe = PipeRun {
            stream: Stream::new(&table.url, &table.stream),
            pipe: Pipe::new(template.resource("AWS::Pipes::Pipe", |_, _| true).1),
            subscriptions: vec![
                subscription("JobSubscription", &job_queue),
                subscription("OutboundSubscription", &outbound_queue),
            ],
        };
        let mapping = template.resource("AWS::Lambda::EventSourceMapping", |id, _| id == "RunJobsMapping").1;
        let batch_size = mapping["BatchSize"].as_u64().and_then(|size| u32::try_from(size).ok());
        let batch_size = batch_size.expect("a batch size");
        let (secret_name, properties) =
            template.resource("AWS::SecretsManager::Secret", |id, _| id == "Secret");
        let secret = Secret::create(&moto, properties).await;
        let master_key = secret.another("master-key", Some(MASTER_KEY)).await;
        let secret_name = secret_name.to_owned();
        let name = |kind| template.resource(kind, |_, _| true).0.to_owned();
        let (table_name, key_name) = (name("AWS::DynamoDB::Table"), name("AWS::KMS::Key"));
        let key = format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/{key_name}");
        template.refer(&secret_name, &secret.arn);
        template.refer("MasterKeySecret", &master_key.arn);
        template.refer("ModelKeysSecretArn", MODEL_KEYS_SECRET);
        template.refer(&table_name, &table.name);
        template.refer(&format!("{table_name}.Arn"), &table.arn());
        template.refer(&format!("{key_name}.Arn"), &key);
        moto.create_bucket(AUDIT_BUCKET).await;
        template.refer("AuditBucket", AUDIT_BUCKET);
        template.refer("AuditBucket.Arn", &bucket_arn(AUDIT_BUCKET));
        template.refer("JobQueue.Arn", &job_queue.arn);
        template.refer("OutboundQueue.Arn", &outbound_queue.arn);
        template.refer("DeadLetterQueue.Arn", &dead_letters.arn);
        // The address in the template differs from the local one: see `function_with`.
        template.refer("HttpApi", "onerun0api");
        let deployed = template.routes();
        let rights = Arc::new(Rights::new(template.roles(), &secret.arn, &key));
        let dynamodb = Relay::start(&table.url, Arc::clone(&rights)).await;
        let secrets_manager = Relay::start(moto.url(), Arc::clone(&rights)).await;
        let rotation = Relay::start(moto.url(), Arc::clone(&rights)).await;
        let s3 = Relay::start(moto.url(), rights).await;

        let rotation_function = moto.register_function("rotate_secret").await;
        let changes = changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut cloud = Self {
            tasks: Mutex::default(),
            front: Front::start(Vec::new()).await,
            functions: BTreeMap::new(),
            dynamodb,
            secrets_manager,
            rotation,
            s3,
            secret,
            job_queue,
            outbound_queue,
            dead_letters,
            batch_size,
            pipe: Arc::new(pipe),
            table,
            moto,
            rotation_function,
            template,
            changes,
        };
        let mut routes = Vec::new();
        for route in deployed {
            if !cloud.functions.contains_key(&route.operation) {
                let function = cloud.function_with(&route.operation, &[]);
                cloud.functions.insert(route.operation.clone(), function);
            }
            let function = Arc::clone(cloud.function(&route.operation));
            routes.push((route, function));
        }
        cloud.front = Front::start(routes).await;
        for operation in EVENT_FUNCTIONS {
            let function = cloud.function_with(operation, &[]);
            cloud.functions.insert(operation.to_owned(), function);
        }
        cloud
    }

    /// Another function for an operation, with changed variables.
    pub fn function_with(&self, operation: &str, changes: &[(&str, &str)]) -> Arc<Function> {
        let mut variables = lambda_variables(&self.template, operation);
        variables.extend(self.template.variables(operation));
        let mut set = |name: &str, value: &str| {
            variables.insert(name.to_owned(), value.to_owned());
        };
        set("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamodb.url());
        set("AWS_ENDPOINT_URL_S3", &self.s3.url());
        if operation == "rotate_secret" {
            set("AWS_ENDPOINT_URL_SECRETS_MANAGER", &self.rotation.url());
            set("ONERUN_API_URL", &self.front.base_url());
        } else {
            set("AWS_ENDPOINT_URL_SECRETS_MANAGER", &self.secrets_manager.url());
        }
        for (name, value) in &self.changes {
            set(name, value);
        }
        for (name, value) in changes {
            set(name, value);
        }
        Arc::new(Function::new(operation, variables.into_iter().collect()))
    }

    /// Runs a script of the repository that calls AWS by its command-line programs. It sees a stack
    /// `onerun` with this deployment's address, secret and rotation function as outputs.
    pub async fn script(&self, script: &str) -> Process {
        let mut aws = aws_program("aws");
        let outputs = json!({
            "ApiUrl": { "Value": self.front.base_url() },
            "SecretArn": { "Value": self.secret.arn },
            "RotateSecretFunctionArn": { "Value": self.rotation_function },
        });
        // moto refuses a stack without resources.
        let body = json!({ "Resources": { "Queue": { "Type": "AWS::SQS::Queue" } }, "Outputs": outputs })
            .to_string();
        aws.args(["cloudformation", "create-stack", "--stack-name", "onerun", "--template-body", &body]);
        aws.envs(self.moto.environment());
        Process::spawn(aws).success().await;
        let programs = workspace().canonicalize().expect("a workspace").join(".tools/aws/bin");
        #[expect(clippy::disallowed_methods, reason = "where the system's programs are is inherited")]
        let path = std::env::var_os("PATH").expect("a path");
        let path = std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&path)));
        let mut command = Command::new(workspace().join(script));
        command.env_clear().env("PATH", path.expect("a path")).env("PYTHONDONTWRITEBYTECODE", "1");
        command.envs(self.moto.environment());
        Process::spawn(command)
    }

    /// The API Gateway stand-in.
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// A client of the API with the current root key.
    pub async fn client(&self) -> Client {
        Client::new(&self.front.base_url(), Some(&self.secret.key().await))
    }

    /// Invokes a function directly with a chosen payload.
    pub async fn ask(
        &self,
        function: &Arc<Function>,
        payload: Payload,
        request: &Request<Bytes>,
    ) -> Result<Response<Bytes>, InvocationError> {
        let routes = self.template.routes();
        let is_route = |route: &&TemplateRoute| {
            route.operation == function.operation() && route.path != template::DEFAULT_ROUTE
        };
        let route = routes.iter().find(is_route).expect("a route");
        #[expect(clippy::disallowed_methods, reason = "the time of a request is the system's")]
        let time = Timestamp::now();
        let context = Context {
            resource: route.path.clone(),
            parameters: route.parameters(request.uri().path()).unwrap_or_default(),
            source: SocketAddr::from(([192, 0, 2, 1], 49_152)),
            id: "gateway=".to_owned(),
            time,
        };
        let answer = function.invoke(&payload.event(request, &context)).await?;
        payload.response(&answer).map_err(InvocationError::Error)
    }

    /// The function of an operation.
    pub fn function(&self, operation: &str) -> &Arc<Function> {
        let function = self.functions.get(operation);
        function.unwrap_or_else(|| panic!("no function {operation} in the template"))
    }

    /// All functions.
    pub fn functions(&self) -> impl Iterator<Item = &Arc<Function>> {
        self.functions.values()
    }

    /// Stops the background tasks and all functions, and returns their logs: see
    /// [`Function::final_log`].
    pub fn final_log(&self) -> String {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.functions().map(|function| function.final_log()).collect()
    }

    /// The log lines of all functions read so far, including the emulator's.
    pub fn log(&self) -> String {
        self.functions().map(|function| function.log()).collect()
    }

    /// Starts the background work of AWS: the pipe, delivery of jobs, and the tick.
    pub fn run_in_background(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = Arc::clone(&self.pipe);
        tasks.push(Task::spawn(async move {
            loop {
                pipe.run().await;
                tokio::time::sleep(PAUSE).await;
            }
        }));
        let mapped = [(&self.job_queue, "run_jobs"), (&self.outbound_queue, "run_outbound_jobs")];
        for (queue, operation) in mapped.into_iter().flat_map(|mapping| [mapping; POLLERS]) {
            let (queue, function, batch_size) =
                (queue.clone(), Arc::clone(self.function(operation)), self.batch_size);
            tasks.push(Task::spawn(async move {
                loop {
                    if queue.poll(&function, batch_size).await == 0 {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }));
        }
        let function = Arc::clone(self.function("tick"));
        tasks.push(Task::spawn(async move {
            loop {
                // A failed tick is in the function's log, and the next one is due soon.
                let _ = function.invoke(&tick_event()).await;
                tokio::time::sleep(TICK).await;
            }
        }));
    }

    /// Passes new records of the table's stream through the pipe. Do not call it while the pipe runs in
    /// the background.
    pub async fn run_pipe(&self) {
        self.pipe.run().await;
    }

    /// Returns the messages for new records of the stream, and sends them to no queue.
    pub async fn job_messages(&self) -> Vec<String> {
        self.pipe.messages().await
    }

    /// The items of one partition.
    pub async fn items(&self, partition: &str) -> Vec<Value> {
        self.table.items(partition).await
    }

    /// The items of waiting and claimed jobs.
    pub async fn jobs(&self) -> Vec<Value> {
        self.table.jobs().await
    }

    /// Puts an item, as an administrator of the table can.
    pub async fn put(&self, item: &Value) {
        self.table.put(item).await;
    }

    /// A file of the audit trail's archive, if it exists.
    pub async fn archived(&self, name: &str) -> Option<String> {
        self.moto.object(AUDIT_BUCKET, &format!("audit/{name}")).await
    }

    /// Sets attributes of an existing item.
    pub async fn set_attributes(&self, item: &Value, attributes: &[(&str, Value)]) {
        self.table.set(item, attributes).await;
    }

    /// Starts a rotation of the secret, and returns the id of the pending version.
    pub async fn begin_rotation(&self) -> String {
        self.secret.begin_rotation(&self.rotation_function).await
    }
}

/// A script in the Python environment for AWS.
pub fn python(script: &Path) -> Process {
    let mut command = aws_program("python");
    command.arg(script.canonicalize().expect("a script"));
    Process::spawn(command)
}

impl Drop for Cloud {
    #[expect(clippy::print_stderr, reason = "what a test that has failed leaves behind")]
    fn drop(&mut self) {
        let relays = [&self.dynamodb, &self.secrets_manager, &self.rotation, &self.s3];
        for denied in relays.into_iter().flat_map(Relay::denied) {
            assert!(std::thread::panicking(), "the template does not allow it: {denied}");
            eprintln!("--- the template does not allow it: {denied}");
        }
    }
}

/// The event of the schedule.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/with-eventbridge-scheduler.html>
pub fn tick_event() -> Value {
    json!({
        "version": "0",
        "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": ACCOUNT,
        "time": "2026-01-05T09:00:00Z",
        "region": REGION,
        "resources": [format!("arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/onerun-tick")],
        "detail": "{}",
    })
}

/// The template's queues.
struct Queues {
    dead_letters: Queue,
    jobs: Queue,
    outbound: Queue,
}

async fn queues(moto: &Moto, template: &Template) -> Queues {
    let dead_letters = Queue::create(moto.url(), "onerun-dead-letters", &json!({})).await;
    let create = async |id: &str, name: &str| {
        let properties = template.resource("AWS::SQS::Queue", |found, _| found == id).1;
        let redrive = json!({
            "deadLetterTargetArn": dead_letters.arn,
            "maxReceiveCount": properties["RedrivePolicy"]["maxReceiveCount"],
        });
        let attributes = json!({
            "VisibilityTimeout": template.resolve(&properties["VisibilityTimeout"]),
            "RedrivePolicy": redrive.to_string(),
        });
        Queue::create(moto.url(), name, &attributes).await
    };
    let jobs = create("JobQueue", "onerun-jobs").await;
    let outbound = create("OutboundQueue", "onerun-outbound-jobs").await;
    Queues { dead_letters, jobs, outbound }
}

/// The variables that Lambda sets and the emulator does not.
fn lambda_variables(template: &Template, operation: &str) -> BTreeMap<String, String> {
    let setting = |name: &str| template.setting(operation, name).unwrap_or_default();
    [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
        // Sent with every call, and thereby identifies the function's role.
        ("AWS_SESSION_TOKEN", operation.to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("AWS_LAMBDA_FUNCTION_NAME", format!("onerun-test-{operation}")),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", setting("MemorySize")),
        ("AWS_LAMBDA_FUNCTION_TIMEOUT", setting("Timeout")),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned()),
        ("AWS_LAMBDA_LOG_LEVEL", "INFO".to_owned()),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("LAMBDA_TASK_ROOT", "/var/task".to_owned()),
        ("PATH", "/usr/local/bin:/usr/bin:/bin:/opt/bin".to_owned()),
        ("TZ", ":UTC".to_owned()),
        ("_HANDLER", "bootstrap".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Unique bytes.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system's randomness");
    bytes
}

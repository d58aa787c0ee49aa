//! The deployment on this machine: every function of the template as its own process under AWS's runtime emulator, with
//! DynamoDB Local, and moto for Secrets Manager and SQS.
//!
//! What AWS does between them is done here and nowhere else, as AWS documents it: the HTTP API ([`Front`]), the pipes from
//! the table's stream, and the event source mapping from the queue ([`Queue::poll`]). Functions are given the variables
//! that the template gives them and those that Lambda sets.
//!
//! What a function calls passes only if the template's policies allow its role to. Nothing is emulated of AWS's delays.

mod event;
mod front;
mod function;
mod listener;
mod pipe;
mod queue;
mod relay;
mod secret;
mod service;
mod template;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
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
    function::{Failed, Function},
    queue::{Queue, message_id, sqs_event},
    relay::{Call, Hold, Relay, When},
    secret::{Secret, SecretVersion},
    service::Moto,
    template::{Template, TemplateRoute},
};
use self::{
    listener::Task,
    pipe::{Pipe, Stream},
    service::{Caller, aws_program},
};
use crate::{
    Client,
    process::{Process, workspace},
    rights::{Rights, table_arn},
};

const REGION: &str = "eu-central-1";
const ACCOUNT: &str = "123456789012";
const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";

/// The functions that no client calls.
const EVENT_FUNCTIONS: [&str; 3] = ["run_jobs", "tick", "rotate_secret"];

/// How often the stream and the queue are looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// How often `tick` is invoked, where it is at all: every minute on AWS.
const TICK: Duration = Duration::from_secs(1);

/// How many batches of the queue are handled at once.
const POLLERS: usize = 3;

/// A whole deployment. Its processes are killed when it is dropped.
#[derive(Debug)]
pub struct Cloud {
    // Before everything that they use.
    tasks: Mutex<Vec<Task>>,
    front: Front,
    functions: BTreeMap<String, Arc<Function>>,
    /// The table, as functions reach it.
    pub dynamodb: Relay,
    /// Secrets Manager, as the functions that check keys reach it.
    pub secrets_manager: Relay,
    /// Secrets Manager, as the function that rotates the secret reaches it.
    pub rotation: Relay,
    /// The secret that the root key is in.
    pub secret: Secret,
    /// The queue of jobs.
    pub job_queue: Queue,
    /// The queue of what could not be done.
    pub dead_letters: Queue,
    batch_size: u32,
    pipes: Arc<Pipes>,
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

    /// Deploys the template with these variables changed in every function.
    pub async fn start_with(changes: &[(&str, &str)]) -> Self {
        let mut template = Template::read();
        let (moto, table) = tokio::join!(Moto::start(), Table::create(&template));
        let (dead_letters, job_queue) = queues(&moto, &template).await;
        let pipe = |name: &str| Pipe::new(template.resource("AWS::Pipes::Pipe", |id, _| id == name).1);
        let pipes = Pipes {
            stream: Stream::new(&table.url, &table.stream),
            ends: [(pipe("JobPipe"), job_queue.clone()), (pipe("DeadJobPipe"), dead_letters.clone())],
        };
        let mapping = template.resource("AWS::Lambda::EventSourceMapping", |_, _| true).1;
        let batch_size = mapping["BatchSize"].as_u64().and_then(|size| u32::try_from(size).ok());
        let batch_size = batch_size.expect("a batch size");
        let (secret_name, properties) = template.resource("AWS::SecretsManager::Secret", |_, _| true);
        let secret = Secret::create(&moto, properties).await;
        let secret_name = secret_name.to_owned();
        let name = |kind| template.resource(kind, |_, _| true).0.to_owned();
        let (table_name, key_name) = (name("AWS::DynamoDB::Table"), name("AWS::KMS::Key"));
        let key = format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/{key_name}");
        template.refer(&secret_name, &secret.arn);
        template.refer(&table_name, &table.name);
        template.refer(&format!("{table_name}.Arn"), &table.arn());
        template.refer(&format!("{key_name}.Arn"), &key);
        template.refer("JobQueue.Arn", &job_queue.arn);
        template.refer("DeadLetterQueue.Arn", &dead_letters.arn);
        // The address that the template makes of it is not where it listens here: see `function_with`.
        template.refer("HttpApi", "onerun0api");
        let deployed = template.routes();
        let rights = Arc::new(Rights::new(template.roles(), &secret.arn, &key));
        let dynamodb = Relay::start(&table.url, Arc::clone(&rights)).await;
        let secrets_manager = Relay::start(moto.url(), Arc::clone(&rights)).await;
        let rotation = Relay::start(moto.url(), rights).await;

        let rotation_function = moto.register_function("rotate_secret").await;
        let changes = changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut cloud = Self {
            tasks: Mutex::default(),
            front: Front::start(Vec::new()).await,
            functions: BTreeMap::new(),
            dynamodb,
            secrets_manager,
            rotation,
            secret,
            job_queue,
            dead_letters,
            batch_size,
            pipes: Arc::new(pipes),
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

    /// A function of an operation, beside the one that is deployed, with these variables changed.
    pub fn function_with(&self, operation: &str, changes: &[(&str, &str)]) -> Arc<Function> {
        let mut variables = lambda_variables(&self.template, operation);
        variables.extend(self.template.variables(operation));
        let mut set = |name: &str, value: &str| {
            variables.insert(name.to_owned(), value.to_owned());
        };
        set("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamodb.url());
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

    /// Runs a script of the repository, which speaks to AWS by its command-line programs, beside a stack `onerun` whose
    /// outputs are this deployment's address, secret and function of rotation.
    pub async fn script(&self, script: &str) -> Process {
        let mut aws = aws_program("aws");
        let outputs = json!({
            "ApiUrl": { "Value": self.front.base_url() },
            "SecretArn": { "Value": self.secret.arn },
            "RotateSecretFunctionArn": { "Value": self.rotation_function },
        });
        // moto makes no stack of nothing.
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

    /// What stands for API Gateway.
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// A client of the API with the key in force.
    pub async fn client(&self) -> Client {
        Client::new(&self.front.base_url(), Some(&self.secret.key().await))
    }

    /// Asks a function in a payload of one's choice, past the front.
    pub async fn ask(
        &self,
        function: &Arc<Function>,
        payload: Payload,
        request: &Request<Bytes>,
    ) -> Result<Response<Bytes>, Failed> {
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
        payload.response(&answer).map_err(Failed::Error)
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

    /// Ends everything in the background and all functions, and returns all that these logged: see [`Function::final_log`].
    pub fn final_log(&self) -> String {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.functions().map(|function| function.final_log()).collect()
    }

    /// What has been read so far of what all functions logged, the emulator's lines among it.
    pub fn log(&self) -> String {
        self.functions().map(|function| function.log()).collect()
    }

    /// Sets everything going that AWS does by itself: pipes, the delivery of jobs, and the tick.
    pub fn run_in_background(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let pipes = Arc::clone(&self.pipes);
        tasks.push(Task::spawn(async move {
            loop {
                pipes.run().await;
                tokio::time::sleep(PAUSE).await;
            }
        }));
        for _ in 0..POLLERS {
            let (queue, function, batch_size) =
                (self.job_queue.clone(), Arc::clone(self.function("run_jobs")), self.batch_size);
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
                // One that fails is in its log; the next is due soon.
                let _ = function.invoke(&tick_event()).await;
                tokio::time::sleep(TICK).await;
            }
        }));
    }

    /// Has the pipes pass on what the table's stream tells of since the last look. Not while they run in the background.
    pub async fn run_pipes(&self) {
        self.pipes.run().await;
    }

    /// The messages about jobs that the pipe makes of what the stream tells of since the last look, which nobody else
    /// gets.
    pub async fn job_messages(&self) -> Vec<String> {
        let (pipe, _) = &self.pipes.ends[0];
        self.pipes.stream.read().await.iter().filter_map(|record| pipe.message(record)).collect()
    }

    /// Items of the table whose partition is `partition`.
    pub async fn items(&self, partition: &str) -> Vec<Value> {
        self.table.items(partition).await
    }

    /// The items of jobs that wait or are being worked on.
    pub async fn jobs(&self) -> Vec<Value> {
        let mut jobs = Vec::new();
        for lane in 0..4 {
            jobs.extend(self.items(&format!("jobs#{lane}")).await);
        }
        jobs
    }

    /// Sets attributes of an item that there is.
    pub async fn set_attributes(&self, item: &Value, attributes: &[(&str, Value)]) {
        self.table.set(item, attributes).await;
    }

    /// Begins a rotation of the secret; the id of the version that is to be made.
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

/// The pipes of the template, and where they lead.
#[derive(Debug)]
struct Pipes {
    stream: Stream,
    ends: [(Pipe, Queue); 2],
}

impl Pipes {
    async fn run(&self) {
        for record in self.stream.read().await {
            for (pipe, target) in &self.ends {
                if let Some(message) = pipe.message(&record) {
                    target.send(&message, 0).await;
                }
            }
        }
    }
}

impl Drop for Cloud {
    #[expect(clippy::print_stderr, reason = "what a test that has failed leaves behind")]
    fn drop(&mut self) {
        let relays = [&self.dynamodb, &self.secrets_manager, &self.rotation];
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

/// The queues of the template: that of dead letters, and that of jobs.
async fn queues(moto: &Moto, template: &Template) -> (Queue, Queue) {
    let properties = |name: &str| template.resource("AWS::SQS::Queue", |id, _| id == name).1.clone();
    let dead_letters = Queue::create(moto.url(), "onerun-dead-letters", &json!({})).await;
    let jobs = properties("JobQueue");
    let redrive = json!({
        "deadLetterTargetArn": dead_letters.arn,
        "maxReceiveCount": jobs["RedrivePolicy"]["maxReceiveCount"],
    });
    let attributes = json!({
        "VisibilityTimeout": template.resolve(&jobs["VisibilityTimeout"]),
        "RedrivePolicy": redrive.to_string(),
    });
    let jobs = Queue::create(moto.url(), "onerun-jobs", &attributes).await;
    (dead_letters, jobs)
}

/// What Lambda sets of a function's environment, but for what the emulator itself does.
fn lambda_variables(template: &Template, operation: &str) -> BTreeMap<String, String> {
    let setting = |name: &str| template.setting(operation, name).unwrap_or_default();
    [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
        // Goes with every call, and so says whose role it is made with.
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

/// The template's table, in a DynamoDB that the test shares with others.
#[derive(Debug)]
struct Table {
    caller: Caller,
    url: String,
    name: String,
    stream: String,
}

impl Table {
    async fn create(template: &Template) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test is its own composition root")]
        let url = std::env::var("ONERUN_TEST_DYNAMODB").expect(
            "ONERUN_TEST_DYNAMODB must name a DynamoDB, such as http://127.0.0.1:8000; `make test-aws` starts one",
        );
        let suffix: [u8; 8] = random();
        let name = format!("onerun-test-{:016x}", u64::from_le_bytes(suffix));
        let caller = Caller::new(&url, "dynamodb", "DynamoDB_20120810");
        let made = caller.call("CreateTable", &template.table(&name)).await;
        let stream = made["TableDescription"]["LatestStreamArn"].as_str().expect("a stream").to_owned();
        Self { caller, url, name, stream }
    }

    fn arn(&self) -> String {
        table_arn(&self.name)
    }

    async fn items(&self, partition: &str) -> Vec<Value> {
        let query = json!({
            "TableName": self.name,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": { ":pk": { "S": partition } },
            "ConsistentRead": true,
        });
        self.caller.call("Query", &query).await["Items"].as_array().cloned().unwrap_or_default()
    }

    async fn set(&self, item: &Value, attributes: &[(&str, Value)]) {
        let updates: serde_json::Map<String, Value> = attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!({ "Action": "PUT", "Value": value })))
            .collect();
        let update = json!({
            "TableName": self.name,
            "Key": { "pk": item["pk"], "sk": item["sk"] },
            "AttributeUpdates": updates,
        });
        self.caller.call("UpdateItem", &update).await;
    }
}

impl Drop for Table {
    /// By hand, because nothing can be awaited here. A table that stays costs whoever runs the database no more than
    /// memory.
    fn drop(&mut self) {
        let delete = || {
            let host = self.url.trim_start_matches("http://").trim_end_matches('/');
            let body = json!({ "TableName": self.name }).to_string();
            let request = format!(
                "POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n\
                 content-type: application/x-amz-json-1.0\r\nx-amz-target: DynamoDB_20120810.DeleteTable\r\n\
                 authorization: {}\r\n\r\n{body}",
                body.len(),
                service::authorization("dynamodb"),
            );
            let mut stream = TcpStream::connect(host)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(request.as_bytes())?;
            stream.read(&mut [0; 64])
        };
        let _ = delete();
    }
}

fn http_client() -> reqwest::Client {
    crate::http::builder().build().expect("an HTTP client without TLS always builds")
}

/// Bytes that nobody else has.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system's randomness");
    bytes
}

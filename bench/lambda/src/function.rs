//! The measured functions and how to start them.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::{Paths, aws::Endpoints, runtime_api::Environment};

/// The table's name.
pub(crate) const TABLE: &str = "onerun-bench";

/// The operations that are measured beside Python: without the store, reading from it, and writing to it.
pub(crate) const COMPARED: [&str; 3] = ["get_whoami", "get_simulation", "create_simulation"];

/// A measured operation that links chat models. Its reply comes from the offline model.
pub(crate) const WITH_MODELS: &str = "create_response";

/// The implementation of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `hello/`: the cost of any function.
    Hello,
    /// A function of the API.
    OneRun,
    /// `python/`: the same in Python.
    Python,
}

/// One function in one build.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// The implementation.
    pub(crate) kind: Kind,
    /// The release build.
    pub(crate) build: &'static str,
    /// The operation.
    pub(crate) operation: &'static str,
    program: PathBuf,
}

impl Function {
    /// `hello` in a build.
    pub(crate) fn hello(places: &Paths, build: &'static str) -> Self {
        Self { kind: Kind::Hello, build, operation: "hello", program: places.build(build).join("hello") }
    }

    /// A function of the API in a build.
    pub(crate) fn onerun(places: &Paths, build: &'static str, operation: &'static str) -> Self {
        Self { kind: Kind::OneRun, build, operation, program: places.build(build).join(operation) }
    }

    /// An operation of the function in Python.
    pub(crate) fn python(places: &Paths, operation: &'static str) -> Self {
        Self { kind: Kind::Python, build: "python", operation, program: places.python.clone() }
    }

    /// The name in figures.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.build, self.operation)
    }

    /// The key of its size.
    pub(crate) fn package(&self) -> String {
        if self.kind == Kind::Python { "python".into() } else { self.name() }
    }

    /// The key of its DynamoDB replies: both builds make the same calls.
    pub(crate) fn tape(&self) -> String {
        format!("{:?}/{}", self.kind, self.operation).to_lowercase()
    }

    /// The file of its log.
    pub(crate) fn log(&self, places: &Paths) -> PathBuf {
        places.out.join(format!("{}.log", self.name().replace('/', "-")))
    }

    /// The command, with exactly the variables that Lambda sets.
    pub(crate) fn command(&self, places: &Paths, api: &Environment, aws: &Endpoints) -> Result<Command> {
        let log = self.log(places);
        let log = File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = Command::new(&self.program);
        let bundle = places.certificates.join("bundle.pem");
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "en_US.UTF-8")
            .env("TZ", ":UTC")
            .env("AWS_LAMBDA_RUNTIME_API", api.address())
            .env("AWS_LAMBDA_FUNCTION_NAME", self.operation)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/bench")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/23/[$LATEST]bench")
            .env("AWS_LAMBDA_LOG_FORMAT", "JSON")
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "BENCH")
            .env("AWS_SECRET_ACCESS_KEY", "of-no-use-elsewhere")
            .env("AWS_SESSION_TOKEN", "of-no-use-elsewhere")
            .env("SSL_CERT_FILE", &bundle)
            .envs(aws.variables())
            .env("AUTH_SECRET_ID", "onerun-root")
            .env("ONERUN_TABLE", TABLE)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if self.kind == Kind::Python {
            command
                .env("AWS_CA_BUNDLE", &bundle)
                .env("LAMBDA_TASK_ROOT", &places.handler)
                .env("PYTHONPATH", &places.handler)
                .env("_HANDLER", "handler.handler")
                .args(["-m", "awslambdaric", "handler.handler"]);
        }
        Ok(command)
    }

    /// The log, for an error.
    pub(crate) fn logged(&self, places: &Paths) -> String {
        fs::read_to_string(self.log(places)).unwrap_or_default()
    }
}

//! Local AWS services, and a client for the test's own calls to them.

use std::{net::TcpListener, process::Command, time::Duration};

use serde_json::{Value, json};

use super::{ACCESS_KEY, ACCOUNT, REGION};
use crate::{
    eventually_within, http_client,
    process::{Process, program_of},
};

/// A free port outside the ephemeral range. A client that waits for a port of that range could
/// connect to itself.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = 10_000 + u16::from_le_bytes(super::random()) % 22_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A client of one service's JSON protocol. The local services do not check the signature.
#[derive(Clone, Debug)]
pub(crate) struct ServiceClient {
    http: reqwest::Client,
    url: String,
    service: &'static str,
    prefix: &'static str,
}

impl ServiceClient {
    pub(crate) fn new(url: &str, service: &'static str, prefix: &'static str) -> Self {
        Self { http: http_client(), url: url.to_owned(), service, prefix }
    }

    /// Calls an operation; the error is the service's reply.
    pub(crate) async fn attempt(&self, operation: &str, input: &Value) -> Result<Value, String> {
        let response = self
            .http
            .post(&self.url)
            .header("authorization", authorization(self.service))
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("{}.{operation}", self.prefix))
            .body(input.to_string())
            .send()
            .await
            .map_err(|error| format!("{operation}: no answer: {error:?}"))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| format!("{operation}: {error:?}"))?;
        if !status.is_success() {
            return Err(format!("{operation}: {status}: {text}"));
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Calls an operation that must succeed.
    pub(crate) async fn call(&self, operation: &str, input: &Value) -> Value {
        self.attempt(operation, input).await.unwrap_or_else(|error| panic!("{error}"))
    }
}

/// DynamoDB Local separates data by access key, and moto by region.
pub(crate) fn authorization(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260101/{REGION}/{service}/aws4_request, \
         SignedHeaders=host, Signature=00"
    )
}

/// A program of the Python environment for AWS.
pub(crate) fn aws_program(program: &str) -> Command {
    program_of("aws", program, "make test-aws")
}

/// Moto: Secrets Manager, SQS and related services.
#[derive(Debug)]
pub struct Moto {
    url: String,
    _process: Process,
}

impl Moto {
    /// Starts moto.
    pub async fn start() -> Self {
        let port = free_port();
        let mut command = aws_program("python");
        command.args(["tools/locked_moto.py", &port.to_string()]);
        let (mut process, url) = (Process::spawn(command), format!("http://127.0.0.1:{port}"));
        let http = http_client();
        let process_ref = &mut process;
        let mut ended =
            move || process_ref.ended().map(|status| format!("{status}: {}", process_ref.report()));
        eventually_within(Duration::from_mins(1), "moto", || {
            let (ended, answer) = (ended(), http.get(format!("{url}/moto-api/data.json")).send());
            async move {
                if let Some(report) = ended {
                    panic!("moto ended: {report}");
                }
                answer.await.map(drop).map_err(|error| format!("{error:?}"))
            }
        })
        .await;
        // Lambda functions in moto are only names: the kit invokes the functions.
        let config = json!({ "lambda": { "use_docker": false } });
        let set = http.post(format!("{url}/moto-api/config")).json(&config).send().await;
        assert!(set.is_ok_and(|answer| answer.status().is_success()), "moto takes no configuration");
        Self { url, _process: process }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The environment variables with which `aws` reaches moto.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.url.clone()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "nobody's".to_owned()),
        ]
    }

    /// Creates a bucket of S3.
    pub(crate) async fn create_bucket(&self, name: &str) {
        let region = format!(
            "<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        );
        let request = http_client().put(format!("{}/{name}", self.url)).body(region);
        let made = request.header("authorization", authorization("s3")).send().await;
        assert!(made.is_ok_and(|answer| answer.status().is_success()), "moto makes no bucket");
    }

    /// The text of an object of S3, if it exists.
    pub(crate) async fn object(&self, bucket: &str, key: &str) -> Option<String> {
        let request = http_client().get(format!("{}/{bucket}/{key}", self.url));
        let found = request.header("authorization", authorization("s3")).send().await.expect("moto answers");
        if !found.status().is_success() {
            return None;
        }
        Some(found.text().await.expect("a text"))
    }

    /// Registers a function in moto, and returns its ARN.
    pub(crate) async fn register_function(&self, name: &str) -> String {
        let http = http_client();
        let role = http
            .post(&self.url)
            .header("authorization", authorization("iam"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("Action=CreateRole&Version=2010-05-08&RoleName=function&AssumeRolePolicyDocument=%7B%7D")
            .send()
            .await;
        assert!(role.is_ok_and(|answer| answer.status().is_success()), "moto makes no role");
        let function = json!({
            "FunctionName": name,
            "Runtime": "provided.al2023",
            "Handler": "bootstrap",
            "Role": format!("arn:aws:iam::{ACCOUNT}:role/function"),
            // An empty archive.
            "Code": { "ZipFile": "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==" },
        });
        let made: Value = http
            .post(format!("{}/2015-03-31/functions", self.url))
            .header("authorization", authorization("lambda"))
            .json(&function)
            .send()
            .await
            .expect("moto answers")
            .json()
            .await
            .expect("JSON");
        made["FunctionArn"].as_str().unwrap_or_else(|| panic!("no function: {made}")).to_owned()
    }
}

//! TLS endpoints in the place of Secrets Manager and DynamoDB.
//!
//! Secrets Manager's only reply is built here. DynamoDB's replies are recorded from a real DynamoDB
//! and replayed in the measurement, so that no database and no second program affects the figures.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, crypto,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::NoServerSessionStorage,
    },
};

/// A DynamoDB call and its reply.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    target: String,
    request: Value,
    status: u16,
    crc32: Option<String>,
    answer: String,
}

impl Call {
    /// The jobs that the call wrote, as messages of the queue.
    pub(crate) fn jobs(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect_jobs(&self.request, &mut found);
        found
    }
}

fn collect_jobs(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            let text = |name| members.get(name).and_then(|value: &Value| value["S"].as_str());
            match (text("pk"), text("sk")) {
                (Some(partition), Some(id)) if partition.starts_with("jobs#") => {
                    found.push(json!({ "job_id": id, "partition": partition }).to_string());
                }
                _ => members.values().for_each(|value| collect_jobs(value, found)),
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_jobs(value, found)),
        _ => {}
    }
}

/// The backend of the DynamoDB endpoint.
pub(crate) enum Backend {
    /// A DynamoDB at `host:port` over plain HTTP, with recorded replies.
    Database(String),
    /// Recorded replies.
    Recorded(Arc<Vec<Call>>),
}

struct State {
    backend: Backend,
    recorded: Vec<Call>,
    counts: BTreeMap<String, u32>,
}

/// The endpoints.
#[derive(Clone)]
pub(crate) struct Endpoints {
    key: String,
    secrets: u16,
    database: u16,
    state: Arc<Mutex<State>>,
}

impl Endpoints {
    /// Starts the endpoints with the certificates of a folder and the secret `key`.
    pub(crate) async fn start(certificates: &Path, key: &str, backend: Backend) -> Result<Self> {
        let acceptor = acceptor(certificates)?;
        // Two, because on AWS they are two hosts with separate connections.
        let (secrets, database) =
            (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let aws = Self {
            key: key.to_owned(),
            secrets: secrets.local_addr()?.port(),
            database: database.local_addr()?.port(),
            state: Arc::new(Mutex::new(State { backend, recorded: Vec::new(), counts: BTreeMap::new() })),
        };
        for listener in [secrets, database] {
            let (aws, acceptor) = (aws.clone(), acceptor.clone());
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, acceptor.clone(), aws.clone()));
                }
            });
        }
        Ok(aws)
    }

    /// The variables that point the SDKs to these endpoints.
    pub(crate) fn variables(&self) -> [(&'static str, String); 2] {
        [
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", format!("https://localhost:{}", self.secrets)),
            ("AWS_ENDPOINT_URL_DYNAMODB", format!("https://localhost:{}", self.database)),
        ]
    }

    /// Replays other replies from now on.
    pub(crate) fn play(&self, calls: Arc<Vec<Call>>) {
        self.state().backend = Backend::Recorded(calls);
    }

    /// Takes the recorded replies.
    pub(crate) fn take_recorded(&self) -> Vec<Call> {
        std::mem::take(&mut self.state().recorded)
    }

    /// Takes the number of calls for each operation.
    pub(crate) fn take_counts(&self) -> BTreeMap<String, u32> {
        std::mem::take(&mut self.state().counts)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let target = text(&head.headers, "x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        *self.state().counts.entry(operation).or_default() += 1;
        if target == "secretsmanager.GetSecretValue" {
            return Ok(reply(200, "application/x-amz-json-1.1", None, self.secret().into())?);
        }
        let asked: Value = serde_json::from_slice(&body)?;
        let database = match &self.state().backend {
            Backend::Database(address) => address.clone(),
            Backend::Recorded(calls) => {
                let call = find(calls, &target, &asked)
                    .with_context(|| format!("no recorded reply to {target} {asked}"))?;
                let answer = Bytes::from(call.answer.clone());
                return Ok(reply(call.status, "application/x-amz-json-1.0", call.crc32.as_deref(), answer)?);
            }
        };
        let (status, headers, answer) = forward(&database, &target, body).await?;
        let call = Call {
            target,
            request: asked,
            status: status.as_u16(),
            crc32: text(&headers, "x-amz-crc32"),
            answer: String::from_utf8(answer.to_vec())?,
        };
        let reply = reply(call.status, "application/x-amz-json-1.0", call.crc32.as_deref(), answer)?;
        self.state().recorded.push(call);
        Ok(reply)
    }

    fn secret(&self) -> String {
        json!({
            "ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:onerun-root-AbCdEf",
            "CreatedDate": 1_795_426_200.123,
            "Name": "onerun-root",
            "SecretString": self.key,
            "VersionId": "a1b2c3d4-5678-90ab-cdef-EXAMPLE11111",
            "VersionStages": ["AWSCURRENT"],
        })
        .to_string()
    }
}

/// The reply to the same request, or else to one of the same operation, because write requests
/// contain new ids.
fn find<'a>(calls: &'a [Call], target: &str, asked: &Value) -> Option<&'a Call> {
    let mut same = calls.iter().filter(|call| call.target == target).peekable();
    let first = same.peek().copied();
    same.find(|call| call.request == *asked).or(first)
}

/// Calls a DynamoDB.
pub(crate) async fn forward(
    address: &str,
    target: &str,
    body: Bytes,
) -> Result<(StatusCode, HeaderMap, Bytes)> {
    let stream = TcpStream::connect(address).await.with_context(|| address.to_owned())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    // A local DynamoDB does not check the signature, but reads the owner of the tables from it.
    let request = Request::post("/")
        .header("host", address)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", target)
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=BENCH/20261123/us-east-1/dynamodb/aws4_request, \
             SignedHeaders=host, Signature=0",
        )
        .body(Full::new(body))?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    Ok((head.status, head.headers, body.collect().await?.to_bytes()))
}

/// Creates the table with its keys only: no measured operation reads an index.
pub(crate) async fn create_table(address: &str, table: &str) -> Result<()> {
    let schema = json!({
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [
            { "AttributeName": "pk", "KeyType": "HASH" },
            { "AttributeName": "sk", "KeyType": "RANGE" },
        ],
        "AttributeDefinitions": [
            { "AttributeName": "pk", "AttributeType": "S" },
            { "AttributeName": "sk", "AttributeType": "S" },
        ],
    });
    let (status, _, answer) =
        forward(address, "DynamoDB_20120810.CreateTable", schema.to_string().into()).await?;
    if !status.is_success() {
        bail!("the table was not made: {}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, aws: Endpoints) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(move |request| {
        let aws = aws.clone();
        async move {
            let answered = aws.answer(request).await;
            Ok::<_, Infallible>(answered.unwrap_or_else(|error| {
                // An error that no SDK retries, so that the function fails and the run ends at
                // once.
                let body = json!({ "__type": "ValidationException", "message": format!("{error:#}") });
                let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
                *response.status_mut() = StatusCode::BAD_REQUEST;
                response
            }))
        }
    });
    // A killed process closes its connection.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// TLS like AWS's endpoints: an RSA key of 2,048 bits, one intermediate certificate, HTTP/1.1.
fn acceptor(folder: &Path) -> Result<TlsAcceptor> {
    let read =
        |name: &str| fs::read(folder.join(name)).with_context(|| folder.join(name).display().to_string());
    let chain = read("chain.pem")?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&read("leaf.key")?)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Both endpoints have one name here and two on AWS, where one's session cannot resume the
    // other's.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn reply(
    status: u16,
    content_type: &str,
    crc32: Option<&str>,
    body: Bytes,
) -> http::Result<Response<Full<Bytes>>> {
    let mut response = Response::builder()
        .status(status)
        .header("content-type", content_type)
        .header("x-amzn-requestid", "b25f48e8-84fd-11e6-80d9-574e0c4664cb");
    if let Some(crc32) = crc32 {
        response = response.header("x-amz-crc32", crc32);
    }
    response.body(Full::new(body))
}

//! A client whose calls fail as a test asks, in front of the DynamoDB in `ONERUN_TEST_DYNAMODB`.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    config::{HttpClient, RuntimeComponents, SharedHttpClient},
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use onerun_store_dynamodb::{DynamoDbStore, local::ScratchTable};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The fault of a call.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The call succeeds.
    None,
    /// The call is not carried out, and answered with this status and body.
    Refused(u16, Value),
    /// The call is carried out, and the connection breaks before the answer.
    Lost,
    /// The call is never answered.
    Hung,
    /// The call is carried out after this time.
    Slow(Duration),
    /// Of a batch of keys, only this many are processed.
    Partial(usize),
}

impl Fault {
    pub(crate) fn error(status: u16, code: &str) -> Self {
        let kind = format!("com.amazonaws.dynamodb.v20120810#{code}");
        Self::Refused(status, json!({ "__type": kind, "message": "not now" }))
    }

    /// An answer of a proxy in front of DynamoDB.
    pub(crate) fn bare(status: u16) -> Self {
        Self::Refused(status, Value::Null)
    }

    pub(crate) fn canceled(reason: &str) -> Self {
        Self::Refused(
            400,
            json!({
                "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                "Message": format!("Transaction cancelled, please refer cancellation reasons for specific reasons [{reason}]"),
                "CancellationReasons": [{ "Code": reason, "Message": "not now" }],
            }),
        )
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Such as `GetItem`.
    pub(crate) operation: String,
    /// The number of earlier calls of the same operation, and of all operations.
    pub(crate) number: usize,
    pub(crate) total: usize,
    /// The request body.
    pub(crate) body: Value,
}

type Script = dyn Fn(&Call) -> Fault + Send + Sync;

#[derive(Clone)]
pub(crate) struct Faulty {
    inner: SharedHttpClient,
    script: Arc<Script>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Faulty {
    /// A client that asks `script` for the fault of each call.
    pub(crate) fn new(script: impl Fn(&Call) -> Fault + Send + Sync + 'static) -> Self {
        let inner = aws_smithy_http_client::Builder::new().build_http();
        Self { inner, script: Arc::new(script), calls: Arc::default() }
    }

    pub(crate) fn calls(&self, operation: &str) -> Vec<Call> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|call| call.operation == operation).cloned().collect()
    }

    pub(crate) fn store(&self, table: &ScratchTable) -> DynamoDbStore {
        let client = table.client();
        let config = client.config().to_builder().http_client(self.clone()).build();
        DynamoDbStore::new(Client::from_conf(config), table.name())
    }

    fn note(&self, request: &HttpRequest) -> Call {
        let target = request.headers().get("x-amz-target").expect("every call names its operation");
        let operation = target.rsplit('.').next().unwrap().to_owned();
        let body = serde_json::from_slice(request.body().bytes().expect("a body that is in memory")).unwrap();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let number = calls.iter().filter(|call| call.operation == operation).count();
        let call = Call { operation, number, total: calls.len(), body };
        calls.push(call.clone());
        call
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Faulty")
    }
}

impl HttpClient for Faulty {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Connector { inner, faulty: self.clone() })
    }
}

#[derive(Debug)]
struct Connector {
    inner: SharedHttpConnector,
    faulty: Faulty,
}

impl HttpConnector for Connector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let call = self.faulty.note(&request);
        let fault = (self.faulty.script)(&call);
        let inner = self.inner.clone();
        HttpConnectorFuture::new(async move {
            match fault {
                Fault::None => carry_out(inner, request).await,
                Fault::Refused(status, body) => Ok(response(status, &body)),
                Fault::Lost => {
                    carry_out(inner, request).await?;
                    Err(ConnectorError::io("the connection broke".into()))
                }
                Fault::Hung => std::future::pending().await,
                Fault::Slow(time) => {
                    tokio::time::sleep(time).await;
                    carry_out(inner, request).await
                }
                Fault::Partial(most) => {
                    let (now, later) = split(&call.body, most);
                    let body = now.to_string();
                    request.headers_mut().insert("content-length", body.len().to_string());
                    *request.body_mut() = SdkBody::from(body);
                    let mut answer = if most == 0 {
                        json!({ "Responses": {} })
                    } else {
                        let answered = carry_out(inner, request).await?;
                        serde_json::from_slice(answered.body().bytes().unwrap()).unwrap()
                    };
                    answer["UnprocessedKeys"] = later;
                    Ok(response(200, &answer))
                }
            }
        })
    }
}

/// The requests for the first keys of a batch, and for the rest.
fn split(body: &Value, most: usize) -> (Value, Value) {
    let (mut now, mut later) = (body.clone(), HashMap::new());
    for (table, request) in now["RequestItems"].as_object_mut().unwrap() {
        let keys = request["Keys"].as_array_mut().unwrap();
        let rest = keys.split_off(most.min(keys.len()));
        if !rest.is_empty() {
            later.insert(table.clone(), json!({ "Keys": rest, "ConsistentRead": true }));
        }
    }
    (now, json!(later))
}

fn response(status: u16, body: &Value) -> HttpResponse {
    let body = if body.is_null() { "<html>not now</html>".to_owned() } else { body.to_string() };
    let response = http::Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.0")
        .body(SdkBody::from(body));
    response.unwrap().try_into().unwrap()
}

/// Makes a call in its own runtime, while a blocking thread of the caller's runtime waits for it.
/// Paused time stands still while such a thread runs, so it advances only where the store itself
/// waits.
async fn carry_out(
    connector: SharedHttpConnector,
    request: HttpRequest,
) -> Result<HttpResponse, ConnectorError> {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    let answered = async move {
        // With the whole body, which also comes through the connection.
        let mut answer = connector.call(request).await?;
        let body = ByteStream::new(answer.take_body()).collect().await;
        *answer.body_mut() =
            SdkBody::from(body.map_err(|error| ConnectorError::io(error.into()))?.into_bytes());
        Ok(answer)
    };
    tokio::task::spawn_blocking(|| RUNTIME.block_on(answered)).await.unwrap()
}

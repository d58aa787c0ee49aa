//! A meter between an application and its DynamoDB: what its calls consume, how often they wait for each other, and
//! which transactions are cancelled.
//!
//! Reads are counted as DynamoDB Local reports them (`ConsumedCapacity`). It counts transactions wrongly, so writes are
//! computed by AWS's rules from the items before and after ([`capacity`]).

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use onerun_store_dynamodb::{
    DynamoDbStore,
    local::{self, ScratchTable},
};
use serde_json::{Value, json};

use super::capacity::{self, Images, Indexes};
use crate::listener::Listener;

/// The consumption of some calls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Units {
    /// Write units, with those of indexes.
    pub writes: u32,
    /// Read units.
    pub reads: f64,
    /// Calls to DynamoDB.
    pub calls: u32,
    /// Round trips in a row: calls that ran at the same time count once.
    pub rounds: u32,
    /// Transactions that were cancelled because of another one.
    pub conflicts: u32,
}

/// The consumption of some calls in one partition of the table or of its index.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Write units.
    pub writes: f64,
    /// Read units. Those of a call for several items are divided equally.
    pub reads: f64,
}

#[derive(Debug, Default)]
struct Counted {
    units: Units,
    in_flight: u32,
    log: String,
    loads: BTreeMap<String, Load>,
    calls: Vec<(String, Value)>,
}

/// A relay to DynamoDB that asks for the consumed capacity of every call.
#[derive(Debug)]
pub struct Meter {
    counted: Arc<Mutex<Counted>>,
    listener: Listener,
}

impl Meter {
    /// A meter before the DynamoDB at `upstream`.
    pub async fn start(upstream: &str) -> Self {
        Self::over(upstream, None).await
    }

    /// A meter that holds each call for some time before it passes it on, as a network does. It counts calls and round
    /// trips, and no units: the calls that this takes would cost time.
    pub async fn with_latency(upstream: &str, latency: Duration) -> Self {
        Self::over(upstream, Some(latency)).await
    }

    async fn over(upstream: &str, latency: Option<Duration>) -> Self {
        let counted: Arc<Mutex<Counted>> = Arc::default();
        let (shared, upstream) = (Arc::clone(&counted), format!("{}/", upstream.trim_end_matches('/')));
        let http = crate::http_client();
        let answer =
            move |_, request| pass(upstream.clone(), http.clone(), Arc::clone(&shared), latency, request);
        let listener = Listener::start(SocketAddr::from(([127, 0, 0, 1], 0)), answer);
        Self { counted, listener: listener.await.expect("a free port") }
    }

    /// The address for clients of DynamoDB.
    pub fn url(&self) -> String {
        format!("http://{}", self.listener.address())
    }

    pub(super) fn store(&self, table: &ScratchTable) -> DynamoDbStore {
        DynamoDbStore::new(local::client(&self.url()), table.name())
    }

    /// The consumption since the last call of this method.
    pub fn take(&self) -> Units {
        self.take_logged().0
    }

    /// The consumption of each partition since the last call of this method.
    pub fn take_loads(&self) -> BTreeMap<String, Load> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut counted.loads)
    }

    /// The calls since the last call of this method: their targets and inputs.
    pub fn take_calls(&self) -> Vec<(String, Value)> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut counted.calls)
    }

    /// Like [`take`](Self::take), with one line for each call.
    pub fn take_logged(&self) -> (Units, String) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut counted.units), std::mem::take(&mut counted.log))
    }
}

#[derive(Clone)]
struct Upstream {
    http: reqwest::Client,
    url: String,
    headers: http::HeaderMap,
}

impl Upstream {
    async fn send(&self, operation: &str, input: &Value) -> Option<(StatusCode, Bytes)> {
        let mut headers = self.headers.clone();
        headers.insert("x-amz-target", format!("DynamoDB_20120810.{operation}").parse().ok()?);
        let sent = self.http.post(&self.url).headers(headers).body(input.to_string()).send().await.ok()?;
        Some((sent.status(), sent.bytes().await.ok()?))
    }

    async fn ask(&self, operation: &str, input: &Value) -> Value {
        let answer = self.send(operation, input).await.expect("DynamoDB answers");
        serde_json::from_slice(&answer.1).expect("JSON")
    }

    /// The items with these keys.
    async fn images(&self, table: &str, keys: &[Value]) -> Images {
        let mut images = Images::default();
        for keys in keys.chunks(100) {
            let asked = json!({ "RequestItems": { table: { "Keys": keys, "ConsistentRead": true } } });
            images.take(&self.ask("BatchGetItem", &asked).await["Responses"][table]);
        }
        images
    }
}

async fn pass(
    url: String,
    http: reqwest::Client,
    counted: Arc<Mutex<Counted>>,
    latency: Option<Duration>,
    request: Request<Bytes>,
) -> Option<Response<Bytes>> {
    let (head, body) = request.into_parts();
    let target = head.headers.get("x-amz-target")?.to_str().ok()?.to_owned();
    let operation = target.rsplit('.').next().unwrap_or_default();
    let mut input: Value = serde_json::from_slice(&body).ok()?;
    input["ReturnConsumedCapacity"] = "TOTAL".into();
    let mut headers = head.headers;
    for name in [http::header::HOST, http::header::CONTENT_LENGTH, http::header::CONNECTION] {
        headers.remove(name);
    }
    let upstream = Upstream { http, url, headers };
    let written = if latency.is_none() { capacity::written(operation, &input) } else { Vec::new() };
    let (table, keys) = (capacity::table(&input), capacity::keys(&written));
    let before = upstream.images(&table, &keys).await;
    let lock = || counted.lock().unwrap_or_else(PoisonError::into_inner);
    {
        let mut counted = lock();
        counted.calls.push((target.clone(), input.clone()));
        counted.units.rounds += u32::from(counted.in_flight == 0);
        counted.in_flight += 1;
    }
    if let Some(latency) = latency {
        tokio::time::sleep(latency).await;
    }
    let answered = upstream.send(operation, &input).await;
    lock().in_flight -= 1;
    let Some((status, bytes)) = answered else {
        return Response::builder().status(StatusCode::BAD_GATEWAY).body(Bytes::new()).ok();
    };
    let output = serde_json::from_slice(&bytes).unwrap_or_default();
    let mut writes = Vec::new();
    if !written.is_empty() && status.is_success() {
        let after = upstream.images(&table, &keys).await;
        let described = upstream.ask("DescribeTable", &json!({ "TableName": table })).await;
        let indexes = Indexes::read(&described["Table"]);
        writes = indexes.units(&written, &before, &after, operation == "TransactWriteItems");
    }
    lock().count(operation, &input, &output, &writes);
    let response = Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
    response.body(bytes).ok()
}

impl Counted {
    fn count(&mut self, operation: &str, input: &Value, output: &Value, consumed: &[(String, u32)]) {
        let writes: u32 = consumed.iter().map(|(_, units)| units).sum();
        for (partition, units) in consumed {
            self.loads.entry(partition.clone()).or_default().writes += f64::from(*units);
        }
        let mut reads = 0.0;
        if writes == 0 {
            reads = match &output["ConsumedCapacity"] {
                Value::Array(all) => all.iter().filter_map(|table| table["CapacityUnits"].as_f64()).sum(),
                table => table["CapacityUnits"].as_f64().unwrap_or_default(),
            };
        }
        let read = if writes == 0 { partitions(input) } else { Vec::new() };
        for partition in &read {
            self.loads.entry(partition.clone()).or_default().reads += reads / read.len() as f64;
        }
        self.units.calls += 1;
        self.units.writes += writes;
        self.units.reads += reads;
        self.units.conflicts += u32::from(output.to_string().contains("TransactionConflict"));
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.log, "{operation:18} {writes:3} {reads:5} {}", keys(input).join(" "));
    }
}

/// The partitions of the items that a call reads, each as often as it names one.
fn partitions(input: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(input, &["pk", ":p"], &mut |text| found.push(text.to_owned()));
    found
}

/// The keys that a call names, without ids.
fn keys(input: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(input, &["pk", "sk", ":p"], &mut |text| found.push(short(text)));
    found
}

fn collect(value: &Value, names: &[&str], found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value["S"].as_str() {
                    Some(text) if names.contains(&name.as_str()) => found(text),
                    _ => collect(value, names, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, names, found)),
        _ => {}
    }
}

/// A key whose ids are replaced by their first letters.
fn short(key: &str) -> String {
    let part = |part: &str| if part.len() > 11 { format!("{}…", &part[..3]) } else { part.to_owned() };
    key.split('#').map(part).collect::<Vec<_>>().join("#")
}

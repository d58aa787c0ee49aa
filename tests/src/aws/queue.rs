//! Queues, and Lambda's event source mapping from one to a function.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    ACCOUNT, REGION,
    function::{Function, InvocationError},
    service::ServiceClient,
};

/// A queue of SQS.
#[derive(Clone, Debug)]
pub struct Queue {
    caller: ServiceClient,
    url: String,
    /// The ARN.
    pub arn: String,
}

impl Queue {
    /// Creates a queue with these attributes.
    pub(crate) async fn create(moto: &str, name: &str, attributes: &Value) -> Self {
        let caller = ServiceClient::new(moto, "sqs", "AmazonSQS");
        let made = caller.call("CreateQueue", &json!({ "QueueName": name, "Attributes": attributes })).await;
        let url = made["QueueUrl"].as_str().unwrap_or_else(|| panic!("no queue: {made}")).to_owned();
        Self { caller, url, arn: format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}") }
    }

    /// Changes an attribute, such as `VisibilityTimeout`.
    pub async fn set(&self, name: &str, value: &str) {
        let changed = json!({ "QueueUrl": self.url, "Attributes": { name: value } });
        self.caller.call("SetQueueAttributes", &changed).await;
    }

    /// Sends a message that becomes visible after `delay` seconds.
    pub async fn send(&self, body: &str, delay: u32) {
        let message = json!({ "QueueUrl": self.url, "MessageBody": body, "DelaySeconds": delay });
        self.caller.call("SendMessage", &message).await;
    }

    /// Receives up to ten visible messages, which are then hidden for the visibility timeout.
    pub async fn receive(&self, limit: u32) -> Vec<Value> {
        let asked = json!({
            "QueueUrl": self.url, "MaxNumberOfMessages": limit, "AttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        });
        self.caller.call("ReceiveMessage", &asked).await["Messages"].as_array().cloned().unwrap_or_default()
    }

    async fn delete(&self, receipt: &Value) {
        self.caller.call("DeleteMessage", &json!({ "QueueUrl": self.url, "ReceiptHandle": receipt })).await;
    }

    /// The number of messages, including hidden and delayed ones.
    pub async fn depth(&self) -> u64 {
        const NAMES: [&str; 3] = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ];
        let asked = json!({ "QueueUrl": self.url, "AttributeNames": NAMES });
        let found = self.caller.call("GetQueueAttributes", &asked).await;
        let number = |name: &&str| {
            let value = found["Attributes"][*name].as_str().and_then(|text| text.parse::<u64>().ok());
            value.unwrap_or_else(|| panic!("no {name} in {found}"))
        };
        NAMES.iter().map(number).sum()
    }

    /// Receives once and invokes `function`, as Lambda does for an event source with partial batch
    /// responses. Messages that the function reports as failed stay in the queue, as do all if it
    /// fails. The others are deleted. Returns the number of received messages.
    pub async fn poll(&self, function: &Arc<Function>, batch_size: u32) -> usize {
        let messages = self.receive(batch_size).await;
        if messages.is_empty() {
            return 0;
        }
        let records: Vec<Value> = messages.iter().map(|message| self.record(message)).collect();
        let failed = failures(function.invoke(&json!({ "Records": records })).await, &messages);
        for message in &messages {
            if !failed.iter().any(|failed| *failed == message["MessageId"]) {
                self.delete(&message["ReceiptHandle"]).await;
            }
        }
        messages.len()
    }

    /// <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event>
    fn record(&self, message: &Value) -> Value {
        json!({
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": message.get("MessageAttributes").cloned().unwrap_or(json!({})),
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self.arn,
            "awsRegion": REGION,
        })
    }
}

/// The messages that a function failed to handle: all of them if it fails, if its reply is invalid,
/// or if it names an unknown message.
fn failures(outcome: Result<Value, InvocationError>, messages: &[Value]) -> Vec<Value> {
    let everything = || messages.iter().map(|message| message["MessageId"].clone()).collect();
    let Ok(answer) = outcome else { return everything() };
    match answer.get("batchItemFailures") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(failures)) => {
            let named: Vec<Value> =
                failures.iter().map(|failure| failure["itemIdentifier"].clone()).collect();
            let is_known = |named: &Value| messages.iter().any(|message| message["MessageId"] == *named);
            if named.iter().all(is_known) { named } else { everything() }
        }
        Some(_) => everything(),
    }
}

/// The event for messages with these bodies, at their `received`-th delivery.
pub fn sqs_event(bodies: &[&str], received: u32) -> Value {
    let record = |(number, body): (usize, &&str)| {
        json!({
            "messageId": format!("00000000-0000-4000-8000-{number:012}"),
            "receiptHandle": format!("receipt-{number}-{received}"),
            "body": body,
            "attributes": {
                "ApproximateReceiveCount": received.to_string(),
                "SentTimestamp": "1545082649183",
                "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                "ApproximateFirstReceiveTimestamp": "1545082649185",
            },
            "messageAttributes": {},
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "eventSource": "aws:sqs",
            "eventSourceARN": format!("arn:aws:sqs:{REGION}:{ACCOUNT}:onerun-jobs"),
            "awsRegion": REGION,
        })
    };
    json!({ "Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>() })
}

/// The id of the `number`-th message of [`sqs_event`].
pub fn message_id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

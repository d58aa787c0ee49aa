//! The EventBridge pipe from the table's stream to a queue. The stream is read from DynamoDB, and the
//! template's filters and input template are applied as EventBridge applies them.

use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{queue::Queue, service::ServiceClient};

/// A reader's position in a table's stream.
#[derive(Debug)]
pub(crate) struct Stream {
    caller: ServiceClient,
    arn: String,
    /// The known shards, each with its next iterator unless the shard has ended.
    shards: Mutex<Vec<(String, Option<String>)>>,
}

impl Stream {
    pub(crate) fn new(dynamodb: &str, arn: &str) -> Self {
        Self {
            caller: ServiceClient::new(dynamodb, "dynamodb", "DynamoDBStreams_20120810"),
            arn: arn.to_owned(),
            shards: Mutex::default(),
        }
    }

    /// The records since the last call, in order.
    pub(crate) async fn read(&self) -> Vec<Value> {
        let mut shards = self.shards.lock().await;
        if shards.iter().all(|(_, iterator)| iterator.is_none()) {
            let described = self.caller.call("DescribeStream", &json!({ "StreamArn": self.arn })).await;
            let found = described["StreamDescription"]["Shards"].as_array().cloned().unwrap_or_default();
            for shard in found.iter().filter_map(|shard| shard["ShardId"].as_str()) {
                if shards.iter().any(|(known, _)| known == shard) {
                    continue;
                }
                shards.push((shard.to_owned(), self.oldest(shard).await));
            }
        }
        let mut records = Vec::new();
        for (shard, iterator) in shards.iter_mut() {
            // Reads until it has caught up, because one reply is only a page.
            while let Some(position) = iterator.take() {
                let page =
                    match self.caller.attempt("GetRecords", &json!({ "ShardIterator": position })).await {
                        Ok(page) => page,
                        // DynamoDB Local may trim a shard while it is read. A pipe then continues with the oldest
                        // record that is left; deliveries that this repeats change nothing.
                        Err(error) if error.contains("TrimmedDataAccessException") => {
                            *iterator = self.oldest(shard).await;
                            break;
                        }
                        Err(error) => panic!("{error}"),
                    };
                *iterator = page["NextShardIterator"].as_str().map(str::to_owned);
                let found = page["Records"].as_array().cloned().unwrap_or_default();
                if found.is_empty() {
                    break;
                }
                records.extend(found);
            }
        }
        records
    }

    /// An iterator at the oldest record of a shard.
    async fn oldest(&self, shard: &str) -> Option<String> {
        let asked = json!({ "StreamArn": self.arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON" });
        let answer = self.caller.call("GetShardIterator", &asked).await;
        answer["ShardIterator"].as_str().map(str::to_owned)
    }
}

/// A subscription of the pipe's topic.
#[derive(Debug)]
pub(crate) struct Subscription {
    filter: Value,
    target: Queue,
}

impl Subscription {
    /// A subscription of the template, by its properties, whose endpoint is this queue.
    pub(crate) fn new(properties: &Value, target: &Queue) -> Self {
        assert_eq!(properties["RawMessageDelivery"], true, "the queue gets the message itself");
        assert_eq!(properties["FilterPolicyScope"], "MessageBody", "the filter is about the message");
        Self { filter: properties["FilterPolicy"].clone(), target: target.clone() }
    }

    /// Whether a message passes the filter.
    ///
    /// <https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html>
    fn takes(&self, message: &str) -> bool {
        matches(&self.filter, &serde_json::from_str(message).expect("a message in JSON"))
    }
}

/// A table's stream with its pipe, and the topic behind it.
#[derive(Debug)]
pub(crate) struct PipeRun {
    pub(crate) stream: Stream,
    pub(crate) pipe: Pipe,
    pub(crate) subscriptions: Vec<Subscription>,
}

impl PipeRun {
    /// The messages for new records of the stream.
    pub(crate) async fn messages(&self) -> Vec<String> {
        self.stream.read().await.iter().filter_map(|record| self.pipe.message(record)).collect()
    }

    /// Sends the messages for new records of the stream to their queues.
    pub(crate) async fn run(&self) {
        for message in self.messages().await {
            for subscription in self.subscriptions.iter().filter(|one| one.takes(&message)) {
                subscription.target.send(&message, 0).await;
            }
        }
    }
}

/// A pipe's filters and input template.
#[derive(Clone, Debug)]
pub(crate) struct Pipe {
    patterns: Vec<Value>,
    input_template: String,
}

impl Pipe {
    /// A pipe of the template, by its properties.
    pub(crate) fn new(properties: &Value) -> Self {
        let filters = properties["SourceParameters"]["FilterCriteria"]["Filters"].as_array();
        let pattern = |filter: &Value| {
            let text = filter["Pattern"].as_str().expect("a pattern");
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
        };
        let patterns = filters.into_iter().flatten().map(pattern).collect();
        let input_template = properties["TargetParameters"]["InputTemplate"].as_str().expect("a template");
        Self { patterns, input_template: input_template.to_owned() }
    }

    /// The message for a record, if the record passes the filters.
    pub(crate) fn message(&self, record: &Value) -> Option<String> {
        let passes = self.patterns.iter().any(|pattern| matches(pattern, record));
        passes.then(|| fill(&self.input_template, record))
    }
}

/// Whether an event matches an EventBridge pattern: each member is present with one of the listed
/// values.
///
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html>
fn matches(pattern: &Value, event: &Value) -> bool {
    let Some(pattern) = pattern.as_object() else { panic!("a pattern that is no object: {pattern}") };
    pattern.iter().all(|(name, wanted)| {
        let found = event.get(name);
        match wanted {
            Value::Object(_) => found.is_some_and(|found| matches(wanted, found)),
            Value::Array(choices) => choices.iter().any(|choice| is_value(choice, found)),
            _ => panic!("neither an object nor a list in a pattern: {wanted}"),
        }
    })
}

fn is_value(choice: &Value, found: Option<&Value>) -> bool {
    match choice {
        Value::Object(test) => match test.iter().next() {
            Some((name, Value::String(prefix))) if name == "prefix" && test.len() == 1 => {
                found.and_then(Value::as_str).is_some_and(|text| text.starts_with(prefix.as_str()))
            }
            _ => panic!("the test does not know the comparison {choice}"),
        },
        _ => found == Some(choice),
    }
}

/// An input template with its references, such as `<$.dynamodb.Keys.sk.S>`, filled in as JSON.
///
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-input-transformation.html>
fn fill(template: &str, record: &Value) -> String {
    let mut result = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("<$.") {
        let (path, after) = after.split_once('>').expect("the end of a reference");
        result.push_str(before);
        let value = path.split('.').try_fold(record, |value, name| value.get(name));
        // An absent value becomes an empty text.
        result.push_str(&value.unwrap_or(&Value::String(String::new())).to_string());
        rest = after;
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipe_passes_only_records_that_its_filters_match() {
        let pipe = Pipe::new(&json!({
            "SourceParameters": { "FilterCriteria": { "Filters": [
                { "Pattern": r#"{"eventName":["INSERT"],"dynamodb":{"Keys":{"pk":{"S":[{"prefix":"jobs#"}]}}}}"# },
                { "Pattern": r#"{"eventName":["MODIFY"],"dynamodb":{"NewImage":{"due":{"S":[{"prefix":"0#"}]}}}}"# },
            ] } },
            "TargetParameters": { "InputTemplate": r#"{"job_id": <$.dynamodb.Keys.sk.S>, "gone": <$.dynamodb.no>}"# },
        }));
        let record = |name: &str, pk: &str, due: &str| {
            json!({ "eventName": name, "dynamodb": {
                "Keys": { "pk": { "S": pk }, "sk": { "S": "a\"b" } }, "NewImage": { "due": { "S": due } },
            } })
        };
        let message = pipe.message(&record("INSERT", "jobs#0", "1#")).unwrap();
        assert_eq!(message, r#"{"job_id": "a\"b", "gone": ""}"#);
        assert!(pipe.message(&record("MODIFY", "jobs#0", "0#1")).is_some());
        for refused in [
            record("MODIFY", "jobs#0", "1#0#"),
            record("REMOVE", "jobs#0", "0#"),
            record("INSERT", "projects", "0#"),
            json!({ "eventName": "INSERT" }),
        ] {
            assert_eq!(pipe.message(&refused), None, "{refused}");
        }
    }
}

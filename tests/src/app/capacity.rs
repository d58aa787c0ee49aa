//! The write units of a call, by AWS's rules: an item costs a unit for each started KiB of its larger image, twice as
//! much in a transaction, also if it is only checked. An index costs the same for each entry that is added, removed or
//! changed, and for both entries if its key changes. A local index is written by the transaction itself, a global one
//! afterwards. Today's table has no local index, but the earlier one in `bench/table` has.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/capacity-unit-consumption.html>

use std::collections::BTreeMap;

use serde_json::{Map, Value};

type Item = Map<String, Value>;

/// Items by key.
#[derive(Debug, Default)]
pub(super) struct Images(BTreeMap<String, Item>);

impl Images {
    pub(super) fn take(&mut self, items: &Value) {
        for item in items.as_array().into_iter().flatten().filter_map(Value::as_object) {
            self.0.insert(key_of(item), item.clone());
        }
    }
}

fn key_of(item: &Item) -> String {
    format!("{} {}", item["pk"]["S"], item["sk"]["S"])
}

/// The keys of the items that a call writes or checks.
pub(super) fn written(operation: &str, input: &Value) -> Vec<Item> {
    let key = |part: &Value| {
        let from = part.get("Key").or_else(|| part.get("Item")).and_then(Value::as_object).expect("a key");
        let kept = from.iter().filter(|(name, _)| ["pk", "sk"].contains(&name.as_str()));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    match operation {
        "PutItem" | "UpdateItem" | "DeleteItem" => vec![key(input)],
        "TransactWriteItems" => parts(input).map(key).collect(),
        _ => Vec::new(),
    }
}

fn parts(input: &Value) -> impl Iterator<Item = &Value> {
    let items = input["TransactItems"].as_array().into_iter().flatten();
    items.filter_map(Value::as_object).flat_map(Map::values)
}

pub(super) fn keys(written: &[Item]) -> Vec<Value> {
    written.iter().cloned().map(Value::Object).collect()
}

/// The table of a write.
pub(super) fn table(input: &Value) -> String {
    let named =
        input["TableName"].as_str().or_else(|| parts(input).find_map(|part| part["TableName"].as_str()));
    named.unwrap_or_default().to_owned()
}

#[derive(Debug)]
struct Index {
    is_local: bool,
    keys: Vec<String>,
    projected: Vec<String>,
}

/// The indexes of a table.
#[derive(Debug)]
pub(super) struct Indexes(Vec<Index>);

impl Indexes {
    pub(super) fn read(table: &Value) -> Self {
        let mut indexes = Vec::new();
        for (kind, is_local) in [("LocalSecondaryIndexes", true), ("GlobalSecondaryIndexes", false)] {
            for index in table[kind].as_array().into_iter().flatten() {
                let projection = &index["Projection"];
                assert_ne!(projection["ProjectionType"], "ALL", "not known here");
                let text = |value: &Value| value.as_str().expect("a text").to_owned();
                let keys = index["KeySchema"].as_array().into_iter().flatten();
                let projected = projection["NonKeyAttributes"].as_array().into_iter().flatten();
                indexes.push(Index {
                    is_local,
                    keys: keys.map(|key| text(&key["AttributeName"])).collect(),
                    projected: projected.map(text).collect(),
                });
            }
        }
        Self(indexes)
    }

    /// The units of each partition of the table and of its indexes.
    pub(super) fn units(
        &self,
        written: &[Item],
        before: &Images,
        after: &Images,
        is_transaction: bool,
    ) -> Vec<(String, u32)> {
        let factor = if is_transaction { 2 } else { 1 };
        let mut consumed = Vec::new();
        for own in written {
            let key = key_of(own);
            let (before, after) = (before.0.get(&key), after.0.get(&key));
            let item = before.map_or(1, units).max(after.map_or(1, units));
            consumed.push((partition(own, "pk"), item * factor));
            for index in &self.0 {
                let changed = index.units(before, after) * if index.is_local { factor } else { 1 };
                let entry = index.entry(after).or_else(|| index.entry(before));
                if let Some(entry) = entry.filter(|_| changed > 0) {
                    consumed.push((partition(&entry, &index.keys[0]), changed));
                }
            }
        }
        consumed
    }
}

impl Index {
    fn entry(&self, item: Option<&Item>) -> Option<Item> {
        let item = item?;
        if !self.keys.iter().all(|key| item.contains_key(key)) {
            return None;
        }
        let own = ["pk", "sk"].map(str::to_owned);
        let names = own.iter().chain(&self.keys).chain(&self.projected);
        Some(names.filter_map(|name| Some((name.clone(), item.get(name)?.clone()))).collect())
    }

    fn units(&self, before: Option<&Item>, after: Option<&Item>) -> u32 {
        match (self.entry(before), self.entry(after)) {
            (None, None) => 0,
            (None, Some(entry)) | (Some(entry), None) => units(&entry),
            (Some(before), Some(after)) if before == after => 0,
            (Some(before), Some(after)) => {
                let moves = self.keys.iter().any(|key| before[key] != after[key]);
                if moves { units(&before) + units(&after) } else { units(&before).max(units(&after)) }
            }
        }
    }
}

fn partition(item: &Item, key: &str) -> String {
    item[key]["S"].as_str().unwrap_or_default().to_owned()
}

/// The units of an item in its size.
fn units(item: &Item) -> u32 {
    let size: usize = item.iter().map(|(name, value)| name.len() + size(value)).sum();
    u32::try_from(size.div_ceil(1024)).expect("a size")
}

fn size(value: &Value) -> usize {
    let (kind, value) = value.as_object().and_then(|value| value.iter().next()).expect("a typed value");
    let text = value.as_str().unwrap_or_default();
    match kind.as_str() {
        "S" => text.len(),
        "N" => text.len().div_ceil(2) + 1,
        "B" => text.len() / 4 * 3,
        "SS" => value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::len).sum(),
        kind => panic!("not known here: {kind}"),
    }
}

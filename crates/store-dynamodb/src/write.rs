//! Writes and their conditions.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem, Update};
use onerun_store::StoreError;
use serde::Serialize;
use serde_json::Value;

use crate::{
    failure,
    item::{self, Attributes, BODY, FENCE, PARTITION, REVISION, SCHEMA, SORT, WRITER},
    keys::Key,
};

/// The largest body of an item. DynamoDB's bound is 400 KiB for the whole item.
pub(crate) const MAX_BODY: usize = 380 * 1024;

/// One item that is written or checked, in a transaction or alone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Write {
    what: &'static str,
    key: Key,
    kind: Kind,
    sets: Vec<String>,
    adds: Vec<String>,
    removes: Vec<String>,
    conditions: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Put(Attributes),
    Update,
    Check,
    Delete,
}

impl Write {
    fn new(what: &'static str, key: Key, kind: Kind) -> Self {
        Self {
            what,
            key,
            kind,
            sets: Vec::new(),
            adds: Vec::new(),
            removes: Vec::new(),
            conditions: Vec::new(),
            names: HashMap::new(),
            values: HashMap::new(),
        }
    }

    /// Writes a whole item and replaces an existing one.
    pub(crate) fn put(what: &'static str, key: Key, body: &Value) -> Self {
        Self::put_text(what, key, body.to_string())
    }

    /// Writes a whole item whose body is a document with its own serialised form.
    pub(crate) fn put_document(
        what: &'static str,
        key: Key,
        document: &impl Serialize,
    ) -> Result<Self, StoreError> {
        let body = serde_json::to_string(document)
            .map_err(|error| StoreError::Corrupt { what, reason: error.to_string() })?;
        Ok(Self::put_text(what, key, body))
    }

    /// Writes a whole item whose body is JSON text already.
    pub(crate) fn put_text(what: &'static str, key: Key, body: String) -> Self {
        Self::put_bare(what, key).set(BODY, AttributeValue::S(body))
    }

    pub(crate) fn put_bare(what: &'static str, key: Key) -> Self {
        let schema = item::number(item::CURRENT_SCHEMA);
        Self::new(what, key, Kind::Put(Attributes::from([(SCHEMA.to_owned(), schema)])))
    }

    pub(crate) fn update(what: &'static str, key: Key) -> Self {
        Self::new(what, key, Kind::Update)
    }

    /// Checks conditions on an item without writing it.
    pub(crate) fn check(what: &'static str, key: Key) -> Self {
        Self::new(what, key, Kind::Check)
    }

    pub(crate) fn delete(what: &'static str, key: Key) -> Self {
        Self::new(what, key, Kind::Delete)
    }

    /// The kind of the item, for errors.
    pub(crate) fn what(&self) -> &'static str {
        self.what
    }

    /// The key of the item.
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn is_update(&self) -> bool {
        matches!(self.kind, Kind::Update)
    }

    pub(crate) fn set(mut self, name: &str, value: AttributeValue) -> Self {
        if let Kind::Put(attributes) = &mut self.kind {
            attributes.insert(name.to_owned(), value);
            return self;
        }
        let (name, value) = (self.name(name), self.value(value));
        self.sets.push(format!("{name} = {value}"));
        self
    }

    pub(crate) fn set_some(self, name: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    /// Sets an attribute, or removes it without a value. Only for updates.
    pub(crate) fn set_or_remove(self, name: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self.remove(name),
        }
    }

    /// Sets an attribute unless it exists.
    pub(crate) fn set_new(mut self, name: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(name), self.value(value));
        self.sets.push(format!("{name} = if_not_exists({name}, {value})"));
        self
    }

    /// Sets an attribute to the value of another.
    pub(crate) fn copy(mut self, name: &str, from: &str) -> Self {
        let (name, from) = (self.name(name), self.name(from));
        self.sets.push(format!("{name} = {from}"));
        self
    }

    /// Adds to a number. An absent one counts as 0.
    pub(crate) fn add(mut self, name: &str, number: i128) -> Self {
        let (name, value) = (self.name(name), self.value(item::number(number)));
        self.adds.push(format!("{name} {value}"));
        self
    }

    pub(crate) fn remove(mut self, name: &str) -> Self {
        let name = self.name(name);
        self.removes.push(name);
        self
    }

    /// Only if the item does not exist.
    pub(crate) fn if_new(mut self) -> Self {
        let name = self.name(PARTITION);
        self.conditions.push(format!("attribute_not_exists({name})"));
        self
    }

    /// Only if the item does not exist, or an attribute of it is at most `number`.
    pub(crate) fn if_new_or_at_most(mut self, name: &str, number: i128) -> Self {
        let (partition, name) = (self.name(PARTITION), self.name(name));
        let value = self.value(item::number(number));
        self.conditions.push(format!("(attribute_not_exists({partition}) OR {name} <= {value})"));
        self
    }

    /// Only if the item does not exist, or was written with a smaller fence, or by the same writer with this one.
    /// Sets both.
    pub(crate) fn fenced(self, fence: u64, writer: &str) -> Self {
        let mut write = self.set(FENCE, item::number(fence)).set(WRITER, item::text(writer));
        let (partition, fence_name, writer_name) =
            (write.name(PARTITION), write.name(FENCE), write.name(WRITER));
        let (fence, writer) = (write.value(item::number(fence)), write.value(item::text(writer)));
        write.conditions.push(format!(
            "(attribute_not_exists({partition}) OR {fence_name} < {fence} OR \
             ({fence_name} = {fence} AND {writer_name} = {writer}))"
        ));
        write
    }

    /// Only if the item exists.
    pub(crate) fn if_there(self) -> Self {
        self.if_has(PARTITION)
    }

    pub(crate) fn if_has(mut self, name: &str) -> Self {
        let name = self.name(name);
        self.conditions.push(format!("attribute_exists({name})"));
        self
    }

    /// Only if an attribute is absent.
    pub(crate) fn if_absent(mut self, name: &str) -> Self {
        let name = self.name(name);
        self.conditions.push(format!("attribute_not_exists({name})"));
        self
    }

    /// Only if an attribute equals `value`.
    pub(crate) fn if_equal(mut self, name: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(name), self.value(value));
        self.conditions.push(format!("{name} = {value}"));
        self
    }

    /// Only if an attribute has another value, or is absent.
    pub(crate) fn if_other(mut self, name: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(name), self.value(value));
        self.conditions.push(format!("(attribute_not_exists({name}) OR {name} <> {value})"));
        self
    }

    /// Only if an attribute is greater than `number`.
    pub(crate) fn if_above(mut self, name: &str, number: i128) -> Self {
        let (name, value) = (self.name(name), self.value(item::number(number)));
        self.conditions.push(format!("{name} > {value}"));
        self
    }

    /// Only if an attribute is less than `number`, or is absent.
    pub(crate) fn if_below(mut self, name: &str, number: i128) -> Self {
        let (name, value) = (self.name(name), self.value(item::number(number)));
        self.conditions.push(format!("(attribute_not_exists({name}) OR {name} < {value})"));
        self
    }

    /// Only if two attributes are equal.
    pub(crate) fn if_same(mut self, name: &str, other: &str) -> Self {
        let (name, other) = (self.name(name), self.name(other));
        self.conditions.push(format!("{name} = {other}"));
        self
    }

    /// Only at this revision.
    pub(crate) fn if_revision(self, revision: u64) -> Self {
        self.if_equal(REVISION, item::number(revision))
    }

    /// Writes the revision after `from`, and only onto `from`.
    pub(crate) fn revise(self, from: u64) -> Self {
        self.set(REVISION, item::number(from + 1)).if_revision(from)
    }

    /// The placeholder of an attribute's name. It is short, because an expression has at most 4 KB,
    /// and the counts of 50 objectives are one update.
    fn name(&mut self, name: &str) -> String {
        let known =
            self.names.iter().find(|(_, known)| *known == name).map(|(placeholder, _)| placeholder.clone());
        known.unwrap_or_else(|| {
            let placeholder = format!("#n{}", self.names.len());
            self.names.insert(placeholder.clone(), name.to_owned());
            placeholder
        })
    }

    fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    fn update_expression(&self) -> String {
        let clause = |word: &str, parts: &[String]| {
            if parts.is_empty() { String::new() } else { format!("{word} {} ", parts.join(", ")) }
        };
        [clause("SET", &self.sets), clause("ADD", &self.adds), clause("REMOVE", &self.removes)].concat()
    }

    fn condition(&self) -> Option<String> {
        (!self.conditions.is_empty()).then(|| self.conditions.join(" AND "))
    }

    fn names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    fn values(&self) -> Option<Attributes> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }

    /// Refuses a body that no item can hold, before DynamoDB does.
    fn check_size(&self) -> Result<(), StoreError> {
        if let Kind::Put(attributes) = &self.kind
            && let Some(AttributeValue::S(body)) = attributes.get(BODY)
            && body.len() > MAX_BODY
        {
            let reason = format!("{} bytes are more than one item holds", body.len());
            return Err(StoreError::Corrupt { what: self.what, reason });
        }
        Ok(())
    }

    pub(crate) fn to_transact_item(&self, table: &str) -> Result<TransactWriteItem, StoreError> {
        self.check_size()?;
        let item = TransactWriteItem::builder();
        let key = Some(key_attributes(&self.key));
        Ok(match &self.kind {
            Kind::Put(attributes) => {
                let mut attributes = attributes.clone();
                attributes.extend(key_attributes(&self.key));
                let put = Put::builder()
                    .table_name(table)
                    .set_item(Some(attributes))
                    .set_condition_expression(self.condition())
                    .set_expression_attribute_names(self.names())
                    .set_expression_attribute_values(self.values())
                    .build()
                    .map_err(failure::unavailable)?;
                item.put(put).build()
            }
            Kind::Update => {
                let update = Update::builder()
                    .table_name(table)
                    .set_key(key)
                    .update_expression(self.update_expression())
                    .set_condition_expression(self.condition())
                    .set_expression_attribute_names(self.names())
                    .set_expression_attribute_values(self.values())
                    .build()
                    .map_err(failure::unavailable)?;
                item.update(update).build()
            }
            Kind::Check => {
                let check = ConditionCheck::builder()
                    .table_name(table)
                    .set_key(key)
                    .set_condition_expression(self.condition())
                    .set_expression_attribute_names(self.names())
                    .set_expression_attribute_values(self.values())
                    .build()
                    .map_err(failure::unavailable)?;
                item.condition_check(check).build()
            }
            Kind::Delete => {
                let delete = Delete::builder()
                    .table_name(table)
                    .set_key(key)
                    .set_condition_expression(self.condition())
                    .set_expression_attribute_names(self.names())
                    .set_expression_attribute_values(self.values())
                    .build()
                    .map_err(failure::unavailable)?;
                item.delete(delete).build()
            }
        })
    }

    pub(crate) fn as_update(
        &self,
        client: &aws_sdk_dynamodb::Client,
        table: &str,
    ) -> aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder {
        client
            .update_item()
            .table_name(table)
            .set_key(Some(key_attributes(&self.key)))
            .update_expression(self.update_expression())
            .set_condition_expression(self.condition())
            .set_expression_attribute_names(self.names())
            .set_expression_attribute_values(self.values())
    }

    /// A call that puts the whole item. Fails for other kinds of writes.
    pub(crate) fn as_put(
        &self,
        client: &aws_sdk_dynamodb::Client,
        table: &str,
    ) -> Result<aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder, StoreError> {
        self.check_size()?;
        let Kind::Put(attributes) = &self.kind else {
            return Err(StoreError::Corrupt {
                what: self.what,
                reason: "it is not written as a whole".into(),
            });
        };
        let mut attributes = attributes.clone();
        attributes.extend(key_attributes(&self.key));
        Ok(client
            .put_item()
            .table_name(table)
            .set_item(Some(attributes))
            .set_condition_expression(self.condition())
            .set_expression_attribute_names(self.names())
            .set_expression_attribute_values(self.values()))
    }

    pub(crate) fn as_delete(
        &self,
        client: &aws_sdk_dynamodb::Client,
        table: &str,
    ) -> aws_sdk_dynamodb::operation::delete_item::builders::DeleteItemFluentBuilder {
        client
            .delete_item()
            .table_name(table)
            .set_key(Some(key_attributes(&self.key)))
            .set_condition_expression(self.condition())
            .set_expression_attribute_names(self.names())
            .set_expression_attribute_values(self.values())
    }
}

/// The error for an item that exists although it must be new.
pub(crate) fn duplicate(writes: &[Write], failed: &[usize]) -> StoreError {
    let what = failed.first().and_then(|index| writes.get(*index)).map_or("item", Write::what);
    StoreError::Duplicate { what }
}

pub(crate) fn key_attributes(key: &Key) -> Attributes {
    Attributes::from([
        (PARTITION.to_owned(), AttributeValue::S(key.partition.clone())),
        (SORT.to_owned(), AttributeValue::S(key.sort.clone())),
    ])
}

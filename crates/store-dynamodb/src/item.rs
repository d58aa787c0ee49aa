//! Items as DynamoDB returns them.
//!
//! An item holds its value as JSON in one attribute, `body`. Beside it are only the attributes that
//! DynamoDB itself must see: keys, attributes that lists filter by, due times, counters and
//! revisions. So no value depends on DynamoDB's attribute types: numbers keep all their digits, and
//! texts may be empty.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Display,
    str::FromStr,
};

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use onerun_domain::{Metadata, ObjectiveRef};
use onerun_store::StoreError;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub(crate) type Attributes = HashMap<String, AttributeValue>;

pub(crate) const PARTITION: &str = "pk";
pub(crate) const SORT: &str = "sk";
pub(crate) const BODY: &str = "body";
/// The number of writes. A decision based on one revision is written only onto that revision.
pub(crate) const REVISION: &str = "revision";
/// The form of the item. A reader refuses a form that is newer than its own.
pub(crate) const SCHEMA: &str = "schema";
pub(crate) const CURRENT_SCHEMA: u32 = 3;
/// The revision that the change of messages makes, and the change's random name.
pub(crate) const FENCE: &str = "fence";
pub(crate) const WRITER: &str = "writer";
/// The sort key of the row of an entry in a list.
pub(crate) const ROW: &str = "row";
/// The attributes that lists filter by.
pub(crate) const FOLDED: &str = "folded";
pub(crate) const STATUS: &str = "status";
pub(crate) const AGENT: &str = "agent";
/// When a worker last asked for an agent's work. It is beside the body, because it is written
/// without the agent's revision.
pub(crate) const LAST_POLLED_AT: &str = "last_polled_at";
/// The attributes of exact filters: hashes of the name and of each text of the metadata.
pub(crate) const FACETS: &str = "facets";
/// The attributes of the index of due times.
pub(crate) const SHARD: &str = "lane";
pub(crate) const DUE: &str = "due";

/// When DynamoDB may remove an item, in seconds since 1970. The table's time to live uses this
/// attribute.
pub(crate) const EXPIRES: &str = "expires";

pub(crate) fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A set of texts.
pub(crate) fn texts(texts: BTreeSet<String>) -> AttributeValue {
    AttributeValue::Ss(texts.into_iter().collect())
}

pub(crate) fn number(number: impl Display) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

#[derive(Debug)]
pub(crate) struct Item {
    what: &'static str,
    attributes: Attributes,
}

impl Item {
    /// The attributes of an item; `what` names its kind in errors.
    pub(crate) fn new(what: &'static str, attributes: Attributes) -> Self {
        Self { what, attributes }
    }

    pub(crate) fn text(&self, name: &'static str) -> Result<&str, StoreError> {
        match self.attributes.get(name) {
            Some(AttributeValue::S(text)) => Ok(text),
            _ => Err(self.corrupt(name, "not a text")),
        }
    }

    /// A text, or `None` if the attribute is absent.
    pub(crate) fn optional_text(&self, name: &'static str) -> Result<Option<&str>, StoreError> {
        if self.attributes.contains_key(name) { self.text(name).map(Some) } else { Ok(None) }
    }

    /// A number, or `None` if the attribute is absent.
    pub(crate) fn optional_number<T: FromStr>(&self, name: &str) -> Result<Option<T>, StoreError> {
        match self.attributes.get(name) {
            None => Ok(None),
            Some(AttributeValue::N(number)) => {
                number.parse().map(Some).map_err(|_| self.corrupt(name, "a number out of range"))
            }
            Some(_) => Err(self.corrupt(name, "not a number")),
        }
    }

    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<T, StoreError> {
        self.optional_number(name)?.ok_or_else(|| self.corrupt(name, "missing"))
    }

    /// A time in microseconds, or `None` if the attribute is absent.
    pub(crate) fn optional_time(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        let micros: Option<i64> = self.optional_number(name)?;
        let time = |micros| {
            Timestamp::from_microsecond(micros).map_err(|_| self.corrupt(name, "a time out of range"))
        };
        micros.map(time).transpose()
    }

    /// Bytes, empty if the attribute is absent.
    pub(crate) fn bytes(&self, name: &str) -> Result<&[u8], StoreError> {
        match self.attributes.get(name) {
            None => Ok(&[]),
            Some(AttributeValue::B(bytes)) => Ok(bytes.as_ref()),
            Some(_) => Err(self.corrupt(name, "not bytes")),
        }
    }

    /// The number of writes so far.
    pub(crate) fn revision(&self) -> Result<u64, StoreError> {
        self.number(REVISION)
    }

    /// The body, unless a newer release wrote it.
    pub(crate) fn body(&self) -> Result<&str, StoreError> {
        if self.optional_number::<u32>(SCHEMA)?.is_some_and(|schema| schema > CURRENT_SCHEMA) {
            return Err(self.corrupt(SCHEMA, "a newer release wrote it"));
        }
        self.text(BODY)
    }

    pub(crate) fn fields(&self) -> Result<Fields, StoreError> {
        Fields::parse(self.what, self.body()?)
    }

    /// The body as a document with its own serialised form.
    pub(crate) fn document<T: DeserializeOwned>(&self) -> Result<T, StoreError> {
        // serde's message may quote a value.
        serde_json::from_str(self.body()?).map_err(|_| StoreError::Corrupt {
            what: self.what,
            reason: "not the document it must be".into(),
        })
    }

    fn corrupt(&self, name: &str, reason: &str) -> StoreError {
        StoreError::Corrupt { what: self.what, reason: format!("attribute `{name}`: {reason}") }
    }
}

/// A body that is being read. Every value passes its type's own parser. Errors name the field but
/// not its value: errors go to the log, and the value may be someone's words.
pub(crate) struct Fields {
    what: &'static str,
    fields: Map<String, Value>,
}

impl Fields {
    /// Reads JSON text; `what` names its kind in errors.
    pub(crate) fn parse(what: &'static str, json: &str) -> Result<Self, StoreError> {
        let fields = serde_json::from_str(json).map_err(|error| StoreError::Corrupt {
            what,
            reason: format!("not the JSON it must be, at line {} column {}", error.line(), error.column()),
        })?;
        Ok(Self { what, fields })
    }

    pub(crate) fn list<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Fields) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let Some(Value::Array(values)) = self.fields.remove(name) else {
            return Err(self.corrupt(name, "not a list"));
        };
        let element = |value| match value {
            Value::Object(fields) => read(&mut Fields { what: self.what, fields }),
            _ => Err(self.corrupt(name, "not a list of objects")),
        };
        values.into_iter().map(element).collect()
    }

    /// A list, or an empty one if the member is absent.
    pub(crate) fn optional_list<T>(
        &mut self,
        name: &'static str,
        read: impl FnMut(&mut Fields) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        if self.fields.contains_key(name) { self.list(name, read) } else { Ok(Vec::new()) }
    }

    /// Texts in a list, each parsed by `parse`.
    pub(crate) fn texts<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(String) -> Result<T, E>,
    ) -> Result<Vec<T>, StoreError> {
        let Some(Value::Array(values)) = self.fields.remove(name) else {
            return Err(self.corrupt(name, "not a list"));
        };
        let element = |value| match value {
            Value::String(text) => parse(text).map_err(|error| self.corrupt(name, error)),
            _ => Err(self.corrupt(name, "not a list of texts")),
        };
        values.into_iter().map(element).collect()
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Result<String, StoreError> {
        self.optional_text(name)?.ok_or_else(|| self.corrupt(name, "missing"))
    }

    /// A document with its own serialised form. A missing one is the default, as earlier releases wrote none.
    pub(crate) fn document<T: Default + DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<T, StoreError> {
        let Some(value) = self.fields.remove(name) else { return Ok(T::default()) };
        serde_json::from_value(value).map_err(|_| self.corrupt(name, "not the document it must be"))
    }

    pub(crate) fn optional_text(&mut self, name: &'static str) -> Result<Option<String>, StoreError> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.corrupt(name, "not a text")),
        }
    }

    pub(crate) fn checked<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Result<T, StoreError> {
        let text = self.text(name)?;
        parse(text).map_err(|error| self.corrupt(name, error))
    }

    pub(crate) fn optional<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Result<Option<T>, StoreError> {
        let text = self.optional_text(name)?;
        text.map(parse).transpose().map_err(|error| self.corrupt(name, error))
    }

    pub(crate) fn parsed<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Result<T, StoreError> {
        self.checked(name, |text| text.parse())
    }

    /// A word that `parse` knows.
    pub(crate) fn word<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        self.checked(name, |word| parse(&word).ok_or("an unknown word"))
    }

    pub(crate) fn optional_word<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        self.optional(name, |word| parse(&word).ok_or("an unknown word"))
    }

    pub(crate) fn bounded<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(u64) -> Result<T, E>,
    ) -> Result<T, StoreError> {
        let number = self.fields.get(name).and_then(Value::as_u64);
        let number = number.ok_or_else(|| self.corrupt(name, "not a number"))?;
        parse(number).map_err(|error| self.corrupt(name, error))
    }

    pub(crate) fn number(&mut self, name: &'static str) -> Result<u32, StoreError> {
        self.bounded(name, u32::try_from)
    }

    pub(crate) fn flag(&mut self, name: &'static str) -> Result<bool, StoreError> {
        let flag = self.fields.get(name).and_then(Value::as_bool);
        flag.ok_or_else(|| self.corrupt(name, "neither true nor false"))
    }

    pub(crate) fn time(&mut self, name: &'static str) -> Result<Timestamp, StoreError> {
        self.optional_time(name)?.ok_or_else(|| self.corrupt(name, "missing"))
    }

    pub(crate) fn optional_time(&mut self, name: &'static str) -> Result<Option<Timestamp>, StoreError> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let time = value.as_i64().ok_or_else(|| self.corrupt(name, "not a time"))?;
                Timestamp::from_microsecond(time).map(Some).map_err(|error| self.corrupt(name, error))
            }
        }
    }

    /// A caller's own object.
    pub(crate) fn metadata(&mut self, name: &'static str) -> Result<Metadata, StoreError> {
        match self.fields.remove(name) {
            Some(Value::Object(object)) => Metadata::parse(object).map_err(|error| self.corrupt(name, error)),
            _ => Err(self.corrupt(name, "not an object")),
        }
    }

    pub(crate) fn value<T: serde::de::DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<T, StoreError> {
        let value = self.fields.remove(name).unwrap_or_default();
        // serde's message may quote the value.
        serde_json::from_value(value).map_err(|_| self.corrupt(name, "not a valid value"))
    }

    pub(crate) fn reference(&mut self) -> Result<ObjectiveRef, StoreError> {
        Ok(ObjectiveRef { id: self.parsed("objective")?, version: self.number("version")? })
    }

    fn corrupt(&self, name: &str, reason: impl Display) -> StoreError {
        StoreError::Corrupt { what: self.what, reason: format!("field `{name}`: {reason}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_the_field_but_not_its_value() {
        let mut fields = Fields::parse("agent", r#"{"id": "secret", "at": "secret", "count": -1}"#).unwrap();
        let errors = [
            fields.parsed::<onerun_domain::AgentId>("id").unwrap_err(),
            fields.time("at").unwrap_err(),
            fields.number("count").unwrap_err(),
            fields.text("name").unwrap_err(),
            Fields::parse("agent", "{\"secret").map(drop).unwrap_err(),
        ];
        for error in errors {
            let text = error.to_string();
            assert!(text.starts_with("the stored agent is corrupt: ") && !text.contains("secret"), "{text}");
        }
    }
}

//! Schemas of structured answers.
//!
//! Models write the members of an answer in the order of the schema, so a schema is serialised in the order in which
//! it is declared. A JSON value would sort its members by name.

use serde::{Serialize, Serializer, ser::SerializeMap};

/// The schema of a structured answer: an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// A name of letters, digits, `_` and `-`, which providers show to the model.
    pub name: &'static str,
    /// The members of the object.
    pub properties: &'static [Property],
}

/// A member of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    name: &'static str,
    kind: Kind,
    description: Option<&'static str>,
}

/// The type of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A boolean.
    Boolean,
    /// An integer.
    Integer,
    /// One of some strings.
    Word(&'static [&'static str]),
    /// One of some integers.
    Number(&'static [u8]),
    /// A list of strings.
    Texts,
    /// A list of objects with these members.
    Objects(&'static [Property]),
}

impl Property {
    /// A member without a description.
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, description: None }
    }

    /// The member with a description for the model.
    pub const fn described(self, description: &'static str) -> Self {
        Self { description: Some(description), ..self }
    }
}

impl Schema {
    /// The schema as JSON.
    pub fn json(&self) -> String {
        // Nothing in a schema can fail to serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Object(self.properties).serialize(serializer)
    }
}

/// An object that has all of its members and no others: strict modes demand that.
struct Object(&'static [Property]);

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names: Vec<_> = self.0.iter().map(|property| property.name).collect();
        let mut object = serializer.serialize_map(Some(4))?;
        object.serialize_entry("type", "object")?;
        object.serialize_entry("properties", &Properties(self.0))?;
        object.serialize_entry("required", &names)?;
        object.serialize_entry("additionalProperties", &false)?;
        object.end()
    }
}

struct Properties(&'static [Property]);

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|property| (property.name, property)))
    }
}

impl Serialize for Property {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut schema = serializer.serialize_map(None)?;
        schema.serialize_entry("type", self.kind.type_name())?;
        match self.kind {
            Kind::Word(words) => schema.serialize_entry("enum", words)?,
            Kind::Number(numbers) => schema.serialize_entry("enum", numbers)?,
            Kind::Texts => schema.serialize_entry("items", &Property::new("", Kind::Text))?,
            Kind::Objects(properties) => schema.serialize_entry("items", &Object(properties))?,
            Kind::Text | Kind::Boolean | Kind::Integer => {}
        }
        if let Some(description) = self.description {
            schema.serialize_entry("description", description)?;
        }
        schema.end()
    }
}

impl Kind {
    fn type_name(self) -> &'static str {
        match self {
            Self::Text | Self::Word(_) => "string",
            Self::Boolean => "boolean",
            Self::Integer | Self::Number(_) => "integer",
            Self::Texts | Self::Objects(_) => "array",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_keeps_the_declared_order() {
        const INNER: &[Property] = &[Property::new("z", Kind::Integer), Property::new("a", Kind::Boolean)];
        const OUTER: &[Property] = &[
            Property::new("texts", Kind::Texts),
            Property::new("list", Kind::Objects(INNER)).described("Things."),
            Property::new("grade", Kind::Number(&[0, 1])),
            Property::new("word", Kind::Word(&["b", "a"])),
        ];
        let schema = Schema { name: "test", properties: OUTER };
        assert_eq!(
            schema.json(),
            concat!(
                r#"{"type":"object","properties":{"texts":{"type":"array","items":{"type":"string"}},"#,
                r#""list":{"type":"array","items":{"type":"object","properties":{"z":{"type":"integer"},"#,
                r#""a":{"type":"boolean"}},"required":["z","a"],"additionalProperties":false},"#,
                r#""description":"Things."},"grade":{"type":"integer","enum":[0,1]},"#,
                r#""word":{"type":"string","enum":["b","a"]}},"#,
                r#""required":["texts","list","grade","word"],"additionalProperties":false}"#,
            )
        );
    }
}

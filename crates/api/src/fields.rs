//! Reads the fields of a body. Each input declares its fields once, for reading and for the OpenAPI document.
//!
//! All fields are checked before an error is answered, so a caller gets all errors at once.

mod kinds;

use serde_json::{Map, Value, json};

use crate::{
    ApiError,
    error::{FieldError, Location},
    json::join,
};

pub(crate) use kinds::{Distinct, Integer, List, MessageWord, NOT_A_TIME, Nested, TextWord, parse_time};

/// An object that a caller sends.
pub(crate) trait Input: Sized {
    /// Reads the fields; `None` if one is wrong, which `fields` remembers.
    fn read(fields: &mut Fields) -> Option<Self>;
}

/// Declares the fields of a body, each once: its name, how it is read and its description.
///
/// A field is `required`, `optional`, `defaulted` with a JSON value, or read `together` with others. `=>` converts
/// the value that was read. `struct` declares the type as well; `impl` is for a type of another crate.
macro_rules! input {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident {
        $($(#[$attribute:meta])* $field:ident: $type:ty = $kind:ident($($args:expr),+) $(=> $convert:expr)?,)+
    }) => {
        $(#[$meta])*
        $visibility struct $name {
            $($(#[$attribute])* $field: $type,)+
        }

        input! { impl $name { $($field = $kind($($args),+) $(=> $convert)?,)+ } }
    };
    (impl $name:ident { $($field:ident = $kind:ident($($args:expr),+) $(=> $convert:expr)?,)+ }) => {
        impl $crate::fields::Input for $name {
            fn read(fields: &mut $crate::fields::Fields) -> Option<Self> {
                $(
                    let $field = fields.$kind(stringify!($field).trim_start_matches("r#"), $($args),+);
                    $(let $field = $field.map($convert);)?
                )+
                Some(Self { $($field: $field?,)+ })
            }
        }
    };
}
pub(crate) use input;

/// A value that a caller sends.
pub(crate) trait Field: Sized {
    /// Reads the value; `None` if it is wrong, which `errors` remembers.
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self>;

    /// Its JSON Schema.
    fn schema() -> Value;
}

/// The description of `metadata`.
pub(crate) const METADATA: &str = "Your own data, at most 16 KiB.";

/// The maximum number of errors in an answer, so that an answer is not much larger than its request.
pub(crate) const MAX_ERRORS: usize = 50;

/// The first errors of a request.
#[derive(Default)]
pub(crate) struct Errors(Vec<FieldError>);

impl Errors {
    pub(crate) fn push(&mut self, pointer: &str, detail: impl Into<String>) {
        if self.0.len() < MAX_ERRORS {
            self.0.push(FieldError { location: Location::Body(pointer.to_owned()), detail: detail.into() });
        }
    }

    /// The value of a result; its error is remembered.
    pub(crate) fn keep<T, E: ToString>(&mut self, pointer: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.push(pointer, error.to_string())).ok()
    }
}

/// An optional field or parameter that was read: `None` if its value is wrong, `Some(None)` if it is left
/// out.
pub(crate) type Optional<T> = Option<Option<T>>;

/// The fields of one object.
pub(crate) struct Fields<'a> {
    pointer: &'a str,
    source: Source<'a>,
}

enum Source<'a> {
    /// A received object. Reading a field removes it.
    Object { object: Map<String, Value>, errors: &'a mut Errors },
    /// No object: the schema of the fields is collected.
    Schema { properties: Map<String, Value>, required: Vec<Value> },
}

impl Fields<'_> {
    /// Reads a whole body.
    pub(crate) fn read_root<T: Input>(value: Value) -> Result<T, ApiError> {
        let mut errors = Errors::default();
        let read = Fields::read_object(value, "", &mut errors);
        read.filter(|_| errors.0.is_empty()).ok_or(ApiError::Invalid(errors.0))
    }

    fn read_object<T: Input>(value: Value, pointer: &str, errors: &mut Errors) -> Option<T> {
        let Value::Object(object) = value else {
            errors.push(pointer, "must be an object");
            return None;
        };
        let mut fields = Fields { pointer, source: Source::Object { object, errors } };
        let read = T::read(&mut fields);
        if let Source::Object { object, errors } = fields.source {
            // Known fields were removed as they were read.
            for name in object.keys() {
                errors.push(&join(pointer, name), "is not a field of this request");
            }
        }
        read
    }

    /// The JSON Schema of an input.
    pub(crate) fn schema<T: Input>() -> Value {
        let source = Source::Schema { properties: Map::new(), required: Vec::new() };
        let mut fields = Fields { pointer: "", source };
        let _ = T::read(&mut fields);
        match fields.source {
            Source::Schema { properties, required } => json!({
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            }),
            Source::Object { .. } => Value::Null,
        }
    }

    /// A required field.
    pub(crate) fn required<T: Field>(&mut self, name: &str, description: &str) -> Option<T> {
        match &mut self.source {
            Source::Object { object, errors } => {
                let pointer = join(self.pointer, name);
                let Some(value) = object.remove(name) else {
                    errors.push(&pointer, "is required");
                    return None;
                };
                T::read(value, &pointer, errors)
            }
            Source::Schema { properties, required } => {
                properties.insert(name.to_owned(), described(T::schema(), description));
                required.push(name.into());
                None
            }
        }
    }

    /// An optional field. Null is the same as leaving it out.
    pub(crate) fn optional<T: Field>(&mut self, name: &str, description: &str) -> Optional<T> {
        match &mut self.source {
            Source::Object { object, errors } => match object.remove(name) {
                None | Some(Value::Null) => Some(None),
                Some(value) => T::read(value, &join(self.pointer, name), errors).map(Some),
            },
            Source::Schema { properties, .. } => {
                properties.insert(name.to_owned(), described(nullable(T::schema()), description));
                None
            }
        }
    }

    /// Fields that are read together, because they depend on each other. The name is that of their value.
    pub(crate) fn together<T>(
        &mut self,
        _name: &str,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        read(self)
    }

    /// Reads an object in which one field has another default.
    pub(crate) fn with_default<T: Input>(&mut self, name: &str, default: impl Into<Value>) -> Option<T> {
        let default = default.into();
        if let Source::Object { object, .. } = &mut self.source
            && !object.contains_key(name)
        {
            object.insert(name.to_owned(), default.clone());
        }
        let read = T::read(self);
        if let Source::Schema { properties, .. } = &mut self.source
            && let Some(property) = properties.get_mut(name)
        {
            property["default"] = default;
        }
        read
    }

    /// Adds an error of a field that contradicts another.
    pub(crate) fn refuse(&mut self, name: &str, detail: &str) {
        if let Source::Object { errors, .. } = &mut self.source {
            errors.push(&join(self.pointer, name), detail);
        }
    }

    /// A field with a default.
    pub(crate) fn defaulted<T: Field>(
        &mut self,
        name: &str,
        default: impl Into<Value>,
        description: &str,
    ) -> Option<T> {
        match &mut self.source {
            Source::Object { object, errors } => {
                let value = object.remove(name).unwrap_or_else(|| default.into());
                T::read(value, &join(self.pointer, name), errors)
            }
            Source::Schema { properties, .. } => {
                let mut schema = described(T::schema(), description);
                schema["default"] = default.into();
                properties.insert(name.to_owned(), schema);
                None
            }
        }
    }
}

fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = description.into();
    schema
}

fn nullable(mut schema: Value) -> Value {
    match schema["type"].take() {
        Value::String(one) => schema["type"] = json!([one, "null"]),
        other => schema["type"] = other,
    }
    schema
}

#[cfg(test)]
mod tests {
    use onerun_domain::{Name, Target};

    use super::*;

    struct Thing {
        name: Name,
        size: Option<Target>,
        on: bool,
    }

    impl Input for Thing {
        fn read(fields: &mut Fields) -> Option<Self> {
            let name = fields.required("name", "What it is called.");
            let size = fields.optional("size", "How large it is.");
            let on = fields.defaulted("on", true, "Whether it is on.");
            Some(Self { name: name?, size: size?, on: on? })
        }
    }

    fn refused(value: Value) -> Vec<(String, String)> {
        match Fields::read_root::<Thing>(value) {
            Err(ApiError::Invalid(errors)) => errors
                .into_iter()
                .map(|error| match error.location {
                    Location::Body(pointer) => (pointer, error.detail),
                    other => panic!("{other:?}"),
                })
                .collect(),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("was read"),
        }
    }

    #[test]
    fn fields_that_are_left_out_or_null_take_their_defaults() {
        let thing: Thing = Fields::read_root(json!({ "name": "x", "size": null })).unwrap();
        assert_eq!(thing.name.as_str(), "x");
        assert!(thing.size.is_none() && thing.on);
    }

    #[test]
    fn every_error_is_told_at_once() {
        let errors = refused(json!({ "size": 0, "on": "yes", "a/b": 1 }));
        let pointers: Vec<_> = errors.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/name", "/size", "/on", "/a~1b"]);
    }

    #[test]
    fn a_number_is_whole_however_it_is_written() {
        let read = |number: Value| Fields::read_root::<Thing>(json!({ "name": "x", "size": number }));
        assert_eq!(read(json!(5.0)).unwrap().size.map(Target::get), Some(5));
        for number in [json!(5.5), json!(-1), json!(1e30), json!(u64::MAX), json!("5"), json!([5])] {
            assert!(read(number.clone()).is_err(), "{number}");
        }
    }

    #[test]
    fn times_are_taken_in_the_form_of_rfc_3339_and_no_other() {
        for (text, time) in [
            ("2026-11-23T09:30:00Z", "2026-11-23T09:30:00Z"),
            ("2026-11-23t09:30:00.123456z", "2026-11-23T09:30:00.123456Z"),
            ("2026-11-23 09:30:00+01:00", "2026-11-23T08:30:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-30T22:00:00Z", "9999-12-30T22:00:00Z"),
        ] {
            assert_eq!(parse_time(text).map(|time| time.to_string()).as_deref(), Some(time), "{text}");
        }
        for text in [
            "-000001-01-01T00:00:00Z",
            "-002026-11-23T09:30:00Z",
            "+002026-11-23T09:30:00Z",
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+00:01",
            "10000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-12:00",
            "20261123T093000Z",
            "2026-W48-1T09:30:00Z",
            "2026-11-23",
            "2026-11-23T09:30Z",
            "2026-11-23T09:30:00",
            "2026-11-23T09:30:00+01",
            "2026-11-23T09:30:00+0100",
            "2026-11-23T09:30:00,5Z",
            "2026-11-23T09:30:00.Z",
            "2026-11-23T09:30:00+01:00[Europe/Paris]",
            "2026-02-29T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "\u{ff12}026-11-23T09:30:00Z",
            "",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn the_schema_says_what_is_read() {
        let schema = Fields::schema::<Thing>();
        assert_eq!(schema["required"], json!(["name"]));
        assert_eq!(schema["properties"]["size"]["type"], json!(["integer", "null"]));
        assert_eq!(schema["properties"]["size"]["maximum"], 10_000);
        assert_eq!(schema["properties"]["on"]["default"], true);
        assert_eq!(schema["properties"]["name"]["maxLength"], 200);
    }
}

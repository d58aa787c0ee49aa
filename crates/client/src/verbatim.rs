//! Parsed values together with their JSON.

use std::{fmt, ops::Deref};

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

/// A parsed value and its JSON, byte for byte, for programs that forward responses. The JSON also
/// has the fields that this client ignores.
///
/// `Debug` prints only the value.
#[derive(Clone)]
pub struct Verbatim<T> {
    value: T,
    json: Box<RawValue>,
}

impl<T> Verbatim<T> {
    /// The JSON as received.
    pub fn json(&self) -> &str {
        self.json.get()
    }

    /// The value without its JSON.
    pub fn into_value(self) -> T {
        self.value
    }
}

impl<T> Deref for Verbatim<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Verbatim<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(formatter)
    }
}

impl<'de, T: de::DeserializeOwned> Deserialize<'de> for Verbatim<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let value = serde_json::from_str(json.get()).map_err(de::Error::custom)?;
        Ok(Self { value, json })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Page, Project};

    #[test]
    fn json_is_complete_and_not_printed() {
        let part = r#"{"new": [1.50, "secret"], "name":"Demo","id":"p","created_at":"t"}"#;
        let text = format!(r#"{{ "has_more": false, "data": [{part}] }}"#);
        let page: Verbatim<Page<Verbatim<Project>>> = serde_json::from_str(&text).unwrap();
        assert_eq!(page.json(), text);
        assert_eq!(page.data[0].json(), part);
        assert_eq!(page.data[0].id, "p");
        assert!(!format!("{page:?}").contains("secret"));
    }
}

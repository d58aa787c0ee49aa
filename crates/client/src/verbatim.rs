//! What was read, together with the JSON it was read from.

use std::{fmt, ops::Deref};

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

/// A value and the JSON that it was read from, to the byte: for programs that pass an answer on. What this client does
/// not know of it is in the JSON.
///
/// `Debug` prints the value alone.
#[derive(Clone)]
pub struct Verbatim<T> {
    value: T,
    json: Box<RawValue>,
}

impl<T> Verbatim<T> {
    /// The JSON, as it was received.
    pub fn json(&self) -> &str {
        self.json.get()
    }

    /// The value alone.
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
    fn nothing_of_the_text_is_lost_and_none_of_it_is_printed() {
        let part = r#"{"new": [1.50, "secret"], "name":"Demo","id":"p","created_at":"t"}"#;
        let text = format!(r#"{{ "has_more": false, "data": [{part}] }}"#);
        let page: Verbatim<Page<Verbatim<Project>>> = serde_json::from_str(&text).unwrap();
        assert_eq!(page.json(), text);
        assert_eq!(page.data[0].json(), part);
        assert_eq!(page.data[0].id, "p");
        assert!(!format!("{page:?}").contains("secret"));
    }
}

//! Cursors, with which callers continue a list after a page.
//!
//! A cursor holds a position of the store and a fingerprint of the list that it belongs to. The fingerprint
//! keeps a cursor from continuing another list by mistake. It is no secret and grants nothing: every request
//! is authorized by itself.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use onerun_domain::{Position, sha256_hex};

/// The longest cursor, in characters: more than the longest name needs.
pub const MAX_CURSOR: usize = 4_096;

/// The hexadecimal digits of a fingerprint.
const FINGERPRINT: usize = 16;

/// A hash of a list's path, filters and order. The page size is not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of a list. The order of the parameters in a query does not matter.
    pub(crate) fn of(path: &str, params: &[(String, String)], query: &[(String, String)]) -> Self {
        let mut query: Vec<_> = query
            .iter()
            .filter(|(name, _)| !["limit", "offset", "cursor"].contains(&name.as_str()))
            .collect();
        query.sort();
        let pairs = params.iter().chain(query);
        let pairs = pairs.flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        let mut digits = sha256_hex([path].into_iter().chain(pairs));
        digits.truncate(FINGERPRINT);
        Self(digits)
    }
}

/// A decoded cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The list that the cursor belongs to.
    pub list: Fingerprint,
    /// The position in the list.
    pub position: Position,
}

/// A text that is no cursor. The message continues a sentence that starts with the parameter's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the `next_cursor` of a page; leave it out to begin with the first page")]
pub struct CursorError;

impl Cursor {
    /// Encodes the cursor as letters, digits, `-` and `_`, so it needs no escaping in a query.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}{}", self.list.0, self.position.as_str()))
    }

    /// Reads [`Cursor::encode`].
    ///
    /// # Errors
    ///
    /// [`CursorError`] for every other text.
    pub fn decode(text: &str) -> Result<Self, CursorError> {
        if text.len() > MAX_CURSOR {
            return Err(CursorError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let text = String::from_utf8(bytes).map_err(|_| CursorError)?;
        let (list, position) = text.split_at_checked(FINGERPRINT).ok_or(CursorError)?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !list.bytes().all(is_digit) || position.is_empty() {
            return Err(CursorError);
        }
        Ok(Self { list: Fingerprint(list.to_owned()), position: Position::new(position) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn fingerprint_differs_by_all_but_paging() {
        let params = pairs(&[("simulation_id", "s")]);
        let of = |path: &str, query: &[(&str, &str)]| Fingerprint::of(path, &params, &pairs(query));
        let list = of("/v1/agents", &[("name", "a"), ("metadata.k", "v")]);
        let again = [("metadata.k", "v"), ("limit", "3"), ("cursor", "c"), ("name", "a")];
        assert_eq!(list, of("/v1/agents", &again));
        assert_eq!(list, of("/v1/agents", &[("offset", "3"), ("name", "a"), ("metadata.k", "v")]));
        for other in [
            of("/v1/objectives", &[("name", "a"), ("metadata.k", "v")]),
            of("/v1/agents", &[("name", "A"), ("metadata.k", "v")]),
            of("/v1/agents", &[("exact_name", "a"), ("metadata.k", "v")]),
            of("/v1/agents", &[("name", "a")]),
            of("/v1/agents", &[("name", "a"), ("metadata.k", "v"), ("sort_dir", "asc")]),
            Fingerprint::of("/v1/agents", &[], &pairs(&[("name", "a"), ("metadata.k", "v")])),
        ] {
            assert_ne!(list, other);
        }
    }

    #[test]
    fn text_of_another_form_is_no_cursor() {
        let encode = |text: &[u8]| URL_SAFE_NO_PAD.encode(text);
        let long = "A".repeat(MAX_CURSOR + 4);
        for text in [
            "",
            "null",
            "=",
            "a b",
            &long,
            &encode(b"0123456789abcdef"),
            &encode(b"0123456789abcdeF[1]"),
            &encode(b"0123456789abcde\xff[1]"),
            &encode("0123456789abcd\u{e9}[1]".as_bytes()),
            &format!("{}=", encode(b"0123456789abcdef[1]")),
        ] {
            assert_eq!(Cursor::decode(text), Err(CursorError), "{text}");
        }
        assert!(Cursor::decode(&encode(b"0123456789abcdef[1]")).is_ok());
    }

    proptest! {
        #[test]
        fn cursor_decodes_to_what_was_encoded(path in any::<String>(), position in ".{1,300}") {
            let list = Fingerprint::of(&path, &[], &[]);
            let cursor = Cursor { list, position: Position::new(position) };
            prop_assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        }

        #[test]
        fn decoding_never_panics_and_has_one_form(text in "[A-Za-z0-9_-]{0,60}|\\PC{0,40}") {
            if let Ok(cursor) = Cursor::decode(&text) {
                prop_assert_eq!(cursor.encode(), text);
            }
        }
    }
}

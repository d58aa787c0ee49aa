//! Secrets that are sent to providers.

use std::fmt;

use http::HeaderValue;

/// Text that stands for a secret in logs.
const REDACTED: &str = "[redacted]";

/// A secret of at least this many bytes is removed from texts. A shorter one is a placeholder such as
/// `none`, which local servers accept, and removing it would garble texts.
const SHORTEST_REDACTED: usize = 6;

/// An API key, a token or a secret access key. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes the text of a secret. `None` if it is empty or has other than visible ASCII characters, since
    /// it must fit in an HTTP header.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_visible.then(|| Self(text.into()))
    }

    /// The secret's text.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// The value of a header that consists of a prefix and the secret.
    pub(crate) fn header(&self, prefix: &str) -> HeaderValue {
        let mut value = HeaderValue::from_str(&format!("{prefix}{}", self.0))
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

/// Replaces secrets in a text, and words that providers have masked themselves, such as `sk-ab***yz`,
/// because they show a part of a key.
pub(crate) fn redact<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        if secret.len() >= SHORTEST_REDACTED {
            text = text.replace(secret, REDACTED);
        }
    }
    if !text.contains("**") {
        return text;
    }
    text.split_inclusive(char::is_whitespace)
        .map(|word| if word.contains("**") { word_without_mask(word) } else { word.to_owned() })
        .collect()
}

/// The redaction of a masked word, with the white space after it.
fn word_without_mask(word: &str) -> String {
    let space = &word[word.trim_end().len()..];
    format!("{REDACTED}{space}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_masked_keys_are_redacted() {
        let text = redact("bad key sk-live-1234 or sk-l***34. See docs", ["sk-live-1234"]);
        assert_eq!(text, "bad key [redacted] or [redacted] See docs");
        assert_eq!(redact("none of it", ["none"]), "none of it");
        assert_eq!(format!("{:?}", Secret::parse(" sk-1 ").unwrap()), "[redacted]");
    }

    #[test]
    fn secret_that_fits_no_header_is_refused() {
        for text in ["", "  ", "a b", "a\nb", "é"] {
            assert_eq!(Secret::parse(text), None, "{text:?}");
        }
    }
}

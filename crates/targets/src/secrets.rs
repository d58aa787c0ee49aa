//! The secrets of a target, which texts from outside must not repeat.

use std::fmt;

use crate::excerpt::excerpt_of;

/// A secret of at least this many bytes is removed from texts. Removing a shorter one, such as `none`, would
/// garble them.
const SHORTEST: usize = 6;

/// The values of environment variables that were put into requests.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    pub(crate) fn add(&mut self, secrets: impl IntoIterator<Item = String>) {
        self.0.extend(secrets.into_iter().filter(|secret| secret.trim().len() >= SHORTEST));
        // A secret may contain another one.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// The beginning of a text, escaped and without the secrets.
    pub(crate) fn excerpt(&self, text: &str) -> String {
        self.excerpt_of(text, 300)
    }

    /// [`excerpt`](Self::excerpt) with another maximum in bytes.
    pub(crate) fn excerpt_of(&self, text: &str, max: usize) -> String {
        // Before the cut, which could leave a part of a secret.
        let text =
            self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.trim(), "[redacted]"));
        excerpt_of(&text, max)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secrets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_removed_before_the_cut() {
        let mut secrets = Secrets::default();
        secrets.add(["secret".to_owned(), "secret-and-more\n".to_owned(), "none".to_owned()]);
        assert_eq!(secrets.excerpt_of("none: secret, secret-and-more", 100), "none: [redacted], [redacted]");
        assert_eq!(secrets.excerpt_of("ab secret", 6), "ab [re…");
        assert_eq!(format!("{secrets:?}"), "Secrets");
    }
}

//! Reading a configuration from variables, once, with everything that is wrong with it told together.

use std::{fmt, ops::RangeInclusive};

use jiff::SignedDuration;
use onerun_auth::{KEY_CACHE_TTL, RootKey};
use onerun_engine::Settings;

/// The longest lease and turn, in seconds.
const MAX_SECONDS: i64 = 24 * 60 * 60;

/// The longest that a managed key may be believed, in seconds: what a revocation may take.
const MAX_KEY_CACHE: i64 = 60;

/// Everything that is wrong with a configuration, each with the name of its variable.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<String>);

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("; "))
    }
}

/// Knows the values of variables.
type Lookup<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

/// The variables of a configuration, and what was found to be wrong with them so far.
///
/// A value that cannot be used is replaced by a default, so that reading goes on and finds the next one;
/// [`Variables::finish`] then answers with all errors.
pub struct Variables<'a> {
    lookup: Lookup<'a>,
    errors: Vec<String>,
}

impl Variables<'static> {
    /// The environment of this process.
    #[expect(clippy::disallowed_methods, reason = "this is where hosts read the environment")]
    pub fn from_env() -> Self {
        Self::new(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }
}

impl<'a> Variables<'a> {
    /// Variables that a function knows.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self { lookup: Box::new(lookup), errors: Vec::new() }
    }

    /// A variable's text without white space around it; `None` if it is not set, or empty.
    pub fn text(&self, name: &str) -> Option<String> {
        let text = (self.lookup)(name)?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A variable's text. That it is not set is an error.
    pub fn required(&mut self, name: &str, what: &str) -> String {
        self.text(name).unwrap_or_else(|| {
            self.refuse(name, &format!("must be set: {what}"));
            String::new()
        })
    }

    /// A root key. What is no key is an error that does not repeat it, also if it is empty: whoever set it to nothing
    /// meant a key.
    pub fn root_key(&mut self, name: &str) -> Option<RootKey> {
        let text = (self.lookup)(name)?;
        RootKey::parse(&text).map_err(|error| self.refuse(name, &error.to_string())).ok()
    }

    /// How long a managed key is believed after it was read: `AUTH_KEY_CACHE_SECONDS`, 0 for not at all.
    pub fn key_cache(&mut self) -> SignedDuration {
        self.seconds("AUTH_KEY_CACHE_SECONDS", 0..=MAX_KEY_CACHE, KEY_CACHE_TTL)
    }

    /// A number of seconds within `range`.
    pub fn seconds(
        &mut self,
        name: &str,
        range: RangeInclusive<i64>,
        default: SignedDuration,
    ) -> SignedDuration {
        let Some(text) = (self.lookup)(name) else { return default };
        match text.trim().parse() {
            Ok(number) if range.contains(&number) => SignedDuration::from_secs(number),
            _ => {
                let (least, most) = range.into_inner();
                self.refuse(name, &format!("must be an integer from {least} to {most} (seconds)"));
                default
            }
        }
    }

    /// How long leases and turns last: `ONERUN_LEASE_SECONDS` and `ONERUN_TURN_SECONDS`.
    pub fn settings(&mut self, defaults: Settings) -> Settings {
        Settings {
            lease: self.seconds("ONERUN_LEASE_SECONDS", 1..=MAX_SECONDS, defaults.lease),
            turn: self.seconds("ONERUN_TURN_SECONDS", 1..=MAX_SECONDS, defaults.turn),
            ..defaults
        }
    }

    /// Notes what is wrong with a variable: the rest of a sentence that begins with its name.
    pub fn refuse(&mut self, name: &str, problem: &str) {
        self.errors.push(format!("{name}: {problem}"));
    }

    /// `config`, if nothing was wrong.
    ///
    /// # Errors
    ///
    /// Everything that was.
    pub fn finish<T>(self, config: T) -> Result<T, ConfigErrors> {
        if self.errors.is_empty() { Ok(config) } else { Err(ConfigErrors(self.errors)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(set: &'static [(&str, &str)]) -> Variables<'static> {
        Variables::new(|name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_empty_variable_is_one_that_is_not_set() {
        assert_eq!(variables(&[("A", " \n")]).text("A"), None);
        assert_eq!(variables(&[("A", " a\n")]).text("A").as_deref(), Some("a"));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_without_the_key() {
        let mut variables = variables(&[("KEY", "hunter2"), ("SECONDS", "soon")]);
        variables.required("TABLE", "the table's name");
        assert!(variables.root_key("KEY").is_none());
        assert_eq!(
            variables.seconds("SECONDS", 0..=9, SignedDuration::from_secs(5)),
            SignedDuration::from_secs(5)
        );
        let errors = variables.finish(()).unwrap_err().to_string();
        for found in [
            "TABLE: must be set: the table's name",
            "KEY: the key ",
            "SECONDS: must be an integer from 0 to 9",
        ] {
            assert!(errors.contains(found), "{errors}");
        }
        assert!(!errors.contains("hunter2"));
    }

    #[test]
    fn a_key_that_is_set_to_nothing_is_refused() {
        let mut variables = variables(&[("KEY", "")]);
        assert!(variables.root_key("KEY").is_none());
        assert!(variables.finish(()).is_err());
    }
}

//! Reads a configuration from variables and reports all of its errors at once.

use std::{fmt, ops::RangeInclusive};

use jiff::SignedDuration;
use onerun_auth::{KEY_CACHE_TTL, RootKey};
use onerun_engine::Settings;
use onerun_transport::OutboundPolicy;

/// The maximum lease and turn, in seconds.
const MAX_SECONDS: i64 = 24 * 60 * 60;

/// The maximum retention of transcripts, in days: ten years.
const MAX_RETENTION_DAYS: i64 = 3_650;

/// The minimum time after its end until a month of the audit trail is archived, in days. The latest changes stay at
/// hand.
const MIN_ARCHIVE_DAYS: i64 = 90;

/// The maximum time to cache a managed key, in seconds, which bounds how long a revocation takes.
const MAX_KEY_CACHE: i64 = 60;

/// All errors of a configuration, each with its variable's name.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<String>);

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("; "))
    }
}

/// Looks up the value of a variable.
type Lookup<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

/// The variables of a configuration and the errors found so far.
///
/// An invalid value is replaced by a default, so that reading continues; [`Variables::finish`]
/// returns all errors.
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
    /// Reads variables through a function.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self { lookup: Box::new(lookup), errors: Vec::new() }
    }

    /// A variable's value without surrounding white space; `None` if it is not set or empty.
    pub fn text(&self, name: &str) -> Option<String> {
        let text = (self.lookup)(name)?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A variable's value. It is an error if the variable is not set. `what` describes the expected
    /// value.
    pub fn required(&mut self, name: &str, what: &str) -> String {
        self.text(name).unwrap_or_else(|| {
            self.refuse(name, &format!("must be set: {what}"));
            String::new()
        })
    }

    /// A root key. An invalid key is an error that does not repeat it. An empty value is an error
    /// too, because setting it shows that a key was intended.
    pub fn root_key(&mut self, name: &str) -> Option<RootKey> {
        let text = (self.lookup)(name)?;
        RootKey::parse(&text).map_err(|error| self.refuse(name, &error.to_string())).ok()
    }

    /// The time to live of cached managed keys: `AUTH_KEY_CACHE_SECONDS`, 0 to disable the cache.
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

    /// The lengths of leases, turns and replies: `ONERUN_LEASE_SECONDS`, `ONERUN_TURN_SECONDS` and
    /// `ONERUN_REPLY_SECONDS`. And the retention of transcripts, `ONERUN_RETENTION_DAYS`: 0 for no end.
    pub fn settings(&mut self, defaults: Settings) -> Settings {
        Settings {
            lease: self.seconds("ONERUN_LEASE_SECONDS", 1..=MAX_SECONDS, defaults.lease),
            turn: self.seconds("ONERUN_TURN_SECONDS", 1..=MAX_SECONDS, defaults.turn),
            reply: self.seconds("ONERUN_REPLY_SECONDS", 1..=MAX_SECONDS, defaults.reply),
            retention: self.retention(),
            ..defaults
        }
    }

    fn retention(&mut self) -> Option<SignedDuration> {
        const NAME: &str = "ONERUN_RETENTION_DAYS";
        let text = self.text(NAME)?;
        match text.parse::<i64>() {
            Ok(0) => None,
            Ok(days @ 1..=MAX_RETENTION_DAYS) => Some(SignedDuration::from_hours(days * 24)),
            _ => {
                self.refuse(NAME, &format!("must be an integer from 0 to {MAX_RETENTION_DAYS} (days)"));
                None
            }
        }
    }

    /// How long after its end a month of the audit trail is archived: `ONERUN_AUDIT_ARCHIVE_DAYS`, 0 for never.
    pub fn audit_archive(&mut self) -> Option<SignedDuration> {
        const NAME: &str = "ONERUN_AUDIT_ARCHIVE_DAYS";
        match self.text(NAME)?.parse::<i64>() {
            Ok(0) => None,
            Ok(days @ MIN_ARCHIVE_DAYS..=MAX_RETENTION_DAYS) => Some(SignedDuration::from_hours(days * 24)),
            _ => {
                let range = format!("{MIN_ARCHIVE_DAYS} to {MAX_RETENTION_DAYS}");
                self.refuse(NAME, &format!("must be 0 or an integer from {range} (days)"));
                None
            }
        }
    }

    /// The private addresses that users may have the deployment call: `ONERUN_OUTBOUND_ALLOW`.
    pub fn outbound(&mut self) -> OutboundPolicy {
        const NAME: &str = "ONERUN_OUTBOUND_ALLOW";
        OutboundPolicy::parse(&self.text(NAME).unwrap_or_default()).unwrap_or_else(|part| {
            self.refuse(
                NAME,
                &format!("`{part}` is not a host name, an IP address or a CIDR block, such as `10.0.0.0/8`"),
            );
            OutboundPolicy::default()
        })
    }

    /// Records an error of a variable; `problem` completes a sentence that starts with its name.
    pub fn refuse(&mut self, name: &str, problem: &str) {
        self.errors.push(format!("{name}: {problem}"));
    }

    /// Returns `config` if there were no errors.
    ///
    /// # Errors
    ///
    /// All recorded errors.
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
    fn empty_variable_counts_as_not_set() {
        assert_eq!(variables(&[("A", " \n")]).text("A"), None);
        assert_eq!(variables(&[("A", " a\n")]).text("A").as_deref(), Some("a"));
    }

    #[test]
    fn retention_is_read_in_days() {
        let read = |set| {
            let mut variables = variables(set);
            let settings = variables.settings(Settings::default());
            variables.finish(settings.retention).map_err(|errors| errors.to_string())
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("ONERUN_RETENTION_DAYS", "0")]), Ok(None));
        assert_eq!(read(&[("ONERUN_RETENTION_DAYS", "30")]), Ok(Some(SignedDuration::from_hours(720))));
        for wrong in [
            &[("ONERUN_RETENTION_DAYS", "-1")],
            &[("ONERUN_RETENTION_DAYS", "3651")],
            &[("ONERUN_RETENTION_DAYS", "1d")],
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.starts_with("ONERUN_RETENTION_DAYS: must be an integer from 0 to 3650"), "{error}");
        }
    }

    #[test]
    fn time_until_the_audit_trail_is_archived_is_read_in_days() {
        let read = |set| {
            let mut variables = variables(set);
            let after = variables.audit_archive();
            variables.finish(after).map_err(|errors| errors.to_string())
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("ONERUN_AUDIT_ARCHIVE_DAYS", "0")]), Ok(None));
        assert_eq!(
            read(&[("ONERUN_AUDIT_ARCHIVE_DAYS", "90")]),
            Ok(Some(SignedDuration::from_hours(90 * 24)))
        );
        for wrong in [
            &[("ONERUN_AUDIT_ARCHIVE_DAYS", "89")],
            &[("ONERUN_AUDIT_ARCHIVE_DAYS", "-90")],
            &[("ONERUN_AUDIT_ARCHIVE_DAYS", "3651")],
            &[("ONERUN_AUDIT_ARCHIVE_DAYS", "90d")],
        ] {
            let error = read(wrong).unwrap_err();
            let expected = "ONERUN_AUDIT_ARCHIVE_DAYS: must be 0 or an integer from 90 to 3650 (days)";
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn all_errors_are_reported_without_the_key() {
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
    fn empty_root_key_is_refused() {
        let mut variables = variables(&[("KEY", "")]);
        assert!(variables.root_key("KEY").is_none());
        assert!(variables.finish(()).is_err());
    }
}

//! Why a run has no results, or not all of them.

use std::fmt;

use onerun_client::Error;
use onerun_report::Verdict;

/// A failure that is not the agent's.
#[derive(Debug)]
pub(crate) struct Failure {
    /// `config` or `infra`.
    pub(crate) verdict: Verdict,
    pub(crate) reason: String,
}

impl Failure {
    /// The file, the baseline, the key or the project is wrong.
    pub(crate) fn config(reason: impl fmt::Display) -> Self {
        Self { verdict: Verdict::Config, reason: reason.to_string() }
    }

    /// Something was not available.
    pub(crate) fn infra(reason: impl fmt::Display) -> Self {
        Self { verdict: Verdict::Infra, reason: reason.to_string() }
    }

    /// An error of the API while something was attempted. A refusal is a matter of configuration.
    pub(crate) fn of_api(what: &str, error: &Error) -> Self {
        let advice = match error.status() {
            Some(401) => "; set ONERUN_API_KEY to a valid key",
            Some(403) => "; the key needs the scopes of the preset `ci`, and access to the project",
            None if error.is_connect() => "; is the server running, and is ONERUN_API_BASE_URL its address?",
            _ => "",
        };
        let reason = format!("{what}: {error}{advice}");
        match error.status() {
            Some(429) => Self::infra(reason),
            Some(status) if (400..500).contains(&status) => Self::config(reason),
            _ => Self::infra(reason),
        }
    }
}

/// Names what was attempted when a call of the API fails.
pub(crate) trait Attempt<T> {
    /// The error as a [`Failure`].
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> Attempt<T> for Result<T, Error> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::of_api(&what(), &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_config_and_other_errors_are_infra() {
        let verdict = |status| {
            let (code, message) = ("code".to_owned(), "message".to_owned());
            let error =
                Error::Api { status, code, message, request_id: None, retry_after: None, fields: Vec::new() };
            Failure::of_api("creating", &error).verdict
        };
        assert!([400, 401, 403, 404, 409, 422].into_iter().all(|status| verdict(status) == Verdict::Config));
        assert!([302, 429, 500, 503].into_iter().all(|status| verdict(status) == Verdict::Infra));
    }
}

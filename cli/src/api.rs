//! Which API is asked, and with which key.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use onerun_client::{ApiKey, Client, ClientOptions, SetupError};
use zeroize::Zeroizing;

/// Where `onerun serve` listens unless told.
const DEFAULT_ADDRESS: &str = "http://127.0.0.1:9000";

/// For how long a call is tried again while the API is busy.
const PATIENCE: Duration = Duration::from_secs(15);

/// How the API is reached.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Send keys over plain HTTP to another machine, where whoever is on the way reads them: for networks that can be
    /// trusted. To this machine it is always done.
    #[arg(long)]
    insecure_http: bool,
}

impl Connection {
    /// A client with the key of the environment.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        self.connect(Some(&key(variable)?), variable)
    }

    /// A client without a key.
    pub(crate) fn anonymous(&self) -> anyhow::Result<Client> {
        self.connect(None, variable)
    }

    fn connect(
        &self,
        key: Option<&ApiKey>,
        variable: impl Fn(&str) -> anyhow::Result<Option<String>>,
    ) -> anyhow::Result<Client> {
        let address = variable("ONERUN_API_BASE_URL")?;
        let address = address.as_deref().unwrap_or(DEFAULT_ADDRESS);
        let mut options = ClientOptions::default();
        options.clear_text = self.insecure_http;
        options.retry_budget = PATIENCE;
        let client = Client::with_options(address, key, options);
        if let Err(SetupError::ClearText(_)) = client {
            let advice = "or say `--insecure-http` if everybody on the way can be trusted";
            return client.map_err(|error| anyhow::anyhow!("ONERUN_API_BASE_URL: {error}, {advice}"));
        }
        client.context("ONERUN_API_BASE_URL")
    }
}

fn key(variable: impl Fn(&str) -> anyhow::Result<Option<String>>) -> anyhow::Result<ApiKey> {
    let Some(text) = variable("ONERUN_API_KEY")?.map(Zeroizing::new) else {
        bail!(
            "no key to ask with: set ONERUN_API_KEY; for `onerun serve`, which keeps its own in a file: \
             export ONERUN_API_KEY=$(cat onerun-data/api-key)"
        )
    };
    ApiKey::new(&text).context("ONERUN_API_KEY")
}

/// A variable of the environment; one that is empty counts as not set, as it does for most programs.
#[expect(clippy::disallowed_methods, reason = "the program is a composition root; here alone it reads them")]
pub(crate) fn variable(name: &str) -> anyhow::Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.trim().is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => bail!("{name} is not text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(address: Option<&str>, insecure_http: bool) -> Result<String, String> {
        let client = Connection { insecure_http }.connect(None, |name| {
            assert_eq!(name, "ONERUN_API_BASE_URL");
            Ok(address.map(str::to_owned))
        });
        client.map(|client| format!("{client:?}")).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn without_a_word_it_is_the_server_of_this_machine() {
        assert!(connect(None, false).unwrap().contains("127.0.0.1"));
        assert!(connect(Some("https://example.com/stage"), false).is_ok());
    }

    #[test]
    fn a_key_in_clear_text_is_refused_with_advice() {
        let error = connect(Some("http://onerun:9000"), false).unwrap_err();
        assert!(error.contains("https") && error.contains("--insecure-http"), "{error}");
        assert!(connect(Some("http://onerun:9000"), true).is_ok());
        let error = connect(Some("onerun:9000"), true).unwrap_err();
        assert!(error.starts_with("ONERUN_API_BASE_URL: "), "{error}");
    }

    #[test]
    fn a_missing_key_says_where_one_is() {
        let error = key(|_| Ok(None)).unwrap_err().to_string();
        assert!(error.contains("ONERUN_API_KEY") && error.contains("onerun-data/api-key"), "{error}");
        let error = format!("{:#}", key(|_| Ok(Some("a\nb".into()))).unwrap_err());
        assert!(error.starts_with("ONERUN_API_KEY: ") && !error.contains("a\nb"), "{error}");
    }
}

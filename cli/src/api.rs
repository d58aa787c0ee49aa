//! The connection to the API: its address and the key, both from the environment.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use onerun_client::{ApiKey, Client, ClientOptions, SetupError};
use zeroize::Zeroizing;

/// The default address of `onerun serve`.
const DEFAULT_ADDRESS: &str = "http://127.0.0.1:9000";

/// How long a call is retried while the API is busy.
const RETRY_BUDGET: Duration = Duration::from_secs(15);

/// Options of the connection to the API.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Allow plain HTTP to another machine. Anyone on the network path can read the key, so use it on trusted
    /// networks only. Plain HTTP to this machine is always allowed.
    #[arg(long)]
    insecure_http: bool,
}

impl Connection {
    /// A client that sends the key in `ONERUN_API_KEY`.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        self.connect(Some(&key(variable)?), variable)
    }

    /// A client that sends this key.
    pub(crate) fn client_with(&self, key: &ApiKey) -> anyhow::Result<Client> {
        self.connect(Some(key), variable)
    }

    /// A client of the server at this address, which sends the key in `ONERUN_API_KEY`.
    pub(crate) fn client_at(&self, address: &str) -> anyhow::Result<Client> {
        self.connect(Some(&key(variable)?), |_| Ok(Some(address.to_owned())))
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
        options.retry_budget = RETRY_BUDGET;
        let client = Client::with_options(address, key, options);
        if let Err(SetupError::ClearText(_)) = client {
            let advice = "or pass `--insecure-http` if the network is trusted";
            return client.map_err(|error| anyhow::anyhow!("ONERUN_API_BASE_URL: {error}, {advice}"));
        }
        client.context("ONERUN_API_BASE_URL")
    }
}

fn key(variable: impl Fn(&str) -> anyhow::Result<Option<String>>) -> anyhow::Result<ApiKey> {
    let Some(text) = variable("ONERUN_API_KEY")?.map(Zeroizing::new) else {
        bail!(
            "no API key: set ONERUN_API_KEY. `onerun serve` stores its key in a file: \
             export ONERUN_API_KEY=$(cat onerun-data/api-key)"
        )
    };
    ApiKey::new(&text).context("ONERUN_API_KEY")
}

/// An environment variable. An empty one counts as unset, as in most programs.
#[expect(
    clippy::disallowed_methods,
    reason = "the program is a composition root; it reads the environment only here"
)]
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
    fn default_address_is_the_local_server() {
        assert!(connect(None, false).unwrap().contains("127.0.0.1"));
        assert!(connect(Some("https://example.com/stage"), false).is_ok());
    }

    #[test]
    fn clear_text_address_is_refused_with_advice() {
        let error = connect(Some("http://onerun:9000"), false).unwrap_err();
        assert!(error.contains("https") && error.contains("--insecure-http"), "{error}");
        assert!(connect(Some("http://onerun:9000"), true).is_ok());
        let error = connect(Some("onerun:9000"), true).unwrap_err();
        assert!(error.starts_with("ONERUN_API_BASE_URL: "), "{error}");
    }

    #[test]
    fn missing_key_error_says_where_to_find_one() {
        let error = key(|_| Ok(None)).unwrap_err().to_string();
        assert!(error.contains("ONERUN_API_KEY") && error.contains("onerun-data/api-key"), "{error}");
        let error = format!("{:#}", key(|_| Ok(Some("a\nb".into()))).unwrap_err());
        assert!(error.starts_with("ONERUN_API_KEY: ") && !error.contains("a\nb"), "{error}");
    }
}

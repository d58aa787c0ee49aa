//! The settings of a client, and what it refuses.

use std::{fmt, net::IpAddr, time::Duration};

use reqwest::{Url, header::HeaderValue, redirect::Policy};

use super::{Client, endpoint::Endpoint, key::KeySlot};
use crate::{retry::RetryPolicy, tls};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a response may take.
const TIMEOUT: Duration = Duration::from_mins(1);

/// How long the persona's reply may take. The server's own limit is shorter, so that it responds with an
/// error.
pub(super) const REPLY_TIMEOUT: Duration = Duration::from_secs(150);

const USER_AGENT: &str = concat!("onerun-client/", env!("CARGO_PKG_VERSION"));

/// An API key. `Debug` does not print it.
#[derive(Clone)]
pub struct ApiKey(pub(super) HeaderValue);

impl ApiKey {
    /// Accepts a key, without the white space around it. Fails unless it is visible ASCII.
    pub fn new(text: &str) -> Result<Self, SetupError> {
        let text = text.trim();
        match HeaderValue::from_str(text) {
            Ok(mut value) if !text.is_empty() && text.is_ascii() => {
                value.set_sensitive(true);
                Ok(Self(value))
            }
            _ => Err(SetupError::Key),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey")
    }
}

/// Why a client could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The server's address is not an http or https address, or has a user name or password.
    #[error("the server's address {0:?} is not an http or https address such as `http://127.0.0.1:9000`")]
    Address(String),
    /// The key would be sent over plain HTTP to another machine.
    #[error("an API key must not be sent over plain HTTP to another machine: use https for {0:?}")]
    ClearText(String),
    /// The key is not visible ASCII.
    #[error("the API key must be visible ASCII characters on one line")]
    Key,
    /// The system's root certificates are missing or unreadable.
    #[error("cannot load the root certificates (on Debian, install `ca-certificates`): {0}")]
    Roots(#[source] rustls::Error),
    /// The HTTP client could not be created.
    #[error("cannot create the HTTP client: {0}")]
    Http(#[source] reqwest::Error),
}

/// Options of a [`Client`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Whether plain HTTP to another machine is allowed. Anyone on the network path can read the
    /// key and conversations.
    pub clear_text: bool,
    /// How long reads, creations and calls about keys are retried if the server is busy or the
    /// connection breaks; zero by default.
    pub retry_budget: Duration,
}

impl Client {
    /// A client of the server at `address`, such as `http://127.0.0.1:9000`. A path in it is a
    /// prefix of every request.
    ///
    /// Redirects are not followed, because they could send the key elsewhere. Proxies come from the
    /// environment, and are not used for a server on this machine.
    pub fn new(address: &str, key: &ApiKey) -> Result<Self, SetupError> {
        Self::with_options(address, Some(key), ClientOptions::default())
    }

    /// [`new`](Self::new) with options. Without a key it can only make calls that need none.
    pub fn with_options(
        address: &str,
        key: Option<&ApiKey>,
        options: ClientOptions,
    ) -> Result<Self, SetupError> {
        let refuse = || SetupError::Address(without_password(address));
        let mut url = Url::parse(address).map_err(|_| refuse())?;
        let is_one = matches!(url.scheme(), "http" | "https") && url.has_host();
        if !is_one || !url.username().is_empty() || url.password().is_some() {
            return Err(refuse());
        }
        let here = is_this_machine(&url);
        if url.scheme() == "http" && !here && !options.clear_text {
            return Err(SetupError::ClearText(address.to_owned()));
        }
        url.set_query(None);
        url.set_fragment(None);

        let trust = if url.scheme() == "https" { tls::trusting_system() } else { tls::trusting_nobody() };
        let mut http = reqwest::Client::builder()
            .tls_backend_preconfigured(trust.map_err(SetupError::Roots)?)
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT);
        if here {
            http = http.no_proxy();
        }
        let http = http.build().map_err(SetupError::Http)?;
        let retry = RetryPolicy { budget: options.retry_budget };
        Ok(Self(Endpoint { http, url, key: KeySlot::new(key), project: None, retry }.at(&["v1"])))
    }
}

/// An address for error messages, without user name and password.
fn without_password(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => address.to_owned(),
    }
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn key_is_visible_ascii_and_not_printed() {
        let key = ApiKey::new(" secret\n").unwrap();
        let client = Client::new("http://127.0.0.1:1", &key).unwrap();
        assert!(!format!("{key:?} {client:?}").contains("secret"));
        for text in ["", " ", "a\nb", "schlüssel"] {
            assert!(matches!(ApiKey::new(text), Err(SetupError::Key)), "{text:?}");
        }
    }

    #[test]
    fn unusable_addresses_are_refused() {
        let new = |address| Client::new(address, &testing::key()).err();
        for address in
            ["http://[::1]:9000/stage/", "http://127.1.2.3", "http://localhost", "https://example.com"]
        {
            assert!(new(address).is_none(), "{address}");
        }
        for address in ["", "127.0.0.1:9000", "localhost:9000", "ftp://example.com", "http://user:word@host"]
        {
            let error = new(address).unwrap();
            assert!(matches!(error, SetupError::Address(_)), "{address}");
            assert!(!error.to_string().contains("word"), "{error}");
        }
    }

    #[test]
    fn clear_text_to_another_machine_needs_permission() {
        let allowed = ClientOptions { clear_text: true, ..ClientOptions::default() };
        // Names that only start like a local one belong to other machines.
        for address in
            ["http://10.0.0.7:9000", "http://localhost.example.com", "http://127.0.0.1.example.com"]
        {
            let error = Client::new(address, &testing::key()).unwrap_err();
            assert!(matches!(error, SetupError::ClearText(_)), "{address}: {error}");
            assert!(Client::with_options(address, Some(&testing::key()), allowed).is_ok(), "{address}");
        }
    }
}

//! Base URLs.

use http::{Uri, uri::Scheme};

/// Why a base URL was refused. The message completes a sentence that starts with the variable's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The URL is not absolute.
    #[error("must be an `http` or `https` URL, such as `https://api.example.com/v1`")]
    Url,
    /// It has a user name, a password or a key.
    #[error("must not contain credentials; set the API key instead")]
    Credentials,
    /// A region has other than lower-case letters, digits and `-`.
    #[error("must be an AWS region, such as `eu-central-1`")]
    Region,
    /// A name of credentials has characters that fit in no header.
    #[error("must consist of visible ASCII characters")]
    AccessKey,
}

/// Names of parameters that hold a key. A URL is logged, so a key in it would be, too.
const CREDENTIALS: [&str; 8] =
    ["key", "api_key", "api-key", "apikey", "token", "access_token", "subscription-key", "sig"];

/// A base URL: the part before the path of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The scheme and the authority, such as `https://api.openai.com`.
    origin: String,
    /// The host in lower case.
    host: String,
    /// The path without a slash at its end; empty for the root.
    path: String,
    query: Option<String>,
}

impl Endpoint {
    /// Parses a base URL.
    pub(crate) fn parse(text: &str) -> Result<Self, EndpointError> {
        let uri: Uri = text.trim().parse().map_err(|_| EndpointError::Url)?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(EndpointError::Url);
        };
        if (*scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) || authority.host().is_empty() {
            return Err(EndpointError::Url);
        }
        let names =
            uri.query().unwrap_or_default().split('&').map(|pair| pair.split('=').next().unwrap_or(pair));
        let mut names = names.map(str::to_ascii_lowercase);
        if authority.as_str().contains('@') || names.any(|name| CREDENTIALS.contains(&name.as_str())) {
            return Err(EndpointError::Credentials);
        }
        Ok(Self {
            origin: format!("{scheme}://{authority}"),
            host: authority.host().to_ascii_lowercase(),
            path: uri.path().trim_end_matches('/').to_owned(),
            query: uri.query().filter(|query| !query.is_empty()).map(str::to_owned),
        })
    }

    /// The host in lower case.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The path without a slash at its end.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The query.
    pub(crate) fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The URL of an operation below this one, with the base URL's query.
    pub(crate) fn join(&self, operation: &str) -> String {
        self.with_path(&format!("{}{operation}", self.path))
    }

    /// The URL of a path on this host, with the base URL's query.
    pub(crate) fn with_path(&self, path: &str) -> String {
        match &self.query {
            Some(query) => format!("{}{path}?{query}", self.origin),
            None => format!("{}{path}", self.origin),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operation_is_joined_before_the_query() {
        for (base, url) in [
            ("https://api.openai.com/v1", "https://api.openai.com/v1/chat"),
            (" https://api.openai.com/v1/ ", "https://api.openai.com/v1/chat"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/chat"),
            ("https://a.example/d/m?api-version=1", "https://a.example/d/m/chat?api-version=1"),
        ] {
            assert_eq!(Endpoint::parse(base).unwrap().join("/chat"), url);
        }
    }

    #[test]
    fn other_than_http_urls_are_refused() {
        for text in ["", "api.openai.com", "/v1", "ftp://a.example", "https://", "https:///v1", "https://a b"]
        {
            assert_eq!(Endpoint::parse(text), Err(EndpointError::Url), "{text}");
        }
        for text in ["https://me:pw@a.example", "https://a.example/v1?api-version=1&Key=secret"] {
            assert_eq!(Endpoint::parse(text), Err(EndpointError::Credentials), "{text}");
        }
    }
}

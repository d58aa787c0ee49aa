//! Requests to one URL.

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::{Serialize, de::DeserializeOwned};

use super::key::{KeySlot, with_key};
use crate::{
    Error, error,
    resource::{ExportPage, PageRequest, Start},
    retry::RetryPolicy,
};

/// A URL with the HTTP client, project and retry policy for its requests.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) http: reqwest::Client,
    pub(super) url: Url,
    pub(super) key: KeySlot,
    pub(super) project: Option<String>,
    pub(super) retry: RetryPolicy,
}

impl Endpoint {
    /// The endpoint below this one. Segments are percent-encoded, so that a slash in an id is not a
    /// separator.
    pub(super) fn at(&self, segments: &[&str]) -> Self {
        let mut below = self.clone();
        // Fails only for URLs that cannot have a path, which were refused.
        if let Ok(mut path) = below.url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        below
    }

    pub(super) fn full_url(&self, query: &[(&str, &str)]) -> Url {
        let mut url = self.url.clone();
        let project = self.project.as_deref().map(|id| ("project_id", id));
        if project.is_some() || !query.is_empty() {
            url.query_pairs_mut().extend_pairs(project).extend_pairs(query);
        }
        url
    }

    pub(super) fn request(&self, method: Method, query: &[(&str, &str)]) -> RequestBuilder {
        self.http.request(method, self.full_url(query))
    }

    pub(super) fn page_request(&self, query: &[(&str, &str)], page: &PageRequest) -> RequestBuilder {
        let limit = page.limit.to_string();
        let (name, start) = match &page.start {
            Start::Offset(offset) => ("offset", offset.to_string()),
            Start::Cursor(cursor) => ("cursor", cursor.clone()),
        };
        let page = [("limit", limit.as_str()), (name, start.as_str())];
        self.request(Method::GET, &[query, &page].concat())
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, query: &[(&str, &str)]) -> Result<T, Error> {
        self.retrying("reading", || self.request(Method::GET, query)).await
    }

    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        query: &[(&str, &str)],
        page: PageRequest,
    ) -> Result<T, Error> {
        self.retrying("listing", || self.page_request(query, &page)).await
    }

    /// Reads a page of JSON lines.
    pub(super) async fn lines(&self, query: &[(&str, &str)]) -> Result<ExportPage, Error> {
        let read = async || error::read_text(self.send(|| self.request(Method::GET, query)).await?).await;
        let (link, lines) = self.retry.call("exporting", is_retryable, read).await?;
        Ok(ExportPage { lines, next: link.and_then(|link| self.cursor_of(&link)) })
    }

    /// The cursor in the address of a `Link` header, such as `<?project_id=p&cursor=c>; rel="next"`.
    fn cursor_of(&self, link: &str) -> Option<String> {
        let (address, _) = link.strip_prefix('<')?.split_once('>')?;
        let url = self.url.join(address).ok()?;
        url.query_pairs().find(|(name, _)| name == "cursor").map(|(_, cursor)| cursor.into_owned())
    }

    /// Makes an idempotent call and retries it within the budget.
    pub(super) async fn retrying<T: DeserializeOwned>(
        &self,
        what: &str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<T, Error> {
        let call = async || error::read(self.send(&request).await?).await;
        self.retry.call(what, is_retryable, call).await
    }

    /// Sends a request with the key. If the server refuses the key, another one is read and the request sent
    /// once more: a refused request was not processed.
    pub(super) async fn send(&self, request: impl Fn() -> RequestBuilder) -> Result<Response, Error> {
        let key = self.key.current();
        let response = with_key(request(), key.as_ref()).send().await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(other) = self.key.instead_of(key.as_ref())
        {
            return Ok(with_key(request(), Some(&other)).send().await?);
        }
        Ok(response)
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, body: &impl Serialize) -> Result<T, Error> {
        error::read(self.send(|| self.request(Method::POST, &[]).json(body)).await?).await
    }

    /// Changes something. Repeating the call changes nothing more.
    pub(super) async fn patch<T: DeserializeOwned>(&self, body: &impl Serialize) -> Result<T, Error> {
        self.retrying("changing", || self.request(Method::PATCH, &[]).json(body)).await
    }

    /// Creates something with an idempotency key, so that retries create no second one.
    pub(super) async fn create<T: DeserializeOwned>(
        &self,
        what: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let key = idempotency_key()?;
        let request = || self.request(Method::POST, &[]).json(body).header("idempotency-key", key.as_str());
        self.retrying(what, request).await
    }
}

/// A random value for the `Idempotency-Key` header.
pub(crate) fn idempotency_key() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Error::Randomness)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// Whether a retry may succeed. A failed connection is not retried: mostly the address is wrong or
/// the server was not started, which the user should learn at once.
fn is_retryable(error: &Error) -> bool {
    error.is_transient() && !error.is_connect()
}

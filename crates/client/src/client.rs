//! The client: what can be called, by what it is called on.

mod keys;

use std::{fmt, net::IpAddr, time::Duration};

use reqwest::{
    Method, RequestBuilder, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    Error, Verbatim, error,
    resource::{
        Agent, Conversation, ConversationStatus, Item, KeyStatus, NewAgent, NewObjective, NewSimulation,
        Objective, Page, PageRequest, Persona, Project, Response, Results, Simulation, SimulationStatus,
        Start, Started, Turn,
    },
    retry::Retry,
    tls,
};

/// How long it may take to be connected.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer may take. Longer than the server gives a model, so that it is the server that gives up.
const TIMEOUT: Duration = Duration::from_mins(1);

const USER_AGENT: &str = concat!("onerun-client/", env!("CARGO_PKG_VERSION"));

/// An API key. It is not printed.
#[derive(Clone)]
pub struct ApiKey(HeaderValue);

impl ApiKey {
    /// Takes a text as a key, without the white space around it.
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

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The address of the server is none.
    #[error(
        "the server's address must be an http or https address, such as `http://127.0.0.1:9000`; it is {0:?}"
    )]
    Address(String),
    /// The address would have the key sent in clear text to another machine.
    #[error("an API key must not be sent over plain HTTP to another machine: use https instead of {0:?}")]
    ClearText(String),
    /// The key is none.
    #[error("the API key must be visible ASCII characters on one line")]
    Key,
    /// There are no certificates to trust a server by.
    #[error("no certificates to trust a server by (on Debian, the package `ca-certificates`): {0}")]
    Roots(#[source] rustls::Error),
    /// The HTTP client could not be made.
    #[error("no HTTP client could be made: {0}")]
    Http(#[source] reqwest::Error),
}

/// How a client behaves.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Whether keys and conversations may go over plain HTTP to another machine, where whoever is on the way reads them.
    pub clear_text: bool,
    /// For how long a call that reads, or one about keys, is tried again if the server is busy or the connection broke;
    /// not at all by default.
    pub retry_budget: Duration,
}

/// A client of one server, with one key. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client(Endpoint);

impl Client {
    /// A client of the server at `address`, such as `http://127.0.0.1:9000`. A path in it is kept.
    ///
    /// Redirects are not followed, because the key would go where they lead. Proxies are those of the environment,
    /// except for a server on this machine.
    pub fn new(address: &str, key: &ApiKey) -> Result<Self, SetupError> {
        Self::with_options(address, Some(key), ClientOptions::default())
    }

    /// [`new`](Self::new), with options. Without a key it can do what needs none.
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

        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            headers.insert(HeaderName::from_static("x-api-key"), key.0.clone());
        }
        let trust = if url.scheme() == "https" { tls::trusting_system() } else { tls::trusting_nobody() };
        let mut http = reqwest::Client::builder()
            .tls_backend_preconfigured(trust.map_err(SetupError::Roots)?)
            .default_headers(headers)
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT);
        if here {
            http = http.no_proxy();
        }
        let http = http.build().map_err(SetupError::Http)?;
        let retry = Retry { budget: options.retry_budget };
        Ok(Self(Endpoint { http, url, project: None, retry }.at(&["v1"])))
    }

    /// The projects that the key reaches, newest first.
    pub async fn list_projects(&self, page: PageRequest) -> Result<Verbatim<Page<Verbatim<Project>>>, Error> {
        self.0.at(&["projects"]).page(&[], page).await
    }

    /// Makes a project.
    pub async fn create_project(&self, name: &str) -> Result<Project, Error> {
        self.0.at(&["projects"]).create("creating a project", &json!({ "name": name })).await
    }

    /// What is in the project with this id. Nothing is sent.
    pub fn project(&self, id: &str) -> ProjectClient {
        ProjectClient(Endpoint { project: Some(id.to_owned()), ..self.0.clone() })
    }
}

/// What is in one project.
#[derive(Clone, Debug)]
pub struct ProjectClient(Endpoint);

impl ProjectClient {
    /// Makes an agent.
    pub async fn create_agent(&self, new: &NewAgent) -> Result<Agent, Error> {
        self.0.at(&["agents"]).create("creating an agent", new).await
    }

    /// Makes an objective.
    pub async fn create_objective(&self, new: &NewObjective) -> Result<Objective, Error> {
        self.0.at(&["objectives"]).create("creating an objective", new).await
    }

    /// Makes a simulation, which starts by itself.
    pub async fn create_simulation(&self, new: &NewSimulation) -> Result<Simulation, Error> {
        self.0.at(&["simulations"]).create("creating a simulation", new).await
    }

    /// The simulations of an agent that are in progress: first those with a queued conversation, the longest waiting
    /// at the head.
    pub async fn simulations_in_progress(
        &self,
        agent_id: &str,
        page: PageRequest,
    ) -> Result<Page<Simulation>, Error> {
        let query = [("agent_id", agent_id), ("status", "in_progress")];
        self.0.at(&["simulations"]).page(&query, page).await
    }

    /// Simulations, newest first.
    pub async fn list_simulations(
        &self,
        status: Option<SimulationStatus>,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<Simulation>>>, Error> {
        // Said, because those in progress are otherwise in the order that workers want them.
        let mut query = vec![("sort_by", "created_at")];
        query.extend(status.map(|status| ("status", status.as_str())));
        self.0.at(&["simulations"]).page(&query, page).await
    }

    /// The simulation with this id. Nothing is sent.
    pub fn simulation(&self, id: &str) -> SimulationClient {
        SimulationClient(self.0.at(&["simulations", id]))
    }
}

/// One simulation.
#[derive(Clone, Debug)]
pub struct SimulationClient(Endpoint);

impl SimulationClient {
    /// The simulation as it is now.
    pub async fn get(&self) -> Result<Verbatim<Simulation>, Error> {
        self.0.get(&[]).await
    }

    /// What its verdicts come to as of now.
    pub async fn results(&self) -> Result<Verbatim<Results>, Error> {
        self.0.at(&["results"]).get(&[]).await
    }

    /// Its personas, newest first.
    pub async fn personas(&self, page: PageRequest) -> Result<Verbatim<Page<Verbatim<Persona>>>, Error> {
        self.0.at(&["personas"]).page(&[], page).await
    }

    /// Lets a persona hold conversations. One that was approved before stays as it is.
    pub async fn approve_persona(&self, id: &str) -> Result<(), Error> {
        self.0.at(&["personas", id, "approve"]).post::<Value>(&json!({})).await.map(drop)
    }

    /// Has a persona replaced by another. One that was rejected before stays as it is.
    pub async fn reject_persona(&self, id: &str) -> Result<(), Error> {
        self.0.at(&["personas", id, "reject"]).post::<Value>(&json!({})).await.map(drop)
    }

    /// Its conversations, newest first. Those asked for as `queued` come longest waiting first.
    pub async fn conversations(
        &self,
        status: Option<ConversationStatus>,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<Conversation>>>, Error> {
        let status = status.map(|status| ("status", status.as_str()));
        self.0.at(&["conversations"]).page(status.as_slice(), page).await
    }

    /// Its conversation with this id. Nothing is sent.
    pub fn conversation(&self, id: &str) -> ConversationClient {
        ConversationClient(self.0.at(&["conversations", id]))
    }
}

/// One conversation.
#[derive(Clone, Debug)]
pub struct ConversationClient(Endpoint);

impl ConversationClient {
    /// The conversation as it is now.
    pub async fn get(&self) -> Result<Verbatim<Conversation>, Error> {
        self.0.get(&[]).await
    }

    /// Takes the conversation, if it is queued. Who repeats the call under its key, because the answer was lost, gets the
    /// same attempt; who takes the conversation anew sends another key.
    pub async fn start(&self, idempotency_key: &str) -> Result<Started, Error> {
        let request = self.0.at(&["start"]).request(Method::POST, &[]).json(&json!({}));
        error::read(request.header("idempotency-key", idempotency_key).send().await?).await
    }

    /// Says something to the persona, or lets it open, and gets its words.
    pub async fn respond(&self, turn: &Turn<'_>) -> Result<Response, Error> {
        let message = turn
            .says
            .map(|text| json!([{ "type": "message", "content": [{ "type": "text", "text": text }] }]));
        let attempt = turn.attempt.to_string();
        let url = self.0.at(&["responses"]).full_url(&[("attempt", attempt.as_str())]);
        let request = self.0.http.request(Method::POST, url).json(&json!({ "input": message }));
        error::read(request.header("idempotency-key", turn.idempotency_key).send().await?).await
    }

    /// Ends it, if it is at this attempt. One that has ended stays as it is.
    pub async fn end(&self, attempt: u32) -> Result<(), Error> {
        let attempt = attempt.to_string();
        let url = self.0.at(&["end"]).full_url(&[("attempt", attempt.as_str())]);
        let request = self.0.http.request(Method::POST, url);
        error::read::<Value>(request.send().await?).await.map(drop)
    }

    /// The messages of an attempt, or of the one it is at, oldest first.
    pub async fn items(
        &self,
        attempt: Option<u32>,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<Item>>>, Error> {
        let attempt = attempt.map(|attempt| attempt.to_string());
        let attempt = attempt.as_deref().map(|attempt| ("attempt", attempt));
        self.0.at(&["items"]).page(attempt.as_slice(), page).await
    }
}

/// An address, and how it is spoken to.
#[derive(Clone, Debug)]
struct Endpoint {
    http: reqwest::Client,
    url: Url,
    project: Option<String>,
    retry: Retry,
}

impl Endpoint {
    /// The address below this one. The segments are encoded, so that an id with a slash in it stays one segment.
    fn at(&self, segments: &[&str]) -> Self {
        let mut below = self.clone();
        // Fails for addresses without a path alone, and those were refused.
        if let Ok(mut path) = below.url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        below
    }

    fn full_url(&self, query: &[(&str, &str)]) -> Url {
        let mut url = self.url.clone();
        let project = self.project.as_deref().map(|id| ("project_id", id));
        if project.is_some() || !query.is_empty() {
            url.query_pairs_mut().extend_pairs(project).extend_pairs(query);
        }
        url
    }

    fn request(&self, method: Method, query: &[(&str, &str)]) -> RequestBuilder {
        self.http.request(method, self.full_url(query))
    }

    fn page_request(&self, query: &[(&str, &str)], page: &PageRequest) -> RequestBuilder {
        let limit = page.limit.to_string();
        let (name, start) = match &page.start {
            Start::Offset(offset) => ("offset", offset.to_string()),
            Start::Cursor(cursor) => ("cursor", cursor.clone()),
        };
        let page = [("limit", limit.as_str()), (name, start.as_str())];
        self.request(Method::GET, &[query, &page].concat())
    }

    async fn get<T: DeserializeOwned>(&self, query: &[(&str, &str)]) -> Result<T, Error> {
        self.again("reading", || self.request(Method::GET, query)).await
    }

    async fn page<T: DeserializeOwned>(&self, query: &[(&str, &str)], page: PageRequest) -> Result<T, Error> {
        self.again("listing", || self.page_request(query, &page)).await
    }

    /// Makes a call that is safe to repeat, for as long as the client was told to.
    async fn again<T: DeserializeOwned>(
        &self,
        what: &str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<T, Error> {
        let call = async || error::read(request().send().await?).await;
        self.retry.call(what, may_pass, call).await
    }

    async fn post<T: DeserializeOwned>(&self, body: &impl Serialize) -> Result<T, Error> {
        error::read(self.request(Method::POST, &[]).json(body).send().await?).await
    }

    /// Makes something, once however often the call must be sent.
    async fn create<T: DeserializeOwned>(&self, what: &str, body: &impl Serialize) -> Result<T, Error> {
        let key = idempotency_key()?;
        let request = || self.request(Method::POST, &[]).json(body).header("idempotency-key", key.as_str());
        self.again(what, request).await
    }
}

/// A key under which a call is made once however often it is sent.
pub(crate) fn idempotency_key() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Error::Randomness)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// Whether a call may succeed a little later. A server that is not there at all mostly stays away: its address is wrong
/// or it was not started, which whoever waits should know at once.
fn may_pass(error: &Error) -> bool {
    error.is_transient() && !error.is_connect()
}

/// An address for a message: what is before an `@` may be a password.
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

    const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";

    #[test]
    fn a_key_is_visible_text_and_is_not_printed() {
        let key = ApiKey::new(" secret\n").unwrap();
        let client = Client::new("http://127.0.0.1:1", &key).unwrap();
        assert!(!format!("{key:?} {client:?}").contains("secret"));
        for text in ["", " ", "a\nb", "schlüssel"] {
            assert!(matches!(ApiKey::new(text), Err(SetupError::Key)), "{text:?}");
        }
    }

    #[test]
    fn addresses_that_cannot_be_called_are_refused_at_once() {
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
    fn clear_text_to_another_machine_has_to_be_asked_for() {
        let asked = ClientOptions { clear_text: true, ..ClientOptions::default() };
        // Names that only begin like this machine's belong to whoever owns the rest of them.
        for address in
            ["http://10.0.0.7:9000", "http://localhost.example.com", "http://127.0.0.1.example.com"]
        {
            let error = Client::new(address, &testing::key()).unwrap_err();
            assert!(matches!(error, SetupError::ClearText(_)), "{address}: {error}");
            assert!(Client::with_options(address, Some(&testing::key()), asked).is_ok(), "{address}");
        }
    }

    #[tokio::test]
    async fn ids_are_encoded_and_the_project_is_named() {
        let (client, mut requests) = testing::answering(vec![OK]).await;
        let _ = client.project("a&b").simulation("x/y?z").get().await;
        let request = requests.recv().await.unwrap();
        assert!(
            request.starts_with("GET /v1/simulations/x%2Fy%3Fz?project_id=a%26b HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("x-api-key: a-key\r\n"), "{request}");
    }

    #[tokio::test]
    async fn what_is_read_is_asked_for_as_said_and_kept_as_it_was_answered() {
        let empty = r#"{"data": [], "has_more": false, "new": 1.50}"#;
        let (client, mut requests) =
            testing::serving(move |_| format!("HTTP/1.1 200 OK\r\n\r\n{empty}")).await;
        let page = PageRequest::first(100);
        let next = PageRequest { limit: 100, start: Start::Cursor("a-_9".to_owned()) };
        let project = client.project("p");
        let simulation = project.simulation("s");
        assert_eq!(client.list_projects(next).await.unwrap().json(), empty);
        for status in [None, Some(SimulationStatus::InProgress)] {
            assert_eq!(project.list_simulations(status, page.clone()).await.unwrap().json(), empty);
        }
        let failed = simulation.conversations(Some(ConversationStatus::Failed), page.clone()).await;
        assert_eq!(failed.unwrap().json(), empty);
        for attempt in [None, Some(2)] {
            assert_eq!(
                simulation.conversation("c").items(attempt, page.clone()).await.unwrap().json(),
                empty
            );
        }
        assert!(simulation.conversation("c").get().await.is_err());
        for expected in [
            "projects?limit=100&cursor=a-_9",
            "simulations?project_id=p&sort_by=created_at&limit=100&offset=0",
            "simulations?project_id=p&sort_by=created_at&status=in_progress&limit=100&offset=0",
            "simulations/s/conversations?project_id=p&status=failed&limit=100&offset=0",
            "simulations/s/conversations/c/items?project_id=p&limit=100&offset=0",
            "simulations/s/conversations/c/items?project_id=p&attempt=2&limit=100&offset=0",
            "simulations/s/conversations/c?project_id=p",
        ] {
            let request = requests.recv().await.unwrap();
            assert_eq!(request.lines().next(), Some(&*format!("GET /v1/{expected} HTTP/1.1")));
        }
    }

    #[tokio::test]
    async fn a_call_that_reads_is_tried_again_if_asked_and_a_create_under_its_key() {
        let busy = "HTTP/1.1 503 Busy\r\n\r\n{}";
        let found = "HTTP/1.1 200 OK\r\n\r\n{\"data\":[],\"has_more\":false}";
        let wrong = "HTTP/1.1 422 Unprocessable\r\n\r\n{}";
        let (client, mut requests) = testing::answering(vec![busy, busy, found, busy, wrong, wrong]).await;
        let patient = Client(Endpoint { retry: Retry { budget: Duration::from_secs(30) }, ..client.0 });
        assert!(patient.list_projects(PageRequest::first(1)).await.is_ok());
        for _ in 0..3 {
            assert!(requests.recv().await.unwrap().starts_with("GET "));
        }
        for _ in 0..2 {
            assert_eq!(patient.create_project("Demo").await.unwrap_err().status(), Some(422));
        }
        let mut keys = Vec::new();
        for _ in 0..3 {
            let request = requests.recv().await.unwrap();
            let key = request.lines().find_map(|line| line.strip_prefix("idempotency-key: "));
            keys.push(key.unwrap_or_else(|| panic!("no key: {request}")).to_owned());
        }
        assert_eq!(keys[0], keys[1], "the same call");
        assert_ne!(keys[0], keys[2], "another call");
    }

    #[tokio::test]
    async fn a_turn_says_its_attempt_and_its_key() {
        let (client, mut requests) = testing::answering(vec![OK]).await;
        let turn = Turn { attempt: 2, idempotency_key: "c.2.0", says: Some("Hello") };
        let _ = client.project("p").simulation("s").conversation("c").respond(&turn).await;
        let request = requests.recv().await.unwrap();
        let line = "POST /v1/simulations/s/conversations/c/responses?project_id=p&attempt=2 HTTP/1.1";
        assert_eq!(request.lines().next(), Some(line));
        assert!(request.contains("idempotency-key: c.2.0\r\n"), "{request}");
        let body = r#"{"input":[{"content":[{"text":"Hello","type":"text"}],"type":"message"}]}"#;
        assert!(request.ends_with(body), "{request}");
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n";
        let (client, _requests) = testing::answering(vec![moved]).await;
        assert_eq!(client.create_project("Demo").await.unwrap_err().status(), Some(302));
    }
}

//! Calls about keys. All are idempotent, and retried within
//! [`ClientOptions::retry_budget`](crate::ClientOptions::retry_budget).

use reqwest::Method;
use serde_json::{Value, json};

use super::Client;
use crate::{
    Error, Verbatim,
    resource::{
        AuditOrder, AuditPage, IssuedKey, Key, KeyChange, KeyFilter, NewKey, Page, PageRequest, Rotation,
        SecretKey, Whoami,
    },
};

impl Client {
    /// Creates a key.
    ///
    /// Retries create no second key. If the response with the secret is lost, a retry returns the
    /// key without its secret.
    pub async fn create_key(&self, new: &NewKey) -> Result<Verbatim<IssuedKey>, Error> {
        self.0.at(&["keys"]).create("creating a key", new).await
    }

    /// Creates a replacement for a key, which still works for an overlap. Like
    /// [`create_key`](Self::create_key), retries create no second key.
    pub async fn rotate_key(&self, id: &str, rotation: &Rotation) -> Result<Verbatim<IssuedKey>, Error> {
        self.0.at(&["keys", id, "rotate"]).create("rotating a key", rotation).await
    }

    /// Keys, newest first.
    pub async fn list_keys(
        &self,
        filter: &KeyFilter,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<Key>>>, Error> {
        let expiring = filter.expiring_within_days.map(|days| days.to_string());
        let idle = filter.idle_for_days.map(|days| days.to_string());
        let query = [
            ("status", filter.status.map(super::KeyStatus::as_str)),
            ("project_id", filter.project_id.as_deref()),
            ("expiring_within_days", expiring.as_deref()),
            ("idle_for_days", idle.as_deref()),
        ];
        let query: Vec<_> = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        self.0.retrying("listing keys", || self.0.at(&["keys"]).page_request(&query, &page)).await
    }

    /// The key with this id.
    pub async fn get_key(&self, id: &str) -> Result<Verbatim<Key>, Error> {
        self.0.retrying("reading a key", || self.0.at(&["keys", id]).request(Method::GET, &[])).await
    }

    /// Changes a key. Its secret stays the same.
    pub async fn update_key(&self, id: &str, change: &KeyChange) -> Result<Verbatim<Key>, Error> {
        let endpoint = self.0.at(&["keys", id]);
        self.0.retrying("changing a key", || endpoint.request(Method::PATCH, &[]).json(change)).await
    }

    /// Revokes a key permanently.
    pub async fn revoke_key(&self, id: &str) -> Result<Verbatim<Key>, Error> {
        self.act(id, "revoke").await
    }

    /// Disables a key until it is enabled again.
    pub async fn disable_key(&self, id: &str) -> Result<Verbatim<Key>, Error> {
        self.act(id, "disable").await
    }

    /// Enables a disabled key.
    pub async fn enable_key(&self, id: &str) -> Result<Verbatim<Key>, Error> {
        self.act(id, "enable").await
    }

    /// Revokes leaked keys, from 1 to 100. The response does not reveal which of them the server knew.
    pub async fn revoke_leaked_keys(&self, keys: &[SecretKey]) -> Result<Verbatim<Value>, Error> {
        let keys: Vec<&str> = keys.iter().map(SecretKey::expose).collect();
        let body = json!({ "keys": keys });
        let endpoint = self.0.at(&["keys", "revoke-leaked"]);
        self.0.retrying("reporting keys", || endpoint.request(Method::POST, &[]).json(&body)).await
    }

    /// Entries of the audit trail.
    pub async fn list_audit(
        &self,
        order: AuditOrder,
        page: PageRequest,
    ) -> Result<Verbatim<AuditPage>, Error> {
        let query = [("order", order.as_str())];
        self.0.retrying("reading the audit trail", || self.0.at(&["audit"]).page_request(&query, &page)).await
    }

    /// The key of this client.
    pub async fn whoami(&self) -> Result<Verbatim<Whoami>, Error> {
        self.0.retrying("reading the client's key", || self.0.at(&["whoami"]).request(Method::GET, &[])).await
    }

    async fn act(&self, id: &str, verb: &str) -> Result<Verbatim<Key>, Error> {
        let endpoint = self.0.at(&["keys", id, verb]);
        self.0.retrying(verb, || endpoint.request(Method::POST, &[])).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Map;

    use super::{super::Endpoint, *};
    use crate::{
        ClientOptions,
        resource::{Addresses, Grants, KeyStatus, Lifetime, Limit, Projects, RateLimit, Start},
        testing,
    };

    const SECRET: &str = "onr_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJyjI1Z3e";

    /// A key as the API sends it, with additional members.
    fn key(more: &str) -> String {
        format!(
            r#"HTTP/1.1 200 OK

{{"id":"AAECAwQFBgcI","prefix":"onr_AAECAwQFBgcI","name":"ci","status":"active","scopes":["agents:read"],
"all_projects":false,"project_ids":["p"],"not_before":null,"expires_at":"2027-02-23T10:00:00Z",
"allowed_cidrs":null,"rate_limit":{{"requests":100,"window_seconds":60}},"metadata":{{}},
"created_at":"2026-11-25T10:00:00Z","created_by":"root","updated_at":"2026-11-25T10:00:00Z",
"disabled_at":null,"revoked_at":null,"replaces":null,"replaced_by":null,"replaced_at":null,
"overlap_ends_at":null,"last_used_at":null,"used_scopes":[],"uses_since_replaced":0,
"last_used_since_replaced_at":null{more}}}"#
        )
        .replacen("\n\n", "\r\n\r\n", 1)
    }

    fn new_key() -> NewKey {
        NewKey {
            name: "ci".into(),
            grants: Grants::Preset("ci".into()),
            projects: Projects::Only(vec!["p".into()]),
            lifetime: None,
            not_before: None,
            allowed_cidrs: None,
            rate_limit: None,
            metadata: Map::new(),
        }
    }

    fn patient(client: Client) -> Client {
        Client(Endpoint { retry: crate::retry::RetryPolicy { budget: Duration::from_secs(30) }, ..client.0 })
    }

    fn header<'a>(request: &'a str, name: &str) -> &'a str {
        request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
    }

    fn body(request: &str) -> &str {
        request.split_once("\r\n\r\n").unwrap().1
    }

    #[tokio::test]
    async fn retried_creation_has_one_idempotency_key() {
        let mut tries = 0;
        let (client, mut requests) = testing::serving(move |_| {
            tries += 1;
            match tries {
                1 => "HTTP/1.1 503 Busy\r\n\r\n{}".to_owned(),
                2 => String::new(),
                _ => key(&format!(r#","key":"{SECRET}""#)),
            }
        })
        .await;
        let client = patient(client);
        let issued = client.create_key(&new_key()).await.unwrap();
        assert_eq!(issued.secret.as_ref().unwrap().expose(), SECRET);
        assert_eq!((issued.key.id.as_str(), issued.key.status), ("AAECAwQFBgcI", KeyStatus::Active));
        assert!(issued.json().contains(SECRET) && !format!("{issued:?}").contains(SECRET));

        let mut sent = Vec::new();
        while let Ok(request) = requests.try_recv() {
            assert!(request.starts_with("POST /v1/keys HTTP/1.1\r\n"), "{request}");
            assert_eq!(body(&request), r#"{"name":"ci","preset":"ci","project_ids":["p"]}"#);
            sent.push(header(&request, "idempotency-key").to_owned());
        }
        assert_eq!(sent.len(), 3);
        assert!(sent.iter().all(|key| *key == sent[0] && key.len() == 32), "{sent:?}");

        client.create_key(&new_key()).await.unwrap();
        let other = requests.recv().await.unwrap();
        assert_ne!(header(&other, "idempotency-key"), sent[0], "another call has another idempotency key");
    }

    #[tokio::test]
    async fn lost_secret_is_none() {
        let (client, _requests) = testing::serving(|_| key(r#","key":null"#)).await;
        assert!(client.create_key(&new_key()).await.unwrap().secret.is_none());
    }

    #[tokio::test]
    async fn calls_are_not_retried_by_default_or_without_connection() {
        let (client, mut requests) = testing::serving(|_| "HTTP/1.1 503 Busy\r\n\r\n{}".to_owned()).await;
        assert_eq!(client.get_key("k").await.unwrap_err().status(), Some(503));
        assert!(requests.recv().await.unwrap().starts_with("GET /v1/keys/k HTTP"));
        assert!(requests.try_recv().is_err());

        let options = ClientOptions { retry_budget: Duration::from_hours(1), ..ClientOptions::default() };
        let client = Client::with_options(&testing::nowhere().await, Some(&testing::key()), options).unwrap();
        assert!(client.get_key("k").await.unwrap_err().is_connect());
    }

    #[tokio::test]
    async fn requests_carry_all_arguments() {
        let (client, mut requests) = testing::serving(|_| key(r#","key":null"#)).await;
        let everything = NewKey {
            grants: Grants::Scopes(vec!["keys:read".into()]),
            projects: Projects::All,
            lifetime: Some(Lifetime::Unlimited),
            not_before: Some("2027-01-01T00:00:00Z".into()),
            allowed_cidrs: Some(vec!["::1".into()]),
            rate_limit: Some(RateLimit { requests: 5, window_seconds: 60 }),
            metadata: [("team".to_owned(), "qa".into())].into_iter().collect(),
            ..new_key()
        };
        client.create_key(&everything).await.unwrap();
        let change = KeyChange {
            addresses: Some(Addresses::Any),
            limit: Some(Limit::None),
            lifetime: Some(Lifetime::Days(7)),
            ..KeyChange::default()
        };
        client.update_key("k", &change).await.unwrap();
        client.rotate_key("k", &Rotation { overlap_seconds: Some(0), lifetime: None }).await.unwrap();
        client.rotate_key("k", &Rotation::default()).await.unwrap();
        client.revoke_key("k").await.unwrap();
        client.disable_key("a/b").await.unwrap();
        client.enable_key("k").await.unwrap();
        client.revoke_leaked_keys(&[SECRET.to_owned().into()]).await.unwrap();
        for (line, expected) in [
            (
                "POST /v1/keys",
                r#"{"name":"ci","scopes":["keys:read"],"all_projects":true,"never_expires":true,"not_before":"2027-01-01T00:00:00Z","allowed_cidrs":["::1"],"rate_limit":{"requests":5,"window_seconds":60},"metadata":{"team":"qa"}}"#,
            ),
            ("PATCH /v1/keys/k", r#"{"expires_in_days":7,"any_address":true,"no_rate_limit":true}"#),
            ("POST /v1/keys/k/rotate", r#"{"overlap_seconds":0}"#),
            ("POST /v1/keys/k/rotate", "{}"),
            ("POST /v1/keys/k/revoke", ""),
            ("POST /v1/keys/a%2Fb/disable", ""),
            ("POST /v1/keys/k/enable", ""),
            ("POST /v1/keys/revoke-leaked", &format!(r#"{{"keys":["{SECRET}"]}}"#)),
        ] {
            let request = requests.recv().await.unwrap();
            assert!(request.starts_with(&format!("{line} HTTP/1.1\r\n")), "{line}: {request}");
            assert_eq!(body(&request), expected, "{line}");
        }
    }

    #[tokio::test]
    async fn lists_are_filtered_and_keep_their_json() {
        let empty = r#"{"data": [], "has_more": false, "head": {"sequence": 12, "hash": "ab"}}"#;
        let (client, mut requests) =
            testing::serving(move |_| format!("HTTP/1.1 200 OK\r\n\r\n{empty}")).await;
        let filter = KeyFilter {
            status: Some(KeyStatus::Active),
            project_id: Some("a&b".into()),
            expiring_within_days: Some(14),
            idle_for_days: None,
        };
        assert_eq!(client.list_keys(&filter, PageRequest::first(10)).await.unwrap().json(), empty);
        let after = PageRequest { limit: 100, start: Start::Offset(100) };
        let page = client.list_audit(AuditOrder::Oldest, after).await.unwrap();
        assert_eq!(page.head.as_ref().unwrap().sequence, 12);
        for expected in [
            "GET /v1/keys?status=active&project_id=a%26b&expiring_within_days=14&limit=10&offset=0",
            "GET /v1/audit?order=oldest&limit=100&offset=100",
        ] {
            let request = requests.recv().await.unwrap();
            assert_eq!(request.lines().next(), Some(&*format!("{expected} HTTP/1.1")));
        }
    }

    #[tokio::test]
    async fn anonymous_client_sends_no_key() {
        let (client, mut requests) = testing::serving(|_| String::new()).await;
        let address = client.0.url.origin().ascii_serialization();
        let client = Client::with_options(&address, None, ClientOptions::default()).unwrap();
        let _ = client.revoke_leaked_keys(&[]).await;
        assert!(!requests.recv().await.unwrap().contains("x-api-key"));
    }
}

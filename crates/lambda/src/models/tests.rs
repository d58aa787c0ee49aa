use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use onerun_transport::TransportError;

use super::*;

const TTL: SignedDuration = SignedDuration::from_secs(300);

/// A clock that the test moves, in seconds.
#[derive(Default)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

/// A secret with a text, or without a value.
#[derive(Default)]
struct TestSecret {
    text: RwLock<Option<&'static str>>,
    reads: AtomicUsize,
}

#[async_trait]
impl SecretText for Arc<TestSecret> {
    async fn text(&self) -> Result<Zeroizing<String>, SecretError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let text = *self.text.read().unwrap();
        text.map(|text| Zeroizing::new(text.to_owned())).ok_or(SecretError::NoText)
    }
}

struct NoTransport;

#[async_trait]
impl Transport for NoTransport {
    async fn send(
        &self,
        _: Request<Bytes>,
        _: std::time::Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        Err(TransportError::Connect("none".to_owned()))
    }
}

struct Fixture {
    models: CallableModels,
    secret: Arc<TestSecret>,
    clock: Arc<TestClock>,
}

impl Fixture {
    fn new(variables: fn() -> Variables<'static>) -> Self {
        let (secret, clock) = (Arc::new(TestSecret::default()), Arc::new(TestClock::default()));
        let mut read = variables();
        let names = ModelConfig::read_names(&mut read);
        let names = read.finish(names).unwrap();
        let parts =
            ModelParts { transport: Arc::new(NoTransport), clock: Arc::clone(&clock) as _, variables };
        let keys = ModelKeys { source: Box::new(Arc::clone(&secret)), ttl: TTL };
        Self { models: CallableModels::with_secret(names, parts, keys), secret, clock }
    }

    fn put(&self, text: &'static str) {
        *self.secret.text.write().unwrap() = Some(text);
    }

    /// Refreshes at a time, and returns the number of reads so far.
    async fn refresh_at(&self, second: i64) -> usize {
        self.clock.0.store(second, Ordering::SeqCst);
        self.models.refresh().await;
        self.secret.reads.load(Ordering::SeqCst)
    }

    /// The error of opening a model. `None` if it was opened.
    fn failure(&self, name: &str) -> Option<ModelError> {
        self.models.open(&ModelName::parse(name).unwrap()).err()
    }
}

/// The model for everything is OpenAI's, and its key is in the secret alone.
fn open_ai() -> Variables<'static> {
    Variables::new(|name| (name == "ONERUN_MODEL").then(|| "openai:test".to_owned()))
}

#[tokio::test]
async fn unread_secret_makes_models_unavailable_until_it_is_read() {
    let fixture = Fixture::new(open_ai);
    assert_eq!(fixture.refresh_at(0).await, 1);
    assert!(matches!(fixture.failure("openai:test"), Some(ModelError::Unavailable { .. })));
    assert!(fixture.failure("offline").is_none());
    fixture.put(r#"{"OPENAI_API_KEY":"sk-1"}"#);
    assert_eq!(fixture.refresh_at(4).await, 1, "it is read at most once in five seconds");
    assert_eq!(fixture.refresh_at(5).await, 2);
    assert!(fixture.failure("openai:test").is_none());
}

#[tokio::test]
async fn keys_are_cached_and_outlive_a_failed_read() {
    let fixture = Fixture::new(open_ai);
    fixture.put(r#"{"OPENAI_API_KEY":"sk-1"}"#);
    assert_eq!(fixture.refresh_at(1_000).await, 1);
    assert_eq!(fixture.refresh_at(1_299).await, 1);
    let before = fixture.models.models.read().unwrap().clone().unwrap();
    assert_eq!(fixture.refresh_at(1_300).await, 2);
    let same = fixture.models.models.read().unwrap().clone().unwrap();
    assert!(Arc::ptr_eq(&before, &same), "the same keys keep what is known about the provider");
    fixture.put("no JSON");
    assert_eq!(fixture.refresh_at(1_600).await, 3);
    assert!(fixture.failure("openai:test").is_none());
    assert_eq!(fixture.refresh_at(1_604).await, 3);
    fixture.put(r#"{"OPENAI_API_KEY":"sk-2"}"#);
    assert_eq!(fixture.refresh_at(1_605).await, 4);
    let after = fixture.models.models.read().unwrap().clone().unwrap();
    assert!(!Arc::ptr_eq(&same, &after));
    // The clock is set back.
    assert_eq!(fixture.refresh_at(1_000).await, 5);
}

#[tokio::test]
async fn offline_models_need_no_secret() {
    let fixture = Fixture::new(|| Variables::new(|_| None));
    assert_eq!(fixture.refresh_at(0).await, 0);
    assert!(fixture.failure("offline").is_none());
    assert!(matches!(fixture.failure("openai:test"), Some(ModelError::Misconfigured(_))));
}

#[tokio::test]
async fn secret_without_the_needed_key_is_reported() {
    let fixture = Fixture::new(open_ai);
    let error = fixture.models.open_with(&parse(r#"{"ANTHROPIC_API_KEY":"sk-1"}"#).unwrap()).err().unwrap();
    assert!(error.to_string().starts_with("OPENAI_API_KEY: must be set"), "{error}");
    // A member of the secret takes precedence over a variable.
    let error = fixture.models.open_with(&parse(r#"{"OPENAI_API_KEY":"two words"}"#).unwrap()).err().unwrap();
    assert!(error.to_string().starts_with("OPENAI_API_KEY: must be one word"), "{error}");
    assert!(!error.to_string().contains("two"));
}

#[test]
fn secret_that_is_no_object_of_strings_is_refused() {
    for text in ["", "sk-1", "[]", "null", r#"{"OPENAI_API_KEY":1}"#, r#"{"OPENAI_API_KEY":"sk-1""#] {
        let error = parse(text).err().unwrap();
        assert!(matches!(error, ModelKeysError::Form), "{text}: {error}");
        assert!(!format!("{error} {error:?}").contains("sk-1"), "{error}");
    }
    let keys = parse(r#"{"OPENAI_API_KEY":"a","owner":["us"],"PATH":"/"}"#).unwrap();
    assert_eq!(keys.into_keys().collect::<Vec<_>>(), ["OPENAI_API_KEY"]);
}

#[test]
fn function_without_models_opens_none() {
    let names = ModelNames(ModelConfig::read_names(&mut open_ai()));
    let (offline, test) = (ModelName::offline(), ModelName::parse("openai:test").unwrap());
    assert_eq!(names.allowed(), [offline.clone(), test.clone()]);
    assert_eq!(names.defaults().reply, test);
    let cost = |name| names.cost(name, TokenUsage::default());
    assert_eq!((cost(&offline), cost(&test)), (Some(NanoDollars::default()), None));
    assert!(names.open(&offline).is_err() && names.open(&test).is_err());
}

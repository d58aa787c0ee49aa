//! A model that behaves as a test configures it, and by default like the offline model.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use jiff::civil::Date;
use onerun_domain::{ModelName, NanoDollars, PersonaDraft, ReportedFault, SimulationModels, TokenUsage};
use onerun_engine::{
    JudgeRequest, Model, ModelCall, ModelError, Models, PersonaRequest, Reply, ReplyRequest, Verdict,
    Verdicts,
};
use onerun_model_offline::{Offline, OfflineModels};
use tokio::sync::Semaphore;

/// The behaviour of the model when it is called.
#[derive(Clone, Debug, Default)]
pub enum Behavior<T> {
    /// Behaves like the offline model.
    #[default]
    Offline,
    /// Fails as unreachable.
    Unavailable,
    /// Returns an invalid reply.
    Unusable,
    /// Panics.
    Panics,
    /// Returns this reply.
    Says(T),
    /// Waits until it is released, then behaves like the offline model.
    Waits,
    /// Waits until it is released, then returns this reply.
    SaysLater(T),
    /// Waits until it is released, then fails as unreachable.
    FailsLater,
}

/// The text of the model's errors. It may occur in logs only.
pub(super) const INTERNAL: &str = "upstream 10.0.0.7 said: key sk-internal is over its quota";

/// The version of the model that gives configured verdicts.
pub const JUDGE_VERSION: &str = "judge-2031-03-14";

/// The consumption of each configured verdict.
const JUDGE_CALL: ModelCall = ModelCall {
    tokens: TokenUsage { input: 700, cached_input: 60, cache_write: 5, output: 40, reasoning: 30 },
    cost: Some(NanoDollars::new(1_500_000)),
    failed: false,
};

/// The consumption of each configured reply.
const REPLY_CALL: ModelCall = ModelCall {
    tokens: TokenUsage { input: 900, cached_input: 600, cache_write: 0, output: 50, reasoning: 0 },
    cost: Some(NanoDollars::new(800_000)),
    failed: false,
};

/// The model of a [`TestApp`](super::TestApp).
pub struct TestModel {
    persona: Mutex<Behavior<PersonaDraft>>,
    reply: Mutex<Behavior<Reply>>,
    judge: Mutex<Behavior<Verdict>>,
    faults: Mutex<Vec<ReportedFault>>,
    replies: AtomicUsize,
    /// A permit for each call that waits.
    waiting: Semaphore,
    /// One permit for each call that may continue.
    released: Semaphore,
}

impl Default for TestModel {
    fn default() -> Self {
        Self {
            persona: Mutex::default(),
            reply: Mutex::default(),
            judge: Mutex::default(),
            faults: Mutex::default(),
            replies: AtomicUsize::new(0),
            waiting: Semaphore::new(0),
            released: Semaphore::new(0),
        }
    }
}

impl TestModel {
    /// Configures the creation of personas.
    pub fn on_persona(&self, act: Behavior<PersonaDraft>) {
        *self.persona.lock().unwrap_or_else(PoisonError::into_inner) = act;
    }

    /// Configures the persona's replies.
    pub fn on_reply(&self, act: Behavior<Reply>) {
        *self.reply.lock().unwrap_or_else(PoisonError::into_inner) = act;
    }

    /// Configures the evaluation.
    pub fn on_judge(&self, act: Behavior<Verdict>) {
        *self.judge.lock().unwrap_or_else(PoisonError::into_inner) = act;
    }

    /// Configures the faults of the persona that come with each configured verdict.
    pub fn on_faults(&self, faults: Vec<ReportedFault>) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// The number of calls for a persona's reply.
    pub fn replies(&self) -> usize {
        self.replies.load(Ordering::SeqCst)
    }

    /// Returns once a call waits.
    pub async fn waits(&self) {
        self.waiting.acquire().await.expect("it is never closed").forget();
    }

    /// Releases one waiting call.
    pub fn release(&self) {
        self.released.add_permits(1);
    }

    async fn perform<T: Clone>(&self, act: &Mutex<Behavior<T>>) -> Result<Option<T>, ModelError> {
        let act = act.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match act {
            Behavior::Offline => Ok(None),
            Behavior::Unavailable => Err(ModelError::unavailable(INTERNAL)),
            Behavior::Unusable => Err(ModelError::Unusable(INTERNAL.to_owned())),
            Behavior::Panics => panic!("{INTERNAL}"),
            Behavior::Says(answer) => Ok(Some(answer)),
            Behavior::Waits => {
                self.wait().await;
                Ok(None)
            }
            Behavior::SaysLater(answer) => {
                self.wait().await;
                Ok(Some(answer))
            }
            Behavior::FailsLater => {
                self.wait().await;
                Err(ModelError::unavailable(INTERNAL))
            }
        }
    }

    async fn wait(&self) {
        self.waiting.add_permits(1);
        self.released.acquire().await.expect("it is never closed").forget();
    }
}

#[async_trait]
impl Model for TestModel {
    async fn persona(&self, request: PersonaRequest<'_>) -> Result<PersonaDraft, ModelError> {
        match self.perform(&self.persona).await? {
            Some(draft) => Ok(draft),
            None => Offline.persona(request).await,
        }
    }

    async fn reply(&self, request: ReplyRequest<'_>) -> Result<Reply, ModelError> {
        self.replies.fetch_add(1, Ordering::SeqCst);
        match self.perform(&self.reply).await? {
            Some(reply) => {
                request.meter.add(REPLY_CALL);
                Ok(reply)
            }
            None => Offline.reply(request).await,
        }
    }

    async fn judge(&self, request: JudgeRequest<'_>) -> Result<Verdicts, ModelError> {
        match self.perform(&self.judge).await? {
            Some(verdict) => {
                request.meter.add(JUDGE_CALL);
                Ok(Verdicts {
                    faults: self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                    verdicts: vec![verdict; request.questions.len()],
                    prompt: "the prompt of the test".to_owned(),
                    version: Some(JUDGE_VERSION.to_owned()),
                })
            }
            None => Offline.judge(request).await,
        }
    }
}

/// A deployment whose offline model is a [`TestModel`].
pub(super) struct TestModels {
    model: Arc<TestModel>,
    offline: OfflineModels,
}

impl TestModels {
    pub(super) fn new(model: Arc<TestModel>) -> Self {
        Self { model, offline: OfflineModels::default() }
    }
}

impl Models for TestModels {
    fn defaults(&self) -> &SimulationModels {
        self.offline.defaults()
    }

    fn allowed(&self) -> &[ModelName] {
        self.offline.allowed()
    }

    fn cost(&self, name: &ModelName, tokens: TokenUsage) -> Option<NanoDollars> {
        self.offline.cost(name, tokens)
    }

    fn retires(&self, name: &ModelName, today: Date, days: u16) -> Option<Date> {
        self.offline.retires(name, today, days)
    }

    fn open(&self, _: &ModelName) -> Result<Arc<dyn Model>, ModelError> {
        Ok(Arc::clone(&self.model) as Arc<dyn Model>)
    }
}

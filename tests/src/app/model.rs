//! A model that does what a test tells it to, and otherwise what the built-in one does.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use onerun_engine::{
    JudgeRequest, Model, ModelError, PersonaDraft, PersonaRequest, Reply, ReplyRequest, Verdict,
};
use onerun_model_offline::Offline;
use tokio::sync::Semaphore;

/// What the model does when it is asked.
#[derive(Clone, Debug, Default)]
pub enum Act<T> {
    /// What the built-in model does.
    #[default]
    Offline,
    /// It cannot be reached.
    Unavailable,
    /// It answers with something that is no answer.
    Unusable,
    /// It has a defect.
    Panics,
    /// It answers this.
    Says(T),
    /// It answers like the built-in model, once it is released.
    Waits,
}

/// What an error of the model says: for the log, and for nobody else.
pub(super) const INTERNAL: &str = "upstream 10.0.0.7 said: key sk-internal is over its quota";

/// The model of a [`TestApp`](super::TestApp).
pub struct TestModel {
    persona: Mutex<Act<PersonaDraft>>,
    reply: Mutex<Act<Reply>>,
    judge: Mutex<Act<Verdict>>,
    replies: AtomicUsize,
    /// A permit for each call that waits.
    waiting: Semaphore,
    /// A permit for each call that may go on.
    released: Semaphore,
}

impl Default for TestModel {
    fn default() -> Self {
        Self {
            persona: Mutex::default(),
            reply: Mutex::default(),
            judge: Mutex::default(),
            replies: AtomicUsize::new(0),
            waiting: Semaphore::new(0),
            released: Semaphore::new(0),
        }
    }
}

impl TestModel {
    /// Sets what it does when it is to make a persona.
    pub fn on_persona(&self, act: Act<PersonaDraft>) {
        *self.persona.lock().unwrap_or_else(PoisonError::into_inner) = act;
    }

    /// Sets what it does when it is to speak for a persona.
    pub fn on_reply(&self, act: Act<Reply>) {
        *self.reply.lock().unwrap_or_else(PoisonError::into_inner) = act;
    }

    /// Sets what it does when it is to judge.
    pub fn on_judge(&self, act: Act<Verdict>) {
        *self.judge.lock().unwrap_or_else(PoisonError::into_inner) = act;
    }

    /// How often it was to speak for a persona.
    pub fn replies(&self) -> usize {
        self.replies.load(Ordering::SeqCst)
    }

    /// Returns once a call waits.
    pub async fn waits(&self) {
        self.waiting.acquire().await.expect("it is never closed").forget();
    }

    /// Lets one call that waits go on.
    pub fn release(&self) {
        self.released.add_permits(1);
    }

    async fn perform<T: Clone>(&self, act: &Mutex<Act<T>>) -> Result<Option<T>, ModelError> {
        let act = act.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match act {
            Act::Offline => Ok(None),
            Act::Unavailable => Err(ModelError::Unavailable(INTERNAL.to_owned())),
            Act::Unusable => Err(ModelError::Unusable(INTERNAL.to_owned())),
            Act::Panics => panic!("{INTERNAL}"),
            Act::Says(answer) => Ok(Some(answer)),
            Act::Waits => {
                self.waiting.add_permits(1);
                self.released.acquire().await.expect("it is never closed").forget();
                Ok(None)
            }
        }
    }
}

#[async_trait]
impl Model for TestModel {
    fn name(&self) -> &str {
        Offline.name()
    }

    async fn persona(&self, request: PersonaRequest<'_>) -> Result<PersonaDraft, ModelError> {
        match self.perform(&self.persona).await? {
            Some(draft) => Ok(draft),
            None => Offline.persona(request).await,
        }
    }

    async fn reply(&self, request: ReplyRequest<'_>) -> Result<Reply, ModelError> {
        self.replies.fetch_add(1, Ordering::SeqCst);
        match self.perform(&self.reply).await? {
            Some(reply) => Ok(reply),
            None => Offline.reply(request).await,
        }
    }

    fn judges_prose(&self) -> bool {
        Offline.judges_prose()
    }

    async fn judge(&self, request: JudgeRequest<'_>) -> Result<Verdict, ModelError> {
        match self.perform(&self.judge).await? {
            Some(verdict) => Ok(verdict),
            None => Offline.judge(request).await,
        }
    }
}

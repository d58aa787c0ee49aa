//! Work after the response: writing how keys were used, and finishing replies whose callers have left.
//!
//! Lambda freezes an environment as soon as all of its processes wait for the next event, and may
//! never thaw it. A background task would stop there. So the function registers itself as an
//! internal extension: Lambda sends the response at once, and freezes the environment only when the
//! extension is done too.

use std::time::Duration;

use lambda_extension::Extension;
use lambda_runtime::{Error, service_fn};
use tokio::{sync::Notify, time::timeout};

use crate::api::Api;

/// How long writing key uses may take. No caller waits for it, but its time is billed.
const LIMIT: Duration = Duration::from_secs(2);

/// How long storing a reply may take once the model's time is over.
const STORE_LIMIT: Duration = Duration::from_secs(10);

/// Answers requests, and does the work after each response.
pub(crate) async fn run(api: &Api) -> Result<(), Error> {
    let answered = &Notify::new();
    let after_response = service_fn(|_: lambda_extension::LambdaEvent| async {
        answered.notified().await;
        tokio::join!(write_key_uses(api), finish_turns(api));
        Ok::<_, Error>(())
    });
    let extension = Extension::new()
        .with_extension_name("onerun")
        // Internal extensions may register for no other event.
        .with_events(&["INVOKE"])
        .with_events_processor(after_response)
        .register()
        .await;
    match extension {
        Ok(extension) => {
            let answer = service_fn(|event| async {
                // The guard notifies even if the event is not a request or answering panics.
                // Otherwise the extension would wait until the invocation times out.
                let _guard = NotifyOnDrop(answered);
                api.answer(event).await
            });
            tokio::try_join!(lambda_runtime::run(answer), extension.run()).map(|_| ())
        }
        Err(error) => {
            // Emulators of Lambda may not support extensions.
            tracing::warn!(
                error,
                "the function did not register as an extension; each response waits until key uses are written, and a \
                 reply whose caller has left is lost if the environment is frozen"
            );
            let answer = service_fn(|event| async {
                let answer = api.answer(event).await;
                write_key_uses(api).await;
                answer
            });
            lambda_runtime::run(answer).await
        }
    }
}

async fn write_key_uses(api: &Api) {
    if timeout(LIMIT, api.drain()).await.is_err() {
        tracing::warn!(
            "key uses were not written in time and may be lost; if this repeats, check DynamoDB's latency"
        );
    }
}

async fn finish_turns(api: &Api) {
    if timeout(api.reply_limit() + STORE_LIMIT, api.finish_turns()).await.is_err() {
        tracing::warn!("a reply was not stored in time; the next call asks the model again");
    }
}

/// Notifies the extension, when dropped, that the invocation has been answered.
struct NotifyOnDrop<'a>(&'a Notify);

impl Drop for NotifyOnDrop<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

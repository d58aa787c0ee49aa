//! Work after the response: writing how keys were used.
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

/// How long the work may take. No caller waits for it, but its time is billed.
const LIMIT: Duration = Duration::from_secs(2);

/// Answers requests, and writes key uses after each response.
pub(crate) async fn run(api: &Api) -> Result<(), Error> {
    let answered = &Notify::new();
    let after_response = service_fn(|_: lambda_extension::LambdaEvent| async {
        answered.notified().await;
        write_key_uses(api).await;
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
                "the function did not register as an extension; each response waits until key uses are written"
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

/// Notifies the extension, when dropped, that the invocation has been answered.
struct NotifyOnDrop<'a>(&'a Notify);

impl Drop for NotifyOnDrop<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

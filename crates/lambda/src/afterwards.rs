//! What is left to do once an answer is out.
//!
//! Lambda freezes an environment as soon as everything in it waits for the next event, perhaps for ever. What a task would
//! go on with after the answer would then hang. So the function registers itself as an internal extension: Lambda sends the
//! answer to whoever waits for it, and freezes nothing before the extension is done too.

use std::time::Duration;

use lambda_extension::Extension;
use lambda_runtime::{Error, service_fn};
use tokio::{sync::Notify, time::timeout};

use crate::api::Api;

/// How long what is left may take. Nobody waits for it, and it is paid for.
const LIMIT: Duration = Duration::from_secs(2);

/// Answers requests, and does after each answer what it left to do.
pub(crate) async fn run(api: &Api) -> Result<(), Error> {
    let answered = &Notify::new();
    let afterwards = service_fn(|_: lambda_extension::LambdaEvent| async {
        answered.notified().await;
        settle(api).await;
        Ok::<_, Error>(())
    });
    let extension = Extension::new()
        .with_extension_name("onerun")
        // An internal extension may ask for no other.
        .with_events(&["INVOKE"])
        .with_events_processor(afterwards)
        .register()
        .await;
    match extension {
        Ok(extension) => {
            let answer = service_fn(|event| async {
                // Also if the event is no request, or answering panics: nothing would ever come of an invocation whose
                // end is waited for.
                let _answered = Answered(answered);
                api.answer(event).await
            });
            tokio::try_join!(lambda_runtime::run(answer), extension.run()).map(|_| ())
        }
        Err(error) => {
            // What runs functions elsewhere may know no extensions. There the answer waits.
            tracing::warn!(error, "the function is no extension of itself, and settles before it answers");
            let answer = service_fn(|event| async {
                let answer = api.answer(event).await;
                settle(api).await;
                answer
            });
            lambda_runtime::run(answer).await
        }
    }
}

async fn settle(api: &Api) {
    if timeout(LIMIT, api.drain()).await.is_err() {
        tracing::warn!("a key's use is still being written, and may get lost");
    }
}

/// Says when it goes that an invocation has been answered.
struct Answered<'a>(&'a Notify);

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

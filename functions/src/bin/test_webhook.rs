//! `POST /v1/webhooks/{webhook_id}/test`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::TEST_WEBHOOK)
}

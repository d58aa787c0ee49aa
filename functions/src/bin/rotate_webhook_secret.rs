//! `POST /v1/webhooks/{webhook_id}/rotate_secret`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::ROTATE_WEBHOOK_SECRET)
}

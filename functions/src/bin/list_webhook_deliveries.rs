//! `GET /v1/webhooks/{webhook_id}/deliveries`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::LIST_WEBHOOK_DELIVERIES)
}

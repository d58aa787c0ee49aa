//! `POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::REPLAY_WEBHOOK_DELIVERY)
}

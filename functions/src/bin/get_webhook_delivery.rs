//! `GET /v1/webhooks/{webhook_id}/deliveries/{delivery_id}`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::GET_WEBHOOK_DELIVERY)
}

//! `POST /v1/batches/{batch_id}/cancel`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::CANCEL_BATCH)
}

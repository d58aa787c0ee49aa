//! `GET /v1/batches/{batch_id}/items`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::LIST_BATCH_ITEMS)
}

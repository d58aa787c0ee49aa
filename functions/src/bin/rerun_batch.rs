//! `POST /v1/batches/{batch_id}/rerun`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::RERUN_BATCH)
}

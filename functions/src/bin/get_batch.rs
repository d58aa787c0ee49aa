//! `GET /v1/batches/{batch_id}`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::GET_BATCH)
}

//! `GET /v1/batches`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::LIST_BATCHES)
}

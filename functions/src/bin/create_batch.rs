//! `POST /v1/simulations/batch`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::CREATE_BATCH)
}

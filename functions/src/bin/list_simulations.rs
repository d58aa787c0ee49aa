//! `GET /v1/simulations`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::LIST_SIMULATIONS)
}

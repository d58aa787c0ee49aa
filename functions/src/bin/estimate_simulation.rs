//! `POST /v1/simulations/estimate`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::ESTIMATE_SIMULATION)
}

//! `POST /v1/simulations/{simulation_id}/run`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::RUN_SIMULATION)
}

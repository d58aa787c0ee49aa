//! `POST /v1/simulations/{simulation_id}/cancel`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::CANCEL_SIMULATION)
}

//! `GET /v1/simulations/{simulation_id}/export`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::EXPORT_SIMULATION)
}

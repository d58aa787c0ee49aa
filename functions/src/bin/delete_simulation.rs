//! `DELETE /v1/simulations/{simulation_id}`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::DELETE_SIMULATION)
}

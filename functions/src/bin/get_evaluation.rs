//! `GET /v1/simulations/{simulation_id}/evaluations/{evaluation_id}`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::GET_EVALUATION)
}

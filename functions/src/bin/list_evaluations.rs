//! `GET /v1/simulations/{simulation_id}/evaluations`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::LIST_EVALUATIONS)
}

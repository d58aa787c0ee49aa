//! `GET /v1/simulations/{simulation_id}/compare`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::GET_COMPARISON)
}

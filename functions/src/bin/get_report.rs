//! `GET /v1/simulations/{simulation_id}/report`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::GET_REPORT)
}

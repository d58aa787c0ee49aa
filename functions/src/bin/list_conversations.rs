//! `GET /v1/simulations/{simulation_id}/conversations`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::LIST_CONVERSATIONS)
}

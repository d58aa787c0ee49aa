//! `PUT /v1/simulations/{simulation_id}/conversations/{conversation_id}/labels`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::PUT_LABELS)
}

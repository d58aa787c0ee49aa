//! `POST /v1/simulations/{simulation_id}/conversations/{conversation_id}/responses`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::CREATE_RESPONSE)
}

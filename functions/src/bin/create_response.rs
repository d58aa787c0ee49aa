//! `POST /v1/simulations/{simulation_id}/conversations/{conversation_id}/responses`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve_with_models(&onerun_lambda::routes::CREATE_RESPONSE)
}

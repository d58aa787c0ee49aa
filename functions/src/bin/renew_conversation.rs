//! `POST /v1/simulations/{simulation_id}/conversations/{conversation_id}/renew`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::RENEW_CONVERSATION)
}

//! `POST /v1/simulations/{simulation_id}/conversations/{conversation_id}/fail`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::FAIL_CONVERSATION)
}

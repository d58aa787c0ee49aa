//! `GET /v1/simulations/{simulation_id}/conversations/{conversation_id}/items`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::LIST_ITEMS)
}

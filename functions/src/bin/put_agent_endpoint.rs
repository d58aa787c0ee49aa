//! `PUT /v1/agents/{agent_id}/endpoint`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::PUT_AGENT_ENDPOINT)
}

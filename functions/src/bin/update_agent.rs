//! `PATCH /v1/agents/{agent_id}`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::UPDATE_AGENT)
}

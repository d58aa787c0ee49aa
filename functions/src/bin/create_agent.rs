//! `POST /v1/agents`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::CREATE_AGENT)
}

//! `POST /v1/webhooks`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::CREATE_WEBHOOK)
}

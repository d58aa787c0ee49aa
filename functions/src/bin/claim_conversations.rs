//! `POST /v1/conversations/claim`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::CLAIM_CONVERSATIONS)
}

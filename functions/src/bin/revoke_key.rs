//! `POST /v1/keys/{key_id}/revoke`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::REVOKE_KEY)
}

//! `POST /v1/keys/revoke-leaked`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::REVOKE_LEAKED_KEYS)
}

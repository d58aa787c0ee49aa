//! `POST /v1/keys/{key_id}/disable`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::DISABLE_KEY)
}

//! `POST /v1/keys/{key_id}/enable`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::ENABLE_KEY)
}

//! `POST /v1/keys/{key_id}/rotate`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::ROTATE_KEY)
}

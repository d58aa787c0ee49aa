//! `PATCH /v1/keys/{key_id}`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::UPDATE_KEY)
}

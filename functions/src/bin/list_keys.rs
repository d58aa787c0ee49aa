//! `GET /v1/keys`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::LIST_KEYS)
}

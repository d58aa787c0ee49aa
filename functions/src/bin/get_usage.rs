//! `GET /v1/usage`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::GET_USAGE)
}

//! `GET /v1/audit`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::LIST_AUDIT)
}

//! `GET /v1/monitors`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::LIST_MONITORS)
}

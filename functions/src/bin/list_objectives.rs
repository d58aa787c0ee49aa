//! `GET /v1/objectives`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::LIST_OBJECTIVES)
}

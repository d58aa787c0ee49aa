//! `POST /v1/projects`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::CREATE_PROJECT)
}

//! `PATCH /v1/projects/{project_id}`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::UPDATE_PROJECT)
}

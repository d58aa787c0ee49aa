//! `PATCH /v1/objectives/{objective_id}`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::UPDATE_OBJECTIVE)
}

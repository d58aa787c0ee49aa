//! `GET /v1/objectives/{objective_id}`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::GET_OBJECTIVE)
}

//! `GET /`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::GET_DASHBOARD)
}

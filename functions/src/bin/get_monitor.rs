//! `GET /v1/monitors/{monitor_id}`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::GET_MONITOR)
}

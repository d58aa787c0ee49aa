//! `GET /v1/monitors/{monitor_id}/alert`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::GET_MONITOR_ALERT)
}

//! `GET /v1/monitors/{monitor_id}/runs`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::LIST_MONITOR_RUNS)
}

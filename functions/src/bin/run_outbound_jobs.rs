//! Runs the jobs that call addresses of users.

fn main() -> std::process::ExitCode {
    onerun_lambda::run_outbound_jobs()
}

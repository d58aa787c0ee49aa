//! Runs the jobs that the queue delivers.

fn main() -> std::process::ExitCode {
    onerun_lambda::run_jobs()
}

//! Does what time calls for, and jobs that were left behind.

fn main() -> std::process::ExitCode {
    onerun_lambda::tick()
}

//! Starts a run of a monitor for a schedule of EventBridge.

fn main() -> std::process::ExitCode {
    onerun_lambda::run_monitor()
}

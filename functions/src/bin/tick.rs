//! Processes expired leases and simulations, and runs jobs that are due again.

fn main() -> std::process::ExitCode {
    onerun_lambda::tick()
}

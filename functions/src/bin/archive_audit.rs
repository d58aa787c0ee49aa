//! Archives months of the audit trail that ended long enough ago.

fn main() -> std::process::ExitCode {
    onerun_lambda::archive_audit()
}

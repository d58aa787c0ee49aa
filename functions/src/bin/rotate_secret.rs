//! Runs one step of a rotation of the secret with the root key.

fn main() -> std::process::ExitCode {
    onerun_lambda::rotate_secret()
}

//! Takes one step of a rotation of the secret that the root key is in.

fn main() -> std::process::ExitCode {
    onerun_lambda::rotate_secret()
}

//! `POST /v1/simulations/import`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::IMPORT_SIMULATION)
}

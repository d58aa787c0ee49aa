//! `GET /v1/simulations/{simulation_id}/personas`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::LIST_PERSONAS)
}

//! `POST /v1/simulations/{simulation_id}/personas/{persona_id}/approve`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::APPROVE_PERSONA)
}

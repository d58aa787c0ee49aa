//! `POST /v1/simulations/{simulation_id}/personas/{persona_id}/reject`

fn main() -> std::process::ExitCode {
    onerun_lambda::serve(&onerun_lambda::routes::REJECT_PERSONA)
}

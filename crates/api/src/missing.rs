//! The words of a 404: the id that was not found, and how to list the ids that exist.

use onerun_domain::Resource;

/// The longest text that is repeated as an id. Every id is shorter, every key longer.
const MAX_ID: usize = 32;

/// How a kind of thing that was not found is reported.
pub(crate) struct Missing {
    pub(crate) code: &'static str,
    /// The path parameter with the id.
    pub(crate) parameter: &'static str,
    plural: &'static str,
    /// The request that lists the things that exist.
    list: &'static str,
}

/// How `resource` is reported.
pub(crate) const fn of(resource: Resource) -> Missing {
    let (code, parameter, plural, list) = match resource {
        Resource::Project => ("project_not_found", "project_id", "projects", "GET /v1/projects"),
        Resource::Agent => ("agent_not_found", "agent_id", "agents", "GET /v1/agents"),
        Resource::Objective => ("objective_not_found", "objective_id", "objectives", "GET /v1/objectives"),
        Resource::Simulation => {
            ("simulation_not_found", "simulation_id", "simulations", "GET /v1/simulations")
        }
        Resource::Persona => {
            ("persona_not_found", "persona_id", "personas", "GET /v1/simulations/{simulation_id}/personas")
        }
        Resource::Conversation => (
            "conversation_not_found",
            "conversation_id",
            "conversations",
            "GET /v1/simulations/{simulation_id}/conversations",
        ),
        Resource::Evaluation => (
            "evaluation_not_found",
            "evaluation_id",
            "evaluation runs",
            "GET /v1/simulations/{simulation_id}/evaluations",
        ),
        Resource::Monitor => ("monitor_not_found", "monitor_id", "monitors", "GET /v1/monitors"),
        Resource::Batch => ("batch_not_found", "batch_id", "batches", "GET /v1/batches"),
        Resource::Webhook => ("webhook_not_found", "webhook_id", "webhooks", "GET /v1/webhooks"),
        Resource::Delivery => {
            ("delivery_not_found", "delivery_id", "deliveries", "GET /v1/webhooks/{webhook_id}/deliveries")
        }
        Resource::Key => ("key_not_found", "key_id", "keys", "GET /v1/keys"),
    };
    Missing { code, parameter, plural, list }
}

/// The end of the message about something that was not found: its id, and how to list the things that exist.
pub(crate) fn advice(resource: Resource, parameters: &[(String, String)]) -> String {
    let Missing { parameter, plural, list, .. } = of(resource);
    let id = parameters.iter().find(|(name, _)| name == parameter).map(|(_, id)| id.as_str());
    let id = id.filter(|id| is_shown(id)).map(|id| format!(": `{id}`")).unwrap_or_default();
    format!("{id}; list {plural} with `{list}`")
}

/// Whether a text is repeated: not if it may be a key, or has anything in it that an id has not.
fn is_shown(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        && !id.starts_with("onr_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_project(id: &str) -> String {
        advice(Resource::Project, &[("project_id".to_owned(), id.to_owned())])
    }

    #[test]
    fn a_missing_id_is_named_with_the_list_of_what_there_is() {
        assert_eq!(of_project("AbCdEfGhIjKl"), ": `AbCdEfGhIjKl`; list projects with `GET /v1/projects`");
    }

    #[test]
    fn what_may_be_a_key_or_a_command_is_not_repeated() {
        for text in [
            "",
            "onr_AAECAwQFBgcI",
            "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=",
            "a`b",
            "\u{1b}[2J",
            "\u{202e}abc",
            &"a".repeat(33),
        ] {
            assert_eq!(of_project(text), "; list projects with `GET /v1/projects`", "{text}");
        }
    }
}

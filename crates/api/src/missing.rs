//! What a 404 says besides: the id that names nothing, and where to find those that name something.

/// The longest text that is repeated as an id. Every id is shorter, every key longer.
const MAX_ID: usize = 32;

/// For the code of an error: the parameter with the id, what there is to list, and how.
const LISTS: [(&str, &str, &str, &str); 8] = [
    ("project_not_found", "project_id", "projects", "GET /v1/projects"),
    ("agent_not_found", "agent_id", "agents", "GET /v1/agents"),
    ("objective_not_found", "objective_id", "objectives", "GET /v1/objectives"),
    ("objectives_not_found", "", "objectives", "GET /v1/objectives"),
    ("simulation_not_found", "simulation_id", "simulations", "GET /v1/simulations"),
    ("persona_not_found", "persona_id", "personas", "GET /v1/simulations/{simulation_id}/personas"),
    (
        "conversation_not_found",
        "conversation_id",
        "conversations",
        "GET /v1/simulations/{simulation_id}/conversations",
    ),
    ("key_not_found", "key_id", "keys", "GET /v1/keys"),
];

/// The end of the message of an error with this code, if something was not found, for a request with these parameters.
pub(crate) fn advice(code: &str, parameters: &[(String, String)]) -> Option<String> {
    let (_, parameter, what, list) = LISTS.into_iter().find(|(of, ..)| *of == code)?;
    let id = parameters.iter().find(|(name, _)| name == parameter).map(|(_, id)| id.as_str());
    let id = id.filter(|id| is_shown(id)).map(|id| format!(": `{id}`")).unwrap_or_default();
    Some(format!("{id}; list {what} with `{list}`"))
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
        advice("project_not_found", &[("project_id".to_owned(), id.to_owned())]).unwrap()
    }

    #[test]
    fn a_missing_id_is_named_with_the_list_of_what_there_is() {
        assert_eq!(of_project("AbCdEfGhIjKl"), ": `AbCdEfGhIjKl`; list projects with `GET /v1/projects`");
        assert_eq!(advice("route_not_found", &[]), None);
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

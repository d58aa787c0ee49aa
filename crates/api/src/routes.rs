//! Every route there is, each under the name of its operation. The router, the OpenAPI document, the functions on AWS and
//! the generated refusal tests are made from this list.

use crate::Route;

/// Names the routes, and lists them.
macro_rules! routes {
    ($($name:ident = $module:ident::$route:ident,)*) => {
        $(pub use crate::$module::$route as $name;)*

        /// All routes, by resource.
        pub static ROUTES: &[&Route] = &[$(&$name),*];
    };
}

routes! {
    GET_HEALTH = health::GET,
    GET_OPENAPI = openapi::GET,
    GET_DASHBOARD = dashboard::GET,
    GET_WHOAMI = whoami::GET,
    CREATE_KEY = keys::CREATE,
    LIST_KEYS = keys::LIST,
    GET_KEY = keys::GET,
    UPDATE_KEY = keys::UPDATE,
    ROTATE_KEY = keys::ROTATE,
    DISABLE_KEY = keys::DISABLE,
    ENABLE_KEY = keys::ENABLE,
    REVOKE_KEY = keys::REVOKE,
    REVOKE_LEAKED_KEYS = keys::REVOKE_LEAKED,
    LIST_AUDIT = audit::LIST,
    CREATE_PROJECT = projects::CREATE,
    LIST_PROJECTS = projects::LIST,
    GET_PROJECT = projects::GET,
    UPDATE_PROJECT = projects::UPDATE,
    CREATE_AGENT = agents::CREATE,
    LIST_AGENTS = agents::LIST,
    GET_AGENT = agents::GET,
    UPDATE_AGENT = agents::UPDATE,
    CREATE_OBJECTIVE = objectives::CREATE,
    LIST_OBJECTIVES = objectives::LIST,
    GET_OBJECTIVE = objectives::GET,
    UPDATE_OBJECTIVE = objectives::UPDATE,
    CREATE_SIMULATION = simulations::CREATE,
    LIST_SIMULATIONS = simulations::LIST,
    GET_SIMULATION = simulations::GET,
    RUN_SIMULATION = simulations::RUN,
    CANCEL_SIMULATION = simulations::CANCEL,
    GET_RESULTS = results::GET,
    LIST_PERSONAS = personas::LIST,
    APPROVE_PERSONA = personas::APPROVE,
    REJECT_PERSONA = personas::REJECT,
    LIST_CONVERSATIONS = conversations::LIST,
    GET_CONVERSATION = conversations::GET,
    START_CONVERSATION = conversations::START,
    END_CONVERSATION = conversations::END,
    LIST_ITEMS = conversations::LIST_ITEMS,
    READ_ITEMS = conversations::READ_ITEMS,
    CREATE_RESPONSE = conversations::RESPOND,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_the_name_of_its_operation() {
        let lines = include_str!("routes.rs").lines().filter_map(|line| line.trim().split_once(" = "));
        let names = lines.filter(|(_, route)| route.ends_with(',')).map(|(name, _)| name.to_lowercase());
        let operations: Vec<_> = ROUTES.iter().map(|route| route.operation.to_owned()).collect();
        assert_eq!(names.collect::<Vec<_>>(), operations);
    }
}

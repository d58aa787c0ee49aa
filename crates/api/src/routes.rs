//! Every route there is. The router, the OpenAPI document and the generated refusal tests are made from this list.

use crate::{
    Route, agents, conversations, health, objectives, openapi, personas, projects, results, simulations,
    whoami,
};

/// All routes, by resource.
pub static ROUTES: &[&Route] = &[
    &health::GET,
    &openapi::GET,
    &whoami::GET,
    &projects::CREATE,
    &projects::LIST,
    &projects::GET,
    &projects::UPDATE,
    &agents::CREATE,
    &agents::LIST,
    &agents::GET,
    &agents::UPDATE,
    &objectives::CREATE,
    &objectives::LIST,
    &objectives::GET,
    &objectives::UPDATE,
    &simulations::CREATE,
    &simulations::LIST,
    &simulations::GET,
    &simulations::RUN,
    &simulations::CANCEL,
    &results::GET,
    &personas::LIST,
    &personas::APPROVE,
    &personas::REJECT,
    &conversations::LIST,
    &conversations::GET,
    &conversations::START,
    &conversations::END,
    &conversations::LIST_ITEMS,
    &conversations::READ_ITEMS,
    &conversations::RESPOND,
];

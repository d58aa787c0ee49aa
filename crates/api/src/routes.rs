//! All operations, in the order of their resources. A function on AWS names its route here.

use crate::{
    Route, agent_endpoints, agents, audit, batches, claims, conversations, dashboard, evaluations, export,
    health, imports, keys, labels, monitors, objectives, openapi, operation::Operation, personas, projects,
    reports, results, simulations, usage, webhooks, whoami,
};

pub use crate::{
    agent_endpoints::*, agents::*, audit::*, batches::*, claims::*, conversations::*, dashboard::*,
    evaluations::*, export::*, health::*, imports::*, keys::*, labels::*, monitors::*, objectives::*,
    openapi::*, personas::*, projects::*, reports::*, results::*, simulations::*, usage::*, webhooks::*,
    whoami::*,
};

/// The operations of each module that has any.
pub(crate) const OPERATIONS: [&[Operation]; 24] = [
    health::OPERATIONS,
    openapi::OPERATIONS,
    dashboard::OPERATIONS,
    whoami::OPERATIONS,
    keys::OPERATIONS,
    audit::OPERATIONS,
    projects::OPERATIONS,
    agents::OPERATIONS,
    agent_endpoints::OPERATIONS,
    objectives::OPERATIONS,
    simulations::OPERATIONS,
    batches::OPERATIONS,
    imports::OPERATIONS,
    results::OPERATIONS,
    reports::OPERATIONS,
    export::OPERATIONS,
    evaluations::OPERATIONS,
    personas::OPERATIONS,
    claims::OPERATIONS,
    conversations::OPERATIONS,
    labels::OPERATIONS,
    monitors::OPERATIONS,
    webhooks::OPERATIONS,
    usage::OPERATIONS,
];

/// The routes of all operations.
pub static ROUTES: &[&Route] = &all_routes();

const COUNT: usize = {
    let (mut count, mut module) = (0, 0);
    while module < OPERATIONS.len() {
        count += OPERATIONS[module].len();
        module += 1;
    }
    count
};

const fn all_routes() -> [&'static Route; COUNT] {
    let mut routes = [OPERATIONS[0][0].route; COUNT];
    let (mut next, mut module) = (0, 0);
    while module < OPERATIONS.len() {
        let mut index = 0;
        while index < OPERATIONS[module].len() {
            routes[next] = OPERATIONS[module][index].route;
            next += 1;
            index += 1;
        }
        module += 1;
    }
    routes
}

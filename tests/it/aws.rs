//! The deployment of `template.yaml`, with its functions as processes: see [`onerun_tests::aws`].

mod docs;
mod expanded;
mod jobs;
mod keys;
mod path;
mod payloads;
mod rotation;
mod routes;
mod secret;

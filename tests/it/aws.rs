//! The deployment of `template.yaml`, with its functions as processes: see [`onerun_tests::aws`].

mod archive;
mod docs;
mod endpoints;
mod expanded;
mod jobs;
mod keys;
mod models;
mod path;
mod payloads;
#[cfg(feature = "dynamodb")]
mod role_rights;
mod rotation;
mod routes;
mod secret;
#[cfg(feature = "dynamodb")]
mod throughput;
#[cfg(feature = "dynamodb")]
mod units;
mod unreliable_provider;

//! Tests with a real language model. `make test-models` runs them.

mod counterparts;
mod simulation;
mod wires;

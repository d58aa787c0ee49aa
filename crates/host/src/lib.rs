//! What OneRun's hosts share, on one machine and on AWS: the clock, randomness, and how a configuration is read.
//!
//! Everything below takes time, randomness and settings as arguments. This is the one place where they come from.

mod system;
mod variables;

pub use system::{OsRandom, SystemClock};
pub use variables::{ConfigErrors, Variables};

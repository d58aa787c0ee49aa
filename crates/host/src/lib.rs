//! The parts that OneRun's hosts share, on one machine and on AWS: the clock, randomness, and the
//! reading of configuration.
//!
//! All other crates receive time, random bytes and settings as arguments; this crate provides them.

mod system;
mod variables;

pub use system::{OsRandom, SystemClock};
pub use variables::{ConfigErrors, Variables};

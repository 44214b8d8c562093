//! Holds the value types that settings are written in: durations, sizes and secrets.

mod duration;
mod secret;
mod size;

pub use duration::{Duration, ParseDurationError};
pub use secret::Secret;
pub(crate) use secret::{MASK, reveal_during};
pub use size::{ParseSizeError, Size};

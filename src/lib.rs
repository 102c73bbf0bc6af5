//! fly-autoscaler: brings the machines of Fly apps to the number that metrics ask for.

pub mod clock;
pub mod collect;
pub mod config;
pub mod error_chain;
pub mod expr;
pub mod machines;
pub mod metrics;
pub mod scaling;
pub mod shutdown;
pub mod sim;
pub mod transport;

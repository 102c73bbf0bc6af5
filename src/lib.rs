//! fly-autoscaler: brings the machines of Fly apps to the number that metrics ask for.

pub mod config;
pub mod expr;
pub mod scaling;

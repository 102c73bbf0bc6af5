//! What operators look at and are woken by: a Grafana dashboard, and alert rules for Prometheus.
//!
//! Pure: constants in, text out. The names of series come from [`crate::metrics::series`] alone, so that a series that is
//! renamed is renamed here; tests hold that each expression names only what `/metrics` shows, and that no series of the
//! table is forgotten. What a panel looks like to Grafana stands in `grafana` alone.
//!
//! Series without the label `app` are of the whole daemon: choosing an app does not narrow them.

mod alerts;
mod grafana;
mod panels;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;

pub use alerts::{Rule, alerts, rules};
pub use grafana::dashboard;
pub use panels::{Look, Panel, Query, Row, Unit, rows};

//! `dashboard` and `alerts`: what to import into Grafana and to give to Prometheus. Nothing is read or asked for.

use super::say;
use crate::dashboard;

/// Prints the dashboard.
pub(super) fn dashboard() -> anyhow::Result<()> {
    say(&dashboard::dashboard())
}

/// Prints the rules.
pub(super) fn alerts() -> anyhow::Result<()> {
    say(dashboard::alerts().trim_end())
}

//! The step `configuration`: what is set, what is wrong with it, and what may be.

use serde_json::Value;

use crate::config::{Config, ConfigError, ConfigErrors, FleetConfig};

use super::{Step, StepKind, hints, outcome};

/// Settings that say nothing of what is scaled, and by what: they are in the detail only.
const UNTOLD: &[&str] = &[
    "interval",
    "timeout",
    "destroy_running_after",
    "deploy_timeout",
    "machines_api",
    "graphql_api",
    "api_token",
    "api_concurrency",
    "metrics_address",
    "concurrency",
    "app_list_refresh_interval",
];

/// What became of the port of `/metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// It is free, or the daemon itself has it.
    Fine,
    /// It cannot be had: why, in words.
    Taken(String),
}

/// A configuration that is accepted.
#[must_use]
pub fn accepted(config: &Config, port: &Port) -> Vec<Step> {
    let of_fleet = |fleet: &FleetConfig| {
        let settings = fleet.summary(config);
        let told: Vec<String> = settings
            .iter()
            .filter(|(name, _)| !UNTOLD.contains(name))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let all = settings
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Value::String(value)));
        let step = Step::ok(StepKind::Configuration, told.join(", "))
            .with("settings", Value::Object(all.collect()));
        if config.fleets.len() == 1 {
            step
        } else {
            step.named(fleet.name.as_str())
        }
    };
    let mut steps: Vec<Step> = config.fleets.iter().map(of_fleet).collect();
    for warning in &config.warnings {
        steps.push(
            Step::warning(StepKind::Configuration, warning.clone()).hint(hints::setting(warning)),
        );
    }
    if let Port::Taken(why) = port {
        steps.push(
            Step::warning(
                StepKind::Configuration,
                format!("serve could not start on this machine: {why}"),
            )
            .hint(hints::port_taken(config.metrics_address.setting)),
        );
    }
    steps
}

/// A configuration with mistakes: all of them, what may have caused them, and everything else skipped.
#[must_use]
pub fn refused(errors: &ConfigErrors, own_app: Option<&str>) -> Vec<Step> {
    let mut steps: Vec<Step> = errors.iter().map(mistake).collect();
    for warning in errors.warnings() {
        steps.push(
            Step::warning(StepKind::Configuration, warning.to_owned())
                .hint(hints::setting(warning)),
        );
    }
    steps.extend(nothing_else(own_app));
    steps
}

/// A configuration that could not even be read.
#[must_use]
pub fn unreadable(problem: String, own_app: Option<&str>) -> Vec<Step> {
    let mut steps = vec![Step::failed(StepKind::Configuration, problem)];
    steps.extend(nothing_else(own_app));
    steps
}

fn mistake(error: &ConfigError) -> Step {
    let hint = hints::mistake(error);
    let shown = ConfigError {
        // The hint has it.
        example: None,
        ..error.clone()
    };
    Step::failed(StepKind::Configuration, shown.to_string())
        .named(error.place.label())
        .hint(hint)
        .with("place", error.place.to_string())
        .with("value", error.value.clone())
        .with("expected", error.expected.clone())
}

fn nothing_else(own_app: Option<&str>) -> Vec<Step> {
    let why = "the configuration has to be corrected first";
    outcome::untried(StepKind::Configuration, why, own_app)
}

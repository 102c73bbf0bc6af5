//! A wildcard: a line an app, failures first, in place of all the steps about each.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    config::{AppSelection, Config},
    error_chain::chain,
    machines::{ApiError, Verdict},
};

use super::{
    Report, Status, Step, StepKind, hints, outcome,
    token::{brief, untold},
};

/// What was found about one of several apps.
#[derive(Debug)]
pub struct App {
    /// Its name, or a fleet's.
    pub name: String,
    /// The options that choose it.
    pub choice: String,
    /// Its steps, and what a pass would do about it.
    pub report: Report,
}

/// The apps of an organization, and whose they are.
#[derive(Debug, Clone, Copy)]
pub struct Matched<'list> {
    /// All of them.
    pub listed: &'list BTreeSet<String>,
    /// The autoscaler's own, where the pattern matches it.
    pub left_out: Option<&'list str>,
    /// How many the policy scales something of.
    pub own: usize,
    /// How many it matches as well, of which policies before it in the list have all that it would take.
    pub of_others: usize,
}

/// The steps about several apps.
#[must_use]
pub fn of_apps(
    config: &Config,
    selection: &AppSelection,
    matched: Matched<'_>,
    apps: Vec<App>,
) -> Vec<Step> {
    let Matched {
        listed,
        left_out,
        own,
        of_others,
    } = matched;
    let pattern = selection.pattern.as_str();
    let org = selection.org.as_deref().unwrap_or_default();
    let mut steps = vec![Step::ok(
        StepKind::Token,
        format!("FAS_API_TOKEN is accepted, and lists the apps of {org}"),
    )];
    let matching = own + of_others;
    let sentence = format!(
        "{matching} of the {} apps of {org} match {pattern}",
        listed.len()
    );
    steps.push(if matching == 0 {
        Step::failed(StepKind::App, format!("{sentence}: nothing is scaled"))
            .hint(hints::no_app_matches(org, listed))
    } else if own == 0 {
        let sentence = format!("{sentence}, and policies before it in the list have all of them");
        Step::ok(StepKind::App, sentence)
    } else {
        Step::ok(StepKind::App, sentence)
    });
    if let Some(own) = left_out {
        steps.push(
            Step::skipped(
                StepKind::App,
                "the autoscaler's own app, which is not scaled",
            )
            .named(own),
        );
    }
    steps.extend(of_fleets(apps));
    let own_app = config.own.app.as_deref();
    steps.push(outcome::lock(own_app));
    steps.push(outcome::peers());
    steps
}

/// What a policy would take of an app, and another one that comes before it in the list has.
#[must_use]
pub fn of_another_policy(policy: &str, app: &str, by: &str) -> Step {
    Step::skipped(
        StepKind::App,
        format!("policy {by} comes before {policy} in the list and has its machines"),
    )
    .named(app)
}

/// A line for each of several, failures first.
#[must_use]
pub fn of_fleets(fleets: Vec<App>) -> Vec<Step> {
    let mut lines: Vec<Step> = fleets.into_iter().map(line).collect();
    lines.sort_by(|one, other| (one.status, &one.name).cmp(&(other.status, &other.name)));
    lines
}

/// One app in a line: the first thing that is wrong, else what a pass would do.
fn line(app: App) -> Step {
    let App {
        name,
        choice,
        report,
    } = app;
    let told = |status| report.steps.iter().find(|step| step.status == status);
    let plan = report
        .steps
        .iter()
        .find(|step| step.kind == StepKind::Plan && step.status == Status::Ok);
    let empty = report
        .steps
        .iter()
        .find(|step| step.kind == StepKind::Machines && step.status == Status::Skipped);
    let worst = report.worst();
    // What says most about it.
    let chosen = match worst {
        Status::Failed | Status::Warning => told(worst),
        Status::Ok | Status::Skipped => plan,
    };
    let mut status = worst;
    let (sentence, hint) = match (chosen, empty) {
        (_, Some(empty)) if worst != Status::Failed => {
            status = Status::Skipped;
            (empty.sentence.clone(), None)
        }
        (Some(step), _) => {
            let more = report.count(step.status).saturating_sub(1);
            let label = match (worst, &step.name) {
                (Status::Ok | Status::Skipped, _) => String::new(),
                (_, Some(name)) => format!("{} {name}: ", step.kind.as_str()),
                (_, None) => format!("{}: ", step.kind.as_str()),
            };
            let more = if more > 0 && worst <= Status::Warning {
                format!(" (and {more} more)")
            } else {
                String::new()
            };
            // What is odd is no reason to withhold what comes of it.
            let plan = match (worst, plan) {
                (Status::Warning, Some(plan)) => format!("{}; ", plan.sentence),
                _ => String::new(),
            };
            let sentence = format!("{plan}{label}{}{more}", step.sentence);
            (sentence, step.hint.clone())
        }
        (None, _) => ("nothing to say".to_owned(), None),
    };
    let json = report.json();
    let part = |key: &str| json.get(key).cloned().unwrap_or(Value::Null);
    let hint = match (status, hint) {
        (Status::Failed | Status::Warning, hint) => {
            let look = format!("all about it: fly-autoscaler check {choice}");
            Some(hint.map_or(look.clone(), |hint| format!("{hint}\n{look}")))
        }
        _ => None,
    };
    Step::new(StepKind::App, status, sentence)
        .hint(hint)
        .with("steps", part("steps"))
        .with("plan", part("plan"))
        .named(name)
}

/// The apps could not be listed.
#[must_use]
pub fn unlisted_apps(config: &Config, selection: &AppSelection, error: &ApiError) -> Vec<Step> {
    let org = selection.org.as_deref().unwrap_or_default();
    let (token, app) = match error.verdict() {
        Verdict::Unauthorized => (
            Step::failed(
                StepKind::Token,
                format!(
                    "the token in FAS_API_TOKEN was not accepted for the organization {org}: {}",
                    brief(error)
                ),
            )
            .hint(hints::new_token_of_org(config, selection))
            .with("fly_request_id", error.request_id.clone()),
            Step::skipped(
                StepKind::App,
                "needs a token that Fly accepts for this organization",
            ),
        ),
        Verdict::Gone => (
            Step::ok(StepKind::Token, "FAS_API_TOKEN is accepted"),
            Step::failed(
                StepKind::App,
                format!(
                    "Fly knows no organization {org}, or does not show it to this token: {}",
                    brief(error)
                ),
            )
            .hint(hints::unknown_org())
            .with("fly_request_id", error.request_id.clone()),
        ),
        _ => (
            Step::skipped(StepKind::Token, untold(error)),
            Step::failed(StepKind::App, chain(error))
                .hint(hints::no_answer(error, &config.api.machines_url))
                .with("fly_request_id", error.request_id.clone()),
        ),
    };
    let mut steps = vec![token, app];
    let why = "the apps could not be listed";
    let own_app = config.own.app.as_deref();
    steps.extend(outcome::untried(StepKind::App, why, own_app));
    steps
}

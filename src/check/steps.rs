//! All steps about one app, in their order. One whose forerunner failed is listed as skipped, with why.

use crate::machines::Verdict;

use super::{Report, Seen, Step, StepKind, expressions, machines, metrics, outcome, proxy, token};

/// What was found about one app, and what a pass would do.
#[must_use]
pub fn steps(seen: &Seen<'_>) -> Report {
    let own_app = seen.config.own.app.as_deref();
    let (token, app, blocked) = token::steps(seen);
    let why = blocked.unwrap_or_default();
    let skipped = |kind| Step::skipped(kind, why.clone());
    // Who may not see the machines is not told of a release either.
    let is_refused = |verdict| matches!(verdict, Verdict::Unauthorized | Verdict::Gone);
    let refused = seen
        .fleet
        .as_ref()
        .err()
        .is_some_and(|error| is_refused(error.verdict()));

    let mut steps = vec![token];
    steps.extend(token::unexplained(seen));
    steps.push(app);
    match &seen.fleet {
        Ok(fleet) => {
            steps.extend(machines::listed(seen, fleet));
            steps.extend(machines::cloned(seen, fleet));
        }
        Err(_) if refused => steps.extend([StepKind::Machines, StepKind::Source].map(skipped)),
        Err(error) => {
            steps.push(machines::not_listed(seen, error));
            steps.push(skipped(StepKind::Source));
        }
    }
    steps.extend(metrics::steps(seen));
    steps.extend(expressions::steps(seen));
    if refused {
        steps.push(skipped(StepKind::Release));
    } else {
        steps.extend(outcome::release(seen));
    }
    steps.push(outcome::lock(own_app));
    steps.push(outcome::peers());
    let mut report = Report::default();
    if let Ok(fleet) = &seen.fleet {
        steps.push(proxy::step(seen, fleet));
        steps.extend(outcome::plan(seen, fleet));
        report.plan = outcome::plan_json(fleet);
    } else {
        steps.extend([StepKind::Proxy, StepKind::Plan].map(skipped));
    }
    report.steps = steps;
    report
}

//! The steps `token` and `app`: whether Fly accepts the token, whether it covers the app, and whether there is such an app.
//!
//! What counts is the list of machines, which is what a pass needs: where it was answered, both are well whatever else was
//! said. What the token and the app say of themselves explains a refusal.

use crate::{
    error_chain::chain,
    machines::{ApiError, ApiErrorCause, TokenScope, Verdict},
};

use super::{Seen, Step, StepKind, hints};

/// Both steps, and why nothing more can be asked about the app's machines.
pub(super) fn steps(seen: &Seen<'_>) -> (Step, Step, Option<String>) {
    let app = seen.app;
    let Err(error) = &seen.fleet else {
        let scope = seen.scope.as_deref().map(scope_text).unwrap_or_default();
        let token = with_scope(
            Step::ok(
                StepKind::Token,
                format!("FAS_API_TOKEN is accepted and covers {app}{scope}"),
            ),
            seen,
        );
        return (token, exists(seen), None);
    };
    match error.verdict() {
        Verdict::Unauthorized => {
            let token = with_scope(refused(seen, error), seen);
            let why = "needs a token that Fly accepts for this app";
            let known = match &seen.about {
                Ok(_) => exists(seen),
                Err(_) => Step::skipped(StepKind::App, why),
            };
            (token, known, Some(why.to_owned()))
        }
        Verdict::Gone => {
            // Who is not accepted is told so before anything else.
            let accepted = "FAS_API_TOKEN is accepted";
            let token = with_scope(Step::ok(StepKind::Token, accepted), seen);
            let sentence = format!(
                "Fly knows no app {app}, or does not show it to this token: {}",
                brief(error)
            );
            let missing = Step::failed(StepKind::App, sentence)
                .hint(hints::unknown_app(seen))
                .with("fly_request_id", error.request_id.clone());
            (token, missing, Some("there is no such app".to_owned()))
        }
        _ => {
            let token = if seen.scope.is_ok() || seen.about.is_ok() {
                with_scope(Step::ok(StepKind::Token, "FAS_API_TOKEN is accepted"), seen)
            } else {
                Step::skipped(StepKind::Token, untold(error))
            };
            let known = match &seen.about {
                Ok(_) => exists(seen),
                Err(_) => Step::skipped(StepKind::App, untold(error)),
            };
            (
                token,
                known,
                Some("the machines could not be listed".to_owned()),
            )
        }
    }
}

/// That nobody said what the token is for, which costs nothing but the time that was waited for it.
pub(super) fn unexplained(seen: &Seen<'_>) -> Option<Step> {
    let error = seen.scope.as_ref().err()?;
    let is_late = matches!(
        error.cause,
        ApiErrorCause::Timeout { .. } | ApiErrorCause::NotBegun
    );
    (is_late && seen.fleet.is_ok()).then(|| {
        Step::warning(
            StepKind::Token,
            "what the token is for is not known: GET /v1/tokens/current did not answer in time; the list of machines was answered, which is what counts",
        )
        .hint("nothing to do: no pass asks for it".to_owned())
    })
}

fn exists(seen: &Seen<'_>) -> Step {
    let about = seen.about.as_ref().ok();
    let org = about.and_then(|about| about.org.clone());
    let status = about.and_then(|about| about.status.clone());
    let of_org = org
        .as_ref()
        .map(|org| format!(" in the organization {org}"));
    let is = status.as_ref().map(|status| format!(", {status}"));
    Step::ok(
        StepKind::App,
        format!(
            "{} exists{}{}",
            seen.app,
            of_org.unwrap_or_default(),
            is.unwrap_or_default()
        ),
    )
    .with("organization", org)
    .with("status", status)
}

fn refused(seen: &Seen<'_>, error: &ApiError) -> Step {
    let app = seen.app;
    let sentence = match (&seen.scope, &error.cause) {
        (Ok(scope), _) => format!(
            "FAS_API_TOKEN is accepted, but does not cover {app}{}: {}",
            scope_text(scope),
            brief(error)
        ),
        (
            Err(_),
            ApiErrorCause::Unauthorized {
                status: Some(403), ..
            },
        ) => format!(
            "the token in FAS_API_TOKEN was not accepted for {app}: {}",
            brief(error)
        ),
        _ => format!(
            "the token in FAS_API_TOKEN was not accepted: {}",
            brief(error)
        ),
    };
    Step::failed(StepKind::Token, sentence)
        .hint(hints::new_token(seen))
        .with("fly_request_id", error.request_id.clone())
}

/// What a token is for: ` (organization acme, apps web, worker)`.
fn scope_text(scope: &[TokenScope]) -> String {
    let each = scope.iter().map(|token| {
        let org = token.org.as_ref().map(|org| format!("organization {org}"));
        let apps = token
            .apps
            .as_ref()
            .map(|apps| format!("apps {}", apps.join(", ")));
        let machine = token
            .machine
            .as_ref()
            .map(|machine| format!("only from machine {machine}"));
        let parts: Vec<String> = [org, apps, machine].into_iter().flatten().collect();
        parts.join(", ")
    });
    let each: Vec<String> = each.filter(|text| !text.is_empty()).collect();
    if each.is_empty() {
        String::new()
    } else {
        format!(" ({})", each.join("; "))
    }
}

fn with_scope(step: Step, seen: &Seen<'_>) -> Step {
    let Ok(scope) = &seen.scope else { return step };
    let tokens: Vec<serde_json::Value> = scope
        .iter()
        .map(|token| {
            serde_json::json!({ "organization": token.org, "apps": token.apps, "machine": token.machine })
        })
        .collect();
    step.with("tokens", tokens)
}

/// Why nothing is known from a call that neither worked nor was refused.
pub(super) fn untold(error: &ApiError) -> String {
    match &error.cause {
        ApiErrorCause::Status { status, .. } => {
            format!("the Machines API answered with an error (HTTP {status})")
        }
        ApiErrorCause::Transport(error) if error.was_not_sent() => {
            "the Machines API was not reached".to_owned()
        }
        ApiErrorCause::Timeout { .. } | ApiErrorCause::Transport(_) => {
            "the Machines API did not answer".to_owned()
        }
        ApiErrorCause::Decode(_) | ApiErrorCause::Complaint(_) => format!(
            "the Machines API answered, but nothing of use: {}",
            brief(error)
        ),
        _ => "the Machines API gave no answer of use".to_owned(),
    }
}

/// What a call was answered, without what this program says to do about it: the hint does.
pub(super) fn brief(error: &ApiError) -> String {
    match &error.cause {
        ApiErrorCause::Unauthorized {
            status: Some(status),
            message,
        } if message.is_empty() => format!("HTTP {status}"),
        ApiErrorCause::Unauthorized {
            status: Some(status),
            message,
        } => format!("HTTP {status}: {message}"),
        ApiErrorCause::Unauthorized {
            status: None,
            message,
        } => message.clone(),
        cause => chain(cause),
    }
}

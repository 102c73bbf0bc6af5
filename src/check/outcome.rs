//! The steps `release`, `lock`, `peers` and `plan`: what else a pass asks, and what it would do.

use serde_json::{Map, Value, json};

use crate::{
    error_chain::chain,
    machines::{ApiError, Verdict},
    scaling::{Action, Bounds, Decision, Memory, Note, Reason, Release},
};

use super::{Fleet, Seen, Step, StepKind, hints, token::brief};

/// What the current release is.
pub(super) fn release(seen: &Seen<'_>) -> Vec<Step> {
    let step = match &*seen.release {
        Ok(None) => Step::ok(
            StepKind::Release,
            "the app was never released: no deploy holds anything back",
        ),
        Ok(Some(release)) => of_release(seen, release),
        Err(error) => no_release(seen, error),
    };
    vec![step]
}

fn of_release(seen: &Seen<'_>, release: &Release) -> Step {
    let name = release.version.map_or_else(
        || "the release".to_owned(),
        |version| format!("release v{version}"),
    );
    let status = crate::shown::excerpt(&release.status, 60);
    let policy = &seen.settings.policy;
    let is_held = Memory::default().release_in_progress(Some(release), policy, seen.now);
    let step = if is_held {
        Step::warning(
            StepKind::Release,
            format!("{name} is being deployed: nothing is changed until it is done"),
        )
        .hint(hints::deploy_in_progress(seen.app))
    } else if release.is_running() {
        Step::warning(
            StepKind::Release,
            format!(
                "{name} has said `running` for longer than FAS_DEPLOY_TIMEOUT: its deploy is treated as abandoned, and machines are changed"
            ),
        )
        .hint(hints::abandoned_deploy(seen.app))
    } else if release.went_wrong() {
        Step::warning(
            StepKind::Release,
            format!("{name} is `{status}`: its machines are copied only where there are no others"),
        )
        .hint(hints::deploy_again(seen.app))
    } else {
        Step::ok(
            StepKind::Release,
            format!("{name} is `{status}`: no deploy is under way"),
        )
    };
    step.with("version", release.version)
        .with("status", status)
        .with("created_at", release.created_at.map(|at| at.to_string()))
}

fn no_release(seen: &Seen<'_>, error: &ApiError) -> Step {
    let step = if error.is_no_answer() {
        Step::warning(
            StepKind::Release,
            format!(
                "{}: cannot tell whether a deploy is running; nothing is destroyed or stopped until it answers, growth goes on where the machines show no deploy",
                chain(error)
            ),
        )
        .hint(hints::no_answer(error, &seen.config.api.graphql_url))
    } else {
        let hint = match error.verdict() {
            Verdict::Unauthorized => hints::new_token(seen),
            Verdict::Gone => hints::unknown_app(seen),
            _ => hints::no_answer(error, &seen.config.api.graphql_url),
        };
        Step::failed(
            StepKind::Release,
            format!("Fly's GraphQL API refuses to say what the release is, so that nothing would be changed: {}", brief(error)),
        )
        .hint(hint)
    };
    step.with("fly_request_id", error.request_id.clone())
}

/// Whether two copies are kept from acting at the same time.
pub(super) fn lock(own_app: Option<&str>) -> Step {
    Step::skipped(
        StepKind::Lock,
        "no lock is configured: a second copy that runs at the same time would create what is missing once more",
    )
    .hint(hints::one_copy(own_app))
}

/// Whether there are other copies.
pub(super) fn peers() -> Step {
    Step::skipped(StepKind::Peers, "not asked whether a second copy runs")
}

/// A step of each kind behind `last`, where none of them was tried, and why. What is said where there is no lock needs no
/// trying, but for a configuration that cannot be read: it may have one.
pub(super) fn untried(last: StepKind, why: &str, own_app: Option<&str>) -> Vec<Step> {
    let kinds = StepKind::ALL.into_iter().filter(|kind| *kind > last);
    let steps = kinds.map(|kind| match kind {
        StepKind::Lock if last > StepKind::Configuration => lock(own_app),
        StepKind::Peers if last > StepKind::Configuration => peers(),
        kind => Step::skipped(kind, why),
    });
    steps.collect()
}

/// What a pass would do now, and why it would not do more.
pub(super) fn plan(seen: &Seen<'_>, fleet: &Fleet) -> Vec<Step> {
    let decided = &fleet.decided;
    if decided.refusal().is_some() {
        let why =
            "a pass that wants to change something asks for the release first, and was refused";
        return vec![Step::skipped(StepKind::Plan, why)];
    }
    let plan = &decided.plan;
    let counts = fleet.counts();
    let has_no_target = plan.reason == Reason::NoTarget;
    let mut steps = vec![if has_no_target {
        Step::skipped(StepKind::Plan, plan.reason.to_string())
    } else {
        let would = match &plan.action {
            Some(action) if decided.held => {
                format!(
                    "would wait for the deploy, and then {action}: {}",
                    plan.reason
                )
            }
            Some(action) => format!("{}: {}", action.would(), plan.reason),
            None => format!(
                "created: {}, started: {}; {}",
                counts.created, counts.started, plan.reason
            ),
        };
        Step::ok(StepKind::Plan, would)
    }];
    if let Some(failure) = plan.failure.as_ref().filter(|_| !decided.held) {
        if !seen.is_excused() {
            let hint = hints::no_source(seen, fleet, failure);
            steps.push(Step::failed(StepKind::Plan, failure.to_string()).hint(hint));
        }
    }
    steps.extend(slow(seen));
    // The step of the release has said that there is a deploy.
    let notes = plan.notes.iter();
    let notes = notes.filter(|note| !matches!(note, Note::DeployInProgress { .. }));
    let once = waits_for_release(seen);
    steps.extend(notes.map(|note| {
        let step = of_note(seen.app, note);
        match note {
            Note::RunningSurplusWaits { .. } => Step {
                sentence: format!("{}{once}", step.sentence),
                ..step
            },
            _ => step,
        }
    }));
    steps
}

/// What else has to come before something is destroyed that is only waited for now: nobody asks for the release before.
fn waits_for_release(seen: &Seen<'_>) -> &'static str {
    match &*seen.release {
        Err(_) => ", once Fly says that no deploy is running",
        Ok(release) => {
            let policy = &seen.settings.policy;
            let is_held = Memory::default().release_in_progress(release.as_ref(), policy, seen.now);
            if is_held {
                ", once the deploy is done"
            } else {
                ""
            }
        }
    }
}

/// A pass that spends its time on questions does nothing in the end.
fn slow(seen: &Seen<'_>) -> Option<Step> {
    let timeout = seen.settings.policy.timeout;
    let is_slow = seen.took >= timeout / 4 * 3;
    let sentence = format!(
        "asking for metrics, machines and release took {:.1} s of FAS_TIMEOUT ({timeout:?}): the pass deadline may come before anything is done",
        seen.took.as_secs_f64()
    );
    is_slow.then(|| Step::warning(StepKind::Plan, sentence).hint(hints::slow()))
}

pub(super) fn of_note(app: &str, note: &Note) -> Step {
    let step = if note.is_trouble() {
        Step::warning(StepKind::Plan, note.to_string())
    } else {
        Step::ok(StepKind::Plan, note.to_string())
    };
    step.hint(hints::note(app, note))
}

/// The plan for programs.
pub(super) fn plan_json(fleet: &Fleet) -> Map<String, Value> {
    let plan = &fleet.decided.plan;
    let decision = if fleet.decided.held || fleet.decided.refusal().is_some() {
        Decision::NoScale
    } else {
        plan.decision()
    };
    let bounds = |bounds: Option<Bounds>| {
        let max = bounds
            .map(|bounds| bounds.max)
            .filter(|max| *max < u32::MAX);
        json!({ "min": bounds.map(|bounds| bounds.min), "max": max })
    };
    let notes: Vec<Value> = plan
        .notes
        .iter()
        .map(|note| json!({ "code": note.code(), "sentence": note.to_string() }))
        .collect();
    let of = |key: &str, value: Value| (key.to_owned(), value);
    Map::from_iter([
        of("decision", json!(decision.as_str())),
        of(
            "action",
            json!(plan.action.as_ref().map(ToString::to_string)),
        ),
        of("steps", json!(plan.action.as_ref().map(Action::steps))),
        of("code", json!(plan.reason.code())),
        of("sentence", json!(plan.reason.to_string())),
        of("held_by_deploy", json!(fleet.decided.held)),
        of(
            "failure",
            json!(plan.failure.as_ref().map(ToString::to_string)),
        ),
        of("notes", json!(notes)),
        of(
            "targets",
            json!({
                "created": bounds(fleet.evaluation.targets.created.bounds()),
                "started": bounds(fleet.evaluation.targets.started.bounds()),
            }),
        ),
        of(
            "limited",
            json!({
                "created": bounds(fleet.limited.created),
                "started": bounds(fleet.limited.started),
            }),
        ),
    ])
}

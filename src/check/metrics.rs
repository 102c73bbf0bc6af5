//! The step `metric`: one for each, with its value or why it has none.

use crate::{
    collect::{CollectErrorKind, Sample},
    error_chain::chain,
    expr::EvalError,
};

use super::{
    Reading, Seen, Step, StepKind,
    expressions::{with_counts, with_metrics},
    hints, machines,
    seen::NAME_LIMIT,
};
use crate::shown::excerpt;

/// The longest query that is shown, in characters.
const QUERY_LIMIT: usize = 300;

/// An age below this is what asking takes, and says nothing.
const AGE_WORTH_TELLING: f64 = 2.0;

/// What each metric came to, and how busy machines are said to be.
pub(super) fn steps(seen: &Seen<'_>) -> Vec<Step> {
    if seen.settings.is_of_regions() && !seen.settings.collectors.is_empty() {
        let why = "each region is asked about by itself, and none is known";
        return vec![Step::skipped(StepKind::Metric, why)];
    }
    if seen.metrics.is_empty() {
        let why = "none is configured: the expressions use the built-in machine counts and the time alone";
        return vec![Step::skipped(StepKind::Metric, why)];
    }
    let each = seen.metrics.iter().map(|reading| one(seen, reading));
    each.flatten().chain(busy(seen)).collect()
}

/// How busy machines are: a pass asks only when one is to go, which would be late to learn that the query is wrong.
fn busy(seen: &Seen<'_>) -> Option<Step> {
    let step = match seen.busy.as_ref()? {
        Err(error) => {
            let sentence = format!(
                "{}: no machine that runs is stopped or destroyed",
                chain(error)
            );
            Step::failed(StepKind::Metric, sentence).hint(hints::busy(seen))
        }
        Ok(busyness) => {
            let observed = seen.fleet.as_ref().ok().map(|fleet| &fleet.observed);
            match observed.map(|observed| busyness.covers(observed)) {
                None | Some((_, 0)) => Step::ok(StepKind::Metric, "it is answered"),
                Some((0, _)) => Step::failed(
                    StepKind::Metric,
                    "no element is about a machine that runs: none of those is stopped or destroyed",
                )
                .hint(hints::busy(seen)),
                Some((covered, 1)) => Step::ok(
                    StepKind::Metric,
                    format!("{covered} of the 1 machine that runs has a value"),
                ),
                Some((covered, running)) => Step::ok(
                    StepKind::Metric,
                    format!("{covered} of the {running} machines that run have a value"),
                ),
            }
        }
    };
    Some(step.named("busy"))
}

fn one(seen: &Seen<'_>, reading: &Reading) -> Vec<Step> {
    let detail = |step: Step| {
        let value = reading.result.as_ref().ok().map(|sample| sample.value);
        let elements = reading.result.as_ref().ok().map(|one| one.element_count);
        step.named(excerpt(&reading.metric, NAME_LIMIT))
            // JSON has no infinity.
            .with("value", value.filter(|value| value.is_finite()))
            .with("elements", elements)
            .with("query", excerpt(&reading.query, QUERY_LIMIT))
            .with("address", reading.address.clone())
    };
    let mut steps = match &reading.result {
        Ok(sample) => value(seen, reading, sample),
        Err(error) => {
            let sentence = format!("no value from {}: {}", reading.address, chain(error));
            let hint = hints::metric(seen, reading, error);
            // A refused token and a hanging server are told of every app.
            let is_general = matches!(
                error.kind(),
                CollectErrorKind::Unauthorized | CollectErrorKind::Timeout
            );
            let step = if seen.is_excused() && !is_general {
                Step::skipped(StepKind::Metric, sentence)
            } else if is_needed(seen, &reading.metric) {
                Step::failed(StepKind::Metric, sentence)
            } else {
                Step::warning(
                    StepKind::Metric,
                    format!("{sentence}; the expressions can do without"),
                )
            };
            vec![step.hint(hint)]
        }
    };
    if !seen.settings.targets.read(&reading.metric) {
        steps.push(
            Step::warning(StepKind::Metric, "no expression reads it")
                .hint(hints::unread(&reading.metric)),
        );
    }
    steps.into_iter().map(detail).collect()
}

fn value(seen: &Seen<'_>, reading: &Reading, sample: &Sample) -> Vec<Step> {
    let mut sentence = match sample.element_count {
        0 => format!(
            "{}, by {}: the query returned nothing, or NaN",
            sample.value,
            hints::empty_value_setting(seen, reading)
        ),
        1 => format!("{}", sample.value),
        count => format!("{}, the first of {count} elements", sample.value),
    };
    let age = sample.time.map(|time| {
        let now = seen.now.wall.as_millisecond() as f64 / 1000.0;
        now - time
    });
    if let Some(age) = age.filter(|age| *age >= AGE_WORTH_TELLING) {
        sentence = format!("{sentence}, {} s old", age.round());
    }
    sentence = format!(
        "{sentence} (query: {})",
        excerpt(&reading.query, QUERY_LIMIT)
    );
    let mut steps = vec![
        Step::ok(StepKind::Metric, sentence)
            .with("age_s", age.map(f64::round))
            .with("is_empty_value", sample.element_count == 0),
    ];
    let running = seen
        .fleet
        .as_ref()
        .map_or(0, |fleet| fleet.counts().started);
    let has_floor = seen.settings.policy.floor.is_some();
    if sample.element_count == 0 && running > 0 && !has_floor {
        let sentence = format!(
            "nothing was returned while {} {}: it counts as {}",
            machines::machines(running),
            if running == 1 { "runs" } else { "run" },
            sample.value
        );
        steps.push(Step::warning(StepKind::Metric, sentence).hint(hints::empty_value()));
    }
    if sample.element_count > 1 {
        let about = match (sample.is_of_region, &seen.settings.policy.region) {
            (true, Some(region)) => format!(" for {region}"),
            _ => String::new(),
        };
        steps.push(
            Step::warning(
                StepKind::Metric,
                format!(
                    "the query returned {} elements{about}, only the first is used",
                    sample.element_count
                ),
            )
            .hint(hints::aggregate(seen, reading)),
        );
    }
    steps.extend(one_for_all(seen, reading, sample));
    for warning in &sample.warnings {
        let sentence = format!("the server warns: {warning}");
        steps.push(Step::warning(StepKind::Metric, sentence));
    }
    steps
}

/// That a number which is no region's own is what each of several regions scales to.
fn one_for_all(seen: &Seen<'_>, reading: &Reading, sample: &Sample) -> Option<Step> {
    let is_own = reading.asks_each_region || sample.is_of_region;
    let is_alone = seen.settings.policy.region.is_none() || seen.regions == Some(1);
    let is_read = seen.settings.targets.read(&reading.metric);
    if is_own || is_alone || !is_read || sample.element_count == 0 {
        return None;
    }
    let all = match seen.regions {
        Some(regions) => format!("all {regions} regions"),
        None => "every region".to_owned(),
    };
    let sentence = format!(
        "the number {} holds for {all}: each of them scales to the whole of it",
        sample.value
    );
    Some(Step::warning(StepKind::Metric, sentence).hint(hints::one_for_all(seen, reading)))
}

/// Whether a target has no value for want of this metric, whatever the others are.
fn is_needed(seen: &Seen<'_>, metric: &str) -> bool {
    let values = with_metrics(seen, with_counts(seen), Some(metric));
    let evaluation = seen.settings.targets.evaluate(&values, seen.now);
    evaluation
        .errors
        .iter()
        .any(|error| matches!(&error.error, EvalError::Missing(missing) if missing == metric))
}

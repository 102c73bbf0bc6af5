//! Settings that are no mistake one by one, and hold each other off, or do nothing, together.
//!
//! Only what is certain before the first pass is told: of expressions, those that are a number.

use super::{
    FleetConfig,
    collectors::CheckedCollector,
    problems::Problems,
    settings::{Settings, Value},
};
use crate::{
    expr::Names,
    scaling::{ExpressionBand, Step, TargetExpressions},
};

/// A number of machines that a setting gives.
#[derive(Clone, Copy)]
struct Given<'settings> {
    /// The setting.
    label: &'settings str,
    machines: f64,
}

impl<'settings> Given<'settings> {
    fn new(value: Option<&'settings Value>, machines: Option<f64>) -> Option<Self> {
        Some(Self {
            label: value?.label(),
            machines: machines?,
        })
    }
}

/// Warns of settings that hold each other off.
pub(super) fn warn_of_conflicts(problems: &mut Problems, settings: &Settings, fleet: &FleetConfig) {
    let policy = &fleet.policy;
    let limit = |value, count: Option<u32>| Given::new(value, count.map(f64::from));
    let floor = limit(settings.machine_floor.as_ref(), policy.floor);
    let ceiling = limit(settings.machine_ceiling.as_ref(), policy.ceiling);
    let fallback = limit(
        settings.fallback_created_machine_count.as_ref(),
        policy.fallback.created,
    );
    let [least_created, most_created] = bounds(
        fleet.targets.created.as_ref(),
        settings.created_machine_count.as_ref(),
        settings.min_created_machine_count.as_ref(),
        settings.max_created_machine_count.as_ref(),
    );
    let [least_started, most_started] = bounds(
        fleet.targets.started.as_ref(),
        settings.started_machine_count.as_ref(),
        settings.min_started_machine_count.as_ref(),
        settings.max_started_machine_count.as_ref(),
    );
    let the_maximum = "the maximum is the target";
    let the_ceiling = "the ceiling holds";
    let the_floor = "the floor holds";
    for (higher, lower, outcome) in [
        (least_created, most_created, the_maximum),
        (least_started, most_started, the_maximum),
        (least_created, ceiling, the_ceiling),
        (floor, most_created, the_floor),
        (fallback, ceiling, the_ceiling),
        (floor, fallback, "the fallback has no effect"),
        (
            least_started,
            most_created,
            "no more machines than that will exist",
        ),
    ] {
        if let (Some(higher), Some(lower)) = (higher, lower)
            && higher.machines > lower.machines
        {
            problems.warnings.push(format!(
                "{} ({}) is above {} ({}): {outcome}",
                higher.label, higher.machines, lower.label, lower.machines
            ));
        }
    }
    for (value, step, never) in [
        (
            &settings.scale_up_step,
            policy.step.up,
            "created or started",
        ),
        (
            &settings.scale_down_step,
            policy.step.down,
            "destroyed or stopped",
        ),
    ] {
        if let (Some(value), Some(Step::Count(0) | Step::Percent(0))) = (value, step) {
            problems.warnings.push(format!(
                "{} is {}: no machine is ever {never}",
                value.label(),
                value.text()
            ));
        }
    }
}

/// The least and the most machines that a band's expressions ask for, where they are numbers.
fn bounds<'settings>(
    band: Option<&ExpressionBand>,
    exact: Option<&'settings Value>,
    least: Option<&'settings Value>,
    most: Option<&'settings Value>,
) -> [Option<Given<'settings>>; 2] {
    match band {
        None => [None, None],
        Some(ExpressionBand::Exact(expression)) => [Given::new(exact, expression.as_number()); 2],
        Some(ExpressionBand::Band { min, max }) => [
            Given::new(least, min.as_number()),
            Given::new(most, max.as_number()),
        ],
    }
}

/// Warns of metrics that stand in for a count of machines: expressions written for the count read another number.
pub(super) fn warn_of_metrics_for_counts(problems: &mut Problems, collectors: &[CheckedCollector]) {
    let metrics = collectors
        .iter()
        .filter_map(|collector| collector.metric.as_deref());
    for metric in metrics.filter(|metric| Names::COUNTS.contains(metric)) {
        problems.warnings.push(format!(
            "the metric {metric} has the name of a built-in count: expressions read the metric in its place"
        ));
    }
}

/// Warns of metrics that no expression reads: a typing error in an expression may have left them out, and they are asked
/// for in each pass.
pub(super) fn warn_of_unused_metrics(
    problems: &mut Problems,
    targets: &TargetExpressions,
    collectors: &[CheckedCollector],
) {
    // One that cannot be compiled would seem to read nothing.
    if !problems.errors.is_empty() {
        return;
    }
    let metrics = collectors
        .iter()
        .filter_map(|collector| collector.metric.as_deref());
    for metric in metrics.filter(|metric| !targets.read(metric)) {
        problems.warnings.push(format!(
            "no expression uses the metric {metric}: it is only shown in /metrics"
        ));
    }
}

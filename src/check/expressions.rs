//! The step `expression`: what each comes to now, and what about it may not be what its author means.
//!
//! That something never happens is read from the syntax tree, and holds for all values; that something can happen is shown
//! by values with which it does.

use crate::{
    expr::{EvalError, Expression, Names, Values},
    scaling::{Counts, ExpressionBand, InitialState, Kind, Now, to_count},
};

use super::{Reading, Seen, Status, Step, StepKind, hints};

/// Values that metrics are tried with, small ones first.
const TRIED: [f64; 10] = [0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0, 1000.0, 10_000.0, 1e6];

/// How often in a row an expression must ask for more because of what it has asked for before: fewer may be steps of its own.
const CLIMBS: u32 = 3;

/// After so many steps upwards an expression is said to have no end.
const ENDLESS: u32 = 1000;

/// How many metrics are tried in all combinations; more of them are given the same value.
const TRIED_APART: u32 = 3;

/// The value of one expression, as far as it has one, and the count that it becomes, of which there is a least: `4`,
/// `3.2 -> 3`.
#[must_use]
pub fn worked_out(least: u32, expression: &Expression, values: &Values, now: Now) -> String {
    match expression.evaluate(values, now.wall) {
        Err(error) => format!("failed: {error}"),
        Ok(value) => match to_count(least, value) {
            Ok(count) => format!("= {value} -> {count}"),
            Err(_) => format!("= {value}, which is too large to be a count"),
        },
    }
}

/// The values, with counts of one machine where the machines are not known: what else an expression lacks shows then.
pub(super) fn with_counts(seen: &Seen<'_>) -> Values {
    if seen.fleet.is_ok() {
        return seen.values.clone();
    }
    let one = Counts {
        created: 1,
        started: 1,
        stopped: 1,
    };
    one.beside(&seen.values, |name| is_metric(seen, name))
}

/// The values, with 1 for each metric that has none; `lacking` is left without one.
pub(super) fn with_metrics(seen: &Seen<'_>, mut values: Values, lacking: Option<&str>) -> Values {
    for Reading { metric, .. } in &seen.metrics {
        if values.get(metric).is_none() && Some(&**metric) != lacking {
            values.set(metric, Some(1.0));
        }
    }
    values
}

/// Whether every machine that is created runs as well.
fn starts_what_it_creates(seen: &Seen<'_>) -> bool {
    seen.settings.policy.initial_state == InitialState::Started
        && seen.settings.targets.started.is_none()
}

fn is_metric(seen: &Seen<'_>, name: &str) -> bool {
    seen.metrics.iter().any(|reading| reading.metric == name)
}

/// What each expression came to.
pub(super) fn steps(seen: &Seen<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    for kind in Kind::ALL {
        let Some(band) = seen.settings.targets.of_kind(kind) else {
            continue;
        };
        for (bound, expression) in band.expressions() {
            let name = if bound.is_empty() {
                kind.to_string()
            } else {
                format!("{kind} {bound}")
            };
            let mut found = vec![value(seen, kind, expression)];
            found.extend(warnings(seen, kind, expression));
            steps.extend(found.into_iter().map(|step| step.named(name.clone())));
        }
        let of_band = above_maximum(seen, kind, band)
            .into_iter()
            .chain(idle_limits(seen, kind, band));
        steps.extend(of_band.map(|step| step.named(kind.to_string())));
    }
    steps
}

fn value(seen: &Seen<'_>, kind: Kind, expression: &Expression) -> Step {
    let source = expression.source();
    let lacks_counts = seen.fleet.is_err()
        && Names::COUNTS
            .iter()
            .any(|count| expression.reads(count) && !is_metric(seen, count));
    if lacks_counts {
        let why = format!("{source} needs the machine counts");
        return Step::skipped(StepKind::Expression, why).with("source", source);
    }
    let step = match expression.evaluate(&seen.values, seen.now.wall) {
        Err(EvalError::Missing(metric)) => Step::skipped(
            StepKind::Expression,
            format!("{source} needs {metric}, which has no value"),
        ),
        Err(error) => Step::failed(StepKind::Expression, format!("{source}: {error}"))
            .hint(hints::evaluation(&error)),
        Ok(value) => {
            let least = seen.settings.targets.least(kind);
            let text = worked_out(least, expression, &seen.values, seen.now);
            match to_count(least, value) {
                Ok(count) => Step::ok(StepKind::Expression, format!("{source} {text}"))
                    .with("value", value)
                    .with("count", count),
                Err(error) => Step::failed(StepKind::Expression, format!("{source} {text}"))
                    .hint(hints::evaluation(&error)),
            }
        }
    };
    let step = step.with("source", source);
    if step.status == Status::Failed && seen.is_excused() {
        return Step {
            status: Status::Skipped,
            ..step
        };
    }
    step
}

fn warnings(seen: &Seen<'_>, kind: Kind, expression: &Expression) -> Vec<Step> {
    let mut steps = Vec::new();
    let outlook = expression.outlook(|name| is_metric(seen, name));
    if outlook.divides {
        steps.push(
            Step::warning(
                StepKind::Expression,
                "the result of a division is rounded to the nearest whole number: 2.4 is 2 machines",
            )
            .hint(hints::ceil()),
        );
    }
    let counts_itself = seen
        .metrics
        .iter()
        .filter(|reading| expression.reads(&reading.metric) && counts_running(reading, seen.app));
    let sets_them = kind == Kind::Started || starts_what_it_creates(seen);
    for reading in counts_itself.filter(|_| sets_them) {
        let sentence = format!(
            "{} counts the very machines that this expression sets: each one that it adds raises it again",
            reading.metric
        );
        steps.push(Step::warning(StepKind::Expression, sentence).hint(hints::counts_itself(kind)));
    }
    steps.extend(climb(seen, kind, expression));
    steps
}

/// Where the built-in counts alone take an expression, while nothing else changes: from one machine upwards, each pass by what
/// the pass before has added.
fn climb(seen: &Seen<'_>, kind: Kind, expression: &Expression) -> Option<Step> {
    let metrics = with_metrics(seen, seen.values.clone(), None);
    let starts = starts_what_it_creates(seen);
    // Where there are `own` of what the expression sets; a started target finds more to start however many run.
    let counts = |own: u32| match kind {
        Kind::Created if starts => Counts {
            created: own,
            started: own,
            stopped: 0,
        },
        Kind::Created => Counts {
            created: own,
            started: 1,
            stopped: own - 1,
        },
        Kind::Started => Counts {
            created: u32::MAX,
            started: own,
            stopped: u32::MAX - own,
        },
    };
    let (mut own, mut steps) = (1, 0);
    while steps < ENDLESS {
        let values = counts(own).beside(&metrics, |name| is_metric(seen, name));
        let value = expression.evaluate(&values, seen.now.wall).ok()?;
        match to_count(seen.settings.targets.least(kind), value) {
            Ok(wanted) if wanted > own => own = wanted,
            // More than any count: where it has climbed so far, it has doubled all the way.
            Err(_) if steps >= CLIMBS => {
                steps = ENDLESS;
                break;
            }
            _ => break,
        }
        steps += 1;
    }
    if steps < CLIMBS {
        return None;
    }
    let where_to = if steps == ENDLESS {
        "without end".to_owned()
    } else {
        format!("to {own}")
    };
    let sentence = format!(
        "it climbs {where_to} by itself, whatever the load: each machine that it adds makes it ask for another one"
    );
    Some(Step::warning(StepKind::Expression, sentence).hint(hints::climbs(kind)))
}

/// Whether a metric is the number of the app's running machines: over `fly_instance_up`, and not of another app only.
fn counts_running(reading: &Reading, app: &str) -> bool {
    let Some((_, after)) = reading.query.split_once("fly_instance_up") else {
        return false;
    };
    let selector = match after.trim_start().strip_prefix('{') {
        Some(rest) => rest.split('}').next().unwrap_or_default(),
        None => "",
    };
    let names_an_app = selector
        .split(',')
        .any(|matcher| matcher.trim_start().starts_with("app"));
    !names_an_app || selector.contains(app)
}

/// Values with which a minimum passes its maximum.
fn above_maximum(seen: &Seen<'_>, kind: Kind, band: &ExpressionBand) -> Option<Step> {
    let ExpressionBand::Band { min, max } = band else {
        return None;
    };
    let mut names: Vec<&str> = min.names().chain(max.names()).collect();
    names.sort_unstable();
    names.dedup();
    let witness = assignments(seen, &names).find_map(|values| {
        let count = |expression: &Expression| {
            let value = expression.evaluate(&values, seen.now.wall).ok()?;
            to_count(seen.settings.targets.least(kind), value).ok()
        };
        let (low, high) = (count(min)?, count(max)?);
        (low > high).then_some((values, low, high))
    });
    let (values, low, high) = witness?;
    let with: Vec<String> = names
        .into_iter()
        .filter_map(|name| Some(format!("{name} = {}", values.get(name)?)))
        .collect();
    let with = if with.is_empty() {
        String::new()
    } else {
        format!("with {} ", with.join(" and "))
    };
    let sentence = format!(
        "the minimum can pass the maximum: {with}it is {low} and the maximum {high}, which is then the target"
    );
    Some(Step::warning(StepKind::Expression, sentence).hint(hints::capped(kind)))
}

/// Values for metrics and counts, which are no value of today.
fn assignments(seen: &Seen<'_>, names: &[&str]) -> impl Iterator<Item = Values> {
    let count = u32::try_from(names.len()).unwrap_or(u32::MAX);
    let apart = count <= TRIED_APART;
    let digits = if apart { count } else { 1 };
    let blank = Values::new(&seen.settings.names);
    (0..TRIED.len().pow(digits)).filter_map(move |number| {
        let mut values = blank.clone();
        let mut rest = number;
        for name in names {
            let tried = TRIED[rest % TRIED.len()];
            if apart {
                rest /= TRIED.len();
            }
            values.set(name, Some(tried));
        }
        let of = |name| values.get(name).unwrap_or_default();
        let [created, started, stopped] = Names::COUNTS;
        let is_a_fleet = values.get(created).is_none() || of(started) + of(stopped) <= of(created);
        is_a_fleet.then_some(values)
    })
}

/// A floor or a ceiling that the expression never reaches.
fn idle_limits(seen: &Seen<'_>, kind: Kind, band: &ExpressionBand) -> Vec<Step> {
    let policy = &seen.settings.policy;
    if kind != Kind::Created {
        return Vec::new();
    }
    let outlooks: Vec<_> = band
        .expressions()
        .map(|(_, expression)| expression.outlook(|name| is_metric(seen, name)))
        .collect();
    // Of a created target at least one machine is made.
    let least = outlooks.iter().map(|one| one.least.round().max(1.0));
    let least = least.fold(f64::INFINITY, f64::min);
    let most = outlooks.iter().map(|one| one.most.round().max(1.0));
    let most = most.fold(f64::NEG_INFINITY, f64::max);
    let may_lack = outlooks.iter().any(|one| one.may_lack);
    let mut steps = Vec::new();
    if let Some(floor) = policy.floor.filter(|floor| f64::from(*floor) <= least) {
        let never = format!("the target is never below {least}");
        steps.push(if may_lack {
            let sentence = format!(
                "FAS_MACHINE_FLOOR={floor} acts only while a metric has no value: {never} otherwise"
            );
            Step::ok(StepKind::Expression, sentence)
        } else {
            let sentence = format!("FAS_MACHINE_FLOOR={floor} never acts: {never}");
            Step::warning(StepKind::Expression, sentence).hint(hints::idle_floor())
        });
    }
    if let Some(ceiling) = policy.ceiling.filter(|ceiling| f64::from(*ceiling) >= most) {
        let sentence = format!(
            "FAS_MACHINE_CEILING={ceiling} never lowers the target, which is never above {most}"
        );
        steps.push(Step::warning(StepKind::Expression, sentence).hint(hints::idle_ceiling()));
    }
    steps
}

//! The steps `machines` and `source`: what is seen of the app, and what would be cloned.

use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
    time::Duration,
};

use serde_json::Value;

use crate::{
    error_chain::chain,
    machines::ApiError,
    scaling::{
        CloneTemplate, EVERY_GROUP, Machine, Member, Policy, ReleaseView, clone_source,
        regions_left_out, strays_of, stuck_after, which_regions_are_fleets,
    },
    shown::excerpt,
};

use super::{Fleet, Seen, Step, StepKind, hints, seen::NAME_LIMIT};

/// What was listed, and what somebody should know of it.
pub(super) fn listed(seen: &Seen<'_>, fleet: &Fleet) -> Vec<Step> {
    let policy = &seen.settings.policy;
    let counts = fleet.counts();
    let states: BTreeMap<String, u32> = fleet
        .observed
        .by_state
        .iter()
        .map(|(state, count)| (state.as_str().to_owned(), *count))
        .collect();
    let mut regions: BTreeMap<String, u32> = BTreeMap::new();
    for member in &fleet.observed.members {
        let region = excerpt(&member.machine.region, NAME_LIMIT);
        *regions.entry(region).or_default() += 1;
    }
    let detail = |step: Step| {
        step.with("created", counts.created)
            .with("started", counts.started)
            .with("stopped", counts.stopped)
            .with("by_state", object(&states))
            .with("by_region", object(&regions))
            .with("by_group", object(&fleet.crowd.by_group))
    };
    let group = group_text(policy);
    if states.is_empty() {
        return vec![detail(nothing(seen, fleet, &group))];
    }
    let of_states = list(&states, |state, count| format!("{count} {state}"));
    let of_regions = list(&regions, |region, count| match region {
        "" => format!("{count} without a region"),
        region => format!("{region} {count}"),
    });
    let mut sentence = format!("{}{group}: {of_states}", machines(states.values().sum()));
    if !of_regions.is_empty() {
        sentence = format!("{sentence}; {of_regions}");
    }
    let others: BTreeMap<String, u32> = fleet
        .crowd
        .by_group
        .iter()
        .filter(|(group, _)| !policy.scales_group(group))
        .map(|(group, count)| (group.clone(), *count))
        .collect();
    if !others.is_empty() {
        sentence = format!("{sentence}; left alone: {}", groups(&others));
    }
    if fleet.crowd.aside > 0 {
        sentence = format!(
            "{sentence}; not counted: {} standby or scheduled",
            fleet.crowd.aside
        );
    }
    let mut steps = vec![detail(Step::ok(StepKind::Machines, sentence))];
    let look = || hints::look_at_machines(seen.app);
    let crowd = &fleet.crowd;
    let noteworthy = [
        (crowd.cordoned, "cordoned: Fly Proxy sends nothing to it"),
        (crowd.critical, "with a critical health check"),
        (fleet.observed.failed, "failed: a copy is to take its place"),
    ];
    for (count, what) in noteworthy.into_iter().filter(|(count, _)| *count > 0) {
        steps.push(
            Step::warning(StepKind::Machines, format!("{} {what}", machines(count))).hint(look()),
        );
    }
    steps.extend(stuck(seen, fleet));
    steps
}

/// Machines that a daemon which watches them for as long would call stuck, by the time that Fly says they changed at.
fn stuck(seen: &Seen<'_>, fleet: &Fleet) -> Option<Step> {
    let mut stuck = fleet.observed.members.iter().filter(|member| {
        let changed = member.machine.updated_at;
        let age = changed.and_then(|at| Duration::try_from(seen.now.wall.duration_since(at)).ok());
        stuck_after(&member.machine)
            .zip(age)
            .is_some_and(|(limit, age)| age >= limit)
    });
    let first = &stuck.next()?.machine;
    let more = match stuck.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let sentence = format!(
        "stuck in a transitional state, and not counted as started before long: {} ({}){more}",
        first.id, first.state
    );
    let hint = hints::look_at(seen.app, slice::from_ref(&first.id));
    Some(Step::warning(StepKind::Machines, sentence).hint(hint))
}

/// No machine of the group.
fn nothing(seen: &Seen<'_>, fleet: &Fleet, group: &str) -> Step {
    let others = &fleet.crowd.by_group;
    if fleet.crowd.total == 0 {
        let sentence = "the app has no machines: nothing to clone until it is deployed";
        let step = if seen.may_be_empty {
            Step::skipped(StepKind::Machines, sentence)
        } else {
            Step::failed(StepKind::Machines, sentence)
        };
        return step.hint(hints::deploy_first(seen.app));
    }
    let policy = &seen.settings.policy;
    let regions = &fleet.crowd.regions;
    if seen.settings.is_found && !regions.is_empty() {
        let names: Vec<&str> = regions.iter().map(String::as_str).collect();
        let sentence = format!(
            "no machine{group}, and FAS_REGIONS does not name the region: the daemon has no fleet there, only in {}",
            names.join(", ")
        );
        return Step::failed(StepKind::Machines, sentence).hint(hints::other_region(names[0]));
    }
    if policy.region.is_some() && others.keys().any(|other| policy.scales_group(other)) {
        let sentence = format!("no machine{group}: the first one is a copy from another region");
        return Step::ok(StepKind::Machines, sentence);
    }
    if fleet.crowd.aside > 0 {
        return Step::failed(
            StepKind::Machines,
            format!(
                "no machine{group} is scaled: all {} are standby or scheduled ones",
                fleet.crowd.aside
            ),
        )
        .hint(hints::no_standby(seen.app));
    }
    let unreachable = fleet.crowd.unreachable;
    if unreachable > 0 {
        let sentence = format!(
            "no machine{group} that answers: {unreachable} of the app's {} are on unreachable hosts, and may be of it",
            fleet.crowd.total
        );
        return Step::failed(StepKind::Machines, sentence).hint(hints::unreachable(seen.app));
    }
    Step::failed(
        StepKind::Machines,
        format!("no machine{group}; the app has {}", groups(others)),
    )
    .hint(hints::other_group(others.keys().map(String::as_str)))
}

/// The machines of a group of which each region is a fleet, where they are in none: in regions that none of the app's
/// `policies`, of which this is the one at `place`, names or can have.
#[must_use]
pub fn left_out(
    (name, app): (&str, &str),
    machines: &[Machine],
    (policies, place): (&[&Policy], usize),
) -> Option<Step> {
    let policy = policies.get(place)?;
    let regions = regions_left_out(machines, policies, place);
    let mut by_region: BTreeMap<String, u32> = BTreeMap::new();
    for machine in strays_of(machines, policy, &BTreeSet::new()) {
        if regions.iter().any(|region| *region == machine.region) {
            let region = excerpt(&machine.region, NAME_LIMIT);
            *by_region.entry(region).or_default() += 1;
        }
    }
    if by_region.is_empty() {
        return None;
    }
    let count: u32 = by_region.values().sum();
    let is = if count == 1 { "is" } else { "are" };
    let group = group_text(policy);
    let where_they_are = list(&by_region, |region, count| format!("{region} {count}"));
    let are_named = !policy.regions.is_empty();
    let why = if are_named {
        "FAS_REGIONS does not name the region".to_owned()
    } else {
        which_regions_are_fleets()
    };
    let sentence = format!(
        "{}{group} {is} left alone ({where_they_are}): {why}",
        self::machines(count)
    );
    Some(
        Step::warning(StepKind::Machines, sentence)
            .named(name)
            .hint(hints::left_out(app))
            .with("left_alone", object(&by_region)),
    )
}

/// Why the list is missing.
pub(super) fn not_listed(seen: &Seen<'_>, error: &ApiError) -> Step {
    Step::failed(StepKind::Machines, chain(error))
        .hint(hints::no_answer(error, &seen.config.api.machines_url))
        .with("fly_request_id", error.request_id.clone())
}

/// The machine that a create would copy, as far as the release is known.
pub(super) fn source<'fleet>(seen: &Seen<'_>, fleet: &'fleet Fleet) -> Option<&'fleet Member> {
    let view = match &*seen.release {
        Ok(release) => ReleaseView::Known(release.as_ref()),
        Err(_) => ReleaseView::NoAnswer,
    };
    clone_source(&fleet.observed, &seen.settings.policy, view)
}

/// What would be cloned, and what a clone would not carry.
pub(super) fn cloned(seen: &Seen<'_>, fleet: &Fleet) -> Vec<Step> {
    let policy = &seen.settings.policy;
    if seen.settings.targets.created.is_none() {
        let why = "no created target: machines are started and stopped, never created";
        return vec![Step::skipped(StepKind::Source, why)];
    }
    let Some(source) = source(seen, fleet) else {
        return vec![no_source(seen, fleet)];
    };
    let machine = &source.machine;
    let template = machine.config.as_ref().map(CloneTemplate::new);
    let Some(Ok(template)) = template else {
        return vec![no_source(seen, fleet)];
    };
    let left_out = template.left_out().iter();
    let dropped: Vec<String> = left_out.map(|name| excerpt(name, NAME_LIMIT)).collect();
    let mut sentence = format!("{} would be cloned ({}", machine.id, machine.state);
    if !machine.region.is_empty() {
        sentence = format!("{sentence}, {}", excerpt(&machine.region, NAME_LIMIT));
    }
    if let Some(release) = machine.release {
        sentence = format!("{sentence}, release v{release}");
    }
    sentence.push(')');
    if !dropped.is_empty() {
        sentence = format!("{sentence}, without {}", dropped.join(", "));
    }
    let mut steps = vec![
        Step::ok(StepKind::Source, sentence)
            .with("machine", machine.id.clone())
            .with("region", excerpt(&machine.region, NAME_LIMIT))
            .with("release", machine.release)
            .with("has_mounts", machine.has_mounts)
            .with("without", dropped),
    ];
    if machine.has_mounts {
        steps.push(Step::warning(
            StepKind::Source,
            "its volumes are not copied: each clone gets a volume of its own, a free one of that name or a new, empty one",
        ));
    }
    let with_mounts = mounted(fleet);
    if !machine.has_mounts && with_mounts > 0 && !policy.clone_volumes {
        let sentence = format!(
            "{} with volumes cannot be cloned, and stay when they are too many",
            machines(with_mounts)
        );
        steps.push(Step::warning(StepKind::Source, sentence).hint(hints::clone_volumes()));
    }
    steps
}

fn no_source(seen: &Seen<'_>, fleet: &Fleet) -> Step {
    if fleet.observed.members.is_empty() {
        return Step::skipped(StepKind::Source, "there is no machine");
    }
    let flaw = |member: &Member| Some((member.machine.id.clone(), member.flaw()?.to_owned()));
    if let Some((id, flaw)) = fleet.observed.members.iter().find_map(flaw) {
        let sentence = format!("{id} cannot be cloned: {flaw}");
        return Step::failed(StepKind::Source, sentence).hint(hints::deploy_first(seen.app));
    }
    let with_mounts = mounted(fleet);
    if with_mounts > 0 && !seen.settings.policy.clone_volumes {
        let sentence = format!("{} with volumes cannot be cloned", machines(with_mounts));
        return Step::failed(StepKind::Source, sentence).hint(hints::clone_volumes());
    }
    Step::failed(
        StepKind::Source,
        "no machine available to clone for scale up: they have failed, or are on hosts that do not answer",
    )
    .hint(hints::look_at_machines(seen.app))
}

fn mounted(fleet: &Fleet) -> u32 {
    let members = fleet.observed.members.iter();
    let mounted = members.filter(|member| member.is_listed() && member.machine.has_mounts);
    u32::try_from(mounted.count()).unwrap_or(u32::MAX)
}

/// ` of the group app`, ` of the group app in iad`; nothing where all machines are meant.
fn group_text(policy: &Policy) -> String {
    let group = match policy.process_group.as_str() {
        EVERY_GROUP => String::new(),
        group => format!(" of the group {group}"),
    };
    match &policy.region {
        Some(region) => format!("{group} in {region}"),
        None => group,
    }
}

pub(super) fn machines(count: u32) -> String {
    match count {
        1 => "1 machine".to_owned(),
        count => format!("{count} machines"),
    }
}

/// How many of a list are named before the rest is counted.
const NAMED: usize = 8;

fn list(counts: &BTreeMap<String, u32>, text: impl Fn(&str, u32) -> String) -> String {
    let mut each: Vec<String> = counts
        .iter()
        .take(NAMED)
        .map(|(name, count)| text(name, *count))
        .collect();
    if counts.len() > NAMED {
        each.push(format!("and {} more", counts.len() - NAMED));
    }
    each.join(", ")
}

/// `2 of worker, 1 of no group`.
fn groups(counts: &BTreeMap<String, u32>) -> String {
    list(counts, |group, count| match group {
        "" => format!("{count} of no group"),
        group => format!("{count} of {group}"),
    })
}

fn object(counts: &BTreeMap<String, u32>) -> Value {
    let members = counts
        .iter()
        .map(|(name, count)| (name.clone(), Value::from(*count)));
    Value::Object(members.collect())
}

//! One fleet from top to bottom: what it is like, what is wrong, how it went, why, the machines, what was done.

use std::{borrow::Cow, collections::BTreeMap};

use maud::{Markup, html};

use super::{
    Daemon, advice, ago,
    headline::{Condition, brief, capital, headline, told_target},
    length, name, number, page, prose, time, with_code,
};
use crate::{
    chart::{Band, Chart, Line, Mark},
    inventory::{Inventory, MachineView},
    scaling::{Decision, Kind, Note, Reason},
    status::{Fleet, LastPass, PastDecision, PastError, Recent, Selection, Span, Status},
};

/// How many points the closer chart shows, with a point a minute an hour.
const CLOSE: usize = 60;

/// The most machines of one region that are shown one by one.
const OF_REGION: usize = 500;

/// The pages of the fleets that `selection` means in one; `None` where there is none of that name.
#[must_use]
pub fn fleets_of_app(status: &Status, selection: &Selection, daemon: &Daemon) -> Option<String> {
    let mut parts = Vec::new();
    status.each_of(&selection.app, |fleet| {
        if selection.matches(fleet) {
            let ids = Ids(parts.len() + 1);
            parts.push(one(fleet, ids, status, daemon));
        }
    });
    if parts.is_empty() {
        return None;
    }
    let content = html! { @for part in parts { (part) } };
    let title = format!("{} – fly-autoscaler", selection.app);
    Some(page(&title, daemon, &content).into_string())
}

/// The ids of what a fleet has on a page, of which it is the first, second, …: each is there once.
#[derive(Clone, Copy)]
struct Ids(usize);

impl Ids {
    fn of(self, what: &str) -> String {
        match self.0 {
            1 => what.to_owned(),
            place => format!("{what}-{place}"),
        }
    }
}

fn one(fleet: &Fleet, ids: Ids, status: &Status, daemon: &Daemon) -> Markup {
    let (word, class) = Condition::of(fleet).word();
    html! {
        h1 { (fleet.name.to_string()) " " span.(class).small { (word) } }
        p.headline { (with_code(&headline(fleet, daemon.now))) }
        p.soft.small {
            @if let Some(pass) = &fleet.last_pass {
                "Last pass " (ago(pass.at, daemon.now)) ", took " (pass.took.as_millis()) " ms; "
            }
            @if let (Some(at), Some(_)) = (fleet.next_pass_at, &fleet.last_pass) {
                @if at > daemon.now { "next pass " (ago(at, daemon.now)) } @else { "the next pass is under way" }
            }
            @if fleet.last_pass.is_some() { "; " }
            @if fleet.name.group.as_ref() == "*" { "all process groups" }
            @else { "process group " (name(&fleet.name.group)) }
            @if let Some(policy) = &fleet.name.policy { "; policy " (name(policy)) }
        }
        (problems(fleet, daemon))
        @if let Some(span) = fleet.history.span(status.resolution()) { (charts(fleet, ids, &span)) }
        @if let Some(pass) = &fleet.last_pass { (chain(fleet, pass)) }
        @if let Some(inventory) = &fleet.inventory { (machines(inventory)) }
        (decisions(fleet, ids, daemon))
        (errors(fleet, ids, daemon))
    }
}

/// What is wrong, if anything, and what to do.
fn problems(fleet: &Fleet, daemon: &Daemon) -> Markup {
    let mut found: Vec<(bool, String, Option<Cow<'static, str>>)> = Vec::new();
    // Where this fleet's own pass failed, that is said below.
    if let Err(why) = &daemon.copy.readiness
        && fleet
            .last_pass
            .as_ref()
            .is_some_and(|pass| pass.decision.ok)
    {
        found.push((true, format!("Not ready: {why}"), None));
    }
    if let Some(pass) = &fleet.last_pass {
        if !pass.decision.ok {
            let last = fleet.errors.last();
            let text = last.map_or("the last pass failed", |error| &error.what.text);
            let passes = fleet.standing.failing_passes;
            let well = match fleet.standing.last_success {
                Some(at) => format!("the last good one {}", ago(at, daemon.now)),
                None => "none has succeeded yet".to_owned(),
            };
            let text = format!(
                "{} failed in a row, {well}: {text}",
                super::many(passes, "pass", "passes")
            );
            found.push((true, text, last.map(|error| advice::for_error(&error.what))));
        }
        for note in pass.decision.notes.iter().filter(|note| note.is_trouble()) {
            let since = pass.since(note).filter(|since| *since < pass.at);
            let since = since.map(|since| {
                let past = daemon.now.duration_since(since).as_secs();
                format!(" (for {} so far)", length(past.unsigned_abs()))
            });
            let text = capital(&note.to_string()) + &since.unwrap_or_default();
            found.push((
                false,
                text,
                advice::for_note(note.code()).map(Cow::Borrowed),
            ));
        }
    }
    html! {
        @if !found.is_empty() {
            ul.problems aria-label="Problems" {
                @for (bad, text, what_to_do) in &found {
                    li.bad[*bad] {
                        (prose(text))
                        @if let Some(what_to_do) = what_to_do { span.do { (with_code(what_to_do)) } }
                    }
                }
            }
        }
    }
}

/// The numbers of the last day and of the last hour.
fn charts(fleet: &Fleet, ids: Ids, span: &Span) -> Markup {
    let close = span.created.len().saturating_sub(CLOSE);
    let names: Vec<&str> = fleet
        .last_pass
        .iter()
        .flat_map(|pass| &pass.metrics)
        .map(|reading| &*reading.name)
        .collect();
    html! {
        h2 { "Over time" }
        (chart(fleet, span, close, &names))
        @if close > 0 {
            details id=(ids.of("day")) {
                summary { "All that is kept, at most a day" }
                (chart(fleet, span, 0, &names))
            }
        }
    }
}

fn chart(fleet: &Fleet, span: &Span, first: usize, names: &[&str]) -> Markup {
    let (created, started) = (
        shown_of(&span.created, first),
        shown_of(&span.started, first),
    );
    let (low, high) = (
        shown_of(&span.target_min, first),
        shown_of(&span.target_max, first),
    );
    let step_s = span.step.as_secs_f64();
    let skipped = span
        .step
        .saturating_mul(u32::try_from(first).unwrap_or(u32::MAX));
    let from = span.from.checked_add(skipped).unwrap_or(span.from);
    let marks = fleet.decisions.newest_first().filter_map(|decision| {
        if !decision.what.acted {
            return None;
        }
        let past = decision.at.duration_since(from).as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "before the first point was refused, and a float's `as` saturates"
        )]
        let point = (past >= 0.0).then_some((past / step_s) as usize)?;
        let up = match decision.what.decision {
            Decision::Create | Decision::Start => true,
            Decision::Destroy | Decision::Stop => false,
            Decision::NoScale => return None,
        };
        Some(Mark { point, up })
    });
    let line = |name, values| Line {
        name,
        values,
        stepped: true,
    };
    let machines = Chart {
        title: "Machines",
        from,
        step_s,
        lines: vec![
            line("exist", &created),
            line("running", &started),
            line("wanted", &low),
        ],
        // Where both are one expression, the line says it.
        bands: if low == high {
            Vec::new()
        } else {
            vec![Band {
                name: "wanted, from minimum to maximum",
                low: &low,
                high: &high,
            }]
        },
        marks: marks.collect(),
    };
    let metrics = names.iter().zip(&span.metrics);
    let metrics: Vec<_> = metrics
        .map(|(name, values)| (*name, shown_of(values, first)))
        .collect();
    html! {
        (machines.render())
        @for (name, values) in &metrics {
            (Chart {
                title: name,
                from,
                step_s,
                // The title names it.
                lines: vec![line("", values)],
                bands: Vec::new(),
                marks: Vec::new(),
            }.render())
        }
    }
}

/// The values of a column from this point on.
fn shown_of<T: Copy + Into<f64>>(column: &[Option<T>], first: usize) -> Vec<Option<f64>> {
    let values = column.get(first..).unwrap_or_default().iter();
    values.map(|value| value.map(Into::into)).collect()
}

/// From metric to plan, each step with its value.
fn chain(fleet: &Fleet, pass: &LastPass) -> Markup {
    let (limits, others): (Vec<&Note>, Vec<&Note>) =
        pass.decision.notes.iter().partition(|note| is_limit(note));
    let targets = Kind::ALL.map(|kind| (kind, pass.targets.of_kind(kind)));
    let has_no_list = pass.decision.reason == Reason::NoList;
    html! {
        h2 { "Why" }
        ol.chain {
            li {
                h3 { "Metrics" }
                @if pass.metrics.is_empty() { p.soft { "None is collected." } }
                @for reading in &pass.metrics {
                    @match &reading.value {
                        Ok(value) => p { code { (reading.name) } " = " span.value { (number(*value)) } },
                        Err(why) => p { code { (reading.name) } " " span.state-bad { "has no value" } ": " (prose(why)) },
                    }
                }
                @if has_no_list {
                    p.soft.small { "How many machines there are is not known: the list of them is missing." }
                } @else if let Some(inventory) = &fleet.inventory {
                    p.soft.small {
                        "Also known: created " (inventory.counts.created) ", started " (inventory.counts.started)
                        ", stopped " (inventory.counts.stopped)
                    }
                }
            }
            li {
                h3 { "Expressions" }
                @for (kind, target) in targets {
                    @if let Some(band) = fleet.targets.of_kind(kind) {
                        @for (bound, expression) in band.expressions() {
                            p {
                                span.soft { (kind.as_str()) " " (bound) } " "
                                code { (expression.source()) }
                                @if let Some(bounds) = target.bounds() {
                                    " = " span.value { (if bound == "max" { bounds.max } else { bounds.min }) }
                                } @else if has_no_list {
                                    " " span.state-bad { "is not evaluated" } ": the list of machines is missing"
                                } @else { " " span.state-bad { "has no value" } }
                            }
                        }
                    }
                }
            }
            li {
                h3 { "Limits" }
                @for (kind, target) in targets {
                    @if let (Some(band), Some(after)) = (fleet.targets.of_kind(kind), pass.limited.of_kind(kind)) {
                        @if target.bounds() != Some(after) {
                            p { (prose(&told_target(kind, band, target, Some(after)))) }
                        }
                    }
                }
                @if limits.is_empty() { p.soft { "Nothing is limited." } }
                @for note in limits { p { (prose(&note.to_string())) } }
            }
            li {
                h3 { "Plan" }
                p.value { (prose(&brief(&pass.decision.sentence()))) }
                @for note in others { p { (prose(&note.to_string())) } }
            }
        }
    }
}

/// Whether a note says what a limit made of a target.
fn is_limit(note: &Note) -> bool {
    matches!(
        note,
        Note::MinimumCapped { .. }
            | Note::Floor { .. }
            | Note::Ceiling { .. }
            | Note::Fallback { .. }
            | Note::GrowthHeld { .. }
            | Note::ShrinkingHeld { .. }
            | Note::Step { .. }
    )
}

fn machines(inventory: &Inventory) -> Markup {
    let mut regions: BTreeMap<&str, Vec<&MachineView>> = BTreeMap::new();
    for machine in &inventory.machines {
        regions.entry(&machine.region).or_default().push(machine);
    }
    // Where there are too many, not all of a region are in the list.
    let all_of = |region: &str| {
        let mut counts = inventory.by_region.iter();
        let count = counts.find(|(one, _)| one == region);
        count.map_or(0, |(_, count)| {
            usize::try_from(*count).unwrap_or(usize::MAX)
        })
    };
    html! {
        h2 { "Machines" }
        @if regions.is_empty() { p.soft { "There is none: deploy the app, and it is scaled from then on." } }
        @for (region, machines) in &regions {
            h3 {
                @if region.is_empty() { "region not known" } @else { (name(region)) }
                " " span.soft { "(" (all_of(region).max(machines.len())) ")" }
            }
            ul.machines {
                @for machine in machines.iter().take(OF_REGION) { (cell(machine)) }
            }
            @if machines.len() > OF_REGION {
                p.soft { "and " (machines.len() - OF_REGION) " more" }
            }
        }
        @for (region, count) in inventory.by_region.iter().filter(|(region, _)| !regions.contains_key(&**region)) {
            h3 { (name(region)) " " span.soft { "(" (count) ")" } }
        }
        @if inventory.left_out > 0 {
            p.soft { "Of " (inventory.machines.len() + inventory.left_out) " machines " (inventory.left_out) " are not shown one by one." }
        }
    }
}

fn cell(machine: &MachineView) -> Markup {
    let class = match machine.state.as_str() {
        _ if machine.stuck || !machine.reachable => "broken",
        "failed" | "launch_failed" => "broken",
        "started" => "up",
        "stopped" | "suspended" => "rest",
        _ => "moving",
    };
    let tags = [
        (machine.protected, "protected"),
        (machine.cordoned, "cordoned"),
        (machine.stuck, "stuck"),
        (!machine.reachable, "unreachable"),
        (!machine.listed, "not in the list"),
    ];
    html! {
        li class=(class) {
            code { (name(&machine.id)) }
            (machine.state.as_str())
            @for (_, tag) in tags.iter().filter(|(applies, _)| *applies) { " · " span.tag { (tag) } }
        }
    }
}

fn decisions(fleet: &Fleet, ids: Ids, daemon: &Daemon) -> Markup {
    html! {
        h2 { "Last decisions" }
        @if fleet.decisions.last().is_none() { p.soft { "Nothing had to be done so far." } }
        @else { (happened([&ids.of("decisions"), "Last decisions", "What and why"], &fleet.decisions, daemon, told)) }
    }
}

/// A table of what happened and when, the newest first: its id, name and heading, and how one of them is told.
fn happened<T>(
    [id, label, heading]: [&str; 3],
    recent: &Recent<T>,
    daemon: &Daemon,
    tell: fn(&T) -> Markup,
) -> Markup {
    html! {
        div.scroll id=(id) tabindex="0" role="region" aria-label=(label) {
            table {
                thead { tr { th scope="col" { "When" } th scope="col" { (heading) } } }
                tbody {
                    @for one in recent.newest_first() {
                        tr {
                            td {
                                (time(one.at, daemon.now))
                                @if one.times > 1 {
                                    div.soft.small { (one.times) " times since " (time(one.first_at, daemon.now)) }
                                }
                            }
                            td { (tell(&one.what)) }
                        }
                    }
                }
            }
        }
    }
}

fn told(decision: &PastDecision) -> Markup {
    html! {
        @if !decision.ok { span.state-bad { @if decision.acted { "with errors" } @else { "failed" } } ": " }
        (prose(&brief(&decision.sentence())))
        @if !decision.notes.is_empty() {
            ul { @for note in &decision.notes { li { (prose(&note.to_string())) } } }
        }
    }
}

fn errors(fleet: &Fleet, ids: Ids, daemon: &Daemon) -> Markup {
    let tell = |error: &PastError| html! { span.soft { (error.code()) } " " (prose(&error.text)) };
    html! {
        h2 { "Errors" }
        @if fleet.errors.last().is_none() { p.soft { "None so far." } }
        @else { (happened([&ids.of("errors"), "Errors", "What"], &fleet.errors, daemon, tell)) }
    }
}

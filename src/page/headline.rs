//! What a fleet is like in one plain sentence, and what is wrong with it.

use std::fmt::Write as _;

use super::{ago, many, number, sentence};
use crate::{
    labels::PassError,
    scaling::{
        Bounds, Decision, ExpressionBand, Kind, Note, Reason, StateLabel, Target, TargetExpressions,
    },
    status::{Fleet, LastPass},
};

/// How a fleet is, for a mark beside its name and for the order of a list: worse ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    /// The last passes failed.
    Failing,
    /// The last pass has something to look at.
    Troubled,
    /// Nothing is known yet.
    Waiting,
    /// As it should be.
    Well,
}

impl Condition {
    pub(super) fn of(fleet: &Fleet) -> Self {
        match &fleet.last_pass {
            None => Self::Waiting,
            Some(pass) if !pass.decision.ok => Self::Failing,
            Some(pass)
                if pass
                    .decision
                    .notes
                    .iter()
                    .any(crate::scaling::Note::is_trouble) =>
            {
                Self::Troubled
            }
            Some(_) => Self::Well,
        }
    }

    /// In a word or two why somebody should look at it.
    pub(super) fn why(fleet: &Fleet) -> Option<String> {
        let pass = fleet.last_pass.as_ref()?;
        let code = if pass.decision.ok {
            let mut notes = pass.decision.notes.iter();
            notes.find(|note| note.is_trouble())?.code()
        } else {
            fleet.errors.last()?.what.code()
        };
        Some(code.replace('_', " "))
    }

    /// The word and the class of its colour.
    pub(super) fn word(self) -> (&'static str, &'static str) {
        match self {
            Self::Failing => ("✗ failing", "state-bad"),
            Self::Troubled => ("! needs attention", "state-warn"),
            Self::Waiting => ("… waiting", "soft"),
            Self::Well => ("✓ ok", "state-ok"),
        }
    }
}

/// What the headline of a fleet without machines begins with.
const NONE: &str = "No machines";

/// The fleet in plain words: `4 machines, 3 running, 1 in reserve. That is as wanted: min(n + 1, 10) is 4, because n = 3.`
pub(super) fn headline(fleet: &Fleet, now: jiff::Timestamp) -> String {
    let Some(pass) = &fleet.last_pass else {
        return match fleet.next_pass_at {
            Some(at) if at > now => {
                format!("Waiting for the first pass, which begins {}.", ago(at, now))
            }
            _ => "Waiting for the first pass, which is under way.".to_owned(),
        };
    };
    let seen = match &fleet.inventory {
        None => "The machines are not known yet".to_owned(),
        Some(inventory) => {
            let counts = inventory.counts;
            let mut seen = match counts.created {
                0 => NONE.to_owned(),
                created => {
                    let machines = many(created, "machine", "machines");
                    format!("{machines}, {} running", counts.started)
                }
            };
            if counts.stopped > 0 {
                let _ = write!(seen, ", {} in reserve", counts.stopped);
            }
            let is_failed = |label: StateLabel| label.as_str().ends_with("failed");
            let failed = inventory
                .by_state
                .iter()
                .filter(|(label, _)| is_failed(*label));
            let failed: u32 = failed.map(|(_, count)| count).sum();
            if failed > 0 {
                let _ = write!(seen, ", {failed} failed beside them");
            }
            let missing = inventory.machines.iter();
            let missing = missing.filter(|one| !one.listed && one.created).count();
            if missing > 0 {
                let _ = write!(
                    seen,
                    "; {missing} of them missing from Fly's list, and counted until Fly says that they are gone"
                );
            }
            seen
        }
    };
    let verdict = verdict(fleet, pass);
    // That there is none is said once.
    let told = match verdict.strip_prefix("0 machines exist") {
        Some(rest) if seen.starts_with(NONE) => format!("{seen}{rest}"),
        _ => format!("{seen}. {verdict}"),
    };
    sentence(&told)
}

/// What the last pass came to, and why.
fn verdict(fleet: &Fleet, pass: &LastPass) -> String {
    if let Some(planned) = &pass.decision.planned {
        let reason = pass.decision.reason;
        return format!(
            "{}: {reason}{}.",
            capital(&brief(planned)),
            because(fleet, pass)
        );
    }
    match pass.decision.reason {
        Reason::NoList => "Nothing is changed: the machines could not be listed.".to_owned(),
        Reason::NoTarget => {
            let missing: Vec<&str> = pass
                .metrics
                .iter()
                .filter(|reading| reading.value.is_err())
                .map(|reading| &*reading.name)
                .collect();
            if missing.is_empty() {
                return "Nothing is changed: no target has a value.".to_owned();
            }
            let verb = if missing.len() == 1 { "has" } else { "have" };
            format!(
                "Nothing is changed: {} {verb} no value, so it is not known how many are wanted.",
                missing.join(" and ")
            )
        }
        Reason::Inside if pass.decision.decision == Decision::NoScale => {
            format!("That is as wanted{}.", because(fleet, pass))
        }
        reason => {
            let held = pass.decision.notes.iter().find(|note| holds(note));
            let has_source = fleet
                .errors
                .last()
                .is_none_or(|error| error.what.reason != PassError::NoSource);
            let held = match held {
                Some(note) => {
                    let note = note.to_string();
                    let why = note.split_once(", but ").map_or(&*note, |(_, why)| why);
                    format!(", but {why}")
                }
                None if !pass.decision.ok && !has_source => {
                    ", but there is none to make more like it".to_owned()
                }
                None => String::new(),
            };
            format!(
                "{}{held}{}.",
                capital(&reason.to_string()),
                because(fleet, pass)
            )
        }
    }
}

/// Whether a note says why what is wanted is not done.
fn holds(note: &Note) -> bool {
    matches!(
        note,
        Note::DeployInProgress { .. }
            | Note::BlueGreen { .. }
            | Note::ReleaseUnknown { withheld: Some(_) }
            | Note::TooManyUnlisted { .. }
            | Note::CreatePaused { .. }
            | Note::CeilingLeavesNoRoom { .. }
    )
}

/// A sentence with a long list of machines cut short: who reads wants to know how many, and a machine's fate is in the log.
pub(super) fn brief(sentence: &str) -> String {
    const SHOWN: usize = 3;
    let cut = || {
        let (before, list) = sentence.split_once(" (")?;
        let (list, after) = list.split_once(')')?;
        let machines: Vec<&str> = list.split(", ").collect();
        let (shown, rest) = machines.split_at_checked(SHOWN)?;
        // Machines by their ids, or regions, as in "(in iad, ord)".
        let is_id = |text: &&str| {
            let text = text.strip_prefix("in ").unwrap_or(text);
            text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        (rest.len() > 1 && machines.iter().all(is_id)).then(|| {
            format!(
                "{before} ({} and {} more){after}",
                shown.join(", "),
                rest.len()
            )
        })
    };
    cut().unwrap_or_else(|| sentence.to_owned())
}

pub(super) fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + characters.as_str()
    })
}

/// The targets with their values, and the metrics that made them.
fn because(fleet: &Fleet, pass: &LastPass) -> String {
    let told = told_targets(fleet);
    let metrics: Vec<String> = pass
        .metrics
        .iter()
        .filter(|reading| fleet.targets.read(&reading.name))
        .map(|reading| match &reading.value {
            Ok(value) => format!("{} = {}", reading.name, number(*value)),
            Err(_) => format!("{} has no value", reading.name),
        })
        .collect();
    match (told.is_empty(), metrics.is_empty()) {
        (true, _) => String::new(),
        (false, true) => format!(" ({told})"),
        (false, false) => format!(" ({told}, because {})", metrics.join(", ")),
    }
}

/// All targets of a fleet with their values, in one line.
pub(super) fn told_targets(fleet: &Fleet) -> String {
    let pass = fleet.last_pass.as_ref();
    let told = Kind::ALL.into_iter().filter_map(|kind| {
        let band = fleet.targets.of_kind(kind)?;
        let target = pass.map_or(Target::Missing, |pass| pass.targets.of_kind(kind));
        let limited = pass.and_then(|pass| pass.limited.of_kind(kind));
        Some(told_target(kind, band, target, limited))
    });
    told.collect::<Vec<_>>().join("; ")
}

/// What is wanted of every fleet, as it was set: `machines: min(n + 1, 10)`.
pub(super) fn expressions(targets: &TargetExpressions) -> String {
    let told = Kind::ALL.into_iter().filter_map(|kind| {
        let band = targets.of_kind(kind)?;
        Some(format!("{}: {band}", word(kind)))
    });
    told.collect::<Vec<_>>().join("; ")
}

/// What is wanted of a fleet, in figures alone: `12, after limits 10`.
pub(super) fn told_values(fleet: &Fleet) -> String {
    let Some(pass) = &fleet.last_pass else {
        return "?".to_owned();
    };
    if pass.decision.reason == Reason::NoList {
        return "not known: no list".to_owned();
    }
    let kinds = Kind::ALL.into_iter();
    let kinds: Vec<Kind> = kinds
        .filter(|kind| fleet.targets.of_kind(*kind).is_some())
        .collect();
    let told = kinds.iter().map(|kind| {
        let value = told_value(pass.targets.of_kind(*kind), pass.limited.of_kind(*kind));
        if kinds.len() > 1 {
            format!("{} {value}", word(*kind))
        } else {
            value
        }
    });
    told.collect::<Vec<_>>().join("; ")
}

/// One target: `machines: min(n + 1, 10) = 12, after limits 10`.
pub(super) fn told_target(
    kind: Kind,
    band: &ExpressionBand,
    target: Target,
    limited: Option<Bounds>,
) -> String {
    format!("{}: {band} = {}", word(kind), told_value(target, limited))
}

fn told_value(target: Target, limited: Option<Bounds>) -> String {
    let value = match target.bounds() {
        None => "no value".to_owned(),
        Some(bounds) => bounds.to_string(),
    };
    match (target.bounds(), limited) {
        (before, Some(after)) if before != Some(after) => format!("{value}, after limits {after}"),
        _ => value,
    }
}

/// What a kind counts.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Created => "machines",
        Kind::Started => "running",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_machines_is_cut_short() {
        for (sentence, shown) in [
            (
                "destroy 5 machines (a1, b2, c3, d4, e5): 6 machines exist, only 1 wanted",
                "destroy 5 machines (a1, b2, c3 and 2 more): 6 machines exist, only 1 wanted",
            ),
            (
                "create 5 machines like a1 (in iad, ord, iad, ord, iad): 1 machine exists, 6 wanted",
                "create 5 machines like a1 (in iad, ord, iad and 2 more): 1 machine exists, 6 wanted",
            ),
            (
                "stop 4 machines (a1, b2, c3, d4)",
                "stop 4 machines (a1, b2, c3, d4)",
            ),
            (
                "1 machine (of a, b of c, d, e, f): x",
                "1 machine (of a, b of c, d, e, f): x",
            ),
            (
                "create 9 machines like a1: 1 machine exists, 10 wanted",
                "create 9 machines like a1: 1 machine exists, 10 wanted",
            ),
        ] {
            assert_eq!(brief(sentence), shown);
        }
    }
}

//! What a fleet is like in one plain sentence, and what is wrong with it.

use std::fmt::Write as _;

use super::{ago, many, number, sentence};
use crate::{
    scaling::{Bounds, Decision, ExpressionBand, Kind, Reason, StateLabel, Target},
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

    /// The word and the class of its colour.
    pub(super) fn word(self) -> (&'static str, &'static str) {
        match self {
            Self::Failing => ("✗ failing", "state-bad"),
            Self::Troubled => ("! look", "state-warn"),
            Self::Waiting => ("… waiting", "soft"),
            Self::Well => ("✓ ok", "state-ok"),
        }
    }
}

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
            let mut seen = format!(
                "{}, {} running",
                many(counts.created, "machine", "machines"),
                counts.started
            );
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
            seen
        }
    };
    sentence(&format!("{seen}. {}", verdict(fleet, pass)))
}

/// What the last pass came to, and why.
fn verdict(fleet: &Fleet, pass: &LastPass) -> String {
    if let Some(planned) = &pass.decision.planned {
        let reason = pass.decision.reason;
        return format!("{}: {reason}{}.", capital(planned), because(fleet, pass));
    }
    match pass.decision.reason {
        Reason::NoList => "Nothing is changed: the machines could not be listed.".to_owned(),
        Reason::NoTarget => "Nothing is changed: no target has a value.".to_owned(),
        Reason::Inside if pass.decision.decision == Decision::NoScale => {
            format!("That is as wanted{}.", because(fleet, pass))
        }
        reason => format!("{}{}.", capital(&reason.to_string()), because(fleet, pass)),
    }
}

fn capital(text: &str) -> String {
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
        .filter(|reading| fleet.settings.targets.read(&reading.name))
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
        let band = fleet.settings.targets.of_kind(kind)?;
        let target = pass.map_or(Target::Missing, |pass| pass.targets.of_kind(kind));
        let limited = pass.and_then(|pass| pass.limited.of_kind(kind));
        Some(told_target(kind, band, target, limited))
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
    let what = match kind {
        Kind::Created => "machines",
        Kind::Started => "running",
    };
    let value = match target.bounds() {
        None => "no value".to_owned(),
        Some(bounds) => bounds.to_string(),
    };
    let limit = match (target.bounds(), limited) {
        (before, Some(after)) if before != Some(after) => format!(", after limits {after}"),
        _ => String::new(),
    };
    format!("{what}: {band} = {value}{limit}")
}

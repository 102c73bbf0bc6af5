//! Stable codes of reasons and notes, for who reads decisions with a program. Sentences may change, codes do not.

use super::{Kind, Note, Reason};

/// Every code of a reason, with what it says.
pub const REASON_CODES: [(&str, &str); 8] = [
    (
        "within_target",
        "every count is within its target after limits",
    ),
    (
        "too_few_created",
        "fewer machines exist than the target asks for",
    ),
    (
        "too_many_created",
        "more machines exist than the target allows",
    ),
    (
        "too_few_started",
        "fewer machines run than the target asks for",
    ),
    (
        "too_many_started",
        "more machines run than the target allows",
    ),
    (
        "victims_return",
        "machines stopped to be destroyed are needed again",
    ),
    ("no_target", "no target has a value"),
    ("no_list", "the machines could not be listed"),
];

/// Every code of a note, with what it says.
pub const NOTE_CODES: [(&str, &str); 43] = [
    (
        "minimum_capped",
        "a target's minimum came out above its maximum; the maximum is used",
    ),
    ("floor", "`FAS_MACHINE_FLOOR` raised the target"),
    ("ceiling", "`FAS_MACHINE_CEILING` lowered the target"),
    (
        "fallback",
        "`FAS_FALLBACK_*` is used because a target has no value",
    ),
    (
        "scale_up_held",
        "`FAS_SCALE_UP_STABILIZATION` delays growth",
    ),
    (
        "scale_down_held",
        "`FAS_SCALE_DOWN_STABILIZATION` delays shrinking",
    ),
    (
        "step",
        "`FAS_SCALE_UP_STEP` or `FAS_SCALE_DOWN_STEP` limits this pass",
    ),
    (
        "started_above_created",
        "more machines are to run than are to exist",
    ),
    (
        "create_paused",
        "recent creates failed; the next attempt waits",
    ),
    (
        "ceiling_no_room",
        "failed, unreachable or possibly created machines fill the ceiling",
    ),
    (
        "missing_from_list",
        "machines are missing from the list and still counted",
    ),
    (
        "creates_assumed",
        "creates had no clear answer; what they may have made is counted",
    ),
    (
        "too_many_missing",
        "too many machines are missing from the list; nothing grows",
    ),
    ("volumes_not_cloned", "machines with volumes are not cloned"),
    (
        "not_clonable",
        "machines whose configuration cannot be cloned are passed over",
    ),
    (
        "deploy_in_progress",
        "a release is being deployed; nothing is changed",
    ),
    (
        "release_unknown",
        "Fly does not say whether a deploy is running",
    ),
    (
        "blue_green",
        "a blue-green deploy is under way; nothing is destroyed",
    ),
    (
        "running_surplus_waits",
        "running machines are destroyed only after `FAS_DESTROY_RUNNING_AFTER`",
    ),
    (
        "waits_for_stopping",
        "machines already going down are waited for",
    ),
    (
        "surplus_missing_from_list",
        "surplus machines are missing from the list; no other goes instead",
    ),
    (
        "not_destroyable",
        "some surplus machines cannot be destroyed",
    ),
    (
        "region_is_over",
        "the last machine of a region is gone, and `FAS_REGIONS` does not name it",
    ),
    (
        "last_of_group",
        "the last machine of the group stays, though no region wants one",
    ),
    (
        "may_be_gone",
        "machines may be gone already; no other goes instead",
    ),
    (
        "volumes_not_destroyed",
        "surplus machines with volumes are kept",
    ),
    (
        "destroys_failed",
        "machines that could not be destroyed are tried last",
    ),
    (
        "starts_failed",
        "machines that did not keep running are started last",
    ),
    (
        "stops_failed",
        "machines that did not stay down are stopped last",
    ),
    (
        "too_few_to_start",
        "fewer machines can be started than should be",
    ),
    (
        "too_few_to_stop",
        "fewer machines can be stopped than should be",
    ),
    (
        "busy",
        "running machines stay, because they are busier than `FAS_BUSY_LIMIT` or have no sample",
    ),
    (
        "busy_unknown",
        "running machines stay, because nobody says how busy they are",
    ),
    (
        "unreachable",
        "machines on unreachable hosts are left alone",
    ),
    ("stuck", "machines are stuck in a transitional state"),
    ("no_machines", "the app has no machines"),
    ("dry_run", "`FAS_DRY_RUN` is set: nothing was changed"),
    (
        "stands_by",
        "another copy holds the lock, or none does: nothing was changed",
    ),
    (
        "lock_unconfirmed",
        "this copy could not confirm that it holds the lock: nothing more was changed",
    ),
    (
        "stood_still",
        "the process was suspended during the pass; the next one starts at once",
    ),
    (
        "out_of_time",
        "the pass deadline came before everything was done",
    ),
    (
        "outcome_unknown",
        "whether a start or stop took effect is unknown",
    ),
    (
        "skipped",
        "a call for one machine failed and was passed over",
    ),
];

impl Reason {
    /// The stable code; one of [`REASON_CODES`].
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Inside => "within_target",
            Self::Below {
                kind: Kind::Created,
                ..
            } => "too_few_created",
            Self::Below {
                kind: Kind::Started,
                ..
            } => "too_few_started",
            Self::Above {
                kind: Kind::Created,
                ..
            } => "too_many_created",
            Self::Above {
                kind: Kind::Started,
                ..
            } => "too_many_started",
            Self::VictimsReturn { .. } => "victims_return",
            Self::NoTarget => "no_target",
            Self::NoList => "no_list",
        }
    }
}

impl Note {
    /// The stable code; one of [`NOTE_CODES`].
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::MinimumCapped { .. } => "minimum_capped",
            Self::Floor { .. } => "floor",
            Self::Ceiling { .. } => "ceiling",
            Self::Fallback { .. } => "fallback",
            Self::GrowthHeld { .. } => "scale_up_held",
            Self::ShrinkingHeld { .. } => "scale_down_held",
            Self::Step { .. } => "step",
            Self::StartedAboveCreated { .. } => "started_above_created",
            Self::CreatePaused { .. } => "create_paused",
            Self::CeilingLeavesNoRoom { .. } => "ceiling_no_room",
            Self::Unlisted { .. } => "missing_from_list",
            Self::CreatesAssumed { .. } => "creates_assumed",
            Self::TooManyUnlisted { .. } => "too_many_missing",
            Self::MountsNotCloned { .. } => "volumes_not_cloned",
            Self::NotClonable { .. } => "not_clonable",
            Self::DeployInProgress { .. } => "deploy_in_progress",
            Self::ReleaseUnknown { .. } => "release_unknown",
            Self::BlueGreen { .. } => "blue_green",
            Self::RunningSurplusWaits { .. } => "running_surplus_waits",
            Self::WaitsForStopping { .. } => "waits_for_stopping",
            Self::UnseenSurplus { .. } => "surplus_missing_from_list",
            Self::NotDestroyable { .. } => "not_destroyable",
            Self::LastOfGroup => "last_of_group",
            Self::RegionIsOver => "region_is_over",
            Self::MayBeGone { .. } => "may_be_gone",
            Self::MountsNotDestroyed { .. } => "volumes_not_destroyed",
            Self::DestroysFailed { .. } => "destroys_failed",
            Self::StartsFailed { .. } => "starts_failed",
            Self::StopsFailed { .. } => "stops_failed",
            Self::TooFewStopped { .. } => "too_few_to_start",
            Self::TooFewStoppable { .. } => "too_few_to_stop",
            Self::BusyStay { .. } => "busy",
            Self::BusyUnknown { .. } => "busy_unknown",
            Self::Unreachable { .. } => "unreachable",
            Self::Stuck { .. } => "stuck",
            Self::NoMachines => "no_machines",
            Self::DryRun => "dry_run",
            Self::StandsBy => "stands_by",
            Self::LockUnconfirmed => "lock_unconfirmed",
            Self::StoodStill => "stood_still",
            Self::OutOfTime { .. } => "out_of_time",
            Self::OutcomeUnknown { .. } => "outcome_unknown",
            Self::Skipped { .. } => "skipped",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn readme_lists_every_code_with_its_meaning() {
        let readme = include_str!("../../README.md");
        let rows: BTreeSet<String> = readme
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(ToOwned::to_owned)
            .collect();
        let mut codes = BTreeSet::new();
        for (code, meaning) in REASON_CODES.into_iter().chain(NOTE_CODES) {
            assert!(
                rows.contains(&format!("| `{code}` | {meaning} |")),
                "{code}"
            );
            assert!(codes.insert(code), "{code} comes twice");
            let is_snake = |one: char| one.is_ascii_lowercase() || one == '_';
            assert!(code.chars().all(is_snake), "{code}");
        }
    }
}

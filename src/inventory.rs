//! The machines of a fleet as they are shown: what of an observation outlives its pass.

use std::collections::BTreeMap;

use compact_str::CompactString;

use crate::scaling::{Counts, Observed, Presence, StateLabel};

/// The most machines that are kept one by one; counts are of all.
pub const MACHINE_LIMIT: usize = 1000;

/// What one list showed, with what is known beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// How many there are, as expressions see them.
    pub counts: Counts,
    /// The machines in the list by state.
    pub by_state: Vec<(StateLabel, u32)>,
    /// Regions with machines that count as created, and how many, by name.
    pub by_region: Vec<(CompactString, u32)>,
    /// The machines, by id, at most [`MACHINE_LIMIT`].
    pub machines: Box<[MachineView]>,
    /// How many more there are.
    pub left_out: usize,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineView {
    /// Its id.
    pub id: CompactString,
    /// Its region; empty where the API names none.
    pub region: CompactString,
    /// Its state.
    pub state: StateLabel,
    /// The number of the release that it runs, where its metadata say.
    pub release: Option<u32>,
    /// Whether it counts as created.
    pub created: bool,
    /// Whether it counts as started.
    pub started: bool,
    /// Whether `fas_protect` keeps it.
    pub protected: bool,
    /// Whether nothing is routed to it.
    pub cordoned: bool,
    /// Whether it has been in a transitional state for too long.
    pub stuck: bool,
    /// Whether its host answers.
    pub reachable: bool,
    /// Whether the last list showed it.
    pub listed: bool,
}

impl Inventory {
    /// What was observed.
    #[must_use]
    pub fn of(observed: &Observed) -> Self {
        let mut by_region: BTreeMap<&str, u32> = BTreeMap::new();
        for member in observed.members.iter().filter(|one| !one.is_failed()) {
            *by_region.entry(&member.machine.region).or_default() += 1;
        }
        let machines: Box<[MachineView]> = observed
            .members
            .iter()
            .take(MACHINE_LIMIT)
            .map(|member| MachineView {
                id: member.machine.id.as_str().into(),
                region: member.machine.region.as_str().into(),
                state: member.machine.state.label(),
                release: member
                    .machine
                    .release
                    .and_then(|release| u32::try_from(release).ok()),
                created: !member.is_failed(),
                started: member.started,
                protected: member.machine.protected,
                cordoned: member.machine.cordoned,
                stuck: member.stuck,
                reachable: member.presence != Presence::Unreachable,
                listed: matches!(member.presence, Presence::Listed | Presence::Unreachable),
            })
            .collect();
        Self {
            counts: Counts::of(observed),
            by_state: observed
                .by_state
                .iter()
                .map(|(label, count)| (*label, *count))
                .collect(),
            by_region: by_region
                .into_iter()
                .map(|(region, count)| (region.into(), count))
                .collect(),
            left_out: observed.members.len() - machines.len(),
            machines,
        }
    }
}

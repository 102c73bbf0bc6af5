//! The machines of a fleet as they are shown: what of an observation outlives its pass.

use std::collections::BTreeMap;

use compact_str::CompactString;

use crate::scaling::{Counts, Member, Observed, Presence, StateLabel};

/// The most machines that are kept one by one; counts are of all.
pub const MACHINE_LIMIT: usize = 1000;

/// What one list showed, with what is known beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// How many there are, as expressions see them.
    pub counts: Counts,
    /// The machines in the list by state.
    pub by_state: Box<[(StateLabel, u32)]>,
    /// Regions with machines that count as created, and how many, by name.
    pub by_region: Box<[(CompactString, u32)]>,
    /// The machines, by id, at most [`MACHINE_LIMIT`]: those on hosts that do not answer too, when they no longer count.
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
        let mut shown: Vec<(&Member, bool)> = observed
            .members
            .iter()
            .map(|member| (member, !member.is_failed()))
            .chain(observed.uncounted.iter().map(|member| (member, false)))
            .collect();
        shown.sort_by_key(|(member, _)| member.machine.id.as_str());
        let all = shown.len();
        let machines: Box<[MachineView]> = shown
            .into_iter()
            .take(MACHINE_LIMIT)
            .map(|(member, created)| MachineView::of(member, created, observed))
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
            left_out: all - machines.len(),
            machines,
        }
    }
}

impl MachineView {
    fn of(member: &Member, created: bool, observed: &Observed) -> Self {
        let machine = &member.machine;
        let is_one_of = |ids: &[String]| ids.binary_search(&machine.id).is_ok();
        let is_shown = matches!(member.presence, Presence::Listed | Presence::Unreachable);
        Self {
            id: machine.id.as_str().into(),
            region: machine.region.as_str().into(),
            state: machine.state.label(),
            release: machine
                .release
                .and_then(|release| u32::try_from(release).ok()),
            created,
            started: member.started,
            protected: machine.protected,
            cordoned: machine.cordoned,
            stuck: member.stuck,
            reachable: !is_one_of(&observed.unreachable),
            // What is known of one may come from asking for it alone.
            listed: is_shown && !is_one_of(&observed.unlisted),
        }
    }
}

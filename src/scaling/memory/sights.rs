//! The machines of the group that lists have shown or that creates have made: one that is not among them is new.

use std::time::Instant;

use compact_str::CompactString;
use indexmap::IndexMap;

use super::{hosts::Host, writes::Expected};
use crate::scaling::{Machine, Policy, Presence, SETTLE_TIME, State, unlisted::FORGOTTEN_AFTER};

/// The most machines that are remembered that end by themselves and that lists lack: where many come and go between two
/// passes, questions do not keep up with them. Growth waits for far fewer.
const MOST_ENDED: usize = 1000;

/// What every known machine of the group was last seen as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sights {
    /// By id, in the order in which they were first seen: nothing is decided by that.
    by_id: IndexMap<CompactString, Sight>,
    /// The number of the last list. One a second takes a century to come round.
    list: u32,
    /// How many of them the last list shows.
    listed: usize,
    /// Which of them was found last.
    found: usize,
}

/// What shows a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A list.
    List,
    /// An answer about it alone.
    Answer,
}

/// What a machine of the group was last seen as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sight {
    region: CompactString,
    /// Its state, accepted writes included.
    state: State,
    /// Whether it counted as started.
    started: bool,
    host_ok: bool,
    /// Since when its host does not answer, if it ever did.
    host: Host,
    auto_destroy: bool,
    cordoned: bool,
    release: Option<u64>,
    /// How it stands with it where the last list does not show it: of most there is no more to remember than what they are.
    absence: Option<Box<Standing>>,
    /// The number of the last list that showed it.
    listed_in: u32,
}

/// How it stands with a machine that was seen or made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The last list shows it.
    Listed,
    /// A create was accepted then, and no list has shown it so far.
    Awaited {
        /// When the create was accepted.
        since: Instant,
    },
    /// The last list lacks it.
    Lacking {
        /// When it was first missing, or last known to exist by its id.
        since: Instant,
        /// When it was last asked for.
        asked: Option<Instant>,
    },
    /// It is gone or on its way out. It is remembered for a minute, since a later list may come from a place that has
    /// not heard of it, and it would then seem to be new.
    Gone {
        /// When that was known.
        known: Instant,
        /// When it was first missing.
        ended: Instant,
    },
}

impl Sight {
    /// A machine that one of our creates has made.
    pub(super) fn of_create(
        region: String,
        started: bool,
        auto_destroy: bool,
        since: Instant,
    ) -> Self {
        Self {
            region: region.into(),
            state: State::Created,
            started,
            host_ok: true,
            host: Host::default(),
            auto_destroy,
            cordoned: false,
            release: None,
            absence: Some(Box::new(Standing::Awaited { since })),
            listed_in: 0,
        }
    }

    fn of(machine: &Machine, started: bool) -> Self {
        Self {
            region: machine.region.clone(),
            state: machine.state.clone(),
            started,
            host_ok: machine.host_ok,
            host: Host::default(),
            auto_destroy: machine.auto_destroy,
            cordoned: machine.cordoned,
            release: machine.release,
            absence: None,
            listed_in: 0,
        }
    }

    /// The machine as it was last seen.
    pub(super) fn machine(&self, id: &str, policy: &Policy) -> Machine {
        let mut machine = Machine::new(id, self.region.as_str(), self.state.clone());
        machine.process_group = policy.process_group.as_str().into();
        machine.host_ok = self.host_ok;
        machine.auto_destroy = self.auto_destroy;
        machine.cordoned = self.cordoned;
        machine.release = self.release;
        machine.config = None;
        machine
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    pub(super) fn standing(&self) -> Standing {
        self.absence.as_deref().copied().unwrap_or(Standing::Listed)
    }

    fn stands(&mut self, standing: Standing) {
        self.absence = (standing != Standing::Listed).then(|| Box::new(standing));
    }

    pub(super) fn is_listed(&self) -> bool {
        self.absence.is_none()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.state.is_failed()
    }

    /// Whether the platform removes it when it ends.
    pub(super) fn ends_by_itself(&self) -> bool {
        self.auto_destroy
    }

    /// Takes over what the machine is shown as, in place: the large fleets are those that hardly change.
    fn update(&mut self, machine: &Machine, started: bool) {
        if self.region != machine.region {
            self.region.clone_from(&machine.region);
        }
        if self.state != machine.state {
            self.state.clone_from(&machine.state);
        }
        self.started = started;
        self.host_ok = machine.host_ok;
        self.auto_destroy = machine.auto_destroy;
        self.cordoned = machine.cordoned;
        self.release = machine.release;
    }

    /// The list of this number shows it.
    fn mark_listed(&mut self, list: u32, now: Instant) {
        self.listed_in = list;
        self.stands(match self.standing() {
            _ if self.state.is_living() => Standing::Listed,
            Standing::Gone { ended, .. } => Standing::Gone { known: now, ended },
            _ => Standing::Gone {
                known: now,
                ended: now,
            },
        });
    }

    /// Whether its host answered when it was last seen.
    pub(super) fn is_reachable(&self) -> bool {
        self.host_ok
    }

    /// What is known of its host.
    pub(super) fn host(&self) -> Host {
        self.host
    }

    /// What is known of its host, to take note of what is shown of it.
    pub(super) fn host_mut(&mut self) -> &mut Host {
        &mut self.host
    }

    pub(super) fn counts_as_started(&self) -> bool {
        self.started && self.host_ok
    }

    /// As what it counts where no list shows it, if it may exist.
    pub(super) fn presence_unseen(&self) -> Option<Presence> {
        match self.standing() {
            Standing::Listed | Standing::Gone { .. } => None,
            Standing::Awaited { .. } => Some(Presence::Expected),
            Standing::Lacking { .. } => Some(Presence::Unlisted),
        }
    }
}

impl Sights {
    pub(super) fn know(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    pub(super) fn of(&self, id: &str) -> Option<&Sight> {
        self.by_id.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Sight)> {
        self.by_id.iter().map(|(id, sight)| (id.as_str(), sight))
    }

    /// Whether any machine carries this as its region.
    pub(super) fn carry(&self, region: &str) -> bool {
        self.by_id.values().any(|sight| sight.region == region)
    }

    /// Whether the last list lacks a machine of this region.
    pub(super) fn lack_any_of(&self, region: &str) -> bool {
        self.by_id.values().any(|sight| {
            sight.region == region && matches!(sight.standing(), Standing::Lacking { .. })
        })
    }

    /// Since when lists have lacked this machine, and when it was last asked for.
    pub(super) fn lacking(&self, id: &str) -> Option<(Instant, Option<Instant>)> {
        match self.by_id.get(id)?.standing() {
            Standing::Lacking { since, asked } => Some((since, asked)),
            _ => None,
        }
    }

    /// A create of ours has made a machine.
    pub(super) fn note_created(&mut self, id: String, sight: Sight) {
        add(&mut self.by_id, id.into(), sight);
    }

    /// A write was accepted: where no later list shows the machine, it counts as what the write made of it.
    pub(super) fn note_written(&mut self, id: &str, written: Expected) {
        if let Some(sight) = self.by_id.get_mut(id) {
            sight.state = written.state();
            sight.started = written == Expected::Start;
        }
    }

    /// A machine is of another group by now.
    pub(super) fn forget(&mut self, id: &str) {
        let forgotten = self.by_id.swap_remove(id);
        let was_listed = forgotten.is_some_and(|sight| sight.listed_in == self.list);
        self.listed -= usize::from(was_listed);
    }

    /// Whether a create was accepted in the last minute that no list has shown.
    pub(super) fn await_any(&self, now: Instant) -> bool {
        self.by_id.values().any(|sight| match sight.standing() {
            Standing::Awaited { since } => now.saturating_duration_since(since) < SETTLE_TIME,
            _ => false,
        })
    }

    /// A new list has come.
    pub(super) fn begin_list(&mut self) {
        self.list += 1;
        (self.listed, self.found) = (0, 0);
    }

    /// Whether a machine of this list is known.
    pub(super) fn find(&mut self, id: &str) -> bool {
        self.place_of(id).is_some()
    }

    /// The place of a machine among those that are known. Lists come in the same order pass after pass, so that it is mostly
    /// the one after the last, which takes no search.
    fn place_of(&mut self, id: &str) -> Option<usize> {
        let is_at = |place: &usize| {
            let known = self.by_id.get_index(*place);
            known.is_some_and(|(known, _)| known == id)
        };
        let mut likely = [self.found, self.found + 1].into_iter();
        let place = likely.find(is_at);
        self.found = place.or_else(|| self.by_id.get_index_of(id))?;
        Some(self.found)
    }

    /// Remembers what a machine was seen as, which this list shows or an answer about it alone; `now` is when.
    pub(super) fn remember(
        &mut self,
        machine: &Machine,
        started: bool,
        source: Source,
        now: Instant,
    ) -> &mut Sight {
        let sight = if let Some(at) = self.place_of(&machine.id) {
            let sight = &mut self.by_id[at];
            sight.update(machine, started);
            sight
        } else {
            let id = machine.id.as_str().into();
            add(&mut self.by_id, id, Sight::of(machine, started))
        };
        if source == Source::List {
            self.listed += usize::from(sight.listed_in != self.list);
            sight.mark_listed(self.list, now);
        }
        sight
    }

    /// Whether this list shows every machine that is known.
    pub(super) fn are_all_listed(&self) -> bool {
        self.listed == self.by_id.len()
    }

    /// Marks a machine as gone.
    pub(super) fn mark_gone(&mut self, id: &str, now: Instant) {
        if let Some(sight) = self.by_id.get_mut(id) {
            let ended = match sight.standing() {
                Standing::Lacking { since, .. } | Standing::Awaited { since } => since,
                Standing::Gone { ended, .. } => ended,
                Standing::Listed => now,
            };
            sight.stands(Standing::Gone { known: now, ended });
        }
    }

    /// A machine that lists lack was asked for; whether it is one.
    pub(super) fn mark_asked(&mut self, id: &str, now: Instant) -> bool {
        let absence = self.by_id.get_mut(id).map(|sight| &mut sight.absence);
        let standing = absence.and_then(Option::as_deref_mut);
        let Some(Standing::Lacking { asked, .. }) = standing else {
            return false;
        };
        *asked = Some(now);
        true
    }

    /// A machine that lists lack is there all the same, as an answer about it alone says.
    pub(super) fn mark_there(&mut self, id: &str, now: Instant) {
        if let Some(sight) = self.by_id.get_mut(id) {
            sight.stands(Standing::Lacking {
                since: now,
                asked: Some(now),
            });
        }
    }

    /// Moves those that this list lacks on: from listed to missing, from missing for long to forgotten.
    pub(super) fn miss_unlisted(&mut self, now: Instant) {
        if self.are_all_listed() {
            return;
        }
        let passed = |since: Instant| now.saturating_duration_since(since);
        self.by_id.retain(|_, sight| {
            if sight.listed_in == self.list {
                return true;
            }
            match sight.standing() {
                Standing::Listed => {
                    sight.stands(Standing::Lacking {
                        since: now,
                        asked: None,
                    });
                    true
                }
                Standing::Awaited { since } => {
                    if passed(since) >= SETTLE_TIME {
                        sight.stands(Standing::Lacking { since, asked: None });
                    }
                    true
                }
                Standing::Lacking { since, .. } => passed(since) < FORGOTTEN_AFTER,
                Standing::Gone { known, .. } => passed(known) < SETTLE_TIME,
            }
        });
        self.forget_ended();
    }

    /// Forgets the oldest of those that are likely to have ended by themselves where they are too many.
    fn forget_ended(&mut self) {
        let ended = self.by_id.iter().filter_map(|(id, sight)| {
            let Standing::Lacking { since, .. } = sight.standing() else {
                return None;
            };
            sight.auto_destroy.then_some((since, id))
        });
        let mut ended: Vec<(Instant, &CompactString)> = ended.collect();
        let too_many = ended.len().saturating_sub(MOST_ENDED);
        if too_many == 0 {
            return;
        }
        ended.sort_unstable();
        let forgotten = ended.into_iter().take(too_many);
        let forgotten: Vec<CompactString> = forgotten.map(|(_, id)| id.clone()).collect();
        for id in forgotten {
            self.by_id.swap_remove(&id);
        }
    }
}

/// Adds a machine, unless it is known. Room is made for an eighth more than there are, not for half as many again: thousands of
/// apps have a few machines each.
fn add(by_id: &mut IndexMap<CompactString, Sight>, id: CompactString, sight: Sight) -> &mut Sight {
    let known = by_id.len();
    if known == by_id.capacity() {
        by_id.reserve_exact((known / 8).max(1));
    }
    by_id.entry(id).or_insert(sight)
}

//! Creates whose answer was lost: each may have happened.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use compact_str::CompactString;
use jiff::Timestamp;

use crate::scaling::{Machine, Now, SETTLE_TIME};

/// How many passes count a create whose outcome is unknown, if more than a minute is over by then.
const PASSES: u32 = 2;

/// How long a create of unknown outcome keeps its place under the ceiling while no list shows that it is up to date: long
/// enough for lists that lag for many times as long as they should, and no longer, for most of what was answered with 5xx
/// was never made. (Lists without a region, which there have been for most of an hour, lack other machines of it too.)
const DOUBTED_FOR: Duration = Duration::from_secs(10 * 60);

/// How far apart this host's wall clock and the API's are taken to be at most, where the one is to tell whether a machine
/// is of a certain create.
const CLOCKS_APART: Duration = Duration::from_secs(5 * 60);

/// The creates of unknown outcome, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct UnknownCreates {
    creates: Vec<UnknownCreate>,
}

/// A create whose answer was lost: it may have happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnknownCreate {
    region: String,
    since: Instant,
    /// When the pass began that made it, by the wall clock.
    began: Timestamp,
    /// When it was given up, by the wall clock.
    after: Timestamp,
    passes_left: u32,
    /// Whether lists should have shown by now what it made: it then only keeps its place under the ceiling.
    doubtful: bool,
}

impl UnknownCreate {
    /// The region that was asked for.
    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// When it was given up.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Whether lists should have shown by now what it made.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Whether it may have made a machine that the API says was created then: not one that lists have lacked for months.
    pub(super) fn may_have_made_at(&self, created_at: Option<Timestamp>) -> bool {
        created_at.is_none_or(|created_at| {
            created_at >= self.began - CLOCKS_APART && created_at <= self.after + CLOCKS_APART
        })
    }

    /// Counts one more list that does not show what it made.
    ///
    /// Lists may lag for a minute. One that lacks other machines of the region says nothing about this one.
    pub(super) fn note_not_shown(&mut self, region_is_lacking: bool, now: Instant) {
        let seen_by_all = self.passes_left == 0;
        self.passes_left = self.passes_left.saturating_sub(1);
        self.doubtful |= seen_by_all
            && !region_is_lacking
            && now.saturating_duration_since(self.since) >= SETTLE_TIME;
    }

    /// Whether a list that shows such a last `change` in the region would show what it made, or all is over.
    ///
    /// A minute's difference between the clocks is allowed for, as everywhere.
    pub(super) fn is_settled(&self, change: Option<Timestamp>, now: Instant) -> bool {
        change.is_some_and(|change| change >= self.after + SETTLE_TIME)
            || now.saturating_duration_since(self.since) >= DOUBTED_FOR
    }
}

impl UnknownCreates {
    /// A create of the pass that `began` then was given up.
    pub(super) fn note(&mut self, region: String, began: Now, given_up: Instant) {
        self.creates.push(UnknownCreate {
            region,
            since: given_up,
            began: began.wall,
            after: began.wall + given_up.saturating_duration_since(began.monotonic),
            passes_left: PASSES,
            doubtful: false,
        });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &UnknownCreate> {
        self.creates.iter()
    }

    /// Forgets those that are not to be kept.
    pub(super) fn retain(&mut self, is_kept: impl FnMut(&mut UnknownCreate) -> bool) {
        self.creates.retain_mut(is_kept);
    }

    /// The last change in each region that a list shows, where one of them needs to know.
    pub(super) fn last_changes(&self, list: &[Machine]) -> BTreeMap<CompactString, Timestamp> {
        let mut changes = BTreeMap::new();
        if self.creates.is_empty() {
            return changes;
        }
        for machine in list.iter().filter(|machine| machine.host_ok) {
            if let Some(at) = machine.created_at.max(machine.updated_at) {
                let last = changes.entry(machine.region.clone()).or_insert(at);
                *last = at.max(*last);
            }
        }
        changes
    }
}

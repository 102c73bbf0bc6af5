//! Hosts: which machines were seen on one that answered, and since when it has not.

use std::{collections::BTreeMap, time::Instant};

use compact_str::CompactString;

use crate::scaling::SETTLE_TIME;

/// The hosts of the group's machines, by machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hosts {
    /// `None` while it answers.
    silent_since: BTreeMap<CompactString, Option<Instant>>,
}

impl Hosts {
    /// The machine's host answers.
    pub(super) fn note_answering(&mut self, id: &str) {
        self.silent_since.insert(id.into(), None);
    }

    /// The machine's host answered at some time: that of a clone did when the clone was created.
    pub(super) fn note_has_answered(&mut self, id: &str) {
        self.silent_since.entry(id.into()).or_default();
    }

    /// The machine's host does not answer.
    ///
    /// The minute begins with the first list that says so: with passes further apart than that, a minute since the last
    /// list that said otherwise would be over at once.
    pub(super) fn note_silent(&mut self, id: &str, now: Instant) {
        if let Some(since) = self.silent_since.get_mut(id) {
            since.get_or_insert(now);
        }
    }

    /// Whether the machine was ever seen on a host that answered.
    pub(super) fn has_answered(&self, id: &str) -> bool {
        self.silent_since.contains_key(id)
    }

    /// Whether the machine's host answers, or has stopped to less than a minute ago.
    pub(super) fn answered_lately(&self, id: &str, now: Instant) -> bool {
        self.silent_since.get(id).is_some_and(|since| {
            since.is_none_or(|since| now.saturating_duration_since(since) < SETTLE_TIME)
        })
    }

    /// Forgets the hosts of machines that nothing else is remembered of.
    pub(super) fn retain(&mut self, is_remembered: impl Fn(&str) -> bool) {
        self.silent_since.retain(|id, _| is_remembered(id));
    }
}

//! Standby and scheduled machines, which are none of ours, also where a list says no more of them than that they exist.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::scaling::Machine;

/// How long a standby or scheduled machine is remembered that no list shows.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// Standby and scheduled machines, and when each was last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Aside {
    seen: BTreeMap<String, Instant>,
}

impl Aside {
    /// Takes note of what a list shows of a machine.
    pub(super) fn note(&mut self, machine: &Machine, now: Instant) {
        if machine.standby || machine.scheduled {
            self.seen.insert(machine.id.clone(), now);
        } else if machine.host_ok {
            self.seen.remove(&machine.id);
        } else if let Some(seen) = self.seen.get_mut(&machine.id) {
            *seen = now;
        }
    }

    /// Whether a machine was standby or scheduled when that could last be seen.
    pub(super) fn includes(&self, id: &str) -> bool {
        self.seen.contains_key(id)
    }

    /// Forgets machines that no list has shown for long.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.seen
            .retain(|_, seen| now.saturating_duration_since(*seen) < REMEMBERED);
    }
}

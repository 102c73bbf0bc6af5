//! Ages: what was first seen when, for as long as it matters how old it is.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::scaling::{Machine, Now, State};

/// How long a machine may be starting or stopping, its own kill timeout aside. From Fly's documented thresholds.
const STUCK_STARTING_OR_STOPPING: Duration = Duration::from_secs(5 * 60);

/// How long a machine may be updating or replacing. From Fly's documented thresholds.
const STUCK_UPDATING: Duration = Duration::from_secs(10 * 60);

/// How long a created machine is believed to be on its way to `started`.
const LAUNCH_TIME: Duration = Duration::from_secs(5 * 60);

/// Since when machines have been seen in states that they are to leave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ages {
    state_since: BTreeMap<String, (State, Instant)>,
}

impl Ages {
    /// Takes note of the state that a machine is shown in.
    pub(super) fn note(&mut self, machine: &Machine, now: Instant) {
        // One that is being prepared is as old in its state as one that is prepared: nothing else is measured of it.
        let state = match machine.state {
            State::Creating | State::Created => State::Created,
            _ if stuck_after(machine).is_none() => {
                self.state_since.remove(&machine.id);
                return;
            }
            ref other => other.clone(),
        };
        let seen = self.state_since.get(&machine.id);
        if seen.is_none_or(|(seen, _)| *seen != state) {
            self.state_since.insert(machine.id.clone(), (state, now));
        }
    }

    /// Whether a machine has been in a transitional state for too long: by both the API's clock and ours.
    pub(super) fn is_stuck(&self, machine: &Machine, now: Now) -> bool {
        stuck_after(machine).is_some_and(|limit| {
            let seen = self.seen_for(machine, now);
            let age = machine
                .updated_at
                .map_or(seen, |updated_at| seen.min(elapsed(updated_at, now)));
            age >= limit
        })
    }

    /// Whether a machine was created so lately that it may still be on its way to `started`: by the API's clock or by ours,
    /// since this host's wall clock may be ahead of the API's; by ours alone where the API's time is missing or in the
    /// future.
    pub(super) fn may_be_launching(&self, machine: &Machine, now: Now) -> bool {
        let seen = self.seen_for(machine, now);
        let age = machine
            .created_at
            .filter(|created_at| *created_at <= now.wall)
            .map_or(seen, |created_at| seen.min(elapsed(created_at, now)));
        age < LAUNCH_TIME
    }

    /// Forgets machines that nothing else is remembered of.
    pub(super) fn retain(&mut self, is_remembered: impl Fn(&str) -> bool) {
        self.state_since.retain(|id, _| is_remembered(id));
    }

    /// For how long lists have shown the machine in its state.
    fn seen_for(&self, machine: &Machine, now: Now) -> Duration {
        self.state_since
            .get(&machine.id)
            .map_or(Duration::ZERO, |(_, since)| {
                now.monotonic.saturating_duration_since(*since)
            })
    }
}

/// How long a machine may be in its state before it counts as stuck; `None`: as long as it likes.
#[must_use]
pub fn stuck_after(machine: &Machine) -> Option<Duration> {
    match machine.state {
        State::Starting | State::Stopping => {
            Some(STUCK_STARTING_OR_STOPPING.saturating_add(machine.kill_timeout))
        }
        State::Updating | State::Replacing => Some(STUCK_UPDATING),
        _ => None,
    }
}

fn elapsed(since: Timestamp, now: Now) -> Duration {
    Duration::try_from(now.wall.duration_since(since)).unwrap_or(Duration::ZERO)
}

//! What the simulator remembers for whoever judges a client afterwards: each request, and each change of a machine.
//!
//! Both logs are bounded: the oldest entries go first, and a total says how many there have been. A request's
//! `Authorization` is not kept, only its scheme.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::{
    faults::Operation,
    state::{Machine, MachineState},
    wire,
};

/// The newest entries of something that goes on for ever.
#[derive(Debug, Clone)]
pub struct Log<T> {
    entries: VecDeque<T>,
    capacity: usize,
    total: u64,
}

impl<T> Log<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            capacity,
            total: 0,
        }
    }

    pub(super) fn push(&mut self, entry: T) {
        self.total += 1;
        if self.capacity == 0 {
            return;
        }
        while self.entries.len() >= self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// The newest entry for which `wanted` holds.
    pub(super) fn find_mut(&mut self, wanted: impl Fn(&T) -> bool) -> Option<&mut T> {
        self.entries.iter_mut().rev().find(|entry| wanted(entry))
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// The entries that are still remembered, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.entries.iter()
    }

    /// The entries since the log had `total` of them, oldest first; those forgotten meanwhile are missing.
    pub fn since(&self, total: u64) -> impl Iterator<Item = &T> {
        let newer = usize::try_from(self.total.saturating_sub(total)).unwrap_or(usize::MAX);
        self.entries
            .iter()
            .skip(self.entries.len().saturating_sub(newer))
    }

    /// How many entries there have ever been.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }
}

/// One request that reached the simulator.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    /// How many requests came before it.
    pub ordinal: u64,
    /// When it was processed, since the simulation's start.
    pub at: Duration,
    /// What it asked for.
    pub operation: Operation,
    /// Its method.
    pub method: Method,
    /// Its path, still encoded.
    pub path: String,
    /// Its query string, still encoded; empty when there is none.
    pub query: String,
    /// The app it names.
    pub app: Option<Arc<str>>,
    /// The machine it names.
    pub machine: Option<Arc<str>>,
    /// Its body.
    pub body: Bytes,
    /// The first word of its `Authorization`.
    pub scheme: Option<String>,
    /// Its `User-Agent`.
    pub user_agent: Option<String>,
    /// Whether it brought back the app's `fly_flaps_affinity` cookie; `None` where there is none to bring.
    pub affinity: Option<bool>,
    /// The status it was answered with; `None` when no answer was given.
    pub status: Option<u16>,
    /// Whether it changed anything.
    pub took_effect: bool,
    /// Whether a fault had a hand in it.
    pub faulted: bool,
}

impl RequestRecord {
    /// Its body as JSON; `Null` when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A parameter of its query string or of its form body.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        let form = String::from_utf8_lossy(&self.body);
        wire::parameter(&self.query, name).or_else(|| wire::parameter(&form, name))
    }
}

/// Who changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// A client of the Machines API.
    Api,
    /// Fly Proxy, by autostart and autostop.
    Proxy,
    /// A deploy.
    Deploy,
    /// The platform itself: time passed, or the machine's process ended.
    Platform,
    /// Whoever set the scene, through the simulator's own methods.
    Operator,
}

impl Actor {
    /// That this one does such a thing.
    pub(super) fn does(self, kind: ChangeKind) -> Deed {
        Deed { actor: self, kind }
    }
}

/// Who does what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deed {
    pub(super) actor: Actor,
    pub(super) kind: ChangeKind,
}

/// What was done to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was created.
    Create,
    /// It was told to start.
    Start,
    /// It was told to stop.
    Stop,
    /// It was told to suspend.
    Suspend,
    /// It was told to vanish.
    Destroy,
    /// It was cordoned.
    Cordon,
    /// It was uncordoned.
    Uncordon,
    /// Its configuration, lease, checks or host were changed.
    Update,
    /// It got into its next state by itself.
    Become,
    /// It is gone.
    Vanish,
}

/// A change of a machine.
#[derive(Debug, Clone)]
pub struct Change {
    /// When, since the simulation's start.
    pub at: Duration,
    /// Who did it.
    pub actor: Actor,
    /// What was done.
    pub kind: ChangeKind,
    /// The app.
    pub app: Arc<str>,
    /// The machine just before; for a creation, as it was made.
    pub machine: Machine,
    /// Its state afterwards.
    pub state: MachineState,
    /// For a destruction, how many machines of its group are left living.
    pub living_left: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_forgets_the_oldest_and_counts_all() {
        let mut log = Log::new(2);
        for entry in 1..=3 {
            log.push(entry);
        }
        assert_eq!(log.iter().copied().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(log.total(), 3);
        assert_eq!(log.since(2).copied().collect::<Vec<_>>(), [3]);
        assert_eq!(log.since(0).copied().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(log.since(3).count(), 0);
    }
}

//! What has happened on the platform so far, counted.

use std::collections::BTreeMap;

use super::script::Event;

/// The fewest and the most of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The fewest.
    pub fewest: u32,
    /// The most.
    pub most: u32,
}

impl Range {
    /// The range of what has been seen so far and `count`.
    pub(super) fn with(seen: Option<Self>, count: u32) -> Self {
        let Self { fewest, most } = seen.unwrap_or(Self {
            fewest: count,
            most: count,
        });
        Self {
            fewest: fewest.min(count),
            most: most.max(count),
        }
    }
}

/// What happened on the platform, all apps together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// How often each event has begun; one that never did may be left out.
    pub begun: BTreeMap<Event, u32>,
    /// How often each event has ended, likewise.
    pub ended: BTreeMap<Event, u32>,
    /// Machines that the daemon created.
    pub created: u64,
    /// Machines that the daemon destroyed.
    pub destroyed: u64,
    /// Machines that the daemon started.
    pub started: u64,
    /// Machines that the daemon stopped.
    pub stopped: u64,
    /// Machines that Fly Proxy started.
    pub woken: u64,
    /// Machines that Fly Proxy stopped.
    pub put_to_rest: u64,
    /// How many machines there were at once, those of a deploy too.
    pub machines: Option<Range>,
    /// How many of them ran.
    pub running: Option<Range>,
    /// The requests, as how many there were at once times the seconds for which there were.
    pub requests: f64,
    /// Those of them that were more than the running machines take.
    pub waiting: f64,
    /// Creates that the failing region refused.
    pub refused_creates: u64,
    /// Machines that the daemon created elsewhere while the region failed.
    pub created_elsewhere: u64,
    /// The release that was deployed last, and what became of it.
    pub release: Option<(u64, String)>,
    /// What the daemon did to machines of an app while that was being deployed.
    pub writes_during_deploys: u64,
    /// Queries that Prometheus refused while it was away.
    pub refused_queries: u64,
    /// Requests of the daemon for something that the platform does not know.
    pub unknown_requests: u64,
}

impl Tally {
    /// How often an event has begun.
    #[must_use]
    pub fn times(&self, event: Event) -> u32 {
        self.begun.get(&event).copied().unwrap_or_default()
    }

    /// Whether an event has begun and not ended since.
    #[must_use]
    pub fn goes_on(&self, event: Event) -> bool {
        self.times(event) > self.ended.get(&event).copied().unwrap_or_default()
    }

    pub(super) fn begins(&mut self, event: Event) {
        *self.begun.entry(event).or_default() += 1;
    }

    pub(super) fn ends(&mut self, event: Event) {
        *self.ended.entry(event).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_spans_what_was_seen() {
        let mut range = None;
        for count in [3, 5, 2, 4] {
            range = Some(Range::with(range, count));
        }
        assert_eq!(range, Some(Range { fewest: 2, most: 5 }));
    }
}

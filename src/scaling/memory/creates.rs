//! How creating goes: the pause after it failed, of the source that is cloned and of each region.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::scaling::{Fingerprint, backoff::Backoff};

/// Of how many earlier sources the pause of creating is remembered.
const EARLIER_SOURCES: usize = 8;

/// The pauses of creating.
#[derive(Debug, Clone, Default)]
pub(super) struct CreatePauses {
    app: Backoff,
    regions: BTreeMap<String, Backoff>,
    source: Option<Fingerprint>,
    /// What is left of the pauses of earlier sources, the newest last: which machine is cloned can change from pass to pass
    /// and back, and each source whose clones fail waits for itself.
    earlier: Vec<(Fingerprint, Backoff)>,
    /// Whether clones of it are removed by the platform when they end.
    source_ends_by_itself: bool,
    /// Until when nothing is created, of whatever source.
    held_until: Option<Instant>,
}

impl CreatePauses {
    /// A create was accepted.
    pub(super) fn note_accepted(&mut self, region: &str) {
        self.app.accepted();
        for backoff in self.regions.values_mut() {
            backoff.accepted_elsewhere();
        }
        self.regions
            .entry(region.to_owned())
            .or_default()
            .accepted();
    }

    /// A create was refused, or its outcome is unknown.
    pub(super) fn note_refused(&mut self, region: String, interval: Duration, pass_start: Instant) {
        self.app.refused(interval, pass_start);
        self.regions
            .entry(region)
            .or_default()
            .refused(interval, pass_start);
    }

    /// Creates nothing before that time, whatever else succeeds: something may have been made that no list shows so far.
    pub(super) fn hold(&mut self, until: Instant) {
        self.held_until = self.held_until.max(Some(until));
    }

    /// Whether something may have been made that no list shows so far.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| until > now)
    }

    /// A clone failed or vanished within minutes of its create.
    pub(super) fn note_lost_clone(&mut self, region: &str, interval: Duration, now: Instant) {
        self.app.lost_clone(interval, now);
        self.regions
            .entry(region.to_owned())
            .or_default()
            .lost_clone(interval, now);
    }

    /// A clone has lived.
    pub(super) fn note_clone_lived(&mut self, region: &str) {
        self.app.clone_lived();
        if let Some(backoff) = self.regions.get_mut(region) {
            backoff.clone_lived();
        }
    }

    /// Makes `source` the one whose pause counts; `ends_by_itself` says whether its clones are removed by the platform when
    /// they end.
    pub(super) fn note_source(&mut self, source: Fingerprint, ends_by_itself: bool) {
        self.source_ends_by_itself = ends_by_itself;
        if let Some(before) = self.source.filter(|before| before.differs(source)) {
            let returning = self
                .earlier
                .iter()
                .position(|(earlier, _)| !earlier.differs(source));
            let backoff = returning.map_or_else(Backoff::default, |at| self.earlier.remove(at).1);
            let left = std::mem::replace(&mut self.app, backoff);
            if self.earlier.len() == EARLIER_SOURCES {
                self.earlier.remove(0);
            }
            self.earlier.push((before, left));
            self.regions.clear();
        }
        self.source = Some(source);
    }

    /// Whether clones of the current source are removed by the platform when they end.
    pub(super) fn source_ends_by_itself(&self) -> bool {
        self.source_ends_by_itself
    }

    /// The pause that is left of one source.
    pub(super) fn of_source(&self, source: Fingerprint, now: Instant) -> Option<Duration> {
        let backoff = match self.source {
            Some(current) if current.differs(source) => {
                let mut earlier = self.earlier.iter();
                let of_source = earlier.find(|(earlier, _)| !earlier.differs(source));
                of_source.map(|(_, backoff)| backoff)
            }
            _ => Some(&self.app),
        };
        let held = self.held_until.and_then(|until| {
            let left = until.saturating_duration_since(now);
            Some(left).filter(|left| !left.is_zero())
        });
        backoff.and_then(|backoff| backoff.remaining(now)).max(held)
    }

    /// Whether creates in `region` failed lately.
    pub(super) fn region_backs_off(&self, region: &str, now: Instant) -> bool {
        let backoff = self.regions.get(region);
        backoff.is_some_and(|backoff| backoff.remaining(now).is_some())
    }

    /// When a create in `region` failed last, if none has been accepted since, there or elsewhere.
    pub(super) fn region_failed_in_vain(&self, region: &str) -> Option<Instant> {
        self.regions.get(region)?.failed_in_vain()
    }

    /// Whether nothing is held back, and no failure is remembered.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let held = self.is_held(now);
        let mut earlier = self.earlier.iter().map(|(_, backoff)| backoff);
        !held && self.app.is_idle(now) && earlier.all(|backoff| backoff.is_idle(now))
    }

    /// Forgets regions of which nothing is left.
    pub(super) fn forget_idle(&mut self, now: Instant) {
        self.regions.retain(|_, backoff| !backoff.is_idle(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_earlier_sources_are_remembered() {
        let mut pauses = CreatePauses::default();
        for source in 10..30 {
            pauses.note_source(source.into(), false);
        }
        assert_eq!(pauses.earlier.len(), EARLIER_SOURCES);
    }
}

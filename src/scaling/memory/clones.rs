//! Clones on trial: those of ours that have not lived long enough to prove that creating works.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::sights::{Sight, Standing};

/// How long a clone must have lived before its create counts as a success.
const TRIAL: Duration = Duration::from_secs(5 * 60);

/// The clones on trial by machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Clones {
    on_trial: BTreeMap<String, CloneTrial>,
}

/// A clone of ours that has not lived long enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CloneTrial {
    region: String,
    since: Instant,
    /// Whether its create was accepted then; or else a list has shown it as what a create of unknown outcome made.
    accepted: bool,
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Creating works.
    Lived,
    /// It failed or vanished soon after it was created.
    Lost,
    /// It says nothing of creating.
    Ended,
}

impl CloneTrial {
    /// The region that it was asked for.
    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// What became of the clone, where that is known. One that was to end has not failed by ending, and one that a list
    /// lacks is not judged until somebody knows.
    pub(super) fn verdict(&self, sight: &Sight, was_to_end: bool, now: Instant) -> Option<Verdict> {
        let lived_until = |moment: Instant| moment.saturating_duration_since(self.since);
        let (age, lost) = match sight.standing() {
            Standing::Gone { ended, .. } => (lived_until(ended), !was_to_end),
            _ if sight.has_failed() => (lived_until(now), true),
            Standing::Listed if lived_until(now) >= TRIAL => return Some(Verdict::Lived),
            _ => return None,
        };
        Some(if lost && age < TRIAL {
            Verdict::Lost
        } else {
            Verdict::Ended
        })
    }
}

impl Clones {
    /// A create was accepted, and this is what it made.
    pub(super) fn note_created(&mut self, id: String, region: String, at: Instant) {
        self.begin(id, region, at, true);
    }

    /// A list shows what a create of unknown outcome made.
    pub(super) fn note_found(&mut self, id: String, region: String, now: Instant) {
        self.begin(id, region, now, false);
    }

    fn begin(&mut self, id: String, region: String, since: Instant, accepted: bool) {
        let trial = CloneTrial {
            region,
            since,
            accepted,
        };
        self.on_trial.insert(id, trial);
    }

    /// Gives a trial up that our own destroy has ended.
    pub(super) fn give_up(&mut self, id: &str) {
        self.on_trial.remove(id);
    }

    pub(super) fn include(&self, id: &str) -> bool {
        self.on_trial.contains_key(id)
    }

    /// The machines whose create was accepted after `moment`.
    pub(super) fn created_after(&self, moment: Instant) -> impl Iterator<Item = &str> {
        let later = self
            .on_trial
            .iter()
            .filter(move |(_, clone)| clone.accepted && clone.since > moment);
        later.map(|(id, _)| id.as_str())
    }

    /// Ends the trials that are not to go on.
    pub(super) fn retain(&mut self, mut goes_on: impl FnMut(&str, &CloneTrial) -> bool) {
        self.on_trial.retain(|id, clone| goes_on(id, clone));
    }
}

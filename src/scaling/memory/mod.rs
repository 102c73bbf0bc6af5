//! What is remembered of one app between passes.
//!
//! A machine list may lag behind our own writes by up to a minute, and a later list by more than an earlier one, so
//! each accepted write is held against the lists of that minute; without that, the next pass would do it twice. A create
//! whose answer was lost is expected too, for two passes and at least a minute, and keeps its place under the ceiling for
//! longer. Nothing here is stored: a restart begins with an empty memory, which is always the cautious one.
//!
//! Each concern has a type of its own that answers for it; [`Memory`] holds them. It takes note of a list in `listing`, of
//! what asking for machines by id told in `answers`, and of what came of acting in `effects`.

mod ages;
mod answers;
mod aside;
mod clones;
mod creates;
mod effects;
mod hosts;
mod listing;
mod sights;
#[cfg(test)]
mod tests;
mod unknown_creates;
mod writes;

pub use ages::stuck_after;
pub use effects::{ActingPass, Effect};

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use compact_str::CompactString;

use self::{
    ages::Ages,
    aside::Aside,
    clones::Clones,
    creates::CreatePauses,
    sights::Sights,
    unknown_creates::{UnknownCreate, UnknownCreates},
    writes::ExpectedWrites,
};
use super::{
    Fingerprint, Kind, Now, Observed, Plan, Policy, Release, Standstills, lately::LatelyMemory,
    limits::LimitsMemory, placement::PlacementMemory, pulse::longest_gap, release::ReleaseMemory,
};

/// Everything remembered of one app between passes.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    sights: Sights,
    writes: ExpectedWrites,
    unknown_creates: UnknownCreates,
    clones: Clones,
    creates: CreatePauses,
    aside: Aside,
    ages: Ages,
    limits: LimitsMemory,
    lately: LatelyMemory,
    placement: PlacementMemory,
    release: ReleaseMemory,
    volumes_aside: BTreeSet<String>,
    /// The clones that were asked for in the fleet's own region and are not there.
    strays: BTreeMap<String, Stray>,
    last_pass: Option<Instant>,
    /// How many missing machines the last pass left to be asked for.
    unasked: u32,
}

/// How long a clone that went elsewhere counts as being there after lists have shown it for the last time: they can lack it for
/// long, and each one that is made in its place goes the same way.
const STRAY_KEPT: Duration = Duration::from_secs(60 * 60);

/// A clone in another region than it was asked for.
#[derive(Debug, Clone)]
struct Stray {
    region: CompactString,
    /// When a list showed it last.
    seen: Instant,
}

impl Memory {
    /// A pass begins at `now`. `standstills` are the process's; see [`Pulse`](super::Pulse).
    ///
    /// What must have lasted begins anew where nothing was looked at for too long since this app's last pass.
    pub fn begin_pass(&mut self, standstills: Standstills, policy: &Policy, now: Instant) {
        let last = self.last_pass.replace(now);
        if last.is_some_and(|last| standstills.concern(last, policy, now)) {
            self.limits.note_standstill(now);
        }
    }

    /// The app was not among those that are scaled for some of the time since its last pass, and another begins at `now`.
    ///
    /// While others keep a pool busy, its passes come late and have missed nothing by it; but where nobody was to look,
    /// what must have lasted begins anew after two intervals and the timeout.
    pub fn note_absence(&mut self, policy: &Policy, now: Instant) {
        let was_unseen = |last| now.saturating_duration_since(last) >= longest_gap(policy);
        if self.last_pass.is_some_and(was_unseen) {
            self.limits.note_standstill(now);
        }
    }

    /// A pass ended before it could see the machines: it had no target, as one whose metric is missing.
    pub fn note_blind_pass(&mut self, now: Instant) {
        self.limits.note_blind_pass(now);
    }

    /// The fleet's region has no machine, and is none for that reason: nothing is evaluated, and what must have lasted, passes
    /// without a metric among it, begins anew with its next one.
    pub fn note_region_over(&mut self, now: Instant) {
        self.limits.note_unevaluated(now);
    }

    /// Leaves the pause of creating behind when what is to be cloned has changed: `fingerprint` is the source's, and
    /// `ends_by_itself` says whether clones of it are removed by the platform when they end.
    ///
    /// It stands for the configuration, not for the machine: of two machines with the same configuration the clones
    /// fail alike.
    pub fn note_source(&mut self, fingerprint: Fingerprint, ends_by_itself: bool) {
        self.creates.note_source(fingerprint, ends_by_itself);
    }

    /// Whether growth waits only for questions that another pass could ask at once. To be called once a pass.
    ///
    /// They have to become fewer from pass to pass, and those that were asked for once wait for their turn: lists that lack
    /// others each time must not make passes follow each other without end.
    pub fn has_more_to_ask(&mut self, plan: &Plan, observed: &Observed) -> bool {
        let before = std::mem::replace(&mut self.unasked, observed.unasked);
        let never_asked = |id: &String| matches!(self.lacking(id), Some((_, None)));
        plan.waits_for_questions()
            && observed.unlisted.iter().any(never_asked)
            && (before == 0 || observed.unasked < before)
    }

    /// Whether `release` is a deploy under way that is still believed.
    pub fn release_in_progress(
        &mut self,
        release: Option<&Release>,
        policy: &Policy,
        now: Now,
    ) -> bool {
        self.release
            .in_progress(release, policy.deploy_timeout, now)
    }

    /// The volumes that are not to be given to a clone: those of the last create that was refused with volumes which had
    /// been there before it. Only those of the last one, so that creates which are always refused do not pile up volumes.
    #[must_use]
    pub fn volumes_aside(&self) -> &BTreeSet<String> {
        &self.volumes_aside
    }

    /// Whether there was a machine with this id before, of the group or left out of it: a create cannot have made it.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.sights.know(id) || self.aside.includes(id) || self.clones.include(id)
    }

    /// Whether nothing is remembered that matters to a pass which begins anew: no machine, nothing that may be one or that a list
    /// from before may show again, and no pause of creating.
    #[must_use]
    pub fn is_blank(&self, now: Instant) -> bool {
        self.sights.iter().next().is_none()
            && self.unknown_creates.iter().next().is_none()
            && self.creates.is_idle(now)
            && self.strays.is_empty()
            && self.lately.destroyed_none()
    }

    /// Whether lists have shown all that was done, or would have by now: whoever goes by a list alone does nothing twice.
    #[must_use]
    pub fn expects_nothing(&self, now: Instant) -> bool {
        self.writes.are_shown(now)
            && !self.lately.doubts_a_victim(now)
            && self.unknown_creates.iter().all(UnknownCreate::is_doubtful)
            && !self.sights.await_any(now)
            && !self.creates.is_held(now)
    }

    /// Where a clone is that was asked for in the fleet's own region, and that lists show elsewhere: another one would go there
    /// as well, and none would ever be counted. Once it is gone another may be made.
    pub(super) fn strayed_to(&self) -> Option<&str> {
        self.strays.values().next().map(|stray| &*stray.region)
    }

    /// How many passes in a row had no target of `kind`.
    #[must_use]
    pub fn missing_passes(&self, kind: Kind) -> u32 {
        self.limits.missing_passes(kind)
    }

    /// Since when lists have lacked this machine, and when it was last asked for.
    pub(super) fn lacking(&self, id: &str) -> Option<(Instant, Option<Instant>)> {
        self.sights.lacking(id)
    }

    /// Whether this machine was seen at work, and is removed by the platform when it has done it.
    pub(super) fn was_to_end(&self, id: &str) -> bool {
        let sight = self.sights.of(id);
        sight.is_some_and(|sight| sight.ends_by_itself() && sight.counts_as_started())
    }

    /// The pause of creating that is left, were a machine with this configuration cloned.
    pub(super) fn create_pause(&self, fingerprint: Fingerprint, now: Instant) -> Option<Duration> {
        self.creates.of_source(fingerprint, now)
    }

    /// Whether creates in `region` failed lately.
    pub(super) fn region_backs_off(&self, region: &str, now: Instant) -> bool {
        self.creates.region_backs_off(region, now)
    }

    /// When a create in `region` failed last, if none has been accepted since, there or elsewhere.
    pub(super) fn region_failed_in_vain(&self, region: &str) -> Option<Instant> {
        self.creates.region_failed_in_vain(region)
    }

    /// How many running machines the surplus has reached for at least `after`.
    pub(super) fn running_surplus_of(&self, after: Duration, now: Instant) -> u32 {
        self.limits.running_surplus_of(after, now)
    }

    /// What is remembered of the listed names of regions.
    pub(super) fn placement(&self) -> &PlacementMemory {
        &self.placement
    }

    /// What happened to machines lately.
    pub(super) fn lately(&self) -> &LatelyMemory {
        &self.lately
    }

    /// What limits remember.
    pub(super) fn limits(&self) -> &LimitsMemory {
        &self.limits
    }

    /// What limits remember, to take note of targets.
    pub(super) fn limits_mut(&mut self) -> &mut LimitsMemory {
        &mut self.limits
    }

    /// A clone failed or vanished soon after it was created.
    pub(super) fn note_lost_clone(&mut self, region: &str, policy: &Policy, now: Instant) {
        self.creates.note_lost_clone(region, policy.interval, now);
    }

    /// A machine was told to be gone, by whoever ended it.
    fn note_gone(&mut self, id: &str, at: Instant) {
        self.writes.destroy_settled(id);
        self.lately.told_gone(id, at);
        self.sights.mark_gone(id, at);
    }

    /// Drops what has outlived its use, so that memory does not grow with time.
    fn forget_expired(&mut self, now: Instant) {
        self.writes.forget_old_destroys(now);
        self.aside.forget_old(now);
        self.creates.forget_idle(now);
    }
}

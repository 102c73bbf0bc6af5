//! What is remembered of one app between passes.
//!
//! A machine list may lag behind our own writes by up to a minute, and a later list by more than an earlier one, so
//! each accepted write is held against the lists of that minute; without that, the next pass would do it twice. A create
//! whose answer was lost is expected too, for two passes and at least a minute, and keeps its place under the ceiling for
//! longer. Nothing here is stored: a restart begins with an empty memory, which is always the cautious one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    Fingerprint, InitialState, Kind, Now, Observed, Policy, Release, State, backoff::Backoff,
    lately::LatelyMemory, limits::LimitsMemory, observe::SETTLE_TIME, placement::PlacementMemory,
    release::ReleaseMemory, surplus::RunningSurplus, unlisted::Sight,
};

/// How many passes count a create whose outcome is unknown, if more than a minute is over by then.
const UNKNOWN_CREATE_PASSES: u32 = 2;

/// Of how many earlier sources the pause of creating is remembered.
const EARLIER_SOURCES: usize = 8;

/// How long a create of unknown outcome keeps its place under the ceiling while no list shows that it is up to date: long
/// enough for lists that lag for many times as long as they should, and no longer, for most of what was answered with 5xx
/// was never made. (Lists without a region, which there have been for most of an hour, lack other machines of it too.)
const DOUBTED_FOR: Duration = Duration::from_secs(10 * 60);

/// How far apart this host's wall clock and the API's are taken to be at most, where the one is to tell whether a machine
/// is of a certain create.
const CLOCKS_APART: Duration = Duration::from_secs(5 * 60);

/// How long a standby or scheduled machine is remembered that no list shows.
const REMEMBERED_ASIDE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a clone must have lived before its create counts as a success.
pub(crate) const CLONE_TRIAL: Duration = Duration::from_secs(5 * 60);

/// Everything remembered of one app between passes.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    pub(super) expectations: BTreeMap<String, Expectation>,
    pub(super) unknown_creates: Vec<UnknownCreate>,
    /// The machines of the group that lists have shown or that creates have made: one that is not among them is new.
    pub(super) sights: BTreeMap<String, Sight>,
    /// The number of this pass.
    pub(super) pass: u64,
    /// Standby and scheduled machines, and when each was last seen.
    pub(super) aside: BTreeMap<String, Instant>,
    pub(super) clones: BTreeMap<String, CloneTrial>,
    pub(super) unsettled_destroys: BTreeMap<String, Instant>,
    /// Machines seen on a host that answered, and since when it has not.
    pub(super) hosts: BTreeMap<String, Option<Instant>>,
    pub(super) state_since: BTreeMap<String, (State, Instant)>,
    pub(super) limits: LimitsMemory,
    pub(super) running_surplus: RunningSurplus,
    pub(super) lately: LatelyMemory,
    pub(super) placement: PlacementMemory,
    /// How many missing machines the last pass left to be asked for.
    pub(super) unasked: u32,
    last_pass: Option<Instant>,
    creates: CreateBackoff,
    volumes_aside: BTreeSet<String>,
    release: ReleaseMemory,
}

/// A write of the last minute that the API accepted, or may have, and what lists have said of it since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expectation {
    pub(super) expected: Expected,
    pub(super) certainty: Certainty,
    pub(super) since: Instant,
    /// When the pass began that made it, by the wall clock.
    began: Timestamp,
    /// When its outcome was known, by the wall clock.
    after: Timestamp,
    /// The machine's newest time of change that any list has shown.
    newest: Option<Timestamp>,
    /// Whether a list has shown it. A later list may still come from a place that has not heard of it.
    shown: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Destroy,
    Start,
    Stop,
}

/// Whether a write has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    /// It was accepted.
    Accepted,
    /// Nobody knows: the same machine is told again before any other.
    Unknown,
    /// Nobody knows after that either: it is left alone, and counts as told, until a list shows it or the minute is over.
    Held,
}

/// Whether a time that the API names is before a moment of our own clock: a time without a fraction is cut to its second,
/// and may have been any moment of it.
fn is_surely_before(named: Timestamp, moment: Timestamp) -> bool {
    if named.subsec_nanosecond() == 0 {
        named.as_second() < moment.as_second()
    } else {
        named < moment
    }
}

impl Expectation {
    /// Whether nobody knows so far whether it has happened.
    pub(super) fn is_open(&self) -> bool {
        self.certainty != Certainty::Accepted && !self.shown
    }

    /// Whether a list lags that says this of the machine.
    ///
    /// Nothing is news of a machine whose destroy was accepted. After a start or stop, a list lags that says something
    /// older than an earlier one, or what would be so without the write while none has shown it yet. A change since then
    /// is news: a machine that was started and is `stopped` again has died. A failure and an end are always news.
    ///
    /// What the API's clock says is compared with ours, from when the write's answer was heard on: an attempt of it that
    /// had no answer may have been undone before. Where our clock is ahead, news come late, at most by a minute; where it
    /// is behind, a change from before the write may pass for one after it. A time without a fraction names a whole second,
    /// which is before the pass only where all of it is.
    pub(super) fn lags(&mut self, state: &State, updated_at: Option<Timestamp>) -> bool {
        let is_before = match self.expected {
            Expected::Destroy => return true,
            Expected::Start => state.is_down(),
            Expected::Stop => state.may_run(),
        };
        let is_older = (state.is_up() || state.is_down())
            && matches!((updated_at, self.newest), (Some(this), Some(newest)) if this < newest);
        let is_later = updated_at.is_some_and(|this| {
            this > self.after && self.newest.is_none_or(|newest| this > newest)
        });
        // What it brings about may also have come about before.
        let is_from_before = (state.is_up() || state.is_down())
            && updated_at.is_some_and(|this| is_surely_before(this, self.began));
        self.newest = self.newest.max(updated_at);
        self.shown |= is_later || !(is_older || is_before || is_from_before);
        is_older || !self.shown
    }
}

/// A create whose answer was lost: it may have happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnknownCreate {
    pub(super) region: String,
    pub(super) since: Instant,
    /// When the pass began that made it, by the wall clock.
    began: Timestamp,
    /// When it was given up, by the wall clock.
    after: Timestamp,
    passes_left: u32,
    /// Whether lists should have shown by now what it made: it then only keeps its place under the ceiling.
    pub(super) doubtful: bool,
}

impl UnknownCreate {
    /// Whether it may have made a machine that the API says was created then: not one that lists have lacked for months.
    pub(super) fn may_have_made_at(&self, created_at: Option<Timestamp>) -> bool {
        created_at.is_none_or(|created_at| {
            created_at >= self.began - CLOCKS_APART && created_at <= self.after + CLOCKS_APART
        })
    }

    /// Counts one more list that does not show what it made; whether lists should have shown it by now.
    ///
    /// Lists may lag for a minute. One that lacks other machines of the region says nothing about this one.
    pub(super) fn is_doubtful(&mut self, region_is_lacking: bool, now: Instant) -> bool {
        let seen_by_all = self.passes_left == 0;
        self.passes_left = self.passes_left.saturating_sub(1);
        self.doubtful |= seen_by_all
            && !region_is_lacking
            && now.saturating_duration_since(self.since) >= SETTLE_TIME;
        self.doubtful
    }

    /// Whether a list that shows such a last `change` in the region would show what it made, or all is over.
    ///
    /// A minute's difference between the clocks is allowed for, as everywhere.
    pub(super) fn is_settled(&self, change: Option<Timestamp>, now: Instant) -> bool {
        change.is_some_and(|change| change >= self.after + SETTLE_TIME)
            || now.saturating_duration_since(self.since) >= DOUBTED_FOR
    }
}

/// A clone of ours that has not lived long enough to prove that creating works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CloneTrial {
    pub(super) region: String,
    pub(super) since: Instant,
    /// Whether its create was accepted then; or else a list has shown it as what a create of unknown outcome made.
    pub(super) accepted: bool,
}

#[derive(Debug, Clone, Default)]
struct CreateBackoff {
    app: Backoff,
    regions: BTreeMap<String, Backoff>,
    source: Option<Fingerprint>,
    /// What is left of the pauses of earlier sources, the newest last: which machine is cloned can change from pass to pass
    /// and back, and each source whose clones fail waits for itself.
    earlier: Vec<(Fingerprint, Backoff)>,
    /// Whether clones of it are removed by the platform when they end.
    source_ends_by_itself: bool,
}

/// One outcome of acting, as memory needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A create was accepted.
    Created {
        /// The new machine.
        id: String,
        /// Where it went.
        region: String,
    },
    /// A create was refused and surely did not happen.
    CreateRefused {
        /// Where it should have gone.
        region: String,
    },
    /// A create whose outcome is unknown.
    CreateUnknown {
        /// Where it should have gone.
        region: String,
    },
    /// A destroy was accepted, or the machine was gone already.
    Destroyed {
        /// The machine.
        id: String,
    },
    /// A start or stop for the started target found the machine gone: it ended without us.
    Gone {
        /// The machine.
        id: String,
    },
    /// A destroy whose outcome is unknown: no other goes in its place until lists must show what came of it.
    DestroyUnknown {
        /// The machine.
        id: String,
    },
    /// A destroy, or the stop before it, that surely did not happen.
    DestroyRefused {
        /// The machine.
        id: String,
        /// Whether the answer was that its state has changed in the meantime, as one that was woken meanwhile.
        woken: bool,
    },
    /// A running victim's stop was accepted.
    VictimStopped {
        /// The machine.
        id: String,
    },
    /// A running victim's stop whose outcome is unknown.
    VictimStopUnknown {
        /// The machine.
        id: String,
    },
    /// A start was accepted.
    Started {
        /// The machine.
        id: String,
    },
    /// A stop or suspend for the started target was accepted.
    Stopped {
        /// The machine.
        id: String,
    },
    /// A start that surely did not happen.
    StartRefused {
        /// The machine.
        id: String,
    },
    /// A start whose outcome is unknown: the next list says what became of it.
    StartUnknown {
        /// The machine.
        id: String,
    },
    /// A stop or suspend whose outcome is unknown: the next list says what became of it.
    StopUnknown {
        /// The machine.
        id: String,
    },
    /// A create was refused that would have used these volumes, which had been there before: their hosts may have no room.
    VolumesRefused {
        /// Their ids.
        volumes: Vec<String>,
    },
}

impl Memory {
    /// Remembers one outcome of acting on what was `observed` by the pass that began at `pass_start`; `at` is when
    /// the outcome was known.
    pub fn record(
        &mut self,
        effect: Effect,
        observed: &Observed,
        policy: &Policy,
        pass_start: Now,
        at: Instant,
    ) {
        use Certainty::Accepted;
        let began = pass_start.monotonic;
        let changed_before = |id: &str| observed.member(id)?.machine.updated_at;
        match effect {
            Effect::Created { id, region } => {
                self.placement.asked(&region, policy);
                self.creates.accepted(&region);
                let started = policy.initial_state == InitialState::Started;
                let ends_by_itself = self.creates.source_ends_by_itself;
                self.sights.entry(id.clone()).or_insert_with(|| {
                    Sight::of_create(region.clone(), started, ends_by_itself, at)
                });
                let trial = CloneTrial {
                    region,
                    since: at,
                    accepted: true,
                };
                self.clones.insert(id, trial);
            }
            Effect::CreateRefused { region } => {
                self.creates.refused(region, policy.interval, began);
            }
            Effect::CreateUnknown { region } => {
                self.placement.asked(&region, policy);
                self.unknown_creates.push(UnknownCreate {
                    region: region.clone(),
                    since: at,
                    began: pass_start.wall,
                    after: pass_start.wall + at.saturating_duration_since(began),
                    passes_left: UNKNOWN_CREATE_PASSES,
                    doubtful: false,
                });
                self.creates.refused(region, policy.interval, began);
            }
            Effect::Destroyed { id } => {
                self.clones.remove(&id);
                self.unsettled_destroys.remove(&id);
                self.lately.destroy_tried(&id, at);
                self.lately.forget_victim(&id);
                self.mark_gone(&id, at);
                self.expect(id, Expected::Destroy, Accepted, observed, (pass_start, at));
            }
            Effect::Gone { id } => {
                self.note_gone(&id, at);
                // The next list may come when nothing is remembered of the machine any more.
                self.judge_clones(policy, began);
                self.expect(id, Expected::Destroy, Accepted, observed, (pass_start, at));
            }
            Effect::DestroyUnknown { id } => {
                self.lately.destroy_tried(&id, at);
                self.unsettled_destroys.insert(id, at);
            }
            Effect::DestroyRefused { id, woken } => self.lately.destroy_refused(&id, woken, at),
            Effect::VictimStopped { id } => {
                self.lately.victim_stopped(&id, changed_before(&id), at);
                self.expect(id, Expected::Stop, Accepted, observed, (pass_start, at));
            }
            Effect::VictimStopUnknown { id } => {
                self.lately
                    .victim_stop_unknown(&id, changed_before(&id), at);
            }
            Effect::StartRefused { id } => self.lately.start_refused(&id, at),
            Effect::Started { id } => {
                self.lately.forget_victim(&id);
                self.lately.start_tried(&id, changed_before(&id), at);
                self.expect(id, Expected::Start, Accepted, observed, (pass_start, at));
            }
            Effect::Stopped { id } => {
                self.lately.stop_tried(&id, changed_before(&id), at);
                self.expect(id, Expected::Stop, Accepted, observed, (pass_start, at));
            }
            Effect::StartUnknown { id } => {
                self.lately.start_tried(&id, changed_before(&id), at);
                self.expect_unknown(id, Expected::Start, observed, (pass_start, at));
            }
            Effect::StopUnknown { id } => {
                self.lately.stop_tried(&id, changed_before(&id), at);
                self.expect_unknown(id, Expected::Stop, observed, (pass_start, at));
            }
            Effect::VolumesRefused { volumes } => {
                self.volumes_aside = volumes.into_iter().collect();
            }
        }
    }

    /// A machine was told to be gone, by whoever ended it.
    pub(super) fn note_gone(&mut self, id: &str, at: Instant) {
        self.unsettled_destroys.remove(id);
        self.lately.told_gone(id, at);
        self.mark_gone(id, at);
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
        self.sights.contains_key(id) || self.aside.contains_key(id) || self.clones.contains_key(id)
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

    /// Leaves the pause of creating behind when what is to be cloned has changed: `fingerprint` is the source's, and
    /// `ends_by_itself` says whether clones of it are removed by the platform when they end.
    ///
    /// It stands for the configuration, not for the machine: of two machines with the same configuration the clones
    /// fail alike.
    pub fn note_source(&mut self, fingerprint: Fingerprint, ends_by_itself: bool) {
        self.creates.source_ends_by_itself = ends_by_itself;
        self.creates.turn_to(fingerprint);
    }

    /// The pause of creating that is left, were a machine with this configuration cloned.
    pub(super) fn create_pause(&self, fingerprint: Fingerprint, now: Instant) -> Option<Duration> {
        self.creates.of_source(fingerprint)?.remaining(now)
    }

    /// Whether creates in `region` failed lately.
    pub(super) fn region_backs_off(&self, region: &str, now: Instant) -> bool {
        self.creates
            .regions
            .get(region)
            .is_some_and(|backoff| backoff.remaining(now).is_some())
    }

    /// When a create in `region` failed last, if none has been accepted since, there or elsewhere.
    pub(super) fn region_failed_in_vain(&self, region: &str) -> Option<Instant> {
        self.creates.regions.get(region)?.failed_in_vain()
    }

    /// How many passes in a row had no target of `kind`.
    #[must_use]
    pub fn missing_passes(&self, kind: Kind) -> u32 {
        self.limits.kind(kind).missing_passes
    }

    /// A pass begins at `now`. `standstill` is when the process last began to move again; see [`Pulse`](super::Pulse).
    ///
    /// What must have lasted begins anew where nothing was looked at since this app's last pass.
    pub fn begin_pass(&mut self, standstill: Option<Instant>, now: Instant) {
        let last = self.last_pass.replace(now);
        if standstill.is_some_and(|ended| last.is_some_and(|last| last < ended)) {
            self.limits.note_standstill();
            self.running_surplus.record(0, now);
        }
    }

    /// A pass ended before it could see the machines: it had no target, as one whose metric is missing.
    pub fn note_blind_pass(&mut self, now: Instant) {
        self.limits.note_blind_pass();
        if self.limits.kind(Kind::Created).is_broken() {
            self.running_surplus.record(0, now);
        }
    }

    pub(super) fn clone_was_lost(&mut self, region: &str, policy: &Policy, now: Instant) {
        self.creates.app.lost_clone(policy.interval, now);
        self.creates
            .regions
            .entry(region.to_owned())
            .or_default()
            .lost_clone(policy.interval, now);
    }

    pub(super) fn clone_lived(&mut self, region: &str) {
        self.creates.app.clone_lived();
        if let Some(backoff) = self.creates.regions.get_mut(region) {
            backoff.clone_lived();
        }
    }

    fn expect(
        &mut self,
        id: String,
        expected: Expected,
        certainty: Certainty,
        observed: &Observed,
        (pass_start, since): (Now, Instant),
    ) {
        let Some(member) = observed.member(&id).filter(|member| member.is_listed()) else {
            return;
        };
        // Where no later list shows it, it counts as what the write made of it.
        let sight = self.sights.get_mut(&id);
        if let Some(sight) = sight.filter(|_| certainty == Certainty::Accepted) {
            (sight.state, sight.started) = match expected {
                Expected::Destroy => (State::Destroying, false),
                Expected::Start => (State::Starting, true),
                Expected::Stop => (State::Stopping, false),
            };
        }
        let expectation = Expectation {
            expected,
            certainty,
            since,
            began: pass_start.wall,
            after: pass_start.wall + since.saturating_duration_since(pass_start.monotonic),
            newest: member.machine.updated_at,
            shown: false,
        };
        self.expectations.insert(id, expectation);
    }

    /// Expects a write for another minute that has happened and that lists deny; `updated_at` is the machine's change that
    /// came of it, where it is known, and `denied` the one that the list shows which is known to be old.
    pub(super) fn deny(
        &mut self,
        id: &str,
        expected: Expected,
        updated_at: Option<Timestamp>,
        denied: Option<Timestamp>,
        now: Now,
    ) {
        let changed = updated_at.unwrap_or(now.wall);
        let expectation = Expectation {
            expected,
            certainty: Certainty::Accepted,
            since: now.monotonic,
            began: changed,
            after: changed,
            newest: updated_at.max(denied),
            shown: false,
        };
        self.expectations.insert(id.to_owned(), expectation);
    }

    /// Expects a start or stop whose outcome is unknown. One that is unknown for the second time is not repeated before a
    /// list or a minute has settled it: told again and again, a machine that never answers would keep its slot for ever.
    fn expect_unknown(
        &mut self,
        id: String,
        expected: Expected,
        observed: &Observed,
        when: (Now, Instant),
    ) {
        let again = self
            .expectations
            .get(&id)
            .is_some_and(|before| before.expected == expected && before.is_open());
        let certainty = if again {
            Certainty::Held
        } else {
            Certainty::Unknown
        };
        self.expect(id, expected, certainty, observed, when);
    }

    /// Drops what has outlived its use, so that memory does not grow with time.
    pub(super) fn forget_expired(&mut self, now: Instant) {
        self.unsettled_destroys
            .retain(|_, since| now.saturating_duration_since(*since) < SETTLE_TIME);
        self.aside
            .retain(|_, seen| now.saturating_duration_since(*seen) < REMEMBERED_ASIDE);
        self.creates
            .regions
            .retain(|_, backoff| !backoff.is_idle(now));
    }
}

impl CreateBackoff {
    fn accepted(&mut self, region: &str) {
        self.app.accepted();
        for backoff in self.regions.values_mut() {
            backoff.accepted_elsewhere();
        }
        self.regions
            .entry(region.to_owned())
            .or_default()
            .accepted();
    }

    /// The pause of one source; `None` where nothing is remembered of it.
    fn of_source(&self, source: Fingerprint) -> Option<&Backoff> {
        match self.source {
            Some(current) if current.differs(source) => self
                .earlier
                .iter()
                .find(|(earlier, _)| !earlier.differs(source))
                .map(|(_, backoff)| backoff),
            _ => Some(&self.app),
        }
    }

    /// Makes `source` the one whose pause counts.
    fn turn_to(&mut self, source: Fingerprint) {
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

    fn refused(&mut self, region: String, interval: Duration, pass_start: Instant) {
        self.app.refused(interval, pass_start);
        self.regions
            .entry(region)
            .or_default()
            .refused(interval, pass_start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::tests::fleet::{Fleet, created, ids, machine};

    fn refused(region: &str) -> Effect {
        Effect::CreateRefused {
            region: region.to_owned(),
        }
    }

    fn accepted(id: &str, region: &str) -> Effect {
        Effect::Created {
            id: id.to_owned(),
            region: region.to_owned(),
        }
    }

    fn pause(fleet: &Fleet, second: u64) -> Option<u64> {
        let pause = fleet
            .memory
            .create_pause(7.into(), fleet.at(second).monotonic);
        pause.map(|pause| pause.as_secs())
    }

    fn fleet() -> (Fleet, Observed) {
        let mut fleet = Fleet::new(Policy::default());
        fleet.memory.note_source(7.into(), false);
        let observed = fleet.observe(0, &["a ord started"]);
        (fleet, observed)
    }

    #[test]
    fn failing_creates_pause_for_1_2_4_intervals_and_at_most_five_minutes() {
        let (mut fleet, observed) = fleet();
        for (pass, seconds) in [15, 30, 60, 120, 240, 300, 300].into_iter().enumerate() {
            let second = 1000 * u64::try_from(pass).expect("few");
            fleet.record(second, &observed, &[refused("ord"), refused("iad")]);
            assert_eq!(pause(&fleet, second), Some(seconds), "pass {pass}");
            assert_eq!(pause(&fleet, second + seconds), None, "pass {pass}");
        }
        fleet.record(9000, &observed, &[accepted("b", "ord")]);
        assert_eq!(pause(&fleet, 9000), None, "a success ends it");
        fleet.record(9015, &observed, &[refused("ord")]);
        assert_eq!(
            pause(&fleet, 9015),
            Some(15),
            "and it begins anew after that"
        );
    }

    #[test]
    fn a_create_of_unknown_outcome_pauses_creating_too() {
        let (mut fleet, observed) = fleet();
        let unknown = Effect::CreateUnknown {
            region: "ord".to_owned(),
        };
        fleet.record(0, &observed, &[unknown]);
        assert_eq!(pause(&fleet, 0), Some(15));
    }

    #[test]
    fn another_source_ends_the_pause() {
        let (mut fleet, observed) = fleet();
        fleet.record(0, &observed, &[refused("ord")]);
        let now = fleet.at(0).monotonic;
        assert_eq!(fleet.memory.create_pause(8.into(), now), None);
        assert!(fleet.memory.region_backs_off("ord", now));
        fleet.memory.note_source(8.into(), false);
        assert_eq!(fleet.memory.create_pause(8.into(), now), None);
        assert!(!fleet.memory.region_backs_off("ord", now));
        fleet.record(0, &observed, &[refused("ord")]);
        assert_eq!(
            fleet.memory.create_pause(8.into(), now),
            Some(Duration::from_secs(15)),
            "the new one begins with one interval"
        );
    }

    #[test]
    fn sources_that_take_turns_wait_each_for_itself() {
        let (mut fleet, observed) = fleet();
        let fail = |fleet: &mut Fleet, source: u64, second: u64| {
            fleet.memory.note_source(source.into(), false);
            fleet.record(second, &observed, &[refused("ord")]);
            let now = fleet.at(second).monotonic;
            let pause = fleet.memory.create_pause(source.into(), now);
            pause.map(|pause| pause.as_secs())
        };
        assert_eq!(fail(&mut fleet, 7, 0), Some(15));
        assert_eq!(
            fail(&mut fleet, 8, 15),
            Some(15),
            "another configuration begins anew"
        );
        assert_eq!(fail(&mut fleet, 7, 30), Some(30));
        assert_eq!(fail(&mut fleet, 8, 60), Some(30));
        assert_eq!(fail(&mut fleet, 7, 90), Some(60));
        let pause = |fleet: &Fleet, source: u64, second| {
            let now = fleet.at(second).monotonic;
            fleet.memory.create_pause(source.into(), now)
        };
        let left = Some(Duration::from_secs(1));
        assert_eq!(pause(&fleet, 8, 89), left, "not forgotten");
        assert_eq!(pause(&fleet, 9, 89), None);
        fleet.memory.note_source(8.into(), false);
        fleet.observe(2000, &["a ord started"]);
        assert_eq!(
            fail(&mut fleet, 7, 2000),
            Some(120),
            "it had no success meanwhile"
        );
        for source in 10..30 {
            fleet.memory.note_source(source.into(), false);
        }
        assert_eq!(fleet.memory.creates.earlier.len(), EARLIER_SOURCES);
    }

    #[test]
    fn a_region_backs_off_on_its_own() {
        let (mut fleet, observed) = fleet();
        fleet.record(0, &observed, &[refused("ord"), accepted("b", "iad")]);
        let now = fleet.at(0).monotonic;
        assert_eq!(pause(&fleet, 0), None, "creating works");
        assert!(fleet.memory.region_backs_off("ord", now));
        assert!(!fleet.memory.region_backs_off("iad", now));
        assert!(!fleet.memory.region_backs_off("ord", fleet.at(15).monotonic));
    }

    #[test]
    fn a_clone_that_fails_or_vanishes_within_five_minutes_counts_as_a_failed_create() {
        // What lists show of the clone and when; the pause in the last of those passes. Growth is wanted in each, and
        // one that is missing is gone where it is asked for.
        type Lists = [(u64, Option<&'static str>)];
        let cases: [(&str, &Lists, Option<u64>); 13] = [
            ("it lives", &[(15, Some("started"))], None),
            ("it failed", &[(15, Some("failed"))], Some(15)),
            (
                "it could not be launched",
                &[(15, Some("launch_failed"))],
                Some(15),
            ),
            (
                "it is on its way out",
                &[(15, Some("destroying"))],
                Some(15),
            ),
            ("it is not listed so far", &[(59, None)], None),
            ("it was never listed", &[(60, None)], Some(15)),
            (
                "it vanished after a minute",
                &[(15, Some("started")), (75, None)],
                Some(15),
            ),
            (
                "it vanished within five minutes",
                &[(15, Some("started")), (299, None)],
                Some(15),
            ),
            (
                "it vanished later",
                &[(15, Some("started")), (300, None)],
                None,
            ),
            (
                "it ended as it should",
                &[(15, Some("started auto-destroy")), (30, None)],
                None,
            ),
            (
                "it is about to end as it should",
                &[(15, Some("destroying auto-destroy"))],
                None,
            ),
            (
                "it failed, and would have ended by itself",
                &[(15, Some("failed auto-destroy"))],
                Some(15),
            ),
            (
                "its host does not answer",
                &[(15, Some("started host-down"))],
                None,
            ),
        ];
        for (name, lists, expected) in cases {
            let (mut fleet, observed) = fleet();
            fleet.record(0, &observed, &[accepted("b", "ord")]);
            let mut last = 0;
            for (second, state) in lists {
                let clone = state.map(|state| format!("b ord {state}"));
                let list: Vec<&str> = ["a ord started"]
                    .into_iter()
                    .chain(clone.as_deref())
                    .collect();
                fleet.pass(*second, created(3, 3), &list);
                last = *second;
            }
            assert_eq!(pause(&fleet, last), expected, "{name}");
            let region = fleet
                .memory
                .region_backs_off("ord", fleet.at(last).monotonic);
            assert_eq!(region, expected.is_some(), "{name}");
        }
    }

    #[test]
    fn a_clone_that_ended_before_a_list_showed_it_is_judged_by_its_source() {
        for (ends_by_itself, expected) in [(false, Some(15)), (true, None)] {
            let (mut fleet, observed) = fleet();
            fleet.memory.note_source(7.into(), ends_by_itself);
            fleet.record(0, &observed, &[accepted("b", "ord")]);
            fleet.pass(60, created(2, 2), &["a ord started"]);
            assert_eq!(pause(&fleet, 60), expected);
        }
    }

    #[test]
    fn a_clone_is_lost_when_it_was_first_missing_and_not_when_somebody_asked() {
        for (missing, expected) in [(285, Some(15)), (300, None)] {
            let (mut fleet, observed) = fleet();
            fleet.record(0, &observed, &[accepted("b", "ord")]);
            fleet.observe(15, &["a ord started", "b ord started"]);
            fleet.observe(missing, &["a ord started"]);
            let pass = fleet.pass(900, created(2, 2), &["a ord started"]);
            assert_eq!(pass.asked, ["b"]);
            assert_eq!(pause(&fleet, 900), expected, "missing since {missing}");
        }
    }

    #[test]
    fn a_lost_clone_is_judged_once() {
        let (mut fleet, observed) = fleet();
        fleet.record(0, &observed, &[accepted("b", "ord")]);
        for second in [15, 30, 45] {
            fleet.observe(second, &["a ord started", "b ord failed"]);
        }
        assert_eq!(pause(&fleet, 15), Some(15));
        assert_eq!(pause(&fleet, 30), None);
    }

    #[test]
    fn clones_that_fail_again_and_again_pause_longer_and_longer() {
        let (mut fleet, observed) = fleet();
        for (round, seconds) in [15, 30, 60, 120, 240, 300].into_iter().enumerate() {
            let second = 400 * u64::try_from(round).expect("few");
            fleet.record(second, &observed, &[accepted(&format!("b{round}"), "ord")]);
            let clone = format!("b{round} ord failed");
            fleet.observe(second + 15, &["a ord started", &clone]);
            assert_eq!(pause(&fleet, second + 15), Some(seconds), "round {round}");
        }
    }

    #[test]
    fn a_clone_that_lived_ends_the_count_of_lost_ones() {
        let (mut fleet, observed) = fleet();
        fleet.record(0, &observed, &[accepted("b", "ord"), accepted("c", "ord")]);
        let list = ["a ord started", "b ord failed", "c ord started"];
        fleet.observe(15, &list);
        fleet.observe(300, &list);
        fleet.record(300, &observed, &[accepted("d", "ord")]);
        fleet.observe(315, &["a ord started", "c ord started", "d ord failed"]);
        assert_eq!(pause(&fleet, 315), Some(15));
    }

    #[test]
    fn a_clone_that_we_destroy_or_may_have_destroyed_is_no_failed_create() {
        let id = || "b".to_owned();
        let effects = [
            Effect::Destroyed { id: id() },
            Effect::DestroyUnknown { id: id() },
            Effect::VictimStopped { id: id() },
        ];
        for effect in effects {
            for shown in [None, Some("b ord destroying")] {
                let (mut fleet, observed) = fleet();
                fleet.record(0, &observed, &[accepted("b", "ord")]);
                let observed = fleet.observe(15, &["a ord started", "b ord stopped"]);
                fleet.record(15, &observed, std::slice::from_ref(&effect));
                let list: Vec<&str> = ["a ord started"].into_iter().chain(shown).collect();
                fleet.pass(30, created(2, 2), &list);
                assert_eq!(pause(&fleet, 30), None, "{effect:?}, {shown:?}");
            }
        }
    }

    #[test]
    fn a_clone_that_a_start_or_stop_found_gone_is_a_failed_create() {
        let cases = [
            (30, "", Some(15)),
            (299, "", Some(15)),
            (300, "", None),
            (30, "auto-destroy", None),
        ];
        for (second, special, expected) in cases {
            let (mut fleet, observed) = fleet();
            fleet.record(0, &observed, &[accepted("b", "ord")]);
            let clone = format!("b ord stopped {special}");
            let list = ["a ord started", &clone];
            let observed = fleet.observe(second, &list);
            let gone = Effect::Gone { id: "b".to_owned() };
            fleet.record(second, &observed, &[gone]);
            assert_eq!(pause(&fleet, second), expected, "{special} at {second}");
            let observed = fleet.observe(second + 15, &list);
            assert_eq!(observed.created, 1, "whatever a list still shows");
            fleet.observe(second + 90, &list[..1]);
            let again = pause(&fleet, second + 90);
            assert_eq!(again, None, "it is judged once");
        }
    }

    #[test]
    fn a_destroy_of_unknown_outcome_is_remembered_for_a_minute_and_until_somebody_knows() {
        let mut fleet = Fleet::new(Policy::default());
        let list = ["a ord stopped", "b ord stopped"];
        let observed = fleet.observe(0, &list);
        let unsettled = Effect::DestroyUnknown { id: "b".to_owned() };
        fleet.record(0, &observed, &[unsettled]);
        let unsettled = |observed: &Observed| -> Vec<bool> {
            let members = observed.members.iter();
            members.map(|member| member.unsettled_destroy).collect()
        };
        assert_eq!(unsettled(&fleet.observe(15, &list)), [false, true]);
        assert_eq!(unsettled(&fleet.observe(20, &list[..1])), [false, true]);
        assert_eq!(unsettled(&fleet.observe(59, &list)), [false, true]);
        assert_eq!(unsettled(&fleet.observe(60, &list)), [false, true]);
        let known = fleet.observe_and_ask(75, &list);
        assert_eq!(unsettled(&known), [false, false]);
        assert_eq!(unsettled(&fleet.observe(90, &list)), [false, false]);
    }

    #[test]
    fn an_effect_on_a_machine_that_was_not_listed_expects_nothing() {
        let (mut fleet, observed) = fleet();
        let effects = [
            Effect::Started { id: "z".to_owned() },
            Effect::Stopped { id: "z".to_owned() },
        ];
        fleet.record(0, &observed, &effects);
        assert_eq!(ids(&fleet.observe(15, &["a ord started"])), ["a"]);
    }

    #[test]
    fn a_change_in_the_second_of_the_pass_is_believed_and_one_before_it_is_not() {
        let id = || "b".to_owned();
        let stopped = (Effect::Stopped { id: id() }, "started", "stopped");
        let started = (Effect::Started { id: id() }, "stopped", "started");
        for (effect, before, after) in [stopped, started] {
            for (second, believed) in [(10, true), (9, false)] {
                let mut fleet = Fleet::new(Policy::default());
                let fraction = Duration::from_millis(700);
                let began = Now {
                    monotonic: fleet.at(10).monotonic + fraction,
                    wall: fleet.at(10).wall + fraction,
                };
                let list = [format!("b ord {before} updated=-100")];
                let list = list.iter().map(|text| machine(text)).collect();
                let observed = fleet.memory.observe(list, &fleet.policy, began);
                let known = began.monotonic + Duration::from_millis(40);
                fleet
                    .memory
                    .record(effect.clone(), &observed, &fleet.policy, began, known);
                let shown = format!("b ord {after} updated={second}");
                let observed = fleet.observe(12, &["a ord started", &shown]);
                let member = observed.member("b").expect("listed");
                assert_eq!(member.is_free(), believed, "{after} at {second}");
            }
        }
    }

    #[test]
    fn a_time_of_the_api_is_before_a_moment_where_all_of_it_is() {
        let cases = [
            ("10Z", "10.7Z", false),
            ("10Z", "11Z", true),
            ("10Z", "10Z", false),
            ("10.6Z", "10.7Z", true),
            ("10.8Z", "10.7Z", false),
            ("11Z", "10.7Z", false),
        ];
        for (named, moment, expected) in cases {
            let time = |text: &str| -> Timestamp {
                let text = format!("2026-01-01T00:00:{text}");
                text.parse().expect("a literal timestamp")
            };
            let before = is_surely_before(time(named), time(moment));
            assert_eq!(before, expected, "{named} before {moment}");
        }
    }

    #[test]
    fn two_passes_without_a_target_break_the_surplus_and_one_does_not() {
        use crate::scaling::tests::fleet::missing;
        let list = ["a ord started", "b ord started"];
        let cases = [
            ("", true),
            ("blind", true),
            ("missing", true),
            ("blind blind", false),
            ("missing missing", false),
            ("blind missing", false),
            ("missing blind", false),
            ("missing seen missing", true),
            ("inside", false),
        ];
        for (between, expected) in cases {
            let mut fleet = Fleet::new(Policy::default());
            fleet.pass(0, created(1, 1), &list);
            for (second, pass) in (10..).step_by(10).zip(between.split_whitespace()) {
                let now = fleet.at(second).monotonic;
                match pass {
                    "blind" => fleet.memory.note_blind_pass(now),
                    "missing" => drop(fleet.pass(second, missing(Kind::Created), &list)),
                    "seen" => drop(fleet.pass(second, created(1, 1), &list)),
                    _ => drop(fleet.pass(second, created(2, 2), &list)),
                }
            }
            let acts = fleet.pass(45, created(1, 1), &list).plan.action.is_some();
            assert_eq!(acts, expected, "{between}");
        }
    }

    #[test]
    fn a_standstill_starts_the_time_of_a_surplus_anew() {
        type Case<'a> = (&'a str, &'a [u64], Option<u64>, &'a [u64]);
        let list = ["a ord started", "b ord started"];
        // When passes begin, when the process moves again after it stood still, which passes act.
        let cases: [Case<'_>; 4] = [
            (
                "late passes of an overloaded pool",
                &[0, 70, 140],
                None,
                &[70, 140],
            ),
            ("frozen", &[0, 70, 114, 115], Some(70), &[115]),
            (
                "frozen, and another app was first to notice",
                &[0, 70, 115],
                Some(65),
                &[115],
            ),
            (
                "frozen before the surplus was seen",
                &[10, 70],
                Some(9),
                &[70],
            ),
        ];
        for (name, passes, moves, expected) in cases {
            let mut fleet = Fleet::new(Policy::default());
            let moves = moves.map(|second| fleet.at(second).monotonic);
            let mut acting = Vec::new();
            for second in passes {
                let now = fleet.at(*second).monotonic;
                let standstill = moves.filter(|at| *at <= now);
                fleet.memory.begin_pass(standstill, now);
                let pass = fleet.pass(*second, created(1, 1), &list);
                acting.extend(pass.plan.action.is_some().then_some(*second));
            }
            assert_eq!(acting, expected, "{name}");
        }
    }
}

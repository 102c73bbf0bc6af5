//! What happened to machines lately, as far as it decides whose turn it is.
//!
//! A destroy, start or stop that did not hold puts its machine behind the others for a while: one that can never be
//! destroyed must not be the only one ever tried. What counts as not holding is judged here, from outcomes and from what
//! later lists show; whom a plan then takes is `order`'s affair. Nothing is refused to a machine that goes last.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    Doubt, Member, Now, Observed, Policy, State, observe::SETTLE_TIME, unlisted::FORGOTTEN_AFTER,
};

/// How long a started machine must have run for the start to have held.
const KEPT_RUNNING: Duration = Duration::from_secs(60);

/// How long a machine goes last after the first attempt that did not hold; it doubles with each further one.
const SHORTEST: Duration = Duration::from_secs(60);

/// How long a victim that we stopped is remembered as one that may be started again.
const MAY_RETURN: Duration = Duration::from_secs(60 * 60);

/// The longest that a machine goes last, and how long after that its failures are remembered.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// What a plan has to know of the last minutes; all of it by machine id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lately {
    /// Machines that a destroy did not remove: the last to be destroyed.
    pub destroys_failed: BTreeSet<String>,
    /// Machines that a start did not keep running: the last to be started.
    pub starts_failed: BTreeSet<String>,
    /// Machines that a stop did not bring down: the last to be stopped.
    pub stops_failed: BTreeSet<String>,
    /// Machines that the started target stopped less than `FAS_DESTROY_RUNNING_AFTER` ago: to a destroy they count as
    /// running.
    pub stopped: BTreeSet<String>,
    /// Victims whose stop had no known outcome, and of which no list says so far whether they are on their way down.
    pub victims_in_doubt: BTreeSet<String>,
    /// Victims that ran when we stopped them, and that nobody has started or destroyed since: they may be started again
    /// where they are no longer to go.
    pub stopped_victims: BTreeSet<String>,
    /// Machines of which this list denies, long after it, what was written to them: nothing is done in their place before
    /// they were asked for.
    pub doubts: BTreeMap<String, Doubt>,
    /// Those whose destroy is in doubt, and a start or stop as well: it is the machine's state if it is still there.
    pub turns_in_doubt: BTreeMap<String, Doubt>,
}

impl Lately {
    /// Makes a machine go last whose write turned out to have come to nothing.
    pub(super) fn add_failed(&mut self, id: String, doubt: Doubt) {
        match doubt {
            Doubt::Destroy => self.destroys_failed.insert(id),
            Doubt::Start => self.starts_failed.insert(id),
            Doubt::Stop => self.stops_failed.insert(id),
        };
    }
}

/// What is remembered for it between passes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LatelyMemory {
    destroys: BTreeMap<String, Attempts>,
    starts: BTreeMap<String, Attempts>,
    stops: BTreeMap<String, Attempts>,
    stopped: BTreeMap<String, Instant>,
    victims_in_doubt: BTreeMap<String, Instant>,
    stopped_victims: BTreeMap<String, StoppedVictim>,
}

/// A victim that ran when we told it to stop, and has not been started or destroyed since.
#[derive(Debug, Clone, PartialEq, Eq)]
struct StoppedVictim {
    at: Instant,
    /// How often it was to be started again and was refused.
    refusals: u32,
    /// Until when it is not to be tried again because of that.
    pauses_until: Option<Instant>,
}

/// Attempts of one kind on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attempts {
    /// Those in a row that did not hold.
    failures: u32,
    /// When the last one was made.
    at: Instant,
    /// Whether lists have yet to show what came of it.
    open: bool,
    /// Until when the machine goes last.
    until: Option<Instant>,
    /// Whether the refusal said no more than that the machine is in another state by now.
    woken: bool,
    /// When a list last showed it running after a start.
    ran_at: Option<Instant>,
    /// Whether the last list denies it though lists should have shown it by then.
    denied: bool,
    /// When the machine was last asked for because of that.
    asked: Option<Instant>,
    /// Whether it was the stop before a destroy: a machine on its way down then has only to be waited for.
    is_stop: bool,
    /// Whether nothing was tried at all: the machine was only said to be gone, which doubts lists that show it.
    is_told: bool,
    /// The machine's time of change that was seen before the last one, as the API says.
    changed_before: Option<Timestamp>,
}

impl Attempts {
    fn failed(&mut self, now: Instant) {
        (self.open, self.denied) = (false, false);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + wait_after(self.failures));
    }

    fn goes_last(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Whether what a list shows of the machine has been so since before it was written to, or may have been: the list may
    /// then be old. One that repeats what was seen before is, whatever the clocks say; a time in the future says nothing.
    fn is_from_before(&self, member: &Member, now: Now) -> bool {
        let since_write = now.monotonic.saturating_duration_since(self.at);
        let Some(updated_at) = member.machine.updated_at else {
            return true;
        };
        let since_change = Duration::try_from(now.wall.duration_since(updated_at)).ok();
        Some(updated_at) == self.changed_before
            || since_change.is_none_or(|since_change| since_change >= since_write)
    }

    fn is_over(&self, now: Instant) -> bool {
        let end = self.until.unwrap_or(self.at).max(self.at);
        let kept = if self.denied {
            FORGOTTEN_AFTER
        } else {
            LONGEST
        };
        now.saturating_duration_since(end) >= kept
    }
}

/// How long a machine waits for its next turn after so many failures in a row.
fn wait_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1);
    let doublings = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    SHORTEST.saturating_mul(doublings).min(LONGEST)
}

fn attempt(
    attempts: &mut BTreeMap<String, Attempts>,
    id: &str,
    changed_before: Option<Timestamp>,
    at: Instant,
) {
    let attempts = attempts.entry(id.to_owned()).or_insert(Attempts {
        failures: 0,
        at,
        open: true,
        until: None,
        woken: false,
        ran_at: None,
        denied: false,
        asked: None,
        is_stop: false,
        is_told: false,
        changed_before,
    });
    (attempts.is_stop, attempts.is_told) = (false, false);
    attempts.changed_before = changed_before;
    (attempts.at, attempts.open, attempts.woken) = (at, true, false);
    (attempts.ran_at, attempts.denied) = (None, false);
}

fn close(attempts: &mut BTreeMap<String, Attempts>, id: &str) {
    if let Some(attempts) = attempts.get_mut(id) {
        (attempts.open, attempts.denied) = (false, false);
    }
}

impl LatelyMemory {
    /// A destroy was accepted: if lists go on showing the machine, that is in doubt.
    pub(super) fn destroyed(&mut self, id: &str, at: Instant) {
        close(&mut self.starts, id);
        close(&mut self.stops, id);
        self.destroy_unknown(id, at);
    }

    /// The outcome of a destroy is unknown. Where nothing came of it, the machine is what a start or stop before it has made of
    /// it, or may have.
    pub(super) fn destroy_unknown(&mut self, id: &str, at: Instant) {
        attempt(&mut self.destroys, id, None, at);
    }

    /// An answer about a machine told that it is gone, or a list showed it on its way out, which ends whatever was tried
    /// with it: a list that shows it again may be older than that. A destroy of ours that may have brought it about stays one.
    pub(super) fn told_gone(&mut self, id: &str, at: Instant) {
        let destroys = self.destroys.get(id);
        let was_tried = destroys.is_some_and(|attempts| attempts.open && !attempts.is_told);
        self.destroyed(id, at);
        if let Some(attempts) = self.destroys.get_mut(id) {
            attempts.is_told = !was_tried;
        }
        self.forget_victim(id);
    }

    /// A destroy surely did not happen. `woken`: the answer was that the machine is in another state by now, which is
    /// no failure of a machine that turns out to be running. Lists have yet to show what came of the stop before it: it may
    /// have removed the machine.
    pub(super) fn destroy_refused(&mut self, id: &str, woken: bool, at: Instant) {
        let before = self.destroys.get(id);
        let stop = before.filter(|attempts| attempts.open && attempts.is_stop);
        let stop = stop.map(|attempts| (attempts.at, attempts.changed_before));
        attempt(&mut self.destroys, id, None, at);
        if let Some(attempts) = self.destroys.get_mut(id) {
            attempts.woken = woken;
            attempts.failed(at);
            if let Some((at, changed_before)) = stop {
                (attempts.at, attempts.changed_before) = (at, changed_before);
                (attempts.open, attempts.is_stop) = (true, true);
            }
        }
    }

    /// A victim's stop was accepted: its destroy comes next, unless lists go on showing that it runs.
    pub(super) fn victim_stopped(
        &mut self,
        id: &str,
        changed_before: Option<Timestamp>,
        at: Instant,
    ) {
        close(&mut self.starts, id);
        close(&mut self.stops, id);
        attempt(&mut self.destroys, id, changed_before, at);
        if let Some(attempts) = self.destroys.get_mut(id) {
            attempts.is_stop = true;
        }
        self.remember_victim(id, at);
    }

    fn remember_victim(&mut self, id: &str, at: Instant) {
        let victim = StoppedVictim {
            at,
            refusals: 0,
            pauses_until: None,
        };
        self.stopped_victims.insert(id.to_owned(), victim);
    }

    /// A start surely did not happen: a victim that is to come back leaves other growth its turn for a while.
    pub(super) fn start_refused(&mut self, id: &str, at: Instant) {
        if let Some(victim) = self.stopped_victims.get_mut(id) {
            victim.refusals = victim.refusals.saturating_add(1);
            victim.pauses_until = Some(at + wait_after(victim.refusals));
        }
    }

    /// A machine is gone, or was started again: that we stopped it once no longer matters.
    pub(super) fn forget_victim(&mut self, id: &str) {
        self.stopped_victims.remove(id);
    }

    /// A victim's stop has no known outcome.
    pub(super) fn victim_stop_unknown(
        &mut self,
        id: &str,
        changed_before: Option<Timestamp>,
        at: Instant,
    ) {
        self.victim_stopped(id, changed_before, at);
        self.victims_in_doubt.insert(id.to_owned(), at);
    }

    /// Whether lists have yet to show what came of a victim's stop.
    pub(super) fn doubts_a_victim(&self, now: Instant) -> bool {
        let mut since = self.victims_in_doubt.values();
        since.any(|since| now.saturating_duration_since(*since) < SETTLE_TIME)
    }

    /// A start was accepted, or its outcome is unknown. `changed_before` is the machine's time of change that was seen
    /// before it.
    pub(super) fn start_tried(&mut self, id: &str, changed_before: Option<Timestamp>, at: Instant) {
        close(&mut self.stops, id);
        attempt(&mut self.starts, id, changed_before, at);
    }

    /// A stop or suspend for the started target was accepted, or its outcome is unknown. `changed_before` is the machine's
    /// time of change that was seen before it.
    pub(super) fn stop_tried(&mut self, id: &str, changed_before: Option<Timestamp>, at: Instant) {
        close(&mut self.starts, id);
        self.stopped.insert(id.to_owned(), at);
        attempt(&mut self.stops, id, changed_before, at);
    }

    fn of(&self, doubt: Doubt) -> &BTreeMap<String, Attempts> {
        match doubt {
            Doubt::Destroy => &self.destroys,
            Doubt::Start => &self.starts,
            Doubt::Stop => &self.stops,
        }
    }

    fn of_mut(&mut self, doubt: Doubt) -> &mut BTreeMap<String, Attempts> {
        match doubt {
            Doubt::Destroy => &mut self.destroys,
            Doubt::Start => &mut self.starts,
            Doubt::Stop => &mut self.stops,
        }
    }

    /// A machine in doubt was asked for.
    pub(super) fn asked(&mut self, id: &str, doubt: Doubt, at: Instant) {
        if let Some(attempts) = self.of_mut(doubt).get_mut(id) {
            attempts.asked = Some(at);
        }
    }

    /// When a machine in doubt was last asked for.
    pub(super) fn last_asked(&self, id: &str, doubt: Doubt) -> Option<Instant> {
        self.of(doubt).get(id)?.asked
    }

    /// What a list denies has happened: it stays open for as long as lists deny it.
    pub(super) fn happened(&mut self, id: &str, doubt: Doubt, at: Instant) {
        if let Some(attempts) = self.of_mut(doubt).get_mut(id) {
            (attempts.at, attempts.denied) = (at, false);
        }
    }

    /// What a list denies has not happened, or did not hold.
    pub(super) fn failed(&mut self, id: &str, doubt: Doubt, at: Instant) {
        if let Some(attempts) = self.of_mut(doubt).get_mut(id) {
            attempts.failed(at);
        }
    }

    /// Whether what a list denies was only told, and not tried.
    pub(super) fn was_told(&self, id: &str, doubt: Doubt) -> bool {
        let attempts = self.of(doubt).get(id);
        attempts.is_some_and(|attempts| attempts.is_told)
    }

    /// Whether the last destroy was refused with no more than that the machine is in another state by now.
    pub(super) fn was_woken(&self, id: &str) -> bool {
        let attempts = self.destroys.get(id);
        attempts.is_some_and(|attempts| attempts.woken)
    }

    /// A machine that was only woken when it was to be destroyed has not failed to go.
    pub(super) fn forget_destroys(&mut self, id: &str) {
        self.destroys.remove(id);
    }

    /// Whether a machine that is gone may have been ended by a destroy of ours, or by the stop before that.
    pub(super) fn may_have_ended(&self, id: &str) -> bool {
        let attempts = self.destroys.get(id);
        attempts.is_some_and(|attempts| attempts.open && !attempts.is_told)
    }

    /// What a list denies is neither so nor otherwise: it is let go.
    pub(super) fn close(&mut self, id: &str, doubt: Doubt) {
        close(self.of_mut(doubt), id);
    }

    /// Whether this machine was destroyed, or may have been, in the last minutes.
    pub(super) fn was_destroyed(&self, id: &str) -> bool {
        self.destroys.get(id).is_some_and(|attempts| attempts.open)
    }

    /// Judges what was tried by what a list shows, and forgets what is over.
    pub(super) fn note(&mut self, observed: &Observed, policy: &Policy, now: Now) {
        let at = now.monotonic;
        let shown = |id: &str| {
            observed.member(id).filter(|member| {
                member.is_listed() && !member.pending && member.unsettled.is_none()
            })
        };
        let destroys = &mut self.destroys;
        self.victims_in_doubt.retain(|id, since| {
            let went_down = shown(id).is_some_and(|member| {
                let state = &member.machine.state;
                state.is_down() && !state.may_run()
            });
            if went_down {
                close(destroys, id);
            }
            !went_down && at.saturating_duration_since(*since) < SETTLE_TIME
        });
        let in_doubt = &self.victims_in_doubt;
        self.destroys.retain(|id, attempts| {
            attempts.denied = false;
            // A start or stop that may have happened since says nothing of the destroy before it.
            let member = observed.member(id);
            let Some(member) = member.filter(|member| member.is_free()) else {
                return !attempts.is_over(at);
            };
            // One that runs since then has been woken.
            let runs_on = member.machine.state.may_run() && attempts.is_from_before(member, now);
            attempts.open &= !attempts.is_stop || runs_on;
            let is_settled = !member.unsettled_destroy && !in_doubt.contains_key(id);
            attempts.denied = attempts.open && is_settled;
            let was_woken = attempts.woken && member.machine.state.is_up() && !attempts.denied;
            !was_woken && !attempts.is_over(at)
        });
        self.starts.retain(|id, attempts| {
            attempts.denied = false;
            let held =
                attempts.open && shown(id).is_some_and(|member| judge_start(attempts, member, now));
            !held && !attempts.is_over(at)
        });
        self.stops.retain(|id, attempts| {
            attempts.denied = false;
            let held =
                attempts.open && shown(id).is_some_and(|member| judge_stop(attempts, member, now));
            !held && !attempts.is_over(at)
        });
        self.stopped.retain(|id, since| {
            let runs = shown(id).is_some_and(|member| member.machine.state == State::Started);
            !runs && at.saturating_duration_since(*since) < policy.destroy_running_after
        });

        let (destroys, in_doubt) = (&self.destroys, &self.victims_in_doubt);
        self.stopped_victims.retain(|id, victim| {
            let is_denied = destroys.get(id).is_some_and(|attempts| attempts.denied);
            let may_be_down = is_denied || in_doubt.contains_key(id);
            let runs = shown(id).is_some_and(|member| {
                let state = &member.machine.state;
                matches!(state, State::Started | State::Starting | State::Restarting)
            });
            (!runs || may_be_down) && at.saturating_duration_since(victim.at) < MAY_RETURN
        });
    }

    /// Whether no machine is remembered of which a destroy was tried, or that is gone as far as was told.
    pub(super) fn destroyed_none(&self) -> bool {
        self.destroys.is_empty()
    }

    /// What decides at that moment, of what is remembered.
    pub(super) fn at(&self, at: Instant) -> Lately {
        let last = |attempts: &BTreeMap<String, Attempts>| -> BTreeSet<String> {
            let last = attempts
                .iter()
                .filter(|(_, attempts)| attempts.goes_last(at));
            last.map(|(id, _)| id.clone()).collect()
        };
        let denied = |attempts: &BTreeMap<String, Attempts>, doubt: Doubt| {
            let denied = attempts.iter().filter(|(_, attempts)| attempts.denied);
            let denied = denied.map(|(id, _)| (id.clone(), doubt));
            denied.collect::<Vec<_>>()
        };
        let destroys = denied(&self.destroys, Doubt::Destroy);
        let turns = [
            denied(&self.starts, Doubt::Start),
            denied(&self.stops, Doubt::Stop),
        ];
        let mut doubts: BTreeMap<String, Doubt> = turns.into_iter().flatten().collect();
        let replaced = destroys
            .into_iter()
            .filter_map(|(id, doubt)| doubts.insert(id.clone(), doubt).map(|turn| (id, turn)));
        let turns_in_doubt = replaced.collect();
        Lately {
            doubts,
            turns_in_doubt,
            destroys_failed: last(&self.destroys),
            starts_failed: last(&self.starts),
            stops_failed: last(&self.stops),
            stopped: self.stopped.keys().cloned().collect(),
            victims_in_doubt: self.victims_in_doubt.keys().cloned().collect(),
            stopped_victims: {
                let victims = self.stopped_victims.iter();
                let victims = victims
                    .filter(|(_, victim)| victim.pauses_until.is_none_or(|until| until <= at));
                victims.map(|(id, _)| id.clone()).collect()
            },
        }
    }
}

/// Whether a start has held; one that surely did not is noted as failed, and one that a list denies as that.
///
/// The API says since when a machine has been at rest, and our own clock how long ago it was started. Where the API does
/// not say, it ran for as long as lists have shown it running.
fn judge_start(attempts: &mut Attempts, member: &Member, now: Now) -> bool {
    let since_start = now.monotonic.saturating_duration_since(attempts.at);
    match member.machine.state {
        State::Started => {
            attempts.ran_at = Some(now.monotonic);
            since_start >= KEPT_RUNNING
        }
        State::Stopped | State::Suspended => {
            let updated_at = member.machine.updated_at;
            let has_run = updated_at.is_none() && attempts.ran_at.is_some();
            if !has_run && attempts.is_from_before(member, now) {
                attempts.denied = true;
                return false;
            }
            let ran_for = match updated_at {
                Some(updated_at) => {
                    let at_rest = now.wall.duration_since(updated_at);
                    since_start.saturating_sub(Duration::try_from(at_rest).unwrap_or_default())
                }
                None => attempts.ran_at.map_or(Duration::ZERO, |ran_at| {
                    ran_at.saturating_duration_since(attempts.at)
                }),
            };
            // Ending is the work of a machine that is removed when it ends.
            let held = ran_for >= KEPT_RUNNING || member.machine.auto_destroy;
            if !held {
                attempts.failed(now.monotonic);
            }
            held
        }
        // Before its first start, and on its way down, a machine is as little at work as a stopped one.
        State::Creating | State::Created | State::Stopping | State::Suspending => {
            attempts.denied = attempts.is_from_before(member, now);
            false
        }
        _ => false,
    }
}

/// Whether a stop has held; one that surely did not is noted as failed, and one that a list denies as that.
fn judge_stop(attempts: &mut Attempts, member: &Member, now: Now) -> bool {
    let state = &member.machine.state;
    if state.may_run() && attempts.is_from_before(member, now) {
        attempts.denied = true;
    } else if *state == State::Started {
        attempts.failed(now.monotonic);
    }
    !attempts.denied && state.is_down()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::{Effect, tests::fleet::Fleet};

    const LIST: [&str; 2] = ["a ord started", "b ord stopped"];

    fn effect(word: &str) -> Effect {
        let id = "b".to_owned();
        match word {
            "destroyed" => Effect::Destroyed { id },
            "unknown" => Effect::DestroyUnknown { id },
            "refused" => Effect::DestroyRefused { id, woken: false },
            "woken" => Effect::DestroyRefused { id, woken: true },
            "victim stopped" => Effect::VictimStopped { id },
            "victim stop unknown" => Effect::VictimStopUnknown { id },
            "started" => Effect::Started { id },
            "stopped" => Effect::Stopped { id },
            _ => panic!("unknown effect {word}"),
        }
    }

    /// Which of destroys, starts and stops `b` comes last in.
    fn last(observed: &Observed) -> String {
        let lately = &observed.lately;
        let kinds = [
            (&lately.destroys_failed, "destroy"),
            (&lately.starts_failed, "start"),
            (&lately.stops_failed, "stop"),
        ];
        let last = kinds.iter().filter(|(ids, _)| ids.contains("b"));
        last.map(|(_, kind)| *kind).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_did_not_hold_goes_last() {
        // The effect on `b` at 0 s and what it was; then what lists show of it, and what it comes last in.
        type Case = (
            &'static str,
            &'static str,
            &'static str,
            &'static [(u64, &'static str, &'static str)],
        );
        let cases: [Case; 27] = [
            (
                "a refused destroy",
                "stopped",
                "refused",
                &[(15, "stopped", "destroy")],
            ),
            (
                "of a running one",
                "started",
                "refused",
                &[(15, "started", "destroy")],
            ),
            (
                "it was woken",
                "stopped",
                "woken",
                &[(15, "started", ""), (30, "stopped", "")],
            ),
            (
                "it was not woken",
                "stopped",
                "woken",
                &[(15, "stopped", "destroy")],
            ),
            (
                "an accepted one that removes nothing",
                "stopped",
                "destroyed",
                &[
                    (15, "stopped", ""),
                    (59, "stopped", ""),
                    (60, "stopped", "destroy"),
                ],
            ),
            (
                "one without an answer that removed nothing",
                "stopped",
                "unknown",
                &[
                    (15, "stopped", ""),
                    (59, "stopped", ""),
                    (60, "stopped", "destroy"),
                ],
            ),
            (
                "a stop without an answer that did nothing",
                "started",
                "victim stop unknown",
                &[
                    (15, "started", ""),
                    (59, "started", ""),
                    (60, "started", "destroy"),
                ],
            ),
            (
                "a stop without an answer that worked",
                "started",
                "victim stop unknown",
                &[
                    (15, "stopping", ""),
                    (30, "stopped", ""),
                    (90, "stopped", ""),
                ],
            ),
            (
                "a victim that is on its way",
                "started",
                "victim stopped",
                &[(15, "stopping", ""), (90, "stopped", "")],
            ),
            (
                "a start that held",
                "stopped",
                "started",
                &[
                    (15, "started", ""),
                    (60, "started", ""),
                    (61, "stopped updated=61", ""),
                ],
            ),
            (
                "a start that held for less than a minute",
                "stopped",
                "started",
                &[
                    (15, "started", ""),
                    (59, "started", ""),
                    (61, "stopped updated=59", "start"),
                ],
            ),
            (
                "a start that held between two far lists",
                "stopped",
                "started",
                &[(300, "stopped updated=60", "")],
            ),
            (
                "a start that did not hold between two far lists",
                "stopped",
                "started",
                &[(300, "stopped updated=1", "start")],
            ),
            (
                "a start without effect",
                "stopped",
                "started",
                &[(15, "stopped", ""), (60, "stopped", "start")],
            ),
            (
                "without a time of change it ran as long as was seen",
                "stopped",
                "started",
                &[
                    (15, "started", ""),
                    (59, "started", ""),
                    (300, "stopped", "start"),
                ],
            ),
            (
                "a clock in the future",
                "stopped",
                "started",
                &[(15, "started", ""), (20, "stopped updated=900", "start")],
            ),
            (
                "suspended again",
                "stopped",
                "started",
                &[
                    (15, "started updated=1", ""),
                    (30, "suspended updated=20", "start"),
                ],
            ),
            (
                "ending is its work",
                "stopped auto-destroy",
                "started",
                &[
                    (15, "started auto-destroy updated=1", ""),
                    (30, "stopped auto-destroy updated=20", ""),
                ],
            ),
            (
                "an old list of one whose work is to end",
                "stopped auto-destroy updated=-100",
                "started",
                &[(90, "stopped auto-destroy updated=-100", "start")],
            ),
            ("it failed", "stopped", "started", &[(15, "failed", "")]),
            (
                "a stop that held",
                "started",
                "stopped",
                &[
                    (15, "stopping", ""),
                    (30, "stopped", ""),
                    (90, "started", ""),
                ],
            ),
            (
                "a stop without effect",
                "started",
                "stopped",
                &[(15, "started", ""), (60, "started", "stop")],
            ),
            (
                "a host that does not answer says nothing",
                "stopped",
                "refused",
                &[(15, "stopped host-down", "destroy")],
            ),
            (
                "for a minute",
                "stopped",
                "refused",
                &[(59, "stopped", "destroy"), (60, "stopped", "")],
            ),
            (
                "a minute from when it showed",
                "stopped",
                "started",
                &[
                    (60, "stopped", "start"),
                    (119, "stopped", "start"),
                    (120, "stopped", ""),
                ],
            ),
            (
                "also where lists lack it for a while",
                "stopped",
                "refused",
                &[(15, "", "destroy"), (30, "stopped", "destroy")],
            ),
            (
                "an accepted destroy of a machine that is gone",
                "stopped",
                "destroyed",
                &[(15, "", ""), (60, "", ""), (90, "", "")],
            ),
        ];
        for (name, before, word, lists) in cases {
            let mut fleet = Fleet::new(Policy::default());
            let observed = fleet.observe(0, &["a ord started", &format!("b ord {before}")]);
            fleet.record(0, &observed, &[effect(word)]);
            for (second, state, expected) in lists {
                let machine = format!("b ord {state}");
                let list = ["a ord started", machine.as_str()];
                let list = if state.is_empty() {
                    &list[..1]
                } else {
                    &list[..]
                };
                let observed = fleet.observe_and_ask(*second, list);
                assert_eq!(last(&observed), *expected, "{name}, at {second} s");
            }
        }
    }

    #[test]
    fn it_goes_last_for_1_2_4_minutes_and_at_most_ten() {
        let mut fleet = Fleet::new(Policy::default());
        let mut second = 0;
        for seconds in [60, 120, 240, 480, 600, 600] {
            let observed = fleet.observe(second, &LIST);
            fleet.record(second, &observed, &[effect("refused")]);
            let at = second + seconds;
            assert_eq!(last(&fleet.observe(at - 1, &LIST)), "destroy", "{seconds}");
            assert_eq!(last(&fleet.observe(at, &LIST)), "", "{seconds}");
            second = at + 30;
        }
    }

    #[test]
    fn a_start_that_holds_ends_the_count() {
        let mut fleet = Fleet::new(Policy::default());
        let mut start = |second: u64, stays: bool| -> bool {
            let observed = fleet.observe(second, &LIST);
            fleet.record(second, &observed, &[effect("started")]);
            let running = ["a ord started", "b ord started"];
            if stays {
                fleet.observe(second + 60, &running);
            }
            let updated = second + if stays { 61 } else { 1 };
            let stopped = format!("b ord stopped updated={updated}");
            let stopped = ["a ord started", &stopped];
            fleet.observe(second + 61, &stopped);
            last(&fleet.observe(second + 61 + 90, &stopped)) == "start"
        };
        assert!(!start(0, false), "a minute by then");
        assert!(start(300, false), "two minutes");
        assert!(!start(600, true), "it held");
        assert!(!start(900, false), "a minute again");
    }

    #[test]
    fn what_the_started_target_stopped_counts_as_running_for_a_time() {
        let stopped_at = |second: u64, lists: &[(u64, &str)], word: &str| -> bool {
            let mut fleet = Fleet::new(Policy::default());
            let observed = fleet.observe(0, &["a ord started", "b ord started"]);
            let effects: Vec<Effect> = word.split(", ").map(effect).collect();
            fleet.record(0, &observed, &effects);
            for (second, state) in lists {
                fleet.observe(*second, &["a ord started", &format!("b ord {state}")]);
            }
            let observed = fleet.observe(second, &LIST);
            observed.lately.stopped.contains("b")
        };
        assert!(stopped_at(1, &[], "stopped"));
        assert!(stopped_at(
            44,
            &[(1, "stopping updated=1"), (20, "started updated=-9")],
            "stopped"
        ));
        assert!(
            stopped_at(
                44,
                &[(1, "stopping updated=1"), (20, "stopped updated=9")],
                "stopped, started"
            ),
            "a start that came to nothing"
        );
        assert!(!stopped_at(45, &[], "stopped"), "FAS_DESTROY_RUNNING_AFTER");
        assert!(!stopped_at(1, &[], "victim stopped"));
        let woken = [(1, "stopping updated=1"), (20, "started updated=19")];
        assert!(
            !stopped_at(44, &woken, "stopped"),
            "somebody woke it meanwhile"
        );
    }

    #[test]
    fn it_does_not_grow_with_time() {
        let words = [
            "refused",
            "unknown",
            "victim stopped",
            "victim stop unknown",
            "started",
            "stopped",
        ];
        for word in words {
            for (second, list) in [(0, &LIST[..]), (1, &LIST[..1])] {
                let mut fleet = Fleet::new(Policy::default());
                let observed = fleet.observe(0, &LIST);
                fleet.record(0, &observed, &[effect(word)]);
                fleet.observe(second, list);
                fleet.observe_and_ask(2000, list);
                fleet.observe_and_ask(4000, list);
                fleet.observe_and_ask(6000, list);
                assert_eq!(fleet.memory.lately(), &LatelyMemory::default(), "{word}");
            }
        }
    }
}

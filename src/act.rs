//! Carrying a plan out: calls side by side, waits, and what a failure spends.
//!
//! Nothing is decided here that could have been decided in the plan. What is left are the plan's own rules about
//! failures: a failed destroy spends its slot; a start or stop that surely did not happen moves on to the next candidate,
//! and one that may have happened spends its slot; a refused create moves on to the next region, and after a create whose
//! outcome is unknown no other is begun. Every call is under the pass deadline. Nothing is retried here; repeating one
//! call is the client's task.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{
    StreamExt as _,
    stream::{self, FuturesUnordered},
};
use tokio::time::Instant;

use crate::{
    clock::Watch,
    labels::{MachineWrite, Operation},
    lock::Term,
    machines::{
        ApiError, ApiErrorCause, AppClient, Chosen, CreateWindow, NewClone, PassVolumes, Turn,
        Verdict, WriteWindow,
    },
    metrics::Metrics,
    scaling::{
        Action, CloneSource, CloneTemplate, Decision, Effect, FleetName, InitialState, Member,
        Memory, Note, Observed, Placement, Policy, StopAction, Victim,
    },
    waiting::Waiting,
};

/// The time kept free at the end of a pass: no create begins in it, so that its answer is still heard.
const RESERVE: Duration = Duration::from_secs(5);

/// How long a pass waits for its running victims to stop; those that take longer are for a later pass.
const VICTIM_WAIT: Duration = Duration::from_secs(5);

/// When creates close in a pass that has to be over by `deadline`, `timeout` after its beginning.
///
/// Whatever is asked before acting has to leave some of the time until then.
pub(crate) fn creates_close(deadline: Instant, timeout: Duration) -> Instant {
    deadline - RESERVE.min(timeout / 4)
}

/// The time kept free after waiting for a victim to stop, so that it can still be destroyed.
const DESTROY_RESERVE: Duration = Duration::from_secs(2);

/// What an action is carried out with.
pub struct Executor<'pass> {
    /// The app's calls.
    pub client: &'pass AppClient,
    /// Whose machines.
    pub fleet: &'pass FleetName,
    /// The settings.
    pub policy: &'pass Policy,
    /// Where writes are counted.
    pub metrics: &'pass Metrics,
    /// What the pass saw.
    pub observed: &'pass Observed,
    /// What is remembered: which machines there were.
    pub memory: &'pass Memory,
    /// Whether the process has stood still since the pass began: nothing is begun after that.
    pub watch: &'pass Watch<'pass>,
    /// The term of the lock in which the pass began: nothing is begun after it.
    pub term: Option<Term>,
    /// Told when there is nothing left but to wait for victims.
    pub waiting: &'pass Waiting,
    /// The app's volumes in this pass.
    pub volumes: &'pass PassVolumes,
    /// `FAS_API_CONCURRENCY`: calls in flight.
    pub concurrency: usize,
    /// When the pass has to be over.
    pub deadline: Instant,
}

/// What became of an action.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What memory has to know, with the time at which it was known.
    pub effects: Vec<(Effect, Instant)>,
    /// What was done, in words, one line a machine.
    pub done: Vec<String>,
    /// Calls that failed.
    pub errors: Vec<ApiError>,
    /// What was passed over and why.
    pub notes: Vec<Note>,
    /// Whether something was left undone only because the deadline came.
    pub out_of_time: bool,
    /// Whether something was left undone because what the pass has seen is old: the process stood still since.
    pub outdated: bool,
}

impl Outcome {
    fn effect(&mut self, effect: Effect) {
        self.effects.push((effect, Instant::now()));
    }

    fn merge(&mut self, other: Self) {
        self.effects.extend(other.effects);
        self.done.extend(other.done);
        self.errors.extend(other.errors);
        self.notes.extend(other.notes);
        self.out_of_time |= other.out_of_time;
        self.outdated |= other.outdated;
    }
}

impl Executor<'_> {
    /// Carries `action` out as far as the deadline allows.
    pub async fn carry_out(&self, action: Action) -> Outcome {
        match action {
            Action::Create {
                source,
                count,
                placement,
            } => self.create(&source, count, placement).await,
            Action::Destroy { victims } => self.destroy(victims).await,
            Action::Start { candidates, count } => {
                self.start_or_stop(MachineWrite::Start, candidates, count)
                    .await
            }
            Action::Stop { candidates, count } => {
                self.start_or_stop(MachineWrite::Stop, candidates, count)
                    .await
            }
        }
    }

    /// Says what was done when it was done: it is the record of what costs money, and a pass may take its whole time, or be
    /// ended before its own end.
    fn tell(&self, outcome: &mut Outcome, decision: Decision, line: String) {
        tracing::info!(
            app = %self.fleet.app,
            policy = self.fleet.policy.as_deref(),
            group = self.fleet.told_group(),
            region = self.fleet.region.as_deref(),
            decision = decision.as_str(),
            "{line}"
        );
        outcome.done.push(line);
    }

    async fn create(&self, source: &CloneSource, count: u32, mut placement: Placement) -> Outcome {
        let mut outcome = Outcome::default();
        let template = &*source.template;
        let begin_before = creates_close(self.deadline, self.policy.timeout);
        // The ids of what this pass has made: no create can be answered with one of them.
        let made = Mutex::new(BTreeSet::new());
        let mut missing = count;
        let mut attempts_left = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .saturating_add(placement.region_count());
        let mut stopped = false;
        // Seen by creates that wait for a volume or for another attempt, so that they do not begin after all.
        let halted = AtomicBool::new(false);
        let window = CreateWindow {
            begin_before,
            halted: &halted,
            outdated: self.watch.lapsed(),
            deadline: self.deadline,
            term: self.term,
        };
        let mut calls = FuturesUnordered::new();
        loop {
            stopped |= placement.is_exhausted();
            let has_work = !stopped && missing > 0 && attempts_left > 0;
            if has_work && self.is_outdated(&mut outcome) {
                stopped = true;
                halted.store(true, Ordering::Relaxed);
            }
            let begins = has_work && !stopped && calls.len() < self.concurrency;
            // A clone with volumes takes its turn when it has them.
            let turn = async {
                if template.has_mounts() {
                    return Some(None);
                }
                self.client.wait_turn(window).await.map(Some)
            };
            let (region, reused, result) = tokio::select! {
                biased;
                // Cancel safe: a turn is taken at the very end.
                turn = turn, if begins => {
                    if Instant::now() >= begin_before {
                        stopped = true;
                        outcome.out_of_time = true;
                    } else if let Some(turn) = turn
                        && let Some(region) = placement.next_region()
                    {
                        missing -= 1;
                        attempts_left -= 1;
                        calls.push(self.create_one(template, (region, turn), &made, window));
                    }
                    continue;
                }
                // Cancel safe: an answer that is not taken here is taken in the next round.
                Some(answer) = calls.next(), if !calls.is_empty() => answer,
                else => break,
            };
            let not_begun =
                matches!(&result, Err(error) if matches!(error.cause, ApiErrorCause::NotBegun));
            missing += u32::from(not_begun);
            if not_begun && self.is_outdated(&mut outcome) {
                stopped = true;
            }
            if not_begun && halted.load(Ordering::Relaxed) {
                continue;
            }
            match self.created(region, result, &mut placement, &mut outcome) {
                AfterCreate::Yes => {}
                AfterCreate::TryElsewhere => {
                    missing += 1;
                    if !reused.is_empty() {
                        outcome.effect(Effect::VolumesRefused { volumes: reused });
                    }
                }
                AfterCreate::Stop => {
                    stopped = true;
                    halted.store(true, Ordering::Relaxed);
                }
            }
        }
        if outcome.out_of_time {
            outcome.notes.push(Note::OutOfTime { remaining: missing });
        }
        outcome
    }

    async fn create_one(
        &self,
        template: &CloneTemplate,
        (region, mut turn): (String, Option<Turn<'_>>),
        made: &Mutex<BTreeSet<String>>,
        window: CreateWindow<'_>,
    ) -> (String, Vec<String>, Result<String, ApiError>) {
        let chosen = self
            .client
            .volumes_for(template, &region, self.volumes, window)
            .await;
        let Chosen { ids, reused } = match chosen {
            Err(error) => return (region, Vec::new(), Err(error)),
            Ok(chosen) => chosen,
        };
        if template.has_mounts() {
            // One that must not begin any more takes no turn; the client refuses it.
            turn = self.client.wait_turn(window).await;
        }
        self.watch.stood_still();
        let new = NewClone {
            template,
            region: &region,
            volumes: &ids,
            skip_launch: self.policy.initial_state == InitialState::Stopped,
        };
        let is_new = |id: &str| {
            let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
            !self.was_there(id) && made.insert(id.to_owned())
        };
        let result = self.client.create_machine(new, turn, window, is_new).await;
        (region, reused, result)
    }

    fn created(
        &self,
        region: String,
        result: Result<String, ApiError>,
        placement: &mut Placement,
        outcome: &mut Outcome,
    ) -> AfterCreate {
        let error = match result {
            Ok(id) => {
                self.metrics.wrote(MachineWrite::Create, true);
                let line = format!("created machine {id} in {region}");
                self.tell(outcome, Decision::Create, line);
                outcome.effect(Effect::Created { id, region });
                return AfterCreate::Yes;
            }
            Err(error) => error,
        };
        if error.was_not_begun() {
            outcome.out_of_time |= matches!(error.cause, ApiErrorCause::NotBegun);
            return AfterCreate::Stop;
        }
        self.metrics.wrote(MachineWrite::Create, false);
        let next = match error.verdict() {
            Verdict::Busy | Verdict::OtherState | Verdict::Refused => {
                placement.refuse(&region);
                AfterCreate::TryElsewhere
            }
            _ => AfterCreate::Stop,
        };
        // Where a volume could not be had, no machine was asked for.
        outcome.effect(match error.operation {
            _ if error.had_no_effect() => Effect::CreateRefused { region },
            Operation::CreateMachine => Effect::CreateUnknown { region },
            Operation::CreateVolume => Effect::VolumeUnknown { region },
            _ => Effect::CreateRefused { region },
        });
        outcome.errors.push(error);
        next
    }

    fn window(&self) -> WriteWindow<'_> {
        WriteWindow {
            deadline: self.deadline,
            outdated: self.watch.lapsed(),
            term: self.term,
        }
    }

    /// Whether nothing may be begun any more because the process stood still since the pass looked.
    fn is_outdated(&self, outcome: &mut Outcome) -> bool {
        outcome.outdated |= self.watch.stood_still();
        outcome.outdated
    }

    /// Whether there was such a machine before the create that is said to have made it.
    fn was_there(&self, id: &str) -> bool {
        self.memory.knows(id)
            || self.observed.others.contains(id)
            || self.observed.member(id).is_some()
    }

    async fn destroy(&self, victims: Vec<Victim>) -> Outcome {
        let halted = AtomicBool::new(false);
        let (mut outcome, stopping) = stream::iter(victims)
            .map(|victim| self.take(victim, &halted))
            .buffer_unordered(self.concurrency)
            .fold(
                (Outcome::default(), Vec::new()),
                async |(mut outcome, mut stopping), (one, to_wait_for)| {
                    outcome.merge(one);
                    stopping.extend(to_wait_for);
                    (outcome, stopping)
                },
            )
            .await;
        if stopping.is_empty() {
            return outcome;
        }
        let _waiting = self.waiting.begin();
        let until = (Instant::now() + VICTIM_WAIT).min(self.deadline - DESTROY_RESERVE);
        let destroyed = stream::iter(stopping)
            .map(|victim| self.await_and_destroy(victim, until, &halted))
            .buffer_unordered(self.concurrency)
            .fold(Outcome::default(), async |mut outcome, one| {
                outcome.merge(one);
                outcome
            })
            .await;
        outcome.merge(destroyed);
        outcome
    }

    /// Destroys a victim at rest, or stops one that runs; returns it where it has to be waited for.
    async fn take(&self, victim: Victim, halted: &AtomicBool) -> (Outcome, Option<Victim>) {
        let mut outcome = Outcome::default();
        if halted.load(Ordering::Relaxed) || self.is_outdated(&mut outcome) {
            return (outcome, None);
        }
        if !victim.running {
            self.destroy_one(victim.id, &mut outcome, halted).await;
            return (outcome, None);
        }
        let stopping = self.stop_victim(&victim.id, &mut outcome, halted).await;
        (outcome, stopping.then_some(victim))
    }

    async fn await_and_destroy(
        &self,
        victim: Victim,
        until: Instant,
        halted: &AtomicBool,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        if halted.load(Ordering::Relaxed) || self.is_outdated(&mut outcome) {
            return outcome;
        }
        let stopped = self.has_stopped(&victim, until, &mut outcome, halted).await;
        if stopped && !self.is_outdated(&mut outcome) {
            self.destroy_one(victim.id, &mut outcome, halted).await;
        }
        outcome
    }

    async fn destroy_one(&self, id: String, outcome: &mut Outcome, halted: &AtomicBool) {
        match self.client.destroy_machine(&id, self.window()).await {
            Ok(()) => {
                self.metrics.wrote(MachineWrite::Destroy, true);
                self.tell(
                    outcome,
                    Decision::Destroy,
                    format!("destroyed machine {id}"),
                );
                outcome.effect(Effect::Destroyed { id });
            }
            Err(error) => self.destroy_failed(id, error, outcome, halted),
        }
    }

    /// Stops a running victim; whether it is on its way down.
    async fn stop_victim(&self, id: &str, outcome: &mut Outcome, halted: &AtomicBool) -> bool {
        match self.client.stop_machine(id, self.window()).await {
            Ok(()) => {
                self.metrics.wrote(MachineWrite::Stop, true);
                let line = format!("stopped machine {id}, to be destroyed");
                self.tell(outcome, Decision::Destroy, line);
                outcome.effect(Effect::VictimStopped { id: id.to_owned() });
                true
            }
            Err(error) if error.verdict() == Verdict::Gone => {
                outcome.effect(Effect::Destroyed { id: id.to_owned() });
                false
            }
            Err(error) => {
                self.destroy_failed(id.to_owned(), error, outcome, halted);
                false
            }
        }
    }

    /// Waits for a victim to stop; whether it has.
    async fn has_stopped(
        &self,
        victim: &Victim,
        until: Instant,
        outcome: &mut Outcome,
        halted: &AtomicBool,
    ) -> bool {
        let stopped = self
            .client
            .wait_until_stopped(&victim.id, &victim.instance_id, until);
        match stopped.await {
            Ok(true) => return true,
            Ok(false) => outcome.notes.push(Note::Skipped {
                machine: victim.id.clone(),
                reason: "it is still stopping; a later pass destroys it".to_owned(),
            }),
            Err(error) => {
                halted.fetch_or(stops_all(&error), Ordering::Relaxed);
                outcome.errors.push(error);
            }
        }
        false
    }

    fn destroy_failed(
        &self,
        id: String,
        error: ApiError,
        outcome: &mut Outcome,
        halted: &AtomicBool,
    ) {
        let begun = !error.was_not_begun();
        match error.operation {
            _ if error.had_no_effect() && !begun => {}
            _ if error.had_no_effect() => outcome.effect(Effect::DestroyRefused {
                id: id.clone(),
                // A running victim is not woken: one that is in no state to be stopped is no better than another refusal.
                woken: error.operation == Operation::DestroyMachine
                    && error.verdict() == Verdict::OtherState,
            }),
            Operation::StopMachine => outcome.effect(Effect::VictimStopUnknown { id: id.clone() }),
            _ => outcome.effect(Effect::DestroyUnknown { id: id.clone() }),
        }
        if matches!(error.cause, ApiErrorCause::NotBegun) {
            outcome.out_of_time = true;
            return;
        }
        if matches!(
            error.cause,
            ApiErrorCause::ShuttingDown | ApiErrorCause::NotHolding
        ) {
            halted.store(true, Ordering::Relaxed);
            return;
        }
        if error.operation == Operation::StopMachine {
            self.metrics.wrote(MachineWrite::Stop, false);
        }
        // Also where the stop before it came to nothing: the machine was to go, and has not.
        self.metrics.wrote(MachineWrite::Destroy, false);
        if stops_all(&error) {
            halted.store(true, Ordering::Relaxed);
        }
        match error.verdict() {
            Verdict::Busy => outcome.notes.push(skipped(
                id,
                "it is leased, or another operation on it is in progress",
                &error,
            )),
            Verdict::OtherState => {
                let what = if error.operation == Operation::StopMachine {
                    "its state does not allow the stop before its destroy"
                } else {
                    "its state does not allow a destroy"
                };
                outcome.notes.push(skipped(id, what, &error));
            }
            _ => outcome.errors.push(error),
        }
    }

    /// Starts or stops the first `count` candidates with which it works, or may have worked.
    async fn start_or_stop(
        &self,
        write: MachineWrite,
        candidates: Vec<String>,
        count: u32,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut candidates = candidates.into_iter();
        let mut spent = 0;
        let mut halted = false;
        let mut calls = FuturesUnordered::new();
        loop {
            while !halted && calls.len() < self.concurrency && spent + calls.len() < count {
                if self.is_outdated(&mut outcome) {
                    halted = true;
                    break;
                }
                let Some(id) = candidates.next() else { break };
                calls.push(self.start_or_stop_one(write, id));
            }
            let Some((id, result)) = calls.next().await else {
                break;
            };
            let Err(error) = result else {
                spent += 1;
                self.metrics.wrote(write, true);
                let started = write == MachineWrite::Start;
                let (decision, word) = if started {
                    (Decision::Start, "started")
                } else {
                    (Decision::Stop, "stopped")
                };
                self.tell(&mut outcome, decision, format!("{word} machine {id}"));
                outcome.effect(if started {
                    Effect::Started { id }
                } else {
                    Effect::Stopped { id }
                });
                continue;
            };
            match error.cause {
                ApiErrorCause::NotBegun => {
                    outcome.out_of_time = true;
                    halted = true;
                }
                ApiErrorCause::ShuttingDown | ApiErrorCause::NotHolding => halted = true,
                _ => {
                    self.metrics.wrote(write, false);
                    halted |= stops_all(&error);
                }
            }
            let begun = !error.was_not_begun();
            let slot = slot_after(write, &error, self.may_have_happened(&id));
            spent += usize::from(slot != Slot::Free);
            match slot {
                _ if error.verdict() == Verdict::Gone => {
                    outcome.effect(Effect::Gone { id: id.clone() });
                }
                Slot::Unknown if write == MachineWrite::Start => {
                    outcome.effect(Effect::StartUnknown { id: id.clone() });
                }
                Slot::Unknown => outcome.effect(Effect::StopUnknown { id: id.clone() }),
                Slot::Spent | Slot::Free if write == MachineWrite::Start && begun => {
                    outcome.effect(Effect::StartRefused { id: id.clone() });
                }
                Slot::Spent | Slot::Free => {}
            }
            outcome.start_or_stop_failed(id, error);
        }
        if outcome.out_of_time {
            let remaining = u32::try_from(count.saturating_sub(spent)).unwrap_or(u32::MAX);
            outcome.notes.push(Note::OutOfTime { remaining });
        }
        outcome
    }

    /// Whether an earlier pass has started or stopped this machine without hearing what became of it.
    fn may_have_happened(&self, id: &str) -> bool {
        let told = |member: &Member| member.unsettled.is_some() || member.unsettled_destroy;
        self.observed.lately.victims_in_doubt.contains(id)
            || self.observed.member(id).is_some_and(told)
    }

    async fn start_or_stop_one(
        &self,
        write: MachineWrite,
        id: String,
    ) -> (String, Result<(), ApiError>) {
        let result = match (write, self.policy.stop_action) {
            (MachineWrite::Start, _) => self.client.start_machine(&id, self.window()).await,
            (_, StopAction::Stop) => self.client.stop_machine(&id, self.window()).await,
            (_, StopAction::Suspend) => match self.client.suspend_machine(&id, self.window()).await
            {
                Err(error) if cannot_be_suspended(&error) && !self.may_have_happened(&id) => {
                    self.client.stop_machine(&id, self.window()).await
                }
                outcome => outcome,
            },
        };
        (id, result)
    }
}

impl Outcome {
    /// Says why a start or stop did not work.
    fn start_or_stop_failed(&mut self, id: String, error: ApiError) {
        let reason = match error.verdict() {
            _ if error.was_not_begun() => return,
            Verdict::Busy | Verdict::OtherState if error.after_unknown => {
                "an earlier attempt seems to have succeeded"
            }
            Verdict::Gone => "it is gone",
            Verdict::Busy => "it is leased, or its host is out of capacity",
            Verdict::OtherState => "its state does not allow it",
            _ => {
                self.errors.push(error);
                return;
            }
        };
        self.notes.push(skipped(id, reason, &error));
    }
}

/// Whether the rest of what was planned would fare no better in this pass: the token is refused, or there were too many
/// calls, and one more is what the API asks not to get.
fn stops_all(error: &ApiError) -> bool {
    matches!(
        error.verdict(),
        Verdict::Unauthorized | Verdict::RateLimited
    )
}

/// What a start or stop that did not work leaves of its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// It surely did not happen: the next candidate takes it.
    Free,
    /// It is used up in this pass.
    Spent,
    /// It may have happened: used up, and the next list says what became of it.
    Unknown,
}

/// Judges a start, stop or suspend that did not work; `before`: an earlier pass has tried the same without hearing what
/// became of it.
fn slot_after(write: MachineWrite, error: &ApiError, before: bool) -> Slot {
    let suspends = error.operation == Operation::SuspendMachine;
    match error.verdict() {
        _ if !error.had_no_effect() => Slot::Unknown,
        // What was to be reached has most likely been reached by then.
        Verdict::Busy | Verdict::OtherState if before || suspends => Slot::Unknown,
        Verdict::RateLimited if suspends => Slot::Spent,
        // A machine that is gone is as good as stopped.
        Verdict::Gone if write == MachineWrite::Stop => Slot::Spent,
        // This attempt did nothing, but that says nothing of the earlier one.
        _ if before => Slot::Spent,
        _ => Slot::Free,
    }
}

/// Whether a suspend was refused because this machine cannot be suspended, so that it is to be stopped.
///
/// Not where it may be suspended by now: a stop would discard what it has saved.
fn cannot_be_suspended(error: &ApiError) -> bool {
    error.had_no_effect() && error.verdict() == Verdict::Refused
}

/// What one create's answer means for the next.
enum AfterCreate {
    Yes,
    TryElsewhere,
    Stop,
}

fn skipped(machine: String, reason: &str, error: &ApiError) -> Note {
    Note::Skipped {
        machine,
        reason: format!("{} ({reason})", error.cause),
    }
}

//! Carrying a plan out: calls side by side, waits, and what a failure spends.
//!
//! Nothing is decided here that could have been decided in the plan. What is left are the plan's own rules about
//! failures: a failed destroy spends its slot, a failed start or stop moves on to the next candidate, a refused create
//! moves on to the next region, and after a create whose outcome is unknown no other is begun. Every call is under the
//! pass deadline. Nothing is retried here; repeating one call is the client's task.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::{
    StreamExt as _,
    stream::{self, FuturesUnordered},
};
use tokio::time::Instant;

use crate::{
    machines::{
        ApiError, AppClient, Cause, CloneTemplate, CreateWindow, Listed, Operation, PassVolumes,
    },
    metrics::{MachineWrite, Metrics},
    scaling::{
        Action, Effect, InitialState, Note, Observed, Placement, Policy, StopAction, Victim,
    },
};

/// The time kept free at the end of a pass: no create begins in it, so that its answer is still heard.
const RESERVE: Duration = Duration::from_secs(5);

/// The time kept free after waiting for a victim to stop, so that it can still be destroyed.
const DESTROY_RESERVE: Duration = Duration::from_secs(2);

/// What an action is carried out with.
pub struct Actor<'pass> {
    /// The app's calls.
    pub client: &'pass AppClient,
    /// The settings.
    pub policy: &'pass Policy,
    /// Where writes are counted.
    pub metrics: &'pass Metrics,
    /// What the pass saw.
    pub observed: &'pass Observed,
    /// The list that it saw it in.
    pub listed: &'pass Listed,
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
    }
}

impl Actor<'_> {
    /// Carries `action` out as far as the deadline allows.
    pub async fn carry_out(&self, action: Action) -> Outcome {
        match action {
            Action::Create {
                source,
                count,
                placement,
                ..
            } => self.create(&source, count, placement).await,
            Action::Destroy { victims } => self.destroy(victims).await,
            Action::Start { candidates, count } => {
                self.bring(MachineWrite::Start, candidates, count).await
            }
            Action::Stop { candidates, count } => {
                self.bring(MachineWrite::Stop, candidates, count).await
            }
        }
    }

    async fn create(&self, source: &str, count: u32, mut placement: Placement) -> Outcome {
        let mut outcome = Outcome::default();
        let template = self
            .listed
            .configs
            .get(source)
            .ok_or_else(|| "the list has no config for it".to_owned());
        let template = match template.and_then(CloneTemplate::new) {
            Ok(template) => template,
            Err(reason) => {
                outcome.notes.push(Note::Skipped {
                    machine: source.to_owned(),
                    reason,
                });
                outcome.errors.push(uncloneable(self.client.app(), source));
                return outcome;
            }
        };
        let begin_before = self.deadline - RESERVE.min(self.policy.timeout / 4);
        let volumes = PassVolumes::default();
        let mut missing = count;
        let mut attempts_left = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .saturating_add(placement.len());
        let mut stopped = false;
        // Seen by creates that wait for a volume or for another attempt, so that they do not begin after all.
        let halted = AtomicBool::new(false);
        let window = CreateWindow {
            begin_before,
            halted: &halted,
            deadline: self.deadline,
        };
        let mut calls = FuturesUnordered::new();
        loop {
            let mut wait = None;
            while !stopped && missing > 0 && attempts_left > 0 && calls.len() < self.concurrency {
                if Instant::now() >= begin_before {
                    stopped = true;
                    outcome.out_of_time = true;
                    break;
                }
                // A clone with volumes takes its turn when it has them.
                if !template.has_mounts() {
                    wait = self.client.create_turn();
                    if wait.is_some() {
                        break;
                    }
                }
                let Some(region) = placement.next_region() else {
                    stopped = true;
                    break;
                };
                missing -= 1;
                attempts_left -= 1;
                calls.push(self.create_one(&template, region, &volumes, window));
            }
            // The next turn may come before the next answer.
            let answer = match wait {
                None => calls.next().await,
                Some(wait) => {
                    let turn = tokio::time::sleep(wait);
                    tokio::select! {
                        biased;
                        // Cancel safe: an answer that is not taken here is taken in the next round.
                        Some(answer) = calls.next(), if !calls.is_empty() => Some(answer),
                        // Cancel safe: a turn that is not waited for to its end is asked for again.
                        () = turn => continue,
                    }
                }
            };
            let Some((region, result)) = answer else {
                break;
            };
            let not_begun = matches!(&result, Err(error) if matches!(error.cause, Cause::NotBegun));
            missing += u32::from(not_begun);
            if not_begun && halted.load(Ordering::Relaxed) {
                continue;
            }
            match self.created(region, result, &mut placement, &mut outcome) {
                Created::Yes => {}
                Created::TryElsewhere => missing += 1,
                Created::Stop => {
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
        region: String,
        volumes: &PassVolumes,
        window: CreateWindow<'_>,
    ) -> (String, Result<String, ApiError>) {
        let skip_launch = self.policy.initial_state == InitialState::Stopped;
        let result = match self
            .client
            .volumes_for(template, &region, volumes, window.begin_before)
            .await
        {
            Err(error) => Err(error),
            Ok(volumes) => {
                if template.has_mounts() {
                    // A turn that comes too late is for the client to refuse.
                    while let Some(wait) = self.client.create_turn() {
                        tokio::time::sleep(wait).await;
                        if Instant::now() >= window.begin_before {
                            break;
                        }
                    }
                }
                self.client
                    .create_machine(template, &region, &volumes, skip_launch, window)
                    .await
            }
        };
        (region, result)
    }

    fn created(
        &self,
        region: String,
        result: Result<String, ApiError>,
        placement: &mut Placement,
        outcome: &mut Outcome,
    ) -> Created {
        let error = match result {
            Ok(id) => {
                self.metrics.wrote(MachineWrite::Create, true);
                outcome
                    .done
                    .push(format!("created machine {id} in {region}"));
                outcome.effect(Effect::Created { id, region });
                return Created::Yes;
            }
            Err(error) => error,
        };
        if matches!(error.cause, Cause::NotBegun | Cause::ShuttingDown) {
            outcome.out_of_time |= matches!(error.cause, Cause::NotBegun);
            return Created::Stop;
        }
        self.metrics.wrote(MachineWrite::Create, false);
        // Where a volume could not be had, no machine was asked for.
        let surely_none = error.operation != Operation::CreateMachine || error.surely_did_nothing();
        let next = match error.status() {
            Some(400 | 402 | 405..=407 | 409..=428 | 430..=499) => {
                placement.refuse(&region);
                Created::TryElsewhere
            }
            _ => Created::Stop,
        };
        outcome.effect(if surely_none {
            Effect::CreateRefused { region }
        } else {
            Effect::CreateUnknown { region }
        });
        outcome.errors.push(error);
        next
    }

    async fn destroy(&self, victims: Vec<Victim>) -> Outcome {
        let halted = AtomicBool::new(false);
        stream::iter(victims)
            .map(|victim| self.destroy_one(victim, &halted))
            .buffer_unordered(self.concurrency)
            .fold(Outcome::default(), async |mut outcome, one| {
                outcome.merge(one);
                outcome
            })
            .await
    }

    async fn destroy_one(&self, victim: Victim, halted: &AtomicBool) -> Outcome {
        let mut outcome = Outcome::default();
        if halted.load(Ordering::Relaxed) {
            return outcome;
        }
        if victim.running && !self.bring_down(&victim.id, &mut outcome, halted).await {
            return outcome;
        }
        match self.client.destroy_machine(&victim.id, self.deadline).await {
            Ok(()) => {
                self.metrics.wrote(MachineWrite::Destroy, true);
                outcome
                    .done
                    .push(format!("destroyed machine {}", victim.id));
                outcome.effect(Effect::Destroyed { id: victim.id });
            }
            Err(error) => self.destroy_failed(victim.id, error, &mut outcome, halted),
        }
        outcome
    }

    /// Stops a running victim and waits for it; whether it may be destroyed now.
    async fn bring_down(&self, id: &str, outcome: &mut Outcome, halted: &AtomicBool) -> bool {
        match self.client.stop_machine(id, self.deadline).await {
            Ok(()) => {
                self.metrics.wrote(MachineWrite::Stop, true);
                outcome
                    .done
                    .push(format!("stopped machine {id}, to be destroyed"));
                outcome.effect(Effect::Stopped { id: id.to_owned() });
            }
            Err(error) if error.status() == Some(404) => {
                outcome.effect(Effect::Destroyed { id: id.to_owned() });
                return false;
            }
            Err(error) => {
                self.metrics.wrote(MachineWrite::Stop, false);
                self.destroy_failed(id.to_owned(), error, outcome, halted);
                return false;
            }
        }
        let instance_id = self
            .observed
            .member(id)
            .map(|member| member.machine.instance_id.as_str())
            .unwrap_or_default();
        match self
            .client
            .wait_until_stopped(id, instance_id, self.deadline - DESTROY_RESERVE)
            .await
        {
            Ok(true) => return true,
            Ok(false) => outcome.notes.push(Note::Skipped {
                machine: id.to_owned(),
                reason: "it takes longer to stop; a later pass destroys it".to_owned(),
            }),
            Err(error) => outcome.errors.push(error),
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
        if !error.surely_did_nothing() {
            outcome.effect(Effect::DestroyUnknown { id: id.clone() });
        }
        if matches!(error.cause, Cause::NotBegun) {
            outcome.out_of_time = true;
            return;
        }
        if matches!(error.cause, Cause::ShuttingDown) {
            return;
        }
        if error.operation == Operation::DestroyMachine {
            self.metrics.wrote(MachineWrite::Destroy, false);
        }
        if error.is_unauthorized() {
            halted.store(true, Ordering::Relaxed);
        }
        match error.status() {
            Some(409) => outcome
                .notes
                .push(skipped(id, "somebody holds a lease on it", &error)),
            Some(412) => outcome.notes.push(skipped(
                id,
                "it is in no state to be destroyed (woken meanwhile?)",
                &error,
            )),
            _ => outcome.errors.push(error),
        }
    }

    /// Starts or stops the first `count` candidates with which it works.
    async fn bring(&self, write: MachineWrite, candidates: Vec<String>, count: u32) -> Outcome {
        let mut outcome = Outcome::default();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut candidates = candidates.into_iter();
        let mut succeeded = 0;
        let mut halted = false;
        let mut calls = FuturesUnordered::new();
        loop {
            while !halted && calls.len() < self.concurrency && succeeded + calls.len() < count {
                let Some(id) = candidates.next() else { break };
                calls.push(self.bring_one(write, id));
            }
            let Some((id, result)) = calls.next().await else {
                break;
            };
            let error = match result {
                Ok(()) => {
                    succeeded += 1;
                    self.metrics.wrote(write, true);
                    let started = write == MachineWrite::Start;
                    outcome.done.push(format!(
                        "{} machine {id}",
                        if started { "started" } else { "stopped" }
                    ));
                    outcome.effect(if started {
                        Effect::Started { id }
                    } else {
                        Effect::Stopped { id }
                    });
                    continue;
                }
                Err(error) => error,
            };
            match error.cause {
                Cause::NotBegun => {
                    outcome.out_of_time = true;
                    halted = true;
                    continue;
                }
                Cause::ShuttingDown => {
                    halted = true;
                    continue;
                }
                _ => self.metrics.wrote(write, false),
            }
            halted |= error.is_unauthorized();
            match error.status() {
                // An earlier attempt, whose answer was lost, has most likely brought it there.
                Some(409 | 412) if error.after_unknown => {
                    succeeded += 1;
                    let effect = if write == MachineWrite::Start {
                        Effect::Started { id: id.clone() }
                    } else {
                        Effect::Stopped { id: id.clone() }
                    };
                    outcome.effect(effect);
                    outcome.notes.push(skipped(
                        id,
                        "an earlier attempt seems to have worked",
                        &error,
                    ));
                }
                Some(404) => outcome.notes.push(skipped(id, "it is gone", &error)),
                Some(409) => {
                    outcome.notes.push(skipped(
                        id,
                        "it is leased, or its host has no room",
                        &error,
                    ));
                }
                Some(412) => {
                    outcome
                        .notes
                        .push(skipped(id, "it is in another state by now", &error));
                }
                _ => outcome.errors.push(error),
            }
        }
        if outcome.out_of_time {
            let remaining = u32::try_from(count.saturating_sub(succeeded)).unwrap_or(u32::MAX);
            outcome.notes.push(Note::OutOfTime { remaining });
        }
        outcome
    }

    async fn bring_one(&self, write: MachineWrite, id: String) -> (String, Result<(), ApiError>) {
        let result = match (write, self.policy.stop_action) {
            (MachineWrite::Start, _) => self.client.start_machine(&id, self.deadline).await,
            (_, StopAction::Stop) => self.client.stop_machine(&id, self.deadline).await,
            (_, StopAction::Suspend) => match self.client.suspend_machine(&id, self.deadline).await
            {
                // Not every machine can be suspended. One that an attempt without an answer has suspended says that it
                // is in the wrong state, and stopping it would discard what it has saved.
                Err(error)
                    if matches!(error.status(), Some(400..=499))
                        && !matches!(error.status(), Some(401 | 403 | 409 | 429))
                        && !(error.after_unknown && error.status() == Some(412)) =>
                {
                    self.client.stop_machine(&id, self.deadline).await
                }
                outcome => outcome,
            },
        };
        (id, result)
    }
}

/// What one create's answer means for the next.
enum Created {
    Yes,
    TryElsewhere,
    Stop,
}

fn skipped(machine: String, reason: &str, error: &ApiError) -> Note {
    Note::Skipped {
        machine,
        reason: format!("{reason} ({})", error.cause),
    }
}

fn uncloneable(app: &str, source: &str) -> ApiError {
    ApiError {
        operation: Operation::CreateMachine,
        subject: format!("app \"{app}\""),
        request_id: None,
        after_unknown: false,
        cause: Cause::NotSent(format!("machine {source} cannot be cloned")),
    }
}

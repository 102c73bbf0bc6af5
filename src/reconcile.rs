//! One pass over one app: collect, observe, ask for what the list lacks, evaluate, limit, plan, act, record.
//!
//! The decisions are `expr`'s and `scaling`'s; this module asks, in the right order and under one deadline, and makes
//! sure that nothing is written without a list of this pass and a question about the current release. A pass returns a
//! [`PassReport`] whatever happens; everything that went wrong in it is in the report, logged and counted here, once.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::{
    act::{Executor, Outcome, creates_close},
    clock::{Clock, Watch},
    collect::{Collector, collect_all},
    decide::{Decided, Undecided},
    error_chain::chain,
    expr::{Names, Values},
    inventory::Inventory,
    labels::PassError,
    machines::{ApiError, AppClient},
    metrics::Metrics,
    pass_log::PassLog,
    report::{About, Limits, PassReport},
    scaling::{
        ActingPass, Action, Answer, Counts, Decision, Effect, Evaluation, Memory, Note, Now,
        Observed, Plan, Policy, Pulse, Reason, TargetExpressions, Targets, ids_to_ask, limit,
    },
    shutdown::Shutdown,
    waiting::Waiting,
};

/// What all passes share.
pub struct Reconciler {
    /// Where metrics come from.
    pub collectors: Vec<Collector>,
    /// The names that expressions may use.
    pub names: Names,
    /// The expressions.
    pub targets: TargetExpressions,
    /// The settings that decisions read.
    pub policy: Policy,
    /// Whether an app may be without machines: one that a wildcard matched, and nobody named.
    pub may_be_empty: bool,
    /// `FAS_API_CONCURRENCY`.
    pub api_concurrency: usize,
    /// Where everything is counted.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// Passes that only wait, and hold no place of `FAS_CONCURRENCY` meanwhile.
    pub waiting: Waiting,
    /// Set once the daemon is to stop.
    pub shutdown: Shutdown,
    /// Whether passes go on, over all apps.
    pub pulse: Mutex<Pulse>,
}

/// Marks the end of a pass, however it ends.
struct Beating<'pass>(&'pass Reconciler);

impl Drop for Beating<'_> {
    fn drop(&mut self) {
        let now = self.0.clock.now();
        self.0.pulse().end(&self.0.policy, now);
    }
}

/// What one app keeps between passes.
pub struct AppState {
    /// Its calls, with their cookies and pace.
    pub client: AppClient,
    /// What decisions remember.
    pub memory: Memory,
    /// What was said where the token was refused for a create, until one is accepted or none is wanted.
    refused_create: Option<String>,
    /// Whether the app has not been among those that are scaled at some time since its last pass.
    pub was_away: bool,
    /// What the log has said already.
    log: PassLog,
}

impl AppState {
    /// Nothing remembered.
    #[must_use]
    pub fn new(client: AppClient) -> Self {
        Self {
            client,
            memory: Memory::default(),
            refused_create: None,
            was_away: false,
            log: PassLog::default(),
        }
    }
}

impl Reconciler {
    /// Looks at one app once and acts on what it sees. Never fails; see [`PassReport`].
    ///
    /// It ends by the pass deadline, `FAS_TIMEOUT` from now, and soon after a shutdown.
    pub async fn pass(&self, state: &mut AppState) -> PassReport {
        let began = self.clock.now();
        let standstill = self.pulse().begin(&self.policy, began);
        let _beating = Beating(self);
        if std::mem::take(&mut state.was_away) {
            state.memory.note_absence(&self.policy, began.monotonic);
        }
        state.memory.begin_pass(standstill, began.monotonic);
        let deadline = Instant::from_std(began.monotonic) + self.policy.timeout;
        let mut report = PassReport {
            app: state.client.app().to_owned(),
            began,
            took: Duration::ZERO,
            decision: Decision::NoScale,
            reason: Reason::NoTarget,
            notes: Vec::new(),
            done: Vec::new(),
            faults: Vec::new(),
            metrics: BTreeMap::new(),
            targets: Targets::default(),
            limited: Limits::default(),
            planned: None,
            inventory: None,
            more_to_do: false,
            still_refused: None,
        };
        let watch = Watch::new(self.clock, &self.policy, &self.pulse, began);
        let time = PassTime {
            began,
            deadline,
            watch: &watch,
        };
        let work = self.work(state, time, &mut report);
        tokio::select! {
            biased;
            // Both are dropped only when the pass is over. Whoever looks comes first, so that no work goes on unlooked.
            never = watch.keep_looking() => match never {},
            () = work => {}
        }
        report.took = Instant::now().saturating_duration_since(Instant::from_std(began.monotonic));
        self.record(state, &report);
        report
    }

    /// Looks, decides and acts.
    async fn work(&self, state: &mut AppState, time: PassTime<'_>, report: &mut PassReport) {
        tokio::select! {
            biased;
            // Nothing has been written while this is awaited, so that it may be dropped at any point.
            () = self.shutdown.wait() => {}
            observation = async {
                let mut observation = self.look(state, time, report).await?;
                self.ask_for_unlisted(state, &mut observation, time, report).await;
                Some(observation)
            } => {
                if let Some(observation) = observation {
                    self.decide_and_act(state, &observation, time, report).await;
                    if self.may_be_empty && observation.nothing {
                        report.excuse_for_no_machines();
                    }
                }
            }
        }
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the metrics and the machines, side by side.
    async fn look(
        &self,
        state: &mut AppState,
        PassTime {
            began, deadline, ..
        }: PassTime<'_>,
        report: &mut PassReport,
    ) -> Option<Observation> {
        let AppState {
            client,
            memory,
            log,
            ..
        } = state;
        let collect = collect_all(
            &self.collectors,
            client.app(),
            began,
            self.policy.timeout,
            &self.metrics,
        );
        let (readings, listed) = tokio::join!(collect, client.list_machines(deadline));

        for (metric, result) in readings.iter() {
            match result {
                Ok(sample) => {
                    log.warn_of(client.app(), metric, sample.element_count, &sample.warnings);
                }
                Err(error) => report.metric_fault(metric, error),
            }
        }
        let values = readings.values(&self.names);
        report.metrics = readings.into_texts();

        match listed {
            Ok(machines) => {
                let none_listed = machines.is_empty();
                let observed = memory.note_list(machines, &self.policy, began);
                report.inventory = Some(Inventory::of(&observed));
                Some(Observation {
                    nothing: none_listed && observed.members.is_empty(),
                    observed,
                    values,
                })
            }
            Err(error) => {
                memory.note_blind_pass(began.monotonic);
                report.reason = Reason::NoList;
                report.api_fault(PassError::List, &error, About::Pass);
                None
            }
        }
    }

    /// Asks for machines by id that the list lacks, or of which it denies what was written to them, where this pass cannot
    /// be decided without.
    async fn ask_for_unlisted(
        &self,
        state: &mut AppState,
        observation: &mut Observation,
        PassTime {
            began, deadline, ..
        }: PassTime<'_>,
        report: &mut PassReport,
    ) {
        let Observation {
            observed, values, ..
        } = observation;
        let ids = ids_to_ask(observed, &self.policy, &state.memory, began, |observed| {
            self.evaluate(observed, values, began).targets
        });
        if ids.is_empty() {
            return;
        }
        let until = self.ask_until(deadline, 2);
        let client = &state.client;
        let answers: Vec<_> = stream::iter(ids)
            .map(|id| async {
                let answer = client.get_machine(&id, until).await;
                (id, answer)
            })
            .buffered(self.api_concurrency.max(1))
            .collect()
            .await;
        let mut told = false;
        let answers = answers.into_iter().map(|(id, answer)| {
            let answer = match answer {
                Ok(Some(machine)) => Answer::Machine(Box::new(machine)),
                Ok(None) => Answer::Gone,
                Err(error) => {
                    // One of them says what is wrong with all.
                    if !std::mem::replace(&mut told, true) {
                        report.api_fault(PassError::List, &error, About::Unlisted);
                    }
                    Answer::None
                }
            };
            (id, answer)
        });
        let answers = answers.collect();
        state.memory.settle(observed, answers, &self.policy, began);
        report.inventory = Some(Inventory::of(observed));
    }

    /// Until when a question before acting may take: half of what is left, and never so long that no create could begin
    /// after it and the `later` questions that may follow, each of which keeps a twentieth of the timeout.
    fn ask_until(&self, deadline: Instant, later: u32) -> Instant {
        let now = Instant::now();
        let half = now + deadline.saturating_duration_since(now) / 2;
        let kept = self.policy.timeout / 20 * later;
        let latest = creates_close(deadline, self.policy.timeout) - kept;
        if now < latest { half.min(latest) } else { half }
    }

    async fn decide_and_act(
        &self,
        state: &mut AppState,
        observation: &Observation,
        PassTime {
            began,
            deadline,
            watch,
        }: PassTime<'_>,
        report: &mut PassReport,
    ) {
        let Evaluation { targets, errors } =
            self.evaluate(&observation.observed, &observation.values, began);
        report.targets = targets;
        report.target_faults(&errors);
        let limited = limit(
            report.targets,
            &observation.observed,
            &self.policy,
            &mut state.memory,
            began,
        );
        report.limited = Limits {
            created: limited.created,
            started: limited.started,
        };
        let AppState { client, memory, .. } = state;
        let ask = async {
            client
                .current_release(self.ask_until(deadline, 1), deadline)
                .await
        };
        let undecided = Undecided {
            observed: &observation.observed,
            limited: &limited,
            policy: &self.policy,
            memory,
            now: began,
        };
        let decided = undecided.decide(ask).await;
        if let Some(error) = decided.refusal() {
            report.api_fault(PassError::Release, error, About::Pass);
            report.reason = decided.plan.reason;
            report.notes = decided.plan.notes;
            return;
        }
        let Decided {
            plan: planned,
            held,
            asked,
        } = decided;
        if let Some(Err(error)) = &asked {
            self.note_no_answer(error, &planned, report);
        }
        if let Some(Ok(Some(release))) = asked.as_ref().filter(|_| !held)
            && release.is_running()
        {
            let timeout = self.policy.deploy_timeout;
            state.log.warn_of_abandoned(&report.app, release, timeout);
        }
        if let Some(failure) = planned.failure.as_ref().filter(|_| !held) {
            report.fault(PassError::NoSource, failure.to_string());
        }
        report.decision = if held {
            Decision::NoScale
        } else {
            planned.decision()
        };
        report.more_to_do = state
            .memory
            .has_more_to_ask(&planned, &observation.observed);
        let is_paused = |note: &Note| matches!(note, Note::CreatePaused { .. });
        let creates = matches!(planned.action, Some(Action::Create { .. }));
        if creates || planned.notes.iter().any(is_paused) {
            report.still_refused.clone_from(&state.refused_create);
        } else if planned.failure.is_none() && planned.reason != Reason::NoTarget {
            state.refused_create = None;
        }
        report.reason = planned.reason;
        report.notes = planned.notes;
        if held {
            return;
        }
        let Some(action) = planned.action else { return };
        if watch.stood_still() {
            report.decision = Decision::NoScale;
            report.notes.push(Note::StoodStill);
            report.more_to_do = true;
            return;
        }
        let dry_run = state.client.is_dry_run();
        let planned = if dry_run {
            format!("dry run, {}", action.would())
        } else {
            action.to_string()
        };
        state.log.announce(report, &self.targets, &planned, dry_run);
        report.planned = Some(if dry_run {
            format!("dry run, would {action}")
        } else {
            planned.clone()
        });
        if dry_run {
            self.metrics.would_have_acted(report.decision);
            report.notes.push(Note::DryRun);
            return;
        }
        if let Action::Create { source, .. } = &action {
            state
                .memory
                .note_source(source.fingerprint, source.ends_by_itself);
        }
        let executor = Executor {
            client: &state.client,
            memory: &state.memory,
            watch,
            waiting: &self.waiting,
            policy: &self.policy,
            metrics: &self.metrics,
            observed: &observation.observed,
            concurrency: self.api_concurrency,
            deadline,
        };
        let Outcome {
            effects,
            done,
            errors,
            notes,
            out_of_time,
            outdated,
        } = executor.carry_out(action).await;
        let began_nothing = out_of_time && effects.is_empty() && errors.is_empty();
        if creates {
            let is_created = |(effect, _): &(Effect, _)| matches!(effect, Effect::Created { .. });
            if let Some(refused) = errors.iter().find(|error| error.is_unauthorized()) {
                state.refused_create = Some(chain(refused));
            } else if effects.iter().any(is_created) {
                state.refused_create = None;
                report.still_refused = None;
            }
        }
        let pass = ActingPass {
            observed: &observation.observed,
            policy: &self.policy,
            began,
        };
        for (effect, at) in effects {
            state.memory.record(effect, at.into_std(), pass);
        }
        report.done = done;
        report.notes.extend(notes);
        report.more_to_do |= out_of_time || outdated;
        if outdated {
            report.notes.push(Note::StoodStill);
        }
        // A call that was passed over was begun.
        if began_nothing
            && !report
                .notes
                .iter()
                .any(|note| matches!(note, Note::Skipped { .. }))
        {
            report.fault(
                PassError::Timeout,
                format!("the pass deadline came before anything was done: {planned}; collecting and listing took nearly all of FAS_TIMEOUT"),
            );
        }
        for error in &errors {
            report.api_fault(PassError::Write, error, About::Pass);
        }
    }

    /// Nobody said what the current release is. The pass has failed only where that keeps something from being done.
    fn note_no_answer(&self, error: &ApiError, planned: &Plan, report: &mut PassReport) {
        let withheld = planned
            .notes
            .iter()
            .any(|note| matches!(note, Note::ReleaseUnknown { withheld } if withheld.is_some()));
        if withheld {
            report.api_fault(PassError::Release, error, About::Pass);
        } else {
            self.metrics.pass_error(PassError::Release);
            PassLog::warn_of_release(&report.app, error);
        }
    }

    /// What the expressions ask for when they see these machines. A metric of the name of a count stands in for it.
    fn evaluate(&self, observed: &Observed, values: &Values, now: Now) -> Evaluation {
        let is_metric = |name: &str| self.collectors.iter().any(|one| one.metric() == name);
        let values = Counts::of(observed).beside(values, is_metric);
        self.targets.evaluate(&values, now)
    }

    fn record(&self, state: &mut AppState, report: &PassReport) {
        self.metrics.pass_took(report.took);
        // As upstream: a pass that failed, or that a deploy held back, decided nothing unless it acted.
        let held = report
            .notes
            .iter()
            .any(|note| matches!(note, Note::DeployInProgress { .. }));
        if report.decision != Decision::NoScale || (report.succeeded() && !held) {
            self.metrics.decided(report.decision);
        }
        for fault in &report.faults {
            self.metrics.pass_error(fault.reason);
        }
        state.log.tell(report, &self.targets);
    }
}

/// The time of one pass.
#[derive(Clone, Copy)]
struct PassTime<'pass> {
    /// When it began.
    began: Now,
    /// When it has to be over.
    deadline: Instant,
    /// Whether the process has stood still since it began.
    watch: &'pass Watch<'pass>,
}

struct Observation {
    /// Whether the app has no machine of any group, as far as is known.
    nothing: bool,
    observed: Observed,
    values: Values,
}

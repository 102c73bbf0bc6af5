//! One pass over one app: collect, observe, ask for what the list lacks, evaluate, limit, plan, act, record.
//!
//! The machines are listed for all fleets of the app at once. From there on each goes its own way, as soon as its own metrics
//! are there: one that hangs delays no fleet that does not ask for it.
//!
//! The decisions are `expr`'s and `scaling`'s; this module asks, in the right order and under one deadline, and makes
//! sure that nothing is written without a list of this pass and a question about the current release. A pass returns a
//! [`PassReport`] whatever happens; everything that went wrong in it is in the report, logged and counted here, once.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use futures_util::{
    StreamExt as _,
    future::{Either, join_all, maybe_done, select},
    stream,
};
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

use crate::{
    act::{Executor, Outcome, creates_close},
    app::{AppState, FleetState, ListedRegions, Share, Wanted},
    clock::{Clock, Watch},
    collect::{BusyQuery, CollectError, Questions, Readings},
    config::Subject,
    decide::{Decided, Place, Told, Undecided},
    error_chain::chain,
    expr::Values,
    inventory::Inventory,
    labels::PassError,
    lock::{Gate, Term},
    machines::{ApiError, AppClient, PassVolumes},
    metrics::Metrics,
    pass_log::{Causes, PassLog},
    report::{About, Limits, PassReport},
    scaling::{
        ActingPass, Action, Answer, Busyness, Decision, Effect, Evaluation, FleetName, Ids,
        Machine, MachineList, Note, Now, Observed, Plan, PlanFailure, Policy, Pulse, Reason,
        Standstills, ids_to_ask, limit, strays_of,
    },
    shutdown::Shutdown,
    waiting::Waiting,
};

/// What all passes share.
pub struct Reconciler {
    /// `FAS_TIMEOUT`: the deadline of a pass.
    pub timeout: Duration,
    /// `FAS_INTERVAL`: from the start of one pass over an app to the next.
    pub interval: Duration,
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
    /// Whether this copy holds the lock, if there is one.
    pub gate: Gate,
    /// Whether passes go on, over all apps.
    pub pulse: Mutex<Pulse>,
}

/// Marks the end of a pass, however it ends.
struct Beating<'pass>(&'pass Reconciler, &'pass Policy);

impl Drop for Beating<'_> {
    fn drop(&mut self) {
        let now = self.0.clock.now();
        self.0.pulse().end(self.1, now);
    }
}

/// What the fleets of an app share in one pass.
struct Shared<'pass> {
    client: &'pass AppClient,
    /// What was told of the current release.
    release: Asked<Told>,
    /// What was answered about how busy machines are, where the question is the same for all regions of a policy.
    busy: Vec<Asked<BusyAnswer>>,
    /// The volumes, each of which is given away once.
    volumes: PassVolumes,
    /// Told when there is nothing left but to wait for victims.
    waiting: Waiting,
    /// In which regions the list shows machines, once there is one.
    regions: OnceLock<ListedRegions>,
    /// Whether the app has several fleets.
    has_several: bool,
    /// By what the app is scaled.
    shares: &'pass [Share],
}

impl Shared<'_> {
    /// Whether the list shows regions of a policy that has a fleet for each.
    fn has_regions(&self, share: usize) -> bool {
        let regions = self.regions.get();
        regions.is_some_and(|regions| regions.are_found(share))
    }

    /// Whether a group of which no region is the policy's has machines in those of another policy.
    fn others_have_all(&self, fleet: &FleetState, group: &Observed) -> bool {
        let share = self.shares.get(fleet.share);
        share.is_some_and(|share| !share.except.is_empty()) && !group.is_vacant()
    }
}

/// How busy machines are, or why nobody knows.
type BusyAnswer = Result<(Busyness, Vec<String>), Arc<CollectError>>;

/// A fleet and what becomes of its pass.
type Pair<'pass> = (&'pass mut FleetState, PassReport);

impl Reconciler {
    /// Looks at one app once and acts on what it sees, for each of its fleets. Never fails; see [`PassReport`].
    ///
    /// It ends by the pass deadline, `FAS_TIMEOUT` from now, and soon after a shutdown.
    pub async fn pass(&self, state: &mut AppState) -> Vec<PassReport> {
        let began = self.clock.now();
        // Of the settings only those of the daemon are read, which all fleets share.
        let shares = state.shares();
        let Some(policy) = shares.first().map(|share| &share.wanted.policy) else {
            return Vec::new();
        };
        let standstills = self.pulse().begin(policy, began);
        let _beating = Beating(self, policy);
        let watch = Watch::new(self.clock, policy, &self.pulse, began);
        let time = PassTime {
            began,
            deadline: Instant::from_std(began.monotonic) + self.timeout,
            watch: &watch,
            term: self.gate.term(state.client.app()),
        };
        tokio::select! {
            biased;
            // Both are dropped only when the pass is over. Whoever looks comes first, so that no work goes on unlooked.
            never = watch.keep_looking() => match never {},
            reports = self.pass_over_fleets(state, standstills, time) => reports,
        }
    }

    async fn pass_over_fleets(
        &self,
        state: &mut AppState,
        standstills: Standstills,
        time: PassTime<'_>,
    ) -> Vec<PassReport> {
        let began = time.began;
        let was_away = std::mem::take(&mut state.was_away);
        for fleet in &mut state.fleets {
            if was_away {
                fleet.memory.note_absence(&fleet.policy, began.monotonic);
            }
            let policy = &fleet.policy;
            fleet
                .memory
                .begin_pass(standstills, policy, began.monotonic);
        }
        let shares = state.shares();
        let AppState { client, fleets, .. } = &mut *state;
        let aside = fleets
            .iter()
            .flat_map(|fleet| fleet.memory.volumes_aside().iter().cloned());
        let shared = Shared {
            client,
            release: Asked::default(),
            busy: shares.iter().map(|_| Asked::default()).collect(),
            volumes: PassVolumes::without(aside.collect()),
            // A pass of several only waits when all of them do, which none of them knows.
            waiting: match fleets.as_slice() {
                [_] => self.waiting.clone(),
                _ => Waiting::default(),
            },
            regions: OnceLock::new(),
            has_several: fleets.len() > 1,
            shares: &shares,
        };
        let pairs = fleets.iter_mut().map(|fleet| {
            let mut report = PassReport::begun(fleet.name.clone(), began);
            report.stands_by = time.term.is_none();
            (fleet, report)
        });
        let mut pairs: Vec<Pair<'_>> = pairs.collect();
        self.work(&mut pairs, &shared, time).await;
        let took = Instant::now().saturating_duration_since(Instant::from_std(began.monotonic));
        self.metrics.pass_took(took);
        let causes = Causes::of(pairs.iter().map(|(_, report)| report));
        let reports = pairs.into_iter().map(|(fleet, mut report)| {
            report.took = took;
            report.cut_off = self.shutdown.is_set();
            self.record(fleet, &report, &causes);
            report
        });
        let reports = reports.collect();
        // A region that this list shows for the first time is a fleet from the next pass on.
        if let Some(regions) = shared.regions.into_inner() {
            state.note_regions(&regions, began.monotonic);
        }
        reports
    }

    /// Looks, decides and acts.
    async fn work(&self, pairs: &mut [Pair<'_>], shared: &Shared<'_>, time: PassTime<'_>) {
        let questions = self.questions(pairs, shared, time.began);
        let mut metrics: Vec<_> = pairs
            .chunk_by(|(one, _), (next, _)| one.share == next.share)
            .flat_map(|fleets| fleets.iter().enumerate())
            .map(|(place, (fleet, _))| {
                // Where no region is known there is nobody to ask for, and nothing to evaluate.
                let questions = questions.get(fleet.share);
                let questions = questions.filter(|_| !fleet.lacks_regions());
                Box::pin(maybe_done(async move {
                    match questions {
                        Some(questions) => questions.of(place).await,
                        None => Readings::default(),
                    }
                }))
            })
            .collect();
        let list = shared.client.list_machines(time.deadline);
        let listed = tokio::select! {
            biased;
            () = self.shutdown.wait() => return,
            listed = beside(list, &mut metrics) => listed,
        };
        let (observations, no_list) = match listed {
            Ok(machines) => (Self::observe(pairs, shared, machines, time.began), None),
            Err(error) => {
                for (fleet, _) in pairs.iter_mut() {
                    fleet.memory.note_blind_pass(time.began.monotonic);
                }
                (Vec::new(), Some(error))
            }
        };
        let observations = observations.into_iter().map(Ok);
        let observations = observations.chain(no_list.iter().cycle().map(Err));
        // Who had the least of the last pass takes the first turns of this one.
        let mut turns: Vec<_> = pairs.iter_mut().zip(observations).zip(metrics).collect();
        turns.sort_by_key(|(((fleet, _), _), _)| (fleet.had.unwrap_or(usize::MAX), fleet.served));
        let each = turns
            .into_iter()
            .map(|((pair, observation), mut metrics)| async move {
                tokio::select! {
                    biased;
                    () = self.shutdown.wait() => return,
                    () = &mut metrics => {}
                }
                let readings = metrics.as_mut().take_output().unwrap_or_default();
                self.go_on(pair, observation, readings, (shared, time))
                    .await;
            });
        join_all(each).await;
    }

    /// What the policies of the app ask, in their order.
    fn questions<'pass>(
        &'pass self,
        pairs: &[Pair<'_>],
        shared: &Shared<'pass>,
        began: Now,
    ) -> Vec<Questions<'pass>> {
        let shares = shared.shares.iter().enumerate();
        let questions = shares.map(|(place, share)| {
            let fleets = pairs.iter().filter(|(fleet, _)| fleet.share == place);
            let regions = fleets.filter_map(|(fleet, _)| fleet.name.region.clone());
            let about = (&*share.name.app, regions.collect());
            let collectors = &share.wanted.collectors;
            Questions::new(collectors, about, began, self.timeout, &self.metrics)
        });
        questions.collect()
    }

    /// What each fleet sees of the machines that were listed, in their order.
    fn observe(
        pairs: &mut [Pair<'_>],
        shared: &Shared<'_>,
        machines: Vec<Machine>,
        began: Now,
    ) -> Vec<Observation> {
        let _ = shared
            .regions
            .set(ListedRegions::of(&machines, shared.shares));
        let groups = Groups::of(pairs, &machines);
        let mut listed = Listed::new(machines, pairs.len());
        let observations = pairs.iter_mut().map(|(fleet, report)| {
            let machines = listed.next();
            let none_listed = machines.is_empty();
            let observed = fleet.memory.note_list(machines, &fleet.policy, began);
            report.inventory = Some(Inventory::of(&observed));
            Observation {
                nothing: none_listed && observed.members.is_empty(),
                observed,
                values: Values::new(&fleet.wanted.names),
                place: None,
            }
        });
        let mut observations: Vec<Observation> = observations.collect();
        groups.place(pairs, &mut observations);
        observations
    }

    /// What a fleet does once its metrics are there.
    async fn go_on(
        &self,
        (fleet, report): &mut Pair<'_>,
        observation: Result<Observation, &ApiError>,
        readings: Readings,
        (shared, time): (&Shared<'_>, PassTime<'_>),
    ) {
        for (metric, result) in readings.iter() {
            match result {
                Ok(sample) => {
                    let FleetState { name, log, .. } = &mut **fleet;
                    log.warn_of(name, metric, sample.element_count, &sample.warnings);
                }
                Err(error) => report.metric_fault(metric, error),
            }
        }
        let values = readings.values(&fleet.wanted.names);
        report.metrics = readings.into_texts();
        let mut observation = match observation {
            Ok(observation) => Observation {
                values,
                ..observation
            },
            Err(error) => {
                report.reason = Reason::NoList;
                report.api_fault(PassError::List, error, About::Pass);
                return;
            }
        };
        tokio::select! {
            biased;
            // Nothing has been written while this is awaited, so that it may be dropped at any point.
            () = self.shutdown.wait() => return,
            () = self.ask_for_unlisted(fleet, &mut observation, (shared, time), report) => {}
        }
        if fleet.lacks_regions() && shared.has_regions(fleet.share) {
            // They are fleets from the next pass on, which need not wait.
            report.reason = Reason::Inside;
            report.more_to_do = true;
        } else if fleet.lacks_regions() && shared.others_have_all(fleet, &observation.observed) {
            report.reason = Reason::Inside;
        } else if fleet.lacks_regions() {
            let creates = fleet.wanted.targets.created.is_some();
            let policy = (&*fleet.policy, creates);
            Self::note_no_region(&observation, policy, report);
        } else if fleet.is_over(&observation.observed) {
            report.reason = Reason::Inside;
            report.notes.push(Note::RegionIsOver);
            fleet.memory.note_region_over(time.began.monotonic);
        } else {
            self.decide_and_act(fleet, &mut observation, (shared, time), report)
                .await;
        }
        if fleet.wanted.may_be_empty && observation.nothing {
            report.excuse_for_no_machines();
        }
    }

    /// A group of which each region is a fleet has none: it is without machines, and where some are to be created there is
    /// nothing to clone.
    fn note_no_region(
        observation: &Observation,
        (policy, creates): (&Policy, bool),
        report: &mut PassReport,
    ) {
        report.reason = Reason::Inside;
        if !creates {
            return;
        }
        let failure = PlanFailure::no_source(&observation.observed, policy);
        report.fault(PassError::NoSource, failure.to_string());
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for machines by id that the list lacks, or of which it denies what was written to them, where this pass cannot
    /// be decided without.
    async fn ask_for_unlisted(
        &self,
        fleet: &mut FleetState,
        observation: &mut Observation,
        (shared, time): (&Shared<'_>, PassTime<'_>),
        report: &mut PassReport,
    ) {
        let PassTime {
            began, deadline, ..
        } = time;
        let Observation {
            observed, values, ..
        } = observation;
        let policy = &fleet.policy;
        let ids = ids_to_ask(observed, policy, &fleet.memory, began, |observed| {
            fleet.evaluate(observed, values, began).targets
        });
        if ids.is_empty() {
            return;
        }
        let until = self.ask_until(deadline, 2);
        let client = shared.client;
        let answers = stream::iter(ids)
            .map(|id| async {
                let answer = client.get_machine(&id, until).await;
                (id, answer)
            })
            .buffered(self.api_concurrency.max(1))
            .collect();
        // What few passes do is not a part of every pass's size.
        let answers: Vec<_> = Box::pin(answers).await;
        let mut told = false;
        let answers = answers.into_iter().filter_map(|(id, answer)| {
            let answer = match answer {
                Ok(Some(machine)) => Answer::Machine(Box::new(machine)),
                Ok(None) => Answer::Gone,
                // Another one took all the time: it was not asked for, and is the first in the next pass.
                Err(error) if error.was_not_begun() => return None,
                Err(error) => {
                    // One of them says what is wrong with all.
                    if !std::mem::replace(&mut told, true) {
                        report.api_fault(PassError::List, &error, About::Unlisted);
                    }
                    Answer::None
                }
            };
            Some((id, answer))
        });
        let answers = answers.collect();
        let policy = Arc::clone(&fleet.policy);
        fleet.memory.settle(observed, answers, &policy, began);
        report.inventory = Some(Inventory::of(observed));
        if let Some(place) = &observation.place {
            place.see(observed);
        }
    }

    /// Until when a question before acting may take: half of what is left, and never so long that no create could begin
    /// after it and the `later` questions that may follow, each of which keeps a twentieth of the timeout.
    fn ask_until(&self, deadline: Instant, later: u32) -> Instant {
        let now = Instant::now();
        let half = now + deadline.saturating_duration_since(now) / 2;
        let kept = self.timeout / 20 * later;
        let latest = creates_close(deadline, self.timeout) - kept;
        if now < latest { half.min(latest) } else { half }
    }

    async fn decide_and_act(
        &self,
        fleet: &mut FleetState,
        observation: &mut Observation,
        (shared, time): (&Shared<'_>, PassTime<'_>),
        report: &mut PassReport,
    ) {
        let PassTime {
            began,
            deadline,
            watch,
            term,
        } = time;
        let wanted = Arc::clone(&fleet.wanted);
        let policy = &*Arc::clone(&fleet.policy);
        fleet.had = None;
        let Evaluation { targets, errors } =
            fleet.evaluate(&observation.observed, &observation.values, began);
        report.targets = targets;
        report.target_faults(&errors);
        let limited = limit(
            report.targets,
            &observation.observed,
            policy,
            &mut fleet.memory,
            began,
        );
        report.limited = Limits {
            created: limited.created,
            started: limited.started,
        };
        let ask = async {
            let told = shared.release.answer(async |before| {
                let until = self.ask_until(deadline, 1);
                let release = shared.client.current_release(until, deadline);
                Told::after(before, Arc::new(Box::pin(release).await))
            });
            told.await
        };
        let fleet_place = (fleet.share, &fleet.name, &*wanted);
        let told = OnceLock::new();
        let ask_busy = async {
            // Of a pass in which nothing is begun any more, as is said below.
            if watch.stood_still() {
                return Busyness::NotAsked;
            }
            let answer = self.ask_busy(fleet_place, (shared, time));
            let (busyness, said) = match Box::pin(answer).await {
                Ok((busyness, warnings)) => (busyness, Ok(warnings)),
                Err(error) => (Busyness::Unknown, Err(error)),
            };
            let _ = told.set(said);
            busyness
        };
        let undecided = Undecided {
            observed: &mut observation.observed,
            place: observation.place.as_ref(),
            limited: &limited,
            policy,
            memory: &mut fleet.memory,
            now: began,
        };
        let decided = undecided.decide(ask, ask_busy).await;
        let setting = wanted.busy.as_ref().map_or("", BusyQuery::setting);
        match told.into_inner() {
            // Each element is about a machine of its own: that there are several is as it should be.
            Some(Ok(warnings)) => fleet.log.warn_of(&fleet.name, setting, 1, &warnings),
            Some(Err(error)) => report.metric_fault(setting, &error),
            None => {}
        }
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
        if let Some(Err(error)) = asked.as_deref() {
            self.note_no_answer(error, &planned, report);
        }
        if let Some(Ok(Some(release))) = asked.as_deref().filter(|_| !held)
            && release.is_running()
        {
            let timeout = policy.deploy_timeout;
            fleet.log.warn_of_abandoned(&fleet.name, release, timeout);
        }
        if let Some(failure) = planned.failure.as_ref().filter(|_| !held) {
            report.fault(PassError::NoSource, failure.to_string());
        }
        report.decision = if held {
            Decision::NoScale
        } else {
            planned.decision()
        };
        report.more_to_do = fleet
            .memory
            .has_more_to_ask(&planned, &observation.observed);
        let is_paused = |note: &Note| matches!(note, Note::CreatePaused { .. });
        let creates = matches!(planned.action, Some(Action::Create { .. }));
        if creates || planned.notes.iter().any(is_paused) {
            report.still_refused.clone_from(&fleet.refused_create);
        } else if planned.failure.is_none() && planned.reason != Reason::NoTarget {
            fleet.refused_create = None;
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
        // What few passes do is not a part of every pass's size.
        if !Box::pin(self.may_act(&fleet.name.app, term, deadline)).await {
            report.decision = Decision::NoScale;
            let why = if report.stands_by {
                "standing by"
            } else {
                "not sure of the lock"
            };
            report.planned = Some(format!("{why}, would {action}"));
            if report.stands_by {
                report.notes.push(Note::StandsBy);
            } else if !self.shutdown.is_set() {
                report.notes.push(Note::LockUnconfirmed);
            }
            return;
        }
        let dry_run = shared.client.is_dry_run();
        let planned = if dry_run {
            format!("dry run, {}", action.would())
        } else {
            action.to_string()
        };
        fleet
            .log
            .announce(report, &wanted.targets, &planned, dry_run);
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
            fleet
                .memory
                .note_source(source.fingerprint, source.ends_by_itself);
        }
        let executor = Executor {
            client: shared.client,
            fleet: &fleet.name,
            memory: &fleet.memory,
            watch,
            term,
            waiting: &shared.waiting,
            volumes: &shared.volumes,
            policy,
            metrics: &self.metrics,
            observed: &observation.observed,
            concurrency: self.api_concurrency,
            deadline,
        };
        let was_in_time = Instant::now() < creates_close(deadline, self.timeout);
        let Outcome {
            effects,
            done,
            errors,
            notes,
            out_of_time,
            outdated,
        } = Box::pin(executor.carry_out(action)).await;
        // Where there was time, the turns of creating went to the app's other fleets.
        let went_to_others = creates && was_in_time && shared.has_several;
        let began_nothing =
            out_of_time && effects.is_empty() && errors.is_empty() && !went_to_others;
        if creates {
            let is_created = |(effect, _): &(Effect, _)| matches!(effect, Effect::Created { .. });
            if let Some(refused) = errors.iter().find(|error| error.is_unauthorized()) {
                fleet.refused_create = Some(chain(refused));
            } else if effects.iter().any(is_created) {
                fleet.refused_create = None;
                report.still_refused = None;
            }
        }
        let pass = ActingPass {
            observed: &observation.observed,
            policy,
            began,
        };
        let did = effects.len();
        for (effect, at) in effects {
            fleet.memory.record(effect, at.into_std(), pass);
        }
        report.done = done;
        report.notes.extend(notes);
        report.more_to_do |= out_of_time || outdated;
        fleet.had = out_of_time.then_some(did);
        if out_of_time && did > 0 {
            fleet.served = Some(began.monotonic);
        }
        if outdated {
            report.notes.push(Note::StoodStill);
        }
        if !self.gate.permits(&fleet.name.app, term) && !self.shutdown.is_set() {
            report.notes.push(Note::LockUnconfirmed);
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

    /// Whether this copy holds the lock, if there is one, and has held it since the pass began.
    async fn may_act(&self, app: &str, term: Option<Term>, deadline: Instant) -> bool {
        tokio::select! {
            biased;
            // All may be dropped: nothing has been written, and nobody minds a confirmation that is not waited for.
            is_held = self.gate.confirm(app, term) => is_held,
            () = self.shutdown.wait() => false,
            () = tokio::time::sleep_until(deadline) => false,
        }
    }

    /// Asks how busy the machines of a fleet are: once for all regions of a policy, where the question is the same.
    async fn ask_busy(
        &self,
        (share, name, wanted): (usize, &FleetName, &Wanted),
        (shared, time): (&Shared<'_>, PassTime<'_>),
    ) -> BusyAnswer {
        let Some(query) = &wanted.busy else {
            return Ok((Busyness::Unknown, Vec::new()));
        };
        let ask = async || {
            let until = self.ask_until(time.deadline, 0);
            let about = Subject {
                app: &name.app,
                region: name.region.as_deref(),
            };
            let samples = query.ask(about, time.began, until, &self.metrics).await;
            samples
                .map(|samples| (Busyness::of(samples.of_machines), samples.warnings))
                .map_err(Arc::new)
        };
        match shared.busy.get(share) {
            Some(asked) if !query.asks_each_region() => asked.answer(async |_| ask().await).await,
            _ => ask().await,
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
            PassLog::warn_of_release(&report.fleet, error);
        }
    }

    fn record(&self, fleet: &mut FleetState, report: &PassReport, causes: &Causes) {
        // As upstream: a pass that failed, or that a deploy held back, decided nothing unless it acted.
        let held = report
            .notes
            .iter()
            .any(|note| matches!(note, Note::DeployInProgress { .. }));
        let has_decided = report.succeeded() && !held && !report.cut_off;
        // Of several copies the one that writes decides: their sum is then that of one.
        let decides = !report.stands_by;
        if decides && (report.decision != Decision::NoScale || has_decided) {
            self.metrics.decided(report.decision);
        }
        for fault in &report.faults {
            self.metrics.pass_error(fault.reason);
        }
        fleet.log.tell(report, &fleet.wanted.targets, causes);
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
    /// The term of the lock in which it began.
    term: Option<Term>,
}

/// An answer that all fleets of a pass share that ask within a few seconds.
///
/// Each asks when its own metrics are there, and one that comes late must not act on what has been so long ago: a deploy may
/// have begun since.
struct Asked<T>(AsyncMutex<Option<(Instant, T)>>);

/// How long an answer holds.
const HOLDS: Duration = Duration::from_secs(5);

impl<T> Default for Asked<T> {
    fn default() -> Self {
        Self(AsyncMutex::default())
    }
}

impl<T: Clone> Asked<T> {
    /// The last answer, or a new one, which `ask` gets with the one before; who comes while another one asks waits for the
    /// same.
    async fn answer(&self, ask: impl AsyncFnOnce(Option<&T>) -> T) -> T {
        let mut last = self.0.lock().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < HOLDS
        {
            return answer.clone();
        }
        let before = last.as_ref().map(|(_, answer)| answer);
        let answer = ask(before).await;
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}

/// Awaits `first`, and has the others go on meanwhile.
async fn beside<T>(
    first: impl Future<Output = T>,
    others: &mut [impl Future<Output = ()> + Unpin],
) -> T {
    match select(pin!(first), join_all(others)).await {
        Either::Left((value, _)) => value,
        Either::Right((_, first)) => first.await,
    }
}

/// The machines that were listed, for each of several fleets that look at them.
struct Listed {
    machines: Vec<Machine>,
    /// Of all of them; only where there are several fleets.
    ids: Option<Arc<Ids>>,
    left: usize,
}

impl Listed {
    fn new(machines: Vec<Machine>, fleets: usize) -> Self {
        let ids = (fleets > 1).then(|| {
            let ids = machines.iter().map(|machine| machine.id.as_str().into());
            Arc::new(ids.collect())
        });
        Self {
            machines,
            ids,
            left: fleets,
        }
    }

    /// All of them for the next fleet, which copies what is its own; the last one takes them.
    fn next(&mut self) -> MachineList<'_> {
        self.left = self.left.saturating_sub(1);
        match &self.ids {
            None => std::mem::take(&mut self.machines).into(),
            Some(ids) if self.left == 0 => {
                MachineList::shared(std::mem::take(&mut self.machines), ids)
            }
            Some(ids) => MachineList::shared(&self.machines[..], ids),
        }
    }
}

/// The process groups of which each region is a fleet, with their listed machines that no fleet has.
struct Groups(Vec<(Arc<Policy>, Vec<Machine>)>);

impl Groups {
    fn of(pairs: &[Pair<'_>], listed: &[Machine]) -> Self {
        let mut groups: Vec<(Arc<Policy>, BTreeSet<&str>)> = Vec::new();
        for (fleet, _) in pairs {
            let policy = &fleet.policy;
            let Some(region) = &policy.region else {
                continue;
            };
            let mut known = groups.iter_mut();
            let known = known.find(|(other, _)| other.process_group == policy.process_group);
            if let Some((_, regions)) = known {
                regions.insert(region);
            } else {
                groups.push((Arc::clone(policy), BTreeSet::from([&**region])));
            }
        }
        let groups = groups.into_iter().map(|(policy, regions)| {
            let strays = strays_of(listed, &policy, &regions);
            (policy, strays.into_iter().cloned().collect())
        });
        Self(groups.collect())
    }

    /// Gives each fleet its place among the others, by what all of them see.
    fn place(&self, pairs: &[Pair<'_>], observations: &mut [Observation]) {
        for (policy, strays) in &self.0 {
            let is_of_group = |fleet: &FleetState| {
                fleet.policy.region.is_some() && fleet.policy.process_group == policy.process_group
            };
            let seen = pairs.iter().zip(&*observations);
            let seen = seen.filter(|((fleet, _), _)| is_of_group(fleet));
            let seen = seen.map(|(_, observation)| &observation.observed);
            let places = Place::of_each(&seen.collect::<Vec<_>>(), strays);
            let fleets = pairs.iter().zip(observations.iter_mut());
            let fleets = fleets.filter(|((fleet, _), _)| is_of_group(fleet));
            for (((fleet, _), observation), place) in fleets.zip(places) {
                observation.observed.elsewhere = place.beside(&fleet.policy);
                observation.place = Some(place);
            }
        }
    }
}

struct Observation {
    /// Whether the app has no machine of any group, as far as is known.
    nothing: bool,
    observed: Observed,
    values: Values,
    /// Its place among the regions of its group, where each is a fleet.
    place: Option<Place>,
}

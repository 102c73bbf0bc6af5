//! The replay: a pass a step, in the order in which `reconcile` makes it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    Figures, History,
    figures::{Step, Tally},
    fleet::Fleet,
};
use crate::{
    expr::{EvalError, Expression, Names, Values},
    scaling::{
        ActingPass, Action, Bounds, Counts, Decision, Effect, Evaluation, Group, InitialState,
        Kind, Machine, Memory, Now, Planner, Policy, Reason, ReleaseView, Standstills, State,
        TargetExpressions, limit, to_count,
    },
};

/// The most machines that are replayed: an expression that asks for more has lost its bound, and a model of them its use.
pub const MOST_MACHINES: u32 = 10_000;

/// More machines are asked for than are replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it asks for {wanted} machines at {at}, and at most {MOST_MACHINES} are replayed: set FAS_MACHINE_CEILING"
)]
pub struct TooMany {
    /// How many.
    pub wanted: u32,
    /// In which pass.
    pub at: Timestamp,
}

impl TooMany {
    /// Refuses what is too much.
    fn check(wanted: u32, at: Timestamp) -> Result<(), Self> {
        if wanted > MOST_MACHINES {
            return Err(Self { wanted, at });
        }
        Ok(())
    }
}

/// What is replayed.
#[derive(Debug, Clone, Copy)]
pub struct Replay<'a> {
    /// The metrics; a pass is made at each point.
    pub history: &'a History,
    /// The names that all expressions were compiled with.
    pub names: &'a Names,
    /// The expressions.
    pub targets: &'a TargetExpressions,
    /// Which of the two kinds is judged by: the one whose minimum and maximum are shown.
    pub kind: Kind,
    /// How many machines Fly Proxy has running; `None`: it starts and stops none.
    pub running: Option<&'a Expression>,
    /// The settings.
    pub policy: &'a Policy,
    /// How many machines there are at the beginning; `None`: as many as the created target asks for then.
    pub initial: Option<u32>,
    /// How long a machine takes from its create or start until it runs.
    pub boot: Duration,
    /// Any moment: the monotonic clock of the first step.
    pub origin: Instant,
}

/// How many machines there were at the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Machines that existed.
    pub created: u32,
    /// Those of them that ran.
    pub running: u32,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it began.
    pub start: Start,
    /// What it comes to.
    pub figures: Figures,
    /// One for each point of the history.
    pub points: Vec<Point>,
    /// The kind's target had no value in some steps.
    pub missing: Option<Missing>,
    /// The same of how many the proxy has running: those stayed as they were.
    pub running_missing: Option<Missing>,
}

/// One step, after what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The target before limits; `None` where it had no value.
    pub target: Option<Bounds>,
    /// Machines that exist.
    pub created: u32,
    /// Machines that run; those that boot are not among them.
    pub started: u32,
    /// What was decided.
    pub decision: Decision,
    /// The stable code of why.
    pub code: &'static str,
}

/// Steps in which an expression had no value.
#[derive(Debug, Clone, PartialEq)]
pub struct Missing {
    /// In how many.
    pub steps: usize,
    /// The first of them.
    pub first: usize,
    /// Why it had none in that one.
    pub why: EvalError,
}

impl Missing {
    fn note(missing: &mut Option<Self>, step: usize, why: EvalError) {
        let missing = missing.get_or_insert(Self {
            steps: 0,
            first: step,
            why,
        });
        missing.steps += 1;
    }
}

impl Replay<'_> {
    /// Makes all passes. `told` hears of each step that is done.
    ///
    /// # Errors
    ///
    /// More machines than [`MOST_MACHINES`].
    pub fn run(&self, mut told: impl FnMut()) -> Result<Outcome, TooMany> {
        let start = self.start();
        let first = self.now(0);
        TooMany::check(start.created, first.wall)?;
        let mut world = World {
            fleet: Fleet::new(start, self.policy, self.boot, first.wall),
            memory: Memory::default(),
            tally: Tally::default(),
        };
        let mut points = Vec::with_capacity(self.history.points);
        let (mut missing, mut running_missing) = (None, None);
        for step in 0..self.history.points {
            let now = self.now(step);
            world.fleet.advance(now.wall);
            let values = self.values(step);
            if let Some(running) = self.running {
                match self.count(running, &values, world.fleet.counts(), now) {
                    Ok(running) => world.fleet.route_to(running, now.wall),
                    Err(why) => Missing::note(&mut running_missing, step, why),
                }
            }
            let pass = self.pass(&mut world, &values, now)?;
            if let Some(why) = pass.error {
                Missing::note(&mut missing, step, why);
            }
            let boots = world.fleet.boots(now.wall);
            let (created, running) = (world.fleet.created(), world.fleet.running());
            world.tally.pass(Step {
                length_s: f64::from(self.history.step_s),
                created,
                running,
                boots: &boots,
                minimum: pass.target.map(|bounds| bounds.min),
                rest_is_enough: self.rest_is_enough(),
            });
            points.push(Point {
                target: pass.target,
                created,
                started: running,
                decision: pass.decision,
                code: pass.reason.code(),
            });
            told();
        }
        Ok(Outcome {
            start,
            figures: world.tally.figures(),
            points,
            missing,
            running_missing,
        })
    }

    /// Whether the target asks for machines that exist, whether or not they run: a reserve at rest is what it is for.
    #[must_use]
    pub fn rest_is_enough(&self) -> bool {
        self.kind == Kind::Created && self.policy.initial_state == InitialState::Stopped
    }

    /// Both clocks of a step.
    fn now(&self, step: usize) -> Now {
        let wall = self.history.at(step);
        let since = wall.duration_since(self.history.from).unsigned_abs();
        Now {
            monotonic: self.origin + since,
            wall,
        }
    }

    fn values(&self, step: usize) -> Values {
        let mut values = Values::new(self.names);
        for metric in self.history.metrics.keys() {
            values.set(metric, self.history.value(metric, step));
        }
        values
    }

    /// As `reconcile` does: a metric of the name of a count stands in for it.
    fn with_counts(&self, values: &Values, counts: Counts) -> Values {
        counts.beside(values, |name| self.history.metrics.contains_key(name))
    }

    /// What an expression of the proxy's machines comes to.
    fn count(
        &self,
        expression: &Expression,
        values: &Values,
        counts: Counts,
        now: Now,
    ) -> Result<u32, EvalError> {
        let values = self.with_counts(values, counts);
        let value = expression.evaluate(&values, now.wall)?;
        to_count(0, value)
    }

    /// How many machines there are before the first step.
    ///
    /// Where nobody says, as many as the created target wants in the first step that has one, so that the figures are not
    /// those of a fleet that has yet to grow.
    fn start(&self) -> Start {
        let is_started = self.policy.initial_state == InitialState::Started;
        let least = self.initial.unwrap_or(1);
        for step in 0..self.history.points {
            let (now, values) = (self.now(step), self.values(step));
            let guess = |created: u32, running: u32| Counts {
                created,
                started: running.min(created),
                stopped: created.saturating_sub(running),
            };
            let routed = self.running.map(|running| {
                let counts = guess(least, least);
                self.count(running, &values, counts, now)
            });
            let Ok(routed) = routed.transpose() else {
                continue;
            };
            let running = routed.unwrap_or(if is_started { u32::MAX } else { 0 });
            let created = self.initial.unwrap_or(least.max(routed.unwrap_or(1)));
            let values = self.with_counts(&values, guess(created, running));
            let targets = self.targets.evaluate(&values, now).targets;
            let created = match (self.initial, targets.created.bounds()) {
                (Some(initial), _) => initial,
                (None, None) if self.targets.created.is_some() => continue,
                (None, None) => created,
                (None, Some(bounds)) => {
                    let least = self.targets.least(Kind::Created);
                    let floor = self.policy.floor.unwrap_or(least).max(least);
                    let ceiling = self.policy.ceiling.unwrap_or(u32::MAX);
                    bounds
                        .min
                        .min(ceiling)
                        .max(floor)
                        .max(routed.unwrap_or(least))
                }
            };
            let by_target = targets.started.bounds().filter(|_| self.running.is_none());
            let running = by_target.map_or(running, |bounds| {
                let running = if is_started { created } else { 0 };
                running.clamp(bounds.min, bounds.max)
            });
            return Start {
                created,
                running: running.min(created),
            };
        }
        Start {
            created: least,
            running: if is_started { least } else { 0 },
        }
    }

    /// One pass, as `reconcile` makes it where every call succeeds and no deploy is under way.
    fn pass(&self, world: &mut World, values: &Values, now: Now) -> Result<Pass, TooMany> {
        let World {
            fleet,
            memory,
            tally: _,
        } = world;
        // A gap in what is replayed is none in which nobody would have looked.
        memory.begin_pass(Standstills::default(), self.policy, now.monotonic);
        let mut observed = memory.note_list(fleet.list(), self.policy, now);
        if self.policy.region.is_some() {
            // The others of the group are not replayed: it may go down to nothing, and comes back.
            let machine = Machine {
                process_group: self.policy.process_group.as_str().into(),
                ..Machine::new("elsewhere", "elsewhere", State::Started)
            };
            observed.elsewhere = Group::with_one_elsewhere(machine, self.policy);
        }
        let values = self.with_counts(values, Counts::of(&observed));
        let Evaluation { targets, errors } = self.targets.evaluate(&values, now);
        let limited = limit(targets, &observed, self.policy, memory, now);
        let planner = Planner {
            observed: &observed,
            policy: self.policy,
            memory,
            release: ReleaseView::NotAsked,
            now,
        };
        let mut planned = planner.plan(&limited);
        if planned.action.is_some() {
            let release = ReleaseView::Known(None);
            planned = Planner { release, ..planner }.plan(&limited);
        }
        let target = targets.of_kind(self.kind);
        let error = errors.into_iter().find(|error| error.kind == self.kind);
        let pass = Pass {
            target: target.bounds(),
            error: error.map(|error| error.error),
            decision: planned.decision(),
            reason: planned.reason,
        };
        if let Some(action) = planned.action {
            if let Action::Create { count, .. } = &action {
                TooMany::check(fleet.created().saturating_add(*count), now.wall)?;
            }
            let acting = ActingPass {
                observed: &observed,
                policy: self.policy,
                began: now,
            };
            let machines = world.act(action, acting);
            world.tally.did(pass.decision, machines, now.wall);
        }
        Ok(pass)
    }
}

/// What a replay changes.
struct World {
    fleet: Fleet,
    memory: Memory,
    tally: Tally,
}

impl World {
    /// Does to the model what an action does, and remembers it as `act` does; to how many machines.
    fn act(&mut self, action: Action, pass: ActingPass<'_>) -> u32 {
        let Self { fleet, memory, .. } = self;
        let now = pass.began;
        if let Action::Create { source, .. } = &action {
            memory.note_source(source.fingerprint, source.ends_by_itself);
        }
        let mut done = 0;
        let mut record = |effect| {
            memory.record(effect, now.monotonic, pass);
            done += 1;
        };
        match action {
            Action::Create {
                count,
                mut placement,
                ..
            } => {
                for _ in 0..count {
                    let Some(region) = placement.next_region() else {
                        break;
                    };
                    let id = fleet.create(&region, now.wall, pass.policy);
                    record(Effect::Created { id, region });
                }
            }
            Action::Destroy { victims } => {
                let mut ids = BTreeSet::new();
                for victim in victims {
                    ids.insert(victim.id.clone());
                    record(Effect::Destroyed { id: victim.id });
                }
                fleet.destroy(&ids);
            }
            Action::Start { candidates, count } => {
                for id in candidates.into_iter().take(count as usize) {
                    fleet.start(&id, now.wall);
                    record(Effect::Started { id });
                }
            }
            Action::Stop { candidates, count } => {
                for id in candidates.into_iter().take(count as usize) {
                    fleet.stop(&id, now.wall);
                    record(Effect::Stopped { id });
                }
            }
        }
        done
    }
}

/// What one pass came to.
struct Pass {
    target: Option<Bounds>,
    error: Option<EvalError>,
    decision: Decision,
    reason: Reason,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;

//! The judge of a fleet: what a careful operator would demand, worked out from what happened and not from the program's code.
//!
//! It knows the truth (the simulator's changes) and what the daemon was told (its exchanges), and asks of each request
//! whether it was allowed, and of each change whether it was too much. Where the daemon cannot know better, as behind a
//! lagging list, it is judged by what it was told and what it did itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use fly_autoscaler::sim::{
    Actor, App, Change, ChangeKind, Machine, MachineState, Operation, Platform,
};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    generator::{CALM, Event, Freezes, Rules, SETTLED, Scenario, seconds},
    tally::Tally,
    wire::{Ended, Exchange, Pass, Release, Seen, View, Whose, Wire, is_mine, is_of, seen},
};

/// How long a list may lag behind, and how long a machine counts after its host was lost.
const SETTLE: Duration = Duration::from_secs(60);

/// Timers go by whole milliseconds.
pub(super) const SLACK: Duration = Duration::from_millis(3);

pub(super) type Verdict = Result<(), String>;

macro_rules! demand {
    ($holds:expr, $($text:tt)+) => {
        let holds: bool = $holds;
        if !holds {
            return Err(format!($($text)+));
        }
    };
}
pub(super) use demand;

/// For how long an answer about the current release holds for the fleets of a pass that come later.
pub(super) const HOLDS: Duration = Duration::from_secs(5);

/// A machine as it truly is.
#[derive(Debug)]
struct Truth {
    mine: bool,
    living: bool,
    state: MachineState,
    /// When one of our creates made it.
    ours: Option<Duration>,
    /// The request that made it, if it was one of ours.
    made_by: Option<usize>,
    /// When one of our destroys took it.
    destroyed: Option<Duration>,
    /// When one of our starts took effect that nobody has undone since.
    started: Option<Duration>,
    /// When one of our stops last took effect.
    stopped: Option<Duration>,
    up: bool,
}

fn is_up(state: &MachineState) -> bool {
    matches!(state, MachineState::Started | MachineState::Starting)
}

/// What a create is to make, as far as its clones can fail for it: without metadata, whatever its volumes are, and with
/// the tag of its image alone, on which its digest depends here.
fn essence(config: &Value) -> String {
    let mut config = config.clone();
    if let Some(fields) = config.as_object_mut() {
        fields.remove("metadata");
    }
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        mount["volume"] = Value::Null;
    }
    if let Some((named, _)) = config["image"]
        .as_str()
        .and_then(|image| image.split_once('@'))
    {
        config["image"] = named.into();
    }
    config.to_string()
}

/// Whether lists of this life have shown machines in a region that is a fleet only for these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Never,
    /// An earlier one did.
    Once,
    /// The last one did, or it is a fleet whatever lists show.
    Now,
}

/// What machines show of a deploy.
#[derive(Debug, Default)]
pub(super) struct Signs {
    pub(super) releases: BTreeSet<u64>,
    /// Whether one is cordoned, or being updated or replaced.
    pub(super) turned: bool,
}

impl Signs {
    pub(super) fn extend(&mut self, other: Self) {
        self.releases.extend(other.releases);
        self.turned |= other.turned;
    }

    pub(super) fn show_one(&self) -> bool {
        self.releases.len() > 1 || self.turned
    }
}

/// The newest release of machines that are cordoned, and the oldest of others.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Halves {
    pub(super) cordoned: Option<u64>,
    pub(super) other: Option<u64>,
}

impl Halves {
    /// Those of all whose own halves these are.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            cordoned: self.cordoned.max(other.cordoned),
            other: match (self.other, other.other) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
        }
    }

    /// Those of machines as a list shows them.
    pub(super) fn of<'view>(machines: impl Iterator<Item = &'view Seen>) -> Self {
        let there = machines.filter(|seen| seen.host_ok && seen.state.is_living());
        there.fold(Self::default(), |halves, seen| {
            let own = if seen.cordoned {
                Self {
                    cordoned: seen.release,
                    other: None,
                }
            } else {
                Self {
                    cordoned: None,
                    other: seen.release,
                }
            };
            halves.and(own)
        })
    }

    /// Whether a blue-green deploy is half done.
    pub(super) fn are_turned(self) -> bool {
        self.other.is_some() && self.cordoned > self.other
    }
}

/// Whether a machine in this state may be cloned.
pub(super) fn is_source_state(state: &str) -> bool {
    matches!(
        state,
        "started"
            | "starting"
            | "restarting"
            | "updating"
            | "replacing"
            | "stopped"
            | "suspended"
            | "creating"
            | "created"
            | "stopping"
            | "suspending"
    )
}

/// A machine of a region's fleet that one of our destroys took.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) id: Arc<str>,
    pub(super) at: Duration,
    /// The pass that sent it.
    pub(super) pass: usize,
}

/// Creates that failed one pass after the other.
#[derive(Debug, Default)]
struct Failing {
    config: String,
    passes: u32,
    until: Duration,
}

pub(super) struct Oracle {
    name: String,
    policy: usize,
    rules: Rules,
    metric_is_instances: bool,
    /// How much longer than alone a pass may have to wait for its place; `None`: it never has to.
    waits_for_others: Option<Duration>,
    freezes: Freezes,
    /// How long ago a write of ours may have been that lists do not show.
    recent: Duration,
    epoch: Timestamp,
    own: Option<Arc<str>>,
    machines: BTreeMap<Arc<str>, Truth>,
    seen_requests: u64,
    seen_changes: u64,
    seen_exchanges: usize,
    closed: usize,
    /// Writes that took effect and whose change has not been judged yet, by ordinal.
    effects: Vec<usize>,
    /// Creates by their ordinal: what they were to clone.
    configs: BTreeMap<usize, String>,
    by_machine: BTreeMap<Arc<str>, Vec<usize>>,
    /// Questions about each machine, by their numbers.
    questions: BTreeMap<Arc<str>, Vec<usize>>,
    creates: Vec<usize>,
    /// In which life and when a list of a pass that is over first showed a machine on its way out.
    leaving: BTreeMap<Arc<str>, (u32, Duration)>,
    failing: Failing,
    /// When somebody else last made a machine of the group.
    others_created: Option<Duration>,
    /// Of each pass that is over, whether it has left something that the next one does at once.
    hurries: Vec<bool>,
    /// Of each pass, whether there was a fleet at its beginning.
    known: Vec<Known>,
    /// Machines of a region's fleet that were taken, which its group has not judged yet.
    taken: Vec<Taken>,
    /// How many machines above the maximum a region has kept in the end that could go by its own rules.
    kept: u32,
    life: u32,
    tally: Tally,
    trace: Option<Vec<(Duration, String)>>,
}

impl Oracle {
    pub(super) fn new(
        scenario: &Scenario,
        app: usize,
        fleet: usize,
        platform: &Platform,
        own: Option<Arc<str>>,
    ) -> Self {
        let scene = &scenario.apps[app];
        let rules = scene.fleets[fleet].rules.clone();
        let machines = platform
            .app(&scene.name)
            .into_iter()
            .flat_map(App::machines)
            .map(|machine| {
                let truth = Truth {
                    mine: is_mine(machine, &rules),
                    living: true,
                    state: machine.state.clone(),
                    ours: None,
                    made_by: None,
                    destroyed: None,
                    started: None,
                    stopped: None,
                    up: is_up(&machine.state),
                };
                (Arc::clone(&machine.id), truth)
            })
            .collect();
        Self {
            name: scene.name.clone(),
            policy: scene.fleets[fleet].policy,
            waits_for_others: scenario.waits_for_others(),
            freezes: scenario.freezes.clone(),
            recent: SETTLE + scenario.longest_lag(),
            rules,
            metric_is_instances: scenario.metric_is_instances,
            epoch: scenario.options.epoch,
            own,
            machines,
            seen_requests: 0,
            seen_changes: platform.changes().total(),
            seen_exchanges: 0,
            closed: 0,
            effects: Vec::new(),
            configs: BTreeMap::new(),
            by_machine: BTreeMap::new(),
            questions: BTreeMap::new(),
            creates: Vec::new(),
            leaving: BTreeMap::new(),
            failing: Failing::default(),
            others_created: None,
            hurries: Vec::new(),
            known: Vec::new(),
            taken: Vec::new(),
            kept: 0,
            life: 0,
            tally: Tally::default(),
            trace: None,
        }
    }

    /// Keeps what happens, in words.
    pub(super) fn trace_on(&mut self) {
        self.trace = Some(vec![(Duration::ZERO, format!("{:#?}", self.rules))]);
    }

    pub(super) fn into_trace(self) -> Vec<(Duration, String)> {
        self.trace.unwrap_or_default()
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether the next pass after one that is over may begin at once.
    pub(super) fn hurries(&self, pass: usize) -> bool {
        self.hurries.get(pass).is_some_and(|hurries| *hurries)
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whether there was a fleet when a pass began.
    pub(super) fn known(&self, pass: usize) -> Known {
        self.known.get(pass).copied().unwrap_or(Known::Never)
    }

    /// The machines taken since this was asked last.
    pub(super) fn take_taken(&mut self) -> Vec<Taken> {
        std::mem::take(&mut self.taken)
    }

    /// How many machines above its maximum a region has kept in the end.
    pub(super) fn kept(&self) -> u32 {
        self.kept
    }

    fn is_region(&self) -> bool {
        self.rules.which.region.is_some()
    }

    /// Says of passes that have begun whether there was a fleet by then.
    fn note_known(&mut self, wire: &Wire) {
        for pass in self.known.len()..wire.passes.len() {
            let life = wire.passes[pass].life;
            let earlier = wire.passes[..pass].iter().rev();
            let mut lists = earlier
                .take_while(|earlier| earlier.life == life)
                .filter_map(|earlier| earlier.view.as_ref());
            let is_shown = lists.next().is_some_and(Self::founds);
            let follows = pass > 0 && wire.passes[pass - 1].life == life;
            let known = if !self.rules.found || is_shown {
                Known::Now
            } else if follows && self.known(pass - 1) != Known::Never {
                Known::Once
            } else {
                Known::Never
            };
            self.known.push(known);
        }
    }

    /// Whether a list shows a machine that makes its region a fleet where none is set: of the group, on a host that answers.
    pub(super) fn founds(view: &View) -> bool {
        let mut machines = view.machines.values();
        machines.any(|seen| seen.mine && seen.host_ok && seen.state.is_living())
    }

    fn tell(&mut self, at: Duration, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push((at, line()));
        }
    }

    /// Something happens to the scene.
    pub(super) fn event(&mut self, now: Duration, event: &Event) {
        self.tell(now, || format!("       ** {event:?}"));
    }

    /// Judges everything that happened since the last look.
    pub(super) fn look(&mut self, platform: &Platform, wire: &Wire) -> Verdict {
        self.note_known(wire);
        for record in platform.requests().since(self.seen_requests) {
            let Some(ordinal) = wire.index(record.ordinal) else {
                continue;
            };
            if record.operation == Operation::Create {
                let body: Value = serde_json::from_slice(&record.body).unwrap_or_default();
                self.configs.insert(ordinal, essence(&body["config"]));
            }
            if record.took_effect
                && record.operation.is_write()
                && record.operation != Operation::CreateVolume
            {
                self.effects.push(ordinal);
            }
        }
        self.seen_requests = platform.requests().total();
        let changes: Vec<Change> = platform
            .changes()
            .since(self.seen_changes)
            .filter(|change| *change.app == *self.name && is_of(&change.machine, &self.rules))
            .cloned()
            .collect();
        self.seen_changes = platform.changes().total();
        let mut changes = changes.iter().peekable();
        // In the order of their times: what was done before a request is known when it is judged, and a pass is judged as
        // a whole before the next one's requests are.
        for ordinal in self.seen_exchanges..wire.exchanges.len() {
            let at = wire.exchanges[ordinal].at;
            while let Some(change) = changes.next_if(|change| change.at < at) {
                self.change(wire, change)?;
            }
            while self.closed < wire.exchanges[ordinal].pass {
                self.close(wire, self.closed)?;
                self.closed += 1;
            }
            self.request(wire, ordinal)?;
        }
        self.seen_exchanges = wire.exchanges.len();
        for change in changes {
            self.change(wire, change)?;
        }
        Ok(())
    }

    fn request(&mut self, wire: &Wire, ordinal: usize) -> Verdict {
        let exchange = &wire.exchanges[ordinal];
        let pass = &wire.passes[exchange.pass];
        if pass.life != self.life {
            self.life = pass.life;
            self.failing = Failing::default();
        }
        self.tell(exchange.at, || {
            let about = match exchange.operation {
                Operation::Query if exchange.busy => format!("{:?}", pass.loads),
                Operation::Query => format!("pass {}, {:?}", exchange.pass, pass.metric),
                Operation::List => format!("{}", Fleet(pass.view.as_ref(), exchange.lag)),
                Operation::Graphql => format!("{:?}", pass.releases),
                _ => exchange.machine.as_deref().unwrap_or_default().to_owned(),
            };
            let effect = exchange
                .effect
                .as_ref()
                .map(|effect| {
                    format!(" FAULT {effect:?}")
                        .chars()
                        .take(70)
                        .collect::<String>()
                })
                .unwrap_or_default();
            format!(
                "#{ordinal} {:?} {about}{effect} -> {:?}",
                exchange.operation, exchange.ended
            )
        });
        self.count(wire, exchange);
        let context = |problem: String| {
            format!(
                "at {:.3} s, request #{ordinal} ({:?} {}) of pass {}: {problem}",
                exchange.at.as_secs_f64(),
                exchange.operation,
                exchange.machine.as_deref().unwrap_or_default(),
                exchange.pass
            )
        };
        if exchange.at > pass.start + self.rules.timeout + SLACK {
            return Err(context("it was begun after the pass's deadline".to_owned()));
        }
        Self::attempts(wire, ordinal).map_err(context)?;
        if let Some(machine) = exchange
            .machine
            .as_ref()
            .filter(|_| exchange.operation == Operation::Get)
        {
            let earlier = self.questions.entry(Arc::clone(machine)).or_default();
            earlier.push(ordinal);
        }
        if let (Operation::Query, Whose::Fleet(_)) = (exchange.operation, exchange.whose) {
            if self.known(exchange.pass) == Known::Never {
                return Err(context("there is no machine in its region".to_owned()));
            }
        }
        if exchange.busy && exchange.whose != Whose::Policy(self.policy) {
            self.ask_for_busy(wire, ordinal).map_err(context)?;
        }
        if !exchange.operation.is_write() && exchange.operation != Operation::Wait {
            return Ok(());
        }
        self.awake(wire, ordinal).map_err(context)?;
        self.write(wire, ordinal).map_err(context)?;
        if let Some(machine) = &exchange.machine {
            let earlier = self.by_machine.entry(Arc::clone(machine)).or_default();
            earlier.push(ordinal);
        }
        if exchange.operation == Operation::Create {
            self.creates.push(ordinal);
        }
        Ok(())
    }

    /// Nothing is begun by what a pass saw before the process stood still.
    fn awake(&mut self, wire: &Wire, ordinal: usize) -> Verdict {
        let exchange = &wire.exchanges[ordinal];
        let start = wire.passes[exchange.pass].start;
        let frozen = self.freezes.longest_within(start, exchange.at);
        // What is only tried once more, or waits for its turn, was begun before.
        let again = exchange.machine.as_ref().is_none_or(|machine| {
            let mut earlier = self.of_pass(wire, machine, exchange.pass);
            earlier.any(|other| other.operation == exchange.operation)
        });
        demand!(
            frozen < seconds(7) || again,
            "the process stood still for {frozen:?} since the pass looked"
        );
        Ok(())
    }

    /// A call is made at most four times in a pass, and never again once it was refused for good.
    fn attempts(wire: &Wire, ordinal: usize) -> Verdict {
        const ATTEMPTS: usize = 4;
        let exchange = &wire.exchanges[ordinal];
        // How often a pass may create, and how long it may wait, is judged by other rules; each clone asks for volumes.
        if matches!(
            exchange.operation,
            Operation::Create | Operation::CreateVolume | Operation::ListVolumes | Operation::Wait
        ) {
            return Ok(());
        }
        let earlier: Vec<&Exchange> = wire.exchanges[..ordinal]
            .iter()
            .rev()
            .take_while(|other| other.pass == exchange.pass)
            .filter(|other| {
                other.operation == exchange.operation
                    && other.machine == exchange.machine
                    && other.busy == exchange.busy
            })
            .scan(exchange.at, |next, other| {
                // A fleet that comes later asks anew.
                let is_another = exchange.operation == Operation::Graphql
                    && other.ended.is_some_and(|(at, _)| at + HOLDS <= *next);
                *next = other.at;
                (!is_another).then_some(other)
            })
            .collect();
        demand!(
            earlier.len() < ATTEMPTS,
            "it was tried {} times before",
            earlier.len()
        );
        let refused = earlier.iter().find_map(|other| match other.ended {
            Some((ended, Ended::Status(status)))
                if ended <= exchange.at
                    && (400..=499).contains(&status)
                    && !matches!(status, 408 | 429) =>
            {
                Some(status)
            }
            _ => None,
        });
        demand!(
            refused.is_none(),
            "it was refused before with {}",
            refused.unwrap_or_default()
        );
        Ok(())
    }

    /// Counts what there was of trouble.
    fn count(&mut self, wire: &Wire, exchange: &Exchange) {
        let pass = &wire.passes[exchange.pass];
        let lacks = exchange.operation == Operation::List && !exchange.lacks.is_empty();
        let missing = pass.view.as_ref().filter(|_| lacks).is_some_and(|view| {
            let mut missing = self.missing_from(wire, exchange.pass, view);
            missing.next().is_some()
        });
        let tally = &mut self.tally;
        tally.note_if(missing, "lists that lack machines");
        match (exchange.operation, exchange.ended) {
            (Operation::Query, _) if exchange.busy => {
                tally.note("questions about busy machines");
                tally.note_if(
                    pass.loads.is_empty(),
                    "questions about busy machines without an answer",
                );
            }
            (Operation::Query, _) => {
                let both = self.rules.created.is_some() && self.rules.started.is_some();
                tally.note_if(both, "passes with two targets");
                tally.note_if(pass.metric.is_none(), "passes without a metric");
            }
            (Operation::List, _) => {
                let view = pass.view.iter().flat_map(|view| view.machines.values());
                let failed = view.clone().any(|seen| {
                    seen.mine
                        && matches!(
                            seen.state,
                            MachineState::Failed | MachineState::LaunchFailed
                        )
                });
                tally.note_if(failed, "lists with failed machines");
                let lost = view.clone().any(|seen| seen.mine && !seen.host_ok);
                tally.note_if(lost, "lists with unreachable machines");
            }
            (Operation::Get, _) => tally.note("questions about one machine"),
            (operation, Some((_, Ended::Status(status)))) if operation.is_write() => match status {
                401 | 403 => tally.note("writes with a refused token"),
                409 => tally.note("writes to leased machines"),
                412 => tally.note("writes in a wrong state"),
                429 => tally.note("writes over the rate"),
                _ => {}
            },
            _ => {}
        }
    }

    /// Counts what came of questions about busy machines.
    fn count_busy(&mut self, pass: &Pass, view: &View, own: &[Exchange]) {
        let (Some(busy), Some(loads)) = (self.rules.busy, pass.loads.last()) else {
            return;
        };
        let running = view.machines.iter().filter(|(id, seen)| {
            let state = Self::known_state(pass, id, seen);
            seen.mine && seen.host_ok && state == "started" && !self.is_protected(pass, id, seen)
        });
        let load = |id: &Arc<str>| loads.by_machine.get(id).copied();
        let over = |load: f64| busy.limit.is_some_and(|limit| load > f64::from(limit));
        let (mut busy_ones, mut untold) = (0, 0);
        for (id, _) in running {
            busy_ones += u32::from(load(id).is_some_and(over));
            untold += u32::from(load(id).is_none() && busy.limit.is_some());
        }
        let stops = own
            .iter()
            .any(|exchange| matches!(exchange.operation, Operation::Stop | Operation::Suspend));
        let tally = &mut self.tally;
        tally.note_if(busy_ones > 0, "answers that spare a busy machine");
        tally.note_if(untold > 0, "answers that lack a running machine");
        tally.note_if(stops, "passes that take running machines by their loads");
        tally.note_if(
            stops && busy_ones > 0,
            "passes that take one machine and spare a busy one",
        );
    }

    /// Counts what became of machines by themselves.
    fn count_change(&mut self, change: &Change) {
        if change.actor != Actor::Platform {
            return;
        }
        let (id, before) = (&change.machine.id, &change.machine.state);
        let ours = self.machines.get(id);
        let fails = matches!(
            change.state,
            MachineState::Failed | MachineState::LaunchFailed
        );
        let cloned = ours.is_some_and(|truth| truth.ours.is_some());
        let ends = *before == MachineState::Started && change.kind == ChangeKind::Become;
        let started = ours.and_then(|truth| truth.started);
        let soon = started.is_some_and(|at| change.at < at + SETTLE);
        self.tally.note_if(fails && cloned, "clones that fail");
        self.tally.note_if(ends && soon, "starts that do not hold");
        self.tally.note_if(
            ends && change.machine.config.auto_destroy(),
            "workers that end",
        );
    }

    /// Whether this write may be sent.
    fn write(&mut self, wire: &Wire, ordinal: usize) -> Verdict {
        let exchange = &wire.exchanges[ordinal];
        let pass = &wire.passes[exchange.pass];
        let view = pass
            .view
            .as_ref()
            .filter(|view| view.completed <= exchange.at)
            .ok_or("there is no list of this pass")?;
        if self.releases(wire, exchange).next().is_none() {
            self.without_answer(wire, ordinal, view)?;
        } else {
            self.deploy(wire, exchange)?;
        }
        let refused_token = wire.exchanges[..ordinal]
            .iter()
            .rev()
            .take_while(|other| other.pass == exchange.pass)
            .any(|other| {
                other.operation == exchange.operation
                    && other.machine == exchange.machine
                    // What is answered at the same moment may be heard after it.
                    && matches!(other.ended, Some((ended, Ended::Status(401 | 403))) if ended < exchange.at)
            });
        demand!(!refused_token, "the token was not accepted for this before");

        match exchange.operation {
            Operation::Create => return self.create(wire, ordinal, view),
            Operation::CreateVolume => {
                demand!(self.rules.clone_volumes, "volumes are not to be cloned");
                return Ok(());
            }
            _ => {}
        }
        let machine = exchange.machine.as_ref().ok_or("it names no machine")?;
        let seen = view
            .machines
            .get(machine)
            .ok_or("the list of this pass does not have that machine")?;
        demand!(seen.mine, "the machine is none of ours");
        demand!(seen.host_ok, "the machine's host does not answer");
        let protected = self.is_protected(&wire.passes[exchange.pass], machine, seen);
        match exchange.operation {
            Operation::Destroy => {
                demand!(!protected, "the machine is protected");
                self.destroy(wire, ordinal, machine, seen)?;
            }
            Operation::Stop | Operation::Suspend => {
                demand!(!protected, "the machine is protected");
                self.stop(wire, ordinal, machine, seen)?;
            }
            Operation::Start => self.start(wire, ordinal, machine)?,
            Operation::Wait => {}
            other => return Err(format!("{other:?} is none of the daemon's business")),
        }
        Ok(())
    }

    /// What was said of the current release that a fleet could go by which makes this request: not long before it had its
    /// metrics.
    pub(super) fn releases<'wire>(
        &self,
        wire: &'wire Wire,
        exchange: &Exchange,
    ) -> impl DoubleEndedIterator<Item = &'wire Release> {
        let at = exchange.at;
        let ready = self.ready(wire, exchange);
        let releases = wire.passes[exchange.pass].releases.iter();
        releases.filter(move |release| release.completed <= at && release.completed + HOLDS > ready)
    }

    /// When the fleet that makes this request had its metrics, or gave them up.
    fn ready(&self, wire: &Wire, exchange: &Exchange) -> Duration {
        let pass = &wire.passes[exchange.pass];
        let own = wire.of_pass(exchange.pass).iter();
        let metrics = own.filter(|own| own.operation == Operation::Query && !own.busy);
        let given_up = pass.start + self.rules.timeout / 2;
        let ends = metrics.map(|asked| asked.ended.map_or(given_up, |(at, _)| at));
        ends.filter(|end| *end <= exchange.at)
            .max()
            .unwrap_or(pass.start)
    }

    /// It was said by then that no deploy is under way, or only one that is believed no longer.
    fn deploy(&self, wire: &Wire, exchange: &Exchange) -> Verdict {
        let began = self.epoch + wire.passes[exchange.pass].start;
        let ages = self.releases(wire, exchange).map(|release| {
            let since = release.running_since?;
            Some(Duration::try_from(began.duration_since(since)).unwrap_or_default())
        });
        let ages: Vec<Option<Duration>> = ages.collect();
        demand!(
            !ages.is_empty(),
            "nobody has said whether a deploy is under way"
        );
        let goes_on =
            |age: &Option<Duration>| age.is_none_or(|age| age >= self.rules.deploy_timeout);
        demand!(
            ages.iter().any(goes_on),
            "a deploy has been under way for {ages:?}"
        );
        Ok(())
    }

    /// Without an answer about the release, which must have been asked for, things grow where no deploy shows.
    fn without_answer(&mut self, wire: &Wire, ordinal: usize, view: &View) -> Verdict {
        let exchange = &wire.exchanges[ordinal];
        let asked = wire.exchanges[..ordinal]
            .iter()
            .rev()
            .take_while(|other| other.pass == exchange.pass)
            .filter(|other| other.operation == Operation::Graphql)
            .filter_map(|other| other.ended)
            .find(|(ended, _)| *ended <= exchange.at)
            .filter(|(ended, _)| *ended + HOLDS > self.ready(wire, exchange));
        demand!(
            asked.is_some_and(|(_, how)| !matches!(how, Ended::Status(401 | 403))),
            "nobody has said whether a deploy is under way"
        );
        demand!(
            matches!(
                exchange.operation,
                Operation::Create | Operation::CreateVolume | Operation::Start
            ),
            "nobody says whether a deploy is under way, and it shrinks"
        );
        demand!(
            !self
                .signs(wire, exchange.pass, view, exchange.at)
                .show_one(),
            "nobody says whether a deploy is under way, and the machines show one"
        );
        self.tally
            .note("growth without an answer about the release");
        Ok(())
    }

    /// What machines of the fleet show of a deploy, as far as a pass knows at this moment.
    pub(super) fn signs(&self, wire: &Wire, pass: usize, view: &View, at: Duration) -> Signs {
        let machines = || {
            view.machines.iter().filter(|(id, seen)| {
                let gone = self.is_gone(wire, id, at);
                seen.mine && seen.host_ok && seen.state.is_living() && !gone
            })
        };
        let turns = |state: &str| matches!(state, "updating" | "replacing");
        // What asking for a machine told less than a minute ago is newer than a list from before that; and so is a write to it
        // that was accepted, for it was not on its way then.
        let now = wire.passes[pass].start;
        let lately = || {
            let passes = wire.passes[..=pass].iter().rev();
            passes.take_while(|pass| pass.start + SETTLE > now && pass.start > view.of)
        };
        let has_turned = |id: &Arc<str>| {
            let accepted = self
                .writes_to(wire, id)
                .any(|write| write.accepted() && write.at > view.of && write.at + SETTLE > now);
            accepted
                || lately().any(|pass| {
                    let told = pass.answers.get(id);
                    told.is_some_and(|told| !turns(&told.state))
                })
        };
        let told = |id: &Arc<str>| lately().find_map(|pass| pass.told(id));
        let listed: BTreeSet<u64> = machines().filter_map(|(_, seen)| seen.release).collect();
        let newest = machines()
            .filter_map(|(id, seen)| told(id).map_or(seen.release, |answer| answer.release));
        let newest: BTreeSet<u64> = newest.collect();
        let is_cordoned = |(id, seen): (&Arc<str>, &Seen)| {
            seen.cordoned && told(id).is_none_or(|answer| answer.cordoned)
        };
        Signs {
            releases: if listed.len() > 1 && newest.len() < 2 {
                newest
            } else {
                listed
            },
            turned: machines().any(is_cordoned)
                || machines().any(|(id, seen)| turns(seen.state.as_str()) && !has_turned(id)),
        }
    }

    fn create(&mut self, wire: &Wire, ordinal: usize, _view: &View) -> Verdict {
        let exchange = &wire.exchanges[ordinal];
        let pass = &wire.passes[exchange.pass];
        demand!(
            self.create_bound(wire, exchange.pass).is_some(),
            "no target, floor or fallback asks for a machine"
        );
        demand!(
            self.known(exchange.pass) != Known::Never,
            "no list has shown a machine in its region"
        );
        demand!(
            !self.rules.found || self.may_have_any(wire, exchange.pass),
            "its region has no machine any longer"
        );
        let kept_free = seconds(5).min(self.rules.timeout / 4);
        demand!(
            exchange.at + kept_free < pass.start + self.rules.timeout,
            "a create was begun at the very end of the pass"
        );
        let mine = |other: &&usize| wire.exchanges[**other].pass == exchange.pass;
        for other in self.creates.iter().rev().take_while(mine) {
            let other = &wire.exchanges[*other];
            let Some((ended, how)) = other.ended.filter(|(ended, _)| *ended <= exchange.at) else {
                continue;
            };
            let ambiguous = match how {
                Ended::Status(200..=299) => !other.accepted(),
                Ended::Status(status) => status == 408 || status >= 500,
                Ended::Refused => false,
                Ended::Broken | Ended::Dropped => true,
            };
            demand!(
                !ambiguous || ended == exchange.at,
                "another create was begun after one of unknown outcome"
            );
        }
        let config = self.configs.get(&ordinal).cloned().unwrap_or_default();
        if config == self.failing.config {
            demand!(
                pass.start + SLACK >= self.failing.until,
                "creates failed in {} passes and are to pause until {:?}",
                self.failing.passes,
                self.failing.until
            );
        }
        Ok(())
    }

    /// Whether there may be a machine of the fleet, as far as a pass knows: one that a list has shown or we have made and of
    /// which nobody has said that it is gone, or what a create of unknown outcome has made.
    fn may_have_any(&self, wire: &Wire, pass: usize) -> bool {
        let this = &wire.passes[pass];
        let Some(view) = &this.view else { return true };
        let is_there =
            |seen: &Seen| (seen.mine || seen.of_fleet && !seen.host_ok) && seen.state.is_living();
        if view.machines.values().any(is_there) {
            return true;
        }
        let patience = SETTLE + (self.rules.interval + self.rules.timeout) * 3;
        // While lists lack one of the fleet's machines, they may lack what a create made as well.
        let questions = self.questions.values().flatten();
        let mut questions = questions.map(|ordinal| &wire.exchanges[*ordinal]);
        let lacked_lately = questions.any(|asked| {
            let is_gone = |(at, how)| how == Ended::Status(404) && at + patience > this.start;
            asked.ended.is_some_and(is_gone)
        });
        let in_doubt = self.creates.iter().map(|ordinal| &wire.exchanges[*ordinal]);
        let mut in_doubt = in_doubt.filter(|create| {
            let is_young = create.at + patience > this.start;
            let is_young = is_young || lacked_lately || self.rules.ceiling.is_some();
            wire.passes[create.pass].life == this.life && is_young && !create.surely_refused()
        });
        if in_doubt.any(|create| !create.accepted()) {
            return true;
        }
        let leaves =
            |state: &str| matches!(state, "destroying" | "destroyed" | "replaced" | "migrated");
        self.machines.iter().any(|(id, truth)| {
            let is_ours = truth
                .made_by
                .is_some_and(|ordinal| wire.passes[wire.exchanges[ordinal].pass].life == this.life);
            let was_seen = Self::last_sight(wire, pass, id).is_some();
            let questions = self.questions_about(wire, id);
            // A wait that found nothing is followed by the destroy.
            let writes = self.writes_to(wire, id);
            let writes = writes.filter(|write| write.operation != Operation::Wait);
            let is_gone = writes.chain(questions).any(|told| {
                let is_destroy = told.operation == Operation::Destroy && told.accepted();
                is_destroy || matches!(told.ended, Some((_, Ended::Status(404))))
            });
            let told = this.told(id).map(|told| &*told.state);
            let last = told.or_else(|| Self::last_state(wire, pass, id));
            truth.mine && (is_ours || was_seen) && !is_gone && !last.is_some_and(leaves)
        })
    }

    fn destroy(&mut self, wire: &Wire, ordinal: usize, machine: &Arc<str>, seen: &Seen) -> Verdict {
        let exchange = &wire.exchanges[ordinal];
        for word in ["force", "kill"] {
            demand!(!exchange.query.contains(word), "it says {}", exchange.query);
        }
        let view = wire.passes[exchange.pass].view.as_ref();
        let makes_room = Self::is_broken(wire, exchange.pass, machine, seen)
            && self.target(wire, exchange.pass, true).is_some()
            && view.is_some_and(|view| self.makes_room(wire, exchange.pass, view, exchange.at));
        demand!(
            self.most(wire, exchange.pass).is_some() || makes_room,
            "no target asks for fewer machines"
        );
        demand!(
            !view.is_some_and(|view| self.halves(wire, exchange.pass, view).are_turned()),
            "a blue-green deploy is half done"
        );
        let state = Self::known_state(&wire.passes[exchange.pass], machine, seen);
        let at_rest = matches!(
            state.as_str(),
            "stopped" | "suspended" | "failed" | "launch_failed" | "created" | "creating"
        );
        let stopped = self.of_pass(wire, machine, exchange.pass).any(|other| {
            other.operation == Operation::Stop
                && other.accepted()
                && other.ended.is_some_and(|(ended, _)| ended <= exchange.at)
        });
        demand!(
            at_rest || stopped,
            "it is {state} and was not stopped first"
        );
        demand!(
            self.rules.clone_volumes || !seen.mounts,
            "it has mounts, and growth could not bring it back"
        );
        self.just_stopped(wire, ordinal, machine)?;
        self.not_twice(wire, ordinal, machine, Operation::Destroy)
    }

    /// What a pass was told last of a machine: by its id, or else by the list.
    pub(super) fn known_state(pass: &Pass, machine: &Arc<str>, seen: &Seen) -> String {
        let told = pass.told(machine).map(|told| told.state.clone());
        told.unwrap_or_else(|| seen.state.to_string())
    }

    /// Whether nobody may take a machine, as far as the list says or, newer than that, an answer about it alone.
    fn is_protected(&self, pass: &Pass, machine: &Arc<str>, seen: &Seen) -> bool {
        let told = pass.told(machine);
        told.map_or(seen.protected, |told| told.protected) || self.own.as_ref() == Some(machine)
    }

    fn stop(&mut self, wire: &Wire, ordinal: usize, machine: &Arc<str>, seen: &Seen) -> Verdict {
        let exchange = &wire.exchanges[ordinal];
        let state = Self::known_state(&wire.passes[exchange.pass], machine, seen);
        demand!(state == "started", "it is {state} and not started");
        self.not_busy(wire, exchange, machine)?;
        let started = self.target(wire, exchange.pass, false);
        demand!(
            started.is_some() || self.most(wire, exchange.pass).is_some(),
            "no target asks for fewer machines"
        );
        if self.rules.started.is_none() {
            self.running_victim(wire, ordinal, machine)?;
        }
        self.not_twice(wire, ordinal, machine, exchange.operation)
    }

    /// It is asked how busy machines are where the policy wants to know it, once in a pass, and only where one that runs is
    /// to be stopped or destroyed and no deploy is in the way of that.
    pub(super) fn ask_for_busy(&self, wire: &Wire, ordinal: usize) -> Verdict {
        let exchange = &wire.exchanges[ordinal];
        let pass = &wire.passes[exchange.pass];
        demand!(self.rules.busy.is_some(), "nobody wants to know that");
        let mut earlier = wire.exchanges[..ordinal].iter().rev();
        let again = earlier.any(|other| {
            let is_new = other.ended.is_none_or(|(at, _)| at + HOLDS > exchange.at);
            other.busy && other.pass == exchange.pass && is_new
        });
        demand!(!again, "it was asked before");
        let view = pass.view.as_ref().ok_or("there is no list of this pass")?;
        self.deploy(wire, exchange)?;
        let running = view.machines.iter().filter(|(id, seen)| {
            seen.mine
                && seen.host_ok
                && Self::known_state(pass, id, seen) == "started"
                && !self.is_protected(pass, id, seen)
        });
        let at = exchange.at;
        let lately = pass.start.saturating_sub(SETTLE);
        let mut there = false;
        for (id, _) in running {
            if !self.is_gone(wire, id, at) {
                there = true;
            } else if !self.was_told_gone(wire, id, lately, (at, at)) {
                // Of one whose destroy had no answer nobody knows that it is gone, as long as lists show that it runs; nor
                // is what was told a minute ago known any more.
                return Ok(());
            }
        }
        demand!(there, "none runs that may be taken");
        let counted = self.at_most_counted(wire, exchange.pass, pass.start);
        let most = self.most(wire, exchange.pass);
        let victim = most.is_some_and(|most| counted > most as usize)
            && self.surplus_lasted(wire, exchange.pass).is_ok();
        let stops = self
            .target(wire, exchange.pass, false)
            .and_then(|(_, max)| self.highest(wire, exchange.pass, false, max))
            .is_some_and(|max| self.at_most_running(wire, exchange.pass, view) > max);
        demand!(victim || stops, "nothing that runs is to go");
        Ok(())
    }

    /// Of what a policy wants to know how busy it is, nothing is taken that nobody has told of, or that is too busy.
    fn not_busy(&self, wire: &Wire, exchange: &Exchange, machine: &Arc<str>) -> Verdict {
        let Some(busy) = self.rules.busy else {
            return Ok(());
        };
        let ready = self.ready(wire, exchange);
        let loads = wire.passes[exchange.pass].loads.iter();
        let loads = loads
            .filter(|loads| loads.completed <= exchange.at && loads.completed + HOLDS > ready)
            .map(|loads| loads.by_machine.get(machine));
        let loads: Vec<Option<&f64>> = loads.collect();
        demand!(!loads.is_empty(), "nobody has said how busy machines are");
        let Some(limit) = busy.limit else {
            return Ok(());
        };
        let is_idle = |load: &f64| *load <= f64::from(limit);
        demand!(
            loads.iter().flatten().any(|load| is_idle(load)),
            "its load is {loads:?}, and the limit {limit}"
        );
        Ok(())
    }

    fn start(&mut self, wire: &Wire, ordinal: usize, machine: &Arc<str>) -> Verdict {
        let pass = wire.exchanges[ordinal].pass;
        if self.rules.started.is_none() {
            self.victim_returns(wire, ordinal, machine)?;
            self.tally.note("victims that return");
            return self.not_twice(wire, ordinal, machine, Operation::Start);
        }
        demand!(
            self.target(wire, pass, false).is_some()
                || (self.rules.fallback_started.is_some()
                    && self.missing(wire, pass, false) >= self.rules.fallback_after),
            "nothing asks for started machines"
        );
        self.not_twice(wire, ordinal, machine, Operation::Start)
    }

    /// Without a started target only those are started that ran when we stopped them to destroy them, within an hour, and
    /// that nobody has told or seen to run since; and only where the target wants none gone any more.
    fn victim_returns(&self, wire: &Wire, ordinal: usize, machine: &Arc<str>) -> Verdict {
        let pass = wire.exchanges[ordinal].pass;
        let this = &wire.passes[pass];
        let last = self
            .writes_to(wire, machine)
            .rev()
            .find(|other| match other.operation {
                Operation::Start => other.accepted(),
                Operation::Stop => !other.surely_refused(),
                _ => false,
            });
        let stop = last
            .filter(|last| last.operation == Operation::Stop && last.pass < pass)
            .ok_or("we have not stopped it since it was started last")?;
        demand!(
            wire.passes[stop.pass].life == this.life,
            "it was stopped in another life"
        );
        demand!(
            stop.at + seconds(3600) + self.rules.timeout >= this.start,
            "it was stopped an hour ago"
        );
        let view = this.view.as_ref().ok_or("there is no list")?;
        let seen = view.machines.get(machine).ok_or("it is not listed")?;
        let state = Self::known_state(this, machine, seen);
        demand!(
            matches!(state.as_str(), "stopped" | "suspended"),
            "it is {state} and not at rest"
        );
        let (_, max) = self
            .target(wire, pass, true)
            .ok_or("no target says that it is wanted")?;
        let surely = view.machines.iter().filter(|(id, seen)| {
            let recent = this.start.saturating_sub(self.recent);
            seen.mine
                && seen.host_ok
                && seen.state.is_living()
                && !Self::is_broken(wire, pass, id, seen)
                && !self.is_gone(wire, id, Duration::MAX)
                && !self.writes_to(wire, id).any(|other| {
                    let is_destroy = other.operation == Operation::Destroy;
                    is_destroy && other.at >= recent && other.pass < pass
                })
        });
        demand!(
            surely.count() <= max as usize,
            "there are still too many for the target of {max}"
        );
        Ok(())
    }

    /// What the started target has just stopped is destroyed as a running machine is: when the surplus has lasted, now
    /// or when it was stopped.
    fn just_stopped(&self, wire: &Wire, ordinal: usize, machine: &Arc<str>) -> Verdict {
        if self.rules.started.is_none() {
            return Ok(());
        }
        let pass = wire.exchanges[ordinal].pass;
        let Some(stop) = self
            .writes_to(wire, machine)
            .rev()
            .find(|other| {
                matches!(
                    other.operation,
                    Operation::Stop | Operation::Suspend | Operation::Start
                ) && other.accepted()
            })
            .filter(|other| other.operation != Operation::Start)
        else {
            return Ok(());
        };
        let started = &wire.passes[pass];
        let is_over = wire.passes[stop.pass].life != started.life
            || stop
                .ended
                .is_none_or(|(ended, _)| ended + self.rules.destroy_running_after <= started.start);
        // Somebody else may have woken and stopped it since.
        let woken = wire.passes[stop.pass + 1..=pass.max(stop.pass)]
            .iter()
            .filter_map(|pass| pass.view.as_ref()?.machines.get(machine))
            .any(|seen| seen.state == MachineState::Started);
        if is_over || woken || self.surplus_lasted(wire, stop.pass).is_ok() {
            return Ok(());
        }
        self.surplus_lasted(wire, pass)
            .map_err(|problem| format!("the started target has just stopped it: {problem}"))
    }

    /// A running machine is taken only when nothing else is left, and when the surplus has lasted.
    fn running_victim(&self, wire: &Wire, ordinal: usize, machine: &Arc<str>) -> Verdict {
        let exchange = &wire.exchanges[ordinal];
        let pass = &wire.passes[exchange.pass];
        self.surplus_lasted(wire, exchange.pass)?;
        self.nothing_else(wire, ordinal, machine, pass)
    }

    /// When a pass ended, as far as its exchanges show; at its start where it had none.
    fn end_of(&self, wire: &Wire, pass: usize) -> Duration {
        let deadline = wire.passes[pass].start + self.rules.timeout;
        let own = wire.of_pass(pass).iter();
        let ends = own.map(|exchange| exchange.ended.map_or(deadline, |(ended, _)| ended));
        ends.max().unwrap_or(wire.passes[pass].start)
    }

    /// Whether there have been too many machines for as long as a running one has to be spared.
    fn surplus_lasted(&self, wire: &Wire, pass: usize) -> Verdict {
        let latest = pass;
        let pass = &wire.passes[latest];
        let needed_from = pass.start.saturating_sub(self.rules.destroy_running_after);
        let mut later = pass.start;
        let mut without_target = 0;
        for index in (0..=latest).rev() {
            let earlier = &wire.passes[index];
            // Where apps wait for each other, others were looked at meanwhile unless the process stood still.
            // Where it is alone, there are two intervals and the timeout between the end of a pass and the next.
            let blind = match self.waits_for_others {
                None => later.saturating_sub(self.end_of(wire, index)),
                Some(_) => self.freezes.longest_within(earlier.start, later),
            };
            demand!(
                blind <= self.rules.interval * 2 + self.rules.timeout,
                "nothing was looked at for {blind:?} between {:?} and {later:?}",
                earlier.start
            );
            later = earlier.start;
            demand!(
                earlier.life == pass.life,
                "the daemon has not been running for {:?}",
                self.rules.destroy_running_after
            );
            let target = self.target(wire, index, true);
            // One pass that knows nothing does not start the wait anew, two do.
            without_target = if target.is_none() {
                without_target + 1
            } else {
                0
            };
            if without_target == 1 && index > 0 {
                continue;
            }
            let surplus = target.is_some_and(|(_, max)| {
                self.at_most_counted(wire, index, earlier.start) > max as usize
            });
            demand!(
                surplus,
                "the surplus has lasted only since after {:?}",
                earlier.start
            );
            if earlier.start <= needed_from {
                break;
            }
            demand!(index > 0, "the surplus is younger than the wait");
        }
        Ok(())
    }

    /// A running machine is taken only when nothing else is left.
    fn nothing_else(
        &self,
        wire: &Wire,
        ordinal: usize,
        machine: &Arc<str>,
        pass: &Pass,
    ) -> Verdict {
        let exchange = &wire.exchanges[ordinal];
        let most = self.most(wire, exchange.pass).unwrap_or(u32::MAX);
        let surplus = self
            .at_most_counted(wire, exchange.pass, pass.start)
            .saturating_sub(most as usize);
        let Some(view) = &pass.view else {
            return Ok(());
        };
        let resting: Vec<&Seen> = view
            .machines
            .iter()
            .filter(|(id, seen)| {
                seen.mine
                    && seen.host_ok
                    && !self.is_protected(pass, id, seen)
                    && (!seen.mounts || self.rules.clone_volumes)
                    && matches!(
                        &*Self::known_state(pass, id, seen),
                        "stopped" | "suspended" | "failed" | "launch_failed"
                    )
                    && !self.is_gone(wire, id, exchange.at)
                    && !self.touched(
                        wire,
                        id,
                        pass.start.saturating_sub(self.recent),
                        exchange.pass,
                    )
            })
            .map(|(_, seen)| seen)
            .collect();
        // The last one that may be cloned stays, also where it is at rest; one that was told to go is no other.
        let told_to_go = |id: &Arc<str>| {
            self.writes_to(wire, id)
                .any(|other| other.operation == Operation::Destroy && other.pass < exchange.pass)
        };
        let clonable = |seen: &&Seen| {
            seen.mine
                && seen.host_ok
                && seen.state.is_living()
                && !matches!(
                    seen.state,
                    MachineState::Failed | MachineState::LaunchFailed
                )
                && (!seen.mounts || self.rules.clone_volumes)
        };
        let others = view.machines.iter().filter(|(id, seen)| {
            let gone = self.is_gone(wire, id, exchange.at);
            clonable(seen) && !told_to_go(id) && !gone
        });
        let all_rest = resting.iter().copied().filter(clonable).count() == others.count();
        let resting = resting.len() - usize::from(all_rest && !resting.is_empty());
        let mut running: BTreeSet<&Arc<str>> = wire.exchanges[..ordinal]
            .iter()
            .rev()
            .take_while(|other| other.pass == exchange.pass)
            .filter(|other| other.operation == Operation::Stop)
            .filter_map(|other| other.machine.as_ref())
            .collect();
        running.insert(machine);
        demand!(
            resting + running.len() <= surplus,
            "{} running machines are taken and {resting} are at rest, while only {surplus} are too many",
            running.len()
        );
        Ok(())
    }

    /// Whether we wrote to a machine since `since`, before this pass.
    fn touched(&self, wire: &Wire, machine: &Arc<str>, since: Duration, before: usize) -> bool {
        self.writes_to(wire, machine)
            .any(|exchange| exchange.at >= since && exchange.pass < before)
    }

    fn of_pass<'wire>(
        &self,
        wire: &'wire Wire,
        machine: &Arc<str>,
        pass: usize,
    ) -> impl Iterator<Item = &'wire Exchange> {
        self.writes_to(wire, machine)
            .rev()
            .take_while(move |exchange| exchange.pass == pass)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// An accepted write is not sent again while the list shows the machine as it was before.
    fn not_twice(
        &self,
        wire: &Wire,
        ordinal: usize,
        machine: &Arc<str>,
        operation: Operation,
    ) -> Verdict {
        let exchange = &wire.exchanges[ordinal];
        let pass = &wire.passes[exchange.pass];
        let Some(earlier) = self
            .writes_to(wire, machine)
            .rev()
            .find(|other| other.operation != Operation::Wait)
            .filter(|other| other.operation == operation && other.accepted())
        else {
            return Ok(());
        };
        let before = &wire.passes[earlier.pass];
        let Some((ended, _)) = earlier.ended else {
            return Ok(());
        };
        if earlier.pass == exchange.pass || before.life != pass.life || pass.start >= ended + SETTLE
        {
            return Ok(());
        }
        let state = |pass: &Pass| -> Option<MachineState> {
            let seen = pass.view.as_ref()?.machines.get(machine)?;
            Some(seen.state.clone())
        };
        let then = state(before);
        let unchanged = wire.passes[earlier.pass..=exchange.pass]
            .iter()
            .all(|pass| pass.view.is_none() || state(pass) == then);
        let blind = pass.view.as_ref().is_some_and(|view| view.of < earlier.at);
        demand!(
            !(unchanged && blind),
            "it was accepted in pass {} already, which the list does not show yet",
            earlier.pass
        );
        Ok(())
    }

    /// Which releases the fleet's machines have that are cordoned, and others: a deploy is half done where a cordoned one has a
    /// newer release than another; one without a release has no part in this. What asking for one told in this pass is newer
    /// than the list.
    pub(super) fn halves(&self, wire: &Wire, pass: usize, view: &View) -> Halves {
        let known = |id: &Arc<str>, seen: &Seen| {
            let told = wire.passes[pass].told(id);
            told.map_or((seen.cordoned, seen.release), |told| {
                (told.cordoned, told.release)
            })
        };
        let releases = |cordoned: bool| {
            view.machines
                .iter()
                .filter(move |(id, seen)| {
                    let gone = self.is_gone(wire, id, view.completed);
                    seen.mine && seen.host_ok && seen.state.is_living() && !gone
                })
                .filter_map(move |(id, seen)| {
                    let (is_cordoned, release) = known(id, seen);
                    release.filter(|_| is_cordoned == cordoned)
                })
        };
        Halves {
            cordoned: releases(true).max(),
            other: releases(false).min(),
        }
    }

    /// The bounds that the metric of a pass asks for, within floor and ceiling.
    fn target(&self, wire: &Wire, pass: usize, created: bool) -> Option<(u32, u32)> {
        let pass = &wire.passes[pass];
        pass.view.as_ref()?;
        if !created {
            return self.rules.started.as_ref()?.bounds(pass.metric, 0);
        }
        let least = u32::from(!self.is_region());
        let (min, max) = self.rules.created.as_ref()?.bounds(pass.metric, least)?;
        let within = |count: u32| {
            count
                .min(self.rules.ceiling.unwrap_or(u32::MAX))
                .max(self.rules.floor.unwrap_or(0))
        };
        Some((within(min), within(max)))
    }

    /// How many passes in a row have had no target, this one included.
    fn missing(&self, wire: &Wire, pass: usize, created: bool) -> usize {
        (0..=pass)
            .rev()
            .take_while(|index| {
                wire.passes[*index].life == wire.passes[pass].life
                    && self.target(wire, *index, created).is_none()
            })
            .count()
    }

    /// The targets of this pass and those before it, up to two passes in a row without one, newest first.
    fn history(&self, wire: &Wire, pass: usize, created: bool) -> Vec<(Duration, (u32, u32))> {
        let life = wire.passes[pass].life;
        let longest = self.rules.up_window.max(self.rules.down_window);
        let mut history: Vec<(Duration, (u32, u32))> = Vec::new();
        let mut without = 0;
        for index in (0..=pass).rev() {
            let too_old = history
                .last()
                .is_some_and(|(at, _)| *at + longest < wire.passes[pass].start);
            if wire.passes[index].life != life || without == 2 || too_old {
                break;
            }
            match self.target(wire, index, created) {
                Some(target) => {
                    without = 0;
                    history.push((wire.passes[index].start, target));
                }
                None => without += 1,
            }
        }
        history
    }

    /// Up to how many machines this pass may create; `None`: it may not create at all.
    fn create_bound(&self, wire: &Wire, pass: usize) -> Option<u32> {
        let start = wire.passes[pass].start;
        let min = if let Some((min, _)) = self.target(wire, pass, true) {
            min
        } else {
            self.rules.created.as_ref()?;
            wire.passes[pass].view.as_ref()?;
            let fallback = self
                .rules
                .fallback_created
                .filter(|_| self.missing(wire, pass, true) >= self.rules.fallback_after);
            fallback
                .max(self.rules.floor)?
                .min(self.rules.ceiling.unwrap_or(u32::MAX))
        };
        if self.rules.up_window.is_zero() {
            return Some(min);
        }
        // What was before may have been forgotten with the fleet.
        let unknown = (0..=pass)
            .rev()
            .find(|pass| self.known(*pass) != Known::Now);
        let founded = unknown.map_or(Duration::ZERO, |unknown| {
            let first = wire.passes.get(unknown + 1);
            first.map_or(start, |first| first.start)
        });
        let lowest = self
            .history(wire, pass, true)
            .into_iter()
            .filter(|(at, _)| *at + self.rules.up_window >= start && *at >= founded)
            .map(|(_, (min, _))| min)
            .min();
        Some(min.min(lowest.unwrap_or(min)))
    }

    /// Down to how many machines this pass may destroy; `None`: it may not destroy at all.
    fn most(&self, wire: &Wire, pass: usize) -> Option<u32> {
        let (_, max) = self.target(wire, pass, true)?;
        self.highest(wire, pass, true, max)
    }

    /// The highest maximum of the window; `None` where it is not filled.
    fn highest(&self, wire: &Wire, pass: usize, created: bool, max: u32) -> Option<u32> {
        let window = self.rules.down_window;
        if window.is_zero() {
            return Some(max);
        }
        let start = wire.passes[pass].start;
        let history = self.history(wire, pass, created);
        let (oldest, _) = history.last()?;
        if *oldest + window > start {
            return None;
        }
        history
            .iter()
            .filter(|(at, _)| *at + window >= start)
            .map(|(_, (_, max))| *max)
            .max()
    }

    /// What was written to a machine, and each wait for it, in order.
    pub(super) fn writes_to<'wire>(
        &self,
        wire: &'wire Wire,
        machine: &Arc<str>,
    ) -> impl DoubleEndedIterator<Item = &'wire Exchange> {
        let ordinals = self.by_machine.get(machine).into_iter().flatten();
        ordinals.map(|ordinal| &wire.exchanges[*ordinal])
    }

    /// What was asked of a machine by its id, in order.
    fn questions_about<'wire>(
        &self,
        wire: &'wire Wire,
        machine: &Arc<str>,
    ) -> impl DoubleEndedIterator<Item = &'wire Exchange> {
        let ordinals = self.questions.get(machine).into_iter().flatten();
        ordinals.map(|ordinal| &wire.exchanges[*ordinal])
    }

    /// Whether one of our destroys had taken a machine by then, a write to it or a question about it was told that it is
    /// gone, or a list has shown it on its way out.
    pub(super) fn is_gone(&self, wire: &Wire, machine: &Arc<str>, by: Duration) -> bool {
        self.is_gone_as_told(wire, machine, by, by)
    }

    /// As [`Self::is_gone`], by what was done until then, and what was told by another moment.
    pub(super) fn is_gone_as_told(
        &self,
        wire: &Wire,
        machine: &Arc<str>,
        by: Duration,
        told_by: Duration,
    ) -> bool {
        let Some(truth) = self.machines.get(machine) else {
            return false;
        };
        truth.destroyed.is_some_and(|at| at <= by)
            || (!truth.living && self.was_told_gone(wire, machine, Duration::ZERO, (by, told_by)))
    }

    /// Whether, from a moment on, a write to a machine or a question about it was told that it is gone, a destroy was accepted
    /// by then, or a list or a question has shown it on its way out.
    fn was_told_gone(
        &self,
        wire: &Wire,
        machine: &Arc<str>,
        since: Duration,
        (by, told_by): (Duration, Duration),
    ) -> bool {
        let was_told = || {
            self.writes_to(wire, machine)
                .chain(self.questions_about(wire, machine))
                .any(|told| {
                    matches!(told.ended, Some((at, Ended::Status(404))) if (since..=told_by).contains(&at))
                })
        };
        // A destroy is accepted of a machine too that somebody else has sent on its way already.
        let was_accepted = || {
            self.writes_to(wire, machine).any(|told| {
                let is_over = told.ended.is_some_and(|(at, _)| (since..=by).contains(&at));
                told.operation == Operation::Destroy && told.accepted() && is_over
            })
        };
        let was_shown_leaving = || {
            let shown = self.leaving.get(machine);
            shown.is_some_and(|(life, at)| *life == self.life && (since..=told_by).contains(at))
        };
        let was_told_leaving = || {
            self.questions_about(wire, machine).any(|asked| {
                let told = wire.passes[asked.pass].answers.get(machine);
                let leaves =
                    told.is_some_and(|told| matches!(&*told.state, "destroying" | "destroyed"));
                let is_then = asked
                    .ended
                    .is_some_and(|(at, _)| (since..=told_by).contains(&at));
                leaves && is_then
            })
        };
        was_told() || was_accepted() || was_shown_leaving() || was_told_leaving()
    }

    /// Whether a machine whose host is lost still counts: it was seen on a host that answers, or is a clone of this life,
    /// and the first list that said otherwise is less than a minute old.
    fn blinks(&self, wire: &Wire, pass: usize, machine: &Arc<str>) -> bool {
        let now = &wire.passes[pass];
        let mut turned = now.start;
        let mut life_began = now.start;
        for earlier in wire.passes[..pass].iter().rev() {
            if earlier.life != now.life || turned + SETTLE <= now.start {
                break;
            }
            life_began = earlier.start;
            let listed = earlier
                .view
                .as_ref()
                .and_then(|view| view.machines.get(machine));
            let asked = earlier.answers.get(machine).map(|told| told.host_ok);
            match listed.map(|seen| seen.host_ok).or(asked) {
                // By this list the regions were found; where the one after it does not come, the fleets have seen none.
                Some(true) if !earlier.asked => {}
                Some(true) => return true,
                Some(false) => turned = earlier.start,
                None => {}
            }
        }
        let ours = self.machines.get(machine).and_then(|truth| truth.ours);
        now.start < turned + SETTLE && ours.is_some_and(|at| at >= life_began)
    }

    fn counts(&self, wire: &Wire, pass: usize, machine: &Arc<str>, seen: &Seen) -> bool {
        seen.mine && seen.state.is_living() && (seen.host_ok || self.blinks(wire, pass, machine))
    }

    /// The machines that earlier lists of this life showed and that this one lacks, though they exist.
    fn missing_from<'oracle>(
        &'oracle self,
        wire: &'oracle Wire,
        pass: usize,
        view: &'oracle View,
    ) -> impl Iterator<Item = (&'oracle Arc<str>, &'oracle Truth)> {
        self.machines.iter().filter(move |(id, truth)| {
            truth.mine
                && truth.living
                && !view.machines.contains_key(*id)
                && wire.passes[pass]
                    .answers
                    .get(*id)
                    .is_none_or(|told| told.host_ok)
                && Self::last_sight(wire, pass, id) == Some(true)
        })
    }

    /// Whether a machine serves nobody, as far as a pass knows by its list, or by what asking for it told.
    fn is_broken(wire: &Wire, pass: usize, machine: &Arc<str>, seen: &Seen) -> bool {
        // What is said of a machine whose host does not answer is as old as a list.
        let told = wire.passes[pass].told(machine);
        told.map_or_else(|| is_broken(&seen.state), |told| is_failed(&told.state))
    }

    /// How many machines that this pass's list lacks may exist as far as the daemon was told: seen before, and nobody has
    /// said that they are gone.
    fn may_be_missing(&self, wire: &Wire, pass: usize, view: &View) -> usize {
        let was_told = |id: &Arc<str>| {
            wire.exchanges.iter().any(|exchange| {
                exchange.machine.as_ref() == Some(id)
                    && exchange.pass <= pass
                    && matches!(exchange.ended, Some((_, Ended::Status(404))))
            })
        };
        let unlisted = self
            .machines
            .iter()
            .filter(|(id, truth)| truth.mine && !truth.living && !view.machines.contains_key(*id));
        let lacking = unlisted
            .filter(|(id, _)| Self::last_sight(wire, pass, id) == Some(true) && !was_told(id));
        lacking.count() + self.missing_from(wire, pass, view).count()
    }

    /// Whether the last list or question of this life that showed a machine showed it on a host that answers.
    fn last_sight(wire: &Wire, pass: usize, machine: &Arc<str>) -> Option<bool> {
        wire.passes[..pass]
            .iter()
            .rev()
            .take_while(|earlier| earlier.life == wire.passes[pass].life)
            .find_map(|earlier| {
                let listed = earlier.view.as_ref()?.machines.get(machine);
                let asked = || earlier.answers.get(machine).map(|told| told.host_ok);
                listed.map(|seen| seen.host_ok).or_else(asked)
            })
    }

    /// Whether a pass's list lacks a machine that may exist and that nobody has asked for since a list showed it.
    fn lacks_one_never_asked_for(&self, wire: &Wire, pass: usize) -> bool {
        let this = &wire.passes[pass];
        let Some(view) = &this.view else { return false };
        let lists = |pass: usize, id: &Arc<str>| {
            let view = wire.passes[pass].view.as_ref();
            view.is_some_and(|view| view.machines.contains_key(id))
        };
        self.machines.iter().any(|(id, truth)| {
            let listed = (0..pass).rev().find(|earlier| lists(*earlier, id));
            let known = listed.is_some_and(|listed| wire.passes[listed].life == this.life);
            let is_later = |asked: &Exchange| listed.is_some_and(|listed| asked.pass > listed);
            let asked = self.questions_about(wire, id).any(is_later);
            let ours = truth.ours.is_some_and(|at| at < this.start);
            let last = listed.map(|listed| &wire.passes[listed]);
            // A destroy whose answer was lost tells nothing; of an accepted one, and of a write that found it gone, lists may
            // lag for a minute.
            let is_told = self.writes_to(wire, id).any(|told| {
                told.ended.is_some_and(|(at, how)| {
                    let leaves = told.operation == Operation::Destroy && told.accepted();
                    (leaves || how == Ended::Status(404))
                        && at <= this.start
                        && last.is_none_or(|last| last.start < at + SETTLE)
                })
            });
            let is_shown_leaving = last
                .and_then(|last| last.view.as_ref()?.machines.get(id))
                .is_some_and(|seen| !seen.state.is_living());
            let may_exist = !is_told && !is_shown_leaving;
            truth.mine
                && !view.machines.contains_key(id)
                && (known || listed.is_none() && ours)
                && !asked
                && may_exist
        })
    }

    /// Whether an earlier list of this life showed a machine on a host that answers, with its whole configuration.
    fn was_read(wire: &Wire, pass: usize, machine: &Arc<str>) -> bool {
        let life = wire.passes[pass].life;
        wire.passes[..pass]
            .iter()
            .rev()
            .take_while(|earlier| earlier.life == life)
            .filter_map(|earlier| earlier.view.as_ref()?.machines.get(machine))
            .any(|seen| seen.host_ok)
    }

    /// The state that was last told of a machine, by a list or by asking for it.
    fn last_state<'wire>(wire: &'wire Wire, pass: usize, machine: &Arc<str>) -> Option<&'wire str> {
        wire.passes[..pass].iter().rev().find_map(|earlier| {
            let asked = earlier.answers.get(machine).map(|told| &*told.state);
            let listed = || Some(earlier.view.as_ref()?.machines.get(machine)?.state.as_str());
            asked.or_else(listed)
        })
    }

    /// The most machines that this pass may have counted: those of its list that it did not take itself, its own that
    /// the list does not show yet, and creates that it cannot know about.
    fn at_most_counted(&self, wire: &Wire, pass: usize, at: Duration) -> usize {
        self.most_without(wire, pass, &|id| self.is_gone(wire, id, at))
    }

    /// The most machines that this pass may have believed in: as [`Self::at_most_counted`], but for those whose destroy
    /// it was never told of, which it has to count where it is to grow.
    fn at_most_believed(&self, wire: &Wire, pass: usize) -> usize {
        let start = wire.passes[pass].start;
        self.most_without(wire, pass, &|id| {
            self.writes_to(wire, id).any(|other| {
                other.operation == Operation::Destroy
                    && other.accepted()
                    && other.ended.is_some_and(|(ended, _)| ended <= start)
            })
        })
    }

    fn most_without(&self, wire: &Wire, pass: usize, gone: &dyn Fn(&Arc<str>) -> bool) -> usize {
        let this = &wire.passes[pass];
        let Some(view) = &this.view else { return 0 };
        let listed = view
            .machines
            .iter()
            .filter(|(id, seen)| self.counts(wire, pass, id, seen) && !gone(id))
            .count();
        let made = self
            .machines
            .iter()
            .filter(|(id, truth)| {
                truth.ours.is_some_and(|at| at + self.recent > this.start)
                    && !gone(id)
                    && !view.machines.contains_key(*id)
            })
            .count();
        // Remembered by the two passes after it that see a list, and for a minute.
        let mut sights = 0;
        let mut unknown = 0;
        let mut later = pass;
        for ordinal in self.creates.iter().rev() {
            let exchange = &wire.exchanges[*ordinal];
            if exchange.pass >= pass {
                continue;
            }
            while later > exchange.pass {
                sights += usize::from(wire.passes[later].view.is_some());
                later -= 1;
            }
            let lately = exchange
                .ended
                .is_none_or(|(ended, _)| ended + SETTLE > this.start);
            if (sights > 2 && !lately) || wire.passes[exchange.pass].life != this.life {
                break;
            }
            unknown += usize::from(!exchange.accepted());
        }
        listed + made + unknown
    }

    fn change(&mut self, wire: &Wire, change: &Change) -> Verdict {
        let id = &change.machine.id;
        self.tell(change.at, || {
            format!(
                "   {:?} {:?} {id} {} -> {}",
                change.actor, change.kind, change.machine.state, change.state
            )
        });
        if change.kind == ChangeKind::Create {
            let ours = (change.actor == Actor::Api).then_some(change.at);
            let mine = is_mine(&change.machine, &self.rules);
            self.machines.insert(
                Arc::clone(id),
                Truth {
                    mine,
                    living: true,
                    state: change.state.clone(),
                    ours,
                    made_by: None,
                    destroyed: None,
                    started: None,
                    stopped: None,
                    up: false,
                },
            );
            if ours.is_none() && mine {
                self.others_created = Some(change.at);
            }
        }
        self.count_change(change);
        let ordinal = (change.actor == Actor::Api).then(|| self.effects.remove(0));
        if let Some(truth) = self.machines.get_mut(id) {
            if change.kind == ChangeKind::Create {
                truth.made_by = ordinal;
            }
            truth.living = change.state.is_living();
            truth.state = change.state.clone();
            let by_us = change.actor == Actor::Api;
            if by_us && change.kind == ChangeKind::Destroy {
                truth.destroyed = Some(change.at);
            }
            if by_us && matches!(change.kind, ChangeKind::Stop | ChangeKind::Suspend) {
                truth.stopped = Some(change.at);
            }
            let up = is_up(&change.state);
            if by_us && change.kind == ChangeKind::Start {
                truth.started = Some(change.at);
            } else if !up || !truth.up {
                truth.started = None;
            }
            truth.up = up;
        }
        let Some(ordinal) = ordinal else {
            return Ok(());
        };
        let exchange = &wire.exchanges[ordinal];
        let lost = !exchange.accepted();
        let judged = match change.kind {
            ChangeKind::Create => {
                self.tally.note("creates");
                self.tally.note_if(lost, "creates without an answer");
                self.created(wire, exchange, &change.machine, change.at)
            }
            ChangeKind::Destroy => {
                self.tally.note("destroys");
                self.tally.note_if(lost, "destroys without an answer");
                self.destroyed(wire, exchange, &change.machine, change.at)
            }
            ChangeKind::Start => {
                self.tally.note("starts");
                self.tally.note_if(lost, "starts without an answer");
                self.brought_up(wire, exchange.pass, change.at)
            }
            _ => {
                self.tally.note("stops");
                self.tally.note_if(lost, "stops without an answer");
                self.brought_down(wire, exchange.pass)
            }
        };
        judged.map_err(|problem| {
            format!(
                "at {:.3} s, {:?} of {id} by request #{ordinal} of pass {}: {problem}",
                change.at.as_secs_f64(),
                change.kind,
                exchange.pass
            )
        })
    }

    /// Whether passes after this one, and not this one, stopped a machine: a stop of this one that arrives late takes the
    /// fleet to what later passes want, if they want less.
    fn stopped_later(&self, wire: &Wire, pass: usize, machine: &Arc<str>) -> bool {
        let stops = || {
            self.writes_to(wire, machine)
                .filter(|exchange| {
                    matches!(exchange.operation, Operation::Stop | Operation::Suspend)
                        && !exchange.surely_refused()
                })
                .map(|exchange| exchange.pass)
        };
        stops().any(|other| other > pass) && !stops().any(|other| other == pass)
    }

    /// Whether a list since our last start or stop of a machine that was not refused has shown it in another state than the
    /// one that was acted on, or it was asked for by its id: that tells what became of that, as far as anybody can know. In
    /// truth a list may tell of what was before, where lists lag behind and the machine has come and gone more than once.
    fn has_news(&self, wire: &Wire, pass: usize, machine: &Arc<str>) -> bool {
        let state = |pass: usize| {
            let seen = wire.passes[pass].view.as_ref()?.machines.get(machine)?;
            Some(&seen.state)
        };
        let told = self
            .writes_to(wire, machine)
            .rev()
            .find(|other| {
                let turns = matches!(
                    other.operation,
                    Operation::Start | Operation::Stop | Operation::Suspend
                );
                turns && other.pass < pass && !other.surely_refused()
            })
            .map(|other| other.pass);
        told.is_some_and(|told| {
            (told + 1..=pass).any(|later| {
                let asked = wire.passes[later].answers.contains_key(machine);
                asked || state(later).is_some() && state(later) != state(told)
            })
        })
    }

    /// Whether a machine was asked for by its id a minute or more after a start, and nobody said what became of that: the
    /// list is believed then, and another one is started in its place.
    fn asked_in_vain(
        &self,
        wire: &Wire,
        pass: usize,
        machine: &Arc<str>,
        started: Duration,
    ) -> bool {
        self.questions_about(wire, machine).any(|asked| {
            let answer = wire.passes[asked.pass].answers.get(machine);
            asked.pass <= pass
                && asked.at >= started + SETTLE
                && answer.is_none_or(|told| !told.host_ok)
        })
    }

    /// Whether every list of this life has shown a machine on its way up for five minutes: it is then stuck, and counts as
    /// started no longer, whatever it is behind lists that lag.
    fn is_stuck(wire: &Wire, pass: usize, machine: &Arc<str>) -> bool {
        let this = &wire.passes[pass];
        let since = wire.passes[..=pass]
            .iter()
            .rev()
            .take_while(|earlier| earlier.life == this.life)
            .filter_map(|earlier| Some((earlier.start, earlier.view.as_ref()?)))
            .take_while(|(_, view)| {
                let seen = view.machines.get(machine);
                seen.is_some_and(|seen| seen.state == MachineState::Starting)
            })
            .last();
        since.is_some_and(|(since, _)| since + seconds(300) <= this.start)
    }

    /// No more are started by our hand than are wanted, starts whose answers were lost included.
    fn brought_up(&self, wire: &Wire, pass: usize, at: Duration) -> Verdict {
        // Each of the victims that return was judged by itself.
        if self.rules.started.is_none() {
            return Ok(());
        }
        let Some(view) = &wire.passes[pass].view else {
            return Ok(());
        };
        let recent = wire.passes[pass].start.saturating_sub(self.recent);
        let up = view
            .machines
            .iter()
            .filter(|(id, seen)| {
                let ours = self
                    .machines
                    .get(*id)
                    .and_then(|truth| truth.started)
                    .is_some_and(|started| {
                        started >= recent
                            && started <= at
                            && (is_up(&seen.state) || !self.asked_in_vain(wire, pass, id, started))
                    })
                    && (is_up(&seen.state) || !self.has_news(wire, pass, id))
                    && !Self::is_stuck(wire, pass, id);
                let listed = Self::known_state(&wire.passes[pass], id, seen) == "started"
                    && !self.touched(wire, id, recent, pass);
                // One that is gone runs in old lists only.
                let gone = self.is_gone(wire, id, at);
                seen.mine && seen.host_ok && (ours || listed) && !gone
            })
            .count();
        let wanted = (pass..wire.passes.len())
            .filter_map(|pass| {
                let target = self.target(wire, pass, false).map(|(min, _)| min);
                target.or(self.rules.fallback_started)
            })
            .max()
            .unwrap_or(0) as usize;
        demand!(
            up <= wanted,
            "{up} run now or were started, and {wanted} were wanted"
        );
        Ok(())
    }

    /// Of those that a list shows as running, as many are left by our own stops as may run, lost answers or not.
    fn brought_down(&self, wire: &Wire, pass: usize) -> Verdict {
        let this = &wire.passes[pass];
        let (Some(view), Some((_, max))) = (&this.view, self.target(wire, pass, false)) else {
            return Ok(());
        };
        let too_many = self
            .most(wire, pass)
            .is_some_and(|most| self.at_most_counted(wire, pass, this.start) > most as usize);
        if too_many {
            // Victims of a destroy, which are judged by that.
            return Ok(());
        }
        let recent = this.start.saturating_sub(self.recent);
        let left = view
            .machines
            .iter()
            .filter(|(id, seen)| {
                let truth = self.machines.get(*id);
                // Unless a start of ours has undone it.
                let stopped = truth
                    .filter(|truth| truth.started < truth.stopped)
                    .and_then(|truth| truth.stopped)
                    .is_some_and(|stopped| stopped > view.of)
                    && !self.has_news(wire, pass, id)
                    && !self.stopped_later(wire, pass, id);
                // One that we started may have ended since, unknown to us.
                let started = self.writes_to(wire, id).any(|exchange| {
                    exchange.operation == Operation::Start && exchange.at >= recent
                });
                // What asking for it told in this pass is newer than the list.
                let state = Self::known_state(this, id, seen);
                let runs = is_up_or_new(&state);
                let gone = self.is_gone(wire, id, this.start);
                seen.mine && seen.host_ok && (runs || started) && !stopped && !gone
            })
            .count();
        let hidden = self
            .machines
            .iter()
            .filter(|(id, truth)| {
                truth.ours.is_some_and(|at| at >= recent) && !view.machines.contains_key(*id)
            })
            .count();
        let unknown = self
            .creates
            .iter()
            .rev()
            .map(|ordinal| &wire.exchanges[*ordinal])
            .take_while(|exchange| exchange.at >= recent)
            .filter(|exchange| !exchange.accepted())
            .count();
        demand!(
            left + hidden + unknown >= max as usize,
            "{left} that a list shows are left running, and {max} may run"
        );
        Ok(())
    }

    /// The created count never passes its bound by our own writes.
    fn created(
        &self,
        wire: &Wire,
        exchange: &Exchange,
        machine: &Machine,
        at: Duration,
    ) -> Verdict {
        let truth = &self.machines[&machine.id];
        demand!(truth.mine, "the clone is not of the group");
        demand!(
            !machine
                .config
                .metadata()
                .keys()
                .any(|key| key.starts_with("fas_") || key.contains("bluegreen")),
            "the clone has metadata that belongs to its source alone"
        );
        // One unknown new machine settles a create of unknown outcome, whoever made it.
        if self
            .others_created
            .is_some_and(|made| at < made + SETTLE * 3)
        {
            return Ok(());
        }
        let pass = exchange.pass;
        let Some(view) = &wire.passes[pass].view else {
            return Ok(());
        };
        let bound = (pass..wire.passes.len())
            .filter_map(|pass| self.create_bound(wire, pass))
            .max()
            .unwrap_or(0);
        // What an earlier life made and no list shows is not known to this one.
        let life = wire.passes[pass].life;
        let born = wire
            .passes
            .iter()
            .find(|other| other.life == life)
            .map_or(Duration::ZERO, |first| first.start);
        let (mut counted, mut failed, mut cut_off, mut forgotten) = (0, 0, 0, 0);
        for (id, truth) in self
            .machines
            .iter()
            .filter(|(_, truth)| truth.living && truth.mine)
        {
            if self.may_be_forgotten(wire, pass, id, truth) {
                forgotten += 1;
                continue;
            }
            let (counts, state) = match view.machines.get(id) {
                Some(seen) => (
                    self.counts(wire, pass, id, seen),
                    Self::known_state(&wire.passes[pass], id, seen),
                ),
                // What a list lacks counts all the same, once it was seen or where it is our own.
                None => (
                    wire.passes[pass]
                        .answers
                        .get(id)
                        .is_none_or(|told| told.host_ok)
                        && Self::last_sight(wire, pass, id)
                            .unwrap_or_else(|| truth.ours.is_some_and(|made| made >= born)),
                    // What it was when asked for decides, even where a deploy has mended a failed one since.
                    match wire.passes[pass].told(id) {
                        Some(told) => told.state.clone(),
                        None => Self::last_state(wire, pass, id)
                            .filter(|known| is_failed(known))
                            .map_or_else(|| truth.state.to_string(), str::to_owned),
                    },
                ),
            };
            let broken = is_failed(&state);
            counted += u32::from(counts && !broken);
            failed += u32::from(counts && broken);
            cut_off += u32::from(!counts && view.machines.contains_key(id));
        }
        demand!(
            counted <= bound,
            "there are {counted} machines now, and at most {bound} were wanted"
        );
        if let Some(ceiling) = self.rules.ceiling {
            demand!(
                counted + failed + cut_off + forgotten <= ceiling,
                "there are {counted} machines, {failed} failed ones and {cut_off} cut off, over the ceiling of {ceiling}"
            );
        }
        Ok(())
    }

    /// Whether a create without an answer made this machine, so long ago that lists should show it, and none did because
    /// they lag for longer than they should: it is remembered for two passes and a minute.
    fn may_be_forgotten(&self, wire: &Wire, pass: usize, id: &Arc<str>, truth: &Truth) -> bool {
        let this = &wire.passes[pass];
        let Some(create) = truth.made_by.map(|ordinal| &wire.exchanges[ordinal]) else {
            return false;
        };
        let of_create = &wire.passes[create.pass];
        let given_up = create
            .ended
            .map_or(of_create.start + self.rules.timeout, |(at, _)| at);
        let since = &wire.passes[create.pass.min(pass)..=pass];
        let lists = since.iter().filter(|one| one.view.is_some()).count();
        let shown = since.iter().any(|one| {
            let view = one.view.as_ref();
            view.is_some_and(|view| view.machines.contains_key(id)) || one.answers.contains_key(id)
        });
        let lags = wire.exchanges.iter().any(|exchange| {
            let list = exchange.pass == pass && exchange.operation == Operation::List;
            list && exchange.lag > SETTLE
        });
        let long_ago = given_up + SETTLE <= this.start && lists > 2;
        !create.accepted() && of_create.life == this.life && long_ago && !shown && lags
    }

    /// Never more destroyed than there are too many, and never the last.
    fn destroyed(
        &mut self,
        wire: &Wire,
        exchange: &Exchange,
        machine: &Machine,
        at: Duration,
    ) -> Verdict {
        let pass = exchange.pass;
        let Some(view) = &wire.passes[pass].view else {
            return Ok(());
        };
        if view
            .machines
            .get(&machine.id)
            .is_some_and(|seen| seen.state == MachineState::Started)
        {
            self.tally.note("running machines destroyed");
        }
        let broken = view
            .machines
            .get(&machine.id)
            .is_some_and(|seen| Self::is_broken(wire, pass, &machine.id, seen));
        // One that arrives late finds what later passes have done meanwhile, to what they were to reach, and of what they saw:
        // machines too whose host was away before.
        let begun = wire.passes.partition_point(|pass| pass.start <= at);
        let passes = pass..begun.max(pass + 1);
        let most = passes
            .clone()
            .filter_map(|pass| self.most(wire, pass))
            .min();
        if let Some(most) = most {
            // What is told while it is on its way calls it back no more.
            let told_by = exchange.at;
            let counted = passes.map(|pass| {
                let is_gone =
                    |id: &Arc<str>| self.is_gone_as_told(wire, id, Duration::MAX, told_by);
                let left = self.most_without(wire, pass, &is_gone);
                (
                    left,
                    left.saturating_sub(self.broken_left(wire, pass, told_by)),
                )
            });
            let (left, working) = counted.fold((0, 0), |(left, working), (more, of_those)| {
                (left.max(more), working.max(of_those))
            });
            // Those that a list lacks are no reason to take one that works.
            let unlisted = if broken {
                self.missing_from(wire, pass, view).count()
            } else {
                0
            };
            let in_the_way = broken && self.makes_room(wire, pass, view, at);
            demand!(
                left + unlisted >= most as usize || in_the_way,
                "only {left} machines are left of the {most} that may stay"
            );
            demand!(
                broken || working >= most as usize,
                "only {working} working machines are left of the {most} that may stay"
            );
        }
        if self.is_region() {
            // Whether it was the last is asked of the group.
            let id = Arc::clone(&machine.id);
            self.taken.push(Taken { id, at, pass });
            return Ok(());
        }
        let left = |clonable: bool, before: bool| {
            view.machines
                .iter()
                .filter(|(id, seen)| {
                    let gone = self.is_gone(wire, id, Duration::MAX);
                    let was_there = before && **id == machine.id;
                    let may_be_cloned = !Self::is_broken(wire, pass, id, seen)
                        && !matches!(
                            seen.state,
                            MachineState::Failed
                                | MachineState::LaunchFailed
                                | MachineState::Other(_)
                        )
                        && (!seen.mounts || self.rules.clone_volumes);
                    seen.mine
                        && seen.host_ok
                        && seen.state.is_living()
                        && (!gone || was_there)
                        && (may_be_cloned || !clonable)
                })
                .count()
        };
        demand!(left(false, false) >= 1, "it was the last machine");
        demand!(
            left(true, false) >= 1 || left(true, true) == 0,
            "it was the last machine that may be cloned"
        );
        Ok(())
    }

    /// How many of those that a pass counts serve nobody, as far as they are left by what was told until then.
    fn broken_left(&self, wire: &Wire, pass: usize, told_by: Duration) -> usize {
        let view = wire.passes[pass].view.as_ref();
        let seen = view.into_iter().flat_map(|view| &view.machines);
        let broken = seen.filter(|(id, seen)| {
            self.counts(wire, pass, id, seen)
                && Self::is_broken(wire, pass, id, seen)
                && !self.is_gone_as_told(wire, id, Duration::MAX, told_by)
        });
        broken.count()
    }

    /// Whether the failed machines that a pass has destroyed so far only make the room under the ceiling that growth needs,
    /// and has something to grow from.
    fn makes_room(&self, wire: &Wire, pass: usize, view: &View, at: Duration) -> bool {
        // What arrives late finds what later passes took, for as many as they wanted.
        let min = (pass..wire.passes.len())
            .take_while(|pass| wire.passes[*pass].start <= at)
            .filter_map(|pass| self.create_bound(wire, pass))
            .max();
        let (Some(ceiling), Some(min)) = (self.rules.ceiling, min) else {
            return false;
        };
        let start = wire.passes[pass].start;
        // Without one that may be cloned, nothing grows there.
        let has_source = view.machines.iter().any(|(id, seen)| {
            let state = Self::known_state(&wire.passes[pass], id, seen);
            let may_be_cloned = is_source_state(&state);
            // What is known of those of other regions is their own fleets' business.
            let is_elsewhere = seen.kin && !seen.mine && seen.state.is_living();
            (seen.mine && may_be_cloned || is_elsewhere)
                && seen.host_ok
                && (!seen.mounts || self.rules.clone_volumes)
        });
        if !has_source {
            return false;
        }
        let (mut failed, mut taken, mut cut_off) = (0, 0, 0);
        for (id, seen) in &view.machines {
            // That one is a standby or scheduled has to have been read while its host answered.
            let is_read = || seen.host_ok || Self::was_read(wire, pass, id);
            if !seen.mine && (!seen.of_fleet || is_read()) {
                continue;
            }
            if !seen.host_ok {
                cut_off += 1;
            } else if Self::is_broken(wire, pass, id, seen) && !self.is_gone(wire, id, start) {
                failed += 1;
                taken += u32::from(self.is_gone(wire, id, Duration::MAX));
            }
        }
        for (id, truth) in &self.machines {
            let answer = wire.passes[pass].answers.get(id).map(|told| told.host_ok);
            let host_ok = answer.or_else(|| Self::last_sight(wire, pass, id));
            // What it is by now nobody knows who was not told.
            let lacking = truth.mine
                && !view.machines.contains_key(id)
                && !self.is_gone(wire, id, Duration::MAX);
            cut_off += u32::from(lacking && host_ok == Some(false));
        }
        ceiling + taken <= min + failed + cut_off
    }

    /// Whether a pass has left something that the next one does at once.
    fn may_be_followed_at_once(&self, wire: &Wire, index: usize) -> bool {
        let own = wire.of_pass(index);
        // One that runs out of time for a create, perhaps for its first, is followed at once.
        let planned = own
            .iter()
            .any(|exchange| exchange.operation == Operation::Graphql);
        // So is one that asked for as many machines that its list lacks as a pass may.
        let asked: BTreeSet<_> = own
            .iter()
            .filter(|exchange| exchange.operation == Operation::Get)
            .filter_map(|exchange| exchange.machine.as_deref())
            .collect();
        // And one that had no time to ask for them all.
        let cut_short = own.iter().any(|exchange| {
            exchange.operation == Operation::Get
                && matches!(exchange.ended, Some((_, Ended::Dropped)))
        });
        // And one that was told what makes machines worth asking for that its list lacks and nobody has asked for.
        let is_told = own.iter().any(|exchange| {
            exchange.operation == Operation::Get
                && matches!(exchange.ended, Some((_, Ended::Status(200 | 404))))
        });
        let finds_more = is_told && self.lacks_one_never_asked_for(wire, index);
        // And one in which the process stood still, so that it acted on nothing that it saw.
        let stood_still = self
            .freezes
            .longest_within(wire.passes[index].start, wire.passes[index + 1].start)
            >= seconds(5);
        planned || cut_short || finds_more || stood_still || asked.len() >= 20
    }

    /// Judges a pass that is over.
    fn close(&mut self, wire: &Wire, index: usize) -> Verdict {
        let pass = &wire.passes[index];
        let context = |problem: String| format!("pass {index} at {:?}: {problem}", pass.start);
        let own = wire.of_pass(index);
        let hurries = self.may_be_followed_at_once(wire, index);
        self.hurries.push(hurries);
        let attempts = |operation: Operation| {
            own.iter()
                .filter(|exchange| exchange.operation == operation)
                .count()
        };
        let accepted = |operation: Operation| {
            let machines: Vec<_> = own
                .iter()
                .filter(|exchange| exchange.operation == operation && exchange.accepted())
                .collect();
            machines.len()
        };
        let Some(view) = &pass.view else {
            return Ok(());
        };
        self.count_busy(pass, view, own);
        for (id, seen) in &view.machines {
            let shown = self.leaving.get(id);
            let is_known = shown.is_some_and(|(life, _)| *life == pass.life);
            if !seen.state.is_living() && !is_known {
                let now = (pass.life, view.completed);
                self.leaving.insert(Arc::clone(id), now);
            }
        }
        let certain = view
            .machines
            .iter()
            .filter(|(id, seen)| {
                let gone = self.is_gone(wire, id, Duration::MAX)
                    || self.touched(wire, id, pass.start.saturating_sub(self.recent), index);
                seen.mine
                    && seen.host_ok
                    && seen.state.is_living()
                    && !is_broken(&seen.state)
                    && !gone
            })
            .count();
        let creates = attempts(Operation::Create);
        if creates > 0 {
            let bound = self.create_bound(wire, index).unwrap_or(0) as usize;
            let again = own
                .iter()
                .filter(|exchange| {
                    exchange.operation == Operation::Create
                        && matches!(
                            exchange.ended,
                            Some((_, Ended::Refused | Ended::Status(429)))
                        )
                })
                .count();
            // Where none is listed, those of the group are tried, and there are three.
            let regions = match self.rules.regions.len() {
                0 => 3,
                listed => listed,
            };
            let most = bound.saturating_sub(certain) + regions;
            if creates - again > most {
                return Err(context(format!(
                    "{creates} creates were tried, at most {most} may be"
                )));
            }
            let counted =
                self.at_most_believed(wire, index) + self.may_be_missing(wire, index, view);
            let counted = u32::try_from(counted).unwrap_or(0);
            if let Some(step) = self.rules.up_step {
                if accepted(Operation::Create) > step.of(counted) as usize {
                    return Err(context(
                        "more were created than one pass may add".to_owned(),
                    ));
                }
            }
            self.note_failing(wire, index);
        }
        if let Some(step) = self.rules.down_step {
            let counted = u32::try_from(self.at_most_counted(wire, index, pass.start)).unwrap_or(0)
                + u32::try_from(attempts(Operation::Destroy)).unwrap_or(0);
            let victims: BTreeSet<_> = own
                .iter()
                .filter(|exchange| exchange.operation == Operation::Destroy)
                .map(|exchange| exchange.machine.clone())
                .collect();
            if victims.len() > step.of(counted) as usize {
                return Err(context(
                    "more were destroyed than one pass may take".to_owned(),
                ));
            }
        }
        self.started(wire, index, view).map_err(context)
    }

    /// Remembers a pass in which every create failed, and until when creating is to pause.
    fn note_failing(&mut self, wire: &Wire, index: usize) {
        let pass = &wire.passes[index];
        let (first, own) = (wire.first_of(index), wire.of_pass(index));
        let config = (first..first + own.len())
            .find_map(|ordinal| self.configs.get(&ordinal))
            .cloned()
            .unwrap_or_default();
        let worked = own
            .iter()
            .any(|exchange| exchange.operation == Operation::Create && exchange.accepted());
        if worked || pass.life != self.life {
            self.failing = Failing::default();
            return;
        }
        // What a region has left behind is forgotten with its fleet, where it had no machine for long.
        let may_be_forgotten = self.rules.found && pass.start >= self.failing.until + seconds(300);
        let passes = if self.failing.config == config && !may_be_forgotten {
            self.failing.passes + 1
        } else {
            1
        };
        let pause = self.rules.interval * 2_u32.pow((passes - 1).min(8));
        self.failing = Failing {
            config,
            passes,
            until: pass.start + pause.min(seconds(300)),
        };
    }

    /// The most machines that a pass may have counted as started.
    fn at_most_running(&self, wire: &Wire, index: usize, view: &View) -> u32 {
        let start = wire.passes[index].start;
        let listed = view.machines.iter().filter(|(id, seen)| {
            let state = Self::known_state(&wire.passes[index], id, seen);
            let is_new = matches!(&*state, "created" | "creating");
            let runs = is_up_or_new(&state) && (self.rules.initial_started || !is_new);
            seen.mine && seen.host_ok && runs
        });
        let hidden = self.machines.iter().filter(|(id, truth)| {
            let made = truth.ours.is_some_and(|at| at + self.recent > start)
                && !view.machines.contains_key(*id);
            made || view.machines.contains_key(*id)
                && self.touched(wire, id, start.saturating_sub(self.recent), index)
        });
        let unknown = self
            .creates
            .iter()
            .rev()
            .map(|ordinal| wire.exchanges[*ordinal].pass)
            .take_while(|pass| pass + 3 >= index)
            .count();
        u32::try_from(listed.count() + hidden.count() + unknown).unwrap_or(0)
    }

    /// Starts and stops do not overshoot.
    fn started(&self, wire: &Wire, index: usize, view: &View) -> Verdict {
        let own = wire.of_pass(index);
        let accepted = |wanted: &[Operation]| {
            let machines: BTreeSet<&Arc<str>> = own
                .iter()
                .filter(|exchange| wanted.contains(&exchange.operation) && exchange.accepted())
                .filter_map(|exchange| exchange.machine.as_ref())
                .collect();
            u32::try_from(machines.len()).unwrap_or(0)
        };
        let start = wire.passes[index].start;
        let count = |pick: &dyn Fn(&Arc<str>, &Seen) -> bool| {
            let picked = view
                .machines
                .iter()
                .filter(|(id, seen)| seen.mine && seen.host_ok && pick(id, seen));
            u32::try_from(picked.count()).unwrap_or(0)
        };
        let starts = accepted(&[Operation::Start]);
        if starts > 0 && self.rules.started.is_some() {
            // Those that surely run: nobody told them otherwise since.
            let running = count(&|id, seen| {
                let told = wire.passes[index].answers.get(id);
                told.is_none_or(|told| told.state == "started")
                    && matches!(seen.state, MachineState::Started | MachineState::Restarting)
                    && !self.is_gone(wire, id, Duration::MAX)
                    && !self.touched(wire, id, start.saturating_sub(self.recent), index)
            });
            // Those that the list lacks run all the same, where they ran when they were last seen.
            let hidden = self.missing_from(wire, index, view).filter(|(id, truth)| {
                let answer = wire.passes[index].answers.get(*id);
                truth.state == MachineState::Started
                    && answer.is_none_or(|told| told.state == "started")
                    && Self::last_state(wire, index, id) == Some("started")
                    && !self.touched(wire, id, start.saturating_sub(self.recent), index)
            });
            let running = running + u32::try_from(hidden.count()).unwrap_or(0);
            let wanted = match self.target(wire, index, false) {
                Some((min, _)) => min,
                None => self.rules.fallback_started.unwrap_or(0),
            };
            demand!(
                running + starts <= wanted,
                "{starts} were started beside {running} that run, and {wanted} were wanted"
            );
        }
        let stops = accepted(&[Operation::Stop, Operation::Suspend]);
        let destroys = own
            .iter()
            .any(|exchange| exchange.operation == Operation::Destroy);
        let surplus = self
            .most(wire, index)
            .is_some_and(|most| self.at_most_counted(wire, index, start) > most as usize);
        if stops > 0 && !destroys && !surplus {
            let Some((_, max)) = self.target(wire, index, false) else {
                return Err("something was stopped without a target".to_owned());
            };
            let Some(max) = self.highest(wire, index, false, max) else {
                return Err("something was stopped before the window was filled".to_owned());
            };
            let most = self.at_most_running(wire, index, view);
            demand!(
                stops <= most.saturating_sub(max),
                "{stops} of at most {most} were stopped, and {max} may run"
            );
        }
        Ok(())
    }

    /// Whether a metric that counts what runs contradicts itself after the end of all trouble, so that no fleet is right for
    /// long: with nothing up it is missing, and `??` asks for more than it does once that is up. It is then no constant,
    /// though nobody else changes anything, and what is wanted turns again and again.
    fn contradicts_itself(&self, wire: &Wire) -> bool {
        let passes = 0..wire.passes.len();
        let late: Vec<usize> = passes
            .filter(|pass| wire.passes[*pass].start > CALM + SETTLE * 5)
            .collect();
        let (mut turns, mut grew, mut before) = (0, None, None);
        for (min, max) in late
            .iter()
            .filter_map(|pass| self.target(wire, *pass, true))
        {
            let (least, most) = before.replace((min, max)).unwrap_or((min, max));
            let grows = (min > most).then_some(true);
            if let Some(grows) = grows.or((max < least).then_some(false)) {
                turns += u32::from(grew.replace(grows) == Some(!grows));
            }
        }
        let is_missing = |pass: &usize| wire.passes[*pass].metric.is_none();
        self.metric_is_instances && turns > 3 && late.iter().any(is_missing)
    }

    /// After the end of all trouble the fleet is as it should be, as far as it can be, and nothing is written.
    pub(super) fn settled(&mut self, platform: &Platform, wire: &Wire) -> Verdict {
        if self.contradicts_itself(wire) {
            self.tally.note("metrics that contradict themselves");
            return Ok(());
        }
        for exchange in wire
            .exchanges
            .iter()
            .filter(|exchange| exchange.at > SETTLED)
        {
            demand!(
                matches!(exchange.operation, Operation::Query | Operation::List) && !exchange.busy
                    // One that ended by itself before, and that nobody has needed to know of.
                    || exchange.operation == Operation::Get
                        && matches!(exchange.ended, Some((_, Ended::Status(404)))),
                "at {:?} there was still {:?}",
                exchange.at,
                exchange.operation
            );
        }
        let Some(last) = wire.passes.len().checked_sub(2) else {
            return Err("there were no passes".to_owned());
        };
        let (machines, others): (Vec<(&Machine, Seen)>, Vec<_>) = platform
            .app(&self.name)
            .into_iter()
            .flat_map(App::machines)
            .map(|machine| (machine, seen(machine, &self.rules)))
            .filter(|(_, seen)| seen.kin && seen.state.is_living())
            .partition(|(_, seen)| seen.mine);
        if self.rules.found && (machines.is_empty() || self.known(last) != Known::Now) {
            // There is no such fleet.
            return Ok(());
        }
        let count = |pick: &dyn Fn(&Seen) -> bool| {
            let picked = machines.iter().filter(|(_, seen)| pick(seen)).count();
            u32::try_from(picked).unwrap_or(0)
        };
        let expendable =
            |seen: &Seen, id: &Arc<str>| !seen.protected && self.own.as_ref() != Some(id);
        let may_be_cloned = |seen: &Seen| {
            let works = !is_broken(&seen.state);
            works && (!seen.mounts || self.rules.clone_volumes)
        };
        let elsewhere = others
            .iter()
            .filter(|(_, seen)| may_be_cloned(seen))
            .count();
        let clonable = count(&may_be_cloned) + u32::try_from(elsewhere).unwrap_or(0);
        let created = count(&|_| true);
        let working = count(&|seen| !is_broken(&seen.state));
        let no_room = self.rules.ceiling.is_some_and(|ceiling| created >= ceiling);
        let held_up = self.rules.up_step.is_some_and(|step| step.of(created) == 0);
        let held_down = self
            .rules
            .down_step
            .is_some_and(|step| step.of(created) == 0);
        let half_turned = wire.passes[last].view.as_ref().is_some_and(|view| {
            let kin = Halves::of(view.machines.values().filter(|seen| seen.kin && !seen.mine));
            kin.and(self.halves(wire, last, view)).are_turned()
        });
        if let Some((min, max)) = self.target(wire, last, true) {
            // A failed one that has to stay may hold the last place under the ceiling.
            let stays = half_turned
                || machines.iter().any(|(machine, seen)| {
                    let has_to_stay = !expendable(seen, &machine.id)
                        || (seen.mounts && !self.rules.clone_volumes);
                    is_broken(&seen.state) && has_to_stay
                });
            demand!(
                working >= min || clonable == 0 || held_up || (no_room && (stays || held_down)),
                "{working} working machines in the end, at least {min} wanted"
            );
            let victims = machines
                .iter()
                .filter(|(machine, seen)| {
                    expendable(seen, &machine.id)
                        && seen.state.is_settled()
                        && (!seen.mounts || self.rules.clone_volumes)
                })
                .count();
            let spare = u32::try_from(victims).unwrap_or(0).saturating_sub(1);
            let kept_source = u32::from(clonable <= 1);
            // A failed one that has to stay costs no working one its place.
            let failed_spare = machines
                .iter()
                .filter(|(machine, seen)| {
                    is_broken(&seen.state)
                        && expendable(seen, &machine.id)
                        && (!seen.mounts || self.rules.clone_volumes)
                })
                .count();
            let counted = working + u32::try_from(failed_spare).unwrap_or(0);
            if self.is_region() && !held_down && !half_turned {
                let surplus = counted.saturating_sub(max);
                self.kept = surplus.min(u32::try_from(victims).unwrap_or(0));
            }
            demand!(
                counted <= max || held_down || half_turned || spare <= kept_source,
                "{created} machines in the end, at most {max} wanted, and {spare} to spare"
            );
        }
        if let Some((min, max)) = self.target(wire, last, false) {
            let started = count(&|seen| seen.state == MachineState::Started);
            let startable = count(&|seen| {
                matches!(seen.state, MachineState::Stopped | MachineState::Suspended)
            });
            demand!(
                started >= min
                    || startable == 0
                    || self.rules.up_step.is_some_and(|step| step.of(started) == 0),
                "{started} started in the end, at least {min} wanted, {startable} at rest"
            );
            let stoppable = machines
                .iter()
                .filter(|(machine, seen)| {
                    seen.state == MachineState::Started
                        && expendable(seen, &machine.id)
                        && !seen.auto_destroy
                })
                .count();
            demand!(
                started <= max
                    || stoppable == 0
                    || self
                        .rules
                        .down_step
                        .is_some_and(|step| step.of(started) == 0),
                "{started} started in the end, at most {max} wanted, {stoppable} stoppable"
            );
        }
        Ok(())
    }
}

/// Whether a machine in this state serves nobody, and is to be replaced.
fn is_broken(state: &MachineState) -> bool {
    is_failed(state.as_str())
}

/// The same of what the API calls the state.
fn is_failed(state: &str) -> bool {
    matches!(state, "failed" | "launch_failed")
}

/// Whether a machine in this state runs, or is on its way to it, or may be as a new one.
fn is_up_or_new(state: &str) -> bool {
    matches!(
        state,
        "started" | "starting" | "restarting" | "updating" | "replacing" | "created" | "creating"
    )
}

/// A list in one line.
struct Fleet<'view>(Option<&'view View>, Duration);

impl fmt::Display for Fleet<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(view) = self.0 else {
            return formatter.write_str("none");
        };
        write!(formatter, "lag {:?}:", self.1)?;
        for (id, seen) in &view.machines {
            let marks = [
                (!seen.mine, " not ours"),
                (!seen.host_ok, " lost"),
                (seen.protected, " protected"),
                (seen.cordoned, " cordoned"),
                (seen.mounts, " mounts"),
                (seen.auto_destroy, " auto-destroy"),
            ];
            write!(formatter, " {}={}", &id[..4], seen.state)?;
            if let Some(release) = seen.release {
                write!(formatter, " v{release}")?;
            }
            for (_, mark) in marks.iter().filter(|(is, _)| *is) {
                formatter.write_str(mark)?;
            }
        }
        Ok(())
    }
}

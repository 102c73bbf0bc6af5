//! What a seed stands for: a configuration, a fleet, and an hour of events and faults.
//!
//! Each seed picks a few kinds of trouble and leaves the others out, so that some runs are nearly calm and others are
//! bad in one way only: a rule that guards against one thing is hidden by too many others at once.

use std::{collections::BTreeMap, fmt, time::Duration};

use bytes::Bytes;
use fly_autoscaler::sim::{
    Autostop, Canned, Deploy, Effect, Endings, MachineState, NewMachine, Operation, Options,
    Outcome, Platform, ProxySettings, Random, RateLimits, RetryAfter, Strategy, Timing,
};
use http::Request;
use serde_json::json;

/// When the last trouble is over.
pub(super) const CALM: Duration = Duration::from_secs(38 * 60);

/// From when on nothing may be written any more.
pub(super) const SETTLED: Duration = Duration::from_secs(55 * 60);

/// The simulated time of one seed.
pub(super) const END: Duration = Duration::from_secs(57 * 60);

/// What a server may say that repeats what it was sent.
const ECHO: &str = "no such token: FlyV1 fm2_machines,fm2_discharge";

/// The longest that a list should lag behind; one that lags for longer is part of the trouble.
const LONGEST_LAG: u64 = 60;

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// One target expression, in a form that the oracle can work out by itself.
#[derive(Debug, Clone)]
pub(super) struct Formula {
    offset: i64,
    low: u32,
    high: u32,
    max: Max,
    missing: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
enum Max {
    /// A single value.
    Same,
    /// So much above the minimum.
    Above(u32),
    /// A constant; where the minimum is above it, it is the target.
    Fixed(u32),
}

impl Formula {
    /// The bounds that the metric asks for, before limits; `None` where there is no target.
    pub(super) fn bounds(&self, metric: Option<f64>, least: u32) -> Option<(u32, u32)> {
        let metric = metric.or(self.missing.map(f64::from))?;
        let value = (metric + self.offset as f64)
            .min(f64::from(self.high))
            .max(f64::from(self.low));
        // The metrics of the simulation are whole numbers.
        let min = (0..=1000).find(|count| f64::from(*count) >= value)?;
        let max = match self.max {
            Max::Same => min,
            Max::Above(width) => min + width,
            Max::Fixed(max) => max,
        };
        let (min, max) = (min.max(least), max.max(least));
        Some((min.min(max), max))
    }

    fn settings(&self, kind: &str, metric: &str, settings: &mut Vec<(String, String)>) {
        let metric = match self.missing {
            Some(value) => format!("({metric} ?? {value})"),
            None => metric.to_owned(),
        };
        let min = format!(
            "max({}, min({metric} + ({}), {}))",
            self.low, self.offset, self.high
        );
        let max = match self.max {
            Max::Same => {
                settings.push((format!("{kind}_MACHINE_COUNT"), min));
                return;
            }
            Max::Above(width) => format!("{min} + {width}"),
            Max::Fixed(max) => max.to_string(),
        };
        settings.push((format!("MIN_{kind}_MACHINE_COUNT"), min));
        settings.push((format!("MAX_{kind}_MACHINE_COUNT"), max));
    }
}

/// The most machines of one pass.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Count(u32),
    Percent(u32),
}

impl Step {
    pub(super) fn of(self, current: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(0) => 0,
            Self::Percent(percent) => (current * percent).div_ceil(100).max(1),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Count(count) => count.to_string(),
            Self::Percent(percent) => format!("{percent}%"),
        }
    }
}

/// Which machines of an app a fleet has.
#[derive(Debug, Clone)]
pub(super) struct Which {
    pub(super) group: String,
    /// Of one region only, where each has a target of its own.
    pub(super) region: Option<String>,
}

impl Which {
    pub(super) fn takes(&self, group: Option<&str>, region: &str) -> bool {
        self.is_kin(group) && self.region.as_deref().is_none_or(|own| own == region)
    }

    /// Whether a machine is of the same process group, in whichever region it is.
    pub(super) fn is_kin(&self, group: Option<&str>) -> bool {
        group == Some(&*self.group)
    }
}

impl fmt::Display for Which {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.group)?;
        match &self.region {
            Some(region) => write!(formatter, "/{region}"),
            None => Ok(()),
        }
    }
}

/// The configuration of a fleet, as the oracle judges by it; interval, timeout and concurrency are those of all.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) created: Option<Formula>,
    pub(super) started: Option<Formula>,
    pub(super) floor: Option<u32>,
    pub(super) ceiling: Option<u32>,
    pub(super) up_step: Option<Step>,
    pub(super) down_step: Option<Step>,
    pub(super) up_window: Duration,
    pub(super) down_window: Duration,
    pub(super) fallback_created: Option<u32>,
    pub(super) fallback_started: Option<u32>,
    pub(super) fallback_after: usize,
    pub(super) regions: Vec<String>,
    pub(super) initial_started: bool,
    pub(super) suspends: bool,
    pub(super) concurrency: usize,
    pub(super) destroy_running_after: Duration,
    pub(super) deploy_timeout: Duration,
    pub(super) which: Which,
    /// Whether its region is a fleet only because there are machines, and not because it is set.
    pub(super) found: bool,
    pub(super) clone_volumes: bool,
    /// Which of the fleet is the daemon's own machine.
    pub(super) own: Option<usize>,
    /// Whether the app's machines are workers that end by themselves.
    pub(super) workers: bool,
    /// Whether machines of the fleet are protected, and protection comes and goes.
    pub(super) protects: bool,
    /// What holds where running machines are asked for how busy they are.
    pub(super) busy: Option<Busy>,
}

/// How busy a running machine may be that is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Busy {
    /// None: whatever it is.
    pub(super) limit: Option<u32>,
}

/// One machine of the fleet at the beginning.
#[derive(Debug, Clone)]
pub(super) struct Start {
    pub(super) region: String,
    pub(super) group: String,
    pub(super) state: MachineState,
    pub(super) release: Option<u64>,
    pub(super) cordoned: bool,
    pub(super) stop_takes: Option<Duration>,
    pub(super) mounts: bool,
    config: serde_json::Value,
}

impl Start {
    /// Its configuration, with this volume mounted.
    pub(super) fn config(&self, volume: Option<&str>) -> String {
        let mut config = self.config.clone();
        if let Some(volume) = volume {
            config["mounts"] = json!([{ "volume": volume, "path": "/data", "name": "data" }]);
        }
        config.to_string()
    }
}

/// Something that happens at a moment. Machines and hosts are chosen by a number among those that there are then.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// The number that a fleet goes by; none from now on.
    Load {
        fleet: usize,
        load: Option<f64>,
    },
    MetricsSilent(bool),
    Host {
        which: u64,
        down: bool,
        cut_off: bool,
    },
    HostsBack,
    Lease {
        which: u64,
        ttl: Duration,
    },
    Exit {
        which: u64,
        code: i32,
    },
    Protect {
        which: u64,
        on: bool,
    },
    Deploy(Deploy),
    LaunchFailures(f64),
    StartFailures(f64),
    Endings(Vec<Endings>),
    Capacity {
        region: String,
        machines: Option<usize>,
    },
    MachineLimit(Option<usize>),
    HostFull {
        which: u64,
        full: bool,
    },
    Proxy(Option<ProxySettings>),
    Traffic(f64),
    /// Somebody makes a machine of a fleet's group in its region.
    Appear(usize),
    /// Somebody takes every machine of a fleet, unless these are all of its group.
    Vanish(usize),
    /// The number of a policy comes with one about no region in particular beside it.
    Unlabelled {
        fleet: usize,
        on: bool,
    },
    Kill,
    Stop,
    Restart,
    /// The daemon's process does not run for so long.
    Freeze(Duration),
    /// All trouble ends.
    Calm,
}

/// A time in which lists lag: the view first stands still, then follows at that distance, then is the present again.
///
/// A view never goes back: that an accepted create is remembered until a list shows it presumes as much.
#[derive(Debug, Clone, Copy)]
struct Lagging {
    from: Duration,
    lag: Duration,
    until: Duration,
}

/// A time in which lists do not show the machines of a region.
#[derive(Debug, Clone)]
struct Lacking {
    from: Duration,
    region: String,
    until: Duration,
}

/// Which requests go wrong.
#[derive(Debug, Clone, Default)]
pub(super) struct Chaos {
    /// The probability of a fault in and out of a storm.
    rates: BTreeMap<Operation, (f64, f64)>,
    storms: Vec<(Duration, Duration)>,
    /// Times in which nearly every create fails, with this status.
    creates_fail: Vec<(Duration, Duration, u16)>,
    /// Times in which nearly every destroy happens without an answer that says so.
    destroys_lost: Vec<(Duration, Duration)>,
    /// Times in which nearly every start and stop happens without an answer that says so.
    brings_lost: Vec<(Duration, Duration)>,
    /// Times in which many creates are answered with a machine that there was before.
    creates_lie: Vec<(Duration, Duration)>,
    /// When GraphQL takes its time, so that a pass is under way when the process stands still.
    before_freezes: Vec<Duration>,
    /// Times in which GraphQL is away.
    graphql_down: Vec<(Duration, Duration)>,
    /// Times in which the token is not accepted.
    unauthorized: Vec<(Duration, Duration, Option<Operation>)>,
    /// Whether a create may happen without an answer; see [`Scenario::of`].
    lost_creates: bool,
    /// How much later than it was sent a request may arrive at most.
    longest_delay: Duration,
}

impl Chaos {
    /// Whether a create is answered with a machine that there was before.
    pub(super) fn lies(&self, at: Duration, random: &mut Random) -> bool {
        let now = |(from, until): &(Duration, Duration)| (*from..*until).contains(&at);
        self.creates_lie.iter().any(now) && random.chance(0.5)
    }

    /// How this request goes wrong, if it does.
    pub(super) fn draw(
        &self,
        operation: Operation,
        at: Duration,
        random: &mut Random,
    ) -> Option<Effect> {
        let within = |from: Duration, until: Duration| (from..until).contains(&at);
        let api = !matches!(operation, Operation::Query);
        if let Some((_, _, only)) = self
            .unauthorized
            .iter()
            .find(|(from, until, _)| within(*from, *until))
        {
            if api && only.is_none_or(|only| only == operation) {
                let status = if random.chance(0.5) { 401 } else { 403 };
                return Some(Effect::Answer(Canned::status(status)));
            }
        }
        let away = self
            .graphql_down
            .iter()
            .any(|(from, until)| within(*from, *until));
        if away && operation == Operation::Graphql {
            return Some(match random.below(6) {
                0 => Effect::Hang,
                1 => Effect::Refuse,
                2 => Effect::Break,
                3 => Effect::Answer(Canned::json(200, r#"{"errors":[{"message":"try again"}]}"#)),
                _ => Effect::Answer(Canned::status(503)),
            });
        }
        let freezes_soon = |from: &Duration| (at..at + seconds(12)).contains(from);
        if operation == Operation::Graphql && self.before_freezes.iter().any(freezes_soon) {
            return Some(Effect::SlowAnswer(seconds(12)));
        }
        if operation == Operation::Create {
            let failing = self
                .creates_fail
                .iter()
                .find(|(from, until, _)| within(*from, *until));
            if let Some((_, _, status)) = failing.filter(|_| random.chance(0.95)) {
                return Some(Effect::Answer(Canned::status(*status)));
            }
        }
        let lost = self
            .destroys_lost
            .iter()
            .any(|(from, until)| within(*from, *until));
        if lost && operation == Operation::Destroy && random.chance(0.95) {
            return Some(Effect::AnswerAfter(Canned::status(502)));
        }
        let lost = self
            .brings_lost
            .iter()
            .any(|(from, until)| within(*from, *until));
        let brings = matches!(
            operation,
            Operation::Start | Operation::Stop | Operation::Suspend
        );
        if lost && brings && random.chance(0.95) {
            return Some(match random.below(3) {
                0 => Effect::AnswerAfter(Canned::status(502)),
                1 => Effect::AnswerAfter(Canned::status(408)),
                _ => Effect::LoseAnswer,
            });
        }
        let (stormy, calm) = self.rates.get(&operation).copied()?;
        let stormy_now = self
            .storms
            .iter()
            .any(|(from, until)| within(*from, *until));
        let rate = if stormy_now { stormy } else { calm };
        if !random.chance(rate) {
            return None;
        }
        Some(match operation {
            Operation::Query => Self::metric_effect(random),
            Operation::List | Operation::Get | Operation::ListVolumes => self.read_effect(random),
            Operation::Graphql => match random.below(4) {
                0 => Effect::Answer(Canned::json(200, r#"{"errors":[{"message":"try again"}]}"#)),
                1 => Effect::Hang,
                2 => Effect::Break,
                _ => Effect::Answer(Canned::html(502)),
            },
            Operation::Wait => match random.below(4) {
                0 => Effect::Answer(Canned::status(408)),
                1 => Effect::Hang,
                2 => Effect::LoseAnswer,
                _ => Effect::Answer(Canned::status(503)),
            },
            Operation::Create | Operation::CreateVolume => self.create_effect(random),
            _ => self.write_effect(random),
        })
    }

    fn too_many(random: &mut Random) -> Effect {
        let answer = Canned::status(429);
        Effect::Answer(match random.below(4) {
            0 => answer.header("retry-after", "1"),
            1 => answer.header("retry-after", "7"),
            2 => answer.header("retry-after", "90"),
            _ => answer,
        })
    }

    fn metric_effect(random: &mut Random) -> Effect {
        match random.below(6) {
            0 => Effect::Hang,
            1 => Effect::Break,
            2 => Effect::Answer(Canned::garbage(200)),
            3 => Effect::Answer(Canned::json(
                200,
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[0,"NaN"]}]}}"#,
            )),
            4 => Effect::SlowAnswer(random.between(seconds(1), seconds(40))),
            _ => Effect::Answer(Canned::json(
                503,
                r#"{"status":"error","errorType":"x","error":"not FlyV1 fm2_metrics"}"#,
            )),
        }
    }

    fn read_effect(&self, random: &mut Random) -> Effect {
        match random.below(8) {
            0 => Effect::Hang,
            1 => Effect::Break,
            2 => Effect::Refuse,
            3 => Self::too_many(random),
            4 => Effect::Truncate(40),
            5 => Effect::SlowAnswer(random.between(seconds(1), seconds(20))),
            6 => Effect::Delay(
                random
                    .between(seconds(1), seconds(12))
                    .min(self.longest_delay),
            ),
            _ => Effect::Answer(Canned::json(500, &format!(r#"{{"error":"{ECHO}"}}"#))),
        }
    }

    fn create_effect(&self, random: &mut Random) -> Effect {
        if self.lost_creates && random.chance(0.5) {
            return match random.below(6) {
                0 => Effect::HangAfter,
                1 => Effect::AnswerAfter(Canned::status(500)),
                2 => Effect::AnswerAfter(Canned::status(408)),
                3 => Effect::Truncate(10),
                4 if !self.longest_delay.is_zero() => {
                    Effect::Delay(random.between(seconds(1), self.longest_delay))
                }
                _ => Effect::LoseAnswer,
            };
        }
        match random.below(8) {
            0 => Effect::Refuse,
            1 => Effect::Break,
            2 => Effect::Hang,
            3 => Self::too_many(random),
            4 => Effect::Answer(Canned::status(503)),
            5 => Effect::Answer(Canned::status(408)),
            6 => Effect::Answer(Canned::status(422)),
            _ => Effect::SlowAnswer(random.between(seconds(1), seconds(9))),
        }
    }

    fn write_effect(&self, random: &mut Random) -> Effect {
        match random.below(12) {
            0 => Effect::Refuse,
            1 => Effect::Break,
            2 => Effect::Hang,
            3 => Self::too_many(random),
            4 => Effect::Answer(Canned::json(500, &format!(r#"{{"error":"{ECHO}"}}"#))),
            5 => Effect::Answer(Canned::status(409)),
            6 => Effect::Answer(Canned::status(412)),
            7 | 8 => Effect::LoseAnswer,
            9 => Effect::HangAfter,
            10 => Effect::AnswerAfter(Canned::status(502)),
            _ => Effect::Delay(
                random
                    .between(seconds(1), seconds(18))
                    .min(self.longest_delay),
            ),
        }
    }
}

/// Times in which the daemon's process does not run, as a stopped process or a suspended machine does not.
#[derive(Debug, Clone, Default)]
pub(super) struct Freezes(Vec<(Duration, Duration)>);

impl Freezes {
    /// The first moment from `at` on in which the process runs.
    pub(super) fn awake(&self, at: Duration) -> Duration {
        self.0
            .iter()
            .find(|(from, until)| (*from..*until).contains(&at))
            .map_or(at, |(_, until)| *until)
    }

    /// For how long it did not run at most between the two.
    pub(super) fn longest_within(&self, from: Duration, to: Duration) -> Duration {
        self.0
            .iter()
            .map(|(frozen, until)| (*until).min(to).saturating_sub((*frozen).max(from)))
            .max()
            .unwrap_or_default()
    }

    /// When the process has run for `span` since `from`.
    pub(super) fn after(&self, from: Duration, span: Duration) -> Duration {
        let mut at = from + span;
        for (frozen, until) in &self.0 {
            if *until > from && *frozen <= at {
                at += until.saturating_sub((*frozen).max(from));
            }
        }
        at
    }
}

/// What each policy goes by, in their order; none is a part of another one, nor has a region's name as a part.
const GAUGES: [&str; 4] = ["load", "demand", "backlog", "depth"];

/// Where machines are.
pub(super) const REGIONS: [&str; 3] = ["ord", "iad", "fra"];

/// What the query for busy machines has before the gauge of its fleet.
pub(super) const BUSY: &str = "busy_";

/// Whose numbers a query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// Those of a whole group; of all regions the same, where each is a fleet.
    Whole,
    /// Each region's by a query of its own.
    EachRegion,
    /// Those of all regions at once, told apart by a label.
    ByLabel,
}

/// One fleet of an app: what one policy says of it, or of one region of it.
#[derive(Clone)]
pub(super) struct FleetScene {
    /// Which of the policies that is.
    pub(super) policy: usize,
    /// Those of all apps, and what is of this one's machines alone.
    pub(super) rules: Rules,
    /// The metric that the policy goes by.
    pub(super) gauge: &'static str,
    pub(super) asks: Asks,
    /// Whether one question about busy machines is about all fleets of the policy.
    busy_at_once: bool,
    /// How many processors each machine of its group has, and none of another group.
    cpus: u64,
    /// What that is at the beginning and after the end of all trouble; none: it always fails.
    pub(super) load: Option<f64>,
}

impl FleetScene {
    /// Says what the number is that the fleet goes by.
    pub(super) fn set_load(&self, platform: &mut Platform, app: &str, load: Option<f64>) {
        match (self.asks, &self.rules.which.region) {
            (Asks::EachRegion | Asks::ByLabel, Some(region)) => {
                let labels = [("app", app), ("region", region.as_str())];
                platform.set_series(self.gauge, &labels, load);
            }
            _ => platform.set_gauge(app, self.gauge, load),
        }
    }
}

/// One app at the beginning.
pub(super) struct Scene {
    /// None is a part of another one.
    pub(super) name: String,
    /// At least one; no two have the same machines.
    pub(super) fleets: Vec<FleetScene>,
    /// Those of all fleets, and of none.
    pub(super) machines: Vec<Start>,
    pub(super) release: Option<u64>,
}

impl Scene {
    /// The fleet that a machine belongs to.
    pub(super) fn fleet_of(&self, group: Option<&str>, region: &str) -> Option<usize> {
        let mut fleets = self.fleets.iter();
        fleets.position(|fleet| fleet.rules.which.takes(group, region))
    }

    /// The policy whose metric, or how busy whose machines are, a query asks for, and the fleet where it is about one alone.
    pub(super) fn asked_by(&self, query: &[u8]) -> (usize, Option<usize>) {
        let names = |name: &str| {
            let mut parts = query.windows(name.len());
            parts.any(|part| part == name.as_bytes())
        };
        let named = self.fleets.iter().find(|fleet| names(fleet.gauge));
        // One that counts what runs names no gauge, and its app has one fleet.
        let policy = named.map_or(0, |fleet| fleet.policy);
        let is_alone = |fleet: &FleetScene| {
            let region = fleet.rules.which.region.as_deref();
            fleet.policy == policy && region.is_none_or(names)
        };
        (policy, self.fleets.iter().position(is_alone))
    }

    /// What somebody makes who makes a machine of a fleet's group.
    pub(super) fn by_hand(&self, fleet: usize) -> Option<NewMachine> {
        let which = &self.fleets[fleet].rules.which;
        let mut machines = self.machines.iter();
        let model = machines.find(|start| which.is_kin(Some(&start.group)))?;
        let region = which.region.as_deref().unwrap_or(&model.region);
        Some(NewMachine::in_region(region).config(&model.config(None)))
    }

    /// The fleet that asks for a new volume in this region for a machine with so many processors.
    pub(super) fn fleet_of_volume(&self, cpus: u64, region: &str) -> Option<usize> {
        self.fleets.iter().position(|fleet| {
            let which = &fleet.rules.which;
            fleet.cpus == cpus && which.takes(Some(&which.group), region)
        })
    }
}

/// Everything about one seed.
pub(super) struct Scenario {
    /// The environment.
    pub(super) settings: Vec<(String, String)>,
    /// The YAML file, which lists the policies where there are several.
    pub(super) file: Option<String>,
    pub(super) options: Options,
    /// At least one.
    pub(super) apps: Vec<Scene>,
    /// How many of them may have a pass at the same time.
    pub(super) concurrency: usize,
    /// What happens when, to which app if it is not to all.
    pub(super) events: Vec<(Duration, usize, Event)>,
    pub(super) chaos: Chaos,
    pub(super) metric_is_instances: bool,
    /// When the daemon's process does not run.
    pub(super) freezes: Freezes,
    lagging: Vec<Lagging>,
    lacking: Vec<Lacking>,
}

impl Scenario {
    /// The regions that a list lacks at this moment.
    pub(super) fn lacks(&self, at: Duration) -> Vec<String> {
        let now = self
            .lacking
            .iter()
            .filter(|lacking| (lacking.from..lacking.until).contains(&at));
        now.map(|lacking| lacking.region.clone()).collect()
    }

    /// Which app a request is about.
    pub(super) fn app_of(&self, request: &Request<Bytes>) -> Option<usize> {
        let named = |name: &str| {
            request.uri().path().contains(name)
                || request
                    .body()
                    .windows(name.len())
                    .any(|part| part == name.as_bytes())
        };
        self.apps.iter().position(|scene| named(&scene.name))
    }

    /// How much longer than alone a pass may have to wait for its place; `None`: it never has to.
    pub(super) fn waits_for_others(&self) -> Option<Duration> {
        let others = (self.apps.len() - 1).div_ceil(self.concurrency);
        let others = u32::try_from(others).unwrap_or(u32::MAX);
        let waits = self.apps.len() > self.concurrency;
        waits.then(|| self.apps[0].fleets[0].rules.timeout * others)
    }

    /// How far a list may lag behind at most.
    pub(super) fn longest_lag(&self) -> Duration {
        let lags = self.lagging.iter().map(|lagging| lagging.lag);
        lags.max().unwrap_or_default().max(seconds(LONGEST_LAG))
    }

    /// How far a list lags behind at this moment.
    pub(super) fn lag(&self, at: Duration) -> Duration {
        self.lagging
            .iter()
            .find(|lagging| (lagging.from..lagging.until).contains(&at))
            .map_or(Duration::ZERO, |lagging| {
                lagging.lag.min(at.saturating_sub(lagging.from))
            })
    }

    /// The scenario of a seed.
    ///
    /// Two things are left out because the rules leave them open. A create of unknown outcome is remembered for two
    /// passes and a minute, so it must have shown by then: where creates may be lost, lists lag for less than that and
    /// lack no region. And a restarted daemon takes its first list as current, so when it starts no list lags or lacks
    /// machines, and nothing is under way.
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0xfa5);
        let random = &mut random;
        let mut rules = rules(random);
        // Drawn apart, so that the other trouble of a seed does not depend on it.
        let more = &mut Random::new(seed ^ 0x005e_ed0f_0a11);
        if rules.created.is_some() && more.chance(0.12) {
            // Both targets by one expression.
            rules.started.clone_from(&rules.created);
        }
        let shortest_pass = rules.interval.min(rules.timeout * 3 / 4);
        let remembered = (shortest_pass * 2)
            .max(seconds(LONGEST_LAG))
            .saturating_sub(seconds(2));

        let lost_creates = random.chance(0.5);
        let lags = random.chance(0.55);
        let most_lag = if lost_creates {
            remembered.min(seconds(LONGEST_LAG))
        } else {
            seconds(LONGEST_LAG)
        };
        let quick_restart = random.chance(0.5);
        let longest_delay = match (lost_creates, lags) {
            _ if quick_restart => Duration::ZERO,
            (true, true) => Duration::ZERO,
            (true, false) => remembered.min(seconds(16)),
            _ => seconds(20),
        };
        let mut chaos = chaos(random, lost_creates, longest_delay);
        // Drawn apart, as the other trouble of a seed does not depend on it.
        let lossy = &mut Random::new(seed ^ 0x1057_b216);
        if lossy.chance(0.4) {
            chaos.brings_lost = windows(lossy, 10, 900);
        }
        let liar = &mut Random::new(seed ^ 0x0011_a125);
        if lost_creates && liar.chance(0.3) {
            chaos.creates_lie = windows(liar, 6, 900);
        }
        // A source of its own, so that the other seeds stay what they are.
        let own = &mut Random::new(seed ^ 0x6ac);
        if own.chance(0.25) {
            let from = own.between(Duration::ZERO, CALM / 2);
            let until = from + own.between(seconds(60), seconds(7200));
            chaos.graphql_down.push((from, until.min(CALM)));
        }
        let mut fleet = fleet(random, &mut rules);
        let mut events: Vec<(Duration, usize, Event)> = events(random, &rules, &mut fleet)
            .into_iter()
            .map(|(at, event)| (at, 0, event))
            .collect();
        let kill = events
            .iter()
            .find_map(|(at, _, event)| matches!(event, Event::Kill | Event::Stop).then_some(*at));
        let mut lagging = Vec::new();
        if lags {
            let mut from = random.between(seconds(5), seconds(240));
            while from < CALM {
                let lag = random.between(seconds(3), most_lag);
                let until = (from + lag + random.between(seconds(0), seconds(400))).min(CALM);
                lagging.push(Lagging { from, lag, until });
                from = until + random.between(seconds(1), seconds(300));
            }
        }
        // Drawn apart too: lists that lag for longer than they should.
        let stale = &mut Random::new(seed ^ 0x57a1_e000);
        if !lost_creates && stale.chance(0.25) {
            let from = stale.between(seconds(5), CALM / 2);
            let lag = stale.between(seconds(61), seconds(400));
            let until = (from + lag + stale.between(seconds(30), seconds(400))).min(CALM);
            lagging.retain(|other| other.until < from || other.from > until);
            lagging.push(Lagging { from, lag, until });
        }
        let mut lacking = Vec::new();
        if !lost_creates && random.chance(0.35) {
            for _ in 0..=random.below(3) {
                let from = random.between(seconds(5), CALM.saturating_sub(seconds(60)));
                let longest = pick(random, &[45, 300, 3600]);
                let until = (from + random.between(seconds(15), seconds(longest))).min(CALM);
                let region = pick(random, &["ord", "iad", "fra"]).to_owned();
                lacking.push(Lacking {
                    from,
                    region,
                    until,
                });
            }
        }
        if let Some(kill) = kill {
            let pause = seconds(24) + random.between(seconds(0), seconds(40));
            let restart = kill + if quick_restart { seconds(1) } else { pause };
            events.push((restart, 0, Event::Restart));
            for lagging in &mut lagging {
                if lagging.from < restart && lagging.until > kill {
                    lagging.until = kill.max(lagging.from);
                }
            }
            for lacking in &mut lacking {
                if lacking.from < restart + seconds(60) && lacking.until > kill {
                    lacking.until = kill.max(lacking.from);
                }
            }
        }
        events.push((CALM, 0, Event::Calm));
        let release = release(random, &fleet);

        // The count of those that run, as in the blueprint: it settles only where what is created does not run.
        let metric_is_instances =
            rules.started.is_none() && !rules.initial_started && random.chance(0.4);
        let mut options = Options {
            seed: random.bits(),
            latency: Duration::from_millis(7 + random.below(150)),
            hosts_per_region: 1 + u32::try_from(random.below(3)).unwrap_or(0),
            shuffled_lists: true,
            timing: timing(random),
            ..Options::default()
        };
        let longest = lagging.iter().map(|lagging| lagging.lag).max();
        options.history = options
            .history
            .max(longest.unwrap_or_default() + seconds(60));
        if random.chance(0.4) {
            options.metrics.scrape_interval = seconds(15);
            options.metrics.lag = seconds(random.below(46));
        }
        options.rate_limits = RateLimits {
            enabled: random.chance(0.8),
            retry_after: if random.chance(0.5) {
                RetryAfter::Seconds
            } else {
                RetryAfter::Absent
            },
            ..RateLimits::default()
        };
        let mut settings = daemon_settings(&rules);
        let mut apps = vec![Scene {
            name: "web".to_owned(),
            fleets: vec![FleetScene {
                policy: 0,
                rules,
                gauge: GAUGES[0],
                asks: Asks::Whole,
                busy_at_once: false,
                cpus: 1,
                load: Some(random.below(9) as f64),
            }],
            machines: fleet,
            release,
        }];
        let concurrency = neighbours(more, &mut apps, &mut events, &mut settings);
        for (app, scene) in apps.iter_mut().enumerate() {
            scene.cast(more);
            let ending = endings(more, &scene.fleets[0].rules);
            events.extend(ending.into_iter().map(|(at, event)| (at, app, event)));
        }
        let several = &mut Random::new(seed ^ 0x00f1_ee75);
        if !metric_is_instances && several.chance(0.25) {
            further_fleets(several, &mut apps, &mut events);
        }
        ask_for_busy_machines(&mut Random::new(seed ^ 0x0b05_1e55), &mut apps);
        let regional = &mut Random::new(seed ^ 0x4e61_0215);
        if !metric_is_instances && regional.chance(0.18) {
            fleets_of_regions(regional, &mut apps, &mut events);
        }
        let file = policies(&apps[0], metric_is_instances, &mut settings);
        let freezes = freezes(more, &mut events);
        chaos.before_freezes = freezes.0.iter().map(|(from, _)| *from).collect();
        events.sort_by_key(|(at, ..)| *at);
        Self {
            settings,
            file,
            options,
            apps,
            concurrency,
            events,
            chaos,
            metric_is_instances,
            freezes,
            lagging,
            lacking,
        }
    }
}

impl Scene {
    /// Gives a few apps failed machines from the beginning, or makes their machines workers that end by themselves.
    fn cast(&mut self, random: &mut Random) {
        let rules = &mut self.fleets[0].rules;
        let group = rules.which.group.clone();
        let of_group = |start: &&mut Start| start.group == group;
        if random.chance(0.1) {
            for start in self.machines.iter_mut().skip(1).filter(of_group) {
                if random.chance(0.5) {
                    start.state = MachineState::Failed;
                }
            }
        }
        if random.chance(0.1) {
            rules.workers = true;
            for start in self.machines.iter_mut().filter(of_group) {
                start.config["auto_destroy"] = json!(true);
            }
        }
    }
}

impl Scene {
    /// Leaves nothing of a group in a region but machines that are not scaled, and at least one of them if there are others.
    fn leave_aside(&mut self, which: &Which, region: &str) {
        let kin = self
            .machines
            .iter_mut()
            .filter(|start| which.is_kin(Some(&start.group)));
        let elsewhere = REGIONS.into_iter().find(|other| *other != region);
        let (mut first, mut last) = (None, None);
        for start in kin {
            if start.config["schedule"].is_null() && start.config["standbys"].is_null() {
                elsewhere.unwrap_or(region).clone_into(&mut start.region);
                if first.is_some() {
                    last = Some(start);
                } else {
                    first = Some(start);
                }
            }
        }
        if let Some(start) = last {
            start.config["schedule"] = json!("daily");
            start.mounts = false;
            region.clone_into(&mut start.region);
        }
    }
}

fn release(random: &mut Random, fleet: &[Start]) -> Option<u64> {
    random.chance(0.85).then(|| {
        fleet
            .iter()
            .filter_map(|start| start.release)
            .max()
            .unwrap_or(1)
    })
}

/// Other apps that the same daemon scales, in few seeds; returns how many passes may run at the same time.
fn neighbours(
    random: &mut Random,
    apps: &mut Vec<Scene>,
    events_of_all: &mut Vec<(Duration, usize, Event)>,
    settings: &mut Vec<(String, String)>,
) -> usize {
    let count = if random.chance(0.08) {
        1 + random.below(3)
    } else {
        0
    };
    let concurrency = pick(random, &[1, 1, 2, 3]);
    settings.push((
        "FAS_APP_NAME".to_owned(),
        if count == 0 { "web" } else { "web-*" }.to_owned(),
    ));
    if count == 0 {
        return usize::MAX;
    }
    settings.push(("FAS_ORG".to_owned(), "acme".to_owned()));
    settings.push(("FAS_CONCURRENCY".to_owned(), concurrency.to_string()));
    "web-0".clone_into(&mut apps[0].name);
    for number in 1..=usize::try_from(count).unwrap_or(1) {
        let mut rules = Rules {
            own: None,
            protects: false,
            ..apps[0].fleets[0].rules.clone()
        };
        let mut fleet = fleet(random, &mut rules);
        rules.own = None;
        let own = events(random, &rules, &mut fleet);
        // What happens to hosts, regions and the daemon happens to all apps.
        events_of_all.extend(own.into_iter().filter_map(|(at, event)| {
            let of_one = !matches!(
                event,
                Event::Host { .. }
                    | Event::HostsBack
                    | Event::HostFull { .. }
                    | Event::MetricsSilent(_)
                    | Event::Capacity { .. }
                    | Event::MachineLimit(_)
                    | Event::Kill
                    | Event::Stop
            );
            of_one.then_some((at, number, event))
        }));
        apps.push(Scene {
            name: format!("web-{number}"),
            release: release(random, &fleet),
            fleets: vec![FleetScene {
                policy: 0,
                rules,
                gauge: GAUGES[0],
                asks: Asks::Whole,
                busy_at_once: false,
                cpus: 1,
                load: Some(random.below(9) as f64),
            }],
            machines: fleet,
        });
    }
    concurrency
}

/// One or two policies more, for process groups of their own, with machines of these in each app and what happens to them.
fn further_fleets(
    random: &mut Random,
    apps: &mut [Scene],
    events_of_all: &mut Vec<(Duration, usize, Event)>,
) {
    let groups = ["mail", "cron"];
    let count = 1 + random.index(groups.len());
    for (number, group) in (1..).zip(groups.into_iter().take(count)) {
        let daemon = &apps[0].fleets[0].rules;
        let policy = Rules {
            interval: daemon.interval,
            timeout: daemon.timeout,
            concurrency: daemon.concurrency,
            which: Which {
                group: group.to_owned(),
                region: None,
            },
            ..rules(random)
        };
        for (app, scene) in apps.iter_mut().enumerate() {
            let mut rules = policy.clone();
            let mut machines = fleet(random, &mut rules);
            machines.retain(|start| start.group == group);
            let cpus = 1 + number as u64;
            for start in &mut machines {
                start.config["guest"]["cpus"] = json!(cpus);
            }
            rules.own = None;
            // From when on its metric fails for good.
            let fails = random
                .chance(0.15)
                .then(|| random.between(Duration::ZERO, CALM));
            let happening = events(random, &rules, &mut machines);
            events_of_all.extend(happening.into_iter().filter_map(|(at, event)| {
                let event = match event {
                    Event::Load { load, .. } => Event::Load {
                        fleet: number,
                        load: load.filter(|_| fails.is_none_or(|from| at < from)),
                    },
                    Event::Lease { .. }
                    | Event::Exit { .. }
                    | Event::Protect { .. }
                    | Event::Deploy(_) => event,
                    // What else there is happens to all fleets of the app.
                    _ => return None,
                };
                Some((at, app, event))
            }));
            let load = random.below(9) as f64;
            scene.fleets.push(FleetScene {
                policy: number,
                rules,
                gauge: GAUGES[number],
                asks: Asks::Whole,
                busy_at_once: false,
                cpus,
                load: fails.is_none().then_some(load),
            });
            scene.machines.extend(machines);
        }
    }
}

/// Gives each region of the first policy, and of some others, a target of its own, with what happens to it.
fn fleets_of_regions(
    random: &mut Random,
    apps: &mut [Scene],
    events: &mut Vec<(Duration, usize, Event)>,
) {
    for policy in 0..apps[0].fleets.len() {
        if policy > 0 && random.chance(0.6) {
            continue;
        }
        let found = random.chance(0.5);
        let mut regions = REGIONS.to_vec();
        if !found && random.chance(0.6) {
            regions.swap_remove(random.index(regions.len()));
        }
        let first = &apps[0].fleets[policy].rules;
        let own = regional_rules(random, first);
        // One of them may be the only one of a policy of its own.
        let policies = apps[0].fleets.iter().map(|fleet| fleet.policy);
        let next = policies.max().unwrap_or(0) + 1;
        let apart = !found && next < GAUGES.len() && random.chance(0.3);
        let others = apart.then(|| {
            let rules = Rules {
                interval: first.interval,
                timeout: first.timeout,
                concurrency: first.concurrency,
                which: first.which.clone(),
                busy: first.busy,
                ..rules(random)
            };
            (regional_rules(random, &rules), next)
        });
        let choices = [Asks::EachRegion, Asks::ByLabel, Asks::Whole];
        let asks = [pick(random, &choices), pick(random, &choices)];
        let busy_at_once = random.chance(0.5);
        let leaves_aside = found && random.chance(0.4);
        for (app, scene) in apps.iter_mut().enumerate() {
            let whole = scene.fleets[policy].clone();
            if leaves_aside {
                scene.leave_aside(&whole.rules.which, pick(random, &REGIONS));
            }
            let load = random.below(5) as f64;
            let mut places = Vec::new();
            for (number, region) in regions.iter().enumerate() {
                let other = others.as_ref().filter(|_| number == 0);
                let (rules, place) = other.map_or((&own, policy), |(rules, place)| (rules, *place));
                let asks = asks[usize::from(other.is_some())];
                let load = if asks == Asks::Whole {
                    load
                } else {
                    pick(random, &[0.0, 0.0, 1.0, 2.0, 4.0])
                };
                let fleet = FleetScene {
                    policy: place,
                    rules: Rules {
                        which: Which {
                            region: Some((*region).to_owned()),
                            ..whole.rules.which.clone()
                        },
                        found,
                        regions: vec![(*region).to_owned()],
                        own: whole.rules.own,
                        workers: whole.rules.workers,
                        protects: whole.rules.protects,
                        ..rules.clone()
                    },
                    gauge: GAUGES[place],
                    asks,
                    busy_at_once,
                    load: whole.load.map(|_| load),
                    ..whole.clone()
                };
                places.push(if number == 0 {
                    scene.fleets[policy] = fleet;
                    policy
                } else {
                    scene.fleets.push(fleet);
                    scene.fleets.len() - 1
                });
            }
            let fails = whole.load.is_none();
            let of_policy =
                |event: &Event| matches!(event, Event::Load { fleet, .. } if *fleet == policy);
            events.retain(|(_, other, event)| *other != app || !of_policy(event));
            let happening = events_of_regions(random, &places, fails);
            events.extend(happening.into_iter().map(|(at, event)| (at, app, event)));
        }
    }
}

/// What holds for each region of a group of which `rules` would hold: smaller numbers, of which each may be none.
fn regional_rules(random: &mut Random, rules: &Rules) -> Rules {
    let mut formula = |least| {
        let formula = formula(random, least);
        Formula {
            offset: pick(random, &[-2, -1, 0, 0, 0, 0, 1]),
            high: formula.low + small(random, 1, 3),
            ..formula
        }
    };
    let created = rules.created.is_some().then(|| formula(0));
    let started = rules.started.is_some().then(|| formula(0));
    Rules {
        created,
        started,
        floor: rules.floor.filter(|_| random.chance(0.3)),
        fallback_created: rules.fallback_created.map(|count| count.min(3)),
        ..rules.clone()
    }
}

/// What happens to the fleets of one group alone: their numbers change, one loses all of its machines, one gets some.
fn events_of_regions(random: &mut Random, fleets: &[usize], fails: bool) -> Vec<(Duration, Event)> {
    let mut events = Vec::new();
    for fleet in fleets.iter().copied() {
        let pace = pick(random, &[15, 30, 60, 120, 300]);
        let mut at = Duration::ZERO;
        while at < CALM {
            at += random.between(seconds(pace / 2), seconds(pace * 2));
            let load = pick(random, &[0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 5.0]);
            let load = (!fails).then_some(load);
            events.push((at.min(CALM), Event::Load { fleet, load }));
        }
    }
    let moments = |random: &mut Random, chance: f64, most: u64| -> Vec<Duration> {
        let count = if random.chance(chance) {
            1 + random.below(most)
        } else {
            0
        };
        let latest = CALM.saturating_sub(seconds(60));
        (0..count)
            .map(|_| random.between(seconds(1), latest))
            .collect()
    };
    // Where all of them want none, each could rely on another one's last.
    for at in moments(random, 0.6, 8) {
        let load = pick(random, &[0.0, 0.0, 0.0, 1.0, 3.0]);
        for fleet in fleets.iter().copied() {
            let load = (!fails).then_some(load);
            events.push((at, Event::Load { fleet, load }));
        }
    }
    for at in moments(random, 0.4, 3) {
        events.push((at, Event::Appear(pick(random, fleets))));
    }
    for at in moments(random, 0.4, 3) {
        events.push((at, Event::Vanish(pick(random, fleets))));
    }
    for at in moments(random, 0.2, 3) {
        let fleet = pick(random, fleets);
        let until = (at + random.between(seconds(15), seconds(200))).min(CALM);
        events.push((at, Event::Unlabelled { fleet, on: true }));
        events.push((until, Event::Unlabelled { fleet, on: false }));
    }
    events
}

/// Makes some of the policies ask how busy running machines are before these go.
fn ask_for_busy_machines(random: &mut Random, apps: &mut [Scene]) {
    for fleet in 0..apps[0].fleets.len() {
        let busy = maybe(random, 0.3, |random| Busy {
            limit: pick(random, &[None, Some(0), Some(1), Some(3)]),
        });
        for scene in &mut *apps {
            scene.fleets[fleet].rules.busy = busy;
        }
    }
}

/// Machines that die soon after each start, and workers that end when their job is done.
fn endings(random: &mut Random, rules: &Rules) -> Vec<(Duration, Event)> {
    let mut endings = Vec::new();
    if random.chance(0.25) {
        let (least, most) = pick(random, &[(400, 400), (400, 9000), (5000, 50_000)]);
        endings.push(Endings {
            share: pick(random, &[0.2, 0.5, 1.0]),
            auto_destroy: false,
            after: (Duration::from_millis(least), Duration::from_millis(most)),
            exit_code: pick(random, &[0, 0, 0, 1]),
        });
    }
    if rules.workers {
        endings.push(Endings {
            share: 1.0,
            auto_destroy: true,
            after: pick(
                random,
                &[
                    (seconds(5), seconds(25)),
                    (seconds(20), seconds(120)),
                    (seconds(60), seconds(600)),
                ],
            ),
            exit_code: 0,
        });
    }
    if endings.is_empty() {
        return Vec::new();
    }
    let from = random.between(Duration::ZERO, CALM / 2);
    vec![(from, Event::Endings(endings))]
}

/// Times in which the daemon's process does not run; what would happen meanwhile happens at their beginning.
fn freezes(random: &mut Random, events: &mut Vec<(Duration, usize, Event)>) -> Freezes {
    let mut freezes = Vec::new();
    if !random.chance(0.2) {
        return Freezes::default();
    }
    let mut from = random.between(seconds(1), CALM / 2);
    while from < CALM.saturating_sub(seconds(300)) {
        let longest = pick(random, &[40, 90, 240]);
        let length = random.between(seconds(15), seconds(longest));
        let until = from + length;
        for (at, ..) in events.iter_mut() {
            if (from..=until).contains(at) {
                *at = from;
            }
        }
        events.push((from, 0, Event::Freeze(length)));
        freezes.push((from, until));
        from = until + random.between(seconds(20), seconds(900));
    }
    Freezes(freezes)
}

fn pick<T: Clone>(random: &mut Random, choices: &[T]) -> T {
    choices[random.index(choices.len())].clone()
}

/// So many times of trouble at most, each of so many seconds at most.
fn windows(random: &mut Random, count: u64, longest: u64) -> Vec<(Duration, Duration)> {
    (0..random.below(count + 1))
        .map(|_| {
            let from = random.between(Duration::ZERO, CALM);
            let until = from + random.between(seconds(20), seconds(longest));
            (from, until.min(CALM))
        })
        .collect()
}

fn maybe<T>(random: &mut Random, chance: f64, value: impl FnOnce(&mut Random) -> T) -> Option<T> {
    random.chance(chance).then(|| value(random))
}

fn small(random: &mut Random, from: u64, to: u64) -> u32 {
    u32::try_from(from + random.below(to - from + 1)).unwrap_or(0)
}

fn formula(random: &mut Random, least: u64) -> Formula {
    let low = small(random, least, least + 1);
    Formula {
        offset: pick(random, &[-2, -1, 0, 0, 0, 1, 1, 2]),
        low,
        high: low + small(random, 3, 10),
        max: match random.below(8) {
            0 | 1 => Max::Above(small(random, 0, 2)),
            2 => Max::Fixed(small(random, 3, 12)),
            _ => Max::Same,
        },
        missing: maybe(random, 0.15, |random| small(random, 0, 8)),
    }
}

fn step(random: &mut Random) -> Step {
    match random.below(5) {
        0 => Step::Percent(50),
        1 => Step::Percent(10),
        2 if random.chance(0.2) => Step::Count(0),
        _ => Step::Count(small(random, 1, 3)),
    }
}

fn rules(random: &mut Random) -> Rules {
    let kinds = random.below(12);
    let created = (kinds < 10).then(|| formula(random, 1));
    let started = (kinds >= 6).then(|| formula(random, 0));
    let (floor, ceiling) = if created.is_some() {
        let floor = maybe(random, 0.25, |random| small(random, 1, 4));
        let ceiling = maybe(random, 0.35, |random| small(random, 4, 8));
        (floor, ceiling)
    } else {
        (None, None)
    };
    let window = |random: &mut Random| seconds(pick(random, &[0, 0, 0, 0, 0, 0, 0, 20, 60]));
    Rules {
        interval: seconds(pick(random, &[10, 15, 15, 20, 30])),
        timeout: seconds(pick(random, &[10, 20, 30, 30, 45])),
        fallback_created: created
            .as_ref()
            .and_then(|_| maybe(random, 0.25, |random| small(random, 1, 6))),
        fallback_started: started
            .as_ref()
            .and_then(|_| maybe(random, 0.25, |random| small(random, 1, 4))),
        fallback_after: usize::try_from(1 + random.below(4)).unwrap_or(3),
        created,
        started,
        floor,
        ceiling,
        up_step: maybe(random, 0.2, step),
        down_step: maybe(random, 0.2, step),
        up_window: window(random),
        down_window: window(random),
        regions: pick(
            random,
            &[
                vec![],
                vec![],
                vec!["ord"],
                vec!["ord", "iad"],
                vec!["iad", "ord", "fra"],
            ],
        )
        .into_iter()
        .map(str::to_owned)
        .collect(),
        initial_started: random.chance(0.6),
        suspends: random.chance(0.3),
        concurrency: pick(random, &[1, 2, 8, 8]),
        destroy_running_after: seconds(pick(random, &[0, 20, 45, 45, 90])),
        deploy_timeout: seconds(pick(random, &[120, 300, 600])),
        which: Which {
            group: pick(random, &["app", "app", "worker"]).to_owned(),
            region: None,
        },
        found: false,
        clone_volumes: random.chance(0.4),
        own: None,
        workers: false,
        protects: false,
        busy: None,
    }
}

fn span(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

/// What holds for all fleets, which only the top of a file and the environment have.
fn daemon_settings(rules: &Rules) -> Vec<(String, String)> {
    let settings = [
        ("INTERVAL", span(rules.interval)),
        ("TIMEOUT", span(rules.timeout)),
        ("API_CONCURRENCY", rules.concurrency.to_string()),
    ];
    let named = settings.map(|(name, value)| (format!("FAS_{name}"), value));
    named.into()
}

/// Tells what the fleets of an app go by: a single policy by the environment, several by a file, whose text is returned.
fn policies(
    scene: &Scene,
    metric_is_instances: bool,
    settings: &mut Vec<(String, String)>,
) -> Option<String> {
    let query = |FleetScene { gauge, asks, .. }: &FleetScene| match asks {
        Asks::Whole if metric_is_instances => "count(fly_instance_up{app='$APP_NAME'})".to_owned(),
        Asks::Whole => format!("sum({gauge}{{app='$APP_NAME'}})"),
        Asks::EachRegion => format!("sum({gauge}{{app='$APP_NAME',region='$REGION'}})"),
        Asks::ByLabel => format!("{gauge}{{app='$APP_NAME'}}"),
    };
    let collector = |fleet: &FleetScene| {
        [
            ("ADDRESS", "http://simulator/prometheus/acme".to_owned()),
            ("TOKEN", "FlyV1 fm2_metrics".to_owned()),
            ("METRIC_NAME", fleet.gauge.to_owned()),
            ("QUERY", query(fleet)),
        ]
    };
    let policy_settings = |fleets: &&[&FleetScene]| {
        let fleet = fleets[0];
        let mut settings = policy_settings(&fleet.rules, fleet.gauge);
        let is_regional = fleet.rules.which.region.is_some();
        let regions = fleets.iter().flat_map(|fleet| &fleet.rules.regions);
        let regions: Vec<&str> = regions
            .filter(|_| !fleet.rules.found)
            .map(String::as_str)
            .collect();
        settings.push(("REGIONS".to_owned(), regions.join(",")));
        if is_regional {
            settings.push(("PER_REGION".to_owned(), "true".to_owned()));
        }
        if let Some(busy) = fleet.rules.busy {
            let region = if is_regional && !fleet.busy_at_once {
                ",region='$REGION'"
            } else {
                ""
            };
            let query = format!("{BUSY}{}{{app='$APP_NAME'{region}}}", fleet.gauge);
            settings.push(("PROMETHEUS_BUSY_QUERY".to_owned(), query));
            let limit = busy.limit.map(|limit| limit.to_string());
            settings.extend(limit.map(|limit| ("BUSY_LIMIT".to_owned(), limit)));
        }
        settings
    };
    let mut by_policy: BTreeMap<usize, Vec<&FleetScene>> = BTreeMap::new();
    for fleet in &scene.fleets {
        by_policy.entry(fleet.policy).or_default().push(fleet);
    }
    let by_policy: Vec<&[&FleetScene]> = by_policy.values().map(Vec::as_slice).collect();
    if let [only] = &*by_policy {
        let of_collector = collector(only[0]).map(|(name, value)| {
            let name = format!("FAS_PROMETHEUS_{name}");
            (name, value)
        });
        let of_policy = policy_settings(only).into_iter();
        settings.extend(of_policy.map(|(name, value)| (format!("FAS_{name}"), value)));
        settings.extend(of_collector);
        return None;
    }
    let key = |name: &str| name.to_lowercase().replace('_', "-");
    let policies = by_policy.iter().map(|fleets| {
        let settings = policy_settings(fleets).into_iter();
        let mut policy: serde_json::Map<_, _> = settings
            .map(|(name, value)| (key(&name), json!(value)))
            .collect();
        let mut collector: serde_json::Map<_, _> = collector(fleets[0])
            .map(|(name, value)| (key(name), json!(value)))
            .into_iter()
            .collect();
        collector.insert("type".to_owned(), json!("prometheus"));
        policy.insert("metric-collectors".to_owned(), json!([collector]));
        policy
    });
    let policies: Vec<_> = policies.collect();
    Some(json!({ "policies": policies }).to_string())
}

/// What a policy says, by the names of the settings without what all begin with.
fn policy_settings(rules: &Rules, metric: &str) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut set = |name: &str, value: String| settings.push((name.to_owned(), value));
    set("SCALE_UP_STABILIZATION", span(rules.up_window));
    set("SCALE_DOWN_STABILIZATION", span(rules.down_window));
    set("DESTROY_RUNNING_AFTER", span(rules.destroy_running_after));
    set("DEPLOY_TIMEOUT", span(rules.deploy_timeout));
    set("PROCESS_GROUP", rules.which.group.clone());
    set("CLONE_VOLUMES", rules.clone_volumes.to_string());
    set(
        "STOP_ACTION",
        if rules.suspends { "suspend" } else { "stop" }.to_owned(),
    );
    let initial = if rules.initial_started {
        "started"
    } else {
        "stopped"
    };
    set("INITIAL_MACHINE_STATE", initial.to_owned());
    set("FALLBACK_AFTER", rules.fallback_after.to_string());
    for (name, value) in [
        ("MACHINE_FLOOR", rules.floor),
        ("MACHINE_CEILING", rules.ceiling),
        ("FALLBACK_CREATED_MACHINE_COUNT", rules.fallback_created),
        ("FALLBACK_STARTED_MACHINE_COUNT", rules.fallback_started),
    ] {
        if let Some(value) = value {
            set(name, value.to_string());
        }
    }
    for (name, step) in [("UP", rules.up_step), ("DOWN", rules.down_step)] {
        if let Some(step) = step {
            set(&format!("SCALE_{name}_STEP"), step.text());
        }
    }
    for (kind, formula) in [("CREATED", &rules.created), ("STARTED", &rules.started)] {
        if let Some(formula) = formula {
            formula.settings(kind, metric, &mut settings);
        }
    }
    settings
}

fn timing(random: &mut Random) -> Timing {
    let slow = random.chance(0.4);
    let span = |random: &mut Random, usual: u64, slowest: u64| {
        Duration::from_millis(usual)
            + if slow {
                random.between(Duration::ZERO, seconds(slowest))
            } else {
                Duration::ZERO
            }
    };
    Timing {
        prepare: (seconds(2), seconds(if slow { 40 } else { 9 })),
        start: span(random, 1500, 20),
        resume: span(random, 300, 5),
        stop: span(random, 1000, 30),
        suspend: span(random, 1000, 10),
        destroy: span(random, 1000, 30),
        launch_failed: span(random, 5000, 30),
        replace: span(random, 8000, 10),
    }
}

fn chaos(random: &mut Random, lost_creates: bool, longest_delay: Duration) -> Chaos {
    let mut chaos = Chaos {
        lost_creates,
        longest_delay,
        ..Chaos::default()
    };
    for operation in [
        Operation::Query,
        Operation::List,
        Operation::Graphql,
        Operation::Create,
        Operation::CreateVolume,
        Operation::ListVolumes,
        Operation::Destroy,
        Operation::Start,
        Operation::Stop,
        Operation::Suspend,
        Operation::Wait,
        Operation::Get,
    ] {
        let mut stormy = pick(random, &[0.0, 0.0, 0.1, 0.25, 0.5]);
        if matches!(operation, Operation::Create | Operation::Destroy) {
            stormy = pick(random, &[0.0, 0.2, 0.4, 0.6]);
        }
        let calm = stormy * pick(random, &[0.0, 0.2, 1.0]);
        if stormy > 0.0 {
            chaos.rates.insert(operation, (stormy, calm));
        }
    }
    chaos.storms = windows(random, 8, 600);
    if random.chance(0.3) {
        chaos.creates_fail = windows(random, 3, 600)
            .into_iter()
            .map(|(from, until)| (from, until, pick(random, &[422, 400, 500, 503, 429])))
            .collect();
    }
    if random.chance(0.45) {
        chaos.destroys_lost = windows(random, 10, 900);
    }
    if random.chance(0.1) {
        chaos.unauthorized = windows(random, 2, 90)
            .into_iter()
            .map(|(from, until)| {
                let only = pick(
                    random,
                    &[
                        None,
                        Some(Operation::Create),
                        Some(Operation::Destroy),
                        Some(Operation::Start),
                    ],
                );
                (from, until, only)
            })
            .collect();
    }
    chaos
}

fn fleet(random: &mut Random, rules: &mut Rules) -> Vec<Start> {
    let size = 1 + random.below(7);
    let other = if rules.which.group == "app" {
        "jobs"
    } else {
        "app"
    };
    let mixed_releases = random.chance(0.3);
    let mounts = random.chance(0.15);
    let odd = pick(random, &[0.0, 0.0, 0.15, 0.35]);
    let regions = ["ord", "iad", "fra"];
    let spread = 1 + random.index(3);
    let mut fleet = Vec::new();
    let mut special = vec![""; usize::try_from(size).unwrap_or(1)];
    for kind in ["other", "standby", "scheduled", "auto_destroy", "protected"] {
        if random.chance(0.3) {
            special.push(kind);
        }
    }
    for (number, kind) in special.into_iter().enumerate() {
        let mut state = match random.below(10) {
            0..=4 => MachineState::Started,
            5 | 6 => MachineState::Stopped,
            7 => MachineState::Suspended,
            8 if random.chance(0.5) => MachineState::Failed,
            _ => MachineState::Stopped,
        };
        if number == 0 {
            state = pick(random, &[MachineState::Started, MachineState::Stopped]);
        }
        let mut metadata = json!({ "fly_platform_version": "v2" });
        let group = if kind == "other" {
            other
        } else {
            &rules.which.group
        };
        metadata["fly_process_group"] = json!(group);
        let release = maybe(random, 0.95, |random| {
            if mixed_releases {
                1 + random.below(3)
            } else {
                1
            }
        });
        if let Some(release) = release {
            metadata["fly_release_version"] = json!(release.to_string());
        }
        if kind == "protected" || random.chance(odd / 2.0) {
            metadata["fas_protect"] = json!("true");
            rules.protects = true;
        }
        let mut config = json!({
            // One of no release has an image of its own: the first deploy's has the tag v1, and another digest.
            "image": format!("registry.fly.io/web:v{0}@sha256:{0:064}", release.unwrap_or(0)),
            "env": { "ORIGIN": number.to_string() },
            "guest": { "cpu_kind": "shared", "cpus": 1, "memory_mb": pick(random, &[256, 256, 4096]) },
            "metadata": metadata,
        });
        match kind {
            "standby" => {
                config["standbys"] = json!(["148e123c456789"]);
                state = MachineState::Stopped;
            }
            "scheduled" => config["schedule"] = json!("daily"),
            "auto_destroy" => config["auto_destroy"] = json!(true),
            _ if random.chance(odd / 3.0) => config["auto_destroy"] = json!(true),
            _ => {}
        }
        if random.chance(0.5) {
            config["stop_config"] = json!({ "timeout": format!("{}s", 5 + random.below(30)) });
        }
        fleet.push(Start {
            region: regions[random.index(spread)].to_owned(),
            group: group.to_owned(),
            state,
            release,
            cordoned: false,
            stop_takes: maybe(random, 0.5, |random| {
                random.between(seconds(1), seconds(40))
            }),
            mounts: mounts && random.chance(0.8) && !matches!(kind, "standby" | "scheduled"),
            config,
        });
    }
    if random.chance(0.15) {
        rules.own = Some(random.index(fleet.len()));
    }
    fleet
}

fn events(random: &mut Random, rules: &Rules, fleet: &mut [Start]) -> Vec<(Duration, Event)> {
    let mut events = Vec::new();
    let moments = |random: &mut Random, most: u64| -> Vec<Duration> {
        (0..random.below(most + 1))
            .map(|_| random.between(seconds(1), CALM.saturating_sub(seconds(60))))
            .collect()
    };
    let pace = pick(random, &[8, 15, 30, 60, 120]);
    let mut at = Duration::ZERO;
    while at < CALM {
        at += random.between(seconds(pace / 2), seconds(pace * 2));
        let load = Some(random.below(12) as f64);
        events.push((at.min(CALM), Event::Load { fleet: 0, load }));
    }
    if random.chance(0.35) {
        for from in moments(random, 3) {
            let until = from + random.between(seconds(15), seconds(300));
            events.push((from, Event::MetricsSilent(true)));
            events.push((until.min(CALM), Event::MetricsSilent(false)));
        }
    }
    if random.chance(0.4) {
        for from in moments(random, 4) {
            let (which, cut_off) = (random.bits(), random.chance(0.6));
            let until = from + random.between(seconds(5), seconds(400));
            events.push((
                from,
                Event::Host {
                    which,
                    down: true,
                    cut_off,
                },
            ));
            events.push((until.min(CALM), Event::HostsBack));
        }
    }
    if random.chance(0.3) {
        for at in moments(random, 12) {
            let ttl = random.between(seconds(5), seconds(120));
            events.push((
                at,
                Event::Lease {
                    which: random.bits(),
                    ttl,
                },
            ));
        }
    }
    if random.chance(0.4) {
        let most = pick(random, &[20, 150]);
        for at in moments(random, most) {
            let code = pick(random, &[0, 0, 1]);
            events.push((
                at,
                Event::Exit {
                    which: random.bits(),
                    code,
                },
            ));
        }
    }
    if rules.protects && random.chance(0.5) {
        for at in moments(random, 8) {
            let on = random.chance(0.5);
            events.push((
                at,
                Event::Protect {
                    which: random.bits(),
                    on,
                },
            ));
        }
    }
    if random.chance(0.4) {
        for at in moments(random, 3) {
            if at < CALM.saturating_sub(seconds(600)) {
                events.push((at, Event::Deploy(deploy(random, rules))));
            }
        }
    }
    // A blue-green deploy that somebody left half done before the beginning.
    if random.chance(0.06) && fleet.len() > 1 {
        if let Some(start) = fleet
            .iter_mut()
            .skip(1)
            .find(|start| start.group == rules.which.group)
        {
            start.cordoned = true;
            start.release = Some(9);
            start.config["metadata"]["fly_release_version"] = json!("9");
        }
    }
    for (chance, launch) in [(0.2, true), (0.2, false)] {
        if random.chance(chance) {
            for from in moments(random, 3) {
                let rate = pick(random, &[0.3, 1.0]);
                let until = (from + random.between(seconds(30), seconds(400))).min(CALM);
                let event = |rate| {
                    if launch {
                        Event::LaunchFailures(rate)
                    } else {
                        Event::StartFailures(rate)
                    }
                };
                events.push((from, event(rate)));
                events.push((until, event(0.0)));
            }
        }
    }
    if random.chance(0.2) {
        for at in moments(random, 3) {
            let region = pick(random, &["ord", "iad", "fra"]).to_owned();
            let machines = Some(usize::try_from(random.below(4)).unwrap_or(0));
            let until = (at + random.between(seconds(30), seconds(600))).min(CALM);
            events.push((
                at,
                Event::Capacity {
                    region: region.clone(),
                    machines,
                },
            ));
            events.push((
                until,
                Event::Capacity {
                    region,
                    machines: None,
                },
            ));
        }
    }
    if random.chance(0.1) {
        for at in moments(random, 2) {
            let until = (at + random.between(seconds(30), seconds(600))).min(CALM);
            events.push((at, Event::MachineLimit(Some(4))));
            events.push((until, Event::MachineLimit(None)));
        }
    }
    if random.chance(0.15) {
        for at in moments(random, 3) {
            events.push((
                at,
                Event::HostFull {
                    which: random.bits(),
                    full: true,
                },
            ));
        }
    }
    if random.chance(0.4) {
        let settings = ProxySettings {
            soft_limit: 5.0,
            autostop: pick(random, &[Autostop::Off, Autostop::Stop, Autostop::Suspend]),
            group: rules.which.group.clone(),
            stop_every: seconds(pick(random, &[20, 60, 180])),
            ..ProxySettings::default()
        };
        events.push((Duration::ZERO, Event::Proxy(Some(settings))));
        for at in moments(random, 30) {
            events.push((at, Event::Traffic(random.below(40) as f64)));
        }
    }
    if random.chance(0.3) {
        let at = random.between(seconds(1), CALM.saturating_sub(seconds(120)));
        events.push((at, pick(random, &[Event::Kill, Event::Kill, Event::Stop])));
    }
    events
}

fn deploy(random: &mut Random, rules: &Rules) -> Deploy {
    let strategy = pick(random, &[Strategy::Rolling, Strategy::BlueGreen]);
    let outcome = pick(
        random,
        &[
            Outcome::Complete,
            Outcome::Complete,
            Outcome::Failed,
            Outcome::Interrupted,
            Outcome::Dies,
        ],
    );
    let deploy = Deploy::new(strategy);
    let deploy = if outcome == Outcome::Complete {
        deploy
    } else {
        let steps = small(random, 0, 8);
        deploy.ending(outcome, steps)
    };
    Deploy {
        pace: random.between(seconds(1), seconds(15)),
        leases: random.chance(0.8),
        group: if random.chance(0.5) {
            rules.which.group.clone()
        } else {
            String::new()
        },
        ..deploy
    }
}

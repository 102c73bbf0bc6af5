//! The director: goes through the script as the platform's time passes, tells of it, and counts.
//!
//! It has no clock of its own: each look is at the platform's present moment, and what was to happen since the last look
//! happens then. Its lines are for people who read them beside the daemon's log.

use std::{collections::VecDeque, fmt::Display, time::Duration};

use super::{
    Cast, Event, Phase, Range, Tally,
    script::{Cue, HOUR, clock, cues, day_number},
    stage::{self, APP, FAILING},
};
use crate::sim::{
    Actor, App, Change, ChangeKind, MachineState, Operation, Platform, RequestRecord,
};

/// How often to look, in the platform's time: often enough that what is told is news.
pub const LOOK: Duration = Duration::from_secs(5);

/// How many passes over the app of the story an outage lasts for at least. At high speeds a pass that waits for its creates
/// could sleep through all of it.
const OUTAGE_PASSES: u64 = 3;

/// How many of the day's events are kept for who looks.
const EVENTS: usize = 12;

/// The director of one performance.
#[derive(Debug)]
pub struct Director {
    cast: Cast,
    /// Whether there is one day only.
    once: bool,
    tally: Tally,
    /// Up to when the script has been played, itself not included.
    played: Duration,
    /// How many changes, and how many requests, of the platform have been counted.
    counted: (u64, u64),
    /// What had been refused before the event that goes on.
    refused_before: u64,
    /// How many passes over the app of the story have been without the metric in the outage that goes on.
    outage_passes: u64,
    /// The end of an outage that is due, and has to wait for passes.
    held: Option<Cue>,
    /// What has begun and ended lately, the oldest first.
    events: VecDeque<Told>,
    had_reserve: bool,
}

/// Something that began or ended, for who looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// When, since the simulation's start.
    pub at: Duration,
    /// When, on the day's clock.
    pub clock: String,
    /// What.
    pub text: String,
}

/// What there is to tell, each with the day's time.
#[derive(Debug, Default)]
struct Lines(Vec<(Duration, String)>);

impl Lines {
    fn tell(&mut self, at: Duration, text: &str) {
        self.tell_with(at, &clock(at), text);
    }

    fn tell_with(&mut self, at: Duration, clock: &str, text: &str) {
        self.0.push((at, format!("platform: {clock} {text}")));
    }

    fn in_order(mut self) -> Vec<String> {
        self.0.sort_by_key(|(at, _)| *at);
        self.0.into_iter().map(|(_, line)| line).collect()
    }
}

/// The machines at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Scene {
    requests: f64,
    waiting: f64,
    machines: u32,
    running: u32,
    /// Stopped, and the proxy may wake them.
    reserve: u32,
}

impl Director {
    /// A director before the first day, which is the only one where `once` says so.
    #[must_use]
    pub fn new(cast: Cast, once: bool) -> Self {
        Self {
            cast,
            once,
            tally: Tally::default(),
            played: Duration::ZERO,
            counted: (0, 0),
            refused_before: 0,
            outage_passes: 0,
            held: None,
            events: VecDeque::new(),
            had_reserve: true,
        }
    }

    /// Who plays.
    #[must_use]
    pub const fn cast(&self) -> Cast {
        self.cast
    }

    /// What has been counted so far.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How far the script has been played, in the platform's time.
    #[must_use]
    pub const fn played(&self) -> Duration {
        self.played
    }

    /// Whether all has been played, and has ended; a deploy that began late may outlast the day.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let goes_on = |event: &Event| self.tally.goes_on(*event);
        self.is_the_end() && !Event::ALL.iter().any(goes_on)
    }

    /// Whether nothing more is to begin.
    fn is_the_end(&self) -> bool {
        self.once && self.tally.ended.contains_key(&Event::Day)
    }

    /// Lets happen what was to happen since the last look, and says what there is to tell.
    pub fn look(&mut self, platform: &mut Platform) -> Vec<String> {
        let now = platform.now();
        let until = now.saturating_add(Duration::from_nanos(1));
        let mut lines = Lines::default();
        self.count(platform, &mut lines);
        for cue in cues(self.played, until) {
            if self.is_the_end() {
                continue;
            }
            match (cue.event, cue.phase) {
                (Event::Outage, Phase::Ends) => self.held = Some(cue),
                // The last day's still goes on.
                (Event::Outage, Phase::Begins) if self.tally.goes_on(Event::Outage) => {}
                _ => self.play(cue, platform, &mut lines),
            }
        }
        if self.outage_passes >= OUTAGE_PASSES
            && let Some(cue) = self.held.take()
        {
            // At its time, unless that is long past.
            let at = if now.saturating_sub(cue.at) < HOUR / 2 {
                cue.at
            } else {
                now
            };
            self.play(Cue { at, ..cue }, platform, &mut lines);
        }
        let scene = Scene::of(platform);
        self.measure(&scene, now.saturating_sub(self.played));
        let hours = |moment: Duration| moment.as_secs() / HOUR.as_secs();
        if hours(now) > hours(self.played) && !self.is_the_end() {
            let text = format!("{}; {}", requests(&scene), self.machines(&scene));
            lines.tell(now, &text);
        }
        if self.cast.apps == 1 && scene.reserve > 0 && !self.had_reserve {
            lines.tell(
                now,
                "a machine is in reserve again, which Fly Proxy can wake",
            );
        }
        self.had_reserve = scene.reserve > 0;
        self.played = until;
        lines.in_order()
    }

    /// Carries out one cue.
    fn play(&mut self, cue: Cue, platform: &mut Platform, lines: &mut Lines) {
        let Cue { at, phase, event } = cue;
        match phase {
            Phase::Begins => {
                let machines = platform.living(APP, "");
                stage::begin(event, platform);
                self.refused_before = self.refused();
                if event == Event::Outage {
                    self.outage_passes = 0;
                }
                self.tally.begins(event);
                let text = beginning(event, at, release(platform).0, machines);
                lines.tell(at, &text);
                self.note(at, clock(at), text);
            }
            Phase::Ends => {
                stage::end(event, platform);
                let refused = self.refused() - self.refused_before;
                self.tally.ends(event);
                let text = ending(event, at, refused);
                // The day's clock would show the next day's first moment.
                let clock = match event {
                    Event::Day => "24:00".to_owned(),
                    _ => clock(at),
                };
                lines.tell_with(at, &clock, &text);
                self.note(at, clock, text);
            }
        }
    }

    fn note(&mut self, at: Duration, clock: String, text: String) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(Told { at, clock, text });
    }

    /// What began and ended lately, the newest first.
    pub fn told(&self) -> impl Iterator<Item = &Told> {
        self.events.iter().rev()
    }

    /// What goes on now beside the day itself, in words.
    pub fn going_on(&self) -> impl Iterator<Item = &'static str> {
        let all = Event::ALL.into_iter();
        all.filter(|event| self.tally.goes_on(*event))
            .filter_map(Event::going_on)
    }

    /// What has been refused by an event.
    fn refused(&self) -> u64 {
        self.tally.refused_creates + self.tally.refused_queries
    }

    /// Counts what has happened since the last look, and tells of what the platform did by itself.
    fn count(&mut self, platform: &Platform, lines: &mut Lines) {
        let (changes, requests) = (platform.changes(), platform.requests());
        for change in changes.since(self.counted.0) {
            self.count_change(change, lines);
        }
        for request in requests.since(self.counted.1) {
            self.count_request(request);
        }
        self.counted = (changes.total(), requests.total());
        let is_deploying = platform.app(APP).is_some_and(App::is_deploying);
        if self.tally.goes_on(Event::Deploy) && !is_deploying {
            let (version, status) = release(platform);
            let text = format!("the deploy of release {version} has ended: {status}");
            let now = platform.now();
            lines.tell(now, &text);
            self.note(now, clock(now), text);
            self.tally.release = Some((version, status));
            self.tally.ends(Event::Deploy);
        }
    }

    fn count_change(&mut self, change: &Change, lines: &mut Lines) {
        let counter = match (change.actor, change.kind) {
            (Actor::Api, ChangeKind::Create) => &mut self.tally.created,
            (Actor::Api, ChangeKind::Destroy) => &mut self.tally.destroyed,
            (Actor::Api, ChangeKind::Start) => &mut self.tally.started,
            (Actor::Api, ChangeKind::Stop | ChangeKind::Suspend) => &mut self.tally.stopped,
            (Actor::Proxy, ChangeKind::Start) => &mut self.tally.woken,
            (Actor::Proxy, ChangeKind::Stop | ChangeKind::Suspend) => &mut self.tally.put_to_rest,
            _ => return,
        };
        *counter += 1;
        match change.actor {
            Actor::Proxy if self.cast.apps == 1 => {
                let does = if change.kind == ChangeKind::Start {
                    "wakes"
                } else {
                    "stops"
                };
                let machine = &change.machine;
                let text = format!(
                    "Fly Proxy {does} machine {} in {}",
                    machine.id, machine.region
                );
                lines.tell(change.at, &text);
            }
            Actor::Api => {
                if self.tally.goes_on(Event::Deploy) && *change.app == *APP {
                    self.tally.writes_during_deploys += 1;
                }
                if self.tally.goes_on(Event::FailingRegion) && change.kind == ChangeKind::Create {
                    self.tally.created_elsewhere += 1;
                }
            }
            _ => {}
        }
    }

    fn count_request(&mut self, request: &RequestRecord) {
        let is_refused = request.status.is_some_and(|status| status >= 400);
        match request.operation {
            Operation::Unexpected => self.tally.unknown_requests += 1,
            Operation::Create if is_refused && self.tally.goes_on(Event::FailingRegion) => {
                self.tally.refused_creates += 1;
            }
            Operation::Query if is_refused && self.tally.goes_on(Event::Outage) => {
                self.tally.refused_queries += 1;
                let query = request.parameter("query").unwrap_or_default();
                self.outage_passes += u64::from(query.contains(&format!("'{APP}'")));
            }
            _ => {}
        }
    }

    /// Takes a scene into account that has lasted for so long.
    fn measure(&mut self, scene: &Scene, lasted: Duration) {
        let tally = &mut self.tally;
        tally.machines = Some(Range::with(tally.machines, scene.machines));
        tally.running = Some(Range::with(tally.running, scene.running));
        tally.requests += scene.requests * lasted.as_secs_f64();
        tally.waiting += scene.waiting * lasted.as_secs_f64();
    }

    /// How many machines there are, in words.
    fn machines(&self, scene: &Scene) -> String {
        let Scene {
            machines,
            running,
            reserve,
            ..
        } = *scene;
        let of_apps = match self.cast.apps {
            1 => String::new(),
            apps => format!(" of {apps} apps"),
        };
        let others = machines.saturating_sub(running + reserve);
        let others = match others {
            0 => String::new(),
            others => format!(", {others} on the way"),
        };
        let machines = counted(machines, "machine");
        format!("{machines}{of_apps}: {running} running, {reserve} in reserve{others}")
    }
}

impl Scene {
    fn of(platform: &Platform) -> Self {
        let now = platform.now();
        let mut scene = Self::default();
        for app in platform.apps() {
            scene.requests += app.load_at(now);
            scene.waiting += app.waiting_at(now);
            for machine in app.living("") {
                scene.machines += 1;
                scene.running += u32::from(machine.state == MachineState::Started);
                scene.reserve +=
                    u32::from(machine.state == MachineState::Stopped && !machine.cordoned);
            }
        }
        scene
    }
}

fn requests(scene: &Scene) -> String {
    // A whole number to read; half a request is none.
    let waiting = match scene.waiting.round() {
        waiting if waiting > 0.0 => format!(" ({waiting:.0} more than the running machines take)"),
        _ => String::new(),
    };
    format!("{:.0} requests at once{waiting}", scene.requests)
}

/// What begins; a deploy is of `release`, of an app with so many `machines`.
fn beginning(event: Event, at: Duration, release: u64, machines: usize) -> String {
    match event {
        Event::Day => format!(
            "day {} begins: there are the fewest requests now, and the most at 12:00",
            day_number(at)
        ),
        Event::FailingRegion => {
            format!("region {FAILING} fails from now on: it has no room for new machines")
        }
        Event::Deploy => format!(
            "a blue-green deploy of {APP} begins: release {release} gets {} of its own, \
             then the old ones are destroyed",
            counted(machines, "machine")
        ),
        Event::Outage => {
            "Prometheus is away from now on: it answers every query with 503".to_owned()
        }
    }
}

/// What ends, after it has refused so much. A deploy ends by itself, and not by the script.
fn ending(event: Event, at: Duration, refused: u64) -> String {
    match event {
        Event::Day => format!("day {} ends", day_number(at).saturating_sub(1)),
        Event::FailingRegion => format!(
            "region {FAILING} has room again; it has refused {}",
            counted(refused, "create")
        ),
        Event::Deploy => "the deploy ends".to_owned(),
        Event::Outage => format!(
            "Prometheus is back; it has refused {}",
            counted(refused, "query")
        ),
    }
}

/// The version and the status of the story's app's newest release.
fn release(platform: &Platform) -> (u64, String) {
    let release = platform.app(APP).and_then(App::release);
    release.map_or((0, "gone".to_owned()), |release| {
        (release.version, release.status.clone())
    })
}

/// A number and what it counts, in its plural where that is due.
pub(super) fn counted<Count: Display>(count: Count, what: &str) -> String {
    let count = count.to_string();
    match (&*count, what.strip_suffix('y')) {
        ("1", _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        _ => format!("{count} {what}s"),
    }
}

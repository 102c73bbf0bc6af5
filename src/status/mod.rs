//! The record: what each fleet is, was, and what was decided about it and why.
//!
//! A pass writes one value a fleet, and everything that is shown is made from it: `/metrics`, `/api/status`, the page.
//! Who reads holds up nobody for longer than one fleet takes to be copied. From `seeing.md`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    clock::Clock,
    lock::Role,
    peers::Others,
    report::PassReport,
    scaling::{FleetName, TargetExpressions},
    shown,
};

mod fleet;
mod history;
mod json;
mod recent;
mod series;

pub use fleet::{Fleet, LastPass, MetricReading, PANICKED, PastDecision, PastError, Standing};
pub use history::{History, Point, RESOLUTION, Span};
pub use json::Selection;
pub use recent::{Recent, Repeated};

/// What all fleets have in common.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `FAS_INTERVAL`.
    pub interval: Duration,
    /// `FAS_DRY_RUN`.
    pub dry_run: bool,
    /// `FAS_APP_NAME`, as it was set; of several policies one after the other.
    pub app_pattern: String,
    /// The expressions of the only policy; `None`: there are several.
    pub targets: Option<Arc<TargetExpressions>>,
}

/// How this copy of the program stands at one moment.
#[derive(Debug, Clone)]
pub struct ThisCopy {
    /// Whether passes succeed; else why not.
    pub readiness: Result<(), String>,
    /// What it is among those that share its lock; `None`: it has none.
    pub role: Option<Role>,
    /// Others that run beside it without a lock.
    pub others: Option<Others>,
}

/// The record of all fleets; clones share it.
#[derive(Debug, Clone)]
pub struct Status(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    started_at: Timestamp,
    /// How far the points of a history are apart at least.
    resolution: Duration,
    board: Mutex<Board>,
    /// What is played, where the platform is no real one.
    demo: Mutex<Option<Demo>>,
}

/// The demo that is played: what a page says of it, so that nobody takes it for a real platform.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demo {
    /// Which moment of its day it is: `day 1, 15:20`.
    pub moment: String,
    /// What goes on now.
    pub going_on: Vec<&'static str>,
    /// What began and ended lately, the newest first.
    pub events: Vec<DemoEvent>,
}

/// Something that happened in a demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoEvent {
    /// When.
    pub at: Timestamp,
    /// When, on the clock of the demo's day.
    pub clock: String,
    /// What.
    pub text: String,
}

#[derive(Debug, Default)]
struct Board {
    settings: Option<Arc<Settings>>,
    fleets: BTreeMap<FleetName, Arc<Mutex<Fleet>>>,
}

impl Status {
    /// A record without fleets.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self::with_resolution(clock, history::RESOLUTION)
    }

    /// As [`Status::new`], with points of history closer together than a minute, for who has no day to wait.
    #[must_use]
    pub fn with_resolution(clock: Clock, resolution: Duration) -> Self {
        Self(Arc::new(Shared {
            clock,
            started_at: clock.now().wall,
            resolution,
            board: Mutex::default(),
            demo: Mutex::default(),
        }))
    }

    /// Tells what of a demo is to be shown.
    pub fn play(&self, demo: Demo) {
        *lock(&self.0.demo) = Some(demo);
    }

    /// What is shown of a demo; `None` in earnest.
    #[must_use]
    pub fn demo(&self) -> Option<Demo> {
        lock(&self.0.demo).clone()
    }

    /// Tells what the fleets that come have in common.
    pub fn configure(&self, settings: Settings) {
        self.board().settings = Some(Arc::new(settings));
    }

    /// What the fleets have in common; `None` before it is known.
    #[must_use]
    pub fn settings(&self) -> Option<Arc<Settings>> {
        self.board().settings.clone()
    }

    /// Whether nothing is changed, whatever is decided.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.settings().is_some_and(|settings| settings.dry_run)
    }

    /// The clock of the record's times.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// How far the points of a history are apart at least.
    #[must_use]
    pub fn resolution(&self) -> Duration {
        self.0.resolution
    }

    /// When the daemon began.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.0.started_at
    }

    /// A fleet is scaled from now on, as `standing` says, to what `targets` ask for.
    pub fn appear(
        &self,
        name: &FleetName,
        targets: &Arc<TargetExpressions>,
        standing: Standing,
        next_pass_at: Timestamp,
    ) {
        let mut board = self.board();
        let Some(settings) = board.settings.clone() else {
            return;
        };
        let new = || Fleet::new(name.clone(), settings, Arc::clone(targets));
        let fleet = board
            .fleets
            .entry(name.clone())
            .or_insert_with(|| Arc::new(Mutex::new(new())));
        let mut fleet = lock(fleet);
        fleet.standing = standing;
        fleet.next_pass_at = Some(next_pass_at);
    }

    /// A pass over a fleet is over, or has panicked where there is no report.
    pub fn passed(
        &self,
        name: &FleetName,
        report: Option<PassReport>,
        standing: Standing,
        next_pass_at: Timestamp,
    ) {
        let (fleet, fleets) = {
            let board = self.board();
            let Some(fleet) = board.fleets.get(name) else {
                return;
            };
            (Arc::clone(fleet), board.fleets.len())
        };
        let now = self.0.clock.now().wall;
        let mut fleet = lock(&fleet);
        fleet.standing = standing;
        fleet.next_pass_at = Some(next_pass_at);
        match report {
            Some(report) => fleet.take(report, now, fleets, self.0.resolution),
            None => fleet.note_panic(now, fleets),
        }
    }

    /// An app is no longer scaled.
    pub fn forget(&self, app: &str) {
        self.board().fleets.retain(|name, _| &*name.app != app);
    }

    /// A fleet of an app that is scaled on is none any longer.
    pub fn forget_fleet(&self, name: &FleetName) {
        self.board().fleets.remove(name);
    }

    /// How many fleets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.board().fleets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks at one fleet after the other, by name.
    pub fn each(&self, mut look: impl FnMut(&Fleet)) {
        // They are not held while the next one is looked at, so that no pass waits for a reader of them all.
        let fleets: Vec<_> = self.board().fleets.values().cloned().collect();
        for fleet in fleets {
            look(&lock(&fleet));
        }
    }

    /// Looks at the fleets of one app.
    pub fn each_of(&self, app: &str, mut look: impl FnMut(&Fleet)) {
        let fleets: Vec<_> = of_app(&self.board(), app).collect();
        for fleet in fleets {
            look(&lock(&fleet));
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.0.board)
    }
}

/// A sentence of the record, as it may be shown: of at most a thousand characters.
#[must_use]
pub fn shown_sentence(text: &str) -> String {
    shown::line(text, 1000)
}

/// A name that a peer gave, as it may be shown: of at most eighty characters.
#[must_use]
pub fn shown_name(text: &str) -> String {
    shown::line(text, 80)
}

fn of_app<'board>(
    board: &'board Board,
    app: &str,
) -> impl Iterator<Item = Arc<Mutex<Fleet>>> + use<'board> {
    let app: Arc<str> = app.into();
    let first = FleetName::before_all_of(Arc::clone(&app));
    board
        .fleets
        .range(first..)
        .take_while(move |(name, _)| name.app == app)
        .map(|(_, fleet)| Arc::clone(fleet))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

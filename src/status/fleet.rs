//! One fleet's part of the record.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{History, Point, Recent, Settings};
use crate::{
    inventory::Inventory,
    labels::PassError,
    report::{Limits, PassReport},
    scaling::{Decision, FleetName, Note, Reason, StateLabel, TargetExpressions, Targets},
    shown::excerpt,
};

/// The most decisions that are kept of a fleet, and of all fleets together.
const DECISIONS: (usize, usize) = (50, 50_000);

/// The most errors that are kept of a fleet, and of all fleets together.
const ERRORS: (usize, usize) = (20, 20_000);

/// What is said of a pass that panicked.
pub const PANICKED: &str = "the pass panicked (a bug); its state starts empty";

/// The longest error that is kept, in characters.
const ERROR_LIMIT: usize = 1000;

/// How an app's passes have gone so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// How many failed in a row; 0 is well.
    pub failing_passes: u32,
    /// When the last one that succeeded ended; `None`: none has.
    pub last_success: Option<Timestamp>,
}

/// What is known of one fleet.
#[derive(Debug)]
pub struct Fleet {
    /// Which one it is.
    pub name: FleetName,
    /// What it has in common with the others.
    pub settings: Arc<Settings>,
    /// What is wanted of it.
    pub targets: Arc<TargetExpressions>,
    /// How its passes have gone.
    pub standing: Standing,
    /// When the next pass begins.
    pub next_pass_at: Option<Timestamp>,
    /// The last pass; `None` before the first one is over.
    pub last_pass: Option<LastPass>,
    /// The machines as the last list that was answered shows them; `None` before there is one.
    pub inventory: Option<Inventory>,
    /// Every state that one of its machines is or was in.
    pub states: Vec<StateLabel>,
    /// The last decisions that did something or failed.
    pub decisions: Recent<PastDecision>,
    /// The last things that went wrong.
    pub errors: Recent<PastError>,
    /// How its numbers went.
    pub history: History,
}

/// The last pass over a fleet.
#[derive(Debug, Clone, PartialEq)]
pub struct LastPass {
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The metrics, by name.
    pub metrics: Box<[MetricReading]>,
    /// What the expressions ask for.
    pub targets: Targets,
    /// What is left of that after limits.
    pub limited: Limits,
    /// What was decided.
    pub decision: PastDecision,
    /// Since when passes have had to tell what somebody should look at, each by its note's code.
    pub troubled_since: Box<[(&'static str, Timestamp)]>,
}

impl LastPass {
    /// Since when a pass after the other has had a note of this kind; `None` where nobody has to look at it.
    #[must_use]
    pub fn since(&self, note: &Note) -> Option<Timestamp> {
        let mut troubles = self.troubled_since.iter();
        let found = troubles.find(|(code, _)| *code == note.code())?;
        Some(found.1)
    }
}

/// One metric of one pass.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricReading {
    /// Its name.
    pub name: Box<str>,
    /// Its value, or why it has none.
    pub value: Result<f64, Box<str>>,
}

/// What a pass decided, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct PastDecision {
    /// What.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
    /// What was going to be done, in words; nothing where nothing was.
    pub planned: Option<Box<str>>,
    /// What else there is to say.
    pub notes: Box<[Note]>,
    /// Whether a machine was changed.
    pub acted: bool,
    /// Whether the pass did what it should.
    pub ok: bool,
}

impl PastDecision {
    fn of(report: &mut PassReport) -> Self {
        Self {
            decision: report.decision,
            reason: report.reason,
            planned: report.planned.take().map(Into::into),
            ok: report.succeeded(),
            notes: std::mem::take(&mut report.notes).into(),
            acted: !report.done.is_empty(),
        }
    }

    /// The stable code of its reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }

    /// What was decided and why, in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match &self.planned {
            Some(planned) => format!("{planned}: {}", self.reason),
            None => self.reason.to_string(),
        }
    }

    /// Whether another one is this once more: a plan that comes to nothing again and again, as one of a dry run does.
    fn is_repeated_by(&self, other: &Self) -> bool {
        !self.acted
            && !other.acted
            && self.ok == other.ok
            && self.decision == other.decision
            && self.planned == other.planned
            && self.code() == other.code()
    }
}

/// What went wrong in a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastError {
    /// The closed reason.
    pub reason: PassError,
    /// What happened.
    pub text: Box<str>,
    /// The metric whose source refuses what it is shown, if that is what happened.
    pub refused_metric: Option<Box<str>>,
}

impl PastError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.reason.as_str()
    }
}

impl Fleet {
    pub(super) fn new(
        name: FleetName,
        settings: Arc<Settings>,
        targets: Arc<TargetExpressions>,
    ) -> Self {
        Self {
            name,
            settings,
            targets,
            standing: Standing::default(),
            next_pass_at: None,
            last_pass: None,
            inventory: None,
            states: Vec::new(),
            decisions: Recent::default(),
            errors: Recent::default(),
            history: History::default(),
        }
    }

    /// Takes what became of a pass.
    pub(super) fn take(
        &mut self,
        mut report: PassReport,
        now: Timestamp,
        fleets: usize,
        resolution: Duration,
    ) {
        self.history.note(&point(&report), now, fleets, resolution);
        for trouble in report.troubles() {
            let error = PastError {
                reason: trouble.reason,
                text: shortened(&trouble.text),
                refused_metric: trouble.refused_metric.map(String::into_boxed_str),
            };
            self.note_error(error, now, fleets);
        }
        let decision = PastDecision::of(&mut report);
        if !decision.ok || decision.decision != Decision::NoScale {
            self.decisions.note_in_turn(
                decision.clone(),
                now,
                kept(DECISIONS, fleets),
                PastDecision::is_repeated_by,
            );
        }
        if let Some(inventory) = report.inventory {
            for (label, _) in &inventory.by_state {
                if let Err(at) = self.states.binary_search(label) {
                    self.states.insert(at, *label);
                }
            }
            self.inventory = Some(inventory);
        }
        let readings = report
            .metrics
            .into_iter()
            .map(|(name, value)| MetricReading {
                name: name.into(),
                value: value.map_err(|why| shortened(&why)),
            });
        let began = report.began.wall;
        let before = self.last_pass.as_ref();
        let troubles = decision.notes.iter().filter(|note| note.is_trouble());
        let troubled_since = troubles
            .map(|note| {
                let since = before.and_then(|pass| pass.since(note));
                (note.code(), since.unwrap_or(began))
            })
            .collect();
        self.last_pass = Some(LastPass {
            at: began,
            took: report.took,
            metrics: readings.collect(),
            targets: report.targets,
            limited: report.limited,
            decision,
            troubled_since,
        });
    }

    /// A pass ended in a panic.
    pub(super) fn note_panic(&mut self, now: Timestamp, fleets: usize) {
        let error = PastError {
            reason: PassError::Panic,
            text: shortened(PANICKED),
            refused_metric: None,
        };
        self.note_error(error, now, fleets);
    }

    fn note_error(&mut self, error: PastError, now: Timestamp, fleets: usize) {
        self.errors
            .note(error, now, kept(ERRORS, fleets), PastError::eq);
    }
}

/// The numbers of a pass, for the history: those that it could not have are not known.
fn point(report: &PassReport) -> Point {
    let counts = report.inventory.as_ref().map(|seen| seen.counts);
    let targets = report.targets;
    // Who sets both kinds thinks of the fleet as what exists.
    let target = targets.created.bounds().or(targets.started.bounds());
    let metric = |value: &Result<f64, String>| value.as_ref().ok().copied();
    Point {
        created: counts.map(|counts| counts.created),
        started: counts.map(|counts| counts.started),
        target_min: target.map(|bounds| bounds.min),
        target_max: target.map(|bounds| bounds.max),
        metrics: report.metrics.values().map(metric).collect(),
    }
}

/// How many of a fleet are kept, of what fleets have so many of each and of all together.
fn kept((of_one, of_all): (usize, usize), fleets: usize) -> usize {
    (of_all / fleets.max(1)).clamp(5, of_one)
}

fn shortened(text: &str) -> Box<str> {
    excerpt(text, ERROR_LIMIT).into()
}

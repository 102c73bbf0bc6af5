//! One simulated app: its machines with their recent past, its volumes, its release and its traffic.
//!
//! The past of each machine is kept for a bounded while, so that a list or a metric can show the app as it was some
//! seconds ago. Nothing here decides what happens next.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    deploy::DeployRun,
    machine::{HostStatus, Machine, MachineState, second},
    proxy::ProxyRun,
};

/// How long the platform takes for things.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// Preparing a new machine's image: the shortest and the longest time.
    pub prepare: (Duration, Duration),
    /// From `starting` to `started`.
    pub start: Duration,
    /// From `starting` to `started` for a suspended machine.
    pub resume: Duration,
    /// What a process takes to end after its signal; cut short by the machine's kill timeout.
    pub stop: Duration,
    /// From `suspending` to `suspended`.
    pub suspend: Duration,
    /// From `destroying` to gone.
    pub destroy: Duration,
    /// How long a machine whose launch failed is still shown.
    pub launch_failed: Duration,
    /// From `replacing` to `started`, and from `updating` to its former state.
    pub replace: Duration,
}

impl Default for Timing {
    /// What is usual on Fly with a small image.
    fn default() -> Self {
        Self {
            prepare: (Duration::from_secs(6), Duration::from_secs(9)),
            start: Duration::from_millis(1500),
            resume: Duration::from_millis(300),
            stop: Duration::from_secs(1),
            suspend: Duration::from_secs(1),
            destroy: Duration::from_secs(1),
            launch_failed: Duration::from_secs(5),
            replace: Duration::from_secs(8),
        }
    }
}

/// What goes wrong when machines of an app come up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Failures {
    /// So many next ones fail.
    pub next: u32,
    /// Of the others, this fraction fails.
    pub rate: f64,
}

/// Machines of an app that end by themselves some time after they came up: crashes soon after a start, and workers whose
/// job is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Endings {
    /// The fraction of the machines that end so; it is the same ones each time.
    pub share: f64,
    /// Whether it is of the machines with `auto_destroy`, or of the others.
    pub auto_destroy: bool,
    /// How long they run.
    pub after: (Duration, Duration),
    /// With what they exit; see [`Platform::exit_machine`](super::Platform::exit_machine).
    pub exit_code: i32,
}

/// A release of an app, as GraphQL shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// 1 for the first deploy, and so on.
    pub version: u64,
    /// `running`, `complete`, `failed`, `interrupted`, or any other word.
    pub status: String,
    /// When the deploy began.
    pub created_at: Timestamp,
    /// When its status last changed.
    pub updated_at: Timestamp,
    /// The image deployed.
    pub image: String,
}

/// A volume of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// `vol_` and 16 letters and digits.
    pub id: Arc<str>,
    /// Its name, which several volumes may share.
    pub name: String,
    /// `created`, or one of the states of a volume that goes.
    pub state: String,
    /// Its size.
    pub size_gb: u64,
    /// Its region.
    pub region: Arc<str>,
    /// The host it is on, which a machine that mounts it is on too.
    pub host: Arc<str>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Its file system.
    pub fstype: String,
    /// How many days its snapshots are kept.
    pub snapshot_retention: u64,
    /// The machine that it belongs to.
    pub attached: Option<Arc<str>>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Volume {
    pub(in crate::sim) fn render(&self) -> Value {
        json!({
            "id": &*self.id,
            "name": self.name,
            "state": self.state,
            "size_gb": self.size_gb,
            "region": &*self.region,
            "zone": &*self.host,
            "encrypted": self.encrypted,
            "attached_machine_id": self.attached.as_deref(),
            "attached_alloc_id": null,
            "created_at": second(self.created_at),
            "host_status": "ok",
            "snapshot_retention": self.snapshot_retention,
            "auto_backup_enabled": true,
            "fstype": self.fstype,
            "blocks": 0,
            "block_size": 0,
        })
    }
}

/// A quantity over simulated time.
pub type Curve = Arc<dyn Fn(Duration) -> f64 + Send + Sync>;

/// A quantity that is set by hand or follows a curve, with as much of its past as is asked for.
#[derive(Clone, Default)]
pub(in crate::sim) struct Course {
    curve: Option<Curve>,
    set: VecDeque<(Duration, Option<f64>)>,
}

impl Course {
    pub(super) fn follow(&mut self, curve: Curve) {
        self.curve = Some(curve);
    }

    /// Sets the value from `now` on; `None` means that there is none.
    pub(super) fn set(&mut self, now: Duration, value: Option<f64>, horizon: Duration) {
        self.curve = None;
        let oldest = now.saturating_sub(horizon);
        while self.set.get(1).is_some_and(|(from, _)| *from <= oldest) {
            self.set.pop_front();
        }
        if let Some(last) = self.set.back_mut().filter(|(from, _)| *from == now) {
            last.1 = value;
        } else {
            self.set.push_back((now, value));
        }
    }

    /// The value of the curve, if it follows one.
    pub(super) fn curve_at(&self, at: Duration) -> Option<f64> {
        self.curve.as_ref().map(|curve| curve(at))
    }

    pub(super) fn at(&self, at: Duration) -> Option<f64> {
        match &self.curve {
            Some(curve) => Some(curve(at)),
            None => self
                .set
                .iter()
                .rev()
                .find(|(from, _)| *from <= at)
                .and_then(|(_, value)| *value),
        }
    }
}

impl fmt::Debug for Course {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Course")
            .field("curve", &self.curve.is_some())
            .field("set", &self.set)
            .finish()
    }
}

/// A machine and how it was before.
#[derive(Debug, Clone)]
pub(super) struct Record {
    machine: Machine,
    born: Duration,
    gone: Option<Duration>,
    /// Earlier versions, each with the moment it ended, oldest first.
    past: VecDeque<(Duration, Machine)>,
}

impl Record {
    pub(super) const fn new(machine: Machine, born: Duration) -> Self {
        Self {
            machine,
            born,
            gone: None,
            past: VecDeque::new(),
        }
    }

    /// Keeps the present version as one of the past, before it is changed at `now`.
    pub(super) fn remember(&mut self, now: Duration, horizon: Duration) {
        let oldest = now.saturating_sub(horizon);
        while self.past.front().is_some_and(|(until, _)| *until < oldest) {
            self.past.pop_front();
        }
        if horizon > Duration::ZERO && self.past.back().is_none_or(|(until, _)| *until < now) {
            self.past.push_back((now, self.machine.clone()));
        }
    }

    pub(super) fn vanish(&mut self, now: Duration) {
        self.gone = Some(now);
    }

    /// The machine as it is or, when it is gone, was last.
    pub(super) const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The machine, to be changed.
    pub(super) fn machine_mut(&mut self) -> &mut Machine {
        self.machine.forget_text();
        &mut self.machine
    }

    /// The machine, unless it is gone.
    pub(super) fn present(&self) -> Option<&Machine> {
        self.gone.is_none().then_some(&self.machine)
    }

    /// The machine as it was at `at`, unless it was not there.
    pub(super) fn at(&self, at: Duration) -> Option<&Machine> {
        if at < self.born || self.gone.is_some_and(|gone| gone <= at) {
            return None;
        }
        let earlier = self.past.iter().find(|(until, _)| *until > at);
        Some(earlier.map_or(&self.machine, |(_, machine)| machine))
    }
}

/// A simulated app.
#[derive(Debug)]
pub struct App {
    pub(super) name: Arc<str>,
    pub(super) org: Arc<str>,
    pub(super) status: String,
    pub(super) records: BTreeMap<Arc<str>, Record>,
    pub(super) volumes: BTreeMap<Arc<str>, Volume>,
    pub(super) release: Option<Release>,
    pub(super) traffic: Course,
    pub(super) proxy: Option<ProxyRun>,
    pub(super) deploy: Option<DeployRun>,
    pub(super) timing: Timing,
    pub(super) list_lag: Duration,
    /// Regions and ids of machines that lists do not show.
    pub(super) list_lacks: BTreeSet<String>,
    pub(super) launch_failures: Failures,
    pub(super) start_failures: Failures,
    pub(super) endings: Vec<Endings>,
}

impl App {
    pub(super) fn new(name: &str, org: &str, timing: Timing) -> Self {
        Self {
            name: name.into(),
            org: org.into(),
            status: "deployed".to_owned(),
            records: BTreeMap::new(),
            volumes: BTreeMap::new(),
            release: None,
            traffic: Course::default(),
            proxy: None,
            deploy: None,
            timing,
            list_lag: Duration::ZERO,
            list_lacks: BTreeSet::new(),
            launch_failures: Failures::default(),
            start_failures: Failures::default(),
            endings: Vec::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The organisation it belongs to.
    #[must_use]
    pub fn org(&self) -> &str {
        &self.org
    }

    /// `deployed`, `pending` or `suspended`.
    #[must_use]
    pub fn status(&self) -> &str {
        &self.status
    }

    /// Its machines that are not gone, by id.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.records.values().filter_map(Record::present)
    }

    /// Its machines as they were at `at`, by id.
    pub fn machines_at(&self, at: Duration) -> impl Iterator<Item = &Machine> {
        self.records
            .values()
            .filter_map(move |record| record.at(at))
    }

    /// One machine, unless it is gone.
    #[must_use]
    pub fn machine(&self, id: &str) -> Option<&Machine> {
        self.records.get(id).and_then(Record::present)
    }

    /// The machines of a group that are there to stay; an empty group means all.
    pub fn living<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Machine> {
        self.machines()
            .filter(move |machine| machine.state.is_living() && machine.is_of(group))
    }

    /// Its machines that are `started`.
    pub fn started(&self) -> impl Iterator<Item = &Machine> {
        self.machines()
            .filter(|machine| machine.state == MachineState::Started)
    }

    /// Its volumes, by id.
    pub fn volumes(&self) -> impl Iterator<Item = &Volume> {
        self.volumes.values()
    }

    /// Its newest release.
    #[must_use]
    pub const fn release(&self) -> Option<&Release> {
        self.release.as_ref()
    }

    /// Whether a deploy is at work; one that died is not, whatever its release's status says.
    #[must_use]
    pub const fn is_deploying(&self) -> bool {
        self.deploy.is_some()
    }

    /// How many requests are being served or wait for it at `at`.
    #[must_use]
    pub fn load_at(&self, at: Duration) -> f64 {
        let load = self.traffic.at(at).unwrap_or(0.0);
        if load.is_finite() { load.max(0.0) } else { 0.0 }
    }
}

/// A host, on which machines and volumes live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its region and four hexadecimal digits.
    pub name: Arc<str>,
    /// Its region.
    pub region: Arc<str>,
    /// What is known about it.
    pub status: HostStatus,
    /// Whether nothing more can be started on it.
    pub full: bool,
    /// How many machines live on it.
    pub machines: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_remembers_what_it_was() {
        let second = Duration::from_secs;
        let mut course = Course::default();
        assert_eq!(course.at(second(5)), None);
        course.set(second(10), Some(1.0), second(60));
        course.set(second(20), Some(2.0), second(60));
        course.set(second(20), Some(3.0), second(60));
        course.set(second(30), None, second(60));
        let seen: Vec<Option<f64>> = [9, 10, 19, 20, 30].map(|at| course.at(second(at))).to_vec();
        assert_eq!(seen, [None, Some(1.0), Some(1.0), Some(3.0), None]);
        for at in 100..1_000 {
            course.set(second(at), Some(0.0), second(60));
        }
        assert!(course.set.len() <= 62, "{}", course.set.len());
        course.follow(Arc::new(|at| at.as_secs_f64()));
        assert_eq!(course.at(second(7)), Some(7.0));
    }
}

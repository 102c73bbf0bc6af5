//! The platform's state: organisations' apps with their machines, and everything that happens to them by itself.
//!
//! A pure state machine: no sockets, no clock, no waiting. Time is an argument ([`Platform::advance`]), as a duration
//! since the simulation's start; chance comes from a seed. What falls due is taken in the order of its time, however
//! far time jumps, so that the past that lists and metrics look back on is the same for any stepping.
//!
//! What clients and the proxy may do to a machine is in `operations`, Fly Proxy in `proxy`, deploys in `deploy`. Who
//! may ask, how often, and in which words, is the services' business.

mod app;
mod deploy;
mod machine;
mod operations;
mod proxy;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json, value::RawValue};

pub use self::{
    app::{App, Curve, Endings, Failures, Host, Release, Timing, Volume},
    deploy::{Deploy, Outcome, Strategy},
    machine::{
        Check, HostStatus, InvalidConfig, Lease, Machine, MachineConfig, MachineEvent, MachineState,
    },
    operations::{NewVolume, Refusal},
    proxy::{Autostop, ProxySettings},
};
use self::{
    app::{Course, Record},
    machine::Step,
    operations::Launch,
};
pub(super) use self::{
    machine::{Shown, parse_duration, second},
    operations::{Caller, Creation, StopOrder},
};
use super::{
    Options,
    access::Access,
    consul::Consul,
    faults::{Effect, Fault, FaultHook, FaultId, Faults, Operation, RequestInfo},
    limits::{Limiter, RateLimits},
    random::{Random, hash, unit},
    records::{Actor, Change, ChangeKind, Deed, Log, RequestRecord},
};

/// How much of a request's body is remembered.
const BODY_KEPT: usize = 64 * 1024;

/// How metrics are seen: what a query answers is older than the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MetricsSettings {
    /// The time between two scrapes; zero is no scraping at all, every moment is seen.
    pub scrape_interval: Duration,
    /// How much of the newest past a query does not show.
    pub lag: Duration,
    /// Whether no series is there at all, as when nothing is scraped.
    pub silent: bool,
}

impl MetricsSettings {
    /// Fly's: scraped every 15 s, and the newest 30 s are hidden.
    #[must_use]
    pub const fn fly() -> Self {
        Self {
            scrape_interval: Duration::from_secs(15),
            lag: Duration::from_secs(30),
            silent: false,
        }
    }

    /// The moment whose values a query at `now` shows.
    fn seen_at(&self, now: Duration) -> Duration {
        let visible = now.saturating_sub(self.lag);
        let interval = self.scrape_interval.as_nanos();
        if interval == 0 {
            return visible;
        }
        let into = visible.as_nanos() % interval;
        visible.saturating_sub(Duration::from_nanos(
            u64::try_from(into).unwrap_or(u64::MAX),
        ))
    }
}

/// A machine to set the scene with; it is there at once, in the state asked for.
#[derive(Debug, Clone)]
pub struct NewMachine {
    region: String,
    group: Option<String>,
    release: Option<u64>,
    state: MachineState,
    image: Option<String>,
    config: Option<String>,
    age: Duration,
    cordoned: bool,
    stop_takes: Option<Duration>,
    metadata: BTreeMap<String, String>,
    services: Option<Value>,
}

impl NewMachine {
    /// A `started` machine of the group `app`, an hour old, as `fly deploy` makes it.
    #[must_use]
    pub fn in_region(region: &str) -> Self {
        Self {
            region: region.to_owned(),
            group: Some("app".to_owned()),
            release: Some(1),
            state: MachineState::Started,
            image: None,
            config: None,
            age: Duration::from_secs(3600),
            cordoned: false,
            stop_takes: None,
            metadata: BTreeMap::new(),
            services: None,
        }
    }

    /// In this state.
    #[must_use]
    pub fn state(mut self, state: MachineState) -> Self {
        self.state = state;
        self
    }

    /// Of this process group; empty for none.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.group = Some(group.to_owned()).filter(|group| !group.is_empty());
        self
    }

    /// Of this release; 0 for none.
    #[must_use]
    pub fn release(mut self, version: u64) -> Self {
        self.release = Some(version).filter(|version| *version > 0);
        self
    }

    /// With this image instead of the release's own.
    #[must_use]
    pub fn image(mut self, image: &str) -> Self {
        self.image = Some(image.to_owned());
        self
    }

    /// With these services, an array as the Machines API has it. What the simulated proxy does is set apart, by
    /// [`Platform::set_proxy`].
    #[must_use]
    pub fn services(mut self, services: &Value) -> Self {
        self.services = Some(services.clone());
        self
    }

    /// With exactly this configuration, as JSON; group, release, image, metadata and services are then not added to it.
    #[must_use]
    pub fn config(mut self, text: &str) -> Self {
        self.config = Some(text.to_owned());
        self
    }

    /// With one more pair of metadata.
    #[must_use]
    pub fn metadata(mut self, key: &str, value: &str) -> Self {
        self.metadata.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Created so long ago.
    #[must_use]
    pub const fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Cordoned.
    #[must_use]
    pub const fn cordoned(mut self) -> Self {
        self.cordoned = true;
        self
    }

    /// Whose process takes so long to stop.
    #[must_use]
    pub const fn stop_takes(mut self, takes: Duration) -> Self {
        self.stop_takes = Some(takes);
        self
    }

    fn config_text(&self, app: &str) -> String {
        if let Some(config) = &self.config {
            return config.clone();
        }
        let version = self.release.unwrap_or(1);
        let image = self
            .image
            .clone()
            .unwrap_or_else(|| format!("registry.fly.io/{app}:v{version}"));
        let mut metadata = self.metadata.clone();
        metadata.insert("fly_platform_version".to_owned(), "v2".to_owned());
        if let Some(group) = &self.group {
            metadata.insert("fly_process_group".to_owned(), group.clone());
        }
        if let Some(version) = self.release {
            metadata.insert("fly_release_id".to_owned(), format!("rel_{version}"));
            metadata.insert("fly_release_version".to_owned(), version.to_string());
        }
        let mut config = json!({
            "image": image,
            "init": {},
            "env": { "FLY_PROCESS_GROUP": self.group.as_deref().unwrap_or(""), "PRIMARY_REGION": self.region },
            "guest": { "cpu_kind": "shared", "cpus": 1, "memory_mb": 256 },
            "metadata": metadata,
            "restart": { "policy": "on-failure", "max_retries": 10 },
            "dns": {},
        });
        if let Some(services) = &self.services {
            config["services"] = services.clone();
        }
        config.to_string()
    }
}

/// What falls due by itself.
#[derive(Debug, Clone)]
enum Due {
    Machine { app: Arc<str>, id: Arc<str> },
    Forget { app: Arc<str>, id: Arc<str> },
    ProxyStart { app: Arc<str>, run: u64 },
    ProxyStop { app: Arc<str>, run: u64 },
    Deploy { app: Arc<str>, run: u64 },
}

/// A series' labels and their values.
type Labels = BTreeMap<String, String>;

/// One value of a metric.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) labels: Labels,
    pub(super) value: f64,
}

/// The simulated platform.
pub struct Platform {
    now: Duration,
    epoch: Timestamp,
    speed: f64,
    random: Random,
    timing: Timing,
    history: Duration,
    hosts_per_region: u32,
    default_region: String,
    /// Names that the API takes for a region, and which one each stands for.
    region_aliases: BTreeMap<String, String>,
    apps: BTreeMap<Arc<str>, App>,
    hosts: BTreeMap<Arc<str>, Host>,
    capacity: BTreeMap<String, usize>,
    machine_limit: Option<usize>,
    gauges: BTreeMap<String, Vec<(Labels, Course)>>,
    agenda: BTreeMap<(Duration, u64), Due>,
    serial: u64,
    shuffled_lists: bool,
    pub(super) metrics: MetricsSettings,
    pub(super) machines_access: Access,
    pub(super) prometheus_access: Access,
    pub(super) rate_limits: RateLimits,
    pub(super) limiter: Limiter,
    faults: Faults,
    consul: Consul,
    ordinal: u64,
    requests: Log<RequestRecord>,
    changes: Log<Change>,
}

impl Platform {
    /// An empty platform at the simulation's start.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self {
            now: Duration::ZERO,
            epoch: options.epoch,
            speed: options.clock.speed(),
            random: Random::new(options.seed),
            timing: options.timing.clone(),
            history: options.history,
            hosts_per_region: options.hosts_per_region.max(1),
            default_region: options.default_region.clone(),
            region_aliases: BTreeMap::new(),
            apps: BTreeMap::new(),
            hosts: BTreeMap::new(),
            capacity: BTreeMap::new(),
            machine_limit: None,
            gauges: BTreeMap::new(),
            agenda: BTreeMap::new(),
            serial: 0,
            shuffled_lists: options.shuffled_lists,
            metrics: options.metrics,
            machines_access: options.machines_access.clone(),
            prometheus_access: options.prometheus_access.clone(),
            rate_limits: options.rate_limits,
            limiter: Limiter::default(),
            faults: Faults::default(),
            consul: Consul::new(options.seed),
            ordinal: 0,
            requests: Log::new(options.log_capacity),
            changes: Log::new(options.log_capacity),
        }
    }

    /// The present moment, since the simulation's start.
    #[must_use]
    pub const fn now(&self) -> Duration {
        self.now
    }

    /// The present moment as the platform's clock on the wall shows it.
    ///
    /// A simulation that runs faster than life still shows a wall clock that goes at life's pace, or a client would see
    /// times of the future.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        self.wall_at(self.now)
    }

    pub(super) fn wall_at(&self, at: Duration) -> Timestamp {
        let lived = Duration::try_from_secs_f64(at.as_secs_f64() / self.speed).unwrap_or(at);
        let lived = if (self.speed - 1.0).abs() < f64::EPSILON {
            at
        } else {
            lived
        };
        SignedDuration::try_from(lived)
            .ok()
            .and_then(|lived| self.epoch.checked_add(lived).ok())
            .unwrap_or(self.epoch)
    }

    /// Lets time pass until `now`; everything that falls due until then happens. Time never goes back.
    pub fn advance(&mut self, now: Duration) {
        while let Some(entry) = self.agenda.first_entry() {
            let (at, _) = *entry.key();
            if at > now {
                break;
            }
            let due = entry.remove();
            self.now = self.now.max(at);
            match due {
                Due::Machine { app, id } => self.step_machine(&app, &id),
                Due::Forget { app, id } => {
                    if let Some(app) = self.apps.get_mut(&app) {
                        app.records.remove(&id);
                    }
                }
                Due::ProxyStart { app, run } => self.proxy_start(&app, run),
                Due::ProxyStop { app, run } => self.proxy_stop(&app, run),
                Due::Deploy { app, run } => self.deploy_step(&app, run),
            }
        }
        self.now = self.now.max(now);
        self.consul.advance(self.now);
    }

    /// The Consul beside the platform.
    #[must_use]
    pub const fn consul(&self) -> &Consul {
        &self.consul
    }

    /// The same, to be changed.
    pub const fn consul_mut(&mut self) -> &mut Consul {
        &mut self.consul
    }

    fn schedule(&mut self, at: Duration, due: Due) {
        self.serial += 1;
        self.agenda.insert((at, self.serial), due);
    }

    /// Adds an app without machines or releases; one of that name is replaced.
    pub fn add_app(&mut self, name: &str, org: &str) {
        self.remove_app(name);
        let app = App::new(name, org, self.timing.clone());
        self.apps.insert(Arc::clone(&app.name), app);
    }

    /// Removes an app with all that belongs to it.
    pub fn remove_app(&mut self, name: &str) {
        if let Some(app) = self.apps.remove(name) {
            for machine in app.machines() {
                if let Some(host) = self.hosts.get_mut(&machine.host) {
                    host.machines = host.machines.saturating_sub(1);
                }
            }
        }
    }

    /// The apps, by name.
    pub fn apps(&self) -> impl Iterator<Item = &App> {
        self.apps.values()
    }

    /// An app.
    #[must_use]
    pub fn app(&self, name: &str) -> Option<&App> {
        self.apps.get(name)
    }

    /// A machine, unless it is gone.
    #[must_use]
    pub fn machine(&self, app: &str, id: &str) -> Option<&Machine> {
        self.app(app)?.machine(id)
    }

    /// How many machines of a group are there to stay; an empty group means all, an unknown app has none.
    #[must_use]
    pub fn living(&self, app: &str, group: &str) -> usize {
        self.app(app).map_or(0, |app| app.living(group).count())
    }

    /// How many machines of an app are `started`.
    #[must_use]
    pub fn started(&self, app: &str) -> usize {
        self.app(app).map_or(0, |app| app.started().count())
    }

    /// Puts a machine there, past all rules, and says its id.
    ///
    /// # Errors
    ///
    /// When the app is unknown or the configuration is invalid.
    pub fn add_machine(&mut self, app: &str, machine: NewMachine) -> Result<Arc<str>, Refusal> {
        let text = machine.config_text(app);
        let raw = RawValue::from_string(text)
            .map_err(|error| Refusal::new(422, format!("invalid config: {error}")))?;
        let config = MachineConfig::parse(&raw)?;
        let host = config
            .volumes()
            .iter()
            .find_map(|volume| Some(Arc::clone(&self.app(app)?.volumes.get(&**volume)?.host)))
            .or_else(|| self.place(&machine.region, true))
            .ok_or_else(|| Refusal::new(422, "no host"))?;
        let launch = Launch {
            config,
            name: None,
            cordoned: machine.cordoned,
        };
        let id = self.insert(app, &host, launch, Actor::Operator)?;
        let created_at = self
            .wall()
            .checked_sub(SignedDuration::try_from(machine.age).unwrap_or_default())
            .unwrap_or(self.epoch);
        if let Some(record) = self.record_mut(app, &id) {
            let added = record.machine_mut();
            added.state = machine.state;
            added.created_at = created_at;
            added.updated_at = created_at;
            added.stop_takes = machine.stop_takes;
        }
        Ok(id)
    }

    /// Puts several equal machines there.
    ///
    /// # Errors
    ///
    /// As [`Platform::add_machine`].
    pub fn add_machines(
        &mut self,
        app: &str,
        count: usize,
        machine: &NewMachine,
    ) -> Result<Vec<Arc<str>>, Refusal> {
        (0..count)
            .map(|_| self.add_machine(app, machine.clone()))
            .collect()
    }

    /// Changes a machine at will, by the operator's hand; false when it is not there.
    ///
    /// A change of its state cancels what would have happened to it next.
    pub fn edit_machine(&mut self, app: &str, id: &str, edit: impl FnOnce(&mut Machine)) -> bool {
        let deed = Actor::Operator.does(ChangeKind::Update);
        self.change(app, id, deed, |machine| {
            let state = machine.state.clone();
            edit(machine);
            if machine.state != state {
                machine.pending = None;
            }
        })
    }

    /// Sets a pair of a machine's metadata (`None` removes it), as the machine itself does through the API.
    pub fn set_metadata(&mut self, app: &str, id: &str, key: &str, value: Option<&str>) -> bool {
        self.edit_machine(app, id, |machine| {
            machine.config = machine.config.with(None, &[(key, value)]);
        })
    }

    /// Takes a lease on a machine in somebody else's name; false when it is not there.
    pub fn lease(&mut self, app: &str, id: &str, owner: &str, ttl: Duration) -> bool {
        let nonce = self.random.text("0123456789abcdef", 12);
        let lease = Lease {
            nonce,
            expires: self.now.saturating_add(ttl),
            owner: owner.to_owned(),
            description: String::new(),
        };
        self.edit_machine(app, id, |machine| machine.lease = Some(lease))
    }

    /// Ends a machine's process by itself: the machine stops, or with an exit code other than 0 fails.
    pub fn exit_machine(&mut self, app: &str, id: &str, exit_code: i32) -> bool {
        let destroy = self.app(app).map(|app| app.timing.destroy);
        let due = self.now.saturating_add(destroy.unwrap_or_default());
        let at = self.wall();
        let deed = Actor::Platform.does(ChangeKind::Become);
        self.change(app, id, deed, |machine| {
            machine.pending = None;
            if machine.config.auto_destroy() {
                machine.state = MachineState::Destroying;
                machine.pending = Some((due, Step::Vanish));
            } else if exit_code == 0 {
                machine.state = MachineState::Stopped;
            } else {
                machine.state = MachineState::Failed;
            }
            machine.note("exit", "flyd", at, Some(exit_code));
        })
    }

    /// Takes a machine away at once, as if somebody had destroyed it a while ago.
    pub fn remove_machine(&mut self, app: &str, id: &str) {
        self.vanish(app, id);
    }

    /// Makes new machines of an app fail to launch, or machines that are started fail to start.
    pub fn set_failures(&mut self, app: &str, launch: Failures, start: Failures) {
        if let Some(app) = self.apps.get_mut(app) {
            app.launch_failures = launch;
            app.start_failures = start;
        }
    }

    /// Which machines of an app end by themselves once they have come up; of several the first that fits a machine
    /// holds. Those that run already end too, as if they had come up now.
    pub fn set_endings(&mut self, app: &str, endings: &[Endings]) {
        let Some(found) = self.apps.get_mut(app) else {
            return;
        };
        found.endings = endings.to_vec();
        let running: Vec<Arc<str>> = found
            .started()
            .map(|machine| Arc::clone(&machine.id))
            .collect();
        for id in running {
            let ending = self.ending(app, &id);
            let Some((due, step)) = ending else { continue };
            if let Some(record) = self.record_mut(app, &id) {
                record.machine_mut().pending = Some((due, step));
                self.schedule(
                    due,
                    Due::Machine {
                        app: app.into(),
                        id,
                    },
                );
            }
        }
    }

    /// When and how a machine that comes up now ends by itself, if it does.
    fn ending(&mut self, app: &str, id: &str) -> Option<(Duration, Step)> {
        let found = self.apps.get(app)?;
        let auto_destroy = found.machine(id)?.config.auto_destroy();
        let Endings {
            after: (least, most),
            exit_code,
            ..
        } = *found
            .endings
            .iter()
            .find(|ending| ending.auto_destroy == auto_destroy && unit(hash(id)) < ending.share)?;
        let due = self.now.saturating_add(self.random.between(least, most));
        Some((due, Step::Exit(exit_code)))
    }

    /// How long things take for one app; for all apps added later see [`Options::timing`].
    pub fn set_timing(&mut self, app: &str, timing: Timing) {
        if let Some(app) = self.apps.get_mut(app) {
            app.timing = timing;
        }
    }

    /// Makes an app's list show the past: machines as they were `lag` ago.
    ///
    /// It cannot look back further than [`Options::history`].
    pub fn set_list_lag(&mut self, app: &str, lag: Duration) {
        let lag = lag.min(self.history);
        if let Some(app) = self.apps.get_mut(app) {
            app.list_lag = lag;
        }
    }

    /// Makes an app's list lack machines that exist: those of these regions, and those with these ids; none of them: the
    /// list is whole again. Asked for by its id, each of them is there.
    pub fn set_list_lacks(&mut self, app: &str, regions_and_ids: &[&str]) {
        if let Some(app) = self.apps.get_mut(app) {
            app.list_lacks = regions_and_ids.iter().map(ToString::to_string).collect();
        }
    }

    /// How metrics are seen; a lag cannot reach back further than [`Options::history`].
    pub fn set_metrics(&mut self, metrics: MetricsSettings) {
        self.metrics = metrics;
    }

    /// From now on, what is created in `alias` goes to `region`.
    pub fn set_region_alias(&mut self, alias: &str, region: &str) {
        self.region_aliases
            .insert(alias.to_owned(), region.to_owned());
    }

    /// How many machines a region can hold; `None` is no limit.
    pub fn set_region_capacity(&mut self, region: &str, machines: Option<usize>) {
        match machines {
            Some(machines) => self.capacity.insert(region.to_owned(), machines),
            None => self.capacity.remove(region),
        };
    }

    /// How many machines an organisation can have; `None` is no limit.
    pub fn set_machine_limit(&mut self, machines: Option<usize>) {
        self.machine_limit = machines;
    }

    /// Replaces who may query metrics.
    pub fn set_prometheus_access(&mut self, access: Access) {
        self.prometheus_access = access;
    }

    /// Replaces the rate limits.
    pub fn set_rate_limits(&mut self, limits: RateLimits) {
        self.rate_limits = limits;
    }

    /// The hosts that there are so far, by name.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// Changes what is known about a host, and with it about each of its machines; false when there is no such host.
    ///
    /// Nothing happens to the machines of an unreachable host; it catches up when it is back.
    pub fn set_host_status(&mut self, host: &str, status: HostStatus) -> bool {
        let Some(found) = self.hosts.get_mut(host) else {
            return false;
        };
        found.status = status;
        let inhabitants: Vec<(Arc<str>, Arc<str>)> = self
            .apps
            .values()
            .flat_map(|app| app.machines().map(move |machine| (app, machine)))
            .filter(|(_, machine)| *machine.host == *host)
            .map(|(app, machine)| (Arc::clone(&app.name), Arc::clone(&machine.id)))
            .collect();
        for (app, id) in inhabitants {
            let deed = Actor::Platform.does(ChangeKind::Update);
            self.change(&app, &id, deed, |machine| {
                machine.host_status = status;
            });
            let pending = self
                .machine(&app, &id)
                .and_then(|machine| machine.pending.as_ref())
                .map(|(at, _)| *at);
            if let Some(at) = pending.filter(|_| status != HostStatus::Unreachable) {
                self.schedule(at.max(self.now), Due::Machine { app, id });
            }
        }
        true
    }

    /// Makes a host refuse to start anything more, or take machines again; false when there is no such host.
    pub fn set_host_full(&mut self, host: &str, full: bool) -> bool {
        self.hosts.get_mut(host).is_some_and(|found| {
            found.full = full;
            true
        })
    }

    /// Sets an app's newest release.
    pub fn set_release(&mut self, app: &str, release: Option<Release>) {
        if let Some(app) = self.apps.get_mut(app) {
            app.release = release;
        }
    }

    /// Sets how many requests an app has to serve at once, from now on.
    pub fn set_load(&mut self, app: &str, load: f64) {
        let (now, horizon) = (self.now, self.history);
        if let Some(app) = self.apps.get_mut(app) {
            app.traffic.set(now, Some(load), horizon);
        }
    }

    /// Lets the requests that an app has to serve at once follow a curve of the time since the simulation's start.
    pub fn set_traffic(&mut self, app: &str, curve: Curve) {
        if let Some(app) = self.apps.get_mut(app) {
            app.traffic.follow(curve);
        }
    }

    /// Sets a metric of an app, `name{app="…"}`, from now on; `None` ends it.
    pub fn set_gauge(&mut self, app: &str, name: &str, value: Option<f64>) {
        self.set_series(name, &[("app", app)], value);
    }

    /// Sets a metric with any labels from now on; `None` ends it.
    pub fn set_series(&mut self, name: &str, labels: &[(&str, &str)], value: Option<f64>) {
        let (now, horizon) = (self.now, self.history);
        self.course(name, labels).set(now, value, horizon);
    }

    fn course(&mut self, name: &str, labels: &[(&str, &str)]) -> &mut Course {
        let labels: Labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let series = self.gauges.entry(name.to_owned()).or_default();
        let known = series.iter().position(|(found, _)| *found == labels);
        let index = known.unwrap_or(series.len());
        if known.is_none() {
            series.push((labels, Course::default()));
        }
        &mut series[index].1
    }

    /// Adds a fault.
    pub fn add_fault(&mut self, fault: Fault) -> FaultId {
        self.faults.add(fault)
    }

    /// Removes a fault.
    pub fn remove_fault(&mut self, id: FaultId) {
        self.faults.remove(id);
    }

    /// Removes all faults and the hook.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Sets what is asked about each request that no fault claims.
    ///
    /// It is called while the platform is locked, so it must not ask the simulator anything.
    pub fn set_fault_hook(&mut self, hook: FaultHook) {
        self.faults.set_hook(Some(hook));
    }

    /// The requests that were processed, or that a fault answered, oldest first.
    #[must_use]
    pub const fn requests(&self) -> &Log<RequestRecord> {
        &self.requests
    }

    /// The remembered requests of one kind, oldest first.
    pub fn requests_for(
        &self,
        operation: Operation,
    ) -> impl DoubleEndedIterator<Item = &RequestRecord> {
        self.requests
            .iter()
            .filter(move |request| request.operation == operation)
    }

    /// The remembered requests that were meant to change something, whether they did or not, oldest first.
    pub fn writes(&self) -> impl DoubleEndedIterator<Item = &RequestRecord> {
        self.requests
            .iter()
            .filter(|request| request.operation.is_write())
    }

    /// The remembered requests for something that the simulator does not know, oldest first.
    pub fn unexpected(&self) -> impl DoubleEndedIterator<Item = &RequestRecord> {
        self.requests_for(Operation::Unexpected)
    }

    /// What happened to machines, oldest first.
    #[must_use]
    pub const fn changes(&self) -> &Log<Change> {
        &self.changes
    }

    /// Forgets the remembered requests and changes; the totals stay.
    pub fn clear_logs(&mut self) {
        self.requests.clear();
        self.changes.clear();
    }

    pub(super) fn next_ordinal(&mut self) -> u64 {
        self.ordinal += 1;
        self.ordinal - 1
    }

    pub(super) fn draw_fault(&mut self, request: &RequestInfo) -> Option<Effect> {
        self.faults.draw(request)
    }

    pub(super) fn record_request(&mut self, mut request: RequestRecord) {
        if request.body.len() > BODY_KEPT {
            request.body = Bytes::copy_from_slice(&request.body[..BODY_KEPT]);
        }
        self.requests.push(request);
    }

    pub(super) fn answered_with(&mut self, ordinal: u64, status: Option<u16>) {
        if let Some(request) = self.requests.find_mut(|request| request.ordinal == ordinal) {
            request.status = status;
        }
    }

    pub(super) fn took_effect(&mut self, ordinal: u64) {
        if let Some(request) = self.requests.find_mut(|request| request.ordinal == ordinal) {
            request.took_effect = true;
        }
    }

    /// The machines that a list shows now, in the order it shows them.
    pub(super) fn listed(&mut self, app: &str) -> Vec<&Machine> {
        let Some(app) = self.apps.get(app) else {
            return Vec::new();
        };
        let mut machines: Vec<&Machine> = if app.list_lag.is_zero() {
            app.machines().collect()
        } else {
            let at = self.now.saturating_sub(app.list_lag);
            app.machines_at(at).collect()
        };
        machines.retain(|machine| {
            !app.list_lacks.contains(&*machine.region) && !app.list_lacks.contains(&*machine.id)
        });
        if self.shuffled_lists {
            for last in (1..machines.len()).rev() {
                let other = self.random.index(last + 1);
                machines.swap(last, other);
            }
        }
        machines
    }

    /// The names of the metrics that there may be samples of.
    pub(super) fn metric_names(&self) -> Vec<String> {
        let own = ["fly_instance_up", "fly_app_concurrency"];
        own.into_iter()
            .map(str::to_owned)
            .chain(self.gauges.keys().cloned())
            .collect()
    }

    /// The samples of a metric as a query sees them now, of one app where one is named.
    pub(super) fn samples(&self, name: &str, app: Option<&str>, lagging: bool) -> Vec<Sample> {
        let at = if lagging {
            self.metrics.seen_at(self.now)
        } else {
            self.now
        };
        self.samples_at(name, app, at)
    }

    /// The samples of a metric at a moment of the past, counted from the simulation's start; none of the future.
    ///
    /// Further back than [`Options::history`], and before the start, it is what traffic that follows a curve would have
    /// had: the curve mirrored at the start, and as many machines running as it fills.
    pub(super) fn samples_then(
        &self,
        name: &str,
        app: Option<&str>,
        then: SignedDuration,
    ) -> Vec<Sample> {
        let Ok(now) = SignedDuration::try_from(self.now) else {
            return Vec::new();
        };
        if self.metrics.silent || then > now {
            return Vec::new();
        }
        let is_own = matches!(name, "fly_instance_up" | "fly_app_concurrency");
        let oldest = self.now.saturating_sub(self.history);
        match Duration::try_from(then) {
            // What is hidden of the newest past is taken to be as what was seen last.
            Ok(then) if then >= oldest || !is_own => {
                self.samples_at(name, app, then.min(self.metrics.seen_at(self.now)))
            }
            _ if is_own => self
                .apps_named(app)
                .flat_map(|app| app.presumed(name, then))
                .collect(),
            _ => self.gauge(name, app, |course| course.curve_at(then.unsigned_abs())),
        }
    }

    fn apps_named<'a>(&'a self, app: Option<&'a str>) -> impl Iterator<Item = &'a App> {
        let named = app.and_then(|app| self.apps.get(app)).into_iter();
        let all = self.apps.values().filter(move |_| app.is_none());
        named.chain(all)
    }

    fn samples_at(&self, name: &str, app: Option<&str>, at: Duration) -> Vec<Sample> {
        if self.metrics.silent {
            return Vec::new();
        }
        let apps = self.apps_named(app);
        match name {
            "fly_instance_up" => apps
                .flat_map(|app| {
                    app.machines_at(at)
                        .filter(|machine| reports(machine))
                        .map(|machine| Sample {
                            labels: instance_labels(&app.name, machine),
                            value: 1.0,
                        })
                })
                .collect(),
            "fly_app_concurrency" => apps
                .flat_map(|app| {
                    app.shares(at).into_iter().map(|(machine, share)| Sample {
                        labels: instance_labels(&app.name, machine),
                        value: share,
                    })
                })
                .collect(),
            _ => self.gauge(name, app, |course| course.at(at)),
        }
    }

    /// The samples of a gauge, each with what `value` makes of its course.
    fn gauge(
        &self,
        name: &str,
        app: Option<&str>,
        value: impl Fn(&Course) -> Option<f64>,
    ) -> Vec<Sample> {
        let series = self.gauges.get(name).into_iter().flatten();
        series
            .filter(|(labels, _)| {
                app.is_none_or(|app| labels.get("app").is_some_and(|found| found == app))
            })
            .filter_map(|(labels, course)| {
                Some(Sample {
                    labels: labels.clone(),
                    value: value(course)?,
                })
            })
            .collect()
    }

    fn record_mut(&mut self, app: &str, id: &str) -> Option<&mut Record> {
        self.apps
            .get_mut(app)?
            .records
            .get_mut(id)
            .filter(|record| record.present().is_some())
    }

    /// Changes a machine: remembers how it was, notes what was done, and plans what happens next.
    fn change(
        &mut self,
        app: &str,
        id: &str,
        Deed { actor, kind }: Deed,
        edit: impl FnOnce(&mut Machine),
    ) -> bool {
        let (now, wall, history) = (self.now, self.wall(), self.history);
        let Some(record) = self.record_mut(app, id) else {
            return false;
        };
        let before = record.machine().clone();
        record.remember(now, history);
        let machine = record.machine_mut();
        edit(machine);
        // A lease, a check or a host's status is no update of the machine.
        if machine.state != before.state
            || machine.instance_id != before.instance_id
            || machine.cordoned != before.cordoned
        {
            machine.updated_at = wall;
        }
        let source = match actor {
            Actor::Api | Actor::Deploy | Actor::Operator => "user",
            Actor::Proxy => "proxy",
            Actor::Platform => "flyd",
        };
        match (kind, &machine.state) {
            (ChangeKind::Start, _) | (ChangeKind::Become, MachineState::Started) => {
                machine.note("start", source, wall, None);
            }
            (ChangeKind::Stop, _) => machine.note("stop", source, wall, None),
            (ChangeKind::Suspend, _) => machine.note("suspend", source, wall, None),
            (ChangeKind::Destroy, _) => machine.note("destroy", source, wall, None),
            (ChangeKind::Update, _) if machine.instance_id != before.instance_id => {
                machine.note("update", source, wall, None);
            }
            (ChangeKind::Become, MachineState::Stopped)
                if before.state == MachineState::Stopping =>
            {
                machine.note("exit", "flyd", wall, Some(0));
            }
            _ => {}
        }
        let due = machine
            .pending
            .as_ref()
            .filter(|pending| before.pending.as_ref() != Some(*pending))
            .map(|(at, _)| *at);
        let state = machine.state.clone();
        let group = before.group().unwrap_or_default().to_owned();
        let (app, id) = (Arc::<str>::from(app), Arc::clone(&before.id));
        let living_left = (kind == ChangeKind::Destroy).then(|| self.living(&app, &group));
        self.changes.push(Change {
            at: now,
            actor,
            kind,
            app: Arc::clone(&app),
            machine: before,
            state,
            living_left,
        });
        if let Some(at) = due {
            self.schedule(at.max(now), Due::Machine { app, id });
        }
        true
    }

    /// What was planned for a machine happens, if it is still what is planned.
    fn step_machine(&mut self, app: &str, id: &str) {
        let now = self.now;
        let Some(machine) = self.machine(app, id) else {
            return;
        };
        let Some((due, step)) = machine.pending.clone() else {
            return;
        };
        if due > now || machine.host_status == HostStatus::Unreachable {
            return;
        }
        let starting = machine.state == MachineState::Starting;
        let auto_destroy = machine.config.auto_destroy();
        let Some(timing) = self.app(app).map(|app| app.timing.clone()) else {
            return;
        };
        let (state, next) = match step {
            Step::Prepared { .. } if self.fails(app, |app| &mut app.launch_failures) => (
                MachineState::LaunchFailed,
                Some((timing.launch_failed, Step::Vanish)),
            ),
            Step::Prepared { skip_launch: true } => (MachineState::Stopped, None),
            Step::Prepared { skip_launch: false } => (
                MachineState::Starting,
                Some((timing.start, Step::Become(MachineState::Started))),
            ),
            Step::Become(MachineState::Started)
                if starting && self.fails(app, |app| &mut app.start_failures) =>
            {
                (MachineState::Failed, None)
            }
            Step::Become(MachineState::Stopped) if auto_destroy => (
                MachineState::Destroying,
                Some((timing.destroy, Step::Vanish)),
            ),
            Step::Become(state) => (state, None),
            Step::Vanish => return self.vanish(app, id),
            Step::Exit(exit_code) => {
                self.exit_machine(app, id, exit_code);
                return;
            }
        };
        let pending = match next {
            Some((after, step)) => Some((now.saturating_add(after), step)),
            None if state == MachineState::Started => self.ending(app, id),
            None => None,
        };
        let deed = Actor::Platform.does(ChangeKind::Become);
        self.change(app, id, deed, |machine| {
            machine.state = state;
            machine.pending = pending;
        });
    }

    fn fails(&mut self, app: &str, which: impl FnOnce(&mut App) -> &mut Failures) -> bool {
        let Some(app) = self.apps.get_mut(app) else {
            return false;
        };
        let failures = which(app);
        if failures.next > 0 {
            failures.next -= 1;
            return true;
        }
        let rate = failures.rate;
        rate > 0.0 && self.random.chance(rate)
    }

    fn vanish(&mut self, app: &str, id: &str) {
        let (now, history) = (self.now, self.history);
        let deed = Actor::Platform.does(ChangeKind::Vanish);
        let done = self.change(app, id, deed, |machine| {
            machine.state = MachineState::Destroyed;
            machine.pending = None;
        });
        let Some(app) = self.apps.get_mut(app).filter(|_| done) else {
            return;
        };
        for volume in app.volumes.values_mut() {
            if volume.attached.as_deref() == Some(id) {
                volume.attached = None;
            }
        }
        let Some(record) = app.records.get_mut(id) else {
            return;
        };
        record.vanish(now);
        if let Some(host) = self.hosts.get_mut(&record.machine().host) {
            host.machines = host.machines.saturating_sub(1);
        }
        let due = Due::Forget {
            app: Arc::clone(&app.name),
            id: id.into(),
        };
        self.schedule(now.saturating_add(history), due);
    }

    /// The emptiest host of a region that takes machines; `any` takes one that is full or cut off, too.
    fn place(&mut self, region: &str, any: bool) -> Option<Arc<str>> {
        for index in 0..self.hosts_per_region {
            let word = hash(&format!("{region}/{index}"));
            let name: Arc<str> = format!("{region}-{:04x}", word & 0xffff).into();
            self.hosts.entry(Arc::clone(&name)).or_insert_with(|| Host {
                name,
                region: region.into(),
                status: HostStatus::Ok,
                full: false,
                machines: 0,
            });
        }
        self.hosts
            .values()
            .filter(|host| *host.region == *region)
            .filter(|host| any || (host.status == HostStatus::Ok && !host.full))
            .min_by_key(|host| (host.status != HostStatus::Ok, host.machines))
            .map(|host| Arc::clone(&host.name))
    }

    fn instance_id(&mut self) -> Arc<str> {
        let letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        format!("01{}", self.random.text(letters, 24)).into()
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Platform")
            .field("now", &self.now)
            .field("apps", &self.apps)
            .field("hosts", &self.hosts)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

/// Whether a machine's VM is up and its metrics get out.
fn reports(machine: &Machine) -> bool {
    machine.state.is_running() && machine.host_status != HostStatus::Unreachable
}

fn instance_labels(app: &str, machine: &Machine) -> Labels {
    [
        ("app", app),
        ("host", &*machine.host),
        ("instance", &*machine.id),
        ("region", &*machine.region),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

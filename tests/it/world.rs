//! An in-process world: the real loop, client, retries and pacing against the simulator, under paused time.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use fly_autoscaler::{
    admin::{self, Admin},
    clock::Clock,
    config::{Config, Purpose, Sources},
    daemon::assemble,
    shown,
    shutdown::{ShutdownTrigger, shutdown},
    sim::{self, CallError, Options, Platform, Simulator},
    transport::{Transport, TransportError},
};
use futures_util::future::BoxFuture;
use http::{Request, Response, header};
use jiff::SignedDuration;
use tokio::{task::JoinHandle, time::Instant};
use tower::ServiceExt as _;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
};

/// The app of most worlds.
pub(crate) const APP: &str = "my-target-app";

/// The blueprint's settings, as Fly's users have them.
pub(crate) const BLUEPRINT: &[(&str, &str)] = &[
    ("FAS_PROMETHEUS_METRIC_NAME", "running_machines"),
    (
        "FAS_PROMETHEUS_QUERY",
        "count(fly_instance_up{app='$APP_NAME'})",
    ),
    ("FAS_CREATED_MACHINE_COUNT", "min(running_machines + 1, 10)"),
    ("FAS_INITIAL_MACHINE_STATE", "stopped"),
    ("FAS_PROMETHEUS_TOKEN", "FlyV1 fm2_metrics"),
    ("FAS_PROMETHEUS_ADDRESS", "http://simulator/prometheus/acme"),
];

/// Settings that scale by a gauge of the test's own, `queue_depth`; no target yet.
pub(crate) const QUEUE: &[(&str, &str)] = &[
    ("FAS_PROMETHEUS_METRIC_NAME", "queue_depth"),
    ("FAS_PROMETHEUS_QUERY", "queue_depth{app='$APP_NAME'}"),
    ("FAS_PROMETHEUS_TOKEN", "FlyV1 fm2_metrics"),
    ("FAS_PROMETHEUS_ADDRESS", "http://simulator/prometheus/acme"),
];

/// Whether a request for this path is one to Consul.
pub(crate) fn is_of_consul(path: &str) -> bool {
    ["/v1/kv/", "/v1/session/", "/v1/catalog/"]
        .iter()
        .any(|of_consul| path.starts_with(of_consul))
}

/// What is shared, whoever panicked with it.
pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The simulator as the program's transport.
pub(crate) struct SimTransport(pub(crate) Simulator);

impl Transport for SimTransport {
    fn exchange(
        &self,
        request: Request<Bytes>,
        body_limit: usize,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        Box::pin(async move {
            self.0
                .call(request, body_limit)
                .await
                .map_err(|error| match error {
                    CallError::Refused => TransportError::Connect(Box::new(error)),
                    CallError::Interrupted => TransportError::Interrupted(Box::new(error)),
                    CallError::BodyTooLarge { limit } => TransportError::BodyTooLarge { limit },
                })
        })
    }
}

/// A simulator and a running loop. Dropping it ends the loop.
pub(crate) struct World {
    pub(crate) simulator: Simulator,
    pub(crate) admin: Admin,
    settings: Vec<(OsString, OsString)>,
    /// The YAML file.
    pub(crate) file: Option<String>,
    running: Option<(ShutdownTrigger, JoinHandle<()>)>,
}

impl World {
    /// A world with these settings (over defaults that reach the simulator), not running yet.
    pub(crate) fn new(settings: &[(&str, &str)]) -> Self {
        Self::with_options(settings, &Options::default())
    }

    /// As [`World::new`], with a simulator of one's own choice.
    pub(crate) fn with_options(settings: &[(&str, &str)], options: &Options) -> Self {
        listen();
        let simulator = Simulator::new(options);
        simulator.platform().add_app(APP, "acme");
        let defaults = [
            ("FAS_APP_NAME", APP),
            ("FAS_API_TOKEN", "FlyV1 fm2_machines,fm2_discharge"),
            ("FLY_FLAPS_BASE_URL", "http://simulator"),
            ("FLY_API_BASE_URL", "http://simulator"),
        ];
        // Later ones win, as in a process's environment.
        let settings: BTreeMap<&str, &str> = defaults.iter().chain(settings).copied().collect();
        let settings = settings
            .into_iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect();
        Self {
            simulator,
            admin: Admin::new(
                Clock::Simulated {
                    epoch: options.epoch,
                    since: Instant::now(),
                },
                Duration::from_secs(15),
                Duration::from_secs(30),
            ),
            settings,
            file: None,
            running: None,
        }
    }

    /// Another copy of the daemon in the same world, with the same settings.
    pub(crate) fn copy(&self) -> Self {
        self.copy_by(self.admin.status.clock())
    }

    /// As [`World::copy`], with a clock of its own.
    pub(crate) fn copy_by(&self, clock: Clock) -> Self {
        Self {
            simulator: self.simulator.clone(),
            admin: Admin::new(clock, Duration::from_secs(15), Duration::from_secs(30)),
            settings: self.settings.clone(),
            file: self.file.clone(),
            running: None,
        }
    }

    /// As [`World::copy`], with settings that win over the same ones of this.
    pub(crate) fn copy_with(&self, settings: &[(&str, &str)]) -> Self {
        let own = settings
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let is_own = |name: &OsString| settings.iter().any(|(own, _)| *name == **own);
        let others = self.settings.iter().filter(|(name, _)| !is_own(name));
        let settings = others.cloned().chain(own).collect();
        let mut copy = self.copy();
        copy.settings = settings;
        copy
    }

    /// Another value of a setting, from the next start on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| *known != *name);
        self.settings.push((name.into(), value.into()));
    }

    /// The platform, to set the scene or to look at it.
    pub(crate) fn platform(&self) -> std::sync::MutexGuard<'_, Platform> {
        self.simulator.platform()
    }

    /// Lets the host of a machine answer no more; returns which one that is.
    pub(crate) fn lose_host_of(&self, machine: &str) -> Arc<str> {
        let mut platform = self.platform();
        let host = Arc::clone(&platform.machine(APP, machine).unwrap().host);
        platform.set_host_status(&host, sim::HostStatus::Unreachable);
        host
    }

    /// A world that scales by the gauge `queue_depth`, which is `depth`, and `settings`.
    pub(crate) fn queue(depth: f64, settings: &[(&str, &str)]) -> Self {
        Self::queue_with_options(depth, settings, &Options::default())
    }

    /// As [`World::queue`], with a simulator of one's own choice.
    pub(crate) fn queue_with_options(
        depth: f64,
        settings: &[(&str, &str)],
        options: &Options,
    ) -> Self {
        let world = Self::with_options(&[QUEUE, settings].concat(), options);
        world.depth(depth);
        world
    }

    /// A release of that status, whose deploy began so long ago.
    pub(crate) fn release(&self, status: &str, age: Duration) -> sim::Release {
        let age = SignedDuration::try_from(age).unwrap();
        let created_at = self.platform().wall().checked_sub(age).unwrap();
        sim::Release {
            version: 7,
            status: status.to_owned(),
            created_at,
            updated_at: created_at,
            image: "registry.fly.io/app:v7".to_owned(),
        }
    }

    /// Sets the gauge `queue_depth` of the world's app.
    pub(crate) fn depth(&self, depth: f64) {
        self.platform().set_gauge(APP, "queue_depth", Some(depth));
    }

    /// Starts the loop; the first pass begins with the next await.
    pub(crate) fn start(&mut self) {
        self.start_over(Arc::new(SimTransport(self.simulator.clone())));
    }

    /// As [`World::start`], over a transport of one's own.
    pub(crate) fn start_over(&mut self, transport: Arc<dyn Transport>) {
        self.start_over_after(transport, Duration::ZERO);
    }

    /// As [`World::start`], but the first pass begins after `pause`.
    pub(crate) fn start_after(&mut self, pause: Duration) {
        let transport = Arc::new(SimTransport(self.simulator.clone()));
        self.start_over_after(transport, pause);
    }

    fn start_over_after(&mut self, transport: Arc<dyn Transport>, pause: Duration) {
        let mut sources = Sources::new(self.settings.clone(), Purpose::Serve);
        sources.file = self.file.clone().map(|text| ("fas.yml".into(), text));
        let config = Config::load(sources).unwrap();
        shown::hold(&config.secrets);
        let (trigger, shutdown) = shutdown();
        let mut pool = assemble(config, None, transport, &self.admin, shutdown).unwrap();
        pool.begin_after(pause);
        self.running = Some((trigger, tokio::spawn(pool.run())));
    }

    /// Starts the loop and lets it run for so long.
    pub(crate) async fn run_for(&mut self, seconds: u64) {
        if self.running.is_none() {
            self.start();
        }
        // A millisecond more, so that what is due at the end of the time has happened.
        tokio::time::sleep(Duration::from_millis(seconds * 1000 + 1)).await;
    }

    /// Whether it was started and not ended since.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Kills the loop at once, as `kill -9` does: nothing in flight ends in order.
    pub(crate) async fn kill(&mut self) {
        if let Some((_, task)) = self.running.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Tells the loop to end, as a signal does; returns what ends with it.
    pub(crate) fn begin_to_stop(&mut self) -> JoinHandle<()> {
        let (trigger, task) = self.running.take().unwrap();
        trigger.set();
        task
    }

    /// Ends the loop as a signal does; returns how long that took.
    pub(crate) async fn stop(&mut self) -> Duration {
        let began = Instant::now();
        self.begin_to_stop().await.unwrap();
        began.elapsed()
    }

    /// How many machines of the group `app` exist.
    pub(crate) fn created(&self) -> usize {
        self.platform().living(APP, "app")
    }

    /// How many of them are in this state.
    pub(crate) fn in_state(&self, state: &sim::MachineState) -> usize {
        self.platform()
            .app(APP)
            .unwrap()
            .living("app")
            .filter(|machine| machine.state == *state)
            .count()
    }

    /// How many requests of this kind reached the simulator.
    pub(crate) fn requests(&self, operation: sim::Operation) -> usize {
        self.platform().requests_for(operation).count()
    }

    /// How many requests were meant to change something.
    pub(crate) fn writes(&self) -> usize {
        self.platform().writes().count()
    }

    /// When requests of this kind came, in whole seconds since the simulation's start.
    pub(crate) fn seconds_of(&self, operation: sim::Operation) -> Vec<u64> {
        let platform = self.platform();
        let seconds = platform.requests_for(operation).map(|one| one.at.as_secs());
        seconds.collect()
    }

    /// How often something went wrong in a pass for this reason.
    pub(crate) fn pass_errors(&self, reason: &str) -> u64 {
        self.count(&format!(r#"fas_pass_errors_total{{reason="{reason}"}}"#))
    }

    /// How often passes went wrong, by reason; those that never did are left out.
    pub(crate) fn all_pass_errors(&self) -> BTreeMap<String, u64> {
        let text = self.admin.metrics_text();
        let counted = text.lines().filter_map(|line| {
            let (reason, count) = line
                .strip_prefix(r#"fas_pass_errors_total{reason=""#)?
                .split_once(r#""} "#)?;
            Some((reason.to_owned(), count.parse().unwrap()))
        });
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// The value of a counter that has to be there.
    pub(crate) fn count(&self, series: &str) -> u64 {
        let text = self.admin.metrics_text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no {series}"))
            .parse()
            .unwrap()
    }

    /// One GET of the daemon's own port: status, content type and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String, String) {
        let router = admin::router(self.admin.clone());
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let content_type = response
            .headers()
            .get(header::CONTENT_TYPE)
            .map(|value| value.to_str().unwrap().to_owned());
        let body = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap();
        (
            status,
            content_type.unwrap_or_default(),
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }

    /// The headers of the answer to one GET of the daemon's own port.
    pub(crate) async fn headers(&self, path: &str) -> http::HeaderMap {
        let router = admin::router(self.admin.clone());
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.oneshot(request).await.unwrap().headers().clone()
    }

    /// The value of one series of `/metrics`, written as there; absent series are `None`.
    pub(crate) fn series(&self, series: &str) -> Option<f64> {
        self.admin.metrics_text().lines().find_map(|line| {
            line.strip_prefix(series)?
                .strip_prefix(' ')?
                .trim()
                .parse()
                .ok()
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((_, task)) = self.running.take() {
            task.abort();
        }
    }
}

thread_local! {
    /// Where this thread's events are kept, if anywhere.
    static KEPT: RefCell<Option<Arc<Mutex<Vec<LogLine>>>>> = const { RefCell::new(None) };
}

/// Makes one subscriber see every thread's events. One for each test would race with the registration of an event's
/// place in the code, which is done once for all threads.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Keeper);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// What the program logs on this thread while this lives.
pub(crate) struct Logs {
    lines: Arc<Mutex<Vec<LogLine>>>,
}

/// One event of the log.
#[derive(Debug, Clone)]
pub(crate) struct LogLine {
    pub(crate) level: Level,
    pub(crate) message: String,
    pub(crate) fields: BTreeMap<&'static str, String>,
}

impl Logs {
    /// Keeps what is logged from now on, at `info` and above.
    pub(crate) fn capture() -> Self {
        listen();
        let lines = Arc::default();
        KEPT.set(Some(Arc::clone(&lines)));
        Self { lines }
    }

    /// What was logged so far.
    pub(crate) fn lines(&self) -> Vec<LogLine> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone()
    }

    /// The lines with this text somewhere in the message.
    pub(crate) fn with(&self, text: &str) -> Vec<LogLine> {
        let mut lines = self.lines();
        lines.retain(|line| line.message.contains(text));
        lines
    }

    /// The errors logged.
    pub(crate) fn errors(&self) -> Vec<LogLine> {
        let mut lines = self.lines();
        lines.retain(|line| line.level == Level::ERROR);
        lines
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        KEPT.with_borrow_mut(|kept| {
            // In a loop the next one has begun to keep before the last one ends.
            if kept
                .as_ref()
                .is_some_and(|kept| Arc::ptr_eq(kept, &self.lines))
            {
                *kept = None;
            }
        });
    }
}

struct Keeper;

impl<S: Subscriber> Layer<S> for Keeper {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        let Some(kept) = KEPT.with_borrow(Clone::clone) else {
            return;
        };
        if level > Level::INFO {
            return;
        }
        let mut line = LogLine {
            level,
            message: String::new(),
            fields: BTreeMap::new(),
        };
        event.record(&mut line);
        kept.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }
}

impl Visit for LogLine {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // As the log shows it.
        let value = shown::line(&format!("{value:?}"), 3000);
        if field.name() == "message" {
            self.message = value;
        } else {
            self.fields.insert(field.name(), value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

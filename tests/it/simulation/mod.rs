//! Deterministic simulation: the real loop against the simulated platform, an hour at a time, under random trouble.
//!
//! A seed stands for a configuration, fleets, events and faults (`generator`), and is repeated exactly by its number.
//! What the daemon was told and what it sent is recorded at the transport (`wire`), what came of it by the simulator; `app`,
//! for each fleet of an app `oracle`, and for each group whose regions are fleets `group`, judge both by rules of their own
//! after every step, and whether the fleets have settled in the end.
//!
//! `cargo test simulation` runs the default seeds. `FAS_SIMULATION_SEEDS=20000` runs so many, from
//! `FAS_SIMULATION_FIRST` on; `FAS_SIMULATION_SEED=7` runs just that one and shows what happened in it.

mod app;
mod busy;
mod copies;
mod generator;
mod group;
mod oracle;
mod places;
mod shards;
mod tally;
mod wire;

use std::{
    env,
    ffi::OsString,
    fmt::{Debug, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use axum::body::Body;
use fly_autoscaler::{
    admin::{self, Admin},
    clock::Clock,
    config::{Config, Purpose, Sources},
    daemon::assemble,
    metrics::Metrics,
    shutdown::{ShutdownTrigger, shutdown},
    sim::{App, Failures, HostStatus, MachineState, NewMachine, NewVolume, Platform, Simulator},
};
use http::Request;
use tokio::{task::JoinHandle, time::Instant};
use tower::ServiceExt as _;

use self::{
    app::Judge,
    generator::{Asks, END, Event, REGIONS, Scenario, Scene, seconds},
    places::Places,
    tally::Tally,
    wire::{Recorder, Shared},
};

/// How many seeds `cargo test` runs.
const DEFAULT_SEEDS: u64 = 1000;

/// What is said of a seed in which the simulation itself breaks.
const PANICKED: &str = "the simulation panicked";

/// How often the judges look.
const LOOK: Duration = Duration::from_secs(5);

/// One seed's world.
struct Run {
    simulator: Simulator,
    shared: Shared,
    scenario: Arc<Scenario>,
    settings: Vec<(OsString, OsString)>,
    metrics: Metrics,
    /// What the port of the running daemon shows.
    admin: Option<Admin>,
    began: Instant,
    running: Option<(ShutdownTrigger, JoinHandle<()>)>,
}

impl Run {
    fn new(seed: u64) -> (Self, Vec<Judge>) {
        let scenario = Arc::new(Scenario::of(seed));
        let simulator = Simulator::new(&scenario.options);
        let began = Instant::now();
        let shared = Shared::new(seed, &scenario);
        let own: Vec<Option<Arc<str>>> = {
            let mut platform = simulator.platform();
            let own = scenario
                .apps
                .iter()
                .map(|scene| settle(&mut platform, scene))
                .collect();
            let first = |scene: &Scene| {
                let machine = platform.app(&scene.name)?.machines().next()?;
                Some(Arc::clone(&machine.id))
            };
            shared.line().first = scenario.apps.iter().map(first).collect();
            let shared = shared.clone();
            platform.set_fault_hook(Box::new(move |request| shared.line().send(request)));
            own
        };
        let mut settings: Vec<(OsString, OsString)> = [
            ("FAS_API_TOKEN", "FlyV1 fm2_machines,fm2_discharge"),
            ("FLY_FLAPS_BASE_URL", "http://simulator"),
            ("FLY_API_BASE_URL", "http://simulator"),
        ]
        .into_iter()
        .chain(
            scenario
                .settings
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        )
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect();
        if let Some(own) = own.iter().flatten().next() {
            settings.push(("FLY_MACHINE_ID".into(), (**own).into()));
        }
        let judges = own
            .into_iter()
            .enumerate()
            .map(|(app, own)| Judge::new(&scenario, app, &simulator.platform(), own.as_ref()))
            .collect();
        let run = Self {
            simulator,
            shared,
            scenario,
            settings,
            metrics: Metrics::new(),
            admin: None,
            began,
            running: None,
        };
        (run, judges)
    }

    fn start(&mut self) {
        let mut sources = Sources::new(self.settings.clone(), Purpose::Serve);
        let file = self.scenario.file.clone();
        sources.file = file.map(|text| ("fas.yml".into(), text));
        let config = Config::load(sources).unwrap();
        let (trigger, shutdown) = shutdown();
        let clock = Clock::Simulated {
            epoch: self.scenario.options.epoch,
            since: self.began,
        };
        let admin = Admin {
            metrics: self.metrics.clone(),
            ..Admin::new(clock, config.interval(), config.timeout())
        };
        let pool = assemble(
            config,
            None,
            Arc::new(Recorder {
                simulator: self.simulator.clone(),
                shared: self.shared.clone(),
                began: self.began,
            }),
            &admin,
            shutdown,
        )
        .unwrap();
        self.admin = Some(admin);
        self.shared.line().life += 1;
        self.running = Some((trigger, tokio::spawn(pool.run())));
    }

    /// Makes an event happen; errs where the daemon does not end as it must.
    async fn happen(&mut self, app: usize, event: &Event) -> Result<(), String> {
        match event {
            Event::Kill => {
                if let Some((_, task)) = self.running.take() {
                    task.abort();
                    let _ = task.await;
                }
            }
            Event::Stop => {
                if let Some((trigger, task)) = self.running.take() {
                    let asked = Instant::now();
                    trigger.set();
                    task.await.map_err(|error| error.to_string())?;
                    if asked.elapsed() > seconds(5) {
                        return Err(format!("it took {:?} to stop", asked.elapsed()));
                    }
                }
            }
            Event::Restart => self.start(),
            // Nothing of the daemon runs meanwhile, nor what it has under way.
            Event::Freeze(length) => tokio::time::advance(*length).await,
            Event::Calm => {
                self.shared.line().calm = true;
                for app in 0..self.scenario.apps.len() {
                    self.set(app, event);
                }
            }
            _ => self.set(app, event),
        }
        Ok(())
    }

    /// Changes the scene of an app, or of all.
    fn set(&self, app: usize, event: &Event) {
        let scene = &self.scenario.apps[app];
        let app = scene.name.as_str();
        let mut platform = self.simulator.platform();
        let chosen = |platform: &Platform, which: u64| -> Option<Arc<str>> {
            let ids: Vec<Arc<str>> = platform
                .app(app)?
                .machines()
                .map(|machine| Arc::clone(&machine.id))
                .collect();
            let index = usize::try_from(which % ids.len().max(1) as u64).ok()?;
            ids.get(index).cloned()
        };
        let host = |platform: &Platform, which: u64| -> Option<Arc<str>> {
            let index = usize::try_from(which % platform.hosts().count().max(1) as u64).ok()?;
            platform
                .hosts()
                .nth(index)
                .map(|host| Arc::clone(&host.name))
        };
        match event {
            Event::Load { fleet, load } => {
                if !self.scenario.metric_is_instances {
                    scene.fleets[*fleet].set_load(&mut platform, app, *load);
                }
            }
            Event::Unlabelled { fleet, on } => {
                let fleet = &scene.fleets[*fleet];
                if fleet.asks == Asks::ByLabel {
                    platform.set_gauge(app, fleet.gauge, on.then_some(9.0));
                }
            }
            Event::Appear(fleet) => {
                if let Some(machine) = scene.by_hand(*fleet) {
                    // There may be no room.
                    let _ = platform.add_machine(app, machine);
                }
            }
            Event::Vanish(fleet) => {
                for id in vanishing(&platform, scene, *fleet) {
                    platform.remove_machine(app, &id);
                }
            }
            Event::MetricsSilent(silent) => {
                let settings = self.scenario.options.metrics;
                platform.set_metrics(fly_autoscaler::sim::MetricsSettings {
                    silent: *silent,
                    ..settings
                });
            }
            Event::Host {
                which,
                down,
                cut_off,
            } => {
                if let Some(host) = host(&platform, *which).filter(|_| *down) {
                    let status = if *cut_off {
                        HostStatus::Unreachable
                    } else {
                        HostStatus::Unknown
                    };
                    platform.set_host_status(&host, status);
                }
            }
            Event::HostsBack => hosts_back(&mut platform),
            Event::Lease { which, ttl } => {
                if let Some(id) = chosen(&platform, *which) {
                    platform.lease(app, &id, "somebody", *ttl);
                }
            }
            Event::Exit { which, code } => {
                if let Some(id) = chosen(&platform, *which) {
                    let running = platform.machine(app, &id).is_some_and(|machine| {
                        machine.state == MachineState::Started
                            && machine.host_status != HostStatus::Unreachable
                    });
                    if running {
                        platform.exit_machine(app, &id, *code);
                    }
                }
            }
            Event::Protect { which, on } => {
                if let Some(id) = chosen(&platform, *which) {
                    platform.set_metadata(app, &id, "fas_protect", on.then_some("true"));
                }
            }
            Event::Deploy(deploy) => {
                platform.start_deploy(app, deploy.clone());
            }
            Event::LaunchFailures(rate) => {
                let failures = Failures {
                    next: 0,
                    rate: *rate,
                };
                platform.set_failures(app, failures, Failures::default());
            }
            Event::StartFailures(rate) => {
                let failures = Failures {
                    next: 0,
                    rate: *rate,
                };
                platform.set_failures(app, Failures::default(), failures);
            }
            Event::Endings(endings) => platform.set_endings(app, endings),
            Event::Capacity { region, machines } => {
                platform.set_region_capacity(region, *machines);
            }
            Event::MachineLimit(limit) => platform.set_machine_limit(*limit),
            Event::HostFull { which, full } => {
                if let Some(host) = host(&platform, *which) {
                    platform.set_host_full(&host, *full);
                }
            }
            Event::Proxy(settings) => platform.set_proxy(app, settings.clone()),
            Event::Traffic(load) => platform.set_load(app, *load),
            Event::Calm => {
                hosts_back(&mut platform);
                let hosts: Vec<Arc<str>> = platform
                    .hosts()
                    .map(|host| Arc::clone(&host.name))
                    .collect();
                for host in hosts {
                    platform.set_host_full(&host, false);
                }
                platform.set_failures(app, Failures::default(), Failures::default());
                platform.set_endings(app, &[]);
                for region in REGIONS {
                    platform.set_region_capacity(region, None);
                }
                platform.set_machine_limit(None);
                platform.set_proxy(app, None);
                platform.set_metrics(self.scenario.options.metrics);
                if !self.scenario.metric_is_instances {
                    for fleet in &scene.fleets {
                        if fleet.asks == Asks::ByLabel {
                            platform.set_gauge(app, fleet.gauge, None);
                        }
                        fleet.set_load(&mut platform, app, fleet.load);
                    }
                }
            }
            Event::Kill | Event::Stop | Event::Restart | Event::Freeze(_) => {}
        }
    }

    /// What the daemon's own port says shows no token, and that the loop turns while it runs.
    async fn ask_port(&self) -> Result<(), String> {
        let Some(admin) = self.admin.clone() else {
            return Ok(());
        };
        let router = admin::router(admin);
        for path in ["/metrics", "/readyz", "/healthz"] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            let status = response.status();
            let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
            let body = String::from_utf8_lossy(&body.unwrap()).into_owned();
            if body.contains("fm2_") || body.contains(r#"reason="panic"} 1"#) {
                return Err(format!("{path} says {body}"));
            }
            if path == "/healthz" && self.running.is_some() && !status.is_success() {
                return Err(format!("{path} says {status}: {body}"));
            }
        }
        Ok(())
    }

    /// The requests so far, in full.
    fn requests(&self) -> String {
        let mut text = String::new();
        for record in self.simulator.platform().requests().iter() {
            let _ = writeln!(text, "{record:?}");
        }
        text
    }
}

fn hosts_back(platform: &mut Platform) {
    let hosts: Vec<Arc<str>> = platform
        .hosts()
        .filter(|host| host.status != HostStatus::Ok)
        .map(|host| Arc::clone(&host.name))
        .collect();
    for host in hosts {
        platform.set_host_status(&host, HostStatus::Ok);
    }
}

/// The machines of a fleet, unless there are no others of its group.
fn vanishing(platform: &Platform, scene: &Scene, fleet: usize) -> Vec<Arc<str>> {
    let which = &scene.fleets[fleet].rules.which;
    let machines = platform
        .app(&scene.name)
        .into_iter()
        .flat_map(App::machines);
    let kin = machines.filter(|machine| machine.state.is_living() && which.is_kin(machine.group()));
    let (own, others): (Vec<_>, Vec<_>) =
        kin.partition(|machine| which.takes(machine.group(), &machine.region));
    let own = own.iter().filter(|_| !others.is_empty());
    own.map(|machine| Arc::clone(&machine.id)).collect()
}

/// Puts the machines there; says which machine is the daemon's own.
fn settle(platform: &mut Platform, scene: &Scene) -> Option<Arc<str>> {
    let app = scene.name.as_str();
    platform.add_app(app, "acme");
    let mut own = None;
    for (number, start) in scene.machines.iter().enumerate() {
        let volume = start.mounts.then(|| {
            let volume = NewVolume::named("data", &start.region);
            platform.create_volume(app, volume).unwrap()
        });
        let mut machine = NewMachine::in_region(&start.region)
            .state(start.state.clone())
            .config(&start.config(volume.as_deref()));
        if start.cordoned {
            machine = machine.cordoned();
        }
        if let Some(takes) = start.stop_takes {
            machine = machine.stop_takes(takes);
        }
        let id = platform.add_machine(app, machine).unwrap();
        if scene.fleets[0].rules.own == Some(number) {
            own = Some(id);
        }
    }
    let wall = platform.wall();
    let release = scene.release.map(|version| fly_autoscaler::sim::Release {
        version,
        status: "complete".to_owned(),
        created_at: wall,
        updated_at: wall,
        image: format!("registry.fly.io/web:v{version}"),
    });
    platform.set_release(app, release);
    for fleet in &scene.fleets {
        fleet.set_load(platform, app, fleet.load);
    }
    own
}

/// What became of one seed.
struct Verdict {
    tally: Tally,
    failure: Option<String>,
    trace: Vec<(Duration, String)>,
    requests: String,
}

/// Runs one seed to its end, or to the first rule that is broken.
fn simulate(seed: u64, traced: bool, logged: bool) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (mut run, mut judges) = Run::new(seed);
        if traced {
            judges.iter_mut().for_each(Judge::trace_on);
        }
        let mut places = Places::new(&run.scenario);
        run.start();
        let scenario = Arc::clone(&run.scenario);
        let mut events = scenario.events.iter().peekable();
        let mut requests = String::new();
        let mut failure = None;
        while failure.is_none() {
            let now = run.began.elapsed();
            let next = events
                .peek()
                .map_or(END, |(at, ..)| *at)
                .min(now + LOOK)
                .min(END);
            tokio::time::sleep_until(run.began + next).await;
            failure = look(&run, &mut judges, &mut places).err();
            if logged {
                requests.push_str(&run.requests());
                run.simulator.platform().clear_logs();
            }
            let now = run.began.elapsed();
            while let Some((_, app, event)) = events.next_if(|(at, ..)| *at <= now) {
                if failure.is_some() {
                    break;
                }
                for judge in &mut judges {
                    judge.event(now, *app, event);
                }
                if matches!(event, Event::Calm | Event::MetricsSilent(_)) {
                    failure = run.ask_port().await.err();
                }
                failure = failure.or(run.happen(*app, event).await.err());
            }
            if now >= END {
                break;
            }
        }
        if failure.is_none() {
            let (platform, line) = (run.simulator.platform(), run.shared.line());
            failure = judges
                .iter_mut()
                .zip(&line.apps)
                .find_map(|(judge, talk)| judge.settled(&platform, talk).err());
        }
        if failure.is_none() {
            failure = run.ask_port().await.err();
        }
        let mut tally = places.tally().clone();
        let mut trace = Vec::new();
        for judge in judges {
            tally.add(&judge.tally());
            trace.extend(judge.into_trace());
        }
        trace.sort_by_key(|(at, _)| *at);
        Verdict {
            tally,
            failure,
            trace,
            requests,
        }
    })
}

fn look(run: &Run, judges: &mut [Judge], places: &mut Places) -> Result<(), String> {
    let platform = run.simulator.platform();
    let line = run.shared.line();
    for (judge, talk) in judges.iter_mut().zip(&line.apps) {
        judge.look(&platform, talk, run.running.is_some())?;
    }
    places.look(&line.apps, platform.now())
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Runs seeds on every core, and tells one by one what each came to; `None`: it panicked.
fn on_every_core<Verdict>(
    first: u64,
    count: u64,
    simulate: impl Fn(u64) -> Verdict + Sync,
    tell: impl FnMut(u64, Option<Verdict>) + Send,
) {
    let next = AtomicU64::new(first);
    let tell = Mutex::new(tell);
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    let verdict = catch_unwind(AssertUnwindSafe(|| simulate(seed)));
                    let mut tell = tell.lock().unwrap_or_else(PoisonError::into_inner);
                    tell(seed, verdict.ok());
                }
            });
        }
    });
}

/// Judges the seeds that the environment asks for, or the first `usual` ones; what was seen in all of them together, and how many
/// they were. `None`: it asks for one alone.
#[expect(
    clippy::print_stderr,
    reason = "shown by `--nocapture`, and where a seed fails"
)]
fn judge_seeds<Seen: Default + Debug + Send>(
    usual: u64,
    simulate: impl Fn(u64) -> Result<Seen, String> + Sync,
    add: fn(&mut Seen, &Seen),
) -> Option<(Seen, u64)> {
    if let Some(seed) = number("FAS_SIMULATION_SEED") {
        let verdict = simulate(seed);
        eprintln!("{verdict:?}");
        assert!(verdict.is_ok(), "seed {seed}");
        return None;
    }
    let first = number("FAS_SIMULATION_FIRST").unwrap_or(0);
    let count = number("FAS_SIMULATION_SEEDS").unwrap_or(usual);
    let began = std::time::Instant::now();
    let mut sum = Seen::default();
    let mut failures = Vec::new();
    on_every_core(first, count, simulate, |seed, verdict| {
        match verdict.unwrap_or_else(|| Err(PANICKED.to_owned())) {
            Ok(seen) => add(&mut sum, &seen),
            Err(failure) => failures.push(format!("FAS_SIMULATION_SEED={seed}: {failure}")),
        }
    });
    let took = began.elapsed().as_secs_f64();
    eprintln!("{count} seeds in {took:.1} s: {sum:?}");
    assert!(failures.is_empty(), "{failures:#?}");
    Some((sum, count))
}

/// Runs seeds on every core; says what was done in them, and which broke a rule.
fn simulate_all(first: u64, count: u64) -> (Tally, Vec<(u64, String)>) {
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    let run = |seed| simulate(seed, false, false);
    on_every_core(first, count, run, |seed, verdict| match verdict {
        Some(verdict) => {
            tally.add(&verdict.tally);
            failures.extend(verdict.failure.map(|failure| (seed, failure)));
        }
        None => failures.push((seed, PANICKED.to_owned())),
    });
    failures.sort();
    (tally, failures)
}

#[test]
#[expect(
    clippy::print_stderr,
    reason = "shown by `--nocapture`, and where a seed fails"
)]
fn no_seed_breaks_a_rule() {
    if let Some(seed) = number("FAS_SIMULATION_SEED") {
        let verdict = simulate(seed, true, false);
        for (at, line) in &verdict.trace {
            eprintln!("{:9.3} {line}", at.as_secs_f64());
        }
        eprintln!("{:?}", verdict.tally);
        assert_eq!(verdict.failure, None, "seed {seed}");
        return;
    }
    let first = number("FAS_SIMULATION_FIRST").unwrap_or(0);
    let count = number("FAS_SIMULATION_SEEDS").unwrap_or(DEFAULT_SEEDS);
    let began = std::time::Instant::now();
    let (tally, failures) = simulate_all(first, count);
    eprintln!(
        "{count} seeds in {:.1} s: {tally:?}",
        began.elapsed().as_secs_f64()
    );
    let mut shown = String::new();
    for (seed, failure) in failures.iter().take(20) {
        let _ = write!(shown, "\n  FAS_SIMULATION_SEED={seed}: {failure}");
    }
    assert!(
        failures.is_empty(),
        "{} of {count} seeds broke a rule; the number repeats one of them and shows it:{shown}",
        failures.len()
    );
    let too_rare = tally.too_rare(count);
    assert!(
        count < DEFAULT_SEEDS || too_rare.is_empty(),
        "the generator has become tame: {too_rare:#?}"
    );
}

#[test]
fn a_seed_is_repeated_to_the_byte() {
    for seed in [3, 17, 40] {
        let one = simulate(seed, false, true);
        let other = simulate(seed, false, true);
        assert!(one.requests.len() > 10_000, "seed {seed}");
        assert!(one.requests == other.requests, "seed {seed}");
        assert_eq!(one.tally, other.tally, "seed {seed}");
    }
}

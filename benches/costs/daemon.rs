//! The real program as a process: what passes take of a core, of memory and of the API; how soon and how large it answers.
//!
//! It scales apps of ten machines, all of which run as they should, on a simulated platform that another thread of this
//! process serves on loopback. Only what the program's own process uses is counted. What is asked about one of the apps is
//! answered as it is for the first, from memory, so that the platform takes little of the machine.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{self, SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fly_autoscaler::{
    config::{Config, Purpose, Sources},
    daemon::Daemon,
    shutdown::shutdown,
    sim::{Canned, Effect, MachineState, NewMachine, Operation, Options, RequestRecord, Simulator},
    status::RESOLUTION,
};
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot};

use crate::measure::{Line, Table, Unit};

/// The program that is measured.
const PROGRAM: &str = env!("CARGO_BIN_EXE_fly-autoscaler");

/// The first app, and with what the names of the others begin.
const APP: &str = "app";

/// Whose they are.
const ORG: &str = "acme";

/// How many machines each app has.
const MACHINES: u32 = 10;

/// How many apps there are.
const APPS: [u32; 4] = [1, 100, 1_000, MOST_APPS];

/// The port is asked with so many fleets to show.
const MOST_APPS: u32 = 5_000;

/// From the beginning of a pass to that of the next, of whichever app: with 5,000 apps each has one every 15 s, as is the
/// default of `FAS_INTERVAL`. The same for fewer apps, so that the processor rests as long between two passes.
const SPACING: Duration = Duration::from_millis(3);

/// How many times what passes cost is measured, and over how many passes, at least, each time.
const WINDOWS: usize = 3;
const WINDOW: u32 = 1_000;

/// How many passes a process makes first: connections are opened, and what is allocated once is.
const WARM_UP: u32 = 300;

/// How often an answer of the port is asked for.
const ANSWERS: usize = 21;

/// How often the program is started.
const STARTS: usize = 11;

/// How long what is waited for may take; creating is paced by the API, and takes longest.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether it has come true.
const LOOK: Duration = Duration::from_millis(2);

pub(crate) fn measure(table: &mut Table) {
    let length = fs::metadata(PROGRAM).expect("the program is there").len();
    table.add(Line::new("binary", Unit::Bytes, vec![length as f64]));
    start(table);
    for apps in APPS {
        passes(table, apps);
    }
    for apps in [1, 100] {
        allocations(table, apps);
    }
    creates(table);
    starts(table);
}

/// A runtime for what waits, on this thread.
pub(crate) fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("the system has what a runtime needs")
}

/// From the start of the process to the end of the first answer of `/metrics`, and what one app takes of memory.
fn start(table: &mut Table) {
    if !table.wants("start/") {
        return;
    }
    let simulated = Simulated::apps(1);
    let mut answered = Vec::new();
    let mut idle = Vec::new();
    for _ in 0..STARTS {
        let before = simulated.passes();
        let began = Instant::now();
        let process = Process::start(&simulated, &simulated.steady(Duration::from_secs(15)));
        process.get("/metrics");
        answered.push(began.elapsed().as_secs_f64());
        simulated.wait_for(before + 1);
        // The pass ends with the answer to its last question.
        thread::sleep(Duration::from_millis(100));
        idle.push(process.memory("VmRSS"));
    }
    table.add(Line::new("start/metrics", Unit::Seconds, answered));
    table.add(Line::new("start/memory", Unit::Resident, idle));
}

/// Passes in which there is nothing to do.
fn passes(table: &mut Table, apps: u32) {
    let group = format!("passes/{apps}/");
    let is_asked = apps == MOST_APPS && table.wants("port/");
    if !table.wants(&group) && !is_asked {
        return;
    }
    let simulated = Simulated::apps(apps);
    let process = Process::start(&simulated, &simulated.steady(SPACING * apps));
    let warm = u64::from(apps.max(WARM_UP));
    simulated.wait_for(warm);
    if table.wants(&group) {
        let mut costs = Vec::new();
        let mut cores = Vec::new();
        let requests = simulated.requests();
        let ticks = process.ticks();
        let mut made = simulated.passes();
        let first = made;
        for _ in 0..WINDOWS {
            let (began, used) = (Instant::now(), process.core());
            simulated.wait_for(made + u64::from(apps.max(WINDOW)));
            let passes = simulated.passes() - made;
            let used = process.core().saturating_sub(used).as_secs_f64();
            costs.push(used / passes as f64);
            cores.push(used / began.elapsed().as_secs_f64());
            made += passes;
        }
        let made = (made - first) as f64;
        let requests = (simulated.requests() - requests) as f64 / made;
        let line =
            |name: &str, unit, samples| Line::new(format!("{group}{name}"), unit, samples).items(1);
        table.add(line("core", Unit::Seconds, costs));
        let [user, system] = process.ticks();
        for (name, used) in [("user", user - ticks[0]), ("system", system - ticks[1])] {
            table.add(line(name, Unit::Seconds, vec![used / made]));
        }
        table.add(line("requests", Unit::Count, vec![requests]));
        table.add(line("share", Unit::Core, cores));
        for (name, field) in [("memory", "VmRSS"), ("peak", "VmHWM")] {
            let memory = vec![process.memory(field)];
            table.add(line(name, Unit::Resident, memory));
        }
    }
    if is_asked {
        port(table, &process);
    }
    // Answered well only while passes succeed.
    process.get("/readyz");
    let platform = simulated.simulator.platform();
    assert_eq!(platform.writes().count(), 0, "there was something to do");
}

/// What the program answers about all its fleets.
fn port(table: &mut Table, process: &Process) {
    for (name, path) in [
        ("metrics", "/metrics"),
        ("status", "/api/status"),
        ("page", "/"),
    ] {
        let mut times = Vec::new();
        let mut length = 0;
        for _ in 0..ANSWERS {
            let began = Instant::now();
            length = process.get(path);
            times.push(began.elapsed().as_secs_f64());
        }
        table.add(Line::new(format!("port/{name}"), Unit::Seconds, times));
        let line = Line::new(
            format!("port/{name}/length"),
            Unit::Bytes,
            vec![length as f64],
        );
        table.add(line);
    }
    let peak = vec![process.memory("VmHWM")];
    table.add(Line::new("port/peak", Unit::Resident, peak));
}

/// What a pass allocates: the same in this process, whose allocations are counted, but without a log.
fn allocations(table: &mut Table, apps: u32) {
    let name = format!("pass/{apps}/allocated");
    if !table.wants(&name) {
        return;
    }
    let simulated = Simulated::apps(apps);
    let environment = simulated
        .environment(&simulated.steady(SPACING * apps))
        .into_iter();
    let environment = environment.map(|(name, value)| (OsString::from(name), value.into()));
    let config = Config::load(Sources::new(environment, Purpose::Serve));
    let config = config.expect("the settings are valid");
    let (_trigger, shutdown) = shutdown();
    let runtime = runtime();
    let metrics = runtime.block_on(async {
        let daemon = Daemon::bind(config, None, shutdown, RESOLUTION).expect("it can listen");
        let metrics = daemon.metrics();
        tokio::spawn(daemon.run());
        metrics
    });
    let wait_for = |passes| {
        runtime.block_on(async {
            while metrics.passes() < passes {
                tokio::time::sleep(LOOK).await;
            }
        });
    };
    wait_for(u64::from(apps.max(WARM_UP)));
    let before = metrics.passes();
    let allocated = allocation_counter::measure(|| wait_for(before + u64::from(WINDOW)));
    let passes = metrics.passes() - before;
    let bytes = allocated.bytes_total as f64 / passes as f64;
    let line = Line::new(name, Unit::Bytes, vec![bytes]).items(1);
    table.add(line.allocations(allocated.count_total / passes));
}

/// Creates, as fast as the API's rate lets them through.
fn creates(table: &mut Table) {
    if !table.wants("creates/") {
        return;
    }
    let simulator = Simulator::new(&Options::default());
    add_app(&simulator, 1, &MachineState::Started);
    let simulated = Simulated::serve(simulator, Vec::new());
    let wanted = [("FAS_CREATED_MACHINE_COUNT", "20".to_owned())];
    let (took, refused) = simulated.time(&wanted, Operation::Create, 19);
    table.add(Line::new("creates/19", Unit::Seconds, vec![took]));
    table.add(Line::new("creates/19/refused", Unit::Count, vec![refused]));
}

/// Starts, over a network on which each request takes its time.
fn starts(table: &mut Table) {
    if !table.wants("starts/") {
        return;
    }
    let latency = Duration::from_millis(50);
    let wanted = [("FAS_STARTED_MACHINE_COUNT", "40".to_owned())];
    let took = (0..STARTS).map(|_| {
        let simulator = Simulator::new(&Options {
            latency,
            ..Options::default()
        });
        add_app(&simulator, 40, &MachineState::Stopped);
        let simulated = Simulated::serve(simulator, Vec::new());
        let (took, _) = simulated.time(&wanted, Operation::Start, 40);
        // From when the first one was sent.
        took + latency.as_secs_f64()
    });
    let took = took.collect();
    table.add(Line::new("starts/40/50ms", Unit::Seconds, took));
}

/// Waits until something has come true.
fn until(mut is_true: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_true() {
        assert!(began.elapsed() < PATIENCE, "the program does not get on");
        thread::sleep(LOOK);
    }
}

/// Adds an app with machines of a web service.
pub(crate) fn add_app(simulator: &Simulator, machines: u32, state: &MachineState) {
    let services = json!([{
        "protocol": "tcp", "internal_port": 8080, "autostop": true, "autostart": true, "min_machines_running": 0,
        "ports": [{ "port": 80, "handlers": ["http"], "force_https": true }, { "port": 443, "handlers": ["http", "tls"] }],
        "concurrency": { "type": "requests", "soft_limit": 20, "hard_limit": 25 },
    }]);
    let machine = NewMachine::in_region("ord").services(&services);
    let machine = machine.state(state.clone());
    let mut platform = simulator.platform();
    platform.add_app(APP, ORG);
    for _ in 0..machines {
        let added = platform.add_machine(APP, machine.clone());
        added.expect("the app is there");
    }
}

/// What a platform answers.
pub(crate) fn ask(simulator: &Simulator, path: &str) -> Response<Bytes> {
    let request = Request::get(path).body(Bytes::new());
    let request = request.expect("a valid address");
    let answer = runtime().block_on(simulator.call(request, usize::MAX));
    answer.expect("an answer")
}

/// A simulated platform on a socket, served by a thread that ends with this.
struct Simulated {
    simulator: Simulator,
    address: SocketAddr,
    requests: Arc<AtomicU64>,
    /// Each pass over an app lists its machines once.
    lists: Arc<AtomicU64>,
    _serving: oneshot::Sender<()>,
}

impl Simulated {
    /// Serves a platform; requests of some kinds are given `answers` instead of its own.
    fn serve(simulator: Simulator, answers: Vec<(Operation, Canned)>) -> Self {
        let (requests, lists) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (all, of_lists) = (Arc::clone(&requests), Arc::clone(&lists));
        simulator
            .platform()
            .set_fault_hook(Box::new(move |request| {
                all.fetch_add(1, Ordering::Relaxed);
                if request.operation == Operation::List {
                    of_lists.fetch_add(1, Ordering::Relaxed);
                }
                let mut answers = answers.iter();
                let answer = answers.find(|(operation, _)| *operation == request.operation)?;
                Some(Effect::Answer(answer.1.clone()))
            }));
        let listener = net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("it is open");
        let (serving, ended) = oneshot::channel();
        let server = simulator.clone();
        thread::spawn(move || {
            runtime().block_on(async {
                let listener = TcpListener::from_std(listener).expect("it does not block");
                tokio::select! {
                    // Cancel safe, both: nothing comes after this.
                    _ = server.serve(listener) => {}
                    _ = ended => {}
                }
            });
        });
        Self {
            simulator,
            address,
            requests,
            lists,
            _serving: serving,
        }
    }

    /// So many apps, whose machines run.
    fn apps(count: u32) -> Self {
        let simulator = Simulator::new(&Options::default());
        add_app(&simulator, MACHINES, &MachineState::Started);
        for app in 1..count {
            let name = format!("{APP}-{app}");
            simulator.platform().add_app(&name, ORG);
        }
        let list = format!("/v1/apps/{APP}/machines");
        let query = format!("count(fly_instance_up%7Bapp='{APP}'%7D)");
        let query = format!("/prometheus/{ORG}/api/v1/query?query={query}");
        let answers = [(Operation::List, list), (Operation::Query, query)];
        let answers = answers.map(|(operation, path)| {
            let (head, body) = ask(&simulator, &path).into_parts();
            let headers = head.headers.iter().map(|(name, value)| {
                let value = value.to_str().expect("text");
                (name.to_string(), value.to_owned())
            });
            let canned = Canned {
                status: head.status.as_u16(),
                headers: headers.collect(),
                body,
            };
            (operation, canned)
        });
        Self::serve(simulator, answers.into())
    }

    /// How many requests have come so far.
    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// How many passes have been begun so far.
    fn passes(&self) -> u64 {
        self.lists.load(Ordering::Relaxed)
    }

    fn wait_for(&self, passes: u64) {
        until(|| self.passes() >= passes);
    }

    /// Settings by which as many machines are wanted as run, asked of Prometheus.
    fn steady(&self, interval: Duration) -> [(&'static str, String); 6] {
        let address = format!("http://{}/prometheus/{ORG}", self.address);
        let query = "count(fly_instance_up{app='$APP_NAME'})";
        [
            ("FAS_PROMETHEUS_ADDRESS", address),
            ("FAS_PROMETHEUS_TOKEN", "FlyV1 fm2_metrics".to_owned()),
            ("FAS_PROMETHEUS_METRIC_NAME", "running_machines".to_owned()),
            ("FAS_PROMETHEUS_QUERY", query.to_owned()),
            ("FAS_CREATED_MACHINE_COUNT", "running_machines".to_owned()),
            ("FAS_INTERVAL", format!("{}ms", interval.as_millis())),
        ]
    }

    /// The variables of a program that scales all apps by these settings.
    fn environment(&self, settings: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
        let base = format!("http://{}", self.address);
        let mut environment = vec![
            ("FAS_APP_NAME", format!("{APP}*")),
            ("FAS_ORG", ORG.to_owned()),
            ("FAS_API_TOKEN", "FlyV1 fm2_machines".to_owned()),
            ("FAS_METRICS_ADDRESS", "127.0.0.1:0".to_owned()),
            ("FLY_FLAPS_BASE_URL", base.clone()),
            ("FLY_API_BASE_URL", base),
        ];
        environment.extend_from_slice(settings);
        environment
    }

    /// Lets the program do something so many times; how long it took from the arrival of the first request to that of
    /// the last, and how many were refused as too many.
    fn time(
        &self,
        settings: &[(&'static str, String)],
        operation: Operation,
        count: usize,
    ) -> (f64, f64) {
        let process = Process::start(self, settings);
        let done = |request: &&RequestRecord| request.took_effect;
        until(|| {
            let platform = self.simulator.platform();
            platform.requests_for(operation).filter(done).count() >= count
        });
        drop(process);
        let platform = self.simulator.platform();
        let mut times = platform.requests_for(operation).map(|request| request.at);
        let first = times.next().expect("it was done");
        let last = times.next_back().expect("it was done");
        let is_refused = |request: &&RequestRecord| request.status == Some(429);
        let refused = platform.requests().iter().filter(is_refused).count();
        (last.saturating_sub(first).as_secs_f64(), refused as f64)
    }
}

/// The real program, serving; it is killed with this.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(simulated: &Simulated, settings: &[(&'static str, String)]) -> Self {
        let child = Command::new(PROGRAM)
            .arg("serve")
            .env_clear()
            .envs(simulated.environment(settings))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("the program can be started");
        let log = child.stderr.take().expect("it is piped");
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let mut said = String::new();
        let address = lines.find_map(|line| {
            said.extend([&*line, "\n"]);
            let line: Value = serde_json::from_str(&line).ok()?;
            line["address"].as_str()?.parse().ok()
        });
        let Some(address) = address else {
            panic!("it does not say where it listens: {said}");
        };
        // Whatever else it says, it must not wait for a reader.
        thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// The length of the answer to one GET of its port.
    fn get(&self, path: &str) -> usize {
        let mut socket = TcpStream::connect(self.address).expect("it listens");
        let mut answer = Vec::new();
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
        socket
            .write_all(request.as_bytes())
            .and_then(|()| socket.read_to_end(&mut answer))
            .expect("it answers");
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{path} is there");
        answer.len()
    }

    fn read(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.child.id());
        fs::read_to_string(path).expect("Linux tells of a process that runs")
    }

    /// How long it has been on a core so far, to the nanosecond.
    fn core(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let threads = threads.expect("Linux tells of a process that runs");
        let of_thread = |thread: fs::DirEntry| {
            let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            times.split(' ').next()?.parse::<u64>().ok()
        };
        let times = threads.filter_map(|thread| of_thread(thread.ok()?));
        Duration::from_nanos(times.sum())
    }

    /// How many seconds of that it was in its own code and in the kernel's, to a tick of 10 ms.
    fn ticks(&self) -> [f64; 2] {
        let stat = self.read("stat");
        // Behind the name, which may have spaces, stand the state and ten numbers.
        let (_, numbers) = stat.rsplit_once(')').expect("it has a name");
        let numbers = numbers.split_whitespace().skip(11);
        let mut seconds = numbers.filter_map(|ticks| Some(ticks.parse::<f64>().ok()? / 100.0));
        let times = seconds.next().zip(seconds.next());
        times.expect("it has both").into()
    }

    /// Memory by its name in `/proc/PID/status`, in bytes.
    fn memory(&self, name: &str) -> f64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        number.expect("it is among what Linux tells") * 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

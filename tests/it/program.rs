//! The real program as users start it: commands, exit codes, messages.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::{Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use fly_autoscaler::{
    dashboard,
    sim::{self, Options, Platform, RateLimits, Simulator},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    process::Child,
    task::JoinHandle,
};

use crate::world::{APP, QUEUE};

/// Runs the program to its end with nothing in its environment but `settings`.
pub(crate) fn run(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fly-autoscaler"))
        .args(arguments)
        .env_clear()
        .envs(settings.iter().copied())
        .output()
        .unwrap()
}

/// How often something is looked at before it is given up, and how long the pause between is: 20 s in all.
pub(crate) const LOOKS: u32 = 2000;
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `what` has come true.
pub(crate) async fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    for _ in 0..LOOKS {
        if is_true() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("it has not come true: {what}");
}

/// Sends a signal to a process, by what every shell can do itself: a small system has no `kill`.
pub(crate) fn signal(id: u32, name: &str) {
    let status = Command::new("/bin/sh")
        .args(["-c", &format!("kill -{name} {id}")])
        .status()
        .unwrap();
    assert!(status.success());
}

/// A simulator on a socket, which ends with this.
pub(crate) struct Served {
    pub(crate) simulator: Simulator,
    pub(crate) address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Served {
    /// An empty app on a platform without rate limits, so that intervals can be short.
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    /// As [`Served::new`], with a platform of one's own choice.
    pub(crate) async fn with(options: Options) -> Self {
        let simulator = Simulator::new(&Options {
            rate_limits: RateLimits {
                enabled: false,
                ..RateLimits::default()
            },
            ..options
        });
        simulator.platform().add_app(APP, "acme");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = simulator.clone();
        Self {
            simulator,
            address,
            serving: tokio::spawn(async move { server.serve(listener).await.unwrap() }),
        }
    }

    /// The platform, to set the scene or to look at it.
    pub(crate) fn platform(&self) -> std::sync::MutexGuard<'_, Platform> {
        self.simulator.platform()
    }

    /// How many requests of this kind were processed.
    pub(crate) fn requests(&self, operation: sim::Operation) -> usize {
        self.platform().requests_for(operation).count()
    }

    /// Waits until more requests of this kind have been processed than now.
    pub(crate) async fn more(&self, operation: sim::Operation, count: usize) {
        let before = self.requests(operation);
        let what = format!("{count} more {operation:?}");
        until(&what, || self.requests(operation) >= before + count).await;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The real program, serving; it is killed with this.
pub(crate) struct Daemon {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reading: JoinHandle<()>,
    pub(crate) address: SocketAddr,
}

impl Daemon {
    /// Starts the program against a simulator, with a pass every 100 ms and these settings, scaling by `queue_depth`.
    pub(crate) async fn start(served: &Served, settings: &[(&str, &str)]) -> Self {
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_fly-autoscaler"));
        program.arg("serve");
        Self::start_as(program, served, settings).await
    }

    /// As [`Daemon::start`], by a command that becomes the program.
    pub(crate) async fn start_as(
        mut program: tokio::process::Command,
        served: &Served,
        settings: &[(&str, &str)],
    ) -> Self {
        let base = format!("http://{}", served.address);
        let prometheus = format!("{base}/prometheus/acme");
        let defaults = [
            ("FAS_APP_NAME", APP),
            ("FAS_API_TOKEN", "FlyV1 fm2_machines,fm2_discharge"),
            ("FAS_METRICS_ADDRESS", "127.0.0.1:0"),
            ("FAS_INTERVAL", "100ms"),
        ];
        let own = [
            ("FAS_PROMETHEUS_ADDRESS", &*prometheus),
            ("FLY_FLAPS_BASE_URL", &*base),
            ("FLY_API_BASE_URL", &*base),
        ];
        let environment: BTreeMap<&str, &str> = QUEUE
            .iter()
            .chain(&defaults)
            .chain(&own)
            .chain(settings)
            .copied()
            .collect();
        let mut child = program
            .env_clear()
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let kept = Arc::clone(&lines);
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = stderr.next_line().await {
                kept.lock().unwrap().push(line);
            }
        });
        let mut address = None;
        until("the daemon says where it listens", || {
            address = lines.lock().unwrap().iter().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                line["address"].as_str()?.parse().ok()
            });
            address.is_some()
        })
        .await;
        Self {
            child,
            lines,
            reading,
            address: address.unwrap(),
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends a signal: `INT`, `TERM`, `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Waits for the end, for at most five seconds, and for the last of its log.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        let status = tokio::time::timeout(Duration::from_secs(5), self.child.wait())
            .await
            .expect("it ends within 5 s")
            .unwrap();
        (&mut self.reading).await.unwrap();
        status
    }

    /// What it has logged so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Whether a line with this text was logged.
    pub(crate) fn has_said(&self, text: &str) -> bool {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains(text))
    }

    /// One GET of its own port, as text: head and body.
    pub(crate) async fn get(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        text
    }

    /// How often passes went wrong for this reason.
    pub(crate) async fn pass_errors(&self, reason: &str) -> u64 {
        let series = format!(r#"fas_pass_errors_total{{reason="{reason}"}} "#);
        let text = self.get("/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.unwrap().parse().unwrap()
    }
}

#[test]
fn exit_codes_are_upstreams() {
    let cases: &[(&[&str], i32, &str, &str)] = &[
        (&[], 2, "Usage: fly-autoscaler", ""),
        (&["help"], 2, "Usage: fly-autoscaler", ""),
        (
            &["help", "me"],
            2,
            "Usage: fly-autoscaler",
            "ERROR: fly-autoscaler help: unknown topic: me\n",
        ),
        (
            &["help", "setings"],
            2,
            "Usage: fly-autoscaler",
            "ERROR: fly-autoscaler help: unknown topic: setings (did you mean settings?)",
        ),
        (
            &["help", "backtets"],
            2,
            "Usage: fly-autoscaler",
            "ERROR: fly-autoscaler help: unknown topic: backtets (did you mean backtest?)",
        ),
        (
            &["help", "settings", "all"],
            2,
            "Usage: fly-autoscaler",
            "ERROR: fly-autoscaler help: too many arguments: all",
        ),
        (&["help", "help"], 2, "Usage: fly-autoscaler", ""),
        (&["help", "--x"], 2, "Usage: fly-autoscaler", ""),
        (&["help", "serve"], 0, "Usage: fly-autoscaler serve", ""),
        (&["help", "settings"], 0, "Settings of fly-autoscaler", ""),
        (
            &["help", "expressions"],
            0,
            "Expressions are written in",
            "",
        ),
        (&["-x"], 2, "Usage: fly-autoscaler", ""),
        (&["-h"], 2, "Usage: fly-autoscaler", ""),
        (&["serve", "-h"], 2, "Usage: fly-autoscaler serve", ""),
        (&["--help"], 0, "Usage: fly-autoscaler", ""),
        (&["-help"], 0, "Usage: fly-autoscaler", ""),
        (&["serve", "--help"], 0, "Usage: fly-autoscaler serve", ""),
        (&["eval", "-help"], 0, "Usage: fly-autoscaler eval", ""),
        (&["-version"], 0, "fly-autoscaler ", ""),
        (
            &["-x"],
            2,
            "Usage: fly-autoscaler",
            "ERROR: fly-autoscaler: unknown flag: -x\n",
        ),
        (
            &["--verison"],
            2,
            "Usage: fly-autoscaler",
            "ERROR: fly-autoscaler: unknown flag: --verison (did you mean --version?)",
        ),
        (
            &["-config", "a.yml"],
            2,
            "Usage: fly-autoscaler",
            "ERROR: fly-autoscaler: -config goes after a command, as in `fly-autoscaler serve --config`",
        ),
        (
            &["--explain=x", "eval"],
            2,
            "Usage: fly-autoscaler",
            "ERROR: fly-autoscaler: --explain goes after a command, as in `fly-autoscaler eval --explain`",
        ),
        (
            &["eval", "-conf", "a.yml"],
            1,
            "",
            "ERROR: fly-autoscaler eval: unknown flag: -conf (did you mean --config?)",
        ),
        (
            &["evl"],
            1,
            "",
            "ERROR: fly-autoscaler evl: unknown command (did you mean eval?)",
        ),
        (&["version"], 0, "fly-autoscaler ", ""),
        (&["--version"], 0, "fly-autoscaler ", ""),
        (
            &["foo"],
            1,
            "",
            "ERROR: fly-autoscaler foo: unknown command",
        ),
        (
            &["serve", "--nope"],
            1,
            "",
            "ERROR: fly-autoscaler serve: unknown flag: --nope",
        ),
        (
            &["serve", "-nope"],
            1,
            "",
            "ERROR: fly-autoscaler serve: unknown flag: -nope\n",
        ),
        (
            &["serve", "extra"],
            1,
            "",
            "ERROR: fly-autoscaler serve: too many arguments",
        ),
        (
            &["eval", "extra"],
            1,
            "",
            "ERROR: fly-autoscaler eval: too many arguments",
        ),
        (
            &["version", "extra"],
            1,
            "",
            "ERROR: fly-autoscaler version: too many arguments",
        ),
        (&["serve"], 1, "", "ERROR: app name required"),
        (
            &["eval", "-app=a", "-explain", "-config", "/nonexistent.yml"],
            1,
            "",
            "ERROR: cannot read /nonexistent.yml",
        ),
        (
            &["demo", "-seconds", "1", "-port", "x"],
            1,
            "",
            "ERROR: fly-autoscaler demo: invalid value 'x' for '--port <PORT>'",
        ),
        (
            &["demo", "--speed", "0"],
            1,
            "",
            "ERROR: fly-autoscaler demo: invalid value '0' for '--speed <FACTOR>': expected a number from 0.1 (real time) to 30, but found 0",
        ),
        (
            &["demo", "-speed", "-1"],
            1,
            "",
            "ERROR: fly-autoscaler demo: invalid value '-1' for '--speed <FACTOR>': expected a number",
        ),
        (
            &["demo", "--apps", "501"],
            1,
            "",
            "ERROR: fly-autoscaler demo: invalid value '501' for '--apps <N>': must be a whole number from 1 to 500",
        ),
        (
            &["demo", "--apps", "0"],
            1,
            "",
            "ERROR: fly-autoscaler demo: invalid value '0' for '--apps <N>': must be a whole number from 1 to 500",
        ),
        (
            &["demo", "--seconds", "31536001"],
            1,
            "",
            "ERROR: fly-autoscaler demo: invalid value '31536001' for '--seconds <SECONDS>': must be a whole number from 0 to 31536000",
        ),
        (
            &["demo", "--port", "65536"],
            1,
            "",
            "ERROR: fly-autoscaler demo: invalid value '65536' for '--port <PORT>': must be a whole number from 0 to 65535",
        ),
        (
            &["demo", "--seed", "-1"],
            1,
            "",
            "ERROR: fly-autoscaler demo: ",
        ),
        (
            &["backtest", "--initial", "0"],
            1,
            "",
            "ERROR: fly-autoscaler backtest: invalid value '0' for '--initial <N>': must be a whole number from 1 to ",
        ),
        (
            &["backtest", "--price-per-hour", "cheap"],
            1,
            "",
            "ERROR: fly-autoscaler backtest: invalid value 'cheap' for '--price-per-hour <PRICE>': must be a number",
        ),
        (
            &["demo", "--apps", "251", "--speed", "10"],
            1,
            "",
            "ERROR: fly-autoscaler demo: --apps 251 is too many for --speed 10: at most 250 at this speed",
        ),
        (
            &["demo", "--once", "--seconds", "5"],
            1,
            "",
            "ERROR: fly-autoscaler demo: the argument '--once' cannot be used with '--seconds <SECONDS>'",
        ),
        (
            &["demo", "--seed", "x"],
            1,
            "",
            "ERROR: fly-autoscaler demo: invalid value 'x' for '--seed <N>'",
        ),
        (
            &["check", "--help"],
            0,
            "Usage: fly-autoscaler check [OPTIONS]",
            "",
        ),
        (&["check", "-h"], 2, "Usage: fly-autoscaler check", ""),
        (&["check"], 1, "FAILED   configuration FAS_APP_NAME", ""),
        (
            &["check", "-config", "/nonexistent.yml"],
            1,
            "cannot read /nonexistent.yml",
            "",
        ),
        (&["check", "-json", "-app=web"], 1, "\"ok\": false", ""),
        (
            &["check", "extra"],
            1,
            "",
            "ERROR: fly-autoscaler check: too many arguments",
        ),
        (
            &["check", "--jason"],
            1,
            "",
            "ERROR: fly-autoscaler check: unknown flag: --jason (did you mean --json?)",
        ),
        (
            &["serve", "--config", ""],
            1,
            "",
            "ERROR: app name required",
        ),
        (&["serve", "--config="], 1, "", "ERROR: app name required"),
        (&["eval", "-config", ""], 1, "", "ERROR: app name required"),
        (
            &["serve", "-config", "/nonexistent.yml"],
            1,
            "",
            "ERROR: cannot read /nonexistent.yml",
        ),
        (
            &["serve", "-config=/nonexistent.yml"],
            1,
            "",
            "ERROR: cannot read /nonexistent.yml",
        ),
        (
            &["serve", "--config", "/nonexistent.yml"],
            1,
            "",
            "ERROR: cannot read /nonexistent.yml",
        ),
        (
            &["serve", "--config=/nonexistent.yml"],
            1,
            "",
            "ERROR: cannot read /nonexistent.yml",
        ),
    ];
    for (arguments, code, out, err) in cases {
        let output = run(arguments, &[]);
        let (stdout, stderr) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert_eq!(
            output.status.code(),
            Some(*code),
            "{arguments:?}: {stdout}{stderr}"
        );
        assert!(
            stdout.starts_with(out) || stdout.contains(out),
            "{arguments:?}: {stdout}"
        );
        assert!(stderr.starts_with(err), "{arguments:?}: {stderr}");
    }
}

#[test]
fn dashboard_and_alerts_are_printed_whole_with_nothing_configured() {
    for (command, text) in [
        ("dashboard", dashboard::dashboard()),
        ("alerts", dashboard::alerts()),
    ] {
        let output = run(&[command], &[]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.trim_end(), text.trim_end(), "{command}");
        assert!(printed.ends_with('\n') && !printed.ends_with("\n\n"));
        assert_eq!(output.stderr, b"", "{command}");
        let output = run(&[command, "extra"], &[]);
        assert_eq!(output.status.code(), Some(1), "{command}");
    }
}

#[test]
fn a_port_of_the_demo_that_is_taken_is_blamed_on_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = run(&["demo", "--port", &address.port().to_string()], &[]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let error = format!("ERROR: cannot listen on {address} for /metrics (--port): ");
    assert!(text.lines().last().unwrap().starts_with(&error), "{text}");
}

/// The daemon of the demo begins 4.5 s after the start: a shorter demo must not wait for it.
#[test]
fn the_seconds_of_the_demo_count_from_its_start() {
    let output = run(&["demo", "--seconds", "1"], &[]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let last = text.lines().last().unwrap();
    assert!(
        last.ends_with("the demo ended before the daemon started"),
        "{text}"
    );
}

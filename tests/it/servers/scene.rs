//! The simulated platform on a socket, and the real program told to use it.

use std::{net::Ipv4Addr, path::Path, sync::MutexGuard};

use fly_autoscaler::sim::{
    Access, Actor, ChangeKind, Clock, MachineState, NewMachine, Operation, Options, Platform,
    Release, Simulator, Token,
};
use tokio::{net::TcpListener, process::Command, task::JoinHandle};

use super::{
    metrics_server::ORG,
    process::{Process, command, eventually, get},
};

/// The token of the Machines API and of GraphQL.
const TOKEN: &str = "fm2_machines,fm2_discharge";

/// How many times as fast as life the platform runs: minutes of Fly in seconds.
const SPEED: f64 = 10.0;

/// The time between two passes.
const INTERVAL: &str = "300ms";

/// A simulated platform that listens; dropping it ends that.
pub(crate) struct Scene {
    pub(crate) simulator: Simulator,
    pub(crate) address: String,
    serving: JoinHandle<()>,
}

impl Scene {
    /// An empty platform.
    pub(crate) async fn new() -> Self {
        let simulator = Simulator::new(&Options {
            clock: Clock::Running { speed: SPEED },
            epoch: jiff::Timestamp::now(),
            machines_access: Access::Tokens(vec![Token::new(TOKEN)]),
            ..Options::default()
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = simulator.clone();
        let serving = tokio::spawn(async move { server.serve(listener).await.unwrap() });
        Self {
            simulator,
            address,
            serving,
        }
    }

    pub(crate) fn platform(&self) -> MutexGuard<'_, Platform> {
        self.simulator.platform()
    }

    /// Adds an app with a complete release and one machine.
    pub(crate) fn add_released_app(&self, app: &str) {
        let mut platform = self.platform();
        platform.add_app(app, ORG);
        let wall = platform.wall();
        let release = Release {
            version: 1,
            status: "complete".to_owned(),
            created_at: wall,
            updated_at: wall,
            image: format!("registry.fly.io/{app}:v1"),
        };
        platform.set_release(app, Some(release));
        platform
            .add_machine(app, NewMachine::in_region("ord"))
            .unwrap();
    }

    /// How many machines of the app exist.
    pub(crate) fn created(&self, app: &str) -> usize {
        self.platform().living(app, "app")
    }

    /// How many of them are in this state.
    pub(crate) fn in_state(&self, app: &str, state: &MachineState) -> usize {
        let platform = self.platform();
        let app = platform.app(app).unwrap();
        app.living("app")
            .filter(|machine| machine.state == *state)
            .count()
    }

    /// Waits until the platform is as wanted.
    pub(crate) async fn becomes(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        eventually(what, async || is_so(self), || self.overview()).await;
    }

    /// Waits until that many further passes over any app have listed machines.
    pub(crate) async fn passes(&self, count: usize) {
        let lists = |scene: &Self| scene.requests(Operation::List);
        let wanted = lists(self) + count;
        self.becomes("further passes", |scene| lists(scene) >= wanted)
            .await;
    }

    /// How many requests of this kind there have been.
    pub(crate) fn requests(&self, operation: Operation) -> usize {
        self.platform().requests_for(operation).count()
    }

    /// How many requests were meant to change something.
    pub(crate) fn writes(&self) -> usize {
        self.platform().writes().count()
    }

    /// How often a client of the API did this to a machine.
    pub(crate) fn changes(&self, kind: ChangeKind) -> usize {
        self.platform()
            .changes()
            .iter()
            .filter(|change| change.actor == Actor::Api && change.kind == kind)
            .count()
    }

    /// The program with the settings that lead to this platform and `settings`; the command is still to be named.
    pub(crate) fn program(&self, settings: &[(&str, &str)]) -> Command {
        let platform = format!("http://{}", self.address);
        let mut command = command(env!("CARGO_BIN_EXE_fly-autoscaler"));
        command
            .env("FAS_API_TOKEN", format!("FlyV1 {TOKEN}"))
            .env("FLY_FLAPS_BASE_URL", &platform)
            .env("FLY_API_BASE_URL", &platform)
            .env("FAS_INTERVAL", INTERVAL)
            .envs(settings.iter().copied());
        command
    }

    /// The daemon, once it is up.
    pub(crate) async fn serve(
        &self,
        folder: &Path,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Daemon {
        let start = |port: u16| {
            let mut command = self.program(settings);
            command
                .arg("serve")
                .args(arguments)
                .env("FAS_METRICS_ADDRESS", format!("127.0.0.1:{port}"));
            command
        };
        let is_up = async |port| {
            get(port, "/healthz", "")
                .await
                .is_some_and(|it| it.0 == 200)
        };
        Daemon(Process::start("fly-autoscaler", folder, start, is_up).await)
    }

    fn overview(&self) -> String {
        let platform = self.platform();
        let mut text = String::new();
        for app in platform.apps() {
            text.push_str(app.name());
            for machine in app.machines() {
                text.push(' ');
                text.push_str(machine.state.as_str());
            }
            text.push('\n');
        }
        text
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The running program.
pub(crate) struct Daemon(Process);

impl Daemon {
    /// The value of one series of `/metrics`, written as there; absent series are `None`.
    pub(crate) async fn series(&self, series: &str) -> Option<f64> {
        let (_, text) = get(self.0.port, "/metrics", "").await?;
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// Waits until a series of `/metrics` is so.
    pub(crate) async fn shows(&self, series: &str, is_so: impl Fn(Option<f64>) -> bool) {
        let look = async || is_so(self.series(series).await);
        eventually(series, look, || self.0.log()).await;
    }

    /// Where its port is.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.0.port)
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.0.port
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.0.log()
    }

    /// Waits until it has logged this.
    pub(crate) async fn says(&self, words: &str) {
        let look = async || self.0.log().contains(words);
        eventually(words, look, || self.0.log()).await;
    }

    /// Lets it stand still, or go on.
    pub(crate) async fn freeze(&self, frozen: bool) {
        self.0.signal(if frozen { "STOP" } else { "CONT" }).await;
    }

    /// Ends it as a power cut does.
    pub(crate) async fn kill(self) {
        self.0.kill().await;
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) {
        assert_eq!(self.0.terminate().await, Some(0), "SIGTERM ends it well");
    }
}

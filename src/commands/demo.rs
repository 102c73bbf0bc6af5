//! `demo`: a simulated Fly platform on loopback and the real daemon scaling it, with the blueprint's settings.
//!
//! Nothing is configured and nothing real is touched. A day passes in three minutes: the platform runs ten times as fast
//! as life and its day is half an hour long; the daemon's interval is shortened likewise.

use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{net::TcpListener, time::Instant};

use super::{
    block_on,
    cli::DemoOptions,
    environment,
    serve::{Signals, unless_interrupted},
};
use crate::{
    config::{Config, LogFormat, Purpose, Sources},
    daemon::Daemon,
    shown,
    shutdown::{Shutdown, ShutdownTrigger, shutdown},
    sim::{
        Access, Clock, DailyCurve, MetricsSettings, NewMachine, Options, ProxySettings, Simulator,
        Token,
    },
    telemetry,
};

const APP: &str = "my-target-app";
const ORG: &str = "demo";
const API_TOKEN: &str = "fm2_demo_machines";
const PROMETHEUS_TOKEN: &str = "fm2_demo_metrics";

/// How many times as fast as life the platform runs.
const SPEED: f64 = 10.0;

/// A day of the platform, in its own time.
const DAY: Duration = Duration::from_secs(30 * 60);

/// How often the platform's side of the story is told.
const TELL: Duration = Duration::from_secs(5);

/// Requests that one machine takes at once before the proxy wakes another.
const SOFT_LIMIT: f64 = 10.0;

pub(super) fn run(options: &DemoOptions) -> anyhow::Result<ExitCode> {
    telemetry::init(LogFormat::Text, false);
    let is_ours = |name: &OsString| name.to_str().is_some_and(|name| name.starts_with("FAS_"));
    if environment().iter().any(|(name, _)| is_ours(name)) {
        tracing::info!(
            "the demo has settings of its own: the FAS_ variables of the environment are not read"
        );
    }
    block_on(async {
        let began = Instant::now();
        let (trigger, shutdown) = shutdown();
        // Both the time and the user end the demo.
        let trigger = Arc::new(trigger);
        let again = Signals::listen()?.end_with(Arc::clone(&trigger));
        unless_interrupted(again, play(options, began, trigger, shutdown)).await
    })
}

async fn play(
    options: &DemoOptions,
    began: Instant,
    trigger: Arc<ShutdownTrigger>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let simulator = stage();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("cannot listen on 127.0.0.1")?;
    let platform = listener
        .local_addr()
        .context("the listener has no address")?;
    let config = blueprint(platform, options.port)?;
    // A day of the demo is minutes: each pass is a point of its charts.
    let resolution = config.policy.interval;
    shown::hold(&config.secrets);
    tracing::info!(
        "this is a demo: a simulated Fly platform on {platform}, nothing real is touched"
    );
    tracing::info!(
        "app {APP}: one machine, a proxy that wakes another when each has {SOFT_LIMIT} requests, a day of traffic in {} s",
        (DAY.as_secs_f64() / SPEED).round()
    );
    for (name, value) in config.summary() {
        tracing::info!("setting {name}={value}");
    }
    let server = simulator.clone();
    tokio::spawn(async move { server.serve(listener).await });
    let daemon = Daemon::bind(config, None, shutdown.clone(), resolution)?;
    if options.seconds > 0 {
        let end = began + Duration::from_secs(options.seconds);
        tokio::spawn(async move {
            tokio::time::sleep_until(end).await;
            trigger.set();
        });
    }
    let fly = MetricsSettings::fly();
    let seen_after = fly.lag + fly.scrape_interval;
    tracing::info!(
        "Fly's metrics are scraped every {} s and hide the last {} s; the daemon begins when there is something to see",
        fly.scrape_interval.as_secs(),
        fly.lag.as_secs()
    );
    tokio::select! {
        biased;
        // Cancel safe: it only reads a flag.
        () = shutdown.wait() => {
            tracing::info!("the demo ended before the daemon started");
            return Ok(());
        }
        // Cancel safe: nobody waits for the rest of it.
        () = tokio::time::sleep(seen_after.div_f64(SPEED)) => {}
    }
    tracing::info!(
        "see what it does and why: http://{}/ (and /metrics, /api/status); stop with Ctrl-C",
        daemon
            .metrics_address()
            .context("the listener has no address")?
    );
    tokio::spawn(narrate(simulator));
    daemon.run().await;
    tracing::info!("the demo is over");
    Ok(())
}

/// The platform before the curtain rises: one started machine at dawn.
fn stage() -> Simulator {
    let simulator = Simulator::new(&Options {
        clock: Clock::Running { speed: SPEED },
        metrics: MetricsSettings::fly(),
        machines_access: Access::Tokens(vec![Token::new(API_TOKEN)]),
        prometheus_access: Access::Tokens(vec![Token::new(PROMETHEUS_TOKEN)]),
        ..Options::default()
    });
    let mut platform = simulator.platform();
    platform.add_app(APP, ORG);
    // The scene is set with values that the simulator accepts.
    let _ = platform.add_machine(APP, NewMachine::in_region("ord"));
    platform.set_proxy(
        APP,
        Some(ProxySettings {
            soft_limit: SOFT_LIMIT,
            min_machines_running: 1,
            stop_every: Duration::from_secs(60),
            ..ProxySettings::default()
        }),
    );
    let curve = DailyCurve {
        night: 4.0,
        day: 62.0,
        length: DAY,
        noise: 0.15,
        seed: 7,
    };
    platform.set_traffic(APP, curve.curve());
    drop(platform);
    simulator
}

/// The blueprint's settings, with the platform's addresses and an interval as fast as its time.
fn blueprint(platform: SocketAddr, port: u16) -> anyhow::Result<Config> {
    let settings = [
        (
            "FAS_PROMETHEUS_ADDRESS",
            format!("http://{platform}/prometheus/{ORG}"),
        ),
        ("FAS_PROMETHEUS_METRIC_NAME", "running_machines".to_owned()),
        (
            "FAS_PROMETHEUS_QUERY",
            "count(fly_instance_up{app='$APP_NAME'})".to_owned(),
        ),
        ("FAS_PROMETHEUS_TOKEN", format!("FlyV1 {PROMETHEUS_TOKEN}")),
        ("FAS_APP_NAME", APP.to_owned()),
        (
            "FAS_CREATED_MACHINE_COUNT",
            "min(running_machines + 1, 10)".to_owned(),
        ),
        ("FAS_INITIAL_MACHINE_STATE", "stopped".to_owned()),
        ("FAS_API_TOKEN", format!("FlyV1 {API_TOKEN}")),
        ("FLY_FLAPS_BASE_URL", format!("http://{platform}")),
        ("FLY_API_BASE_URL", format!("http://{platform}")),
        ("FAS_INTERVAL", "1500ms".to_owned()),
        ("FAS_METRICS_ADDRESS", format!("127.0.0.1:{port}")),
    ];
    let environment = settings
        .into_iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let mut config = Config::load(Sources::new(environment, Purpose::Serve))
        .context("the demo's own settings")?;
    config.metrics_address.setting = "--port";
    Ok(config)
}

/// Tells from time to time what the platform looks like.
async fn narrate(simulator: Simulator) {
    let began = Instant::now();
    loop {
        tokio::time::sleep(TELL).await;
        let line = {
            let platform = simulator.platform();
            let Some(app) = platform.app(APP) else { return };
            let hours = began.elapsed().as_secs_f64() * SPEED / DAY.as_secs_f64() * 24.0;
            let running = app.started().count();
            let created = app.living("app").count();
            let stopped = created - running.min(created);
            format!(
                "platform: {:02}:{:02} o'clock, {:.0} requests at once, running: {running}, stopped: {stopped}",
                (hours % 24.0).floor(),
                (hours.fract() * 60.0).floor(),
                app.load_at(platform.now()),
            )
        };
        tracing::info!("{line}");
    }
}

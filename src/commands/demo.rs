//! `demo`: a simulated Fly platform on loopback and the real daemon scaling it, with the blueprint's settings.
//!
//! Nothing is configured and nothing real is touched. What happens is the story of [`crate::demo`]; here the platform is
//! put on a socket, the daemon beside it, and what there is to tell into the log.

use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use tokio::{net::TcpListener, time::Instant};

use super::{
    block_on,
    cli::DemoOptions,
    environment, say,
    serve::{Signals, unless_interrupted},
};
use crate::{
    clock::Clock,
    config::{Config, LogFormat, Purpose, Sources},
    daemon::Daemon,
    demo::{Cast, Director, LOOK, Passes, Told, script, stage, summary},
    metrics::Metrics,
    shown,
    shutdown::{Shutdown, ShutdownTrigger, shutdown},
    sim::{Platform, Simulator},
    status::{Demo, DemoEvent},
    stderr, telemetry,
};

pub(super) fn run(options: &DemoOptions) -> anyhow::Result<ExitCode> {
    let cast = Cast {
        apps: options.apps,
        seed: options.seed,
        speed: options.speed,
        regions: options.regions,
    };
    if let Err(problem) = cast.check() {
        bail!("fly-autoscaler demo: {problem}");
    }
    telemetry::init(LogFormat::Text, false);
    block_on(async {
        let began = Instant::now();
        let (trigger, shutdown) = shutdown();
        // The script, the time and the user end the demo.
        let trigger = Arc::new(trigger);
        let again = Signals::listen()?.end_with(Arc::clone(&trigger));
        if options.seconds > 0 {
            let end = began + Duration::from_secs(options.seconds);
            let trigger = Arc::clone(&trigger);
            tokio::spawn(async move {
                tokio::time::sleep_until(end).await;
                trigger.set();
            });
        }
        unless_interrupted(again, Box::pin(play(cast, options, &trigger, shutdown))).await
    })
}

async fn play(
    cast: Cast,
    options: &DemoOptions,
    trigger: &ShutdownTrigger,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let simulator = Simulator::new(&cast.options(Clock::System.now().wall));
    cast.set(&mut simulator.platform());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("cannot listen on 127.0.0.1")?;
    let platform = listener
        .local_addr()
        .context("the listener has no address")?;
    let config = configure(cast, platform, options.port)?;
    // A day of the demo is minutes: its charts have a point for every second pass, so that one that is late leaves no gap.
    let resolution = config.interval() * 2;
    shown::hold(&config.secrets);
    let settings = config.fleets[0].summary(&config);
    let mut daemon = Daemon::bind(config, None, shutdown, resolution)?;
    daemon.begin_after(cast.speed.lived(stage::seen_after()));
    let page = daemon
        .metrics_address()
        .context("the listener has no address")?;
    let page = format!("http://{page}/");
    // For programs and for people: each finds it in the first line of the stream that it reads.
    say(&page)?;
    stderr::write(format!(
        "see what it does and why: {page} (and /metrics, /api/status); stop with Ctrl-C"
    ));
    introduce(cast, platform, &settings);
    let server = simulator.clone();
    tokio::spawn(async move { server.serve(listener).await });
    let metrics = daemon.metrics();
    let status = daemon.status();
    let began = Clock::System.now().wall;
    let show = |director: &Director, platform: &Platform| {
        status.play(on_the_page(director, platform, began));
    };
    let mut director = Director::new(cast, options.once);
    let mut daemon = pin!(daemon.run());
    let ended_early = tokio::select! {
        biased;
        // Cancel safe, both: it goes on below, and the story ends with the daemon.
        () = &mut daemon => true,
        () = direct(&simulator, &mut director, &show) => {
            trigger.set();
            daemon.await;
            false
        }
    };
    if ended_early {
        // What it did since the last look belongs to the story.
        tell(&mut director, &simulator);
    }
    tracing::info!("{}", last_words(&metrics));
    if options.once {
        // What the log says comes first where both go to the same place.
        stderr::flush();
        let passes = Passes {
            count: metrics.passes(),
            errors: metrics.pass_errors(),
        };
        say(&summary(cast, director.played(), director.tally(), &passes))?;
    }
    Ok(())
}

/// Plays the script, and tells of it, until that is done.
async fn direct(
    simulator: &Simulator,
    director: &mut Director,
    show: &impl Fn(&Director, &Platform),
) {
    let pause = director.cast().speed.lived(LOOK);
    loop {
        tell(director, simulator);
        show(director, &simulator.platform());
        if director.is_done() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

fn tell(director: &mut Director, simulator: &Simulator) {
    let lines = director.look(&mut simulator.platform());
    for line in lines {
        tracing::info!("{line}");
    }
}

/// What the status page shows of the story, which began at that moment of life.
fn on_the_page(director: &Director, platform: &Platform, began: Timestamp) -> Demo {
    let speed = director.cast().speed;
    let now = platform.now();
    let event = |told: &Told| DemoEvent {
        at: began.checked_add(speed.lived(told.at)).unwrap_or(began),
        clock: told.clock.clone(),
        text: told.text.clone(),
    };
    Demo {
        moment: format!("day {}, {}", script::day_number(now), script::clock(now)),
        going_on: director.going_on().collect(),
        events: director.told().map(event).collect(),
    }
}

fn introduce(cast: Cast, platform: SocketAddr, settings: &[(&'static str, String)]) {
    tracing::info!(
        "this is a demo: a simulated Fly platform on {platform}, nothing real is touched"
    );
    let is_ours = |name: &OsString| name.to_str().is_some_and(|name| name.starts_with("FAS_"));
    if environment().iter().any(|(name, _)| is_ours(name)) {
        tracing::info!(
            "the demo has settings of its own: the FAS_ variables of the environment are not read"
        );
    }
    tracing::info!(
        "a day takes {:.0} s: {}",
        cast.speed.lived(script::DAY).as_secs_f64(),
        script::outline()
    );
    for (name, value) in settings {
        tracing::info!("setting {name}={value}");
    }
    let waits = stage::seen_after();
    tracing::info!(
        "Fly's metrics are up to {} s old, here {:.1} s: the daemon begins when there is something to see",
        waits.as_secs(),
        cast.speed.lived(waits).as_secs_f64(),
    );
}

fn last_words(metrics: &Metrics) -> &'static str {
    if metrics.passes() == 0 {
        "the demo ended before the daemon started"
    } else {
        "the demo is over"
    }
}

/// The blueprint's settings, with the platform's addresses.
fn configure(cast: Cast, platform: SocketAddr, port: u16) -> anyhow::Result<Config> {
    let own = ("FAS_METRICS_ADDRESS", format!("127.0.0.1:{port}"));
    let environment = cast
        .settings(&format!("http://{platform}"))
        .into_iter()
        .chain([own])
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let mut config = Config::load(Sources::new(environment, Purpose::Serve))
        .context("the demo's own settings")?;
    config.metrics_address.setting = "--port";
    Ok(config)
}

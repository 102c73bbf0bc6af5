//! `demo`: a simulated Fly platform on loopback and the real daemon scaling it, with the blueprint's settings.
//!
//! Nothing is configured and nothing real is touched. What happens is the story of [`crate::demo`]; here the platform is
//! put on a socket, the daemon beside it, and what there is to tell into the log.

use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};

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
    demo::{Cast, Director, LOOK, Move, Passes, Relay, Told, relay, script, stage, summary},
    lock::Gate,
    metrics::Metrics,
    shown,
    shutdown::{Shutdown, ShutdownTrigger, shutdown},
    sim::{Platform, Simulator},
    status::{Demo, DemoEvent, Status},
    stderr, telemetry,
};

pub(super) fn run(options: &DemoOptions) -> anyhow::Result<ExitCode> {
    let cast = Cast {
        apps: options.apps,
        seed: options.seed,
        speed: options.speed,
        regions: options.regions,
        copies: options.copies,
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
        unless_interrupted(again, Box::pin(play(cast, options, &shutdown))).await
    })
}

async fn play(cast: Cast, options: &DemoOptions, shutdown: &Shutdown) -> anyhow::Result<()> {
    let simulator = Simulator::new(&cast.options(Clock::System.now().wall));
    cast.set(&mut simulator.platform());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("cannot listen on 127.0.0.1")?;
    let platform = listener
        .local_addr()
        .context("the listener has no address")?;
    let mut troupe = Troupe {
        cast,
        platform,
        copies: Vec::new(),
        metrics: Vec::new(),
    };
    let mut settings = Vec::new();
    for number in 0..cast.copies.max(1) {
        let port = match options.port {
            0 => 0,
            first => first
                .checked_add(number.into())
                .context("--port is too high for so many copies")?,
        };
        settings = troupe.join(port)?;
    }
    troupe.introduce()?;
    introduce(cast, platform, &settings);
    let pause = cast.speed.lived(stage::seen_after());
    for copy in 0..troupe.copies.len() {
        troupe.begin(copy, pause)?;
    }
    let server = simulator.clone();
    tokio::spawn(async move { server.serve(listener).await });
    let mut story = Story {
        director: Director::new(cast, options.once),
        relay: (cast.copies > 1).then(|| Relay::new(cast.speed)),
        began: Clock::System.now().wall,
    };
    let is_played = tokio::select! {
        biased;
        // Cancel safe, both: the story goes on nowhere else.
        () = shutdown.wait() => false,
        played = direct(&simulator, &mut story, &mut troupe) => {
            played?;
            true
        }
    };
    troupe.end().await?;
    if !is_played {
        // What they did since the last look belongs to the story.
        tell(&mut story.director, &simulator);
    }
    let passes = troupe.passes(story.relay.as_ref());
    tracing::info!("{}", last_words(&passes));
    if options.once {
        // What the log says comes first where both go to the same place.
        stderr::flush();
        let director = &story.director;
        say(&summary(cast, director.played(), director.tally(), &passes))?;
    }
    Ok(())
}

/// What is told.
struct Story {
    director: Director,
    /// Where there are several copies.
    relay: Option<Relay>,
    /// At which moment of life it began.
    began: Timestamp,
}

/// The copies of the daemon.
struct Troupe {
    cast: Cast,
    platform: SocketAddr,
    copies: Vec<Member>,
    /// What each life of each copy counts.
    metrics: Vec<Metrics>,
}

/// One copy.
struct Member {
    /// The address of its page, which it keeps when it is started again.
    page: SocketAddr,
    stage: Stage,
}

/// A copy that is bound, what ends it, and the settings of its policy.
type Bound = (Daemon, ShutdownTrigger, Vec<(&'static str, String)>);

/// Where a copy is.
enum Stage {
    /// It is bound, and has not begun.
    Ready(Box<Daemon>, ShutdownTrigger),
    /// It runs.
    On(Running),
    /// It was stopped.
    Off,
}

/// A copy that runs.
struct Running {
    trigger: ShutdownTrigger,
    task: JoinHandle<()>,
    gate: Gate,
    status: Status,
}

impl Running {
    async fn stop(self) -> anyhow::Result<()> {
        self.trigger.set();
        self.task
            .await
            .context("the daemon has ended by a panic (a bug)")
    }
}

impl Troupe {
    /// Makes one more copy ready, which shows its page at this port; returns the settings of its policy.
    fn join(&mut self, port: u16) -> anyhow::Result<Vec<(&'static str, String)>> {
        let number = self.copies.len();
        let (daemon, trigger, settings) = self.bind(number, port)?;
        let page = daemon
            .metrics_address()
            .context("the listener has no address")?;
        let stage = Stage::Ready(Box::new(daemon), trigger);
        self.copies.push(Member { page, stage });
        Ok(settings)
    }

    fn bind(&self, number: usize, port: u16) -> anyhow::Result<Bound> {
        let config = configure(self.cast, self.platform, number, port)?;
        // A day of the demo is minutes: its charts have a point for every second pass, so that one that is late leaves no gap.
        let resolution = config.interval() * 2;
        shown::hold(&config.secrets);
        let settings = config.fleets[0].summary(&config);
        let (trigger, shutdown) = shutdown();
        let daemon = Daemon::bind(config, None, shutdown, resolution)?;
        Ok((daemon, trigger, settings))
    }

    /// Says where the pages are.
    fn introduce(&self) -> anyhow::Result<()> {
        let pages = self.copies.iter();
        let pages: Vec<String> = pages.map(|copy| format!("http://{}/", copy.page)).collect();
        // For programs and for people: each finds it in the first line of the stream that it reads.
        for page in &pages {
            say(page)?;
        }
        let pages = pages.join(" and ");
        stderr::write(format!(
            "see what it does and why: {pages} (and /metrics, /api/status); stop with Ctrl-C"
        ));
        Ok(())
    }

    /// Lets a copy that does not run begin its passes after `pause`.
    fn begin(&mut self, number: usize, pause: Duration) -> anyhow::Result<()> {
        let Some(copy) = self.copies.get_mut(number) else {
            return Ok(());
        };
        let port = copy.page.port();
        let (mut daemon, trigger) = match std::mem::replace(&mut copy.stage, Stage::Off) {
            Stage::Ready(daemon, trigger) => (*daemon, trigger),
            Stage::On(running) => {
                copy.stage = Stage::On(running);
                return Ok(());
            }
            Stage::Off => {
                let (daemon, trigger, _) = self.bind(number, port)?;
                (daemon, trigger)
            }
        };
        daemon.begin_after(pause);
        self.metrics.push(daemon.metrics());
        let running = Running {
            trigger,
            gate: daemon.gate(),
            status: daemon.status(),
            task: tokio::spawn(daemon.run()),
        };
        self.copies[number].stage = Stage::On(running);
        Ok(())
    }

    async fn carry_out(&mut self, one: Move) -> anyhow::Result<()> {
        match one {
            Move::Start(number) => self.begin(number, Duration::ZERO),
            Move::Stop(number) => {
                let copy = self.copies.get_mut(number);
                let stage = copy.map(|copy| std::mem::replace(&mut copy.stage, Stage::Off));
                match stage {
                    Some(Stage::On(running)) => running.stop().await,
                    _ => Ok(()),
                }
            }
        }
    }

    /// Ends all of them.
    async fn end(&mut self) -> anyhow::Result<()> {
        for copy in &self.copies {
            if let Stage::On(running) = &copy.stage {
                running.trigger.set();
            }
        }
        for number in 0..self.copies.len() {
            self.carry_out(Move::Stop(number)).await?;
        }
        Ok(())
    }

    /// Which copy holds the lock.
    fn holder(&self) -> Option<usize> {
        self.copies.iter().position(|copy| match &copy.stage {
            Stage::On(running) => running.gate.role().is_some_and(|role| role.holds()),
            _ => false,
        })
    }

    /// What all of them count together.
    fn passes(&self, relay: Option<&Relay>) -> Passes {
        let mut all = Passes {
            hand_overs: relay.map(Relay::hand_overs),
            ..Passes::default()
        };
        for metrics in &self.metrics {
            all.count += metrics.passes();
            for (reason, count) in metrics.pass_errors() {
                match all.errors.iter_mut().find(|(other, _)| *other == reason) {
                    Some((_, sum)) => *sum += count,
                    None => all.errors.push((reason, count)),
                }
            }
        }
        all
    }
}

/// Plays the script, and tells of it, until that is done.
async fn direct(
    simulator: &Simulator,
    story: &mut Story,
    troupe: &mut Troupe,
) -> anyhow::Result<()> {
    let pause = story.director.cast().speed.lived(LOOK);
    loop {
        tell(&mut story.director, simulator);
        let now = simulator.platform().now();
        if let Some(relay) = &mut story.relay {
            let (moves, lines) = relay.look(now, troupe.holder());
            for line in lines {
                tracing::info!("{line}");
            }
            for one in moves {
                troupe.carry_out(one).await?;
            }
        }
        let shown = on_the_page(story, &simulator.platform());
        for copy in &troupe.copies {
            if let Stage::On(running) = &copy.stage {
                running.status.play(shown.clone());
            }
        }
        if story.director.is_done() {
            return Ok(());
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

/// What the status page shows of the story.
fn on_the_page(story: &Story, platform: &Platform) -> Demo {
    let Story {
        director,
        relay,
        began,
    } = story;
    let speed = director.cast().speed;
    let now = platform.now();
    let event = |told: &Told| DemoEvent {
        at: began.checked_add(speed.lived(told.at)).unwrap_or(*began),
        clock: told.clock.clone(),
        text: told.text.clone(),
    };
    let of_copies = relay.iter().flat_map(|relay| relay.told().iter().rev());
    let mut told: Vec<&Told> = director.told().chain(of_copies).collect();
    told.sort_by_key(|told| std::cmp::Reverse(told.at));
    Demo {
        moment: format!("day {}, {}", script::day_number(now), script::clock(now)),
        going_on: director.going_on().collect(),
        events: told.into_iter().map(event).collect(),
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
    if cast.copies > 1 {
        tracing::info!(
            "{} copies of the autoscaler take turns by a lock in Consul; at {:02}:00 the one that holds it is stopped, and comes back an hour later",
            cast.copies,
            relay::HOURS.0,
        );
    }
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

fn last_words(passes: &Passes) -> &'static str {
    if passes.count == 0 {
        "the demo ended before the daemon started"
    } else {
        "the demo is over"
    }
}

/// The blueprint's settings, with the platform's addresses.
fn configure(cast: Cast, platform: SocketAddr, copy: usize, port: u16) -> anyhow::Result<Config> {
    let own = ("FAS_METRICS_ADDRESS", format!("127.0.0.1:{port}"));
    let environment = cast
        .settings(&format!("http://{platform}"))
        .into_iter()
        .chain(cast.settings_of_copy(copy, &platform.to_string()))
        .chain([own])
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let mut config = Config::load(Sources::new(environment, Purpose::Serve))
        .context("the demo's own settings")?;
    config.metrics_address.setting = "--port";
    Ok(config)
}

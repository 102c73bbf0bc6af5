//! `check`: tries everything that a configuration names, says what was found, and changes nothing.
//!
//! Here is asked, side by side and under `FAS_TIMEOUT`; what is said of the answers is decided in [`crate::check`], and what
//! a pass would do by the daemon's own code.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Request;
use tokio::time::{Instant, timeout};

use super::{
    ask, block_on,
    cli::Chosen,
    environment, extra_roots, load, names, say, say_json,
    serve::{INTERRUPTED, Signals},
};
use crate::{
    check::{self, App, Fleet, Port, Reading, Report, Seen, Step},
    clock::Clock,
    collect::{BusyQuery, CollectError, Collector, Connections},
    config::{Config, ConfigErrors, FleetConfig, Has, Purpose},
    daemon,
    error_chain::chain,
    expr::Values,
    listener,
    machines::{Api, ApiError, AppAbout, AppClient, TokenScope},
    metrics::Metrics,
    scaling::{Busyness, Machine, Now, Release},
    shutdown::shutdown,
    stderr, telemetry,
    transport::Transport,
};

/// How long Fly may take to say what the token is for: it only explains, and nobody is to wait for it.
const TOKEN_ANSWER: Duration = Duration::from_secs(5);

/// How long the port's own answer may take: it is on this machine.
const PORT_ANSWER: Duration = Duration::from_secs(2);

/// The most of `/metrics` that is read to see whose it is.
const PORT_LIMIT: usize = 10 << 20;

pub(super) fn run(file: Option<&Path>, chosen: Chosen, json: bool) -> anyhow::Result<ExitCode> {
    let report = match load(file, Purpose::Serve, chosen) {
        Err(error) => refused(error),
        Ok(config) => {
            telemetry::init(config.log_format, config.verbose);
            let ended = block_on(async {
                let mut signals = Signals::listen()?;
                tokio::select! {
                    biased;
                    // Cancel safe, both: nothing is written, and nothing comes after this.
                    signal = signals.next() => Ok(Err(signal)),
                    report = try_everything(&config, file, json) => Ok(Ok(report?)),
                }
            })?;
            match ended {
                Ok(report) => report,
                Err(signal) => {
                    stderr::write(format!(
                        "{signal}: the check is not finished; nothing was changed"
                    ));
                    return Ok(ExitCode::from(INTERRUPTED));
                }
            }
        }
    };
    if json {
        say_json(report.json())?;
    } else {
        say(&report.text())?;
    }
    Ok(if report.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A configuration that the daemon would not start with.
fn refused(error: anyhow::Error) -> Report {
    let own_app = environment()
        .into_iter()
        .find_map(|(name, value)| (name == "FLY_APP_NAME").then(|| value.into_string().ok())?)
        .filter(|app| !app.is_empty());
    let steps = match error.downcast::<ConfigErrors>() {
        Ok(errors) => check::refused(&errors, own_app.as_deref()),
        Err(error) => check::unreadable(chain(error.as_ref()), own_app.as_deref()),
    };
    report_of(steps)
}

fn report_of(steps: Vec<Step>) -> Report {
    Report {
        steps,
        ..Report::default()
    }
}

/// What is asked with, and what all apps share.
struct Asker<'config> {
    config: &'config Config,
    /// `--config`.
    file: Option<&'config Path>,
    api: Arc<Api>,
    connections: Connections,
    fleets: Vec<Asked<'config>>,
}

impl<'config> Asked<'config> {
    fn new(settings: Cow<'config, FleetConfig>, connections: &Connections) -> anyhow::Result<Self> {
        Ok(Self {
            collectors: daemon::collectors(&settings, connections)?,
            busy: daemon::busy_query(&settings, connections)?,
            settings,
        })
    }
}

/// One policy, and what asks for its metrics.
struct Asked<'config> {
    settings: Cow<'config, FleetConfig>,
    collectors: Vec<Collector>,
    busy: Option<BusyQuery>,
}

async fn try_everything(
    config: &Config,
    file: Option<&Path>,
    json: bool,
) -> anyhow::Result<Report> {
    // What the daemon would not start with is a failure of the configuration.
    let prepared = prepare(config, file);
    let (asker, transport) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let own_app = config.own.app.as_deref();
            return Ok(report_of(check::unreadable(chain(error.as_ref()), own_app)));
        }
    };
    if !json {
        let what = match config.fleets.as_slice() {
            [only] => only.apps.pattern.as_str().to_owned(),
            fleets => format!("{} policies ({})", fleets.len(), names(fleets)),
        };
        say(&format!(
            "Checking {what}. Nothing is changed; an answer may take up to {:?}.\n",
            config.timeout()
        ))?;
    }
    let port = port(config, transport.as_ref()).await;
    let mut steps = check::accepted(config, &port);
    let report = match asker.fleets.as_slice() {
        [only] if only.settings.apps.pattern.is_wildcard() => report_of(asker.apps(only).await),
        [only] if asker.is_of_another_policy(only) => report_of(asker.every_fleet().await),
        [only] if only.settings.is_of_regions() => {
            asker
                .regions(only, only.settings.apps.pattern.as_str())
                .await
        }
        [only] => asker.app(only).await,
        _ => report_of(asker.every_fleet().await),
    };
    steps.extend(report.steps);
    Ok(Report {
        steps,
        plan: report.plan,
    })
}

fn prepare<'config>(
    config: &'config Config,
    file: Option<&'config Path>,
) -> anyhow::Result<(Asker<'config>, Arc<dyn Transport>)> {
    let extra_roots = extra_roots()?;
    let transport = ask::transport(config, extra_roots.as_deref())?;
    let (_trigger, shutdown) = shutdown();
    let token = config.api.token.clone().context("api token required")?;
    let api = ask::api(config, token, Arc::clone(&transport), shutdown)?;
    let connections = Connections::new(Arc::clone(&transport), extra_roots.as_deref());
    let fleets = config.fleets.iter();
    let fleets = fleets.map(|settings| Asked::new(Cow::Borrowed(settings), &connections));
    let fleets = fleets.collect::<anyhow::Result<_>>()?;
    Ok((
        Asker {
            config,
            file,
            api,
            connections,
            fleets,
        },
        transport,
    ))
}

impl Asker<'_> {
    /// Whether the daemon leaves the app that a policy names to one before it in the list.
    fn is_of_another_policy(&self, fleet: &Asked<'_>) -> bool {
        let app = fleet.settings.apps.pattern.as_str();
        matches!(self.config.has(&fleet.settings, app), Has::Nothing { .. })
    }

    /// The options that choose a policy, or an app or a region of it.
    fn choice(&self, fleet: &Asked<'_>, of_it: Option<(&str, &str)>) -> String {
        let file = self.file.map(|path| path.display().to_string());
        let file = file.filter(|path| !path.is_empty());
        let policy = (self.config.claims.len() > 1).then(|| fleet.settings.name.clone());
        let options = [("--config", file), ("--policy", policy)];
        let options = options
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .chain(of_it.map(|(name, value)| (name, value.to_owned())));
        let options = options.map(|(name, value)| format!("{name} {}", shell_word(&value)));
        options.collect::<Vec<_>>().join(" ")
    }

    /// A line for each of several fleets, or for each app of one with a wildcard.
    async fn every_fleet(&self) -> Vec<Step> {
        let mut named = Vec::new();
        let mut steps = Vec::new();
        for fleet in &self.fleets {
            if fleet.settings.apps.pattern.is_wildcard() {
                steps.extend(self.apps(fleet).await);
                continue;
            }
            let app = fleet.settings.apps.pattern.as_str();
            if let Has::Nothing { by } = self.config.has(&fleet.settings, app) {
                steps.push(check::of_another_policy(&fleet.settings.name, app, by));
            } else if fleet.settings.is_of_regions() {
                steps.extend(self.regions(fleet, app).await.steps);
            } else {
                named.push(App {
                    name: fleet.settings.name.clone(),
                    choice: self.choice(fleet, None),
                    report: self.app(fleet).await,
                });
            }
        }
        let mut lines = check::of_fleets(named);
        lines.extend(steps);
        lines
    }

    /// Everything about the one app that is named.
    async fn app(&self, fleet: &Asked<'_>) -> Report {
        let app = fleet.settings.apps.pattern.as_str();
        let now = Clock::System.now();
        let deadline = self.deadline(now);
        let client = AppClient::new(Arc::clone(&self.api), app);
        let explained = Instant::from_std(now.monotonic) + TOKEN_ANSWER;
        let (scope, about, asked) = tokio::join!(
            self.api.current_tokens(explained.min(deadline)),
            client.about(deadline),
            self.look(fleet, &client, now),
        );
        let looked = Looked {
            scope,
            about,
            may_be_empty: false,
            asked,
        };
        self.steps(fleet, &client, now, looked).await
    }

    /// A line for each region of a group in which each has targets of its own; everything about the app where no region is
    /// known.
    async fn regions(&self, fleet: &Asked<'_>, app: &str) -> Report {
        let now = Clock::System.now();
        let client = AppClient::new(Arc::clone(&self.api), app);
        let listed = ask::fleets_of(&fleet.settings, &client, self.deadline(now)).await;
        let has = self.config.has(&fleet.settings, app);
        let is_its_own = |settings: &FleetConfig| match (&has, &settings.policy.region) {
            (Has::AllBut(others), Some(region)) => others.iter().all(|other| **other != **region),
            _ => true,
        };
        let fleets = listed.unwrap_or_default();
        let fleets = fleets
            .into_iter()
            .filter(is_its_own)
            .filter_map(|settings| Asked::new(Cow::Owned(settings), &self.connections).ok());
        let fleets: Vec<Asked<'_>> = fleets.collect();
        if fleets.is_empty() {
            return self.app(fleet).await;
        }
        let mut lines = Vec::new();
        for of_region in &fleets {
            let settings = &of_region.settings;
            let region = settings.policy.region.as_deref().unwrap_or_default();
            lines.push(App {
                name: settings.name.clone(),
                choice: self.choice(fleet, Some(("--region", region))),
                report: self.app(of_region).await,
            });
        }
        report_of(check::of_fleets(lines))
    }

    /// Every app that the pattern matches.
    async fn apps(&self, fleet: &Asked<'_>) -> Vec<Step> {
        let config = self.config;
        let selection = &fleet.settings.apps;
        let org = selection.org.as_deref().unwrap_or_default();
        let deadline = self.deadline(Clock::System.now());
        let listed = match self.api.list_apps(org, deadline).await {
            Ok(listed) => listed,
            Err(error) => return check::unlisted_apps(config, selection, &error),
        };
        let pattern = &selection.pattern;
        let left_out = fleet.settings.left_out(&config.own);
        let left_out = left_out.filter(|own| pattern.matches(own));
        let matching: BTreeSet<&String> = listed
            .iter()
            .filter(|app| pattern.takes(app) && left_out != Some(app))
            .collect();
        let mut of_others = Vec::new();
        let mut own = BTreeSet::new();
        for app in matching {
            match config.has(&fleet.settings, app) {
                Has::Nothing { by } => of_others.push((app.as_str(), by)),
                Has::AllBut(_) => {
                    own.insert(app);
                }
            }
        }
        let apps: Vec<App> = stream::iter(own)
            .map(|app| async move {
                let now = Clock::System.now();
                let client = AppClient::new(Arc::clone(&self.api), app.as_str());
                let looked = Looked {
                    // The list of apps has said that there is the app, and that the token is accepted.
                    scope: Ok(Vec::new()),
                    about: Ok(AppAbout::default()),
                    may_be_empty: true,
                    asked: self.look(fleet, &client, now).await,
                };
                App {
                    name: app.clone(),
                    choice: self.choice(fleet, Some(("--app", app))),
                    report: self.steps(fleet, &client, now, looked).await,
                }
            })
            .buffer_unordered(config.concurrency)
            .collect()
            .await;
        let mut steps = check::of_apps(config, selection, (&listed, left_out), apps);
        let policy = &fleet.settings.name;
        let of_others = of_others.into_iter();
        steps.extend(of_others.map(|(app, by)| check::of_another_policy(policy, app, by)));
        steps
    }

    fn deadline(&self, now: Now) -> Instant {
        Instant::from_std(now.monotonic) + self.config.timeout()
    }

    /// Asks what a pass asks, all of it side by side.
    async fn look(&self, fleet: &Asked<'_>, client: &AppClient, now: Now) -> Answers {
        let deadline = self.deadline(now);
        let collect = ask::collect(
            (&fleet.collectors, client.app()),
            &fleet.settings.policy,
            now,
        );
        let about = fleet.settings.subject(client.app());
        let busy = async {
            let asked = fleet.busy.as_ref()?;
            let samples = asked.ask(about, now, deadline, &Metrics::new()).await;
            Some(samples.map(Busyness::of))
        };
        let (busy, (readings, collecting), (machines, listing), (release, asking)) = tokio::join!(
            busy,
            timed(collect),
            timed(client.list_machines(deadline)),
            timed(client.current_release(deadline, deadline)),
        );
        let values = readings.values(&fleet.settings.names);
        let configured = fleet.settings.collectors.iter().zip(&fleet.collectors);
        let readings = readings.into_results().zip(configured);
        let readings = readings.map(|((metric, result), (configured, collector))| Reading {
            metric,
            kind: collector.kind(),
            query: collector.query(fleet.settings.subject(client.app())),
            address: configured.address(fleet.settings.subject(client.app())),
            result,
        });
        Answers {
            readings: readings.collect(),
            busy,
            values,
            machines,
            release,
            took: collecting.max(listing) + asking,
        }
    }

    /// What comes of it.
    async fn steps(
        &self,
        fleet: &Asked<'_>,
        client: &AppClient,
        now: Now,
        looked: Looked,
    ) -> Report {
        let Answers {
            readings,
            busy,
            mut values,
            machines,
            release,
            took,
        } = looked.asked;
        let settings = &*fleet.settings;
        let mut release = Some(release);
        let fleet = match machines {
            Err(error) => Err(error),
            Ok(machines) => {
                let answered = async { Arc::new(release.take().unwrap_or(Ok(None))) };
                let known = busy.as_ref().and_then(|busy| busy.as_ref().ok());
                let ask_busy = async { known.cloned().unwrap_or(Busyness::Unknown) };
                let asks = (answered, ask_busy);
                Ok(Fleet::of(settings, machines, &mut values, now, asks).await)
            }
        };
        check::steps(&Seen {
            config: self.config,
            settings,
            app: client.app(),
            may_be_empty: looked.may_be_empty,
            now,
            took,
            scope: looked.scope,
            about: looked.about,
            metrics: readings,
            busy,
            values,
            fleet,
            release,
        })
    }
}

/// A text as one word of a shell's command line.
fn shell_word(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:@%+=,".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// What was answered about one app.
struct Looked {
    scope: Result<Vec<TokenScope>, ApiError>,
    about: Result<AppAbout, ApiError>,
    may_be_empty: bool,
    asked: Answers,
}

/// What a pass asks, and was answered.
struct Answers {
    readings: Vec<Reading>,
    busy: Option<Result<Busyness, CollectError>>,
    values: Values,
    machines: Result<Vec<Machine>, ApiError>,
    release: Result<Option<Release>, ApiError>,
    /// As long as a pass would take for it.
    took: Duration,
}

/// What comes of it, and how long that took.
async fn timed<T>(asking: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    (asking.await, began.elapsed())
}

/// Whether the daemon could listen here, or does: its port is taken and given back at once.
async fn port(config: &Config, transport: &dyn Transport) -> Port {
    let address = config.metrics_address;
    let Err(error) = listener::bind(address.socket) else {
        return Port::Fine;
    };
    if error.kind() != std::io::ErrorKind::AddrInUse {
        let has_fallback = address.may_fall_back
            && address.socket.is_ipv6()
            && error.kind() != std::io::ErrorKind::PermissionDenied;
        return if has_fallback {
            Port::Fine
        } else {
            Port::Taken(format!("cannot listen on {}: {error}", address.socket))
        };
    }
    if is_a_daemon(address.socket, transport).await {
        Port::Fine
    } else {
        Port::Taken(format!(
            "cannot listen on {}, the port of /metrics: another program has it",
            address.socket
        ))
    }
}

/// Whether it is a fly-autoscaler that listens at an address of this machine.
async fn is_a_daemon(address: SocketAddr, transport: &dyn Transport) -> bool {
    let host = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        host => host,
    };
    let url = format!("http://{}/metrics", SocketAddr::new(host, address.port()));
    let Ok(request) = Request::get(url).body(Bytes::new()) else {
        return false;
    };
    let answer = timeout(PORT_ANSWER, transport.exchange(request, PORT_LIMIT)).await;
    let Ok(Ok(answer)) = answer else { return false };
    let ours: &[u8] = b"fas_build_info";
    answer
        .body()
        .windows(ours.len())
        .any(|window| window == ours)
}

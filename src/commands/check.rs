//! `check`: tries everything that a configuration names, says what was found, and changes nothing.
//!
//! Here is asked, side by side and under `FAS_TIMEOUT`; what is said of the answers is decided in [`crate::check`], and what
//! a pass would do by the daemon's own code.

use std::{
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
    ask, block_on, environment, extra_roots, load, say, say_json,
    serve::{INTERRUPTED, Signals},
};
use crate::{
    check::{self, App, Fleet, Port, Reading, Report, Seen, Step},
    clock::Clock,
    collect::{Collector, collect_all},
    config::{CollectorConfig, CollectorSource, Config, ConfigErrors, Purpose},
    error_chain::chain,
    expr::Values,
    listener,
    machines::{Api, ApiError, AppAbout, AppClient, TokenScope},
    metrics::Metrics,
    scaling::{Machine, Now, Release},
    shown,
    shutdown::shutdown,
    stderr, telemetry,
    transport::Transport,
};

/// How long the port's own answer may take: it is on this machine.
const PORT_ANSWER: Duration = Duration::from_secs(2);

/// The most of `/metrics` that is read to see whose it is.
const PORT_LIMIT: usize = 10 << 20;

pub(super) fn run(
    config: Option<&Path>,
    app: Option<String>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let report = match load(config, Purpose::Serve, app) {
        Err(error) => refused(error),
        Ok(config) => {
            telemetry::init(config.log_format, config.verbose);
            let ended = block_on(async {
                let mut signals = Signals::listen()?;
                tokio::select! {
                    biased;
                    // Cancel safe, both: nothing is written, and nothing comes after this.
                    signal = signals.next() => Ok(Err(signal)),
                    report = try_everything(&config, json) => Ok(Ok(report?)),
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
    api: Arc<Api>,
    collectors: Vec<Collector>,
}

async fn try_everything(config: &Config, json: bool) -> anyhow::Result<Report> {
    // What the daemon would not start with is a failure of the configuration.
    let prepared = prepare(config);
    let (asker, transport) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let own_app = config.own.app.as_deref();
            return Ok(report_of(check::unreadable(chain(error.as_ref()), own_app)));
        }
    };
    let pattern = config.apps.pattern.as_str();
    if !json {
        say(&format!(
            "Checking {pattern}. Nothing is changed; an answer may take up to {:?}.\n",
            config.policy.timeout
        ))?;
    }
    let port = port(config, transport.as_ref()).await;
    let mut steps = check::accepted(config, &port);
    let report = if config.apps.pattern.is_wildcard() {
        report_of(asker.apps().await)
    } else {
        asker.app(pattern).await
    };
    steps.extend(report.steps);
    Ok(Report {
        steps,
        plan: report.plan,
    })
}

fn prepare(config: &Config) -> anyhow::Result<(Asker<'_>, Arc<dyn Transport>)> {
    let extra_roots = extra_roots()?;
    let transport = ask::transport(config, extra_roots.as_deref())?;
    let (_trigger, shutdown) = shutdown();
    let token = config.api.token.clone().context("api token required")?;
    let api = ask::api(config, token, Arc::clone(&transport), shutdown)?;
    let collectors = ask::collectors(config, &transport, extra_roots.as_deref())?;
    Ok((
        Asker {
            config,
            api,
            collectors,
        },
        transport,
    ))
}

impl Asker<'_> {
    /// Everything about the one app that is named.
    async fn app(&self, app: &str) -> Report {
        let now = Clock::System.now();
        let deadline = self.deadline(now);
        let client = AppClient::new(Arc::clone(&self.api), app);
        let (scope, about, asked) = tokio::join!(
            self.api.current_tokens(deadline),
            client.about(deadline),
            self.look(&client, now),
        );
        let looked = Looked {
            scope,
            about,
            may_be_empty: false,
            asked,
        };
        self.steps(app, now, looked).await
    }

    /// Every app that the pattern matches.
    async fn apps(&self) -> Vec<Step> {
        let config = self.config;
        let org = config.apps.org.as_deref().unwrap_or_default();
        let deadline = self.deadline(Clock::System.now());
        let listed = match self.api.list_apps(org, deadline).await {
            Ok(listed) => listed,
            Err(error) => return check::unlisted_apps(config, &error),
        };
        let pattern = &config.apps.pattern;
        let left_out = config.left_out().filter(|own| pattern.matches(own));
        let matching: BTreeSet<&String> = listed
            .iter()
            .filter(|app| pattern.takes(app) && left_out != Some(app))
            .collect();
        let apps: Vec<App> = stream::iter(matching)
            .map(|app| async {
                let now = Clock::System.now();
                let client = AppClient::new(Arc::clone(&self.api), app.as_str());
                let looked = Looked {
                    // The list of apps has said that there is the app, and that the token is accepted.
                    scope: Ok(Vec::new()),
                    about: Ok(AppAbout::default()),
                    may_be_empty: true,
                    asked: self.look(&client, now).await,
                };
                App {
                    name: app.clone(),
                    report: self.steps(app, now, looked).await,
                }
            })
            .buffer_unordered(config.concurrency)
            .collect()
            .await;
        check::of_apps(config, &listed, left_out, apps)
    }

    fn deadline(&self, now: Now) -> Instant {
        Instant::from_std(now.monotonic) + self.config.policy.timeout
    }

    /// Asks what a pass asks, all of it side by side.
    async fn look(&self, client: &AppClient, now: Now) -> Asked {
        let deadline = self.deadline(now);
        let timeout = self.config.policy.timeout;
        let uncounted = Metrics::new();
        let collect = collect_all(&self.collectors, client.app(), now, timeout, &uncounted);
        let ((readings, collecting), (machines, listing), (release, asking)) = tokio::join!(
            timed(collect),
            timed(client.list_machines(deadline)),
            timed(client.current_release(deadline, deadline)),
        );
        let values = readings.values(&self.config.names);
        let configured = self.config.collectors.iter().zip(&self.collectors);
        let readings = readings.into_results().zip(configured);
        let readings = readings.map(|((metric, result), (configured, collector))| Reading {
            metric,
            api: collector.api(),
            query: collector.query(client.app()),
            address: address(configured),
            result,
        });
        Asked {
            readings: readings.collect(),
            values,
            machines,
            release,
            took: collecting.max(listing) + asking,
        }
    }

    /// What comes of it.
    async fn steps(&self, app: &str, now: Now, looked: Looked) -> Report {
        let Asked {
            readings,
            mut values,
            machines,
            release,
            took,
        } = looked.asked;
        let config = self.config;
        let mut release = Some(release);
        let fleet = match machines {
            Err(error) => Err(error),
            Ok(machines) => {
                let answered = async { release.take().unwrap_or(Ok(None)) };
                Ok(Fleet::of(config, machines, &mut values, now, answered).await)
            }
        };
        check::steps(&Seen {
            config,
            app,
            may_be_empty: looked.may_be_empty,
            now,
            took,
            scope: looked.scope,
            about: looked.about,
            metrics: readings,
            values,
            fleet,
            release,
        })
    }
}

/// What was answered about one app.
struct Looked {
    scope: Result<Vec<TokenScope>, ApiError>,
    about: Result<AppAbout, ApiError>,
    may_be_empty: bool,
    asked: Asked,
}

/// What a pass asks, and was answered.
struct Asked {
    readings: Vec<Reading>,
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

/// Where a metric comes from, as it may be shown.
fn address(collector: &CollectorConfig) -> String {
    match &collector.source {
        CollectorSource::Prometheus { address, .. } => shown::address(address),
        CollectorSource::Temporal { address, .. } => address.to_string(),
    }
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

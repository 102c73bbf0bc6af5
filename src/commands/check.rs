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
use futures_util::{StreamExt as _, future::join_all, stream};
use http::Request;
use tokio::time::{Instant, timeout};

use super::{
    ask, block_on,
    cli::Chosen,
    environment, extra_roots, load, names, say, say_json,
    serve::{INTERRUPTED, Signals},
};
use crate::{
    check::{self, App, Fleet, Matched, Port, Reading, Report, Seen, Step, Wanted},
    clock::Clock,
    collect::{BusyQuery, CollectError, Collector, Connections},
    config::{Config, ConfigErrors, FleetConfig, Has, Purpose},
    daemon,
    decide::ReleaseAnswer,
    error_chain::chain,
    expr::Values,
    listener,
    lock::Account,
    machines::{Api, ApiError, AppAbout, AppClient, TokenScope},
    metrics::Metrics,
    peers::{self, SystemNames},
    scaling::{Busyness, Machine, Now, Policy, Release, regions_of},
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
    fleets: Vec<Asked<'config>>,
}

/// One policy, and what asks for its metrics.
struct Asked<'config> {
    settings: &'config FleetConfig,
    collectors: Vec<Collector>,
    busy: Option<BusyQuery>,
}

impl<'config> Asked<'config> {
    fn new(settings: &'config FleetConfig, connections: &Connections) -> anyhow::Result<Self> {
        Ok(Self {
            collectors: daemon::collectors(settings, connections)?,
            busy: daemon::busy_query(settings, connections)?,
            settings,
        })
    }
}

/// What there is to say of a policy in one app.
struct InApp {
    /// Each of its fleets there, with its settings.
    fleets: Vec<(FleetConfig, Report)>,
    /// What is about none of them.
    beside: Vec<Step>,
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
    let (lock, peers) = tokio::join!(lock(config, &transport), peers(config));
    let lock = lock?;
    let report = match asker.fleets.as_slice() {
        [only] if asker.has_one_app(only) => asker.one(only).await,
        _ => report_of(asker.every_fleet().await),
    };
    steps.extend(report.steps);
    let report = Report {
        steps,
        plan: report.plan,
    };
    let tried = lock.into_iter().chain([peers]);
    Ok(tried.fold(report, |report, step| report.with(&step)))
}

/// Looks for other copies, where two would do harm.
async fn peers(config: &Config) -> Step {
    let name = config.own.copies();
    let name = name.filter(|_| config.lock.is_none() || config.api.dry_run);
    let answer = match name {
        Some(name) => Some(peers::count(&SystemNames, &name).await),
        None => None,
    };
    check::peers(config, answer.as_ref())
}

/// Tries the lock, where one is configured, with a key of its own.
async fn lock(config: &Config, transport: &Arc<dyn Transport>) -> anyhow::Result<Option<Step>> {
    let Some(lock) = &config.lock else {
        return Ok(None);
    };
    let fleets = config.fleets.iter();
    let apps = Account::apps(fleets.map(|fleet| fleet.apps.pattern.as_str()));
    let consul = daemon::consul(lock.clone(), &apps, &config.own, transport, &Metrics::new())?;
    let probe = if config.api.dry_run {
        None
    } else {
        Some(consul.probe().await)
    };
    Ok(Some(check::lock(lock, &apps, probe.as_ref())))
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
    let fleets = fleets.map(|settings| Asked::new(settings, &connections));
    let fleets = fleets.collect::<anyhow::Result<_>>()?;
    Ok((
        Asker {
            config,
            file,
            api,
            fleets,
        },
        transport,
    ))
}

impl Asker<'_> {
    /// Whether it names an app, and no policy before it in the list has all that it would take there.
    fn has_one_app(&self, fleet: &Asked<'_>) -> bool {
        let pattern = &fleet.settings.apps.pattern;
        let has = || self.config.has(fleet.settings, pattern.as_str());
        !pattern.is_wildcard() && matches!(has(), Has::AllBut(_))
    }

    /// The options that choose a policy, or an app or a region of it.
    fn choice(&self, fleet: &Asked<'_>, of_it: &[(&str, &str)]) -> String {
        let file = self.file.map(|path| path.display().to_string());
        let file = file.filter(|path| !path.is_empty());
        let policy = (self.config.claims.len() > 1).then(|| fleet.settings.name.clone());
        let options = [("--config", file), ("--policy", policy)];
        let of_it = of_it.iter();
        let options = options
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .chain(of_it.map(|(name, value)| (*name, (*value).to_owned())));
        let options = options.map(|(name, value)| format!("{name} {}", shell_word(&value)));
        options.collect::<Vec<_>>().join(" ")
    }

    /// The only policy, which names an app: everything about its fleet, or a line for each region.
    async fn one(&self, fleet: &Asked<'_>) -> Report {
        let app = fleet.settings.apps.pattern.as_str();
        let mut found = self.in_app(fleet, app, false).await;
        let chosen = &fleet.settings.policy.region;
        if let [(settings, _)] = found.fleets.as_slice()
            && settings.policy.region == *chosen
            && let Some((_, mut report)) = found.fleets.pop()
        {
            report.steps.extend(found.beside);
            return report;
        }
        let mut steps = check::of_fleets(self.lines(fleet, app, found.fleets));
        steps.extend(found.beside);
        report_of(steps)
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
            if let Has::Nothing { by } = self.config.has(fleet.settings, app) {
                steps.push(check::of_another_policy(&fleet.settings.name, app, by));
                continue;
            }
            let found = self.in_app(fleet, app, false).await;
            named.extend(self.lines(fleet, app, found.fleets));
            steps.extend(found.beside);
        }
        let mut lines = check::of_fleets(named);
        lines.extend(steps);
        lines
    }

    /// What is a line each, by names that tell them apart, with the options that show more.
    fn lines(&self, fleet: &Asked<'_>, app: &str, found: Vec<(FleetConfig, Report)>) -> Vec<App> {
        let is_matched = fleet.settings.apps.pattern.is_wildcard();
        let lines = found.into_iter().map(|(settings, report)| {
            let policy = &settings.policy;
            let region = policy.region.as_deref();
            let name = match region {
                _ if !is_matched => settings.name.clone(),
                None => app.to_owned(),
                Some(region) => format!("{app}/{}/{region}", policy.process_group),
            };
            let app = is_matched.then_some(("--app", app));
            let region = region.map(|region| ("--region", region));
            let of_it: Vec<(&str, &str)> = app.into_iter().chain(region).collect();
            App {
                name,
                choice: self.choice(fleet, &of_it),
                report,
            }
        });
        lines.collect()
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
            match config.has(fleet.settings, app) {
                Has::Nothing { by } => of_others.push((app.as_str(), by)),
                Has::AllBut(_) => {
                    own.insert(app);
                }
            }
        }
        let matched = Matched {
            listed: &listed,
            left_out,
            own: own.len(),
            of_others: of_others.len(),
        };
        let found: Vec<(&String, InApp)> = stream::iter(own)
            .map(|app| async move { (app, self.in_app(fleet, app, true).await) })
            .buffer_unordered(config.concurrency)
            .collect()
            .await;
        let (mut apps, mut beside) = (Vec::new(), Vec::new());
        for (app, found) in found {
            apps.extend(self.lines(fleet, app, found.fleets));
            beside.extend(found.beside);
        }
        beside.sort_by(|one, other| one.name.cmp(&other.name));
        let mut steps = check::of_apps(config, selection, matched, apps);
        steps.extend(beside);
        let policy = &fleet.settings.name;
        let of_others = of_others.into_iter();
        steps.extend(of_others.map(|(app, by)| check::of_another_policy(policy, app, by)));
        steps
    }

    fn deadline(&self, now: Now) -> Instant {
        Instant::from_std(now.monotonic) + self.config.timeout()
    }

    /// Everything about what a policy has in one app, a report for each of its fleets: one about the group as a whole where each
    /// region would be one and none is known. `is_matched`: a wildcard found the app in the list of them.
    async fn in_app(&self, fleet: &Asked<'_>, app: &str, is_matched: bool) -> InApp {
        let now = Clock::System.now();
        let deadline = self.deadline(now);
        let client = AppClient::new(Arc::clone(&self.api), app);
        let explained = Instant::from_std(now.monotonic) + TOKEN_ANSWER;
        let known = async {
            if is_matched {
                // The list of apps has said that there is the app, and that the token is accepted.
                return (Ok(Vec::new()), Ok(AppAbout::default()));
            }
            let scope = self.api.current_tokens(explained.min(deadline));
            tokio::join!(scope, client.about(deadline))
        };
        let (known, looked) = tokio::join!(known, self.look(fleet, &client, now));
        match looked {
            Err(by) => InApp {
                fleets: Vec::new(),
                beside: vec![check::of_another_policy(&fleet.settings.name, app, by)],
            },
            Ok(looked) => {
                let beside = looked.machines.as_ref().ok();
                let beside =
                    beside.and_then(|listed| self.left_out((fleet, is_matched), app, listed));
                InApp {
                    fleets: self
                        .reports(looked, &client, now, (known, is_matched))
                        .await,
                    beside: beside.into_iter().collect(),
                }
            }
        }
    }

    /// The fleets that a policy has by a list, as far as it was answered: itself, or those of its regions that no policy before it
    /// has. None where no region is known.
    ///
    /// # Errors
    ///
    /// Which policy has all regions that are known.
    fn fleets_of(
        &self,
        settings: &FleetConfig,
        app: &str,
        listed: &[Machine],
    ) -> Result<Vec<FleetConfig>, &str> {
        if !settings.is_of_regions() {
            return Ok(vec![settings.clone()]);
        }
        let mut own = Vec::new();
        let mut of_another = None;
        for of_region in ask::regions(settings, listed) {
            match self.config.has(&of_region, app) {
                Has::Nothing { by } => of_another = Some(by),
                Has::AllBut(_) => own.push(of_region),
            }
        }
        match of_another {
            Some(by) if own.is_empty() => Err(by),
            _ => Ok(own),
        }
    }

    /// Asks what a pass asks, side by side as far as it knows of whom.
    async fn look(&self, fleet: &Asked<'_>, client: &AppClient, now: Now) -> Result<Looked, &str> {
        let settings = fleet.settings;
        let deadline = self.deadline(now);
        let list = timed(client.list_machines(deadline));
        let question = timed(client.current_release(deadline, deadline));
        let ((machines, listing), (release, asking), (asked, collecting)) =
            if settings.is_of_regions() {
                let (list, answer) = tokio::join!(list, question);
                let listed = list.0.as_deref().unwrap_or_default();
                let fleets = self.fleets_of(settings, client.app(), listed)?;
                let asked = self.ask(fleet, fleets, client.app(), Clock::System.now());
                (list, answer, timed(asked).await)
            } else {
                let whole = vec![settings.clone()];
                let asked = timed(self.ask(fleet, whole, client.app(), now));
                tokio::join!(list, question, asked)
            };
        let chosen = &settings.policy.region;
        let regions = match (chosen, &machines) {
            (None, _) => Some(asked.len()),
            (Some(region), Ok(machines)) if settings.is_found => {
                let mut regions = regions_of(machines, &settings.policy);
                regions.insert(region.as_ref().to_owned());
                Some(regions.len())
            }
            // The others of FAS_REGIONS are not known here.
            (Some(_), _) => None,
        };
        Ok(Looked {
            asked,
            regions,
            machines,
            release,
            took: collecting.max(listing) + asking,
        })
    }

    /// Asks about the metrics of these fleets of a policy, and how busy their machines are. Without any, there is nobody to ask for.
    async fn ask(
        &self,
        fleet: &Asked<'_>,
        fleets: Vec<FleetConfig>,
        app: &str,
        now: Now,
    ) -> Vec<Answers> {
        if fleets.is_empty() {
            return vec![Answers {
                settings: fleet.settings.clone(),
                readings: Vec::new(),
                busy: None,
                values: Values::new(&fleet.settings.names),
            }];
        }
        let deadline = self.deadline(now);
        let regions = fleets.iter().filter_map(|one| one.policy.region.clone());
        let timeout = fleet.settings.policy.timeout;
        let collect = ask::collect_each((&fleet.collectors, app), regions.collect(), timeout, now);
        let busy = join_all(fleets.iter().map(|settings| async {
            let query = fleet.busy.as_ref()?;
            let about = settings.subject(app);
            let samples = query.ask(about, now, deadline, &Metrics::new()).await;
            Some(samples.map(|samples| Busyness::of(samples.of_machines)))
        }));
        let (readings, busy) = tokio::join!(collect, busy);
        let answers = fleets.into_iter().zip(readings).zip(busy);
        let answers = answers.map(|((settings, readings), busy)| {
            let values = readings.values(&settings.names);
            let configured = settings.collectors.iter().zip(&fleet.collectors);
            let readings = readings.into_results().zip(configured);
            let readings = readings.map(|((metric, result), (configured, collector))| Reading {
                metric,
                kind: collector.kind(),
                query: collector.query(settings.subject(app)),
                address: configured.address(settings.subject(app)),
                asks_each_region: collector.asks_each_region(),
                result,
            });
            Answers {
                readings: readings.collect(),
                busy,
                values,
                settings,
            }
        });
        answers.collect()
    }

    /// What comes of it, for each fleet.
    async fn reports(
        &self,
        looked: Looked,
        client: &AppClient,
        now: Now,
        ((scope, about), is_matched): (Known, bool),
    ) -> Vec<(FleetConfig, Report)> {
        let Looked {
            mut asked,
            regions,
            machines,
            release,
            took,
        } = looked;
        let release: ReleaseAnswer = Arc::new(release);
        let fleets: Vec<Result<Fleet, Arc<ApiError>>> = match machines {
            Err(error) => {
                let error = Arc::new(error);
                asked.iter().map(|_| Err(Arc::clone(&error))).collect()
            }
            Ok(machines) => {
                let wanted = asked.iter_mut().map(|one| {
                    let busy = one.busy.as_ref().and_then(|busy| busy.as_ref().ok());
                    Wanted {
                        settings: &one.settings,
                        values: &mut one.values,
                        busy: busy.cloned().unwrap_or(Busyness::Unknown),
                    }
                });
                let fleets = Fleet::of_all(wanted.collect(), &machines, &release, now).await;
                fleets.into_iter().map(Ok).collect()
            }
        };
        let found = asked.into_iter().zip(fleets).map(|(answers, fleet)| {
            let Answers {
                settings,
                readings,
                busy,
                values,
            } = answers;
            let report = check::steps(&Seen {
                config: self.config,
                settings: &settings,
                regions,
                app: client.app(),
                may_be_empty: is_matched,
                now,
                took,
                scope: &scope,
                about: &about,
                metrics: readings,
                busy,
                values,
                fleet,
                release: Arc::clone(&release),
            });
            (settings, report)
        });
        found.collect()
    }

    /// That machines of the group are in regions that are no fleets. Who has chosen a region or a policy does not ask about others.
    fn left_out(
        &self,
        (fleet, is_matched): (&Asked<'_>, bool),
        app: &str,
        listed: &[Machine],
    ) -> Option<Step> {
        let Config {
            fleets,
            claims,
            own,
            ..
        } = self.config;
        if !fleet.settings.is_of_regions() || fleets.len() < claims.len() {
            return None;
        }
        let of_app = fleets.iter().filter(|one| one.takes(app, own));
        let place = of_app
            .clone()
            .position(|one| one.place == fleet.settings.place)?;
        let policies: Vec<&Policy> = of_app.map(|one| &one.policy).collect();
        let name = if is_matched {
            app
        } else {
            &fleet.settings.name
        };
        check::left_out((name, app), listed, (&policies, place))
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

/// What the token is for, and what the app is, by their own account.
type Known = (
    Result<Vec<TokenScope>, ApiError>,
    Result<AppAbout, ApiError>,
);

/// What a pass over one app asks, and was answered.
struct Looked {
    /// For each fleet.
    asked: Vec<Answers>,
    /// How many regions are fleets, as far as that is known.
    regions: Option<usize>,
    machines: Result<Vec<Machine>, ApiError>,
    release: Result<Option<Release>, ApiError>,
    /// As long as a pass would take for it.
    took: Duration,
}

/// What was answered about one fleet.
struct Answers {
    settings: FleetConfig,
    readings: Vec<Reading>,
    busy: Option<Result<Busyness, CollectError>>,
    values: Values,
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

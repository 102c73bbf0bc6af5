//! The daemon: from a [`Config`] to bound listeners, clients and the loop.
//!
//! Errors here end the program or a test; nobody branches on them, hence `anyhow`.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use tokio::net::TcpListener;

use crate::{
    admin::{self, Admin},
    app::Wanted,
    clock::Clock,
    collect::{BusyQuery, Collector, Connections},
    config::{Config, FleetConfig, LockConfig, MetricsAddress, OwnMachine},
    listener,
    lock::{Account, Consul, ConsulOptions, Gate, Keeper, KeeperOptions, UNHEARD_LIMIT},
    machines::{Api, ApiOptions},
    metrics::Metrics,
    peers::{self, SystemNames},
    pool::{Pool, PoolOptions, Scaled},
    reconcile::Reconciler,
    shutdown::Shutdown,
    status::{Settings, Status},
    transport::{HttpTransport, Transport},
    waiting::Waiting,
};

/// A daemon whose listener is bound and whose clients are ready.
pub struct Daemon {
    pool: Pool,
    admin: Admin,
    listener: TcpListener,
    /// Looks for other copies, where there is no lock.
    watch: Option<peers::Watch>,
}

impl Daemon {
    /// Binds the listener of `/metrics`, remembers a point of history every `resolution`, and prepares everything, in a runtime; connects to nothing. The process may have
    /// more open files afterwards.
    ///
    /// # Errors
    ///
    /// When the address is taken, or a token, certificate or address cannot be used.
    pub fn bind(
        config: Config,
        extra_roots: Option<&[u8]>,
        shutdown: Shutdown,
        resolution: Duration,
    ) -> anyhow::Result<Self> {
        // What a copy has begun must not arrive when another one holds the lock.
        let unheard = config.lock.as_ref().map(|_| UNHEARD_LIMIT);
        let transport = HttpTransport::giving_up(extra_roots, config.proxies.clone(), unheard)
            .context("cannot prepare the HTTP client")?;
        let transport: Arc<dyn Transport> = Arc::new(transport);
        if let Err(error) = listener::raise_open_files() {
            tracing::warn!(error = %error, "cannot raise the limit of open files: {error}");
        }
        let listener = listen(config.metrics_address)?;
        let status = Status::with_resolution(Clock::System, resolution);
        let admin = Admin::showing(status, config.interval(), config.timeout());
        let watch = watch(&config, &admin);
        let pool = assemble(config, extra_roots, transport, &admin, shutdown)?;
        Ok(Self {
            pool,
            admin,
            listener,
            watch,
        })
    }

    /// Where `/metrics` listens.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn metrics_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Whether it may write.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.admin.health.gate()
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.admin.metrics.clone()
    }

    /// What it shows.
    #[must_use]
    pub fn status(&self) -> Status {
        self.admin.status.clone()
    }

    /// Lets no pass begin before `pause` is over; what is shown is there meanwhile.
    pub fn begin_after(&mut self, pause: Duration) {
        self.pool.begin_after(pause);
    }

    /// Runs until the shutdown flag is set and what is in flight has ended, at most four seconds later.
    pub async fn run(self) {
        let look_out = async {
            match self.watch {
                Some(watch) => watch.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.pool.run() => {}
            // The listener was bound before; it ends only with the process.
            () = listener::serve(self.listener, admin::router(self.admin)) => {}
            // What it asks of the system may go on by itself.
            _ = look_out => {}
        }
    }
}

/// Looks for other copies where two would do harm: without a lock, in earnest, and on a machine of Fly's.
fn watch(config: &Config, admin: &Admin) -> Option<peers::Watch> {
    if config.lock.is_some() || config.api.dry_run {
        return None;
    }
    Some(peers::Watch {
        app: config.own.app.clone()?,
        name: config.own.copies()?,
        names: Arc::new(SystemNames),
        clock: admin.status.clock(),
        metrics: admin.metrics.clone(),
        peers: admin.peers.clone(),
    })
}

/// Puts the loop together; what it does is shown in `admin`, whose clock it goes by. Tests bring a transport and a clock
/// of their own.
///
/// # Errors
///
/// When a token, certificate or address cannot be used.
pub fn assemble(
    config: Config,
    extra_roots: Option<&[u8]>,
    transport: Arc<dyn Transport>,
    admin: &Admin,
    shutdown: Shutdown,
) -> anyhow::Result<Pool> {
    let (interval, timeout) = (config.interval(), config.timeout());
    let Config {
        fleets,
        api,
        concurrency,
        own,
        lock,
        ..
    } = config;
    let patterns: Vec<&str> = fleets
        .iter()
        .map(|fleet| fleet.apps.pattern.as_str())
        .collect();
    let apps = Account::apps(patterns.iter().copied());
    let patterns = patterns.join(", ");
    let lock = lock.filter(|_| !api.dry_run);
    admin
        .metrics
        .divided_by(lock.as_ref().map_or(1, |lock| lock.shards));
    let (lock, gate) = match lock {
        None => (None, Gate::open()),
        Some(lock) => {
            let options = KeeperOptions {
                consul: consul(lock, &apps, &own, &transport, &admin.metrics)?,
                apps,
                clock: admin.status.clock(),
                metrics: admin.metrics.clone(),
                shutdown: shutdown.clone(),
                patience: interval.saturating_mul(3).saturating_add(timeout),
            };
            let (keeper, gate) = Keeper::new(options);
            (Some(keeper), gate)
        }
    };
    admin
        .metrics
        .leads(usize::from(lock.is_none() && !api.dry_run));
    admin.health.stand_at(gate.clone());
    let token = api
        .token
        .ok_or_else(|| anyhow!("FAS_API_TOKEN is required"))?;
    let options = ApiOptions {
        machines_url: api.machines_url,
        graphql_url: api.graphql_url,
        token,
        dry_run: api.dry_run,
        gate: gate.clone(),
        jitter_seed: jitter_seed(own.machine.as_deref()),
        concurrency: api.concurrency,
    };
    let connections = Connections::new(Arc::clone(&transport), extra_roots);
    let policies = fleets
        .into_iter()
        .map(|fleet| scaled(fleet, &connections))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let client = Api::new(transport, options, admin.metrics.clone(), shutdown.clone())
        .map_err(|message| anyhow!(message))?;
    for Scaled { settings, .. } in &policies {
        let pattern = &settings.apps.pattern;
        let left_out = settings.left_out(&own);
        if let Some(own) = left_out.filter(|own| pattern.is_wildcard() && pattern.matches(own)) {
            tracing::info!(app = %own, "{own} is the autoscaler's own app and is not scaled");
        }
    }
    admin.status.configure(Settings {
        interval,
        dry_run: api.dry_run,
        app_pattern: patterns,
        targets: match policies.as_slice() {
            [only] => Some(Arc::clone(&only.wanted.targets)),
            _ => None,
        },
    });
    let options = PoolOptions {
        policies,
        own,
        concurrency,
        refresh_interval: config.app_list_refresh_interval,
    };
    let reconciler = Reconciler {
        timeout,
        interval,
        api_concurrency: api.concurrency,
        metrics: admin.metrics.clone(),
        clock: admin.status.clock(),
        waiting: Waiting::default(),
        shutdown,
        gate,
        pulse: Mutex::default(),
    };
    let pool = Pool::new(
        Arc::new(reconciler),
        Arc::new(client),
        options,
        admin.health.clone(),
        admin.status.clone(),
    );
    Ok(pool.with_lock(lock))
}

/// Consul, as the lock is configured; `apps` is what this copy scales.
///
/// # Errors
///
/// When the token cannot be used.
pub fn consul(
    lock: LockConfig,
    apps: &str,
    own: &OwnMachine,
    transport: &Arc<dyn Transport>,
    metrics: &Metrics,
) -> anyhow::Result<Consul> {
    let account = Account {
        machine: own.machine.clone(),
        region: own.region.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        apps: apps.to_owned(),
        shards: (lock.shards > 1).then_some(lock.shards),
    };
    // It is the same whoever writes it, as far as copies are alike.
    let common = Account {
        machine: None,
        region: None,
        ..account.clone()
    };
    let setting = lock.setting;
    let options = ConsulOptions {
        address: lock.address,
        token: lock.token,
        prefix: lock.prefix,
        name: lock.name,
        shards: lock.shards,
        value: account.text(),
        common_value: common.text(),
    };
    Consul::new(Arc::clone(transport), options, metrics.clone())
        .map_err(|message| anyhow!("{setting}: {message}"))
}

/// One policy, with what asks for its metrics.
fn scaled(settings: FleetConfig, connections: &Connections) -> anyhow::Result<Scaled> {
    let wanted = Wanted {
        collectors: collectors(&settings, connections)?,
        busy: busy_query(&settings, connections)?,
        names: settings.names.clone(),
        targets: Arc::new(settings.targets.clone()),
        policy: Arc::new(settings.policy.clone()),
        may_be_empty: settings.apps.pattern.is_wildcard(),
    };
    Ok(Scaled {
        settings,
        wanted: Arc::new(wanted),
    })
}

/// What asks for each metric of a policy, in the order of the configuration.
///
/// # Errors
///
/// When one of them cannot be asked as it is configured.
pub fn collectors(
    settings: &FleetConfig,
    connections: &Connections,
) -> anyhow::Result<Vec<Collector>> {
    let collectors = settings.collectors.iter().map(|collector| {
        Collector::new(collector, connections)
            .with_context(|| format!("metric {}", collector.metric))
    });
    collectors.collect()
}

/// What asks how busy machines are, where a policy wants to know.
///
/// # Errors
///
/// When its server cannot be asked as it is configured.
pub fn busy_query(
    settings: &FleetConfig,
    connections: &Connections,
) -> anyhow::Result<Option<BusyQuery>> {
    let busy = settings.busy.as_ref();
    let query = busy.map(|busy| BusyQuery::new(busy, connections.transport()));
    let setting = busy.map_or("", |busy| &busy.setting);
    query.transpose().with_context(|| setting.to_owned())
}

/// Different machines jitter differently; one machine, always alike.
fn jitter_seed(machine: Option<&str>) -> u64 {
    machine
        .unwrap_or_default()
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325, |seed, byte| {
            (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        })
}

/// Binds the address; without IPv6, the default one falls back to `0.0.0.0`.
fn listen(address: MetricsAddress) -> anyhow::Result<TcpListener> {
    let MetricsAddress {
        socket,
        may_fall_back,
        setting,
    } = address;
    let cannot_listen =
        |socket: SocketAddr| format!("cannot listen on {socket} for /metrics ({setting})");
    let error = match listener::bind(socket) {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
    };
    // A kernel without IPv6 may know neither the address nor the family, and says so in several ways.
    let not_ours = matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
    );
    if may_fall_back && socket.is_ipv6() && !not_ours {
        let fallback = SocketAddr::from(([0, 0, 0, 0], socket.port()));
        return listener::bind(fallback).with_context(|| cannot_listen(fallback));
    }
    bail!(anyhow::Error::new(error).context(cannot_listen(socket)))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::{Purpose, Sources};

    /// Where it runs, its settings there, and whether others are looked for.
    type Case = (&'static str, &'static [(&'static str, &'static str)], bool);

    #[test]
    fn other_copies_are_looked_for_where_they_would_do_harm() {
        let cases: [Case; 6] = [
            ("on Fly", &[], true),
            ("outside of Fly", &[("FLY_MACHINE_ID", "")], false),
            (
                "in a console",
                &[("FLY_PROCESS_GROUP", "fly_app_console")],
                false,
            ),
            (
                "with a lock",
                &[("FLY_CONSUL_URL", "http://:token@consul.test/prefix/")],
                false,
            ),
            (
                "with a lock that is not to be",
                &[
                    ("FLY_CONSUL_URL", "http://:token@consul.test/prefix/"),
                    ("FAS_LOCK_URL", "none"),
                ],
                true,
            ),
            ("in a dry run", &[("FAS_DRY_RUN", "true")], false),
        ];
        for (name, settings, is_looked_for) in cases {
            let all = [
                ("FAS_APP_NAME", "web"),
                ("FAS_API_TOKEN", "fm2_token"),
                ("FAS_CREATED_MACHINE_COUNT", "1"),
                ("FLY_APP_NAME", "scaler"),
                ("FLY_MACHINE_ID", "e28"),
                ("FLY_PROCESS_GROUP", "app"),
            ];
            let set = |name: &str| settings.iter().any(|(one, _)| *one == name);
            let others = all.into_iter().filter(|(name, _)| !set(name));
            let environment = others.chain(settings.iter().copied());
            let environment =
                environment.map(|(name, value)| (OsString::from(name), OsString::from(value)));
            let sources = Sources::new(environment, Purpose::Serve);
            let config = Config::load(sources).expect("a valid configuration");
            let admin = Admin::new(Clock::System, config.interval(), config.timeout());
            let watch = watch(&config, &admin);
            let looked_up = watch.map(|watch| watch.name);
            let expected = is_looked_for.then(|| "app.process.scaler.internal".to_owned());
            assert_eq!(looked_up, expected, "{name}");
        }
    }
}

//! Configuration: the environment's `FAS_*` variables and the YAML file in, one validated [`Config`] out.
//!
//! Text in, values out: nothing here opens a socket, reads a clock or reads the process environment by itself; callers
//! pass the variables and the file's text. Every mistake is gathered and returned at once ([`ConfigErrors`]).
//! What the values mean to a pass is decided elsewhere (`scaling`); this module only refuses what cannot be meant.

mod address_template;
mod claim;
mod collectors;
mod conflicts;
mod documents;
mod env;
mod error;
mod expansion;
pub mod file;
mod kind;
mod lock;
mod pattern;
mod per_region;
mod postgres;
mod problems;
mod query;
mod redis;
mod reference;
mod regions;
mod secrets;
mod server_url;
mod settings;
mod spelling;
mod statement;
mod subject;
mod suggestion;
mod summary;
mod temporal_address;
#[cfg(test)]
mod tests;
mod traces;
mod validate;
mod values;
mod web;
mod yaml_integer;

use std::{ffi::OsString, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use http::HeaderName;
use secrecy::SecretString;
use url::Url;

use self::query::Piece;
use crate::{
    expr::Names,
    scaling::{Policy, TargetExpressions},
    shown::{self, Secrets},
    transport::{ProxyAddress, ProxyRules},
};

pub use self::{
    claim::{Claim, Has, Shadowed, Taken},
    error::{ConfigError, ConfigErrors, Place},
    kind::CollectorKind,
    pattern::InvalidAppPattern,
    reference::reference,
    settings::{Holds, Origin, Section, VARIABLES, Variable, YamlKey},
    spelling::Spelling,
    subject::Subject,
    temporal_address::TemporalAddress,
};

/// What a configuration is made from. It has no `Debug`: the variables hold tokens.
#[derive(Clone)]
pub struct Sources {
    /// The variables of the process.
    pub environment: Vec<(OsString, OsString)>,
    /// `--config`: the file's path, for messages, and its text ([`file::read`]).
    pub file: Option<(PathBuf, String)>,
    /// What the configuration is for.
    pub purpose: Purpose,
    /// `--app`: one app instead of `FAS_APP_NAME`.
    pub app: Option<String>,
    /// `--policy`: one policy instead of all, by its name.
    pub policy: Option<String>,
}

impl Sources {
    /// The environment alone.
    pub fn new(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        purpose: Purpose,
    ) -> Self {
        Self {
            environment: environment.into_iter().collect(),
            file: None,
            purpose,
            app: None,
            policy: None,
        }
    }
}

/// What a configuration is for, which decides what must be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Scaling: `FAS_API_TOKEN` is required.
    Serve,
    /// Evaluating the expressions once: no API token is needed.
    Eval,
    /// Replaying the past: the same, and the expressions may come from elsewhere.
    Backtest,
}

/// Everything the program was told, validated.
#[derive(Debug, Clone)]
pub struct Config {
    /// What is scaled by what, at least one: the `policies` of the file, or else the top level as the one.
    ///
    /// Where several take the same machines, the first does.
    pub fleets: Vec<FleetConfig>,
    /// What each policy of the file would take, those too that are not among [`Self::fleets`] because others were chosen.
    pub claims: Vec<Claim>,
    /// How Fly is spoken to.
    pub api: ApiConfig,
    /// `FAS_CONCURRENCY` (16): passes running at the same time; at least 1.
    pub concurrency: usize,
    /// `FAS_APP_LIST_REFRESH_INTERVAL` (60 s): how often a wildcard is matched again.
    pub app_list_refresh_interval: Duration,
    /// `FAS_METRICS_ADDRESS` (`[::]:9090`): where `/metrics` listens.
    pub metrics_address: MetricsAddress,
    /// `FAS_VERBOSE` (`false`): debug logging.
    pub verbose: bool,
    /// `FAS_LOG_FORMAT` (`json`).
    pub log_format: LogFormat,
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`: which proxy each address is asked through.
    pub proxies: ProxyRules,
    /// The daemon's own place on Fly, from `FLY_APP_NAME`, `FLY_PROCESS_GROUP` (else `app`) and `FLY_MACHINE_ID`.
    pub own: OwnMachine,
    /// Where the dry run was asked for; `None` unless [`ApiConfig::dry_run`] is set.
    pub dry_run_by: Option<Place>,
    /// `FAS_LOCK_URL`, else `FLY_CONSUL_URL`: the lock by which one of several copies writes; `None`: there is none. A dry run has
    /// one by its settings, and does not take it.
    pub lock: Option<LockConfig>,
    /// Every secret of this configuration, for whatever shows something ([`shown::hold`]).
    pub secrets: Secrets,
    /// What to tell the user at start-up although it is no mistake (a query names an unset variable …).
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// All mistakes at once; where the file cannot be parsed, those that can be told without it.
    pub fn load(sources: Sources) -> Result<Self, ConfigErrors> {
        validate::load(sources)
    }

    /// `FAS_INTERVAL`: from the start of one pass over an app to the next.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.fleets[0].policy.interval
    }

    /// `FAS_TIMEOUT`: the deadline of one pass.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.fleets[0].policy.timeout
    }
}

/// One policy of `fleets.md`: what is wanted of the process group that it names, in each app that it names.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    /// What messages call it: `name` in the file, or else `APP/GROUP`.
    pub name: String,
    /// Its place among the policies of the file: that of its claim in [`Config::claims`].
    pub place: usize,
    /// `FAS_APP_NAME`, `FAS_ORG`: which apps are scaled.
    pub apps: AppSelection,
    /// The expressions of `FAS_*_MACHINE_COUNT`.
    pub targets: TargetExpressions,
    /// The names that expressions may use: every collector's metric and the built-in counts.
    pub names: Names,
    /// What planning may and may not do.
    pub policy: Policy,
    /// Where metrics come from, in the order they were configured.
    pub collectors: Vec<CollectorConfig>,
    /// `FAS_PROMETHEUS_BUSY_QUERY`.
    pub busy: Option<BusyConfig>,
    /// Whether it is one of a region that nobody has set: the daemon has it only where there are machines of the group.
    pub is_found: bool,
}

impl FleetConfig {
    /// The name that the user has given it, if any.
    #[must_use]
    pub fn own_name(&self) -> Option<&str> {
        let machines = format!(
            "{}/{}",
            self.apps.pattern.as_str(),
            self.policy.process_group
        );
        (self.name != machines).then_some(&self.name)
    }

    /// The fleet of one region, where each is one.
    #[must_use]
    pub fn of_region(&self, region: &str) -> Self {
        Self {
            name: format!("{}/{region}", self.name),
            is_found: self.policy.regions.is_empty(),
            policy: self.policy.of_region(region),
            ..self.clone()
        }
    }

    /// Whether it stands for the fleets of its regions, each of which has targets of its own.
    #[must_use]
    pub fn is_of_regions(&self) -> bool {
        self.policy.per_region && self.policy.region.is_none()
    }

    /// What its queries are about in an app.
    #[must_use]
    pub fn subject<'a>(&'a self, app: &'a str) -> Subject<'a> {
        Subject {
            app,
            region: self.policy.region.as_deref(),
        }
    }

    /// The app that a wildcard leaves out: the autoscaler's own, unless another group of it is scaled.
    #[must_use]
    pub fn left_out<'own>(&self, own: &'own OwnMachine) -> Option<&'own str> {
        let app = own.app.as_deref();
        app.filter(|_| self.policy.scales_group(&own.process_group))
    }

    /// Whether an app of this name is scaled by it.
    #[must_use]
    pub fn takes(&self, app: &str, own: &OwnMachine) -> bool {
        let pattern = &self.apps.pattern;
        let is_left_out = pattern.is_wildcard() && self.left_out(own) == Some(app);
        pattern.takes(app) && !is_left_out
    }
}

/// Which apps are scaled.
#[derive(Debug, Clone)]
pub struct AppSelection {
    /// `FAS_APP_NAME`: a name, or a pattern in which `*` matches any run of characters.
    pub pattern: AppPattern,
    /// `FAS_ORG`: the organization slug; always present when the pattern has a `*`.
    pub org: Option<String>,
}

/// How Fly's APIs are spoken to.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// `FAS_API_TOKEN`; always present for `serve`, optional for `eval`.
    pub token: Option<SecretString>,
    /// `FLY_FLAPS_BASE_URL` (`https://api.machines.dev`): the Machines API.
    pub machines_url: Url,
    /// `FLY_API_BASE_URL` (`https://api.fly.io`): the GraphQL API.
    pub graphql_url: Url,
    /// `FAS_API_CONCURRENCY` (8): machine calls in flight for one app; at least 1.
    pub concurrency: usize,
    /// `FAS_DRY_RUN` (`false`): everything but writing.
    pub dry_run: bool,
}

/// One collector: a metric's name and where its value comes from.
#[derive(Debug, Clone)]
pub struct CollectorConfig {
    /// The name that expressions use.
    pub metric: String,
    /// Where the value comes from.
    pub source: CollectorSource,
    /// What its settings are called.
    pub spelling: Spelling,
}

impl CollectorConfig {
    /// The query as it was written, its variables replaced for an app or a region of it; empty where there is none.
    #[must_use]
    pub fn query<'a>(&self, about: impl Into<Subject<'a>>) -> String {
        let about = about.into();
        match &self.source {
            CollectorSource::Prometheus { query, .. } => query.render(about),
            CollectorSource::Temporal { query, .. } => {
                let query = query.as_ref().map(|query| query.render(about));
                query.unwrap_or_default()
            }
            CollectorSource::Http { value, .. } => {
                let path = value.as_ref().map(|value| value.render(about));
                path.unwrap_or_default()
            }
            CollectorSource::Redis { command, .. } => command.shown(about),
            CollectorSource::Postgres { query, .. } => query.render(about),
        }
    }

    /// Whether something else is asked, or elsewhere, for each region: `$REGION` is in it, and means the fleet's.
    #[must_use]
    pub fn asks_each_region(&self) -> bool {
        let is_open = |one: &Option<QueryTemplate>| {
            let one = one.as_ref();
            one.is_some_and(QueryTemplate::asks_each_region)
        };
        match &self.source {
            CollectorSource::Prometheus { query, .. } => query.asks_each_region(),
            CollectorSource::Temporal { query, .. } => is_open(query),
            CollectorSource::Http { url, value, .. } => url.asks_each_region() || is_open(value),
            CollectorSource::Redis { url, command, .. } => {
                url.asks_each_region() || command.asks_each_region()
            }
            CollectorSource::Postgres { url, query, .. } => {
                url.asks_each_region() || query.asks_each_region()
            }
        }
    }

    /// What it asks.
    #[must_use]
    pub fn kind(&self) -> CollectorKind {
        match self.source {
            CollectorSource::Prometheus { .. } => CollectorKind::Prometheus,
            CollectorSource::Temporal { .. } => CollectorKind::Temporal,
            CollectorSource::Http { .. } => CollectorKind::Http,
            CollectorSource::Redis { .. } => CollectorKind::Redis,
            CollectorSource::Postgres { .. } => CollectorKind::Postgres,
        }
    }

    /// Where it asks, as it may be shown, its variables replaced for an app or a region of it.
    #[must_use]
    pub fn address<'a>(&self, about: impl Into<Subject<'a>>) -> String {
        match &self.source {
            CollectorSource::Prometheus { address, .. } => shown::address(address),
            CollectorSource::Temporal { address, .. } => address.to_string(),
            CollectorSource::Http { url, .. }
            | CollectorSource::Redis { url, .. }
            | CollectorSource::Postgres { url, .. } => url.shown(about),
        }
    }

    /// `FAS_PROMETHEUS_EMPTY_VALUE` and its like.
    #[must_use]
    pub fn empty_value(&self) -> Option<f64> {
        match self.source {
            CollectorSource::Prometheus { empty_value, .. }
            | CollectorSource::Http { empty_value, .. }
            | CollectorSource::Redis { empty_value, .. }
            | CollectorSource::Postgres { empty_value, .. } => empty_value,
            CollectorSource::Temporal { .. } => None,
        }
    }
}

/// Where it comes from how busy machines are: the policy's first Prometheus server, with another query.
#[derive(Clone)]
pub struct BusyConfig {
    /// As of [`CollectorSource::Prometheus`].
    pub address: Url,
    /// As there.
    pub basic: Option<SecretString>,
    /// As there.
    pub token: Option<SecretString>,
    /// The query.
    pub query: QueryTemplate,
    /// What it is called.
    pub setting: String,
    /// What the settings of the server are called.
    pub spelling: Spelling,
}

impl BusyConfig {
    /// Whether something else is asked for each region.
    #[must_use]
    pub fn asks_each_region(&self) -> bool {
        self.query.asks_each_region()
    }
}

impl fmt::Debug for BusyConfig {
    /// Without the address's query string, which can hold a token.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BusyConfig")
            .field("address", &shown::address(&self.address))
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

/// Where a metric's value comes from.
#[derive(Clone)]
pub enum CollectorSource {
    /// An instant `PromQL` query.
    Prometheus {
        /// The base address, user information removed; path and query string are kept.
        address: Url,
        /// `user:password` of the address, decoded; used when there is no token.
        basic: Option<SecretString>,
        /// `FAS_PROMETHEUS_TOKEN`.
        token: Option<SecretString>,
        /// The query.
        query: QueryTemplate,
        /// `FAS_PROMETHEUS_EMPTY_VALUE`: the value when the query returns nothing.
        empty_value: Option<f64>,
    },
    /// The number of running workflows of a Temporal namespace.
    Temporal {
        /// Where it is.
        address: TemporalAddress,
        /// The namespace.
        namespace: String,
        /// A visibility query, joined to `ExecutionStatus="Running"`.
        query: Option<QueryTemplate>,
        /// The client certificate and key, both PEM; present together.
        identity: Option<TemporalIdentity>,
        /// The proxy that it is asked through.
        proxy: Option<ProxyAddress>,
    },
    /// A number in the answer to a GET.
    Http {
        /// `FAS_HTTP_URL`; user information in it becomes Basic authorization unless there is a token.
        url: AddressTemplate,
        /// `FAS_HTTP_VALUE`: a `JSONPath`; without one the whole body is the number.
        value: Option<QueryTemplate>,
        /// `FAS_HTTP_TOKEN`.
        token: Option<SecretString>,
        /// Further headers.
        headers: Vec<(HeaderName, SecretString)>,
        /// `FAS_HTTP_EMPTY_VALUE`: the value when there is nothing at the path.
        empty_value: Option<f64>,
    },
    /// What a command of Redis returns.
    Redis {
        /// `FAS_REDIS_URL`, which [`RedisAddress::parse`] reads.
        url: AddressTemplate,
        /// `FAS_REDIS_COMMAND`.
        command: RedisCommand,
        /// `FAS_REDIS_EMPTY_VALUE`: the value when the answer is nil.
        empty_value: Option<f64>,
    },
    /// The one value of the one row of an SQL statement.
    Postgres {
        /// `FAS_POSTGRES_URL`, which [`PostgresAddress::parse`] reads.
        url: AddressTemplate,
        /// `FAS_POSTGRES_QUERY`: one statement.
        query: QueryTemplate,
        /// `FAS_POSTGRES_EMPTY_VALUE`: the value when there is no row, or NULL.
        empty_value: Option<f64>,
    },
}

/// Where a Redis server is, and how it is spoken to. Neither form of it that can be shown has user or password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RedisAddress {
    /// The host; an IPv6 address is in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether the connection is encrypted (`rediss://`).
    pub has_tls: bool,
    /// The ACL user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The database's number.
    pub database: u32,
    /// Whether RESP3 is spoken (`?protocol=3`) instead of RESP2.
    pub has_resp3: bool,
}

/// A command that only reads. Its arguments may have `$APP_NAME` and `$REGION` in them.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisCommand {
    name: &'static str,
    arguments: Vec<QueryTemplate>,
}

/// Where a database is, and how it is spoken to. Neither form of it that can be shown has user or password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PostgresAddress {
    /// The host; an IPv6 address is in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Option<String>,
    /// The database.
    pub database: String,
    /// Whether the connection is encrypted.
    pub mode: SslMode,
    /// Command line options for the server.
    pub options: Option<String>,
}

/// `sslmode`, as libpq has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Where the server can, whatever certificate it shows.
    Prefer,
    /// Always, whatever certificate the server shows.
    Require,
    /// Always, with a certificate for the server's name.
    VerifyFull,
}

impl fmt::Debug for CollectorSource {
    /// Without the address's query string, which can hold a token.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prometheus {
                address,
                basic,
                token,
                query,
                empty_value,
            } => formatter
                .debug_struct("Prometheus")
                .field("address", &shown::address(address))
                .field("basic", basic)
                .field("token", token)
                .field("query", query)
                .field("empty_value", empty_value)
                .finish(),
            Self::Temporal {
                address,
                namespace,
                query,
                identity,
                proxy,
            } => formatter
                .debug_struct("Temporal")
                .field("address", address)
                .field("namespace", namespace)
                .field("query", query)
                .field("identity", identity)
                .field("proxy", proxy)
                .finish(),
            Self::Http {
                url,
                value,
                token,
                headers,
                empty_value,
            } => formatter
                .debug_struct("Http")
                .field("url", url)
                .field("value", value)
                .field("token", token)
                .field("headers", headers)
                .field("empty_value", empty_value)
                .finish(),
            Self::Redis {
                url,
                command,
                empty_value,
            } => formatter
                .debug_struct("Redis")
                .field("url", url)
                .field("command", command)
                .field("empty_value", empty_value)
                .finish(),
            Self::Postgres {
                url,
                query,
                empty_value,
            } => formatter
                .debug_struct("Postgres")
                .field("url", url)
                .field("query", query)
                .field("empty_value", empty_value)
                .finish(),
        }
    }
}

/// A client certificate and its key, PEM.
#[derive(Clone)]
pub struct TemporalIdentity {
    /// `TEMPORAL_TLS_CERT_DATA`, `FAS_TEMPORAL_CERT_DATA`.
    pub certificate: String,
    /// `TEMPORAL_TLS_KEY_DATA`, `FAS_TEMPORAL_KEY_DATA`.
    pub key: SecretString,
}

impl fmt::Debug for TemporalIdentity {
    /// Shows neither: the two are easily swapped.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TemporalIdentity")
            .finish_non_exhaustive()
    }
}

/// Where `/metrics` listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricsAddress {
    /// The address to bind.
    pub socket: SocketAddr,
    /// Whether `0.0.0.0` may stand in on a host without IPv6: only when no address was configured,
    /// or one without a host (`:9090`).
    pub may_fall_back: bool,
    /// What the user chose it by, for the message that it is taken.
    pub setting: &'static str,
}

/// `FAS_LOG_FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// The daemon's own place on Fly; all absent elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnMachine {
    /// `FLY_APP_NAME`.
    pub app: Option<String>,
    /// `FLY_MACHINE_ID`.
    pub machine: Option<String>,
    /// `FLY_PROCESS_GROUP`, else `app`.
    pub process_group: String,
    /// `FLY_REGION`.
    pub region: Option<String>,
}

impl OwnMachine {
    /// The name in Fly's DNS that has an address for each copy that runs; `None` where this is no copy's machine: outside of
    /// Fly, and in those that Fly makes for a console or a command of a release.
    #[must_use]
    pub fn copies(&self) -> Option<String> {
        let (app, _) = self.app.as_ref().zip(self.machine.as_ref())?;
        let group = &self.process_group;
        let is_for_a_command = group.starts_with("fly_app_");
        (!is_for_a_command).then(|| format!("{group}.process.{app}.internal"))
    }
}

/// The lock by which one of several copies writes.
#[derive(Debug, Clone)]
pub struct LockConfig {
    /// Consul's address, without token and prefix.
    pub address: Url,
    /// What Consul is shown.
    pub token: Option<SecretString>,
    /// What its keys and nodes begin with: nothing, or text that ends in a slash.
    pub prefix: String,
    /// `FAS_LOCK_NAME` (`FLY_PROCESS_GROUP`, else `app`): copies of one name take turns.
    pub name: String,
    /// `FAS_SHARDS` (1): into how many parts the apps are divided, each of which is one copy's; at least 1.
    pub shards: usize,
    /// The variable or the key that has the address.
    pub setting: String,
}

/// `FAS_APP_NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppPattern(String);

/// An address whose `$APP_NAME` and `$REGION` are still open. It may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct AddressTemplate(QueryTemplate);

/// A query whose `$APP_NAME` is still open, and where each region is a fleet `$REGION` as well; every other variable is already
/// in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryTemplate {
    pieces: Vec<Piece>,
}

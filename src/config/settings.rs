//! The table of all settings, and the raw values read by it: what was written and where.
//!
//! One list makes the table that users see, the struct that envy and the YAML parser fill, the rule that a value in the
//! file wins over the environment, what is hidden, and, for a setting that is one value of the configuration, how it is
//! read and told, so these cannot drift apart. Raw values hold tokens; they have no `Debug`.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, de};
use serde_saphyr::Spanned;

use super::{
    Config, FleetConfig,
    error::{ConfigError, Place},
    file::Keyed,
    kind::CollectorKind,
    problems::Problems,
    values::{self, Text as _},
};
use crate::scaling::Kind;

/// One setting: a row of the table that `help settings`, the README and the check for misspelt variables use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// The environment variable.
    pub name: &'static str,
    /// Its key in the YAML file.
    pub key: YamlKey,
    /// What holds when it is not set; empty: nothing.
    pub default: &'static str,
    /// Where the reference has it.
    pub section: Section,
    /// Whether upstream has it too.
    pub origin: Origin,
    /// Whether it can hold a secret.
    pub holds: Holds,
    /// What it means, in one line.
    pub meaning: &'static str,
}

/// Where the YAML file has a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum YamlKey {
    /// A key of the file, which holds for the daemon as a whole.
    Top(&'static str),
    /// A key of the file, and of one item of its `policies`.
    Policy(&'static str),
    /// A key of one item of `metric-collectors`.
    Collector(&'static str),
    /// Nowhere: it is only read from the environment.
    Absent,
}

impl fmt::Display for YamlKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top(key) | Self::Policy(key) => formatter.write_str(key),
            Self::Collector(key) => write!(formatter, "metric-collectors[].{key}"),
            Self::Absent => Ok(()),
        }
    }
}

/// A section of the reference ([`super::reference()`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Which apps are scaled.
    Apps,
    /// The expressions.
    Counts,
    /// How machines are created, stopped and destroyed.
    Machines,
    /// What bounds the expressions.
    Limits,
    /// The Prometheus collector of the environment.
    Prometheus,
    /// The Temporal collector of the environment.
    Temporal,
    /// The HTTP collector of the environment.
    Http,
    /// The Redis collector of the environment.
    Redis,
    /// The Postgres collector of the environment.
    Postgres,
    /// Fly's APIs, and the daemon itself.
    Daemon,
}

impl Section {
    /// All of them, in the order of the reference.
    pub const ALL: [Self; 10] = [
        Self::Apps,
        Self::Counts,
        Self::Machines,
        Self::Limits,
        Self::Prometheus,
        Self::Temporal,
        Self::Http,
        Self::Redis,
        Self::Postgres,
        Self::Daemon,
    ];

    /// Whether its settings are those of a collector.
    fn is_of_collectors(self) -> bool {
        CollectorKind::ALL.iter().any(|kind| kind.section() == self)
    }

    /// What stands above its settings.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::Apps => "Which apps",
            Self::Counts => {
                "How many machines (at least one of these; for each kind either the single form or both min and max)"
            }
            Self::Machines => "How machines are created, stopped and destroyed",
            Self::Limits => {
                "Limits (floor and ceiling need a created target; a fallback never scales down)"
            }
            Self::Prometheus => {
                "Metrics of one Prometheus server (for more than one server, use the YAML file)"
            }
            Self::Temporal => "One Temporal metric (for more than one, use the YAML file)",
            Self::Http => "One number of a web server (for more than one, use the YAML file)",
            Self::Redis => "One number of Redis (for more than one, use the YAML file)",
            Self::Postgres => "One number of Postgres (for more than one, use the YAML file)",
            Self::Daemon => "Fly's APIs, and the daemon itself",
        }
    }
}

/// Whether superfly/fly-autoscaler has a setting too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It does; the meaning is the same.
    Upstream,
    /// It does not.
    Ours,
}

/// What a setting holds, as far as secrets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// No secret; a token in it is a mistake.
    Plain,
    /// A token.
    Token,
    /// PEM. Certificates are no secret, but they are easily swapped with their keys.
    Pem,
    /// An address, whose password or query string may be a secret.
    Address,
    /// The same, in which variables are replaced.
    Url,
}

/// Whether the line at start-up tells a setting, and by which name.
enum Told {
    Always(&'static str),
    /// Unless it is the default.
    Changed(&'static str),
}

/// A value as written, and where in the file's text; line 0 in the environment.
pub(super) struct Setting {
    text: String,
    line: u64,
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self {
            text: spanned.value,
            line: spanned.referenced.line(),
        })
    }
}

/// A value and where it comes from. Never empty.
#[derive(Clone)]
pub(super) struct Value {
    raw: String,
    place: Place,
}

impl Value {
    pub(super) fn new(raw: String, place: Place) -> Option<Self> {
        (!raw.trim().is_empty()).then_some(Self { raw, place })
    }

    /// The value without white space around it: a secret that ends in a newline is the same secret.
    pub(super) fn text(&self) -> &str {
        self.raw.trim()
    }

    /// The value as written, for PEM.
    pub(super) fn raw(&self) -> &str {
        &self.raw
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The variable's or the key's name.
    pub(super) fn label(&self) -> &str {
        self.place.label()
    }

    /// That something is wrong with it; shows it, so that it is not for secrets.
    pub(super) fn wrong(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::new(&self.place, message).value(self.text())
    }
}

/// A variable that does nothing because the file says something else.
pub(super) struct Overruled {
    /// The variable.
    pub(super) variable: &'static str,
    /// Its value.
    pub(super) value: Value,
    /// Where the value that counts stands.
    pub(super) by: Place,
}

impl Overruled {
    fn of(
        variable: &'static str,
        file: Option<&Value>,
        environment: Option<&Value>,
    ) -> Option<Self> {
        let (file, environment) = (file?, environment?);
        (file.text() != environment.text()).then(|| Self {
            variable,
            value: environment.clone(),
            by: file.place.clone(),
        })
    }
}

/// Makes the place of a key from its name and its line in the expanded text.
pub(super) type Locate<'a> = dyn Fn(&str, u64) -> Place + 'a;

/// What a mapping of the YAML file may contain.
pub(super) trait Keys {
    /// The keys, as the file has them.
    fn keys() -> Vec<&'static str>;
    /// The struct's field for one of these keys.
    fn field(key: &str) -> Cow<'_, str>;
    /// Whether a key that is none of these belongs to the top of the file.
    fn is_elsewhere(_key: &str) -> bool {
        false
    }
}

/// What settings are read into: what holds for the daemon, and what for one policy.
struct Read<Daemon, Fleet> {
    daemon: Daemon,
    fleet: Fleet,
}

/// One row a setting: the field that it is read into, the variable, the key, the default, its section, whether upstream
/// has it, whether it can hold a secret, and its meaning. Where one value of the configuration is all that it means: `=>` that
/// value, what reads it (of `values`), and how it is told at start-up. The others are read by `validate`.
macro_rules! settings {
    ($($(#[$attribute:meta])* $field:ident: $name:literal, $key:expr, $default:literal, $section:ident, $origin:ident,
        $holds:ident, $meaning:literal $(=> $($place:ident).+, $reader:ident, $told:expr)?;)*) => {
        /// Every setting there is.
        pub const VARIABLES: &[Variable] = &[$(Variable {
            name: $name,
            key: $key,
            default: $default,
            section: Section::$section,
            origin: Origin::$origin,
            holds: Holds::$holds,
            meaning: $meaning,
        }),*];

        /// What one source says. The fields are named as envy wants them: the variable in lower case, without `FAS_`.
        #[derive(Default, Deserialize)]
        #[serde(default)]
        pub(super) struct RawSettings {
            $($(#[$attribute])* $field: Option<Setting>,)*
            /// Only in the file.
            metric_collectors: Option<Vec<Spanned<Keyed<RawCollector>>>>,
            /// Only in the file, and there at its top.
            policies: Option<Vec<Spanned<Keyed<RawPolicy>>>>,
            /// Only in a policy.
            name: Option<Setting>,
        }

        /// What both sources say together.
        #[derive(Clone)]
        pub(super) struct Settings {
            $(pub(super) $field: Option<Value>,)*
            /// The collectors of the file; they replace those of the environment.
            pub(super) metric_collectors: Option<Vec<WrittenCollector>>,
            /// What each policy of the file says by itself.
            pub(super) policies: Option<Vec<Settings>>,
            /// The policy's name, and where it stands; neither without policies.
            pub(super) name: Option<Value>,
            pub(super) item: Option<Place>,
            /// Variables that begin with [`FURTHER_QUERY`].
            pub(super) further_queries: Vec<Value>,
        }

        impl Settings {
            /// The settings that are set, apart from those of the file's collectors.
            pub(super) fn rows(&self) -> impl Iterator<Item = (&'static Variable, &Value)> {
                let values = [$(&self.$field),*];
                VARIABLES.iter().zip(values).filter_map(|(variable, value)| Some((variable, value.as_ref()?)))
            }

            /// Puts the two together, value by value; the file wins. A key without a value, or with an empty one, is
            /// an unset one. A variable that the file overrules by another value is added to `overruled`.
            pub(super) fn merge(
                environment: RawSettings,
                file: RawSettings,
                locate: &Locate<'_>,
                overruled: &mut Vec<Overruled>,
            ) -> Self {
                let policy = |(index, item): (usize, Spanned<Keyed<RawPolicy>>)| {
                    let name = format!("{POLICIES}[{index}]");
                    let place = locate(&name, item.referenced.line());
                    let locate = |key: &str, line| locate(&format!("{name}.{key}"), line);
                    let alone = Self::merge(RawSettings::default(), item.value.fields.0, &locate, &mut Vec::new());
                    Self { item: Some(place), ..alone }
                };
                Self {
                    $($field: {
                        let written = from_file(file.$field, $key, locate);
                        let variable = from_environment(environment.$field, $name);
                        overruled.extend(Overruled::of($name, written.as_ref(), variable.as_ref()));
                        written.or(variable)
                    },)*
                    metric_collectors: file.metric_collectors.map(|items| {
                        items.into_iter().enumerate().map(|(index, item)| WrittenCollector::from_file(index, item, locate)).collect()
                    }),
                    policies: file.policies.map(|items| items.into_iter().enumerate().map(policy).collect()),
                    name: file.name.and_then(|name| Value::new(name.text, locate(POLICY_NAME, name.line))),
                    item: None,
                    further_queries: Vec::new(),
                }
            }

            /// What holds for a policy: what it says, and for what it leaves out what the top level says.
            fn with_rest_of(self, top: &Self) -> Self {
                Self {
                    $($field: self.$field.or_else(|| top.$field.clone()),)*
                    further_queries: top.further_queries.clone(),
                    metric_collectors: self.metric_collectors.or_else(|| top.metric_collectors.clone()),
                    ..self
                }
            }

            /// Leaves no setting of a collector of the environment.
            fn forget_collectors(&mut self) {
                $(if Section::$section.is_of_collectors() {
                    self.$field = None;
                })*
                self.further_queries.clear();
            }

            /// Reads the settings that are one value of the configuration.
            pub(super) fn read(&self, daemon: &mut Config, fleet: &mut FleetConfig, problems: &mut Problems) {
                let of = Read { daemon, fleet };
                $($(of.$($place).+ = values::$reader(problems, self.$field.as_ref(), $default);)?)*
            }
        }

        /// What [`Settings::read`] has read, for the line at start-up.
        pub(super) fn told(daemon: &Config, fleet: &FleetConfig) -> Vec<(&'static str, String)> {
            let of = Read { daemon, fleet };
            let mut told = Vec::new();
            $($(
                let text = of.$($place).+.text();
                told.extend(match $told {
                    Told::Always(name) => text.map(|text| (name, text)),
                    Told::Changed(name) => text.filter(|text| text != $default).map(|text| (name, text)),
                });
            )?)*
            told
        }
    };
}

use Told::{Always, Changed};
use YamlKey::{Absent, Collector as InCollector, Policy as OfPolicy, Top};

settings! {
    app_name: "FAS_APP_NAME", OfPolicy("app-name"), "required", Apps, Upstream, Plain,
        "The app to scale; * matches any characters, and then FAS_ORG is required.";
    org: "FAS_ORG", Top("org"), "", Apps, Upstream, Plain,
        "The slug of the organization whose apps a * matches.";
    created_machine_count: "FAS_CREATED_MACHINE_COUNT", OfPolicy("created-machine-count"), "", Counts, Upstream, Plain,
        "Expression: machines are created and destroyed until this many exist.";
    min_created_machine_count: "FAS_MIN_CREATED_MACHINE_COUNT", OfPolicy("min-created-machine-count"), "", Counts, Upstream, Plain,
        "Expression: below this many, machines are created; needs the max form as well.";
    max_created_machine_count: "FAS_MAX_CREATED_MACHINE_COUNT", OfPolicy("max-created-machine-count"), "", Counts, Upstream, Plain,
        "Expression: above this many, machines are destroyed; needs the min form as well.";
    started_machine_count: "FAS_STARTED_MACHINE_COUNT", OfPolicy("started-machine-count"), "", Counts, Upstream, Plain,
        "Expression: existing machines are started and stopped until this many run.";
    min_started_machine_count: "FAS_MIN_STARTED_MACHINE_COUNT", OfPolicy("min-started-machine-count"), "", Counts, Upstream, Plain,
        "Expression: below this many running, machines are started; needs the max form as well.";
    max_started_machine_count: "FAS_MAX_STARTED_MACHINE_COUNT", OfPolicy("max-started-machine-count"), "", Counts, Upstream, Plain,
        "Expression: above this many running, machines are stopped; needs the min form as well.";
    process_group: "FAS_PROCESS_GROUP", OfPolicy("process-group"), "app", Apps, Upstream, Plain,
        "Only machines of this process group are scaled; *: all machines, including those without a group."
        => fleet.policy.process_group, text, Always("process_group");
    #[serde(deserialize_with = "one_or_many")]
    regions: "FAS_REGIONS", OfPolicy("regions"), "", Machines, Upstream, Plain,
        "Regions or aliases for created machines, separated by commas; one listed twice gets twice as many; unset: the region of the cloned machine, else the app's other regions."
        => fleet.policy.regions, regions, Changed("regions");
    per_region: "FAS_PER_REGION", OfPolicy("per-region"), "false", Machines, Ours, Plain,
        "Whether each region is scaled by itself: those of FAS_REGIONS, else those in which the group has machines; the counts are then the region's."
        => fleet.policy.per_region, boolean, Changed("per_region");
    initial_machine_state: "FAS_INITIAL_MACHINE_STATE", OfPolicy("initial-machine-state"), "started", Machines, Upstream, Plain,
        "The state of a new machine: started or stopped."
        => fleet.policy.initial_state, choice, Always("initial_machine_state");
    interval: "FAS_INTERVAL", Top("interval"), "15s", Daemon, Upstream, Plain,
        "Time between the starts of two passes over an app."
        => fleet.policy.interval, positive_duration, Always("interval");
    timeout: "FAS_TIMEOUT", Top("timeout"), "30s", Daemon, Upstream, Plain,
        "The deadline of a pass and of everything in it."
        => fleet.policy.timeout, positive_duration, Always("timeout");
    concurrency: "FAS_CONCURRENCY", Top("concurrency"), "16", Apps, Upstream, Plain,
        "Passes that run at the same time when many apps are scaled; below 1 counts as 1."
        => daemon.concurrency, passes_at_once, Always("concurrency");
    app_list_refresh_interval: "FAS_APP_LIST_REFRESH_INTERVAL", Top("app-list-refresh-interval"), "60s", Apps, Upstream, Plain,
        "How often the apps that a * matches are listed."
        => daemon.app_list_refresh_interval, positive_duration, Always("app_list_refresh_interval");
    machine_floor: "FAS_MACHINE_FLOOR", OfPolicy("machine-floor"), "", Limits, Ours, Plain,
        "Never fewer created machines than this, whatever the expression says."
        => fleet.policy.floor, count, Changed("floor");
    machine_ceiling: "FAS_MACHINE_CEILING", OfPolicy("machine-ceiling"), "", Limits, Ours, Plain,
        "Never more created machines than this, whatever the expression says."
        => fleet.policy.ceiling, ceiling, Changed("ceiling");
    destroy_running_after: "FAS_DESTROY_RUNNING_AFTER", OfPolicy("destroy-running-after"), "45s", Machines, Ours, Plain,
        "How long a surplus must last before running machines are destroyed; 0s: at once."
        => fleet.policy.destroy_running_after, duration, Always("destroy_running_after");
    stop_action: "FAS_STOP_ACTION", OfPolicy("stop-action"), "stop", Machines, Ours, Plain,
        "How started machines are stopped: stop or suspend."
        => fleet.policy.stop_action, choice, Changed("stop_action");
    clone_volumes: "FAS_CLONE_VOLUMES", OfPolicy("clone-volumes"), "false", Machines, Ours, Plain,
        "Whether machines with volumes may be cloned, each clone with its own volumes."
        => fleet.policy.clone_volumes, boolean, Changed("clone_volumes");
    scale_up_stabilization: "FAS_SCALE_UP_STABILIZATION", OfPolicy("scale-up-stabilization"), "0s", Limits, Ours, Plain,
        "Scale up only to the lowest minimum seen in this time."
        => fleet.policy.stabilization.up, duration, Changed("scale_up_stabilization");
    scale_down_stabilization: "FAS_SCALE_DOWN_STABILIZATION", OfPolicy("scale-down-stabilization"), "0s", Limits, Ours, Plain,
        "Scale down only to the highest maximum seen in this time."
        => fleet.policy.stabilization.down, duration, Changed("scale_down_stabilization");
    scale_up_step: "FAS_SCALE_UP_STEP", OfPolicy("scale-up-step"), "", Limits, Ours, Plain,
        "The most machines that one pass adds: a count or a share such as 50%; unset: no limit; 0: never scale up."
        => fleet.policy.step.up, step, Changed("scale_up_step");
    scale_down_step: "FAS_SCALE_DOWN_STEP", OfPolicy("scale-down-step"), "", Limits, Ours, Plain,
        "The most machines that one pass removes: a count or a share such as 50%; unset: no limit; 0: never scale down."
        => fleet.policy.step.down, step, Changed("scale_down_step");
    fallback_created_machine_count: "FAS_FALLBACK_CREATED_MACHINE_COUNT", OfPolicy("fallback-created-machine-count"), "", Limits, Ours, Plain,
        "The minimum of created machines once that target has had no value for FAS_FALLBACK_AFTER passes."
        => fleet.policy.fallback.created, count, Changed("fallback_created");
    fallback_started_machine_count: "FAS_FALLBACK_STARTED_MACHINE_COUNT", OfPolicy("fallback-started-machine-count"), "", Limits, Ours, Plain,
        "The minimum of started machines once that target has had no value for FAS_FALLBACK_AFTER passes."
        => fleet.policy.fallback.started, count, Changed("fallback_started");
    fallback_after: "FAS_FALLBACK_AFTER", OfPolicy("fallback-after"), "3", Limits, Ours, Plain,
        "Consecutive passes without a value before the fallback is used."
        => fleet.policy.fallback.after, passes_in_a_row, Always("fallback_after");
    prometheus_busy_query: "FAS_PROMETHEUS_BUSY_QUERY", OfPolicy("prometheus-busy-query"), "", Machines, Ours, Plain,
        "How busy each machine is: a PromQL vector with a label instance or machine; the least busy is stopped or destroyed first.";
    stop_metric_prometheus_query: "FAS_STOP_METRIC_PROMETHEUS_QUERY", Absent, "", Machines, Ours, Plain,
        "Another name of FAS_PROMETHEUS_BUSY_QUERY.";
    busy_limit: "FAS_BUSY_LIMIT", OfPolicy("busy-limit"), "", Machines, Ours, Plain,
        "A running machine that is busier than this, or without a sample, is not stopped or destroyed; 0: only idle ones are.";
    deploy_timeout: "FAS_DEPLOY_TIMEOUT", OfPolicy("deploy-timeout"), "1h", Machines, Ours, Plain,
        "A deploy that seems to run for longer is treated as abandoned and no longer blocks scaling; 0s: deploys never block scaling."
        => fleet.policy.deploy_timeout, duration, Always("deploy_timeout");
    fly_flaps_base_url: "FLY_FLAPS_BASE_URL", Absent, "https://api.machines.dev", Daemon, Upstream, Address,
        "The URL of the Machines API."
        => daemon.api.machines_url, base_url, Always("machines_api");
    fly_api_base_url: "FLY_API_BASE_URL", Absent, "https://api.fly.io", Daemon, Ours, Address,
        "The URL of the GraphQL API."
        => daemon.api.graphql_url, base_url, Always("graphql_api");
    api_token: "FAS_API_TOKEN", Top("api-token"), "required by serve", Daemon, Upstream, Token,
        "Fly token for the apps that are scaled."
        => daemon.api.token, api_token, Always("api_token");
    api_concurrency: "FAS_API_CONCURRENCY", Top("api-concurrency"), "8", Daemon, Ours, Plain,
        "Concurrent Machines API calls for one app."
        => daemon.api.concurrency, calls_at_once, Always("api_concurrency");
    metrics_address: "FAS_METRICS_ADDRESS", Top("metrics-address"), "[::]:9090", Daemon, Ours, Plain,
        "The listen address of the status page, /api/status, /metrics, /healthz and /readyz."
        => daemon.metrics_address, metrics_address, Always("metrics_address");
    log_format: "FAS_LOG_FORMAT", Top("log-format"), "json", Daemon, Ours, Plain,
        "The log format: json or text."
        => daemon.log_format, choice, Changed("log_format");
    verbose: "FAS_VERBOSE", Top("verbose"), "false", Daemon, Ours, Plain,
        "Debug logging."
        => daemon.verbose, boolean, Changed("verbose");
    dry_run: "FAS_DRY_RUN", Top("dry-run"), "false", Daemon, Ours, Plain,
        "Plan and log changes, but make none."
        => daemon.api.dry_run, boolean, Changed("dry_run");
    lock_url: "FAS_LOCK_URL", Top("lock-url"), "", Daemon, Ours, Address,
        "Consul, whose lock says which one of several copies writes: https://:TOKEN@host/prefix/; unset: FLY_CONSUL_URL, else no lock; none: no lock.";
    fly_consul_url: "FLY_CONSUL_URL", Absent, "", Daemon, Ours, Address,
        "The same, as fly consul attach sets it.";
    lock_name: "FAS_LOCK_NAME", Top("lock-name"), "", Daemon, Ours, Plain,
        "Copies of one name take turns; unset: FLY_PROCESS_GROUP, else app.";
    shards: "FAS_SHARDS", Top("shards"), "1", Daemon, Ours, Plain,
        "Into how many parts the apps of a pattern are divided among copies, 1 to 64; 1: one copy scales all.";
    prometheus_address: "FAS_PROMETHEUS_ADDRESS", InCollector("address"), "", Prometheus, Upstream, Address,
        "The address of Prometheus, without /api/v1/query; setting it enables this collector.";
    prometheus_metric_name: "FAS_PROMETHEUS_METRIC_NAME", InCollector("metric-name"), "", Prometheus, Upstream, Plain,
        "The name of the query's value in expressions.";
    prometheus_query: "FAS_PROMETHEUS_QUERY", InCollector("query"), "", Prometheus, Upstream, Plain,
        "The PromQL query; $APP_NAME is the app, with FAS_PER_REGION $REGION the region, and other $NAME come from the environment.";
    prometheus_token: "FAS_PROMETHEUS_TOKEN", InCollector("token"), "", Prometheus, Upstream, Token,
        "Token for Prometheus; on Fly: fly tokens create readonly.";
    prometheus_empty_value: "FAS_PROMETHEUS_EMPTY_VALUE", InCollector("empty-value"), "", Prometheus, Ours, Plain,
        "The metric's value when the query returns nothing or NaN; unset: the metric has failed.";
    temporal_address: "FAS_TEMPORAL_ADDRESS", InCollector("address"), "", Temporal, Upstream, Address,
        "The host:port of Temporal; setting it enables this collector.";
    temporal_namespace: "FAS_TEMPORAL_NAMESPACE", InCollector("namespace"), "", Temporal, Upstream, Plain,
        "The namespace whose running workflows are counted.";
    temporal_metric_name: "FAS_TEMPORAL_METRIC_NAME", InCollector("metric-name"), "", Temporal, Upstream, Plain,
        "The name of the number of running workflows in expressions.";
    temporal_query: "FAS_TEMPORAL_QUERY", InCollector("query"), "", Temporal, Upstream, Plain,
        "Which running workflows are counted; unset: all.";
    temporal_cert_data: "FAS_TEMPORAL_CERT_DATA", InCollector("cert-data"), "", Temporal, Upstream, Pem,
        "Client certificate, PEM.";
    temporal_key_data: "FAS_TEMPORAL_KEY_DATA", InCollector("key-data"), "", Temporal, Upstream, Pem,
        "Key of the client certificate, PEM.";
    temporal_tls_cert_data: "TEMPORAL_TLS_CERT_DATA", Absent, "", Temporal, Upstream, Pem,
        "Client certificate, PEM; overrides FAS_TEMPORAL_CERT_DATA.";
    temporal_tls_key_data: "TEMPORAL_TLS_KEY_DATA", Absent, "", Temporal, Upstream, Pem,
        "Key of the client certificate, PEM; overrides FAS_TEMPORAL_KEY_DATA.";
    http_url: "FAS_HTTP_URL", InCollector("url"), "", Http, Ours, Url,
        "The address that answers a GET with JSON or a number; setting it enables this collector.";
    http_metric_name: "FAS_HTTP_METRIC_NAME", InCollector("metric-name"), "", Http, Ours, Plain,
        "The name of the number in expressions.";
    http_value: "FAS_HTTP_VALUE", InCollector("value"), "", Http, Ours, Plain,
        "JSONPath to the number, such as $.queues.default; unset: the whole answer is the number.";
    http_token: "FAS_HTTP_TOKEN", InCollector("token"), "", Http, Ours, Token,
        "Token, sent as Bearer; one that begins with Fly is sent as it is.";
    http_empty_value: "FAS_HTTP_EMPTY_VALUE", InCollector("empty-value"), "", Http, Ours, Plain,
        "The metric's value when there is nothing at that path, or null; unset: the metric has failed.";
    redis_url: "FAS_REDIS_URL", InCollector("url"), "", Redis, Ours, Url,
        "redis://user:password@host:6379/0, or rediss:// for TLS; setting it enables this collector.";
    redis_metric_name: "FAS_REDIS_METRIC_NAME", InCollector("metric-name"), "", Redis, Ours, Plain,
        "The name of the command's value in expressions.";
    redis_command: "FAS_REDIS_COMMAND", InCollector("command"), "", Redis, Ours, Plain,
        "One command that reads a number, such as LLEN queue:default.";
    redis_empty_value: "FAS_REDIS_EMPTY_VALUE", InCollector("empty-value"), "", Redis, Ours, Plain,
        "The metric's value when the answer is nil; unset: the metric has failed.";
    postgres_url: "FAS_POSTGRES_URL", InCollector("url"), "", Postgres, Ours, Url,
        "postgres://user:password@host:5432/database?sslmode=verify-full; setting it enables this collector.";
    postgres_metric_name: "FAS_POSTGRES_METRIC_NAME", InCollector("metric-name"), "", Postgres, Ours, Plain,
        "The name of the query's value in expressions.";
    postgres_query: "FAS_POSTGRES_QUERY", InCollector("query"), "", Postgres, Ours, Plain,
        "One SQL statement with one row of one column; it runs in a read-only transaction.";
    postgres_empty_value: "FAS_POSTGRES_EMPTY_VALUE", InCollector("empty-value"), "", Postgres, Ours, Plain,
        "The metric's value when there is no row, or NULL; unset: the metric has failed.";
}

/// What the variables begin with that give further queries of the one Prometheus server; the rest is the metric's name,
/// in capitals or not.
pub(super) const FURTHER_QUERY: &str = "FAS_PROMETHEUS_QUERY_";

/// The row of a variable.
pub(super) fn variable(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.name == name)
}

fn from_file(setting: Option<Setting>, key: YamlKey, locate: &Locate<'_>) -> Option<Value> {
    let (Top(key) | OfPolicy(key)) = key else {
        return None;
    };
    let setting = setting?;
    Value::new(setting.text, locate(key, setting.line))
}

fn from_environment(setting: Option<Setting>, name: &str) -> Option<Value> {
    Value::new(setting?.text, Place::Variable(name.to_owned()))
}

/// The key of the collectors' list.
const METRIC_COLLECTORS: &str = "metric-collectors";

/// The key of the policies' list.
const POLICIES: &str = "policies";

/// The key of a policy's name.
const POLICY_NAME: &str = "name";

impl Keys for RawSettings {
    fn keys() -> Vec<&'static str> {
        let top = VARIABLES.iter().filter_map(|variable| match variable.key {
            Top(key) | OfPolicy(key) => Some(key),
            InCollector(_) | Absent => None,
        });
        top.chain([METRIC_COLLECTORS, POLICIES]).collect()
    }

    fn field(key: &str) -> Cow<'_, str> {
        key.replace('-', "_").into()
    }
}

impl RawSettings {
    /// The collectors' mappings, for the mistakes found while they were read.
    pub(super) fn collectors(&self) -> impl Iterator<Item = &Keyed<RawCollector>> {
        self.metric_collectors
            .iter()
            .flatten()
            .map(|item| &item.value)
    }

    /// The policies' mappings, likewise.
    pub(super) fn policies(&self) -> impl Iterator<Item = &Keyed<RawPolicy>> {
        self.policies.iter().flatten().map(|item| &item.value)
    }
}

/// One item of `policies` as written.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct RawPolicy(pub(super) RawSettings);

impl Keys for RawPolicy {
    fn keys() -> Vec<&'static str> {
        let of_policy = VARIABLES.iter().filter_map(|variable| match variable.key {
            OfPolicy(key) => Some(key),
            Top(_) | InCollector(_) | Absent => None,
        });
        of_policy.chain([POLICY_NAME, METRIC_COLLECTORS]).collect()
    }

    fn field(key: &str) -> Cow<'_, str> {
        RawSettings::field(key)
    }

    fn is_elsewhere(key: &str) -> bool {
        VARIABLES
            .iter()
            .any(|variable| matches!(variable.key, Top(top) if top == key))
    }
}

impl Settings {
    /// What holds for a policy: what it says by itself, and for what it leaves out what the top level says. A count in one
    /// form (single, or min and max) leaves nothing of the other form of its kind.
    pub(super) fn under(mut self, top: &Self) -> Self {
        let mut top = top.clone();
        for kind in Kind::ALL {
            let [single, min, max] = self.count_of(kind).map(|form| form.is_some());
            let [top_single, top_min, top_max] = top.count_of_mut(kind);
            if single {
                *top_min = None;
                *top_max = None;
            }
            if min || max {
                *top_single = None;
            }
        }
        self.policies = None;
        self.with_rest_of(&top)
    }

    /// A kind's count in its forms: single, min and max.
    pub(super) fn count_of(&self, kind: Kind) -> [Option<&Value>; 3] {
        match kind {
            Kind::Created => [
                self.created_machine_count.as_ref(),
                self.min_created_machine_count.as_ref(),
                self.max_created_machine_count.as_ref(),
            ],
            Kind::Started => [
                self.started_machine_count.as_ref(),
                self.min_started_machine_count.as_ref(),
                self.max_started_machine_count.as_ref(),
            ],
        }
    }

    fn count_of_mut(&mut self, kind: Kind) -> [&mut Option<Value>; 3] {
        match kind {
            Kind::Created => [
                &mut self.created_machine_count,
                &mut self.min_created_machine_count,
                &mut self.max_created_machine_count,
            ],
            Kind::Started => [
                &mut self.started_machine_count,
                &mut self.min_started_machine_count,
                &mut self.max_started_machine_count,
            ],
        }
    }

    /// The top level, and what each policy says by itself.
    fn levels(&self) -> impl Iterator<Item = &Self> {
        [self].into_iter().chain(self.policies.iter().flatten())
    }

    /// Where something is missing: at the policy, or else in the variable of this name.
    pub(super) fn place_of(&self, variable: &str) -> Place {
        let item = self.item.clone();
        item.unwrap_or_else(|| Place::Variable(variable.to_owned()))
    }

    /// The collectors of the file, those of its policies too.
    pub(super) fn collectors(&self) -> impl Iterator<Item = &WrittenCollector> {
        self.levels()
            .flat_map(|level| level.metric_collectors.iter().flatten())
    }

    /// What is asked of how busy machines are, by the file and its policies.
    pub(super) fn busy_queries(&self) -> impl Iterator<Item = &Value> {
        let queries = self
            .levels()
            .filter_map(|level| level.prometheus_busy_query.as_ref());
        queries.filter(|value| matches!(value.place(), Place::Key { .. } | Place::Option(_)))
    }

    /// The settings that are set, those of policies too, and apart from those of the file's collectors.
    pub(super) fn all_rows(&self) -> impl Iterator<Item = (&'static Variable, &Value)> {
        self.levels().flat_map(Self::rows)
    }
}

/// One row a key of an item of `metric-collectors`, and the field that it is read into.
macro_rules! collector_keys {
    ($($field:ident: $key:literal;)*) => {
        /// One item of `metric-collectors` as written.
        #[derive(Default, Deserialize)]
        #[serde(default)]
        pub(super) struct RawCollector {
            $(#[serde(rename = $key)] $field: Option<Setting>,)*
            headers: Option<Headers>,
        }

        impl Keys for RawCollector {
            fn keys() -> Vec<&'static str> {
                vec![$($key,)* HEADERS]
            }

            fn field(key: &str) -> Cow<'_, str> {
                key.into()
            }
        }

        /// One collector as written, from either source.
        #[derive(Clone, Default)]
        pub(super) struct WrittenCollector {
            /// The item in the file, or nothing for one of the environment.
            pub(super) item: Option<Place>,
            $(pub(super) $field: Option<Value>,)*
            /// Names and values of HTTP headers, in the order of the file.
            pub(super) headers: Vec<(String, Value)>,
        }

        impl WrittenCollector {
            fn from_file(index: usize, item: Spanned<Keyed<RawCollector>>, locate: &Locate<'_>) -> Self {
                let name = format!("{METRIC_COLLECTORS}[{index}]");
                let value = |setting: Option<Setting>, key: &str| {
                    let setting = setting?;
                    Value::new(setting.text, locate(&format!("{name}.{key}"), setting.line))
                };
                let raw = item.value.fields;
                let headers = raw.headers.map_or_else(Vec::new, |headers| headers.0);
                let headers = headers.into_iter().filter_map(|(header, setting)| {
                    let value = value(setting, &format!("{HEADERS}.{header}"))?;
                    Some((header, value))
                });
                Self {
                    item: Some(locate(&name, item.referenced.line())),
                    headers: headers.collect(),
                    $($field: value(raw.$field, $key),)*
                }
            }

            /// Its values, with the keys that the file has for them.
            pub(super) fn keyed(&self) -> impl Iterator<Item = (&'static str, &Value)> {
                let headers = self.headers.iter();
                let headers = headers
                    .filter(|(name, _)| !HARMLESS_HEADERS.iter().any(|one| name.eq_ignore_ascii_case(one)))
                    .map(|(_, value)| (HEADERS, value));
                [$(($key, &self.$field)),*]
                    .into_iter()
                    .filter_map(|(key, value)| Some((key, value.as_ref()?)))
                    .chain(headers)
            }

            /// Sets the value of a key.
            fn set(&mut self, key: &str, value: Value) {
                match key {
                    $($key => self.$field = Some(value),)*
                    other => unreachable!("{other} is no key of a collector"),
                }
            }
        }
    };
}

collector_keys! {
    kind: "type";
    metric_name: "metric-name";
    query: "query";
    address: "address";
    token: "token";
    namespace: "namespace";
    cert_data: "cert-data";
    key_data: "key-data";
    empty_value: "empty-value";
    url: "url";
    value: "value";
    command: "command";
}

/// The key of the headers that an HTTP collector sends: the only one with a mapping, and with no variable.
pub(super) const HEADERS: &str = "headers";

/// Header names that say nothing secret.
const HARMLESS_HEADERS: [&str; 2] = ["accept", "user-agent"];

/// A mapping of headers as written.
struct Headers(Vec<(String, Option<Setting>)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Headers;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("header names with values")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = Vec::new();
                while let Some(header) = map.next_entry()? {
                    headers.push(header);
                }
                Ok(Headers(headers))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

impl WrittenCollector {
    /// The collectors of the environment: one of each kind, which exists when its address is set, and one for each further
    /// query of Prometheus.
    ///
    /// It takes their settings along.
    pub(super) fn from_environment(settings: &mut Settings) -> Vec<Self> {
        let mut collectors = Vec::new();
        for kind in CollectorKind::ALL {
            let mut collector = Self::default();
            for (variable, value) in settings.rows() {
                if let InCollector(key) = variable.key
                    && variable.section == kind.section()
                {
                    collector.set(key, value.clone());
                }
            }
            if kind == CollectorKind::Temporal {
                let tls = |value: &Option<Value>| value.clone();
                collector.cert_data = tls(&settings.temporal_tls_cert_data).or(collector.cert_data);
                collector.key_data = tls(&settings.temporal_tls_key_data).or(collector.key_data);
            }
            let address = collector.place().cloned();
            collector.kind = address
                .as_ref()
                .and_then(|address| Value::new(kind.name().to_owned(), address.place.clone()));
            if kind == CollectorKind::Prometheus {
                let further = settings.further_queries.iter();
                let further = further.map(|query| collector.asking(query));
                let further: Vec<Self> = further.collect();
                let is_asked = collector.metric_name.is_some() || collector.query.is_some();
                if is_asked || further.is_empty() {
                    collectors.push(collector);
                }
                collectors.extend(further);
            } else {
                collectors.push(collector);
            }
        }
        settings.forget_collectors();
        collectors
    }

    /// The same server with another query, whose variable ends in the metric's name.
    fn asking(&self, query: &Value) -> Self {
        let name = query.label().trim_start_matches(FURTHER_QUERY);
        Self {
            item: None,
            kind: self.kind.clone(),
            metric_name: Value::new(name.to_lowercase(), query.place.clone()),
            query: Some(query.clone()),
            address: self.address.clone(),
            token: self.token.clone(),
            empty_value: self.empty_value.clone(),
            ..Self::default()
        }
    }

    /// Where it asks.
    pub(super) fn place(&self) -> Option<&Value> {
        self.address.as_ref().or(self.url.as_ref())
    }

    /// Its values without type and place.
    pub(super) fn values(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.keyed()
            .filter(|(key, _)| !matches!(*key, "type" | "address" | "url"))
    }
}

/// What a key of a collector holds, as far as secrets go.
pub(super) fn held_by(key: &'static str) -> Holds {
    if key == HEADERS {
        return Holds::Token;
    }
    let of_key = |variable: &&Variable| variable.key == InCollector(key);
    let variable = VARIABLES.iter().find(of_key);
    variable.map_or(Holds::Plain, |variable| variable.holds)
}

/// Reads a comma list, or a YAML list as if it were written with commas.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Setting>, D::Error> {
    let spanned = Option::<Spanned<OneOrMany>>::deserialize(deserializer)?;
    Ok(spanned.map(|spanned| Setting {
        text: spanned.value.0,
        line: spanned.referenced.line(),
    }))
}

struct OneOrMany(String);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = OneOrMany;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a value or a list of values")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(text.to_owned()))
            }

            // YAML reads unquoted words as what they look like; the check of the value then says what was expected.
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<OneOrMany, E> {
                Ok(OneOrMany(value.to_string()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<OneOrMany, E> {
                Ok(OneOrMany(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<OneOrMany, E> {
                Ok(OneOrMany(value.to_string()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<OneOrMany, E> {
                Ok(OneOrMany(value.to_string()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany, A::Error> {
                let mut texts: Vec<String> = Vec::new();
                while let Some(item) = items.next_element::<Option<String>>()? {
                    texts.extend(item);
                }
                Ok(OneOrMany(texts.join(",")))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::env::Environment, *};

    #[test]
    fn the_table_and_the_raw_settings_do_not_drift() {
        let all = VARIABLES
            .iter()
            .map(|variable| (variable.name.into(), variable.name.into()));
        let environment = Environment::collect(all).settings(&mut Vec::new());
        let no_file = |_: &str, _| unreachable!("nothing is in a file");
        let settings = Settings::merge(
            environment,
            RawSettings::default(),
            &no_file,
            &mut Vec::new(),
        );
        let rows = settings.rows();
        let texts: Vec<_> = rows.map(|(row, value)| (row.name, value.text())).collect();
        let expected: Vec<_> = VARIABLES.iter().map(|row| (row.name, row.name)).collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn a_key_is_the_variable_in_kebab_case() {
        for variable in VARIABLES {
            let kebab = variable
                .name
                .trim_start_matches("FAS_")
                .to_lowercase()
                .replace('_', "-");
            match variable.key {
                Top(key) | OfPolicy(key) => assert_eq!(key, kebab),
                InCollector(key) => {
                    assert!(kebab.ends_with(key), "{key}");
                    assert!(RawCollector::keys().contains(&key), "{key}");
                }
                Absent => assert!(
                    !variable.name.starts_with("FAS_")
                        || variable.meaning.starts_with("Another name of "),
                    "{}",
                    variable.name
                ),
            }
        }
    }

    #[test]
    fn every_collector_key_but_type_and_headers_has_a_variable() {
        let of_variables: BTreeSet<&str> = VARIABLES
            .iter()
            .filter_map(|variable| match variable.key {
                InCollector(key) => Some(key),
                Top(_) | OfPolicy(_) | Absent => None,
            })
            .chain(["type", HEADERS])
            .collect();
        assert_eq!(of_variables, RawCollector::keys().into_iter().collect());
    }

    #[test]
    fn names_and_meanings_are_there_and_names_are_unique() {
        let names: BTreeSet<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
        assert_eq!(names.len(), VARIABLES.len());
        for variable in VARIABLES {
            assert!(
                variable.meaning.ends_with('.') && !variable.meaning.contains('\n'),
                "{}",
                variable.name
            );
        }
    }
}

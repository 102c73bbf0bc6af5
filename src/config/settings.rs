//! The table of all settings, and the raw values read by it: what was written and where, not yet what it means.
//!
//! One list makes the table that users see, the struct that envy and the YAML parser fill, and the rule that a value in
//! the file wins over the environment, so these cannot drift apart. Raw values hold tokens; they have no `Debug`.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, de};
use serde_saphyr::Spanned;

use super::{error::Place, file::Keyed};

/// One setting: a row of the table that `--help`, the README and the check for misspelt variables use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// The environment variable.
    pub name: &'static str,
    /// Its key in the YAML file.
    pub key: YamlKey,
    /// What holds when it is not set; empty: nothing.
    pub default: &'static str,
    /// Whether upstream has it too.
    pub origin: Origin,
    /// What it means, in one line.
    pub meaning: &'static str,
}

/// Where the YAML file has a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum YamlKey {
    /// A key of the file.
    Top(&'static str),
    /// A key of one item of `metric-collectors`.
    Collector(&'static str),
    /// Nowhere: it is only read from the environment.
    Absent,
}

impl fmt::Display for YamlKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top(key) => formatter.write_str(key),
            Self::Collector(key) => write!(formatter, "metric-collectors[].{key}"),
            Self::Absent => Ok(()),
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
}

macro_rules! settings {
    ($($(#[$attribute:meta])* $field:ident: $name:literal, $key:expr, $default:literal, $origin:ident, $meaning:literal;)*) => {
        /// Every setting there is.
        pub const VARIABLES: &[Variable] = &[$(Variable {
            name: $name,
            key: $key,
            default: $default,
            origin: Origin::$origin,
            meaning: $meaning,
        }),*];

        /// What one source says. The fields are named as envy wants them: the variable in lower case, without `FAS_`.
        #[derive(Default, Deserialize)]
        #[serde(default)]
        pub(super) struct RawSettings {
            $($(#[$attribute])* $field: Option<Setting>,)*
            /// Only in the file.
            metric_collectors: Option<Vec<Spanned<Keyed<RawCollector>>>>,
        }

        /// What both sources say together.
        pub(super) struct Settings {
            $(pub(super) $field: Option<Value>,)*
            /// The collectors of the file; they replace those of the environment.
            pub(super) metric_collectors: Option<Vec<Collector>>,
        }

        impl Settings {
            /// The values that are set, apart from those of the file's collectors.
            pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
                [$(&self.$field),*].into_iter().flatten()
            }

            /// Puts the two together, value by value; the file wins. A key without a value, or with an empty one, is
            /// an unset one. A variable that the file overrules by another value is added to `overruled`.
            pub(super) fn merge(
                environment: RawSettings,
                file: RawSettings,
                locate: &Locate<'_>,
                overruled: &mut Vec<Overruled>,
            ) -> Self {
                Self {
                    $($field: {
                        let written = from_file(file.$field, $key, locate);
                        let variable = from_environment(environment.$field, $name);
                        overruled.extend(Overruled::of($name, written.as_ref(), variable.as_ref()));
                        written.or(variable)
                    },)*
                    metric_collectors: file.metric_collectors.map(|items| {
                        items.into_iter().enumerate().map(|(index, item)| Collector::from_file(index, item, locate)).collect()
                    }),
                }
            }
        }

        #[cfg(test)]
        impl RawSettings {
            /// The names of the fields that have a value.
            pub(super) fn set_fields(&self) -> Vec<&'static str> {
                let mut fields = Vec::new();
                $(if self.$field.is_some() { fields.push(stringify!($field)); })*
                fields
            }
        }
    };
}

use YamlKey::{Absent, Collector as InCollector, Top};

settings! {
    app_name: "FAS_APP_NAME", Top("app-name"), "required", Upstream,
        "The app to scale; * stands for any run of characters, and then FAS_ORG is required.";
    org: "FAS_ORG", Top("org"), "", Upstream,
        "The slug of the organization whose apps a * is matched against.";
    created_machine_count: "FAS_CREATED_MACHINE_COUNT", Top("created-machine-count"), "", Upstream,
        "Expression: machines are created and destroyed until this many exist.";
    min_created_machine_count: "FAS_MIN_CREATED_MACHINE_COUNT", Top("min-created-machine-count"), "", Upstream,
        "Expression: below this many, machines are created; needs the max form as well.";
    max_created_machine_count: "FAS_MAX_CREATED_MACHINE_COUNT", Top("max-created-machine-count"), "", Upstream,
        "Expression: above this many, machines are destroyed; needs the min form as well.";
    started_machine_count: "FAS_STARTED_MACHINE_COUNT", Top("started-machine-count"), "", Upstream,
        "Expression: existing machines are started and stopped until this many run.";
    min_started_machine_count: "FAS_MIN_STARTED_MACHINE_COUNT", Top("min-started-machine-count"), "", Upstream,
        "Expression: below this many running, machines are started; needs the max form as well.";
    max_started_machine_count: "FAS_MAX_STARTED_MACHINE_COUNT", Top("max-started-machine-count"), "", Upstream,
        "Expression: above this many running, machines are stopped; needs the min form as well.";
    initial_machine_state: "FAS_INITIAL_MACHINE_STATE", Top("initial-machine-state"), "started", Upstream,
        "The state a created machine is brought to: started or stopped.";
    #[serde(deserialize_with = "one_or_many")]
    regions: "FAS_REGIONS", Top("regions"), "", Upstream,
        "Regions for created machines or their aliases, separated by commas; one listed twice weighs twice; unset: the region of the machine that is cloned, else the app's others.";
    process_group: "FAS_PROCESS_GROUP", Top("process-group"), "app", Upstream,
        "Only machines of this process group are seen; *: all machines, those without a group too.";
    interval: "FAS_INTERVAL", Top("interval"), "15s", Upstream,
        "Time from the start of one pass over an app to the next.";
    timeout: "FAS_TIMEOUT", Top("timeout"), "30s", Upstream,
        "The deadline of one pass, everything in it included.";
    concurrency: "FAS_CONCURRENCY", Top("concurrency"), "16", Upstream,
        "Passes running at the same time when many apps are scaled; below 1 counts as 1.";
    app_list_refresh_interval: "FAS_APP_LIST_REFRESH_INTERVAL", Top("app-list-refresh-interval"), "60s", Upstream,
        "How often a * is matched again.";
    api_token: "FAS_API_TOKEN", Top("api-token"), "required by serve", Upstream,
        "Fly token for the apps that are scaled.";
    prometheus_address: "FAS_PROMETHEUS_ADDRESS", InCollector("address"), "", Upstream,
        "Where Prometheus is, without /api/v1/query; there is a Prometheus collector when this is set.";
    prometheus_metric_name: "FAS_PROMETHEUS_METRIC_NAME", InCollector("metric-name"), "", Upstream,
        "The name that expressions use for the query's value.";
    prometheus_query: "FAS_PROMETHEUS_QUERY", InCollector("query"), "", Upstream,
        "The PromQL query; $APP_NAME is the app, other $NAME come from the environment.";
    prometheus_token: "FAS_PROMETHEUS_TOKEN", InCollector("token"), "", Upstream,
        "Token for Prometheus; on Fly: fly tokens create readonly.";
    prometheus_empty_value: "FAS_PROMETHEUS_EMPTY_VALUE", InCollector("empty-value"), "", Ours,
        "The metric's value when the query returns nothing or NaN; unset: the metric has failed.";
    temporal_address: "FAS_TEMPORAL_ADDRESS", InCollector("address"), "", Upstream,
        "host:port of Temporal; there is a Temporal collector when this is set.";
    temporal_namespace: "FAS_TEMPORAL_NAMESPACE", InCollector("namespace"), "", Upstream,
        "The namespace whose running workflows are counted.";
    temporal_metric_name: "FAS_TEMPORAL_METRIC_NAME", InCollector("metric-name"), "", Upstream,
        "The name that expressions use for the number of running workflows.";
    temporal_query: "FAS_TEMPORAL_QUERY", InCollector("query"), "", Upstream,
        "Which running workflows are counted; unset: all.";
    temporal_cert_data: "FAS_TEMPORAL_CERT_DATA", InCollector("cert-data"), "", Upstream,
        "Client certificate, PEM.";
    temporal_key_data: "FAS_TEMPORAL_KEY_DATA", InCollector("key-data"), "", Upstream,
        "Key of the client certificate, PEM.";
    temporal_tls_cert_data: "TEMPORAL_TLS_CERT_DATA", Absent, "", Upstream,
        "Client certificate, PEM; wins over FAS_TEMPORAL_CERT_DATA.";
    temporal_tls_key_data: "TEMPORAL_TLS_KEY_DATA", Absent, "", Upstream,
        "Key of the client certificate, PEM; wins over FAS_TEMPORAL_KEY_DATA.";
    fly_flaps_base_url: "FLY_FLAPS_BASE_URL", Absent, "https://api.machines.dev", Upstream,
        "The Machines API.";
    fly_api_base_url: "FLY_API_BASE_URL", Absent, "https://api.fly.io", Ours,
        "The GraphQL API.";
    verbose: "FAS_VERBOSE", Top("verbose"), "false", Ours,
        "Debug logging (upstream: only in the file).";
    log_format: "FAS_LOG_FORMAT", Top("log-format"), "json", Ours,
        "json or text.";
    metrics_address: "FAS_METRICS_ADDRESS", Top("metrics-address"), "[::]:9090", Ours,
        "Where /metrics listens.";
    dry_run: "FAS_DRY_RUN", Top("dry-run"), "false", Ours,
        "Do everything except writing.";
    api_concurrency: "FAS_API_CONCURRENCY", Top("api-concurrency"), "8", Ours,
        "Machine calls in flight for one app.";
    machine_floor: "FAS_MACHINE_FLOOR", Top("machine-floor"), "", Ours,
        "Never fewer created machines than this, whatever the expression says.";
    machine_ceiling: "FAS_MACHINE_CEILING", Top("machine-ceiling"), "", Ours,
        "Never more created machines than this, whatever the expression says.";
    destroy_running_after: "FAS_DESTROY_RUNNING_AFTER", Top("destroy-running-after"), "45s", Ours,
        "How long a surplus must have lasted before it takes a running machine; 0s: at once.";
    stop_action: "FAS_STOP_ACTION", Top("stop-action"), "stop", Ours,
        "How started machines are brought down: stop or suspend.";
    clone_volumes: "FAS_CLONE_VOLUMES", Top("clone-volumes"), "false", Ours,
        "Whether machines with mounts may be cloned, with volumes of their own.";
    scale_down_stabilization: "FAS_SCALE_DOWN_STABILIZATION", Top("scale-down-stabilization"), "0s", Ours,
        "Shrink only to the highest maximum seen in this time.";
    scale_up_stabilization: "FAS_SCALE_UP_STABILIZATION", Top("scale-up-stabilization"), "0s", Ours,
        "Grow only to the lowest minimum seen in this time.";
    scale_up_step: "FAS_SCALE_UP_STEP", Top("scale-up-step"), "", Ours,
        "Most machines one pass adds: a count or a share such as 50%; 0: none ever.";
    scale_down_step: "FAS_SCALE_DOWN_STEP", Top("scale-down-step"), "", Ours,
        "Most machines one pass removes: a count or a share such as 50%; 0: none ever.";
    fallback_created_machine_count: "FAS_FALLBACK_CREATED_MACHINE_COUNT", Top("fallback-created-machine-count"), "", Ours,
        "The minimum of created machines while that target has been missing for FAS_FALLBACK_AFTER passes.";
    fallback_started_machine_count: "FAS_FALLBACK_STARTED_MACHINE_COUNT", Top("fallback-started-machine-count"), "", Ours,
        "The minimum of started machines while that target has been missing for FAS_FALLBACK_AFTER passes.";
    fallback_after: "FAS_FALLBACK_AFTER", Top("fallback-after"), "3", Ours,
        "Passes in a row without a target until the fallback stands in.";
    deploy_timeout: "FAS_DEPLOY_TIMEOUT", Top("deploy-timeout"), "1h", Ours,
        "How long a release that says it is running holds scaling back.";
}

/// The row of a variable.
pub(super) fn variable(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.name == name)
}

fn from_file(setting: Option<Setting>, key: YamlKey, locate: &Locate<'_>) -> Option<Value> {
    let Top(key) = key else { return None };
    let setting = setting?;
    Value::new(setting.text, locate(key, setting.line))
}

fn from_environment(setting: Option<Setting>, name: &str) -> Option<Value> {
    Value::new(setting?.text, Place::Variable(name.to_owned()))
}

/// The key of the collectors' list.
const METRIC_COLLECTORS: &str = "metric-collectors";

impl Keys for RawSettings {
    fn keys() -> Vec<&'static str> {
        let top = VARIABLES.iter().filter_map(|variable| match variable.key {
            Top(key) => Some(key),
            InCollector(_) | Absent => None,
        });
        top.chain([METRIC_COLLECTORS]).collect()
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
}

/// One item of `metric-collectors` as written.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct RawCollector {
    #[serde(rename = "type")]
    kind: Option<Setting>,
    metric_name: Option<Setting>,
    query: Option<Setting>,
    address: Option<Setting>,
    token: Option<Setting>,
    namespace: Option<Setting>,
    cert_data: Option<Setting>,
    key_data: Option<Setting>,
    empty_value: Option<Setting>,
}

impl Keys for RawCollector {
    fn keys() -> Vec<&'static str> {
        vec![
            "type",
            "metric-name",
            "query",
            "address",
            "token",
            "namespace",
            "cert-data",
            "key-data",
            "empty-value",
        ]
    }

    fn field(key: &str) -> Cow<'_, str> {
        key.into()
    }
}

/// One collector as written, from either source.
pub(super) struct Collector {
    /// The item in the file, or nothing for one of the environment.
    pub(super) item: Option<Place>,
    pub(super) kind: Option<Value>,
    pub(super) metric_name: Option<Value>,
    pub(super) query: Option<Value>,
    pub(super) address: Option<Value>,
    pub(super) token: Option<Value>,
    pub(super) namespace: Option<Value>,
    pub(super) cert_data: Option<Value>,
    pub(super) key_data: Option<Value>,
    pub(super) empty_value: Option<Value>,
}

impl Collector {
    fn from_file(index: usize, item: Spanned<Keyed<RawCollector>>, locate: &Locate<'_>) -> Self {
        let value = |setting: Option<Setting>, key: &str| {
            let setting = setting?;
            Value::new(
                setting.text,
                locate(&format!("{METRIC_COLLECTORS}[{index}].{key}"), setting.line),
            )
        };
        let raw = item.value.fields;
        Self {
            item: Some(locate(
                &format!("{METRIC_COLLECTORS}[{index}]"),
                item.referenced.line(),
            )),
            kind: value(raw.kind, "type"),
            metric_name: value(raw.metric_name, "metric-name"),
            query: value(raw.query, "query"),
            address: value(raw.address, "address"),
            token: value(raw.token, "token"),
            namespace: value(raw.namespace, "namespace"),
            cert_data: value(raw.cert_data, "cert-data"),
            key_data: value(raw.key_data, "key-data"),
            empty_value: value(raw.empty_value, "empty-value"),
        }
    }

    /// The collectors of the environment: one of each kind, which exists when its address is set.
    pub(super) fn from_environment(settings: &mut Settings) -> Vec<Self> {
        let kind = |kind: &str, address: &Option<Value>| {
            Value::new(kind.to_owned(), address.as_ref()?.place.clone())
        };
        let prometheus = Self {
            item: None,
            kind: kind("prometheus", &settings.prometheus_address),
            metric_name: settings.prometheus_metric_name.take(),
            query: settings.prometheus_query.take(),
            address: settings.prometheus_address.take(),
            token: settings.prometheus_token.take(),
            namespace: None,
            cert_data: None,
            key_data: None,
            empty_value: settings.prometheus_empty_value.take(),
        };
        let temporal = Self {
            item: None,
            kind: kind("temporal", &settings.temporal_address),
            metric_name: settings.temporal_metric_name.take(),
            query: settings.temporal_query.take(),
            address: settings.temporal_address.take(),
            token: None,
            namespace: settings.temporal_namespace.take(),
            cert_data: settings
                .temporal_tls_cert_data
                .take()
                .or(settings.temporal_cert_data.take()),
            key_data: settings
                .temporal_tls_key_data
                .take()
                .or(settings.temporal_key_data.take()),
            empty_value: None,
        };
        vec![prometheus, temporal]
    }

    /// Its values, with the keys that the file has for them; without type and address.
    pub(super) fn values(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        [
            ("metric-name", &self.metric_name),
            ("query", &self.query),
            ("token", &self.token),
            ("namespace", &self.namespace),
            ("cert-data", &self.cert_data),
            ("key-data", &self.key_data),
            ("empty-value", &self.empty_value),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_ref()?)))
    }
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

/// What `name` is probably a misspelling of, in words: one of `known`, or the two settings that bound a count.
///
/// Who writes a bound means a bound: a name with `MAX` in it is no misspelling of one without.
pub(super) fn suggestion<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    // Longer than any name there is; comparing is quadratic.
    if name.len() > 64 {
        return None;
    }
    let meant = Side::of(name);
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known
        .iter()
        .filter(|candidate| meant.is_none() || Side::of(candidate) == meant)
        .map(|candidate| (distance(name, candidate), *candidate))
        .min();
    if let Some((distance, candidate)) = nearest {
        if distance <= 2 || distance * 4 <= candidate.len() {
            return Some(candidate.to_owned());
        }
    }
    let is_of_machines = words(name).any(|word| word.starts_with("machine"));
    let hard = meant.filter(|_| is_of_machines)?.hard_bound();
    let both: Vec<&str> = known
        .into_iter()
        .filter(|candidate| {
            let of_created = words(candidate).any(|word| word == "created");
            let is_fallback = words(candidate).any(|word| word == "fallback");
            Side::of(candidate) == meant
                && (of_created && !is_fallback || words(candidate).any(|word| word == hard))
        })
        .collect();
    (!both.is_empty()).then(|| both.join(" or "))
}

/// Which end of a band a setting's name is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Lower,
    Upper,
}

impl Side {
    fn of(name: &str) -> Option<Self> {
        words(name).find_map(|word| match word.as_str() {
            "min" | "minimum" | "floor" => Some(Self::Lower),
            "max" | "maximum" | "ceiling" => Some(Self::Upper),
            _ => None,
        })
    }

    /// The word in the name of the bound that holds whatever an expression says.
    fn hard_bound(self) -> &'static str {
        match self {
            Self::Lower => "floor",
            Self::Upper => "ceiling",
        }
    }
}

fn words(name: &str) -> impl Iterator<Item = String> {
    name.split(['_', '-']).map(str::to_ascii_lowercase)
}

/// How many bytes must be inserted, removed or replaced to make one of the other.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_and_the_raw_settings_do_not_drift() {
        let fields =
            RawSettings {
                ..envy::prefixed("FAS_")
                    .from_iter(VARIABLES.iter().map(|variable| {
                        (super::super::env::envy_name(variable.name), "x".to_owned())
                    }))
                    .unwrap_or_default()
            }
            .set_fields();
        let expected: Vec<String> = VARIABLES
            .iter()
            .map(|variable| {
                variable
                    .name
                    .strip_prefix("FAS_")
                    .unwrap_or(variable.name)
                    .to_lowercase()
            })
            .collect();
        assert_eq!(fields, expected);
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
                Top(key) => assert_eq!(key, kebab),
                InCollector(key) => {
                    assert!(kebab.ends_with(key), "{key}");
                    assert!(RawCollector::keys().contains(&key), "{key}");
                }
                Absent => assert!(!variable.name.starts_with("FAS_"), "{}", variable.name),
            }
        }
    }

    #[test]
    fn every_collector_key_but_the_type_has_a_variable() {
        let of_variables: BTreeSet<&str> = VARIABLES
            .iter()
            .filter_map(|variable| match variable.key {
                InCollector(key) => Some(key),
                Top(_) | Absent => None,
            })
            .chain(["type"])
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

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        let names = || VARIABLES.iter().map(|variable| variable.name);
        let cases: &[(&str, Option<&str>)] = &[
            ("FAS_INTERVALL", Some("FAS_INTERVAL")),
            ("FAS_PROMETEUS_QUERY", Some("FAS_PROMETHEUS_QUERY")),
            (
                "FAS_CREATED_MACHINES_COUNT",
                Some("FAS_CREATED_MACHINE_COUNT"),
            ),
            (
                "FAS_MAX_CREATED_MACHINES",
                Some("FAS_MAX_CREATED_MACHINE_COUNT"),
            ),
            ("FAS_MACHINES_CEILING", Some("FAS_MACHINE_CEILING")),
            (
                "FAS_MAX_MACHINE_COUNT",
                Some("FAS_MAX_CREATED_MACHINE_COUNT or FAS_MACHINE_CEILING"),
            ),
            (
                "FAS_MIN_MACHINES",
                Some("FAS_MIN_CREATED_MACHINE_COUNT or FAS_MACHINE_FLOOR"),
            ),
            ("FAS_MAX_THINGS", None),
            ("FAS_COMPLETELY_DIFFERENT_THING", None),
        ];
        for (name, expected) in cases {
            assert_eq!(suggestion(name, names()).as_deref(), *expected, "{name}");
        }
        let keys = VARIABLES.iter().filter_map(|variable| match variable.key {
            Top(key) => Some(key),
            _ => None,
        });
        assert_eq!(
            suggestion("max-machine-count", keys).as_deref(),
            Some("max-created-machine-count or machine-ceiling")
        );
        assert_eq!(suggestion(&"x".repeat(1 << 20), names()), None);
    }
}

//! The collectors: which there are, from the environment or the file, and whether each is complete.
//!
//! Whether a server answers, or a certificate can be used, is not known here.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

use super::{
    AddressTemplate, BusyConfig, CollectorConfig, CollectorKind, CollectorSource, ConfigError,
    Place, QueryTemplate, Subject, TemporalAddress, TemporalIdentity,
    env::Environment,
    expansion::{APP_NAME, PROCESS_GROUP, REGION, Segment, is_of_fleet, names, segments},
    file,
    per_region::is_per_region,
    postgres,
    problems::Problems,
    redis,
    secrets::{is_secret, refuse_secret_in_query, warn_of_short_basic},
    settings::{Settings, Value, WrittenCollector},
    spelling::Spelling,
    traces,
    validate::DEFAULT_PROCESS_GROUP,
    values, web,
};
use crate::{
    expr::{Expression, Names},
    scaling::EVERY_GROUP,
    shown,
    transport::ProxyRules,
};

/// The longest query or address, in bytes, once its variables are replaced.
pub(super) const TEXT_LIMIT: usize = 1 << 20;

/// What stands for an app and a region while no pass is made, to see whether something that has their names in it can be used.
pub(super) const SOME_FLEET: Subject<'static> = Subject {
    app: "my-app",
    region: Some("iad"),
};

/// The collectors of the file, or else those of the environment. Each metric's name must be its own.
pub(super) fn collectors(
    problems: &mut Problems,
    settings: &mut Settings,
    environment: &Environment,
    proxies: &ProxyRules,
) -> Vec<CheckedCollector> {
    let of_environment = WrittenCollector::from_environment(settings);
    let group = process_group(problems, settings);
    let per_region = is_per_region(settings);
    let written = if let Some(written) = settings.metric_collectors.take() {
        for collector in &of_environment {
            // The address stands for what belongs to it.
            let ignored: Vec<&Value> = match collector.place() {
                Some(place) => vec![place],
                None => collector.values().map(|(_, value)| value).collect(),
            };
            for label in ignored.into_iter().map(Value::label) {
                // Temporal's own variables may be there for another program.
                if problems.referenced.contains(label) || label.starts_with("TEMPORAL_") {
                    continue;
                }
                problems.warn(format!(
                    "{label} is ignored, because the file has metric-collectors"
                ));
            }
        }
        written
    } else {
        let (complete, incomplete): (Vec<_>, Vec<_>) = of_environment
            .into_iter()
            .partition(|collector| collector.place().is_some());
        for (_, value) in incomplete.iter().flat_map(WrittenCollector::values) {
            let label = value.label();
            // Temporal's own variables may be there for another program.
            if problems.referenced.contains(label) || label.starts_with("TEMPORAL_") {
                continue;
            }
            let mut kinds = CollectorKind::ALL.into_iter();
            let kind = kinds.find(|kind| label.contains(&kind.name().to_uppercase()));
            if let Some(kind) = kind {
                problems.warn(format!("{label} has no effect without {}", kind.place()));
            }
        }
        complete
    };
    // What names each: its variable, or its item of the file.
    let labels: Vec<String> = written
        .iter()
        .map(|collector| {
            let name = collector.metric_name.as_ref().map(Value::label);
            let item = collector.item.as_ref().map(Place::label);
            item.or(name).unwrap_or_default().to_owned()
        })
        .collect();
    let mut first_with: BTreeMap<String, usize> = BTreeMap::new();
    written
        .into_iter()
        .enumerate()
        .map(|(index, written)| {
            let context = Context {
                environment,
                group: &group,
                per_region,
                proxies,
            };
            let mut checked = collector(problems, &written, &context);
            if let (Some(metric), Some(value)) = (&checked.metric, &written.metric_name) {
                if let Some(first) = first_with.get(metric) {
                    let message = format!(
                        "{}metric name is already used by {}",
                        item(&written),
                        labels[*first]
                    );
                    problems.refuse(
                        ConfigError::new(value.place(), message)
                            .value(metric)
                            .expected("a name for each metric"),
                    );
                    checked.source = None;
                } else {
                    first_with.insert(metric.clone(), index);
                }
            }
            checked
        })
        .collect()
}

/// What a collector is read with, besides its own values.
pub(super) struct Context<'a> {
    environment: &'a Environment,
    /// What `$PROCESS_GROUP` means.
    group: &'a str,
    /// Whether `$REGION` means the fleet's.
    per_region: bool,
    proxies: &'a ProxyRules,
}

fn collector(
    problems: &mut Problems,
    collector: &WrittenCollector,
    context: &Context<'_>,
) -> CheckedCollector {
    let spelling = Spelling::of(collector);
    let metric = metric_name(problems, collector);
    let Some(written) = &collector.kind else {
        let message = format!("{}type required", item(collector));
        problems
            .refuse(ConfigError::new(&item_place(collector), message).example("type: prometheus"));
        return CheckedCollector {
            metric,
            source: None,
            spelling,
        };
    };
    let Some(kind) = CollectorKind::named(written.text()) else {
        let message = format!("{}invalid type", item(collector));
        let names = CollectorKind::ALL.map(CollectorKind::name);
        let (last, others) = names.split_last().expect("there are some");
        problems.refuse(
            ConfigError::new(written.place(), message)
                .value(written.text())
                .expected(format!("{} or {last}", others.join(", "))),
        );
        return CheckedCollector {
            metric,
            source: None,
            spelling,
        };
    };
    without_effect(problems, collector, kind);
    refuse_fleets_names(problems, collector);
    let source = match kind {
        CollectorKind::Prometheus => prometheus(problems, collector, context),
        CollectorKind::Temporal => temporal(problems, collector, context),
        CollectorKind::Http => web::collector(problems, collector, context),
        CollectorKind::Redis => redis::collector(problems, collector, context),
        CollectorKind::Postgres => postgres::collector(problems, collector, context),
    };
    CheckedCollector {
        metric,
        source,
        spelling,
    }
}

/// The group that `$PROCESS_GROUP` stands for in a query.
fn process_group(problems: &mut Problems, settings: &Settings) -> String {
    let Some(value) = &settings.process_group else {
        return DEFAULT_PROCESS_GROUP.to_owned();
    };
    let mut pieces = segments(value.text());
    let per_region = is_per_region(settings);
    if pieces.any(
        |piece| matches!(piece, Segment::Variable { name, .. } if is_of_fleet(name, per_region)),
    ) {
        let message = format!(
            "{} contains a variable that only queries have",
            value.label()
        );
        problems.refuse(ConfigError::new(value.place(), message).value(value.text()));
    }
    value.text().to_owned()
}

/// A metric's name must be one that an expression can use, which the expression language itself decides.
fn metric_name(problems: &mut Problems, collector: &WrittenCollector) -> Option<String> {
    let Some(value) = &collector.metric_name else {
        missing(
            problems,
            collector,
            "metric name required",
            ("metric-name", "queue_depth"),
        );
        return None;
    };
    let name = value.text();
    let is_identifier = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let is_readable = is_identifier
        && Expression::compile(name, &Names::new([name]))
            .is_ok_and(|expression| expression.reads(name));
    if !is_readable {
        problems.refuse(
            ConfigError::new(
                value.place(),
                format!(
                    "{}metric name cannot be used in an expression",
                    item(collector)
                ),
            )
            .value(name)
            .expected(
                "letters, digits and _, no digit first, and no word of the expression language",
            )
            .example("queue_depth"),
        );
        return None;
    }
    Some(name.to_owned())
}

fn prometheus(
    problems: &mut Problems,
    collector: &WrittenCollector,
    context: &Context<'_>,
) -> Option<CollectorSource> {
    let query = context.query(problems, collector.query.as_ref());
    if query.is_none() {
        missing(
            problems,
            collector,
            "prometheus query required",
            ("query", "sum(queue_depth)"),
        );
    }
    let empty_value = empty_value(problems, collector);
    let token = collector
        .token
        .as_ref()
        .map(|value| values::collector_token(problems, value));
    let example = "https://api.fly.io/prometheus/my-org";
    let Some(value) = &collector.address else {
        missing(
            problems,
            collector,
            "prometheus address required",
            ("address", example),
        );
        return None;
    };
    let mut address = values::http_url(problems, value, example)?;
    let basic = take_user_information(problems, &mut address, value);
    if let Some(basic) = &basic {
        warn_of_short_basic(problems, value, basic);
    }
    address.set_fragment(None);
    warn_of_doubled_path(problems, value, &address);
    Some(CollectorSource::Prometheus {
        address,
        basic,
        token,
        query: query?,
        empty_value,
    })
}

/// Warns of an address that has the path of the query in it, which is added to it: only behind a proxy that takes it off
/// again can that be meant.
fn warn_of_doubled_path(problems: &mut Problems, value: &Value, address: &Url) {
    let path = address.path().trim_end_matches('/');
    let ends = ["/api/v1/query", "/api/v1/query_range", "/api/v1"];
    let Some(base) = ends.iter().find_map(|end| path.strip_suffix(end)) else {
        return;
    };
    let mut right = address.clone();
    right.set_path(base);
    right.set_query(None);
    let right = shown::address(&right);
    problems.warnings.push(format!(
        "{} ends in {}, but /api/v1/query is appended to it; it should probably be {}",
        value.label(),
        &path[base.len()..],
        right.trim_end_matches('/'),
    ));
}

/// Moves `user:password` out of an address.
pub(super) fn take_user_information(
    problems: &mut Problems,
    address: &mut Url,
    value: &Value,
) -> Option<SecretString> {
    let password = address.password().map(percent_decoded);
    let user = percent_decoded(address.username());
    let is_present = password.is_some() || !address.username().is_empty();
    if !is_present {
        return None;
    }
    let removed = address
        .set_username("")
        .and_then(|()| address.set_password(None));
    let (Some(user), Some(password), Ok(())) =
        (user, password.unwrap_or(Some(String::new())), removed)
    else {
        let message = format!(
            "the user or the password in {} cannot be read",
            value.label()
        );
        problems
            .refuse(ConfigError::new(value.place(), message).expected("UTF-8 behind its % signs"));
        return None;
    };
    Some(SecretString::from(format!("{user}:{password}")))
}

fn temporal(
    problems: &mut Problems,
    collector: &WrittenCollector,
    context: &Context<'_>,
) -> Option<CollectorSource> {
    let query = context.query(problems, collector.query.as_ref());
    let identity = match (&collector.cert_data, &collector.key_data) {
        (Some(certificate), Some(key)) => Some(TemporalIdentity {
            certificate: certificate.raw().to_owned(),
            key: SecretString::from(key.raw()),
        }),
        (Some(only), None) | (None, Some(only)) => {
            let missing = if collector.key_data.is_none() {
                "key"
            } else {
                "certificate"
            };
            let message = format!(
                "{}{} is set, but the {missing} is missing",
                item(collector),
                only.label()
            );
            problems.refuse(ConfigError::new(only.place(), message).expected("both or neither"));
            None
        }
        (None, None) => None,
    };
    if collector.namespace.is_none() {
        missing(
            problems,
            collector,
            "temporal namespace required",
            ("namespace", "default"),
        );
    }
    let Some(value) = &collector.address else {
        missing(
            problems,
            collector,
            "temporal address required",
            ("address", "localhost:7233"),
        );
        return None;
    };
    let address = match TemporalAddress::parse(value.text()) {
        Ok(address) => address,
        Err(expected) => {
            problems.refuse(
                ConfigError::new(
                    value.place(),
                    format!("{} is not the address of a Temporal server", value.label()),
                )
                .expected(expected)
                .example("localhost:7233"),
            );
            return None;
        }
    };
    // gRPC in Go asks through the proxy for `https://` addresses, with TLS or without.
    let proxy = Url::parse(&format!("https://{}", address.authority()))
        .ok()
        .and_then(|url| context.proxies.proxy_for(&url).cloned());
    if let Some(proxy) = proxy
        .as_ref()
        .filter(|proxy| proxy.url().scheme() != "http")
    {
        let message = format!(
            "Temporal at {address} cannot be reached through the proxy {proxy}: gRPC needs an http:// proxy"
        );
        problems.refuse(
            ConfigError::new(value.place(), message)
                .expected("its host in NO_PROXY, or another proxy"),
        );
    }
    Some(CollectorSource::Temporal {
        address,
        namespace: collector.namespace.as_ref()?.text().to_owned(),
        query,
        identity,
        proxy,
    })
}

/// Refuses a name that stands for something of the fleet where nothing replaces it: the server would get the name itself.
fn refuse_fleets_names(problems: &mut Problems, collector: &WrittenCollector) {
    let headers = collector.headers.iter().map(|(_, value)| value);
    let others = [&collector.address, &collector.namespace];
    for value in others.into_iter().flatten().chain(headers) {
        let of_fleet = [APP_NAME, PROCESS_GROUP, REGION];
        for name in of_fleet
            .into_iter()
            .filter(|name| names(value.text(), name))
        {
            refuse_fleets_name(problems, value.place(), name);
        }
    }
}

fn refuse_fleets_name(problems: &mut Problems, place: &Place, name: &str) {
    let message = format!(
        "{} contains the variable {name}, which means nothing there",
        place.label()
    );
    problems.refuse(
        ConfigError::new(place, message).expected("it only in a query, a command, a path or a url"),
    );
}

/// Refuses `$REGION` where the regions are no fleets of their own, and no variable has that name: whatever took its place would be
/// asked about no region.
fn refuse_region(problems: &mut Problems, what: &str, value: &Value) {
    let message = format!(
        "the {what} of {} uses the variable {REGION}, but the regions are not scaled by themselves",
        value.label()
    );
    let example = match value.place() {
        Place::Key { .. } | Place::File { .. } => "per-region: true",
        Place::Variable(_) | Place::Option(_) => "FAS_PER_REGION=true",
    };
    problems.refuse(
        ConfigError::new(value.place(), message)
            .expected(format!(
                "a fleet for each region, or a variable {REGION} that is set"
            ))
            .example(example),
    );
}

/// The value when there is nothing.
pub(super) fn empty_value(problems: &mut Problems, collector: &WrittenCollector) -> Option<f64> {
    let value = collector.empty_value.as_ref()?;
    values::number(problems, value)
}

/// Refuses what is asked and has a hole in it, because the file names a variable that is not set: `$REGION` wherever it stands, any
/// other where a web server, Redis or Postgres is asked.
pub(super) fn refuse_unset_in_file(
    problems: &mut Problems,
    file: &file::Written,
    environment: &Environment,
    settings: &Settings,
) {
    let unset = traces::variables(file);
    let unset: Vec<&str> = unset
        .into_iter()
        .filter(|name| match *name {
            REGION => environment.non_empty(REGION).is_none(),
            name => environment.get(name).is_none(),
        })
        .collect();
    let Some(traced) = traces::read(file, environment, &unset) else {
        return;
    };
    let shown_in = |traced: &Value| {
        let all = unset.iter().enumerate();
        let shown = all.filter(|(number, _)| traces::shows(traced, *number));
        shown.map(|(_, name)| *name).collect::<Vec<_>>()
    };
    for (written, traced) in settings.collectors().zip(traced.collectors()) {
        let kind = written.kind.as_ref().map(Value::text);
        let kind = kind.and_then(CollectorKind::named);
        let may_have_holes = matches!(
            kind,
            None | Some(CollectorKind::Prometheus | CollectorKind::Temporal)
        );
        let asked = [
            ("query", &written.query, &traced.query),
            ("command", &written.command, &traced.command),
            ("path", &written.value, &traced.value),
            ("address", &written.url, &traced.url),
        ];
        for (what, written, traced) in asked {
            // One that is empty without the variable is told as missing.
            let (Some(value), Some(traced)) = (written, traced) else {
                continue;
            };
            for name in shown_in(traced) {
                if name == REGION {
                    refuse_region(problems, what, value);
                } else if !may_have_holes {
                    refuse_hole(problems, what, value, name);
                }
            }
        }
        let of_headers = traced.headers.iter().map(|(name, traced)| {
            let mut headers = written.headers.iter();
            let value = headers.find(|(other, _)| other == name);
            (value.map(|(_, value)| value), traced)
        });
        let others = [
            (&written.address, &traced.address),
            (&written.namespace, &traced.namespace),
        ];
        let others = others
            .into_iter()
            .filter_map(|(written, traced)| Some((written.as_ref(), traced.as_ref()?)));
        for (value, traced) in others.chain(of_headers) {
            if shown_in(traced).contains(&REGION) {
                let place =
                    value.map_or_else(|| item_place(written), |value| value.place().clone());
                refuse_fleets_name(problems, &place, REGION);
            }
        }
    }
    let (written, traced) = (settings.busy_queries(), traced.busy_queries());
    for (written, traced) in written.zip(traced) {
        if shown_in(traced).contains(&REGION) {
            refuse_region(problems, "query", written);
        }
    }
}

/// Refuses to ask what lacks a part.
fn refuse_hole(problems: &mut Problems, what: &str, value: &Value, name: &str) {
    let message = format!(
        "the {what} of {} uses ${name}, which is not set",
        value.label()
    );
    problems.refuse(
        ConfigError::new(value.place(), message)
            .expected("variables that are set: with a hole in it, it asks for something else"),
    );
}

impl Context<'_> {
    /// A query that is sent as it is: no secret is put into it. One with a variable that is not set has nothing in its place, and
    /// is warned of, as upstream has it.
    pub(super) fn query(
        &self,
        problems: &mut Problems,
        value: Option<&Value>,
    ) -> Option<QueryTemplate> {
        let value = value?;
        let (template, unset) = self.sent(problems, "query", value);
        for name in unset.into_iter().filter(|name| name != REGION) {
            problems.warn(format!(
                "the query of {} uses ${name}, which is not set; it was replaced by an empty string",
                value.label()
            ));
        }
        Some(template)
    }

    /// What else is sent to a server as it is: no secret is put into it, and every variable in it has to be set.
    pub(super) fn template(
        &self,
        problems: &mut Problems,
        what: &str,
        value: &Value,
    ) -> QueryTemplate {
        let (template, unset) = self.sent(problems, what, value);
        for name in unset.into_iter().filter(|name| name != REGION) {
            refuse_hole(problems, what, value, &name);
        }
        template
    }

    /// A text with its variables replaced, and which of them are not set.
    fn sent(
        &self,
        problems: &mut Problems,
        what: &str,
        value: &Value,
    ) -> (QueryTemplate, Vec<String>) {
        let environment = self.environment;
        if self.is_too_long(problems, value) {
            return (self.part(""), Vec::new());
        }
        let mut secret = Vec::new();
        for name in self.referenced(problems, value) {
            if is_secret(problems, name, environment) {
                secret.push(name);
            }
        }
        for name in secret {
            refuse_secret_in_query(problems, &format!("the {what}"), value, name);
        }
        self.refuse_every_group(problems, what, value);
        self.refuse_no_region(problems, what, value);
        self.cut(value.text())
    }

    /// A part of a text that was checked as a whole.
    pub(super) fn part(&self, text: &str) -> QueryTemplate {
        self.cut(text).0
    }

    fn cut(&self, text: &str) -> (QueryTemplate, Vec<String>) {
        let value = |name: &str| self.value(name);
        if self.per_region {
            QueryTemplate::parse_per_region(text, value)
        } else {
            QueryTemplate::parse(text, value)
        }
    }

    /// The address of a server of which `parse` says whether it is one, and which parameters mean nothing.
    pub(super) fn server<Address>(
        &self,
        problems: &mut Problems,
        written: &Value,
        (service, example): (&str, &str),
        parse: impl FnOnce(&str) -> Result<(Address, Vec<String>), String>,
    ) -> Option<AddressTemplate> {
        let url = self.address(problems, written)?;
        let filled_in = url.render(SOME_FLEET);
        match parse(&filled_in) {
            Ok((_, unused)) => {
                for parameter in unused {
                    problems.warn(format!(
                        "{}: the parameter {parameter} is not used",
                        written.label()
                    ));
                }
                Some(url)
            }
            Err(expected) => {
                let message = format!(
                    "{} is not the address of a {service} server",
                    written.label()
                );
                // What is no address as it should be may have its password anywhere.
                problems.refuse(
                    ConfigError::new(written.place(), message)
                        .expected(expected)
                        .example(example),
                );
                None
            }
        }
    }

    /// An address: a secret in it is where it belongs.
    pub(super) fn address(
        &self,
        problems: &mut Problems,
        value: &Value,
    ) -> Option<AddressTemplate> {
        if self.is_too_long(problems, value) {
            return None;
        }
        let _ = self.referenced(problems, value);
        let (template, unset) =
            QueryTemplate::parse_address(value.text(), self.per_region, |name| self.value(name));
        if unset.iter().any(|name| name != REGION) {
            // The name may be a piece of a password.
            problems.warn(format!(
                "{} has a $ with a name behind it that no variable has: it stays as it is",
                value.label()
            ));
        }
        self.refuse_every_group(problems, "address", value);
        let has_no_region = self.refuse_no_region(problems, "address", value);
        (!has_no_region).then(|| AddressTemplate::new(template))
    }

    /// What a variable stands for.
    fn value(&self, name: &str) -> Option<String> {
        if name == PROCESS_GROUP {
            return Some(self.group.to_owned());
        }
        self.environment.get(name).map(str::to_owned)
    }

    /// Refuses the group's name where there is none.
    fn refuse_every_group(&self, problems: &mut Problems, what: &str, value: &Value) {
        if self.group != EVERY_GROUP || !names(value.text(), PROCESS_GROUP) {
            return;
        }
        let message = format!(
            "the {what} of {} uses ${PROCESS_GROUP}, but FAS_PROCESS_GROUP is {EVERY_GROUP}: all groups",
            value.label()
        );
        problems.refuse(ConfigError::new(value.place(), message).expected("one group"));
    }

    /// Refuses a region's name where there is none.
    fn refuse_no_region(&self, problems: &mut Problems, what: &str, value: &Value) -> bool {
        let is_a_variable = || self.environment.non_empty(REGION).is_some();
        let is_refused = !self.per_region && names(value.text(), REGION) && !is_a_variable();
        if is_refused {
            refuse_region(problems, what, value);
        }
        is_refused
    }

    fn is_too_long(&self, problems: &mut Problems, value: &Value) -> bool {
        let lengths = segments(value.text()).map(|segment| match segment {
            Segment::Text(kept) => kept.len(),
            Segment::Variable { name, .. } if is_of_fleet(name, self.per_region) => 0,
            Segment::Variable { name, .. } => self.environment.get(name).map_or(0, str::len),
        });
        let is_too_long = lengths.sum::<usize>() > TEXT_LIMIT;
        if is_too_long {
            let message = format!(
                "{} is longer than {TEXT_LIMIT} bytes once its variables are replaced",
                value.label()
            );
            problems.refuse(ConfigError::new(value.place(), message));
        }
        is_too_long
    }

    /// The variables of the environment that a text names, each once.
    fn referenced<'text>(&self, problems: &mut Problems, value: &'text Value) -> Vec<&'text str> {
        let mut names = Vec::new();
        for segment in segments(value.text()) {
            if let Segment::Variable { name, .. } = segment
                && !is_of_fleet(name, self.per_region)
                && !names.contains(&name)
            {
                problems.referenced.insert(name.to_owned());
                names.push(name);
            }
        }
        names
    }
}

/// Refuses a collector for something it lacks: `key` is what the file calls it, and `example` a value for it.
pub(super) fn missing(
    problems: &mut Problems,
    collector: &WrittenCollector,
    message: &str,
    (key, example): (&str, &str),
) {
    let message = format!("{}{message}", item(collector));
    let error = if collector.item.is_some() {
        ConfigError::new(&item_place(collector), message).example(format!("{key}: {example}"))
    } else {
        let kind = collector.kind.as_ref().map_or("", Value::text);
        let kind = CollectorKind::named(kind).unwrap_or(CollectorKind::Prometheus);
        let name = kind.variable(key).unwrap_or(kind.place());
        let place = Place::Variable(name.to_owned());
        ConfigError::new(&place, message).example(format!("{name}={example}"))
    };
    problems.refuse(error);
}

fn without_effect(problems: &mut Problems, collector: &WrittenCollector, kind: CollectorKind) {
    for (key, _) in collector.keyed().filter(|(key, _)| !kind.has(key)) {
        problems.warnings.push(format!(
            "{}{key} has no effect in a collector of type {kind}",
            item(collector)
        ));
    }
}

/// How busy machines are, by a query of the policy's first Prometheus server.
pub(super) fn busy(
    problems: &mut Problems,
    settings: &Settings,
    environment: &Environment,
    collectors: &[CollectorConfig],
) -> Option<BusyConfig> {
    let written = settings.prometheus_busy_query.as_ref();
    let written = written.or(settings.stop_metric_prometheus_query.as_ref());
    let Some(value) = written else {
        if let Some(limit) = &settings.busy_limit {
            let message = format!(
                "{} needs a query that says how busy machines are",
                limit.label()
            );
            problems.refuse(limit.wrong(message).example(
                "FAS_PROMETHEUS_BUSY_QUERY=sum by (instance) (busy_workers{app='$APP_NAME'})",
            ));
        }
        return None;
    };
    let both = (
        &settings.prometheus_busy_query,
        &settings.stop_metric_prometheus_query,
    );
    if let (Some(used), Some(other)) = both
        && used.text() != other.text()
    {
        problems.warn(format!(
            "{} is ignored, because {} says how busy machines are",
            other.label(),
            used.label()
        ));
    }
    let group = process_group(problems, settings);
    let context = Context {
        environment,
        group: &group,
        per_region: is_per_region(settings),
        proxies: &ProxyRules::default(),
    };
    let query = context.query(problems, Some(value))?;
    let server = collectors
        .iter()
        .find_map(|collector| match &collector.source {
            CollectorSource::Prometheus {
                address,
                basic,
                token,
                ..
            } => Some(BusyConfig {
                address: address.clone(),
                basic: basic.clone(),
                token: token.clone(),
                query: query.clone(),
                setting: value.label().to_owned(),
                spelling: collector.spelling.clone(),
            }),
            _ => None,
        });
    if server.is_none() && problems.errors.is_empty() {
        let message = format!(
            "{} needs a Prometheus collector, whose server it asks",
            value.label()
        );
        problems.refuse(
            ConfigError::new(value.place(), message)
                .example("FAS_PROMETHEUS_ADDRESS=https://api.fly.io/prometheus/my-org"),
        );
    }
    server
}

/// A collector as far as it could be read.
pub(super) struct CheckedCollector {
    /// Its metric, if the name can be used; expressions may name it even if the rest is wrong.
    pub(super) metric: Option<String>,
    source: Option<CollectorSource>,
    spelling: Spelling,
}

impl CheckedCollector {
    /// The collector, if nothing was wrong with it.
    pub(super) fn complete(self) -> Option<CollectorConfig> {
        Some(CollectorConfig {
            metric: self.metric?,
            source: self.source?,
            spelling: self.spelling,
        })
    }
}

/// What a message about a collector begins with: its place in the file. The environment has one of each kind, and the
/// variable says which.
fn item(collector: &WrittenCollector) -> String {
    let item = collector.item.as_ref();
    item.map_or_else(String::new, |place| format!("{}: ", place.label()))
}

fn item_place(collector: &WrittenCollector) -> Place {
    collector
        .item
        .clone()
        .unwrap_or_else(|| Place::Variable("FAS_PROMETHEUS_ADDRESS".to_owned()))
}

/// Undoes `%41`; `None` if the result is not UTF-8. A `%` without two digits stays.
fn percent_decoded(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    Some(decoded.ok()?.into_owned())
}

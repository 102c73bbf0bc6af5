//! From what was written to what is meant: every value checked, every mistake gathered.
//!
//! Each concern of the configuration has a function that takes its raw values, gives the meaning or a harmless stand-in,
//! and adds what is wrong to [`Findings`]. No function stops the others; a stand-in never gets out, since one mistake is
//! enough to refuse the whole.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use url::Url;

use super::{
    ApiConfig, AppPattern, AppSelection, Config, ConfigError, ConfigErrors, ExpressionBand,
    LogFormat, MetricsAddress, OwnMachine, Place, Purpose, Sources, TargetExpressions,
    collectors::CheckedCollector,
    env::Environment,
    file, regions,
    settings::{Overruled, RawSettings, Settings, Value},
    values::Findings,
};
use crate::{
    expr::{Expression, Names},
    scaling::{EVERY_GROUP, Fallback, InitialState, Policy, Step, StopAction, UpDown},
    shown::written_address,
    transport::{InvalidProxy, ProxyRules},
};

/// Where the Machines API is.
const MACHINES_URL: &str = "https://api.machines.dev";

/// Where the GraphQL API is.
const GRAPHQL_URL: &str = "https://api.fly.io";

/// The process group of apps that name none.
const DEFAULT_PROCESS_GROUP: &str = "app";

/// The variable that says where `/metrics` listens.
const METRICS_ADDRESS: &str = "FAS_METRICS_ADDRESS";

/// More passes or calls at once than this is a slip of the finger.
const MAX_CONCURRENCY: i64 = 10_000;

/// The longest name of a region that is taken for one, in bytes.
const LONGEST_REGION: usize = 32;

pub(super) fn load(sources: Sources) -> Result<Config, ConfigErrors> {
    let mut findings = Findings::default();
    let environment = Environment::collect(sources.environment);
    let raw = environment.settings(&mut findings.errors);
    let file = sources
        .file
        .map(|(path, text)| (path.display().to_string(), text));
    findings.know_environment(&environment);
    let Some(mut settings) = findings.merge(raw, file.as_ref(), &environment) else {
        // Without the file nearly everything would seem to be missing.
        return Err(
            ConfigErrors::new(findings.errors, findings.warnings, &findings.secrets)
                .expect("the file was refused"),
        );
    };
    findings.know_settings(&settings);
    if let Some((path, text)) = &file {
        findings.refuse_secrets_expanded_in_file(path, text, &environment, &settings);
    }
    findings.refuse_misplaced_tokens(&settings);

    let own = own_machine(&environment);
    let proxies = findings.proxies(&environment);
    let apps = findings.apps(&settings, sources.app.as_deref(), &own);
    // Expressions need the metrics' names, but their mistakes are shown first.
    let before_collectors = findings.errors.len();
    let collectors = findings.collectors(&mut settings, &environment, &proxies);
    let of_collectors = findings.errors.split_off(before_collectors);
    let metrics: BTreeSet<&str> = collectors
        .iter()
        .filter_map(|collector| collector.metric.as_deref())
        .collect();
    let names = Names::new(metrics);
    let targets = findings.targets(&settings, &names);
    let policy = findings.policy(&settings, &own);
    findings.warn_of_endless_growth(&settings, &targets, &policy, &collectors);
    findings.errors.extend(of_collectors);
    let mut config = Config {
        apps,
        targets,
        names,
        policy,
        collectors: collectors
            .into_iter()
            .filter_map(CheckedCollector::complete)
            .collect(),
        api: findings.api(&settings, sources.purpose),
        concurrency: findings.concurrency(settings.concurrency.as_ref()),
        app_list_refresh_interval: findings.positive_duration(
            settings.app_list_refresh_interval.as_ref(),
            Duration::from_secs(60),
        ),
        metrics_address: findings.metrics_address(settings.metrics_address.as_ref()),
        verbose: findings.boolean(settings.verbose.as_ref()),
        log_format: findings.choice(
            settings.log_format.as_ref(),
            "log format must be either 'json' or 'text'",
            &[("json", LogFormat::Json), ("text", LogFormat::Text)],
        ),
        proxies,
        own,
        secrets: findings.secrets,
        warnings: environment.unknown(&findings.referenced),
    };
    findings.errors.retain(|error| {
        let is_misplaced = |misplaced: &ConfigError| misplaced.place == error.place;
        !findings.misplaced.iter().any(is_misplaced)
    });
    findings.errors.append(&mut findings.misplaced);
    // What cannot be read is told once, not called missing as well.
    findings.errors.retain(|error| match &error.place {
        Place::Variable(name) => {
            !environment.is_undecodable(name) || error.message.contains(name.as_str())
        }
        Place::Key { .. } | Place::File { .. } | Place::Option(_) => true,
    });
    config.warnings.append(&mut findings.warnings);
    match ConfigErrors::new(findings.errors, config.warnings.clone(), &config.secrets) {
        Some(errors) => Err(errors),
        None => Ok(config),
    }
}

fn own_machine(environment: &Environment) -> OwnMachine {
    OwnMachine {
        app: environment.non_empty("FLY_APP_NAME"),
        machine: environment.non_empty("FLY_MACHINE_ID"),
        process_group: environment
            .non_empty("FLY_PROCESS_GROUP")
            .unwrap_or_else(|| DEFAULT_PROCESS_GROUP.to_owned()),
    }
}

impl Findings {
    /// The proxies, which only the environment names: Go's rules are about variables.
    fn proxies(&mut self, environment: &Environment) -> ProxyRules {
        for name in ProxyRules::VARIABLES {
            if environment.is_undecodable(name) {
                let place = Place::Variable(name.to_owned());
                self.refuse(ConfigError::new(
                    &place,
                    format!("{name} is not valid UTF-8"),
                ));
            }
        }
        let mut invalid = Vec::new();
        let proxies = ProxyRules::new(|name| environment.get(name), &mut invalid);
        for error in invalid {
            let place = Place::Variable(error.variable.to_owned());
            // The value may hold a password.
            self.refuse(
                ConfigError::new(&place, error.to_string())
                    .expected(InvalidProxy::EXPECTED)
                    .example("http://proxy.internal:3128"),
            );
        }
        proxies
    }

    /// Puts environment and file together; `None` when the file cannot be read, which is then among the errors.
    fn merge(
        &mut self,
        raw: RawSettings,
        file: Option<&(String, String)>,
        environment: &Environment,
    ) -> Option<Settings> {
        let Some((path, text)) = file else {
            // Without a file there is no key to be placed.
            let locate = |key: &str, _| Place::Variable(key.to_owned());
            let file = RawSettings::default();
            return Some(Settings::merge(raw, file, &locate, &mut Vec::new()));
        };
        let parsed = file::expand(path, text, environment).and_then(|expanded| {
            self.secrets.add_tokens_in(&expanded.text);
            let from_file = file::parse(path, text, &expanded, &mut self.errors)?;
            Ok((expanded, from_file))
        });
        let (expanded, from_file) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                self.errors.push(*error);
                return None;
            }
        };
        for name in &expanded.unset {
            self.warnings.push(format!(
                "{path} uses ${name}, which is not set; it was replaced by nothing"
            ));
        }
        if let Some(line) = expanded.ignored_line() {
            self.warnings.push(format!(
                "{path} has a second YAML document, in line {line}; only the first one is read"
            ));
        }
        self.referenced.extend(expanded.referenced.iter().cloned());
        let locate = |key: &str, line| Place::Key {
            key: key.to_owned(),
            path: path.clone(),
            line: expanded.file_line(line),
        };
        let mut overruled = Vec::new();
        let mut settings = Settings::merge(raw, from_file, &locate, &mut overruled);
        for Overruled {
            variable,
            value,
            by,
        } in overruled
        {
            if variable == "FAS_DRY_RUN" && self.boolean(Some(&value)) {
                // Whoever asks for nothing to be written is not overruled by a file that was copied from somewhere.
                settings.dry_run = Some(value);
                self.warnings
                    .push(format!("FAS_DRY_RUN holds, whatever the file says: {by}"));
                continue;
            }
            // One that the file uses itself does something.
            if !self.referenced.contains(variable) {
                self.warnings.push(format!(
                    "{variable} does nothing, because the file wins: {by}"
                ));
            }
        }
        Some(settings)
    }

    fn apps(
        &mut self,
        settings: &Settings,
        option: Option<&str>,
        own: &OwnMachine,
    ) -> AppSelection {
        let group = settings
            .process_group
            .as_ref()
            .map_or(DEFAULT_PROCESS_GROUP, Value::text);
        let option = option.and_then(|app| Value::new(app.to_owned(), Place::Option("--app")));
        let org = settings.org.as_ref().map(|org| org.text().to_owned());
        let stand_in = AppPattern::parse("app").expect("a plain name");
        let Some(value) = option.as_ref().or(settings.app_name.as_ref()) else {
            let place = Place::Variable("FAS_APP_NAME".to_owned());
            self.refuse(
                ConfigError::new(&place, "app name required").example("FAS_APP_NAME=my-app"),
            );
            return AppSelection {
                pattern: stand_in,
                org,
            };
        };
        let Ok(pattern) = AppPattern::parse(value.text()) else {
            self.refuse(
                ConfigError::new(
                    value.place(),
                    "app name has characters that no Fly app's name has",
                )
                .value(value.text())
                .expected(
                    "letters, digits, dashes and underscores, and * for any run of characters",
                )
                .example("my-app or my-app-*"),
            );
            return AppSelection {
                pattern: stand_in,
                org,
            };
        };
        if pattern.is_wildcard() && option.is_some() {
            self.refuse(
                ConfigError::new(value.place(), "--app names one app")
                    .value(value.text())
                    .example("--app my-app"),
            );
        } else if let Some(managed) = option
            .as_ref()
            .and(settings.app_name.as_ref())
            .and_then(|managed| AppPattern::parse(managed.text()).ok())
            .filter(|managed| !managed.matches(pattern.as_str()))
        {
            self.refuse(
                ConfigError::new(value.place(), "--app names an app that is not managed")
                    .value(value.text())
                    .expected(format!(
                        "one that FAS_APP_NAME matches: {}",
                        managed.as_str()
                    )),
            );
        } else if pattern.is_wildcard() && org.is_none() {
            self.refuse(
                ConfigError::new(
                    value.place(),
                    "organization required if app name uses a wildcard",
                )
                .value(value.text())
                .example("FAS_ORG=my-org"),
            );
        }
        let org_counts = pattern.is_wildcard() || option.is_some();
        if let Some(org) = settings.org.as_ref().filter(|_| !org_counts) {
            self.warnings.push(format!(
                "{} does nothing without a * in the app name",
                org.label()
            ));
        }
        // A wildcard that matches the own app leaves it out; a plain name can mean nothing else.
        if !pattern.is_wildcard()
            && own.app.as_deref() == Some(pattern.as_str())
            && (own.process_group == group || group == EVERY_GROUP)
        {
            self.refuse(
                ConfigError::new(
                    value.place(),
                    "app name is the autoscaler's own app and process group",
                )
                .value(value.text())
                .expected("another app, or another group in FAS_PROCESS_GROUP"),
            );
        }
        AppSelection { pattern, org }
    }

    fn targets(&mut self, settings: &Settings, names: &Names) -> TargetExpressions {
        let created = [
            settings.created_machine_count.as_ref(),
            settings.min_created_machine_count.as_ref(),
            settings.max_created_machine_count.as_ref(),
        ];
        let started = [
            settings.started_machine_count.as_ref(),
            settings.min_started_machine_count.as_ref(),
            settings.max_started_machine_count.as_ref(),
        ];
        if created.iter().chain(&started).all(Option::is_none) {
            let place = Place::Variable("FAS_CREATED_MACHINE_COUNT".to_owned());
            let message = "must define either created machine count or started machine count";
            self.refuse(
                ConfigError::new(&place, message)
                    .example("FAS_CREATED_MACHINE_COUNT=ceil(queue_depth / 10)"),
            );
        }
        TargetExpressions {
            created: self.band("created", created, names),
            started: self.band("started", started, names),
        }
    }

    fn band(
        &mut self,
        kind: &str,
        [single, min, max]: [Option<&Value>; 3],
        names: &Names,
    ) -> Option<ExpressionBand> {
        let combined =
            format!("cannot define {kind} machine count and min/max {kind} machine count");
        let also_required = |missing: &str, defined: &str| {
            format!(
                "{missing} {kind} machine count required if {defined} {kind} machine count is defined"
            )
        };
        let example = |bound: &str| {
            format!(
                "FAS_{}_{}_MACHINE_COUNT=5",
                bound.to_uppercase(),
                kind.to_uppercase()
            )
        };
        match (single, min, max) {
            (Some(_), Some(other), _) | (Some(_), None, Some(other)) => {
                self.refuse(
                    ConfigError::new(other.place(), combined).expected("one form or the other"),
                );
            }
            (None, Some(min), None) => {
                self.refuse(
                    ConfigError::new(min.place(), also_required("max", "min"))
                        .example(example("max")),
                );
            }
            (None, None, Some(max)) => {
                self.refuse(
                    ConfigError::new(max.place(), also_required("min", "max"))
                        .example(example("min")),
                );
            }
            _ => {}
        }
        let [single, min, max] = [single, min, max].map(|value| self.expression(value, names));
        match (single, min, max) {
            (Some(exact), _, _) => Some(ExpressionBand::Exact(exact)),
            (None, Some(min), Some(max)) => Some(ExpressionBand::Band { min, max }),
            _ => None,
        }
    }

    fn expression(&mut self, value: Option<&Value>, names: &Names) -> Option<Arc<Expression>> {
        let value = value?;
        match Expression::compile(value.text(), names) {
            Ok(expression) => Some(Arc::new(expression)),
            Err(error) => {
                let message = format!("cannot compile the expression of {}", value.label());
                self.refuse(ConfigError::new(value.place(), message).detail(error.to_string()));
                None
            }
        }
    }

    /// Warns of a created target that is its own count and something, where nothing bounds it: each machine that it creates
    /// makes it ask for another one. Nothing is said where that is not certain.
    fn warn_of_endless_growth(
        &mut self,
        settings: &Settings,
        targets: &TargetExpressions,
        policy: &Policy,
        collectors: &[CheckedCollector],
    ) {
        let (Some(ExpressionBand::Exact(expression)), Some(value)) =
            (&targets.created, &settings.created_machine_count)
        else {
            return;
        };
        // Half a machine is rounded up.
        let Some((name, _)) = expression.as_sum().filter(|(_, more)| *more >= 0.5) else {
            return;
        };
        let counts_what_it_creates = match name.as_str() {
            "created_machine_count" => true,
            "started_machine_count" => {
                policy.initial_state == InitialState::Started && targets.started.is_none()
            }
            _ => false,
        };
        let is_metric = |collector: &CheckedCollector| collector.metric.as_ref() == Some(&name);
        let never_adds = matches!(policy.step.up, Some(Step::Count(0) | Step::Percent(0)));
        if counts_what_it_creates
            && policy.ceiling.is_none()
            && !never_adds
            && !collectors.iter().any(is_metric)
        {
            let source = expression.source();
            self.warnings.push(format!(
                "{} is `{source}`, which has no upper bound: each machine that it creates makes it ask for another one; \
                 write min({source}, 10), or set FAS_MACHINE_CEILING",
                value.label()
            ));
        }
    }

    fn policy(&mut self, settings: &Settings, own: &OwnMachine) -> Policy {
        let default = Policy::default();
        let text = |value: &Option<Value>| value.as_ref().map(|value| value.text().to_owned());
        let has_created = settings.created_machine_count.is_some()
            || settings.min_created_machine_count.is_some()
            || settings.max_created_machine_count.is_some();
        let has_started = settings.started_machine_count.is_some()
            || settings.min_started_machine_count.is_some()
            || settings.max_started_machine_count.is_some();
        let (floor, ceiling) = self.floor_and_ceiling(settings, has_created);
        Policy {
            process_group: text(&settings.process_group).unwrap_or(default.process_group),
            regions: self.regions(settings.regions.as_ref()),
            initial_state: self.choice(
                settings.initial_machine_state.as_ref(),
                "initial machine state must be either 'started' or 'stopped'",
                &[
                    ("started", InitialState::Started),
                    ("stopped", InitialState::Stopped),
                ],
            ),
            stop_action: self.choice(
                settings.stop_action.as_ref(),
                "stop action must be either 'stop' or 'suspend'",
                &[("stop", StopAction::Stop), ("suspend", StopAction::Suspend)],
            ),
            clone_volumes: self.boolean(settings.clone_volumes.as_ref()),
            floor,
            ceiling,
            destroy_running_after: self
                .duration(settings.destroy_running_after.as_ref())
                .unwrap_or(default.destroy_running_after),
            stabilization: UpDown {
                up: self
                    .duration(settings.scale_up_stabilization.as_ref())
                    .unwrap_or_default(),
                down: self
                    .duration(settings.scale_down_stabilization.as_ref())
                    .unwrap_or_default(),
            },
            step: UpDown {
                up: self.step(settings.scale_up_step.as_ref()),
                down: self.step(settings.scale_down_step.as_ref()),
            },
            fallback: self.fallback(settings, has_created, has_started),
            interval: self.positive_duration(settings.interval.as_ref(), default.interval),
            timeout: self.positive_duration(settings.timeout.as_ref(), default.timeout),
            deploy_timeout: self
                .duration(settings.deploy_timeout.as_ref())
                .unwrap_or(default.deploy_timeout),
            own_machine: own.machine.clone(),
        }
    }

    fn floor_and_ceiling(
        &mut self,
        settings: &Settings,
        has_created: bool,
    ) -> (Option<u32>, Option<u32>) {
        let bounds = [
            settings.machine_floor.as_ref(),
            settings.machine_ceiling.as_ref(),
        ];
        for value in bounds.into_iter().flatten().filter(|_| !has_created) {
            self.refuse(
                ConfigError::new(
                    value.place(),
                    format!("{} needs a created machine count", value.label()),
                )
                .value(value.text())
                .example("FAS_CREATED_MACHINE_COUNT=ceil(queue_depth / 10)"),
            );
        }
        let floor = self.count(bounds[0]);
        // The last machine is never destroyed.
        let ceiling = self
            .at_least_one(bounds[1], "10", i64::from(u32::MAX))
            .and_then(|ceiling| u32::try_from(ceiling).ok());
        if let (Some(lower), Some(upper), Some(value)) = (floor, ceiling, bounds[0]) {
            if lower > upper {
                let message = format!("{} is above the ceiling of {upper}", value.label());
                self.refuse(ConfigError::new(value.place(), message).value(value.text()));
            }
        }
        (floor, ceiling)
    }

    fn fallback(&mut self, settings: &Settings, has_created: bool, has_started: bool) -> Fallback {
        let kinds = [
            (
                "created",
                settings.fallback_created_machine_count.as_ref(),
                has_created,
            ),
            (
                "started",
                settings.fallback_started_machine_count.as_ref(),
                has_started,
            ),
        ];
        let [created, started] = kinds.map(|(kind, value, has_target)| {
            if let (Some(value), false) = (value, has_target) {
                let message = format!(
                    "{} needs a {kind} machine count to stand in for",
                    value.label()
                );
                let example = format!(
                    "FAS_{}_MACHINE_COUNT=ceil(queue_depth / 10)",
                    kind.to_uppercase()
                );
                self.refuse(
                    ConfigError::new(value.place(), message)
                        .value(value.text())
                        .example(example),
                );
            }
            self.count(value)
        });
        if let (Some(value), None, None) = (
            &settings.fallback_after,
            &settings.fallback_created_machine_count,
            &settings.fallback_started_machine_count,
        ) {
            self.warnings.push(format!(
                "{} does nothing without FAS_FALLBACK_CREATED_MACHINE_COUNT or FAS_FALLBACK_STARTED_MACHINE_COUNT",
                value.label()
            ));
        }
        let after = self.at_least_one(settings.fallback_after.as_ref(), "3", i64::from(u32::MAX));
        let after = after
            .and_then(|after| u32::try_from(after).ok())
            .unwrap_or(Fallback::default().after);
        Fallback {
            created,
            started,
            after,
        }
    }

    /// What the API takes for a region, an alias such as `eu` included: the platform's list is not ours to know.
    fn regions(&mut self, value: Option<&Value>) -> Vec<String> {
        let mut regions: Vec<String> = Vec::new();
        let Some(value) = value else { return regions };
        for region in value
            .text()
            .split(',')
            .map(str::trim)
            .filter(|region| !region.is_empty())
        {
            let is_name = region.len() <= LONGEST_REGION
                && region
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            if is_name {
                if !regions::is_known(region) && !regions.iter().any(|known| known == region) {
                    self.warnings.push(regions::unknown(value.label(), region));
                }
                regions.push(region.to_owned());
            } else {
                self.refuse(
                    ConfigError::new(
                        value.place(),
                        format!("{} has something that is no region", value.label()),
                    )
                    .value(region)
                    .expected("regions or their aliases, separated by commas")
                    .example("iad,ord"),
                );
            }
        }
        let is_blank = |region: &str| region.trim().is_empty();
        if value.text().split(',').all(is_blank) {
            self.warnings.push(format!(
                "{} names no region and counts as unset",
                value.label()
            ));
        }
        regions
    }

    fn step(&mut self, value: Option<&Value>) -> Option<Step> {
        let value = value?;
        let (number, is_percent) = match value.text().strip_suffix('%') {
            Some(number) => (number, true),
            None => (value.text(), false),
        };
        match number.parse::<u32>() {
            Ok(percent) if is_percent => Some(Step::Percent(percent)),
            Ok(count) => Some(Step::Count(count)),
            Err(_) => {
                self.refuse(
                    ConfigError::new(
                        value.place(),
                        format!("cannot parse {} as a step", value.label()),
                    )
                    .value(value.text())
                    .expected("a number of machines or a share of the current count")
                    .example("5 or 50%"),
                );
                None
            }
        }
    }

    fn api(&mut self, settings: &Settings, purpose: Purpose) -> ApiConfig {
        if settings.api_token.is_none() && purpose == Purpose::Serve {
            let place = Place::Variable("FAS_API_TOKEN".to_owned());
            let message = "api token required";
            self.refuse(ConfigError::new(&place, message).example(
                "fly secrets set FAS_API_TOKEN=\"$(fly tokens create deploy -a my-app)\"",
            ));
        }
        let token = settings.api_token.as_ref();
        let token = token.map(|value| self.token(value));
        let concurrency =
            self.at_least_one(settings.api_concurrency.as_ref(), "8", MAX_CONCURRENCY);
        ApiConfig {
            token,
            machines_url: self.base_url(settings.fly_flaps_base_url.as_ref(), MACHINES_URL),
            graphql_url: self.base_url(settings.fly_api_base_url.as_ref(), GRAPHQL_URL),
            concurrency: concurrency
                .and_then(|number| usize::try_from(number).ok())
                .unwrap_or(8),
            dry_run: self.boolean(settings.dry_run.as_ref()),
        }
    }

    fn base_url(&mut self, value: Option<&Value>, default: &str) -> Url {
        let default = Url::parse(default).expect("a valid URL");
        let Some(value) = value else { return default };
        let Some(url) = self.http_url(value, default.as_str().trim_end_matches('/')) else {
            return default;
        };
        if !url.username().is_empty() || url.password().is_some() {
            let message = format!("{} must not contain a user or a password", value.label());
            self.refuse(
                ConfigError::new(value.place(), message).value(&written_address(value.text())),
            );
        }
        url
    }

    fn metrics_address(&mut self, value: Option<&Value>) -> MetricsAddress {
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let default = MetricsAddress {
            socket: SocketAddr::new(any, 9090),
            may_fall_back: true,
            setting: METRICS_ADDRESS,
        };
        let Some(value) = value else { return default };
        if let Ok(socket) = value.text().parse() {
            return MetricsAddress {
                socket,
                may_fall_back: false,
                setting: METRICS_ADDRESS,
            };
        }
        let (host, port) = value.text().rsplit_once(':').unwrap_or(("?", ""));
        match (host, port.parse::<u16>()) {
            // As in Go, no host means any address of any family.
            ("", Ok(port)) => MetricsAddress {
                socket: SocketAddr::new(any, port),
                may_fall_back: true,
                setting: METRICS_ADDRESS,
            },
            ("localhost", Ok(port)) => MetricsAddress {
                socket: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
                may_fall_back: false,
                setting: METRICS_ADDRESS,
            },
            _ => {
                self.refuse(
                    ConfigError::new(
                        value.place(),
                        format!("{} is no address to listen on", value.label()),
                    )
                    .value(value.text())
                    .expected("an IP address and a port")
                    .example("[::]:9090, 127.0.0.1:9090 or :9090"),
                );
                default
            }
        }
    }

    /// `FAS_CONCURRENCY`; as upstream has it, less than 1 is 1.
    fn concurrency(&mut self, value: Option<&Value>) -> usize {
        let number = self.integer(value, "16").unwrap_or(16);
        if let (Some(value), true) = (value, number > MAX_CONCURRENCY) {
            let message = format!("{} must be at most {MAX_CONCURRENCY}", value.label());
            self.refuse(ConfigError::new(value.place(), message).value(value.text()));
        }
        usize::try_from(number).unwrap_or(0).max(1)
    }
}

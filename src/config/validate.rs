//! From what was written to what is meant: every value checked, every mistake gathered.
//!
//! Each concern of the configuration has a function that takes its raw values, gives the meaning or a harmless stand-in,
//! and adds what is wrong to [`Problems`]. No function stops the others; a stand-in never gets out, since one mistake is
//! enough to refuse the whole.

use std::{
    collections::BTreeSet,
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use url::Url;

use super::{
    ApiConfig, AppPattern, AppSelection, Claim, Config, ConfigError, ConfigErrors, FleetConfig,
    LogFormat, MetricsAddress, OwnMachine, Place, Purpose, Sources,
    collectors::{CheckedCollector, busy, collectors, refuse_unset_in_file},
    conflicts,
    env::Environment,
    file, lock,
    per_region::{Overlap, Share, check_regions, keeps_region},
    problems::Problems,
    secrets::{
        know_environment, know_settings, refuse_misplaced_tokens, refuse_secrets_expanded_in_file,
    },
    settings::{Overruled, RawSettings, Settings, Value, WrittenCollector},
    values,
};
use crate::{
    expr::{Expression, Names},
    scaling::{EVERY_GROUP, ExpressionBand, InitialState, Kind, Policy, Step, TargetExpressions},
    shown::Secrets,
    transport::{InvalidProxy, ProxyRules},
};

/// The process group of apps that name none.
pub(super) const DEFAULT_PROCESS_GROUP: &str = "app";

pub(super) fn load(mut sources: Sources) -> Result<Config, ConfigErrors> {
    let problems = &mut Problems::default();
    let environment = Environment::collect(std::mem::take(&mut sources.environment));
    let raw = environment.settings(&mut problems.errors);
    let file = sources.file.take().map(|(path, text)| {
        let path = path.display().to_string();
        let keeps_region = keeps_region(&path, &text, &environment);
        file::Written {
            path,
            text,
            keeps_region,
        }
    });
    know_environment(problems, &environment);
    let Some(mut settings) = merge(problems, raw, file.as_ref(), &environment) else {
        // Without the file nearly everything would seem to be missing.
        let Problems {
            errors, warnings, ..
        } = std::mem::take(problems);
        return Err(
            ConfigErrors::new(errors, warnings, &problems.secrets).expect("the file was refused")
        );
    };
    settings.further_queries = environment.further_queries();
    know_settings(problems, &settings, &environment);
    if let Some(file) = &file {
        refuse_secrets_expanded_in_file(problems, file, &environment, &settings);
        refuse_unset_in_file(problems, file, &environment, &settings);
    }
    refuse_misplaced_tokens(problems, &settings);

    let own = own_machine(&environment);
    let proxies = proxies(problems, &environment);
    let mut config = Config {
        proxies,
        own,
        ..unread()
    };
    let policies = policies(problems, &mut settings, &sources, &mut config.claims);
    for (place, settings) in policies {
        let fleet = fleet(problems, settings, &environment, &mut config, &sources);
        config.fleets.push(FleetConfig { place, ..fleet });
    }
    let refused = problems.errors.len();
    config.lock = lock::lock(problems, &settings, &config.own);
    let has_lock = config.lock.is_some() || problems.errors.len() > refused;
    if sources.app.is_none() && sources.purpose == Purpose::Serve {
        lock::check_shards(problems, &settings, &config.fleets, has_lock);
    }
    if sources.app.is_none() {
        warn_of_unused_org(problems, &settings, &config.claims);
    }
    if config.api.dry_run {
        config.dry_run_by = settings.dry_run.as_ref().map(|value| value.place().clone());
    }
    if config.api.token.is_none() && sources.purpose == Purpose::Serve {
        let place = Place::Variable("FAS_API_TOKEN".to_owned());
        let missing = ConfigError::new(&place, "api token required");
        problems.refuse(missing.example(values::SET_API_TOKEN));
    }
    problems.tell_once();
    config.warnings = environment.unknown(problems);
    config.warnings.append(&mut problems.warnings);
    if let Some(file) = &file {
        for error in &mut problems.errors {
            error.name_key(&file.path);
        }
    }

    let misplaced = std::mem::take(&mut problems.misplaced);
    problems.errors.retain(|error| {
        let is_misplaced = |misplaced: &ConfigError| misplaced.place == error.place;
        !misplaced.iter().any(is_misplaced)
    });
    problems.errors.extend(misplaced);
    // What cannot be read is told once, not called missing as well.
    problems.errors.retain(|error| match &error.place {
        Place::Variable(name) => {
            !environment.is_undecodable(name) || error.message.contains(name.as_str())
        }
        Place::Key { .. } | Place::File { .. } | Place::Option(_) => true,
    });
    config.secrets = std::mem::take(&mut problems.secrets);
    let errors = std::mem::take(&mut problems.errors);
    match ConfigErrors::new(errors, config.warnings.clone(), &config.secrets) {
        Some(errors) => Err(errors),
        None => Ok(config),
    }
}

/// What holds for each policy, in their order; without any, for the top level, which is the one then. Of several, `--app`
/// and `--policy` leave those that are meant.
fn policies(
    problems: &mut Problems,
    settings: &mut Settings,
    sources: &Sources,
    claims: &mut Vec<Claim>,
) -> Vec<(usize, Settings)> {
    let Some(items) = settings.policies.take() else {
        return vec![(0, settings.clone())];
    };
    if items.is_empty() {
        let place = Place::Variable("policies".to_owned());
        problems.refuse(
            ConfigError::new(&place, "policies is an empty list")
                .expected("at least one policy, or none of the key"),
        );
        return vec![(0, settings.clone())];
    }
    // Only where every policy has collectors of its own are those of the environment there for nobody.
    let has_own = |item: &Settings| item.metric_collectors.is_some();
    let is_environment_used = !items.iter().all(has_own);
    let whole = |item: Settings| {
        let has_own = has_own(&item);
        let mut item = item.under(settings);
        if has_own && is_environment_used {
            WrittenCollector::from_environment(&mut item);
        }
        item
    };
    let items: Vec<Settings> = items.into_iter().map(whole).collect();
    refuse_shared_machines(problems, &items);
    refuse_shared_names(problems, &items);
    claims.extend(items.iter().map(Claim::written));
    let takes = |item: &Settings, app: &str| {
        let pattern = item.app_name.as_ref();
        let pattern = pattern.and_then(|value| AppPattern::parse(value.text()).ok());
        pattern.is_none_or(|pattern| pattern.matches(app))
    };
    let is_chosen = |(_, item): &(usize, Settings)| {
        let by_app = sources.app.as_deref().is_none_or(|app| takes(item, app));
        let by_name = sources
            .policy
            .as_deref()
            .is_none_or(|name| name_of(item) == name || machines_of(item) == name);
        by_app && by_name
    };
    let (chosen, others): (Vec<_>, Vec<_>) = items.into_iter().enumerate().partition(is_chosen);
    if !chosen.is_empty() {
        return chosen;
    }
    if let Some(name) = &sources.policy {
        let names: Vec<String> = others.iter().map(|(_, item)| name_of(item)).collect();
        problems.refuse(
            ConfigError::new(&Place::Option("--policy"), "--policy names no policy")
                .value(name)
                .expected(names.join(", ")),
        );
    }
    // That none takes the app is told of each of them.
    others
}

/// What messages call a policy.
pub(super) fn name_of(settings: &Settings) -> String {
    let name = settings.name.as_ref();
    name.map_or_else(|| machines_of(settings), |name| name.text().to_owned())
}

/// Which machines a policy names: `APP/GROUP`.
fn machines_of(settings: &Settings) -> String {
    let text = |value: &Option<Value>, default: &str| {
        value.as_ref().map_or(default, Value::text).to_owned()
    };
    let app = text(&settings.app_name, "");
    let group = text(&settings.process_group, DEFAULT_PROCESS_GROUP);
    format!("{app}/{group}")
}

/// Refuses a policy whose name is another's, or is what that one or one of its regions is called without a name: of two fleets
/// of one name `eval` and `check` would show, and `--policy` choose, no one knows which.
fn refuse_shared_names(problems: &mut Problems, items: &[Settings]) {
    for (index, item) in items.iter().enumerate() {
        let Some(place) = &item.item else { continue };
        let called = name_of(item);
        let given = item.name.as_ref();
        let met = items.iter().enumerate().find_map(|(other, one)| {
            let is_given = one.name.is_some();
            let whose = if other == index {
                return None;
            } else if given.is_some() && is_given && name_of(one) == called {
                // It is told of the second.
                (other < index).then_some("")?
            } else if given.is_some() && machines_of(one) == called {
                "the machines of "
            } else if names_a_region_of(&called, one) {
                "a region of "
            } else {
                return None;
            };
            Some(format!("{whose}{}", one.item.as_ref()?))
        });
        let Some(met) = met else { continue };
        let message = format!("{} has the name of {met}", place.label());
        problems.refuse(
            ConfigError::new(given.map_or(place, Value::place), message)
                .value(&called)
                .expected("a name for each policy, or none"),
        );
    }
}

/// Whether a name is that of one of the regions of a policy that has a fleet for each.
fn names_a_region_of(name: &str, settings: &Settings) -> bool {
    let of_policy = name_of(settings);
    let region = name.strip_prefix(&*of_policy);
    let region = region.and_then(|rest| rest.strip_prefix('/'));
    region.is_some_and(|region| Share::written(settings, DEFAULT_PROCESS_GROUP).has(region))
}

/// Refuses two policies that name the same machines, and one for all groups beside another of the same app.
fn refuse_shared_machines(problems: &mut Problems, items: &[Settings]) {
    let mut known: Vec<(&str, Share, &Place)> = Vec::new();
    for item in items {
        let (Some(app), Some(place)) = (&item.app_name, &item.item) else {
            continue;
        };
        let app = app.text();
        let share = Share::written(item, DEFAULT_PROCESS_GROUP);
        let mut others = known.iter().filter(|(other, ..)| *other == app);
        let met = others.find_map(|(_, taken, first)| Some((first.label(), taken.meets(&share)?)));
        let group = share.group();
        if let Some((first, overlap)) = met {
            let label = place.label();
            let each_group = "an app and process group for each policy";
            let (message, expected) = match overlap {
                Overlap::Group => (
                    format!("{label} scales the same machines as {first}"),
                    each_group,
                ),
                Overlap::Region(common) => {
                    let common = common.map_or("every region".to_owned(), |one| one);
                    (
                        format!("{label} scales the same machines as {first} in {common}"),
                        "policies of a group that are all per-region, each with regions of its own",
                    )
                }
                Overlap::EveryGroup => {
                    let (all, other) = if group == EVERY_GROUP {
                        (label, first)
                    } else {
                        (first, label)
                    };
                    (
                        format!("{all} scales every process group of the app, that of {other} too"),
                        each_group,
                    )
                }
            };
            problems.refuse(
                ConfigError::new(place, message)
                    .value(&format!("{app}/{group}"))
                    .expected(expected),
            );
        }
        known.push((app, share, place));
    }
}

/// Reads one policy. What it holds of the daemon goes to `config`, alike for each.
fn fleet(
    problems: &mut Problems,
    mut settings: Settings,
    environment: &Environment,
    config: &mut Config,
    sources: &Sources,
) -> FleetConfig {
    let apps = apps(problems, &settings, sources.app.as_deref(), &config.own);
    // Expressions need the metrics' names, but their mistakes are shown first.
    let before_collectors = problems.errors.len();
    let collectors = collectors(problems, &mut settings, environment, &config.proxies);
    let of_collectors = problems.errors.split_off(before_collectors);
    let metrics: BTreeSet<&str> = collectors
        .iter()
        .filter_map(|collector| collector.metric.as_deref())
        .collect();
    let names = Names::new(metrics);
    let targets = targets(problems, &settings, &names, sources.purpose);
    let mut fleet = FleetConfig {
        name: name_of(&settings),
        place: 0,
        apps,
        targets,
        names,
        policy: Policy {
            own_machine: config.own.machine.clone(),
            ..Policy::default()
        },
        collectors: Vec::new(),
        busy: None,
        is_found: false,
    };
    settings.read(config, &mut fleet, problems);
    check_regions(problems, &settings, &mut fleet.policy);
    check_limits(problems, &settings, &fleet.policy);
    conflicts::warn_of_conflicts(problems, &settings, &fleet);
    // What is replayed may be other expressions than these.
    if sources.purpose != Purpose::Backtest {
        conflicts::warn_of_unused_metrics(problems, &fleet.targets, &collectors);
    }
    conflicts::warn_of_metrics_for_counts(problems, &collectors);
    warn_of_endless_growth(problems, &settings, &fleet, &collectors);
    warn_of_unguarded_deploys(problems, &settings, &fleet.policy);
    problems.errors.extend(of_collectors);
    fleet.collectors = collectors
        .into_iter()
        .filter_map(CheckedCollector::complete)
        .collect();
    fleet.busy = busy(problems, &settings, environment, &fleet.collectors);
    fleet.policy.asks_busy = fleet.busy.is_some();
    fleet.targets.may_be_none = fleet.policy.per_region;
    if let Some(value) = &settings.busy_limit {
        fleet.policy.busy_limit = values::number(problems, value);
        if fleet.policy.busy_limit.is_some_and(|limit| limit < 0.0) {
            let message = format!("{} must not be negative", value.label());
            problems.refuse(value.wrong(message).example("0"));
        }
    }
    fleet
}

/// A configuration before anything is read: every value is replaced, most of them by [`Settings::read`].
fn unread() -> Config {
    let nowhere = Url::parse("http://unread.invalid").expect("a valid URL");
    Config {
        fleets: Vec::new(),
        claims: Vec::new(),
        dry_run_by: None,
        api: ApiConfig {
            token: None,
            machines_url: nowhere.clone(),
            graphql_url: nowhere,
            concurrency: 1,
            dry_run: true,
        },
        concurrency: 1,
        app_list_refresh_interval: Duration::MAX,
        metrics_address: MetricsAddress {
            socket: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
            may_fall_back: false,
            setting: "",
        },
        verbose: false,
        log_format: LogFormat::default(),
        proxies: ProxyRules::default(),
        own: OwnMachine::default(),
        lock: None,
        secrets: Secrets::default(),
        warnings: Vec::new(),
    }
}

fn own_machine(environment: &Environment) -> OwnMachine {
    OwnMachine {
        app: environment.non_empty("FLY_APP_NAME"),
        machine: environment.non_empty("FLY_MACHINE_ID"),
        process_group: environment
            .non_empty("FLY_PROCESS_GROUP")
            .unwrap_or_else(|| DEFAULT_PROCESS_GROUP.to_owned()),
        region: environment.non_empty("FLY_REGION"),
    }
}

/// The proxies, which only the environment names: Go's rules are about variables.
fn proxies(problems: &mut Problems, environment: &Environment) -> ProxyRules {
    for name in ProxyRules::VARIABLES {
        if environment.is_undecodable(name) {
            let place = Place::Variable(name.to_owned());
            problems.refuse(ConfigError::new(
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
        problems.refuse(
            ConfigError::new(&place, error.to_string())
                .expected(InvalidProxy::EXPECTED)
                .example("http://proxy.internal:3128"),
        );
    }
    proxies
}

/// Puts environment and file together; `None` when the file cannot be read, which is then among the errors.
fn merge(
    problems: &mut Problems,
    raw: RawSettings,
    file: Option<&file::Written>,
    environment: &Environment,
) -> Option<Settings> {
    let Some(file::Written {
        path,
        text,
        keeps_region,
    }) = file
    else {
        // Without a file there is no key to be placed.
        let locate = |key: &str, _| Place::Variable(key.to_owned());
        let file = RawSettings::default();
        return Some(Settings::merge(raw, file, &locate, &mut Vec::new()));
    };
    let parsed = file::expand(path, text, environment, *keeps_region).and_then(|expanded| {
        problems.secrets.add_tokens_in(&expanded.text);
        let from_file = file::parse(path, text, &expanded, &mut problems.errors)?;
        Ok((expanded, from_file))
    });
    let (expanded, from_file) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            problems.errors.push(*error);
            return None;
        }
    };
    for name in &expanded.unset {
        problems.warnings.push(format!(
            "{path} uses ${name}, which is not set; it was replaced by an empty string"
        ));
    }
    if let Some(line) = expanded.ignored_line() {
        problems.warnings.push(format!(
            "{path} has a second YAML document, in line {line}; only the first one is read"
        ));
    }
    problems
        .referenced
        .extend(expanded.referenced.iter().cloned());
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
        if variable == "FAS_DRY_RUN" && values::boolean(problems, Some(&value), "false") {
            // Whoever asks for nothing to be written is not overruled by a file that was copied from somewhere.
            settings.dry_run = Some(value);
            problems
                .warnings
                .push(format!("FAS_DRY_RUN overrides the file: {by}"));
            continue;
        }
        // One that the file uses itself does something.
        if !problems.referenced.contains(variable) {
            problems.warnings.push(format!(
                "{variable} is ignored, because the file overrides it: {by}"
            ));
        }
    }
    Some(settings)
}

fn apps(
    problems: &mut Problems,
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
        let place = settings.place_of("FAS_APP_NAME");
        problems
            .refuse(ConfigError::new(&place, "app name required").example("FAS_APP_NAME=my-app"));
        return AppSelection {
            pattern: stand_in,
            org,
        };
    };
    let Ok(pattern) = AppPattern::parse(value.text()) else {
        problems.refuse(
            value
                .wrong("app name contains invalid characters")
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
        problems.refuse(value.wrong("--app names one app").example("--app my-app"));
    } else if let Some(managed) = option
        .as_ref()
        .and(settings.app_name.as_ref())
        .and_then(|managed| AppPattern::parse(managed.text()).ok())
        .filter(|managed| !managed.matches(pattern.as_str()))
    {
        problems.refuse(value.wrong(format!(
            "FAS_APP_NAME ({}) does not match",
            managed.as_str()
        )));
    } else if pattern.is_wildcard() && org.is_none() {
        problems.refuse(
            value
                .wrong("organization required if app name uses a wildcard")
                .example("FAS_ORG=my-org"),
        );
    }
    // A wildcard that matches the own app leaves it out; a plain name can mean nothing else.
    if !pattern.is_wildcard()
        && own.app.as_deref() == Some(pattern.as_str())
        && (own.process_group == group || group == EVERY_GROUP)
    {
        problems.refuse(
            value
                .wrong("app name is the autoscaler's own app and process group")
                .expected("another app, or another group in FAS_PROCESS_GROUP"),
        );
    }
    AppSelection { pattern, org }
}

/// Warns of an organization where no app's name is looked up in it: of all policies, not only those that were chosen.
fn warn_of_unused_org(problems: &mut Problems, settings: &Settings, claims: &[Claim]) {
    let Some(org) = &settings.org else { return };
    let only = [Claim::written(settings)];
    let claims = if claims.is_empty() { &only } else { claims };
    if claims.iter().all(Claim::names_an_app) {
        problems.warn(format!(
            "{} has no effect without a * in the app name",
            org.label()
        ));
    }
}

fn targets(
    problems: &mut Problems,
    settings: &Settings,
    names: &Names,
    purpose: Purpose,
) -> TargetExpressions {
    let [created, started] = Kind::ALL.map(|kind| settings.count_of(kind));
    let has_none = created.iter().chain(&started).all(Option::is_none);
    if has_none && purpose != Purpose::Backtest {
        let place = settings.place_of("FAS_CREATED_MACHINE_COUNT");
        let message = "must define either created machine count or started machine count";
        problems.refuse(
            ConfigError::new(&place, message)
                .expected("FAS_CREATED_MACHINE_COUNT, FAS_STARTED_MACHINE_COUNT, or both")
                .example("FAS_CREATED_MACHINE_COUNT=ceil(queue_depth / 10)"),
        );
    }
    TargetExpressions {
        created: band(problems, "created", created, names),
        started: band(problems, "started", started, names),
        may_be_none: false,
    }
}

fn band(
    problems: &mut Problems,
    kind: &str,
    [single, min, max]: [Option<&Value>; 3],
    names: &Names,
) -> Option<ExpressionBand> {
    let combined = format!("cannot define {kind} machine count and min/max {kind} machine count");
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
            problems.refuse(
                ConfigError::new(other.place(), combined).expected("one form or the other"),
            );
        }
        (None, Some(min), None) => {
            problems.refuse(
                ConfigError::new(min.place(), also_required("max", "min")).example(example("max")),
            );
        }
        (None, None, Some(max)) => {
            problems.refuse(
                ConfigError::new(max.place(), also_required("min", "max")).example(example("min")),
            );
        }
        _ => {}
    }
    let [single, min, max] = [single, min, max].map(|value| expression(problems, value, names));
    match (single, min, max) {
        (Some(exact), _, _) => Some(ExpressionBand::Exact(exact)),
        (None, Some(min), Some(max)) => Some(ExpressionBand::Band { min, max }),
        _ => None,
    }
}

fn expression(
    problems: &mut Problems,
    value: Option<&Value>,
    names: &Names,
) -> Option<Arc<Expression>> {
    let value = value?;
    match Expression::compile(value.text(), names) {
        Ok(expression) => {
            if let Some(comment) = expression.swallowed_operand() {
                problems.warnings.push(format!(
                    "{}: // begins a comment, so {comment} has no effect; division that rounds down is floor(… / {comment})",
                    value.label()
                ));
            }
            Some(Arc::new(expression))
        }
        Err(error) => {
            let message = format!("cannot compile the expression of {}", value.label());
            problems.refuse(ConfigError::new(value.place(), message).detail(error.to_string()));
            None
        }
    }
}

/// Warns of a created target that is its own count and something, where nothing bounds it: each machine that it creates
/// makes it ask for another one. Nothing is said where that is not certain.
fn warn_of_endless_growth(
    problems: &mut Problems,
    settings: &Settings,
    fleet: &FleetConfig,
    collectors: &[CheckedCollector],
) {
    let (Some(ExpressionBand::Exact(expression)), Some(value)) =
        (&fleet.targets.created, &settings.created_machine_count)
    else {
        return;
    };
    let policy = &fleet.policy;
    // Half a machine is rounded up.
    let Some((name, _)) = expression.as_sum().filter(|(_, more)| *more >= 0.5) else {
        return;
    };
    let counts_what_it_creates = match name.as_str() {
        "created_machine_count" => true,
        "started_machine_count" => {
            policy.initial_state == InitialState::Started && fleet.targets.started.is_none()
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
        problems.warnings.push(format!(
            "{} is `{source}`, which has no upper bound: each machine that it creates makes it ask for another one; \
             write min({source}, 10), or set FAS_MACHINE_CEILING",
            value.label()
        ));
    }
}

/// Warns where no deploy ever blocks scaling.
fn warn_of_unguarded_deploys(problems: &mut Problems, settings: &Settings, policy: &Policy) {
    if let Some(value) = settings
        .deploy_timeout
        .as_ref()
        .filter(|_| policy.deploy_timeout.is_zero())
    {
        problems.warnings.push(format!(
            "{} is 0: deploys do not block scaling, and machines are changed while a release is being deployed",
            value.label()
        ));
    }
}

/// Checks what floor, ceiling and fallbacks are to each other and to the targets.
fn check_limits(problems: &mut Problems, settings: &Settings, policy: &Policy) {
    let [has_created, has_started] =
        Kind::ALL.map(|kind| settings.count_of(kind).iter().any(Option::is_some));
    let bounds = [&settings.machine_floor, &settings.machine_ceiling];
    for value in bounds.into_iter().flatten().filter(|_| !has_created) {
        problems.refuse(
            value
                .wrong(format!("{} needs a created machine count", value.label()))
                .example("FAS_CREATED_MACHINE_COUNT=ceil(queue_depth / 10)"),
        );
    }
    if let (Some(lower), Some(upper), Some(value)) = (policy.floor, policy.ceiling, bounds[0]) {
        if lower > upper {
            let message = format!("{} is above the ceiling of {upper}", value.label());
            problems.refuse(value.wrong(message));
        }
    }
    let created = &settings.fallback_created_machine_count;
    let started = &settings.fallback_started_machine_count;
    for (kind, value, has_target) in [
        ("created", created, has_created),
        ("started", started, has_started),
    ] {
        if let (Some(value), false) = (value, has_target) {
            let message = format!(
                "{} needs a {kind} machine count to stand in for",
                value.label()
            );
            let example = format!(
                "FAS_{}_MACHINE_COUNT=ceil(queue_depth / 10)",
                kind.to_uppercase()
            );
            problems.refuse(value.wrong(message).example(example));
        }
    }
    if let (Some(value), None, None) = (&settings.fallback_after, created, started) {
        problems.warnings.push(format!(
            "{} has no effect without FAS_FALLBACK_CREATED_MACHINE_COUNT or FAS_FALLBACK_STARTED_MACHINE_COUNT",
            value.label()
        ));
    }
}

//! The configuration as a whole: sources in, a `Config` or the lines of all mistakes out.

mod per_region;

use std::collections::BTreeSet;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;
use crate::scaling::{ExpressionBand, InitialState, Step, StopAction};

/// Valid as it is, with one collector.
const VALID: &[(&str, &str)] = &[
    ("FAS_APP_NAME", "my-app"),
    ("FAS_API_TOKEN", "FlyV1 fm2_token"),
    ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
    (
        "FAS_PROMETHEUS_ADDRESS",
        "https://api.fly.io/prometheus/my-org",
    ),
    ("FAS_PROMETHEUS_METRIC_NAME", "queue_depth"),
    ("FAS_PROMETHEUS_QUERY", "sum(queue_depth)"),
];

/// Variables to set; an empty value unsets.
type Changes = [(&'static str, &'static str)];

/// [`VALID`] with changes; an empty value unsets.
fn sources(changes: &[(&str, &str)], file: Option<&str>) -> Sources {
    let mut variables: Vec<(&str, &str)> = VALID.to_vec();
    variables.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    variables.extend(changes);
    let mut sources = Sources::new(
        variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into())),
        Purpose::Serve,
    );
    sources.file = file.map(|text| ("fas.yml".into(), text.to_owned()));
    sources
}

fn load(changes: &[(&str, &str)], file: Option<&str>) -> Config {
    Config::load(sources(changes, file))
        .unwrap_or_else(|errors| panic!("{changes:?} {file:?}:\n{errors}"))
}

fn try_load(changes: &[(&str, &str)], file: Option<&str>) -> Result<Config, ConfigErrors> {
    Config::load(sources(changes, file))
}

fn mistakes(changes: &[(&str, &str)], file: Option<&str>) -> Vec<String> {
    match Config::load(sources(changes, file)) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

fn warnings(changes: &[(&str, &str)], file: Option<&str>) -> Vec<String> {
    load(changes, file).warnings
}

fn prometheus(config: &Config) -> (&Url, Option<&str>, Option<&str>, String, Option<f64>) {
    match &config.fleets[0].collectors[0].source {
        CollectorSource::Prometheus {
            address,
            basic,
            token,
            query,
            empty_value,
        } => (
            address,
            basic.as_ref().map(ExposeSecret::expose_secret),
            token.as_ref().map(ExposeSecret::expose_secret),
            query.render("my-app"),
            *empty_value,
        ),
        _ => panic!("not Prometheus"),
    }
}

/// A section of README.
fn readme(heading: &str) -> &'static str {
    let readme = include_str!("../../README.md");
    let (_, behind) = readme
        .split_once(&format!("\n## {heading}\n"))
        .expect("the section is there");
    behind.split_once("\n## ").expect("it is not the last").0
}

/// The rows of README's table of variables: variable, key, default, meaning.
fn rows_of_readme() -> Vec<[String; 4]> {
    let sections = [readme("Settings"), readme("Queues")];
    let rows = sections
        .into_iter()
        .flat_map(str::lines)
        .filter_map(|line| {
            let cells = line.strip_prefix('|')?.strip_suffix('|')?;
            let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
            let row: [&str; 4] = cells.try_into().ok()?;
            row[0]
                .starts_with("`FAS_")
                .then(|| row.map(|cell| cell.trim_matches('`').to_owned()))
        });
    rows.collect()
}

/// The rows of `help settings`: variable, key, default, meaning.
fn rows_of_help() -> Vec<[String; 4]> {
    let help = reference();
    let (table, _) = help.split_once("\nCertificates").expect("notes follow");
    let mut rows: Vec<[String; 4]> = Vec::new();
    for line in table.lines() {
        if let Some(more) = line.strip_prefix("      ") {
            let [.., meaning] = rows.last_mut().expect("a variable stands above");
            let gap = if meaning.is_empty() { "" } else { " " };
            meaning.push_str(gap);
            meaning.push_str(more);
        } else if let Some(row) = line.strip_prefix("  ") {
            let (name, details) = row.split_once(" (").unwrap_or((row, ""));
            let details = details.trim_end_matches(')');
            let detail = |prefix| details.split("; ").find_map(|one| one.strip_prefix(prefix));
            let required = details.split("; ").find(|one| one.starts_with("required"));
            let default = detail("default: ").or(required).unwrap_or_default();
            let key = detail("file: ").unwrap_or_default();
            rows.push([name, key, default, ""].map(str::to_owned));
        }
    }
    rows
}

#[test]
fn help_settings_prints_the_table_and_the_readme_quotes_it() {
    let mut of_help = rows_of_help();
    let mut of_table: Vec<[String; 4]> = VARIABLES
        .iter()
        .map(|row| [row.name, &row.key.to_string(), row.default, row.meaning].map(str::to_owned))
        .collect();
    of_help.sort_unstable();
    of_table.sort_unstable();
    assert_eq!(of_help, of_table);

    let of_readme = rows_of_readme();
    assert_eq!(of_readme.len(), 35);
    for row in of_readme {
        assert!(of_table.contains(&row), "{row:?}");
    }
}

#[test]
fn the_defaults_are_those_of_the_table() {
    let shown = |changes: &Changes| {
        let config = load(changes, None);
        // Only an address that was not chosen may be another one, and a fallback that stands in for nothing is told.
        let metrics = config.metrics_address.socket;
        let config = Config {
            metrics_address: MetricsAddress {
                socket: metrics,
                may_fall_back: true,
                setting: "",
            },
            warnings: Vec::new(),
            ..config
        };
        format!("{config:?}")
    };
    let of_nothing = shown(&[]);
    let mut defaults = 0;
    for row in rows_of_help() {
        let [name, _, default, _] = row.map(|cell| &*cell.leak());
        if !default.is_empty() && !default.starts_with("required") {
            assert_eq!(shown(&[(name, default)]), of_nothing, "{name}");
            defaults += 1;
        }
    }
    assert_eq!(defaults, 22);

    let config = load(&[], None);
    assert_eq!(config.fleets[0].policy, Policy::default());
    assert_eq!(config.fleets[0].apps.org, None);
    assert!(config.metrics_address.may_fall_back);
    assert_eq!(
        config.own,
        OwnMachine {
            app: None,
            machine: None,
            process_group: "app".to_owned(),
            region: None,
        }
    );
    assert_eq!(config.warnings, [""; 0]);
    assert!(config.fleets[0].targets.started.is_none());
    let created = config.fleets[0]
        .targets
        .created
        .clone()
        .expect("one expression");
    assert_eq!(created.to_string(), "queue_depth");
}

#[test]
fn the_file_of_help_settings_has_every_key_and_is_valid_and_so_is_the_readmes() {
    let help = reference();
    let (_, file) = help.split_once("A file with every key:\n").expect("a file");
    for variable in VARIABLES {
        if let YamlKey::Top(key) | YamlKey::Policy(key) | YamlKey::Collector(key) = variable.key {
            assert!(file.contains(key), "{key}");
        }
    }
    assert!(file.contains("policies:"), "{file}");
    let (_, behind) = readme("The YAML file")
        .split_once("```yaml\n")
        .expect("a file");
    let (of_readme, _) = behind.split_once("```").expect("its end");
    for file in [file, of_readme] {
        load(
            &[
                ("FAS_PROMETHEUS_TOKEN", "reader"),
                ("JOBS_TOKEN", "jobs-reader"),
                ("REDIS_URL", "redis://:pass-of-redis@my-redis.internal"),
                (
                    "DATABASE_URL",
                    "postgres://me:pass-of-database@my-db.internal/jobs",
                ),
                ("TEMPORAL_CERT", "certificate"),
                ("TEMPORAL_KEY", "a-key"),
            ],
            Some(file),
        );
    }
}

#[test]
fn every_variable_has_its_effect() {
    let config = load(
        &[
            ("FAS_APP_NAME", "my-*"),
            ("FAS_ORG", "my-org"),
            ("FAS_CREATED_MACHINE_COUNT", ""),
            ("FAS_MIN_CREATED_MACHINE_COUNT", "1"),
            ("FAS_MAX_CREATED_MACHINE_COUNT", "queue_depth"),
            ("FAS_STARTED_MACHINE_COUNT", "3"),
            ("FAS_INITIAL_MACHINE_STATE", "stopped"),
            ("FAS_REGIONS", "iad, ord,,iad , "),
            ("FAS_PROCESS_GROUP", "worker"),
            ("FAS_INTERVAL", "1m30s"),
            ("FAS_TIMEOUT", "500ms"),
            ("FAS_CONCURRENCY", "5"),
            ("FAS_APP_LIST_REFRESH_INTERVAL", "1.5h"),
            ("FAS_PROMETHEUS_TOKEN", "reader"),
            ("FAS_PROMETHEUS_EMPTY_VALUE", "-1.5"),
            ("FAS_TEMPORAL_ADDRESS", "https://temporal.internal"),
            ("FAS_TEMPORAL_NAMESPACE", "imports"),
            ("FAS_TEMPORAL_METRIC_NAME", "workflows"),
            ("FAS_TEMPORAL_QUERY", "App='$APP_NAME'"),
            ("FAS_TEMPORAL_CERT_DATA", "fas-cert"),
            ("FAS_TEMPORAL_KEY_DATA", "fas-key"),
            ("TEMPORAL_TLS_CERT_DATA", "tls-cert"),
            ("FLY_FLAPS_BASE_URL", "http://_api.internal:4280"),
            ("FLY_API_BASE_URL", "http://127.0.0.1:8080"),
            ("FAS_VERBOSE", "1"),
            ("FAS_LOG_FORMAT", "text"),
            ("FAS_METRICS_ADDRESS", "127.0.0.1:0"),
            ("FAS_DRY_RUN", "true"),
            ("FAS_API_CONCURRENCY", "2"),
            ("FAS_MACHINE_FLOOR", "2"),
            ("FAS_MACHINE_CEILING", "20"),
            ("FAS_DESTROY_RUNNING_AFTER", "0s"),
            ("FAS_STOP_ACTION", "suspend"),
            ("FAS_CLONE_VOLUMES", "TRUE"),
            ("FAS_PER_REGION", "1"),
            ("FAS_SCALE_DOWN_STABILIZATION", "5m"),
            ("FAS_SCALE_UP_STABILIZATION", "30s"),
            ("FAS_SCALE_UP_STEP", "50%"),
            ("FAS_SCALE_DOWN_STEP", "0"),
            ("FAS_FALLBACK_CREATED_MACHINE_COUNT", "6"),
            ("FAS_FALLBACK_STARTED_MACHINE_COUNT", "7"),
            ("FAS_FALLBACK_AFTER", "1"),
            ("FAS_PROMETHEUS_BUSY_QUERY", "busy"),
            ("FAS_BUSY_LIMIT", "2.5"),
            ("FAS_DEPLOY_TIMEOUT", "30m"),
            ("FLY_APP_NAME", "scaler"),
            ("FLY_MACHINE_ID", "e784079b449483"),
            ("FLY_PROCESS_GROUP", "main"),
        ],
        None,
    );
    assert_eq!(
        config.warnings,
        [
            "FAS_REGIONS lists iad more than once: with FAS_PER_REGION it counts once",
            "FAS_SCALE_DOWN_STEP is 0: no machine is ever destroyed or stopped",
            "no expression uses the metric workflows: it is only shown in /metrics",
        ]
    );
    assert_eq!(
        (
            config.fleets[0].apps.pattern.as_str(),
            config.fleets[0].apps.org.as_deref()
        ),
        ("my-*", Some("my-org"))
    );
    let Some(ExpressionBand::Band { min, max }) = &config.fleets[0].targets.created else {
        panic!("two expressions")
    };
    assert_eq!((min.source(), max.source()), ("1", "queue_depth"));
    let Some(ExpressionBand::Exact(started)) = &config.fleets[0].targets.started else {
        panic!("one expression")
    };
    assert_eq!(started.source(), "3");
    assert_eq!(
        config.fleets[0].policy,
        Policy {
            asks_busy: true,
            busy_limit: Some(2.5),
            process_group: "worker".to_owned(),
            regions: vec!["iad".to_owned(), "ord".to_owned()],
            per_region: true,
            region: None,
            initial_state: InitialState::Stopped,
            stop_action: StopAction::Suspend,
            clone_volumes: true,
            floor: Some(2),
            ceiling: Some(20),
            destroy_running_after: Duration::ZERO,
            stabilization: crate::scaling::UpDown {
                up: Duration::from_secs(30),
                down: Duration::from_secs(300)
            },
            step: crate::scaling::UpDown {
                up: Some(Step::Percent(50)),
                down: Some(Step::Count(0))
            },
            fallback: crate::scaling::Fallback {
                created: Some(6),
                started: Some(7),
                after: 1
            },
            interval: Duration::from_secs(90),
            timeout: Duration::from_millis(500),
            deploy_timeout: Duration::from_secs(1800),
            own_machine: Some("e784079b449483".to_owned()),
        }
    );
    assert_eq!(config.concurrency, 5);
    assert_eq!(config.app_list_refresh_interval, Duration::from_secs(5400));
    assert_eq!(
        config.api.token.as_ref().map(ExposeSecret::expose_secret),
        Some("FlyV1 fm2_token")
    );
    assert_eq!(
        config.api.machines_url.as_str(),
        "http://_api.internal:4280/"
    );
    assert_eq!(config.api.graphql_url.as_str(), "http://127.0.0.1:8080/");
    assert_eq!(
        (config.api.concurrency, config.api.dry_run, config.verbose),
        (2, true, true)
    );
    assert_eq!(config.log_format, LogFormat::Text);
    assert_eq!(config.metrics_address.socket.to_string(), "127.0.0.1:0");
    assert!(!config.metrics_address.may_fall_back);
    assert_eq!(config.own.process_group, "main");
    assert_eq!(config.own.app.as_deref(), Some("scaler"));
    let (address, basic, token, query, empty_value) = prometheus(&config);
    assert_eq!(address.as_str(), "https://api.fly.io/prometheus/my-org");
    assert_eq!(
        (basic, token, query.as_str(), empty_value),
        (None, Some("reader"), "sum(queue_depth)", Some(-1.5))
    );
    assert_eq!(config.fleets[0].collectors[1].metric, "workflows");
    let CollectorSource::Temporal {
        address,
        namespace,
        query: Some(query),
        identity: Some(identity),
        proxy: None,
    } = &config.fleets[0].collectors[1].source
    else {
        panic!("a Temporal collector");
    };
    assert_eq!(
        (address.to_string().as_str(), namespace.as_str()),
        ("https://temporal.internal:7233", "imports")
    );
    assert_eq!(query.render("a"), "App='a'");
    assert_eq!(
        (identity.certificate.as_str(), identity.key.expose_secret()),
        ("tls-cert", "fas-key")
    );
}

#[test]
fn the_file_with_every_key_means_what_it_says() {
    let file = include_str!("../../tests/data/config/full.yml");
    let changes = [
        ("PRIMARY", "ord"),
        ("SECRET_TOKEN", "FlyV1 fm2_a,fm2_b"),
        ("TEMPORAL_KEY", "some-key"),
        ("FAS_PROMETHEUS_ADDRESS", ""),
        ("FAS_PROMETHEUS_METRIC_NAME", ""),
        ("FAS_PROMETHEUS_QUERY", ""),
        ("FAS_CREATED_MACHINE_COUNT", ""),
        ("FAS_APP_NAME", ""),
        ("FAS_API_TOKEN", ""),
    ];
    let config = load(&changes, Some(file));
    assert_eq!(
        config.warnings,
        [
            "no expression uses the metric latency: it is only shown in /metrics",
            "no expression uses the metric workflows: it is only shown in /metrics",
            "no expression uses the metric jobs: it is only shown in /metrics",
            "no expression uses the metric sidekiq: it is only shown in /metrics",
            "no expression uses the metric oban: it is only shown in /metrics",
        ]
    );
    let summary: Vec<String> = config.fleets[0]
        .summary(&config)
        .into_iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    assert_eq!(
        summary,
        [
            "app: my-app-*",
            "org: my-org",
            "created: queue_depth to queue_depth + 5",
            "started: 1 to 2",
            "collectors: queue_depth from prometheus at http://prometheus.internal:9090/path?\u{2026}; \
             latency from prometheus at https://api.fly.io/prometheus/my-org; \
             workflows from temporal at temporal.internal:7233, namespace default; \
             jobs from http at https://ord.internal/my-app-*/queues?\u{2026}; \
             sidekiq from redis at rediss://redis.internal/2?\u{2026}; \
             oban from postgres at postgres://db.internal/jobs?\u{2026}",
            "busy_limit: 2.5",
            "process_group: worker",
            "regions: iad,ord",
            "per_region: true",
            "initial_machine_state: stopped",
            "interval: 10s",
            "timeout: 1m30s",
            "concurrency: 4",
            "app_list_refresh_interval: 2m0s",
            "floor: 2",
            "ceiling: 20",
            "destroy_running_after: 0s",
            "stop_action: suspend",
            "clone_volumes: true",
            "scale_up_stabilization: 30s",
            "scale_down_stabilization: 5m0s",
            "scale_up_step: 50%",
            "scale_down_step: 1",
            "fallback_created: 6",
            "fallback_started: 7",
            "fallback_after: 2",
            "deploy_timeout: 30m0s",
            "machines_api: https://api.machines.dev",
            "graphql_api: https://api.fly.io",
            "api_token: set",
            "api_concurrency: 3",
            "metrics_address: 127.0.0.1:9191",
            "log_format: text",
            "verbose: true",
            "dry_run: true",
            "lock: web in Consul at https://consul.internal, 4 shards",
        ]
    );
    let (address, basic, _, query, empty_value) = prometheus(&config);
    assert_eq!(
        address.as_str(),
        "http://prometheus.internal:9090/path?tenant=1"
    );
    assert_eq!((basic, empty_value), (Some("reader:p@ss"), Some(0.0)));
    assert_eq!(query, r#"sum(queue_depth{app="my-app", region=~"^ord$"})"#);
    assert_eq!(
        config.api.token.as_ref().map(ExposeSecret::expose_secret),
        Some("FlyV1 fm2_a,fm2_b")
    );
    let CollectorSource::Temporal {
        identity: Some(identity),
        ..
    } = &config.fleets[0].collectors[2].source
    else {
        panic!("a Temporal collector");
    };
    assert_eq!(
        identity.certificate,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    );
    let CollectorSource::Http {
        url,
        value: Some(value),
        token: None,
        headers,
        empty_value: Some(empty_value),
    } = &config.fleets[0].collectors[3].source
    else {
        panic!("an HTTP collector");
    };
    assert_eq!(
        url.render("a"),
        "https://reader:p%40ss2@ord.internal/a/queues?key=k3y-of-queues"
    );
    assert_eq!(value.render("a"), "$.queues[?@.name=='default'].size");
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose_secret()))
        .collect();
    let key = ("x-api-key", "FlyV1 fm2_a,fm2_b");
    assert_eq!(headers, [("accept", "application/json"), key]);
    assert_eq!(empty_value.to_bits(), 1.0_f64.to_bits());
    let queries: Vec<String> = config.fleets[0].collectors[4..]
        .iter()
        .map(|one| one.query("a"))
        .collect();
    let expected = [
        "LLEN queue:a",
        "SELECT count(*) FROM oban_jobs WHERE queue = 'worker' AND state = 'available'",
    ];
    assert_eq!(queries, expected);
    let shown = config
        .secrets
        .hide("p@ss2 k3y-of-queues application/json p@ss3 p%40ss4 verify-full worker");
    assert_eq!(shown, "*** *** application/json *** *** verify-full worker");
}

#[test]
fn the_copies_have_a_name_on_fly_alone() {
    let own = |app: Option<&str>, machine: Option<&str>, group: &str| OwnMachine {
        app: app.map(str::to_owned),
        machine: machine.map(str::to_owned),
        process_group: group.to_owned(),
        region: None,
    };
    let (app, machine) = (Some("my-autoscaler"), Some("e28"));
    assert_eq!(
        own(app, machine, "app").copies().as_deref(),
        Some("app.process.my-autoscaler.internal")
    );
    for (app, machine, group) in [
        (None, machine, "app"),
        (app, None, "app"),
        (app, machine, "fly_app_console"),
        (app, machine, "fly_app_release_command"),
    ] {
        assert_eq!(
            own(app, machine, group).copies(),
            None,
            "{app:?} {machine:?} {group}"
        );
    }
}

#[test]
fn shards_need_a_lock_and_several_apps() {
    const ATTACHED: (&str, &str) = ("FLY_CONSUL_URL", "https://:t@consul.test/p/");
    const SEVERAL: [(&str, &str); 2] = [("FAS_APP_NAME", "customer-*"), ("FAS_ORG", "acme")];
    for (text, expected) in [("1", 1), ("4", 4), ("64", 64)] {
        let changes = [&SEVERAL[..], &[ATTACHED, ("FAS_SHARDS", text)]].concat();
        let shards = load(&changes, None).lock.map(|lock| lock.shards);
        assert_eq!(shards, Some(expected));
    }
    for text in ["0", "-1", "65", "99999999999999999999"] {
        let changes = [&SEVERAL[..], &[ATTACHED, ("FAS_SHARDS", text)]].concat();
        let expected =
            format!("FAS_SHARDS must be at least 1 and at most 64: \"{text}\". Example: 4");
        assert_eq!(mistakes(&changes, None), [expected]);
    }
    let changes = [&SEVERAL[..], &[ATTACHED, ("FAS_SHARDS", "many")]].concat();
    assert_eq!(
        mistakes(&changes, None),
        ["cannot parse FAS_SHARDS as integer: \"many\"; expected a whole number. Example: 4"]
    );
    let none = "FAS_SHARDS needs a lock, and there is none: without one each copy would scale all apps: \"4\"; expected FAS_LOCK_URL, or FLY_CONSUL_URL as fly consul attach sets it; or one copy and no shards. Example: 1";
    let changes = [&SEVERAL[..], &[("FAS_SHARDS", "4")]].concat();
    assert_eq!(mistakes(&changes, None), [none]);
    // Nothing is divided.
    load(&[&SEVERAL[..], &[("FAS_SHARDS", "1")]].concat(), None);
    // Who goes back to one copy while Consul is away has this one thing to change.
    let off = [ATTACHED, ("FAS_LOCK_URL", "none"), ("FAS_SHARDS", "4")];
    let config = load(&[&SEVERAL[..], &off].concat(), None);
    assert!(config.lock.is_none());
    let warning = "FAS_SHARDS does nothing, for FAS_LOCK_URL is none: this copy scales all apps";
    assert!(
        config.warnings.iter().any(|told| told == warning),
        "{:?}",
        config.warnings
    );
    let one = "FAS_SHARDS divides apps, and my-app is only one: its machines are one copy's affair: \"4\"; expected an app name with a *, several policies, or no shards. Example: 1";
    let changes = [("FAS_APP_NAME", "my-app"), ATTACHED, ("FAS_SHARDS", "4")];
    assert_eq!(mistakes(&changes, None), [one]);
    // Whoever asks about one app of many asks nothing about its shards.
    let mut sources = sources(&changes, None);
    sources.app = Some("my-app".to_owned());
    Config::load(sources).expect("it is asked about alone");
}

/// The parts of a lock: address, token, prefix, name, and the setting that it is from.
fn lock(changes: &Changes, file: Option<&str>) -> Option<[String; 5]> {
    let LockConfig {
        address,
        token,
        prefix,
        name,
        shards,
        setting,
    } = load(changes, file).lock?;
    assert_eq!(shards, 1);
    let token = token.as_ref().map(ExposeSecret::expose_secret);
    let token = token.unwrap_or_default().to_owned();
    Some([address.to_string(), token, prefix, name, setting])
}

#[test]
fn a_lock_is_what_fly_consul_attach_sets_unless_something_else_is_said() {
    const ATTACHED: (&str, &str) = (
        "FLY_CONSUL_URL",
        "https://:2f-4a@consul-iad.fly-shared.net/scaler-23sxdf/",
    );
    type Case = (&'static str, &'static Changes, Option<[&'static str; 5]>);
    let of_fly = |name| {
        let address = "https://consul-iad.fly-shared.net/";
        Some([address, "2f-4a", "scaler-23sxdf/", name, "FLY_CONSUL_URL"])
    };
    let own = |address, token, prefix| Some([address, token, prefix, "app", "FAS_LOCK_URL"]);
    let cases: [Case; 8] = [
        ("nothing", &[], None),
        ("attached", &[ATTACHED], of_fly("app")),
        (
            "of another group",
            &[ATTACHED, ("FLY_PROCESS_GROUP", "scaler")],
            of_fly("scaler"),
        ),
        (
            "by another name",
            &[ATTACHED, ("FAS_LOCK_NAME", "web-1.x_y")],
            of_fly("web-1.x_y"),
        ),
        ("not wanted", &[ATTACHED, ("FAS_LOCK_URL", "none")], None),
        (
            "another Consul",
            &[ATTACHED, ("FAS_LOCK_URL", "http://consul.internal:8500")],
            own("http://consul.internal:8500/", "", ""),
        ),
        (
            "a long prefix",
            &[("FAS_LOCK_URL", "http://:t%2Fk@consul.internal/a/b%20c/")],
            own("http://consul.internal/", "t/k", "a/b c/"),
        ),
        (
            "a dry run",
            &[ATTACHED, ("FAS_DRY_RUN", "true")],
            of_fly("app"),
        ),
    ];
    for (name, changes, expected) in cases {
        let expected = expected.map(|parts| parts.map(str::to_owned));
        assert_eq!(lock(changes, None), expected, "{name}");
    }
    let file = "lock-url: none\nlock-name: web\n";
    assert_eq!(lock(&[ATTACHED], Some(file)), None);
    let config = load(&[ATTACHED], None);
    assert_eq!(config.secrets.hide("the 2f-4a token"), "the *** token");
    let summary = config.fleets[0].summary(&config);
    let told = summary.iter().find(|(name, _)| *name == "lock");
    let told = told.map(|(_, text)| text.as_str());
    assert_eq!(
        told,
        Some("app in Consul at https://consul-iad.fly-shared.net")
    );
}

#[test]
fn an_address_of_a_lock_that_cannot_be_meant_is_refused_without_its_token() {
    let cases = [
        (
            "redis://:sesame@host/prefix/",
            "FAS_LOCK_URL begins with redis://, which is not Consul's; expected http:// or https://",
        ),
        (
            "sesame://:sesame@host/prefix/",
            "FAS_LOCK_URL is not a URL; expected an address that begins with http:// or https://",
        ),
        (
            "ftp://:sesame@host/prefix/",
            "FAS_LOCK_URL begins with ftp://, which is not Consul's; expected http:// or https://",
        ),
        (
            "None",
            "FAS_LOCK_URL is not a URL; expected an address that begins with http:// or https://, or none in small letters where there is to be no lock. Example: https://",
        ),
        (
            "off",
            "FAS_LOCK_URL is not a URL; expected an address that begins with http:// or https://, or none in small letters where there is to be no lock. Example: https://",
        ),
        (
            "https://:sesame@host/prefix",
            "the prefix in FAS_LOCK_URL has no / at its end; expected the address as fly consul attach has set it: the token is for what begins with the prefix and the /",
        ),
        (
            "https://sesame@host/prefix/",
            "FAS_LOCK_URL has a user; expected a colon before the token",
        ),
        (
            "https://:sesame@host/prefix/?dc=sesame",
            "FAS_LOCK_URL has more than an address and a prefix; expected nothing after the prefix",
        ),
        (
            "https://:sesame%FF@host/prefix/",
            "FAS_LOCK_URL cannot be decoded; expected UTF-8 behind its % signs, and a % in the token written as %25",
        ),
        (
            "https://:ses/ame@host/prefix/",
            "FAS_LOCK_URL is not a URL; expected an address that begins with http:// or https://",
        ),
        (
            "https://:80/sesame@host/prefix/",
            "FAS_LOCK_URL is not a URL; expected an address that begins with http:// or https://",
        ),
    ];
    for (written, expected) in cases {
        let lines = mistakes(&[("FAS_LOCK_URL", written)], None);
        assert_eq!(lines.len(), 1, "{written}: {lines:?}");
        assert!(lines[0].starts_with(expected), "{written}: {lines:?}");
        assert!(!lines[0].contains("sesame"), "{lines:?}");
        let attached = mistakes(&[("FLY_CONSUL_URL", written)], None);
        assert!(attached[0].contains("FLY_CONSUL_URL"), "{attached:?}");
        // What is not used is not looked at.
        let unused = [("FAS_LOCK_URL", "none"), ("FLY_CONSUL_URL", written)];
        assert_eq!(mistakes(&unused, None), [""; 0], "{written}");
    }
    for name in ["a/b", "a b", "é", ".", ".."] {
        let lines = mistakes(&[("FAS_LOCK_NAME", name)], None);
        let expected = format!(
            "FAS_LOCK_NAME is not the name of a lock: \"{name}\"; expected letters, digits, -, _ and ., at most 100, and not dots alone. Example: app"
        );
        assert_eq!(lines, [expected]);
    }
    let of_group = [("FLY_PROCESS_GROUP", "a/b")];
    assert_eq!(mistakes(&of_group, None), [""; 0], "there is no lock");
    let of_group = [of_group[0], ("FAS_LOCK_URL", "http://consul.internal")];
    let expected = "the process group a/b is not the name of a lock; expected letters";
    let lines = mistakes(&of_group, None);
    assert!(lines[0].starts_with(expected), "{lines:?}");
    let misspelt = mistakes(&[("FAS_LOCK_ULR", "http://consul.internal")], None);
    assert_eq!(
        misspelt,
        ["FAS_LOCK_ULR: unknown variable; expected FAS_LOCK_URL, which limits what is changed"]
    );
}

#[test]
fn every_key_of_the_table_stands_in_the_full_file() {
    let file = include_str!("../../tests/data/config/full.yml");
    for variable in VARIABLES {
        if let YamlKey::Top(key) | YamlKey::Policy(key) | YamlKey::Collector(key) = variable.key {
            let alternative = ["created-machine-count", "started-machine-count"].contains(&key);
            assert!(alternative || file.contains(&format!("{key}: ")), "{key}");
        }
    }
}

#[test]
fn upstreams_documented_file_is_read_and_lacks_the_namespace() {
    let file = include_str!("../../tests/data/config/upstream.yml");
    let sources = Sources {
        environment: Vec::new(),
        file: Some(("fly-autoscaler.yml".into(), file.to_owned())),
        purpose: Purpose::Serve,
        app: None,
        policy: None,
    };
    let errors = Config::load(sources.clone())
        .expect_err("no namespace")
        .to_string();
    assert_eq!(
        errors.lines().collect::<Vec<_>>(),
        [
            "metric-collectors[1]: temporal namespace required. Example: namespace: default \
             (metric-collectors[1], line 17 of fly-autoscaler.yml)",
        ]
    );
    let filled_in = file.replace("localhost:7233\"", "localhost:7233\"\n    namespace: n");
    let config = Config::load(Sources {
        file: Some(("f".into(), filled_in)),
        ..sources
    })
    .expect("complete");
    assert_eq!(config.fleets[0].policy.regions, ["iad", "ord", "sjc"]);
    assert_eq!(config.fleets[0].collectors.len(), 2);
}

#[test]
fn whatever_the_api_may_take_for_a_region_is_one() {
    for (value, regions) in [
        ("usa, lhr", &["usa", "lhr"][..]),
        ("any", &["any"]),
        ("us-east,eu,iad", &["us-east", "eu", "iad"]),
        ("iad,iad,ord", &["iad", "iad", "ord"]),
    ] {
        assert_eq!(
            load(&[("FAS_REGIONS", value)], None).fleets[0]
                .policy
                .regions,
            regions
        );
    }
}

#[test]
fn every_wrong_value_is_told_with_what_was_expected() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[("FAS_APP_NAME", "my app")],
            "app name contains invalid characters: \"my app\"; expected letters, digits, dashes and underscores, \
             and * for any run of characters. Example: my-app or my-app-* (FAS_APP_NAME)",
        ),
        (
            &[("FAS_APP_NAME", "a/../b")],
            "app name contains invalid characters: \"a/../b\"; expected letters, digits, dashes and underscores, \
             and * for any run of characters. Example: my-app or my-app-* (FAS_APP_NAME)",
        ),
        (
            &[("FLY_APP_NAME", "my-app")],
            "app name is the autoscaler's own app and process group: \"my-app\"; expected another app, or another group in \
             FAS_PROCESS_GROUP (FAS_APP_NAME)",
        ),
        (
            &[
                ("FLY_APP_NAME", "my-app"),
                ("FLY_PROCESS_GROUP", "w"),
                ("FAS_PROCESS_GROUP", "*"),
            ],
            "app name is the autoscaler's own app and process group: \"my-app\"; expected another app, or another group in \
             FAS_PROCESS_GROUP (FAS_APP_NAME)",
        ),
        (
            &[
                ("FLY_APP_NAME", "my-app"),
                ("FLY_PROCESS_GROUP", "w"),
                ("FAS_PROCESS_GROUP", "w"),
            ],
            "app name is the autoscaler's own app and process group: \"my-app\"; expected another app, or another group in \
             FAS_PROCESS_GROUP (FAS_APP_NAME)",
        ),
        (
            &[("FAS_API_TOKEN", "secret\nsecret")],
            "FAS_API_TOKEN contains a character that is invalid in a token, such as a line break; expected the token as it was issued, on one line. \
             Example: fly secrets set -a my-autoscaler FAS_API_TOKEN=\"$(fly tokens create deploy -a my-app)\"",
        ),
        (
            &[("FAS_PROMETHEUS_TOKEN", "secret\u{7f}secret")],
            "FAS_PROMETHEUS_TOKEN contains a character that is invalid in a token, such as a line break; expected the token as it was issued, on one line. \
             Example: fly secrets set -a my-autoscaler FAS_PROMETHEUS_TOKEN=\"$(fly tokens create readonly my-org)\"",
        ),
        (
            &[("FAS_INTERVAL", "0s")],
            "FAS_INTERVAL must be longer than 0s: \"0s\". Example: 15s or 1m30s",
        ),
        (
            &[("FAS_TIMEOUT", "0")],
            "FAS_TIMEOUT must be longer than 0s: \"0\". Example: 15s or 1m30s",
        ),
        (
            &[("FAS_TIMEOUT", "-1s")],
            "FAS_TIMEOUT must not be negative: \"-1s\". Example: 15s or 1m30s",
        ),
        (
            &[("FAS_APP_LIST_REFRESH_INTERVAL", "0s")],
            "FAS_APP_LIST_REFRESH_INTERVAL must be longer than 0s: \"0s\". Example: 15s or 1m30s",
        ),
        (
            &[("FAS_DESTROY_RUNNING_AFTER", "-1ns")],
            "FAS_DESTROY_RUNNING_AFTER must not be negative: \"-1ns\". Example: 15s or 1m30s",
        ),
        (
            &[("FAS_SCALE_UP_STABILIZATION", "5 m")],
            "cannot parse FAS_SCALE_UP_STABILIZATION as duration: \"5 m\"; expected a unit (ns, us, ms, s, m, h) after each \
             number, but found \" m\". Example: 15s or 1m30s",
        ),
        (
            &[("FAS_SCALE_DOWN_STABILIZATION", "9999999h")],
            "cannot parse FAS_SCALE_DOWN_STABILIZATION as duration: \"9999999h\"; expected at most 2562047h47m16s. \
             Example: 15s or 1m30s",
        ),
        (
            &[("FAS_DEPLOY_TIMEOUT", "1 hour")],
            "cannot parse FAS_DEPLOY_TIMEOUT as duration: \"1 hour\"; expected a unit (ns, us, ms, s, m, h) after each number, \
             but found \" hour\". Example: 15s or 1m30s",
        ),
        (
            &[("FAS_CONCURRENCY", "10001")],
            "FAS_CONCURRENCY must be at most 10000: \"10001\"",
        ),
        (
            &[("FAS_CONCURRENCY", "99999999999999999999")],
            "FAS_CONCURRENCY must be at most 10000: \"99999999999999999999\"",
        ),
        (
            &[("FAS_API_CONCURRENCY", "0")],
            "FAS_API_CONCURRENCY must be at least 1 and at most 10000: \"0\". Example: 8",
        ),
        (
            &[("FAS_API_CONCURRENCY", "1.5")],
            "cannot parse FAS_API_CONCURRENCY as integer: \"1.5\"; expected a whole number. Example: 8",
        ),
        (
            &[("FAS_STOP_ACTION", "kill")],
            "stop action must be either 'stop' or 'suspend': \"kill\" (FAS_STOP_ACTION)",
        ),
        (
            &[("FAS_LOG_FORMAT", "xml")],
            "log format must be either 'json' or 'text': \"xml\" (FAS_LOG_FORMAT)",
        ),
        (
            &[("FAS_VERBOSE", "yes")],
            "cannot parse FAS_VERBOSE as boolean: \"yes\"; expected true, false, 1 or 0",
        ),
        (
            &[("FAS_DRY_RUN", "2")],
            "cannot parse FAS_DRY_RUN as boolean: \"2\"; expected true, false, 1 or 0",
        ),
        (
            &[("FAS_CLONE_VOLUMES", "maybe")],
            "cannot parse FAS_CLONE_VOLUMES as boolean: \"maybe\"; expected true, false, 1 or 0",
        ),
        (
            &[("FAS_REGIONS", "iad,o/d")],
            "FAS_REGIONS contains an invalid region: \"o/d\"; expected regions or their aliases, separated by commas. Example: iad,ord",
        ),
        (
            &[("FAS_REGIONS", "iad ord")],
            "FAS_REGIONS contains an invalid region: \"iad ord\"; expected regions or their aliases, separated by commas. Example: iad,ord",
        ),
        (
            &[("FAS_MACHINE_FLOOR", "-1")],
            "FAS_MACHINE_FLOOR must be at least 0 and at most 4294967295: \"-1\". Example: 10",
        ),
        (
            &[("FAS_MACHINE_CEILING", "4294967296")],
            "FAS_MACHINE_CEILING must be at least 1 and at most 4294967295: \"4294967296\". Example: 10",
        ),
        (
            &[("FAS_MACHINE_CEILING", "0")],
            "FAS_MACHINE_CEILING must be at least 1 and at most 4294967295: \"0\". Example: 10",
        ),
        (
            &[("FAS_MACHINE_CEILING", "-1")],
            "FAS_MACHINE_CEILING must be at least 1 and at most 4294967295: \"-1\". Example: 10",
        ),
        (
            &[("FAS_MACHINE_FLOOR", "5"), ("FAS_MACHINE_CEILING", "4")],
            "FAS_MACHINE_FLOOR is above the ceiling of 4: \"5\"",
        ),
        (
            &[
                ("FAS_CREATED_MACHINE_COUNT", ""),
                ("FAS_STARTED_MACHINE_COUNT", "1"),
                ("FAS_MACHINE_FLOOR", "1"),
            ],
            "FAS_MACHINE_FLOOR needs a created machine count: \"1\". Example: FAS_CREATED_MACHINE_COUNT=ceil(queue_depth / 10)",
        ),
        (
            &[
                ("FAS_CREATED_MACHINE_COUNT", ""),
                ("FAS_STARTED_MACHINE_COUNT", "1"),
                ("FAS_MACHINE_CEILING", "1"),
            ],
            "FAS_MACHINE_CEILING needs a created machine count: \"1\". Example: FAS_CREATED_MACHINE_COUNT=ceil(queue_depth / 10)",
        ),
        (
            &[("FAS_SCALE_UP_STEP", "-1")],
            "cannot parse FAS_SCALE_UP_STEP as a step: \"-1\"; expected a number of machines or a share of the current count. \
             Example: 5 or 50%",
        ),
        (
            &[("FAS_SCALE_DOWN_STEP", "1.5%")],
            "cannot parse FAS_SCALE_DOWN_STEP as a step: \"1.5%\"; expected a number of machines or a share of the current \
             count. Example: 5 or 50%",
        ),
        (
            &[("FAS_FALLBACK_STARTED_MACHINE_COUNT", "3")],
            "FAS_FALLBACK_STARTED_MACHINE_COUNT needs a started machine count to stand in for: \"3\". Example: \
             FAS_STARTED_MACHINE_COUNT=ceil(queue_depth / 10)",
        ),
        (
            &[
                ("FAS_CREATED_MACHINE_COUNT", ""),
                ("FAS_STARTED_MACHINE_COUNT", "1"),
                ("FAS_FALLBACK_CREATED_MACHINE_COUNT", "3"),
            ],
            "FAS_FALLBACK_CREATED_MACHINE_COUNT needs a created machine count to stand in for: \"3\". Example: \
             FAS_CREATED_MACHINE_COUNT=ceil(queue_depth / 10)",
        ),
        (
            &[("FAS_FALLBACK_AFTER", "0")],
            "FAS_FALLBACK_AFTER must be at least 1 and at most 4294967295: \"0\". Example: 3",
        ),
        (
            &[("FAS_PROMETHEUS_ADDRESS", "prometheus:9090")],
            "FAS_PROMETHEUS_ADDRESS is not a URL; expected an address that begins with http:// or \
             https://. Example: https://api.fly.io/prometheus/my-org",
        ),
        (
            &[("FAS_PROMETHEUS_ADDRESS", "http://prometheus:99999/x")],
            "FAS_PROMETHEUS_ADDRESS is not a URL; expected a port from 1 to 65535 behind the host. \
             Example: https://api.fly.io/prometheus/my-org",
        ),
        (
            &[(
                "FAS_PROMETHEUS_ADDRESS",
                "me:secret@prometheus/x?token=secret",
            )],
            "FAS_PROMETHEUS_ADDRESS is not a URL; expected an address that begins with \
             http:// or https://. Example: https://api.fly.io/prometheus/my-org",
        ),
        (
            &[("FAS_PROMETHEUS_ADDRESS", "ftp://secret:secret@host")],
            "FAS_PROMETHEUS_ADDRESS is not a URL; expected an address that begins with http:// or https://. \
             Example: https://api.fly.io/prometheus/my-org",
        ),
        (
            &[("FAS_PROMETHEUS_ADDRESS", "http://me:1/secret@host")],
            "FAS_PROMETHEUS_ADDRESS has an @ after its host; expected /, ? and # in a password written as %2F, %3F and %23",
        ),
        (
            &[("FAS_PROMETHEUS_ADDRESS", "http://secret?x:y@host")],
            "FAS_PROMETHEUS_ADDRESS has an @ after its host; expected /, ? and # in a password written as %2F, %3F and %23",
        ),
        (
            &[("FLY_FLAPS_BASE_URL", "http://me:1#secret@host")],
            "FLY_FLAPS_BASE_URL has an @ after its host; expected /, ? and # in a password written as %2F, %3F and %23",
        ),
        (
            &[("FAS_PROMETHEUS_ADDRESS", "http://me:%ff@host")],
            "the user or the password in FAS_PROMETHEUS_ADDRESS cannot be read; expected UTF-8 behind its % signs",
        ),
        (
            &[("FAS_PROMETHEUS_EMPTY_VALUE", "none")],
            "cannot parse FAS_PROMETHEUS_EMPTY_VALUE as a number: \"none\"; expected a finite number. Example: 0",
        ),
        (
            &[("FAS_PROMETHEUS_EMPTY_VALUE", "NaN")],
            "cannot parse FAS_PROMETHEUS_EMPTY_VALUE as a number: \"NaN\"; expected a finite number. Example: 0",
        ),
        (
            &[("FLY_FLAPS_BASE_URL", "api.machines.dev")],
            "FLY_FLAPS_BASE_URL is not a URL; expected an address that begins with http:// or https://. \
             Example: https://api.machines.dev",
        ),
        (
            &[("FLY_API_BASE_URL", "https://me:secret@api.fly.io")],
            "FLY_API_BASE_URL must not contain a user or a password: \"https://\u{2026}@api.fly.io\"",
        ),
        (
            &[("FAS_METRICS_ADDRESS", "9090")],
            "FAS_METRICS_ADDRESS is not an address to listen on: \"9090\"; expected an IP address and a port. Example: \
             [::]:9090, 127.0.0.1:9090 or :9090",
        ),
        (
            &[("FAS_METRICS_ADDRESS", "0.0.0.0:99999")],
            "FAS_METRICS_ADDRESS is not an address to listen on: \"0.0.0.0:99999\"; expected an IP address and a port. Example: \
             [::]:9090, 127.0.0.1:9090 or :9090",
        ),
        (
            &[("FAS_METRICS_ADDRESS", "metrics.internal:9090")],
            "FAS_METRICS_ADDRESS is not an address to listen on: \"metrics.internal:9090\"; expected an IP address and a port. \
             Example: [::]:9090, 127.0.0.1:9090 or :9090",
        ),
        (
            &[
                ("FAS_TEMPORAL_ADDRESS", "localhost:"),
                ("FAS_TEMPORAL_NAMESPACE", "default"),
                ("FAS_TEMPORAL_METRIC_NAME", "workflows"),
            ],
            "FAS_TEMPORAL_ADDRESS is not the address of a Temporal server; expected a port from 1 to 65535 \
             after the host. Example: localhost:7233",
        ),
        (
            &[
                ("FAS_TEMPORAL_ADDRESS", "localhost:7233"),
                ("FAS_TEMPORAL_NAMESPACE", "default"),
                ("FAS_TEMPORAL_METRIC_NAME", "workflows"),
                ("FAS_TEMPORAL_CERT_DATA", "secret"),
            ],
            "FAS_TEMPORAL_CERT_DATA is set, but the key is missing; expected both or neither",
        ),
        (
            &[
                ("FAS_TEMPORAL_ADDRESS", "localhost:7233"),
                ("FAS_TEMPORAL_NAMESPACE", "default"),
                ("FAS_TEMPORAL_METRIC_NAME", "workflows"),
                ("TEMPORAL_TLS_KEY_DATA", "secret"),
            ],
            "TEMPORAL_TLS_KEY_DATA is set, but the certificate is missing; expected both or neither",
        ),
        (
            &[
                ("FAS_TEMPORAL_ADDRESS", "localhost:7233"),
                ("FAS_TEMPORAL_NAMESPACE", "default"),
                ("FAS_TEMPORAL_METRIC_NAME", "queue_depth"),
            ],
            "metric name is already used by FAS_PROMETHEUS_METRIC_NAME: \"queue_depth\"; expected a name for each metric \
             (FAS_TEMPORAL_METRIC_NAME)",
        ),
    ];
    for (changes, expected) in cases {
        let lines = mistakes(changes, None);
        assert_eq!(lines, [*expected], "{changes:?}");
        // The command that sets one is none.
        let told = lines.concat().replace("fly secrets set", "");
        assert!(!told.contains("secret"), "{changes:?}");
    }
}

#[test]
fn a_metrics_name_is_one_that_an_expression_can_use() {
    for name in [
        "queue-depth",
        "2nd",
        "a b",
        "a+b",
        "\u{fc}ber",
        "true",
        "not",
        "in",
    ] {
        let changes = [
            ("FAS_PROMETHEUS_METRIC_NAME", name),
            ("FAS_CREATED_MACHINE_COUNT", "1"),
        ];
        let expected = format!(
            "metric name cannot be used in an expression: {name:?}; expected letters, digits and _, no \
             digit first, and no word of the expression language. Example: queue_depth (FAS_PROMETHEUS_METRIC_NAME)"
        );
        assert_eq!(mistakes(&changes, None), [expected], "{name}");
    }
    for name in ["q", "_q", "Q2", "created_machine_count"] {
        load(
            &[
                ("FAS_PROMETHEUS_METRIC_NAME", name),
                ("FAS_CREATED_MACHINE_COUNT", name),
            ],
            None,
        );
    }
}

#[test]
fn an_expression_that_does_not_compile_is_told_with_its_variable_and_an_indented_diagnostic() {
    for (changes, name) in [
        (
            [("FAS_CREATED_MACHINE_COUNT", "1 +"), ("FAS_ORG", "o")],
            "FAS_CREATED_MACHINE_COUNT",
        ),
        (
            [("FAS_STARTED_MACHINE_COUNT", "nope"), ("FAS_ORG", "o")],
            "FAS_STARTED_MACHINE_COUNT",
        ),
    ] {
        let lines = mistakes(&changes, None);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let mut lines = lines[0].lines();
        assert_eq!(
            lines.next(),
            Some(format!("cannot compile the expression of {name}").as_str())
        );
        assert!(
            lines.next().is_some_and(|line| line.starts_with("    ")),
            "no diagnostic for {name}"
        );
        assert!(
            lines.all(|line| line.starts_with("    ")),
            "not indented for {name}"
        );
    }
    // Without its collector a metric's name is unknown.
    let lines = mistakes(&[("FAS_PROMETHEUS_ADDRESS", "")], None);
    assert!(
        lines[0].starts_with("cannot compile the expression of FAS_CREATED_MACHINE_COUNT\n    "),
        "{lines:?}"
    );
    let lines = mistakes(&[], Some("created-machine-count: nope"));
    let expected = "cannot compile the expression of created-machine-count (created-machine-count, line 1 of fas.yml)\n    ";
    assert!(lines[0].starts_with(expected), "{lines:?}");
}

#[test]
fn a_collector_with_another_mistake_still_lends_its_name_to_the_expressions() {
    assert_eq!(mistakes(&[("FAS_PROMETHEUS_QUERY", "")], None).len(), 1);
}

#[test]
fn several_mistakes_are_told_at_once() {
    let lines = mistakes(
        &[
            ("FAS_APP_NAME", ""),
            ("FAS_API_TOKEN", ""),
            ("FAS_INTERVAL", "15"),
            ("FAS_DRY_RUN", "maybe"),
            ("FAS_PROMETHEUS_QUERY", ""),
        ],
        Some("timeout: 1d\nintervall: 3s\n"),
    );
    assert_eq!(
        lines,
        [
            "unknown key: \"intervall\"; expected a known one; did you mean interval? (line 2, column 1 of fas.yml)",
            "app name required. Example: FAS_APP_NAME=my-app, or in fas.yml app-name: my-app",
            "cannot parse FAS_INTERVAL as duration: \"15\"; expected a unit (ns, us, ms, s, m, h) after each number. Example: \
             15s or 1m30s",
            "cannot parse timeout as duration: \"1d\"; expected a unit (ns, us, ms, s, m, h) after each number, but found \
             \"d\". Example: 15s or 1m30s (timeout, line 1 of fas.yml)",
            "cannot parse FAS_DRY_RUN as boolean: \"maybe\"; expected true, false, 1 or 0",
            "prometheus query required. Example: FAS_PROMETHEUS_QUERY=sum(queue_depth)",
            "api token required. Example: fly secrets set -a my-autoscaler FAS_API_TOKEN=\"$(fly tokens create deploy -a my-app)\"",
        ]
    );
}

#[test]
fn each_of_several_wrong_fields_is_told_as_a_value() {
    let Err(errors) = Config::load(sources(&[("FAS_INTERVAL", "15")], None)) else {
        panic!("accepted")
    };
    let error = errors.iter().next().expect("one mistake");
    assert_eq!(error.place, Place::Variable("FAS_INTERVAL".to_owned()));
    assert_eq!(error.value.as_deref(), Some("15"));
    assert_eq!(error.message, "cannot parse FAS_INTERVAL as duration");
    assert_eq!(
        error.expected.as_deref(),
        Some("a unit (ns, us, ms, s, m, h) after each number")
    );
    assert_eq!(error.example.as_deref(), Some("15s or 1m30s"));
}

#[test]
fn upstreams_messages_are_the_leading_text() {
    let table = include_str!("../../tests/data/config/upstream_messages.tsv");
    for row in table.lines().filter(|row| !row.starts_with('#')) {
        let columns: Vec<&str> = row.split('\t').collect();
        let [settings, upstream, ours] = columns[..] else {
            panic!("{row}")
        };
        let pairs: Vec<(&str, &str)> = settings
            .split(';')
            .map(|pair| pair.split_once('=').expect("NAME=value"))
            .collect();
        let file = pairs
            .iter()
            .find(|(name, _)| *name == "--config")
            .map(|(_, text)| *text);
        let changes: Vec<(&str, &str)> = pairs
            .iter()
            .copied()
            .filter(|(name, _)| *name != "--config")
            .collect();
        let lines: Vec<String> = mistakes(&changes, file)
            .into_iter()
            .filter(|line| !line.starts_with("cannot compile"))
            .collect();
        assert_eq!(lines, [ours], "{settings}");
        let last_part = upstream
            .rsplit_once(": ")
            .map_or(upstream, |(_, part)| part);
        let without_prefix = ours
            .strip_prefix("metric-collectors[0]: ")
            .or(ours.strip_prefix("metric-collectors[1]: "));
        assert!(
            ours.starts_with(upstream) || without_prefix.unwrap_or(ours).starts_with(last_part),
            "{ours} does not begin as upstream's {upstream}"
        );
    }
}

#[test]
fn upstreams_options_are_all_there() {
    let table = include_str!("../../tests/data/config/upstream_options.tsv");
    let or_nothing = |text: &'static str| if text == "-" { "" } else { text };
    let mut listed = BTreeSet::new();
    for row in table.lines().filter(|row| !row.starts_with('#')).skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let [name, key, _, default] = columns[..] else {
            panic!("{row}")
        };
        let variable = VARIABLES
            .iter()
            .find(|variable| {
                if name == "-" {
                    variable.key.to_string() == key
                } else {
                    variable.name == name
                }
            })
            .unwrap_or_else(|| panic!("{name} {key} is missing"));
        assert_eq!(variable.key.to_string(), or_nothing(key), "{name}");
        assert_eq!(variable.default, or_nothing(default), "{name}");
        assert_eq!(variable.origin == Origin::Upstream, name != "-", "{name}");
        listed.insert(variable.name);
    }
    for variable in VARIABLES
        .iter()
        .filter(|variable| variable.origin == Origin::Upstream)
    {
        assert!(
            listed.contains(variable.name),
            "{} is not in the table",
            variable.name
        );
    }
}

#[test]
fn the_file_wins_value_by_value_and_its_collectors_replace_those_of_the_environment() {
    let changes = [
        ("FAS_INTERVAL", "1m"),
        ("FAS_TIMEOUT", "5s"),
        ("FAS_REGIONS", "iad"),
    ];
    let config = load(
        &changes,
        Some("interval: 2m\nregions: [ord]\nprocess-group:\ntimeout: ''\n"),
    );
    assert_eq!(config.fleets[0].policy.interval, Duration::from_secs(120));
    assert_eq!(
        config.fleets[0].policy.timeout,
        Duration::from_secs(5),
        "an empty value in the file is an unset one"
    );
    assert_eq!(config.fleets[0].policy.regions, ["ord"]);
    assert_eq!(config.fleets[0].policy.process_group, "app");
    assert_eq!(
        config.fleets[0].collectors.len(),
        1,
        "a file without collectors leaves the environment's"
    );

    let file = "metric-collectors: [{type: prometheus, metric-name: q, query: up, address: 'http://p:9090'}]\ncreated-machine-count: q\n";
    let config = load(&[], Some(file));
    assert_eq!(config.fleets[0].collectors.len(), 1);
    assert_eq!(config.fleets[0].collectors[0].metric, "q");
    assert_eq!(
        config.warnings,
        [
            "FAS_CREATED_MACHINE_COUNT is ignored, because the file overrides it: created-machine-count, line 2 of fas.yml",
            "FAS_PROMETHEUS_ADDRESS is ignored, because the file has metric-collectors",
        ]
    );

    let config = load(
        &[],
        Some("metric-collectors: []\ncreated-machine-count: 1\n"),
    );
    assert!(config.fleets[0].collectors.is_empty());
    let config = load(&[], Some("metric-collectors:\n"));
    assert_eq!(
        config.fleets[0].collectors.len(),
        1,
        "a key without a value is an unset one"
    );

    // One form in the environment and the other in the file is both forms.
    assert_eq!(
        mistakes(
            &[],
            Some("min-created-machine-count: 1\nmax-created-machine-count: 2")
        ),
        [
            "cannot define created machine count and min/max created machine count; expected one form or the other \
          (min-created-machine-count, line 1 of fas.yml)"
        ]
    );
}

#[test]
fn a_file_takes_values_as_they_are_naturally_written() {
    let file = "concurrency: 4\nmachine-floor: \"2\"\nverbose: on\ndry-run: False\nclone-volumes: 1\nregions: iad, ord\n\
                scale-up-step: 50%\ncreated-machine-count: 3\ninterval: !!str 10s\n";
    let config = load(&[], Some(file));
    assert_eq!(config.concurrency, 4);
    assert_eq!(config.fleets[0].policy.floor, Some(2));
    assert!(config.verbose && !config.api.dry_run && config.fleets[0].policy.clone_volumes);
    assert_eq!(config.fleets[0].policy.regions, ["iad", "ord"]);
    assert_eq!(config.fleets[0].policy.step.up, Some(Step::Percent(50)));
    assert_eq!(
        load(&[], Some("regions:\n  - iad\n  - ord # near\n  -\n")).fleets[0]
            .policy
            .regions,
        ["iad", "ord"]
    );
    assert_eq!(
        load(&[], Some("regions: [$A]")).fleets[0].policy.regions,
        [""; 0]
    );
    assert_eq!(
        load(&[], Some("\u{feff}regions: iad\r\ntimeout: 1s\r\n")).fleets[0]
            .policy
            .regions,
        ["iad"]
    );
    for nothing in ["", "# only a comment\n", "---\n", "{}", "~"] {
        assert_eq!(
            load(&[], Some(nothing)).fleets[0].policy,
            Policy::default(),
            "{nothing:?}"
        );
    }
}

#[test]
fn a_file_that_is_no_configuration_is_refused_with_line_and_column() {
    let deep = format!("x: {}", "[".repeat(100_000));
    let nested = (0..200).fold(String::new(), |text, depth| {
        format!("{text}{}x:\n", " ".repeat(depth))
    });
    let many = format!("x:\n{}", "- x\n".repeat(200_000));
    let cases: &[(&str, &str)] = &[
        (
            "intervall: 3s",
            "unknown key: \"intervall\"; expected a known one; did you mean interval? (line 1, column 1 of fas.yml)",
        ),
        (
            "prometheus-address: x",
            "unknown key: \"prometheus-address\" (line 1, column 1 of fas.yml)",
        ),
        (
            "app_name: x",
            "unknown key: \"app_name\"; expected a known one; did you mean app-name? (line 1, column 1 of fas.yml)",
        ),
        (
            "interval: 1s\n\ninterval: 2s",
            "key given twice, first in line 1: \"interval\" (line 3, column 1 of fas.yml)",
        ),
        (
            "interval: [1s]",
            "the file has the wrong shape here: expected a single value (line 1, column 11 of fas.yml)",
        ),
        (
            "interval: {a: b}",
            "the file has the wrong shape here: expected a single value; put the value in quotes (line 1, column 11 of fas.yml)",
        ),
        (
            "interval:\n  a: b",
            "the file has the wrong shape here: expected a single value (line 2, column 3 of fas.yml)",
        ),
        (
            "a: b: c",
            "the file is not valid YAML: mapping values are not allowed in this context; put the value in quotes (line 1, column 5 of fas.yml)",
        ),
        (
            "created-machine-count: created_machine_count > 100 ? 10 : 2",
            "the file is not valid YAML: mapping values are not allowed in this context; put the value in quotes (line 1, column 57 of fas.yml)",
        ),
        (
            "app-name: *",
            "the file is not valid YAML: while scanning an anchor or alias, did not find expected alphabetic or numeric character; put the value in quotes (line 1, column 11 of fas.yml)",
        ),
        (
            "app-name: *-prod",
            "the file uses an alias (*name) that is not defined; put the value in quotes (line 1, column 11 of fas.yml)",
        ),
        (
            "metric-collectors:\n  - query: {job='x'}",
            "the file has the wrong shape here: expected a single value; put the value in quotes (line 2, column 12 of fas.yml)",
        ),
        (
            "created-machine-count: !(x > 1) ? 1 : 2",
            "the file is not valid YAML: while scanning a block scalar, did not find expected comment or line break; put the value in quotes (line 1, column 28 of fas.yml)",
        ),
        (
            "created-machine-count: @x",
            "the file is not valid YAML: unexpected character: `@'; put the value in quotes (line 1, column 24 of fas.yml)",
        ),
        (
            "regions: {a: b}",
            "the file has the wrong shape here: expected a value or a list of values (line 1, column 10 of fas.yml)",
        ),
        (
            "metric-collectors: {a: b}",
            "the file has the wrong shape here: expected a list (line 1, column 20 of fas.yml)",
        ),
        (
            "interval:\n\t- a",
            "the file is not valid YAML: tabs disallowed within this context (block indentation) (line 2, column 2 of fas.yml)",
        ),
        (
            "interval: 1s\n\ttimeout: 2s",
            "the file is not valid YAML: while scanning a plain scalar, found a tab; a line may begin with spaces, but with no tab (line 2, column 1 of fas.yml)",
        ),
        (
            "metric-collectors:\n  - type: redis\n    metric-name: a\n\t  url: redis://h\n",
            "the file is not valid YAML: while scanning a plain scalar, found a tab; a line may begin with spaces, but with no tab (line 4, column 1 of fas.yml)",
        ),
        (
            "policies:\n  - name: a\n\t- name: b\n",
            "the file is not valid YAML: while scanning a plain scalar, found a tab; a line may begin with spaces, but with no tab (line 3, column 1 of fas.yml)",
        ),
        (
            "interval: 'a",
            "the file is not valid YAML: unclosed quote (line 1, column 11 of fas.yml)",
        ),
        (
            "- a",
            "the file has the wrong shape here: expected keys with values (line 1, column 1 of fas.yml)",
        ),
        (
            "hello",
            "the file has the wrong shape here: expected keys with values (line 1, column 1 of fas.yml)",
        ),
        (
            "metric-collectors: x",
            "the file has the wrong shape here: expected a list (line 1, column 20 of fas.yml)",
        ),
        (
            "metric-collectors:\n  type: prometheus",
            "the file has the wrong shape here: expected a list (line 2, column 3 of fas.yml)",
        ),
        (
            "metric-collectors: [x]",
            "the file has the wrong shape here: expected keys with values (line 1, column 21 of fas.yml)",
        ),
        (
            "interval: *x",
            "the file uses an alias (*name) that is not defined; put the value in quotes (line 1, column 11 of fas.yml)",
        ),
        (
            &deep,
            "the file is not valid YAML: recursion limit exceeded (line 1, column 259 of fas.yml)",
        ),
        (
            &nested,
            "the file is too large or too deeply nested for a configuration (line 17, column 17 of fas.yml)",
        ),
        (
            &many,
            "the file is too large or too deeply nested for a configuration (line 19999, column 3 of fas.yml)",
        ),
    ];
    for (file, expected) in cases {
        let start: String = file.chars().take(60).collect();
        assert_eq!(mistakes(&[], Some(file)), [*expected], "{start}");
    }
}

#[test]
fn aliases_cannot_multiply_a_small_file() {
    let levels = (1..10).map(|level| {
        let inner = format!("*a{}, ", level - 1).repeat(8);
        format!("a{level}: &a{level} [{inner}]\n")
    });
    let file = "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned() + &levels.collect::<String>();
    assert_eq!(
        mistakes(&[], Some(&file)),
        [
            "the file is too large or too deeply nested for a configuration (line 5, column 25 of fas.yml)"
        ]
    );
}

#[test]
fn keys_of_collectors_are_checked_too() {
    let file = "created-machine-count: q\nmetric-collectors:\n  - type: prometheus\n    metric-name: q\n    adress: x\n    query: up\n    query: down\n";
    assert_eq!(
        mistakes(&[], Some(file)),
        [
            "unknown key: \"adress\"; expected a known one; did you mean address? (line 5, column 5 of fas.yml)",
            "key given twice, first in line 6: \"query\" (line 7, column 5 of fas.yml)",
            "metric-collectors[0]: prometheus address required. Example: address: https://api.fly.io/prometheus/my-org \
             (metric-collectors[0], line 3 of fas.yml)",
        ]
    );
}

#[test]
fn lines_are_those_of_the_file_behind_a_value_of_several_lines() {
    let changes = [("CERT", "a\n  b\n  c")];
    let file = "process-group: >\n  $CERT\ninterval: 15\n";
    let lines = mistakes(&changes, Some(file));
    assert!(
        lines[0].ends_with("(interval, line 3 of fas.yml)"),
        "{lines:?}"
    );
}

#[test]
fn variables_in_the_file_are_replaced_before_it_is_parsed() {
    let changes = [
        ("PRIMARY", "ord"),
        ("LIST", "[iad, ord]"),
        ("MORE", "5s\nverbose: true"),
    ];
    assert_eq!(
        load(&changes, Some("regions: [$PRIMARY]")).fleets[0]
            .policy
            .regions,
        ["ord"]
    );
    assert_eq!(
        load(&changes, Some("regions: ${LIST}")).fleets[0]
            .policy
            .regions,
        ["iad", "ord"]
    );
    let config = load(&changes, Some("timeout: $MORE"));
    assert!(config.verbose, "a value is inserted as text");
    let file = "created-machine-count: q\nmetric-collectors: [{type: prometheus, metric-name: q, address: 'http://p', \
                query: 'up{app=\"$APP_NAME\",r=\"$PRIMARY\"} ${APP_NAME} $1 $$'}]";
    let changes = [
        ("PRIMARY", "ord"),
        ("APP_NAME", "wrong"),
        ("FAS_PROMETHEUS_ADDRESS", ""),
        ("FAS_PROMETHEUS_METRIC_NAME", ""),
        ("FAS_PROMETHEUS_QUERY", ""),
        ("FAS_CREATED_MACHINE_COUNT", ""),
    ];
    let config = load(&changes, Some(file));
    assert_eq!(config.warnings, [""; 0]);
    let (_, _, _, query, _) = prometheus(&config);
    assert_eq!(query, "up{app=\"my-app\",r=\"ord\"} my-app $1 $$");
}

#[test]
fn what_is_odd_but_no_mistake_is_a_warning() {
    let cases: &[(&Changes, Option<&str>, &[&str])] = &[
        (
            &[("FAS_INTERVALL", "1s")],
            None,
            &["FAS_INTERVALL: unknown variable, ignored; did you mean FAS_INTERVAL?"],
        ),
        (
            &[("FAS_SOMETHING_QUITE_ELSE", "x")],
            None,
            &["FAS_SOMETHING_QUITE_ELSE: unknown variable, ignored"],
        ),
        (
            &[
                ("FAS_METRIC_COLLECTORS", ""),
                ("fas_interval", "x"),
                ("FASTER", "x"),
            ],
            None,
            &[],
        ),
        (
            &[("FAS_PROMETHEUS_QUERY", "up{region=\"$NOWHERE\"} $APP_NAME")],
            None,
            &[
                "the query of FAS_PROMETHEUS_QUERY uses $NOWHERE, which is not set; it was replaced by an empty string",
            ],
        ),
        (
            &[
                ("FAS_PROMETHEUS_QUERY", "up{r=\"$FAS_MY_REGION\"}"),
                ("FAS_MY_REGION", "ord"),
            ],
            None,
            &[],
        ),
        (
            &[],
            Some("regions: [$NOWHERE]"),
            &["fas.yml uses $NOWHERE, which is not set; it was replaced by an empty string"],
        ),
        (
            &[("FAS_MY_REGION", "ord")],
            Some("regions: [$FAS_MY_REGION]"),
            &[],
        ),
        (
            &[("FAS_TEMPORAL_QUERY", "x")],
            None,
            &["FAS_TEMPORAL_QUERY has no effect without FAS_TEMPORAL_ADDRESS"],
        ),
        (&[("TEMPORAL_TLS_KEY_DATA", "x")], None, &[]),
        (
            &[
                ("FAS_PROMETHEUS_ADDRESS", ""),
                ("FAS_PROMETHEUS_QUERY", ""),
                ("FAS_CREATED_MACHINE_COUNT", "1"),
            ],
            None,
            &["FAS_PROMETHEUS_METRIC_NAME has no effect without FAS_PROMETHEUS_ADDRESS"],
        ),
        (
            &[("FAS_PROMETHEUS_ADDRESS", "")],
            Some(
                "metric-collectors: [{type: prometheus, metric-name: queue_depth, query: up, address: 'http://p', namespace: n}]",
            ),
            &[
                "FAS_PROMETHEUS_METRIC_NAME is ignored, because the file has metric-collectors",
                "FAS_PROMETHEUS_QUERY is ignored, because the file has metric-collectors",
                "metric-collectors[0]: namespace has no effect in a collector of type prometheus",
            ],
        ),
        (
            &[
                ("FAS_PROMETHEUS_ADDRESS", ""),
                ("FAS_PROMETHEUS_QUERY", ""),
                ("FAS_PROMETHEUS_METRIC_NAME", ""),
                ("FAS_PROMETHEUS_EMPTY_VALUE", "0"),
                ("FAS_PROMETHEUS_TOKEN", "FlyV1 fm2_x"),
                ("TEMPORAL_TLS_KEY_DATA", "x"),
            ],
            Some(
                "metric-collectors: [{type: prometheus, metric-name: queue_depth, query: up, address: 'http://p', token: $FAS_PROMETHEUS_TOKEN}]",
            ),
            &["FAS_PROMETHEUS_EMPTY_VALUE is ignored, because the file has metric-collectors"],
        ),
    ];
    for (changes, file, expected) in cases {
        assert_eq!(warnings(changes, *file), *expected, "{changes:?} {file:?}");
    }
}

#[test]
fn nothing_is_written_where_either_place_asks_for_a_dry_run() {
    for (variable, file, expected) in [
        ("true", "dry-run: false", true),
        ("false", "dry-run: true", true),
        ("1", "dry-run: off", true),
        ("false", "dry-run: false", false),
    ] {
        let config = load(&[("FAS_DRY_RUN", variable)], Some(file));
        assert_eq!(config.api.dry_run, expected, "{variable}, {file}");
    }
}

#[test]
fn a_variable_that_the_file_overrules_is_told() {
    let cases: &[(&Changes, &str, &[&str])] = &[
        (
            &[("FAS_DRY_RUN", "true"), ("FAS_MACHINE_CEILING", "5")],
            "interval: 5s\ndry-run: false\nmachine-ceiling: 50",
            &[
                "FAS_MACHINE_CEILING is ignored, because the file overrides it: machine-ceiling, line 3 of fas.yml",
                "FAS_DRY_RUN overrides the file: dry-run, line 2 of fas.yml",
            ],
        ),
        // Said twice, or taken from there, or not said in the file at all.
        (&[("FAS_DRY_RUN", "true")], "dry-run: true", &[]),
        (&[("FAS_INTERVAL", "5s")], "interval: ${FAS_INTERVAL}", &[]),
        (&[("FAS_DRY_RUN", "true")], "dry-run:", &[]),
        (
            &[("FAS_DRY_RUN", "false")],
            "dry-run: true",
            &["FAS_DRY_RUN is ignored, because the file overrides it: dry-run, line 1 of fas.yml"],
        ),
        (
            &[("FAS_API_TOKEN", "FlyV1 fm2_a")],
            "api-token: FlyV1 fm2_b",
            &[
                "FAS_API_TOKEN is ignored, because the file overrides it: api-token, line 1 of fas.yml",
            ],
        ),
    ];
    for (changes, file, expected) in cases {
        assert_eq!(
            warnings(changes, Some(file)),
            *expected,
            "{changes:?} {file}"
        );
    }
}

#[test]
fn settings_without_effect_are_told() {
    let cases: &[(&Changes, &[&str])] = &[
        (
            &[("FAS_FALLBACK_AFTER", "5")],
            &[
                "FAS_FALLBACK_AFTER has no effect without FAS_FALLBACK_CREATED_MACHINE_COUNT or FAS_FALLBACK_STARTED_MACHINE_COUNT",
            ],
        ),
        (
            &[
                ("FAS_FALLBACK_AFTER", "5"),
                ("FAS_FALLBACK_CREATED_MACHINE_COUNT", "2"),
            ],
            &[],
        ),
        (
            &[("FAS_ORG", "acme")],
            &["FAS_ORG has no effect without a * in the app name"],
        ),
        (&[("FAS_ORG", "acme"), ("FAS_APP_NAME", "my-*")], &[]),
        (
            &[("FAS_REGIONS", " , ")],
            &["FAS_REGIONS names no region and is treated as unset"],
        ),
        (
            &[("FAS_REGIONS", "iad,iadd,us,iadd,ORD,zzz")],
            &[
                "FAS_REGIONS contains iadd, a region unknown to fly-autoscaler; did you mean iad?: it is used as it stands, so if it is misspelt, creates fail there; the names are in: fly platform regions",
                "FAS_REGIONS contains ORD, a region unknown to fly-autoscaler; did you mean ord?: it is used as it stands, so if it is misspelt, creates fail there; the names are in: fly platform regions",
                "FAS_REGIONS contains zzz, a region unknown to fly-autoscaler: it is used as it stands, so if it is misspelt, creates fail there; the names are in: fly platform regions",
            ],
        ),
    ];
    for (changes, expected) in cases {
        assert_eq!(warnings(changes, None), *expected, "{changes:?}");
    }
}

#[test]
fn an_address_of_prometheus_with_the_path_of_a_query_is_told() {
    let told = |address: &str| warnings(&[("FAS_PROMETHEUS_ADDRESS", address)], None);
    for (address, end, right) in [
        (
            "http://p:9090/api/v1/query",
            "/api/v1/query",
            "http://p:9090",
        ),
        ("http://p:9090/api/v1/", "/api/v1", "http://p:9090"),
        (
            "https://u:pass@h/prometheus/acme/api/v1/query?x=secret",
            "/api/v1/query",
            "https://h/prometheus/acme",
        ),
        (
            "http://p/api/v1/query_range",
            "/api/v1/query_range",
            "http://p",
        ),
    ] {
        let expected = format!(
            "FAS_PROMETHEUS_ADDRESS ends in {end}, but /api/v1/query is appended to it; it should probably be {right}"
        );
        assert_eq!(told(address), [expected]);
    }
    for address in [
        "http://p:9090",
        "https://h/prometheus/acme",
        "http://h/api/v1/x",
    ] {
        assert_eq!(told(address), [""; 0], "{address}");
    }
}

#[test]
fn white_space_around_a_value_is_no_part_of_it() {
    let config = load(
        &[
            ("FAS_APP_NAME", " my-app\n"),
            ("FAS_API_TOKEN", "FlyV1 fm2_a, \n fm2_b\n"),
            ("FAS_PROMETHEUS_TOKEN", "token\n"),
            ("FAS_INTERVAL", " 20s "),
            ("FAS_ORG", " \n"),
            ("FAS_PROMETHEUS_QUERY", " up \n"),
        ],
        None,
    );
    assert_eq!(config.fleets[0].apps.pattern.as_str(), "my-app");
    assert_eq!(config.fleets[0].apps.org, None);
    assert_eq!(
        config.api.token.as_ref().map(ExposeSecret::expose_secret),
        Some("FlyV1 fm2_a,fm2_b")
    );
    let (_, _, token, query, _) = prometheus(&config);
    assert_eq!((token, query.as_str()), (Some("token"), "up"));
    assert_eq!(config.fleets[0].policy.interval, Duration::from_secs(20));
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    for variable in VARIABLES {
        let required = VALID.iter().any(|(name, _)| *name == variable.name);
        if !required {
            let config = load(&[(variable.name, "")], None);
            assert_eq!(
                config.fleets[0].policy,
                Policy::default(),
                "{}",
                variable.name
            );
            assert_eq!(config.warnings, [""; 0], "{}", variable.name);
        }
    }
}

#[test]
fn less_than_one_pass_at_a_time_counts_as_one() {
    for (text, expected) in [
        ("0", 1),
        ("-5", 1),
        ("-99999999999999999999", 1),
        ("+3", 3),
        ("10000", 10_000),
    ] {
        assert_eq!(
            load(&[("FAS_CONCURRENCY", text)], None).concurrency,
            expected,
            "{text}"
        );
    }
}

#[test]
fn metrics_listen_where_they_are_told() {
    let cases: &[(&str, &str, bool)] = &[
        (":9090", "[::]:9090", true),
        (":0", "[::]:0", true),
        ("[::]:9191", "[::]:9191", false),
        ("[::1]:80", "[::1]:80", false),
        ("0.0.0.0:9090", "0.0.0.0:9090", false),
        ("localhost:9090", "127.0.0.1:9090", false),
    ];
    for (text, socket, may_fall_back) in cases {
        let address = load(&[("FAS_METRICS_ADDRESS", text)], None).metrics_address;
        assert_eq!(
            (address.socket.to_string().as_str(), address.may_fall_back),
            (*socket, *may_fall_back),
            "{text}"
        );
    }
}

#[test]
fn the_user_in_prometheus_address_is_taken_out_and_the_rest_is_kept() {
    let cases: &[(&str, &str, Option<&str>)] = &[
        ("http://p:9090", "http://p:9090/", None),
        ("https://p/a/b/", "https://p/a/b/", None),
        ("https://p/a?x=1&y=2", "https://p/a?x=1&y=2", None),
        ("https://p/a#part", "https://p/a", None),
        (
            "http://me:word@p:9090/a",
            "http://p:9090/a",
            Some("me:word"),
        ),
        ("http://me@p", "http://p/", Some("me:")),
        ("http://:word@p", "http://p/", Some(":word")),
        (
            "http://m%40e:w%3Ao%2Frd%25@p",
            "http://p/",
            Some("m@e:w:o/rd%"),
        ),
        ("http://me:a@b@p", "http://p/", Some("me:a@b")),
        ("http://me:100%@p", "http://p/", Some("me:100%")),
        ("HTTP://P", "http://p/", None),
    ];
    for (text, expected, user) in cases {
        let config = load(&[("FAS_PROMETHEUS_ADDRESS", text)], None);
        let (address, basic, ..) = prometheus(&config);
        assert_eq!((address.as_str(), basic), (*expected, *user), "{text}");
    }
}

#[test]
fn temporals_address_is_a_host_and_a_port_or_a_url() {
    let changes = |address| {
        [
            ("FAS_TEMPORAL_ADDRESS", address),
            ("FAS_TEMPORAL_NAMESPACE", "n"),
            ("FAS_TEMPORAL_METRIC_NAME", "w"),
        ]
    };
    for address in [
        "localhost:7233",
        "10.0.0.1:7233",
        "[::1]:7233",
        "a.tmprl.cloud:443",
        "https://a.tmprl.cloud",
        "http://t:80",
        "HTTP://t:80",
        "dns:///t:80",
        "t:80",
        "t",
    ] {
        assert_eq!(mistakes(&changes(address), None), [""; 0], "{address}");
    }
    for address in [
        "localhost:",
        ":7233",
        "grpc://t:7233",
        "t:99999",
        "t:7233/path",
        "https://me:secret@t:1",
        "t:7233?x",
    ] {
        let lines = mistakes(&changes(address), None);
        assert_eq!(lines.len(), 1, "{address}: {lines:?}");
        assert!(!lines[0].contains("secret"), "{lines:?}");
    }
}

#[test]
fn a_web_server_is_asked_for_what_the_environment_says() {
    let config = load(
        &[
            ("FAS_HTTP_URL", "http://$HOST/$APP_NAME?key=$KEY"),
            ("FAS_HTTP_METRIC_NAME", "jobs"),
            ("FAS_HTTP_VALUE", "$.depth['$PROCESS_GROUP']"),
            ("FAS_HTTP_TOKEN", "jobs-reader"),
            ("FAS_HTTP_EMPTY_VALUE", "0"),
            ("FAS_CREATED_MACHINE_COUNT", "queue_depth + jobs"),
            ("FAS_PROCESS_GROUP", "worker"),
            ("HOST", "app.internal:8080"),
            ("KEY", "k3y-of-jobs"),
        ],
        None,
    );
    assert_eq!(config.warnings, [""; 0]);
    let jobs = &config.fleets[0].collectors[1];
    assert_eq!(
        (jobs.metric.as_str(), jobs.kind()),
        ("jobs", CollectorKind::Http)
    );
    assert_eq!(jobs.query("a"), "$.depth['worker']");
    assert_eq!(jobs.address("a"), "http://app.internal:8080/a?\u{2026}");
    assert_eq!(jobs.empty_value(), Some(0.0));
    let CollectorSource::Http { url, token, .. } = &jobs.source else {
        panic!("an HTTP collector");
    };
    assert_eq!(
        url.render("a"),
        "http://app.internal:8080/a?key=k3y-of-jobs"
    );
    let token = token.as_ref().map(ExposeSecret::expose_secret);
    assert_eq!(token, Some("jobs-reader"));
    let shown = config.secrets.hide("k3y-of-jobs jobs-reader");
    assert_eq!(shown, "*** ***");
}

#[test]
fn a_secret_around_what_is_filled_in_is_hidden() {
    for (address, secret) in [
        ("http://h/?sig=$APP_NAME.k3ysecr", "my-app.k3ysecr"),
        ("http://me:$APP_NAME-k3ysecr@h/", "my-app-k3ysecr"),
        ("http://me:k3ysecr-${PROCESS_GROUP}@h/", "k3ysecr-app"),
        ("http://me:$APP_NAME-$K@h/", "my-app-k3ysecr"),
        ("http://$APP_NAME-k3ysecr@h/", "my-app-k3ysecr"),
    ] {
        let config = load(
            &[
                ("K", "k3ysecr"),
                ("FAS_HTTP_URL", address),
                ("FAS_HTTP_METRIC_NAME", "jobs"),
            ],
            None,
        );
        let shown = config.secrets.hide(&format!("you sent {secret}, my-app"));
        assert!(shown.starts_with("you sent "), "{address}: {shown}");
        assert!(shown.ends_with(", my-app"), "{address}: {shown}");
        assert!(!shown.contains("k3y"), "{address}: {shown}");
    }
}

#[test]
fn what_a_web_server_cannot_be_asked_is_told() {
    let path = "expected a path as RFC 9535 has it, without match() and search(). Example: $.queues.default";
    let cases: &[(&Changes, &str, &str)] = &[
        (
            &[("FAS_HTTP_URL", "app.internal/queues")],
            "FAS_HTTP_URL is not a URL; ",
            "expected an address that begins with http:// or https://. Example: https://my-app.internal/queues",
        ),
        (
            &[("FAS_HTTP_URL", "-u u:hunter22secret http://h/")],
            "FAS_HTTP_URL is not a URL; expected ",
            "an address that begins with http:// or https://. Example: https://my-app.internal/queues",
        ),
        (
            &[("FAS_HTTP_URL", "http://a"), ("FAS_HTTP_VALUE", "$.a[")],
            "FAS_HTTP_VALUE is no JSONPath: ",
            path,
        ),
        (
            &[("FAS_HTTP_URL", "http://a"), ("FAS_HTTP_VALUE", "$..a..b")],
            "FAS_HTTP_VALUE looks at too many places: it has `..` more than once: ",
            "expected a path that names what is on the way. Example: $.queues.default",
        ),
        (
            &[
                ("FAS_HTTP_URL", "http://a"),
                ("FAS_HTTP_VALUE", "$.a[?match(@.b, 'c')]"),
            ],
            "FAS_HTTP_VALUE is no JSONPath: ",
            path,
        ),
        (
            &[
                ("FAS_HTTP_URL", "http://a"),
                ("FAS_HTTP_VALUE", "$.a['$FAS_API_TOKEN']"),
            ],
            "the path of FAS_HTTP_VALUE expands $FAS_API_TOKEN, which holds a secret; ",
            "what they hold is sent to the metrics server",
        ),
        (
            &[
                ("FAS_HTTP_URL", "http://a"),
                ("FAS_HTTP_VALUE", "$.a['$PROCESS_GROUP']"),
                ("FAS_PROCESS_GROUP", "*"),
            ],
            "the path of FAS_HTTP_VALUE uses $PROCESS_GROUP, but FAS_PROCESS_GROUP is *: all groups; ",
            "expected one group",
        ),
    ];
    for (changes, begins, ends) in cases {
        let mut changes = changes.to_vec();
        changes.push(("FAS_HTTP_METRIC_NAME", "jobs"));
        let lines = mistakes(&changes, None);
        assert!(
            lines.len() == 1 && lines[0].starts_with(begins) && lines[0].ends_with(ends),
            "{lines:?}"
        );
    }
}

#[test]
fn headers_are_checked_and_their_values_not_shown() {
    let file = |headers: &str| {
        format!(
            "metric-collectors:\n- {{type: http, metric-name: queue_depth, url: 'http://a', token: t0ken-t0ken, headers: {{{headers}}}}}\n"
        )
    };
    for (headers, expected) in [
        (
            "Host: my-host",
            "metric-collectors[0].headers.Host is a header that is not yours to set",
        ),
        (
            "'a b': c",
            "metric-collectors[0].headers.a b is not the name of a header",
        ),
        (
            "X-A: s3cret, x-a: s3cret",
            "metric-collectors[0].headers.x-a is given twice",
        ),
        (
            "authorization: s3cret",
            "metric-collectors[0].headers.authorization is set beside a token",
        ),
        (
            "\"x\": \"s3cret\\ns3cret\"",
            "metric-collectors[0].headers.x contains a character that is invalid in a header",
        ),
    ] {
        let lines = mistakes(&[], Some(&file(headers)));
        assert!(
            lines.len() == 1 && lines[0].starts_with(expected),
            "{lines:?}"
        );
        assert!(!lines[0].contains("s3cret"), "{lines:?}");
    }
    assert_eq!(mistakes(&[], Some(&file("X-A: s3cret, X-B:"))), [""; 0]);
}

#[test]
fn a_command_of_redis_reads_and_has_its_arguments() {
    let settings = |command: &'static str| {
        [
            ("FAS_REDIS_URL", "redis://:s3cret@h/1"),
            ("FAS_REDIS_METRIC_NAME", "depth"),
            ("FAS_REDIS_COMMAND", command),
            ("FAS_CREATED_MACHINE_COUNT", "queue_depth + depth"),
            ("QUEUE", "a b"),
        ]
    };
    let cases = [
        ("llen queue:$APP_NAME", "LLEN queue:a"),
        ("LLEN $QUEUE", "LLEN \"a b\""),
        ("HGET '$APP_NAME x' $PROCESS_GROUP", "HGET \"a x\" app"),
        ("ZCOUNT schedule -inf +inf", "ZCOUNT schedule -inf +inf"),
        ("DBSIZE", "DBSIZE"),
        ("EXISTS a b c", "EXISTS a b c"),
    ];
    for (command, shown) in cases {
        let config = load(&settings(command), None);
        assert_eq!(
            config.fleets[0].collectors[1].query("a"),
            shown,
            "{command}"
        );
        assert_eq!(config.warnings, [""; 0], "{command}");
    }
    let reads = "expected one that only reads: DBSIZE, EXISTS, GET, HGET, HLEN, LLEN, PFCOUNT, SCARD, STRLEN, XLEN, ZCARD, ZCOUNT";
    let refused = [
        ("DEL a", format!("is no command that may be asked: \"DEL\"; {reads}")),
        ("LPOP a", format!("is no command that may be asked: \"LPOP\"; {reads}")),
        ("AUTH hunter2", format!("is no command that may be asked: \"AUTH\"; {reads}")),
        ("EVAL x 0", format!("is no command that may be asked: \"EVAL\"; {reads}")),
        ("LLEN", "has 0 arguments: \"LLEN\"; expected 1".to_owned()),
        ("LLEN a b", "has 2 arguments: \"LLEN a b\"; expected 1".to_owned()),
        ("DBSIZE a", "has 1 arguments: \"DBSIZE a\"; expected none".to_owned()),
        ("EXISTS", "has 0 arguments: \"EXISTS\"; expected at least 1".to_owned()),
        (
            "GET 'a",
            "has an open quote: \"GET\"; expected a closing quote, with white space or nothing behind it".to_owned(),
        ),
    ];
    for (command, expected) in refused {
        let lines = mistakes(&settings(command), None);
        let expected = format!("FAS_REDIS_COMMAND {expected}. Example: LLEN queue:default");
        assert_eq!(lines, [expected], "{command}");
    }
    let lines = mistakes(&settings("GET $FAS_API_TOKEN"), None);
    let expected =
        "the command of FAS_REDIS_COMMAND expands $FAS_API_TOKEN, which holds a secret; ";
    assert!(
        lines.len() == 1 && lines[0].starts_with(expected),
        "{lines:?}"
    );
}

#[test]
fn a_variable_that_is_not_set_leaves_no_hole_in_what_other_servers_are_asked() {
    let refused = |what: &str, name: &str, line: &str| {
        format!(
            "the {what} uses ${name}, which is not set; expected variables that are set: with a hole in it, it asks for \
             something else{line}"
        )
    };
    let of_environment = [
        ("FAS_REDIS_URL", "redis://h"),
        ("FAS_REDIS_METRIC_NAME", "jobs"),
        ("FAS_REDIS_COMMAND", "LLEN queue:$NOPE"),
        ("FAS_POSTGRES_URL", "postgres://me:s3cret@h/d"),
        ("FAS_POSTGRES_METRIC_NAME", "rows"),
        ("FAS_POSTGRES_QUERY", "SELECT a FROM b WHERE c = '${NOPE}'"),
        ("FAS_HTTP_URL", "http://h/"),
        ("FAS_HTTP_METRIC_NAME", "depth"),
        ("FAS_HTTP_VALUE", "$.depth['$NOPE']"),
    ];
    assert_eq!(
        mistakes(&of_environment, None),
        [
            refused("path of FAS_HTTP_VALUE", "NOPE", ""),
            refused("command of FAS_REDIS_COMMAND", "NOPE", ""),
            refused("query of FAS_POSTGRES_QUERY", "NOPE", ""),
        ]
    );
    let file = "
metric-collectors:
  - {type: prometheus, metric-name: load, address: 'http://h', query: 'up{a=\"$NOPE\"}'}
policies:
  - created-machine-count: load
  - process-group: worker
    created-machine-count: jobs + rows
    # Not $COMMENTED.
    metric-collectors:
      - {type: redis, metric-name: jobs, url: 'redis://h', command: 'LLEN queue:$NOPE:$SET'}
      - type: postgres
        metric-name: rows
        url: postgres://me:s3cret@h/$NOPE
        query: |
          SELECT a FROM b
          WHERE c = '$OTHER'
";
    let changes = [("SET", "x"), ("FAS_CREATED_MACHINE_COUNT", "")];
    let item = "policies[1].metric-collectors";
    assert_eq!(
        mistakes(&changes, Some(file)),
        [
            refused(
                &format!("command of {item}[0].command"),
                "NOPE",
                &format!(" ({item}[0].command, line 10 of fas.yml)")
            ),
            refused(
                &format!("query of {item}[1].query"),
                "OTHER",
                &format!(" ({item}[1].query, line 15 of fas.yml)")
            ),
            refused(
                &format!("address of {item}[1].url"),
                "NOPE",
                &format!(" ({item}[1].url, line 13 of fas.yml)")
            ),
        ]
    );
    let changes = [&changes[..], &[("NOPE", "n"), ("OTHER", "o")]].concat();
    let config = load(&changes, Some(file));
    assert_eq!(config.fleets[1].collectors[0].query("a"), "LLEN queue:n:x");
}

#[test]
fn a_statement_is_one_and_reads() {
    let settings = |query: &'static str| {
        [
            (
                "FAS_POSTGRES_URL",
                "postgres://me:s3cret@h/d?sslmode=require&pool=5",
            ),
            ("FAS_POSTGRES_METRIC_NAME", "depth"),
            ("FAS_POSTGRES_QUERY", query),
            ("FAS_CREATED_MACHINE_COUNT", "queue_depth + depth"),
        ]
    };
    let config = load(
        &settings("SELECT count(*) FROM jobs WHERE app = '$APP_NAME';"),
        None,
    );
    assert_eq!(
        config.fleets[0].collectors[1].query("a"),
        "SELECT count(*) FROM jobs WHERE app = 'a';"
    );
    assert_eq!(
        config.warnings,
        ["FAS_POSTGRES_URL: the parameter pool is not used"]
    );
    for (query, expected) in [
        (
            "SELECT 1; DELETE FROM jobs",
            "has more than one statement: \"SELECT 1; DELETE FROM jobs\"; expected one statement",
        ),
        (
            "DELETE FROM jobs",
            "is no statement that reads: \"DELETE FROM jobs\"; expected SELECT, WITH, VALUES, TABLE or SHOW",
        ),
        (
            "SELECT 'a",
            "has an open quote or comment: \"SELECT 'a\"; expected a closing quote or comment",
        ),
    ] {
        let lines = mistakes(&settings(query), None);
        let expected = format!(
            "FAS_POSTGRES_QUERY {expected}. Example: SELECT count(*) FROM jobs WHERE state = 'available'"
        );
        assert_eq!(lines, [expected], "{query}");
    }
}

#[test]
fn servers_need_what_they_are_asked_and_where() {
    let cases: &[(&Changes, &[&str])] = &[
        (
            &[("FAS_REDIS_URL", "redis://h")],
            &[
                "metric name required. Example: FAS_REDIS_METRIC_NAME=queue_depth",
                "redis command required. Example: FAS_REDIS_COMMAND=LLEN queue:default",
            ],
        ),
        (
            &[
                ("FAS_REDIS_URL", "me:hunter2@h"),
                ("FAS_REDIS_METRIC_NAME", "q"),
                ("FAS_REDIS_COMMAND", "LLEN a"),
            ],
            &[
                "FAS_REDIS_URL is not the address of a Redis server; expected an address that begins with \
                 redis:// or rediss://. Example: redis://default:password@my-redis.internal:6379/0",
            ],
        ),
        (
            &[
                ("FAS_POSTGRES_URL", "postgres://me@h"),
                ("FAS_POSTGRES_METRIC_NAME", "q"),
            ],
            &[
                "postgres query required. Example: FAS_POSTGRES_QUERY=SELECT count(*) FROM jobs WHERE state = 'available'",
            ],
        ),
        (
            &[
                ("FAS_POSTGRES_URL", "postgres://me:hunter2@h?sslmode=maybe"),
                ("FAS_POSTGRES_METRIC_NAME", "q"),
                ("FAS_POSTGRES_QUERY", "SELECT 1"),
            ],
            &[
                "FAS_POSTGRES_URL is not the address of a Postgres server; expected one of these as \
                 sslmode: disable, prefer, require, verify-full. Example: \
                 postgres://user:password@my-db.internal:5432/my_app?sslmode=disable",
            ],
        ),
    ];
    for (changes, expected) in cases {
        assert_eq!(mistakes(changes, None), *expected, "{changes:?}");
    }
    let ignored = warnings(
        &[
            ("FAS_REDIS_COMMAND", "LLEN a"),
            ("FAS_POSTGRES_QUERY", "SELECT 1"),
        ],
        None,
    );
    assert_eq!(
        ignored,
        [
            "FAS_REDIS_COMMAND has no effect without FAS_REDIS_URL",
            "FAS_POSTGRES_QUERY has no effect without FAS_POSTGRES_URL",
        ]
    );
}

#[test]
fn every_setting_for_a_queue_in_the_readme_is_accepted() {
    let mut queues = 0;
    for row in readme("Queues").lines() {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [name, settings, _] = cells[..] else {
            continue;
        };
        let written = settings.trim_matches('`').split("`, `");
        let mut changes: Vec<(&str, &str)> = written
            .filter_map(|setting| setting.strip_suffix('"')?.split_once(" = \""))
            .collect();
        if changes.is_empty() {
            continue;
        }
        queues += 1;
        for (kind, place, url) in [
            ("FAS_HTTP_", "FAS_HTTP_URL", "http://h"),
            ("FAS_REDIS_", "FAS_REDIS_URL", "redis://h"),
            ("FAS_POSTGRES_", "FAS_POSTGRES_URL", "postgres://me@h/d"),
            ("FAS_TEMPORAL_", "FAS_TEMPORAL_ADDRESS", "t:7233"),
        ] {
            if !changes.iter().any(|(name, _)| name.starts_with(kind)) {
                continue;
            }
            if !changes.iter().any(|(name, _)| *name == place) {
                changes.push((place, url));
            }
            changes.push((&*format!("{kind}METRIC_NAME").leak(), "jobs"));
        }
        changes.extend([
            ("FAS_TEMPORAL_NAMESPACE", "n"),
            ("RABBITMQ_PASSWORD", "s3cret"),
        ]);
        assert_eq!(mistakes(&changes, None), [""; 0], "{name}");
    }
    assert_eq!(queues, 9);
}

#[test]
fn a_password_that_a_variable_brings_into_an_address_is_a_secret() {
    let config = load(
        &[
            ("FAS_REDIS_URL", "redis://default:$REDIS_PASSWORD@h"),
            ("FAS_REDIS_METRIC_NAME", "q"),
            ("FAS_REDIS_COMMAND", "LLEN a"),
            ("FAS_CREATED_MACHINE_COUNT", "queue_depth + q"),
            ("REDIS_PASSWORD", "s3cret-of-redis"),
        ],
        None,
    );
    assert_eq!(config.secrets.hide("x s3cret-of-redis"), "x ***");
    assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
    let CollectorSource::Redis { url, .. } = &config.fleets[0].collectors[1].source else {
        panic!("a Redis collector");
    };
    assert_eq!(url.render("a"), "redis://default:s3cret-of-redis@h");

    // What no variable has for a name is a part of the password, and not told.
    let config = load(
        &[
            ("FAS_REDIS_URL", "redis://default:pa$s3cret@h"),
            ("FAS_REDIS_METRIC_NAME", "q"),
            ("FAS_REDIS_COMMAND", "LLEN a"),
            ("FAS_CREATED_MACHINE_COUNT", "queue_depth + q"),
        ],
        None,
    );
    let warning =
        "FAS_REDIS_URL has a $ with a name behind it that no variable has: it stays as it is";
    assert_eq!(config.warnings, [warning]);
    assert_eq!(config.secrets.hide("x pa$s3cret"), "x ***");
    let CollectorSource::Redis { url, .. } = &config.fleets[0].collectors[1].source else {
        panic!("a Redis collector");
    };
    assert_eq!(url.render("a"), "redis://default:pa$s3cret@h");
}

#[test]
fn further_queries_of_prometheus_are_metrics_of_their_own() {
    let config = load(
        &[
            (
                "FAS_PROMETHEUS_QUERY_LATENCY",
                "max(latency{app='$APP_NAME'})",
            ),
            ("FAS_PROMETHEUS_QUERY_errors", "sum(errors)"),
            ("FAS_PROMETHEUS_TOKEN", "reader"),
            ("FAS_PROMETHEUS_EMPTY_VALUE", "3"),
            (
                "FAS_CREATED_MACHINE_COUNT",
                "queue_depth + latency + errors",
            ),
        ],
        None,
    );
    assert_eq!(config.warnings, [""; 0]);
    let all: Vec<_> = config.fleets[0]
        .collectors
        .iter()
        .map(|one| (one.metric.as_str(), one.query("a"), one.empty_value()))
        .collect();
    let expected = [
        ("queue_depth", "sum(queue_depth)"),
        ("latency", "max(latency{app='a'})"),
        ("errors", "sum(errors)"),
    ];
    assert_eq!(
        all,
        expected.map(|(metric, query)| (metric, query.to_owned(), Some(3.0)))
    );

    // The two settings without a name may be missing then.
    let alone: &Changes = &[
        ("FAS_PROMETHEUS_METRIC_NAME", ""),
        ("FAS_PROMETHEUS_QUERY", ""),
        ("FAS_PROMETHEUS_QUERY_DEPTH", "up"),
        ("FAS_CREATED_MACHINE_COUNT", "depth"),
    ];
    assert_eq!(load(alone, None).fleets[0].collectors.len(), 1);
    let lines = mistakes(&alone[1..], None);
    let expected = "prometheus query required. Example: FAS_PROMETHEUS_QUERY=sum(queue_depth)";
    assert_eq!(lines, [expected], "only both of them");
}

#[test]
fn a_further_query_that_cannot_be_asked_is_told_once() {
    let cases: &[(&Changes, &str)] = &[
        (
            &[("FAS_PROMETHEUS_QUERY_2ND", "up")],
            "metric name cannot be used in an expression: \"2nd\"; expected letters, digits and _, no digit first, and no word \
             of the expression language. Example: queue_depth (FAS_PROMETHEUS_QUERY_2ND)",
        ),
        (
            &[("FAS_PROMETHEUS_QUERY_QUEUE_DEPTH", "up")],
            "metric name is already used by FAS_PROMETHEUS_METRIC_NAME: \"queue_depth\"; expected a name for each metric \
             (FAS_PROMETHEUS_QUERY_QUEUE_DEPTH)",
        ),
        // The one address that they share is wrong once.
        (
            &[
                ("FAS_PROMETHEUS_QUERY_A", "up"),
                ("FAS_PROMETHEUS_QUERY_B", "up"),
                ("FAS_PROMETHEUS_ADDRESS", "p:9090"),
            ],
            "FAS_PROMETHEUS_ADDRESS is not a URL; expected an address that begins with http:// or https://. \
             Example: https://api.fly.io/prometheus/my-org",
        ),
        (
            &[("FAS_PROMETHEUS_QUERY_A", "up{t='$FAS_API_TOKEN'}")],
            "the query of FAS_PROMETHEUS_QUERY_A expands $FAS_API_TOKEN, which holds a secret; expected variables without \
             secrets: what they hold is sent to the metrics server",
        ),
        (
            &[("FAS_PROMETHEUS_QUERY_A", "fm2_lJPECAAAAAAAAZVExBBxyz")],
            "FAS_PROMETHEUS_QUERY_A holds what looks like a Fly token; expected tokens only in FAS_API_TOKEN and \
             FAS_PROMETHEUS_TOKEN",
        ),
    ];
    for (changes, expected) in cases {
        assert_eq!(mistakes(changes, None), [*expected], "{changes:?}");
    }
    let ignored = warnings(
        &[
            ("FAS_PROMETHEUS_ADDRESS", ""),
            ("FAS_PROMETHEUS_METRIC_NAME", ""),
            ("FAS_PROMETHEUS_QUERY", ""),
            ("FAS_PROMETHEUS_QUERY_A", "up"),
            ("FAS_PROMETHEUS_QUERY_", "up"),
            ("FAS_CREATED_MACHINE_COUNT", "1"),
        ],
        None,
    );
    assert_eq!(
        ignored,
        [
            "FAS_PROMETHEUS_QUERY_: unknown variable, ignored; did you mean FAS_PROMETHEUS_QUERY?",
            "FAS_PROMETHEUS_QUERY_A has no effect without FAS_PROMETHEUS_ADDRESS",
        ]
    );
}

#[test]
fn the_group_is_a_name_in_queries_and_nowhere_else() {
    let query = |changes: &[(&str, &str)], file: Option<&str>| {
        let config = load(changes, file);
        config.fleets[0].collectors[0].query("a")
    };
    let in_query = (
        "FAS_PROMETHEUS_QUERY",
        "up{g='$PROCESS_GROUP',a='$APP_NAME'}",
    );
    // A variable of that name is something else.
    let other = ("PROCESS_GROUP", "other");
    assert_eq!(query(&[in_query, other], None), "up{g='app',a='a'}");
    let group = ("FAS_PROCESS_GROUP", "worker");
    assert_eq!(query(&[in_query, group], None), "up{g='worker',a='a'}");
    let file = "process-group: web\nmetric-collectors:\n- {type: prometheus, metric-name: queue_depth, address: 'http://p', \
                query: 'up{g=\"$PROCESS_GROUP\"}'}\n";
    assert_eq!(query(&[other], Some(file)), "up{g=\"web\"}");
    let lines = mistakes(&[other], Some("process-group: $PROCESS_GROUP\n"));
    let expected = "process-group contains a variable that only queries have: \"$PROCESS_GROUP\" (process-group, line 1 of fas.yml)";
    assert_eq!(lines, [expected]);
}

#[test]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
fn a_proxy_is_read_from_the_environment_and_a_malformed_one_is_refused() {
    let url = |text: &str| url::Url::parse(text).unwrap();
    let config = load(
        &[
            ("HTTPS_PROXY", "http://me:hunter2@proxy:3128"),
            ("NO_PROXY", ".internal"),
            ("FAS_TEMPORAL_ADDRESS", "acme.tmprl.cloud:7233"),
            ("FAS_TEMPORAL_NAMESPACE", "n"),
            ("FAS_TEMPORAL_METRIC_NAME", "w"),
        ],
        None,
    );
    let through = config.proxies.proxy_for(&url("https://api.machines.dev"));
    assert_eq!(
        through.unwrap().to_string(),
        "http://proxy:3128 (HTTPS_PROXY)"
    );
    for direct in ["https://p.internal", "http://p.example"] {
        assert_eq!(config.proxies.proxy_for(&url(direct)), None, "{direct}");
    }
    let CollectorSource::Temporal { proxy, .. } =
        &config.fleets[0].collectors.last().unwrap().source
    else {
        panic!("a Temporal collector");
    };
    assert_eq!(proxy.as_ref(), through);
    assert!(!format!("{config:?}").contains("hunter2"));

    let of = |name, value| mistakes(&[(name, value)], None);
    assert_eq!(
        of("HTTP_PROXY", "http://me:hunter#2@proxy:3128"),
        [
            "HTTP_PROXY is not the address of a proxy; expected host:port, or an address that begins with http://, \
             https://, socks5:// or socks5h://. Example: http://proxy.internal:3128"
        ]
    );
    assert_eq!(of("https_proxy", "proxy:port").len(), 1);
    assert_eq!(of("ALL_PROXY", "proxy:port"), [""; 0]);
}

#[test]
fn temporal_goes_through_plain_proxies_only_and_says_so() {
    let temporal = [
        ("HTTPS_PROXY", "socks5://proxy"),
        ("FAS_TEMPORAL_ADDRESS", "acme.tmprl.cloud:7233"),
        ("FAS_TEMPORAL_NAMESPACE", "n"),
        ("FAS_TEMPORAL_METRIC_NAME", "w"),
        ("NO_PROXY", ""),
    ];
    assert_eq!(
        mistakes(&temporal, None),
        [
            "Temporal at acme.tmprl.cloud:7233 cannot be reached through the proxy socks5://proxy (HTTPS_PROXY): gRPC needs an http:// proxy; expected its host in NO_PROXY, or another proxy \
             (FAS_TEMPORAL_ADDRESS)"
        ]
    );
    let mut excepted = temporal;
    excepted[4].1 = "tmprl.cloud";
    assert_eq!(mistakes(&excepted, None), [""; 0]);
}

#[test]
fn only_the_first_yaml_document_is_read() {
    for (text, warning) in [
        ("timeout: 7s\n---\n", None),
        ("timeout: 7s\n...\n", None),
        ("---\ntimeout: 7s\n--- # the end\n", None),
        ("timeout: 7s\n---\ntimeout: 9s\n", Some(3)),
        ("timeout: 7s\n---\n{[ nothing of YAML\n", Some(3)),
    ] {
        let config = load(&[], Some(text));
        assert_eq!(
            config.fleets[0].policy.timeout,
            Duration::from_secs(7),
            "{text}"
        );
        let expected: Vec<String> = warning
            .map(|line| {
                format!(
                    "fas.yml has a second YAML document, in line {line}; only the first one is read"
                )
            })
            .into_iter()
            .collect();
        assert_eq!(config.warnings, expected, "{text}");
    }
}

#[test]
fn whole_numbers_of_the_file_are_those_of_yaml() {
    for (text, expected) in [
        ("4.0", 4),
        ("0x10", 16),
        ("1_0", 10),
        ("017", 15),
        ("08", 8),
        ("-4.0", 1),
    ] {
        let file = format!("concurrency: {text}\n");
        assert_eq!(load(&[], Some(&file)).concurrency, expected, "{text}");
    }
    for text in ["4.7", "0x", "ten", "1e400"] {
        let file = format!("concurrency: {text}\n");
        assert_eq!(mistakes(&[], Some(&file)).len(), 1, "{text}");
    }
    for text in ["4.0", "0x10", "1_0"] {
        assert_eq!(
            mistakes(&[("FAS_CONCURRENCY", text)], None).len(),
            1,
            "{text}"
        );
    }
}

#[test]
fn a_list_of_tokens_may_have_line_breaks_at_its_commas() {
    for (written, expected) in [
        (
            "FlyV1 fm2_a,\n  fm2_b\r\n,fm2_c\n",
            "FlyV1 fm2_a,fm2_b,fm2_c",
        ),
        (" one ", "one"),
    ] {
        let config = load(&[("FAS_PROMETHEUS_TOKEN", written)], None);
        let (_, _, token, _, _) = prometheus(&config);
        assert_eq!(token, Some(expected));
    }
    for broken in ["fm2_a\nfm2_b", "FlyV1\nfm2_a"] {
        let lines = mistakes(&[("FAS_PROMETHEUS_TOKEN", broken)], None);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(!lines[0].contains("fm2"), "{lines:?}");
    }
}

#[test]
fn the_own_app_is_only_refused_in_its_own_group_and_by_its_plain_name() {
    let cases: &[(&[(&str, &str)], usize)] = &[
        (&[("FLY_APP_NAME", "my-app")], 1),
        (
            &[("FLY_APP_NAME", "my-app"), ("FLY_PROCESS_GROUP", "scaler")],
            0,
        ),
        (
            &[("FLY_APP_NAME", "my-app"), ("FAS_PROCESS_GROUP", "worker")],
            0,
        ),
        (
            &[
                ("FLY_APP_NAME", "my-app"),
                ("FAS_PROCESS_GROUP", "w"),
                ("FLY_PROCESS_GROUP", "w"),
            ],
            1,
        ),
        (
            &[
                ("FLY_APP_NAME", "my-app"),
                ("FAS_APP_NAME", "my-*"),
                ("FAS_ORG", "o"),
            ],
            0,
        ),
        (&[("FLY_APP_NAME", "other")], 0),
    ];
    for (changes, expected) in cases {
        assert_eq!(mistakes(changes, None).len(), *expected, "{changes:?}");
    }
}

#[test]
fn eval_needs_no_token_and_can_name_the_app() {
    let eval = |changes: &[(&str, &str)], app: Option<&str>| {
        let sources = Sources {
            purpose: Purpose::Eval,
            app: app.map(str::to_owned),
            ..sources(changes, None)
        };
        Config::load(sources)
    };
    let config = eval(&[("FAS_API_TOKEN", "")], None).expect("no token is needed");
    assert!(config.api.token.is_none());
    let wildcard = [("FAS_APP_NAME", "my-*")];
    assert_eq!(
        eval(&wildcard, Some("my-1")).expect("one app").fleets[0]
            .apps
            .pattern
            .as_str(),
        "my-1"
    );
    assert_eq!(
        eval(&[("FAS_APP_NAME", "")], Some("my-1"))
            .expect("one app")
            .fleets[0]
            .apps
            .pattern
            .as_str(),
        "my-1"
    );
    let errors = eval(&wildcard, Some("my-*"))
        .expect_err("several apps")
        .to_string();
    assert_eq!(
        errors,
        "--app names one app: \"my-*\". Example: --app my-app (--app)"
    );
    for (pattern, app) in [("my-*", "another"), ("my-app", "my-app-2")] {
        let errors = eval(&[("FAS_APP_NAME", pattern), ("FAS_ORG", "acme")], Some(app))
            .expect_err("not among the managed")
            .to_string();
        assert_eq!(
            errors,
            format!("FAS_APP_NAME ({pattern}) does not match: \"{app}\" (--app)")
        );
    }
    let errors = eval(&[("FAS_APP_NAME", "")], None)
        .expect_err("no app")
        .to_string();
    assert_eq!(errors, "app name required. Example: FAS_APP_NAME=my-app");
}

#[cfg(unix)]
#[test]
fn bytes_that_are_no_text_matter_only_in_our_own_variables() {
    use std::os::unix::ffi::OsStringExt as _;

    let garbage = || OsString::from_vec(vec![0xff, 0xfe]);
    let with = |name: &str| {
        let mut sources = sources(&[], None);
        sources
            .environment
            .retain(|(known, _)| known.to_str() != Some(name));
        sources.environment.push((name.into(), garbage()));
        sources.environment.push((garbage(), garbage()));
        Config::load(sources)
    };
    assert!(with("LS_COLORS").is_ok());
    for name in [
        "FAS_INTERVAL",
        "FAS_APP_NAME",
        "FAS_API_TOKEN",
        "FAS_NO_SUCH_THING",
        "TEMPORAL_TLS_KEY_DATA",
        "FLY_FLAPS_BASE_URL",
    ] {
        assert_eq!(
            with(name).expect_err(name).to_string(),
            format!("{name} is not valid UTF-8")
        );
    }
}

#[test]
fn of_two_variables_with_one_name_the_first_holds() {
    let mut sources = sources(&[("FAS_INTERVAL", "1s")], None);
    sources
        .environment
        .push(("FAS_INTERVAL".into(), "2s".into()));
    assert_eq!(
        Config::load(sources).expect("valid").fleets[0]
            .policy
            .interval,
        Duration::from_secs(1)
    );
}

#[test]
fn a_query_that_grows_without_measure_is_refused() {
    let changes = [
        ("BIG", "x".repeat(100_000)),
        ("FAS_PROMETHEUS_QUERY", "$BIG".repeat(20_000)),
    ];
    let changes: Vec<(&str, &str)> = changes
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    assert_eq!(
        mistakes(&changes, None),
        ["FAS_PROMETHEUS_QUERY is longer than 1048576 bytes once its variables are replaced"]
    );
}

#[test]
fn a_secret_in_a_query_is_refused_by_its_variables_name() {
    let expected = |place: &str, name: &str| {
        format!(
            "the query of {place} expands ${name}, which holds a secret; expected variables without secrets: what they hold \
             is sent to the metrics server"
        )
    };
    let query = "FAS_PROMETHEUS_QUERY";
    let cases: &[(&Changes, &str)] = &[
        (&[(query, "up{t='$FAS_API_TOKEN'}")], "FAS_API_TOKEN"),
        (
            &[
                (
                    query,
                    "up{t='${FAS_PROMETHEUS_TOKEN}'} + $FAS_PROMETHEUS_TOKEN",
                ),
                ("FAS_PROMETHEUS_TOKEN", "plain"),
            ],
            "FAS_PROMETHEUS_TOKEN",
        ),
        (&[(query, "up{t='$X'}"), ("X", "a fm2_abc b")], "X"),
        (
            &[
                (query, "up{t='$X'}"),
                ("X", "me:hunter2"),
                ("FAS_PROMETHEUS_ADDRESS", "http://me:hunter2@p"),
            ],
            "X",
        ),
        (
            &[
                (query, "up{t='$FAS_PROMETHEUS_ADDRESS'}"),
                ("FAS_PROMETHEUS_ADDRESS", "http://p?key=abc7"),
            ],
            "FAS_PROMETHEUS_ADDRESS",
        ),
    ];
    for (changes, name) in cases {
        assert_eq!(
            mistakes(changes, None),
            [expected(query, name)],
            "{changes:?}"
        );
    }
    assert_eq!(
        mistakes(&[(query, "up{r='$X'}"), ("X", "ord")], None),
        [""; 0]
    );
}

#[test]
fn a_secret_that_a_query_in_the_file_expands_is_refused_and_the_same_word_written_there_is_not() {
    let file = |query: &str| {
        format!(
            "app-name: my-app\ncreated-machine-count: depth\napi-token: $TOKEN\nmetric-collectors:\n  - type: prometheus\n    \
             metric-name: depth\n    address: http://me:$PASSWORD@p\n    query: |\n      up{{env='prod',\n      {query}}}\n"
        )
    };
    let environment: &Changes = &[
        ("TOKEN", "FlyV1 fm2_a,fm2_b"),
        ("PASSWORD", "prod"),
        ("REGION", "ord"),
    ];
    assert_eq!(mistakes(environment, Some(&file("r='$REGION'"))), [""; 0]);
    for name in ["PASSWORD", "TOKEN"] {
        let lines = mistakes(environment, Some(&file(&format!("x='${name}'"))));
        let expected = format!(
            "the query of metric-collectors[0].query expands ${name}, which holds a secret; "
        );
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].starts_with(&expected), "{lines:#?}");
    }
}

#[test]
fn a_token_in_the_wrong_setting_is_refused_and_not_shown() {
    const TOKEN: &str = "FlyV1 fm2_lJPECAAAAAAAAZVExBBxyz/0123456789+abcdefghijk==,fm2_lJPETwo==";
    const BARE: &str = "fm2_lJPECAAAAAAAAZVExBBxyz";
    let settings = [
        ("FAS_APP_NAME", BARE),
        ("FAS_REGIONS", TOKEN),
        ("FAS_CREATED_MACHINE_COUNT", TOKEN),
        ("FAS_PROCESS_GROUP", BARE),
        ("FAS_INTERVAL", TOKEN),
        ("FAS_SCALE_UP_STEP", TOKEN),
        ("FAS_PROMETHEUS_QUERY", TOKEN),
        ("FAS_ORG", BARE),
    ];
    for (name, value) in settings {
        let lines = mistakes(&[(name, value)], None);
        let expected = format!(
            "{name} holds what looks like a Fly token; expected tokens only in FAS_API_TOKEN and FAS_PROMETHEUS_TOKEN"
        );
        assert_eq!(lines, [expected], "{name}");
    }
    for key in [
        "app-name",
        "regions",
        "interval",
        "created-machine-count",
        "unknown",
    ] {
        for file in [format!("{key}: {TOKEN}\n"), format!("{key}: '{TOKEN}\n")] {
            let text = all_output(sources(&[], Some(&file)));
            for piece in ["lJPE", "0123456789", "abcdefghijk"] {
                assert!(!text.contains(piece), "{file}: {text}");
            }
        }
    }
}

#[test]
fn a_secret_that_is_no_fly_token_is_not_shown_where_it_does_not_belong() {
    for name in [
        "FAS_REGIONS",
        "FAS_INTERVAL",
        "FAS_CREATED_MACHINE_COUNT",
        "FAS_METRICS_ADDRESS",
        "FAS_APP_NAME",
    ] {
        let changes = [
            (name, "a b h0nter2/x"),
            ("FAS_PROMETHEUS_ADDRESS", "http://me:h0nter2%2Fx@p"),
        ];
        let lines = mistakes(&changes, None);
        assert!(
            !lines.is_empty() && !lines.concat().contains("h0nter2"),
            "{lines:?}"
        );
    }
}

#[test]
fn a_secret_too_short_to_be_hidden_everywhere_is_warned_of() {
    let cases: &[(&Changes, &str)] = &[
        (&[("FAS_PROMETHEUS_TOKEN", "abc")], "FAS_PROMETHEUS_TOKEN"),
        (
            &[("FAS_PROMETHEUS_ADDRESS", "http://me:x@p")],
            "FAS_PROMETHEUS_ADDRESS",
        ),
        (
            &[("FAS_PROMETHEUS_ADDRESS", "http://x:@p")],
            "FAS_PROMETHEUS_ADDRESS",
        ),
    ];
    for (changes, name) in cases {
        let expected = format!(
            "the secret in {name} has fewer than 4 characters: in logs it is hidden only as a separate word"
        );
        assert_eq!(warnings(changes, None), [expected]);
    }
    assert_eq!(warnings(&[("FAS_PROMETHEUS_TOKEN", "abcd")], None), [""; 0]);
}

#[test]
fn a_token_that_nothing_filled_in_is_told_and_not_shown() {
    let scheme = "the token itself is missing; was the variable after it empty?";
    let name =
        "contains a variable or a command, as in $NAME or $(…), and no shell has replaced it";
    let cases = [
        ("FlyV1", Some(scheme)),
        ("Bearer flyv1 ", Some(scheme)),
        ("$FLY_TOKEN", Some(name)),
        ("FlyV1 ${FLY_TOKEN}", Some(name)),
        ("fm2_abc,$DISCHARGE", Some(name)),
        ("$(fly tokens create readonly)", Some(name)),
        ("FlyV1 fm2_abc", None),
        ("Bearer abcd", None),
        ("ab$cdef", None),
        ("$2y", None),
        ("FlyV1abc", None),
    ];
    let expected = |variable: &str, token: &str, what: &str| {
        if what == scheme {
            format!("{variable} is only \"{}\": {what}", token.trim())
        } else {
            format!("{variable} {what}")
        }
    };
    for (token, what) in cases {
        let variable = "FAS_PROMETHEUS_TOKEN";
        let found: Vec<String> = warnings(&[(variable, token)], None)
            .into_iter()
            .filter(|warning| !warning.contains("fewer than 4 characters"))
            .collect();
        let expected = what.map(|what| expected(variable, token, what));
        assert_eq!(found, Vec::from_iter(expected), "{token}");
    }
    // Fly would refuse each call with it.
    let example = r#". Example: fly secrets set -a my-autoscaler FAS_API_TOKEN="$(fly tokens create deploy -a my-app)""#;
    for (token, what) in cases {
        let variable = "FAS_API_TOKEN";
        let found = try_load(&[(variable, token)], None).map(drop);
        let expected = what.map_or(Ok(()), |what| {
            Err(format!("{}{example}", expected(variable, token, what)))
        });
        assert_eq!(
            found.map_err(|errors| errors.to_string()),
            expected,
            "{token}"
        );
    }
    // The file's own variables are replaced.
    let file = "api-token: FlyV1 $EMPTY";
    let changes = [("EMPTY", ""), ("FAS_API_TOKEN", "")];
    let errors = try_load(&changes, Some(file))
        .map(drop)
        .expect_err("it is refused");
    let beginning = format!("api-token is only \"FlyV1\": {scheme}");
    assert!(errors.to_string().starts_with(&beginning), "{errors}");
}

#[test]
fn a_misspelt_safety_switch_is_refused() {
    let cases = [
        ("FAS_DRYRUN", "FAS_DRY_RUN"),
        ("FAS_DRY_RUNS", "FAS_DRY_RUN"),
        (
            "FAS_MAX_MACHINE_COUNT",
            "FAS_MAX_CREATED_MACHINE_COUNT or FAS_MACHINE_CEILING",
        ),
        ("FAS_MACHINES_CEILING", "FAS_MACHINE_CEILING"),
        (
            "FAS_MIN_MACHINES",
            "FAS_MIN_CREATED_MACHINE_COUNT or FAS_MACHINE_FLOOR",
        ),
        ("FAS_PROCES_GROUP", "FAS_PROCESS_GROUP"),
        ("FAS_PER_REGIONS", "FAS_PER_REGION"),
        ("FAS_SCALE_DOWN_STEPS", "FAS_SCALE_DOWN_STEP"),
    ];
    for (name, meant) in cases {
        let errors = try_load(&[(name, "x")], None)
            .map(drop)
            .expect_err("it is refused");
        assert_eq!(
            errors.to_string(),
            format!("{name}: unknown variable; expected {meant}, which limits what is changed")
        );
        assert!(try_load(&[(name, "")], None).is_ok(), "{name}");
        // Whoever names it in a query means it.
        let query = format!("up{{x=\"${name}\"}}");
        let changes = [(name, "x"), ("FAS_PROMETHEUS_QUERY", query.as_str())];
        assert!(try_load(&changes, None).is_ok(), "{name}");
    }
}

#[test]
fn settings_that_hold_each_other_off_are_warned_of() {
    let cases: &[(&Changes, &[&str])] = &[
        (
            &[
                ("FAS_CREATED_MACHINE_COUNT", ""),
                ("FAS_MIN_CREATED_MACHINE_COUNT", "8"),
                ("FAS_MAX_CREATED_MACHINE_COUNT", "4 + 0 * queue_depth"),
            ],
            &[],
        ),
        (
            &[
                ("FAS_MIN_STARTED_MACHINE_COUNT", "8"),
                ("FAS_MAX_STARTED_MACHINE_COUNT", "4"),
            ],
            &[
                "FAS_MIN_STARTED_MACHINE_COUNT (8) is above FAS_MAX_STARTED_MACHINE_COUNT (4): the maximum is the target",
            ],
        ),
        (
            &[
                ("FAS_CREATED_MACHINE_COUNT", ""),
                ("FAS_MIN_CREATED_MACHINE_COUNT", "queue_depth"),
                ("FAS_MAX_CREATED_MACHINE_COUNT", "4"),
                ("FAS_MACHINE_FLOOR", "5"),
                ("FAS_STARTED_MACHINE_COUNT", "6"),
            ],
            &[
                "FAS_MACHINE_FLOOR (5) is above FAS_MAX_CREATED_MACHINE_COUNT (4): the floor holds",
                "FAS_STARTED_MACHINE_COUNT (6) is above FAS_MAX_CREATED_MACHINE_COUNT (4): no more machines than that will exist",
            ],
        ),
        (
            &[
                ("FAS_FALLBACK_CREATED_MACHINE_COUNT", "10"),
                ("FAS_MACHINE_CEILING", "5"),
            ],
            &[
                "FAS_FALLBACK_CREATED_MACHINE_COUNT (10) is above FAS_MACHINE_CEILING (5): the ceiling holds",
            ],
        ),
        (
            &[
                ("FAS_FALLBACK_CREATED_MACHINE_COUNT", "2"),
                ("FAS_MACHINE_FLOOR", "3"),
                ("FAS_MACHINE_CEILING", "3"),
            ],
            &[
                "FAS_MACHINE_FLOOR (3) is above FAS_FALLBACK_CREATED_MACHINE_COUNT (2): the fallback has no effect",
            ],
        ),
        (
            &[("FAS_SCALE_UP_STEP", "0"), ("FAS_SCALE_DOWN_STEP", "0%")],
            &[
                "FAS_SCALE_UP_STEP is 0: no machine is ever created or started",
                "FAS_SCALE_DOWN_STEP is 0%: no machine is ever destroyed or stopped",
            ],
        ),
        (
            &[("FAS_CREATED_MACHINE_COUNT", "3")],
            &["no expression uses the metric queue_depth: it is only shown in /metrics"],
        ),
        (
            &[("FAS_CREATED_MACHINE_COUNT", "queue_depth // 10")],
            &[
                "FAS_CREATED_MACHINE_COUNT: // begins a comment, so 10 has no effect; division that rounds down is floor(… / 10)",
            ],
        ),
        (
            &[(
                "FAS_CREATED_MACHINE_COUNT",
                "queue_depth / 10 // ten a machine, see \"//\"\n",
            )],
            &[],
        ),
    ];
    for (changes, expected) in cases {
        assert_eq!(warnings(changes, None), *expected, "{changes:?}");
    }
}

#[test]
fn a_dry_run_says_who_asked_for_it() {
    let by = |changes: &Changes, file| {
        load(changes, file)
            .dry_run_by
            .map(|place| place.to_string())
    };
    let on = &[("FAS_DRY_RUN", "1")][..];
    let in_file = Some("dry-run, line 1 of fas.yml".to_owned());
    assert_eq!(by(&[], None), None);
    assert_eq!(by(&[("FAS_DRY_RUN", "0")], Some("dry-run: false")), None);
    assert_eq!(by(on, None), Some("FAS_DRY_RUN".to_owned()));
    assert_eq!(
        by(on, Some("dry-run: false")),
        Some("FAS_DRY_RUN".to_owned())
    );
    assert_eq!(by(&[("FAS_DRY_RUN", "0")], Some("dry-run: yes")), in_file);
}

#[test]
fn with_a_file_an_example_is_one_of_the_file_too() {
    let changes = [("FAS_APP_NAME", ""), ("FAS_CREATED_MACHINE_COUNT", "")];
    let errors = try_load(&changes, Some("interval: 1s"))
        .map(drop)
        .expect_err("both are missing");
    assert_eq!(
        errors.to_string(),
        "app name required. Example: FAS_APP_NAME=my-app, or in fas.yml app-name: my-app\n\
         ERROR: must define either created machine count or started machine count; expected FAS_CREATED_MACHINE_COUNT, \
         FAS_STARTED_MACHINE_COUNT, or both. Example: FAS_CREATED_MACHINE_COUNT=ceil(queue_depth / 10), or in fas.yml \
         created-machine-count: ceil(queue_depth / 10)"
    );
}

#[test]
fn no_protection_from_deploys_is_warned_of() {
    let said = |timeout| warnings(&[("FAS_DEPLOY_TIMEOUT", timeout)], None);
    assert_eq!(
        said("0s"),
        [
            "FAS_DEPLOY_TIMEOUT is 0: deploys do not block scaling, and machines are changed while a release is being deployed"
        ]
    );
    assert_eq!(said("1ms"), [""; 0]);
}

#[test]
fn an_expression_that_only_grows_without_a_bound_is_warned_of() {
    let created = |expression: &'static str, more: &[(&'static str, &'static str)]| {
        let mut changes = vec![("FAS_CREATED_MACHINE_COUNT", expression)];
        changes.extend(more);
        warnings(&changes, None)
    };
    let grows = "FAS_CREATED_MACHINE_COUNT is `started_machine_count + 1`, which has no upper bound: each machine that it creates \
                 makes it ask for another one; write min(started_machine_count + 1, 10), or set FAS_MACHINE_CEILING";
    let unused = "no expression uses the metric";
    let created = |expression, more: &[_]| {
        let mut warnings = created(expression, more);
        warnings.retain(|warning| !warning.starts_with(unused));
        warnings
    };
    assert_eq!(created("started_machine_count + 1", &[]), [grows]);
    for expression in ["created_machine_count + 1", "(0.5 + created_machine_count)"] {
        let stopped = [("FAS_INITIAL_MACHINE_STATE", "stopped")];
        for more in [&[][..], &stopped] {
            assert_eq!(created(expression, more).len(), 1, "{expression}");
        }
    }
    let calm = [
        ("min(started_machine_count + 1, 10)", None),
        ("started_machine_count + 0.4", None),
        ("created_machine_count - 1", None),
        ("started_machine_count + queue_depth", None),
        ("stopped_machine_count + 1", None),
        ("queue_depth + 1", None),
        ("started_machine_count * 2", None),
        (
            "started_machine_count + 1",
            Some(("FAS_MACHINE_CEILING", "10")),
        ),
        (
            "started_machine_count + 1",
            Some(("FAS_INITIAL_MACHINE_STATE", "stopped")),
        ),
        (
            "started_machine_count + 1",
            Some(("FAS_STARTED_MACHINE_COUNT", "2")),
        ),
        (
            "queue_depth",
            Some(("FAS_STARTED_MACHINE_COUNT", "started_machine_count + 1")),
        ),
    ];
    for (expression, more) in calm {
        let more: Vec<_> = more.into_iter().collect();
        assert_eq!(created(expression, &more), [""; 0], "{expression} {more:?}");
    }
    // A metric of that name is none of ours.
    let metric = [("FAS_PROMETHEUS_METRIC_NAME", "created_machine_count")];
    let stands_in = "the metric created_machine_count has the name of a built-in count: expressions read the metric in its place";
    assert_eq!(created("created_machine_count + 1", &metric), [stands_in]);
    let never = "FAS_SCALE_UP_STEP is 0: no machine is ever created or started";
    let step = [("FAS_SCALE_UP_STEP", "0")];
    assert_eq!(created("created_machine_count + 1", &step), [never]);
    let band = |max: &'static str| {
        warnings(
            &[
                ("FAS_CREATED_MACHINE_COUNT", ""),
                ("FAS_MIN_CREATED_MACHINE_COUNT", "created_machine_count + 1"),
                ("FAS_MAX_CREATED_MACHINE_COUNT", max),
            ],
            None,
        )
    };
    let warnings = band("10");
    assert!(
        warnings.iter().all(|warning| warning.starts_with(unused)),
        "{warnings:?}"
    );
}

fn summaries(config: &Config) -> Vec<Vec<(&'static str, String)>> {
    let fleets = config.fleets.iter();
    fleets.map(|fleet| fleet.summary(config)).collect()
}

/// Everything that can be shown of a configuration or of why there is none.
fn all_output(sources: Sources) -> String {
    match Config::load(sources) {
        Ok(config) => format!(
            "{config:?} {config:#?} {:?} {:?}",
            summaries(&config),
            config.warnings
        ),
        Err(errors) => format!("{errors} {errors:?} {errors:#?}"),
    }
}

const SECRETS: &[&str] = &[
    "FAS_API_TOKEN",
    "FAS_PROMETHEUS_TOKEN",
    "FAS_HTTP_TOKEN",
    "FAS_TEMPORAL_KEY_DATA",
    "TEMPORAL_TLS_KEY_DATA",
    "FAS_TEMPORAL_CERT_DATA",
];

const MARKER: &str = "k3ep0ut";

proptest! {
    #[test]
    fn no_secret_of_the_environment_is_ever_shown(
        before in "[ -~\\n\u{7f}\u{fc}]{0,6}",
        after in "[ -~\\n\u{7f}\u{fc}]{0,6}",
        broken in 0..6_usize,
    ) {
        let secret = format!("{before}{MARKER}{after}");
        let address = format!("http://{secret}:{secret}@p:9090/x?token={MARKER}");
        let of_redis = format!("redis://{secret}:{secret}@h/0?token={MARKER}");
        let of_postgres = format!("postgres://me:{secret}@h/d?password={MARKER}");
        let mut changes: Vec<(&str, &str)> = SECRETS.iter().map(|name| (*name, secret.as_str())).collect();
        changes.extend([
            ("FAS_PROMETHEUS_ADDRESS", address.as_str()),
            ("FAS_HTTP_URL", address.as_str()),
            ("FAS_HTTP_METRIC_NAME", "h"),
            ("FAS_REDIS_URL", of_redis.as_str()),
            ("FAS_REDIS_METRIC_NAME", "r"),
            ("FAS_REDIS_COMMAND", "LLEN a"),
            ("FAS_POSTGRES_URL", of_postgres.as_str()),
            ("FAS_POSTGRES_METRIC_NAME", "d"),
            ("FAS_POSTGRES_QUERY", "SELECT 1"),
            ("FAS_TEMPORAL_ADDRESS", "localhost:7233"),
            ("FAS_TEMPORAL_NAMESPACE", "n"),
            ("FAS_TEMPORAL_METRIC_NAME", "w"),
        ]);
        let wrong = [
            ("FAS_INTERVAL", "x"),
            ("FAS_APP_NAME", ""),
            ("FAS_PROMETHEUS_QUERY", ""),
            ("FAS_CREATED_MACHINE_COUNT", "nope"),
            ("FAS_TEMPORAL_NAMESPACE", ""),
        ];
        if let Some(wrong) = wrong.get(broken) {
            changes.retain(|(name, _)| name != &wrong.0);
            changes.push(*wrong);
        }
        let output = all_output(sources(&changes, None));
        prop_assert!(!output.contains(MARKER), "{}", output);
    }

    #[test]
    fn no_secret_that_comes_into_the_file_by_a_variable_is_ever_shown(
        secret in "[ -~\\n]{0,8}",
        after in "[ -~\\n]{0,8}",
        quote in "['\"]?",
        extra in "(\ninterval: x|\nunknown: 1|\n  - broken|)",
    ) {
        let secret = format!("{secret}{MARKER}{after}");
        let file = format!(
            "api-token: {quote}$TOKEN{quote}\nmetric-collectors:\n  - type: prometheus\n    metric-name: queue_depth\n    \
             query: up\n    address: http://p\n    token: {quote}$TOKEN{quote}\n  - type: http\n    metric-name: h\n    \
             url: http://h\n    headers:\n      X-A: {quote}$TOKEN{quote}\n  - type: temporal\n    metric-name: w\n    \
             address: t:1\n    namespace: n\n    cert-data: {quote}$TOKEN{quote}\n    key-data: {quote}$TOKEN{quote}{extra}\n"
        );
        let output = all_output(sources(&[("TOKEN", &secret), ("FAS_PROMETHEUS_ADDRESS", "")], Some(&file)));
        prop_assert!(!output.contains(MARKER), "{}\n{}", file, output);
    }

    #[test]
    fn no_text_in_a_variable_or_file_panics(
        index in 0..VARIABLES.len(),
        value in "[ -~\\n\u{fc}]{0,20}|[0-9smh.%+-]{0,10}|[a-z:/@?#%\\[\\]]{0,20}",
        file in "([a-z-]{0,12}(: |:|\\n|- |\\[|\\]|\\{|\\}|&a|\\*a|\\$A|'|\"|\\||#){0,3}){0,8}",
    ) {
        let _ = Config::load(sources(&[(VARIABLES[index].name, &value)], None));
        let _ = Config::load(sources(&[], Some(&file)));
    }
}

#[test]
fn the_policies_of_the_readme_are_valid() {
    let (_, behind) = readme("Several groups or apps in one daemon")
        .split_once("```yaml\n")
        .expect("a file");
    let (file, _) = behind.split_once("```").expect("its end");
    let config = load(&[("FAS_PROMETHEUS_TOKEN", "reader")], Some(file));
    let names: Vec<&str> = config.fleets.iter().map(|fleet| &*fleet.name).collect();
    assert_eq!(names, ["my-app/web", "workers"]);
    let ceilings = config.fleets.iter().map(|fleet| fleet.policy.ceiling);
    assert_eq!(ceilings.collect::<Vec<_>>(), [Some(20), Some(5)]);
}

/// A file with policies, over [`VALID`].
fn policies(text: &str) -> Result<Config, ConfigErrors> {
    Config::load(sources(&[], Some(text)))
}

#[test]
fn a_policy_says_what_it_says_and_the_rest_is_the_top_levels() {
    let config = policies(
        "machine-ceiling: 20
policies:
  - process-group: web
    regions: [iad, ord]
  - name: the workers
    app-name: other-app
    process-group: worker
    min-created-machine-count: 1
    max-created-machine-count: jobs
    machine-ceiling: 7
    metric-collectors:
      - {type: prometheus, metric-name: jobs, address: 'http://p:9090', query: jobs}
",
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    let [web, workers] = config.fleets.as_slice() else {
        panic!("{:?}", config.fleets)
    };
    assert_eq!(web.name, "my-app/web");
    assert_eq!(web.apps.pattern.as_str(), "my-app");
    assert_eq!(web.policy.regions, ["iad", "ord"]);
    assert_eq!(web.policy.ceiling, Some(20));
    assert_eq!(web.collectors[0].metric, "queue_depth");
    assert_eq!(
        web.targets
            .created
            .as_ref()
            .map(ToString::to_string)
            .as_deref(),
        Some("queue_depth")
    );
    assert_eq!(workers.name, "the workers");
    assert_eq!(workers.apps.pattern.as_str(), "other-app");
    assert_eq!(workers.policy.process_group, "worker");
    assert_eq!(workers.policy.ceiling, Some(7));
    // Its collectors replace the others, and its form of the count the other form.
    assert_eq!(workers.collectors.len(), 1);
    assert_eq!(
        workers
            .targets
            .created
            .as_ref()
            .map(ToString::to_string)
            .as_deref(),
        Some("1 to jobs")
    );
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn a_policy_with_a_mistake_is_refused_with_its_line() {
    for (text, expected) in [
        (
            "policies:\n  - {proces-group: web}\n",
            "unknown key: \"proces-group\"; expected a known one; did you mean process-group? (line 2, column 6 of fas.yml)",
        ),
        (
            "policies:\n  - process-group: web\n    interval: 5s\n",
            "key of the daemon in a policy: \"interval\"; expected it at the top of the file, where it holds for all policies \
             (line 3, column 5 of fas.yml)",
        ),
        (
            "policies:\n  - {name: x, process-group: web}\n  - {name: x, process-group: worker}\n",
            "policies[1] has the name of policies[0], line 2 of fas.yml: \"x\"; expected a name for each policy, or none \
             (policies[1].name, line 3 of fas.yml)",
        ),
        (
            "policies:\n  - process-group: web\n  - {name: my-app/web, process-group: worker}\n",
            "policies[1] has the name of the machines of policies[0], line 2 of fas.yml: \"my-app/web\"; expected a name for each \
             policy, or none (policies[1].name, line 3 of fas.yml)",
        ),
        (
            "policies:\n  - {name: other-app/app, process-group: web}\n  - {name: x, app-name: other-app}\n",
            "policies[0] has the name of the machines of policies[1], line 3 of fas.yml: \"other-app/app\"; expected a name for \
             each policy, or none (policies[0].name, line 2 of fas.yml)",
        ),
        (
            "policies:\n  - {process-group: web, per-region: true, regions: iad}\n  - {name: my-app/web/iad, process-group: w}\n",
            "policies[1] has the name of a region of policies[0], line 2 of fas.yml: \"my-app/web/iad\"; expected a name for each \
             policy, or none (policies[1].name, line 3 of fas.yml)",
        ),
        (
            "policies: []\n",
            "policies is an empty list; expected at least one policy, or none of the key",
        ),
        (
            "policies:\n  - process-group: web\n  - process-group: web\n",
            "policies[1] scales the same machines as policies[0]: \"my-app/web\"; expected an app and process group for each \
             policy (policies[1], line 3 of fas.yml)",
        ),
        (
            "policies:\n  - process-group: '*'\n  - process-group: web\n",
            "policies[0] scales every process group of the app, that of policies[1] too: \"my-app/web\"; expected an app and \
             process group for each policy (policies[1], line 3 of fas.yml)",
        ),
        (
            "policies:\n  - process-group: web\n  - process-group: '*'\n",
            "policies[1] scales every process group of the app, that of policies[0] too: \"my-app/*\"; expected an app and \
             process group for each policy (policies[1], line 3 of fas.yml)",
        ),
        (
            "policies:\n  - process-group: web\n    machine-ceiling: many\n",
            "(policies[0].machine-ceiling, line 3 of fas.yml)",
        ),
    ] {
        let errors = policies(text).expect_err(text).to_string();
        assert!(errors.contains(expected), "{text}\n{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[test]
fn what_a_policy_lacks_is_told_at_the_policy() {
    let without = [("FAS_APP_NAME", ""), ("FAS_CREATED_MACHINE_COUNT", "")];
    let file = "policies:\n  - {app-name: a, created-machine-count: 1}\n  - {process-group: web}\n";
    let errors = Config::load(sources(&without, Some(file)))
        .expect_err("it has no app and no target")
        .to_string();
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 2, "{errors}");
    for line in lines {
        assert!(line.ends_with("(policies[1], line 3 of fas.yml)"), "{line}");
    }
}

#[test]
fn a_mistake_that_policies_share_is_told_once() {
    let file =
        "machine-ceiling: many\npolicies:\n  - process-group: web\n  - process-group: worker\n";
    let errors = policies(file).expect_err("a count").to_string();
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn of_several_policies_one_can_be_chosen_by_app_or_name() {
    let file = "policies:
  - {process-group: web}
  - {app-name: other, name: the others}
  - {process-group: worker}
";
    let choose = |app: Option<&str>, policy: Option<&str>| {
        let chosen = Sources {
            app: app.map(str::to_owned),
            policy: policy.map(str::to_owned),
            ..sources(&[], Some(file))
        };
        let names = |config: Config| {
            let fleets = config.fleets.into_iter();
            fleets.map(|fleet| fleet.name).collect::<Vec<_>>()
        };
        Config::load(chosen).map(names)
    };
    let ok = |app, policy| choose(app, policy).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(
        ok(None, None),
        ["my-app/web", "the others", "my-app/worker"]
    );
    assert_eq!(ok(Some("my-app"), None), ["my-app/web", "my-app/worker"]);
    assert_eq!(ok(None, Some("my-app/worker")), ["my-app/worker"]);
    assert_eq!(ok(None, Some("the others")), ["the others"]);
    assert_eq!(ok(None, Some("other/app")), ["the others"]);
    let errors = choose(None, Some("others"))
        .expect_err("there is none")
        .to_string();
    assert_eq!(
        errors,
        "--policy names no policy: \"others\"; expected my-app/web, the others, my-app/worker (--policy)"
    );
    assert!(choose(Some("third"), None).is_err());
}

#[test]
fn a_policy_may_be_called_what_no_other_is() {
    let file = |second: &str| {
        format!(
            "policies:\n  - {{name: my-app/web, process-group: web, per-region: true, regions: [iad, ord]}}\n  - {second}\n"
        )
    };
    for second in [
        "{name: worker, process-group: worker}",
        "{name: my-app/web/fra, process-group: worker}",
        "{app-name: other-app, process-group: web}",
        "{name: web, process-group: web, app-name: other-app}",
    ] {
        let loaded = policies(&file(second));
        assert!(loaded.is_ok(), "{second}: {loaded:?}");
    }
}

#[test]
fn an_organization_counts_where_any_policy_has_a_pattern() {
    let warnings = |apps: [&str; 2], chosen: Option<&str>| {
        let [one, other] = apps;
        let file = format!(
            "org: acme\npolicies:\n  - {{name: one, app-name: '{one}'}}\n  - {{name: other, app-name: '{other}'}}\n"
        );
        let mut sources = sources(&[], Some(&file));
        sources.policy = chosen.map(str::to_owned);
        let config = Config::load(sources).unwrap_or_else(|errors| panic!("{errors}"));
        let warnings = config.warnings.into_iter();
        warnings
            .filter(|warning| warning.contains("org "))
            .collect::<Vec<_>>()
    };
    for chosen in [None, Some("one"), Some("other")] {
        assert_eq!(warnings(["site", "api-*"], chosen), [""; 0], "{chosen:?}");
        assert_eq!(
            warnings(["site", "api"], chosen),
            ["org has no effect without a * in the app name"],
            "{chosen:?}"
        );
    }
}

#[test]
fn the_first_policy_that_takes_a_machine_has_it() {
    let file = "org: acme
policies:
  - {app-name: 'api-*', process-group: web}
  - {app-name: '*', process-group: web}
  - {app-name: '*', process-group: worker}
  - {app-name: 'api*', process-group: '*'}
";
    let config = policies(file).unwrap_or_else(|errors| panic!("{errors}"));
    let of_app = |app: &str| Claim::on(&config.claims, app, &config.own);
    let taken = |place| Taken {
        place,
        except: Vec::new(),
    };
    let shadowed = |place, by| Shadowed {
        place,
        by,
        regions: Vec::new(),
    };
    assert_eq!(
        of_app("api-1"),
        (
            vec![taken(0), taken(2)],
            vec![shadowed(1, 0), shadowed(3, 0)]
        )
    );
    assert_eq!(of_app("site"), (vec![taken(1), taken(2)], Vec::new()));
    let of_fleets: Vec<Claim> = config.fleets.iter().map(Claim::from).collect();
    let (taken, _) = Claim::on(&of_fleets, "api-1", &config.own);
    assert_eq!(taken, of_app("api-1").0, "written and read alike");
    assert_eq!(
        config.has(&config.fleets[1], "api-1"),
        Has::Nothing { by: "api-*/web" }
    );
}

#[test]
fn how_busy_machines_are_is_asked_of_the_first_prometheus_server_under_either_name() {
    for name in [
        "FAS_PROMETHEUS_BUSY_QUERY",
        "FAS_STOP_METRIC_PROMETHEUS_QUERY",
    ] {
        let config = load(
            &[(name, "busy{app='$APP_NAME'}"), ("FAS_BUSY_LIMIT", "0")],
            None,
        );
        let busy = config.fleets[0].busy.as_ref().expect("it is set");
        assert_eq!(busy.query.render("x"), "busy{app='x'}");
        assert_eq!(busy.address.host_str(), Some("api.fly.io"));
        let policy = &config.fleets[0].policy;
        assert_eq!((policy.asks_busy, policy.busy_limit), (true, Some(0.0)));
    }
}

#[test]
fn of_the_two_names_of_the_busy_query_one_is_used_and_the_other_said_to_be_ignored() {
    let both = |other| {
        [
            ("FAS_PROMETHEUS_BUSY_QUERY", "busy"),
            ("FAS_STOP_METRIC_PROMETHEUS_QUERY", other),
        ]
    };
    let config = load(&both("jobs"), None);
    assert_eq!(
        config.warnings,
        [
            "FAS_STOP_METRIC_PROMETHEUS_QUERY is ignored, because FAS_PROMETHEUS_BUSY_QUERY says how busy machines are"
        ]
    );
    let busy = config.fleets[0].busy.as_ref().expect("it is set");
    assert_eq!(busy.query.render("x"), "busy");
    assert_eq!(load(&both("busy"), None).warnings, [""; 0]);
    let other = [("FAS_STOP_METRIC_PROMETHEUS_QUERY", "jobs")];
    let config = load(&other, Some("prometheus-busy-query: busy\n"));
    assert_eq!(
        config.warnings,
        [
            "FAS_STOP_METRIC_PROMETHEUS_QUERY is ignored, because prometheus-busy-query says how busy machines are"
        ]
    );
}

#[test]
fn a_limit_below_0_is_refused() {
    let said = mistakes(
        &[
            ("FAS_PROMETHEUS_BUSY_QUERY", "busy"),
            ("FAS_BUSY_LIMIT", "-1"),
        ],
        None,
    );
    assert_eq!(
        said,
        ["FAS_BUSY_LIMIT must not be negative: \"-1\". Example: 0"]
    );
}

#[test]
fn a_metric_that_has_the_name_of_a_count_is_said_to_stand_in_for_it() {
    let changes = [
        ("FAS_PROMETHEUS_METRIC_NAME", "started_machine_count"),
        ("FAS_CREATED_MACHINE_COUNT", "started_machine_count + 1"),
    ];
    assert_eq!(
        load(&changes, None).warnings,
        [
            "the metric started_machine_count has the name of a built-in count: expressions read the metric in its place"
        ]
    );
}

/// What is said of a configuration that is refused.
fn errors(changes: &[(&str, &str)], file: Option<&str>) -> String {
    let errors = Config::load(sources(changes, file)).expect_err("it is refused");
    errors.to_string()
}

#[test]
fn a_limit_of_nothing_and_a_query_without_a_server_are_refused() {
    let said = errors(&[("FAS_BUSY_LIMIT", "0")], None);
    assert!(
        said.contains("FAS_BUSY_LIMIT needs a query that says how busy machines are"),
        "{said}"
    );
    let without_server = [
        ("FAS_PROMETHEUS_BUSY_QUERY", "busy"),
        ("FAS_PROMETHEUS_ADDRESS", ""),
        ("FAS_PROMETHEUS_METRIC_NAME", ""),
        ("FAS_PROMETHEUS_QUERY", ""),
        ("FAS_CREATED_MACHINE_COUNT", "3"),
    ];
    let said = errors(&without_server, None);
    assert!(
        said.contains(
            "FAS_PROMETHEUS_BUSY_QUERY needs a Prometheus collector, whose server it asks"
        ),
        "{said}"
    );
}

#[test]
fn a_secret_is_not_sent_in_a_query_about_busy_machines_either() {
    let secret = [("FAS_API_TOKEN", "FlyV1 fm2_lJPE"), ("MY_QUERY", "busy")];
    let in_variable = [
        &secret[..],
        &[("FAS_PROMETHEUS_BUSY_QUERY", "busy{t='$FAS_API_TOKEN'}")],
    ];
    let said = errors(&in_variable.concat(), None);
    assert!(
        said.contains("expands $FAS_API_TOKEN, which holds a secret"),
        "{said}"
    );
    for file in [
        "prometheus-busy-query: busy{t='$FAS_API_TOKEN'}\n",
        "policies:\n  - prometheus-busy-query: busy{t='$FAS_API_TOKEN'}\n",
    ] {
        let said = errors(&secret, Some(file));
        assert!(
            said.contains("$FAS_API_TOKEN, which holds a secret"),
            "{file} {said}"
        );
        assert!(!said.contains("lJPE"), "{said}");
    }
}

#[test]
fn a_count_of_a_policy_in_one_form_replaces_the_other_form_of_its_kind() {
    for kind in ["created", "started"] {
        let band = format!("min-{kind}-machine-count: 1\nmax-{kind}-machine-count: 9");
        let single = format!("{kind}-machine-count: 5");
        for (top, own, expected) in [(&band, &single, "5"), (&single, &band, "1 to 9")] {
            let own = own.replace('\n', "\n    ");
            let file = format!("{top}\npolicies:\n  - process-group: web\n    {own}\n");
            let unset = [("FAS_CREATED_MACHINE_COUNT", "")];
            let config = load(&unset, Some(&file));
            let targets = &config.fleets[0].targets;
            let target = targets.created.as_ref().or(targets.started.as_ref());
            let target = target.map(ToString::to_string);
            assert_eq!(target.as_deref(), Some(expected), "{file}");
        }
    }
}

//! The daemon's own port: every series, the text format, health and readiness.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use fly_autoscaler::{
    scaling::FleetName,
    sim::{Canned, Effect, Fault, MachineState, NewMachine, Operation},
    status::{Settings, Standing},
};

use crate::world::{APP, World};

const CREATED: &[(&str, &str)] = &[("FAS_CREATED_MACHINE_COUNT", "queue_depth")];

fn one_machine(depth: f64, settings: &[(&str, &str)]) -> World {
    let world = World::queue(depth, settings);
    world
        .platform()
        .add_machine(APP, NewMachine::in_region("ord"))
        .unwrap();
    world
}

/// Series with a closed label set: the name, and its labels with their values.
type Closed = (
    &'static str,
    &'static [(&'static str, &'static [&'static str])],
);

const CLOSED: &[Closed] = &[
    (
        "fas_reconcile_count",
        &[(
            "status",
            &["create", "destroy", "start", "stop", "no_scale"],
        )],
    ),
    ("fas_machine_start_count", &[("status", &["ok", "failed"])]),
    ("fas_machine_stop_count", &[("status", &["ok", "failed"])]),
    ("fas_machine_create_count", &[("status", &["ok", "failed"])]),
    (
        "fas_machine_destroy_count",
        &[("status", &["ok", "failed"])],
    ),
    (
        "fas_dry_run_actions_total",
        &[("decision", &["create", "destroy", "start", "stop"])],
    ),
    (
        "fas_pass_errors_total",
        &[(
            "reason",
            &[
                "metric",
                "expression",
                "list",
                "release",
                "no_source",
                "write",
                "unauthorized",
                "timeout",
                "panic",
            ],
        )],
    ),
    (
        "fas_lock_changes_total",
        &[("reason", &["acquired", "released", "expired", "taken"])],
    ),
    ("fas_leader", &[]),
    ("fas_shards", &[]),
    ("fas_lock_last_renewal_timestamp_seconds", &[]),
    ("fas_peers", &[]),
    ("fas_pass_duration_seconds_count", &[]),
    ("fas_pass_duration_seconds_sum", &[]),
];

const CALLS: &[(&str, &[&str])] = &[
    (
        "machines",
        &[
            "list_machines",
            "get_machine",
            "create_machine",
            "start_machine",
            "stop_machine",
            "suspend_machine",
            "wait_machine",
            "destroy_machine",
            "list_volumes",
            "create_volume",
            "list_apps",
        ],
    ),
    ("graphql", &["current_release"]),
    ("prometheus", &["query"]),
    ("temporal", &["count"]),
    ("http", &["get"]),
    ("redis", &["command"]),
    ("postgres", &["query"]),
    (
        "consul",
        &[
            "register_node",
            "create_session",
            "renew_session",
            "destroy_session",
            "read_key",
            "acquire",
            "release",
            "list_sessions",
        ],
    ),
];

const RESULTS: &[&str] = &[
    "ok",
    "unauthorized",
    "rate_limited",
    "client_error",
    "server_error",
    "timeout",
    "transport",
    "invalid",
];

/// Every series that exists at 0 from the start, as it is written.
fn closed_series() -> BTreeSet<String> {
    let mut series = BTreeSet::new();
    for (name, labels) in CLOSED {
        match labels {
            [] => {
                series.insert((*name).to_owned());
            }
            [(label, values), ..] => {
                for value in *values {
                    series.insert(format!(r#"{name}{{{label}="{value}"}}"#));
                }
            }
        }
    }
    for (api, operations) in CALLS {
        for operation in *operations {
            let labels = format!(r#"api="{api}",operation="{operation}""#);
            for result in RESULTS {
                series.insert(format!(
                    r#"fas_api_requests_total{{{labels},status="{result}"}}"#
                ));
            }
            for part in ["sum", "count"] {
                series.insert(format!(
                    "fas_api_request_duration_seconds_{part}{{{labels}}}"
                ));
            }
        }
    }
    series
}

/// One sample of the text format.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|letter: char| letter.is_ascii_digit())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

/// Reads `name{label="value",…} number`.
fn parse_sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        // The format knows no other names for what is no number.
        number => number
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())?,
    };
    let (name, mut rest) = match series.split_once('{') {
        None => (series, ""),
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
    };
    if !is_name(name) {
        return None;
    }
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (label, quoted) = rest.split_once("=\"")?;
        let mut text = String::new();
        let mut letters = quoted.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (_, '\\') => match letters.next()?.1 {
                    'n' => text.push('\n'),
                    letter @ ('\\' | '"') => text.push(letter),
                    _ => return None,
                },
                (_, letter) => text.push(letter),
            }
        };
        if !is_name(label) || labels.insert(label.to_owned(), text).is_some() {
            return None;
        }
        rest = &quoted[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// Reads the text format strictly: every line is understood, every family has its HELP and TYPE first and once, no
/// series comes twice, histograms are whole.
fn lint(text: &str) -> Vec<Sample> {
    assert!(text.ends_with('\n'), "the last line ends");
    let mut helped = BTreeSet::new();
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    let mut samples: Vec<Sample> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(is_name(name) && !help.is_empty(), "{line}");
            assert!(helped.insert(name.to_owned()), "twice: {line}");
            name.clone_into(&mut family);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, family, "HELP before TYPE: {line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(
                types.insert(name.to_owned(), kind.to_owned()).is_none(),
                "{line}"
            );
        } else {
            let sample = parse_sample(line);
            let sample = sample.unwrap_or_else(|| panic!("not a sample: {line}"));
            let series = line.rsplit_once(' ').unwrap().0;
            assert!(seen.insert(series.to_owned()), "twice: {line}");
            let suffix = sample.name.strip_prefix(&family);
            match types.get(&family).map(String::as_str) {
                Some("histogram") => {
                    assert!(
                        matches!(suffix, Some("_bucket" | "_sum" | "_count")),
                        "{line}"
                    );
                }
                Some("counter") => {
                    assert_eq!(suffix, Some(""), "{line}");
                    assert!(sample.value >= 0.0, "{line}");
                }
                Some(_) => assert_eq!(suffix, Some(""), "{line}"),
                None => panic!("no TYPE before {line}"),
            }
            samples.push(sample);
        }
    }
    assert_eq!(helped, types.keys().cloned().collect());
    for (name, _) in types.iter().filter(|(_, kind)| *kind == "histogram") {
        let infinite = samples.iter().any(|sample| {
            sample.name == format!("{name}_bucket")
                && sample.labels.get("le").is_some_and(|le| le == "+Inf")
        });
        assert!(infinite, "{name} has its last bucket");
    }
    samples
}

#[tokio::test(start_paused = true)]
async fn a_series_of_many_apps_is_one_family() {
    let apps = 600;
    let settings = [
        ("FAS_APP_NAME", "app-*"),
        ("FAS_ORG", "acme"),
        ("FAS_CREATED_MACHINE_COUNT", "max(queue_depth, 1)"),
    ];
    let mut world = World::queue(1.0, &settings);
    for number in 0..apps {
        let app = format!("app-{number}");
        let mut platform = world.platform();
        platform.add_app(&app, "acme");
        let machine = NewMachine::in_region("ord");
        platform.add_machine(&app, machine).unwrap();
        platform.set_gauge(&app, "queue_depth", Some(f64::INFINITY));
    }
    world.run_for(15).await;
    let (.., text) = world.get("/metrics").await;
    let samples = lint(&text);
    for name in [
        "fas_failing_passes",
        "fas_last_success_timestamp_seconds",
        "fas_metric_value",
    ] {
        let found = samples.iter().filter(|sample| sample.name == name);
        assert_eq!(found.count(), apps, "{name}");
    }
    let infinite = text.lines().filter(|line| line.ends_with(" +Inf"));
    assert_eq!(infinite.count(), apps);
}

#[tokio::test(start_paused = true)]
async fn every_closed_series_is_there_at_zero_before_the_first_pass() {
    let world = World::queue(1.0, CREATED);
    let (status, content_type, text) = world.get("/metrics").await;
    assert_eq!(status, 200);
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    for series in closed_series() {
        assert_eq!(world.series(&series), Some(0.0), "{series}");
    }
    let build = format!(
        r#"fas_build_info{{version="{}"}}"#,
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(world.series(&build), Some(1.0));
    for process in [
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(world.series(process).is_some(), "{process}");
    }
    let samples = lint(&text);
    let known = closed_series();
    for line in text.lines().filter(|line| line.starts_with("fas_")) {
        let series = line.rsplit_once(' ').unwrap().0;
        assert!(
            known.contains(series) || series.contains("_bucket{") || series == build,
            "an unknown series: {line}"
        );
    }
    assert!(
        samples
            .iter()
            .all(|sample| !sample.labels.contains_key("app")),
        "no app is managed yet"
    );
}

#[tokio::test(start_paused = true)]
async fn the_text_is_well_formed_after_everything_has_happened() {
    let settings = [
        ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
        ("FAS_STARTED_MACHINE_COUNT", "1"),
        ("FAS_DESTROY_RUNNING_AFTER", "0s"),
    ];
    let mut world = one_machine(3.0, &settings);
    world.run_for(31).await;
    world.depth(1.0);
    world.run_for(61).await;
    world
        .platform()
        .add_fault(Fault::status(500).on(Operation::List).times(4));
    world.run_for(31).await;
    let samples = lint(&world.get("/metrics").await.2);
    for name in [
        "fas_metric_value",
        "fas_target_machines",
        "fas_machines",
        "fas_last_success_timestamp_seconds",
    ] {
        let of_app = samples.iter().filter(|sample| sample.name == name);
        assert!(of_app.count() > 0, "{name}");
    }
    for sample in &samples {
        if let Some(app) = sample.labels.get("app") {
            assert_eq!(app, APP, "{sample:?}");
        }
        assert!(sample.value.is_finite(), "{sample:?}");
    }
    for counter in ["create", "destroy", "stop"] {
        let series = format!(r#"fas_machine_{counter}_count{{status="ok"}}"#);
        assert!(world.series(&series).unwrap() >= 1.0, "{series}");
    }
}

#[tokio::test(start_paused = true)]
async fn labels_are_escaped() {
    let world = World::queue(1.0, &[]);
    let status = &world.admin.status;
    status.configure(Settings {
        interval: Duration::from_secs(15),
        dry_run: false,
        app_pattern: "*".to_owned(),
        targets: None,
    });
    let odd = "a\"b\\c\nd";
    let fleet = FleetName::only(odd, "app");
    let begun = jiff::Timestamp::UNIX_EPOCH;
    status.appear(&fleet, &Arc::default(), Standing::default(), begun);
    let samples = lint(&world.admin.metrics_text());
    let shown = samples
        .iter()
        .find(|sample| sample.name == "fas_failing_passes")
        .unwrap();
    assert_eq!(shown.labels["app"], odd);
}

#[tokio::test(start_paused = true)]
async fn gauges_show_the_last_pass_and_go_with_their_values() {
    let mut world = one_machine(2.0, CREATED);
    let stopped = NewMachine::in_region("ord").state(MachineState::Stopped);
    world.platform().add_machine(APP, stopped).unwrap();
    let value = format!(r#"fas_metric_value{{app="{APP}",group="app",metric="queue_depth"}}"#);
    let min =
        format!(r#"fas_target_machines{{app="{APP}",bound="min",group="app",kind="created"}}"#);
    let max =
        format!(r#"fas_target_machines{{app="{APP}",bound="max",group="app",kind="created"}}"#);
    let started =
        format!(r#"fas_target_machines{{app="{APP}",bound="min",group="app",kind="started"}}"#);
    let machines =
        |state: &str| format!(r#"fas_machines{{app="{APP}",group="app",state="{state}"}}"#);
    let success = format!(r#"fas_last_success_timestamp_seconds{{app="{APP}",group="app"}}"#);
    world.run_for(0).await;
    assert_eq!(world.series(&value), Some(2.0));
    assert_eq!(
        (world.series(&min), world.series(&max)),
        (Some(2.0), Some(2.0))
    );
    assert_eq!(world.series(&started), None, "not configured");
    assert_eq!(world.series(&machines("started")), Some(1.0));
    assert_eq!(world.series(&machines("stopped")), Some(1.0));
    assert_eq!(world.series(&success), Some(1_767_323_045.0));

    world
        .platform()
        .add_fault(Fault::new(Effect::Refuse).on(Operation::Query));
    world.run_for(15).await;
    for series in [&value, &min, &max] {
        assert_eq!(world.series(series), None, "{series}");
    }
    assert_eq!(world.series(&machines("started")), Some(1.0));
    assert_eq!(
        world.series(&success),
        Some(1_767_323_045.0),
        "the last success stays what it was"
    );

    world.platform().clear_faults();
    world.run_for(15).await;
    assert_eq!(world.series(&value), Some(2.0));
    assert!(world.series(&success).unwrap() > 1_767_323_070.0);
    assert_eq!(world.series(&min), Some(2.0));

    world
        .platform()
        .add_fault(Fault::new(Effect::Refuse).on(Operation::List));
    // The list is asked for four times before it is given up.
    world.run_for(20).await;
    assert_eq!(world.series(&value), Some(2.0));
    for series in [&min, &max] {
        assert_eq!(world.series(series), None, "{series}");
    }
}

#[tokio::test(start_paused = true)]
async fn infinite_values_are_shown_as_such() {
    let mut world = one_machine(1.0, &[("FAS_CREATED_MACHINE_COUNT", "min(queue_depth, 2)")]);
    let infinite = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"+Inf"]}}"#;
    world
        .platform()
        .add_fault(Fault::new(Effect::Answer(Canned::json(200, infinite))).on(Operation::Query));
    world.run_for(0).await;
    let text = world.get("/metrics").await.2;
    let samples = lint(&text);
    let value = samples
        .iter()
        .find(|sample| sample.name == "fas_metric_value")
        .unwrap();
    assert!(value.value.is_infinite() && value.value > 0.0);
    assert_eq!(world.created(), 2);
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_by_what_became_of_them() {
    let list = |status: &str| {
        format!(
            r#"fas_api_requests_total{{api="machines",operation="list_machines",status="{status}"}}"#
        )
    };
    let cases = [
        (Effect::Answer(Canned::status(500)), "server_error", 4.0),
        (Effect::Answer(Canned::status(429)), "rate_limited", 4.0),
        (Effect::Answer(Canned::status(401)), "unauthorized", 1.0),
        (Effect::Answer(Canned::status(403)), "unauthorized", 1.0),
        (Effect::Answer(Canned::status(404)), "client_error", 1.0),
        (Effect::Answer(Canned::json(200, "{}")), "invalid", 1.0),
        (Effect::Answer(Canned::html(200)), "invalid", 1.0),
        (Effect::Break, "transport", 4.0),
        (Effect::Refuse, "transport", 4.0),
    ];
    for (effect, status, count) in cases {
        let name = format!("{effect:?}");
        let mut world = one_machine(1.0, CREATED);
        world
            .platform()
            .add_fault(Fault::new(effect).on(Operation::List));
        world.run_for(14).await;
        assert_eq!(world.series(&list(status)), Some(count), "{name}");
        assert_eq!(world.series(&list("ok")), Some(0.0), "{name}");
    }
    let failed = r#"{"status":"error","errorType":"timeout","error":"aborted"}"#;
    for (answer, status) in [
        (Canned::status(404), "client_error"),
        (Canned::status(429), "rate_limited"),
        (Canned::status(500), "server_error"),
        (Canned::json(422, failed), "client_error"),
        (Canned::json(503, failed), "server_error"),
        (Canned::json(200, failed), "client_error"),
    ] {
        let name = format!("{answer:?}");
        let mut world = one_machine(1.0, CREATED);
        world
            .platform()
            .add_fault(Fault::new(Effect::Answer(answer)).on(Operation::Query));
        world.run_for(14).await;
        let query = format!(
            r#"fas_api_requests_total{{api="prometheus",operation="query",status="{status}"}}"#
        );
        assert_eq!(world.series(&query), Some(1.0), "{name}");
    }
    let mut world = one_machine(1.0, CREATED);
    world.run_for(31).await;
    assert_eq!(world.series(&list("ok")), Some(3.0));
    let query = r#"fas_api_requests_total{api="prometheus",operation="query",status="ok"}"#;
    assert_eq!(world.series(query), Some(3.0));
    assert_eq!(world.series("fas_pass_duration_seconds_count"), Some(3.0));
}

#[tokio::test(start_paused = true)]
async fn readiness_is_a_latch_with_a_limit() {
    let mut world = one_machine(1.0, CREATED);
    let (ready, _, why) = world.get("/readyz").await;
    assert_eq!(
        (ready, &*why),
        (503, "no pass has succeeded yet: no pass has finished yet\n")
    );
    let outage = world
        .platform()
        .add_fault(Fault::status(500).on(Operation::List));
    world.run_for(20).await;
    let (ready, _, why) = world.get("/readyz").await;
    assert_eq!(ready, 503);
    assert!(why.contains("HTTP 500") && why.contains(APP), "{why}");

    world.platform().remove_fault(outage);
    world.run_for(15).await;
    assert_eq!(world.get("/readyz").await.0, 200);

    // The last success was at 30 s: three intervals and the timeout later is 105 s.
    world
        .platform()
        .add_fault(Fault::new(Effect::Refuse).on(Operation::Query));
    world.run_for(69).await;
    assert_eq!(world.get("/readyz").await.0, 200, "not yet");
    world.run_for(3).await;
    let (ready, _, why) = world.get("/readyz").await;
    assert_eq!(ready, 503);
    assert!(
        why.starts_with("the last successful pass finished 76 s ago: ")
            || why.starts_with("the last successful pass finished 77 s ago: "),
        "{why}"
    );
    assert!(why.contains("cannot connect to Prometheus"), "{why}");
    assert_eq!(
        world.get("/healthz").await.0,
        200,
        "the loop runs all the same"
    );

    world.platform().clear_faults();
    world.run_for(15).await;
    assert_eq!(world.get("/readyz").await.0, 200, "it recovers");
}

#[tokio::test(start_paused = true)]
async fn readiness_says_that_a_dry_run_changes_nothing() {
    for (dry_run, text) in [
        ("true", "ready (dry run: nothing is changed)\n"),
        ("false", "ready\n"),
    ] {
        let settings = [CREATED[0], ("FAS_DRY_RUN", dry_run)];
        let mut world = one_machine(1.0, &settings);
        world.start();
        let (ready, _, said) = world.get("/readyz").await;
        assert_eq!(ready, 503, "no pass has succeeded so far");
        assert_eq!(
            said.contains("(dry run: nothing is changed)"),
            dry_run == "true",
            "{said}"
        );
        world.run_for(1).await;
        let (ready, _, said) = world.get("/readyz").await;
        assert_eq!((ready, &*said), (200, text));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_no_readiness_at_once_and_a_good_one_is() {
    let mut world = one_machine(1.0, CREATED);
    world.run_for(1).await;
    assert_eq!(world.get("/readyz").await.0, 200);
    for (operation, begins, variable) in [
        (Operation::List, "a token is refused", "FAS_API_TOKEN"),
        (
            Operation::Query,
            "the source of queue_depth refuses its password or token",
            "FAS_PROMETHEUS_TOKEN",
        ),
    ] {
        let refusal = world.platform().add_fault(Fault::status(401).on(operation));
        world.run_for(15).await;
        let (ready, _, why) = world.get("/readyz").await;
        assert_eq!(ready, 503, "{operation:?}");
        let begins = format!("{begins} (my-target-app): ");
        assert!(why.starts_with(&begins), "{why}");
        assert!(why.contains(variable), "{why}");
        assert!(!why.contains("fm2_"), "{why}");
        world.platform().remove_fault(refusal);
        world.run_for(15).await;
        assert_eq!(world.get("/readyz").await.0, 200, "{operation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_is_dead_is_not_alive() {
    let mut world = one_machine(1.0, CREATED);
    world.run_for(100).await;
    assert_eq!(world.get("/healthz").await.0, 200);
    world.kill().await;
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    assert_eq!(world.get("/healthz").await.0, 503);
}

#[tokio::test(start_paused = true)]
async fn a_loop_whose_every_call_hangs_is_alive() {
    let mut world = one_machine(1.0, CREATED);
    world.platform().add_fault(Fault::new(Effect::Hang));
    for _ in 0..20 {
        world.run_for(17).await;
        assert_eq!(world.get("/healthz").await.0, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_else_is_served_and_nothing_can_be_changed() {
    let world = one_machine(1.0, CREATED);
    for path in [
        "/debug/pprof/",
        "/debug/vars",
        "/metrics/",
        "/config",
        "/..%2f",
    ] {
        assert_eq!(world.get(path).await.0, 404, "{path}");
    }
}

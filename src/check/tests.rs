//! What is said of what was seen, without a server; and that no line of the README's table of troubles is forgotten.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use http::StatusCode;

use super::{outcome, proxy, *};
use crate::{
    collect::{CollectError, Sample},
    config::{CollectorConfig, CollectorKind, Config, ConfigErrors, Purpose, Sources, Spelling},
    labels::Operation,
    lock::{Account, ConsulError, Entry, LockIdentity, Message, ProbeError},
    machines::{ApiError, ApiErrorCause, AppAbout, TokenScope},
    scaling::{Busyness, InitialState, Kind, Machine, MachineConfig, Note, Now, Release, State},
    transport::TransportError,
};

/// A scene: a configuration and what it meets.
struct Scene {
    settings: BTreeMap<&'static str, &'static str>,
    file: Option<&'static str>,
    machines: Result<Vec<Machine>, ApiErrorCause>,
    release: Result<Option<Release>, ApiErrorCause>,
    metrics: BTreeMap<&'static str, Result<Sample, CollectError>>,
    scope: Result<Vec<TokenScope>, ApiErrorCause>,
    about: Result<AppAbout, ApiErrorCause>,
    may_be_empty: bool,
    took: Duration,
    /// What the metrics come from.
    asked: CollectorKind,
    /// How busy machines are said to be.
    busy: Option<Result<Busyness, CollectError>>,
    /// The region that is looked at, and how many are fleets.
    region: Option<(&'static str, usize)>,
}

/// An app with one started machine, scaled by `queue_depth`, which is 10.
fn scene() -> Scene {
    Scene {
        settings: BTreeMap::from([
            ("FAS_APP_NAME", "web"),
            ("FAS_API_TOKEN", "fm2_x"),
            (
                "FAS_PROMETHEUS_ADDRESS",
                "https://api.fly.io/prometheus/acme",
            ),
            ("FAS_PROMETHEUS_METRIC_NAME", "queue_depth"),
            ("FAS_PROMETHEUS_QUERY", "sum(depth{app='$APP_NAME'})"),
            ("FAS_CREATED_MACHINE_COUNT", "ceil(queue_depth / 10)"),
        ]),
        file: None,
        machines: Ok(vec![machine("a", State::Started)]),
        release: Ok(Some(release("complete"))),
        metrics: BTreeMap::from([("queue_depth", Ok(sample(10.0)))]),
        scope: Ok(vec![TokenScope {
            org: Some("acme".to_owned()),
            apps: Some(vec!["web".to_owned()]),
            machine: None,
        }]),
        about: Ok(AppAbout {
            org: Some("acme".to_owned()),
            status: Some("deployed".to_owned()),
        }),
        may_be_empty: false,
        took: Duration::from_secs(1),
        asked: CollectorKind::Prometheus,
        busy: None,
        region: None,
    }
}

fn machine(id: &str, state: State) -> Machine {
    let mut machine = Machine::new(id, "ord", state);
    machine.config = Some(MachineConfig::new(
        r#"{"image":"i","services":[{"autostop":"stop","autostart":true}]}"#,
        None,
    ));
    machine.release = Some(12);
    machine
}

fn too_slow() -> ApiErrorCause {
    ApiErrorCause::Timeout {
        waited: Duration::from_secs(15),
        by_lock: false,
    }
}

fn release(status: &str) -> Release {
    Release {
        version: Some(12),
        status: status.to_owned(),
        created_at: Some("2026-01-02T03:04:05Z".parse().expect("a literal timestamp")),
    }
}

fn sample(value: f64) -> Sample {
    Sample {
        value,
        element_count: 1,
        is_of_region: false,
        time: None,
        warnings: Vec::new(),
    }
}

fn now() -> Now {
    Now {
        monotonic: std::time::Instant::now(),
        wall: "2026-01-02T03:05:00Z".parse().expect("a literal timestamp"),
    }
}

fn status(status: u16) -> ApiErrorCause {
    match status {
        401 | 403 => ApiErrorCause::Unauthorized {
            status: Some(status),
            message: "no".to_owned(),
        },
        _ => ApiErrorCause::Status {
            status,
            message: String::new(),
            retry_after: None,
        },
    }
}

fn call<T>(operation: Operation, answer: Result<T, ApiErrorCause>) -> Result<T, ApiError> {
    answer.map_err(|cause| ApiError {
        operation,
        subject: "app \"web\"".to_owned(),
        request_id: Some("01SIM".to_owned()),
        after_unknown: false,
        cause,
    })
}

impl Scene {
    fn set(mut self, name: &'static str, value: &'static str) -> Self {
        self.settings.insert(name, value);
        self
    }

    fn machines(mut self, machines: Vec<Machine>) -> Self {
        self.machines = Ok(machines);
        self
    }

    fn metric(mut self, result: Result<Sample, CollectError>) -> Self {
        self.metrics.insert("queue_depth", result);
        self
    }

    fn config(&self) -> Result<Config, ConfigErrors> {
        let variables = self.settings.iter().filter(|(_, value)| !value.is_empty());
        let variables: Vec<(OsString, OsString)> = variables
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let mut sources = Sources::new(variables, Purpose::Serve);
        sources.file = self
            .file
            .map(|text| (PathBuf::from("fas.yml"), text.to_owned()));
        Config::load(sources)
    }

    /// All steps, those of the configuration first.
    fn report(self) -> Report {
        let config = match self.config() {
            Ok(config) => config,
            Err(errors) => {
                return Report {
                    steps: refused(&errors, None),
                    ..Report::default()
                };
            }
        };
        let now = now();
        let whole = &config.fleets[0];
        let settings = self.region.map(|(region, _)| whole.of_region(region));
        let settings = settings.as_ref().unwrap_or(whole);
        let mut values = crate::expr::Values::new(&settings.names);
        let mut metrics = Vec::new();
        for (metric, result) in self.metrics {
            values.set(metric, result.as_ref().ok().map(|sample| sample.value));
            let query = self.settings.get("FAS_PROMETHEUS_QUERY").unwrap_or(&"");
            let mut configured = settings.collectors.iter();
            let configured = configured.find(|one| one.metric == metric);
            metrics.push(Reading {
                metric: metric.to_owned(),
                kind: self.asked,
                query: query.replace("$APP_NAME", "web"),
                address: "https://api.fly.io/prometheus/acme".to_owned(),
                asks_each_region: configured.is_some_and(CollectorConfig::asks_each_region),
                result,
            });
        }
        let release = Arc::new(call(Operation::CurrentRelease, self.release));
        let busy = self.busy.as_ref().and_then(|busy| busy.as_ref().ok());
        let fleet = call(Operation::ListMachines, self.machines).map(|machines| {
            let wanted = Wanted {
                settings,
                values: &mut values,
                busy: busy.cloned().unwrap_or(Busyness::Unknown),
            };
            let fleets = Fleet::of_all(vec![wanted], &machines, &release, now).now_or_never();
            let fleet = fleets.and_then(|mut fleets| fleets.pop());
            fleet.expect("nothing is waited for")
        });
        let scope = call(Operation::CurrentTokens, self.scope);
        let about = call(Operation::GetApp, self.about);
        let mut all = accepted(&config, &Port::Fine);
        let report = steps(&Seen {
            config: &config,
            settings,
            regions: self.region.map(|(_, regions)| regions),
            app: "web",
            may_be_empty: self.may_be_empty,
            now,
            took: self.took,
            scope: &scope,
            about: &about,
            metrics,
            busy: self.busy,
            values,
            fleet: fleet.map_err(Arc::new),
            release,
        });
        all.extend(report.steps);
        Report {
            steps: all,
            plan: report.plan,
        }
    }

    /// The lines of one kind of step: `status: sentence`.
    fn lines(self, kind: StepKind) -> Vec<String> {
        let report = self.report();
        let steps = report.steps.iter().filter(|step| step.kind == kind);
        steps
            .map(|step| format!("{}: {}", step.status.as_str(), step.sentence))
            .collect()
    }
}

#[test]
fn all_is_well_where_all_is_well() {
    let report = scene().report();
    let bad: Vec<_> = report
        .steps
        .iter()
        .filter(|step| step.status <= Status::Warning)
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
    let order: Vec<&str> = report.steps.iter().map(|step| step.kind.as_str()).collect();
    assert_eq!(
        order,
        [
            "configuration",
            "token",
            "app",
            "machines",
            "source",
            "metric",
            "expression",
            "release",
            "lock",
            "peers",
            "proxy",
            "plan"
        ]
    );
    assert!(report.is_ok());
    assert_eq!(report.plan["decision"], "no_scale");
}

#[test]
fn the_token_and_the_app_are_judged_by_what_a_pass_needs() {
    let of = |machines: Result<Vec<Machine>, ApiErrorCause>, scope: u16, about: u16| {
        let mut scene = scene();
        scene.machines = machines;
        if scope != 200 {
            scene.scope = Err(status(scope));
        }
        if about != 200 {
            scene.about = Err(status(about));
        }
        let report = scene.report();
        let line = |kind| {
            let step = report.steps.iter().find(|step| step.kind == kind);
            let step = step.expect("each step is listed");
            format!("{}: {}", step.status.as_str(), step.sentence)
        };
        [
            line(StepKind::Token),
            line(StepKind::App),
            line(StepKind::Machines),
        ]
    };
    let listed = || Ok(vec![machine("a", State::Started)]);
    let cases = [
        (
            of(listed(), 200, 200),
            [
                "ok: FAS_API_TOKEN is accepted and covers web (organization acme, apps web)",
                "ok: web exists in the organization acme, deployed",
                "ok: 1 machine of the group app: 1 started; ord 1",
            ],
        ),
        (
            // Fly need not answer what only explains.
            of(listed(), 401, 403),
            [
                "ok: FAS_API_TOKEN is accepted and covers web",
                "ok: web exists",
                "ok: 1 machine of the group app: 1 started; ord 1",
            ],
        ),
        (
            of(Err(status(401)), 401, 401),
            [
                "failed: the token in FAS_API_TOKEN was not accepted: HTTP 401: no",
                "skipped: needs a token that Fly accepts for this app",
                "skipped: needs a token that Fly accepts for this app",
            ],
        ),
        (
            of(Err(status(403)), 200, 403),
            [
                "failed: FAS_API_TOKEN is accepted, but does not cover web (organization acme, apps web): HTTP 403: no",
                "skipped: needs a token that Fly accepts for this app",
                "skipped: needs a token that Fly accepts for this app",
            ],
        ),
        (
            of(Err(status(403)), 404, 403),
            [
                "failed: the token in FAS_API_TOKEN was not accepted for web: HTTP 403: no",
                "skipped: needs a token that Fly accepts for this app",
                "skipped: needs a token that Fly accepts for this app",
            ],
        ),
        (
            of(Err(status(404)), 200, 404),
            [
                "ok: FAS_API_TOKEN is accepted",
                "failed: Fly knows no app web, or does not show it to this token: HTTP 404",
                "skipped: there is no such app",
            ],
        ),
        (
            of(Err(status(503)), 200, 503),
            [
                "ok: FAS_API_TOKEN is accepted",
                "skipped: the Machines API answered with an error (HTTP 503)",
                "failed: cannot list the machines (app \"web\"): HTTP 503 (fly-request-id 01SIM)",
            ],
        ),
        (
            of(Err(status(500)), 500, 500),
            [
                "skipped: the Machines API answered with an error (HTTP 500)",
                "skipped: the Machines API answered with an error (HTTP 500)",
                "failed: cannot list the machines (app \"web\"): HTTP 500 (fly-request-id 01SIM)",
            ],
        ),
        (
            of(Err(too_slow()), 503, 503),
            [
                "skipped: the Machines API did not answer",
                "skipped: the Machines API did not answer",
                "failed: cannot list the machines (app \"web\"): no answer within 15s, the limit that FAS_TIMEOUT sets (fly-request-id 01SIM)",
            ],
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
    // Something answers, and is not the Machines API.
    let garbage = || ApiErrorCause::Decode("expected value at line 1 column 1".to_owned());
    let mut odd = scene();
    odd.machines = Err(garbage());
    (odd.scope, odd.about) = (Err(garbage()), Err(garbage()));
    let answered = "skipped: the Machines API answered, but nothing of use: invalid response: expected value at line 1 column 1";
    let report = odd.report();
    for step in &report.steps[report.steps.len() - 12..] {
        if matches!(step.kind, StepKind::Token | StepKind::App) {
            assert_eq!(format!("skipped: {}", step.sentence), answered);
        }
    }
    let config = scene()
        .set("FAS_APP_NAME", "web*")
        .set("FAS_ORG", "acme")
        .config()
        .expect("a valid configuration");
    let error = call::<()>(Operation::ListApps, Err(garbage())).expect_err("garbage");
    let steps = unlisted_apps(&config, &config.fleets[0].apps, &error);
    assert_eq!(format!("skipped: {}", steps[0].sentence), answered);
}

#[test]
fn a_token_that_nobody_explains_in_time_is_warned_of_and_well() {
    let in_vain = || ApiErrorCause::Timeout {
        waited: Duration::from_secs(5),
        by_lock: false,
    };
    let mut late = scene();
    late.scope = Err(in_vain());
    let report = late.report();
    assert!(report.is_ok());
    let of_token = report
        .steps
        .iter()
        .filter(|step| step.kind == StepKind::Token);
    let told: Vec<String> = of_token
        .map(|step| format!("{}: {}", step.status.as_str(), step.sentence))
        .collect();
    assert_eq!(told[0], "ok: FAS_API_TOKEN is accepted and covers web");
    assert!(
        told[1].starts_with("warning: what the token is for is not known: GET /v1/tokens/current did not answer in time"),
        "{told:?}"
    );
    assert_eq!(told.len(), 2);
    let mut down = scene();
    (down.scope, down.machines) = (Err(in_vain()), Err(in_vain()));
    let of_token = down.lines(StepKind::Token);
    assert_eq!(of_token.len(), 1, "{of_token:?}");
}

#[test]
fn only_what_was_slow_is_told_to_be_waited_for_longer() {
    for (cause, slow) in [(status(500), false), (too_slow(), true)] {
        let mut down = scene();
        down.machines = Err(cause);
        let report = down.report();
        let failed = report
            .steps
            .iter()
            .find(|step| step.status == Status::Failed);
        let hint = failed.and_then(|step| step.hint.as_deref());
        assert_eq!(
            hint.map(|hint| hint.contains("FAS_TIMEOUT")),
            Some(slow),
            "{hint:?}"
        );
    }
}

#[test]
fn what_waits_to_be_destroyed_waits_for_the_release_too() {
    let waits = "1 running machine will be destroyed after 45 s of surplus";
    for (answer, once) in [
        (Ok(None), ""),
        (Ok(Some(release("complete"))), ""),
        (Ok(Some(release("running"))), ", once the deploy is done"),
        (
            Err(status(503)),
            ", once Fly says that no deploy is running",
        ),
        (Err(too_slow()), ", once Fly says that no deploy is running"),
    ] {
        let mut scene = scene().machines(vec![
            machine("a", State::Started),
            machine("b", State::Started),
        ]);
        scene.release = answer;
        let plan = scene.lines(StepKind::Plan);
        assert!(plan.contains(&format!("ok: {waits}{once}")), "{plan:?}");
    }
}

#[test]
fn of_a_lock_it_is_said_who_has_it_for_what_and_what_a_refusal_needs() {
    let config = scene()
        .set("FLY_CONSUL_URL", "http://:token@consul.test/prefix/")
        .config()
        .expect("a valid configuration");
    let lock = config.lock.expect("a lock");
    let held = |apps: &str| {
        let account = Account {
            version: "1".to_owned(),
            apps: apps.to_owned(),
            ..Account::default()
        };
        Ok(Some(Entry {
            session: Some("s".to_owned()),
            lock: LockIdentity {
                created: 1,
                locked: 1,
            },
            value: account.text(),
        }))
    };
    let ours = super::lock(&lock, "web", Some(&held("web")));
    assert_eq!(ours.status, Status::Ok);
    let theirs = super::lock(&lock, "web", Some(&held("api-*")));
    assert_eq!(theirs.status, Status::Warning);
    let words = "is held by a copy outside of Fly, version 1; that one scales api-*, and this copy web, so that one of the two \
                 is not scaled";
    assert!(theirs.sentence.ends_with(words), "{}", theirs.sentence);
    let refused = super::lock(
        &lock,
        "web",
        Some(&Err(ProbeError {
            step: "take a key",
            source: ConsulError::Denied {
                status: 403,
                message: Message::default(),
                rule: "key_prefix".to_owned(),
            },
        })),
    );
    let hint = refused.hint.expect("what to do");
    assert!(
        hint.contains("node_prefix") && !hint.contains("reach it"),
        "{hint}"
    );
    // What attaching sets is used only where the other one is not set.
    for hint in [hints::no_lock, hints::lock_refused] {
        let told = hint("FLY_CONSUL_URL");
        assert!(!told.contains("is not set"), "{told}");
        let told = hint("FAS_LOCK_URL");
        assert!(
            told.contains("FLY_CONSUL_URL") && told.contains("is not set"),
            "{told}"
        );
    }
}

#[test]
fn without_asking_nothing_is_said_of_a_second_copy_but_what_to_do_without_a_lock() {
    let own = [None, Some("my-autoscaler")];
    for steps in own.map(|own_app| [outcome::lock(own_app), outcome::peers()]) {
        for step in &steps {
            assert_eq!(step.status, Status::Skipped);
        }
        assert!(steps[0].sentence.starts_with("no lock is configured"));
        assert!(steps[1].sentence.starts_with("not asked "));
        let hint = steps[0].hint.as_deref();
        assert_eq!(
            hint,
            Some(
                "run one copy (fly scale count 1 -a my-autoscaler), or attach a lock: fly consul attach -a my-autoscaler"
            )
        );
    }
}

/// Settings, the answer, and what is said.
type PeersCase = (
    &'static [(&'static str, &'static str)],
    Option<Result<usize, String>>,
    Status,
    &'static str,
    Option<&'static str>,
);

#[test]
fn a_second_copy_without_a_lock_is_a_failure_and_no_answer_is_none() {
    const ON_FLY: &[(&str, &str)] = &[
        ("FLY_APP_NAME", "my-autoscaler"),
        ("FLY_MACHINE_ID", "e28"),
        ("FLY_PROCESS_GROUP", "app"),
    ];
    const LOCK: (&str, &str) = ("FLY_CONSUL_URL", "https://:secret@consul.test/p/");
    const DRY: (&str, &str) = ("FAS_DRY_RUN", "true");
    let advice = "run one copy (fly scale count 1 -a my-autoscaler), or attach a lock: fly consul attach -a my-autoscaler";
    let in_a_minute = "run one copy (fly scale count 1 -a my-autoscaler), or attach a lock: fly consul attach -a my-autoscaler\nif the autoscaler is being deployed just now, check again in a minute";
    let cases: [PeersCase; 8] = [
        (&[], Some(Ok(1)), Status::Ok, "one copy runs", None),
        (
            &[],
            Some(Ok(2)),
            Status::Failed,
            "2 copies run without a lock (app.process.my-autoscaler.internal), and each of them acts",
            Some(in_a_minute),
        ),
        (
            &[DRY],
            Some(Ok(3)),
            Status::Warning,
            "3 copies run (app.process.my-autoscaler.internal): a dry run does no harm",
            Some(advice),
        ),
        (
            &[],
            Some(Err("no such name".to_owned())),
            Status::Skipped,
            "cannot tell whether a second copy runs: app.process.my-autoscaler.internal: no such name",
            None,
        ),
        (
            &[LOCK],
            None,
            Status::Skipped,
            "with a lock any number of copies may run",
            None,
        ),
        (
            &[LOCK, DRY],
            Some(Ok(2)),
            Status::Warning,
            "2 copies run",
            Some(advice),
        ),
        (
            &[("FLY_PROCESS_GROUP", "fly_app_console")],
            None,
            Status::Skipped,
            "only on a machine of the autoscaler's own app",
            None,
        ),
        (
            &[("FLY_MACHINE_ID", "")],
            None,
            Status::Skipped,
            "only on a machine of the autoscaler's own app",
            None,
        ),
    ];
    for (settings, answer, status, sentence, hint) in cases {
        let mut scene = scene();
        for (name, value) in ON_FLY.iter().chain(settings) {
            scene = scene.set(name, value);
        }
        let config = scene.config().expect("it is valid");
        let step = super::peers(&config, answer.as_ref());
        assert_eq!(step.status, status, "{settings:?} {step:?}");
        assert!(step.sentence.starts_with(sentence), "{settings:?} {step:?}");
        assert_eq!(step.hint.as_deref(), hint, "{settings:?}");
        let report = scene.report().with(&step);
        let shown: Vec<_> = report
            .steps
            .iter()
            .filter(|one| one.kind == StepKind::Peers)
            .collect();
        assert_eq!(shown, [&step]);
    }
}

#[test]
fn a_step_whose_forerunner_failed_is_skipped_with_why() {
    let mut down = scene();
    down.machines = Err(status(503));
    let report = down.report();
    let skipped = |kind| {
        let step = report.steps.iter().find(|step| step.kind == kind);
        let step = step.expect("each step is listed");
        assert_eq!(step.status, Status::Skipped, "{step:?}");
        step.sentence.clone()
    };
    for kind in [StepKind::Source, StepKind::Proxy, StepKind::Plan] {
        assert_eq!(skipped(kind), "the machines could not be listed");
    }
    // What needs no machines is tried all the same.
    let found = scene_without_list("ceil(queue_depth / 10)");
    assert_eq!(found, ["ok: ceil(queue_depth / 10) = 1 -> 1"]);
    let found = scene_without_list("started_machine_count + queue_depth");
    assert_eq!(
        found[0],
        "skipped: started_machine_count + queue_depth needs the machine counts"
    );
    let found = scene()
        .metric(Err(CollectError::Partial))
        .lines(StepKind::Expression);
    assert_eq!(
        found,
        ["skipped: ceil(queue_depth / 10) needs queue_depth, which has no value"]
    );
    let found = scene()
        .metric(Err(CollectError::Partial))
        .lines(StepKind::Plan);
    assert_eq!(found, ["skipped: nothing is done: no target has a value"]);
}

fn scene_without_list(expression: &'static str) -> Vec<String> {
    let mut scene = scene().set("FAS_CREATED_MACHINE_COUNT", expression);
    scene.machines = Err(status(503));
    scene.lines(StepKind::Expression)
}

#[test]
fn a_metric_fails_the_check_only_where_an_expression_needs_it() {
    let cases = [
        ("ceil(queue_depth / 10)", "failed"),
        ("ceil((queue_depth ?? 80) / 10)", "warning"),
        // Whatever the list of machines was answered.
        ("queue_depth + created_machine_count", "failed"),
    ];
    for (expression, expected) in cases {
        for listed in [true, false] {
            let mut tried = scene()
                .set("FAS_CREATED_MACHINE_COUNT", expression)
                .metric(Err(CollectError::Empty));
            if !listed {
                tried.machines = Err(status(503));
            }
            let found = tried.lines(StepKind::Metric);
            assert!(found[0].starts_with(expected), "{expression}: {found:?}");
        }
    }
    let mut two = scene().set("FAS_CREATED_MACHINE_COUNT", "queue_depth + workflows");
    two.file = Some(
        "metric-collectors:\n- {type: prometheus, metric-name: queue_depth, address: 'http://p', query: a}\n\
         - {type: prometheus, metric-name: workflows, address: 'http://p', query: b}\n",
    );
    for metric in ["queue_depth", "workflows"] {
        two.metrics.insert(metric, Err(CollectError::Empty));
    }
    let found = two.lines(StepKind::Metric);
    let failed = found.iter().filter(|line| line.starts_with("failed"));
    assert_eq!(
        failed.count(),
        2,
        "the first does not hide the second: {found:?}"
    );
}

#[test]
fn a_metric_is_told_with_what_is_odd_about_it() {
    let of = |sample: Sample| scene().metric(Ok(sample)).lines(StepKind::Metric);
    let query = "(query: sum(depth{app='web'}))";
    assert_eq!(of(sample(10.0)), [format!("ok: 10 {query}")]);
    let old = Sample {
        time: Some(1_767_323_100.0 - 40.0),
        ..sample(10.0)
    };
    assert_eq!(of(old), [format!("ok: 10, 40 s old {query}")]);
    let empty_sample = || Sample {
        element_count: 0,
        ..sample(0.0)
    };
    assert_eq!(
        of(empty_sample())[0],
        format!("ok: 0, by FAS_PROMETHEUS_EMPTY_VALUE: the query returned nothing, or NaN {query}")
    );
    let idle = |scene: Scene| {
        let found = scene.metric(Ok(empty_sample())).lines(StepKind::Metric);
        found.get(1).cloned()
    };
    assert_eq!(
        idle(scene()).as_deref(),
        Some("warning: nothing was returned while 1 machine runs: it counts as 0")
    );
    assert_eq!(idle(scene().set("FAS_MACHINE_FLOOR", "2")), None);
    let warned = Sample {
        warnings: vec!["a store is away".to_owned()],
        ..sample(1.0)
    };
    assert_eq!(
        of(warned),
        [
            format!("ok: 1 {query}"),
            "warning: the server warns: a store is away".to_owned()
        ]
    );
    let unread = scene()
        .set("FAS_CREATED_MACHINE_COUNT", "3")
        .lines(StepKind::Metric);
    assert_eq!(unread[1], "warning: no expression reads it");
}

/// What is advised where a metric has no value: as it can be written into `fly.toml`, and only where it would help.
#[test]
fn the_cure_of_a_metric_can_be_pasted() {
    let hint = |query: &'static str, error: CollectError| {
        let scene = scene()
            .set("FAS_PROMETHEUS_QUERY", query)
            .metric(Err(error));
        let mut steps = scene.report().steps.into_iter();
        let step = steps.find(|step| step.kind == StepKind::Metric);
        step.and_then(|step| step.hint).unwrap_or_default()
    };
    for (query, cure) in [
        (
            "sum(depth{app='$APP_NAME'})",
            r#""sum(depth{app='$APP_NAME'}) or vector(0)""#,
        ),
        (
            r#"sum(depth{app="$APP_NAME"})"#,
            r#"'sum(depth{app="$APP_NAME"}) or vector(0)'"#,
        ),
        (
            r#"sum(depth{app="$APP_NAME",kind='a'})"#,
            r#"'''sum(depth{app="$APP_NAME",kind='a'}) or vector(0)'''"#,
        ),
    ] {
        let hint = hint(query, CollectError::Empty);
        let line = hint.lines().last().unwrap_or_default();
        assert_eq!(line, format!("FAS_PROMETHEUS_QUERY = {cure}"));
    }
    let blank = hint("sum(depth{app=''})", CollectError::Empty);
    assert!(blank.contains("a shell replaces $APP_NAME"), "{blank}");
    let away = |status| CollectError::HttpStatus {
        status,
        body: String::new(),
    };
    let hint_of = |status| hint("sum(depth)", away(status));
    assert!(hint_of(StatusCode::SERVICE_UNAVAILABLE).starts_with("the server failed"));
    assert!(hint_of(StatusCode::NOT_FOUND).starts_with("is FAS_PROMETHEUS_ADDRESS right?"));
}

/// A cure names the settings as they were written, and is never cut: it is to be pasted.
#[test]
fn the_cure_of_a_metric_of_the_file_names_its_keys() {
    let file = "metric-collectors:\n  - {type: prometheus, metric-name: other, query: '1', address: 'http://localhost:9090'}\n  \
                - {type: prometheus, metric-name: queue_depth, query: \"sum(depth{app='$APP_NAME',a=\\\"b\\\"})\", address: 'http://localhost:9090'}\n";
    let told = |result: Result<Sample, CollectError>| {
        let mut scene = scene().metric(result);
        scene.metrics.insert("other", Ok(sample(1.0)));
        scene.file = Some(file);
        scene
            .settings
            .retain(|name, _| !name.starts_with("FAS_PROMETHEUS"));
        let mut steps = scene.report().steps.into_iter();
        let step = steps.find(|step| {
            step.kind == StepKind::Metric && step.name.as_deref() == Some("queue_depth")
        });
        let step = step.expect("a line for the metric");
        (step.sentence, step.hint.unwrap_or_default())
    };
    let refused = CollectError::Unauthorized {
        status: StatusCode::UNAUTHORIZED,
        body: String::new(),
    };
    let down = CollectError::Timeout {
        peer: String::new(),
    };
    for (error, sentence, parts) in [
        (
            CollectError::Empty,
            "set `metric-collectors[1].empty-value`)",
            vec![
                "`empty-value: 0` at metric-collectors[1], or in the file, at metric-collectors[1]\n",
                r#"query: "sum(depth{app='$APP_NAME',a=\"b\"}) or vector(0)""#,
            ],
        ),
        (
            CollectError::Nan,
            "(`metric-collectors[1].empty-value` can replace it)",
            vec!["`empty-value: 0` at metric-collectors[1]"],
        ),
        (
            CollectError::Matrix,
            "the query returned a matrix",
            vec!["in the file, at metric-collectors[1]:\nquery: \"sum("],
        ),
        (
            refused,
            "check `metric-collectors[1].token`",
            vec!["at metric-collectors[1]: token: $FAS_PROMETHEUS_TOKEN"],
        ),
        (
            CollectError::NotJson {
                looks: "HTML or XML",
                body: String::new(),
            },
            "found HTML",
            vec!["is metric-collectors[1].address right?"],
        ),
        (down, "no answer", vec![]),
    ] {
        let item = Spelling::Item("metric-collectors[1]".to_owned());
        let error = error.respelt(CollectorKind::Prometheus, &item);
        let (said, hint) = told(Err(error));
        assert!(said.contains(sentence), "{said}");
        assert!(!said.contains("FAS_PROMETHEUS"), "{said}");
        for part in parts {
            assert!(hint.contains(part), "{part}: {hint}");
        }
        assert!(!hint.contains("FAS_PROMETHEUS_EMPTY_VALUE"), "{hint}");
        assert!(!hint.contains("FAS_PROMETHEUS_QUERY"), "{hint}");
    }
    let (said, _) = told(Ok(Sample {
        element_count: 0,
        ..sample(7.0)
    }));
    assert!(
        said.starts_with("7, by metric-collectors[1].empty-value: "),
        "{said}"
    );
}

#[test]
fn a_cure_is_never_cut() {
    let query: &'static str =
        format!("sum(depth{{app='$APP_NAME',kind=~'{}'}})", "a|".repeat(400)).leak();
    for error in [CollectError::Empty, CollectError::Matrix] {
        let scene = scene()
            .set("FAS_PROMETHEUS_QUERY", query)
            .metric(Err(error));
        let mut steps = scene.report().steps.into_iter();
        let step = steps.find(|step| step.kind == StepKind::Metric);
        let hint = step.and_then(|step| step.hint).unwrap_or_default();
        assert!(hint.contains(query), "{hint}");
    }
    let group = "g".repeat(100);
    let mut machine = machine("a", State::Started);
    machine.process_group = group.into();
    let steps = scene().machines(vec![machine]).report().steps;
    let step = steps.iter().find(|step| step.kind == StepKind::Machines);
    let hint = step.and_then(|step| step.hint.as_deref());
    assert_eq!(
        hint,
        Some("name the process group whose machines are to be scaled: FAS_PROCESS_GROUP=*")
    );
}

#[test]
fn what_is_skipped_for_one_reason_is_one_line_for_people() {
    let report = scene().set("FAS_CREATED_MACHINE_COUNT", "ceil(").report();
    let skipped = report.count(Status::Skipped);
    assert_eq!(skipped, 11, "a step each for programs");
    let text = report.text();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("skipped"))
        .collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>().join(" "),
        "skipped 11 steps the configuration has to be corrected first: token, app, machines, source, metric, expression, \
         release, lock, peers, proxy, plan"
    );
    let empty = |name: &str| App {
        name: name.to_owned(),
        choice: format!("--app {name}"),
        report: Report {
            steps: vec![Step::skipped(StepKind::Machines, "no machine")],
            ..Report::default()
        },
    };
    let scene = scene().set("FAS_APP_NAME", "web*").set("FAS_ORG", "acme");
    let config = scene.config().expect("a valid configuration");
    let listed = ["web-0", "web-1"].map(str::to_owned).into();
    let apps = vec![empty("web-0"), empty("web-1")];
    let matched = Matched {
        listed: &listed,
        left_out: None,
        own: 2,
        of_others: 0,
    };
    let text = Report {
        steps: of_apps(&config, &config.fleets[0].apps, matched, apps),
        ..Report::default()
    }
    .text();
    for app in ["web-0", "web-1"] {
        assert!(text.contains(&format!("skipped  app {app}  ")), "{text}");
    }
}

type Settings = Vec<(&'static str, &'static str)>;

/// What is warned of in expressions, by their settings.
#[test]
fn an_expression_that_may_not_be_meant_is_warned_of() {
    const DIVIDES: &str =
        "the result of a division is rounded to the nearest whole number: 2.4 is 2 machines";
    const CLIMBS_TO_10: &str = "it climbs to 10 by itself, whatever the load: each machine that it adds makes it ask for another one";
    let endless = "queue_depth counts the very machines that this expression sets: each one that it adds raises it again";
    let running = (
        "FAS_PROMETHEUS_QUERY",
        "count(fly_instance_up{app='$APP_NAME'})",
    );
    let stopped = ("FAS_INITIAL_MACHINE_STATE", "stopped");
    let created = |text| ("FAS_CREATED_MACHINE_COUNT", text);
    let floor = |text| ("FAS_MACHINE_FLOOR", text);
    let ceiling = |text| ("FAS_MACHINE_CEILING", text);
    let cases: Vec<(Settings, Vec<&str>)> = vec![
        (vec![], vec![]),
        (vec![created("queue_depth / 10")], vec![DIVIDES]),
        (vec![created("max(1, queue_depth / 10)")], vec![DIVIDES]),
        (vec![created("queue_depth / 10 > 3 ? 5 : 2")], vec![]),
        (
            vec![running, created("min(queue_depth + 1, 10)")],
            vec![endless],
        ),
        (
            vec![running, stopped, created("min(queue_depth + 1, 10)")],
            vec![],
        ),
        (
            vec![
                (
                    "FAS_PROMETHEUS_QUERY",
                    "count(fly_instance_up{app='other'})",
                ),
                created("min(queue_depth + 1, 10)"),
            ],
            vec![],
        ),
        (
            vec![created("min(started_machine_count + 1, 10)")],
            vec![CLIMBS_TO_10],
        ),
        (
            vec![stopped, created("min(started_machine_count + 1, 10)")],
            vec![],
        ),
        (
            vec![stopped, created("min(created_machine_count + 1, 10)")],
            vec![CLIMBS_TO_10],
        ),
        (
            vec![created("queue_depth > 0 ? 2 * created_machine_count : 1")],
            vec![
                "it climbs without end by itself, whatever the load: each machine that it adds makes it ask for another one",
            ],
        ),
        (
            vec![created("max(created_machine_count, queue_depth)")],
            vec![],
        ),
        (
            vec![created(
                "queue_depth + created_machine_count - started_machine_count",
            )],
            vec![],
        ),
        (
            vec![
                created(""),
                (
                    "FAS_STARTED_MACHINE_COUNT",
                    "min(started_machine_count + 1, 10)",
                ),
            ],
            vec![CLIMBS_TO_10],
        ),
        (
            vec![
                ("FAS_PROMETHEUS_QUERY", "count(fly_instance_up)"),
                created("min(queue_depth + 1, 10)"),
            ],
            vec![endless],
        ),
        (
            vec![
                running,
                created(""),
                ("FAS_STARTED_MACHINE_COUNT", "queue_depth + 1"),
            ],
            vec![endless],
        ),
        (
            vec![
                created(""),
                ("FAS_MIN_CREATED_MACHINE_COUNT", "ceil(queue_depth / 10)"),
                ("FAS_MAX_CREATED_MACHINE_COUNT", "5"),
            ],
            vec![
                "the minimum can pass the maximum: with queue_depth = 100 it is 10 and the maximum 5, which is then the target",
            ],
        ),
        (
            vec![
                created(""),
                ("FAS_MIN_CREATED_MACHINE_COUNT", "ceil(queue_depth / 10)"),
                (
                    "FAS_MAX_CREATED_MACHINE_COUNT",
                    "ceil(queue_depth / 10) + 3",
                ),
            ],
            vec![],
        ),
        (
            vec![
                created(""),
                ("FAS_MIN_CREATED_MACHINE_COUNT", "5"),
                ("FAS_MAX_CREATED_MACHINE_COUNT", "3"),
            ],
            vec![
                "the minimum can pass the maximum: it is 5 and the maximum 3, which is then the target",
            ],
        ),
        (vec![floor("2")], vec![]),
        // It acts while the metric has no value.
        (vec![floor("2"), created("max(2, queue_depth)")], vec![]),
        (
            vec![floor("2"), created("max(2, queue_depth ?? 4)")],
            vec!["FAS_MACHINE_FLOOR=2 never acts: the target is never below 2"],
        ),
        (
            vec![floor("1"), created("max(0, queue_depth ?? 4)")],
            vec!["FAS_MACHINE_FLOOR=1 never acts: the target is never below 1"],
        ),
        (vec![ceiling("10")], vec![]),
        (vec![ceiling("10"), created("min(12, queue_depth)")], vec![]),
        (
            vec![ceiling("20"), created("min(10, queue_depth)")],
            vec!["FAS_MACHINE_CEILING=20 never lowers the target, which is never above 10"],
        ),
    ];
    for (settings, expected) in cases {
        let mut scene = scene();
        for (name, value) in &settings {
            scene = scene.set(name, value);
        }
        let report = scene.report();
        let found: Vec<&Step> = report
            .steps
            .iter()
            .filter(|step| step.kind == StepKind::Expression && step.status == Status::Warning)
            .collect();
        let sentences: Vec<&str> = found.iter().map(|step| step.sentence.as_str()).collect();
        assert_eq!(sentences, expected, "{settings:?}");
        assert!(found.iter().all(|step| step.hint.is_some()), "{found:?}");
    }
}

#[test]
fn an_expression_without_a_value_fails_with_what_to_do() {
    let found = scene()
        .set("FAS_CREATED_MACHINE_COUNT", "queue_depth / 0")
        .report();
    let step = found
        .steps
        .iter()
        .find(|step| step.kind == StepKind::Expression && step.status == Status::Failed)
        .expect("it is infinite");
    assert_eq!(step.sentence, "queue_depth / 0: the result is infinite");
    assert!(
        step.hint
            .as_deref()
            .is_some_and(|hint| hint.contains("Guard it"))
    );
}

#[test]
fn the_proxys_services_fit_the_targets_or_fight_with_them() {
    let services = |autostop: &str, autostart: &str| {
        let json = format!(r#"{{"services":[{{"autostop":{autostop},"autostart":{autostart}}}]}}"#);
        proxy::Services::of(&MachineConfig::new(json, None))
    };
    for (word, expected) in [
        ("true", true),
        ("\"stop\"", true),
        ("\"suspend\"", true),
        ("false", false),
        ("\"off\"", false),
        ("null", false),
        ("7", false),
    ] {
        assert_eq!(services(word, "false").autostop, expected, "{word}");
        assert!(services(word, "true").autostart, "{word}");
    }
    for json in [
        "{}",
        r#"{"services":null}"#,
        r#"{"services":7}"#,
        "[",
        r#"{"services":[7]}"#,
    ] {
        let found = proxy::Services::of(&MachineConfig::new(json, None));
        assert!(!found.autostop && !found.autostart, "{json}");
    }

    let both = services("true", "true");
    let stop = services("true", "false");
    let start = services("false", "true");
    let neither = services("false", "false");
    let none = proxy::Services::default();
    let by_created = |initial_state| proxy::Wishes {
        created: true,
        started: false,
        initial_state,
    };
    let (spare, running) = (
        by_created(InitialState::Stopped),
        by_created(InitialState::Started),
    );
    let by_started = proxy::Wishes {
        created: false,
        started: true,
        initial_state: InitialState::Started,
    };
    let fits = [
        (both, spare),
        (both, running),
        (start, running),
        (neither, running),
        (none, running),
        (neither, by_started),
        (none, by_started),
    ];
    let fights = [
        (stop, spare),
        (start, spare),
        (neither, spare),
        (none, spare),
        (stop, running),
        (both, by_started),
        (stop, by_started),
        (start, by_started),
    ];
    for (cases, expected) in [(&fits[..], true), (&fights[..], false)] {
        for (services, wishes) in cases {
            let (found, sentence, hint) = proxy::judge(*services, *wishes);
            assert_eq!(found, expected, "{services:?} {wishes:?}: {sentence}");
            assert_eq!(hint.is_some(), !expected, "{services:?} {wishes:?}");
        }
    }
}

#[test]
fn the_source_is_told_with_what_a_clone_would_not_carry() {
    let mut odd = machine("a", State::Started);
    odd.config = Some(MachineConfig::new(
        r#"{"image":"i","metadata":{"fas_protect":"true","fly_process_group":"app"}}"#,
        None,
    ));
    let found = scene().machines(vec![odd]).lines(StepKind::Source);
    assert_eq!(
        found,
        ["ok: a would be cloned (started, ord, release v12), without fas_protect"]
    );
    let mut with_volume = machine("a", State::Started);
    with_volume.has_mounts = true;
    let found = scene()
        .machines(vec![with_volume.clone()])
        .lines(StepKind::Source);
    assert_eq!(found, ["failed: 1 machine with volumes cannot be cloned"]);
    let found = scene()
        .set("FAS_CLONE_VOLUMES", "true")
        .machines(vec![with_volume.clone()])
        .lines(StepKind::Source);
    assert!(
        found[1].starts_with("warning: its volumes are not copied"),
        "{found:?}"
    );
    let found = scene()
        .machines(vec![with_volume, machine("b", State::Stopped)])
        .lines(StepKind::Source);
    assert!(
        found[0].starts_with("ok: b would be cloned (stopped"),
        "{found:?}"
    );
    assert_eq!(
        found[1],
        "warning: 1 machine with volumes cannot be cloned, and stay when they are too many"
    );
    let mut without_image = machine("a", State::Started);
    without_image.config = Some(MachineConfig::new("{}", None));
    let found = scene()
        .machines(vec![without_image])
        .lines(StepKind::Source);
    assert!(
        found[0].starts_with("failed: a cannot be cloned: "),
        "{found:?}"
    );
}

#[test]
fn the_release_is_judged_as_a_pass_does() {
    let of = |answer: Result<Option<Release>, ApiErrorCause>| {
        let mut scene = scene();
        scene.release = answer;
        scene.lines(StepKind::Release).remove(0)
    };
    let cases = [
        (Ok(None), "ok: the app was never released"),
        (
            Ok(Some(release("complete"))),
            "ok: release v12 is `complete`",
        ),
        (
            Ok(Some(release("failed"))),
            "warning: release v12 is `failed`",
        ),
        (
            Ok(Some(release("running"))),
            "warning: release v12 is being deployed: nothing is changed until it is done",
        ),
        (
            Ok(Some(Release {
                created_at: Some("2026-01-01T00:00:00Z".parse().expect("a literal timestamp")),
                ..release("running")
            })),
            "warning: release v12 has said `running` for longer than FAS_DEPLOY_TIMEOUT",
        ),
        (Err(status(503)), "warning: cannot get the current release"),
        (Err(too_slow()), "warning: cannot get the current release"),
        (
            Err(status(401)),
            "failed: Fly's GraphQL API refuses to say what the release is",
        ),
        (
            Err(ApiErrorCause::UnknownApp("GraphQL: no".to_owned())),
            "failed: Fly's GraphQL API refuses to say what the release is",
        ),
    ];
    for (answer, expected) in cases {
        let found = of(answer);
        assert!(found.starts_with(expected), "{found}");
    }
    // A plan that is refused is not told as one that would be carried out; where nothing is to be done nobody asks.
    let mut wanting = scene().metric(Ok(sample(30.0)));
    wanting.release = Err(status(401));
    assert!(wanting.lines(StepKind::Plan)[0].starts_with("skipped: a pass that wants to change"));
    let mut held = scene().metric(Ok(sample(30.0)));
    held.release = Ok(Some(release("running")));
    let report = held.report();
    assert_eq!(report.plan["decision"], "no_scale");
    assert_eq!(report.plan["held_by_deploy"], true);
}

#[test]
fn the_plan_is_told_in_the_words_of_the_log() {
    let found = scene().metric(Ok(sample(30.0))).lines(StepKind::Plan);
    assert_eq!(
        found,
        ["ok: would create 2 machines like a (in ord, ord): 1 machine exists, 3 wanted"]
    );
    let report = scene().metric(Ok(sample(30.0))).report();
    assert_eq!(report.plan["decision"], "create");
    assert_eq!(report.plan["action"], "create 2 machines like a");
    assert_eq!(report.plan["targets"]["created"]["min"], 3);
    assert!(report.plan["targets"]["started"]["min"].is_null());
    let mut slow = scene();
    slow.took = Duration::from_secs(25);
    let found = slow.lines(StepKind::Plan);
    assert!(found[1].contains("took 25.0 s of FAS_TIMEOUT"), "{found:?}");
}

#[test]
fn json_has_every_member_and_text_a_line_for_each_step() {
    let report = scene().metric(Err(CollectError::Empty)).report();
    let json = report.json();
    assert_eq!(json["ok"], false);
    for step in json["steps"].as_array().expect("a list") {
        let members: Vec<&str> = step
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        let mut expected = ["step", "name", "status", "sentence", "hint", "detail"];
        let mut members = members;
        members.sort_unstable();
        expected.sort_unstable();
        assert_eq!(members, expected);
        let status = step["status"].as_str().expect("a text");
        assert!(["ok", "warning", "failed", "skipped"].contains(&status));
    }
    let text = report.text();
    let metric = text
        .lines()
        .position(|line| line.starts_with("FAILED   metric queue_depth"))
        .expect("a line for the metric");
    let hint = text.lines().nth(metric + 1).expect("a line below it");
    assert!(
        hint.starts_with("         -> try the query in Grafana"),
        "{hint}"
    );
    assert!(
        text.ends_with("It does not work yet: 1 failure. Nothing was changed."),
        "{text}"
    );
    let well = scene().report().text();
    assert!(
        well.ends_with("All checks passed. Nothing was changed."),
        "{well}"
    );
}

#[test]
fn of_several_apps_the_failures_come_first() {
    let scene = scene().set("FAS_APP_NAME", "web*").set("FAS_ORG", "acme");
    let config = scene.config().expect("a valid configuration");
    let app = |name: &str, status: Status| App {
        name: name.to_owned(),
        choice: format!("--app {name}"),
        report: Report {
            steps: vec![
                Step::new(StepKind::Machines, Status::Ok, "one"),
                Step::new(StepKind::Plan, Status::Ok, "nothing to do"),
                Step::new(StepKind::Metric, status, "this is it").named("q"),
            ],
            ..Report::default()
        },
    };
    let apps = vec![
        app("web-1", Status::Ok),
        app("web-2", Status::Failed),
        app("web-3", Status::Warning),
        app("web-0", Status::Failed),
    ];
    let listed = ["web-0", "web-1", "web-2", "web-3", "other"].map(str::to_owned);
    let selection = &config.fleets[0].apps;
    let listed = listed.into();
    let matched = Matched {
        listed: &listed,
        left_out: Some("web-me"),
        own: 4,
        of_others: 0,
    };
    let steps = of_apps(&config, selection, matched, apps);
    let lines: Vec<String> = steps
        .iter()
        .filter(|step| step.kind == StepKind::App)
        .map(|step| {
            let name = step.name.as_deref().unwrap_or("-");
            format!("{name} {}: {}", step.status.as_str(), step.sentence)
        })
        .collect();
    assert_eq!(
        lines,
        [
            "- ok: 4 of the 5 apps of acme match web*",
            "web-me skipped: the autoscaler's own app, which is not scaled",
            "web-0 failed: metric q: this is it",
            "web-2 failed: metric q: this is it",
            "web-3 warning: nothing to do; metric q: this is it",
            "web-1 ok: nothing to do",
        ]
    );
    let failed = steps
        .iter()
        .find(|step| step.name.as_deref() == Some("web-2"));
    let hint = failed.and_then(|step| step.hint.as_deref());
    assert_eq!(hint, Some("all about it: fly-autoscaler check --app web-2"));
    // What a policy before it in the list has is matched all the same.
    let of_others = |of_others| {
        let matched = Matched {
            own: 0,
            of_others,
            ..matched
        };
        let steps = of_apps(&config, selection, matched, Vec::new());
        let mut steps = steps.into_iter().filter(|one| one.kind == StepKind::App);
        steps.next().map(|step| (step.status, step.sentence))
    };
    let all =
        "2 of the 5 apps of acme match web*, and policies before it in the list have all of them";
    assert_eq!(of_others(2), Some((Status::Ok, all.to_owned())));
    let none = "0 of the 5 apps of acme match web*: nothing is scaled";
    assert_eq!(of_others(0), Some((Status::Failed, none.to_owned())));
}

/// An app of which each region is a fleet, as seen by one of them, of so many.
fn region(regions: usize) -> Scene {
    let mut scene = scene().set("FAS_PER_REGION", "true");
    scene.region = Some(("ord", regions));
    scene
}

/// The lines about the metric, with what to do.
fn of_metric(scene: Scene) -> Vec<(Status, String, String)> {
    let steps = scene.report().steps.into_iter();
    let steps = steps.filter(|step| step.kind == StepKind::Metric);
    steps
        .map(|step| (step.status, step.sentence, step.hint.unwrap_or_default()))
        .collect()
}

#[test]
fn the_cure_of_a_regions_metric_leaves_each_region_its_own() {
    let by_region = "sum by (region) (depth{app='$APP_NAME'})";
    let with_default = "sum by (region) (depth{app='$APP_NAME'}) or vector(0)";
    let summed = "sum(sum by (region) (depth{app='$APP_NAME'}) or vector(0))";
    let none = || CollectError::NoRegion {
        region: "ord".to_owned(),
        others: "iad".to_owned(),
    };
    let several = |is_of_region| Sample {
        element_count: 2,
        is_of_region,
        ..sample(12.0)
    };
    let cure = format!("FAS_PROMETHEUS_QUERY = \"{by_region}\"");
    let zero = "FAS_PROMETHEUS_EMPTY_VALUE=0".to_owned();
    let filtered = by_region.replace("'}", "',region!=''}");
    let cases: [(&str, Result<Sample, CollectError>, Vec<&str>); 8] = [
        (by_region, Err(none()), vec![&zero]),
        (by_region, Err(CollectError::NoRegions), vec![&zero]),
        (
            with_default,
            Err(CollectError::SomeRegions),
            vec![&zero, &cure],
        ),
        (summed, Err(CollectError::SomeRegions), vec![&zero, &cure]),
        (by_region, Err(CollectError::SomeRegions), vec![&filtered]),
        ("depth{app='$APP_NAME'}", Ok(several(true)), vec![&cure]),
        ("depth{app='$APP_NAME'}", Ok(several(false)), vec![&cure]),
        (
            "sum(depth{app='$APP_NAME'})",
            Ok(sample(65.0)),
            vec![&cure, "$REGION"],
        ),
    ];
    for (query, answer, parts) in cases {
        let query: &'static str = query.to_owned().leak();
        let found = of_metric(region(3).set("FAS_PROMETHEUS_QUERY", query).metric(answer));
        let hints: Vec<&str> = found.iter().map(|(.., hint)| hint.as_str()).collect();
        let hints = hints.concat();
        for part in parts {
            assert!(hints.contains(part), "{query}: {part}: {hints}");
        }
        for trap in ["or vector", "sum(sum", "\"sum("] {
            assert!(!hints.contains(trap), "{query}: {hints}");
        }
    }
    // A query for each region is about one alone.
    let own = "depth{app='$APP_NAME',region='$REGION'}";
    let answer = Ok(several(false));
    let found = of_metric(region(3).set("FAS_PROMETHEUS_QUERY", own).metric(answer));
    let hint = &found[1].2;
    assert!(hint.contains(&format!("\"sum({own})\"")), "{hint}");
    // To leave out what has no region is no comparison that a shell has emptied.
    let leaves_out = region(3)
        .set(
            "FAS_PROMETHEUS_QUERY",
            "sum by (region) (depth{region!=''})",
        )
        .metric(Err(CollectError::NoRegions));
    let hint = &of_metric(leaves_out)[0].2;
    assert!(!hint.contains("a shell replaces"), "{hint}");
}

#[test]
fn the_cure_of_a_regions_metric_names_the_keys_of_the_file() {
    let mut of_file = region(3).metric(Err(CollectError::SomeRegions));
    of_file.file = Some(
        "metric-collectors:\n  - {type: prometheus, metric-name: queue_depth, query: 'sum by (region) (depth) or vector(0)', address: 'http://localhost:9090'}\n",
    );
    let cure = "what a region without an element has is set by itself: `empty-value: 0` at metric-collectors[0], and in the file, at metric-collectors[0]:\n\
                query: \"sum by (region) (depth)\"";
    assert_eq!(of_metric(of_file)[0].2, cure);
}

#[test]
fn one_number_for_several_regions_is_warned_of_where_a_target_reads_it() {
    let told = |scene: Scene| {
        let found = of_metric(scene).into_iter();
        let mut found = found
            .filter(|(status, said, _)| *status == Status::Warning && said.contains("holds for"));
        found.next().map(|(_, said, hint)| (said, hint))
    };
    let all = |scene: Scene| told(scene).map(|(said, _)| said);
    let one = "the number 10 holds for all 3 regions: each of them scales to the whole of it";
    assert_eq!(all(region(3)).as_deref(), Some(one));
    assert_eq!(all(region(1)), None);
    assert_eq!(all(scene()), None);
    let own = Sample {
        is_of_region: true,
        ..sample(10.0)
    };
    assert_eq!(all(region(3).metric(Ok(own))), None);
    let of_each = "sum(depth{region='$REGION'})";
    assert_eq!(all(region(3).set("FAS_PROMETHEUS_QUERY", of_each)), None);
    let unread = region(3).set("FAS_CREATED_MACHINE_COUNT", "3");
    assert_eq!(all(unread), None);
    let mut redis = region(3)
        .set("FAS_PROMETHEUS_ADDRESS", "")
        .set("FAS_PROMETHEUS_METRIC_NAME", "")
        .set("FAS_PROMETHEUS_QUERY", "")
        .set("FAS_REDIS_URL", "redis://localhost")
        .set("FAS_REDIS_METRIC_NAME", "queue_depth")
        .set("FAS_REDIS_COMMAND", "LLEN queue");
    redis.asked = CollectorKind::Redis;
    let (_, hint) = told(redis).expect("a warning");
    assert_eq!(
        hint,
        "fine if each region is to have as many; else ask for each region's own, with $REGION in FAS_REDIS_COMMAND"
    );
}

#[test]
fn regions_of_one_group_decide_beside_each_other() {
    let scene = scene()
        .set("FAS_PER_REGION", "true")
        .set("FAS_CREATED_MACHINE_COUNT", "0");
    let config = scene.config().expect("a valid configuration");
    let in_region = |id: &str, region: &str| {
        let mut machine = machine(id, State::Stopped);
        machine.region = region.into();
        machine
    };
    let machines = [in_region("a", "iad"), in_region("b", "ord")];
    let regions = ["iad", "ord"].map(|region| config.fleets[0].of_region(region));
    let mut values = [0, 1].map(|_| crate::expr::Values::new(&config.fleets[0].names));
    let wanted = regions.iter().zip(&mut values);
    let wanted = wanted.map(|(settings, values)| Wanted {
        settings,
        values,
        busy: Busyness::Unknown,
    });
    let release = Arc::new(call(Operation::CurrentRelease, Ok(None)));
    let fleets = Fleet::of_all(wanted.collect(), &machines, &release, now());
    let fleets = fleets.now_or_never().expect("nothing is waited for");
    let acts = fleets.iter().map(|one| one.decided.plan.action.is_some());
    assert_eq!(acts.collect::<Vec<_>>(), [true, false], "one stays");
}

#[test]
fn machines_in_regions_that_are_no_fleets_are_told_as_left_alone() {
    let scene = scene()
        .set("FAS_PER_REGION", "true")
        .set("FAS_REGIONS", "iad,fra");
    let config = scene.config().expect("a valid configuration");
    let machines = [machine("a", State::Started), machine("b", State::Stopped)];
    let policies = [&config.fleets[0].policy];
    let step = left_out(("web/app", "web"), &machines, (&policies, 0)).expect("a line");
    assert_eq!(step.status, Status::Warning);
    assert_eq!(
        step.sentence,
        "2 machines of the group app are left alone (ord 2): FAS_REGIONS does not name the region"
    );
    assert!(
        step.hint
            .is_some_and(|hint| hint.contains("fly machine list -a web"))
    );
    assert_eq!(step.detail["left_alone"]["ord"], 2);
    assert!(left_out(("web/app", "web"), &[], (&policies, 0)).is_none());
}

#[test]
fn no_more_running_machines_are_said_to_go_than_are_idle() {
    let said = |busy: Busyness, limit: &'static str| {
        let machines = ["a", "b", "c", "d"].map(|id| machine(id, State::Started));
        let mut scene = scene()
            .set("FAS_PROMETHEUS_BUSY_QUERY", "busy")
            .set("FAS_BUSY_LIMIT", limit)
            .machines(machines.to_vec());
        scene.busy = Some(Ok(busy));
        scene.lines(StepKind::Plan)
    };
    let loads = |busy: [f64; 4]| {
        let ids = ["a", "b", "c", "d"].map(str::to_owned);
        Busyness::of(ids.into_iter().zip(busy))
    };
    let up_to = |plan: &[String]| {
        let told = plan.iter().find_map(|line| {
            let (_, after) = line.split_once("up to ")?;
            after
                .split_once(" running")
                .map(|(count, _)| count.to_owned())
        });
        told.unwrap_or_else(|| "0".to_owned())
    };
    let one_idle = said(loads([3.0, 0.0, 2.0, 1.0]), "0");
    assert_eq!(up_to(&one_idle), "1", "{one_idle:?}");
    let all_idle = said(loads([0.0; 4]), "0");
    assert_eq!(up_to(&all_idle), "3", "{all_idle:?}");
    let no_limit = said(loads([9.0; 4]), "");
    assert_eq!(up_to(&no_limit), "3", "{no_limit:?}");
    for busy in [loads([1.0; 4]), Busyness::Unknown] {
        let none = said(busy, "0");
        assert_eq!(up_to(&none), "0", "{none:?}");
        assert!(
            none.iter()
                .any(|line| line.contains("not stopped or destroyed")),
            "{none:?}"
        );
    }
}

#[test]
fn a_token_for_policies_of_several_apps_is_one_for_all_of_them() {
    let refused = |file: &'static str, code: u16| {
        let mut scene = scene();
        scene.file = Some(file);
        scene.machines = Err(status(code));
        scene.about = Err(status(code));
        let steps = scene.report().steps.into_iter();
        let mut failed = steps.filter(|step| step.status == Status::Failed);
        failed.next().and_then(|step| step.hint).unwrap_or_default()
    };
    let several = "policies:\n  - {app-name: web}\n  - {app-name: other}\n";
    let one = "policies:\n  - {process-group: app}\n  - {process-group: jobs}\n";
    for code in [401, 404] {
        let hint = refused(several, code);
        assert!(hint.contains("fly tokens create org acme"), "{hint}");
        assert!(!hint.contains("create deploy"), "{hint}");
        let hint = refused(one, code);
        assert!(hint.contains("fly tokens create deploy -a web"), "{hint}");
    }
    let hint = refused(several, 404);
    assert!(hint.contains("is app-name of policies[0] right"), "{hint}");
}

/// Something that only a daemon that has run for a while meets, as a check's step: it has the same advice for it.
fn noted(note: &Note) -> Vec<Step> {
    vec![outcome::of_note("web", note)]
}

/// For each line of the README's table, by a part of its message: steps of which one has that part and says what to do.
fn troubles() -> Vec<(&'static str, Vec<Step>)> {
    let ids = || vec!["m1".to_owned()];
    let unauthorized = CollectError::Unauthorized {
        status: StatusCode::UNAUTHORIZED,
        body: String::new(),
    };
    let three = Sample {
        element_count: 3,
        ..sample(10.0)
    };
    let mut not_accepted = scene();
    not_accepted.machines = Err(status(401));
    not_accepted.scope = Err(status(401));
    let mut unknown = scene();
    unknown.machines = Err(status(404));
    let mut empty = scene().machines(Vec::new());
    empty.may_be_empty = true;
    let mut mounted = machine("a", State::Started);
    mounted.has_mounts = true;
    let mut other_group = machine("a", State::Started);
    other_group.process_group = "web".into();
    let mut deploying = scene();
    deploying.release = Ok(Some(release("running")));
    let mut away = scene().metric(Ok(sample(30.0)));
    away.release = Err(status(503));
    let mut silent = scene();
    silent.machines = Err(too_slow());
    let blue_green = {
        let mut green = machine("b", State::Stopped);
        green.cordoned = true;
        green.release = Some(13);
        scene().machines(vec![machine("a", State::Started), green])
    };
    let running = vec![
        machine("a", State::Started),
        machine("b", State::Started),
        machine("c", State::Started),
    ];
    let mut protected = running.clone();
    protected.push(machine("d", State::Started));
    for machine in &mut protected[..2] {
        machine.protected = true;
    }
    let mut volumes = running.clone();
    for machine in &mut volumes {
        machine.has_mounts = true;
    }
    let stuck = {
        let mut starting = machine("b", State::Starting);
        starting.updated_at = Some("2026-01-02T02:00:00Z".parse().expect("a literal timestamp"));
        scene().machines(vec![machine("a", State::Started), starting])
    };
    let mut only_one = scene().set("FAS_CREATED_MACHINE_COUNT", "");
    only_one = only_one
        .set("FAS_STARTED_MACHINE_COUNT", "3")
        .machines(vec![
            machine("a", State::Started),
            machine("b", State::Stopped),
        ]);
    let capped = scene()
        .set("FAS_CREATED_MACHINE_COUNT", "")
        .set("FAS_MIN_CREATED_MACHINE_COUNT", "2")
        .set("FAS_MAX_CREATED_MACHINE_COUNT", "1");
    let mut file = scene().set("FAS_INTERVAL", "20s");
    file.file = Some("interval: 15s\n");
    let mut dry = scene().set("FAS_DRY_RUN", "true");
    dry.file = Some("dry-run: false\n");
    let mut quotes = scene();
    quotes.file = Some("created-machine-count: queue_depth > 100 ? 10 : 2\n");
    let mut slow = scene();
    slow.took = Duration::from_secs(29);
    let late = CollectError::OutOfTime {
        timeout: Duration::from_secs(30),
    };
    let mut abandoned = scene();
    abandoned.release = Ok(Some(Release {
        created_at: Some("2026-01-01T00:00:00Z".parse().expect("a literal timestamp")),
        ..release("running")
    }));
    vec![
        (
            "had no clear answer: counted for about a minute",
            noted(&Note::CreatesAssumed { creates: 1 }),
        ),
        (
            "its deploy is treated as abandoned",
            abandoned.report().steps,
        ),
        (
            "deploys do not block scaling",
            scene().set("FAS_DEPLOY_TIMEOUT", "0s").report().steps,
        ),
        (
            "the token in FAS_API_TOKEN was not accepted",
            not_accepted.report().steps,
        ),
        ("is FAS_APP_NAME right", unknown.report().steps),
        (
            "check `FAS_PROMETHEUS_TOKEN`",
            scene().metric(Err(unauthorized)).report().steps,
        ),
        (
            "the query returned nothing",
            scene().metric(Err(CollectError::Empty)).report().steps,
        ),
        (
            "needs queue_depth, which has no value",
            scene().metric(Err(CollectError::Empty)).report().steps,
        ),
        (
            "the app has no machines: nothing to clone",
            empty.report().steps,
        ),
        (
            "only some elements have a label",
            region(3)
                .metric(Err(CollectError::SomeRegions))
                .report()
                .steps,
        ),
        ("holds for all 3 regions", region(3).report().steps),
        ("FAS_REGIONS does not name the region", {
            let scene = scene()
                .set("FAS_PER_REGION", "true")
                .set("FAS_REGIONS", "iad");
            let config = scene.config().expect("a valid configuration");
            let machines = [machine("a", State::Started)];
            let policies = [&config.fleets[0].policy];
            let step = left_out(("web/app", "web"), &machines, (&policies, 0));
            step.into_iter().collect()
        }),
        (
            "returned 3 elements, only the first is used",
            scene().metric(Ok(three)).report().steps,
        ),
        (
            "did you mean",
            scene()
                .set("FAS_CREATED_MACHINE_COUNT", "queue_deep")
                .report()
                .steps,
        ),
        (
            "no machine available to clone for scale up",
            scene().machines(vec![other_group]).report().steps,
        ),
        (
            "machines with volumes cannot be cloned",
            scene()
                .machines(vec![mounted.clone(), {
                    mounted.id = "b".to_owned();
                    mounted
                }])
                .report()
                .steps,
        ),
        (
            "recent creates failed: next attempt in",
            noted(&Note::CreatePaused {
                wanted: 1,
                remaining: Duration::from_secs(30),
            }),
        ),
        ("release v12 is being deployed", deploying.report().steps),
        (
            "cordoned machines of a newer release exist",
            blue_green.report().steps,
        ),
        (
            "2 running machines will be destroyed after 45 s",
            scene().machines(running).report().steps,
        ),
        (
            "surplus machines are missing from the list",
            noted(&Note::UnseenSurplus { machines: 2 }),
        ),
        (
            "3 surplus machines, 2 cannot be destroyed",
            noted(&Note::NotDestroyable { wanted: 3, kept: 2 }),
        ),
        (
            "may already be gone",
            noted(&Note::MayBeGone {
                machines: 1,
                unanswered: true,
            }),
        ),
        (
            "that unanswered creates may have made",
            noted(&Note::CeilingLeavesNoRoom {
                wanted: 1,
                allowed: 0,
                failed: 0,
                unreachable: 0,
                doubtful: 1,
            }),
        ),
        (
            "the process was suspended or starved of CPU",
            noted(&Note::StoodStill),
        ),
        (
            "copies run without a lock",
            vec![super::peers(
                &scene()
                    .set("FLY_APP_NAME", "my-autoscaler")
                    .set("FLY_MACHINE_ID", "e28")
                    .config()
                    .expect("a valid configuration"),
                Some(&Ok(2)),
            )],
        ),
        (
            "without the lock in Consul at",
            vec![super::lock(
                &scene()
                    .set("FLY_CONSUL_URL", "http://:token@consul.test/prefix/")
                    .config()
                    .expect("a valid configuration")
                    .lock
                    .expect("a lock"),
                "web",
                Some(&Err(ProbeError {
                    step: "register the node",
                    source: ConsulError::Timeout {
                        limit: Duration::from_millis(2500),
                    },
                })),
            )],
        ),
        (
            "cannot confirm that it holds the lock",
            noted(&Note::LockUnconfirmed),
        ),
        (
            "with volumes cannot be destroyed",
            scene().machines(volumes).report().steps,
        ),
        (
            "could not be destroyed recently",
            noted(&Note::DestroysFailed {
                machines: ids(),
                again: false,
            }),
        ),
        (
            "which has no upper bound",
            scene()
                .set("FAS_CREATED_MACHINE_COUNT", "created_machine_count + 1")
                .report()
                .steps,
        ),
        (
            "the token itself is missing",
            scene().set("FAS_API_TOKEN", "FlyV1").report().steps,
        ),
        (
            "no expression uses the metric",
            scene().set("FAS_CREATED_MACHINE_COUNT", "3").report().steps,
        ),
        (
            "unknown variable; expected",
            scene().set("FAS_DRYRUN", "true").report().steps,
        ),
        (
            "// begins a comment",
            scene()
                .set("FAS_CREATED_MACHINE_COUNT", "queue_depth // 10")
                .report()
                .steps,
        ),
        (
            "the started target 4 is above the created target 1",
            noted(&Note::StartedAboveCreated {
                started: 4,
                created: 1,
            }),
        ),
        ("put the value in quotes", quotes.report().steps),
        (
            "did not keep running after a recent start",
            noted(&Note::StartsFailed {
                machines: ids(),
                again: false,
            }),
        ),
        (
            "did not stay down after a recent stop",
            noted(&Note::StopsFailed {
                machines: ids(),
                again: false,
            }),
        ),
        ("stuck in a transitional state", stuck.report().steps),
        ("only 1 can be started", only_one.report().steps),
        ("the maximum is the target", capped.report().steps),
        (
            "cannot tell whether a deploy is running",
            away.report().steps,
        ),
        ("the limit that FAS_TIMEOUT sets", silent.report().steps),
        ("no answer within", scene().metric(Err(late)).report().steps),
        (
            "the pass deadline came before anything was done",
            slow.report().steps,
        ),
        (
            "missing from the list still to be checked",
            noted(&Note::TooManyUnlisted { unasked: 3 }),
        ),
        (
            "is ignored, because the file overrides it",
            file.report().steps,
        ),
        ("FAS_DRY_RUN overrides the file", dry.report().steps),
        (
            "a region unknown to fly-autoscaler",
            scene().set("FAS_REGIONS", "orb").report().steps,
        ),
        (
            "but /api/v1/query is appended to it",
            scene()
                .set("FAS_PROMETHEUS_ADDRESS", "http://p/api/v1/query")
                .report()
                .steps,
        ),
        ("cannot listen on", {
            let scene = scene();
            let config = scene.config().expect("a valid configuration");
            accepted(
                &config,
                &Port::Taken("cannot listen on [::]:9090".to_owned()),
            )
        }),
        (
            "unknown variable, ignored",
            scene().set("FAS_PROMETHEUS_QUERRY", "up").report().steps,
        ),
        ("no element has the region", {
            let error = CollectError::NoRegion {
                region: "syd".to_owned(),
                others: "iad, lhr".to_owned(),
            };
            scene().metric(Err(error)).report().steps
        }),
        (
            "did not let us in",
            of_redis(CollectError::NotLetIn {
                peer: "Redis at redis://h:6379".to_owned(),
                check: "the password",
                text: "NOAUTH".to_owned(),
            }),
        ),
        (
            "(if nothing means 0, set",
            of_redis(CollectError::Nothing {
                what: "the command returned nil".to_owned(),
                setting: "FAS_REDIS_EMPTY_VALUE",
            }),
        ),
        (
            "but one value is needed",
            of_redis(CollectError::Several {
                what: "the command returned several values".to_owned(),
                found: "an array of 2".to_owned(),
            }),
        ),
        (
            "refused it:",
            of_redis(CollectError::Refused {
                service: "Redis",
                text: "WRONGTYPE".to_owned(),
            }),
        ),
        (
            "ended the query",
            of_redis(CollectError::Cancelled {
                service: "Postgres",
                text: "canceling statement due to statement timeout".to_owned(),
            }),
        ),
        (
            "cannot answer now",
            of_redis(CollectError::Unready {
                service: "Redis",
                text: "LOADING".to_owned(),
            }),
        ),
    ]
}

/// What is said where Redis has no number.
fn of_redis(error: CollectError) -> Vec<Step> {
    let mut scene = scene().metric(Err(error));
    scene.asked = CollectorKind::Redis;
    scene.report().steps
}

/// What the README says is in a message, and a check says otherwise.
const OTHERWISE: &[(&str, &str)] = &[(
    "the pass deadline came before anything was done",
    "the pass deadline may come before anything is done",
)];

#[test]
fn every_line_of_the_readmes_table_is_found_and_says_what_to_do() {
    let troubles = troubles();
    for (part, steps) in &troubles {
        let otherwise = OTHERWISE.iter().find(|(readme, _)| readme == part);
        let part = otherwise.map_or(*part, |(_, said)| said);
        let found = steps.iter().find(|step| {
            let hint = step.hint.as_deref().unwrap_or_default();
            step.sentence.contains(part) || hint.contains(part)
        });
        let found = found.unwrap_or_else(|| panic!("nobody says `{part}`: {steps:#?}"));
        // The metric above it has said what to do.
        let is_told_above = found.status == Status::Skipped && found.kind == StepKind::Expression;
        assert!(
            found.hint.is_some() || is_told_above,
            "what to do? {found:?}"
        );
    }
    let readme =
        std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md"))
            .expect("there is a README");
    let (_, section) = readme
        .split_once("## Troubleshooting")
        .expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split(" | ").next().unwrap_or_default());
    let mut count = 0;
    for row in rows {
        count += 1;
        let is_known = troubles.iter().any(|(part, _)| row.contains(part));
        assert!(is_known, "no case for the line {row}");
    }
    assert!(count >= 39, "{count} lines");
}

/// Every remark that calls for somebody says what to do.
#[test]
fn a_note_that_is_trouble_has_a_hint() {
    let ids = || vec!["m1".to_owned()];
    let notes = [
        Note::CreatePaused {
            wanted: 1,
            remaining: Duration::from_secs(1),
        },
        Note::Fallback {
            kind: Kind::Created,
            count: 3,
            missing_passes: 3,
        },
        Note::MountsNotCloned { machines: 1 },
        Note::NotClonable {
            machines: 1,
            example: "m1".to_owned(),
            reason: "no image".to_owned(),
        },
        Note::MountsNotDestroyed { machines: 1 },
        Note::StartedAboveCreated {
            started: 2,
            created: 1,
        },
        Note::DestroysFailed {
            machines: ids(),
            again: false,
        },
        Note::StartsFailed {
            machines: ids(),
            again: false,
        },
        Note::StopsFailed {
            machines: ids(),
            again: false,
        },
        Note::DeployInProgress { version: None },
        Note::ReleaseUnknown { withheld: None },
        Note::BlueGreen { surplus: 1 },
        Note::TooFewStopped {
            wanted: 1,
            available: 0,
        },
        Note::Stuck { machines: ids() },
        Note::Unreachable {
            machines: 1,
            counted: 0,
        },
        Note::TooManyUnlisted { unasked: 1 },
        Note::CreatesAssumed { creates: 1 },
        Note::LockUnconfirmed,
        Note::StoodStill,
    ];
    for note in notes {
        assert!(note.is_trouble(), "{note}");
        assert!(hints::note("web", &note).is_some(), "{note}");
    }
}

#[test]
fn what_a_peer_says_is_bounded_and_on_one_line() {
    let mut strange = machine("a", State::Started);
    strange.process_group = "x\n\u{202e}".repeat(200).into();
    strange.region = "o\nrd".into();
    let report = scene().machines(vec![strange]).report();
    let machines = report
        .steps
        .iter()
        .find(|step| step.kind == StepKind::Machines)
        .expect("a line for the machines");
    assert!(
        !machines.sentence.contains('\n') && machines.sentence.len() < 300,
        "{machines:?}"
    );
    let tls = scene().metric(Err(CollectError::Connection {
        peer: "Prometheus".to_owned(),
        source: Box::new(TransportError::Timeout),
    }));
    let hint = tls
        .report()
        .steps
        .into_iter()
        .find_map(|step| match step.kind {
            StepKind::Metric => step.hint,
            _ => None,
        });
    assert!(hint.is_some_and(|hint| hint.contains("can this machine reach it?")));
}

#[test]
fn how_busy_machines_are_is_tried_though_none_is_to_go() {
    let busy = |answer: Result<Busyness, CollectError>| {
        let mut scene = scene().machines(vec![machine("m1", State::Started)]);
        scene.busy = Some(answer);
        let report = scene.report();
        let steps = report.steps.into_iter();
        let mut steps = steps.filter(|step| step.name.as_deref() == Some("busy"));
        let step = steps.next().expect("there is a step");
        assert!(step.status == Status::Ok || step.hint.is_some(), "{step:?}");
        format!("{}: {}", step.status.as_str(), step.sentence)
    };
    let known = |id: &str| Busyness::of([(id.to_owned(), 2.0)]);
    assert_eq!(
        busy(Ok(known("m1"))),
        "ok: 1 of the 1 machine that runs has a value"
    );
    assert_eq!(
        busy(Ok(known("10.0.0.1:9100"))),
        "failed: no element is about a machine that runs: none of those is stopped or destroyed"
    );
    let refused = busy(Err(CollectError::NoMachine));
    assert!(
        refused.starts_with("failed: the query returned nothing"),
        "{refused}"
    );
    assert!(
        refused.ends_with(": no machine that runs is stopped or destroyed"),
        "{refused}"
    );
}

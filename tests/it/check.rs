//! `check` as users run it, against the simulator: what it finds, what it says to do, its exit codes, and that it writes
//! nothing.

use std::{process::Output, time::Duration};

use fly_autoscaler::sim::{
    Access, Canned, Effect, Fault, MachineState, NewMachine, Operation, Options, Platform, Release,
    Token,
};
use serde_json::{Value, json};

use crate::{
    program::{Daemon, Served, signal, until},
    world::{APP, QUEUE},
};

/// A machine's configuration whose service Fly Proxy starts and stops machines for.
const SERVICES: &str = r#"{"image":"registry.fly.io/web:1","metadata":{"fly_process_group":"app","fly_release_version":"1"},
    "services":[{"protocol":"tcp","internal_port":8080,"autostop":"stop","autostart":true}]}"#;

/// A platform with one started machine behind Fly Proxy, whose queue is 7 long.
async fn served(options: Options) -> Served {
    let served = Served::with(options).await;
    {
        let mut platform = served.platform();
        let machine = NewMachine::in_region("ord").config(SERVICES);
        platform.add_machine(APP, machine).unwrap();
        platform.set_gauge(APP, "queue_depth", Some(7.0));
    }
    served
}

fn program(
    served: &Served,
    arguments: &[&str],
    settings: &[(&str, &str)],
) -> tokio::process::Command {
    let base = format!("http://{}", served.address);
    let defaults = [
        ("FAS_APP_NAME", APP.to_owned()),
        (
            "FAS_API_TOKEN",
            "FlyV1 fm2_machines,fm2_discharge".to_owned(),
        ),
        ("FAS_METRICS_ADDRESS", "127.0.0.1:0".to_owned()),
        (
            "FAS_CREATED_MACHINE_COUNT",
            "ceil(queue_depth / 10)".to_owned(),
        ),
    ];
    let own = [
        ("FAS_PROMETHEUS_ADDRESS", format!("{base}/prometheus/acme")),
        ("FLY_FLAPS_BASE_URL", base.clone()),
        ("FLY_API_BASE_URL", base),
    ];
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_fly-autoscaler"));
    command
        .arg("check")
        .args(arguments)
        .env_clear()
        .envs(QUEUE.iter().copied())
        .envs(defaults)
        .envs(own)
        .envs(settings.iter().copied())
        .kill_on_drop(true);
    command
}

async fn check(served: &Served, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    program(served, arguments, settings).output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn json(served: &Served, settings: &[(&str, &str)]) -> Value {
    let output = check(served, &["--json"], settings).await;
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)))
}

/// The lines about one step: status, sentence and hint.
fn lines<'json>(json: &'json Value, step: &str) -> Vec<(&'json str, &'json str, &'json str)> {
    let steps = json["steps"].as_array().unwrap();
    let of_step = steps.iter().filter(|line| line["step"] == step);
    let text = |value: &'json Value| value.as_str().unwrap_or_default();
    of_step
        .map(|line| {
            (
                text(&line["status"]),
                text(&line["sentence"]),
                text(&line["hint"]),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_sound_configuration_passes_and_nothing_is_written() {
    let served = served(Options::default()).await;
    served.platform().set_gauge(APP, "queue_depth", Some(25.0));
    let output = check(&served, &[], &[]).await;
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), &*err), (Some(0), ""), "{out}");
    let marks: Vec<&str> = out
        .lines()
        .skip(2)
        .map_while(|line| line.split_whitespace().next())
        .filter(|mark| *mark != "->")
        .collect();
    let expected = [&["ok"; 8][..], &["skipped"; 2], &["ok"; 2]].concat();
    assert_eq!(marks, expected, "{out}");
    let plan = "ok       plan                would create 2 machines like ";
    assert!(out.contains(plan), "{out}");
    assert!(
        out.contains(" (in ord, ord): 1 machine exists, 3 wanted\n"),
        "{out}"
    );
    assert!(out.ends_with("Nothing was changed.\n"), "{out}");
    assert_eq!(served.platform().writes().count(), 0);
    assert_eq!(served.platform().unexpected().count(), 0);
    assert_eq!(served.requests(Operation::CurrentTokens), 1);
}

type Scene = fn(&mut Platform);

/// What may be wrong, as a platform and settings, and the line that says so: step, status, parts of sentence and hint.
struct Trouble {
    name: &'static str,
    scene: Scene,
    settings: &'static [(&'static str, &'static str)],
    line: (&'static str, &'static str, &'static str, &'static str),
}

fn nothing(_: &mut Platform) {}

fn add(platform: &mut Platform, count: usize, machine: &NewMachine) {
    platform.add_machines(APP, count, machine).unwrap();
}

fn only(platform: &mut Platform, machines: &[NewMachine]) {
    platform.remove_app(APP);
    platform.add_app(APP, "acme");
    platform.set_gauge(APP, "queue_depth", Some(7.0));
    for machine in machines {
        platform.add_machine(APP, machine.clone()).unwrap();
    }
}

fn fault(platform: &mut Platform, operation: Operation, effect: Effect) {
    platform.add_fault(Fault::new(effect).on(operation));
}

const TROUBLES: &[Trouble] = &[
    Trouble {
        name: "a wrong token",
        scene: nothing,
        settings: &[("FAS_API_TOKEN", "fm2_wrong")],
        line: (
            "token",
            "failed",
            "the token in FAS_API_TOKEN was not accepted: HTTP 401",
            "fly tokens create deploy -a my-target-app",
        ),
    },
    Trouble {
        name: "a token of another app",
        scene: nothing,
        settings: &[("FAS_API_TOKEN", "fm2_other")],
        line: (
            "token",
            "failed",
            "FAS_API_TOKEN is accepted, but does not cover my-target-app (apps other)",
            "fly tokens create deploy -a my-target-app",
        ),
    },
    Trouble {
        name: "a missing app",
        scene: nothing,
        settings: &[("FAS_APP_NAME", "my-taget-app")],
        line: (
            "app",
            "failed",
            "Fly knows no app my-taget-app",
            "fly apps list",
        ),
    },
    Trouble {
        name: "a typing error in the expression",
        scene: nothing,
        settings: &[("FAS_CREATED_MACHINE_COUNT", "ceil(queue_deph / 10)")],
        line: (
            "configuration",
            "failed",
            "did you mean `queue_depth`?",
            "fly-autoscaler help expressions",
        ),
    },
    Trouble {
        name: "a variable that is misspelt",
        scene: nothing,
        settings: &[("FAS_INTERVALL", "10s")],
        line: ("configuration", "warning", "FAS_INTERVALL", "help settings"),
    },
    Trouble {
        name: "an empty answer",
        scene: |platform| platform.set_gauge(APP, "queue_depth", None),
        settings: &[],
        line: (
            "metric",
            "failed",
            "the query returned nothing",
            "FAS_PROMETHEUS_QUERY = \"queue_depth{app='$APP_NAME'} or vector(0)\"",
        ),
    },
    Trouble {
        name: "an empty answer that the expression makes good",
        scene: |platform| platform.set_gauge(APP, "queue_depth", None),
        settings: &[("FAS_CREATED_MACHINE_COUNT", "queue_depth ?? 1")],
        line: (
            "metric",
            "warning",
            "the expressions can do without",
            "FAS_PROMETHEUS_EMPTY_VALUE=0",
        ),
    },
    Trouble {
        name: "NaN",
        scene: |platform| platform.set_gauge(APP, "queue_depth", Some(f64::NAN)),
        settings: &[],
        line: (
            "metric",
            "failed",
            "the value is NaN",
            "FAS_PROMETHEUS_EMPTY_VALUE=0",
        ),
    },
    Trouble {
        name: "several elements",
        scene: |platform| {
            for region in ["ord", "iad"] {
                let labels = [("app", APP), ("region", region)];
                platform.set_series("queue_depth", &labels, Some(3.0));
            }
        },
        settings: &[],
        line: (
            "metric",
            "warning",
            "the query returned 3 elements, only the first is used",
            "FAS_PROMETHEUS_QUERY = \"sum(queue_depth{app='$APP_NAME'})\"",
        ),
    },
    Trouble {
        name: "a query that the server refuses",
        scene: nothing,
        settings: &[("FAS_PROMETHEUS_QUERY", "sum(queue_depth{")],
        line: (
            "metric",
            "failed",
            "the query failed",
            "correct FAS_PROMETHEUS_QUERY",
        ),
    },
    Trouble {
        name: "a wrong token for Prometheus",
        scene: |platform| {
            platform.set_prometheus_access(Access::Tokens(vec![Token::new("fm2_another")]));
        },
        settings: &[],
        line: (
            "metric",
            "failed",
            "check `FAS_PROMETHEUS_TOKEN`",
            "fly tokens create readonly acme",
        ),
    },
    Trouble {
        name: "a Prometheus that cannot be reached",
        scene: nothing,
        settings: &[(
            "FAS_PROMETHEUS_ADDRESS",
            "http://127.0.0.1:1/prometheus/acme",
        )],
        line: (
            "metric",
            "failed",
            "cannot connect to",
            "curl -sS http://127.0.0.1:1/prometheus/acme/api/v1/query?query=1",
        ),
    },
    Trouble {
        name: "an address with the path of the query",
        scene: nothing,
        settings: &[("FAS_PROMETHEUS_ADDRESS", "http://127.0.0.1:1/api/v1/query")],
        line: (
            "configuration",
            "warning",
            "but /api/v1/query is appended to it",
            "the part before /api/v1",
        ),
    },
    Trouble {
        name: "an address that is no Prometheus",
        scene: |platform| {
            fault(
                platform,
                Operation::Query,
                Effect::Answer(Canned::html(404)),
            );
        },
        settings: &[],
        line: (
            "metric",
            "failed",
            "HTTP 404",
            "It is the part before /api/v1/query",
        ),
    },
    Trouble {
        name: "a wrong process group",
        scene: nothing,
        settings: &[("FAS_PROCESS_GROUP", "worker")],
        line: (
            "machines",
            "failed",
            "no machine of the group worker; the app has 1 of app",
            "FAS_PROCESS_GROUP=app",
        ),
    },
    Trouble {
        name: "an app without machines",
        scene: |platform| only(platform, &[]),
        settings: &[],
        line: (
            "machines",
            "failed",
            "the app has no machines: nothing to clone until it is deployed",
            "fly deploy -a my-target-app",
        ),
    },
    Trouble {
        name: "nothing to clone",
        scene: nothing,
        settings: &[("FAS_PROCESS_GROUP", "worker")],
        line: (
            "plan",
            "failed",
            "no machine available to clone for scale up",
            "FAS_PROCESS_GROUP=app",
        ),
    },
    Trouble {
        name: "machines with volumes",
        scene: |platform| {
            let config = r#"{"image":"i","metadata":{"fly_process_group":"app"},"mounts":[{"volume":"vol_1","path":"/data"}]}"#;
            only(platform, &[NewMachine::in_region("ord").config(config)]);
        },
        settings: &[],
        line: (
            "source",
            "failed",
            "1 machine with volumes cannot be cloned",
            "FAS_CLONE_VOLUMES=true",
        ),
    },
    Trouble {
        name: "a deploy",
        scene: |platform| {
            // The program goes by the real clock.
            let now = jiff::Timestamp::now();
            let release = Release {
                version: 12,
                status: "running".to_owned(),
                created_at: now,
                updated_at: now,
                image: "registry.fly.io/web:12".into(),
            };
            platform.set_release(APP, Some(release));
        },
        settings: &[],
        line: (
            "release",
            "warning",
            "release v12 is being deployed: nothing is changed until it is done",
            "fly releases -a my-target-app",
        ),
    },
    Trouble {
        name: "a blue-green deploy",
        scene: |platform| {
            let green = NewMachine::in_region("ord").release(2).cordoned();
            platform.add_machine(APP, green).unwrap();
        },
        settings: &[],
        line: (
            "plan",
            "warning",
            "cordoned machines of a newer release exist",
            "fly deploy -a my-target-app",
        ),
    },
    Trouble {
        name: "running machines that are too many",
        scene: |platform| add(platform, 2, &NewMachine::in_region("ord").config(SERVICES)),
        settings: &[],
        line: (
            "plan",
            "ok",
            "2 running machines will be destroyed after 45 s",
            "FAS_DESTROY_RUNNING_AFTER",
        ),
    },
    Trouble {
        name: "too few stopped machines",
        scene: |platform| {
            let stopped = NewMachine::in_region("ord").state(MachineState::Stopped);
            add(platform, 1, &stopped);
        },
        settings: &[
            ("FAS_CREATED_MACHINE_COUNT", ""),
            ("FAS_STARTED_MACHINE_COUNT", "queue_depth"),
        ],
        line: (
            "plan",
            "warning",
            "only 1 can be started",
            "FAS_CREATED_MACHINE_COUNT",
        ),
    },
    Trouble {
        name: "a proxy that fights with the started target",
        scene: nothing,
        settings: &[
            ("FAS_CREATED_MACHINE_COUNT", ""),
            ("FAS_STARTED_MACHINE_COUNT", "ceil(queue_depth / 10)"),
        ],
        line: (
            "proxy",
            "warning",
            "the two fight",
            "auto_stop_machines = \"off\"",
        ),
    },
    Trouble {
        name: "a minimum above its maximum",
        scene: nothing,
        settings: &[
            ("FAS_CREATED_MACHINE_COUNT", ""),
            ("FAS_MIN_CREATED_MACHINE_COUNT", "queue_depth"),
            ("FAS_MAX_CREATED_MACHINE_COUNT", "5"),
        ],
        line: (
            "plan",
            "ok",
            "the created minimum 7 is above its maximum 5: the maximum is the target",
            "fine if the maximum is meant as a cap",
        ),
    },
    Trouble {
        name: "no upper bound",
        scene: nothing,
        settings: &[("FAS_CREATED_MACHINE_COUNT", "started_machine_count + 1")],
        line: (
            "configuration",
            "warning",
            "which has no upper bound",
            "FAS_MACHINE_CEILING",
        ),
    },
    Trouble {
        name: "a metric that counts what the expression sets",
        scene: nothing,
        settings: &[
            (
                "FAS_PROMETHEUS_QUERY",
                "count(fly_instance_up{app='$APP_NAME'})",
            ),
            ("FAS_CREATED_MACHINE_COUNT", "min(queue_depth + 1, 10)"),
        ],
        line: (
            "expression",
            "warning",
            "counts the very machines that this expression sets",
            "FAS_INITIAL_MACHINE_STATE=stopped",
        ),
    },
    Trouble {
        name: "GraphQL that is down",
        scene: |platform| {
            fault(
                platform,
                Operation::Graphql,
                Effect::Answer(Canned::status(503)),
            );
        },
        settings: &[("FAS_TIMEOUT", "2s")],
        line: (
            "release",
            "warning",
            "cannot tell whether a deploy is running",
            "https://status.flyio.net",
        ),
    },
    Trouble {
        name: "GraphQL that refuses the token",
        scene: |platform| {
            fault(
                platform,
                Operation::Graphql,
                Effect::Answer(Canned::status(401)),
            );
        },
        settings: &[],
        line: (
            "release",
            "failed",
            "refuses to say what the release is",
            "fly tokens create deploy -a my-target-app",
        ),
    },
    Trouble {
        name: "a Machines API that is down",
        scene: |platform| {
            fault(
                platform,
                Operation::List,
                Effect::Answer(Canned::status(503)),
            );
        },
        settings: &[("FAS_TIMEOUT", "2s")],
        line: (
            "machines",
            "failed",
            "cannot list the machines",
            "https://status.flyio.net",
        ),
    },
    Trouble {
        name: "a Machines API that hangs",
        scene: |platform| fault(platform, Operation::List, Effect::Hang),
        settings: &[("FAS_TIMEOUT", "500ms")],
        line: (
            "machines",
            "failed",
            "the limit that FAS_TIMEOUT sets",
            "raise FAS_TIMEOUT",
        ),
    },
    Trouble {
        name: "a Prometheus that hangs",
        scene: |platform| fault(platform, Operation::Query, Effect::Hang),
        settings: &[("FAS_TIMEOUT", "500ms")],
        line: (
            "metric",
            "failed",
            "no answer within 250ms (half of FAS_TIMEOUT=500ms)",
            "half of FAS_TIMEOUT is for metrics",
        ),
    },
    Trouble {
        name: "an expression without a value",
        scene: nothing,
        settings: &[(
            "FAS_CREATED_MACHINE_COUNT",
            "queue_depth / (queue_depth - 7)",
        )],
        line: ("expression", "failed", "the result is infinite", "Guard it"),
    },
];

#[tokio::test]
async fn each_trouble_is_found_and_says_what_to_do() {
    for Trouble {
        name,
        scene,
        settings,
        line: (step, status, sentence, hint),
    } in TROUBLES
    {
        let served = served(Options {
            machines_access: Access::Tokens(vec![
                Token::new("fm2_machines,fm2_discharge"),
                Token::new("fm2_other").of_apps(&["other"]),
            ]),
            ..Options::default()
        })
        .await;
        scene(&mut served.platform());
        let output = check(&served, &["--json"], settings).await;
        let found: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{name}: {}", text(&output.stderr)));
        let lines = lines(&found, step);
        let is_found = lines.iter().any(|(its, said, advice)| {
            its == status && said.contains(sentence) && advice.contains(hint)
        });
        assert!(is_found, "{name}: {lines:#?}");
        let has_failed = found["steps"]
            .as_array()
            .unwrap()
            .iter()
            .any(|line| line["status"] == "failed");
        assert_eq!(found["ok"], !has_failed, "{name}");
        assert_eq!(output.status.code(), Some(i32::from(has_failed)), "{name}");
        assert!(has_failed || *status != "failed", "{name}");
        assert_eq!(served.platform().writes().count(), 0, "{name}");
    }
}

#[tokio::test]
async fn json_is_as_documented() {
    let served = served(Options::default()).await;
    let found = json(&served, &[("FAS_MACHINE_FLOOR", "3")]).await;
    let mut members: Vec<&String> = found.as_object().unwrap().keys().collect();
    members.sort_unstable();
    assert_eq!(members, ["ok", "plan", "steps"]);
    assert_eq!(found["ok"], true);
    let steps = found["steps"].as_array().unwrap();
    let mut names: Vec<&str> = steps
        .iter()
        .map(|one| one["step"].as_str().unwrap())
        .collect();
    names.dedup();
    let expected = [
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
        "plan",
    ];
    assert_eq!(names, expected);
    for step in steps {
        let mut members: Vec<&str> = step
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        members.sort_unstable();
        assert_eq!(
            members,
            ["detail", "hint", "name", "sentence", "status", "step"]
        );
        assert!(step["detail"].is_object() && step["sentence"].is_string());
    }
    let metric = steps.iter().find(|one| one["step"] == "metric").unwrap();
    assert_eq!(metric["name"], "queue_depth");
    assert_eq!(metric["detail"]["value"], 7.0);
    assert_eq!(metric["detail"]["elements"], 1);
    let plan = &found["plan"];
    assert_eq!(plan["decision"], "create");
    assert!(plan["code"].is_string(), "{plan}");
    assert_eq!(plan["notes"][0]["code"], "floor");
    assert_eq!(plan["targets"]["created"], json!({ "min": 1, "max": 1 }));
    assert_eq!(plan["limited"]["created"], json!({ "min": 3, "max": 3 }));
    assert_eq!(
        plan["limited"]["started"],
        json!({ "min": null, "max": null })
    );
}

/// A decision, a platform and settings that lead to it.
type Told = (&'static str, Scene, &'static [(&'static str, &'static str)]);

/// One place decides both: what a check says is what the daemon does.
#[tokio::test]
async fn what_a_check_says_is_what_a_dry_run_logs() {
    let scenes: &[Told] = &[
        (
            "create",
            nothing,
            &[("FAS_CREATED_MACHINE_COUNT", "queue_depth")],
        ),
        (
            "create in regions",
            nothing,
            &[
                ("FAS_CREATED_MACHINE_COUNT", "3"),
                ("FAS_REGIONS", "iad, ams"),
            ],
        ),
        (
            "destroy",
            |platform| {
                let stopped = NewMachine::in_region("ord").state(MachineState::Stopped);
                add(platform, 3, &stopped);
            },
            &[("FAS_CREATED_MACHINE_COUNT", "2")],
        ),
        (
            "start",
            |platform| {
                let stopped = NewMachine::in_region("ord").state(MachineState::Stopped);
                add(platform, 3, &stopped);
            },
            &[
                ("FAS_CREATED_MACHINE_COUNT", ""),
                ("FAS_STARTED_MACHINE_COUNT", "3"),
            ],
        ),
    ];
    for (name, scene, settings) in scenes {
        let served = served(Options::default()).await;
        scene(&mut served.platform());
        let found = json(&served, settings).await;
        let (_, said, _) = lines(&found, "plan")[0];
        assert!(said.starts_with("would "), "{name}: {said}");
        let expected = format!("dry run, {said}");
        let dry = [&[("FAS_DRY_RUN", "true")], *settings].concat();
        let target = ("FAS_CREATED_MACHINE_COUNT", "ceil(queue_depth / 10)");
        let dry = [&[target][..], &dry].concat();
        let daemon = Daemon::start(&served, &dry).await;
        until(&format!("{name}: {expected}"), || {
            daemon.has_said(&expected)
        })
        .await;
    }
}

#[tokio::test]
async fn of_a_wildcards_apps_the_failures_come_first() {
    let served = served(Options::default()).await;
    {
        let mut platform = served.platform();
        for app in ["my-app-a", "my-app-b", "my-app-c", "my-autoscaler"] {
            platform.add_app(app, "acme");
        }
        for app in ["my-app-a", "my-app-b"] {
            let machine = NewMachine::in_region("ord").config(SERVICES);
            platform.add_machine(app, machine).unwrap();
        }
        platform.set_gauge("my-app-a", "queue_depth", Some(25.0));
    }
    let settings = [
        ("FAS_APP_NAME", "my-*"),
        ("FAS_ORG", "acme"),
        ("FLY_APP_NAME", "my-autoscaler"),
    ];
    let output = check(&served, &[], &settings).await;
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    let apps: Vec<&str> = out
        .lines()
        .filter(|line| line.split_whitespace().nth(1) == Some("app"))
        .collect();
    let begins = [
        "ok       app                     5 of the 6 apps of acme match my-*",
        "skipped  app my-autoscaler       the autoscaler's own app",
        "FAILED   app my-app-b            metric queue_depth: no value",
        "ok       app my-app-a            would create 2 machines like ",
        "ok       app my-target-app       created: 1, started: 1; nothing to do",
        "skipped  app my-app-c            the app has no machines",
    ];
    assert_eq!(apps.len(), begins.len(), "{out}");
    for (line, begin) in apps.iter().zip(begins) {
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let begin = begin.replace("5 of the 6", "4 of the 5");
        assert!(
            squeezed(line).starts_with(&squeezed(&begin)),
            "{line}\n{begin}"
        );
    }
    assert!(
        out.contains("all about it: fly-autoscaler check --app my-app-b"),
        "{out}"
    );

    let one = check(&served, &["--app", "my-app-a"], &settings).await;
    let out = text(&one.stdout);
    assert_eq!(one.status.code(), Some(0), "{out}");
    assert!(out.contains("would create 2 machines like"), "{out}");
    let other = check(&served, &["--app", "other"], &settings).await;
    let out = text(&other.stdout);
    assert_eq!(other.status.code(), Some(1), "{out}");
    assert!(out.contains("does not match: \"other\" (--app)"), "{out}");

    let none = check(
        &served,
        &[],
        &[("FAS_APP_NAME", "your-*"), ("FAS_ORG", "acme")],
    )
    .await;
    let out = text(&none.stdout);
    assert_eq!(none.status.code(), Some(1), "{out}");
    assert!(
        out.contains("0 of the 5 apps of acme match your-*: nothing is scaled"),
        "{out}"
    );
    let wrong = check(
        &served,
        &[],
        &[("FAS_APP_NAME", "my-*"), ("FAS_ORG", "acne")],
    )
    .await;
    let out = text(&wrong.stdout);
    assert_eq!(wrong.status.code(), Some(1), "{out}");
    assert!(out.contains("Fly knows no organization acne"), "{out}");
    assert_eq!(served.platform().writes().count(), 0);
}

#[tokio::test]
async fn it_ends_by_the_timeout_whatever_hangs_and_at_once_when_it_is_interrupted() {
    let served = served(Options::default()).await;
    for operation in [
        Operation::CurrentTokens,
        Operation::App,
        Operation::List,
        Operation::Graphql,
        Operation::Query,
    ] {
        fault(&mut served.platform(), operation, Effect::Hang);
    }
    let output = check(&served, &[], &[("FAS_TIMEOUT", "600ms")]).await;
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(out.contains("FAILED   machines"), "{out}");

    let asked = served.requests(Operation::List);
    let mut program = program(&served, &[], &[("FAS_TIMEOUT", "600s")]);
    program.stdout(std::process::Stdio::piped());
    program.stderr(std::process::Stdio::piped());
    let child = program.spawn().unwrap();
    until("it asks", || served.requests(Operation::List) > asked).await;
    signal(child.id().unwrap(), "INT");
    let ended = tokio::time::timeout(Duration::from_secs(5), child.wait_with_output());
    let output = ended.await.expect("it ends").unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(
        text(&output.stderr).contains("SIGINT"),
        "{}",
        text(&output.stderr)
    );
}

#[tokio::test]
async fn no_token_is_in_what_it_says() {
    let served = served(Options::default()).await;
    {
        let mut platform = served.platform();
        let echo = r#"{"error":"bad token fm2_machines,fm2_discharge hunter\"22 \u0000"}"#;
        for operation in [Operation::List, Operation::CurrentTokens, Operation::App] {
            let answer = Canned::json(401, echo);
            fault(&mut platform, operation, Effect::Answer(answer));
        }
        let answer = Canned::json(
            400,
            r#"{"status":"error","errorType":"bad_data","error":"hunter\"22"}"#,
        );
        fault(&mut platform, Operation::Query, Effect::Answer(answer));
    }
    let settings = [("FAS_PROMETHEUS_TOKEN", "hunter\"22")];
    for arguments in [&[][..], &["--json"]] {
        let output = check(&served, arguments, &settings).await;
        let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
        for secret in ["fm2_machines", "fm2_discharge", "hunter"] {
            assert!(!all.contains(secret), "{all}");
        }
        assert!(all.contains("***"), "{all}");
    }
}

/// A port that another program has is told; one that the daemon itself has is not.
#[tokio::test]
async fn the_port_is_tried_and_the_daemons_own_is_no_trouble() {
    let served = served(Options::default()).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let found = json(&served, &[("FAS_METRICS_ADDRESS", &address)]).await;
    let warned = lines(&found, "configuration");
    assert_eq!(warned[1].0, "warning", "{warned:?}");
    let said = format!("serve could not start on this machine: cannot listen on {address}");
    assert!(warned[1].1.starts_with(&said), "{warned:?}");

    let target = [("FAS_CREATED_MACHINE_COUNT", "1")];
    let daemon = Daemon::start(&served, &target).await;
    let address = daemon.address.to_string();
    let found = json(&served, &[("FAS_METRICS_ADDRESS", &address)]).await;
    assert_eq!(lines(&found, "configuration").len(), 1, "{found}");
}

#[tokio::test]
async fn of_several_policies_each_is_a_line_failures_first_and_one_can_be_chosen() {
    let served = served(Options::default()).await;
    let policies = "policies:
  - {process-group: app, created-machine-count: 'ceil(queue_depth / 3)'}
  - {process-group: worker, name: workers, created-machine-count: queue_depth}
";
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, policies.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    let output = check(&served, &["--config", path, "--json"], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps = json["steps"].as_array().unwrap();
    let fleets: Vec<(&str, &str)> = steps
        .iter()
        .filter(|step| step["step"] == "app")
        .map(|step| {
            (
                step["name"].as_str().unwrap(),
                step["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(fleets, [("workers", "failed"), ("my-target-app/app", "ok")]);
    let output = check(
        &served,
        &["--config", path, "--policy", "my-target-app/app"],
        &[],
    )
    .await;
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.contains("would create 2 machines like "), "{out}");
    assert_eq!(served.platform().writes().count(), 0);
}

/// What only explains is not waited for as long as what counts.
#[tokio::test]
async fn a_hanging_question_about_the_token_holds_nobody_up() {
    let served = served(Options::default()).await;
    fault(
        &mut served.platform(),
        Operation::CurrentTokens,
        Effect::Hang,
    );
    let began = std::time::Instant::now();
    let timeout = ("FAS_TIMEOUT", "120s");
    let output = check(&served, &[], &[timeout, ("FAS_INTERVAL", "120s")]).await;
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(
        out.contains("GET /v1/tokens/current did not answer in time"),
        "{out}"
    );
    assert!(began.elapsed() < Duration::from_secs(60), "{out}");
}

#[tokio::test]
async fn an_app_is_shown_by_the_policy_that_has_it_with_the_options_that_show_more() {
    let served = served(Options::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("two policies.yml");
    let policies = "
org: acme
policies:
  - {name: targets, app-name: 'my-target-*', created-machine-count: queue_depth / 3}
  - {name: all, app-name: '*', created-machine-count: 3}
";
    std::fs::write(&file, policies).unwrap();
    let file = file.display().to_string();
    let settings = [
        ("FAS_APP_NAME", ""),
        ("FAS_CREATED_MACHINE_COUNT", ""),
        ("FAS_INTERVALL", "1s"),
    ];
    let output = check(&served, &["--config", &file], &settings).await;
    let out = text(&output.stdout);
    let name = "app my-target-app";
    let line = |begin: &str| {
        let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut lines = out.lines().map(squeezed);
        lines
            .find(|line| line.starts_with(begin))
            .unwrap_or_else(|| panic!("{begin}: {out}"))
    };
    // What the expression may lack is said beside what would be done.
    let warned = line(&format!("warning {name} "));
    assert!(warned.contains("; expression created: "), "{out}");
    let look = format!(
        "all about it: fly-autoscaler check --config '{file}' --policy targets --app my-target-app"
    );
    assert!(out.contains(&look), "{look}: {out}");
    let of_other = line(&format!("skipped {name} "));
    assert!(
        of_other.ends_with("policy targets comes before all in the list and has its machines"),
        "{out}"
    );
    let arguments = ["--config", &file, "--policy", "all", "--app", APP];
    let out = text(&check(&served, &arguments, &settings).await.stdout);
    assert!(
        out.contains("policy targets comes before all in the list and has its machines"),
        "{out}"
    );
    assert!(!out.contains("would create"), "{out}");
}

#[tokio::test]
async fn each_region_is_a_line_and_one_can_be_chosen() {
    let served = served(Options::default()).await;
    let settings = [
        ("FAS_PER_REGION", "true"),
        ("FAS_CREATED_MACHINE_COUNT", "started_machine_count + 1"),
    ];
    {
        let mut platform = served.platform();
        let machine = NewMachine::in_region("lhr").config(SERVICES);
        let machine = machine.state(MachineState::Stopped);
        platform.add_machine(APP, machine).unwrap();
    }
    let output = check(&served, &["--json"], &settings).await;
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let fleets: Vec<(&str, &str)> = json["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["step"] == "app")
        .map(|step| {
            let told = |key: &str| step[key].as_str().unwrap();
            (told("name"), told("sentence"))
        })
        .collect();
    let names: Vec<&str> = fleets.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        ["my-target-app/app/lhr", "my-target-app/app/ord"],
        "{json}"
    );
    let output = check(&served, &["--region", "ord"], &settings).await;
    let out = text(&output.stdout);
    assert!(out.contains("would create 1 machine like "), "{out}");
    assert!(out.contains("1 machine of the group app in ord: "), "{out}");
    // Nobody has set it, and there is no machine: the daemon has no such fleet.
    let output = check(&served, &["--region", "irad"], &settings).await;
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(
        out.contains("the daemon has no fleet there, only in lhr, ord"),
        "{out}"
    );
    // A region without a machine is made from another one's.
    let regions = [&settings[..], &[("FAS_REGIONS", "ord,syd")]].concat();
    let output = check(&served, &["--region", "syd"], &regions).await;
    let out = text(&output.stdout);
    assert!(out.contains("would create 1 machine like "), "{out}");
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert_eq!(served.platform().writes().count(), 0);
}

/// The app's depth by region, of which some are said to be as many machines as wanted.
fn depth_of(platform: &mut Platform, app: &str, depths: &[(&str, f64)]) {
    for (region, depth) in depths {
        let labels = [("app", app), ("region", region)];
        platform.set_series("depth", &labels, Some(*depth));
    }
}

/// Each region is a fleet that is as large as its depth.
const BY_DEPTH: [(&str, &str); 4] = [
    ("FAS_PER_REGION", "true"),
    ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
    ("FAS_PROMETHEUS_METRIC_NAME", "queue_depth"),
    ("FAS_PROMETHEUS_QUERY", "depth{app='$APP_NAME'}"),
];

#[tokio::test]
async fn of_a_wildcards_apps_each_region_is_told_as_serve_would_do() {
    let served = served(Options::default()).await;
    {
        let mut platform = served.platform();
        for app in [APP, "my-app-a"] {
            if app != APP {
                platform.add_app(app, "acme");
                let machine = NewMachine::in_region("ord").config(SERVICES);
                platform.add_machine(app, machine).unwrap();
            }
            let machine = NewMachine::in_region("lhr").config(SERVICES);
            platform.add_machine(app, machine).unwrap();
            depth_of(
                &mut platform,
                app,
                &[("ord", 3.0), ("lhr", 1.0), ("ams", 9.0)],
            );
        }
    }
    let pattern = [("FAS_APP_NAME", "my-*"), ("FAS_ORG", "acme")];
    let settings = [&BY_DEPTH[..], &pattern].concat();
    let found = json(&served, &settings).await;
    let steps = found["steps"].as_array().unwrap();
    let of_fleets = steps
        .iter()
        .filter(|step| step["step"] == "app" && step["name"].is_string());
    let told = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
    let fleets: Vec<(String, String)> = of_fleets
        .map(|step| (told(step, "name"), told(step, "sentence")))
        .collect();
    let names: Vec<&str> = fleets.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "my-app-a/app/lhr",
        "my-app-a/app/ord",
        "my-target-app/app/lhr",
        "my-target-app/app/ord",
    ];
    assert_eq!(names, expected, "{found}");
    assert!(fleets[0].1.contains("nothing to do"), "{fleets:?}");
    let dry = [&settings[..], &[("FAS_DRY_RUN", "true")]].concat();
    let daemon = Daemon::start(&served, &dry).await;
    for at in [1, 3] {
        let (name, said) = &fleets[at];
        assert!(said.contains("would create 2 machines like "), "{fleets:?}");
        let expected = format!("dry run, {said}");
        until(&format!("{name}: {expected}"), || {
            daemon.has_said(&expected)
        })
        .await;
    }
    assert!(
        !found.to_string().contains("only the first is used"),
        "{found}"
    );
    assert_eq!(
        lines(&found, "app")[0].1,
        "2 of the 2 apps of acme match my-*"
    );
    let chosen = ["--app", "my-app-a", "--region", "ord"];
    let out = text(&check(&served, &chosen, &settings).await.stdout);
    assert!(
        out.contains("plan") && out.contains("would create 2 machines like "),
        "{out}"
    );
    assert_eq!(served.platform().writes().count(), 0);
}

#[tokio::test]
async fn one_number_for_all_regions_is_warned_of_and_so_are_regions_that_are_left_alone() {
    let served = served(Options::default()).await;
    {
        let mut platform = served.platform();
        for region in ["lhr", "gru", "gru"] {
            let machine = NewMachine::in_region(region).config(SERVICES);
            platform.add_machine(APP, machine).unwrap();
        }
    }
    let regions = [
        ("FAS_PER_REGION", "true"),
        ("FAS_REGIONS", "ord,lhr"),
        ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
    ];
    let found = json(&served, &regions).await;
    let apps = lines(&found, "app");
    assert_eq!(apps.len(), 2, "{found}");
    for (status, said, hint) in apps {
        assert_eq!(status, "warning");
        let all = "the number 7 holds for all 2 regions: each of them scales to the whole of it";
        assert!(said.starts_with("would create 6 machines like "), "{said}");
        assert!(said.contains(all), "{said}");
        let cure = "FAS_PROMETHEUS_QUERY = \"sum by (region) (queue_depth{app='$APP_NAME'})\"";
        assert!(hint.contains(cure), "{hint}");
    }
    let left_alone =
        "2 machines of the group app are left alone (gru 2): FAS_REGIONS does not name the region";
    let machines = lines(&found, "machines");
    assert_eq!(machines.len(), 1, "{found}");
    assert_eq!((machines[0].0, machines[0].1), ("warning", left_alone));
    let out = text(&check(&served, &["--region", "lhr"], &regions).await.stdout);
    assert!(out.contains("the number 7 holds for every region"), "{out}");
    assert!(!out.contains("left alone"), "{out}");
    depth_of(&mut served.platform(), APP, &[("ord", 3.0), ("lhr", 1.0)]);
    let own = [&BY_DEPTH[..], &[("FAS_REGIONS", "ord,lhr,syd")]].concat();
    let found = json(&served, &own).await;
    let apps = lines(&found, "app");
    let failed: Vec<_> = apps
        .iter()
        .filter(|(status, ..)| *status == "failed")
        .collect();
    assert_eq!(failed.len(), 1, "{found}");
    let (_, said, hint) = failed[0];
    assert!(
        said.contains("no element has the region `syd`, only lhr, ord"),
        "{said}"
    );
    assert!(hint.contains("FAS_PROMETHEUS_EMPTY_VALUE=0"), "{hint}");
    assert!(!hint.contains("vector"), "{hint}");
    // A region's own number is none for all.
    assert!(!found.to_string().contains("holds for"), "{found}");
}

#[tokio::test]
async fn a_wildcard_whose_apps_an_earlier_policy_has_is_no_failure() {
    let served = served(Options::default()).await;
    let policies = "
org: acme
policies:
  - {app-name: 'my-*', created-machine-count: 1}
  - {name: late, app-name: '*-app', created-machine-count: 2}
";
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, policies.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    let settings = [("FAS_APP_NAME", ""), ("FAS_CREATED_MACHINE_COUNT", "")];
    let output = check(&served, &["--config", path], &settings).await;
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    let all =
        "1 of the 1 apps of acme match *-app, and policies before it in the list have all of them";
    assert!(out.contains(all), "{out}");
}

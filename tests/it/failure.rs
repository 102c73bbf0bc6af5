//! What goes wrong around the daemon: each fault is named, counted and logged once, writes nothing, and is over when
//! it is over.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fly_autoscaler::sim::{Canned, Effect, Failures, Fault, MachineState, NewMachine, Operation};
use serde_json::value::RawValue;

use crate::world::{APP, Logs, World};

const CREATED: &[(&str, &str)] = &[("FAS_CREATED_MACHINE_COUNT", "queue_depth")];

/// One machine where `settings` want three.
fn short_of_two(settings: &[(&str, &str)]) -> World {
    let world = World::queue(3.0, settings);
    world
        .platform()
        .add_machine(APP, NewMachine::in_region("ord"))
        .unwrap();
    world
}

fn answer(text: &str) -> Effect {
    Effect::Answer(Canned::json(200, text))
}

fn status(status: u16) -> Effect {
    Effect::Answer(Canned::status(status))
}

/// One fault that lasts for a pass: its name, what happens to the requests, how the pass counts it, what the log says.
type Case = (&'static str, Effect, &'static str, &'static str);

/// Tries one fault of `operation`: nothing is written while it lasts, the error names app, operation and cause and is
/// counted, `/readyz` is as it should be, no token is shown, and the pass after it does what was wanted.
async fn try_fault(operation: Operation, named: &str, (name, effect, reason, cause): Case) {
    let logs = Logs::capture();
    let mut world = short_of_two(CREATED);
    world.platform().add_fault(Fault::new(effect).on(operation));
    world.run_for(32).await;
    assert!(world.requests(operation) > 0, "{name}: the fault was met");
    assert_eq!(world.writes(), 0, "{name}: nothing is written");
    assert!(
        world.pass_errors(reason) >= 1,
        "{name}: {:?}",
        world.all_pass_errors()
    );
    let errors = logs.errors();
    let told = errors.iter().find(|line| {
        line.fields.get("app").is_some_and(|app| app == APP)
            && line.fields.get("reason").is_some_and(|told| told == reason)
            && line.message.contains(APP)
            && line.message.contains(named)
            && line.message.contains(cause)
    });
    assert!(told.is_some(), "{name}: {cause} in {errors:#?}");
    // What needs a metric that failed is counted, and told with it.
    let counted: u64 = world.all_pass_errors().values().sum();
    assert_eq!(
        counted - world.pass_errors("expression"),
        u64::try_from(errors.len()).unwrap(),
        "{name}: logged once each: {errors:#?}"
    );
    let (ready, _, why) = world.get("/readyz").await;
    assert_eq!(ready, 503, "{name}: nothing has succeeded yet");
    assert!(
        why.contains(cause) || why.contains("no pass has"),
        "{name}: {why}"
    );
    for line in logs.lines() {
        let text = format!("{line:?}{why}");
        assert!(!text.contains("fm2_"), "{name}: a token in {text}");
        assert!(text.len() < 3000, "{name}: bounded text: {}", text.len());
    }

    world.platform().clear_faults();
    world.run_for(31).await;
    assert_eq!(world.created(), 3, "{name}: the next pass works");
    assert_eq!(world.get("/readyz").await.0, 200, "{name}");
}

#[tokio::test(start_paused = true)]
async fn a_prometheus_that_fails_is_named_counted_and_writes_nothing() {
    let vector = |value: &str| {
        answer(&format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[1,{value}]}}]}}}}"#
        ))
    };
    let result = |kind: &str, result: &str| {
        answer(&format!(
            r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#
        ))
    };
    let cases: Vec<Case> = vec![
        (
            "down",
            Effect::Refuse,
            "metric",
            "cannot connect to Prometheus",
        ),
        (
            "hanging",
            Effect::Hang,
            "timeout",
            "no answer within 15s (half of FAS_TIMEOUT=30s)",
        ),
        ("cut off", Effect::Break, "metric", "was lost"),
        ("answer lost", Effect::LoseAnswer, "metric", "was lost"),
        ("body cut", Effect::CutBody(10), "metric", "was lost"),
        ("401", status(401), "metric", "HTTP 401"),
        ("403", status(403), "metric", "HTTP 403"),
        ("404", status(404), "metric", "HTTP 404"),
        ("429", status(429), "metric", "HTTP 429"),
        ("500", status(500), "metric", "HTTP 500"),
        (
            "HTML 502",
            Effect::Answer(Canned::html(502)),
            "metric",
            "HTTP 502",
        ),
        (
            "HTML",
            Effect::Answer(Canned::html(200)),
            "metric",
            "found HTML",
        ),
        (
            "garbage",
            Effect::Answer(Canned::garbage(200)),
            "metric",
            "expected JSON",
        ),
        (
            "truncated",
            Effect::Truncate(30),
            "metric",
            "cut off after 30 bytes",
        ),
        (
            "no body",
            answer(""),
            "metric",
            "expected JSON, but found an empty body",
        ),
        (
            "empty",
            result("vector", "[]"),
            "metric",
            "returned nothing",
        ),
        ("NaN", vector(r#""NaN""#), "metric", "NaN"),
        (
            "no number",
            vector(r#""many""#),
            "metric",
            "expected a number, but found `many`",
        ),
        (
            "matrix",
            result("matrix", r#"[{"metric":{},"values":[[1,"2"]]}]"#),
            "metric",
            "matrix",
        ),
        ("string", result("string", r#"[1,"2"]"#), "metric", "string"),
        (
            "partial",
            answer(
                r#"{"status":"success","isPartial":true,"data":{"resultType":"vector","result":[{"metric":{},"value":[1,"2"]}]}}"#,
            ),
            "metric",
            "partial",
        ),
        (
            "query error",
            Effect::Answer(Canned::json(
                422,
                r#"{"status":"error","errorType":"execution","error":"too many samples"}"#,
            )),
            "metric",
            "too many samples",
        ),
        (
            "oversized",
            Effect::Large(11 << 20),
            "metric",
            "larger than 10485760 bytes",
        ),
        (
            "endless",
            Effect::Endless,
            "metric",
            "larger than 10485760 bytes",
        ),
    ];
    for case in cases {
        try_fault(Operation::Query, "metric queue_depth", case).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_metric_that_failed_leaves_its_expression_without_a_value_and_says_so() {
    let logs = Logs::capture();
    let mut world = short_of_two(CREATED);
    world
        .platform()
        .add_fault(Fault::status(500).on(Operation::Query));
    world.run_for(0).await;
    let text = "; the created target `queue_depth` needs it and has no value";
    let told = logs.with(text);
    assert_eq!(told.len(), 1, "{:#?}", logs.errors());
    let cause = "my-target-app: metric queue_depth: HTTP 500";
    assert!(told[0].message.starts_with(cause), "{told:#?}");
    assert_eq!(world.pass_errors("expression"), 1);
    assert_eq!(
        world.series(&format!(
            r#"fas_metric_value{{app="{APP}",group="app",metric="queue_depth"}}"#
        )),
        None
    );
}

#[tokio::test(start_paused = true)]
async fn a_metric_that_hangs_leaves_time_for_what_does_not_need_it() {
    let cases: [(&str, &[(&str, &str)]); 3] = [
        ("??", &[("FAS_CREATED_MACHINE_COUNT", "queue_depth ?? 3")]),
        (
            "floor",
            &[
                ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
                ("FAS_MACHINE_FLOOR", "3"),
            ],
        ),
        (
            "fallback",
            &[
                ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
                ("FAS_FALLBACK_CREATED_MACHINE_COUNT", "3"),
                ("FAS_FALLBACK_AFTER", "1"),
            ],
        ),
    ];
    for (name, settings) in cases {
        let mut world = short_of_two(settings);
        world
            .platform()
            .add_fault(Fault::new(Effect::Hang).on(Operation::Query));
        world.run_for(29).await;
        assert_eq!(world.created(), 3, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_machines_api_that_fails_is_named_counted_and_writes_nothing() {
    let machine =
        |id: &str| format!(r#"{{"id":"{id}","state":"started","config":{{"image":"i"}}}}"#);
    let twice = format!("[{},{}]", machine("a1"), machine("a1"));
    let retry_after =
        |value: &str| Effect::Answer(Canned::status(429).header("retry-after", value));
    let cases: Vec<Case> = vec![
        ("down", Effect::Refuse, "list", "cannot connect"),
        (
            "hanging",
            Effect::Hang,
            "timeout",
            "the limit that FAS_TIMEOUT sets",
        ),
        ("cut off", Effect::Break, "list", "was lost"),
        ("body cut", Effect::CutBody(10), "list", "was lost"),
        ("401", status(401), "unauthorized", "HTTP 401"),
        ("403", status(403), "unauthorized", "HTTP 403"),
        ("404", status(404), "list", "HTTP 404"),
        ("408", status(408), "list", "HTTP 408"),
        ("422", status(422), "list", "HTTP 422"),
        ("429", status(429), "list", "HTTP 429"),
        ("429, seconds", retry_after("3"), "list", "HTTP 429"),
        ("429, too long", retry_after("3600"), "list", "HTTP 429"),
        ("429, garbage", retry_after("soon"), "list", "HTTP 429"),
        ("500", status(500), "list", "HTTP 500"),
        (
            "HTML 502",
            Effect::Answer(Canned::html(502)),
            "list",
            "HTTP 502: an HTML page",
        ),
        (
            "a redirect",
            Effect::Answer(Canned::status(302).header("location", "http://elsewhere/")),
            "list",
            "HTTP 302",
        ),
        ("no content", answer(""), "list", "the body is empty"),
        (
            "HTML",
            Effect::Answer(Canned::html(200)),
            "list",
            "the body is HTML",
        ),
        (
            "garbage",
            Effect::Answer(Canned::garbage(200)),
            "list",
            "unexpected JSON",
        ),
        ("truncated", Effect::Truncate(30), "list", "cut off"),
        ("null", answer("null"), "list", "unexpected JSON"),
        ("an object", answer("{}"), "list", "unexpected JSON"),
        ("10 MB", Effect::Large(10 << 20), "list", "unexpected JSON"),
        (
            "65 MiB",
            Effect::Large(65 << 20),
            "list",
            "larger than 67108864 bytes",
        ),
        (
            "endless",
            Effect::Endless,
            "list",
            "larger than 67108864 bytes",
        ),
        (
            "an id twice",
            answer(&twice),
            "list",
            "machine a1 is in the list twice",
        ),
        (
            "no id",
            answer(r#"[{"state":"started"}]"#),
            "list",
            "missing field `id`",
        ),
        (
            "an empty id",
            answer(r#"[{"id":"","state":"started"}]"#),
            "list",
            "id is empty",
        ),
        (
            "a state that is a number",
            answer(r#"[{"id":"a","state":1}]"#),
            "list",
            "invalid type",
        ),
        (
            "a config that is a list",
            answer(r#"[{"id":"a","state":"started","config":[]}]"#),
            "list",
            "machine a: its config",
        ),
    ];
    for case in cases {
        try_fault(
            Operation::List,
            "cannot list the machines (app \"my-target-app\")",
            case,
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_machine_of_a_wrong_type_ends_the_pass_without_a_write() {
    let mut world = short_of_two(CREATED);
    let id = world
        .platform()
        .add_machine(APP, NewMachine::in_region("ord"))
        .unwrap();
    let shown = RawValue::from_string(r#"{"id":7,"state":"started"}"#.to_owned()).unwrap();
    world
        .platform()
        .edit_machine(APP, &id, |machine| machine.shown_as = Some(shown.into()));
    world.run_for(20).await;
    assert_eq!(world.writes(), 0);
    assert_eq!(world.pass_errors("list"), 2);
    world
        .platform()
        .edit_machine(APP, &id, |machine| machine.shown_as = None);
    world.run_for(15).await;
    assert_eq!(world.created(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_graphql_api_that_fails_is_named_counted_and_shrinks_nothing() {
    let refused: Vec<Case> = vec![
        ("401", status(401), "unauthorized", "HTTP 401"),
        (
            "unknown app",
            answer(r#"{"data":{"app":null},"errors":[{"message":"Could not find App"}]}"#),
            "release",
            "Could not find App",
        ),
        (
            "null app",
            answer(r#"{"data":{"app":null}}"#),
            "release",
            "the token does not cover it",
        ),
    ];
    let named = "cannot get the current release (app \"my-target-app\")";
    for case in refused {
        try_fault(Operation::Graphql, named, case).await;
    }
    let away: Vec<Case> = vec![
        ("down", Effect::Refuse, "release", "cannot connect"),
        (
            "hanging",
            Effect::Hang,
            "timeout",
            "the limit that FAS_TIMEOUT sets",
        ),
        ("cut off", Effect::Break, "release", "was lost"),
        ("500", status(500), "release", "HTTP 500"),
        ("429", status(429), "release", "HTTP 429"),
        (
            "garbage",
            Effect::Answer(Canned::garbage(200)),
            "release",
            "unexpected JSON",
        ),
        (
            "HTML",
            Effect::Answer(Canned::html(200)),
            "release",
            "the body is HTML",
        ),
        ("truncated", Effect::Truncate(9), "release", "cut off"),
        (
            "endless",
            Effect::Endless,
            "release",
            "larger than 10485760 bytes",
        ),
        (
            "errors",
            answer(r#"{"data":{"app":null},"errors":[{"message":"try again"}]}"#),
            "release",
            "try again",
        ),
        (
            "errors without a message",
            answer(r#"{"errors":[{}]}"#),
            "release",
            "GraphQL",
        ),
        (
            "null data",
            answer(r#"{"data":null}"#),
            "release",
            "neither data nor errors",
        ),
        (
            "nothing",
            answer("{}"),
            "release",
            "neither data nor errors",
        ),
        (
            "no app",
            answer(r#"{"data":{}}"#),
            "release",
            "missing field `app`",
        ),
        (
            "no release, and not null",
            answer(r#"{"data":{"app":{}}}"#),
            "release",
            "missing field `currentRelease`",
        ),
        (
            "a release without a status",
            answer(r#"{"data":{"app":{"currentRelease":{"version":3}}}}"#),
            "release",
            "missing field `status`",
        ),
        (
            "another server",
            Effect::Answer(Canned::html(404)),
            "release",
            "HTTP 404",
        ),
        ("400", status(400), "release", "HTTP 400"),
        (
            "a redirect",
            Effect::Answer(Canned::status(302).header("location", "http://elsewhere/")),
            "release",
            "HTTP 302",
        ),
    ];
    for (name, effect, reason, cause) in away {
        let logs = Logs::capture();
        let mut world = World::queue(
            1.0,
            &[CREATED, &[("FAS_DESTROY_RUNNING_AFTER", "0s")]].concat(),
        );
        world
            .platform()
            .add_machines(APP, 3, &NewMachine::in_region("ord"))
            .unwrap();
        world
            .platform()
            .add_fault(Fault::new(effect).on(Operation::Graphql));
        world.run_for(32).await;
        assert_eq!(world.writes(), 0, "{name}: nothing is destroyed or stopped");
        assert!(
            world.pass_errors(reason) >= 1,
            "{name}: {:?}",
            world.all_pass_errors()
        );
        let told = logs.errors().into_iter().any(|line| {
            line.fields.get("reason").is_some_and(|told| told == reason)
                && line.message.contains(named)
                && line.message.contains(cause)
        });
        assert!(told, "{name}: {cause} in {:#?}", logs.errors());
        assert_eq!(world.get("/readyz").await.0, 503, "{name}");
        world.platform().clear_faults();
        world.run_for(31).await;
        assert_eq!(world.created(), 1, "{name}: the next pass works");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_repeats_the_token_is_not_shown() {
    // As long as Fly's are: an error shows less of an answer than that.
    let token = format!("fm2_{}", "lJPEsecret".repeat(80));
    let cases = [
        (
            Operation::List,
            500,
            format!(r#"{{"error":"bad header FlyV1 {token}"}}"#),
        ),
        (Operation::List, 401, format!(r#"{{"message":"{token}"}}"#)),
        (Operation::List, 200, format!(r#""{token}""#)),
        (
            Operation::Graphql,
            200,
            format!(r#"{{"errors":[{{"message":"no such token {token}"}}]}}"#),
        ),
        (Operation::Create, 422, format!(r#"{{"error":"{token}"}}"#)),
    ];
    for (operation, status, body) in cases {
        let logs = Logs::capture();
        let header = format!("FlyV1 {token}");
        let mut world = short_of_two(&[CREATED[0], ("FAS_API_TOKEN", &header)]);
        let effect = Effect::Answer(Canned::json(status, &body));
        world.platform().add_fault(Fault::new(effect).on(operation));
        world.run_for(14).await;
        let why = world.get("/readyz").await.2;
        let text = format!("{:?}{why}", logs.lines());
        assert!(text.contains("***"), "{body}: {text}");
        assert!(!text.contains("lJPEsecret"), "{body}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_that_was_never_released_is_scaled() {
    let mut world = short_of_two(CREATED);
    world.platform().set_release(APP, None);
    world.run_for(0).await;
    assert_eq!(world.requests(Operation::Graphql), 1);
    assert_eq!(world.created(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_token_is_not_repeated_and_says_what_to_run() {
    for refused in [401, 403] {
        for operation in [Operation::List, Operation::Graphql, Operation::Create] {
            let logs = Logs::capture();
            let mut world = short_of_two(CREATED);
            world
                .platform()
                .add_fault(Fault::status(refused).on(operation));
            world.run_for(14).await;
            let name = format!("{refused} to {operation:?}");
            // Two machines are missing, but after a refusal no other create begins.
            assert_eq!(world.requests(operation), 1, "{name}");
            assert_eq!(world.pass_errors("unauthorized"), 1, "{name}");
            let told = logs.with("`fly tokens create deploy -a APP`");
            assert_eq!(told.len(), 1, "{name}");
            let (ready, _, why) = world.get("/readyz").await;
            assert_eq!(ready, 503, "{name}");
            assert!(why.contains("FAS_API_TOKEN"), "{name}: {why}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_429_the_server_says_when() {
    let in_seven = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(7));
    // A date has whole seconds, so that up to one is lost.
    for (value, least, most) in [("5", 5, 5), ("0", 0, 0), (&*in_seven, 5, 7)] {
        let mut world = short_of_two(CREATED);
        let refusal = Canned::status(429).header("retry-after", value);
        world.platform().add_fault(
            Fault::new(Effect::Answer(refusal))
                .on(Operation::List)
                .once(),
        );
        world.run_for(10).await;
        let asked = world.seconds_of(Operation::List);
        assert_eq!(asked.len(), 2, "{value}");
        assert!((least..=most).contains(&asked[1]), "{value}: {asked:?}");
        assert_eq!(world.created(), 3, "{value}: the same pass goes on");
        assert_eq!(world.all_pass_errors(), [].into(), "{value}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_by_itself_is_asked_again_in_the_same_pass() {
    for operation in [Operation::List, Operation::Graphql] {
        for effect in [
            status(500),
            status(408),
            status(429),
            Effect::Refuse,
            Effect::Break,
        ] {
            let name = format!("{operation:?}: {effect:?}");
            let mut world = short_of_two(CREATED);
            world
                .platform()
                .add_fault(Fault::new(effect).on(operation).times(3));
            world.run_for(14).await;
            assert_eq!(world.requests(operation), 4, "{name}");
            assert_eq!(world.created(), 3, "{name}");
            assert_eq!(world.all_pass_errors(), [].into(), "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_what_the_expression_says_it_is() {
    let mut world = short_of_two(&[("FAS_CREATED_MACHINE_COUNT", "queue_depth ?? 2")]);
    world
        .platform()
        .add_fault(Fault::new(Effect::Refuse).on(Operation::Query));
    world.run_for(14).await;
    assert_eq!(world.created(), 2);
    assert_eq!(world.all_pass_errors(), [("metric".to_owned(), 1)].into());
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_is_what_the_setting_says_it_is() {
    let mut world = short_of_two(&[CREATED, &[("FAS_PROMETHEUS_EMPTY_VALUE", "2")]].concat());
    world.platform().set_gauge(APP, "queue_depth", None);
    world.run_for(14).await;
    assert_eq!(world.created(), 2);
    assert_eq!(world.all_pass_errors(), [].into());
}

#[tokio::test(start_paused = true)]
async fn a_kind_without_a_target_leaves_the_other_alone() {
    let stopped = NewMachine::in_region("ord").state(MachineState::Stopped);
    let cases: [(_, &[_], _); 2] = [
        (
            "a missing metric",
            &[("FAS_CREATED_MACHINE_COUNT", "queue_depth")],
            "needs it and has no value",
        ),
        (
            "NaN",
            &[(
                "FAS_CREATED_MACHINE_COUNT",
                "(started_machine_count - started_machine_count) / (started_machine_count - started_machine_count)",
            )],
            "created target",
        ),
    ];
    for (name, created, why) in cases {
        let logs = Logs::capture();
        let started = ("FAS_STARTED_MACHINE_COUNT", "2");
        let mut world = short_of_two(&[created, &[started]].concat());
        world.platform().set_gauge(APP, "queue_depth", None);
        world.platform().add_machines(APP, 2, &stopped).unwrap();
        world.run_for(0).await;
        assert_eq!(world.requests(Operation::Start), 1, "{name}");
        assert_eq!(world.writes(), 1, "{name}: nothing is created or destroyed");
        assert_eq!(world.pass_errors("expression"), 1, "{name}");
        assert!(
            logs.errors().iter().any(|line| line.message.contains(why)),
            "{name}: {:#?}",
            logs.errors()
        );
        assert_eq!(
            world.series(r#"fas_reconcile_count{status="start"}"#),
            Some(1.0),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn machines_that_never_come_up_do_not_become_a_crowd() {
    let mut world = short_of_two(CREATED);
    world.platform().set_failures(
        APP,
        Failures {
            next: u32::MAX,
            rate: 1.0,
        },
        Failures::default(),
    );
    world.run_for(1200).await;
    let creates = world.requests(Operation::Create);
    assert!(creates <= 14, "{creates} creates in 20 minutes");
    assert!(creates >= 4, "{creates} creates in 20 minutes");
    assert!(world.created() <= 3);
}

#[tokio::test(start_paused = true)]
async fn nothing_to_clone_is_said_with_the_groups_that_there_are() {
    let logs = Logs::capture();
    let mut world = World::queue(2.0, CREATED);
    world
        .platform()
        .add_machine(APP, NewMachine::in_region("ord").group("worker"))
        .unwrap();
    world.run_for(0).await;
    assert_eq!(world.pass_errors("no_source"), 1);
    let told = logs.with("no machine available to clone for scale up");
    assert_eq!(told.len(), 1);
    assert!(told[0].message.contains("\"worker\""), "{told:?}");
    assert_eq!(world.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_rubbish_repeated_for_an_hour_writes_nothing() {
    let mut world = short_of_two(CREATED);
    let rubbish = [
        "[[]]",
        "[1,2,3]",
        r#"[{"id":"a","state":"started","config":{"metadata":[]}}]"#,
        r#"[{"id":"a","state":"started","region":{}}]"#,
        "\u{feff}[]",
    ];
    let mut next = 0;
    world.platform().set_fault_hook(Box::new(move |request| {
        (request.operation == Operation::List).then(|| {
            next += 1;
            let text = rubbish[next % rubbish.len()];
            Effect::Answer(Canned {
                status: 200,
                headers: Vec::new(),
                body: Bytes::from_static(text.as_bytes()),
            })
        })
    }));
    world.run_for(3600).await;
    assert_eq!(world.writes(), 0);
    assert_eq!(world.pass_errors("list"), 241);
}

#[tokio::test(start_paused = true)]
async fn what_passes_can_do_without_is_told_once_and_every_ten_minutes() {
    let logs = Logs::capture();
    let mut world = World::queue(1.0, &[("FAS_CREATED_MACHINE_COUNT", "queue_depth ?? 1")]);
    {
        let mut platform = world.platform();
        let machine = NewMachine::in_region("ord");
        platform.add_machine(APP, machine).unwrap();
        platform.set_gauge(APP, "queue_depth", None);
    }
    let told = || {
        logs.with("metric queue_depth: the query returned nothing")
            .len()
    };
    world.run_for(590).await;
    assert_eq!(told(), 1);
    world.run_for(15).await;
    assert_eq!(told(), 2, "a reminder");
    world.depth(1.0);
    world.run_for(15).await;
    world.platform().set_gauge(APP, "queue_depth", None);
    world.run_for(15).await;
    assert_eq!(told(), 3, "it is another time");
}

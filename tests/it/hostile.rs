//! Answers and files that nobody should send: an error or a right answer, in bounded memory and time, never a panic.

use std::{
    ffi::OsString,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use fly_autoscaler::{
    config::{Config, Purpose, Sources},
    scaling::StateLabel,
    sim::{Canned, Effect, Fault, MachineState, NewMachine, Operation},
    transport::{Transport, TransportError},
};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use proptest::{collection, option, prelude::*, sample};
use serde_json::{Value, json};
use tracing::Level;

use crate::{
    machine_lists::{Wanted, read_and_plan},
    program::run,
    world::{APP, Logs, SimTransport, World},
};

const CREATED: &[(&str, &str)] = &[("FAS_CREATED_MACHINE_COUNT", "queue_depth")];

fn two_wanted() -> World {
    let world = World::queue(2.0, CREATED);
    world
        .platform()
        .add_machine(APP, NewMachine::in_region("ord"))
        .unwrap();
    world
}

fn answer(text: &str) -> Effect {
    Effect::Answer(Canned::json(200, text))
}

#[tokio::test(start_paused = true)]
async fn json_nested_a_million_deep_is_an_error_or_skipped() {
    let deep =
        |open: &str, close: &str| format!("{}{}", open.repeat(500_000), close.repeat(500_000));
    let (lists, maps) = (
        deep("[", "]"),
        format!("{}1{}", "{\"a\":".repeat(500_000), "}".repeat(500_000)),
    );
    let machine =
        |fields: &str| format!(r#"[{{"id":"a1","state":"started","region":"ord",{fields}}}]"#);
    let group = r#""metadata":{"fly_process_group":"app"}"#;
    // Where it is, the answer, and whether the machine in it can be counted all the same.
    let machines = [
        ("the list", lists.clone(), false),
        ("the list, objects", maps.clone(), false),
        (
            "an unknown field",
            machine(&format!(r#""x":{maps},"config":{{"image":"i",{group}}}"#)),
            true,
        ),
        (
            "an unknown field of the config",
            machine(&format!(r#""config":{{"image":"i",{group},"x":{lists}}}"#)),
            true,
        ),
        ("the config", machine(&format!(r#""config":{maps}"#)), true),
        (
            "the mounts",
            machine(&format!(
                r#""config":{{"image":"i",{group},"mounts":{lists}}}"#
            )),
            true,
        ),
        (
            "the metadata",
            machine(&format!(
                r#""config":{{"image":"i","metadata":{{"fly_release_version":{lists}}}}}"#
            )),
            false,
        ),
        (
            "the stop timeout",
            machine(&format!(
                r#""config":{{"image":"i",{group},"stop_config":{{"timeout":{maps}}}}}"#
            )),
            false,
        ),
        (
            "the checks",
            machine(&format!(
                r#""checks":{lists},"config":{{"image":"i",{group}}}"#
            )),
            false,
        ),
        (
            "the state",
            format!(r#"[{{"id":"a1","state":{lists}}}]"#),
            false,
        ),
    ];
    for (name, list, counted) in machines {
        let mut world = two_wanted();
        world
            .platform()
            .add_fault(Fault::new(answer(&list)).on(Operation::List));
        world.run_for(0).await;
        assert_eq!(world.pass_errors("list"), u64::from(!counted), "{name}");
    }
    for operation in [Operation::Query, Operation::Graphql] {
        for body in [
            lists.clone(),
            maps.clone(),
            format!(r#"{{"data":{maps}}}"#),
            format!(r#"{{"status":"success","data":{{"resultType":"vector","result":{lists}}}}}"#),
        ] {
            let mut world = two_wanted();
            world
                .platform()
                .add_fault(Fault::new(answer(&body)).on(operation));
            world.run_for(0).await;
            // Without an answer about the release things grow all the same.
            if operation == Operation::Query {
                assert_eq!(world.writes(), 0);
            }
            let failed: u64 = world.all_pass_errors().values().sum();
            assert!(failed >= 1, "{operation:?}");
        }
    }
    for operation in [
        Operation::List,
        Operation::Query,
        Operation::Graphql,
        Operation::Create,
    ] {
        let mut world = two_wanted();
        let refusal = Canned::json(422, &format!(r#"{{"error":{lists},"message":{maps}}}"#));
        world
            .platform()
            .add_fault(Fault::new(Effect::Answer(refusal)).on(operation));
        world.run_for(0).await;
        // That is no answer about the release either.
        let grown = usize::from(operation == Operation::Graphql);
        assert_eq!(world.created(), 1 + grown, "{operation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_megabyte_of_headers_changes_nothing() {
    let mut world = two_wanted();
    world
        .platform()
        .add_fault(Fault::new(Effect::LargeHeaders(1 << 20)));
    world.run_for(31).await;
    assert_eq!(world.created(), 2);
    assert_eq!(world.all_pass_errors(), [].into());
}

/// Keeps the longest `Cookie` that was sent.
struct Cookies {
    inner: SimTransport,
    longest: std::sync::Mutex<usize>,
}

impl Transport for Cookies {
    fn exchange(
        &self,
        request: Request<Bytes>,
        body_limit: usize,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        let sent = request
            .headers()
            .get("cookie")
            .map_or(0, http::HeaderValue::len);
        let mut longest = self.longest.lock().unwrap();
        *longest = sent.max(*longest);
        self.inner.exchange(request, body_limit)
    }
}

#[tokio::test(start_paused = true)]
async fn cookies_do_not_pile_up() {
    let mut world = two_wanted();
    let mut number = 0;
    world.platform().set_fault_hook(Box::new(move |request| {
        (request.operation == Operation::List).then(|| {
            let mut canned = Canned::json(200, "[]").header(
                "set-cookie",
                &format!("huge{number}={}; Path=/", "x".repeat(100_000)),
            );
            for _ in 0..90 {
                number += 1;
                canned = canned.header("set-cookie", &format!("c{number}=1; Path=/"));
            }
            Effect::Answer(canned)
        })
    }));
    let cookies = Arc::new(Cookies {
        inner: SimTransport(world.simulator.clone()),
        longest: std::sync::Mutex::default(),
    });
    world.start_over(Arc::clone(&cookies) as Arc<dyn Transport>);
    world.run_for(3600).await;
    let longest = *cookies.longest.lock().unwrap();
    assert!(longest < 8192, "{longest} bytes of cookies");
}

#[tokio::test(start_paused = true)]
async fn eight_short_cookies_are_kept_and_no_long_one() {
    // Lengths of the cookies that each list brings, attributes included; how long the header is that comes of it.
    let cases: [(&str, &[usize], usize); 5] = [
        ("one", &[20], 20),
        ("as long as may be", &[1024], 1024),
        ("longer", &[1025], 0),
        ("eight", &[20; 8], 8 * 20 + 7 * 2),
        ("a ninth begins anew", &[20; 9], 20),
    ];
    for (name, lengths, expected) in cases {
        let mut world = two_wanted();
        world.platform().set_fault_hook(Box::new(move |request| {
            (request.operation == Operation::List).then(|| {
                let mut canned = Canned::json(200, "[]");
                for (number, length) in lengths.iter().enumerate() {
                    let value = "x".repeat(length - 3);
                    canned = canned.header("set-cookie", &format!("c{number}={value}"));
                }
                Effect::Answer(canned)
            })
        }));
        let cookies = Arc::new(Cookies {
            inner: SimTransport(world.simulator.clone()),
            longest: std::sync::Mutex::default(),
        });
        world.start_over(Arc::clone(&cookies) as Arc<dyn Transport>);
        world.run_for(16).await;
        assert_eq!(*cookies.longest.lock().unwrap(), expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn error_texts_of_any_size_and_content_become_one_bounded_line() {
    for (name, text) in [
        ("long", "x".repeat(1 << 20)),
        ("lines", "a\r\nb\nlevel=error\u{1b}[31m\u{0}".repeat(100)),
        ("wide", "\u{1f600}".repeat(100_000)),
    ] {
        for operation in [
            Operation::List,
            Operation::Query,
            Operation::Graphql,
            Operation::Create,
        ] {
            for body in [
                json!({ "error": text, "status": text }).to_string(),
                json!({ "errors": [{ "message": text }], "error": text, "errorType": text, "status": "error" }).to_string(),
                text.clone(),
            ] {
                for status in [200, 422] {
                    let logs = Logs::capture();
                    let mut world = two_wanted();
                    let refusal = Canned::json(status, &body).header("fly-request-id", &"r".repeat(5000));
                    world
                        .platform()
                        .add_fault(Fault::new(Effect::Answer(refusal)).on(operation));
                    world.run_for(0).await;
                    let mut told = logs.lines();
                    told.retain(|line| line.level <= Level::WARN);
                    assert!(!told.is_empty(), "{name}: {operation:?} {status}");
                    for line in told {
                        assert!(line.message.len() < 4000, "{name}: {}", line.message.len());
                        assert!(!line.message.contains(char::is_control), "{name}: {}", line.message);
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ids_that_are_no_ids_end_the_pass() {
    for id in [
        "..",
        ".",
        "a/b",
        "a b",
        "a\nb",
        "a?force=true",
        "a%2f",
        "é",
        &"a".repeat(101),
    ] {
        let mut world = two_wanted();
        let list = json!([{ "id": id, "state": "stopped", "config": { "image": "i", "metadata": { "fly_process_group": "app" } } }]);
        world
            .platform()
            .add_fault(Fault::new(answer(&list.to_string())).on(Operation::List));
        world.run_for(0).await;
        assert_eq!(world.pass_errors("list"), 1, "{id:?}");

        let mut world = two_wanted();
        let created = json!({ "id": id, "state": "created" }).to_string();
        world.platform().add_fault(
            Fault::new(Effect::AnswerAfter(Canned::json(200, &created))).on(Operation::Create),
        );
        world.run_for(60).await;
        assert_eq!(world.pass_errors("write"), 1, "{id:?}");
        assert_eq!(world.created(), 2, "{id:?}: it may have happened, and has");
    }
}

#[tokio::test(start_paused = true)]
async fn an_array_in_place_of_an_object_ends_the_pass_without_a_write() {
    let lists = [
        r#"[["m1","stopped","ord",null,null,null,null,null,null,{"metadata":{"fly_process_group":"app"}},null,null],
            ["m2","stopped","ord",null,null,null,null,null,null,{"metadata":{"fly_process_group":"app"}},null,null],
            ["m3","stopped","ord",null,null,null,null,null,null,{"metadata":{"fly_process_group":"app"}},null,null]]"#,
        r#"[{"id":"m1","state":"stopped","config":[{"fly_process_group":"app"},null,null,null,null,null]},
            {"id":"m2","state":"stopped","config":[{"fly_process_group":"app"},null,null,null,null,null]},
            {"id":"m3","state":"stopped","config":[{"fly_process_group":"app"},null,null,null,null,null]}]"#,
    ];
    let releases = [
        r#"[{"app":{"currentRelease":null}},null]"#,
        r#"{"data":{"app":[null]}}"#,
        r#"{"data":[[[1,"complete",null]]]}"#,
    ];
    let of = |operation: Operation, answers: &[&'static str]| -> Vec<(Operation, &'static str)> {
        answers.iter().map(|answer| (operation, *answer)).collect()
    };
    let cases = [
        of(Operation::List, &lists),
        of(Operation::Graphql, &releases),
    ]
    .concat();
    for (operation, text) in cases {
        let mut world = two_wanted();
        for _ in 0..3 {
            let stopped = NewMachine::in_region("ord").state(MachineState::Stopped);
            world.platform().add_machine(APP, stopped).unwrap();
        }
        world
            .platform()
            .add_fault(Fault::new(answer(text)).on(operation));
        world.run_for(100).await;
        assert!(world.requests(operation) > 0, "{text}");
        assert_eq!(world.writes(), 0, "{text}");
    }
}

/// A list of `started` running and `stopped` stopped machines, as the API writes it.
fn crowd(started: usize, stopped: usize) -> String {
    let mut list = String::from("[");
    for number in 0..started + stopped {
        let (state, gap) = (
            if number < started {
                "started"
            } else {
                "stopped"
            },
            if number == 0 { "" } else { "," },
        );
        let region = ["ord", "iad", "lhr", "nrt"][number % 4];
        let _ = write!(
            list,
            r#"{gap}{{"id":"{number:014x}","name":"m{number}","state":"{state}","region":"{region}","instance_id":"01J{number:023}","created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z","host_status":"ok","image_ref":{{"registry":"r","repository":"p","tag":"t"}},"config":{{"image":"r/p:t","guest":{{"cpus":1}},"metadata":{{"fly_process_group":"app","fly_release_version":"3"}}}}}}"#
        );
    }
    list.push(']');
    list
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_machines_are_counted_and_acted_on() {
    let list = crowd(60_000, 40_000);
    let cases = [(99_995.0, "destroy", 5), (100_004.0, "create", 4)];
    for (depth, decision, writes) in cases {
        let mut world = World::queue(depth, CREATED);
        world
            .platform()
            .add_fault(Fault::new(answer(&list)).on(Operation::List));
        // Whoever is destroyed is nobody whom the simulator knows: 404, which is success.
        world.run_for(5).await;
        let series = format!(r#"fas_reconcile_count{{status="{decision}"}}"#);
        assert_eq!(
            world.series(&series),
            Some(1.0),
            "{decision}: {:?}",
            world.all_pass_errors()
        );
        assert_eq!(world.writes(), writes, "{decision}");
        let machines = |state: &str| {
            world.series(&format!(
                r#"fas_machines{{app="{APP}",group="app",state="{state}"}}"#
            ))
        };
        assert_eq!(machines("started"), Some(60_000.0));
        assert_eq!(machines("stopped"), Some(40_000.0));
    }
    let settings = [("FAS_STARTED_MACHINE_COUNT", "queue_depth")];
    let mut world = World::queue(60_003.0, &settings);
    world
        .platform()
        .add_fault(Fault::new(answer(&list)).on(Operation::List));
    world
        .platform()
        .add_fault(Fault::new(answer("{}")).on(Operation::Start));
    world.run_for(5).await;
    assert_eq!(world.requests(Operation::Start), 3);
}

/// Some JSON: of each kind, and small.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(Value::from(u64::MAX)),
        "\\PC{0,12}".prop_map(Value::from),
        sample::select(vec![
            "",
            "ok",
            "true",
            "TRUE",
            "5s",
            "-1h",
            "9999999h",
            "unreachable",
            "critical",
            "app",
            "3",
            "99999999999999999999",
            "2026-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            collection::btree_map("[a-z_]{1,8}", inner, 0..3)
                .prop_map(|map| Value::from_iter(map.into_iter().collect::<Vec<_>>())),
        ]
    })
}

/// A value of the right type most of the time.
fn or_any(right: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![9 => right, 1 => any_json()].boxed()
}

fn any_machine() -> impl Strategy<Value = Value> {
    let known = StateLabel::ALL.map(StateLabel::as_str);
    let states = [&known[..], &["", "STARTED", "hibernating"]].concat();
    let state = prop_oneof![
        9 => sample::select(states).prop_map(Value::from),
        1 => "\\PC{0,20}".prop_map(Value::from),
    ];
    let time = || {
        sample::select(vec![
            "2026-01-01T00:00:00Z",
            "2026-01-02T03:04:00Z",
            "2099-01-01T00:00:00Z",
            "soon",
            "",
        ])
        .prop_map(Value::from)
    };
    let metadata = (
        option::of(or_any(Just(json!("app")))),
        option::of(or_any(Just(json!("app")))),
        option::of(or_any(sample::select(vec![
            json!("1"),
            json!(2),
            json!("x"),
            json!(true),
        ]))),
        option::of(or_any(sample::select(vec![
            json!("true"),
            json!(true),
            json!("false"),
        ]))),
    )
        .prop_map(|(group, old_group, version, protect)| {
            object([
                ("fly_process_group", group),
                ("process_group", old_group),
                ("fly_release_version", version),
                ("fas_protect", protect),
            ])
        });
    let config = (
        option::weighted(0.9, or_any(Just(json!("image")))),
        option::weighted(0.9, or_any(metadata)),
        option::of(or_any(Just(json!([])))),
        option::of(or_any(Just(json!("")))),
        option::of(or_any(any::<bool>().prop_map(Value::from))),
        option::of(or_any(Just(json!([])))),
        option::of(or_any(sample::select(vec![
            json!({}),
            json!({"timeout": "10m"}),
            json!({"timeout": 5}),
            json!({"timeout": true}),
        ]))),
        option::of(any_json()),
    )
        .prop_map(
            |(image, metadata, standbys, schedule, auto_destroy, mounts, stop, unknown)| {
                object([
                    ("image", image),
                    ("metadata", metadata),
                    ("standbys", standbys),
                    ("schedule", schedule),
                    ("auto_destroy", auto_destroy),
                    ("mounts", mounts),
                    ("stop_config", stop),
                    ("unknown", unknown),
                ])
            },
        );
    let id = prop_oneof![9 => "[0-9a-f]{3}".prop_map(Value::from), 1 => any_json()];
    (
        (
            option::weighted(0.98, id),
            option::weighted(0.98, prop_oneof![19 => state, 1 => any_json()]),
        ),
        option::weighted(
            0.9,
            or_any(sample::select(vec![json!("ord"), json!("iad"), json!("")])),
        ),
        option::of(or_any(Just(json!("instance")))),
        (option::of(or_any(time())), option::of(or_any(time()))),
        option::of(or_any(sample::select(vec![
            json!("ok"),
            json!("unreachable"),
            json!(""),
        ]))),
        option::of(or_any(any::<bool>().prop_map(Value::from))),
        option::of(or_any(Just(json!({"registry": "r", "repository": "p"})))),
        option::weighted(0.9, or_any(config)),
        option::of(or_any(Just(json!([{"name": "c", "status": "critical"}])))),
        option::of(any_json()),
    )
        .prop_map(
            |(
                (id, state),
                region,
                instance,
                (created, updated),
                host,
                cordoned,
                image,
                config,
                checks,
                unknown,
            )| {
                object([
                    ("id", id),
                    ("state", state),
                    ("region", region),
                    ("instance_id", instance),
                    ("created_at", created),
                    ("updated_at", updated),
                    ("host_status", host),
                    ("cordoned", cordoned),
                    ("image_ref", image),
                    ("config", config),
                    ("checks", checks),
                    ("unknown", unknown),
                ])
            },
        )
}

fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let fields = fields.into_iter();
    Value::Object(
        fields
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_list_with_anything_in_any_field_is_read_or_refused_and_planned_with_care(
        machines in collection::vec(any_machine(), 0..6),
        created in option::of((1_u8..8, 0_u8..4)),
        started in option::of((0_u8..8, 0_u8..4)),
        clone_volumes in any::<bool>(),
    ) {
        let body = serde_json::to_vec(&machines).unwrap();
        let wanted = Wanted { created, started, clone_volumes };
        if let Some(count) = read_and_plan(&body, wanted) {
            prop_assert_eq!(count, machines.len());
        }
    }

    #[test]
    fn bytes_of_any_kind_are_refused_without_a_panic(body in collection::vec(any::<u8>(), 0..200)) {
        let count = read_and_plan(&body, Wanted::default());
        prop_assert_eq!(count.unwrap_or(0), 0);
    }

    #[test]
    fn a_list_that_was_damaged_is_read_or_refused(at in 0_usize..4000, byte in any::<u8>(), length in 0_usize..4000) {
        let mut body = crowd(4, 4).into_bytes();
        if let Some(place) = body.get_mut(at) {
            *place = byte;
        }
        body.truncate(length.max(1));
        read_and_plan(&body, Wanted { created: Some((2, 1)), started: Some((1, 1)), clone_volumes: true });
    }
}

/// Panics in the midst of a call for one app, as long as it is told to.
pub(crate) struct Panicking {
    inner: SimTransport,
    path: &'static str,
    pub(crate) active: AtomicBool,
}

impl Transport for Panicking {
    fn exchange(
        &self,
        request: Request<Bytes>,
        body_limit: usize,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        let panics = self.active.load(Ordering::Relaxed) && request.uri().path() == self.path;
        assert!(!panics, "a defect, made on purpose");
        self.inner.exchange(request, body_limit)
    }
}

pub(crate) fn panicking(world: &World, path: &'static str) -> Arc<Panicking> {
    Arc::new(Panicking {
        inner: SimTransport(world.simulator.clone()),
        path,
        active: AtomicBool::new(true),
    })
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_pass_of_one_app_is_counted_and_the_loop_goes_on() {
    let logs = Logs::capture();
    let settings = [
        ("FAS_APP_NAME", "*"),
        ("FAS_ORG", "acme"),
        ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
    ];
    let mut world = World::queue(2.0, &settings);
    for app in [APP, "other", "third"] {
        let mut platform = world.platform();
        if app != APP {
            platform.add_app(app, "acme");
        }
        platform
            .add_machine(app, NewMachine::in_region("ord"))
            .unwrap();
        platform.set_gauge(app, "queue_depth", Some(2.0));
    }
    let transport = panicking(&world, "/v1/apps/other/machines");
    world.start_over(Arc::clone(&transport) as Arc<dyn Transport>);
    world.run_for(61).await;
    assert_eq!(world.created(), 2);
    assert_eq!(world.platform().living("third", "app"), 2);
    assert_eq!(world.platform().living("other", "app"), 1);
    assert_eq!(world.all_pass_errors(), [("panic".to_owned(), 4)].into());
    let told = logs.with("other: the pass panicked (a bug)");
    assert_eq!(told.len(), 4);
    assert_eq!(world.get("/healthz").await.0, 200);
    assert_eq!(world.get("/readyz").await.0, 200);
    transport.active.store(false, Ordering::Relaxed);
    world.run_for(15).await;
    assert_eq!(
        world.platform().living("other", "app"),
        2,
        "it goes on as well"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_acting_loses_no_more_than_the_memory() {
    let mut world = two_wanted();
    world.depth(4.0);
    let stopped = NewMachine::in_region("ord").state(MachineState::Stopped);
    world.platform().add_machine(APP, stopped).unwrap();
    // It strikes at the question about the release: after the list, before the write.
    let transport = panicking(&world, "/graphql");
    world.start_over(Arc::clone(&transport) as Arc<dyn Transport>);
    world.run_for(40).await;
    assert_eq!(world.writes(), 0);
    assert_eq!(world.pass_errors("panic"), 3);
    transport.active.store(false, Ordering::Relaxed);
    world.run_for(15).await;
    assert_eq!(world.created(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_the_apps_are_listed_leaves_the_last_list() {
    let settings = [
        ("FAS_APP_NAME", "*"),
        ("FAS_ORG", "acme"),
        ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
    ];
    let mut world = World::queue(1.0, &settings);
    world
        .platform()
        .add_machine(APP, NewMachine::in_region("ord"))
        .unwrap();
    let transport = panicking(&world, "/v1/apps");
    transport.active.store(false, Ordering::Relaxed);
    world.start_over(Arc::clone(&transport) as Arc<dyn Transport>);
    world.run_for(1).await;
    transport.active.store(true, Ordering::Relaxed);
    world.run_for(299).await;
    assert!(world.pass_errors("panic") >= 4);
    assert!(world.requests(Operation::List) >= 20);
}

#[test]
fn a_file_of_a_gigabyte_is_refused_without_being_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.yml");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(1 << 30).unwrap();
    for path in [path.to_str().unwrap(), "/dev/zero"] {
        for command in ["serve", "eval"] {
            let output = run(&[command, "--config", path], &[]);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert_eq!(
                text.trim_end(),
                format!(
                    "ERROR: {path} is larger than 1048576 bytes; expected a configuration file"
                )
            );
        }
    }
}

#[test]
fn expressions_of_any_size_and_depth_are_compiled_or_refused() {
    let times = |text: &str, count: usize| text.repeat(count);
    let expressions = [
        format!("{}1{}", times("(", 200_000), times(")", 200_000)),
        times("(", 1_000_000),
        format!("1{}", times("+1", 400_000)),
        format!("{}1", times("-", 1_000_000)),
        format!("{}1", times("!", 1_000_000)),
        format!("1{}", times("?1:1", 200_000)),
        format!("{}1{}", times("min(1,", 150_000), times(")", 150_000)),
        format!("min({}1)", times("1,", 400_000)),
        format!("1{}", times("**1", 300_000)),
        format!("1{}", times(" ?? 1", 200_000)),
        times("9", 1_000_000),
        times("x", 1_000_000),
        times("\"", 1_000_001),
        times("\u{1f600}", 200_000),
        times("[", 1_000_000),
        times("{", 1_000_000),
        format!("{}1", times("1 == 1 and ", 100_000)),
    ];
    for expression in expressions {
        let settings = [
            ("FAS_APP_NAME", "app"),
            ("FAS_API_TOKEN", "FlyV1 fm2_x"),
            ("FAS_CREATED_MACHINE_COUNT", &*expression),
        ];
        let environment: Vec<_> = settings
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect();
        let loaded = Config::load(Sources::new(environment, Purpose::Serve));
        if let Err(error) = loaded {
            let text = error.to_string();
            assert!(text.len() < 5000, "{} bytes: {}", text.len(), &text[..200]);
        }
    }
}

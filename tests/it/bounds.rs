//! What bounds a pass: targets that contradict themselves, windows and waits in a pool that is busy or stands still,
//! releases that nobody tells of, and where machines may go.

use std::time::Duration;

use fly_autoscaler::sim::{Canned, Effect, Fault, MachineState, NewMachine, Operation, Options};

use crate::world::{APP, Logs, World};

const CREATED: (&str, &str) = ("FAS_CREATED_MACHINE_COUNT", "queue_depth");

fn machine() -> NewMachine {
    NewMachine::in_region("ord")
}

/// A world in which `queue_depth` is `depth` and there are these machines.
fn world(depth: f64, settings: &[(&str, &str)], fleet: &[(usize, NewMachine)]) -> World {
    let world = World::queue(depth, settings);
    for (count, machine) in fleet {
        world.platform().add_machines(APP, *count, machine).unwrap();
    }
    world
}

fn answer(text: &str) -> Effect {
    Effect::Answer(Canned::json(200, text))
}

#[tokio::test(start_paused = true)]
async fn at_peak_an_uncapped_minimum_means_the_capped_maximum() {
    let logs = Logs::capture();
    let settings = [
        (
            "FAS_MIN_CREATED_MACHINE_COUNT",
            "max(1, ceil((queue_depth - 0.2) / 0.1))",
        ),
        ("FAS_MAX_CREATED_MACHINE_COUNT", "10"),
    ];
    let mut world = world(3.0, &settings, &[(2, machine())]);
    world.run_for(60).await;
    assert_eq!(world.created(), 10);
    assert_eq!(world.all_pass_errors(), [].into());
    assert_eq!(world.get("/readyz").await.0, 200);
    let told =
        logs.with("the created minimum 28 is above its maximum 10: the maximum is the target");
    assert!(!told.is_empty(), "{:#?}", logs.lines());
    for bound in ["min", "max"] {
        let series = format!(
            r#"fas_target_machines{{app="{APP}",bound="{bound}",group="app",kind="created"}}"#
        );
        assert_eq!(world.series(&series), Some(10.0), "{bound}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_created_target_is_one_machine_at_least() {
    let mut world = world(-3.0, &[CREATED], &[(1, machine())]);
    world.run_for(60).await;
    for bound in ["min", "max"] {
        let series = format!(
            r#"fas_target_machines{{app="{APP}",bound="{bound}",group="app",kind="created"}}"#
        );
        assert_eq!(world.series(&series), Some(1.0), "{bound}");
    }
    assert_eq!(world.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_nan_is_what_the_setting_says_or_a_metric_that_failed() {
    let nan = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"NaN"]}]}}"#;
    for (setting, created) in [("0", 1), ("", 3)] {
        let logs = Logs::capture();
        let settings = [
            CREATED,
            ("FAS_PROMETHEUS_EMPTY_VALUE", setting),
            ("FAS_DESTROY_RUNNING_AFTER", "0s"),
        ];
        let mut world = world(3.0, &settings, &[(3, machine())]);
        world
            .platform()
            .add_fault(Fault::new(answer(nan)).on(Operation::Query));
        world.run_for(60).await;
        assert_eq!(world.created(), created, "{setting:?}");
        let errors = logs.errors();
        if setting.is_empty() {
            let told = errors
                .iter()
                .any(|line| line.message.contains("`FAS_PROMETHEUS_EMPTY_VALUE`"));
            assert!(told, "{errors:#?}");
        } else {
            assert_eq!(world.all_pass_errors(), [].into());
        }
    }
}

/// Twelve apps with four running machines each and a target of one, whose passes take 7 s and come one at a time.
fn overloaded(settings: &[(&str, &str)]) -> World {
    let common = [
        ("FAS_APP_NAME", "app-*"),
        ("FAS_ORG", "acme"),
        ("FAS_CONCURRENCY", "1"),
        CREATED,
    ];
    let options = Options::default();
    let world = World::queue_with_options(1.0, &[&common, settings].concat(), &options);
    for number in 0..12 {
        let app = format!("app-{number:02}");
        let mut platform = world.platform();
        platform.add_app(&app, "acme");
        platform.add_machines(&app, 4, &machine()).unwrap();
        platform.set_gauge(&app, "queue_depth", Some(1.0));
    }
    let slow = Effect::SlowAnswer(Duration::from_secs(7));
    world
        .platform()
        .add_fault(Fault::new(slow).on(Operation::Query));
    world
}

fn left(world: &World) -> usize {
    let platform = world.platform();
    (0..12)
        .map(|number| platform.living(&format!("app-{number:02}"), "app"))
        .sum()
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_pool_shrinks_through_its_windows_and_waits() {
    for settings in [
        [("FAS_SCALE_DOWN_STABILIZATION", "3m")],
        [("FAS_DESTROY_RUNNING_AFTER", "2m")],
    ] {
        let mut world = overloaded(&settings);
        world.run_for(120).await;
        assert_eq!(left(&world), 48, "{settings:?}: not before its time");
        let queries = world.requests(Operation::Query);
        assert!(
            queries < 20,
            "passes are further apart than 60 s: {queries}"
        );
        world.run_for(1200).await;
        assert_eq!(left(&world), 12, "{settings:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_frozen_takes_no_running_machine_by_two_looks() {
    let settings = [CREATED, ("FAS_DESTROY_RUNNING_AFTER", "20s")];
    let mut world = world(1.0, &settings, &[(4, machine())]);
    world.run_for(1).await;
    // Frozen: nothing of the daemon runs, and the clock goes on.
    tokio::time::advance(Duration::from_secs(120)).await;
    world.run_for(16).await;
    assert_eq!(world.requests(Operation::Stop), 0, "seen for 15 s");
    world.run_for(20).await;
    assert_eq!(world.requests(Operation::Stop), 3, "seen for 30 s");
}

#[tokio::test(start_paused = true)]
async fn between_passes_a_standstill_is_measured_by_the_interval_and_not_by_the_timeout() {
    let settings = [
        CREATED,
        ("FAS_INTERVAL", "1s"),
        ("FAS_TIMEOUT", "60s"),
        ("FAS_DESTROY_RUNNING_AFTER", "10s"),
    ];
    let mut world = world(1.0, &settings, &[(4, machine())]);
    world.run_for(5).await;
    tokio::time::advance(Duration::from_secs(20)).await;
    world.run_for(9).await;
    assert_eq!(world.requests(Operation::Stop), 0, "seen for 9 s");
    world.run_for(3).await;
    assert_eq!(world.requests(Operation::Stop), 3);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_frozen_fills_its_window_anew() {
    let settings = [
        ("FAS_STARTED_MACHINE_COUNT", "queue_depth"),
        ("FAS_SCALE_DOWN_STABILIZATION", "40s"),
    ];
    let mut world = world(4.0, &settings, &[(4, machine())]);
    world.run_for(61).await;
    world.depth(1.0);
    tokio::time::advance(Duration::from_secs(600)).await;
    world.run_for(32).await;
    assert_eq!(world.writes(), 0);
    world.run_for(30).await;
    assert_eq!(world.in_state(&MachineState::Started), 1);
}

/// GraphQL is away, in one of the ways in which it can be.
fn outages() -> Vec<(&'static str, Effect)> {
    vec![
        ("503", Effect::Answer(Canned::status(503))),
        ("hanging", Effect::Hang),
        ("down", Effect::Refuse),
        ("errors", answer(r#"{"errors":[{"message":"try again"}]}"#)),
        ("HTML", Effect::Answer(Canned::html(200))),
        ("nothing", answer("{}")),
        ("no data", answer(r#"{"data":null}"#)),
        ("another server", Effect::Answer(Canned::html(404))),
        ("400", Effect::Answer(Canned::garbage(400))),
    ]
}

#[tokio::test(start_paused = true)]
async fn without_a_release_answer_the_fleet_grows_and_does_not_shrink() {
    for (name, outage) in outages() {
        let logs = Logs::capture();
        let settings = [CREATED, ("FAS_DESTROY_RUNNING_AFTER", "0s")];
        let mut world = world(5.0, &settings, &[(1, machine().release(3))]);
        world
            .platform()
            .add_fault(Fault::new(outage).on(Operation::Graphql));
        world.run_for(60).await;
        assert_eq!(world.created(), 5, "{name}: growth goes on");
        assert_eq!(world.get("/readyz").await.0, 200, "{name}");
        let told = logs.with("the machines show no sign of one, so scaling up continues");
        assert!(!told.is_empty(), "{name}");
        world.depth(2.0);
        world.run_for(3 * 3600).await;
        assert_eq!(world.created(), 5, "{name}: nothing is destroyed");
        assert_eq!(world.requests(Operation::Stop), 0, "{name}");
        assert_eq!(world.get("/readyz").await.0, 503, "{name}");
        world.platform().clear_faults();
        world.run_for(60).await;
        assert_eq!(world.created(), 2, "{name}: then it is made good");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_release_answer_nothing_grows_where_machines_show_a_deploy() {
    let signs = [
        ("another release", machine().release(4)),
        ("a cordoned machine", machine().release(3).cordoned()),
        (
            "an update",
            machine().release(3).state(MachineState::Updating),
        ),
    ];
    for (name, sign) in signs {
        for (what, settings) in [
            ("create", [CREATED, ("FAS_INTERVAL", "15s")]),
            (
                "start",
                [
                    ("FAS_STARTED_MACHINE_COUNT", "queue_depth"),
                    ("FAS_INTERVAL", "15s"),
                ],
            ),
        ] {
            let stopped = machine().release(3).state(MachineState::Stopped);
            let fleet = [(1, machine().release(3)), (1, stopped), (1, sign.clone())];
            let mut world = world(6.0, &settings, &fleet);
            world
                .platform()
                .add_fault(Fault::status(503).on(Operation::Graphql));
            world.run_for(31).await;
            assert_eq!(world.writes(), 0, "{name}, {what}");
            assert_eq!(world.get("/readyz").await.0, 503, "{name}, {what}");
        }
    }
}

fn regions_asked(world: &World) -> Vec<String> {
    let platform = world.platform();
    let creates = platform.requests_for(Operation::Create);
    creates
        .map(|request| {
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            body["region"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_list_of_regions_with_an_alias_is_used_in_turn() {
    let mut world = world(
        1.0,
        &[CREATED, ("FAS_REGIONS", "usa,lhr")],
        &[(1, machine())],
    );
    world.platform().set_region_alias("usa", "iad");
    for depth in 1..=7_u32 {
        world.depth(f64::from(depth));
        world.run_for(30).await;
    }
    assert_eq!(
        regions_asked(&world),
        ["usa", "lhr", "usa", "lhr", "usa", "lhr"]
    );
}

#[tokio::test(start_paused = true)]
async fn where_the_source_s_region_refuses_the_group_s_other_regions_grow() {
    let fleet = [
        (2, machine()),
        (1, NewMachine::in_region("iad")),
        (1, NewMachine::in_region("lhr").group("jobs")),
    ];
    let mut world = world(4.0, &[CREATED], &fleet);
    world.platform().set_region_capacity("ord", Some(2));
    world.run_for(31).await;
    assert_eq!(world.created(), 4);
    let asked = regions_asked(&world);
    assert!(asked.iter().all(|region| region != "lhr"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn every_process_group_means_machines_of_none_too() {
    let no_group = machine().config(r#"{"image":"registry.fly.io/web:v1","guest":{"cpus":1}}"#);
    let fleet = [(1, machine()), (1, machine().group("jobs")), (1, no_group)];
    let settings = [
        CREATED,
        ("FAS_PROCESS_GROUP", "*"),
        ("FAS_DESTROY_RUNNING_AFTER", "0s"),
    ];
    let mut world = world(3.0, &settings, &fleet);
    world.run_for(31).await;
    assert_eq!(world.writes(), 0, "there are three");
    world.depth(4.0);
    world.run_for(30).await;
    world.depth(1.0);
    world.run_for(60).await;
    let living = {
        let platform = world.platform();
        let machines = platform.app(APP).unwrap().machines();
        machines.filter(|machine| machine.state.is_living()).count()
    };
    assert_eq!(living, 1);
}

#[tokio::test(start_paused = true)]
async fn questions_that_hang_leave_time_to_grow() {
    let both = [Operation::Query, Operation::Graphql];
    for (timeout, hanging) in [
        ("10s", &both[1..]),
        ("10s", &both),
        ("20s", &both),
        ("30s", &both),
        ("60s", &both),
    ] {
        let settings = [
            ("FAS_CREATED_MACHINE_COUNT", "queue_depth ?? 3"),
            ("FAS_TIMEOUT", timeout),
        ];
        let mut world = world(3.0, &settings, &[(1, machine())]);
        for operation in hanging {
            world
                .platform()
                .add_fault(Fault::new(Effect::Hang).on(*operation));
        }
        world.run_for(60).await;
        assert_eq!(world.created(), 3, "{timeout}");
    }
}

//! What leaves the process and when: pace, repetition, refusals, volumes, victims, deploys, lagging lists.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use fly_autoscaler::sim::{
    Access, Canned, Effect, Failures, Fault, HostStatus, Machine, MachineConfig, MachineState,
    MetricsSettings, NewMachine, NewVolume, Operation, Options, RateLimits, Release, RequestRecord,
    Token,
};
use jiff::Timestamp;
use serde_json::json;
use tracing::Level;

use crate::world::{APP, BLUEPRINT, Logs, World};

const CREATED: (&str, &str) = ("FAS_CREATED_MACHINE_COUNT", "queue_depth");
const STARTED: (&str, &str) = ("FAS_STARTED_MACHINE_COUNT", "queue_depth");

/// How long a world lives before the loop starts, where its list is to show the past: there must be one.
const WARM_UP: Duration = Duration::from_secs(120);

fn machine() -> NewMachine {
    NewMachine::in_region("ord")
}

fn stopped() -> NewMachine {
    machine().state(MachineState::Stopped)
}

fn slow_to_stop(seconds: u64) -> NewMachine {
    let config = json!({
        "image": "registry.fly.io/app:v1",
        "metadata": { "fly_process_group": "app" },
        "stop_config": { "timeout": "4m" },
    });
    let machine = machine().config(&config.to_string());
    machine.stop_takes(Duration::from_secs(seconds))
}

/// A world that wants `depth`, with these machines in it.
fn world(depth: f64, settings: &[(&str, &str)], machines: &[(usize, NewMachine)]) -> World {
    let world = World::queue(depth, settings);
    for (count, machine) in machines {
        world.platform().add_machines(APP, *count, machine).unwrap();
    }
    world
}

fn status(status: u16) -> Effect {
    Effect::Answer(Canned::status(status))
}

fn fault(world: &World, operation: Operation, effect: Effect) {
    world.platform().add_fault(Fault::new(effect).on(operation));
}

fn ids(world: &World) -> BTreeSet<Arc<str>> {
    let platform = world.platform();
    let machines = platform.app(APP).unwrap().living("app");
    machines.map(|machine| Arc::clone(&machine.id)).collect()
}

/// The remembered requests of one kind.
fn requests(world: &World, operation: Operation) -> Vec<RequestRecord> {
    let platform = world.platform();
    platform.requests_for(operation).cloned().collect()
}

/// The machines that requests of one kind named, each as often as it was named.
fn named(world: &World, operation: Operation) -> Vec<Arc<str>> {
    requests(world, operation)
        .into_iter()
        .map(|request| request.machine.unwrap())
        .collect()
}

/// The value of one of the `fas_machine_…_count` series.
fn counted(world: &World, write: &str, status: &str) -> u64 {
    world.count(&format!(
        r#"fas_machine_{write}_count{{status="{status}"}}"#
    ))
}

#[tokio::test(start_paused = true)]
async fn creates_come_one_a_second_after_a_burst_of_three() {
    let mut world = world(9.0, &[CREATED], &[(1, machine())]);
    world.run_for(14).await;
    assert_eq!(
        world.seconds_of(Operation::Create),
        [0, 0, 0, 1, 2, 3, 4, 5]
    );
    assert_eq!(world.created(), 9);
    assert!(
        requests(&world, Operation::Create)
            .iter()
            .all(|request| request.status == Some(200)),
        "ahead of the server, never told by a 429"
    );
}

#[tokio::test(start_paused = true)]
async fn the_pace_of_creates_outlives_a_pass_and_belongs_to_one_app() {
    let settings = [
        ("FAS_APP_NAME", "*"),
        ("FAS_ORG", "acme"),
        ("FAS_INTERVAL", "1s"),
        CREATED,
    ];
    let mut world = world(4.0, &settings, &[(1, machine())]);
    {
        let mut platform = world.platform();
        platform.add_app("other", "acme");
        platform.add_machine("other", machine()).unwrap();
        platform.set_gauge("other", "queue_depth", Some(4.0));
    }
    world.run_for(1).await;
    assert_eq!(world.created(), 4);
    assert_eq!(world.platform().living("other", "app"), 4);
    world.depth(8.0);
    world.run_for(5).await;
    assert_eq!(world.created(), 8);
    let platform = world.platform();
    let limited = platform
        .requests_for(Operation::Create)
        .filter(|request| request.status == Some(429));
    assert_eq!(limited.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_is_tried_again_takes_its_turn_of_the_pace_like_any_other() {
    let limited = || Canned::status(429).header("retry-after", "6");
    let mut machines = world(9.0, &[CREATED], &[(1, machine())]);
    let refused = Fault::new(Effect::Answer(limited())).on(Operation::Create);
    machines.platform().add_fault(refused.times(3));
    machines.run_for(14).await;
    // At 6 s three come back, and only one turn has been saved up since the last of the others.
    assert_eq!(
        machines.seconds_of(Operation::Create),
        [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    );
    assert_eq!(machines.created(), 9);

    let settings = [("FAS_CLONE_VOLUMES", "true"), ("FAS_API_CONCURRENCY", "9")];
    let (mut volumes, _) = mounted(&settings, 0);
    volumes.depth(9.0);
    let refused = Fault::new(Effect::Answer(limited())).on(Operation::CreateVolume);
    volumes.platform().add_fault(refused.times(3));
    volumes.run_for(14).await;
    assert_eq!(
        volumes.seconds_of(Operation::CreateVolume),
        [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    );
}

#[tokio::test(start_paused = true)]
async fn so_many_calls_run_side_by_side_and_no_more() {
    for (concurrency, expected) in [
        ("1", &[0, 1, 2, 3, 4, 5][..]),
        ("2", &[0, 0, 1, 1, 2, 2]),
        ("4", &[0, 0, 0, 0, 1, 1]),
        ("8", &[0; 6]),
    ] {
        let settings = [STARTED, ("FAS_API_CONCURRENCY", concurrency)];
        let mut starts = world(6.0, &settings, &[(6, stopped())]);
        let slow = Effect::SlowAnswer(Duration::from_secs(1));
        fault(&starts, Operation::Start, slow.clone());
        starts.run_for(14).await;
        assert_eq!(
            starts.seconds_of(Operation::Start),
            expected,
            "start, {concurrency}"
        );

        let settings = [CREATED, ("FAS_API_CONCURRENCY", concurrency)];
        let mut destroys = world(1.0, &settings, &[(7, stopped())]);
        fault(&destroys, Operation::Destroy, slow);
        destroys.run_for(14).await;
        assert_eq!(
            destroys.seconds_of(Operation::Destroy),
            expected,
            "destroy, {concurrency}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_may_be_repeated_is_and_at_most_three_times() {
    // What happens to every write of the first pass, and how often one is then sent: to create, and to the others.
    let cases: &[(&str, Effect, usize, usize)] = &[
        ("connection refused", Effect::Refuse, 4, 4),
        ("reset", Effect::Break, 1, 4),
        ("408", status(408), 1, 4),
        ("429", status(429), 4, 4),
        (
            "429 with Retry-After",
            Effect::Answer(Canned::status(429).header("retry-after", "2")),
            4,
            4,
        ),
        (
            "429 with a Retry-After beyond the deadline",
            Effect::Answer(Canned::status(429).header("retry-after", "31")),
            1,
            1,
        ),
        ("500", status(500), 1, 4),
        ("503 and HTML", Effect::Answer(Canned::html(503)), 1, 4),
        ("400", status(400), 1, 1),
        ("401", status(401), 1, 1),
        ("403", status(403), 1, 1),
        ("409", status(409), 1, 1),
        ("422", status(422), 1, 1),
        ("endless", Effect::Endless, 1, 1),
    ];
    for (name, effect, create_calls, other_calls) in cases {
        let mut creating = world(2.0, &[CREATED], &[(1, machine())]);
        fault(&creating, Operation::Create, effect.clone());
        creating.run_for(14).await;
        assert_eq!(
            creating.requests(Operation::Create),
            *create_calls,
            "create: {name}"
        );
        assert_eq!(counted(&creating, "create", "failed"), 1, "create: {name}");

        let mut starting = world(1.0, &[STARTED], &[(1, stopped())]);
        fault(&starting, Operation::Start, effect.clone());
        starting.run_for(14).await;
        // An answer that is too long came after the effect, and the status was read.
        assert_eq!(
            starting.requests(Operation::Start),
            *other_calls,
            "start: {name}"
        );
        assert_eq!(counted(&starting, "start", "failed"), 1, "start: {name}");

        let mut stopping = world(0.0, &[STARTED], &[(1, machine())]);
        fault(&stopping, Operation::Stop, effect.clone());
        stopping.run_for(14).await;
        assert_eq!(
            stopping.requests(Operation::Stop),
            *other_calls,
            "stop: {name}"
        );

        let mut destroying = world(1.0, &[CREATED], &[(1, machine()), (1, stopped())]);
        fault(&destroying, Operation::Destroy, effect.clone());
        destroying.run_for(14).await;
        assert_eq!(
            destroying.requests(Operation::Destroy),
            *other_calls,
            "destroy: {name}"
        );
        assert_eq!(
            counted(&destroying, "destroy", "failed"),
            1,
            "destroy: {name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_call_is_given_up_and_an_idempotent_one_tried_again_before_the_deadline() {
    let settings = [CREATED, ("FAS_INTERVAL", "60s")];
    let mut creating = world(2.0, &settings, &[(1, machine())]);
    fault(&creating, Operation::Create, Effect::Hang);
    creating.run_for(59).await;
    assert_eq!(creating.seconds_of(Operation::Create), [0]);
    assert_eq!(
        creating.all_pass_errors(),
        [("timeout".to_owned(), 1)].into()
    );

    let settings = [STARTED, ("FAS_INTERVAL", "60s")];
    let mut starting = world(1.0, &settings, &[(1, stopped())]);
    fault(&starting, Operation::Start, Effect::Hang);
    starting.run_for(59).await;
    assert_eq!(starting.seconds_of(Operation::Start), [0, 15]);
    assert_eq!(
        starting.all_pass_errors(),
        [("timeout".to_owned(), 1)].into()
    );
    let took = starting.series("fas_pass_duration_seconds_sum").unwrap();
    assert!(took <= 30.0, "{took}: the deadline bounds the pass");
}

#[tokio::test(start_paused = true)]
async fn an_ambiguous_create_is_counted_again_and_never_repeated() {
    // A lost create is remembered for two passes, 30 s; a list that lags for longer than that is another matter.
    for lag in [0, 25] {
        // What happens to the first creates, how many of them, and how many machines exist right after the first pass.
        let cases = [
            ("one answer lost", Effect::LoseAnswer, 1, 3),
            ("both answers lost", Effect::LoseAnswer, 2, 3),
            (
                "a 502 after the effect",
                Effect::AnswerAfter(Canned::html(502)),
                2,
                3,
            ),
            (
                "garbage after the effect",
                Effect::AnswerAfter(Canned::garbage(200)),
                2,
                3,
            ),
            ("a body cut off", Effect::CutBody(5), 1, 3),
            ("no effect at all", Effect::Break, 1, 2),
            (
                "an effect that comes late",
                Effect::Delay(Duration::from_secs(20)),
                2,
                1,
            ),
        ];
        for (name, effect, times, after) in cases {
            let is_late = matches!(effect, Effect::Delay(_));
            if is_late && lag > 0 {
                continue;
            }
            let name = format!("{name}, lists {lag} s late");
            // With a latency both creates are under way before either is answered.
            let options = Options {
                latency: Duration::from_millis(50),
                ..Options::default()
            };
            let mut world = World::queue_with_options(3.0, &[CREATED], &options);
            world.platform().add_machine(APP, machine()).unwrap();
            world.platform().set_list_lag(APP, Duration::from_secs(lag));
            world.platform().add_fault(
                Fault::new(effect.clone())
                    .on(Operation::Create)
                    .times(times),
            );
            world.run_for(14).await;
            assert_eq!(world.created(), after, "{name}");
            if !is_late {
                assert_eq!(world.requests(Operation::Create), 2, "{name}");
            }
            for _ in 0..40 {
                world.run_for(10).await;
                assert!(
                    world.created() <= 3,
                    "{name}: {:?}",
                    world.seconds_of(Operation::Create)
                );
            }
            assert_eq!(world.created(), 3, "{name}: what is missing comes later");
            assert_eq!(world.requests(Operation::Destroy), 0, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_ambiguous_create_the_pass_creates_no_more() {
    let settings = [CREATED, ("FAS_API_CONCURRENCY", "1")];
    let mut world = world(6.0, &settings, &[(1, machine())]);
    world
        .platform()
        .add_fault(Fault::status(500).on(Operation::Create).after(1).once());
    world.run_for(14).await;
    assert_eq!(world.requests(Operation::Create), 2);
    world.run_for(120).await;
    assert_eq!(world.created(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_region_that_refuses_hands_over_to_the_next_and_comes_last_while_it_backs_off() {
    let settings = [CREATED, ("FAS_REGIONS", "iad, ord ,lhr")];
    let mut world = world(2.0, &settings, &[(1, machine())]);
    world.platform().set_region_capacity("iad", Some(0));
    world.run_for(14).await;
    let regions = |world: &World| -> Vec<String> {
        requests(world, Operation::Create)
            .iter()
            .map(|request| request.json()["region"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        regions(&world),
        ["iad", "lhr"],
        "the next one in the same pass"
    );
    assert_eq!(world.created(), 2);
    assert_eq!(world.pass_errors("write"), 1);
    world.depth(4.0);
    world.run_for(5).await;
    // Now iad's pause of one interval has ended: it is empty and is tried first, for both, and then pauses for longer.
    assert_eq!(regions(&world)[2..], ["iad", "iad", "ord", "lhr"]);
    world.depth(5.0);
    world.run_for(15).await;
    assert_eq!(regions(&world)[6..], ["ord"], "iad comes last");
    assert_eq!(world.created(), 5);
}

#[tokio::test(start_paused = true)]
async fn regions_that_all_refuse_end_the_pass() {
    let settings = [CREATED, ("FAS_REGIONS", "iad,lhr,nrt")];
    let mut world = world(5.0, &settings, &[(1, machine())]);
    for region in ["iad", "lhr", "nrt"] {
        world.platform().set_region_capacity(region, Some(0));
    }
    world.run_for(14).await;
    let attempts = world.requests(Operation::Create);
    assert!(
        attempts <= 4 + 3,
        "{attempts}: the shortfall and the regions"
    );
    assert_eq!(
        counted(&world, "create", "failed"),
        u64::try_from(attempts).unwrap()
    );
    world.platform().set_region_capacity("nrt", None);
    world.run_for(60).await;
    assert_eq!(world.created(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_refused_create_takes_no_turn_for_the_next_and_ends_the_pass() {
    let settings = [
        CREATED,
        ("FAS_INTERVAL", "1s"),
        ("FAS_API_CONCURRENCY", "1"),
    ];
    let mut world = world(2.0, &settings, &[(1, machine())]);
    world
        .platform()
        .add_fault(Fault::status(422).on(Operation::Create).once());
    world.run_for(0).await;
    world.depth(6.0);
    world.run_for(10).await;
    assert_eq!(
        world.seconds_of(Operation::Create),
        [0, 1, 1, 1, 2, 3],
        "one turn was taken and has come back by then"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pass_does_not_stand_still_after_a_refused_create() {
    // More than the burst of three, so that there is no turn left.
    let mut world = world(9.0, &[CREATED], &[(1, machine())]);
    fault(&world, Operation::Create, status(422));
    world.run_for(14).await;
    let took = world.series("fas_pass_duration_seconds_sum").unwrap();
    assert!(took < 0.1, "{took}");
}

#[tokio::test(start_paused = true)]
async fn only_a_refusal_of_the_place_moves_a_create_on() {
    for (refusal, regions) in [
        (400, 2),
        (402, 2),
        (409, 2),
        (412, 2),
        (422, 2),
        (401, 1),
        (403, 1),
        (404, 1),
        (500, 1),
    ] {
        let settings = [CREATED, ("FAS_REGIONS", "iad,lhr")];
        let mut world = world(2.0, &settings, &[(1, machine())]);
        fault(&world, Operation::Create, status(refusal));
        world.run_for(14).await;
        assert_eq!(world.requests(Operation::Create), regions, "{refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_that_keeps_failing_backs_off_and_starts_go_on_meanwhile() {
    let settings = [CREATED, ("FAS_STARTED_MACHINE_COUNT", "2")];
    let mut world = world(3.0, &settings, &[(1, machine()), (1, stopped())]);
    fault(&world, Operation::Create, status(422));
    world.run_for(1000).await;
    assert_eq!(
        world.seconds_of(Operation::Create),
        [0, 15, 45, 105, 225, 465, 765],
        "1, 2, 4 … intervals, at most 5 minutes"
    );
    assert_eq!(
        world.seconds_of(Operation::Start),
        [30],
        "the first pass in which nothing can be created"
    );
    world.platform().clear_faults();
    world.run_for(100).await;
    assert_eq!(world.created(), 3, "the pause ends");
    world.depth(4.0);
    world.run_for(15).await;
    assert_eq!(world.created(), 4, "a success ends the backing off");
}

#[tokio::test(start_paused = true)]
async fn clones_that_fail_soon_count_as_failed_creates() {
    let mut world = world(2.0, &[CREATED], &[(1, machine())]);
    world.platform().set_failures(
        APP,
        Failures {
            next: u32::MAX,
            rate: 1.0,
        },
        Failures::default(),
    );
    world.run_for(600).await;
    let seconds = world.seconds_of(Operation::Create);
    let gaps: Vec<u64> = seconds.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.len() >= 3, "{seconds:?}");
    assert!(gaps.is_sorted(), "each pause is longer: {seconds:?}");
    assert!(*gaps.last().unwrap() >= 120, "{seconds:?}");
}

#[tokio::test(start_paused = true)]
async fn a_changed_source_is_tried_at_once() {
    let mut world = world(2.0, &[CREATED], &[(1, machine())]);
    fault(&world, Operation::Create, status(422));
    world.run_for(50).await;
    assert_eq!(world.seconds_of(Operation::Create), [0, 15, 45]);
    world.platform().clear_faults();
    world
        .platform()
        .add_machine(APP, machine().release(2))
        .unwrap();
    world.depth(3.0);
    world.run_for(15).await;
    assert_eq!(
        world.seconds_of(Operation::Create),
        [0, 15, 45, 60],
        "the pause of the other one would last until 105"
    );
    assert_eq!(world.created(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_differs_only_in_metadata_of_its_own_does_not_end_the_pause() {
    let settings = [CREATED, ("FAS_INTERVAL", "2s")];
    let mut world = world(2.0, &settings, &[(1, machine())]);
    fault(&world, Operation::Create, status(422));
    let source = ids(&world).into_iter().next().unwrap();
    for second in 0..32 {
        let value = second.to_string();
        world
            .platform()
            .set_metadata(APP, &source, "fas_heartbeat", Some(&value));
        world.run_for(1).await;
    }
    assert_eq!(world.seconds_of(Operation::Create), [0, 2, 6, 14, 30]);
}

#[tokio::test(start_paused = true)]
async fn sources_of_one_image_do_not_end_the_pause_however_it_is_named() {
    let settings = [CREATED, ("FAS_INTERVAL", "2s")];
    let mut world = world(2.0, &settings, &[(1, machine())]);
    fault(&world, Operation::Create, status(422));
    // A clone of ours names the digest beside the tag; the one that was deployed names the tag alone.
    let source = ids(&world).into_iter().next().unwrap();
    let image = {
        let platform = world.platform();
        let machine = platform.machine(APP, &source).unwrap();
        machine.config.image().to_owned()
    };
    let digest = format!("{image}@sha256:{:064}", 1);
    for second in 0..32 {
        let image = if second % 2 == 0 { &image } else { &digest };
        let config = json!({ "image": image, "metadata": { "fly_process_group": "app" } });
        let config = serde_json::value::to_raw_value(&config).unwrap();
        world.platform().edit_machine(APP, &source, |machine| {
            machine.image_ref_hidden = true;
            machine.config = MachineConfig::parse(&config).unwrap();
        });
        world.run_for(1).await;
    }
    assert_eq!(world.seconds_of(Operation::Create), [0, 2, 6, 14, 30]);
}

/// A machine with one mount of a 7 GB volume `data`, and `spare` unattached volumes of that name.
fn mounted(settings: &[(&str, &str)], spare: usize) -> (World, Vec<Arc<str>>) {
    let world = world(3.0, &[&[CREATED], settings].concat(), &[]);
    let mut volumes = Vec::new();
    {
        let mut platform = world.platform();
        for size_gb in [7].into_iter().chain(std::iter::repeat_n(1, spare)) {
            let volume = NewVolume {
                size_gb,
                ..NewVolume::named("data", "ord")
            };
            volumes.push(platform.create_volume(APP, volume).unwrap());
        }
        let config = json!({
            "image": "registry.fly.io/app:v1",
            "metadata": { "fly_process_group": "app" },
            "mounts": [{ "volume": *volumes[0], "path": "/data", "name": "data", "extra": 1.50 }],
        });
        platform
            .add_machine(APP, machine().config(&config.to_string()))
            .unwrap();
    }
    (world, volumes)
}

#[tokio::test(start_paused = true)]
async fn machines_with_mounts_are_not_cloned_unless_asked_for() {
    let logs = Logs::capture();
    let (mut world, _) = mounted(&[], 2);
    world.run_for(30).await;
    assert_eq!(world.writes(), 0);
    assert_eq!(world.pass_errors("no_source"), 3);
    let note = logs.with("set FAS_CLONE_VOLUMES=true");
    assert_eq!(note.len(), 1, "told once: {:#?}", logs.lines());
}

#[tokio::test(start_paused = true)]
async fn clones_take_an_unattached_volume_or_get_a_new_one_of_the_same_size() {
    let (mut world, volumes) = mounted(&[("FAS_CLONE_VOLUMES", "true")], 1);
    // Both clones see the same unattached volume.
    let slow = Effect::SlowAnswer(Duration::from_secs(1));
    fault(&world, Operation::ListVolumes, slow);
    world.run_for(14).await;
    assert_eq!(world.created(), 3);
    let made = requests(&world, Operation::CreateVolume);
    assert_eq!(made.len(), 1, "one was there already");
    let body = made[0].json();
    assert_eq!(
        [
            &body["name"],
            &body["size_gb"],
            &body["region"],
            &body["encrypted"],
            &body["fstype"]
        ],
        [
            &json!("data"),
            &json!(7),
            &json!("ord"),
            &json!(true),
            &json!("ext4")
        ]
    );
    let mut mounts: Vec<String> = requests(&world, Operation::Create)
        .iter()
        .map(|request| {
            let mount = &request.json()["config"]["mounts"][0];
            assert_eq!(mount["extra"], json!(1.5));
            assert_eq!(mount["path"], json!("/data"));
            mount["volume"].as_str().unwrap().to_owned()
        })
        .collect();
    mounts.sort();
    mounts.dedup();
    assert_eq!(mounts.len(), 2, "each has its own");
    assert!(mounts.contains(&volumes[1].to_string()), "{mounts:?}");
    assert!(!mounts.contains(&volumes[0].to_string()), "{mounts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_volume_whose_machine_was_refused_serves_the_next_attempt() {
    let (mut world, _) = mounted(&[("FAS_CLONE_VOLUMES", "true")], 0);
    world.depth(2.0);
    world
        .platform()
        .add_fault(Fault::status(422).on(Operation::Create).once());
    world.run_for(60).await;
    assert_eq!(world.created(), 2);
    assert_eq!(world.requests(Operation::Create), 2);
    assert_eq!(world.requests(Operation::CreateVolume), 1);
    let volumes = world.platform().app(APP).unwrap().volumes().count();
    assert_eq!(volumes, 2);
}

#[tokio::test(start_paused = true)]
async fn a_free_volume_on_a_full_host_is_set_aside() {
    let (mut world, volumes) = mounted(&[("FAS_CLONE_VOLUMES", "true")], 0);
    world.depth(2.0);
    {
        let mut platform = world.platform();
        // The source is on the one host, so that this one comes to another.
        let spare = platform
            .create_volume(APP, NewVolume::named("data", "ord"))
            .unwrap();
        let host = |id: &Arc<str>| -> Arc<str> {
            let app = platform.app(APP).unwrap();
            let volume = app.volumes().find(|volume| volume.id == *id).unwrap();
            Arc::clone(&volume.host)
        };
        let (of_source, of_spare) = (host(&volumes[0]), host(&spare));
        assert_ne!(of_source, of_spare);
        platform.set_host_full(&of_spare, true);
    }
    world.run_for(40).await;
    assert_eq!(world.created(), 2, "with a new volume on another host");
    assert_eq!(world.seconds_of(Operation::Create), [0, 15]);
    assert_eq!(world.requests(Operation::CreateVolume), 1);
    world.depth(3.0);
    world.run_for(20).await;
    assert_eq!(world.created(), 3, "it stays aside after a success");
    assert_eq!(world.requests(Operation::Create), 3);
}

#[tokio::test(start_paused = true)]
async fn creates_that_are_always_refused_do_not_pile_up_volumes() {
    let (mut world, _) = mounted(&[("FAS_CLONE_VOLUMES", "true")], 1);
    world.depth(2.0);
    fault(&world, Operation::Create, status(422));
    world.run_for(3600).await;
    assert!(world.requests(Operation::Create) > 10);
    assert_eq!(world.requests(Operation::CreateVolume), 1);
}

#[tokio::test(start_paused = true)]
async fn volumes_that_take_longer_than_the_deadline_are_made_by_the_passes_after_it() {
    let logs = Logs::capture();
    let settings = [
        CREATED,
        ("FAS_CLONE_VOLUMES", "true"),
        ("FAS_TIMEOUT", "8s"),
        ("FAS_INTERVAL", "60s"),
    ];
    let mut world = world(9.0, &settings, &[]);
    {
        let mut platform = world.platform();
        let volumes: Vec<_> = ["data", "logs"]
            .into_iter()
            .map(|name| {
                let volume = NewVolume::named(name, "ord");
                json!({ "volume": *platform.create_volume(APP, volume).unwrap(), "path": format!("/{name}") })
            })
            .collect();
        let config = json!({
            "image": "registry.fly.io/app:v1",
            "metadata": { "fly_process_group": "app" },
            "mounts": volumes,
        });
        platform
            .add_machine(APP, machine().config(&config.to_string()))
            .unwrap();
    }
    world.run_for(7).await;
    let second_pass = requests(&world, Operation::List)[1].ordinal;
    let made = requests(&world, Operation::Create)
        .iter()
        .filter(|request| request.ordinal < second_pass)
        .count();
    let missing = 8 - made;
    assert!(missing > 0, "two volumes each take longer");
    assert!(
        !logs
            .with(&format!("pass deadline reached with {missing} left"))
            .is_empty()
    );
    assert_eq!(
        requests(&world, Operation::ListVolumes).len(),
        requests(&world, Operation::List).len(),
        "listed once for all clones of a pass"
    );
    world.run_for(50).await;
    assert_eq!(world.created(), 9);
    let volumes = world.platform().app(APP).unwrap().volumes().count();
    assert_eq!(volumes, 18, "none is left over");
    assert_eq!(world.all_pass_errors(), [].into());
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_cannot_be_had_makes_no_machine() {
    for (operation, effect) in [
        (Operation::ListVolumes, status(500)),
        (Operation::ListVolumes, Effect::Answer(Canned::garbage(200))),
        (Operation::CreateVolume, status(422)),
        (Operation::CreateVolume, Effect::Hang),
        (Operation::CreateVolume, Effect::LoseAnswer),
    ] {
        let name = format!("{operation:?}: {effect:?}");
        let (mut world, _) = mounted(&[("FAS_CLONE_VOLUMES", "true")], 0);
        world.depth(2.0);
        world
            .platform()
            .add_fault(Fault::new(effect).on(operation).times(4));
        world.run_for(14).await;
        assert_eq!(world.requests(Operation::Create), 0, "{name}");
        world.platform().clear_faults();
        // What an unanswered create has made shows in a list within a minute, and nothing is created before.
        world.run_for(120).await;
        assert_eq!(world.created(), 2, "{name}");
        let volumes = world.platform().app(APP).unwrap().volumes().count();
        assert_eq!(volumes, 2, "{name}: none is left over");
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_its_create_cannot_have_made_is_given_to_no_machine() {
    for id in ["the source's", "", "../x", "a b"] {
        let (mut world, volumes) = mounted(&[("FAS_CLONE_VOLUMES", "true")], 0);
        world.depth(2.0);
        let id = if id == "the source's" {
            &*volumes[0]
        } else {
            id
        };
        let made = Canned::json(200, &json!({ "id": id }).to_string());
        fault(&world, Operation::CreateVolume, Effect::Answer(made));
        world.run_for(14).await;
        assert_eq!(world.requests(Operation::CreateVolume), 1, "{id:?}");
        assert_eq!(world.requests(Operation::Create), 0, "{id:?}");
        assert_eq!(world.pass_errors("write"), 1, "{id:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn volumes_whose_creates_had_no_answer_do_not_pile_up() {
    for effect in [
        Effect::LoseAnswer,
        Effect::AnswerAfter(Canned::status(500)),
        Effect::AnswerAfter(Canned::json(200, "{}")),
    ] {
        let name = format!("{effect:?}");
        let settings = [("FAS_CLONE_VOLUMES", "true"), ("FAS_API_CONCURRENCY", "1")];
        let (mut world, volumes) = mounted(&settings, 0);
        // The list of volumes lags.
        let before = json!([{ "id": *volumes[0], "name": "data", "region": "ord", "size_gb": 7, "state": "created",
            "attached_machine_id": "m" }]);
        let before = Canned::json(200, &before.to_string());
        fault(&world, Operation::ListVolumes, Effect::Answer(before));
        fault(&world, Operation::CreateVolume, effect);
        world.run_for(59).await;
        assert_eq!(world.requests(Operation::CreateVolume), 1, "{name}");
        assert_eq!(world.requests(Operation::Create), 0, "{name}");
        world.platform().clear_faults();
        world.run_for(60).await;
        assert_eq!(world.created(), 3, "{name}");
        let volumes = world.platform().app(APP).unwrap().volumes().count();
        assert_eq!(volumes, 3, "{name}: what was made is used");
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_calls_are_no_reason_for_more_of_them_in_that_pass() {
    let settings = |target| {
        [
            target,
            ("FAS_API_CONCURRENCY", "1"),
            ("FAS_INTERVAL", "60s"),
        ]
    };
    let cases = [
        (Operation::Destroy, CREATED, 2.0, 2, 4),
        (Operation::Start, STARTED, 4.0, 0, 4),
        (Operation::Stop, STARTED, 0.0, 4, 0),
    ];
    for (operation, target, depth, running, resting) in cases {
        let crowd = [(running, machine()), (resting, stopped())];
        let mut world = world(depth, &settings(target), &crowd);
        fault(&world, operation, status(429));
        world.run_for(50).await;
        let named: BTreeSet<_> = named(&world, operation).into_iter().collect();
        assert_eq!(named.len(), 1, "{operation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_destroy_that_finds_nothing_is_done() {
    let mut world = world(1.0, &[CREATED], &[(1, machine()), (1, stopped())]);
    fault(&world, Operation::Destroy, status(404));
    world.run_for(14).await;
    assert_eq!(counted(&world, "destroy", "ok"), 1);
    assert_eq!(world.all_pass_errors(), [].into());
}

#[tokio::test(start_paused = true)]
async fn a_victim_that_is_leased_or_busy_is_skipped_and_spends_its_slot() {
    for refusal in [409, 412] {
        let logs = Logs::capture();
        let mut world = world(2.0, &[CREATED], &[(1, machine()), (3, stopped())]);
        world
            .platform()
            .add_fault(Fault::status(refusal).on(Operation::Destroy).once());
        world.run_for(14).await;
        assert_eq!(
            world.requests(Operation::Destroy),
            2,
            "{refusal}: never more than planned"
        );
        assert_eq!(world.created(), 3, "{refusal}");
        assert_eq!(world.all_pass_errors(), [].into(), "{refusal}");
        assert!(
            !logs.with(&format!("HTTP {refusal}")).is_empty(),
            "{refusal}"
        );
        world.run_for(15).await;
        assert_eq!(world.created(), 2, "{refusal}: the next pass destroys it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_victim_that_never_goes_is_counted_as_often_as_it_is_tried() {
    let mut world = world(1.0, &[CREATED], &[(1, machine()), (1, stopped())]);
    fault(&world, Operation::Destroy, status(409));
    world.run_for(600).await;
    assert_eq!(world.created(), 2);
    let passes = world.series(r#"fas_failing_passes{app="my-target-app",group="app"}"#);
    assert_eq!(passes, Some(0.0), "the pass did what it could");
    let failed = counted(&world, "destroy", "failed");
    assert!(failed > 10, "{failed}: it is what an alert is made of");
    assert_eq!(counted(&world, "destroy", "ok"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_real_lease_is_respected_until_it_ends() {
    let mut world = world(1.0, &[CREATED], &[(1, machine()), (1, stopped())]);
    let id = ids(&world)
        .into_iter()
        .find(|id| world.platform().machine(APP, id).unwrap().state == MachineState::Stopped)
        .unwrap();
    world
        .platform()
        .lease(APP, &id, "somebody", Duration::from_secs(40));
    world.run_for(35).await;
    assert_eq!(world.created(), 2);
    world.run_for(30).await;
    assert_eq!(world.created(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_surely_did_not_happen_moves_on_to_the_next_candidate() {
    for refusal in [404, 409, 412, 422] {
        let mut world = world(2.0, &[STARTED], &[(4, stopped())]);
        let first = ids(&world).into_iter().next().unwrap();
        world
            .platform()
            .add_fault(Fault::status(refusal).on(Operation::Start).machine(&first));
        world.run_for(14).await;
        assert_eq!(world.platform().started(APP), 2, "{refusal}");
        assert_eq!(counted(&world, "start", "ok"), 2, "{refusal}");
        assert_eq!(counted(&world, "start", "failed"), 1, "{refusal}");
        let skipped = matches!(refusal, 404 | 409 | 412);
        assert_eq!(world.pass_errors("write"), u64::from(!skipped), "{refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_ends_the_starts_of_a_pass() {
    let settings = [STARTED, ("FAS_API_CONCURRENCY", "1")];
    let mut world = world(3.0, &settings, &[(6, stopped())]);
    fault(&world, Operation::Start, status(401));
    world.run_for(14).await;
    assert_eq!(world.requests(Operation::Start), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_ends_the_destroys_of_a_pass() {
    let settings = [
        CREATED,
        ("FAS_API_CONCURRENCY", "1"),
        ("FAS_DESTROY_RUNNING_AFTER", "0s"),
    ];
    // Those at rest are destroyed at once, running ones are stopped first.
    for (operation, victims) in [
        (Operation::Destroy, stopped()),
        (Operation::Stop, machine()),
    ] {
        let mut world = world(1.0, &settings, &[(1, machine()), (5, victims)]);
        fault(&world, operation, status(401));
        world.run_for(14).await;
        assert_eq!(world.requests(operation), 1, "{operation:?}");
        assert_eq!(world.writes(), 1, "{operation:?}: and nothing else");
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_the_listed_version_of_a_victim_that_is_waited_for() {
    let settings = [CREATED, ("FAS_DESTROY_RUNNING_AFTER", "0s")];
    let mut world = world(1.0, &settings, &[(2, machine())]);
    let instances: BTreeMap<Arc<str>, Arc<str>> = {
        let platform = world.platform();
        let machines = platform.app(APP).unwrap().machines();
        let instance =
            |machine: &Machine| (Arc::clone(&machine.id), Arc::clone(&machine.instance_id));
        machines.map(instance).collect()
    };
    world.run_for(14).await;
    let [waited] = &requests(&world, Operation::Wait)[..] else {
        panic!("one victim");
    };
    let instance = &instances[waited.machine.as_ref().unwrap()];
    let named = format!("instance_id={instance}");
    assert!(waited.query.contains(&named), "{}", waited.query);
}

#[tokio::test(start_paused = true)]
async fn a_victim_that_is_gone_when_it_is_to_stop_is_neither_waited_for_nor_destroyed() {
    let settings = [CREATED, ("FAS_DESTROY_RUNNING_AFTER", "0s")];
    let mut world = world(1.0, &settings, &[(2, machine())]);
    fault(&world, Operation::Stop, status(404));
    world.run_for(14).await;
    assert_eq!(world.requests(Operation::Stop), 1);
    assert_eq!(world.requests(Operation::Wait), 0);
    assert_eq!(world.requests(Operation::Destroy), 0);
    assert_eq!(world.all_pass_errors(), [].into());
}

#[tokio::test(start_paused = true)]
async fn a_clone_that_cannot_be_made_at_all_is_not_tried_in_other_regions() {
    let settings = [
        CREATED,
        ("FAS_CLONE_VOLUMES", "true"),
        ("FAS_REGIONS", "ord,iad,lhr"),
    ];
    let config = json!({
        "image": "registry.fly.io/app:v1",
        "metadata": { "fly_process_group": "app" },
        "mounts": [{ "volume": "vol_gone", "path": "/data" }],
    });
    let source = machine().config(&config.to_string());
    let mut world = world(2.0, &settings, &[(1, source)]);
    let logs = Logs::capture();
    world.run_for(14).await;
    assert_eq!(world.writes(), 0);
    assert_eq!(
        world.pass_errors("write"),
        1,
        "once, and not for each region"
    );
    assert_eq!(
        logs.with("refers to a volume that the app does not have")
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_victim_that_the_proxy_woke_after_the_list_was_read_lives() {
    let logs = Logs::capture();
    let mut world = world(1.0, &[CREATED], &[(1, machine()), (1, stopped())]);
    let sleeper = ids(&world)
        .into_iter()
        .find(|id| world.platform().machine(APP, id).unwrap().state == MachineState::Stopped)
        .unwrap();
    world.platform().set_list_lag(APP, Duration::from_secs(10));
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.platform().edit_machine(APP, &sleeper, |machine| {
        machine.state = MachineState::Started;
    });
    world.run_for(30).await;
    assert_eq!(world.platform().started(APP), 2, "both are alive");
    let destroys = requests(&world, Operation::Destroy);
    assert_eq!(named(&world, Operation::Destroy), [sleeper]);
    assert_eq!(destroys[0].status, Some(412));
    assert_eq!(destroys[0].query, "", "without force");
    assert_eq!(logs.with("its state does not allow a destroy").len(), 1);
    assert_eq!(world.all_pass_errors(), [].into());
}

#[tokio::test(start_paused = true)]
async fn running_victims_are_taken_only_after_the_surplus_has_lasted() {
    let mut world = world(3.0, &[CREATED], &[(3, machine())]);
    world.run_for(0).await;
    world.depth(1.0);
    world.run_for(58).await;
    assert_eq!(world.writes(), 0, "seen first at 15 s, so not before 60 s");
    world.run_for(16).await;
    assert_eq!(world.created(), 1);
    assert_eq!(world.seconds_of(Operation::Stop), [60, 60]);
    let (stop, wait, destroy) = (
        named(&world, Operation::Stop),
        named(&world, Operation::Wait),
        named(&world, Operation::Destroy),
    );
    assert_eq!(stop.len(), 2);
    assert!(wait.iter().all(|id| stop.contains(id)));
    assert_eq!(
        destroy.iter().collect::<BTreeSet<_>>(),
        stop.iter().collect::<BTreeSet<_>>()
    );
    for destroyed in requests(&world, Operation::Destroy) {
        assert_eq!(destroyed.query, "", "without force");
        let id = destroyed.machine.as_ref();
        let stopped = requests(&world, Operation::Stop)
            .into_iter()
            .find(|request| request.machine.as_ref() == id)
            .unwrap();
        assert!(stopped.ordinal < destroyed.ordinal);
        assert!(!stopped.json().to_string().contains("SIGKILL"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_surplus_that_ends_and_comes_again_lasts_anew() {
    let mut world = world(1.0, &[CREATED], &[(2, machine())]);
    world.run_for(31).await;
    world.depth(2.0);
    world.run_for(15).await;
    world.depth(1.0);
    world.run_for(50).await;
    assert_eq!(world.writes(), 0, "broken at 45 s, and begun again at 60 s");
    world.run_for(15).await;
    assert_eq!(world.requests(Operation::Stop), 1);
}

#[tokio::test(start_paused = true)]
async fn two_passes_that_saw_nothing_break_a_surplus_and_one_does_not() {
    for (blind, taken) in [(1, 45), (2, 105)] {
        let mut world = world(1.0, &[CREATED], &[(2, machine())]);
        world
            .platform()
            .add_fault(Fault::status(404).on(Operation::List).after(2).times(blind));
        world.run_for(taken - 1).await;
        assert_eq!(world.writes(), 0, "{blind}");
        world.run_for(15).await;
        assert_eq!(world.seconds_of(Operation::Stop), [taken], "{blind}");
    }
}

#[tokio::test(start_paused = true)]
async fn at_once_means_at_once() {
    let settings = [CREATED, ("FAS_DESTROY_RUNNING_AFTER", "0s")];
    let mut world = world(1.0, &settings, &[(3, machine())]);
    world.run_for(14).await;
    assert_eq!(world.created(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_stopper_is_destroyed_by_a_later_pass_and_no_other_in_its_place() {
    let settings = [CREATED, ("FAS_DESTROY_RUNNING_AFTER", "0s")];
    let mut world = world(2.0, &settings, &[(3, slow_to_stop(200))]);
    world.run_for(190).await;
    let victims = named(&world, Operation::Stop);
    assert_eq!(
        victims.len(),
        1,
        "one is on its way down, and no other is taken: {victims:?}"
    );
    assert_eq!(world.requests(Operation::Destroy), 0);
    assert_eq!(world.created(), 3);
    world.run_for(60).await;
    assert_eq!(named(&world, Operation::Destroy), victims);
    assert_eq!(requests(&world, Operation::Destroy)[0].query, "");
    assert_eq!(world.requests(Operation::Stop), 1);
    assert_eq!(world.created(), 2);
    assert_eq!(world.platform().started(APP), 2);
}

#[tokio::test(start_paused = true)]
async fn victims_that_are_slow_to_stop_run_again_when_the_target_comes_back() {
    for (depth, creates) in [(6.0, 0), (8.0, 2)] {
        let settings = [CREATED, ("FAS_DESTROY_RUNNING_AFTER", "0s")];
        let slow = slow_to_stop(8);
        let mut world = world(3.0, &settings, &[(6, slow), (1, stopped())]);
        let logs = Logs::capture();
        world.run_for(7).await;
        let victims = named(&world, Operation::Stop);
        assert_eq!(victims.len(), 3);
        world.depth(depth);
        world.run_for(60).await;
        assert_eq!(named(&world, Operation::Start), victims);
        assert_eq!(world.requests(Operation::Destroy), 1, "the one at rest");
        assert_eq!(world.requests(Operation::Create), creates);
        assert_eq!(world.in_state(&MachineState::Started), 6 + creates);
        let told = logs.with("3 machines that were stopped to be destroyed are needed again");
        assert_eq!(told.len(), 1, "{:?}", logs.lines());
    }
}

#[tokio::test(start_paused = true)]
async fn a_victim_that_cannot_be_started_again_keeps_nothing_from_being_created() {
    let settings = [CREATED, ("FAS_DESTROY_RUNNING_AFTER", "0s")];
    let mut world = world(3.0, &settings, &[(4, slow_to_stop(8))]);
    world.run_for(7).await;
    let refused = Fault::new(status(422)).on(Operation::Start).times(1000);
    world.platform().add_fault(refused);
    world.depth(5.0);
    world.run_for(70).await;
    assert_eq!(world.requests(Operation::Create), 1);
    assert_eq!(world.created(), 5);
    world.run_for(600).await;
    let starts = world.seconds_of(Operation::Start);
    assert!(starts.len() > 2 && starts.len() < 8, "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_fails_is_asked_again_or_left_to_a_later_pass() {
    for (effect, times) in [
        (status(500), 1),
        (status(500), 100),
        (status(429), 1),
        (Effect::Break, 1),
        (Effect::Hang, 1),
        (status(408), 2),
        (status(422), 100),
    ] {
        let name = format!("{effect:?}, {times}");
        let settings = [CREATED, ("FAS_DESTROY_RUNNING_AFTER", "0s")];
        let mut world = world(1.0, &settings, &[(2, machine())]);
        world
            .platform()
            .add_fault(Fault::new(effect).on(Operation::Wait).times(times));
        world.run_for(60).await;
        assert_eq!(world.requests(Operation::Stop), 1, "{name}");
        assert_eq!(world.requests(Operation::Destroy), 1, "{name}");
        assert_eq!(world.created(), 1, "{name}");
        assert!(world.requests(Operation::Wait) <= 10, "{name}");
        if times == 1 && !name.contains("Hang") {
            assert_eq!(world.all_pass_errors(), [].into(), "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_victim_that_is_gone_while_it_is_waited_for_is_done() {
    let settings = [CREATED, ("FAS_DESTROY_RUNNING_AFTER", "0s")];
    let mut world = world(1.0, &settings, &[(2, machine())]);
    for operation in [Operation::Wait, Operation::Destroy] {
        fault(&world, operation, status(404));
    }
    world.run_for(14).await;
    assert_eq!(world.requests(Operation::Wait), 1);
    assert_eq!(counted(&world, "destroy", "ok"), 1);
    assert_eq!(world.all_pass_errors(), [].into());
}

#[tokio::test(start_paused = true)]
async fn machines_are_suspended_where_that_is_possible_and_stopped_where_not() {
    let settings = [STARTED, ("FAS_STOP_ACTION", "suspend")];
    let large = json!({
        "image": "registry.fly.io/app:v1",
        "metadata": { "fly_process_group": "app" },
        "guest": { "cpu_kind": "shared", "cpus": 1, "memory_mb": 4096 },
    });
    let large = machine().config(&large.to_string());
    let mut world = world(0.0, &settings, &[(1, machine()), (1, large)]);
    world.run_for(14).await;
    assert_eq!(world.in_state(&MachineState::Suspended), 1);
    assert_eq!(world.in_state(&MachineState::Stopped), 1);
    assert_eq!(world.requests(Operation::Suspend), 2);
    assert_eq!(world.requests(Operation::Stop), 1);
    assert_eq!(counted(&world, "stop", "ok"), 2);
    assert_eq!(counted(&world, "stop", "failed"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_a_lost_answer_has_suspended_is_not_stopped() {
    let settings = [STARTED, ("FAS_STOP_ACTION", "suspend")];
    let mut world = world(0.0, &settings, &[(1, machine())]);
    let lost = Fault::new(Effect::LoseAnswer).on(Operation::Suspend).once();
    world.platform().add_fault(lost);
    fault(&world, Operation::Suspend, status(412));
    world.run_for(14).await;
    assert_eq!(world.requests(Operation::Suspend), 2);
    assert_eq!(world.requests(Operation::Stop), 0);
    assert_eq!(world.in_state(&MachineState::Suspended), 1);
    assert_eq!(world.all_pass_errors(), [].into());
}

#[tokio::test(start_paused = true)]
async fn a_leased_or_limited_suspend_is_no_reason_to_stop() {
    for refusal in [409, 429, 401] {
        let settings = [STARTED, ("FAS_STOP_ACTION", "suspend")];
        let mut world = world(0.0, &settings, &[(1, machine())]);
        fault(&world, Operation::Suspend, status(refusal));
        world.run_for(14).await;
        assert_eq!(world.requests(Operation::Stop), 0, "{refusal}");
        assert_eq!(world.platform().started(APP), 1, "{refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspend_that_may_have_happened_or_was_held_up_spends_its_slot() {
    for refusal in [408, 409, 412, 429] {
        let settings = [STARTED, ("FAS_STOP_ACTION", "suspend")];
        let mut world = world(1.0, &settings, &[(2, machine())]);
        let first = ids(&world).into_iter().next().unwrap();
        let fault = Fault::status(refusal).on(Operation::Suspend);
        world.platform().add_fault(fault.machine(&first));
        world.run_for(14).await;
        let told: BTreeSet<_> = named(&world, Operation::Suspend).into_iter().collect();
        assert_eq!(told, [first].into(), "{refusal}");
        assert_eq!(world.requests(Operation::Stop), 0, "{refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspend_is_not_followed_by_a_stop_once_an_answer_was_lost() {
    let settings = [STARTED, ("FAS_STOP_ACTION", "suspend")];
    let mut world = world(0.0, &settings, &[(1, machine())]);
    // The first pass suspends it and hears nothing; in the next ones a list that lags shows it as it was.
    world.platform().set_list_lag(APP, Duration::from_secs(40));
    tokio::time::sleep(WARM_UP).await;
    let lost = Fault::new(Effect::LoseAnswer).on(Operation::Suspend);
    world.platform().add_fault(lost.times(4));
    fault(&world, Operation::Suspend, status(422));
    world.run_for(60).await;
    assert_eq!(world.requests(Operation::Stop), 0);
    assert_eq!(world.in_state(&MachineState::Suspended), 1);
}

#[tokio::test(start_paused = true)]
async fn a_victim_is_stopped_whatever_the_stop_action_says() {
    let settings = [
        CREATED,
        ("FAS_STOP_ACTION", "suspend"),
        ("FAS_DESTROY_RUNNING_AFTER", "0s"),
    ];
    let mut world = world(1.0, &settings, &[(2, machine())]);
    world.run_for(14).await;
    assert_eq!(world.requests(Operation::Suspend), 0);
    assert_eq!(world.requests(Operation::Stop), 1);
    assert_eq!(world.created(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_names_the_machines_that_it_would_take() {
    let settings = [STARTED, ("FAS_DRY_RUN", "true")];
    for (depth, before, state) in [(2.0, "start", stopped()), (1.0, "stop", machine())] {
        let logs = Logs::capture();
        let mut world = world(depth, &settings, &[(3, state)]);
        world.run_for(14).await;
        let first: Vec<_> = ids(&world).into_iter().take(2).collect();
        let told = format!("would {before} 2 machines ({}): ", first.join(", "));
        assert_eq!(logs.with(&told).len(), 1, "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_done_is_told_when_it_was_done() {
    let logs = Logs::capture();
    let mut world = world(20.0, &[CREATED], &[(1, machine())]);
    world.run_for(5).await;
    let made = world.created() - 1;
    assert!((3..15).contains(&made), "the pass is under way: {made}");
    assert_eq!(logs.with("created machine").len(), made);
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_in_the_same_way_is_told_once_a_pass() {
    let logs = Logs::capture();
    // With a latency all three are under way before the first is answered.
    let options = Options {
        latency: Duration::from_millis(50),
        ..Options::default()
    };
    let mut world = World::queue_with_options(4.0, &[CREATED], &options);
    world.platform().add_machine(APP, machine()).unwrap();
    fault(&world, Operation::Create, status(503));
    world.run_for(10).await;
    assert_eq!(world.requests(Operation::Create), 3);
    let lines = logs.with("cannot create a machine");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].message.contains("(3 times)"), "{lines:?}");
    assert_eq!(world.pass_errors("write"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_writes_nothing_and_counts_only_what_it_would_do() {
    type Scene<'a> = (f64, (&'a str, &'a str), &'a [(usize, NewMachine)], &'a str);
    let scenes: &[Scene<'_>] = &[
        (5.0, CREATED, &[(1, machine())], "create"),
        (1.0, CREATED, &[(1, machine()), (3, stopped())], "destroy"),
        (2.0, STARTED, &[(3, stopped())], "start"),
        (0.0, STARTED, &[(3, machine())], "stop"),
    ];
    for (depth, target, machines, decision) in scenes {
        let logs = Logs::capture();
        let mut world = world(*depth, &[*target, ("FAS_DRY_RUN", "true")], machines);
        world.run_for(100).await;
        assert_eq!(world.writes(), 0, "{decision}");
        for write in ["create", "destroy", "start", "stop"] {
            for status in ["ok", "failed"] {
                assert_eq!(counted(&world, write, status), 0, "{decision}: {write}");
            }
        }
        let series = format!(r#"fas_reconcile_count{{status="{decision}"}}"#);
        assert_eq!(world.series(&series), Some(7.0), "{decision}");
        for would in ["create", "destroy", "start", "stop"] {
            let series = format!(r#"fas_dry_run_actions_total{{decision="{would}"}}"#);
            let passes = if would == *decision { 7.0 } else { 0.0 };
            assert_eq!(world.series(&series), Some(passes), "{decision}: {would}");
        }
        assert!(
            !logs.with(&format!("{decision} ")).is_empty(),
            "{decision}: the plan is told"
        );
        assert_eq!(world.all_pass_errors(), [].into(), "{decision}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_create_begins_near_the_deadline_and_the_next_pass_follows_at_once() {
    let logs = Logs::capture();
    let settings = [CREATED, ("FAS_INTERVAL", "120s")];
    let mut world = world(60.0, &settings, &[(1, machine())]);
    // Answers that take longer than the pace, so that some are under way when the last ones begin.
    fault(
        &world,
        Operation::Create,
        Effect::SlowAnswer(Duration::from_secs(4)),
    );
    world.run_for(119).await;
    let lists = world.seconds_of(Operation::List);
    assert!(
        lists.len() >= 3,
        "{lists:?}: long before the interval is over"
    );
    for pass in &lists {
        let reserve = pass + 25..pass + 30;
        let until = lists
            .iter()
            .copied()
            .find(|next| next > pass)
            .unwrap_or(u64::MAX);
        let late: Vec<u64> = world
            .seconds_of(Operation::Create)
            .into_iter()
            .filter(|second| reserve.contains(second) && *second < until)
            .collect();
        assert_eq!(late, [0; 0], "lists at {lists:?}");
    }
    assert_eq!(world.created(), 60);
    assert!(!logs.with("pass deadline reached with ").is_empty());
    assert_eq!(
        world.all_pass_errors(),
        [].into(),
        "a deadline with work left is no failure"
    );
}

#[tokio::test(start_paused = true)]
async fn a_short_deadline_keeps_a_quarter_free() {
    let settings = [CREATED, ("FAS_TIMEOUT", "8s"), ("FAS_INTERVAL", "60s")];
    let mut world = world(30.0, &settings, &[(1, machine())]);
    world.run_for(7).await;
    let creates = world.seconds_of(Operation::Create);
    let first_pass: Vec<_> = creates.iter().filter(|second| **second < 6).collect();
    assert_eq!(
        first_pass.len(),
        8,
        "{creates:?}: three and one a second until 6 s"
    );
    assert_eq!(world.seconds_of(Operation::List), [0, 6]);
}

#[tokio::test(start_paused = true)]
async fn a_clone_is_the_source_to_the_letter() {
    let source = r#"{"image":"registry.fly.io/app:old","env":{"A":"1","FLY_STANDBY_FOR":"x"},
        "metadata":{"fly_process_group":"app","fly_release_version":"1","fas_protect":"true","own":"\u00e9\""},
        "big":12345678901234567890,"float":1e2,"tiny":0.10,"null":null,"newest":{"deep":[1.0,{"a":null}]},
        "services":[{"ports":[{"port":443}],"min_machines_running":0}]}"#;
    let mut world = world(
        2.0,
        &[CREATED, ("FAS_INITIAL_MACHINE_STATE", "stopped")],
        &[],
    );
    world
        .platform()
        .add_machine(APP, machine().config(source))
        .unwrap();
    world.run_for(14).await;
    let request = requests(&world, Operation::Create).remove(0);
    let body = String::from_utf8(request.body.to_vec()).unwrap();
    for kept in [
        r#""big":12345678901234567890"#,
        r#""float":1e2"#,
        r#""tiny":0.10"#,
        r#""null":null"#,
        r#""newest":{"deep":[1.0,{"a":null}]}"#,
        r#""services":[{"ports":[{"port":443}],"min_machines_running":0}]"#,
        r#""env":{"A":"1"}"#,
        r#""own":"\u00e9\"""#,
        r#""skip_launch":true"#,
        r#""region":"ord""#,
    ] {
        assert!(body.contains(kept), "{kept} in {body}");
    }
    let json = request.json();
    let image = json["config"]["image"].as_str().unwrap();
    assert!(
        image.starts_with("registry.fly.io/app:old@sha256:"),
        "the full reference: {image}"
    );
    assert_eq!(
        json["config"]["metadata"],
        json!({"fly_process_group": "app", "fly_release_version": "1", "own": "é\""})
    );
    let fields: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["config", "region", "skip_launch"], "no name");
}

#[tokio::test(start_paused = true)]
async fn every_call_brings_back_the_cookie_and_says_who_it_is() {
    let settings = [
        ("FAS_MIN_CREATED_MACHINE_COUNT", "queue_depth"),
        ("FAS_MAX_CREATED_MACHINE_COUNT", "queue_depth"),
    ];
    let mut world = world(3.0, &settings, &[(1, machine())]);
    world.run_for(20).await;
    world.depth(1.0);
    world.run_for(100).await;
    let platform = world.platform();
    let calls: Vec<_> = platform
        .requests()
        .iter()
        .filter(|request| request.app.is_some())
        .collect();
    assert_eq!(
        calls[0].affinity,
        Some(false),
        "there was none to bring back"
    );
    for operation in [
        Operation::Create,
        Operation::Destroy,
        Operation::Stop,
        Operation::Wait,
    ] {
        assert!(
            calls.iter().any(|call| call.operation == operation),
            "{operation:?}"
        );
    }
    for call in &calls[1..] {
        assert_eq!(call.affinity, Some(true), "{} {}", call.method, call.path);
    }
    for request in platform.requests().iter() {
        let agent = request.user_agent.as_deref().unwrap_or_default();
        if request.operation != Operation::Query {
            assert!(
                agent.starts_with("fly-autoscaler/"),
                "{}: {agent}",
                request.path
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_go_out_whole_in_the_scheme_that_each_api_wants() {
    // The setting, what the API knows, and the scheme at the Machines API.
    let cases = [
        ("FlyV1 fm2_a,fm2_b", "fm2_a,fm2_b", "FlyV1"),
        ("fm2_a,fm2_b", "fm2_a,fm2_b", "FlyV1"),
        ("FlyV1 fm2_a,fm2_b,fo1_c", "fm2_a,fm2_b", "FlyV1"),
        ("fo1_c", "fo1_c", "Bearer"),
        (" fo1_c \n", "fo1_c", "Bearer"),
    ];
    for (setting, known, scheme) in cases {
        let options = Options {
            machines_access: Access::Tokens(vec![Token::new(known)]),
            prometheus_access: Access::Tokens(vec![Token::verbatim("FlyV1 fm2_metrics")]),
            ..Options::default()
        };
        let settings = [CREATED, ("FAS_API_TOKEN", setting)];
        let mut world = World::queue_with_options(2.0, &settings, &options);
        world.platform().add_machine(APP, machine()).unwrap();
        world.run_for(0).await;
        assert_eq!(
            world.created(),
            2,
            "{setting:?}: {:?}",
            world.all_pass_errors()
        );
        assert_eq!(
            requests(&world, Operation::List)[0].scheme.as_deref(),
            Some(scheme),
            "{setting:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_deploy_in_progress_holds_every_write_and_counts_as_success() {
    let logs = Logs::capture();
    let mut world = world(3.0, &[CREATED], &[(1, machine())]);
    let running = world.release("running", Duration::from_secs(60));
    world.platform().set_release(APP, Some(running.clone()));
    world.run_for(100).await;
    assert_eq!(world.writes(), 0);
    // As upstream: a pass that a deploy held back has decided nothing.
    for decision in ["no_scale", "create"] {
        let series = format!(r#"fas_reconcile_count{{status="{decision}"}}"#);
        assert_eq!(world.series(&series), Some(0.0), "{decision}");
    }
    assert_eq!(world.all_pass_errors(), [].into());
    assert_eq!(world.get("/readyz").await.0, 200);
    assert_eq!(
        logs.with("release v7 is being deployed").len(),
        1,
        "told once"
    );
    let complete = Release {
        status: "complete".to_owned(),
        ..running
    };
    world.platform().set_release(APP, Some(complete));
    world.run_for(15).await;
    assert_eq!(world.created(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_has_run_for_too_long_is_not_believed() {
    for (name, age, settings, created) in [
        ("just over an hour", Duration::from_secs(3601), &[][..], 3),
        ("just under", Duration::from_secs(3540), &[], 1),
        (
            "a shorter patience",
            Duration::from_secs(601),
            &[("FAS_DEPLOY_TIMEOUT", "10m")],
            3,
        ),
    ] {
        let mut world = world(3.0, &[&[CREATED], settings].concat(), &[(1, machine())]);
        let running = world.release("running", age);
        world.platform().set_release(APP, Some(running));
        let logs = Logs::capture();
        world.run_for(14).await;
        assert_eq!(world.created(), created, "{name}");
        for depth in [6.0, 7.0] {
            world.depth(depth);
            world.run_for(20).await;
        }
        let told = logs.with("release v7 has said `running` for longer than FAS_DEPLOY_TIMEOUT");
        assert_eq!(told.len(), usize::from(created == 3), "{name}: told once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_of_the_future_is_believed_from_when_it_was_seen() {
    let settings = [CREATED, ("FAS_DEPLOY_TIMEOUT", "60s")];
    let mut world = world(3.0, &settings, &[(1, machine())]);
    let mut running = world.release("running", Duration::ZERO);
    running.created_at = Timestamp::MAX;
    world.platform().set_release(APP, Some(running));
    world.run_for(55).await;
    assert_eq!(world.writes(), 0);
    world.run_for(20).await;
    assert_eq!(world.created(), 3);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_destroyed_while_a_blue_green_deploy_hangs_half_done() {
    let logs = Logs::capture();
    let green = stopped().release(2).cordoned();
    let mut world = world(
        2.0,
        &[CREATED],
        &[(2, machine()), (2, stopped()), (2, green)],
    );
    world.run_for(300).await;
    assert_eq!(world.writes(), 0);
    assert_eq!(logs.with("blue-green deploy").len(), 1, "told once");
    let cordoned: Vec<_> = {
        let platform = world.platform();
        let machines = platform.app(APP).unwrap().machines();
        machines
            .filter(|machine| machine.cordoned)
            .map(|machine| Arc::clone(&machine.id))
            .collect()
    };
    for id in cordoned {
        world
            .platform()
            .edit_machine(APP, &id, |machine| machine.cordoned = false);
    }
    world.run_for(15).await;
    assert_eq!(world.created(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_blue_green_deploy_does_not_keep_from_creating() {
    let green = machine().release(2).cordoned();
    let mut world = world(4.0, &[CREATED], &[(2, machine()), (1, green)]);
    world.run_for(14).await;
    assert_eq!(world.created(), 4);
    let clone = requests(&world, Operation::Create).remove(0).json();
    assert_eq!(
        clone["config"]["metadata"]["fly_release_version"],
        json!("1"),
        "a cordoned machine is not cloned"
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_that_lags_by_a_minute_makes_no_pass_act_twice() {
    type Scene<'a> = (
        &'a str,
        f64,
        (&'a str, &'a str),
        &'a [(usize, NewMachine)],
        Operation,
        usize,
    );
    let scenes: &[Scene<'_>] = &[
        (
            "create",
            6.0,
            CREATED,
            &[(1, machine())],
            Operation::Create,
            5,
        ),
        (
            "destroy",
            1.0,
            CREATED,
            &[(1, machine()), (5, stopped())],
            Operation::Destroy,
            5,
        ),
        (
            "start",
            3.0,
            STARTED,
            &[(6, stopped())],
            Operation::Start,
            3,
        ),
        ("stop", 2.0, STARTED, &[(6, machine())], Operation::Stop, 4),
    ];
    for interval in ["5s", "15s"] {
        for (name, depth, target, machines, operation, expected) in scenes {
            let settings = [*target, ("FAS_INTERVAL", interval)];
            let mut world = world(*depth, &settings, machines);
            world.platform().set_list_lag(APP, Duration::from_secs(60));
            tokio::time::sleep(WARM_UP).await;
            world.run_for(400).await;
            assert_eq!(world.requests(*operation), *expected, "{name}, {interval}");
            assert_eq!(
                world.writes(),
                *expected,
                "{name}, {interval}: and nothing else"
            );
            assert_eq!(world.all_pass_errors(), [].into(), "{name}, {interval}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_that_lag_do_not_make_the_blueprint_overshoot() {
    let options = Options {
        metrics: MetricsSettings::fly(),
        rate_limits: RateLimits::default(),
        ..Options::default()
    };
    let mut world = World::with_options(BLUEPRINT, &options);
    world.platform().add_machine(APP, machine()).unwrap();
    // Until the first sample is visible there is nothing to go by.
    world.run_for(300).await;
    assert_eq!(world.created(), 2);
    assert_eq!(world.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_trouble_of_more_machines_is_told_again() {
    let mut world = world(
        3.0,
        &[CREATED],
        &[(4, machine().state(MachineState::Started))],
    );
    let hosts: BTreeSet<Arc<str>> = {
        let platform = world.platform();
        let machines = platform.app(APP).unwrap().machines();
        machines.map(|machine| Arc::clone(&machine.host)).collect()
    };
    assert!(hosts.len() > 1);
    let logs = Logs::capture();
    for host in &hosts {
        world
            .platform()
            .set_host_status(host, HostStatus::Unreachable);
        world.run_for(45).await;
    }
    let told = logs.with(": not touched, ");
    assert!(told.len() >= hosts.len(), "{told:?}");
    assert!(told.iter().all(|line| line.level == Level::WARN));
    let texts: BTreeSet<&str> = told.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(texts.len(), told.len(), "none twice");
}

#[tokio::test(start_paused = true)]
async fn a_blip_of_a_host_creates_nothing() {
    for (status, away, created) in [
        (HostStatus::Unreachable, 50, 0),
        (HostStatus::Unknown, 50, 0),
        (HostStatus::Unreachable, 100, 1),
    ] {
        let mut world = world(2.0, &[CREATED], &[(2, machine())]);
        world.run_for(1).await;
        let host = {
            let platform = world.platform();
            let machine = platform.app(APP).unwrap().machines().next().unwrap();
            Arc::clone(&machine.host)
        };
        // Another host for the one that would be cloned.
        let alone = world
            .platform()
            .app(APP)
            .unwrap()
            .machines()
            .filter(|machine| machine.host == host)
            .count();
        assert_eq!(alone, 1, "each on its own host");
        assert!(world.platform().set_host_status(&host, status));
        world.run_for(away).await;
        assert!(world.platform().set_host_status(&host, HostStatus::Ok));
        world.run_for(15).await;
        assert_eq!(
            world.requests(Operation::Create),
            created,
            "{status:?} for {away} s"
        );
        assert_eq!(
            world.requests(Operation::Destroy),
            0,
            "{status:?} for {away} s"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn unreachable_machines_are_never_touched_and_count_against_the_ceiling() {
    let settings = [CREATED, ("FAS_MACHINE_CEILING", "3")];
    let mut world = world(3.0, &settings, &[(3, machine())]);
    let host = {
        let platform = world.platform();
        let machine = platform.app(APP).unwrap().machines().next().unwrap();
        Arc::clone(&machine.host)
    };
    world
        .platform()
        .set_host_status(&host, HostStatus::Unreachable);
    world.run_for(300).await;
    assert_eq!(world.writes(), 0);
}

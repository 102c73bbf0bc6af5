//! Machines that a list lacks, that ended by themselves, that failed, or that may have been created: what counts, and when
//! growth is real.

use std::{sync::Arc, time::Duration};

use fly_autoscaler::sim::{
    Canned, Effect, Failures, Fault, MachineConfig, MachineState, NewMachine, Operation, Options,
};
use serde_json::{json, value::to_raw_value};

use crate::world::{APP, Logs, World};

const CREATED: (&str, &str) = ("FAS_CREATED_MACHINE_COUNT", "queue_depth");
const STARTED: (&str, &str) = ("FAS_STARTED_MACHINE_COUNT", "queue_depth");

fn stopped(region: &str) -> NewMachine {
    NewMachine::in_region(region).state(MachineState::Stopped)
}

/// Three started machines in each of two regions, and a target of `depth`.
fn two_regions(depth: f64, settings: &[(&str, &str)]) -> World {
    let world = World::queue(depth, settings);
    for region in ["iad", "ord"] {
        let machine = NewMachine::in_region(region);
        world.platform().add_machines(APP, 3, &machine).unwrap();
    }
    world
}

/// A world whose lists can lag for a quarter of an hour.
fn with_history(depth: f64, settings: &[(&str, &str)]) -> World {
    let options = Options {
        history: Duration::from_secs(1000),
        ..Options::default()
    };
    World::queue_with_options(depth, settings, &options)
}

fn lacks(world: &World, regions: &[&str]) {
    world.platform().set_list_lacks(APP, regions);
}

/// Ten lists without ord, then whole ones again for some minutes.
async fn ten_lists_without_ord(world: &mut World) {
    world.run_for(10).await;
    lacks(world, &["ord"]);
    world.run_for(150).await;
    lacks(world, &[]);
    world.run_for(300).await;
}

#[tokio::test(start_paused = true)]
async fn a_list_without_a_region_neither_creates_nor_destroys() {
    for more in [
        ("FAS_INTERVAL", "15s"),
        ("FAS_REGIONS", "ord"),
        ("FAS_MACHINE_CEILING", "8"),
        ("FAS_INITIAL_MACHINE_STATE", "stopped"),
    ] {
        let mut world = two_regions(6.0, &[CREATED, more]);
        ten_lists_without_ord(&mut world).await;
        assert_eq!(world.writes(), 0, "{more:?}");
        assert_eq!(world.created(), 6, "{more:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_without_a_region_neither_starts_nor_stops() {
    let mut world = two_regions(6.0, &[STARTED]);
    let spares = stopped("iad");
    world.platform().add_machines(APP, 2, &spares).unwrap();
    ten_lists_without_ord(&mut world).await;
    assert_eq!(world.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn growth_beyond_the_machines_that_a_list_lacks_goes_on() {
    let logs = Logs::capture();
    let mut world = two_regions(6.0, &[CREATED, ("FAS_REGIONS", "iad")]);
    world.run_for(10).await;
    lacks(&world, &["ord"]);
    world.run_for(30).await;
    assert_eq!(world.writes(), 0);
    world.depth(8.0);
    world.run_for(15).await;
    assert_eq!(world.created(), 8);
    lacks(&world, &[]);
    world.run_for(120).await;
    assert_eq!(world.created(), 8);
    assert_eq!(logs.with("missing from the list").len(), 1, "told once");
}

#[tokio::test(start_paused = true)]
async fn machines_that_a_list_lacks_are_not_surplus_and_take_nobody_s_place() {
    // The target falls to two while three of six are hidden: the three that are shown are not too many by four.
    let mut world = two_regions(6.0, &[CREATED]);
    world.run_for(10).await;
    lacks(&world, &["ord"]);
    world.run_for(30).await;
    world.depth(2.0);
    world.run_for(120).await;
    assert_eq!(world.created(), 5, "one of the three that are seen");
    lacks(&world, &[]);
    world.run_for(120).await;
    assert_eq!(world.created(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_may_run_out_of_sight_takes_no_running_machine_s_place() {
    let mut world = two_regions(6.0, &[STARTED]);
    world.run_for(10).await;
    lacks(&world, &["ord"]);
    world.run_for(30).await;
    world.depth(2.0);
    world.run_for(120).await;
    assert_eq!(
        world.in_state(&MachineState::Started),
        5,
        "two of the three that are seen run on"
    );
    lacks(&world, &[]);
    world.run_for(120).await;
    assert_eq!(world.in_state(&MachineState::Started), 2);
}

#[tokio::test(start_paused = true)]
async fn questions_by_id_that_hang_leave_time_to_grow() {
    let settings = [CREATED, ("FAS_REGIONS", "iad"), ("FAS_INTERVAL", "100s")];
    let mut world = two_regions(6.0, &settings);
    world.run_for(10).await;
    lacks(&world, &["ord"]);
    let hang = Fault::new(Effect::Hang).on(Operation::Get);
    world.platform().add_fault(hang);
    world.depth(8.0);
    world.run_for(120).await;
    assert_eq!(world.requests(Operation::List), 2);
    assert_eq!(world.created(), 8, "in the pass that asked in vain");
}

#[tokio::test(start_paused = true)]
async fn machines_that_are_gone_are_replaced_in_the_pass_that_misses_them() {
    let mut world = two_regions(6.0, &[CREATED, ("FAS_REGIONS", "iad")]);
    world.run_for(10).await;
    let victims: Vec<Arc<str>> = {
        let platform = world.platform();
        let machines = platform.app(APP).unwrap().machines();
        machines
            .filter(|machine| &*machine.region == "ord")
            .map(|machine| Arc::clone(&machine.id))
            .collect()
    };
    for id in &victims {
        world.platform().remove_machine(APP, id);
    }
    assert_eq!(world.created(), 3);
    world.run_for(10).await;
    assert_eq!(world.created(), 6);
    assert_eq!(world.requests(Operation::Get), 3, "each was asked for once");
    world.run_for(60).await;
    assert_eq!(world.requests(Operation::Get), 3);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_gives_no_answer_counts_as_it_was_last_seen() {
    let mut world = two_regions(6.0, &[CREATED]);
    world.run_for(10).await;
    lacks(&world, &["ord"]);
    let broken = Effect::Answer(Canned::status(503));
    let fault = world
        .platform()
        .add_fault(Fault::new(broken).on(Operation::Get));
    world.run_for(120).await;
    assert_eq!(world.writes(), 0);
    assert!(world.pass_errors("list") > 0, "it is told");
    let (status, _, body) = world.get("/readyz").await;
    assert_eq!(
        (status, &*body),
        (200, "ready\n"),
        "the passes do their work"
    );
    assert_eq!(
        world.series(r#"fas_failing_passes{app="my-target-app",group="app"}"#),
        Some(0.0)
    );
    world.platform().remove_fault(fault);
    world.run_for(30).await;
    assert_eq!(world.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn more_than_twenty_that_a_list_lacks_end_growth_until_each_was_asked_for() {
    let logs = Logs::capture();
    let mut world = World::queue(30.0, &[CREATED, ("FAS_MACHINE_CEILING", "40")]);
    world
        .platform()
        .add_machines(APP, 2, &NewMachine::in_region("iad"))
        .unwrap();
    let ids = world
        .platform()
        .add_machines(APP, 28, &NewMachine::in_region("ord"))
        .unwrap();
    world.run_for(10).await;
    for id in &ids {
        world.platform().remove_machine(APP, id);
    }
    world.run_for(10).await;
    assert_eq!(
        world.seconds_of(Operation::List),
        [0, 15, 15],
        "a pass asks for twenty, and the next follows at once"
    );
    assert_eq!(
        logs.with("8 machines missing from the list still to be checked")
            .len(),
        1
    );
    assert_eq!(world.requests(Operation::Get), 28);
    world.run_for(45).await;
    assert_eq!(world.created(), 30);
}

#[tokio::test(start_paused = true)]
async fn machines_that_nobody_needs_are_asked_for_now_and_then_and_forgotten() {
    let mut world = two_regions(
        3.0,
        &[
            ("FAS_MIN_CREATED_MACHINE_COUNT", "1"),
            ("FAS_MAX_CREATED_MACHINE_COUNT", "9"),
        ],
    );
    world.run_for(10).await;
    let id = {
        let platform = world.platform();
        let mut machines = platform.app(APP).unwrap().machines();
        Arc::clone(&machines.next().unwrap().id)
    };
    world.platform().remove_machine(APP, &id);
    world.run_for(200).await;
    assert_eq!(
        world.requests(Operation::Get),
        0,
        "nothing grows without it"
    );
    world.run_for(1200).await;
    assert_eq!(world.requests(Operation::Get), 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_exits_soon_after_its_start_is_started_again_in_the_next_pass() {
    let mut world = World::queue(1.0, &[STARTED]);
    let id = world.platform().add_machine(APP, stopped("ord")).unwrap();
    world.run_for(0).await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert!(world.platform().exit_machine(APP, &id, 0));
        tokio::time::sleep(Duration::from_secs(7)).await;
    }
    assert_eq!(world.requests(Operation::Start), 7);
}

#[tokio::test(start_paused = true)]
async fn a_failed_machine_is_replaced_and_then_goes() {
    let mut world = World::queue(
        0.0,
        &[
            (
                "FAS_CREATED_MACHINE_COUNT",
                "min(started_machine_count + 1, 10)",
            ),
            ("FAS_INITIAL_MACHINE_STATE", "stopped"),
        ],
    );
    {
        let mut platform = world.platform();
        platform
            .add_machine(APP, NewMachine::in_region("ord"))
            .unwrap();
        let failed = NewMachine::in_region("ord").state(MachineState::Failed);
        platform.add_machine(APP, failed).unwrap();
    }
    world.run_for(90).await;
    assert_eq!(world.in_state(&MachineState::Failed), 0);
    assert_eq!(world.in_state(&MachineState::Started), 1);
    assert_eq!(world.in_state(&MachineState::Stopped), 1);
    assert_eq!(world.requests(Operation::Create), 1);
    assert_eq!(world.requests(Operation::Destroy), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_machine_makes_room_under_the_ceiling() {
    let mut world = World::queue(2.0, &[CREATED, ("FAS_MACHINE_CEILING", "2")]);
    {
        let mut platform = world.platform();
        platform
            .add_machine(APP, NewMachine::in_region("ord"))
            .unwrap();
        let failed = NewMachine::in_region("ord").state(MachineState::Failed);
        platform.add_machine(APP, failed).unwrap();
    }
    world.run_for(60).await;
    assert_eq!(world.in_state(&MachineState::Started), 2);
    assert_eq!(world.created(), 2);
}

#[tokio::test(start_paused = true)]
async fn clones_that_always_fail_are_bounded_by_the_backoff_and_cost_no_working_machine() {
    let mut world = World::queue(3.0, &[CREATED]);
    {
        let mut platform = world.platform();
        let machine = NewMachine::in_region("ord");
        platform.add_machines(APP, 2, &machine).unwrap();
        let always = Failures { next: 0, rate: 1.0 };
        platform.set_failures(APP, Failures::default(), always);
    }
    world.run_for(1800).await;
    let creates = world.requests(Operation::Create);
    assert!(
        (6..=12).contains(&creates),
        "{creates} creates in half an hour"
    );
    assert_eq!(world.in_state(&MachineState::Started), 2);
    assert!(world.created() <= 4, "failed ones do not heap up");
}

#[tokio::test(start_paused = true)]
async fn workers_that_end_as_they_should_do_not_hold_creates_back() {
    let mut world = World::queue(2.0, &[CREATED]);
    {
        let mut platform = world.platform();
        let config = r#"{"image":"registry.fly.io/jobs:v1","auto_destroy":true,"metadata":{"fly_process_group":"app"}}"#;
        let job = NewMachine::in_region("ord").config(config);
        platform.add_machine(APP, job).unwrap();
    }
    world.run_for(0).await;
    // Each clone's job takes twenty seconds; the first machine's never ends, so that there is something to clone.
    let first = {
        let platform = world.platform();
        let mut machines = platform.app(APP).unwrap().machines();
        Arc::clone(&machines.next().unwrap().id)
    };
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let done: Vec<Arc<str>> = {
            let platform = world.platform();
            let now = platform.wall();
            let machines = platform.app(APP).unwrap().machines();
            machines
                .filter(|machine| {
                    machine.id != first
                        && machine.state == MachineState::Started
                        && now.duration_since(machine.created_at).as_secs() >= 20
                })
                .map(|machine| Arc::clone(&machine.id))
                .collect()
        };
        for id in done {
            world.platform().exit_machine(APP, &id, 0);
        }
    }
    let seconds = world.seconds_of(Operation::Create);
    let gaps: Vec<u64> = seconds.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.len() >= 8, "{seconds:?}");
    assert!(gaps.iter().all(|gap| *gap <= 45), "{seconds:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_create_counts_for_as_long_as_a_list_may_lag() {
    let mut world = World::queue(2.0, &[CREATED, ("FAS_MACHINE_CEILING", "2")]);
    {
        let mut platform = world.platform();
        platform
            .add_machine(APP, NewMachine::in_region("ord"))
            .unwrap();
        let lost = Fault::new(Effect::LoseAnswer).on(Operation::Create);
        platform.add_fault(lost.once());
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    world.platform().set_list_lag(APP, Duration::from_secs(55));
    world.run_for(300).await;
    assert_eq!(world.requests(Operation::Create), 1);
    assert_eq!(world.created(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_standby_takes_no_place_under_the_ceiling() {
    let mut world = World::queue(2.0, &[CREATED, ("FAS_MACHINE_CEILING", "2")]);
    let standby = {
        let mut platform = world.platform();
        platform
            .add_machine(APP, NewMachine::in_region("ord"))
            .unwrap();
        let config =
            r#"{"image":"a","standbys":["148e123c456789"],"metadata":{"fly_process_group":"app"}}"#;
        let standby = stopped("iad").config(config);
        platform.add_machine(APP, standby).unwrap()
    };
    world.depth(1.0);
    world.run_for(20).await;
    world.lose_host_of(&standby);
    world.run_for(15).await;
    world.depth(2.0);
    world.run_for(120).await;
    assert_eq!(world.in_state(&MachineState::Started), 2);
}

#[tokio::test(start_paused = true)]
async fn creates_without_an_answer_that_lists_hide_for_long_stay_under_the_ceiling() {
    for (lag, ceiling) in [(85, "3"), (300, "3"), (500, "4")] {
        let mut world = with_history(3.0, &[CREATED, ("FAS_MACHINE_CEILING", ceiling)]);
        world
            .platform()
            .add_machine(APP, NewMachine::in_region("iad"))
            .unwrap();
        world.platform().set_list_lag(APP, Duration::from_secs(lag));
        tokio::time::sleep(Duration::from_secs(2 * lag)).await;
        let lost = Effect::AnswerAfter(Canned::status(502));
        let fault = Fault::new(lost).on(Operation::Create);
        let fault = world.platform().add_fault(fault);
        let ceiling: usize = ceiling.parse().unwrap();
        for _ in 0..lag / 5 {
            world.run_for(10).await;
            assert!(world.created() <= ceiling, "lag {lag}: {}", world.created());
        }
        world.platform().set_list_lag(APP, Duration::ZERO);
        world.platform().remove_fault(fault);
        world.run_for(300).await;
        assert_eq!(world.created(), 3, "lag {lag}");
    }
}

#[tokio::test(start_paused = true)]
async fn creates_that_came_to_nothing_hold_growth_back_no_longer_than_lists_say_nothing() {
    let logs = Logs::capture();
    let mut world = World::queue(3.0, &[CREATED, ("FAS_MACHINE_CEILING", "3")]);
    world
        .platform()
        .add_machine(APP, NewMachine::in_region("iad"))
        .unwrap();
    let broken = Effect::Answer(Canned::status(500));
    let fault = Fault::new(broken).on(Operation::Create);
    world.platform().add_fault(fault.times(2));
    world.run_for(500).await;
    assert_eq!(world.created(), 1);
    let said = logs.with("unanswered creates may have made");
    assert!(!said.is_empty());
    // Somebody changes a machine there: the list is up to date, and does not show what was never made.
    let id = {
        let platform = world.platform();
        let machine = platform.app(APP).unwrap().machines().next().unwrap();
        Arc::clone(&machine.id)
    };
    world.platform().exit_machine(APP, &id, 0);
    world.run_for(60).await;
    assert_eq!(world.created(), 3);
}

/// Six machines and a list that goes on showing what was for a quarter of an hour, while five are wanted.
async fn an_old_list(target: (&str, &str), machine: &NewMachine) -> World {
    let settings = [target, ("FAS_DESTROY_RUNNING_AFTER", "0s")];
    let mut world = with_history(6.0, &settings);
    world.platform().add_machines(APP, 6, machine).unwrap();
    world.platform().set_list_lag(APP, Duration::from_secs(900));
    tokio::time::sleep(Duration::from_secs(1000)).await;
    world.run_for(10).await;
    world.depth(5.0);
    world
}

#[tokio::test(start_paused = true)]
async fn a_list_that_goes_on_showing_a_destroyed_machine_costs_no_other_its_place() {
    for machine in [stopped("ord"), NewMachine::in_region("ord")] {
        let mut world = an_old_list(CREATED, &machine).await;
        for _ in 0..80 {
            world.run_for(10).await;
            assert!(world.created() >= 5, "{}", world.created());
        }
        assert_eq!(world.created(), 5);
        let gets = world.requests(Operation::Get);
        assert!((5..=14).contains(&gets), "about once a minute: {gets}");
        world.platform().set_list_lag(APP, Duration::ZERO);
        world.run_for(200).await;
        assert_eq!(world.created(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_goes_on_showing_a_stopped_machine_as_started_stops_no_other() {
    let mut world = an_old_list(STARTED, &NewMachine::in_region("ord")).await;
    for _ in 0..80 {
        world.run_for(10).await;
        assert!(world.in_state(&MachineState::Started) >= 5);
    }
    assert_eq!(world.in_state(&MachineState::Started), 5);
    world.platform().set_list_lag(APP, Duration::ZERO);
    world.run_for(200).await;
    assert_eq!(world.in_state(&MachineState::Started), 5);
}

#[tokio::test(start_paused = true)]
async fn a_start_is_not_believed_to_have_failed_because_another_question_took_all_the_time() {
    let settings = [
        STARTED,
        ("FAS_API_CONCURRENCY", "1"),
        ("FAS_TIMEOUT", "10s"),
    ];
    let mut world = with_history(2.0, &settings);
    let mut ids = world
        .platform()
        .add_machines(APP, 3, &stopped("ord"))
        .unwrap();
    ids.sort();
    world.platform().edit_machine(APP, &ids[0], |machine| {
        machine.state = MachineState::Started;
    });
    tokio::time::sleep(Duration::from_secs(1000)).await;
    world.platform().set_list_lag(APP, Duration::from_secs(900));
    // The list denies the start of the second one for a minute, an answer by id says that it happened, and it goes on denying.
    world.run_for(110).await;
    assert_eq!(world.requests(Operation::Start), 1);
    world.platform().clear_logs();
    // Now it lacks the first one, whose turn to be asked for it is before.
    world.platform().set_list_lacks(APP, &[&ids[0]]);
    let hang = Fault::new(Effect::Hang).on(Operation::Get);
    world.platform().add_fault(hang);
    world.run_for(20).await;
    {
        let platform = world.platform();
        let mut asked = platform.requests_for(Operation::Get);
        assert!(asked.all(|request| request.machine.as_ref() == Some(&ids[0])));
    }
    assert_eq!(world.requests(Operation::Start), 0);
    // Nobody answers for it in the next passes either.
    world.run_for(40).await;
    assert_eq!(world.requests(Operation::Start), 1);
}

#[tokio::test(start_paused = true)]
async fn what_asking_by_id_told_is_what_is_cloned() {
    let mut world = with_history(0.0, &[STARTED, CREATED]);
    world.platform().add_machine(APP, stopped("ord")).unwrap();
    world.platform().set_list_lag(APP, Duration::from_secs(900));
    tokio::time::sleep(Duration::from_secs(1000)).await;
    world.run_for(10).await;
    world.depth(1.0);
    world.run_for(20).await;
    assert_eq!(world.requests(Operation::Start), 1);
    // A deploy that no list shows for a quarter of an hour gives the machine another image.
    let id = world
        .simulator
        .platform()
        .app(APP)
        .unwrap()
        .machines()
        .next()
        .unwrap()
        .id
        .to_string();
    let config =
        json!({ "image": "registry.fly.io/web:v2", "metadata": { "fly_process_group": "app" } });
    let config = MachineConfig::parse(&to_raw_value(&config).unwrap()).unwrap();
    world
        .platform()
        .edit_machine(APP, &id, |machine| machine.config = config);
    world.run_for(150).await;
    world.depth(2.0);
    world.run_for(60).await;
    assert!(world.requests(Operation::Get) > 0);
    let platform = world.simulator.platform();
    let images: Vec<String> = platform
        .app(APP)
        .unwrap()
        .machines()
        .map(|machine| machine.config.image().to_owned())
        .collect();
    assert_eq!(images.len(), 2);
    assert!(
        images[1].starts_with("registry.fly.io/web:v2"),
        "{images:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_that_goes_on_showing_a_started_machine_as_stopped_starts_no_other() {
    let mut world = with_history(0.0, &[STARTED]);
    let machine = stopped("ord");
    world.platform().add_machines(APP, 6, &machine).unwrap();
    world.platform().set_list_lag(APP, Duration::from_secs(900));
    tokio::time::sleep(Duration::from_secs(1000)).await;
    world.run_for(10).await;
    world.depth(2.0);
    for _ in 0..80 {
        world.run_for(10).await;
        assert!(world.in_state(&MachineState::Started) <= 2);
    }
    world.platform().set_list_lag(APP, Duration::ZERO);
    world.run_for(200).await;
    assert_eq!(world.in_state(&MachineState::Started), 2);
    assert_eq!(world.requests(Operation::Start), 2);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_shown_without_metadata_is_not_forgotten() {
    for every in [u64::MAX, 2] {
        let settings = [CREATED, ("FAS_MACHINE_CEILING", "6")];
        let mut world = two_regions(6.0, &settings);
        world.run_for(10).await;
        let whole = configs(&world);
        for pass in 0..20 {
            let without = pass == 0 || every < u64::MAX && pass % every == 0;
            for (id, config) in whole.iter().take(3) {
                let bare = json!({ "image": config.image() });
                let bare = MachineConfig::parse(&to_raw_value(&bare).unwrap()).unwrap();
                let config = if without { bare } else { config.clone() };
                world
                    .platform()
                    .edit_machine(APP, id, |machine| machine.config = config);
            }
            world.run_for(15).await;
        }
        assert_eq!(world.writes(), 0, "every {every}");
        assert_eq!(world.created(), 6, "every {every}");
    }
}

fn configs(world: &World) -> Vec<(Arc<str>, MachineConfig)> {
    let platform = world.simulator.platform();
    let machines = platform.app(APP).unwrap().machines();
    machines
        .map(|machine| (Arc::clone(&machine.id), machine.config.clone()))
        .collect()
}

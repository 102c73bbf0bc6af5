//! Whose turn it is: machines that cannot be destroyed or kept running, and two targets that shrink at once.

use std::{sync::Arc, time::Duration};

use fly_autoscaler::sim::{
    Effect, Fault, MachineState, NewMachine, Operation, Options, RateLimits,
};
use tracing::Level;

use crate::world::{APP, Logs, World};

/// A world that scales by `queue_depth`, with so many machines in this state; their ids, sorted.
fn world(
    depth: f64,
    settings: &[(&str, &str)],
    count: usize,
    state: MachineState,
) -> (World, Vec<Arc<str>>) {
    let options = Options {
        rate_limits: RateLimits {
            enabled: false,
            ..RateLimits::default()
        },
        ..Options::default()
    };
    let world = World::queue_with_options(depth, settings, &options);
    let machine = NewMachine::in_region("ord").state(state);
    let mut ids = world.platform().add_machines(APP, count, &machine).unwrap();
    ids.sort();
    (world, ids)
}

#[tokio::test(start_paused = true)]
async fn a_dip_of_the_metric_that_both_targets_read_destroys_nothing() {
    let settings = [
        ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
        ("FAS_STARTED_MACHINE_COUNT", "queue_depth"),
        ("FAS_INTERVAL", "1s"),
    ];
    let (mut world, _) = world(13.0, &settings, 13, MachineState::Started);
    world.run_for(10).await;
    world.depth(0.0);
    world.run_for(5).await;
    world.depth(13.0);
    world.run_for(120).await;
    assert!(world.requests(Operation::Stop) >= 12, "the dip was seen");
    assert_eq!(world.requests(Operation::Destroy), 0);
    assert_eq!(world.in_state(&MachineState::Started), 13);
}

#[tokio::test(start_paused = true)]
async fn a_surplus_that_both_targets_see_is_destroyed_once_it_has_lasted() {
    let settings = [
        ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
        ("FAS_STARTED_MACHINE_COUNT", "queue_depth"),
    ];
    let (mut world, _) = world(1.0, &settings, 5, MachineState::Started);
    world.run_for(44).await;
    assert_eq!(world.created(), 5);
    world.run_for(31).await;
    assert_eq!(world.created(), 1);
    assert!(world.seconds_of(Operation::Destroy)[0] >= 45);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_does_not_keep_running_is_not_the_only_one_started() {
    let (mut world, ids) = world(
        1.0,
        &[("FAS_STARTED_MACHINE_COUNT", "queue_depth")],
        3,
        MachineState::Stopped,
    );
    let logs = Logs::capture();
    world.start();
    for _ in 0..1200 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut platform = world.platform();
        if platform.machine(APP, &ids[0]).unwrap().state == MachineState::Started {
            platform.exit_machine(APP, &ids[0], 0);
        }
    }
    assert_eq!(world.in_state(&MachineState::Started), 1);
    assert_eq!(world.requests(Operation::Start), 2, "it, and then another");
    let told = logs.with("did not keep running");
    assert!(told[0].message.contains(&*ids[0]));
    assert_eq!(told[0].level, Level::WARN);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_cannot_be_destroyed_is_not_the_only_one_tried() {
    // The answer to each destroy of the first; how long the others may wait.
    for (status, patience) in [(409, 16), (412, 16), (422, 16), (500, 90)] {
        let (mut world, ids) = world(
            4.0,
            &[("FAS_CREATED_MACHINE_COUNT", "queue_depth")],
            5,
            MachineState::Stopped,
        );
        world.platform().add_fault(
            Fault::status(status)
                .on(Operation::Destroy)
                .machine(&ids[0]),
        );
        let logs = Logs::capture();
        world.run_for(patience).await;
        assert_eq!(world.created(), 4, "{status}");
        assert!(world.platform().machine(APP, &ids[0]).is_some());
        let told = logs.with("could not be destroyed recently");
        assert_eq!(told.len(), 1, "{status}");
        assert!(told[0].message.contains(&*ids[0]));
        assert_eq!(told[0].level, Level::WARN);
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_victim_whose_stop_always_fails_is_not_the_only_one_tried() {
    for (status, patience) in [(409, 90), (412, 90), (500, 200)] {
        let (mut world, ids) = world(
            4.0,
            &[("FAS_CREATED_MACHINE_COUNT", "queue_depth")],
            5,
            MachineState::Started,
        );
        world
            .platform()
            .add_fault(Fault::status(status).on(Operation::Stop).machine(&ids[0]));
        world.run_for(patience).await;
        assert_eq!(world.created(), 4, "{status}");
        assert_eq!(world.in_state(&MachineState::Started), 4, "{status}");
        assert!(world.platform().machine(APP, &ids[0]).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn an_accepted_destroy_that_removes_nothing_is_not_the_only_one_tried() {
    let (mut world, ids) = world(
        4.0,
        &[("FAS_CREATED_MACHINE_COUNT", "queue_depth")],
        5,
        MachineState::Stopped,
    );
    let nothing = Effect::Answer(fly_autoscaler::sim::Canned::json(200, r#"{"ok":true}"#));
    world
        .platform()
        .add_fault(Fault::new(nothing).on(Operation::Destroy).machine(&ids[0]));
    world.run_for(91).await;
    assert_eq!(world.created(), 4);
    assert!(world.platform().machine(APP, &ids[0]).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_woken_is_not_told_of() {
    let settings = [("FAS_CREATED_MACHINE_COUNT", "queue_depth")];
    let (mut world, ids) = world(4.0, &settings, 5, MachineState::Stopped);
    let woken = Fault::status(412).on(Operation::Destroy).machine(&ids[0]);
    world.platform().add_fault(woken);
    let logs = Logs::capture();
    world.run_for(5).await;
    world.platform().edit_machine(APP, &ids[0], |machine| {
        machine.state = MachineState::Started;
    });
    world.run_for(15).await;
    assert_eq!(world.created(), 4);
    assert!(logs.with("could not be destroyed recently").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_victim_whose_stop_lost_its_answer_is_destroyed_once_it_is_seen_to_be_down() {
    let settings = [("FAS_CREATED_MACHINE_COUNT", "queue_depth")];
    let (mut world, ids) = world(4.0, &settings, 5, MachineState::Started);
    let lost = Fault::new(Effect::LoseAnswer).on(Operation::Stop);
    world.platform().add_fault(lost);
    world.run_for(58).await;
    assert_eq!(world.created(), 5);
    world.run_for(6).await;
    assert_eq!(world.created(), 4);
    assert!(world.platform().machine(APP, &ids[0]).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_victim_that_takes_long_to_stop_need_not_wait_again() {
    let settings = [("FAS_CREATED_MACHINE_COUNT", "queue_depth")];
    let (mut world, _) = world(4.0, &settings, 0, MachineState::Started);
    let slow = NewMachine::in_region("ord")
        .config(
            r#"{"image":"registry.fly.io/web:v1","metadata":{"fly_process_group":"app"},"stop_config":{"timeout":"60s"}}"#,
        )
        .stop_takes(Duration::from_secs(20));
    world.platform().add_machines(APP, 5, &slow).unwrap();
    world.run_for(58).await;
    assert_eq!(world.in_state(&MachineState::Stopping), 1);
    world.depth(5.0);
    world.run_for(10).await;
    world.depth(4.0);
    world.run_for(10).await;
    assert_eq!(world.created(), 4);
    assert_eq!(world.in_state(&MachineState::Started), 4);
}

#[tokio::test(start_paused = true)]
async fn a_victim_that_is_refused_as_woken_goes_last_where_it_sleeps_on() {
    let settings = [("FAS_CREATED_MACHINE_COUNT", "queue_depth")];
    for (wakes, destroyed) in [(false, 1), (true, 0)] {
        let (mut world, ids) = world(2.0, &settings, 3, MachineState::Stopped);
        let woken = Fault::status(412).on(Operation::Destroy).machine(&ids[0]);
        world.platform().add_fault(woken.once());
        world.depth(3.0);
        world.run_for(14).await;
        world.depth(2.0);
        world.run_for(2).await;
        assert_eq!(world.created(), 3, "refused");
        let set = |state: MachineState| {
            world.platform().edit_machine(APP, &ids[0], |machine| {
                machine.state = state.clone();
            });
        };
        world.depth(3.0);
        if wakes {
            set(MachineState::Started);
        }
        tokio::time::sleep(Duration::from_secs(15)).await;
        set(MachineState::Stopped);
        world.depth(2.0);
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(world.created(), 2);
        let gone = world.platform().machine(APP, &ids[destroyed]).is_none();
        assert!(gone, "woken: {wakes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_lost_answer_leaves_the_victim_s_slot_spent() {
    let settings = [
        ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
        ("FAS_DESTROY_RUNNING_AFTER", "0s"),
    ];
    for (operation, state) in [
        (Operation::Destroy, MachineState::Stopped),
        (Operation::Stop, MachineState::Started),
    ] {
        for refusal in [409, 412, 422] {
            let (mut world, ids) = world(5.0, &settings, 5, state.clone());
            world.platform().set_list_lag(APP, Duration::from_secs(50));
            tokio::time::sleep(Duration::from_secs(100)).await;
            let lost = Fault::new(Effect::LoseAnswer).on(operation).once();
            world.platform().add_fault(lost);
            let refused = Fault::status(refusal).on(operation).machine(&ids[0]);
            world.platform().add_fault(refused.once());
            world.depth(4.0);
            world.run_for(50).await;
            let gone: Vec<_> = ids[1..]
                .iter()
                .filter(|id| {
                    let machine = world
                        .platform()
                        .machine(APP, id)
                        .map(|one| one.state.clone());
                    machine.as_ref() != Some(&state)
                })
                .collect();
            assert!(gone.is_empty(), "{operation:?} {refusal}: {gone:?}");
        }
    }
}

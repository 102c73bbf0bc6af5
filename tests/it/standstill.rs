//! A process that stands still in the middle of a pass, as one that is stopped or whose machine is suspended does: what the
//! pass has seen is old when it goes on.

use std::{sync::Arc, time::Duration};

use fly_autoscaler::sim::{Canned, Effect, Fault, MachineState, NewMachine, Operation};

use crate::world::{APP, Logs, World};

const CREATED: (&str, &str) = ("FAS_CREATED_MACHINE_COUNT", "queue_depth");
const STARTED: (&str, &str) = ("FAS_STARTED_MACHINE_COUNT", "queue_depth");

/// Six machines that are left as they are for ten seconds; then another count is wanted, and a request takes six seconds.
async fn world(
    target: (&str, &str),
    state: &MachineState,
    (before, after): (f64, f64),
    slow: Operation,
) -> (World, Vec<Arc<str>>) {
    let settings = [
        target,
        ("FAS_TIMEOUT", "60s"),
        ("FAS_DESTROY_RUNNING_AFTER", "0s"),
        ("FAS_API_CONCURRENCY", "1"),
    ];
    let mut world = World::queue(before, &settings);
    let machine = NewMachine::in_region("ord").state(state.clone());
    let ids = world.platform().add_machines(APP, 6, &machine).unwrap();
    world.run_for(10).await;
    assert_eq!(world.writes(), 0);
    world.depth(after);
    let answer = Effect::SlowAnswer(Duration::from_secs(6));
    let fault = Fault::new(answer).on(slow).once();
    world.platform().add_fault(fault);
    world.run_for(7).await;
    (world, ids)
}

/// Nothing of the daemon runs, and the clock goes on.
async fn freeze() {
    tokio::time::advance(Duration::from_secs(25)).await;
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_was_frozen_destroys_nothing_by_what_it_saw_before() {
    for slow in [Operation::Query, Operation::List, Operation::Graphql] {
        let logs = Logs::capture();
        let (mut world, ids) = world(CREATED, &MachineState::Started, (6.0, 3.0), slow).await;
        // Meanwhile somebody removes three, and six are wanted again.
        for id in &ids[..3] {
            world.platform().remove_machine(APP, id);
        }
        freeze().await;
        world.depth(6.0);
        world.run_for(3).await;
        assert_eq!(world.requests(Operation::Stop), 0, "{slow:?}");
        assert_eq!(world.requests(Operation::Destroy), 0, "{slow:?}");
        assert_eq!(
            logs.with("the process was suspended or starved of CPU")
                .len(),
            1,
            "{slow:?}"
        );
        world.run_for(20).await;
        assert_eq!(world.created(), 6, "{slow:?}: it looked again at once");
        assert_eq!(world.requests(Operation::Stop), 0, "{slow:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_was_frozen_does_not_ask_how_busy_machines_are() {
    let settings = [
        CREATED,
        ("FAS_PROMETHEUS_BUSY_QUERY", "busy_workers{app='$APP_NAME'}"),
        ("FAS_DESTROY_RUNNING_AFTER", "0s"),
    ];
    let mut world = World::queue(2.0, &settings);
    let machine = NewMachine::in_region("ord");
    let ids = world.platform().add_machines(APP, 2, &machine).unwrap();
    for id in ids {
        let labels = [("app", APP), ("instance", &*id)];
        let idle = Some(0.0);
        world.platform().set_series("busy_workers", &labels, idle);
    }
    world.run_for(10).await;
    world.depth(1.0);
    let slow = Fault::new(Effect::SlowAnswer(Duration::from_secs(6)));
    world
        .platform()
        .add_fault(slow.on(Operation::Graphql).once());
    world.run_for(7).await;
    let logs = Logs::capture();
    // Beyond the deadline of the pass.
    tokio::time::advance(Duration::from_secs(40)).await;
    world.run_for(20).await;
    let told = logs.with("the process was suspended or starved of CPU");
    assert_eq!(told.len(), 1);
    assert!(world.all_pass_errors().is_empty());
    assert_eq!(world.created(), 1, "the next pass asked, and was told");
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_was_frozen_between_its_victims_takes_no_further_one() {
    for slow in [Operation::Stop, Operation::Wait] {
        let (mut world, _) = world(CREATED, &MachineState::Started, (6.0, 3.0), slow).await;
        let calls = |world: &World| {
            let requests = |operation| world.requests(operation);
            (requests(Operation::Stop), requests(Operation::Wait))
        };
        let before = calls(&world);
        freeze().await;
        world.depth(6.0);
        world.run_for(60).await;
        assert_eq!(calls(&world), before, "{slow:?}");
        assert_eq!(world.requests(Operation::Destroy), 0, "{slow:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_was_frozen_creates_starts_and_stops_nothing() {
    use MachineState::{Started, Stopped};
    let scenes = [
        (CREATED, Started, (6.0, 9.0), Operation::Graphql),
        (CREATED, Started, (6.0, 9.0), Operation::Create),
        (STARTED, Stopped, (0.0, 3.0), Operation::Graphql),
        (STARTED, Stopped, (0.0, 3.0), Operation::Start),
        (STARTED, Started, (6.0, 3.0), Operation::Graphql),
        (STARTED, Started, (6.0, 3.0), Operation::Stop),
    ];
    for (target, state, counts, slow) in scenes {
        let (mut world, _) = world(target, &state, counts, slow).await;
        let writes = world.writes();
        assert_eq!(writes, usize::from(slow != Operation::Graphql), "{slow:?}");
        freeze().await;
        let (before, _) = counts;
        world.depth(if target == CREATED {
            before + 1.0
        } else {
            before
        });
        world.run_for(1).await;
        // What was under way ends; the rest is for another pass, which wants none of it.
        let more = world.writes() - writes;
        let back = usize::from(target == CREATED && slow == Operation::Graphql);
        assert!(more <= back + 1, "{slow:?} {counts:?}: {more}");
        world.run_for(60).await;
        let wanted = if target == CREATED { 7 } else { 6 };
        assert_eq!(world.created(), wanted, "{slow:?} {counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_surplus_that_was_last_seen_before_a_pass_was_frozen_has_not_lasted() {
    let settings = [
        CREATED,
        ("FAS_TIMEOUT", "60s"),
        ("FAS_DESTROY_RUNNING_AFTER", "20s"),
    ];
    let mut world = World::queue(3.0, &settings);
    let machine = NewMachine::in_region("ord");
    world.platform().add_machines(APP, 6, &machine).unwrap();
    world.run_for(10).await;
    let answer = Effect::SlowAnswer(Duration::from_secs(6));
    let slow = Fault::new(answer).on(Operation::List).once();
    world.platform().add_fault(slow);
    world.run_for(7).await;
    freeze().await;
    world.run_for(18).await;
    assert_eq!(
        world.requests(Operation::Stop),
        0,
        "seen for less than 20 s"
    );
    world.run_for(30).await;
    assert_eq!(world.created(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_repeated_after_a_standstill() {
    use MachineState::{Started, Stopped};
    let scenes = [
        (CREATED, Started, (6.0, 7.0), Operation::Create),
        (CREATED, Stopped, (6.0, 5.0), Operation::Destroy),
        (CREATED, Started, (6.0, 5.0), Operation::Stop),
        (STARTED, Stopped, (0.0, 1.0), Operation::Start),
        (STARTED, Started, (6.0, 5.0), Operation::Stop),
    ];
    for (target, state, counts, call) in scenes {
        let settings = [
            target,
            ("FAS_TIMEOUT", "60s"),
            ("FAS_DESTROY_RUNNING_AFTER", "0s"),
        ];
        let mut world = World::queue(counts.0, &settings);
        let machine = NewMachine::in_region("ord").state(state.clone());
        world.platform().add_machines(APP, 6, &machine).unwrap();
        world.run_for(10).await;
        world.depth(counts.1);
        let limited = Canned::status(429).header("retry-after", "8");
        world
            .platform()
            .add_fault(Fault::new(Effect::Answer(limited)).on(call).once());
        world.run_for(7).await;
        assert_eq!(world.requests(call), 1, "{call:?} {counts:?}");
        freeze().await;
        world.depth(counts.0);
        world.run_for(60).await;
        assert_eq!(world.requests(call), 1, "{call:?} {counts:?}");
        assert_eq!(world.created(), 6);
    }
}

#[tokio::test(start_paused = true)]
async fn a_standstill_is_seen_by_an_app_while_a_pass_over_another_hangs() {
    let settings = [
        ("FAS_APP_NAME", "app-*"),
        ("FAS_ORG", "acme"),
        CREATED,
        ("FAS_INTERVAL", "2s"),
        ("FAS_TIMEOUT", "30s"),
        ("FAS_DESTROY_RUNNING_AFTER", "15s"),
    ];
    let mut world = World::queue(3.0, &settings);
    for app in ["app-1", "app-2"] {
        let mut platform = world.platform();
        platform.add_app(app, "acme");
        let machine = NewMachine::in_region("ord");
        platform.add_machines(app, 6, &machine).unwrap();
        platform.set_gauge(app, "queue_depth", Some(6.0));
    }
    world.run_for(10).await;
    world
        .platform()
        .add_fault(Fault::new(Effect::Hang).on(Operation::List).app("app-1"));
    world.run_for(3).await;
    world
        .platform()
        .set_gauge("app-2", "queue_depth", Some(3.0));
    world.run_for(4).await;
    tokio::time::advance(Duration::from_secs(20)).await;
    world.run_for(10).await;
    assert_eq!(
        world.requests(Operation::Stop),
        0,
        "seen for less than 15 s"
    );
    world.run_for(20).await;
    assert_eq!(world.requests(Operation::Stop), 3);
}

//! What a lost answer hides, in the smallest worlds that show it; the simulation found each of these.

use std::{sync::Arc, time::Duration};

use fly_autoscaler::sim::{
    Canned, Effect, Fault, HostStatus, MachineState, NewMachine, NewVolume, Operation, Options,
    RateLimits,
};

use crate::world::{APP, Logs, World};

fn settings<'a>(created: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut settings = vec![
        ("FAS_PROMETHEUS_METRIC_NAME", "load"),
        ("FAS_PROMETHEUS_QUERY", "vector(0)"),
        ("FAS_PROMETHEUS_ADDRESS", "http://simulator/prometheus/acme"),
        ("FAS_CREATED_MACHINE_COUNT", created),
    ];
    settings.extend(more);
    settings
}

/// A world whose requests take a tenth of a second, so that they can overlap.
fn world(created: &str, more: &[(&str, &str)]) -> World {
    let options = Options {
        latency: Duration::from_millis(100),
        rate_limits: RateLimits {
            enabled: false,
            ..RateLimits::default()
        },
        ..Options::default()
    };
    World::with_options(&settings(created, more), &options)
}

#[tokio::test(start_paused = true)]
async fn a_create_that_waits_to_be_repeated_is_not_begun_after_one_of_unknown_outcome() {
    let mut world = world("3", &[]);
    {
        let mut platform = world.platform();
        platform
            .add_machine(APP, NewMachine::in_region("ord"))
            .unwrap();
        let lost = Effect::AnswerAfter(Canned::status(500));
        platform.add_fault(Fault::new(lost).on(Operation::Create).once());
        let refused = Fault::new(Effect::Refuse).on(Operation::Create);
        platform.add_fault(refused.after(0).once());
    }
    world.run_for(10).await;
    assert_eq!(
        world.requests(Operation::Create),
        2,
        "one each, in this pass"
    );
    world.run_for(60).await;
    assert_eq!(world.created(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_destroy_of_unknown_outcome_stays_unknown_whatever_its_last_attempt_is_answered() {
    let mut world = world("2", &[]);
    let (first, second) = {
        let mut platform = world.platform();
        platform
            .add_machine(APP, NewMachine::in_region("ord"))
            .unwrap();
        let stopped = NewMachine::in_region("ord").state(MachineState::Stopped);
        let mut ids = platform.add_machines(APP, 2, &stopped).unwrap();
        ids.sort();
        let lost = Fault::new(Effect::LoseAnswer).on(Operation::Destroy);
        platform.add_fault(lost.once());
        platform.add_fault(Fault::status(409).on(Operation::Destroy).once());
        (Arc::clone(&ids[0]), Arc::clone(&ids[1]))
    };
    // After the first pass has its list and before it destroys, another machine comes first in the order of destroys.
    world.run_for(0).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    world.platform().edit_machine(APP, &second, |machine| {
        machine.state = MachineState::Failed;
    });
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(world.platform().machine(APP, &first).is_none());
    // The second pass's list shows the moment between the two.
    let lag = Duration::from_millis(14_900);
    world.platform().set_list_lag(APP, lag);
    world.run_for(10).await;
    assert!(world.platform().machine(APP, &second).is_some());
    assert_eq!(world.created(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_machine_on_its_way_out_does_not_settle_a_create_of_unknown_outcome() {
    let mut world = world("2", &[]);
    {
        let mut platform = world.platform();
        platform
            .add_machine(APP, NewMachine::in_region("ord"))
            .unwrap();
        let leaving = NewMachine::in_region("ord").state(MachineState::Destroying);
        platform.add_machine(APP, leaving).unwrap();
        let lost = Fault::new(Effect::LoseAnswer).on(Operation::Create);
        platform.add_fault(lost.once());
    }
    world.run_for(5).await;
    // The second pass's list shows the beginning: the one that leaves, and not the one that was created.
    let lag = Duration::from_secs(16);
    world.platform().set_list_lag(APP, lag);
    world.run_for(12).await;
    world.platform().set_list_lag(APP, Duration::ZERO);
    world.run_for(60).await;
    assert_eq!(world.requests(Operation::Create), 1);
    assert_eq!(world.created(), 2);
}

#[tokio::test(start_paused = true)]
async fn clones_with_volumes_are_created_at_the_documented_rate_however_late_their_volumes_come() {
    let mut world = world("7", &[("FAS_CLONE_VOLUMES", "true")]);
    {
        let mut platform = world.platform();
        let volume = platform
            .create_volume(APP, NewVolume::named("data", "ord"))
            .unwrap();
        for _ in 0..6 {
            platform
                .create_volume(APP, NewVolume::named("data", "ord"))
                .unwrap();
        }
        let config = format!(
            r#"{{"image":"registry.fly.io/web:v1","metadata":{{"fly_process_group":"app"}},"mounts":[{{"volume":"{volume}","path":"/data","name":"data"}}]}}"#
        );
        let machine = NewMachine::in_region("ord").config(&config);
        platform.add_machine(APP, machine).unwrap();
        // All of them come at once, after six seconds.
        for (seconds, times) in [(6, 3), (5, 1), (4, 1), (3, 1)] {
            let slow = Effect::SlowAnswer(Duration::from_secs(seconds));
            platform.add_fault(Fault::new(slow).on(Operation::ListVolumes).times(times));
        }
    }
    world.run_for(60).await;
    let creates: Vec<Duration> = world
        .platform()
        .requests_for(Operation::Create)
        .map(|request| request.at)
        .collect();
    assert_eq!(creates.len(), 6);
    for four in creates.windows(4) {
        let span = four[3].saturating_sub(four[0]);
        assert!(span >= Duration::from_millis(990), "{creates:?}");
    }
}

/// What a write that takes effect can be answered.
fn losses() -> [(&'static str, Effect); 4] {
    [
        ("502", Effect::AnswerAfter(Canned::html(502))),
        ("408", Effect::AnswerAfter(Canned::status(408))),
        ("reset", Effect::LoseAnswer),
        ("hang", Effect::HangAfter),
    ]
}

/// A world that wants so many started machines, and six that are started or stopped.
fn six(started: &str, action: &str, state: &MachineState) -> World {
    let mut settings = settings("6", &[]);
    settings.extend([
        ("FAS_STARTED_MACHINE_COUNT", started),
        ("FAS_STOP_ACTION", action),
    ]);
    let world = World::new(&settings);
    let machine = NewMachine::in_region("ord").state(state.clone());
    world.platform().add_machines(APP, 6, &machine).unwrap();
    world
}

/// Which machines requests of this kind named.
fn named(world: &World, operation: Operation) -> std::collections::BTreeSet<Arc<str>> {
    let platform = world.platform();
    let requests = platform.requests_for(operation);
    requests.filter_map(|one| one.machine.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn lost_answers_to_stops_and_starts_move_no_more_machines_than_wanted() {
    use MachineState::{Started, Stopped};
    let scenes = [
        (Operation::Stop, "stop", "5", Started, 5),
        (Operation::Suspend, "suspend", "5", Started, 5),
        (Operation::Start, "stop", "1", Stopped, 1),
        (Operation::Stop, "stop", "3", Started, 3),
        (Operation::Start, "stop", "3", Stopped, 3),
    ];
    for (loss, effect) in losses() {
        for lag in [0, 55] {
            for (operation, action, wanted, state, started) in &scenes {
                let name = format!("{operation:?} to {wanted}, {loss}, lists {lag} s late");
                let mut world = six(wanted, action, state);
                let fault = Fault::new(effect.clone()).on(*operation);
                world.platform().add_fault(fault);
                world.platform().set_list_lag(APP, Duration::from_secs(lag));
                let from = if *state == Started { 6 } else { 0 };
                let most = usize::abs_diff(*started, from);
                if lag > 0 {
                    tokio::time::sleep(Duration::from_secs(120)).await;
                }
                for _ in 0..60 {
                    world.run_for(5).await;
                    let moved = named(&world, *operation).len();
                    assert!(moved <= most, "{name}: {moved} were told");
                }
                assert_eq!(world.platform().started(APP), *started, "{name}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_or_stop_of_unknown_outcome_spends_its_slot_and_is_tried_again_before_any_other() {
    use MachineState::{Started, Stopped};
    for (operation, wanted, state) in [
        (Operation::Start, "1", Stopped),
        (Operation::Stop, "5", Started),
    ] {
        let mut world = six(wanted, "stop", &state);
        // Nothing comes of the first pass's calls, and nobody says so.
        let broken = Fault::new(Effect::Break).on(operation).times(4);
        world.platform().add_fault(broken);
        world.run_for(14).await;
        assert_eq!(world.requests(operation), 4, "{operation:?}");
        assert_eq!(named(&world, operation).len(), 1, "{operation:?}");
        world.run_for(15).await;
        assert_eq!(world.requests(operation), 5, "{operation:?}");
        assert_eq!(named(&world, operation).len(), 1, "{operation:?}");
        let wanted: usize = wanted.parse().unwrap();
        assert_eq!(world.platform().started(APP), wanted, "{operation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_happened_spends_its_slot_however_the_next_attempt_is_refused() {
    use MachineState::{Started, Stopped};
    let refusals = [
        ("429", Effect::Answer(Canned::status(429))),
        ("422", Effect::Answer(Canned::status(422))),
        ("no connection", Effect::Refuse),
    ];
    for (operation, wanted, state) in [
        (Operation::Start, "1", Stopped),
        (Operation::Stop, "5", Started),
    ] {
        for (refusal, effect) in &refusals {
            let name = format!("{operation:?}, {refusal}");
            let mut world = six(wanted, "stop", &state);
            let lost = Fault::new(Effect::LoseAnswer).on(operation).times(4);
            world.platform().add_fault(lost);
            let refused = Fault::new(effect.clone()).on(operation);
            world.platform().add_fault(refused);
            world.platform().set_list_lag(APP, Duration::from_secs(55));
            tokio::time::sleep(Duration::from_secs(120)).await;
            world.run_for(50).await;
            assert!(world.requests(operation) > 6, "{name}");
            assert_eq!(named(&world, operation).len(), 1, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_a_machine_that_is_gone_has_nothing_left_to_do() {
    let mut world = six("5", "stop", &MachineState::Started);
    let gone = Fault::status(404).on(Operation::Stop).once();
    world.platform().add_fault(gone);
    world.run_for(14).await;
    assert_eq!(world.requests(Operation::Stop), 1);
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_start_found_it_gone_no_longer_counts_though_lists_show_it() {
    let mut world = six("1", "stop", &MachineState::Stopped);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let first = {
        let mut platform = world.platform();
        let machines = platform.app(APP).unwrap().machines();
        let first = machines.map(|machine| Arc::clone(&machine.id)).min();
        let first = first.unwrap();
        platform.set_list_lag(APP, Duration::from_secs(50));
        platform.remove_machine(APP, &first);
        first
    };
    world.run_for(14).await;
    let told = named(&world, Operation::Start);
    assert_eq!(told.len(), 2, "the next one is started in its place");
    assert!(told.contains(&first));
    world.run_for(16).await;
    assert_eq!(world.requests(Operation::Create), 1, "it is replaced");
}

#[tokio::test(start_paused = true)]
async fn a_clone_that_its_start_finds_gone_is_a_failed_create() {
    let mut world = world(
        "2",
        &[
            ("FAS_STARTED_MACHINE_COUNT", "2"),
            ("FAS_INITIAL_MACHINE_STATE", "stopped"),
        ],
    );
    {
        let mut platform = world.platform();
        platform
            .add_machine(APP, NewMachine::in_region("ord"))
            .unwrap();
        platform.add_fault(Fault::status(404).on(Operation::Start));
    }
    // Created at 0 and 30 s and gone at 15 and 45 s: after the second one two intervals go by.
    world.run_for(70).await;
    assert_eq!(named(&world, Operation::Start).len(), 2);
    assert_eq!(world.requests(Operation::Create), 2);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_is_answered_with_a_machine_that_there_was_has_no_known_outcome() {
    for (lag, of_the_group) in [(0, true), (40, true), (0, false)] {
        let logs = Logs::capture();
        let mut world = world("8", &[("FAS_MACHINE_CEILING", "8")]);
        let first = {
            let mut platform = world.platform();
            let machine = NewMachine::in_region("ord");
            let ids = platform.add_machines(APP, 6, &machine).unwrap();
            let other = NewMachine::in_region("iad").group("worker");
            let others = platform.add_machines(APP, 1, &other).unwrap();
            // What a list tells of a machine on a lost host has no configuration.
            let host = Arc::clone(&platform.machine(APP, &others[0]).unwrap().host);
            platform.set_host_status(&host, HostStatus::Unreachable);
            Arc::clone(if of_the_group { &ids[0] } else { &others[0] })
        };
        world.platform().set_list_lag(APP, Duration::from_secs(lag));
        tokio::time::sleep(Duration::from_secs(120)).await;
        let known = format!(r#"{{"id":"{first}","state":"created","region":"ord"}}"#);
        let known = Effect::AnswerAfter(Canned::json(200, &known));
        let fault = Fault::new(known).on(Operation::Create);
        world.platform().add_fault(fault.times(2));
        world.run_for(14).await;
        assert_eq!(world.requests(Operation::Create), 2, "those side by side");
        let told = format!("it names machine {first}, which existed before");
        let lines = logs.with(&told);
        assert_eq!(lines.len(), 1, "lag {lag}");
        assert!(lines[0].message.ends_with("(2 times)"), "{lines:?}");
        assert!(logs.with("created machine").is_empty(), "lag {lag}");
        world.run_for(300).await;
        assert_eq!(world.created(), 8, "lag {lag}");
        assert_eq!(world.requests(Operation::Create), 2, "lag {lag}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_creates_that_are_answered_with_one_machine_made_one_for_certain() {
    let mut world = world("3", &[("FAS_API_CONCURRENCY", "1")]);
    let standing = NewMachine::in_region("ord");
    world.platform().add_machines(APP, 1, &standing).unwrap();
    let same = Canned::json(200, r#"{"id":"9185e0","state":"created","region":"ord"}"#);
    let fault = Fault::new(Effect::Answer(same)).on(Operation::Create);
    world.platform().add_fault(fault.times(2));
    let logs = Logs::capture();
    world.run_for(14).await;
    assert_eq!(logs.with("created machine 9185e0").len(), 1);
    assert_eq!(logs.with("it names machine 9185e0").len(), 1);
}

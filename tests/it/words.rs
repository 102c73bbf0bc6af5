//! What the log says of an app's passes: what decided, once, in the order in which it happened, and nothing that contradicts
//! it.

use fly_autoscaler::sim::{Canned, Effect, Fault, MachineState, NewMachine, Operation, Release};
use jiff::SignedDuration;
use tracing::Level;

use crate::world::{APP, Logs, World};

const CREATED: (&str, &str) = ("FAS_CREATED_MACHINE_COUNT", "queue_depth");
const STARTED: (&str, &str) = ("FAS_STARTED_MACHINE_COUNT", "queue_depth");

fn world(depth: f64, settings: &[(&str, &str)], running: usize, stopped: usize) -> World {
    let world = World::queue(depth, settings);
    let machine = || NewMachine::in_region("ord");
    let add = |count, machine: NewMachine| {
        world.platform().add_machines(APP, count, &machine).unwrap();
    };
    add(running, machine());
    add(stopped, machine().state(MachineState::Stopped));
    world
}

/// The level and the message of each line with one of these texts.
fn told(logs: &Logs, texts: &[&str]) -> Vec<(Level, String)> {
    let lines = logs.lines().into_iter();
    let told = lines.filter(|line| texts.iter().any(|text| line.message.contains(text)));
    told.map(|line| (line.level, line.message)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_change_says_in_each_pass_what_limited_it() {
    let logs = Logs::capture();
    let settings = [
        CREATED,
        ("FAS_MACHINE_CEILING", "8"),
        ("FAS_SCALE_UP_STEP", "1"),
    ];
    let mut world = world(10.0, &settings, 3, 0);
    world.run_for(31).await;
    let reasons: Vec<String> = told(&logs, &["create 1 machine like"])
        .into_iter()
        .map(|(_, message)| message.split_once(": ").unwrap().1.to_owned())
        .collect();
    let reason = |exist: u32| {
        let wanted = exist + 1;
        format!(
            "{exist} machines exist, {wanted} wanted; created: expression 10, limited to 8 by FAS_MACHINE_CEILING, limited to \
             {wanted} by FAS_SCALE_UP_STEP"
        )
    };
    assert_eq!(reasons, [reason(3), reason(4), reason(5)]);
}

#[tokio::test(start_paused = true)]
async fn what_decided_is_told_before_it_is_done() {
    let logs = Logs::capture();
    let settings = [
        CREATED,
        ("FAS_FALLBACK_CREATED_MACHINE_COUNT", "4"),
        ("FAS_FALLBACK_AFTER", "1"),
    ];
    let mut world = world(10.0, &settings, 3, 0);
    world.platform().set_gauge(APP, "queue_depth", None);
    world.run_for(1).await;
    let told = told(&logs, &["fallback", "create 1", "created machine"]);
    let levels: Vec<Level> = told.iter().map(|(level, _)| *level).collect();
    assert_eq!(levels, [Level::WARN, Level::INFO, Level::INFO], "{told:#?}");
    assert!(
        told[1].1.ends_with(
            "; created: expression without a value, 4 by FAS_FALLBACK_CREATED_MACHINE_COUNT"
        ),
        "{told:#?}"
    );

    let logs = Logs::capture();
    let mut world = self::world(5.0, &[STARTED], 2, 1);
    world.run_for(1).await;
    let told = self::told(&logs, &["machine"]);
    let messages: Vec<&str> = told.iter().map(|(_, message)| message.as_str()).collect();
    let [note, change, done] = messages[..] else {
        panic!("{told:#?}")
    };
    assert_eq!(note, "3 machines to start, but only 1 can be started");
    assert_eq!(change, "start 1 machine: 2 machines are started, 5 wanted");
    assert!(done.starts_with("started machine "), "{done}");
}

#[tokio::test(start_paused = true)]
async fn a_recovery_is_told_once() {
    for (expression, text, level) in [
        (
            "queue_depth",
            "recovered: this pass succeeded after 3 failed passes",
            Level::ERROR,
        ),
        (
            "queue_depth ?? 3",
            "metric queue_depth has a value again (3) after 3 passes without one",
            Level::WARN,
        ),
    ] {
        let logs = Logs::capture();
        let settings = [("FAS_CREATED_MACHINE_COUNT", expression)];
        let mut world = world(3.0, &settings, 3, 0);
        world.platform().set_gauge(APP, "queue_depth", None);
        world.run_for(44).await;
        let failed = told(&logs, &["returned nothing"]);
        assert_eq!(failed.len(), 3, "{expression}");
        assert!(failed.iter().all(|(found, _)| *found == level));
        world.depth(3.0);
        world.run_for(60).await;
        let again = told(&logs, &["recovered", "again"]);
        assert_eq!(again, [(Level::INFO, text.to_owned())], "{expression}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_destroy_that_is_refused_again_is_a_warning_with_flys_words() {
    let logs = Logs::capture();
    let mut world = world(2.0, &[CREATED], 2, 1);
    let refusal = Canned::json(412, r#"{"error":"machine is held back"}"#);
    let refusal = Fault::new(Effect::Answer(refusal)).on(Operation::Destroy);
    world.platform().add_fault(refusal);
    world.run_for(300).await;
    assert!(
        world.requests(Operation::Destroy) > 10,
        "it is tried in each pass"
    );
    let told = told(&logs, &["skipped"]);
    let levels: Vec<Level> = told.iter().map(|(level, _)| *level).collect();
    assert_eq!(levels, [Level::INFO, Level::WARN], "{told:#?}");
    for (_, message) in &told {
        let said = " skipped: HTTP 412: machine is held back (its state does not allow a destroy)";
        assert!(message.ends_with(said), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deploy_is_not_told_beside_what_it_keeps_from_happening() {
    let logs = Logs::capture();
    let mut world = world(1.0, &[CREATED], 1, 2);
    world
        .platform()
        .add_machines(APP, 1, &NewMachine::in_region("ord"))
        .unwrap();
    let created_at = world
        .platform()
        .wall()
        .checked_sub(SignedDuration::from_secs(60))
        .unwrap();
    let release = Release {
        version: 7,
        status: "running".to_owned(),
        created_at,
        updated_at: created_at,
        image: "registry.fly.io/app:v7".to_owned(),
    };
    world.platform().set_release(APP, Some(release));
    world.run_for(20).await;
    let told = told(&logs, &["will be destroyed", "is being deployed"]);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].1.starts_with("release v7 is being deployed"));
}

#[tokio::test(start_paused = true)]
async fn a_started_target_above_the_created_one_is_told_once() {
    let logs = Logs::capture();
    let settings = [
        ("FAS_CREATED_MACHINE_COUNT", "1 + 0 * queue_depth"),
        ("FAS_STARTED_MACHINE_COUNT", "4 + 0 * queue_depth"),
    ];
    let mut world = world(1.0, &settings, 1, 0);
    world.run_for(120).await;
    let told = told(&logs, &["above"]);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(
        told[0],
        (
            Level::WARN,
            "the started target 4 is above the created target 1: so many machines cannot be started, because fewer exist"
                .to_owned()
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_changes_nothing_counts_the_machines() {
    let logs = Logs::capture();
    let mut world = world(3.0, &[CREATED], 2, 1);
    world.run_for(1).await;
    let told = told(&logs, &["nothing to do"]);
    let expected = "3 machines (2 started, 1 stopped); nothing to do: as many machines as wanted";
    assert_eq!(told, [(Level::INFO, expected.to_owned())]);
}

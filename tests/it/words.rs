//! What the log says of an app's passes: what decided, once, in the order in which it happened, and nothing that contradicts
//! it.

use fly_autoscaler::sim::{Canned, Effect, Fault, MachineState, NewMachine, Operation, Release};
use jiff::SignedDuration;
use tracing::Level;

use crate::world::{APP, LogLine, Logs, World};

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
    // What the passes could do without is not repeated.
    for (expression, text, level, lines) in [
        (
            "queue_depth",
            "recovered: this pass succeeded after 3 failed passes",
            Level::ERROR,
            3,
        ),
        (
            "queue_depth ?? 3",
            "metric queue_depth has a value again (3) after 3 passes without one",
            Level::WARN,
            1,
        ),
    ] {
        let logs = Logs::capture();
        let settings = [("FAS_CREATED_MACHINE_COUNT", expression)];
        let mut world = world(3.0, &settings, 3, 0);
        world.platform().set_gauge(APP, "queue_depth", None);
        world.run_for(44).await;
        let failed = told(&logs, &["returned nothing"]);
        assert_eq!(failed.len(), lines, "{expression}");
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
    let told = told(&logs, &[" skipped: "]);
    let levels: Vec<Level> = told.iter().map(|(level, _)| *level).collect();
    assert_eq!(levels, [Level::INFO, Level::WARN], "{told:#?}");
    for (_, message) in &told {
        let said = " skipped: HTTP 412: machine is held back (its state does not allow a destroy)";
        assert!(message.ends_with(said), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn destroys_that_are_refused_again_and_again_are_told_and_counted() {
    for refusal in [409, 412] {
        let logs = Logs::capture();
        let settings = [CREATED, ("FAS_DESTROY_RUNNING_AFTER", "0s")];
        let mut world = world(1.0, &settings, 4, 0);
        let refused = Fault::status(refusal).on(Operation::Stop);
        world.platform().add_fault(refused);
        world.run_for(150).await;
        let stops = u64::try_from(world.requests(Operation::Stop)).unwrap();
        assert!(stops > 20, "{refusal}: each pass tries all: {stops}");
        for call in ["stop", "destroy"] {
            let failed = format!(r#"fas_machine_{call}_count{{status="failed"}}"#);
            assert_eq!(world.count(&failed), stops, "{refusal}: {call}");
        }
        // What is announced has an outcome, in each pass.
        let lines = logs.lines();
        let announced = |line: &LogLine| line.message.starts_with("destroy 3 machines");
        let passes: Vec<&[LogLine]> = lines.split(announced).skip(1).collect();
        assert_eq!(passes.len(), 11, "{refusal}");
        for (number, pass) in passes.iter().enumerate() {
            let told = pass.iter().filter(|line| line.message.contains("skipped"));
            // One line a machine, or one for all that the log has told of before.
            let machines = told.map(|line| {
                assert!(line.message.contains(": HTTP 4"), "{refusal}: {line:#?}");
                let Some((count, _)) = line.message.split_once(" skipped again: HTTP 4") else {
                    return 1;
                };
                assert_eq!(line.level, Level::INFO);
                count.split(' ').next().unwrap().parse().unwrap()
            });
            let machines: u32 = machines.sum();
            assert_eq!(machines, 3, "{refusal}, pass {number}: {pass:#?}");
        }
        let summaries = logs.with("3 machines skipped again: HTTP 4");
        assert!(summaries.len() > 5, "{refusal}: {summaries:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn starts_that_are_refused_again_and_again_are_told() {
    let logs = Logs::capture();
    let mut world = world(2.0, &[STARTED], 0, 2);
    world
        .platform()
        .add_fault(Fault::status(409).on(Operation::Start));
    world.run_for(61).await;
    let again = "2 machines skipped again: HTTP 409";
    let told = told(&logs, &["start 2 machines", again]);
    assert_eq!(told.len(), 5 + 3, "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_has_recovered_while_it_still_waits_or_is_refused() {
    let create = |status| Fault::status(status).on(Operation::Create);
    let destroy = |status| Fault::status(status).on(Operation::Destroy);
    // What is wanted, what fails the first passes, what the passes after that meet, and what is done in the end.
    for (depth, outage, afterwards, done) in [
        (4.0, create(422), None, "created machine"),
        (4.0, create(500), None, "created machine"),
        (2.0, destroy(500), Some(destroy(412)), "destroyed machine"),
        (2.0, destroy(422), Some(destroy(409)), "destroyed machine"),
    ] {
        let logs = Logs::capture();
        let mut world = world(depth, &[CREATED], 2, 1);
        let first = world.platform().add_fault(outage);
        world.run_for(20).await;
        world.platform().remove_fault(first);
        let refused = afterwards.map(|fault| world.platform().add_fault(fault));
        world.run_for(60).await;
        if let Some(refused) = refused {
            assert!(logs.with("recovered").is_empty(), "{done}");
            world.platform().remove_fault(refused);
        }
        world.run_for(200).await;
        let told = told(&logs, &["recovered", done]);
        let [(_, change), (_, recovery)] = &told[..] else {
            panic!("{done}: {told:#?}");
        };
        assert!(change.starts_with(done), "{told:#?}");
        assert!(recovery.starts_with("recovered"), "{told:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_done_recently_says_whether_there_are_others() {
    let message = |logs: &Logs, part: &str| {
        let last = logs.with(part).pop();
        last.map(|line| line.message).unwrap_or_default()
    };
    let again = "): there are not enough others, so each pass tries them again";
    for (operation, settings, depth, running, stopped, part) in [
        (
            Operation::Destroy,
            CREATED,
            1.0,
            1,
            2,
            "2 machines could not be destroyed recently (",
        ),
        (
            Operation::Start,
            STARTED,
            2.0,
            0,
            2,
            "2 machines did not keep running after a recent start (",
        ),
    ] {
        let logs = Logs::capture();
        let mut world = world(depth, &[settings], running, stopped);
        world.platform().add_fault(
            Fault::new(match operation {
                // Accepted, and without effect.
                Operation::Start => Effect::Answer(Canned::json(200, "{}")),
                _ => Effect::Answer(Canned::json(409, "{}")),
            })
            .on(operation),
        );
        world.run_for(400).await;
        let told = message(&logs, part);
        assert!(told.ends_with(again), "{part}: {:#?}", logs.lines());
    }
    // One that is refused, and one that goes in its place.
    let logs = Logs::capture();
    let mut world = world(2.0, &[CREATED], 1, 3);
    world
        .platform()
        .add_fault(Fault::status(409).on(Operation::Destroy).once());
    world.run_for(20).await;
    let told = message(&logs, "could not be destroyed recently");
    assert!(told.starts_with("1 machine could not"), "{told}");
    assert!(
        told.ends_with("): other machines are tried first"),
        "{told}"
    );
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
            "the started target 4 is above the created target 1: only 1 machine will exist"
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

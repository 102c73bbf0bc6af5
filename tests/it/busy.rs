//! Which running machine goes first, where a query says how busy they are.

use fly_autoscaler::sim::{Canned, Effect, Fault, MachineState, NewMachine, Operation};

use crate::world::{APP, Logs, World};

/// A world with so many running machines, each as busy as this says, and the settings of a queue.
fn world_of(loads: &[Option<f64>], settings: &[(&str, &str)]) -> (World, Vec<String>) {
    let own = [
        ("FAS_PROMETHEUS_BUSY_QUERY", "busy_workers{app='$APP_NAME'}"),
        ("FAS_DESTROY_RUNNING_AFTER", "0s"),
    ];
    let world = World::queue(1.0, &[&own, settings].concat());
    let mut ids = Vec::new();
    for load in loads {
        let machine = NewMachine::in_region("ord");
        let id = world.platform().add_machine(APP, machine).unwrap();
        let labels = [("app", APP), ("instance", &*id)];
        world.platform().set_series("busy_workers", &labels, *load);
        ids.push(id.to_string());
    }
    (world, ids)
}

/// The machines that still run.
fn running(world: &World) -> Vec<String> {
    let platform = world.platform();
    let machines = platform.app(APP).unwrap().living("app");
    let running = machines.filter(|machine| machine.state == MachineState::Started);
    running.map(|machine| machine.id.to_string()).collect()
}

/// How often it was asked how busy machines are.
fn questions(world: &World) -> usize {
    let platform = world.platform();
    let queries = platform.requests_for(Operation::Query);
    queries
        .filter(|request| String::from_utf8_lossy(&request.body).contains("busy_workers"))
        .count()
}

#[tokio::test(start_paused = true)]
async fn the_busiest_stays_and_nobody_is_asked_while_nothing_that_runs_is_to_go() {
    for target in ["FAS_CREATED_MACHINE_COUNT", "FAS_STARTED_MACHINE_COUNT"] {
        let (mut world, ids) = world_of(
            &[Some(1.0), Some(0.0), Some(7.0)],
            &[(target, "queue_depth")],
        );
        world.depth(3.0);
        world.run_for(60).await;
        assert_eq!(questions(&world), 0);
        world.depth(1.0);
        world.run_for(30).await;
        assert_eq!(running(&world), [ids[2].as_str()], "{target}");
        assert!(questions(&world) > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn over_the_limit_nothing_goes_until_it_is_idle() {
    let settings = [
        ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
        ("FAS_BUSY_LIMIT", "0"),
    ];
    let (mut world, ids) = world_of(&[Some(2.0), None, Some(3.0)], &settings);
    world.run_for(60).await;
    assert_eq!(running(&world).len(), 3, "each may be busy");
    let labels = [("app", APP), ("instance", ids[0].as_str())];
    world
        .platform()
        .set_series("busy_workers", &labels, Some(0.0));
    world.run_for(30).await;
    assert_eq!(running(&world), ids[1..]);
    let status = world.get("/api/status").await.2;
    assert!(status.contains(r#""code":"busy""#), "{status}");
}

#[tokio::test(start_paused = true)]
async fn what_is_only_to_go_later_is_told_as_what_may_go() {
    let logs = Logs::capture();
    let settings = [
        ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
        ("FAS_BUSY_LIMIT", "0"),
        ("FAS_DESTROY_RUNNING_AFTER", "45s"),
    ];
    let loads = [Some(2.0), Some(0.0), Some(3.0), Some(4.0)];
    let (mut world, ids) = world_of(&loads, &settings);
    world.run_for(90).await;
    let left = running(&world);
    assert!(left.len() == 3 && !left.contains(&ids[1]), "{left:?}");
    let waits = logs.with("will be destroyed after");
    assert_eq!(waits.len(), 1, "{waits:#?}");
    assert_eq!(
        waits[0].message,
        "up to 3 running machines will be destroyed after 45 s of surplus: as many as are not too busy then"
    );
    let acts = logs.with("destroy 1 machine: ");
    assert_eq!(acts.len(), 1, "{:#?}", logs.lines());
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_no_running_machine_goes_and_somebody_is_told() {
    let logs = Logs::capture();
    let settings = [("FAS_CREATED_MACHINE_COUNT", "queue_depth")];
    let (mut world, ids) = world_of(&[None, None], &settings);
    world.run_for(60).await;
    assert_eq!(running(&world).len(), 2);
    assert!(
        !logs
            .with("FAS_PROMETHEUS_BUSY_QUERY has no answer")
            .is_empty()
    );
    assert!(!logs.with("metric FAS_PROMETHEUS_BUSY_QUERY: ").is_empty());
    let (code, _, text) = world.get("/readyz").await;
    assert_eq!(code, 200, "{text}");
    let labels = [("app", APP), ("instance", ids[0].as_str())];
    world
        .platform()
        .set_series("busy_workers", &labels, Some(0.0));
    world.run_for(30).await;
    assert_eq!(running(&world).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_server_warns_of_is_told_once_for_each_change() {
    let logs = Logs::capture();
    let settings = [
        ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
        ("FAS_BUSY_LIMIT", "0"),
    ];
    let (mut world, ids) = world_of(&[Some(0.0), Some(0.0)], &settings);
    // It is busy, so that each pass asks again; and the number of the queue is one as well.
    let answer = format!(
        r#"{{"status":"success","warnings":["partial, store gone"],"data":{{"resultType":"vector","result":[
            {{"metric":{{"instance":"{}"}},"value":[1,"1"]}}]}}}}"#,
        ids[0]
    );
    let canned = Effect::Answer(Canned::json(200, &answer));
    let fault = Fault::new(canned).on(Operation::Query);
    world.platform().add_fault(fault);
    world.run_for(60).await;
    let told = "about the query of FAS_PROMETHEUS_BUSY_QUERY: partial, store gone";
    assert_eq!(logs.with(told).len(), 1);
    assert_eq!(running(&world).len(), 2, "under a limit, both may be busy");
}

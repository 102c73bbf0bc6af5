//! The time of a pass: no part of it uses up the time of the next, no cap hides behind `FAS_TIMEOUT`, and a pass that only
//! waits holds nobody up.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fly_autoscaler::{
    sim::{Effect, Fault, MachineState, NewMachine, Operation},
    transport::{HttpTransport, ProxyRules, Transport as _},
};
use http::Request;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::world::{APP, World};

const CREATED: (&str, &str) = ("FAS_CREATED_MACHINE_COUNT", "queue_depth");

fn machine() -> NewMachine {
    NewMachine::in_region("ord")
}

fn slow(world: &World, operation: Operation, seconds: u64) {
    let slow = Effect::SlowAnswer(Duration::from_secs(seconds));
    world.platform().add_fault(Fault::new(slow).on(operation));
}

#[tokio::test(start_paused = true)]
async fn what_is_slow_has_the_time_that_the_timeout_says() {
    // The timeout, and how many seconds the metric, the list and the release take.
    for (timeout, metric, list, release) in [
        ("120s", 31, 50, 0),
        ("120s", 59, 59, 29),
        ("60s", 0, 16, 0),
        ("60s", 29, 29, 14),
        ("30s", 14, 14, 7),
        ("10s", 4, 7, 0),
    ] {
        let settings = [CREATED, ("FAS_TIMEOUT", timeout), ("FAS_INTERVAL", "300s")];
        let mut world = World::queue(2.0, &settings);
        world.platform().add_machine(APP, machine()).unwrap();
        slow(&world, Operation::Query, metric);
        slow(&world, Operation::List, list);
        slow(&world, Operation::Graphql, release);
        world.run_for(299).await;
        let name = format!("{timeout}, {metric} {list} {release}");
        assert_eq!(world.all_pass_errors(), [].into(), "{name}");
        assert_eq!(world.created(), 2, "{name}");
        assert_eq!(world.requests(Operation::List), 1, "{name}: at once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_began_nothing_for_want_of_time_has_failed() {
    // How many machines there should be where there is one; whether the passes fail.
    for (depth, fails) in [(3.0, true), (1.0, false)] {
        let settings = [CREATED, ("FAS_TIMEOUT", "10s")];
        let mut world = World::queue(depth, &settings);
        world.platform().add_machine(APP, machine()).unwrap();
        slow(&world, Operation::List, 8);
        world.run_for(119).await;
        assert_eq!(world.writes(), 0);
        let timeouts = world.pass_errors("timeout");
        let passes = world.series(r#"fas_failing_passes{app="my-target-app",group="app"}"#);
        let (status, _, body) = world.get("/readyz").await;
        if fails {
            assert!(timeouts > 5, "{timeouts}");
            assert!(passes > Some(5.0), "{passes:?}");
            assert_eq!(status, 503);
            assert!(
                body.contains("the pass deadline came before anything was done: create 2 machines"),
                "{body}"
            );
        } else {
            assert_eq!((timeouts, passes, status), (0, Some(0.0), 200));
        }
    }
}

/// A server that answers when half a minute has passed, over the real transport.
#[tokio::test]
async fn the_transport_has_no_time_limit_of_its_own() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        assert!(connection.read(&mut request).await.unwrap() > 0);
        // From here on only timers are waited for, the client's and this one.
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(600)).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        connection.write_all(answer).await.unwrap();
        connection
    });
    let transport = HttpTransport::new(None, ProxyRules::default()).unwrap();
    let request = Request::get(format!("http://{address}/"));
    let request = request.body(Bytes::new()).unwrap();
    let answer = transport.exchange(request, 100).await.unwrap();
    assert_eq!(answer.into_body(), "ok");
    server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_metric_that_hangs_leaves_time_for_what_is_to_be_done_without_it() {
    let cases: [(&str, &[(&str, &str)]); 4] = [
        ("floor", &[CREATED, ("FAS_MACHINE_FLOOR", "4")]),
        ("??", &[("FAS_CREATED_MACHINE_COUNT", "queue_depth ?? 4")]),
        (
            "fallback",
            &[
                CREATED,
                ("FAS_FALLBACK_CREATED_MACHINE_COUNT", "4"),
                ("FAS_FALLBACK_AFTER", "1"),
            ],
        ),
        (
            "no timeout to speak of",
            &[
                ("FAS_CREATED_MACHINE_COUNT", "queue_depth ?? 4"),
                ("FAS_TIMEOUT", "120s"),
            ],
        ),
    ];
    for (name, settings) in cases {
        let settings = [settings, &[("FAS_INTERVAL", "300s")]].concat();
        let mut world = World::queue(1.0, &settings);
        world.platform().add_machine(APP, machine()).unwrap();
        let hang = Fault::new(Effect::Hang).on(Operation::Query);
        world.platform().add_fault(hang);
        slow(&world, Operation::Graphql, 8);
        world.run_for(200).await;
        assert_eq!(world.created(), 4, "{name}");
        assert_eq!(world.requests(Operation::List), 1, "{name}: in one pass");
    }
}

/// A machine that takes minutes to stop, as one that finishes its jobs.
fn draining() -> NewMachine {
    let config = json!({
        "image": "registry.fly.io/app:v1",
        "metadata": { "fly_process_group": "app" },
        "stop_config": { "timeout": "4m" },
    });
    machine()
        .config(&config.to_string())
        .stop_takes(Duration::from_secs(200))
}

#[tokio::test(start_paused = true)]
async fn a_victim_is_waited_for_for_five_seconds() {
    let settings = [
        CREATED,
        ("FAS_DESTROY_RUNNING_AFTER", "0s"),
        ("FAS_INTERVAL", "300s"),
    ];
    // More of them than calls side by side.
    for victims in [1, 20] {
        let mut world = World::queue(1.0, &settings);
        let platform = world.platform().add_machines(APP, victims + 1, &draining());
        platform.unwrap();
        world.run_for(299).await;
        let took = world.series("fas_pass_duration_seconds_sum").unwrap();
        assert!(took <= 6.0, "{victims}: {took}");
        assert_eq!(world.requests(Operation::Stop), victims, "{victims}");
        world.run_for(20).await;
        assert_eq!(world.requests(Operation::Stop), victims, "no other");
        assert_eq!(world.created(), 1, "{victims}: a later pass destroys them");
        assert_eq!(world.in_state(&MachineState::Started), 1, "{victims}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_victim_that_stops_in_time_is_destroyed_by_the_same_pass() {
    let settings = [CREATED, ("FAS_DESTROY_RUNNING_AFTER", "0s")];
    let mut world = World::queue(1.0, &settings);
    let quick = machine().stop_takes(Duration::from_secs(4));
    world.platform().add_machines(APP, 2, &quick).unwrap();
    world.run_for(6).await;
    assert_eq!(world.created(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_destroy_is_begun_that_would_be_cut_off_by_the_end_of_its_pass() {
    let settings = [
        CREATED,
        ("FAS_DESTROY_RUNNING_AFTER", "0s"),
        ("FAS_TIMEOUT", "5s"),
    ];
    let mut world = World::queue(1.0, &settings);
    let victim = machine().stop_takes(Duration::from_secs(4));
    world.platform().add_machines(APP, 2, &victim).unwrap();
    slow(&world, Operation::Destroy, 1);
    world.run_for(14).await;
    assert_eq!(world.requests(Operation::Stop), 1);
    assert_eq!(world.requests(Operation::Destroy), 0, "there is 1 s left");
    world.run_for(10).await;
    assert_eq!(world.requests(Operation::Destroy), 1, "by the next pass");
    assert_eq!(world.created(), 1);
    assert_eq!(world.all_pass_errors(), [].into());
}

#[tokio::test(start_paused = true)]
async fn apps_that_drain_keep_no_other_app_waiting() {
    let settings = [
        ("FAS_APP_NAME", "*"),
        ("FAS_ORG", "acme"),
        ("FAS_CONCURRENCY", "4"),
        ("FAS_DESTROY_RUNNING_AFTER", "0s"),
        CREATED,
    ];
    let mut world = World::queue(1.0, &settings);
    world.platform().add_machine(APP, machine()).unwrap();
    let apps: Vec<String> = (0..48)
        .map(|number| format!("drains-{number:02}"))
        .collect();
    {
        let mut platform = world.platform();
        for app in &apps {
            platform.add_app(app, "acme");
            platform.add_machines(app, 2, &draining()).unwrap();
            platform.set_gauge(app, "queue_depth", Some(2.0));
        }
    }
    world.run_for(60).await;
    for app in &apps {
        world.platform().set_gauge(app, "queue_depth", Some(1.0));
    }
    world.depth(2.0);
    world.run_for(16).await;
    assert_eq!(world.created(), 2, "within an interval");
    let stopped: std::collections::BTreeSet<Arc<str>> = {
        let platform = world.platform();
        let stops = platform.requests_for(Operation::Stop);
        stops.filter_map(|stop| stop.app.clone()).collect()
    };
    assert_eq!(stopped.len(), 48, "they all drain");
}

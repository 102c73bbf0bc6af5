//! Ends and faults where sockets matter: the real program on real sockets, and shutdowns at any point under paused time.

use std::time::Duration;

use fly_autoscaler::sim::{Canned, Effect, Fault, MachineState, NewMachine, Operation, Timing};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    program::{Daemon, LOOKS, PAUSE, Served, run, until},
    world::{APP, Logs, World},
};

const CREATED: (&str, &str) = ("FAS_CREATED_MACHINE_COUNT", "queue_depth");

fn machine() -> NewMachine {
    NewMachine::in_region("ord")
}

async fn scene(depth: f64, running: usize, stopped: usize) -> Served {
    let served = Served::new().await;
    {
        let mut platform = served.platform();
        platform.add_machines(APP, running, &machine()).unwrap();
        platform
            .add_machines(APP, stopped, &machine().state(MachineState::Stopped))
            .unwrap();
        platform.set_gauge(APP, "queue_depth", Some(depth));
    }
    served
}

#[tokio::test]
async fn either_signal_ends_it_in_order() {
    for name in ["INT", "TERM"] {
        let served = scene(1.0, 1, 0).await;
        let mut daemon = Daemon::start(&served, &[CREATED]).await;
        served.more(Operation::List, 3).await;
        daemon.signal(name);
        assert_eq!(daemon.ends().await.code(), Some(0), "{name}");
        assert!(
            daemon.has_said(&format!(r#""signal":"SIG{name}""#)),
            "{name}"
        );
        assert!(daemon.has_said(r#""msg":"stopped""#), "{name}");
    }
}

/// The signals reach it while a request of this kind hangs.
async fn ends_while_hanging(operation: Operation, before: bool) {
    let served = scene(3.0, 1, 0).await;
    let effect = if before {
        Effect::Hang
    } else {
        Effect::HangAfter
    };
    served
        .platform()
        .add_fault(Fault::new(effect).on(operation));
    let mut daemon = Daemon::start(&served, &[CREATED]).await;
    until("the request that hangs", || served.requests(operation) > 0).await;
    daemon.signal("TERM");
    assert_eq!(daemon.ends().await.code(), Some(0), "{operation:?}");
}

#[tokio::test]
async fn it_ends_while_a_query_hangs() {
    ends_while_hanging(Operation::Query, true).await;
}

#[tokio::test]
async fn it_ends_while_a_list_hangs() {
    ends_while_hanging(Operation::List, true).await;
}

#[tokio::test]
async fn it_ends_while_the_question_about_the_release_hangs() {
    ends_while_hanging(Operation::Graphql, true).await;
}

#[tokio::test]
async fn it_ends_while_a_create_hangs() {
    ends_while_hanging(Operation::Create, false).await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM")] {
        let served = scene(3.0, 1, 0).await;
        served
            .platform()
            .add_fault(Fault::new(Effect::Hang).on(Operation::Create));
        let mut daemon = Daemon::start(&served, &[CREATED]).await;
        until("a create", || served.requests(Operation::Create) > 0).await;
        daemon.signal(first);
        until("the first signal is heard", || {
            daemon.has_said(": stopping")
        })
        .await;
        daemon.signal(second);
        assert_eq!(daemon.ends().await.code(), Some(130), "{first}, {second}");
        assert!(!daemon.has_said(r#""msg":"stopped""#));
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_at_any_point_begins_nothing_and_ends_within_four_seconds() {
    let settings = [
        CREATED,
        ("FAS_DESTROY_RUNNING_AFTER", "0s"),
        ("FAS_API_CONCURRENCY", "2"),
    ];
    for (name, depth, good) in [
        ("asking", 9.0, 0),
        ("creating", 9.0, 1),
        ("destroying", 1.0, 1),
    ] {
        for effect in [
            None,
            Some(Effect::SlowAnswer(Duration::from_millis(2500))),
            Some(Effect::Hang),
            Some(Effect::Answer(Canned::status(429))),
            Some(Effect::Answer(Canned::status(500))),
        ] {
            for quarter in 0..40 {
                let name = format!("{name}, {effect:?}, after {} ms", quarter * 250);
                let logs = Logs::capture();
                let mut world = World::queue(depth, &settings);
                world.platform().add_machines(APP, 4, &machine()).unwrap();
                if let Some(effect) = &effect {
                    let mut platform = world.platform();
                    for operation in [
                        Operation::Create,
                        Operation::Destroy,
                        Operation::Stop,
                        Operation::Graphql,
                    ] {
                        platform.add_fault(Fault::new(effect.clone()).on(operation).after(good));
                    }
                }
                world.start();
                tokio::time::sleep(Duration::from_millis(quarter * 250)).await;
                let begun = world.platform().requests().total();
                let took = world.stop().await;
                assert!(took <= Duration::from_millis(4001), "{name}: {took:?}");
                // What was under way is recorded when it is processed.
                let more = world.platform().requests().total() - begun;
                assert_eq!(more, 0, "{name}: begun after the signal");
                assert!(
                    logs.with("shutting down").is_empty(),
                    "{name}: {:#?}",
                    logs.errors()
                );
                tokio::time::sleep(Duration::from_secs(100)).await;
                assert_eq!(world.platform().requests().total(), begun, "{name}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_between_attempts_does_not_hold_a_shutdown() {
    let logs = Logs::capture();
    let mut world = World::queue(3.0, &[CREATED]);
    world.platform().add_machines(APP, 1, &machine()).unwrap();
    let later = Canned::status(429).header("retry-after", "20");
    world
        .platform()
        .add_fault(Fault::new(Effect::Answer(later)).on(Operation::Create));
    world.run_for(1).await;
    let asked = world.requests(Operation::Create);
    assert!(asked > 0);
    let took = world.stop().await;
    assert!(took < Duration::from_millis(10), "{took:?}");
    assert_eq!(world.requests(Operation::Create), asked);
    assert!(logs.with("are abandoned").is_empty());
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_at_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let settings = [
        ("FAS_APP_NAME", APP),
        ("FAS_API_TOKEN", "FlyV1 fm2_machines"),
        ("FAS_METRICS_ADDRESS", &address),
        ("FAS_CREATED_MACHINE_COUNT", "2"),
        ("FLY_FLAPS_BASE_URL", "http://127.0.0.1:1"),
    ];
    let output = run(&["serve"], &settings);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let last = text.lines().last().unwrap();
    assert!(
        last.starts_with(&format!(
            "ERROR: cannot listen on {address} for /metrics (FAS_METRICS_ADDRESS): "
        )),
        "{text}"
    );
}

#[tokio::test]
async fn killed_in_the_midst_of_creating_and_started_again_it_reaches_the_exact_count() {
    let served = scene(8.0, 1, 0).await;
    for creates in [2, 5] {
        let daemon = Daemon::start(&served, &[CREATED]).await;
        until("some creates", || {
            served.requests(Operation::Create) >= creates
        })
        .await;
        daemon.signal("KILL");
        drop(daemon);
    }
    let daemon = Daemon::start(&served, &[CREATED]).await;
    until("all are there", || {
        served.platform().living(APP, "app") >= 8
    })
    .await;
    served.more(Operation::List, 5).await;
    assert_eq!(served.platform().living(APP, "app"), 8);
    assert_eq!(served.requests(Operation::Create), 7);
    assert_eq!(served.requests(Operation::Destroy), 0);
    drop(daemon);
}

/// Each fault once over a real socket: nothing is written while it lasts, it is counted, and what was wanted is done
/// when it is over.
async fn faults_over_sockets(operation: Operation, timeout: &str, faults: &[(&str, Effect, &str)]) {
    let served = scene(1.0, 1, 12).await;
    served.platform().set_timing(
        APP,
        Timing {
            start: Duration::ZERO,
            ..Timing::default()
        },
    );
    let settings = [
        ("FAS_STARTED_MACHINE_COUNT", "queue_depth"),
        ("FAS_TIMEOUT", timeout),
    ];
    let daemon = Daemon::start(&served, &settings).await;
    let mut wanted = 1;
    served.more(operation, 1).await;
    for (name, effect, reason) in faults {
        let before = daemon.pass_errors(reason).await;
        let fault = served
            .platform()
            .add_fault(Fault::new(effect.clone()).on(operation));
        // What was under way when the fault came ends in its own way.
        served.more(operation, 1).await;
        wanted += 1;
        served
            .platform()
            .set_gauge(APP, "queue_depth", Some(f64::from(wanted)));
        served.more(operation, 1).await;
        let mut counted = 0;
        for _ in 0..LOOKS {
            counted = daemon.pass_errors(reason).await - before;
            if counted > 0 {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        assert!(
            counted > 0,
            "{name}: counted as {reason}: {:#?}",
            daemon.lines()
        );
        let started = usize::try_from(wanted - 1).unwrap();
        assert_eq!(
            served.platform().started(APP),
            started,
            "{name}: nothing is written"
        );
        served.platform().remove_fault(fault);
        until(&format!("{operation:?}: {name}: it is made up for"), || {
            served.platform().started(APP) > started
        })
        .await;
    }
    served.more(operation, 2).await;
    assert_eq!(
        served.platform().started(APP),
        usize::try_from(wanted).unwrap()
    );
    for line in daemon.lines() {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert!(
            line["level"].is_string() && line["msg"].is_string(),
            "{line}"
        );
        let text = line.to_string();
        assert!(!text.contains("fm2_"), "a token: {text}");
        assert!(text.len() < 4000, "{text}");
    }
}

#[tokio::test]
async fn broken_connections_to_the_machines_api_are_survived() {
    let faults = [
        ("reset", Effect::Break, "list"),
        ("lost", Effect::LoseAnswer, "list"),
        ("truncated", Effect::CutBody(20), "list"),
        (
            "slow",
            Effect::SlowAnswer(Duration::from_secs(3)),
            "timeout",
        ),
        ("hanging", Effect::Hang, "timeout"),
    ];
    faults_over_sockets(Operation::List, "500ms", &faults).await;
}

#[tokio::test]
async fn monstrous_answers_of_the_machines_api_are_survived() {
    let faults = [
        ("short", Effect::Truncate(20), "list"),
        ("10 MB", Effect::Large(10 << 20), "list"),
        ("endless", Effect::Endless, "list"),
        ("1 MB of headers", Effect::LargeHeaders(1 << 20), "list"),
        ("HTML", Effect::Answer(Canned::html(200)), "list"),
    ];
    faults_over_sockets(Operation::List, "10s", &faults).await;
}

#[tokio::test]
async fn broken_connections_to_prometheus_are_survived() {
    let faults = [
        ("reset", Effect::Break, "metric"),
        ("truncated", Effect::CutBody(20), "metric"),
        ("hanging", Effect::Hang, "timeout"),
    ];
    faults_over_sockets(Operation::Query, "500ms", &faults).await;
}

#[tokio::test]
async fn monstrous_answers_of_prometheus_are_survived() {
    let faults = [
        ("11 MB", Effect::Large(11 << 20), "metric"),
        ("endless", Effect::Endless, "metric"),
        ("1 MB of headers", Effect::LargeHeaders(1 << 20), "metric"),
    ];
    faults_over_sockets(Operation::Query, "10s", &faults).await;
}

#[tokio::test]
async fn nothing_at_all_to_connect_to_is_survived_and_told() {
    let served = scene(2.0, 1, 0).await;
    let settings = [
        CREATED,
        ("FLY_FLAPS_BASE_URL", "http://127.0.0.1:1"),
        ("FAS_PROMETHEUS_ADDRESS", "http://user:hunter2@127.0.0.1:1"),
        ("FAS_PROMETHEUS_TOKEN", ""),
    ];
    let mut daemon = Daemon::start(&served, &settings).await;
    until("both are told", || {
        daemon.has_said("cannot list the machines")
            && daemon.has_said("cannot connect to Prometheus")
    })
    .await;
    assert!(
        daemon.has_said("onnection refused"),
        "{:#?}",
        daemon.lines()
    );
    assert!(!daemon.has_said("hunter2"), "{:#?}", daemon.lines());
    let ready = daemon.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    assert!(!ready.contains("hunter2"), "{ready}");
    assert!(daemon.get("/healthz").await.starts_with("HTTP/1.1 200 "));
    daemon.signal("INT");
    assert_eq!(daemon.ends().await.code(), Some(0));
}

#[tokio::test]
async fn idle_and_hostile_clients_of_the_port_keep_nobody_from_it() {
    let served = scene(1.0, 1, 0).await;
    let mut daemon = Daemon::start(&served, &[CREATED]).await;
    let mut idle = Vec::new();
    for number in 0..100 {
        let mut socket = TcpStream::connect(daemon.address).await.unwrap();
        if number % 2 == 0 {
            socket.write_all(b"GET /metrics HT").await.unwrap();
        }
        idle.push(socket);
    }
    let mut flood = TcpStream::connect(daemon.address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    // It hangs up before it has read all of it.
    let _ = flood.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = flood.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    for method in ["POST", "PUT", "DELETE"] {
        let mut socket = TcpStream::connect(daemon.address).await.unwrap();
        let request = format!(
            "{method} /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 405 "), "{text}");
    }
    let text = daemon.get("/metrics").await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(
        text.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{text}"
    );
    until("it is ready", || served.requests(Operation::List) > 3).await;
    assert!(daemon.get("/readyz").await.starts_with("HTTP/1.1 200 "));
    daemon.signal("TERM");
    assert_eq!(
        daemon.ends().await.code(),
        Some(0),
        "idle clients do not hold it"
    );
    drop(idle);
}

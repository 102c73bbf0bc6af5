//! What must not get out, and what must get out: secrets, a peer's characters, and lines that somebody reads too late.

use std::{net::TcpListener, process::Stdio, time::Duration};

use fly_autoscaler::{
    shown,
    sim::{Canned, Effect, Fault, NewMachine, Operation},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    program::{Daemon, Served, run, signal, until},
    world::{APP, Logs, QUEUE, World},
};

const CREATED: (&str, &str) = ("FAS_CREATED_MACHINE_COUNT", "queue_depth");

/// What Linux lets wait in a pipe.
const PIPE: usize = 64 * 1024;

/// The program with standard error on a pipe that is full and that nobody reads: passes go on, the port answers, and a
/// signal ends it. Once somebody reads again, the last line is there.
#[tokio::test]
async fn a_reader_of_standard_error_that_stalls_delays_nothing() {
    for is_read_again in [false, true] {
        let served = Served::new().await;
        served
            .platform()
            .add_machine(APP, NewMachine::in_region("ord"))
            .unwrap();
        served.platform().set_gauge(APP, "queue_depth", Some(1.0));
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut writer, &vec![b'x'; PIPE]).unwrap();
        // Free a moment ago; the program cannot say which one it has.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let base = format!("http://{}", served.address);
        let settings = [
            ("FAS_APP_NAME", APP),
            ("FAS_API_TOKEN", "FlyV1 fm2_machines"),
            ("FAS_INTERVAL", "50ms"),
            ("FAS_VERBOSE", "true"),
            ("FLY_FLAPS_BASE_URL", &base),
            ("FLY_API_BASE_URL", &base),
            CREATED,
        ];
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_fly-autoscaler"))
            .arg("serve")
            .env_clear()
            .envs(QUEUE.iter().copied())
            .envs(settings)
            .env("FAS_PROMETHEUS_ADDRESS", format!("{base}/prometheus/acme"))
            .env("FAS_METRICS_ADDRESS", format!("127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(writer)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        served.more(Operation::List, 20).await;
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        socket.write_all(request).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let reading = is_read_again.then(|| {
            std::thread::spawn(move || {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
                text
            })
        });
        signal(child.id().unwrap(), "TERM");
        let status = tokio::time::timeout(Duration::from_secs(5), child.wait())
            .await
            .expect("it ends within 5 s")
            .unwrap();
        assert_eq!(status.code(), Some(0));
        if let Some(reading) = reading {
            let text = reading.join().unwrap();
            let lines: Vec<&str> = text[PIPE..].lines().collect();
            assert!(lines[0].contains("starts to scale"), "{}", lines[0]);
            assert!(
                lines.last().unwrap().contains(r#""msg":"stopped""#),
                "{lines:#?}"
            );
            assert!(lines.len() > 20, "{lines:#?}");
        }
    }
}

/// A server that repeats what it was sent, in the encodings of its answer.
#[tokio::test]
async fn what_a_server_repeats_of_a_secret_is_not_shown() {
    let served = Served::new().await;
    served
        .platform()
        .add_machine(APP, NewMachine::in_region("ord"))
        .unwrap();
    let said = r"user hunt/er~7, hunt%2Fer~7, hunt&#47;er~7, FlyV1 fm2_machines. fm2%5Fdischarge, k7 and bWU6aHVudC9lcn43";
    let body = format!(
        r#"{{"status":"error","errorType":"bad_data","error":{}}}"#,
        json!(said).to_string().replace('/', r"\/")
    );
    for operation in [Operation::Query, Operation::List] {
        let effect = Effect::Answer(Canned::json(400, &body));
        served
            .platform()
            .add_fault(Fault::new(effect).on(operation));
    }
    let address = format!(
        "http://me:hunt%2Fer~7@{}/prometheus/acme?key=k7",
        served.address
    );
    let settings = [
        CREATED,
        ("FAS_PROMETHEUS_ADDRESS", address.as_str()),
        ("FAS_PROMETHEUS_TOKEN", ""),
    ];
    let daemon = Daemon::start(&served, &settings).await;
    until("both are told", || {
        daemon.has_said("cannot list the machines") && daemon.has_said("the query failed")
    })
    .await;
    let ready = daemon.get("/readyz").await;
    assert!(
        ready.starts_with("HTTP/1.1 503 ") && ready.contains("***"),
        "{ready}"
    );
    let text = format!("{}{ready}", daemon.lines().concat());
    assert!(
        text.contains("user ***, ***, ***, FlyV1 ***. ***, *** and ***"),
        "{text}"
    );
    for secret in [
        "hunt",
        "er~7",
        "machines,",
        "fm2",
        "discharge",
        "k7",
        "bWU6",
    ] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[test]
fn a_token_in_the_wrong_place_is_refused_without_showing_it() {
    let token = "FlyV1 fm2_lJPExyz/0123456789abcdef";
    let valid = [
        QUEUE,
        &[("FAS_APP_NAME", APP), ("FAS_API_TOKEN", token), CREATED],
    ]
    .concat();
    let cases = [
        (
            "FAS_PROMETHEUS_QUERY",
            "up{t='$FAS_API_TOKEN'}",
            "$FAS_API_TOKEN, which holds a secret",
        ),
        (
            "FAS_APP_NAME",
            token,
            "FAS_APP_NAME holds what looks like a Fly token",
        ),
        (
            "FAS_CREATED_MACHINE_COUNT",
            token,
            "FAS_CREATED_MACHINE_COUNT holds what looks like",
        ),
    ];
    for command in ["serve", "eval"] {
        for (name, value, expected) in cases {
            let output = run(&[command], &[valid.as_slice(), &[(name, value)]].concat());
            let text = String::from_utf8_lossy(&output.stderr).into_owned()
                + &*String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(1), "{name}");
            assert!(text.contains(expected), "{name}: {text}");
            for piece in ["fm2_", "lJPE", "0123456789"] {
                assert!(!text.contains(piece), "{name}: {text}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_names_reaches_the_log_bounded_and_without_its_controls() {
    let group = format!(
        "a\r\n{{\"level\":\"ERROR\"}}\u{1b}[2J\u{202e}\u{2028}\u{2066}{}",
        "b".repeat(1 << 20)
    );
    let machine = |id: &str, group: &str| {
        json!({ "id": id, "state": "started", "region": "ord",
                "config": { "image": "i", "metadata": { "fly_process_group": group } } })
    };
    let list = json!([machine("a1", &group), machine("a2", "short")]).to_string();
    let logs = Logs::capture();
    let mut world = World::queue(2.0, &[CREATED]);
    let effect = Effect::Answer(Canned::json(200, &list));
    world
        .platform()
        .add_fault(Fault::new(effect).on(Operation::List));
    world.run_for(0).await;
    let ready = world.get("/readyz").await.2;
    let errors = logs.errors();
    let told = errors
        .iter()
        .find(|line| line.message.contains("no machine available"));
    let told = told.unwrap_or_else(|| panic!("{errors:#?}"));
    assert!(
        told.message.contains("\"short\""),
        "one long name leaves room for the others: {}",
        told.message
    );
    for text in logs
        .lines()
        .iter()
        .map(|line| format!("{} {:?}", line.message, line.fields))
    {
        assert!(text.len() < 3000, "{}", text.len());
        assert!(!text.contains(shown::is_unprintable), "{text}");
    }
    assert!(
        ready.len() < 3000 && !ready.trim_end().contains(shown::is_unprintable),
        "{ready}"
    );
}

/// The whole way from an event to the bytes on standard error, in both formats.
#[tokio::test]
async fn logs_for_people_say_the_day_the_zone_and_the_settings_once() {
    let valid = [
        QUEUE,
        &[
            ("FAS_APP_NAME", APP),
            ("FAS_API_TOKEN", "FlyV1 fm2_machines"),
            ("FAS_METRICS_ADDRESS", "203.0.113.1:1"),
            CREATED,
        ],
    ]
    .concat();
    let text = run(
        &["serve"],
        &[valid.as_slice(), &[("FAS_LOG_FORMAT", "text")]].concat(),
    );
    let text = String::from_utf8(text.stderr).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].contains(" INFO it is 20") && lines[0].ends_with("times are UTC"),
        "{text}"
    );
    assert!(
        lines[1].contains("(app=my-target-app created=queue_depth "),
        "{text}"
    );
    assert!(
        lines
            .last()
            .unwrap()
            .starts_with("ERROR: cannot listen on 203.0.113.1:1"),
        "{text}"
    );
    let json = run(&["serve"], &valid);
    let json = String::from_utf8(json.stderr).unwrap();
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert!(
        first["settings"]
            .as_str()
            .unwrap()
            .starts_with("app=my-target-app "),
        "{first}"
    );
}

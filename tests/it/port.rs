//! The daemon's port as the whole private network reaches it: clients that want to use up what the daemon needs.

use std::{fs, net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use fly_autoscaler::{
    listener,
    sim::{NewMachine, Operation},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
    time::timeout,
};

use crate::{
    program::{Daemon, Served},
    world::APP,
};

const TARGET: &[(&str, &str)] = &[("FAS_CREATED_MACHINE_COUNT", "queue_depth")];

/// The program, started by a shell that sets limits first.
fn program_under(limits: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args([
        "-c",
        &format!("{limits}; exec \"$0\" serve"),
        env!("CARGO_BIN_EXE_fly-autoscaler"),
    ]);
    command
}

async fn served() -> Served {
    let served = Served::new().await;
    {
        let mut platform = served.platform();
        platform
            .add_machine(APP, NewMachine::in_region("ord"))
            .unwrap();
        platform.set_gauge(APP, "queue_depth", Some(1.0));
    }
    served
}

/// Connections that have sent this much of a header, or as much as there is room for.
async fn half_open(address: SocketAddr, count: usize, length: usize) -> Vec<TcpStream> {
    let header = format!("GET /metrics HTTP/1.1\r\nx: {}", "y".repeat(length));
    let mut connections = Vec::new();
    for _ in 0..count {
        let connection = TcpStream::connect(address).await.unwrap();
        connection.writable().await.unwrap();
        let _ = connection.try_write(header.as_bytes());
        connections.push(connection);
    }
    connections
}

/// The resident memory of a process, in KiB.
fn resident(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn half_open_connections_cost_neither_a_pass_nor_descriptors_nor_memory() {
    let served = served().await;
    let daemon = Daemon::start_as(program_under("ulimit -n 110"), &served, TARGET).await;
    served.more(Operation::List, 3).await;
    let id = daemon.id();
    let before = resident(id);
    let connections = half_open(daemon.address, 400, 390_000).await;
    served.more(Operation::List, 10).await;
    let open = fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    assert!(open < 100, "{open} open files");
    let grown = resident(id).saturating_sub(before);
    assert!(grown < 6 * 1024, "{grown} KiB more");
    assert!(!daemon.has_said("ERROR"), "{:?}", daemon.lines());
    drop(connections);
    assert!(
        daemon
            .get("/readyz")
            .await
            .starts_with("HTTP/1.1 200 OK\r\n")
    );
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_as_far_as_it_may() {
    let (_, hard) = rlimit::Resource::NOFILE.get().unwrap();
    let served = served().await;
    let daemon = Daemon::start_as(program_under("ulimit -Sn 100"), &served, TARGET).await;
    let text = daemon.get("/metrics").await;
    let limit = text
        .lines()
        .find_map(|line| line.strip_prefix("process_max_fds "))
        .unwrap();
    // Above what a gauge can tell apart the least digits differ.
    let raised: f64 = limit.parse().unwrap();
    assert!(raised >= hard as f64 * 0.999, "{limit} of {hard}");
}

#[tokio::test]
async fn what_is_more_than_64_connections_waits_for_a_place() {
    let listener = listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", get(|| async { "answer\n" }));
    let serving = tokio::spawn(listener::serve(listener, router));
    let mut others = half_open(address, listener::CONNECTIONS, 10).await;
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    let early = timeout(
        Duration::from_millis(200),
        connection.read_to_string(&mut text),
    );
    assert!(early.await.is_err(), "all places are taken: {text}");
    others.pop();
    connection.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("answer\n"), "{text}");
    serving.abort();
}

//! What only many passes show: memory that does not grow. Slow, so it is one of the ignored tests.

use fly_autoscaler::sim::{NewMachine, RateLimits};

use crate::{
    program::{Daemon, Served},
    world::APP,
};

/// Passes until everything that is allocated once has been.
const WARM_UP: u64 = 5_000;

/// Passes in all.
const PASSES: u64 = 50_000;

/// What the allocator may do by itself, in bytes. Half a kilobyte a pass would be 22 MB.
const NOISE: f64 = 512.0 * 1024.0;

/// One series of `/metrics`.
async fn series(daemon: &Daemon, name: &str) -> f64 {
    let text = daemon.get("/metrics").await;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        .unwrap_or_else(|| panic!("{name} in {text}"))
}

/// Waits until so many passes have been made; returns the resident memory then, in bytes.
async fn after(daemon: &Daemon, passes: u64) -> f64 {
    // Ten minutes at most.
    for _ in 0..6_000 {
        let made = series(daemon, r#"fas_reconcile_count{status="no_scale"}"#).await;
        if made >= passes as f64 {
            return series(daemon, "process_resident_memory_bytes").await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{passes} passes were not made in ten minutes");
}

#[tokio::test]
#[ignore = "takes about a minute"]
async fn fifty_thousand_passes_leave_memory_where_it_was() {
    let served = Served::new().await;
    served.platform().set_rate_limits(RateLimits {
        enabled: false,
        ..RateLimits::default()
    });
    served
        .platform()
        .add_machines(APP, 2, &NewMachine::in_region("ord"))
        .unwrap();
    served.platform().set_gauge(APP, "queue_depth", Some(2.0));
    let daemon = Daemon::start(
        &served,
        &[
            ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
            ("FAS_INTERVAL", "1ms"),
        ],
    )
    .await;
    let before = after(&daemon, WARM_UP).await;
    let afterwards = after(&daemon, PASSES).await;
    assert!(afterwards - before < NOISE, "{before} to {afterwards}");
    assert_eq!(served.platform().writes().count(), 0);
}

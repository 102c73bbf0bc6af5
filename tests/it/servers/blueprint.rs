//! The blueprint, with its settings unchanged, scaling an app behind Fly Proxy by what a real server has scraped.

use fly_autoscaler::sim::{Actor, ChangeKind, MachineState, Operation, ProxySettings};

use super::{
    metrics_server::{Kind, MetricsServer},
    scene::Scene,
};

const APP: &str = "my-target-app";

/// Requests at once that a machine serves before the proxy wakes another.
const SOFT_LIMIT: f64 = 10.0;

#[tokio::test]
#[ignore = "needs the prometheus server"]
async fn the_blueprint_scales_by_prometheus() {
    scales_up_and_down(Kind::Prometheus).await;
}

#[tokio::test]
#[ignore = "needs the victoria-metrics server"]
async fn the_blueprint_scales_by_victoria_metrics() {
    scales_up_and_down(Kind::VictoriaMetrics).await;
}

async fn scales_up_and_down(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new().await;
    scene.add_released_app(APP);
    {
        let mut platform = scene.platform();
        let proxy = ProxySettings {
            soft_limit: SOFT_LIMIT,
            min_machines_running: 1,
            stop_every: std::time::Duration::from_secs(5),
            ..ProxySettings::default()
        };
        platform.set_proxy(APP, Some(proxy));
        platform.set_load(APP, 0.5 * SOFT_LIMIT);
    }
    let server = MetricsServer::start(kind, folder.path(), &scene.address, false).await;
    let settings = [
        ("FAS_PROMETHEUS_ADDRESS", server.address()),
        ("FAS_PROMETHEUS_METRIC_NAME", "running_machines".to_owned()),
        (
            "FAS_PROMETHEUS_QUERY",
            "count(fly_instance_up{app='$APP_NAME'})".to_owned(),
        ),
        ("FAS_APP_NAME", APP.to_owned()),
        (
            "FAS_CREATED_MACHINE_COUNT",
            "min(running_machines + 1, 10)".to_owned(),
        ),
        ("FAS_INITIAL_MACHINE_STATE", "stopped".to_owned()),
        ("FAS_PROMETHEUS_TOKEN", "FlyV1 fm2_metrics".to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, &**value));
    let daemon = scene.serve(folder.path(), &[], &settings).await;

    scene
        .becomes("one machine runs and one is spare", |scene| {
            running_and_spare(scene) == (1, 1)
        })
        .await;

    // Work for twelve: the proxy starts the spare, which makes room for another one, and so on.
    scene.platform().set_load(APP, 11.5 * SOFT_LIMIT);
    scene
        .becomes("all ten of the bound run", |scene| {
            running_and_spare(scene) == (10, 0)
        })
        .await;
    let created = scene.requests(Operation::Create);
    scene.passes(5).await;
    assert_eq!(scene.requests(Operation::Create), created, "ten is enough");

    // Work for two: the proxy stops the others, which are too many but for one.
    scene.platform().set_load(APP, 1.5 * SOFT_LIMIT);
    scene
        .becomes("two machines run and one is spare", |scene| {
            running_and_spare(scene) == (2, 1)
        })
        .await;
    let writes = scene.writes();
    scene.passes(5).await;
    assert_eq!(scene.writes(), writes, "then nothing is written");
    assert_eq!(running_and_spare(&scene), (2, 1));

    never_too_many_and_never_one_at_work(&scene);
    let truth = |kind| Some(u32::try_from(scene.changes(kind)).unwrap().into());
    for (series, kind) in [
        (
            r#"fas_machine_create_count{status="ok"}"#,
            ChangeKind::Create,
        ),
        (
            r#"fas_machine_destroy_count{status="ok"}"#,
            ChangeKind::Destroy,
        ),
    ] {
        assert_eq!(daemon.series(series).await, truth(kind), "{series}");
    }
    let value = r#"fas_metric_value{app="my-target-app",group="app",metric="running_machines"}"#;
    assert_eq!(daemon.series(value).await, Some(2.0));
    let log = daemon.log();
    for secret in ["fm2_metrics", "fm2_machines"] {
        assert!(!log.contains(secret), "{log}");
    }
    daemon.stop().await;
}

/// How many machines are `started`, and how many besides exist, if these are `stopped`; else no such pair is equal.
fn running_and_spare(scene: &Scene) -> (usize, usize) {
    let running = scene.in_state(APP, &MachineState::Started);
    let stopped = scene.in_state(APP, &MachineState::Stopped);
    if running + stopped == scene.created(APP) {
        (running, stopped)
    } else {
        (usize::MAX, usize::MAX)
    }
}

fn never_too_many_and_never_one_at_work(scene: &Scene) {
    let platform = scene.platform();
    let mut created: usize = 0;
    for change in platform.changes().iter() {
        match change.kind {
            ChangeKind::Create => created += 1,
            ChangeKind::Destroy => {
                assert_eq!(change.actor, Actor::Api);
                let state = change.machine.state.as_str();
                assert_eq!(state, "stopped", "{} was at work", change.machine.id);
                created -= 1;
            }
            _ => {}
        }
        assert!(created <= 10, "{created} machines");
    }
    for request in platform.requests_for(Operation::Destroy) {
        let query = &request.query;
        assert!(
            !query.contains("force") && !query.contains("kill"),
            "{query}"
        );
    }
    let unexpected: Vec<_> = platform.unexpected().map(|request| &request.path).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

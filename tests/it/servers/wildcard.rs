//! A file, a wildcard, two collectors of different kinds: every app is scaled by its own metrics.

use std::fs;

use fly_autoscaler::sim::{MachineState, NewMachine};

use super::{
    metrics_server::{Kind, MetricsServer, ORG},
    scene::Scene,
    temporal_server::Temporal,
};

/// Two apps that the pattern matches, with the messages and the workflows of each; and one that it does not.
const APPS: [(&str, f64, &[&str]); 3] = [
    ("shop-orders", 1.0, &["a", "b", "c"]),
    ("shop-mail", 4.0, &["d"]),
    ("blog", 5.0, &["e"]),
];

#[tokio::test]
#[ignore = "needs the prometheus and the temporal server"]
async fn a_file_scales_all_apps_of_a_pattern_by_two_collectors() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new().await;
    for (app, messages, _) in APPS {
        let mut platform = scene.platform();
        platform.add_app(app, ORG);
        platform.set_gauge(app, "messages", Some(messages));
        platform
            .add_machine(app, NewMachine::in_region("ord"))
            .unwrap();
    }
    let prometheus =
        MetricsServer::start(Kind::Prometheus, folder.path(), &scene.address, false).await;
    let temporal = Temporal::start(folder.path()).await;
    for (app, _, workflows) in APPS {
        for id in workflows {
            temporal.start_workflow(app, id).await;
        }
    }
    let file = folder.path().join("fly-autoscaler.yml");
    let text = r#"
app-name: shop-*
org: $ORG
regions: [ord, $SECOND_REGION]
created-machine-count: messages + orders
initial-machine-state: stopped
app-list-refresh-interval: 1s
metric-collectors:
  - type: prometheus
    metric-name: messages
    address: $PROMETHEUS
    query: sum(messages{app="$APP_NAME"})
  - type: temporal
    metric-name: orders
    address: $TEMPORAL
    namespace: default
    query: TaskQueue="${APP_NAME}"
"#;
    fs::write(&file, text).unwrap();
    let settings = [
        ("ORG", ORG),
        ("SECOND_REGION", "ams"),
        ("PROMETHEUS", &prometheus.address()),
        ("TEMPORAL", &temporal.address()),
        // What the file says as well must not come from here.
        ("FAS_CREATED_MACHINE_COUNT", "9"),
        ("APP_NAME", "nobody"),
    ];
    let arguments = ["--config", file.to_str().unwrap()];
    let daemon = scene.serve(folder.path(), &arguments, &settings).await;

    let created = |scene: &Scene| APPS.map(|(app, ..)| scene.created(app));
    scene
        .becomes("one and three machines, four and one, and one", |scene| {
            created(scene) == [4, 5, 1]
        })
        .await;
    scene
        .becomes("the new ones are stopped", |scene| {
            scene.in_state("shop-orders", &MachineState::Stopped) == 3
                && scene.in_state("shop-mail", &MachineState::Stopped) == 4
        })
        .await;
    let in_ams = |app: &str| {
        let platform = scene.platform();
        let app = platform.app(app).unwrap();
        app.machines()
            .filter(|machine| &*machine.region == "ams")
            .count()
    };
    assert_eq!((in_ams("shop-orders"), in_ams("shop-mail")), (2, 2));

    // Each by its own: less of one, more of the other.
    scene
        .platform()
        .set_gauge("shop-mail", "messages", Some(1.0));
    temporal.start_workflow("shop-orders", "f").await;
    scene
        .becomes("one and four machines, one and one, and one", |scene| {
            created(scene) == [5, 2, 1]
        })
        .await;
    let value = |app, metric| {
        format!("fas_metric_value{{app=\"{app}\",group=\"app\",metric=\"{metric}\"}}")
    };
    daemon
        .shows(&value("shop-orders", "orders"), |value| value == Some(4.0))
        .await;
    daemon
        .shows(&value("shop-mail", "messages"), |value| value == Some(1.0))
        .await;
    assert_eq!(daemon.series(&value("blog", "messages")).await, None);

    // An app that comes later is found, one that goes is forgotten.
    {
        let mut platform = scene.platform();
        platform.add_app("shop-late", ORG);
        platform.set_gauge("shop-late", "messages", Some(2.0));
        platform
            .add_machine("shop-late", NewMachine::in_region("ord"))
            .unwrap();
        platform.remove_app("shop-mail");
    }
    scene
        .becomes("two machines of the late one", |scene| {
            scene.created("shop-late") == 2
        })
        .await;
    daemon
        .shows(&value("shop-mail", "messages"), |value| value.is_none())
        .await;
    daemon.stop().await;
}

//! Workflows of a real Temporal server, counted by the program: machines follow, and every failure is named.

use fly_autoscaler::sim::{MachineState, NewMachine};

use super::{
    answers::texts,
    metrics_server::ORG,
    process::output,
    scene::Scene,
    temporal_server::{Gate, Temporal, certificates, read},
};

const APP: &str = "my-target-app";

/// The metric as the daemon shows it.
const VALUE: &str = r#"fas_metric_value{app="my-target-app",group="app",metric="orders"}"#;

/// A platform with one running machine of the app.
async fn scene() -> Scene {
    let scene = Scene::new().await;
    let mut platform = scene.platform();
    platform.add_app(APP, ORG);
    platform
        .add_machine(APP, NewMachine::in_region("ord"))
        .unwrap();
    drop(platform);
    scene
}

/// Settings that want as many machines as there are orders in the app's queue.
fn settings(address: &str) -> Vec<(&str, &str)> {
    vec![
        ("FAS_APP_NAME", APP),
        ("FAS_TEMPORAL_ADDRESS", address),
        ("FAS_TEMPORAL_NAMESPACE", "default"),
        ("FAS_TEMPORAL_METRIC_NAME", "orders"),
        ("FAS_TEMPORAL_QUERY", r#"TaskQueue="$APP_NAME""#),
        ("FAS_CREATED_MACHINE_COUNT", "min(orders, 10)"),
        ("FAS_DESTROY_RUNNING_AFTER", "0s"),
    ]
}

/// Whether so many machines exist, all of them running.
fn running(scene: &Scene, count: usize) -> bool {
    (
        scene.created(APP),
        scene.in_state(APP, &MachineState::Started),
    ) == (count, count)
}

#[tokio::test]
#[ignore = "needs the temporal server"]
async fn machines_follow_the_workflows_and_outlive_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let scene = scene().await;
    let temporal = Temporal::start(folder.path()).await;
    let address = temporal.address();
    let daemon = scene.serve(folder.path(), &[], &settings(&address)).await;
    daemon.shows(VALUE, |value| value == Some(0.0)).await;

    for id in ["a", "b", "c", "d"] {
        temporal.start_workflow(APP, id).await;
    }
    temporal.start_workflow("another-app", "e").await;
    temporal.terminate_workflow("d").await;
    scene
        .becomes("three machines run", |scene| running(scene, 3))
        .await;

    for id in ["a", "b"] {
        temporal.terminate_workflow(id).await;
    }
    scene
        .becomes("one machine runs", |scene| running(scene, 1))
        .await;

    let port = temporal.port();
    temporal.kill().await;
    daemon.shows(VALUE, |value| value.is_none()).await;
    let failures = r#"fas_pass_errors_total{reason="metric"}"#;
    let before = daemon.series(failures).await;
    daemon.shows(failures, |now| now > before).await;
    let log = daemon.log();
    let expected = format!("cannot connect to Temporal at {address} (plain text): ");
    assert!(log.contains(&expected), "{log}");
    let writes = scene.writes();
    scene.passes(3).await;
    assert_eq!(scene.writes(), writes, "no metric, no write");

    let temporal = Temporal::start_again(folder.path(), port).await;
    daemon.shows(VALUE, |value| value == Some(1.0)).await;
    temporal.start_workflow(APP, "f").await;
    scene
        .becomes("two machines run", |scene| running(scene, 2))
        .await;
    daemon.stop().await;
}

#[tokio::test]
#[ignore = "needs the temporal server"]
async fn the_answers_of_temporal_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let scene = scene().await;
    let temporal = Temporal::start(folder.path()).await;
    for (queue, id) in [(APP, "a"), (APP, "b"), ("another-app", "c")] {
        temporal.start_workflow(queue, id).await;
    }
    let address = temporal.address();
    let namespace = |name| ("FAS_TEMPORAL_NAMESPACE", name);
    let query = |text| ("FAS_TEMPORAL_QUERY", text);
    let https = format!("https://{address}");
    let cases = [
        (query(r#"TaskQueue="$APP_NAME""#), "orders = 2\n"),
        (query(r#"TaskQueue="${APP_NAME}""#), "orders = 2\n"),
        // Without a query: all that run.
        (query(""), "orders = 3\n"),
        (query("WorkflowType='None'"), "orders = 0\n"),
        // What is beside an `OR` must not count what has ended.
        (
            query("TaskQueue='$APP_NAME' OR WorkflowType='Order'"),
            "orders = 3\n",
        ),
        (
            namespace("nowhere"),
            "orders has no value: Temporal does not know the namespace `nowhere`: Namespace nowhere is not found.",
        ),
        (
            query("TaskQueue="),
            "orders has no value: Temporal refused the query: invalid query",
        ),
        (
            query("NoSuchAttribute='a'"),
            "orders has no value: Temporal refused the query: invalid query",
        ),
        (
            ("FAS_TEMPORAL_ADDRESS", "127.0.0.1:1"),
            "orders has no value: cannot connect to Temporal at 127.0.0.1:1 (plain text): ",
        ),
        (
            ("FAS_TEMPORAL_ADDRESS", &https),
            "orders has no value: TLS with Temporal at 127.0.0.1:",
        ),
    ];
    temporal.start_workflow(APP, "ended").await;
    temporal.terminate_workflow("ended").await;
    for (change, expected) in cases {
        let mut command = scene.program(&settings(&address));
        command.env(change.0, change.1).args(["eval", "--explain"]);
        let evaluated = output(&mut command).await;
        let (out, err) = texts(&evaluated);
        if let Some(problem) = expected.strip_prefix("orders has no value: ") {
            // Why stands on standard error, once.
            assert!(
                out.starts_with("orders has no value\n"),
                "{change:?}: {out}"
            );
            assert_eq!(evaluated.status.code(), Some(1), "{change:?}: {out}");
            assert!(err.contains(problem), "{change:?}: {err}");
        } else {
            assert!(out.starts_with(expected), "{change:?}: {out}{err}");
            assert!(evaluated.status.success(), "{change:?}: {err}");
        }
    }
}

/// What is asked wrongly, the settings, and what the error says.
type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str);

#[tokio::test]
#[ignore = "needs the temporal server, nginx and openssl"]
async fn temporal_behind_tls_asks_for_the_client_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let scene = scene().await;
    certificates(folder).await;
    let temporal = Temporal::start(folder).await;
    for id in ["a", "b"] {
        temporal.start_workflow(APP, id).await;
    }
    let gate = Gate::start(folder, temporal.port()).await;
    let address = format!("localhost:{}", gate.port());
    let https = format!("https://{address}");
    let authority = folder.join("authority.pem");
    let trust = ("SSL_CERT_FILE", authority.to_str().unwrap());
    let [certificate, key, strange_certificate, strange_key] =
        ["client.pem", "client.key", "stranger.pem", "stranger.key"].map(|name| read(folder, name));
    let one_line = certificate.replace('\n', "\\n");
    let ours = ("FAS_TEMPORAL_CERT_DATA", &*certificate);
    let our_key = ("FAS_TEMPORAL_KEY_DATA", &*key);
    let strange = ("FAS_TEMPORAL_CERT_DATA", &*strange_certificate);
    let strange_pair = [strange, ("FAS_TEMPORAL_KEY_DATA", &*strange_key)];
    let winning = [
        ("TEMPORAL_TLS_CERT_DATA", &*certificate),
        ("TEMPORAL_TLS_KEY_DATA", &*key),
    ];
    let counted = "orders = 2\n";
    let server = format!("Temporal at {address} (TLS)");
    let not_a_client = format!("{server} answered HTTP 400 Bad Request instead of gRPC: does it ");
    let cases: [Case<'_>; 8] = [
        ("the client", vec![trust, ours, our_key], counted),
        (
            "line breaks written out",
            vec![trust, ("FAS_TEMPORAL_CERT_DATA", &one_line), our_key],
            counted,
        ),
        (
            "the variables of Temporal's own tools win",
            [&strange_pair[..], &winning, &[trust]].concat(),
            counted,
        ),
        (
            "a client that the server does not know",
            [&strange_pair[..], &[trust]].concat(),
            &format!(
                "{not_a_client}accept the client certificate? (`TEMPORAL_TLS_CERT_DATA`, `TEMPORAL_TLS_KEY_DATA`)\n"
            ),
        ),
        (
            "no certificate",
            vec![trust, ("FAS_TEMPORAL_ADDRESS", &https)],
            &format!(
                "{not_a_client}expect a client certificate? (`TEMPORAL_TLS_CERT_DATA`, `TEMPORAL_TLS_KEY_DATA`)\n"
            ),
        ),
        (
            "a server that we do not know",
            vec![ours, our_key],
            &format!(
                "TLS with {server} failed; if the certificate is self-signed or issued by your own CA, and you trust it, set `SSL_CERT_FILE` to a PEM file with it: transport error: invalid peer certificate: UnknownIssuer\n"
            ),
        ),
        (
            "plain text",
            vec![],
            "(plain text) closed the connection before answering: does it expect TLS? (`https://` before the address): ",
        ),
        (
            "a key of another certificate",
            vec![trust, strange, our_key],
            "metric orders: the client certificate for Temporal cannot be used: the private key of `TEMPORAL_TLS_KEY_DATA` \
             (or `FAS_TEMPORAL_KEY_DATA`) does not belong to the first certificate",
        ),
    ];
    for (name, more, expected) in cases {
        let mut command = scene.program(&settings(&address));
        command.envs(more).args(["eval", "--explain"]);
        let evaluated = output(&mut command).await;
        let (out, err) = texts(&evaluated);
        if expected == counted {
            assert!(evaluated.status.success(), "{name}: {err}");
            assert!(out.starts_with(counted), "{name}: {out}");
        } else {
            assert_eq!(evaluated.status.code(), Some(1), "{name}: {out}");
            assert!(err.contains(expected), "{name}: {err}");
            assert!(
                !err.contains("-----BEGIN PRIVATE KEY-----\n"),
                "{name}: {err}"
            );
        }
    }

    let settings = [&settings(&address)[..], &[trust, ours, our_key]].concat();
    let daemon = scene.serve(folder, &[], &settings).await;
    scene
        .becomes("two machines run", |scene| running(scene, 2))
        .await;
    let log = daemon.log();
    assert!(!log.contains("PRIVATE KEY"), "{log}");
    daemon.stop().await;
}

//! The dashboard and the alert rules with a real server that scrapes the daemon.

use std::{fs, path::Path};

use fly_autoscaler::{
    dashboard::{rows, rules},
    sim::{Fault, Operation},
};
use serde_json::Value;
use url::form_urlencoded;

use super::{
    metrics_server::{Kind, MetricsServer, ORG},
    process::{command, eventually, program, successful},
    scene::Scene,
};

const APP: &str = "my-target-app";

/// The rules' name in the file of cases for `promtool`.
const RULES: &str = "fly-autoscaler.rules.yml";

/// An expression as Grafana asks it of a server that scrapes four times a second.
fn filled_in(expression: &str) -> String {
    expression
        .replace("$app", APP)
        .replace("$__rate_interval", "30s")
        .replace("$__range", "5m")
}

/// How many series an expression has now.
async fn count(server: &MetricsServer, expression: &str) -> usize {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("query", &filled_in(expression))
        .finish();
    let (status, body) = server.get(&format!("/api/v1/query?{query}")).await.unwrap();
    assert_eq!(status, 200, "{expression}: {body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["status"], "success", "{expression}: {body}");
    assert_eq!(answer["warnings"], Value::Null, "{expression}: {body}");
    answer["data"]["result"].as_array().unwrap().len()
}

async fn firing(server: &MetricsServer) -> Vec<&'static str> {
    let mut firing = Vec::new();
    for rule in rules() {
        if count(server, &rule.expr).await > 0 {
            firing.push(rule.alert);
        }
    }
    firing
}

#[tokio::test]
#[ignore = "needs the prometheus server"]
async fn prometheus_has_an_answer_to_every_expression() {
    has_an_answer_to_every_expression(Kind::Prometheus).await;
}

#[tokio::test]
#[ignore = "needs the victoria-metrics server"]
async fn victoria_metrics_has_an_answer_to_every_expression() {
    has_an_answer_to_every_expression(Kind::VictoriaMetrics).await;
}

async fn has_an_answer_to_every_expression(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new().await;
    scene.add_released_app(APP);
    scene.platform().set_gauge(APP, "messages", Some(3.0));
    let address = format!("http://{}/prometheus/{ORG}", scene.address);
    let settings = [
        ("FAS_PROMETHEUS_ADDRESS", &*address),
        ("FAS_PROMETHEUS_METRIC_NAME", "messages"),
        ("FAS_PROMETHEUS_QUERY", "sum(messages{app='$APP_NAME'})"),
        ("FAS_PROMETHEUS_TOKEN", "FlyV1 fm2_metrics"),
        ("FAS_APP_NAME", APP),
        ("FAS_CREATED_MACHINE_COUNT", "messages"),
    ];
    let daemon = scene.serve(folder.path(), &[], &settings).await;
    scene
        .becomes("three machines exist", |scene| scene.created(APP) == 3)
        .await;
    let server = MetricsServer::start(kind, folder.path(), &daemon.address(), false).await;

    // What is filtered by its value has a series only where something is the matter.
    for panel in rows().into_iter().flat_map(|row| row.panels) {
        for query in panel.queries {
            let expression = query.expression;
            if expression.ends_with(" > 0") {
                count(&server, &expression).await;
                continue;
            }
            let has_one = async || count(&server, &expression).await > 0;
            eventually(&expression, has_one, || daemon.log()).await;
        }
    }
    assert_eq!(firing(&server).await, [""; 0], "all is well");

    let refusal = Fault::status(401).on(Operation::List);
    scene.platform().add_fault(refusal);
    let wanted = ["FlyAutoscalerPassesFail", "FlyAutoscalerErrors"];
    let fires = async || firing(&server).await == wanted;
    eventually("a refused token is told", fires, || daemon.log()).await;
    for panel in rows().into_iter().flat_map(|row| row.panels) {
        if matches!(panel.title, "Errors by reason" | "Failed requests") {
            assert!(count(&server, &panel.queries[0].expression).await > 0);
        }
    }
    daemon.stop().await;
}

#[tokio::test]
#[ignore = "needs promtool, of the prometheus server"]
async fn promtool_takes_the_rules_and_each_fires_when_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let printed = successful(command(env!("CARGO_BIN_EXE_fly-autoscaler")).arg("alerts")).await;
    fs::write(folder.path().join(RULES), printed).unwrap();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/alerts.yml");
    fs::copy(cases, folder.path().join("cases.yml")).unwrap();
    for (verb, file) in [("check", RULES), ("test", "cases.yml")] {
        let mut promtool = command(&program("FAS_TEST_PROMTOOL", "promtool"));
        promtool
            .current_dir(folder.path())
            .args([verb, "rules", file]);
        successful(&mut promtool).await;
    }
}

//! `backtest` with the past of real servers, which is put into them before they are asked: the figures are those that are
//! computed by hand in `backtest::replay::tests`, and a month of minutes comes whole.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    answers::texts,
    metrics_server::{Kind, MetricsServer},
    process::{command, eventually, output, program, successful},
    scene::Scene,
};

const APP: &str = "my-target-app";

/// The metric in each of ten minutes.
const DEPTH: [Option<u32>; 10] = [
    Some(10),
    Some(10),
    Some(30),
    Some(30),
    Some(10),
    Some(10),
    Some(10),
    None,
    Some(10),
    Some(50),
];

/// A month of minutes.
const MONTH: i64 = 30 * 24 * 60;

#[tokio::test]
#[ignore = "needs the prometheus server and promtool"]
async fn the_past_of_prometheus_is_replayed() {
    is_replayed(Kind::Prometheus).await;
}

#[tokio::test]
#[ignore = "needs the victoria-metrics server"]
async fn the_past_of_victoria_metrics_is_replayed() {
    is_replayed(Kind::VictoriaMetrics).await;
}

/// The number of waiting jobs in a minute of the month: no two parts of the answer are alike.
fn jobs(minute: i64) -> i64 {
    1 + minute * minute % 97
}

async fn is_replayed(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let end = jiff::Timestamp::now().as_second() / 60 * 60 - 3600;
    let begin = end - 60 * i64::try_from(DEPTH.len()).unwrap();
    let mut samples = Vec::new();
    for (time, depth) in (begin..end).step_by(60).zip(DEPTH) {
        samples.extend(depth.map(|depth| ("queue_depth", i64::from(depth), time)));
    }
    let first = end - 60 * MONTH;
    samples.extend((0..MONTH).map(|minute| ("jobs", jobs(minute), first + 60 * minute)));

    let scene = Scene::new().await;
    if kind == Kind::Prometheus {
        create_blocks(folder.path(), &samples).await;
    }
    let server = MetricsServer::start(kind, folder.path(), &scene.address, false).await;
    if kind == Kind::VictoriaMetrics {
        import(&server.address(), &samples).await;
        // Until then some of them are not to be seen, each by itself.
        let flushed = server.get("/internal/force_flush").await;
        assert_eq!(flushed.map(|it| it.0), Some(200));
    }
    let backtest = async |query: &str, arguments: &[&str]| {
        let until = jiff::Timestamp::from_second(end).unwrap().to_string();
        let settings = [
            ("FAS_APP_NAME", APP),
            ("FAS_PROMETHEUS_ADDRESS", &*server.address()),
            ("FAS_PROMETHEUS_METRIC_NAME", "depth"),
            ("FAS_PROMETHEUS_QUERY", query),
        ];
        let mut command = scene.program(&settings);
        let command = command.args(["backtest", "--json", "--until", &until]);
        let (out, err) = texts(&output(command.args(arguments)).await);
        serde_json::from_str::<Value>(&out).map_err(|_| err)
    };

    // What lies further back than a sample is looked for would fill the gap.
    let query = "max_over_time(queue_depth{app='$APP_NAME'}[30s])";
    let arguments = [
        "--since",
        "10m",
        "--boot",
        "90s",
        "--expression",
        "ceil(depth / 10)",
    ];
    let is_there = async || {
        let shown = backtest(query, &arguments).await;
        shown.is_ok_and(|shown| shown["results"][0]["max_created"] == json!(5))
    };
    eventually("the past is in the server", is_there, String::new).await;
    let shown = backtest(query, &arguments).await.unwrap();
    let result = &shown["results"][0];
    let figures = ["creates", "destroys", "flaps", "min_created", "max_created"];
    let figures = figures.map(|name| result[name].as_u64().unwrap());
    assert_eq!(figures, [6, 2, 2, 1, 5], "{shown}");
    for (name, expected) in [
        ("machine_hours", 1200.0),
        ("started_hours", 780.0),
        ("unmet_machine_hours", 420.0),
    ] {
        let found = result[name].as_f64().unwrap() * 3600.0;
        assert!((found - expected).abs() < 1e-6, "{name}: {found}");
    }
    let of_minutes = |name: &str| -> Vec<Value> {
        let points = result["points"].as_array().unwrap();
        points.iter().map(|point| point[name].clone()).collect()
    };
    let expected = [1, 1, 3, 3, 3, 1, 1, 1, 1, 5].map(|count| json!(count));
    assert_eq!(of_minutes("created"), expected);
    let depths: Vec<Value> = of_minutes("metrics")
        .iter()
        .map(|metrics| metrics["depth"].clone())
        .collect();
    assert_eq!(depths, DEPTH.map(|depth| json!(depth.map(f64::from))));

    let month = ["--since", "30d", "--expression", "depth"];
    let shown = backtest("jobs{app='$APP_NAME'}", &month).await.unwrap();
    let points = shown["results"][0]["points"].as_array().unwrap();
    assert_eq!(points.len(), usize::try_from(MONTH).unwrap());
    for (minute, point) in (0..).zip(points) {
        let expected = json!(jobs(minute) as f64);
        assert_eq!(point["metrics"]["depth"], expected, "minute {minute}");
    }

    let nothing = backtest("nothing", &month).await.unwrap_err();
    assert!(
        nothing.contains("metric depth has no history: between "),
        "{nothing}"
    );
    let wrong = backtest("sum(", &month).await.unwrap_err();
    assert!(wrong.contains("the query failed (HTTP 4"), "{wrong}");
    let text = backtest("'seven'", &month).await.unwrap_err();
    assert!(text.contains("metric depth has no history: "), "{text}");
    assert_eq!(scene.writes(), 0);
}

/// Puts samples where Prometheus keeps its data, before it starts.
async fn create_blocks(folder: &Path, samples: &[(&str, i64, i64)]) {
    let mut text = String::new();
    for metric in ["jobs", "queue_depth"] {
        writeln!(text, "# TYPE {metric} gauge").unwrap();
        for (_, value, time) in samples.iter().filter(|(name, ..)| *name == metric) {
            writeln!(text, "{metric}{{app=\"{APP}\"}} {value} {time}").unwrap();
        }
    }
    text.push_str("# EOF\n");
    let file = folder.join("past.txt");
    fs::write(&file, text).unwrap();
    let mut command = command(&program("FAS_TEST_PROMTOOL", "promtool"));
    command.args(["tsdb", "create-blocks-from", "openmetrics"]);
    successful(command.arg(&file).arg(folder.join("data"))).await;
}

/// Sends samples to `VictoriaMetrics`.
async fn import(address: &str, samples: &[(&str, i64, i64)]) {
    let mut text = String::new();
    for (metric, value, time) in samples {
        writeln!(text, "{metric}{{app=\"{APP}\"}} {value} {time}000").unwrap();
    }
    let address = address.strip_prefix("http://").unwrap();
    let (host, path) = address.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "POST /{path}/api/v1/import/prometheus HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(" 204 "), "{answer}");
}

//! What real servers answer, read by `eval`: numbers, nothing, what is no number, and refused queries.

use std::process::Output;

use super::{
    metrics_server::{Kind, MetricsServer, ORG},
    process::{eventually, output},
    scene::Scene,
};

const APP: &str = "my-target-app";

/// What a query comes to.
enum Expected {
    /// This metric and this created count.
    Count(&'static str, u32),
    /// An error with this text.
    Error(&'static str),
}
use Expected::{Count, Error};

const NOTHING: Expected = Error("needs depth, which has no value: the query returned nothing");

/// Queries, what Prometheus makes of them, and what `VictoriaMetrics` does; both in their own words.
const ANSWERS: &[(&str, Expected, Expected)] = &[
    ("queue_depth{app='$APP_NAME'}", Count("7", 7), Count("7", 7)),
    ("sum(queue_depth)", Count("9.5", 10), Count("9.5", 10)),
    ("vector(3)", Count("3", 3), Count("3", 3)),
    // VictoriaMetrics makes a vector of a scalar.
    ("5", Count("5", 5), Count("5", 5)),
    ("scalar(vector(4))", Count("4", 4), Count("4", 4)),
    (
        "count(nothing{app='$APP_NAME'}) or vector(2)",
        Count("2", 2),
        Count("2", 2),
    ),
    ("vector(-3)", Count("-3", 1), Count("-3", 1)),
    ("time() > bool 1.7e9", Count("1", 1), Count("1", 1)),
    ("nothing", NOTHING, NOTHING),
    (
        "queue_depth[5s]",
        Error("the query returned a matrix"),
        Error("the query returned a matrix"),
    ),
    (
        "'seven'",
        Error("the query returned a string"),
        // It has no strings, and answers with nothing.
        NOTHING,
    ),
    // VictoriaMetrics leaves NaN out.
    ("0/0", Error("the value is NaN"), NOTHING),
    ("vector(0)/0", Error("the value is NaN"), NOTHING),
    (
        "1/0",
        Error("the result is infinite"),
        Error("the result is infinite"),
    ),
    (
        "sum(",
        Error("the query failed (HTTP 400, bad_data): invalid parameter \"query\""),
        Error("the query failed (HTTP 422): error when executing query=\"sum(\""),
    ),
    (
        "queue_depth * on(nothing) queue_depth",
        Error("the query failed (HTTP 422, execution): found duplicate series"),
        Error("the query failed (HTTP 422): error when executing"),
    ),
];

#[tokio::test]
#[ignore = "needs the prometheus server"]
async fn the_answers_of_prometheus_are_understood() {
    are_understood(Kind::Prometheus).await;
}

#[tokio::test]
#[ignore = "needs the victoria-metrics server"]
async fn the_answers_of_victoria_metrics_are_understood() {
    are_understood(Kind::VictoriaMetrics).await;
}

async fn are_understood(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new().await;
    {
        let mut platform = scene.platform();
        platform.add_app(APP, ORG);
        platform.add_app("another-app", ORG);
        platform.set_gauge(APP, "queue_depth", Some(7.0));
        platform.set_gauge("another-app", "queue_depth", Some(2.5));
    }
    let server = MetricsServer::start(kind, folder.path(), &scene.address, true).await;
    let address = server.address_with_user();
    let eval = async |address: &str, query: &str, more: &[(&str, &str)]| {
        let settings = [
            ("FAS_APP_NAME", APP),
            ("FAS_PROMETHEUS_ADDRESS", address),
            ("FAS_PROMETHEUS_METRIC_NAME", "depth"),
            ("FAS_PROMETHEUS_QUERY", query),
            ("FAS_CREATED_MACHINE_COUNT", "depth"),
        ];
        let mut command = scene.program(&settings);
        let command = command.envs(more.iter().copied());
        output(command.args(["eval", "--explain"])).await
    };

    // Nothing has been scraped at first.
    let has_scraped = async || {
        eval(&address, "count(queue_depth) == 2", &[])
            .await
            .status
            .success()
    };
    eventually("both apps were scraped", has_scraped, String::new).await;

    for (query, of_prometheus, of_victoria_metrics) in ANSWERS {
        let expected = match kind {
            Kind::Prometheus => of_prometheus,
            Kind::VictoriaMetrics => of_victoria_metrics,
        };
        let evaluated = eval(&address, query, &[]).await;
        let (out, err) = texts(&evaluated);
        match expected {
            Count(metric, count) => {
                let json = json(*count);
                let sent = query.replace("$APP_NAME", APP);
                let explained = format!(
                    "depth = {metric}\n  query: {sent}\ncreated: depth = {metric} -> {count}\n{json}\n"
                );
                assert_eq!(out, explained, "{query}: {err}");
                assert_eq!(err, "", "{query}");
            }
            Error(text) => {
                assert_eq!(evaluated.status.code(), Some(1), "{query}: {out}");
                assert!(err.contains(text), "{query}: {err}");
                assert!(err.starts_with("ERROR: "), "{query}: {err}");
            }
        }
    }

    let empty_value = ("FAS_PROMETHEUS_EMPTY_VALUE", "6");
    let (out, err) = texts(&eval(&address, "nothing", &[empty_value]).await);
    assert!(out.starts_with("depth = 6\n"), "{out}{err}");

    let (out, err) = texts(&eval(&address, "queue_depth", &[]).await);
    assert!(out.starts_with("depth = "), "{out}{err}");
    assert!(err.contains("returned 2 elements"), "{err}");

    // Longer than servers and proxies take in a request line.
    let long = format!("queue_depth{{app=~'$APP_NAME|{}'}}", "x".repeat(10_000));
    let (out, err) = texts(&eval(&address, &long, &[]).await);
    assert!(out.starts_with("depth = 7\n"), "{out}{err}");

    // A token goes before the user in the address.
    let token = ("FAS_PROMETHEUS_TOKEN", "fm2_whatever");
    for (address, more) in [
        (&server.address(), &[][..]),
        (&server.address_with("xyzzy"), &[]),
        (&address, &[token]),
    ] {
        let refused = eval(address, "5", more).await;
        let (out, err) = texts(&refused);
        assert_eq!(refused.status.code(), Some(1), "{out}");
        assert!(
            err.contains("HTTP 401 Unauthorized: not authorized"),
            "{err}"
        );
        for secret in ["xyzzy", "sesame", "fm2_whatever"] {
            assert!(!err.contains(secret), "{err}");
        }
    }

    // As upstream prints it, with nothing else on standard output.
    let settings = [
        ("FAS_APP_NAME", "*-target-app"),
        ("FAS_ORG", ORG),
        ("FAS_PROMETHEUS_ADDRESS", &address),
        ("FAS_PROMETHEUS_METRIC_NAME", "depth"),
        ("FAS_PROMETHEUS_QUERY", "queue_depth{app='${APP_NAME}'}"),
        ("FAS_CREATED_MACHINE_COUNT", "min(depth + 1, 10)"),
    ];
    let mut command = scene.program(&settings);
    let evaluated = output(command.args(["eval", "--app", APP])).await;
    let (out, err) = texts(&evaluated);
    assert_eq!((out, err), (format!("{}\n", json(8)), String::new()));
    assert_eq!(scene.writes(), 0);
}

/// What `eval` prints for this created count and no started one.
fn json(created: u32) -> String {
    format!(
        "{{\n  \"created\": {{\n    \"min\": {created},\n    \"max\": {created}\n  }},\n  \
         \"started\": {{\n    \"min\": null,\n    \"max\": null\n  }}\n}}"
    )
}

/// Standard output and standard error.
pub(crate) fn texts(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

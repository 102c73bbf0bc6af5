//! `eval` as users run it: what stands on standard output, and what they are told beside it.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Output,
    thread,
};

use crate::program::run;

/// Answers every request with this status and body, in a thread that ends with the process.
fn prometheus(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            answer(&mut stream, status, body);
        }
    });
    address
}

fn answer(stream: &mut TcpStream, status: &str, body: &str) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request);
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
}

fn eval(address: &str, expression: &str, more: &[(&str, &str)]) -> (Output, String, String) {
    eval_with(&["eval"], address, expression, more)
}

fn eval_with(
    arguments: &[&str],
    address: &str,
    expression: &str,
    more: &[(&str, &str)],
) -> (Output, String, String) {
    let settings: Vec<(&str, &str)> = [
        ("FAS_APP_NAME", "web"),
        ("FAS_PROMETHEUS_ADDRESS", address),
        ("FAS_PROMETHEUS_METRIC_NAME", "depth"),
        ("FAS_PROMETHEUS_QUERY", "up"),
        ("FAS_CREATED_MACHINE_COUNT", expression),
        ("FAS_LOG_FORMAT", "text"),
    ]
    .into_iter()
    .chain(more.iter().copied())
    .collect();
    let output = run(arguments, &settings);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

#[test]
fn a_metric_that_failed_is_told_also_where_the_expression_can_do_without() {
    let address = prometheus("503 Service Unavailable", "down");
    let (output, out, err) = eval(&address, "depth ?? 4", &[]);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(out.contains("\"min\": 4"), "{out}");
    assert!(err.contains("metric depth has no value: "), "{err}");
    assert!(err.contains("503"), "{err}");
}

#[test]
fn a_metric_that_an_expression_needs_is_told_once() {
    let address = prometheus("503 Service Unavailable", "down");
    let (output, _, err) = eval(&address, "depth + 1", &[]);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert_eq!(err.matches("503").count(), 1, "{err}");
    assert!(
        err.contains("ERROR: the created target `depth + 1` needs depth, which has no value: "),
        "{err}"
    );
}

#[test]
fn a_target_that_failed_does_not_hide_the_other() {
    let address = prometheus("503 Service Unavailable", "down");
    let (output, out, err) = eval(&address, "depth + 1", &[("FAS_STARTED_MACHINE_COUNT", "2")]);
    assert_eq!(output.status.code(), Some(1), "{err}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        json["started"],
        serde_json::json!({ "min": 2, "max": 2 }),
        "as ever"
    );
    assert!(json["created"]["min"].is_null() && json["created"]["max"].is_null());
    let why = json["created"]["error"].as_str().unwrap();
    assert!(why.contains("needs depth, which has no value: "), "{why}");
    assert!(
        err.contains("ERROR: the created target `depth + 1`"),
        "{err}"
    );
    let (output, out, _) = eval(&address, "depth + 1", &[]);
    assert_eq!((output.status.code(), &*out), (Some(1), ""));
}

#[test]
fn a_warning_of_the_server_is_told() {
    let address = prometheus(
        "200 OK",
        r#"{"status":"success","warnings":["a store is away"],"data":{"resultType":"scalar","result":[1,"3"]}}"#,
    );
    let (output, out, err) = eval(&address, "depth", &[]);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(out.contains("\"min\": 3"), "{out}");
    assert!(err.contains("a store is away"), "{err}");
}

#[test]
fn a_server_that_never_answers_does_not_outlive_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let (output, out, err) = eval(&address, "depth ?? 4", &[("FAS_TIMEOUT", "400ms")]);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(out.contains("\"min\": 4"), "{out}");
    assert!(err.contains("FAS_TIMEOUT"), "{err}");
}

/// Answers nobody before so many have asked, and then all of them with this number.
fn patient(count: usize, number: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let body = format!(
        r#"{{"status":"success","data":{{"resultType":"scalar","result":[1,"{number}"]}}}}"#
    );
    thread::spawn(move || {
        let waiting: Vec<_> = listener.incoming().flatten().take(count).collect();
        for mut stream in waiting {
            answer(&mut stream, "200 OK", &body);
        }
    });
    address
}

#[test]
fn all_policies_and_regions_are_asked_about_side_by_side() {
    let address = patient(7, "3");
    let policies = format!(
        "app-name: web
timeout: 60s
policies:
  - {{process-group: site, per-region: true, regions: [iad, lhr, syd], created-machine-count: depth, metric-collectors: [
      {{type: prometheus, metric-name: depth, address: '{address}', query: up in $REGION}}]}}
  - {{process-group: jobs, per-region: true, regions: [iad, lhr, syd], created-machine-count: depth, metric-collectors: [
      {{type: prometheus, metric-name: depth, address: '{address}', query: up}}]}}
  - {{process-group: cron, created-machine-count: depth + other, metric-collectors: [
      {{type: prometheus, metric-name: depth, address: '{address}', query: up}},
      {{type: prometheus, metric-name: other, address: '{address}', query: other}}]}}
  - {{process-group: mail, created-machine-count: depth, metric-collectors: [
      {{type: prometheus, metric-name: depth, address: '{address}', query: up}}]}}
"
    );
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(policies.as_bytes()).unwrap();
    let output = run(&["eval", "--config", file.path().to_str().unwrap()], &[]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for (fleet, count) in [
        ("web/site/iad", 3),
        ("web/site/syd", 3),
        ("web/jobs/lhr", 3),
        ("web/cron", 6),
        ("web/mail", 3),
    ] {
        assert_eq!(json[fleet]["created"]["min"], count, "{fleet}: {json}");
    }
    assert_eq!(json.as_object().unwrap().len(), 8, "{json}");
}

/// What was configured has variables in it; a typing error in one of their values shows in the query alone.
#[test]
fn the_query_that_was_sent_is_explained() {
    let answer = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    let address = prometheus("200 OK", answer);
    let settings = [
        (
            "FAS_PROMETHEUS_QUERY",
            "sum(up{app='$APP_NAME',\n stage='$STAGE'})",
        ),
        ("STAGE", "produktion"),
        ("FAS_PROMETHEUS_TOKEN", "hunter22"),
        ("FAS_VERBOSE", "true"),
    ];
    let explained = ["eval", "--explain"];
    let (output, out, err) = eval_with(&explained, &address, "depth + 1", &settings);
    assert_eq!(output.status.code(), Some(1), "{err}");
    let under = "\n  query: sum(up{app='web',\n     stage='produktion'})\ncreated: ";
    assert!(out.contains(under), "{out}");
    let sent = "sum(up{app='web', stage='produktion'})";
    let error = format!("or set `FAS_PROMETHEUS_EMPTY_VALUE`); the query sent was: {sent}\n");
    assert!(err.ends_with(&error), "{err}");
    assert!(
        err.contains(&format!("debug: query of depth: {sent}\n")),
        "{err}"
    );

    let address = prometheus("400 Bad Request", "no");
    let more = [
        ("FAS_PROMETHEUS_QUERY", "up{a='hunter22', b='$APP_NAME'}"),
        settings[2],
    ];
    let (_, out, err) = eval_with(&explained, &address, "depth ?? 1", &more);
    assert!(out.contains("\n  query: up{a='***', b='web'}\n"), "{out}");
    assert!(
        err.contains(": no; the query sent was: up{a='***', b='web'}\n"),
        "{err}"
    );
}

#[test]
fn of_several_policies_each_is_printed_by_its_name_and_one_can_be_chosen() {
    let policies = "app-name: web
policies:
  - {process-group: site, created-machine-count: 2}
  - {process-group: jobs, name: workers, created-machine-count: depth, metric-collectors: [
      {type: prometheus, metric-name: depth, address: 'http://127.0.0.1:1', query: up}]}
";
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(policies.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    let output = run(&["eval", "--config", path], &[]);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(1), "{err}");
    // What one lacks does not withhold the other.
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["web/site"]["created"]["min"], 2, "{out}");
    assert!(json["workers"]["created"]["min"].is_null(), "{out}");
    assert!(
        err.contains(
            "ERROR: workers: the created target `depth` needs depth, which has no value: "
        ),
        "{err}"
    );
    let output = run(&["eval", "--config", path, "--policy", "web/site"], &[]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["created"]["max"], 2);
    let output = run(&["backtest", "--config", path], &[]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        err.contains("there are 2 policies, and one is replayed at a time: choose it with --policy NAME, of web/site, workers"),
        "{err}"
    );
}

#[test]
fn each_region_is_printed_by_its_name_and_one_can_be_chosen() {
    let address = prometheus(
        "200 OK",
        r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"region":"iad"},"value":[1,"3"]},{"metric":{"region":"lhr"},"value":[1,"0"]}]}}"#,
    );
    let regions = [("FAS_PER_REGION", "true"), ("FAS_REGIONS", "iad,lhr,syd")];
    let (output, out, err) = eval(&address, "depth", &regions);
    assert_eq!(output.status.code(), Some(1), "{err}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["web/app/iad"]["created"]["min"], 3, "{out}");
    assert_eq!(json["web/app/lhr"]["created"]["max"], 0, "{out}");
    assert!(json["web/app/syd"]["created"]["min"].is_null(), "{out}");
    assert!(
        err.contains("ERROR: web/app/syd: the created target `depth` needs depth"),
        "{err}"
    );
    let chosen = ["eval", "--region", "iad"];
    let (output, out, err) = eval_with(&chosen, &address, "depth", &regions);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(out.contains("\"min\": 3") && !out.contains("iad"), "{out}");
    let mistakes = [
        (
            &["eval", "--region", "ams"][..],
            &regions[..],
            "--region ams is none of the regions that are set: iad, lhr, syd",
        ),
        (
            &["eval", "--region", "iad"],
            &regions[1..],
            "--region needs FAS_PER_REGION=true",
        ),
        (
            &["eval"],
            &regions[..1],
            "FAS_PER_REGION without FAS_REGIONS means the regions in which there are machines, and listing machines needs a token",
        ),
        (
            &["backtest"],
            &regions,
            "one is replayed at a time: choose it with --region NAME",
        ),
    ];
    for (arguments, settings, told) in mistakes {
        let (output, _, err) = eval_with(arguments, &address, "depth", settings);
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains(told), "{err}");
    }
}

//! `backtest` as users run it: what is asked of the server, what stands on standard output, and what is refused.
//!
//! The server here knows one metric for ten minutes of the past, whose figures are computed by hand in
//! `backtest::replay::tests`; real servers are asked in `servers`.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    process::Output,
    sync::{Arc, Mutex},
    thread,
};

use fly_autoscaler::{
    clock::Clock,
    demo::{Cast, Speed},
    sim::Simulator,
};
use serde_json::{Value, json};

use crate::program::run;

/// The first minute of the past: 2025-01-01T00:00:00Z.
const BEGIN: i64 = 1_735_689_600;

/// Its end, ten minutes later.
const UNTIL: &str = "2025-01-01T00:10:00Z";

/// The metric in each of these minutes.
const DEPTH: [Option<f64>; 10] = [
    Some(10.0),
    Some(10.0),
    Some(30.0),
    Some(30.0),
    Some(10.0),
    Some(10.0),
    Some(10.0),
    None,
    Some(10.0),
    Some(50.0),
];

/// What a server was asked: its path, its authorization, and the form.
#[derive(Debug, Clone)]
struct Asked {
    path: String,
    authorization: Option<String>,
    form: BTreeMap<String, String>,
}

impl Asked {
    fn number(&self, name: &str) -> i64 {
        self.form[name].parse().unwrap()
    }
}

/// A server of query ranges, in a thread that ends with the process.
struct Prometheus {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Prometheus {
    /// Its answers are the matrix of these series: each a function of the time.
    fn with(series: Vec<fn(i64) -> Option<f64>>) -> Self {
        Self::answering(move |asked| {
            let (start, end, step) = (
                asked.number("start"),
                asked.number("end"),
                asked.number("step"),
            );
            let series: Vec<Value> = series
                .iter()
                .enumerate()
                .map(|(number, value)| {
                    let times = (start..=end).step_by(usize::try_from(step).unwrap());
                    let values: Vec<Value> = times
                        .filter_map(|time| Some(json!([time, value(time)?.to_string()])))
                        .collect();
                    json!({ "metric": { "instance": number.to_string() }, "values": values })
                })
                .filter(|series| {
                    series["values"]
                        .as_array()
                        .is_some_and(|all| !all.is_empty())
                })
                .collect();
            let data = json!({ "resultType": "matrix", "result": series });
            (
                "200 OK",
                json!({ "status": "success", "data": data }).to_string(),
            )
        })
    }

    fn answering(answer: impl Fn(&Asked) -> (&'static str, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                let Some(asked) = read(&mut reader) else {
                    continue;
                };
                let (status, body) = answer(&asked);
                kept.lock().unwrap().push(asked);
                let length = body.len();
                let _ = write!(
                    reader.get_mut(),
                    "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
            }
        });
        Self { address, asked }
    }

    fn depth() -> Self {
        Self::with(vec![depth])
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Runs the program for the ten minutes.
    fn backtest(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Run {
        let range = ["--since", "10m", "--until", UNTIL, "--boot", "90s"];
        let arguments: Vec<&str> = range.iter().chain(arguments).copied().collect();
        backtest(&self.address, &arguments, settings)
    }
}

fn read(reader: &mut BufReader<std::net::TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        match &*name.to_ascii_lowercase() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let form = url_decoded(&String::from_utf8(body).ok()?);
    Some(Asked {
        path,
        authorization,
        form,
    })
}

fn url_decoded(form: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(form.as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

fn depth(time: i64) -> Option<f64> {
    let minute = usize::try_from((time - BEGIN) / 60).ok()?;
    DEPTH.get(minute).copied().flatten()
}

struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Run {
    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.err);
        serde_json::from_str(&self.out).unwrap()
    }
}

fn backtest(address: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Run {
    let settings: Vec<(&str, &str)> = [
        ("FAS_APP_NAME", "web"),
        ("FAS_PROMETHEUS_ADDRESS", address),
        ("FAS_PROMETHEUS_METRIC_NAME", "depth"),
        ("FAS_PROMETHEUS_QUERY", "sum(queue_depth{app='$APP_NAME'})"),
        ("FAS_LOG_FORMAT", "text"),
    ]
    .into_iter()
    .filter(|(name, _)| settings.iter().all(|(other, _)| other != name))
    .chain(settings.iter().copied())
    .filter(|(_, value)| !value.is_empty())
    .collect();
    let arguments: Vec<&str> = ["backtest"].iter().chain(arguments).copied().collect();
    let Output {
        status,
        stdout,
        stderr,
    } = run(&arguments, &settings);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Run {
        code: status.code(),
        out: text(&stdout),
        err: text(&stderr),
    }
}

/// A number of a result, in machine-seconds.
fn seconds(result: &Value, name: &str) -> f64 {
    result[name].as_f64().unwrap() * 3600.0
}

#[test]
fn the_figures_are_those_that_were_computed_by_hand() {
    let server = Prometheus::depth();
    let run = server.backtest(
        &["--json", "--price-per-hour", "3"],
        &[
            ("FAS_CREATED_MACHINE_COUNT", "ceil(depth / 10)"),
            ("FAS_PROMETHEUS_TOKEN", "sesame"),
        ],
    );
    let shown = run.json();
    assert_eq!(run.err, "");
    let mut names: Vec<&String> = shown.as_object().unwrap().keys().collect();
    names.sort_unstable();
    assert_eq!(names, ["app", "from", "notes", "results", "step_s", "to"]);
    assert_eq!(shown["from"], "2025-01-01T00:00:00Z");
    assert_eq!(shown["to"], UNTIL);
    assert_eq!(
        (&shown["step_s"], &shown["app"]),
        (&json!(60), &json!("web"))
    );
    let result = &shown["results"][0];
    for (name, value) in [
        ("expression", json!("ceil(depth / 10)")),
        ("initial", json!(1)),
        ("creates", json!(6)),
        ("destroys", json!(2)),
        ("starts", json!(0)),
        ("stops", json!(0)),
        ("flaps", json!(2)),
        ("max_created", json!(5)),
        ("min_created", json!(1)),
    ] {
        assert_eq!(result[name], value, "{name}");
    }
    for (name, value) in [
        ("machine_hours", 1200.0),
        ("started_hours", 780.0),
        ("unmet_machine_hours", 420.0),
        ("cost", 3600.0),
    ] {
        let found = seconds(result, name);
        assert!((found - value).abs() < 1e-6, "{name}: {found}");
    }
    let points = result["points"].as_array().unwrap();
    assert_eq!(points.len(), 10);
    let point = json!({
        "at": "2025-01-01T00:02:00Z", "metrics": { "depth": 30.0 }, "target_min": 3, "target_max": 3,
        "created": 3, "started": 1, "decision": "create", "code": "too_few_created",
    });
    assert_eq!(points[2], point);
    let gap = &points[7];
    assert_eq!(
        (&gap["metrics"], &gap["target_min"]),
        (&json!({ "depth": null }), &Value::Null)
    );
    assert_eq!(
        (&gap["decision"], &gap["code"]),
        (&json!("no_scale"), &json!("no_target"))
    );

    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, "/api/v1/query_range");
    assert_eq!(asked[0].authorization.as_deref(), Some("Bearer sesame"));
    assert_eq!(asked[0].form["query"], "sum(queue_depth{app='web'})");
    assert_eq!(
        (
            asked[0].number("start"),
            asked[0].number("end"),
            asked[0].number("step")
        ),
        (BEGIN, BEGIN + 540, 60)
    );
}

#[test]
fn a_long_range_is_asked_for_in_parts_that_a_server_gives_at_once() {
    let server = Prometheus::with(vec![|time| Some((time % 7) as f64)]);
    let range = ["--since", "42h", "--step", "6s", "--until", UNTIL, "--json"];
    let run = backtest(
        &server.address,
        &range,
        &[("FAS_CREATED_MACHINE_COUNT", "depth + 1")],
    );
    let shown = run.json();
    let points = shown["results"][0]["points"].as_array().unwrap();
    assert_eq!(points.len(), 25_200);
    let mut time = BEGIN + 600 - 42 * 3600;
    for point in points {
        assert_eq!(
            point["metrics"]["depth"],
            json!((time % 7) as f64),
            "{point}"
        );
        time += 6;
    }
    let mut next = BEGIN + 600 - 42 * 3600;
    for asked in server.asked() {
        assert_eq!(asked.number("start"), next);
        let points = (asked.number("end") - next) / 6 + 1;
        assert!(points < 11_000, "{points}");
        next = asked.number("end") + 6;
    }
    assert_eq!((server.asked().len(), next), (3, BEGIN + 600));
}

#[test]
fn an_answer_that_is_too_large_is_asked_for_in_smaller_parts() {
    let server = Prometheus::answering(|asked| {
        let points = (asked.number("end") - asked.number("start")) / 60 + 1;
        if points > 4 {
            return ("200 OK", " ".repeat(10 * 1024 * 1024 + 1));
        }
        let values = format!(r#"[[{},"2"]]"#, asked.number("start"));
        let result = format!(r#"[{{"metric":{{}},"values":{values}}}]"#);
        (
            "200 OK",
            format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":{result}}}}}"#),
        )
    });
    let shown = server
        .backtest(&["--json", "--expression", "depth ?? 1"], &[])
        .json();
    let points = shown["results"][0]["points"].as_array().unwrap();
    let known: Vec<bool> = points
        .iter()
        .map(|point| !point["metrics"]["depth"].is_null())
        .collect();
    let expected = [
        true, false, true, false, true, false, true, false, true, false,
    ];
    assert_eq!(known, expected, "in parts of two");
}

#[test]
fn of_several_series_the_first_is_used_and_told() {
    let server = Prometheus::with(vec![depth, |_| Some(70.0)]);
    let run = server.backtest(&["--json", "--expression", "depth"], &[]);
    let points = run.json()["results"][0]["points"].clone();
    assert_eq!(points[0]["metrics"]["depth"], json!(10.0));
    assert_eq!(
        points[7]["metrics"]["depth"],
        json!(70.0),
        "as an instant query has it"
    );
    assert!(run.err.contains("returned 2 elements"), "{}", run.err);
}

#[test]
fn expressions_stand_side_by_side_with_a_chart_and_no_colours() {
    let server = Prometheus::depth();
    let arguments = [
        "--expression",
        "ceil(depth / 10)",
        "--expression",
        "ceil(depth / 5)",
        "--min",
        "1",
        "--max",
        "depth",
    ];
    let run = server.backtest(&arguments, &[]);
    assert_eq!((run.code, &*run.err), (Some(0), ""));
    for part in [
        "web: 2025-01-01 00:00 UTC to 2025-01-01 00:10 UTC, 10 passes, one every 1m",
        "A: ceil(depth / 10)",
        "B: ceil(depth / 5)",
        "C: 1 to depth",
        "machines",
        "wanted, before limits",
        "note: metrics are replayed as recorded",
        "note: `ceil(depth / 10)` had no value in 1 of 10 passes, first at 2025-01-01 00:07 UTC:",
    ] {
        assert!(run.out.contains(part), "{part}\n{}", run.out);
    }
    assert!(!run.out.contains('\u{1b}'), "{}", run.out);
    assert!(
        run.out.lines().all(|line| line.chars().count() <= 100),
        "{}",
        run.out
    );
    let row = |name: &str| -> Vec<String> {
        let line = run.out.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..]
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(row("creates"), ["6", "12", "0"]);
    assert_eq!(row("destroys"), ["2", "4", "0"]);
    assert_eq!(server.asked().len(), 1, "the history is asked for once");
}

#[test]
fn a_history_is_saved_without_secrets_and_replayed_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.json");
    let file = file.to_str().unwrap();
    let server = Prometheus::depth();
    let settings = [
        ("FAS_CREATED_MACHINE_COUNT", "ceil(depth / 10)"),
        ("FAS_PROMETHEUS_TOKEN", "sesame"),
        (
            "FAS_PROMETHEUS_QUERY",
            "sum(queue_depth{app='$APP_NAME', key='sesame'})",
        ),
    ];
    let saved = server.backtest(&["--json", "--save", file], &settings);
    assert!(saved.err.contains("wrote "), "{}", saved.err);
    let text = fs::read_to_string(file).unwrap();
    assert!(!text.contains("sesame"), "{text}");
    let nobody = "http://127.0.0.1:9";
    let load = |arguments: &[&str], settings: &[(&str, &str)]| {
        let arguments: Vec<&str> = ["--load", file, "--boot", "90s", "--json"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        backtest(nobody, &arguments, settings)
    };
    assert_eq!(load(&[], &settings).json(), saved.json());
    // No metric needs to be configured for that.
    let alone = [
        ("FAS_PROMETHEUS_ADDRESS", ""),
        ("FAS_PROMETHEUS_METRIC_NAME", ""),
        ("FAS_PROMETHEUS_QUERY", ""),
    ];
    let shown = load(&["--expression", "ceil(depth / 10)"], &alone).json();
    assert_eq!(shown["results"], saved.json()["results"]);
    let part = load(
        &[
            "--since",
            "4m",
            "--step",
            "2m",
            "--until",
            "2025-01-01T00:05:00Z",
        ],
        &settings,
    );
    let shown = part.json();
    assert_eq!(shown["from"], "2025-01-01T00:01:00Z");
    let points = shown["results"][0]["points"].as_array().unwrap();
    let depths: Vec<&Value> = points
        .iter()
        .map(|point| &point["metrics"]["depth"])
        .collect();
    assert_eq!(depths, [&json!(10.0), &json!(30.0)]);
}

#[test]
fn a_page_has_everything_in_it_and_escapes_what_is_not_ours() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    let server = Prometheus::depth();
    let expression = "depth < 20 and depth > 0 ? 1 : 3 // <script>";
    let arguments = [
        "--html",
        file.to_str().unwrap(),
        "--csv",
        "--expression",
        expression,
    ];
    let run = server.backtest(&arguments, &[]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let page = fs::read_to_string(file).unwrap();
    assert!(
        page.contains("depth &lt; 20 and depth &gt; 0 ? 1 : 3 // &lt;script&gt;"),
        "{page:.3000}"
    );
    for absent in ["<script", "http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(absent), "{absent}");
    }
    for present in [
        "<svg",
        "aria-label",
        "prefers-color-scheme:dark",
        "<!DOCTYPE html>",
        "machine-hours",
    ] {
        assert!(page.contains(present), "{present}");
    }
    let lines: Vec<&str> = run.out.lines().collect();
    assert_eq!(lines.len(), 11);
    assert_eq!(
        lines[0],
        "expression,at,depth,target_min,target_max,created,started,decision,code"
    );
    assert_eq!(
        lines[3],
        format!("{expression},2025-01-01T00:02:00Z,30,3,3,3,1,create,too_few_created")
    );
}

#[test]
fn a_reserve_at_rest_needs_to_know_how_many_the_proxy_had_running() {
    let server = Prometheus::with(vec![|time| {
        Some(if time < BEGIN + 300 { 1.0 } else { 3.0 })
    }]);
    let stopped = ("FAS_INITIAL_MACHINE_STATE", "stopped");
    let expression = ("FAS_CREATED_MACHINE_COUNT", "min(depth + 1, 10)");
    let run = server.backtest(&["--json"], &[stopped, expression]);
    assert_eq!((run.code, &*run.out), (Some(1), ""));
    assert!(run.err.contains("give --running EXPRESSION"), "{}", run.err);

    let told = server.backtest(&["--json", "--running", "depth"], &[stopped, expression]);
    let query = (
        "FAS_PROMETHEUS_QUERY",
        "count(fly_instance_up{app='$APP_NAME'})",
    );
    let found = server.backtest(&["--json"], &[stopped, expression, query]);
    for run in [told, found] {
        let shown = run.json();
        let result = &shown["results"][0];
        assert_eq!(
            (&result["initial"], &result["creates"]),
            (&json!(2), &json!(2))
        );
        // One runs for five minutes, two in the next one, and three in the last four.
        let found = seconds(result, "started_hours");
        assert!((found - 19.0 * 60.0).abs() < 1e-6, "{found}");
        let unmet = seconds(result, "unmet_machine_hours");
        assert!(
            unmet.abs() < 1e-6,
            "those that exist are what is asked for: {unmet}"
        );
    }
}

/// The server, the arguments, more settings, and what the error says.
type Refused<'a> = (
    &'a Prometheus,
    Vec<&'a str>,
    Vec<(&'a str, &'a str)>,
    &'a str,
);

#[test]
fn what_cannot_be_replayed_is_refused_with_the_reason() {
    let server = Prometheus::depth();
    let empty = Prometheus::with(vec![|_| None]);
    let broken = Prometheus::answering(|_| {
        (
            "422 Unprocessable Entity",
            r#"{"status":"error","errorType":"execution","error":"too many samples"}"#.to_owned(),
        )
    });
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let file = |app: &str| {
        format!(
            r#"{{"fly_autoscaler_history":1,"app":"{app}","from":"2025-01-01T00:00:00Z","step_s":60,"metrics":{{"depth":[1,2,3]}}}}"#
        )
    };
    let own = path("own.json", &file("web"));
    let other = path("other.json", &file("api"));
    let odd = path("odd.json", "no JSON");
    let asked = file("web").replace(
        "\"metrics\"",
        "\"queries\":{\"depth\":\"max(depth)\"},\"metrics\"",
    );
    let asked = path("asked.json", &asked);
    let nowhere = folder.path().join("no/such/folder");
    let nowhere = nowhere.to_str().unwrap();
    let temporal = [
        ("FAS_PROMETHEUS_ADDRESS", ""),
        ("FAS_PROMETHEUS_METRIC_NAME", ""),
        ("FAS_PROMETHEUS_QUERY", ""),
        ("FAS_TEMPORAL_ADDRESS", "127.0.0.1:9"),
        ("FAS_TEMPORAL_NAMESPACE", "default"),
        ("FAS_TEMPORAL_METRIC_NAME", "workflows"),
        ("FAS_CREATED_MACHINE_COUNT", "workflows"),
    ];
    let redis = [
        ("FAS_REDIS_URL", "redis://127.0.0.1:9"),
        ("FAS_REDIS_METRIC_NAME", "jobs"),
        ("FAS_REDIS_COMMAND", "LLEN jobs"),
        ("FAS_CREATED_MACHINE_COUNT", "jobs"),
    ];
    let count = ("FAS_CREATED_MACHINE_COUNT", "depth");
    let started = ("FAS_STARTED_MACHINE_COUNT", "depth");
    let cases: Vec<Refused<'_>> = vec![
        (
            &empty,
            vec!["--since", "1h"],
            vec![count],
            "metric depth has no history: between ",
        ),
        (
            &broken,
            vec!["--since", "1h"],
            vec![count],
            "metric depth has no history: the query failed (HTTP 422, execution): too many samples",
        ),
        (
            &server,
            vec!["--until", UNTIL, "--expression", "depth +"],
            vec![],
            "--expression: ",
        ),
        (
            &server,
            vec!["--until", UNTIL, "--expression", "dept"],
            vec![],
            "dept",
        ),
        (
            &server,
            vec![
                "--since",
                "10m",
                "--until",
                UNTIL,
                "--expression",
                "int(depth) % int(depth - depth)",
            ],
            vec![],
            "the expression `int(depth) % int(depth - depth)` has no value in any pass: ",
        ),
        (
            &server,
            vec![
                "--since",
                "10m",
                "--until",
                UNTIL,
                "--expression",
                "depth * 1e8",
            ],
            vec![],
            "the expression `depth * 1e8` cannot be replayed: it asks for 1000000000 machines at 2025-01-01T00:00:00Z",
        ),
        (
            &server,
            vec![],
            vec![],
            "there is no expression: set FAS_CREATED_MACHINE_COUNT, or give --expression",
        ),
        (
            &server,
            vec!["--until", "2999-01-01T00:00:00Z"],
            vec![count],
            "--until 2999-01-01T00:00:00Z is in the future",
        ),
        (
            &server,
            vec!["--until", "tomorrow"],
            vec![count],
            "--until \"tomorrow\": expected a time as in RFC 3339",
        ),
        (
            &server,
            vec!["--until", "1970-01-01T01:00:00Z"],
            vec![count],
            "the range begins before 1970",
        ),
        (
            &server,
            vec!["--step", "0s"],
            vec![count],
            "--step 0s: expected at least 1s",
        ),
        (
            &server,
            vec!["--step", "0"],
            vec![count],
            "--step 0: expected at least 1s",
        ),
        (
            &server,
            vec!["--step", "1500ms"],
            vec![count],
            "--step 1500ms: expected whole seconds",
        ),
        (
            &server,
            vec!["--step", "1 m"],
            vec![count],
            "--step \"1 m\": expected a duration such as 90s, 15m, 1h30m or 24h, or whole days such as 30d",
        ),
        (
            &server,
            vec!["--since", "30s"],
            vec![count],
            "--since 30s is shorter than a step (1m)",
        ),
        (
            &server,
            vec!["--since=-1h"],
            vec![count],
            "--since \"-1h\": expected a duration that is not negative",
        ),
        (
            &server,
            vec!["--since", "99999h", "--step", "1s"],
            vec![count],
            "at most 1000000 are replayed",
        ),
        (&server, vec!["--initial", "0"], vec![count], "--initial"),
        (
            &server,
            vec!["--price-per-hour=-1"],
            vec![count],
            "--price-per-hour -1: expected a number of at least 0",
        ),
        (
            &server,
            vec!["--min", "1"],
            vec![],
            "--min goes with --max, which is missing",
        ),
        (
            &server,
            vec!["--json", "--csv"],
            vec![count],
            "cannot be used with",
        ),
        (
            &server,
            vec!["--load", &own, "--save", nowhere],
            vec![count],
            "cannot be used with",
        ),
        (
            &server,
            vec!["--save", nowhere, "--since", "10m", "--until", UNTIL],
            vec![count],
            "--save: cannot write ",
        ),
        (
            &server,
            vec!["--html", nowhere, "--since", "10m", "--until", UNTIL],
            vec![count],
            "--html: cannot write ",
        ),
        (
            &server,
            vec!["--load", nowhere],
            vec![count],
            "--load: cannot read ",
        ),
        (
            &server,
            vec!["--load", &odd],
            vec![count],
            "it is not a history that `backtest --save` wrote",
        ),
        (
            &server,
            vec!["--load", &other],
            vec![count],
            "it is of the app \"api\", not of \"web\"",
        ),
        (
            &server,
            vec!["--load", &asked],
            vec![count],
            "its metric depth was asked for with the query `max(depth)`, and the query that is set is \
             `sum(queue_depth{app='web'})`: save it anew",
        ),
        (
            &server,
            vec!["--since", "4294967295d", "--step", "24h"],
            vec![count],
            "the range begins before 1970: it ends at ",
        ),
        (
            &server,
            vec!["--since", "99999999999d"],
            vec![count],
            "--since \"99999999999d\": it is too long",
        ),
        (
            &server,
            vec!["--load", &own, "--since", "2562047h"],
            vec![count],
            "--since is before the beginning",
        ),
        (
            &server,
            vec!["--load", &own, "--until", "2024-12-31T00:00:00Z"],
            vec![count],
            "--until is before the beginning",
        ),
        (
            &server,
            vec!["--load", &own, "--until", "2025-01-01T01:00:00Z"],
            vec![count],
            "--until is after the end",
        ),
        (
            &server,
            vec!["--load", &own, "--since", "1h"],
            vec![count],
            "--since is before the beginning",
        ),
        (
            &server,
            vec!["--load", &own, "--since", "30s"],
            vec![count],
            "--since 30s is shorter than a step (1m)",
        ),
        (
            &server,
            vec!["--load", &own, "--step", "90s"],
            vec![count],
            "a step has to be a multiple of that",
        ),
        (
            &server,
            vec!["--load", &own, "--expression", "load"],
            vec![("FAS_PROMETHEUS_METRIC_NAME", "load")],
            "has no metric load; it has: depth",
        ),
        (
            &server,
            vec![],
            temporal.to_vec(),
            "Temporal has no history, and the expressions read its metric workflows",
        ),
        (
            &server,
            vec![],
            redis.to_vec(),
            "Redis has no history, and the expressions read its metric jobs",
        ),
        (
            &server,
            vec![],
            vec![started],
            "say how many there are with --initial N",
        ),
        (
            &server,
            vec![
                "--since",
                "10m",
                "--until",
                UNTIL,
                "--running",
                "0 / (depth - depth)",
            ],
            vec![count],
            "--running `0 / (depth - depth)` has no value in any pass",
        ),
        (
            &server,
            vec![],
            vec![count, ("FAS_APP_NAME", "web-*"), ("FAS_ORG", "acme")],
            "name one app, as in `fly-autoscaler backtest --app NAME`",
        ),
    ];
    for (server, arguments, settings, expected) in cases {
        let run = backtest(&server.address, &arguments, &settings);
        assert_eq!(
            (run.code, &*run.out),
            (Some(1), ""),
            "{arguments:?}: {}",
            run.err
        );
        assert!(run.err.contains(expected), "{arguments:?}: {}", run.err);
        assert!(run.err.contains("ERROR: "), "{arguments:?}: {}", run.err);
    }
}

#[test]
fn a_token_is_in_no_error() {
    let server = Prometheus::with(vec![|_| None]);
    let settings = [
        ("FAS_CREATED_MACHINE_COUNT", "depth"),
        ("FAS_PROMETHEUS_TOKEN", "sesame"),
        ("FAS_PROMETHEUS_QUERY", "sum(queue_depth{key='sesame'})"),
    ];
    let run = server.backtest(&[], &settings);
    assert!(
        run.err.contains("sum(queue_depth{key='***'})"),
        "{}",
        run.err
    );
    assert!(!run.err.contains("sesame"), "{}", run.err);
}

/// A metric of a source that keeps no past.
const JOBS: [(&str, &str); 6] = [
    ("FAS_APP_NAME", "my-target-app"),
    ("FAS_PROMETHEUS_ADDRESS", ""),
    ("FAS_REDIS_URL", "redis://127.0.0.1:9"),
    ("FAS_REDIS_METRIC_NAME", "jobs"),
    ("FAS_REDIS_COMMAND", "LLEN queue:default"),
    ("FAS_CREATED_MACHINE_COUNT", "ceil(jobs / 10)"),
];

/// What is wanted at each step of a file of this text.
fn wanted(text: &str, settings: &[(&str, &str)]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.json");
    fs::write(&file, text).unwrap();
    let arguments = ["--json", "--load", file.to_str().unwrap()];
    let shown = backtest("http://127.0.0.1:9", &arguments, settings).json();
    let points = shown["results"][0]["points"].as_array().unwrap();
    let wanted = points.iter().map(|point| point["target_min"].clone());
    wanted.collect()
}

#[test]
fn a_source_without_a_past_is_replayed_from_the_file_that_readme_shows() {
    let readme = include_str!("../../README.md");
    let (_, section) = readme
        .split_once("\n## What would have happened\n")
        .unwrap();
    let (_, example) = section.split_once("```json\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    assert_eq!(
        wanted(example, &JOBS),
        [json!(2), json!(4), Value::Null, Value::Null, json!(1)]
    );
    let filled = [&JOBS[..], &[("FAS_REDIS_EMPTY_VALUE", "0")]].concat();
    assert_eq!(
        wanted(example, &filled),
        [json!(2), json!(4), json!(1), Value::Null, json!(1)]
    );
}

#[test]
fn who_has_no_past_is_shown_how_a_file_of_it_is_written() {
    let run = backtest("http://127.0.0.1:9", &[], &JOBS);
    assert_eq!((run.code, &*run.out), (Some(1), ""), "{}", run.err);
    let (_, example) = run.err.split_once("with --load, such as ").unwrap();
    assert_eq!(
        wanted(example.trim_end(), &JOBS),
        [json!(2), json!(4), Value::Null]
    );
}

#[test]
fn an_empty_value_stands_in_for_gaps_as_in_life() {
    let server = Prometheus::depth();
    let zero = ("FAS_PROMETHEUS_EMPTY_VALUE", "0");
    let shown = server
        .backtest(&["--json", "--expression", "ceil(depth / 10)"], &[zero])
        .json();
    assert_eq!(
        shown["results"][0]["points"][7]["metrics"]["depth"],
        json!(0.0)
    );
    assert_eq!(shown["results"][0]["points"][7]["target_min"], json!(1));
    let idle = Prometheus::with(vec![|_| None]);
    let shown = idle
        .backtest(&["--json", "--expression", "depth"], &[zero])
        .json();
    let notes = shown["notes"].to_string();
    assert!(
        notes.contains("depth returned nothing at any time: it is replayed as 0"),
        "{notes}"
    );
}

#[test]
fn a_sample_too_large_for_a_number_spoils_its_step_alone() {
    let server = Prometheus::answering(|asked| {
        let start = asked.number("start");
        let values: Vec<Value> = (0..10)
            .map(|minute| {
                let value = if minute == 3 { "1e400" } else { "20" };
                json!([start + 60 * minute, value])
            })
            .collect();
        let data =
            json!({ "resultType": "matrix", "result": [{ "metric": {}, "values": values }] });
        (
            "200 OK",
            json!({ "status": "success", "data": data }).to_string(),
        )
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("past.json");
    let file = file.to_str().unwrap();
    let settings = [("FAS_PROMETHEUS_EMPTY_VALUE", "0")];
    let target = ["--json", "--expression", "depth / 10"];
    let run = server.backtest(&[&target[..], &["--save", file]].concat(), &settings);
    let shown = run.json();
    assert!(run.err.contains("found `1e400`"), "{}", run.err);
    let check = |shown: &Value| {
        let points = &shown["results"][0]["points"];
        for minute in 0..10 {
            let target = if minute == 3 { Value::Null } else { json!(2) };
            assert_eq!(points[minute]["target_min"], target, "{minute}: {points}");
        }
        assert!(
            shown["notes"]
                .to_string()
                .contains("no value in 1 of 10 passes"),
            "{shown}"
        );
    };
    check(&shown);
    let again = backtest(
        &server.address,
        &[&target[..], &["--load", file]].concat(),
        &settings,
    );
    check(&again.json());
}

#[test]
fn a_server_that_aligns_times_to_the_step_is_heard_and_told() {
    let server = Prometheus::answering(|asked| {
        let (start, end) = (asked.number("start"), asked.number("end"));
        let times = (start - start.rem_euclid(60)..=end).step_by(60);
        let values: Vec<Value> = times.map(|time| json!([time, "20"])).collect();
        let data =
            json!({ "resultType": "matrix", "result": [{ "metric": {}, "values": values }] });
        (
            "200 OK",
            json!({ "status": "success", "data": data }).to_string(),
        )
    });
    let arguments = [
        "--since",
        "10m",
        "--until",
        "2025-01-01T00:10:20Z",
        "--json",
        "--expression",
        "depth / 10",
    ];
    let run = backtest(&server.address, &arguments, &[]);
    let shown = run.json();
    assert!(run.err.contains("aligned to the step"), "{}", run.err);
    let points = shown["results"][0]["points"].as_array().unwrap();
    assert_eq!(points.len(), 10);
    assert!(
        points.iter().all(|point| point["target_min"] == 2),
        "{points:?}"
    );
}

#[test]
fn what_is_no_answer_to_a_range_query_is_told_as_such() {
    for (data, expected) in [
        (
            json!({ "resultType": "vector", "result": [] }),
            "expected the result type `matrix` of a range query, but found `vector`",
        ),
        (
            json!({ "resultType": "matrix", "result": [7] }),
            "the JSON is not an answer to a range query",
        ),
    ] {
        let body = json!({ "status": "success", "data": data }).to_string();
        let server = Prometheus::answering(move |_| ("200 OK", body.clone()));
        let run = server.backtest(&["--expression", "depth"], &[]);
        assert_eq!(run.code, Some(1));
        assert!(run.err.contains(expected), "{}", run.err);
    }
}

/// What `demo` prints its settings for: its Prometheus has a past, also from before it began.
#[test]
fn the_demos_prometheus_has_a_history() {
    let cast = Cast {
        apps: 1,
        seed: 1,
        speed: Speed::parse("1").unwrap(),
        regions: false,
        copies: 1,
    };
    let simulator = Simulator::new(&cast.options(Clock::System.now().wall));
    cast.set(&mut simulator.platform());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            simulator.serve(listener).await
        })
    });
    let settings = cast.settings(&address);
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let shown = backtest(&address, &["--since", "2h", "--json"], &settings).json();
    let result = &shown["results"][0];
    // Three days of the demo, of forty minutes each, with a busy noon.
    assert_eq!(result["points"].as_array().unwrap().len(), 120);
    assert_eq!(result["max_created"], 10, "{}", shown["notes"]);
    let is_known = |point: &Value| point["metrics"]["running_machines"].is_number();
    assert!(
        result["points"].as_array().unwrap().iter().all(is_known),
        "{result}"
    );
    assert!(result["creates"].as_u64().unwrap() >= 20, "{result}");
}

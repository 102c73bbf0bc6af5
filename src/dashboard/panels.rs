//! The panels: what an operator wants to know, in the order in which it is asked for.

use std::fmt;

use crate::{
    metrics::series::{
        API_REQUEST_DURATION, API_REQUESTS, APP, BUILD_INFO, CREATES, DESTROYS, DRY_RUN_ACTIONS,
        FAILING_PASSES, GROUP, LAST_SUCCESS, MACHINES, METRIC_VALUE, PASS_DURATION, PASS_ERRORS,
        PROCESS_CPU, PROCESS_MAX_FILES, PROCESS_MEMORY, PROCESS_OPEN_FILES, PROCESS_START,
        PROCESS_THREADS, RECONCILES, REGION, STARTS, STOPS, Series, TARGET_MACHINES,
    },
    scaling::{State, StateLabel},
};

/// Panels under one heading.
#[derive(Debug, Clone)]
pub struct Row {
    /// The heading.
    pub title: &'static str,
    /// The panels, from left to right.
    pub panels: Vec<Panel>,
}

/// One panel.
#[derive(Debug, Clone)]
pub struct Panel {
    /// What it shows, in a few words.
    pub title: &'static str,
    /// How to read it.
    pub description: &'static str,
    /// How it looks.
    pub look: Look,
    /// What its numbers are.
    pub unit: Unit,
    /// What it asks Prometheus.
    pub queries: Vec<Query>,
}

/// How a panel looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// One number of now: red below 1.
    Required,
    /// One number of now: red from this on.
    RedFrom(u32),
    /// One number of now: orange above 0, blue at it.
    Noticed,
    /// The legend of the one series that there is.
    Name,
    /// A line for each series.
    Lines,
    /// Areas on top of each other.
    Stacked,
    /// Bars on top of each other.
    Bars,
}

/// What the numbers of a panel are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Of no unit, and of either sign.
    Any,
    /// How many.
    Count,
    /// Seconds.
    Seconds,
    /// How many in a second.
    PerSecond,
    /// Bytes.
    Bytes,
    /// A part of one.
    Share,
}

/// One question to Prometheus. `$app`, `$__rate_interval` and `$__range` are what Grafana puts in.
#[derive(Debug, Clone)]
pub struct Query {
    /// In `PromQL`.
    pub expression: String,
    /// The name of each series, with labels as `{{label}}`.
    pub legend: &'static str,
}

/// All panels.
#[must_use]
pub fn rows() -> Vec<Row> {
    vec![now(), machines(), passes(), requests(), process()]
}

fn now() -> Row {
    let success = of_apps(LAST_SUCCESS);
    let failing = of_apps(FAILING_PASSES);
    Row {
        title: "Now",
        panels: vec![
            Panel {
                title: "Autoscalers up",
                description: "How many autoscalers Prometheus scrapes. 0: it is down, or not scraped, and nothing else here is of now.",
                look: Look::Required,
                unit: Unit::Count,
                queries: vec![query(format!("count({BUILD_INFO}) or vector(0)"), "up")],
            },
            Panel {
                title: "Apps",
                description: "How many of the chosen apps are scaled. 0 while the autoscaler is up: the apps of a wildcard cannot be listed, or none matches.",
                look: Look::Required,
                unit: Unit::Count,
                queries: vec![query(format!("count({success}) or vector(0)"), "apps")],
            },
            Panel {
                title: "Oldest success",
                description: "Time since the last successful pass, of the app for which it is longest.",
                look: Look::RedFrom(300),
                unit: Unit::Seconds,
                queries: vec![query(format!("max(time() - {success})"), "ago")],
            },
            Panel {
                title: "Failing passes",
                description: "Passes in a row that have failed, of the app with the most. A few lost answers are normal.",
                look: Look::RedFrom(11),
                unit: Unit::Count,
                queries: vec![query(format!("max({failing})"), "failed in a row")],
            },
            Panel {
                title: "Dry run",
                description: "Passes in the chosen time that would have changed something, had FAS_DRY_RUN not been set. Above 0: nothing is scaled.",
                look: Look::Noticed,
                unit: Unit::Count,
                queries: vec![query(
                    format!("sum(increase({DRY_RUN_ACTIONS}[$__range]))"),
                    "changes not made",
                )],
            },
            Panel {
                title: "Version",
                description: "What is running.",
                look: Look::Name,
                unit: Unit::Any,
                queries: vec![query(
                    format!("max by (version) ({BUILD_INFO})"),
                    "{{version}}",
                )],
            },
        ],
    }
}

fn machines() -> Row {
    let targets = of_apps(TARGET_MACHINES);
    let created = machines_in(|state| state.is_living() && !state.is_failed());
    let up = machines_in(State::is_up);
    let states = of_apps(MACHINES);
    let values = of_apps(METRIC_VALUE);
    let changes = [
        (CREATES, "create {{status}}"),
        (DESTROYS, "destroy {{status}}"),
        (STARTS, "start {{status}}"),
        (STOPS, "stop {{status}}"),
    ];
    let changes = changes.map(|(series, legend)| {
        query(
            format!("sum by (status) (increase({series}[$__rate_interval]))"),
            legend,
        )
    });
    Row {
        title: "Machines",
        panels: vec![
            Panel {
                title: "Targets and machines",
                description: "What the expressions ask for, before floor, ceiling and other limits, and what there is: the sum over the chosen apps. A target without a value is not shown.",
                look: Look::Lines,
                unit: Unit::Count,
                queries: vec![
                    query(
                        format!("sum by (kind, bound) ({targets})"),
                        "{{kind}} target, {{bound}}",
                    ),
                    query(format!("sum({created})"), "machines"),
                    query(format!("sum({up})"), "running"),
                ],
            },
            Panel {
                title: "Machines by state",
                description: "The last known state. Unreachable and stuck machines are counted only as such.",
                look: Look::Stacked,
                unit: Unit::Count,
                queries: vec![query(format!("sum by (state) ({states}) > 0"), "{{state}}")],
            },
            Panel {
                title: "Metrics",
                description: "The values that the expressions are given, the 50 highest. A gap: the metric has no value.",
                look: Look::Lines,
                unit: Unit::Any,
                queries: vec![query(
                    format!("topk(50, max by ({APP}, {GROUP}, {REGION}, metric) ({values}))"),
                    "{{app}}/{{group}} {{region}} {{metric}}",
                )],
            },
            Panel {
                title: "Changes",
                description: "Machines created, destroyed, started and stopped, and what failed, over all apps. A dry run has none.",
                look: Look::Bars,
                unit: Unit::Count,
                queries: changes.into(),
            },
        ],
    }
}

fn passes() -> Row {
    let failing = of_apps(FAILING_PASSES);
    Row {
        title: "Passes",
        panels: vec![
            Panel {
                title: "Errors by reason",
                description: "What went wrong in passes, over all apps. The log has a line for each.",
                look: Look::Bars,
                unit: Unit::Count,
                queries: vec![query(
                    format!("sum by (reason) (increase({PASS_ERRORS}[$__rate_interval])) > 0"),
                    "{{reason}}",
                )],
            },
            Panel {
                title: "Failing passes",
                description: "Passes in a row that have failed, of the 20 apps with the most. Empty is healthy.",
                look: Look::Lines,
                unit: Unit::Count,
                queries: vec![query(
                    format!("topk(20, max by ({APP}, {GROUP}, {REGION}) ({failing})) > 0"),
                    "{{app}}/{{group}} {{region}}",
                )],
            },
            Panel {
                title: "Passes by decision",
                description: "What passes decided, over all apps, and what a dry run would have done.",
                look: Look::Lines,
                unit: Unit::PerSecond,
                queries: vec![
                    query(
                        format!("sum by (status) (rate({RECONCILES}[$__rate_interval]))"),
                        "{{status}}",
                    ),
                    query(
                        format!(
                            "sum by (decision) (rate({DRY_RUN_ACTIONS}[$__rate_interval])) > 0"
                        ),
                        "dry run, would {{decision}}",
                    ),
                ],
            },
            Panel {
                title: "Pass duration",
                description: "How long passes take. Near FAS_TIMEOUT they end undone.",
                look: Look::Lines,
                unit: Unit::Seconds,
                queries: vec![
                    query(quantile(0.5, PASS_DURATION, ""), "half within"),
                    query(quantile(0.99, PASS_DURATION, ""), "99 % within"),
                ],
            },
        ],
    }
}

fn requests() -> Row {
    Row {
        title: "Requests to Fly, Prometheus and Temporal",
        panels: vec![
            Panel {
                title: "Failed requests",
                description: "Requests without a good answer, retries included. A refused token is `unauthorized`.",
                look: Look::Bars,
                unit: Unit::Count,
                queries: vec![query(
                    format!(
                        r#"sum by (api, operation, status) (increase({API_REQUESTS}{{status!="ok"}}[$__rate_interval])) > 0"#
                    ),
                    "{{api}} {{operation}}: {{status}}",
                )],
            },
            Panel {
                title: "Requests",
                description: "All requests, retries included.",
                look: Look::Lines,
                unit: Unit::PerSecond,
                queries: vec![query(
                    format!("sum by (api, operation) (rate({API_REQUESTS}[$__rate_interval])) > 0"),
                    "{{api}} {{operation}}",
                )],
            },
            Panel {
                title: "Latency",
                description: "How long 99 % of the requests take at most.",
                look: Look::Lines,
                unit: Unit::Seconds,
                queries: vec![query(
                    quantile(0.99, API_REQUEST_DURATION, ", api, operation"),
                    "{{api}} {{operation}}",
                )],
            },
        ],
    }
}

fn process() -> Row {
    let cpu = format!("rate({PROCESS_CPU}[$__rate_interval])");
    let start = ours(PROCESS_START);
    let line = |title, description, unit, queries| Panel {
        title,
        description,
        look: Look::Lines,
        unit,
        queries,
    };
    Row {
        title: "The process",
        panels: vec![
            line(
                "Memory",
                "Resident memory.",
                Unit::Bytes,
                vec![query(ours(PROCESS_MEMORY), "resident")],
            ),
            line(
                "Processor",
                "Processor time in use, as a share of one processor.",
                Unit::Share,
                vec![query(ours(cpu), "in use")],
            ),
            line(
                "Open files and threads",
                "Connections are open files. At the limit, requests fail.",
                Unit::Count,
                vec![
                    query(ours(PROCESS_OPEN_FILES), "open files"),
                    query(ours(PROCESS_MAX_FILES), "allowed files"),
                    query(ours(PROCESS_THREADS), "threads"),
                ],
            ),
            line(
                "Running for",
                "It falls to 0 with each restart.",
                Unit::Seconds,
                vec![query(format!("time() - ({start})"), "running for")],
            ),
        ],
    }
}

fn query(expression: String, legend: &'static str) -> Query {
    Query { expression, legend }
}

/// What a series says of the chosen apps.
fn of_apps(series: Series) -> String {
    format!(r#"{series}{{{APP}=~"$app"}}"#)
}

/// The machines of the chosen apps in states that are so. Those that are known only as `unreachable`, `stuck` or `other` are none of
/// them.
fn machines_in(is_so: impl Fn(&State) -> bool) -> String {
    let states = StateLabel::ALL
        .map(StateLabel::as_str)
        .into_iter()
        .filter(|word| !matches!(State::parse(word), State::Other(_)) && is_so(&State::parse(word)))
        .collect::<Vec<_>>()
        .join("|");
    format!(r#"{MACHINES}{{{APP}=~"$app", state=~"{states}"}}"#)
}

/// The duration that this share of a histogram stays within; `labels` begins with a comma, or is empty.
fn quantile(share: f64, histogram: Series, labels: &str) -> String {
    format!(
        "histogram_quantile({share}, sum by (le{labels}) (rate({histogram}_bucket[$__rate_interval])))"
    )
}

/// Every program with a client of Prometheus has such series: those of autoscalers alone.
fn ours(process: impl fmt::Display) -> String {
    format!("{process} and on (job, instance) {BUILD_INFO}")
}

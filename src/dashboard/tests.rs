use std::collections::BTreeSet;

use serde_json::Value;

use super::{alerts, dashboard, rows, rules};
use crate::{
    metrics::{
        Metrics,
        series::{
            self, ALL, GROUP, LOCK_CHANGES, LOCK_RENEWAL, MACHINES, OF_PROCESS,
            PROCESS_VIRTUAL_MEMORY, REGION, Series, SeriesKind,
        },
    },
    scaling::StateLabel,
};

/// Series without a place in dashboard or rules, and why.
const LEFT_OUT: [(Series, &str); 3] = [
    (
        PROCESS_VIRTUAL_MEMORY,
        "what is mapped says nothing of what is used",
    ),
    (LOCK_CHANGES, "a deploy of several copies changes it"),
    (
        LOCK_RENEWAL,
        "most run one copy, and without a lock it is always 0",
    ),
];

/// Words of `PromQL` that the expressions use.
const WORDS: [&str; 15] = [
    "absent",
    "and",
    "by",
    "count",
    "histogram_quantile",
    "increase",
    "label_values",
    "max",
    "on",
    "or",
    "rate",
    "sum",
    "time",
    "topk",
    "vector",
];

/// Labels that Prometheus itself gives.
const OF_PROMETHEUS: [&str; 3] = ["instance", "job", "le"];

fn expressions() -> Vec<String> {
    let panels = rows().into_iter().flat_map(|row| row.panels);
    let queries = panels.flat_map(|panel| panel.queries);
    queries
        .map(|query| query.expression)
        .chain(rules().into_iter().map(|rule| rule.expr))
        .collect()
}

fn known() -> impl Iterator<Item = Series> {
    ALL.into_iter().chain(OF_PROCESS)
}

/// A word, a text in quotes or a sign, in the order of an expression; ranges are one sign.
fn tokens(expression: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => rest[1..].find('"').expect("the quotes end") + 2,
            '[' => rest.find(']').expect("the range ends") + 1,
            '_' | 'a'..='z' => rest
                .find(|one: char| one != '_' && !one.is_ascii_alphanumeric())
                .unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, behind) = rest.split_at(end);
        if !token.trim().is_empty() {
            tokens.push(token.to_owned());
        }
        rest = behind;
    }
    tokens
}

fn is_word(token: &str) -> bool {
    token.starts_with(|one: char| one == '_' || one.is_ascii_lowercase())
}

/// What an expression names: series as written, with the word and the bracket before it; labels that it groups by; and
/// for each series the labels that it asks for, with their values.
#[derive(Debug, Default)]
struct Named {
    series: Vec<(String, Option<String>)>,
    grouping: Vec<String>,
    matchers: Vec<(String, String, String)>,
}

fn named(expression: &str) -> Named {
    let mut named = Named::default();
    let tokens = tokens(expression);
    let mut at = 0;
    while at < tokens.len() {
        let token = tokens[at].as_str();
        let groups = matches!(token, "by" | "on");
        if groups {
            assert_eq!(tokens[at + 1], "(", "{expression}");
            at += 2;
            while tokens[at] != ")" {
                if tokens[at] != "," {
                    named.grouping.push(tokens[at].clone());
                }
                at += 1;
            }
        } else if token == "{" {
            let (series, _) = named.series.last().expect("a series has the matchers");
            let series = series.clone();
            let mut label = String::new();
            while tokens[at] != "}" {
                if is_word(&tokens[at]) {
                    label.clone_from(&tokens[at]);
                } else if let Some(text) = tokens[at].strip_prefix('"') {
                    let text = text.trim_end_matches('"').to_owned();
                    named.matchers.push((series.clone(), label.clone(), text));
                }
                at += 1;
            }
        } else if is_word(token) && !WORDS.contains(&token) {
            let function = (at >= 2 && tokens[at - 1] == "(").then(|| tokens[at - 2].clone());
            named.series.push((token.to_owned(), function));
        }
        at += 1;
    }
    named
}

/// The series of the table that a name is one of, and whether it is a bucket's.
fn series_of(name: &str) -> Option<(Series, bool)> {
    let whole = known().find(|series| series.name == name && series.kind != SeriesKind::Histogram);
    let bucket = || {
        let name = name.strip_suffix("_bucket")?;
        known().find(|series| series.name == name && series.kind == SeriesKind::Histogram)
    };
    whole
        .map(|series| (series, false))
        .or_else(|| Some((bucket()?, true)))
}

#[test]
fn each_expression_names_only_series_and_labels_that_there_are() {
    for expression in expressions() {
        let named = named(&expression);
        assert!(!named.series.is_empty(), "{expression}");
        for (name, function) in &named.series {
            let (series, is_bucket) = series_of(name).unwrap_or_else(|| {
                panic!("{expression}: {name} is no series that can be asked for")
            });
            let grows = is_bucket || series.kind == SeriesKind::Counter;
            let of_change = matches!(function.as_deref(), Some("rate" | "increase"));
            assert_eq!(
                grows, of_change,
                "{expression}: {name} is asked for its change if it only grows"
            );
            for label in named.grouping.iter().map(String::as_str) {
                let is_known = series.labels.contains(&label)
                    || OF_PROMETHEUS.contains(&label)
                    // Fleets of regions have it.
                    || (label == REGION && series.labels.contains(&GROUP))
                    // `and on (…)` stands between two series.
                    || named.series.len() > 1;
                assert!(is_known, "{expression}: {name} has no label {label}");
            }
        }
        for (name, label, _) in &named.matchers {
            let (series, _) = series_of(name).unwrap();
            assert!(
                series.labels.contains(&label.as_str()),
                "{expression}: {name} has no label {label}"
            );
        }
    }
}

#[test]
fn each_value_that_is_asked_for_is_one_that_a_label_can_have() {
    let mut text = String::new();
    Metrics::new().write(&mut text);
    let mut seen = 0;
    for expression in expressions() {
        for (name, label, values) in named(&expression).matchers {
            if values == "$app" {
                continue;
            }
            for value in values.split('|') {
                let is_known = if name == MACHINES.name {
                    StateLabel::ALL.iter().any(|state| state.as_str() == value)
                } else {
                    let wanted = format!(r#"{label}="{value}""#);
                    let mut lines = text.lines();
                    lines.any(|line| line.starts_with(&name) && line.contains(&wanted))
                };
                assert!(is_known, "{expression}: {label} is never {value}");
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "there are such values");
}

#[test]
fn no_series_is_forgotten() {
    let used: BTreeSet<&str> = expressions()
        .iter()
        .flat_map(|expression| named(expression).series)
        .filter_map(|(name, _)| Some(series_of(&name)?.0.name))
        .collect();
    for series in known() {
        let reason = LEFT_OUT.iter().find(|(left_out, _)| *left_out == series);
        assert_eq!(
            used.contains(series.name),
            reason.is_none(),
            "{series} has a place in dashboard or rules, or a reason why not: {reason:?}"
        );
    }
}

#[test]
fn each_legend_names_labels_that_its_expression_leaves() {
    for panel in rows().into_iter().flat_map(|row| row.panels) {
        for query in panel.queries {
            let grouping = named(&query.expression).grouping;
            let mut rest = query.legend;
            while let Some((_, behind)) = rest.split_once("{{") {
                let (label, behind) = behind.split_once("}}").unwrap();
                assert!(grouping.iter().any(|one| one == label), "{query:?}");
                rest = behind;
            }
        }
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_imports() {
    let dashboard: Value = serde_json::from_str(&dashboard()).unwrap();
    assert_eq!(
        dashboard["id"],
        Value::Null,
        "it is a new one where it is imported"
    );
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&Value> = variables.iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["datasource", "app"]);
    assert_eq!(variables[0]["type"], "datasource");
    let apps = format!("label_values({}, {})", series::LAST_SUCCESS, series::APP);
    assert_eq!(variables[1]["query"]["query"], apps);

    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    let mut expressions = Vec::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(w > 0 && x + w <= 24, "{panel}");
        for column in x..x + w {
            for line in y..y + h {
                assert!(taken.insert((column, line)), "it lies on another: {panel}");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        assert!(
            !panel["description"].as_str().unwrap().is_empty(),
            "{panel}"
        );
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{target}");
            assert_ne!(target["instant"], target["range"], "{target}");
            expressions.push(target["expr"].as_str().unwrap().to_owned());
        }
    }
    let queries: Vec<String> = rows()
        .into_iter()
        .flat_map(|row| row.panels)
        .flat_map(|panel| panel.queries)
        .map(|query| query.expression)
        .collect();
    assert_eq!(expressions, queries, "every query is in it");
}

#[test]
fn the_rules_are_yaml_that_says_of_each_what_is_the_matter() {
    let text = alerts();
    let file: Value = serde_saphyr::from_str(&text).unwrap();
    let written = file["groups"][0]["rules"].as_array().unwrap();
    let rules = rules();
    assert_eq!(written.len(), rules.len());
    let readme = include_str!("../../README.md");
    let mut names = BTreeSet::new();
    for (written, rule) in written.iter().zip(&rules) {
        assert_eq!(written["alert"], rule.alert);
        assert_eq!(written["expr"], *rule.expr);
        assert_eq!(written["for"], "5m", "a restart fires nothing");
        assert!(["critical", "warning"].contains(&written["labels"]["severity"].as_str().unwrap()));
        let annotations = &rule.annotations;
        assert_eq!(written["annotations"]["summary"], annotations.summary);
        assert_eq!(
            written["annotations"]["description"],
            annotations.description
        );
        assert!(!annotations.summary.is_empty() && annotations.description.ends_with('.'));
        assert!(names.insert(rule.alert), "{} comes twice", rule.alert);
        assert!(
            readme.contains(&format!("| `{}` |", rule.alert)),
            "README explains {}",
            rule.alert
        );
    }
}

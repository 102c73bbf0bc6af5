//! The tables of results that the real Expr 1.16.0 gave.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{
    super::{EvalError, Expression, Names, Values},
    now,
};
use crate::scaling::to_count;

/// What became of one row.
enum Outcome {
    Agree,
    Refused,
    Differ(String),
}

fn run(expr: &str, vars: &[(String, f64)]) -> Result<f64, EvalError> {
    let names = Names::new(vars.iter().map(|(name, _)| name));
    let mut values = Values::new(&names);
    for (name, value) in vars {
        values.set(name, Some(*value));
    }
    Expression::compile(expr, &names)
        .map_err(|error| EvalError::Run(error.message().to_owned()))?
        .evaluate(&values, now())
}

/// `expected` is a number as text, or upstream's kind of error.
fn compare(got: &Result<f64, EvalError>, expected: &str, may_refuse: bool) -> Outcome {
    let agrees = match (expected, got) {
        ("error: nan", result) => matches!(result, Err(EvalError::Nan)),
        ("error: inf", result) => matches!(result, Err(EvalError::Infinite)),
        ("error: compile" | "error: run", result) => result.is_err(),
        (number, Ok(value)) => {
            number.parse::<f64>().expect("a number").to_bits() == value.to_bits()
        }
        (_, Err(_)) if may_refuse => return Outcome::Refused,
        (_, Err(_)) => false,
    };
    if agrees {
        Outcome::Agree
    } else {
        Outcome::Differ(format!("expected {expected}, got {got:?}"))
    }
}

#[derive(Default)]
struct Summary {
    agree: usize,
    refused: usize,
    differences: Vec<String>,
}

impl Summary {
    fn count(&mut self, expr: &str, outcome: Outcome) {
        match outcome {
            Outcome::Agree => self.agree += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Differ(how) => self.differences.push(format!("{expr}: {how}")),
        }
    }

    #[expect(
        clippy::print_stdout,
        reason = "the line is what a reader of the test run looks for"
    )]
    fn assert_none_differs(&self, table: &str, rows: usize) {
        println!(
            "{table}: {} agree, {} refused, {} differ",
            self.agree,
            self.refused,
            self.differences.len()
        );
        assert!(self.differences.is_empty(), "{:#?}", self.differences);
        assert_eq!(self.agree + self.refused, rows, "every row counts");
    }
}

#[derive(serde::Deserialize)]
struct Case<'t> {
    expr: String,
    #[serde(borrow)]
    vars: BTreeMap<String, &'t RawValue>,
    #[serde(borrow)]
    expect: &'t RawValue,
    value: String,
    scope: String,
}

#[test]
fn every_case_gives_upstreams_number_or_is_refused() {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/expr_cases.json"
    ));
    let cases: Vec<Case<'_>> = serde_json::from_str(text).expect("the table is well formed");
    let mut summary = Summary::default();
    for case in &cases {
        let vars: Vec<(String, f64)> = case
            .vars
            .iter()
            .map(|(name, value)| {
                (
                    name.clone(),
                    value.get().parse().expect("a metric's value is a number"),
                )
            })
            .collect();
        let got = run(&case.expr, &vars);
        let expected = case.expect.get().trim_matches('"');
        let number = !expected.starts_with("error");
        // The value before rounding comes with its Go type in front.
        let exact = if number {
            case.value.split_once(' ').map_or("", |(_, value)| value)
        } else {
            expected
        };
        let mut outcome = compare(&got, exact, case.scope == "may_refuse");
        if let (true, Outcome::Agree, Ok(value)) = (number, &outcome, &got) {
            let count: f64 = expected.parse().expect("a count");
            let rounded = if value.abs() < 4e9 {
                to_count(0, *value).map_or(f64::NAN, f64::from)
            } else {
                value.round()
            };
            if rounded.to_bits() != count.to_bits() {
                outcome = Outcome::Differ(format!("expected the count {count}, got {rounded}"));
            }
        }
        summary.count(&case.expr, outcome);
    }
    summary.assert_none_differs("expr_cases.json", cases.len());
}

#[derive(serde::Deserialize)]
struct Edge {
    expr: String,
    expect: String,
    scope: String,
}

/// The edges of the grammar, of the types and of the numbers. `extension` marks what fails at run time upstream, because it
/// takes a float for an integer, and works here.
#[test]
fn every_edge_gives_upstreams_number_or_is_refused() {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/expr_edges.json"
    ));
    let edges: Vec<Edge> = serde_json::from_str(text).expect("the table is well formed");
    let vars: Vec<(String, f64)> = [
        ("q", 10.0),
        ("r", 4.0),
        ("s", 0.5),
        ("v", 2.5),
        ("n", f64::NAN),
        ("i", f64::INFINITY),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let mut summary = Summary::default();
    for edge in &edges {
        let got = run(&edge.expr, &vars);
        let outcome = match edge.scope.as_str() {
            "extension" if got.is_ok() => Outcome::Agree,
            "extension" => Outcome::Differ(format!("no longer accepted: {got:?}")),
            scope => compare(&got, &edge.expect, scope == "may_refuse"),
        };
        summary.count(&edge.expr, outcome);
    }
    summary.assert_none_differs("expr_edges.json", edges.len());
}

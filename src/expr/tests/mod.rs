//! The language as a whole: what upstream gives, what is refused and how, what a missing metric does, and the bounds.

mod agreement;
mod diagnostics;
mod limits;
mod missing;
mod properties;
mod times;

use jiff::Timestamp;

use super::{EvalError, Expression, Names, Values};

/// A Tuesday in winter, 13:14:15 in UTC.
fn now() -> Timestamp {
    "2026-11-24T13:14:15Z".parse().expect("a timestamp")
}

fn names_of(values: &[(&str, Option<f64>)]) -> Names {
    Names::new(values.iter().map(|(name, _)| name))
}

fn values_of(names: &Names, values: &[(&str, Option<f64>)]) -> Values {
    let mut given = Values::new(names);
    for (name, value) in values {
        given.set(name, *value);
    }
    given
}

/// The result of an expression that compiles.
fn evaluate(source: &str, values: &[(&str, Option<f64>)]) -> Result<f64, EvalError> {
    let names = names_of(values);
    let expression =
        Expression::compile(source, &names).unwrap_or_else(|error| panic!("{source}: {error}"));
    expression.evaluate(&values_of(&names, values), now())
}

/// The one-line message of an expression that is refused.
fn refused(source: &str, metrics: &[&str]) -> String {
    match Expression::compile(source, &Names::new(metrics)) {
        Ok(_) => panic!("{source} is accepted"),
        Err(error) => error.message().to_owned(),
    }
}

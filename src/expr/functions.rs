//! The functions of the language, on values.
//!
//! Arguments have the types that the checker let through; a `nil` among them is an error that the caller names.

use std::{cmp::Ordering, sync::Arc};

use super::{
    code::{Datum, Number},
    number,
};

/// The functions that are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    Ceil,
    Floor,
    Round,
    Int,
    Float,
    Max,
    Min,
    Sum,
    Mean,
    Median,
    Len,
    First,
    Last,
    Now,
    Date,
    Duration,
    Timezone,
}

/// Every function that Expr 1.16 has and that is not supported.
pub(super) const UNSUPPORTED: &[&str] = &[
    "all",
    "none",
    "any",
    "one",
    "filter",
    "map",
    "find",
    "findIndex",
    "findLast",
    "findLastIndex",
    "count",
    "groupBy",
    "reduce",
    "type",
    "string",
    "trim",
    "trimPrefix",
    "trimSuffix",
    "upper",
    "lower",
    "split",
    "splitAfter",
    "replace",
    "repeat",
    "join",
    "indexOf",
    "lastIndexOf",
    "hasPrefix",
    "hasSuffix",
    "toJSON",
    "fromJSON",
    "toBase64",
    "fromBase64",
    "get",
    "take",
    "keys",
    "values",
    "toPairs",
    "fromPairs",
    "sort",
    "sortBy",
    "bitand",
    "bitor",
    "bitxor",
    "bitnand",
    "bitshl",
    "bitshr",
    "bitushr",
    "bitnot",
];

impl Function {
    pub(super) const ALL: [Self; 18] = [
        Self::Abs,
        Self::Ceil,
        Self::Floor,
        Self::Round,
        Self::Int,
        Self::Float,
        Self::Max,
        Self::Min,
        Self::Sum,
        Self::Mean,
        Self::Median,
        Self::Len,
        Self::First,
        Self::Last,
        Self::Now,
        Self::Date,
        Self::Duration,
        Self::Timezone,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Abs => "abs",
            Self::Ceil => "ceil",
            Self::Floor => "floor",
            Self::Round => "round",
            Self::Int => "int",
            Self::Float => "float",
            Self::Max => "max",
            Self::Min => "min",
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Median => "median",
            Self::Len => "len",
            Self::First => "first",
            Self::Last => "last",
            Self::Now => "now",
            Self::Date => "date",
            Self::Duration => "duration",
            Self::Timezone => "timezone",
        }
    }

    /// A call as the reference shows it, and what it gives.
    pub(super) fn usage(self) -> (&'static str, &'static str) {
        match self {
            Self::Abs => ("abs(queue_depth)", "the absolute value"),
            Self::Ceil => ("ceil(queue_depth / 10)", "rounded up"),
            Self::Floor => ("floor(queue_depth / 10)", "rounded down"),
            Self::Round => (
                "round(queue_depth / 10)",
                "rounded to the nearest, a half away from zero",
            ),
            Self::Int => ("int(queue_depth)", "an integer, without the fraction"),
            Self::Float => (
                "float(\"2.5\")",
                "a decimal number, from a number or a string",
            ),
            Self::Max => ("max(2, queue_depth / 10)", "the largest of its numbers"),
            Self::Min => ("min(10, queue_depth / 10)", "the smallest of its numbers"),
            Self::Sum => ("sum([1, queue_depth])", "the sum of an array"),
            Self::Mean => ("mean([1, queue_depth])", "the average of an array"),
            Self::Median => ("median([1, 2, queue_depth])", "the median of an array"),
            Self::Len => ("len([4, 5])", "how many elements an array has"),
            Self::First => ("first([4, 5])", "the first element of an array"),
            Self::Last => ("last([4, 5])", "the last element of an array"),
            Self::Now => ("now()", "the time of the pass, in UTC"),
            Self::Date => ("date(\"2027-01-31\")", "a time, in UTC"),
            Self::Duration => ("duration(\"90s\")", "a duration"),
            Self::Timezone => (
                "timezone(\"Europe/Berlin\")",
                "a time zone, for now().In(…)",
            ),
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|function| function.name() == name)
    }
}

/// Why a function has no value.
#[derive(Debug)]
pub(super) enum Failure {
    /// It met a `nil`, which is handed back for its origin.
    Nil(Datum),
    /// Anything else, in words.
    Message(String),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}

/// A function of one value.
pub(super) fn apply(function: Function, value: &Datum) -> Result<Datum, Failure> {
    match function {
        Function::Abs => match expect_number(value)? {
            Number::Int(value) => value
                .checked_abs()
                .map(Datum::Int)
                .ok_or_else(|| format!("integer overflow: abs({value})").into()),
            // Negative zero stays what it is, as in Expr.
            Number::Float(value) => Ok(Datum::Float(if value < 0.0 { -value } else { value })),
        },
        Function::Ceil => Ok(Datum::Float(expect_number(value)?.as_float().ceil())),
        Function::Floor => Ok(Datum::Float(expect_number(value)?.as_float().floor())),
        Function::Round => Ok(Datum::Float(expect_number(value)?.as_float().round())),
        Function::Int => int(value),
        Function::Float => match value {
            Datum::Text(text) => number::float_text(text)
                .map(Datum::Float)
                .ok_or_else(|| format!("float({text:?}): not a float that fits in 64 bits").into()),
            _ => Ok(Datum::Float(expect_number(value)?.as_float())),
        },
        Function::Sum => sum(value),
        Function::Mean => mean(value),
        Function::Median => median(value),
        Function::Len => length(value),
        Function::First => element(value, 0).map(|found| found.unwrap_or(Datum::Nil(None))),
        Function::Last => element(value, -1).map(|found| found.unwrap_or(Datum::Nil(None))),
        Function::Max
        | Function::Min
        | Function::Now
        | Function::Date
        | Function::Duration
        | Function::Timezone => Err(mismatch(value)),
    }
}

/// Of two numbers the one that `max` or `min` keeps; the first, unless the second is beyond it. So a NaN stays if it comes
/// first and is passed over later.
pub(super) fn extreme(function: Function, kept: Datum, next: Datum) -> Result<Datum, Failure> {
    let (left, right) = (expect_number(&kept)?, expect_number(&next)?);
    let beyond = if function == Function::Max {
        left.is_less(right)
    } else {
        right.is_less(left)
    };
    Ok(if beyond { next } else { kept })
}

/// An array's element, from the end where the index is negative; `None` if there is none.
pub(super) fn element(array: &Datum, index: i64) -> Result<Option<Datum>, Failure> {
    let length = count(array)?;
    let Some(at) = (if index < 0 {
        length.checked_add(index)
    } else {
        Some(index)
    }) else {
        return Ok(None);
    };
    if !(0..length).contains(&at) {
        return Ok(None);
    }
    Ok(match array {
        Datum::Array(elements) => usize::try_from(at)
            .ok()
            .and_then(|at| elements.get(at).cloned()),
        Datum::Range { first, .. } => first.checked_add(at).map(Datum::Int),
        _ => None,
    })
}

/// The elements from one index up to, not including, another; indices beyond the ends are moved to them.
pub(super) fn slice(array: &Datum, from: Option<i64>, to: Option<i64>) -> Result<Datum, Failure> {
    let length = count(array)?;
    let place = |index: i64| {
        if index < 0 {
            length.saturating_add(index).max(0)
        } else {
            index.min(length)
        }
    };
    let to = to.map_or(length, place);
    let from = from.map_or(0, place).min(to);
    Ok(match array {
        Datum::Array(elements) => {
            let (from, to) = (
                usize::try_from(from).unwrap_or(0),
                usize::try_from(to).unwrap_or(0),
            );
            Datum::Array(
                elements
                    .get(from..to)
                    .map_or_else(|| Arc::from([]), Arc::from),
            )
        }
        Datum::Range { first, .. } => Datum::Range {
            first: first.saturating_add(from),
            length: to - from,
        },
        other => return Err(mismatch(other)),
    })
}

/// Whether a value is among an array's elements.
#[expect(clippy::float_cmp, reason = "the language compares floats exactly")]
pub(super) fn contains(array: &Datum, needle: &Datum) -> Result<bool, Failure> {
    match array {
        Datum::Array(elements) => {
            for element in elements.iter() {
                if matches!(element, Datum::Nil(_)) {
                    return Err(Failure::Nil(element.clone()));
                }
                if element.is_equal(needle) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Datum::Range { length: 0, .. } => Ok(false),
        Datum::Range { first, length } => {
            let last = first.saturating_add(length - 1);
            Ok(match expect_number(needle)? {
                Number::Int(value) => (*first..=last).contains(&value),
                // Beyond 2^53 several integers become the same float, so the ends are compared as floats too.
                Number::Float(value) => {
                    number::truncate(value).is_some_and(|whole| {
                        whole as f64 == value && (*first..=last).contains(&whole)
                    }) || *first as f64 == value
                        || last as f64 == value
                }
            })
        }
        other => Err(mismatch(other)),
    }
}

fn expect_number(value: &Datum) -> Result<Number, Failure> {
    value.number().ok_or_else(|| mismatch(value))
}

fn mismatch(value: &Datum) -> Failure {
    match value {
        Datum::Nil(_) => Failure::Nil(value.clone()),
        // The checker lets no other type through.
        _ => Failure::Message("a value has another type than its place accepts".to_owned()),
    }
}

fn int(value: &Datum) -> Result<Datum, Failure> {
    match value {
        Datum::Text(text) => number::integer_text(text)
            .map(Datum::Int)
            .ok_or_else(|| format!("int({text:?}): not an integer that fits in 64 bits").into()),
        // Expr 1.16 fails here and its later versions give the number, without which no schedule can use it.
        Datum::Weekday(value) | Datum::Month(value) => Ok(Datum::Int(*value)),
        _ => match expect_number(value)? {
            Number::Int(value) => Ok(Datum::Int(value)),
            Number::Float(value) => number::truncate(value)
                .map(Datum::Int)
                .ok_or_else(|| format!("int({value:?}): the value does not fit in 64 bits").into()),
        },
    }
}

fn count(array: &Datum) -> Result<i64, Failure> {
    match array {
        Datum::Array(elements) => Ok(i64::try_from(elements.len()).unwrap_or(i64::MAX)),
        Datum::Range { length, .. } => Ok(*length),
        other => Err(mismatch(other)),
    }
}

fn length(value: &Datum) -> Result<Datum, Failure> {
    match value {
        // Bytes, as in Go.
        Datum::Text(text) => Ok(Datum::Int(i64::try_from(text.len()).unwrap_or(i64::MAX))),
        array => Ok(Datum::Int(count(array)?)),
    }
}

fn sum(array: &Datum) -> Result<Datum, Failure> {
    match array {
        Datum::Range { first, length } => {
            let (first, length) = (i128::from(*first), i128::from(*length));
            let total = length * first + length * (length - 1) / 2;
            i64::try_from(total)
                .map(Datum::Int)
                .map_err(|_| "integer overflow in sum".to_owned().into())
        }
        Datum::Array(elements) => {
            let mut total = Number::Int(0);
            for element in elements.iter() {
                total = match (total, expect_number(element)?) {
                    (Number::Int(left), Number::Int(right)) => Number::Int(
                        left.checked_add(right)
                            .ok_or_else(|| "integer overflow in sum".to_owned())?,
                    ),
                    (left, right) => Number::Float(left.as_float() + right.as_float()),
                };
            }
            Ok(match total {
                Number::Int(value) => Datum::Int(value),
                Number::Float(value) => Datum::Float(value),
            })
        }
        other => Err(mismatch(other)),
    }
}

fn mean(array: &Datum) -> Result<Datum, Failure> {
    let length = count(array)?;
    if length == 0 {
        return Ok(Datum::Float(0.0));
    }
    let mut total = 0.0;
    match array {
        // One float addition after the other, because that is how upstream rounds; a range has less than 10^6 elements.
        Datum::Range { first, length } => {
            (0..*length).for_each(|at| total += first.saturating_add(at) as f64);
        }
        Datum::Array(elements) => {
            for element in elements.iter() {
                total += expect_number(element)?.as_float();
            }
        }
        other => return Err(mismatch(other)),
    }
    Ok(Datum::Float(total / length as f64))
}

fn median(array: &Datum) -> Result<Datum, Failure> {
    let sorted: Vec<f64> = match array {
        Datum::Range { length: 0, .. } => Vec::new(),
        Datum::Range { first, length } => {
            // A range is sorted; of it only the middle is needed.
            let middle = first.saturating_add(length / 2);
            if length % 2 == 0 {
                vec![middle.saturating_sub(1) as f64, middle as f64]
            } else {
                vec![middle as f64]
            }
        }
        Datum::Array(elements) => {
            let mut values = Vec::with_capacity(elements.len());
            for element in elements.iter() {
                values.push(expect_number(element)?.as_float());
            }
            values.sort_by(|left, right| nan_first(*left, *right));
            values
        }
        other => return Err(mismatch(other)),
    };
    let middle = sorted.len() / 2;
    Ok(Datum::Float(match (sorted.get(middle), sorted.len() % 2) {
        (None, _) => 0.0,
        (Some(upper), 0) => (sorted[middle - 1] + upper) / 2.0,
        (Some(value), _) => *value,
    }))
}

/// Go's order of floats.
fn nan_first(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right)
        .unwrap_or_else(|| right.is_nan().cmp(&left.is_nan()))
}

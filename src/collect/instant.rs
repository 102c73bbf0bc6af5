//! Reading the answer to an instant query: pure, bounded in memory, and total over any bytes.
//!
//! The first elements are kept as they are written and the rest is counted; what is not looked at is skipped without being
//! stored. `serde_json` skips without recursion, and its limit guards the stack where it reads.

use std::{fmt, marker::PhantomData};

use http::StatusCode;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{CollectError, Sample};
use crate::{
    json::{self, Object},
    shown::{excerpt, printable},
};

/// The longest text of a peer that is shown: enough for a parse error of a query, short enough for a log line.
const TEXT_LIMIT: usize = 300;

/// The longest name (a result type, an error type, a sample value) that is shown.
pub(super) const NAME_LIMIT: usize = 60;

/// How many warnings of an answer are kept.
const WARNING_LIMIT: usize = 5;

/// The number in an answer to an instant query.
///
/// The first element of a vector is used and a scalar is accepted; `empty_value` stands in for a vector without elements
/// and for NaN, which is as if nothing had been returned (0/0 of an idle app).
///
/// # Errors
///
/// Every answer that does not hold exactly such a number has its own variant.
pub fn parse_instant(
    status: StatusCode,
    body: &[u8],
    empty_value: Option<f64>,
) -> Result<Sample, CollectError> {
    let success = read_success::<Head<&RawValue, 2>>(status, body)?;
    sample(&success, empty_value)
}

/// The number in an answer of which at least two elements are kept.
pub(super) fn sample<const KEPT: usize>(
    success: &Success<Head<&RawValue, KEPT>>,
    empty_value: Option<f64>,
) -> Result<Sample, CollectError> {
    let Success {
        result_type,
        result,
        warnings,
    } = success;
    let ((value, time), element_count) = match &**result_type {
        "vector" => match result.first.first() {
            None => ((empty_value.ok_or(CollectError::Empty)?, None), 0),
            Some(element) if element.get().starts_with('{') => (of_series(element)?, result.count),
            Some(_) => return Err(malformed("an element of the vector is not an object")),
        },
        "scalar" => match result.first[..] {
            [time, value] if result.count == 2 && is_number(time) && is_text(value) => {
                let time = read(time).ok();
                ((number(&read::<String>(value)?)?, time), 1)
            }
            _ => return Err(malformed("the scalar is not a pair of a time and a value")),
        },
        "matrix" => return Err(CollectError::Matrix),
        "string" => return Err(CollectError::StringResult),
        "" => return Err(malformed("`data.resultType` is missing")),
        found => return Err(other_type(found)),
    };
    Ok(Sample {
        value: usable(value, empty_value)?,
        element_count,
        is_of_region: false,
        time,
        warnings: warnings.clone(),
    })
}

/// The value, or what stands in for NaN.
pub(super) fn usable(value: f64, empty_value: Option<f64>) -> Result<f64, CollectError> {
    if value.is_nan() {
        empty_value.ok_or(CollectError::Nan)
    } else {
        Ok(value)
    }
}

/// An answer that says of itself that it is a success and complete.
pub(super) struct Success<R> {
    /// `vector`, `matrix` …; empty where it is missing.
    pub(super) result_type: String,
    pub(super) result: R,
    /// See [`Sample::warnings`].
    pub(super) warnings: Vec<String>,
}

/// Reads what is the same in the answers to all queries.
///
/// # Errors
///
/// An answer that is no success, with a variant for each.
pub(super) fn read_success<'body, R: Deserialize<'body>>(
    status: StatusCode,
    body: &'body [u8],
) -> Result<Success<R>, CollectError> {
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(CollectError::Unauthorized {
            status,
            body: printable(body, TEXT_LIMIT),
        });
    }
    let answer = serde_json::from_slice::<Object<Answer<R>>>(body);
    if !status.is_success() {
        return Err(match answer {
            Ok(Object(answer)) if answer.is_error() => answer.into_api_error(status),
            _ => CollectError::HttpStatus {
                status,
                body: printable(body, TEXT_LIMIT),
            },
        });
    }
    let Object(answer) = answer.map_err(|error| unreadable(body, &error))?;
    if answer.is_error() {
        return Err(answer.into_api_error(status));
    }
    if answer.status.as_deref() != Some("success") {
        return Err(malformed("`status` is neither `success` nor `error`"));
    }
    if answer.is_partial == Some(true) {
        return Err(CollectError::Partial);
    }
    let Object(data) = answer.data.ok_or_else(|| malformed("`data` is missing"))?;
    let result = data
        .result
        .ok_or_else(|| malformed("`data.result` is missing"))?;
    Ok(Success {
        result_type: data.result_type.unwrap_or_default(),
        result,
        warnings: answer.warnings.map_or_else(Vec::new, texts),
    })
}

/// A result type that no such query has.
pub(super) fn other_type(found: &str) -> CollectError {
    CollectError::ResultType {
        found: excerpt(found, NAME_LIMIT),
    }
}

/// The first warnings, and how many more there are.
fn texts(warnings: Head<Option<String>, WARNING_LIMIT>) -> Vec<String> {
    let more = warnings.count - warnings.first.len();
    let first = warnings.first.into_iter();
    let texts = first.map(|text| excerpt(&text.unwrap_or_default(), TEXT_LIMIT));
    let rest = (more > 0).then(|| format!("and {more} more"));
    texts.chain(rest).collect()
}

pub(super) fn is_number(value: &RawValue) -> bool {
    value
        .get()
        .starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

fn is_text(value: &RawValue) -> bool {
    value.get().starts_with('"')
}

/// The value of an element of a vector, and of what time it is.
pub(super) fn of_series(element: &RawValue) -> Result<(f64, Option<f64>), CollectError> {
    let Object(series): Object<Series<'_>> = read(element)?;
    match (series.value, series.histogram) {
        (Some((time, value)), _) => Ok((number(&value)?, time.get().parse().ok())),
        (None, Some(IgnoredAny)) => Err(CollectError::Histogram),
        (None, None) => Err(malformed("the first element of the vector has no value")),
    }
}

/// A sample value, which Prometheus writes as a string.
pub(super) fn number(text: &str) -> Result<f64, CollectError> {
    let is = |name: &str| text.eq_ignore_ascii_case(name);
    if is("NaN") {
        Ok(f64::NAN)
    } else if is("+Inf") || is("Inf") {
        Ok(f64::INFINITY)
    } else if is("-Inf") {
        Ok(f64::NEG_INFINITY)
    } else {
        // A number too large for a float is read as infinite, which it is not.
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| {
            // White space around a number is what is wrong with it, and would not be shown.
            let is_padded = text.trim() != text;
            let quoted = format!("\"{text}\"");
            CollectError::NotANumber {
                found: excerpt(if is_padded { &quoted } else { text }, NAME_LIMIT),
            }
        })
    }
}

pub(super) fn read<'body, T: Deserialize<'body>>(
    value: &'body RawValue,
) -> Result<T, CollectError> {
    serde_json::from_str(value.get()).map_err(|error| CollectError::Malformed {
        problem: excerpt(&json::problem(&error), TEXT_LIMIT),
    })
}

pub(super) fn malformed(problem: &str) -> CollectError {
    CollectError::Malformed {
        problem: problem.to_owned(),
    }
}

/// Names what `body` is, when it cannot be parsed.
pub(super) fn unreadable(body: &[u8], error: &serde_json::Error) -> CollectError {
    let shown = printable(body, TEXT_LIMIT);
    let looks = match body.trim_ascii_start().first() {
        None => "an empty body",
        Some(b'{') if error.is_eof() => return CollectError::Truncated { length: body.len() },
        Some(b'{') => {
            return CollectError::Malformed {
                problem: excerpt(&error.to_string(), TEXT_LIMIT),
            };
        }
        _ if error.is_data() => return malformed("it is not an object"),
        Some(b'<') => "HTML or XML",
        _ if shown.is_empty() => "binary data",
        _ => "text",
    };
    CollectError::NotJson { looks, body: shown }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "R: Deserialize<'de>"))]
struct Answer<R> {
    status: Option<String>,
    data: Option<Object<Data<R>>>,
    error_type: Option<String>,
    error: Option<String>,
    warnings: Option<Head<Option<String>, WARNING_LIMIT>>,
    is_partial: Option<bool>,
}

impl<R> Answer<R> {
    fn is_error(&self) -> bool {
        self.status.as_deref() == Some("error")
    }

    fn into_api_error(self, status: StatusCode) -> CollectError {
        CollectError::Api {
            status,
            error_type: excerpt(&self.error_type.unwrap_or_default(), NAME_LIMIT),
            text: excerpt(&self.error.unwrap_or_default(), TEXT_LIMIT),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "R: Deserialize<'de>"))]
struct Data<R> {
    result_type: Option<String>,
    /// `null` is how some servers write a vector without elements, and is not the same as no `result` at all.
    #[serde(default, deserialize_with = "present")]
    result: Option<R>,
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// An element of a vector; a matrix is refused by its type.
#[derive(Deserialize)]
struct Series<'body> {
    /// A time and a value.
    #[serde(borrow)]
    value: Option<(&'body RawValue, String)>,
    histogram: Option<IgnoredAny>,
}

/// The first elements of an array, and how many there are; `null` has none. Ten megabytes of elements of two bytes would
/// take far more room if all were kept.
pub(super) struct Head<T, const KEPT: usize> {
    pub(super) first: Vec<T>,
    pub(super) count: usize,
}

impl<'de, T: Deserialize<'de>, const KEPT: usize> Deserialize<'de> for Head<T, KEPT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadVisitor<T, const KEPT: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const KEPT: usize> Visitor<'de> for HeadVisitor<T, KEPT> {
            type Value = Head<T, KEPT>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Head {
                    first: Vec::new(),
                    count: 0,
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut first = Vec::new();
                while first.len() < KEPT {
                    match seq.next_element()? {
                        Some(element) => first.push(element),
                        None => break,
                    }
                }
                let mut count = first.len();
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Head { first, count })
            }
        }

        deserializer.deserialize_any(HeadVisitor(PhantomData))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::{super::CollectErrorKind as Kind, *};
    use crate::json::arrays;

    const VECTOR: &str = r#"{"status":"success","data":{"resultType":"vector","result":[
        {"metric":{"__name__":"queue_depth","app":"worker"},"value":[1767323045.123,"42.5"]}]}}"#;

    const THREE_SERIES: &str = r#"{"status":"success","data":{"resultType":"vector","result":[
        {"metric":{"region":"ord"},"value":[1767323045,"1"]},
        {"metric":{"region":"iad"},"value":[1767323045,"not even read"]},
        {"metric":{"region":"ams"}}]}}"#;

    /// Keys that no version of Prometheus sends, of every type and at every level, and the result before its type.
    const UNKNOWN_FIELDS: &str = r#"{"stats":{"seriesFetched":"3","executionTimeMsec":1},"isPartial":false,"trace":[[[]]],
        "data":{"result":[{"value":[1767323045.1,"7"],"metric":{},"values":null,"extra":[1,{"a":[]}]}],
        "resultType":"vector","explanation":true},"infos":["an info"],"status":"success"}"#;

    const EMPTY_VECTOR: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;

    const NULL_VECTOR: &str =
        r#"{"status":"success","data":{"resultType":"vector","result":null}}"#;

    const SCALAR: &str =
        r#"{"status":"success","data":{"resultType":"scalar","result":[1767323045.1,"3"]}}"#;

    const MATRIX: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{},"values":[[1767323045,"1"],[1767323060,"2"]]}]}}"#;

    const STRING: &str =
        r#"{"status":"success","data":{"resultType":"string","result":[1767323045.1,"3"]}}"#;

    const STREAMS: &str = r#"{"status":"success","data":{"resultType":"streams","result":[
        {"stream":{"app":"worker"},"values":[["1767323045000000000","a line"]]}]}}"#;

    const HISTOGRAM: &str = r#"{"status":"success","data":{"resultType":"vector","result":[
        {"metric":{},"histogram":[1767323045.1,{"count":"10","sum":"5.5","buckets":[[0,"0.5","1","10"]]}]}]}}"#;

    const PARTIAL: &str = r#"{"status":"success","isPartial":true,"data":{"resultType":"vector","result":[
        {"metric":{},"value":[1767323045,"42"]}]}}"#;

    const BAD_DATA: &str = r#"{"status":"error","errorType":"bad_data",
        "error":"invalid parameter \"query\": 1:3: parse error: unexpected end of input\u001b[31m"}"#;

    const VICTORIA_ERROR: &str =
        r#"{"status":"error","errorType":"422","error":"missing `query` arg"}"#;

    const LOGIN_PAGE: &str = "<!doctype html>\n<html><head><title>Sign in</title></head></html>";

    fn vector_of(value: &str) -> String {
        format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[1767323045,{value}]}}]}}}}"#
        )
    }

    #[test]
    fn the_first_element_of_a_vector_and_a_scalar_are_values() {
        let cases: [(&str, &str, Option<f64>, f64, usize); 9] = [
            ("one element", VECTOR, None, 42.5, 1),
            (
                "empty value is for empty answers only",
                VECTOR,
                Some(9.0),
                42.5,
                1,
            ),
            ("more than one element", THREE_SERIES, None, 1.0, 3),
            ("unknown fields, any order", UNKNOWN_FIELDS, None, 7.0, 1),
            ("scalar", SCALAR, None, 3.0, 1),
            ("empty", EMPTY_VECTOR, Some(0.0), 0.0, 0),
            ("empty, written as null", NULL_VECTOR, Some(5.0), 5.0, 0),
            (
                "empty stands for infinity",
                EMPTY_VECTOR,
                Some(f64::INFINITY),
                f64::INFINITY,
                0,
            ),
            (
                "white space around",
                " \n{\"data\":{\"resultType\":\"scalar\",\"result\":[1,\"2\"]},\"status\":\"success\"}\n",
                None,
                2.0,
                1,
            ),
        ];
        for (name, body, empty_value, value, element_count) in cases {
            let sample = parse_instant(StatusCode::OK, body.as_bytes(), empty_value);
            let expected = Sample {
                value,
                element_count,
                is_of_region: false,
                time: None,
                warnings: Vec::new(),
            };
            let sample = Sample {
                time: None,
                ..sample.unwrap()
            };
            assert_eq!(sample, expected, "{name}");
        }
    }

    #[test]
    fn the_time_of_a_value_is_the_servers() {
        let of = |body: &str| {
            let sample = parse_instant(StatusCode::OK, body.as_bytes(), Some(0.0));
            sample.unwrap().time
        };
        assert_eq!(of(VECTOR), Some(1_767_323_045.123));
        assert_eq!(of(SCALAR), Some(1_767_323_045.1));
        assert_eq!(of(EMPTY_VECTOR), None);
        let odd = VECTOR.replace("1767323045.123", "\"now\"");
        assert_eq!(of(&odd), None, "what is no number is no time");
    }

    #[test]
    fn sample_values_are_read_as_prometheus_writes_them() {
        let cases: [(&str, Result<f64, Kind>); 18] = [
            (r#""0""#, Ok(0.0)),
            (r#""-0.25""#, Ok(-0.25)),
            (r#""1e+06""#, Ok(1_000_000.0)),
            (r#""1.7976931348623157e+308""#, Ok(f64::MAX)),
            (r#""+Inf""#, Ok(f64::INFINITY)),
            (r#""-Inf""#, Ok(f64::NEG_INFINITY)),
            (r#""Inf""#, Ok(f64::INFINITY)),
            (r#""NaN""#, Ok(9.0)),
            (r#""nan""#, Ok(9.0)),
            (r#""1e400""#, Err(Kind::NotANumber)),
            (r#""""#, Err(Kind::NotANumber)),
            (r#""0x10""#, Err(Kind::NotANumber)),
            (r#""1 2""#, Err(Kind::NotANumber)),
            (r#"" 1""#, Err(Kind::NotANumber)),
            (r#""many""#, Err(Kind::NotANumber)),
            ("7", Err(Kind::Unreadable)),
            ("null", Err(Kind::Unreadable)),
            ("{}", Err(Kind::Unreadable)),
        ];
        for (value, expected) in cases {
            let sample = parse_instant(StatusCode::OK, vector_of(value).as_bytes(), Some(9.0));
            let found = sample
                .map(|sample| sample.value)
                .map_err(|error| error.kind());
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn every_odd_answer_has_its_own_error() {
        let ok = StatusCode::OK;
        let padded = vector_of("\" 9\"");
        let cases: Vec<(&str, StatusCode, &str, Kind, &str)> = vec![
            (
                "empty",
                ok,
                EMPTY_VECTOR,
                Kind::Empty,
                "the query returned nothing (if nothing means 0, add `or vector(0)` to the query or set `FAS_PROMETHEUS_EMPTY_VALUE`)",
            ),
            (
                "matrix",
                ok,
                MATRIX,
                Kind::WrongType,
                "the query returned a matrix, but one value is needed: remove the range, or aggregate over it",
            ),
            (
                "string",
                ok,
                STRING,
                Kind::WrongType,
                "the query returned a string, but a number is needed",
            ),
            (
                "Loki's streams",
                ok,
                STREAMS,
                Kind::WrongType,
                "expected the result type `vector` or `scalar`, but found `streams`",
            ),
            (
                "native histogram",
                ok,
                HISTOGRAM,
                Kind::WrongType,
                "the query returned a native histogram, but a number is needed: use `histogram_quantile`, \
                 `histogram_count` …",
            ),
            (
                "partial",
                ok,
                PARTIAL,
                Kind::Partial,
                "the answer is partial: some storage nodes did not answer",
            ),
            (
                "bad query",
                StatusCode::BAD_REQUEST,
                BAD_DATA,
                Kind::Query,
                "the query failed (HTTP 400, bad_data): invalid parameter \"query\": 1:3: parse error: unexpected end of \
                 input [31m",
            ),
            (
                "VictoriaMetrics's way with errorType",
                StatusCode::UNPROCESSABLE_ENTITY,
                VICTORIA_ERROR,
                Kind::Query,
                "the query failed (HTTP 422): missing `query` arg",
            ),
            (
                "an error with a good status",
                ok,
                r#"{"status":"error","error":"boom"}"#,
                Kind::Query,
                "the query failed (HTTP 200): boom",
            ),
            (
                "401",
                StatusCode::UNAUTHORIZED,
                "Unauthorized\n",
                Kind::Unauthorized,
                "HTTP 401 Unauthorized: not authorized; check `FAS_PROMETHEUS_TOKEN` (a Fly token must be complete, `FlyV1 ` included), or the user and password in the address: Unauthorized",
            ),
            (
                "403 in Prometheus's form",
                StatusCode::FORBIDDEN,
                r#"{"status":"error","error":"no"}"#,
                Kind::Unauthorized,
                "HTTP 403 Forbidden: not authorized; check `FAS_PROMETHEUS_TOKEN` (a Fly token must be complete, `FlyV1 ` included), or the user and password in the address: {\"status\":\"error\",\"error\":\"no\"}",
            ),
            (
                "404",
                StatusCode::NOT_FOUND,
                "404 page not found",
                Kind::Status,
                "HTTP 404 Not Found: is the path of the address right? (Fly's is https://api.fly.io/prometheus/ORG): 404 \
                 page not found",
            ),
            (
                "redirect",
                StatusCode::FOUND,
                "",
                Kind::Status,
                "HTTP 302 Found: a redirect to no address that can be read; configure the address it should lead to",
            ),
            (
                "not modified",
                StatusCode::NOT_MODIFIED,
                "",
                Kind::Status,
                "HTTP 304 Not Modified: neither an answer nor a redirect; is the address right?",
            ),
            (
                "gateway",
                StatusCode::BAD_GATEWAY,
                "upstream\r\nunreachable",
                Kind::Status,
                "HTTP 502 Bad Gateway: upstream unreachable",
            ),
            (
                "a success under a bad status",
                StatusCode::INTERNAL_SERVER_ERROR,
                SCALAR,
                Kind::Status,
                "HTTP 500 Internal Server Error: {\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":\
                 [1767323045.1,\"3\"]}}",
            ),
            (
                "HTML",
                ok,
                LOGIN_PAGE,
                Kind::Unreadable,
                "expected JSON, but found HTML or XML: <!doctype html> <html><head><title>Sign in</title></head></html>",
            ),
            (
                "text",
                ok,
                "OK",
                Kind::Unreadable,
                "expected JSON, but found text: OK",
            ),
            (
                "nothing",
                StatusCode::NO_CONTENT,
                "",
                Kind::Unreadable,
                "expected JSON, but found an empty body",
            ),
            (
                "binary",
                ok,
                "\u{1f}\u{8b}\u{8}\0",
                Kind::Unreadable,
                "expected JSON, but found binary data",
            ),
            (
                "truncated",
                ok,
                &VECTOR[..100],
                Kind::Unreadable,
                "the JSON is cut off after 100 bytes",
            ),
            (
                "broken JSON",
                ok,
                r#"{"status":success}"#,
                Kind::Unreadable,
                "the JSON is not an answer to an instant query: expected value at line 1 column 11",
            ),
            (
                "trailing characters",
                ok,
                r#"{"status":"success"}}"#,
                Kind::Unreadable,
                "the JSON is not an answer to an instant query: trailing characters at line 1 column 21",
            ),
            (
                "an array",
                ok,
                r#"["success"]"#,
                Kind::Unreadable,
                "the JSON is not an answer to an instant query: it is not an object",
            ),
            (
                "an array of what an answer has",
                ok,
                r#"["success",{"resultType":"scalar","result":[1,"2"]},"","",null,null]"#,
                Kind::Unreadable,
                "the JSON is not an answer to an instant query: it is not an object",
            ),
            (
                "a number",
                ok,
                "42",
                Kind::Unreadable,
                "the JSON is not an answer to an instant query: it is not an object",
            ),
            (
                "no status",
                ok,
                "{}",
                Kind::Unreadable,
                "the JSON is not an answer to an instant query: `status` is neither `success` nor `error`",
            ),
            (
                "no data",
                ok,
                r#"{"status":"success","data":null}"#,
                Kind::Unreadable,
                "the JSON is not an answer to an instant query: `data` is missing",
            ),
            (
                "no result",
                ok,
                r#"{"status":"success","data":{"resultType":"vector"}}"#,
                Kind::Unreadable,
                "the JSON is not an answer to an instant query: `data.result` is missing",
            ),
            (
                "no result type",
                ok,
                r#"{"status":"success","data":{"result":[]}}"#,
                Kind::Unreadable,
                "the JSON is not an answer to an instant query: `data.resultType` is missing",
            ),
            (
                "a vector of numbers",
                ok,
                r#"{"status":"success","data":{"resultType":"vector","result":[1,"2"]}}"#,
                Kind::Unreadable,
                "the JSON is not an answer to an instant query: an element of the vector is not an object",
            ),
            (
                "a scalar of three",
                ok,
                r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2","3"]}}"#,
                Kind::Unreadable,
                "the JSON is not an answer to an instant query: the scalar is not a pair of a time and a value",
            ),
            (
                "a result that is an object",
                ok,
                r#"{"status":"success","data":{"resultType":"vector","result":{}}}"#,
                Kind::Unreadable,
                "the JSON is not an answer to an instant query: invalid type: map, expected an array at line 1 \
                 column 61",
            ),
            (
                "a number with white space around it",
                ok,
                &padded,
                Kind::NotANumber,
                "expected a number, but found `\" 9\"`",
            ),
            (
                "an element without a value",
                ok,
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{}}]}}"#,
                Kind::Unreadable,
                "the JSON is not an answer to an instant query: the first element of the vector has no value",
            ),
        ];
        for (name, status, body, kind, text) in cases {
            let error = parse_instant(status, body.as_bytes(), None).unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (kind, text),
                "{name}"
            );
        }
    }

    #[test]
    fn an_array_is_no_answer_and_no_part_of_one() {
        let answers = [
            r#"{"status":"success","data":{"resultType":"vector","result":[{"value":[1767323045,"9"]}]}}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1767323045,"9"]}}"#,
        ];
        let mut arrays: Vec<String> = answers
            .iter()
            .flat_map(|answer| arrays::in_place_of_objects(answer))
            .collect();
        arrays.extend([
            r#"{"status":"success","data":["vector",[{"value":[1767323045,"9"]}]]}"#.to_owned(),
            r#"["success",["vector",[{"value":[1767323045,"9"]}]],"","",null,null]"#.to_owned(),
        ]);
        for array in arrays {
            let sample = parse_instant(StatusCode::OK, array.as_bytes(), Some(0.0));
            assert_eq!(sample.unwrap_err().kind(), Kind::Unreadable, "{array}");
        }
    }

    #[test]
    fn nan_is_as_if_nothing_had_been_returned() {
        let scalar =
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"NaN"]}}"#.to_owned();
        let two = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{},"value":[1,"NaN"]},{"metric":{},"value":[1,"3"]}]}}"#
            .to_owned();
        for (body, element_count) in [(vector_of("\"NaN\""), 1), (scalar, 1), (two, 2)] {
            let sample = parse_instant(StatusCode::OK, body.as_bytes(), Some(0.5)).unwrap();
            assert_eq!((sample.value, sample.element_count), (0.5, element_count));
            let error = parse_instant(StatusCode::OK, body.as_bytes(), None).unwrap_err();
            assert_eq!(error.kind(), Kind::NotANumber);
            assert!(error.to_string().contains("`FAS_PROMETHEUS_EMPTY_VALUE`"));
        }
    }

    #[test]
    fn an_empty_value_stands_in_for_no_other_failure() {
        for body in [MATRIX, STRING, HISTOGRAM, PARTIAL, "", LOGIN_PAGE] {
            parse_instant(StatusCode::OK, body.as_bytes(), Some(0.0)).unwrap_err();
        }
        parse_instant(StatusCode::BAD_GATEWAY, EMPTY_VECTOR.as_bytes(), Some(0.0)).unwrap_err();
    }

    #[test]
    fn warnings_are_bounded_and_clean() {
        let long = "x".repeat(1000);
        let body = format!(
            r#"{{"status":"success","warnings":["a\u001b[2J\nb","{long}","3","4","5","6","7"],
               "data":{{"resultType":"scalar","result":[1,"2"]}}}}"#
        );
        let sample = parse_instant(StatusCode::OK, body.as_bytes(), None).unwrap();
        let cut = format!("{}…", "x".repeat(300));
        assert_eq!(
            sample.warnings,
            ["a [2J b", &cut, "3", "4", "5", "and 2 more"]
        );
    }

    #[test]
    fn texts_of_the_server_are_bounded() {
        let long = "y".repeat(100_000);
        let bodies = [
            (200, long.clone()),
            (500, long.clone()),
            (401, long.clone()),
            (
                400,
                format!(r#"{{"status":"error","errorType":"{long}","error":"{long}"}}"#),
            ),
            (200, format!(r#"{{"status":"success","data":"{long}"}}"#)),
            (
                200,
                format!(r#"{{"status":"success","data":{{"resultType":"{long}","result":[]}}}}"#),
            ),
            (200, vector_of(&format!("\"{long}\""))),
        ];
        for (status, body) in bodies {
            let status = StatusCode::from_u16(status).unwrap();
            let error = parse_instant(status, body.as_bytes(), None).unwrap_err();
            let length = error.to_string().len();
            assert!(length < 600, "{status}: {length}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let brackets = "[".repeat(1_000_000);
        let braces = r#"{"a":"#.repeat(200_000);
        let bodies = [
            brackets.clone(),
            braces.clone(),
            format!(r#"{{"x":{brackets}"#),
            format!(r#"{{"status":"success","data":{{"result":{brackets}"#),
            format!(r#"{{"status":"success","data":{{"result":[{braces}"#),
            format!(r#"{{"status":"success","warnings":{brackets}"#),
            format!(r#"{{"status":{brackets}"#),
        ];
        for body in bodies {
            let error = parse_instant(StatusCode::OK, body.as_bytes(), None).unwrap_err();
            assert_eq!(error.kind(), Kind::Unreadable);
        }
    }

    #[test]
    fn a_long_answer_is_counted_and_not_kept() {
        let element = r#"{"metric":{"instance":"e286de4f711e86"},"value":[1767323045.123,"1"]},"#;
        let count = 100_000;
        let elements = element.repeat(count);
        let body = format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#,
            elements.trim_end_matches(',')
        );
        let sample = parse_instant(StatusCode::OK, body.as_bytes(), None).unwrap();
        assert_eq!(sample.element_count, count);
    }

    /// Pieces of answers, so that what is put together from them gets past the first byte of the parser.
    fn fragments() -> impl Strategy<Value = String> {
        let fragment = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "null",
            "true",
            "0",
            "-1e9",
            "1767323045.1",
            "\"\"",
            "\"1\"",
            "\"NaN\"",
            "\"+Inf\"",
            "\"status\"",
            "\"success\"",
            "\"error\"",
            "\"data\"",
            "\"resultType\"",
            "\"vector\"",
            "\"scalar\"",
            "\"result\"",
            "\"value\"",
            "\"metric\"",
            "\"warnings\"",
            "\"isPartial\"",
            "\"\\ud800\"",
            "\u{202e}",
        ]);
        prop::collection::vec(fragment, 0..40).prop_map(|fragments| fragments.concat())
    }

    fn check_total(status: u16, body: &[u8], empty_value: Option<f64>) {
        let status = StatusCode::from_u16(status).unwrap();
        match parse_instant(status, body, empty_value) {
            Ok(sample) => {
                assert!(status.is_success());
                assert!(!sample.value.is_nan());
                assert!(sample.warnings.len() <= WARNING_LIMIT + 1);
            }
            Err(error) => assert!(!error.to_string().chars().any(char::is_control)),
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(
            status in 100_u16..1000,
            body in prop::collection::vec(any::<u8>(), 0..200),
            empty_value in prop::option::of(-1e9..1e9),
        ) {
            check_total(status, &body, empty_value);
        }

        #[test]
        fn any_json_like_text_has_an_answer(body in fragments(), empty_value in prop::option::of(-1e9..1e9)) {
            check_total(200, body.as_bytes(), empty_value);
        }

        #[test]
        fn any_change_of_an_answer_has_an_answer(
            body in prop::sample::select(vec![VECTOR, SCALAR, MATRIX, HISTOGRAM, BAD_DATA, PARTIAL]),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            length in any::<prop::sample::Index>(),
        ) {
            let mut body = body.as_bytes().to_vec();
            let place = place.index(body.len());
            body[place] = byte;
            body.truncate(length.index(body.len() + 1));
            check_total(200, &body, None);
        }
    }
}

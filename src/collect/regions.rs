//! Reading the answer to an instant query for several regions at once: pure, and bounded as [`parse_instant`](super::parse_instant)
//! is. From `fleets.md`.

use std::collections::HashMap;

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    CollectError, Sample,
    instant::{self, Head, NAME_LIMIT, Success, malformed, of_series, read, sample, usable},
};
use crate::{json::Object, shown::excerpt};

/// The most elements of which it is looked whose they are.
const ELEMENTS: usize = 100_000;

/// How many of the regions that an answer has are shown.
const SHOWN: usize = 10;

/// The label that says which region an element is about.
#[derive(Deserialize)]
struct Element {
    metric: Option<Object<Labels>>,
}

#[derive(Deserialize)]
struct Labels {
    region: Option<String>,
}

/// What an answer has of a region.
struct Own<'body> {
    first: &'body RawValue,
    count: usize,
}

/// The number of each of `regions` in an answer, in their order.
///
/// A vector in which every element has a label `region` gives each region its own: the first of several, and `empty_value`
/// where there is none. One in which only some have it is an error; what any other answer says holds for all of them.
///
/// # Errors
///
/// Those of [`parse_instant`](super::parse_instant) where they are about all regions; those about one stand in its place.
pub(super) fn parse_regions(
    status: StatusCode,
    body: &[u8],
    regions: &[&str],
    empty_value: Option<f64>,
) -> Result<Vec<Result<Sample, CollectError>>, CollectError> {
    let success = instant::read_success::<Head<&RawValue, ELEMENTS>>(status, body)?;
    let Some(by_region) = by_region(&success)? else {
        let sample = sample(&success, empty_value).map_err(|error| match error {
            // What adds a number to nothing adds it beside the regions' own, too.
            CollectError::Empty => CollectError::NoRegions,
            error => error,
        })?;
        return Ok(regions.iter().map(|_| Ok(sample.clone())).collect());
    };
    let of_region = |region: &&str| {
        let own = by_region.get(*region);
        let (value, time, element_count) = if let Some(Own { first, count }) = own {
            let (value, time) = of_series(first)?;
            (usable(value, empty_value)?, time, *count)
        } else {
            let none = || CollectError::NoRegion {
                region: excerpt(region, NAME_LIMIT),
                others: shown(&by_region),
            };
            (empty_value.ok_or_else(none)?, None, 0)
        };
        Ok(Sample {
            value,
            element_count,
            is_of_region: true,
            time,
            warnings: success.warnings.clone(),
        })
    };
    Ok(regions.iter().map(of_region).collect())
}

/// The region that an element of a vector or matrix is about. A label without a value is none.
pub(super) fn region_of(element: &RawValue) -> Result<Option<String>, CollectError> {
    if !element.get().starts_with('{') {
        return Err(malformed("an element of the vector is not an object"));
    }
    let Object(Element { metric }) = read(element)?;
    let region = metric.and_then(|Object(labels)| labels.region);
    Ok(region.filter(|region| !region.is_empty()))
}

/// The elements by their regions; `None` if this is no vector whose elements have one.
fn by_region<'body>(
    success: &Success<Head<&'body RawValue, ELEMENTS>>,
) -> Result<Option<HashMap<String, Own<'body>>>, CollectError> {
    let elements = &success.result;
    if success.result_type != "vector" || elements.first.is_empty() {
        return Ok(None);
    }
    let mut by_region: HashMap<String, Own<'body>> = HashMap::new();
    let mut without = 0_usize;
    for element in &elements.first {
        let Some(region) = region_of(element)? else {
            without += 1;
            continue;
        };
        let own = by_region.entry(region);
        own.and_modify(|own| own.count += 1).or_insert(Own {
            first: element,
            count: 1,
        });
    }
    if by_region.is_empty() {
        return Ok(None);
    }
    // The one without may be the sum of all, or what is not known of any.
    if without > 0 {
        return Err(CollectError::SomeRegions);
    }
    if elements.count > elements.first.len() {
        // Whether the rest is about regions decides what all of it means.
        return Err(malformed(&format!(
            "the vector has {} elements, too many to tell them apart by region",
            elements.count
        )));
    }
    Ok(Some(by_region))
}

/// The first regions by name, and how many more there are.
fn shown(by_region: &HashMap<String, Own<'_>>) -> String {
    let mut names: Vec<&str> = by_region.keys().map(String::as_str).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let mut names: Vec<String> = names
        .into_iter()
        .map(|name| excerpt(name, NAME_LIMIT))
        .collect();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::{super::parse_instant, *};
    use crate::json::arrays;

    const REGIONS: [&str; 2] = ["iad", "ord"];

    fn answer(kind: &str, result: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
    }

    /// A vector of elements: the value of each as JSON, and its labels.
    fn vector(elements: &[(&str, &str)]) -> String {
        let elements = elements.iter().map(|(labels, value)| {
            format!(r#"{{"metric":{{{labels}}},"value":[1767323045,{value}]}}"#)
        });
        answer(
            "vector",
            &format!("[{}]", elements.collect::<Vec<_>>().join(",")),
        )
    }

    /// What each of [`REGIONS`] gets: its value and how many elements it has, or the error; or one error for all.
    fn shown(body: &str, empty_value: Option<f64>) -> Vec<String> {
        let results = parse_regions(StatusCode::OK, body.as_bytes(), &REGIONS, empty_value);
        let results = match results {
            Ok(results) => results,
            Err(error) => return vec![error.to_string()],
        };
        let results = results.into_iter().map(|result| match result {
            Ok(sample) => format!("{} of {}", sample.value, sample.element_count),
            Err(error) => error.to_string(),
        });
        results.collect()
    }

    const IAD: &str = r#""region":"iad""#;
    const ORD: &str = r#""region":"ord""#;
    const FRA: &str = r#""region":"fra""#;

    #[test]
    fn each_region_has_its_own_element_where_every_element_has_a_region() {
        let none = |region: &str, others: &str| {
            format!(
                "no element has the region `{region}`, only {others} (if nothing means 0, set `FAS_PROMETHEUS_EMPTY_VALUE`)"
            )
        };
        let nan = CollectError::Nan.to_string();
        let not_a_number = "expected a number, but found `x`";
        let cases: &[(&str, String, Option<f64>, [&str; 2])] = &[
            (
                "in another order than asked for",
                vector(&[(ORD, "\"2\""), (FRA, "\"3\""), (IAD, "\"1\"")]),
                None,
                ["1 of 1", "2 of 1"],
            ),
            (
                "other labels beside it",
                vector(&[
                    (r#""app":"a","region":"iad""#, "\"1\""),
                    (r#""region":"ord","x":"y""#, "\"2\""),
                ]),
                None,
                ["1 of 1", "2 of 1"],
            ),
            (
                "the first of several",
                vector(&[(IAD, "\"1\""), (ORD, "\"2\""), (IAD, "\"7\""), (IAD, "7")]),
                None,
                ["1 of 3", "2 of 1"],
            ),
            (
                "none for a region",
                vector(&[(IAD, "\"1\""), (FRA, "\"3\"")]),
                None,
                ["1 of 1", &none("ord", "fra, iad")],
            ),
            (
                "none, for which something stands in",
                vector(&[(IAD, "\"1\"")]),
                Some(5.0),
                ["1 of 1", "5 of 0"],
            ),
            (
                "NaN and infinity",
                vector(&[(IAD, "\"NaN\""), (ORD, "\"+Inf\"")]),
                None,
                [&nan, "inf of 1"],
            ),
            (
                "NaN, for which something stands in",
                vector(&[(IAD, "\"NaN\""), (ORD, "\"2\"")]),
                Some(0.0),
                ["0 of 1", "2 of 1"],
            ),
            (
                "what is wrong with one region's number is its own matter",
                vector(&[(IAD, "\"x\""), (ORD, "\"2\""), (FRA, "\"y\"")]),
                None,
                [not_a_number, "2 of 1"],
            ),
        ];
        for (name, body, empty_value, expected) in cases {
            assert_eq!(shown(body, *empty_value), *expected, "{name}");
        }
    }

    #[test]
    fn any_other_number_holds_for_all_regions_as_it_does_for_an_app() {
        let mixed = vector(&[(IAD, "\"1\""), (r#""app":"a""#, "\"2\""), (ORD, "\"3\"")]);
        let blank = vector(&[(IAD, "\"1\""), (r#""region":"""#, "\"2\"")]);
        let null = vector(&[(IAD, "\"1\""), (r#""region":null"#, "\"2\"")]);
        let no_labels = answer("vector", r#"[{"value":[1,"6"]}]"#);
        let cases = [
            (vector(&[("", "\"4\"")]), "4 of 1"),
            (
                vector(&[("", "\"4\""), (r#""app":"a""#, "\"5\"")]),
                "4 of 2",
            ),
            (no_labels, "6 of 1"),
            (answer("scalar", r#"[1767323045.1,"9"]"#), "9 of 1"),
        ];
        for (body, expected) in cases {
            assert_eq!(shown(&body, None), [expected; 2], "{body}");
        }
        for body in [mixed, blank, null] {
            let refused = CollectError::SomeRegions.to_string();
            assert_eq!(shown(&body, Some(1.0)), [refused], "{body}");
        }
        for body in [answer("vector", "[]"), answer("vector", "null")] {
            let nothing = shown(&body, None);
            assert_eq!(nothing, [CollectError::NoRegions.to_string()], "{body}");
            assert!(!nothing[0].contains("vector(0)"), "{nothing:?}");
        }
        for body in [
            answer("matrix", "[]"),
            answer("string", r#"[1,"x"]"#),
            answer("vector", "[[]]"),
            vector(&[("", "\"NaN\"")]),
            "<html>".to_owned(),
            r#"{"status":"error","errorType":"x","error":"y"}"#.to_owned(),
        ] {
            let of_app = parse_instant(StatusCode::OK, body.as_bytes(), None);
            assert_eq!(
                shown(&body, None),
                [of_app.unwrap_err().to_string()],
                "{body}"
            );
        }
        assert_eq!(shown(&answer("vector", "[]"), Some(3.0)), ["3 of 0"; 2]);
    }

    #[test]
    fn it_is_told_whether_a_number_is_the_regions_own() {
        let own = |body: &str| {
            let results = parse_regions(StatusCode::OK, body.as_bytes(), &REGIONS, Some(0.0));
            let samples = results.unwrap().into_iter().map(Result::unwrap);
            samples
                .map(|sample| sample.is_of_region)
                .collect::<Vec<_>>()
        };
        assert_eq!(own(&vector(&[(IAD, "\"1\"")])), [true, true]);
        assert_eq!(own(&vector(&[("", "\"1\"")])), [false, false]);
        assert_eq!(own(&answer("scalar", r#"[1,"9"]"#)), [false, false]);
    }

    #[test]
    fn an_element_that_cannot_be_read_is_an_error_for_all() {
        let object = "the JSON is not an answer to an instant query: ";
        let with = |element: &str| {
            answer(
                "vector",
                &format!(r#"[{{"metric":{{{IAD}}},"value":[1,"1"]}},{element}]"#),
            )
        };
        for (element, problem) in [
            ("7", "an element of the vector is not an object"),
            (
                r#"{"metric":{"region":7}}"#,
                "invalid type: integer `7`, expected a string",
            ),
            (
                r#"{"metric":["iad"]}"#,
                "invalid type: sequence, expected an object",
            ),
        ] {
            assert_eq!(
                shown(&with(element), None),
                [format!("{object}{problem}")],
                "{element}"
            );
        }
    }

    #[test]
    fn no_more_elements_are_looked_at_than_there_is_room_for_and_no_more_names_shown() {
        let many = |count: usize| {
            let elements: Vec<String> = (0..count)
                .map(|number| {
                    format!(
                        r#"{{"metric":{{"region":"r{number:06}\u001b{}"}},"value":[1,"1"]}}"#,
                        "x".repeat(30)
                    )
                })
                .collect();
            answer("vector", &format!("[{}]", elements.join(",")))
        };
        let error = &shown(&many(ELEMENTS), None)[0];
        assert!(error.contains("and 99990 more"), "{error}");
        assert!(error.len() < 600 && !error.contains('\u{1b}'), "{error}");
        assert_eq!(
            shown(&many(ELEMENTS + 1), Some(1.0)),
            [
                "the JSON is not an answer to an instant query: the vector has 100001 elements, too many to tell them apart by region"
            ]
        );
    }

    #[test]
    fn time_and_warnings_are_kept_for_each_region() {
        let body = r#"{"status":"success","warnings":["slow"],"data":{"resultType":"vector","result":[
            {"metric":{"region":"iad"},"value":[17.5,"1"]},{"metric":{"region":"ord"},"value":[18,"1"]}]}}"#;
        let results = parse_regions(StatusCode::OK, body.as_bytes(), &REGIONS, None).unwrap();
        let samples: Vec<Sample> = results.into_iter().map(Result::unwrap).collect();
        let times = samples.iter().map(|sample| sample.time);
        assert_eq!(times.collect::<Vec<_>>(), [Some(17.5), Some(18.0)]);
        assert!(samples.iter().all(|sample| sample.warnings == ["slow"]));
    }

    #[test]
    fn no_array_is_taken_for_an_object() {
        let whole = vector(&[(IAD, "\"1\""), (ORD, "\"2\"")]);
        for body in arrays::in_place_of_objects(&whole) {
            let results = parse_regions(StatusCode::OK, body.as_bytes(), &REGIONS, None);
            assert!(results.is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_each_region_has_a_result_or_all_have_the_error_of_an_app(
            body in "[ -~]{0,60}|(\\[|\\]|\\{|\\}|\"region\"|\"metric\"|\"value\"|:|,|1){0,30}",
            is_vector: bool,
        ) {
            let body = if is_vector { answer("vector", &body) } else { body };
            let of_app = parse_instant(StatusCode::OK, body.as_bytes(), Some(1.0));
            match parse_regions(StatusCode::OK, body.as_bytes(), &REGIONS, Some(1.0)) {
                Ok(results) => prop_assert_eq!(results.len(), REGIONS.len()),
                Err(_) => prop_assert!(of_app.is_err() || is_vector),
            }
        }
    }
}

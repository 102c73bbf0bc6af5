//! Reading the answer to a range query: pure, and total over any bytes.
//!
//! What a backtest replays has to be what passes would have seen. So each point is what an instant query gives there: of
//! several series the first that has a sample then, in the order of the answer; NaN and no sample alike are no value. A
//! server may align the points to its own times: each sample is then what was known at the next point asked for.

use http::StatusCode;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    CollectError,
    instant::{Head, Success, malformed, number, other_type, read, read_success},
    regions::region_of,
};
use crate::json::Object;

/// How many series of an answer are looked at. More are counted: somebody forgot to aggregate, and is warned of that.
const SERIES_LIMIT: usize = 1000;

/// Points at equal distances, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// The first point, in seconds since 1970.
    pub from: i64,
    /// The distance, at least 1.
    pub step_s: u32,
    /// How many points there are.
    pub points: usize,
}

impl Grid {
    /// The time of a point, in seconds since 1970.
    #[must_use]
    pub fn at(&self, point: usize) -> i64 {
        let point = i64::try_from(point).unwrap_or(i64::MAX);
        self.from
            .saturating_add(point.saturating_mul(i64::from(self.step_s)))
    }

    /// The last point; the first where there is none.
    pub(super) fn last(&self) -> i64 {
        self.at(self.points.saturating_sub(1))
    }

    /// The points from `skipped` on, at most `most` of them.
    pub(super) fn part(&self, skipped: usize, most: usize) -> Self {
        Self {
            from: self.at(skipped),
            points: self.points.saturating_sub(skipped).min(most),
            ..*self
        }
    }

    /// Where a time is on the grid; a float's error is no matter.
    fn place(&self, time: f64) -> Place {
        let steps = (time - self.from as f64) / f64::from(self.step_s);
        let (near, next) = (steps.round(), steps.ceil());
        let is_near = (steps - near).abs() * f64::from(self.step_s) < 0.5;
        let within = |point: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is between 0 and the number of points"
            )]
            (point >= 0.0 && point < self.points as f64).then_some(point as usize)
        };
        if is_near {
            within(near).map_or(Place::Outside, Place::At)
        } else {
            within(next).map_or(Place::Outside, Place::Before)
        }
    }
}

/// Where a sample's time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At this point.
    At(usize),
    /// Less than a step before this point.
    Before(usize),
    /// Before all points or after them.
    Outside,
}

/// What a metric was, as far as a server remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// The value at each point of the grid: never NaN, possibly infinite; none where the query had none.
    pub values: Vec<Option<f64>>,
    /// Points that have a sample that is too large for a number: in life the metric fails then, and no value stands in.
    pub spoiled: Vec<usize>,
    /// How many series an answer had at most; more than one deserves a warning, as for an instant query.
    pub series_count: usize,
    /// Warnings of the server; see [`super::Sample::warnings`].
    pub warnings: Vec<String>,
}

/// The values in an answer to a range query, at the points that it was asked for.
///
/// # Errors
///
/// Every answer that does not hold a history has its own variant. One without any sample is none of them.
pub fn parse_range(status: StatusCode, body: &[u8], grid: Grid) -> Result<Past, CollectError> {
    parse_range_of(None, status, body, grid)
}

/// As [`parse_range`], of one region: where every series has a label `region`, of those of this one, as in life.
///
/// # Errors
///
/// Those of [`parse_range`], and where only some series have such a label.
pub(super) fn parse_range_of(
    region: Option<&str>,
    status: StatusCode,
    body: &[u8],
    grid: Grid,
) -> Result<Past, CollectError> {
    read_range(region, status, body, grid).map_err(CollectError::of_range)
}

/// Leaves the series of a region, where they are told apart by it.
fn keep_region(region: &str, series: &mut Vec<&RawValue>) -> Result<(), CollectError> {
    let regions = series.iter().copied().map(region_of);
    let regions: Vec<Option<String>> = regions.collect::<Result<_, _>>()?;
    let with = regions.iter().flatten().count();
    if with == 0 {
        return Ok(());
    }
    if with < regions.len() {
        return Err(CollectError::SomeRegions);
    }
    let mut regions = regions.into_iter();
    series.retain(|_| regions.next().flatten().as_deref() == Some(region));
    Ok(())
}

fn read_range(
    region: Option<&str>,
    status: StatusCode,
    body: &[u8],
    grid: Grid,
) -> Result<Past, CollectError> {
    let Success {
        result_type,
        mut result,
        mut warnings,
    } = read_success::<Head<&RawValue, SERIES_LIMIT>>(status, body)?;
    match &*result_type {
        "matrix" => {}
        "string" => return Err(CollectError::StringResult),
        "" => return Err(malformed("`data.resultType` is missing")),
        found => return Err(other_type(found)),
    }
    if let Some(region) = region {
        keep_region(region, &mut result.first)?;
        result.count = result.first.len();
    }
    let mut asked = Points::new(grid.points);
    // Should it have none of the times asked for.
    let mut aligned = Points::new(grid.points);
    let mut odd_times = 0_usize;
    for series in &result.first {
        if !series.get().starts_with('{') {
            return Err(malformed("an element of the matrix is not an object"));
        }
        let Object(series): Object<Series<'_>> = read(series)?;
        let samples = match (series.values, series.histograms) {
            (Some(samples), _) => samples,
            (None, Some(IgnoredAny)) => return Err(CollectError::Histogram),
            (None, None) => return Err(malformed("a series of the matrix has no values")),
        };
        for sample in samples {
            let (time, value): (f64, String) = read(sample)?;
            let value = Value::read(&value)?;
            match grid.place(time) {
                Place::At(point) => asked.note(point, value),
                Place::Before(point) => {
                    odd_times += 1;
                    aligned.note(point, value);
                }
                Place::Outside => {}
            }
        }
    }
    let is_aligned = odd_times > 0 && !asked.seen.contains(&true);
    if is_aligned {
        warnings.push(
            "the server answers for times of its own (aligned to the step): each value is taken for the next time asked for"
                .to_owned(),
        );
    } else if odd_times > 0 {
        warnings.push(format!(
            "the server also answers for times that were not asked for: {odd_times} values are left out"
        ));
    }
    let Points {
        values, spoiled, ..
    } = if is_aligned { aligned } else { asked };
    if let Some((_, text)) = spoiled.first() {
        warnings.push(format!(
            "expected a number, but found `{text}`: the metric counts as failed where that is so"
        ));
    }
    Ok(Past {
        values,
        spoiled: spoiled.into_iter().map(|(point, _)| point).collect(),
        series_count: result.count,
        warnings,
    })
}

/// What a sample says.
enum Value {
    Number(f64),
    /// A number that is too large for one, as it was written.
    TooLarge(String),
}

impl Value {
    fn read(text: &str) -> Result<Self, CollectError> {
        number(text).map(Self::Number).or_else(|error| {
            let is_infinite = text.parse::<f64>().is_ok_and(f64::is_infinite);
            match error {
                CollectError::NotANumber { found } if is_infinite => Ok(Self::TooLarge(found)),
                error => Err(error),
            }
        })
    }
}

/// The points of an answer as they come.
struct Points {
    values: Vec<Option<f64>>,
    /// NaN hides what a later series has there, as it does in an instant query.
    seen: Vec<bool>,
    spoiled: Vec<(usize, String)>,
}

impl Points {
    fn new(points: usize) -> Self {
        Self {
            values: vec![None; points],
            seen: vec![false; points],
            spoiled: Vec::new(),
        }
    }

    fn note(&mut self, point: usize, value: Value) {
        if std::mem::replace(&mut self.seen[point], true) {
            return;
        }
        match value {
            Value::Number(value) => {
                self.values[point] = Some(value).filter(|value| !value.is_nan());
            }
            Value::TooLarge(text) => self.spoiled.push((point, text)),
        }
    }
}

#[derive(Deserialize)]
struct Series<'body> {
    /// Times and values.
    #[serde(borrow)]
    values: Option<Vec<&'body RawValue>>,
    histograms: Option<IgnoredAny>,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const GRID: Grid = Grid {
        from: 1000,
        step_s: 60,
        points: 4,
    };

    fn matrix(series: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{series}]}}}}"#)
    }

    fn parse(body: &str) -> Result<Past, CollectError> {
        parse_range(StatusCode::OK, body.as_bytes(), GRID)
    }

    #[test]
    fn a_region_has_the_history_of_its_own_series() {
        let of = |region: &str, series: &str| {
            let body = matrix(series);
            parse_range_of(Some(region), StatusCode::OK, body.as_bytes(), GRID)
        };
        let each = r#"{"metric":{"region":"iad"},"values":[[1000,"1"]]},{"metric":{"region":"lhr"},"values":[[1000,"2"],[1060,"3"]]}"#;
        let cases = [
            ("iad", [Some(1.0), None, None, None], 1),
            ("lhr", [Some(2.0), Some(3.0), None, None], 1),
            ("syd", [None; 4], 0),
        ];
        for (region, expected, series) in cases {
            let past = of(region, each).unwrap();
            assert_eq!(
                (past.values.as_slice(), past.series_count),
                (&expected[..], series),
                "{region}"
            );
        }
        let of_all = r#"{"metric":{"app":"a"},"values":[[1000,"1"]]}"#;
        assert_eq!(of("iad", of_all).unwrap().values[0], Some(1.0));
        let some = format!("{each},{of_all}");
        assert!(matches!(of("iad", &some), Err(CollectError::SomeRegions)));
    }

    #[test]
    fn each_point_is_what_an_instant_query_gives_there() {
        let cases: [(&str, &str, [Option<f64>; 4], usize); 7] = [
            ("nothing", "", [None; 4], 0),
            (
                "a gap",
                r#"{"metric":{},"values":[[1000,"1"],[1060,"2.5"],[1180,"-3"]]}"#,
                [Some(1.0), Some(2.5), None, Some(-3.0)],
                1,
            ),
            (
                "times with a fraction, and one between",
                r#"{"metric":{},"values":[[940,"9"],[1000.0,"1"],[1060.001,"2"],[1090,"8"],[1240,"7"]]}"#,
                [Some(1.0), Some(2.0), None, None],
                1,
            ),
            (
                "no number is no value, infinite ones are values",
                r#"{"metric":{},"values":[[1000,"NaN"],[1060,"+Inf"],[1120,"-Inf"],[1180,"1e3"]]}"#,
                [
                    None,
                    Some(f64::INFINITY),
                    Some(f64::NEG_INFINITY),
                    Some(1e3),
                ],
                1,
            ),
            (
                "the first series that has a sample then",
                r#"{"metric":{"i":"a"},"values":[[1060,"1"]]},{"metric":{"i":"b"},"values":[[1000,"7"],[1060,"8"],[1120,"9"]]}"#,
                [Some(7.0), Some(1.0), Some(9.0), None],
                2,
            ),
            (
                "NaN is the first series's sample",
                r#"{"metric":{"i":"a"},"values":[[1060,"NaN"]]},{"metric":{"i":"b"},"values":[[1060,"8"]]}"#,
                [None; 4],
                2,
            ),
            (
                "a histogram beside numbers",
                r#"{"metric":{},"values":[[1000,"1"]],"histograms":[[1060,{"count":"1"}]]}"#,
                [Some(1.0), None, None, None],
                1,
            ),
        ];
        for (name, series, values, series_count) in cases {
            let past = parse(&matrix(series)).unwrap();
            assert_eq!(
                (past.values, past.series_count),
                (values.to_vec(), series_count),
                "{name}"
            );
        }
    }

    #[test]
    fn points_that_a_server_aligned_are_taken_for_the_next_ones_and_told() {
        let aligned = r#"{"metric":{"i":"a"},"values":[[960,"1"],[1020,"2"],[1140,"4"],[1200,"5"]]},
            {"metric":{"i":"b"},"values":[[1080,"3"]]}"#;
        let past = parse(&matrix(aligned)).unwrap();
        assert_eq!(past.values, [Some(1.0), Some(2.0), Some(3.0), Some(4.0)]);
        assert_eq!(
            past.warnings,
            [
                "the server answers for times of its own (aligned to the step): each value is taken for the next time asked for"
            ]
        );
        let mixed = r#"{"metric":{},"values":[[1000,"1"],[1030,"8"],[1060,"2"],[1090,"9"]]}"#;
        let past = parse(&matrix(mixed)).unwrap();
        assert_eq!(past.values, [Some(1.0), Some(2.0), None, None]);
        assert_eq!(
            past.warnings,
            ["the server also answers for times that were not asked for: 2 values are left out"]
        );
        let wider = r#"{"metric":{},"values":[[940,"1"],[1000,"2"],[1240,"9"]]}"#;
        let past = parse(&matrix(wider)).unwrap();
        assert_eq!(past.warnings, [""; 0]);
    }

    #[test]
    fn a_number_too_large_for_one_spoils_its_point_alone() {
        let body = matrix(r#"{"values":[[1000,"1"],[1060,"1e400"],[1120,"-1e999"],[1180,"2"]]}"#);
        let past = parse(&body).unwrap();
        assert_eq!(past.values, [Some(1.0), None, None, Some(2.0)]);
        assert_eq!(past.spoiled, [1, 2]);
        assert_eq!(
            past.warnings,
            ["expected a number, but found `1e400`: the metric counts as failed where that is so"]
        );
    }

    #[test]
    fn what_is_no_answer_to_a_range_query_is_told_as_that() {
        for body in [
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#,
            r#"{"status":"success","data":{"resultType":"matrix","result":[7]}}"#,
            r#"{"status":"success","data":{"result":[]}}"#,
            r#"{"status":"success"}"#,
            r#"{"status":"success","data":7}"#,
            "[]",
        ] {
            let error = parse(body).unwrap_err().to_string();
            assert!(error.contains("range query"), "{body}: {error}");
            assert!(!error.contains("instant"), "{body}: {error}");
        }
    }

    #[test]
    fn an_answer_that_is_no_history_is_named() {
        let cases = [
            (
                matrix(r#"{"metric":{},"histograms":[[1000,{"count":"1"}]]}"#),
                "the query returned a native histogram",
            ),
            (matrix("7"), "an element of the matrix is not an object"),
            (
                r#"{"status":"success","data":["matrix",[]]}"#.to_owned(),
                "invalid type: sequence, expected an object",
            ),
            (matrix("{}"), "a series of the matrix has no values"),
            (
                matrix(r#"{"values":[[1000,"seven"]]}"#),
                "expected a number, but found `seven`",
            ),
            (matrix(r#"{"values":[[1000]]}"#), "invalid length 1"),
            (
                r#"{"status":"success","data":{"resultType":"string","result":[1,"a"]}}"#.to_owned(),
                "the query returned a string",
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#.to_owned(),
                "found `vector`",
            ),
            (
                r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#.to_owned(),
                "the query failed (HTTP 200, bad_data): parse error",
            ),
            (
                r#"{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]}}"#
                    .to_owned(),
                "the answer is partial",
            ),
            ("{\"status\":".to_owned(), "cut off after 10 bytes"),
            ("<html>".to_owned(), "found HTML or XML"),
        ];
        for (body, expected) in cases {
            let error = parse(&body).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }

    #[test]
    fn a_grid_is_cut_into_parts_without_a_gap() {
        assert_eq!((GRID.last(), GRID.at(4)), (1180, 1240));
        let parts: Vec<Grid> = [0, 3, 6].map(|skipped| GRID.part(skipped, 3)).to_vec();
        let ends: Vec<_> = parts.iter().map(|part| (part.from, part.points)).collect();
        assert_eq!(ends, [(1000, 3), (1180, 1), (1360, 0)]);
    }
}

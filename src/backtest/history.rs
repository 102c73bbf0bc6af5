//! The past of an app's metrics, and the file that holds it.
//!
//! The file is JSON, so that it can be looked at, written by hand and kept beside a change of an expression. Nothing in it
//! comes from the configuration but the app's name, the metrics' names and their queries without secrets: by these it is
//! told from a file of another query.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The most steps that are replayed: nearly two years of minutes.
pub const MOST_STEPS: usize = 1_000_000;

/// The values of metrics at equal distances.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The app that they are of.
    pub app: String,
    /// The time of the first point, in whole seconds.
    pub from: Timestamp,
    /// The distance, at least 1 s.
    pub step_s: u32,
    /// How many points there are.
    pub points: usize,
    /// Each metric's values, as many as there are points: never NaN, possibly infinite; none where it had none.
    pub metrics: BTreeMap<String, Vec<Option<f64>>>,
    /// Points at which a metric failed, sorted: it has no value there, and none stands in for it.
    pub spoiled: BTreeMap<String, Vec<usize>>,
    /// What each metric was asked for with, as it may be shown, where that is known.
    pub queries: BTreeMap<String, String>,
}

/// Why a file's text is no history, or not one that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// It cannot be read.
    #[error("it is not a history that `backtest --save` wrote: {0}")]
    Malformed(String),
    /// It is from a later version.
    #[error("its format is {found}, and this program reads format {FORMAT}")]
    Format {
        /// The number found.
        found: u32,
    },
    /// It is of another app.
    #[error("it is of the app {found:?}, not of {wanted:?}")]
    OtherApp {
        /// Its app.
        found: String,
        /// The configured one.
        wanted: String,
    },
    /// A step of 0, or so long that it ends nowhere.
    #[error("`step_s` is {0}, but expected at least 1 and at most 31536000 (a year)")]
    Step(u32),
    /// A beginning that is no time.
    #[error("`from` is {0:?}, but expected a time such as 2026-01-31T00:00:00Z")]
    Time(String),
    /// It goes on for longer than times reach.
    #[error(
        "its last step is beyond the last moment that can be told ({}): `from` is {from:?}",
        Timestamp::MAX
    )]
    Late {
        /// What is written.
        from: String,
    },
    /// A metric has another number of values than the others.
    #[error("the metric `{metric}` has {found} values, and others have {others}")]
    Uneven {
        /// The metric.
        metric: String,
        /// How many it has.
        found: usize,
        /// How many others have.
        others: usize,
    },
    /// No values at all.
    #[error("it holds no values")]
    Empty,
    /// More than are replayed.
    #[error("it has {0} steps, but at most {MOST_STEPS} are replayed: choose a longer --step")]
    TooLong(usize),
    /// A value that is no number.
    #[error(
        "a value of the metric `{0}` is neither a number nor null, \"+Inf\", \"-Inf\" or \"failed\""
    )]
    NotANumber(String),
}

/// The number that tells later forms of the file apart.
const FORMAT: u32 = 1;

/// The longest step: a year.
const LONGEST_STEP_S: u32 = 365 * 24 * 60 * 60;

impl History {
    /// The time of a point.
    #[must_use]
    pub fn at(&self, point: usize) -> Timestamp {
        let seconds = i64::try_from(point)
            .unwrap_or(i64::MAX)
            .saturating_mul(i64::from(self.step_s))
            .saturating_add(self.from.as_second());
        Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
    }

    /// When the last step is over.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.at(self.points)
    }

    /// A metric's value at a point.
    #[must_use]
    pub fn value(&self, metric: &str, point: usize) -> Option<f64> {
        self.metrics.get(metric)?.get(point).copied().flatten()
    }

    /// Whether a metric has a value anywhere.
    #[must_use]
    pub fn knows(&self, metric: &str) -> bool {
        let values = self.metrics.get(metric);
        values.is_some_and(|values| values.iter().any(Option::is_some))
    }

    /// Puts `value` wherever the metric has none and has not failed: `FAS_PROMETHEUS_EMPTY_VALUE`.
    pub fn fill(&mut self, metric: &str, value: f64) {
        let spoiled = self.spoiled.get(metric);
        if let Some(values) = self.metrics.get_mut(metric) {
            let gaps = values.iter_mut().enumerate();
            for (point, gap) in gaps.filter(|(_, known)| known.is_none()) {
                if spoiled.is_none_or(|spoiled| spoiled.binary_search(&point).is_err()) {
                    *gap = Some(value);
                }
            }
        }
    }

    /// Each `stride`th point, from the point `first` on, at most `most` of them.
    #[must_use]
    pub fn part(&self, first: usize, stride: u32, most: usize) -> Self {
        let pick = |values: &Vec<Option<f64>>| -> Vec<Option<f64>> {
            let picked = values.iter().skip(first).step_by(stride.max(1) as usize);
            picked.take(most).copied().collect()
        };
        let points = self.points.saturating_sub(first);
        let keep = |spoiled: &Vec<usize>| -> Vec<usize> {
            let stride = stride.max(1) as usize;
            let later = spoiled.iter().filter_map(|point| point.checked_sub(first));
            let kept = later.filter(|point| point.is_multiple_of(stride));
            kept.map(|point| point / stride).collect()
        };
        Self {
            app: self.app.clone(),
            from: self.at(first),
            step_s: self.step_s.saturating_mul(stride.max(1)),
            points: points.div_ceil(stride.max(1) as usize).min(most),
            metrics: self
                .metrics
                .iter()
                .map(|(metric, values)| (metric.clone(), pick(values)))
                .collect(),
            spoiled: self
                .spoiled
                .iter()
                .map(|(metric, spoiled)| (metric.clone(), keep(spoiled)))
                .collect(),
            queries: self.queries.clone(),
        }
    }

    /// Reads a file's text; `app` is whose history it has to be.
    ///
    /// # Errors
    ///
    /// Anything that [`History::to_json`] does not write for that app.
    pub fn from_json(text: &str, app: &str) -> Result<Self, HistoryError> {
        // What it is, before the rest of it: a later form may have other fields.
        let malformed = |error: serde_json::Error| HistoryError::Malformed(error.to_string());
        let Head {
            fly_autoscaler_history: found,
        } = serde_json::from_str(text).map_err(malformed)?;
        if found != FORMAT {
            return Err(HistoryError::Format { found });
        }
        let file: File = serde_json::from_str(text).map_err(malformed)?;
        if file.app != app {
            return Err(HistoryError::OtherApp {
                found: file.app,
                wanted: app.to_owned(),
            });
        }
        if !(1..=LONGEST_STEP_S).contains(&file.step_s) {
            return Err(HistoryError::Step(file.step_s));
        }
        let points = file.metrics.values().next().map_or(0, Vec::len);
        if points == 0 {
            return Err(HistoryError::Empty);
        }
        let mut metrics = BTreeMap::new();
        let mut all_spoiled = BTreeMap::new();
        for (metric, values) in file.metrics {
            if values.len() != points {
                return Err(HistoryError::Uneven {
                    metric,
                    found: values.len(),
                    others: points,
                });
            }
            let read: Result<Vec<_>, ()> = values
                .iter()
                .map(|value| Written::read(value.as_ref()))
                .collect();
            let Ok(read) = read else {
                return Err(HistoryError::NotANumber(metric));
            };
            let failed = values.iter().enumerate();
            let failed =
                failed.filter(|(_, value)| matches!(value, Some(Written::Other(Other::Failed))));
            let failed: Vec<usize> = failed.map(|(point, _)| point).collect();
            if !failed.is_empty() {
                all_spoiled.insert(metric.clone(), failed);
            }
            metrics.insert(metric, read);
        }
        if points > MOST_STEPS {
            return Err(HistoryError::TooLong(points));
        }
        let from: Timestamp = file
            .from
            .parse()
            .map_err(|_| HistoryError::Time(file.from.clone()))?;
        let from = Timestamp::from_second(from.as_second()).unwrap_or(from);
        let length = i64::try_from(points).unwrap_or(i64::MAX);
        let length = length.saturating_mul(file.step_s.into());
        if Timestamp::from_second(from.as_second().saturating_add(length)).is_err() {
            return Err(HistoryError::Late { from: file.from });
        }
        Ok(Self {
            app: file.app,
            from,
            step_s: file.step_s,
            points,
            metrics,
            spoiled: all_spoiled,
            queries: file.queries,
        })
    }

    /// A short file of one metric, to be written by hand after it.
    #[must_use]
    pub fn example(app: &str, metric: &str) -> String {
        let history = Self {
            app: app.to_owned(),
            from: Timestamp::constant(1_767_225_600, 0),
            step_s: 60,
            points: 3,
            metrics: BTreeMap::from([(metric.to_owned(), vec![Some(12.0), Some(40.0), None])]),
            spoiled: BTreeMap::new(),
            queries: BTreeMap::new(),
        };
        history.to_json().trim_end().to_owned()
    }

    /// The text of a file that holds it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let file = File {
            fly_autoscaler_history: FORMAT,
            app: self.app.clone(),
            from: self.from.to_string(),
            step_s: self.step_s,
            metrics: self
                .metrics
                .iter()
                .map(|(metric, values)| {
                    let values = values.iter().copied().map(Written::of);
                    let mut values: Vec<Option<Written>> = values.collect();
                    for point in self.spoiled.get(metric).into_iter().flatten() {
                        if let Some(value) = values.get_mut(*point) {
                            *value = Some(Written::Other(Other::Failed));
                        }
                    }
                    (metric.clone(), values)
                })
                .collect(),
            queries: self.queries.clone(),
        };
        let mut text = serde_json::to_string(&file).expect("plain data");
        text.push('\n');
        text
    }
}

#[derive(Deserialize)]
struct Head {
    fly_autoscaler_history: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    fly_autoscaler_history: u32,
    app: String,
    from: String,
    step_s: u32,
    metrics: BTreeMap<String, Vec<Option<Written>>>,
    /// A file that was written by hand may have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    queries: BTreeMap<String, String>,
}

/// A value as JSON has it, which knows no infinity.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Other(Other),
}

#[derive(Serialize, Deserialize)]
enum Other {
    #[serde(rename = "+Inf")]
    Positive,
    #[serde(rename = "-Inf")]
    Negative,
    #[serde(rename = "failed")]
    Failed,
}

impl Written {
    fn of(value: Option<f64>) -> Option<Self> {
        value.map(|value| match value {
            f64::INFINITY => Self::Other(Other::Positive),
            f64::NEG_INFINITY => Self::Other(Other::Negative),
            number => Self::Number(number),
        })
    }

    fn read(written: Option<&Self>) -> Result<Option<f64>, ()> {
        match written {
            None | Some(Self::Other(Other::Failed)) => Ok(None),
            Some(Self::Number(number)) if number.is_finite() => Ok(Some(*number)),
            Some(Self::Number(_)) => Err(()),
            Some(Self::Other(Other::Positive)) => Ok(Some(f64::INFINITY)),
            Some(Self::Other(Other::Negative)) => Ok(Some(f64::NEG_INFINITY)),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn history() -> History {
        let values = vec![
            Some(1.0),
            None,
            Some(2.5),
            Some(f64::INFINITY),
            Some(f64::NEG_INFINITY),
        ];
        History {
            app: "web".to_owned(),
            from: "2026-01-01T00:00:00Z".parse().unwrap(),
            step_s: 60,
            points: 5,
            metrics: BTreeMap::from([
                ("depth".to_owned(), values),
                (
                    "load".to_owned(),
                    vec![Some(0.1), None, Some(0.1), Some(0.1), Some(0.1)],
                ),
            ]),
            spoiled: BTreeMap::from([("load".to_owned(), vec![1])]),
            queries: BTreeMap::from([("depth".to_owned(), "sum(depth)".to_owned())]),
        }
    }

    #[test]
    fn a_file_holds_what_was_saved() {
        let text = history().to_json();
        assert_eq!(
            text,
            "{\"fly_autoscaler_history\":1,\"app\":\"web\",\"from\":\"2026-01-01T00:00:00Z\",\"step_s\":60,\
             \"metrics\":{\"depth\":[1.0,null,2.5,\"+Inf\",\"-Inf\"],\"load\":[0.1,\"failed\",0.1,0.1,0.1]},\
             \"queries\":{\"depth\":\"sum(depth)\"}}\n"
        );
        assert_eq!(History::from_json(&text, "web"), Ok(history()));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_refused_with_the_reason() {
        let text = history().to_json();
        let cases = [
            (text.clone(), "api", "it is of the app \"web\", not of \"api\""),
            (
                text.replace("history\":1", "history\":2"),
                "web",
                "its format is 2, and this program reads format 1",
            ),
            ("[]".to_owned(), "web", "it is not a history that `backtest --save` wrote"),
            ("{".to_owned(), "web", "it is not a history that `backtest --save` wrote"),
            ("{\"app\":\"web\"}".to_owned(), "web", "missing field"),
            (
                text.replace("\"step_s\":60", "\"step_s\":0"),
                "web",
                "`step_s` is 0, but expected at least 1",
            ),
            (
                text.replace("2026-01-01T", "yesterday "),
                "web",
                "`from` is \"yesterday 00:00:00Z\", but expected a time",
            ),
            (
                text.replace("2026-01-01T00:00", "9999-12-30T21:58"),
                "web",
                "its last step is beyond the last moment that can be told (9999-12-30T22:00:00.999999999Z): \
                 `from` is \"9999-12-30T21:58:00Z\"",
            ),
            (
                text.replace("[0.1,", "["),
                "web",
                "the metric `load` has 4 values, and others have 5",
            ),
            (
                text.replace("2.5", "\"2.5\""),
                "web",
                "it is not a history that `backtest --save` wrote",
            ),
            (
                "{\"fly_autoscaler_history\":1,\"app\":\"web\",\"from\":\"2026-01-01T00:00:00Z\",\"step_s\":60,\"metrics\":{}}"
                    .to_owned(),
                "web",
                "it holds no values",
            ),
        ];
        for (text, app, expected) in cases {
            let error = History::from_json(&text, app).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_part_begins_where_it_is_told_and_skips_points() {
        let all = history();
        let part = all.part(1, 2, 9);
        let expected = vec![None, Some(f64::INFINITY)];
        assert_eq!((part.points, part.step_s), (2, 120));
        assert_eq!(part.metrics["depth"], expected);
        assert_eq!(part.from, all.at(1));
        assert_eq!(part.spoiled["load"], [0]);
        assert_eq!(all.part(0, 2, 9).spoiled["load"], [0; 0]);
        assert_eq!((all.part(0, 1, 3).points, all.part(9, 1, 3).points), (3, 0));
        assert_eq!(all.until().to_string(), "2026-01-01T00:05:00Z");
    }

    #[test]
    fn an_empty_value_fills_what_is_missing() {
        let mut history = history();
        history.fill("depth", 7.0);
        assert_eq!(history.value("depth", 1), Some(7.0));
        assert_eq!(history.value("depth", 0), Some(1.0));
        assert!(history.knows("depth") && !history.knows("other"));
        history.fill("load", 7.0);
        assert_eq!(history.value("load", 1), None, "it failed there");
    }
}

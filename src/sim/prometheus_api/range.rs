//! Range queries: the same query at each point of a range, over what the platform remembers of its past or, further back,
//! presumes of it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Outcome, Scope, bad, evaluate, number};
use crate::sim::{
    state::{Platform, parse_duration},
    wire::Answer,
};

/// The most points for a series, as Prometheus has it.
const MOST_POINTS: f64 = 11_000.0;

/// What a range is asked for.
struct Range {
    /// In seconds since 1970.
    start: f64,
    end: f64,
    /// In seconds.
    step: f64,
}

impl Range {
    fn read(parameter: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let moment = |name: &str| {
            let text = parameter(name).unwrap_or_default();
            let seconds = text.parse::<f64>().ok().filter(|time| time.is_finite());
            let written = || {
                let time: Timestamp = text.parse().ok()?;
                Some(time.as_millisecond() as f64 / 1000.0)
            };
            seconds.or_else(written).ok_or_else(|| {
                format!("invalid parameter {name:?}: cannot parse {text:?} to a valid timestamp")
            })
        };
        let (start, end) = (moment("start")?, moment("end")?);
        if end < start {
            return Err(
                "invalid parameter \"end\": end timestamp must not be before start time".to_owned(),
            );
        }
        let text = parameter("step").unwrap_or_default();
        let step = text.parse::<f64>().ok().filter(|step| step.is_finite());
        let step = step
            .or_else(|| parse_duration(&text).map(|step| step.as_secs_f64()))
            .ok_or_else(|| {
                format!("invalid parameter \"step\": cannot parse {text:?} to a valid duration")
            })?;
        if step <= 0.0 {
            return Err("invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer".to_owned());
        }
        if (end - start) / step > MOST_POINTS {
            return Err("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)".to_owned());
        }
        Ok(Self { start, end, step })
    }

    fn points(&self) -> impl Iterator<Item = f64> {
        let (start, end, step) = (self.start, self.end, self.step);
        let points = (0_u32..).map(move |point| start + f64::from(point) * step);
        points.take_while(move |time| *time <= end)
    }
}

/// Answers a range query of `text`.
pub(super) fn answer(
    platform: &Platform,
    org: Option<&str>,
    text: &str,
    parameter: &dyn Fn(&str) -> Option<String>,
) -> Answer {
    let range = match Range::read(parameter) {
        Ok(range) => range,
        Err(problem) => return bad(&problem),
    };
    let now = platform.wall().as_millisecond() as f64 / 1000.0;
    let began = now - platform.now().as_secs_f64();
    let mut series: BTreeMap<BTreeMap<String, String>, Vec<Value>> = BTreeMap::new();
    for time in range.points() {
        let then = SignedDuration::try_from_secs_f64(time - began);
        let scope = Scope {
            platform,
            org,
            then: Some(then.unwrap_or(SignedDuration::MAX)),
        };
        let samples = match evaluate(&scope, text) {
            Err(message) => {
                return bad(&format!(
                    "invalid parameter \"query\": parse error: {message}"
                ));
            }
            Ok(Outcome::Text(_)) => {
                return bad(
                    "invalid parameter \"query\": invalid expression type \"string\" for range query, must be Scalar or instant Vector",
                );
            }
            Ok(Outcome::Scalar(value)) => vec![(BTreeMap::new(), value)],
            Ok(Outcome::Vector(samples)) => {
                let samples = samples.into_iter();
                samples
                    .map(|sample| (sample.labels, sample.value))
                    .collect()
            }
        };
        for (labels, value) in samples {
            let values = series.entry(labels).or_default();
            values.push(json!([time, number(value)]));
        }
    }
    let series: Vec<Value> = series
        .into_iter()
        .map(|(labels, values)| json!({ "metric": labels, "values": values }))
        .collect();
    Answer::json(
        200,
        &json!({ "status": "success", "data": { "resultType": "matrix", "result": series } }),
    )
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::sim::{NewMachine, Options, ProxySettings};

    /// A platform whose app has as many requests as seconds have passed since its start; one machine takes ten.
    fn platform() -> Platform {
        let mut platform = Platform::new(&Options {
            epoch: Timestamp::constant(1_000_000, 0),
            ..Options::default()
        });
        platform.add_app("web", "acme");
        let machine = NewMachine::in_region("ord");
        platform.add_machine("web", machine).expect("a machine");
        platform.set_proxy(
            "web",
            Some(ProxySettings {
                soft_limit: 10.0,
                min_machines_running: 1,
                autostart: false,
                ..ProxySettings::default()
            }),
        );
        platform.set_traffic("web", Arc::new(|at| at.as_secs_f64()));
        platform.advance(Duration::from_secs(1000));
        platform
    }

    fn asked(query: &str, start: &str, end: &str, step: &str) -> Value {
        let parameter = |name: &str| {
            let found = [("start", start), ("end", end), ("step", step)];
            let found = found.into_iter().find(|(one, _)| *one == name);
            found.map(|(_, value)| value.to_owned())
        };
        let answer = answer(&platform(), None, query, &parameter);
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    #[test]
    fn each_point_has_what_was_there_or_what_the_traffic_tells() {
        let told = asked(
            "count(fly_instance_up{app='web'})",
            "999900",
            "1001100",
            "300",
        );
        // A hundred requests before the start, as after it; what is remembered at last; nothing of the future.
        let values = json!([
            [999_900.0, "10"],
            [1_000_200.0, "20"],
            [1_000_500.0, "50"],
            [1_000_800.0, "80"],
        ]);
        assert_eq!(
            told["data"],
            json!({ "resultType": "matrix", "result": [{ "metric": {}, "values": values }] })
        );
        let told = asked("count(fly_instance_up)", "1000900", "1001000", "50");
        let remembered = json!([[1_000_900.0, "1"], [1_000_950.0, "1"], [1_001_000.0, "1"]]);
        assert_eq!(told["data"]["result"][0]["values"], remembered);
        let told = asked("sum(fly_app_concurrency)", "999000", "999000", "60s");
        assert_eq!(
            told["data"]["result"][0]["values"],
            json!([[999_000.0, "1000"]])
        );
        let told = asked("1.5", "1", "3", "1");
        assert_eq!(
            told["data"]["result"][0]["values"].as_array().map(Vec::len),
            Some(3)
        );
    }

    #[test]
    fn a_range_that_is_none_is_refused_as_prometheus_does() {
        for (start, end, step, query, expected) in [
            ("x", "2", "1", "up", "invalid parameter \"start\""),
            ("3", "2", "1", "up", "must not be before start time"),
            ("1", "2", "0", "up", "zero or negative"),
            ("1", "2", "soon", "up", "invalid parameter \"step\""),
            ("0", "11001", "1", "up", "maximum resolution of 11,000"),
            ("1", "2", "1", "'a'", "invalid expression type \"string\""),
            ("1", "2", "1", "up(", "parse error"),
        ] {
            let told = asked(query, start, end, step);
            let error = told["error"].as_str().unwrap_or_default();
            assert!(error.contains(expected), "{expected}: {told}");
            assert_eq!(told["errorType"], "bad_data");
        }
    }
}

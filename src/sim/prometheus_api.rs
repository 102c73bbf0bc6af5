//! The metrics service: `PromQL` queries of the kind that scale a fleet, and the series themselves as text.
//!
//! A query may name a metric with matchers, aggregate it (`sum count min max avg`), fall back with `or`, or be a
//! number, `vector(…)`, `scalar(…)` or a string. Everything else is refused as a server refuses what it cannot parse.
//! What a query sees is as old as the platform's settings say; the text is always of this moment, since its scraper
//! brings its own delay.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    server::Incoming,
    state::{Platform, Sample},
    wire::{self, Answer},
};

mod range;

/// How deep an expression may be nested.
const DEPTH: usize = 32;

/// How long an expression may be, in bytes.
const LENGTH: usize = 64 * 1024;

/// Answers an instant query, or a range query; `org` names the organisation whose series are seen, none means all.
pub(super) fn query(platform: &mut Platform, incoming: &Incoming, org: Option<&str>) -> Answer {
    if platform
        .prometheus_access
        .admit(incoming.authorization())
        .is_none()
    {
        return Answer::plain(
            401,
            "text/plain; charset=utf-8",
            "Unauthorized\n".to_owned(),
        );
    }
    let form = String::from_utf8_lossy(&incoming.body).into_owned();
    let parameter = |name: &str| {
        wire::parameter(&form, name).or_else(|| wire::parameter(&incoming.query, name))
    };
    let Some(text) = parameter("query").filter(|text| !text.trim().is_empty()) else {
        return bad(
            "invalid parameter \"query\": unknown position: parse error: no expression found in input",
        );
    };
    if incoming.is_of_range() {
        return range::answer(platform, org, &text, &parameter);
    }
    let at = match parameter("time") {
        None => platform.wall().as_millisecond() as f64 / 1000.0,
        Some(time) => match time.parse::<f64>() {
            Ok(time) if time.is_finite() => time,
            _ => {
                return bad(&format!(
                    "invalid parameter \"time\": cannot parse {time:?} to a valid timestamp"
                ));
            }
        },
    };
    let scope = Scope {
        platform,
        org,
        then: None,
    };
    match evaluate(&scope, &text) {
        Err(message) => bad(&format!(
            "invalid parameter \"query\": parse error: {message}"
        )),
        Ok(outcome) => {
            let (kind, result) = match outcome {
                Outcome::Scalar(value) => ("scalar", json!([at, number(value)])),
                Outcome::Text(text) => ("string", json!([at, text])),
                Outcome::Vector(samples) => {
                    let samples: Vec<Value> = samples
                        .into_iter()
                        .map(|sample| {
                            json!({ "metric": sample.labels, "value": [at, number(sample.value)] })
                        })
                        .collect();
                    ("vector", json!(samples))
                }
            };
            Answer::json(
                200,
                &json!({ "status": "success", "data": { "resultType": kind, "result": result } }),
            )
        }
    }
}

/// All series as Prometheus scrapes them; it needs `honor_labels`, or it renames `instance`.
pub(super) fn text(platform: &Platform) -> Answer {
    let mut text = String::new();
    for name in platform.metric_names() {
        let samples = platform.samples(&name, None, false);
        if samples.is_empty() || !is_name(&name) {
            continue;
        }
        let _ = writeln!(text, "# TYPE {name} gauge");
        for sample in samples {
            let labels: Vec<String> = sample
                .labels
                .iter()
                .filter(|(label, _)| is_name(label))
                .map(|(label, value)| format!("{label}=\"{}\"", escape(value)))
                .collect();
            let _ = writeln!(
                text,
                "{name}{{{}}} {}",
                labels.join(","),
                number(sample.value)
            );
        }
    }
    Answer::plain(200, "text/plain; version=0.0.4; charset=utf-8", text)
}

fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn is_name(name: &str) -> bool {
    name.bytes()
        .all(|letter| letter.is_ascii_alphanumeric() || letter == b'_' || letter == b':')
        && !name
            .bytes()
            .next()
            .is_none_or(|letter| letter.is_ascii_digit())
}

fn bad(error: &str) -> Answer {
    Answer::json(
        400,
        &json!({ "status": "error", "errorType": "bad_data", "error": error }),
    )
}

/// A number as the server writes it.
fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Scalar(f64),
    Text(String),
    Vector(Vec<Sample>),
}

struct Scope<'a> {
    platform: &'a Platform,
    org: Option<&'a str>,
    /// The moment since the simulation's start that is asked for; none: now, as queries see it.
    then: Option<SignedDuration>,
}

impl Scope<'_> {
    fn select(&self, name: &str, matchers: &[Matcher]) -> Vec<Sample> {
        let app = matchers
            .iter()
            .find(|matcher| matcher.label == "app" && !matcher.negated && matcher.values.len() == 1)
            .map(|matcher| matcher.values[0].as_str());
        let mut samples = match self.then {
            None => self.platform.samples(name, app, true),
            Some(then) => self.platform.samples_then(name, app, then),
        };
        samples.retain(|sample| {
            let seen = self.org.is_none_or(|org| {
                let app = sample
                    .labels
                    .get("app")
                    .and_then(|app| self.platform.app(app));
                app.is_none_or(|app| app.org() == org)
            });
            seen && matchers.iter().all(|matcher| {
                let found = sample.labels.get(&matcher.label).map_or("", String::as_str);
                matcher.values.iter().any(|value| value == found) != matcher.negated
            })
        });
        for sample in &mut samples {
            sample.labels.insert("__name__".to_owned(), name.to_owned());
        }
        samples
    }
}

struct Matcher {
    label: String,
    values: Vec<String>,
    negated: bool,
}

fn evaluate(scope: &Scope<'_>, text: &str) -> Result<Outcome, String> {
    if text.len() > LENGTH {
        return Err("the expression is too long".to_owned());
    }
    let mut parser = Parser {
        scope,
        rest: text.trim(),
    };
    let outcome = parser.either(0)?;
    if parser.rest.is_empty() {
        Ok(outcome)
    } else {
        Err(parser.unexpected())
    }
}

struct Parser<'a> {
    scope: &'a Scope<'a>,
    rest: &'a str,
}

impl Parser<'_> {
    fn unexpected(&self) -> String {
        let found: String = self.rest.chars().take(20).collect();
        format!("unexpected {found:?}")
    }

    fn take(&mut self, token: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(token) else {
            return false;
        };
        self.rest = rest.trim_start();
        true
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn word(&mut self) -> Option<String> {
        let end = self
            .rest
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != ':')
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        if !is_name(word) {
            return None;
        }
        self.rest = rest.trim_start();
        Some(word.to_owned())
    }

    /// One term, or several with `or` between them.
    fn either(&mut self, depth: usize) -> Result<Outcome, String> {
        if depth >= DEPTH {
            return Err("the expression is nested too deeply".to_owned());
        }
        let mut outcome = self.term(depth)?;
        loop {
            let before = self.rest;
            if self.word().as_deref() != Some("or") {
                self.rest = before;
                return Ok(outcome);
            }
            let other = self.term(depth)?;
            let (Outcome::Vector(samples), Outcome::Vector(others)) = (&mut outcome, other) else {
                return Err(
                    "set operator \"or\" not allowed in binary scalar expression".to_owned(),
                );
            };
            for other in others {
                if !samples
                    .iter()
                    .any(|sample| unnamed(sample) == unnamed(&other))
                {
                    samples.push(other);
                }
            }
        }
    }

    fn term(&mut self, depth: usize) -> Result<Outcome, String> {
        if self.take("(") {
            let outcome = self.either(depth + 1)?;
            self.expect(")")?;
            return Ok(outcome);
        }
        if let Some(text) = self.string()? {
            return Ok(Outcome::Text(text));
        }
        if let Some(value) = self.literal() {
            return Ok(Outcome::Scalar(value));
        }
        let Some(name) = self.word() else {
            return Err(self.unexpected());
        };
        if !self.rest.starts_with('(') {
            let matchers = self.matchers()?;
            return Ok(Outcome::Vector(self.scope.select(&name, &matchers)));
        }
        self.expect("(")?;
        let argument = self.either(depth + 1)?;
        self.expect(")")?;
        apply(&name, argument)
    }

    fn literal(&mut self) -> Option<f64> {
        let sign = usize::from(self.rest.starts_with(['+', '-']));
        let unsigned = &self.rest[sign..];
        let end = unsigned
            .char_indices()
            .find(|(index, letter)| {
                let exponent = matches!(letter, '+' | '-')
                    && unsigned[..*index].ends_with(['e', 'E'])
                    && unsigned.starts_with(|first: char| first.is_ascii_digit());
                !letter.is_ascii_alphanumeric() && *letter != '.' && !exponent
            })
            .map_or(unsigned.len(), |(index, _)| index);
        let (text, rest) = self.rest.split_at(sign + end);
        let number = text.parse().ok().filter(|_| {
            let first = unsigned.chars().next();
            first.is_some_and(|first| first.is_ascii_digit() || first == '.')
                || ["nan", "inf"].contains(&unsigned[..end].to_ascii_lowercase().as_str())
        })?;
        self.rest = rest.trim_start();
        Some(number)
    }

    fn string(&mut self) -> Result<Option<String>, String> {
        let Some(quote) = self
            .rest
            .chars()
            .next()
            .filter(|first| "'\"`".contains(*first))
        else {
            return Ok(None);
        };
        let mut text = String::new();
        let mut letters = self.rest[1..].char_indices();
        while let Some((index, letter)) = letters.next() {
            if letter == quote {
                self.rest = self.rest[index + 2..].trim_start();
                return Ok(Some(text));
            }
            if letter == '\\' && quote != '`' {
                match letters.next() {
                    Some((_, escaped)) => text.push(escaped),
                    None => break,
                }
            } else {
                text.push(letter);
            }
        }
        Err("unterminated quoted string".to_owned())
    }

    fn matchers(&mut self) -> Result<Vec<Matcher>, String> {
        let mut matchers = Vec::new();
        if !self.take("{") {
            return Ok(matchers);
        }
        while !self.take("}") {
            let label = self.word().ok_or_else(|| self.unexpected())?;
            let operator = ["=~", "!~", "!=", "="]
                .into_iter()
                .find(|operator| self.rest.starts_with(operator))
                .ok_or_else(|| self.unexpected())?;
            self.take(operator);
            let value = self.string()?.ok_or_else(|| self.unexpected())?;
            let values = if operator.ends_with('~') {
                if value.contains(['.', '*', '+', '?', '[', '(', '\\', '^', '$', '{']) {
                    return Err(format!(
                        "the pattern {value:?} is more than a list of words"
                    ));
                }
                value.split('|').map(str::to_owned).collect()
            } else {
                vec![value]
            };
            matchers.push(Matcher {
                label,
                values,
                negated: operator.starts_with('!'),
            });
            if !self.take(",") && !self.rest.starts_with('}') {
                return Err(self.unexpected());
            }
        }
        Ok(matchers)
    }
}

fn unnamed(sample: &Sample) -> Vec<(&String, &String)> {
    sample
        .labels
        .iter()
        .filter(|(label, _)| *label != "__name__")
        .collect()
}

fn apply(name: &str, argument: Outcome) -> Result<Outcome, String> {
    let plain = |value: f64| Sample {
        labels: BTreeMap::new(),
        value,
    };
    Ok(match (name, argument) {
        ("vector", Outcome::Scalar(value)) => Outcome::Vector(vec![plain(value)]),
        ("scalar", Outcome::Vector(samples)) => Outcome::Scalar(match samples.as_slice() {
            [sample] => sample.value,
            _ => f64::NAN,
        }),
        ("sum" | "count" | "min" | "max" | "avg", Outcome::Vector(samples)) => {
            let values = || samples.iter().map(|sample| sample.value);
            let value = match name {
                "sum" => values().sum(),
                "count" => samples.len() as f64,
                "min" => values().fold(f64::NAN, f64::min),
                "max" => values().fold(f64::NAN, f64::max),
                _ => values().sum::<f64>() / samples.len() as f64,
            };
            Outcome::Vector(if samples.is_empty() {
                Vec::new()
            } else {
                vec![plain(value)]
            })
        }
        ("vector" | "scalar" | "sum" | "count" | "min" | "max" | "avg", _) => {
            return Err(format!("wrong type of argument in call to {name:?}"));
        }
        _ => return Err(format!("unknown function with name {name:?}")),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::sim::{
        Access, MetricsSettings, NewMachine, Options, ProxySettings, Token,
        server::tests::{answered, get, post},
        state::{HostStatus, MachineState},
    };
    use std::{sync::Arc, time::Duration};

    fn platform() -> Platform {
        let mut platform = Platform::new(&Options::default());
        platform.add_app("web", "acme");
        platform.add_app("other", "else");
        let machine = NewMachine::in_region("ord");
        platform.add_machines("web", 2, &machine).unwrap();
        platform
            .add_machine("web", machine.clone().state(MachineState::Stopped))
            .unwrap();
        platform.add_machine("other", machine).unwrap();
        platform.set_gauge("web", "queue_depth", Some(42.5));
        platform.set_series("jobs", &[("app", "web"), ("kind", "a")], Some(1.0));
        platform.set_series("jobs", &[("app", "web"), ("kind", "b")], Some(2.0));
        platform.set_gauge("web", "broken", Some(f64::NAN));
        platform.set_gauge("web", "huge", Some(f64::INFINITY));
        platform
    }

    /// The result's type and its values, or the status and the error.
    fn asked(platform: &mut Platform, text: &str) -> String {
        let form = format!("query={}&time=1767323045.5", text.replace('+', "%2B"));
        let (status, body) = answered(&query(platform, &post("/api/v1/query", &form), None));
        if status != 200 {
            return format!("{status} {}", body["error"].as_str().unwrap_or_default());
        }
        let result = &body["data"]["result"];
        let values: Vec<&str> = match result[0].get("value") {
            Some(_) => result
                .as_array()
                .unwrap()
                .iter()
                .map(|sample| sample["value"][1].as_str().unwrap())
                .collect(),
            None => result.get(1).and_then(Value::as_str).into_iter().collect(),
        };
        format!(
            "{} {}",
            body["data"]["resultType"].as_str().unwrap(),
            values.join(" ")
        )
    }

    #[test]
    fn instant_queries_are_answered_or_refused() {
        let cases = [
            ("count(fly_instance_up{app='web'})", "vector 2"),
            (
                "count( fly_instance_up{app=\"web\",} ) or vector(0)",
                "vector 2",
            ),
            ("count(fly_instance_up)", "vector 3"),
            ("count(fly_instance_up{app!='web'})", "vector 1"),
            ("count(fly_instance_up{app=~'web|other'})", "vector 3"),
            ("count(fly_instance_up{app='none'})", "vector "),
            (
                "count(fly_instance_up{app='none'}) or vector(0)",
                "vector 0",
            ),
            ("fly_instance_up{app='web'}", "vector 1 1"),
            ("sum(queue_depth{app='web'})", "vector 42.5"),
            ("queue_depth", "vector 42.5"),
            ("jobs{app='web'}", "vector 1 2"),
            ("jobs{kind='b'}", "vector 2"),
            ("sum(jobs) or vector(7)", "vector 3"),
            ("max(jobs)", "vector 2"),
            ("min(jobs)", "vector 1"),
            ("avg(jobs)", "vector 1.5"),
            ("scalar(sum(jobs))", "scalar 3"),
            ("(((vector(1e6))))", "vector 1000000"),
            ("broken{app='web'}", "vector NaN"),
            ("huge", "vector +Inf"),
            ("42", "scalar 42"),
            ("-0.25", "scalar -0.25"),
            ("-Inf", "scalar -Inf"),
            ("'text'", "string text"),
            ("nothing", "vector "),
            (
                "",
                "400 invalid parameter \"query\": unknown position: parse error: no expression found in input",
            ),
            (
                "count(",
                "400 invalid parameter \"query\": parse error: unexpected \"\"",
            ),
            (
                "count(up) by",
                "400 invalid parameter \"query\": parse error: unexpected \"by\"",
            ),
            (
                "rate(up)",
                "400 invalid parameter \"query\": parse error: unknown function with name \"rate\"",
            ),
            (
                "sum(1)",
                "400 invalid parameter \"query\": parse error: wrong type of argument in call to \"sum\"",
            ),
            (
                "up{app='web'",
                "400 invalid parameter \"query\": parse error: unexpected \"\"",
            ),
            (
                "up{app='web",
                "400 invalid parameter \"query\": parse error: unterminated quoted string",
            ),
            (
                "up{app=~'w.*'}",
                "400 invalid parameter \"query\": parse error: the pattern \"w.*\" is more than a list of words",
            ),
            (
                "1 or vector(1)",
                "400 invalid parameter \"query\": parse error: set operator \"or\" not allowed in binary scalar expression",
            ),
            (
                "é",
                "400 invalid parameter \"query\": parse error: unexpected \"é\"",
            ),
        ];
        let mut platform = platform();
        for (text, expected) in cases {
            assert_eq!(asked(&mut platform, text), expected, "{text}");
        }
        let deep = "(".repeat(10_000);
        assert!(asked(&mut platform, &deep).contains("nested too deeply"));
    }

    #[test]
    fn a_query_comes_by_get_or_post_and_its_time_is_checked() {
        let mut platform = platform();
        let (status, body) = answered(&query(
            &mut platform,
            &get("/api/v1/query?query=count%28fly_instance_up%7Bapp%3D%27web%27%7D%29&time=12"),
            Some("acme"),
        ));
        assert_eq!(status, 200);
        assert_eq!(
            body,
            json!({ "status": "success", "data": { "resultType": "vector",
                "result": [{ "metric": {}, "value": [12.0, "2"] }] } })
        );
        let (status, body) = answered(&query(
            &mut platform,
            &get("/api/v1/query?query=1&time=soon"),
            None,
        ));
        assert_eq!(
            (status, body["errorType"].as_str()),
            (400, Some("bad_data"))
        );
        let (_, body) = answered(&query(
            &mut platform,
            &get("/api/v1/query?query=fly_instance_up"),
            Some("else"),
        ));
        let metric = &body["data"]["result"][0]["metric"];
        assert_eq!(
            (metric["__name__"].as_str(), metric["app"].as_str()),
            (Some("fly_instance_up"), Some("other"))
        );
        platform.set_prometheus_access(Access::Tokens(vec![Token::new("fo1_x")]));
        let answer = query(&mut platform, &get("/api/v1/query?query=1"), None);
        assert_eq!(answer.status, 401);
    }

    #[test]
    fn a_query_sees_what_was_scraped_some_time_ago() {
        let mut platform = platform();
        platform.set_metrics(MetricsSettings::fly());
        platform.advance(Duration::from_secs(100));
        let id = Arc::clone(&platform.app("web").unwrap().started().next().unwrap().id);
        platform.edit_machine("web", &id, |machine| machine.state = MachineState::Stopped);
        platform.set_gauge("web", "queue_depth", Some(1.0));
        // At 134 s what was scraped at 90 s is seen, at 135 s what was scraped at 105 s.
        for (second, expected) in [(100, 2), (134, 2), (135, 1), (200, 1)] {
            platform.advance(Duration::from_secs(second));
            let seen = asked(&mut platform, "count(fly_instance_up{app='web'})");
            assert_eq!(seen, format!("vector {expected}"), "{second}");
            let depth = asked(&mut platform, "queue_depth");
            assert_eq!(depth == "vector 1", expected == 1, "{second}");
        }
        platform.set_metrics(MetricsSettings {
            silent: true,
            ..MetricsSettings::default()
        });
        assert_eq!(asked(&mut platform, "count(fly_instance_up)"), "vector ");
    }

    #[test]
    fn an_unreachable_machine_reports_nothing() {
        let mut platform = platform();
        let host = Arc::clone(&platform.app("web").unwrap().started().next().unwrap().host);
        platform.set_host_status(&host, HostStatus::Unreachable);
        assert_eq!(
            asked(&mut platform, "count(fly_instance_up{app='web'})"),
            "vector 1"
        );
        platform.set_host_status(&host, HostStatus::Unknown);
        assert_eq!(
            asked(&mut platform, "count(fly_instance_up{app='web'})"),
            "vector 2"
        );
    }

    #[test]
    fn the_series_can_be_scraped_as_text() {
        let mut platform = Platform::new(&Options::default());
        platform.add_app("web", "acme");
        let id = platform
            .add_machine("web", NewMachine::in_region("ord"))
            .unwrap();
        let host = Arc::clone(&platform.machine("web", &id).unwrap().host);
        platform.set_proxy("web", Some(ProxySettings::default()));
        platform.set_load("web", 7.0);
        platform.set_series("odd", &[("app", "a\"b\\c\n")], Some(f64::NEG_INFINITY));
        let answer = text(&platform);
        let labels = format!("app=\"web\",host=\"{host}\",instance=\"{id}\",region=\"ord\"");
        assert_eq!(
            String::from_utf8_lossy(&answer.body),
            format!(
                "# TYPE fly_instance_up gauge\nfly_instance_up{{{labels}}} 1\n\
                 # TYPE fly_app_concurrency gauge\nfly_app_concurrency{{{labels}}} 7\n\
                 # TYPE odd gauge\nodd{{app=\"a\\\"b\\\\c\\n\"}} -Inf\n"
            )
        );
    }
}

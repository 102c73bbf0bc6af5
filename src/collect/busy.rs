//! How busy each machine is: an instant query whose elements are told apart by a label. From `sources.md`.

use std::{collections::HashMap, sync::Arc};

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::{
    CollectError,
    instant::{self, Head, malformed, number, other_type, read},
    prometheus::Prometheus,
};
use crate::{
    config::{BusyConfig, CollectorKind, Subject},
    json::Object,
    labels::CallResult,
    metrics::Metrics,
    scaling::Now,
    transport::Transport,
};

/// The most elements that are read; a fleet with more machines keeps those that are not among them.
const ELEMENTS: usize = 100_000;

/// The labels that say whose an element is, the first before the second: `instance` may also be what Prometheus calls a
/// target.
const LABELS: [&str; 2] = ["machine", "instance"];

/// How busy machines are, as a server says.
#[derive(Debug, Clone, PartialEq)]
pub struct BusySamples {
    /// The samples by machine.
    pub of_machines: Vec<(String, f64)>,
    /// Warnings of the server, as [`Sample::warnings`](super::Sample::warnings) are.
    pub warnings: Vec<String>,
}

/// `FAS_PROMETHEUS_BUSY_QUERY` at its server.
pub struct BusyQuery {
    config: BusyConfig,
    server: Prometheus,
}

impl BusyQuery {
    /// Prepares it; connects to nothing.
    ///
    /// # Errors
    ///
    /// When the server's address or token cannot be used.
    pub fn new(config: &BusyConfig, transport: Arc<dyn Transport>) -> Result<Self, CollectError> {
        let server = Prometheus::new(
            &config.address,
            config.token.as_ref(),
            config.basic.as_ref(),
            None,
            transport,
        )
        .map_err(|error| error.respelt(CollectorKind::Prometheus, &config.spelling))?;
        Ok(Self {
            config: config.clone(),
            server,
        })
    }

    /// What the query is called where it is written.
    #[must_use]
    pub fn setting(&self) -> &str {
        &self.config.setting
    }

    /// Whether something else is asked for each region.
    #[must_use]
    pub fn asks_each_region(&self) -> bool {
        self.config.asks_each_region()
    }

    /// The samples by machine of an app or a region of it, at the time of the pass; asks until `until` at most and counts the request.
    ///
    /// # Errors
    ///
    /// Whatever keeps the query from having a vector of such elements, at least one.
    pub async fn ask<'a>(
        &self,
        about: impl Into<Subject<'a>>,
        began: Now,
        until: Instant,
        metrics: &Metrics,
    ) -> Result<BusySamples, CollectError> {
        let query = self.config.query.render(about);
        let asked = Instant::now();
        let result = timeout_at(until, self.server.query_vector(&query, began.wall))
            .await
            .unwrap_or_else(|_| Err(self.server.timed_out()))
            .map_err(|error| {
                let kind = CollectorKind::Prometheus;
                error.respelt(kind, &self.config.spelling).asked(&query)
            });
        let counted = result
            .as_ref()
            .map_or_else(CollectError::result, |_| CallResult::Ok);
        metrics.collector_request(
            CollectorKind::Prometheus.request(),
            counted,
            asked.elapsed(),
        );
        result
    }
}

#[derive(Deserialize)]
struct Element<'body> {
    #[serde(default)]
    metric: HashMap<String, String>,
    #[serde(borrow)]
    value: Option<(&'body RawValue, String)>,
}

/// The samples of a vector by machine, and what the server warns of.
///
/// # Errors
///
/// As for a metric; and for an element without a label that says which machine it is about.
pub(super) fn parse(status: StatusCode, body: &[u8]) -> Result<BusySamples, CollectError> {
    let success = instant::read_success::<Head<&RawValue, ELEMENTS>>(status, body)?;
    match &*success.result_type {
        "vector" => {}
        "matrix" => return Err(CollectError::Matrix),
        "string" => return Err(CollectError::StringResult),
        "" => return Err(malformed("`data.resultType` is missing")),
        found => return Err(other_type(found)),
    }
    let elements = success.result.first;
    if elements.is_empty() {
        return Err(CollectError::NoMachine);
    }
    let sample = |element: &RawValue| {
        if !element.get().starts_with('{') {
            return Err(malformed("an element of the vector is not an object"));
        }
        let Object(Element { metric, value }) = read(element)?;
        let machine = LABELS.iter().find_map(|label| metric.get(*label));
        let machine = machine.ok_or(CollectError::NoMachineLabel)?;
        let (_, value) = value.ok_or_else(|| malformed("an element of the vector has no value"))?;
        Ok((machine.clone(), number(&value)?))
    };
    let of_machines = elements.into_iter().map(sample);
    Ok(BusySamples {
        of_machines: of_machines.collect::<Result<_, _>>()?,
        warnings: success.warnings,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::collect::CollectErrorKind;

    fn parsed(result: &str) -> Result<Vec<(String, f64)>, CollectErrorKind> {
        let body =
            format!(r#"{{"status":"success","data":{{"resultType":"vector","result":{result}}}}}"#);
        let samples = parse(StatusCode::OK, body.as_bytes()).map_err(|error| error.kind())?;
        assert_eq!(samples.warnings, [""; 0]);
        Ok(samples.of_machines)
    }

    #[test]
    fn what_the_server_warns_of_is_kept_and_a_partial_answer_is_none() {
        let answer = |beside: &str| {
            let body = format!(
                r#"{{"status":"success",{beside},"data":{{"resultType":"vector","result":[{{"metric":{{"machine":"148e"}},"value":[1,"2"]}}]}}}}"#
            );
            parse(StatusCode::OK, body.as_bytes())
        };
        let samples = answer(r#""warnings":["PromQL: partial, store gone"]"#).unwrap();
        assert_eq!(samples.of_machines, [("148e".to_owned(), 2.0)]);
        assert_eq!(samples.warnings, ["PromQL: partial, store gone"]);
        let error = answer(r#""isPartial":true"#).unwrap_err();
        assert_eq!(error.kind(), CollectErrorKind::Partial);
    }

    #[test]
    fn each_element_is_about_the_machine_that_its_label_names() {
        let of_fly = r#"[{"metric":{"instance":"148e"},"value":[1,"2"]},{"metric":{"instance":"9080"},"value":[1,"NaN"]}]"#;
        let samples = parsed(of_fly).unwrap();
        assert_eq!(samples[0], ("148e".to_owned(), 2.0));
        assert!(samples[1].1.is_nan());
        let both =
            r#"[{"metric":{"instance":"10.0.0.1:9100","machine":"148e"},"value":[1,"2.5"]}]"#;
        assert_eq!(parsed(both), Ok(vec![("148e".to_owned(), 2.5)]));
    }

    #[test]
    fn what_says_nothing_of_a_machine_is_an_error() {
        let unlabelled = r#"[{"metric":{"app":"x"},"value":[1,"2"]}]"#;
        assert_eq!(parsed(unlabelled), Err(CollectErrorKind::WrongType));
        assert_eq!(parsed("[]"), Err(CollectErrorKind::Empty));
        assert_eq!(parsed("null"), Err(CollectErrorKind::Empty));
        let one_bad = r#"[{"metric":{"instance":"a"},"value":[1,"2"]},{"metric":{"instance":"b"},"value":[1,"x"]}]"#;
        assert_eq!(parsed(one_bad), Err(CollectErrorKind::NotANumber));
        assert_eq!(parsed("[[]]"), Err(CollectErrorKind::Unreadable));
        let scalar = br#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}"#;
        let error = parse(StatusCode::OK, scalar).unwrap_err();
        assert_eq!(error.kind(), CollectErrorKind::WrongType);
    }
}

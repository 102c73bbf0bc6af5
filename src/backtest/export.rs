//! The results for programs: JSON and CSV.
//!
//! A month of minutes is written as it is made, and never held as one text. What a text holds is cleaned before it is
//! encoded, so that hiding a secret can break neither format.

use std::{collections::BTreeMap, io};

use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::{
    Figures, History, Outcome, Point,
    report::{Report, clean},
};

/// Writes the results as one JSON object and a line end.
///
/// # Errors
///
/// What `out` errs with.
pub fn json(report: &Report, mut out: impl io::Write) -> io::Result<()> {
    let history = &report.history;
    let shown = Shown {
        from: history.from.to_string(),
        to: history.until().to_string(),
        step_s: history.step_s,
        app: clean(&history.app),
        results: report
            .results
            .iter()
            .map(|(expression, outcome)| ShownResult::of(report, expression, outcome))
            .collect(),
        notes: report.notes.iter().map(|note| clean(note)).collect(),
    };
    serde_json::to_writer_pretty(&mut out, &shown)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes a line for each step of each result, under a line of names.
///
/// # Errors
///
/// What `out` errs with.
pub fn csv(report: &Report, out: impl io::Write) -> io::Result<()> {
    let history = &report.history;
    let mut writer = csv::Writer::from_writer(out);
    let mut names = vec!["expression".to_owned(), "at".to_owned()];
    names.extend(history.metrics.keys().map(|metric| clean(metric)));
    names.extend(
        [
            "target_min",
            "target_max",
            "created",
            "started",
            "decision",
            "code",
        ]
        .map(str::to_owned),
    );
    writer.write_record(&names)?;
    for (expression, outcome) in &report.results {
        let expression = clean(expression);
        for (at, point) in outcome.points.iter().enumerate() {
            let mut record = vec![expression.clone(), history.at(at).to_string()];
            let text = |value: Option<f64>| value.map_or_else(String::new, |it| it.to_string());
            let values = history.metrics.keys();
            record.extend(values.map(|metric| text(history.value(metric, at))));
            let bound = |bound: Option<u32>| bound.map_or_else(String::new, |it| it.to_string());
            record.extend([
                bound(point.target.map(|bounds| bounds.min)),
                bound(point.target.map(|bounds| bounds.max)),
                point.created.to_string(),
                point.started.to_string(),
                point.decision.as_str().to_owned(),
                point.code.to_owned(),
            ]);
            writer.write_record(&record)?;
        }
    }
    writer.flush()
}

#[derive(Serialize)]
struct Shown<'a> {
    from: String,
    to: String,
    step_s: u32,
    app: String,
    results: Vec<ShownResult<'a>>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct ShownResult<'a> {
    expression: String,
    initial: u32,
    creates: u32,
    destroys: u32,
    starts: u32,
    stops: u32,
    flaps: u32,
    machine_hours: f64,
    started_hours: f64,
    unmet_machine_hours: f64,
    max_created: u32,
    min_created: u32,
    cost: Option<f64>,
    points: Points<'a>,
}

impl<'a> ShownResult<'a> {
    fn of(report: &'a Report, expression: &str, outcome: &'a Outcome) -> Self {
        let Figures {
            creates,
            destroys,
            starts,
            stops,
            flaps,
            machine_hours,
            started_hours,
            paid_hours: _,
            unmet_machine_hours,
            max_created,
            min_created,
        } = outcome.figures;
        Self {
            expression: clean(expression),
            initial: outcome.start.created,
            creates,
            destroys,
            starts,
            stops,
            flaps,
            machine_hours,
            started_hours,
            unmet_machine_hours,
            max_created,
            min_created,
            cost: report.cost(outcome),
            points: Points {
                metrics: report
                    .history
                    .metrics
                    .iter()
                    .map(|(metric, values)| (clean(metric), &values[..]))
                    .collect(),
                history: &report.history,
                of: &outcome.points,
            },
        }
    }
}

/// The points, each made when it is written.
struct Points<'a> {
    metrics: BTreeMap<String, &'a [Option<f64>]>,
    history: &'a History,
    of: &'a [Point],
}

impl Serialize for Points<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let points = self.of.iter().enumerate();
        serializer.collect_seq(points.map(|(at, point)| ShownPoint {
            at: self.history.at(at).to_string(),
            metrics: Metrics {
                metrics: &self.metrics,
                at,
            },
            target_min: point.target.map(|bounds| bounds.min),
            target_max: point.target.map(|bounds| bounds.max),
            created: point.created,
            started: point.started,
            decision: point.decision.as_str(),
            code: point.code,
        }))
    }
}

#[derive(Serialize)]
struct ShownPoint<'a> {
    at: String,
    metrics: Metrics<'a>,
    target_min: Option<u32>,
    target_max: Option<u32>,
    created: u32,
    started: u32,
    decision: &'static str,
    code: &'static str,
}

struct Metrics<'a> {
    metrics: &'a BTreeMap<String, &'a [Option<f64>]>,
    at: usize,
}

impl Serialize for Metrics<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.metrics.len()))?;
        for (metric, values) in self.metrics {
            map.serialize_entry(metric, &values.get(self.at).copied().flatten())?;
        }
        map.end()
    }
}

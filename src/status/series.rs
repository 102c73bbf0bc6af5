//! The series of `/metrics` that fleets have, made from the record when they are asked for.

use std::borrow::Cow;

use jiff::Timestamp;
use prometheus::{
    TextEncoder,
    proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType},
};

use super::{Fleet, Status};
use crate::{
    metrics::series::{self, Series},
    scaling::Kind,
};

/// One value of a series, with the values of its labels but those that say which fleet it is.
type Sample<'fleet> = (Vec<&'fleet str>, f64);

/// What one fleet has of a series.
type Samples = fn(&Fleet) -> Vec<Sample<'_>>;

/// Every series that fleets have.
const SERIES: [(Series, Samples); 5] = [
    (series::METRIC_VALUE, metric_values),
    (series::TARGET_MACHINES, targets),
    (series::MACHINES, machines),
    (series::LAST_SUCCESS, last_success),
    (series::FAILING_PASSES, failing_passes),
];

impl Status {
    /// Writes the series of all fleets in the Prometheus text format, one family after the other.
    pub fn write_series(&self, text: &mut String) {
        for (series, samples) in SERIES {
            let mut family = Family {
                series,
                metrics: Vec::new(),
                has_head: false,
            };
            self.each(|fleet| {
                let samples = samples(fleet).into_iter();
                let metrics = samples.map(|sample| metric(series, fleet, &sample));
                family.metrics.extend(metrics);
                if family.metrics.len() >= BATCH {
                    family.write(text);
                }
            });
            family.write(text);
        }
    }
}

/// How many metrics are written at a time: what the encoder writes from takes ten times the room of the text, which a process
/// that has had it once does not give back.
const BATCH: usize = 256;

/// A series of all fleets, on its way into the text.
struct Family {
    series: Series,
    metrics: Vec<Metric>,
    /// Whether its name is told already.
    has_head: bool,
}

impl Family {
    /// Writes those metrics that are there by now.
    fn write(&mut self, text: &mut String) {
        if self.metrics.is_empty() {
            // A family without a metric is an error to the encoder.
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(self.series.name.to_owned());
        family.set_help(self.series.help.to_owned());
        family.set_field_type(MetricType::GAUGE);
        family.set_metric(std::mem::take(&mut self.metrics));
        let mut written = String::new();
        // Writing to memory does not fail.
        let _ = TextEncoder::new().encode_utf8(&[family], &mut written);
        for line in written.split_inclusive('\n') {
            if !(self.has_head && line.starts_with('#')) {
                text.push_str(&with_infinity(line));
            }
        }
        self.has_head = true;
    }
}

/// A line as the format has it: the encoder writes an infinite value as Rust does.
fn with_infinity(line: &str) -> Cow<'_, str> {
    let value = line.trim_end_matches('\n').rsplit_once(' ');
    match value {
        Some((series, value @ ("inf" | "-inf"))) if !line.starts_with('#') => {
            let sign = if value.starts_with('-') { '-' } else { '+' };
            Cow::Owned(format!("{series} {sign}Inf\n"))
        }
        _ => Cow::Borrowed(line),
    }
}

fn metric(series: Series, fleet: &Fleet, (values, value): &Sample<'_>) -> Metric {
    let name = &fleet.name;
    let values = [&*name.app, &*name.group]
        .into_iter()
        .chain(values.iter().copied());
    let region = name
        .region
        .as_deref()
        .map(|region| (series::REGION, region));
    let labels = series.labels.iter().copied().zip(values).chain(region);
    let labels = labels.map(|(name, value)| {
        let mut label = LabelPair::default();
        label.set_name(name.to_owned());
        label.set_value(value.to_owned());
        label
    });
    let mut labels: Vec<LabelPair> = labels.collect();
    labels.sort_by(|one, other| one.name().cmp(other.name()));
    let mut gauge = Gauge::default();
    gauge.set_value(*value);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

fn metric_values(fleet: &Fleet) -> Vec<Sample<'_>> {
    let readings = fleet.last_pass.iter().flat_map(|pass| &pass.metrics);
    readings
        .filter_map(|reading| {
            let value = *reading.value.as_ref().ok()?;
            Some((vec![&*reading.name], value))
        })
        .collect()
}

fn targets(fleet: &Fleet) -> Vec<Sample<'_>> {
    let Some(pass) = &fleet.last_pass else {
        return Vec::new();
    };
    let bounds = Kind::ALL
        .into_iter()
        .filter_map(|kind| Some((kind, pass.targets.of_kind(kind).bounds()?)));
    bounds
        .flat_map(|(kind, bounds)| {
            [("min", bounds.min), ("max", bounds.max)]
                .map(|(bound, value)| (vec![kind.as_str(), bound], value.into()))
        })
        .collect()
}

fn machines(fleet: &Fleet) -> Vec<Sample<'_>> {
    let Some(inventory) = &fleet.inventory else {
        return Vec::new();
    };
    let count = |label| {
        let counted = inventory.by_state.iter().find(|(one, _)| *one == label);
        counted.map_or(0, |(_, count)| *count)
    };
    let states = fleet.states.iter();
    states
        .map(|label| (vec![label.as_str()], count(*label).into()))
        .collect()
}

fn last_success(fleet: &Fleet) -> Vec<Sample<'_>> {
    let seconds = |at: Timestamp| at.as_millisecond() as f64 / 1000.0;
    let at = fleet.standing.last_success.map_or(0.0, seconds);
    vec![(vec![], at)]
}

fn failing_passes(fleet: &Fleet) -> Vec<Sample<'_>> {
    let count = fleet.standing.failing_passes.into();
    vec![(vec![], count)]
}

//! The series of `/metrics` that fleets have, made from the record when they are asked for.

use std::fmt::{Display, Write as _};

use jiff::Timestamp;

use super::{Fleet, Status};
use crate::{
    metrics::series::{self, Series},
    scaling::Kind,
};

/// Takes one value of a series, with the values of its labels but those that say which fleet it is.
type Sink<'sink> = &'sink mut dyn FnMut(&[&str], f64);

/// Gives what one fleet has of a series.
type Samples = fn(&Fleet, Sink<'_>);

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
    ///
    /// Straight into the text, as the `prometheus` crate would write it: what that crate writes from takes ten times the
    /// room of the text, which a process that has had it once does not give back.
    pub fn write_series(&self, text: &mut String) {
        for (series, samples) in SERIES {
            let mut has_head = false;
            self.each(|fleet| {
                samples(fleet, &mut |values, value| {
                    // A family without a value is not there.
                    if !std::mem::replace(&mut has_head, true) {
                        let Series {
                            name, help, kind, ..
                        } = series;
                        let kind = kind.as_str();
                        write(
                            text,
                            format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"),
                        );
                    }
                    line(text, series, fleet, (values, value));
                });
            });
        }
    }
}

/// One value of one fleet.
fn line(text: &mut String, series: Series, fleet: &Fleet, (values, value): (&[&str], f64)) {
    let name = &fleet.name;
    let values = [&*name.app, &*name.group]
        .into_iter()
        .chain(values.iter().copied());
    let region = name.region.as_deref();
    let region = region.map(|region| (series::REGION, region));
    let labels = series.labels.iter().copied().zip(values).chain(region);
    let mut labels: Vec<(&str, &str)> = labels.collect();
    labels.sort_unstable_by_key(|(name, _)| *name);
    text.push_str(series.name);
    let mut gap = '{';
    for (name, value) in labels {
        text.push(gap);
        gap = ',';
        text.push_str(name);
        text.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str(r"\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str(r"\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text.push_str("} ");
    // As the format has it, and not Rust.
    if value == f64::INFINITY {
        text.push_str("+Inf\n");
    } else if value == f64::NEG_INFINITY {
        text.push_str("-Inf\n");
    } else {
        write(text, format_args!("{value}\n"));
    }
}

fn write(text: &mut String, what: impl Display) {
    // Writing to memory does not fail.
    let _ = write!(text, "{what}");
}

fn metric_values(fleet: &Fleet, sink: Sink<'_>) {
    let readings = fleet.last_pass.iter().flat_map(|pass| &pass.metrics);
    for reading in readings {
        if let Ok(value) = reading.value {
            sink(&[&reading.name], value);
        }
    }
}

fn targets(fleet: &Fleet, sink: Sink<'_>) {
    let Some(pass) = &fleet.last_pass else {
        return;
    };
    for kind in Kind::ALL {
        if let Some(bounds) = pass.targets.of_kind(kind).bounds() {
            for (bound, value) in [("min", bounds.min), ("max", bounds.max)] {
                sink(&[kind.as_str(), bound], value.into());
            }
        }
    }
}

fn machines(fleet: &Fleet, sink: Sink<'_>) {
    let Some(inventory) = &fleet.inventory else {
        return;
    };
    for label in &fleet.states {
        let mut counts = inventory.by_state.iter();
        let counted = counts.find(|(one, _)| one == label);
        let count = counted.map_or(0, |(_, count)| *count);
        sink(&[label.as_str()], count.into());
    }
}

fn last_success(fleet: &Fleet, sink: Sink<'_>) {
    let seconds = |at: Timestamp| at.as_millisecond() as f64 / 1000.0;
    let at = fleet.standing.last_success.map_or(0.0, seconds);
    sink(&[], at);
}

fn failing_passes(fleet: &Fleet, sink: Sink<'_>) {
    sink(&[], fleet.standing.failing_passes.into());
}

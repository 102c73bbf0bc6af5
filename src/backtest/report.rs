//! What all outputs show: the outcomes side by side, and what one has to know about them.

use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;

use super::{History, Missing, Outcome, Point};
use crate::{
    chart::Mark,
    scaling::{Bounds, Decision, Kind, Policy},
    shown,
};

/// The longest text of the user's that is shown: an expression is at most this long.
const TEXT_LIMIT: usize = 4096;

/// Everything that is shown of a backtest.
#[derive(Debug)]
pub struct Report {
    /// What was replayed.
    pub history: History,
    /// How long a machine takes until it runs.
    pub boot: Duration,
    /// `--price-per-hour`.
    pub price_per_hour: Option<f64>,
    /// Which count the minimum and the maximum are of.
    pub kind: Kind,
    /// Whether machines at rest are what the minimum asks for.
    pub rest_is_enough: bool,
    /// Each expression with what came of it, in the order of the command line.
    pub results: Vec<(String, Outcome)>,
    /// What one has to know, a sentence each.
    pub notes: Vec<String>,
}

/// One figure of all results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is.
    pub name: &'static str,
    /// The number of each result, as it is shown.
    pub values: Vec<String>,
}

/// `text` as every output may show it.
pub(super) fn clean(text: &str) -> String {
    shown::line(text, TEXT_LIMIT)
}

impl Report {
    /// The price of a result, where there is a price for an hour: of machines that ran or booted, since those are paid for.
    #[must_use]
    pub fn cost(&self, outcome: &Outcome) -> Option<f64> {
        self.price_per_hour
            .map(|price| price * outcome.figures.paid_hours)
    }

    /// Whether the charts show how many run beside how many there are.
    pub(super) fn shows_running(&self) -> bool {
        self.rest_is_enough || self.kind == Kind::Started
    }

    /// What was replayed, in a line.
    #[must_use]
    pub fn heading(&self) -> String {
        let begins: Vec<String> = self
            .results
            .iter()
            .map(|(_, outcome)| outcome.start.created.to_string())
            .collect();
        let begins = if begins.iter().all(|one| *one == begins[0]) {
            begins.first().cloned().unwrap_or_default()
        } else {
            begins.join(" and ")
        };
        let passes = self.history.points;
        format!(
            "{}: {} to {}, {passes} passes, one every {}; a machine boots in {}; it begins with {begins} {}",
            clean(&self.history.app),
            minute(self.history.from),
            minute(self.history.until()),
            length(Duration::from_secs(self.history.step_s.into())),
            length(self.boot),
            if begins == "1" { "machine" } else { "machines" },
        )
    }

    /// The figures, one result beside the other.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let row = |name, value: &dyn Fn(&Outcome) -> String| Row {
            name,
            values: self
                .results
                .iter()
                .map(|(_, outcome)| value(outcome))
                .collect(),
        };
        let hours = |hours: f64| format!("{hours:.1}");
        let mut rows = vec![
            row("creates", &|outcome| outcome.figures.creates.to_string()),
            row("destroys", &|outcome| outcome.figures.destroys.to_string()),
            row("starts", &|outcome| outcome.figures.starts.to_string()),
            row("stops", &|outcome| outcome.figures.stops.to_string()),
            row("flaps", &|outcome| outcome.figures.flaps.to_string()),
            row("most machines", &|outcome| {
                outcome.figures.max_created.to_string()
            }),
            row("fewest machines", &|outcome| {
                outcome.figures.min_created.to_string()
            }),
            row("machine-hours", &|outcome| {
                hours(outcome.figures.machine_hours)
            }),
            row("started-hours", &|outcome| {
                hours(outcome.figures.started_hours)
            }),
            row("unmet machine-hours", &|outcome| {
                hours(outcome.figures.unmet_machine_hours)
            }),
        ];
        if self.price_per_hour.is_some() {
            rows.push(row("cost", &|outcome| {
                format!("{:.2}", self.cost(outcome).unwrap_or_default())
            }));
        }
        rows
    }

    /// The names of the results in a table: letters, where there are several.
    #[must_use]
    pub fn letters(&self) -> Vec<String> {
        if self.results.len() < 2 {
            return vec![String::new(); self.results.len()];
        }
        let letter = |number: usize| {
            let letter = u8::try_from(number).ok().filter(|number| *number < 26);
            letter.map_or_else(
                || (number + 1).to_string(),
                |letter| char::from(b'A' + letter).to_string(),
            )
        };
        (0..self.results.len()).map(letter).collect()
    }

    /// The expression of a result, after its letter.
    #[must_use]
    pub fn label(&self, number: usize) -> String {
        let letter = &self.letters()[number];
        let expression = clean(&self.results[number].0);
        if letter.is_empty() {
            expression
        } else {
            format!("{letter}: {expression}")
        }
    }
}

/// What one has to know about a replay with these settings.
#[must_use]
pub fn notes(history: &History, policy: &Policy, on_the_fleet: &[&str]) -> Vec<String> {
    let mut notes = Vec::new();
    notes.push(if on_the_fleet.is_empty() {
        "metrics are replayed as recorded: one that depends on the machines themselves, such as a queue that more machines \
         empty sooner, is not affected by the simulated machines"
            .to_owned()
    } else {
        format!(
            "metrics are replayed as recorded: {} depends on the machines themselves, and is not affected by the \
             simulated ones",
            on_the_fleet.join(" and ")
        )
    });
    let fallback = policy.fallback;
    let by_passes: Vec<&str> = [
        ("FAS_SCALE_UP_STEP", policy.step.up.is_some()),
        ("FAS_SCALE_DOWN_STEP", policy.step.down.is_some()),
        (
            "FAS_FALLBACK_AFTER",
            fallback.created.or(fallback.started).is_some(),
        ),
    ]
    .into_iter()
    .filter_map(|(name, is_set)| is_set.then_some(name))
    .collect();
    let step = Duration::from_secs(history.step_s.into());
    if !by_passes.is_empty() && step != policy.interval {
        notes.push(format!(
            "{} go by passes: one is made every {} here, and every {} by `serve` (FAS_INTERVAL); --step {} shows them as they are",
            by_passes.join(" and "),
            length(step),
            length(policy.interval),
            length(policy.interval),
        ));
    }
    notes
}

/// What one has to know of a replay in which an expression had no value in some steps.
#[must_use]
pub fn missing_note(what: &str, missing: &Missing, history: &History, then: &str) -> String {
    format!(
        "{what} had no value in {} of {} passes, first at {}: {}; {then}",
        missing.steps,
        history.points,
        minute(history.at(missing.first)),
        missing.why
    )
}

impl Outcome {
    /// A series of the points.
    pub(super) fn series(&self, of: impl Fn(&Point) -> Option<u32>) -> Vec<Option<f64>> {
        let points = self.points.iter();
        points.map(|point| of(point).map(f64::from)).collect()
    }

    pub(super) fn minimum(&self) -> Vec<Option<f64>> {
        self.series(|point| point.target.map(|bounds| bounds.min))
    }

    /// Whether the target is a band somewhere.
    pub(super) fn has_band(&self) -> bool {
        let is_band = |bounds: Bounds| bounds.min != bounds.max;
        self.points
            .iter()
            .any(|point| point.target.is_some_and(is_band))
    }

    /// What was done when.
    pub(super) fn marks(&self) -> Vec<Mark> {
        let of_point = |(at, point): (usize, &Point)| {
            let up = match point.decision {
                Decision::Create | Decision::Start => true,
                Decision::Destroy | Decision::Stop => false,
                Decision::NoScale => return None,
            };
            Some(Mark { point: at, up })
        };
        self.points
            .iter()
            .enumerate()
            .filter_map(of_point)
            .collect()
    }
}

/// A time to the minute, or to the second where it has one, in UTC.
pub(super) fn minute(at: Timestamp) -> String {
    let format = if at.as_second() % 60 == 0 {
        "%Y-%m-%d %H:%M UTC"
    } else {
        "%Y-%m-%d %H:%M:%S UTC"
    };
    at.strftime(format).to_string()
}

/// A length of time as durations are written: `1m30s`, `2h`.
#[must_use]
pub fn length(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    for (count, unit) in [(hours, "h"), (minutes, "m")] {
        if count > 0 {
            let _ = write!(text, "{count}{unit}");
        }
    }
    if rest > 0 || duration.subsec_millis() > 0 || text.is_empty() {
        let seconds = rest as f64 + f64::from(duration.subsec_millis()) / 1000.0;
        let _ = write!(text, "{seconds}s");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_settings_are() {
        let cases = [
            (0, "0s"),
            (500, "0.5s"),
            (30_000, "30s"),
            (90_000, "1m30s"),
            (3_600_000, "1h"),
            (86_400_000, "24h"),
            (3_601_000, "1h1s"),
        ];
        for (milliseconds, expected) in cases {
            assert_eq!(length(Duration::from_millis(milliseconds)), expected);
        }
    }
}

//! How a fleet's numbers went over the last day: a point a minute, in a budget of memory for all fleets together.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;

/// How long a history reaches back, in points of the finest resolution: a day of minutes.
const POINTS: u32 = 24 * 60;

/// How far points are apart where there is room for that.
pub const RESOLUTION: Duration = Duration::from_secs(60);

/// What the histories of all fleets may take together, in bytes.
const BUDGET: usize = 8 * 1024 * 1024;

/// How many points a history grows by at a time.
const GROWTH: usize = 8;

/// Stands for a count that is not known.
const UNKNOWN: u32 = u32::MAX;

/// The numbers of one moment; `None` where one is not known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Point {
    /// How many machines exist.
    pub created: Option<u32>,
    /// How many run.
    pub started: Option<u32>,
    /// What the expression asks for at least, before limits.
    pub target_min: Option<u32>,
    /// What it asks for at most.
    pub target_max: Option<u32>,
    /// The metrics, in their order.
    pub metrics: Vec<Option<f64>>,
}

/// The points of a fleet, the newest being what is now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// When the first point's time begins.
    from: Option<Timestamp>,
    /// How many times the finest resolution points are apart; 0 before the first one.
    coarseness: u32,
    /// How many metrics a point has.
    metrics: usize,
    /// The points, one after another: created, started, minimum, maximum, then the metrics' bits, two cells each, the
    /// upper ones first.
    cells: VecDeque<u32>,
}

/// A history written out: a column for each number, from the oldest point on.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// How far the points are apart.
    pub step: Duration,
    /// The time of the first one.
    pub from: Timestamp,
    /// See [`Point::created`].
    pub created: Vec<Option<u32>>,
    /// See [`Point::started`].
    pub started: Vec<Option<u32>>,
    /// See [`Point::target_min`].
    pub target_min: Vec<Option<u32>>,
    /// See [`Point::target_max`].
    pub target_max: Vec<Option<u32>>,
    /// A column for each metric, in their order.
    pub metrics: Vec<Vec<Option<f64>>>,
}

impl History {
    /// Puts down what is now, where `fleets` have a history; points are `resolution` apart or, if there is no room for
    /// that many, a multiple of it.
    pub fn note(&mut self, point: &Point, now: Timestamp, fleets: usize, resolution: Duration) {
        if point.metrics.len() != self.metrics {
            *self = Self {
                metrics: point.metrics.len(),
                ..Self::default()
            };
        }
        let coarseness = coarseness(fleets, self.width() * size_of::<u32>());
        if coarseness > self.coarseness {
            self.coarsen(coarseness, resolution);
        }
        let from = *self.from.get_or_insert(now);
        let step = self.step(resolution);
        let past = u128::try_from(now.duration_since(from).as_nanos()).unwrap_or(0);
        let at = usize::try_from(past / step.as_nanos().max(1)).unwrap_or(usize::MAX);
        let kept = self.kept();
        let ahead = at.saturating_sub(self.len().saturating_sub(1));
        if ahead > kept {
            // Everything that is kept is older than a day.
            self.cells.clear();
            self.from = Some(now);
            self.push(point);
            return;
        }
        if ahead == 0 && self.len() > 0 {
            // Also where the clock was set back.
            self.cells.truncate((self.len() - 1) * self.width());
        } else {
            for _ in 1..ahead {
                self.push(&Point {
                    metrics: vec![None; self.metrics],
                    ..Point::default()
                });
            }
        }
        self.push(point);
        let old = self.len().saturating_sub(kept);
        if old > 0 {
            self.cells.drain(..old * self.width());
            let passed = step.saturating_mul(u32::try_from(old).unwrap_or(u32::MAX));
            self.from = self.from.and_then(|from| from.checked_add(passed).ok());
        }
    }

    /// The history written out; `None` before the first point.
    #[must_use]
    pub fn span(&self, resolution: Duration) -> Option<Span> {
        let column = |at: usize| self.cells.iter().skip(at).step_by(self.width()).copied();
        let counts = |at| column(at).map(count_of).collect();
        Some(Span {
            step: self.step(resolution),
            from: self.from?,
            created: counts(0),
            started: counts(1),
            target_min: counts(2),
            target_max: counts(3),
            metrics: (4..self.width())
                .step_by(2)
                .map(|at| column(at).zip(column(at + 1)).map(value_of).collect())
                .collect(),
        })
    }

    /// How many points there are.
    fn len(&self) -> usize {
        self.cells.len() / self.width()
    }

    /// How many cells a point has.
    fn width(&self) -> usize {
        4 + 2 * self.metrics
    }

    /// How many points are kept.
    fn kept(&self) -> usize {
        usize::try_from(POINTS / self.coarseness.max(1)).unwrap_or(1)
    }

    fn step(&self, resolution: Duration) -> Duration {
        resolution.saturating_mul(self.coarseness.max(1))
    }

    fn push(&mut self, point: &Point) {
        let counts = [
            point.created,
            point.started,
            point.target_min,
            point.target_max,
        ];
        let counts = counts.map(|count| count.map_or(UNKNOWN, |count| count.min(UNKNOWN - 1)));
        let metrics = point.metrics.iter();
        let metrics = metrics.flat_map(|value| cells_of(value.unwrap_or(f64::NAN)));
        self.push_cells(counts.into_iter().chain(metrics));
    }

    fn push_cells(&mut self, cells: impl Iterator<Item = u32>) {
        let width = self.width();
        if self.cells.capacity() - self.cells.len() < width {
            let room = self.kept().saturating_add(1).saturating_sub(self.len());
            self.cells.reserve_exact(room.clamp(1, GROWTH) * width);
        }
        self.cells.extend(cells);
    }

    /// Keeps the last point of each longer step.
    fn coarsen(&mut self, coarseness: u32, resolution: Duration) {
        let before = std::mem::replace(
            self,
            Self {
                from: self.from,
                coarseness,
                metrics: self.metrics,
                cells: VecDeque::new(),
            },
        );
        let (step, longer) = (before.step(resolution), self.step(resolution));
        let cells: Vec<u32> = before.cells.into_iter().collect();
        let mut slot = None;
        for (number, cells) in cells.chunks_exact(self.width()).enumerate() {
            let past = step.as_nanos() * number as u128;
            let at = past / longer.as_nanos().max(1);
            if slot == Some(at) {
                let kept = self.cells.len() - self.width();
                self.cells.truncate(kept);
            }
            slot = Some(at);
            self.push_cells(cells.iter().copied());
        }
        let old = self.len().saturating_sub(self.kept());
        self.cells.drain(..old * self.width());
        self.cells.shrink_to_fit();
        let passed = longer.saturating_mul(u32::try_from(old).unwrap_or(u32::MAX));
        self.from = self.from.and_then(|from| from.checked_add(passed).ok());
    }
}

fn count_of(cell: u32) -> Option<u32> {
    (cell != UNKNOWN).then_some(cell)
}

/// All of a value's bits: a count of requests or bytes may need more than half of them.
#[expect(clippy::cast_possible_truncation, reason = "it is cut in two")]
fn cells_of(value: f64) -> [u32; 2] {
    let bits = value.to_bits();
    [(bits >> 32) as u32, bits as u32]
}

fn value_of((upper, lower): (u32, u32)) -> Option<f64> {
    let bits = u64::from(upper) << 32 | u64::from(lower);
    Some(f64::from_bits(bits)).filter(|value| !value.is_nan())
}

/// How many times the finest resolution points are apart, so that all fleets stay within the budget.
fn coarseness(fleets: usize, point: usize) -> u32 {
    let for_a_day = fleets
        .saturating_mul(point)
        .saturating_mul(usize::try_from(POINTS).unwrap_or(usize::MAX));
    let times = for_a_day.div_ceil(BUDGET).max(1);
    // A day is a whole number of steps.
    (u32::try_from(times).unwrap_or(POINTS)..POINTS)
        .find(|times| POINTS.is_multiple_of(*times))
        .unwrap_or(POINTS)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_323_045 + second).unwrap()
    }

    fn point(created: u32) -> Point {
        Point {
            created: Some(created),
            started: Some(created / 2),
            target_min: None,
            target_max: Some(u32::MAX),
            metrics: vec![Some(0.5), None],
        }
    }

    fn created(history: &History) -> Vec<Option<u32>> {
        history.span(RESOLUTION).unwrap().created
    }

    #[test]
    fn the_newest_point_is_what_is_now_and_what_nobody_saw_is_unknown() {
        let mut history = History::default();
        assert_eq!(history.span(RESOLUTION), None);
        let passes = [
            (0, 1),
            (15, 2),
            (59, 3),
            (60, 4),
            (100, 5),
            (300, 6),
            (290, 7),
        ];
        for (second, count) in passes {
            history.note(&point(count), at(second), 1, RESOLUTION);
        }
        assert_eq!(
            created(&history),
            [Some(3), Some(5), None, None, None, Some(7)]
        );
        let span = history.span(RESOLUTION).unwrap();
        assert_eq!((span.from, span.step), (at(0), RESOLUTION));
        assert_eq!(span.started.last(), Some(&Some(3)));
        assert_eq!(span.target_min.last(), Some(&None));
        assert_eq!(span.target_max.last(), Some(&Some(u32::MAX - 1)));
        let metrics: Vec<_> = span.metrics.iter().map(|column| column.last()).collect();
        assert_eq!(metrics, [Some(&Some(0.5)), Some(&None)]);
    }

    #[test]
    fn it_reaches_back_a_day() {
        let mut history = History::default();
        for minute in 0..2000 {
            history.note(&point(minute), at(i64::from(minute) * 60), 1, RESOLUTION);
        }
        let span = history.span(RESOLUTION).unwrap();
        assert_eq!(span.created.len(), 1440);
        assert_eq!(span.from, at(560 * 60));
        assert_eq!(span.created[0], Some(560));
        history.note(&point(9), at(5000 * 60), 1, RESOLUTION);
        assert_eq!(created(&history), [Some(9)], "a standstill of two days");
    }

    #[test]
    fn other_metrics_begin_another_history() {
        let mut history = History::default();
        history.note(&point(1), at(0), 1, RESOLUTION);
        let other = Point {
            metrics: vec![Some(1.0)],
            ..point(2)
        };
        history.note(&other, at(60), 1, RESOLUTION);
        assert_eq!(created(&history), [Some(2)]);
    }

    #[test]
    fn many_fleets_share_the_budget_and_keep_their_day() {
        let mut history = History::default();
        for minute in 0..1440 {
            history.note(&point(minute), at(i64::from(minute) * 60), 1, RESOLUTION);
        }
        for fleets in [1, 300, 2000, 5000, 20_000] {
            history.note(&point(1), at(1439 * 60), fleets, RESOLUTION);
            let span = history.span(RESOLUTION).unwrap();
            let all = fleets * history.cells.capacity() * size_of::<u32>();
            // A point more than a day has, before the oldest goes.
            assert!(all <= BUDGET + BUDGET / 20, "{fleets} fleets: {all} bytes");
            let reach = span.step * u32::try_from(span.created.len()).unwrap();
            let day = Duration::from_secs(86_400);
            assert!(reach + span.step > day && reach <= day, "{reach:?}");
            assert_eq!(span.created.last(), Some(&Some(1)));
            let oldest = span.created[0].unwrap();
            assert!(u64::from(oldest) < 2 * span.step.as_secs() / 60, "{oldest}");
        }
    }
}

//! Repeated measurements, and the table that shows them.
//!
//! Allocations are counted by an allocator of this process, which makes each of them a few nanoseconds slower.

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

/// How long one sample lasts at least: what is shorter is repeated in it, so that reading the clock does not matter.
const SAMPLE: Duration = Duration::from_millis(1);

/// How many samples are taken.
const SAMPLES: usize = 31;

/// So many are taken however long they last, and more only within [`PATIENCE`].
const FEWEST_SAMPLES: usize = 5;

/// See [`FEWEST_SAMPLES`].
const PATIENCE: Duration = Duration::from_secs(2);

/// What a figure is a number of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Time, in seconds.
    Seconds,
    /// The length of a file, an answer or what was allocated, in bytes.
    Bytes,
    /// Memory of a process, in bytes.
    Resident,
    /// Things that are counted.
    Count,
    /// A part of one core's time.
    Core,
}

impl Unit {
    fn show(self, figure: f64) -> String {
        let (divisor, unit) = match self {
            Self::Seconds if figure < 1e-6 => (1e-9, "ns"),
            Self::Seconds if figure < 1e-3 => (1e-6, "µs"),
            Self::Seconds if figure < 1.0 => (1e-3, "ms"),
            Self::Seconds => (1.0, "s"),
            Self::Bytes if figure < 1e3 => (1.0, "B"),
            Self::Bytes if figure < 1e6 => (1e3, "kB"),
            Self::Bytes => (1e6, "MB"),
            Self::Resident => (1024.0 * 1024.0, "MiB"),
            Self::Count => (1.0, ""),
            Self::Core => (0.01, "%"),
        };
        let number = figure / divisor;
        // Three digits that count.
        let decimals = match number {
            _ if number < 10.0 => 2,
            _ if number < 100.0 => 1,
            _ => 0,
        };
        format!("{number:.decimals$} {unit}").trim_end().to_owned()
    }
}

/// One line of the table.
pub(crate) struct Line {
    name: String,
    unit: Unit,
    samples: Vec<f64>,
    items: Option<u32>,
    allocations: Option<u64>,
}

impl Line {
    /// What was measured, once or several times.
    pub(crate) fn new(name: impl Into<String>, unit: Unit, samples: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            unit,
            samples,
            items: None,
            allocations: None,
        }
    }

    /// For so many machines, or other things: what one of them costs is compared among the lines of a kind.
    pub(crate) fn items(mut self, items: u32) -> Self {
        self.items = Some(items);
        self
    }

    /// With so many allocations.
    pub(crate) fn allocations(mut self, allocations: u64) -> Self {
        self.allocations = Some(allocations);
        self
    }

    /// The name without its size.
    fn kind(&self) -> String {
        let is_size = |part: &&str| part.bytes().all(|letter| letter.is_ascii_digit());
        let parts: Vec<&str> = self.name.split('/').filter(|part| !is_size(part)).collect();
        parts.join("/")
    }
}

/// The table, printed line by line as it is measured.
pub(crate) struct Table {
    /// With what the names of the lines begin that are wanted; none: all are.
    wanted: Vec<String>,
    /// What one item costs in the first line of each kind.
    first: BTreeMap<String, f64>,
}

impl Table {
    /// Prints the head of a table of these lines.
    pub(crate) fn new(wanted: Vec<String>) -> Self {
        print("name", ["min", "median", "allocations", "ratio"]);
        Self {
            wanted,
            first: BTreeMap::new(),
        }
    }

    /// Whether a line is wanted; of a name that ends in `/`, whether any line is that begins with it.
    pub(crate) fn wants(&self, name: &str) -> bool {
        let is_of = |wanted: &String| {
            name.starts_with(wanted) || name.ends_with('/') && wanted.starts_with(name)
        };
        self.wanted.is_empty() || self.wanted.iter().any(is_of)
    }

    /// Prints a line if it is wanted.
    pub(crate) fn add(&mut self, mut line: Line) {
        if !self.wants(&line.name) {
            return;
        }
        line.samples.sort_by(f64::total_cmp);
        let [min, median] = [0, line.samples.len() / 2].map(|place| line.samples[place]);
        let ratio = line.items.map(|items| {
            let one = median / f64::from(items);
            let first = *self.first.entry(line.kind()).or_insert(one);
            format!("{:.2}", one / first)
        });
        let allocations = line.allocations.map(|count| count.to_string());
        let [min, median] = [min, median].map(|figure| line.unit.show(figure));
        let cells = [
            &*min,
            &median,
            allocations.as_deref().unwrap_or_default(),
            ratio.as_deref().unwrap_or_default(),
        ];
        print(&line.name, cells);
    }

    /// Times `run` over what `prepare` makes, and counts what it allocates. Dropping what it returns is part of it, making
    /// what it takes is not.
    pub(crate) fn time<I, O>(
        &mut self,
        name: &str,
        items: Option<u32>,
        mut prepare: impl FnMut() -> I,
        mut run: impl FnMut(I) -> O,
    ) {
        if !self.wants(name) {
            return;
        }
        let mut sample = |count: u32| {
            let inputs: Vec<I> = (0..count).map(|_| prepare()).collect();
            let began = Instant::now();
            for input in inputs {
                black_box(run(black_box(input)));
            }
            began.elapsed()
        };
        let mut count = 1;
        while sample(count) < SAMPLE {
            count *= 2;
        }
        let began = Instant::now();
        let mut samples = Vec::with_capacity(SAMPLES);
        while samples.len() < FEWEST_SAMPLES
            || samples.len() < SAMPLES && began.elapsed() < PATIENCE
        {
            samples.push(sample(count).as_secs_f64() / f64::from(count));
        }
        let input = prepare();
        let allocated = allocation_counter::measure(|| {
            black_box(run(input));
        });
        let line = Line {
            items,
            ..Line::new(name, Unit::Seconds, samples)
        };
        self.add(line.allocations(allocated.count_total));
    }
}

fn print(name: &str, [min, median, allocations, ratio]: [&str; 4]) {
    println!("{name:<30} {min:>10} {median:>10} {allocations:>12} {ratio:>7}");
}

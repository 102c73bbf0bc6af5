//! Charts over time as SVG: series, bands and marks in; markup out. Pure, and nothing of ours besides.
//!
//! A chart is as wide as what it stands in and keeps its height: the plot is stretched, the text is not, so that it can be
//! read at 360 px too. There is no script and no inline style, which a strict `Content-Security-Policy` would refuse: what a
//! chart looks like, in light and in dark, is [`STYLE`]'s, by classes and custom properties. Lines differ by their dashes too,
//! and marks by where they stand, and the text alternative tells each series in words: nothing is told by colour alone.
//!
//! However many points there are, at most [`BUCKETS`] are drawn, each with its lowest and highest value.

use std::fmt::Write as _;

use jiff::Timestamp;
use maud::{Markup, html};

/// The most points of a line that are drawn.
pub const BUCKETS: usize = 500;

/// The most marks of one kind that are drawn: beyond one a bucket they would only cover each other.
const MARKS: usize = BUCKETS;

/// The plot's own units.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 100.0;

/// What a mark says: whether it is one at the top, its class, where it is in its key, and its words.
const MARK_NAMES: [(bool, &str, [&str; 2], &str); 2] = [
    (
        true,
        "mark mark-up",
        ["0", "6"],
        "created or started (at the top)",
    ),
    (
        false,
        "mark mark-down",
        ["6", "12"],
        "destroyed or stopped (at the bottom)",
    ),
];

/// How a chart looks: for a style sheet.
pub const STYLE: &str = "\
:root{color-scheme:light dark;--chart-text:#57606a;--chart-grid:#d8dee4;--chart-0:#0969da;--chart-1:#bc4c00;--chart-2:#8250df;\
--chart-3:#1a7f37;--chart-band:#0969da1f;--chart-up:#1a7f37;--chart-down:#cf222e}\
@media(prefers-color-scheme:dark){:root{--chart-text:#9198a1;--chart-grid:#3d444d;--chart-0:#58a6ff;--chart-1:#f0883e;\
--chart-2:#be8fff;--chart-3:#3fb950;--chart-band:#58a6ff2e;--chart-up:#3fb950;--chart-down:#ff7b72}}\
.chart{margin:0 0 1.5rem}.chart figcaption{display:flex;flex-wrap:wrap;gap:.25rem 1rem;font-size:.875rem;color:var(--chart-text)}\
.chart figcaption b{color:CanvasText}.chart .key{width:1.75rem;height:.75rem;vertical-align:middle;margin-right:.25rem}\
.chart svg{overflow:visible}.chart text{fill:var(--chart-text);font-size:.75rem}\
.chart .grid{stroke:var(--chart-grid);stroke-width:1;vector-effect:non-scaling-stroke}\
.chart .line{fill:none;stroke-width:1.75;vector-effect:non-scaling-stroke;stroke-linejoin:round}\
.chart .line-0{stroke:var(--chart-0)}.chart .line-1{stroke:var(--chart-1);stroke-dasharray:5 3}\
.chart .line-2{stroke:var(--chart-2);stroke-dasharray:2 2}.chart .line-3{stroke:var(--chart-3);stroke-dasharray:8 3 2 3}\
.chart .band{fill:var(--chart-band)}.chart .mark{stroke-width:2;vector-effect:non-scaling-stroke}\
.chart .mark-up{stroke:var(--chart-up)}.chart .mark-down{stroke:var(--chart-down)}";

/// A chart over time.
#[derive(Debug, Clone)]
pub struct Chart<'a> {
    /// What it shows, in a few words.
    pub title: &'a str,
    /// The time of the first point of every series.
    pub from: Timestamp,
    /// The time from one point to the next, in seconds.
    pub step_s: f64,
    /// The series; of more than four, those after them look like the first ones again.
    pub lines: Vec<Line<'a>>,
    /// What lies behind them.
    pub bands: Vec<Band<'a>>,
    /// What happened when.
    pub marks: Vec<Mark>,
}

/// One series.
#[derive(Debug, Clone)]
pub struct Line<'a> {
    /// Its name; empty for one that is the whole chart, which the title names.
    pub name: &'a str,
    /// Its values; `None` is a gap.
    pub values: &'a [Option<f64>],
    /// Whether a value holds until the next one, as a count of machines does.
    pub stepped: bool,
}

/// The room between two series.
#[derive(Debug, Clone)]
pub struct Band<'a> {
    /// Its name.
    pub name: &'a str,
    /// The lower bound.
    pub low: &'a [Option<f64>],
    /// The upper bound.
    pub high: &'a [Option<f64>],
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The point at which it did.
    pub point: usize,
    /// Whether it stands at the top, as growth does, or at the bottom.
    pub up: bool,
}

/// What some neighbouring points of a series come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// The first value.
    pub first: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
    /// The last.
    pub last: f64,
}

/// The values in at most `most` buckets of equally many points; one without any value is `None`. Infinite values are none.
#[must_use]
pub fn buckets(values: &[Option<f64>], most: usize) -> Vec<Option<Bucket>> {
    let size = bucket_size(values.len(), most);
    let of_chunk = |chunk: &[Option<f64>]| {
        let mut known = chunk
            .iter()
            .flatten()
            .copied()
            .filter(|value| value.is_finite());
        let first = known.next()?;
        let bucket = Bucket {
            first,
            low: first,
            high: first,
            last: first,
        };
        Some(known.fold(bucket, |bucket, value| Bucket {
            low: bucket.low.min(value),
            high: bucket.high.max(value),
            last: value,
            ..bucket
        }))
    };
    values.chunks(size).map(of_chunk).collect()
}

fn bucket_size(points: usize, most: usize) -> usize {
    points.div_ceil(most.max(1)).max(1)
}

/// The ticks of an axis that shows all of these buckets, and 0 and 1 in any case: at least two, from the lowest on.
#[must_use]
pub fn axis<'buckets>(shown: impl Iterator<Item = &'buckets Bucket>) -> Vec<f64> {
    let (low, high) = shown.fold((0.0_f64, 1.0_f64), |(low, high), bucket| {
        (low.min(bucket.low), high.max(bucket.high))
    });
    ticks(low, high)
}

/// Values of an axis from `low` to `high` at round distances, at most five of them; the first is at most `low`, and the last
/// at least `high`.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    const PARTS: f64 = 4.0;
    let (low, high) = if low.is_finite() && high.is_finite() && low <= high {
        (low, high)
    } else {
        (0.0, 1.0)
    };
    let high = if high > low { high } else { low + 1.0 };
    let raw = (high - low) / PARTS;
    if !raw.is_finite() {
        return vec![low, high];
    }
    let power = 10_f64.powf(raw.log10().floor());
    // A quarter of a machine is none.
    let quarter = if power < 10.0 { 2.0 } else { 2.5 };
    for factor in [1.0, 2.0, quarter, 5.0, 10.0, 20.0] {
        let step = factor * power;
        let first = (low / step).floor();
        let last = (high / step).ceil().max(first + 1.0);
        if last - first <= PARTS {
            let mut ticks = Vec::new();
            let mut tick = first;
            while tick <= last {
                ticks.push(tick * step);
                tick += 1.0;
            }
            return ticks;
        }
    }
    vec![low, high]
}

/// A number as an axis and a sentence show it: at most two digits behind the point, and thousands and millions as such.
#[must_use]
pub fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e15 => return format!("{value:.1e}"),
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        size if size > 0.0 && size < 0.005 => return format!("{value:.1e}"),
        _ => (value, ""),
    };
    format!("{}{unit}", number(value))
}

/// How an axis shows a time (UTC), where it shows `span_s` seconds in all.
#[must_use]
pub fn clock(at: Timestamp, span_s: f64) -> String {
    const DAY: f64 = 24.0 * 60.0 * 60.0;
    let format = match span_s {
        span if span <= 300.0 => "%H:%M:%S",
        span if span <= 1.5 * DAY => "%H:%M",
        span if span <= 4.0 * DAY => "%m-%d %H:%M",
        _ => "%m-%d",
    };
    at.strftime(format).to_string()
}

impl Chart<'_> {
    /// The chart with its key, as a `figure`.
    #[must_use]
    pub fn render(&self) -> Markup {
        let span_s = self.points() as f64 * self.step_s;
        let lines: Vec<_> = self
            .lines
            .iter()
            .map(|line| buckets(line.values, BUCKETS))
            .collect();
        let bands: Vec<_> = self
            .bands
            .iter()
            .map(|band| (buckets(band.low, BUCKETS), buckets(band.high, BUCKETS)))
            .collect();
        let ends = lines
            .iter()
            .chain(bands.iter().flat_map(|(low, high)| [low, high]));
        let ticks = axis(ends.flatten().flatten());
        let scale = Scale {
            low: ticks.first().copied().unwrap_or(0.0),
            high: ticks.last().copied().unwrap_or(1.0),
        };
        html! {
            figure.chart {
                figcaption {
                    b { (self.title) }
                    @for (number, line) in self.lines.iter().enumerate().filter(|(_, line)| !line.name.is_empty()) {
                        span {
                            svg.key viewBox="0 0 28 12" aria-hidden="true" {
                                line class={ "line line-" (number % 4) } x1="0" x2="28" y1="6" y2="6" {}
                            }
                            (line.name)
                        }
                    }
                    @for band in &self.bands {
                        span {
                            svg.key viewBox="0 0 28 12" aria-hidden="true" {
                                rect.band x="0" y="1" width="28" height="10" {}
                            }
                            (band.name)
                        }
                    }
                    @for (up, class, [y1, y2], name) in MARK_NAMES {
                        @if self.marks.iter().any(|mark| mark.up == up) {
                            span {
                                svg.key viewBox="0 0 28 12" aria-hidden="true" {
                                    line.grid x1="0" x2="28" y1="6" y2="6" {}
                                    line class=(class) x1="14" x2="14" y1=(y1) y2=(y2) {}
                                }
                                (name)
                            }
                        }
                    }
                }
                svg role="img" aria-label=(self.in_words(span_s)) width="100%" height="220" {
                    svg x="0" y="0" width="100%" height="190" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" {
                        @for tick in &ticks {
                            @let y = scale.y(*tick);
                            line.grid x1="0" x2=(WIDTH) y1=(number(y)) y2=(number(y)) {}
                        }
                        @for (low, high) in &bands {
                            @for area in areas(low, high, self.bucket_width(), scale) {
                                path.band d=(area) {}
                            }
                        }
                        @for (number, (line, buckets)) in self.lines.iter().zip(&lines).enumerate() {
                            path class={ "line line-" (number % 4) }
                                d=(path(buckets, line.stepped, self.bucket_width(), scale)) {}
                        }
                        @for mark in self.marks() {
                            @let x = number(self.x(mark.point));
                            @let (class, y1, y2) = if mark.up { ("mark mark-up", "0", "5") } else { ("mark mark-down", "95", "100") };
                            line class=(class) x1=(x) x2=(x) y1=(y1) y2=(y2) {}
                        }
                    }
                    @for tick in &ticks {
                        // Within the plot, below its line, but for the lowest.
                        @let y = scale.y(*tick) * 1.9;
                        @let below = if *tick > scale.low { y + 13.0 } else { y - 4.0 };
                        text x="2" y=(number(below)) { (short(*tick)) }
                    }
                    @for (share, anchor) in [(0, "start"), (25, "middle"), (50, "middle"), (75, "middle"), (100, "end")] {
                        text x={ (share) "%" } y="208" text-anchor=(anchor) {
                            (clock(self.after(span_s * f64::from(share) / 100.0), span_s))
                        }
                    }
                }
            }
        }
    }

    fn points(&self) -> usize {
        let of_lines = self.lines.iter().map(|line| line.values.len());
        of_lines.max().unwrap_or(0)
    }

    fn after(&self, seconds: f64) -> Timestamp {
        #[expect(clippy::cast_possible_truncation, reason = "a float's `as` saturates")]
        let milliseconds = (seconds * 1000.0) as i64;
        let moment = self.from.as_millisecond().saturating_add(milliseconds);
        Timestamp::from_millisecond(moment).unwrap_or(Timestamp::MAX)
    }

    /// The width of a bucket in the plot's units.
    fn bucket_width(&self) -> f64 {
        let points = self.points().max(1);
        bucket_size(points, BUCKETS) as f64 / points as f64 * WIDTH
    }

    fn x(&self, point: usize) -> f64 {
        point as f64 / self.points().max(1) as f64 * WIDTH
    }

    /// The marks that are drawn: of those that would cover each other the first.
    fn marks(&self) -> Vec<Mark> {
        let size = bucket_size(self.points(), MARKS);
        let mut last = [None; 2];
        let mut marks = self.marks.clone();
        marks.retain(|mark| {
            let place = mark.point / size;
            last[usize::from(mark.up)].replace(place) != Some(place)
        });
        marks
    }

    /// The text alternative.
    fn in_words(&self, span_s: f64) -> String {
        let until = self.after(span_s);
        let mut text = format!("{}, from {} to {until}.", self.title, self.from);
        for line in &self.lines {
            let name = if line.name.is_empty() {
                self.title
            } else {
                line.name
            };
            let known = buckets(line.values, 1);
            match known.first().copied().flatten() {
                None => {
                    let _ = write!(text, " {name}: no value.");
                }
                Some(all) => {
                    let [low, high, last] = [all.low, all.high, all.last].map(short);
                    let _ = write!(
                        text,
                        " {name}: between {low} and {high}, at the end {last}."
                    );
                }
            }
        }
        if !self.marks.is_empty() {
            let ups = self.marks.iter().filter(|mark| mark.up).count();
            let downs = self.marks.len() - ups;
            let [(.., up), (.., down)] = MARK_NAMES;
            let _ = write!(text, " Marks: {up}: {ups}; {down}: {downs}.");
        }
        text
    }
}

#[derive(Debug, Clone, Copy)]
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn y(self, value: f64) -> f64 {
        HEIGHT - (value - self.low) / (self.high - self.low) * HEIGHT
    }
}

/// A number with at most two digits behind the point, as short as it may be.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The path of a line; a gap ends it, and it begins anew behind it.
fn path(buckets: &[Option<Bucket>], stepped: bool, width: f64, scale: Scale) -> String {
    let mut path = String::new();
    let mut open = false;
    for (place, bucket) in buckets.iter().enumerate() {
        let Some(bucket) = bucket else {
            open = false;
            continue;
        };
        let x = number(place as f64 * width);
        let y = |value| number(scale.y(value));
        let first = y(bucket.first);
        let _ = match (open, stepped) {
            (false, _) => write!(path, "M{x} {first}"),
            (true, true) => write!(path, "H{x}V{first}"),
            (true, false) => write!(path, "L{x} {first}"),
        };
        if bucket.low < bucket.high {
            for value in [bucket.low, bucket.high, bucket.last] {
                let _ = write!(path, "V{}", y(value));
            }
        }
        let is_last = buckets.get(place + 1).is_none_or(Option::is_none);
        // A point alone would not be seen.
        if is_last && (stepped || !open) {
            let _ = write!(path, "H{}", number((place + 1) as f64 * width));
        }
        open = true;
    }
    path
}

/// The areas between two series, one for each stretch without a gap.
fn areas(low: &[Option<Bucket>], high: &[Option<Bucket>], width: f64, scale: Scale) -> Vec<String> {
    let both: Vec<Option<(f64, f64)>> = low
        .iter()
        .zip(high)
        .map(|(low, high)| Some(((*low)?.low, (*high)?.high)))
        .collect();
    let mut areas = Vec::new();
    let mut place = 0;
    for stretch in both.chunk_by(|one, other| one.is_some() == other.is_some()) {
        let first = place;
        place += stretch.len();
        let bounds: Vec<(f64, f64)> = stretch.iter().copied().flatten().collect();
        if bounds.is_empty() {
            continue;
        }
        let x = |offset: usize| number((first + offset) as f64 * width);
        let mut area = String::new();
        for (offset, (_, high)) in bounds.iter().enumerate() {
            let start = if offset == 0 { "M" } else { "L" };
            let y = number(scale.y(*high));
            let _ = write!(area, "{start}{} {y}H{}", x(offset), x(offset + 1));
        }
        for (offset, (low, _)) in bounds.iter().enumerate().rev() {
            let y = number(scale.y(*low));
            let _ = write!(area, "L{} {y}H{}", x(offset + 1), x(offset));
        }
        area.push('Z');
        areas.push(area);
    }
    areas
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const SCALE: Scale = Scale {
        low: 0.0,
        high: 10.0,
    };

    fn chart<'a>(title: &'a str, values: &'a [Option<f64>]) -> Chart<'a> {
        Chart {
            title,
            from: "2026-01-01T00:00:00Z".parse().unwrap(),
            step_s: 60.0,
            lines: vec![Line {
                name: "created <i>",
                values,
                stepped: true,
            }],
            bands: Vec::new(),
            marks: Vec::new(),
        }
    }

    #[test]
    fn many_points_become_few_buckets_that_hide_no_peak() {
        let mut values: Vec<Option<f64>> = (0..43_200).map(|_| Some(1.0)).collect();
        values[30_000] = Some(99.0);
        values[30_001] = None;
        let buckets = buckets(&values, BUCKETS);
        assert!(buckets.len() <= BUCKETS, "{}", buckets.len());
        let highest = buckets.iter().flatten().map(|bucket| bucket.high);
        assert!((highest.fold(0.0, f64::max) - 99.0).abs() < f64::EPSILON);
        let of_gap = super::buckets(&[None, None, Some(f64::INFINITY), Some(2.0)], 2);
        assert_eq!(of_gap[0], None);
        assert!(of_gap[1].is_some_and(|bucket| bucket.high < 3.0));
    }

    #[test]
    fn a_line_ends_at_a_gap_and_begins_anew_behind_it() {
        let cases: [(&str, &[Option<f64>], bool, &str); 5] = [
            ("steps", &[Some(0.0), Some(5.0)], true, "M0 100H10V50H20"),
            ("slopes", &[Some(0.0), Some(5.0)], false, "M0 100L10 50"),
            (
                "a gap",
                &[Some(0.0), None, Some(5.0)],
                true,
                "M0 100H10M20 50H30",
            ),
            (
                "a point alone",
                &[None, Some(5.0), None],
                false,
                "M10 50H20",
            ),
            ("nothing", &[None], true, ""),
        ];
        for (name, values, stepped, expected) in cases {
            let buckets = buckets(values, BUCKETS);
            assert_eq!(path(&buckets, stepped, 10.0, SCALE), expected, "{name}");
        }
        let swing = [Some(Bucket {
            first: 1.0,
            low: 0.0,
            high: 10.0,
            last: 5.0,
        })];
        assert_eq!(path(&swing, true, 10.0, SCALE), "M0 90V100V0V50H10");
    }

    #[test]
    fn a_band_is_an_area_for_each_stretch_without_a_gap() {
        let low = buckets(&[Some(1.0), Some(2.0), None, Some(0.0)], BUCKETS);
        let high = buckets(&[Some(5.0), Some(10.0), Some(3.0), Some(10.0)], BUCKETS);
        assert_eq!(
            areas(&low, &high, 10.0, SCALE),
            ["M0 50H10L10 0H20L20 80H10L10 90H0Z", "M30 0H40L40 100H30Z"]
        );
    }

    #[test]
    fn an_axis_has_round_numbers_around_everything() {
        let cases: [(f64, f64, &[f64]); 8] = [
            (0.0, 1.0, &[0.0, 0.5, 1.0]),
            (0.0, 4.0, &[0.0, 1.0, 2.0, 3.0, 4.0]),
            (0.0, 5.0, &[0.0, 2.0, 4.0, 6.0]),
            (0.0, 10.0, &[0.0, 5.0, 10.0]),
            (0.0, 87.0, &[0.0, 25.0, 50.0, 75.0, 100.0]),
            (-3.0, 4.0, &[-4.0, -2.0, 0.0, 2.0, 4.0]),
            (0.0, 0.0, &[0.0, 0.5, 1.0]),
            (f64::NAN, 1.0, &[0.0, 0.5, 1.0]),
        ];
        for (low, high, expected) in cases {
            assert_eq!(ticks(low, high), expected, "{low} to {high}");
        }
        for high in [1e-300, 1e300, f64::MAX] {
            let ticks = ticks(-high, high);
            assert!(ticks.len() <= 5 && ticks[0] <= -high, "{ticks:?}");
        }
    }

    #[test]
    fn numbers_and_times_are_short() {
        let cases = [
            (0.0, "0"),
            (0.25, "0.25"),
            (9999.0, "9999"),
            (12_300.0, "12.3k"),
            (-4.5e6, "-4.5M"),
            (0.0001, "1.0e-4"),
            (1e18, "1.0e18"),
        ];
        for (value, expected) in cases {
            assert_eq!(short(value), expected);
        }
        let at = "2026-01-02T03:04:05Z".parse().unwrap();
        let day = 86_400.0;
        let shown = [60.0, day, 3.0 * day, 30.0 * day].map(|span| clock(at, span));
        assert_eq!(shown, ["03:04:05", "03:04", "01-02 03:04", "01-02"]);
    }

    #[test]
    fn a_chart_is_small_says_all_in_words_and_shows_no_markup_of_others() {
        let values: Vec<Option<f64>> = (0..43_200).map(|at| Some(f64::from(at % 7))).collect();
        let mut chart = chart("<script>alert(1)</script>", &values);
        chart.marks = (0..43_200).map(|point| Mark { point, up: true }).collect();
        let text = chart.render().into_string();
        assert!(text.len() < 80_000, "{}", text.len());
        assert!(
            !text.contains("<script") && !text.contains("<i>"),
            "{text:.900}"
        );
        for part in [
            "&lt;script&gt;",
            "created &lt;i&gt;: between 0 and 6, at the end 2.",
            "Marks: created or started (at the top): 43200; destroyed or stopped (at the bottom): 0.",
            "</svg>created or started (at the top)</span>",
            "to 2026-01-31T00:00:00Z",
        ] {
            assert!(text.contains(part), "{part}: {text:.900}");
        }
        assert!(
            !text.contains("</svg>destroyed"),
            "there is none to explain"
        );
        assert!(
            !text.contains("style="),
            "a policy without inline styles refuses them"
        );
    }

    #[test]
    fn an_empty_chart_is_one_too() {
        let text = chart("nothing", &[]).render().into_string();
        assert!(text.contains("created &lt;i&gt;: no value."), "{text}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}

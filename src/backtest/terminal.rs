//! The results for people: lines of text with charts, for a terminal or for a file.
//!
//! The charts are drawn into memory by a crate that draws terminals. What is drawn is told apart by its form as well as by
//! its colour, so that it can be read without colours too.

use std::fmt::Write as _;

use ratatui_core::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Style},
    symbols::Marker,
    text::Line as Label,
    widgets::Widget as _,
};
use ratatui_widgets::chart::{Axis, Chart, Dataset, GraphType};
use unicode_width::UnicodeWidthStr as _;

use super::{
    Outcome,
    report::{Report, clean},
};
use crate::chart::{Bucket, axis, buckets, clock, short};

/// The widest text, in columns; a chart that is wider says no more.
const WIDEST: u16 = 120;

/// The narrowest that has a chart.
const NARROWEST: u16 = 30;

/// The height of a metric's chart and of an expression's, in lines.
const METRIC_LINES: u16 = 9;
const RESULT_LINES: u16 = 14;

/// How many metrics have a chart.
const METRICS: usize = 3;

/// A colour of the terminal's own, which are right on light and on dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// What there is.
    Blue,
    /// What is wanted.
    Yellow,
    /// What runs.
    Green,
}

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its text.
    pub text: String,
    /// Its colour; `None`: that of all text.
    pub colour: Option<Colour>,
}

/// A line, piece by piece.
pub type Line = Vec<Piece>;

/// One series of a chart.
struct Series<'a> {
    name: &'a str,
    values: Vec<Option<f64>>,
    colour: Colour,
    form: Form,
}

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Line,
    Dots,
    Blocks,
}

impl Form {
    /// How it looks in the key.
    fn sample(self) -> &'static str {
        match self {
            Self::Line => "\u{28c0}\u{28c0}",
            Self::Dots => "\u{2022}\u{2022}",
            Self::Blocks => "\u{2584}\u{2584}",
        }
    }

    /// The most buckets that it shows in so many columns.
    fn buckets_in(self, columns: u16) -> usize {
        let columns = usize::from(columns);
        match self {
            // Two dots beside each other in a column of the finest form.
            Self::Line => columns * 2,
            Self::Dots | Self::Blocks => columns,
        }
    }
}

/// The results in lines of at most `columns` columns, as far as names of the user's allow.
#[must_use]
pub fn render(report: &Report, columns: u16) -> Vec<Line> {
    let columns = columns.min(WIDEST);
    let mut lines: Vec<Line> = wrap(&report.heading(), columns.max(NARROWEST))
        .map(plain)
        .collect();
    let history = &report.history;
    if columns >= NARROWEST {
        for (metric, values) in history.metrics.iter().take(METRICS) {
            lines.push(Vec::new());
            let series = Series {
                name: "",
                values: values.clone(),
                colour: Colour::Blue,
                form: Form::Line,
            };
            lines.extend(chart(
                report,
                &clean(metric),
                &[series],
                columns,
                METRIC_LINES,
            ));
        }
        for (number, (_, outcome)) in report.results.iter().enumerate() {
            lines.push(Vec::new());
            let series = of_result(report, outcome);
            lines.extend(chart(
                report,
                &report.label(number),
                &series,
                columns,
                RESULT_LINES,
            ));
        }
    }
    lines.push(Vec::new());
    lines.extend(table(report).into_iter().map(plain));
    if !report.notes.is_empty() {
        lines.push(Vec::new());
    }
    for note in &report.notes {
        lines.extend(wrap(&format!("note: {}", clean(note)), columns.max(NARROWEST)).map(plain));
    }
    lines
}

/// The text without colours.
#[must_use]
pub fn without_colours(lines: &[Line]) -> String {
    let texts = lines.iter().map(|line| {
        let text: String = line.iter().map(|piece| &*piece.text).collect();
        text.trim_end().to_owned()
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn plain(text: String) -> Line {
    vec![Piece { text, colour: None }]
}

fn of_result<'a>(report: &Report, outcome: &Outcome) -> Vec<Series<'a>> {
    let mut series = Vec::new();
    if report.shows_running() {
        series.push(Series {
            name: "running",
            values: outcome.series(|point| Some(point.started)),
            colour: Colour::Green,
            form: Form::Blocks,
        });
    }
    series.push(Series {
        name: "wanted, before limits",
        values: outcome.minimum(),
        colour: Colour::Yellow,
        form: Form::Dots,
    });
    series.push(Series {
        name: "machines",
        values: outcome.series(|point| Some(point.created)),
        colour: Colour::Blue,
        form: Form::Line,
    });
    series
}

fn chart(
    report: &Report,
    title: &str,
    series: &[Series<'_>],
    columns: u16,
    height: u16,
) -> Vec<Line> {
    let mut key = Line::new();
    for one in series.iter().rev().filter(|one| !one.name.is_empty()) {
        let space = if key.is_empty() { "" } else { "   " };
        key.push(Piece {
            text: format!("{space}{}", one.form.sample()),
            colour: Some(one.colour),
        });
        key.extend(plain(format!(" {}", one.name)));
    }
    let reduced: Vec<Vec<Option<Bucket>>> = series
        .iter()
        .map(|one| buckets(&one.values, one.form.buckets_in(columns)))
        .collect();
    let drawn: Vec<Vec<Vec<(f64, f64)>>> = series
        .iter()
        .zip(&reduced)
        .map(|(one, buckets)| stretches(one.form, buckets, columns))
        .collect();
    let ticks = axis(reduced.iter().flatten().flatten());
    let bounds = [
        ticks.first().copied().unwrap_or(0.0),
        ticks.last().copied().unwrap_or(1.0),
    ];
    let style = |colour| {
        Style::new().fg(match colour {
            Colour::Blue => Color::Blue,
            Colour::Yellow => Color::Yellow,
            Colour::Green => Color::Green,
        })
    };
    let mut datasets = Vec::new();
    for (one, stretches) in series.iter().zip(&drawn) {
        for stretch in stretches.iter().filter(|stretch| !stretch.is_empty()) {
            let (marker, graph) = match one.form {
                Form::Line => (Marker::Braille, GraphType::Line),
                Form::Dots => (Marker::Dot, GraphType::Scatter),
                Form::Blocks => (Marker::HalfBlock, GraphType::Scatter),
            };
            let dataset = Dataset::default()
                .data(stretch)
                .marker(marker)
                .graph_type(graph);
            datasets.push(dataset.style(style(one.colour)));
        }
    }
    let history = &report.history;
    let span = history.points as f64 * f64::from(history.step_s);
    let times = [0, history.points / 2, history.points].map(|at| clock(history.at(at), span));
    let widget = Chart::new(datasets)
        .x_axis(
            Axis::default()
                .bounds([0.0, 1.0])
                .labels(times.map(Label::from)),
        )
        .y_axis(
            Axis::default()
                .bounds(bounds)
                .labels(ticks.iter().map(|tick| Label::from(short(*tick)))),
        )
        .legend_position(None);
    let area = Rect::new(0, 0, columns, height);
    let mut buffer = Buffer::empty(area);
    widget.render(area, &mut buffer);
    let mut lines = vec![plain(title.to_owned())];
    if !key.is_empty() {
        lines.push(key);
    }
    lines.extend((0..height).map(|row| pieces(&buffer, row, columns)));
    lines
}

/// The points to draw of a series, across a width of 1: those of each stretch without a gap.
fn stretches(form: Form, buckets: &[Option<Bucket>], columns: u16) -> Vec<Vec<(f64, f64)>> {
    let places = buckets.len();
    let mut stretches: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    for (place, bucket) in buckets.iter().enumerate() {
        let Some(bucket) = bucket else {
            stretches.push(Vec::new());
            continue;
        };
        let x = place as f64 / places as f64;
        let stretch = stretches.last_mut().expect("there is a first one");
        if form == Form::Line {
            // A count holds until it changes.
            if let Some((_, before)) = stretch.last().copied() {
                stretch.push((x, before));
            }
            stretch.extend([(x, bucket.low), (x, bucket.high), (x, bucket.last)]);
            stretch.push((x + 1.0 / places as f64, bucket.last));
        } else {
            // As dense where there are fewer points than columns.
            let columns = form.buckets_in(columns).div_ceil(places).max(1);
            let x = |column| (place * columns + column) as f64 / (places * columns) as f64;
            stretch.extend((0..columns).map(|column| (x(column), bucket.high)));
        }
    }
    stretches
}

/// A row of what was drawn.
fn pieces(buffer: &Buffer, row: u16, columns: u16) -> Line {
    let mut line = Line::new();
    for column in 0..columns {
        let Some(cell) = buffer.cell((column, row)) else {
            continue;
        };
        let colour = match cell.fg {
            Color::Blue => Some(Colour::Blue),
            Color::Yellow => Some(Colour::Yellow),
            Color::Green => Some(Colour::Green),
            _ => None,
        };
        match line.last_mut() {
            Some(piece) if piece.colour == colour => piece.text.push_str(cell.symbol()),
            _ => line.push(Piece {
                text: cell.symbol().to_owned(),
                colour,
            }),
        }
    }
    line
}

/// The figures in columns.
fn table(report: &Report) -> Vec<String> {
    let letters = report.letters();
    let rows = report.rows();
    let first = rows.iter().map(|row| row.name.width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..letters.len())
        .map(|number| {
            let values = rows.iter().map(|row| row.values[number].width());
            values.chain([letters[number].width()]).max().unwrap_or(0)
        })
        .collect();
    let line = |name: &str, values: &[String]| {
        let mut line = format!("{name:first$}");
        for (value, width) in values.iter().zip(&widths) {
            let _ = write!(line, "  {value:>width$}");
        }
        line
    };
    let mut lines = Vec::new();
    if letters.len() > 1 {
        lines.push(line("", &letters));
    }
    lines.extend(rows.iter().map(|row| line(row.name, &row.values)));
    lines
}

/// `text` in lines of at most `columns` columns, cut at spaces, those after the first one set in.
fn wrap(text: &str, columns: u16) -> impl Iterator<Item = String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= usize::from(columns) => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("  {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines.into_iter()
}

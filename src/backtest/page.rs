//! The results as one page: everything in it, nothing from elsewhere, no script.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    Outcome,
    report::{Report, clean},
};
use crate::chart::{self, Band, Chart, Line};

const STYLE: &str = "\
body{font:1rem/1.5 system-ui,sans-serif;max-width:75rem;margin:0 auto;padding:1rem;background:Canvas;color:CanvasText}\
h1{font-size:1.375rem;margin:.5rem 0}h2{font-size:1.125rem;margin:2rem 0 .5rem}code{font-family:ui-monospace,monospace;overflow-wrap:anywhere}\
.scroll{overflow-x:auto}table{border-collapse:collapse}th,td{padding:.25rem .75rem;border-bottom:1px solid var(--chart-grid)}\
th{text-align:left;font-weight:600}td{text-align:right;font-variant-numeric:tabular-nums}thead th{text-align:right}\
thead th:first-child{text-align:left}li{margin:.25rem 0}";

/// The page.
#[must_use]
pub fn render(report: &Report) -> String {
    let app = clean(&report.history.app);
    let letters = report.letters();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (app) ": backtest" }
                style { (PreEscaped(chart::STYLE)) (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { "What would have happened to " (app) }
                    p { (report.heading()) }
                    @if report.results.len() > 1 {
                        ul {
                            @for number in 0..report.results.len() {
                                li { code { (report.label(number)) } }
                            }
                        }
                    }
                    div.scroll {
                        table {
                            @if report.results.len() > 1 {
                                thead {
                                    tr {
                                        th scope="col" { "figure" }
                                        @for letter in &letters {
                                            th scope="col" { (letter) }
                                        }
                                    }
                                }
                            }
                            tbody {
                                @for row in report.rows() {
                                    tr {
                                        th scope="row" { (row.name) }
                                        @for value in &row.values {
                                            td { (value) }
                                        }
                                    }
                                }
                            }
                        }
                    }
                    h2 { "Metrics" }
                    @for (metric, values) in &report.history.metrics {
                        (of_metric(report, &clean(metric), values))
                    }
                    @for (number, (_, outcome)) in report.results.iter().enumerate() {
                        h2 { code { (report.label(number)) } }
                        (of_result(report, outcome))
                    }
                    @if !report.notes.is_empty() {
                        h2 { "To know" }
                        ul {
                            @for note in &report.notes {
                                li { (clean(note)) }
                            }
                        }
                    }
                    p { "Times are UTC. A mark at the top is a create or start, one at the bottom a destroy or stop." }
                }
            }
        }
    };
    page.into_string()
}

fn of_metric(report: &Report, metric: &str, values: &[Option<f64>]) -> Markup {
    Chart {
        title: metric,
        from: report.history.from,
        step_s: report.history.step_s.into(),
        lines: vec![Line {
            name: "",
            values,
            stepped: false,
        }],
        bands: Vec::new(),
        marks: Vec::new(),
    }
    .render()
}

fn of_result(report: &Report, outcome: &Outcome) -> Markup {
    let created = outcome.series(|point| Some(point.created));
    let started = outcome.series(|point| Some(point.started));
    let low = outcome.minimum();
    let high = outcome.series(|point| point.target.map(|bounds| bounds.max));
    let mut lines = vec![
        Line {
            name: "machines",
            values: &created,
            stepped: true,
        },
        Line {
            name: "wanted, before limits",
            values: &low,
            stepped: true,
        },
    ];
    if report.shows_running() {
        lines.push(Line {
            name: "running",
            values: &started,
            stepped: true,
        });
    }
    let mut bands = Vec::new();
    if outcome.has_band() {
        bands.push(Band {
            name: "minimum to maximum",
            low: &low,
            high: &high,
        });
    }
    Chart {
        title: "Machines",
        from: report.history.from,
        step_s: report.history.step_s.into(),
        lines,
        bands,
        marks: outcome.marks(),
    }
    .render()
}

//! The status page: the record as people read it, in HTML from the program alone.
//!
//! Facts are there without a script; a small one brings newer ones. Everything that a peer said is escaped by the template
//! and has passed [`crate::shown`] before. Nothing on a page writes. From `seeing.md`.

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use crate::status::{Demo, ThisCopy, shown_name as name, shown_sentence as sentence};

mod advice;
mod copy;
mod demo;
mod fleet;
mod headline;
mod list;

pub use fleet::fleets_of_app;
pub use list::{ListQuery, list};

/// The style sheet, at [`STYLE_PATH`].
#[must_use]
pub fn style() -> String {
    format!("{}{}", crate::chart::STYLE, include_str!("style.css"))
}

/// The script, at [`SCRIPT_PATH`].
pub const SCRIPT: &str = include_str!("script.js");

/// Where the style sheet is served.
pub const STYLE_PATH: &str = "/style.css";

/// Where the script is served.
pub const SCRIPT_PATH: &str = "/page.js";

/// What a browser may do with a page: nothing but show it, with this program's style, and ask this program again.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What a page says of the daemon.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// The time.
    pub now: Timestamp,
    /// When it began.
    pub started_at: Timestamp,
    /// How this copy stands.
    pub copy: ThisCopy,
    /// `FAS_DRY_RUN`.
    pub dry_run: bool,
    /// Whether there are others beside the one that is shown.
    pub has_list: bool,
    /// What is played, where all of this is a demo.
    pub demo: Option<Demo>,
}

/// A page with this title and content.
fn page(title: &str, daemon: &Daemon, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { @if daemon.demo.is_some() { "Demo: " } (title) }
                link rel="stylesheet" href=(STYLE_PATH);
                script src=(SCRIPT_PATH) defer {}
            }
            body {
                a.skip href="#main" { "Skip to content" }
                header {
                    span.product { "fly-autoscaler" }
                    span.soft.small { (env!("CARGO_PKG_VERSION")) }
                    @if daemon.demo.is_some() { strong.demo { "Demo" } }
                    @if daemon.has_list { nav { a href="/" { "All apps" } } }
                }
                div #lost.banner role="status" {}
                main #main {
                    p #clock.soft.small {
                        "Now " (time(daemon.now, daemon.now)) ", running since "
                        (time(daemon.started_at, daemon.now)) ". This page only shows, it changes nothing."
                    }
                    @if let Some(demo) = &daemon.demo { (demo::banner(demo, daemon.now)) }
                    (copy::banner(daemon))
                    @if daemon.dry_run {
                        div.banner {
                            "Dry run: nothing is changed."
                            p { "FAS_DRY_RUN is set. What is shown here is what would be done; unset it to let the autoscaler act." }
                        }
                    }
                    (content)
                }
                footer {
                    a href="/api/status" { "JSON" } " · " a href="/metrics" { "metrics" } " · "
                    a href="/readyz" { "readiness" }
                }
            }
        }
    }
}

/// A page that does not exist.
#[must_use]
pub fn not_found(what: &str, daemon: &Daemon) -> String {
    let content = html! {
        h1 { "Not found" }
        p.headline { (prose(what)) }
        p { a href="/" { "All apps" } }
    };
    page("Not found – fly-autoscaler", daemon, &content).into_string()
}

/// A sentence as it may be shown, with what stands between backticks as code.
fn prose(text: &str) -> Markup {
    with_code(&sentence(text))
}

/// A text that may be shown; what stands between two backticks is code.
fn with_code(text: &str) -> Markup {
    let ticks = text.matches('`').count();
    html! {
        @for (number, part) in text.split('`').enumerate() {
            @if number % 2 == 0 { (part) }
            @else if number == ticks { "`" (part) }
            @else if part.is_empty() { "``" }
            @else { code { (part) } }
        }
    }
}

/// A moment: for today its time, else its day too, with how long ago it was.
fn time(at: Timestamp, now: Timestamp) -> Markup {
    let format = if at.strftime("%F").to_string() == now.strftime("%F").to_string() {
        "%H:%M:%S UTC"
    } else {
        "%F %H:%M UTC"
    };
    html! {
        time datetime=(at.strftime("%FT%TZ")) { (at.strftime(format)) }
    }
}

/// How far a moment is from now: `12 s ago`, `in 3 s`.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let past = now.duration_since(at);
    let length = length(past.as_secs().unsigned_abs());
    if past.is_negative() {
        format!("in {length}")
    } else {
        format!("{length} ago")
    }
}

/// A length of time in its largest unit.
fn length(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A count with its word.
fn many(count: u32, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// A number as people write it.
fn number(value: f64) -> String {
    if value.is_finite() && value.fract() == 0.0 && value.abs() < 1e15 {
        format!("{value:.0}")
    } else if !value.is_finite() {
        value.to_string()
    } else if value.abs() >= 1e15 || value.abs() < 1e-6 {
        format!("{value:.2e}")
    } else {
        // Three digits behind the point, and more where the first of them are zeros.
        let near = |short: &String| {
            let shown: f64 = short.parse().unwrap_or(f64::NAN);
            (shown - value).abs() <= value.abs() / 1000.0
        };
        let mut shorter = (3..9).map(|digits| format!("{value:.digits$}"));
        let short = shorter.find(near).unwrap_or_else(|| value.to_string());
        short.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{number, prose};

    #[test]
    fn what_stands_between_backticks_is_code_and_all_is_escaped() {
        for (text, shown) in [
            ("set `A=1` or `B`", "set <code>A=1</code> or <code>B</code>"),
            ("`all`", "<code>all</code>"),
            ("one ` alone", "one ` alone"),
            ("`a` and ` alone", "<code>a</code> and ` alone"),
            ("nothing `` between", "nothing `` between"),
            ("`<b>` & <i>", "<code>&lt;b&gt;</code> &amp; &lt;i&gt;"),
            ("", ""),
        ] {
            assert_eq!(prose(text).into_string(), shown, "{text}");
        }
    }

    #[test]
    fn a_number_is_as_short_as_it_can_be_and_no_shorter() {
        let table = [
            (0.0, "0"),
            (3.0, "3"),
            (2.5, "2.5"),
            (1.0 / 3.0, "0.333"),
            (0.0004, "0.0004"),
            (0.000_123_456, "0.0001235"),
            (1e-9, "1.00e-9"),
            (1e308, "1.00e308"),
            (123_456.789, "123456.789"),
            (f64::INFINITY, "inf"),
        ];
        for (value, shown) in table {
            assert_eq!(number(value), shown);
        }
    }
}

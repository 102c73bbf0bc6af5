//! That all of this is a demo, and what happens in it.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{prose, time};
use crate::status::{Demo, DemoEvent};

/// At the top of every page of a demo.
pub(super) fn banner(demo: &Demo, now: Timestamp) -> Markup {
    html! {
        section #demo.banner.demo aria-label="Demo" {
            "This is a demo: the platform is a simulated one, and nothing real is touched."
            p {
                "Here it is " (demo.moment) "; "
                @if demo.going_on.is_empty() { "an ordinary day, with its traffic." }
                @else { strong { (demo.going_on.join(" and ")) } "." }
            }
            @if let Some((newest, earlier)) = demo.events.split_first() {
                p { "Last: " (told(newest, now)) }
                @if !earlier.is_empty() {
                    details #events {
                        summary { "Earlier" }
                        ul.events { @for event in earlier { li { (told(event, now)) } } }
                    }
                }
            }
        }
    }
}

fn told(event: &DemoEvent, now: Timestamp) -> Markup {
    html! {
        span.clock { (event.clock) } " " (prose(&event.text)) " "
        span.soft.small { "(" (time(event.at, now)) ")" }
    }
}

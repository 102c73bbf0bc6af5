//! Logs: one JSON object a line on standard error, or text for people.
//!
//! `tracing-subscriber`'s own JSON calls the text `message` and nests the fields; readers of upstream's logs expect
//! `level`, `msg` and flat fields, so the line is written here. Each text in it passes [`shown::line()`] last; that is the
//! one place where logs are cleaned and rid of secrets, whatever the format.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

use jiff::Timestamp;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::LevelFilter,
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

use crate::{config::LogFormat, shown, stderr};

/// The longest text of a line, in characters: peers name groups and say why they refuse something.
const TEXT_LIMIT: usize = 3000;

/// The longest text of [`SETTINGS`], which are the user's own.
const SETTINGS_LIMIT: usize = 100_000;

/// The field that has all settings.
const SETTINGS: &str = "settings";

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As a log.
    Log(LogFormat),
    /// As a command that ends at once tells what is odd: `warning: …`, beside `ERROR: …`.
    Plain,
}

/// Begins logging; a second call changes nothing.
pub fn init(format: LogFormat, verbose: bool) {
    init_as(Form::Log(format), verbose);
}

/// Begins to tell what a command that ends at once has to say beside its result; a second call changes nothing.
pub fn init_plain(verbose: bool) {
    init_as(Form::Plain, verbose);
}

fn init_as(form: Form, verbose: bool) {
    let level = if verbose {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    // Other crates' debug lines (connections, frames) are not this program's log.
    let ours = tracing_subscriber::filter::Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target(env!("CARGO_CRATE_NAME"), level);
    let lines = Lines {
        form,
        colour: form == Form::Log(LogFormat::Text) && stderr::is_terminal(),
        has_begun: AtomicBool::new(false),
    };
    let registry = tracing_subscriber::registry().with(ours).with(lines);
    // Logging that has begun already goes on as it is.
    if registry.try_init().is_err() {
        return;
    }
    stderr::tell_of_drops_with(match form {
        Form::Log(LogFormat::Json) => |count| dropped(LogFormat::Json, count),
        Form::Log(LogFormat::Text) | Form::Plain => |count| dropped(LogFormat::Text, count),
    });
    // The standard one writes past the queue and shows whatever a message holds.
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or(payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or_default();
        let place = panic.location().map(ToString::to_string);
        let place = place.as_deref().unwrap_or("an unknown place");
        tracing::error!("panic (a bug in fly-autoscaler) at {place}: {message}");
    }));
}

/// Writes one line an event.
struct Lines {
    form: Form,
    colour: bool,
    /// Whether text logs have said which day it is.
    has_begun: AtomicBool,
}

impl<S: Subscriber> Layer<S> for Lines {
    #[expect(
        clippy::disallowed_methods,
        reason = "a log line tells the time of its own writing"
    )]
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        let now = Timestamp::now();
        match self.form {
            Form::Plain => stderr::write(plain(level, &fields)),
            Form::Log(LogFormat::Json) => stderr::write(json(now, level, &fields)),
            Form::Log(LogFormat::Text) => {
                if !self.has_begun.swap(true, Ordering::Relaxed) {
                    stderr::write(text(now, Level::INFO, &beginning(now), self.colour));
                }
                stderr::write(text(now, level, &fields, self.colour));
            }
        }
    }
}

/// The line that tells text logs' readers what their times are.
fn beginning(now: Timestamp) -> Fields {
    Fields {
        message: now
            .strftime("it is %Y-%m-%d, and times are UTC")
            .to_string(),
        ..Fields::default()
    }
}

/// The line that says how many are missing.
#[expect(
    clippy::disallowed_methods,
    reason = "a log line tells the time of its own writing"
)]
fn dropped(format: LogFormat, count: u64) -> String {
    let mut fields = Fields {
        message: format!("{count} log lines were dropped because standard error was not read"),
        ..Fields::default()
    };
    fields.others.insert("count", count.into());
    match format {
        LogFormat::Json => json(Timestamp::now(), Level::WARN, &fields),
        LogFormat::Text => text(Timestamp::now(), Level::WARN, &fields, false),
    }
}

fn json(now: Timestamp, level: Level, fields: &Fields) -> String {
    let mut line = format!(
        r#"{{"time":"{now}","level":"{level}","msg":{}"#,
        serde_json::Value::from(fields.message.as_str())
    );
    for (name, value) in &fields.others {
        // Writing to a string cannot fail.
        let _ = write!(line, r#","{name}":{value}"#);
    }
    line.push('}');
    line
}

/// The level as the rest of a command's complaints have it, and the message.
fn plain(level: Level, fields: &Fields) -> String {
    let level = match level {
        Level::ERROR => "ERROR",
        Level::WARN => "warning",
        Level::INFO => "info",
        _ => "debug",
    };
    format!("{level}: {}", fields.message)
}

/// The time, the level, the fleet, the message and, in parentheses, what led to it.
fn text(now: Timestamp, level: Level, fields: &Fields, colour: bool) -> String {
    let (on, off) = match level {
        Level::ERROR if colour => ("\u{1b}[31m", "\u{1b}[0m"),
        Level::WARN if colour => ("\u{1b}[33m", "\u{1b}[0m"),
        _ => ("", ""),
    };
    let time = now.strftime("%H:%M:%S%.3f");
    let field = |name: &str| fields.others.get(name).and_then(serde_json::Value::as_str);
    // As a fleet is named.
    let fleet = field("app").map(|app| {
        let parts = [Some(app), field("group"), field("region")].into_iter();
        parts.flatten().collect::<Vec<&str>>().join("/")
    });
    // A message that is read alone names the fleet itself.
    let message = fleet
        .as_ref()
        .and_then(|fleet| fields.message.strip_prefix(fleet)?.strip_prefix(": "))
        .unwrap_or(&fields.message);
    let fleet = fleet.map(|fleet| match field("policy") {
        Some(policy) => format!("[{fleet} ({policy})] "),
        None => format!("[{fleet}] "),
    });
    let details: Vec<&str> = ["metrics", "target", SETTINGS]
        .into_iter()
        .filter_map(field)
        .filter(|text| !text.is_empty())
        .collect();
    let details = match details.as_slice() {
        [] => String::new(),
        details => format!(" ({})", details.join("; ")),
    };
    format!(
        "{time} {on}{level:>5}{off} {}{message}{details}",
        fleet.unwrap_or_default(),
    )
}

/// An event's message and its other fields by name, as they may be shown.
#[derive(Debug, Default)]
pub struct Fields {
    /// What happened.
    pub message: String,
    /// The other fields, by name.
    pub others: BTreeMap<&'static str, serde_json::Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: serde_json::Value) {
        self.others.insert(field.name(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let limit = if field.name() == SETTINGS {
            SETTINGS_LIMIT
        } else {
            TEXT_LIMIT
        };
        let shown = shown::line(value, limit);
        if field.name() == "message" {
            self.message = shown;
        } else {
            self.put(field, shown.into());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05.678Z".parse().unwrap()
    }

    fn fields(message: &str, others: &[(&'static str, serde_json::Value)]) -> Fields {
        Fields {
            message: message.to_owned(),
            others: others.iter().cloned().collect(),
        }
    }

    #[test]
    fn a_line_is_one_flat_object_or_one_sentence() {
        let fields = fields(
            "a \"b\"",
            &[
                ("app", "x".into()),
                ("count", 3.into()),
                ("settings", "app=x".into()),
            ],
        );
        assert_eq!(
            json(now(), Level::INFO, &fields),
            r#"{"time":"2026-01-02T03:04:05.678Z","level":"INFO","msg":"a \"b\"","app":"x","count":3,"settings":"app=x"}"#
        );
        assert_eq!(
            text(now(), Level::WARN, &fields, false),
            r#"03:04:05.678  WARN [x] a "b" (app=x)"#
        );
        assert_eq!(
            text(now(), Level::ERROR, &self::fields("c", &[]), true),
            "03:04:05.678 \u{1b}[31mERROR\u{1b}[0m c"
        );
    }

    #[test]
    fn a_line_for_people_names_the_fleet_once() {
        for message in ["x: broken", "broken"] {
            let fields = fields(message, &[("app", "x".into())]);
            let line = text(now(), Level::WARN, &fields, false);
            assert_eq!(line, "03:04:05.678  WARN [x] broken");
        }
        for message in ["x/jobs: broken", "broken"] {
            let fields = fields(message, &[("app", "x".into()), ("group", "jobs".into())]);
            let line = text(now(), Level::WARN, &fields, false);
            assert_eq!(line, "03:04:05.678  WARN [x/jobs] broken");
        }
        for message in ["x/jobs/iad: broken", "broken"] {
            let fleet = [
                ("app", "x".into()),
                ("group", "jobs".into()),
                ("region", "iad".into()),
            ];
            let line = text(now(), Level::WARN, &fields(message, &fleet), false);
            assert_eq!(line, "03:04:05.678  WARN [x/jobs/iad] broken");
        }
        assert_eq!(plain(Level::WARN, &fields("odd", &[])), "warning: odd");
        assert_eq!(plain(Level::ERROR, &fields("bad", &[])), "ERROR: bad");
    }

    #[test]
    fn text_logs_say_which_day_it_is() {
        assert_eq!(
            text(now(), Level::INFO, &beginning(now()), false),
            "03:04:05.678  INFO it is 2026-01-02, and times are UTC"
        );
    }

    #[test]
    fn dropped_lines_are_told_in_the_logs_own_format() {
        let line: serde_json::Value = serde_json::from_str(&dropped(LogFormat::Json, 7)).unwrap();
        assert_eq!(
            (&line["count"], &line["level"]),
            (&7.into(), &"WARN".into())
        );
        assert!(dropped(LogFormat::Text, 7).contains(" WARN 7 log lines were dropped"));
    }
}

//! Logs: one JSON object a line on standard error, or text for people.
//!
//! `tracing-subscriber`'s own JSON calls the text `message` and nests the fields; readers of upstream's logs expect
//! `level`, `msg` and flat fields, so the line is written here.

use std::{collections::BTreeMap, fmt, io::IsTerminal as _};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    filter::LevelFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::config::LogFormat;

/// Begins logging; a second call changes nothing.
pub fn init(format: LogFormat, verbose: bool) {
    let level = if verbose {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    // Other crates' debug lines (connections, frames) are not this program's log.
    let ours = tracing_subscriber::filter::Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target(env!("CARGO_CRATE_NAME"), level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(ours);
    let colour = format == LogFormat::Text && std::io::stderr().is_terminal();
    let lines = lines.event_format(Lines { format, colour });
    // Logging that has begun already goes on as it is.
    let _ = registry.with(lines).try_init();
}

/// Writes one line an event.
struct Lines {
    format: LogFormat,
    colour: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let fields = Fields::of(event);
        let level = event.metadata().level();
        let now = jiff::Timestamp::now();
        match self.format {
            LogFormat::Json => write_json(writer, now, *level, fields),
            LogFormat::Text => write_text(writer, now, *level, &fields, self.colour),
        }
    }
}

fn write_json(
    mut writer: Writer<'_>,
    now: jiff::Timestamp,
    level: Level,
    fields: Fields,
) -> fmt::Result {
    let json = |value: &serde_json::Value| serde_json::to_string(value).map_err(|_| fmt::Error);
    let time = json(&now.to_string().into())?;
    let level = json(&level.as_str().into())?;
    let message = json(&fields.message.into())?;
    write!(writer, r#"{{"time":{time},"level":{level},"msg":{message}"#)?;
    for (name, value) in &fields.others {
        write!(writer, ",{}:{}", json(&(*name).into())?, json(value)?)?;
    }
    writeln!(writer, "}}")
}

/// The time, the level, the app, the message and, in parentheses, what led to it.
fn write_text(
    mut writer: Writer<'_>,
    now: jiff::Timestamp,
    level: Level,
    fields: &Fields,
    colour: bool,
) -> fmt::Result {
    let (on, off) = match level {
        Level::ERROR if colour => ("\u{1b}[31m", "\u{1b}[0m"),
        Level::WARN if colour => ("\u{1b}[33m", "\u{1b}[0m"),
        _ => ("", ""),
    };
    write!(
        writer,
        "{} {on}{level:>5}{off} ",
        now.strftime("%H:%M:%S%.3f")
    )?;
    let text = |name: &str| fields.others.get(name).and_then(serde_json::Value::as_str);
    if let Some(app) = text("app") {
        write!(writer, "[{app}] ")?;
    }
    write!(writer, "{}", fields.message)?;
    let details: Vec<&str> = ["metrics", "target"]
        .into_iter()
        .filter_map(text)
        .filter(|text| !text.is_empty())
        .collect();
    if !details.is_empty() {
        write!(writer, " ({})", details.join("; "))?;
    }
    writeln!(writer)
}

/// An event's message and its other fields by name.
#[derive(Default)]
struct Fields {
    message: String,
    others: BTreeMap<&'static str, serde_json::Value>,
}

impl Fields {
    fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields
    }

    fn put(&mut self, field: &Field, value: serde_json::Value) {
        self.others.insert(field.name(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.put(field, format!("{value:?}").into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field, value.into());
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

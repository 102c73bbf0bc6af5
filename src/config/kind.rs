//! The kinds of collectors: what each is called, and which settings are its own. The settings themselves are rows of the
//! one table.

use std::fmt;

use super::settings::{HEADERS, Section, VARIABLES, YamlKey};

/// A kind of server that metrics come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectorKind {
    /// Whatever speaks Prometheus's query API.
    Prometheus,
    /// Temporal.
    Temporal,
    /// Any web server that answers with a number, or with JSON that has one.
    Http,
    /// Redis, and whatever speaks its protocol.
    Redis,
    /// `PostgreSQL`, and whatever speaks its protocol.
    Postgres,
}

impl CollectorKind {
    /// All of them, in the order in which the environment's are asked.
    pub const ALL: [Self; 5] = [
        Self::Prometheus,
        Self::Temporal,
        Self::Http,
        Self::Redis,
        Self::Postgres,
    ];

    /// `type` in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Temporal => "temporal",
            Self::Http => "http",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }

    /// What it is called in messages.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Prometheus => "Prometheus",
            Self::Temporal => "Temporal",
            Self::Http => "a web server",
            Self::Redis => "Redis",
            Self::Postgres => "Postgres",
        }
    }

    /// The `api` and the `operation` of `/metrics` for a request to it.
    #[must_use]
    pub const fn request(self) -> (&'static str, &'static str) {
        let operation = match self {
            Self::Prometheus | Self::Postgres => "query",
            Self::Temporal => "count",
            Self::Http => "get",
            Self::Redis => "command",
        };
        (self.name(), operation)
    }

    /// The kind of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Where the table has its settings.
    pub(super) fn section(self) -> Section {
        match self {
            Self::Prometheus => Section::Prometheus,
            Self::Temporal => Section::Temporal,
            Self::Http => Section::Http,
            Self::Redis => Section::Redis,
            Self::Postgres => Section::Postgres,
        }
    }

    /// The variable for a key of its items in the file, if it has that key.
    #[must_use]
    pub fn variable(self, key: &str) -> Option<&'static str> {
        let mut rows = VARIABLES.iter();
        let row = rows.find(|row| {
            row.section == self.section() && matches!(row.key, YamlKey::Collector(of) if of == key)
        });
        Some(row?.name)
    }

    /// The variable that says where it is: with it a collector of the environment exists.
    pub(super) fn place(self) -> &'static str {
        let variable = self.variable("address").or_else(|| self.variable("url"));
        variable.expect("every kind has one of them")
    }

    /// Whether an item of this kind can have a key.
    pub(super) fn has(self, key: &str) -> bool {
        key == "type" || (key == HEADERS && self == Self::Http) || self.variable(key).is_some()
    }
}

impl fmt::Display for CollectorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

//! The Postgres collector: where the server is, and one statement that reads.

use std::fmt;

use super::{
    CollectorSource, ConfigError, PostgresAddress, SslMode,
    collectors::{Context, SOME_FLEET, empty_value, missing},
    problems::Problems,
    server_url::ServerUrl,
    settings::WrittenCollector,
    statement::{NotOneStatement, one_statement},
};

/// What would be right.
const EXAMPLE: &str = "postgres://user:password@my-db.internal:5432/my_app?sslmode=disable";
const QUERY_EXAMPLE: &str = "SELECT count(*) FROM jobs WHERE state = 'available'";

/// The port of Postgres.
const PORT: u16 = 5432;

pub(super) fn collector(
    problems: &mut Problems,
    collector: &WrittenCollector,
    context: &Context<'_>,
) -> Option<CollectorSource> {
    let query = collector.query.as_ref();
    let query = query.map(|written| context.template(problems, "query", written));
    match (&collector.query, &query) {
        (Some(written), Some(query)) => {
            if let Err(reason) = one_statement(&query.render(SOME_FLEET)) {
                let message = format!("{} {reason}", written.label());
                let expected = match reason {
                    NotOneStatement::Several => "one statement",
                    NotOneStatement::Open => "a closing quote or comment",
                    NotOneStatement::Another => "SELECT, WITH, VALUES, TABLE or SHOW",
                };
                problems.refuse(
                    ConfigError::new(written.place(), message)
                        .value(written.text())
                        .expected(expected)
                        .example(QUERY_EXAMPLE),
                );
            }
        }
        _ => missing(
            problems,
            collector,
            "postgres query required",
            ("query", QUERY_EXAMPLE),
        ),
    }
    let empty_value = empty_value(problems, collector);
    let Some(written) = &collector.url else {
        missing(
            problems,
            collector,
            "postgres url required",
            ("url", EXAMPLE),
        );
        return None;
    };
    let url = context.server(
        problems,
        written,
        ("Postgres", EXAMPLE),
        PostgresAddress::parse,
    )?;
    Some(CollectorSource::Postgres {
        url,
        query: query?,
        empty_value,
    })
}

impl PostgresAddress {
    /// Reads `postgres://` and `postgresql://` addresses, and gives the parameters that mean nothing here.
    ///
    /// # Errors
    ///
    /// What was expected; it shows nothing of the address.
    pub fn parse(text: &str) -> Result<(Self, Vec<String>), String> {
        let url = ServerUrl::parse(text, ["postgres", "postgresql"])?;
        let user = url
            .user
            .ok_or("a user before the host, as in user:password@host")?;
        let mut mode = SslMode::Prefer;
        let mut options = None;
        let mut unused = Vec::new();
        for (name, value) in url.parameters {
            match name.as_str() {
                "sslmode" => {
                    let known = SslMode::ALL.into_iter().find(|one| one.as_str() == value);
                    let names = || SslMode::ALL.map(SslMode::as_str).join(", ");
                    mode = known.ok_or_else(|| format!("one of these as sslmode: {}", names()))?;
                }
                "options" => options = Some(value),
                // This program has one of its own.
                "application_name" | "connect_timeout" => {}
                _ => unused.push(name),
            }
        }
        let database = if url.database.is_empty() {
            user.clone()
        } else {
            url.database
        };
        let address = Self {
            host: url.host,
            port: url.port.unwrap_or(PORT),
            user,
            password: url.password,
            database,
            mode,
            options,
        };
        Ok((address, unused))
    }
}

impl SslMode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Disable, Self::Prefer, Self::Require, Self::VerifyFull];

    /// The word for it in an address.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl fmt::Display for PostgresAddress {
    /// Without user and password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            port,
            database,
            ..
        } = self;
        write!(formatter, "postgres://{host}:{port}/{database}")
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_or_says_what_was_expected() {
        let scheme = "an address that begins with postgres:// or postgresql://";
        let modes = "one of these as sslmode: disable, prefer, require, verify-full";
        let cases: &[(&str, &str)] = &[
            ("postgres://me@h", "postgres://h:5432/me None prefer []"),
            (
                "postgresql://me:p%40s@[fdaa::3]:6432/my%20db?sslmode=verify-full&application_name=x&pool=5",
                "postgres://[fdaa::3]:6432/my db Some(\"p@s\") verify-full [\"pool\"]",
            ),
            (
                "postgres://me@h/d?sslmode=disable",
                "postgres://h:5432/d None disable []",
            ),
            (
                "postgres://me@h/d?sslmode=require",
                "postgres://h:5432/d None require []",
            ),
            ("postgres://me@h/d?sslmode=verify-ca", modes),
            ("postgres://me@h/d?sslmode=allow", modes),
            (
                "postgres://h/d",
                "a user before the host, as in user:password@host",
            ),
            ("postgres:///d", "a host after the //"),
            (
                "postgres://me:se#cret@h/d",
                "postgres://user:password@host:port, with /, ? and # in a password written as %2F, %3F and %23",
            ),
            ("host=h user=me", scheme),
            ("mysql://me@h/d", scheme),
        ];
        for (text, expected) in cases {
            let found = match PostgresAddress::parse(text) {
                Ok((address, unused)) => {
                    let mode = address.mode.as_str();
                    format!("{address} {:?} {mode} {unused:?}", address.password)
                }
                Err(expected) => expected,
            };
            assert_eq!(found, *expected, "{text}");
        }
    }
}

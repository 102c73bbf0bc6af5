//! Single values: a duration, a number, a choice, an address; and what was wrong with those read so far.
//!
//! Each reader takes a value that may be absent and gives its meaning; a mistake is added to [`Findings`] and nothing, or
//! a harmless stand-in, is given. Stand-ins are never used: one mistake is enough to refuse a configuration.

use std::{collections::BTreeSet, num::IntErrorKind, time::Duration};

use secrecy::SecretString;
use url::{Position, Url};

use super::{
    ConfigError, Place,
    duration::{self, DurationError},
    settings::Value,
    yaml_integer,
};
use crate::shown::{Secrets, written_address};

/// What was found while values were read.
#[derive(Default)]
pub(super) struct Findings {
    /// The mistakes.
    pub(super) errors: Vec<ConfigError>,
    /// What is odd but no mistake.
    pub(super) warnings: Vec<String>,
    /// Names of variables that the file or a query mentions.
    pub(super) referenced: BTreeSet<String>,
    /// What no message may show.
    pub(super) secrets: Secrets,
    /// Tokens in settings that hold none; other mistakes of these settings come from that.
    pub(super) misplaced: Vec<ConfigError>,
}

impl Findings {
    /// Adds a mistake.
    pub(super) fn refuse(&mut self, error: ConfigError) {
        self.errors.push(error);
    }

    /// A duration that may be zero.
    pub(super) fn duration(&mut self, value: Option<&Value>) -> Option<Duration> {
        let value = value?;
        let error = match duration::parse(value.text()) {
            Ok(duration) => return Some(duration),
            Err(DurationError::Negative) => ConfigError::new(
                value.place(),
                format!("{} must not be negative", value.label()),
            )
            .value(value.text()),
            Err(error) => ConfigError::new(
                value.place(),
                format!("cannot parse {} as duration", value.label()),
            )
            .value(value.text())
            .expected(error.to_string()),
        };
        self.refuse(error.example("15s or 1m30s"));
        None
    }

    /// A duration that may not be zero: a loop without a pause, a deadline that has passed.
    pub(super) fn positive_duration(
        &mut self,
        value: Option<&Value>,
        default: Duration,
    ) -> Duration {
        let duration = self.duration(value);
        if let (Some(Duration::ZERO), Some(value)) = (duration, value) {
            let message = format!("{} must be longer than 0s", value.label());
            self.refuse(
                ConfigError::new(value.place(), message)
                    .value(value.text())
                    .example("15s or 1m30s"),
            );
        }
        duration.unwrap_or(default)
    }

    /// A switch, off when unset.
    pub(super) fn boolean(&mut self, value: Option<&Value>) -> bool {
        let Some(value) = value else { return false };
        let text = value.text().to_ascii_lowercase();
        // In a YAML file more words are booleans.
        let in_file = matches!(value.place(), Place::Key { .. });
        match text.as_str() {
            "true" | "1" => true,
            "false" | "0" => false,
            "yes" | "on" | "y" if in_file => true,
            "no" | "off" | "n" if in_file => false,
            _ => {
                let message = format!("cannot parse {} as boolean", value.label());
                self.refuse(
                    ConfigError::new(value.place(), message)
                        .value(value.text())
                        .expected("true, false, 1 or 0"),
                );
                false
            }
        }
    }

    /// One of a few words, which `message` names.
    pub(super) fn choice<T: Copy + Default>(
        &mut self,
        value: Option<&Value>,
        message: &str,
        choices: &[(&str, T)],
    ) -> T {
        let Some(value) = value else {
            return T::default();
        };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == value.text()) {
            return *choice;
        }
        self.refuse(ConfigError::new(value.place(), message).value(value.text()));
        T::default()
    }

    /// A whole number; one too large for 64 bits is the largest or smallest. The file has more ways to write one.
    pub(super) fn integer(&mut self, value: Option<&Value>, example: &str) -> Option<i64> {
        let value = value?;
        let in_file = matches!(value.place(), Place::Key { .. });
        if let Some(number) = yaml_integer::parse(value.text()).filter(|_| in_file) {
            return Some(number);
        }
        match value.text().parse::<i64>() {
            Ok(number) => Some(number),
            Err(error) if *error.kind() == IntErrorKind::PosOverflow => Some(i64::MAX),
            Err(error) if *error.kind() == IntErrorKind::NegOverflow => Some(i64::MIN),
            Err(_) => {
                self.refuse(
                    ConfigError::new(
                        value.place(),
                        format!("cannot parse {} as integer", value.label()),
                    )
                    .value(value.text())
                    .expected("a whole number")
                    .example(example),
                );
                None
            }
        }
    }

    /// A whole number from 1 to `most`.
    pub(super) fn at_least_one(
        &mut self,
        value: Option<&Value>,
        example: &str,
        most: i64,
    ) -> Option<i64> {
        let number = self.integer(value, example)?;
        let value = value?;
        if !(1..=most).contains(&number) {
            let message = format!("{} must be at least 1 and at most {most}", value.label());
            self.refuse(
                ConfigError::new(value.place(), message)
                    .value(value.text())
                    .example(example),
            );
            return None;
        }
        Some(number)
    }

    /// A number of machines.
    pub(super) fn count(&mut self, value: Option<&Value>) -> Option<u32> {
        let number = self.integer(value, "10")?;
        let value = value?;
        let count = u32::try_from(number);
        if count.is_err() {
            let message = format!(
                "{} must be at least 0 and at most {}",
                value.label(),
                u32::MAX
            );
            self.refuse(
                ConfigError::new(value.place(), message)
                    .value(value.text())
                    .example("10"),
            );
        }
        count.ok()
    }

    /// A finite number.
    pub(super) fn number(&mut self, value: &Value) -> Option<f64> {
        let number = value
            .text()
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite());
        if number.is_none() {
            self.refuse(
                ConfigError::new(
                    value.place(),
                    format!("cannot parse {} as a number", value.label()),
                )
                .value(value.text())
                .expected("a finite number")
                .example("0"),
            );
        }
        number
    }

    /// A token or a list of them; it goes into a header, which takes only visible characters.
    pub(super) fn token(&mut self, value: &Value) -> SecretString {
        // White space around the commas of a list, line breaks too, does no harm and is not part of a token.
        let tokens = value.text().split(',').map(str::trim);
        let token = tokens.collect::<Vec<_>>().join(",");
        let quoted = token.starts_with(['"', '\'']) || token.ends_with(['"', '\'']);
        if quoted {
            let message = format!("{} has quotes around it", value.label());
            self.refuse(
                ConfigError::new(value.place(), message).expected("the token without quotes"),
            );
        } else if !token
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        {
            let message = format!(
                "{} has a character that no token has, such as a line break",
                value.label()
            );
            self.refuse(
                ConfigError::new(value.place(), message)
                    .expected("the token as it was issued, on one line"),
            );
        }
        self.warn_of_unfilled(value, &token);
        SecretString::from(token)
    }

    /// A URL with the scheme http or https.
    pub(super) fn http_url(&mut self, value: &Value, example: &str) -> Option<Url> {
        let parsed = Url::parse(value.text())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(url) = parsed else {
            self.refuse(
                ConfigError::new(value.place(), format!("{} is not a URL", value.label()))
                    .value(&written_address(value.text()))
                    .expected("an address that begins with http:// or https://")
                    .example(example),
            );
            return None;
        };
        // In `user:pass/word@host` the host is `user`: a piece of the password would be taken for a port or a path, and
        // shown.
        if url[Position::BeforePath..].contains('@') {
            let message = format!("{} has an @ behind its host", value.label());
            self.refuse(
                ConfigError::new(value.place(), message)
                    .expected("/, ? and # in a password to be written as %2F, %3F and %23"),
            );
            return None;
        }
        Some(url)
    }
}

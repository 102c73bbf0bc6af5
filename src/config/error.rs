//! What is wrong with a configuration, one value for each mistake, so that all of them can be shown together.
//!
//! A mistake says where it is, what stands there, what was expected and an example. What stands there is never shown
//! for a token, a key or a password; the place where a mistake is made decides that, by not passing the value on.

use std::fmt;

use super::settings::{YamlKey, variable};
use crate::shown::{Secrets, has_token_shape};

/// How many characters of a value are shown.
const SHOWN_LENGTH: usize = 100;

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An environment variable.
    Variable(String),
    /// A key of the YAML file.
    Key {
        /// The key; `metric-collectors[0].query` for one of a collector.
        key: String,
        /// The file.
        path: String,
        /// The line, from 1.
        line: u64,
    },
    /// A spot in the YAML file.
    File {
        /// The file.
        path: String,
        /// The line, from 1; 0 for the file as a whole.
        line: u64,
        /// The column, from 1.
        column: u64,
    },
    /// A command line option.
    Option(&'static str),
}

impl Place {
    /// The setting's name as the user wrote it.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Variable(name) => name,
            Self::Key { key, .. } => key,
            Self::File { path, .. } => path,
            Self::Option(name) => name,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => formatter.write_str(name),
            Self::Key { key, path, line } => write!(formatter, "{key}, line {line} of {path}"),
            Self::File { path, line: 0, .. } => formatter.write_str(path),
            Self::File { path, line, column } => {
                write!(formatter, "line {line}, column {column} of {path}")
            }
            Self::Option(name) => formatter.write_str(name),
        }
    }
}

/// One mistake.
///
/// Displayed as one line: the message, the value, what was expected, an example, the place (unless it is a
/// variable that was named already). An expression's diagnostic follows on lines of its own, indented by four spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it is.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What stands there, shortened; absent for secrets and where nothing does.
    pub value: Option<String>,
    /// What was expected.
    pub expected: Option<String>,
    /// What would be right.
    pub example: Option<String>,
    /// More lines, as an expression's diagnostic has them.
    pub detail: Option<String>,
}

impl ConfigError {
    pub(super) fn new(place: &Place, message: impl Into<String>) -> Self {
        Self {
            place: place.clone(),
            message: message.into(),
            value: None,
            expected: None,
            example: None,
            detail: None,
        }
    }

    /// Shows `value`; not to be called with a secret.
    pub(super) fn value(mut self, value: &str) -> Self {
        self.value = Some(shown(value));
        self
    }

    pub(super) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(super) fn example(mut self, example: impl Into<String>) -> Self {
        self.example = Some(example.into());
        self
    }

    /// Everything that is shown of it, apart from variables' names.
    fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let (first, second) = match &mut self.place {
            Place::Key { key, path, .. } => (Some(key), Some(path)),
            Place::File { path, .. } => (Some(path), None),
            Place::Variable(_) | Place::Option(_) => (None, None),
        };
        let texts = [
            Some(&mut self.message),
            self.value.as_mut(),
            self.expected.as_mut(),
            self.example.as_mut(),
            self.detail.as_mut(),
            first,
            second,
        ];
        texts.into_iter().flatten()
    }

    /// Where the example is a variable, says how the file at `path` would have it.
    pub(super) fn name_key(&mut self, path: &str) {
        let Some((name, value)) = self.example.as_ref().and_then(|text| text.split_once('='))
        else {
            return;
        };
        let key = variable(name).map(|variable| variable.key);
        if let Some(YamlKey::Top(key) | YamlKey::Policy(key)) = key {
            self.example = Some(format!("{name}={value}, or in {path} {key}: {value}"));
        }
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        if let Some(value) = &self.value {
            write!(formatter, ": {value:?}")?;
        }
        if let Some(expected) = &self.expected {
            write!(formatter, "; expected {expected}")?;
        }
        if let Some(example) = &self.example {
            write!(formatter, ". Example: {example}")?;
        }
        let texts = [
            Some(&self.message),
            self.expected.as_ref(),
            self.example.as_ref(),
        ];
        let named = matches!(&self.place, Place::Variable(name)
            if texts.iter().flatten().any(|text| text.contains(name.as_str())));
        if !named {
            write!(formatter, " ({})", self.place)?;
        }
        if let Some(detail) = &self.detail {
            for line in detail.lines() {
                write!(formatter, "\n    {line}")?;
            }
        }
        Ok(())
    }
}

/// Every mistake of a configuration, at least one.
///
/// Displayed one after the other, each but the first after `ERROR: ` on a new line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>, Vec<String>);

impl ConfigErrors {
    /// `None` if there is no mistake. None of `secrets` is in them then, wherever it was written.
    pub(super) fn new(
        mut errors: Vec<ConfigError>,
        mut warnings: Vec<String>,
        secrets: &Secrets,
    ) -> Option<Self> {
        for text in errors
            .iter_mut()
            .flat_map(ConfigError::texts)
            .chain(&mut warnings)
        {
            *text = secrets.hide(text);
        }
        (!errors.is_empty()).then_some(Self(errors, warnings))
    }

    /// The warnings that would have been logged, which whoever shows the mistakes shows first: one of them may be the cause.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.1.iter().map(String::as_str)
    }

    /// The mistakes in the order in which they are shown.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            // Whoever shows it begins the first one so.
            if index > 0 {
                formatter.write_str("\nERROR: ")?;
            }
            write!(formatter, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A value as far as it is shown: shortened, and not at all where it has the form of one of Fly's tokens, which gets
/// into the wrong variable easily.
fn shown(value: &str) -> String {
    let lower = value.to_ascii_lowercase();
    let is_secret = has_token_shape(value)
        || ["flyv1 ", "bearer ", "-----begin"]
            .iter()
            .any(|mark| lower.contains(mark));
    // An address with a password gets there as easily.
    let hidden = value.split_once("://").and_then(|(scheme, rest)| {
        let (_, host) = rest.rsplit_once('@')?;
        Some(format!("{scheme}://\u{2026}@{host}"))
    });
    let value = hidden.as_deref().unwrap_or(value);
    if is_secret {
        return "(a token, not shown)".to_owned();
    }
    if value.chars().count() <= SHOWN_LENGTH {
        return value.to_owned();
    }
    let mut start: String = value.chars().take(SHOWN_LENGTH).collect();
    start.push('\u{2026}');
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_one_line_with_all_it_knows() {
        let variable = Place::Variable("FAS_INTERVAL".to_owned());
        let error =
            ConfigError::new(&variable, "cannot parse FAS_INTERVAL as duration").value("1\n5");
        assert_eq!(
            error.to_string(),
            r#"cannot parse FAS_INTERVAL as duration: "1\n5""#
        );
        let key = Place::Key {
            key: "interval".to_owned(),
            path: "fas.yml".to_owned(),
            line: 3,
        };
        let error = ConfigError::new(&key, "wrong")
            .value("x")
            .expected("y")
            .example("z")
            .detail("a\nb");
        assert_eq!(
            error.to_string(),
            "wrong: \"x\"; expected y. Example: z (interval, line 3 of fas.yml)\n    a\n    b"
        );
    }

    #[test]
    fn what_looks_like_a_token_is_not_shown() {
        for value in [
            "FlyV1 fm2_lJPE",
            "fm2_lJPE",
            "Bearer x",
            "x,fo1_y",
            "-----BEGIN PRIVATE KEY-----",
        ] {
            assert_eq!(shown(value), "(a token, not shown)", "{value}");
        }
        assert_eq!(shown("bearer"), "bearer");
        for value in ["http://:2f-4a@consul.internal/p/", "redis://u:p@h:6379/0"] {
            let host = value.split_once('@').map(|(_, host)| host);
            let host = host.expect("a host");
            assert!(
                shown(value).ends_with(&format!("://\u{2026}@{host}")),
                "{}",
                shown(value)
            );
        }
        assert_eq!(shown("http://h/p?q=a"), "http://h/p?q=a");
    }

    #[test]
    fn a_long_value_is_cut() {
        assert_eq!(
            shown(&"\u{fc}".repeat(101)),
            format!("{}\u{2026}", "\u{fc}".repeat(100))
        );
        assert_eq!(shown(&"x".repeat(100)), "x".repeat(100));
    }
}

//! The YAML file: reading it, replacing `$NAME` in its text, and parsing it into raw settings.
//!
//! Everything has a bound, since a wrong path must not fill the memory: the bytes read, the text after replacement, the
//! depth and number of nodes. Unknown and repeated keys are gathered instead of ending the parse at the first one. No
//! message quotes the file: any line of it may hold a token.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, IntoDeserializer as _, value::MapAccessDeserializer},
};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

use super::{
    documents::{FirstDocument, first_document},
    env::Environment,
    error::{ConfigError, Place},
    expansion::{Segment, is_of_fleet, segments},
    settings::{Keys, RawSettings},
    suggestion::suggestion,
};

/// The largest file that is read, in bytes. A real one has a few kilobytes.
pub const SIZE_LIMIT: usize = 1 << 20;

/// The largest text after replacement, in bytes; a value can be much longer than its name.
const EXPANDED_LIMIT: usize = 4 << 20;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be opened or read.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a directory.
    #[error("{0} is a directory; expected a YAML file")]
    Directory(PathBuf),
    /// It has more than [`SIZE_LIMIT`] bytes.
    #[error("{0} is larger than {limit} bytes; expected a configuration file", limit = SIZE_LIMIT)]
    TooLarge(PathBuf),
    /// It is not text.
    #[error("{path} is not valid UTF-8 at byte {offset}; expected a YAML file")]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Where the first invalid byte is, from 0.
        offset: usize,
    },
}

/// Reads a configuration file, at most [`SIZE_LIMIT`] and one bytes of it.
///
/// # Errors
/// A file that cannot be read, is a directory, too large or not UTF-8.
pub fn read(path: &Path) -> Result<String, ReadError> {
    let io_error = |source| ReadError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io_error)?;
    if file.metadata().map_err(io_error)?.is_dir() {
        return Err(ReadError::Directory(path.to_owned()));
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(SIZE_LIMIT).expect("a megabyte") + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(io_error)?;
    if bytes.len() > SIZE_LIMIT {
        return Err(ReadError::TooLarge(path.to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| ReadError::NotUtf8 {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })
}

/// A file as it is written.
pub(super) struct Written {
    /// Its path, as messages have it.
    pub(super) path: String,
    pub(super) text: String,
    /// Whether `$REGION` in it is left for the queries ([`keeps_region`](super::per_region::keeps_region)).
    pub(super) keeps_region: bool,
}

/// A file's text after replacement.
pub(super) struct Expanded {
    pub(super) text: String,
    /// The line of the file that each line of `text` comes from, both from 1: a value may have several lines.
    lines: Vec<u64>,
    /// What of `text` is read.
    first: FirstDocument,
    /// Names that were not set where they were needed, each once.
    pub(super) unset: Vec<String>,
    /// All names.
    pub(super) referenced: BTreeSet<String>,
}

impl Expanded {
    /// The first line of the file that is not read, because it belongs to a second document.
    pub(super) fn ignored_line(&self) -> Option<u64> {
        self.first.ignored_line.map(|line| self.file_line(line))
    }

    /// The line of the file for a line of the expanded text.
    pub(super) fn file_line(&self, line: u64) -> u64 {
        let index = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        self.lines
            .get(index)
            .or(self.lines.last())
            .copied()
            .unwrap_or(line)
    }
}

/// Replaces `$NAME` and `${NAME}` by the environment's values, an unset one by nothing, and leaves what means something of the fleet;
/// `$REGION` too if it `keeps_region`.
///
/// # Errors
/// A text that is too large, before or after.
pub(super) fn expand(
    path: &str,
    text: &str,
    environment: &Environment,
    keeps_region: bool,
) -> Result<Expanded, Box<ConfigError>> {
    let lookup = |name: &str| environment.get(name).map(str::to_owned);
    expand_by(path, text, keeps_region, lookup)
}

/// As [`expand`], with values of one's own.
pub(super) fn expand_by(
    path: &str,
    text: &str,
    keeps_region: bool,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Expanded, Box<ConfigError>> {
    let place = Place::File {
        path: path.to_owned(),
        line: 0,
        column: 0,
    };
    if text.len() > SIZE_LIMIT {
        return Err(Box::new(ConfigError::new(
            &place,
            format!("the file is larger than {SIZE_LIMIT} bytes"),
        )));
    }
    let mut expanded = Expanded {
        text: String::new(),
        lines: vec![1],
        first: first_document(""),
        unset: Vec::new(),
        referenced: BTreeSet::new(),
    };
    let mut file_line = 1;
    // The first character of the file's current line that is no white space, to know a comment by.
    let mut line_head = None;
    for segment in segments(text) {
        let piece = match segment {
            Segment::Text(kept) => kept,
            Segment::Variable { name, written } if is_of_fleet(name, keeps_region) => written,
            Segment::Variable { name, .. } => {
                expanded.referenced.insert(name.to_owned());
                let value = lookup(name);
                if value.is_none()
                    && line_head != Some('#')
                    && !expanded.unset.iter().any(|known| known == name)
                {
                    expanded.unset.push(name.to_owned());
                }
                let value = value.unwrap_or_default();
                expanded
                    .lines
                    .extend(value.matches('\n').map(|_| file_line));
                line_head = line_head.or(Some('$'));
                append(&mut expanded.text, &value, &place)?;
                continue;
            }
        };
        for _ in piece.matches('\n') {
            file_line += 1;
            expanded.lines.push(file_line);
        }
        let first_visible = |text: &str| text.chars().find(|c| !c.is_whitespace());
        line_head = match piece.rsplit_once('\n') {
            Some((_, tail)) => first_visible(tail),
            None => line_head.or_else(|| first_visible(piece)),
        };
        append(&mut expanded.text, piece, &place)?;
    }
    expanded.first = first_document(&expanded.text);
    Ok(expanded)
}

fn append(text: &mut String, piece: &str, place: &Place) -> Result<(), Box<ConfigError>> {
    if text.len() + piece.len() > EXPANDED_LIMIT {
        let message = format!(
            "the file is larger than {EXPANDED_LIMIT} bytes once its variables are replaced"
        );
        return Err(Box::new(ConfigError::new(place, message)));
    }
    text.push_str(piece);
    Ok(())
}

/// Parses the expanded text. `original` is the file's text: only keys that stand in it are shown.
///
/// # Errors
/// The one mistake that makes it unreadable. Unknown and repeated keys go to `errors`, and the rest is read.
pub(super) fn parse(
    path: &str,
    original: &str,
    expanded: &Expanded,
    errors: &mut Vec<ConfigError>,
) -> Result<RawSettings, Box<ConfigError>> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 16,
            max_nodes: 20_000,
            max_events: 100_000,
            max_documents: 1,
            max_aliases: 100,
            max_anchors: 100,
            max_merge_keys: 100,
            max_recorded_anchor_bytes: EXPANDED_LIMIT,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        // Repeated keys are refused here, all of them and with both lines.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // A snippet of the file may show a token.
        with_snippet: false,
    };
    let text = &expanded.text[..expanded.first.end];
    let parsed = serde_saphyr::from_str_with_options::<Option<Keyed<RawSettings>>>(text, options);
    let document = parsed.map_err(|error| {
        let (line, column) = error
            .location()
            .map_or((0, 0), |location| (location.line(), location.column()));
        let line_of = |line: u64| {
            let line = usize::try_from(line).ok();
            line.and_then(|line| text.lines().nth(line.checked_sub(1)?))
        };
        let mut message = unreadable(&error);
        // A tab is noticed only where the line before it has ended.
        let next_has_tab =
            || !line_of(line).is_some_and(has_tab) && line_of(line + 1).is_some_and(has_tab);
        let is_syntax = matches!(
            error.without_snippet(),
            serde_saphyr::Error::ExternalMessage { .. }
        );
        let (line, column) = if line > 0 && is_syntax && next_has_tab() {
            message.push_str("; a line may begin with spaces, but with no tab");
            (line + 1, 1)
        } else {
            (line, column)
        };
        let written = line_of(line);
        let place = Place::File {
            path: path.to_owned(),
            line: expanded.file_line_or_none(line),
            column,
        };
        if may_lack_quotes(&error) && written.is_some_and(needs_quotes) {
            message.push_str("; put the value in quotes");
        }
        Box::new(ConfigError::new(&place, message))
    })?;
    let Some(document) = document else {
        return Ok(RawSettings::default());
    };
    let policies = document.fields.policies();
    let of_policies = policies.flat_map(|policy| {
        let collectors = policy.fields.0.collectors();
        let of_collectors = collectors.flat_map(|collector| &collector.problems);
        policy.problems.iter().chain(of_collectors)
    });
    let of_collectors = document
        .fields
        .collectors()
        .flat_map(|collector| &collector.problems);
    let problems = document.problems.iter();
    for problem in problems.chain(of_collectors).chain(of_policies) {
        errors.push(problem.describe(path, original, expanded));
    }
    Ok(document.fields)
}

impl Expanded {
    /// As [`Self::file_line`]; 0 (no line is known) stays 0.
    fn file_line_or_none(&self, line: u64) -> u64 {
        if line == 0 { 0 } else { self.file_line(line) }
    }
}

/// Says why a text is no YAML or has another shape. The parser's messages are not used where they quote values.
fn unreadable(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error.without_snippet() {
        // Behind an alias; the error below it is no alias's.
        Error::AliasError { error, .. } => unreadable(error),
        Error::Unexpected { expected, .. } => {
            let expected = match *expected {
                "string scalar" => "a single value",
                "sequence start" => "a list",
                "mapping start" => "keys with values",
                other => other,
            };
            format!("the file has the wrong shape here: expected {expected}")
        }
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            format!("the file has the wrong shape here: expected {expected}")
        }
        Error::ExternalMessage { msg, .. } => format!("the file is not valid YAML: {msg}"),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "the file is too large or too deeply nested for a configuration".to_owned()
        }
        Error::UnknownAnchor { .. } => {
            "the file uses an alias (*name) that is not defined".to_owned()
        }
        Error::Eof { .. } => "the file ends too early".to_owned(),
        _ => "the file is not valid YAML or has the wrong shape".to_owned(),
    }
}

/// Whether quotes around a value can be what is missing: it was no YAML, or an alias or a mapping for a single value.
fn may_lack_quotes(error: &serde_saphyr::Error) -> bool {
    use serde_saphyr::Error;
    match error.without_snippet() {
        Error::ExternalMessage { .. } | Error::UnknownAnchor { .. } => true,
        Error::Unexpected { expected, .. } => *expected == "string scalar",
        _ => false,
    }
}

/// Whether a line is indented by a tab.
fn has_tab(line: &str) -> bool {
    let text = line.trim_start();
    line[..line.len() - text.len()].contains('\t')
}

/// Whether a line has a value that means something else to YAML than its text: an expression or a pattern, mostly.
fn needs_quotes(line: &str) -> bool {
    let is_key = |key: &str| {
        key.chars()
            .all(|c| c.is_alphanumeric() || "-_ ".contains(c))
    };
    let Some((_, value)) = line.split_once(": ").filter(|(key, _)| is_key(key)) else {
        return false;
    };
    let value = value.trim_start();
    let is_text = !value.starts_with(['"', '\'', '[', '#']);
    value.starts_with(['*', '{', '&', '!', '%', '@', '`']) || (is_text && value.contains(": "))
}

/// A mapping: its known keys as a struct, and what was wrong with its keys.
pub(super) struct Keyed<T> {
    pub(super) fields: T,
    problems: Vec<KeyProblem>,
}

/// A key that is not known or comes twice.
struct KeyProblem {
    key: String,
    line: u64,
    column: u64,
    what: KeyFault,
}

enum KeyFault {
    Unknown {
        suggestion: Option<String>,
    },
    /// It is none of a policy but of the daemon.
    Elsewhere,
    Repeated {
        first_line: u64,
    },
}

impl KeyProblem {
    fn describe(&self, path: &str, original: &str, expanded: &Expanded) -> ConfigError {
        let place = Place::File {
            path: path.to_owned(),
            line: expanded.file_line(self.line),
            column: self.column,
        };
        // A key that does not stand in the file came out of a variable, and may be a piece of a token.
        let visible = original.contains(&self.key);
        let shown = |error: ConfigError| {
            if visible {
                error.value(&self.key)
            } else {
                error
            }
        };
        match &self.what {
            KeyFault::Unknown { suggestion } => {
                let error = shown(ConfigError::new(&place, "unknown key"));
                match suggestion.as_ref().filter(|_| visible) {
                    Some(meant) => error.expected(format!("a known one; did you mean {meant}?")),
                    None => error,
                }
            }
            KeyFault::Elsewhere => shown(
                ConfigError::new(&place, "key of the daemon in a policy")
                    .expected("it at the top of the file, where it holds for all policies"),
            ),
            KeyFault::Repeated { first_line } => {
                let message = format!(
                    "key given twice, first in line {}",
                    expanded.file_line(*first_line)
                );
                shown(ConfigError::new(&place, message))
            }
        }
    }
}

impl<'de, T: Keys + Deserialize<'de>> Deserialize<'de> for Keyed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);

        impl<'de, T: Keys + Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Keyed<T>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a mapping of keys to values")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Keyed<T>, A::Error> {
                let mut known = KnownKeys {
                    map,
                    keys: T::keys(),
                    field: T::field,
                    is_elsewhere: T::is_elsewhere,
                    seen: Vec::new(),
                    problems: Vec::new(),
                };
                let fields = T::deserialize(MapAccessDeserializer::new(&mut known))?;
                Ok(Keyed {
                    fields,
                    problems: known.problems,
                })
            }
        }

        deserializer.deserialize_map(Visitor(PhantomData))
    }
}

/// Passes on the known keys of a mapping, as the names of the struct's fields, and each only once.
struct KnownKeys<A> {
    map: A,
    keys: Vec<&'static str>,
    field: fn(&str) -> std::borrow::Cow<'_, str>,
    is_elsewhere: fn(&str) -> bool,
    /// Keys so far, and their lines.
    seen: Vec<(&'static str, u64)>,
    problems: Vec<KeyProblem>,
}

impl<'de, A: de::MapAccess<'de>> de::MapAccess<'de> for KnownKeys<A> {
    type Error = A::Error;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(written) = self.map.next_key::<Spanned<String>>()? {
            let key = written.value;
            let (line, column) = (written.referenced.line(), written.referenced.column());
            let known = self.keys.iter().copied().find(|known| *known == key);
            let first_line = known.and_then(|known| {
                let first = self.seen.iter().find(|(seen, _)| *seen == known);
                first.map(|(_, first_line)| *first_line)
            });
            let what = match (known, first_line) {
                (Some(known), None) => {
                    self.seen.push((known, line));
                    let field = (self.field)(known).into_owned();
                    return seed.deserialize(field.into_deserializer()).map(Some);
                }
                (Some(_), Some(first_line)) => KeyFault::Repeated { first_line },
                (None, _) if (self.is_elsewhere)(&key) => KeyFault::Elsewhere,
                (None, _) => KeyFault::Unknown {
                    suggestion: suggestion(&key, self.keys.iter().copied()),
                },
            };
            self.map.next_value::<IgnoredAny>()?;
            self.problems.push(KeyProblem {
                key,
                line,
                column,
                what,
            });
        }
        Ok(None)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn environment() -> Environment {
        let variables = [
            ("REGION", "ord"),
            ("EMPTY", ""),
            ("LINES", "a\nb\nc"),
            ("APP_NAME", "wrong"),
        ];
        Environment::collect(variables.map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn a_file_is_read_as_it_is() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all("app-name: \u{fc}\n".as_bytes()).unwrap();
        assert_eq!(read(file.path()).unwrap(), "app-name: \u{fc}\n");
    }

    #[test]
    fn a_missing_file_a_directory_and_binary_data_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display().to_string();
        let missing = read(&directory.path().join("none.yml")).unwrap_err();
        assert_eq!(missing.to_string(), format!("cannot read {path}/none.yml"));
        assert!(std::error::Error::source(&missing).is_some());
        assert_eq!(
            read(directory.path()).unwrap_err().to_string(),
            format!("{path} is a directory; expected a YAML file")
        );
        let binary = directory.path().join("binary");
        std::fs::write(&binary, b"abc\xff").unwrap();
        let expected = format!("{path}/binary is not valid UTF-8 at byte 3; expected a YAML file");
        assert_eq!(read(&binary).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_file_above_the_limit_is_refused_and_not_read_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        assert_eq!(read(file.path()).unwrap().len(), SIZE_LIMIT);
        // Sparse: a terabyte that takes no room, and could not be read in any test's time.
        file.as_file().set_len(1 << 40).unwrap();
        let expected = format!(
            "{} is larger than 1048576 bytes; expected a configuration file",
            file.path().display()
        );
        assert_eq!(read(file.path()).unwrap_err().to_string(), expected);
    }

    #[test]
    fn variables_are_replaced_in_the_text_and_the_app_is_left_for_the_query() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("regions: [$REGION]", "regions: [ord]", &[]),
            ("${REGION}x", "ordx", &[]),
            ("$APP_NAME ${APP_NAME}", "$APP_NAME ${APP_NAME}", &[]),
            ("$1 $$ a$ ${1}", "$1 $$ a$ ${1}", &[]),
            ("a$EMPTY", "a", &[]),
            ("$NOPE-$NOPE-$OTHER", "--", &["NOPE", "OTHER"]),
            ("# $NOPE", "# ", &[]),
            (
                "  # a\n # $REGION $NOPE\nx: $OTHER",
                "  # a\n # ord \nx: ",
                &["OTHER"],
            ),
            ("x: 1 # $NOPE", "x: 1 # ", &["NOPE"]),
        ];
        for (text, expected, unset) in cases {
            let expanded = expand("fas.yml", text, &environment(), false).unwrap();
            assert_eq!(expanded.text, *expected, "{text}");
            assert_eq!(expanded.unset, *unset, "{text}");
        }
    }

    #[test]
    fn lines_are_those_of_the_file_whatever_the_values_hold() {
        let expanded = expand(
            "fas.yml",
            "1\n2: $LINES\n3\n4: $LINES",
            &environment(),
            false,
        )
        .unwrap();
        assert_eq!(expanded.text, "1\n2: a\nb\nc\n3\n4: a\nb\nc");
        let lines: Vec<u64> = (1..=8).map(|line| expanded.file_line(line)).collect();
        assert_eq!(lines, [1, 2, 2, 2, 3, 4, 4, 4]);
        assert_eq!(expanded.file_line(1_000), 4);
    }

    #[test]
    fn a_text_that_grows_without_measure_is_refused() {
        let environment = Environment::collect([("BIG".into(), "x".repeat(100_000).into())]);
        let error = expand("fas.yml", &"$BIG\n".repeat(1_000), &environment, false)
            .err()
            .unwrap();
        assert_eq!(
            error.to_string(),
            "the file is larger than 4194304 bytes once its variables are replaced (fas.yml)"
        );
        let error = expand("fas.yml", &"x".repeat(SIZE_LIMIT + 1), &environment, false)
            .err()
            .unwrap();
        assert_eq!(
            error.to_string(),
            "the file is larger than 1048576 bytes (fas.yml)"
        );
    }
}

//! The HTTP collector: a GET, and which number of the answer is meant.

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;
use serde_json_path::JsonPath;

use super::{
    CollectorSource, ConfigError,
    collectors::{Context, SOME_FLEET, empty_value, missing, take_user_information},
    problems::Problems,
    secrets::warn_of_short_basic,
    settings::{Value, WrittenCollector},
    values,
};

/// What would be right.
const EXAMPLE: &str = "https://my-app.internal/queues";

/// Headers that are about the connection or the request itself, which are not the user's.
const OURS: [&str; 8] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How often a path may look below everything: each time more multiplies what there is to look at.
const DESCENTS: usize = 1;

/// How many commas a path may have: each place between two can be the same one.
const COMMAS: usize = 4;

pub(super) fn collector(
    problems: &mut Problems,
    collector: &WrittenCollector,
    context: &Context<'_>,
) -> Option<CollectorSource> {
    let value = collector
        .value
        .as_ref()
        .map(|value| context.template(problems, "path", value));
    if let (Some(written), Some(path)) = (&collector.value, &value)
        && let Err(error) = JsonPath::parse(&path.render(SOME_FLEET))
    {
        let message = format!("{} is no JSONPath: {error}", written.label());
        problems.refuse(
            ConfigError::new(written.place(), message)
                .value(written.text())
                .expected("a path as RFC 9535 has it, without match() and search()")
                .example("$.queues.default"),
        );
        return None;
    }
    if let (Some(written), Some(path)) = (&collector.value, &value)
        && let Some(why) = too_wide(&path.render(SOME_FLEET))
    {
        let message = format!("{} looks at too many places: {why}", written.label());
        problems.refuse(
            ConfigError::new(written.place(), message)
                .value(written.text())
                .expected("a path that names what is on the way")
                .example("$.queues.default"),
        );
        return None;
    }
    let empty_value = empty_value(problems, collector);
    let token = collector
        .token
        .as_ref()
        .map(|value| values::collector_token(problems, value));
    let headers = headers(problems, collector);
    let Some(written) = &collector.url else {
        missing(problems, collector, "http url required", ("url", EXAMPLE));
        return None;
    };
    let url = context.address(problems, written)?;
    let filled_in = Value::new(url.render(SOME_FLEET), written.place().clone());
    let Some(filled_in) = filled_in else {
        let message = format!(
            "{} is empty once its variables are replaced",
            written.label()
        );
        problems.refuse(ConfigError::new(written.place(), message).example(EXAMPLE));
        return None;
    };
    let mut address = values::http_url(problems, &filled_in, EXAMPLE)?;
    if let Some(basic) = take_user_information(problems, &mut address, &filled_in) {
        warn_of_short_basic(problems, written, &basic);
    }
    Some(CollectorSource::Http {
        url,
        value,
        token,
        headers: headers?,
        empty_value,
    })
}

/// Why a path may look at more than a document holds, a few times over: what it is applied to is a peer's, and nothing else
/// goes on meanwhile. It is a path for sure.
fn too_wide(path: &str) -> Option<String> {
    let (mut descents, mut commas) = (0, 0);
    let mut rest = path.trim_start().strip_prefix('$').unwrap_or(path);
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '\'' | '"' => after_quoted(rest),
            '$' if !names_one(&rest[1..]) => {
                return Some(
                    "it has a filter that looks at more than one place from `$` on".to_owned(),
                );
            }
            '.' if rest.starts_with("..") => {
                descents += 1;
                &rest[2..]
            }
            _ => {
                commas += usize::from(first == ',');
                &rest[first.len_utf8()..]
            }
        };
    }
    if descents > DESCENTS {
        return Some("it has `..` more than once".to_owned());
    }
    (commas > COMMAS).then(|| format!("it has more than {COMMAS} commas"))
}

/// What stands behind the quoted text that this begins with.
fn after_quoted(text: &str) -> &str {
    let mut letters = text.char_indices();
    let quote = letters.next().map(|(_, quote)| quote);
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            letters.next();
        } else if Some(letter) == quote {
            return &text[at + 1..];
        }
    }
    ""
}

/// Whether the segments that this begins with lead to one place at most.
fn names_one(segments: &str) -> bool {
    let mut rest = segments.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('[') {
            let after = after.trim_start();
            let after = if after.starts_with(['\'', '"']) {
                after_quoted(after)
            } else {
                after.trim_start_matches(|letter: char| letter == '-' || letter.is_ascii_digit())
            };
            match after.trim_start().strip_prefix(']') {
                Some(after) => rest = after.trim_start(),
                None => return false,
            }
        } else if let Some(after) = rest.strip_prefix('.') {
            if after.starts_with(['.', '*']) {
                return false;
            }
            let is_of_name = |letter: char| {
                letter == '_' || letter.is_ascii_alphanumeric() || !letter.is_ascii()
            };
            rest = after.trim_start_matches(is_of_name).trim_start();
        } else {
            return true;
        }
    }
}

/// The headers, each name once.
fn headers(
    problems: &mut Problems,
    collector: &WrittenCollector,
) -> Option<Vec<(HeaderName, SecretString)>> {
    let mut headers: Vec<(HeaderName, SecretString)> = Vec::new();
    let mut is_valid = true;
    for (name, value) in &collector.headers {
        let mut refuse = |message: &str, expected: &str| {
            let message = format!("{} {message}", value.label());
            problems.refuse(ConfigError::new(value.place(), message).expected(expected));
            is_valid = false;
        };
        let Ok(header) = HeaderName::try_from(name.as_str()) else {
            refuse("is not the name of a header", "letters, digits and dashes");
            continue;
        };
        if OURS.contains(&header.as_str()) {
            refuse("is a header that is not yours to set", "another header");
        } else if headers.iter().any(|(other, _)| *other == header) {
            refuse("is given twice", "each header once, in capitals or not");
        } else if header == http::header::AUTHORIZATION && collector.token.is_some() {
            refuse("is set beside a token", "one of the two");
        } else if HeaderValue::try_from(value.text()).is_err() {
            refuse(
                "contains a character that is invalid in a header, such as a line break",
                "visible characters on one line",
            );
        } else {
            headers.push((header, SecretString::from(value.text())));
        }
    }
    is_valid.then_some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_looks_at_each_place_a_few_times_at_most() {
        let fine = [
            "$",
            "$.queues.default",
            "$..depth",
            "$['a..b']..c",
            "$[\"..\", '\\'..', ',,,,,']",
            "$[?@.name == 'a, $..b,,,,, c'].depth",
            "$.queues[?@.name == $.main].depth",
            "$.queues[?@.name == $ ['main'] [-1] .x && @.n > 1].depth",
            "$.queues[?@.depth > 3]['a','b']",
            "$[*].*[*]",
        ];
        for path in fine {
            assert!(JsonPath::parse(path).is_ok(), "{path}");
            assert_eq!(too_wide(path), None, "{path}");
        }
        let wide = [
            ("$..a..a", "`..` more than once"),
            ("$..[?@..a]", "`..` more than once"),
            (
                "$[?count(@..*) > 1 && count(@..a) > 2]",
                "`..` more than once",
            ),
            ("$[*,*][*,*][*,*][*,*][*,*]", "more than 4 commas"),
            ("$[?count($[*]) > 1]", "from `$` on"),
            ("$[?$..a]", "from `$` on"),
            ("$[?$.a.*]", "from `$` on"),
            ("$[?$.a[?@.b]]", "from `$` on"),
            ("$[?$['a','b']]", "from `$` on"),
            ("$[?$[0] [1:3]]", "from `$` on"),
        ];
        for (path, why) in wide {
            assert!(JsonPath::parse(path).is_ok(), "{path}");
            let said = too_wide(path).unwrap_or_default();
            assert!(said.contains(why), "{path}: {said}");
        }
    }
}

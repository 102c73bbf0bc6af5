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

/// How often a path may look below everything: each time multiplies what there is to look at.
const DESCENTS: usize = 3;

pub(super) fn collector(
    problems: &mut Problems,
    collector: &WrittenCollector,
    context: &Context<'_>,
) -> Option<CollectorSource> {
    let value = collector
        .value
        .as_ref()
        .map(|value| context.template(problems, "path", value));
    if let Some(written) = &collector.value
        && written.text().matches("..").count() > DESCENTS
    {
        let message = format!(
            "{} looks at too many places: it has `..` more than {DESCENTS} times",
            written.label()
        );
        problems.refuse(
            ConfigError::new(written.place(), message)
                .value(written.text())
                .expected("a path that names what is on the way")
                .example("$.queues.default"),
        );
        return None;
    }
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

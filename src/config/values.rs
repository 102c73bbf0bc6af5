//! Single values: a duration, a number, a choice, an address.
//!
//! Each reader takes a value that may be absent, and what the table says holds then, and gives its meaning. Of a mistake it
//! tells, and gives what would hold without the value, which is never used: one mistake is enough to refuse a configuration.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::IntErrorKind,
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretString};
use url::{Position, Url};

use super::{
    ConfigError, LogFormat, MetricsAddress, Place, problems::Problems, regions, secrets::unfilled,
    server_url, settings::Value, yaml_integer,
};
use crate::{
    duration::{self, DurationError},
    scaling::{InitialState, Step, StopAction},
    shown::{self, written_address},
};

/// More passes or calls at once than this is a slip of the finger.
const MAX_CONCURRENCY: i64 = 10_000;

/// The most shards: a copy scales 5,000 apps, and each shard is a key that all copies watch.
pub(super) const MAX_SHARDS: i64 = 64;

/// The longest name of a region that is taken for one, in bytes.
const LONGEST_REGION: usize = 32;

/// Of a default: the table's are read by every test that loads a configuration.
const READABLE: &str = "the table's default can be read";

/// The value as it stands.
pub(super) fn text(_: &mut Problems, value: Option<&Value>, default: &str) -> String {
    value.map_or(default, Value::text).to_owned()
}

/// A duration that may be zero.
pub(super) fn duration(problems: &mut Problems, value: Option<&Value>, default: &str) -> Duration {
    let default = duration::parse(default).expect(READABLE);
    let Some(value) = value else { return default };
    let error = match duration::parse(value.text()) {
        Ok(duration) => return duration,
        Err(DurationError::Negative) => {
            value.wrong(format!("{} must not be negative", value.label()))
        }
        Err(error) => value
            .wrong(format!("cannot parse {} as duration", value.label()))
            .expected(error.to_string()),
    };
    problems.refuse(error.example("15s or 1m30s"));
    default
}

/// A duration that may not be zero: a loop without a pause, a deadline that has passed.
pub(super) fn positive_duration(
    problems: &mut Problems,
    value: Option<&Value>,
    default: &str,
) -> Duration {
    let duration = duration(problems, value, default);
    if let (Duration::ZERO, Some(value)) = (duration, value) {
        let message = format!("{} must be longer than 0s", value.label());
        problems.refuse(value.wrong(message).example("15s or 1m30s"));
    }
    duration
}

/// A switch.
pub(super) fn boolean(problems: &mut Problems, value: Option<&Value>, default: &str) -> bool {
    let default = default.parse().expect(READABLE);
    let Some(value) = value else { return default };
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
            problems.refuse(value.wrong(message).expected("true, false, 1 or 0"));
            default
        }
    }
}

/// One of two words.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// What is chosen.
    const NAME: &str;
    /// The words.
    const CHOICES: [(&'static str, Self); 2];
}

impl Choice for InitialState {
    const NAME: &str = "initial machine state";
    const CHOICES: [(&'static str, Self); 2] =
        [("started", Self::Started), ("stopped", Self::Stopped)];
}

impl Choice for StopAction {
    const NAME: &str = "stop action";
    const CHOICES: [(&'static str, Self); 2] = [("stop", Self::Stop), ("suspend", Self::Suspend)];
}

impl Choice for LogFormat {
    const NAME: &str = "log format";
    const CHOICES: [(&'static str, Self); 2] = [("json", Self::Json), ("text", Self::Text)];
}

/// A choice by its word.
pub(super) fn choice<T: Choice>(
    problems: &mut Problems,
    value: Option<&Value>,
    default: &str,
) -> T {
    let by_word = |word: &str| {
        let mut choices = T::CHOICES.into_iter();
        choices.find_map(|(name, choice)| (name == word).then_some(choice))
    };
    let default = by_word(default).expect(READABLE);
    let Some(value) = value else { return default };
    by_word(value.text()).unwrap_or_else(|| {
        let [(first, _), (second, _)] = T::CHOICES;
        let message = format!("{} must be either '{first}' or '{second}'", T::NAME);
        problems.refuse(value.wrong(message));
        default
    })
}

/// A whole number; one too large for 64 bits is the largest or smallest. The file has more ways to write one.
fn integer(problems: &mut Problems, value: Option<&Value>, example: &str) -> Option<i64> {
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
            problems.refuse(
                value
                    .wrong(format!("cannot parse {} as integer", value.label()))
                    .expected("a whole number")
                    .example(example),
            );
            None
        }
    }
}

/// A whole number from 1 to `most`.
fn at_least_one(
    problems: &mut Problems,
    value: Option<&Value>,
    example: &str,
    most: i64,
) -> Option<i64> {
    let number = integer(problems, value, example)?;
    let value = value?;
    if !(1..=most).contains(&number) {
        let message = format!("{} must be at least 1 and at most {most}", value.label());
        problems.refuse(value.wrong(message).example(example));
        return None;
    }
    Some(number)
}

/// A number of machines.
pub(super) fn count(problems: &mut Problems, value: Option<&Value>, _: &str) -> Option<u32> {
    let number = integer(problems, value, "10")?;
    let value = value?;
    let count = u32::try_from(number);
    if count.is_err() {
        let message = format!(
            "{} must be at least 0 and at most {}",
            value.label(),
            u32::MAX
        );
        problems.refuse(value.wrong(message).example("10"));
    }
    count.ok()
}

/// A number of machines above none: the last one is never destroyed.
pub(super) fn ceiling(problems: &mut Problems, value: Option<&Value>, _: &str) -> Option<u32> {
    at_least_one(problems, value, "10", u32::MAX.into()).and_then(|number| number.try_into().ok())
}

/// A number of passes, one after the other.
pub(super) fn passes_in_a_row(
    problems: &mut Problems,
    value: Option<&Value>,
    default: &str,
) -> u32 {
    at_least_one(problems, value, default, u32::MAX.into())
        .and_then(|number| number.try_into().ok())
        .unwrap_or_else(|| default.parse().expect(READABLE))
}

/// A number of calls in flight.
pub(super) fn calls_at_once(
    problems: &mut Problems,
    value: Option<&Value>,
    default: &str,
) -> usize {
    at_least_one(problems, value, default, MAX_CONCURRENCY)
        .and_then(|number| number.try_into().ok())
        .unwrap_or_else(|| default.parse().expect(READABLE))
}

/// A number of passes at the same time; as upstream has it, less than 1 is 1.
pub(super) fn passes_at_once(
    problems: &mut Problems,
    value: Option<&Value>,
    default: &str,
) -> usize {
    let number = integer(problems, value, default);
    let number = number.unwrap_or_else(|| default.parse().expect(READABLE));
    if let (Some(value), true) = (value, number > MAX_CONCURRENCY) {
        let message = format!("{} must be at most {MAX_CONCURRENCY}", value.label());
        problems.refuse(value.wrong(message));
    }
    usize::try_from(number).unwrap_or(0).max(1)
}

/// A number of parts, each of which is one copy's.
pub(super) fn shards(problems: &mut Problems, value: Option<&Value>) -> usize {
    at_least_one(problems, value, "4", MAX_SHARDS)
        .and_then(|number| number.try_into().ok())
        .unwrap_or(1)
}

/// A number of machines or a share of them.
pub(super) fn step(problems: &mut Problems, value: Option<&Value>, _: &str) -> Option<Step> {
    let value = value?;
    let (number, is_percent) = match value.text().strip_suffix('%') {
        Some(number) => (number, true),
        None => (value.text(), false),
    };
    match number.parse::<u32>() {
        Ok(percent) if is_percent => Some(Step::Percent(percent)),
        Ok(count) => Some(Step::Count(count)),
        Err(_) => {
            problems.refuse(
                value
                    .wrong(format!("cannot parse {} as a step", value.label()))
                    .expected("a number of machines or a share of the current count")
                    .example("5 or 50%"),
            );
            None
        }
    }
}

/// What the API takes for a region, an alias such as `eu` included: the platform's list is not ours to know.
pub(super) fn regions(problems: &mut Problems, value: Option<&Value>, _: &str) -> Vec<String> {
    let mut regions: Vec<String> = Vec::new();
    let Some(value) = value else { return regions };
    for region in value
        .text()
        .split(',')
        .map(str::trim)
        .filter(|region| !region.is_empty())
    {
        let is_name = region.len() <= LONGEST_REGION
            && region
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if is_name {
            if !regions::is_known(region) && !regions.iter().any(|known| known == region) {
                problems
                    .warnings
                    .push(regions::unknown(value.label(), region));
            }
            regions.push(region.to_owned());
        } else {
            problems.refuse(
                ConfigError::new(
                    value.place(),
                    format!("{} contains an invalid region", value.label()),
                )
                .value(region)
                .expected("regions or their aliases, separated by commas")
                .example("iad,ord"),
            );
        }
    }
    let is_blank = |region: &str| region.trim().is_empty();
    if value.text().split(',').all(is_blank) {
        problems.warnings.push(format!(
            "{} names no region and is treated as unset",
            value.label()
        ));
    }
    regions
}

/// A finite number.
pub(super) fn number(problems: &mut Problems, value: &Value) -> Option<f64> {
    let number = value
        .text()
        .parse::<f64>()
        .ok()
        .filter(|number| number.is_finite());
    if number.is_none() {
        problems.refuse(
            value
                .wrong(format!("cannot parse {} as a number", value.label()))
                .expected("a finite number")
                .example("0"),
        );
    }
    number
}

/// How the API token is set.
pub(super) const SET_API_TOKEN: &str =
    "fly secrets set -a my-autoscaler FAS_API_TOKEN=\"$(fly tokens create deploy -a my-app)\"";

/// How the token of a setting is set, in full and with nothing around it.
fn new_token(label: &str) -> &'static str {
    if ["FAS_API_TOKEN", "api-token"].contains(&label) {
        SET_API_TOKEN
    } else {
        "fly secrets set -a my-autoscaler FAS_PROMETHEUS_TOKEN=\"$(fly tokens create readonly my-org)\""
    }
}

/// A token or a list of them; it goes into a header, which takes only visible characters.
pub(super) fn token(problems: &mut Problems, value: &Value) -> SecretString {
    // White space around the commas of a list, line breaks too, does no harm and is not part of a token.
    let tokens = value.text().split(',').map(str::trim);
    let token = tokens.collect::<Vec<_>>().join(",");
    let quoted = token.starts_with(['"', '\'']) || token.ends_with(['"', '\'']);
    if quoted {
        let message = format!("{} has quotes around it", value.label());
        problems.refuse(
            ConfigError::new(value.place(), message)
                .expected("the token without quotes")
                .example(new_token(value.label())),
        );
    } else if !token
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic())
    {
        let message = format!(
            "{} contains a character that is invalid in a token, such as a line break",
            value.label()
        );
        problems.refuse(
            ConfigError::new(value.place(), message)
                .expected("the token as it was issued, on one line")
                .example(new_token(value.label())),
        );
    }
    SecretString::from(token)
}

/// A collector's token. What is none is odd, and no mistake: a server that asks for none does not mind.
pub(super) fn collector_token(problems: &mut Problems, value: &Value) -> SecretString {
    let token = token(problems, value);
    let warning = unfilled(value.label(), token.expose_secret());
    problems.warnings.extend(warning);
    token
}

/// The base address of an API, in which no password belongs.
pub(super) fn base_url(problems: &mut Problems, value: Option<&Value>, default: &str) -> Url {
    let default = Url::parse(default).expect(READABLE);
    let Some(value) = value else { return default };
    let Some(url) = http_url(problems, value, default.as_str().trim_end_matches('/')) else {
        return default;
    };
    if !url.username().is_empty() || url.password().is_some() {
        let message = format!("{} must not contain a user or a password", value.label());
        problems
            .refuse(ConfigError::new(value.place(), message).value(&written_address(value.text())));
    }
    url
}

/// The API token.
pub(super) fn api_token(
    problems: &mut Problems,
    value: Option<&Value>,
    _: &str,
) -> Option<SecretString> {
    let value = value?;
    let token = token(problems, value);
    if let Some(message) = unfilled(value.label(), token.expose_secret()) {
        // Every call would be refused.
        problems.refuse(ConfigError::new(value.place(), message).example(SET_API_TOKEN));
    }
    Some(token)
}

/// A URL with the scheme http or https. Of one that is none nothing is shown: where in it a password stands, nobody can say.
pub(super) fn http_url(problems: &mut Problems, value: &Value, example: &str) -> Option<Url> {
    let parsed = Url::parse(value.text());
    let is_about_the_port =
        matches!(parsed, Err(error) if server_url::is_about_the_port(value.text(), error));
    let parsed = parsed
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(url) = parsed else {
        let expected = if is_about_the_port {
            server_url::PORT
        } else {
            "an address that begins with http:// or https://"
        };
        problems.refuse(
            ConfigError::new(value.place(), format!("{} is not a URL", value.label()))
                .expected(expected)
                .example(example),
        );
        return None;
    };
    // In `user:pass/word@host` the host is `user`: a piece of the password would be taken for a port or a path, and
    // shown.
    if url[Position::BeforePath..].contains('@') {
        let message = format!("{} has an @ after its host", value.label());
        problems.refuse(
            ConfigError::new(value.place(), message)
                .expected("/, ? and # in a password written as %2F, %3F and %23"),
        );
        return None;
    }
    Some(url)
}

/// Where to listen.
pub(super) fn metrics_address(
    problems: &mut Problems,
    value: Option<&Value>,
    default: &str,
) -> MetricsAddress {
    let at = |socket, may_fall_back| MetricsAddress {
        socket,
        may_fall_back,
        setting: "FAS_METRICS_ADDRESS",
    };
    let default = at(default.parse().expect(READABLE), true);
    let Some(value) = value else { return default };
    if let Ok(socket) = value.text().parse() {
        return at(socket, false);
    }
    let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let (host, port) = value.text().rsplit_once(':').unwrap_or(("?", ""));
    match (host, port.parse::<u16>()) {
        // As in Go, no host means any address of any family.
        ("", Ok(port)) => at(SocketAddr::new(any, port), true),
        ("localhost", Ok(port)) => at(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port), false),
        _ => {
            problems.refuse(
                value
                    .wrong(format!("{} is not an address to listen on", value.label()))
                    .expected("an IP address and a port")
                    .example("[::]:9090, 127.0.0.1:9090 or :9090"),
            );
            default
        }
    }
}

/// A value as the line at start-up tells it; nothing of one that is not there.
pub(super) trait Text {
    /// The text.
    fn text(&self) -> Option<String>;
}

impl Text for String {
    fn text(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Text for Vec<String> {
    fn text(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.join(","))
    }
}

impl Text for Duration {
    fn text(&self) -> Option<String> {
        Some(duration::format(*self))
    }
}

impl Text for Url {
    fn text(&self) -> Option<String> {
        Some(shown::address(self))
    }
}

impl Text for Step {
    fn text(&self) -> Option<String> {
        Some(match self {
            Self::Count(count) => count.to_string(),
            Self::Percent(percent) => format!("{percent}%"),
        })
    }
}

impl<T: Text> Text for Option<T> {
    fn text(&self) -> Option<String> {
        self.as_ref()?.text()
    }
}

impl Text for Option<SecretString> {
    fn text(&self) -> Option<String> {
        Some(if self.is_some() { "set" } else { "not set" }.to_owned())
    }
}

impl Text for MetricsAddress {
    fn text(&self) -> Option<String> {
        Some(self.socket.to_string())
    }
}

macro_rules! text_of_choices {
    ($($choice:ty),*) => {$(
        impl Text for $choice {
            fn text(&self) -> Option<String> {
                let mut choices = Self::CHOICES.into_iter();
                choices.find_map(|(name, choice)| (choice == *self).then(|| name.to_owned()))
            }
        }
    )*};
}

text_of_choices!(InitialState, StopAction, LogFormat);

macro_rules! text_as_displayed {
    ($($displayed:ty),*) => {$(
        impl Text for $displayed {
            fn text(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}

text_as_displayed!(bool, u32, usize);

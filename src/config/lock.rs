//! `FAS_LOCK_URL`, `FAS_LOCK_NAME` and `FAS_SHARDS`: the lock by which one of several copies writes, or each its part.

use percent_encoding::percent_decode_str;
use url::Url;

use super::{
    ConfigError, FleetConfig, LockConfig, OwnMachine,
    error::Place,
    problems::Problems,
    settings::{Settings, Value},
    values,
};

/// What says that there is to be no lock.
const NONE: &str = "none";

/// How an address of Consul is written.
const EXAMPLE: &str = "https://:TOKEN@consul.example.com/prefix/";

/// Where locks are kept elsewhere. Only these schemes are repeated in a message: what else stands there may be a secret.
const OTHERS: [&str; 9] = [
    "consul",
    "etcd",
    "ftp",
    "postgres",
    "postgresql",
    "redis",
    "rediss",
    "s3",
    "zk",
];

/// What is meant for [`NONE`], in whatever case.
const NO_WORDS: [&str; 9] = [
    NONE, "0", "disabled", "false", "never", "nil", "no", "null", "off",
];

/// The longest name of a lock, in bytes.
const LONGEST_NAME: usize = 100;

/// What a name of a lock is made of.
const NAME: &str = "letters, digits, -, _ and ., at most 100, and not dots alone";

/// The lock, if there is to be one.
pub(super) fn lock(
    problems: &mut Problems,
    settings: &Settings,
    own: &OwnMachine,
) -> Option<LockConfig> {
    let url = settings.lock_url.as_ref();
    // Only where somebody has attached Consul to this very app.
    let url = url.or(settings.fly_consul_url.as_ref());
    let name = settings.lock_name.as_ref();
    let name = name.map(|value| self::name(problems, value));
    let shards = values::shards(problems, settings.shards.as_ref());
    let is_off = url.is_some_and(|value| value.text() == NONE);
    if is_off && settings.fly_consul_url.is_some() {
        problems.warnings.push(
            "there is no lock, although Consul is attached (FLY_CONSUL_URL): FAS_LOCK_URL is none, so run one copy only"
                .to_owned(),
        );
    }
    if let Some(value) = settings.lock_name.as_ref().filter(|_| url.is_none()) {
        let label = value.label();
        problems.warnings.push(format!(
            "{label} does nothing, for there is no lock: neither FAS_LOCK_URL nor FLY_CONSUL_URL is set"
        ));
    }
    let value = url.filter(|value| value.text() != NONE)?;
    let scheme = value.text().split_once("://").map(|(scheme, _)| scheme);
    if let Some(other) = OTHERS.iter().find(|other| scheme == Some(**other)) {
        let message = format!(
            "{} begins with {other}://, which is not Consul's",
            value.label()
        );
        refuse(problems, value, message, "http:// or https://");
        return None;
    }
    if NO_WORDS
        .iter()
        .any(|word| value.text().eq_ignore_ascii_case(word))
    {
        let message = format!("{} is not a URL", value.label());
        let expected = "an address that begins with http:// or https://, or none in small letters where there is to be no lock";
        refuse(problems, value, message, expected);
        return None;
    }
    let url = values::http_url(problems, value, EXAMPLE)?;
    if url.query().is_some() || url.fragment().is_some() {
        let message = format!("{} has more than an address and a prefix", value.label());
        refuse(problems, value, message, "nothing after the prefix");
        return None;
    }
    if !url.username().is_empty() {
        let message = format!("{} has a user", value.label());
        refuse(problems, value, message, "a colon before the token");
        return None;
    }
    let decoded = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8().ok()?;
        let is_plain = decoded.chars().all(|one| !one.is_control());
        is_plain.then(|| decoded.into_owned())
    };
    let prefix = decoded(url.path().trim_start_matches('/'));
    let token = decoded(url.password().unwrap_or_default());
    let (Some(prefix), Some(token)) = (prefix, token) else {
        let message = format!("{} cannot be decoded", value.label());
        let expected = "UTF-8 behind its % signs, and a % in the token written as %25";
        refuse(problems, value, message, expected);
        return None;
    };
    if !prefix.is_empty() && !prefix.ends_with('/') {
        let message = format!("the prefix in {} has no / at its end", value.label());
        let expected = "the address as fly consul attach has set it: the token is for what begins with the prefix and the /";
        refuse(problems, value, message, expected);
        return None;
    }
    let name = name.unwrap_or_else(|| process_group(problems, own));
    Some(LockConfig {
        address: bare(url),
        token: (!token.is_empty()).then(|| token.into()),
        prefix,
        name,
        shards,
        setting: value.label().to_owned(),
    })
}

/// Refuses shards where there is nothing to divide, or nobody to divide it among. Whoever asks about one app means that one
/// alone.
pub(super) fn check_shards(
    problems: &mut Problems,
    settings: &Settings,
    fleets: &[FleetConfig],
    has_lock: bool,
) {
    let Some(value) = settings.shards.as_ref() else {
        return;
    };
    let is_divided = |shards: i64| (2..=values::MAX_SHARDS).contains(&shards);
    let is_divided = value.text().parse().is_ok_and(is_divided);
    if !is_divided {
        return;
    }
    if !has_lock {
        let message = format!(
            "{} needs a lock, and there is none: without one each copy would scale all apps",
            value.label()
        );
        let is_off = |url: &Value| url.text() == NONE;
        if settings.lock_url.as_ref().is_some_and(is_off) {
            // The way back to one copy while Consul is away: it must not need a second change.
            problems.warnings.push(format!(
                "{} does nothing, for FAS_LOCK_URL is none: this copy scales all apps",
                value.label()
            ));
            return;
        }
        let expected = "FAS_LOCK_URL, or FLY_CONSUL_URL as fly consul attach sets it; or one copy and no shards";
        problems.refuse(value.wrong(message).expected(expected).example("1"));
        return;
    }
    let mut patterns = fleets.iter().map(|fleet| &fleet.apps.pattern);
    let first = patterns.next();
    let is_one_app = first.is_some_and(|first| {
        !first.is_wildcard() && patterns.all(|pattern| pattern.as_str() == first.as_str())
    });
    if let Some(app) = first.filter(|_| is_one_app) {
        let message = format!(
            "{} divides apps, and {} is only one: its machines are one copy's affair",
            value.label(),
            app.as_str()
        );
        let expected = "an app name with a *, several policies, or no shards";
        problems.refuse(value.wrong(message).expected(expected).example("1"));
    }
}

/// The address alone.
fn bare(mut url: Url) -> Url {
    // Neither fails where there is a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_path("");
    url
}

fn refuse(problems: &mut Problems, value: &Value, message: String, expected: &str) {
    let error = ConfigError::new(value.place(), message);
    problems.refuse(error.expected(expected).example(EXAMPLE));
}

/// The name that was chosen: a piece of a key.
fn name(problems: &mut Problems, value: &Value) -> String {
    if !is_name(value.text()) {
        let message = format!("{} is not the name of a lock", value.label());
        problems.refuse(value.wrong(message).expected(NAME).example("app"));
    }
    value.text().to_owned()
}

/// The name where none was chosen.
fn process_group(problems: &mut Problems, own: &OwnMachine) -> String {
    let group = &own.process_group;
    if !is_name(group) {
        let message = format!("the process group {group} is not the name of a lock");
        let place = Place::Variable("FAS_LOCK_NAME".to_owned());
        problems.refuse(
            ConfigError::new(&place, message)
                .expected(NAME)
                .example("app"),
        );
    }
    group.clone()
}

fn is_name(text: &str) -> bool {
    let is_part = |one: char| one.is_ascii_alphanumeric() || "-_.".contains(one);
    // Dots alone mean another place in a path.
    text.len() <= LONGEST_NAME && text.chars().all(is_part) && text.chars().any(|one| one != '.')
}

//! The secrets among the settings: which there are, and where they must not get to.
//!
//! What is found here is hidden in every message about the configuration, and later in everything else that leaves the
//! process. A token in a setting that holds none, and a secret in a query, which would be sent to a metrics server, are
//! mistakes.

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    ConfigError,
    collectors::TEXT_LIMIT,
    env::Environment,
    expansion::{Segment, is_of_fleet, segments},
    file,
    problems::Problems,
    settings::{Holds, Settings, VARIABLES, Value, WrittenCollector, held_by, variable},
    traces,
};
use crate::shown::has_token_shape;

/// Other programs' variables with an address, which this one's HTTP client reads.
const PROXIES: &[&str] = &[
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Fewer characters are part of too many words to be hidden in all of them.
const SHORT: usize = 4;

/// What stands for an app or a region that is filled in later; no address has it.
const OPEN: char = '\u{e000}';

/// Adds the environment's secrets.
pub(super) fn know_environment(problems: &mut Problems, environment: &Environment) {
    let of_settings = VARIABLES
        .iter()
        .map(|variable| (variable.name, variable.holds));
    let of_proxies = PROXIES.iter().map(|name| (*name, Holds::Address));
    for (name, holds) in of_settings.chain(of_proxies) {
        if let Some(written) = environment.get(name) {
            know(problems, holds, written, environment);
        }
    }
}

/// Adds the settings' secrets, and what was pasted into the wrong ones.
pub(super) fn know_settings(
    problems: &mut Problems,
    settings: &Settings,
    environment: &Environment,
) {
    for (holds, value) in written(settings, WrittenCollector::keyed) {
        problems.secrets.add_tokens_in(value.text());
        know(problems, holds, value.raw(), environment);
        if holds == Holds::Token {
            warn_of_short(problems, value, value.text());
        }
    }
}

/// Everything that is set, with what it holds; of the file's collectors the values that `of_collector` gives.
fn written<'set, Keyed: Iterator<Item = (&'static str, &'set Value)>>(
    settings: &'set Settings,
    of_collector: impl Fn(&'set WrittenCollector) -> Keyed,
) -> impl Iterator<Item = (Holds, &'set Value)> {
    let of_rows = settings
        .all_rows()
        .map(|(variable, value)| (variable.holds, value));
    let of_collectors = settings
        .collectors()
        .flat_map(of_collector)
        .map(|(key, value)| (held_by(key), value));
    let further = settings.further_queries.iter();
    let further = further.map(|value| (Holds::Plain, value));
    of_rows.chain(of_collectors).chain(further)
}

fn know(problems: &mut Problems, holds: Holds, written: &str, environment: &Environment) {
    match holds {
        Holds::Plain => {}
        Holds::Token if is_no_secret(written) => {}
        Holds::Token => problems.secrets.add_token(written),
        Holds::Pem => problems.secrets.add_pem(written),
        Holds::Address => problems.secrets.add_address(written.trim()),
        Holds::Url => {
            // What `$REGION` means in it, its policy says.
            for per_region in [false, true] {
                know_url(problems, written.trim(), environment, per_region);
            }
        }
    }
}

/// Adds the secrets of an address: as it is written, and what of them is the same for all apps and regions that are filled
/// in. One secret for each app would be as many as there are apps, and each is looked for in everything that is shown.
fn know_url(problems: &mut Problems, written: &str, environment: &Environment, per_region: bool) {
    let mut expanded = String::new();
    let mut open = String::new();
    for segment in segments(written) {
        let (piece, is_open) = match segment {
            Segment::Text(kept) => (kept, false),
            Segment::Variable { name, written } if is_of_fleet(name, per_region) => (written, true),
            Segment::Variable { name, written } => {
                (environment.get(name).unwrap_or(written), false)
            }
        };
        // One that is longer is refused.
        if expanded.len() + piece.len() > TEXT_LIMIT {
            return;
        }
        expanded.push_str(piece);
        if is_open {
            open.push(OPEN);
        } else {
            open.push_str(piece);
        }
    }
    problems.secrets.add_address(&expanded);
    problems.secrets.add_open_address(&open, OPEN);
}

/// Warns of a token or a password (of `user:password`) that is too short to be hidden wherever it stands.
pub(super) fn warn_of_short(problems: &mut Problems, value: &Value, secret: &str) {
    if secret.chars().nth(SHORT - 1).is_none() && !secret.is_empty() {
        problems.warnings.push(format!(
            "the secret in {} has fewer than {SHORT} characters: in logs it is hidden only as a separate word",
            value.label()
        ));
    }
}

/// What is wrong with a token that is none: a scheme alone, or a variable's name that no shell replaced. A part of a real
/// token can look like the latter, so that only a whole part of a list counts.
pub(super) fn unfilled(label: &str, token: &str) -> Option<String> {
    let is_name = |part: &str| {
        let mut pieces = segments(part);
        let is_variable = matches!(pieces.next(), Some(Segment::Variable { .. }));
        (is_variable && pieces.next().is_none()) || part.starts_with("$(")
    };
    if token.split_whitespace().all(is_scheme) {
        Some(format!(
            "{label} is only \"{token}\": the token itself is missing; was the variable after it empty?"
        ))
    } else if token.split([' ', ',']).any(is_name) {
        Some(format!(
            "{label} contains a variable or a command, as in $NAME or $(…), and no shell has replaced it"
        ))
    } else {
        None
    }
}

/// Whether a word says what kind of token follows it.
fn is_scheme(word: &str) -> bool {
    let schemes = ["Bearer", "FlyV1"];
    schemes.iter().any(|one| word.eq_ignore_ascii_case(one))
}

/// Whether nothing of a token is secret: it is a scheme alone, or a command that no shell replaced. Hiding its words would
/// only make messages unreadable.
fn is_no_secret(written: &str) -> bool {
    let written = written.trim();
    let is_command = written.starts_with("$(") && written.ends_with(')');
    written.split_whitespace().all(is_scheme) || (is_command && !has_token_shape(written))
}

/// As [`warn_of_short`], for `user:password`, of which the user is the secret where there is no password.
pub(super) fn warn_of_short_basic(problems: &mut Problems, value: &Value, basic: &SecretString) {
    let (user, password) = basic.expose_secret().split_once(':').unwrap_or_default();
    warn_of_short(
        problems,
        value,
        if password.is_empty() { user } else { password },
    );
}

/// Refuses a token where none belongs: it would be shown or sent as what it is not. Mistakes of the same setting that
/// are found later are not told; they come from that.
pub(super) fn refuse_misplaced_tokens(problems: &mut Problems, settings: &Settings) {
    let misplaced: Vec<&Value> = written(settings, WrittenCollector::values)
        .filter(|(holds, _)| *holds == Holds::Plain)
        .map(|(_, value)| value)
        .filter(|value| has_token_shape(value.text()))
        .filter(|value| {
            let mut known = problems.errors.iter();
            !known.any(|error| error.place == *value.place())
        })
        .collect();
    for value in misplaced {
        let message = format!("{} holds what looks like a Fly token", value.label());
        problems.misplaced.push(
            ConfigError::new(value.place(), message)
                .expected("tokens only in FAS_API_TOKEN and FAS_PROMETHEUS_TOKEN"),
        );
    }
}

/// Whether a variable holds a secret: as a whole, or a part of its value.
pub(super) fn is_secret(problems: &Problems, name: &str, environment: &Environment) -> bool {
    let value = environment.get(name).unwrap_or_default().trim();
    let is_setting =
        variable(name).is_some_and(|variable| matches!(variable.holds, Holds::Token | Holds::Pem));
    (is_setting && !value.is_empty()) || has_token_shape(value) || problems.secrets.are_in(value)
}

/// Refuses to send a secret to a metrics server.
pub(super) fn refuse_secret_in_query(
    problems: &mut Problems,
    what: &str,
    value: &Value,
    name: &str,
) {
    let message = format!(
        "{what} of {} expands ${name}, which holds a secret",
        value.label()
    );
    problems.refuse(
        ConfigError::new(value.place(), message)
            .expected("variables without secrets: what they hold is sent to the metrics server"),
    );
}

/// Refuses what of the file is sent to a metrics server and has a secret in it that came out of a variable.
pub(super) fn refuse_secrets_expanded_in_file(
    problems: &mut Problems,
    file: &file::Written,
    environment: &Environment,
    settings: &Settings,
) {
    let secret = traces::variables(file);
    let secret: Vec<&str> = secret
        .into_iter()
        .filter(|name| is_secret(problems, name, environment))
        .collect();
    let traced = traces::read(file, environment, &secret);
    let written = all_sent(settings);
    let traced = traced.as_ref().map(all_sent);
    let traced = traced.filter(|traced| traced.len() == written.len());
    for (index, values) in written.into_iter().enumerate() {
        let traced = traced.as_ref().map(|traced| &traced[index]);
        for (key, value) in values {
            let mut of_key = traced.into_iter().flatten();
            let traced = of_key.find(|(other, _)| *other == key);
            for (number, name) in secret.iter().enumerate() {
                let is_expanded = match traced {
                    Some((_, traced)) => traces::shows(traced, number),
                    // The mark changed the file's shape; the value itself tells.
                    None => environment
                        .get(name)
                        .is_some_and(|secret| value.text().contains(secret.trim())),
                };
                if is_expanded {
                    refuse_secret_in_query(problems, &format!("the {key}"), value, name);
                }
            }
        }
    }
}

/// What of each collector of the file, and of each query about busy machines, is sent to a server or named in logs and
/// metrics.
fn all_sent(settings: &Settings) -> Vec<Vec<(&'static str, &Value)>> {
    let collectors = settings.collectors().map(|one| sent(one).collect());
    let busy = settings.busy_queries().map(|query| vec![("query", query)]);
    collectors.chain(busy).collect()
}

/// What of a collector is sent to its server, or named in logs and metrics.
fn sent(collector: &WrittenCollector) -> impl Iterator<Item = (&'static str, &Value)> {
    collector.values().filter(|(key, _)| {
        matches!(
            *key,
            "query" | "namespace" | "metric-name" | "value" | "command"
        )
    })
}

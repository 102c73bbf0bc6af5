//! Addresses: how they are shown, and which of their parts are secrets.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use percent_encoding::percent_decode_str;
use url::{Url, form_urlencoded};

/// Parameters that name things and no secrets, whatever their values: `PromQL` servers' own, and those of databases.
const HARMLESS: &[&str] = &[
    "app",
    "application_name",
    "channel_binding",
    "cluster",
    "database",
    "db",
    "debug",
    "dedup",
    "engine",
    "env",
    "extra_filters",
    "extra_filters[]",
    "extra_label",
    "format",
    "instance",
    "job",
    "limit",
    "lookback_delta",
    "max_source_resolution",
    "namespace",
    "nocache",
    "org",
    "org_id",
    "options",
    "org_slug",
    "partial_response",
    "project",
    "protocol",
    "region",
    "replicaLabels[]",
    "schema",
    "sslmode",
    "stats",
    "step",
    "storeMatch[]",
    "target_session_attrs",
    "tenant",
    "timeout",
    "trace",
];

/// What the name of a parameter that carries a secret has in it.
const TELLING: &[&str] = &[
    "auth", "cred", "key", "pass", "pwd", "secret", "sig", "token",
];

/// So many characters beside what is filled in are a secret.
const REST: usize = 4;

/// As [`REST`], where nothing says that it is one: `?queue=$APP_NAME-jobs` is none, and hiding that word would hide it in names.
const UNTOLD_REST: usize = 8;

/// An address as it may be shown: without user information and fragment, and with its query string as `?…`.
#[must_use]
pub fn address(url: &Url) -> String {
    let mut url = without_user(url.clone());
    url.set_fragment(None);
    let has_query = url.query().is_some();
    url.set_query(None);
    let bare = url.as_str().trim_end_matches('/');
    if has_query {
        format!("{bare}?\u{2026}")
    } else {
        bare.to_owned()
    }
}

/// An address without its user information.
#[must_use]
pub fn without_user(mut url: Url) -> Url {
    // Both fail only where there is no host, and then there is no user information either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// An address that may be none, as far as it may be shown: nothing before an `@`, nothing after a `?`.
#[must_use]
pub fn written_address(address: &str) -> String {
    let (scheme, rest) = match address.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, address),
    };
    let rest = match rest.rsplit_once('@') {
        Some((_, host)) => format!("\u{2026}@{host}"),
        None => rest.to_owned(),
    };
    let rest = match rest.split_once('?') {
        Some((path, _)) => format!("{path}?\u{2026}"),
        None => rest,
    };
    match scheme {
        // Another one may be the beginning of a password.
        Some(scheme @ ("http" | "https")) => format!("{scheme}://{rest}"),
        Some(scheme) if !address.contains('@') => format!("{scheme}://{rest}"),
        _ => rest,
    }
}

/// The secret parts of an address that may be none, as they are written and as they are sent: the password, or the user
/// where there is no password; both in Base64; and the values of its query string that name nothing harmless.
pub(super) fn secret_parts(address: &str) -> Vec<String> {
    let parts = parts(address).into_iter();
    parts.map(|part| part.text).collect()
}

/// What is constant in the secret parts of an address in which `open` stands for what is filled in later, as far as it is
/// long enough to be a secret: as it is written and sent, and what of it is always the same in Base64.
pub(super) fn secret_rests(address: &str, open: char) -> Vec<String> {
    let parts = parts(address);
    let parts = parts.iter().filter(|part| part.text.contains(open));
    let rests = parts.flat_map(|part| {
        let rests = part.text.split(open).map(str::trim);
        rests.filter(|rest| rest.chars().count() >= part.least)
    });
    rests
        .flat_map(|rest| std::iter::once(rest.to_owned()).chain(in_base64(rest.as_bytes())))
        .collect()
}

/// What a text is in the Base64 of a longer one, wherever it stands there: without the characters that its neighbours have a
/// part in.
fn in_base64(text: &[u8]) -> impl Iterator<Item = String> {
    let whole = (0..3).filter_map(|skipped| {
        let groups = text.get(skipped..)?;
        groups.get(..groups.len() / 3 * 3)
    });
    whole
        .filter(|groups| !groups.is_empty())
        .map(|groups| BASE64_STANDARD.encode(groups))
}

/// A secret part of an address.
struct Part {
    text: String,
    /// How many characters of it are a secret by themselves.
    least: usize,
}

fn parts(address: &str) -> Vec<Part> {
    let address = address.trim();
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let is_database = matches!(scheme, "postgres" | "postgresql");
    let mut parts = Vec::new();
    let mut add = |text: String, least| parts.push(Part { text, least });
    if let Some((user_information, _)) = rest.rsplit_once('@') {
        match user_information.split_once(':') {
            Some((user, password)) if !password.is_empty() => {
                let plain = format!("{}:{}", percent_decoded(user), percent_decoded(password));
                add(BASE64_STANDARD.encode(plain), usize::MAX);
                add(password.to_owned(), REST);
                add(percent_decoded(password), REST);
            }
            // Databases know users without passwords, and these are words such as `postgres`.
            _ if is_database => {}
            _ => {
                let user = user_information.trim_end_matches(':');
                // Otherwise the @ is a part of the path.
                if !user.is_empty() && !user.contains(['/', '?', '#']) {
                    let plain = format!("{}:", percent_decoded(user));
                    add(BASE64_STANDARD.encode(plain), usize::MAX);
                    add(user.to_owned(), REST);
                    add(percent_decoded(user), REST);
                }
            }
        }
    }
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        if is_secret(name, value) {
            let least = if is_telling(name) { REST } else { UNTOLD_REST };
            add(value.to_owned(), least);
            if let Some((name, value)) = form_urlencoded::parse(pair.as_bytes()).next() {
                let decoded = if value.is_empty() { name } else { value };
                add(decoded.into_owned(), least);
            }
        }
    }
    parts
}

fn is_telling(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    TELLING.iter().any(|part| name.contains(part))
}

fn is_secret(name: &str, value: &str) -> bool {
    if is_telling(name) {
        return true;
    }
    let is_plain = matches!(value, "true" | "false")
        || value
            .trim_end_matches(|letter: char| letter.is_ascii_alphabetic())
            .parse::<f64>()
            .is_ok();
    let is_harmless = HARMLESS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name));
    value.chars().count() >= 4 && !is_plain && !is_harmless
}

/// Undoes `%41`; what is no UTF-8 then is replaced.
fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn no_user_no_query_string_and_no_fragment_is_shown() {
        let cases = [
            (
                "https://me:secret@h/x/?token=secret#secret",
                "https://h/x?\u{2026}",
            ),
            ("http://h:1", "http://h:1"),
        ];
        for (text, expected) in cases {
            assert_eq!(address(&Url::parse(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_constant_in_a_secret_is_one() {
        let cases: [(&str, &[&str]); 9] = [
            ("http://me:secret@h/~", &[]),
            ("http://me:~@h?token=~", &[]),
            ("http://me:~-1@h", &[]),
            (
                "redis://me:~-k3ysecr@h",
                &["-k3ysecr", "LWszeXNl", "azN5c2Vj", "M3lzZWNy"],
            ),
            ("redis://me:a%2Fb~@h", &["a%2Fb", "YSUy", "JTJG", "MkZi"]),
            ("http://tok3n~@h", &["tok3n", "dG9r", "b2sz", "azNu"]),
            ("http://h?sig=~.k3y", &[".k3y", "Lmsz", "azN5"]),
            ("http://h?queue=~-jobs&namespace=~-production", &[]),
            ("postgres://me~work@h/d", &[]),
        ];
        for (text, expected) in cases {
            let mut rests = secret_rests(text, '~');
            let mut seen = std::collections::HashSet::new();
            rests.retain(|rest| seen.insert(rest.clone()));
            assert_eq!(rests, expected, "{text}");
        }
        assert!(secret_rests("http://h?x=~-12345678", '~').contains(&"-12345678".to_owned()));
    }

    #[test]
    fn the_constant_part_is_found_in_the_base64_of_the_whole() {
        let rests = secret_rests("http://svc:~-k3ysecr@h", '~');
        for app in ["a", "ab", "abc", "abcd"] {
            let whole = BASE64_STANDARD.encode(format!("svc:{app}-k3ysecr"));
            assert!(rests.iter().any(|rest| whole.contains(rest)), "{whole}");
        }
    }

    #[test]
    fn the_secret_parts_are_found_also_where_it_is_no_address() {
        let cases: [(&str, &[&str]); 13] = [
            ("http://h:9090/x", &[]),
            ("https://me:p%40s@h", &["bWU6cEBz", "p%40s", "p@s"]),
            ("me:secret@h/x?a=b", &["bWU6c2VjcmV0", "secret"]),
            ("http://t0ken@h", &["dDBrZW46", "t0ken"]),
            ("http://t0ken:@h", &["dDBrZW46", "t0ken"]),
            ("http://me:1/secret@h", &["bWU6MS9zZWNyZXQ=", "1/secret"]),
            ("http://h/x@y", &[]),
            (
                "http://h?api_key=k3&x=a%2Bb+c&dedup=true&step=15s&n=12345",
                &["k3", "a%2Bb+c", "a+b c"],
            ),
            ("http://h?namespace=production&tenant=acme", &[]),
            ("http://h?bare-value#x", &["bare-value"]),
            ("postgres://postgres@h/d?sslmode=verify-full", &[]),
            ("postgres://me:s3cret@h/d", &["bWU6czNjcmV0", "s3cret"]),
            ("redis://:s3cret@h", &["OnMzY3JldA==", "s3cret"]),
        ];
        for (text, expected) in cases {
            let mut parts = secret_parts(text);
            parts.dedup();
            assert_eq!(parts, expected, "{text}");
        }
    }
}

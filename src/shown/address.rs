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
    let address = address.trim();
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let is_database = matches!(scheme, "postgres" | "postgresql");
    let mut parts = Vec::new();
    if let Some((user_information, _)) = rest.rsplit_once('@') {
        match user_information.split_once(':') {
            Some((user, password)) if !password.is_empty() => {
                let plain = format!("{}:{}", percent_decoded(user), percent_decoded(password));
                parts.push(BASE64_STANDARD.encode(plain));
                parts.push(password.to_owned());
                parts.push(percent_decoded(password));
            }
            // Databases know users without passwords, and these are words such as `postgres`.
            _ if is_database => {}
            _ => {
                let user = user_information.trim_end_matches(':');
                // Otherwise the @ is a part of the path.
                if !user.is_empty() && !user.contains(['/', '?', '#']) {
                    let plain = format!("{}:", percent_decoded(user));
                    parts.push(BASE64_STANDARD.encode(plain));
                    parts.push(user.to_owned());
                    parts.push(percent_decoded(user));
                }
            }
        }
    }
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        if is_secret(name, value) {
            parts.push(value.to_owned());
            let decoded = form_urlencoded::parse(pair.as_bytes()).next();
            parts.extend(
                decoded
                    .map(|(name, value)| if value.is_empty() { name } else { value }.into_owned()),
            );
        }
    }
    parts
}

fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if TELLING.iter().any(|part| name.contains(part)) {
        return true;
    }
    let is_plain = matches!(value, "true" | "false")
        || value
            .trim_end_matches(|letter: char| letter.is_ascii_alphabetic())
            .parse::<f64>()
            .is_ok();
    let is_harmless = HARMLESS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(&name));
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

//! Fly tokens: from what a user pastes to the `Authorization` header of each API.
//!
//! `fly tokens create` prints a list such as `FlyV1 fm2_…,fm2_…` whose parts belong together: a permission and its
//! discharges. A list cut at a comma is refused by Fly, so it is kept whole and in order.

use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};

/// A token's two `Authorization` headers.
#[derive(Debug, Clone)]
pub(super) struct Authorization {
    /// For the Machines API: macaroons alone where there are any.
    pub(super) machines: HeaderValue,
    /// For GraphQL: macaroons, then the others.
    pub(super) graphql: HeaderValue,
}

impl Authorization {
    /// Reads a token as Fly's own client does; `None` where it cannot stand in a header.
    pub(super) fn parse(token: &SecretString) -> Option<Self> {
        let mut rest = token.expose_secret().trim();
        while let Some((scheme, after)) = rest.split_once(' ') {
            if !scheme.eq_ignore_ascii_case("Bearer") && !scheme.eq_ignore_ascii_case("FlyV1") {
                break;
            }
            rest = after.trim();
        }
        let (macaroons, others): (Vec<&str>, Vec<&str>) = rest
            .split(',')
            .map(str::trim)
            .partition(|part| matches!(part.split_once('_'), Some(("fm1r" | "fm1a" | "fm2", _))));
        let (machines, graphql) = if macaroons.is_empty() {
            let bearer = format!("Bearer {}", others.join(","));
            (bearer.clone(), bearer)
        } else {
            let list = macaroons.join(",");
            let everything = macaroons
                .iter()
                .chain(&others)
                .copied()
                .collect::<Vec<_>>()
                .join(",");
            (format!("FlyV1 {list}"), format!("FlyV1 {everything}"))
        };
        Some(Self {
            machines: sensitive(&machines)?,
            graphql: sensitive(&graphql)?,
        })
    }
}

/// The parts of a token, to find them in what a server repeats.
pub(super) struct Secrets(Vec<SecretString>);

/// What stands for text that repeats a secret.
const NOT_SHOWN: &str = "(not shown: it repeats a secret)";

/// The shortest part of a token that is looked for; shorter ones stand in ordinary text too.
const SHORTEST_SECRET: usize = 6;

impl Secrets {
    /// Everything in `token` that must not be shown: each part of its list.
    pub(super) fn of(token: &SecretString) -> Self {
        let parts = token
            .expose_secret()
            .split(|letter: char| letter == ',' || letter.is_whitespace())
            .filter(|part| part.len() >= SHORTEST_SECRET)
            .map(SecretString::from)
            .collect();
        Self(parts)
    }

    /// `text`, or a note in its place when it repeats a part of the token.
    pub(super) fn hide(&self, text: String) -> String {
        let repeats = self
            .0
            .iter()
            .any(|secret| text.contains(secret.expose_secret()));
        if repeats { NOT_SHOWN.to_owned() } else { text }
    }
}

/// Marked sensitive, so that no `Debug` output ever shows it.
fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_becomes_the_header_that_flys_client_sends() {
        let cases = [
            (
                "FlyV1 fm2_AAA,fm2_BBB",
                "FlyV1 fm2_AAA,fm2_BBB",
                "FlyV1 fm2_AAA,fm2_BBB",
            ),
            ("fm2_AAA", "FlyV1 fm2_AAA", "FlyV1 fm2_AAA"),
            (
                "  fm2_AAA , fm2_BBB\n",
                "FlyV1 fm2_AAA,fm2_BBB",
                "FlyV1 fm2_AAA,fm2_BBB",
            ),
            (
                "fm1r_AAA,fm1a_BBB,fo1_CCC",
                "FlyV1 fm1r_AAA,fm1a_BBB",
                "FlyV1 fm1r_AAA,fm1a_BBB,fo1_CCC",
            ),
            ("fo1_CCC", "Bearer fo1_CCC", "Bearer fo1_CCC"),
            ("Bearer abc", "Bearer abc", "Bearer abc"),
            ("Bearer FlyV1 fm2_x", "FlyV1 fm2_x", "FlyV1 fm2_x"),
            ("bearer flyv1 fm2_x", "FlyV1 fm2_x", "FlyV1 fm2_x"),
            ("fm3_unknown", "Bearer fm3_unknown", "Bearer fm3_unknown"),
        ];
        for (token, machines, graphql) in cases {
            let authorization =
                Authorization::parse(&SecretString::from(token)).expect("a valid header");
            assert_eq!(authorization.machines, machines, "{token}");
            assert_eq!(authorization.graphql, graphql, "{token}");
        }
    }

    #[test]
    fn text_that_repeats_any_part_of_a_token_is_not_shown() {
        let secrets = Secrets::of(&SecretString::from("FlyV1 fm2_permission,fm2_discharge"));
        let cases = [
            ("bad auth FlyV1 fm2_permission,fm2_discharge", NOT_SHOWN),
            ("macaroon fm2_discharge has expired", NOT_SHOWN),
            ("FlyV1 is fine", "FlyV1 is fine"),
            ("app not found", "app not found"),
        ];
        for (text, shown) in cases {
            assert_eq!(secrets.hide(text.to_owned()), shown, "{text}");
        }
    }

    #[test]
    fn a_token_that_cannot_stand_in_a_header_is_refused_and_none_is_ever_printed() {
        assert!(Authorization::parse(&SecretString::from("fm2_a\nb")).is_none());
        let authorization =
            Authorization::parse(&SecretString::from("fm2_secret")).expect("a valid header");
        assert!(!format!("{authorization:?}").contains("secret"));
    }
}

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
    fn a_token_that_cannot_stand_in_a_header_is_refused_and_none_is_ever_printed() {
        assert!(Authorization::parse(&SecretString::from("fm2_a\nb")).is_none());
        let authorization =
            Authorization::parse(&SecretString::from("fm2_secret")).expect("a valid header");
        assert!(!format!("{authorization:?}").contains("secret"));
    }
}

//! Which redirects may be followed: a request carries a token, and a token must not travel.
//!
//! The same host and port, or from `http://` to `https://` of the same host, where the certificate says that it is the
//! same host; nothing else, and never back to plain text. Pure; who follows is for the clients to say: a collector
//! does, while a write to Fly is never repeated elsewhere.

use http::{HeaderMap, StatusCode, header::LOCATION};
use url::Url;

/// The most redirects that are followed for one request.
pub const REDIRECT_LIMIT: usize = 5;

/// What a redirect asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirect {
    /// The same request, made there.
    Follow(Url),
    /// What must not be followed: it points somewhere else.
    Elsewhere(Url),
}

/// The redirect in an answer to a request to `from`; `None` where it is none, or does not say to where.
///
/// The address that it points to has neither user information nor a fragment: it is asked as `from` was.
#[must_use]
pub fn redirect(from: &Url, status: StatusCode, headers: &HeaderMap) -> Option<Redirect> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = headers.get(LOCATION)?.to_str().ok()?.trim();
    let mut to = from.join(location).ok().filter(|_| !location.is_empty())?;
    to.set_fragment(None);
    // Both fail only where there is no host, and such an address is elsewhere.
    let _ = to.set_username("");
    let _ = to.set_password(None);
    let is_same_host = to.host().is_some() && to.host() == from.host();
    let is_same_place =
        to.scheme() == from.scheme() && to.port_or_known_default() == from.port_or_known_default();
    let is_upgrade = from.scheme() == "http" && to.scheme() == "https";
    Some(if is_same_host && (is_same_place || is_upgrade) {
        Redirect::Follow(to)
    } else {
        Redirect::Elsewhere(to)
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn of(from: &str, status: u16, location: &str) -> Option<Redirect> {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, location.parse().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        redirect(&Url::parse(from).unwrap(), status, &headers)
    }

    #[test]
    fn a_token_stays_with_its_host() {
        let plain = "http://p.test/api/v1/query?team=a";
        let with_port = "http://p.test:9090/api/v1/query";
        let tls = "https://p.test/api/v1/query";
        let followed = [
            (plain, "https://p.test/api/v1/query?team=a"),
            (plain, "https://P.test:443/x"),
            (plain, "http://p.test:80/prometheus/api/v1/query"),
            (plain, "https://p.test:8443/"),
            (with_port, "https://p.test/"),
            (with_port, "https://p.test:9090/"),
            (with_port, "http://p.test:9090/"),
            (tls, "https://p.test:443/"),
            ("http://[fdaa::3]:9090/", "https://[fdaa:0::3]/"),
        ];
        for (from, to) in followed {
            let expected = Redirect::Follow(Url::parse(to).unwrap());
            assert_eq!(of(from, 308, to), Some(expected), "{from} to {to}");
        }
        let elsewhere = [
            (plain, "http://q.test/"),
            (plain, "https://q.test/"),
            (plain, "https://p.test.evil.test/"),
            (plain, "http://p.test:8080/"),
            (plain, "//q.test/"),
            (plain, "ftp://p.test/"),
            (plain, "data:text/plain,p.test"),
            (tls, "http://p.test/"),
            (tls, "http://p.test:443/"),
            (tls, "https://p.test:8443/"),
            (with_port, "http://p.test/"),
        ];
        for (from, to) in elsewhere {
            let found = of(from, 307, to);
            assert!(
                matches!(found, Some(Redirect::Elsewhere(_))),
                "{from} to {to}"
            );
        }
    }

    #[test]
    fn a_location_can_be_relative_and_brings_no_user_along() {
        let cases = [
            (
                "/prometheus/api/v1/query",
                "http://p.test/prometheus/api/v1/query",
            ),
            ("query?x=1#y", "http://p.test/api/v1/query?x=1"),
            ("//p.test/x", "http://p.test/x"),
            ("https://me:other@p.test/", "https://p.test/"),
        ];
        for (location, expected) in cases {
            let expected = Redirect::Follow(Url::parse(expected).unwrap());
            let found = of("http://p.test/api/v1/query", 302, location);
            assert_eq!(found, Some(expected), "{location}");
        }
    }

    #[test]
    fn what_is_no_redirect_is_none() {
        for status in [200, 201, 300, 304, 305, 404] {
            assert_eq!(of("http://p.test/", status, "http://p.test/x"), None);
        }
        for location in ["", " ", "https://", "http://p.test:99999/"] {
            assert_eq!(of("http://p.test/", 301, location), None, "{location:?}");
        }
        let found = redirect(
            &Url::parse("http://p.test/").unwrap(),
            StatusCode::FOUND,
            &HeaderMap::new(),
        );
        assert_eq!(found, None);
    }
}

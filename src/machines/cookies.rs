//! The cookies that lead an app's calls to the same server, so that one reads what another wrote.
//!
//! Fly sends one. What is kept is bounded, and goes back to the host that sent it alone; paths do not matter, since every
//! app has cookies of its own.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use http::{HeaderMap, header};
use url::Url;

/// The longest cookie that is kept, attributes included, in bytes.
const LONGEST: usize = 1024;

/// The most cookies that are kept; Fly sends one.
const MOST: usize = 8;

/// Cookies by the host that sent them and their name.
#[derive(Default)]
pub(super) struct Cookies(Mutex<BTreeMap<(String, String), String>>);

impl Cookies {
    /// What a request to `url` says of them.
    pub(super) fn header(&self, url: &Url) -> Option<String> {
        let cookies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs: Vec<String> = cookies
            .iter()
            .filter(|((host, _), _)| url.host_str() == Some(host))
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// Keeps those of an answer of `url`. One that cannot be used is no reason to fail a call.
    pub(super) fn keep(&self, url: &Url, headers: &HeaderMap) {
        let Some(host) = url.host_str() else { return };
        for cookie in headers.get_all(header::SET_COOKIE) {
            let text = cookie.to_str().ok().filter(|text| text.len() <= LONGEST);
            let mut parts = text.unwrap_or_default().split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let name = name.trim_end();
            let is = |attribute: &str, name: &str| attribute.eq_ignore_ascii_case(name);
            let is_refused = parts.clone().any(|attribute| {
                is(attribute, "Secure") && url.scheme() != "https"
                    || matches!(attribute.split_once('='), Some((name, domain))
                        if is(name, "Domain") && !covers(domain.trim_start_matches('.'), host))
            });
            let is_over = parts.any(|attribute| {
                matches!(attribute.split_once('='), Some((name, age))
                    if is(name, "Max-Age") && (age == "0" || age.starts_with('-')))
            });
            let mut cookies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (host.to_owned(), name.to_owned());
            if is_over {
                cookies.remove(&key);
            } else if !is_refused && !name.is_empty() {
                // They only choose a server: without any, the next answer brings new ones.
                if cookies.len() >= MOST {
                    cookies.clear();
                }
                cookies.insert(key, value.trim_start().to_owned());
            }
        }
    }
}

/// Whether a cookie's `domain` is the host or stands above it. It goes back to that host alone all the same.
fn covers(domain: &str, host: &str) -> bool {
    let above = host.len().checked_sub(domain.len());
    above.is_some_and(|above| {
        host.get(above..)
            .is_some_and(|end| end.eq_ignore_ascii_case(domain))
            && (above == 0 || host[..above].ends_with('.'))
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_goes_back_to_the_host_that_sent_it() {
        let url = |text: &str| Url::parse(text).unwrap();
        let cases: &[(&[&str], Option<&str>)] = &[
            (
                &["a=1; Path=/v1/apps/web; HttpOnly; SameSite=Lax"],
                Some("a=1"),
            ),
            (&["a=1", "b=x=y"], Some("a=1; b=x=y")),
            (&["a=1", "a=2"], Some("a=2")),
            (&["a=1", "a=1; Max-Age=0"], None),
            (&["a=1; max-age=60"], Some("a=1")),
            (&["a=1; Secure"], None),
            (&["a=1; Domain=com"], None),
            (&["a=1; Domain=chines.internal"], None),
            (&["a=1; Domain=Machines.internal"], Some("a=1")),
            (&["a=1; Domain=.internal"], Some("a=1")),
            (&["=1", "none", ""], None),
        ];
        for (sent, expected) in cases {
            let cookies = Cookies::default();
            let mut headers = HeaderMap::new();
            for cookie in *sent {
                headers.append(header::SET_COOKIE, cookie.parse().unwrap());
            }
            cookies.keep(
                &url("http://machines.internal:4280/v1/apps/web/machines"),
                &headers,
            );
            let back = url("http://machines.internal:4280/v1/apps/web/volumes");
            assert_eq!(cookies.header(&back).as_deref(), *expected, "{sent:?}");
            assert_eq!(cookies.header(&url("http://elsewhere/")), None);
        }
        let cookies = Cookies::default();
        let mut headers = HeaderMap::new();
        headers.append(header::SET_COOKIE, "a=1; Secure".parse().unwrap());
        cookies.keep(&url("https://h/"), &headers);
        assert_eq!(cookies.header(&url("https://h/x")).as_deref(), Some("a=1"));
    }
}

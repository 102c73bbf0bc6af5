//! The cookies that lead an app's calls to the same server, so that one reads what another wrote.
//!
//! Fly sends one. What is kept is bounded, and goes back to the host that sent it alone; paths do not matter, since every
//! app has cookies of its own.

use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, HeaderValue, Uri, header, uri::Scheme};

/// The longest cookie that is kept, attributes included, in bytes.
const LONGEST: usize = 1024;

/// The most cookies that are kept; Fly sends one.
const MOST: usize = 8;

/// Cookies, by the host that sent them and their name.
#[derive(Default)]
pub(super) struct Cookies(Mutex<Vec<Cookie>>);

struct Cookie {
    host: Box<str>,
    /// `name=value`.
    pair: Box<str>,
    /// How long its name is.
    name: usize,
}

impl Cookie {
    fn key(&self) -> (&str, &str) {
        (&self.host, &self.pair[..self.name])
    }
}

impl Cookies {
    /// What a request to `uri` says of them.
    pub(super) fn header(&self, uri: &Uri) -> Option<HeaderValue> {
        let cookies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_host = cookies.iter();
        let of_host = of_host.filter(|cookie| uri.host() == Some(&*cookie.host));
        let mut text = String::new();
        for cookie in of_host {
            let gap = if text.is_empty() { "" } else { "; " };
            text.extend([gap, &*cookie.pair]);
        }
        // What came in a header can stand in one.
        let value = HeaderValue::try_from(text).ok();
        value.filter(|value| !value.is_empty())
    }

    /// Keeps those of an answer of `uri`. One that cannot be used is no reason to fail a call.
    pub(super) fn keep(&self, uri: &Uri, headers: &HeaderMap) {
        let Some(host) = uri.host() else { return };
        for cookie in headers.get_all(header::SET_COOKIE) {
            let text = cookie.to_str().ok().filter(|text| text.len() <= LONGEST);
            let mut parts = text.unwrap_or_default().split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let (name, value) = (name.trim_end(), value.trim_start());
            let is = |attribute: &str, name: &str| attribute.eq_ignore_ascii_case(name);
            let is_refused = parts.clone().any(|attribute| {
                is(attribute, "Secure") && uri.scheme() != Some(&Scheme::HTTPS)
                    || matches!(attribute.split_once('='), Some((name, domain))
                        if is(name, "Domain") && !covers(domain.trim_start_matches('.'), host))
            });
            let is_over = parts.any(|attribute| {
                matches!(attribute.split_once('='), Some((name, age))
                    if is(name, "Max-Age") && (age == "0" || age.starts_with('-')))
            });
            let mut cookies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let found = cookies.binary_search_by(|cookie| cookie.key().cmp(&(host, name)));
            let is_kept = |place: usize| cookies[place].pair[name.len() + 1..] == *value;
            if is_over {
                if let Ok(place) = found {
                    cookies.remove(place);
                }
            } else if !is_refused && !name.is_empty() && !found.is_ok_and(is_kept) {
                let cookie = Cookie {
                    host: host.into(),
                    pair: format!("{name}={value}").into(),
                    name: name.len(),
                };
                match found {
                    Ok(place) => cookies[place] = cookie,
                    // They only choose a server: without any, the next answer brings new ones.
                    Err(_) if cookies.len() >= MOST => *cookies = vec![cookie],
                    Err(place) => {
                        // Mostly the only one.
                        cookies.reserve_exact(1);
                        cookies.insert(place, cookie);
                    }
                }
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
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        let cases: &[(&[&str], Option<&'static str>)] = &[
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
                &uri("http://machines.internal:4280/v1/apps/web/machines"),
                &headers,
            );
            let back = uri("http://machines.internal:4280/v1/apps/web/volumes");
            let expected = expected.map(HeaderValue::from_static);
            assert_eq!(cookies.header(&back), expected, "{sent:?}");
            assert_eq!(cookies.header(&uri("http://elsewhere/")), None);
        }
        let cookies = Cookies::default();
        let mut headers = HeaderMap::new();
        headers.append(header::SET_COOKIE, "a=1; Secure".parse().unwrap());
        cookies.keep(&uri("https://h/"), &headers);
        let expected = Some(HeaderValue::from_static("a=1"));
        assert_eq!(cookies.header(&uri("https://h/x")), expected);
    }
}

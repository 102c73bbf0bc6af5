//! One request of a collector over the HTTP seam: its authorization, and the redirects that may be followed.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use url::Url;

use super::CollectError;
use crate::{
    shown::{address as shown, excerpt},
    transport::{REDIRECT_LIMIT, Redirect, Transport, TransportError, redirect},
};

/// The longest address of a redirect that is shown.
const TARGET_LIMIT: usize = 300;

/// What this program calls itself.
pub(super) const AGENT: &str = concat!("fly-autoscaler/", env!("CARGO_PKG_VERSION"));

/// Who is asked, for what, and for how much.
pub(super) struct Asked<'request> {
    /// What the service is called in messages.
    pub(super) service: &'static str,
    /// The service and its address, as they may be shown.
    pub(super) peer: &'request str,
    /// The longest answer that is read, in bytes.
    pub(super) body_limit: usize,
    /// The method.
    pub(super) method: Method,
    /// All headers.
    pub(super) headers: &'request HeaderMap,
    /// The body.
    pub(super) body: Bytes,
}

/// Asks at `uri`, which is that of `place`, and follows redirects as far as [`redirect()`] allows: the same request goes
/// there.
///
/// # Errors
///
/// No answer, or a redirect that is not followed. Any other status is an answer.
pub(super) async fn exchange(
    transport: &dyn Transport,
    mut uri: Uri,
    place: &Url,
    asked: Asked<'_>,
) -> Result<Response<Bytes>, CollectError> {
    let service = asked.service;
    let mut peer = Cow::Borrowed(asked.peer);
    let mut place = Cow::Borrowed(place);
    // The first request, and one for each redirect.
    for remaining in (0..=REDIRECT_LIMIT).rev() {
        let mut request = Request::new(asked.body.clone());
        *request.method_mut() = asked.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = asked.headers.clone();
        let exchange = transport.exchange(request, asked.body_limit);
        let answer = exchange.await;
        let answer = answer.map_err(|error| failure(peer.into_owned(), error))?;
        let status = answer.status();
        let to = match redirect(&place, status, answer.headers()) {
            None => return Ok(answer),
            Some(Redirect::Elsewhere(to)) => {
                let to = shown_target(&to);
                return Err(CollectError::Redirected { status, to });
            }
            Some(Redirect::Follow(to)) => to,
        };
        place = Cow::Owned(to);
        if remaining == 0 {
            break;
        }
        uri = uri_of(service, &place)?;
        peer = Cow::Owned(format!("{service} at {}", shown_target(&place)));
    }
    Err(CollectError::TooManyRedirects {
        limit: REDIRECT_LIMIT,
        to: shown_target(&place),
    })
}

/// Where a server sends us, as it may be shown.
fn shown_target(to: &Url) -> String {
    excerpt(&shown(to), TARGET_LIMIT)
}

/// What a failed exchange means.
fn failure(peer: String, error: TransportError) -> CollectError {
    match error {
        TransportError::Connect(source) => CollectError::Connection { peer, source },
        TransportError::Proxy { proxy, source } => CollectError::Proxy {
            peer,
            proxy,
            source,
        },
        TransportError::Tls { advice, source } => CollectError::Tls {
            peer,
            advice: advice.into(),
            source,
        },
        TransportError::Timeout => CollectError::Timeout { peer },
        TransportError::Interrupted(source) => CollectError::Interrupted { peer, source },
        TransportError::BodyTooLarge { limit } => CollectError::Oversized { limit },
        TransportError::Encoding { problem } => CollectError::Encoding { problem },
    }
}

/// The address of a request.
///
/// # Errors
///
/// One that HTTP cannot carry.
pub(super) fn uri_of(service: &'static str, url: &Url) -> Result<Uri, CollectError> {
    Uri::try_from(url.as_str()).map_err(|_| CollectError::Address {
        service,
        problem: "it (with the query, where that goes into the address) is too long, or has a character that it must \
                  not have",
    })
}

/// The `Authorization` header: a token beginning with `Fly` names its scheme itself, any other is a bearer's, whether it
/// says so or not, and without a token there is the address's user and password. `setting` is where the token is from.
///
/// # Errors
///
/// A token that cannot be a header.
pub(super) fn authorization(
    setting: &'static str,
    token: Option<&str>,
    basic: Option<&str>,
) -> Result<Option<HeaderValue>, CollectError> {
    let token = token.map(without_bearer).filter(|token| !token.is_empty());
    let value = match (token, basic) {
        (Some(token), _) if token.starts_with("Fly") => token.to_owned(),
        (Some(token), _) => format!("Bearer {token}"),
        (None, Some(basic)) => format!("Basic {}", BASE64_STANDARD.encode(basic)),
        (None, None) => return Ok(None),
    };
    let value = HeaderValue::try_from(value);
    let mut value = value.map_err(|_| CollectError::Token { setting })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A token without the `Bearer` that it was pasted with, as `FAS_API_TOKEN` is read.
fn without_bearer(token: &str) -> &str {
    let mut token = token.trim();
    while let Some((scheme, after)) = token.split_once(' ') {
        if !scheme.eq_ignore_ascii_case("Bearer") {
            break;
        }
        token = after.trim();
    }
    token
}

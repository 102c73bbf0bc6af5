//! Asking any web server for a number: a GET, and which number of the answer is meant.
//!
//! Asking is apart from reading, which is pure ([`parse_answer`]).

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, USER_AGENT},
};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use serde_json_path::JsonPath;
use url::Url;

use super::{
    CollectError, Found, Sample,
    document::{self, Unread},
    exchange::{AGENT, Asked, authorization, exchange, uri_of},
    instant::{number, unreadable},
};
use crate::{
    shown::{address as shown, excerpt, printable, without_user},
    transport::Transport,
};

/// The longest answer that is read: one number is needed.
const BODY_LIMIT: usize = 1024 * 1024;

/// The longest text of a peer that is shown.
const TEXT_LIMIT: usize = 300;

/// The longest value that is shown.
const VALUE_LIMIT: usize = 60;

/// How many values are shown where there should be one.
const SHOWN_VALUES: usize = 3;

/// What it is called in messages.
const SERVICE: &str = "the web server";

/// Where the value for nothing is set.
const EMPTY_VALUE: &str = "FAS_HTTP_EMPTY_VALUE";

/// What is sent with every request to a web server.
pub(super) struct Web {
    transport: Arc<dyn Transport>,
    token: Option<SecretString>,
    headers: HeaderMap,
    empty_value: Option<f64>,
}

impl Web {
    /// Prepares the requests.
    ///
    /// # Errors
    ///
    /// A token or a header's value that cannot be sent.
    pub(super) fn new(
        token: Option<&SecretString>,
        headers: &[(HeaderName, SecretString)],
        empty_value: Option<f64>,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, CollectError> {
        let mut all = HeaderMap::new();
        all.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, text/plain;q=0.9, */*;q=0.1"),
        );
        all.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in headers {
            let value = HeaderValue::try_from(value.expose_secret());
            let mut value = value.map_err(|_| CollectError::Token { setting: "headers" })?;
            value.set_sensitive(true);
            all.insert(name, value);
        }
        Ok(Self {
            transport,
            token: token.cloned(),
            headers: all,
            empty_value,
        })
    }

    /// The number at `path` in the answer of `address`.
    ///
    /// # Errors
    ///
    /// Whatever keeps the answer from having one number there.
    pub(super) async fn get(
        &self,
        address: &str,
        path: Option<&str>,
    ) -> Result<Sample, CollectError> {
        let (uri, place, headers) = self.request(address)?;
        let peer = format!("{SERVICE} at {}", shown(&place));
        let asked = Asked {
            service: SERVICE,
            peer: &peer,
            body_limit: BODY_LIMIT,
            method: Method::GET,
            headers: &headers,
            body: Bytes::new(),
        };
        let answer = exchange(&*self.transport, uri, &place, asked).await?;
        let (status, body) = (answer.status(), answer.body());
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(CollectError::NotLetIn {
                peer,
                check: "`FAS_HTTP_TOKEN`, the user and password in the address, or the headers",
                text: format!("HTTP {status}{}", after_colon(&printable(body, TEXT_LIMIT))),
            });
        }
        if !status.is_success() {
            return Err(CollectError::Answered {
                peer,
                status,
                body: printable(body, TEXT_LIMIT),
            });
        }
        parse_answer(body, path, self.empty_value)
    }

    /// Where an address is asked, and with which headers.
    fn request(&self, address: &str) -> Result<(Uri, Url, HeaderMap), CollectError> {
        let unusable = || CollectError::Address {
            service: SERVICE,
            problem: "expected `http://` or `https://` and a host",
        };
        let url = Url::parse(address).map_err(|_| unusable())?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(unusable());
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let has_user = !url.username().is_empty() || url.password().is_some();
        let basic = has_user.then(|| {
            let password = decoded(url.password().unwrap_or_default());
            format!("{}:{password}", decoded(url.username()))
        });
        let mut place = without_user(url);
        place.set_fragment(None);
        let uri = uri_of(SERVICE, &place)?;
        let mut headers = self.headers.clone();
        let token = self.token.as_ref().map(ExposeSecret::expose_secret);
        if let Some(authorization) = authorization("FAS_HTTP_TOKEN", token, basic.as_deref())? {
            // A header of the user's own says more than the address does.
            headers.entry(AUTHORIZATION).or_insert(authorization);
        }
        Ok((uri, place, headers))
    }
}

/// The number in a successful answer: the whole of it, or what stands at `path` in its JSON.
///
/// # Errors
///
/// Every answer that does not hold exactly one number there has its own variant.
pub(super) fn parse_answer(
    body: &[u8],
    path: Option<&str>,
    empty_value: Option<f64>,
) -> Result<Sample, CollectError> {
    let found = match path {
        // Whatever the path is, an answer without a body has nothing there.
        _ if body.trim_ascii().is_empty() => Found::Nothing("the answer is empty".to_owned()),
        None => whole(body.trim_ascii())?,
        Some(path) => at(body, path)?,
    };
    Sample::of_one(found, empty_value, EMPTY_VALUE)
}

fn whole(body: &[u8]) -> Result<Found, CollectError> {
    if body == b"null" {
        return Ok(Found::Nothing("the answer is null".to_owned()));
    }
    // JSON's numbers and strings are text as well; whatever else it is has no path to the number in it.
    let text = serde_json::from_slice::<String>(body)
        .unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned());
    match number(text.trim()) {
        Ok(number) => Ok(Found::Number(number)),
        Err(_) => Err(CollectError::NotANumber {
            found: excerpt(&printable(body, TEXT_LIMIT), VALUE_LIMIT),
        }),
    }
}

fn at(body: &[u8], path: &str) -> Result<Found, CollectError> {
    let document = document::read(body).map_err(|why| match why {
        Unread::TooMuch => CollectError::TooManyValues {
            limit: document::MOST,
        },
        Unread::Broken(error) => match unreadable(body, &error) {
            CollectError::Malformed { problem } => CollectError::BadJson { problem },
            other => other,
        },
    })?;
    let shown_path = excerpt(path, TEXT_LIMIT);
    let path = JsonPath::parse(path).map_err(|error| CollectError::Path {
        problem: excerpt(&error.to_string(), TEXT_LIMIT),
    })?;
    let matched = path.query(&document).all();
    match matched[..] {
        [] => Ok(Found::Nothing(format!(
            "nothing in the answer matches `{shown_path}`"
        ))),
        [Value::Null] => Ok(Found::Nothing(format!("`{shown_path}` is null"))),
        [Value::String(text)] => Ok(Found::Number(number(text.trim())?)),
        [Value::Number(value)] => {
            let value = value.as_f64().filter(|value| value.is_finite());
            value
                .map(Found::Number)
                .ok_or_else(|| CollectError::NotANumber {
                    found: shown_value(matched[0]),
                })
        }
        [other] => Err(CollectError::NotANumber {
            found: shown_value(other),
        }),
        _ => {
            let some = matched.iter().take(SHOWN_VALUES);
            let mut found: Vec<String> = some.map(|value| shown_value(value)).collect();
            if matched.len() > SHOWN_VALUES {
                found.push("\u{2026}".to_owned());
            }
            Err(CollectError::Several {
                what: format!("{} values match `{shown_path}`", matched.len()),
                found: found.join(", "),
            })
        }
    }
}

/// A value of JSON on one line, bounded.
fn shown_value(value: &Value) -> String {
    excerpt(&value.to_string(), VALUE_LIMIT)
}

fn after_colon(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::{collections::VecDeque, sync::Mutex};

    use futures_util::future::BoxFuture;
    use http::{Request, Response};

    use super::{super::CollectErrorKind as Kind, *};
    use crate::transport::TransportError;

    #[test]
    fn an_answer_is_a_number_or_says_why_not() {
        let document = r#"{"a":{"depth":7,"text":" 2.5 ","no":null,"word":"many","flag":true,"list":[1,2,3,4,5],"map":{"x":1}}}"#;
        // The body, the path, and the value or the message.
        let cases: &[(&str, Option<&str>, Result<f64, &str>)] = &[
            ("42", None, Ok(42.0)),
            (" 4.5e1\n", None, Ok(45.0)),
            ("\"7\"", None, Ok(7.0)),
            ("+Inf", None, Ok(f64::INFINITY)),
            (
                "",
                None,
                Err("the answer is empty (if nothing means 0, set `FAS_HTTP_EMPTY_VALUE`)"),
            ),
            (
                " \n",
                Some("$.a"),
                Err("the answer is empty (if nothing means 0, set `FAS_HTTP_EMPTY_VALUE`)"),
            ),
            (
                "null",
                None,
                Err("the answer is null (if nothing means 0, set `FAS_HTTP_EMPTY_VALUE`)"),
            ),
            (
                "NaN",
                None,
                Err("the value is NaN (if nothing means 0, set `FAS_HTTP_EMPTY_VALUE`)"),
            ),
            ("1e999", None, Err("expected a number, but found `1e999`")),
            (
                "{\"a\":1}",
                None,
                Err("expected a number, but found `{\"a\":1}`"),
            ),
            ("7 jobs", None, Err("expected a number, but found `7 jobs`")),
            (document, Some("$.a.depth"), Ok(7.0)),
            (document, Some("$.a.text"), Ok(2.5)),
            (document, Some("$.a.list[-1]"), Ok(5.0)),
            (document, Some("$.a.list[?@ > 4]"), Ok(5.0)),
            (
                document,
                Some("$.a.none"),
                Err(
                    "nothing in the answer matches `$.a.none` (if nothing means 0, set `FAS_HTTP_EMPTY_VALUE`)",
                ),
            ),
            (
                document,
                Some("$.a.no"),
                Err("`$.a.no` is null (if nothing means 0, set `FAS_HTTP_EMPTY_VALUE`)"),
            ),
            (
                document,
                Some("$.a.word"),
                Err("expected a number, but found `many`"),
            ),
            (
                document,
                Some("$.a.flag"),
                Err("expected a number, but found `true`"),
            ),
            (
                document,
                Some("$.a.map"),
                Err("expected a number, but found `{\"x\":1}`"),
            ),
            (
                document,
                Some("$.a.list"),
                Err("expected a number, but found `[1,2,3,4,5]`"),
            ),
            (
                document,
                Some("$.a.list[*]"),
                Err("5 values match `$.a.list[*]`, but one value is needed: 1, 2, 3, \u{2026}"),
            ),
            (
                "<html>",
                Some("$.a"),
                Err("expected JSON, but found HTML or XML: <html>"),
            ),
            (
                "{\"a\":",
                Some("$.a"),
                Err("the JSON is cut off after 5 bytes"),
            ),
            (
                "{\"a\" 1}",
                Some("$.a"),
                Err("the JSON cannot be read: expected `:` at line 1 column 6"),
            ),
            (
                "{}",
                Some("$$"),
                Err("the path to the number cannot be used: at position 1, parser error"),
            ),
        ];
        for (body, path, expected) in cases {
            let found = parse_answer(body.as_bytes(), *path, None);
            let found = found
                .map(|sample| sample.value)
                .map_err(|error| error.to_string());
            match (&found, expected) {
                (Err(found), Err(expected)) => {
                    assert!(found.starts_with(expected), "{body} {path:?}: {found}");
                }
                _ => assert_eq!(found, expected.map_err(str::to_owned), "{body} {path:?}"),
            }
        }
    }

    #[test]
    fn a_document_of_too_many_values_is_refused_where_a_path_looks_into_it() {
        let document = format!("[{}]", vec!["[0]"; 250_000].join(","));
        assert!(document.len() < BODY_LIMIT);
        let error = parse_answer(document.as_bytes(), Some("$[0][0]"), Some(3.0)).unwrap_err();
        assert_eq!(error.kind(), Kind::Oversized);
        assert_eq!(
            error.to_string(),
            "the JSON has too many values in it: reading it would take more than 32 MiB"
        );
        let error = parse_answer(document.as_bytes(), None, None).unwrap_err();
        assert_eq!(error.kind(), Kind::NotANumber);
    }

    #[test]
    fn a_value_stands_in_for_nothing_and_for_nothing_else() {
        for (body, path) in [
            ("", None),
            ("", Some("$.a")),
            ("null", None),
            ("nan", None),
            ("{}", Some("$.a")),
        ] {
            let sample = parse_answer(body.as_bytes(), path, Some(3.0)).unwrap();
            assert_eq!(
                (sample.value.to_bits(), sample.element_count),
                (3.0_f64.to_bits(), 0)
            );
        }
        let found = parse_answer(b"{\"a\":false}", Some("$.a"), Some(3.0));
        assert_eq!(found.unwrap_err().kind(), Kind::NotANumber);
    }

    type Answer = Result<Response<Bytes>, TransportError>;

    /// Gives prepared answers, and keeps what it was asked.
    #[derive(Default)]
    struct Scripted {
        answers: Mutex<VecDeque<Answer>>,
        requests: Mutex<Vec<Request<Bytes>>>,
    }

    impl Transport for Scripted {
        fn exchange(&self, request: Request<Bytes>, body_limit: usize) -> BoxFuture<'_, Answer> {
            assert_eq!(body_limit, 1_048_576);
            self.requests.lock().unwrap().push(request);
            let answer = self.answers.lock().unwrap().pop_front();
            Box::pin(async { answer.expect("no more requests than prepared answers") })
        }
    }

    async fn get(
        address: &str,
        token: Option<&str>,
        headers: &[(&'static str, &str)],
        answers: Vec<Answer>,
    ) -> (Result<Sample, CollectError>, Vec<Request<Bytes>>) {
        let transport = Arc::new(Scripted {
            answers: Mutex::new(answers.into()),
            ..Scripted::default()
        });
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), SecretString::from(*value)))
            .collect();
        let token = token.map(SecretString::from);
        let shared = Arc::clone(&transport) as Arc<dyn Transport>;
        let web = Web::new(token.as_ref(), &headers, None, shared).unwrap();
        let result = web.get(address, None).await;
        let requests = std::mem::take(&mut *transport.requests.lock().unwrap());
        (result, requests)
    }

    #[expect(clippy::unnecessary_wraps, reason = "others are errors")]
    fn answer(status: u16, body: &'static str) -> Answer {
        let answer = Response::builder().status(status).body(Bytes::from(body));
        Ok(answer.unwrap())
    }

    #[tokio::test]
    async fn a_get_carries_the_token_or_the_password_and_the_headers() {
        for (address, token, headers, expected) in [
            ("http://h/x?a=b#c", None, &[][..], None),
            (
                "http://me:p%40ss@h/x?a=b",
                None,
                &[],
                Some("Basic bWU6cEBzcw=="),
            ),
            ("http://me:p%40ss@h/x?a=b", Some("t"), &[], Some("Bearer t")),
            (
                "http://h/x?a=b",
                Some("FlyV1 fm2_a"),
                &[],
                Some("FlyV1 fm2_a"),
            ),
            (
                "http://me:p@h/x?a=b",
                None,
                &[("authorization", "Token x"), ("accept", "text/csv")],
                Some("Token x"),
            ),
        ] {
            let (result, requests) = get(address, token, headers, vec![answer(203, "1")]).await;
            assert_eq!(result.unwrap().value.to_bits(), 1.0_f64.to_bits());
            let request = &requests[0];
            assert_eq!(
                (request.method().as_str(), request.uri().to_string()),
                ("GET", "http://h/x?a=b".to_owned())
            );
            let sent = request.headers().get(AUTHORIZATION);
            assert_eq!(sent.map(|value| value.to_str().unwrap()), expected);
            let accept = request.headers()[ACCEPT].to_str().unwrap();
            assert_eq!(accept == "text/csv", headers.len() == 2, "{accept}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_followed_within_the_host_and_not_elsewhere() {
        let to = |location: &'static str| -> Answer {
            let answer = Response::builder().status(302).header("location", location);
            Ok(answer.body(Bytes::new()).unwrap())
        };
        let answers = vec![to("/y"), answer(200, "2")];
        let (result, requests) = get("http://h/x", Some("t"), &[], answers).await;
        assert_eq!(result.unwrap().value.to_bits(), 2.0_f64.to_bits());
        assert_eq!(requests[1].uri(), "http://h/y");
        assert_eq!(requests[1].headers()[AUTHORIZATION], "Bearer t");
        let (result, requests) = get("http://h/x", Some("t"), &[], vec![to("http://i/y")]).await;
        assert!(
            matches!(result, Err(CollectError::Redirected { .. })),
            "{result:?}"
        );
        assert_eq!(requests.len(), 1);
    }

    #[tokio::test]
    async fn what_is_no_answer_is_named_without_secrets() {
        let peer = "the web server at http://h/x?\u{2026}";
        let cases: Vec<(Answer, Kind, String)> = vec![
            (
                answer(401, "who are you?"),
                Kind::Unauthorized,
                format!(
                    "{peer} did not let us in; check `FAS_HTTP_TOKEN`, the user and password in the address, or the headers: \
                     HTTP 401 Unauthorized: who are you?"
                ),
            ),
            (
                answer(503, "later"),
                Kind::Status,
                format!("{peer} answered HTTP 503 Service Unavailable: later"),
            ),
            (
                Err(TransportError::Connect("refused".into())),
                Kind::Connection,
                format!("cannot connect to {peer}"),
            ),
            (
                Err(TransportError::BodyTooLarge { limit: BODY_LIMIT }),
                Kind::Oversized,
                "the answer is larger than 1048576 bytes".to_owned(),
            ),
        ];
        for (answer, kind, text) in cases {
            let (result, _) =
                get("http://me:hunter2@h/x?key=hunter2", None, &[], vec![answer]).await;
            let error = result.unwrap_err();
            assert_eq!((error.kind(), error.to_string()), (kind, text));
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}

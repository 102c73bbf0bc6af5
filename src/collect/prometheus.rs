//! Asking Prometheus, or whatever speaks its API: one request for an instant query or a stretch of history, and its
//! authorization.
//!
//! The query goes out as a POST form, so that its length is no matter; a server that refuses the method is asked by
//! GET, and by GET first from then on. Reading the answer is [`parse_instant`]'s and [`parse_range_of`]'s. Nothing is repeated
//! otherwise.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use secrecy::{ExposeSecret, SecretString};
use url::{Url, form_urlencoded};

use super::{
    BusySamples, CollectError, Grid, Past, Sample, busy,
    exchange::{AGENT, Asked, authorization, exchange, uri_of},
    parse_instant,
    range::parse_range_of,
    regions::parse_regions,
};
use crate::{
    shown::{address as shown, without_user},
    transport::Transport,
};

/// The longest answer that is read: thousands of series, where one is needed.
const BODY_LIMIT: usize = 10 * 1024 * 1024;

/// What it is called in messages.
const SERVICE: &str = "Prometheus";

/// A Prometheus server, with what is sent in every request.
pub(super) struct Prometheus {
    transport: Arc<dyn Transport>,
    /// `…/api/v1/query`, with the query string of the configured address.
    endpoint: Endpoint,
    /// `…/api/v1/query_range`, likewise.
    range_endpoint: Endpoint,
    /// The configured address as it may be shown.
    peer: String,
    /// Those of a GET.
    headers: HeaderMap,
    /// Those of a form that is posted.
    form_headers: HeaderMap,
    empty_value: Option<f64>,
    /// Whether the last success was a GET.
    prefers_get: AtomicBool,
}

impl Prometheus {
    /// Prepares the requests; `basic` is `user:password`, and only used where there is no token.
    ///
    /// # Errors
    ///
    /// An address that is not HTTP, or a token that cannot be a header.
    pub(super) fn new(
        address: &Url,
        token: Option<&SecretString>,
        basic: Option<&SecretString>,
        empty_value: Option<f64>,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, CollectError> {
        let range_endpoint = Endpoint::new(address, "query_range")?;
        let endpoint = Endpoint::new(address, "query")?;
        let authorization = authorization(
            "FAS_PROMETHEUS_TOKEN",
            token.map(ExposeSecret::expose_secret),
            basic.map(ExposeSecret::expose_secret),
        )?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        let mut form_headers = headers.clone();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        form_headers.insert(CONTENT_TYPE, form);
        Ok(Self {
            transport,
            peer: format!("{SERVICE} at {}", shown(address)),
            endpoint,
            range_endpoint,
            headers,
            form_headers,
            empty_value,
            prefers_get: AtomicBool::new(false),
        })
    }

    /// The value of `query` at `now`.
    ///
    /// # Errors
    ///
    /// Whatever keeps the query from having one number for a value.
    pub(super) async fn query(
        &self,
        query: &str,
        now: jiff::Timestamp,
    ) -> Result<Sample, CollectError> {
        let answer = self
            .ask(&self.endpoint, &Form::of_instant(query, now))
            .await?;
        parse_instant(answer.status(), answer.body(), self.empty_value)
    }

    /// The value of `query` at `now` for each of `regions`, in their order.
    ///
    /// # Errors
    ///
    /// Whatever keeps the query from having numbers for values; in it what keeps a region from having one.
    pub(super) async fn query_regions(
        &self,
        query: &str,
        regions: &[&str],
        now: jiff::Timestamp,
    ) -> Result<Vec<Result<Sample, CollectError>>, CollectError> {
        let form = Form::of_instant(query, now);
        let answer = self.ask(&self.endpoint, &form).await?;
        parse_regions(answer.status(), answer.body(), regions, self.empty_value)
    }

    /// The elements of `query` at `now`, by the machine that each is about.
    ///
    /// # Errors
    ///
    /// Whatever keeps the query from having such elements.
    pub(super) async fn query_vector(
        &self,
        query: &str,
        now: jiff::Timestamp,
    ) -> Result<BusySamples, CollectError> {
        let form = Form::of_instant(query, now);
        let answer = self.ask(&self.endpoint, &form).await?;
        busy::parse(answer.status(), answer.body())
    }

    /// That nothing was heard from it in time.
    pub(super) fn timed_out(&self) -> CollectError {
        CollectError::Timeout {
            peer: self.peer.clone(),
        }
    }

    /// The values of `query` at the points of `grid`, which may be at most as many as a server gives at once.
    ///
    /// # Errors
    ///
    /// Whatever keeps the query from having a history; points without a value are none.
    pub(super) async fn query_range(
        &self,
        query: &str,
        region: Option<&str>,
        grid: Grid,
    ) -> Result<Past, CollectError> {
        let form = Form::of_range(query, grid);
        let answer = self.ask(&self.range_endpoint, &form).await?;
        parse_range_of(region, answer.status(), answer.body(), grid)
    }

    /// Sends the form by the method that the server takes.
    async fn ask(
        &self,
        endpoint: &Endpoint,
        form: &Form<'_>,
    ) -> Result<http::Response<Bytes>, CollectError> {
        let first = if self.prefers_get.load(Ordering::Relaxed) {
            Method::GET
        } else {
            Method::POST
        };
        let mut answer = self.exchange(&first, endpoint, form).await?;
        if is_method_refused(answer.status()) {
            let other = if first == Method::GET {
                Method::POST
            } else {
                Method::GET
            };
            answer = self.exchange(&other, endpoint, form).await?;
            if answer.status().is_success() {
                self.prefers_get
                    .store(other == Method::GET, Ordering::Relaxed);
            }
        }
        Ok(answer)
    }

    async fn exchange(
        &self,
        method: &Method,
        endpoint: &Endpoint,
        form: &Form<'_>,
    ) -> Result<http::Response<Bytes>, CollectError> {
        let asked = Asked {
            service: SERVICE,
            peer: &self.peer,
            body_limit: BODY_LIMIT,
            method: method.clone(),
            headers: &self.headers,
            body: Bytes::new(),
        };
        if method == Method::GET {
            let url = form.in_query_of(&endpoint.url);
            let uri = uri_of(SERVICE, &url)?;
            return exchange(&*self.transport, uri, &url, asked).await;
        }
        let asked = Asked {
            headers: &self.form_headers,
            body: Bytes::from(form.encoded()),
            ..asked
        };
        let uri = endpoint.uri.clone();
        exchange(&*self.transport, uri, &endpoint.url, asked).await
    }
}

/// A server that knows no POST here says so with one of these.
fn is_method_refused(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
    )
}

/// Where a kind of query goes.
struct Endpoint {
    url: Url,
    /// The same.
    uri: Uri,
}

impl Endpoint {
    fn new(address: &Url, name: &str) -> Result<Self, CollectError> {
        if !matches!(address.scheme(), "http" | "https") || address.host().is_none() {
            return Err(CollectError::Address {
                service: SERVICE,
                problem: "expected `http://` or `https://` and a host",
            });
        }
        let mut url = without_user(address.clone());
        let path = format!("{}/api/v1/{name}", address.path().trim_end_matches('/'));
        url.set_path(&path);
        url.set_fragment(None);
        let uri = uri_of(SERVICE, &url)?;
        Ok(Self { url, uri })
    }
}

/// The parameters of one query.
struct Form<'a> {
    parameters: Vec<(&'static str, Cow<'a, str>)>,
}

impl<'a> Form<'a> {
    fn of_instant(query: &'a str, now: jiff::Timestamp) -> Self {
        // Milliseconds are what Prometheus keeps, and a float holds them exactly.
        let seconds = now.as_millisecond() as f64 / 1000.0;
        Self {
            parameters: vec![
                ("query", Cow::Borrowed(query)),
                ("time", Cow::Owned(seconds.to_string())),
            ],
        }
    }

    fn of_range(query: &'a str, grid: Grid) -> Self {
        let number = |number: i64| Cow::Owned(number.to_string());
        Self {
            parameters: vec![
                ("query", Cow::Borrowed(query)),
                ("start", number(grid.from)),
                ("end", number(grid.last())),
                ("step", Cow::Owned(grid.step_s.to_string())),
                // VictoriaMetrics would else move the points to times that it has kept answers of; others do not know it.
                ("nocache", Cow::Borrowed("1")),
            ],
        }
    }

    fn encoded(&self) -> String {
        self.append_to(form_urlencoded::Serializer::new(String::new()))
    }

    /// The endpoint with this form in its query string. What the address had is kept, but for parameters of the same
    /// names: a server takes the first of two.
    fn in_query_of(&self, endpoint: &Url) -> Url {
        let mut serializer = form_urlencoded::Serializer::new(String::new());
        for (name, value) in endpoint.query_pairs() {
            if self.parameters.iter().all(|(own, _)| *own != name) {
                serializer.append_pair(&name, &value);
            }
        }
        let mut url = endpoint.clone();
        url.set_query(Some(&self.append_to(serializer)));
        url
    }

    fn append_to(&self, mut serializer: form_urlencoded::Serializer<'_, String>) -> String {
        for (name, value) in &self.parameters {
            serializer.append_pair(name, value);
        }
        serializer.finish()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::{collections::VecDeque, error::Error, sync::Mutex};

    use futures_util::future::BoxFuture;
    use http::{Request, Response};

    use super::{super::CollectErrorKind as Kind, *};
    use crate::transport::TransportError;

    const ONE: &str =
        r#"{"status":"success","data":{"resultType":"scalar","result":[1767323045.1,"1"]}}"#;

    /// Gives prepared answers, and keeps what it was asked.
    #[derive(Default)]
    struct Scripted {
        answers: Mutex<VecDeque<Result<Response<Bytes>, TransportError>>>,
        requests: Mutex<Vec<Request<Bytes>>>,
    }

    impl Transport for Scripted {
        fn exchange(
            &self,
            request: Request<Bytes>,
            body_limit: usize,
        ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
            assert_eq!(body_limit, 10_485_760);
            self.requests.lock().unwrap().push(request);
            let answer = self.answers.lock().unwrap().pop_front();
            Box::pin(async { answer.expect("no more requests than prepared answers") })
        }
    }

    impl Scripted {
        fn new(answers: impl IntoIterator<Item = (u16, &'static str)>) -> Arc<Self> {
            let answers = answers.into_iter().map(|(status, body)| {
                Ok(Response::builder()
                    .status(status)
                    .body(Bytes::from(body))
                    .unwrap())
            });
            Arc::new(Self {
                answers: Mutex::new(answers.collect()),
                ..Self::default()
            })
        }

        /// Redirects to these places, and then one success.
        fn redirecting(to: &[(u16, &str)]) -> Arc<Self> {
            let redirects = to.iter().map(|(status, location)| {
                Ok(Response::builder()
                    .status(*status)
                    .header("location", *location)
                    .body(Bytes::new())
                    .unwrap())
            });
            let success = Ok(Response::new(Bytes::from(ONE)));
            Arc::new(Self {
                answers: Mutex::new(redirects.chain([success]).collect()),
                ..Self::default()
            })
        }

        fn failing(error: TransportError) -> Arc<Self> {
            Arc::new(Self {
                answers: Mutex::new(VecDeque::from([Err(error)])),
                ..Self::default()
            })
        }

        fn take_request(&self) -> Request<Bytes> {
            self.requests.lock().unwrap().remove(0)
        }

        fn methods(&self) -> Vec<String> {
            let requests = std::mem::take(&mut *self.requests.lock().unwrap());
            requests
                .iter()
                .map(|request| request.method().to_string())
                .collect()
        }
    }

    struct Setup {
        address: &'static str,
        token: Option<&'static str>,
        basic: Option<&'static str>,
    }

    impl Setup {
        const PLAIN: Self = Self {
            address: "http://prometheus.internal:9090",
            token: None,
            basic: None,
        };

        fn over(&self, transport: &Arc<Scripted>) -> Result<Prometheus, CollectError> {
            Prometheus::new(
                &Url::parse(self.address).unwrap(),
                self.token.map(SecretString::from).as_ref(),
                self.basic.map(SecretString::from).as_ref(),
                None,
                Arc::clone(transport) as Arc<dyn Transport>,
            )
        }
    }

    fn now() -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(1_767_323_045_123_456_789).unwrap()
    }

    /// Asks once.
    async fn ask(setup: &Setup, transport: &Arc<Scripted>) -> Result<Sample, CollectError> {
        let prometheus = setup.over(transport)?;
        prometheus.query("sum(up{app='worker'}) + 1", now()).await
    }

    fn full_text(error: &CollectError) -> String {
        let mut text = format!("{error:?} {error}");
        let mut source = error.source();
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    }

    #[tokio::test]
    async fn a_range_is_posted_too_and_asked_for_by_get_where_that_is_refused() {
        const MATRIX: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[{"values":[[60,"2"]]}]}}"#;
        let transport = Scripted::new([(405, ""), (200, MATRIX)]);
        let setup = Setup {
            address: "http://prometheus.internal/base/?org=1&end=5",
            ..Setup::PLAIN
        };
        let prometheus = setup.over(&transport).unwrap();
        let grid = Grid {
            from: 0,
            step_s: 60,
            points: 3,
        };
        let past = prometheus.query_range("up + 1", None, grid).await.unwrap();
        assert_eq!(past.values, [None, Some(2.0), None]);
        let posted = transport.take_request();
        let form = "query=up+%2B+1&start=0&end=120&step=60&nocache=1";
        assert_eq!(posted.body(), form);
        let place = "http://prometheus.internal/base/api/v1/query_range?org=1";
        assert_eq!(posted.uri().to_string(), format!("{place}&end=5"));
        let asked = transport.take_request();
        assert_eq!(asked.uri().to_string(), format!("{place}&{form}"));
    }

    #[tokio::test]
    async fn the_query_is_posted_as_a_form() {
        let transport = Scripted::new([(200, ONE)]);
        let sample = ask(&Setup::PLAIN, &transport).await.unwrap();
        assert_eq!(sample.value.to_bits(), 1.0_f64.to_bits());

        let request = transport.take_request();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(
            request.uri(),
            "http://prometheus.internal:9090/api/v1/query"
        );
        assert_eq!(
            request.body(),
            "query=sum%28up%7Bapp%3D%27worker%27%7D%29+%2B+1&time=1767323045.123"
        );
        let mut headers: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        headers.sort_unstable();
        assert_eq!(
            headers,
            [
                ("accept", "application/json"),
                ("content-type", "application/x-www-form-urlencoded"),
                (
                    "user-agent",
                    concat!("fly-autoscaler/", env!("CARGO_PKG_VERSION"))
                ),
            ]
        );
    }

    #[tokio::test]
    async fn the_path_and_the_query_string_of_the_address_are_kept() {
        let cases = [
            (
                "http://p:9090",
                "http://p:9090/api/v1/query",
                "http://p:9090/api/v1/query?query=1&time=1767323045.123",
            ),
            (
                "http://p/",
                "http://p/api/v1/query",
                "http://p/api/v1/query?query=1&time=1767323045.123",
            ),
            (
                "https://api.fly.io/prometheus/acme",
                "https://api.fly.io/prometheus/acme/api/v1/query",
                "https://api.fly.io/prometheus/acme/api/v1/query?query=1&time=1767323045.123",
            ),
            (
                "https://api.fly.io/prometheus/acme//",
                "https://api.fly.io/prometheus/acme/api/v1/query",
                "https://api.fly.io/prometheus/acme/api/v1/query?query=1&time=1767323045.123",
            ),
            (
                "http://p/a%20b/?dedup=true&key=a%26b",
                "http://p/a%20b/api/v1/query?dedup=true&key=a%26b",
                "http://p/a%20b/api/v1/query?dedup=true&key=a%26b&query=1&time=1767323045.123",
            ),
            (
                "http://p?query=old&time=0&step=5#part",
                "http://p/api/v1/query?query=old&time=0&step=5",
                "http://p/api/v1/query?step=5&query=1&time=1767323045.123",
            ),
            (
                "http://user:secret@p/",
                "http://p/api/v1/query",
                "http://p/api/v1/query?query=1&time=1767323045.123",
            ),
            (
                "http://[::1]:9090",
                "http://[::1]:9090/api/v1/query",
                "http://[::1]:9090/api/v1/query?query=1&time=1767323045.123",
            ),
        ];
        for (address, posted, got) in cases {
            let transport = Scripted::new([(405, ""), (200, ONE)]);
            let setup = Setup {
                address,
                ..Setup::PLAIN
            };
            let prometheus = setup.over(&transport).unwrap();
            prometheus.query("1", now()).await.unwrap();
            assert_eq!(transport.take_request().uri(), posted, "{address}");
            assert_eq!(transport.take_request().uri(), got, "{address}");
        }
    }

    #[tokio::test]
    async fn a_refused_post_is_asked_by_get_and_that_is_remembered() {
        for refusal in [405, 501] {
            let transport = Scripted::new([(refusal, ""), (200, ONE), (200, ONE), (200, ONE)]);
            let prometheus = Setup::PLAIN.over(&transport).unwrap();
            for _ in 0..3 {
                prometheus.query("1", now()).await.unwrap();
            }
            assert_eq!(
                transport.methods(),
                ["POST", "GET", "GET", "GET"],
                "{refusal}"
            );
        }
    }

    #[tokio::test]
    async fn a_get_has_no_body_and_the_same_authorization() {
        let transport = Scripted::new([(405, ""), (200, ONE)]);
        let setup = Setup {
            token: Some("abc"),
            ..Setup::PLAIN
        };
        ask(&setup, &transport).await.unwrap();
        transport.take_request();
        let request = transport.take_request();
        assert!(request.body().is_empty());
        assert!(!request.headers().contains_key(CONTENT_TYPE));
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer abc");
    }

    #[tokio::test]
    async fn only_a_get_that_works_is_remembered_and_only_while_it_does() {
        let transport = Scripted::new([
            (405, ""),
            (503, "starting"),
            (405, ""),
            (200, ONE),
            (405, ""),
            (200, ONE),
            (200, ONE),
        ]);
        let prometheus = Setup::PLAIN.over(&transport).unwrap();
        let mut kinds = Vec::new();
        for _ in 0..4 {
            let answer = prometheus.query("1", now()).await;
            kinds.push(answer.err().map(|error| error.kind()));
        }
        assert_eq!(kinds, [Some(Kind::Status), None, None, None]);
        assert_eq!(
            transport.methods(),
            ["POST", "GET", "POST", "GET", "GET", "POST", "POST"]
        );
    }

    #[tokio::test]
    async fn a_server_that_refuses_both_methods_is_asked_twice_and_no_more() {
        let transport = Scripted::new([(501, ""), (405, "")]);
        let error = ask(&Setup::PLAIN, &transport).await.unwrap_err();
        assert_eq!(error.to_string(), "HTTP 405 Method Not Allowed");
    }

    #[tokio::test]
    async fn other_failures_are_not_repeated() {
        for status in [400, 401, 403, 404, 408, 422, 429, 500, 502, 503] {
            let transport = Scripted::new([(status, "")]);
            ask(&Setup::PLAIN, &transport).await.unwrap_err();
            assert_eq!(transport.methods(), ["POST"], "{status}");
        }
    }

    #[tokio::test]
    async fn authorization_follows_the_kind_of_the_token() {
        let cases = [
            ("none", None, None, None),
            (
                "a Fly token names its scheme",
                Some("FlyV1 fm2_abc,fm2_def"),
                None,
                Some("FlyV1 fm2_abc,fm2_def"),
            ),
            (
                "whatever begins with Fly",
                Some("Flying"),
                None,
                Some("Flying"),
            ),
            (
                "a lower-case fly does not",
                Some("flyv1 x"),
                None,
                Some("Bearer flyv1 x"),
            ),
            (
                "a bare macaroon",
                Some("fm2_abc"),
                None,
                Some("Bearer fm2_abc"),
            ),
            ("space around", Some(" abc\n"), None, Some("Bearer abc")),
            (
                "a header that was pasted",
                Some("Bearer FlyV1 fm2_abc,fm2_def"),
                None,
                Some("FlyV1 fm2_abc,fm2_def"),
            ),
            (
                "the same in any case, and twice",
                Some("bearer  BEARER abc"),
                None,
                Some("Bearer abc"),
            ),
            (
                "a token that only resembles one",
                Some("Bearer-abc"),
                None,
                Some("Bearer Bearer-abc"),
            ),
            (
                "another scheme",
                Some("Basic abc"),
                None,
                Some("Bearer Basic abc"),
            ),
            (
                "no more than the word",
                Some("Bearer"),
                None,
                Some("Bearer Bearer"),
            ),
            (
                "the address's user",
                None,
                Some("Aladdin:open sesame"),
                Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ),
            (
                "a token wins over the address's user",
                Some("abc"),
                Some("Aladdin:open sesame"),
                Some("Bearer abc"),
            ),
            (
                "an empty token is none",
                Some(""),
                Some("a:b"),
                Some("Basic YTpi"),
            ),
        ];
        for (name, token, basic, expected) in cases {
            let transport = Scripted::new([(200, ONE)]);
            let setup = Setup {
                token,
                basic,
                ..Setup::PLAIN
            };
            ask(&setup, &transport).await.unwrap();
            let request = transport.take_request();
            let found = request.headers().get(AUTHORIZATION);
            assert_eq!(
                found.map(|value| value.to_str().unwrap()),
                expected,
                "{name}"
            );
            assert!(found.is_none_or(HeaderValue::is_sensitive), "{name}");
        }
    }

    #[tokio::test]
    async fn a_redirect_to_the_same_host_is_followed_with_method_body_and_token() {
        let setup = Setup {
            address: "http://prometheus.internal?team=a",
            token: Some("sesame"),
            basic: None,
        };
        let secure = "https://prometheus.internal/api/v1/query?team=a";
        let moved = "https://prometheus.internal/prometheus/api/v1/query";
        for status in [301, 302, 303, 307, 308] {
            let transport =
                Scripted::redirecting(&[(status, secure), (status, "/prometheus/api/v1/query")]);
            assert_eq!(ask(&setup, &transport).await.unwrap().element_count, 1);
            let first = transport.take_request();
            for address in [secure, moved] {
                let next = transport.take_request();
                assert_eq!(next.uri(), address, "{status}");
                assert_eq!(next.method(), first.method());
                assert_eq!(next.body(), first.body());
                assert_eq!(next.headers(), first.headers());
                assert_eq!(next.headers()[AUTHORIZATION], "Bearer sesame");
            }
        }
    }

    #[tokio::test]
    async fn a_redirect_to_another_place_is_an_error_that_names_it_and_is_not_asked() {
        let setup = Setup {
            address: "https://prometheus.internal",
            token: Some("sesame"),
            basic: None,
        };
        for (location, shown) in [
            (
                "https://me:other@login.test/oauth?state=secret",
                "https://login.test/oauth?\u{2026}",
            ),
            ("http://prometheus.internal/", "http://prometheus.internal"),
        ] {
            let transport = Scripted::redirecting(&[(302, location)]);
            let error = ask(&setup, &transport).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "redirected (HTTP 302) to {shown}, another server, which must not get the token: configure that address if it is the right one"
                )
            );
            assert_eq!(error.kind(), Kind::Status);
            assert_eq!(transport.methods(), ["POST"]);
        }
    }

    #[tokio::test]
    async fn five_redirects_are_followed_and_not_six() {
        let to = |count| vec![(307, "/next?x=y"); count];
        let transport = Scripted::redirecting(&to(5));
        assert!(ask(&Setup::PLAIN, &transport).await.is_ok());
        assert_eq!(transport.methods().len(), 6);
        let transport = Scripted::redirecting(&to(6));
        let error = ask(&Setup::PLAIN, &transport).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "redirected more than 5 times, last to http://prometheus.internal:9090/next?\u{2026}"
        );
        assert_eq!(transport.methods().len(), 6);
    }

    #[tokio::test]
    async fn a_sample_with_an_underscore_is_no_number() {
        const BODY: &str =
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1_000"]}}"#;
        let error = ask(&Setup::PLAIN, &Scripted::new([(200, BODY)])).await;
        assert_eq!(error.unwrap_err().kind(), Kind::NotANumber);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_before_anything_runs() {
        let transport = Scripted::new([]);
        let cases = [
            (
                Setup {
                    token: Some("abc\ndef"),
                    ..Setup::PLAIN
                },
                "`FAS_PROMETHEUS_TOKEN` holds a character that no HTTP header may have",
            ),
            (
                Setup {
                    address: "ftp://p/",
                    ..Setup::PLAIN
                },
                "the address of Prometheus cannot be used: expected `http://` or `https://` and a host",
            ),
            (
                Setup {
                    address: "mailto:p",
                    ..Setup::PLAIN
                },
                "the address of Prometheus cannot be used: expected `http://` or `https://` and a host",
            ),
        ];
        for (setup, expected) in cases {
            let error = setup.over(&transport).err().unwrap();
            assert_eq!(error.to_string(), expected);
            assert_eq!(error.kind(), Kind::Setup);
        }
    }

    #[tokio::test]
    async fn a_query_too_long_for_an_address_is_an_error() {
        let transport = Scripted::new([(405, "")]);
        let prometheus = Setup::PLAIN.over(&transport).unwrap();
        let error = prometheus
            .query(&"x".repeat(70_000), now())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Setup);
    }

    #[tokio::test]
    async fn a_failed_exchange_names_the_server_without_its_secrets() {
        let cases = [
            (
                TransportError::Connect("connection refused".into()),
                Kind::Connection,
                "cannot connect to Prometheus at https://p.test/path?\u{2026}",
            ),
            (
                TransportError::Proxy {
                    proxy: "http://proxy:3128 (HTTP_PROXY)".to_owned(),
                    source: "connection refused".into(),
                },
                Kind::Connection,
                "cannot connect to Prometheus at https://p.test/path?\u{2026} through the proxy http://proxy:3128 (HTTP_PROXY)",
            ),
            (
                TransportError::Tls {
                    advice: "; advice",
                    source: "unknown issuer".into(),
                },
                Kind::Tls,
                "TLS with Prometheus at https://p.test/path?\u{2026} failed; advice",
            ),
            (
                TransportError::Encoding {
                    problem: "br".to_owned(),
                },
                Kind::Unreadable,
                "the compressed answer cannot be read: br",
            ),
            (
                TransportError::Timeout,
                Kind::Timeout,
                "no answer from Prometheus at https://p.test/path?\u{2026} in time",
            ),
            (
                TransportError::Interrupted("connection reset".into()),
                Kind::Interrupted,
                "the connection to Prometheus at https://p.test/path?\u{2026} was lost",
            ),
            (
                TransportError::BodyTooLarge { limit: 10_485_760 },
                Kind::Oversized,
                "the answer is larger than 10485760 bytes",
            ),
        ];
        for (error, kind, expected) in cases {
            let setup = Setup {
                address: "https://user:hunter2@p.test/path/?apikey=sesame",
                token: Some("open-sesame"),
                basic: None,
            };
            let error = ask(&setup, &Scripted::failing(error)).await.unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, expected));
            let text = full_text(&error);
            assert!(
                !text.contains("hunter2") && !text.contains("sesame"),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn the_cause_of_a_failed_exchange_is_chained() {
        let transport = Scripted::failing(TransportError::Connect("connection refused".into()));
        let error = ask(&Setup::PLAIN, &transport).await.unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "connection refused");
    }
}

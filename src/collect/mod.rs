//! Collectors: one named number each, from Prometheus, Temporal, a web server, Redis or Postgres.
//!
//! A collector asks once and says what it got: a number, or a [`CollectError`] that names the odd answer. It neither
//! repeats a request (the next pass asks again) nor keeps a deadline ([`collect_all`] has one; dropping the future is
//! safe), and it logs no error: what one means for a pass is decided by its caller.
//! Reading an answer ([`parse_instant`]) is apart from fetching it, and is pure.

mod busy;
mod connection;
mod error;
mod exchange;
mod instant;
mod postgres;
mod prometheus;
mod range;
mod redis;
mod temporal;
#[cfg(test)]
pub(crate) mod test_keys;
mod tls;
mod web;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures_util::future::join_all;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

pub use self::{
    busy::BusyQuery,
    error::{CollectError, CollectErrorKind, IdentityError},
    instant::parse_instant,
    range::{Grid, Past, parse_range},
};
use self::{prometheus::Prometheus, temporal::Temporal, web::Web};
use crate::{
    config::{
        AddressTemplate, CollectorConfig, CollectorKind, CollectorSource, PostgresAddress,
        QueryTemplate, RedisAddress, RedisCommand,
    },
    error_chain::chain,
    expr::{Names, Values},
    labels::CallResult,
    metrics::Metrics,
    scaling::Now,
    transport::Transport,
};

/// The share of a pass that metrics may take: one that hangs is a metric that failed, and what the expressions, the floor
/// or a fallback then want has yet to be done.
const SHARE: u32 = 2;

/// How many points of history are asked for at once: a server gives at most 11,000 of a series.
const POINTS_AT_ONCE: usize = 10_000;

/// One configured collector, ready to be asked, by any number of passes at the same time.
pub struct Collector {
    metric: String,
    kind: CollectorKind,
    source: Source,
}

enum Source {
    Prometheus {
        client: Box<Prometheus>,
        query: QueryTemplate,
    },
    Temporal {
        client: Box<Temporal>,
        query: Option<QueryTemplate>,
    },
    Http {
        client: Box<Web>,
        url: AddressTemplate,
        value: Option<QueryTemplate>,
    },
    Redis {
        servers: Arc<redis::Servers>,
        tls: Arc<ClientConfig>,
        url: AddressTemplate,
        command: RedisCommand,
        empty_value: Option<f64>,
    },
    Postgres {
        databases: postgres::Databases,
        url: AddressTemplate,
        query: QueryTemplate,
        empty_value: Option<f64>,
    },
}

/// What collectors ask through. Those made from the same one share connections to the same server.
#[derive(Clone)]
pub struct Connections {
    transport: Arc<dyn Transport>,
    extra_roots: Option<Arc<[u8]>>,
    redis: Arc<redis::Servers>,
    postgres: Arc<postgres::Servers>,
}

impl Connections {
    /// Web servers, Prometheus among them, are asked through `transport`; others over connections of their own, which trust
    /// the certificates of `extra_roots` (PEM, the content of the file that `SSL_CERT_FILE` names) besides those compiled
    /// in.
    pub fn new(transport: Arc<dyn Transport>, extra_roots: Option<&[u8]>) -> Self {
        Self {
            transport,
            extra_roots: extra_roots.map(Arc::from),
            redis: Arc::default(),
            postgres: Arc::default(),
        }
    }

    /// What web servers are asked through.
    #[must_use]
    pub fn transport(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.transport)
    }
}

/// One collected value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The value; never NaN, possibly infinite.
    pub value: f64,
    /// How many elements the answer had; more than one deserves a warning (the first was used), 0 means that the
    /// value stands in for an empty answer (as it does for NaN).
    pub element_count: usize,
    /// Of what time the value is, in Unix seconds, as far as the server says: Prometheus gives the time of evaluation to
    /// whatever it works out.
    pub time: Option<f64>,
    /// Warnings of the server, bounded in number and length, free of control characters.
    pub warnings: Vec<String>,
}

/// What an answer has where one number is looked for.
enum Found {
    Number(f64),
    /// Why there is none.
    Nothing(String),
}

impl Sample {
    /// Of a server that has one number or none; `empty_value`, which is `setting`, stands in for none and for NaN.
    ///
    /// # Errors
    ///
    /// Where there is no number and nothing stands in for it.
    fn of_one(
        found: Found,
        empty_value: Option<f64>,
        setting: &'static str,
    ) -> Result<Self, CollectError> {
        let (value, element_count) = match found {
            Found::Number(number) if !number.is_nan() => (number, 1),
            found => {
                let what = match found {
                    Found::Number(_) => "the value is NaN".to_owned(),
                    Found::Nothing(what) => what,
                };
                (
                    empty_value.ok_or(CollectError::Nothing { what, setting })?,
                    0,
                )
            }
        };
        Ok(Self {
            value,
            element_count,
            time: None,
            warnings: Vec::new(),
        })
    }
}

impl Collector {
    /// Prepares a collector; connects to nothing and needs no runtime.
    ///
    /// # Errors
    ///
    /// An address, a token, extra roots or a Temporal key pair that cannot be used.
    pub fn new(config: &CollectorConfig, connections: &Connections) -> Result<Self, CollectError> {
        let transport = Arc::clone(&connections.transport);
        let extra_roots = connections.extra_roots.as_deref();
        let source = match &config.source {
            CollectorSource::Prometheus {
                address,
                basic,
                token,
                query,
                empty_value,
            } => Source::Prometheus {
                client: Box::new(Prometheus::new(
                    address,
                    token.as_ref(),
                    basic.as_ref(),
                    *empty_value,
                    transport,
                )?),
                query: query.clone(),
            },
            CollectorSource::Temporal {
                address,
                namespace,
                query,
                identity,
                proxy,
            } => Source::Temporal {
                client: Box::new(
                    Temporal::new(address, namespace, identity.as_ref(), extra_roots)?
                        .through(proxy.as_ref())?,
                ),
                query: query.clone(),
            },
            CollectorSource::Http {
                url,
                value,
                token,
                headers,
                empty_value,
            } => Source::Http {
                client: Box::new(Web::new(token.as_ref(), headers, *empty_value, transport)?),
                url: url.clone(),
                value: value.clone(),
            },
            CollectorSource::Redis {
                url,
                command,
                empty_value,
            } => Source::Redis {
                servers: Arc::clone(&connections.redis),
                tls: tls::verified(extra_roots)?,
                url: url.clone(),
                command: command.clone(),
                empty_value: *empty_value,
            },
            CollectorSource::Postgres {
                url,
                query,
                empty_value,
            } => Source::Postgres {
                databases: postgres::Databases {
                    servers: Arc::clone(&connections.postgres),
                    verified: tls::verified(extra_roots)?,
                    encrypted_only: tls::encrypted_only(),
                },
                url: url.clone(),
                query: query.clone(),
                empty_value: *empty_value,
            },
        };
        Ok(Self {
            metric: config.metric.clone(),
            kind: config.kind(),
            source,
        })
    }

    /// The metric's name.
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// What is asked.
    pub fn kind(&self) -> CollectorKind {
        self.kind
    }

    /// The query as it is sent for `app`, its variables replaced.
    pub fn query(&self, app: &str) -> String {
        match &self.source {
            Source::Prometheus { query, .. } => query.render(app),
            Source::Temporal { query, .. } => {
                temporal::running(query.as_ref().map(|query| query.render(app)).as_deref())
            }
            Source::Http { url, value, .. } => {
                let path = value.as_ref().map(|value| value.render(app));
                let path = path.map_or_else(String::new, |path| format!(" {path}"));
                format!("GET {}{path}", url.shown(app))
            }
            Source::Redis { command, .. } => command.shown(app),
            Source::Postgres { query, .. } => query.render(app),
        }
    }

    /// Asks once, for `app`. `now` is the evaluation time sent to Prometheus. The caller bounds it by `until` (dropping the
    /// future is safe at any point), of which a server that can keep a deadline is told.
    ///
    /// # Errors
    ///
    /// Whatever keeps the metric from having a value in this pass.
    pub async fn collect(
        &self,
        app: &str,
        now: jiff::Timestamp,
        until: Instant,
    ) -> Result<Sample, CollectError> {
        let query = self.query(app);
        let result = match &self.source {
            Source::Prometheus { client, .. } => client.query(&query, now).await,
            Source::Temporal { client, .. } => client.count(&query).await,
            Source::Http { client, url, value } => {
                let path = value.as_ref().map(|value| value.render(app));
                client.get(&url.render(app), path.as_deref()).await
            }
            Source::Redis {
                servers,
                tls,
                url,
                command,
                empty_value,
            } => {
                let address = RedisAddress::parse(&url.render(app));
                let (address, _) = address.map_err(|_| self.unusable_address())?;
                let command = command.render(app);
                redis::ask(servers, tls, &address, command, *empty_value).await
            }
            Source::Postgres {
                databases,
                url,
                empty_value,
                ..
            } => {
                let address = PostgresAddress::parse(&url.render(app));
                let (address, _) = address.map_err(|_| self.unusable_address())?;
                postgres::ask(databases, &address, &query, until, *empty_value).await
            }
        };
        result.map_err(|error| error.asked(&query))
    }

    /// An address that was one with another app's name in it.
    fn unusable_address(&self) -> CollectError {
        CollectError::Address {
            service: self.kind.title(),
            problem: "it is none once the app's name is in it",
        }
    }

    /// Asks for its values at the points of `grid`, for `app`, in as many requests as that takes; each may take `timeout`
    /// (`FAS_TIMEOUT`). `told` hears how many points have come each time.
    ///
    /// An answer that is too large, of a query that forgets to aggregate, is asked for in smaller parts. Nothing else is
    /// repeated.
    ///
    /// # Errors
    ///
    /// Whatever keeps the metric from having a history. One that has no value anywhere is none of them.
    pub async fn history(
        &self,
        app: &str,
        grid: Grid,
        timeout: Duration,
        mut told: impl FnMut(usize),
    ) -> Result<Past, CollectError> {
        let Source::Prometheus { client, query } = &self.source else {
            let service = self.kind.title();
            return Err(CollectError::NoHistory { service });
        };
        let query = query.render(app);
        let mut past = Past {
            values: Vec::with_capacity(grid.points),
            spoiled: Vec::new(),
            series_count: 0,
            warnings: Vec::new(),
        };
        let mut at_once = POINTS_AT_ONCE;
        while past.values.len() < grid.points {
            let part = grid.part(past.values.len(), at_once);
            let until = Instant::now() + timeout;
            let answer = timeout_at(until, client.query_range(&query, part))
                .await
                .unwrap_or(Err(CollectError::RangeTimeout { timeout }));
            match answer {
                Ok(answer) => {
                    told(answer.values.len());
                    let before = past.values.len();
                    let spoiled = answer.spoiled.iter().map(|point| before + point);
                    past.spoiled.extend(spoiled);
                    past.values.extend(answer.values);
                    past.series_count = past.series_count.max(answer.series_count);
                    for warning in answer.warnings {
                        if !past.warnings.contains(&warning) {
                            past.warnings.push(warning);
                        }
                    }
                }
                Err(CollectError::Oversized { .. }) if part.points > 1 => {
                    at_once = part.points / 2;
                }
                Err(error) => return Err(error.asked(&query)),
            }
        }
        Ok(past)
    }
}

/// What each collector said in one pass, by its metric.
#[derive(Debug)]
pub struct Readings(Vec<(String, Result<Sample, CollectError>)>);

impl Readings {
    /// Each metric with what was said of it, in the order of the collectors.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Result<Sample, CollectError>)> {
        self.0.iter().map(|(metric, result)| (&**metric, result))
    }

    /// The values, as expressions read them.
    #[must_use]
    pub fn values(&self, names: &Names) -> Values {
        let mut values = Values::new(names);
        for (metric, result) in self.iter() {
            values.set(metric, result.as_ref().ok().map(|sample| sample.value));
        }
        values
    }

    /// Each metric with what was said of it, in the order of the collectors.
    pub fn into_results(self) -> impl Iterator<Item = (String, Result<Sample, CollectError>)> {
        self.0.into_iter()
    }

    /// Each metric's value, or why it has none in words.
    #[must_use]
    pub fn into_texts(self) -> BTreeMap<String, Result<f64, String>> {
        let texts = self.0.into_iter();
        let texts = texts.map(|(metric, result)| {
            let value = result
                .map(|sample| sample.value)
                .map_err(|error| chain(&error));
            (metric, value)
        });
        texts.collect()
    }
}

/// Asks all of them side by side, for `app`, and counts their requests; the results are in the order of `collectors`.
///
/// `began` is when the pass began, and the evaluation time. It ends by half of `timeout` (`FAS_TIMEOUT`) after that, whatever
/// hangs: this is the one place for the share that metrics get of a pass.
pub async fn collect_all(
    collectors: &[Collector],
    app: &str,
    began: Now,
    timeout: Duration,
    metrics: &Metrics,
) -> Readings {
    let until = Instant::from_std(began.monotonic) + timeout / SHARE;
    let readings = join_all(collectors.iter().map(|collector| async move {
        tracing::debug!(
            app,
            metric = collector.metric(),
            "query of {}: {}",
            collector.metric(),
            collector.query(app)
        );
        let asked = Instant::now();
        let result = timeout_at(until, collector.collect(app, began.wall, until))
            .await
            .unwrap_or(Err(CollectError::OutOfTime { timeout }));
        let counted = result
            .as_ref()
            .map_or_else(CollectError::result, |_| CallResult::Ok);
        metrics.collector_request(collector.kind.request(), counted, asked.elapsed());
        (collector.metric().to_owned(), result)
    }));
    Readings(readings.await)
}

/// Shows the metric's name only: the rest holds tokens.
impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector")
            .field("metric", &self.metric)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use futures_util::future::BoxFuture;
    use http::{Request, Response};
    use url::Url;

    use super::{
        test_keys::{CLIENT_CERTIFICATE, CLIENT_KEY, SERVER_KEY},
        *,
    };
    use crate::{
        config::{TemporalAddress, TemporalIdentity},
        transport::TransportError,
    };

    /// Answers the scalar 7 to everything, and keeps what it was asked.
    #[derive(Default)]
    struct Sevens(Mutex<Vec<Bytes>>);

    impl Transport for Sevens {
        fn exchange(
            &self,
            request: Request<Bytes>,
            _: usize,
        ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
            self.0.lock().unwrap().push(request.into_body());
            let answer = Bytes::from_static(
                br#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}"#,
            );
            Box::pin(async { Ok(Response::new(answer)) })
        }
    }

    fn connections() -> Connections {
        Connections::new(Arc::new(Sevens::default()), None)
    }

    fn template(text: &str) -> QueryTemplate {
        QueryTemplate::parse(text, |_| None).0
    }

    fn prometheus() -> CollectorConfig {
        CollectorConfig {
            metric: "depth".to_owned(),
            source: CollectorSource::Prometheus {
                address: Url::parse("http://p.test").unwrap(),
                basic: Some("user:hunter2".into()),
                token: Some("FlyV1 fm2_sesame".into()),
                query: template("up{app='$APP_NAME'}"),
                empty_value: None,
            },
        }
    }

    fn temporal(key: &str) -> CollectorConfig {
        CollectorConfig {
            metric: "orders".to_owned(),
            source: CollectorSource::Temporal {
                address: TemporalAddress::parse("temporal:7233").unwrap(),
                namespace: "default".to_owned(),
                query: Some(template("App='$APP_NAME'")),
                identity: Some(TemporalIdentity {
                    certificate: CLIENT_CERTIFICATE.to_owned(),
                    key: key.into(),
                }),
                proxy: None,
            },
        }
    }

    #[tokio::test]
    async fn the_query_is_rendered_for_each_app() {
        let transport = Arc::new(Sevens::default());
        let shared = Arc::clone(&transport) as Arc<dyn Transport>;
        let collector = Collector::new(&prometheus(), &Connections::new(shared, None)).unwrap();
        for app in ["worker-1", "worker-2"] {
            let now = jiff::Timestamp::from_second(1_767_323_045).unwrap();
            let until = Instant::now() + Duration::from_secs(15);
            let sample = collector.collect(app, now, until).await.unwrap();
            assert_eq!(sample.value.to_bits(), 7.0_f64.to_bits());
        }
        let expected: [&[u8]; 2] = [
            b"query=up%7Bapp%3D%27worker-1%27%7D&time=1767323045",
            b"query=up%7Bapp%3D%27worker-2%27%7D&time=1767323045",
        ];
        assert_eq!(*transport.0.lock().unwrap(), expected);
    }

    /// This test has no runtime on purpose.
    #[test]
    fn a_collector_is_prepared_without_a_runtime_and_shows_its_name_only() {
        for (config, shown) in [
            (prometheus(), "Collector { metric: \"depth\", .. }"),
            (temporal(CLIENT_KEY), "Collector { metric: \"orders\", .. }"),
        ] {
            let collector = Collector::new(&config, &connections()).unwrap();
            assert_eq!(collector.metric(), config.metric);
            assert_eq!(format!("{collector:?}"), shown);
        }
    }

    #[test]
    fn a_key_pair_that_does_not_match_is_refused_at_once() {
        let collector = Collector::new(&temporal(SERVER_KEY), &connections());
        let expected = CollectError::Identity(IdentityError::Mismatch).to_string();
        assert_eq!(collector.unwrap_err().to_string(), expected);
    }

    #[test]
    fn every_kind_of_request_is_counted_under_a_name_of_its_own() {
        let asked = CollectorKind::ALL.map(CollectorKind::request);
        assert_eq!(asked, crate::labels::COLLECTOR_REQUESTS);
    }

    #[test]
    fn collecting_can_be_spawned() {
        fn is_send<T: Send>(_: &T) {}
        let collector = Collector::new(&prometheus(), &connections()).unwrap();
        let until = Instant::now();
        is_send(&collector.collect("worker", jiff::Timestamp::UNIX_EPOCH, until));
    }

    #[test]
    fn only_a_failure_that_may_be_the_querys_fault_shows_the_query_and_is_counted_as_before() {
        let status = |status| CollectError::HttpStatus {
            status: http::StatusCode::from_u16(status).unwrap(),
            body: String::new(),
        };
        let api = CollectError::Api {
            status: http::StatusCode::UNPROCESSABLE_ENTITY,
            error_type: "execution".to_owned(),
            text: "too many".to_owned(),
        };
        let query = CollectError::Query {
            text: String::new(),
        };
        let cases = [
            (CollectError::Empty, true, CallResult::Invalid),
            (CollectError::Nan, true, CallResult::Invalid),
            (api, true, CallResult::ClientError),
            (query, true, CallResult::ClientError),
            (status(400), true, CallResult::ClientError),
            (status(404), false, CallResult::ClientError),
            (status(429), false, CallResult::RateLimited),
            (status(503), false, CallResult::ServerError),
            (CollectError::Partial, false, CallResult::Invalid),
        ];
        for (error, is_shown, expected) in cases {
            let (kind, text) = (error.kind(), error.to_string());
            let error = error.asked(&format!("up\n{}", "x".repeat(1000)));
            let shown = format!("{text}; the query sent was: up {}\u{2026}", "x".repeat(297));
            assert_eq!(error.to_string(), if is_shown { shown } else { text });
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(error.result(), expected);
        }
    }
}

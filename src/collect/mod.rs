//! Collectors: one named number each, from Prometheus, Temporal, a web server, Redis or Postgres.
//!
//! A collector asks once and says what it got: a number, or a [`CollectError`] that names the odd answer. It neither
//! repeats a request (the next pass asks again) nor keeps a deadline ([`Questions`] have one; dropping the future is
//! safe), and it logs no error: what one means for a pass is decided by its caller.
//! Reading an answer ([`parse_instant`]) is apart from fetching it, and is pure.

mod busy;
mod connection;
mod document;
mod error;
mod exchange;
mod instant;
mod postgres;
mod prometheus;
mod range;
mod redis;
mod regions;
mod temporal;
#[cfg(test)]
pub(crate) mod test_keys;
mod tls;
mod web;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures_util::future::join_all;
use rustls::ClientConfig;
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout_at},
};

pub use self::{
    busy::{BusyQuery, BusySamples},
    error::{CollectError, CollectErrorKind, IdentityError},
    instant::parse_instant,
    range::{Grid, Past, parse_range},
};
use self::{prometheus::Prometheus, temporal::Temporal, web::Web};
use crate::{
    config::{
        AddressTemplate, CollectorConfig, CollectorKind, CollectorSource, PostgresAddress,
        QueryTemplate, RedisAddress, RedisCommand, Spelling, Subject,
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
    asks_each_region: bool,
    spelling: Spelling,
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
    /// Whether it is one region's own among those of an answer for all: its elements have a label that says which they are about.
    pub is_of_region: bool,
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
            is_of_region: false,
            time: None,
            warnings: Vec::new(),
        })
    }
}

impl Source {
    /// Connects to nothing.
    fn new(config: &CollectorConfig, connections: &Connections) -> Result<Self, CollectError> {
        let transport = Arc::clone(&connections.transport);
        let extra_roots = connections.extra_roots.as_deref();
        let source = match &config.source {
            CollectorSource::Prometheus {
                address,
                basic,
                token,
                query,
                empty_value,
            } => Self::Prometheus {
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
            } => Self::Temporal {
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
            } => Self::Http {
                client: Box::new(Web::new(token.as_ref(), headers, *empty_value, transport)?),
                url: url.clone(),
                value: value.clone(),
            },
            CollectorSource::Redis {
                url,
                command,
                empty_value,
            } => Self::Redis {
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
            } => Self::Postgres {
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
        Ok(source)
    }
}

impl Collector {
    /// Prepares a collector; connects to nothing and needs no runtime.
    ///
    /// # Errors
    ///
    /// An address, a token, extra roots or a Temporal key pair that cannot be used.
    pub fn new(config: &CollectorConfig, connections: &Connections) -> Result<Self, CollectError> {
        let source = Source::new(config, connections);
        let (kind, spelling) = (config.kind(), config.spelling.clone());
        let source = source.map_err(|error| error.respelt(kind, &spelling))?;
        Ok(Self {
            metric: config.metric.clone(),
            kind,
            asks_each_region: config.asks_each_region(),
            spelling,
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

    /// Whether something else is asked, or elsewhere, for each region.
    pub fn asks_each_region(&self) -> bool {
        self.asks_each_region
    }

    /// The query as it is sent for an app or a region of it, its variables replaced.
    pub fn query<'a>(&self, about: impl Into<Subject<'a>>) -> String {
        let about = about.into();
        match &self.source {
            Source::Prometheus { query, .. } => query.render(about),
            Source::Temporal { query, .. } => {
                let query = query.as_ref().map(|query| query.render(about));
                temporal::running(query.as_deref())
            }
            Source::Http { url, value, .. } => {
                let path = value.as_ref().map(|value| value.render(about));
                let path = path.map_or_else(String::new, |path| format!(" {path}"));
                format!("GET {}{path}", url.shown(about))
            }
            Source::Redis { command, .. } => command.shown(about),
            Source::Postgres { query, .. } => query.render(about),
        }
    }

    /// Asks once, for an app or a region of it. `now` is the evaluation time sent to Prometheus. The caller bounds it by `until` (dropping the
    /// future is safe at any point), of which a server that can keep a deadline is told.
    ///
    /// # Errors
    ///
    /// Whatever keeps the metric from having a value in this pass.
    pub async fn collect<'a>(
        &self,
        about: impl Into<Subject<'a>>,
        now: jiff::Timestamp,
        until: Instant,
    ) -> Result<Sample, CollectError> {
        let about = about.into();
        let query = self.query(about);
        let result = match &self.source {
            Source::Prometheus { client, .. } => client.query(&query, now).await,
            Source::Temporal { client, .. } => client.count(&query).await,
            Source::Http { client, url, value } => {
                let path = value.as_ref().map(|value| value.render(about));
                client.get(&url.render(about), path.as_deref()).await
            }
            Source::Redis {
                servers,
                tls,
                url,
                command,
                empty_value,
            } => {
                let address = RedisAddress::parse(&url.render(about));
                let (address, _) = address.map_err(|_| self.unusable_address())?;
                let command = command.render(about);
                redis::ask(servers, tls, &address, command, *empty_value).await
            }
            Source::Postgres {
                databases,
                url,
                empty_value,
                ..
            } => {
                let address = PostgresAddress::parse(&url.render(about));
                let (address, _) = address.map_err(|_| self.unusable_address())?;
                postgres::ask(databases, &address, &query, until, *empty_value).await
            }
        };
        result.map_err(|error| self.told(error, &query))
    }

    /// A failure as it is told: with the query where that may help, and with the settings' names as they are written.
    fn told(&self, error: CollectError, query: &str) -> CollectError {
        let error = error.respelt(self.kind, &self.spelling);
        error.asked(query)
    }

    /// Asks once, for all regions of an app: one sample for each, in their order. A vector of Prometheus in which every element has
    /// a label `region` gives each its own; whatever else is the same for all.
    ///
    /// # Errors
    ///
    /// Whatever keeps the metric from having a value in any region in this pass.
    async fn collect_for_all(
        &self,
        app: &str,
        regions: &[&str],
        now: jiff::Timestamp,
        until: Instant,
    ) -> Result<Vec<Result<Sample, CollectError>>, CollectError> {
        let Source::Prometheus { client, query } = &self.source else {
            let sample = self.collect(app, now, until).await?;
            return Ok(regions.iter().map(|_| Ok(sample.clone())).collect());
        };
        let query = query.render(app);
        let asked = |error| self.told(error, &query);
        let of_regions = client.query_regions(&query, regions, now).await;
        let of_regions = of_regions.map_err(asked)?.into_iter();
        Ok(of_regions.map(|one| one.map_err(asked)).collect())
    }

    /// An address that was one with another name of an app or region in it.
    fn unusable_address(&self) -> CollectError {
        CollectError::Address {
            service: self.kind.title(),
            problem: "it is none once the names of app and region are in it",
        }
    }

    /// Asks for its values at the points of `grid`, for an app or a region of it, in as many requests as that takes; each may take `timeout`
    /// (`FAS_TIMEOUT`). `told` hears how many points have come each time.
    ///
    /// An answer that is too large, of a query that forgets to aggregate, is asked for in smaller parts. Nothing else is
    /// repeated.
    ///
    /// # Errors
    ///
    /// Whatever keeps the metric from having a history. One that has no value anywhere is none of them.
    pub async fn history<'a>(
        &self,
        about: impl Into<Subject<'a>>,
        grid: Grid,
        timeout: Duration,
        mut told: impl FnMut(usize),
    ) -> Result<Past, CollectError> {
        let Source::Prometheus { client, query } = &self.source else {
            let service = self.kind.title();
            return Err(CollectError::NoHistory { service });
        };
        let about = about.into();
        let query = query.render(about);
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
            let answer = timeout_at(until, client.query_range(&query, about.region, part))
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
                Err(error) => return Err(self.told(error, &query)),
            }
        }
        Ok(past)
    }
}

/// What each collector said in one pass, by its metric.
#[derive(Debug, Default)]
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

/// What a pass asks of the collectors of a policy: about an app, or about each region of it where those are fleets.
///
/// Of regions, a collector with `$REGION` is asked for each of them, every other one once for all. Of an answer for all, a vector
/// of Prometheus in which every element has a label `region` gives each region its own element; any other number holds for all.
pub struct Questions<'pass> {
    collectors: &'pass [Collector],
    app: &'pass str,
    regions: Vec<Arc<str>>,
    limits: Limits,
    metrics: &'pass Metrics,
    /// What each collector has said of all regions, in their order, once one of them has asked.
    for_all: Vec<OnceCell<ForAll>>,
}

/// What a collector has said of each region, whose errors several of them may have.
type ForAll = Vec<Result<Sample, Arc<CollectError>>>;

impl<'pass> Questions<'pass> {
    /// Asks nothing yet; without `regions` all is about the app.
    ///
    /// `began` is when the pass began, and the evaluation time. What is asked ends by half of `timeout` (`FAS_TIMEOUT`) after
    /// that, whatever hangs: this is the one place for the share that metrics get of a pass.
    pub fn new(
        collectors: &'pass [Collector],
        (app, regions): (&'pass str, Vec<Arc<str>>),
        began: Now,
        timeout: Duration,
        metrics: &'pass Metrics,
    ) -> Self {
        Self {
            collectors,
            app,
            regions,
            limits: Limits::new(began, timeout),
            metrics,
            for_all: collectors.iter().map(|_| OnceCell::new()).collect(),
        }
    }

    /// Asks all collectors side by side for the fleet at this place, which is the app's only one or that of a region, and counts
    /// their requests; the results are in the order of the collectors. It waits for those alone that the fleet needs. Nothing
    /// where there is no such fleet.
    pub async fn of(&self, place: usize) -> Readings {
        let about = match self.regions.get(place) {
            Some(region) => Subject::in_region(self.app, region),
            None if self.regions.is_empty() => self.app.into(),
            None => return Readings::default(),
        };
        let collectors = self.collectors.iter().zip(&self.for_all);
        let readings = join_all(collectors.map(|(collector, for_all)| async move {
            let result = if about.region.is_none() || collector.asks_each_region() {
                self.ask(collector, about).await
            } else {
                let for_all = for_all.get_or_init(|| self.ask_for_all(collector)).await;
                let own = for_all.get(place)?.clone();
                own.map_err(CollectError::SameAttempt)
            };
            Some((collector.metric().to_owned(), result))
        }));
        Readings(readings.await.into_iter().flatten().collect())
    }

    async fn ask(&self, collector: &Collector, about: Subject<'_>) -> Result<Sample, CollectError> {
        tell(collector, about);
        let (wall, until) = (self.limits.began.wall, self.limits.until);
        let request = Box::pin(collector.collect(about, wall, until));
        within(collector, self.limits, self.metrics, request, result_of).await
    }

    async fn ask_for_all(&self, collector: &Collector) -> ForAll {
        tell(collector, self.app.into());
        let (wall, until) = (self.limits.began.wall, self.limits.until);
        let regions: Vec<&str> = self.regions.iter().map(|region| &**region).collect();
        let request = Box::pin(collector.collect_for_all(self.app, &regions, wall, until));
        let answer = within(collector, self.limits, self.metrics, request, |results| {
            result_of_regions(results)
        });
        match answer.await {
            Ok(results) => {
                let results = results.into_iter();
                results.map(|result| result.map_err(Arc::new)).collect()
            }
            Err(error) => vec![Err(Arc::new(error)); regions.len()],
        }
    }
}

/// When a pass began, and until when metrics may take.
#[derive(Clone, Copy)]
struct Limits {
    began: Now,
    timeout: Duration,
    until: Instant,
}

impl Limits {
    fn new(began: Now, timeout: Duration) -> Self {
        Self {
            began,
            timeout,
            until: Instant::from_std(began.monotonic) + timeout / SHARE,
        }
    }
}

/// Makes a request in the time that there is, and counts it as what `result` makes of the answer.
async fn within<T>(
    collector: &Collector,
    limits: Limits,
    metrics: &Metrics,
    request: impl Future<Output = Result<T, CollectError>>,
    result: impl Fn(&T) -> CallResult,
) -> Result<T, CollectError> {
    let asked = Instant::now();
    let timeout = limits.timeout;
    let answer = timeout_at(limits.until, request)
        .await
        .unwrap_or(Err(CollectError::OutOfTime { timeout }));
    let counted = answer.as_ref().map_or_else(CollectError::result, result);
    metrics.collector_request(collector.kind.request(), counted, asked.elapsed());
    answer
}

fn result_of(_: &Sample) -> CallResult {
    CallResult::Ok
}

/// One request is a success if it has a value for anyone.
fn result_of_regions(results: &[Result<Sample, CollectError>]) -> CallResult {
    let first = results.iter().find(|result| result.is_ok());
    match first.or(results.first()) {
        Some(Err(error)) => error.result(),
        _ => CallResult::Ok,
    }
}

fn tell(collector: &Collector, about: Subject<'_>) {
    tracing::debug!(
        app = about.app,
        region = about.region,
        metric = collector.metric(),
        "query of {}: {}",
        collector.metric(),
        collector.query(about)
    );
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
        config::{BusyConfig, TemporalAddress, TemporalIdentity},
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
            spelling: Spelling::Variables { query: None },
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
            spelling: Spelling::Variables { query: None },
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

    /// Answers by the query, whose words say with what, and keeps the queries.
    #[derive(Default)]
    struct Scripted(Mutex<Vec<String>>);

    impl Transport for Scripted {
        fn exchange(
            &self,
            request: Request<Bytes>,
            _: usize,
        ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
            let form = url::form_urlencoded::parse(request.body());
            let query = form.into_iter().find(|(name, _)| name == "query");
            let query = query.unwrap().1.into_owned();
            let result = match &*query {
                "by region" => {
                    r#"[{"metric":{"region":"ord"},"value":[1,"2"]},{"metric":{"region":"iad"},"value":[1,"1"]}]"#
                }
                "depth in iad of my-app" => r#"[{"metric":{},"value":[1,"11"]}]"#,
                "depth in ord of my-app" => r#"[{"metric":{},"value":[1,"12"]}]"#,
                "the same" => r#"[{"metric":{},"value":[1,"7"]}]"#,
                _ => "[]",
            };
            let hangs = query.starts_with("hang");
            self.0.lock().unwrap().push(query);
            let answer = format!(
                r#"{{"status":"success","data":{{"resultType":"vector","result":{result}}}}}"#
            );
            Box::pin(async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                Ok(Response::new(Bytes::from(answer)))
            })
        }
    }

    impl Scripted {
        /// What a metric of each query, called `m0` and so on, is in each region; and the queries that were sent, sorted.
        async fn ask(
            queries: &[&str],
            regions: &[&str],
            metrics: &Metrics,
        ) -> (Vec<Vec<String>>, Vec<String>) {
            let transport = Arc::new(Self::default());
            let shared = Arc::clone(&transport) as Arc<dyn Transport>;
            let connections = Connections::new(shared, None);
            let collectors = queries.iter().enumerate().map(|(index, query)| {
                let mut config = prometheus();
                config.metric = format!("m{index}");
                if let CollectorSource::Prometheus {
                    query: template, ..
                } = &mut config.source
                {
                    *template = QueryTemplate::parse_per_region(query, |_| None).0;
                }
                Collector::new(&config, &connections).unwrap()
            });
            let collectors: Vec<Collector> = collectors.collect();
            let began = Now {
                monotonic: Instant::now().into_std(),
                wall: jiff::Timestamp::UNIX_EPOCH,
            };
            let timeout = Duration::from_secs(30);
            let names = regions.iter().map(|region| (*region).into()).collect();
            let questions = Questions::new(&collectors, ("my-app", names), began, timeout, metrics);
            let readings = join_all((0..regions.len()).map(|place| questions.of(place))).await;
            let readings = readings.into_iter().map(|readings| {
                let results = readings.into_results();
                let results = results.map(|(metric, result)| match result {
                    Ok(sample) => format!("{metric}={}", sample.value),
                    Err(error) => format!("{metric}: {error}"),
                });
                results.collect()
            });
            let mut sent = transport.0.lock().unwrap().clone();
            sent.sort_unstable();
            (readings.collect(), sent)
        }
    }

    /// The requests that were counted, as lines of `/metrics`.
    fn counted(metrics: &Metrics) -> Vec<String> {
        let mut text = String::new();
        metrics.write(&mut text);
        let lines = text.lines().filter(|line| {
            line.starts_with("fas_api_requests_total{api=\"prometheus\"") && !line.ends_with(" 0")
        });
        let lines = lines.map(|line| {
            let (_, result) = line.split_once("status=\"").unwrap();
            result.replace("\"}", "")
        });
        lines.collect()
    }

    #[tokio::test]
    async fn a_collector_is_asked_for_each_region_if_it_says_so_and_otherwise_once_for_all() {
        let queries = ["by region", "depth in $REGION of $APP_NAME", "the same"];
        let metrics = Metrics::new();
        let (readings, sent) = Scripted::ask(&queries, &["iad", "ord"], &metrics).await;
        assert_eq!(
            readings,
            [["m0=1", "m1=11", "m2=7"], ["m0=2", "m1=12", "m2=7"]]
        );
        assert_eq!(
            sent,
            [
                "by region",
                "depth in iad of my-app",
                "depth in ord of my-app",
                "the same"
            ]
        );
        assert_eq!(counted(&metrics), ["ok 4"]);
        let (readings, sent) = Scripted::ask(&queries, &[], &metrics).await;
        assert!(
            readings.is_empty() && sent.is_empty(),
            "{readings:?} {sent:?}"
        );
    }

    #[tokio::test]
    async fn a_failure_names_the_settings_as_the_user_has_called_them() {
        let mut config = prometheus();
        config.spelling = Spelling::Item("policies[1].metric-collectors[0]".to_owned());
        if let CollectorSource::Prometheus { query, .. } = &mut config.source {
            *query = template("nothing");
        }
        let transport: Arc<dyn Transport> = Arc::new(Scripted::default());
        let collector = Collector::new(&config, &Connections::new(transport, None)).unwrap();
        let until = Instant::now() + Duration::from_secs(1);
        let answer = collector.collect("a", jiff::Timestamp::UNIX_EPOCH, until);
        let error = answer.await.unwrap_err();
        assert_eq!(error.kind(), CollectErrorKind::Empty);
        assert_eq!(
            error.to_string(),
            "the query returned nothing (if nothing means 0, add `or vector(0)` to the query or set \
             `policies[1].metric-collectors[0].empty-value`); the query sent was: nothing"
        );
    }

    #[tokio::test]
    async fn a_region_without_a_value_holds_no_other_back_and_a_request_is_counted_once() {
        let metrics = Metrics::new();
        let queries = ["by region", "depth in $REGION of $APP_NAME", "nothing"];
        let (readings, sent) = Scripted::ask(&queries, &["fra", "iad"], &metrics).await;
        // A number in place of nothing would stand beside the regions' own.
        let nothing = "m2: the query returned nothing for any region (if nothing means 0, set \
                       `FAS_PROMETHEUS_EMPTY_VALUE`); the query sent was: nothing";
        assert_eq!(
            readings,
            [
                [
                    "m0: no element has the region `fra`, only iad, ord (if nothing means 0, set \
                     `FAS_PROMETHEUS_EMPTY_VALUE`); the query sent was: by region",
                    "m1: the query returned nothing (if nothing means 0, add `or vector(0)` to the query or set \
                     `FAS_PROMETHEUS_EMPTY_VALUE`); the query sent was: depth in fra of my-app",
                    nothing
                ],
                ["m0=1", "m1=11", nothing]
            ]
        );
        assert_eq!(sent.len(), 4);
        assert_eq!(counted(&metrics), ["invalid 2", "ok 2"]);
        // Nobody has anything of it.
        let metrics = Metrics::new();
        Scripted::ask(&["by region"], &["fra", "syd"], &metrics).await;
        assert_eq!(counted(&metrics), ["invalid 1"]);
    }

    #[tokio::test]
    async fn how_busy_machines_are_is_asked_for_an_app_or_a_region_of_it() {
        let transport = Arc::new(Scripted::default());
        let query = "busy in $REGION of $APP_NAME";
        let config = BusyConfig {
            address: Url::parse("http://p.test").unwrap(),
            basic: None,
            token: None,
            query: QueryTemplate::parse_per_region(query, |_| None).0,
            setting: "FAS_PROMETHEUS_BUSY_QUERY".to_owned(),
            spelling: Spelling::Variables { query: None },
        };
        let busy = BusyQuery::new(&config, Arc::clone(&transport) as Arc<dyn Transport>).unwrap();
        assert!(busy.asks_each_region());
        let began = Now {
            monotonic: Instant::now().into_std(),
            wall: jiff::Timestamp::UNIX_EPOCH,
        };
        let metrics = Metrics::new();
        for about in [Subject::from("my-app"), Subject::in_region("my-app", "iad")] {
            let until = Instant::now() + Duration::from_secs(1);
            let answer = busy.ask(about, began, until, &metrics).await;
            assert_eq!(answer.unwrap_err().kind(), CollectErrorKind::Empty);
        }
        let sent = ["busy in $REGION of my-app", "busy in iad of my-app"];
        assert_eq!(*transport.0.lock().unwrap(), sent);
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_for_one_region_takes_nothing_from_the_others() {
        let metrics = Metrics::new();
        let began = Instant::now();
        let queries = ["hang in $REGION", "by region", "hang for all"];
        let (readings, _) = Scripted::ask(&queries, &["iad", "ord"], &metrics).await;
        assert_eq!(began.elapsed(), Duration::from_secs(15));
        let late = "no answer within 15s (half of FAS_TIMEOUT=30s)";
        let row = |value: &str| {
            [
                format!("m0: {late}"),
                value.to_owned(),
                format!("m2: {late}"),
            ]
        };
        assert_eq!(readings, [row("m1=1"), row("m1=2")]);
        assert_eq!(counted(&metrics), ["ok 1", "timeout 3"]);
    }
}

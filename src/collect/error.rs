//! Why a metric has no value: one variant for every odd answer, so that what went wrong is named and not guessed.
//!
//! Text of a peer is bounded and cleaned before it gets in here, and no address is shown with its user information or
//! its query string. Causes are chained with `source()`, never printed as well.

use std::{borrow::Cow, error::Error as StdError, time::Duration};

use http::StatusCode;

use crate::{
    config::{CollectorKind, Spelling},
    error_chain::chain,
    labels::{CallResult, PassError},
    shown::excerpt,
};

/// The longest query that is shown beside an error, in characters.
const QUERY_LIMIT: usize = 300;

/// Why a metric has no value; one variant for every odd answer.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The configured address cannot be made into a request.
    #[error("the address of {service} cannot be used: {problem}")]
    Address {
        /// `Prometheus` or `Temporal`.
        service: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A token cannot be sent as a header.
    #[error("`{setting}` holds a character that no HTTP header may have")]
    Token {
        /// Where it is from.
        setting: &'static str,
    },
    /// The extra root certificates cannot be used.
    #[error(
        "the file named by `SSL_CERT_FILE` holds no usable certificate (expected PEM, `-----BEGIN CERTIFICATE-----`)"
    )]
    Roots,
    /// The client certificate and key for Temporal cannot be used.
    #[error("the client certificate for Temporal cannot be used")]
    Identity(#[source] IdentityError),

    /// No connection was made.
    #[error("cannot connect to {peer}")]
    Connection {
        /// Which service, and its address without secrets.
        peer: String,
        /// The cause, down to the operating system's.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// No connection was made through the proxy, whoever of the two was to blame.
    #[error("cannot connect to {peer} through the proxy {proxy}")]
    Proxy {
        /// Which service, and its address without secrets.
        peer: String,
        /// The proxy without secrets, and the variable that names it.
        proxy: String,
        /// The cause, down to the operating system's.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The two of us do not agree on TLS: an unknown issuer, another name, a refused client certificate …
    #[error("TLS with {peer} failed{advice}")]
    Tls {
        /// Which service, and its address.
        peer: String,
        /// What may help; empty, or text that goes on after a semicolon.
        advice: Cow<'static, str>,
        /// The cause, down to rustls's.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Nothing was heard in time.
    #[error("no answer from {peer} in time")]
    Timeout {
        /// Which service, and its address without secrets.
        peer: String,
    },
    /// The part of a pass that metrics may take was over.
    #[error("no answer within {:?} (half of FAS_TIMEOUT={timeout:?})", *timeout / 2)]
    OutOfTime {
        /// `FAS_TIMEOUT`.
        timeout: Duration,
    },
    /// A part of a metric's history took too long.
    #[error(
        "no answer to a range query within FAS_TIMEOUT ({timeout:?}): a longer FAS_TIMEOUT or --step may help"
    )]
    RangeTimeout {
        /// `FAS_TIMEOUT`.
        timeout: Duration,
    },
    /// It tells what is, and not what was.
    #[error("{service} keeps no history")]
    NoHistory {
        /// What was asked.
        service: &'static str,
    },
    /// The exchange broke off.
    #[error("the connection to {peer} was lost")]
    Interrupted {
        /// Which service, and its address without secrets.
        peer: String,
        /// The cause.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Temporal hung up and has never answered anything: the two of us may not agree on how to speak.
    #[error("{peer} closed the connection before answering{hint}")]
    HungUp {
        /// Which service, and its address.
        peer: String,
        /// What may be missing; empty, or text that goes on after a colon.
        hint: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// What answered speaks HTTP, but no gRPC: a proxy before Temporal, or a web server.
    #[error("{peer} answered HTTP {status} instead of gRPC{hint}")]
    NotGrpc {
        /// Which service, and its address.
        peer: String,
        /// The status.
        status: StatusCode,
        /// What may be missing; empty, or text that goes on after a colon.
        hint: &'static str,
    },
    /// The answer was larger than allowed.
    #[error("the answer is larger than {limit} bytes")]
    Oversized {
        /// The limit, in bytes.
        limit: usize,
    },
    /// JSON of which the tree would be too large.
    #[error(
        "the JSON has too many values in it: reading it would take more than {} MiB",
        limit >> 20
    )]
    TooManyValues {
        /// The limit, in bytes.
        limit: usize,
    },

    /// The answer is compressed in a way that cannot be undone.
    #[error("the compressed answer cannot be read: {problem}")]
    Encoding {
        /// What is wrong with it.
        problem: String,
    },
    /// The server sends us to another place, where our token must not go.
    #[error(
        "redirected (HTTP {}) to {to}, another server, which must not get the token: configure that address if it is the right one",
        status.as_u16()
    )]
    Redirected {
        /// The status.
        status: StatusCode,
        /// Where to, without user information and query string.
        to: String,
    },
    /// The server sends us on and on.
    #[error("redirected more than {limit} times, last to {to}")]
    TooManyRedirects {
        /// How many are followed.
        limit: usize,
        /// Where to, without user information and query string.
        to: String,
    },

    /// 401 or 403.
    #[error(
        "HTTP {status}: not authorized; check `FAS_PROMETHEUS_TOKEN` (a Fly token must be complete, `FlyV1 ` included), or the user and password in the address{}",
        after_colon(body)
    )]
    Unauthorized {
        /// The status.
        status: StatusCode,
        /// The beginning of the body if it is text, else empty.
        body: String,
    },
    /// Another status that is no success, without an error text of Prometheus in the body.
    #[error("HTTP {status}{}{}", hint(*status), after_colon(body))]
    HttpStatus {
        /// The status.
        status: StatusCode,
        /// The beginning of the body if it is text, else empty.
        body: String,
    },
    /// Prometheus says that the query failed.
    #[error(
        "the query failed (HTTP {}{}){}",
        status.as_u16(),
        after_comma(error_type, *status),
        after_colon(text)
    )]
    Api {
        /// The status; 200 is possible.
        status: StatusCode,
        /// `errorType` as it came; servers differ in what they put there.
        error_type: String,
        /// `error`.
        text: String,
    },
    /// The body is no JSON.
    #[error("expected JSON, but found {looks}{}", after_colon(body))]
    NotJson {
        /// `HTML`, `text` …
        looks: &'static str,
        /// The beginning of the body if it is text, else empty.
        body: String,
    },
    /// The JSON ends too early.
    #[error("the JSON is cut off after {length} bytes")]
    Truncated {
        /// How much there was, in bytes.
        length: usize,
    },
    /// The JSON is broken, or is no answer to an instant query.
    #[error("the JSON is not an answer to an instant query: {problem}")]
    Malformed {
        /// What is wrong, and where.
        problem: String,
    },
    /// The JSON is broken, or is no answer to a range query.
    #[error("the JSON is not an answer to a range query: {problem}")]
    MalformedRange {
        /// What is wrong, and where.
        problem: String,
    },
    /// Some of the storage did not answer (`isPartial`), so the value may be too low.
    #[error("the answer is partial: some storage nodes did not answer")]
    Partial,
    /// The query matched nothing, and no value is configured for that.
    #[error(
        "the query returned nothing (if nothing means 0, add `or vector(0)` to the query or set `FAS_PROMETHEUS_EMPTY_VALUE`)"
    )]
    Empty,
    /// A query for how busy machines are matched nothing: that says nothing of any machine.
    #[error(
        "the query returned nothing: it needs an element for each machine that runs, with a label `instance` or `machine`"
    )]
    NoMachine,
    /// Of a query's elements some say which region they are about, and some do not.
    #[error(
        "only some elements have a label `region`: all need it, as `sum by (region) (…)` gives it; what `or vector(0)` adds has none"
    )]
    SomeRegions,
    /// A query that is asked for all regions at once matched nothing, and no value is configured for that.
    #[error(
        "the query returned nothing for any region (if nothing means 0, set `FAS_PROMETHEUS_EMPTY_VALUE`)"
    )]
    NoRegions,
    /// The query has elements for regions, and none for this one, and no value is configured for that.
    #[error(
        "no element has the region `{region}`, only {others} (if nothing means 0, set `FAS_PROMETHEUS_EMPTY_VALUE`)"
    )]
    NoRegion {
        /// The fleet's region.
        region: String,
        /// Some of those there are.
        others: String,
    },
    /// A range of samples for each series.
    #[error(
        "the query returned a matrix, but one value is needed: remove the range, or aggregate over it"
    )]
    Matrix,
    /// A string.
    #[error("the query returned a string, but a number is needed")]
    StringResult,
    /// A result type that Prometheus does not have.
    #[error("expected the result type `vector` or `scalar`, but found `{found}`")]
    ResultType {
        /// What was found.
        found: String,
    },
    /// An element that does not say which machine it is about.
    #[error(
        "an element has neither a label `machine` nor `instance` that says which machine it is about: keep one with `sum by (instance) (…)`"
    )]
    NoMachineLabel,
    /// A result type that no range query has.
    #[error(
        "expected the result type `matrix` of a range query, but found `{found}`: does the server know `/api/v1/query_range`?"
    )]
    RangeResultType {
        /// What was found.
        found: String,
    },
    /// A native histogram.
    #[error(
        "the query returned a native histogram, but a number is needed: use `histogram_quantile`, `histogram_count` …"
    )]
    Histogram,
    /// A sample value that is no number.
    #[error("expected a number, but found `{found}`")]
    NotANumber {
        /// What was found.
        found: String,
    },
    /// A value that is no text, and so no number.
    #[error("expected a number, but found a value that is not UTF-8")]
    NotUtf8,
    /// An integer so long that it is not even read.
    #[error("expected a number, but found one of more than {limit} digits")]
    LongNumber {
        /// The limit.
        limit: usize,
    },
    /// NaN, which would make every comparison false, and no value is configured for that.
    #[error(
        "the value is NaN, for example 0/0 of an idle app (`FAS_PROMETHEUS_EMPTY_VALUE` can replace it)"
    )]
    Nan,

    /// Temporal does not know the namespace.
    #[error(
        "Temporal does not know the namespace `{namespace}`{}",
        after_colon(text)
    )]
    Namespace {
        /// The namespace asked for.
        namespace: String,
        /// Temporal's text.
        text: String,
    },
    /// Temporal refused the query.
    #[error("Temporal refused the query{}", after_colon(text))]
    Query {
        /// Temporal's text.
        text: String,
    },
    /// Temporal refused us.
    #[error(
        "Temporal denied access ({code}); check `TEMPORAL_TLS_CERT_DATA` and `TEMPORAL_TLS_KEY_DATA`{}",
        after_colon(text)
    )]
    Denied {
        /// The gRPC code.
        code: &'static str,
        /// Temporal's text.
        text: String,
    },
    /// Any other answer of Temporal that is no count.
    #[error("Temporal answered {code}{}", after_colon(text))]
    Grpc {
        /// The gRPC code.
        code: &'static str,
        /// Temporal's text.
        text: String,
    },
    /// A count below zero.
    #[error("Temporal counted {0} workflows")]
    NegativeCount(i64),

    /// What was asked does not accept what we show it.
    #[error("{peer} did not let us in; check {check}{}", after_colon(text))]
    NotLetIn {
        /// Which service, and its address without secrets.
        peer: String,
        /// Where that is set.
        check: &'static str,
        /// What it said.
        text: String,
    },
    /// A web server's status that is no success.
    #[error("{peer} answered HTTP {status}{}", after_colon(body))]
    Answered {
        /// Which service, and its address without secrets.
        peer: String,
        /// The status.
        status: StatusCode,
        /// The beginning of the body if it is text, else empty.
        body: String,
    },
    /// JSON that is broken.
    #[error("the JSON cannot be read: {problem}")]
    BadJson {
        /// What is wrong, and where.
        problem: String,
    },
    /// A `JSONPath` that is none once the names of app and region are in it.
    #[error("the path to the number cannot be used: {problem}")]
    Path {
        /// What is wrong with it.
        problem: String,
    },
    /// There is no value, and none is configured for that.
    #[error("{what} (if nothing means 0, set `{setting}`)")]
    Nothing {
        /// What there is instead.
        what: String,
        /// Where a value for this case is set.
        setting: &'static str,
    },
    /// There are several values.
    #[error("{what}, but one value is needed: {found}")]
    Several {
        /// How many there are of what.
        what: String,
        /// The first of them.
        found: String,
    },
    /// A server's error about what it was asked.
    #[error("{service} refused it: {text}")]
    Refused {
        /// Which service.
        service: &'static str,
        /// What it said.
        text: String,
    },
    /// A server that can answer nobody now.
    #[error("{service} cannot answer now: {text}")]
    Unready {
        /// Which service.
        service: &'static str,
        /// What it said.
        text: String,
    },
    /// A server that ended what took too long.
    #[error("{service} ended the query: {text} (half of `FAS_TIMEOUT` is for metrics)")]
    Cancelled {
        /// Which service.
        service: &'static str,
        /// What it said.
        text: String,
    },
    /// A server that refused the connection for another reason than the password.
    #[error("{peer} refused the connection: {text}")]
    NoEntry {
        /// Which service, and its address without secrets.
        peer: String,
        /// What it said.
        text: String,
    },
    /// Something else listens there.
    #[error("{peer} does not speak its protocol: is it another server, or one that expects TLS?")]
    NotItsProtocol {
        /// Which service, and its address without secrets.
        peer: String,
    },
    /// What kept the connection from being made that several metrics share, or a metric from having a value that holds for several
    /// regions.
    #[error(transparent)]
    SameAttempt(std::sync::Arc<Self>),

    /// A failure whose message names settings by what the user has called them.
    #[error("{text}")]
    Respelt {
        /// What the answer was; it has no cause of its own.
        error: Box<Self>,
        /// Its message.
        text: String,
    },

    /// A failure that may be the query's fault, with the query.
    #[error("{error}; the query sent was: {query}")]
    Asked {
        /// What the answer was; it has no cause of its own.
        error: Box<Self>,
        /// What was sent, with its variables replaced; bounded and cleaned.
        query: String,
    },
}

/// Why a client certificate and its key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No certificate in the certificate's variable.
    #[error(
        "`TEMPORAL_TLS_CERT_DATA` (or `FAS_TEMPORAL_CERT_DATA`) holds no certificate: expected PEM, \
         `-----BEGIN CERTIFICATE-----`{}",
        if *.is_key { ", but found a private key: are the two variables swapped?" } else { "" }
    )]
    NoCertificate {
        /// Whether a private key is there instead.
        is_key: bool,
    },
    /// A certificate that is no valid PEM.
    #[error("`TEMPORAL_TLS_CERT_DATA` (or `FAS_TEMPORAL_CERT_DATA`) holds broken PEM")]
    BrokenCertificate,
    /// No key in the key's variable.
    #[error(
        "`TEMPORAL_TLS_KEY_DATA` (or `FAS_TEMPORAL_KEY_DATA`) holds no readable private key: expected PEM, \
         `-----BEGIN PRIVATE KEY-----`{}",
        if *.is_certificate { ", but found a certificate: are the two variables swapped?" } else { "" }
    )]
    NoKey {
        /// Whether a certificate is there instead.
        is_certificate: bool,
    },
    /// A key that needs a passphrase.
    #[error(
        "`TEMPORAL_TLS_KEY_DATA` (or `FAS_TEMPORAL_KEY_DATA`) holds an encrypted private key: decrypt it first \
         (`openssl pkey -in encrypted.pem -out plain.pem`)"
    )]
    EncryptedKey,
    /// The key belongs to another certificate.
    #[error(
        "the private key of `TEMPORAL_TLS_KEY_DATA` (or `FAS_TEMPORAL_KEY_DATA`) does not belong to the first \
         certificate of `TEMPORAL_TLS_CERT_DATA` (or `FAS_TEMPORAL_CERT_DATA`)"
    )]
    Mismatch,
    /// A pair that rustls cannot use: an unsupported kind of key, a version 1 certificate …
    #[error(
        "the pair of `TEMPORAL_TLS_CERT_DATA` and `TEMPORAL_TLS_KEY_DATA` (or `FAS_TEMPORAL_…`) cannot be used: {problem} (a key is \
         RSA of 2048 bits or more, ECDSA on P-256 or P-384, or Ed25519)"
    )]
    Unusable {
        /// rustls's words.
        problem: String,
    },
}

/// What kind of failure a [`CollectError`] is: a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectErrorKind {
    /// The configuration cannot be used; only [`Collector::new`](super::Collector::new) says so.
    Setup,
    /// No connection was made.
    Connection,
    /// TLS failed.
    Tls,
    /// Nothing was heard in time.
    Timeout,
    /// The exchange broke off.
    Interrupted,
    /// The answer was too large.
    Oversized,
    /// The token, the password or the certificate was not accepted.
    Unauthorized,
    /// An HTTP or gRPC status that is no success.
    Status,
    /// The query was refused or failed.
    Query,
    /// The namespace is unknown.
    Namespace,
    /// The answer cannot be read: no JSON, cut off, or something else than an answer.
    Unreadable,
    /// The answer is marked as partial.
    Partial,
    /// The query returned nothing.
    Empty,
    /// The answer is of a type that is no single number.
    WrongType,
    /// The value is no number.
    NotANumber,
}

impl CollectError {
    /// Shows the query, where looking at it may help: what was configured has variables in it.
    pub(super) fn asked(self, query: &str) -> Self {
        let may_be_the_querys_fault = match self.answer() {
            Self::Empty
            | Self::NoRegions
            | Self::NoRegion { .. }
            | Self::NoMachine
            | Self::SomeRegions
            | Self::Nan
            | Self::NoMachineLabel
            | Self::Api { .. }
            | Self::Query { .. }
            | Self::Nothing { .. }
            | Self::Several { .. }
            | Self::Refused { .. }
            | Self::Cancelled { .. } => true,
            Self::HttpStatus { status, .. } => matches!(status.as_u16(), 400 | 422),
            _ => false,
        };
        if !may_be_the_querys_fault {
            return self;
        }
        Self::Asked {
            query: excerpt(query, QUERY_LIMIT),
            error: Box::new(self),
        }
    }

    /// Names settings by what they are called where the collector is written.
    #[must_use]
    pub fn respelt(self, kind: CollectorKind, spelling: &Spelling) -> Self {
        let message = match self {
            Self::Tls {
                peer,
                advice,
                source,
            } => {
                return Self::Tls {
                    peer,
                    advice: spelling.respell(kind, &advice).into(),
                    source,
                };
            }
            // Its cause names them.
            Self::Identity(_) => chain(&self),
            _ => self.to_string(),
        };
        let text = spelling.respell(kind, &message);
        if text == message {
            return self;
        }
        Self::Respelt {
            error: Box::new(self),
            text,
        }
    }

    /// The failure of a range query: what says of itself that it is about an instant query is worded anew.
    pub(super) fn of_range(self) -> Self {
        match self {
            Self::Malformed { problem } => Self::MalformedRange { problem },
            Self::ResultType { found } => Self::RangeResultType { found },
            other => other,
        }
    }

    /// Whether some elements said which region they are about, and some did not.
    #[must_use]
    pub fn is_of_some_regions(&self) -> bool {
        matches!(self.answer(), Self::SomeRegions)
    }

    /// The failure without the query.
    pub(super) fn answer(&self) -> &Self {
        match self {
            Self::Asked { error, .. } => error.answer(),
            Self::SameAttempt(error) => error.answer(),
            Self::Respelt { error, .. } => error.answer(),
            other => other,
        }
    }

    /// As what the request is counted.
    pub(super) fn result(&self) -> CallResult {
        match self.answer() {
            Self::HttpStatus { status, .. } | Self::Answered { status, .. } => {
                CallResult::of_status(status.as_u16())
            }
            // Prometheus may say in an answer of 200 that the query failed.
            Self::Api { status, .. } if !status.is_success() => {
                CallResult::of_status(status.as_u16())
            }
            error => match error.kind() {
                CollectErrorKind::Timeout => CallResult::Timeout,
                CollectErrorKind::Connection
                | CollectErrorKind::Tls
                | CollectErrorKind::Interrupted => CallResult::Transport,
                CollectErrorKind::Unauthorized => CallResult::Unauthorized,
                CollectErrorKind::Query | CollectErrorKind::Namespace => CallResult::ClientError,
                CollectErrorKind::Status => CallResult::ServerError,
                _ => CallResult::Invalid,
            },
        }
    }

    /// The reason of what fails for want of the metric. A source that lets us not in is none of a refused token: that one is Fly's.
    #[must_use]
    pub fn reason(&self) -> PassError {
        match self.kind() {
            CollectErrorKind::Timeout => PassError::Timeout,
            _ => PassError::Metric,
        }
    }

    /// Whether the source refuses the token, the password or the certificate that it is shown.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.kind() == CollectErrorKind::Unauthorized
    }

    /// The kind of failure.
    pub fn kind(&self) -> CollectErrorKind {
        match self {
            Self::Asked { error, .. } => error.kind(),
            Self::SameAttempt(error) => error.kind(),
            Self::Respelt { error, .. } => error.kind(),
            Self::Address { .. } | Self::Token { .. } | Self::Roots | Self::Identity(_) => {
                CollectErrorKind::Setup
            }
            Self::Connection { .. } | Self::Proxy { .. } => CollectErrorKind::Connection,
            Self::Tls { .. } => CollectErrorKind::Tls,
            Self::Timeout { .. }
            | Self::OutOfTime { .. }
            | Self::RangeTimeout { .. }
            | Self::Cancelled { .. } => CollectErrorKind::Timeout,
            Self::Interrupted { .. } | Self::HungUp { .. } => CollectErrorKind::Interrupted,
            Self::Oversized { .. } | Self::TooManyValues { .. } => CollectErrorKind::Oversized,
            Self::Unauthorized { .. } | Self::Denied { .. } | Self::NotLetIn { .. } => {
                CollectErrorKind::Unauthorized
            }
            Self::NotGrpc { status, .. } if matches!(status.as_u16(), 401 | 403) => {
                CollectErrorKind::Unauthorized
            }
            Self::HttpStatus { .. }
            | Self::Answered { .. }
            | Self::Unready { .. }
            | Self::NoEntry { .. }
            | Self::Redirected { .. }
            | Self::TooManyRedirects { .. }
            | Self::NotGrpc { .. }
            | Self::Grpc { .. } => CollectErrorKind::Status,
            Self::Api { .. } | Self::Query { .. } | Self::Path { .. } | Self::Refused { .. } => {
                CollectErrorKind::Query
            }
            Self::Namespace { .. } => CollectErrorKind::Namespace,
            Self::NotJson { .. }
            | Self::Truncated { .. }
            | Self::Malformed { .. }
            | Self::MalformedRange { .. }
            | Self::BadJson { .. }
            | Self::NotItsProtocol { .. }
            | Self::Encoding { .. }
            | Self::NegativeCount(_) => CollectErrorKind::Unreadable,
            Self::Partial => CollectErrorKind::Partial,
            Self::Empty
            | Self::NoMachine
            | Self::NoRegions
            | Self::NoRegion { .. }
            | Self::Nothing { .. }
            | Self::NoHistory { .. } => CollectErrorKind::Empty,
            Self::Matrix
            | Self::StringResult
            | Self::ResultType { .. }
            | Self::RangeResultType { .. }
            | Self::Histogram
            | Self::SomeRegions
            | Self::NoMachineLabel
            | Self::Several { .. } => CollectErrorKind::WrongType,
            Self::NotANumber { .. } | Self::NotUtf8 | Self::LongNumber { .. } | Self::Nan => {
                CollectErrorKind::NotANumber
            }
        }
    }
}

/// What usually is behind a status.
fn hint(status: StatusCode) -> &'static str {
    match status.as_u16() {
        301 | 302 | 303 | 307 | 308 => {
            ": a redirect to no address that can be read; configure the address it should lead to"
        }
        300..=399 => ": neither an answer nor a redirect; is the address right?",
        404 => ": is the path of the address right? (Fly's is https://api.fly.io/prometheus/ORG)",
        _ => "",
    }
}

fn after_colon(text: &str) -> String {
    after(": ", text)
}

/// The type of an error, unless it only repeats the status, as `VictoriaMetrics` has it.
fn after_comma(error_type: &str, status: StatusCode) -> String {
    if error_type == status.as_str() {
        String::new()
    } else {
        after(", ", error_type)
    }
}

fn after(separator: &str, text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("{separator}{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_lets_us_not_in_is_a_failed_metric_and_no_refused_token_of_fly() {
        let peer = || "Redis at h:6379".to_owned();
        let not_let_in = |check| CollectError::NotLetIn {
            peer: peer(),
            check,
            text: String::new(),
        };
        let refusals = [
            CollectError::Unauthorized {
                status: StatusCode::FORBIDDEN,
                body: String::new(),
            },
            CollectError::Denied {
                code: "UNAUTHENTICATED",
                text: String::new(),
            },
            CollectError::NotGrpc {
                peer: peer(),
                status: StatusCode::UNAUTHORIZED,
                hint: "",
            },
            not_let_in("`FAS_REDIS_URL`"),
            not_let_in("`FAS_HTTP_TOKEN`").asked("GET"),
            not_let_in("`FAS_POSTGRES_URL`").respelt(
                CollectorKind::Postgres,
                &Spelling::Item("metric-collectors[0]".to_owned()),
            ),
            CollectError::SameAttempt(std::sync::Arc::new(not_let_in("`FAS_REDIS_URL`"))),
        ];
        for refusal in refusals {
            assert!(refusal.is_refusal(), "{refusal:?}");
            assert_eq!(refusal.reason(), PassError::Metric, "{refusal:?}");
            assert_eq!(refusal.result(), CallResult::Unauthorized, "{refusal:?}");
        }
        let away = CollectError::Timeout { peer: peer() };
        assert!(!away.is_refusal());
        assert_eq!(away.reason(), PassError::Timeout);
    }
}

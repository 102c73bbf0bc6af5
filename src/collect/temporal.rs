//! Asking Temporal how many workflows run: `CountWorkflowExecutions` over gRPC.
//!
//! The two messages are declared by hand, as this is the only call. The connection is made when first needed and given
//! up with the call that it failed, so that the next pass begins with a fresh one; nothing is repeated within a pass.

use std::{
    error::Error as StdError,
    fmt, io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{StatusCode, header::CONTENT_TYPE, uri::PathAndQuery};
use hyper_util::client::{
    legacy::connect::{HttpConnector, proxy::Tunnel},
    proxy::matcher::Matcher,
};
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use secrecy::ExposeSecret;
use tonic::{
    Code, Request, Status,
    body::Body,
    client::Grpc,
    codegen::Body as HttpBody,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_prost::ProstCodec;
use tower::{BoxError, Service, ServiceExt as _};

use super::{CollectError, IdentityError, Sample};
use crate::{
    config::{TemporalAddress, TemporalIdentity},
    shown::excerpt,
    transport::{
        ProxyAddress, certificate_advice, install_crypto_provider, tls_error, usable_roots,
    },
};

/// How long a connection, TLS included, may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// When a call is asked whether its server still lives, and how long that answer may take: together well below the
/// default deadline of a pass, so that a dead connection is named as the cause.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Probes of the idle connection by the operating system, which no server's limit on HTTP/2 pings forbids.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// The longest answer that is read; a count takes a few bytes.
const MESSAGE_LIMIT: usize = 1024 * 1024;

/// The longest text of a server that is shown.
const TEXT_LIMIT: usize = 300;

/// How many causes of an error are kept.
const CAUSE_LIMIT: usize = 8;

/// The full name of the call.
const PATH: &str = "/temporal.api.workflowservice.v1.WorkflowService/CountWorkflowExecutions";

/// A Temporal server and one of its namespaces.
pub(super) struct Temporal {
    endpoint: Endpoint,
    /// The address as it is shown, and how it is spoken to.
    peer: String,
    namespace: String,
    /// What may be missing if the server hangs up and never answers.
    hint: &'static str,
    /// The proxy as it is shown, and the way through it.
    tunnel: Option<(String, Tunnel<HttpConnector>)>,
    has_answered: AtomicBool,
    connection: Mutex<Connection>,
}

/// The channel in use; its generation tells it from the one that replaced it.
#[derive(Default)]
struct Connection {
    generation: u64,
    channel: Option<Channel>,
}

impl Temporal {
    /// Prepares the connection, and connects to nothing.
    ///
    /// # Errors
    ///
    /// An address, a key pair or extra roots that cannot be used.
    pub(super) fn new(
        address: &TemporalAddress,
        namespace: &str,
        identity: Option<&TemporalIdentity>,
        extra_roots: Option<&[u8]>,
    ) -> Result<Self, CollectError> {
        let authority = address.authority();
        let is_tls = address.is_https() || identity.is_some();
        let scheme = if is_tls { "https" } else { "http" };
        let unusable = |problem| CollectError::Address {
            service: "Temporal",
            problem,
        };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{authority}"))
            .and_then(|endpoint| {
                endpoint.user_agent(concat!("fly-autoscaler/", env!("CARGO_PKG_VERSION")))
            })
            .map_err(|_| unusable("expected `host:port`"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(Some(TCP_KEEPALIVE))
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        if is_tls {
            install_crypto_provider();
            let mut tls = ClientTlsConfig::new()
                .with_webpki_roots()
                .timeout(CONNECT_TIMEOUT);
            if let Some(pem) = extra_roots {
                // tonic leaves those out that it cannot parse, and says nothing if none is left.
                usable_roots(pem).ok_or(CollectError::Roots)?;
                tls = tls.ca_certificate(Certificate::from_pem(pem));
            }
            if let Some(identity) = identity {
                tls = tls.identity(checked_identity(identity).map_err(CollectError::Identity)?);
            }
            endpoint = endpoint.tls_config(tls).map_err(|_| {
                unusable("expected a host name or an IP address that a certificate can be for")
            })?;
        }
        let manner = if is_tls { "TLS" } else { "plain text" };
        let hint = match (is_tls, identity) {
            (false, _) => ": does it expect TLS? (`https://` before the address)",
            (true, None) => {
                ": does it expect a client certificate? (`TEMPORAL_TLS_CERT_DATA`, `TEMPORAL_TLS_KEY_DATA`)"
            }
            (true, Some(_)) => {
                ": does it accept the client certificate? (`TEMPORAL_TLS_CERT_DATA`, `TEMPORAL_TLS_KEY_DATA`)"
            }
        };
        Ok(Self {
            endpoint,
            peer: format!("Temporal at {authority} ({manner})"),
            namespace: namespace.to_owned(),
            hint,
            tunnel: None,
            has_answered: AtomicBool::new(false),
            connection: Mutex::default(),
        })
    }

    /// Goes through a proxy, if there is one, as gRPC in Go does: it asks the proxy for a connection (`CONNECT`), with
    /// TLS or without.
    ///
    /// # Errors
    ///
    /// A proxy that is not spoken to in plain HTTP.
    pub(super) fn through(mut self, proxy: Option<&ProxyAddress>) -> Result<Self, CollectError> {
        let Some(proxy) = proxy else { return Ok(self) };
        let unusable = || CollectError::Address {
            service: "Temporal",
            problem: "gRPC needs an `http://` proxy",
        };
        if proxy.url().scheme() != "http" {
            return Err(unusable());
        }
        // It takes the address apart: the place, and the header for user and password.
        let matcher = Matcher::builder().all(proxy.url().as_str()).build();
        let parts = matcher
            .intercept(self.endpoint.uri())
            .ok_or_else(unusable)?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_keepalive(Some(TCP_KEEPALIVE));
        let mut tunnel = Tunnel::new(parts.uri().clone(), connector);
        if let Some(authorization) = parts.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        self.tunnel = Some((proxy.to_string(), tunnel));
        Ok(self)
    }

    /// How many workflows of the namespace match `query` (see [`running`]). Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// Whatever keeps the server from counting them.
    pub(super) async fn count(&self, query: &str) -> Result<Sample, CollectError> {
        let (generation, channel) = self.channel();
        // A call that is dropped at its deadline takes its connection along: it may hang, and an attempt to connect that
        // fails later would be told to the next pass.
        let mut doubt = Doubt {
            temporal: self,
            generation,
            is_settled: false,
        };
        let request = CountWorkflowExecutionsRequest {
            namespace: self.namespace.clone(),
            query: query.to_owned(),
        };
        let answer = count_through(channel, request).await;
        doubt.is_settled = match &answer {
            Ok(_) => true,
            Err(status) => status.source().is_none(),
        };
        if doubt.is_settled {
            self.has_answered.store(true, Ordering::Relaxed);
        }
        match answer {
            Ok(CountWorkflowExecutionsResponse { count }) => sample(count),
            Err(status) => Err(self.refused(&status)),
        }
    }

    fn channel(&self) -> (u64, Channel) {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let generation = connection.generation;
        let channel = connection
            .channel
            .get_or_insert_with(|| match &self.tunnel {
                None => self.endpoint.connect_lazy(),
                Some((_, tunnel)) => self.endpoint.connect_with_connector_lazy(tunnel.clone()),
            })
            .clone();
        (generation, channel)
    }

    /// Gives the channel of `generation` up, unless another call did so already.
    fn give_up(&self, generation: u64) {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if connection.generation == generation {
            connection.generation = generation.wrapping_add(1);
            connection.channel = None;
        }
    }

    /// Names what a status means: one with a source is about the connection, any other is the server's word.
    fn refused(&self, status: &Status) -> CollectError {
        let text = excerpt(status.message(), TEXT_LIMIT);
        let peer = self.peer.clone();
        if let Some(source) = status.source() {
            if let Some(NotGrpc(status)) = chain(source).find_map(<dyn StdError>::downcast_ref) {
                // A proxy that refuses us says 4xx; one that cannot reach its server says 5xx.
                let hint = if status.is_client_error() {
                    self.hint
                } else {
                    ""
                };
                let status = *status;
                return CollectError::NotGrpc { peer, status, hint };
            }
            let is_about = Causes::of(source);
            let source = Box::new(CauseChain::of(source));
            return if let Some(advice) = is_about.tls {
                CollectError::Tls {
                    peer,
                    advice: advice.into(),
                    source,
                }
            } else if is_about.connecting {
                match &self.tunnel {
                    Some((proxy, _)) => CollectError::Proxy {
                        peer,
                        proxy: proxy.clone(),
                        source,
                    },
                    None => CollectError::Connection { peer, source },
                }
            } else if !self.has_answered.load(Ordering::Relaxed) {
                let hint = self.hint;
                CollectError::HungUp { peer, hint, source }
            } else {
                CollectError::Interrupted { peer, source }
            };
        }
        let code = code_name(status.code());
        match status.code() {
            Code::NotFound => CollectError::Namespace {
                namespace: self.namespace.clone(),
                text,
            },
            Code::InvalidArgument => CollectError::Query { text },
            Code::Unauthenticated | Code::PermissionDenied => CollectError::Denied { code, text },
            Code::DeadlineExceeded => CollectError::Timeout { peer },
            // tonic's own words; a server has other reasons for the code.
            Code::OutOfRange if text.contains("message length too large") => {
                CollectError::Oversized {
                    limit: MESSAGE_LIMIT,
                }
            }
            _ => CollectError::Grpc { code, text },
        }
    }
}

/// Gives a connection up unless the call on it was answered.
struct Doubt<'a> {
    temporal: &'a Temporal,
    generation: u64,
    is_settled: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.temporal.give_up(self.generation);
        }
    }
}

/// `temporal.api.workflowservice.v1.CountWorkflowExecutionsRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct CountWorkflowExecutionsRequest {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, tag = "2")]
    query: String,
}

/// `temporal.api.workflowservice.v1.CountWorkflowExecutionsResponse`, without the groups that no query of ours asks for.
#[derive(Clone, PartialEq, prost::Message)]
struct CountWorkflowExecutionsResponse {
    #[prost(int64, tag = "1")]
    count: i64,
}

/// An HTTP answer that is no answer to a gRPC call: of a proxy before the server, or of a web server.
#[derive(Debug, thiserror::Error)]
#[error("HTTP {0} instead of gRPC")]
struct NotGrpc(StatusCode);

/// Why a call has no gRPC answer. A named type: with boxed errors the compiler cannot tell that the call is `Send`.
#[derive(Debug, thiserror::Error)]
enum Unanswered<E: StdError + 'static> {
    #[error("no answer to the call")]
    NotGrpc(#[source] NotGrpc),
    #[error(transparent)]
    Service(#[from] E),
}

/// Lets an answer through that can be one to a gRPC call; tonic would look for a message in the others.
fn checked_answer<B>(answer: http::Response<B>) -> Result<http::Response<B>, NotGrpc> {
    let headers = answer.headers();
    let is_another_type = headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| !value.as_bytes().starts_with(b"application/grpc"));
    let is_refused = answer.status() != StatusCode::OK || is_another_type;
    if is_refused && !headers.contains_key("grpc-status") {
        return Err(NotGrpc(answer.status()));
    }
    Ok(answer)
}

async fn count_through<S, B>(
    service: S,
    request: CountWorkflowExecutionsRequest,
) -> Result<CountWorkflowExecutionsResponse, Status>
where
    S: Service<http::Request<Body>, Response = http::Response<B>>,
    S::Error: StdError + Send + Sync + 'static,
    B: HttpBody + Send + 'static,
    B::Error: Into<BoxError>,
{
    let service = service.map_result(|answer: Result<_, S::Error>| match answer {
        Ok(answer) => checked_answer(answer).map_err(Unanswered::NotGrpc),
        Err(error) => Err(Unanswered::Service(error)),
    });
    let mut client = Grpc::new(service).max_decoding_message_size(MESSAGE_LIMIT);
    client
        .ready()
        .await
        .map_err(|error| Status::from_error(Box::new(error)))?;
    let codec = ProstCodec::default();
    let path = PathAndQuery::from_static(PATH);
    let response = client.unary(Request::new(request), path, codec).await?;
    Ok(response.into_inner())
}

fn sample(count: i64) -> Result<Sample, CollectError> {
    if count < 0 {
        return Err(CollectError::NegativeCount(count));
    }
    Ok(Sample {
        value: count as f64,
        element_count: 1,
        is_of_region: false,
        time: None,
        warnings: Vec::new(),
    })
}

/// The visibility query for the running workflows that match `query`.
pub(super) fn running(query: Option<&str>) -> String {
    // A query that is empty once its variables are in it is sent as it is, and refused: to count everything instead
    // could start any number of machines.
    match query {
        Some(query) => format!("ExecutionStatus=\"Running\" AND ({query})"),
        None => "ExecutionStatus=\"Running\"".to_owned(),
    }
}

/// The identity, if the certificate and the key can be read and belong together.
fn checked_identity(identity: &TemporalIdentity) -> Result<Identity, IdentityError> {
    let certificate = with_line_breaks(&identity.certificate);
    let key = with_line_breaks(identity.key.expose_secret());
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| IdentityError::BrokenCertificate)?;
    if chain.is_empty() {
        return Err(IdentityError::NoCertificate {
            is_key: certificate.contains("PRIVATE KEY-----"),
        });
    }
    if key.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || key.contains("Proc-Type: 4,ENCRYPTED")
    {
        return Err(IdentityError::EncryptedKey);
    }
    // The parser's error may hold a line of the key, and is not for showing.
    let der = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| IdentityError::NoKey {
        is_certificate: key.contains("-----BEGIN CERTIFICATE-----"),
    })?;
    CertifiedKey::from_der(chain, der, &ring::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => IdentityError::Mismatch,
        other => IdentityError::Unusable {
            problem: excerpt(&other.to_string(), TEXT_LIMIT),
        },
    })?;
    Ok(Identity::from_pem(&certificate, &key))
}

/// PEM whose line breaks arrived as the two characters `\n`, as some tools put them into variables, with real ones. No
/// PEM has a backslash of its own.
fn with_line_breaks(pem: &str) -> String {
    pem.replace("\\r", "").replace("\\n", "\n")
}

/// What an error's chain is about.
struct Causes {
    /// TLS, and what may help.
    tls: Option<&'static str>,
    connecting: bool,
}

impl Causes {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut about = Self {
            tls: tls_error(error).map(certificate_advice),
            connecting: false,
        };
        for error in chain(error) {
            about.connecting |= error.is::<tonic::ConnectError>();
        }
        about
    }
}

/// An error and its causes, bounded. An I/O error's own inner error is among them, which its `source()` leaves out.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match inner {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
    .take(CAUSE_LIMIT)
}

/// A chain of causes, kept as text: the error that it comes from cannot be owned, and may repeat itself.
#[derive(Debug)]
struct CauseChain {
    text: String,
    source: Option<Box<Self>>,
}

impl CauseChain {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut texts: Vec<String> = chain(error)
            .map(|error| excerpt(&error.to_string(), TEXT_LIMIT))
            .collect();
        texts.dedup();
        let mut cause = None;
        for text in texts.into_iter().rev() {
            cause = Some(Box::new(Self {
                text,
                source: cause,
            }));
        }
        cause.map_or_else(
            || Self {
                text: "unknown".to_owned(),
                source: None,
            },
            |cause| *cause,
        )
    }
}

impl fmt::Display for CauseChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for CauseChain {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|cause| cause as _)
    }
}

/// The gRPC code as its specification writes it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::{
        convert::Infallible,
        net::TcpListener as BlockingListener,
        sync::Arc,
        thread::{self, JoinHandle},
    };

    use bytes::Bytes;
    use futures_util::FutureExt;
    use http::{HeaderMap, Response};
    use http_body_util::{BodyExt, Full};
    use rustls::{RootCertStore, ServerConfig, ServerConnection, server::WebPkiClientVerifier};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::{
        super::{
            CollectErrorKind as Kind,
            test_keys::{
                CA_CERTIFICATE, CLIENT_CERTIFICATE, CLIENT_KEY, ENCRYPTED_KEY,
                LEGACY_ENCRYPTED_KEY, P521_CERTIFICATE, P521_KEY, SERVER_CERTIFICATE, SERVER_KEY,
                SMALL_RSA_CERTIFICATE, SMALL_RSA_KEY,
            },
        },
        *,
    };
    use crate::transport::ProxyRules;

    fn identity(certificate: &str, key: &str) -> TemporalIdentity {
        TemporalIdentity {
            certificate: certificate.to_owned(),
            key: key.to_owned().into(),
        }
    }

    fn at(address: &str) -> TemporalAddress {
        TemporalAddress::parse(address).unwrap()
    }

    fn plain(address: &str) -> Temporal {
        Temporal::new(&at(address), "orders", None, None).unwrap()
    }

    /// An error and all its causes.
    fn full_text(error: &CollectError) -> String {
        std::iter::successors(Some(error as &dyn StdError), |&error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    }

    #[test]
    fn a_query_narrows_the_running_workflows() {
        let cases = [
            (None, r#"ExecutionStatus="Running""#),
            (
                Some("WorkflowType='A' OR WorkflowType='B'"),
                r#"ExecutionStatus="Running" AND (WorkflowType='A' OR WorkflowType='B')"#,
            ),
            (Some(""), r#"ExecutionStatus="Running" AND ()"#),
        ];
        for (query, expected) in cases {
            assert_eq!(running(query), expected);
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port_with_or_without_a_scheme() {
        let cases = [
            (
                "temporal.internal:7233",
                "Temporal at temporal.internal:7233 (plain text)",
            ),
            (
                "temporal.internal",
                "Temporal at temporal.internal:7233 (plain text)",
            ),
            ("http://10.0.0.1:80", "Temporal at 10.0.0.1:80 (plain text)"),
            (
                "https://acme.tmprl.cloud:7233/",
                "Temporal at acme.tmprl.cloud:7233 (TLS)",
            ),
            (
                "HTTPS://acme.tmprl.cloud",
                "Temporal at acme.tmprl.cloud:7233 (TLS)",
            ),
            (
                "dns:///temporal:7233",
                "Temporal at temporal:7233 (plain text)",
            ),
            ("[fdaa::3]:7233", "Temporal at [fdaa::3]:7233 (plain text)"),
            ("https://[fdaa::3]", "Temporal at [fdaa::3]:7233 (TLS)"),
            (" temporal:1 ", "Temporal at temporal:1 (plain text)"),
        ];
        for (address, peer) in cases {
            assert_eq!(plain(address).peer, peer, "{address}");
        }
    }

    #[test]
    fn a_client_certificate_means_tls() {
        let identity = identity(CLIENT_CERTIFICATE, CLIENT_KEY);
        for address in [
            "temporal:7233",
            "http://temporal:7233",
            "https://temporal:7233",
        ] {
            let temporal = Temporal::new(&at(address), "orders", Some(&identity), None).unwrap();
            assert_eq!(
                temporal.peer, "Temporal at temporal:7233 (TLS)",
                "{address}"
            );
        }
    }

    #[test]
    fn a_key_pair_that_cannot_be_used_is_named() {
        let chain = format!("{CLIENT_CERTIFICATE}{CA_CERTIFICATE}");
        let escaped = (
            CLIENT_CERTIFICATE.replace('\n', "\\n"),
            CLIENT_KEY.replace('\n', "\\r\\n"),
        );
        let windows = (
            CLIENT_CERTIFICATE.replace('\n', "\r\n"),
            CLIENT_KEY.replace('\n', "\r\n"),
        );
        let cut = &CLIENT_CERTIFICATE[..200];
        let no_certificate = |is_key| Some(IdentityError::NoCertificate { is_key });
        let no_key = |is_certificate| Some(IdentityError::NoKey { is_certificate });
        let cases: [(&str, &str, &str, Option<IdentityError>); 14] = [
            ("a pair", CLIENT_CERTIFICATE, CLIENT_KEY, None),
            ("a chain", &chain, CLIENT_KEY, None),
            (
                "line breaks written as two characters",
                &escaped.0,
                &escaped.1,
                None,
            ),
            ("line breaks of Windows", &windows.0, &windows.1, None),
            (
                "swapped",
                CLIENT_KEY,
                CLIENT_CERTIFICATE,
                no_certificate(true),
            ),
            ("no certificate", "", CLIENT_KEY, no_certificate(false)),
            ("not PEM", "MIIB", CLIENT_KEY, no_certificate(false)),
            (
                "half a certificate",
                cut,
                CLIENT_KEY,
                Some(IdentityError::BrokenCertificate),
            ),
            ("no key", CLIENT_CERTIFICATE, "", no_key(false)),
            (
                "two certificates",
                CLIENT_CERTIFICATE,
                CLIENT_CERTIFICATE,
                no_key(true),
            ),
            (
                "encrypted",
                CLIENT_CERTIFICATE,
                ENCRYPTED_KEY,
                Some(IdentityError::EncryptedKey),
            ),
            (
                "encrypted by an older tool",
                CLIENT_CERTIFICATE,
                LEGACY_ENCRYPTED_KEY,
                Some(IdentityError::EncryptedKey),
            ),
            (
                "another's key",
                CLIENT_CERTIFICATE,
                SERVER_KEY,
                Some(IdentityError::Mismatch),
            ),
            (
                "the chain the wrong way round",
                &format!("{CA_CERTIFICATE}{CLIENT_CERTIFICATE}"),
                CLIENT_KEY,
                Some(IdentityError::Mismatch),
            ),
        ];
        for (name, certificate, key, expected) in cases {
            let identity = identity(certificate, key);
            let found = match Temporal::new(&at("temporal:7233"), "orders", Some(&identity), None) {
                Ok(_) => None,
                Err(CollectError::Identity(error)) => Some(error),
                Err(other) => panic!("{name}: {other}"),
            };
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_key_that_is_no_key_is_refused_without_showing_it() {
        let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
        let identity = identity(CLIENT_CERTIFICATE, key);
        let error = Temporal::new(&at("temporal:7233"), "orders", Some(&identity), None).err();
        let text = full_text(&error.unwrap());
        assert!(
            text.starts_with(
                "the client certificate for Temporal cannot be used: the pair of `TEMPORAL_TLS_CERT_DATA` and \
                 `TEMPORAL_TLS_KEY_DATA` (or `FAS_TEMPORAL_…`) cannot be used: "
            ),
            "{text}"
        );
        assert!(
            !text.contains("c2VjcmV0") && !text.contains("secret"),
            "{text}"
        );
    }

    #[test]
    fn extra_roots_without_a_certificate_are_refused() {
        let not_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in ["", "none", CLIENT_KEY, &CA_CERTIFICATE[..100], not_x509] {
            let temporal = Temporal::new(
                &at("https://temporal"),
                "orders",
                None,
                Some(pem.as_bytes()),
            );
            assert!(matches!(temporal.err(), Some(CollectError::Roots)), "{pem}");
        }
    }

    #[test]
    fn the_status_of_a_refusal_is_named() {
        let long = "x".repeat(1000);
        let cut = format!("Temporal refused the query: {}…", "x".repeat(300));
        let cases = [
            (
                Code::NotFound,
                "Namespace orders is not found.",
                Kind::Namespace,
                "Temporal does not know the namespace `orders`: Namespace orders is not found.",
            ),
            (
                Code::InvalidArgument,
                "invalid query:\n\u{1b}[1mmalformed",
                Kind::Query,
                "Temporal refused the query: invalid query: [1mmalformed",
            ),
            (
                Code::InvalidArgument,
                long.as_str(),
                Kind::Query,
                cut.as_str(),
            ),
            (
                Code::PermissionDenied,
                "Request unauthorized.",
                Kind::Unauthorized,
                "Temporal denied access (PERMISSION_DENIED); check `TEMPORAL_TLS_CERT_DATA` and \
                 `TEMPORAL_TLS_KEY_DATA`: Request unauthorized.",
            ),
            (
                Code::Unauthenticated,
                "",
                Kind::Unauthorized,
                "Temporal denied access (UNAUTHENTICATED); check `TEMPORAL_TLS_CERT_DATA` and \
                 `TEMPORAL_TLS_KEY_DATA`",
            ),
            (
                Code::DeadlineExceeded,
                "context deadline exceeded",
                Kind::Timeout,
                "no answer from Temporal at temporal:7233 (plain text) in time",
            ),
            (
                Code::ResourceExhausted,
                "namespace rate limit exceeded",
                Kind::Status,
                "Temporal answered RESOURCE_EXHAUSTED: namespace rate limit exceeded",
            ),
            (
                Code::OutOfRange,
                "page",
                Kind::Status,
                "Temporal answered OUT_OF_RANGE: page",
            ),
            (
                Code::Unimplemented,
                "",
                Kind::Status,
                "Temporal answered UNIMPLEMENTED",
            ),
        ];
        let temporal = plain("temporal:7233");
        for (code, message, kind, expected) in cases {
            let error = temporal.refused(&Status::new(code, message));
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, expected));
            assert!(error.source().is_none());
        }
    }

    /// A gRPC message in its frame.
    fn framed(message: &[u8]) -> Vec<u8> {
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(message);
        frame
    }

    /// Sends one call to a server that answers `body`, and checks what it was sent.
    async fn call_answered_with(body: Vec<u8>) -> Result<CountWorkflowExecutionsResponse, Status> {
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let body = body.clone();
            async move {
                assert_eq!(request.uri().path(), PATH);
                let sent = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(sent, framed(b"\x0a\x06orders\x12\x01q"));
                let trailers = HeaderMap::from_iter([(
                    http::HeaderName::from_static("grpc-status"),
                    http::HeaderValue::from_static("0"),
                )]);
                let body = Full::new(Bytes::from(body))
                    .with_trailers(std::future::ready(Some(Ok(trailers))));
                Ok::<_, Infallible>(Response::new(body))
            }
        });
        let request = CountWorkflowExecutionsRequest {
            namespace: "orders".to_owned(),
            query: "q".to_owned(),
        };
        count_through(service, request).await
    }

    #[tokio::test]
    async fn the_count_is_read_and_groups_are_skipped() {
        let cases: [(&str, &[u8], i64); 4] = [
            ("a count", b"\x08\x2a", 42),
            ("zero is left out on the wire", b"", 0),
            ("groups", b"\x08\xac\x02\x12\x04\x0a\x00\x10\x05", 300),
            (
                "negative",
                b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                -1,
            ),
        ];
        for (name, message, count) in cases {
            let answer = call_answered_with(framed(message)).await.unwrap();
            assert_eq!(answer.count, count, "{name}");
        }
    }

    #[test]
    fn a_count_is_never_negative() {
        for count in [0_i32, 1, 1_000_000] {
            let value = sample(count.into()).unwrap().value;
            assert_eq!(value.to_bits(), f64::from(count).to_bits());
        }
        let error = sample(-1).unwrap_err();
        assert_eq!(error.to_string(), "Temporal counted -1 workflows");
        assert_eq!(error.kind(), Kind::Unreadable);
    }

    #[tokio::test]
    async fn broken_and_oversized_answers_are_errors() {
        let temporal = plain("temporal:7233");
        let cases = [
            ("not a message", framed(b"\xff\xff"), Kind::Status),
            ("no message", Vec::new(), Kind::Status),
            ("a cut message", vec![0, 0, 0, 0, 9, 8], Kind::Status),
            (
                "a long message",
                framed(&vec![0; MESSAGE_LIMIT + 1]),
                Kind::Oversized,
            ),
        ];
        for (name, body, kind) in cases {
            let status = call_answered_with(body).await.unwrap_err();
            assert_eq!(temporal.refused(&status).kind(), kind, "{name}: {status}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_not_grpc_is_named_by_its_status() {
        let client = identity(CLIENT_CERTIFICATE, CLIENT_KEY);
        let secured = Temporal::new(&at("temporal:7233"), "orders", Some(&client), None).unwrap();
        let plain = plain("temporal:7233");
        let cases = [
            (
                &secured,
                400,
                "text/html",
                Kind::Status,
                "Temporal at temporal:7233 (TLS) answered HTTP 400 Bad Request instead of gRPC: does it accept the \
                 client certificate? (`TEMPORAL_TLS_CERT_DATA`, `TEMPORAL_TLS_KEY_DATA`)",
            ),
            (
                &plain,
                403,
                "application/json",
                Kind::Unauthorized,
                "Temporal at temporal:7233 (plain text) answered HTTP 403 Forbidden instead of gRPC: does it expect \
                 TLS? (`https://` before the address)",
            ),
            (
                &plain,
                502,
                "text/html",
                Kind::Status,
                "Temporal at temporal:7233 (plain text) answered HTTP 502 Bad Gateway instead of gRPC",
            ),
            (
                &plain,
                200,
                "text/html",
                Kind::Status,
                "Temporal at temporal:7233 (plain text) answered HTTP 200 OK instead of gRPC",
            ),
        ];
        for (temporal, status, content_type, kind, expected) in cases {
            let service = tower::service_fn(move |_: http::Request<Body>| async move {
                let answer = Response::builder().status(status);
                let answer = answer.header(CONTENT_TYPE, content_type);
                answer.body(Full::new(Bytes::from_static(b"<html>")))
            });
            let status = count_through(service, CountWorkflowExecutionsRequest::default());
            let error = temporal.refused(&status.await.unwrap_err());
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, expected));
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named_with_the_cause() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let temporal = plain(&address);
        let error = temporal.count(&running(None)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Connection);
        let text = full_text(&error);
        let start = format!("cannot connect to Temporal at {address} (plain text): ");
        assert!(text.starts_with(&start), "{text}");
        assert!(text.contains("Connection refused"), "{text}");
        assert!(temporal.connection.lock().unwrap().channel.is_none());
    }

    #[test]
    fn a_server_that_hangs_up_without_ever_answering_gets_a_hint() {
        let client = identity(CLIENT_CERTIFICATE, CLIENT_KEY);
        let cases = [
            (
                "temporal:7233",
                None,
                "Temporal at temporal:7233 (plain text) closed the connection before answering: does it expect TLS? \
                 (`https://` before the address)",
            ),
            (
                "https://temporal:7233",
                None,
                "Temporal at temporal:7233 (TLS) closed the connection before answering: does it expect a client certificate? \
                 (`TEMPORAL_TLS_CERT_DATA`, `TEMPORAL_TLS_KEY_DATA`)",
            ),
            (
                "temporal:7233",
                Some(&client),
                "Temporal at temporal:7233 (TLS) closed the connection before answering: does it accept the client certificate? \
                 (`TEMPORAL_TLS_CERT_DATA`, `TEMPORAL_TLS_KEY_DATA`)",
            ),
        ];
        for (address, identity, expected) in cases {
            let temporal = Temporal::new(&at(address), "orders", identity, None).unwrap();
            let status = Status::from_error("connection reset".into());
            let error = temporal.refused(&status);
            assert_eq!(full_text(&error), format!("{expected}: connection reset"));
            assert_eq!(error.kind(), Kind::Interrupted);
        }
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_at_once_is_spoken_to_anew() {
        for (scheme, expected) in [("", Kind::Interrupted), ("https://", Kind::Tls)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = format!("{scheme}{}", listener.local_addr().unwrap());
            let temporal = plain(&address);
            let server = async {
                let (stream, _) = listener.accept().await.unwrap();
                answer_calls(stream, 0).await;
            };
            let (answer, ()) =
                futures_util::future::join(temporal.count(&running(None)), server).await;
            assert_eq!(answer.unwrap_err().kind(), expected);
            assert!(temporal.connection.lock().unwrap().channel.is_none());
        }
    }

    #[tokio::test]
    async fn a_call_dropped_at_its_deadline_takes_its_connection_along() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let temporal = plain(&listener.local_addr().unwrap().to_string());
        assert!(temporal.count(&running(None)).now_or_never().is_none());
        let connection = temporal.connection.lock().unwrap();
        assert_eq!(
            (connection.generation, connection.channel.is_none()),
            (1, true)
        );
    }

    #[tokio::test]
    async fn a_late_failure_leaves_the_next_connection_alone() {
        let temporal = plain("127.0.0.1:1");
        let (first, _channel) = temporal.channel();
        temporal.give_up(first);
        let (second, _channel) = temporal.channel();
        temporal.give_up(first);
        let connection = temporal.connection.lock().unwrap();
        assert!(connection.channel.is_some());
        assert_eq!(connection.generation, second);
    }

    fn frame(kind: u8, flags: u8, stream: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream);
        frame.extend_from_slice(payload);
        frame
    }

    /// Just enough of HTTP/2: answers `calls` calls with the count 3, and hangs up on the next, or is hung up on.
    async fn answer_calls(mut stream: TcpStream, mut calls: usize) -> Option<()> {
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        const SETTINGS: u8 = 4;
        const PING: u8 = 6;
        const END_STREAM: u8 = 1;
        const END_HEADERS: u8 = 4;
        const ACK: u8 = 1;
        stream.read_exact(&mut [0; 24]).await.ok()?;
        stream
            .write_all(&frame(SETTINGS, 0, [0; 4], &[]))
            .await
            .ok()?;
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).await.ok()?;
            let (kind, flags, id) = (head[3], head[4], [head[5], head[6], head[7], head[8]]);
            let answer = match kind {
                SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, [0; 4], &[]),
                PING if flags & ACK == 0 => frame(PING, ACK, [0; 4], &payload),
                DATA if flags & END_STREAM != 0 => {
                    if calls == 0 {
                        return Some(());
                    }
                    calls -= 1;
                    [
                        frame(
                            HEADERS,
                            END_HEADERS,
                            id,
                            b"\x88\x00\x0ccontent-type\x10application/grpc",
                        ),
                        frame(DATA, 0, id, &framed(b"\x08\x03")),
                        frame(
                            HEADERS,
                            END_HEADERS | END_STREAM,
                            id,
                            b"\x00\x0bgrpc-status\x010",
                        ),
                    ]
                    .concat()
                }
                _ => continue,
            };
            stream.write_all(&answer).await.ok()?;
        }
    }

    #[tokio::test]
    async fn a_lost_connection_fails_one_call_and_the_next_makes_another() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let temporal = plain(&listener.local_addr().unwrap().to_string());
        let server = async {
            for calls in [2, 1] {
                let (stream, _) = listener.accept().await.unwrap();
                answer_calls(stream, calls).await;
            }
        };
        let client = async {
            let mut answers = Vec::new();
            for _ in 0..4 {
                let answer = temporal.count(&running(Some("x"))).await;
                answers.push(answer.map_err(|error| error.to_string()));
            }
            answers
        };
        let three = Ok(Sample {
            value: 3.0,
            element_count: 1,
            is_of_region: false,
            time: None,
            warnings: Vec::new(),
        });
        // The server's second connection is never hung up on, so it ends with the client.
        let answers = tokio::select! {
            answers = client => answers,
            () = server => panic!("the client asks more often than it should"),
        };
        let broken = format!("the connection to {} was lost", temporal.peer);
        assert_eq!(answers, [three.clone(), three.clone(), Err(broken), three]);
    }

    /// What a TLS server saw of one client: the certificates that it presented, or why there was no handshake.
    type Handshake = Result<Vec<Vec<u8>>, String>;

    /// A server on 127.0.0.1 that shakes hands with one client, which needs a certificate, and then hangs up.
    fn shake_hands_once() -> (String, JoinHandle<Handshake>) {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(CA_CERTIFICATE.as_bytes()).unwrap())
            .unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(SERVER_CERTIFICATE.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(SERVER_KEY.as_bytes()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let listener = BlockingListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
            while connection.is_handshaking() {
                connection
                    .complete_io(&mut stream)
                    .map_err(|error| error.to_string())?;
            }
            let certificates = connection.peer_certificates().unwrap_or_default();
            Ok(certificates.iter().map(|der| der.to_vec()).collect())
        });
        (port.to_string(), server)
    }

    fn proxy(address: &str) -> ProxyAddress {
        let mut invalid = Vec::new();
        let get = |name: &str| (name == "HTTPS_PROXY").then_some(address);
        let rules = ProxyRules::new(get, &mut invalid);
        rules.proxies().next().unwrap().clone()
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_a_connection_and_named_when_it_gives_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let client = identity(CLIENT_CERTIFICATE, CLIENT_KEY);
        for (address, identity) in [
            ("temporal.test:7233", None),
            ("acme.tmprl.test:7233", Some(&client)),
        ] {
            let temporal = Temporal::new(&at(address), "orders", identity, None).unwrap();
            let proxy = proxy(&format!("http://me:hunter2@{place}/"));
            let temporal = temporal.through(Some(&proxy)).unwrap();
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
                }
                stream.write_all(b"HTTP/1.1 502 X\r\n\r\n").await.unwrap();
                String::from_utf8(head).unwrap()
            };
            let query = running(None);
            let (outcome, head) = tokio::join!(temporal.count(&query), server);
            let connect = format!("CONNECT {address} HTTP/1.1\r\n");
            assert!(head.starts_with(&connect), "{head}");
            // `me:hunter2`
            let authorization = "\r\nProxy-Authorization: Basic bWU6aHVudGVyMg==\r\n";
            assert!(head.contains(authorization), "{head}");
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), Kind::Connection);
            let expected = format!(
                "cannot connect to {} through the proxy http://{place} (HTTPS_PROXY)",
                temporal.peer
            );
            assert_eq!(error.to_string(), expected);
            assert!(!full_text(&error).contains("hunter2"));
        }
        drop(listener);
        let temporal = plain("temporal.test:7233");
        let temporal = temporal.through(Some(&proxy(&format!("http://{place}"))));
        let error = temporal.unwrap().count(&running(None)).await.unwrap_err();
        assert!(matches!(error, CollectError::Proxy { .. }), "{error}");
    }

    #[tokio::test]
    async fn calls_go_through_the_tunnel() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let temporal = plain("temporal.test:7233");
        let temporal = temporal.through(Some(&proxy(&place.to_string()))).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(b"HTTP/1.1 200 X\r\n\r\n").await.unwrap();
            answer_calls(stream, 1).await;
        };
        let query = running(Some("x"));
        tokio::select! {
            outcome = temporal.count(&query) => {
                assert_eq!(outcome.unwrap().value.to_bits(), 3.0_f64.to_bits());
            }
            () = server => panic!("the connection is kept until the client hangs up"),
        }
    }

    #[test]
    fn a_key_that_ring_cannot_use_is_refused_with_what_it_can() {
        for (certificate, key) in [
            (P521_CERTIFICATE, P521_KEY),
            (SMALL_RSA_CERTIFICATE, SMALL_RSA_KEY),
        ] {
            let identity = identity(certificate, key);
            let error = Temporal::new(&at("temporal:7233"), "orders", Some(&identity), None).err();
            let text = full_text(&error.unwrap());
            assert!(text.contains("RSA of 2048 bits or more"), "{text}");
        }
    }

    #[tokio::test]
    async fn both_sides_of_tls_show_their_certificates() {
        let (port, server) = shake_hands_once();
        let temporal = Temporal::new(
            &at(&format!("localhost:{port}")),
            "orders",
            Some(&identity(CLIENT_CERTIFICATE, CLIENT_KEY)),
            Some(CA_CERTIFICATE.as_bytes()),
        )
        .unwrap();
        temporal.count(&running(None)).await.unwrap_err();
        let client = CertificateDer::from_pem_slice(CLIENT_CERTIFICATE.as_bytes()).unwrap();
        assert_eq!(server.join().unwrap(), Ok(vec![client.to_vec()]));
    }

    #[tokio::test]
    async fn a_failed_handshake_is_named_with_the_cause() {
        let client = identity(CLIENT_CERTIFICATE, CLIENT_KEY);
        let roots = Some(CA_CERTIFICATE.as_bytes());
        let cases = [
            ("an unknown issuer", "localhost", None, "SSL_CERT_FILE"),
            ("an unknown issuer", "localhost", None, "UnknownIssuer"),
            ("another name", "127.0.0.1", roots, "localhost"),
        ];
        for (name, host, roots, cause) in cases {
            let (port, server) = shake_hands_once();
            let temporal = Temporal::new(
                &at(&format!("{host}:{port}")),
                "orders",
                Some(&client),
                roots,
            )
            .unwrap();
            let error = temporal.count(&running(None)).await.unwrap_err();
            let text = full_text(&error);
            assert_eq!(error.kind(), Kind::Tls, "{name}: {text}");
            assert!(text.contains(cause), "{name}: {text}");
            server.join().unwrap().unwrap_err();
        }
    }
}

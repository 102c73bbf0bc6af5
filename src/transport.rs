//! One HTTP exchange: the only seam between this program and the network for the Machines API, GraphQL and Prometheus.
//!
//! Everything that can be got wrong (retries, pacing, cookies, parsing, deadlines) lives above this trait and is the
//! same code in production and under test. [`HttpTransport`] speaks real HTTP; tests put the simulator's router behind
//! the same trait, in process and under paused time. Deadlines are not this module's: callers wrap an exchange in one.

use std::{error::Error as StdError, sync::OnceLock, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use url::{Host, Url};

/// How long a connection may take to be made; the pass deadline bounds the whole exchange besides.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the peer may send nothing at all before the exchange is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// One HTTP exchange: a request with an absolute URL in, a complete response out.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` and reads the whole answer, whose body may be at most `body_limit` bytes.
    ///
    /// Any status is an answer, not an error. Redirects are not followed: no service that is spoken to uses them, and
    /// following one would carry a token to another host.
    fn exchange(
        &self,
        request: Request<Bytes>,
        body_limit: usize,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>>;
}

/// Why an exchange has no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection was made: the request surely had no effect.
    #[error("cannot connect")]
    Connect(#[source] Box<dyn StdError + Send + Sync>),
    /// Nothing was heard in time: the request may have had its effect.
    #[error("no answer in time")]
    Timeout,
    /// The exchange broke off: the request may have had its effect.
    #[error("the exchange broke off")]
    Interrupted(#[source] Box<dyn StdError + Send + Sync>),
    /// The body was longer than allowed; reading stopped there.
    #[error("the answer is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

/// Why the HTTP client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The extra roots hold no certificate, or one that cannot be read.
    #[error(
        "the file named by `SSL_CERT_FILE` holds no usable certificate (expected PEM, `-----BEGIN CERTIFICATE-----`)"
    )]
    Roots,
    /// TLS cannot be configured.
    #[error("cannot build the HTTP client")]
    Client(#[source] Box<dyn StdError + Send + Sync>),
}

impl TransportError {
    /// Whether the request surely never reached the peer, so that repeating it cannot do anything twice.
    #[must_use]
    pub fn surely_not_sent(&self) -> bool {
        matches!(self, Self::Connect(_))
    }
}

/// Real HTTP/1.1 over TCP or TLS, through the proxy that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name.
#[derive(Debug)]
pub struct HttpTransport {
    client: reqwest::Client,
    /// For addresses of this machine, which are never asked through a proxy (as in Go); made when first needed.
    direct: OnceLock<reqwest::Client>,
    extra_roots: Option<Vec<u8>>,
}

impl HttpTransport {
    /// Builds the client: explicit timeouts, no redirects, root certificates compiled in.
    ///
    /// # Errors
    ///
    /// When the TLS configuration cannot be built, or the file named by `SSL_CERT_FILE` (passed as
    /// `extra_roots`, PEM) holds no usable certificate.
    pub fn new(extra_roots: Option<&[u8]>) -> Result<Self, SetupError> {
        install_crypto_provider();
        Ok(Self {
            client: builder(extra_roots)?.build().map_err(unbuilt)?,
            direct: OnceLock::new(),
            extra_roots: extra_roots.map(<[u8]>::to_vec),
        })
    }

    fn client(&self, url: &Url) -> Result<&reqwest::Client, TransportError> {
        let loopback = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if !loopback {
            return Ok(&self.client);
        }
        if let Some(direct) = self.direct.get() {
            return Ok(direct);
        }
        let direct = builder(self.extra_roots.as_deref())
            .and_then(|builder| builder.no_proxy().build().map_err(unbuilt))
            .map_err(|error| TransportError::Connect(Box::new(error)))?;
        Ok(self.direct.get_or_init(|| direct))
    }
}

/// A client that trusts the certificates compiled in and those of `extra_roots`.
fn builder(extra_roots: Option<&[u8]>) -> Result<reqwest::ClientBuilder, SetupError> {
    let mut roots = Vec::with_capacity(webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
    for der in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        roots.push(reqwest::Certificate::from_der(der).map_err(unbuilt)?);
    }
    if let Some(pem) = extra_roots {
        let extra = reqwest::Certificate::from_pem_bundle(pem).map_err(|_| SetupError::Roots)?;
        if extra.is_empty() {
            return Err(SetupError::Roots);
        }
        roots.extend(extra);
    }
    Ok(reqwest::Client::builder()
        .tls_certs_only(roots)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false))
}

fn unbuilt(error: reqwest::Error) -> SetupError {
    SetupError::Client(Box::new(error))
}

fn broken(error: reqwest::Error) -> TransportError {
    TransportError::Interrupted(Box::new(error.without_url()))
}

/// Makes ring the process's TLS provider; a second call changes nothing.
pub fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // A race with another installer leaves a provider installed all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

impl Transport for HttpTransport {
    fn exchange(
        &self,
        request: Request<Bytes>,
        body_limit: usize,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        Box::pin(async move {
            let request = reqwest::Request::try_from(request).map_err(broken)?;
            let client = self.client(request.url())?;
            let mut response = client.execute(request).await.map_err(classify)?;
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(classify)? {
                if body.len() + chunk.len() > body_limit {
                    return Err(TransportError::BodyTooLarge { limit: body_limit });
                }
                body.extend_from_slice(&chunk);
            }
            let mut answer = Response::new(body.freeze());
            *answer.status_mut() = response.status();
            *answer.headers_mut() = std::mem::take(response.headers_mut());
            Ok(answer)
        })
    }
}

/// URLs are left out of transport errors: a Prometheus address may carry a password, and callers name the operation.
fn classify(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    if error.is_connect() {
        TransportError::Connect(Box::new(error))
    } else if error.is_timeout() {
        TransportError::Timeout
    } else {
        TransportError::Interrupted(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_roots_without_a_certificate_are_refused() {
        for pem in [
            "",
            "none",
            "-----BEGIN CERTIFICATE-----\n",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            let transport = HttpTransport::new(Some(pem.as_bytes()));
            assert!(matches!(transport.err(), Some(SetupError::Roots)), "{pem}");
        }
    }
}

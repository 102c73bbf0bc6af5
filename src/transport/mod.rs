//! One HTTP exchange: the only seam between this program and the network for the Machines API, GraphQL and Prometheus.
//!
//! Everything that can be got wrong (retries, pacing, cookies, parsing, deadlines) lives above this trait and is the
//! same code in production and under test. [`HttpTransport`] speaks real HTTP; tests put the simulator's router behind
//! the same trait, in process and under paused time. Deadlines are not this module's: callers wrap an exchange in one.
//! Beside it, one file each: which proxy an address is asked through, which redirects may be followed, root certificates
//! of the user's own, and what a TLS error asks for.

mod client;
mod decoding;
mod proxy;
mod redirect;
mod roots;
mod tls;

use std::error::Error as StdError;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};

pub use self::{
    client::{HttpTransport, SetupError, install_crypto_provider},
    proxy::{InvalidProxy, ProxyAddress, ProxyRules},
    redirect::{REDIRECT_LIMIT, Redirect, redirect},
    roots::{ExtraRoots, RootsError, read_roots, usable_roots},
    tls::{certificate_advice, tls_error},
};

/// One HTTP exchange: a request with an absolute URL in, a complete response out.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` and reads the whole answer, whose body may be at most `body_limit` bytes, compressed or not.
    ///
    /// Any status is an answer, not an error. Redirects are not followed here: a token must not travel, and a write must
    /// not be repeated; a collector follows what [`redirect()`] allows.
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
    /// No connection was made through the proxy, whoever of the two was to blame: the request surely had no effect.
    #[error("cannot connect through the proxy {proxy}")]
    Proxy {
        /// The proxy's address without user and password, and the variable that names it.
        proxy: String,
        /// The cause.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The two of us do not agree on TLS: the request surely had no effect.
    #[error("TLS failed{advice}")]
    Tls {
        /// What may help; empty, or text that goes on after a semicolon.
        advice: &'static str,
        /// The cause, down to rustls's.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Nothing was heard in time: the request may have had its effect.
    #[error("no answer in time")]
    Timeout,
    /// The exchange broke off: the request may have had its effect.
    #[error("the connection was lost")]
    Interrupted(#[source] Box<dyn StdError + Send + Sync>),
    /// The body was longer than allowed; reading stopped there.
    #[error("the answer is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A successful answer whose body is compressed in a way that cannot be undone; the request had its effect.
    #[error("the compressed answer cannot be read: {problem}")]
    Encoding {
        /// What is wrong with it.
        problem: String,
    },
}

impl TransportError {
    /// Whether the request surely never reached the peer, so that repeating it cannot do anything twice.
    #[must_use]
    pub fn was_not_sent(&self) -> bool {
        matches!(
            self,
            Self::Connect(_) | Self::Proxy { .. } | Self::Tls { .. }
        )
    }
}

//! How connections are made: directly or through a proxy, and encrypted where the address says so.

use std::{
    error::Error as StdError,
    future::ready,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::future::BoxFuture;
use http::{
    HeaderValue, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper_util::{
    client::legacy::connect::{
        Connected, Connection, HttpConnector,
        proxy::{SocksV5, Tunnel},
    },
    rt::TokioIo,
};
use percent_encoding::percent_decode_str;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::{Service, service_fn};
use url::{Position, Url};

use super::{ProxyAddress, ProxyRules};

/// How long a connection may take to be made, TLS and proxy included; the pass deadline bounds the whole exchange besides.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// After how long without a word the system asks whether the other side still is there, how often, and how long what was
/// sent may go unacknowledged: a connection to a host that is gone is no connection.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// The port of a SOCKS proxy that has none in its address.
const SOCKS_PORT: u16 = 1080;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    tls: Arc<ClientConfig>,
    /// The same without the protocol that is spoken behind a proxy.
    tls_of_proxy: Arc<ClientConfig>,
    proxies: Arc<ProxyRules>,
}

impl Connector {
    /// Makes them through these proxies, and trusts what `tls` trusts.
    pub(super) fn new(tls: ClientConfig, proxies: Arc<ProxyRules>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // A request is one small write, which must not wait for more.
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(KEEPALIVE_PROBES));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        let tls_of_proxy = Arc::new(tls.clone());
        let mut tls = tls;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            tcp,
            tls: Arc::new(tls),
            tls_of_proxy,
            proxies,
        }
    }

    async fn connect(mut self, to: Uri) -> Result<Stream, BoxError> {
        let Some(proxy) = self.proxies.proxy_to(&to).cloned() else {
            let stream = self.tcp.call(to.clone()).await?.into_inner();
            let stream = Stream::Plain(stream);
            return if is_encrypted(&to) {
                stream.encrypted(&self.tls, &to).await
            } else {
                Ok(stream)
            };
        };
        let place = place_of(&proxy)?;
        let stream = self.tcp.call(place.clone()).await?.into_inner();
        let mut stream = Stream::Plain(stream);
        if is_encrypted(&place) {
            stream = stream.encrypted(&self.tls_of_proxy, &place).await?;
        }
        let stream = TokioIo::new(stream);
        let stream = if is_socks(&proxy) {
            socks(stream, &proxy, place, &to).await?
        } else if is_encrypted(&to) {
            tunnel(stream, &proxy, place, to.clone()).await?
        } else {
            return Ok(Stream::Proxied(Box::new(stream.into_inner())));
        };
        let stream = stream.into_inner();
        if is_encrypted(&to) {
            stream.encrypted(&self.tls, &to).await
        } else {
            Ok(stream)
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<TokioIo<Stream>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.clone().connect(to);
        Box::pin(async move {
            let stream = timeout(CONNECT_TIMEOUT, connecting).await;
            let late = |_| {
                let seconds = CONNECT_TIMEOUT.as_secs();
                format!("no connection within {seconds} s")
            };
            Ok(TokioIo::new(stream.map_err(late)??))
        })
    }
}

/// What a connection goes over.
pub(super) enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Encrypted.
    Encrypted(Box<TlsStream<Self>>),
    /// To a proxy that is given whole addresses.
    Proxied(Box<Self>),
}

impl Stream {
    async fn encrypted(self, tls: &Arc<ClientConfig>, to: &Uri) -> Result<Self, BoxError> {
        let host = to.host().ok_or("the address has no host")?;
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(name.to_owned())?;
        let tls = TlsConnector::from(Arc::clone(tls));
        let stream = tls.connect(name, self).await?;
        Ok(Self::Encrypted(Box::new(stream)))
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(matches!(self, Self::Proxied(_)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Proxied(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Proxied(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(context),
            Self::Proxied(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Proxied(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Encrypted(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Proxied(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Encrypted(stream) => stream.is_write_vectored(),
            Self::Proxied(stream) => stream.is_write_vectored(),
        }
    }
}

/// Asks an HTTP proxy for the way to a server that it does not read along with.
async fn tunnel(
    stream: TokioIo<Stream>,
    proxy: &ProxyAddress,
    place: Uri,
    to: Uri,
) -> Result<TokioIo<Stream>, BoxError> {
    let mut given = Some(stream);
    let connected = service_fn(move |_: Uri| ready(given.take().ok_or("it is used up")));
    let mut tunnel = Tunnel::new(place, connected);
    if let Some(authorization) = authorization(proxy) {
        tunnel = tunnel.with_auth(authorization);
    }
    Ok(tunnel.call(to).await?)
}

/// Asks a SOCKS 5 proxy for the way to a server; in Go, and so for users, the names are the proxy's to look up.
async fn socks(
    stream: TokioIo<Stream>,
    proxy: &ProxyAddress,
    place: Uri,
    to: &Uri,
) -> Result<TokioIo<Stream>, BoxError> {
    let mut given = Some(stream);
    let connected = service_fn(move |_: Uri| ready(given.take().ok_or("it is used up")));
    let mut socks = SocksV5::new(place, connected);
    if let Some((user, password)) = user_of(proxy) {
        socks = socks.with_auth(user, password);
    }
    let host = to.host().ok_or("the address has no host")?;
    let default = if is_encrypted(to) { 443 } else { 80 };
    let port = to.port_u16().unwrap_or(default);
    let to = uri(Scheme::HTTP, &format!("{host}:{port}"))?;
    Ok(socks.call(to).await?)
}

/// The `Proxy-Authorization` that a proxy is shown; `None`: its address has no user.
pub(super) fn authorization(proxy: &ProxyAddress) -> Option<HeaderValue> {
    let (user, password) = user_of(proxy)?;
    let basic = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::try_from(format!("Basic {basic}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn user_of(proxy: &ProxyAddress) -> Option<(String, String)> {
    let url = proxy.url();
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let has_user = !url.username().is_empty() || url.password().is_some();
    let password = url.password().unwrap_or_default();
    has_user.then(|| (decoded(url.username()), decoded(password)))
}

/// The proxy as a server, by host and port alone.
fn place_of(proxy: &ProxyAddress) -> Result<Uri, BoxError> {
    let url: &Url = proxy.url();
    let place = &url[Position::BeforeHost..Position::AfterPort];
    let scheme = match url.scheme() {
        "https" => Scheme::HTTPS,
        _ => Scheme::HTTP,
    };
    if is_socks(proxy) && url.port().is_none() {
        return uri(scheme, &format!("{place}:{SOCKS_PORT}"));
    }
    uri(scheme, place)
}

fn uri(scheme: Scheme, place: &str) -> Result<Uri, BoxError> {
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(Authority::try_from(place)?)
        .path_and_query(PathAndQuery::from_static("/"));
    Ok(uri.build()?)
}

fn is_socks(proxy: &ProxyAddress) -> bool {
    proxy.url().scheme().starts_with("socks5")
}

fn is_encrypted(to: &Uri) -> bool {
    to.scheme() == Some(&Scheme::HTTPS)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_reached_by_host_and_port_alone() {
        for (address, expected) in [
            ("http://me:hunter2@proxy", "http://proxy/"),
            ("proxy:3128", "http://proxy:3128/"),
            ("https://proxy", "https://proxy/"),
            ("http://[fdaa::3]:3128", "http://[fdaa::3]:3128/"),
            ("socks5://proxy", "http://proxy:1080/"),
            ("socks5h://me@proxy:1081", "http://proxy:1081/"),
        ] {
            let mut invalid = Vec::new();
            let get = |name: &str| (name == "HTTP_PROXY").then_some(address);
            let rules = ProxyRules::new(get, &mut invalid);
            let proxy = rules.proxies().next().unwrap();
            assert_eq!(place_of(proxy).unwrap(), expected, "{address}");
        }
    }
}

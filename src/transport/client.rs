//! Real HTTP/1.1 over TCP or TLS.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{
    Request, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
};
use url::Url;

use super::{
    ProxyAddress, ProxyRules, Transport, TransportError, certificate_advice,
    decoding::{Body, DecodeError},
    tls_error, usable_roots,
};

/// How long a connection may take to be made; the pass deadline bounds the whole exchange besides.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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

/// Real HTTP/1.1 over TCP or TLS, directly or through a proxy.
#[derive(Debug)]
pub struct HttpTransport {
    client: reqwest::Client,
    proxies: Arc<ProxyRules>,
}

impl HttpTransport {
    /// Builds the client: no time limit but for connecting, no redirects, root certificates compiled in, proxies by these
    /// rules alone.
    ///
    /// # Errors
    ///
    /// When the TLS configuration cannot be built, or `extra_roots` (PEM, see
    /// [`read_roots`](super::read_roots)) hold no usable certificate.
    pub fn new(extra_roots: Option<&[u8]>, proxies: ProxyRules) -> Result<Self, SetupError> {
        Self::giving_up(extra_roots, proxies, None)
    }

    /// The same, where the system sends for at most `unheard` what the other side does not confirm to have, also once nobody
    /// waits for its answer any more; 30 s otherwise.
    ///
    /// # Errors
    ///
    /// As for [`Self::new`].
    pub fn giving_up(
        extra_roots: Option<&[u8]>,
        proxies: ProxyRules,
        unheard: Option<Duration>,
    ) -> Result<Self, SetupError> {
        install_crypto_provider();
        let proxies = Arc::new(proxies);
        let builder = builder(extra_roots)?;
        let builder = match unheard {
            Some(limit) => builder.tcp_user_timeout(limit),
            None => builder,
        };
        // Either keeps the client from asking the environment by rules of its own.
        let builder = if proxies.proxies().next().is_some() {
            let rules = Arc::clone(&proxies);
            let proxy = reqwest::Proxy::custom(move |url| rules.proxy_for(url).map(for_client));
            builder.proxy(proxy)
        } else {
            // The client reads each address twice more to ask rules about it.
            builder.no_proxy()
        };
        let client = builder.build().map_err(unbuilt)?;
        Ok(Self { client, proxies })
    }
}

/// The address as the client wants it: in Go, and so for users, the names are the proxy's to look up in SOCKS 5.
fn for_client(proxy: &ProxyAddress) -> Url {
    let mut url = proxy.url().clone();
    if url.scheme().starts_with("socks5") {
        // Neither fails for a scheme that the URL standard does not know, and an address with a host.
        let _ = url.set_scheme("socks5h");
        let _ = url.set_port(Some(url.port().unwrap_or(SOCKS_PORT)));
    }
    url
}

/// The port of a SOCKS proxy that has none in its address.
const SOCKS_PORT: u16 = 1080;

/// A client that trusts the certificates compiled in and those of `extra_roots`.
fn builder(extra_roots: Option<&[u8]>) -> Result<reqwest::ClientBuilder, SetupError> {
    let mut roots = Vec::with_capacity(webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
    for der in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        roots.push(reqwest::Certificate::from_der(der).map_err(unbuilt)?);
    }
    if let Some(pem) = extra_roots {
        for der in usable_roots(pem).ok_or(SetupError::Roots)? {
            roots.push(reqwest::Certificate::from_der(&der).map_err(unbuilt)?);
        }
    }
    Ok(reqwest::Client::builder()
        .tls_certs_only(roots)
        .connect_timeout(CONNECT_TIMEOUT)
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
            let proxy = self.proxies.proxy_for(request.url());
            let is_tunnelled = request.url().scheme() == "https";
            let classify = |error| classify(error, proxy);
            let mut response = self.client.execute(request).await.map_err(classify)?;
            let status = response.status();
            if let (StatusCode::PROXY_AUTHENTICATION_REQUIRED, Some(proxy), false) =
                (status, proxy, is_tunnelled)
            {
                // The proxy says this, before it passes anything on.
                return Err(TransportError::Proxy {
                    proxy: proxy.to_string(),
                    source: "it requires a user and password, or rejects these (HTTP 407)".into(),
                });
            }
            let mut body = match Body::new(response.headers(), body_limit) {
                Ok(body) => body,
                Err(_) if !status.is_success() => Body::as_received(body_limit),
                Err(encoding) => {
                    let encoding: String = encoding.chars().take(ENCODING_LIMIT).collect();
                    let problem = format!(
                        "its encoding is {encoding:?}, which was not requested; expected gzip or deflate"
                    );
                    return Err(TransportError::Encoding { problem });
                }
            };
            let unreadable = |error| match error {
                DecodeError::TooLarge => TransportError::BodyTooLarge { limit: body_limit },
                DecodeError::Broken(error) => TransportError::Encoding {
                    problem: error.to_string(),
                },
            };
            while let Some(chunk) = response.chunk().await.map_err(classify)? {
                match body.push(&chunk) {
                    // A refusal says what it says without its text.
                    Err(DecodeError::Broken(_)) if !status.is_success() => {
                        body = Body::as_received(0);
                        break;
                    }
                    pushed => pushed.map_err(unreadable)?,
                }
            }
            let body = match body.finish() {
                Err(DecodeError::Broken(_)) if !status.is_success() => Bytes::new(),
                finished => finished.map_err(unreadable)?,
            };
            let mut answer = Response::new(body);
            *answer.status_mut() = status;
            *answer.headers_mut() = std::mem::take(response.headers_mut());
            // They tell of the body as it was sent.
            answer.headers_mut().remove(CONTENT_ENCODING);
            answer.headers_mut().remove(CONTENT_LENGTH);
            Ok(answer)
        })
    }
}

/// The most of an encoding's name that is shown.
const ENCODING_LIMIT: usize = 40;

/// URLs are left out of transport errors: a Prometheus address may carry a password, and callers name the operation.
fn classify(error: reqwest::Error, proxy: Option<&ProxyAddress>) -> TransportError {
    let error = error.without_url();
    if error.is_connect() {
        if let Some(tls) = tls_error(&error) {
            let advice = certificate_advice(tls);
            let source = Box::new(error);
            TransportError::Tls { advice, source }
        } else if let Some(proxy) = proxy {
            let proxy = proxy.to_string();
            let source = Box::new(error);
            TransportError::Proxy { proxy, source }
        } else {
            TransportError::Connect(Box::new(error))
        }
    } else if error.is_timeout() {
        TransportError::Timeout
    } else {
        TransportError::Interrupted(Box::new(error))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    };
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::collect::test_keys::{
        CA_CERTIFICATE, SELF_SIGNED, SELF_SIGNED_AUTHORITY, SELF_SIGNED_AUTHORITY_KEY,
        SELF_SIGNED_KEY, SERVER_CERTIFICATE, SERVER_KEY,
    };

    const LIMIT: usize = 1 << 20;

    /// Status, encoding, body, and the body or the error that comes of them.
    type Encoded<'case> = (u16, &'case str, Vec<u8>, Result<&'case str, &'case str>);

    /// Name, certificate, key, roots, and what the advice says.
    type Shown<'case> = (
        &'case str,
        &'case str,
        &'case str,
        Option<&'case str>,
        Option<&'case str>,
    );

    fn transport(variables: &[(&str, &str)]) -> HttpTransport {
        let mut invalid = Vec::new();
        let get = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| *value)
        };
        let rules = ProxyRules::new(get, &mut invalid);
        assert_eq!(invalid, []);
        HttpTransport::new(None, rules).unwrap()
    }

    fn post(url: &str) -> Request<Bytes> {
        Request::post(url)
            .body(Bytes::from_static(b"query=up"))
            .unwrap()
    }

    /// An error and its causes.
    fn full_text(error: &TransportError) -> String {
        std::iter::successors(Some(error as &dyn StdError), |&error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    }

    async fn listen() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap().to_string();
        (listener, place)
    }

    /// An address at which nobody listens.
    async fn dead() -> String {
        listen().await.1
    }

    /// Takes one connection, reads what has come up to an empty line, answers and hangs up.
    async fn answer_once(listener: &TcpListener, answer: &[u8]) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        stream.write_all(answer).await.unwrap();
        stream.shutdown().await.unwrap();
        // Until the client has read everything: closing before would be a reset.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        head
    }

    async fn read_head(stream: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.windows(4).any(|window| window == b"\r\n\r\n") {
            let read = stream.read_buf(&mut head).await.unwrap();
            assert_ne!(read, 0, "the client hung up");
        }
        String::from_utf8(head).unwrap()
    }

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    #[tokio::test]
    async fn plain_http_is_asked_through_its_proxy_and_this_machine_is_not() {
        let (listener, place) = listen().await;
        let proxy = format!("http://me:pa%20ss@{place}");
        let transport = transport(&[("HTTP_PROXY", &proxy), ("NO_PROXY", "other.test")]);
        let (answer, head) = tokio::join!(
            transport.exchange(post("http://prom.test:9090/api/v1/query"), LIMIT),
            answer_once(&listener, OK)
        );
        assert_eq!(answer.unwrap().body(), "ok");
        let head = head.to_lowercase();
        assert!(
            head.starts_with("post http://prom.test:9090/api/v1/query http/1.1\r\n"),
            "{head}"
        );
        // `me:pa ss`
        assert!(
            head.contains("\r\nproxy-authorization: basic bwu6cgegc3m=\r\n"),
            "{head}"
        );
        let (direct, own) = listen().await;
        let (answer, head) = tokio::join!(
            transport.exchange(post(&format!("http://{own}/x")), LIMIT),
            answer_once(&direct, OK)
        );
        assert_eq!(answer.unwrap().body(), "ok");
        assert!(head.starts_with("POST /x HTTP/1.1\r\n"), "{head}");
        assert!(!head.contains("authorization"), "{head}");
    }

    #[tokio::test]
    async fn a_proxy_that_is_dead_or_refuses_is_named_as_the_proxy() {
        let dead = dead().await;
        let cases = [
            ("HTTP_PROXY", "http://prom.test/", None),
            ("HTTPS_PROXY", "https://prom.test/", None),
            (
                "HTTP_PROXY",
                "http://prom.test/",
                Some("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"),
            ),
            (
                "HTTPS_PROXY",
                "https://prom.test/",
                Some("HTTP/1.1 407 No\r\n\r\n"),
            ),
            (
                "HTTPS_PROXY",
                "https://prom.test/",
                Some("HTTP/1.1 503 No\r\n\r\n"),
            ),
        ];
        for (variable, url, answer) in cases {
            let (listener, place) = listen().await;
            let place = if answer.is_some() { &place } else { &dead };
            let proxy = format!("http://me:hunter2@{place}");
            let transport = transport(&[(variable, &proxy)]);
            let asked = async {
                match answer {
                    Some(answer) => answer_once(&listener, answer.as_bytes()).await,
                    None => String::new(),
                }
            };
            let (outcome, head) = tokio::join!(transport.exchange(post(url), LIMIT), asked);
            let error = outcome.unwrap_err();
            let text = full_text(&error);
            let expected =
                format!("cannot connect through the proxy http://{place} ({variable}): ");
            assert!(text.starts_with(&expected), "{text}");
            assert!(error.was_not_sent());
            assert!(
                !format!("{text} {error:?}").contains("hunter2"),
                "{error:?}"
            );
            if answer.is_some() && url.starts_with("https") {
                assert!(head.starts_with("CONNECT prom.test:443 HTTP/1.1\r\n"));
            }
        }
    }

    /// A SOCKS proxy that wants to be asked for this, after this login if there is one, and answers the request itself; gives
    /// the request's head.
    async fn answer_by_socks(
        listener: &TcpListener,
        login: Option<&[u8]>,
        wanted: &[u8],
    ) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let method = if login.is_some() { 2 } else { 0 };
        expect(&mut stream, &[5, 1, method]).await;
        stream.write_all(&[5, method]).await.unwrap();
        if let Some(login) = login {
            expect(&mut stream, login).await;
            stream.write_all(&[1, 0]).await.unwrap();
        }
        expect(&mut stream, wanted).await;
        let bound = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        stream.write_all(&bound).await.unwrap();
        let head = read_head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        head
    }

    async fn expect(stream: &mut TcpStream, bytes: &[u8]) {
        let mut read = vec![0; bytes.len()];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(read, bytes);
    }

    #[tokio::test]
    async fn a_socks_proxy_is_given_the_name_and_not_an_address() {
        let (listener, place) = listen().await;
        let proxy = format!("socks5://{place}");
        let transport = transport(&[("HTTP_PROXY", &proxy)]);
        let wanted = b"\x05\x01\x00\x03\x09prom.test\x00\x50";
        let server = answer_by_socks(&listener, None, wanted);
        let (answer, head) = tokio::join!(
            transport.exchange(post("http://prom.test/x"), LIMIT),
            server
        );
        assert_eq!(answer.unwrap().body(), "ok");
        assert!(head.starts_with("POST /x HTTP/1.1\r\n"), "{head}");
    }

    #[tokio::test]
    async fn a_socks_proxy_is_given_user_and_password() {
        let (listener, place) = listen().await;
        let proxy = format!("socks5h://me:pa%20ss@{place}");
        let transport = transport(&[("HTTP_PROXY", &proxy)]);
        let login = b"\x01\x02me\x05pa ss";
        let wanted = b"\x05\x01\x00\x01\xc0\x00\x02\x07\x23\x82";
        let server = answer_by_socks(&listener, Some(login), wanted);
        let request = post("http://192.0.2.7:9090/x");
        let (answer, head) = tokio::join!(transport.exchange(request, LIMIT), server);
        assert_eq!(answer.unwrap().body(), "ok");
        assert!(head.starts_with("POST /x HTTP/1.1\r\n"), "{head}");
    }

    #[tokio::test]
    async fn an_encrypted_address_is_asked_through_a_tunnel() {
        let (listener, place) = listen().await;
        let proxy = format!("http://me:hunter2@{place}");
        let mut invalid = Vec::new();
        let get = |name: &str| (name == "HTTPS_PROXY").then_some(&*proxy);
        let rules = ProxyRules::new(get, &mut invalid);
        let roots = Some(CA_CERTIFICATE.as_bytes());
        let transport = HttpTransport::new(roots, rules).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            tls_on(stream, SERVER_CERTIFICATE, SERVER_KEY).await;
            head
        };
        // With a dot the name is what the certificate is for, and not this machine's, which is asked directly.
        let request = post("https://localhost./x");
        let (answer, head) = tokio::join!(transport.exchange(request, LIMIT), server);
        assert_eq!(answer.unwrap().body(), "ok");
        assert!(
            head.starts_with("CONNECT localhost.:443 HTTP/1.1\r\n"),
            "{head}"
        );
        // `me:hunter2`
        assert!(
            head.contains("Proxy-Authorization: Basic bWU6aHVudGVyMg==\r\n"),
            "{head}"
        );
    }

    #[tokio::test]
    async fn a_connection_is_used_again() {
        let (listener, place) = listen().await;
        let transport = transport(&[]);
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..2 {
                read_head(&mut stream).await;
                stream.write_all(OK).await.unwrap();
            }
        };
        let client = async {
            for _ in 0..2 {
                let request = Request::get(format!("http://{place}/"));
                let request = request.body(Bytes::new()).unwrap();
                let answer = transport.exchange(request, LIMIT).await.unwrap();
                assert_eq!(answer.body(), "ok");
            }
        };
        tokio::join!(client, server);
    }

    /// An answer with this status, encoding and body.
    fn encoded(status: u16, encoding: &str, body: &[u8]) -> Vec<u8> {
        let mut answer = format!(
            "HTTP/1.1 {status} X\r\nContent-Encoding: {encoding}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend_from_slice(body);
        answer
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn an_answer_that_came_compressed_unasked_is_read_within_the_limit() {
        let bomb = gzip(&vec![b' '; LIMIT + 1]);
        let cases: [Encoded<'_>; 8] = [
            (200, "gzip", gzip(b"seven"), Ok("seven")),
            (404, "gzip", gzip(b"no such app"), Ok("no such app")),
            (200, "identity", b"seven".to_vec(), Ok("seven")),
            (
                200,
                "gzip",
                bomb.clone(),
                Err("the answer is larger than 1048576 bytes"),
            ),
            (
                500,
                "gzip",
                bomb,
                Err("the answer is larger than 1048576 bytes"),
            ),
            (
                200,
                "br",
                b"seven".to_vec(),
                Err(
                    "the compressed answer cannot be read: its encoding is \"br\", which was not requested; expected gzip \
                     or deflate",
                ),
            ),
            // What a refusal says is told without its text, or with it as it is.
            (502, "br", b"bad gateway".to_vec(), Ok("bad gateway")),
            (502, "gzip", b"bad gateway".to_vec(), Ok("")),
        ];
        for (status, encoding, body, expected) in cases {
            let (listener, place) = listen().await;
            let transport = transport(&[]);
            let answer = encoded(status, encoding, &body);
            let (outcome, head) = tokio::join!(
                transport.exchange(post(&format!("http://{place}/")), LIMIT),
                answer_once(&listener, &answer)
            );
            assert!(!head.to_lowercase().contains("accept-encoding"), "{head}");
            let found = outcome.map_err(|error| error.to_string());
            let found = found.map(|answer| {
                assert_eq!(answer.status(), status);
                assert!(!answer.headers().contains_key(CONTENT_ENCODING));
                String::from_utf8(answer.into_body().to_vec()).unwrap()
            });
            assert_eq!(
                found.as_deref().map_err(String::as_str),
                expected,
                "{status} {encoding}"
            );
        }
    }

    /// A TLS server on 127.0.0.1 with this certificate, which answers one request if it gets that far.
    async fn tls_server(listener: TcpListener, certificate: &str, key: &str) {
        tls_on(listener.accept().await.unwrap().0, certificate, key).await;
    }

    async fn tls_on(stream: TcpStream, certificate: &str, key: &str) {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        let stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        let serve = move || -> std::io::Result<()> {
            let connection =
                rustls::ServerConnection::new(Arc::new(config)).map_err(std::io::Error::other)?;
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let mut head = [0; 4096];
            let _ = std::io::Read::read(&mut stream, &mut head)?;
            stream.write_all(OK)?;
            stream.conn.send_close_notify();
            stream.flush()
        };
        // It fails where the client does not like the certificate.
        let _ = tokio::task::spawn_blocking(serve).await.unwrap();
    }

    #[tokio::test]
    async fn a_certificate_that_is_not_accepted_says_what_to_do() {
        let name_it = "set `SSL_CERT_FILE` to a PEM file with it";
        let cases: [Shown<'_>; 6] = [
            (
                "an unknown issuer",
                SERVER_CERTIFICATE,
                SERVER_KEY,
                None,
                Some(name_it),
            ),
            (
                "its issuer is named",
                SERVER_CERTIFICATE,
                SERVER_KEY,
                Some(CA_CERTIFICATE),
                None,
            ),
            (
                "self-signed",
                SELF_SIGNED,
                SELF_SIGNED_KEY,
                None,
                Some(name_it),
            ),
            (
                "self-signed and named",
                SELF_SIGNED,
                SELF_SIGNED_KEY,
                Some(SELF_SIGNED),
                None,
            ),
            (
                "self-signed as an authority",
                SELF_SIGNED_AUTHORITY,
                SELF_SIGNED_AUTHORITY_KEY,
                None,
                Some("CA:FALSE"),
            ),
            (
                "self-signed as an authority, and named",
                SELF_SIGNED_AUTHORITY,
                SELF_SIGNED_AUTHORITY_KEY,
                Some(SELF_SIGNED_AUTHORITY),
                Some("CA:FALSE"),
            ),
        ];
        for (name, certificate, key, roots, advice) in cases {
            let (listener, place) = listen().await;
            let port = place.rsplit_once(':').unwrap().1;
            let url = format!("https://localhost:{port}/");
            let transport =
                HttpTransport::new(roots.map(str::as_bytes), ProxyRules::default()).unwrap();
            let (outcome, ()) = tokio::join!(
                transport.exchange(post(&url), LIMIT),
                tls_server(listener, certificate, key)
            );
            match (outcome, advice) {
                (Ok(answer), None) => assert_eq!(answer.body(), "ok", "{name}"),
                (Err(error), Some(advice)) => {
                    let text = full_text(&error);
                    assert!(
                        matches!(error, TransportError::Tls { .. }),
                        "{name}: {text}"
                    );
                    assert!(text.contains(advice), "{name}: {text}");
                    assert!(error.was_not_sent());
                }
                (outcome, _) => panic!("{name}: {outcome:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_speak_tls_is_named_so() {
        let (listener, place) = listen().await;
        let url = format!("https://{place}/");
        let transport = transport(&[]);
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 X\r\n\r\n").await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        let (outcome, ()) = tokio::join!(transport.exchange(post(&url), LIMIT), server);
        let text = full_text(&outcome.unwrap_err());
        assert!(
            text.contains("does the server speak TLS on this port?"),
            "{text}"
        );
    }

    #[test]
    fn extra_roots_without_a_certificate_are_refused() {
        for pem in [
            "",
            "none",
            "-----BEGIN CERTIFICATE-----\n",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            let transport = HttpTransport::new(Some(pem.as_bytes()), ProxyRules::default());
            assert!(matches!(transport.err(), Some(SetupError::Roots)), "{pem}");
        }
    }
}

//! The listener of the daemon's port, which no client may use to stop the scaling.
//!
//! The whole private network reaches the port. `axum::serve` takes every connection, waits for its header for ever and
//! keeps up to 400 KB of it; a thousand of them are all file descriptors and all memory that a small machine has. Here
//! the connections are few, what each may keep is small, and each has to get on: everything that is bounded is a
//! constant below. What is answered is the router's matter.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, http::HeaderValue};
use http::{Request, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tower::ServiceExt as _;

/// How many connections are served at once; more wait in the kernel's queue, where they cost no descriptor. Prometheus
/// and Fly's checks need one each.
pub const CONNECTIONS: usize = 64;

/// How many connections the kernel keeps waiting; what comes after that is asked to come again.
const QUEUE: u32 = 1024;

/// What the kernel keeps of what a connection sends before it is read, in bytes: of those that wait, too.
const RECEIVE_BUFFER: u32 = 16 * 1024;

/// How much of a request's header is read, in bytes.
const HEADER_LIMIT: usize = 16 * 1024;

/// How long a request's header may take, from its first byte on; of a new connection, from its beginning.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// How long a connection may go on without a request's header: to take an answer, and to be idle after it.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// The pause after a connection that cannot be taken, as when descriptors run out; they do not come back at once.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Binds a listener whose queue and buffers are bounded.
///
/// # Errors
///
/// When the address is taken, or the host does not have it.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() {
        TcpSocket::new_v6()?
    } else {
        TcpSocket::new_v4()?
    };
    // A daemon that is started again finds its port free.
    socket.set_reuseaddr(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(address)?;
    socket.listen(QUEUE)
}

/// Lets the process have as many open files as it may, as Go's runtime does for upstream: a container's soft limit can
/// be far below its hard one.
///
/// # Errors
///
/// When the system refuses; the limit is then what it was.
pub fn raise_open_files() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

/// Serves `router` on `listener` until it is dropped, and with it every connection.
pub async fn serve(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut failed_before = false;
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        // Those that ended; a panic in one of them is its own end only.
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                failed_before = false;
                // Without it an answer's last packet may wait for the acknowledgement of the one before.
                let _ = stream.set_nodelay(true);
                let (router, places) = (router.clone(), Arc::clone(&places));
                connections.spawn(async move {
                    converse(stream, router, &places).await;
                    drop(place);
                });
            }
            Err(error) if is_the_connections_own(&error) => {}
            Err(error) => {
                if !failed_before {
                    tracing::warn!(error = %error, "cannot accept connections on the /metrics port: {error}");
                }
                failed_before = true;
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether an error of `accept` says that a connection ended before it was taken.
fn is_the_connections_own(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Serves one connection until the client or its time ends it.
async fn converse<S>(stream: S, router: Router, places: &Semaphore)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (stage, seen) = watch::channel(Stage::Header(Instant::now()));
    let stage = Arc::new(stage);
    let stream = Watched {
        stream,
        stage: Arc::clone(&stage),
    };
    let service = service_fn(|request: Request<Incoming>| {
        stage.send_replace(Stage::Other(Instant::now()));
        let router = router.clone();
        // While others wait nobody keeps a place for the time between requests.
        let crowded = places.available_permits() == 0;
        async move {
            // One request a turn: a client that sends them in a row leaves every other task its turn in between.
            tokio::task::yield_now().await;
            let mut response = router.oneshot(request).await?;
            if crowded {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .max_buf_size(HEADER_LIMIT)
        // The stages below know an idle connection from a slow one, which this time limit does not.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        biased;
        // What a client does wrong, or its hanging up, is nobody else's matter.
        _ = connection => {}
        () = expired(seen) => {}
    }
}

/// What a connection is at, and since when.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// A request's header is on its way.
    Header(Instant),
    /// It is answered, or nothing has been asked since the answer.
    Other(Instant),
}

impl Stage {
    fn end(self) -> Instant {
        match self {
            Self::Header(since) => since + HEADER_TIME,
            Self::Other(since) => since + IDLE_TIME,
        }
    }
}

/// Waits until a stage has lasted too long.
async fn expired(mut stage: watch::Receiver<Stage>) {
    loop {
        let end = stage.borrow_and_update().end();
        tokio::select! {
            biased;
            // Cancel safe: what changed is seen in the next round.
            changed = stage.changed() => if changed.is_err() {
                // The connection is ending by itself.
                return;
            },
            // Cancel safe: it is computed anew in every round.
            () = sleep_until(end) => return,
        }
    }
}

/// A stream that tells when something of a request arrives.
struct Watched<S> {
    stream: S,
    stage: Arc<watch::Sender<Stage>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            // Further bytes of the same header buy it no time.
            self.stage.send_if_modified(|stage| {
                let begins = matches!(stage, Stage::Other(_));
                if begins {
                    *stage = Stage::Header(Instant::now());
                }
                begins
            });
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::{
        future::poll_fn,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        task::JoinHandle,
        time::timeout,
    };

    use super::*;

    /// Larger than what is between the two ends, so that an answer that nobody reads is not done.
    const PIPE: usize = 64 * 1024;

    fn router() -> Router {
        Router::new()
            .route("/", get(|| async { "answer\n" }))
            .route("/large", get(|| async { "x".repeat(4 * PIPE) }))
    }

    /// The client's end of a connection, and the serving of it.
    fn connect(places: usize) -> (DuplexStream, JoinHandle<()>) {
        let (client, server) = duplex(PIPE);
        let places = Semaphore::new(places);
        let served = tokio::spawn(async move { converse(server, router(), &places).await });
        (client, served)
    }

    async fn answer(client: &mut DuplexStream) -> String {
        let mut text = String::new();
        while !text.ends_with("answer\n") {
            let mut bytes = [0; 1024];
            let count = client.read(&mut bytes).await.unwrap();
            assert!(count > 0, "it ended after {text}");
            text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        text
    }

    /// How many seconds pass until the connection is ended.
    async fn seconds(served: JoinHandle<()>) -> u64 {
        let began = Instant::now();
        served.await.unwrap();
        (began.elapsed() + Duration::from_millis(500)).as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_has_ten_seconds() {
        let (_client, served) = connect(1);
        assert_eq!(seconds(served).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_trickles_has_ten_seconds() {
        let (mut client, served) = connect(1);
        let trickle = tokio::spawn(async move {
            client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
            loop {
                sleep(Duration::from_secs(1)).await;
                if client.write_all(b"x: y\r\n").await.is_err() {
                    return;
                }
            }
        });
        assert_eq!(seconds(served).await, 10);
        trickle.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_has_a_minute_and_the_next_header_ten_seconds() {
        let (mut client, served) = connect(1);
        for _ in 0..3 {
            client
                .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .unwrap();
            answer(&mut client).await;
            sleep(Duration::from_secs(59)).await;
        }
        client.write_all(b"GET / HT").await.unwrap();
        assert_eq!(seconds(served).await, 10);
        let (mut client, served) = connect(1);
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        answer(&mut client).await;
        assert_eq!(seconds(served).await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_ends_after_a_minute() {
        for trickles in [false, true] {
            let (mut client, served) = connect(1);
            client
                .write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .unwrap();
            let reader = tokio::spawn(async move {
                let pause = Duration::from_secs(if trickles { 1 } else { 3600 });
                loop {
                    sleep(pause).await;
                    if client.read(&mut [0]).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
            });
            assert_eq!(seconds(served).await, 60, "{trickles}");
            reader.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_of_more_than_16_kib_is_refused() {
        for (length, refused) in [(15 * 1024, false), (17 * 1024, true), (1 << 20, true)] {
            let (client, served) = connect(1);
            let (mut reading, mut writing) = tokio::io::split(client);
            let header = format!(
                "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: {}\r\n\r\n",
                "y".repeat(length)
            );
            let written = tokio::spawn(async move {
                // It may be refused before all of it is there.
                let _ = writing.write_all(header.as_bytes()).await;
            });
            let mut text = String::new();
            reading.read_to_string(&mut text).await.unwrap();
            let status = if refused {
                "HTTP/1.1 431 "
            } else {
                "HTTP/1.1 200 "
            };
            assert!(text.starts_with(status), "{length}: {text}");
            assert_eq!(seconds(served).await, 0, "{length}: it is over at once");
            written.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_only_while_there_are_places() {
        for (left, kept) in [(1, true), (0, false)] {
            let (mut client, served) = connect(left);
            client
                .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .unwrap();
            let text = answer(&mut client).await;
            assert_eq!(text.contains("connection: close"), !kept, "{text}");
            let ended = timeout(Duration::from_secs(30), served).await;
            assert_eq!(ended.is_err(), kept);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_in_a_row_leave_other_tasks_their_turns() {
        let (mut client, served) = connect(1);
        let request = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        client
            .write_all(request.repeat(300).as_bytes())
            .await
            .unwrap();
        let turns = Arc::new(AtomicUsize::new(0));
        let taken = Arc::clone(&turns);
        // It is ready again at once, as a pass is whose answers have come, and stands in line with the connection.
        let other = tokio::spawn(poll_fn(move |context| {
            taken.fetch_add(1, Ordering::Relaxed);
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        let mut text = String::new();
        let mut bytes = vec![0; PIPE];
        while text.matches("answer\n").count() < 300 {
            let count = client.read(&mut bytes).await.unwrap();
            text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        other.abort();
        let turns = turns.load(Ordering::Relaxed);
        assert!(turns >= 300, "{turns} turns for 300 requests");
        served.abort();
    }
}

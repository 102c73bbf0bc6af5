//! Connections that several collectors share: how they are made, kept, bounded and given up.
//!
//! A connection is made when first needed. One that is lost is made again when it is next asked for, with one attempt for
//! all that ask side by side, which those of one pass do: a server that refuses is not hammered.

use std::{
    collections::HashMap,
    hash::Hash,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::CollectError;

/// How long a connection may take to be made, TLS and the password included.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes: one number is needed.
pub(super) const ANSWER_LIMIT: usize = 1024 * 1024;

/// Slots that nobody has used for so long are forgotten: their apps are gone.
const IDLE: Duration = Duration::from_secs(600);

/// A connection as [`Slot`] keeps it.
pub(super) trait Open {
    /// Whether it can be used, as far as is known.
    fn is_open(&self) -> bool;
}

/// The slots by where they lead; whoever names the same place has the same one.
pub(super) struct Slots<K, C>(Mutex<HashMap<K, Entry<C>>>);

struct Entry<C> {
    slot: Arc<Slot<C>>,
    used: Instant,
}

impl<K, C> Default for Slots<K, C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, C> Slots<K, C> {
    /// The slot of a place.
    pub(super) fn of(&self, place: K) -> Arc<Slot<C>> {
        let now = Instant::now();
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !slots.contains_key(&place);
        if is_new {
            slots.retain(|_, entry| now.duration_since(entry.used) < IDLE);
        }
        let entry = slots.entry(place).or_insert_with(|| Entry {
            slot: Arc::default(),
            used: now,
        });
        entry.used = now;
        Arc::clone(&entry.slot)
    }
}

/// The place of one connection.
pub(super) struct Slot<C> {
    state: tokio::sync::Mutex<State<C>>,
    /// How many attempts have come to an end.
    ended: AtomicU64,
}

struct State<C> {
    connection: Option<Arc<C>>,
    /// Why the last attempt failed.
    failure: Option<Arc<CollectError>>,
}

impl<C> Default for Slot<C> {
    fn default() -> Self {
        Self {
            state: tokio::sync::Mutex::new(State {
                connection: None,
                failure: None,
            }),
            ended: AtomicU64::new(0),
        }
    }
}

impl<C: Open> Slot<C> {
    /// The connection, or a new one from `open`. Whoever waited while another's attempt failed shares that failure.
    pub(super) async fn get(
        &self,
        open: impl Future<Output = Result<C, CollectError>>,
    ) -> Result<Arc<C>, CollectError> {
        let ended = self.ended.load(Ordering::Relaxed);
        let mut state = self.state.lock().await;
        if let Some(connection) = state.connection.as_ref().filter(|one| one.is_open()) {
            return Ok(Arc::clone(connection));
        }
        state.connection = None;
        if self.ended.load(Ordering::Relaxed) != ended
            && let Some(failure) = &state.failure
        {
            return Err(CollectError::SameAttempt(Arc::clone(failure)));
        }
        let opened = open.await;
        self.ended.fetch_add(1, Ordering::Relaxed);
        match opened {
            Ok(connection) => {
                let connection = Arc::new(connection);
                state.connection = Some(Arc::clone(&connection));
                state.failure = None;
                Ok(connection)
            }
            Err(failure) => {
                let failure = Arc::new(failure);
                state.failure = Some(Arc::clone(&failure));
                Err(CollectError::SameAttempt(failure))
            }
        }
    }
}

/// The task that moves a connection's bytes; it ends with this.
pub(super) struct Driver {
    task: JoinHandle<()>,
    is_given_up: AtomicBool,
}

impl Driver {
    /// Spawns it.
    pub(super) fn spawn(driving: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            task: tokio::spawn(driving),
            is_given_up: AtomicBool::new(false),
        }
    }

    /// Whether it still runs.
    pub(super) fn is_running(&self) -> bool {
        !self.is_given_up.load(Ordering::Relaxed) && !self.task.is_finished()
    }

    /// Ends it: nobody knows what an answer that comes later would be to.
    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
        self.task.abort();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Gives a connection up unless its answer came: it may hang, and a late answer would be taken for another one's.
pub(super) struct Doubt<'a> {
    driver: &'a Driver,
    is_settled: bool,
}

impl<'a> Doubt<'a> {
    pub(super) fn of(driver: &'a Driver) -> Self {
        Self {
            driver,
            is_settled: false,
        }
    }

    /// The answer has come.
    pub(super) fn settle(mut self) {
        self.is_settled = true;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.driver.give_up();
        }
    }
}

/// How many bytes have come since the last answer was complete. Answers come one after the other.
#[derive(Clone, Default)]
pub(super) struct Meter(Arc<AtomicUsize>);

impl Meter {
    /// An answer is complete.
    pub(super) fn reset(&self) {
        // What is over the limit stays so: the connection is lost.
        if !self.is_exceeded() {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    /// Whether more came than an answer may have.
    pub(super) fn is_exceeded(&self) -> bool {
        self.0.load(Ordering::Relaxed) > ANSWER_LIMIT
    }

    /// `CollectError::Oversized` where that is what was behind it.
    pub(super) fn or_oversized(&self, error: CollectError) -> CollectError {
        if self.is_exceeded() {
            CollectError::Oversized {
                limit: ANSWER_LIMIT,
            }
        } else {
            error
        }
    }
}

/// A stream that breaks off where an answer gets too long.
pub(super) struct Metered<S> {
    stream: S,
    meter: Meter,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, meter: Meter) -> Self {
        Self { stream, meter }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) {
            let read = buffer.filled().len() - before;
            self.meter.0.fetch_add(read, Ordering::Relaxed);
            if self.meter.is_exceeded() {
                buffer.set_filled(before);
                return Poll::Ready(Err(io::Error::other("the answer is too large")));
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
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
}

/// Connects, and nothing more.
///
/// # Errors
///
/// A name that is not found, a server that is away or refuses.
pub(super) async fn dial(host: &str, port: u16, peer: &str) -> Result<TcpStream, CollectError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port)).await;
    let stream = stream.map_err(|source| CollectError::Connection {
        peer: peer.to_owned(),
        source: Box::new(source),
    })?;
    // A request is one small write, which must not wait for more.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Lets a connection take [`CONNECT_TIMEOUT`] to be made.
///
/// # Errors
///
/// Whatever `opening` errs with, or [`CollectError::Timeout`].
pub(super) async fn within_connect_timeout<C>(
    peer: &str,
    opening: impl Future<Output = Result<C, CollectError>>,
) -> Result<C, CollectError> {
    timeout(CONNECT_TIMEOUT, opening).await.unwrap_or_else(|_| {
        Err(CollectError::Timeout {
            peer: peer.to_owned(),
        })
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    struct Fake(AtomicBool);

    impl Open for Fake {
        fn is_open(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn refused() -> CollectError {
        CollectError::Timeout {
            peer: "nobody".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_side_by_side_shares_one_attempt_and_the_next_one_makes_another() {
        let slot: Slot<Fake> = Slot::default();
        let attempts = AtomicUsize::new(0);
        let open = || async {
            attempts.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Err(refused())
        };
        let (a, b, c) = tokio::join!(slot.get(open()), slot.get(open()), slot.get(open()));
        for result in [a, b, c] {
            assert_eq!(result.err().unwrap().to_string(), refused().to_string());
        }
        assert_eq!(attempts.load(Ordering::Relaxed), 1);
        let _ = slot.get(open()).await;
        assert_eq!(attempts.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_connection_is_kept_until_it_is_lost() {
        let slot = Slot::default();
        let open = || async { Ok(Fake(AtomicBool::new(true))) };
        let first = slot.get(open()).await.unwrap();
        let again = slot.get(open()).await.unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        first.0.store(false, Ordering::Relaxed);
        let next = slot.get(open()).await.unwrap();
        assert!(!Arc::ptr_eq(&first, &next));
    }

    #[tokio::test(start_paused = true)]
    async fn one_place_is_one_slot_and_is_forgotten_once_nobody_asks_there() {
        let slots: Slots<&str, Fake> = Slots::default();
        let first = slots.of("a");
        assert!(Arc::ptr_eq(&first, &slots.of("a")));
        assert!(!Arc::ptr_eq(&first, &slots.of("b")));
        tokio::time::advance(IDLE).await;
        let _ = slots.of("c");
        assert!(!Arc::ptr_eq(&first, &slots.of("a")));
    }

    #[tokio::test]
    async fn a_stream_breaks_off_where_an_answer_gets_too_long_and_not_where_many_are_short() {
        let (mut server, client) = tokio::io::duplex(1 << 16);
        let meter = Meter::default();
        let mut stream = Metered::new(client, meter.clone());
        let writing = tokio::spawn(async move {
            let chunk = vec![b'x'; 1 << 16];
            while server.write_all(&chunk).await.is_ok() {}
        });
        let mut chunk = vec![0; 1 << 16];
        for _ in 0..40 {
            stream.read_exact(&mut chunk).await.unwrap();
            meter.reset();
        }
        let mut all = Vec::new();
        let error = stream.read_to_end(&mut all).await.unwrap_err();
        assert_eq!(error.to_string(), "the answer is too large");
        assert!(
            all.len() <= ANSWER_LIMIT && meter.is_exceeded(),
            "{}",
            all.len()
        );
        meter.reset();
        assert!(meter.is_exceeded());
        let oversized = meter.or_oversized(refused());
        assert!(matches!(oversized, CollectError::Oversized { .. }));
        writing.abort();
    }
}

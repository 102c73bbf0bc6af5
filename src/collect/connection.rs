//! Connections that several collectors take turns on: how they are made, lent, kept, bounded and given up.
//!
//! Whoever asks has a connection for itself until the answer is there, so that a slow question holds nobody else up. It is one
//! that was kept, or a new one, up to [`AT_ONCE`] for a place. Only a connection on which every question has its one answer
//! is kept; any other is closed. A new one is made with one attempt for all that ask side by side, which those of one
//! pass do: a server that refuses is not hammered.

use std::{
    collections::HashMap,
    future::poll_fn,
    hash::Hash,
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::unconstrained,
    time::{Instant, timeout},
};

use super::{CollectError, CollectErrorKind};

/// How long a connection may take to be made, TLS and the password included.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes: one number is needed.
pub(super) const ANSWER_LIMIT: usize = 1024 * 1024;

/// How many connections one place has at once, at most. Who needs one more waits for one.
pub(super) const AT_ONCE: usize = 8;

/// How many connections of one place are kept while nobody uses them, at most.
pub(super) const KEPT: usize = 4;

/// Connections that nobody has used for so long are closed: their apps are gone.
const IDLE: Duration = Duration::from_secs(600);

/// How often it is looked for those, at most.
const SWEEP: Duration = Duration::from_secs(60);

/// A connection as [`Slot`] keeps it.
pub(super) trait Open {
    /// Whether it can be asked: it is open as far as is known, and nothing has come on it that nobody asked for.
    fn is_ready(&mut self) -> bool;
}

/// The slots by where they lead; whoever names the same place has the same one.
pub(super) struct Slots<K, C>(Mutex<Places<K, C>>);

struct Places<K, C> {
    slots: HashMap<K, Arc<Slot<C>>>,
    swept: Option<Instant>,
}

impl<K, C> Default for Slots<K, C> {
    fn default() -> Self {
        Self(Mutex::new(Places {
            slots: HashMap::new(),
            swept: None,
        }))
    }
}

impl<K: Hash + Eq, C: Open> Slots<K, C> {
    /// The slot of a place.
    pub(super) fn of(&self, place: K) -> Arc<Slot<C>> {
        let now = Instant::now();
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = |swept| now.duration_since(swept) >= SWEEP;
        if places.swept.is_none_or(is_due) {
            places.swept = Some(now);
            // One without a connection is worth nothing, and a peer may send us to ever other places.
            places.slots.retain(|_, slot| {
                slot.sweep(now);
                Arc::strong_count(slot) > 1 || !slot.state().idle.is_empty()
            });
        }
        Arc::clone(places.slots.entry(place).or_default())
    }
}

/// The connections of one place.
pub(super) struct Slot<C> {
    /// One for each that has a connection or is about to. First come, first served.
    places: Arc<Semaphore>,
    state: Mutex<State<C>>,
    /// A connection has come back, or is gone.
    returned: Notify,
    /// Held while a connection is made: why the last attempt failed.
    opening: tokio::sync::Mutex<Option<Arc<CollectError>>>,
    /// How many attempts have come to an end.
    ended: AtomicU64,
}

struct State<C> {
    /// The last one was used last.
    idle: Vec<Idle<C>>,
    /// How many are in use.
    lent: usize,
}

struct Idle<C> {
    connection: C,
    since: Instant,
}

impl<C> Default for Slot<C> {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE)),
            state: Mutex::new(State {
                idle: Vec::new(),
                lent: 0,
            }),
            returned: Notify::new(),
            opening: tokio::sync::Mutex::default(),
            ended: AtomicU64::new(0),
        }
    }
}

impl<C> Slot<C> {
    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Open> Slot<C> {
    /// A connection that was kept, or a new one from `open`. Whoever waited while another's attempt failed shares that failure;
    /// but where the server let others in and has turned this one away, one of theirs is waited for: it may let in only so many.
    pub(super) async fn get(
        self: &Arc<Self>,
        open: impl Future<Output = Result<C, CollectError>>,
    ) -> Result<Lease<C>, CollectError> {
        let mut open = pin!(open);
        let ended = self.ended.load(Ordering::Relaxed);
        // It is never closed, so that there always is one.
        let mut place = Arc::clone(&self.places).acquire_owned().await.ok();
        let mut failure: Option<Arc<CollectError>> = None;
        loop {
            let mut returned = pin!(self.returned.notified());
            // From here on none is missed that comes back.
            returned.as_mut().enable();
            let lent = self.state().lent;
            if let Some(connection) = self.kept() {
                return Ok(self.lend(connection, &mut place));
            }
            if let Some(failure) = &failure {
                if lent == 0 || !is_of_servers_own(failure) {
                    return Err(CollectError::SameAttempt(Arc::clone(failure)));
                }
                returned.await;
                continue;
            }
            let mut last = tokio::select! {
                biased;
                () = returned => continue,
                last = self.opening.lock() => last,
            };
            if let Some(connection) = self.kept() {
                return Ok(self.lend(connection, &mut place));
            }
            if self.ended.load(Ordering::Relaxed) != ended && last.is_some() {
                failure.clone_from(&last);
                continue;
            }
            let opened = open.as_mut().await;
            self.ended.fetch_add(1, Ordering::Relaxed);
            match opened {
                Ok(connection) => {
                    *last = None;
                    return Ok(self.lend(connection, &mut place));
                }
                Err(error) => {
                    failure = Some(Arc::new(error));
                    last.clone_from(&failure);
                }
            }
        }
    }

    /// One that was kept and still is of use. The one that was used last comes first: the others grow old.
    fn kept(&self) -> Option<C> {
        loop {
            let mut connection = self.state().idle.pop()?.connection;
            if connection.is_ready() {
                return Some(connection);
            }
        }
    }

    fn lend(self: &Arc<Self>, connection: C, place: &mut Option<OwnedSemaphorePermit>) -> Lease<C> {
        self.state().lent += 1;
        Lease {
            connection,
            loan: Loan {
                slot: Arc::clone(self),
                since: Instant::now(),
                is_answered: false,
                _place: place.take(),
            },
        }
    }

    /// Closes what nobody has used for long, or is of no more use.
    fn sweep(&self, now: Instant) {
        self.state()
            .idle
            .retain_mut(|idle| now.duration_since(idle.since) < IDLE && idle.connection.is_ready());
    }
}

/// Whether the server was there and turned us away, for another reason than the password.
fn is_of_servers_own(failure: &CollectError) -> bool {
    matches!(
        failure.kind(),
        CollectErrorKind::Status | CollectErrorKind::Query
    )
}

/// A connection for one question. It is closed with this, unless it is given back: it may hang, and a late answer would be taken
/// for another one's.
pub(super) struct Lease<C> {
    /// What to ask on.
    pub(super) connection: C,
    loan: Loan<C>,
}

impl<C: Open> Lease<C> {
    /// The answer has come. The connection is kept for the next one who asks, if it is fit for that.
    pub(super) fn give_back(self) {
        let Self {
            mut connection,
            mut loan,
        } = self;
        loan.is_answered = true;
        if connection.is_ready() {
            let mut state = loan.slot.state();
            if state.idle.len() < KEPT {
                let since = Instant::now();
                state.idle.push(Idle { connection, since });
            }
        }
    }
}

/// What ends with a lease.
struct Loan<C> {
    slot: Arc<Slot<C>>,
    since: Instant,
    is_answered: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl<C> Drop for Loan<C> {
    fn drop(&mut self) {
        let mut state = self.slot.state();
        state.lent -= 1;
        if !self.is_answered {
            // The way to the server may be broken: what has been silent for as long must not fail one question after the other.
            state.idle.retain(|idle| idle.since >= self.since);
        }
        drop(state);
        self.slot.returned.notify_waiters();
    }
}

/// What moves a connection's bytes. Nothing runs by itself: it moves them while somebody waits for an answer.
pub(super) struct Driver(Option<BoxFuture<'static, ()>>);

impl Driver {
    pub(super) fn new(driving: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(driving.boxed()))
    }

    /// Moves bytes until `asking` has come to an end, as it does when the connection ends.
    pub(super) async fn until<T>(&mut self, asking: impl Future<Output = T>) -> T {
        let mut asking = pin!(asking);
        poll_fn(|context| {
            if let Poll::Ready(answer) = asking.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            self.step(context);
            asking.as_mut().poll(context)
        })
        .await
    }

    /// Reads what has come, and says whether the connection is still open.
    pub(super) fn catch_up(&mut self) -> bool {
        let step = poll_fn(|context| {
            self.step(context);
            Poll::Ready(())
        });
        // A task that has done much already must not take the connection for silent.
        let _ = unconstrained(step).now_or_never();
        self.0.is_some()
    }

    fn step(&mut self, context: &mut Context<'_>) {
        let driving = self.0.as_mut().map(|driving| driving.poll_unpin(context));
        if driving.is_some_and(|polled| polled.is_ready()) {
            // Whoever waits learns of the end by this.
            self.0 = None;
        }
    }
}

/// How a protocol divides what comes into answers.
pub(super) trait Framing {
    /// These bytes went to the server.
    fn went(&mut self, bytes: &[u8]);

    /// These bytes came from it.
    fn came(&mut self, bytes: &[u8]);

    /// Whether every question has its answer, and nothing else has come than what a server may say at any time.
    fn is_at_rest(&self) -> bool;

    /// Whether something has come that must not be read.
    fn is_refused(&self) -> bool {
        false
    }
}

/// Where the talk on a connection has got to.
pub(super) struct Watch<F>(Arc<Mutex<F>>);

impl<F> Clone for Watch<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Framing> Watch<F> {
    pub(super) fn new(framing: F) -> Self {
        Self(Arc::new(Mutex::new(framing)))
    }

    pub(super) fn framing(&self) -> MutexGuard<'_, F> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Framing::is_at_rest`].
    pub(super) fn is_at_rest(&self) -> bool {
        self.framing().is_at_rest()
    }
}

/// A stream that is watched, and breaks off where something comes that must not be read; what goes over it is not encrypted
/// any more.
pub(super) struct Watched<S, F> {
    stream: S,
    watch: Watch<F>,
}

impl<S, F> Watched<S, F> {
    pub(super) fn new(stream: S, watch: Watch<F>) -> Self {
        Self { stream, watch }
    }

    /// Where encryption begins.
    pub(super) fn into_parts(self) -> (S, Watch<F>) {
        (self.stream, self.watch)
    }
}

impl<S: AsyncRead + Unpin, F: Framing> AsyncRead for Watched<S, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().get(before..).unwrap_or_default();
        if !read.is_empty() {
            let mut framing = self.watch.framing();
            framing.came(read);
            if framing.is_refused() {
                drop(framing);
                buffer.set_filled(before);
                return Poll::Ready(Err(io::Error::other("the answer is not to be read")));
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin, F: Framing> AsyncWrite for Watched<S, F> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            let written = bytes.get(..written).unwrap_or(bytes);
            self.watch.framing().went(written);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
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
    use std::sync::atomic::AtomicBool;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A connection that is open as long as it is told so.
    #[derive(Clone)]
    struct Fake(Arc<AtomicBool>);

    impl Fake {
        fn new() -> Self {
            Self(Arc::new(AtomicBool::new(true)))
        }

        fn is_closed(&self) -> bool {
            Arc::strong_count(&self.0) == 1
        }

        fn is(&self, other: &Self) -> bool {
            Arc::ptr_eq(&self.0, &other.0)
        }
    }

    impl Open for Fake {
        fn is_ready(&mut self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    /// Something that a test expects to go on at once.
    async fn soon<T>(it: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(10), it).await.unwrap()
    }

    async fn opened(slot: &Arc<Slot<Fake>>) -> Lease<Fake> {
        soon(slot.get(async { Ok(Fake::new()) })).await.unwrap()
    }

    fn refused() -> CollectError {
        CollectError::Timeout {
            peer: "nobody".to_owned(),
        }
    }

    fn too_many() -> CollectError {
        CollectError::Unready {
            service: "Postgres",
            text: "too many connections".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_side_by_side_shares_one_attempt_and_the_next_one_makes_another() {
        let slot: Arc<Slot<Fake>> = Arc::default();
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

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_until_it_is_lost() {
        let slot = Arc::default();
        let first = opened(&slot).await;
        let one = first.connection.clone();
        first.give_back();
        let again = opened(&slot).await;
        assert!(again.connection.is(&one));
        again.give_back();
        one.0.store(false, Ordering::Relaxed);
        assert!(!opened(&slot).await.connection.is(&one));
        assert!(one.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_beside_another_has_another_connection_and_one_that_is_given_up_is_closed()
    {
        let slot = Arc::default();
        let hanging = opened(&slot).await;
        let other = opened(&slot).await;
        let (hung, one) = (hanging.connection.clone(), other.connection.clone());
        assert!(!one.is(&hung));
        drop(hanging);
        assert!(hung.is_closed());
        other.give_back();
        assert!(opened(&slot).await.connection.is(&one));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_back_is_taken_while_another_is_still_being_made() {
        let slot = Arc::default();
        let first = opened(&slot).await;
        let one = first.connection.clone();
        let mut stuck = pin!(slot.get(std::future::pending()));
        assert!(stuck.as_mut().now_or_never().is_none());
        let mut next = pin!(opened(&slot));
        assert!(next.as_mut().now_or_never().is_none());
        first.give_back();
        assert!(next.await.connection.is(&one));
    }

    #[tokio::test(start_paused = true)]
    async fn the_ninth_waits_until_one_of_the_eight_is_answered_or_given_up() {
        let slot = Arc::default();
        let mut leases = Vec::new();
        for _ in 0..AT_ONCE {
            leases.push(opened(&slot).await);
        }
        let mut ninth = pin!(opened(&slot));
        let mut tenth = pin!(opened(&slot));
        assert!(ninth.as_mut().now_or_never().is_none());
        assert!(tenth.as_mut().now_or_never().is_none());
        drop(leases.pop());
        let ninth = ninth.await;
        let answered = leases.pop().unwrap();
        let one = answered.connection.clone();
        answered.give_back();
        assert!(tenth.await.connection.is(&one));
        drop(ninth);
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_server_lets_no_more_in_one_of_those_that_it_has_is_waited_for() {
        let slot = Arc::default();
        let attempts = AtomicUsize::new(0);
        let open = || async {
            attempts.fetch_add(1, Ordering::Relaxed);
            Err(too_many())
        };
        let first = opened(&slot).await;
        let one = first.connection.clone();
        let mut second = pin!(slot.get(open()));
        assert!(second.as_mut().now_or_never().is_none());
        first.give_back();
        let second = soon(second).await.unwrap();
        assert!(second.connection.is(&one));
        let mut third = pin!(slot.get(open()));
        assert!(third.as_mut().now_or_never().is_none());
        drop(second);
        let error = soon(third).await.err().unwrap();
        assert_eq!(error.to_string(), too_many().to_string());
        assert_eq!(attempts.load(Ordering::Relaxed), 2);
        // Where nobody is there, the others wait in vain.
        let lease = opened(&slot).await;
        assert!(soon(slot.get(async { Err(refused()) })).await.is_err());
        drop(lease);
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_are_kept_and_no_longer_than_they_are_of_use() {
        let slots: Slots<&str, Fake> = Slots::default();
        let slot = slots.of("a");
        let mut leases = Vec::new();
        for _ in 0..AT_ONCE {
            leases.push(opened(&slot).await);
        }
        let all: Vec<Fake> = leases.iter().map(|one| one.connection.clone()).collect();
        let closed = || all.iter().filter(|one| one.is_closed()).count();
        leases.into_iter().for_each(Lease::give_back);
        assert_eq!(closed(), AT_ONCE - KEPT);
        // One is in use again and again.
        for _ in 0..20 {
            tokio::time::advance(IDLE / 10).await;
            opened(&slots.of("a")).await.give_back();
        }
        assert_eq!(closed(), AT_ONCE - 1);
        for one in &all {
            one.0.store(false, Ordering::Relaxed);
        }
        tokio::time::advance(SWEEP).await;
        let _ = slots.of("b");
        assert_eq!(closed(), AT_ONCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_without_an_answer_casts_doubt_on_those_that_have_been_silent_since() {
        let slot = Arc::default();
        let (a, b, c) = (
            opened(&slot).await,
            opened(&slot).await,
            opened(&slot).await,
        );
        let (silent, alive) = (a.connection.clone(), c.connection.clone());
        a.give_back();
        b.give_back();
        tokio::time::advance(Duration::from_secs(1)).await;
        let hanging = opened(&slot).await;
        c.give_back();
        drop(hanging);
        assert!(silent.is_closed() && !alive.is_closed());
        assert!(opened(&slot).await.connection.is(&alive));
    }

    #[tokio::test(start_paused = true)]
    async fn one_place_is_one_slot_and_is_forgotten_once_it_has_no_connection() {
        let slots: Slots<&str, Fake> = Slots::default();
        let count = || slots.0.lock().unwrap().slots.len();
        let held = slots.of("held");
        let lease = opened(&slots.of("lent")).await;
        opened(&slots.of("kept")).await.give_back();
        let _ = slots.of("without");
        assert!(Arc::ptr_eq(&held, &slots.of("held")));
        assert!(!Arc::ptr_eq(&held, &slots.of("kept")));
        assert_eq!(count(), 4);
        tokio::time::advance(SWEEP).await;
        assert!(Arc::ptr_eq(&held, &slots.of("held")));
        assert_eq!(count(), 3);
        drop((held, lease));
        tokio::time::advance(SWEEP).await;
        let _ = slots.of("kept");
        assert_eq!(count(), 1);
        tokio::time::advance(IDLE).await;
        let _ = slots.of("another");
        assert_eq!(count(), 1);
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

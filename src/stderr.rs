//! Standard error: the only place that writes to it, and one that nobody has to wait for.
//!
//! Lines go through a bounded queue to a thread of their own, so that a reader who stalls (a full pipe, a terminal on
//! hold) delays neither a pass nor the end of the program. What does not fit is dropped and counted, and a line says how
//! many once there is room again. Before the process ends, [`flush`] gives a reader a short time to take the rest.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IsTerminal as _, Write},
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How many bytes may wait for the reader: thousands of lines, and nothing that a small machine would miss.
const QUEUE_LIMIT: usize = 1 << 20;

/// How long the end of the program waits for the reader. With the four seconds that calls in flight have, it stays below
/// five.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);

/// The thread only passes bytes on.
const STACK_SIZE: usize = 64 * 1024;

/// How long the thread pauses where somebody has made standard error not wait.
const RETRY: Duration = Duration::from_millis(10);

static STDERR: LazyLock<Queue> = LazyLock::new(|| Queue::to(io::stderr()));

/// Writes `line` and a line end as soon as the reader takes it. Never waits.
pub fn write(line: String) {
    STDERR.push(line);
}

/// Says how lines that were dropped are told of.
pub fn tell_of_drops_with(tell: fn(u64) -> String) {
    STDERR.lock().tell = tell;
}

/// Waits until everything is written, for half a second at most.
pub fn flush() {
    STDERR.flush(FLUSH_LIMIT);
}

/// Whether people read along.
#[must_use]
pub fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Lines on their way to a writer.
struct Queue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// There is something to write.
    filled: Condvar,
    /// Everything is written.
    emptied: Condvar,
}

struct State {
    lines: VecDeque<String>,
    bytes: usize,
    /// How many lines did not fit since the last one that did.
    dropped: u64,
    is_writing: bool,
    tell: fn(u64) -> String,
}

impl Queue {
    fn to(mut writer: impl Write + Send + 'static) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                lines: VecDeque::new(),
                bytes: 0,
                dropped: 0,
                is_writing: false,
                tell: |count| format!("{count} lines were dropped, because nobody read them"),
            }),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        });
        let queue = Self(Arc::clone(&shared));
        let thread = thread::Builder::new()
            .name("stderr".to_owned())
            .stack_size(STACK_SIZE);
        // Without a thread nothing is written, but everything else goes on.
        let _ = thread.spawn(move || shared.write_to(&mut writer));
        queue
    }

    fn push(&self, mut line: String) {
        line.push('\n');
        let mut state = self.lock();
        let note = (state.dropped > 0).then(|| (state.tell)(state.dropped) + "\n");
        let length = line.len() + note.as_ref().map_or(0, String::len);
        if state.bytes + length > QUEUE_LIMIT {
            state.dropped += 1;
            return;
        }
        state.bytes += length;
        state.dropped = 0;
        state.lines.extend(note);
        state.lines.push_back(line);
        drop(state);
        self.0.filled.notify_one();
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "it is a thread that waits, and no test pauses it"
    )]
    fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut state = self.lock();
        while state.is_writing || !state.lines.is_empty() || state.dropped > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.emptied.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, writer: &mut impl Write) {
        loop {
            let line = self.next();
            write_all(writer, line.as_bytes());
        }
    }

    /// The next line, once there is one.
    fn next(&self) -> String {
        let mut state = self.lock();
        state.is_writing = false;
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.is_writing = true;
                return line;
            }
            if state.dropped > 0 {
                // The reader is back, and nothing has been logged since.
                let note = (state.tell)(state.dropped) + "\n";
                state.dropped = 0;
                state.is_writing = true;
                return note;
            }
            self.emptied.notify_all();
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Writes all of it, unless nobody is left to read: that is no reason to end.
#[expect(
    clippy::disallowed_methods,
    reason = "the writer has a thread of its own"
)]
fn write_all(writer: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match writer.write(bytes) {
            Ok(0) => return,
            Ok(count) => bytes = &bytes[count.min(bytes.len())..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes a write only when the test hands it a permit, and keeps what it has taken.
    struct Slow {
        permits: mpsc::Receiver<()>,
        taken: mpsc::Sender<String>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.permits.recv().is_err() {
                return Err(ErrorKind::BrokenPipe.into());
            }
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.taken.send(text).map_err(|_| ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Queue, mpsc::Sender<()>, mpsc::Receiver<String>) {
        let (permit, permits) = mpsc::channel();
        let (taken, text) = mpsc::channel();
        (Queue::to(Slow { permits, taken }), permit, text)
    }

    #[test]
    fn lines_come_in_their_order_and_flush_waits_for_them() {
        let (queue, permit, text) = slow();
        for _ in 0..3 {
            permit.send(()).unwrap();
        }
        for line in ["one", "two", "three"] {
            queue.push(line.to_owned());
        }
        queue.flush(Duration::from_secs(60));
        let taken: Vec<String> = text.try_iter().collect();
        assert_eq!(taken, ["one\n", "two\n", "three\n"]);
    }

    #[test]
    fn a_reader_that_stalls_holds_nobody_and_is_told_how_much_it_missed() {
        let (queue, permit, text) = slow();
        let long = "x".repeat(QUEUE_LIMIT / 8);
        // The thread holds the first one: until the test lets go, nothing leaves the queue, and seven more fill it.
        queue.push("first".to_owned());
        while !queue.lock().is_writing {
            thread::yield_now();
        }
        for number in 0..100 {
            queue.push(format!("{number} {long}"));
        }
        // It gives up, and does not wait for the reader.
        queue.flush(Duration::from_millis(1));
        assert!(queue.lock().bytes <= QUEUE_LIMIT);
        let mut seen = 0;
        let dropped = loop {
            permit.send(()).unwrap();
            let line = text.recv().unwrap();
            match line.split_once(" lines were dropped") {
                Some((count, _)) => break count.parse::<usize>().unwrap(),
                None => seen += 1,
            }
        };
        assert_eq!((seen, dropped), (8, 93));
        permit.send(()).unwrap();
        queue.push("again".to_owned());
        assert_eq!(text.recv().unwrap(), "again\n");
    }

    #[test]
    fn the_next_line_that_fits_says_first_how_many_did_not() {
        let (queue, permit, text) = slow();
        queue.lock().tell = |count| format!("{count} are missing");
        let long = "x".repeat(QUEUE_LIMIT / 2 - 1);
        // The thread holds the first one; two more fill the queue.
        queue.push("first".to_owned());
        while !queue.lock().is_writing {
            thread::yield_now();
        }
        for _ in 0..5 {
            queue.push(long.clone());
        }
        assert_eq!(queue.lock().dropped, 3);
        for _ in 0..2 {
            permit.send(()).unwrap();
            text.recv().unwrap();
        }
        // One of the long ones is gone from the queue as soon as the next is being written.
        while !queue.lock().lines.is_empty() {
            thread::yield_now();
        }
        queue.push("next".to_owned());
        queue.push("last".to_owned());
        assert_eq!(queue.lock().dropped, 0);
        for _ in 0..4 {
            permit.send(()).unwrap();
        }
        queue.flush(Duration::from_secs(60));
        let taken: Vec<String> = text.try_iter().skip(1).collect();
        assert_eq!(taken, ["3 are missing\n", "next\n", "last\n"]);
        assert_eq!(queue.lock().bytes, 0);
    }

    #[test]
    fn what_was_chosen_says_how_many_lines_were_dropped() {
        tell_of_drops_with(|count| format!("{count} were lost"));
        let tell = STDERR.lock().tell;
        assert_eq!(tell(7), "7 were lost");
    }

    #[test]
    fn a_reader_that_is_gone_holds_nobody() {
        let (queue, permit, _) = slow();
        drop(permit);
        queue.push("nobody".to_owned());
        queue.flush(Duration::from_secs(60));
    }
}

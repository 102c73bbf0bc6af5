//! Whether a write may begin: what passes and the client of the Machines API ask.
//!
//! Without a lock the gate is open. With one it is open while this copy holds the lock, to passes that began since, and it
//! shuts by itself: nobody has to come and close it when the last renewal has become old.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    contest::{Held, Loss, Term, WRITE_LIMIT},
    role::{Lost, Role, Silence},
};
use crate::clock::Clock;

/// How long Consul may be silent before this copy is not ready.
const SILENCE: Duration = Duration::from_secs(60);

/// How long Consul may be silent before that is shown: a call or two may fail.
const HICCUP: Duration = Duration::from_secs(10);

/// Whether writes may begin; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Gate(Option<Arc<Shared>>);

/// Who waits to be told whether the lock is still held.
pub(super) type Ask = oneshot::Sender<Option<Term>>;

/// What the keeper of the lock tells.
pub(super) struct Shared {
    clock: Clock,
    standing: Mutex<Standing>,
    asks: mpsc::UnboundedSender<Ask>,
}

struct Standing {
    held: Option<Held>,
    /// Since when, on the wall.
    since: Option<Timestamp>,
    /// Behind whom this copy stands by, as the key has it.
    behind: Option<String>,
    /// How the lock was lost that is not held again.
    lost: Option<Lost>,
    /// When Consul last answered something of use.
    answered: Instant,
    /// Why the last call came to nothing, unless one has succeeded since.
    trouble: Option<String>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.standing().held;
        formatter
            .debug_struct("Shared")
            .field("held", &held)
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// The gate of a daemon without a lock: always open.
    #[must_use]
    pub fn open() -> Self {
        Self(None)
    }

    /// A gate that is shut until the lock is held; and who asks at it.
    pub(super) fn of_lock(clock: Clock) -> (Self, Arc<Shared>, mpsc::UnboundedReceiver<Ask>) {
        let (asks, asked) = mpsc::unbounded_channel();
        let standing = Standing {
            held: None,
            since: None,
            behind: None,
            lost: None,
            answered: Instant::now(),
            trouble: None,
        };
        let shared = Arc::new(Shared {
            clock,
            standing: Mutex::new(standing),
            asks,
        });
        (Self(Some(Arc::clone(&shared))), shared, asked)
    }

    /// For how long this copy has held the lock, if it does; what begins now may write as long as that is so.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        match &self.0 {
            None => Some(Term::ALONE),
            Some(shared) => shared.term(),
        }
    }

    /// Whether a write may begin of something that began in `term`.
    #[must_use]
    pub fn permits(&self, term: Option<Term>) -> bool {
        match &self.0 {
            None => true,
            Some(shared) => term.is_some() && shared.term() == term,
        }
    }

    /// Makes sure that the lock is still held, before something is done that began in `term`.
    pub async fn confirm(&self, term: Option<Term>) -> bool {
        let Some(shared) = &self.0 else { return true };
        if !self.permits(term) {
            return false;
        }
        let (tell, told) = oneshot::channel();
        if shared.asks.send(tell).is_err() {
            return false;
        }
        told.await.ok().flatten() == term && self.permits(term)
    }

    /// How long a write may take at most, beside its other limits.
    #[must_use]
    pub fn write_limit(&self) -> Option<Duration> {
        self.0.as_ref().map(|_| WRITE_LIMIT)
    }

    /// Whether another copy may be writing.
    #[must_use]
    pub fn stands_by(&self) -> bool {
        self.term().is_none()
    }

    /// What this copy is among the others; `None`: there is no lock.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        let shared = self.0.as_ref()?;
        let holds = shared.term().is_some();
        let standing = shared.standing();
        let silent = standing.answered.elapsed();
        let trouble = standing.trouble.as_ref().filter(|_| silent >= HICCUP);
        let wall = shared.clock.now().wall;
        Some(Role {
            holds_since: standing.since.filter(|_| holds),
            behind: standing.behind.clone().filter(|_| !holds),
            lost: standing.lost.filter(|_| !holds),
            silence: trouble.map(|why| Silence {
                since: wall.checked_sub(silent).unwrap_or(wall),
                why: why.clone(),
            }),
        })
    }

    /// Whether Consul answers.
    ///
    /// # Errors
    ///
    /// When it has not for a minute, with the reason.
    pub fn readiness(&self, now: Instant) -> Result<(), String> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let standing = shared.standing();
        let silence = now.saturating_duration_since(standing.answered);
        if silence < SILENCE {
            return Ok(());
        }
        let why = standing
            .trouble
            .as_deref()
            .unwrap_or("no call has ended since");
        let silence = silence.as_secs();
        Err(format!(
            "Consul has been of no use for {silence} s, and without it no copy writes: {why}"
        ))
    }
}

impl Shared {
    fn term(&self) -> Option<Term> {
        let held = self.standing().held;
        // The clock is read after that: what is held by then is what counts.
        let now = self.clock.now();
        held.filter(|held| held.is_good(now)).map(|held| held.term)
    }

    pub(super) fn hold(&self, held: Option<Held>) {
        self.standing().held = held;
    }

    /// Tells behind whom this copy stands by.
    pub(super) fn stands_behind(&self, behind: Option<&str>) {
        let mut standing = self.standing();
        if standing.behind.as_deref() != behind {
            standing.behind = behind.map(str::to_owned);
        }
    }

    pub(super) fn acquired(&self) {
        let mut standing = self.standing();
        standing.since = Some(self.clock.now().wall);
        standing.lost = None;
    }

    pub(super) fn lost(&self, how: Loss) {
        let at = self.clock.now().wall;
        self.standing().lost = Some(Lost { at, how });
    }

    pub(super) fn answered(&self) {
        let mut standing = self.standing();
        standing.answered = Instant::now();
        standing.trouble = None;
    }

    pub(super) fn failed(&self, why: String) {
        self.standing().trouble = Some(why);
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Gate {
    /// A gate whose lock was taken just now and is never renewed, in a runtime, for tests of what stands behind it.
    pub(crate) fn held_from_now() -> Self {
        let clock = Clock::Simulated {
            epoch: jiff::Timestamp::UNIX_EPOCH,
            since: Instant::now(),
        };
        let (gate, shared, _) = Self::of_lock(clock);
        shared.hold(Some(Held {
            term: Term::FIRST,
            renewed: clock.now(),
        }));
        gate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_open_to_what_began_in_the_term_that_lasts() {
        let gate = Gate::held_from_now();
        let term = gate.term();
        assert!(gate.permits(term));
        assert!(!gate.permits(None));
        assert!(!gate.permits(Some(Term::ALONE)), "of another term");
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert!(gate.permits(term) && !gate.stands_by());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!gate.permits(term) && gate.stands_by());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_lock_it_is_always_open_and_nothing_is_waited_for() {
        let gate = Gate::open();
        assert!(gate.permits(gate.term()) && gate.permits(None));
        assert!(gate.confirm(gate.term()).await);
        assert_eq!(gate.readiness(Instant::now()), Ok(()));
        assert_eq!(gate.write_limit(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_a_keeper_that_is_gone_is_told_no() {
        let gate = Gate::held_from_now();
        assert!(!gate.confirm(gate.term()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_copy_is_follows_from_what_it_holds_now() {
        let gate = Gate::held_from_now();
        let shared = gate.0.clone().expect("there is a lock");
        let start = shared.clock.now().wall;
        shared.lost(Loss::Taken);
        shared.stands_behind(Some("another"));
        let role = gate.role().expect("there is a lock");
        assert_eq!(
            role,
            Role::default(),
            "it holds the lock, and nobody has said since when"
        );
        shared.acquired();
        let role = gate.role().expect("there is a lock");
        assert_eq!(
            (role.holds_since, role.behind, role.lost),
            (Some(start), None, None)
        );
        // It was renewed at the start only, and Consul has said nothing since.
        shared.failed("HTTP 500".to_owned());
        tokio::time::advance(Duration::from_millis(9_999)).await;
        let role = gate.role().expect("there is a lock");
        assert!(role.holds() && role.silence.is_none(), "{role:?}");
        tokio::time::advance(Duration::from_millis(1)).await;
        shared.lost(Loss::NotRenewed);
        let role = gate.role().expect("there is a lock");
        let at = start + Duration::from_secs(10);
        let how = Loss::NotRenewed;
        assert_eq!(role.holds_since, None);
        assert_eq!(role.behind.as_deref(), Some("another"));
        assert_eq!(role.lost, Some(Lost { at, how }));
        let silence = role.silence.expect("Consul is silent");
        assert_eq!((silence.since, &*silence.why), (start, "HTTP 500"));
        shared.answered();
        shared.acquired();
        let role = gate.role().expect("there is a lock");
        assert_eq!((role.lost, role.silence), (None, None));
        assert_eq!(Gate::open().role(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_of_silence_is_told_with_the_reason() {
        let clock = Clock::System;
        let (gate, shared, _asked) = Gate::of_lock(clock);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(gate.readiness(Instant::now()), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        shared.failed("HTTP 500".to_owned());
        let expected =
            "Consul has been of no use for 60 s, and without it no copy writes: HTTP 500";
        assert_eq!(gate.readiness(Instant::now()), Err(expected.to_owned()));
        shared.answered();
        assert_eq!(gate.readiness(Instant::now()), Ok(()));
    }
}

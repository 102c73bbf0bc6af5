//! Whether a write may begin: what passes and the client of the Machines API ask.
//!
//! Without a lock the gate is open. With one it is open while this copy holds the lock, to passes that began since, and it
//! shuts by itself: nobody has to come and close it when the last renewal has become old. With shards it is as many gates,
//! and which one is meant depends on the app.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    account::Account,
    balance::shard_of,
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

/// Who waits to be told whether the lock is still held, and of which shard.
pub(super) struct Ask {
    pub(super) shard: usize,
    pub(super) tell: oneshot::Sender<Option<Term>>,
}

/// What the keeper is told or asked.
pub(super) enum Asked {
    Confirm(Ask),
    /// Nothing is under way of this shard, which is to be given back, and lists have shown all that was done.
    Quiet(usize),
    /// Whether the last pass has seen Fly's machines.
    Passed(bool),
    /// Whether the apps could be listed, where there is none to pass over.
    Listed(bool),
}

/// What a shard is to this copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Part {
    /// Another copy has it, or none.
    #[default]
    Elsewhere,
    /// This copy scales its apps.
    Here,
    /// This copy gives it back: nothing is begun, and what was done is waited for.
    Leaving,
}

/// What the keeper of the lock tells.
pub(super) struct Shared {
    clock: Clock,
    standing: Mutex<Standing>,
    asks: mpsc::UnboundedSender<Asked>,
    parts: watch::Sender<Vec<Part>>,
}

struct Standing {
    /// The lock, or each shard.
    held: Vec<Option<Held>>,
    /// What the holder of each shard says of itself.
    holders: Vec<Option<String>>,
    /// Since when, on the wall.
    since: Option<Timestamp>,
    /// Behind whom this copy stands by, as the key has it.
    behind: Option<String>,
    /// What keeps this copy from standing in for that one.
    collision: Option<String>,
    /// How the lock was lost that is not held again.
    lost: Option<Lost>,
    /// Whether the last pass has seen Fly's machines.
    sees: Option<bool>,
    /// Why the lock is left to others for now, if it is.
    away: Option<Loss>,
    /// When Consul last answered something of use.
    answered: Instant,
    /// Why the last call came to nothing, unless one has succeeded since.
    trouble: Option<String>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.standing().held.clone();
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

    /// A gate that is shut until the lock is held, or that many; and who asks at it.
    pub(super) fn of_lock(
        shards: usize,
        clock: Clock,
    ) -> (Self, Arc<Shared>, mpsc::UnboundedReceiver<Asked>) {
        let (asks, asked) = mpsc::unbounded_channel();
        let standing = Standing {
            held: vec![None; shards],
            holders: vec![None; shards],
            since: None,
            behind: None,
            collision: None,
            lost: None,
            sees: None,
            away: None,
            answered: Instant::now(),
            trouble: None,
        };
        let shared = Arc::new(Shared {
            clock,
            standing: Mutex::new(standing),
            asks,
            parts: watch::Sender::new(vec![Part::Elsewhere; shards]),
        });
        (Self(Some(Arc::clone(&shared))), shared, asked)
    }

    /// For how long this copy has held the lock, or the shard of an app, if it does; what begins now may write to the app as
    /// long as that is so.
    #[must_use]
    pub fn term(&self, app: &str) -> Option<Term> {
        match &self.0 {
            None => Some(Term::ALONE),
            Some(shared) => shared.term(shared.shard_of(app)),
        }
    }

    /// Whether a write to an app may begin of something that began in `term`.
    #[must_use]
    pub fn permits(&self, app: &str, term: Option<Term>) -> bool {
        match &self.0 {
            None => true,
            Some(shared) => term.is_some() && shared.term(shared.shard_of(app)) == term,
        }
    }

    /// Makes sure that the lock is still held, or the shard of an app, before something is done that began in `term`.
    pub async fn confirm(&self, app: &str, term: Option<Term>) -> bool {
        let Some(shared) = &self.0 else { return true };
        if !self.permits(app, term) {
            return false;
        }
        let (tell, told) = oneshot::channel();
        let shard = shared.shard_of(app);
        let ask = Ask { shard, tell };
        if shared.asks.send(Asked::Confirm(ask)).is_err() {
            return false;
        }
        told.await.ok().flatten() == term && self.permits(app, term)
    }

    /// What each shard is to this copy, and when that changes; `None`: there are no shards.
    #[must_use]
    pub fn parts(&self) -> Option<watch::Receiver<Vec<Part>>> {
        let shared = self.0.as_ref().filter(|shared| shared.shards() > 1)?;
        Some(shared.parts.subscribe())
    }

    /// Nothing is under way of this shard, which is to be given back, and lists have shown all that was done.
    pub fn is_quiet(&self, shard: usize) {
        if let Some(shared) = &self.0 {
            // A keeper that is gone gives nothing back.
            let _ = shared.asks.send(Asked::Quiet(shard));
        }
    }

    /// A pass has ended, and has seen Fly's machines, or not.
    pub fn passed(&self, has_seen: bool) {
        if let Some(shared) = &self.0 {
            // That all is well needs to be told once.
            let before = shared.standing().sees.replace(has_seen);
            if !has_seen || before == Some(false) {
                let _ = shared.asks.send(Asked::Passed(has_seen));
            }
        }
    }

    /// There is no app to pass over, and the apps could be listed, or not.
    pub fn listed(&self, has_listed: bool) {
        if let Some(shared) = &self.0 {
            if !has_listed {
                // A pass that sees again is news then.
                shared.standing().sees = Some(false);
            }
            let _ = shared.asks.send(Asked::Listed(has_listed));
        }
    }

    /// Where an app is scaled that is not scaled here, in words, if there are shards and this one is not here.
    #[must_use]
    pub fn whereabouts(&self, app: &str) -> Option<String> {
        let shared = self.0.as_ref().filter(|shared| shared.shards() > 1)?;
        let shard = shared.shard_of(app);
        let all = shared.shards();
        match *shared.parts.borrow().get(shard)? {
            Part::Here => return None,
            Part::Leaving => {
                return Some(format!(
                    "shard {shard} of {all}, which this copy is giving back"
                ));
            }
            Part::Elsewhere => {}
        }
        let standing = shared.standing();
        let who = match standing.holders.get(shard)? {
            Some(value) => format!("which {} has", Account::who(value)),
            None => "which no copy is known to have now".to_owned(),
        };
        Some(format!("shard {shard} of {all}, {who}"))
    }

    /// How long a write may take at most, beside its other limits.
    #[must_use]
    pub fn write_limit(&self) -> Option<Duration> {
        self.0.as_ref().map(|_| WRITE_LIMIT)
    }

    /// Whether another copy may be writing.
    #[must_use]
    pub fn stands_by(&self) -> bool {
        let shared = self.0.as_ref();
        shared.is_some_and(|shared| (0..shared.shards()).all(|shard| shared.term(shard).is_none()))
    }

    /// What this copy is among the others; `None`: there is no lock.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        let shared = self.0.as_ref()?;
        let holds = !self.stands_by();
        let standing = shared.standing();
        let silent = standing.answered.elapsed();
        let trouble = standing.trouble.as_ref().filter(|_| silent >= HICCUP);
        let wall = shared.clock.now().wall;
        let shards = shared.shards();
        let here = standing.held.iter().flatten().count();
        Some(Role {
            shards: (shards > 1).then_some((here, shards)),
            are_others: standing.holders.iter().all(Option::is_some),
            holds_since: standing.since.filter(|_| holds),
            behind: standing.behind.clone().filter(|_| !holds),
            collision: standing.collision.clone().filter(|_| !holds),
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
        if let Some(why) = standing.away {
            let why = why.words();
            return Err(format!("this copy leaves the lock to others: {why}"));
        }
        let silence = now.saturating_duration_since(standing.answered);
        let clock = shared.clock.now();
        let mut held = standing.held.iter().flatten();
        // What is of no use then is not what this copy writes by.
        if silence < SILENCE || held.any(|held| held.is_good(clock)) {
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
    fn shards(&self) -> usize {
        self.parts.borrow().len()
    }

    fn shard_of(&self, app: &str) -> usize {
        shard_of(app, self.shards())
    }

    fn term(&self, shard: usize) -> Option<Term> {
        let held = self.standing().held.get(shard).copied().flatten();
        // The clock is read after that: what is held by then is what counts.
        let now = self.clock.now();
        held.filter(|held| held.is_good(now)).map(|held| held.term)
    }

    pub(super) fn hold(&self, held: Vec<Option<Held>>) {
        let mut standing = self.standing();
        let holds = |held: &[Option<Held>]| held.iter().any(Option::is_some);
        if !holds(&standing.held) && holds(&held) {
            standing.since = Some(self.clock.now().wall);
        }
        standing.held = held;
    }

    /// Tells behind whom this copy stands by.
    pub(super) fn stands_behind(
        &self,
        behind: Option<&str>,
        collision: impl FnOnce(&str) -> Option<String>,
    ) {
        let mut standing = self.standing();
        if standing.behind.as_deref() != behind {
            standing.behind = behind.map(str::to_owned);
            standing.collision = behind.and_then(collision);
        }
    }

    /// Tells why the lock is left to others for now, if it is.
    pub(super) fn stays_away(&self, why: Option<Loss>) {
        self.standing().away = why;
    }

    pub(super) fn acquired(&self) {
        self.standing().lost = None;
    }

    pub(super) fn lost(&self, how: Loss) {
        let at = self.clock.now().wall;
        self.standing().lost = Some(Lost { at, how });
    }

    /// With shards: what they are to this copy, and whose the others are.
    pub(super) fn divide(&self, parts: Vec<Part>, holders: Option<Vec<Option<String>>>) {
        if let Some(holders) = holders {
            self.standing().holders = holders;
        }
        self.parts.send_if_modified(|before| {
            let is_other = *before != parts;
            *before = parts;
            is_other
        });
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
        let (gate, shared, _) = Self::of_lock(1, clock);
        shared.hold(vec![Some(Held {
            term: Term::FIRST,
            renewed: clock.now(),
        })]);
        gate
    }

    /// The same with shards, of which one is held.
    pub(crate) fn shard_held_from_now(shard: usize, shards: usize) -> Self {
        let clock = Clock::Simulated {
            epoch: jiff::Timestamp::UNIX_EPOCH,
            since: Instant::now(),
        };
        let (gate, shared, _) = Self::of_lock(shards, clock);
        let mut held = vec![None; shards];
        held[shard] = Some(Held {
            term: Term::FIRST,
            renewed: clock.now(),
        });
        shared.hold(held);
        gate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "web";

    #[tokio::test(start_paused = true)]
    async fn it_is_open_to_what_began_in_the_term_that_lasts() {
        let gate = Gate::held_from_now();
        let term = gate.term(APP);
        assert!(gate.permits(APP, term));
        assert!(!gate.permits(APP, None));
        assert!(!gate.permits(APP, Some(Term::ALONE)), "of another term");
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert!(gate.permits(APP, term) && !gate.stands_by());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!gate.permits(APP, term) && gate.stands_by());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_lock_it_is_always_open_and_nothing_is_waited_for() {
        let gate = Gate::open();
        assert!(gate.permits(APP, gate.term(APP)) && gate.permits(APP, None));
        assert!(gate.confirm(APP, gate.term(APP)).await);
        assert_eq!(gate.readiness(Instant::now()), Ok(()));
        assert_eq!(gate.write_limit(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_a_keeper_that_is_gone_is_told_no() {
        let gate = Gate::held_from_now();
        assert!(!gate.confirm(APP, gate.term(APP)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_copy_is_follows_from_what_it_holds_now() {
        let gate = Gate::held_from_now();
        let shared = gate.0.clone().expect("there is a lock");
        let start = shared.clock.now().wall;
        shared.lost(Loss::Taken);
        shared.stands_behind(Some("another"), |_| None);
        let role = gate.role().expect("there is a lock");
        let holder = Role {
            holds_since: Some(start),
            ..Role::default()
        };
        assert_eq!(role, holder, "whatever it was before");
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
    async fn a_copy_that_holds_the_lock_is_ready_whatever_else_of_consul_is_of_no_use() {
        let gate = Gate::held_from_now();
        let shared = gate.0.as_ref().expect("it has a lock");
        shared.failed("HTTP 403".to_owned());
        let later = Instant::now() + SILENCE;
        assert_eq!(gate.readiness(later), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_of_silence_is_told_with_the_reason() {
        let clock = Clock::System;
        let (gate, shared, _asked) = Gate::of_lock(1, clock);
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

    #[tokio::test(start_paused = true)]
    async fn each_pass_that_sees_nothing_is_told_and_the_first_that_sees_again() {
        let (gate, _shared, mut asked) = Gate::of_lock(1, Clock::System);
        for has_seen in [true, true, false, false, true, true, false] {
            gate.passed(has_seen);
        }
        let mut told = Vec::new();
        while let Ok(Asked::Passed(has_seen)) = asked.try_recv() {
            told.push(has_seen);
        }
        assert_eq!(told, [false, false, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn with_shards_the_app_says_which_gate_is_meant() {
        let apps = ["web", "api", "worker", "shop", "mail", "cron"];
        let held = shard_of("web", 4);
        let gate = Gate::shard_held_from_now(held, 4);
        let term = gate.term("web");
        assert!(term.is_some());
        for app in apps {
            let is_held = shard_of(app, 4) == held;
            assert_eq!(gate.term(app).is_some(), is_held, "{app}");
            assert_eq!(gate.permits(app, term), is_held, "{app}");
        }
        assert!(apps.iter().any(|app| !gate.permits(app, term)));
        assert!(!gate.stands_by());
        assert_eq!(gate.role().and_then(|role| role.shards), Some((1, 4)));
    }
}

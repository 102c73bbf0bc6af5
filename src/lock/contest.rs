//! The contest for the lock as one copy sees it: which calls to make, and whether this copy may write.
//!
//! A pure state machine: the time and Consul's answers in, calls out. Who makes the calls is [`super::keeper`]. Three
//! lanes of calls go on side by side, each with one call at a time: the session's (node, session, renewals), the key's (who
//! holds it, and taking it), and that of confirmations, which passes ask for before they act.
//!
//! Consul gives the lock to nobody else before the session has expired and its lock-delay is over; both begin anew at the
//! moment at which it *heard* the last renewal, which was not before that was *sent*. So a copy that counts from the sending
//! stops long before another begins, without any clock that the two would have to share.

use std::time::{Duration, Instant};

use jiff::SignedDuration;

use crate::scaling::Now;

/// How long a session lives without a renewal, at least; Consul ends it within twice that.
pub const TTL: Duration = Duration::from_secs(15);

/// How long Consul gives the lock to nobody after a session has ended that held it.
pub const LOCK_DELAY: Duration = Duration::from_secs(15);

/// How long after the sending of the last successful renewal a write may begin.
///
/// With [`WRITE_LIMIT`] it ends 5 s before another copy can hold the lock, and with [`UNHEARD_LIMIT`] nothing of it arrives
/// after that; what is left is for the API's side, and for the rates of clocks.
pub const VALIDITY: Duration = Duration::from_secs(10);

/// How long an attempt at a write may take. See [`VALIDITY`].
pub const WRITE_LIMIT: Duration = Duration::from_secs(15);

/// How long the system goes on sending a request that the other side does not confirm to have: it does so although the
/// attempt has been given up.
pub const UNHEARD_LIMIT: Duration = Duration::from_secs(4);

/// How long the lock is kept without a look at its key: longer than two calls that wait for a change. Who cannot read it
/// cannot confirm it either, and would keep others from writing without writing anything.
const UNSEEN_LIMIT: Duration = Duration::from_secs(60);

/// From the sending of one renewal to the next: a second one may fail before [`VALIDITY`] is over.
pub const RENEWAL_INTERVAL: Duration = Duration::from_secs(4);

/// How long a call may take, all but the one that waits for a change.
pub const CALL_LIMIT: Duration = Duration::from_millis(2500);

/// How long Consul is asked to wait for a change of the key; it adds up to a sixteenth.
pub const WAIT: Duration = Duration::from_secs(20);

/// How long the call that waits for a change may take.
pub const WAIT_LIMIT: Duration = Duration::from_secs(25);

/// By how much the wall clock may gain on the monotonic one: more, and the machine was suspended meanwhile, which the
/// monotonic clock does not see.
const BLINDNESS: SignedDuration = SignedDuration::from_secs(2);

/// The pause after a call that came to nothing, and after an answer that says nothing new sooner than it should.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after calls that failed one after another.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The least time from one look at the key to the next, however often it changes.
const LOOK_GAP: Duration = Duration::from_millis(100);

/// One time of holding the lock. What was seen in an earlier one may not be acted on in a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term(u64);

impl Term {
    /// The only one of a daemon that has no lock to hold.
    pub(super) const ALONE: Self = Self(0);

    /// The first one of a lock.
    #[cfg(test)]
    pub(super) const FIRST: Self = Self(1);
}

/// That this copy holds the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Which time of holding it is.
    pub term: Term,
    /// When the last renewal was sent that succeeded.
    pub renewed: Now,
}

impl Held {
    /// Whether a write may begin now.
    #[must_use]
    pub fn is_good(&self, now: Now) -> bool {
        is_fresh(self.renewed, now)
    }
}

/// Whether a renewal that was sent then still vouches for the lock.
fn is_fresh(sent: Now, now: Now) -> bool {
    let took = now.monotonic.saturating_duration_since(sent.monotonic);
    let wall = now.wall.duration_since(sent.wall);
    let by_monotonic = SignedDuration::try_from(took).unwrap_or(SignedDuration::MAX);
    took < VALIDITY && wall.saturating_sub(by_monotonic) < BLINDNESS
}

/// Whether Consul has ended a session that was renewed then, by the latest.
fn is_long_over(sent: Now, now: Now) -> bool {
    now.monotonic.saturating_duration_since(sent.monotonic) >= 2 * TTL + CALL_LIMIT
}

/// What goes on side by side, with one call at a time each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The node, the session and its renewals.
    Session,
    /// Who holds the lock, and taking it.
    Key,
    /// That this copy still holds it, asked before acting.
    Confirmation,
}

impl Lane {
    /// All of them, in the order in which they begin calls.
    pub const ALL: [Self; 3] = [Self::Session, Self::Confirmation, Self::Key];
}

/// One call to Consul.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Make the node that sessions belong to exist.
    Register,
    /// Open a session.
    Open,
    /// Renew the session.
    Renew(String),
    /// End the session.
    Destroy(String),
    /// Who holds the lock.
    Read,
    /// The same, once it is another answer than that of this index.
    Await(u64),
    /// Take the lock for the session, or take it again.
    Acquire(String),
    /// Give the lock back.
    Release(String),
}

impl Call {
    /// What `/metrics` calls it.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Register => "register_node",
            Self::Open => "create_session",
            Self::Renew(_) => "renew_session",
            Self::Destroy(_) => "destroy_session",
            Self::Read | Self::Await(_) => "read_key",
            Self::Acquire(_) => "acquire",
            Self::Release(_) => "release",
        }
    }
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was done; for a lock: it is the session's.
    Yes,
    /// It was not: the lock is not the session's.
    No,
    /// There is no such session.
    Gone,
    /// The session that was opened.
    Opened(String),
    /// What the key shows.
    Key(KeyView),
    /// No answer, or one of no use: nobody knows what it did.
    Failed,
}

/// The key at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyView {
    /// What to ask with for a later one.
    pub index: u64,
    /// What is there; `None`: the key does not exist.
    pub entry: Option<Entry>,
}

/// What the key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose lock it is.
    pub session: Option<String>,
    /// Which time of being locked it is.
    pub lock: LockIdentity,
    /// What its holder says of itself.
    pub value: String,
}

/// Which time of being locked it is: the same as long as nobody else held the lock in between.
///
/// A key that was deleted and made again counts its locks from one anew, so that their number alone does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockIdentity {
    /// Which key of this name it is.
    pub created: u64,
    /// How often it was locked.
    pub locked: u64,
}

/// What a confirmation has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// Nothing so far.
    Pending,
    /// The lock is held, in this term.
    Held(Term),
    /// The lock is not held, or nobody knows.
    Unconfirmed,
}

/// What has changed, for the log and the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This copy holds the lock.
    Acquired,
    /// It gives the lock back.
    Released,
    /// It has lost the lock.
    Lost(Loss),
    /// Another copy holds it, which says this of itself.
    Behind(String),
}

/// Why a copy holds the lock no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// No renewal was answered for too long, or the machine was suspended meanwhile.
    NotRenewed,
    /// Consul has ended the session.
    SessionOver,
    /// The key is another's, or was changed by hand.
    Taken,
    /// The key could not be read for too long.
    Unseen,
}

/// One copy's part in the contest.
#[derive(Debug, Clone)]
pub struct Contest {
    session: Option<Session>,
    node_is_known: bool,
    /// What the key showed last, unless that is old.
    view: Option<KeyView>,
    /// Whether Consul has given this session the lock; it is held once the key shows it.
    is_given: bool,
    hold: Option<Hold>,
    last_term: Term,
    confirming: Option<Confirming>,
    /// The last confirmation that was asked for.
    asked: u64,
    /// The last that was begun.
    begun: u64,
    /// The last that has ended, and what it told.
    confirmed: (u64, Confirmation),
    in_flight: [Option<(Call, Now)>; 3],
    /// Before when no call of the session's lane begins.
    session_after: Instant,
    /// Before when the key is not looked at.
    look_after: Instant,
    /// Before when the lock is not asked for.
    acquire_after: Instant,
    session_failures: u32,
    key_failures: u32,
    /// Behind which session that stands by is told already.
    told_of: Option<String>,
    changes: Vec<Change>,
    is_leaving: bool,
}

#[derive(Debug, Clone)]
struct Session {
    id: String,
    /// When the last call was sent that has made it live longer.
    renewed: Now,
}

#[derive(Debug, Clone, Copy)]
struct Hold {
    term: Term,
    lock: LockIdentity,
    /// When the key was last seen to show it.
    seen: Instant,
}

/// A confirmation under way.
#[derive(Debug, Clone, Copy)]
struct Confirming {
    number: u64,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Renew,
    Acquire,
    Read,
}

impl Contest {
    /// A copy that has just begun.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self {
            session: None,
            node_is_known: false,
            view: None,
            is_given: false,
            hold: None,
            last_term: Term::ALONE,
            confirming: None,
            asked: 0,
            begun: 0,
            confirmed: (0, Confirmation::Pending),
            in_flight: [const { None }; 3],
            session_after: now.monotonic,
            look_after: now.monotonic,
            acquire_after: now.monotonic,
            session_failures: 0,
            key_failures: 0,
            told_of: None,
            changes: Vec::new(),
            is_leaving: false,
        }
    }

    /// Whether this copy holds the lock. What was held may have run out since the last look: see [`Held::is_good`].
    #[must_use]
    pub fn held(&self) -> Option<Held> {
        let (hold, session) = self.hold.zip(self.session.as_ref())?;
        Some(Held {
            term: hold.term,
            renewed: session.renewed,
        })
    }

    /// What another copy says of itself that holds the lock, as far as that is known.
    #[must_use]
    pub fn behind(&self) -> Option<&str> {
        let session = self.session.as_ref()?;
        let view = self.view.as_ref()?;
        let entry = view.entry.as_ref()?;
        view.is_anothers(&session.id).then_some(&*entry.value)
    }

    /// When the last renewal was sent that succeeded.
    #[must_use]
    pub fn renewed(&self) -> Option<Now> {
        self.session.as_ref().map(|session| session.renewed)
    }

    /// What has changed since this was last asked.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Time has passed: what was not renewed is held no longer.
    pub fn look(&mut self, now: Now) {
        let is_over = |session: &Session| !is_fresh(session.renewed, now);
        if self.hold.is_some() && self.session.as_ref().is_none_or(is_over) {
            self.lose(Loss::NotRenewed, now);
        }
        let is_unseen =
            |hold: Hold| now.monotonic.saturating_duration_since(hold.seen) >= UNSEEN_LIMIT;
        if self.hold.is_some_and(is_unseen) {
            // The session ends where nobody renews it, and the lock is free for a copy that can read.
            self.drop_session(Loss::Unseen, now);
        }
    }

    /// The next call of a lane, if there is one to make now.
    pub fn begin(&mut self, lane: Lane, now: Now) -> Option<Call> {
        self.look(now);
        if self.due(lane, now)? > now.monotonic {
            return None;
        }
        let call = match lane {
            Lane::Session => self.session_call(),
            Lane::Key => self.key_call()?,
            Lane::Confirmation => self.confirmation_call()?,
        };
        self.in_flight[lane as usize] = Some((call.clone(), now));
        Some(call)
    }

    /// When the next look is due at the latest, as far as no answer comes before.
    #[must_use]
    pub fn wake(&self, now: Now) -> Option<Instant> {
        let lanes = Lane::ALL.into_iter().filter_map(|lane| self.due(lane, now));
        let over = self.held().map(|held| held.renewed.monotonic + VALIDITY);
        lanes.chain(over).min()
    }

    /// Whether the call of the key's lane only waits for what is of no interest any more. It is then to be dropped, and
    /// [`Self::dropped`] told so.
    #[must_use]
    pub fn waits_in_vain(&self) -> bool {
        let waits = matches!(
            self.in_flight[Lane::Key as usize],
            Some((Call::Await(_), _))
        );
        waits && self.view.is_none()
    }

    /// The call of this lane is under way no longer, and its answer will not come.
    pub fn dropped(&mut self, lane: Lane) {
        self.in_flight[lane as usize] = None;
    }

    /// A pass asks whether the lock is still held; returns the number of the confirmation that will tell it. `None`: it is
    /// not.
    pub fn ask(&mut self, now: Now) -> Option<u64> {
        self.look(now);
        self.hold.filter(|_| !self.is_leaving)?;
        // One that is under way has begun before it was asked for.
        self.asked = self.begun + 1;
        Some(self.asked)
    }

    /// What a confirmation has told, or a later one.
    #[must_use]
    pub fn confirmation(&self, number: u64) -> Confirmation {
        match self.confirmed {
            (last, told) if last >= number => told,
            _ => Confirmation::Pending,
        }
    }

    /// No call is begun any more, and those under way may be dropped.
    pub fn stop(&mut self) {
        self.is_leaving = true;
        self.in_flight = [const { None }; 3];
        self.end_confirmations();
    }

    /// Leaves for good: the calls that are to be made, in their order. `is_clean` says that nothing is under way and that
    /// lists have shown all that was done. Only then the lock may be another's at once; otherwise Consul's lock-delay stands
    /// between.
    pub fn leave(&mut self, is_clean: bool) -> Vec<Call> {
        self.stop();
        if self.hold.take().is_some() {
            self.changes.push(Change::Released);
        }
        let Some(Session { id, .. }) = self.session.take() else {
            return Vec::new();
        };
        // It may be this session's without anybody having heard of it.
        let release = is_clean.then(|| Call::Release(id.clone()));
        release.into_iter().chain([Call::Destroy(id)]).collect()
    }

    /// When a lane's next call is due, if it depends on no answer.
    fn due(&self, lane: Lane, now: Now) -> Option<Instant> {
        if self.is_leaving || self.in_flight[lane as usize].is_some() {
            return None;
        }
        match lane {
            Lane::Session => Some(self.session_after),
            Lane::Confirmation => {
                let goes_on = self.confirming.is_some() || self.asked > self.begun;
                goes_on.then_some(now.monotonic)
            }
            Lane::Key => {
                let session = self.session.as_ref()?;
                match &self.view {
                    None => Some(self.look_after),
                    Some(_) if self.hold.is_some() => Some(self.look_after),
                    Some(view) if view.is_anothers(&session.id) => Some(self.look_after),
                    // With a session that may be over it is of no use; the renewal comes first.
                    Some(_) if !is_fresh(session.renewed, now) => None,
                    Some(_) => Some(self.acquire_after),
                }
            }
        }
    }

    fn session_call(&self) -> Call {
        match &self.session {
            Some(session) => Call::Renew(session.id.clone()),
            None if self.node_is_known => Call::Open,
            None => Call::Register,
        }
    }

    fn key_call(&self) -> Option<Call> {
        let session = self.session.as_ref()?;
        Some(match &self.view {
            None => Call::Read,
            Some(view) if self.hold.is_some() || view.is_anothers(&session.id) => {
                Call::Await(view.index)
            }
            Some(_) => Call::Acquire(session.id.clone()),
        })
    }

    fn confirmation_call(&mut self) -> Option<Call> {
        let id = self.session.as_ref()?.id.clone();
        let confirming = self.confirming.get_or_insert_with(|| {
            self.begun = self.asked;
            Confirming {
                number: self.begun,
                step: Step::Renew,
            }
        });
        Some(match confirming.step {
            Step::Renew => Call::Renew(id),
            Step::Acquire => Call::Acquire(id),
            Step::Read => Call::Read,
        })
    }

    /// The call of a lane has ended.
    pub fn ended(&mut self, lane: Lane, answer: Answer, now: Now) {
        let Some((call, sent)) = self.in_flight[lane as usize].take() else {
            return;
        };
        self.look(now);
        match &call {
            Call::Register => self.node_is_known = answer == Answer::Yes,
            Call::Open => self.opened(&answer, sent),
            Call::Renew(id) => self.renewed_session(id, &answer, sent, now),
            Call::Acquire(id) if answer == Answer::Gone => self.end_session(id, now),
            _ => {}
        }
        match lane {
            Lane::Session => self.pace_session(&call, &answer, sent, now),
            Lane::Key => self.key_answered(&call, answer, sent, now),
            Lane::Confirmation => self.confirmation_answered(answer, now),
        }
    }

    fn opened(&mut self, answer: &Answer, sent: Now) {
        match answer {
            Answer::Opened(id) => {
                self.session = Some(Session {
                    id: id.clone(),
                    renewed: sent,
                });
                self.forget_key();
            }
            // The node may have been removed; it is made known again first.
            _ => self.node_is_known = false,
        }
    }

    fn renewed_session(&mut self, id: &str, answer: &Answer, sent: Now, now: Now) {
        let Some(session) = self.session.as_mut().filter(|session| session.id == id) else {
            return;
        };
        match answer {
            Answer::Yes => {
                if sent.monotonic > session.renewed.monotonic {
                    session.renewed = sent;
                }
                let next = sent.monotonic + RENEWAL_INTERVAL;
                self.session_after = self.session_after.max(next);
            }
            Answer::Gone => self.end_session(id, now),
            // By now it is over whatever is answered, and another is opened.
            _ if is_long_over(session.renewed, now) => self.end_session(id, now),
            _ => {}
        }
    }

    fn end_session(&mut self, id: &str, now: Now) {
        if self
            .session
            .as_ref()
            .is_some_and(|session| session.id == id)
        {
            self.drop_session(Loss::SessionOver, now);
        }
    }

    /// Goes on with another session, at once.
    fn drop_session(&mut self, why: Loss, now: Now) {
        self.lose(why, now);
        self.session = None;
        self.session_after = now.monotonic;
    }

    fn pace_session(&mut self, call: &Call, answer: &Answer, sent: Now, now: Now) {
        match (call, answer) {
            // A node alone is of no use yet.
            (Call::Register, Answer::Yes) => {}
            (_, Answer::Yes | Answer::Opened(_) | Answer::Gone) => self.session_failures = 0,
            _ => self.session_failures = self.session_failures.saturating_add(1),
        }
        self.session_after = match (call, answer) {
            (Call::Open, Answer::Opened(_)) => sent.monotonic + RENEWAL_INTERVAL,
            (Call::Renew(_), Answer::Yes) => self.session_after,
            // One that is over is followed by another, but not in a hot loop.
            (_, Answer::Yes) => now.monotonic,
            (_, Answer::Gone) => now.monotonic.max(sent.monotonic + PAUSE),
            // A holder has no time to lose.
            (Call::Renew(_), _) => now.monotonic + PAUSE,
            _ => now.monotonic + pause_after(self.session_failures),
        };
    }

    fn key_answered(&mut self, call: &Call, answer: Answer, sent: Now, now: Now) {
        if answer == Answer::Failed {
            self.key_failures = self.key_failures.saturating_add(1);
            self.look_after = now.monotonic + pause_after(self.key_failures);
        } else {
            self.key_failures = 0;
        }
        match (call, answer) {
            (Call::Read | Call::Await(_), Answer::Key(view)) => self.saw(call, view, sent, now),
            // What it did is to be seen at the key.
            (Call::Acquire(id), answer) => {
                let is_ours = self.session.as_ref().is_some_and(|ours| ours.id == *id);
                self.is_given = answer == Answer::Yes && is_ours;
                // The lock-delay of another's session, or somebody came first.
                self.acquire_after = now.monotonic + PAUSE;
                self.view = None;
            }
            // A view that cannot be followed up is old.
            (_, Answer::Failed) => self.view = None,
            _ => {}
        }
    }

    fn saw(&mut self, call: &Call, view: KeyView, sent: Now, now: Now) {
        let Some(session) = &self.session else {
            self.view = None;
            return;
        };
        let is_news = self.view.as_ref() != Some(&view);
        self.look_after = match call {
            Call::Await(_) if !is_news => now.monotonic.max(sent.monotonic + PAUSE),
            _ => now.monotonic.max(sent.monotonic + LOOK_GAP),
        };
        let ours = view.lock_of(&session.id);
        let other = view.holder().filter(|holder| *holder != session.id);
        let news = other.filter(|other| self.told_of.as_deref() != Some(*other));
        let news = news.map(str::to_owned);
        let value = news.as_ref().and(view.entry.as_ref());
        let value = value.map(|entry| entry.value.clone());
        let is_given = std::mem::take(&mut self.is_given);
        match (self.hold, ours) {
            (Some(hold), Some(lock)) if hold.lock == lock => {
                let seen = now.monotonic;
                self.hold = Some(Hold { seen, ..hold });
                self.view = Some(view);
            }
            (Some(_), _) => {
                self.lose(Loss::Taken, now);
                self.view = Some(view);
            }
            (None, Some(lock)) if is_given && is_fresh(session.renewed, now) => {
                self.last_term = Term(self.last_term.0 + 1);
                self.hold = Some(Hold {
                    term: self.last_term,
                    lock,
                    seen: now.monotonic,
                });
                self.told_of = None;
                self.changes.push(Change::Acquired);
                self.view = Some(view);
            }
            (None, _) => self.view = Some(view),
        }
        if news.is_some() {
            self.told_of = news;
            self.changes.extend(value.map(Change::Behind));
        }
    }

    fn confirmation_answered(&mut self, answer: Answer, now: Now) {
        let Some(confirming) = &mut self.confirming else {
            return;
        };
        let number = confirming.number;
        match (confirming.step, answer) {
            (Step::Renew, Answer::Yes) => confirming.step = Step::Acquire,
            (Step::Acquire, Answer::Yes) => confirming.step = Step::Read,
            (Step::Acquire, Answer::No) => self.lose(Loss::Taken, now),
            (Step::Read, Answer::Key(view)) => {
                let session = self.session.as_ref();
                let ours = session.and_then(|session| view.lock_of(&session.id));
                match self.hold {
                    Some(hold) if ours == Some(hold.lock) => {
                        self.confirming = None;
                        self.confirmed = (number, Confirmation::Held(hold.term));
                    }
                    Some(_) => self.lose(Loss::Taken, now),
                    None => {}
                }
            }
            _ => {
                self.confirming = None;
                self.confirmed = (number, Confirmation::Unconfirmed);
            }
        }
    }

    /// The lock is held no longer, or must be taken for lost; whoever waits for a confirmation is told so.
    fn lose(&mut self, why: Loss, now: Now) {
        if self.hold.take().is_some() {
            self.changes.push(Change::Lost(why));
            self.forget_key();
            self.look_after = now.monotonic;
            self.acquire_after = now.monotonic;
        }
        self.end_confirmations();
    }

    fn forget_key(&mut self) {
        self.view = None;
        self.is_given = false;
    }

    fn end_confirmations(&mut self) {
        if self.confirming.take().is_some() || self.asked > self.begun {
            self.begun = self.asked;
            self.confirmed = (self.asked, Confirmation::Unconfirmed);
        }
    }
}

impl KeyView {
    fn holder(&self) -> Option<&str> {
        self.entry.as_ref()?.session.as_deref()
    }

    fn is_anothers(&self, session: &str) -> bool {
        self.holder().is_some_and(|holder| holder != session)
    }

    /// Which time of being locked it is, if the lock is this session's.
    fn lock_of(&self, session: &str) -> Option<LockIdentity> {
        let entry = self.entry.as_ref()?;
        (entry.session.as_deref() == Some(session)).then_some(entry.lock)
    }
}

fn pause_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(8);
    PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
}

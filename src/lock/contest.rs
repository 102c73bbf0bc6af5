//! The contest for the lock as one copy sees it: which calls to make, and whether this copy may write.
//!
//! A pure state machine: the time and Consul's answers in, calls out. Who makes the calls is [`super::keeper`]. Three
//! lanes of calls go on side by side, each with one call at a time: the session's (node, session, renewals), the key's (who
//! holds it, and taking it), and that of confirmations, which passes ask for before they act. With shards there is a key
//! for each, and `split` adds two lanes: what all copies hold together, and who else there is.
//!
//! Consul gives the lock to nobody else before the session has expired and its lock-delay is over; both begin anew at the
//! moment at which it *heard* the last renewal, which was not before that was *sent*. So a copy that counts from the sending
//! stops long before another begins, without any clock that the two would have to share.

use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::{balance, split::Split};
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

/// How long the lock is kept that Consul shows as this copy's and that cannot be taken all the same, or given back, or of
/// which no confirmation succeeds: nobody writes meanwhile.
const VAIN_LIMIT: Duration = Duration::from_secs(60);

/// For how long a copy that has left its session to end because that was of no use opens no other. What becomes free with that
/// session would be its again at once; within this time others have it. It doubles where the next session is of no use either:
/// others give shards back for every copy that there is.
const APART: Duration = Duration::from_secs(60);

/// The longest such time, how long a session lives that was of use, and how long a shard is nobody's because a copy that holds
/// more of them cannot take it.
const LONGEST_APART: Duration = Duration::from_secs(5 * 60);

/// For how long it is not told again that a session was left of which nothing was held.
const TOLD_LEFT: Duration = Duration::from_secs(10 * 60);

/// How long passes may fail to see Fly's machines, at least, before the lock is left to a copy that sees them.
pub const BLIND_LIMIT: Duration = Duration::from_secs(120);

/// With shards: how long a copy that has lost the last one remembers that its passes saw nothing.
const SIGHT_MEMORY: Duration = Duration::from_secs(60);

/// For how long a copy that has given the lock up because it sees nothing does not compete, unless it sees again.
const REST: Duration = Duration::from_secs(5 * 60);

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
pub(super) const PAUSE: Duration = Duration::from_secs(1);

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
pub(super) fn is_fresh(sent: Now, now: Now) -> bool {
    let took = now.monotonic.saturating_duration_since(sent.monotonic);
    let wall = now.wall.duration_since(sent.wall);
    let by_monotonic = SignedDuration::try_from(took).unwrap_or(SignedDuration::MAX);
    took < VALIDITY && wall.saturating_sub(by_monotonic) < BLINDNESS
}

/// Whether Consul has ended a session that was renewed then, by the latest.
pub(super) fn is_long_over(sent: Now, now: Now) -> bool {
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
    /// With shards: the session of the key that all copies hold together.
    Common,
    /// With shards: which other copies there are.
    Members,
}

impl Lane {
    /// All of them, in the order in which they begin calls.
    pub const ALL: [Self; 5] = [
        Self::Session,
        Self::Confirmation,
        Self::Common,
        Self::Key,
        Self::Members,
    ];
}

/// One call to Consul.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Make the node that sessions belong to exist.
    Register,
    /// Open a session.
    Open,
    /// Open the session of the key that all copies hold together.
    OpenCommon,
    /// Renew the session.
    Renew(String),
    /// End the session.
    Destroy(String),
    /// Who holds the lock, and each shard.
    Read,
    /// The same, once it is another answer than that of this index.
    Await(u64),
    /// Take the lock for the session, or take it again.
    Acquire(String),
    /// Give the lock back.
    Release(String),
    /// Take a shard for the session, or take it again.
    AcquireShard(usize, String),
    /// Give a shard back.
    ReleaseShard(usize, String),
    /// Which copies there are that divide the apps in this way.
    Members,
}

impl Call {
    /// What `/metrics` calls it.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Register => "register_node",
            Self::Open | Self::OpenCommon => "create_session",
            Self::Renew(_) => "renew_session",
            Self::Destroy(_) => "destroy_session",
            Self::Read | Self::Await(_) => "read_key",
            Self::Acquire(_) | Self::AcquireShard(..) => "acquire",
            Self::Release(_) | Self::ReleaseShard(..) => "release",
            Self::Members => "list_sessions",
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
    /// The sessions of the copies that there are.
    Members(Vec<String>),
    /// No answer, or one of no use: nobody knows what it did.
    Failed,
}

/// The key at one moment, and those of the shards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyView {
    /// What to ask with for a later one.
    pub index: u64,
    /// What is there; `None`: the key does not exist.
    pub entry: Option<Entry>,
    /// The same of each shard; none without shards.
    pub shards: Vec<Option<Entry>>,
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
    /// It holds nothing, and leaves its session to end by itself.
    Left(Loss),
    /// The copy behind which this one stood holds it no longer, and no other does.
    Free,
    /// This copy holds a shard.
    AcquiredShard(usize),
    /// It gives a shard back.
    ReleasedShard(usize),
    /// It has lost a shard.
    LostShard(usize, Loss),
    /// It is about to give a shard back.
    Gives(usize),
    /// It does not give a shard back that it was about to: too long something in it was not settled.
    Keeps(usize),
    /// The same, because no copy has fewer any more.
    NeedNotGive(usize),
    /// Other copies hold all shards.
    Idle,
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
    /// What Consul shows as this copy's could not be taken, given back or confirmed for too long.
    InVain,
    /// No pass has seen Fly's machines for too long: another copy may.
    Blind,
}

/// One copy's part in the contest.
#[derive(Debug, Clone)]
pub struct Contest {
    session: Option<Session>,
    /// The last session that this copy had before: it may keep the lock for a while, but no other copy does.
    left: Option<String>,
    node_is_known: bool,
    /// What the key showed last, unless that is old.
    view: Option<KeyView>,
    /// The lock; with shards, one for each.
    stakes: Vec<Stake>,
    /// With shards: what concerns all of them.
    split: Option<Split>,
    last_term: Term,
    confirming: Option<Confirming>,
    /// The last confirmation that was asked for.
    asked: u64,
    /// The last that was begun.
    begun: u64,
    /// The last that has ended, and which terms it has confirmed.
    confirmed: (u64, Vec<Option<Term>>),
    in_flight: [Option<(Call, Now)>; Lane::ALL.len()],
    /// Before when no call of the session's lane begins.
    session_after: Instant,
    /// Before when no session is opened, although Consul would.
    apart_until: Instant,
    /// How many sessions in a row were left because they were of no use.
    left_useless: u32,
    /// Why the last session was left that was.
    left_for: Option<Loss>,
    /// When it was last told that a session was left of which nothing was held, and why it was.
    told_left: Option<(Instant, Loss)>,
    /// Before when the key is not looked at.
    look_after: Instant,
    session_failures: u32,
    key_failures: u32,
    /// The same of those that wait for a change.
    wait_failures: u32,
    /// Behind which session that stands by is told already.
    told_of: Option<String>,
    changes: Vec<Change>,
    is_leaving: bool,
    sight: Sight,
}

/// Whether passes see Fly's machines: a copy that does not is of no use as a holder.
#[derive(Debug, Clone)]
struct Sight {
    /// How long they may not.
    limit: Duration,
    /// Since when they do not.
    lost: Option<Instant>,
    /// With shards: since when none is held.
    bare: Option<Instant>,
    /// Until when this copy does not compete because of that.
    rests_until: Option<Instant>,
}

impl Sight {
    fn is_over_at(&self) -> Option<Instant> {
        self.lost.map(|since| since + self.limit)
    }

    /// Without a shard a copy has no apps, and without these no pass that would ever say that it sees again. What one tells
    /// that has ended late is not kept either. But who is soon to have its shards again has not seen anything meanwhile.
    fn forget_where_nothing_is_held(&mut self, holds_any: bool, now: Now) {
        if holds_any {
            self.bare = None;
            return;
        }
        let since = *self.bare.get_or_insert(now.monotonic);
        if now.monotonic.saturating_duration_since(since) >= SIGHT_MEMORY {
            self.lost = None;
        }
    }

    /// Whether this copy may compete.
    fn competes(&self, now: Now) -> bool {
        let is_later = |at: Instant| at > now.monotonic;
        self.is_over_at().is_none_or(is_later) && !self.rests_until.is_some_and(is_later)
    }
}

/// A lock that is competed for.
#[derive(Debug, Clone)]
struct Stake {
    /// Whether Consul has given this session the lock; it is held once the key shows it.
    is_given: bool,
    hold: Option<Hold>,
    /// Before when it is not asked for.
    acquire_after: Instant,
    /// How often in a row asking for it came to nothing.
    failures: u32,
    /// Whether it can be this session's, as far as is known.
    may_be_ours: bool,
    /// When giving it back was last tried of which nobody knows whether that is done.
    released: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Session {
    id: String,
    opened: Instant,
    /// When the last call was sent that has made it live longer.
    renewed: Now,
    /// When the key was last read, or else when it was opened.
    seen: Instant,
    /// Since when the key shows something as this session's that is not held, and nothing was taken either.
    untaken: Option<Instant>,
    /// That confirmations fail.
    unconfirmed: Option<Unconfirmed>,
}

#[derive(Debug, Clone, Copy)]
struct Hold {
    term: Term,
    lock: LockIdentity,
}

#[derive(Debug, Clone, Copy)]
struct Unconfirmed {
    since: Instant,
    /// When the next one is due, whether or not a pass asks for it.
    again: Instant,
}

/// A confirmation under way.
#[derive(Debug, Clone, Copy)]
struct Confirming {
    number: u64,
    step: Step,
    /// What was held when the last step began: of what was taken since, its look at the keys tells nothing.
    last_term: Term,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Renew,
    RenewCommon,
    Acquire,
    Read,
}

impl Contest {
    /// A copy that has just begun.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self::with_shards(1, now)
    }

    /// The same, where the apps are divided into so many shards.
    #[must_use]
    pub fn with_shards(shards: usize, now: Now) -> Self {
        let stake = Stake {
            is_given: false,
            hold: None,
            acquire_after: now.monotonic,
            failures: 0,
            may_be_ours: false,
            released: None,
        };
        Self {
            session: None,
            left: None,
            node_is_known: false,
            view: None,
            stakes: vec![stake; shards],
            split: (shards > 1).then(|| Split::new(shards, now)),
            last_term: Term::ALONE,
            confirming: None,
            asked: 0,
            begun: 0,
            confirmed: (0, Vec::new()),
            in_flight: [const { None }; Lane::ALL.len()],
            session_after: now.monotonic,
            apart_until: now.monotonic,
            left_useless: 0,
            left_for: None,
            told_left: None,
            look_after: now.monotonic,
            session_failures: 0,
            key_failures: 0,
            wait_failures: 0,
            told_of: None,
            changes: Vec::new(),
            is_leaving: false,
            sight: Sight {
                limit: BLIND_LIMIT,
                lost: None,
                bare: None,
                rests_until: None,
            },
        }
    }

    /// Passes may fail to see Fly's machines for so long, and for [`BLIND_LIMIT`] at least.
    #[must_use]
    pub fn patient_for(mut self, patience: Duration) -> Self {
        self.sight.limit = patience.max(BLIND_LIMIT);
        self
    }

    /// Why this copy leaves the lock to others for now; `None`: it competes.
    #[must_use]
    pub fn stays_away(&self, now: Now) -> Option<Loss> {
        if self.rests(now) {
            return Some(Loss::Blind);
        }
        let is_away = self.session.is_none() && self.apart_until > now.monotonic;
        self.left_for.filter(|_| is_away)
    }

    /// Whether this copy leaves the lock to others because its passes see nothing.
    #[must_use]
    pub fn rests(&self, now: Now) -> bool {
        !self.sight.competes(now)
    }

    /// A pass has ended, and has seen Fly's machines, or not. Who does not see them for long gives the lock up and leaves it
    /// to others.
    pub fn passed(&mut self, has_seen: bool, now: Now) {
        if has_seen && self.sight.rests_until.take().is_some() && self.split.is_some() {
            self.apart_until = now.monotonic;
            self.session_after = now.monotonic;
        }
        self.listed(has_seen, now);
    }

    /// Where there is no app to pass over: its apps were listed, or could not be, which is as good as a pass that sees
    /// nothing. A list alone is no reason to compete again before the rest is over.
    pub fn listed(&mut self, has_listed: bool, now: Now) {
        if has_listed {
            self.sight.lost = None;
        } else {
            self.sight.lost.get_or_insert(now.monotonic);
        }
        self.look(now);
    }

    /// Whether this copy holds the lock, or the first shard. What was held may have run out since the last look: see
    /// [`Held::is_good`].
    #[must_use]
    pub fn held(&self) -> Option<Held> {
        self.held_shard(0)
    }

    /// The same of any shard; one that is about to be given back is not held any more.
    #[must_use]
    pub fn held_shard(&self, shard: usize) -> Option<Held> {
        let hold = self.stakes.get(shard)?.hold?;
        let split = self.split.as_ref();
        if split.is_some_and(|split| split.gives_back(shard)) {
            return None;
        }
        Some(Held {
            term: hold.term,
            renewed: self.vouched()?,
        })
    }

    /// What another copy says of itself that holds the lock, as far as that is known.
    #[must_use]
    pub fn behind(&self) -> Option<&str> {
        self.session.as_ref()?;
        let entry = self.view.as_ref()?.entry.as_ref()?;
        let holder = entry.session.as_deref()?;
        (!self.is_own(holder)).then_some(&*entry.value)
    }

    /// Which shard is to be given back, as soon as nothing of it is under way and lists have shown all that was done:
    /// then [`Self::is_quiet`] is to be told.
    #[must_use]
    pub fn giving(&self) -> Option<usize> {
        self.split.as_ref()?.giving()
    }

    /// Nothing is under way of a shard that is to be given back, and lists have shown all that was done.
    pub fn is_quiet(&mut self, shard: usize) {
        if let Some(split) = &mut self.split {
            split.quiet(shard);
        }
    }

    /// Whether a session is this copy's, or was its last one.
    #[must_use]
    pub fn is_own(&self, session: &str) -> bool {
        let own = self.session.as_ref().map(|own| own.id.as_str());
        own == Some(session) || self.left.as_deref() == Some(session)
    }

    /// What the keys showed last.
    #[must_use]
    pub fn view(&self) -> Option<&KeyView> {
        self.view.as_ref()
    }

    /// When the renewal was sent that vouches for everything that is held.
    fn vouched(&self) -> Option<Now> {
        let own = self.session.as_ref()?.renewed;
        let Some(split) = &self.split else {
            return Some(own);
        };
        let common = split.vouched()?;
        Some(if common.monotonic < own.monotonic {
            common
        } else {
            own
        })
    }

    fn holds_any(&self) -> bool {
        self.stakes.iter().any(|stake| stake.hold.is_some())
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
        if self.holds_any() && self.vouched().is_none_or(|sent| !is_fresh(sent, now)) {
            self.lose(Loss::NotRenewed, now);
        }
        if self.session.as_ref().is_some_and(|it| it.is_unseen(now)) {
            self.leave_useless(Loss::Unseen, now);
        }
        let untaken = self.session.as_ref().and_then(|session| session.untaken);
        let untaken = untaken.map(|since| now.monotonic.saturating_duration_since(since));
        if untaken.is_some_and(|untaken| self.is_in_vain_for(untaken)) {
            self.leave_useless(Loss::InVain, now);
        }
        if self.split.is_some() {
            let holds_any = self.holds_any();
            self.sight.forget_where_nothing_is_held(holds_any, now);
        }
        if self.blind_at().is_some_and(|over| over <= now.monotonic) {
            self.sight.rests_until = Some(now.monotonic + REST);
            // Without apps there are no passes either, to say so again or otherwise.
            self.sight.lost = None;
            // Without shards it goes on looking who holds the lock.
            let has_shards = self.split.is_some();
            let apart = if has_shards { REST } else { Duration::ZERO };
            self.leave_session(Loss::Blind, apart, now);
        }
        self.rebalance(now);
    }

    /// When this copy has seen nothing for so long that it leaves to others what it holds, or keeps from them.
    fn blind_at(&self) -> Option<Instant> {
        let keeps = self.holds_any() || self.keeps_the_lock();
        self.sight.is_over_at().filter(|_| keeps)
    }

    /// Whether the lock is this session's, or a shard, though it is not held: an answer was lost, or it was not renewed in
    /// time and lives on.
    fn keeps_the_lock(&self) -> bool {
        let Some(session) = &self.session else {
            return false;
        };
        if self.split.is_some() {
            return self.stakes.iter().any(Stake::is_untaken);
        }
        let shown = self.view.as_ref().and_then(KeyView::holder);
        self.stakes[0].is_given || shown.is_some_and(|holder| holder == session.id)
    }

    /// Whether the session is of no use that has not taken for so long what it could have: it is where it holds more, for a while.
    fn is_in_vain_for(&self, untaken: Duration) -> bool {
        let held = self.stakes.iter().filter(|stake| stake.hold.is_some());
        let kept = self.stakes.iter().filter(|stake| stake.is_untaken());
        let limit = if kept.count() >= held.count() {
            VAIN_LIMIT
        } else {
            LONGEST_APART
        };
        untaken >= limit
    }

    /// Decides whether a shard is to be given back for another copy to have.
    fn rebalance(&mut self, now: Now) {
        let Some(split) = &mut self.split else { return };
        let Some(session) = &self.session else {
            split.stop_giving();
            return;
        };
        let view = self.view.as_ref();
        let loads = |split: &Split| view.and_then(|view| split.loads(view, &session.id));
        if let Some(shard) = split.giving() {
            let is_even = || loads(split).is_some_and(|loads| !loads.is_uneven());
            if self.stakes[shard].hold.is_none() {
                split.stop_giving();
            } else if split.gives_now().is_none() && is_even() {
                // The copy is gone that was to have it, or has got another.
                split.stop_giving();
                self.changes.push(Change::NeedNotGive(shard));
            } else if split.gives_for_too_long(now) {
                split.keep(now);
                self.changes.push(Change::Keeps(shard));
            }
            return;
        }
        if !self.stakes.iter().any(|stake| stake.hold.is_some()) {
            split.has_nothing();
            return;
        }
        let Some(loads) = loads(split) else { return };
        if !split.is_to_give(&loads, &session.id, now) {
            return;
        }
        let order = balance::order(self.stakes.len(), &session.id);
        let held = order.into_iter().rev();
        let held = held.filter(|shard| self.stakes[*shard].hold.is_some());
        if let Some(shard) = split.choose(held) {
            split.give(shard, loads.own, now);
            self.changes.push(Change::Gives(shard));
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
            Lane::Key => self.key_call(now)?,
            Lane::Confirmation => self.confirmation_call()?,
            Lane::Common => self.split.as_ref()?.call(),
            Lane::Members => Call::Members,
        };
        if let Call::AcquireShard(shard, _) = &call {
            let stake = &mut self.stakes[*shard];
            (stake.may_be_ours, stake.released) = (true, None);
        }
        self.in_flight[lane as usize] = Some((call.clone(), now));
        Some(call)
    }

    /// When the next look is due at the latest, as far as no answer comes before.
    #[must_use]
    pub fn wake(&self, now: Now) -> Option<Instant> {
        let lanes = Lane::ALL.into_iter().filter_map(|lane| self.due(lane, now));
        let over = self.vouched().filter(|_| self.holds_any());
        let over = over.map(|sent| sent.monotonic + VALIDITY);
        let giving = self.split.as_ref().and_then(|split| {
            let id = &self.session.as_ref()?.id;
            // What is not known now is no reason to wake for.
            let view = self.view.as_ref();
            let is_known = view.is_some_and(|view| split.loads(view, id).is_some());
            let gives_at = split.gives_at(id).filter(|_| is_known);
            gives_at.or(split.keeps_at())
        });
        // What is to be done although a change is waited for.
        let step = self.step(now).filter(|_| !self.is_leaving);
        let step = step.map(|(at, _)| at).filter(|_| self.waits());
        let blind = self.blind_at();
        let rested = self.sight.rests_until.filter(|at| *at > now.monotonic);
        let own = over.into_iter().chain(blind).chain(rested);
        lanes.chain(own).chain(giving).chain(step).min()
    }

    /// Whether the call of the key's lane only waits for what is of no interest any more. It is then to be dropped, and
    /// [`Self::dropped`] told so.
    #[must_use]
    pub fn waits_in_vain(&self, now: Now) -> bool {
        let is_due = |(at, _): (Instant, Call)| at <= now.monotonic;
        let step = match &self.split {
            Some(_) => self.step(now),
            // Who sees again need not wait for a change to compete.
            None => self
                .next_at_key(now)
                .filter(|(_, call)| matches!(call, Call::Acquire(_))),
        };
        self.waits() && (self.view.is_none() || step.is_some_and(is_due))
    }

    /// Whether the call of the key's lane waits for a change.
    fn waits(&self) -> bool {
        matches!(
            self.in_flight[Lane::Key as usize],
            Some((Call::Await(_), _))
        )
    }

    /// The call of this lane is under way no longer, and its answer will not come.
    pub fn dropped(&mut self, lane: Lane) {
        self.in_flight[lane as usize] = None;
    }

    /// A pass asks whether the lock is still held; returns the number of the confirmation that will tell it. `None`: it is
    /// not.
    pub fn ask(&mut self, now: Now) -> Option<u64> {
        self.ask_for(0, now)
    }

    /// The same of a shard; one confirmation tells of all of them.
    pub fn ask_for(&mut self, shard: usize, now: Now) -> Option<u64> {
        self.look(now);
        self.held_shard(shard).filter(|_| !self.is_leaving)?;
        // One that is under way has begun before it was asked for.
        self.asked = self.begun + 1;
        Some(self.asked)
    }

    /// What a confirmation has told, or a later one.
    #[must_use]
    pub fn confirmation(&self, number: u64) -> Confirmation {
        self.confirmation_of(0, number)
    }

    /// The same of a shard.
    #[must_use]
    pub fn confirmation_of(&self, shard: usize, number: u64) -> Confirmation {
        let (last, told) = &self.confirmed;
        if *last < number {
            return Confirmation::Pending;
        }
        let term = told.get(shard).copied().flatten();
        term.map_or(Confirmation::Unconfirmed, Confirmation::Held)
    }

    /// No call is begun any more, and those under way may be dropped.
    pub fn stop(&mut self) {
        self.is_leaving = true;
        self.in_flight = [const { None }; Lane::ALL.len()];
        self.end_confirmations();
    }

    /// Leaves for good: the calls that are to be made, in their order. `is_clean` says that nothing is under way and that
    /// lists have shown all that was done. Only then the lock may be another's at once; otherwise Consul's lock-delay stands
    /// between.
    pub fn leave(&mut self, is_clean: bool) -> Vec<Call> {
        self.leave_by(|_| is_clean)
    }

    /// The same, where that is so for some shards, and not for others. The key that all copies hold together stays theirs.
    pub fn leave_by(&mut self, is_clean: impl Fn(usize) -> bool) -> Vec<Call> {
        self.stop();
        let has_shards = self.split.is_some();
        for (shard, stake) in self.stakes.iter_mut().enumerate() {
            if stake.hold.take().is_some() {
                self.changes.push(if has_shards {
                    Change::ReleasedShard(shard)
                } else {
                    Change::Released
                });
            }
        }
        let Some(Session { id, .. }) = self.session.take() else {
            return Vec::new();
        };
        // It may be this session's without anybody having heard of it.
        let mut calls = Vec::new();
        for (shard, stake) in self.stakes.iter().enumerate() {
            if !is_clean(shard) {
                continue;
            }
            if !has_shards {
                calls.push(Call::Release(id.clone()));
            } else if stake.may_be_ours {
                calls.push(Call::ReleaseShard(shard, id.clone()));
            }
        }
        calls.push(Call::Destroy(id));
        calls
    }

    /// When a lane's next call is due, if it depends on no answer.
    fn due(&self, lane: Lane, now: Now) -> Option<Instant> {
        if self.is_leaving || self.in_flight[lane as usize].is_some() {
            return None;
        }
        match lane {
            Lane::Session => Some(self.session_after.max(self.apart_until)),
            Lane::Confirmation => {
                if self.confirming.is_some() || self.asked > self.begun {
                    return Some(now.monotonic);
                }
                let unconfirmed = self.session.as_ref()?.unconfirmed;
                let unconfirmed = unconfirmed.filter(|_| self.holds_any());
                unconfirmed.map(|unconfirmed| unconfirmed.again)
            }
            Lane::Key => self.next_at_key(now).map(|(at, _)| at),
            Lane::Common => {
                let session = self.session.as_ref()?;
                let split = self.split.as_ref()?;
                split.due(self.view.as_ref(), is_fresh(session.renewed, now))
            }
            Lane::Members => {
                self.session.as_ref()?;
                Some(self.split.as_ref()?.lists_at())
            }
        }
    }

    /// The next call of the key's lane, and when it is due.
    fn next_at_key(&self, now: Now) -> Option<(Instant, Call)> {
        let session = self.session.as_ref()?;
        let Some(view) = &self.view else {
            return Some((self.look_after, Call::Read));
        };
        let wait = (self.look_after, Call::Await(view.index));
        if self.split.is_some() {
            let step = self.step(now);
            // For so short a time a change is not waited for.
            return step
                .filter(|(at, _)| *at < now.monotonic + PAUSE)
                .or(Some(wait));
        }
        if self.holds_any() || view.is_anothers(&session.id) {
            return Some(wait);
        }
        // With a session that may be over it is of no use; the renewal comes first.
        let acquire = || Call::Acquire(session.id.clone());
        if !self.sight.competes(now) {
            // Who stands by tells behind whom.
            return Some(wait);
        }
        is_fresh(session.renewed, now).then(|| (self.stakes[0].acquire_after, acquire()))
    }

    /// With shards: what is to be done at the keys but to look at them, and when.
    fn step(&self, now: Now) -> Option<(Instant, Call)> {
        let session = self.session.as_ref()?;
        let split = self.split.as_ref()?;
        let view = self.view.as_ref()?;
        let id = || session.id.clone();
        if let Some(shard) = split.gives_now() {
            return Some((now.monotonic, Call::ReleaseShard(shard, id())));
        }
        if !is_fresh(session.renewed, now) || !self.sight.competes(now) {
            return None;
        }
        if let Some((at, common)) = split.takes(view, now) {
            return Some((at, Call::Acquire(common)));
        }
        let vouched = self.vouched()?;
        let loads = split.loads(view, &session.id);
        let loads = loads.filter(|_| is_fresh(vouched, now))?;
        let mut first: Option<(Instant, usize)> = None;
        for shard in balance::order(self.stakes.len(), &session.id) {
            let stake = &self.stakes[shard];
            if stake.hold.is_some() {
                continue;
            }
            let at = match view.holder_of(shard) {
                // It was given back, which may be done at any time.
                Some(holder) if holder == session.id => match stake.released {
                    Some(tried) => {
                        return Some((tried + PAUSE, Call::ReleaseShard(shard, id())));
                    }
                    None => stake.acquire_after,
                },
                Some(_) => continue,
                None => {
                    let free_since = split.free_since(shard).unwrap_or(now.monotonic);
                    stake.acquire_after.max(free_since + loads.patience())
                }
            };
            // Of those that are due the first in this copy's order.
            let at = at.max(now.monotonic);
            if first.is_none_or(|(earliest, _)| at < earliest) {
                first = Some((at, shard));
            }
        }
        first.map(|(at, shard)| (at, Call::AcquireShard(shard, id())))
    }

    fn session_call(&self) -> Call {
        match &self.session {
            Some(session) => Call::Renew(session.id.clone()),
            None if self.node_is_known => Call::Open,
            None => Call::Register,
        }
    }

    fn key_call(&self, now: Now) -> Option<Call> {
        self.next_at_key(now).map(|(_, call)| call)
    }

    fn confirmation_call(&mut self) -> Option<Call> {
        let id = self.session.as_ref()?.id.clone();
        let confirming = self.confirming.get_or_insert_with(|| {
            // Who asks from now on asks for the one after this.
            self.asked = self.asked.max(self.begun + 1);
            self.begun = self.asked;
            Confirming {
                number: self.begun,
                step: Step::Renew,
                last_term: self.last_term,
            }
        });
        confirming.last_term = self.last_term;
        Some(match confirming.step {
            Step::Renew => Call::Renew(id),
            Step::RenewCommon => Call::Renew(self.split.as_ref()?.session()?.to_owned()),
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
            Call::Acquire(id) | Call::AcquireShard(_, id) if answer == Answer::Gone => {
                self.end_session(id, now);
            }
            _ => {}
        }
        match lane {
            Lane::Common | Lane::Members => {
                if let Some(split) = &mut self.split {
                    split.ended(&call, answer, sent, now);
                }
            }
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
                    opened: sent.monotonic,
                    renewed: sent,
                    seen: sent.monotonic,
                    untaken: None,
                    unconfirmed: None,
                });
                for stake in &mut self.stakes {
                    stake.released = None;
                    stake.may_be_ours = false;
                    stake.failures = 0;
                }
                self.forget_key();
            }
            // The node may have been removed; it is made known again first.
            _ => self.node_is_known = false,
        }
    }

    fn renewed_session(&mut self, id: &str, answer: &Answer, sent: Now, now: Now) {
        let split = self.split.as_mut();
        if let Some(split) = split.filter(|split| split.session() == Some(id)) {
            match answer {
                Answer::Yes => split.renewed(sent, self.view.as_ref()),
                Answer::Gone => self.end_session(id, now),
                _ if split.is_long_over(now) => self.end_session(id, now),
                _ => {}
            }
            return;
        }
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
            _ if is_long_over(session.renewed, now) => {
                let looked = now.monotonic.saturating_duration_since(session.seen);
                if looked < WAIT_LIMIT {
                    // Only renewing it fails.
                    self.leave_useless(Loss::NotRenewed, now);
                } else {
                    self.end_session(id, now);
                }
            }
            _ => {}
        }
    }

    fn end_session(&mut self, id: &str, now: Now) {
        let split = self.split.as_mut();
        if let Some(split) = split.filter(|split| split.session() == Some(id)) {
            split.session_over(now);
            self.lose(Loss::SessionOver, now);
            self.forget_key();
            return;
        }
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
        self.left = self.session.take().map(|session| session.id);
        self.session_after = now.monotonic;
    }

    /// Leaves the session because it is of no use. Another one may be of none either.
    fn leave_useless(&mut self, why: Loss, now: Now) {
        let Some(session) = &self.session else { return };
        let lived = now.monotonic.saturating_duration_since(session.opened);
        if lived >= LONGEST_APART {
            self.left_useless = 0;
        }
        // Without shards nobody gives anything to who cannot see it; and after a standstill, or where Consul was away, that tells
        // nothing of the next one.
        let is_harmless = self.split.is_none() || !is_fresh(session.renewed, now);
        let apart = if why == Loss::Unseen && is_harmless {
            Duration::ZERO
        } else {
            doubled(APART, self.left_useless, LONGEST_APART)
        };
        self.left_useless = self.left_useless.saturating_add(1);
        self.leave_session(why, apart, now);
    }

    /// Leaves the session to end by itself, where nobody renews it: the lock is free then for a copy that can do with it what
    /// this one could not.
    fn leave_session(&mut self, why: Loss, apart: Duration, now: Now) {
        let is_news = |(at, told): (Instant, Loss)| {
            told != why || now.monotonic.saturating_duration_since(at) >= TOLD_LEFT
        };
        // Of what is held it is told that it is lost.
        if !self.holds_any() && self.told_left.is_none_or(is_news) {
            self.told_left = Some((now.monotonic, why));
            self.changes.push(Change::Left(why));
        }
        self.drop_session(why, now);
        self.left_for = Some(why);
        self.apart_until = now.monotonic + apart;
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
        // Where only waiting for a change fails, each time it does is followed by a look that does not.
        let failures = match call {
            Call::Await(_) => &mut self.wait_failures,
            _ => &mut self.key_failures,
        };
        if answer == Answer::Failed {
            *failures = failures.saturating_add(1);
            self.look_after = now.monotonic + pause_after(*failures);
        } else {
            *failures = 0;
        }
        match (call, answer) {
            (Call::Read | Call::Await(_), Answer::Key(view)) => self.saw(call, view, sent, now),
            // What it did is to be seen at the key.
            (Call::Acquire(_), answer) if self.split.is_some() => {
                if let Some(split) = &mut self.split {
                    split.asked(&answer, now);
                }
                self.view = None;
            }
            (Call::Acquire(id), answer) => self.asked_for(0, id, &answer, now),
            (Call::AcquireShard(shard, id), answer) => self.asked_for(*shard, id, &answer, now),
            (Call::ReleaseShard(shard, _), answer) => {
                let stake = &mut self.stakes[*shard];
                stake.released = (answer == Answer::Failed).then_some(now.monotonic);
                stake.may_be_ours = stake.released.is_some();
                let left_alone = if stake.released.is_some() {
                    balance::UNCERTAIN
                } else {
                    balance::LEFT_ALONE
                };
                let until = now.monotonic + left_alone;
                stake.acquire_after = stake.acquire_after.max(until);
                if stake.hold.take().is_some() {
                    self.changes.push(Change::ReleasedShard(*shard));
                }
                if let Some(split) = &mut self.split {
                    split.given(now);
                }
                self.view = None;
            }
            // A view that cannot be followed up is old.
            (_, Answer::Failed) => self.view = None,
            _ => {}
        }
    }

    /// What asking for it did is to be seen at the key.
    fn asked_for(&mut self, shard: usize, id: &str, answer: &Answer, now: Now) {
        let is_ours = self.session.as_ref().is_some_and(|ours| ours.id == *id);
        let stake = &mut self.stakes[shard];
        stake.is_given = *answer == Answer::Yes && is_ours;
        stake.failures = match answer {
            Answer::Failed => stake.failures.saturating_add(1),
            // The lock-delay of another's session, or somebody came first.
            _ => 0,
        };
        stake.acquire_after = now.monotonic + pause_after(stake.failures);
        self.view = None;
    }

    fn saw(&mut self, call: &Call, view: KeyView, sent: Now, now: Now) {
        let Some(session) = &mut self.session else {
            self.view = None;
            return;
        };
        session.seen = now.monotonic;
        let id = session.id.clone();
        let is_news = self.view.as_ref() != Some(&view);
        self.look_after = match call {
            Call::Await(_) if !is_news => now.monotonic.max(sent.monotonic + PAUSE),
            _ => now.monotonic.max(sent.monotonic + LOOK_GAP),
        };
        if self.split.is_some() {
            self.saw_common(&view, is_news, now);
        }
        let mut news = None;
        if self.split.is_none() {
            let other = view.holder().filter(|holder| !self.is_own(holder));
            news = other.filter(|other| self.told_of.as_deref() != Some(*other));
        }
        let news = news.map(str::to_owned);
        let value = news.as_ref().and(view.entry.as_ref());
        let value = value.map(|entry| entry.value.clone());
        let last_term = self.last_term;
        for shard in 0..self.stakes.len() {
            self.saw_stake(shard, &view, &id, now);
        }
        self.saw_untaken(self.last_term > last_term, now);
        let is_free = view.holder().is_none();
        let are_others = (0..self.stakes.len()).all(|shard| {
            let holder = view.holder_of(shard);
            holder.is_some_and(|holder| !self.is_own(holder))
        });
        self.view = Some(view);
        if is_free && self.told_of.take().is_some() {
            self.changes.push(Change::Free);
        }
        if news.is_some() {
            self.told_of = news;
            self.changes.extend(value.map(Change::Behind));
        }
        if let Some(split) = &mut self.split
            && split.stands_idle(are_others)
        {
            self.changes.push(Change::Idle);
        }
    }

    /// Notes whether something is kept for this session that it does not hold, and whether it has taken something. With shards who
    /// holds none because what that needs fails keeps the common key from copies with another number of them, and its place in the division.
    fn saw_untaken(&mut self, has_taken: bool, now: Now) {
        let is_refused =
            |split: &Split| split.fails(now) || self.stakes.iter().any(|stake| stake.failures > 0);
        let can_take = self.holds_any() || !self.split.as_ref().is_some_and(is_refused);
        let is_any = !can_take || self.stakes.iter().any(Stake::is_untaken);
        let Some(session) = &mut self.session else {
            return;
        };
        if has_taken {
            // Of many shards each takes its time.
            session.untaken = None;
            session.unconfirmed = None;
            self.left_useless = 0;
        }
        session.untaken = is_any.then(|| session.untaken.unwrap_or(now.monotonic));
    }

    fn saw_common(&mut self, view: &KeyView, is_news: bool, now: Now) {
        let Some(split) = &mut self.split else { return };
        let was_taken = split.is_another(view);
        if was_taken {
            self.lose(Loss::Taken, now);
        }
        let Some(split) = &mut self.split else { return };
        let other = split.saw(view, is_news, now);
        self.changes.extend(other.map(Change::Behind));
    }

    fn saw_stake(&mut self, shard: usize, view: &KeyView, id: &str, now: Now) {
        let has_shards = self.split.is_some();
        let ours = if has_shards {
            view.shard_of(shard, id)
        } else {
            view.lock_of(id)
        };
        let vouched = self.vouched();
        let stake = &mut self.stakes[shard];
        stake.may_be_ours = ours.is_some();
        if view.holder_of(shard).is_some_and(|holder| holder != id) {
            // It is not asked for any more.
            stake.failures = 0;
        }
        let is_given = std::mem::take(&mut stake.is_given);
        match (stake.hold, ours) {
            (Some(hold), Some(lock)) if hold.lock == lock => {}
            (Some(_), _) => self.lose_one(shard, Loss::Taken, now),
            (None, Some(lock)) if is_given && vouched.is_some_and(|sent| is_fresh(sent, now)) => {
                self.last_term = Term(self.last_term.0 + 1);
                stake.hold = Some(Hold {
                    term: self.last_term,
                    lock,
                });
                self.told_of = None;
                self.changes.push(if has_shards {
                    Change::AcquiredShard(shard)
                } else {
                    Change::Acquired
                });
            }
            (None, _) => {}
        }
    }

    fn confirmation_answered(&mut self, answer: Answer, now: Now) {
        let Some(confirming) = &mut self.confirming else {
            return;
        };
        let Confirming {
            number, last_term, ..
        } = *confirming;
        match (confirming.step, answer) {
            (Step::Renew, Answer::Yes) if self.split.is_some() => {
                confirming.step = Step::RenewCommon;
            }
            // One look shows all keys; to take each of them again would be as many calls.
            (Step::RenewCommon, Answer::Yes) => confirming.step = Step::Read,
            (Step::Renew, Answer::Yes) => confirming.step = Step::Acquire,
            (Step::Acquire, Answer::Yes) => confirming.step = Step::Read,
            (Step::Acquire, Answer::No) => self.lose(Loss::Taken, now),
            (Step::Read, Answer::Key(view)) => self.confirm(number, last_term, &view, now),
            _ => {
                self.confirming = None;
                self.confirmed = (number, Vec::new());
                self.failed_to_confirm(now);
            }
        }
    }

    /// Another one is made whether or not a pass asks for it, so that time tells what has come of them all.
    fn failed_to_confirm(&mut self, now: Now) {
        let Some(session) = &mut self.session else {
            return;
        };
        let since = session.unconfirmed.map(|unconfirmed| unconfirmed.since);
        let since = since.unwrap_or(now.monotonic);
        session.unconfirmed = Some(Unconfirmed {
            since,
            again: now.monotonic + LONGEST_PAUSE,
        });
        if now.monotonic.saturating_duration_since(since) >= VAIN_LIMIT {
            self.leave_useless(Loss::InVain, now);
        }
    }

    /// What was held and is seen to be held still is confirmed.
    fn confirm(&mut self, number: u64, last_term: Term, view: &KeyView, now: Now) {
        if self
            .split
            .as_ref()
            .is_some_and(|split| split.is_another(view))
        {
            self.lose(Loss::Taken, now);
            return;
        }
        let Some(session) = &mut self.session else {
            return;
        };
        session.unconfirmed = None;
        let has_shards = self.split.is_some();
        let seen = (0..self.stakes.len()).map(|shard| {
            if has_shards {
                view.shard_of(shard, &session.id)
            } else {
                view.lock_of(&session.id)
            }
        });
        let seen: Vec<_> = seen.collect();
        let is_other = |(stake, seen): (&Stake, &Option<LockIdentity>)| {
            let hold = stake.hold.filter(|hold| hold.term <= last_term);
            hold.is_some_and(|hold| *seen != Some(hold.lock))
        };
        let pairs = || self.stakes.iter().zip(&seen);
        let lost: Vec<usize> = pairs()
            .enumerate()
            .filter(|(_, pair)| is_other(*pair))
            .map(|(shard, _)| shard)
            .collect();
        let terms = pairs().map(|(stake, seen)| {
            let hold = stake.hold.filter(|hold| *seen == Some(hold.lock));
            hold.map(|hold| hold.term)
        });
        let terms: Vec<_> = terms.collect();
        if has_shards || lost.is_empty() {
            self.confirming = None;
            self.confirmed = (number, terms);
        }
        for shard in lost {
            self.lose_one(shard, Loss::Taken, now);
            self.view = None;
        }
    }

    /// One lock is held no longer; of several the others are.
    fn lose_one(&mut self, shard: usize, why: Loss, now: Now) {
        if self.split.is_none() {
            self.lose(why, now);
            return;
        }
        let stake = &mut self.stakes[shard];
        stake.is_given = false;
        stake.acquire_after = now.monotonic;
        if stake.hold.take().is_some() {
            self.changes.push(Change::LostShard(shard, why));
            self.forget_untaken();
        }
    }

    /// Nothing is held any longer, or must be taken for lost; whoever waits for a confirmation is told so.
    fn lose(&mut self, why: Loss, now: Now) {
        let has_shards = self.split.is_some();
        let mut has_lost = false;
        for (shard, stake) in self.stakes.iter_mut().enumerate() {
            if stake.hold.take().is_some() {
                has_lost = true;
                stake.acquire_after = now.monotonic;
                self.changes.push(if has_shards {
                    Change::LostShard(shard, why)
                } else {
                    Change::Lost(why)
                });
            }
        }
        if has_lost {
            self.forget_key();
            self.look_after = now.monotonic;
            self.forget_untaken();
        }
        self.end_confirmations();
    }

    /// What was held is to be taken anew; what could not be taken before may take as long again.
    fn forget_untaken(&mut self) {
        if let Some(session) = &mut self.session {
            session.untaken = None;
        }
    }

    fn forget_key(&mut self) {
        self.view = None;
        for stake in &mut self.stakes {
            stake.is_given = false;
        }
    }

    fn end_confirmations(&mut self) {
        if self.confirming.take().is_some() || self.asked > self.begun {
            self.begun = self.asked;
            self.confirmed = (self.asked, Vec::new());
        }
    }
}

impl Stake {
    /// Whether it is this session's, as far as is known, without being held.
    fn is_untaken(&self) -> bool {
        self.may_be_ours && self.hold.is_none()
    }
}

impl Session {
    fn is_unseen(&self, now: Now) -> bool {
        now.monotonic.saturating_duration_since(self.seen) >= UNSEEN_LIMIT
    }
}

impl KeyView {
    pub(super) fn holder(&self) -> Option<&str> {
        self.entry.as_ref()?.session.as_deref()
    }

    /// Whose a shard is.
    pub(super) fn holder_of(&self, shard: usize) -> Option<&str> {
        self.shards.get(shard)?.as_ref()?.session.as_deref()
    }

    /// Which time of being locked it is, if a shard is this session's.
    fn shard_of(&self, shard: usize, session: &str) -> Option<LockIdentity> {
        let entry = self.shards.get(shard)?.as_ref()?;
        (entry.session.as_deref() == Some(session)).then_some(entry.lock)
    }

    fn is_anothers(&self, session: &str) -> bool {
        self.holder().is_some_and(|holder| holder != session)
    }

    /// Which time of being locked it is, if the lock is this session's.
    pub(super) fn lock_of(&self, session: &str) -> Option<LockIdentity> {
        let entry = self.entry.as_ref()?;
        (entry.session.as_deref() == Some(session)).then_some(entry.lock)
    }
}

pub(super) fn pause_after(failures: u32) -> Duration {
    doubled(PAUSE, failures.saturating_sub(1), LONGEST_PAUSE)
}

/// A time that has been doubled so often, up to a longest one.
pub(super) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(8)).min(longest)
}

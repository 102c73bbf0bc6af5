//! What concerns all shards of a copy: the common key, which other copies there are, and which shard is to be given back.
//!
//! Copies that divide the apps into different numbers of shards, or not at all, must not write at the same time: one's shard
//! is no other's. What keeps them apart is the key that a copy without shards locks for itself. Where there are shards it is
//! locked by a session that belongs to no copy: all copies of that number of shards renew it, and whoever writes goes by
//! its own last renewal of it as it does by that of its own session. Nobody ever ends that session or gives the key back; when the
//! last of these copies is gone it expires, and Consul's lock-delay stands between them and the next.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{
    account::Account,
    balance::{self, GIVE_INTERVAL, LONGEST_GIVE_INTERVAL, Loads},
    contest::{
        Answer, Call, KeyView, LockIdentity, PAUSE, RENEWAL_INTERVAL, doubled, is_fresh,
        is_long_over, pause_after,
    },
};
use crate::scaling::Now;

/// From one list of the copies to the next.
const LIST_INTERVAL: Duration = Duration::from_secs(30);

/// The same right after a shard has become free: whose it was may be a copy that has just left.
const SHORT_LIST_INTERVAL: Duration = Duration::from_millis(500);

/// For how long after that.
const LIST_SOON: Duration = Duration::from_secs(3);

/// The same while a shard stays free.
const FREE_LIST_INTERVAL: Duration = Duration::from_secs(5);

/// How long shards that were seen to be divided unevenly are taken to be so still, where nothing is seen.
const UNEVEN_MEMORY: Duration = Duration::from_secs(10);

/// What concerns all shards of a copy.
#[derive(Debug, Clone)]
pub(super) struct Split {
    /// The session that the common key is to belong to, or belongs to.
    common: Option<CommonSession>,
    /// Which time of being locked by it that is.
    lock: Option<LockIdentity>,
    /// Before when no call about that session begins.
    after: Instant,
    failures: u32,
    /// Before when the common key is not asked for.
    acquire_after: Instant,
    /// How often in a row asking for it came to nothing.
    acquire_failures: u32,
    members: Option<Vec<String>>,
    listed: Instant,
    list_after: Instant,
    list_failures: u32,
    /// Since when each shard is free.
    free_since: Vec<Option<Instant>>,
    /// That another copy could do with a shard of this one.
    uneven: Option<Uneven>,
    giving: Option<Giving>,
    /// When one was last given back, or kept after all.
    gave_at: Option<Instant>,
    /// Which copies there were when one was last to be given back.
    gave_beside: BTreeSet<String>,
    /// How many this copy had then; `None`: it was kept.
    gave: Option<usize>,
    /// How often in a row this copy had no fewer then than the time before, with the same copies.
    gave_in_vain: u32,
    /// Those that were to be given back and were kept, the last one last.
    kept: Vec<usize>,
    /// How many of them since one was given back.
    kept_in_a_row: u32,
    /// Behind which session that stands by is told already.
    told_of: Option<String>,
    told_idle: bool,
}

#[derive(Debug, Clone)]
struct CommonSession {
    id: String,
    /// When it was found, or opened.
    found: Now,
    /// When this copy sent its last renewal that succeeded.
    renewed: Option<Now>,
}

#[derive(Debug, Clone, Copy)]
struct Uneven {
    since: Instant,
    /// When that was last seen.
    seen: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Giving {
    shard: usize,
    since: Instant,
    is_quiet: bool,
}

impl Split {
    pub(super) fn new(shards: usize, now: Now) -> Self {
        let begun = now.monotonic;
        Self {
            common: None,
            lock: None,
            after: begun,
            failures: 0,
            acquire_after: begun,
            acquire_failures: 0,
            members: None,
            listed: begun,
            list_after: begun,
            list_failures: 0,
            free_since: vec![None; shards],
            uneven: None,
            giving: None,
            gave_at: None,
            gave_beside: BTreeSet::new(),
            gave: None,
            gave_in_vain: 0,
            kept: Vec::new(),
            kept_in_a_row: 0,
            told_of: None,
            told_idle: false,
        }
    }

    /// The session of the common key.
    pub(super) fn session(&self) -> Option<&str> {
        self.common.as_ref().map(|common| common.id.as_str())
    }

    /// When the renewal was sent that vouches for the common key; `None`: it is not held.
    pub(super) fn vouched(&self) -> Option<Now> {
        self.lock?;
        self.common.as_ref()?.renewed
    }

    /// When the next call about the common session is due.
    pub(super) fn due(&self, view: Option<&KeyView>, own_is_fresh: bool) -> Option<Instant> {
        if self.common.is_none() {
            let is_free = view?.holder().is_none();
            return (is_free && own_is_fresh).then_some(self.after);
        }
        Some(self.after)
    }

    pub(super) fn call(&self) -> Call {
        match &self.common {
            Some(common) => Call::Renew(common.id.clone()),
            None => Call::OpenCommon,
        }
    }

    /// A call about the common session or for a list has ended.
    pub(super) fn ended(&mut self, call: &Call, answer: Answer, sent: Now, now: Now) {
        match (call, answer) {
            (Call::Members, Answer::Members(members)) => {
                self.list_failures = 0;
                self.members = Some(members);
                self.listed = sent.monotonic;
                self.list_after = sent.monotonic + self.list_interval(now);
            }
            (Call::Members, _) => {
                self.list_failures = self.list_failures.saturating_add(1);
                self.list_after = now.monotonic + pause_after(self.list_failures);
            }
            (Call::OpenCommon, Answer::Opened(id)) if self.common.is_none() => {
                self.failures = 0;
                self.common = Some(CommonSession {
                    id,
                    found: sent,
                    renewed: Some(sent),
                });
                self.after = sent.monotonic + RENEWAL_INTERVAL;
            }
            // Meanwhile another copy's was found.
            (Call::OpenCommon, Answer::Opened(_)) => {}
            (Call::Renew(_), Answer::Yes) => self.failures = 0,
            (Call::Renew(_), Answer::Gone) => {
                self.after = now.monotonic.max(sent.monotonic + PAUSE);
            }
            (Call::Renew(_), _) => self.after = now.monotonic + PAUSE,
            _ => {
                self.failures = self.failures.saturating_add(1);
                self.after = now.monotonic + pause_after(self.failures);
            }
        }
    }

    /// The common session was renewed.
    pub(super) fn renewed(&mut self, sent: Now, view: Option<&KeyView>) {
        if let Some(common) = &mut self.common {
            let is_newer = |before: Now| sent.monotonic > before.monotonic;
            if common.renewed.is_none_or(is_newer) {
                common.renewed = Some(sent);
            }
        }
        self.after = self.after.max(sent.monotonic + RENEWAL_INTERVAL);
        if let Some(view) = view {
            self.settle(view);
        }
    }

    /// Whether what taking shards needs beside them fails: to list the copies, or to renew the common session.
    pub(super) fn fails(&self, now: Now) -> bool {
        let is_stale = |common: &CommonSession| common.renewed.is_none_or(|at| !is_fresh(at, now));
        self.list_failures > 0 || self.common.as_ref().is_some_and(is_stale)
    }

    /// Whether it is over by now whatever is answered, as far as this copy has renewed it.
    pub(super) fn is_long_over(&self, now: Now) -> bool {
        let common = self.common.as_ref();
        common.is_some_and(|common| is_long_over(common.renewed.unwrap_or(common.found), now))
    }

    /// The common session is over.
    pub(super) fn session_over(&mut self, now: Now) {
        self.common = None;
        self.lock = None;
        self.after = now.monotonic;
    }

    /// Taking the common key was tried.
    pub(super) fn asked(&mut self, answer: &Answer, now: Now) {
        self.acquire_failures = match answer {
            Answer::Failed => self.acquire_failures.saturating_add(1),
            _ => 0,
        };
        self.acquire_after = now.monotonic + pause_after(self.acquire_failures);
    }

    /// With which session the common key is to be taken, and when; `None`: it is held, or another's.
    pub(super) fn takes(&self, view: &KeyView, now: Now) -> Option<(Instant, String)> {
        let common = self.common.as_ref()?;
        common.renewed.filter(|sent| is_fresh(*sent, now))?;
        let is_to_take = match view.holder() {
            None => true,
            // Somebody has written something else there.
            Some(holder) => holder == common.id && !self.is_of_us(view),
        };
        is_to_take.then(|| (self.acquire_after, common.id.clone()))
    }

    /// Whether the common key says that it belongs to copies that divide the apps as this one does.
    fn is_of_us(&self, view: &KeyView) -> bool {
        let value = view.entry.as_ref().map(|entry| entry.value.as_str());
        let account = value.and_then(Account::read);
        account.and_then(|account| account.shards) == Some(self.free_since.len())
    }

    /// Whether the common key was held, and is not what it was.
    pub(super) fn is_another(&self, view: &KeyView) -> bool {
        let seen = self.session().and_then(|session| view.lock_of(session));
        self.lock.is_some_and(|lock| seen != Some(lock))
    }

    /// Takes the keys as they are now. Returns what the holder of the common key says of itself, if it divides the apps in
    /// another way and that is not told yet.
    pub(super) fn saw(&mut self, view: &KeyView, is_news: bool, now: Now) -> Option<String> {
        for (shard, since) in self.free_since.iter_mut().enumerate() {
            match view.holder_of(shard) {
                Some(_) => *since = None,
                None => *since = since.or(Some(now.monotonic)),
            }
        }
        if is_news {
            let soon = now.monotonic.max(self.listed + SHORT_LIST_INTERVAL);
            self.list_after = self.list_after.min(soon);
        }
        self.lock = None;
        let holder = view.holder();
        let mut other = None;
        if let Some(holder) = holder.filter(|holder| self.session() != Some(holder)) {
            if self.is_of_us(view) {
                self.common = Some(CommonSession {
                    id: holder.to_owned(),
                    found: now,
                    renewed: None,
                });
                self.after = now.monotonic;
            } else {
                self.common = None;
                other = Some(holder);
            }
        }
        self.settle(view);
        let is_told = other.is_some() && self.told_of.as_deref() == other;
        self.told_of = other.map(str::to_owned);
        let entry = view.entry.as_ref().filter(|_| other.is_some() && !is_told);
        entry.map(|entry| entry.value.clone())
    }

    /// It is held where it is seen to be the session's, which was renewed and not given up since.
    fn settle(&mut self, view: &KeyView) {
        let common = self.common.as_ref();
        let common = common.filter(|common| common.renewed.is_some());
        if let Some(lock) = common.and_then(|common| view.lock_of(&common.id)) {
            self.lock = Some(lock);
        }
    }

    /// When the copies are to be listed.
    pub(super) fn lists_at(&self) -> Instant {
        self.list_after
    }

    fn list_interval(&self, now: Now) -> Duration {
        let last = self.free_since.iter().flatten().max();
        match last {
            None => LIST_INTERVAL,
            Some(last) if now.monotonic.saturating_duration_since(*last) < LIST_SOON => {
                SHORT_LIST_INTERVAL
            }
            Some(_) => FREE_LIST_INTERVAL,
        }
    }

    pub(super) fn free_since(&self, shard: usize) -> Option<Instant> {
        self.free_since.get(shard).copied().flatten()
    }

    /// How the shards are divided; `None`: nobody knows which copies there are.
    pub(super) fn loads(&self, view: &KeyView, session: &str) -> Option<Loads> {
        let members = self.members.as_ref()?;
        Some(Loads::of(view, session, members))
    }

    /// Which shard is to be given back.
    pub(super) fn giving(&self) -> Option<usize> {
        self.giving.map(|giving| giving.shard)
    }

    pub(super) fn gives_back(&self, shard: usize) -> bool {
        self.giving() == Some(shard)
    }

    /// The one that can be given back at once.
    pub(super) fn gives_now(&self) -> Option<usize> {
        let giving = self.giving.filter(|giving| giving.is_quiet);
        giving.map(|giving| giving.shard)
    }

    /// When what is to be given back is kept after all.
    pub(super) fn keeps_at(&self) -> Option<Instant> {
        let giving = self.giving.filter(|giving| !giving.is_quiet);
        giving.map(|giving| giving.since + balance::LONGEST_GIVING)
    }

    pub(super) fn gives_for_too_long(&self, now: Now) -> bool {
        self.keeps_at().is_some_and(|at| at <= now.monotonic)
    }

    pub(super) fn quiet(&mut self, shard: usize) {
        if let Some(giving) = self.giving.as_mut().filter(|giving| giving.shard == shard) {
            giving.is_quiet = true;
        }
    }

    /// This shard is to be given back by a copy that has `own`.
    pub(super) fn give(&mut self, shard: usize, own: usize, now: Now) {
        self.uneven = None;
        let are_same = self.are_same_copies();
        let is_in_vain = are_same && self.gave.is_some_and(|had| own >= had);
        self.gave_in_vain = if is_in_vain {
            self.gave_in_vain.saturating_add(1)
        } else {
            0
        };
        if !are_same {
            self.kept_in_a_row = 0;
            self.gave_beside = self.members.iter().flatten().cloned().collect();
        }
        self.gave = Some(own);
        self.giving = Some(Giving {
            shard,
            since: now.monotonic,
            is_quiet: false,
        });
    }

    /// There is nothing to give any more, which tells nothing of the other copies.
    pub(super) fn stop_giving(&mut self) -> Option<usize> {
        let giving = self.giving.take()?;
        self.gave = None;
        Some(giving.shard)
    }

    /// It is kept after all.
    pub(super) fn keep(&mut self, at: Now) {
        self.gave_at = Some(at.monotonic);
        self.kept_in_a_row = self.kept_in_a_row.saturating_add(1);
        if let Some(shard) = self.stop_giving() {
            self.kept.retain(|kept| *kept != shard);
            self.kept.push(shard);
        }
    }

    /// Which of those that are held is to be given back: one that was not kept, or else the one that was kept first. They come in
    /// the order in which this copy would take them last.
    pub(super) fn choose(&self, last_first: impl Iterator<Item = usize>) -> Option<usize> {
        last_first.min_by_key(|shard| self.kept.iter().position(|kept| kept == shard))
    }

    /// It was given back then.
    pub(super) fn given(&mut self, at: Now) {
        if let Some(giving) = self.giving.take() {
            self.kept.retain(|kept| *kept != giving.shard);
        }
        self.gave_at = Some(at.monotonic);
        self.kept_in_a_row = 0;
    }

    /// From the last one that was given back, or kept, to the next.
    fn give_interval(&self) -> Duration {
        let in_vain = match self.gave {
            // One that has just come need not wait for what others could not take.
            _ if !self.are_same_copies() => 0,
            Some(_) => self.gave_in_vain,
            None => self.kept_in_a_row.saturating_sub(1),
        };
        doubled(GIVE_INTERVAL, in_vain, LONGEST_GIVE_INTERVAL)
    }

    /// Whether there are the copies that there were when a shard was last to be given back.
    fn are_same_copies(&self) -> bool {
        let members = self.members.as_deref().unwrap_or_default();
        let are_known = members
            .iter()
            .all(|member| self.gave_beside.contains(member));
        are_known && members.len() == self.gave_beside.len()
    }

    /// Whether one is to be given back now, where the shards are divided so.
    pub(super) fn is_to_give(&mut self, loads: &Loads, session: &str, now: Now) -> bool {
        if self.lock.is_none() || !loads.is_uneven() {
            self.uneven = None;
            return false;
        }
        let now = now.monotonic;
        // Where waiting for a change fails, the keys are known for a moment at each look alone.
        let was_seen = |uneven: &Uneven| now.saturating_duration_since(uneven.seen) < UNEVEN_MEMORY;
        let since = self.uneven.filter(was_seen).map(|uneven| uneven.since);
        self.uneven = Some(Uneven {
            since: since.unwrap_or(now),
            seen: now,
        });
        self.gives_at(session).is_some_and(|at| at <= now)
    }

    /// There is nothing to give.
    pub(super) fn has_nothing(&mut self) {
        self.uneven = None;
    }

    /// When the next one is to be given back.
    pub(super) fn gives_at(&self, session: &str) -> Option<Instant> {
        let uneven = self.uneven.filter(|_| self.giving.is_none())?;
        let after = self.gave_at.map(|gave| gave + self.give_interval());
        let spread = uneven.since + balance::pause_of(session);
        Some(after.map_or(spread, |after| after.max(spread)))
    }

    /// Whether other copies hold all shards, as `are_others` says of the keys, and that is not told yet.
    pub(super) fn stands_idle(&mut self, are_others: bool) -> bool {
        let is_idle = self.lock.is_some() && are_others;
        let was_told = std::mem::replace(&mut self.told_idle, is_idle);
        is_idle && !was_told
    }
}

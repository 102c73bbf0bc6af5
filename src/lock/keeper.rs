//! Keeps the lock, or waits for it: makes the calls that the contest asks for, and tells everybody what came of them.

use std::{collections::BTreeMap, sync::Arc, task::Poll, time::Duration};

use futures_util::future::{BoxFuture, join_all, poll_fn};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{
    account::Account,
    consul::{Consul, ConsulError},
    contest::{Answer, Call, Change, Confirmation, Contest, Held, Lane, Loss},
    gate::{Ask, Asked, Gate, Part, Shared},
};
use crate::{
    clock::Clock, error_chain::chain, labels::LockChange, metrics::Metrics, shutdown::Shutdown,
};

/// How long trouble with an operation lasts that is not tried again.
const TROUBLE: Duration = Duration::from_secs(30);

/// What a keeper works with.
pub struct KeeperOptions {
    /// Where the lock is.
    pub consul: Consul,
    /// Which apps this copy scales: copies that take turns should agree.
    pub apps: String,
    /// The time.
    pub clock: Clock,
    /// Where everything is counted.
    pub metrics: Metrics,
    /// Set once the daemon is to stop.
    pub shutdown: Shutdown,
    /// How long passes may fail before that means something: several intervals.
    pub patience: Duration,
}

/// After what time trouble that lasts is told of again.
const AGAIN: Duration = Duration::from_secs(10 * 60);

/// Keeps the lock of this copy.
pub struct Keeper {
    consul: Arc<Consul>,
    apps: String,
    clock: Clock,
    metrics: Metrics,
    shutdown: Shutdown,
    contest: Contest,
    shared: Arc<Shared>,
    asked: mpsc::UnboundedReceiver<Asked>,
    /// Who waits for which confirmation.
    waiting: Vec<(u64, Ask)>,
    lanes: Lanes,
    /// What kinds of trouble there are with which calls, as long as they last, and when each was last met.
    troubles: BTreeMap<(Asking, &'static str), Instant>,
    /// When trouble was last told of.
    told: Option<Instant>,
}

const NO_CALLS: Lanes = [const { None }; Lane::ALL.len()];

/// A call as far as trouble with it is one: an operation of Consul's, and whether it waits for a change. Something between
/// may end the long calls alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Asking {
    operation: &'static str,
    waits: bool,
}

impl Asking {
    fn of(call: &Call) -> Self {
        Self {
            operation: call.operation(),
            waits: matches!(call, Call::Await(_)),
        }
    }
}

/// What a call came to.
type Outcome = (Asking, Result<Answer, ConsulError>);

type Exchange = BoxFuture<'static, Outcome>;

type Lanes = [Option<Exchange>; Lane::ALL.len()];

/// A keeper at work, until this is dropped.
pub struct Running {
    task: JoinSet<()>,
    leave: oneshot::Sender<Leaving>,
}

/// How to leave.
struct Leaving {
    /// Of the lock, or of each shard: whether nothing is under way, and lists have shown everything that was done.
    is_clean: Vec<bool>,
    by: Instant,
}

impl Keeper {
    /// A keeper that has not begun, and the gate that it opens and shuts.
    #[must_use]
    pub fn new(options: KeeperOptions) -> (Self, Gate) {
        let KeeperOptions {
            consul,
            apps,
            clock,
            metrics,
            shutdown,
            patience,
        } = options;
        let shards = consul.shards();
        let (gate, shared, asked) = Gate::of_lock(shards, clock);
        let keeper = Self {
            consul: Arc::new(consul),
            apps,
            contest: Contest::with_shards(shards, clock.now()).patient_for(patience),
            clock,
            metrics,
            shutdown,
            shared,
            asked,
            waiting: Vec::new(),
            lanes: NO_CALLS,
            troubles: BTreeMap::new(),
            told: None,
        };
        (keeper, gate)
    }

    /// Begins, in a runtime.
    #[must_use]
    pub fn begin(self) -> Running {
        let (leave, told) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(self.run(told));
        Running { task, leave }
    }

    async fn run(mut self, mut leave: oneshot::Receiver<Leaving>) {
        let shutdown = self.shutdown.clone();
        let mut stopped = false;
        let leaving = loop {
            self.make_calls();
            self.publish();
            let wake = self.contest.wake(self.clock.now()).map(Instant::from_std);
            let asked = self.asked.recv();
            let lanes = &mut self.lanes;
            let (lane, outcome) = tokio::select! {
                biased;
                // Cancel safe: whoever tells it has told it for good.
                leaving = &mut leave => break leaving.ok(),
                // Cancel safe: it only reads a flag.
                () = shutdown.wait(), if !stopped => {
                    stopped = true;
                    self.contest.stop();
                    self.lanes = NO_CALLS;
                    continue;
                }
                // Cancel safe: the calls stay where they are.
                ended = next(lanes) => ended,
                // Cancel safe: who is not taken here is taken in the next round.
                Some(asked) = asked => {
                    self.take(asked);
                    continue;
                }
                // Cancel safe: it is computed anew in every round.
                () = sleep_until(wake) => continue,
            };
            self.ended(lane, outcome);
        };
        // Without anybody to tell how, the session ends by itself.
        if let Some(leaving) = leaving {
            self.leave(&leaving).await;
        }
    }

    fn take(&mut self, asked: Asked) {
        let now = self.clock.now();
        match asked {
            Asked::Confirm(ask) => match self.contest.ask_for(ask.shard, now) {
                Some(number) => self.waiting.push((number, ask)),
                None => drop(ask.tell.send(None)),
            },
            Asked::Quiet(shard) => self.contest.is_quiet(shard),
            Asked::Passed(has_seen) => self.contest.passed(has_seen, now),
            Asked::Listed(has_listed) => self.contest.listed(has_listed, now),
        }
    }

    fn make_calls(&mut self) {
        let now = self.clock.now();
        if self.contest.waits_in_vain(now) {
            self.lanes[Lane::Key as usize] = None;
            self.contest.dropped(Lane::Key);
        }
        for lane in Lane::ALL {
            let slot = &mut self.lanes[lane as usize];
            if slot.is_none()
                && let Some(call) = self.contest.begin(lane, now)
            {
                let consul = Arc::clone(&self.consul);
                *slot = Some(Box::pin(async move {
                    (Asking::of(&call), consul.call(&call).await)
                }));
            }
        }
    }

    fn ended(&mut self, lane: Lane, (asking, outcome): Outcome) {
        let answer = match outcome {
            Ok(answer) => {
                let before = self.troubles.len();
                self.troubles.retain(|(other, _), _| *other != asking);
                let had_trouble = self.troubles.len() < before;
                self.forget_old_troubles();
                // A session that is renewed is of no use to a copy that cannot take the lock; but one that only has to look
                // more often, because waiting for a change fails, can.
                if self.troubles.keys().all(|(other, _)| other.waits) {
                    self.shared.answered();
                    if had_trouble {
                        tracing::info!("Consul answers again");
                    }
                }
                answer
            }
            Err(error) => {
                self.tell_trouble(asking, &error);
                Answer::Failed
            }
        };
        self.contest.ended(lane, answer, self.clock.now());
    }

    /// Once for each kind of trouble, and every ten minutes while it lasts: it is tried again every few seconds, and each try
    /// is counted.
    fn tell_trouble(&mut self, asking: Asking, error: &ConsulError) {
        let kind = error.kind();
        let text = chain(error);
        self.forget_old_troubles();
        let is_news = self.troubles.keys().all(|(_, told)| *told != kind);
        let is_old = self.told.is_none_or(|told| told.elapsed() >= AGAIN);
        if is_news || is_old {
            self.told = Some(Instant::now());
            let address = self.consul.address();
            tracing::error!(error = %text, "the lock in Consul at {address}: {text}; nothing is written by a copy that does not hold it");
        }
        self.troubles.insert((asking, kind), Instant::now());
        self.shared.failed(text);
    }

    /// What has not been tried again for a while may be well by now.
    fn forget_old_troubles(&mut self) {
        let is_recent = |at: Instant| at.elapsed() < TROUBLE;
        self.troubles.retain(|_, at| is_recent(*at));
    }

    /// Tells everybody how things stand.
    fn publish(&mut self) {
        let now = self.clock.now();
        self.contest.look(now);
        self.shared.stays_away(self.contest.stays_away(now));
        let shards = 0..self.consul.shards();
        let held = shards.map(|shard| self.contest.held_shard(shard));
        let held: Vec<Option<Held>> = held.collect();
        let is_ending = self.shutdown.is_set();
        let leads = if is_ending {
            0
        } else {
            held.iter().flatten().count()
        };
        self.metrics.leads(leads);
        if self.consul.shards() > 1 {
            self.divide(&held, is_ending);
        } else {
            let held = held.into_iter().map(|held| held.filter(|_| !is_ending));
            self.shared.hold(held.collect());
        }
        let shards = self.consul.shards();
        let behind = self.contest.behind().filter(|value| {
            // Where all copies hold it together this is one of them.
            let account = Account::read(value);
            shards == 1 || account.and_then(|account| account.shards) != Some(shards)
        });
        let collides = |value: &str| Account::collision(value, &self.apps, shards);
        self.shared.stands_behind(behind, collides);
        if let Some(renewed) = self.contest.renewed() {
            self.metrics.lock_renewed(renewed.wall);
        }
        for change in self.contest.take_changes() {
            self.tell(change);
        }
        let contest = &self.contest;
        let is_told = |(number, ask): &mut (u64, Ask)| {
            contest.confirmation_of(ask.shard, *number) != Confirmation::Pending
        };
        let told: Vec<_> = self.waiting.extract_if(.., is_told).collect();
        for (number, ask) in told {
            // A pass that ended meanwhile does not listen.
            let told = self.contest.confirmation_of(ask.shard, number);
            let _ = ask.tell.send(match told {
                Confirmation::Held(term) => Some(term),
                Confirmation::Pending | Confirmation::Unconfirmed => None,
            });
        }
    }

    /// Tells of each shard what it is to this copy: first whether writes may begin.
    fn divide(&self, held: &[Option<Held>], is_ending: bool) {
        let open = held.iter().map(|held| held.filter(|_| !is_ending));
        self.shared.hold(open.collect());
        let giving = self.contest.giving();
        let parts = held.iter().enumerate().map(|(shard, held)| match held {
            Some(_) => Part::Here,
            None if giving == Some(shard) => Part::Leaving,
            None => Part::Elsewhere,
        });
        // Without a look what was seen last stays, but not without a session: no look is to come.
        let holders = match self.contest.renewed() {
            Some(_) => self.contest.view().map(|view| {
                let is_anothers = |session: &&String| !self.contest.is_own(session);
                let holders = view.shards.iter().map(|entry| {
                    let entry = entry.as_ref()?;
                    let holder = entry.session.as_ref().filter(is_anothers);
                    holder.map(|_| entry.value.clone())
                });
                holders.collect()
            }),
            None => Some(vec![None; held.len()]),
        };
        self.shared.divide(parts.collect(), holders);
    }

    fn tell(&self, change: Change) {
        let key = self.consul.key();
        match change {
            Change::Acquired => {
                self.metrics.lock_changed(LockChange::Acquired);
                self.shared.acquired();
                tracing::info!("this copy holds the lock {key}: it writes from its next pass on");
            }
            Change::Released => {
                self.metrics.lock_changed(LockChange::Released);
                tracing::info!("this copy gives the lock {key} back");
            }
            Change::AcquiredShard(shard) => {
                self.metrics.lock_changed(LockChange::Acquired);
                self.shared.acquired();
                let shards = self.consul.shards();
                tracing::info!(
                    "this copy holds shard {shard} of {shards}: it scales the apps of it"
                );
            }
            Change::ReleasedShard(shard) => {
                self.metrics.lock_changed(LockChange::Released);
                tracing::info!("this copy gives shard {shard} back");
            }
            Change::LostShard(shard, why) => {
                let (reason, words) = (reason_of(why), why.words());
                self.metrics.lock_changed(reason);
                self.shared.lost(why);
                let next = match why {
                    Loss::Unseen | Loss::InVain | Loss::Blind => {
                        "its session ends within 45 s, and this copy competes again with another"
                    }
                    Loss::NotRenewed | Loss::SessionOver | Loss::Taken => "it competes again",
                };
                tracing::warn!(
                    reason = reason.as_str(),
                    "this copy has lost shard {shard}: {words}; {next}"
                );
            }
            Change::Gives(shard) => {
                let shards = self.consul.shards();
                tracing::info!(
                    "another copy has fewer shards: this copy gives shard {shard} of {shards} back as soon as lists have shown all that was done in it"
                );
            }
            Change::Keeps(shard) => {
                tracing::warn!(
                    "this copy keeps shard {shard}: in two minutes lists have not shown all that was done in it"
                );
            }
            Change::NeedNotGive(shard) => {
                tracing::info!("this copy keeps shard {shard}: no other copy has fewer any more");
            }
            Change::Idle => {
                let shards = self.consul.shards();
                tracing::info!("standing by: other copies hold all {shards} shards");
            }
            Change::Lost(why) => {
                let (reason, words) = (reason_of(why), why.words());
                self.metrics.lock_changed(reason);
                self.shared.lost(why);
                if why == Loss::Blind {
                    tracing::warn!(
                        reason = reason.as_str(),
                        "this copy gives the lock {key} up: {words}; its session ends within 45 s, and it competes again once they do"
                    );
                } else {
                    tracing::warn!(
                        reason = reason.as_str(),
                        "this copy has lost the lock {key}: {words}; it stands by and competes again"
                    );
                }
            }
            Change::Left(why) => {
                let words = why.words();
                let what = match self.consul.shards() {
                    1 => format!("the lock {key}"),
                    _ => "a shard".to_owned(),
                };
                tracing::warn!(
                    "this copy leaves its session, though it does not hold {what}: {words}; what that may have kept from others is free within 45 s"
                );
            }
            Change::Free => tracing::info!(
                "nobody holds the lock {key} any more: the copy that held it has given it back, or is gone"
            ),
            Change::Behind(value) => {
                let who = Account::holder(&value);
                tracing::info!("standing by: the lock {key} is held by {who}");
                let shards = self.consul.shards();
                let account = Account::read(&value);
                let differences = account.map(|account| account.differences(&self.apps, shards));
                let Some(differences) = differences else {
                    return;
                };
                if let Some(theirs) = differences.shards {
                    tracing::warn!(
                        "FAS_SHARDS differs: the holder of the lock {key} has {theirs}, and this copy {shards}; it writes nothing until no copy with {theirs} is left"
                    );
                }
                if let Some(apps) = differences.apps {
                    let own = &self.apps;
                    tracing::warn!(
                        "the holder of the lock {key} scales {apps}, and this copy {own}: copies of one FAS_LOCK_NAME take turns, so that one of the two is not scaled"
                    );
                }
            }
        }
    }

    async fn leave(&mut self, leaving: &Leaving) {
        let mut shards = 0..self.consul.shards();
        let was_held = shards.any(|shard| self.contest.held_shard(shard).is_some());
        let is_clean = |shard: usize| leaving.is_clean.get(shard).copied().unwrap_or(false);
        let mut calls = self.contest.leave_by(is_clean);
        self.lanes = NO_CALLS;
        self.publish();
        let consul = Arc::clone(&self.consul);
        let say = async |call: Call| {
            if let Err(error) = consul.call(&call).await
                && was_held
            {
                let what = match call {
                    Call::Release(_) | Call::ReleaseShard(..) => "given back",
                    _ => "ended with its session",
                };
                let text = chain(&error);
                tracing::warn!(error = %text, "the lock could not be {what}, and is free for other copies within 45 s: {text}");
            }
        };
        let say_goodbye = async {
            // The session ends when everything is given back.
            let last = calls.pop();
            join_all(calls.into_iter().map(&say)).await;
            if let Some(last) = last {
                say(last).await;
            }
        };
        // What is not said by then, Consul finds out by itself.
        let _ = timeout_at(leaving.by, say_goodbye).await;
    }
}

impl Running {
    /// Ends only where the keeper has panicked, in the same way: a daemon that cannot keep its lock would never write again,
    /// and nobody would start another in its place.
    pub async fn fail(&mut self) {
        // Cancel safe: a task that is not taken here is taken the next time.
        if let Some(Err(error)) = self.task.join_next().await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
        std::future::pending::<()>().await;
    }

    /// Gives the lock back, or each shard, where that is clean, ends the session, and returns by `by` at the latest.
    pub async fn leave(mut self, is_clean: Vec<bool>, by: Instant) {
        let _ = self.leave.send(Leaving { is_clean, by });
        let _ = timeout_at(by, self.task.join_next()).await;
    }
}

/// How it is counted that something is held no longer.
fn reason_of(why: Loss) -> LockChange {
    match why {
        Loss::NotRenewed | Loss::SessionOver | Loss::Unseen | Loss::InVain | Loss::Blind => {
            LockChange::Expired
        }
        Loss::Taken => LockChange::Taken,
    }
}

/// The next call that has ended.
async fn next(lanes: &mut Lanes) -> (Lane, Outcome) {
    poll_fn(|context| {
        for lane in Lane::ALL {
            let slot = &mut lanes[lane as usize];
            if let Some(exchange) = slot
                && let Poll::Ready(outcome) = exchange.as_mut().poll(context)
            {
                *slot = None;
                return Poll::Ready((lane, outcome));
            }
        }
        Poll::Pending
    })
    .await
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

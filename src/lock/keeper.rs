//! Keeps the lock, or waits for it: makes the calls that the contest asks for, and tells everybody what came of them.

use std::{collections::BTreeMap, sync::Arc, task::Poll, time::Duration};

use futures_util::future::{BoxFuture, poll_fn};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{
    consul::{Consul, ConsulError},
    contest::{Answer, Call, Change, Confirmation, Contest, Lane, Loss},
    gate::{Ask, Gate, Shared},
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
}

/// Keeps the lock of this copy.
pub struct Keeper {
    consul: Arc<Consul>,
    apps: String,
    clock: Clock,
    metrics: Metrics,
    shutdown: Shutdown,
    contest: Contest,
    shared: Arc<Shared>,
    asked: mpsc::UnboundedReceiver<Ask>,
    /// Who waits for which confirmation.
    waiting: Vec<(u64, Ask)>,
    lanes: [Option<Exchange>; 3],
    /// What trouble there is with which operation of Consul's, as long as it lasts.
    troubles: BTreeMap<&'static str, (&'static str, Instant)>,
}

/// What an operation came to.
type Outcome = (&'static str, Result<Answer, ConsulError>);

type Exchange = BoxFuture<'static, Outcome>;

/// A keeper at work, until this is dropped.
pub struct Running {
    task: JoinSet<()>,
    leave: oneshot::Sender<Leaving>,
}

/// How to leave.
struct Leaving {
    /// Whether nothing is under way, and lists have shown everything that was done.
    is_clean: bool,
    by: Instant,
}

/// What the holder of a lock says of itself, in the key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Its machine on Fly.
    pub machine: Option<String>,
    /// That one's region.
    pub region: Option<String>,
    /// The version of this program.
    pub version: String,
    /// Which apps it scales.
    pub apps: String,
}

impl Account {
    /// As it stands in the key.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what stands in the key.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Who it is, in words; `text` is what stands in the key.
    #[must_use]
    pub fn who(text: &str) -> String {
        let Some(account) = Self::read(text) else {
            return "somebody who does not say who it is".to_owned();
        };
        let machine = account.machine.filter(|machine| !machine.is_empty());
        let machine = machine.map_or("a copy outside of Fly".to_owned(), |id| {
            format!("machine {id}")
        });
        let region = account.region.filter(|region| !region.is_empty());
        let region = region.map_or(String::new(), |region| format!(" in {region}"));
        let version = account.version;
        format!("{machine}{region}, version {version}")
    }
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
        } = options;
        let (gate, shared, asked) = Gate::of_lock(clock);
        let keeper = Self {
            consul: Arc::new(consul),
            apps,
            contest: Contest::new(clock.now()),
            clock,
            metrics,
            shutdown,
            shared,
            asked,
            waiting: Vec::new(),
            lanes: [const { None }; 3],
            troubles: BTreeMap::new(),
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
                    self.lanes = [const { None }; 3];
                    continue;
                }
                // Cancel safe: the calls stay where they are.
                ended = next(lanes) => ended,
                // Cancel safe: who is not taken here is taken in the next round.
                Some(ask) = asked => {
                    match self.contest.ask(self.clock.now()) {
                        Some(number) => self.waiting.push((number, ask)),
                        None => drop(ask.send(None)),
                    }
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

    fn make_calls(&mut self) {
        let now = self.clock.now();
        if self.contest.waits_in_vain() {
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
                    (call.operation(), consul.call(&call).await)
                }));
            }
        }
    }

    fn ended(&mut self, lane: Lane, (operation, outcome): Outcome) {
        let answer = match outcome {
            Ok(answer) => {
                let had_trouble = self.troubles.remove(operation).is_some();
                self.forget_old_troubles();
                // A session that is renewed is of no use to a copy that cannot take the lock.
                if self.troubles.is_empty() {
                    self.shared.answered();
                    if had_trouble {
                        tracing::info!("Consul answers again");
                    }
                }
                answer
            }
            Err(error) => {
                self.tell_trouble(operation, &error);
                Answer::Failed
            }
        };
        self.contest.ended(lane, answer, self.clock.now());
    }

    /// Once for each kind of trouble: it is tried again every few seconds, and each try is counted.
    fn tell_trouble(&mut self, operation: &'static str, error: &ConsulError) {
        let kind = error.kind();
        let text = chain(error);
        self.forget_old_troubles();
        if self.troubles.values().all(|(told, _)| *told != kind) {
            let address = self.consul.address();
            tracing::error!(error = %text, "the lock in Consul at {address}: {text}; nothing is written by a copy that does not hold it");
        }
        self.troubles.insert(operation, (kind, Instant::now()));
        self.shared.failed(text);
    }

    /// What has not been tried again for a while may be well by now.
    fn forget_old_troubles(&mut self) {
        let is_recent = |at: Instant| at.elapsed() < TROUBLE;
        self.troubles.retain(|_, (_, at)| is_recent(*at));
    }

    /// Tells everybody how things stand.
    fn publish(&mut self) {
        self.contest.look(self.clock.now());
        self.shared
            .hold(self.contest.held().filter(|_| !self.shutdown.is_set()));
        self.shared.stands_behind(self.contest.behind());
        self.metrics.leads(self.contest.held().is_some());
        if let Some(renewed) = self.contest.renewed() {
            self.metrics.lock_renewed(renewed.wall);
        }
        for change in self.contest.take_changes() {
            self.tell(change);
        }
        let contest = &self.contest;
        let is_told =
            |(number, _): &mut (u64, Ask)| contest.confirmation(*number) != Confirmation::Pending;
        let told: Vec<_> = self.waiting.extract_if(.., is_told).collect();
        for (number, ask) in told {
            // A pass that ended meanwhile does not listen.
            let _ = ask.send(match self.contest.confirmation(number) {
                Confirmation::Held(term) => Some(term),
                Confirmation::Pending | Confirmation::Unconfirmed => None,
            });
        }
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
            Change::Lost(why) => {
                let reason = match why {
                    Loss::NotRenewed | Loss::SessionOver | Loss::Unseen => LockChange::Expired,
                    Loss::Taken => LockChange::Taken,
                };
                let words = why.words();
                self.metrics.lock_changed(reason);
                self.shared.lost(why);
                tracing::warn!(
                    reason = reason.as_str(),
                    "this copy has lost the lock {key}: {words}; it stands by and competes again"
                );
            }
            Change::Behind(value) => {
                let who = Account::who(&value);
                tracing::info!("standing by: the lock {key} is held by {who}");
                let apps = Account::read(&value).map(|account| account.apps);
                if let Some(apps) = apps.filter(|apps| *apps != self.apps) {
                    let own = &self.apps;
                    tracing::warn!(
                        "the holder of the lock {key} scales {apps}, and this copy {own}: copies of one FAS_LOCK_NAME take turns, so that one of the two is not scaled"
                    );
                }
            }
        }
    }

    async fn leave(&mut self, leaving: &Leaving) {
        let was_held = self.contest.held().is_some();
        let calls = self.contest.leave(leaving.is_clean);
        self.lanes = [const { None }; 3];
        self.publish();
        let consul = Arc::clone(&self.consul);
        let say_goodbye = async {
            for call in calls {
                if let Err(error) = consul.call(&call).await
                    && was_held
                {
                    let what = match call {
                        Call::Release(_) => "given back",
                        _ => "ended with its session",
                    };
                    let text = chain(&error);
                    tracing::warn!(error = %text, "the lock could not be {what}, and is free for other copies within 45 s: {text}");
                }
            }
        };
        // What is not said by then, Consul finds out by itself.
        let _ = timeout_at(leaving.by, say_goodbye).await;
    }
}

impl Running {
    /// Gives the lock back, or ends the session, and returns by `by` at the latest.
    pub async fn leave(mut self, is_clean: bool, by: Instant) {
        let _ = self.leave.send(Leaving { is_clean, by });
        let _ = timeout_at(by, self.task.join_next()).await;
    }
}

/// The next call that has ended.
async fn next(lanes: &mut [Option<Exchange>; 3]) -> (Lane, Outcome) {
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

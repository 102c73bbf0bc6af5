//! Two copies of the daemon in one world, with a lock in Consul: who writes, and when another does.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use fly_autoscaler::{
    sim::{Canned, ConsulRight, Effect, Fault, MachineState, NewMachine, Operation, Simulator},
    transport::{Transport, TransportError},
};
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tracing::Level;

use crate::world::{APP, Logs, SimTransport, World, is_of_consul};

const TOKEN: &str = "5e5a3e00-1111-4222-8333-444455556666";

const LOCK: (&str, &str) = (
    "FLY_CONSUL_URL",
    "http://:5e5a3e00-1111-4222-8333-444455556666@simulator/scaler-23sxdf/",
);

const KEY: &str = "scaler-23sxdf/fly-autoscaler/app/lock";

const CREATED: (&str, &str) = ("FAS_CREATED_MACHINE_COUNT", "queue_depth");

/// What one copy wrote, and when that was sent.
type Writes = Arc<Mutex<Vec<(usize, Duration)>>>;

/// The way from one copy to everything else.
struct Line {
    inner: SimTransport,
    who: usize,
    began: Instant,
    writes: Writes,
    no_consul: AtomicBool,
    /// Something between ends calls that wait for a change.
    no_waiting: AtomicBool,
    /// Something between refuses what changes keys, and nothing else.
    no_key_writes: AtomicBool,
    no_fly: AtomicBool,
}

impl Transport for Line {
    fn exchange(
        &self,
        request: Request<Bytes>,
        body_limit: usize,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let of_consul = is_of_consul(&path);
            let is_cut = if of_consul {
                &self.no_consul
            } else {
                &self.no_fly
            };
            let cut = || TransportError::Interrupted("cut off".into());
            let waits = request
                .uri()
                .query()
                .is_some_and(|query| query.contains("index="));
            let is_ended = waits && self.no_waiting.load(Ordering::Relaxed);
            let writes_key = path.starts_with("/v1/kv/") && request.method() != Method::GET;
            let is_refused = writes_key && self.no_key_writes.load(Ordering::Relaxed);
            if is_ended || is_refused || is_cut.load(Ordering::Relaxed) {
                return Err(cut());
            }
            if path.contains("/machines") && request.method() != Method::GET {
                let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
                writes.push((self.who, self.began.elapsed()));
            }
            let answer = self.inner.exchange(request, body_limit).await;
            if is_cut.load(Ordering::Relaxed) {
                return Err(cut());
            }
            answer
        })
    }
}

/// Copies of the daemon that share a lock.
struct Copies {
    worlds: Vec<World>,
    lines: Vec<Arc<Line>>,
    writes: Writes,
}

impl Copies {
    /// So many copies, none of them running, and an app with one machine, which is to have `depth`.
    fn new(count: usize, depth: f64, settings: &[(&str, &str)]) -> Self {
        let first = World::queue(depth, &[&[LOCK, CREATED], settings].concat());
        {
            let mut platform = first.platform();
            platform
                .add_machine(APP, NewMachine::in_region("ord"))
                .unwrap();
            platform.consul_mut().set_token(TOKEN, "scaler-23sxdf/");
        }
        let others: Vec<World> = (1..count).map(|_| first.copy()).collect();
        let worlds: Vec<World> = std::iter::once(first).chain(others).collect();
        let writes = Writes::default();
        let began = Instant::now();
        let line = |(who, world): (usize, &World)| {
            Arc::new(Line {
                inner: SimTransport(world.simulator.clone()),
                who,
                began,
                writes: Arc::clone(&writes),
                no_consul: AtomicBool::new(false),
                no_waiting: AtomicBool::new(false),
                no_key_writes: AtomicBool::new(false),
                no_fly: AtomicBool::new(false),
            })
        };
        let lines = worlds.iter().enumerate().map(line).collect();
        Self {
            worlds,
            lines,
            writes,
        }
    }

    /// All of them, which run, the first one first.
    async fn running(count: usize, depth: f64, settings: &[(&str, &str)]) -> Self {
        let mut copies = Self::new(count, depth, settings);
        for who in 0..count {
            copies.start(who);
            sleep(Duration::from_secs(1)).await;
        }
        copies
    }

    fn start(&mut self, who: usize) {
        let line = Arc::clone(&self.lines[who]);
        self.worlds[who].start_over(line);
    }

    fn simulator(&self) -> &Simulator {
        &self.worlds[0].simulator
    }

    fn depth(&self, depth: f64) {
        self.worlds[0].depth(depth);
    }

    /// Who may write, by their own account.
    fn leaders(&self) -> Vec<usize> {
        let leads = |who: &usize| {
            let world = &self.worlds[*who];
            world.is_running() && world.series("fas_leader") == Some(1.0)
        };
        (0..self.worlds.len()).filter(leads).collect()
    }

    /// Who has written since this was last asked.
    fn writers(&self) -> BTreeSet<usize> {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *writes)
            .into_iter()
            .map(|(who, _)| who)
            .collect()
    }

    /// How long it takes until this copy holds the lock.
    async fn until_leads(&self, who: usize) -> Duration {
        let began = Instant::now();
        while self.leaders() != [who] {
            assert!(began.elapsed() < Duration::from_secs(120), "it never does");
            sleep(Duration::from_millis(50)).await;
        }
        began.elapsed()
    }

    fn changes(&self, who: usize, reason: &str) -> u64 {
        self.worlds[who].count(&format!(r#"fas_lock_changes_total{{reason="{reason}"}}"#))
    }

    fn created(&self) -> usize {
        self.worlds[0].created()
    }
}

async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn one_of_two_copies_writes_and_the_other_looks_on() {
    let logs = Logs::capture();
    let copies = Copies::running(2, 4.0, &[]).await;
    pass(60).await;
    assert_eq!(copies.leaders(), [0]);
    assert_eq!(copies.writers(), BTreeSet::from([0]));
    assert_eq!(copies.created(), 4);
    copies.depth(6.0);
    pass(60).await;
    assert_eq!(copies.writers(), BTreeSet::from([0]));
    assert_eq!(copies.created(), 6);
    for world in &copies.worlds {
        assert_eq!(world.get("/readyz").await.0, 200);
    }
    // What would count double is shown by one.
    let machines = format!(r#"fas_machines{{app="{APP}",group="app",state="started"}}"#);
    assert_eq!(copies.worlds[0].series(&machines), Some(6.0));
    assert_eq!(copies.worlds[1].series(&machines), None);
    let decided = |who: usize| copies.worlds[who].count(r#"fas_reconcile_count{status="create"}"#);
    assert_eq!((decided(0), decided(1)), (2, 0));
    let at_rest =
        |who: usize| copies.worlds[who].count(r#"fas_reconcile_count{status="no_scale"}"#);
    assert!(at_rest(0) > 0);
    assert_eq!(at_rest(1), 0);
    assert_eq!(logs.with("this copy holds the lock").len(), 1);
    let standing_by =
        logs.with("standing by: the lock scaler-23sxdf/fly-autoscaler/app/lock is held by");
    assert_eq!(standing_by.len(), 1);
    assert!(logs.errors().is_empty(), "{:?}", logs.errors());
    for (name, read) in [("register_node", 1), ("create_session", 1), ("acquire", 3)] {
        let series =
            format!(r#"fas_api_requests_total{{api="consul",operation="{name}",status="ok"}}"#);
        assert_eq!(copies.worlds[0].count(&series), read, "{name}");
    }
}

/// What `/api/status` says of a copy, and its page, without what else is there.
async fn shown(world: &World) -> (Value, String) {
    let (_, _, status) = world.get("/api/status").await;
    let (_, _, page) = world.get("/").await;
    (serde_json::from_str(&status).unwrap(), page)
}

#[tokio::test(start_paused = true)]
async fn each_copy_shows_whether_it_acts_and_behind_whom_it_stands() {
    let place = [
        ("FLY_MACHINE_ID", "e2865"),
        ("FLY_REGION", "ord"),
        ("FLY_APP_NAME", "scaler"),
    ];
    let mut copies = Copies::running(2, 3.0, &place).await;
    pass(60).await;
    let (status, page) = shown(&copies.worlds[0]).await;
    assert_eq!(status["role"], "active");
    let since = status["lock"]["held_since"].as_str().unwrap();
    assert!(since.starts_with("2026-01-02T03:04:05"), "{since}");
    assert_eq!(status["lock"]["holder"], Value::Null);
    assert!(
        page.contains("This copy holds the lock: it acts. Since <time"),
        "{page}"
    );
    assert!(!page.contains("stands by"), "{page}");
    assert_eq!(copies.worlds[0].get("/readyz").await.2, "ready\n");

    copies.depth(4.0);
    copies.lines[0].no_fly.store(true, Ordering::Relaxed);
    pass(30).await;
    let version = env!("CARGO_PKG_VERSION");
    let (status, page) = shown(&copies.worlds[1]).await;
    assert_eq!(status["role"], "standby");
    assert_eq!(status["lock"]["held_since"], Value::Null);
    assert_eq!(
        status["lock"]["holder"],
        json!({"machine": "e2865", "region": "ord", "version": version, "apps": APP})
    );
    let sentence = format!(
        "This copy stands by and changes nothing: the lock is held by machine e2865 in ord, version {version}."
    );
    assert_eq!(status["lock"]["sentence"], sentence);
    assert!(page.contains(&sentence), "{page}");
    assert!(
        page.contains("Nothing that is shown here was done by it"),
        "{page}"
    );
    // What it would do is no more than that.
    assert!(
        page.contains("Standing by, would create 1 machine"),
        "{page}"
    );
    let decision = &status["fleets"][0]["decision"];
    assert_eq!(decision["decision"], "no_scale", "{decision}");
    assert_eq!(
        copies.worlds[1].get("/readyz").await.2,
        "ready (standing by: this copy changes nothing)\n"
    );

    // Without Consul it is not known who holds the lock, and how this one lost it is.
    for line in &copies.lines {
        line.no_consul.store(true, Ordering::Relaxed);
    }
    let cut = copies.worlds[0].admin.status.clock().now().wall;
    pass(30).await;
    let (status, page) = shown(&copies.worlds[0]).await;
    assert_eq!(status["role"], "standby");
    assert_eq!(status["lock"]["holder"], Value::Null);
    assert_eq!(
        status["lock"]["lost_reason"],
        "it could not be renewed in time, or the machine was suspended"
    );
    let lost: jiff::Timestamp = status["lock"]["lost_at"].as_str().unwrap().parse().unwrap();
    let after = lost.duration_since(cut).as_secs_f64();
    assert!((5.0..=10.0).contains(&after), "{after}");
    assert!(page.contains("nobody is known to hold the lock"), "{page}");
    assert!(page.contains("It lost the lock at <time"), "{page}");
    let since = status["lock"]["consul_silent_since"].as_str().unwrap();
    let since: jiff::Timestamp = since.parse().unwrap();
    let before = cut.duration_since(since).as_secs_f64();
    assert!((0.0..=5.0).contains(&before), "{before}");
    assert!(page.contains("Consul is of no use: no copy"), "{page}");
    assert!(page.contains("the connection was lost"), "{page}");

    for line in &copies.lines {
        line.no_consul.store(false, Ordering::Relaxed);
    }
    copies.lines[0].no_fly.store(false, Ordering::Relaxed);
    pass(60).await;
    let leader = copies.leaders()[0];
    let (status, page) = shown(&copies.worlds[leader]).await;
    assert_eq!(status["lock"]["lost_at"], Value::Null);
    assert_eq!(status["lock"]["consul_silent_since"], Value::Null);
    assert!(!page.contains("lost the lock"), "{page}");
    assert!(!page.contains("Consul is of no use"), "{page}");
    copies.worlds[leader].stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_lock_nobody_asks_consul_and_in_a_dry_run_nobody_either() {
    for (name, settings, leads) in [
        ("none", &[("FAS_LOCK_URL", "none")], 1.0),
        ("dry run", &[("FAS_DRY_RUN", "true")], 0.0),
    ] {
        let copies = Copies::running(1, 3.0, settings).await;
        pass(60).await;
        let asked = {
            let platform = copies.simulator().platform();
            let asked = platform.requests().iter();
            let of_consul = asked.filter(|request| request.operation.is_of_consul());
            of_consul.count()
        };
        assert_eq!(asked, 0, "{name}");
        assert_eq!(copies.worlds[0].series("fas_leader"), Some(leads), "{name}");
        assert_eq!(copies.worlds[0].get("/readyz").await.0, 200, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_hands_over_at_once() {
    let mut copies = Copies::running(2, 3.0, &[]).await;
    // Until lists have shown what was done.
    pass(60).await;
    let took = copies.worlds[0].stop().await;
    assert!(took < Duration::from_millis(500), "{took:?}");
    let took = copies.until_leads(1).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(copies.changes(0, "released"), 1);
    copies.writers();
    copies.depth(5.0);
    pass(16).await;
    assert_eq!(copies.writers(), BTreeSet::from([1]));
    assert_eq!(copies.created(), 5);
    let platform = copies.simulator().platform();
    assert_eq!(
        platform.consul().sessions().count(),
        1,
        "the other is ended"
    );
}

#[tokio::test(start_paused = true)]
async fn who_leaves_what_no_list_shows_leaves_the_lock_delay_between() {
    let mut copies = Copies::running(2, 3.0, &[]).await;
    pass(60).await;
    // Lists lag from now on, so that what is made now is not seen.
    let lag = Duration::from_secs(40);
    copies.simulator().platform().set_list_lag(APP, lag);
    copies.depth(5.0);
    pass(16).await;
    assert_eq!(copies.created(), 5);
    copies.worlds[0].stop().await;
    let took = copies.until_leads(1).await;
    assert!(took > Duration::from_secs(14), "{took:?}");
    assert!(took < Duration::from_secs(17), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_a_call_under_way_leaves_the_lock_delay_between() {
    let mut copies = Copies::running(2, 1.0, &[]).await;
    pass(60).await;
    let hanging = Fault::new(Effect::HangAfter).on(Operation::Create);
    copies.simulator().platform().add_fault(hanging.once());
    copies.depth(2.0);
    while copies.worlds[0].requests(Operation::Create) == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    let took = copies.worlds[0].stop().await;
    assert!(took >= Duration::from_secs(4), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let took = copies.until_leads(1).await;
    assert!(took > Duration::from_secs(14), "{took:?}");
    assert!(took < Duration::from_secs(17), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_killed_is_followed_within_forty_seven_seconds() {
    let mut copies = Copies::running(2, 3.0, &[]).await;
    pass(30).await;
    copies.worlds[0].kill().await;
    copies.writers();
    copies.depth(5.0);
    let took = copies.until_leads(1).await;
    assert!(took > Duration::from_secs(25), "{took:?}");
    assert!(took < Duration::from_secs(47), "{took:?}");
    assert_eq!(copies.writers(), BTreeSet::new());
    pass(16).await;
    assert_eq!(copies.writers(), BTreeSet::from([1]));
    assert_eq!(copies.created(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_holder_without_consul_stops_after_ten_seconds_and_competes_again() {
    let logs = Logs::capture();
    let copies = Copies::running(2, 3.0, &[]).await;
    pass(30).await;
    copies.lines[0].no_consul.store(true, Ordering::Relaxed);
    let began = Instant::now();
    while copies.leaders() == [0] {
        sleep(Duration::from_millis(50)).await;
    }
    let took = began.elapsed();
    assert!(took <= Duration::from_secs(10), "{took:?}");
    assert!(took > Duration::from_secs(5), "{took:?}");
    copies.until_leads(1).await;
    let all = began.elapsed();
    assert!(all < Duration::from_secs(47), "{all:?}");
    assert_eq!(copies.changes(0, "expired"), 1);
    copies.depth(5.0);
    pass(30).await;
    assert_eq!(copies.created(), 5);
    pass(30).await;
    let (status, _, why) = copies.worlds[0].get("/readyz").await;
    assert_eq!(status, 503);
    assert!(why.contains("Consul has been of no use for"), "{why}");
    assert_eq!(copies.worlds[1].get("/readyz").await.0, 200);
    copies.lines[0].no_consul.store(false, Ordering::Relaxed);
    pass(30).await;
    assert_eq!(copies.leaders(), [1]);
    assert_eq!(copies.worlds[0].get("/readyz").await.0, 200);
    // Once each, whatever was tried meanwhile.
    assert_eq!(logs.with("the connection was lost").len(), 1);
    assert_eq!(logs.with("this copy has lost the lock").len(), 1);
    assert_eq!(logs.with("Consul answers again").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_writes_while_consul_is_away_and_everybody_goes_on_looking() {
    let copies = Copies::new(2, 3.0, &[]);
    copies.simulator().platform().consul_mut().set_leader(false);
    let mut copies = copies;
    for who in 0..2 {
        copies.start(who);
    }
    pass(120).await;
    assert_eq!(copies.leaders(), [0_usize; 0]);
    assert_eq!(copies.writers(), BTreeSet::new());
    assert!(copies.worlds[0].requests(Operation::List) > 12);
    assert_eq!(copies.worlds[0].get("/readyz").await.0, 503);
    copies.simulator().platform().consul_mut().set_leader(true);
    pass(30).await;
    assert_eq!(copies.leaders().len(), 1);
    assert_eq!(copies.created(), 3);
    // A minute without a leader later the lock is as it was or has passed on; nothing was done twice.
    copies.simulator().platform().consul_mut().set_leader(false);
    copies.depth(5.0);
    pass(60).await;
    assert_eq!(copies.created(), 3);
    copies.simulator().platform().consul_mut().set_leader(true);
    pass(60).await;
    assert_eq!(copies.created(), 5);
    assert_eq!(copies.leaders().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_holder_without_fly_keeps_the_lock_for_two_minutes_and_leaves_it_to_one_that_sees() {
    let logs = Logs::capture();
    let copies = Copies::running(2, 3.0, &[]).await;
    pass(60).await;
    copies.lines[0].no_fly.store(true, Ordering::Relaxed);
    copies.depth(5.0);
    pass(110).await;
    assert_eq!((copies.leaders(), copies.created()), (vec![0], 3));
    // At most an interval and the timeout until a pass has failed, and 45 s until Consul knows that the holder is gone.
    pass(15 + 10 + 10 + 45 + 15).await;
    assert_eq!((copies.leaders(), copies.created()), (vec![1], 5));
    assert_eq!(copies.changes(0, "expired"), 1);
    let told = "its passes see none of Fly's machines, which those of another copy may";
    assert_eq!(logs.with(told).len(), 1);
    let (status, _, text) = copies.worlds[0].get("/readyz").await;
    assert_eq!(status, 503, "{text}");
    // It competes again as soon as it sees, and is as ready as any other that stands by.
    copies.lines[0].no_fly.store(false, Ordering::Relaxed);
    pass(30).await;
    let (status, _, text) = copies.worlds[0].get("/readyz").await;
    assert_eq!(status, 200, "{text}");
    copies.lines[1].no_consul.store(true, Ordering::Relaxed);
    pass(60).await;
    assert_eq!(copies.leaders(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_list_the_apps_leaves_the_lock_to_one_that_can() {
    let every = [("FAS_APP_NAME", "my-target-*"), ("FAS_ORG", "acme")];
    let mut copies = Copies::new(2, 3.0, &every);
    copies.lines[0].no_fly.store(true, Ordering::Relaxed);
    copies.start(0);
    pass(60).await;
    assert_eq!(copies.leaders(), [0], "it may be well in a moment");
    copies.start(1);
    pass(120 + 45 + 30).await;
    assert_eq!(copies.leaders(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_confirm_the_lock_leaves_it_to_one_that_can() {
    let logs = Logs::capture();
    let copies = Copies::running(2, 3.0, &[]).await;
    pass(60).await;
    copies.lines[0].no_key_writes.store(true, Ordering::Relaxed);
    pass(300).await;
    assert_eq!(copies.leaders(), [0], "nothing is to be done");
    copies.depth(5.0);
    // A pass finds that out, and a minute later the session is left to end.
    pass(15 + 65 + 45 + 15).await;
    assert_eq!((copies.leaders(), copies.created()), (vec![1], 5));
    let told = "what Consul has for this copy could not be taken, given back or confirmed";
    assert_eq!(logs.with(told).len(), 1);
    assert_eq!(copies.changes(0, "expired"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_for_which_waiting_for_a_change_always_fails_works_and_says_so_once() {
    let logs = Logs::capture();
    let copies = Copies::running(1, 3.0, &[]).await;
    pass(60).await;
    copies.lines[0].no_waiting.store(true, Ordering::Relaxed);
    pass(300).await;
    copies.depth(5.0);
    pass(30).await;
    assert_eq!((copies.leaders(), copies.created()), (vec![0], 5));
    let (status, _, text) = copies.worlds[0].get("/readyz").await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(logs.with("the lock in Consul at").len(), 1);
    assert_eq!(logs.with("Consul answers again").len(), 0);
    copies.lines[0].no_waiting.store(false, Ordering::Relaxed);
    pass(30).await;
    assert_eq!(logs.with("Consul answers again").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_empty_by_mistake_and_then_fails_leaves_the_lock_to_others() {
    let every = [("FAS_APP_NAME", "my-target-*"), ("FAS_ORG", "acme")];
    let copies = Copies::running(2, 3.0, &every).await;
    pass(90).await;
    assert_eq!(copies.leaders(), [0]);
    let empty = Effect::Answer(Canned::json(200, r#"{"apps":[]}"#));
    let empty = Fault::new(empty).on(Operation::ListApps);
    copies.simulator().platform().add_fault(empty.once());
    pass(55).await;
    copies.lines[0].no_fly.store(true, Ordering::Relaxed);
    pass(60 + 120 + 45 + 30).await;
    assert_eq!(copies.leaders(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_holder_without_fly_gives_the_lock_back_when_it_ends() {
    let mut copies = Copies::running(2, 3.0, &[]).await;
    pass(60).await;
    copies.lines[0].no_fly.store(true, Ordering::Relaxed);
    pass(60).await;
    assert_eq!(copies.leaders(), [0]);
    copies.worlds[0].stop().await;
    let took = copies.until_leads(1).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_deleted_or_overwritten_by_hand_is_taken_again_and_nothing_done_twice() {
    let copies = Copies::running(2, 3.0, &[]).await;
    pass(30).await;
    copies
        .simulator()
        .platform()
        .consul_mut()
        .write_key(KEY, "graffiti");
    pass(2).await;
    // Whoever writes to the key resets the number of its locks, and leaves the session.
    assert_eq!(copies.leaders(), [0]);
    assert_eq!(copies.changes(0, "taken"), 1);
    copies.simulator().platform().consul_mut().delete_key(KEY);
    copies.depth(5.0);
    pass(2).await;
    assert_eq!(copies.changes(0, "taken"), 2);
    assert_eq!(copies.leaders().len(), 1);
    pass(30).await;
    assert_eq!(copies.created(), 5);
    let platform = copies.simulator().platform();
    let holder = platform.consul().holder(KEY);
    assert!(holder.is_some());
    let value = platform.consul().value(KEY).unwrap();
    assert!(value.contains(r#""apps":"my-target-app""#), "{value}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_ended_by_hand_costs_a_lock_delay() {
    let copies = Copies::running(1, 3.0, &[]).await;
    pass(30).await;
    {
        let mut platform = copies.simulator().platform();
        let session = platform.consul().holder(KEY).unwrap().to_owned();
        platform.consul_mut().end_session(&session);
    }
    pass(5).await;
    assert_eq!(copies.leaders(), [0_usize; 0]);
    let took = copies.until_leads(0).await;
    assert!(took > Duration::from_secs(8), "{took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_is_named_once_and_nothing_is_written() {
    for (right, rule) in [
        (
            ConsulRight::Node,
            r#"node_prefix "scaler-23sxdf/" { policy = "write" }"#,
        ),
        (
            ConsulRight::Session,
            r#"session_prefix "scaler-23sxdf/" { policy = "write" }"#,
        ),
        (
            ConsulRight::ReadKey,
            r#"key_prefix "scaler-23sxdf/" { policy = "write" }"#,
        ),
        (
            ConsulRight::WriteKey,
            r#"key_prefix "scaler-23sxdf/" { policy = "write" }"#,
        ),
    ] {
        let logs = Logs::capture();
        let mut copies = Copies::new(1, 3.0, &[]);
        copies
            .simulator()
            .platform()
            .consul_mut()
            .set_right(right, false);
        copies.start(0);
        pass(60).await;
        let errors = logs.errors();
        assert_eq!(errors.len(), 1, "{right:?} {errors:?}");
        assert!(errors[0].message.contains(rule), "{errors:?}");
        assert_eq!(copies.writers(), BTreeSet::new(), "{right:?}");
        // Its session may be renewed all the while.
        pass(15).await;
        let (status, _, why) = copies.worlds[0].get("/readyz").await;
        assert_eq!(status, 503, "{right:?} {why}");
        assert!(why.contains(rule), "{why}");
        copies
            .simulator()
            .platform()
            .consul_mut()
            .set_right(right, true);
        pass(30).await;
        assert_eq!(copies.created(), 3, "{right:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_consul_and_a_wrong_token_are_said_in_words() {
    let html = || Effect::Answer(Canned::html(200));
    let cases: [(&str, Option<Effect>, &str); 3] = [
        (
            "an HTML page",
            Some(html()),
            "no Consul answers at http://simulator: its answer is not what Consul's is: an HTML page",
        ),
        (
            "404",
            Some(Effect::Answer(Canned::status(404))),
            "no Consul answers at http://simulator: HTTP 404",
        ),
        (
            "another token",
            None,
            "the token is not accepted (HTTP 403: ACL not found)",
        ),
    ];
    for (name, effect, words) in cases {
        let logs = Logs::capture();
        let mut copies = Copies::new(1, 3.0, &[]);
        {
            let mut platform = copies.simulator().platform();
            match effect {
                Some(effect) => {
                    platform.add_fault(Fault::new(effect).on(Operation::RegisterNode));
                }
                None => platform.consul_mut().set_token("another", "scaler-23sxdf/"),
            }
        }
        copies.start(0);
        pass(60).await;
        let errors = logs.errors();
        assert_eq!(errors.len(), 1, "{name} {errors:?}");
        assert!(errors[0].message.contains(words), "{name} {errors:?}");
        for line in logs.lines() {
            assert!(!line.message.contains(TOKEN), "{name}: {}", line.message);
        }
        assert_eq!(copies.writers(), BTreeSet::new(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_lost_or_late_make_no_two_holders() {
    for operation in [
        Operation::OpenSession,
        Operation::RenewSession,
        Operation::WriteKey,
        Operation::ReadKey,
    ] {
        for effect in [
            Effect::LoseAnswer,
            Effect::HangAfter,
            Effect::SlowAnswer(Duration::from_secs(4)),
            Effect::Answer(Canned::status(500)),
            Effect::Answer(Canned::garbage(200)),
        ] {
            let what = format!("{operation:?} {effect:?}");
            let copies = Copies::new(2, 3.0, &[]);
            copies
                .simulator()
                .platform()
                .add_fault(Fault::new(effect).on(operation).times(3));
            let mut copies = copies;
            for who in 0..2 {
                copies.start(who);
            }
            for _ in 0..120 {
                sleep(Duration::from_millis(500)).await;
                assert!(copies.leaders().len() < 2, "{what}");
            }
            pass(30).await;
            assert_eq!(copies.leaders().len(), 1, "{what}");
            assert_eq!(copies.created(), 3, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_that_is_not_answered_keeps_the_pass_from_acting() {
    let logs = Logs::capture();
    let copies = Copies::running(1, 1.0, &[]).await;
    pass(30).await;
    let fault = Fault::new(Effect::HangAfter).on(Operation::WriteKey);
    let fault = copies.simulator().platform().add_fault(fault);
    copies.depth(3.0);
    pass(30).await;
    assert_eq!(copies.leaders(), [0], "renewals go on");
    assert_eq!(copies.writers(), BTreeSet::new());
    let said = logs.with("this copy cannot confirm that it holds the lock");
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].level, Level::WARN);
    copies.simulator().platform().remove_fault(fault);
    pass(16).await;
    assert_eq!(copies.created(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_standby_behind_another_pattern_says_so() {
    let logs = Logs::capture();
    let mut copies = Copies::running(1, 1.0, &[]).await;
    pass(5).await;
    let stranger = r#"{"machine":"148e","region":"ord","version":"0.1.0","apps":"web-*"}"#;
    copies.worlds[0].stop().await;
    {
        let mut platform = copies.simulator().platform();
        platform.consul_mut().lock_key(KEY, stranger);
    }
    copies.start(0);
    pass(5).await;
    let lines = logs.with("is held by machine 148e in ord, version 0.1.0");
    assert_eq!(lines.len(), 1);
    let warnings = logs.with("scales web-*, and this copy my-target-app");
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].level, Level::WARN);
}

#[tokio::test(start_paused = true)]
async fn a_write_takes_no_longer_than_the_lock_lets_it() {
    let copies = Copies::running(1, 1.0, &[("FAS_TIMEOUT", "120s")]).await;
    {
        let mut platform = copies.simulator().platform();
        let stopped = NewMachine::in_region("ord").state(MachineState::Stopped);
        platform.add_machine(APP, stopped).unwrap();
        platform.add_fault(Fault::new(Effect::Hang).on(Operation::Create));
    }
    copies.depth(3.0);
    pass(30).await;
    let asked = copies.worlds[0].requests(Operation::Create);
    let timed_out = copies.worlds[0].count(
        r#"fas_api_requests_total{api="machines",operation="create_machine",status="timeout"}"#,
    );
    assert_eq!((asked, timed_out), (1, 1));
}

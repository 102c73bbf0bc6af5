//! Copies of the daemon that divide many apps among them: who scales which, and when another copy does.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use fly_autoscaler::{
    lock::shard_of,
    sim::{NewMachine, Options, Simulator},
    transport::{Transport, TransportError},
};
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tracing::Level;

use crate::world::{Logs, SimTransport, World, is_of_consul, lock};

pub(crate) const TOKEN: &str = "5e5a3e00-1111-4222-8333-444455556666";

const LOCK: (&str, &str) = (
    "FLY_CONSUL_URL",
    "http://:5e5a3e00-1111-4222-8333-444455556666@simulator/shop/",
);

/// The key that all copies hold together, or one without shards alone.
pub(crate) const COMMON: &str = "shop/fly-autoscaler/app/lock";

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The key of a shard.
pub(crate) fn key(shard: usize, shards: usize) -> String {
    format!("{COMMON}/{shards}/{shard}")
}

/// What a request is, as far as the rules care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A session is opened or renewed; whether it is the one that all copies renew.
    Renew(bool),
    /// A key is locked.
    Acquire(String),
    Release(String),
    Destroy,
    /// All keys are read.
    Keys,
    /// The machines of an app.
    List(String),
    /// A machine of an app is changed.
    Write(String),
    Other,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// It was done; with the machines that it shows.
    Yes(BTreeSet<String>),
    /// It surely was not.
    No,
    /// Nobody knows.
    Nothing,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    /// Which copy, in which of its lives.
    pub(crate) by: (usize, u32),
    pub(crate) at: Duration,
    pub(crate) what: What,
    pub(crate) told: Option<(Duration, Told)>,
}

#[derive(Default)]
pub(crate) struct Record {
    pub(crate) sent: Vec<Sent>,
    /// The sessions that belong to all copies.
    common: BTreeSet<String>,
}

/// What a copy is cut off from.
#[derive(Default)]
pub(crate) struct Cuts {
    pub(crate) consul: AtomicBool,
    pub(crate) fly: AtomicBool,
}

/// The way from one copy to everything else.
struct Line {
    inner: SimTransport,
    by: (usize, u32),
    began: Instant,
    record: Arc<Mutex<Record>>,
    cuts: Arc<Cuts>,
    /// Whether reading is kept too.
    keeps_all: bool,
}

impl Line {
    fn what(&self, request: &Request<Bytes>) -> What {
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let is_get = request.method() == Method::GET;
        let app = || path.split('/').nth(3).unwrap_or_default().to_owned();
        let key = || path.trim_start_matches("/v1/kv/").to_owned();
        if path == "/v1/session/create" {
            let body = String::from_utf8_lossy(request.body());
            return What::Renew(body.contains("/all\""));
        }
        if let Some(id) = path.strip_prefix("/v1/session/renew/") {
            return What::Renew(lock(&self.record).common.contains(id));
        }
        match path {
            _ if path.starts_with("/v1/session/destroy/") => What::Destroy,
            _ if query.starts_with("acquire=") => What::Acquire(key()),
            _ if query.starts_with("release=") => What::Release(key()),
            _ if path.starts_with("/v1/kv/") => What::Keys,
            _ if path.ends_with("/machines") && is_get => What::List(app()),
            _ if path.starts_with("/v1/apps/") && !is_get => What::Write(app()),
            _ => What::Other,
        }
    }
}

fn told(what: &What, answer: &Response<Bytes>) -> Told {
    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let ids = match &body {
        Value::Array(machines) => machines.iter().collect(),
        one => vec![one],
    };
    let ids = ids.into_iter().filter_map(|one| one["id"].as_str());
    let ids = ids.map(str::to_owned).collect();
    let locks = matches!(what, What::Acquire(_) | What::Release(_));
    match answer.status().as_u16() {
        200..=299 if locks && body != Value::Bool(true) => Told::No,
        200..=299 => Told::Yes(ids),
        408 | 500..=599 => Told::Nothing,
        _ => Told::No,
    }
}

impl Transport for Line {
    fn exchange(
        &self,
        request: Request<Bytes>,
        body_limit: usize,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        Box::pin(async move {
            let what = self.what(&request);
            let of_consul = is_of_consul(request.uri().path());
            let is_cut = || {
                let Cuts { consul, fly } = &*self.cuts;
                let cut = if of_consul { consul } else { fly };
                cut.load(Ordering::Relaxed)
            };
            let is_kept = self.keeps_all || matches!(what, What::Write(_));
            let place = is_kept.then(|| {
                let sent = &mut lock(&self.record).sent;
                sent.push(Sent {
                    by: self.by,
                    at: self.began.elapsed(),
                    what: what.clone(),
                    told: None,
                });
                sent.len() - 1
            });
            let cut = || TransportError::Interrupted("cut off".into());
            let was_cut = is_cut();
            let answer = if was_cut {
                Err(cut())
            } else {
                self.inner.exchange(request, body_limit).await
            };
            if let (What::Renew(true), Ok(answer)) = (&what, &answer) {
                let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
                let id = body["ID"].as_str().map(str::to_owned);
                lock(&self.record).common.extend(id);
            }
            let answer = if is_cut() { Err(cut()) } else { answer };
            let told = match &answer {
                _ if was_cut => Told::No,
                Ok(answer) => told(&what, answer),
                Err(error) if error.was_not_sent() => Told::No,
                Err(_) => Told::Nothing,
            };
            if let Some(place) = place {
                lock(&self.record).sent[place].told = Some((self.began.elapsed(), told));
            }
            answer
        })
    }
}

/// Copies that divide the apps of a shop.
pub(crate) struct Shop {
    pub(crate) worlds: Vec<World>,
    pub(crate) shards: usize,
    pub(crate) apps: Vec<String>,
    lives: Vec<u32>,
    pub(crate) cuts: Vec<Arc<Cuts>>,
    pub(crate) record: Arc<Mutex<Record>>,
    pub(crate) began: Instant,
    pub(crate) keeps_all: bool,
    /// How many of what was sent have been looked at.
    looked_at: Cell<usize>,
}

impl Shop {
    /// So many copies, none of them running, and so many apps with one machine each, which are to have two.
    pub(crate) fn new(copies: usize, shards: usize, apps: usize, options: &Options) -> Self {
        let number = shards.to_string();
        let settings = [
            LOCK,
            ("FAS_APP_NAME", "shop-*"),
            ("FAS_ORG", "acme"),
            ("FAS_SHARDS", number.as_str()),
            ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
            ("FAS_DESTROY_RUNNING_AFTER", "0s"),
        ];
        let first = World::queue_with_options(2.0, &settings, options);
        let apps: Vec<String> = (0..apps).map(|number| format!("shop-{number}")).collect();
        {
            let mut platform = first.platform();
            for app in &apps {
                platform.add_app(app, "acme");
                let machine = NewMachine::in_region("ord");
                platform.add_machine(app, machine).unwrap();
                platform.set_gauge(app, "queue_depth", Some(2.0));
            }
            platform.consul_mut().set_token(TOKEN, "shop/");
        }
        let others: Vec<World> = (1..copies).map(|_| first.copy()).collect();
        Self {
            worlds: std::iter::once(first).chain(others).collect(),
            shards,
            apps,
            lives: vec![0; copies],
            cuts: (0..copies).map(|_| Arc::default()).collect(),
            record: Arc::default(),
            began: Instant::now(),
            keeps_all: true,
            looked_at: Cell::new(0),
        }
    }

    /// All of them, which run, one after another.
    async fn running(copies: usize, shards: usize, apps: usize) -> Self {
        let mut shop = Self::new(copies, shards, apps, &Options::default());
        for who in 0..copies {
            shop.start(who);
            sleep(Duration::from_millis(10)).await;
        }
        shop
    }

    pub(crate) fn start(&mut self, who: usize) {
        self.lives[who] += 1;
        let line = Line {
            inner: SimTransport(self.simulator().clone()),
            by: (who, self.lives[who]),
            began: self.began,
            record: Arc::clone(&self.record),
            cuts: Arc::clone(&self.cuts[who]),
            keeps_all: self.keeps_all,
        };
        self.worlds[who].start_over(Arc::new(line));
    }

    pub(crate) fn simulator(&self) -> &Simulator {
        &self.worlds[0].simulator
    }

    fn shard_of(&self, app: &str) -> usize {
        shard_of(app, self.shards)
    }

    pub(crate) fn depth(&self, app: &str, depth: u32) {
        let mut platform = self.worlds[0].platform();
        platform.set_gauge(app, "queue_depth", Some(f64::from(depth)));
    }

    pub(crate) fn created(&self, app: &str) -> usize {
        self.worlds[0].platform().living(app, "app")
    }

    /// How many shards each copy holds, by its own account.
    pub(crate) fn held(&self) -> Vec<usize> {
        let held = self.worlds.iter().map(|world| {
            // Without the series of all apps, which are many.
            let mut text = String::new();
            world.admin.metrics.write(&mut text);
            let mut lines = text.lines();
            let leads = lines.find_map(|line| line.strip_prefix("fas_leader "));
            let leads = leads.filter(|_| world.is_running());
            leads.map_or(0, |leads| leads.parse().unwrap())
        });
        held.collect()
    }

    /// How long it takes until the copies hold so many, in whatever order.
    async fn until_held(&self, expected: &[usize]) -> Duration {
        let began = Instant::now();
        loop {
            let mut held = self.held();
            held.sort_unstable();
            if held == expected {
                return began.elapsed();
            }
            assert!(began.elapsed() < 1200 * SECOND, "{held:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Which copies have written to each app since this was last asked.
    fn writers(&self) -> BTreeMap<String, BTreeSet<usize>> {
        let sent = &lock(&self.record).sent;
        let mut writers: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for sent in &sent[self.looked_at.replace(sent.len())..] {
            if let What::Write(app) = &sent.what {
                writers.entry(app.clone()).or_default().insert(sent.by.0);
            }
        }
        writers
    }

    /// Whose copy's `/metrics` show an app.
    fn shown_by(&self, app: &str) -> Vec<usize> {
        let series = format!(r#"fas_machines{{app="{app}",group="app",state="started"}}"#);
        let worlds = self.worlds.iter().enumerate();
        worlds
            .filter(|(_, world)| world.is_running() && world.series(&series).is_some())
            .map(|(who, _)| who)
            .collect()
    }

    fn changes(&self, who: usize, reason: &str) -> u64 {
        self.worlds[who].count(&format!(r#"fas_lock_changes_total{{reason="{reason}"}}"#))
    }
}

async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn each_copy_scales_the_apps_of_its_shards_and_no_others() {
    let logs = Logs::capture();
    let shop = Shop::running(2, 4, 24).await;
    let took = shop.until_held(&[2, 2]).await;
    assert!(took < 3 * SECOND, "{took:?}");
    pass(60).await;
    assert!(shop.apps.iter().all(|app| shop.created(app) == 2));
    let writers = shop.writers();
    assert_eq!(writers.len(), 24);
    let mut of_shard: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (app, writers) in &writers {
        let of_shard = of_shard.entry(shop.shard_of(app)).or_default();
        of_shard.extend(writers);
    }
    assert_eq!(of_shard.len(), 4, "each has apps");
    assert!(of_shard.values().all(|who| who.len() == 1), "{of_shard:?}");
    for (app, writers) in &writers {
        // One copy shows it, and the other says where it is.
        let here = *writers.first().unwrap();
        assert_eq!(shop.shown_by(app), [here], "{app}");
        let path = format!("/app/{app}");
        assert_eq!(shop.worlds[here].get(&path).await.0, 200);
        let (status, _, page) = shop.worlds[1 - here].get(&path).await;
        let shard = shop.shard_of(app);
        assert_eq!(status, 404);
        let place = format!("it belongs to shard {shard} of 4, which a copy outside of Fly");
        assert!(page.contains(&place), "{page}");
    }
    for world in &shop.worlds {
        assert_eq!(world.get("/readyz").await.0, 200);
    }
    assert_eq!(logs.with("this copy holds shard").len(), 4);
    assert!(logs.errors().is_empty(), "{:?}", logs.errors());
}

#[tokio::test(start_paused = true)]
async fn more_copies_than_shards_stand_by_ready() {
    let logs = Logs::capture();
    let mut shop = Shop::running(3, 2, 6).await;
    shop.until_held(&[0, 1, 1]).await;
    pass(60).await;
    for world in &shop.worlds {
        assert_eq!(world.get("/readyz").await.0, 200);
    }
    assert_eq!(
        logs.with("standing by: other copies hold all 2 shards")
            .len(),
        1
    );
    let holder = shop.held().iter().position(|held| *held == 1).unwrap();
    shop.worlds[holder].stop().await;
    let took = shop.until_held(&[0, 1, 1]).await;
    assert!(took < SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn copies_that_have_lost_fly_and_consul_go_on_when_both_are_back() {
    for with_consul in [true, false] {
        let shop = Shop::running(2, 4, 8).await;
        shop.until_held(&[2, 2]).await;
        pass(30).await;
        let cut_off = |fly: bool, consul: bool| {
            for cuts in &shop.cuts {
                cuts.fly.store(fly, Ordering::Relaxed);
                cuts.consul.store(consul, Ordering::Relaxed);
            }
        };
        cut_off(true, false);
        // A pass of each fails first.
        pass(30).await;
        cut_off(true, with_consul);
        // Either loses all shards: for Consul, or for what its passes see.
        pass(if with_consul { 120 } else { 140 }).await;
        assert_eq!(shop.held(), [0, 0], "{with_consul}");
        cut_off(false, false);
        let took = shop.until_held(&[2, 2]).await;
        assert!(took < 420 * SECOND, "{with_consul}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_hands_shards_over_within_a_second() {
    let mut shop = Shop::running(3, 6, 24).await;
    shop.until_held(&[2, 2, 2]).await;
    // Until lists have shown what was done.
    pass(90).await;
    let took = shop.worlds[0].stop().await;
    assert!(took < Duration::from_millis(500), "{took:?}");
    let took = shop.until_held(&[0, 3, 3]).await;
    assert!(took < SECOND, "{took:?}");
    assert_eq!(shop.changes(0, "released"), 2);
    shop.writers();
    for app in &shop.apps {
        shop.depth(app, 3);
    }
    pass(31).await;
    assert!(shop.apps.iter().all(|app| shop.created(app) == 3));
    let writers = shop.writers();
    assert!(writers.values().all(|who| !who.contains(&0)), "{writers:?}");
}

#[tokio::test(start_paused = true)]
async fn shards_of_a_copy_that_is_killed_are_taken_within_forty_seven_seconds() {
    let mut shop = Shop::running(3, 6, 12).await;
    shop.until_held(&[2, 2, 2]).await;
    pass(60).await;
    shop.worlds[0].kill().await;
    let took = shop.until_held(&[0, 3, 3]).await;
    assert!(took > 25 * SECOND && took < 47 * SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_joins_gets_a_shard_a_minute_and_nothing_is_written_twice() {
    let mut shop = Shop::running(1, 4, 12).await;
    shop.worlds.push(shop.worlds[0].copy());
    shop.lives.push(0);
    shop.cuts.push(Arc::default());
    shop.until_held(&[0, 4]).await;
    pass(60).await;
    shop.start(1);
    let took = shop.until_held(&[2, 2]).await;
    assert!(took < 150 * SECOND, "{took:?}");
    assert!(took > 60 * SECOND, "at most one a minute: {took:?}");
    assert_eq!(shop.changes(0, "released"), 2);
    assert_eq!(shop.changes(0, "taken") + shop.changes(0, "expired"), 0);
    shop.writers();
    for app in &shop.apps {
        shop.depth(app, 3);
    }
    pass(31).await;
    let writers = shop.writers();
    assert!(writers.values().all(|who| who.len() == 1), "{writers:?}");
    assert!(shop.apps.iter().all(|app| shop.created(app) == 3));
    let by: BTreeSet<usize> = writers.into_values().flatten().collect();
    assert_eq!(by, BTreeSet::from([0, 1]));
}

#[tokio::test(start_paused = true)]
async fn a_shard_whose_key_is_changed_by_hand_costs_that_shard_alone() {
    let shop = Shop::running(2, 4, 12).await;
    shop.until_held(&[2, 2]).await;
    pass(30).await;
    let taken = || shop.changes(0, "taken") + shop.changes(1, "taken");
    let key = key(1, 4);
    shop.simulator().platform().consul_mut().delete_key(&key);
    pass(2).await;
    assert_eq!(taken(), 1);
    assert_eq!(shop.held().iter().sum::<usize>(), 4);
    let graffiti = |key: &str| {
        let mut platform = shop.simulator().platform();
        platform.consul_mut().write_key(key, "graffiti");
    };
    graffiti(&key);
    pass(2).await;
    assert_eq!(taken(), 2);
    assert_eq!(shop.held().iter().sum::<usize>(), 4);
    // Of the common key nothing is left to hold without it.
    graffiti(COMMON);
    pass(3).await;
    assert_eq!(taken(), 6);
    assert_eq!(shop.held().iter().sum::<usize>(), 4);
    let platform = shop.simulator().platform();
    let value = platform.consul().value(COMMON).unwrap();
    assert!(value.contains(r#""shards":4"#), "{value}");
    assert!(!value.contains(TOKEN));
}

/// A copy with another number of shards comes, and those that are there leave one after another.
async fn changes_the_number(from: usize, to: usize) -> Duration {
    let logs = Logs::capture();
    let mut shop = Shop::running(2, from, 8).await;
    let next = shop.worlds[0].copy_with(&[("FAS_SHARDS", &to.to_string())]);
    shop.worlds.push(next);
    shop.lives.push(0);
    shop.cuts.push(Arc::default());
    pass(60).await;
    shop.start(2);
    pass(60).await;
    assert_eq!(shop.worlds[2].series("fas_leader"), Some(0.0));
    assert_eq!(shop.worlds[2].get("/readyz").await.0, 200);
    let warnings = logs.with(&format!(
        "FAS_SHARDS differs: the holder of the lock {COMMON} has {from}, and this copy {to}"
    ));
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].level, Level::WARN);
    shop.worlds[0].stop().await;
    pass(60).await;
    assert_eq!(shop.worlds[2].series("fas_leader"), Some(0.0));
    // There is something to do while nobody may.
    for app in &shop.apps {
        shop.depth(app, 3);
    }
    shop.worlds[1].stop().await;
    shop.writers();
    let began = Instant::now();
    while shop.worlds[2].series("fas_leader") != Some(to as f64) {
        assert!(began.elapsed() < 60 * SECOND, "it never writes");
        let writers = shop.writers();
        if shop.worlds[2].series("fas_leader") == Some(0.0) {
            assert_eq!(writers.len(), 0, "nobody has any shard");
        }
        sleep(Duration::from_millis(50)).await;
    }
    let took = began.elapsed();
    pass(31).await;
    assert!(shop.apps.iter().all(|app| shop.created(app) == 3));
    took
}

#[tokio::test(start_paused = true)]
async fn copies_with_another_number_of_shards_wait_until_the_last_of_the_others_is_gone() {
    // A copy without shards gives back what it alone held; what all held together expires.
    let took = changes_the_number(1, 4).await;
    assert!(took < 2 * SECOND, "{took:?}");
    for (from, to) in [(4, 1), (4, 8), (8, 4)] {
        let took = changes_the_number(from, to).await;
        assert!(
            took > 25 * SECOND && took < 47 * SECOND,
            "{from} to {to}: {took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn shards_cost_consul_little_at_rest() {
    for shards in [4, 64] {
        let shop = Shop::running(2, shards, 8).await;
        pass(120).await;
        let asked = || {
            let platform = shop.simulator().platform();
            let asked = platform.requests().iter();
            asked
                .filter(|request| request.operation.is_of_consul())
                .count()
        };
        let before = asked();
        pass(600).await;
        let each_minute = (asked() - before).div_ceil(20);
        // Two sessions every 4 s, one wait of 20 s for all keys, a list of the copies every 30 s.
        assert!((34..=37).contains(&each_minute), "{shards}: {each_minute}");
    }
}

/// Twenty thousand apps and four copies: how long until each has its share, and until others have it.
///
/// The apps have no machines, since the simulator compares each new one with all others.
#[tokio::test(start_paused = true)]
#[ignore = "it takes a minute; its figures are for whoever runs it"]
#[expect(clippy::print_stderr, reason = "its figures")]
async fn twenty_thousand_apps_over_four_copies() {
    const APPS: usize = 20_000;
    let mut shop = Shop::new(4, 16, 0, &Options::default());
    shop.keeps_all = false;
    for number in 0..APPS {
        let mut platform = shop.simulator().platform();
        platform.add_app(&format!("shop-{number}"), "acme");
    }
    for world in &mut shop.worlds {
        // Without a metric: that many would be looked through for each.
        for name in ["ADDRESS", "METRIC_NAME", "QUERY", "TOKEN"] {
            world.set(&format!("FAS_PROMETHEUS_{name}"), "");
        }
        world.set("FAS_CREATED_MACHINE_COUNT", "2");
        world.set("FAS_INTERVAL", "120s");
    }
    for who in 0..4 {
        shop.start(who);
        sleep(Duration::from_millis(100)).await;
    }
    // How many apps each copy shows; each is one copy's.
    let apps_of = |shop: &Shop| {
        let mut all = BTreeSet::new();
        let running = shop.worlds.iter().filter(|world| world.is_running());
        let counts = running.map(|world| {
            let text = world.admin.metrics_text();
            let lines = text.lines();
            let own = lines.filter(|line| line.starts_with("fas_failing_passes{"));
            let own: Vec<String> = own.map(str::to_owned).collect();
            let count = own.len();
            all.extend(own);
            count
        });
        let counts: Vec<usize> = counts.collect();
        assert_eq!(all.len(), counts.iter().sum::<usize>());
        counts
    };
    let took = shop.until_held(&[4, 4, 4, 4]).await;
    eprintln!("each of four copies holds 4 of 16 shards after {took:?}");
    pass(130).await;
    let apps = apps_of(&shop);
    eprintln!("apps of each: {apps:?}");
    assert_eq!(apps.iter().sum::<usize>(), APPS);
    let took = shop.worlds[0].stop().await;
    let handed = shop.until_held(&[0, 5, 5, 6]).await;
    eprintln!("a copy ends {took:?} after a signal; the others hold its shards {handed:?} later");
    pass(1).await;
    let apps = apps_of(&shop);
    eprintln!("apps of each: {apps:?}");
    assert_eq!(apps.iter().sum::<usize>(), APPS);
    // Another process shows nothing of what this one has.
    shop.worlds[0] = shop.worlds[0].copy();
    shop.start(0);
    let took = shop.until_held(&[4, 4, 4, 4]).await;
    eprintln!("it is back, and each holds 4 again after {took:?}");
    shop.worlds[1].kill().await;
    let took = shop.until_held(&[0, 5, 5, 6]).await;
    pass(1).await;
    eprintln!(
        "one is killed; the others hold its shards after {took:?}: {:?}",
        apps_of(&shop)
    );
    assert_eq!(apps_of(&shop).iter().sum::<usize>(), APPS);
}

//! Two or three copies of the daemon with a lock, eighteen minutes at a time, under random trouble.
//!
//! A seed stands for a number of copies, loads, events and faults. What each copy sent and was told is recorded on its way;
//! when all is over the record is judged by the rules of the lock: who may write when, how far apart different copies are, and
//! when a lock may be given back.

use std::{
    collections::BTreeSet,
    panic::catch_unwind,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use fly_autoscaler::{
    sim::{Canned, Effect, NewMachine, Options, Random, RequestInfo},
    transport::{Transport, TransportError},
};
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use serde_json::Value;
use tokio::time::{Instant, advance, sleep_until};

use super::number;
use crate::world::{APP, Logs, SimTransport, World};

const TOKEN: &str = "5e5a3e00-1111-4222-8333-444455556666";

const LOCK: &str = "http://:5e5a3e00-1111-4222-8333-444455556666@simulator/web/";

const KEY: &str = "web/fly-autoscaler/app/lock";

/// When trouble ends.
const CALM: Duration = Duration::from_secs(900);

/// When all is over: twice the session's time, the lock-delay, and passes for the fleet to settle in.
const END: Duration = Duration::from_secs(1080);

/// How many seeds `cargo test` runs.
const SEEDS: u64 = 500;

const SECOND: Duration = Duration::from_secs(1);

/// What a request is, as far as the rules care.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// A session is opened or renewed.
    Renew,
    Acquire,
    Release,
    Destroy,
    List,
    /// A machine is changed.
    Write,
    Other,
}

impl What {
    fn of(request: &Request<Bytes>) -> Self {
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let is_get = request.method() == Method::GET;
        match path {
            _ if path.starts_with("/v1/session/create") => Self::Renew,
            _ if path.starts_with("/v1/session/renew/") => Self::Renew,
            _ if path.starts_with("/v1/session/destroy/") => Self::Destroy,
            _ if query.starts_with("acquire=") => Self::Acquire,
            _ if query.starts_with("release=") => Self::Release,
            _ if path.ends_with("/machines") && is_get => Self::List,
            _ if path.starts_with("/v1/apps/") && !is_get => Self::Write,
            _ => Self::Other,
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    /// It was done; with the machines that it shows.
    Yes(BTreeSet<String>),
    /// It surely was not.
    No,
    /// Nobody knows.
    Nothing,
}

/// One request.
#[derive(Debug, Clone)]
struct Sent {
    /// Which copy, in which of its lives.
    by: (usize, u32),
    at: Duration,
    what: What,
    told: Option<(Duration, Told)>,
}

impl Sent {
    /// Whether it was known by then that it was done.
    fn was_done_by(&self, at: Duration) -> bool {
        matches!(&self.told, Some((told, Told::Yes(_))) if *told <= at)
    }
}

type Record = Arc<Mutex<Vec<Sent>>>;

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The way from one copy to everything else.
struct Line {
    inner: SimTransport,
    by: (usize, u32),
    began: Instant,
    record: Record,
    cuts: Arc<Cuts>,
}

/// What a copy is cut off from.
#[derive(Default)]
struct Cuts {
    consul: AtomicBool,
    fly: AtomicBool,
}

impl Line {
    fn is_cut(&self, what: &What, path: &str) -> bool {
        let of_lock = matches!(
            what,
            What::Renew | What::Acquire | What::Release | What::Destroy
        );
        let of_consul = of_lock || path.starts_with("/v1/kv/") || path.starts_with("/v1/catalog/");
        let cut = if of_consul {
            &self.cuts.consul
        } else {
            &self.cuts.fly
        };
        cut.load(Ordering::Relaxed)
    }
}

impl Transport for Line {
    fn exchange(
        &self,
        request: Request<Bytes>,
        body_limit: usize,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        Box::pin(async move {
            let what = What::of(&request);
            let path = request.uri().path().to_owned();
            let place = {
                let mut record = lock(&self.record);
                record.push(Sent {
                    by: self.by,
                    at: self.began.elapsed(),
                    what: what.clone(),
                    told: None,
                });
                record.len() - 1
            };
            let cut = || TransportError::Interrupted("cut off".into());
            let was_cut = self.is_cut(&what, &path);
            let answer = if was_cut {
                Err(cut())
            } else {
                self.inner.exchange(request, body_limit).await
            };
            let answer = if self.is_cut(&what, &path) {
                Err(cut())
            } else {
                answer
            };
            let told = match &answer {
                _ if was_cut => Told::No,
                Ok(answer) => told(&what, answer),
                Err(error) if error.was_not_sent() => Told::No,
                Err(_) => Told::Nothing,
            };
            lock(&self.record)[place].told = Some((self.began.elapsed(), told));
            answer
        })
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
    match answer.status().as_u16() {
        200..=299 if matches!(what, What::Acquire | What::Release) && body != Value::Bool(true) => {
            Told::No
        }
        200..=299 => Told::Yes(ids),
        408 | 500..=599 => Told::Nothing,
        _ => Told::No,
    }
}

/// What happens at some time.
#[derive(Debug, Clone)]
enum Event {
    Load(usize),
    CutConsul(usize, bool),
    CutFly(usize, bool),
    Kill(usize),
    Stop(usize),
    Start(usize),
    /// All processes stand still, and Consul goes on.
    Pause(Duration),
    Leader(bool),
    Elect,
    DeleteKey,
    WriteKey,
    ListLag(Duration),
    Calm,
}

/// What a seed stands for.
struct Scenario {
    copies: usize,
    /// Whether somebody changes the key by hand: two copies can then write at the same time, until the poll answers.
    by_hand: bool,
    /// Whether lock-delays count; a change of the leader forgets them.
    delays: bool,
    depth: usize,
    events: Vec<(Duration, Event)>,
    faults: Random,
}

impl Scenario {
    fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0xC0_B1E5);
        let copies = 2 + random.index(2);
        let by_hand = random.chance(0.2);
        let delays = random.chance(0.7);
        let mut events = Vec::new();
        let mut at = Duration::from_secs(20);
        while at < CALM {
            let who = random.index(copies);
            let until = at + random.between(SECOND, 60 * SECOND);
            let mut pair = |one: Event, other: Event| {
                events.push((at, one));
                events.push((until, other));
            };
            match random.below(16) {
                0..=4 => events.push((at, Event::Load(1 + random.index(8)))),
                5 | 6 => pair(Event::CutConsul(who, true), Event::CutConsul(who, false)),
                7 => pair(Event::CutFly(who, true), Event::CutFly(who, false)),
                8 | 9 => pair(Event::Kill(who), Event::Start(who)),
                10 | 11 => pair(Event::Stop(who), Event::Start(who)),
                12 => events.push((at, Event::Pause(random.between(SECOND, 40 * SECOND)))),
                13 => pair(Event::Leader(false), Event::Leader(true)),
                14 if !delays => events.push((at, Event::Elect)),
                14 => {
                    let lag = random.between(Duration::ZERO, 20 * SECOND);
                    events.push((at, Event::ListLag(lag)));
                }
                _ if by_hand && random.chance(0.5) => events.push((at, Event::DeleteKey)),
                _ => events.push((at, Event::WriteKey)),
            }
            at += random.between(2 * SECOND, 40 * SECOND);
        }
        events.retain(|(at, _)| *at < CALM);
        events.push((CALM, Event::Calm));
        events.sort_by_key(|(at, _)| *at);
        Self {
            copies,
            by_hand,
            delays,
            depth: 1 + random.index(4),
            events,
            faults: random,
        }
    }
}

/// What happens to a request.
fn fault(random: &mut Random, request: &RequestInfo) -> Option<Effect> {
    if request.at >= CALM || !random.chance(0.03) {
        return None;
    }
    let later = random.between(SECOND, 9 * SECOND);
    Some(match random.below(6) {
        0 => Effect::LoseAnswer,
        1 => Effect::HangAfter,
        2 => Effect::SlowAnswer(later),
        3 => Effect::Delay(later),
        4 => Effect::Break,
        _ => Effect::Answer(Canned::status(500)),
    })
}

/// What was seen in one seed.
#[derive(Debug, Default, Clone, PartialEq)]
struct Tally {
    writes: usize,
    /// A copy wrote after another one.
    turns: usize,
    /// Of these, after the lock was given back.
    released: usize,
    /// A session was ended without giving the lock back.
    destroyed: usize,
    ambiguous: usize,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.writes += other.writes;
        self.turns += other.turns;
        self.released += other.released;
        self.destroyed += other.destroyed;
        self.ambiguous += other.ambiguous;
    }
}

/// One seed's world.
struct Run {
    scenario: Scenario,
    worlds: Vec<World>,
    lives: Vec<u32>,
    running: Vec<bool>,
    cuts: Vec<Arc<Cuts>>,
    record: Record,
    began: Instant,
    depth: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut scenario = Scenario::of(seed);
        let options = Options {
            seed,
            ..Options::default()
        };
        let settings = [
            ("FLY_CONSUL_URL", LOCK),
            ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
            ("FAS_DESTROY_RUNNING_AFTER", "0s"),
        ];
        let depth = scenario.depth;
        let first = World::queue_with_options(depth as f64, &settings, &options);
        {
            let mut platform = first.platform();
            platform
                .add_machine(APP, NewMachine::in_region("ord"))
                .unwrap();
            platform.consul_mut().set_token(TOKEN, "web/");
            platform.consul_mut().set_lock_delays(scenario.delays);
            let mut faults = scenario.faults.clone();
            platform.set_fault_hook(Box::new(move |request| fault(&mut faults, request)));
        }
        let copies = scenario.copies;
        let others: Vec<World> = (1..copies).map(|_| first.copy()).collect();
        scenario.events.reverse();
        Self {
            worlds: std::iter::once(first).chain(others).collect(),
            lives: vec![0; copies],
            running: vec![false; copies],
            cuts: (0..copies).map(|_| Arc::default()).collect(),
            record: Record::default(),
            began: Instant::now(),
            depth,
            scenario,
        }
    }

    fn start(&mut self, who: usize) {
        if std::mem::replace(&mut self.running[who], true) {
            return;
        }
        self.lives[who] += 1;
        let line = Line {
            inner: SimTransport(self.worlds[who].simulator.clone()),
            by: (who, self.lives[who]),
            began: self.began,
            record: Arc::clone(&self.record),
            cuts: Arc::clone(&self.cuts[who]),
        };
        self.worlds[who].start_over(Arc::new(line));
    }

    async fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Load(depth) => {
                self.depth = depth;
                self.worlds[0].depth(depth as f64);
            }
            Event::CutConsul(who, is_cut) => {
                self.cuts[who].consul.store(is_cut, Ordering::Relaxed);
            }
            Event::CutFly(who, is_cut) => self.cuts[who].fly.store(is_cut, Ordering::Relaxed),
            Event::Kill(who) => {
                self.running[who] = false;
                self.worlds[who].kill().await;
            }
            Event::Stop(who) if self.running[who] => {
                self.running[who] = false;
                let took = self.worlds[who].stop().await;
                if took > 5 * SECOND {
                    return Err(format!("copy {who} took {took:?} to stop"));
                }
            }
            Event::Stop(_) => {}
            Event::Start(who) => self.start(who),
            Event::Pause(length) => advance(length).await,
            Event::Leader(there) => self.worlds[0].platform().consul_mut().set_leader(there),
            Event::Elect => self.worlds[0].platform().consul_mut().elect(),
            Event::DeleteKey => self.worlds[0].platform().consul_mut().delete_key(KEY),
            Event::WriteKey => {
                let mut platform = self.worlds[0].platform();
                platform.consul_mut().write_key(KEY, "graffiti");
            }
            Event::ListLag(lag) => self.worlds[0].platform().set_list_lag(APP, lag),
            Event::Calm => {
                for cuts in &self.cuts {
                    cuts.consul.store(false, Ordering::Relaxed);
                    cuts.fly.store(false, Ordering::Relaxed);
                }
                self.worlds[0].platform().consul_mut().set_leader(true);
                let lag = Duration::ZERO;
                self.worlds[0].platform().set_list_lag(APP, lag);
                for who in 0..self.scenario.copies {
                    self.start(who);
                }
            }
        }
        Ok(())
    }

    fn leaders(&self) -> Vec<usize> {
        let leads =
            |who: &usize| self.running[*who] && self.worlds[*who].series("fas_leader") == Some(1.0);
        (0..self.scenario.copies).filter(leads).collect()
    }

    async fn finish(mut self) -> Result<Tally, String> {
        let logs = Logs::capture();
        for who in 0..self.scenario.copies {
            self.start(who);
        }
        while let Some((at, event)) = self.scenario.events.pop() {
            sleep_until(self.began + at).await;
            self.happen(event).await?;
            let leaders = self.leaders();
            if leaders.len() > 1 && !self.scenario.by_hand {
                return Err(format!("at {at:?} {leaders:?} may write"));
            }
        }
        sleep_until(self.began + END).await;
        let leaders = self.leaders();
        if leaders.len() != 1 {
            return Err(format!("in the end {leaders:?} may write"));
        }
        let created = self.worlds[0].created();
        if created != self.depth {
            return Err(format!("{created} machines and not {}", self.depth));
        }
        if let Some(line) = logs
            .lines()
            .iter()
            .find(|line| line.message.contains(TOKEN))
        {
            return Err(format!("the token is in the log: {}", line.message));
        }
        let record = std::mem::take(&mut *lock(&self.record));
        judge(&record, &self.scenario)
    }
}

/// Judges what was sent by the rules of the lock.
fn judge(record: &[Sent], scenario: &Scenario) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let mut last: Option<&Sent> = None;
    for (place, write) in record.iter().enumerate() {
        if write.what != What::Write {
            continue;
        }
        tally.writes += 1;
        if !matches!(write.told, Some((_, Told::Yes(_) | Told::No))) {
            tally.ambiguous += 1;
        }
        may_begin(&record[..place], write)?;
        if let Some(before) = last.filter(|before| before.by != write.by) {
            tally.turns += 1;
            let between = record
                .iter()
                .filter(|sent| sent.by == before.by && sent.at >= before.at && sent.at <= write.at);
            let released = between.clone().any(|sent| sent.what == What::Release);
            let destroyed = between.clone().find(|sent| sent.what == What::Destroy);
            tally.released += usize::from(released);
            let (from, apart) = match destroyed {
                _ if released => (before.at, Duration::ZERO),
                Some(destroyed) if scenario.delays => (destroyed.at, 15 * SECOND),
                Some(_) => (before.at, Duration::ZERO),
                None if scenario.delays => (before.at, 20 * SECOND),
                None => (before.at, 5 * SECOND),
            };
            if write.at < from + apart && !scenario.by_hand {
                return Err(format!(
                    "at {:?} {:?} wrote, and {:?} at {:?}: {apart:?} have to be between",
                    write.at, write.by, before.by, before.at
                ));
            }
        }
        last = Some(write);
    }
    for (place, sent) in record.iter().enumerate() {
        match sent.what {
            What::Release => may_be_released(&record[..place], sent)?,
            What::Destroy => {
                let mut before = record[..place].iter();
                let released = before.any(|one| one.by == sent.by && one.what == What::Release);
                tally.destroyed += usize::from(!released);
            }
            _ => {}
        }
    }
    Ok(tally)
}

/// A write begins within ten seconds of a renewal's sending, in a pass that began while the lock was held, after a
/// confirmation.
fn may_begin(before: &[Sent], write: &Sent) -> Result<(), String> {
    let broken = |rule: &str| Err(format!("{:?} wrote at {:?} {rule}", write.by, write.at));
    let own = || before.iter().rev().filter(|sent| sent.by == write.by);
    let done =
        |what: What| own().filter(move |sent| sent.what == what && sent.was_done_by(write.at));
    let renewed = done(What::Renew).map(|sent| sent.at).max();
    if renewed.is_none_or(|at| write.at >= at + 10 * SECOND) {
        return broken("without a renewal");
    }
    let Some(list) = done(What::List).next() else {
        return broken("without a list");
    };
    let listed = list.told.as_ref().map_or(Duration::MAX, |(at, _)| *at);
    if !done(What::Acquire).any(|sent| sent.at >= listed) {
        return broken("without a confirmation since the list");
    }
    if !done(What::Acquire).any(|sent| sent.was_done_by(list.at)) {
        return broken("by a list from before it held the lock");
    }
    Ok(())
}

/// A lock is given back when nothing is under way, and lists have shown what was done.
fn may_be_released(before: &[Sent], release: &Sent) -> Result<(), String> {
    let broken = |rule: &str| {
        let (by, at) = (release.by, release.at);
        Err(format!("{by:?} gave the lock back at {at:?} {rule}"))
    };
    let own = || before.iter().filter(|sent| sent.by == release.by);
    for write in own().filter(|sent| sent.what == What::Write) {
        let Some((ended, told)) = &write.told else {
            // Nobody waits for it any more, since its time is over.
            if release.at < write.at + 15 * SECOND {
                return broken("with a write under way");
            }
            continue;
        };
        let Told::Yes(made) = told else { continue };
        let is_shown = |id: &String| {
            own().any(|sent| {
                let Some((at, Told::Yes(shown))) = &sent.told else {
                    return false;
                };
                sent.what == What::List && at >= ended && shown.contains(id)
            })
        };
        if release.at < *ended + 60 * SECOND && !made.iter().all(is_shown) {
            return broken("before a list has shown what it made");
        }
    }
    Ok(())
}

fn simulate(seed: u64) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async { Run::new(seed).finish().await })
}

/// Runs seeds on every core; says what was done in them, and which broke a rule.
fn simulate_all(first: u64, count: u64) -> (Tally, Vec<String>) {
    let next = AtomicU64::new(first);
    let results = Mutex::new((Tally::default(), Vec::new()));
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    let verdict = catch_unwind(|| simulate(seed));
                    let verdict =
                        verdict.unwrap_or_else(|_| Err("the simulation panicked".to_owned()));
                    let (sum, failures) = &mut *lock(&results);
                    match verdict {
                        Ok(tally) => sum.add(&tally),
                        Err(failure) => {
                            failures.push(format!("FAS_SIMULATION_SEED={seed}: {failure}"));
                        }
                    }
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
#[expect(
    clippy::print_stderr,
    reason = "shown by `--nocapture`, and where a seed fails"
)]
fn no_seed_has_two_copies_write_at_the_same_time() {
    if let Some(seed) = number("FAS_SIMULATION_SEED") {
        let verdict = simulate(seed);
        eprintln!("{verdict:?}");
        assert!(verdict.is_ok(), "seed {seed}");
        return;
    }
    let first = number("FAS_SIMULATION_FIRST").unwrap_or(0);
    let count = number("FAS_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let began = std::time::Instant::now();
    let (sum, failures) = simulate_all(first, count);
    let took = began.elapsed().as_secs_f64();
    eprintln!("{count} seeds in {took:.1} s: {sum:?}");
    assert!(failures.is_empty(), "{failures:#?}");
    // Otherwise it has become tame.
    if count >= SEEDS {
        assert!(sum.writes > 5_000 && sum.turns > 500, "{sum:?}");
        assert!(sum.released > 50 && sum.destroyed > 50, "{sum:?}");
        assert!(sum.ambiguous > 50, "{sum:?}");
    }
}

#[test]
fn a_seed_of_copies_is_repeated_exactly() {
    for seed in [3, 17] {
        assert_eq!(simulate(seed), simulate(seed), "seed {seed}");
    }
}

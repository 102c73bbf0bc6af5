//! Two to four copies of the daemon that divide a dozen apps among them, ten minutes at a time, under random trouble.
//!
//! What each copy sent and was told is recorded on its way; when all is over the record is judged by the rules of the lock,
//! for each shard by itself.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use fly_autoscaler::{
    lock::shard_of,
    sim::{Canned, Effect, Options, Random, RequestInfo},
};
use tokio::time::{Instant, advance, sleep, sleep_until};

use super::judge_seeds;
use crate::{
    shards::{COMMON, SECOND, Sent, Shop, TOKEN, Told, What, key},
    world::{Logs, lock},
};

/// When trouble ends.
const CALM: Duration = Duration::from_secs(420);

/// When all is over: twice the session's time, the lock-delay, and passes for the fleets to settle in.
const END: Duration = Duration::from_secs(600);

/// How many seeds `cargo test` runs.
const SEEDS: u64 = 40;

/// What happens at some time.
#[derive(Debug, Clone)]
enum Event {
    Load(usize, u32),
    CutConsul(usize, bool),
    CutFly(usize, bool),
    Kill(usize),
    Stop(usize),
    Start(usize),
    /// All processes stand still, and Consul goes on.
    Pause(Duration),
    Leader(bool),
    DeleteKey(String),
    WriteKey(String),
    ListLag(Duration),
    Calm,
}

/// What a seed stands for.
struct Scenario {
    copies: usize,
    shards: usize,
    by_hand: bool,
    events: Vec<(Duration, Event)>,
    faults: Random,
}

const APPS: usize = 12;

impl Scenario {
    fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5A_4D5A);
        let copies = 2 + random.index(3);
        let shards = 4 + random.index(13);
        let by_hand = random.chance(0.2);
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
                0..=4 => {
                    let depth = [1, 2, 3, 4][random.index(4)];
                    events.push((at, Event::Load(random.index(APPS), depth)));
                }
                5 | 6 => pair(Event::CutConsul(who, true), Event::CutConsul(who, false)),
                7 => pair(Event::CutFly(who, true), Event::CutFly(who, false)),
                8 | 9 => pair(Event::Kill(who), Event::Start(who)),
                10 | 11 => pair(Event::Stop(who), Event::Start(who)),
                12 => events.push((at, Event::Pause(random.between(SECOND, 40 * SECOND)))),
                13 => pair(Event::Leader(false), Event::Leader(true)),
                14 => {
                    let lag = random.between(Duration::ZERO, 20 * SECOND);
                    events.push((at, Event::ListLag(lag)));
                }
                _ => {
                    let key = match random.index(shards + 1) {
                        0 => COMMON.to_owned(),
                        shard => key(shard - 1, shards),
                    };
                    let is_deleted = by_hand && random.chance(0.5);
                    let event = if is_deleted {
                        Event::DeleteKey(key)
                    } else {
                        Event::WriteKey(key)
                    };
                    events.push((at, event));
                }
            }
            at += random.between(2 * SECOND, 30 * SECOND);
        }
        events.retain(|(at, _)| *at < CALM);
        events.push((CALM, Event::Calm));
        events.sort_by_key(|(at, _)| *at);
        events.reverse();
        Self {
            copies,
            shards,
            by_hand,
            events,
            faults: random,
        }
    }
}

/// What happens to a request.
fn fault(random: &mut Random, request: &RequestInfo) -> Option<Effect> {
    if request.at >= CALM || !random.chance(0.02) {
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
    /// A copy wrote to a shard after another one.
    turns: usize,
    /// Of these, after the shard was given back.
    released: usize,
    /// A shard was given back by a copy that went on.
    given: usize,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.writes += other.writes;
        self.turns += other.turns;
        self.released += other.released;
        self.given += other.given;
    }
}

struct Run {
    scenario: Scenario,
    shop: Shop,
    depths: Vec<u32>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let scenario = Scenario::of(seed);
        let options = Options {
            seed,
            ..Options::default()
        };
        let shop = Shop::new(scenario.copies, scenario.shards, APPS, &options);
        let mut faults = scenario.faults.clone();
        let hook = Box::new(move |request: &RequestInfo| fault(&mut faults, request));
        shop.simulator().platform().set_fault_hook(hook);
        Self {
            scenario,
            shop,
            depths: vec![2; APPS],
        }
    }

    fn start(&mut self, who: usize) {
        if !self.shop.worlds[who].is_running() {
            self.shop.start(who);
        }
    }

    fn lag(&self, lag: Duration) {
        let mut platform = self.shop.simulator().platform();
        for app in &self.shop.apps {
            platform.set_list_lag(app, lag);
        }
    }

    async fn happen(&mut self, event: Event) -> Result<(), String> {
        let simulator = self.shop.simulator().clone();
        match event {
            Event::Load(app, depth) => {
                self.depths[app] = depth;
                self.shop.depth(&self.shop.apps[app], depth);
            }
            Event::CutConsul(who, is_cut) => {
                self.shop.cuts[who].consul.store(is_cut, Ordering::Relaxed);
            }
            Event::CutFly(who, is_cut) => {
                self.shop.cuts[who].fly.store(is_cut, Ordering::Relaxed);
            }
            Event::Kill(who) => self.shop.worlds[who].kill().await,
            Event::Stop(who) if self.shop.worlds[who].is_running() => {
                let took = self.shop.worlds[who].stop().await;
                if took > 5 * SECOND {
                    return Err(format!("copy {who} took {took:?} to stop"));
                }
            }
            Event::Stop(_) => {}
            Event::Start(who) => self.start(who),
            Event::Pause(length) => advance(length).await,
            Event::Leader(there) => simulator.platform().consul_mut().set_leader(there),
            Event::DeleteKey(key) => simulator.platform().consul_mut().delete_key(&key),
            Event::WriteKey(key) => {
                let mut platform = simulator.platform();
                // A key that does not exist is not overwritten.
                if platform.consul().value(&key).is_some() {
                    platform.consul_mut().write_key(&key, "graffiti");
                }
            }
            Event::ListLag(lag) => self.lag(lag),
            Event::Calm => {
                for cuts in &self.shop.cuts {
                    cuts.consul.store(false, Ordering::Relaxed);
                    cuts.fly.store(false, Ordering::Relaxed);
                }
                simulator.platform().consul_mut().set_leader(true);
                self.lag(Duration::ZERO);
                for who in 0..self.scenario.copies {
                    self.start(who);
                }
            }
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Tally, String> {
        let logs = Logs::capture();
        for who in 0..self.scenario.copies {
            self.start(who);
        }
        let shards = self.scenario.shards;
        while let Some((at, event)) = self.scenario.events.pop() {
            sleep_until(self.shop.began + at).await;
            self.happen(event).await?;
            let held = self.shop.held();
            if held.iter().sum::<usize>() > shards && !self.scenario.by_hand {
                return Err(format!("at {at:?} {held:?} of {shards} shards are held"));
            }
        }
        sleep_until(self.shop.began + END).await;
        // One may be on its way from one copy to another, for as long as that takes.
        let mut held = self.shop.held();
        let on_its_way = Instant::now() + 20 * SECOND;
        while held.iter().sum::<usize>() != shards && Instant::now() < on_its_way {
            sleep(SECOND).await;
            held = self.shop.held();
        }
        if held.iter().sum::<usize>() != shards {
            return Err(format!("in the end {held:?} of {shards} shards are held"));
        }
        for (app, depth) in self.shop.apps.iter().zip(&self.depths) {
            let created = self.shop.created(app);
            if created != *depth as usize {
                return Err(format!("{app} has {created} machines and not {depth}"));
            }
        }
        let lines = logs.lines();
        if let Some(line) = lines.iter().find(|line| line.message.contains(TOKEN)) {
            return Err(format!("the token is in the log: {}", line.message));
        }
        let record = std::mem::take(&mut lock(&self.shop.record).sent);
        judge(&record, &self.scenario)
    }
}

/// Judges what was sent by the rules of the lock, for each shard.
fn judge(record: &[Sent], scenario: &Scenario) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let mut last: BTreeMap<usize, &Sent> = BTreeMap::new();
    for (place, sent) in record.iter().enumerate() {
        match &sent.what {
            What::Write(app) => {
                tally.writes += 1;
                let shard = shard_of(app, scenario.shards);
                let key = key(shard, scenario.shards);
                may_begin(&record[..place], sent, app, &key)?;
                let before = last.insert(shard, sent);
                if let Some(before) = before.filter(|before| before.by != sent.by) {
                    tally.turns += 1;
                    let is_apart = is_apart(record, before, sent, &key, &mut tally);
                    if !is_apart && !scenario.by_hand {
                        return Err(format!(
                            "at {:?} {:?} wrote to shard {shard}, and {:?} at {:?}",
                            sent.at, sent.by, before.by, before.at
                        ));
                    }
                }
            }
            What::Release(key) => {
                may_be_released(&record[..place], sent, key, scenario.shards)?;
                let goes_on = record[place..]
                    .iter()
                    .any(|later| later.by == sent.by && matches!(later.what, What::Renew(_)));
                tally.given += usize::from(goes_on);
            }
            _ => {}
        }
    }
    Ok(tally)
}

/// Whether two copies' writes to a shard are as far apart as they have to be.
fn is_apart(record: &[Sent], before: &Sent, write: &Sent, key: &str, tally: &mut Tally) -> bool {
    let between = || {
        record
            .iter()
            .filter(|sent| sent.by == before.by && sent.at >= before.at && sent.at <= write.at)
    };
    let is_release = |sent: &&Sent| matches!(&sent.what, What::Release(one) if one == key);
    if between().any(|sent| is_release(&sent)) {
        tally.released += 1;
        return true;
    }
    // Of a session that had lost the shard before it says nothing.
    let is_anothers_by = |at: Duration| {
        let acquired = What::Acquire(key.to_owned());
        let mut later = record.iter().filter(|sent| sent.at >= before.at);
        later.any(|sent| {
            let done = matches!(&sent.told, Some((told, Told::Yes(_))) if *told <= at);
            sent.by != before.by && sent.what == acquired && done
        })
    };
    let mut destroyed = between().filter(|sent| sent.what == What::Destroy);
    match destroyed.find(|sent| !is_anothers_by(sent.at)) {
        Some(destroyed) => write.at >= destroyed.at + 15 * SECOND,
        None => write.at >= before.at + 20 * SECOND,
    }
}

/// A write begins within ten seconds of the sending of renewals of both sessions, in a pass that began while the shard was held, after
/// a confirmation.
fn may_begin(before: &[Sent], write: &Sent, app: &str, key: &str) -> Result<(), String> {
    let broken = |rule: &str| Err(format!("{:?} wrote at {:?} {rule}", write.by, write.at));
    let own = || before.iter().rev().filter(|sent| sent.by == write.by);
    let was_done = |sent: &&Sent, by: Duration| matches!(&sent.told, Some((told, Told::Yes(_))) if *told <= by);
    let done = |what: What| own().filter(move |sent| sent.what == what && was_done(sent, write.at));
    let Some(list) = done(What::List(app.to_owned())).next() else {
        return broken("without a list");
    };
    let listed = list.told.as_ref().map_or(Duration::MAX, |(at, _)| *at);
    for is_common in [false, true] {
        let renewed = done(What::Renew(is_common)).map(|sent| sent.at).max();
        if renewed.is_none_or(|at| write.at >= at + 10 * SECOND) {
            return broken("without a renewal");
        }
        if renewed.is_none_or(|at| at < listed) {
            return broken("without a renewal since the list");
        }
    }
    if !done(What::Keys).any(|sent| sent.at >= listed) {
        return broken("without a confirmation since the list");
    }
    let acquired = What::Acquire(key.to_owned());
    if !done(acquired).any(|sent| was_done(&sent, list.at)) {
        return broken("by a list from before it held the shard");
    }
    Ok(())
}

/// A shard is given back when nothing of it is under way, and lists have shown what was done.
fn may_be_released(
    before: &[Sent],
    release: &Sent,
    released: &str,
    shards: usize,
) -> Result<(), String> {
    let broken = |rule: &str| {
        let (by, at) = (release.by, release.at);
        Err(format!("{by:?} gave {released} back at {at:?} {rule}"))
    };
    let own = || before.iter().filter(|sent| sent.by == release.by);
    for write in own() {
        let What::Write(app) = &write.what else {
            continue;
        };
        if key(shard_of(app, shards), shards) != released {
            continue;
        }
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
                matches!(&sent.what, What::List(of) if of == app)
                    && at >= ended
                    && shown.contains(id)
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

#[test]
fn no_seed_has_two_copies_write_to_one_shard_at_the_same_time() {
    // Otherwise it has become tame.
    if let Some((sum, count)) = judge_seeds(SEEDS, simulate, Tally::add)
        && count >= SEEDS
    {
        assert!(sum.writes > 500 && sum.turns > 80, "{sum:?}");
        assert!(sum.released > 20 && sum.given > 100, "{sum:?}");
    }
}

#[test]
fn a_seed_of_shards_is_repeated_exactly() {
    assert_eq!(simulate(5), simulate(5));
}

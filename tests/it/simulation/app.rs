//! The judge of an app: what its fleets share, and a judge of its own for each of them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fly_autoscaler::sim::{Operation, Platform};
use serde_json::Value;

use super::{
    generator::{Asks, Event, Freezes, Scenario, seconds},
    group::Group,
    oracle::{HOLDS, Known, Oracle, SLACK, Verdict, demand},
    tally::Tally,
    wire::{Exchange, Pass, Talk, Whose, Wire},
};

/// How long a list may lag behind without that being part of the trouble.
const USUAL_LAG: Duration = Duration::from_secs(60);

pub(super) struct Judge {
    app: usize,
    /// The judge of each fleet, and what the fleet is called.
    fleets: Vec<(String, Oracle)>,
    /// The policies, with the places of their fleets.
    policies: BTreeMap<usize, (Asks, Vec<usize>)>,
    /// The judge of each group whose regions are fleets.
    groups: Vec<Group>,
    interval: Duration,
    timeout: Duration,
    /// How many calls about the app may be in flight.
    concurrency: usize,
    /// How much longer than alone a pass may have to wait for its place; `None`: it never has to.
    waits_for_others: Option<Duration>,
    freezes: Freezes,
    seen_requests: u64,
    seen_exchanges: usize,
    closed: usize,
    /// The volumes that each create mounts, by its place.
    volumes: BTreeMap<usize, Vec<String>>,
    /// Tokens left of the pace of creates, and when that was worked out.
    pace: (f64, Duration),
    life: u32,
    alive_since: Duration,
    tally: Tally,
}

impl Judge {
    pub(super) fn new(
        scenario: &Scenario,
        app: usize,
        platform: &Platform,
        own: Option<&Arc<str>>,
    ) -> Self {
        let fleets = &scenario.apps[app].fleets;
        let rules = &fleets[0].rules;
        let mut policies: BTreeMap<usize, (Asks, Vec<usize>)> = BTreeMap::new();
        for (place, fleet) in fleets.iter().enumerate() {
            let policy = policies.entry(fleet.policy);
            policy.or_insert((fleet.asks, Vec::new())).1.push(place);
        }
        let groups = Group::of(&scenario.apps[app]);
        let mut tally = Tally::default();
        tally.note_if(policies.len() > 1, "apps with several fleets");
        tally.note_if(!groups.is_empty(), "apps with regions");
        Self {
            app,
            interval: rules.interval,
            timeout: rules.timeout,
            concurrency: rules.concurrency,
            waits_for_others: scenario.waits_for_others(),
            freezes: scenario.freezes.clone(),
            fleets: fleets
                .iter()
                .enumerate()
                .map(|(number, fleet)| {
                    let oracle = Oracle::new(scenario, app, number, platform, own.cloned());
                    (fleet.rules.which.to_string(), oracle)
                })
                .collect(),
            policies,
            groups,
            seen_requests: 0,
            seen_exchanges: 0,
            closed: 0,
            volumes: BTreeMap::new(),
            pace: (3.0, Duration::ZERO),
            life: 0,
            alive_since: Duration::ZERO,
            tally,
        }
    }

    /// Keeps what happens, in words.
    pub(super) fn trace_on(&mut self) {
        for (_, fleet) in &mut self.fleets {
            fleet.trace_on();
        }
    }

    pub(super) fn into_trace(self) -> Vec<(Duration, String)> {
        let app = self.app;
        let lines = self.fleets.into_iter().flat_map(|(name, fleet)| {
            let lines = fleet.into_trace().into_iter();
            lines.map(move |(at, line)| (at, format!("{app} {name} {line}")))
        });
        lines.collect()
    }

    pub(super) fn tally(&self) -> Tally {
        let mut tally = self.tally.clone();
        for (_, fleet) in &self.fleets {
            tally.add(fleet.tally());
        }
        for group in &self.groups {
            tally.add(group.tally());
        }
        tally
    }

    /// Something happens to the scene.
    pub(super) fn event(&mut self, now: Duration, app: usize, event: &Event) {
        if app != self.app && !matches!(event, Event::Restart | Event::Freeze(_)) {
            return;
        }
        for (_, fleet) in &mut self.fleets {
            fleet.event(now, event);
        }
        match event {
            Event::Restart => self.alive_since = now,
            Event::Freeze(_) => self.tally.note("freezes"),
            _ => {}
        }
    }

    /// Judges everything that happened since the last look.
    pub(super) fn look(&mut self, platform: &Platform, talk: &Talk, alive: bool) -> Verdict {
        for ((name, fleet), wire) in self.fleets.iter_mut().zip(&talk.fleets) {
            let judged = fleet.look(platform, wire);
            judged.map_err(|problem| format!("fleet {name} {problem}"))?;
        }
        let wire = &talk.whole;
        for record in platform.requests().since(self.seen_requests) {
            let Some(place) = wire.index(record.ordinal) else {
                continue;
            };
            if record.operation == Operation::Create {
                let body: Value = serde_json::from_slice(&record.body).unwrap_or_default();
                let mounts = body["config"]["mounts"].as_array();
                let volumes = mounts.into_iter().flatten();
                let volumes = volumes.filter_map(|mount| mount["volume"].as_str());
                let volumes = volumes.map(str::to_owned).collect();
                self.volumes.insert(place, volumes);
            }
        }
        self.seen_requests = platform.requests().total();
        for group in &mut self.groups {
            group.look(&mut self.fleets, talk)?;
        }
        for place in self.seen_exchanges..wire.exchanges.len() {
            let exchange = &wire.exchanges[place];
            while self.closed < exchange.pass {
                let index = self.closed;
                self.close(talk, index).map_err(|problem| {
                    let start = wire.passes[index].start;
                    format!("pass {index} at {start:?}: {problem}")
                })?;
                self.closed += 1;
            }
            let judged = self.request(talk, place);
            judged.map_err(|problem| exchange.with(&problem))?;
        }
        self.seen_exchanges = wire.exchanges.len();
        if alive {
            self.goes_on(talk, platform.now())?;
        }
        Ok(())
    }

    /// A pass has begun lately.
    fn goes_on(&self, talk: &Talk, now: Duration) -> Verdict {
        let last = talk.whole.passes.last();
        let last = last.map_or(Duration::ZERO, |pass| pass.start);
        // A daemon that was just started knows no app before it could list them, which it tries once in an interval;
        // their first passes are spread over the next.
        let unlisted = talk
            .apps_unlisted
            .filter(|at| *at >= self.alive_since)
            .map(|at| at + self.interval);
        let last = if last < self.alive_since {
            unlisted.unwrap_or(self.alive_since)
        } else {
            last
        };
        let patience = self.interval.max(self.timeout)
            + self.waits_for_others.unwrap_or_default()
            + seconds(1);
        demand!(
            now <= self.freezes.after(last, patience),
            "no pass has begun since {last:?}"
        );
        Ok(())
    }

    fn request(&mut self, talk: &Talk, place: usize) -> Verdict {
        let wire = &talk.whole;
        let exchange = &wire.exchanges[place];
        let pass = &wire.passes[exchange.pass];
        if pass.life != self.life {
            self.life = pass.life;
            self.pace = (3.0, exchange.at);
            self.tally.note("lives");
        }
        // What is asked for all is the same for each.
        self.count(exchange, &talk.fleets[0].passes[exchange.pass]);
        demand!(
            exchange.whose != Whose::Nobody,
            "it is about none of the fleets"
        );
        Self::answered_once(wire, place)?;
        if exchange.operation == Operation::Query {
            self.asked_once(talk, place)?;
        }
        if exchange.operation.is_write() || exchange.operation == Operation::Wait {
            self.in_flight(wire, place)?;
        }
        if exchange.operation == Operation::Create {
            self.in_pace(exchange)?;
            self.given_once(wire, place)?;
        }
        Ok(())
    }

    /// What is asked for all fleets is asked once in a pass: again only where there was no answer, and about the release where
    /// the answer is old.
    fn answered_once(wire: &Wire, place: usize) -> Verdict {
        let exchange = &wire.exchanges[place];
        if !matches!(exchange.operation, Operation::List | Operation::Graphql) {
            return Ok(());
        }
        let under_way = |other: &&Exchange| {
            other.operation == exchange.operation
                && other.ended.is_none_or(|(ended, _)| ended > exchange.at)
        };
        demand!(
            Self::before(wire, place).find(under_way).is_none(),
            "it is being asked already"
        );
        let is_old = |other: &Exchange| {
            let is_question = other.operation == Operation::Graphql;
            is_question && other.ended.is_some_and(|(at, _)| at + HOLDS <= exchange.at)
        };
        let answered = |other: &&Exchange| {
            other.operation == exchange.operation && other.told && !is_old(other)
        };
        demand!(
            Self::before(wire, place).find(answered).is_none(),
            "it was answered before"
        );
        Ok(())
    }

    /// A metric is asked for once in a pass; and how busy the machines of all fleets of a policy are, where one of them needs it.
    fn asked_once(&self, talk: &Talk, place: usize) -> Verdict {
        let exchange = &talk.whole.exchanges[place];
        if !exchange.busy {
            let is_same = |other: &&Exchange| {
                let is_metric = other.operation == Operation::Query && !other.busy;
                is_metric && other.whose == exchange.whose
            };
            let again = Self::before(&talk.whole, place).find(is_same);
            demand!(again.is_none(), "the metric was asked for before");
        }
        let Whose::Policy(policy) = exchange.whose else {
            return Ok(());
        };
        let fleets = &self.policies[&policy].1;
        if exchange.busy {
            let needs = |place: &usize| {
                let (oracle, wire) = (&self.fleets[*place].1, &talk.fleets[*place]);
                let ordinal = wire.index(exchange.ordinal).unwrap_or_default();
                oracle.ask_for_busy(wire, ordinal)
            };
            let mut problems = fleets.iter().map(needs);
            demand!(
                problems.any(|problem| problem.is_ok()),
                "no region of its policy needs that"
            );
        }
        let is_known = |place: &usize| self.fleets[*place].1.known(exchange.pass) != Known::Never;
        demand!(
            fleets.iter().any(is_known),
            "there is no machine in any region of its policy"
        );
        Ok(())
    }

    /// The exchanges of the same pass before one, the latest first.
    fn before(wire: &Wire, place: usize) -> impl Iterator<Item = &Exchange> {
        let pass = wire.exchanges[place].pass;
        let earlier = wire.exchanges[..place].iter().rev();
        earlier.take_while(move |other| other.pass == pass)
    }

    /// No more calls about the app are in flight than allowed.
    fn in_flight(&self, wire: &Wire, place: usize) -> Verdict {
        let exchange = &wire.exchanges[place];
        let in_flight = Self::before(wire, place).filter(|other| {
            (other.operation.is_write() || other.operation == Operation::Wait)
                && other.ended.is_none_or(|(ended, _)| ended > exchange.at)
        });
        let in_flight = in_flight.count();
        demand!(
            in_flight < self.concurrency,
            "{in_flight} calls were in flight already"
        );
        Ok(())
    }

    /// The documented rate of creates, ahead of the server and repetitions included.
    fn in_pace(&mut self, exchange: &Exchange) -> Verdict {
        let (tokens, since) = self.pace;
        let tokens = (tokens + exchange.at.saturating_sub(since).as_secs_f64()).min(3.0);
        demand!(
            tokens > 0.99,
            "creates come faster than one a second after three"
        );
        self.pace = (tokens - 1.0, exchange.at);
        Ok(())
    }

    /// A volume is given to one create of a pass alone, which may be tried again.
    fn given_once(&self, wire: &Wire, place: usize) -> Verdict {
        let exchange = &wire.exchanges[place];
        let Some(own) = self.volumes.get(&place).filter(|own| !own.is_empty()) else {
            return Ok(());
        };
        for (other_place, other) in wire.exchanges[..place].iter().enumerate().rev() {
            if other.pass != exchange.pass {
                break;
            }
            let volumes = self.volumes.get(&other_place).into_iter().flatten();
            let has_one_of_them = volumes.into_iter().any(|volume| own.contains(volume));
            let is_open = other.ended.is_none_or(|(ended, _)| ended > exchange.at);
            demand!(
                !(has_one_of_them
                    && (is_open || other.accepted() || other.whose != exchange.whose)),
                "its volume was given to another machine in this pass"
            );
        }
        Ok(())
    }

    /// Counts what there was of trouble that all fleets share.
    fn count(&mut self, exchange: &Exchange, pass: &Pass) {
        let tally = &mut self.tally;
        tally.note_if(exchange.effect.is_some(), "faults");
        tally.note_if(
            exchange.names_another(),
            "creates answered with another machine",
        );
        match exchange.operation {
            Operation::List => {
                tally.note_if(!exchange.lag.is_zero(), "lists that lag");
                tally.note_if(
                    exchange.lag > USUAL_LAG,
                    "lists that lag for longer than they should",
                );
                tally.note_if(pass.view.is_none(), "lists that do not come");
            }
            Operation::Graphql => {
                let mut releases = pass.releases.iter();
                let running = releases.any(|release| release.running_since.is_some());
                tally.note_if(running, "releases under way");
                tally.note_if(pass.releases.is_empty(), "releases without an answer");
            }
            _ => {}
        }
    }

    /// Judges a pass that is over.
    fn close(&mut self, talk: &Talk, index: usize) -> Verdict {
        let wire = &talk.whole;
        let (pass, next) = (&wire.passes[index], &wire.passes[index + 1]);
        for ((name, oracle), fleet) in self.fleets.iter().zip(&talk.fleets) {
            demand!(
                fleet.passes[index].asked || oracle.known(index) != Known::Now,
                "nobody asked for the metric of {name}"
            );
        }
        for exchange in wire.of_pass(index) {
            let frozen = exchange.ended.map_or(Duration::ZERO, |(ended, _)| {
                self.freezes.longest_within(exchange.at, ended)
            });
            self.tally.note_if(
                frozen >= seconds(7),
                "requests during which the process stood still",
            );
            let in_time = exchange.ended.is_some_and(|(ended, _)| {
                ended <= self.freezes.awake(pass.start + self.timeout) + SLACK
            });
            demand!(
                in_time,
                "{:?} was still under way after the deadline: {:?}",
                exchange.operation,
                exchange.ended
            );
        }
        self.count_pass(talk, index);
        if next.life != pass.life {
            return Ok(());
        }
        let due = pass.start + self.interval;
        let late = self.freezes.awake(due.max(pass.start + self.timeout)) + SLACK;
        demand!(
            next.start <= late || self.waits_for_others.is_some(),
            "the next one came only at {:?}",
            next.start
        );
        let mut fleets = self.fleets.iter();
        let finds = self.finds_regions(talk, index);
        demand!(
            next.start + SLACK >= due
                || finds.is_some()
                || fleets.any(|(_, fleet)| fleet.hurries(index)),
            "the next one came already at {:?}",
            next.start
        );
        let own = wire.of_pass(index).iter();
        let ends = own.filter_map(|exchange| exchange.ended.map(|(ended, _)| ended));
        let end = ends.max().unwrap_or(pass.start);
        // Fleets of other policies may have had more to do.
        let mut own = wire.of_pass(index).iter();
        let only_looks =
            own.all(|exchange| matches!(exchange.operation, Operation::Query | Operation::List));
        demand!(
            finds != Some(true)
                || !only_looks
                || self.waits_for_others.is_some()
                || next.start <= self.freezes.awake(end) + SLACK,
            "it found regions, and the next one came only at {:?}",
            next.start
        );
        Ok(())
    }

    /// Whether a pass is the first, or may be, that finds regions of a policy for which none are set.
    fn finds_regions(&self, talk: &Talk, index: usize) -> Option<bool> {
        let finds = self.policies.values().filter_map(|(_, fleets)| {
            let known = fleets
                .iter()
                .map(|place| self.fleets[*place].1.known(index));
            let shows = fleets.iter().any(|place| {
                let view = talk.fleets[*place].passes[index].view.as_ref();
                view.is_some_and(Oracle::founds)
            });
            let is_first = known.clone().all(|known| known == Known::Never);
            let may_be = known.clone().all(|known| known != Known::Now);
            (shows && may_be).then_some(is_first)
        });
        finds.max()
    }

    /// Counts what a pass had of trouble, and which of the fleets acted in it.
    fn count_pass(&mut self, talk: &Talk, index: usize) {
        let tally = &mut self.tally;
        tally.note("passes");
        tally.note_if(self.app > 0, "passes of other apps");
        let acts = |wire: &&Wire| {
            let mut own = wire.of_pass(index).iter();
            own.any(|exchange| exchange.operation.is_write())
        };
        let creates = |wire: &&Wire| {
            let mut own = wire.of_pass(index).iter();
            own.any(|exchange| exchange.operation == Operation::Create)
        };
        let acting = talk.fleets.iter().filter(acts).count();
        let failing = talk
            .fleets
            .iter()
            .filter(|wire| wire.passes[index].asked && wire.passes[index].metric.is_none())
            .count();
        tally.note_if(talk.fleets.len() > 1, "passes of several fleets");
        tally.note_if(acting > 1, "passes in which several fleets act");
        tally.note_if(
            talk.fleets.iter().filter(creates).count() > 1,
            "passes in which several fleets create",
        );
        tally.note_if(
            failing > 0 && acting > 0 && talk.fleets.len() > 1,
            "passes in which a fleet fails and one acts",
        );
        let finds = self.finds_regions(talk, index) == Some(true);
        self.tally.note_if(finds, "passes that find regions");
        for group in &mut self.groups {
            group.count(&self.fleets, talk, index);
        }
    }

    /// After the end of all trouble each fleet is as it should be, as far as it can be, and nothing is written.
    pub(super) fn settled(&mut self, platform: &Platform, talk: &Talk) -> Verdict {
        for ((name, fleet), wire) in self.fleets.iter_mut().zip(&talk.fleets) {
            let judged = fleet.settled(platform, wire);
            judged.map_err(|problem| format!("fleet {name}: {problem}"))?;
        }
        for group in &mut self.groups {
            group.settled(&self.fleets, platform)?;
        }
        Ok(())
    }
}

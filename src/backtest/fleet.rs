//! A model of the machines: what acting brings about, where everything succeeds.
//!
//! Machines are shown to the decisions as the Machines API lists them, so that they count and are chosen as in life. A
//! machine that boots is `starting`, and its last change moves on with the time: one that takes ten minutes is slow, not
//! stuck.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::Start;
use crate::scaling::{Counts, InitialState, Machine, Policy, State};

/// How old the machines are that there were at the beginning.
const AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Where machines are for which no region is configured.
const ANYWHERE: &str = "any";

/// The machines of the model, by id.
#[derive(Debug)]
pub(super) struct Fleet {
    /// In the order of their ids, which is that of their creation.
    machines: Vec<Modelled>,
    /// How many there have ever been.
    made: u32,
    /// How long a machine takes from its create or start until it runs.
    boot: Duration,
}

#[derive(Debug)]
struct Modelled {
    machine: Machine,
    /// When it runs, while it boots.
    boots_until: Option<Timestamp>,
}

impl Modelled {
    fn become_(&mut self, state: State, at: Timestamp) {
        self.machine.state = state;
        self.machine.updated_at = Some(at);
        self.boots_until = None;
    }
}

impl Fleet {
    /// The machines of the beginning: the first ones run, and the others are stopped.
    pub(super) fn new(start: Start, policy: &Policy, boot: Duration, now: Timestamp) -> Self {
        let mut fleet = Self {
            machines: Vec::new(),
            made: 0,
            boot,
        };
        let regions = policy.regions.iter().cycle();
        let mut regions = regions
            .map(String::as_str)
            .chain(std::iter::repeat(ANYWHERE));
        let before = now.checked_sub(AGE).unwrap_or(now);
        for number in 0..start.created {
            let region = regions.next().unwrap_or(ANYWHERE);
            let state = if number < start.running {
                State::Started
            } else {
                State::Stopped
            };
            fleet.add(region, state, before, policy);
        }
        fleet
    }

    fn add(&mut self, region: &str, state: State, at: Timestamp, policy: &Policy) -> String {
        let id = format!("m{:010}", self.made);
        self.made += 1;
        let machine = Machine {
            process_group: policy.process_group.as_str().into(),
            created_at: Some(at),
            updated_at: Some(at),
            ..Machine::new(id.clone(), region, state)
        };
        self.machines.push(Modelled {
            machine,
            boots_until: None,
        });
        id
    }

    /// The time is now `now`: what has booted runs.
    pub(super) fn advance(&mut self, now: Timestamp) {
        for one in &mut self.machines {
            match one.boots_until {
                Some(until) if until <= now => one.become_(State::Started, until),
                Some(_) => one.machine.updated_at = Some(now),
                None => {}
            }
        }
    }

    /// Fly Proxy has `running` machines running, or as many as there are: it wakes the oldest and stops the newest.
    ///
    /// What it wakes runs at once: the history says that it did.
    pub(super) fn route_to(&mut self, running: u32, now: Timestamp) {
        let mut up = self.running() + self.booting();
        for one in &mut self.machines {
            if up >= running {
                break;
            }
            if one.machine.state == State::Stopped {
                one.become_(State::Started, now);
                up += 1;
            }
        }
        for one in self.machines.iter_mut().rev() {
            if up <= running {
                break;
            }
            if one.machine.state == State::Started {
                one.become_(State::Stopped, now);
                up -= 1;
            }
        }
    }

    /// What the Machines API lists.
    pub(super) fn list(&self) -> Vec<Machine> {
        self.machines
            .iter()
            .map(|one| one.machine.clone())
            .collect()
    }

    /// Makes a machine; returns its id.
    pub(super) fn create(&mut self, region: &str, now: Timestamp, policy: &Policy) -> String {
        if policy.initial_state == InitialState::Stopped {
            return self.add(region, State::Stopped, now, policy);
        }
        let id = self.add(region, State::Starting, now, policy);
        self.boot(&id, now);
        id
    }

    /// Removes these machines.
    pub(super) fn destroy(&mut self, ids: &BTreeSet<String>) {
        self.machines.retain(|one| !ids.contains(&one.machine.id));
    }

    /// Starts a machine, which then boots.
    pub(super) fn start(&mut self, id: &str, now: Timestamp) {
        self.boot(id, now);
    }

    /// Stops a machine.
    pub(super) fn stop(&mut self, id: &str, now: Timestamp) {
        if let Some(one) = self.find(id) {
            one.become_(State::Stopped, now);
        }
    }

    fn boot(&mut self, id: &str, now: Timestamp) {
        let boot = self.boot;
        if let Some(one) = self.find(id) {
            if boot.is_zero() {
                one.become_(State::Started, now);
            } else {
                one.become_(State::Starting, now);
                one.boots_until = Some(now.checked_add(boot).unwrap_or(Timestamp::MAX));
            }
        }
    }

    fn find(&mut self, id: &str) -> Option<&mut Modelled> {
        let at = self
            .machines
            .binary_search_by(|one| one.machine.id.as_str().cmp(id))
            .ok()?;
        self.machines.get_mut(at)
    }

    /// How many there are.
    pub(super) fn created(&self) -> u32 {
        u32::try_from(self.machines.len()).unwrap_or(u32::MAX)
    }

    /// How many run, those that boot apart.
    pub(super) fn running(&self) -> u32 {
        self.in_state(&State::Started)
    }

    /// All counts, as expressions see them.
    pub(super) fn counts(&self) -> Counts {
        let up = self.running() + self.booting();
        Counts {
            created: self.created(),
            started: up,
            stopped: self.created() - up,
        }
    }

    /// How many boot.
    pub(super) fn booting(&self) -> u32 {
        self.in_state(&State::Starting)
    }

    fn in_state(&self, state: &State) -> u32 {
        let these = self.machines.iter();
        let these = these.filter(|one| one.machine.state == *state).count();
        u32::try_from(these).unwrap_or(u32::MAX)
    }

    /// In how many seconds from `now` each booting machine runs, soonest first.
    pub(super) fn boots(&self, now: Timestamp) -> Vec<f64> {
        let until = self.machines.iter().filter_map(|one| one.boots_until);
        let mut boots: Vec<f64> = until
            .map(|until| until.duration_since(now).as_secs_f64())
            .collect();
        boots.sort_by(f64::total_cmp);
        boots
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn begins(created: u32, running: u32) -> Start {
        Start { created, running }
    }

    fn states(fleet: &Fleet) -> Vec<String> {
        let machines = fleet.list();
        machines
            .iter()
            .map(|machine| machine.state.to_string())
            .collect()
    }

    #[test]
    fn a_create_takes_the_time_to_boot_and_a_destroy_none() {
        let policy = Policy::default();
        let boot = Duration::from_secs(90);
        let mut fleet = Fleet::new(begins(1, 1), &policy, boot, at(0));
        let id = fleet.create("ord", at(0), &policy);
        assert_eq!(states(&fleet), ["started", "starting"]);
        assert_eq!(
            (fleet.created(), fleet.running(), fleet.booting()),
            (2, 1, 1)
        );
        assert_eq!(fleet.boots(at(60)), [30.0]);
        fleet.advance(at(89));
        assert_eq!(states(&fleet), ["started", "starting"]);
        fleet.advance(at(120));
        assert_eq!(states(&fleet), ["started", "started"]);
        assert_eq!(fleet.list()[1].updated_at, Some(at(90)));
        fleet.destroy(&BTreeSet::from([id]));
        assert_eq!(fleet.created(), 1);
        let stopped = Policy {
            initial_state: InitialState::Stopped,
            ..policy
        };
        fleet.create("ord", at(120), &stopped);
        assert_eq!(states(&fleet), ["started", "stopped"]);
    }

    #[test]
    fn the_proxy_wakes_the_oldest_and_stops_the_newest() {
        let mut fleet = Fleet::new(begins(4, 1), &Policy::default(), Duration::ZERO, at(0));
        let mut running = |count| {
            fleet.route_to(count, at(0));
            states(&fleet).join(" ")
        };
        assert_eq!(running(3), "started started started stopped");
        assert_eq!(running(2), "started started stopped stopped");
        assert_eq!(running(9), "started started started started");
        assert_eq!(running(0), "stopped stopped stopped stopped");
    }

    #[test]
    fn the_first_machines_are_spread_over_the_regions() {
        let policy = Policy {
            regions: vec!["ord".to_owned(), "fra".to_owned()],
            ..Policy::default()
        };
        let fleet = Fleet::new(begins(3, 0), &policy, Duration::ZERO, at(0));
        let regions: Vec<String> = fleet
            .list()
            .into_iter()
            .map(|one| one.region.to_string())
            .collect();
        assert_eq!(regions, ["ord", "fra", "ord"]);
    }
}

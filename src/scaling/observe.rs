//! Observing: which machines count, as what, given the list and what is remembered.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    InitialState, Lately, Machine, Memory, Now, Policy, State, StateLabel, Unsettled,
    memory::{CLONE_TRIAL, Certainty, CloneTrial, Expected},
};

/// How long a list may lag behind a write, and how long an unreachable machine still counts as created.
pub const SETTLE_TIME: Duration = Duration::from_secs(60);

/// How long a machine may be starting or stopping, its own kill timeout aside. From Fly's documented thresholds.
const STUCK_STARTING_OR_STOPPING: Duration = Duration::from_secs(5 * 60);

/// How long a machine may be updating or replacing. From Fly's documented thresholds.
const STUCK_UPDATING: Duration = Duration::from_secs(10 * 60);

/// How long a created machine is believed to be on its way to `started`.
const LAUNCH_TIME: Duration = Duration::from_secs(5 * 60);

/// What a pass sees of its app's process group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Every machine that counts as created, by id; those that no list shows yet included.
    pub members: Vec<Member>,
    /// How many of them there are.
    pub created: u32,
    /// How many of them run or are on their way to it.
    pub started: u32,
    /// How many of them are stopped or suspended.
    pub stopped: u32,
    /// Machines of the group whose host does not answer, sorted by id.
    pub unreachable: Vec<String>,
    /// How many of those are not among the members.
    pub unreachable_uncounted: u32,
    /// Every process group with machines in the list, for the message of one who chose the wrong group.
    pub groups: BTreeSet<String>,
    /// The group's machines in the list by state.
    pub by_state: BTreeMap<StateLabel, u32>,
    /// What happened to machines lately and decides whose turn it is.
    pub lately: Lately,
}

/// One machine that counts as created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The machine, in the state it is taken to be in.
    pub machine: Machine,
    /// Where the knowledge of it comes from.
    pub presence: Presence,
    /// Whether it counts as started.
    pub started: bool,
    /// Whether it has been in a passing state for too long.
    pub stuck: bool,
    /// Whether an accepted write to it has not shown in a list yet.
    pub pending: bool,
    /// Whether an earlier destroy of it had no known outcome.
    pub unsettled_destroy: bool,
    /// The earlier start or stop of it that had no known outcome, where no list has shown one since.
    pub unsettled: Option<Unsettled>,
    /// Whether that had none twice: it is then not told again, and its slot stays spent until a list says more.
    pub held: bool,
}

/// Where the knowledge of a member comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The list shows it.
    Listed,
    /// The list shows it on a host that stopped answering less than a minute ago.
    Unreachable,
    /// A create was accepted, or may have been, and no list shows it yet.
    Expected,
}

impl Member {
    /// Whether this pass's list shows it on a host that answers.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.presence == Presence::Listed
    }

    /// Whether it may be acted on at all: it is listed and no write to it is under way.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.is_listed() && !self.pending
    }

    /// Whether it may be stopped or destroyed at all.
    #[must_use]
    pub fn is_expendable(&self, policy: &Policy) -> bool {
        self.is_free()
            && !self.machine.protected
            && policy.own_machine.as_deref() != Some(&self.machine.id)
    }

    /// Whether it may be cloned.
    #[must_use]
    pub fn may_be_cloned(&self, policy: &Policy) -> bool {
        self.is_listed()
            && self.machine.has_config
            && self.machine.state.may_be_cloned()
            && (policy.clone_volumes || !self.machine.has_mounts)
    }
}

impl Observed {
    /// The member with this id.
    #[must_use]
    pub fn member(&self, id: &str) -> Option<&Member> {
        let at = self
            .members
            .binary_search_by(|member| member.machine.id.as_str().cmp(id))
            .ok()?;
        self.members.get(at)
    }
}

impl Memory {
    /// Puts a list of machines and what is remembered together; the order of the list makes no difference.
    pub fn observe(&mut self, list: Vec<Machine>, policy: &Policy, now: Now) -> Observed {
        self.forget_expired(now.monotonic);
        let mut observed = Observed::default();
        let mut members: BTreeMap<String, Member> = BTreeMap::new();
        let mut listed: BTreeMap<String, bool> = BTreeMap::new();
        for machine in list {
            if !machine.process_group.is_empty() {
                observed.groups.insert(machine.process_group.clone());
            }
            // A host that stops answering may take the machine's metadata with it; its group is then the one it was
            // last seen in.
            let is_of_group = policy.scales_group(&machine.process_group)
                || (!machine.host_ok
                    && machine.process_group.is_empty()
                    && self.hosts.contains_key(&machine.id));
            if !is_of_group || machine.standby || machine.scheduled {
                continue;
            }
            listed.insert(machine.id.clone(), machine.state.is_living());
            let host_ok = machine.host_ok;
            let state = machine.state.label();
            let member = if host_ok {
                self.see_reachable(machine, policy, now)
            } else {
                self.see_unreachable(machine, &mut observed, now.monotonic)
            };
            let label = match &member {
                _ if !host_ok => StateLabel::UNREACHABLE,
                Some(member) if member.stuck => StateLabel::STUCK,
                _ => state,
            };
            *observed.by_state.entry(label).or_default() += 1;
            if let Some(member) = member {
                members.insert(member.machine.id.clone(), member);
            }
        }
        self.settle_unknown_creates(&listed, now.monotonic);
        self.judge_clones(&listed, &members, policy, now.monotonic);
        self.add_expected_creates(&listed, &mut members, policy, now.monotonic);
        self.expectations.retain(|_, expectation| {
            now.monotonic.saturating_duration_since(expectation.since) < SETTLE_TIME
        });
        self.hosts.retain(|id, _| listed.contains_key(id));
        self.state_since.retain(|id, _| listed.contains_key(id));
        self.known = listed.into_keys().collect();

        observed.lately = self.lately.observe(&members, policy, now);
        observed.unreachable.sort_unstable();
        observed.members = members.into_values().collect();
        let count = |pick: &dyn Fn(&Member) -> bool| {
            u32::try_from(
                observed
                    .members
                    .iter()
                    .filter(|member| pick(member))
                    .count(),
            )
            .unwrap_or(u32::MAX)
        };
        (observed.created, observed.started, observed.stopped) = (
            count(&|_| true),
            count(&|member| member.started),
            count(&|member| {
                member.is_listed()
                    && matches!(member.machine.state, State::Stopped | State::Suspended)
            }),
        );
        observed
    }

    fn see_reachable(&mut self, mut machine: Machine, policy: &Policy, now: Now) -> Option<Member> {
        self.hosts.insert(machine.id.clone(), None);
        let age_in_state = self.age_in_state(&machine, now);
        let age = self.age(&machine, age_in_state, now);
        let pending = self.apply_expectation(&mut machine, now.monotonic);
        if !machine.state.is_living() {
            return None;
        }
        let stuck = !pending && stuck_after(&machine).is_some_and(|limit| age_in_state >= limit);
        let started = match machine.state {
            State::Started | State::Restarting => true,
            State::Starting | State::Updating | State::Replacing => !stuck,
            State::Creating | State::Created => {
                policy.initial_state == InitialState::Started && age < LAUNCH_TIME
            }
            _ => false,
        };
        let unsettled_destroy = self.unsettled_destroys.contains_key(&machine.id);
        let open = self
            .expectations
            .get(&machine.id)
            .filter(|expectation| expectation.is_open());
        let held = open.is_some_and(|expectation| expectation.certainty == Certainty::Held);
        let unsettled = open.and_then(|expectation| match expectation.expected {
            Expected::Destroy => None,
            Expected::Start => Some(Unsettled::Start),
            Expected::Stop => Some(Unsettled::Stop),
        });
        Some(Member {
            machine,
            presence: Presence::Listed,
            started,
            stuck,
            pending,
            unsettled_destroy,
            unsettled,
            held,
        })
    }

    /// A machine whose host stopped answering within the last minute still counts, so that a blip creates nothing.
    ///
    /// The minute begins with the first list that says so: with passes further apart than that, a minute since the last
    /// list that said otherwise would be over at once.
    fn see_unreachable(
        &mut self,
        machine: Machine,
        observed: &mut Observed,
        now: Instant,
    ) -> Option<Member> {
        if !machine.state.is_living() {
            return None;
        }
        observed.unreachable.push(machine.id.clone());
        let destroyed = self
            .expectations
            .get(&machine.id)
            .is_some_and(|expectation| expectation.expected == Expected::Destroy);
        if self.clones.contains_key(&machine.id) {
            // The host of a clone answered when the clone was created.
            self.hosts.entry(machine.id.clone()).or_default();
        }
        let lately = self.hosts.get_mut(&machine.id).is_some_and(|turned| {
            now.saturating_duration_since(*turned.get_or_insert(now)) < SETTLE_TIME
        });
        if destroyed || !lately {
            observed.unreachable_uncounted += 1;
            return None;
        }
        Some(Member {
            machine,
            presence: Presence::Unreachable,
            started: false,
            stuck: false,
            pending: false,
            unsettled_destroy: false,
            unsettled: None,
            held: false,
        })
    }

    /// For how long the machine has been in its state: as long as both the API's clock and ours say.
    fn age_in_state(&mut self, machine: &Machine, now: Now) -> Duration {
        if stuck_after(machine).is_none()
            && !matches!(machine.state, State::Creating | State::Created)
        {
            self.state_since.remove(&machine.id);
            return Duration::ZERO;
        }
        let since = match self.state_since.get(&machine.id) {
            Some((state, since)) if *state == machine.state => *since,
            _ => {
                self.state_since
                    .insert(machine.id.clone(), (machine.state.clone(), now.monotonic));
                now.monotonic
            }
        };
        let seen = now.monotonic.saturating_duration_since(since);
        machine
            .updated_at
            .map_or(seen, |updated_at| seen.min(elapsed(updated_at, now)))
    }

    /// How long ago the machine was created: by the API's clock, or by ours where that is missing or in the future.
    fn age(&self, machine: &Machine, age_in_state: Duration, now: Now) -> Duration {
        let seen = self
            .state_since
            .get(&machine.id)
            .map_or(age_in_state, |(_, since)| {
                now.monotonic.saturating_duration_since(*since)
            });
        machine
            .created_at
            .map_or(seen, |created_at| seen.max(elapsed(created_at, now)))
    }

    /// Puts an accepted write in place of what a lagging list still shows; returns whether it did.
    fn apply_expectation(&mut self, machine: &mut Machine, now: Instant) -> bool {
        let Some(expectation) = self.expectations.get_mut(&machine.id) else {
            return false;
        };
        if now.saturating_duration_since(expectation.since) >= SETTLE_TIME {
            self.expectations.remove(&machine.id);
            return false;
        }
        // What may not have happened is not put in place of what the list shows.
        if !expectation.lags(&machine.state, machine.updated_at) || expectation.is_open() {
            return false;
        }
        machine.state = match expectation.expected {
            Expected::Destroy => State::Destroying,
            Expected::Start => State::Starting,
            Expected::Stop => State::Stopping,
        };
        true
    }

    /// Takes new machines for what creates of unknown outcome made, one for each, and forgets those of two passes ago.
    fn settle_unknown_creates(&mut self, listed: &BTreeMap<String, bool>, now: Instant) {
        if self.unknown_creates.is_empty() {
            return;
        }
        let mut new: Vec<String> = listed
            .keys()
            .filter(|id| {
                !self.known.contains(*id)
                    && !self.clones.contains_key(*id)
                    && !self.expectations.contains_key(*id)
            })
            .rev()
            .cloned()
            .collect();
        let mut creates = std::mem::take(&mut self.unknown_creates);
        creates.retain_mut(|create| {
            if let Some(id) = new.pop() {
                let region = create.region.clone();
                self.clones.insert(id, CloneTrial { region, since: now });
                return false;
            }
            if create.passes_left == 0 {
                return false;
            }
            create.passes_left -= 1;
            true
        });
        self.unknown_creates = creates;
    }

    /// Tells clones that lived from those that failed or vanished soon after they were created.
    fn judge_clones(
        &mut self,
        listed: &BTreeMap<String, bool>,
        members: &BTreeMap<String, Member>,
        policy: &Policy,
        now: Instant,
    ) {
        let mut clones = std::mem::take(&mut self.clones);
        clones.retain(|id, clone| {
            let age = now.saturating_duration_since(clone.since);
            if let Some(member) = members.get(id) {
                self.placement.landed(&clone.region, &member.machine.region);
            }
            let failed = members.get(id).is_some_and(|member| {
                matches!(member.machine.state, State::Failed | State::LaunchFailed)
            });
            let vanished = match listed.get(id) {
                Some(living) => !living,
                None => age >= SETTLE_TIME,
            };
            if failed || vanished {
                if age < CLONE_TRIAL {
                    self.clone_was_lost(&clone.region, policy, now);
                }
                return false;
            }
            if age >= CLONE_TRIAL {
                self.clone_lived(&clone.region);
                return false;
            }
            true
        });
        self.clones = clones;
    }

    /// Counts clones that this list does not show yet, and those that may exist.
    fn add_expected_creates(
        &self,
        listed: &BTreeMap<String, bool>,
        members: &mut BTreeMap<String, Member>,
        policy: &Policy,
        now: Instant,
    ) {
        let launched = policy.initial_state == InitialState::Started;
        let mut expect = |id: String, region: &str, started: bool| {
            let mut machine = Machine::new(id.clone(), region, State::Created);
            machine.process_group.clone_from(&policy.process_group);
            machine.has_config = false;
            members.insert(
                id,
                Member {
                    machine,
                    presence: Presence::Expected,
                    started,
                    stuck: false,
                    pending: true,
                    unsettled_destroy: false,
                    unsettled: None,
                    held: false,
                },
            );
        };
        for (id, clone) in &self.clones {
            if listed.contains_key(id) || now.saturating_duration_since(clone.since) >= SETTLE_TIME
            {
                continue;
            }
            // An earlier list may have shown it, and it may have been acted on.
            let expected = self.expectations.get(id);
            let started = match expected.map(|expectation| expectation.expected) {
                Some(Expected::Start) => true,
                Some(Expected::Stop) => false,
                _ => launched,
            };
            expect(id.clone(), &clone.region, started);
        }
        for (number, create) in self.unknown_creates.iter().enumerate() {
            expect(
                format!("(create {} of unknown outcome)", number + 1),
                &create.region,
                launched,
            );
        }
    }
}

fn stuck_after(machine: &Machine) -> Option<Duration> {
    match machine.state {
        State::Starting | State::Stopping => {
            Some(STUCK_STARTING_OR_STOPPING.saturating_add(machine.kill_timeout))
        }
        State::Updating | State::Replacing => Some(STUCK_UPDATING),
        _ => None,
    }
}

fn elapsed(since: jiff::Timestamp, now: Now) -> Duration {
    Duration::try_from(now.wall.duration_since(since)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::{
        Effect,
        fleet::{Fleet, ids},
    };

    fn fleet() -> Fleet {
        Fleet::new(Policy::default())
    }

    fn counts(observed: &Observed) -> (u32, u32, u32) {
        (observed.created, observed.started, observed.stopped)
    }

    fn accepted(id: &str) -> Effect {
        Effect::Created {
            id: id.to_owned(),
            region: "ord".to_owned(),
        }
    }

    fn unknown() -> Effect {
        Effect::CreateUnknown {
            region: "ord".to_owned(),
        }
    }

    fn destroyed(id: &str) -> Effect {
        Effect::Destroyed { id: id.to_owned() }
    }

    fn begun(id: &str) -> Effect {
        Effect::Started { id: id.to_owned() }
    }

    fn halted(id: &str) -> Effect {
        Effect::Stopped { id: id.to_owned() }
    }

    #[test]
    fn every_state_counts_as_the_table_says() {
        // State; created, started and stopped; may be started; may be stopped.
        type Row = (&'static str, (u32, u32, u32), bool, bool);
        let table: [Row; 18] = [
            ("started", (1, 1, 0), false, true),
            ("starting", (1, 1, 0), false, false),
            ("restarting", (1, 1, 0), false, false),
            ("updating", (1, 1, 0), false, false),
            ("replacing", (1, 1, 0), false, false),
            ("stopped", (1, 0, 1), true, false),
            ("suspended", (1, 0, 1), true, false),
            ("creating", (1, 1, 0), false, false),
            ("created", (1, 1, 0), false, false),
            ("stopping", (1, 0, 0), false, false),
            ("suspending", (1, 0, 0), false, false),
            ("failed", (1, 0, 0), false, false),
            ("launch_failed", (1, 0, 0), false, false),
            ("replaced", (0, 0, 0), false, false),
            ("destroying", (0, 0, 0), false, false),
            ("destroyed", (0, 0, 0), false, false),
            ("migrated", (0, 0, 0), false, false),
            ("hibernating", (1, 0, 0), false, false),
        ];
        for (state, expected, startable, stoppable) in table {
            let mut fleet = fleet();
            let observed = fleet.observe(0, &[&format!("a ord {state}")]);
            assert_eq!(counts(&observed), expected, "{state}");
            let may_be_started = !crate::scaling::order::start_order(&observed).is_empty();
            assert_eq!(may_be_started, startable, "{state}");
            let may_be_stopped =
                !crate::scaling::order::stop_order(&observed, &fleet.policy).is_empty();
            assert_eq!(may_be_stopped, stoppable, "{state}");
        }
    }

    #[test]
    fn a_created_machine_counts_as_started_while_it_is_young_and_meant_to_start() {
        let cases: [(&str, InitialState, u64, &str, u32); 8] = [
            ("young", InitialState::Started, 299, "made=0", 1),
            ("five minutes old", InitialState::Started, 300, "made=0", 0),
            (
                "old when first seen",
                InitialState::Started,
                0,
                "made=-300",
                0,
            ),
            (
                "meant to stay stopped",
                InitialState::Stopped,
                0,
                "made=0",
                0,
            ),
            (
                "age unknown, seen for less",
                InitialState::Started,
                299,
                "",
                1,
            ),
            (
                "age unknown, seen for five minutes",
                InitialState::Started,
                300,
                "",
                0,
            ),
            (
                "from the future, seen for less",
                InitialState::Started,
                299,
                "made=9000",
                1,
            ),
            (
                "from the future, seen for five minutes",
                InitialState::Started,
                300,
                "made=9000",
                0,
            ),
        ];
        for (name, initial_state, second, made, started) in cases {
            let mut fleet = Fleet::new(Policy {
                initial_state,
                ..Policy::default()
            });
            for state in ["creating", "created"] {
                fleet.memory = Memory::default();
                let machine = format!("a ord {state} {made}");
                fleet.observe(0, &[&machine]);
                let observed = fleet.observe(second, &[&machine]);
                assert_eq!(counts(&observed), (1, started, 0), "{name}, {state}");
            }
        }
    }

    #[test]
    fn a_machine_is_stuck_when_both_clocks_say_so() {
        // State and words; how long it has been seen; whether it is stuck; whether it counts as started.
        let cases: [(&str, &str, u64, bool, u32); 19] = [
            ("starting", "updated=0 kill=5", 304, false, 1),
            ("starting", "updated=0 kill=5", 305, true, 0),
            ("starting", "updated=0 kill=60", 359, false, 1),
            ("starting", "updated=0 kill=60", 360, true, 0),
            ("starting", "updated=-9000 kill=0", 299, false, 1),
            ("starting", "updated=200 kill=0", 499, false, 1),
            ("starting", "updated=200 kill=0", 500, true, 0),
            ("starting", "updated=9000 kill=0", 8999, false, 1),
            ("starting", "kill=0", 299, false, 1),
            ("starting", "kill=0", 300, true, 0),
            ("stopping", "updated=0 kill=0", 299, false, 0),
            ("stopping", "updated=0 kill=0", 300, true, 0),
            ("updating", "updated=0 kill=60", 599, false, 1),
            ("updating", "updated=0 kill=60", 600, true, 0),
            ("replacing", "updated=0", 599, false, 1),
            ("replacing", "updated=0", 600, true, 0),
            ("restarting", "updated=0", 9000, false, 1),
            ("suspending", "updated=0", 9000, false, 0),
            ("started", "updated=0", 9000, false, 1),
        ];
        for (state, words, second, stuck, started) in cases {
            let mut fleet = fleet();
            let machine = format!("a ord {state} {words}");
            fleet.observe(0, &[&machine]);
            let observed = fleet.observe(second, &[&machine]);
            let name = format!("{machine} at {second}");
            assert_eq!(observed.members[0].stuck, stuck, "{name}");
            assert_eq!(counts(&observed), (1, started, 0), "{name}");
            let label = if stuck { "stuck" } else { state };
            let labels: Vec<&str> = observed
                .by_state
                .keys()
                .map(|label| label.as_str())
                .collect();
            assert_eq!(labels, [label], "{name}");
        }
    }

    #[test]
    fn another_state_starts_the_clock_of_being_stuck_again() {
        let mut fleet = fleet();
        fleet.observe(0, &["a ord starting kill=0"]);
        fleet.observe(200, &["a ord started kill=0"]);
        fleet.observe(250, &["a ord starting kill=0"]);
        assert!(!fleet.observe(549, &["a ord starting kill=0"]).members[0].stuck);
        assert!(fleet.observe(550, &["a ord starting kill=0"]).members[0].stuck);
    }

    #[test]
    fn an_immense_kill_timeout_is_no_panic() {
        let mut fleet = fleet();
        let mut machine = crate::scaling::fleet::machine("a ord stopping");
        machine.kill_timeout = Duration::MAX;
        let now = fleet.at(0);
        let observed = fleet.memory.observe(vec![machine], &fleet.policy, now);
        assert!(!observed.members[0].stuck);
    }

    #[test]
    fn standbys_scheduled_machines_and_other_groups_are_not_seen() {
        let mut fleet = fleet();
        let observed = fleet.observe(
            0,
            &[
                "a ord started",
                "b ord started group=worker",
                "c ord started group=",
                "d ord started standby",
                "e ord stopped scheduled",
                "f ord stopped group=worker host-down",
            ],
        );
        assert_eq!(ids(&observed), ["a"]);
        assert_eq!(counts(&observed), (1, 1, 0));
        assert!(observed.unreachable.is_empty());
        let groups: Vec<&str> = observed.groups.iter().map(String::as_str).collect();
        assert_eq!(groups, ["app", "worker"]);
    }

    #[test]
    fn an_unreachable_machine_counts_as_created_for_a_minute_after_it_was_seen_well() {
        let mut fleet = fleet();
        fleet.observe(0, &["a ord started", "b ord stopped"]);
        let down = ["a ord started host-down", "b ord stopped host-down"];
        // Created, started, stopped; unreachable, and how many of those are not counted.
        for (second, expected) in [
            (15, ((2, 0, 0), 2, 0)),
            (74, ((2, 0, 0), 2, 0)),
            (75, ((0, 0, 0), 2, 2)),
        ] {
            let observed = fleet.observe(second, &down);
            let seen = (
                counts(&observed),
                observed.unreachable.len(),
                observed.unreachable_uncounted,
            );
            assert_eq!(seen, expected, "at {second}");
            assert!(observed.members.iter().all(|member| !member.is_free()));
            assert_eq!(observed.by_state[&StateLabel::UNREACHABLE], 2);
        }
        assert_eq!(
            counts(&fleet.observe(80, &["a ord started", "b ord stopped"])),
            (2, 1, 1)
        );
        assert_eq!(counts(&fleet.observe(90, &down)), (2, 0, 0), "a new minute");
    }

    #[test]
    fn the_minute_of_an_unreachable_machine_begins_with_the_list_that_first_says_so() {
        let mut fleet = fleet();
        fleet.observe(0, &["a ord started"]);
        let down = ["a ord started host-down"];
        assert_eq!(counts(&fleet.observe(300, &down)), (1, 0, 0));
        assert_eq!(counts(&fleet.observe(359, &down)), (1, 0, 0));
        assert_eq!(counts(&fleet.observe(360, &down)), (0, 0, 0));
    }

    #[test]
    fn a_machine_never_seen_well_does_not_count() {
        let mut fleet = fleet();
        let observed = fleet.observe(
            0,
            &["a ord started host-down", "b ord destroying host-down"],
        );
        assert_eq!(counts(&observed), (0, 0, 0));
        assert_eq!(observed.unreachable, ["a"]);
        assert_eq!(observed.unreachable_uncounted, 1);
    }

    #[test]
    fn an_unreachable_machine_without_metadata_stays_in_the_group_it_was_seen_in() {
        let mut fleet = fleet();
        fleet.observe(0, &["a ord started", "b ord started group=worker"]);
        let observed = fleet.observe(
            15,
            &[
                "a ord started group= host-down",
                "b ord started group= host-down",
                "c ord started group= host-down",
            ],
        );
        assert_eq!(ids(&observed), ["a"]);
        assert_eq!(observed.unreachable, ["a"]);
    }

    #[test]
    fn a_clone_of_ours_that_is_first_listed_on_an_unreachable_host_counts() {
        let mut fleet = fleet();
        let observed = fleet.observe(0, &["a ord started"]);
        fleet.record(0, &observed, &[accepted("b")]);
        let list = ["a ord started", "b ord created host-down"];
        assert_eq!(ids(&fleet.observe(15, &list)), ["a", "b"]);
        assert_eq!(ids(&fleet.observe(75, &list)), ["a"]);
    }

    #[test]
    fn an_accepted_create_counts_until_it_is_listed_or_a_minute_is_over() {
        for (initial_state, started) in [(InitialState::Started, 2), (InitialState::Stopped, 1)] {
            let mut fleet = Fleet::new(Policy {
                initial_state,
                ..Policy::default()
            });
            let observed = fleet.observe(0, &["a ord started"]);
            fleet.record(0, &observed, &[accepted("b")]);
            let observed = fleet.observe(59, &["a ord started"]);
            assert_eq!(ids(&observed), ["a", "b"]);
            assert_eq!(counts(&observed), (2, started, 0));
            assert!(observed.members[1].pending);
            assert_eq!(observed.members[1].presence, Presence::Expected);
            assert_eq!(
                observed.by_state.values().sum::<u32>(),
                1,
                "only listed ones"
            );
            assert_eq!(ids(&fleet.observe(60, &["a ord started"])), ["a"]);
        }
    }

    #[test]
    fn a_listed_create_counts_as_what_the_list_says() {
        let mut fleet = fleet();
        let observed = fleet.observe(0, &["a ord started"]);
        fleet.record(0, &observed, &[accepted("b")]);
        let observed = fleet.observe(15, &["a ord started", "b ord stopped"]);
        assert_eq!(counts(&observed), (2, 1, 1));
        assert!(observed.members[1].is_free());
        assert_eq!(
            ids(&fleet.observe(20, &["a ord started"])),
            ["a", "b"],
            "an older list does not take it back"
        );
        assert_eq!(
            ids(&fleet.observe(30, &["a ord started", "b ord destroying"])),
            ["a"]
        );
        assert_eq!(
            ids(&fleet.observe(45, &["a ord started"])),
            ["a"],
            "it was shown on its way out"
        );
    }

    #[test]
    fn an_accepted_destroy_is_not_counted_while_lists_lag() {
        let mut fleet = fleet();
        let list = ["a ord started", "b ord stopped"];
        let observed = fleet.observe(0, &list);
        fleet.record(0, &observed, &[destroyed("b")]);
        assert_eq!(counts(&fleet.observe(15, &list)), (1, 1, 0));
        assert_eq!(
            counts(&fleet.observe(30, &["a ord started", "b ord destroying"])),
            (1, 1, 0)
        );
        assert_eq!(counts(&fleet.observe(40, &["a ord started"])), (1, 1, 0));
        assert_eq!(
            counts(&fleet.observe(59, &list)),
            (1, 1, 0),
            "an older list does not bring it back"
        );
        assert_eq!(
            counts(&fleet.observe(60, &list)),
            (2, 1, 1),
            "it was not destroyed after all"
        );
    }

    #[test]
    fn an_accepted_destroy_on_a_host_that_stops_answering_is_not_counted() {
        let mut fleet = fleet();
        let observed = fleet.observe(0, &["a ord started", "b ord stopped"]);
        fleet.record(0, &observed, &[destroyed("b")]);
        let observed = fleet.observe(15, &["a ord started", "b ord stopped host-down"]);
        assert_eq!(ids(&observed), ["a"]);
        assert_eq!(observed.unreachable_uncounted, 1);
    }

    #[test]
    fn an_accepted_start_or_stop_holds_against_lists_that_lag() {
        // What happens at which second, and the started count that is seen then.
        type Lists = [(u64, &'static str, u32)];
        let cases: [(&str, &str, Effect, &Lists); 10] = [
            (
                "start: the same state lags",
                "a ord stopped updated=-9",
                begun("a"),
                &[
                    (15, "a ord stopped updated=-9", 1),
                    (59, "a ord stopped updated=-9", 1),
                    (60, "a ord stopped updated=-9", 0),
                ],
            ),
            (
                "start: an older state lags",
                "a ord stopped updated=-9",
                begun("a"),
                &[
                    (15, "a ord stopping updated=-10", 1),
                    (30, "a ord started updated=1", 1),
                ],
            ),
            (
                "start: shown, then an older list, then stopped anew",
                "a ord stopped updated=-9",
                begun("a"),
                &[
                    (15, "a ord started updated=1", 1),
                    (30, "a ord stopped updated=-9", 1),
                    (40, "a ord stopping updated=-10", 1),
                    (45, "a ord stopped updated=40", 0),
                ],
            ),
            (
                "start: without times only the state tells",
                "a ord stopped",
                begun("a"),
                &[
                    (15, "a ord stopped", 1),
                    (30, "a ord started", 1),
                    (45, "a ord stopped", 0),
                ],
            ),
            (
                "start: a failure is news, whatever its time",
                "a ord stopped updated=-9",
                begun("a"),
                &[(15, "a ord failed updated=-10", 0)],
            ),
            (
                "start: another state of rest is no news",
                "a ord stopped updated=-9",
                begun("a"),
                &[
                    (15, "a ord suspended updated=-8", 1),
                    (30, "a ord starting updated=1", 1),
                    (45, "a ord suspended updated=-8", 1),
                ],
            ),
            (
                "stop: the same state lags",
                "a ord started updated=-9",
                halted("a"),
                &[
                    (15, "a ord started updated=-9", 0),
                    (59, "a ord started updated=-9", 0),
                    (60, "a ord started updated=-9", 1),
                ],
            ),
            (
                "stop: an older state lags",
                "a ord started updated=-9",
                halted("a"),
                &[(15, "a ord starting updated=-10", 0)],
            ),
            (
                "stop: shown, then an older list",
                "a ord started updated=-9",
                halted("a"),
                &[
                    (15, "a ord stopped updated=1", 0),
                    (30, "a ord started updated=-9", 0),
                ],
            ),
            (
                "stop: shown, then woken",
                "a ord started updated=-9",
                halted("a"),
                &[
                    (15, "a ord stopped updated=1", 0),
                    (30, "a ord started updated=20", 1),
                ],
            ),
        ];
        for (name, before, effect, lists) in cases {
            let mut fleet = fleet();
            let observed = fleet.observe(0, &[before]);
            fleet.record(0, &observed, &[effect]);
            for (second, machine, started) in lists {
                let observed = fleet.observe(*second, &[machine]);
                assert_eq!(observed.created, 1, "{name} at {second}");
                assert_eq!(observed.started, *started, "{name} at {second}");
            }
        }
    }

    #[test]
    fn a_machine_with_an_unseen_write_is_left_alone() {
        let mut fleet = fleet();
        let list = ["a ord stopped", "b ord started"];
        let observed = fleet.observe(0, &list);
        fleet.record(0, &observed, &[begun("a"), halted("b")]);
        let observed = fleet.observe(15, &list);
        for member in &observed.members {
            assert!(member.pending && !member.is_free(), "{member:?}");
        }
        let states: Vec<&State> = observed
            .members
            .iter()
            .map(|member| &member.machine.state)
            .collect();
        assert_eq!(states, [&State::Starting, &State::Stopping]);
    }

    #[test]
    fn a_create_of_unknown_outcome_counts_for_two_passes() {
        let mut fleet = fleet();
        let observed = fleet.observe(0, &["a ord started"]);
        fleet.record(0, &observed, &[unknown(), unknown()]);
        for (second, created) in [(15, 3), (30, 3), (45, 1)] {
            assert_eq!(
                fleet.observe(second, &["a ord started"]).created,
                created,
                "at {second}"
            );
        }
    }

    #[test]
    fn one_new_machine_settles_one_create_of_unknown_outcome() {
        let mut fleet = fleet();
        let observed = fleet.observe(0, &["a ord started"]);
        fleet.record(0, &observed, &[unknown(), unknown()]);
        let list = ["a ord started", "b ord created made=1"];
        assert_eq!(
            fleet.observe(15, &list).created,
            3,
            "b and one still unknown"
        );
        assert_eq!(fleet.observe(30, &list).created, 3, "b settles only one");
        assert_eq!(fleet.observe(45, &list).created, 2);
    }

    #[test]
    fn only_a_new_machine_settles_a_create_of_unknown_outcome() {
        // The list before, what was done on it, the list after, how many count then.
        type Case<'case> = (
            &'case str,
            &'case [&'case str],
            &'case [Effect],
            &'case [&'case str],
            u32,
        );
        let cases: [Case<'_>; 6] = [
            (
                "a machine that was on its way out already",
                &["a ord started", "b ord destroying"],
                &[unknown()],
                &["a ord started", "b ord destroyed"],
                2,
            ),
            (
                "a machine that we destroyed",
                &["a ord started", "b ord stopped"],
                &[destroyed("b"), unknown()],
                &["a ord started", "b ord stopped"],
                2,
            ),
            (
                "a machine on an unreachable host",
                &["a ord started", "b ord stopped host-down"],
                &[unknown()],
                &["a ord started", "b ord stopped"],
                3,
            ),
            (
                "a clone accepted in the same pass, before",
                &["a ord started"],
                &[accepted("b"), unknown()],
                &["a ord started", "b ord created"],
                3,
            ),
            (
                "a clone accepted in the same pass, after, and lost",
                &["a ord started"],
                &[unknown(), accepted("b")],
                &["a ord started", "b ord failed"],
                3,
            ),
            (
                "a machine of another group",
                &["a ord started"],
                &[unknown()],
                &["a ord started", "b ord created group=worker"],
                2,
            ),
        ];
        for (name, before, effects, after, created) in cases {
            let mut fleet = fleet();
            let observed = fleet.observe(0, before);
            fleet.record(0, &observed, effects);
            assert_eq!(fleet.observe(15, after).created, created, "{name}");
        }
    }

    #[test]
    fn memory_forgets_machines_that_are_gone() {
        let mut fleet = fleet();
        let list = ["a ord started", "b ord starting", "c ord stopped"];
        let observed = fleet.observe(0, &list);
        let unsettled = Effect::DestroyUnknown { id: "c".to_owned() };
        fleet.record(
            0,
            &observed,
            &[unsettled, halted("a"), accepted("d"), unknown()],
        );
        for second in [15, 30, 400] {
            fleet.observe(second, &[]);
        }
        let memory = &fleet.memory;
        assert!(memory.expectations.is_empty());
        assert!(memory.unknown_creates.is_empty());
        assert!(memory.known.is_empty());
        assert!(memory.clones.is_empty());
        assert!(memory.unsettled_destroys.is_empty());
        assert!(memory.hosts.is_empty());
        assert!(memory.state_since.is_empty());
    }
}

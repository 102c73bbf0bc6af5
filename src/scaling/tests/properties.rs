//! What holds for every fleet, target and policy, whatever fails and however lists lag.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::scaling::{
    Action, Answer, Bounds, Decision, Effect, Fallback, InitialState, Kind, Machine, Now, Policy,
    Release, State, StateLabel, Step, Target, Targets, UpDown,
    tests::fleet::{Fleet, Pass, wall, with_memory},
};

const REGIONS: [&str; 3] = ["ord", "iad", "syd"];

/// Machines `m0` … `m15`, so that those of one list are those of the next in other states.
fn any_machine() -> impl Strategy<Value = Machine> {
    let ids = (0..16_u32, prop::sample::select(&REGIONS[..]));
    let state = prop_oneof![
        6 => prop::sample::select(vec!["started", "stopped", "created", "failed", "stopping"]),
        2 => prop::sample::select(StateLabel::ALL.map(StateLabel::as_str).to_vec()),
    ];
    let rarely = || prop::bool::weighted(0.1);
    let flags = (
        rarely(),
        rarely(),
        rarely(),
        rarely(),
        rarely(),
        rarely(),
        rarely(),
        rarely(),
    );
    let group = prop_oneof![8 => Just("app"), 1 => Just("worker"), 1 => Just("")];
    let time = || prop::option::of(-700_i64..700);
    let rest = (
        prop::option::of(0..4_u64),
        0..3_i64,
        rarely(),
        time(),
        time(),
    );
    (ids, state, flags, group, rest).prop_map(|((number, region), state, flags, group, rest)| {
        let mut machine = Machine::new(format!("m{number}"), region, State::parse(state));
        machine.process_group = group.into();
        machine.host_ok = !flags.0;
        machine.standby = flags.1;
        machine.scheduled = flags.2;
        machine.protected = flags.3;
        machine.auto_destroy = flags.4;
        machine.cordoned = flags.5;
        machine.critical = flags.6;
        machine.has_mounts = flags.7;
        machine.release = rest.0;
        machine.config = (machine.host_ok && !rest.2).then(|| with_memory(rest.1));
        machine.created_at = rest.3.map(wall);
        machine.updated_at = rest.4.map(wall);
        machine
    })
}

fn any_list() -> impl Strategy<Value = Vec<Machine>> {
    prop::collection::vec(any_machine(), 0..16).prop_map(|list| {
        let mut ids = BTreeSet::new();
        let unique = list.into_iter();
        unique
            .filter(|machine| ids.insert(machine.id.clone()))
            .collect()
    })
}

fn any_bounds() -> impl Strategy<Value = Bounds> {
    (0..12_u32, 0..6_u32).prop_map(|(min, width)| Bounds {
        min,
        max: min + width,
    })
}

fn any_targets() -> impl Strategy<Value = Targets> {
    let target = || {
        prop_oneof![
            1 => Just(Target::Unset),
            1 => Just(Target::Missing),
            6 => any_bounds().prop_map(Target::Bounds),
            1 => (1_u32..12, 0_u32..12).prop_map(|(more, max)| Target::of(max + more, max)),
        ]
    };
    (target(), target()).prop_map(|(created, started)| Targets { created, started })
}

fn any_step() -> impl Strategy<Value = Option<Step>> {
    prop_oneof![
        2 => Just(None),
        1 => (0..4_u32).prop_map(|count| Some(Step::Count(count))),
        1 => (0..200_u32).prop_map(|percent| Some(Step::Percent(percent))),
    ]
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let seconds = || prop_oneof![Just(0_u64), 0..90_u64].prop_map(Duration::from_secs);
    let limits = (
        prop::option::of((0..8_u32, 0..8_u32)),
        seconds(),
        seconds(),
        any_step(),
        any_step(),
    );
    let fallback = (
        prop::option::of(0..6_u32),
        prop::option::of(0..6_u32),
        1..3_u32,
    );
    let rest = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        seconds(),
        prop::sample::subsequence(REGIONS.to_vec(), 0..=3),
    );
    (limits, fallback, rest).prop_map(|(limits, fallback, rest)| Policy {
        floor: limits.0.map(|(floor, _)| floor),
        ceiling: limits.0.map(|(floor, room)| floor + room),
        stabilization: UpDown {
            up: limits.1,
            down: limits.2,
        },
        step: UpDown {
            up: limits.3,
            down: limits.4,
        },
        fallback: Fallback {
            created: fallback.0,
            started: fallback.1,
            after: fallback.2,
        },
        initial_state: if rest.0 {
            InitialState::Started
        } else {
            InitialState::Stopped
        },
        clone_volumes: rest.1,
        own_machine: rest.2.then(|| "m3".to_owned()),
        destroy_running_after: rest.3,
        regions: rest.4.iter().map(ToString::to_string).collect(),
        ..Policy::default()
    })
}

fn any_effect() -> impl Strategy<Value = Effect> {
    let id = || (0..18_u32).prop_map(|number| format!("m{number}"));
    let region = || prop::sample::select(&REGIONS[..]).prop_map(str::to_owned);
    prop_oneof![
        (id(), region()).prop_map(|(id, region)| Effect::Created { id, region }),
        region().prop_map(|region| Effect::CreateRefused { region }),
        region().prop_map(|region| Effect::CreateUnknown { region }),
        id().prop_map(|id| Effect::Destroyed { id }),
        id().prop_map(|id| Effect::Gone { id }),
        id().prop_map(|id| Effect::DestroyUnknown { id }),
        (id(), any::<bool>()).prop_map(|(id, woken)| Effect::DestroyRefused { id, woken }),
        id().prop_map(|id| Effect::VictimStopped { id }),
        id().prop_map(|id| Effect::StartRefused { id }),
        id().prop_map(|id| Effect::VictimStopUnknown { id }),
        id().prop_map(|id| Effect::Started { id }),
        id().prop_map(|id| Effect::Stopped { id }),
    ]
}

fn any_release() -> impl Strategy<Value = Option<Release>> {
    let status = prop::sample::select(vec!["complete", "failed", "interrupted", "running"]);
    prop::option::of((prop::option::of(0..4_u64), status)).prop_map(|release| {
        release.map(|(version, status)| Release {
            version,
            status: status.to_owned(),
            created_at: None,
        })
    })
}

/// A pass as arbitrary as it gets: what it sees, what it is to reach, and outcomes that need not fit its plan.
#[derive(Debug, Clone)]
struct AnyPass {
    gap: u64,
    list: Vec<Machine>,
    targets: Targets,
    release: Option<Release>,
    no_answer: bool,
    effects: Vec<Effect>,
}

fn any_passes() -> impl Strategy<Value = Vec<AnyPass>> {
    let pass = (
        0..90_u64,
        any_list(),
        any_targets(),
        any_release(),
        prop::bool::weighted(0.2),
        prop::collection::vec(any_effect(), 0..4),
    );
    let pass = pass.prop_map(
        |(gap, list, targets, release, no_answer, effects)| AnyPass {
            gap,
            list,
            targets,
            release,
            no_answer,
            effects,
        },
    );
    prop::collection::vec(pass, 1..8)
}

/// Every bound of a plan that can be told from one pass alone.
fn check(pass: &Pass, targets: Targets, list: &[Machine], policy: &Policy) {
    let Pass {
        asked,
        doubted,
        observed,
        limited,
        plan,
    } = pass;
    let missing = |id: &String| list.iter().all(|machine| machine.id != *id);
    let is_bare = |id: &String| {
        let shown = list.iter().find(|machine| machine.id == *id);
        shown.is_some_and(|machine| machine.process_group.is_empty())
    };
    let in_question = |id: &String| missing(id) || is_bare(id) || doubted.contains(id);
    assert!(asked.len() <= 20 && asked.iter().all(in_question));
    check_limits(Kind::Created, targets.created, limited.created, policy);
    check_limits(Kind::Started, targets.started, limited.started, policy);

    let machine = |id: &str| -> &Machine {
        list.iter()
            .find(|machine| machine.id == id)
            .expect("acted on a machine that the list does not show")
    };
    let touch = |ids: Vec<&str>, taken_down: bool| {
        let unique: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(unique.len(), ids.len(), "none twice");
        for id in ids {
            let machine = machine(id);
            assert_eq!(machine.process_group, policy.process_group);
            assert!(machine.host_ok && !machine.standby && !machine.scheduled);
            assert!(!taken_down || !machine.protected);
            assert!(!taken_down || policy.own_machine.as_deref() != Some(id));
            let member = observed.member(id).expect("it counts");
            assert!(!member.pending, "no write to it is under way");
        }
    };
    let created = limited.created;
    let started = limited.started;
    match &plan.action {
        None => assert_eq!(plan.decision(), Decision::NoScale),
        Some(Action::Create {
            source,
            count,
            placement,
            ..
        }) => {
            let after = observed.created + count;
            assert!(*count > 0 && after <= created.expect("a target").min);
            let bound = policy.ceiling.unwrap_or(u32::MAX);
            assert_eq!(observed.unasked, 0, "too many are missing");
            assert!(
                after
                    + observed.failed
                    + observed.unreachable_uncounted()
                    + observed.doubtful_creates
                    <= bound,
                "the ceiling"
            );
            assert!(machine(&source.id).state.may_be_cloned());
            assert!(policy.clone_volumes || !machine(&source.id).has_mounts);
            assert!(placement.region_count() > 0);
        }
        Some(Action::Destroy { victims }) => {
            touch(
                victims.iter().map(|victim| victim.id.as_str()).collect(),
                true,
            );
            let count = u32::try_from(victims.len()).expect("few");
            assert!(count > 0);
            let Bounds { min, max } = created.expect("a target");
            let broken = |victim: &&crate::scaling::Victim| machine(&victim.id).state.is_failed();
            let failed = u32::try_from(victims.iter().filter(broken).count()).expect("few");
            if observed.created < min {
                assert_eq!(failed, count, "only failed ones");
                let above = observed.present().saturating_sub(max);
                let mut members = observed.members.iter();
                let has_source = members.any(|member| member.may_be_cloned(policy));
                let growth = if has_source {
                    min - observed.created
                } else {
                    0
                };
                assert!(count <= above.max(growth), "only what growth can use");
            } else {
                assert!(observed.present() - count >= max);
                assert!(count == failed || observed.created - (count - failed) >= max);
            }
            for victim in victims {
                let state = &machine(&victim.id).state;
                assert!(state.destroy_rank().is_some(), "{state} is never destroyed");
                assert_eq!(victim.running, *state == State::Started);
                assert!(policy.clone_volumes || !machine(&victim.id).has_mounts);
            }
            let in_doubt = |member: &crate::scaling::Member| {
                let id = &member.machine.id;
                member.unsettled_destroy || observed.lately.victims_in_doubt.contains(id)
            };
            let kept = |condition: &dyn Fn(&crate::scaling::Member) -> bool| {
                observed
                    .members
                    .iter()
                    .filter(|member| member.is_listed() && !in_doubt(member) && condition(member))
                    .any(|member| victims.iter().all(|victim| victim.id != member.machine.id))
            };
            let sure = observed.members.iter().filter(|member| {
                member.is_listed() && !in_doubt(member) && !member.machine.state.is_failed()
            });
            let sure = u32::try_from(sure.count()).expect("few");
            assert!(
                count == failed || sure - (count - failed) >= max,
                "what may be gone is no part of the surplus"
            );
            assert!(kept(&|_| true), "one stays");
            let clonable = |member: &crate::scaling::Member| member.may_be_cloned(policy);
            if victims
                .iter()
                .any(|victim| observed.member(&victim.id).is_some_and(clonable))
            {
                assert!(kept(&clonable), "one that may be cloned stays");
            }
        }
        Some(Action::Start { candidates, count }) => {
            touch(candidates.iter().map(String::as_str).collect(), false);
            assert!(*count > 0 && *count as usize <= candidates.len());
            if targets.started == Target::Unset {
                let victims = &observed.lately.stopped_victims;
                assert!(candidates.iter().all(|id| victims.contains(id)));
                assert!(observed.present() <= created.expect("a target").max);
                let at_rest = [State::Stopped, State::Suspended];
                assert!(
                    candidates
                        .iter()
                        .all(|id| at_rest.contains(&machine(id).state))
                );
            } else {
                assert!(observed.started + count <= started.expect("a target").min);
            }
        }
        Some(Action::Stop { candidates, count }) => {
            touch(candidates.iter().map(String::as_str).collect(), true);
            assert!(*count > 0 && *count as usize <= candidates.len());
            assert!(observed.started - count >= started.expect("a target").max);
            assert!(candidates.iter().all(|id| !machine(id).auto_destroy));
        }
    }
    for (number, note) in plan.notes.iter().enumerate() {
        assert!(!note.to_string().is_empty());
        assert!(!plan.notes[..number].contains(note), "{note}: said twice");
    }
}

/// Limits only narrow what is asked for, and the floor and the ceiling hold.
fn check_limits(kind: Kind, target: Target, limited: Option<Bounds>, policy: &Policy) {
    let (floor, ceiling, fallback) = match kind {
        Kind::Created => (policy.floor, policy.ceiling, policy.fallback.created),
        Kind::Started => (None, None, policy.fallback.started),
    };
    let clamp = |count: u32| {
        count
            .min(ceiling.unwrap_or(u32::MAX))
            .max(floor.unwrap_or(0))
    };
    match (target, limited) {
        (Target::Unset, limited) => assert_eq!(limited, None),
        (Target::Missing, None) => assert_eq!(floor, None, "the floor needs no target"),
        (Target::Missing, Some(bounds)) => {
            assert_eq!(bounds.max, u32::MAX, "nothing shrinks without a target");
            assert!(bounds.min <= clamp(fallback.unwrap_or(0)));
        }
        (Target::Bounds(_) | Target::Capped { .. }, None) => panic!("a target was lost"),
        (Target::Capped { max, .. }, Some(bounds)) => {
            assert!(bounds.min <= bounds.max);
            assert!(bounds.min <= clamp(max));
            assert!(bounds.max >= clamp(max));
        }
        (Target::Bounds(asked), Some(bounds)) => {
            assert!(bounds.min <= bounds.max);
            assert!(bounds.min <= clamp(asked.min));
            assert!(bounds.max >= clamp(asked.max));
        }
    }
}

proptest! {
    #[test]
    fn no_plan_passes_a_bound_or_touches_what_it_must_not(
        policy in any_policy(),
        passes in any_passes(),
    ) {
        let mut fleet = Fleet::new(policy);
        let mut second = 0;
        for pass in passes {
            second += pass.gap;
            fleet.release = pass.release;
            fleet.no_answer = pass.no_answer;
            let now = fleet.at(second);
            let seen = fleet.pass_over(now, pass.targets, pass.list.clone());
            check(&seen, pass.targets, &pass.list, &fleet.policy);
            fleet.record(second, &seen.observed, &pass.effects);
        }
    }

    #[test]
    fn the_order_of_the_list_changes_nothing(
        policy in any_policy(),
        passes in any_passes(),
        seed in any::<u64>(),
    ) {
        let (mut one, mut other) = (Fleet::new(policy.clone()), Fleet::new(policy));
        let (mut second, mut seed) = (0, seed | 1);
        for pass in passes {
            second += pass.gap;
            let mut shuffled = pass.list.clone();
            for index in (1..shuffled.len()).rev() {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let with = usize::try_from(seed >> 33).expect("31 bits") % (index + 1);
                shuffled.swap(index, with);
            }
            one.release.clone_from(&pass.release);
            other.release = pass.release;
            let (now_one, now_other) = (one.at(second), other.at(second));
            let first = one.pass_over(now_one, pass.targets, pass.list);
            let again = other.pass_over(now_other, pass.targets, shuffled);
            prop_assert_eq!(&first.observed, &again.observed);
            prop_assert_eq!(&first.limited, &again.limited);
            prop_assert_eq!(&first.plan, &again.plan);
            one.record(second, &first.observed, &pass.effects);
            other.record(second, &again.observed, &pass.effects);
        }
    }
}

/// A platform that does what it is asked for, sooner or later, and lists that show its past.
struct World {
    fleet: Fleet,
    /// Each machine's states and since when it has been in them, in milliseconds; `None`: it is gone.
    histories: BTreeMap<String, Vec<(i64, Option<State>)>>,
    regions: BTreeMap<String, String>,
    second: i64,
}

/// How one pass and its writes go.
#[derive(Debug, Clone)]
struct Course {
    /// Seconds since the pass before.
    gap: i64,
    /// How many seconds the list lags behind, machine by machine.
    lags: Vec<i64>,
    /// Whether a machine on its way has arrived by now.
    arrives: Vec<bool>,
    /// Whether a write works.
    works: Vec<bool>,
    /// The region whose machines the list lacks.
    lacks: Option<&'static str>,
}

/// A course whose lists lag by less than the given seconds.
fn any_course(lag: i64, failures: f64) -> impl Strategy<Value = Course> {
    let course = (
        1..40_i64,
        prop::collection::vec(0..lag, 8),
        prop::collection::vec(any::<bool>(), 5),
        prop::collection::vec(prop::bool::weighted(1.0 - failures), 7),
    );
    course.prop_map(|(gap, lags, arrives, works)| Course {
        gap,
        lags,
        arrives,
        works,
        lacks: None,
    })
}

impl World {
    fn new(policy: Policy, states: &[&str]) -> Self {
        let mut world = Self {
            fleet: Fleet::new(policy),
            histories: BTreeMap::new(),
            regions: BTreeMap::new(),
            second: 0,
        };
        for (number, state) in states.iter().enumerate() {
            let id = format!("a{number}");
            let region = REGIONS[number % REGIONS.len()].to_owned();
            world
                .histories
                .insert(id.clone(), vec![(-900_000, Some(State::parse(state)))]);
            world.regions.insert(id, region);
        }
        world
    }

    fn state(&self, id: &str) -> Option<&State> {
        self.histories.get(id)?.last()?.1.as_ref()
    }

    fn change(&mut self, id: &str, at: i64, state: Option<State>) {
        self.histories
            .entry(id.to_owned())
            .or_default()
            .push((at, state));
    }

    fn count(&self, counts: impl Fn(&State) -> bool) -> u32 {
        let states = self.histories.keys().filter_map(|id| self.state(id));
        u32::try_from(states.filter(|state| counts(state)).count()).expect("few")
    }

    fn created(&self) -> u32 {
        self.count(|_| true)
    }

    fn started(&self) -> u32 {
        let launched = self.fleet.policy.initial_state == InitialState::Started;
        self.count(|state| match state {
            State::Started | State::Starting => true,
            State::Created => launched,
            _ => false,
        })
    }

    /// Time passes, and machines on their way arrive, none so late that it would count as stuck.
    fn advance(&mut self, course: &Course) {
        self.second += course.gap;
        let launched = self.fleet.policy.initial_state == InitialState::Started;
        let ids: Vec<String> = self.histories.keys().cloned().collect();
        for (number, id) in ids.iter().enumerate() {
            let arrived = match self.state(id) {
                Some(State::Starting) => State::Started,
                Some(State::Created) if launched => State::Started,
                Some(State::Created | State::Stopping) => State::Stopped,
                _ => continue,
            };
            let (since, _) = self.histories[id].last().expect("it has a state");
            let overdue = self.second * 1000 - since > 100_000;
            if overdue || course.arrives[number % course.arrives.len()] {
                self.change(id, self.second * 1000, Some(arrived));
            }
        }
    }

    fn list(&self, course: &Course) -> Vec<Machine> {
        let mut list = Vec::new();
        for (number, (id, history)) in self.histories.iter().enumerate() {
            let shown_at = (self.second - course.lags[number % course.lags.len()]) * 1000;
            let shown = history.iter().rev().find(|(since, _)| *since <= shown_at);
            let Some((since, Some(state))) = shown else {
                continue;
            };
            if course.lacks == Some(self.regions[id].as_str()) {
                continue;
            }
            list.push(self.shown(id, *since, state));
        }
        list
    }

    fn shown(&self, id: &str, since: i64, state: &State) -> Machine {
        let at =
            |millisecond: i64| -> Timestamp { wall(0) + SignedDuration::from_millis(millisecond) };
        let mut machine = Machine::new(id, self.regions[id].clone(), state.clone());
        machine.updated_at = Some(at(since));
        machine.created_at = Some(at(self.histories[id][0].0));
        machine
    }

    /// What asking for each machine by its id tells: the truth.
    fn answers(&self) -> BTreeMap<String, Answer> {
        let there = self.histories.iter().filter_map(|(id, history)| {
            let (since, state) = history.last()?;
            let machine = self.shown(id, *since, state.as_ref()?);
            Some((id.clone(), Answer::Machine(Box::new(machine))))
        });
        there.collect()
    }

    fn now(&self) -> (u64, Now) {
        let second = u64::try_from(self.second).expect("after the beginning");
        (second, self.fleet.at(second))
    }

    /// One pass: what it sees, what it does, what it remembers.
    fn pass(&mut self, targets: Targets, course: &Course) -> Pass {
        let (second, now) = self.now();
        let list = self.list(course);
        self.fleet.answers = self.answers();
        let pass = self.fleet.pass_over(now, targets, list.clone());
        check(&pass, targets, &list, &self.fleet.policy);
        let effects = self.carry_out(pass.plan.action.clone(), course);
        self.fleet.record(second, &pass.observed, &effects);
        pass
    }

    /// A pass that counts all there are, and acts on no more than is wanted.
    fn pass_that_sees_all(
        &mut self,
        targets: Targets,
        course: &Course,
    ) -> Result<Pass, TestCaseError> {
        let (before_created, before_started) = (self.created(), self.started());
        let pass = self.pass(targets, course);
        prop_assert_eq!(pass.observed.created, before_created);
        prop_assert_eq!(pass.observed.started, before_started);
        let created = pass.limited.created.expect("a created target");
        let started = pass.limited.started.expect("a started target");
        match pass.plan.decision() {
            Decision::Create => prop_assert!(self.created() <= created.min),
            Decision::Destroy => prop_assert!(self.created() >= created.max.max(1)),
            Decision::Start => prop_assert!(self.started() <= started.min),
            Decision::Stop => prop_assert!(self.started() >= started.max),
            Decision::NoScale => {}
        }
        Ok(pass)
    }

    fn carry_out(&mut self, action: Option<Action>, course: &Course) -> Vec<Effect> {
        let at = self.second * 1000 + 500;
        let mut works = course.works.iter().cycle();
        let mut works = move || *works.next().expect("a cycle never ends");
        let mut effects = Vec::new();
        match action {
            None => {}
            Some(Action::Create {
                source,
                count,
                mut placement,
            }) => {
                self.fleet.memory.note_source(source.fingerprint, false);
                for _ in 0..count {
                    let Some(region) = placement.next_region() else {
                        break;
                    };
                    if !works() {
                        effects.push(Effect::CreateRefused { region });
                        continue;
                    }
                    let id = format!("b{}", self.histories.len());
                    self.change(&id, at, Some(State::Created));
                    self.regions.insert(id.clone(), region.clone());
                    effects.push(Effect::Created { id, region });
                }
            }
            Some(Action::Destroy { victims }) => {
                for victim in victims {
                    let id = victim.id;
                    if victim.running {
                        self.change(&id, at, Some(State::Stopping));
                        effects.push(Effect::VictimStopped { id: id.clone() });
                        // It takes longer to stop than the pass has time.
                        if !works() {
                            continue;
                        }
                    }
                    if works() {
                        self.change(&id, at + 1, None);
                        effects.push(Effect::Destroyed { id });
                    } else {
                        effects.push(Effect::DestroyRefused { id, woken: false });
                    }
                }
            }
            Some(Action::Start { candidates, count }) => {
                let mut left = count;
                for id in candidates {
                    if left > 0 && works() {
                        left -= 1;
                        self.change(&id, at, Some(State::Starting));
                        effects.push(Effect::Started { id });
                    }
                }
            }
            Some(Action::Stop { candidates, count }) => {
                let mut left = count;
                for id in candidates {
                    if left > 0 && works() {
                        left -= 1;
                        self.change(&id, at, Some(State::Stopping));
                        effects.push(Effect::Stopped { id });
                    }
                }
            }
        }
        effects
    }
}

fn resting_states() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(vec!["started", "stopped"]), 1..8)
}

fn both_bounds() -> impl Strategy<Value = Targets> {
    (any_bounds(), any_bounds()).prop_map(|(created, started)| Targets {
        created: Target::Bounds(created),
        started: Target::Bounds(started),
    })
}

proptest! {
    /// However lists lag, even one behind the one before it, and whatever is refused: within a minute of a write the
    /// counts that a pass sees are those that there are, so that none acts twice.
    #[test]
    fn lists_that_lag_hide_no_write_of_ours(
        policy in any_policy(),
        states in resting_states(),
        passes in prop::collection::vec((both_bounds(), any_course(60, 0.2)), 1..30),
    ) {
        let mut world = World::new(policy, &states);
        for (targets, course) in passes {
            world.advance(&course);
            let pass = world.pass_that_sees_all(targets, &course)?;
            if pass.plan.decision() == Decision::NoScale {
                prop_assert_eq!(world.created(), pass.observed.created);
                prop_assert_eq!(world.started(), pass.observed.started);
            }
        }
    }

    /// Whatever lists lack, region by region: what was seen or made once counts, and nothing is done twice for it.
    #[test]
    fn lists_that_lack_machines_hide_none_that_was_seen(
        policy in any_policy(),
        states in resting_states(),
        passes in prop::collection::vec(
            (both_bounds(), any_course(1, 0.2), prop::option::of(prop::sample::select(&REGIONS[..]))),
            1..30,
        ),
    ) {
        let mut world = World::new(policy, &states);
        for (number, (targets, course, lacks)) in passes.into_iter().enumerate() {
            let course = Course { lacks: lacks.filter(|_| number > 0), ..course };
            world.advance(&course);
            world.pass_that_sees_all(targets, &course)?;
        }
    }

    #[test]
    fn constant_targets_that_can_be_reached_are_reached_and_left_alone(
        policy in any_policy(),
        states in resting_states(),
        (min, width) in (1..9_u32, 0..4_u32),
        (started_min, started_width) in (0..9_u32, 0..4_u32),
        course in any_course(60, 0.0),
    ) {
        let mut policy = Policy { floor: None, ceiling: None, own_machine: None, ..policy };
        for step in [&mut policy.step.up, &mut policy.step.down] {
            *step = step.filter(|step| step.machines(1) > 0);
        }
        let created = Bounds { min, max: min + width };
        let started_min = started_min.min(min);
        let started = Bounds { min: started_min, max: started_min + started_width };
        let targets = Targets { created: Target::Bounds(created), started: Target::Bounds(started) };
        let course = Course { gap: 15, arrives: vec![true], works: vec![true], ..course };
        let mut world = World::new(policy, &states);
        for _ in 0..120 {
            world.advance(&course);
            world.pass(targets, &course);
        }
        for _ in 0..10 {
            world.advance(&course);
            let pass = world.pass(targets, &course);
            prop_assert_eq!(pass.plan.decision(), Decision::NoScale);
        }
        prop_assert!((created.min..=created.max).contains(&world.created()), "{}", world.created());
        prop_assert!((started.min..=started.max).contains(&world.started()), "{}", world.started());
    }
}

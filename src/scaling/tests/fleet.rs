//! Fleets written as text, for tests: `a ord started release=5 cordoned` is a machine.
//!
//! Times are whole seconds since the beginning of a test, on both clocks.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use crate::scaling::{
    ActingPass, Answer, Bounds, Effect, Kind, Limited, Machine, MachineConfig, Memory, Now,
    Observed, Plan, Planner, Policy, Release, ReleaseView, Standstills, State, Target, Targets,
    ids_to_ask, limit,
};

/// One app over several passes.
pub(in crate::scaling) struct Fleet {
    pub(in crate::scaling) policy: Policy,
    pub(in crate::scaling) memory: Memory,
    pub(in crate::scaling) release: Option<Release>,
    /// Whether nobody answers what the current release is.
    pub(in crate::scaling) no_answer: bool,
    /// What asking for a machine by its id tells; the others are as the list shows them, or gone.
    pub(in crate::scaling) answers: BTreeMap<String, Answer>,
    start: Instant,
}

/// Everything that one pass over a [`Fleet`] resolved.
pub(in crate::scaling) struct Pass {
    /// The machines that were asked for by id.
    pub(in crate::scaling) asked: Vec<String>,
    /// Those of which the list denies what was written to them.
    pub(in crate::scaling) doubted: Vec<String>,
    pub(in crate::scaling) observed: Observed,
    pub(in crate::scaling) limited: Limited,
    pub(in crate::scaling) plan: Plan,
}

impl Fleet {
    pub(in crate::scaling) fn new(policy: Policy) -> Self {
        Self {
            policy,
            memory: Memory::default(),
            release: None,
            no_answer: false,
            answers: BTreeMap::new(),
            start: Instant::now(),
        }
    }

    /// The same app with what it remembers, to see what else could become of it.
    pub(in crate::scaling) fn fork(&self) -> Self {
        Self {
            start: self.start,
            memory: self.memory.clone(),
            ..Self::new(self.policy.clone())
        }
    }

    pub(in crate::scaling) fn at(&self, second: u64) -> Now {
        Now {
            monotonic: self.start + Duration::from_secs(second),
            wall: wall(i64::try_from(second).expect("tests are short")),
        }
    }

    /// A pass begins, after the process stood still where it did.
    pub(in crate::scaling) fn begin_pass(&mut self, standstills: Standstills, now: Instant) {
        self.memory.begin_pass(standstills, &self.policy, now);
    }

    pub(in crate::scaling) fn observe(&mut self, second: u64, machines: &[&str]) -> Observed {
        let list: Vec<Machine> = machines.iter().map(|text| machine(text)).collect();
        let now = self.at(second);
        self.memory.note_list(list, &self.policy, now)
    }

    /// As [`Fleet::observe`], with a list that tells the truth: asking for a machine in doubt tells no more.
    pub(in crate::scaling) fn observe_and_ask(
        &mut self,
        second: u64,
        machines: &[&str],
    ) -> Observed {
        let mut observed = self.observe(second, machines);
        let doubts = observed.lately.doubts.keys();
        let answers = doubts.map(|id| {
            let mut shown = machines.iter().map(|text| machine(text));
            let shown = shown.find(|machine| machine.id == *id);
            let answer = shown.map(|machine| Answer::Machine(Box::new(machine)));
            (id.clone(), answer.unwrap_or(Answer::Gone))
        });
        let answers = answers.collect();
        let now = self.at(second);
        self.memory
            .settle(&mut observed, answers, &self.policy, now);
        observed
    }

    pub(in crate::scaling) fn pass(
        &mut self,
        second: u64,
        targets: Targets,
        machines: &[&str],
    ) -> Pass {
        let list = machines.iter().map(|text| machine(text)).collect();
        self.pass_over(self.at(second), targets, list)
    }

    /// What a pass would do that sees this.
    pub(in crate::scaling) fn plan_of(
        &self,
        second: u64,
        observed: &Observed,
        limited: &Limited,
    ) -> Plan {
        let planner = Planner {
            observed,
            policy: &self.policy,
            memory: &self.memory,
            release: ReleaseView::Known(self.release.as_ref()),
            now: self.at(second),
        };
        planner.plan(limited)
    }

    pub(in crate::scaling) fn pass_over(
        &mut self,
        now: Now,
        targets: Targets,
        list: Vec<Machine>,
    ) -> Pass {
        let shown = list.clone();
        let mut observed = self.memory.note_list(list, &self.policy, now);
        let doubted = observed.lately.doubts.keys().cloned().collect();
        let asked = ids_to_ask(&observed, &self.policy, &self.memory, now, |_| targets);
        let answers = asked.iter().map(|id| {
            let listed = shown.iter().find(|machine| machine.id == *id);
            let listed = listed.map(|machine| Answer::Machine(Box::new(machine.clone())));
            let known = self.answers.get(id).cloned();
            (id.clone(), known.or(listed).unwrap_or(Answer::Gone))
        });
        let answers = answers.collect();
        self.memory
            .settle(&mut observed, answers, &self.policy, now);
        let limited = limit(targets, &observed, &self.policy, &mut self.memory, now);
        let release = if self.no_answer {
            ReleaseView::NoAnswer
        } else {
            ReleaseView::Known(self.release.as_ref())
        };
        let planner = Planner {
            observed: &observed,
            policy: &self.policy,
            memory: &self.memory,
            release,
            now,
        };
        let plan = planner.plan(&limited);
        Pass {
            asked,
            doubted,
            observed,
            limited,
            plan,
        }
    }

    /// Asking for this machine by its id shows it.
    pub(in crate::scaling) fn exists(&mut self, text: &str) {
        let machine = machine(text);
        let id = machine.id.clone();
        self.answers.insert(id, Answer::Machine(Box::new(machine)));
    }

    /// Records outcomes of the pass that began at `second`.
    pub(in crate::scaling) fn record(
        &mut self,
        second: u64,
        observed: &Observed,
        effects: &[Effect],
    ) {
        let pass = ActingPass {
            observed,
            policy: &self.policy,
            began: self.at(second),
        };
        for effect in effects {
            self.memory
                .record(effect.clone(), pass.began.monotonic, pass);
        }
    }
}

pub(in crate::scaling) fn wall(second: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a literal timestamp");
    start + SignedDuration::from_secs(second)
}

/// Reads `id region state` and what is special about the machine.
pub(in crate::scaling) fn machine(text: &str) -> Machine {
    let mut words = text.split_whitespace();
    let mut word = || {
        words
            .next()
            .unwrap_or_else(|| panic!("id, region and state: {text}"))
    };
    let (id, region, state) = (word(), word(), word());
    let mut machine = Machine::new(id, region, State::parse(state));
    let number = |value: &str| -> i64 {
        value
            .parse()
            .unwrap_or_else(|_| panic!("a number: {value} in {text}"))
    };
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name {
            "release" => machine.release = Some(number(value).unsigned_abs()),
            "memory" => machine.config = Some(with_memory(number(value))),
            "kill" => machine.kill_timeout = Duration::from_secs(number(value).unsigned_abs()),
            "made" => machine.created_at = Some(wall(number(value))),
            "updated" => machine.updated_at = Some(wall(number(value))),
            "group" => machine.process_group = value.into(),
            "host-down" => machine.host_ok = false,
            "standby" => machine.standby = true,
            "scheduled" => machine.scheduled = true,
            "protected" => machine.protected = true,
            "auto-destroy" => machine.auto_destroy = true,
            "cordoned" => machine.cordoned = true,
            "critical" => machine.critical = true,
            "mounts" => machine.has_mounts = true,
            "no-config" => machine.config = None,
            "no-image" => machine.config = Some(MachineConfig::new("{}", None)),
            _ => panic!("unknown word {word} in {text}"),
        }
    }
    machine
}

/// A configuration that another size of memory tells from others.
pub(in crate::scaling) fn with_memory(megabytes: i64) -> MachineConfig {
    let json = format!(r#"{{"image":"registry/app","guest":{{"memory_mb":{megabytes}}}}}"#);
    MachineConfig::new(json, None)
}

/// A target of the created machines alone.
pub(in crate::scaling) fn created(min: u32, max: u32) -> Targets {
    Targets {
        created: Target::Bounds(Bounds { min, max }),
        started: Target::Unset,
    }
}

/// A target of the started machines alone.
pub(in crate::scaling) fn started(min: u32, max: u32) -> Targets {
    Targets {
        created: Target::Unset,
        started: Target::Bounds(Bounds { min, max }),
    }
}

/// Both targets.
pub(in crate::scaling) fn both(created: (u32, u32), started: (u32, u32)) -> Targets {
    let bounds = |(min, max)| Target::Bounds(Bounds { min, max });
    Targets {
        created: bounds(created),
        started: bounds(started),
    }
}

/// A target of one kind that has no value.
pub(in crate::scaling) fn missing(kind: Kind) -> Targets {
    let mut targets = Targets::default();
    match kind {
        Kind::Created => targets.created = Target::Missing,
        Kind::Started => targets.started = Target::Missing,
    }
    targets
}

/// The ids of the members.
pub(in crate::scaling) fn ids(observed: &Observed) -> Vec<&str> {
    let members = observed.members.iter();
    members.map(|member| member.machine.id.as_str()).collect()
}

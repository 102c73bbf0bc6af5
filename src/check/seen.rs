//! What the command brings back: every answer, or why there is none.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    collect::{CollectError, Sample},
    config::{CollectorKind, Config, FleetConfig},
    decide::{Decided, ReleaseAnswer, Undecided},
    expr::Values,
    machines::{ApiError, AppAbout, TokenScope},
    scaling::{
        Busyness, Counts, Evaluation, Group, Limited, Machine, Memory, Now, Observed, Policy,
        Release, limit, regions_of, strays_of,
    },
    shown::excerpt,
};

/// The longest name of a group, region or state that is shown, in characters: whoever makes a machine chooses them.
pub(super) const NAME_LIMIT: usize = 60;

/// What was seen of one app.
pub struct Seen<'seen> {
    /// The configuration.
    pub config: &'seen Config,
    /// What of it is about this app and process group.
    pub settings: &'seen FleetConfig,
    /// The app.
    pub app: &'seen str,
    /// Whether the app may be without machines: a wildcard matched it, and nobody named it.
    pub may_be_empty: bool,
    /// The time.
    pub now: Now,
    /// How long what a pass asks before it acts took, one after the other as a pass asks it.
    pub took: Duration,
    /// What the token is for, by its own account.
    pub scope: Result<Vec<TokenScope>, ApiError>,
    /// The app, by its own account.
    pub about: Result<AppAbout, ApiError>,
    /// Each metric, in the order of the collectors.
    pub metrics: Vec<Reading>,
    /// How busy machines are, where the policy wants to know.
    pub busy: Option<Result<Busyness, CollectError>>,
    /// The values that expressions read: the metrics', and the counts' where the machines are known.
    pub values: Values,
    /// The machines and what comes of them.
    pub fleet: Result<Fleet, ApiError>,
    /// The current release, where no decision has asked for it.
    pub release: Option<Result<Option<Release>, ApiError>>,
}

impl Seen<'_> {
    /// Whether there is no machine and need not be: metrics of nothing are then no trouble.
    pub(super) fn is_excused(&self) -> bool {
        let is_empty = |fleet: &Fleet| fleet.crowd.total == 0;
        self.may_be_empty && self.fleet.as_ref().is_ok_and(is_empty)
    }

    /// What the current release is.
    pub(super) fn release(&self) -> Option<&Result<Option<Release>, ApiError>> {
        let fleet = self.fleet.as_ref().ok();
        let asked = fleet.and_then(|fleet| fleet.decided.asked.as_deref());
        asked.or(self.release.as_ref())
    }
}

/// One metric that was asked for.
#[derive(Debug)]
pub struct Reading {
    /// Its name.
    pub metric: String,
    /// What was asked.
    pub kind: CollectorKind,
    /// The query as it was sent.
    pub query: String,
    /// The server's address, without secrets.
    pub address: String,
    /// What was answered.
    pub result: Result<Sample, CollectError>,
}

/// The machines of one app, and what a pass would do about them.
#[derive(Debug)]
pub struct Fleet {
    /// All machines of the app, as the list has them.
    pub crowd: Crowd,
    /// Those of the process group, or of one region of it.
    pub observed: Observed,
    /// What the expressions ask for.
    pub evaluation: Evaluation,
    /// What is left of that after limits.
    pub limited: Limited,
    /// What a pass would do.
    pub decided: Decided,
}

impl Fleet {
    /// What comes of a list, by the code that the daemon decides by and a memory as that of a daemon which has just started.
    ///
    /// Puts the counts of the machines beside the metrics in `values`. Awaits `ask` and `ask_busy` only where [`Undecided::decide`] does.
    pub async fn of(
        settings: &FleetConfig,
        machines: Vec<Machine>,
        values: &mut Values,
        now: Now,
        (ask, ask_busy): (
            impl Future<Output = ReleaseAnswer>,
            impl Future<Output = Busyness>,
        ),
    ) -> Self {
        let policy = &settings.policy;
        let crowd = Crowd::of(&machines, policy);
        let mut memory = Memory::default();
        let strays = policy.region.as_deref().map(|region| {
            let strays = strays_of(&machines, policy, &BTreeSet::from([region]));
            strays.into_iter().cloned().collect::<Vec<Machine>>()
        });
        let mut observed = memory.note_list(machines, policy, now);
        if let Some(strays) = strays {
            let group = Group::of([&observed], &strays);
            observed.elsewhere = group.beside(0, policy);
        }
        let is_metric = |name: &str| settings.collectors.iter().any(|one| one.metric == name);
        *values = Counts::of(&observed).beside(values, is_metric);
        let evaluation = settings.targets.evaluate(values, now);
        let limited = limit(evaluation.targets, &observed, policy, &mut memory, now);
        let undecided = Undecided {
            observed: &mut observed,
            place: None,
            limited: &limited,
            policy,
            memory: &mut memory,
            now,
        };
        let decided = undecided.decide(ask, ask_busy).await;
        Self {
            crowd,
            observed,
            evaluation,
            limited,
            decided,
        }
    }

    /// How many machines there are, as expressions see them.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts::of(&self.observed)
    }
}

/// All machines that an app's list shows, those that are not scaled too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Crowd {
    /// How many there are.
    pub total: u32,
    /// How many of each process group; those of no group under an empty name.
    pub by_group: BTreeMap<String, u32>,
    /// How many of the scaled group's are standbys or scheduled, which are neither counted nor touched.
    pub aside: u32,
    /// How many are on hosts that do not answer, whose group may not be readable.
    pub unreachable: u32,
    /// How many of the scaled group's are cordoned.
    pub cordoned: u32,
    /// How many of the scaled group's are protected.
    pub protected: u32,
    /// How many of the scaled group's have a critical health check.
    pub critical: u32,
    /// The regions of the scaled group.
    pub regions: BTreeSet<String>,
}

impl Crowd {
    /// Counts a list.
    #[must_use]
    pub fn of(machines: &[Machine], policy: &Policy) -> Self {
        let mut crowd = Self {
            regions: regions_of(machines, policy),
            ..Self::default()
        };
        for machine in machines {
            crowd.total += 1;
            crowd.unreachable += u32::from(!machine.host_ok);
            let group = excerpt(&machine.process_group, NAME_LIMIT);
            *crowd.by_group.entry(group).or_default() += 1;
            if policy.scales_group(&machine.process_group) {
                crowd.aside += u32::from(machine.standby || machine.scheduled);
                crowd.cordoned += u32::from(machine.cordoned);
                crowd.protected += u32::from(machine.protected);
                crowd.critical += u32::from(machine.critical);
            }
        }
        crowd
    }
}

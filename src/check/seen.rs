//! What the command brings back: every answer, or why there is none.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    collect::{CollectError, Sample},
    config::{CollectorKind, Config, FleetConfig},
    decide::{Decided, Place, ReleaseAnswer, Told, Undecided},
    expr::Values,
    machines::{ApiError, AppAbout, TokenScope},
    scaling::{
        Busyness, Counts, Evaluation, Ids, Limited, Machine, MachineList, Memory, Now, Observed,
        Policy, limit, regions_of, strays_of,
    },
    shown::excerpt,
};

/// The longest name of a group, region or state that is shown, in characters: whoever makes a machine chooses them.
pub(super) const NAME_LIMIT: usize = 60;

/// What was seen of one app.
pub struct Seen<'seen> {
    /// The configuration.
    pub config: &'seen Config,
    /// What of it is about this app and process group, or one region of it.
    pub settings: &'seen FleetConfig,
    /// How many regions of the group are fleets, where each is one; `None` where that is not known.
    pub regions: Option<usize>,
    /// The app.
    pub app: &'seen str,
    /// Whether the app may be without machines: a wildcard matched it, and nobody named it.
    pub may_be_empty: bool,
    /// The time.
    pub now: Now,
    /// How long what a pass asks before it acts took, one after the other as a pass asks it.
    pub took: Duration,
    /// What the token is for, by its own account.
    pub scope: &'seen Result<Vec<TokenScope>, ApiError>,
    /// The app, by its own account.
    pub about: &'seen Result<AppAbout, ApiError>,
    /// Each metric, in the order of the collectors.
    pub metrics: Vec<Reading>,
    /// How busy machines are, where the policy wants to know.
    pub busy: Option<Result<Busyness, CollectError>>,
    /// The values that expressions read: the metrics', and the counts' where the machines are known.
    pub values: Values,
    /// The machines and what comes of them.
    pub fleet: Result<Fleet, Arc<ApiError>>,
    /// The current release.
    pub release: ReleaseAnswer,
}

impl Seen<'_> {
    /// Whether there is no machine and need not be: metrics of nothing are then no trouble.
    pub(super) fn is_excused(&self) -> bool {
        let is_empty = |fleet: &Fleet| fleet.crowd.total == 0;
        self.may_be_empty && self.fleet.as_ref().is_ok_and(is_empty)
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
    /// Whether something else is asked, or elsewhere, for each region.
    pub asks_each_region: bool,
    /// What was answered.
    pub result: Result<Sample, CollectError>,
}

/// A fleet of which it is to be said what a pass would do, and what it goes by.
#[derive(Debug)]
pub struct Wanted<'asked> {
    /// What is wanted of it.
    pub settings: &'asked FleetConfig,
    /// The metrics; the counts of its machines are put beside them.
    pub values: &'asked mut Values,
    /// How busy machines are, as a pass would be told that has to know.
    pub busy: Busyness,
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
    /// What comes of a list for each fleet that a policy has in an app, by the code that the daemon decides by and a memory as
    /// that of a daemon which has just started. Regions of one group decide one after the other, beside each other.
    pub async fn of_all(
        wanted: Vec<Wanted<'_>>,
        machines: &[Machine],
        release: &ReleaseAnswer,
        now: Now,
    ) -> Vec<Self> {
        let ids = machines.iter().map(|machine| machine.id.as_str().into());
        let ids: Arc<Ids> = Arc::new(ids.collect());
        let seen = wanted.into_iter().map(|wanted| {
            let mut memory = Memory::default();
            let list = MachineList::shared(machines, &ids);
            let observed = memory.note_list(list, &wanted.settings.policy, now);
            (wanted, memory, observed)
        });
        let seen: Vec<(Wanted<'_>, Memory, Observed)> = seen.collect();
        let policies = seen.iter().map(|(wanted, ..)| &wanted.settings.policy);
        let regions = policies.clone().filter_map(|one| one.region.as_deref());
        let regions: BTreeSet<&str> = regions.collect();
        let strays = policies.clone().next().map(|policy| {
            let strays = strays_of(machines, policy, &regions);
            strays.into_iter().cloned().collect::<Vec<Machine>>()
        });
        let members: Vec<&Observed> = seen.iter().map(|(.., observed)| observed).collect();
        let places = Place::of_each(&members, &strays.unwrap_or_default());
        let mut fleets = Vec::new();
        for ((wanted, memory, observed), place) in seen.into_iter().zip(places) {
            let place = wanted.settings.policy.region.is_some().then_some(place);
            let known = (machines, release, now);
            fleets.push(Self::of(wanted, (memory, observed), place, known).await);
        }
        fleets
    }

    async fn of(
        wanted: Wanted<'_>,
        (mut memory, mut observed): (Memory, Observed),
        place: Option<Place>,
        (machines, release, now): (&[Machine], &ReleaseAnswer, Now),
    ) -> Self {
        let Wanted {
            settings,
            values,
            busy,
        } = wanted;
        let policy = &settings.policy;
        if let Some(place) = &place {
            observed.elsewhere = place.beside(policy);
        }
        let is_metric = |name: &str| settings.collectors.iter().any(|one| one.metric == name);
        *values = Counts::of(&observed).beside(values, is_metric);
        let evaluation = settings.targets.evaluate(values, now);
        let limited = limit(evaluation.targets, &observed, policy, &mut memory, now);
        if policy.asks_busy {
            // A pass asks once something that runs is to go; what waits for that is told by what is known already.
            observed.busyness = busy.about(&observed);
        }
        let busyness = observed.busyness.clone();
        let undecided = Undecided {
            observed: &mut observed,
            place: place.as_ref(),
            limited: &limited,
            policy,
            memory: &mut memory,
            now,
        };
        let answer = async { Told::after(None, Arc::clone(release)) };
        let decided = undecided.decide(answer, async { busyness }).await;
        Self {
            crowd: Crowd::of(machines, policy),
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

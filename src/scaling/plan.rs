//! Planning: what a pass would do, from what it saw and what it is to reach.
//!
//! A [`Planner`] is total and deterministic: the same fields give the same plan, and the order of the machine list is not
//! among them. A [`Plan`] is data. How a failure spends the count is part of it: a destroy names exactly its victims,
//! so that a failed one spends its slot; a start or stop names every candidate in order and a count, so that a failed
//! one moves on to the next; a create asks its [`Placement`] for a region, and tells it of refusals.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{
    Bounds, Busyness, CloneTemplate, EVERY_GROUP, Fingerprint, Kind, Limited, Machine, Member,
    Memory, Note, Now, Observed, Placement, Policy, ReleaseView, State, Unsettled, count,
    group::Shown,
    is_among,
    observe::Presence,
    order::{
        DestroyOrder, clone_source, may_be_down, may_be_replaced, start_order, stop_order,
        surely_exists,
    },
    release::may_do_without_answer,
    surplus::{Slots, existing},
};
use crate::shown::excerpt;

/// What a pass resolved to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What is to be done; `None`: nothing.
    pub action: Option<Action>,
    /// Why, in numbers.
    pub reason: Reason,
    /// What else there is to say.
    pub notes: Vec<Note>,
    /// What is wrong; the pass then counts as failed whatever else it does.
    pub failure: Option<PlanFailure>,
}

/// One step towards the targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Clone a machine.
    Create {
        /// What is cloned.
        source: CloneSource,
        /// How many clones.
        count: u32,
        /// Where they go.
        placement: Placement,
    },
    /// Destroy exactly these machines, or fewer.
    Destroy {
        /// The victims, first to last.
        victims: Vec<Victim>,
    },
    /// Start machines: the first `count` of the candidates with which it works.
    Start {
        /// The candidates' ids, first to last.
        candidates: Vec<String>,
        /// How many to start.
        count: u32,
    },
    /// Stop machines: the first `count` of the candidates with which it works.
    Stop {
        /// The candidates' ids, first to last.
        candidates: Vec<String>,
        /// How many to stop.
        count: u32,
    },
}

/// What is cloned: the machine that was chosen, as it was seen when it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloneSource {
    /// The machine's id.
    pub id: String,
    /// What its clones have in common.
    pub template: Arc<CloneTemplate>,
    /// Stands for the configuration.
    pub fingerprint: Fingerprint,
    /// Whether its clones are removed by the platform when they end.
    pub ends_by_itself: bool,
}

impl CloneSource {
    /// A machine whose configuration is known and can be cloned.
    fn of(machine: &Machine) -> Option<Self> {
        let config = machine.config.as_ref()?;
        let template = CloneTemplate::new(config).ok()?;
        Some(Self {
            id: machine.id.clone(),
            template: Arc::new(template),
            fingerprint: Fingerprint::of(config),
            ends_by_itself: machine.auto_destroy,
        })
    }
}

/// One machine to destroy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victim {
    /// Its id.
    pub id: String,
    /// Names this version of it, as waiting for it wants; empty where the API says none.
    pub instance_id: String,
    /// Whether it runs: it is then stopped first and waited for.
    pub running: bool,
}

/// What a pass did, in upstream's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// Machines were created.
    Create,
    /// Machines were destroyed.
    Destroy,
    /// Machines were started.
    Start,
    /// Machines were stopped.
    Stop,
    /// Nothing was to be done, or nothing could be.
    NoScale,
}

impl Decision {
    /// Every decision.
    pub const ALL: [Self; 5] = [
        Self::Create,
        Self::Destroy,
        Self::Start,
        Self::Stop,
        Self::NoScale,
    ];

    /// The label of `fas_reconcile_count{status}`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Destroy => "destroy",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::NoScale => "no_scale",
        }
    }
}

/// Why a plan is what it is, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reason {
    /// Every configured count is inside its band.
    #[default]
    Inside,
    /// There are fewer machines than the lower bound.
    Below {
        /// The kind.
        kind: Kind,
        /// How many there are.
        current: u32,
        /// The lower bound.
        min: u32,
    },
    /// There are more machines than the upper bound.
    Above {
        /// The kind.
        kind: Kind,
        /// How many there are.
        current: u32,
        /// The upper bound.
        max: u32,
    },
    /// Machines that were stopped to be destroyed no longer have to go.
    VictimsReturn {
        /// How many.
        machines: u32,
    },
    /// No kind has a target in this pass.
    NoTarget,
    /// The machines could not be listed.
    NoList,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inside => formatter.write_str("nothing to do: as many machines as wanted"),
            Self::NoTarget => formatter.write_str("nothing is done: no target has a value"),
            Self::NoList => {
                formatter.write_str("nothing is done: the machines could not be listed")
            }
            Self::VictimsReturn { machines: 1 } => {
                formatter.write_str("1 machine that was stopped to be destroyed is needed again")
            }
            Self::VictimsReturn { machines } => write!(
                formatter,
                "{machines} machines that were stopped to be destroyed are needed again"
            ),
            Self::Below { kind, current, min } => {
                write!(formatter, "{}, {min} wanted", Counted(*kind, *current))
            }
            Self::Above { kind, current, max } => {
                write!(formatter, "{}, only {max} wanted", Counted(*kind, *current))
            }
        }
    }
}

/// How many machines of a kind there are: `1 machine exists`, `3 machines are started`.
struct Counted(Kind, u32);

impl fmt::Display for Counted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&match *self {
            Self(Kind::Created, 1) => "1 machine exists".to_owned(),
            Self(Kind::Created, count) => format!("{count} machines exist"),
            Self(Kind::Started, 1) => "1 machine is started".to_owned(),
            Self(Kind::Started, count) => format!("{count} machines are started"),
        })
    }
}

/// Why a plan cannot do what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanFailure {
    /// There is nothing to clone.
    #[error(
        "no machine available to clone for scale up{}",
        NoSourceDetails(process_group, groups, *unlisted, *flawed)
    )]
    NoSource {
        /// The process group that is scaled.
        process_group: String,
        /// The process groups that machines of the app have, as far as the list shows them.
        groups: BTreeSet<String>,
        /// How many machines of the process group the list lacks.
        unlisted: u32,
        /// Whether there are machines whose configuration cannot be cloned.
        flawed: bool,
    },
    /// What was created in the fleet's region is in another one.
    #[error(
        "a machine that was created in {asked} is in {found}: nothing more is created there until that one has been gone for an hour; is {asked} a region, and not a name for several (fly platform regions)?"
    )]
    Strayed {
        /// The fleet's region.
        asked: String,
        /// Where the machine is.
        found: String,
    },
}

impl PlanFailure {
    /// There is nothing to clone in what was observed.
    #[must_use]
    pub fn no_source(observed: &Observed, policy: &Policy) -> Self {
        let mut members = observed.members.iter();
        Self::NoSource {
            process_group: policy.process_group.clone(),
            groups: observed.groups.clone(),
            unlisted: count(observed.unlisted.len()),
            flawed: members.any(|member| member.flaw().is_some()),
        }
    }
}

/// The longest name of a process group that is shown, in characters: whoever makes a machine chooses it.
const GROUP_LIMIT: usize = 60;

/// Where one looked for a machine to clone, which groups there are instead, how many of its own the list lacks, and whether
/// it has such as cannot be cloned.
struct NoSourceDetails<'a>(&'a str, &'a BTreeSet<String>, u32, bool);

impl fmt::Display for NoSourceDetails<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(wanted, groups, unlisted, flawed) = self;
        let missing = if *unlisted > 0 {
            "are missing from the list, "
        } else {
            ""
        };
        let flawed = if *flawed {
            ", or a configuration that cannot be cloned"
        } else {
            ""
        };
        if *wanted == EVERY_GROUP {
            return write!(
                formatter,
                ": the app's machines {missing}have failed, are on unreachable hosts, or have volumes (FAS_CLONE_VOLUMES){flawed}, or there are none"
            );
        }
        if groups.contains(*wanted) {
            return write!(
                formatter,
                ": the machines of the group \"{wanted}\" {missing}have failed, are on unreachable hosts, or have volumes (FAS_CLONE_VOLUMES){flawed}"
            );
        }
        write!(formatter, ": ")?;
        if *unlisted > 0 {
            write!(
                formatter,
                "{unlisted} of the group \"{wanted}\" are missing from the list, and "
            )?;
        }
        write!(
            formatter,
            "no machine of the group \"{wanted}\" can be cloned"
        )?;
        if groups.is_empty() {
            return formatter.write_str(" (the list shows no machine of any group)");
        }
        let shown = groups
            .iter()
            .take(10)
            .map(|group| format!("\"{}\"", excerpt(group, GROUP_LIMIT)))
            .collect::<Vec<_>>()
            .join(", ");
        write!(formatter, " (groups in the list: {shown})")
    }
}

impl Plan {
    /// Leaves undone what must not be done while nobody answers what the current release is.
    fn withhold(&mut self, observed: &Observed, release: ReleaseView<'_>) {
        if release != ReleaseView::NoAnswer {
            return;
        }
        let Some(action) = &self.action else { return };
        let withheld = may_do_without_answer(action, observed).err();
        let note = Note::ReleaseUnknown { withheld };
        // Both steps may have something to do, and not do it for the same reason.
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
        if withheld.is_some() {
            self.action = None;
        }
    }

    /// Whether a machine that runs is to be stopped or destroyed.
    #[must_use]
    pub fn takes_running(&self) -> bool {
        match &self.action {
            Some(Action::Destroy { victims }) => victims.iter().any(|victim| victim.running),
            Some(Action::Stop { .. }) => true,
            Some(Action::Create { .. } | Action::Start { .. }) | None => false,
        }
    }

    /// What the plan is, in upstream's words.
    #[must_use]
    pub fn decision(&self) -> Decision {
        match self.action {
            None => Decision::NoScale,
            Some(Action::Create { .. }) => Decision::Create,
            Some(Action::Destroy { .. }) => Decision::Destroy,
            Some(Action::Start { .. }) => Decision::Start,
            Some(Action::Stop { .. }) => Decision::Stop,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machines = |count: u32| if count == 1 { "machine" } else { "machines" };
        match self {
            Self::Create { source, count, .. } => {
                write!(
                    formatter,
                    "create {count} {} like {}",
                    machines(*count),
                    source.id
                )
            }
            Self::Destroy { victims } => {
                let count = count(victims.len());
                write!(formatter, "destroy {count} {}", machines(count))
            }
            Self::Start { count, .. } => write!(formatter, "start {count} {}", machines(*count)),
            Self::Stop { count, .. } => write!(formatter, "stop {count} {}", machines(*count)),
        }
    }
}

/// Plans a pass from what it knows.
#[derive(Debug, Clone, Copy)]
pub struct Planner<'pass> {
    /// What the pass sees.
    pub observed: &'pass Observed,
    /// What it goes by.
    pub policy: &'pass Policy,
    /// What it remembers of earlier ones.
    pub memory: &'pass Memory,
    /// What it knows of the current release.
    pub release: ReleaseView<'pass>,
    /// When it began.
    pub now: Now,
}

impl Planner<'_> {
    /// Resolves what to do to reach the `limited` targets. See the module's documentation.
    #[must_use]
    pub fn plan(&self, limited: &Limited) -> Plan {
        let mut plan = Plan {
            notes: limited.notes.clone(),
            ..Plan::default()
        };
        note_left_out(self.observed, &mut plan.notes);
        if limited.created.is_none() && limited.started.is_none() {
            plan.reason = Reason::NoTarget;
            return plan;
        }
        if limited.nobody_has_to_go {
            plan_return(self.observed, &mut plan);
        }
        if let Some(bounds) = limited.created.filter(|_| plan.action.is_none()) {
            self.plan_created(bounds, &mut plan);
        }
        plan.withhold(self.observed, self.release);
        if plan.action.is_none() {
            if let Some(bounds) = limited.started {
                self.plan_started(bounds, &mut plan);
            }
            plan.withhold(self.observed, self.release);
        }
        plan.hold_growth_that_is_blind(self.observed);
        plan
    }

    fn plan_created(&self, bounds: Bounds, plan: &mut Plan) {
        let observed = self.observed;
        let current = observed.created;
        if current < bounds.min {
            plan.reason = Reason::Below {
                kind: Kind::Created,
                current,
                min: bounds.min,
            };
            let growth = self.plan_create(bounds.min - current, plan);
            if plan.action.is_none() {
                self.plan_destroy_failed(bounds, growth, plan);
            }
        } else if observed.present() > bounds.max {
            plan.reason = Reason::Above {
                kind: Kind::Created,
                current: observed.present(),
                max: bounds.max,
            };
            self.plan_destroy(bounds, plan);
        }
    }

    /// Plans to create as many as are `wanted` and fit under the ceiling. Returns how many it would create if there were room
    /// for all.
    fn plan_create(&self, wanted: u32, plan: &mut Plan) -> u32 {
        let Self {
            observed,
            policy,
            memory,
            release,
            now,
        } = *self;
        if let (Some(asked), Some(found)) = (&policy.region, memory.strayed_to()) {
            plan.failure = Some(PlanFailure::Strayed {
                asked: asked.as_ref().to_owned(),
                found: excerpt(found, GROUP_LIMIT),
            });
            return 0;
        }
        let chosen = clone_source(observed, policy, release);
        plan.notes.extend(not_clonable(observed));
        let Some((machine, source)) = chosen.and_then(|member| {
            let source = CloneSource::of(&member.machine)?;
            Some((&member.machine, source))
        }) else {
            let with_mounts = observed
                .members
                .iter()
                .filter(|member| member.machine.has_mounts)
                .count();
            let with_mounts = count(with_mounts).saturating_add(observed.elsewhere.with_mounts);
            if with_mounts > 0 && !policy.clone_volumes {
                plan.notes.push(Note::MountsNotCloned {
                    machines: with_mounts,
                });
            }
            plan.failure = Some(PlanFailure::no_source(observed, policy));
            return 0;
        };
        let room = policy.ceiling.map_or(u32::MAX, |ceiling| {
            ceiling.saturating_sub(
                observed
                    .created
                    .saturating_add(observed.failed)
                    .saturating_add(observed.unreachable_uncounted())
                    .saturating_add(observed.doubtful_creates),
            )
        });
        let allowed = wanted.min(room);
        if allowed < wanted {
            plan.notes.push(Note::CeilingLeavesNoRoom {
                wanted,
                allowed,
                failed: observed.failed,
                unreachable: count(observed.unreachable.len()),
                doubtful: observed.doubtful_creates,
            });
        }
        if let Some(remaining) = memory.create_pause(source.fingerprint, now.monotonic) {
            let wanted = if allowed == 0 { wanted } else { allowed };
            plan.notes.push(Note::CreatePaused { wanted, remaining });
            return 0;
        }
        if allowed == 0 {
            // Nor does anything grow while machines that the list lacks have not been asked for.
            return if observed.unasked == 0 { wanted } else { 0 };
        }
        plan.action = Some(Action::Create {
            source,
            count: allowed,
            placement: Placement::new(&machine.region, observed, policy, memory, now.monotonic),
        });
        wanted
    }

    /// Where growth can do nothing now, failed machines go that are above the maximum, and of those that take its places
    /// under the ceiling as many as `growth` would create there. Where nothing could be created in their place, they stay: a
    /// list that is wrong about them for once, or machines that somebody repairs, are then all that there is. No working one
    /// goes with them.
    fn plan_destroy_failed(&self, bounds: Bounds, growth: u32, plan: &mut Plan) {
        let Self {
            observed, policy, ..
        } = *self;
        // A floor or a fallback that stands in for a target never destroys.
        let has_target = bounds.max < u32::MAX;
        if !has_target || observed.failed_expendable == 0 || blue_green_under_way(observed) {
            return;
        }
        let (present, _) = existing(observed, policy);
        let above = present.saturating_sub(bounds.max);
        // Whatever may be gone leaves room.
        let there = observed.members.iter().filter(|member| {
            surely_exists(observed, member) || member.presence == Presence::Unreachable
        });
        let there = count(there.count()).saturating_add(observed.unreachable_uncounted());
        let room = policy.ceiling.unwrap_or(u32::MAX).saturating_sub(there);
        let most = policy
            .step
            .down
            .map_or(u32::MAX, |step| step.machines(observed.present()));
        let in_the_way = growth.saturating_sub(room).min(most);
        let mut order = DestroyOrder::new(observed, policy, 0);
        plan.destroy(order.take(false, above.max(in_the_way)));
    }

    fn plan_destroy(&self, bounds: Bounds, plan: &mut Plan) {
        let Self {
            observed,
            policy,
            memory,
            now,
            ..
        } = *self;
        let surplus = observed.present() - bounds.max;
        if blue_green_under_way(observed) {
            plan.notes.push(Note::BlueGreen { surplus });
            return;
        }
        let slots = Slots::new(observed, bounds, policy);
        let ripe = memory
            .running_surplus_of(policy.destroy_running_after, now.monotonic)
            .saturating_sub(slots.waiting_as_running);
        let reached = count(slots.running.len());
        let unripe = reached.saturating_sub(ripe);
        let waiting = slots.waiting + slots.waiting_as_running;
        let mut victims = slots.resting;
        let ripe_victims = slots.running.into_iter().zip(0..ripe);
        victims.extend(ripe_victims.map(|(member, _)| member));

        let taken = count(victims.len());
        if waiting > 0 {
            plan.notes
                .push(Note::WaitsForStopping { machines: waiting });
        }
        if unripe > 0 {
            plan.notes.push(Note::RunningSurplusWaits {
                machines: unripe,
                after: policy.destroy_running_after,
                unless_busy: policy.asks_busy,
            });
        }
        let kept = surplus
            .saturating_sub(taken)
            .saturating_sub(waiting)
            .saturating_sub(unripe);
        self.note_kept(surplus, kept, &mut plan.notes);
        let failed = failed(observed, &observed.lately.destroys_failed, |member| {
            member.is_expendable(policy) && member.machine.state.destroy_rank().is_some()
        });
        if !failed.is_empty() {
            let mut taken = victims.iter();
            let again = taken.any(|member| is_among(&member.machine.id, &failed));
            plan.notes.push(Note::DestroysFailed {
                machines: failed,
                again,
            });
        }
        plan.destroy(victims);
    }

    /// Says why a part of a surplus stays.
    fn note_kept(&self, surplus: u32, kept: u32, notes: &mut Vec<Note>) {
        let Self {
            observed, policy, ..
        } = *self;
        let of_kept = |left: u32, pick: &dyn Fn(&Member) -> bool| {
            let members = observed.members.iter().filter(|member| pick(member));
            count(members.count()).min(left)
        };
        let is_in_doubt = |member: &Member| member.is_listed() && !surely_exists(observed, member);
        let may_be_gone = of_kept(kept, &is_in_doubt);
        let unseen = of_kept(kept - may_be_gone, &|member| {
            matches!(member.presence, Presence::Unlisted | Presence::Expected)
        });
        let with_mounts = of_kept(kept - may_be_gone - unseen, &|member| {
            member.is_expendable(policy) && !may_be_replaced(member, policy)
        });
        let busy = of_kept(kept - may_be_gone - unseen - with_mounts, &|member| {
            member.is_expendable(policy)
                && may_be_replaced(member, policy)
                && surely_exists(observed, member)
                && observed.busyness.spares(member, policy)
        });
        self.note_busy(busy, notes);
        if unseen > 0 {
            notes.push(Note::UnseenSurplus { machines: unseen });
        }
        if may_be_gone > 0 {
            let is_unanswered = |member: &Member| {
                let denied = observed.lately.doubts.contains_key(&member.machine.id);
                member.unsettled_destroy && !denied
            };
            let mut members = observed.members.iter();
            notes.push(Note::MayBeGone {
                machines: may_be_gone,
                unanswered: members.all(|member| !is_in_doubt(member) || is_unanswered(member)),
            });
        }
        if with_mounts > 0 {
            notes.push(Note::MountsNotDestroyed {
                machines: with_mounts,
            });
        }
        let mut others = kept - may_be_gone - unseen - with_mounts - busy;
        let beside = observed.elsewhere.existing;
        if others > 0 && policy.region.is_some() && beside == 0 && existing(observed, policy).0 == 1
        {
            notes.push(Note::LastOfGroup);
            others = 0;
        }
        if others > 0 {
            notes.push(Note::NotDestroyable {
                wanted: surplus,
                kept: others,
            });
        }
    }

    /// Says that so many running machines stay because of how busy they are, or may be.
    fn note_busy(&self, machines: u32, notes: &mut Vec<Note>) {
        let note = match self.observed.busyness {
            _ if machines == 0 => return,
            Busyness::Unknown => Note::BusyUnknown { machines },
            _ => Note::BusyStay { machines },
        };
        // Both steps may have something to take, and not take it for the same reason.
        let is_like = |one: &Note| std::mem::discriminant(one) == std::mem::discriminant(&note);
        if !notes.iter().any(is_like) {
            notes.push(note);
        }
    }

    fn plan_started(&self, bounds: Bounds, plan: &mut Plan) {
        let Self {
            observed, policy, ..
        } = *self;
        let current = observed.started;
        let ids = |members: Vec<&Member>| -> Vec<String> {
            members
                .into_iter()
                .map(|member| member.machine.id.clone())
                .collect()
        };
        if current < bounds.min {
            let below = bounds.min - current;
            let candidates = start_order(observed);
            let may_be_up = |member: &Member| member.unsettled == Some(Unsettled::Start);
            let wanted = plan.unspent(below, observed, may_be_up, &candidates);
            let candidates = ids(candidates);
            let failed = failed(observed, &observed.lately.starts_failed, |member| {
                member.is_free() && !member.started && member.machine.state.is_down()
            });
            let available = count(candidates.len());
            if available < wanted {
                plan.notes.push(Note::TooFewStopped { wanted, available });
            }
            if !failed.is_empty() {
                let again = takes_any(&candidates, wanted, &failed);
                plan.notes.push(Note::StartsFailed {
                    machines: failed,
                    again,
                });
            }
            let reason = Reason::Below {
                kind: Kind::Started,
                current,
                min: bounds.min,
            };
            let count = wanted.min(available);
            let action = (count > 0).then_some(Action::Start { candidates, count });
            plan.take_started_step(reason, action);
        } else if current > bounds.max {
            // What may run somewhere out of sight takes no running machine's place.
            let sure = observed.members.iter();
            let sure = sure.filter(|member| member.is_listed() && member.started);
            let above = count(sure.count()).saturating_sub(bounds.max);
            let candidates = stop_order(observed, policy);
            // Counted as started so far; a victim is no candidate here, but its slot is spent all the same.
            let may_be_down = |member: &Member| member.started && may_be_down(observed, member);
            let wanted = plan.unspent(above, observed, may_be_down, &candidates);
            let candidates = ids(candidates);
            let available = count(candidates.len());
            let missing = wanted.saturating_sub(available);
            let spared = observed.members.iter().filter(|member| {
                let may_be_stopped = member.is_expendable(policy) && !member.machine.auto_destroy;
                may_be_stopped && observed.busyness.spares(member, policy)
            });
            let busy = count(spared.count()).min(missing);
            self.note_busy(busy, &mut plan.notes);
            if missing > busy {
                plan.notes.push(Note::TooFewStoppable { wanted, available });
            }
            let failed = failed(observed, &observed.lately.stops_failed, |member| {
                member.is_expendable(policy) && member.machine.state == State::Started
            });
            if !failed.is_empty() {
                let again = takes_any(&candidates, wanted, &failed);
                plan.notes.push(Note::StopsFailed {
                    machines: failed,
                    again,
                });
            }
            let reason = Reason::Above {
                kind: Kind::Started,
                current,
                max: bounds.max,
            };
            let count = wanted.min(available);
            let action = (count > 0).then_some(Action::Stop { candidates, count });
            plan.take_started_step(reason, action);
        }
    }
}

/// Says which machines growth passes over because of their configuration; the first of them is the example.
fn not_clonable(observed: &Observed) -> Option<Note> {
    let mut flawed = observed.members.iter().filter_map(|member| {
        let clonable = member.is_listed() && member.machine.state.may_be_cloned();
        let flaw = if clonable { member.flaw() } else { None };
        Some((&member.machine.id, flaw?))
    });
    let (example, reason) = flawed.next()?;
    Some(Note::NotClonable {
        machines: count(flawed.count()) + 1,
        example: example.clone(),
        reason: reason.to_owned(),
    })
}

fn note_left_out(observed: &Observed, notes: &mut Vec<Note>) {
    if !observed.unreachable.is_empty() {
        let machines = count(observed.unreachable.len());
        notes.push(Note::Unreachable {
            machines,
            counted: machines - observed.unreachable_uncounted().min(machines),
        });
    }
    if !observed.unlisted.is_empty() {
        notes.push(Note::Unlisted {
            machines: count(observed.unlisted.len()),
        });
    }
    if observed.assumed_creates > 0 {
        notes.push(Note::CreatesAssumed {
            creates: observed.assumed_creates,
        });
    }
    let stuck: Vec<String> = observed
        .members
        .iter()
        .filter(|member| member.stuck)
        .map(|member| member.machine.id.clone())
        .collect();
    if !stuck.is_empty() {
        notes.push(Note::Stuck { machines: stuck });
    }
}

/// Starts victims again that we have stopped and not destroyed: they ran before, and growth would count them and leave
/// them down. Nobody else's machines, and before anything is created.
fn plan_return(observed: &Observed, plan: &mut Plan) {
    if observed.lately.stopped_victims.is_empty() {
        return;
    }
    let mut candidates = start_order(observed);
    candidates.retain(|member| {
        let was_stopped_by_us = observed.lately.stopped_victims.contains(&member.machine.id);
        let rests = matches!(member.machine.state, State::Stopped | State::Suspended);
        was_stopped_by_us && rests && surely_exists(observed, member)
    });
    let machines = count(candidates.len());
    if machines == 0 {
        return;
    }
    plan.reason = Reason::VictimsReturn { machines };
    let ids = candidates.into_iter();
    plan.action = Some(Action::Start {
        candidates: ids.map(|member| member.machine.id.clone()).collect(),
        count: machines,
    });
}

/// The ids of those that would have an earlier turn, had the last attempt held; sorted.
fn failed(
    observed: &Observed,
    failed: &BTreeSet<String>,
    may_be_taken: impl Fn(&Member) -> bool,
) -> Vec<String> {
    let ids = failed.iter();
    ids.filter(|id| observed.member(id).is_some_and(&may_be_taken))
        .cloned()
        .collect()
}

/// Whether one of `failed` is among the first `count` candidates.
fn takes_any(candidates: &[String], count: u32, failed: &[String]) -> bool {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut taken = candidates.iter().take(count);
    taken.any(|id| is_among(id, failed))
}

/// Whether a cordoned machine has a newer release than one that is not cordoned; machines without a release say nothing
/// of a deploy.
fn blue_green_under_way(observed: &Observed) -> bool {
    let shown = Shown::of_group(observed);
    let releases = |cordoned: bool| {
        let releases = shown.releases.iter();
        releases.filter_map(move |(of, release)| (*of == cordoned).then_some(release))
    };
    matches!((releases(true).max(), releases(false).min()), (Some(newest), Some(oldest)) if newest > oldest)
}

impl Plan {
    fn destroy(&mut self, victims: Vec<&Member>) {
        if victims.is_empty() {
            return;
        }
        let victims = victims
            .into_iter()
            .map(|member| Victim {
                id: member.machine.id.clone(),
                instance_id: member.machine.instance_id.clone(),
                running: member.machine.state == State::Started,
            })
            .collect();
        self.action = Some(Action::Destroy { victims });
    }

    /// How many of this step's slots are left beside machines whose start or stop may have happened, with a note.
    ///
    /// Those that are told again use their slots themselves. Where there are more of them than slots, none is told again:
    /// the ones that have happened may be all that are wanted.
    fn unspent(
        &mut self,
        slots: u32,
        observed: &Observed,
        may_have_happened: impl Fn(&Member) -> bool,
        candidates: &[&Member],
    ) -> u32 {
        let unsettled = |member: &&Member| may_have_happened(member);
        let of_all = count(observed.members.iter().filter(unsettled).count());
        let told_again = count(candidates.iter().copied().filter(unsettled).count());
        let spent = if of_all > slots {
            of_all
        } else {
            of_all - told_again
        };
        if spent > 0 {
            self.notes.push(Note::OutcomeUnknown { machines: spent });
        }
        slots.saturating_sub(spent)
    }

    /// Takes the started step's action, after a created step that has none. Its reason counts when it acts, or when the
    /// created step had none.
    fn take_started_step(&mut self, reason: Reason, action: Option<Action>) {
        if action.is_some() || self.reason == Reason::Inside {
            self.reason = reason;
        }
        self.action = action;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::{
        Effect, Machine,
        tests::fleet::{Fleet, both, created},
    };

    #[test]
    fn decisions_are_named_as_upstream_names_them() {
        let names = Decision::ALL.map(Decision::as_str);
        assert_eq!(names, ["create", "destroy", "start", "stop", "no_scale"]);
    }

    #[test]
    fn actions_are_told_in_words() {
        let ids = ["a", "b"].map(str::to_owned).to_vec();
        let victim = Victim {
            id: "a".to_owned(),
            instance_id: String::new(),
            running: false,
        };
        let cases = [
            (
                Action::Destroy {
                    victims: vec![victim],
                },
                "destroy 1 machine",
            ),
            (
                Action::Start {
                    candidates: ids.clone(),
                    count: 2,
                },
                "start 2 machines",
            ),
            (
                Action::Stop {
                    candidates: ids,
                    count: 1,
                },
                "stop 1 machine",
            ),
        ];
        for (action, words) in cases {
            assert_eq!(action.to_string(), words);
        }
        let mut fleet = Fleet::new(Policy::default());
        let plan = fleet.pass(0, created(3, 3), &["a ord started"]).plan;
        let words = plan.action.map(|action| action.to_string());
        assert_eq!(words.as_deref(), Some("create 2 machines like a"));
    }

    #[test]
    fn a_failure_names_few_of_many_groups() {
        let failure = PlanFailure::NoSource {
            process_group: "app".to_owned(),
            groups: (10..30).map(|number| format!("g{number}")).collect(),
            unlisted: 0,
            flawed: false,
        };
        assert_eq!(
            failure.to_string(),
            "no machine available to clone for scale up: no machine of the group \"app\" can be cloned (groups in the list: \"g10\", \"g11\", \"g12\", \"g13\", \"g14\", \"g15\", \"g16\", \"g17\", \"g18\", \"g19\")"
        );
    }

    #[test]
    fn what_is_said_is_true_where_a_list_lacks_machines() {
        let whole = ["a ord started", "b ord started", "c iad stopped"];
        let source = |list: &[&str]| {
            let mut fleet = Fleet::new(Policy::default());
            fleet.observe(0, &whole);
            for machine in whole {
                fleet.exists(machine);
            }
            let plan = fleet.pass(15, created(4, 4), list).plan;
            plan.failure.map(|failure| failure.to_string())
        };
        let cases: [(&[&str], &str); 3] = [
            (
                &[],
                "3 of the group \"app\" are missing from the list, and no machine of the group \"app\" can be cloned (the list shows no machine of any group)",
            ),
            (
                &["w ord started group=web"],
                "3 of the group \"app\" are missing from the list, and no machine of the group \"app\" can be cloned (groups in the list: \"web\")",
            ),
            (
                &["c iad stopped host-down"],
                "the machines of the group \"app\" are missing from the list, have failed, are on unreachable hosts, or have volumes (FAS_CLONE_VOLUMES)",
            ),
        ];
        for (list, expected) in cases {
            let said = source(list).expect("nothing to clone");
            let expected = format!("no machine available to clone for scale up: {expected}");
            assert_eq!(said, expected, "{list:?}");
        }

        // Three are too many, of which the list shows one; it is the last.
        let mut fleet = Fleet::new(Policy::default());
        fleet.observe(0, &whole);
        let notes = fleet.pass(15, created(1, 1), &["c iad stopped"]).plan.notes;
        assert_eq!(
            notes,
            [
                Note::Unlisted { machines: 2 },
                Note::UnseenSurplus { machines: 2 }
            ]
        );
    }

    #[test]
    fn a_blue_green_deploy_is_one_whatever_else_is_wrong_with_its_machines() {
        // What is said of the new one and of an old one; whether nothing is destroyed.
        let cases = [
            ("stopped cordoned", "stopped", true),
            ("started cordoned critical", "stopped", true),
            ("stopped cordoned critical", "stopped critical", true),
            ("stopped cordoned", "started critical", true),
            ("failed cordoned", "stopped", true),
            ("stopped cordoned", "failed", true),
            (
                "stopped cordoned auto-destroy protected",
                "stopped mounts",
                true,
            ),
            ("stopped critical", "stopped", false),
            (
                "stopped cordoned critical",
                "stopped cordoned critical",
                false,
            ),
        ];
        for (new, old, held) in cases {
            let mut fleet = Fleet::new(Policy::default());
            let list = [
                format!("a ord {old} release=4"),
                format!("b ord {new} release=5"),
                "c ord stopped release=5".to_owned(),
                "d ord stopped release=5".to_owned(),
            ];
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            fleet.observe(0, &list);
            for list in [&list[..], &list[..2], &[list[0], list[2], list[3]]] {
                let mut fleet = fleet.fork();
                let plan = fleet.pass(15, created(1, 1), list).plan;
                let told = plan
                    .notes
                    .iter()
                    .any(|note| matches!(note, Note::BlueGreen { .. }));
                assert_eq!(told, held, "{new}, {old}: {:?}", plan.notes);
                assert!(!held || plan.action.is_none(), "{new}, {old}");
            }
        }
    }

    #[test]
    fn a_surplus_of_running_machines_is_taken_at_once_where_no_wait_is_set() {
        let mut fleet = Fleet::new(Policy {
            destroy_running_after: std::time::Duration::ZERO,
            ..Policy::default()
        });
        let pass = fleet.pass(0, created(1, 1), &["a ord started", "b ord started"]);
        let victims = vec![Victim {
            id: "a".to_owned(),
            instance_id: String::new(),
            running: true,
        }];
        assert_eq!(pass.plan.action, Some(Action::Destroy { victims }));
    }

    #[test]
    fn a_target_of_none_leaves_one() {
        let mut fleet = Fleet::new(Policy::default());
        let list = ["a ord stopped", "b ord stopped"];
        let plan = fleet.pass(0, created(0, 0), &list).plan;
        let victims = vec![Victim {
            id: "a".to_owned(),
            instance_id: String::new(),
            running: false,
        }];
        assert_eq!(plan.action, Some(Action::Destroy { victims }));
        assert_eq!(plan.notes, [Note::NotDestroyable { wanted: 2, kept: 1 }]);
    }

    #[test]
    fn what_may_be_gone_is_no_part_of_a_surplus() {
        type Case = (
            &'static str,
            &'static [&'static str],
            &'static [&'static str],
            u32,
            &'static [&'static str],
        );
        let cases: [Case; 4] = [
            (
                "more may be gone than are too many",
                &[
                    "a failed",
                    "b stopped",
                    "c started",
                    "d started",
                    "e started",
                ],
                &["a", "b"],
                4,
                &[],
            ),
            (
                "a list that lags shows the one that is gone as running",
                &[
                    "a started",
                    "b stopped",
                    "c stopped",
                    "d started",
                    "e started",
                ],
                &["a"],
                4,
                &[],
            ),
            (
                "all of them seem to run",
                &[
                    "a started",
                    "b started",
                    "c started",
                    "d started",
                    "e started",
                ],
                &["a", "b", "c"],
                3,
                &[],
            ),
            (
                "what is too many without them goes",
                &[
                    "a stopped",
                    "b stopped",
                    "c stopped",
                    "d started",
                    "e started",
                ],
                &["a"],
                2,
                &["b", "c"],
            ),
        ];
        for (name, list, unknown, target, expected) in cases {
            let mut fleet = Fleet::new(Policy {
                destroy_running_after: std::time::Duration::ZERO,
                ..Policy::default()
            });
            let list: Vec<String> = list
                .iter()
                .map(|machine| machine.replace(' ', " ord "))
                .collect();
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            let observed = fleet.observe(0, &list);
            let effects: Vec<Effect> = unknown
                .iter()
                .map(|id| Effect::DestroyUnknown {
                    id: (*id).to_owned(),
                })
                .collect();
            fleet.record(0, &observed, &effects);
            let plan = fleet.pass(15, created(target, target), &list).plan;
            let victims = match plan.action {
                Some(Action::Destroy { victims }) => victims,
                None => Vec::new(),
                other => panic!("{name}: {other:?}"),
            };
            let ids: Vec<&str> = victims.iter().map(|victim| victim.id.as_str()).collect();
            assert_eq!(ids, expected, "{name}");
        }
    }

    /// Nothing here may take time that grows with the square of the fleet: it would not end.
    #[test]
    fn a_hundred_thousand_machines_are_planned() {
        const COUNT: u32 = 100_000;
        let states = ["started", "stopped", "failed", "created", "stopping"];
        let list = || -> Vec<Machine> {
            (0..COUNT)
                .map(|number| {
                    let id = format!("m{number:06}");
                    // As many regions as machines, which is worse than any platform.
                    let region = format!("r{}", number % 50_000);
                    let state = states[number as usize % states.len()];
                    let mut machine = Machine::new(id, region, State::parse(state));
                    machine.release = Some(u64::from(number % 7));
                    machine
                })
                .collect()
        };
        let regions = (0..50).map(|number| format!("r{number}")).collect();
        let mut fleet = Fleet::new(Policy {
            regions,
            destroy_running_after: std::time::Duration::ZERO,
            ..Policy::default()
        });
        let none = fleet.at(0);
        let destroy = fleet
            .pass_over(none, both((1, 1), (0, 0)), list())
            .plan
            .action;
        let Some(Action::Destroy { victims }) = destroy else {
            panic!("expected a destroy, but found {destroy:?}");
        };
        assert_eq!(
            victims.len(),
            79_999,
            "all but those on their way down and one"
        );
        let later = fleet.at(15);
        let start = fleet
            .pass_over(later, both((COUNT / 5 * 4, COUNT), (COUNT, COUNT)), list())
            .plan;
        assert_eq!(start.decision(), Decision::Start);
        let last = fleet.at(30);
        let create = fleet
            .pass_over(last, created(2 * COUNT, 2 * COUNT), list())
            .plan;
        assert_eq!(create.decision(), Decision::Create);
    }
}

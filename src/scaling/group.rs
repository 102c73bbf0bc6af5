//! The fleets of one process group, where each region has targets of its own: what they have in common. From `fleets.md`.
//!
//! A region is cloned into from the best source of the whole group, and may go down to nothing: that one machine is left, and
//! one that may be cloned, is asked of the group. Each plan reads what the [`Group`] says of the others as it is then, and
//! tells it whom it takes, so that two regions cannot both rely on the other's last machine.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Action, Machine, Member, Observed, Plan, Policy, Presence, State,
    machine::DestroyRank,
    order::{source_order, surely_exists},
};

/// The most regions of a group that are fleets of their own: Fly has fewer, and a list is not ours.
const MOST_REGIONS: usize = 100;

/// The longest name of a region that is a fleet of its own, in letters.
const REGION_LIMIT: usize = 32;

/// The regions in which a list shows machines of the policy's process group on hosts that answer, as far as their names are
/// such: letters, digits and hyphens. They are put into queries.
///
/// Whether a machine on another host is a standby or scheduled nobody can read: it would make its region one to be filled.
#[must_use]
pub fn regions_of(machines: &[Machine], policy: &Policy) -> BTreeSet<String> {
    let regions = listed_regions(machines, policy);
    let first = regions.into_iter().filter(is_name).take(MOST_REGIONS);
    first.map(str::to_owned).collect()
}

/// The regions in which a list shows machines of a policy's group and that are no fleets although each region is one. By name.
///
/// They are not named, their names are none, or there are too many before them. The policy is the one at this place among those
/// of an app; of several for one group the first has them.
#[must_use]
pub fn regions_left_out(machines: &[Machine], policies: &[&Policy], place: usize) -> Vec<String> {
    let Some(policy) = policies.get(place).filter(|policy| policy.per_region) else {
        return Vec::new();
    };
    let is_of_group = |other: &&&Policy| other.process_group == policy.process_group;
    let others = policies.iter().filter(is_of_group);
    let is_told_by_another = policies.iter().take(place).any(|one| is_of_group(&one));
    if is_told_by_another || others.clone().any(|other| !other.per_region) {
        return Vec::new();
    }
    let mut left_out = listed_regions(machines, policy);
    left_out.remove("");
    for other in others {
        if other.regions.is_empty() {
            let found = regions_of(machines, other);
            left_out.retain(|region| !found.contains(*region));
        } else {
            left_out.retain(|region| other.regions.iter().all(|own| own != region));
        }
    }
    left_out.into_iter().map(str::to_owned).collect()
}

/// Which of the regions in which a group has machines are fleets, in words.
#[must_use]
pub fn which_regions_are_fleets() -> String {
    format!(
        "of the regions in which there are machines the first {MOST_REGIONS} are fleets, and those whose names are letters, digits and hyphens"
    )
}

/// The regions in which a list shows machines of the group on hosts that answer, whatever they are called.
fn listed_regions<'list>(machines: &'list [Machine], policy: &Policy) -> BTreeSet<&'list str> {
    let of_group = machines
        .iter()
        .filter(|machine| machine.host_ok && is_of_group(machine, policy));
    of_group.map(|machine| machine.region.as_str()).collect()
}

/// Whether a region's name is one that may be put into a query.
fn is_name(region: &&str) -> bool {
    let is_of_name = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-';
    (1..=REGION_LIMIT).contains(&region.len()) && region.bytes().all(is_of_name)
}

/// The listed machines of the policy's process group that are in none of these regions.
#[must_use]
pub fn strays_of<'list>(
    machines: &'list [Machine],
    policy: &Policy,
    regions: &BTreeSet<&str>,
) -> Vec<&'list Machine> {
    let of_group = machines
        .iter()
        .filter(|machine| is_of_group(machine, policy));
    of_group
        .filter(|machine| machine.host_ok && !regions.contains(machine.region.as_str()))
        .collect()
}

/// Whether a listed machine is one of the group's that may count.
fn is_of_group(machine: &Machine, policy: &Policy) -> bool {
    let is_aside = machine.standby || machine.scheduled;
    !is_aside && machine.state.is_living() && policy.scales_group(&machine.process_group)
}

/// What there is of a fleet's process group in other regions; nothing for a fleet that is a whole group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// How many machines surely exist there and are not to go.
    pub(super) existing: u32,
    /// How many of those may be cloned by the fleet that asks.
    pub(super) clonable: u32,
    /// How many have mounts.
    pub(super) with_mounts: u32,
    /// The machines that may be cloned, should the one that asks clone volumes: of each release the best of all regions, with
    /// mounts and without.
    pub(super) sources: Vec<Member>,
    /// What they show of a deploy.
    pub(super) shown: Shown,
}

/// What machines show of a deploy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// Which releases there are, of machines that are cordoned and of others.
    pub(super) releases: BTreeSet<(bool, u64)>,
    /// Whether one is cordoned.
    pub(super) cordoned: bool,
    /// Whether one is being updated or replaced.
    pub(super) updating: bool,
}

impl Shown {
    /// What the members show; those that no list has shown yet show nothing.
    pub(super) fn by(members: &[Member]) -> Self {
        let mut shown = Self::default();
        for member in members {
            if member.presence == Presence::Expected {
                continue;
            }
            let machine = &member.machine;
            if let Some(release) = machine.release {
                shown.releases.insert((machine.cordoned, release));
            }
            shown.cordoned |= machine.cordoned;
            shown.updating |= matches!(machine.state, State::Updating | State::Replacing);
        }
        shown
    }

    /// What the machines of the group show, those of other regions too.
    pub(super) fn of_group(observed: &Observed) -> Self {
        let mut shown = Self::by(&observed.members);
        shown.extend(&observed.elsewhere.shown);
        shown
    }

    /// Adds what others show.
    pub(super) fn extend(&mut self, others: &Self) {
        self.releases.extend(&others.releases);
        self.cordoned |= others.cordoned;
        self.updating |= others.updating;
    }
}

/// The fleets of one process group in one pass, and what machines of the group there are in regions that are not scaled.
#[derive(Debug, Default)]
pub struct Group {
    parts: Vec<Part>,
}

/// What one of them is for the others. Those may go by other settings, of which what may be cloned depends on one.
#[derive(Debug, Default)]
struct Part {
    existing: u32,
    /// How many without mounts may be cloned, and how many with.
    clonable: [u32; 2],
    with_mounts: u32,
    sources: Vec<Member>,
    shown: Shown,
}

impl Group {
    /// What each of these fleets is for the others by what it sees. `strays` are listed machines of the group that none of
    /// them has: they are left alone, and may be cloned.
    #[must_use]
    pub fn of<'pass>(
        fleets: impl IntoIterator<Item = &'pass Observed>,
        strays: &[Machine],
    ) -> Self {
        let mut parts: Vec<Part> = fleets.into_iter().map(Part::of).collect();
        let members = strays.iter().cloned().map(Member::listed).collect();
        let observed = Observed {
            members,
            ..Observed::default()
        };
        parts.push(Part::of(&observed));
        Self { parts }
    }

    /// What there is beside a fleet where another region has this machine, and nobody says what else there is.
    #[must_use]
    pub fn with_one_elsewhere(machine: Machine, policy: &Policy) -> Elsewhere {
        Self::of([], &[machine]).beside(1, policy)
    }

    /// What there is beside the fleet at this place, which goes by `policy`, as far as it is not to go.
    #[must_use]
    pub fn beside(&self, place: usize, policy: &Policy) -> Elsewhere {
        let mut sum = Elsewhere::default();
        let mut sources = Sources::default();
        let others = self.parts.iter().enumerate();
        for (_, part) in others.filter(|(other, _)| *other != place) {
            let [without, with] = part.clonable;
            let clonable = without + if policy.clone_volumes { with } else { 0 };
            sum.existing = sum.existing.saturating_add(part.existing);
            sum.clonable = sum.clonable.saturating_add(clonable);
            sum.with_mounts = sum.with_mounts.saturating_add(part.with_mounts);
            part.sources.iter().for_each(|source| sources.add(source));
            sum.shown.extend(&part.shown);
        }
        sum.sources = sources.into_members();
        sum
    }

    /// The fleet at this place sees this by now.
    pub fn see(&mut self, place: usize, observed: &Observed) {
        if let Some(part) = self.parts.get_mut(place) {
            *part = Part::of(observed);
        }
    }

    /// The fleet at this place is about to do this: its victims no longer count for the others.
    pub fn take(&mut self, place: usize, plan: &Plan, observed: &Observed) {
        let Some(Action::Destroy { victims }) = &plan.action else {
            return;
        };
        let Some(part) = self.parts.get_mut(place) else {
            return;
        };
        let victims = victims
            .iter()
            .filter_map(|victim| observed.member(&victim.id));
        for victim in victims {
            part.existing = part.existing.saturating_sub(1);
            if may_be_cloned_by_anybody(victim) {
                let clonable = &mut part.clonable[usize::from(victim.machine.has_mounts)];
                *clonable = clonable.saturating_sub(1);
            }
        }
    }
}

/// The best machines to clone: of each release one with mounts and one without.
#[derive(Default)]
struct Sources<'members>(BTreeMap<(Option<u64>, bool), &'members Member>);

impl<'members> Sources<'members> {
    fn add(&mut self, member: &'members Member) {
        let kind = (member.machine.release, member.machine.has_mounts);
        let best = self.0.entry(kind).or_insert(member);
        if source_order(member, None) < source_order(best, None) {
            *best = member;
        }
    }

    fn into_members(self) -> Vec<Member> {
        self.0.into_values().cloned().collect()
    }
}

impl Part {
    /// What a fleet is for others.
    fn of(observed: &Observed) -> Self {
        let mut part = Self {
            shown: Shown::by(&observed.members),
            ..Self::default()
        };
        let mut sources = Sources::default();
        for member in &observed.members {
            let (may_be_cloned, has_mounts) =
                (may_be_cloned_by_anybody(member), member.machine.has_mounts);
            if surely_exists(observed, member) && !goes_down(member) {
                part.existing += 1;
                part.clonable[usize::from(has_mounts)] += u32::from(may_be_cloned);
            }
            part.with_mounts += u32::from(has_mounts);
            if may_be_cloned {
                sources.add(member);
            }
        }
        part.sources = sources.into_members();
        part
    }
}

/// Whether a machine is on its way down: what becomes of it is its own fleet's business, and no other fleet can rely on it. At
/// rest it is one that there is, though it was stopped to be destroyed: of regions that have all stopped their last machine each
/// would otherwise keep it for the others' sake.
fn goes_down(member: &Member) -> bool {
    member.machine.state.destroy_rank() == Some(DestroyRank::OnItsWayDown)
}

/// Whether a machine may be cloned by a fleet that clones volumes.
fn may_be_cloned_by_anybody(member: &Member) -> bool {
    let policy = Policy {
        clone_volumes: true,
        ..Policy::default()
    };
    member.may_be_cloned(&policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::scaling::{
        Decision, Effect, Ids, MachineList, Memory, Note, Release, Targets, limit,
        tests::fleet::{Fleet, both, created, machine, started},
    };

    /// The regions of one group, each a fleet with a memory of its own, over several passes.
    struct Regions(Vec<Fleet>);

    impl Regions {
        fn new(policy: &Policy, regions: &[&str]) -> Self {
            let fleets = regions
                .iter()
                .map(|region| Fleet::new(policy.of_region(region)));
            Self(fleets.collect())
        }

        /// What each of them would do in one pass, all of which plan before one acts, in their order.
        fn pass(&mut self, second: u64, targets: &[Targets], list: &[&str]) -> Vec<Plan> {
            let seen: Vec<Observed> = self
                .0
                .iter_mut()
                .map(|fleet| fleet.observe(second, list))
                .collect();
            let policy = self.0[0].policy.clone();
            let regions = self
                .0
                .iter()
                .filter_map(|fleet| fleet.policy.region.as_deref());
            let machines: Vec<Machine> = list.iter().map(|text| machine(text)).collect();
            let strays = strays_of(&machines, &policy, &regions.collect());
            let strays: Vec<Machine> = strays.into_iter().cloned().collect();
            let policies: Vec<Policy> = self.0.iter().map(|fleet| fleet.policy.clone()).collect();
            let mut group = Group::of(&seen, &strays);
            let mut plans = Vec::new();
            for (at, mut observed) in seen.into_iter().enumerate() {
                let fleet = &mut self.0[at];
                observed.elsewhere = group.beside(at, &policies[at]);
                let now = fleet.at(second);
                let limited = limit(
                    targets[at],
                    &observed,
                    &policies[at],
                    &mut fleet.memory,
                    now,
                );
                let plan = fleet.plan_of(second, &observed, &limited);
                group.take(at, &plan, &observed);
                plans.push(plan);
            }
            plans
        }
    }

    fn at_once() -> Policy {
        Policy {
            destroy_running_after: std::time::Duration::ZERO,
            per_region: true,
            ..Policy::default()
        }
    }

    fn victims(plan: &Plan) -> Vec<&str> {
        match &plan.action {
            Some(Action::Destroy { victims }) => {
                victims.iter().map(|victim| victim.id.as_str()).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn each_region_counts_and_grows_by_itself() {
        let list = [
            "a iad started",
            "b iad started",
            "c lhr started",
            "x lhr started group=jobs",
        ];
        let mut regions = Regions::new(&at_once(), &["iad", "lhr"]);
        let plans = regions.pass(0, &[created(2, 2), created(3, 3)], &list);
        assert_eq!(plans[0].decision(), Decision::NoScale);
        let Some(Action::Create {
            source,
            count,
            mut placement,
        }) = plans[1].action.clone()
        else {
            panic!("{:?}", plans[1]);
        };
        assert_eq!(count, 2);
        assert_eq!(source.id, "a", "the best of the whole group");
        assert_eq!(placement.next_region().as_deref(), Some("lhr"));
        assert_eq!(placement.region_count(), 1);
    }

    #[test]
    fn a_region_is_cloned_into_from_the_best_source_of_the_group() {
        let release = Release {
            version: Some(9),
            status: "failed".to_owned(),
            created_at: None,
        };
        // What there is; whether release 9 went wrong; which machine is cloned into lhr.
        let cases: [(&[&str], bool, Option<&str>); 7] = [
            (&["a iad started"], false, Some("a")),
            (&["a iad stopped", "b ord started"], false, Some("b")),
            (
                &["a iad started release=9", "b iad started release=8"],
                false,
                Some("a"),
            ),
            (
                &["a iad started release=9", "b iad started release=8"],
                true,
                Some("b"),
            ),
            (&["a iad started", "c lhr failed"], false, Some("a")),
            (
                &["a iad started mounts", "x iad started group=jobs"],
                false,
                None,
            ),
            (
                &["a iad started standby", "b ord started host-down"],
                false,
                None,
            ),
        ];
        for (list, went_wrong, expected) in cases {
            let mut regions = Regions::new(&at_once(), &["iad", "lhr"]);
            for fleet in &mut regions.0 {
                fleet.release = Some(release.clone()).filter(|_| went_wrong);
            }
            let plans = regions.pass(0, &[created(1, 9), created(1, 1)], list);
            let source = match &plans[1].action {
                Some(Action::Create { source, .. }) => Some(source.id.as_str()),
                _ => None,
            };
            assert_eq!(source, expected, "{list:?}");
            assert_eq!(plans[1].failure.is_some(), expected.is_none(), "{list:?}");
        }
    }

    #[test]
    fn the_last_of_the_group_stays_wherever_it_is() {
        // What there is; whom the first and the second region take.
        type Case = (
            &'static [&'static str],
            &'static [&'static str],
            &'static [&'static str],
        );
        let none = [created(0, 0), created(0, 0)];
        let cases: [Case; 8] = [
            (&["a iad stopped", "b lhr stopped"], &["a"], &[]),
            (
                &["a iad stopped", "b iad stopped", "c lhr started"],
                &["a", "b"],
                &[],
            ),
            (&["a iad stopped"], &[], &[]),
            // The last that may be cloned, though another one exists.
            (&["a iad stopped", "b lhr stopped mounts"], &[], &[]),
            (&["a iad stopped mounts", "b lhr stopped"], &[], &[]),
            (&["a iad failed", "b lhr stopped"], &["a"], &[]),
            // One that is not scaled is left, and can be cloned.
            (
                &["a iad stopped", "b lhr stopped", "z syd started"],
                &["a"],
                &["b"],
            ),
            // What may be gone is nothing to rely on.
            (&["a iad stopped", "b lhr started host-down"], &[], &[]),
        ];
        for (list, first, second) in cases {
            let mut regions = Regions::new(&at_once(), &["iad", "lhr"]);
            let plans = regions.pass(0, &none, list);
            assert_eq!(victims(&plans[0]), first, "{list:?}");
            assert_eq!(victims(&plans[1]), second, "{list:?}");
        }
    }

    #[test]
    fn a_machine_that_goes_down_is_nothing_to_rely_on() {
        let none = [created(0, 0), created(0, 0)];
        for going in ["a iad stopping", "a iad suspending", "a iad destroying"] {
            let mut regions = Regions::new(&at_once(), &["iad", "lhr"]);
            let plans = regions.pass(0, &none, &[going, "b lhr started"]);
            assert_eq!(victims(&plans[1]), [""; 0], "{going}");
        }
        // One that was stopped to be destroyed, and rests by now.
        let mut regions = Regions::new(&at_once(), &["iad", "lhr"]);
        let list = ["a iad started", "b lhr started"];
        let plans = regions.pass(0, &none, &list);
        assert_eq!(victims(&plans[0]), ["a"]);
        let observed = regions.0[0].observe(0, &list);
        let stopped = Effect::VictimStopped { id: "a".to_owned() };
        regions.0[0].record(0, &observed, &[stopped]);
        for second in [5, 15] {
            let list = ["a iad stopped updated=2", "b lhr started"];
            let plans = regions.pass(second, &none, &list);
            assert_eq!(victims(&plans[0]), ["a"], "{second}");
            assert_eq!(victims(&plans[1]), [""; 0], "{second}");
        }
    }

    #[test]
    fn regions_that_stopped_all_they_have_at_once_keep_one_of_the_group() {
        let regions = ["iad", "lhr", "ord"];
        let none = [created(0, 0); 3];
        // What rests there after it was stopped to be destroyed; whom each region takes.
        let cases: [(&[&str], [&[&str]; 3]); 4] = [
            (
                &["a iad stopped", "b lhr stopped", "c ord stopped"],
                [&["a"], &["b"], &[]],
            ),
            (
                &["a iad stopped", "d iad stopped", "b lhr stopped"],
                [&["a", "d"], &[], &[]],
            ),
            (
                &["a iad failed", "b lhr stopped", "c ord stopped"],
                [&["a"], &["b"], &[]],
            ),
            // What still goes down is left to its own region.
            (
                &["a iad stopping", "b lhr stopped", "c ord stopped"],
                [&[], &["b"], &[]],
            ),
        ];
        for (list, expected) in cases {
            let mut fleets = Regions::new(&at_once(), &regions);
            let ran: Vec<String> = (list.iter())
                .map(|text| {
                    text.replace("stopped", "started")
                        .replace("stopping", "started")
                })
                .collect();
            let ran: Vec<&str> = ran.iter().map(String::as_str).collect();
            for fleet in &mut fleets.0 {
                let observed = fleet.observe(0, &ran);
                let ours = observed.members.iter().map(|member| &member.machine);
                let stopped = ours.filter(|machine| machine.state == State::Started);
                let stopped = stopped.map(|machine| Effect::VictimStopped {
                    id: machine.id.clone(),
                });
                let stopped: Vec<Effect> = stopped.collect();
                fleet.record(0, &observed, &stopped);
            }
            let list: Vec<String> = list
                .iter()
                .map(|text| format!("{text} updated=2"))
                .collect();
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            let plans = fleets.pass(15, &none, &list);
            for (plan, expected) in plans.iter().zip(expected) {
                assert_eq!(victims(plan), expected, "{list:?}");
            }
        }
    }

    #[test]
    fn a_region_is_remembered_as_long_as_a_list_may_show_again_what_it_destroyed() {
        let mut fleet = Regions::new(&at_once(), &["iad"]).0.remove(0);
        let observed = fleet.observe(0, &["a iad stopped"]);
        let destroyed = Effect::Destroyed { id: "a".to_owned() };
        fleet.record(0, &observed, &[destroyed]);
        for (second, is_blank) in [(15, false), (75, false), (599, false), (601, true)] {
            fleet.observe(second, &[]);
            let now = fleet.at(second).monotonic;
            assert_eq!(fleet.memory.is_blank(now), is_blank, "{second}");
        }
    }

    #[test]
    fn what_may_be_cloned_is_asked_by_the_settings_of_who_asks() {
        let list = [
            "a iad stopped mounts",
            "b lhr stopped",
            "c lhr stopped mounts",
        ];
        let mut regions = Regions::new(&at_once(), &["iad", "lhr"]);
        regions.0[0].policy.clone_volumes = true;
        let plans = regions.pass(0, &[created(1, 1), created(0, 0)], &list);
        assert_eq!(victims(&plans[1]), [""; 0], "lhr could clone no other");
        let mut regions = Regions::new(&at_once(), &["iad", "lhr"]);
        regions.0[0].policy.clone_volumes = true;
        let list = ["a iad started mounts", "b iad stopped"];
        let plans = regions.pass(0, &[created(1, 9), created(1, 1)], &list);
        let Some(Action::Create { source, .. }) = &plans[1].action else {
            panic!("{:?}", plans[1]);
        };
        assert_eq!(source.id, "b");
    }

    #[test]
    fn no_region_keeps_what_is_of_the_others() {
        let regions: Vec<String> = (0..50).map(|number| format!("r{number:02}")).collect();
        let machines: Vec<Machine> = (0..1000)
            .map(|number| {
                let region = &regions[number % regions.len()];
                machine(&format!(
                    "m{number:04} {region} started release={}",
                    number % 3
                ))
            })
            .collect();
        let ids: Arc<Ids> = Arc::new(machines.iter().map(|one| one.id.as_str().into()).collect());
        let policy = at_once();
        let now = Fleet::new(policy.clone()).at(0);
        let seen: Vec<Observed> = regions
            .iter()
            .map(|region| {
                let list = MachineList::shared(&machines[..], &ids);
                Memory::default().note_list(list, &policy.of_region(region), now)
            })
            .collect();
        let group = Group::of(&seen, &[]);
        for (at, observed) in seen.iter().enumerate() {
            assert_eq!(observed.members.len(), 20);
            assert!(Arc::ptr_eq(&observed.others, &ids), "one for all");
            assert_eq!(group.beside(at, &policy).sources.len(), 3, "one a release");
        }
    }

    #[test]
    fn that_the_last_one_stays_is_told_as_what_it_is() {
        let mut regions = Regions::new(&at_once(), &["iad", "lhr"]);
        let plans = regions.pass(0, &[created(0, 0), created(0, 0)], &["a iad stopped"]);
        assert_eq!(plans[0].notes, [Note::LastOfGroup]);
        assert!(plans[1].notes.is_empty());
    }

    #[test]
    fn nothing_holds_a_region_that_another_one_fills() {
        let mut regions = Regions::new(&at_once(), &["iad", "lhr"]);
        let targets = [both((0, 0), (0, 0)), created(2, 2)];
        let plans = regions.pass(0, &targets, &["a iad started", "b lhr started"]);
        assert_eq!(victims(&plans[0]), ["a"]);
        assert_eq!(plans[1].decision(), Decision::Create);
    }

    #[test]
    fn a_deploy_shows_in_the_whole_group() {
        let list = ["a iad started release=1", "b lhr started release=2"];
        let mut regions = Regions::new(&at_once(), &["iad", "lhr"]);
        for fleet in &mut regions.0 {
            fleet.no_answer = true;
        }
        let grows = [created(2, 2), started(1, 1)];
        // The test's plans are those with an answer; what the fleet sees decides without one.
        let seen: Vec<Observed> = (regions.0.iter_mut())
            .map(|fleet| fleet.observe(0, &list))
            .collect();
        let policy = at_once();
        let group = Group::of(&seen, &[]);
        let alone = &seen[0];
        let beside = Observed {
            elsewhere: group.beside(0, &policy),
            ..alone.clone()
        };
        let sign = super::super::DeploySign::of;
        assert_eq!(sign(alone), None);
        assert_eq!(
            sign(&beside),
            Some(super::super::DeploySign::SeveralReleases)
        );
        let green = [
            "a iad started release=1",
            "b iad started release=1",
            "c lhr started release=2 cordoned",
        ];
        let plans =
            Regions::new(&at_once(), &["iad", "lhr"]).pass(0, &[created(1, 1), grows[1]], &green);
        assert!(
            matches!(plans[0].notes[..], [Note::BlueGreen { .. }]),
            "{plans:?}"
        );
    }

    #[test]
    fn the_regions_after_the_hundredth_are_left_out_by_name() {
        let machines: Vec<Machine> = (0..103)
            .map(|number| machine(&format!("m{number} r{number:03} started")))
            .collect();
        let policy = at_once();
        let regions = regions_of(&machines, &policy);
        assert_eq!(
            (regions.len(), regions.last().map(String::as_str)),
            (100, Some("r099"))
        );
        let left_out = regions_left_out(&machines, &[&policy], 0);
        assert_eq!(left_out, ["r100", "r101", "r102"]);
    }

    #[test]
    fn regions_that_no_policy_of_the_group_names_are_left_out_and_told_once() {
        let list = [
            "a iad started",
            "b lhr stopped",
            "c gru started",
            "d syd started group=jobs",
            "e fra started standby",
        ];
        let machines: Vec<Machine> = list.iter().map(|text| machine(text)).collect();
        let of = |regions: &[&str]| Policy {
            regions: regions.iter().map(|region| (*region).to_owned()).collect(),
            ..at_once()
        };
        let whole = Policy::default();
        let (east, west, every) = (of(&["iad"]), of(&["lhr", "nrt"]), of(&[]));
        let left_out = |policies: &[&Policy]| -> Vec<Vec<String>> {
            let places = 0..policies.len();
            places
                .map(|place| regions_left_out(&machines, policies, place))
                .collect()
        };
        let none: [&str; 0] = [];
        assert_eq!(left_out(&[&east]), [["gru", "lhr"]]);
        assert_eq!(left_out(&[&east, &west]), [&["gru"][..], &none]);
        assert_eq!(left_out(&[&east, &every]), [none, none]);
        assert_eq!(left_out(&[&whole]), [none]);
        assert_eq!(left_out(&[&east, &whole]), [none, none]);
        let jobs = Policy {
            process_group: "jobs".to_owned(),
            ..of(&["iad"])
        };
        assert_eq!(left_out(&[&east, &jobs])[1], ["syd"]);
    }

    #[test]
    fn regions_are_those_in_which_the_group_has_machines() {
        let list = [
            "a iad started",
            "b iad stopped",
            "c lhr failed",
            "d ams started group=jobs",
            "e syd destroyed",
            "f fra started standby",
            "g ord started host-down",
            "h no'such started",
        ];
        let machines: Vec<Machine> = list.iter().map(|text| machine(text)).collect();
        let policy = at_once();
        let regions = regions_of(&machines, &policy);
        assert_eq!(regions.iter().collect::<Vec<_>>(), ["iad", "lhr"]);
        assert_eq!(regions_left_out(&machines, &[&policy], 0), ["no'such"]);
        let known = BTreeSet::from(["iad"]);
        let strays = strays_of(&machines, &policy, &known);
        let ids: Vec<&str> = strays.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["c", "h"]);
    }
}

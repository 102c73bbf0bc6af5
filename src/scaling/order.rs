//! Orders: which machine is cloned, which is destroyed first, which is started and stopped first.
//!
//! Every order ends with the machine's id, so that equal machines are taken in the same turn whatever the list's order.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use super::{
    Member, Observed, Policy, ReleaseView, State, Unsettled, busy::Turn as BusyTurn, count,
    machine::DestroyRank,
};

/// The machine to clone.
///
/// Of the whole group, where the fleet is one region's. The first by: not cordoned; not of a release that went wrong; no health check critical; newest release; started;
/// smallest id.
#[must_use]
pub fn clone_source<'observed>(
    observed: &'observed Observed,
    policy: &Policy,
    release: ReleaseView<'_>,
) -> Option<&'observed Member> {
    let wrong = match release {
        ReleaseView::Known(Some(release)) if release.went_wrong() => release.version,
        _ => None,
    };
    let members = observed.members.iter();
    members
        .chain(&observed.elsewhere.sources)
        .filter(|member| member.may_be_cloned(policy))
        .min_by_key(|member| source_order(member, wrong))
}

/// By what the machine to clone is chosen, the least first; `wrong` is a release that went wrong.
pub(super) fn source_order(member: &Member, wrong: Option<u64>) -> impl Ord {
    let machine = &member.machine;
    (
        machine.cordoned,
        wrong.is_some() && machine.release == wrong,
        machine.critical,
        Reverse(machine.release),
        machine.state != State::Started,
        machine.id.as_str(),
    )
}

/// Whether a machine surely exists, and goes on to, as far as lists and our own writes say.
///
/// Growth counts a machine that may exist, shrinking does not, or a healthy machine would go for one that turns out to
/// be gone: on an unreachable host, not listed so far, with a destroy (or the stop before it) of unknown outcome, or on
/// its way down where that removes it.
pub(super) fn surely_exists(observed: &Observed, member: &Member) -> bool {
    let leaves = member.machine.auto_destroy
        && member.machine.state.destroy_rank() == Some(DestroyRank::OnItsWayDown);
    member.is_listed()
        && !member.unsettled_destroy
        && !leaves
        && !observed
            .lately
            .victims_in_doubt
            .contains(&member.machine.id)
}

/// Whether a machine may be destroyed at all, were it at rest: growth could not bring one with mounts back.
pub(super) fn may_be_replaced(member: &Member, policy: &Policy) -> bool {
    policy.clone_volumes || !member.machine.has_mounts
}

/// Whether a destroy treats a machine as running: it runs, or the started target has only just stopped it.
pub(super) fn counts_as_running(observed: &Observed, member: &Member) -> bool {
    member.machine.state == State::Started || observed.lately.stopped.contains(&member.machine.id)
}

/// Who is destroyed first: by rank, then one whose check is critical or that is cordoned, then an older release, then
/// of those that run the least busy, as far as that is asked for, then the region that holds the most machines (as the victims before leave it), then the smallest id. What the last
/// destroy did not remove goes last of those at rest, or of those that run: no running machine is taken in place of one
/// at rest.
///
/// Only machines that surely exist are taken, and only they are counted: neither the last of the group is ever taken nor its
/// last that may be cloned; the next in order takes its turn. Nor are more working ones than are too many by themselves: a
/// failed one that has to stay costs no other its place.
pub(super) struct DestroyOrder<'observed> {
    observed: &'observed Observed,
    policy: &'observed Policy,
    turns: Turns<'observed>,
    existing: u32,
    clonable: u32,
    /// How many machines that have not failed may still go.
    working_left: u32,
}

impl<'observed> DestroyOrder<'observed> {
    /// An order of which nothing has been taken; at most `working` machines that have not failed may be.
    pub(super) fn new(
        observed: &'observed Observed,
        policy: &'observed Policy,
        working: u32,
    ) -> Self {
        let existing = observed
            .members
            .iter()
            .filter(|member| surely_exists(observed, member));
        let clonable = existing
            .clone()
            .filter(|member| member.may_be_cloned(policy))
            .count();
        Self {
            observed,
            policy,
            turns: Turns::fullest_first(&observed.members),
            existing: count(existing.count()).saturating_add(observed.elsewhere.existing),
            clonable: count(clonable).saturating_add(observed.elsewhere.clonable),
            working_left: working,
        }
    }

    /// How many machines that have not failed may still go.
    pub(super) fn working_left(&self) -> u32 {
        self.working_left
    }

    /// Takes the first `limit` machines: of those that count as running, or of the others.
    pub(super) fn take(&mut self, running: bool, limit: u32) -> Vec<&'observed Member> {
        let candidates = self.candidates(running);
        let (policy, existing, clonable) = (self.policy, &mut self.existing, &mut self.clonable);
        let working_left = &mut self.working_left;
        self.turns.take(candidates, limit, |member| {
            let may_be_cloned = member.may_be_cloned(policy);
            let works = !member.is_failed();
            if *existing <= 1 || (may_be_cloned && *clonable <= 1) || (works && *working_left == 0)
            {
                return false;
            }
            *working_left -= u32::from(works);
            *existing -= 1;
            *clonable -= u32::from(may_be_cloned);
            true
        })
    }

    fn candidates(&self, running: bool) -> Vec<Candidate<'observed, DestroyClass>> {
        let mut candidates = Vec::new();
        for member in &self.observed.members {
            let machine = &member.machine;
            let rank = match machine.state.destroy_rank() {
                Some(DestroyRank::OnItsWayDown) | None => continue,
                Some(rank) => rank,
            };
            if counts_as_running(self.observed, member) != running
                || !member.is_expendable(self.policy)
                || !may_be_replaced(member, self.policy)
                || !surely_exists(self.observed, member)
                || self.observed.busyness.spares(member, self.policy)
            {
                continue;
            }
            let class = (
                machine.state == State::Started,
                self.observed.lately.destroys_failed.contains(&machine.id),
                rank,
                is_healthy(member),
                machine.release,
                self.observed.busyness.turn(member),
            );
            candidates.push((class, member));
        }
        candidates
    }
}

/// Machines among which the region and the id decide: running or not, whether their last destroy failed, rank, healthy
/// or not, release, how busy.
type DestroyClass = (bool, bool, DestroyRank, bool, Option<u64>, BusyTurn);

/// A machine that may be taken, and its class.
type Candidate<'observed, Class> = (Class, &'observed Member);

fn is_healthy(member: &Member) -> bool {
    !member.machine.critical && !member.machine.cordoned
}

/// Regions taking turns, so that what is taken leaves them as even as can be.
struct Turns<'observed> {
    /// The lowest comes first, and rises by one with each machine taken.
    places: BTreeMap<&'observed str, i64>,
}

impl<'observed> Turns<'observed> {
    fn fullest_first(population: impl IntoIterator<Item = &'observed Member>) -> Self {
        Self::new(population, -1)
    }

    fn emptiest_first(population: impl IntoIterator<Item = &'observed Member>) -> Self {
        Self::new(population, 1)
    }

    fn new(population: impl IntoIterator<Item = &'observed Member>, each: i64) -> Self {
        let mut places: BTreeMap<&str, i64> = BTreeMap::new();
        for member in population {
            *places.entry(member.machine.region.as_str()).or_default() += each;
        }
        Self { places }
    }

    /// Takes the first `limit` candidates that may go, class by class; they come by id.
    fn take<Class: Ord>(
        &mut self,
        mut candidates: Vec<Candidate<'observed, Class>>,
        limit: u32,
        mut may_go: impl FnMut(&Member) -> bool,
    ) -> Vec<&'observed Member> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        // Of one class, they stay in the order of their ids.
        candidates.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut taken = Vec::new();
        for class in candidates.chunk_by(|(one, _), (other, _)| one == other) {
            let mut queues: BTreeMap<&str, Vec<&'observed Member>> = BTreeMap::new();
            for (_, member) in class {
                let region = member.machine.region.as_str();
                queues.entry(region).or_default().push(member);
            }
            let mut queues: Vec<Queue<'observed>> =
                queues.into_values().map(Vec::into_iter).collect();
            let turns = queues.iter().enumerate();
            let turns = turns.filter_map(|(at, queue)| self.turn(at, queue));
            let mut turns: BinaryHeap<Turn<'observed>> = turns.collect();
            while taken.len() < limit {
                let Some(Reverse((_, _, at))) = turns.pop() else {
                    break;
                };
                let queue = &mut queues[at];
                if let Some(member) = queue.next().filter(|member| may_go(member)) {
                    *self.places.entry(&member.machine.region).or_default() += 1;
                    taken.push(member);
                }
                turns.extend(self.turn(at, queue));
            }
        }
        taken
    }

    /// The turn of the region whose queue is the one at `at`; `None` where nobody is left in it.
    fn turn(&self, at: usize, queue: &Queue<'observed>) -> Option<Turn<'observed>> {
        let first = &queue.as_slice().first()?.machine;
        let place = self.places.get(&*first.region).copied().unwrap_or(0);
        Some(Reverse((place, first.id.as_str(), at)))
    }
}

/// A region's candidates of one class, by id.
type Queue<'observed> = std::vec::IntoIter<&'observed Member>;

/// A region's place among the others: how full it is, its first candidate's id, which queue is its. The least comes first.
type Turn<'observed> = Reverse<(i64, &'observed str, usize)>;

/// The machines that may be started, first to last: those whose start had no known outcome, since they may run by now;
/// those at rest before those that were never started, the healthy ones first, then of the region with the fewest
/// started machines (as the ones before leave it), then by id. One that the last start did not keep running goes last.
pub(super) fn start_order(observed: &Observed) -> Vec<&Member> {
    let mut candidates = Vec::new();
    for member in &observed.members {
        let never_started = match member.machine.state {
            State::Stopped | State::Suspended => false,
            State::Creating | State::Created => true,
            _ => continue,
        };
        if !member.is_free() || member.held || member.started {
            continue;
        }
        let failed = observed.lately.starts_failed.contains(&member.machine.id);
        let may_run = member.unsettled.is_some();
        let class = (!may_run, failed, never_started, !is_healthy(member));
        candidates.push((class, member));
    }
    let started = observed.members.iter().filter(|member| member.started);
    Turns::emptiest_first(started).take(candidates, u32::MAX, |_| true)
}

/// Whether a machine that a list shows as running may be down all the same: an earlier stop of it, or a destroy or the
/// stop before that, had no known outcome.
pub(super) fn may_be_down(observed: &Observed, member: &Member) -> bool {
    member.unsettled == Some(Unsettled::Stop)
        || member.unsettled_destroy
        || observed
            .lately
            .victims_in_doubt
            .contains(&member.machine.id)
}

/// The machines that may be stopped, first to last: those whose stop had no known outcome, since it may have happened;
/// those whose check is critical or that are cordoned, then the least busy, as far as that is asked for, then of the region
/// with the most started machines (as the ones before leave it), then by id. One that the last stop did not bring down goes last; one with `auto_destroy` would be
/// removed, and is no candidate.
pub(super) fn stop_order<'observed>(
    observed: &'observed Observed,
    policy: &Policy,
) -> Vec<&'observed Member> {
    let mut candidates = Vec::new();
    for member in &observed.members {
        let machine = &member.machine;
        if !member.is_expendable(policy)
            || member.held
            || machine.state != State::Started
            || machine.auto_destroy
            || observed.busyness.spares(member, policy)
        {
            continue;
        }
        let failed = observed.lately.stops_failed.contains(&machine.id);
        let class = (
            !may_be_down(observed, member),
            failed,
            is_healthy(member),
            observed.busyness.turn(member),
        );
        candidates.push((class, member));
    }
    let started = observed.members.iter().filter(|member| member.started);
    Turns::fullest_first(started).take(candidates, u32::MAX, |_| true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scaling::{Effect, Machine, Release, tests::fleet::Fleet};

    fn ids(members: &[&Member]) -> String {
        let ids: Vec<&str> = members
            .iter()
            .map(|member| member.machine.id.as_str())
            .collect();
        ids.join(" ")
    }

    #[test]
    fn the_source_is_the_best_of_the_newest_good_release() {
        type Case = (
            &'static str,
            &'static [&'static str],
            Option<Release>,
            Option<&'static str>,
        );
        let failed = |status: &str| {
            Some(Release {
                version: Some(9),
                status: status.to_owned(),
                created_at: None,
            })
        };
        let cases: [Case; 22] = [
            ("nothing there", &[], None, None),
            (
                "on a host that answers, before everything else",
                &[
                    "a ord started release=9 host-down",
                    "b ord stopped release=8 cordoned critical",
                ],
                None,
                Some("b"),
            ),
            (
                "none on a host that does not",
                &["a ord started host-down"],
                None,
                None,
            ),
            (
                "smallest id",
                &["b ord started", "a ord started"],
                None,
                Some("a"),
            ),
            (
                "started before smallest id",
                &["a ord stopped", "b ord started"],
                None,
                Some("b"),
            ),
            (
                "only exactly started is the first choice",
                &["a ord starting", "b ord started"],
                None,
                Some("b"),
            ),
            (
                "newest release before started",
                &["a ord started release=8", "b ord stopped release=9"],
                None,
                Some("b"),
            ),
            (
                "releases are numbers",
                &["a ord started release=9", "b ord started release=10"],
                None,
                Some("b"),
            ),
            (
                "any release before none",
                &["a ord started", "b ord stopped release=1"],
                None,
                Some("b"),
            ),
            (
                "healthy before newest release",
                &[
                    "a ord started release=9 critical",
                    "b ord stopped release=8",
                ],
                None,
                Some("b"),
            ),
            (
                "not of a failed release before healthy",
                &[
                    "a ord started release=9",
                    "b ord stopped release=8 critical",
                ],
                failed("failed"),
                Some("b"),
            ),
            (
                "not of an interrupted release",
                &["a ord started release=9", "b ord stopped release=8"],
                failed("interrupted"),
                Some("b"),
            ),
            (
                "a complete release is good",
                &["a ord started release=9", "b ord stopped release=8"],
                failed("complete"),
                Some("a"),
            ),
            (
                "only the failed one is left",
                &["a ord started release=9"],
                failed("failed"),
                Some("a"),
            ),
            (
                "not cordoned before the failed release",
                &[
                    "a ord started release=8 cordoned",
                    "b ord stopped release=9",
                ],
                failed("failed"),
                Some("b"),
            ),
            (
                "only cordoned ones",
                &["a ord started cordoned"],
                None,
                Some("a"),
            ),
            (
                "on its way down is good enough",
                &["a ord stopping"],
                None,
                Some("a"),
            ),
            (
                "never a failed one",
                &["a ord failed", "b ord launch_failed"],
                None,
                None,
            ),
            ("never one of unknown state", &["a ord odd"], None, None),
            (
                "never one on its way out",
                &["a ord destroying", "b ord replaced"],
                None,
                None,
            ),
            (
                "never one with mounts",
                &["a ord started mounts", "b ord stopped"],
                None,
                Some("b"),
            ),
            (
                "never one without a config",
                &["a ord started no-config", "b ord stopped"],
                None,
                Some("b"),
            ),
        ];
        for (name, list, release, expected) in cases {
            let mut fleet = Fleet::new(Policy::default());
            let observed = fleet.observe(0, list);
            let source = clone_source(
                &observed,
                &fleet.policy,
                ReleaseView::Known(release.as_ref()),
            );
            let source = source.map(|member| member.machine.id.as_str());
            assert_eq!(source, expected, "{name}");
        }
    }

    #[test]
    fn a_failed_release_without_a_number_condemns_nobody() {
        let release = Release {
            version: None,
            status: "failed".to_owned(),
            created_at: None,
        };
        let mut fleet = Fleet::new(Policy::default());
        let observed = fleet.observe(0, &["a ord started", "b ord started critical release=3"]);
        let view = ReleaseView::Known(Some(&release));
        let source = clone_source(&observed, &fleet.policy, view).map(|member| &member.machine.id);
        assert_eq!(source.map(String::as_str), Some("a"));
    }

    #[test]
    fn machines_with_mounts_are_cloned_where_the_user_says_so() {
        let mut fleet = Fleet::new(Policy {
            clone_volumes: true,
            ..Policy::default()
        });
        let observed = fleet.observe(0, &["a ord started mounts"]);
        assert!(clone_source(&observed, &fleet.policy, ReleaseView::NotAsked).is_some());
    }

    #[test]
    fn machines_at_rest_are_destroyed_in_this_order() {
        let cases: [(&str, &[&str], u32, &str); 19] = [
            (
                "by rank",
                &[
                    "a ord started",
                    "b ord created",
                    "c ord creating",
                    "d ord suspended",
                    "e ord stopped",
                    "f ord launch_failed",
                    "g ord failed",
                ],
                9,
                "f g d e b c",
            ),
            (
                "never those on their way or of unknown state",
                &[
                    "a ord starting",
                    "b ord restarting",
                    "c ord updating",
                    "d ord replacing",
                    "e ord stopping",
                    "f ord suspending",
                    "g ord odd",
                    "h ord stopped",
                ],
                9,
                "h",
            ),
            (
                "rank before release",
                &[
                    "a ord started",
                    "b ord stopped release=1",
                    "c ord failed release=2",
                ],
                9,
                "c b",
            ),
            (
                "the older release first, as a number, none as the oldest",
                &[
                    "a ord started",
                    "b ord stopped release=10",
                    "c ord stopped release=9",
                    "d ord stopped",
                ],
                9,
                "d c b",
            ),
            (
                "release before region",
                &[
                    "a ord started release=9",
                    "b ord stopped release=9",
                    "c iad stopped release=8",
                ],
                1,
                "c",
            ),
            (
                "the fullest region first, whatever fills it",
                &[
                    "a iad stopped",
                    "b ord started",
                    "c ord starting",
                    "d ord stopped",
                ],
                1,
                "d",
            ),
            (
                "victims leave their region emptier",
                &[
                    "a iad stopped",
                    "b iad stopped",
                    "c ord stopped",
                    "d ord stopped",
                    "e ord stopped",
                    "z syd started",
                ],
                4,
                "c a d b",
            ),
            (
                "the smallest id in regions alike",
                &[
                    "b iad stopped",
                    "a ord stopped",
                    "z syd started",
                    "y syd started",
                ],
                9,
                "a b",
            ),
            (
                "never a protected one",
                &[
                    "a ord stopped protected",
                    "b ord failed protected",
                    "c ord stopped",
                ],
                9,
                "c",
            ),
            (
                "never the daemon's own",
                &["me ord stopped", "x ord stopped"],
                9,
                "x",
            ),
            (
                "those with auto_destroy like the others",
                &["a ord stopped auto-destroy", "b ord started"],
                9,
                "a",
            ),
            ("never the last", &["a ord stopped"], 9, ""),
            (
                "never the last, even if it cannot be cloned",
                &["a ord failed", "b ord failed"],
                9,
                "a",
            ),
            (
                "the last that may be cloned gives its turn to the next",
                &[
                    "a ord stopped",
                    "b ord stopped no-config",
                    "c ord stopped no-config",
                ],
                2,
                "b c",
            ),
            (
                "the unhealthy before an older release",
                &[
                    "a ord stopped release=1",
                    "b ord stopped release=2 critical",
                    "c ord stopped release=2 cordoned",
                    "d ord started",
                ],
                9,
                "b c a",
            ),
            (
                "rank before health",
                &["a ord stopped critical", "b ord failed", "c ord started"],
                9,
                "b a",
            ),
            (
                "never one with mounts, which growth could not bring back",
                &[
                    "a ord stopped mounts",
                    "b ord failed mounts",
                    "c ord stopped",
                    "d ord started",
                ],
                9,
                "c",
            ),
            (
                "one on its way down that will be removed is no other",
                &["a ord stopping auto-destroy", "b ord stopped"],
                9,
                "",
            ),
            (
                "nor is it one that may be cloned",
                &[
                    "a ord stopping auto-destroy",
                    "b ord stopped",
                    "c ord started no-config",
                ],
                9,
                "",
            ),
        ];
        for (name, list, limit, expected) in cases {
            let mut fleet = Fleet::new(Policy {
                own_machine: Some("me".to_owned()),
                ..Policy::default()
            });
            let observed = fleet.observe(0, list);
            let mut order = DestroyOrder::new(&observed, &fleet.policy, u32::MAX);
            assert_eq!(ids(&order.take(false, limit)), expected, "{name}");
        }
    }

    #[test]
    fn machines_with_mounts_are_destroyed_where_they_may_be_cloned() {
        let mut fleet = Fleet::new(Policy {
            clone_volumes: true,
            ..Policy::default()
        });
        let observed = fleet.observe(0, &["a ord stopped mounts", "b ord started mounts"]);
        let mut order = DestroyOrder::new(&observed, &fleet.policy, u32::MAX);
        assert_eq!(ids(&order.take(false, 9)), "a");
    }

    #[test]
    fn running_machines_are_destroyed_by_health_release_region_and_id() {
        let cases: [(&str, &[&str], &str); 6] = [
            (
                "only those that are started",
                &["a ord starting", "b ord started", "c ord stopped"],
                "b",
            ),
            (
                "release, region, id",
                &[
                    "a ord started release=9",
                    "b iad started release=9",
                    "c ord started release=9",
                    "d syd started release=8",
                    "z syd starting release=9",
                ],
                "d a b c",
            ),
            (
                "one stays",
                &["a ord started", "b ord started", "c ord started"],
                "a b",
            ),
            (
                "never a protected one or the daemon's own",
                &["a ord started protected", "me ord started", "x ord started"],
                "x",
            ),
            (
                "the unhealthy first",
                &[
                    "a ord started release=1",
                    "b ord started release=2",
                    "c ord started release=2 critical",
                    "d ord started release=2 cordoned",
                ],
                "c d a",
            ),
            (
                "never one with mounts",
                &["a ord started mounts", "b ord started", "c ord started"],
                "b",
            ),
        ];
        for (name, list, expected) in cases {
            let mut fleet = Fleet::new(Policy {
                own_machine: Some("me".to_owned()),
                ..Policy::default()
            });
            let observed = fleet.observe(0, list);
            let mut order = DestroyOrder::new(&observed, &fleet.policy, u32::MAX);
            assert_eq!(ids(&order.take(true, u32::MAX)), expected, "{name}");
        }
    }

    #[test]
    fn running_victims_see_the_regions_as_those_at_rest_leave_them() {
        let mut fleet = Fleet::new(Policy::default());
        let observed = fleet.observe(
            0,
            &[
                "a iad started",
                "b iad started",
                "c ord stopped",
                "d ord stopped",
                "e ord started",
            ],
        );
        let mut order = DestroyOrder::new(&observed, &fleet.policy, u32::MAX);
        assert_eq!(ids(&order.take(false, 9)), "c d");
        assert_eq!(ids(&order.take(true, 1)), "a");
    }

    /// The order of those at rest, then of those that count as running, after these effects.
    fn after(second: u64, effects: &[Effect], list: &[&str]) -> (String, String) {
        let mut fleet = Fleet::new(Policy::default());
        let observed = fleet.observe(0, list);
        fleet.record(0, &observed, effects);
        let observed = fleet.observe(second, list);
        let mut order = DestroyOrder::new(&observed, &fleet.policy, u32::MAX);
        let resting = ids(&order.take(false, 9));
        (resting, ids(&order.take(true, 9)))
    }

    fn refused(id: &str) -> Effect {
        Effect::DestroyRefused {
            id: id.to_owned(),
            woken: false,
        }
    }

    #[test]
    fn what_a_destroy_did_not_remove_goes_last_of_those_at_rest_or_of_those_that_run() {
        let list = [
            "a ord failed",
            "b ord stopped",
            "c ord started",
            "d ord started",
            "e ord started",
        ];
        let order = |effects: &[Effect]| after(15, effects, &list);
        assert_eq!(order(&[]), ("a b".to_owned(), "c d".to_owned()));
        let (resting, running) = order(&[refused("a"), refused("c")]);
        assert_eq!((resting.as_str(), running.as_str()), ("b a", "d e"));
        let (resting, _) = order(&[refused("a"), refused("b")]);
        assert_eq!(resting, "a b", "all alike are tried all the same");
    }

    #[test]
    fn what_may_be_gone_is_not_taken_and_is_no_other() {
        let unknown = |id: &str| Effect::DestroyUnknown { id: id.to_owned() };
        let doubt = |id: &str| Effect::VictimStopUnknown { id: id.to_owned() };
        let cases: [(&str, Effect, &[&str], &str, &str); 4] = [
            (
                "the last",
                unknown("a"),
                &["a ord stopped", "b ord stopped"],
                "",
                "",
            ),
            (
                "the last that may be cloned",
                unknown("a"),
                &["a ord stopped", "b ord stopped", "c ord stopped no-config"],
                "c",
                "",
            ),
            (
                "others go",
                unknown("a"),
                &["a ord failed", "b ord stopped", "c ord stopped"],
                "b",
                "",
            ),
            (
                "a victim whose stop had no answer",
                doubt("a"),
                &["a ord started", "b ord started", "c ord started"],
                "",
                "b",
            ),
        ];
        for (name, effect, list, resting, running) in cases {
            let found = after(15, &[effect], list);
            assert_eq!(
                (found.0.as_str(), found.1.as_str()),
                (resting, running),
                "{name}"
            );
        }
    }

    #[test]
    fn what_the_started_target_has_just_stopped_is_taken_first_of_those_that_count_as_running() {
        let mut fleet = Fleet::new(Policy::default());
        let running = ["a ord started", "b ord started", "c ord stopped"];
        let observed = fleet.observe(0, &running);
        let stopped = Effect::Stopped { id: "b".to_owned() };
        fleet.record(0, &observed, &[stopped]);
        let list = ["a ord started", "b ord stopped", "c ord stopped"];
        fleet.observe(15, &["a ord started", "b ord stopping", "c ord stopped"]);
        let observed = fleet.observe(44, &list);
        let mut order = DestroyOrder::new(&observed, &fleet.policy, u32::MAX);
        assert_eq!(ids(&order.take(false, 9)), "c");
        assert_eq!(ids(&order.take(true, 9)), "b");
        fleet.record(44, &observed, &[refused("b")]);
        let observed = fleet.observe(44, &list);
        let mut order = DestroyOrder::new(&observed, &fleet.policy, u32::MAX);
        let first = order.take(true, 1);
        assert_eq!(ids(&first), "b", "also where it could not be destroyed");
        let observed = fleet.observe(45, &list);
        let mut order = DestroyOrder::new(&observed, &fleet.policy, u32::MAX);
        assert_eq!(ids(&order.take(false, 9)), "c b");
    }

    #[test]
    fn machines_are_started_at_rest_and_healthy_first_spread_over_regions() {
        let cases: [(&str, &[&str], &str); 4] = [
            (
                "at rest first",
                &[
                    "f ord created made=-600",
                    "e ord creating made=-600",
                    "d ord created made=100",
                    "c ord suspended",
                    "b ord stopped protected",
                    "a ord stopped",
                    "g ord stopping",
                    "h ord failed",
                ],
                "a b c e f",
            ),
            (
                "the healthy first",
                &[
                    "a ord stopped critical",
                    "b ord stopped cordoned",
                    "c ord stopped",
                    "d ord created made=-600",
                ],
                "c a b d",
            ),
            (
                "the region with the fewest started machines, as those before leave it",
                &[
                    "a iad stopped",
                    "b iad stopped",
                    "c lhr stopped",
                    "d lhr stopped",
                    "e ord stopped",
                    "f ord stopped",
                    "z iad started",
                ],
                "c e a d f b",
            ),
            (
                "those on their way to running count",
                &["a iad stopped", "b ord stopped", "z iad starting"],
                "b a",
            ),
        ];
        for (name, list, expected) in cases {
            let mut fleet = Fleet::new(Policy::default());
            // A machine that was never started is believed to be on its way for five minutes after it is first seen.
            fleet.observe(0, list);
            let observed = fleet.observe(300, list);
            assert_eq!(ids(&start_order(&observed)), expected, "{name}");
        }
    }

    #[test]
    fn nothing_is_cloned_from_a_host_that_has_just_stopped_answering() {
        let mut fleet = Fleet::new(Policy::default());
        fleet.observe(0, &["a ord started release=9", "b ord stopped release=8"]);
        let source = |observed: &Observed| {
            let source = clone_source(observed, &Policy::default(), ReleaseView::NotAsked);
            source.map(|member| member.machine.id.clone())
        };
        let lost = "a ord started release=9 host-down";
        let observed = fleet.observe(15, &[lost, "b ord stopped release=8"]);
        assert_eq!(observed.created, 2, "it counts for a minute");
        assert_eq!(source(&observed).as_deref(), Some("b"));
        let observed = fleet.observe(30, &[lost]);
        assert_eq!(source(&observed), None);
    }

    #[test]
    fn what_a_start_did_not_keep_running_is_started_last() {
        let mut fleet = Fleet::new(Policy::default());
        let list = ["a ord stopped", "b ord stopped", "c ord created made=-600"];
        fleet.observe(0, &list);
        let observed = fleet.observe(300, &list);
        let started = Effect::Started { id: "a".to_owned() };
        fleet.record(300, &observed, &[started]);
        let observed = fleet.observe_and_ask(360, &list);
        assert_eq!(ids(&start_order(&observed)), "b c a");
        assert_eq!(ids(&start_order(&fleet.observe(420, &list))), "a b c");
    }

    #[test]
    fn machines_are_stopped_unhealthy_first_spread_over_regions() {
        let cases: [(&str, &[&str], &str); 3] = [
            (
                "by id, but not those that this would remove",
                &[
                    "f ord started",
                    "e ord started protected",
                    "d ord started auto-destroy",
                    "c ord starting",
                    "b ord started",
                    "me ord started",
                ],
                "b f",
            ),
            (
                "the unhealthy first",
                &[
                    "a ord started",
                    "b ord started critical",
                    "c ord started cordoned",
                ],
                "b c a",
            ),
            (
                "the region with the most started machines, as those before leave it",
                &[
                    "a iad started",
                    "b iad started",
                    "c ord started",
                    "d ord started",
                    "z ord starting",
                ],
                "c a d b",
            ),
        ];
        for (name, list, expected) in cases {
            let mut fleet = Fleet::new(Policy {
                own_machine: Some("me".to_owned()),
                ..Policy::default()
            });
            let observed = fleet.observe(0, list);
            assert_eq!(
                ids(&stop_order(&observed, &fleet.policy)),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn what_a_stop_did_not_bring_down_is_stopped_last() {
        let mut fleet = Fleet::new(Policy::default());
        let list = ["a ord started", "b ord started"];
        let observed = fleet.observe(0, &list);
        let stopped = Effect::Stopped { id: "a".to_owned() };
        fleet.record(0, &observed, &[stopped]);
        let observed = fleet.observe_and_ask(60, &list);
        assert_eq!(ids(&stop_order(&observed, &fleet.policy)), "b a");
    }

    /// One after the other, each the best of all that are left.
    fn taken_one_by_one<'members>(
        mut left: Vec<Candidate<'members, u8>>,
        mut places: BTreeMap<&'members str, i64>,
        limit: usize,
        mut may_go: impl FnMut(&Member) -> bool,
    ) -> Vec<&'members Member> {
        let mut taken = Vec::new();
        while taken.len() < limit && !left.is_empty() {
            let turn = |(class, member): &Candidate<'members, u8>| {
                let Machine { id, region, .. } = &member.machine;
                (*class, places.get(&**region).copied().unwrap_or(0), id)
            };
            let first = (0..left.len()).min_by_key(|at| turn(&left[*at]));
            let (_, member) = left.remove(first.expect("there is one"));
            if may_go(member) {
                *places.entry(&member.machine.region).or_default() += 1;
                taken.push(member);
            }
        }
        taken
    }

    proptest! {
        #[test]
        fn turns_are_those_of_a_search_through_all_that_are_left(
            machines in prop::collection::vec((0_u8..3, 0_u8..4, prop::bool::weighted(0.8), any::<bool>()), 0..40),
            limit in 0_u32..50,
            direction in prop::sample::select(vec![-1, 1]),
            unwilling in 1_u32..6,
        ) {
            let members: Vec<Member> = (0..)
                .zip(&machines)
                .map(|(number, (_, region, ..))| {
                    let machine = Machine::new(format!("{number:02}"), format!("r{region}"), State::Started);
                    Member::listed(machine)
                })
                .collect();
            let of = |pick: fn(&(u8, u8, bool, bool)) -> bool| {
                members.iter().zip(&machines).filter(move |(_, machine)| pick(machine))
            };
            let candidates: Vec<Candidate<'_, u8>> =
                of(|machine| machine.2).map(|(member, machine)| (machine.0, member)).collect();
            let mut turns = Turns::new(of(|machine| machine.3).map(|(member, _)| member), direction);
            // What may go can depend on how many went before.
            let every_other = || {
                let mut asked = 0;
                move |_: &Member| {
                    asked += 1;
                    asked % unwilling != 0 || unwilling == 1
                }
            };
            let expected = taken_one_by_one(
                candidates.clone(),
                turns.places.clone(),
                limit as usize,
                every_other(),
            );
            let taken = turns.take(candidates, limit, every_other());
            prop_assert_eq!(ids(&taken), ids(&expected));
        }
    }
}

//! Orders: which machine is cloned, which is destroyed first, which is started and stopped first.
//!
//! Every order ends with the machine's id, so that equal machines are taken in the same turn whatever the list's order.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
};

use super::{Member, Observed, Policy, ReleaseView, State, machine::DestroyRank};

/// The machine to clone.
///
/// The first by: not cordoned; not of a release that went wrong; no health check critical; newest release; started;
/// smallest id.
pub(super) fn clone_source<'observed>(
    observed: &'observed Observed,
    policy: &Policy,
    release: ReleaseView<'_>,
) -> Option<&'observed Member> {
    let wrong = match release {
        ReleaseView::Known(Some(release)) if release.went_wrong() => release.version,
        _ => None,
    };
    observed
        .members
        .iter()
        .filter(|member| member.may_be_cloned(policy))
        .min_by_key(|member| {
            let machine = &member.machine;
            (
                machine.cordoned,
                wrong.is_some() && machine.release == wrong,
                machine.critical,
                Reverse(machine.release),
                machine.state != State::Started,
                machine.id.as_str(),
            )
        })
}

/// Who is destroyed first: by rank, then an older release, then the region that holds the most machines (as the victims
/// before leave it), then the smallest id.
///
/// A machine whose destroy had no known outcome goes first: it may be gone already, and taking another would destroy
/// two. Neither the last machine is ever taken nor the last that may be cloned; the next in order takes its turn.
pub(super) struct DestroyOrder<'observed> {
    observed: &'observed Observed,
    policy: &'observed Policy,
    population: BTreeMap<&'observed str, u32>,
    listed: usize,
    clonable: usize,
}

impl<'observed> DestroyOrder<'observed> {
    /// An order of which nothing has been taken.
    pub(super) fn new(observed: &'observed Observed, policy: &'observed Policy) -> Self {
        let mut population: BTreeMap<&str, u32> = BTreeMap::new();
        for member in &observed.members {
            *population
                .entry(member.machine.region.as_str())
                .or_default() += 1;
        }
        let listed = observed.members.iter().filter(|member| member.is_listed());
        let clonable = listed
            .clone()
            .filter(|member| member.may_be_cloned(policy))
            .count();
        Self {
            observed,
            policy,
            population,
            listed: listed.count(),
            clonable,
        }
    }

    /// Takes the first `limit` machines: of those that run, or of those at rest.
    pub(super) fn take(&mut self, running: bool, limit: u32) -> Vec<&'observed Member> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut victims = Vec::new();
        for mut regions in self.candidates(running).into_values() {
            let mut turns: BTreeSet<Turn<'_>> = regions
                .iter()
                .filter_map(|(region, members)| self.turn(region, members))
                .collect();
            while victims.len() < limit {
                let Some((_, _, region)) = turns.pop_first() else {
                    break;
                };
                let Some(members) = regions.get_mut(region) else {
                    break;
                };
                if let Some(member) = members.pop_front() {
                    if self.may_go(member) {
                        victims.push(member);
                    }
                }
                turns.extend(self.turn(region, members));
            }
        }
        victims
    }

    fn candidates(&self, running: bool) -> BTreeMap<Class, Regions<'observed>> {
        let mut classes: BTreeMap<Class, Regions<'observed>> = BTreeMap::new();
        for member in &self.observed.members {
            let rank = match member.machine.state.destroy_rank() {
                Some(DestroyRank::OnItsWayDown) | None => continue,
                Some(rank) => rank,
            };
            if (rank == DestroyRank::Running) != running || !member.is_expendable(self.policy) {
                continue;
            }
            let class = (!member.unsettled_destroy, rank, member.machine.release);
            classes
                .entry(class)
                .or_default()
                .entry(member.machine.region.as_str())
                .or_default()
                .push_back(member);
        }
        classes
    }

    fn turn(
        &self,
        region: &'observed str,
        members: &VecDeque<&'observed Member>,
    ) -> Option<Turn<'observed>> {
        let population = self.population.get(region).copied().unwrap_or(0);
        let first = members.front()?;
        Some((Reverse(population), first.machine.id.as_str(), region))
    }

    fn may_go(&mut self, member: &Member) -> bool {
        let may_be_cloned = member.may_be_cloned(self.policy);
        if self.listed <= 1 || (may_be_cloned && self.clonable <= 1) {
            return false;
        }
        self.listed -= 1;
        self.clonable -= usize::from(may_be_cloned);
        if let Some(count) = self.population.get_mut(member.machine.region.as_str()) {
            *count = count.saturating_sub(1);
        }
        true
    }
}

/// Machines among which the region and the id decide: settled or not, rank, release.
type Class = (bool, DestroyRank, Option<u64>);

/// Candidates by region, each region's by id.
type Regions<'observed> = BTreeMap<&'observed str, VecDeque<&'observed Member>>;

/// A region's place among the others: its population, its first candidate's id, its name.
type Turn<'observed> = (Reverse<u32>, &'observed str, &'observed str);

/// The machines that may be started, first to last: those whose start had no known outcome, since they may run by now;
/// those at rest by id, then those that were never started, by id.
pub(super) fn start_order(observed: &Observed) -> Vec<&Member> {
    let startable = |states: [State; 2]| {
        observed.members.iter().filter(move |member| {
            member.is_free()
                && !member.held
                && !member.started
                && states.contains(&member.machine.state)
        })
    };
    let mut order: Vec<&Member> = startable([State::Stopped, State::Suspended])
        .chain(startable([State::Creating, State::Created]))
        .collect();
    order.sort_by_key(|member| member.unsettled.is_none());
    order
}

/// The machines that may be stopped: those whose stop had no known outcome, since it may have happened; then the others,
/// by id. Stopping one with `auto_destroy` would remove it.
pub(super) fn stop_order<'observed>(
    observed: &'observed Observed,
    policy: &Policy,
) -> Vec<&'observed Member> {
    let stoppable = observed.members.iter().filter(|member| {
        member.is_expendable(policy)
            && !member.held
            && member.machine.state == State::Started
            && !member.machine.auto_destroy
    });
    let mut order: Vec<&Member> = stoppable.collect();
    // The stop before a destroy may have happened like any other.
    order.sort_by_key(|member| member.unsettled.is_none() && !member.unsettled_destroy);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::{Effect, Release, fleet::Fleet};

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
        let cases: [Case; 20] = [
            ("nothing there", &[], None, None),
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
        let cases: [(&str, &[&str], u32, &str); 14] = [
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
                    "b ord stopped mounts",
                    "c ord stopped mounts",
                ],
                2,
                "b c",
            ),
        ];
        for (name, list, limit, expected) in cases {
            let mut fleet = Fleet::new(Policy {
                own_machine: Some("me".to_owned()),
                ..Policy::default()
            });
            let observed = fleet.observe(0, list);
            let mut order = DestroyOrder::new(&observed, &fleet.policy);
            assert_eq!(ids(&order.take(false, limit)), expected, "{name}");
        }
    }

    #[test]
    fn running_machines_are_destroyed_by_release_region_and_id() {
        let cases: [(&str, &[&str], &str); 5] = [
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
                "a cordoned one has no other turn",
                &["a ord started", "b ord started cordoned"],
                "a",
            ),
        ];
        for (name, list, expected) in cases {
            let mut fleet = Fleet::new(Policy {
                own_machine: Some("me".to_owned()),
                ..Policy::default()
            });
            let observed = fleet.observe(0, list);
            let mut order = DestroyOrder::new(&observed, &fleet.policy);
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
        let mut order = DestroyOrder::new(&observed, &fleet.policy);
        assert_eq!(ids(&order.take(false, 9)), "c d");
        assert_eq!(ids(&order.take(true, 1)), "a");
    }

    #[test]
    fn a_destroy_of_unknown_outcome_is_tried_again_before_any_other() {
        let mut fleet = Fleet::new(Policy::default());
        let list = ["a ord failed", "b ord stopped release=3", "c ord started"];
        let observed = fleet.observe(0, &list);
        let unsettled = Effect::DestroyUnknown { id: "b".to_owned() };
        fleet.record(0, &observed, &[unsettled]);
        let observed = fleet.observe(15, &list);
        let mut order = DestroyOrder::new(&observed, &fleet.policy);
        assert_eq!(ids(&order.take(false, 9)), "b a");
    }

    #[test]
    fn machines_are_started_at_rest_first_and_by_id() {
        let mut fleet = Fleet::new(Policy::default());
        let observed = fleet.observe(
            0,
            &[
                "f ord created made=-600",
                "e ord creating made=-600",
                "d ord created made=0",
                "c ord suspended",
                "b ord stopped protected",
                "a ord stopped cordoned",
                "g ord stopping",
                "h ord failed",
            ],
        );
        assert_eq!(ids(&start_order(&observed)), "a b c e f");
    }

    #[test]
    fn machines_are_stopped_by_id_but_not_those_that_this_would_remove() {
        let mut fleet = Fleet::new(Policy {
            own_machine: Some("me".to_owned()),
            ..Policy::default()
        });
        let observed = fleet.observe(
            0,
            &[
                "f ord started",
                "e ord started protected",
                "d ord started auto-destroy",
                "c ord starting",
                "b ord started cordoned",
                "me ord started",
            ],
        );
        assert_eq!(ids(&stop_order(&observed, &fleet.policy)), "b f");
    }
}

//! Where created machines go: the least populated listed region, and another one when a region refuses.
//!
//! What is listed may be an alias (`usa`): the platform's list is not ours to know. A machine that was created by an
//! alias carries another name as its region, which is how an alias is told from a region that has no machine; until that
//! is known, such a name has none. With an alias in it a list cannot be counted, and is used in turn.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{Memory, Observed, Policy};

/// The regions of one pass's creates and what each of them answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    regions: Vec<Candidate>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    region: String,
    /// How many machines it has; of a list that is used in turn, how many it was asked for.
    population: u32,
    /// How often it is listed.
    weight: u32,
    /// It is not listed, and takes what the source's region refuses.
    stands_in: bool,
    backs_off: bool,
    /// How long ago it failed last, where no create has been accepted since: the others are tried before it is again. The
    /// pause of the app ends with its own, and it would block growth otherwise for as long as it fails.
    failed_in_vain: Option<Reverse<Duration>>,
    refused: bool,
}

impl Candidate {
    /// Orders by who is to take the next machine.
    fn before(&self, other: &Self) -> Ordering {
        let load =
            |one: &Self, another: &Self| u64::from(one.population) * u64::from(another.weight);
        let last = |one: &Self| (one.backs_off, one.failed_in_vain, one.stands_in);
        last(self)
            .cmp(&last(other))
            .then_with(|| load(self, other).cmp(&load(other, self)))
    }
}

/// What is remembered of the listed names.
#[derive(Debug, Clone, Default)]
pub(super) struct PlacementMemory {
    /// How many machines each name was asked for.
    asked: BTreeMap<String, u32>,
    /// Names whose machines carry another one as their region.
    aliases: BTreeSet<String>,
}

impl PlacementMemory {
    /// A create was accepted, or may have been.
    pub(super) fn asked(&mut self, region: &str, policy: &Policy) {
        if policy.regions.iter().any(|listed| listed == region) {
            let count = self.asked.entry(region.to_owned()).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// A list shows in which region the machine is that `asked` was asked for.
    pub(super) fn landed(&mut self, asked: &str, region: &str) {
        // Turns are counted from now on: what was asked for by counting machines owes nobody a turn.
        if !region.is_empty()
            && region != asked
            && self.asked.contains_key(asked)
            && self.aliases.insert(asked.to_owned())
            && self.aliases.len() == 1
        {
            for count in self.asked.values_mut() {
                *count = (*count).min(1);
            }
        }
    }
}

impl Placement {
    /// The listed regions of `policy`; where none is listed, the source's, and for what it refuses the others in which
    /// the group has machines.
    pub(super) fn new(
        source_region: &str,
        observed: &Observed,
        policy: &Policy,
        memory: &Memory,
        now: Instant,
    ) -> Self {
        let mut population: BTreeMap<&str, u32> = BTreeMap::new();
        let mut carried: BTreeSet<&str> = BTreeSet::new();
        for member in &observed.members {
            let region = member.machine.region.as_str();
            *population.entry(region).or_default() += 1;
            if member.is_listed() && !region.is_empty() {
                carried.insert(region);
            }
        }
        let in_turn = policy.regions.iter().any(|region| {
            memory.placement().aliases.contains(region) && !carried.contains(region.as_str())
        });
        let count = |region: &str| {
            let count = if in_turn {
                memory.placement().asked.get(region)
            } else {
                population.get(region)
            };
            count.copied().unwrap_or(0)
        };
        let mut listed: Vec<&str> = policy.regions.iter().map(String::as_str).collect();
        let mut others = BTreeSet::new();
        if listed.is_empty() {
            listed.push(source_region);
            others = carried;
        }
        let candidates = listed
            .into_iter()
            .map(|region| (region, false))
            .chain(others.into_iter().map(|region| (region, true)));
        let mut regions: Vec<Candidate> = Vec::new();
        for (region, stands_in) in candidates {
            if let Some(known) = regions.iter_mut().find(|known| known.region == region) {
                known.weight += u32::from(!stands_in);
                continue;
            }
            regions.push(Candidate {
                region: region.to_owned(),
                population: count(region),
                weight: 1,
                stands_in,
                backs_off: memory.region_backs_off(region, now),
                failed_in_vain: memory
                    .region_failed_in_vain(region)
                    .map(|failed| Reverse(now.saturating_duration_since(failed))),
                refused: false,
            });
        }
        Self { regions }
    }

    /// The region of the next create: the least populated by its weight, ties in list order; one whose last create
    /// failed comes last until its pause ends and the others had their turn, one that refused in this pass not at all.
    pub fn next_region(&mut self) -> Option<String> {
        let candidate = self
            .regions
            .iter_mut()
            .filter(|candidate| !candidate.refused)
            .min_by(|one, other| one.before(other))?;
        candidate.population = candidate.population.saturating_add(1);
        Some(candidate.region.clone())
    }

    /// Whether every region has refused, so that there is none for another create.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.regions.iter().all(|candidate| candidate.refused)
    }

    /// `region` refused a create: nothing more goes there in this pass.
    pub fn refuse(&mut self, region: &str) {
        if let Some(candidate) = self
            .regions
            .iter_mut()
            .find(|candidate| candidate.region == region)
        {
            candidate.refused = true;
            candidate.population = candidate.population.saturating_sub(1);
        }
    }

    /// How many regions there are.
    #[must_use]
    pub fn region_count(&self) -> usize {
        self.regions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::{Effect, tests::fleet::Fleet};

    const LIST: [&str; 4] = [
        "a ord started",
        "b ord started",
        "c iad stopped",
        "d syd failed",
    ];

    fn placement(regions: &[&str], refused_before: &[&str]) -> Placement {
        let mut fleet = Fleet::new(Policy {
            regions: regions.iter().map(ToString::to_string).collect(),
            ..Policy::default()
        });
        let observed = fleet.observe(0, &LIST);
        for region in refused_before {
            let region = (*region).to_owned();
            fleet.record(0, &observed, &[Effect::CreateRefused { region }]);
        }
        let now = fleet.at(0).monotonic;
        Placement::new("ord", &observed, &fleet.policy, &fleet.memory, now)
    }

    fn next(placement: &mut Placement, count: usize) -> String {
        let regions: Vec<String> = (0..count).map_while(|_| placement.next_region()).collect();
        regions.join(" ")
    }

    #[test]
    fn creates_go_to_the_least_populated_listed_region() {
        let cases: [(&str, &[&str], &[&str], &str); 8] = [
            (
                "unset: where the source is",
                &[],
                &[],
                "ord ord ord ord ord",
            ),
            (
                "unset, and the source's region backs off: where else there are machines",
                &[],
                &["ord"],
                "iad syd iad syd iad",
            ),
            (
                "ties in list order",
                &["syd", "iad"],
                &[],
                "syd iad syd iad syd",
            ),
            (
                "an empty region first",
                &["ord", "iad", "ams"],
                &[],
                "ams iad ams ord iad",
            ),
            (
                "the other order",
                &["ams", "iad", "ord"],
                &[],
                "ams ams iad ams iad",
            ),
            (
                "twice listed weighs twice",
                &["iad", "syd", "iad"],
                &[],
                "iad iad syd iad iad",
            ),
            (
                "one that backs off comes last",
                &["iad", "ams"],
                &["ams"],
                "iad iad iad iad iad",
            ),
            (
                "all back off",
                &["iad", "ams"],
                &["ams", "iad"],
                "ams iad ams iad ams",
            ),
        ];
        for (name, regions, refused, expected) in cases {
            assert_eq!(
                next(&mut placement(regions, refused), 5),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn a_region_that_refuses_is_left_out_of_the_pass() {
        let mut placement = placement(&["ams", "iad", "syd"], &["syd"]);
        assert_eq!(placement.region_count(), 3);
        assert_eq!(next(&mut placement, 1), "ams");
        placement.refuse("ams");
        placement.refuse("nowhere");
        assert_eq!(next(&mut placement, 2), "iad iad");
        placement.refuse("iad");
        assert_eq!(next(&mut placement, 2), "syd syd", "the one that backs off");
        assert!(!placement.is_exhausted());
        placement.refuse("syd");
        assert!(placement.is_exhausted());
        assert_eq!(placement.next_region(), None);
        assert_eq!(placement.region_count(), 3);
    }

    #[test]
    fn what_the_source_s_region_refuses_goes_to_the_others_of_the_group() {
        let mut placement = placement(&[], &[]);
        assert_eq!(placement.region_count(), 3);
        assert_eq!(next(&mut placement, 1), "ord");
        placement.refuse("ord");
        assert_eq!(next(&mut placement, 3), "iad syd iad");
    }

    #[test]
    fn regions_that_fail_leave_the_others_their_turn() {
        // The regions that fail whatever is asked of them; where each create went that was begun as soon as the app's
        // pause had ended, one a pass.
        type Case = (
            &'static [&'static str],
            &'static [&'static str],
            &'static str,
        );
        let cases: [Case; 4] = [
            (&["ams", "iad"], &["ams"], "ams iad"),
            (&["ams", "cdg", "iad"], &["ams", "cdg"], "ams cdg iad"),
            (&[], &["ord"], "ord iad"),
            (&["ams", "cdg"], &["ams", "cdg"], "ams cdg ams cdg ams cdg"),
        ];
        for (regions, failing, expected) in cases {
            for lost in [false, true] {
                let mut fleet = Fleet::new(Policy {
                    regions: regions.iter().map(ToString::to_string).collect(),
                    ..Policy::default()
                });
                let mut asked = Vec::new();
                let mut second = 0;
                while asked.len() < expected.split(' ').count() {
                    let observed = fleet.observe(second, &LIST);
                    let now = fleet.at(second);
                    let policy = fleet.policy.clone();
                    let mut plan =
                        Placement::new("ord", &observed, &policy, &fleet.memory, now.monotonic);
                    let region = plan.next_region().expect("a region");
                    asked.push(region.clone());
                    if !failing.contains(&region.as_str()) {
                        break;
                    }
                    if lost {
                        fleet
                            .memory
                            .note_lost_clone(&region, &policy, now.monotonic);
                    } else {
                        fleet.record(second, &observed, &[Effect::CreateUnknown { region }]);
                    }
                    while fleet
                        .memory
                        .create_pause(0.into(), fleet.at(second).monotonic)
                        .is_some()
                    {
                        second += 15;
                    }
                }
                assert_eq!(asked.join(" "), expected, "{regions:?}, lost: {lost}");
            }
        }
    }

    #[test]
    fn a_region_that_failed_is_tried_again_once_creating_works_elsewhere() {
        let mut fleet = Fleet::new(Policy {
            regions: vec!["ams".to_owned(), "iad".to_owned()],
            ..Policy::default()
        });
        let observed = fleet.observe(0, &LIST);
        let ams = || "ams".to_owned();
        let accepted = Effect::Created {
            id: "x".to_owned(),
            region: "iad".to_owned(),
        };
        let first = |fleet: &Fleet, second| {
            let now = fleet.at(second).monotonic;
            Placement::new("ord", &observed, &fleet.policy, &fleet.memory, now).next_region()
        };
        fleet.record(0, &observed, &[Effect::CreateUnknown { region: ams() }]);
        assert_eq!(first(&fleet, 15).as_deref(), Some("iad"));
        fleet.record(15, &observed, &[accepted]);
        assert_eq!(first(&fleet, 30), Some(ams()));
        fleet.record(30, &observed, &[Effect::CreateRefused { region: ams() }]);
        assert_eq!(first(&fleet, 60).as_deref(), Some("iad"), "in vain again");
    }

    /// Grows a fleet one by one with these regions listed; an alias takes what is created by it to `ord`.
    fn grown(regions: &[&str], clones: usize) -> String {
        let mut fleet = Fleet::new(Policy {
            regions: regions.iter().map(ToString::to_string).collect(),
            ..Policy::default()
        });
        let mut list = vec!["a iad started".to_owned()];
        let mut asked = Vec::new();
        for (number, second) in (0..clones).zip((0..).step_by(15)) {
            let shown: Vec<&str> = list.iter().map(String::as_str).collect();
            let observed = fleet.observe(second, &shown);
            let now = fleet.at(second).monotonic;
            let plan = || Placement::new("iad", &observed, &fleet.policy, &fleet.memory, now);
            let region = plan().next_region().expect("a region");
            assert_eq!(
                plan().next_region().as_ref(),
                Some(&region),
                "planning takes no turn"
            );
            let landed = match region.as_str() {
                "usa" | "any" => "ord",
                region => region,
            };
            let id = format!("b{number}");
            list.push(format!("{id} {landed} started"));
            asked.push(region.clone());
            fleet.record(second, &observed, &[Effect::Created { id, region }]);
        }
        asked.join(" ")
    }

    #[test]
    fn a_list_with_an_alias_is_used_in_turn() {
        for (regions, expected) in [
            (&["usa", "lhr"][..], "usa lhr usa lhr usa lhr usa lhr"),
            (&["lhr", "usa"], "lhr usa lhr usa lhr usa lhr usa"),
            (&["iad", "usa"], "usa iad iad usa iad usa iad usa"),
            (&["usa", "usa", "lhr"], "usa lhr usa usa lhr usa usa lhr"),
            (&["usa", "any"], "usa any usa any usa any usa any"),
            (&["usa"], "usa usa usa usa usa usa usa usa"),
            (&["iad", "iad", "lhr"], "lhr iad iad lhr iad iad lhr iad"),
        ] {
            assert_eq!(grown(regions, 8), expected, "{regions:?}");
        }
    }
}

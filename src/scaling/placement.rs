//! Where created machines go: the least populated listed region, and another one when a region refuses.

use std::{collections::BTreeMap, time::Instant};

use super::{Memory, Observed, Policy};

/// The regions of one pass's creates and what each of them answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    regions: Vec<Candidate>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    region: String,
    population: u32,
    backs_off: bool,
    refused: bool,
}

impl Placement {
    /// The listed regions of `policy`, or the source's alone.
    pub(super) fn new(
        source_region: &str,
        observed: &Observed,
        policy: &Policy,
        memory: &Memory,
        now: Instant,
    ) -> Self {
        let mut population: BTreeMap<&str, u32> = BTreeMap::new();
        for member in &observed.members {
            *population
                .entry(member.machine.region.as_str())
                .or_default() += 1;
        }
        let listed: Vec<&str> = if policy.regions.is_empty() {
            vec![source_region]
        } else {
            policy.regions.iter().map(String::as_str).collect()
        };
        let mut regions: Vec<Candidate> = Vec::with_capacity(listed.len());
        for region in listed {
            if regions.iter().all(|known| known.region != region) {
                regions.push(Candidate {
                    region: region.to_owned(),
                    population: population.get(region).copied().unwrap_or(0),
                    backs_off: memory.region_backs_off(region, now),
                    refused: false,
                });
            }
        }
        Self { regions }
    }

    /// The region of the next create: the least populated, ties in list order; one whose last create failed comes
    /// last, one that refused in this pass not at all.
    pub fn next_region(&mut self) -> Option<String> {
        let candidate = self
            .regions
            .iter_mut()
            .filter(|candidate| !candidate.refused)
            .min_by_key(|candidate| (candidate.backs_off, candidate.population))?;
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
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Whether there is no region at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::{Effect, fleet::Fleet};

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
        let cases: [(&str, &[&str], &[&str], &str); 7] = [
            (
                "unset: where the source is",
                &[],
                &[],
                "ord ord ord ord ord",
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
                "twice listed is listed once",
                &["iad", "syd", "iad"],
                &[],
                "iad syd iad syd iad",
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
        assert_eq!(placement.len(), 3);
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
        assert_eq!(placement.len(), 3);
    }
}

//! What happened in the seeds, so that a generator that has become tame fails the test.

use std::collections::BTreeMap;

/// How often what happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally(BTreeMap<&'static str, u64>);

/// What has to happen in every thousand of the default seeds, and how often at least: about a third of what does.
const WANTED: [(&str, u64); 60] = [
    ("answers that lack a running machine", 300),
    ("answers that spare a busy machine", 400),
    ("apps with regions", 60),
    ("apps with several fleets", 80),
    ("clones that fail", 500),
    ("creates", 4500),
    ("creates answered with another machine", 80),
    ("creates in a region that lists have shown", 450),
    ("creates in a region without machines", 160),
    ("creates without an answer", 300),
    ("destroys", 3500),
    ("destroys without an answer", 800),
    ("faults", 35_000),
    ("freezes", 250),
    ("growth without an answer about the release", 1700),
    ("last machines of a group that no region wants", 2),
    ("last machines of a region that go", 55),
    ("lists that do not come", 6000),
    ("lists that lack machines", 1500),
    ("lists that lag", 19_000),
    ("lists that lag for longer than they should", 1000),
    ("lists with failed machines", 20_000),
    ("lists with unreachable machines", 2000),
    ("lives", 1300),
    (
        "machines that go where only one of another region is left",
        25,
    ),
    ("passes", 150_000),
    ("passes in which a fleet fails and one acts", 1100),
    ("passes in which one region grows and one shrinks", 45),
    ("passes in which several fleets act", 1100),
    ("passes in which several fleets create", 120),
    ("passes in which several regions create or destroy", 210),
    ("passes of other apps", 12_000),
    ("passes of regions", 14_500),
    ("passes of regions with machines in others", 2300),
    ("passes of several fleets", 18_000),
    ("passes that find regions", 45),
    ("passes that take one machine and spare a busy one", 300),
    ("passes that take running machines by their loads", 650),
    ("passes with a region that has gone from the list", 1800),
    ("passes with two targets", 33_000),
    ("passes without a metric", 10_000),
    ("questions about busy machines", 1100),
    ("questions about busy machines without an answer", 320),
    ("questions about one machine", 3000),
    ("releases under way", 450),
    ("releases without an answer", 8000),
    ("requests during which the process stood still", 50),
    ("running machines destroyed", 700),
    ("starts", 4000),
    ("starts that do not hold", 1600),
    ("starts without an answer", 900),
    ("stops", 4000),
    ("stops without an answer", 850),
    ("victims that return", 110),
    ("waits for a place", 300),
    ("workers that end", 700),
    ("writes in a wrong state", 450),
    ("writes over the rate", 400),
    ("writes to leased machines", 850),
    ("writes with a refused token", 10),
];

impl Tally {
    /// Counts one more.
    pub(super) fn note(&mut self, what: &'static str) {
        self.note_if(true, what);
    }

    /// Counts one more, if it is so.
    pub(super) fn note_if(&mut self, happened: bool, what: &'static str) {
        if happened {
            *self.0.entry(what).or_default() += 1;
        }
    }

    /// Adds what another one counted.
    pub(super) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// What did not happen often enough in so many seeds.
    pub(super) fn too_rare(&self, seeds: u64) -> Vec<String> {
        WANTED
            .iter()
            .map(|(what, wanted)| {
                (
                    what,
                    self.0.get(what).copied().unwrap_or(0),
                    wanted * seeds / 1000,
                )
            })
            .filter(|(_, found, wanted)| found < wanted)
            .map(|(what, found, wanted)| format!("{what}: {found}, and {wanted} are wanted"))
            .collect()
    }
}

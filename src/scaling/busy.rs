//! How busy machines are, where a query says so: whose loss costs the least. From `sources.md`.

use std::{cmp::Ordering, collections::BTreeMap};

use super::{Member, Observed, Policy, State, count};

/// What a pass knows of how busy machines are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Busyness {
    /// Nobody has been asked: there is no such query, or nothing that runs is to go as far as is known.
    #[default]
    NotAsked,
    /// What was answered, by machine; at least one.
    Known(BTreeMap<String, Load>),
    /// Nothing was answered. A metric of an app that is down must not be read as idleness.
    Unknown,
}

/// How busy a machine is, in whatever the query counts; a number.
#[derive(Debug, Clone, Copy)]
pub struct Load(f64);

impl Load {
    /// Of a sample; NaN is none.
    #[must_use]
    pub fn of(value: f64) -> Option<Self> {
        (!value.is_nan()).then_some(Self(value))
    }
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Load {}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Load {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// What decides among machines of one rank: the least busy first, one without a sample last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// Nobody says, or it does not run.
    Equal,
    /// So busy.
    Sampled(Load),
    /// Of the others somebody said it.
    Unsampled,
}

impl Busyness {
    /// From an answer; one without a sample is none.
    #[must_use]
    pub fn of(samples: impl IntoIterator<Item = (String, f64)>) -> Self {
        let mut loads: BTreeMap<String, Load> = BTreeMap::new();
        for (machine, value) in samples {
            if let Some(load) = Load::of(value) {
                // Of several, the one that keeps it.
                let known = loads.entry(machine).or_insert(load);
                *known = (*known).max(load);
            }
        }
        if loads.is_empty() {
            Self::Unknown
        } else {
            Self::Known(loads)
        }
    }

    /// What an answer says of the machines that run: one without a sample of any of them is none. It may be about other
    /// things altogether, such as addresses in place of machines.
    #[must_use]
    pub fn about(self, observed: &Observed) -> Self {
        match (&self, self.covers(observed)) {
            (Self::Known(_), (0, _)) => Self::Unknown,
            _ => self,
        }
    }

    /// How many of the machines that run have a sample, and how many run.
    #[must_use]
    pub fn covers(&self, observed: &Observed) -> (u32, u32) {
        let running = observed.members.iter();
        let running = running.filter(|member| member.machine.state == State::Started);
        let covered = running.clone().filter(|member| match self {
            Self::Known(loads) => loads.contains_key(&member.machine.id),
            Self::NotAsked | Self::Unknown => false,
        });
        (count(covered.count()), count(running.count()))
    }

    /// A running machine's turn among others of its rank.
    pub(super) fn turn(&self, member: &Member) -> Turn {
        match self {
            Self::Known(loads) if member.machine.state == State::Started => {
                let load = loads.get(&member.machine.id);
                load.map_or(Turn::Unsampled, |load| Turn::Sampled(*load))
            }
            _ => Turn::Equal,
        }
    }

    /// Whether a machine is not to be taken, because it runs and may be too busy.
    pub(super) fn spares(&self, member: &Member, policy: &Policy) -> bool {
        if member.machine.state != State::Started {
            return false;
        }
        match (self, policy.busy_limit) {
            (Self::NotAsked, _) | (Self::Known(_), None) => false,
            (Self::Unknown, _) => true,
            (Self::Known(loads), Some(limit)) => {
                let load = loads.get(&member.machine.id);
                load.is_none_or(|load| load.0 > limit)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::{
        Action, Note, StopAction,
        tests::fleet::{Fleet, both, created, started},
    };

    /// A policy under which running machines may go at once.
    fn policy(limit: Option<f64>) -> Policy {
        Policy {
            asks_busy: true,
            busy_limit: limit,
            destroy_running_after: std::time::Duration::ZERO,
            stop_action: StopAction::Stop,
            ..Policy::default()
        }
    }

    fn known(loads: &[(&str, f64)]) -> Busyness {
        Busyness::of(loads.iter().map(|(id, load)| ((*id).to_owned(), *load)))
    }

    const FIVE: [&str; 5] = [
        "a ord started",
        "b ord started",
        "c ord started",
        "d iad started",
        "e ord stopped",
    ];

    /// The machines that a pass takes, in their order, and its notes.
    fn taken(
        fleet: &mut Fleet,
        targets: crate::scaling::Targets,
        busyness: Busyness,
    ) -> (Vec<String>, Vec<Note>) {
        let mut pass = fleet.pass(0, targets, &FIVE);
        pass.observed.busyness = busyness;
        let plan = fleet.plan_of(0, &pass.observed, &pass.limited);
        let ids = match plan.action {
            Some(Action::Destroy { victims }) => {
                victims.into_iter().map(|victim| victim.id).collect()
            }
            Some(Action::Stop { candidates, count }) => {
                let count = usize::try_from(count).expect("a few");
                candidates.into_iter().take(count).collect()
            }
            Some(other) => panic!("{other:?}"),
            None => Vec::new(),
        };
        (ids, plan.notes)
    }

    #[test]
    fn of_running_machines_the_least_busy_goes_first_before_regions_and_ids() {
        let loads = [("a", 5.0), ("b", 1.0), ("c", 3.0), ("d", 4.0)];
        let cases: [(&str, Busyness, &[&str]); 4] = [
            ("nobody says", Busyness::NotAsked, &["e", "a", "b"]),
            ("by load", known(&loads), &["e", "b", "c"]),
            (
                "one without a sample goes last",
                known(&loads[..1]),
                &["e", "a", "b"],
            ),
            (
                "what rests goes before the least busy",
                known(&[("a", 0.0), ("b", 0.0), ("c", 0.0), ("d", 0.0)]),
                &["e", "a", "b"],
            ),
        ];
        for (name, busyness, expected) in cases {
            let mut fleet = Fleet::new(policy(None));
            let (ids, _) = taken(&mut fleet, created(2, 2), busyness);
            assert_eq!(ids, expected, "{name}");
        }
        let mut fleet = Fleet::new(policy(None));
        let (ids, _) = taken(&mut fleet, started(1, 1), known(&loads));
        assert_eq!(ids, ["b", "c", "d"]);
    }

    #[test]
    fn an_answer_about_other_things_is_none() {
        let mut fleet = Fleet::new(policy(None));
        let observed = fleet.observe(0, &FIVE);
        let about = |loads: &[(&str, f64)]| known(loads).about(&observed);
        assert_eq!(
            about(&[("10.0.0.1:9100", 0.0), ("x", 1.0)]),
            Busyness::Unknown
        );
        assert_eq!(about(&[("e", 0.0)]), Busyness::Unknown, "it does not run");
        let one = [("a", 0.0), ("x", 1.0)];
        assert_eq!(about(&one), known(&one));
        assert_eq!(Busyness::NotAsked.about(&observed), Busyness::NotAsked);
    }

    #[test]
    fn over_the_limit_a_running_machine_stays_and_so_does_one_without_a_sample() {
        let loads = [("a", 0.0), ("b", 0.5), ("c", 0.0)];
        let mut fleet = Fleet::new(policy(Some(0.0)));
        let (ids, notes) = taken(&mut fleet, created(1, 1), known(&loads));
        assert_eq!(ids, ["e", "a", "c"]);
        assert!(notes.contains(&Note::BusyStay { machines: 1 }), "{notes:?}");
        let mut fleet = Fleet::new(policy(Some(0.5)));
        let (ids, notes) = taken(&mut fleet, started(0, 0), known(&loads));
        assert_eq!(ids, ["a", "c", "b"], "d has no sample");
        assert!(notes.contains(&Note::BusyStay { machines: 1 }), "{notes:?}");
    }

    #[test]
    fn without_an_answer_nothing_that_runs_is_taken() {
        for limit in [None, Some(10.0)] {
            for targets in [created(1, 1), started(0, 0), both((1, 1), (0, 0))] {
                let mut fleet = Fleet::new(policy(limit));
                let (ids, notes) = taken(&mut fleet, targets, Busyness::Unknown);
                let rested = ids.iter().all(|id| id == "e");
                assert!(rested, "{ids:?}");
                let unknown = |note: &Note| matches!(note, Note::BusyUnknown { .. });
                assert!(notes.iter().any(unknown), "{notes:?}");
            }
        }
    }

    #[test]
    fn an_answer_without_a_number_is_none_and_of_two_samples_the_higher_counts() {
        assert_eq!(Busyness::of([]), Busyness::Unknown);
        let nan = [("a".to_owned(), f64::NAN)];
        assert_eq!(Busyness::of(nan), Busyness::Unknown);
        let twice = [("a", 1.0), ("a", 3.0), ("a", 2.0)];
        assert_eq!(known(&twice), known(&[("a", 3.0)]));
    }
}

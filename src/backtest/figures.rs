//! The figures of a replay: what was done how often, and areas over time.

use std::time::Duration;

use jiff::Timestamp;

use crate::scaling::{Decision, Kind};

/// A change of direction within this time of the change before it is a flap.
pub const FLAP: Duration = Duration::from_secs(10 * 60);

const SECONDS_AN_HOUR: f64 = 3600.0;

/// What a replay comes to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figures {
    /// Machines created.
    pub creates: u32,
    /// Machines destroyed.
    pub destroys: u32,
    /// Machines started, by the autoscaler.
    pub starts: u32,
    /// Machines stopped, by the autoscaler.
    pub stops: u32,
    /// Changes of direction (creating after destroying, stopping after starting …) within [`FLAP`] of the change before.
    pub flaps: u32,
    /// Hours of machines that existed.
    pub machine_hours: f64,
    /// Hours of machines that ran.
    pub started_hours: f64,
    /// Hours of machines that ran or booted: what is paid for.
    pub paid_hours: f64,
    /// Hours of machines that the expression's minimum before limits asked for and that did not run.
    pub unmet_machine_hours: f64,
    /// The most machines that existed after a step.
    pub max_created: u32,
    /// The fewest.
    pub min_created: u32,
}

/// Gathers [`Figures`] step by step.
#[derive(Debug, Default)]
pub(super) struct Tally {
    figures: Figures,
    /// The last change of each kind: whether it was growth, and when.
    last: [Option<(bool, Timestamp)>; 2],
    steps: u64,
    created_s: f64,
    started_s: f64,
    paid_s: f64,
    unmet_s: f64,
}

/// How things are in a step, after what it did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'a> {
    /// How long it is, in seconds.
    pub(super) length_s: f64,
    /// Machines that exist.
    pub(super) created: u32,
    /// Machines that run at its beginning.
    pub(super) running: u32,
    /// In how many seconds each booting machine runs, soonest first; later than the step's end too.
    pub(super) boots: &'a [f64],
    /// How many are asked for, before limits; `None`: nobody knows.
    pub(super) minimum: Option<u32>,
    /// Whether machines at rest are what is asked for.
    pub(super) rest_is_enough: bool,
}

impl Tally {
    /// Something was done to so many machines.
    pub(super) fn did(&mut self, decision: Decision, machines: u32, at: Timestamp) {
        let figures = &mut self.figures;
        let (count, kind, grows) = match decision {
            Decision::Create => (&mut figures.creates, Kind::Created, true),
            Decision::Destroy => (&mut figures.destroys, Kind::Created, false),
            Decision::Start => (&mut figures.starts, Kind::Started, true),
            Decision::Stop => (&mut figures.stops, Kind::Started, false),
            Decision::NoScale => return,
        };
        if machines == 0 {
            return;
        }
        *count += machines;
        let last = &mut self.last[usize::from(kind == Kind::Started)];
        if let Some((grew, before)) = last.replace((grows, at)) {
            let apart = at.duration_since(before).unsigned_abs();
            figures.flaps += u32::from(grew != grows && apart <= FLAP);
        }
    }

    /// A step has passed.
    pub(super) fn pass(&mut self, step: Step<'_>) {
        let figures = &mut self.figures;
        figures.max_created = figures.max_created.max(step.created);
        figures.min_created = if self.steps == 0 {
            step.created
        } else {
            figures.min_created.min(step.created)
        };
        self.steps += 1;
        self.created_s += f64::from(step.created) * step.length_s;
        let booting = u32::try_from(step.boots.len()).unwrap_or(u32::MAX);
        self.paid_s += f64::from(step.running + booting) * step.length_s;
        // From one boot to the next, the number that runs is the same.
        let (mut running, mut since) = (step.running, 0.0);
        let ends = step.boots.iter().map(|boot| boot.clamp(0.0, step.length_s));
        for end in ends.chain([step.length_s]) {
            let length = end - since;
            let there = if step.rest_is_enough {
                step.created
            } else {
                running
            };
            let unmet = step
                .minimum
                .map_or(0, |minimum| minimum.saturating_sub(there));
            self.started_s += f64::from(running) * length;
            self.unmet_s += f64::from(unmet) * length;
            (running, since) = (running + 1, end);
        }
    }

    /// What it all comes to.
    pub(super) fn figures(self) -> Figures {
        Figures {
            machine_hours: self.created_s / SECONDS_AN_HOUR,
            started_hours: self.started_s / SECONDS_AN_HOUR,
            paid_hours: self.paid_s / SECONDS_AN_HOUR,
            unmet_machine_hours: self.unmet_s / SECONDS_AN_HOUR,
            ..self.figures
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#[expect(clippy::float_cmp, reason = "whole seconds are exact")]
mod tests {
    use super::*;

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + 60 * minute).unwrap()
    }

    #[test]
    fn a_flap_is_a_change_of_direction_within_ten_minutes() {
        use Decision::{Create, Destroy, NoScale, Start, Stop};
        type Changes = &'static [(Decision, i64)];
        let cases: [(&str, Changes, u32); 8] = [
            ("nothing", &[(NoScale, 0)], 0),
            ("one direction", &[(Create, 0), (Create, 1), (Create, 5)], 0),
            ("there and back", &[(Create, 0), (Destroy, 9)], 1),
            ("at ten minutes", &[(Create, 0), (Destroy, 10)], 1),
            ("later", &[(Create, 0), (Destroy, 11)], 0),
            (
                "it is the last change before that counts",
                &[(Create, 0), (Create, 8), (Destroy, 15), (Create, 16)],
                2,
            ),
            ("the other kind", &[(Stop, 0), (Start, 1), (Stop, 2)], 2),
            (
                "the kinds are apart",
                &[
                    (Create, 0),
                    (Stop, 1),
                    (Create, 2),
                    (NoScale, 3),
                    (Destroy, 20),
                ],
                0,
            ),
        ];
        for (name, changes, flaps) in cases {
            let mut tally = Tally::default();
            for (decision, at) in changes {
                tally.did(*decision, 2, minute(*at));
            }
            assert_eq!(tally.figures().flaps, flaps, "{name}");
        }
    }

    #[test]
    fn machines_are_counted_not_decisions() {
        let mut tally = Tally::default();
        for (decision, machines) in [
            (Decision::Create, 3),
            (Decision::Destroy, 2),
            (Decision::Start, 1),
            (Decision::Stop, 4),
            (Decision::Create, 0),
        ] {
            tally.did(decision, machines, minute(0));
        }
        let figures = tally.figures();
        assert_eq!((figures.creates, figures.destroys), (3, 2));
        assert_eq!((figures.starts, figures.stops), (1, 4));
    }

    /// Two run, and two boot, in 30 s and in 90 s; 4 are asked for. In the minute of the step 2 run for 30 s and 3 for the
    /// other 30 s: 150 machine-seconds. Of the 240 that were asked for, 90 are missing.
    #[test]
    fn areas_are_exact_within_a_step() {
        let step = Step {
            length_s: 60.0,
            created: 5,
            running: 2,
            boots: &[30.0, 90.0],
            minimum: Some(4),
            rest_is_enough: false,
        };
        let mut tally = Tally::default();
        tally.pass(step);
        let figures = tally.figures();
        assert_eq!(figures.machine_hours, 300.0 / 3600.0);
        assert_eq!(figures.started_hours, 150.0 / 3600.0);
        assert_eq!(figures.paid_hours, 240.0 / 3600.0);
        assert_eq!(figures.unmet_machine_hours, 90.0 / 3600.0);
        assert_eq!((figures.min_created, figures.max_created), (5, 5));

        for (minimum, rest_is_enough, unmet) in [
            (None, false, 0.0),
            (Some(4), true, 0.0),
            (Some(7), true, 120.0 / 3600.0),
        ] {
            let mut tally = Tally::default();
            tally.pass(Step {
                minimum,
                rest_is_enough,
                ..step
            });
            assert_eq!(tally.figures().unmet_machine_hours, unmet);
        }
    }
}

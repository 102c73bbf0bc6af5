//! Limits on targets, in this order: floor and ceiling, stabilization, steps; and fallbacks for missing targets.
//!
//! Floor and ceiling move bounds into their range. Stabilization and steps only narrow the change that a pass may
//! make. A floor needs no metric: without a target it still asks for growth; a ceiling then destroys nothing.

use std::time::{Duration, Instant};

use super::{
    Bounds, Kind, Memory, Note, Now, Observed, Policy, Step, Target, Targets, UpDown,
    surplus::{RunningSurplus, running_depth},
    window::SlidingExtreme,
};

/// So many passes in a row without a valid target are a break: what was seen before them no longer counts.
const BREAK_PASSES: u32 = 2;

/// What planning is to reach: the targets after all limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limited {
    /// Bounds of the created count; `None`: leave it alone.
    pub created: Option<Bounds>,
    /// Bounds of the started count; `None`: leave it alone.
    pub started: Option<Bounds>,
    /// Whether the created target itself, before windows and steps, wants no machine gone, and no started target says how
    /// many are to run: victims that we have only stopped so far may then come back.
    pub nobody_has_to_go: bool,
    /// What the limits did.
    pub notes: Vec<Note>,
}

/// What the limits of one app remember.
#[derive(Debug, Clone, Default)]
pub(super) struct LimitsMemory {
    created: KindMemory,
    started: KindMemory,
    running_surplus: RunningSurplus,
}

impl LimitsMemory {
    /// How many passes in a row had no target of `kind`.
    pub(super) fn missing_passes(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Created => self.created.missing_passes,
            Kind::Started => self.started.missing_passes,
        }
    }

    /// How many running machines the surplus has reached for at least `after`.
    pub(super) fn running_surplus_of(&self, after: Duration, now: Instant) -> u32 {
        self.running_surplus.lasted(after, now)
    }

    /// A pass ended before it could evaluate anything.
    pub(super) fn note_blind_pass(&mut self, now: Instant) {
        self.created.note_missing();
        self.started.note_missing();
        if self.created.is_broken() {
            self.running_surplus.record(0, now);
        }
    }

    /// Nothing was seen or evaluated for too long: what was seen before says nothing of the time between.
    pub(super) fn note_standstill(&mut self, now: Instant) {
        self.created.since = None;
        self.started.since = None;
        self.running_surplus.record(0, now);
    }

    /// A pass did not evaluate anything, for nothing was to be scaled: it has no part in a row of passes without a target.
    pub(super) fn note_unevaluated(&mut self, now: Instant) {
        self.created.missing_passes = 0;
        self.started.missing_passes = 0;
        self.note_standstill(now);
    }
}

/// What the limits of one kind of target remember.
#[derive(Debug, Clone, Default)]
struct KindMemory {
    missing_passes: u32,
    minima: SlidingExtreme,
    maxima: SlidingExtreme,
    /// Since when there have been targets without a break, however far apart.
    since: Option<Instant>,
}

/// Applies every limit to this pass's targets; remembers the targets and how far the surplus reaches.
#[must_use]
pub fn limit(
    targets: Targets,
    observed: &Observed,
    policy: &Policy,
    memory: &mut Memory,
    now: Now,
) -> Limited {
    let mut notes = Vec::new();
    for (kind, target) in [
        (Kind::Created, targets.created),
        (Kind::Started, targets.started),
    ] {
        if let Target::Capped { min, max } = target {
            notes.push(Note::MinimumCapped { kind, min, max });
        }
    }
    let created = targets.created.within_floor_and_ceiling(policy, &mut notes);
    let nobody_has_to_go = targets.started == Target::Unset
        && created
            .bounds()
            .is_some_and(|bounds| observed.present() <= bounds.max);
    let memory = memory.limits_mut();
    let mut created_limiter = Limiter {
        kind: Kind::Created,
        current: Current {
            least: observed.created,
            most: observed.shown.saturating_add(observed.failed_expendable),
        },
        policy,
        memory: &mut memory.created,
        notes: &mut notes,
        now: now.monotonic,
    };
    let lasting = created_limiter.lasting(created);
    let created = lasting.map(|bounds| created_limiter.step(bounds));
    let mut started_limiter = Limiter {
        kind: Kind::Started,
        current: Current {
            least: observed.started,
            most: observed.started,
        },
        policy,
        memory: &mut memory.started,
        notes: &mut notes,
        now: now.monotonic,
    };
    let started = started_limiter
        .lasting(targets.started)
        .map(|bounds| started_limiter.step(bounds));
    if let (Some(created), Some(started)) = (created, started)
        && started.min > created.max
    {
        notes.push(Note::StartedAboveCreated {
            started: started.min,
            created: created.max,
        });
    }
    // One pass without a target says nothing of the surplus, which may have lasted all the same. A step bounds what one pass
    // takes, and not what is too many: each of its machines has been so for as long as the whole surplus.
    if targets.created != Target::Missing || memory.created.is_broken() {
        let reached = lasting.map_or(0, |bounds| running_depth(observed, bounds, policy));
        memory.running_surplus.record(reached, now.monotonic);
    }
    Limited {
        created,
        started,
        nobody_has_to_go,
        notes,
    }
}

/// How many machines there are: what a minimum is held against, and what a maximum is, which is what surely exists.
#[derive(Debug, Clone, Copy)]
struct Current {
    least: u32,
    most: u32,
}

impl Target {
    fn within_floor_and_ceiling(self, policy: &Policy, notes: &mut Vec<Note>) -> Self {
        let Some(asked) = self.bounds() else {
            return self;
        };
        let clamp = |count: u32| {
            count
                .min(policy.ceiling.unwrap_or(u32::MAX))
                .max(policy.floor.unwrap_or(0))
        };
        let bounds = Bounds {
            min: clamp(asked.min),
            max: clamp(asked.max),
        };
        match policy.floor {
            Some(floor) if asked.min < floor || asked.max < floor => {
                notes.push(Note::Floor {
                    floor,
                    from: Some(asked),
                });
            }
            _ => {}
        }
        match policy.ceiling {
            Some(ceiling) if asked.min > ceiling || asked.max > ceiling => {
                notes.push(Note::Ceiling {
                    ceiling,
                    from: asked,
                });
            }
            _ => {}
        }
        Self::Bounds(bounds)
    }
}

/// The limits of one kind of target in one pass.
struct Limiter<'pass> {
    kind: Kind,
    current: Current,
    policy: &'pass Policy,
    memory: &'pass mut KindMemory,
    notes: &'pass mut Vec<Note>,
    now: Instant,
}

impl Limiter<'_> {
    /// What is wanted, without regard to how much of it one pass may do.
    fn lasting(&mut self, target: Target) -> Option<Bounds> {
        let bounds = match (target, target.bounds()) {
            (Target::Unset, _) => return None,
            (_, None) => {
                self.memory.note_missing();
                self.stand_in()?
            }
            (_, Some(bounds)) => {
                self.memory.missing_passes = 0;
                self.memory.record(bounds, self.policy, self.now);
                bounds
            }
        };
        Some(self.stabilize(bounds))
    }

    /// What holds without a target: a fallback and the floor, as a minimum; neither ever shrinks.
    fn stand_in(&mut self) -> Option<Bounds> {
        let policy = self.policy;
        let missing_passes = self.memory.missing_passes;
        let (fallback, floor, ceiling) = match self.kind {
            Kind::Created => (policy.fallback.created, policy.floor, policy.ceiling),
            Kind::Started => (policy.fallback.started, None, None),
        };
        let fallback = fallback.filter(|_| missing_passes >= policy.fallback.after);
        if let Some(count) = fallback {
            self.notes.push(Note::Fallback {
                kind: self.kind,
                count,
                missing_passes,
            });
        }
        if let Some(floor) = floor.filter(|floor| fallback.is_none_or(|fallback| fallback < *floor))
        {
            self.notes.push(Note::Floor { floor, from: None });
        }
        let asked = Bounds::at_least(fallback.max(floor)?);
        let Some(ceiling) = ceiling.filter(|ceiling| *ceiling < asked.min) else {
            return Some(asked);
        };
        self.notes.push(Note::Ceiling {
            ceiling,
            from: asked,
        });
        Some(Bounds::at_least(ceiling))
    }

    fn stabilize(&mut self, bounds: Bounds) -> Bounds {
        let mut stable = bounds;
        let up = self.policy.stabilization.up;
        if !up.is_zero() {
            let lowest = self.memory.minima.current(up, self.now);
            let lowest = lowest.unwrap_or(bounds.min);
            if lowest < bounds.min {
                stable.min = lowest;
                if self.current.least < bounds.min {
                    self.notes.push(Note::GrowthHeld {
                        kind: self.kind,
                        wanted: bounds.min,
                        lowest,
                        window: up,
                    });
                }
            }
        }
        let down = self.policy.stabilization.down;
        if !down.is_zero() {
            let filled = self
                .memory
                .since
                .is_some_and(|since| self.now.saturating_duration_since(since) >= down);
            let highest = self.memory.maxima.current(down, self.now);
            let highest = highest.filter(|_| filled);
            stable.max = bounds.max.max(highest.unwrap_or(self.current.most));
            if self.current.most > bounds.max && stable.max > bounds.max {
                self.notes.push(Note::ShrinkingHeld {
                    kind: self.kind,
                    wanted: bounds.max,
                    highest,
                    window: down,
                });
            }
        }
        stable
    }

    fn step(&mut self, bounds: Bounds) -> Bounds {
        let (kind, Current { least, most }) = (self.kind, self.current);
        let mut stepped = bounds;
        if let Some(step) = self.policy.step.up {
            stepped.min = bounds.min.min(least.saturating_add(step.machines(least)));
            if stepped.min < bounds.min {
                self.notes.push(Note::Step {
                    kind,
                    up: true,
                    wanted: bounds.min,
                    reachable: stepped.min,
                });
            }
        }
        if let Some(step) = self.policy.step.down {
            stepped.max = bounds.max.max(most.saturating_sub(step.machines(most)));
            if stepped.max > bounds.max {
                self.notes.push(Note::Step {
                    kind,
                    up: false,
                    wanted: bounds.max,
                    reachable: stepped.max,
                });
            }
        }
        stepped
    }
}

impl KindMemory {
    fn note_missing(&mut self) {
        self.missing_passes = self.missing_passes.saturating_add(1);
        if self.is_broken() {
            self.minima.clear();
            self.maxima.clear();
            self.since = None;
        }
    }

    /// Whether there has been no target for so many passes that earlier ones no longer count.
    fn is_broken(&self) -> bool {
        self.missing_passes >= BREAK_PASSES
    }

    fn record(&mut self, bounds: Bounds, policy: &Policy, now: Instant) {
        let UpDown { up, down } = policy.stabilization;
        // Nobody asks what went through a window of no length, and nothing is kept for it.
        if !up.is_zero() {
            self.minima.lowest(bounds.min, up, now);
        }
        if !down.is_zero() {
            self.maxima.highest(bounds.max, down, now);
        }
        self.since.get_or_insert(now);
    }
}

impl Step {
    /// How many machines this step is, seen from `current`.
    #[must_use]
    pub fn machines(self, current: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(0) => 0,
            Self::Percent(percent) => {
                let share = (u64::from(current) * u64::from(percent)).div_ceil(100);
                u32::try_from(share).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scaling::{
        Fallback, Standstills,
        tests::fleet::{Fleet, created, missing, started},
    };

    /// A fleet of this many started machines.
    fn machines(count: u32) -> Vec<String> {
        (0..count)
            .map(|number| format!("m{number:03} ord started"))
            .collect()
    }

    fn limited(fleet: &mut Fleet, second: u64, targets: Targets, current: u32) -> Limited {
        let machines = machines(current);
        let list: Vec<&str> = machines.iter().map(String::as_str).collect();
        fleet.pass(second, targets, &list).limited
    }

    fn band(limited: &Limited) -> Option<(u32, u32)> {
        limited.created.map(|bounds| (bounds.min, bounds.max))
    }

    fn sentences(limited: &Limited) -> Vec<String> {
        limited.notes.iter().map(ToString::to_string).collect()
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn floor_and_ceiling_clamp_both_created_bounds() {
        // Floor, ceiling, asked, expected, notes.
        type Case = (
            Option<u32>,
            Option<u32>,
            (u32, u32),
            (u32, u32),
            &'static [&'static str],
        );
        let cases: [Case; 8] = [
            (None, None, (2, 9), (2, 9), &[]),
            (Some(3), Some(6), (4, 5), (4, 5), &[]),
            (Some(3), Some(6), (3, 6), (3, 6), &[]),
            (
                Some(3),
                None,
                (1, 2),
                (3, 3),
                &["the floor of 3 raises the created target (1 to 2)"],
            ),
            (
                Some(3),
                None,
                (1, 9),
                (3, 9),
                &["the floor of 3 raises the created target (1 to 9)"],
            ),
            (
                None,
                Some(6),
                (8, 8),
                (6, 6),
                &["the ceiling of 6 lowers the created target (8)"],
            ),
            (
                None,
                Some(6),
                (2, 8),
                (2, 6),
                &["the ceiling of 6 lowers the created target (2 to 8)"],
            ),
            (
                Some(4),
                Some(4),
                (1, 9),
                (4, 4),
                &[
                    "the floor of 4 raises the created target (1 to 9)",
                    "the ceiling of 4 lowers the created target (1 to 9)",
                ],
            ),
        ];
        for (floor, ceiling, (min, max), expected, notes) in cases {
            let mut fleet = Fleet::new(Policy {
                floor,
                ceiling,
                ..Policy::default()
            });
            let limited = limited(&mut fleet, 0, created(min, max), 4);
            let name = format!("{floor:?} {ceiling:?} {min} {max}");
            assert_eq!(band(&limited), Some(expected), "{name}");
            assert_eq!(sentences(&limited), notes, "{name}");
        }
    }

    #[test]
    fn floor_and_ceiling_are_of_the_created_machines_alone() {
        let mut fleet = Fleet::new(Policy {
            floor: Some(3),
            ceiling: Some(5),
            ..Policy::default()
        });
        for (asked, expected) in [(1, 1), (9, 9)] {
            let limited = limited(&mut fleet, 0, started(asked, asked), 4);
            let bounds = Bounds {
                min: expected,
                max: expected,
            };
            assert_eq!(limited.started, Some(bounds));
            assert_eq!(limited.created, None, "the floor needs a created target");
        }
    }

    #[test]
    fn without_a_target_the_floor_asks_for_growth_and_nothing_for_shrinking() {
        for (floor, ceiling, expected) in [
            (Some(3), Some(5), Some((3, u32::MAX))),
            (Some(3), None, Some((3, u32::MAX))),
            (None, Some(5), None),
        ] {
            let mut fleet = Fleet::new(Policy {
                floor,
                ceiling,
                ..Policy::default()
            });
            let limited = limited(&mut fleet, 0, missing(Kind::Created), 9);
            assert_eq!(band(&limited), expected);
            let notes: &[&str] = match floor {
                Some(_) => &["the created target has no value, but the floor of 3 still applies"],
                None => &[],
            };
            assert_eq!(sentences(&limited), notes);
        }
    }

    #[test]
    fn a_fallback_is_a_minimum_after_so_many_passes_without_a_target() {
        let mut fleet = Fleet::new(Policy {
            fallback: Fallback {
                created: Some(4),
                started: Some(2),
                after: 3,
            },
            ..Policy::default()
        });
        let mut bands = Vec::new();
        for pass in 0..4 {
            let limited = limited(&mut fleet, 15 * pass, missing(Kind::Created), 9);
            bands.push(band(&limited));
        }
        let fallback = Some((4, u32::MAX));
        assert_eq!(bands, [None, None, fallback, fallback]);
        assert_eq!(fleet.memory.missing_passes(Kind::Created), 4);
        assert_eq!(fleet.memory.missing_passes(Kind::Started), 0);

        assert_eq!(
            band(&limited(&mut fleet, 60, created(1, 2), 9)),
            Some((1, 2))
        );
        assert_eq!(
            fleet.memory.missing_passes(Kind::Created),
            0,
            "a target ends the row"
        );
        assert_eq!(
            band(&limited(&mut fleet, 75, missing(Kind::Created), 9)),
            None
        );

        let mut last = None;
        for pass in 0..3 {
            last = limited(&mut fleet, 90 + 15 * pass, missing(Kind::Started), 9).started;
        }
        assert_eq!(last, Some(Bounds::at_least(2)));
    }

    #[test]
    fn the_higher_of_floor_and_fallback_holds_and_the_ceiling_above_both() {
        type Case = (Option<u32>, Option<u32>, u32, &'static [&'static str]);
        let cases: [Case; 3] = [
            (
                Some(3),
                None,
                4,
                &[
                    "the created target has had no value for 1 pass: the fallback of 4 is used as its minimum",
                ],
            ),
            (
                Some(6),
                None,
                6,
                &[
                    "the created target has had no value for 1 pass: the fallback of 4 is used as its minimum",
                    "the created target has no value, but the floor of 6 still applies",
                ],
            ),
            (
                None,
                Some(2),
                2,
                &[
                    "the created target has had no value for 1 pass: the fallback of 4 is used as its minimum",
                    "the ceiling of 2 lowers the created target (at least 4)",
                ],
            ),
        ];
        for (floor, ceiling, min, notes) in cases {
            let mut fleet = Fleet::new(Policy {
                floor,
                ceiling,
                fallback: Fallback {
                    created: Some(4),
                    started: None,
                    after: 1,
                },
                ..Policy::default()
            });
            let limited = limited(&mut fleet, 0, missing(Kind::Created), 1);
            assert_eq!(band(&limited), Some((min, u32::MAX)));
            assert_eq!(sentences(&limited), notes);
        }
    }

    fn stabilized(up: Duration, down: Duration) -> Fleet {
        Fleet::new(Policy {
            stabilization: UpDown { up, down },
            ..Policy::default()
        })
    }

    #[test]
    fn growth_goes_to_the_lowest_minimum_of_the_window() {
        let mut fleet = stabilized(MINUTE, Duration::ZERO);
        // Second, asked minimum, expected minimum.
        for (second, asked, expected) in [
            (0, 5, 5),
            (15, 3, 3),
            (30, 8, 3),
            (75, 8, 3),
            (76, 8, 8),
            (90, 6, 6),
            (105, 9, 6),
        ] {
            let limited = limited(&mut fleet, second, created(asked, 20), 2);
            assert_eq!(band(&limited), Some((expected, 20)), "at {second}");
            if expected < asked {
                assert_eq!(
                    sentences(&limited),
                    [format!(
                        "created: scale-up to {asked} is held at {expected}, the lowest minimum of the last 1 min"
                    )]
                );
            } else {
                assert_eq!(sentences(&limited), [""; 0], "at {second}");
            }
        }
    }

    #[test]
    fn shrinking_goes_to_the_highest_maximum_of_a_filled_window() {
        let mut fleet = stabilized(Duration::ZERO, MINUTE);
        // Second, asked maximum, expected maximum.
        for (second, asked, expected, note) in [
            (
                0,
                5,
                10,
                "created: scale-down to 5 is held: FAS_SCALE_DOWN_STABILIZATION needs 1 min of targets first",
            ),
            (
                59,
                5,
                10,
                "created: scale-down to 5 is held: FAS_SCALE_DOWN_STABILIZATION needs 1 min of targets first",
            ),
            (60, 5, 5, ""),
            (75, 8, 8, ""),
            (
                90,
                4,
                8,
                "created: scale-down to 4 is held at 8, the highest maximum of the last 1 min",
            ),
            (
                135,
                4,
                8,
                "created: scale-down to 4 is held at 8, the highest maximum of the last 1 min",
            ),
            (136, 4, 4, ""),
        ] {
            let limited = limited(&mut fleet, second, created(1, asked), 10);
            assert_eq!(band(&limited), Some((1, expected)), "at {second}");
            let notes = sentences(&limited);
            assert_eq!(notes.first().map_or("", String::as_str), note);
        }
    }

    #[test]
    fn an_unfilled_window_never_holds_growth() {
        let mut fleet = stabilized(MINUTE, MINUTE);
        assert_eq!(
            band(&limited(&mut fleet, 0, created(9, 9), 2)),
            Some((9, 9))
        );
    }

    #[test]
    fn two_passes_in_a_row_without_a_target_empty_the_windows() {
        type Case<'a> = (&'a str, &'a [Option<Targets>], (u32, u32));
        let blind = None;
        let missed = Some(missing(Kind::Created));
        let seen = Some(created(3, 5));
        // Passes between the filled window and the one that is looked at; what that one comes to.
        let cases: [Case<'_>; 7] = [
            ("none", &[], (3, 8)),
            ("one missing", &[missed], (3, 8)),
            ("one blind", &[blind], (3, 8)),
            ("two missing", &[missed, missed], (8, 10)),
            ("two blind", &[blind, blind], (8, 10)),
            ("one of each", &[missed, blind], (8, 10)),
            ("a target between", &[missed, seen, missed], (3, 8)),
        ];
        for (name, passes, expected) in cases {
            let mut fleet = stabilized(300 * MINUTE, MINUTE);
            limited(&mut fleet, 0, created(3, 5), 10);
            limited(&mut fleet, 60, created(3, 5), 10);
            let mut second = 60;
            for pass in passes {
                second += 15;
                if let Some(targets) = pass {
                    limited(&mut fleet, second, *targets, 10);
                } else {
                    let now = fleet.at(second).monotonic;
                    fleet.memory.note_blind_pass(now);
                }
            }
            let limited = limited(&mut fleet, second + 15, created(8, 8), 10);
            assert_eq!(band(&limited), Some(expected), "{name}");
        }
    }

    #[test]
    fn passes_that_come_late_do_not_empty_the_windows() {
        let mut fleet = stabilized(Duration::ZERO, 3 * MINUTE);
        let maxima: Vec<Option<(u32, u32)>> = [0, 70, 140, 210, 280, 350]
            .into_iter()
            .zip([9, 5, 5, 5, 5, 5])
            .map(|(second, max)| band(&limited(&mut fleet, second, created(1, max), 10)))
            .collect();
        let held = Some((1, 10));
        let shrinks = Some((1, 5));
        assert_eq!(maxima, [held, held, held, shrinks, shrinks, shrinks]);
    }

    #[test]
    fn a_standstill_leaves_the_window_to_be_filled_anew() {
        let mut fleet = stabilized(300 * MINUTE, MINUTE);
        for second in [0, 15, 30, 45, 60] {
            let now = fleet.at(second).monotonic;
            fleet.begin_pass(Standstills::default(), now);
            limited(&mut fleet, second, created(3, 10), 10);
        }
        let now = fleet.at(3600).monotonic;
        let ended = Some(now);
        fleet.begin_pass(Standstills { ended, pause: None }, now);
        let bands: Vec<Option<(u32, u32)>> = [3600, 3659, 3660]
            .into_iter()
            .map(|second| band(&limited(&mut fleet, second, created(8, 8), 10)))
            .collect();
        assert_eq!(bands, [Some((3, 10)), Some((3, 10)), Some((3, 8))]);
    }

    #[test]
    fn a_minimum_above_its_maximum_is_noted_and_limited_as_the_maximum() {
        let mut fleet = Fleet::new(Policy {
            ceiling: Some(6),
            ..Policy::default()
        });
        let targets = Targets {
            created: Target::of(28, 10),
            started: Target::of(5, 4),
        };
        let limited = limited(&mut fleet, 0, targets, 4);
        assert_eq!(band(&limited), Some((6, 6)));
        assert_eq!(limited.started, Some(Bounds { min: 4, max: 4 }));
        assert_eq!(
            sentences(&limited),
            [
                "the created minimum 28 is above its maximum 10: the maximum is the target",
                "the started minimum 5 is above its maximum 4: the maximum is the target",
                "the ceiling of 6 lowers the created target (10)",
            ]
        );
        assert_eq!(fleet.memory.missing_passes(Kind::Created), 0);
    }

    #[test]
    fn fallbacks_are_not_recorded_in_the_windows() {
        let mut fleet = stabilized(MINUTE, MINUTE);
        fleet.policy.fallback = Fallback {
            created: Some(2),
            started: None,
            after: 1,
        };
        limited(&mut fleet, 0, created(6, 6), 6);
        limited(&mut fleet, 15, missing(Kind::Created), 6);
        limited(&mut fleet, 30, missing(Kind::Created), 6);
        let limited = limited(&mut fleet, 45, created(6, 6), 3);
        assert_eq!(
            band(&limited),
            Some((6, 6)),
            "a recorded 2 would hold growth"
        );
    }

    #[test]
    fn the_floor_holds_in_a_window_of_lower_targets() {
        let mut fleet = stabilized(MINUTE, Duration::ZERO);
        fleet.policy.floor = Some(4);
        limited(&mut fleet, 0, created(1, 1), 2);
        assert_eq!(
            band(&limited(&mut fleet, 15, created(9, 9), 2)),
            Some((4, 9))
        );
        let without = limited(&mut fleet, 30, missing(Kind::Created), 2);
        assert_eq!(band(&without), Some((4, u32::MAX)));
    }

    #[test]
    fn a_step_bounds_what_one_pass_adds_or_removes() {
        use Step::{Count, Percent};
        // Up, down, current, asked, expected.
        type Case = (
            Option<Step>,
            Option<Step>,
            u32,
            (u32, u32),
            (u32, u32),
            &'static str,
        );
        let cases: [Case; 13] = [
            (None, None, 4, (9, 9), (9, 9), ""),
            (
                Some(Count(2)),
                None,
                4,
                (9, 9),
                (6, 9),
                "created: scale-up to 9 is limited to 6 in this pass by FAS_SCALE_UP_STEP",
            ),
            (Some(Count(5)), None, 4, (9, 9), (9, 9), ""),
            (
                Some(Count(0)),
                None,
                4,
                (9, 9),
                (4, 9),
                "created: scale-up to 9 is limited to 4 in this pass by FAS_SCALE_UP_STEP",
            ),
            (
                Some(Percent(50)),
                None,
                5,
                (9, 9),
                (8, 9),
                "created: scale-up to 9 is limited to 8 in this pass by FAS_SCALE_UP_STEP",
            ),
            (
                Some(Percent(1)),
                None,
                5,
                (9, 9),
                (6, 9),
                "created: scale-up to 9 is limited to 6 in this pass by FAS_SCALE_UP_STEP",
            ),
            (
                Some(Percent(0)),
                None,
                5,
                (9, 9),
                (5, 9),
                "created: scale-up to 9 is limited to 5 in this pass by FAS_SCALE_UP_STEP",
            ),
            (
                None,
                Some(Count(2)),
                9,
                (1, 3),
                (1, 7),
                "created: scale-down to 3 is limited to 7 in this pass by FAS_SCALE_DOWN_STEP",
            ),
            (None, Some(Count(6)), 9, (1, 3), (1, 3), ""),
            (
                None,
                Some(Count(0)),
                9,
                (1, 3),
                (1, 9),
                "created: scale-down to 3 is limited to 9 in this pass by FAS_SCALE_DOWN_STEP",
            ),
            (
                None,
                Some(Percent(25)),
                9,
                (1, 3),
                (1, 6),
                "created: scale-down to 3 is limited to 6 in this pass by FAS_SCALE_DOWN_STEP",
            ),
            (None, Some(Percent(400)), 9, (1, 3), (1, 3), ""),
            (Some(Count(1)), Some(Count(1)), 5, (4, 6), (4, 6), ""),
        ];
        for (up, down, current, (min, max), expected, note) in cases {
            let mut fleet = Fleet::new(Policy {
                step: UpDown { up, down },
                ..Policy::default()
            });
            let name = format!("{up:?} {down:?} {current} {min} {max}");
            let created = limited(&mut fleet, 0, created(min, max), current);
            assert_eq!(band(&created), Some(expected), "{name}");
            let notes = sentences(&created);
            assert_eq!(notes.first().map_or("", String::as_str), note, "{name}");
            let started = limited(&mut fleet, 0, started(min, max), current).started;
            assert_eq!(started, created.created, "both kinds alike: {name}");
        }
    }

    #[test]
    fn a_share_of_any_count_is_no_overflow() {
        assert_eq!(Step::Percent(u32::MAX).machines(u32::MAX), u32::MAX);
        assert_eq!(Step::Percent(50).machines(0), 1);
        assert_eq!(Step::Count(u32::MAX).machines(1), u32::MAX);
    }
}

//! What made a pass's target other than what its expression says, in the words and the order in which it happened.

use super::{Bounds, Kind, Note, Target, note::step_setting};

/// From the expression's value to the target of one kind: `expression 10, limited to 8 by FAS_MACHINE_CEILING, limited to 4 by
/// FAS_SCALE_UP_STEP`. `None` where the expression alone decided.
#[must_use]
pub fn decided_by(kind: Kind, target: Target, notes: &[Note]) -> Option<String> {
    let setting = |about: Kind, text: String| (about == kind).then_some(text);
    let steps = notes.iter().filter_map(|note| match *note {
        Note::MinimumCapped { kind, max, .. } => {
            setting(kind, format!("limited to its maximum {max}"))
        }
        Note::Floor { floor, .. } => setting(
            Kind::Created,
            format!("raised to {floor} by FAS_MACHINE_FLOOR"),
        ),
        Note::Ceiling { ceiling, .. } => setting(
            Kind::Created,
            format!("limited to {ceiling} by FAS_MACHINE_CEILING"),
        ),
        Note::Fallback { kind, count, .. } => {
            let name = kind.as_str().to_uppercase();
            setting(
                kind,
                format!("{count} by FAS_FALLBACK_{name}_MACHINE_COUNT"),
            )
        }
        Note::GrowthHeld { kind, lowest, .. } => setting(
            kind,
            format!("held at {lowest} by FAS_SCALE_UP_STABILIZATION"),
        ),
        Note::ShrinkingHeld { kind, highest, .. } => {
            let at = highest.map_or_else(String::new, |highest| format!(" at {highest}"));
            setting(kind, format!("held{at} by FAS_SCALE_DOWN_STABILIZATION"))
        }
        Note::Step {
            kind,
            up,
            reachable,
            ..
        } => setting(
            kind,
            format!("limited to {reachable} by {}", step_setting(up)),
        ),
        _ => None,
    });
    let steps: Vec<String> = steps.collect();
    if steps.is_empty() {
        return None;
    }
    let expression = match target {
        Target::Unset | Target::Missing => "expression without a value".to_owned(),
        Target::Bounds(bounds) => format!("expression {bounds}"),
        Target::Capped { min, .. } => format!("expression {}", Bounds::at_least(min)),
    };
    Some(format!("{expression}, {}", steps.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_limit_that_moved_the_target_is_named_in_its_turn() {
        let exactly = |count| Target::of(count, count);
        let window = Duration::from_secs(60);
        let created = Kind::Created;
        let cases: &[(Kind, Target, &[Note], Option<&str>)] = &[
            (created, exactly(4), &[], None),
            (created, exactly(4), &[Note::DryRun], None),
            (
                created,
                exactly(10),
                &[
                    Note::Ceiling {
                        ceiling: 8,
                        from: Bounds { min: 10, max: 10 },
                    },
                    Note::GrowthHeld {
                        kind: created,
                        wanted: 8,
                        lowest: 6,
                        window,
                    },
                    Note::Step {
                        kind: created,
                        up: true,
                        wanted: 6,
                        reachable: 4,
                    },
                ],
                Some(
                    "expression 10, limited to 8 by FAS_MACHINE_CEILING, held at 6 by FAS_SCALE_UP_STABILIZATION, \
                     limited to 4 by FAS_SCALE_UP_STEP",
                ),
            ),
            (
                created,
                Target::Missing,
                &[Note::Fallback {
                    kind: created,
                    count: 4,
                    missing_passes: 3,
                }],
                Some("expression without a value, 4 by FAS_FALLBACK_CREATED_MACHINE_COUNT"),
            ),
            (
                created,
                exactly(1),
                &[Note::Floor {
                    floor: 3,
                    from: Some(Bounds { min: 1, max: 1 }),
                }],
                Some("expression 1, raised to 3 by FAS_MACHINE_FLOOR"),
            ),
            (
                created,
                Target::of(28, 10),
                &[Note::MinimumCapped {
                    kind: created,
                    min: 28,
                    max: 10,
                }],
                Some("expression at least 28, limited to its maximum 10"),
            ),
            (
                Kind::Started,
                Target::of(1, 2),
                &[
                    Note::Ceiling {
                        ceiling: 8,
                        from: Bounds { min: 10, max: 10 },
                    },
                    Note::ShrinkingHeld {
                        kind: Kind::Started,
                        wanted: 2,
                        highest: None,
                        window,
                    },
                    Note::Step {
                        kind: created,
                        up: true,
                        wanted: 6,
                        reachable: 4,
                    },
                ],
                Some("expression 1 to 2, held by FAS_SCALE_DOWN_STABILIZATION"),
            ),
        ];
        for (kind, target, notes, expected) in cases {
            assert_eq!(
                decided_by(*kind, *target, notes).as_deref(),
                *expected,
                "{notes:?}"
            );
        }
    }
}

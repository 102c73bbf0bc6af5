//! What a pass has to say besides what it does: why nothing, what was limited, what was skipped.

use std::{fmt, time::Duration};

use super::{Bounds, Kind, Withheld};

/// One remark of a decision, as data; `Display` is the sentence that people read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The minimum of a target came out above its maximum, which is then the target.
    MinimumCapped {
        /// The kind.
        kind: Kind,
        /// The minimum that was asked for.
        min: u32,
        /// The maximum.
        max: u32,
    },
    /// `FAS_MACHINE_FLOOR` raised the bounds.
    Floor {
        /// The floor.
        floor: u32,
        /// What the expression asked for; `None` where it has no value.
        from: Option<Bounds>,
    },
    /// `FAS_MACHINE_CEILING` lowered the bounds.
    Ceiling {
        /// The ceiling.
        ceiling: u32,
        /// What was asked for.
        from: Bounds,
    },
    /// `FAS_FALLBACK_*` stands in for a target that is missing.
    Fallback {
        /// The kind.
        kind: Kind,
        /// The fallback.
        count: u32,
        /// How many passes in a row had no target.
        missing_passes: u32,
    },
    /// `FAS_SCALE_UP_STABILIZATION` holds growth back.
    GrowthHeld {
        /// The kind.
        kind: Kind,
        /// The minimum that was asked for.
        wanted: u32,
        /// The lowest minimum of the window.
        lowest: u32,
        /// The window.
        window: Duration,
    },
    /// `FAS_SCALE_DOWN_STABILIZATION` holds shrinking back.
    ShrinkingHeld {
        /// The kind.
        kind: Kind,
        /// The maximum that was asked for.
        wanted: u32,
        /// The highest maximum of the window; `None` while the window is not filled.
        highest: Option<u32>,
        /// The window.
        window: Duration,
    },
    /// `FAS_SCALE_UP_STEP` or `FAS_SCALE_DOWN_STEP` shortens the change.
    Step {
        /// The kind.
        kind: Kind,
        /// Whether growth (or else shrinking) is shortened.
        up: bool,
        /// The bound that was asked for.
        wanted: u32,
        /// The bound that this pass goes to.
        reachable: u32,
    },
    /// Creating pauses after failures.
    CreatePaused {
        /// How many machines are missing.
        wanted: u32,
        /// The pause that is left.
        remaining: Duration,
    },
    /// The ceiling counts failed machines, those on unreachable hosts and those that may have been created, and leaves
    /// fewer to create.
    CeilingLeavesNoRoom {
        /// How many machines are missing.
        wanted: u32,
        /// How many may be created.
        allowed: u32,
        /// How many machines have failed.
        failed: u32,
        /// How many machines are on hosts that do not answer.
        unreachable: u32,
        /// How many creates had no known outcome, and no list has shown so far what came of them.
        doubtful: u32,
    },
    /// Machines that an earlier list showed, or a create made, are missing from the list.
    Unlisted {
        /// How many.
        machines: u32,
    },
    /// More machines are missing from the list than one pass asks for: nothing grows.
    TooManyUnlisted {
        /// How many are still to be asked for.
        unasked: u32,
    },
    /// Machines with mounts are not cloned.
    MountsNotCloned {
        /// How many machines of the group have mounts.
        machines: u32,
    },
    /// A deploy is under way: nothing is written.
    DeployInProgress {
        /// The release's number.
        version: Option<u64>,
    },
    /// Nobody answers what the current release is.
    ReleaseUnknown {
        /// Why what was planned is not done; `None`: it is done all the same.
        withheld: Option<Withheld>,
    },
    /// A blue-green deploy is under way, or dead: nothing is destroyed.
    BlueGreen {
        /// How many machines are surplus.
        surplus: u32,
    },
    /// The surplus has not reached running machines for long enough.
    RunningSurplusWaits {
        /// How many running machines it reaches.
        machines: u32,
        /// `FAS_DESTROY_RUNNING_AFTER`.
        after: Duration,
    },
    /// Machines on their way down fill slots of the surplus.
    WaitsForStopping {
        /// How many of them.
        machines: u32,
    },
    /// Machines that the list does not show are counted, and none that it shows is destroyed in their place.
    UnseenSurplus {
        /// How many machines of a surplus they are.
        machines: u32,
    },
    /// Fewer machines may be destroyed than are surplus.
    NotDestroyable {
        /// How many machines are surplus.
        wanted: u32,
        /// How many of them have to stay: protected, busy, unreachable or the last of their kind.
        kept: u32,
    },
    /// What may be gone already is neither counted nor tried again before a list or an answer shows what came of it.
    MayBeGone {
        /// How many such machines a surplus would otherwise reach.
        machines: u32,
    },
    /// Machines with mounts are not destroyed, since growth could not bring them back.
    MountsNotDestroyed {
        /// How many of them are surplus.
        machines: u32,
    },
    /// Machines that a destroy did not remove lately: the others go first.
    DestroysFailed {
        /// Their ids.
        machines: Vec<String>,
    },
    /// Machines that a start did not keep running lately: the others go first.
    StartsFailed {
        /// Their ids.
        machines: Vec<String>,
    },
    /// Machines that a stop did not bring down lately: the others go first.
    StopsFailed {
        /// Their ids.
        machines: Vec<String>,
    },
    /// Fewer stopped machines exist than should be started.
    TooFewStopped {
        /// How many should be started.
        wanted: u32,
        /// How many can be.
        available: u32,
    },
    /// Fewer machines can be stopped than should be.
    TooFewStoppable {
        /// How many should be stopped.
        wanted: u32,
        /// How many can be.
        available: u32,
    },
    /// Machines on hosts that do not answer are left alone.
    Unreachable {
        /// How many.
        machines: u32,
        /// How many of them still count as created.
        counted: u32,
    },
    /// Machines that have been in a passing state for too long.
    Stuck {
        /// Their ids.
        machines: Vec<String>,
    },
    /// The app has no machine of any group, and a wildcard chose it.
    NoMachines,
    /// `FAS_DRY_RUN`: the plan is not carried out.
    DryRun,
    /// The process stood still since the machines were listed: nothing more is done by that list, and the next pass
    /// follows at once.
    StoodStill,
    /// The deadline came before everything was done; the next pass follows at once.
    OutOfTime {
        /// How many calls were not begun.
        remaining: u32,
    },
    /// Starts or stops may have happened, or not, and are left alone until a list or a minute says so.
    OutcomeUnknown {
        /// How many machines.
        machines: u32,
    },
    /// A call for one machine did not succeed and was passed over.
    Skipped {
        /// The machine.
        machine: String,
        /// Why.
        reason: String,
    },
}

impl Note {
    /// Whether somebody should look: the pass goes on, but not as it should.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        matches!(
            self,
            Self::CreatePaused { .. }
                | Self::Fallback { .. }
                | Self::MountsNotCloned { .. }
                | Self::MountsNotDestroyed { .. }
                | Self::DestroysFailed { .. }
                | Self::StartsFailed { .. }
                | Self::StopsFailed { .. }
                | Self::DeployInProgress { .. }
                | Self::ReleaseUnknown { .. }
                | Self::BlueGreen { .. }
                | Self::TooFewStopped { .. }
                | Self::Stuck { .. }
                | Self::Unreachable { .. }
                | Self::TooManyUnlisted { .. }
                | Self::StoodStill
        ) || matches!(self, Self::CeilingLeavesNoRoom { doubtful, .. } if *doubtful > 0)
    }

    /// Whether this has to be said although `before` has been: it is of another kind, or somebody should look and it is
    /// about other machines or more of them. What targets and clocks say changes from pass to pass, and is no news.
    #[must_use]
    pub fn is_news_after(&self, before: &Self) -> bool {
        if std::mem::discriminant(self) != std::mem::discriminant(before) {
            return true;
        }
        let at_rest = |note: &Self| {
            let mut note = note.clone();
            if let Self::CeilingLeavesNoRoom { wanted, .. } | Self::TooFewStopped { wanted, .. } =
                &mut note
            {
                *wanted = 0;
            }
            note
        };
        match self {
            Self::CeilingLeavesNoRoom { .. }
            | Self::TooFewStopped { .. }
            | Self::MountsNotCloned { .. }
            | Self::DestroysFailed { .. }
            | Self::StartsFailed { .. }
            | Self::StopsFailed { .. }
            | Self::DeployInProgress { .. }
            | Self::ReleaseUnknown { .. }
            | Self::Stuck { .. }
            | Self::Unreachable { .. } => at_rest(self) != at_rest(before),
            _ => false,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReleaseUnknown { withheld: None } => formatter.write_str(
                "nobody says whether a deploy is running; the machines show none, and growing goes on",
            ),
            Self::ReleaseUnknown {
                withheld: Some(Withheld::Shrinks),
            } => formatter.write_str(
                "nobody says whether a deploy is running: nothing is destroyed or stopped",
            ),
            Self::ReleaseUnknown {
                withheld: Some(Withheld::Shows(sign)),
            } => write!(
                formatter,
                "nobody says whether a deploy is running, and there is {sign}: nothing is changed"
            ),
            Self::MinimumCapped { kind, min, max } => write!(
                formatter,
                "the {kind} target: its minimum {min} is above its maximum {max}, which is the target"
            ),
            Self::Floor {
                floor,
                from: Some(from),
            } => {
                write!(
                    formatter,
                    "the floor of {floor} raises the created target ({from})"
                )
            }
            Self::Floor { floor, from: None } => {
                write!(
                    formatter,
                    "the created target has no value, but the floor of {floor} holds"
                )
            }
            Self::Ceiling { ceiling, from } => {
                write!(
                    formatter,
                    "the ceiling of {ceiling} lowers the created target ({from})"
                )
            }
            Self::Fallback {
                kind,
                count,
                missing_passes,
            } => write!(
                formatter,
                "the {kind} target has had no value for {}: the fallback of {count} is its minimum",
                Many(*missing_passes, "pass", "passes")
            ),
            Self::GrowthHeld {
                kind,
                wanted,
                lowest,
                window,
            } => write!(
                formatter,
                "{kind}: growth to {wanted} is held at {lowest}, the lowest minimum of the last {}",
                Span(*window)
            ),
            Self::ShrinkingHeld {
                kind,
                wanted,
                highest: Some(highest),
                window,
            } => write!(
                formatter,
                "{kind}: shrinking to {wanted} is held at {highest}, the highest maximum of the last {}",
                Span(*window)
            ),
            Self::ShrinkingHeld {
                kind,
                wanted,
                highest: None,
                window,
            } => write!(
                formatter,
                "{kind}: shrinking to {wanted} waits until targets have been seen for {}",
                Span(*window)
            ),
            Self::Step {
                kind,
                up,
                wanted,
                reachable,
            } => write!(
                formatter,
                "{kind}: {} to {wanted} goes to {reachable} in this pass, as far as the step allows",
                if *up { "growth" } else { "shrinking" }
            ),
            Self::CreatePaused { wanted, remaining } => write!(
                formatter,
                "{wanted} to create, but creating failed lately and pauses for {} more",
                Span(*remaining)
            ),
            Self::CeilingLeavesNoRoom {
                wanted,
                allowed,
                failed,
                unreachable,
                doubtful,
            } => {
                let in_the_way = [
                    (*failed, "that failed"),
                    (*unreachable, "on unreachable hosts"),
                    (
                        *doubtful,
                        "that creates without an answer may have made, for up to ten minutes,",
                    ),
                ];
                let in_the_way: Vec<String> = in_the_way
                    .iter()
                    .filter(|(count, _)| *count > 0)
                    .map(|(count, what)| format!("{count} {what}"))
                    .collect();
                write!(formatter, "{wanted} to create, but ")?;
                if in_the_way.is_empty() {
                    return write!(formatter, "the ceiling leaves {allowed}");
                }
                let counts = if failed + unreachable + doubtful == 1 {
                    "counts"
                } else {
                    "count"
                };
                write!(
                    formatter,
                    "{} {counts} against the ceiling, which leaves {allowed}",
                    in_the_way.join(" and ")
                )
            }
            Self::Unlisted { machines } => write!(
                formatter,
                "{} missing from the list: counted until known to be gone",
                Machines(*machines)
            ),
            Self::TooManyUnlisted { unasked } => write!(
                formatter,
                "{} missing from the list still to be asked for: nothing is created or started before each was",
                Machines(*unasked)
            ),
            Self::MountsNotCloned { machines } => write!(
                formatter,
                "{} with mounts may not be cloned; set FAS_CLONE_VOLUMES=true to give clones volumes of their own",
                Machines(*machines)
            ),
            Self::DeployInProgress {
                version: Some(version),
            } => {
                write!(
                    formatter,
                    "release v{version} is being deployed: nothing is changed until it is done"
                )
            }
            Self::DeployInProgress { version: None } => formatter
                .write_str("a release is being deployed: nothing is changed until it is done"),
            Self::BlueGreen { surplus } => write!(
                formatter,
                "{surplus} surplus, but cordoned machines of a newer release exist (a blue-green deploy under way, or one that died): nothing is destroyed"
            ),
            Self::RunningSurplusWaits { machines, after } => write!(
                formatter,
                "the surplus reaches {}: taken once it has lasted {}",
                Many(*machines, "running machine", "running machines"),
                Span(*after)
            ),
            Self::WaitsForStopping { machines } => {
                write!(
                    formatter,
                    "waiting for {} on the way down",
                    Machines(*machines)
                )
            }
            Self::NotDestroyable { wanted, kept } => write!(
                formatter,
                "{wanted} surplus, {kept} of them stay: protected, in transition, unreachable, or the last that can be cloned"
            ),
            Self::UnseenSurplus { machines } => write!(
                formatter,
                "{} of the surplus {} not in the list: nothing is destroyed in {} place",
                machines,
                if *machines == 1 { "is" } else { "are" },
                if *machines == 1 { "its" } else { "their" }
            ),
            Self::MayBeGone { machines } => write!(
                formatter,
                "whether {} gone already is not known: nothing is destroyed in {} place",
                Many(*machines, "machine is", "machines are"),
                if *machines == 1 { "its" } else { "their" }
            ),
            Self::MountsNotDestroyed { machines } => write!(
                formatter,
                "{} with mounts too many, but growth could not bring them back; set FAS_CLONE_VOLUMES=true to let them be destroyed and cloned",
                Machines(*machines)
            ),
            Self::DestroysFailed { machines } => write!(
                formatter,
                "could not be destroyed lately, and come last for a while: {}",
                Ids(machines)
            ),
            Self::StartsFailed { machines } => write!(
                formatter,
                "did not keep running when started lately, and come last for a while: {}",
                Ids(machines)
            ),
            Self::StopsFailed { machines } => write!(
                formatter,
                "did not stay down when stopped lately, and come last for a while: {}",
                Ids(machines)
            ),
            Self::TooFewStopped { wanted, available } => {
                write!(
                    formatter,
                    "{wanted} to start, but {} can be started",
                    Only(*available)
                )
            }
            Self::TooFewStoppable { wanted, available } => {
                write!(
                    formatter,
                    "{wanted} to stop, but {} can be stopped",
                    Only(*available)
                )
            }
            Self::Unreachable { machines, counted } => write!(
                formatter,
                "left alone on hosts that do not answer: {} ({counted} still counted)",
                Machines(*machines)
            ),
            Self::Stuck { machines } => {
                write!(formatter, "stuck in a passing state: {}", Ids(machines))
            }
            Self::NoMachines => formatter.write_str(
                "the app has no machine: there is nothing to copy until something is deployed",
            ),
            Self::DryRun => formatter.write_str("dry run: nothing was written"),
            Self::StoodStill => formatter.write_str(
                "the process stood still since the machines were listed: nothing more is changed by that list, and the next pass follows at once",
            ),
            Self::OutcomeUnknown { machines } => write!(
                formatter,
                "{machines} may have been told already, which no answer and no list has said so far"
            ),
            Self::OutOfTime { remaining } => {
                write!(
                    formatter,
                    "out of time with {remaining} left to do; the next pass follows at once"
                )
            }
            Self::Skipped { machine, reason } => {
                write!(formatter, "machine {machine} was passed over: {reason}")
            }
        }
    }
}

/// A count and its word: one, several.
struct Many(u32, &'static str, &'static str);

impl fmt::Display for Many {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, one, several) = self;
        write!(
            formatter,
            "{count} {}",
            if *count == 1 { one } else { several }
        )
    }
}

/// The first few of many ids.
struct Ids<'ids>(&'ids [String]);

impl fmt::Display for Ids<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<&str> = self.0.iter().take(5).map(String::as_str).collect();
        formatter.write_str(&shown.join(", "))?;
        match self.0.len().saturating_sub(5) {
            0 => Ok(()),
            more => write!(formatter, " and {more} more"),
        }
    }
}

struct Machines(u32);

impl fmt::Display for Machines {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Many(self.0, "machine", "machines").fmt(formatter)
    }
}

struct Only(u32);

impl fmt::Display for Only {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => formatter.write_str("none"),
            count => write!(formatter, "only {count}"),
        }
    }
}

/// A duration in words that people use: `45s`, `1m30s`, `500ms`.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
            (0, 0, _) if self.0.subsec_millis() > 0 && seconds < 10 => {
                write!(formatter, "{}ms", self.0.as_millis())
            }
            (0, 0, seconds) => write!(formatter, "{seconds}s"),
            (0, minutes, 0) => write!(formatter, "{minutes}m"),
            (0, minutes, seconds) => write!(formatter, "{minutes}m{seconds}s"),
            (hours, 0, 0) => write!(formatter, "{hours}h"),
            (hours, minutes, _) => write!(formatter, "{hours}h{minutes}m"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::DeploySign;

    const BAND: Bounds = Bounds { min: 2, max: 4 };

    #[test]
    fn every_note_is_a_sentence() {
        let window = Duration::from_secs(300);
        let cases = [
            (
                Note::MinimumCapped {
                    kind: Kind::Created,
                    min: 28,
                    max: 10,
                },
                "the created target: its minimum 28 is above its maximum 10, which is the target",
            ),
            (
                Note::ReleaseUnknown { withheld: None },
                "nobody says whether a deploy is running; the machines show none, and growing goes on",
            ),
            (
                Note::ReleaseUnknown {
                    withheld: Some(Withheld::Shrinks),
                },
                "nobody says whether a deploy is running: nothing is destroyed or stopped",
            ),
            (
                Note::ReleaseUnknown {
                    withheld: Some(Withheld::Shows(DeploySign::Cordoned)),
                },
                "nobody says whether a deploy is running, and there is a cordoned machine: nothing is changed",
            ),
            (
                Note::Floor {
                    floor: 3,
                    from: Some(BAND),
                },
                "the floor of 3 raises the created target (2 to 4)",
            ),
            (
                Note::Floor {
                    floor: 3,
                    from: None,
                },
                "the created target has no value, but the floor of 3 holds",
            ),
            (
                Note::Ceiling {
                    ceiling: 3,
                    from: Bounds::at_least(5),
                },
                "the ceiling of 3 lowers the created target (at least 5)",
            ),
            (
                Note::Fallback {
                    kind: Kind::Started,
                    count: 2,
                    missing_passes: 1,
                },
                "the started target has had no value for 1 pass: the fallback of 2 is its minimum",
            ),
            (
                Note::Fallback {
                    kind: Kind::Created,
                    count: 2,
                    missing_passes: 3,
                },
                "the created target has had no value for 3 passes: the fallback of 2 is its minimum",
            ),
            (
                Note::GrowthHeld {
                    kind: Kind::Created,
                    wanted: 9,
                    lowest: 4,
                    window,
                },
                "created: growth to 9 is held at 4, the lowest minimum of the last 5m",
            ),
            (
                Note::ShrinkingHeld {
                    kind: Kind::Started,
                    wanted: 1,
                    highest: Some(4),
                    window,
                },
                "started: shrinking to 1 is held at 4, the highest maximum of the last 5m",
            ),
            (
                Note::ShrinkingHeld {
                    kind: Kind::Created,
                    wanted: 1,
                    highest: None,
                    window,
                },
                "created: shrinking to 1 waits until targets have been seen for 5m",
            ),
            (
                Note::Step {
                    kind: Kind::Created,
                    up: true,
                    wanted: 9,
                    reachable: 6,
                },
                "created: growth to 9 goes to 6 in this pass, as far as the step allows",
            ),
            (
                Note::Step {
                    kind: Kind::Created,
                    up: false,
                    wanted: 1,
                    reachable: 6,
                },
                "created: shrinking to 1 goes to 6 in this pass, as far as the step allows",
            ),
            (
                Note::CreatePaused {
                    wanted: 2,
                    remaining: Duration::from_secs(15),
                },
                "2 to create, but creating failed lately and pauses for 15s more",
            ),
            (
                Note::CeilingLeavesNoRoom {
                    wanted: 3,
                    allowed: 1,
                    failed: 0,
                    unreachable: 2,
                    doubtful: 0,
                },
                "3 to create, but 2 on unreachable hosts count against the ceiling, which leaves 1",
            ),
            (
                Note::CeilingLeavesNoRoom {
                    wanted: 3,
                    allowed: 1,
                    failed: 1,
                    unreachable: 2,
                    doubtful: 0,
                },
                "3 to create, but 1 that failed and 2 on unreachable hosts count against the ceiling, which leaves 1",
            ),
            (
                Note::CeilingLeavesNoRoom {
                    wanted: 2,
                    allowed: 0,
                    failed: 0,
                    unreachable: 0,
                    doubtful: 2,
                },
                "2 to create, but 2 that creates without an answer may have made, for up to ten minutes, count against the ceiling, which leaves 0",
            ),
            (
                Note::CeilingLeavesNoRoom {
                    wanted: 2,
                    allowed: 1,
                    failed: 0,
                    unreachable: 0,
                    doubtful: 0,
                },
                "2 to create, but the ceiling leaves 1",
            ),
            (
                Note::Unlisted { machines: 1 },
                "1 machine missing from the list: counted until known to be gone",
            ),
            (
                Note::TooManyUnlisted { unasked: 21 },
                "21 machines missing from the list still to be asked for: nothing is created or started before each was",
            ),
            (
                Note::MountsNotCloned { machines: 1 },
                "1 machine with mounts may not be cloned; set FAS_CLONE_VOLUMES=true to give clones volumes of their own",
            ),
            (
                Note::DeployInProgress { version: Some(12) },
                "release v12 is being deployed: nothing is changed until it is done",
            ),
            (
                Note::DeployInProgress { version: None },
                "a release is being deployed: nothing is changed until it is done",
            ),
            (
                Note::BlueGreen { surplus: 2 },
                "2 surplus, but cordoned machines of a newer release exist (a blue-green deploy under way, or one that died): nothing is destroyed",
            ),
            (
                Note::RunningSurplusWaits {
                    machines: 1,
                    after: Duration::from_secs(45),
                },
                "the surplus reaches 1 running machine: taken once it has lasted 45s",
            ),
            (
                Note::RunningSurplusWaits {
                    machines: 2,
                    after: Duration::from_secs(90),
                },
                "the surplus reaches 2 running machines: taken once it has lasted 1m30s",
            ),
            (
                Note::WaitsForStopping { machines: 1 },
                "waiting for 1 machine on the way down",
            ),
            (
                Note::NotDestroyable { wanted: 3, kept: 2 },
                "3 surplus, 2 of them stay: protected, in transition, unreachable, or the last that can be cloned",
            ),
            (
                Note::TooFewStopped {
                    wanted: 3,
                    available: 0,
                },
                "3 to start, but none can be started",
            ),
            (
                Note::TooFewStoppable {
                    wanted: 3,
                    available: 1,
                },
                "3 to stop, but only 1 can be stopped",
            ),
            (
                Note::Unreachable {
                    machines: 1,
                    counted: 0,
                },
                "left alone on hosts that do not answer: 1 machine (0 still counted)",
            ),
            (
                Note::Stuck {
                    machines: ["a", "b"].map(str::to_owned).to_vec(),
                },
                "stuck in a passing state: a, b",
            ),
            (
                Note::Stuck {
                    machines: ["a", "b", "c", "d", "e", "f", "g"]
                        .map(str::to_owned)
                        .to_vec(),
                },
                "stuck in a passing state: a, b, c, d, e and 2 more",
            ),
            (
                Note::MayBeGone { machines: 1 },
                "whether 1 machine is gone already is not known: nothing is destroyed in its place",
            ),
            (
                Note::MayBeGone { machines: 2 },
                "whether 2 machines are gone already is not known: nothing is destroyed in their place",
            ),
            (
                Note::UnseenSurplus { machines: 1 },
                "1 of the surplus is not in the list: nothing is destroyed in its place",
            ),
            (
                Note::UnseenSurplus { machines: 3 },
                "3 of the surplus are not in the list: nothing is destroyed in their place",
            ),
            (
                Note::MountsNotDestroyed { machines: 2 },
                "2 machines with mounts too many, but growth could not bring them back; set FAS_CLONE_VOLUMES=true to let them be destroyed and cloned",
            ),
            (
                Note::DestroysFailed {
                    machines: vec!["a".to_owned()],
                },
                "could not be destroyed lately, and come last for a while: a",
            ),
            (
                Note::StartsFailed {
                    machines: vec!["a".to_owned()],
                },
                "did not keep running when started lately, and come last for a while: a",
            ),
            (
                Note::StopsFailed {
                    machines: vec!["a".to_owned()],
                },
                "did not stay down when stopped lately, and come last for a while: a",
            ),
            (
                Note::NoMachines,
                "the app has no machine: there is nothing to copy until something is deployed",
            ),
            (Note::DryRun, "dry run: nothing was written"),
            (
                Note::StoodStill,
                "the process stood still since the machines were listed: nothing more is changed by that list, and the next pass follows at once",
            ),
            (
                Note::OutcomeUnknown { machines: 2 },
                "2 may have been told already, which no answer and no list has said so far",
            ),
            (
                Note::OutOfTime { remaining: 4 },
                "out of time with 4 left to do; the next pass follows at once",
            ),
            (
                Note::Skipped {
                    machine: "a".to_owned(),
                    reason: "it is gone".to_owned(),
                },
                "machine a was passed over: it is gone",
            ),
        ];
        for (note, sentence) in cases {
            assert_eq!(note.to_string(), sentence);
        }
    }

    #[test]
    fn other_machines_or_more_of_them_are_news_and_a_moving_target_is_not() {
        let room = |wanted, doubtful| Note::CeilingLeavesNoRoom {
            wanted,
            allowed: 0,
            failed: 0,
            unreachable: 0,
            doubtful,
        };
        let failed = |ids: &[&str]| Note::StartsFailed {
            machines: ids.iter().copied().map(str::to_owned).collect(),
        };
        let paused = |wanted, seconds| Note::CreatePaused {
            wanted,
            remaining: Duration::from_secs(seconds),
        };
        let ceiling = |min| Note::Ceiling {
            ceiling: 3,
            from: Bounds::at_least(min),
        };
        let too_few = |wanted, available| Note::TooFewStopped { wanted, available };
        let cases = [
            (room(1, 1), room(2, 2), true),
            (room(1, 1), room(1, 0), true),
            (room(1, 1), room(2, 1), false),
            (failed(&["a"]), failed(&["a", "b"]), true),
            (failed(&["a"]), failed(&["a"]), false),
            (too_few(2, 0), too_few(3, 0), false),
            (too_few(2, 0), too_few(2, 1), true),
            (paused(2, 30), paused(1, 15), false),
            (ceiling(5), ceiling(9), false),
            (ceiling(5), paused(1, 15), true),
        ];
        for (before, now, expected) in cases {
            assert_eq!(now.is_news_after(&before), expected, "{before}; {now}");
        }
        assert!(room(1, 1).is_trouble());
        assert!(!room(1, 0).is_trouble());
    }

    #[test]
    fn durations_are_written_as_people_write_them() {
        let cases = [
            (0, "0s"),
            (500, "500ms"),
            (1_500, "1500ms"),
            (45_000, "45s"),
            (12_300, "12s"),
            (60_000, "1m"),
            (90_000, "1m30s"),
            (3_600_000, "1h"),
            (5_400_000, "1h30m"),
        ];
        for (milliseconds, text) in cases {
            assert_eq!(Span(Duration::from_millis(milliseconds)).to_string(), text);
        }
    }
}

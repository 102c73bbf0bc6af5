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
    /// More machines are to run than are to exist.
    StartedAboveCreated {
        /// The lower bound of the started count.
        started: u32,
        /// The upper bound of the created count.
        created: u32,
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
    /// Creates had no clear answer: what they may have made is counted.
    CreatesAssumed {
        /// How many.
        creates: u32,
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
    /// Machines whose configuration cannot be cloned are passed over as sources.
    NotClonable {
        /// How many.
        machines: u32,
        /// One of them.
        example: String,
        /// What is wrong with its configuration.
        reason: String,
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
        /// Whether it is asked before that how busy they are: fewer may go then.
        unless_busy: bool,
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
    /// No region of the group wants a machine: the last one stays, without which none could be created again.
    LastOfGroup,
    /// A region that is not set has no machine any longer: nobody asked for one there.
    RegionIsOver,
    /// What may be gone already is neither counted nor tried again before a list or an answer shows what came of it.
    MayBeGone {
        /// How many such machines a surplus would otherwise reach.
        machines: u32,
        /// Whether it is a destroy of theirs that had no clear answer, and nothing else: not only the stop before it, and no
        /// list that goes on showing what was destroyed.
        unanswered: bool,
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
        /// Whether some of them are tried again, because there are not enough others.
        again: bool,
    },
    /// Machines that a start did not keep running lately: the others go first.
    StartsFailed {
        /// Their ids.
        machines: Vec<String>,
        /// Whether some of them are tried again, because there are not enough others.
        again: bool,
    },
    /// Machines that a stop did not bring down lately: the others go first.
    StopsFailed {
        /// Their ids.
        machines: Vec<String>,
        /// Whether some of them are tried again, because there are not enough others.
        again: bool,
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
    /// Running machines that are busier than `FAS_BUSY_LIMIT`, or may be, stay.
    BusyStay {
        /// How many.
        machines: u32,
    },
    /// Nobody says how busy machines are: running ones that would have to go stay in this pass.
    BusyUnknown {
        /// How many.
        machines: u32,
    },
    /// Machines on hosts that do not answer are left alone.
    Unreachable {
        /// How many.
        machines: u32,
        /// How many of them still count as created.
        counted: u32,
    },
    /// Machines that have been in a transitional state for too long.
    Stuck {
        /// Their ids.
        machines: Vec<String>,
    },
    /// The app has no machine of any group, and a wildcard chose it.
    NoMachines,
    /// `FAS_DRY_RUN`: the plan is not carried out.
    DryRun,
    /// Another copy of the program writes: the plan is not carried out.
    StandsBy,
    /// This copy cannot be sure that it still holds the lock: nothing more is done in this pass.
    LockUnconfirmed,
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
                | Self::CreatesAssumed { .. }
                | Self::Fallback { .. }
                | Self::MountsNotCloned { .. }
                | Self::NotClonable { .. }
                | Self::MountsNotDestroyed { .. }
                | Self::RegionIsOver
                | Self::DestroysFailed { .. }
                | Self::StartsFailed { .. }
                | Self::StopsFailed { .. }
                | Self::DeployInProgress { .. }
                | Self::ReleaseUnknown { .. }
                | Self::BlueGreen { .. }
                | Self::StartedAboveCreated { .. }
                | Self::TooFewStopped { .. }
                | Self::BusyUnknown { .. }
                | Self::Stuck { .. }
                | Self::Unreachable { .. }
                | Self::TooManyUnlisted { .. }
                | Self::LockUnconfirmed
                | Self::StoodStill
        ) || matches!(self, Self::CeilingLeavesNoRoom { doubtful, .. } if *doubtful > 0)
    }

    /// Whether something that was to be done has not been done, or is not known to have been: it waits for another attempt,
    /// for an answer or for a deploy.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        match self {
            Self::CreatePaused { .. }
            | Self::CreatesAssumed { .. }
            | Self::TooManyUnlisted { .. }
            | Self::MayBeGone { .. }
            | Self::DeployInProgress { .. }
            | Self::StandsBy
            | Self::LockUnconfirmed
            | Self::StoodStill
            | Self::OutOfTime { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Skipped { .. } => true,
            Self::ReleaseUnknown { withheld } => withheld.is_some(),
            _ => false,
        }
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
            match &mut note {
                Self::CeilingLeavesNoRoom { wanted, .. } | Self::TooFewStopped { wanted, .. } => {
                    *wanted = 0;
                }
                // How many others there are follows the target.
                Self::DestroysFailed { again, .. }
                | Self::StartsFailed { again, .. }
                | Self::StopsFailed { again, .. } => *again = false,
                _ => {}
            }
            note
        };
        match self {
            Self::CeilingLeavesNoRoom { .. }
            | Self::TooFewStopped { .. }
            | Self::CreatesAssumed { .. }
            | Self::MountsNotCloned { .. }
            | Self::NotClonable { .. }
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

/// `1 running machine is`, `3 running machines are`.
struct Running(u32);

impl fmt::Display for Running {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => formatter.write_str("1 running machine is"),
            count => write!(formatter, "{count} running machines are"),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReleaseUnknown { withheld: None } => formatter.write_str(
                "cannot tell whether a deploy is running; the machines show no sign of one, so scaling up continues",
            ),
            Self::ReleaseUnknown {
                withheld: Some(Withheld::Shrinks),
            } => formatter.write_str(
                "cannot tell whether a deploy is running: nothing is destroyed or stopped",
            ),
            Self::ReleaseUnknown {
                withheld: Some(Withheld::Shows(sign)),
            } => write!(
                formatter,
                "cannot tell whether a deploy is running, and there is {sign}: nothing is changed"
            ),
            Self::MinimumCapped { kind, min, max } => write!(
                formatter,
                "the {kind} minimum {min} is above its maximum {max}: the maximum is the target"
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
                    "the created target has no value, but the floor of {floor} still applies"
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
                "the {kind} target has had no value for {}: the fallback of {count} is used as its minimum",
                Many(*missing_passes, "pass", "passes")
            ),
            Self::GrowthHeld {
                kind,
                wanted,
                lowest,
                window,
            } => write!(
                formatter,
                "{kind}: scale-up to {wanted} is held at {lowest}, the lowest minimum of the last {}",
                HumanDuration(*window)
            ),
            Self::ShrinkingHeld {
                kind,
                wanted,
                highest: Some(highest),
                window,
            } => write!(
                formatter,
                "{kind}: scale-down to {wanted} is held at {highest}, the highest maximum of the last {}",
                HumanDuration(*window)
            ),
            Self::ShrinkingHeld {
                kind,
                wanted,
                highest: None,
                window,
            } => write!(
                formatter,
                "{kind}: scale-down to {wanted} is held: FAS_SCALE_DOWN_STABILIZATION needs {} of targets first",
                HumanDuration(*window)
            ),
            Self::Step {
                kind,
                up,
                wanted,
                reachable,
            } => write!(
                formatter,
                "{kind}: {} to {wanted} is limited to {reachable} in this pass by {}",
                if *up { "scale-up" } else { "scale-down" },
                step_setting(*up)
            ),
            Self::CreatePaused { wanted, remaining } => write!(
                formatter,
                "{} to create, but recent creates failed: next attempt in {}",
                Machines(*wanted),
                HumanDuration(*remaining)
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
                        "that unanswered creates may have made (for up to 10 min)",
                    ),
                ];
                let in_the_way: Vec<String> = in_the_way
                    .iter()
                    .filter(|(count, _)| *count > 0)
                    .map(|(count, what)| format!("{count} {what}"))
                    .collect();
                write!(formatter, "{} to create, but ", Machines(*wanted))?;
                if in_the_way.is_empty() {
                    return write!(formatter, "the ceiling allows {allowed}");
                }
                let counts = if failed + unreachable + doubtful == 1 {
                    "counts"
                } else {
                    "count"
                };
                write!(
                    formatter,
                    "{} {counts} against the ceiling, which allows {allowed}",
                    in_the_way.join(" and ")
                )
            }
            Self::Unlisted { machines } => write!(
                formatter,
                "{} missing from the list: still counted until confirmed gone",
                Machines(*machines)
            ),
            Self::CreatesAssumed { creates } => write!(
                formatter,
                "{} had no clear answer: counted for about a minute as if {} had worked",
                Many(*creates, "create", "creates"),
                if *creates == 1 { "it" } else { "they" }
            ),
            Self::TooManyUnlisted { unasked } => write!(
                formatter,
                "{} missing from the list still to be checked: nothing is created or started before that",
                Machines(*unasked)
            ),
            Self::MountsNotCloned { machines } => write!(
                formatter,
                "{} with volumes cannot be cloned; set FAS_CLONE_VOLUMES=true to give each clone its own volumes",
                Machines(*machines)
            ),
            Self::NotClonable {
                machines,
                example,
                reason,
            } => write!(
                formatter,
                "{} cannot be cloned: {example}: {reason}",
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
                "{}, but cordoned machines of a newer release exist (a blue-green deploy in progress, or one that died): nothing is destroyed",
                Surplus(*surplus)
            ),
            Self::RunningSurplusWaits {
                machines,
                after,
                unless_busy,
            } => {
                let running = Many(*machines, "running machine", "running machines");
                let after = HumanDuration(*after);
                if *unless_busy {
                    write!(
                        formatter,
                        "up to {running} will be destroyed after {after} of surplus: as many as are not too busy then"
                    )
                } else {
                    write!(
                        formatter,
                        "{running} will be destroyed after {after} of surplus"
                    )
                }
            }
            Self::WaitsForStopping { machines } => {
                write!(
                    formatter,
                    "waiting for {} already going down",
                    Machines(*machines)
                )
            }
            Self::NotDestroyable { wanted, kept } => write!(
                formatter,
                "{}, {kept} cannot be destroyed: protected, in transition, unreachable, or the last that can be cloned",
                Surplus(*wanted)
            ),
            Self::RegionIsOver => formatter.write_str(
                "its last machine is gone, and FAS_REGIONS does not name the region: nothing is created there",
            ),
            Self::LastOfGroup => formatter.write_str(
                "the last machine of the group stays: without one, nothing could be cloned",
            ),
            Self::UnseenSurplus { machines } => write!(
                formatter,
                "{} missing from the list: nothing is destroyed in {} place",
                Many(*machines, "surplus machine is", "surplus machines are"),
                if *machines == 1 { "its" } else { "their" }
            ),
            Self::MayBeGone {
                machines,
                unanswered: false,
            } => write!(
                formatter,
                "{} already be gone: a list still shows {}, and what came of {} stop or destroy is not known so far; nothing is destroyed in {} place before that",
                Many(*machines, "machine may", "machines may"),
                if *machines == 1 { "it" } else { "them" },
                if *machines == 1 { "its" } else { "their" },
                if *machines == 1 { "its" } else { "their" }
            ),
            Self::MayBeGone {
                machines,
                unanswered: true,
            } => write!(
                formatter,
                "{} already be gone, because {} destroy had no clear answer: nothing is destroyed in {} place before that is known",
                Many(*machines, "machine may", "machines may"),
                if *machines == 1 { "its" } else { "their" },
                if *machines == 1 { "its" } else { "their" }
            ),
            Self::MountsNotDestroyed { machines } => write!(
                formatter,
                "{} with volumes cannot be destroyed: scaling up could not recreate them; set FAS_CLONE_VOLUMES=true to allow both",
                Surplus(*machines)
            ),
            Self::DestroysFailed { machines, again } => {
                write_failed(formatter, machines, "could not be destroyed recently", *again)
            }
            Self::StartsFailed { machines, again } => write_failed(
                formatter,
                machines,
                "did not keep running after a recent start",
                *again,
            ),
            Self::StopsFailed { machines, again } => write_failed(
                formatter,
                machines,
                "did not stay down after a recent stop",
                *again,
            ),
            Self::TooFewStopped { wanted, available } => {
                write!(
                    formatter,
                    "{} to start, but {} can be started",
                    Machines(*wanted),
                    Only(*available)
                )
            }
            Self::TooFewStoppable { wanted, available } => {
                write!(
                    formatter,
                    "{} to stop, but {} can be stopped",
                    Machines(*wanted),
                    Only(*available)
                )
            }
            Self::BusyStay { machines } => write!(
                formatter,
                "{} not stopped or destroyed: busier than FAS_BUSY_LIMIT, or without a sample",
                Running(*machines)
            ),
            Self::BusyUnknown { machines } => write!(
                formatter,
                "{} not stopped or destroyed: FAS_PROMETHEUS_BUSY_QUERY has no answer that says how busy machines are",
                Running(*machines)
            ),
            Self::Unreachable { machines, counted } => {
                let hosts = if *machines == 1 {
                    "is on an unreachable host"
                } else {
                    "are on unreachable hosts"
                };
                write!(formatter, "{} {hosts}: not touched, ", Machines(*machines))?;
                match counted {
                    0 => formatter.write_str("and not counted"),
                    counted if counted == machines => formatter.write_str("still counted"),
                    counted => write!(formatter, "{counted} still counted"),
                }
            }
            Self::StartedAboveCreated { started, created } => write!(
                formatter,
                "the started target {started} is above the created target {created}: only {} will exist",
                Machines(*created)
            ),
            Self::Stuck { machines } => {
                write!(formatter, "stuck in a transitional state: {}", Ids(machines))
            }
            Self::NoMachines => formatter.write_str(
                "the app has no machines: nothing to clone until it is deployed",
            ),
            Self::DryRun => formatter.write_str("dry run: nothing was changed"),
            Self::StandsBy => formatter.write_str(
                "standing by: another copy holds the lock, or none does; nothing was changed",
            ),
            Self::LockUnconfirmed => formatter.write_str(
                "this copy cannot confirm that it holds the lock: nothing more is changed in this pass",
            ),
            Self::StoodStill => formatter.write_str(
                "the process was suspended or starved of CPU since the machines were listed: nothing more is changed in this pass, the next one starts at once",
            ),
            Self::OutcomeUnknown { machines } => write!(
                formatter,
                "no answer yet whether {} started or stopped: left alone until that is known, for at most 60 s",
                Many(*machines, "machine has", "machines have")
            ),
            Self::OutOfTime { remaining } => {
                write!(
                    formatter,
                    "pass deadline reached with {remaining} left to do; the next pass starts at once"
                )
            }
            Self::Skipped { machine, reason } => {
                write!(formatter, "machine {machine} skipped: {reason}")
            }
        }
    }
}

/// Machines with which something did not work, and whether others are tried in their place.
fn write_failed(
    formatter: &mut fmt::Formatter<'_>,
    machines: &[String],
    what: &str,
    again: bool,
) -> fmt::Result {
    let count = u32::try_from(machines.len()).unwrap_or(u32::MAX);
    let (ids, count) = (Ids(machines), Machines(count));
    write!(formatter, "{count} {what} ({ids}): ")?;
    formatter.write_str(if again {
        "there are not enough others, so each pass tries them again"
    } else {
        "other machines are tried first"
    })
}

/// The setting that bounds growth, or else shrinking.
pub(super) fn step_setting(up: bool) -> &'static str {
    if up {
        "FAS_SCALE_UP_STEP"
    } else {
        "FAS_SCALE_DOWN_STEP"
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

struct Surplus(u32);

impl fmt::Display for Surplus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Many(self.0, "surplus machine", "surplus machines").fmt(formatter)
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

/// A duration in words that people use: `45 s`, `1 min 30 s`; `500 ms` only below a second, and else no second too few.
struct HumanDuration(Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > Duration::ZERO && self.0 < Duration::from_secs(1) {
            return write!(formatter, "{} ms", self.0.as_millis());
        }
        let seconds = self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0);
        match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
            (0, 0, seconds) => write!(formatter, "{seconds} s"),
            (0, minutes, 0) => write!(formatter, "{minutes} min"),
            (0, minutes, seconds) => write!(formatter, "{minutes} min {seconds} s"),
            (hours, 0, 0) => write!(formatter, "{hours} h"),
            (hours, minutes, _) => write!(formatter, "{hours} h {minutes} min"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::{DeploySign, NOTE_CODES};

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
                "the created minimum 28 is above its maximum 10: the maximum is the target",
            ),
            (
                Note::ReleaseUnknown { withheld: None },
                "cannot tell whether a deploy is running; the machines show no sign of one, so scaling up continues",
            ),
            (
                Note::ReleaseUnknown {
                    withheld: Some(Withheld::Shrinks),
                },
                "cannot tell whether a deploy is running: nothing is destroyed or stopped",
            ),
            (
                Note::ReleaseUnknown {
                    withheld: Some(Withheld::Shows(DeploySign::Cordoned)),
                },
                "cannot tell whether a deploy is running, and there is a cordoned machine: nothing is changed",
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
                "the created target has no value, but the floor of 3 still applies",
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
                "the started target has had no value for 1 pass: the fallback of 2 is used as its minimum",
            ),
            (
                Note::Fallback {
                    kind: Kind::Created,
                    count: 2,
                    missing_passes: 3,
                },
                "the created target has had no value for 3 passes: the fallback of 2 is used as its minimum",
            ),
            (
                Note::GrowthHeld {
                    kind: Kind::Created,
                    wanted: 9,
                    lowest: 4,
                    window,
                },
                "created: scale-up to 9 is held at 4, the lowest minimum of the last 5 min",
            ),
            (
                Note::ShrinkingHeld {
                    kind: Kind::Started,
                    wanted: 1,
                    highest: Some(4),
                    window,
                },
                "started: scale-down to 1 is held at 4, the highest maximum of the last 5 min",
            ),
            (
                Note::ShrinkingHeld {
                    kind: Kind::Created,
                    wanted: 1,
                    highest: None,
                    window,
                },
                "created: scale-down to 1 is held: FAS_SCALE_DOWN_STABILIZATION needs 5 min of targets first",
            ),
            (
                Note::Step {
                    kind: Kind::Created,
                    up: true,
                    wanted: 9,
                    reachable: 6,
                },
                "created: scale-up to 9 is limited to 6 in this pass by FAS_SCALE_UP_STEP",
            ),
            (
                Note::Step {
                    kind: Kind::Created,
                    up: false,
                    wanted: 1,
                    reachable: 6,
                },
                "created: scale-down to 1 is limited to 6 in this pass by FAS_SCALE_DOWN_STEP",
            ),
            (
                Note::CreatePaused {
                    wanted: 2,
                    remaining: Duration::from_secs(15),
                },
                "2 machines to create, but recent creates failed: next attempt in 15 s",
            ),
            (
                Note::CeilingLeavesNoRoom {
                    wanted: 3,
                    allowed: 1,
                    failed: 0,
                    unreachable: 2,
                    doubtful: 0,
                },
                "3 machines to create, but 2 on unreachable hosts count against the ceiling, which allows 1",
            ),
            (
                Note::CeilingLeavesNoRoom {
                    wanted: 3,
                    allowed: 1,
                    failed: 1,
                    unreachable: 2,
                    doubtful: 0,
                },
                "3 machines to create, but 1 that failed and 2 on unreachable hosts count against the ceiling, which allows 1",
            ),
            (
                Note::CeilingLeavesNoRoom {
                    wanted: 2,
                    allowed: 0,
                    failed: 0,
                    unreachable: 0,
                    doubtful: 2,
                },
                "2 machines to create, but 2 that unanswered creates may have made (for up to 10 min) count against the ceiling, which allows 0",
            ),
            (
                Note::CeilingLeavesNoRoom {
                    wanted: 2,
                    allowed: 1,
                    failed: 0,
                    unreachable: 0,
                    doubtful: 0,
                },
                "2 machines to create, but the ceiling allows 1",
            ),
            (
                Note::Unlisted { machines: 1 },
                "1 machine missing from the list: still counted until confirmed gone",
            ),
            (
                Note::CreatesAssumed { creates: 1 },
                "1 create had no clear answer: counted for about a minute as if it had worked",
            ),
            (
                Note::CreatesAssumed { creates: 2 },
                "2 creates had no clear answer: counted for about a minute as if they had worked",
            ),
            (
                Note::TooManyUnlisted { unasked: 21 },
                "21 machines missing from the list still to be checked: nothing is created or started before that",
            ),
            (
                Note::NotClonable {
                    machines: 2,
                    example: "m1".to_owned(),
                    reason: "no image".to_owned(),
                },
                "2 machines cannot be cloned: m1: no image",
            ),
            (
                Note::MountsNotCloned { machines: 1 },
                "1 machine with volumes cannot be cloned; set FAS_CLONE_VOLUMES=true to give each clone its own volumes",
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
                "2 surplus machines, but cordoned machines of a newer release exist (a blue-green deploy in progress, or one that died): nothing is destroyed",
            ),
            (
                Note::RunningSurplusWaits {
                    machines: 1,
                    after: Duration::from_secs(45),
                    unless_busy: false,
                },
                "1 running machine will be destroyed after 45 s of surplus",
            ),
            (
                Note::RunningSurplusWaits {
                    machines: 2,
                    after: Duration::from_secs(90),
                    unless_busy: false,
                },
                "2 running machines will be destroyed after 1 min 30 s of surplus",
            ),
            (
                Note::RunningSurplusWaits {
                    machines: 3,
                    after: Duration::from_secs(45),
                    unless_busy: true,
                },
                "up to 3 running machines will be destroyed after 45 s of surplus: as many as are not too busy then",
            ),
            (
                Note::WaitsForStopping { machines: 1 },
                "waiting for 1 machine already going down",
            ),
            (
                Note::NotDestroyable { wanted: 3, kept: 2 },
                "3 surplus machines, 2 cannot be destroyed: protected, in transition, unreachable, or the last that can be cloned",
            ),
            (
                Note::RegionIsOver,
                "its last machine is gone, and FAS_REGIONS does not name the region: nothing is created there",
            ),
            (
                Note::LastOfGroup,
                "the last machine of the group stays: without one, nothing could be cloned",
            ),
            (
                Note::TooFewStopped {
                    wanted: 3,
                    available: 0,
                },
                "3 machines to start, but none can be started",
            ),
            (
                Note::TooFewStoppable {
                    wanted: 3,
                    available: 1,
                },
                "3 machines to stop, but only 1 can be stopped",
            ),
            (
                Note::BusyStay { machines: 1 },
                "1 running machine is not stopped or destroyed: busier than FAS_BUSY_LIMIT, or without a sample",
            ),
            (
                Note::BusyUnknown { machines: 3 },
                "3 running machines are not stopped or destroyed: FAS_PROMETHEUS_BUSY_QUERY has no answer that says how busy machines are",
            ),
            (
                Note::Unreachable {
                    machines: 1,
                    counted: 0,
                },
                "1 machine is on an unreachable host: not touched, and not counted",
            ),
            (
                Note::Unreachable {
                    machines: 2,
                    counted: 2,
                },
                "2 machines are on unreachable hosts: not touched, still counted",
            ),
            (
                Note::Unreachable {
                    machines: 3,
                    counted: 1,
                },
                "3 machines are on unreachable hosts: not touched, 1 still counted",
            ),
            (
                Note::StartedAboveCreated {
                    started: 4,
                    created: 1,
                },
                "the started target 4 is above the created target 1: only 1 machine will exist",
            ),
            (
                Note::Stuck {
                    machines: ["a", "b"].map(str::to_owned).to_vec(),
                },
                "stuck in a transitional state: a, b",
            ),
            (
                Note::Stuck {
                    machines: ["a", "b", "c", "d", "e", "f", "g"]
                        .map(str::to_owned)
                        .to_vec(),
                },
                "stuck in a transitional state: a, b, c, d, e and 2 more",
            ),
            (
                Note::MayBeGone {
                    machines: 1,
                    unanswered: false,
                },
                "1 machine may already be gone: a list still shows it, and what came of its stop or destroy is not known so far; nothing is destroyed in its place before that",
            ),
            (
                Note::MayBeGone {
                    machines: 1,
                    unanswered: true,
                },
                "1 machine may already be gone, because its destroy had no clear answer: nothing is destroyed in its place before that is known",
            ),
            (
                Note::MayBeGone {
                    machines: 2,
                    unanswered: true,
                },
                "2 machines may already be gone, because their destroy had no clear answer: nothing is destroyed in their place before that is known",
            ),
            (
                Note::UnseenSurplus { machines: 1 },
                "1 surplus machine is missing from the list: nothing is destroyed in its place",
            ),
            (
                Note::UnseenSurplus { machines: 3 },
                "3 surplus machines are missing from the list: nothing is destroyed in their place",
            ),
            (
                Note::MountsNotDestroyed { machines: 2 },
                "2 surplus machines with volumes cannot be destroyed: scaling up could not recreate them; set FAS_CLONE_VOLUMES=true to allow both",
            ),
            (
                Note::DestroysFailed {
                    machines: ["a", "b", "c", "d", "e", "f"].map(str::to_owned).into(),
                    again: true,
                },
                "6 machines could not be destroyed recently (a, b, c, d, e and 1 more): there are not enough others, so each pass tries them again",
            ),
            (
                Note::StartsFailed {
                    machines: vec!["a".to_owned()],
                    again: false,
                },
                "1 machine did not keep running after a recent start (a): other machines are tried first",
            ),
            (
                Note::StopsFailed {
                    machines: vec!["a".to_owned()],
                    again: false,
                },
                "1 machine did not stay down after a recent stop (a): other machines are tried first",
            ),
            (
                Note::NoMachines,
                "the app has no machines: nothing to clone until it is deployed",
            ),
            (Note::DryRun, "dry run: nothing was changed"),
            (
                Note::StandsBy,
                "standing by: another copy holds the lock, or none does; nothing was changed",
            ),
            (
                Note::LockUnconfirmed,
                "this copy cannot confirm that it holds the lock: nothing more is changed in this pass",
            ),
            (
                Note::StoodStill,
                "the process was suspended or starved of CPU since the machines were listed: nothing more is changed in this pass, the next one starts at once",
            ),
            (
                Note::OutcomeUnknown { machines: 2 },
                "no answer yet whether 2 machines have started or stopped: left alone until that is known, for at most 60 s",
            ),
            (
                Note::OutOfTime { remaining: 4 },
                "pass deadline reached with 4 left to do; the next pass starts at once",
            ),
            (
                Note::Skipped {
                    machine: "a".to_owned(),
                    reason: "it is gone".to_owned(),
                },
                "machine a skipped: it is gone",
            ),
        ];
        for (note, sentence) in cases {
            assert_eq!(note.to_string(), sentence);
            let is_listed = |(code, _): &(&str, &str)| *code == note.code();
            assert!(NOTE_CODES.iter().any(is_listed), "{}", note.code());
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
        let failed_again = |ids: &[&str], again| Note::StartsFailed {
            machines: ids.iter().copied().map(str::to_owned).collect(),
            again,
        };
        let failed = |ids: &[&str]| failed_again(ids, false);
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
            (failed(&["a"]), failed_again(&["a"], true), false),
            (
                Note::CreatesAssumed { creates: 1 },
                Note::CreatesAssumed { creates: 2 },
                true,
            ),
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
            (0, "0 s"),
            (500, "500 ms"),
            (1_500, "2 s"),
            (2_998, "3 s"),
            (45_000, "45 s"),
            (12_300, "13 s"),
            (59_001, "1 min"),
            (60_000, "1 min"),
            (90_000, "1 min 30 s"),
            (3_600_000, "1 h"),
            (5_400_000, "1 h 30 min"),
        ];
        for (milliseconds, text) in cases {
            assert_eq!(
                HumanDuration(Duration::from_millis(milliseconds)).to_string(),
                text
            );
        }
    }
}

//! What the expressions ask for: bounds on the created and on the started machines.

use std::fmt;

/// The two kinds of target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// How many machines exist.
    Created,
    /// How many of them run.
    Started,
}

impl Kind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Created, Self::Started];

    /// The metric label and log word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Started => "started",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A band of counts; `min` is never above `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Fewer than this is a shortfall.
    pub min: u32,
    /// More than this is a surplus.
    pub max: u32,
}

impl Bounds {
    /// A band, or `None` when `min` is above `max`.
    #[must_use]
    pub fn new(min: u32, max: u32) -> Option<Self> {
        (min <= max).then_some(Self { min, max })
    }

    /// A band that only ever asks for growth.
    #[must_use]
    pub fn at_least(min: u32) -> Self {
        Self { min, max: u32::MAX }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (min, max) if min == max => write!(formatter, "{min}"),
            (min, u32::MAX) => write!(formatter, "at least {min}"),
            (min, max) => write!(formatter, "{min} to {max}"),
        }
    }
}

/// One kind's target in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Target {
    /// This kind is not configured.
    #[default]
    Unset,
    /// It is configured but has no value in this pass.
    Missing,
    /// Its value.
    Bounds(Bounds),
    /// Its minimum came out above its maximum, and the maximum is the target: whoever writes an uncapped minimum
    /// beside a capped maximum means the cap.
    Capped {
        /// The minimum that was asked for.
        min: u32,
        /// The maximum.
        max: u32,
    },
}

impl Target {
    /// What a minimum and a maximum ask for together.
    #[must_use]
    pub fn of(min: u32, max: u32) -> Self {
        Bounds::new(min, max).map_or(Self::Capped { min, max }, Self::Bounds)
    }

    /// The bounds to be kept; `None` without a target.
    #[must_use]
    pub fn bounds(self) -> Option<Bounds> {
        match self {
            Self::Unset | Self::Missing => None,
            Self::Bounds(bounds) => Some(bounds),
            Self::Capped { max, .. } => Some(Bounds { min: max, max }),
        }
    }
}

/// Both kinds' targets in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Targets {
    /// The bounds of the created count; never below 1.
    pub created: Target,
    /// The bounds of the started count.
    pub started: Target,
}

impl Targets {
    /// The target of one kind.
    #[must_use]
    pub fn of_kind(self, kind: Kind) -> Target {
        match kind {
            Kind::Created => self.created,
            Kind::Started => self.started,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimum_above_its_maximum_yields_to_it() {
        for (min, max, expected) in [
            (0, 0, (0, 0)),
            (2, 9, (2, 9)),
            (9, 9, (9, 9)),
            (10, 9, (9, 9)),
            (28, 10, (10, 10)),
            (u32::MAX, 0, (0, 0)),
        ] {
            let bounds = Target::of(min, max).bounds();
            let (min, max) = expected;
            assert_eq!(bounds, Some(Bounds { min, max }));
        }
        assert_eq!(Target::Unset.bounds(), None);
        assert_eq!(Target::Missing.bounds(), None);
    }
}

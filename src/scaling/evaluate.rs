//! What the expressions ask for in one pass: from values and counts to targets.
//!
//! `serve` decides by it and `eval` prints it, so that the one never shows what the other would not do.

use std::{fmt, sync::Arc};

use super::{Kind, Now, Observed, Target, Targets};
use crate::expr::{EvalError, Expression, Names, Values};

/// The expressions of one configuration; at least one kind is present.
#[derive(Debug, Clone, Default)]
pub struct TargetExpressions {
    /// `FAS_CREATED_MACHINE_COUNT`, or the min and max form.
    pub created: Option<ExpressionBand>,
    /// `FAS_STARTED_MACHINE_COUNT`, or the min and max form.
    pub started: Option<ExpressionBand>,
    /// Whether no machine may be wanted of a fleet: one region's of a group.
    pub may_be_none: bool,
}

/// A target's lower and upper bound.
#[derive(Debug, Clone)]
pub enum ExpressionBand {
    /// One expression is both bounds.
    Exact(Arc<Expression>),
    /// The min and max forms.
    Band {
        /// The lower bound.
        min: Arc<Expression>,
        /// The upper bound.
        max: Arc<Expression>,
    },
}

impl ExpressionBand {
    /// The expressions, each with what it bounds: nothing for one that is both, else `min`, then `max`.
    pub fn expressions(&self) -> impl Iterator<Item = (&'static str, &Arc<Expression>)> {
        let (first, second) = match self {
            Self::Exact(expression) => (("", expression), None),
            Self::Band { min, max } => (("min", min), Some(("max", max))),
        };
        [Some(first), second].into_iter().flatten()
    }
}

impl fmt::Display for ExpressionBand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (_, expression)) in self.expressions().enumerate() {
            formatter.write_str(if index > 0 { " to " } else { "" })?;
            formatter.write_str(expression.source())?;
        }
        Ok(())
    }
}

/// How many machines of the group there are, as expressions see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Machines that exist, failed ones apart.
    pub created: u32,
    /// Machines that run.
    pub started: u32,
    /// Machines that are stopped or suspended.
    pub stopped: u32,
}

impl Counts {
    /// Those of what was observed.
    #[must_use]
    pub fn of(observed: &Observed) -> Self {
        Self {
            created: observed.created,
            started: observed.started,
            stopped: observed.stopped,
        }
    }

    /// `values` with these counts. A metric of the name of a count stands in for it, whether it has a value or not.
    #[must_use]
    pub fn beside(self, values: &Values, is_metric: impl Fn(&str) -> bool) -> Values {
        let mut values = values.clone();
        for (name, count) in self.by_name().filter(|(name, _)| !is_metric(name)) {
            values.set(name, Some(count.into()));
        }
        values
    }

    /// Each count with its name in expressions.
    pub fn by_name(self) -> impl Iterator<Item = (&'static str, u32)> {
        let counts = [self.created, self.started, self.stopped];
        Names::COUNTS.into_iter().zip(counts)
    }
}

/// Why a kind has no target in this pass: one of its expressions failed.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetError {
    /// Which kind.
    pub kind: Kind,
    /// The expression's text.
    pub source: String,
    /// How it failed.
    pub error: EvalError,
}

/// What the expressions ask for, and why some ask for nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluation {
    /// The targets.
    pub targets: Targets,
    /// Why a kind has none although it has expressions: at most one error for each kind.
    pub errors: Vec<TargetError>,
}

impl TargetExpressions {
    /// The expressions of one kind.
    #[must_use]
    pub fn of_kind(&self, kind: Kind) -> Option<&ExpressionBand> {
        match kind {
            Kind::Created => self.created.as_ref(),
            Kind::Started => self.started.as_ref(),
        }
    }

    /// The least count that can be wanted of a kind: a group that lost its last machine could not grow again.
    #[must_use]
    pub fn least(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Created if !self.may_be_none => 1,
            Kind::Created | Kind::Started => 0,
        }
    }

    /// Whether any of them reads this metric or count.
    #[must_use]
    pub fn read(&self, name: &str) -> bool {
        let bands = Kind::ALL.into_iter().filter_map(|kind| self.of_kind(kind));
        let mut expressions = bands.flat_map(ExpressionBand::expressions);
        expressions.any(|(_, expression)| expression.reads(name))
    }

    /// Evaluates both kinds; one that fails leaves the other alone.
    #[must_use]
    pub fn evaluate(&self, values: &Values, now: Now) -> Evaluation {
        let mut errors = Vec::new();
        let mut of_kind = |kind| {
            let Some(band) = self.of_kind(kind) else {
                return Target::Unset;
            };
            let target = band.evaluate(kind, self.least(kind), values, now);
            target.unwrap_or_else(|error| {
                errors.push(error);
                Target::Missing
            })
        };
        let targets = Targets {
            created: of_kind(Kind::Created),
            started: of_kind(Kind::Started),
        };
        Evaluation { targets, errors }
    }
}

impl ExpressionBand {
    /// Evaluates one kind's bounds. A minimum above its maximum yields to it.
    fn evaluate(
        &self,
        kind: Kind,
        least: u32,
        values: &Values,
        now: Now,
    ) -> Result<Target, TargetError> {
        let count = |expression: &Expression| {
            let count = expression
                .evaluate(values, now.wall)
                .and_then(|value| to_count(least, value));
            count.map_err(|error| TargetError {
                kind,
                source: expression.source().to_owned(),
                error,
            })
        };
        let (min, max) = match self {
            Self::Exact(expression) => {
                let count = count(expression)?;
                (count, count)
            }
            Self::Band { min, max } => (count(min)?, count(max)?),
        };
        Ok(Target::of(min, max))
    }
}

/// The count that an expression's value becomes: rounded half away from zero, negatives 0, at least `least`.
///
/// # Errors
///
/// [`EvalError::OutOfRange`] where it is larger than any count: then it is refused, not cut.
pub fn to_count(least: u32, value: f64) -> Result<u32, EvalError> {
    let rounded = value.round();
    if rounded > f64::from(u32::MAX) {
        return Err(EvalError::OutOfRange(value));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is too large was refused, and the cast makes negatives 0"
    )]
    let count = rounded as u32;
    Ok(count.max(least))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::scaling::Bounds;

    #[test]
    fn a_value_is_rounded_half_away_from_zero_and_created_is_at_least_one() {
        let cases = [
            (-7e300, 1, 0),
            (-3.0, 1, 0),
            (-0.5, 1, 0),
            (0.0, 1, 0),
            (0.499_999_999_999_999_94, 1, 0),
            (0.5, 1, 1),
            (1.4, 1, 1),
            (2.5, 3, 3),
            (4_294_967_295.4, u32::MAX, u32::MAX),
        ];
        for (value, created, started) in cases {
            let expressions = TargetExpressions::default();
            let of = |kind| to_count(expressions.least(kind), value);
            assert_eq!(of(Kind::Created), Ok(created), "{value}");
            assert_eq!(of(Kind::Started), Ok(started), "{value}");
        }
        let too_large = 4_294_967_295.5;
        assert_eq!(
            to_count(1, too_large),
            Err(EvalError::OutOfRange(too_large))
        );
    }

    #[test]
    fn one_kind_that_fails_leaves_the_other_alone() {
        let names = Names::new(["depth"]);
        let compile = |text: &str| Arc::new(Expression::compile(text, &names).unwrap());
        let expressions = TargetExpressions {
            created: Some(ExpressionBand::Exact(compile("depth + 1"))),
            started: Some(ExpressionBand::Band {
                min: compile("5"),
                max: compile("3"),
            }),
            may_be_none: false,
        };
        let now = Now {
            monotonic: std::time::Instant::now(),
            wall: jiff::Timestamp::UNIX_EPOCH,
        };
        let mut values = Values::new(&names);
        let evaluation = expressions.evaluate(&values, now);
        assert_eq!(evaluation.targets.created, Target::Missing);
        assert_eq!(
            evaluation.targets.started,
            Target::Capped { min: 5, max: 3 }
        );
        let [error] = &evaluation.errors[..] else {
            panic!("{evaluation:?}");
        };
        assert_eq!(error.kind, Kind::Created);
        assert_eq!(error.source, "depth + 1");
        assert_eq!(error.error, EvalError::Missing("depth".to_owned()));

        values.set("depth", Some(1.5));
        let evaluation = expressions.evaluate(&values, now);
        assert_eq!(
            evaluation.targets.created,
            Target::Bounds(Bounds { min: 3, max: 3 })
        );
        assert_eq!(evaluation.errors, []);
        assert!(expressions.read("depth") && !expressions.read("created_machine_count"));
    }
}

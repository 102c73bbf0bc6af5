//! The expression language: Expr 1.16 as upstream embeds it, evaluated by evalexpr.
//!
//! The two languages disagree silently in ways that change machine counts, so a user's text never reaches evalexpr. A front
//! end of our own reads Expr (`lexer`, `parser`), gives it Expr's static types and refuses what cannot be given the same
//! number (`check`), and builds evalexpr trees for the arithmetic and the ordering, which mean the same there once the
//! types are known. Around them stands a tree of ours for what evalexpr has otherwise or not at all: lazy branches, `??`,
//! equality, `**`, functions, arrays, times (`code`, `evaluate`). Pure: the clock and the values are arguments, and neither
//! compiling nor evaluating panics, loops without bound or recurses deeper than a fixed limit, whatever the text.
//!
//! Not here: where metrics come from, and what a count leads to.
//!
//! # The language
//!
#![doc = "```text"]
#![doc = include_str!("language.txt")]
#![doc = "```"]

mod check;
mod code;
mod diagnostic;
mod evaluate;
mod functions;
mod lexer;
mod number;
mod outlook;
mod parser;
mod reference;
mod syntax;
mod time;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use diagnostic::CompileError;
pub use outlook::Outlook;
pub use reference::reference;

use code::Program;
use diagnostic::Span;
use syntax::{Binary, Syntax, SyntaxKind};

/// The longest expression accepted, in bytes.
pub const MAX_LENGTH: usize = 4096;

/// The names that expressions may read: each metric, and the built-in counts `created_machine_count`,
/// `started_machine_count` and `stopped_machine_count` (a metric of the same name wins).
#[derive(Debug, Clone)]
pub struct Names(Arc<[Box<str>]>);

/// The values of [`Names`] in one pass; a value that is absent is `nil` to the expressions.
#[derive(Debug, Clone)]
pub struct Values {
    names: Names,
    /// A float, or [`evalexpr::Value::Empty`] where the value is absent; by slot of `names`.
    slots: Vec<evalexpr::Value>,
}

/// A compiled expression. Clones share one program.
#[derive(Debug, Clone)]
pub struct Expression(Arc<Program>);

/// Why an expression has no value in this pass.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// A metric was read that has no value in this pass, and no `??` catches it.
    #[error("metric `{0}` has no value")]
    Missing(String),
    /// The result is not a number.
    #[error("the result is not a number (NaN)")]
    Nan,
    /// The result is infinite.
    #[error("the result is infinite")]
    Infinite,
    /// The result is 2^63 or more.
    #[error("the result {0:e} is too large to be a count")]
    OutOfRange(f64),
    /// Anything else that fails while it runs: a modulo by zero, an overflow, `int("x")` …
    #[error("{0}")]
    Run(String),
}

impl Names {
    /// The built-in counts.
    pub const COUNTS: [&'static str; 3] = [
        "created_machine_count",
        "started_machine_count",
        "stopped_machine_count",
    ];

    /// The names of `metrics` and the built-in counts.
    pub fn new<S: AsRef<str>>(metrics: impl IntoIterator<Item = S>) -> Self {
        let mut names: Vec<Box<str>> = Vec::new();
        for name in metrics
            .into_iter()
            .map(|name| name.as_ref().into())
            .chain(Self::COUNTS.map(Into::into))
        {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Self(names.into())
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    fn get(&self, slot: usize) -> Option<&str> {
        self.0.get(slot).map(AsRef::as_ref)
    }

    fn slot(&self, name: &str) -> Option<usize> {
        self.iter().position(|known| known == name)
    }
}

impl Values {
    /// All names absent.
    pub fn new(names: &Names) -> Self {
        Self {
            names: names.clone(),
            slots: vec![evalexpr::Value::Empty; names.0.len()],
        }
    }

    /// Sets one name's value; a name that is not among the names is ignored.
    pub fn set(&mut self, name: &str, value: Option<f64>) {
        if let Some(slot) = self.names.slot(name) {
            self.slots[slot] = value.map_or(evalexpr::Value::Empty, evalexpr::Value::Float);
        }
    }

    /// One name's value; `None` if it is absent or not among the names.
    pub fn get(&self, name: &str) -> Option<f64> {
        match self.slot(self.names.slot(name)?)? {
            evalexpr::Value::Float(value) => Some(*value),
            _ => None,
        }
    }

    fn slot(&self, slot: usize) -> Option<&evalexpr::Value> {
        self.slots
            .get(slot)
            .filter(|value| !matches!(value, evalexpr::Value::Empty))
    }
}

impl Expression {
    /// Compiles `source`, checking names, types and bounds. It is to be evaluated on values of the same names.
    pub fn compile(source: &str, names: &Names) -> Result<Self, CompileError> {
        if source.len() > MAX_LENGTH {
            let message = format!(
                "the expression is {} bytes long; at most {MAX_LENGTH} are accepted",
                source.len()
            );
            return Err(CompileError::new(
                source,
                Span { start: 0, end: 0 },
                message,
            ));
        }
        let syntax = parser::parse(source, names)?;
        let program = check::check(source, names, &syntax)?;
        Ok(Self(Arc::new(program)))
    }

    /// The text it was compiled from.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The metrics and counts that it reads, each once, in the order of the text. One that stands in a branch not taken is
    /// among them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0
            .reads
            .iter()
            .filter_map(|slot| self.0.names.get(*slot))
    }

    /// The name and the constant, where the whole of it is a sum of the two: `queue_depth + 1`, `1 + queue_depth`.
    pub fn as_sum(&self) -> Option<(String, f64)> {
        let Ok(Syntax {
            kind: SyntaxKind::Binary(Binary::Add, sides),
            ..
        }) = parser::parse(self.source(), &self.0.names)
        else {
            return None;
        };
        let constant = |side: &SyntaxKind| match *side {
            SyntaxKind::Int(constant) => Some(constant as f64),
            SyntaxKind::Float(constant) => Some(constant),
            _ => None,
        };
        let [left, right] = *sides;
        match (left.kind, right.kind) {
            (SyntaxKind::Name(name), other) | (other, SyntaxKind::Name(name)) => {
                Some((name, constant(&other)?))
            }
            _ => None,
        }
    }

    /// The number, where the whole of it is one: `5`, `2.5`.
    pub fn as_number(&self) -> Option<f64> {
        match parser::parse(self.source(), &self.0.names).ok()?.kind {
            SyntaxKind::Int(number) => Some(number as f64),
            SyntaxKind::Float(number) => Some(number),
            _ => None,
        }
    }

    /// What stands behind a `//`, where that could be an operand: `10` in `q // 10`, which means a division elsewhere and begins
    /// a comment here. Nothing of a comment in words.
    pub fn swallowed_operand(&self) -> Option<&str> {
        let comments = lexer::line_comments(self.source());
        let mut comments = comments.into_iter().map(str::trim);
        comments.find(|comment| parser::parse(comment, &self.0.names).is_ok())
    }

    /// Whether it reads `name`.
    pub fn reads(&self, name: &str) -> bool {
        self.names().any(|read| read == name)
    }

    /// The result before rounding: a finite number below 2^63. `now` is what `now()` gives, in UTC.
    ///
    /// Only the metrics that the taken branches really read must be present.
    pub fn evaluate(&self, values: &Values, now: jiff::Timestamp) -> Result<f64, EvalError> {
        evaluate::evaluate(&self.0, values, now)
    }
}

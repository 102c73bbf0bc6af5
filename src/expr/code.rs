//! What an expression is compiled to.
//!
//! A tree of our own, in which every run of arithmetic and ordering operators is one evalexpr tree ([`Code::Engine`]). The
//! split follows what evalexpr means by its operators: `+ - * / %`, unary `-` and `< <= > >=` mean the same as Expr's once
//! the operand types are known, so they are evalexpr's; laziness (`?: and or ??`), `==` between an integer and a float,
//! `**`, functions, arrays and times are not, so they are ours. Inside an evalexpr tree a metric is an identifier that is
//! its slot's number, and a part of ours is a call of the function that is its number in [`Program::parts`].

use std::sync::Arc;

use jiff::{ZonedDateTime, tz::TimeZone};

use super::{Names, functions::Function, time::Method};

/// A compiled expression, shared by its clones.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) source: Box<str>,
    pub(super) names: Names,
    /// The slots of the names that are read, each once, in the order of the text.
    pub(super) reads: Vec<usize>,
    pub(super) root: Code,
    /// The parts that evalexpr trees call by number.
    pub(super) parts: Vec<Code>,
    /// How many variables `let` declares.
    pub(super) locals: usize,
}

/// One step of a compiled expression.
#[derive(Debug)]
pub(super) enum Code {
    /// What Expr's own compiler knows as a constant; only these are folded, because folding decides what is never evaluated.
    Literal(Datum),
    /// A value that is known, though Expr computes it anew each time.
    Constant(Datum),
    Metric(usize),
    Local(usize),
    Engine(evalexpr::Node),
    Power(Box<[Self; 2]>),
    Equal(Box<[Self; 2]>),
    /// Whether the value is `nil`: the comparison with a literal `nil`.
    IsNil(Box<Self>),
    Not(Box<Self>),
    And(Box<[Self; 2]>),
    Or(Box<[Self; 2]>),
    If(Box<[Self; 3]>),
    Coalesce(Box<[Self; 2]>),
    /// The variable's number, its value, and what uses it.
    Let(usize, Box<[Self; 2]>),
    Array(Box<[Self]>),
    Range(Box<[Self; 2]>),
    In(Box<[Self; 2]>),
    /// A number between two bounds, both included.
    Between(Box<Self>, i64, i64),
    Index(Box<[Self; 2]>),
    Slice(Box<(Self, Option<Self>, Option<Self>)>),
    Call(Function, Box<[Self]>),
    /// A method with its receiver first.
    Method(Method, Box<[Self]>),
    Clock(Clock, Box<[Self; 2]>),
}

/// The operators on times and durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    Add,
    Subtract,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A value while an expression runs.
#[derive(Debug, Clone)]
pub(super) enum Datum {
    /// The absent value, with the slot of the metric that has none, if it comes from one.
    Nil(Option<usize>),
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(Arc<str>),
    Array(Arc<[Self]>),
    /// So many integers from the first one on; the last one fits in 64 bits.
    Range {
        first: i64,
        length: i64,
    },
    Time(Box<ZonedDateTime>),
    /// Nanoseconds.
    Duration(i64),
    /// Days since Sunday.
    Weekday(i64),
    /// From 1.
    Month(i64),
    Zone(TimeZone),
}

/// The numbers, out of a [`Datum`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    pub(super) fn as_float(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    pub(super) fn is_less(self, other: Self) -> bool {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => left < right,
            _ => self.as_float() < other.as_float(),
        }
    }
}

impl Datum {
    pub(super) fn number(&self) -> Option<Number> {
        match *self {
            Self::Int(value) => Some(Number::Int(value)),
            Self::Float(value) => Some(Number::Float(value)),
            _ => None,
        }
    }

    /// Whether two values are equal as Expr has it: 42 is 42.0, and values of different kinds are different.
    #[expect(clippy::float_cmp, reason = "the language compares floats exactly")]
    pub(super) fn is_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => left == right,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::Text(left), Self::Text(right)) => left == right,
            (Self::Time(left), Self::Time(right)) => left.timestamp() == right.timestamp(),
            (Self::Duration(left), Self::Duration(right))
            | (Self::Weekday(left), Self::Weekday(right))
            | (Self::Month(left), Self::Month(right)) => left == right,
            _ => match (self.number(), other.number()) {
                (Some(left), Some(right)) => left.as_float() == right.as_float(),
                _ => false,
            },
        }
    }
}

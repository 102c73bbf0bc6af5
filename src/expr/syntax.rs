//! The syntax tree: what an expression says, before any name or type is known.

use super::diagnostic::Span;

/// One node of the tree.
#[derive(Debug)]
pub(super) struct Syntax {
    pub(super) kind: SyntaxKind,
    /// Where an error about this node points: its operator, name or first bracket.
    pub(super) span: Span,
    /// The length of the longest path down from here; what walks the tree recurses this deep.
    pub(super) height: usize,
}

/// The kinds of nodes.
#[derive(Debug)]
pub(super) enum SyntaxKind {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Name(String),
    Unary(Unary, Box<Syntax>),
    Binary(Binary, Box<[Syntax; 2]>),
    /// `condition ? then : otherwise`
    Conditional(Box<[Syntax; 3]>),
    /// `condition ?: otherwise`
    Elvis(Box<[Syntax; 2]>),
    Array(Vec<Syntax>),
    Index(Box<[Syntax; 2]>),
    Slice(Box<(Syntax, Option<Syntax>, Option<Syntax>)>),
    Call {
        name: String,
        arguments: Vec<Syntax>,
    },
    Method {
        receiver: Box<Syntax>,
        name: String,
        arguments: Vec<Syntax>,
    },
    Property {
        receiver: Box<Syntax>,
        name: String,
    },
    Let {
        name: String,
        value: Box<Syntax>,
        body: Box<Syntax>,
    },
}

/// The operators with one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unary {
    Not,
    Minus,
    Plus,
}

/// The operators with two operands; `||`, `&&` and `^` are other spellings of three of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
    In,
    Range,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
    Coalesce,
}

impl Binary {
    /// The operator as it is usually written.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::Greater => ">",
            Self::LessOrEqual => "<=",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Range => "..",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Power => "**",
            Self::Coalesce => "??",
        }
    }
}

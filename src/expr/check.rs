//! Gives names and types to a syntax tree, refuses what does not fit, and turns the rest into code.
//!
//! Two notions of type run side by side. [`Type`] is sound: what a value really can be. [`Declared`] is what Expr's own
//! checker believes of a number, which is sometimes wrong (`max(1, q)` is declared an integer and can be a float) and yet
//! decides how `in` works on a range. Whatever Expr refuses is refused; so is what it accepts and then gives a surprising
//! result for, such as comparing a weekday with a number.

use std::sync::Arc;

use evalexpr::{Node, Operator};

use super::{
    Names,
    code::{Clock, Code, Datum, Program},
    diagnostic::{CompileError, Span, nearest},
    functions::{Function, UNSUPPORTED},
    number,
    syntax::{Binary, Syntax, SyntaxKind, Unary},
    time::{self, Method},
};
use crate::duration;

/// The program of a syntax tree; the result must be a number.
pub(super) fn check(source: &str, names: &Names, syntax: &Syntax) -> Result<Program, CompileError> {
    let mut checker = Checker {
        source,
        names,
        reads: Vec::new(),
        variables: Vec::new(),
        locals: 0,
        parts: Vec::new(),
        zeros: [None, None],
    };
    let root = checker.expression(syntax)?;
    if !root.kind.is_number() {
        let hint = match root.kind {
            Type::Bool => "; choose with `… ? 1 : 0`",
            Type::Duration => "; use `.Seconds()`, `.Minutes()` or `.Hours()`",
            Type::Array(_) | Type::Range => "; `len` or `sum` makes it a number",
            _ => "",
        };
        let message = format!(
            "the result must be a number, but this is {}{hint}",
            root.kind.describe()
        );
        return checker.refuse(syntax.span, message);
    }
    let root = checker.seal(root, syntax.span)?;
    Ok(Program {
        source: source.into(),
        names: names.clone(),
        reads: checker.reads,
        root,
        parts: checker.parts,
        locals: checker.locals,
    })
}

/// What a value can be while the expression runs. Any value can also be `nil`, where it comes from a metric that has none.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Type {
    /// The literal `nil`.
    Nil,
    Bool,
    Int,
    Float,
    /// An integer or a float.
    Number,
    Text,
    /// An array with elements of one type; an empty one has none.
    Array(Option<Box<Self>>),
    /// An array of consecutive integers.
    Range,
    Time,
    Duration,
    Weekday,
    Month,
    Zone,
}

impl Type {
    fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Number)
    }

    fn describe(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool => "a boolean",
            Self::Int => "an integer",
            Self::Float => "a float",
            Self::Number => "an integer or a float",
            Self::Text => "a string",
            Self::Array(_) => "an array",
            Self::Range => "a range",
            Self::Time => "a time",
            Self::Duration => "a duration",
            Self::Weekday => "a weekday",
            Self::Month => "a month",
            Self::Zone => "a time zone",
        }
    }

    /// The type of a value that is of one of two types; `None` if they have nothing in common.
    fn join(&self, other: &Self) -> Option<Self> {
        if self == other {
            return Some(self.clone());
        }
        if self.is_number() && other.is_number() {
            return Some(Self::Number);
        }
        match (self, other) {
            (Self::Array(None), Self::Array(some)) | (Self::Array(some), Self::Array(None)) => {
                Some(Self::Array(some.clone()))
            }
            (Self::Array(Some(left)), Self::Array(Some(right))) => {
                Some(Self::Array(Some(Box::new(left.join(right)?))))
            }
            _ => None,
        }
    }

    fn element(&self) -> Option<Self> {
        match self {
            Self::Array(element) => element.as_deref().cloned(),
            Self::Range => Some(Self::Int),
            _ => None,
        }
    }

    fn is_array(&self) -> bool {
        matches!(self, Self::Array(_) | Self::Range)
    }
}

/// What Expr's checker takes a number to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Declared {
    Int,
    /// The `int64` of Go, which `now().Unix()` gives.
    Int64,
    Float,
    /// Known only when it runs, as an array's element is.
    Any,
    /// Not a number.
    Other,
}

impl Declared {
    /// What the sum, difference or product is declared as.
    fn combine(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => Self::Any,
            (left, right) if left == right => left,
            (Self::Float, _) | (_, Self::Float) => Self::Float,
            _ => Self::Int,
        }
    }

    /// What the conditional with these branches is declared as.
    fn choose(self, other: Self) -> Self {
        if self == other || other == Self::Any {
            self
        } else {
            Self::Any
        }
    }
}

/// A part of the expression, checked.
struct Checked {
    kind: Type,
    declared: Declared,
    /// Whether Expr forgets the type when it folds, as it does for `%`; then `in` a range is not turned into comparisons.
    forgotten: bool,
    code: Code,
}

impl Checked {
    fn new(kind: Type, declared: Declared, code: Code) -> Self {
        Self {
            kind,
            declared,
            forgotten: false,
            code,
        }
    }

    fn literal(datum: Datum) -> Self {
        let (kind, declared) = match &datum {
            Datum::Int(_) => (Type::Int, Declared::Int),
            Datum::Float(_) => (Type::Float, Declared::Float),
            Datum::Bool(_) => (Type::Bool, Declared::Other),
            Datum::Text(_) => (Type::Text, Declared::Other),
            _ => (Type::Nil, Declared::Other),
        };
        Self::new(kind, declared, Code::Literal(datum))
    }

    fn bool(code: Code) -> Self {
        Self::new(Type::Bool, Declared::Other, code)
    }

    fn as_literal(&self) -> Option<&Datum> {
        match &self.code {
            Code::Literal(datum) => Some(datum),
            _ => None,
        }
    }
}

struct Variable {
    name: String,
    local: usize,
    kind: Type,
    declared: Declared,
}

struct Checker<'s> {
    source: &'s str,
    names: &'s Names,
    reads: Vec<usize>,
    /// The variables in scope, innermost last.
    variables: Vec<Variable>,
    locals: usize,
    parts: Vec<Code>,
    /// Where `0.0` and `-0.0` first stand.
    zeros: [Option<Span>; 2],
}

impl Checker<'_> {
    fn refuse<T>(&self, span: Span, message: impl Into<String>) -> Result<T, CompileError> {
        Err(CompileError::new(self.source, span, message))
    }

    fn expression(&mut self, syntax: &Syntax) -> Result<Checked, CompileError> {
        let span = syntax.span;
        match &syntax.kind {
            SyntaxKind::Nil => Ok(Checked::literal(Datum::Nil(None))),
            SyntaxKind::Bool(value) => Ok(Checked::literal(Datum::Bool(*value))),
            SyntaxKind::Int(value) => Ok(Checked::literal(Datum::Int(*value))),
            SyntaxKind::Float(value) => Ok(Checked::literal(Datum::Float(*value))),
            SyntaxKind::Text(value) => Ok(Checked::literal(Datum::Text(value.as_str().into()))),
            SyntaxKind::Name(name) => self.name(name, span),
            SyntaxKind::Unary(operator, operand) => self.unary(*operator, operand, span),
            SyntaxKind::Binary(operator, operands) => self.binary(*operator, operands, span),
            SyntaxKind::Conditional(parts) => self.conditional(parts, span),
            SyntaxKind::Elvis(parts) => self.elvis(parts, span),
            SyntaxKind::Array(elements) => self.array(elements),
            SyntaxKind::Index(parts) => self.index(parts, span),
            SyntaxKind::Slice(parts) => self.slice(parts, span),
            SyntaxKind::Call { name, arguments } => self.call(name, arguments, span),
            SyntaxKind::Method {
                receiver,
                name,
                arguments,
            } => self.method(receiver, name, arguments, span),
            SyntaxKind::Property { receiver, name } => {
                let receiver = self.expression(receiver)?;
                let message = if methods(&receiver.kind)
                    .iter()
                    .any(|(known, ..)| known == name)
                {
                    format!("`{name}` is a method; call it, `.{name}()`")
                } else {
                    format!("{} has no field `{name}`", receiver.kind.describe())
                };
                self.refuse(span, message)
            }
            SyntaxKind::Let { name, value, body } => self.declaration(name, value, body, span),
        }
    }

    /// The code of a part that will not be folded any more.
    ///
    /// Expr keeps one copy of equal float constants, and takes `0.0` and `-0.0` for equal: the sign of the one that comes
    /// first then stands for both. An expression with both is refused.
    fn seal(&mut self, checked: Checked, span: Span) -> Result<Code, CompileError> {
        if let Code::Literal(Datum::Float(value)) = checked.code {
            if value == 0.0 {
                self.zeros[usize::from(value.is_sign_negative())].get_or_insert(span);
                if self.zeros.iter().all(Option::is_some) {
                    return self.refuse(
                        span,
                        "`0.0` and `-0.0` in one expression: Expr takes them for the same number",
                    );
                }
            }
        }
        Ok(checked.code)
    }

    fn name(&mut self, name: &str, span: Span) -> Result<Checked, CompileError> {
        if let Some(variable) = self
            .variables
            .iter()
            .rev()
            .find(|variable| variable.name == name)
        {
            return Ok(Checked::new(
                variable.kind.clone(),
                variable.declared,
                Code::Local(variable.local),
            ));
        }
        if let Some(slot) = self.names.slot(name) {
            if !self.reads.contains(&slot) {
                self.reads.push(slot);
            }
            return Ok(Checked::new(
                Type::Float,
                Declared::Float,
                Code::Metric(slot),
            ));
        }
        if name == "$env" {
            return self.refuse(span, "`$env` is not supported; write the metric's name");
        }
        if Function::named(name).is_some() {
            return self.refuse(
                span,
                format!("`{name}` is a function; call it, `{name}(…)`"),
            );
        }
        if UNSUPPORTED.contains(&name) {
            return self.refuse(span, format!("the function `{name}` is not supported"));
        }
        if name == "if" || name == "else" {
            return self.refuse(
                span,
                format!(
                    "`{name}` is not part of the language; write `condition ? then : otherwise`"
                ),
            );
        }
        let known = self
            .variables
            .iter()
            .map(|variable| variable.name.as_str())
            .chain(self.names.iter());
        let first_word = |name: &'_ str| name.split('_').next().map(str::to_owned);
        // `started_machines` is too far from any name, and can mean one only.
        let of_count = || {
            let mut counts = Names::COUNTS.into_iter();
            let is_of_machines = name.contains("machine");
            counts.find(|count| is_of_machines && first_word(count) == first_word(name))
        };
        let message = match nearest(name, known).or_else(of_count) {
            Some(meant) => format!("unknown metric `{name}`, did you mean `{meant}`?"),
            None => format!("unknown metric `{name}`; {}", self.known_names()),
        };
        self.refuse(span, message)
    }

    /// The names that can be read, for an error message; not all, if they are many.
    fn known_names(&self) -> String {
        const SHOWN: usize = 8;
        let mut listed: Vec<String> = self
            .names
            .iter()
            .take(SHOWN)
            .map(|name| format!("`{name}`"))
            .collect();
        if self.names.iter().count() > SHOWN {
            listed.push("…".to_owned());
        }
        format!("expected one of {}", listed.join(", "))
    }

    fn unary(
        &mut self,
        operator: Unary,
        operand: &Syntax,
        span: Span,
    ) -> Result<Checked, CompileError> {
        let checked = self.expression(operand)?;
        if operator == Unary::Not {
            if checked.kind != Type::Bool {
                return self.refuse(
                    span,
                    format!(
                        "`not` needs a boolean, but this is {}; it binds tighter than comparisons: write `not (…)`",
                        checked.kind.describe()
                    ),
                );
            }
            if let Some(Datum::Bool(value)) = checked.as_literal() {
                return Ok(Checked::literal(Datum::Bool(!value)));
            }
            return Ok(Checked::bool(Code::Not(Box::new(checked.code))));
        }
        if !checked.kind.is_number() {
            let sign = if operator == Unary::Minus { "-" } else { "+" };
            return self.refuse(
                span,
                format!(
                    "`{sign}` needs a number, but this is {}",
                    checked.kind.describe()
                ),
            );
        }
        if operator == Unary::Plus {
            return Ok(checked);
        }
        match checked.as_literal() {
            Some(Datum::Int(value)) if *value != i64::MIN => {
                return Ok(Checked::literal(Datum::Int(-value)));
            }
            Some(Datum::Float(value)) => return Ok(Checked::literal(Datum::Float(-value))),
            _ => {}
        }
        let (kind, declared) = (checked.kind.clone(), checked.declared);
        let code = self.seal(checked, operand.span)?;
        let child = self.node(code);
        Ok(Checked::new(
            kind,
            declared,
            Code::Engine(engine(Operator::Neg, vec![child])),
        ))
    }

    fn binary(
        &mut self,
        operator: Binary,
        operands: &[Syntax; 2],
        span: Span,
    ) -> Result<Checked, CompileError> {
        let left = self.expression(&operands[0])?;
        let right = self.expression(&operands[1])?;
        let operation = Operation {
            operator,
            operands,
            span,
        };
        match operator {
            Binary::Or | Binary::And => self.logic(operation, left, right),
            Binary::Equal | Binary::NotEqual => self.equality(operation, left, right),
            Binary::Less | Binary::Greater | Binary::LessOrEqual | Binary::GreaterOrEqual => {
                self.ordering(operation, left, right)
            }
            Binary::In => self.membership(operation, left, right),
            Binary::Range => self.range(operation, left, right),
            Binary::Coalesce => self.coalesce(operation, left, right),
            Binary::Add
            | Binary::Subtract
            | Binary::Multiply
            | Binary::Divide
            | Binary::Remainder
            | Binary::Power => self.arithmetic(operation, left, right),
        }
    }

    fn mismatch<T>(
        &self,
        operation: Operation<'_>,
        needs: &str,
        operands: [&Checked; 2],
        hint: &str,
    ) -> Result<T, CompileError> {
        let sign = operation.operator.sign();
        let [left, right] = operands.map(|operand| operand.kind.describe());
        self.refuse(
            operation.span,
            format!("`{sign}` needs {needs}, but here are {left} and {right}{hint}"),
        )
    }

    fn seal_both(
        &mut self,
        operation: Operation<'_>,
        left: Checked,
        right: Checked,
    ) -> Result<Box<[Code; 2]>, CompileError> {
        let left = self.seal(left, operation.operands[0].span)?;
        let right = self.seal(right, operation.operands[1].span)?;
        Ok(Box::new([left, right]))
    }

    fn logic(
        &mut self,
        operation: Operation<'_>,
        left: Checked,
        right: Checked,
    ) -> Result<Checked, CompileError> {
        if left.kind != Type::Bool || right.kind != Type::Bool {
            return self.mismatch(
                operation,
                "two booleans",
                [&left, &right],
                "; compare a number, as in `… > 0`",
            );
        }
        // The operand that decides alone. Expr folds such an operation away even where the decisive side is the right one,
        // and so never evaluates the other.
        let decisive = operation.operator == Binary::Or;
        let literal = |side: &Checked| match side.as_literal() {
            Some(Datum::Bool(value)) => Some(*value == decisive),
            _ => None,
        };
        match (literal(&left), literal(&right)) {
            (Some(false), _) => Ok(right),
            (_, Some(false)) => Ok(left),
            (Some(true), _) | (_, Some(true)) => Ok(Checked::literal(Datum::Bool(decisive))),
            (None, None) => {
                let both = Box::new([left.code, right.code]);
                Ok(Checked::bool(if decisive {
                    Code::Or(both)
                } else {
                    Code::And(both)
                }))
            }
        }
    }

    fn equality(
        &mut self,
        operation: Operation<'_>,
        left: Checked,
        right: Checked,
    ) -> Result<Checked, CompileError> {
        let negate = |code: Code| {
            if operation.operator == Binary::NotEqual {
                Code::Not(Box::new(code))
            } else {
                code
            }
        };
        if left.kind == Type::Nil || right.kind == Type::Nil {
            let value = if left.kind == Type::Nil { right } else { left };
            return Ok(Checked::bool(negate(Code::IsNil(Box::new(value.code)))));
        }
        let comparable = (left.kind.is_number() && right.kind.is_number())
            || (left.kind == right.kind && !left.kind.is_array() && left.kind != Type::Zone);
        if !comparable {
            let hint = match (&left.kind, &right.kind) {
                (Type::Weekday | Type::Month, _) | (_, Type::Weekday | Type::Month) => {
                    "; Expr takes them for different: write `int(…)` around it, or compare its `.String()`"
                }
                (Type::Array(_) | Type::Range, _) | (_, Type::Array(_) | Type::Range) => {
                    "; arrays cannot be compared: did you mean `in`?"
                }
                _ => "",
            };
            return self.mismatch(operation, "two values of one type", [&left, &right], hint);
        }
        if operation.operator == Binary::Equal {
            let folded = match (left.as_literal(), right.as_literal()) {
                (Some(Datum::Int(left)), Some(Datum::Int(right))) => Some(left == right),
                (Some(Datum::Bool(left)), Some(Datum::Bool(right))) => Some(left == right),
                (Some(Datum::Text(left)), Some(Datum::Text(right))) => Some(left == right),
                _ => None,
            };
            if let Some(value) = folded {
                return Ok(Checked::literal(Datum::Bool(value)));
            }
        }
        Ok(Checked::bool(negate(Code::Equal(
            self.seal_both(operation, left, right)?,
        ))))
    }

    fn ordering(
        &mut self,
        operation: Operation<'_>,
        left: Checked,
        right: Checked,
    ) -> Result<Checked, CompileError> {
        let (engine_operator, clock) = match operation.operator {
            Binary::Less => (Operator::Lt, Clock::Less),
            Binary::LessOrEqual => (Operator::Leq, Clock::LessOrEqual),
            Binary::Greater => (Operator::Gt, Clock::Greater),
            _ => (Operator::Geq, Clock::GreaterOrEqual),
        };
        match (&left.kind, &right.kind) {
            (Type::Time, Type::Time) | (Type::Duration, Type::Duration) => Ok(Checked::bool(
                Code::Clock(clock, self.seal_both(operation, left, right)?),
            )),
            (Type::Text, Type::Text) => {
                let both = self.seal_both(operation, left, right)?;
                Ok(Checked::bool(self.engine_pair(engine_operator, *both)))
            }
            (a, b) if a.is_number() && b.is_number() => {
                let both = self.seal_both(operation, left, right)?;
                Ok(Checked::bool(self.engine_pair(engine_operator, *both)))
            }
            (Type::Bool, b) if b.is_number() => self.mismatch(
                operation,
                "two numbers",
                [&left, &right],
                "; comparisons cannot be chained: write `a < b and b < c`",
            ),
            (Type::Weekday | Type::Month, _) | (_, Type::Weekday | Type::Month) => self.mismatch(
                operation,
                "two numbers",
                [&left, &right],
                "; write `int(…)` around it",
            ),
            (Type::Duration, _) | (_, Type::Duration) => self.mismatch(
                operation,
                "two durations",
                [&left, &right],
                "; `.Seconds()` makes it a number",
            ),
            _ => self.mismatch(operation, "two numbers", [&left, &right], ""),
        }
    }

    fn membership(
        &mut self,
        operation: Operation<'_>,
        left: Checked,
        right: Checked,
    ) -> Result<Checked, CompileError> {
        if !right.kind.is_array() {
            return self.mismatch(
                operation,
                "an array or a range on its right",
                [&left, &right],
                "",
            );
        }
        let fits = match (&left.kind, right.kind.element()) {
            (Type::Nil | Type::Zone, _) => false,
            (kind, _) if kind.is_array() => false,
            (_, None) => true,
            (kind, Some(element)) => *kind == element || (kind.is_number() && element.is_number()),
        };
        if !fits {
            let element = right
                .kind
                .element()
                .map_or("nothing", |element| element.describe());
            let message = format!(
                "`in` looks for {} among elements that are each {element}",
                left.kind.describe()
            );
            return self.refuse(operation.span, message);
        }
        // Expr turns this into two comparisons, and then a float that it believes to be an integer need not be whole.
        if left.declared == Declared::Int && !left.forgotten {
            if let Code::Range(bounds) = &right.code {
                if let [
                    Code::Literal(Datum::Int(from)),
                    Code::Literal(Datum::Int(to)),
                ] = **bounds
                {
                    return Ok(Checked::bool(Code::Between(Box::new(left.code), from, to)));
                }
            }
        }
        Ok(Checked::bool(Code::In(
            self.seal_both(operation, left, right)?,
        )))
    }

    fn range(
        &mut self,
        operation: Operation<'_>,
        left: Checked,
        right: Checked,
    ) -> Result<Checked, CompileError> {
        if left.kind != Type::Int || right.kind != Type::Int {
            return self.mismatch(
                operation,
                "two integers",
                [&left, &right],
                integer_hint(&left, &right),
            );
        }
        let both = Box::new([left.code, right.code]);
        Ok(Checked::new(
            Type::Range,
            Declared::Other,
            Code::Range(both),
        ))
    }

    fn coalesce(
        &mut self,
        operation: Operation<'_>,
        left: Checked,
        right: Checked,
    ) -> Result<Checked, CompileError> {
        if right.kind == Type::Nil {
            return self.refuse(
                operation.span,
                "`?? nil` changes nothing; expected a value for when there is none",
            );
        }
        if left.kind == Type::Nil {
            let (kind, declared) = (right.kind.clone(), right.declared);
            let both = self.seal_both(operation, left, right)?;
            return Ok(Checked::new(kind, declared, Code::Coalesce(both)));
        }
        let Some(kind) = left.kind.join(&right.kind) else {
            return self.mismatch(operation, "two values of one type", [&left, &right], "");
        };
        let declared = if left.declared == right.declared {
            left.declared
        } else {
            Declared::Any
        };
        let both = self.seal_both(operation, left, right)?;
        Ok(Checked::new(kind, declared, Code::Coalesce(both)))
    }

    fn arithmetic(
        &mut self,
        operation: Operation<'_>,
        left: Checked,
        right: Checked,
    ) -> Result<Checked, CompileError> {
        let operator = operation.operator;
        if operator == Binary::Remainder {
            return self.remainder(operation, left, right);
        }
        if let Some(kind) = clock_result(operator, &left.kind, &right.kind) {
            let clock = if operator == Binary::Add {
                Clock::Add
            } else {
                Clock::Subtract
            };
            let both = self.seal_both(operation, left, right)?;
            return Ok(Checked::new(
                kind,
                Declared::Other,
                Code::Clock(clock, both),
            ));
        }
        if !left.kind.is_number() || !right.kind.is_number() {
            let hint = match (&left.kind, &right.kind) {
                (Type::Text, _) | (_, Type::Text) if operator == Binary::Add => {
                    "; joining strings is not supported, `int(…)` and `float(…)` read numbers from them"
                }
                (Type::Duration, _) | (_, Type::Duration) => {
                    "; `.Seconds()`, `.Minutes()` and `.Hours()` make a duration a number"
                }
                (Type::Weekday | Type::Month, _) | (_, Type::Weekday | Type::Month) => {
                    "; write `int(…)` around it"
                }
                _ => "",
            };
            return self.mismatch(operation, "two numbers", [&left, &right], hint);
        }
        if let Some(folded) = fold(operator, &left, &right) {
            return Ok(Checked::literal(folded));
        }
        match operator {
            Binary::Power => {
                let both = self.seal_both(operation, left, right)?;
                Ok(Checked::new(
                    Type::Float,
                    Declared::Float,
                    Code::Power(both),
                ))
            }
            Binary::Divide => self.division(operation, left, right),
            _ => {
                let declared = left.declared.combine(right.declared);
                let kind = match (&left.kind, &right.kind) {
                    (Type::Int, Type::Int) => Type::Int,
                    (Type::Float, _) | (_, Type::Float) => Type::Float,
                    _ => Type::Number,
                };
                let engine_operator = match operator {
                    Binary::Add => Operator::Add,
                    Binary::Subtract => Operator::Sub,
                    _ => Operator::Mul,
                };
                let both = self.seal_both(operation, left, right)?;
                Ok(Checked::new(
                    kind,
                    declared,
                    self.engine_pair(engine_operator, *both),
                ))
            }
        }
    }

    /// A division, whose result is a float even of two integers; evalexpr would give an integer, unless one side is a float.
    fn division(
        &mut self,
        operation: Operation<'_>,
        left: Checked,
        right: Checked,
    ) -> Result<Checked, CompileError> {
        let integral = left.kind != Type::Float && right.kind != Type::Float;
        let convert_left = integral && left.as_literal().is_some();
        let [mut left, mut right] = *self.seal_both(operation, left, right)?;
        if convert_left {
            left = as_float(left);
        } else if integral {
            right = as_float(right);
        }
        let code = self.engine_pair(Operator::Div, [left, right]);
        Ok(Checked::new(Type::Float, Declared::Float, code))
    }

    fn remainder(
        &mut self,
        operation: Operation<'_>,
        left: Checked,
        right: Checked,
    ) -> Result<Checked, CompileError> {
        if left.kind != Type::Int || right.kind != Type::Int {
            return self.mismatch(
                operation,
                "two integers",
                [&left, &right],
                integer_hint(&left, &right),
            );
        }
        if let (Some(Datum::Int(dividend)), Some(Datum::Int(divisor))) =
            (left.as_literal(), right.as_literal())
        {
            if *divisor == 0 {
                return self.refuse(operation.span, "integer divide by zero");
            }
            if let Some(value) = dividend.checked_rem(*divisor) {
                let mut folded = Checked::literal(Datum::Int(value));
                folded.forgotten = true;
                return Ok(folded);
            }
        }
        let declared = left.declared.combine(right.declared);
        let both = self.seal_both(operation, left, right)?;
        Ok(Checked::new(
            Type::Int,
            declared,
            self.engine_pair(Operator::Mod, *both),
        ))
    }

    fn conditional(&mut self, parts: &[Syntax; 3], span: Span) -> Result<Checked, CompileError> {
        let condition = self.condition(&parts[0])?;
        let then = self.branch(&parts[1])?;
        let otherwise = self.branch(&parts[2])?;
        let Some(kind) = then.kind.join(&otherwise.kind) else {
            let (then, otherwise) = (then.kind.describe(), otherwise.kind.describe());
            return self.refuse(
                span,
                format!(
                    "the branches of `?` must have one type, but here are {then} and {otherwise}"
                ),
            );
        };
        let declared = then.declared.choose(otherwise.declared);
        let then = self.seal(then, parts[1].span)?;
        let otherwise = self.seal(otherwise, parts[2].span)?;
        Ok(Checked::new(
            kind,
            declared,
            Code::If(Box::new([condition.code, then, otherwise])),
        ))
    }

    fn condition(&mut self, syntax: &Syntax) -> Result<Checked, CompileError> {
        let condition = self.expression(syntax)?;
        if condition.kind != Type::Bool {
            let hint = if condition.kind.is_number() {
                "; compare it, as in `… > 0`"
            } else {
                ""
            };
            return self.refuse(
                syntax.span,
                format!(
                    "the condition of `?` must be a boolean, but this is {}{hint}",
                    condition.kind.describe()
                ),
            );
        }
        Ok(condition)
    }

    fn branch(&mut self, syntax: &Syntax) -> Result<Checked, CompileError> {
        let branch = self.expression(syntax)?;
        if branch.kind == Type::Nil {
            return self.refuse(
                syntax.span,
                "`nil` is supported only with `??`, `==` and `!=`",
            );
        }
        Ok(branch)
    }

    /// `a ?: b` is `a` where that is true, else `b`; with two booleans, which is all that can be checked, that is `or`.
    fn elvis(&mut self, parts: &[Syntax; 2], span: Span) -> Result<Checked, CompileError> {
        let condition = self.condition(&parts[0])?;
        let otherwise = self.expression(&parts[1])?;
        if otherwise.kind != Type::Bool {
            let message = format!(
                "`?:` gives the condition itself, a boolean, or what follows, but this is {}; a value for a missing metric \
                 is `… ?? …`",
                otherwise.kind.describe()
            );
            return self.refuse(span, message);
        }
        Ok(Checked::bool(Code::Or(Box::new([
            condition.code,
            otherwise.code,
        ]))))
    }

    fn array(&mut self, syntax: &[Syntax]) -> Result<Checked, CompileError> {
        let mut elements = Vec::with_capacity(syntax.len());
        let mut kind: Option<Type> = None;
        for element in syntax {
            let checked = self.expression(element)?;
            if checked.kind == Type::Nil {
                return self.refuse(
                    element.span,
                    "`nil` is supported only with `??`, `==` and `!=`",
                );
            }
            let joined = kind.as_ref().map_or_else(
                || Some(checked.kind.clone()),
                |kind| kind.join(&checked.kind),
            );
            let Some(joined) = joined else {
                let before = kind.as_ref().map_or("nothing", Type::describe);
                let message = format!(
                    "an array's elements must have one type, but here is {} after {before}",
                    checked.kind.describe()
                );
                return self.refuse(element.span, message);
            };
            kind = Some(joined);
            elements.push(checked);
        }
        let kind = Type::Array(kind.map(Box::new));
        let literals: Option<Arc<[Datum]>> = elements
            .iter()
            .map(|element| element.as_literal().cloned())
            .collect();
        if let Some(literals) = literals.filter(|literals| !literals.is_empty()) {
            return Ok(Checked::new(
                kind,
                Declared::Other,
                Code::Constant(Datum::Array(literals)),
            ));
        }
        let mut codes = Vec::with_capacity(elements.len());
        for (element, syntax) in elements.into_iter().zip(syntax) {
            codes.push(self.seal(element, syntax.span)?);
        }
        Ok(Checked::new(
            kind,
            Declared::Other,
            Code::Array(codes.into()),
        ))
    }

    fn index(&mut self, parts: &[Syntax; 2], span: Span) -> Result<Checked, CompileError> {
        let array = self.expression(&parts[0])?;
        let index = self.expression(&parts[1])?;
        let Some(element) = array.kind.element() else {
            let message = if array.kind.is_array() {
                "an empty array has no element".to_owned()
            } else {
                format!(
                    "`[…]` needs an array before it, but this is {}",
                    array.kind.describe()
                )
            };
            return self.refuse(span, message);
        };
        self.expect_integer(&index, parts[1].span)?;
        let declared = element_declared(&array.kind);
        Ok(Checked::new(
            element,
            declared,
            Code::Index(Box::new([array.code, index.code])),
        ))
    }

    fn slice(
        &mut self,
        parts: &(Syntax, Option<Syntax>, Option<Syntax>),
        span: Span,
    ) -> Result<Checked, CompileError> {
        let array = self.expression(&parts.0)?;
        if !array.kind.is_array() {
            let message = format!(
                "`[… : …]` needs an array before it, but this is {}",
                array.kind.describe()
            );
            return self.refuse(span, message);
        }
        let mut bound = |syntax: &Option<Syntax>| -> Result<Option<Code>, CompileError> {
            let Some(syntax) = syntax else {
                return Ok(None);
            };
            let bound = self.expression(syntax)?;
            self.expect_integer(&bound, syntax.span)?;
            Ok(Some(bound.code))
        };
        let (from, to) = (bound(&parts.1)?, bound(&parts.2)?);
        Ok(Checked::new(
            array.kind,
            Declared::Other,
            Code::Slice(Box::new((array.code, from, to))),
        ))
    }

    fn expect_integer(&self, checked: &Checked, span: Span) -> Result<(), CompileError> {
        if checked.kind == Type::Int {
            return Ok(());
        }
        let hint = if checked.kind.is_number() {
            "; write `int(…)` around it"
        } else {
            ""
        };
        self.refuse(
            span,
            format!(
                "an index must be an integer, but this is {}{hint}",
                checked.kind.describe()
            ),
        )
    }

    fn declaration(
        &mut self,
        name: &str,
        value: &Syntax,
        body: &Syntax,
        span: Span,
    ) -> Result<Checked, CompileError> {
        if self.names.slot(name).is_some() {
            return self.refuse(
                span,
                format!("`{name}` is a metric and cannot be declared again"),
            );
        }
        // `timezone` comes from a later Expr; in 1.16 the name is free.
        let function = Function::named(name).is_some_and(|function| function != Function::Timezone);
        if function || UNSUPPORTED.contains(&name) {
            return self.refuse(
                span,
                format!("`{name}` is a function and cannot be declared again"),
            );
        }
        if self.variables.iter().any(|variable| variable.name == name) {
            return self.refuse(span, format!("`{name}` is declared already"));
        }
        let checked = self.branch(value)?;
        let (kind, declared) = (checked.kind.clone(), checked.declared);
        let code = self.seal(checked, value.span)?;
        let local = self.locals;
        self.locals += 1;
        self.variables.push(Variable {
            name: name.to_owned(),
            local,
            kind,
            declared,
        });
        let body_checked = self.expression(body)?;
        self.variables.pop();
        let (kind, declared) = (body_checked.kind.clone(), body_checked.declared);
        let body = self.seal(body_checked, body.span)?;
        Ok(Checked::new(
            kind,
            declared,
            Code::Let(local, Box::new([code, body])),
        ))
    }

    fn call(
        &mut self,
        name: &str,
        arguments: &[Syntax],
        span: Span,
    ) -> Result<Checked, CompileError> {
        if self.variables.iter().any(|variable| variable.name == name) {
            return self.refuse(span, format!("`{name}` is a variable, not a function"));
        }
        let Some(function) = Function::named(name) else {
            let message = if UNSUPPORTED.contains(&name) {
                format!("the function `{name}` is not supported")
            } else {
                let known = Function::ALL.map(Function::name);
                match (foreign(name), nearest(name, known)) {
                    (Some(instead), _) => format!("unknown function `{name}`; {instead}"),
                    (None, Some(meant)) => {
                        format!("unknown function `{name}`, did you mean `{meant}`?")
                    }
                    (None, None) => format!(
                        "unknown function `{name}`; the functions are {}",
                        known.join(", ")
                    ),
                }
            };
            return self.refuse(span, message);
        };
        match function {
            Function::Max | Function::Min => self.extreme(function, arguments, span),
            Function::Now => {
                self.expect_arguments(function, arguments, 0, span)?;
                Ok(Checked::new(
                    Type::Time,
                    Declared::Other,
                    Code::Call(function, Box::new([])),
                ))
            }
            Function::Date | Function::Duration | Function::Timezone => {
                self.written(function, arguments, span)
            }
            _ => {
                self.expect_arguments(function, arguments, 1, span)?;
                self.call_on_one(function, &arguments[0])
            }
        }
    }

    fn expect_arguments(
        &self,
        function: Function,
        arguments: &[Syntax],
        count: usize,
        span: Span,
    ) -> Result<(), CompileError> {
        if arguments.len() == count {
            return Ok(());
        }
        let name = function.name();
        let hint = match function {
            Function::Sum | Function::Mean | Function::Median if arguments.len() > 1 => {
                format!("; write `{name}([…])`")
            }
            Function::Date if arguments.len() > 1 => "; formats are not supported".to_owned(),
            _ => String::new(),
        };
        let takes = if count == 0 {
            "no argument"
        } else {
            "one argument"
        };
        self.refuse(
            span,
            format!(
                "`{name}` takes {takes}, but here are {}{hint}",
                arguments.len()
            ),
        )
    }

    fn extreme(
        &mut self,
        function: Function,
        arguments: &[Syntax],
        span: Span,
    ) -> Result<Checked, CompileError> {
        let name = function.name();
        if arguments.is_empty() {
            return self.refuse(span, format!("`{name}` needs at least one number"));
        }
        let mut codes = Vec::with_capacity(arguments.len());
        let mut kind: Option<Type> = None;
        let mut declared = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let checked = self.expression(argument)?;
            if !checked.kind.is_number() {
                let hint = if checked.kind.is_array() {
                    "; write its elements as arguments"
                } else {
                    ""
                };
                let message = format!(
                    "`{name}` takes numbers, but this is {}{hint}",
                    checked.kind.describe()
                );
                return self.refuse(argument.span, message);
            }
            kind = match kind {
                Some(kind) => kind.join(&checked.kind),
                None => Some(checked.kind.clone()),
            };
            declared.push(checked.declared);
            codes.push(self.seal(checked, argument.span)?);
        }
        let declared = if declared.contains(&Declared::Any) {
            Declared::Any
        } else {
            declared[0]
        };
        Ok(Checked::new(
            kind.unwrap_or(Type::Number),
            declared,
            Code::Call(function, codes.into()),
        ))
    }

    /// A function of one string, which must be there to read when the expression is compiled.
    fn written(
        &mut self,
        function: Function,
        arguments: &[Syntax],
        span: Span,
    ) -> Result<Checked, CompileError> {
        self.expect_arguments(function, arguments, 1, span)?;
        let name = function.name();
        let SyntaxKind::Text(text) = &arguments[0].kind else {
            return self.refuse(
                arguments[0].span,
                format!("`{name}` needs a string literal, in quotes"),
            );
        };
        let (kind, datum, expected) = match function {
            Function::Date => (
                Type::Time,
                time::parse_date(text),
                "a date such as \"2024-01-31\", \"2024-01-31 15:04:05\" or \"2024-01-31T15:04:05Z\"",
            ),
            Function::Duration => (
                Type::Duration,
                duration::nanoseconds(text).ok().map(Datum::Duration),
                "a duration such as \"90s\" or \"1h30m\"",
            ),
            _ => (
                Type::Zone,
                time::zone(text).map(Datum::Zone),
                "a time zone such as \"Europe/Berlin\"",
            ),
        };
        match datum {
            Some(datum) => Ok(Checked::new(kind, Declared::Other, Code::Constant(datum))),
            None => self.refuse(
                arguments[0].span,
                format!("{text:?} cannot be read; expected {expected}"),
            ),
        }
    }

    fn call_on_one(
        &mut self,
        function: Function,
        argument: &Syntax,
    ) -> Result<Checked, CompileError> {
        let checked = self.expression(argument)?;
        let (kind, from) = (checked.kind.clone(), checked.declared);
        let name = function.name();
        let numbers = kind
            .element()
            .map_or(matches!(kind, Type::Array(None)), |element| {
                element.is_number()
            });
        let result = match function {
            Function::Abs if kind.is_number() => Some((kind.clone(), from)),
            Function::Ceil | Function::Floor | Function::Round if kind.is_number() => {
                Some((Type::Float, Declared::Float))
            }
            Function::Int
                if kind.is_number() || matches!(kind, Type::Text | Type::Weekday | Type::Month) =>
            {
                Some((Type::Int, Declared::Int))
            }
            Function::Float if kind.is_number() || kind == Type::Text => {
                Some((Type::Float, Declared::Float))
            }
            Function::Len if kind.is_array() || kind == Type::Text => {
                Some((Type::Int, Declared::Int))
            }
            Function::Sum if numbers => {
                // The sum of no floats is the integer 0.
                let integral = matches!(kind.element(), Some(Type::Int) | None);
                Some((
                    if integral { Type::Int } else { Type::Number },
                    Declared::Any,
                ))
            }
            Function::Mean | Function::Median if numbers => Some((Type::Float, Declared::Float)),
            Function::First | Function::Last if kind.is_array() => {
                let Some(element) = kind.element() else {
                    return self
                        .refuse(argument.span, format!("`{name}` of an empty array is nil"));
                };
                Some((element, element_declared(&kind)))
            }
            _ => None,
        };
        let Some((result, declared)) = result else {
            let expected = match function {
                Function::Int | Function::Float => "a number or a string",
                Function::Len => "an array or a string",
                Function::Sum | Function::Mean | Function::Median => "an array of numbers",
                Function::First | Function::Last => "an array",
                _ => "a number",
            };
            let hint = match kind {
                Type::Bool if function == Function::Int || function == Function::Float => {
                    "; choose with `… ? 1 : 0`"
                }
                Type::Duration => "; use `.Seconds()`, `.Minutes()` or `.Hours()`",
                _ => "",
            };
            let message = format!(
                "`{name}` takes {expected}, but this is {}{hint}",
                kind.describe()
            );
            return self.refuse(argument.span, message);
        };
        if let (Function::Float, Some(Datum::Text(text))) = (function, checked.as_literal()) {
            if number::is_hexadecimal_float(text) {
                return self.refuse(
                    argument.span,
                    "`float` reads decimal numbers only; hexadecimal floats are not supported",
                );
            }
        }
        let code = self.seal(checked, argument.span)?;
        Ok(Checked::new(
            result,
            declared,
            Code::Call(function, Box::new([code])),
        ))
    }

    fn method(
        &mut self,
        receiver: &Syntax,
        name: &str,
        arguments: &[Syntax],
        span: Span,
    ) -> Result<Checked, CompileError> {
        let receiver = self.expression(receiver)?;
        let known = methods(&receiver.kind);
        let Some((_, method, takes, result, declared)) =
            known.iter().find(|(known, ..)| *known == name)
        else {
            let described = receiver.kind.describe();
            let message = match nearest(name, known.iter().map(|(name, ..)| *name)) {
                Some(meant) => {
                    format!("{described} has no method `{name}`, did you mean `{meant}`?")
                }
                None if known.is_empty() => format!("{described} has no methods"),
                None => {
                    let names: Vec<_> = known.iter().map(|(name, ..)| *name).collect();
                    format!(
                        "the method `{name}` is not supported; {described} has {}",
                        names.join(", ")
                    )
                }
            };
            return self.refuse(span, message);
        };
        let mut codes = vec![receiver.code];
        match (takes, arguments) {
            (None, []) => {}
            (Some(takes), [argument]) => {
                let checked = self.expression(argument)?;
                if checked.kind != *takes {
                    let (takes, found) = (takes.describe(), checked.kind.describe());
                    return self.refuse(
                        argument.span,
                        format!("`{name}` takes {takes}, but this is {found}"),
                    );
                }
                codes.push(checked.code);
            }
            (takes, arguments) => {
                let takes = takes.as_ref().map_or("no argument", Type::describe);
                return self.refuse(
                    span,
                    format!(
                        "`{name}` takes {takes}, but here are {} arguments",
                        arguments.len()
                    ),
                );
            }
        }
        Ok(Checked::new(
            result.clone(),
            *declared,
            Code::Method(*method, codes.into()),
        ))
    }

    fn engine_pair(&mut self, operator: Operator, [left, right]: [Code; 2]) -> Code {
        let children = vec![self.node(left), self.node(right)];
        Code::Engine(engine(operator, children))
    }

    /// The evalexpr tree of a part: itself, a constant, a metric's slot, or a call of one of our own parts.
    fn node(&mut self, code: Code) -> Node {
        let constant = |value: evalexpr::Value| engine(Operator::Const { value }, Vec::new());
        match code {
            Code::Engine(node) => node,
            Code::Literal(Datum::Int(value)) => constant(value.into()),
            Code::Literal(Datum::Float(value)) => constant(value.into()),
            Code::Metric(slot) => engine(
                Operator::VariableIdentifierRead {
                    identifier: slot.to_string(),
                },
                Vec::new(),
            ),
            code => {
                let identifier = self.parts.len().to_string();
                self.parts.push(code);
                let nothing = constant(evalexpr::Value::Empty);
                engine(Operator::FunctionIdentifier { identifier }, vec![nothing])
            }
        }
    }
}

/// A binary operation as written, for its errors.
#[derive(Clone, Copy)]
struct Operation<'s> {
    operator: Binary,
    operands: &'s [Syntax; 2],
    span: Span,
}

/// An evalexpr tree with this operator at its top.
fn engine(operator: Operator, children: Vec<Node>) -> Node {
    // evalexpr makes nodes from text only, and lets their contents be replaced.
    let mut node = evalexpr::build_operator_tree("0").expect("a digit is an expression");
    *node.operator_mut() = operator;
    *node.children_mut() = children;
    node
}

fn as_float(code: Code) -> Code {
    match code {
        Code::Literal(Datum::Int(value)) => Code::Literal(Datum::Float(value as f64)),
        code => Code::Call(Function::Float, Box::new([code])),
    }
}

/// The constant that Expr folds an operation on two constants into; `None` where there is none, or where it would wrap
/// around.
fn fold(operator: Binary, left: &Checked, right: &Checked) -> Option<Datum> {
    let (left, right) = (left.as_literal()?, right.as_literal()?);
    if let (Datum::Int(left), Datum::Int(right)) = (left, right) {
        let whole = match operator {
            Binary::Add => Some(left.checked_add(*right)),
            Binary::Subtract => Some(left.checked_sub(*right)),
            Binary::Multiply => Some(left.checked_mul(*right)),
            _ => None,
        };
        if let Some(whole) = whole {
            return whole.map(Datum::Int);
        }
    }
    let (left, right) = (left.number()?.as_float(), right.number()?.as_float());
    Some(Datum::Float(match operator {
        Binary::Add => left + right,
        Binary::Subtract => left - right,
        Binary::Multiply => left * right,
        Binary::Divide => left / right,
        Binary::Power => number::pow(left, right),
        _ => return None,
    }))
}

/// The type of a sum or difference of times and durations.
fn clock_result(operator: Binary, left: &Type, right: &Type) -> Option<Type> {
    match (operator, left, right) {
        (Binary::Subtract, Type::Time, Type::Time)
        | (Binary::Add | Binary::Subtract, Type::Duration, Type::Duration) => Some(Type::Duration),
        (Binary::Add | Binary::Subtract, Type::Time, Type::Duration)
        | (Binary::Add, Type::Duration, Type::Time) => Some(Type::Time),
        _ => None,
    }
}

fn integer_hint(left: &Checked, right: &Checked) -> &'static str {
    if left.kind.is_number() && right.kind.is_number() {
        "; write `int(…)` around what is not an integer"
    } else {
        ""
    }
}

fn element_declared(array: &Type) -> Declared {
    if *array == Type::Range {
        Declared::Int
    } else {
        Declared::Any
    }
}

/// What to write instead of a function that other languages have.
fn foreign(name: &str) -> Option<&'static str> {
    Some(match name {
        "sqrt" => "write `… ** 0.5`",
        "pow" | "power" | "exp" => "write `… ** …`",
        "avg" | "average" => "write `mean([…])`",
        "ceiling" => "write `ceil(…)`",
        "trunc" => "write `int(…)`",
        "clamp" => "write `max(low, min(high, …))`",
        "if" | "iif" => "write `condition ? then : otherwise`",
        "coalesce" | "default" | "ifnull" => "write `… ?? …`",
        _ => return None,
    })
}

/// A method's name, what it is, what it takes and gives.
type Signature = (&'static str, Method, Option<Type>, Type, Declared);

/// What has methods, and these as the reference writes them: `After(time)`.
pub(super) fn methods_of_times() -> Vec<(&'static str, Vec<String>)> {
    [Type::Time, Type::Duration, Type::Weekday, Type::Month]
        .iter()
        .map(|receiver| {
            let methods = methods(receiver).into_iter().map(|(name, _, takes, ..)| {
                let takes = takes.as_ref().map_or("", |takes| {
                    let described = takes.describe();
                    described.strip_prefix("a ").unwrap_or(described)
                });
                format!("{name}({takes})")
            });
            (receiver.describe(), methods.collect())
        })
        .collect()
}

/// The methods of a type.
fn methods(receiver: &Type) -> Vec<Signature> {
    let whole = |name, method| (name, method, None, Type::Int, Declared::Int);
    let long = |name, method| (name, method, None, Type::Int, Declared::Int64);
    let float = |name, method| (name, method, None, Type::Float, Declared::Float);
    let other = |name, method, takes, gives| (name, method, takes, gives, Declared::Other);
    match receiver {
        Type::Time => vec![
            whole("Year", Method::Year),
            other("Month", Method::Month, None, Type::Month),
            whole("Day", Method::Day),
            whole("Hour", Method::Hour),
            whole("Minute", Method::Minute),
            whole("Second", Method::Second),
            whole("Nanosecond", Method::Nanosecond),
            other("Weekday", Method::Weekday, None, Type::Weekday),
            whole("YearDay", Method::YearDay),
            long("Unix", Method::Unix),
            long("UnixMilli", Method::UnixMilli),
            long("UnixMicro", Method::UnixMicro),
            long("UnixNano", Method::UnixNano),
            other("UTC", Method::Utc, None, Type::Time),
            other("In", Method::In, Some(Type::Zone), Type::Time),
            other("Add", Method::Add, Some(Type::Duration), Type::Time),
            other("Sub", Method::Sub, Some(Type::Time), Type::Duration),
            other("After", Method::After, Some(Type::Time), Type::Bool),
            other("Before", Method::Before, Some(Type::Time), Type::Bool),
            other("Equal", Method::Equal, Some(Type::Time), Type::Bool),
        ],
        Type::Duration => vec![
            float("Hours", Method::Hours),
            float("Minutes", Method::Minutes),
            float("Seconds", Method::Seconds),
            long("Milliseconds", Method::Milliseconds),
            long("Microseconds", Method::Microseconds),
            long("Nanoseconds", Method::Nanoseconds),
        ],
        Type::Weekday | Type::Month => vec![other("String", Method::Name, None, Type::Text)],
        _ => Vec::new(),
    }
}

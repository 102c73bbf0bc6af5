//! Random expressions of the supported grammar against two other evaluators: one written here, on the tree that the text was
//! made from and in no way related to the code under test, and the crate expr-lang where it agrees with upstream, which is
//! on floats. And arbitrary text against nothing but the demand not to panic.

use std::{cell::Cell, fmt::Write as _};

use proptest::prelude::*;

use super::{
    super::{EvalError, Expression, Names, Values},
    now,
};

const METRICS: [&str; 4] = ["q", "r", "s", "m"];

#[derive(Debug, Clone)]
enum Tree {
    Metric(usize),
    Int(i64),
    Float(f64),
    Negate(Box<Self>),
    Binary(char, Box<Self>, Box<Self>),
    Square(Box<Self>),
    Call(&'static str, Vec<Self>),
    Aggregate(&'static str, Vec<Self>),
    Element(Vec<Self>, i64),
    Remainder(Box<Self>, Box<Self>),
    If(Box<Test>, Box<Self>, Box<Self>),
    Coalesce(Box<Self>, Box<Self>),
    Let(Box<Self>, Box<Self>),
}

#[derive(Debug, Clone)]
enum Test {
    Compare(&'static str, Box<Tree>, Box<Tree>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    In(Box<Tree>, Vec<Tree>),
    NotIn(usize, Vec<Tree>),
    Within(usize, i64, i64),
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Int(i64),
    Float(f64),
    Nil,
}

type Outcome = Result<Number, ()>;

impl Number {
    fn float(self) -> Result<f64, ()> {
        match self {
            Self::Int(value) => Ok(value as f64),
            Self::Float(value) => Ok(value),
            Self::Nil => Err(()),
        }
    }
}

/// The plain meaning of a tree.
#[expect(clippy::manual_midpoint, reason = "upstream's sum may overflow")]
fn naive(tree: &Tree, metrics: &[Option<f64>], variable: Option<Number>) -> Outcome {
    let value = |tree: &Tree| naive(tree, metrics, variable);
    let float = |tree: &Tree| value(tree)?.float();
    match tree {
        // The innermost variable stands for the last metric inside its `let`.
        Tree::Metric(3) if variable.is_some() => variable.ok_or(()),
        Tree::Metric(metric) => Ok(metrics[*metric].map_or(Number::Nil, Number::Float)),
        Tree::Int(value) => Ok(Number::Int(*value)),
        Tree::Float(value) => Ok(Number::Float(*value)),
        Tree::Negate(operand) => match value(operand)? {
            Number::Int(value) => value.checked_neg().map(Number::Int).ok_or(()),
            other => Ok(Number::Float(-other.float()?)),
        },
        Tree::Binary(operator, left, right) => {
            let (left, right) = (value(left)?, value(right)?);
            if let (Number::Int(left), Number::Int(right)) = (left, right) {
                match operator {
                    '+' => return left.checked_add(right).map(Number::Int).ok_or(()),
                    '-' => return left.checked_sub(right).map(Number::Int).ok_or(()),
                    '*' => return left.checked_mul(right).map(Number::Int).ok_or(()),
                    _ => {}
                }
            }
            let (left, right) = (left.float()?, right.float()?);
            Ok(Number::Float(match operator {
                '+' => left + right,
                '-' => left - right,
                '*' => left * right,
                _ => left / right,
            }))
        }
        Tree::Square(operand) => {
            let value = float(operand)?;
            Ok(Number::Float(value * value))
        }
        Tree::Call(name, arguments) => {
            let first = value(&arguments[0])?;
            match (*name, first) {
                (_, Number::Nil) => Err(()),
                ("abs", Number::Int(value)) => value.checked_abs().map(Number::Int).ok_or(()),
                ("abs", other) => Ok(Number::Float(other.float()?.abs())),
                ("int", Number::Int(value)) => Ok(Number::Int(value)),
                #[expect(clippy::cast_possible_truncation, reason = "checked")]
                ("int", other) => match other.float()?.trunc() {
                    whole if whole.abs() < 9.2e18 => Ok(Number::Int(whole as i64)),
                    _ => Err(()),
                },
                ("float", other) => Ok(Number::Float(other.float()?)),
                ("ceil", other) => Ok(Number::Float(other.float()?.ceil())),
                ("floor", other) => Ok(Number::Float(other.float()?.floor())),
                ("round", other) => Ok(Number::Float(other.float()?.round())),
                (_, mut kept) => {
                    for argument in &arguments[1..] {
                        let next = value(argument)?;
                        let beyond = match (kept, next) {
                            (Number::Int(kept), Number::Int(next)) if *name == "max" => next > kept,
                            (Number::Int(kept), Number::Int(next)) => next < kept,
                            _ if *name == "max" => kept.float()? < next.float()?,
                            _ => kept.float()? > next.float()?,
                        };
                        kept = if beyond { next } else { kept };
                        next.float()?;
                    }
                    Ok(kept)
                }
            }
        }
        Tree::Aggregate(name, elements) => {
            let values = elements.iter().map(value).collect::<Result<Vec<_>, _>>()?;
            if *name == "len" {
                return Ok(Number::Int(i64::try_from(values.len()).map_err(|_| ())?));
            }
            let mut floats = values
                .iter()
                .map(|value| value.float())
                .collect::<Result<Vec<_>, _>>()?;
            match *name {
                "sum" => {
                    let mut total = Number::Int(0);
                    for value in values {
                        total = match (total, value) {
                            (Number::Int(left), Number::Int(right)) => {
                                Number::Int(left.checked_add(right).ok_or(())?)
                            }
                            (left, right) => Number::Float(left.float()? + right.float()?),
                        };
                    }
                    Ok(total)
                }
                "mean" => Ok(Number::Float(
                    floats.iter().fold(0.0, |sum, value| sum + value) / floats.len() as f64,
                )),
                _ => {
                    floats.sort_by(f64::total_cmp);
                    let middle = floats.len() / 2;
                    Ok(Number::Float(if floats.len() % 2 == 1 {
                        floats[middle]
                    } else {
                        (floats[middle - 1] + floats[middle]) / 2.0
                    }))
                }
            }
        }
        Tree::Element(elements, index) => {
            let values = elements.iter().map(value).collect::<Result<Vec<_>, _>>()?;
            let length = i64::try_from(values.len()).map_err(|_| ())?;
            let at = if *index < 0 { length + index } else { *index };
            usize::try_from(at)
                .ok()
                .and_then(|at| values.get(at).copied())
                .ok_or(())
        }
        Tree::Remainder(left, right) => {
            let whole = |tree: &Tree| match naive(
                &Tree::Call("int", vec![tree.clone()]),
                metrics,
                variable,
            )? {
                Number::Int(value) => Ok(value),
                _ => Err(()),
            };
            whole(left)?
                .checked_rem(whole(right)?)
                .map(Number::Int)
                .ok_or(())
        }
        Tree::If(test, then, otherwise) => value(if holds(test, metrics, variable)? {
            then
        } else {
            otherwise
        }),
        Tree::Coalesce(left, right) => match value(left)? {
            Number::Nil => value(right),
            present => Ok(present),
        },
        Tree::Let(bound, body) => {
            let bound = value(bound)?;
            naive(body, metrics, Some(bound))
        }
    }
}

#[expect(clippy::float_cmp, reason = "the language compares floats exactly")]
fn holds(test: &Test, metrics: &[Option<f64>], variable: Option<Number>) -> Result<bool, ()> {
    let value = |tree: &Tree| naive(tree, metrics, variable);
    let equal = |left: Number, right: Number| match (left, right) {
        (Number::Int(left), Number::Int(right)) => Ok(left == right),
        _ => Ok(left.float()? == right.float()?),
    };
    let found = |needle: &Tree, elements: &[Tree]| {
        let needle = value(needle)?;
        needle.float()?;
        let elements = elements.iter().map(value).collect::<Result<Vec<_>, _>>()?;
        for element in elements {
            if equal(needle, element)? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    match test {
        Test::Compare(sign, left, right) => {
            let (left, right) = (value(left)?, value(right)?);
            if let (Number::Int(left), Number::Int(right)) = (left, right) {
                return Ok(match *sign {
                    "<" => left < right,
                    ">" => left > right,
                    "<=" => left <= right,
                    ">=" => left >= right,
                    "==" => left == right,
                    _ => left != right,
                });
            }
            let (left, right) = (left.float()?, right.float()?);
            Ok(match *sign {
                "<" => left < right,
                ">" => left > right,
                "<=" => left <= right,
                ">=" => left >= right,
                "==" => left == right,
                _ => left != right,
            })
        }
        Test::And(left, right) => decide(left, right, false, metrics, variable),
        Test::Or(left, right) => decide(left, right, true, metrics, variable),
        Test::Not(operand) => Ok(!holds(operand, metrics, variable)?),
        Test::In(needle, elements) => found(needle, elements),
        Test::NotIn(metric, elements) => Ok(!found(&Tree::Metric(*metric), elements)?),
        Test::Within(metric, from, to) => {
            let value = value(&Tree::Metric(*metric))?.float()?;
            Ok(value.trunc() == value && value >= *from as f64 && value <= *to as f64)
        }
    }
}

/// Text with no more parentheses than the precedence asks for.
struct Writer {
    text: String,
    /// How many variables are in scope; inside a `let` the last metric is written as the innermost one.
    variables: usize,
}

impl Writer {
    fn wrapped(&mut self, own: u16, minimum: u16, write: impl FnOnce(&mut Self)) {
        let parenthesized = own < minimum;
        self.text.push_str(if parenthesized { "(" } else { "" });
        write(self);
        self.text.push_str(if parenthesized { ")" } else { "" });
    }

    fn list(&mut self, trees: &[Tree]) {
        for (index, tree) in trees.iter().enumerate() {
            self.text.push_str(if index > 0 { ", " } else { "" });
            self.tree(tree, 0);
        }
    }

    fn tree(&mut self, tree: &Tree, minimum: u16) {
        match tree {
            Tree::Metric(3) if self.variables > 0 => {
                let _ = write!(self.text, "x{}", self.variables);
            }
            Tree::Metric(metric) => self.text.push_str(METRICS[*metric]),
            Tree::Int(value) => {
                let _ = write!(self.text, "{value}");
            }
            Tree::Float(value) => {
                let _ = write!(self.text, "{value:?}");
            }
            Tree::Negate(operand) => self.wrapped(90, minimum, |writer| {
                writer.text.push('-');
                writer.tree(operand, 91);
            }),
            Tree::Binary(operator, left, right) => {
                let own = if matches!(operator, '+' | '-') {
                    30
                } else {
                    60
                };
                self.wrapped(own, minimum, |writer| {
                    writer.tree(left, own);
                    let _ = write!(writer.text, " {operator} ");
                    writer.tree(right, own + 1);
                });
            }
            Tree::Square(operand) => self.wrapped(100, minimum, |writer| {
                writer.tree(operand, 101);
                writer.text.push_str("**2");
            }),
            Tree::Call(name, arguments) => {
                let _ = write!(self.text, "{name}(");
                self.list(arguments);
                self.text.push(')');
            }
            Tree::Aggregate(name, elements) => {
                let _ = write!(self.text, "{name}([");
                self.list(elements);
                self.text.push_str("])");
            }
            Tree::Element(elements, index) => {
                self.text.push('[');
                self.list(elements);
                let _ = write!(self.text, "][{index}]");
            }
            Tree::Remainder(left, right) => self.wrapped(60, minimum, |writer| {
                writer.text.push_str("int(");
                writer.tree(left, 0);
                writer.text.push_str(") % int(");
                writer.tree(right, 0);
                writer.text.push(')');
            }),
            Tree::If(test, then, otherwise) => self.wrapped(0, minimum, |writer| {
                writer.test(test, 1);
                writer.text.push_str(" ? ");
                writer.tree(then, 0);
                writer.text.push_str(" : ");
                writer.tree(otherwise, 0);
            }),
            // Binds tightest, but nothing may follow it without parentheses.
            Tree::Coalesce(left, right) => self.wrapped(1, minimum, |writer| {
                writer.tree(left, 501);
                writer.text.push_str(" ?? ");
                writer.tree(right, 501);
            }),
            Tree::Let(bound, body) => self.wrapped(0, minimum.max(1), |writer| {
                let _ = write!(writer.text, "let x{} = ", writer.variables + 1);
                writer.tree(bound, 0);
                writer.text.push_str("; ");
                writer.variables += 1;
                writer.tree(body, 0);
                writer.variables -= 1;
            }),
        }
    }

    fn test(&mut self, test: &Test, minimum: u16) {
        match test {
            Test::Compare(sign, left, right) => self.wrapped(20, minimum, |writer| {
                writer.tree(left, 20);
                let _ = write!(writer.text, " {sign} ");
                writer.tree(right, 21);
            }),
            Test::And(left, right) => self.wrapped(15, minimum, |writer| {
                writer.test(left, 15);
                writer.text.push_str(" and ");
                writer.test(right, 16);
            }),
            Test::Or(left, right) => self.wrapped(10, minimum, |writer| {
                writer.test(left, 10);
                writer.text.push_str(" || ");
                writer.test(right, 11);
            }),
            Test::Not(operand) => self.wrapped(50, minimum, |writer| {
                writer.text.push_str("not ");
                writer.test(operand, 51);
            }),
            Test::In(needle, elements) => self.wrapped(20, minimum, |writer| {
                writer.tree(needle, 21);
                writer.text.push_str(" in [");
                writer.list(elements);
                writer.text.push(']');
            }),
            Test::NotIn(metric, elements) => self.wrapped(20, minimum, |writer| {
                writer.tree(&Tree::Metric(*metric), 1000);
                writer.text.push_str(" not in [");
                writer.list(elements);
                writer.text.push(']');
            }),
            Test::Within(metric, from, to) => self.wrapped(20, minimum, |writer| {
                writer.tree(&Tree::Metric(*metric), 1000);
                let _ = write!(writer.text, " in {from}..{to}");
            }),
        }
    }
}

fn written(tree: &Tree) -> String {
    let mut writer = Writer {
        text: String::new(),
        variables: 0,
    };
    writer.tree(tree, 0);
    writer.text
}

fn boxed(tree: impl Strategy<Value = Tree> + 'static) -> BoxedStrategy<Box<Tree>> {
    tree.prop_map(Box::new).boxed()
}

fn tests(tree: &BoxedStrategy<Tree>) -> BoxedStrategy<Test> {
    let sign = prop::sample::select(&["<", ">", "<=", ">=", "==", "!="][..]);
    let leaf = prop_oneof![
        4 => (sign, boxed(tree.clone()), boxed(tree.clone())).prop_map(|(sign, a, b)| Test::Compare(sign, a, b)),
        1 => (boxed(tree.clone()), prop::collection::vec(tree.clone(), 1..4)).prop_map(|(a, b)| Test::In(a, b)),
        1 => (0..3_usize, prop::collection::vec(tree.clone(), 1..4)).prop_map(|(a, b)| Test::NotIn(a, b)),
        1 => (0..3_usize, -5..5_i64, -5..20_i64).prop_map(|(metric, from, to)| Test::Within(metric, from, to)),
    ];
    leaf.prop_recursive(2, 6, 2, |test| {
        let test = test.prop_map(Box::new).boxed();
        prop_oneof![
            (test.clone(), test.clone()).prop_map(|(a, b)| Test::And(a, b)),
            (test.clone(), test.clone()).prop_map(|(a, b)| Test::Or(a, b)),
            test.prop_map(Test::Not),
        ]
    })
    .boxed()
}

/// Trees of everything above; with `floats` only what expr-lang computes as upstream does.
fn trees(floats: bool) -> BoxedStrategy<Tree> {
    let float =
        prop::sample::select(&[0.5, 1.5, 2.0, 3.25, 10.0, 0.1, 1e10][..]).prop_map(Tree::Float);
    let leaf = if floats {
        prop_oneof![3 => (0..3_usize).prop_map(Tree::Metric), 2 => float].boxed()
    } else {
        prop_oneof![4 => (0..4_usize).prop_map(Tree::Metric), 2 => float, 3 => (0..12_i64).prop_map(Tree::Int)].boxed()
    };
    leaf.prop_recursive(4, 24, 3, move |tree| {
        let tree = tree.boxed();
        let operator = prop::sample::select(&['+', '-', '*', '/'][..]);
        let common = prop_oneof![
            6 => (operator, boxed(tree.clone()), boxed(tree.clone())).prop_map(|(op, a, b)| Tree::Binary(op, a, b)),
            1 => boxed(tree.clone()).prop_map(Tree::Negate),
            2 => (prop::sample::select(&["abs", "ceil", "floor", "round"][..]), tree.clone())
                .prop_map(|(name, argument)| Tree::Call(name, vec![argument])),
            2 => (prop::sample::select(&["max", "min"][..]), prop::collection::vec(tree.clone(), 2..4))
                .prop_map(|(name, arguments)| Tree::Call(name, arguments)),
            2 => (tests(&tree), boxed(tree.clone()), boxed(tree.clone()))
                .prop_map(|(test, a, b)| Tree::If(Box::new(test), a, b)),
        ]
        .boxed();
        if floats {
            return common;
        }
        prop_oneof![
            12 => common,
            1 => boxed(tree.clone()).prop_map(Tree::Square),
            1 => (prop::sample::select(&["int", "float"][..]), tree.clone())
                .prop_map(|(name, argument)| Tree::Call(name, vec![argument])),
            1 => (boxed(tree.clone()), boxed(tree.clone())).prop_map(|(a, b)| Tree::Remainder(a, b)),
            1 => (prop::sample::select(&["sum", "mean", "median", "len"][..]), prop::collection::vec(tree.clone(), 1..4))
                .prop_map(|(name, elements)| Tree::Aggregate(name, elements)),
            1 => (prop::collection::vec(tree.clone(), 1..4), -4..4_i64).prop_map(|(a, b)| Tree::Element(a, b)),
            2 => (boxed(tree.clone()), boxed(tree.clone())).prop_map(|(a, b)| Tree::Coalesce(a, b)),
            1 => (boxed(tree.clone()), boxed(tree)).prop_map(|(a, b)| Tree::Let(a, b)),
        ]
        .boxed()
    })
    .boxed()
}

fn metric() -> impl Strategy<Value = f64> {
    prop::sample::select(&[1.0, 2.0, 2.5, 3.0, 7.0, -1.0, -2.5, 0.1, 42.0, 1e9][..])
}

/// `None` where the expression is refused for the one reason that a well-typed one can be.
fn ours(source: &str, metrics: &[Option<f64>]) -> Option<Result<f64, EvalError>> {
    let names = Names::new(METRICS);
    let expression = match Expression::compile(source, &names) {
        Ok(expression) => expression,
        Err(error) if error.message().starts_with("`0.0` and `-0.0`") => return None,
        Err(error) => panic!("{error}"),
    };
    let mut values = Values::new(&names);
    for (name, value) in METRICS.iter().zip(metrics) {
        values.set(name, *value);
    }
    Some(expression.evaluate(&values, now()))
}

fn same(ours: &Result<f64, EvalError>, other: Result<f64, ()>) -> bool {
    match (ours, other) {
        (Err(EvalError::Nan), Ok(value)) => value.is_nan(),
        (Err(EvalError::Infinite), Ok(value)) => value.is_infinite(),
        (Err(EvalError::OutOfRange(_)), Ok(value)) => value >= 9.2e18,
        (Ok(ours), Ok(value)) => {
            ours.to_bits() == value.to_bits() || (*ours == 0.0 && value == 0.0)
        }
        (Err(EvalError::Missing(_) | EvalError::Run(_)), Err(())) => true,
        _ => false,
    }
}

thread_local! {
    /// Whether a right side may decide although the left side fails: Expr folds `x and false` into `false`, so that a
    /// constant right side is decisive there, and which sides are constant is not this evaluator's to know.
    static EITHER_SIDE_DECIDES: Cell<bool> = const { Cell::new(false) };
}

/// `and` (decided by false) or `or` (decided by true).
fn decide(
    left: &Test,
    right: &Test,
    decisive: bool,
    metrics: &[Option<f64>],
    variable: Option<Number>,
) -> Result<bool, ()> {
    match holds(left, metrics, variable) {
        Ok(value) if value == decisive => Ok(decisive),
        Ok(_) => holds(right, metrics, variable),
        Err(()) if EITHER_SIDE_DECIDES.get() => holds(right, metrics, variable)
            .ok()
            .filter(|value| *value == decisive)
            .ok_or(()),
        Err(()) => Err(()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_expressions_mean_what_their_tree_means(
        tree in trees(false),
        present in [metric(), metric(), metric()],
        last in prop::option::of(metric()),
    ) {
        let metrics = [Some(present[0]), Some(present[1]), Some(present[2]), last];
        let source = written(&tree);
        let expected = naive(&tree, &metrics, None).and_then(Number::float);
        if let Some(got) = ours(&source, &metrics) {
            let folded = || {
                EITHER_SIDE_DECIDES.set(true);
                let expected = naive(&tree, &metrics, None).and_then(Number::float);
                EITHER_SIDE_DECIDES.set(false);
                expected
            };
            prop_assert!(
                same(&got, expected) || (expected.is_err() && same(&got, folded())),
                "{source} on {metrics:?}: {got:?}, expected {expected:?}"
            );
        }
    }

    #[test]
    fn on_floats_the_crate_expr_lang_agrees(tree in trees(true), present in [metric(), metric(), metric()]) {
        let source = written(&tree);
        let mut context = expr::Context::default();
        for (name, value) in METRICS.iter().zip(present) {
            context.insert(*name, value);
        }
        let theirs = match expr::eval(&source, &context) {
            Ok(expr::Value::Float(value)) => value,
            Ok(expr::Value::Integer(value)) => value as f64,
            other => return Err(TestCaseError::fail(format!("{source}: expr-lang gives {other:?}"))),
        };
        if let Some(got) = ours(&source, &present.map(Some)) {
            prop_assert!(same(&got, Ok(theirs)), "{source} on {present:?}: {got:?}, expr-lang has {theirs:?}");
        }
    }

    #[test]
    fn no_text_makes_it_panic(source in ".{0,60}") {
        compile_and_evaluate(&source);
    }

    #[test]
    fn no_tokens_make_it_panic(tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..14), tight: bool) {
        compile_and_evaluate(&tokens.join(if tight { "" } else { " " }));
    }
}

const TOKENS: &[&str] = &[
    "q",
    "m",
    "1",
    "2.5",
    ".5",
    "0x1F",
    "9223372036854775807",
    "'3'",
    "true",
    "nil",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    "?",
    ":",
    "??",
    "?.",
    "|",
    "||",
    "and",
    "or",
    "not",
    "!",
    "in",
    "==",
    "!=",
    "<",
    ">=",
    "..",
    "+",
    "-",
    "*",
    "/",
    "%",
    "**",
    "::",
    ".",
    "let",
    "x",
    "=",
    "max(",
    "min(",
    "int(",
    "sum(",
    "first(",
    "len(",
    "now()",
    ".Hour()",
    ".Weekday()",
    "duration('1h')",
    "date('2024-01-02')",
    "1..5",
    "[1, q]",
    "#",
    "/*",
    "//",
    "é",
    "\t",
    "\n",
    "'",
    "`",
    "\\",
];

fn compile_and_evaluate(source: &str) {
    let names = Names::new(METRICS);
    match Expression::compile(source, &names) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(expression) => {
            for value in [
                None,
                Some(0.0),
                Some(-2.5),
                Some(f64::NAN),
                Some(f64::INFINITY),
                Some(1e300),
            ] {
                let mut values = Values::new(&names);
                values.set("q", value);
                if let Ok(result) = expression.evaluate(&values, now()) {
                    assert!(result.is_finite() && result < 9_223_372_036_854_775_808.0);
                }
            }
        }
    }
}

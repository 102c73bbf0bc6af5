//! What an expression can come to, whatever its metrics are: read from the syntax tree, without a value.
//!
//! Sound, and no more: a bound that is given holds for every evaluation that has a value, and one that cannot be told is
//! infinite. Metrics may be any number; the built-in counts are not negative. What is said of a range is what `never`
//! needs; whether something can happen is better tried with values.

use super::{
    Expression, Names, parser,
    syntax::{Binary, Syntax, SyntaxKind, Unary},
};

/// What an expression can come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// It is never less; negative infinity where that cannot be told.
    pub least: f64,
    /// It is never more; infinity where that cannot be told.
    pub most: f64,
    /// Whether it may have no value because a metric has none.
    pub may_lack: bool,
    /// Whether the result of a division goes into it that nothing makes a whole number, such as `ceil`.
    pub divides: bool,
}

impl Expression {
    /// What it can come to. `is_metric` tells a metric from a built-in count of the same name.
    #[must_use]
    pub fn outlook(&self, is_metric: impl Fn(&str) -> bool) -> Outlook {
        match parser::parse(self.source(), &self.0.names) {
            Ok(syntax) => {
                let mut reader = Reader {
                    is_metric: &is_metric,
                    locals: Vec::new(),
                };
                reader.read(&syntax).outlook
            }
            // It was compiled from this text.
            Err(_) => Part::unknown().outlook,
        }
    }
}

/// One part of an expression.
#[derive(Debug, Clone, Copy)]
struct Part {
    outlook: Outlook,
    /// Whether it depends on a metric, a count or the time.
    varies: bool,
}

impl Part {
    fn of(least: f64, most: f64) -> Self {
        Self {
            outlook: Outlook {
                least,
                most,
                may_lack: false,
                divides: false,
            },
            varies: false,
        }
    }

    fn unknown() -> Self {
        Self {
            varies: true,
            ..Self::of(f64::NEG_INFINITY, f64::INFINITY)
        }
    }

    /// This range with what else is true of `parts`.
    fn from(self, parts: &[Self]) -> Self {
        let any = |pick: fn(&Self) -> bool| parts.iter().any(pick);
        Self {
            outlook: Outlook {
                may_lack: any(|part| part.outlook.may_lack),
                divides: any(|part| part.outlook.divides),
                ..self.outlook
            },
            varies: any(|part| part.varies),
        }
    }

    /// Either of two.
    fn or(self, other: Self) -> Self {
        let (one, two) = (self.outlook, other.outlook);
        Self::of(one.least.min(two.least), one.most.max(two.most)).from(&[self, other])
    }

    /// What a function that never falls makes of it.
    fn through(self, monotone: fn(f64) -> f64) -> Self {
        let Outlook { least, most, .. } = self.outlook;
        Self::of(monotone(least), monotone(most)).from(&[self])
    }

    /// A whole number, so that no division shows in it.
    fn whole(mut self) -> Self {
        self.outlook.divides = false;
        self
    }
}

struct Reader<'names> {
    is_metric: &'names dyn Fn(&str) -> bool,
    /// What `let` has declared so far.
    locals: Vec<(String, Part)>,
}

impl Reader<'_> {
    fn read(&mut self, syntax: &Syntax) -> Part {
        match &syntax.kind {
            SyntaxKind::Int(value) => Part::of(*value as f64, *value as f64),
            SyntaxKind::Float(value) => Part::of(*value, *value),
            SyntaxKind::Nil | SyntaxKind::Bool(_) | SyntaxKind::Text(_) => Part {
                varies: false,
                ..Part::unknown()
            },
            SyntaxKind::Name(name) => self.name(name),
            SyntaxKind::Unary(sign, operand) => {
                let part = self.read(operand);
                let Outlook { least, most, .. } = part.outlook;
                match sign {
                    Unary::Minus => Part::of(-most, -least).from(&[part]),
                    Unary::Plus => part,
                    Unary::Not => Part::unknown().from(&[part]).whole(),
                }
            }
            SyntaxKind::Binary(operator, sides) => {
                let [left, right] = &**sides;
                let (left, right) = (self.read(left), self.read(right));
                binary(*operator, left, right)
            }
            SyntaxKind::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                let condition = self.read(condition).whole();
                let either = self.read(then).or(self.read(otherwise));
                either.from(&[either, condition])
            }
            SyntaxKind::Elvis(parts) => {
                let [condition, otherwise] = &**parts;
                self.read(condition).or(self.read(otherwise))
            }
            SyntaxKind::Array(elements) => {
                let parts: Vec<Part> = elements.iter().map(|one| self.read(one)).collect();
                hull(&parts).from(&parts)
            }
            SyntaxKind::Index(parts) => {
                let [base, index] = &**parts;
                let (base, index) = (self.read(base), self.read(index).whole());
                base.from(&[base, index])
            }
            SyntaxKind::Slice(parts) => {
                let (base, from, to) = &**parts;
                let base = self.read(base);
                let bounds = [from, to].into_iter().flatten();
                bounds.fold(base, |base, bound| {
                    base.from(&[base, self.read(bound).whole()])
                })
            }
            SyntaxKind::Call { name, arguments } => self.call(name, arguments),
            SyntaxKind::Method {
                receiver,
                arguments,
                ..
            } => {
                let mut parts = vec![self.read(receiver)];
                parts.extend(arguments.iter().map(|one| self.read(one)));
                Part {
                    varies: true,
                    ..Part::unknown().from(&parts).whole()
                }
            }
            SyntaxKind::Property { receiver, .. } => {
                Part::unknown().from(&[self.read(receiver)]).whole()
            }
            SyntaxKind::Let { name, value, body } => {
                let value = self.read(value);
                self.locals.push((name.clone(), value));
                let body = self.read(body);
                self.locals.pop();
                body
            }
        }
    }

    fn name(&self, name: &str) -> Part {
        if let Some((_, part)) = self.locals.iter().rev().find(|(local, _)| local == name) {
            return *part;
        }
        if !(self.is_metric)(name) && Names::COUNTS.contains(&name) {
            return Part {
                varies: true,
                ..Part::of(0.0, f64::from(u32::MAX))
            };
        }
        let mut part = Part::unknown();
        part.outlook.may_lack = true;
        part
    }

    fn call(&mut self, name: &str, arguments: &[Syntax]) -> Part {
        let parts: Vec<Part> = arguments.iter().map(|one| self.read(one)).collect();
        let all = |pick: fn(&Outlook) -> f64, choose: fn(f64, f64) -> f64| {
            parts.iter().map(|part| pick(&part.outlook)).reduce(choose)
        };
        let least = |choose| all(|one| one.least, choose).unwrap_or(f64::NEG_INFINITY);
        let most = |choose| all(|one| one.most, choose).unwrap_or(f64::INFINITY);
        match (name, &parts[..]) {
            ("min", _) => Part::of(least(f64::min), most(f64::min)).from(&parts),
            ("max", _) => Part::of(least(f64::max), most(f64::max)).from(&parts),
            ("mean" | "median" | "first" | "last", _) => hull(&parts).from(&parts),
            ("ceil", [part]) => part.through(f64::ceil).whole(),
            ("floor", [part]) => part.through(f64::floor).whole(),
            ("round", [part]) => part.through(f64::round).whole(),
            ("int", [part]) => part.through(f64::trunc).whole(),
            ("float", [part]) => *part,
            ("abs", [part]) => {
                let Outlook { least, most, .. } = part.outlook;
                let nearest = if least <= 0.0 && most >= 0.0 {
                    0.0
                } else {
                    least.abs().min(most.abs())
                };
                Part::of(nearest, least.abs().max(most.abs())).from(&parts)
            }
            ("len", _) => Part::of(0.0, f64::INFINITY).from(&parts).whole(),
            ("sum", _) => Part::unknown().from(&parts),
            ("now" | "date", _) => Part {
                varies: true,
                ..Part::unknown().from(&parts).whole()
            },
            _ => Part::unknown().from(&parts).whole(),
        }
    }
}

/// Any of them.
fn hull(parts: &[Part]) -> Part {
    let either = parts.iter().copied().reduce(Part::or);
    either.unwrap_or_else(Part::unknown)
}

fn binary(operator: Binary, left: Part, right: Part) -> Part {
    let both = [left, right];
    let (one, two) = (left.outlook, right.outlook);
    match operator {
        Binary::Add => Part::of(
            sum(one.least, two.least, f64::NEG_INFINITY),
            sum(one.most, two.most, f64::INFINITY),
        )
        .from(&both),
        Binary::Subtract => Part::of(
            sum(one.least, -two.most, f64::NEG_INFINITY),
            sum(one.most, -two.least, f64::INFINITY),
        )
        .from(&both),
        Binary::Multiply => corners(one, two, product).from(&both),
        Binary::Divide => {
            let is_safe = two.least > 0.0 || two.most < 0.0;
            let range = if is_safe {
                corners(one, two, quotient)
            } else {
                Part::unknown()
            };
            let mut part = range.from(&both);
            // Of two constants it is a constant, which the user can work out as well.
            part.outlook.divides |= left.varies || right.varies;
            part
        }
        Binary::Coalesce => {
            let mut part = left.or(right);
            part.outlook.may_lack = two.may_lack;
            part
        }
        Binary::Remainder if two.most - two.least == 0.0 => {
            let limit = two.least.abs();
            let least = if one.least >= 0.0 { 0.0 } else { -limit };
            Part::of(least, limit).from(&both)
        }
        Binary::Remainder | Binary::Power => Part::unknown().from(&both),
        Binary::Or
        | Binary::And
        | Binary::Equal
        | Binary::NotEqual
        | Binary::Less
        | Binary::Greater
        | Binary::LessOrEqual
        | Binary::GreaterOrEqual
        | Binary::In
        | Binary::Range => Part::unknown().from(&both).whole(),
    }
}

/// A sum; `unknown` where infinities cancel each other.
fn sum(one: f64, two: f64, unknown: f64) -> f64 {
    let sum = one + two;
    if sum.is_nan() { unknown } else { sum }
}

/// The range of an operation whose extremes are at the ends of its operands'.
fn corners(one: Outlook, two: Outlook, operation: fn(f64, f64) -> f64) -> Part {
    let corners = [
        operation(one.least, two.least),
        operation(one.least, two.most),
        operation(one.most, two.least),
        operation(one.most, two.most),
    ];
    Part::of(
        corners.into_iter().fold(f64::INFINITY, f64::min),
        corners.into_iter().fold(f64::NEG_INFINITY, f64::max),
    )
}

/// A product of ends of ranges: an infinite end stands for numbers of any size, all finite, so that 0 makes 0 of it.
fn product(one: f64, two: f64) -> f64 {
    if one == 0.0 || two == 0.0 {
        0.0
    } else {
        one * two
    }
}

/// A quotient of ends of ranges; the divisor's is not 0.
fn quotient(one: f64, two: f64) -> f64 {
    if one == 0.0 || two.is_infinite() {
        0.0
    } else {
        one / two
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::expr::Values;

    const ANY: f64 = f64::INFINITY;

    fn outlook(text: &str) -> Outlook {
        let names = Names::new(["q", "w"]);
        let expression = Expression::compile(text, &names).unwrap();
        expression.outlook(|name| ["q", "w"].contains(&name))
    }

    #[test]
    fn bounds_hold_and_are_found_where_people_write_them() {
        let cases: [(&str, f64, f64); 24] = [
            ("5", 5.0, 5.0),
            ("q", -ANY, ANY),
            ("created_machine_count", 0.0, 4_294_967_295.0),
            ("min(q + 1, 10)", -ANY, 10.0),
            ("max(2, min(20, ceil(q / 10)))", 2.0, 20.0),
            ("mean([2, min(q, 3)])", -ANY, 3.0),
            ("min(started_machine_count + 1, 10)", 1.0, 10.0),
            ("q > 100 ? 10 : 2", 2.0, 10.0),
            ("q > 100 ? 10 : q", -ANY, ANY),
            ("let big = q > 5; big ? 3 : 4", 3.0, 4.0),
            ("let x = min(q, 9); max(x, 1) * 2", 2.0, 18.0),
            ("-min(q, 4)", -4.0, ANY),
            ("min(q, 4) - 1", -ANY, 3.0),
            ("abs(q)", 0.0, ANY),
            ("abs(max(3, min(q, 5)))", 3.0, 5.0),
            ("max(0, q) / 10", 0.0, ANY),
            ("10 / max(2, q)", 0.0, 5.0),
            ("10 / q", -ANY, ANY),
            ("max(0, q) * 0", 0.0, 0.0),
            ("max(0, int(q)) % 5", 0.0, 5.0),
            ("min(q, 9) ?? 12", -ANY, 12.0),
            ("ceil(min(q, 9.5))", -ANY, 10.0),
            ("len([1, 2])", 0.0, ANY),
            ("now().Hour()", -ANY, ANY),
        ];
        for (text, least, most) in cases {
            let found = outlook(text);
            assert_eq!((found.least, found.most), (least, most), "{text}");
        }
    }

    #[test]
    fn a_division_counts_until_it_is_rounded() {
        let cases = [
            ("q / 10", true),
            ("max(2, q / 10)", true),
            ("min(20, (q + 5) / 10) + 1", true),
            ("ceil(q / 10)", false),
            ("round(q / 10) + floor(w / 2) + int(q / 3)", false),
            ("ceil(q) / 2", true),
            ("q / 10 > 3 ? 2 : 1", false),
            ("q > 3 ? q / 2 : 1", true),
            ("let x = q / 10; ceil(x)", false),
            ("let x = q / 10; x + 1", true),
            ("(q / 10) ?? 3", true),
            ("mean([q / 2, 1])", true),
            ("7 / 2", false),
            ("created_machine_count / 2", true),
            ("q * 0.1", false),
        ];
        for (text, expected) in cases {
            assert_eq!(outlook(text).divides, expected, "{text}");
        }
    }

    #[test]
    fn only_a_metric_that_nothing_stands_in_for_can_be_lacking() {
        let cases = [
            ("q", true),
            ("q ?? 3", false),
            ("(q ?? w) + 1", true),
            ("q ?? w ?? 3", false),
            ("max(q ?? 3, w)", true),
            ("started_machine_count + 1", false),
            ("now().Hour() > 8 ? 5 : 1", false),
            ("q > 3 ? 2 : 1", true),
            ("let x = q; x + 1", true),
            ("let x = q ?? 1; x + 1", false),
        ];
        for (text, expected) in cases {
            assert_eq!(outlook(text).may_lack, expected, "{text}");
        }
        // A metric of the name of a count may be anything, and may be lacking.
        let names = Names::new(["created_machine_count"]);
        let expression = Expression::compile("created_machine_count", &names).unwrap();
        let found = expression.outlook(|_| true);
        assert!(found.may_lack && found.least == f64::NEG_INFINITY);
    }

    /// Expressions as they are written, of every operator that a range is worked out for.
    fn text() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("q".to_owned()),
            Just("w".to_owned()),
            Just("created_machine_count".to_owned()),
            (-20_i32..20).prop_map(|number| format!("({number})")),
            (-20_i32..20).prop_map(|number| format!("({number}.5)")),
        ];
        leaf.prop_recursive(4, 24, 3, |inner| {
            let operator = prop::sample::select(vec!["+", "-", "*", "/", "??"]);
            let one = prop::sample::select(vec!["ceil", "floor", "round", "abs", "-"]);
            let two = prop::sample::select(vec!["min", "max"]);
            prop_oneof![
                (inner.clone(), operator, inner.clone())
                    .prop_map(|(left, sign, right)| format!("(({left}) {sign} ({right}))")),
                (one, inner.clone()).prop_map(|(name, part)| format!("{name}({part})")),
                (two, inner.clone(), inner.clone())
                    .prop_map(|(name, left, right)| format!("{name}({left}, {right})")),
                (inner.clone(), inner.clone())
                    .prop_map(|(left, right)| format!("mean([{left}, {right}])")),
                (inner.clone(), inner.clone(), inner.clone()).prop_map(
                    |(condition, then, otherwise)| {
                        format!("({condition} > 1 ? {then} : {otherwise})")
                    }
                ),
                (inner.clone(), inner)
                    .prop_map(|(value, body)| format!("(let x = {value}; max(x, {body}))")),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_value_is_outside_of_its_range(
            text in text(),
            values in prop::collection::vec(
                prop_oneof![Just(0.0), -1e6..1e6_f64, (-9_i32..9).prop_map(f64::from)], 3
            ),
        ) {
            let names = Names::new(["q", "w"]);
            let Ok(expression) = Expression::compile(&text, &names) else {
                return Ok(());
            };
            let outlook = expression.outlook(|name| name != "created_machine_count");
            let mut known = Values::new(&names);
            known.set("q", Some(values[0]));
            known.set("w", Some(values[1]));
            known.set("created_machine_count", Some(values[2].abs().round()));
            if let Ok(value) = expression.evaluate(&known, jiff::Timestamp::UNIX_EPOCH) {
                // Ends are worked out in floats, as the value is, but along another path.
                let slack = 1e-9 * value.abs().max(1.0);
                prop_assert!(
                    value >= outlook.least - slack && value <= outlook.most + slack,
                    "{text} = {value}, outside of {outlook:?}"
                );
            }
        }
    }
}

//! Runs a compiled expression on the values of one pass.
//!
//! Pure: the clock is an argument, and nothing is kept. It never panics and always ends: the depth of a program is bounded
//! by the parser, ranges hold two numbers whatever their length, and what arrays and ranges would take in memory upstream
//! is counted against upstream's budget.

use std::cell::{Cell, RefCell};

use evalexpr::{Context, EvalexprError, EvalexprResult, Node, Value};
use jiff::{Timestamp, tz::TimeZone};

use super::{
    EvalError, Values,
    code::{Clock, Code, Datum, Number, Program},
    functions::{self, Failure, Function},
    number,
    time::{self, Method},
};

/// The result of a program, before rounding: a finite number below 2^63.
pub(super) fn evaluate(
    program: &Program,
    values: &Values,
    now: Timestamp,
) -> Result<f64, EvalError> {
    let run = Run {
        program,
        values,
        now,
        locals: RefCell::new(vec![Datum::Nil(None); program.locals]),
        elements: Cell::new(0),
        failure: Cell::new(None),
    };
    let result = run.number(&program.root)?.as_float();
    if result.is_nan() {
        Err(EvalError::Nan)
    } else if result.is_infinite() {
        Err(EvalError::Infinite)
    } else if result >= number::TWO_63 {
        Err(EvalError::OutOfRange(result))
    } else {
        Ok(result)
    }
}

/// The array elements at which upstream stops an expression with `memory budget exceeded`.
const ELEMENT_BUDGET: i64 = 1_000_000;

struct Run<'p> {
    program: &'p Program,
    values: &'p Values,
    now: Timestamp,
    locals: RefCell<Vec<Datum>>,
    /// Array elements made so far.
    elements: Cell<i64>,
    /// Why one of our parts failed, while evalexpr hands its own error up through its tree.
    failure: Cell<Option<EvalError>>,
}

/// What an evalexpr tree sees: metrics by slot, our parts by number, and no function of evalexpr's own.
impl Context for Run<'_> {
    fn get_value(&self, identifier: &str) -> Option<&Value> {
        self.values.slot(identifier.parse().ok()?)
    }

    fn call_function(&self, identifier: &str, _argument: &Value) -> EvalexprResult<Value> {
        let part = identifier
            .parse()
            .ok()
            .and_then(|part: usize| self.program.parts.get(part));
        let Some(part) = part else {
            return Err(EvalexprError::FunctionIdentifierNotFound(
                identifier.to_owned(),
            ));
        };
        let result = self.value(part).and_then(|datum| match datum {
            Datum::Int(value) => Ok(Value::Int(value)),
            Datum::Float(value) => Ok(Value::Float(value)),
            Datum::Bool(value) => Ok(Value::Boolean(value)),
            Datum::Text(value) => Ok(Value::String(value.as_ref().to_owned())),
            other => Err(self.misplaced(&other)),
        });
        result.map_err(|failure| {
            self.failure.set(Some(failure));
            EvalexprError::CustomMessage(String::new())
        })
    }

    fn are_builtin_functions_disabled(&self) -> bool {
        true
    }

    fn set_builtin_functions_disabled(&mut self, disabled: bool) -> EvalexprResult<()> {
        if disabled {
            Ok(())
        } else {
            Err(EvalexprError::BuiltinFunctionsCannotBeEnabled)
        }
    }
}

impl Run<'_> {
    /// The value of a part. Each kind has a function of its own, so that a level of nesting takes little of the stack.
    fn value(&self, code: &Code) -> Result<Datum, EvalError> {
        match code {
            Code::Literal(datum) | Code::Constant(datum) => Ok(datum.clone()),
            Code::Metric(slot) => Ok(self.metric(*slot)),
            Code::Local(local) => Ok(self.local(*local)),
            Code::Engine(node) => self.engine(node),
            Code::Power(operands) => self.power(operands),
            Code::Equal(_)
            | Code::IsNil(_)
            | Code::Not(_)
            | Code::And(_)
            | Code::Or(_)
            | Code::In(_)
            | Code::Between(..) => self.truth(code).map(Datum::Bool),
            Code::If(parts) => self.choose(parts),
            Code::Coalesce(operands) => self.coalesce(operands),
            Code::Let(local, parts) => self.bind(*local, parts),
            Code::Array(elements) => self.array(elements),
            Code::Range(bounds) => self.range(bounds),
            Code::Index(parts) => self.index(parts),
            Code::Slice(parts) => self.slice(parts),
            Code::Call(function, arguments) => self.call(*function, arguments),
            Code::Method(method, operands) => self.method(*method, operands),
            Code::Clock(operator, operands) => self.clock(*operator, operands),
        }
    }

    fn metric(&self, slot: usize) -> Datum {
        match self.values.slot(slot) {
            Some(Value::Float(value)) => Datum::Float(*value),
            _ => Datum::Nil(Some(slot)),
        }
    }

    fn local(&self, local: usize) -> Datum {
        self.locals
            .borrow()
            .get(local)
            .cloned()
            .unwrap_or(Datum::Nil(None))
    }

    fn engine(&self, node: &Node) -> Result<Datum, EvalError> {
        match node.eval_with_context(self) {
            Ok(Value::Float(value)) => Ok(Datum::Float(value)),
            Ok(Value::Int(value)) => Ok(Datum::Int(value)),
            Ok(Value::Boolean(value)) => Ok(Datum::Bool(value)),
            Ok(_) => Err(EvalError::Run("an operator has no value".to_owned())),
            Err(error) => Err(self.engine_failure(&error)),
        }
    }

    fn power(&self, operands: &[Code; 2]) -> Result<Datum, EvalError> {
        let base = self.number(&operands[0])?.as_float();
        let exponent = self.number(&operands[1])?.as_float();
        Ok(Datum::Float(number::pow(base, exponent)))
    }

    /// The operators of ours that give a boolean.
    fn truth(&self, code: &Code) -> Result<bool, EvalError> {
        match code {
            Code::Equal(operands) => self.equal(operands),
            Code::IsNil(operand) => Ok(matches!(self.value(operand)?, Datum::Nil(_))),
            Code::Not(operand) => Ok(!self.bool(operand)?),
            Code::And(operands) => Ok(self.bool(&operands[0])? && self.bool(&operands[1])?),
            Code::Or(operands) => Ok(self.bool(&operands[0])? || self.bool(&operands[1])?),
            Code::In(operands) => self.contains(operands),
            Code::Between(operand, from, to) => self.between(operand, *from, *to),
            other => Err(self.misplaced(&self.value(other)?)),
        }
    }

    fn equal(&self, operands: &[Code; 2]) -> Result<bool, EvalError> {
        let [left, right] = self.present_pair(operands)?;
        Ok(left.is_equal(&right))
    }

    fn contains(&self, operands: &[Code; 2]) -> Result<bool, EvalError> {
        let [needle, array] = self.present_pair(operands)?;
        functions::contains(&array, &needle).map_err(|failure| self.failed(failure))
    }

    fn between(&self, operand: &Code, from: i64, to: i64) -> Result<bool, EvalError> {
        let value = self.number(operand)?;
        let nan = value.as_float().is_nan();
        Ok(!nan && !value.is_less(Number::Int(from)) && !Number::Int(to).is_less(value))
    }

    fn choose(&self, parts: &[Code; 3]) -> Result<Datum, EvalError> {
        let branch = if self.bool(&parts[0])? {
            &parts[1]
        } else {
            &parts[2]
        };
        self.value(branch)
    }

    fn coalesce(&self, operands: &[Code; 2]) -> Result<Datum, EvalError> {
        match self.value(&operands[0])? {
            Datum::Nil(_) => self.value(&operands[1]),
            present => Ok(present),
        }
    }

    fn bind(&self, local: usize, parts: &[Code; 2]) -> Result<Datum, EvalError> {
        let value = self.value(&parts[0])?;
        if let Some(place) = self.locals.borrow_mut().get_mut(local) {
            *place = value;
        }
        self.value(&parts[1])
    }

    fn array(&self, elements: &[Code]) -> Result<Datum, EvalError> {
        let elements: Vec<Datum> = elements
            .iter()
            .map(|element| self.value(element))
            .collect::<Result<_, _>>()?;
        self.make(i64::try_from(elements.len()).unwrap_or(ELEMENT_BUDGET))?;
        Ok(Datum::Array(elements.into()))
    }

    fn range(&self, bounds: &[Code; 2]) -> Result<Datum, EvalError> {
        let (first, last) = (self.int(&bounds[0])?, self.int(&bounds[1])?);
        let length = last
            .checked_sub(first)
            .and_then(|length| length.checked_add(1))
            .ok_or_else(|| EvalError::Run(format!("integer overflow: {first}..{last}")))?
            .max(0);
        self.make(length)?;
        Ok(Datum::Range { first, length })
    }

    /// Counts array elements against the budget.
    fn make(&self, elements: i64) -> Result<(), EvalError> {
        let total = self.elements.get().saturating_add(elements);
        self.elements.set(total);
        if total >= ELEMENT_BUDGET {
            let message =
                format!("memory budget exceeded: {ELEMENT_BUDGET} array elements or more");
            return Err(EvalError::Run(message));
        }
        Ok(())
    }

    fn index(&self, parts: &[Code; 2]) -> Result<Datum, EvalError> {
        let array = self.present(&parts[0])?;
        let index = self.int(&parts[1])?;
        functions::element(&array, index)
            .map_err(|failure| self.failed(failure))?
            .ok_or_else(|| EvalError::Run(format!("index {index} is out of range")))
    }

    fn slice(&self, parts: &(Code, Option<Code>, Option<Code>)) -> Result<Datum, EvalError> {
        let array = self.present(&parts.0)?;
        let from = parts.1.as_ref().map(|code| self.int(code)).transpose()?;
        let to = parts.2.as_ref().map(|code| self.int(code)).transpose()?;
        functions::slice(&array, from, to).map_err(|failure| self.failed(failure))
    }

    fn call(&self, function: Function, arguments: &[Code]) -> Result<Datum, EvalError> {
        match (function, arguments) {
            (Function::Now, _) => Ok(self.clock_reading()),
            (Function::Max | Function::Min, [first, rest @ ..]) => {
                self.extreme(function, first, rest)
            }
            (_, [argument]) => self.apply(function, argument),
            _ => Err(EvalError::Run(format!("{} has no value", function.name()))),
        }
    }

    fn clock_reading(&self) -> Datum {
        Datum::Time(Box::new(self.now.to_zoned_datetime(TimeZone::UTC)))
    }

    fn extreme(&self, function: Function, first: &Code, rest: &[Code]) -> Result<Datum, EvalError> {
        let mut kept = self.present(first)?;
        for argument in rest {
            let next = self.value(argument)?;
            kept =
                functions::extreme(function, kept, next).map_err(|failure| self.failed(failure))?;
        }
        Ok(kept)
    }

    fn apply(&self, function: Function, argument: &Code) -> Result<Datum, EvalError> {
        let argument = self.present(argument)?;
        functions::apply(function, &argument).map_err(|failure| self.failed(failure))
    }

    fn method(&self, method: Method, operands: &[Code]) -> Result<Datum, EvalError> {
        let receiver = self.present(&operands[0])?;
        let argument = operands
            .get(1)
            .map(|argument| self.present(argument))
            .transpose()?;
        time::call(method, &receiver, argument.as_ref())
            .ok_or_else(|| EvalError::Run("a time is out of range".to_owned()))
    }

    fn clock(&self, operator: Clock, operands: &[Code; 2]) -> Result<Datum, EvalError> {
        let [left, right] = self.present_pair(operands)?;
        let order = match (&left, &right) {
            (Datum::Time(left), Datum::Time(right)) => left.timestamp().cmp(&right.timestamp()),
            (Datum::Duration(left), Datum::Duration(right)) => left.cmp(right),
            _ => std::cmp::Ordering::Equal,
        };
        let result = match operator {
            Clock::Less => Some(Datum::Bool(order.is_lt())),
            Clock::LessOrEqual => Some(Datum::Bool(order.is_le())),
            Clock::Greater => Some(Datum::Bool(order.is_gt())),
            Clock::GreaterOrEqual => Some(Datum::Bool(order.is_ge())),
            Clock::Add => match (&left, &right) {
                (Datum::Duration(left), Datum::Duration(right)) => {
                    left.checked_add(*right).map(Datum::Duration)
                }
                (Datum::Time(time), Datum::Duration(duration))
                | (Datum::Duration(duration), Datum::Time(time)) => {
                    time::add(time, i128::from(*duration))
                }
                _ => None,
            },
            Clock::Subtract => match (&left, &right) {
                (Datum::Duration(left), Datum::Duration(right)) => {
                    left.checked_sub(*right).map(Datum::Duration)
                }
                (Datum::Time(left), Datum::Time(right)) => {
                    Some(Datum::Duration(time::difference(left, right)))
                }
                (Datum::Time(time), Datum::Duration(duration)) => duration
                    .checked_neg()
                    .and_then(|back| time::add(time, i128::from(back))),
                _ => None,
            },
        };
        result.ok_or_else(|| EvalError::Run("a time or duration is out of range".to_owned()))
    }

    /// A value that is not `nil`.
    fn present(&self, code: &Code) -> Result<Datum, EvalError> {
        match self.value(code)? {
            nil @ Datum::Nil(_) => Err(self.misplaced(&nil)),
            present => Ok(present),
        }
    }

    fn present_pair(&self, codes: &[Code; 2]) -> Result<[Datum; 2], EvalError> {
        Ok([self.present(&codes[0])?, self.present(&codes[1])?])
    }

    fn number(&self, code: &Code) -> Result<Number, EvalError> {
        let datum = self.value(code)?;
        datum.number().ok_or_else(|| self.misplaced(&datum))
    }

    fn int(&self, code: &Code) -> Result<i64, EvalError> {
        match self.value(code)? {
            Datum::Int(value) => Ok(value),
            other => Err(self.misplaced(&other)),
        }
    }

    fn bool(&self, code: &Code) -> Result<bool, EvalError> {
        match self.value(code)? {
            Datum::Bool(value) => Ok(value),
            other => Err(self.misplaced(&other)),
        }
    }

    /// The error of a value that cannot stand where it came to; which is only ever a `nil`.
    fn misplaced(&self, datum: &Datum) -> EvalError {
        match datum {
            Datum::Nil(Some(slot)) => self.missing(*slot),
            Datum::Nil(None) => {
                EvalError::Run("a value is nil: it was taken from an empty array".to_owned())
            }
            _ => EvalError::Run("a value has another type than its place accepts".to_owned()),
        }
    }

    fn missing(&self, slot: usize) -> EvalError {
        EvalError::Missing(self.program.names.get(slot).unwrap_or_default().to_owned())
    }

    fn failed(&self, failure: Failure) -> EvalError {
        match failure {
            Failure::Nil(datum) => self.misplaced(&datum),
            Failure::Message(message) => EvalError::Run(message),
        }
    }

    fn engine_failure(&self, error: &EvalexprError) -> EvalError {
        if let Some(failure) = self.failure.take() {
            return failure;
        }
        EvalError::Run(match error {
            EvalexprError::VariableIdentifierNotFound(identifier) => {
                return self.missing(identifier.parse().unwrap_or(usize::MAX));
            }
            EvalexprError::AdditionError { augend, addend } => {
                format!("integer overflow: {augend} + {addend}")
            }
            EvalexprError::SubtractionError {
                minuend,
                subtrahend,
            } => {
                format!("integer overflow: {minuend} - {subtrahend}")
            }
            EvalexprError::MultiplicationError {
                multiplicand,
                multiplier,
            } => {
                format!("integer overflow: {multiplicand} * {multiplier}")
            }
            EvalexprError::NegationError { argument } => format!("integer overflow: -({argument})"),
            EvalexprError::ModulationError {
                dividend,
                divisor: Value::Int(0),
            } => {
                format!("integer divide by zero: {dividend} % 0")
            }
            EvalexprError::ModulationError { dividend, divisor } => {
                format!("integer overflow: {dividend} % {divisor}")
            }
            other => other.to_string(),
        })
    }
}

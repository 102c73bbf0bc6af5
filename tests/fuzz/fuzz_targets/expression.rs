//! Compiles any text as an expression and evaluates it with metrics of every kind: nothing may panic, overflow the stack or
//! give a result that is not a finite number below 2^63.

#![no_main]

use fly_autoscaler::{
    expr::{Expression, Names, Values},
    scaling::to_count,
};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    let names = Names::new(["q", "r", "max"]);
    let Ok(expression) = Expression::compile(source, &names) else {
        return;
    };
    assert_eq!(expression.source(), source);
    let mut values = Values::new(&names);
    for q in [
        None,
        Some(0.0),
        Some(-2.5),
        Some(7.0),
        Some(f64::NAN),
        Some(f64::NEG_INFINITY),
        Some(1e300),
    ] {
        for r in [None, Some(3.0), Some(f64::INFINITY)] {
            values.set("q", q);
            values.set("r", r);
            for now in [Timestamp::UNIX_EPOCH, Timestamp::MIN, Timestamp::MAX] {
                if let Ok(result) = expression.evaluate(&values, now) {
                    assert!(result.is_finite() && result < 9_223_372_036_854_775_808.0);
                    to_count(1, result).ok();
                }
            }
        }
    }
});

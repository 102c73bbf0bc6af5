//! What an expression costs: compiled once at start-up, evaluated in every pass.

use divan::{Bencher, black_box};
use fly_autoscaler::expr::{Expression, Names, Values};
use jiff::Timestamp;

fn main() {
    divan::main();
}

const CLAMP: &str = "min(50, ceil(queue_depth / 10))";
const SCHEDULE: &str =
    "now().In(timezone('Europe/Berlin')).Hour() in 8..19 ? max(3, ceil(queue_depth / 10)) : 1";

fn names() -> Names {
    Names::new(["queue_depth", "cpu"])
}

fn compiled(source: &str) -> (Expression, Values) {
    let names = names();
    let mut values = Values::new(&names);
    values.set("queue_depth", Some(123.0));
    values.set("cpu", Some(0.7));
    (
        Expression::compile(source, &names).expect("the expression compiles"),
        values,
    )
}

#[divan::bench(args = [CLAMP, SCHEDULE])]
fn compile(bencher: Bencher<'_, '_>, source: &str) {
    let names = names();
    bencher.bench(|| Expression::compile(black_box(source), &names));
}

#[divan::bench(args = [CLAMP, "queue_depth * 60 / 7 + cpu * 1.5", "cpu > 0.5 and queue_depth > 100 ? 5 : 1", SCHEDULE])]
fn evaluate(bencher: Bencher<'_, '_>, source: &str) {
    let (expression, values) = compiled(source);
    let now = Timestamp::UNIX_EPOCH;
    bencher.bench(|| expression.evaluate(black_box(&values), now));
}

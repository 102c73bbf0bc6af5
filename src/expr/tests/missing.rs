//! What a metric without a value does, and that only what is read matters.

use super::{
    super::{EvalError, Expression, Names, Values},
    evaluate, names_of, now, values_of,
};

#[test]
fn a_missing_metric_matters_only_where_it_is_read() {
    let missing = || Err(EvalError::Missing("m".to_owned()));
    for (source, expected) in [
        ("m", missing()),
        ("m + 1", missing()),
        ("-m", missing()),
        ("ceil(m / 10)", missing()),
        ("max(1, m)", missing()),
        ("min(m, 1)", missing()),
        ("m > 5 ? 1 : 2", missing()),
        ("m == 5 ? 1 : 2", missing()),
        ("m in 1..5 ? 1 : 2", missing()),
        ("m in [1, 2] ? 1 : 2", missing()),
        ("m ** 2", missing()),
        ("sum([q, m])", missing()),
        ("mean([m])", missing()),
        ("median([1, m])", missing()),
        ("[q, m][1]", missing()),
        ("let x = m; x + 1", missing()),
        ("let x = m + 1; 3", missing()),
        ("q == 7 ? m : 3", missing()),
        ("q == 7 and m > 1 ? 1 : 2", missing()),
        ("q == 8 or m > 1 ? 1 : 2", missing()),
        ("(m + 1) ?? 3", missing()),
        ("ceil(m) ?? 3", missing()),
        ("(m ?? 3) + m", missing()),
        ("m ?? m", missing()),
        ("q in [m, 7] ? 1 : 2", missing()),
        ("m ?? 80", Ok(80.0)),
        ("(m ?? 80) / 10", Ok(8.0)),
        ("ceil((m ?? 80) / 9)", Ok(9.0)),
        ("1 + m ?? 80", Ok(81.0)),
        ("m ?? m ?? q", Ok(7.0)),
        ("m ?? q", Ok(7.0)),
        ("q ?? m", Ok(7.0)),
        ("(q > 1 ? m : q) ?? 5", Ok(5.0)),
        ("let x = m; x ?? 3", Ok(3.0)),
        ("let x = m; 3", Ok(3.0)),
        ("[q, m][1] ?? 5", Ok(5.0)),
        ("[q, m][0]", Ok(7.0)),
        ("first([q, m])", Ok(7.0)),
        ("len([q, m])", Ok(2.0)),
        ("q in [7, m] ? 1 : 2", Ok(1.0)),
        ("q == 8 ? m : 3", Ok(3.0)),
        ("q == 8 and m > 1 ? 1 : 2", Ok(2.0)),
        ("q == 7 or m > 1 ? 1 : 2", Ok(1.0)),
        ("m > 1 and false ? 1 : 2", Ok(2.0)),
        ("m == nil ? 80 : m", Ok(80.0)),
        ("q == nil ? 80 : q", Ok(7.0)),
        ("m != nil and m > 5 ? 1 : 2", Ok(2.0)),
        ("nil != q ? 1 : 2", Ok(1.0)),
    ] {
        assert_eq!(
            evaluate(source, &[("q", Some(7.0)), ("m", None)]),
            expected,
            "{source}"
        );
    }
}

#[test]
fn counts_are_floats_among_the_names() {
    let values = [("started_machine_count", Some(3.0)), ("queue", None)];
    assert_eq!(
        evaluate("min(started_machine_count + 1, 10)", &values),
        Ok(4.0)
    );
    assert_eq!(evaluate("started_machine_count / 2", &values), Ok(1.5));
    assert_eq!(
        evaluate("created_machine_count", &values),
        Err(EvalError::Missing("created_machine_count".to_owned()))
    );
}

#[test]
fn an_expression_knows_what_it_reads() {
    let names = Names::new(["queue", "cpu", "unused"]);
    let expression = Expression::compile("queue > 5 ? cpu + queue : stopped_machine_count", &names)
        .expect("the expression compiles");
    assert_eq!(
        expression.names().collect::<Vec<_>>(),
        ["queue", "cpu", "stopped_machine_count"]
    );
    assert!(expression.reads("cpu") && !expression.reads("unused") && !expression.reads("nosuch"));
    assert_eq!(
        expression.source(),
        "queue > 5 ? cpu + queue : stopped_machine_count"
    );
}

#[test]
fn an_expression_knows_whether_it_is_a_name_and_a_constant() {
    let names = names_of(&[("q", None), ("r", None)]);
    let cases = [
        ("q + 1", Some(1.0)),
        ("(0.5 + q)", Some(0.5)),
        ("q + 1 // one more", Some(1.0)),
        ("q + r", None),
        ("q - 1", None),
        ("q + 1 + 1", None),
        ("q + -1", None),
        ("min(q + 1, 10)", None),
        ("let x = 1; q + x", None),
        ("1 + 1", None),
        ("q", None),
    ];
    for (source, expected) in cases {
        let expression = Expression::compile(source, &names).expect("the expression compiles");
        let expected = expected.map(|constant| ("q".to_owned(), constant));
        assert_eq!(expression.as_sum(), expected, "{source}");
    }
}

#[test]
fn values_belong_to_their_names() {
    let names = names_of(&[("q", None)]);
    let mut values = Values::new(&names);
    values.set("q", Some(2.0));
    values.set("nosuch", Some(3.0));
    assert_eq!(
        (
            values.get("q"),
            values.get("nosuch"),
            values.get("created_machine_count")
        ),
        (Some(2.0), None, None)
    );
    values.set("q", None);
    assert_eq!(values.get("q"), None);
}

#[test]
fn values_of_other_names_are_missing_not_a_panic() {
    let names = Names::new(["a", "b", "c", "d", "e", "f", "g"]);
    let expression = Expression::compile("g + 1", &names).expect("the expression compiles");
    let other = Names::new(["x"]);
    let values = values_of(&other, &[("x", Some(1.0))]);
    assert_eq!(
        expression.evaluate(&values, now()),
        Err(EvalError::Missing("g".to_owned()))
    );
}

#[test]
fn what_cannot_be_a_count_is_named() {
    let values = [("q", Some(7.0))];
    for (source, expected) in [
        ("q / 0", "the result is infinite"),
        ("-q / 0", "the result is infinite"),
        ("0 / 0", "the result is not a number (NaN)"),
        ("1e300", "the result 1e300 is too large to be a count"),
        (
            "9223372036854775807",
            "the result 9.223372036854776e18 is too large to be a count",
        ),
        ("int(q) % 0", "integer divide by zero: 7 % 0"),
        (
            "int(q * 1e18) * 2",
            "integer overflow: 7000000000000000000 * 2",
        ),
        (
            "int(q * 1e18) + int(q * 1e18)",
            "integer overflow: 7000000000000000000 + 7000000000000000000",
        ),
        (
            "-9223372036854775807 - int(q)",
            "integer overflow: -9223372036854775807 - 7",
        ),
        (
            "sum([9223372036854775807, int(q)])",
            "integer overflow in sum",
        ),
        (
            "int(1e19 * q)",
            "int(7e19): the value does not fit in 64 bits",
        ),
        (
            "int('3.5')",
            "int(\"3.5\"): not an integer that fits in 64 bits",
        ),
        (
            "float('x')",
            "float(\"x\"): not a float that fits in 64 bits",
        ),
        ("[1, 2][int(q)]", "index 7 is out of range"),
        (
            "(date('2024-01-02') - duration('-9223372036854775808ns')).Day()",
            "a time or duration is out of range",
        ),
        (
            "first(5..1)",
            "a value is nil: it was taken from an empty array",
        ),
        (
            "len(1..int(q) * 1000000)",
            "memory budget exceeded: 1000000 array elements or more",
        ),
    ] {
        let error = evaluate(source, &values).expect_err(source);
        assert_eq!(error.to_string(), expected, "{source}");
    }
    // Far below zero is still no machine, as upstream has it.
    assert_eq!(evaluate("q * -1e300", &values), Ok(-7e300));
}

//! What a refused expression is answered with, word for word.

use super::{
    super::{Expression, Names},
    refused,
};

fn rendered(source: &str) -> String {
    let names = Names::new(["queue_depth", "cpu"]);
    Expression::compile(source, &names)
        .expect_err(source)
        .to_string()
}

#[test]
fn an_unknown_metric_is_shown_with_the_nearest_one() {
    assert_eq!(
        rendered("min(50, ceil(queue_dept / 10))"),
        "unknown metric `queue_dept`, did you mean `queue_depth`?
  |
1 | min(50, ceil(queue_dept / 10))
  |              ^^^^^^^^^^"
    );
    assert_eq!(
        rendered("latency * 2"),
        "unknown metric `latency`; expected one of `queue_depth`, `cpu`, `created_machine_count`, \
         `started_machine_count`, `stopped_machine_count`
  |
1 | latency * 2
  | ^^^^^^^"
    );
}

#[test]
fn the_place_is_right_on_a_later_line_after_tabs_and_wide_characters() {
    assert_eq!(
        rendered("let größe = queue_depth; // Größe\n\tgröße > 5 ?\t1 : nosuch\n"),
        "unknown metric `nosuch`; expected one of `queue_depth`, `cpu`, `created_machine_count`, \
         `started_machine_count`, `stopped_machine_count`
  |
2 | \tgröße > 5 ?\t1 : nosuch
  | \t           \t    ^^^^^^"
    );
}

#[test]
fn an_unfinished_expression_points_past_its_end() {
    assert_eq!(
        rendered("queue_depth + "),
        "the expression ends here; expected a value
  |
1 | queue_depth +
  |               ^"
    );
    assert_eq!(
        rendered(""),
        "the expression is empty
  |
1 |
  | ^"
    );
}

#[test]
fn the_offending_operator_is_marked() {
    assert_eq!(
        rendered("(queue_depth + 1) % 3"),
        "`%` needs two integers, but here are a float and an integer; write `int(…)` around what is not an integer
  |
1 | (queue_depth + 1) % 3
  |                   ^"
    );
    assert_eq!(
        rendered("queue_depth ?? 3 + 1"),
        "`+` cannot follow a `??` expression; put parentheses around `… ?? …`
  |
1 | queue_depth ?? 3 + 1
  |                  ^"
    );
}

#[test]
fn the_place_can_be_asked_for() {
    let names = Names::new(["q"]);
    let error = Expression::compile("q +\n  é * 2", &names).expect_err("é is unknown");
    assert_eq!((error.offset(), error.line(), error.column()), (6, 2, 3));
    assert!(!error.message().contains('\n'));
}

#[test]
fn what_is_not_supported_is_named_with_what_to_write_instead() {
    for (source, expected) in [
        (
            "q > 3",
            "the result must be a number, but this is a boolean; choose with `… ? 1 : 0`",
        ),
        (
            "[q]",
            "the result must be a number, but this is an array; `len` or `sum` makes it a number",
        ),
        ("nil", "the result must be a number, but this is nil"),
        (
            "q = 3 ? 1 : 2",
            "unexpected `=`; expected an operator or the end; equality is `==`",
        ),
        (
            "q & 3",
            "unexpected `&`; expected an operator or the end; use `and`, or `&&`",
        ),
        (
            "q > 1 ?.5 : 1",
            "unexpected `?.`; expected an operator or the end; put a space after the `?`",
        ),
        (
            "if q > 3 { 1 } else { 2 }",
            "unexpected `q`; expected an operator or the end; `if` is not part of the language: write `condition ? then : otherwise`",
        ),
        (
            "if",
            "`if` is not part of the language; write `condition ? then : otherwise`",
        ),
        (
            "if(q > 3, 1, 2)",
            "unknown function `if`; write `condition ? then : otherwise`",
        ),
        (
            "1 < q < 20 ? 1 : 2",
            "`<` needs two numbers, but here are a boolean and an integer; comparisons cannot be chained: write `a < b and \
             b < c`",
        ),
        (
            "not q > 3 ? 1 : 2",
            "`not` needs a boolean, but this is a float; it binds tighter than comparisons: write `not (…)`",
        ),
        (
            "q ? 1 : 2",
            "the condition of `?` must be a boolean, but this is a float; compare it, as in `… > 0`",
        ),
        (
            "q and true ? 1 : 2",
            "`and` needs two booleans, but here are a float and a boolean; compare a number, as in `… > 0`",
        ),
        (
            "q + 1 not in [2] ? 1 : 2",
            "Expr drops a `not` after an operator and tests the opposite; write `not (… in …)`",
        ),
        (
            "q > 1 ? 5 : 'x'",
            "the branches of `?` must have one type, but here are an integer and a string",
        ),
        (
            "q > 1 ? 5 : nil",
            "`nil` is supported only with `??`, `==` and `!=`",
        ),
        (
            "q ?: 3",
            "the condition of `?` must be a boolean, but this is a float; compare it, as in `… > 0`",
        ),
        ("ceil q", "unexpected `q`; expected an operator or the end"),
        ("ceil", "`ceil` is a function; call it, `ceil(…)`"),
        ("Ceil(q)", "unknown function `Ceil`, did you mean `ceil`?"),
        ("ciel(q)", "unknown function `ciel`, did you mean `ceil`?"),
        (
            "started_machines + 1",
            "unknown metric `started_machines`, did you mean `started_machine_count`?",
        ),
        ("sqrt(q)", "unknown function `sqrt`; write `… ** 0.5`"),
        ("pow(q, 2)", "unknown function `pow`; write `… ** …`"),
        ("ceil()", "`ceil` takes one argument, but here are 0"),
        (
            "mean(q, 1)",
            "`mean` takes one argument, but here are 2; write `mean([…])`",
        ),
        (
            "max([1, q])",
            "`max` takes numbers, but this is an array; write its elements as arguments",
        ),
        ("min()", "`min` needs at least one number"),
        ("abs(q > 1)", "`abs` takes a number, but this is a boolean"),
        (
            "int(q > 3)",
            "`int` takes a number or a string, but this is a boolean; choose with `… ? 1 : 0`",
        ),
        (
            "sum(['a'])",
            "`sum` takes an array of numbers, but this is an array",
        ),
        ("first([])", "`first` of an empty array is nil"),
        (
            "[1, 'a'][0]",
            "an array's elements must have one type, but here is a string after an integer",
        ),
        (
            "[1, 2][q]",
            "an index must be an integer, but this is a float; write `int(…)` around it",
        ),
        (
            "q[0]",
            "`[…]` needs an array before it, but this is a float",
        ),
        (
            "1..q",
            "`..` needs two integers, but here are an integer and a float; write `int(…)` around what is not an integer",
        ),
        (
            "q in 5 ? 1 : 2",
            "`in` needs an array or a range on its right, but here are a float and an integer",
        ),
        (
            "q in ['a'] ? 1 : 2",
            "`in` looks for a float among elements that are each a string",
        ),
        (
            "'a' + 'b'",
            "`+` needs two numbers, but here are a string and a string; joining strings is not supported, `int(…)` and \
                       `float(…)` read numbers from them",
        ),
        (
            "'a' contains 'b' ? 1 : 2",
            "the string operator `contains` is not supported",
        ),
        (
            "q not matches 'b' ? 1 : 2",
            "the string operator `matches` is not supported",
        ),
        ("{a: 4}.a", "maps (`{…}`) are not supported"),
        (
            "filter([1], true)",
            "the function `filter` takes a closure, and closures are not supported",
        ),
        ("toJSON(q)", "the function `toJSON` is not supported"),
        ("bitand(1, 2)", "the function `bitand` is not supported"),
        ("$env.q", "`$env` is not supported; write the metric's name"),
        ("q.Foo", "a float has no field `Foo`"),
        ("q.Foo()", "a float has no methods"),
        (
            "q()",
            "`q` is a metric here, not a function; the function is `::q(…)`",
        ),
        (
            "let q = 1; q",
            "`q` is a metric and cannot be declared again",
        ),
        (
            "let round = 1; round",
            "`round` is a function and cannot be declared again",
        ),
        ("let a = 1; let a = 2; a", "`a` is declared already"),
        ("let a = 1; a()", "`a` is a variable, not a function"),
        (
            "let a 1; a",
            "unexpected `1`; expected `=` and the value of the variable",
        ),
        (
            "let a = 1",
            "the expression ends here; expected `;` and the expression that uses the variable",
        ),
        (
            "(q",
            "the expression ends here; expected an operator or `)`",
        ),
        (
            "max(1, q",
            "the expression ends here; expected an operator, `,` or `)`",
        ),
        ("max(1,)", "unexpected `)`; expected a value"),
        (
            "q > 1 ? 2",
            "the expression ends here; expected `:` and the other branch of `?`",
        ),
        ("q | 3", "unexpected `3`; expected a function after `|`"),
        ("1e400", "`1e400` is not a float that fits in 64 bits"),
        (
            "9223372036854775808",
            "`9223372036854775808` is not an integer that fits in 64 bits",
        ),
        ("10 % 0", "integer divide by zero"),
        (
            "float('0x1p4')",
            "`float` reads decimal numbers only; hexadecimal floats are not supported",
        ),
        (
            "q / 0.0 + q / -0.0",
            "`0.0` and `-0.0` in one expression: Expr takes them for the same number",
        ),
        (
            "q ?? nil",
            "`?? nil` changes nothing; expected a value for when there is none",
        ),
    ] {
        assert_eq!(refused(source, &["q"]), expected, "{source}");
    }
}

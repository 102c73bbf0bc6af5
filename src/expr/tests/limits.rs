//! That no text, however long or deep, does more than be refused.

use super::{
    super::{Expression, MAX_LENGTH, Names, parser::MAX_DEPTH},
    evaluate, now, refused, values_of,
};

#[test]
fn a_long_expression_is_refused_by_its_length() {
    let long = "1 + ".repeat(250_000) + "1";
    assert_eq!(
        refused(&long, &[]),
        "the expression is 1000001 bytes long; at most 4096 are accepted"
    );
    let parentheses = "(".repeat(100_000) + "1" + &")".repeat(100_000);
    assert_eq!(
        refused(&parentheses, &[]),
        "the expression is 200001 bytes long; at most 4096 are accepted"
    );
    let longest = "1".to_owned() + &" ".repeat(MAX_LENGTH - 1);
    assert_eq!(evaluate(&longest, &[]), Ok(1.0));
    // The text is not repeated in full.
    let error = Expression::compile(&long, &Names::new(["q"])).expect_err("too long");
    assert!(error.to_string().len() < 300, "{error}");
}

/// Ways to nest one level deeper: what goes around an inner expression, the innermost one between them, and what makes the
/// whole a number.
const NESTINGS: &[(&str, &str, &str, &str)] = &[
    ("(", "q", ")", ""),
    ("-", "q", "", ""),
    ("+", "q", "", ""),
    ("- (", "q", ")", ""),
    ("", "q", "+1", ""),
    ("1+(", "q", ")", ""),
    ("1^", "1", "", ""),
    ("", "q", "/2", ""),
    ("int(q)-", "q", "", ""),
    ("abs(", "q", ")", ""),
    ("max(1,", "q", ")", ""),
    ("", "q", "|abs()", ""),
    ("[", "q", "][0]", ""),
    ("q>1?", "q", ":1", ""),
    ("q>99?1:", "q", "", ""),
    ("(q>1?q:", "q", ")*1", ""),
    ("(q??", "1", ")", ""),
    ("", "q", "??1", ""),
    ("(", "q", "??1)+1", ""),
    ("(let x=", "q", ";x)", ""),
    ("(", "q", " in [1]?1:2)", ""),
    ("not(", "q>1", ")", "?1:2"),
    ("q>1 and(", "q>1", ")", "?1:2"),
    ("", "now()", ".UTC()", ".Hour()"),
    ("now().Add(now().Sub(", "now()", "))", ".Hour()"),
    ("", "[1]", "[0:]", "[0]"),
    ("len([", "q", "])", ""),
    ("int(", "q", ")/2", ""),
];

fn nested((before, inner, after, tail): (&str, &str, &str, &str), levels: usize) -> String {
    before.repeat(levels) + inner + &after.repeat(levels) + tail
}

#[test]
fn deep_nesting_is_refused_whatever_is_nested() {
    for nesting in NESTINGS {
        let levels = 2000.min(MAX_LENGTH / (nesting.0.len() + nesting.2.len()) - 10);
        let message = refused(&nested(*nesting, levels), &["q"]);
        assert_eq!(
            message, "the expression is nested too deeply; at most 100 levels are accepted",
            "{nesting:?}"
        );
    }
}

#[test]
fn width_is_not_depth() {
    let wide = format!("max({})", vec!["(q + 1)"; 400].join(", "));
    assert_eq!(evaluate(&wide, &[("q", Some(2.0))]), Ok(3.0));
    let sum = format!("q{}", " + q".repeat(MAX_DEPTH - 1));
    assert_eq!(evaluate(&sum, &[("q", Some(2.0))]), Ok(200.0));
}

/// Three quarters of the stack of a thread, and enough without optimization too, where a level takes most.
const STACK: usize = 3 << 19;

#[test]
fn the_deepest_accepted_expressions_fit_in_a_small_stack() {
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(|| {
            let names = Names::new(["q"]);
            let values = values_of(&names, &[("q", Some(2.0))]);
            for nesting in NESTINGS {
                let deepest = (MAX_DEPTH / 3..=MAX_DEPTH)
                    .rev()
                    .find_map(|levels| Expression::compile(&nested(*nesting, levels), &names).ok())
                    .unwrap_or_else(|| panic!("{nesting:?} is not accepted"));
                let result = deepest.evaluate(&values, now());
                assert!(result.is_ok(), "{nesting:?}: {result:?}");
            }
        })
        .expect("the thread starts")
        .join()
        .expect("the stack is large enough");
}

#[test]
fn ranges_cost_nothing_however_long() {
    let values = [("q", Some(7.0))];
    for (source, expected) in [
        ("int(q) in 1..1000000000 ? 1 : 2", Some(1.0)),
        ("q in 1..1000000000 ? 1 : 2", None),
        ("len(1..1000000000)", None),
        ("sum(1..9223372036854775807)", None),
        ("len(-9223372036854775807..9223372036854775807)", None),
        ("sum(1..999999)", Some(499_999_500_000.0)),
        ("mean(1..999999)", Some(500_000.0)),
        ("median(1..999999)", Some(500_000.0)),
        ("len(1..600000) + len(1..600000)", None),
        ("len(1..400000) + len(1..400000)", Some(800_000.0)),
        ("(1..999999)[-1]", Some(999_999.0)),
    ] {
        assert_eq!(evaluate(source, &values).ok(), expected, "{source}");
    }
}

#[test]
fn compiled_expressions_can_be_shared_between_threads() {
    fn shareable<T: Clone + std::fmt::Debug + Send + Sync + 'static>() {}
    shareable::<Expression>();
}

//! Schedules: the clock is an argument, in UTC unless a zone is named.

use super::{
    super::{Expression, Names, Values},
    evaluate, now, refused,
};

#[test]
fn the_clock_is_read_in_parts() {
    for (source, expected) in [
        ("now().Year()", 2026.0),
        ("int(now().Month())", 11.0),
        ("now().Day()", 24.0),
        ("now().Hour()", 13.0),
        ("now().Minute()", 14.0),
        ("now().Second()", 15.0),
        ("now().YearDay()", 328.0),
        ("int(now().Weekday())", 2.0),
        ("now().Unix()", 1_795_526_055.0),
        ("now().Weekday().String() == 'Tuesday' ? 1 : 2", 1.0),
        ("now().Month().String() == 'November' ? 1 : 2", 1.0),
        (
            "now().Weekday() == date('2026-11-17').Weekday() ? 1 : 2",
            1.0,
        ),
        ("now().Hour() >= 8 and now().Hour() < 20 ? 5 : 1", 5.0),
        (
            "int(now().Weekday()) in 1..5 and now().Hour() in 8..17 ? 5 : 1",
            5.0,
        ),
        ("now().Hour() % 2", 1.0),
        ("(now() - date('2026-11-24')).Hours() > 13 ? 1 : 2", 1.0),
        ("now() > date('2026-11-24T13:14:14Z') ? 1 : 2", 1.0),
        ("(now() + duration('12h')).Day()", 25.0),
    ] {
        assert_eq!(evaluate(source, &[]), Ok(expected), "{source}");
    }
}

#[test]
fn a_zone_follows_its_own_clock_through_the_year() {
    let names = Names::new::<&str>([]);
    let values = Values::new(&names);
    let berlin = Expression::compile("now().In(timezone('Europe/Berlin')).Hour()", &names)
        .expect("the expression compiles");
    for (time, hour) in [
        ("2026-01-15T12:00:00Z", 13.0),
        ("2026-07-15T12:00:00Z", 14.0),
        ("2026-03-29T00:59:59Z", 1.0),
        ("2026-03-29T01:00:00Z", 3.0),
        ("2026-07-15T22:30:00Z", 0.0),
    ] {
        assert_eq!(
            berlin.evaluate(&values, time.parse().expect("a timestamp")),
            Ok(hour),
            "{time}"
        );
    }
    assert_eq!(
        evaluate("now().In(timezone('Asia/Kolkata')).Minute()", &[]),
        Ok(44.0)
    );
    assert_eq!(evaluate("now().In(timezone('UTC')).Hour()", &[]), Ok(13.0));
    assert_eq!(
        evaluate("now().In(timezone('Asia/Tokyo')).UTC().Hour()", &[]),
        Ok(13.0)
    );
}

#[test]
fn the_clock_is_what_evaluation_is_given() {
    let names = Names::new::<&str>([]);
    let values = Values::new(&names);
    let expression =
        Expression::compile("now().Hour() < 12 ? 1 : 2", &names).expect("the expression compiles");
    assert_eq!(expression.evaluate(&values, now()), Ok(2.0));
    assert_eq!(
        expression.evaluate(
            &values,
            "2026-11-24T11:59:59Z".parse().expect("a timestamp")
        ),
        Ok(1.0)
    );
    for extreme in [jiff::Timestamp::MIN, jiff::Timestamp::MAX] {
        assert!(expression.evaluate(&values, extreme).is_ok());
    }
}

#[test]
fn what_cannot_be_read_is_refused_when_compiled() {
    for (source, expected) in [
        (
            "now().In(timezone('Europe/Berln')).Hour()",
            "\"Europe/Berln\" cannot be read; expected a time zone such as \"Europe/Berlin\"",
        ),
        (
            "now().In('Europe/Berlin').Hour()",
            "`In` takes a time zone, but this is a string",
        ),
        (
            "now().In(timezone(true ? 'UTC' : 'GMT')).Hour()",
            "`timezone` needs a string literal, in quotes",
        ),
        (
            "duration('1d').Hours()",
            "\"1d\" cannot be read; expected a duration such as \"90s\" or \"1h30m\"",
        ),
        (
            "date('02 Jan 24 15:04 UTC').Hour()",
            "\"02 Jan 24 15:04 UTC\" cannot be read; expected a date such as \"2024-01-31\", \"2024-01-31 15:04:05\" or \
             \"2024-01-31T15:04:05Z\"",
        ),
        (
            "date('2024-01-02', '2006-01-02').Day()",
            "`date` takes one argument, but here are 2; formats are not supported",
        ),
        ("now()", "the result must be a number, but this is a time"),
        (
            "duration('1h')",
            "the result must be a number, but this is a duration; use `.Seconds()`, `.Minutes()` or `.Hours()`",
        ),
        (
            "now().Hours()",
            "a time has no method `Hours`, did you mean `Hour`?",
        ),
        ("now().Hour", "`Hour` is a method; call it, `.Hour()`"),
        (
            "now().Weekday() == 2 ? 1 : 2",
            "`==` needs two values of one type, but here are a weekday and an integer; Expr takes them for different: \
             write `int(…)` around it, or compare its `.String()`",
        ),
        (
            "now().Weekday() < 6 ? 1 : 2",
            "`<` needs two numbers, but here are a weekday and an integer; write `int(…)` around it",
        ),
        (
            "duration('1h') > 60 ? 1 : 2",
            "`>` needs two durations, but here are a duration and an integer; `.Seconds()` makes it a number",
        ),
    ] {
        assert_eq!(refused(source, &[]), expected, "{source}");
    }
}

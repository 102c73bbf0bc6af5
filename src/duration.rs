//! Durations as Go writes and reads them: `15s`, `1m30s`, `.5s`, `1.5h`.
//!
//! The grammar is that of Go's `time.ParseDuration`, because the settings and their habits come from a Go program:
//! `1d`, `1 m` and a bare `15` are refused, `+1s`, `1.s` and `0` are not. A setting is never negative; there that is an
//! error of its own, so that the user reads why.

use std::time::Duration;

/// The units of the grammar and their length in nanoseconds. Micro is written with either of Unicode's two mu.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3_600 * SECOND),
];

const SECOND: u64 = 1_000_000_000;

/// Go counts in signed 64-bit nanoseconds; this is one more than the longest positive duration.
const END: u64 = 1 << 63;

/// Why a text is no duration. The texts say what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Empty, or something where a number should begin.
    #[error("a number followed by a unit (ns, us, ms, s, m, h)")]
    Malformed,
    /// A number without a unit.
    #[error("a unit (ns, us, ms, s, m, h) after each number")]
    MissingUnit,
    /// A unit that does not exist.
    #[error("a unit (ns, us, ms, s, m, h) after each number, but found {0:?}")]
    UnknownUnit(String),
    /// More than 2^63 nanoseconds.
    #[error("at most 2562047h47m16s")]
    Overflow,
    /// Less than zero.
    #[error("a duration that is not negative")]
    Negative,
}

/// Reads a duration in Go's grammar, as Go's nanoseconds: from -2^63 to 2^63 - 1.
///
/// # Errors
/// Everything that Go refuses.
pub fn nanoseconds(text: &str) -> Result<i64, DurationError> {
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(DurationError::Malformed);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (nanoseconds, tail) = parse_term(rest)?;
        total = total
            .checked_add(nanoseconds)
            .filter(|total| *total <= END)
            .ok_or(DurationError::Overflow)?;
        rest = tail;
    }
    let signed = i128::from(total) * if negative { -1 } else { 1 };
    i64::try_from(signed).map_err(|_| DurationError::Overflow)
}

/// Reads a duration in Go's grammar.
///
/// # Errors
/// Everything that Go refuses, and negative durations.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let nanoseconds = nanoseconds(text)?;
    let nanoseconds = u64::try_from(nanoseconds).map_err(|_| DurationError::Negative)?;
    Ok(Duration::from_nanos(nanoseconds))
}

/// Reads one number with its unit; gives its nanoseconds and what follows.
fn parse_term(text: &str) -> Result<(u64, &str), DurationError> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(after_point) => split_digits(after_point),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(DurationError::Malformed);
    }
    let unit_end = rest
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    if unit.is_empty() {
        return Err(DurationError::MissingUnit);
    }
    let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(DurationError::UnknownUnit(unit.chars().take(20).collect()));
    };
    let whole = if whole.is_empty() {
        0
    } else {
        whole.parse::<u64>().map_err(|_| DurationError::Overflow)?
    };
    let nanoseconds = whole
        .checked_mul(*scale)
        .and_then(|nanoseconds| nanoseconds.checked_add(fraction_of(fraction, *scale)))
        .filter(|nanoseconds| *nanoseconds <= END)
        .ok_or(DurationError::Overflow)?;
    Ok((nanoseconds, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

/// `0.digits` of `scale` nanoseconds, cut to whole ones, by Go's own arithmetic: digits beyond what fits in 63 bits are
/// dropped, and the rest is a product of floats.
fn fraction_of(digits: &str, scale: u64) -> u64 {
    let (mut value, mut divisor) = (0_u64, 1.0);
    for digit in digits.bytes().map(|digit| u64::from(digit - b'0')) {
        if value > i64::MAX as u64 / 10 {
            break;
        }
        value = value * 10 + digit;
        divisor *= 10.0;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "below one unit, which is positive"
    )]
    let part = (value as f64 * (scale as f64 / divisor)) as u64;
    part
}

/// Writes a duration as Go does: `15s`, `1m30s`, `500ms`, `1h0m0s`, `0s`.
#[must_use]
pub fn format(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let second = u128::from(SECOND);
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => format!("{}\u{b5}s", decimal(nanoseconds, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanoseconds, 1_000_000)),
        _ => {
            let (minutes, rest) = (nanoseconds / (60 * second), nanoseconds % (60 * second));
            let seconds = decimal(rest, second);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `value / unit` as a decimal without trailing zeros; `unit` is a power of ten.
fn decimal(value: u128, unit: u128) -> String {
    let width = unit.ilog10() as usize;
    let text = format!("{}.{:0width$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_go_accepts_is_accepted() {
        let cases: &[(&str, u64)] = &[
            ("0", 0),
            ("+0", 0),
            ("-0", 0),
            ("-0s", 0),
            ("0s", 0),
            ("15s", 15 * SECOND),
            ("+5s", 5 * SECOND),
            ("1m30s", 90 * SECOND),
            ("1h2m3.5s", 3_723_500_000_000),
            ("1.5h", 5_400 * SECOND),
            ("500ms", 500_000_000),
            (".5s", 500_000_000),
            ("1.s", SECOND),
            ("+.5s", 500_000_000),
            ("1.004s", 1_004_000_000),
            ("100.00100s", 100_001_000_000),
            ("3us", 3_000),
            ("3\u{b5}s", 3_000),
            ("3\u{3bc}s", 3_000),
            ("7ns", 7),
            ("0.3ns", 0),
            ("1.9ns", 1),
            ("10s5m", 310 * SECOND),
            ("1h1h", 7_200 * SECOND),
            ("0100ms", 100_000_000),
            ("52763797000ns", 52_763_797_000),
            ("0.3333333333333333333h", 1_200 * SECOND),
            ("9223372036854775807ns", i64::MAX as u64),
            ("9223372036854775.807us", i64::MAX as u64),
            ("9223372036s854ms775us807ns", i64::MAX as u64),
            ("0.9223372036854775807h", 3_320_413_933_267),
        ];
        for (text, nanoseconds) in cases {
            assert_eq!(
                parse(text),
                Ok(Duration::from_nanos(*nanoseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        use DurationError::{Malformed, MissingUnit, Overflow, UnknownUnit};
        let cases: &[(&str, DurationError)] = &[
            ("", Malformed),
            ("-", Malformed),
            ("+", Malformed),
            ("s", Malformed),
            (".", Malformed),
            ("-.", Malformed),
            (".s", Malformed),
            ("+.s", Malformed),
            ("--1s", Malformed),
            (" 1s", Malformed),
            ("15", MissingUnit),
            ("3000", MissingUnit),
            ("1m30", MissingUnit),
            ("00", MissingUnit),
            ("1d", UnknownUnit("d".to_owned())),
            ("1 m", UnknownUnit(" m".to_owned())),
            ("1s ", UnknownUnit("s ".to_owned())),
            ("1S", UnknownUnit("S".to_owned())),
            ("1min", UnknownUnit("min".to_owned())),
            ("1e3s", UnknownUnit("e".to_owned())),
            ("1s-1s", UnknownUnit("s-".to_owned())),
            ("\u{664}s", Malformed),
            ("9223372036854775808ns", Overflow),
            ("9223372036854775.808us", Overflow),
            ("9223372036854ms775us808ns", Overflow),
            ("3000000h", Overflow),
            ("2562048h", Overflow),
            ("18446744073709551616ns", Overflow),
            ("99999999999999999999999999h", Overflow),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text), Err(error.clone()), "{text}");
        }
    }

    #[test]
    fn a_negative_duration_is_named_as_such() {
        for text in ["-1ns", "-15s", "-1h30m", "-.5s", "-9223372036854775808ns"] {
            assert_eq!(parse(text), Err(DurationError::Negative), "{text}");
        }
        assert_eq!(
            parse("-9223372036854775809ns"),
            Err(DurationError::Overflow)
        );
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        let cases: &[(u64, &str)] = &[
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1\u{b5}s"),
            (2_200_000, "2.2ms"),
            (500_000_000, "500ms"),
            (3_300_000_000, "3.3s"),
            (15 * SECOND, "15s"),
            (60 * SECOND, "1m0s"),
            (90 * SECOND, "1m30s"),
            (3_600 * SECOND, "1h0m0s"),
            (4 * 60 * SECOND + 5_001_000_000, "4m5.001s"),
            (
                5 * 3_600 * SECOND + 6 * 60 * SECOND + 7_001_000_000,
                "5h6m7.001s",
            ),
            (i64::MAX as u64, "2562047h47m16.854775807s"),
        ];
        for (nanoseconds, text) in cases {
            assert_eq!(format(Duration::from_nanos(*nanoseconds)), *text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanoseconds in 0..=i64::MAX as u64) {
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn short_durations_are_read_back_too(nanoseconds in 0..100_000_000_000_u64) {
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "[-+]?[0-9.a-z\u{b5}\u{3bc} ]{0,40}|.{0,40}") {
            let _ = parse(&text);
        }
    }
}

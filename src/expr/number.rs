//! Numbers as Go reads and computes them.
//!
//! Expr runs on Go, and a count that hides behind `int(…) % n` changes with the last bit of a float. So the power
//! function follows Go's algorithm step by step (squaring for the integer part of the exponent, `exp(f * log(x))` for the
//! fraction, with the polynomials Go uses on amd64) instead of asking the platform's `pow`, whose last bit differs. Text
//! is read by the rules of Go's `strconv`. Everything here is pure and total.

/// The value of an integer literal such as `1000`, `0x2A`, `0o17`, `0b101`, given without its underscores.
///
/// `None` if it is malformed or does not fit in 64 bits. A leading zero alone does not mean octal.
pub(super) fn integer_literal(text: &str) -> Option<i64> {
    let (digits, radix) = match text.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (&text[2..], 16),
        Some("0o") => (&text[2..], 8),
        Some("0b") => (&text[2..], 2),
        _ => (text, 10),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    i64::from_str_radix(digits, radix).ok()
}

/// The value of a decimal float literal such as `.5`, `5.` or `1e3`, given without its underscores.
///
/// `None` if it is malformed or beyond the largest float; one that is too small is 0.
pub(super) fn float_literal(text: &str) -> Option<f64> {
    if !is_decimal_float(text.as_bytes()) {
        return None;
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// The integer in `text` as `int("…")` reads it: a sign and decimal digits, nothing else.
pub(super) fn integer_text(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The float in `text` as `float("…")` reads it: decimal, with single underscores between digits, or an infinity or NaN
/// by name. Hexadecimal floats, which Go reads too, are not read.
pub(super) fn float_text(text: &str) -> Option<f64> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity") {
        return Some(if negative {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        });
    }
    if text.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    let bytes = unsigned.as_bytes();
    let separated = bytes.iter().enumerate().all(|(index, byte)| {
        let digit = |at: Option<usize>| {
            at.and_then(|at| bytes.get(at))
                .is_some_and(u8::is_ascii_digit)
        };
        *byte != b'_' || (digit(index.checked_sub(1)) && digit(Some(index + 1)))
    });
    if !separated {
        return None;
    }
    let value = float_literal(&unsigned.replace('_', ""))?;
    Some(if negative { -value } else { value })
}

/// Whether `text` is a hexadecimal float, which Go's `float("…")` would read and [`float_text`] does not.
pub(super) fn is_hexadecimal_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    unsigned
        .get(..2)
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case("0x"))
}

fn is_decimal_float(text: &[u8]) -> bool {
    let digits = |from: usize| {
        text[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let whole = digits(0);
    let mut at = whole;
    let mut fraction = 0;
    if text.get(at) == Some(&b'.') {
        fraction = digits(at + 1);
        at += 1 + fraction;
    }
    if whole + fraction == 0 {
        return false;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(text.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        let exponent = digits(at);
        if exponent == 0 {
            return false;
        }
        at += exponent;
    }
    at == text.len()
}

/// A float truncated to an integer; `None` for NaN and for what does not fit in 64 bits, which Go would turn into an
/// arbitrary number.
pub(super) fn truncate(value: f64) -> Option<i64> {
    let whole = value.trunc();
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    (-TWO_63..TWO_63).contains(&whole).then_some(whole as i64)
}

/// 2^63, the first float above every 64 bit integer.
pub(super) const TWO_63: f64 = 9_223_372_036_854_775_808.0;

/// `x` to the power `y`, to the last bit as Go's `math.Pow` gives it on amd64.
#[expect(clippy::float_cmp, reason = "the special cases are exact values")]
pub(super) fn pow(x: f64, y: f64) -> f64 {
    if y == 0.0 || x == 1.0 {
        return 1.0;
    }
    if y == 1.0 {
        return x;
    }
    if x.is_nan() || y.is_nan() {
        return f64::NAN;
    }
    if x == 0.0 {
        let odd = is_odd_integer(y);
        return match (y < 0.0, x.is_sign_negative() && odd) {
            (true, true) => f64::NEG_INFINITY,
            (true, false) => f64::INFINITY,
            (false, true) => x,
            (false, false) => 0.0,
        };
    }
    if y.is_infinite() {
        return if x == -1.0 {
            1.0
        } else if (x.abs() < 1.0) == (y > 0.0) {
            0.0
        } else {
            f64::INFINITY
        };
    }
    if x.is_infinite() {
        return if x < 0.0 {
            // 1/x is -0, whose sign survives an odd exponent.
            pow(-0.0, -y)
        } else if y < 0.0 {
            0.0
        } else {
            f64::INFINITY
        };
    }
    if y == 0.5 {
        return x.sqrt();
    }
    if y == -0.5 {
        return 1.0 / x.sqrt();
    }

    let magnitude = y.abs();
    let mut whole = magnitude.trunc();
    let mut fraction = magnitude - whole;
    if fraction != 0.0 && x < 0.0 {
        return f64::NAN;
    }
    if whole >= TWO_63 {
        return if x == -1.0 {
            1.0
        } else if (x.abs() < 1.0) == (y > 0.0) {
            0.0
        } else {
            f64::INFINITY
        };
    }

    let mut mantissa = 1.0;
    let mut exponent: i64 = 0;
    if fraction != 0.0 {
        if fraction > 0.5 {
            fraction -= 1.0;
            whole += 1.0;
        }
        mantissa = exp(fraction * ln(x));
    }
    // The powers of two are kept apart, so that no intermediate result overflows.
    let (mut square, mut square_exponent) = split(x);
    #[expect(clippy::cast_possible_truncation, reason = "below 2^63, checked above")]
    let mut remaining = whole as i64;
    while remaining != 0 {
        if !(-4096..=4096).contains(&square_exponent) {
            exponent += square_exponent;
            break;
        }
        if remaining & 1 == 1 {
            mantissa *= square;
            exponent += square_exponent;
        }
        square *= square;
        square_exponent <<= 1;
        if square < 0.5 {
            square += square;
            square_exponent -= 1;
        }
        remaining >>= 1;
    }
    if y < 0.0 {
        mantissa = 1.0 / mantissa;
        exponent = -exponent;
    }
    scale(mantissa, exponent)
}

#[expect(clippy::float_cmp, reason = "a remainder of integers is exact")]
fn is_odd_integer(value: f64) -> bool {
    (value % 2.0).abs() == 1.0
}

/// A finite non-zero number as a mantissa in [0.5, 1) and a power of two.
fn split(value: f64) -> (f64, i64) {
    let (normal, shift) = normalize(value);
    let bits = normal.to_bits();
    let exponent = exponent_bits(bits) - 1022 + shift;
    (
        f64::from_bits(bits & !(0x7FF << 52) | (1022 << 52)),
        exponent,
    )
}

/// `mantissa * 2^exponent` with one rounding.
fn scale(mantissa: f64, exponent: i64) -> f64 {
    if mantissa == 0.0 || !mantissa.is_finite() {
        return mantissa;
    }
    let (normal, shift) = normalize(mantissa);
    let bits = normal.to_bits();
    let mut exponent = exponent + shift + exponent_bits(bits) - 1023;
    if exponent < -1075 {
        return 0.0_f64.copysign(mantissa);
    }
    if exponent > 1023 {
        return f64::INFINITY.copysign(mantissa);
    }
    let mut factor = 1.0;
    if exponent < -1022 {
        exponent += 53;
        factor = 1.0 / 9_007_199_254_740_992.0;
    }
    #[expect(
        clippy::cast_sign_loss,
        reason = "between 1 and 2046 after the checks above"
    )]
    let biased = (exponent + 1023) as u64;
    factor * f64::from_bits(bits & !(0x7FF << 52) | (biased << 52))
}

fn normalize(value: f64) -> (f64, i64) {
    if value.abs() < f64::MIN_POSITIVE {
        (value * 4_503_599_627_370_496.0, -52)
    } else {
        (value, 0)
    }
}

fn exponent_bits(bits: u64) -> i64 {
    i64::from((bits >> 52) as u16 & 0x7FF)
}

/// The natural logarithm of a positive finite number, with the polynomial and the order of operations that Go uses.
#[expect(
    clippy::many_single_char_names,
    reason = "the names of the published algorithm"
)]
fn ln(x: f64) -> f64 {
    const LN2_HI: f64 = 0.693_147_180_369_123_8;
    const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
    const L1: f64 = 0.666_666_666_666_673_5;
    const L2: f64 = 0.399_999_999_994_094_2;
    const L3: f64 = 0.285_714_287_436_623_9;
    const L4: f64 = 0.222_221_984_321_497_84;
    const L5: f64 = 0.181_835_721_616_180_5;
    const L6: f64 = 0.153_138_376_992_093_73;
    const L7: f64 = 0.147_981_986_051_165_86;

    // The assembly takes the bits as they are, subnormal or not.
    let bits = x.to_bits();
    let mut k = (exponent_bits(bits) - 1022) as f64;
    let mut f = f64::from_bits(bits & ((1 << 52) - 1) | (1022 << 52));
    if f < std::f64::consts::FRAC_1_SQRT_2 {
        k -= 1.0;
        f *= 2.0;
    }
    f -= 1.0;
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let t1 = s2 * (L1 + s4 * (L3 + s4 * (L5 + s4 * L7)));
    let t2 = s4 * (L2 + s4 * (L4 + s4 * L6));
    let r = t1 + t2;
    let half_square = 0.5 * f * f;
    k * LN2_HI - ((half_square - (s * (half_square + r) + k * LN2_LO)) - f)
}

/// `e^x` for |x| below 700, with the series and the fused operations that Go uses on amd64.
fn exp(x: f64) -> f64 {
    const LN2_UPPER: f64 = 0.693_147_180_559_663;
    const LN2_LOWER: f64 = 2.823_529_056_303_157_7e-13;

    let power = (x * std::f64::consts::LOG2_E).round_ties_even();
    let reduced = (-power).mul_add(LN2_LOWER, (-power).mul_add(LN2_UPPER, x)) * 0.0625;
    // The reciprocals of the factorials, from 8! down.
    let mut series = 1.0 / 40320.0;
    for factorial in [5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0] {
        series = reduced.mul_add(series, 1.0 / factorial);
    }
    // From here `value` is e^r - 1, and each step squares e^r.
    let mut value = reduced * series;
    for _ in 0..3 {
        value *= value + 2.0;
    }
    let value = (value + 2.0).mul_add(value, 1.0);
    #[expect(clippy::cast_possible_truncation, reason = "a whole number below 1100")]
    scale(value, power as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("010", Some(10)),
            ("08", Some(8)),
            ("0x2A", Some(42)),
            ("0X2a", Some(42)),
            ("0o17", Some(15)),
            ("0b101", Some(5)),
            ("0x", None),
            ("0b2", None),
            ("+1", None),
            ("0x+1", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("0x7FFFFFFFFFFFFFFF", Some(i64::MAX)),
            ("0x8000000000000000", None),
        ] {
            assert_eq!(integer_literal(text), expected, "{text}");
        }
        for (text, expected) in [
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("1e3", Some(1000.0)),
            ("1.e3", Some(1000.0)),
            ("1e-400", Some(0.0)),
            ("1e400", None),
            (".", None),
            ("1e", None),
            ("1e+", None),
            ("0b1e1", None),
            ("inf", None),
        ] {
            assert_eq!(float_literal(text), expected, "{text}");
        }
    }

    #[test]
    fn text_is_read_as_strconv_reads_it() {
        for (text, expected) in [
            ("3", Some(3)),
            ("+3", Some(3)),
            ("-3", Some(-3)),
            ("007", Some(7)),
            ("3.5", None),
            (" 3", None),
            ("", None),
            ("+", None),
            ("1_000", None),
            ("0x10", None),
            ("9223372036854775808", None),
        ] {
            assert_eq!(integer_text(text), expected, "{text}");
        }
        for (text, expected) in [
            ("3.6", Some(3.6)),
            ("-.5", Some(-0.5)),
            ("1_000", Some(1000.0)),
            ("1__000", None),
            ("_1", None),
            ("1_", None),
            ("1_.5", None),
            ("Inf", Some(f64::INFINITY)),
            ("-INFINITY", Some(f64::NEG_INFINITY)),
            ("infin", None),
            ("1e400", None),
            ("0x1p4", None),
            (" 1", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(float_text(text), expected, "{text}");
        }
        assert!(float_text("NaN").is_some_and(f64::is_nan));
        assert_eq!(float_text("+nan"), None);
    }

    #[test]
    fn power_has_the_bits_of_go() {
        for (x, y, bits) in POWERS {
            let got = pow(*x, *y);
            assert_eq!(
                got.to_bits(),
                *bits,
                "{x:?} ** {y:?} is {got:?}, Go has {:?}",
                f64::from_bits(*bits)
            );
        }
    }

    /// Base, exponent and the bits of Go 1.26's result on amd64.
    const POWERS: &[(f64, f64, u64)] = &[
        (250.0, 7.5, 0x43aa_c918_bbfa_5241),
        (0.1, -16.0, 0x4341_c379_37e0_7ff7),
        (2.0, 0.3, 0x3ff3_b2c4_7bff_8329),
        (10.0, -0.7, 0x3fc9_8a13_577c_93c1),
        (1.0001, 12345.678, 0x400b_7e52_6b8d_f84c),
        (3.0, 40.0, 0x43e5_1716_8a45_23fd),
        (7.0, -23.0, 0x3be5_9178_6a0c_2acb),
        (1.5, 1000.0, 0x647f_2dd0_1135_3698),
        (1e-300, 0.37, 0x28e3_3d40_32c2_c824),
        (5e-324, 0.3, 0x2cc1_25fb_ee25_0689),
        (2.0, -1074.0, 0x0000_0000_0000_0001),
        (2.0, 1024.0, 0x7ff0_0000_0000_0000),
        (0.9999, 1e6, 0x36ea_6a39_2e36_abee),
        (12345.678, 3.25, 0x42b2_0a1a_a193_07f7),
        (-3.0, 5.0, 0xc06e_6000_0000_0000),
        (-3.0, 4.0, 0x4054_4000_0000_0000),
        (-0.5, -1023.0, 0xffe0_0000_0000_0000),
        (10.0, 308.0, 0x7fe1_ccf3_85eb_c8a3),
        (10.0, -323.0, 0x0000_0000_0000_0002),
        (9.0, 0.5, 0x4008_0000_0000_0000),
        (9.0, -0.5, 0x3fd5_5555_5555_5555),
        (1e+300, 1.01, 0x7ed7_54e3_1cd0_7302),
        (123.0, 0.001, 0x3ff0_13c2_19fd_3a61),
    ];
}

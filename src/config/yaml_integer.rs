//! Whole numbers as YAML has them: `4.0`, `0x10`, `1_0`, `017` in a file are what they are to upstream's parser.
//!
//! In a variable only decimal digits are a number, as upstream has it there. Other than upstream, a fraction is not cut
//! off: `4.7` is a mistake.

/// The whole number that a scalar of a YAML file means to yaml.v3 where a whole number is expected.
pub(super) fn parse(text: &str) -> Option<i64> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    let text = text.replace('_', "");
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    with_base(is_negative, digits).or_else(|| whole(is_negative, digits))
}

/// `0x1f`, `0o17`, `017`, `0b11` and decimal digits, as Go's `strconv.ParseInt` with base 0.
fn with_base(is_negative: bool, digits: &str) -> Option<i64> {
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // Rust's parser would take a second sign.
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from(u64::from_str_radix(digits, base).ok()?);
    i64::try_from(if is_negative { -number } else { number }).ok()
}

/// `4.0`, `4.`, `1e2`; `08` too, which is no octal number and so the float 8.
fn whole(is_negative: bool, digits: &str) -> Option<i64> {
    // Beyond this a float may be another number than was written.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let is_float = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    let number: f64 = digits.parse().ok().filter(|_| is_float)?;
    let is_whole =
        number.fract() == 0.0 && number.abs() <= EXACT && !digits.starts_with(['+', '-']);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a whole number that a float has exactly"
    )]
    is_whole.then(|| {
        if is_negative {
            -number as i64
        } else {
            number as i64
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scalar, and the number that yaml.v3 decodes it to, or `refused`.
    const OF_YAML: &str = include_str!("../../tests/data/config/yaml_integers.tsv");

    #[test]
    fn a_number_is_what_it_is_to_upstream_but_for_fractions() {
        // Cut off there; larger than any count there, and than what a float has exactly.
        let refused = ["4.7", ".5", "45e-1", "-.inf", "1e18"];
        let mut met = 0;
        for line in OF_YAML.lines() {
            let Some((text, of_go)) = line.split_once('\t') else {
                panic!("two columns: {line}");
            };
            let expected = of_go.parse().ok().filter(|_| !refused.contains(&text));
            met += usize::from(refused.contains(&text));
            assert_eq!(parse(text), expected, "{text}");
        }
        assert_eq!((met, OF_YAML.lines().count()), (refused.len(), 62));
    }
}

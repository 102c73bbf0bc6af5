//! `$NAME` and `${NAME}` in a text: where they are. What takes their place is the caller's business.
//!
//! A name is a letter or `_`, then letters, digits and `_`. Every other `$` is text: `$1`, `$$`, `${1}`, `${A:-b}` and a
//! `$` at the end stay as they are, because `PromQL`'s regular expressions and replacements are full of them.

/// The variable that is left for the query, where it means the app of the pass.
pub(super) const APP_NAME: &str = "APP_NAME";

/// The variable that is left for the query, where it means the process group that is scaled.
pub(super) const PROCESS_GROUP: &str = "PROCESS_GROUP";

/// The variable that is left for the query where each region has a fleet of its own, and means that region then.
/// Elsewhere it is one of the environment.
pub(super) const REGION: &str = "REGION";

/// Whether a variable means something of the fleet, and nothing of the environment.
pub(super) fn is_of_fleet(name: &str, per_region: bool) -> bool {
    matches!(name, APP_NAME | PROCESS_GROUP) || (per_region && name == REGION)
}

/// Whether a text has a variable of this name.
pub(super) fn names(text: &str, wanted: &str) -> bool {
    segments(text)
        .any(|segment| matches!(segment, Segment::Variable { name, .. } if name == wanted))
}

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    /// To be kept.
    Text(&'a str),
    /// A variable: its name, and the name as it was written, with `$` and braces.
    Variable {
        /// The name alone.
        name: &'a str,
        /// `$NAME` or `${NAME}`.
        written: &'a str,
    },
}

/// Cuts `text` into pieces; together they are the text again.
pub(super) fn segments(text: &str) -> impl Iterator<Item = Segment<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some((name, written)) = leading_variable(rest) {
            rest = &rest[written.len()..];
            return Some(Segment::Variable { name, written });
        }
        // The first byte is text for sure; look for a variable after it.
        let end = rest
            .match_indices('$')
            .map(|(index, _)| index)
            .find(|index| leading_variable(&rest[*index..]).is_some())
            .unwrap_or(rest.len());
        let (kept, tail) = rest.split_at(end);
        rest = tail;
        Some(Segment::Text(kept))
    })
}

/// The variable that `text` begins with: its name, and as it is written.
fn leading_variable(text: &str) -> Option<(&str, &str)> {
    let after = text.strip_prefix('$')?;
    if let Some(braced) = after.strip_prefix('{') {
        let length = name_length(braced);
        let closed = length > 0 && braced[length..].starts_with('}');
        return closed.then(|| (&braced[..length], &text[..length + 3]));
    }
    let length = name_length(after);
    (length > 0).then(|| (&after[..length], &text[..=length]))
}

fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_found_and_other_dollars_are_text() {
        let cases: &[(&str, &str)] = &[
            ("", ""),
            ("plain", "plain"),
            ("$A", "<A>"),
            ("${A}", "<A>"),
            ("a${A}b", "a<A>b"),
            ("$A$B", "<A><B>"),
            ("$A_1x-y", "<A_1x>-y"),
            ("$_", "<_>"),
            ("$", "$"),
            ("$$", "$$"),
            ("$$A", "$<A>"),
            ("$1", "$1"),
            ("$1A", "$1A"),
            ("${1}", "${1}"),
            ("${}", "${}"),
            ("${A", "${A"),
            ("${A:-b}", "${A:-b}"),
            ("${ A}", "${ A}"),
            ("a$", "a$"),
            ("~\"^x$\"", "~\"^x$\""),
            ("${A}}", "<A>}"),
            ("\u{fc}$\u{fc}$A", "\u{fc}$\u{fc}<A>"),
        ];
        for (text, expected) in cases {
            let marked: String = segments(text)
                .map(|segment| match segment {
                    Segment::Text(kept) => kept.to_owned(),
                    Segment::Variable { name, .. } => format!("<{name}>"),
                })
                .collect();
            assert_eq!(marked, *expected, "{text}");
        }
    }

    #[test]
    fn a_megabyte_of_dollars_is_one_piece() {
        let text = "$".repeat(1 << 20);
        assert_eq!(segments(&text).collect::<Vec<_>>(), [Segment::Text(&text)]);
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_text(text in "[$a{}1_ \u{fc}]{0,30}") {
            let whole: String = segments(&text)
                .map(|segment| match segment {
                    Segment::Text(kept) => kept,
                    Segment::Variable { written, .. } => written,
                })
                .collect();
            prop_assert_eq!(whole, text);
        }
    }
}

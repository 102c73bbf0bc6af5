//! What a refused expression is answered with: the message, the place, and the line with a caret under it.
//!
//! Also finds the known name that an unknown one was probably meant to be. Nothing here knows the language.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

use crate::shown::is_unprintable;

/// A half-open range of bytes in an expression's text; both ends lie on character boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Why an expression was refused at start-up.
///
/// `Display` gives several lines: the message, then the line of the expression with carets under the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}\n{excerpt}")]
pub struct CompileError {
    message: String,
    offset: usize,
    line: usize,
    column: usize,
    excerpt: String,
}

impl CompileError {
    pub(super) fn new(source: &str, span: Span, message: impl Into<String>) -> Self {
        let start = span.start.min(source.len());
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = source[start..]
            .find('\n')
            .map_or(source.len(), |at| start + at);
        let line = source[..start].matches('\n').count() + 1;
        let before = &source[line_start..start];
        let marked = &source[start..span.end.clamp(start, line_end)];
        let after = source[start + marked.len()..line_end].trim_end_matches('\r');
        Self {
            message: message.into(),
            offset: start,
            line,
            column: before.chars().count() + 1,
            excerpt: excerpt(line, before, marked, after),
        }
    }

    /// The message alone, on one line: what was found and what was expected.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The byte of the expression at which the place begins, from 0.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The line of the place, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The character of the place within its line, from 1.
    pub fn column(&self) -> usize {
        self.column
    }
}

/// Longest stretch of a line shown on either side of the place, so that the caret stays under it in a terminal.
const CONTEXT: usize = 60;

fn excerpt(line: usize, before: &str, marked: &str, after: &str) -> String {
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    let skipped = before.chars().count().saturating_sub(CONTEXT);
    let shown_before: String = before.chars().skip(skipped).collect();
    let shown_marked: String = marked.chars().take(CONTEXT).collect();
    let shown_after: String = after.chars().take(CONTEXT).collect();

    let mut text = if skipped > 0 {
        "…".to_owned()
    } else {
        String::new()
    };
    let mut pointer = if skipped > 0 {
        " ".to_owned()
    } else {
        String::new()
    };
    for character in shown_before.chars() {
        text.push(printable(character));
        // A tab stays a tab, so that the caret is right whatever its width.
        if character == '\t' {
            pointer.push('\t');
        } else {
            pointer.extend(std::iter::repeat_n(' ', width(printable(character))));
        }
    }
    text.extend(shown_marked.chars().map(printable));
    pointer.push_str(
        &"^".repeat(
            shown_marked
                .chars()
                .map(printable)
                .map(width)
                .sum::<usize>()
                .max(1),
        ),
    );
    text.extend(shown_after.chars().map(printable));
    if shown_marked.len() < marked.len() || shown_after.len() < after.len() {
        text.push('…');
    }

    let mut lines = format!("{gutter} |\n{number} | {text}");
    lines.truncate(lines.trim_end().len());
    let _ = write!(lines, "\n{gutter} | {pointer}");
    lines
}

/// A control character could move the terminal's cursor or hide what follows.
fn printable(character: char) -> char {
    if is_unprintable(character) && character != '\t' {
        '\u{FFFD}'
    } else {
        character
    }
}

/// Columns that a character takes on a terminal.
fn width(character: char) -> usize {
    // A tab has none of its own.
    character.width().unwrap_or(1)
}

/// The candidate that `name` was probably meant to be: the one with the fewest letters to change, if those are few.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    let limit = (wanted.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            let changes = strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase());
            (changes, candidate)
        })
        .filter(|(changes, candidate)| *changes <= limit && *changes < candidate.chars().count())
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str, marked: &str) -> String {
        let start = source
            .find(marked)
            .expect("the marked text is in the source");
        let span = Span {
            start,
            end: start + marked.len(),
        };
        CompileError::new(source, span, "wrong").to_string()
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        assert_eq!(
            shown("1 + nosuch", "nosuch"),
            "wrong\n  |\n1 | 1 + nosuch\n  |     ^^^^^^"
        );
    }

    #[test]
    fn a_tab_is_repeated_under_a_tab() {
        assert_eq!(
            shown("\t1 +\tx", "x"),
            "wrong\n  |\n1 | \t1 +\tx\n  | \t   \t^"
        );
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        assert_eq!(
            shown("é + früh * x", "x"),
            "wrong\n  |\n1 | é + früh * x\n  |            ^"
        );
        assert_eq!(
            shown("'数' == x", "x"),
            "wrong\n  |\n1 | '数' == x\n  |         ^"
        );
    }

    #[test]
    fn only_the_line_of_the_place_is_shown() {
        let source = "let a = 1;\r\na +\r\n  b * 2\n+ 1";
        let error = CompileError::new(source, Span { start: 19, end: 20 }, "wrong");
        assert_eq!(error.to_string(), "wrong\n  |\n3 |   b * 2\n  |   ^");
        assert_eq!((error.offset(), error.line(), error.column()), (19, 3, 3));
    }

    #[test]
    fn the_end_of_the_text_is_a_place() {
        let error = CompileError::new("1 +", Span { start: 3, end: 3 }, "wrong");
        assert_eq!(error.to_string(), "wrong\n  |\n1 | 1 +\n  |    ^");
        assert_eq!(error.column(), 4);
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let source = format!("{}x{}", "a".repeat(100), "b".repeat(100));
        let shown = shown(&source, "x");
        let expected = format!(
            "wrong\n  |\n1 | …{}x{}…\n  | {}^",
            "a".repeat(60),
            "b".repeat(60),
            " ".repeat(61)
        );
        assert_eq!(shown, expected);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert!(!shown("\u{1b}[2J + x", "x").contains('\u{1b}'));
    }

    #[test]
    fn the_nearest_name_is_few_letters_away() {
        let names = ["queue_depth", "cpu", "started_machine_count"];
        for (name, expected) in [
            ("queue_dept", Some("queue_depth")),
            ("Queue_Depth", Some("queue_depth")),
            ("quueue_depht", Some("queue_depth")),
            ("cpus", Some("cpu")),
            ("cup", Some("cpu")),
            ("x", None),
            ("memory", None),
            ("starting_machine_count", Some("started_machine_count")),
        ] {
            assert_eq!(nearest(name, names), expected, "{name}");
        }
    }
}

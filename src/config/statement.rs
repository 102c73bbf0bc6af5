//! Whether a text is one SQL statement that reads.
//!
//! The server sees to it that nothing is written, in a read-only transaction; but that transaction is opened by statements
//! that are sent along, so that a second one here could end it.

use std::fmt;

/// Why a text is not one statement that may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotOneStatement {
    /// There is more than one.
    Several,
    /// A quote or a comment has no end.
    Open,
    /// It does not begin as one that has a value.
    Another,
}

impl fmt::Display for NotOneStatement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Several => "has more than one statement",
            Self::Open => "has an open quote or comment",
            Self::Another => "is no statement that reads",
        })
    }
}

/// The words that a statement with a value begins with.
const READING: [&str; 5] = ["SELECT", "SHOW", "TABLE", "VALUES", "WITH"];

/// Checks it, by Postgres's rules for strings, names and comments.
pub(super) fn one_statement(text: &str) -> Result<(), NotOneStatement> {
    let mut first_word = String::new();
    let mut is_word_over = false;
    let mut is_over = false;
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let length = match letter {
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest).ok_or(NotOneStatement::Open)?,
            _ if letter.is_whitespace() => {
                is_word_over |= !first_word.is_empty();
                rest = &rest[letter.len_utf8()..];
                continue;
            }
            ';' => {
                is_over = true;
                1
            }
            _ if is_over => return Err(NotOneStatement::Several),
            '\'' => quoted(rest, '\'', is_escaping(text, rest)).ok_or(NotOneStatement::Open)?,
            '"' => quoted(rest, '"', false).ok_or(NotOneStatement::Open)?,
            '$' if !is_in_word(text, rest) => dollar_quoted(rest)?,
            _ => {
                let is_of_word = letter.is_ascii_alphabetic();
                if is_of_word && !is_word_over {
                    first_word.push(letter.to_ascii_uppercase());
                } else if !first_word.is_empty() || letter != '(' {
                    is_word_over = true;
                }
                rest = &rest[letter.len_utf8()..];
                continue;
            }
        };
        is_word_over |= !first_word.is_empty();
        rest = &rest[length..];
    }
    if READING.contains(&first_word.as_str()) {
        Ok(())
    } else {
        Err(NotOneStatement::Another)
    }
}

/// The letter before `rest` in `text`.
fn before(text: &str, rest: &str) -> Option<char> {
    text[..text.len() - rest.len()].chars().next_back()
}

fn is_in_word(text: &str, rest: &str) -> bool {
    before(text, rest).is_some_and(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '$'))
}

/// Whether the string that `rest` begins with is one of `E'…'`, in which `\` escapes.
fn is_escaping(text: &str, rest: &str) -> bool {
    let ahead = &text[..text.len() - rest.len()];
    let mut letters = ahead.chars().rev();
    matches!(letters.next(), Some('e' | 'E'))
        && !letters
            .next()
            .is_some_and(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '$'))
}

/// How long the text in quotes is that `rest` begins with. Two quotes in it are one, which reads like two texts.
fn quoted(rest: &str, quote: char, is_escaping: bool) -> Option<usize> {
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        if letter == quote {
            if rest[at + 1..].starts_with(quote) {
                letters.next();
                continue;
            }
            return Some(at + 1);
        }
        if letter == '\\' && is_escaping {
            letters.next();
        }
    }
    None
}

/// How long the comment is that `rest` begins with; comments nest.
fn comment(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// How long the text in `$tag$ … $tag$` is that `rest` begins with; 1 where it begins with another `$`.
fn dollar_quoted(rest: &str) -> Result<usize, NotOneStatement> {
    let Some(length) = rest[1..].find('$') else {
        return Ok(1);
    };
    let tag = &rest[1..=length];
    let is_tag = !tag.starts_with(|letter: char| letter.is_ascii_digit())
        && tag
            .chars()
            .all(|letter| letter.is_alphanumeric() || letter == '_');
    if !is_tag {
        return Ok(1);
    }
    let mark = &rest[..length + 2];
    let behind = &rest[mark.len()..];
    let end = behind.find(mark).ok_or(NotOneStatement::Open)?;
    Ok(mark.len() + end + mark.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{NotOneStatement::*, *};

    #[test]
    fn one_statement_is_told_from_several() {
        let cases: &[(&str, Result<(), NotOneStatement>)] = &[
            ("SELECT 1", Ok(())),
            ("select 1;", Ok(())),
            ("SELECT 1 ; -- ; x\n /* ; /* ; */ x */ ;", Ok(())),
            (
                "SELECT ';', \";\", E'\\';', $$;$$, $a$;$b$;$a$ FROM t",
                Ok(()),
            ),
            ("SELECT 'it''s;' || E'\\\\' || 'a\\'", Ok(())),
            ("-- how many\nWITH a AS (SELECT 1) TABLE a", Ok(())),
            ("/* x */ (SELECT 1) UNION (SELECT 2)", Ok(())),
            ("VALUES (1)", Ok(())),
            ("SHOW server_version_num", Ok(())),
            ("SELECT a$b$c FROM t", Ok(())),
            ("SELECT($$a;b$$)", Ok(())),
            ("SELECT 1; SELECT 2", Err(Several)),
            ("SELECT 1;;x", Err(Several)),
            ("SELECT 1; DROP TABLE jobs", Err(Several)),
            ("SELECT 1 /* ; */ ; /* */ COMMIT", Err(Several)),
            ("SELECT 'a\\'; DROP TABLE jobs; --'", Err(Several)),
            ("SELECT E'a\\'; DROP TABLE jobs; --", Err(Open)),
            ("SELECT name'a\\'; DROP TABLE jobs; --'", Err(Several)),
            ("SELECT a$$; DROP TABLE jobs; --$$", Err(Several)),
            ("SELECT $1; DROP TABLE jobs; --$1", Err(Several)),
            ("SELECT 'a", Err(Open)),
            ("SELECT \"a", Err(Open)),
            ("SELECT /* a /* b */", Err(Open)),
            ("SELECT $a$ b $c$", Err(Open)),
            ("", Err(Another)),
            ("-- nothing", Err(Another)),
            ("COMMIT", Err(Another)),
            ("DELETE FROM jobs", Err(Another)),
            ("SET TRANSACTION READ WRITE", Err(Another)),
            ("COPY jobs TO STDOUT", Err(Another)),
            ("SELECTED", Err(Another)),
            ("1 SELECT", Err(Another)),
        ];
        for (text, expected) in cases {
            assert_eq!(one_statement(text), *expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(SELECT )?[-/*$'\";a\\\\E \n\u{fc}]{0,24}") {
            let _ = one_statement(&text);
        }
    }
}

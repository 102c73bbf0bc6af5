//! Which part of a YAML text is its first document.
//!
//! Upstream reads the first document of the file and looks at nothing behind it, so that a `---` at the end, or a whole
//! second document, is no mistake there. A line of `---` or `...` ends a document wherever it stands, in a text of
//! several lines too, so the parser is not needed to find it.

/// The first document of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FirstDocument {
    /// Where it ends, in bytes.
    pub(super) end: usize,
    /// The first line behind it that says something, from 1.
    pub(super) ignored_line: Option<u64>,
}

/// Finds the first document of `text`.
pub(super) fn first_document(text: &str) -> FirstDocument {
    let mut has_begun = false;
    let mut end = None;
    let mut offset = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let mark = mark(line.strip_prefix('\u{feff}').unwrap_or(line));
        if end.is_none() {
            match mark {
                Mark::Ends | Mark::Begins(_) if has_begun => end = Some(offset),
                Mark::Begins(_) | Mark::Content => has_begun = true,
                Mark::Ends | Mark::Nothing => {}
            }
        }
        let says_something = matches!(mark, Mark::Content | Mark::Begins(true));
        if let (Some(end), true) = (end, says_something) {
            return FirstDocument {
                end,
                ignored_line: Some(number),
            };
        }
        offset += line.len();
    }
    FirstDocument {
        end: end.unwrap_or(text.len()),
        ignored_line: None,
    }
}

/// What a line is to the documents.
enum Mark {
    /// `---`, and whether something stands behind it.
    Begins(bool),
    /// `...`.
    Ends,
    /// Neither, and not nothing.
    Content,
    /// White space, a comment or a directive.
    Nothing,
}

fn mark(line: &str) -> Mark {
    let behind = |marker| {
        let rest = line.strip_prefix(marker)?;
        (rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])).then(|| rest.trim())
    };
    let is_empty = |text: &str| text.is_empty() || text.starts_with('#');
    if let Some(rest) = behind("---") {
        Mark::Begins(!is_empty(rest))
    } else if behind("...").is_some() {
        Mark::Ends
    } else if is_empty(line.trim()) || line.starts_with('%') {
        Mark::Nothing
    } else {
        Mark::Content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_document_ends_where_the_parser_would_end_it() {
        let cases: [(&str, &str, Option<u64>); 16] = [
            ("", "", None),
            ("a: 1", "a: 1", None),
            ("a: 1\n---\n", "a: 1\n", None),
            ("a: 1\n---", "a: 1\n", None),
            ("a: 1\n--- # end\n\n# nothing\n", "a: 1\n", None),
            ("a: 1\n---\nb: 2\n", "a: 1\n", Some(3)),
            ("a: 1\n--- b\n", "a: 1\n", Some(2)),
            ("a: 1\n...\n", "a: 1\n", None),
            ("a: 1\n...\n---\n\nb: 2", "a: 1\n", Some(5)),
            ("\u{feff}---\na: 1\n", "\u{feff}---\na: 1\n", None),
            (
                "# x\n%YAML 1.2\n---\na: 1\r\n---\r\n",
                "# x\n%YAML 1.2\n---\na: 1\r\n",
                None,
            ),
            ("--- a: 1\n---\nb", "--- a: 1\n", Some(3)),
            ("---\n---\na: 1\n", "---\n", Some(3)),
            ("...\na: 1\n", "...\na: 1\n", None),
            (
                "a: |\n  ---\n ---x\nb: ---\n----\n-----BEGIN\n---y\n",
                "a: |\n  ---\n ---x\nb: ---\n----\n-----BEGIN\n---y\n",
                None,
            ),
            ("a: |\n  text\n---\nb", "a: |\n  text\n", Some(4)),
        ];
        for (text, document, ignored_line) in cases {
            let found = first_document(text);
            assert_eq!(&text[..found.end], document, "{text:?}");
            assert_eq!(found.ignored_line, ignored_line, "{text:?}");
        }
    }
}

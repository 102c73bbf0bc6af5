//! Making text fit to be shown: short, on one line, and without characters that act on what shows it.

/// `text` on one line; see [`super::excerpt`].
pub(super) fn excerpt(text: &str, limit: usize) -> String {
    let mut shown = String::new();
    let mut length = 0;
    let mut gap = false;
    for character in text.chars() {
        if character.is_whitespace() || is_unprintable(character) {
            gap = true;
            continue;
        }
        if gap && length > 0 {
            shown.push(' ');
            length += 1;
        }
        gap = false;
        if length >= limit {
            shown.push('…');
            break;
        }
        shown.push(character);
        length += 1;
    }
    shown
}

/// So much of `body` as may be needed to show `limit` characters, if it is text.
pub(super) fn text_of(body: &[u8], limit: usize) -> Option<&str> {
    // No character is longer than four bytes, so this is enough for `limit` of them even where half is white space.
    let head = &body[..body.len().min(limit.saturating_mul(8))];
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The cut may have gone through a character.
        Err(error) if error.error_len().is_none() && head.len() < body.len() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return None,
    };
    let is_binary = |character: char| character.is_control() && !character.is_whitespace();
    (!text.contains(is_binary)).then_some(text)
}

/// Whether cleaning drops a character or shows another one for it, or it stands for one that was not shown: what is written
/// with such characters inside can still be read when they are gone.
pub(super) fn is_replaced(character: char) -> bool {
    character == '\u{fffd}'
        || is_unprintable(character)
        || (character.is_whitespace() && character != ' ')
}

/// `text` with its line breaks, tabs and spaces; every other character that acts on a terminal becomes `U+FFFD`, which
/// keeps what stands below something in its column.
pub(super) fn block(text: &str) -> String {
    let shown = |character| match character {
        '\n' | '\t' => character,
        _ if is_unprintable(character) => '\u{fffd}',
        _ => character,
    };
    text.chars().map(shown).collect()
}

/// Whether a character acts on what shows it: control characters, line and paragraph separators, and the format
/// characters that reorder, join or hide what surrounds them.
#[must_use]
pub fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
                | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpt_is_one_bounded_line_without_control_characters() {
        let cases: [(&str, &str, usize, &str); 10] = [
            ("plain", "no such function", 50, "no such function"),
            ("empty", "", 50, ""),
            ("surrounding space", "  a \r\n\t b  ", 50, "a b"),
            (
                "escape sequence",
                "\u{1b}[31mred\u{1b}[0m",
                50,
                "[31mred [0m",
            ),
            ("right-to-left override", "a\u{202e}b", 50, "a b"),
            ("separators", "a\u{2028}b\u{2029}c\u{85}d", 50, "a b c d"),
            (
                "isolates and tags",
                "a\u{2066}b\u{2069}c\u{e0041}d",
                50,
                "a b c d",
            ),
            ("exactly the limit", "abcd", 4, "abcd"),
            ("longer than the limit", "abcde", 4, "abcd…"),
            ("characters, not bytes", "äöüßx", 4, "äöüß…"),
        ];
        for (name, text, limit, expected) in cases {
            assert_eq!(excerpt(text, limit), expected, "{name}");
        }
    }

    #[test]
    fn a_body_is_shown_only_if_it_is_text() {
        let long = "é".repeat(100);
        let odd = format!("a{long}");
        let cases: [(&str, &[u8], usize, &str); 6] = [
            ("text", b"upstream timed out\n", 50, "upstream timed out"),
            ("not UTF-8", b"\xff\xfeabc", 50, ""),
            ("UTF-8 that ends within a character", b"abc\xc3", 50, ""),
            ("a NUL", b"abc\0def", 50, ""),
            ("cut within a character", odd.as_bytes(), 2, "aé…"),
            ("longer than the limit", long.as_bytes(), 5, "ééééé…"),
        ];
        for (name, body, limit, expected) in cases {
            assert_eq!(super::super::printable(body, limit), expected, "{name}");
        }
    }
}

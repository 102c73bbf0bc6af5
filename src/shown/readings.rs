//! What a text can be read as: the letters behind its escapes, and where each of them stands.
//!
//! A server repeats a secret as it was sent, or in whatever its answer is written in: percent signs of an address, the
//! backslashes of JSON (or of a debug output), references of HTML, one inside the other. A text is therefore not decoded
//! into one other text: each place keeps all its readings, so that no escape before a secret can hide its first letters.

use std::collections::BTreeMap;

/// How many encodings around each other are seen through.
const DEPTH: usize = 3;

/// How many readings a place can have besides its own letter.
const MOST: usize = 4;

/// One reading of a place: a letter, and where the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) letter: char,
    pub(super) end: usize,
}

/// All readings of a text, by the byte at which they begin; those inside a character have none.
pub(super) struct Readings<'text> {
    text: &'text str,
    /// What escapes mean, by where they begin.
    escapes: BTreeMap<usize, Vec<Reading>>,
}

impl<'text> Readings<'text> {
    pub(super) fn of(text: &'text str) -> Self {
        let mut readings = Self {
            text,
            escapes: BTreeMap::new(),
        };
        let introducers: Vec<usize> = text
            .match_indices(['%', '\\', '&'])
            .map(|(at, _)| at)
            .collect();
        for _ in 0..DEPTH {
            let mut found = Vec::new();
            for at in &introducers {
                for introducer in readings.at(*at) {
                    for reading in readings.escape(introducer) {
                        if readings.at(*at).all(|known| known != reading) {
                            found.push((*at, reading));
                        }
                    }
                }
            }
            if found.is_empty() {
                break;
            }
            for (at, reading) in found {
                let place = readings.escapes.entry(at).or_default();
                if place.len() < MOST && !place.contains(&reading) {
                    place.push(reading);
                }
            }
        }
        readings
    }

    /// The readings of the place at this byte: the letter itself first, what is behind all escapes last.
    pub(super) fn at(&self, at: usize) -> impl Iterator<Item = Reading> {
        let rest = self.text.get(at..).unwrap_or_default();
        let itself = rest.chars().next().map(|letter| Reading {
            letter,
            end: at + letter.len_utf8(),
        });
        itself
            .into_iter()
            .chain(self.escapes.get(&at).into_iter().flatten().copied())
    }

    /// Whether an escape ends at this byte.
    pub(super) fn ends_escape(&self, end: usize) -> bool {
        // The longest escape: a surrogate pair of JSON inside another encoding.
        let from = end.saturating_sub(60);
        self.escapes
            .range(from..end)
            .flat_map(|(_, place)| place)
            .any(|reading| reading.end == end)
    }

    /// The text with `depth` encodings taken off: each letter, where it begins and where it ends.
    pub(super) fn decoded(&self, depth: usize) -> Vec<(char, usize, usize)> {
        let mut letters = Vec::with_capacity(self.text.len());
        let mut at = 0;
        while let Some(reading) = self.at(at).take(depth + 1).last() {
            letters.push((reading.letter, at, reading.end));
            at = reading.end;
        }
        letters
    }

    /// How many encodings there are to be taken off.
    pub(super) fn depth(&self) -> usize {
        self.escapes.values().map(Vec::len).max().unwrap_or(0)
    }

    /// What an escape that begins with this letter means.
    fn escape(&self, introducer: Reading) -> Vec<Reading> {
        let at = introducer.end;
        match introducer.letter {
            '%' => self.percent(at).into_iter().collect(),
            '\\' => self
                .at(at)
                .filter_map(|kind| self.backslash(kind))
                .collect(),
            '&' => self.reference(at).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// A letter that may itself be escaped.
    fn letter(&self, at: usize, wanted: impl Fn(char) -> bool) -> Option<Reading> {
        self.at(at).find(|reading| wanted(reading.letter))
    }

    fn hex(&self, mut at: usize, count: usize) -> Option<(u32, usize)> {
        let mut value = 0;
        for _ in 0..count {
            let digit = self.letter(at, |letter| letter.is_ascii_hexdigit())?;
            value = value * 16 + digit.letter.to_digit(16)?;
            at = digit.end;
        }
        Some((value, at))
    }

    /// `%41`, and the bytes of a longer character one after the other.
    fn percent(&self, at: usize) -> Option<Reading> {
        let (first, mut end) = self.hex(at, 2)?;
        let first = u8::try_from(first).ok()?;
        let length = match first {
            0..=0x7F => 1,
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            _ => 4,
        };
        let mut bytes = vec![first];
        while bytes.len() < length {
            let signs = self.at(end).filter(|reading| reading.letter == '%');
            let (byte, after) = signs
                .filter_map(|sign| self.hex(sign.end, 2))
                .find(|(byte, _)| (0x80..0xC0).contains(byte))?;
            bytes.push(u8::try_from(byte).ok()?);
            end = after;
        }
        let letter = std::str::from_utf8(&bytes).ok()?.chars().next()?;
        Some(Reading { letter, end })
    }

    /// `\/`, `\n`, `\u0041` (two of them for a letter beyond 16 bits), `\u{41}`, `\x41`.
    fn backslash(&self, kind: Reading) -> Option<Reading> {
        let letter = match kind.letter {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'b' => '\u{8}',
            'f' => '\u{c}',
            '0' => '\0',
            'x' => {
                let (code, end) = self.hex(kind.end, 2)?;
                return reading(code, end);
            }
            'u' => {
                if let Some(brace) = self.letter(kind.end, |letter| letter == '{') {
                    let (code, end) = self.number(brace.end, 16)?;
                    let brace = self.letter(end, |letter| letter == '}')?;
                    return reading(code, brace.end);
                }
                let (code, end) = self.hex(kind.end, 4)?;
                if !(0xD800..0xDC00).contains(&code) {
                    return reading(code, end);
                }
                let signs = self.at(end).filter(|reading| reading.letter == '\\');
                let (low, end) = signs
                    .filter_map(|sign| self.letter(sign.end, |letter| letter == 'u'))
                    .filter_map(|mark| self.hex(mark.end, 4))
                    .find(|(low, _)| (0xDC00..0xE000).contains(low))?;
                let low = low - 0xDC00;
                return reading(0x1_0000 + ((code - 0xD800) << 10) + low, end);
            }
            other if other.is_ascii_punctuation() => other,
            _ => return None,
        };
        let end = kind.end;
        Some(Reading { letter, end })
    }

    /// `&#65;`, `&#x41;`, `&amp;`.
    fn reference(&self, at: usize) -> Option<Reading> {
        if let Some(sign) = self.letter(at, |letter| letter == '#') {
            let (code, end) = match self.letter(sign.end, |letter| matches!(letter, 'x' | 'X')) {
                Some(mark) => self.number(mark.end, 16)?,
                None => self.number(sign.end, 10)?,
            };
            let semicolon = self.letter(end, |letter| letter == ';')?;
            return reading(code, semicolon.end);
        }
        let rest = self.text.get(at..)?;
        let names = [
            ("amp;", '&'),
            ("lt;", '<'),
            ("gt;", '>'),
            ("quot;", '"'),
            ("apos;", '\''),
        ];
        let (name, letter) = names.into_iter().find(|(name, _)| rest.starts_with(name))?;
        let end = at + name.len();
        Some(Reading { letter, end })
    }

    /// Digits, at most eight of them.
    fn number(&self, mut at: usize, radix: u32) -> Option<(u32, usize)> {
        let mut value = None;
        for _ in 0..8 {
            let Some(digit) = self.letter(at, |letter| letter.is_digit(radix)) else {
                break;
            };
            let digits = value.unwrap_or(0_u32).checked_mul(radix)?;
            value = Some(digits.checked_add(digit.letter.to_digit(radix)?)?);
            at = digit.end;
        }
        Some((value?, at))
    }
}

fn reading(code: u32, end: usize) -> Option<Reading> {
    let letter = char::from_u32(code)?;
    Some(Reading { letter, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_seen_through_also_inside_each_other() {
        let cases = [
            ("plain", "plain"),
            ("%41%c3%BC%F0%9F%98%80", "A\u{fc}\u{1f600}"),
            (r"a\/b\n\t\\", "a/b\n\t\\"),
            (r"\u0041\u{fc}\x41\ud83d\ude00", "A\u{fc}A\u{1f600}"),
            ("&#65;&#x41;&#x2f;&amp;&quot;", "AA/&\""),
            ("%2541", "A"),
            (r"%5Cu0041", "A"),
            (r"\\/", "/"),
            ("&amp;#47;", "/"),
            (r"\u002541", "A"),
            ("%F0%9F%98%2580", "\u{1f600}"),
            ("%25252F", "/"),
            (
                "100% sure %4 %zz \\d & &x; &#;",
                "100% sure %4 %zz \\d & &x; &#;",
            ),
            ("%ff%fe %c3", "%ff%fe %c3"),
            (r"\ud83d \ud83d\u0041", r"\ud83d \ud83dA"),
        ];
        for (text, expected) in cases {
            let readings = Readings::of(text);
            let decoded: String = readings
                .decoded(readings.depth())
                .into_iter()
                .map(|(letter, _, _)| letter)
                .collect();
            assert_eq!(decoded, expected, "{text}");
        }
    }

    #[test]
    fn every_place_keeps_its_letter() {
        let readings = Readings::of("%4%31");
        assert_eq!(readings.at(0).next().map(|first| first.letter), Some('%'));
        assert_eq!(readings.at(2).last().map(|last| last.letter), Some('1'));
        assert!(readings.ends_escape(5) && !readings.ends_escape(2));
    }
}

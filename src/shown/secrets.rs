//! The set of what this program authorizes itself with, and finding it in text, however it is written there.
//!
//! A server, or a proxy before it, may repeat a request in its answer; a user may paste a token into the wrong setting.
//! Each place where one stands, as it is, behind percent signs, backslashes or HTML references, whole, cut or in pieces,
//! becomes [`HIDDEN`]. So does one with characters inside that cleaning drops or replaces, such as a zero-width space or
//! a line break: what is left of such a text is the secret.
//!
//! A secret of one to three characters is part of ordinary words, and hiding it there would show it by its absence: it is
//! hidden only where it stands as a word of its own, and the configuration warns that it is too short to be one.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    ops::Range,
};

use super::{
    address,
    clean::{excerpt, is_replaced},
    readings::Readings,
};

/// What stands for a secret.
pub const HIDDEN: &str = "***";

/// Secrets of fewer characters are hidden as words only.
const WORD: usize = 4;

/// A piece of a longer secret of so many characters is hidden too: long enough to be no accident, short enough that
/// what is left of a secret is worth nothing.
const PIECE: usize = 12;

/// The beginning of a secret of so many characters is hidden where the text was cut behind it.
const CUT: usize = 6;

/// How Fly's tokens begin.
const TOKENS: [&str; 4] = ["fm2_", "fm1r_", "fm1a_", "fo1_"];

/// A letter of a reading, where it begins and where it ends.
type Letter = (char, usize, usize);

/// What nothing shown may repeat.
#[derive(Clone, Default)]
pub struct Secrets {
    whole: BTreeSet<String>,
    /// All pieces of the longer ones.
    pieces: HashSet<[char; PIECE]>,
}

/// Shows how many there are.
impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secrets({})", self.whole.len())
    }
}

impl Secrets {
    /// Adds a password, or anything else that is one secret as it is.
    pub fn add(&mut self, secret: &str) {
        self.put(secret);
        // As it is once it has become a part of a line.
        self.put(&excerpt(secret, usize::MAX));
        let readings = Readings::of(secret);
        for depth in 1..=readings.depth() {
            let decoded = readings.decoded(depth).into_iter();
            self.put(&decoded.map(|(letter, _, _)| letter).collect::<String>());
        }
    }

    /// Adds a token or the value of an `Authorization` header: the scheme before it is none, and each part of a list is
    /// one.
    pub fn add_token(&mut self, token: &str) {
        let mut rest = token.trim();
        while let Some((scheme, after)) = rest.split_once(char::is_whitespace) {
            let schemes = ["FlyV1", "Bearer", "Basic", "Token"];
            if !schemes.iter().any(|one| scheme.eq_ignore_ascii_case(one)) {
                break;
            }
            rest = after.trim();
        }
        self.add(rest);
        for part in rest.split(',') {
            self.add(part);
        }
    }

    /// Adds a certificate or a key: of PEM the lines between its marks, which alone are no secret.
    pub fn add_pem(&mut self, pem: &str) {
        if !pem.contains("-----BEGIN") {
            self.add(pem);
            return;
        }
        // Some tools put line breaks into variables as the two characters.
        for line in pem.replace("\\r", "").replace("\\n", "\n").lines() {
            let line = line.trim();
            if line.len() >= PIECE && !line.contains("-----") && !line.contains(':') {
                self.put(line);
            }
        }
    }

    /// Adds the secret parts of an address: its password, or its user where there is none, and the values in its query
    /// string.
    pub fn add_address(&mut self, written: &str) {
        for part in address::secret_parts(written) {
            self.add(&part);
        }
    }

    /// Adds what is constant in the secret parts of an address in which `open` stands for what is filled in for each app.
    pub fn add_open_address(&mut self, written: &str, open: char) {
        for rest in address::secret_rests(written, open) {
            self.add(&rest);
        }
    }

    /// Adds what has the form of a Fly token in `text`, so that its pieces are known as well.
    pub fn add_tokens_in(&mut self, text: &str) {
        let readings = Readings::of(text);
        for depth in 0..=readings.depth() {
            let letters = readings.decoded(depth);
            for range in tokens(&letters) {
                let token: String = letters[range].iter().map(|(letter, _, _)| letter).collect();
                self.add_token(&token);
            }
        }
    }

    /// Adds all of `others`.
    pub fn extend(&mut self, others: &Self) {
        self.whole.extend(others.whole.iter().cloned());
        self.pieces.extend(&others.pieces);
    }

    /// Whether `text` holds one of them as it is. Of those that are hidden as words only, one that is the whole text.
    #[must_use]
    pub fn are_in(&self, text: &str) -> bool {
        self.whole.iter().any(|secret| {
            if is_short(secret) {
                text == secret
            } else {
                text.contains(secret.as_str())
            }
        })
    }

    /// `text` with [`HIDDEN`] wherever one of them, or something of the form of a Fly token or a private key, stands.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        let readings = Readings::of(text);
        let mut ranges = Vec::new();
        for secret in &self.whole {
            find(secret, text, &readings, &mut ranges);
        }
        for depth in 0..=readings.depth() {
            let letters = readings.decoded(depth);
            let mut add = |letters: &[Letter], found: Vec<Range<usize>>| {
                let places = found.into_iter();
                ranges.extend(places.map(|range| letters[range.start].1..letters[range.end - 1].2));
            };
            add(&letters, tokens(&letters));
            add(&letters, private_keys(&letters));
            add(&letters, self.pieces(&letters));
            if letters.iter().any(|(letter, _, _)| is_replaced(*letter)) {
                let mut letters = letters;
                // What stands on the next line is another word, unless it goes on with a secret that is known.
                letters.retain(|(letter, _, _)| letter.is_whitespace() || !is_replaced(*letter));
                add(&letters, tokens(&letters));
                add(&letters, private_keys(&letters));
                letters.retain(|(letter, _, _)| !is_replaced(*letter));
                add(&letters, self.pieces(&letters));
            }
        }
        replaced(text, ranges)
    }

    fn put(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.is_empty() || !self.whole.insert(secret.to_owned()) {
            return;
        }
        let letters: Vec<char> = secret.chars().collect();
        if letters.len() > PIECE {
            let windows = letters.windows(PIECE);
            self.pieces
                .extend(windows.filter_map(|window| <[char; PIECE]>::try_from(window).ok()));
        }
    }

    fn pieces(&self, letters: &[(char, usize, usize)]) -> Vec<Range<usize>> {
        if self.pieces.is_empty() {
            return Vec::new();
        }
        let windows = letters.windows(PIECE).enumerate();
        windows
            .filter(|(_, window)| {
                let window = std::array::from_fn(|index| window[index].0);
                self.pieces.contains(&window)
            })
            .map(|(start, _)| start..start + PIECE)
            .collect()
    }
}

/// Whether `text` has something of the form of a Fly token in it.
#[must_use]
pub fn has_token_shape(text: &str) -> bool {
    let readings = Readings::of(text);
    (0..=readings.depth()).any(|depth| !tokens(&readings.decoded(depth)).is_empty())
}

fn is_short(secret: &str) -> bool {
    secret.chars().nth(WORD - 1).is_none()
}

/// The places where `secret` stands in some reading of the text, whole or cut.
fn find(secret: &str, text: &str, readings: &Readings<'_>, ranges: &mut Vec<Range<usize>>) {
    let is_short = is_short(secret);
    for start in 0..text.len() {
        let mut ends = vec![start];
        let mut length = 0;
        for letter in secret.chars() {
            let mut next: Vec<usize> = Vec::new();
            if length > 0 {
                ends = behind_replaced(ends, readings);
            }
            for end in &ends {
                for reading in readings.at(*end) {
                    let is_gap =
                        letter == ' ' && (reading.letter == '+' || reading.letter.is_whitespace());
                    if (reading.letter == letter || is_gap) && !next.contains(&reading.end) {
                        next.push(reading.end);
                    }
                }
            }
            if next.is_empty() {
                break;
            }
            ends = next;
            length += 1;
        }
        let is_whole = length == secret.chars().count();
        let end = ends.into_iter().filter(|end| {
            if is_whole {
                !is_short || is_word(text, readings, start, *end)
            } else {
                length >= CUT && is_cut(&text[*end..])
            }
        });
        ranges.extend(end.max().map(|end| start..end));
    }
}

/// These places, and those behind characters that cleaning drops or replaces there.
fn behind_replaced(places: Vec<usize>, readings: &Readings<'_>) -> Vec<usize> {
    let mut seen: BTreeSet<usize> = places.iter().copied().collect();
    let mut open = places;
    while let Some(place) = open.pop() {
        for reading in readings.at(place) {
            if is_replaced(reading.letter) && seen.insert(reading.end) {
                open.push(reading.end);
            }
        }
    }
    seen.into_iter().collect()
}

fn is_cut(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('\u{2026}') || rest.starts_with("...")
}

fn is_word(text: &str, readings: &Readings<'_>, start: usize, end: usize) -> bool {
    let before = text[..start].chars().next_back();
    (before.is_none_or(|letter| !letter.is_alphanumeric()) || readings.ends_escape(start))
        && (end == text.len()
            || readings
                .at(end)
                .any(|reading| !reading.letter.is_alphanumeric()))
}

fn is_of_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '+' | '/' | '=' | '_' | '-')
}

/// What has the form of a Fly token: one of [`TOKENS`] and more, or `FlyV1` and whatever word stands behind it.
fn tokens(letters: &[(char, usize, usize)]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for start in 0..letters.len() {
        let is_inside = start > 0 && {
            // Something that was left out may stand between the two.
            let (before, _, end) = letters[start - 1];
            end == letters[start].1 && (before.is_ascii_alphanumeric() || before == '_')
        };
        if is_inside {
            continue;
        }
        let word = |from: usize| {
            let rest = &letters[from.min(letters.len())..];
            from + rest
                .iter()
                .take_while(|(letter, _, _)| is_of_token(*letter))
                .count()
        };
        let token = TOKENS
            .iter()
            .find(|token| begins(&letters[start..], token, false));
        if let Some(token) = token {
            let end = word(start + token.len());
            if end > start + token.len() {
                found.push(start..end);
            }
        } else if begins(&letters[start..], "flyv1", true) {
            let gap = letters[start + 5..]
                .iter()
                .take_while(|(letter, _, _)| letter.is_whitespace() || *letter == '+')
                .count();
            let from = start + 5 + gap;
            let end = word(from);
            if gap > 0 && end > from {
                found.push(from..end);
            }
        }
    }
    found
}

/// The bodies of private keys in PEM. The marks alone are in messages that say what was expected.
fn private_keys(letters: &[(char, usize, usize)]) -> Vec<Range<usize>> {
    const MARK: &str = "PRIVATE KEY-----";
    let mut found = Vec::new();
    for start in 0..letters.len() {
        if letters[start].0 != 'P' || !begins(&letters[start..], MARK, false) {
            continue;
        }
        let body = start + MARK.len();
        let mut end = body;
        let mut at = body;
        loop {
            let gap = letters[at..]
                .iter()
                .take_while(|(letter, _, _)| letter.is_whitespace())
                .count();
            let length = letters[at + gap..]
                .iter()
                .take_while(|(letter, _, _)| is_of_token(*letter) && *letter != '-')
                .count();
            at += gap + length;
            // Only the last line is shorter than this, and `-----END` follows it.
            let is_last = length > 0 && end > body && followed_by_dashes(&letters[at..]);
            if length < 16 && !is_last {
                break;
            }
            end = at;
        }
        if end > body {
            found.push(body..end);
        }
    }
    found
}

fn followed_by_dashes(letters: &[(char, usize, usize)]) -> bool {
    let gap = letters
        .iter()
        .take_while(|(letter, _, _)| letter.is_whitespace())
        .count();
    begins(&letters[gap..], "-----", false)
}

fn begins(letters: &[(char, usize, usize)], word: &str, fold: bool) -> bool {
    letters.len() >= word.len()
        && letters.iter().zip(word.chars()).all(|(letter, expected)| {
            letter.0 == expected || (fold && letter.0.eq_ignore_ascii_case(&expected))
        })
}

fn replaced(text: &str, mut ranges: Vec<Range<usize>>) -> String {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    for range in ranges {
        if range.start >= at {
            // What touches the one before is a part of the same.
            if range.start > at || at == 0 {
                shown.push_str(&text[at..range.start]);
                shown.push_str(HIDDEN);
            }
        }
        at = at.max(range.end);
    }
    shown.push_str(&text[at..]);
    shown
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn secrets() -> Secrets {
        let mut secrets = Secrets::default();
        secrets.add_token("FlyV1 fm2_lJPEabcdef/ghijkl+mnopqr==,fm2_other");
        secrets.add("hunter2/+");
        secrets.add("q7");
        secrets.add_address("https://me:p%40ss%2Fw@host/x?apikey=k3y&dedup=true");
        secrets
    }

    #[test]
    fn a_secret_is_hidden_however_it_is_written() {
        let cases = [
            ("", ""),
            ("nothing of ours", "nothing of ours"),
            ("FlyV1 fm2_other is bad", "FlyV1 *** is bad"),
            (
                "FlyV1 fm2_lJPEabcdef/ghijkl+mnopqr==,fm2_other.",
                "FlyV1 ***.",
            ),
            ("token lJPEabcdef/ghijk... is bad", "token ***... is bad"),
            ("\u{2026}cdef/ghijkl+mnopqr==", "\u{2026}***"),
            (r"fm2_lJPEabcdef\/ghijkl\u002bmnopqr==", "***"),
            ("fm2%5FlJPEabcdef%2Fghijkl%2Bmnopqr%3D%3D&x", "***&x"),
            ("pass hunter2/+ no", "pass *** no"),
            (r#"{\"p\":\"hunter2\\/+\"}"#, r#"{\"p\":\"***\"}"#),
            ("?p=hunter2%2F%2b&x", "?p=***&x"),
            ("hunter2&#x2f;&#43;", "***"),
            ("%4hunter2/+", "%4***"),
            ("password hunter", "password ***"),
            ("hunter\u{2026}", "***\u{2026}"),
            ("the hunters ran", "the hunters ran"),
            ("user me, p@ss/w or p%40ss%2Fw", "user me, *** or ***"),
            ("Basic bWU6cEBzcy93", "Basic ***"),
            ("?apikey=k3y&dedup=true", "?apikey=***&dedup=true"),
            (
                "q7 is short, aq7 and q7b are words, %3Dq7%20",
                "*** is short, aq7 and q7b are words, %3D***%20",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(secrets().hide(text), expected, "{text}");
        }
    }

    #[test]
    fn what_has_the_form_of_a_token_or_key_needs_no_set() {
        let cases = [
            ("x fm2_lJPE/+= y", "x *** y"),
            ("fm1r_a,fm1a_b,fo1_c", "***,***,***"),
            ("FlyV1 abc", "FlyV1 ***"),
            ("flyv1%20abc", "flyv1%20***"),
            (
                "fm2_\u{2026} and `FlyV1 ` and FlyV1",
                "fm2_\u{2026} and `FlyV1 ` and FlyV1",
            ),
            ("info1_total and x_fo1_y", "info1_total and x_fo1_y"),
            (r"a\nfm2_x", r"a\n***"),
            (
                "expected `-----BEGIN PRIVATE KEY-----` here",
                "expected `-----BEGIN PRIVATE KEY-----` here",
            ),
            (
                "-----BEGIN PRIVATE KEY----- MIGHAgEAMBMGByqGSM49 AgEGCCqGSM49AwEH c2Vj -----END",
                "-----BEGIN PRIVATE KEY-----*** -----END",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Secrets::default().hide(text), expected, "{text}");
        }
        assert!(has_token_shape("fm2%5fx") && !has_token_shape("fm2_"));
    }

    #[test]
    fn the_marks_of_pem_are_no_secret_and_its_lines_are() {
        let mut secrets = Secrets::default();
        secrets.add_pem("-----BEGIN CERTIFICATE-----\\nMIGHAgEAMBMGByqG\\nSM49AgEGCCqGSM49\\n-----END CERTIFICATE-----\\n");
        let text = "found -----BEGIN CERTIFICATE----- MIGHAgEAMBMGByqG SM49AgEGCCqGSM49";
        assert_eq!(
            secrets.hide(text),
            "found -----BEGIN CERTIFICATE----- *** ***"
        );
    }

    #[test]
    fn hiding_takes_time_in_proportion_to_the_text() {
        let hostile = [
            "%25",
            "\\",
            "&#37;",
            "\\u0025",
            "fm2_",
            "FlyV1 ",
            "hunter",
            "-----BEGIN PRIVATE KEY-----",
        ];
        for piece in hostile {
            let text = piece.repeat(20_000 / piece.len());
            assert!(secrets().hide(&text).len() <= text.len(), "{piece}");
        }
    }

    #[test]
    fn a_debug_output_shows_none() {
        assert_eq!(format!("{:?}", Secrets::default()), "Secrets(0)");
        assert!(!format!("{:?}", secrets()).contains("hunter2"));
    }

    /// One way to write a text: `choices` says for each letter which.
    fn written(text: &str, choices: &[u8]) -> String {
        let mut shown = String::new();
        for (letter, choice) in text.chars().zip(choices.iter().cycle()) {
            match choice % 8 {
                1 => {
                    let mut utf8 = [0; 4];
                    for byte in letter.encode_utf8(&mut utf8).bytes() {
                        let digits = if choice / 8 % 2 == 0 {
                            format!("%{byte:02X}")
                        } else {
                            format!("%{byte:02x}")
                        };
                        shown += &digits;
                    }
                }
                2 => {
                    let mut units = [0; 2];
                    for unit in letter.encode_utf16(&mut units) {
                        write!(shown, "\\u{unit:04x}").unwrap();
                    }
                }
                3 => write!(shown, "&#{};", u32::from(letter)).unwrap(),
                4 => write!(shown, "&#x{:X};", u32::from(letter)).unwrap(),
                5 if letter.is_ascii_punctuation() => shown.extend(['\\', letter]),
                6 => write!(shown, "\\u{{{:x}}}", u32::from(letter)).unwrap(),
                7 if letter == ' ' => shown.push('+'),
                _ => shown.push(letter),
            }
        }
        shown
    }

    proptest! {
        /// The letters `~` are in nothing but the secret, so that what is left of it can be told.
        #[test]
        fn nothing_of_a_secret_is_left(
            secret in "~[a-z~/+=%&\\\\ \u{fc}\u{1f600}]{2,30}~",
            before in "[a-zA-F0-9%&\\\\# ]{0,6}",
            after in "[a-z0-9%;&\\\\ ]{0,6}",
            choices in prop::collection::vec(any::<u8>(), 1..20),
            again in prop::collection::vec(any::<u8>(), 1..20),
            rounds in 0..3_usize,
        ) {
            let mut secrets = Secrets::default();
            secrets.add(&secret);
            let mut repeated = secret.clone();
            if rounds > 0 {
                repeated = written(&repeated, &choices);
            }
            if rounds > 1 {
                repeated = written(&repeated, &again);
            }
            let text = format!("{before}{repeated}{after}");
            let shown = secrets.hide(&text);
            let readings = Readings::of(&shown);
            for depth in 0..=readings.depth() {
                let decoded: String = readings.decoded(depth).into_iter().map(|(letter, _, _)| letter).collect();
                prop_assert!(!decoded.contains(secret.trim()), "{} in {}", secret, shown);
            }
            prop_assert!(!shown.contains(&repeated), "{} in {}", repeated, shown);
            prop_assert!(shown.contains(HIDDEN), "{}", shown);
        }

        #[test]
        fn text_without_secrets_stays_as_it_is(text in "[ -~\u{fc}\u{1f600}]{0,60}") {
            let mut secrets = Secrets::default();
            secrets.add("\u{1f41f}-not-in-there");
            prop_assume!(!has_token_shape(&text));
            prop_assert_eq!(secrets.hide(&text), text);
        }

        #[test]
        fn a_cut_token_leaves_less_than_a_piece(
            token in "[A-Za-z0-9+/=]{24,60}",
            from in 0..20_usize,
            length in 0..60_usize,
        ) {
            let mut secrets = Secrets::default();
            secrets.add_token(&format!("FlyV1 {token}"));
            let cut: String = token.chars().skip(from).take(length).collect();
            let shown = secrets.hide(&format!("x {cut} y"));
            prop_assert!(cut.len() < PIECE || !shown.contains(&cut), "{}", shown);
        }
    }
}

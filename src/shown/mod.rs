//! What may be shown: text that leaves the process, cleaned, bounded and without secrets.
//!
//! Everything that is printed, logged or served as text goes through [`line()`] or [`block`] last, after it was decoded and
//! put together: nothing before has to know which secrets there are. The process holds one set of them ([`hold`]), filled
//! once the configuration is known; what has the form of a Fly token or of a private key is hidden without being in it.
//!
//! [`excerpt`] and [`printable`] make a peer's text fit for one line where it comes in, so that it cannot crowd out what
//! this program says about it. Cleaning changes characters that may stand inside a secret, so that it could not be found
//! afterwards: it is looked for before every cleaning, over such characters, and once more at the end. [`address()`] is how an address is written.

mod address;
mod clean;
mod readings;
mod secrets;

use std::sync::{PoisonError, RwLock};

pub use self::{
    address::{address, without_user, written_address},
    clean::is_unprintable,
    secrets::{HIDDEN, Secrets, has_token_shape},
};

/// The secrets of this process.
static HELD: RwLock<Option<Secrets>> = RwLock::new(None);

/// Adds `secrets` to those that nothing shown by this process repeats.
pub fn hold(secrets: &Secrets) {
    let mut held = HELD.write().unwrap_or_else(PoisonError::into_inner);
    held.get_or_insert_default().extend(secrets);
}

/// `text` on one line of at most about `limit` characters, as it may leave the process.
#[must_use]
pub fn line(text: &str, limit: usize) -> String {
    with_held(|secrets| secrets.hide(&cleaned(text, limit, secrets)))
}

/// `text` as it may leave the process, with its line breaks and its indentation.
#[must_use]
pub fn block(text: &str) -> String {
    with_held(|secrets| cleaned_block(text, secrets))
}

/// `text` without secrets and on one line: control and direction characters and runs of white space become one space each,
/// and what exceeds `limit` characters is replaced by `…`.
#[must_use]
pub fn excerpt(text: &str, limit: usize) -> String {
    with_held(|secrets| cleaned(text, limit, secrets))
}

/// `body` as [`excerpt`] shows it, or nothing if it is not text.
#[must_use]
pub fn printable(body: &[u8], limit: usize) -> String {
    clean::text_of(body, limit).map_or_else(String::new, |text| excerpt(text, limit))
}

fn cleaned(text: &str, limit: usize, secrets: &Secrets) -> String {
    // Enough for `limit` characters unless nearly all are white space; a peer's text can be of any length.
    let end = text
        .char_indices()
        .nth(limit.saturating_mul(8).saturating_add(64))
        .map_or(text.len(), |(end, _)| end);
    let mut shown = clean::excerpt(&secrets.hide(&text[..end]), limit);
    if end < text.len() && !shown.ends_with('…') {
        shown.push('…');
    }
    shown
}

fn cleaned_block(text: &str, secrets: &Secrets) -> String {
    clean::block(&secrets.hide(text))
}

fn with_held<T>(show: impl FnOnce(&Secrets) -> T) -> T {
    match &*HELD.read().unwrap_or_else(PoisonError::into_inner) {
        Some(secrets) => show(secrets),
        None => show(&Secrets::default()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_process_holds_is_in_nothing_that_leaves_it() {
        let mut secrets = Secrets::default();
        secrets.add("xyzzy-plugh");
        hold(&secrets);
        let mut others = Secrets::default();
        others.add("frobozz");
        hold(&others);
        assert_eq!(
            line("a\nxyzzy-plugh b\u{202e} %66robozz", 100),
            "a *** b ***"
        );
        assert_eq!(block("a\n  xyzzy-plugh\tb\u{202e}"), "a\n  ***\tb\u{fffd}");
        assert_eq!(line("xyzzy-plugh", 9), "***", "seen before it is cut");
        assert_eq!(printable("xyzzy\u{200b}-plugh".as_bytes(), 50), "***");
    }

    #[test]
    fn text_of_any_length_becomes_a_short_line() {
        let cases = [
            ("a".repeat(1 << 20), "aaaa…".to_owned()),
            (format!("a{}b", "\u{200b}".repeat(1 << 20)), "a…".to_owned()),
            ("a\n\nb".to_owned(), "a b".to_owned()),
        ];
        for (text, expected) in cases {
            assert_eq!(cleaned(&text, 4, &Secrets::default()), expected);
        }
    }

    #[test]
    fn what_cleaning_changes_inside_a_secret_does_not_show_it() {
        let mut secrets = Secrets::default();
        secrets.add("hunter2");
        secrets.add("q7");
        let cases = [
            ("pass hun\u{200b}ter2 no", "pass *** no"),
            ("pass h\u{feff}\u{feff}unter\u{1b}2", "pass ***"),
            ("pass hun\nter2 no", "pass *** no"),
            ("pass hun\u{a0}ter2", "pass ***"),
            ("pass hun\u{fffd}ter2", "pass ***"),
            ("pass hun\\u200bter2", "pass ***"),
            ("pass hun%E2%80%8Bter2", "pass ***"),
            ("q\u{200d}7 is short", "*** is short"),
            ("FlyV1 ab\u{200b}cd e", "FlyV1 *** e"),
            ("x\u{200b}fm2_ab\u{200b}cd e", "x *** e"),
            ("hun ter2 and the hunt er", "hun ter2 and the hunt er"),
        ];
        for (text, expected) in cases {
            assert_eq!(
                secrets.hide(&cleaned(text, 200, &secrets)),
                expected,
                "{text:?}"
            );
        }
    }

    /// A character that cleaning drops or replaces.
    fn changed() -> impl Strategy<Value = char> {
        let some: Vec<char> =
            "\u{0}\t\n\r\u{1b}\u{85}\u{a0}\u{ad}\u{200b}\u{200d}\u{2028}\u{202e}\u{2060}\u{3000}\u{feff}\u{fffd}"
                .chars()
                .collect();
        let all: Vec<char> = ('\0'..=char::MAX)
            .filter(|letter| clean::is_replaced(*letter))
            .collect();
        prop_oneof![prop::sample::select(some), prop::sample::select(all)]
    }

    proptest! {
        /// The letters `~` are in nothing but the secret, so that what is left of it can be told.
        #[test]
        fn nothing_of_a_secret_is_left_whatever_stands_between_its_letters(
            secret in "~[a-z0-9 /+]{2,20}~",
            between in prop::collection::vec((any::<prop::sample::Index>(), changed(), 1..4_usize), 0..6),
        ) {
            let mut secrets = Secrets::default();
            secrets.add(&secret);
            let mut letters: Vec<String> = secret.chars().map(String::from).collect();
            for (at, letter, times) in between {
                let at = at.index(letters.len() - 1);
                letters[at].extend(std::iter::repeat_n(letter, times));
            }
            let text = format!("before {} after", letters.concat());
            let shown = secrets.hide(&cleaned(&text, 500, &secrets));
            prop_assert_eq!(shown, "before *** after");
            prop_assert_eq!(cleaned_block(&text, &secrets), "before *** after");
        }
    }
}

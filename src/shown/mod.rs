//! What may be shown: text that leaves the process, cleaned, bounded and without secrets.
//!
//! Everything that is printed, logged or served as text goes through [`line()`] or [`block`] last, after it was decoded and
//! put together: nothing before has to know which secrets there are. The process holds one set of them ([`hold`]), filled
//! once the configuration is known; what has the form of a Fly token or of a private key is hidden without being in it.
//!
//! [`excerpt`] and [`printable`] make a peer's text fit for one line where it comes in, so that it cannot crowd out what
//! this program says about it. [`address()`] is how an address is written.

mod address;
mod base64;
mod clean;
mod readings;
mod secrets;

use std::sync::{PoisonError, RwLock};

pub use self::{
    address::{address, written_address},
    base64::base64,
    clean::{excerpt, is_unprintable, printable},
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
    hide(&excerpt(text, limit))
}

/// `text` as it may leave the process, with its line breaks and its indentation.
#[must_use]
pub fn block(text: &str) -> String {
    hide(&clean::block(text))
}

fn hide(text: &str) -> String {
    match &*HELD.read().unwrap_or_else(PoisonError::into_inner) {
        Some(secrets) => secrets.hide(text),
        None => Secrets::default().hide(text),
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            line("xyzzy-plugh", 9),
            "***\u{2026}",
            "cut before it is seen"
        );
    }
}

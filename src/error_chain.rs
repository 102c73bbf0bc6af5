//! An error and its causes in one line, for the place that handles it.

use std::error::Error;

/// The messages of `error` and of everything that caused it, joined by colons; a message that repeats the one before
/// it is left out.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !line.ends_with(&message) {
            line = format!("{line}: {message}");
        }
        cause = error.source();
    }
    line
}

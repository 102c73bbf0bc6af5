//! What is wrong or odd with the settings read so far, and what it takes to find that out.

use std::collections::BTreeSet;

use super::ConfigError;
use crate::shown::Secrets;

/// What was found while the settings were read.
#[derive(Default)]
pub(super) struct Problems {
    /// The mistakes.
    pub(super) errors: Vec<ConfigError>,
    /// What is odd but no mistake.
    pub(super) warnings: Vec<String>,
    /// Names of variables that the file or a query mentions.
    pub(super) referenced: BTreeSet<String>,
    /// What no message may show.
    pub(super) secrets: Secrets,
    /// Tokens in settings that hold none; other mistakes of these settings come from that.
    pub(super) misplaced: Vec<ConfigError>,
}

impl Problems {
    /// Adds a mistake.
    pub(super) fn refuse(&mut self, error: ConfigError) {
        self.errors.push(error);
    }
}

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
    /// Leaves of what was found several times only the first: policies share what they leave to the top
    /// level, and collectors of one server its settings.
    pub(super) fn tell_once(&mut self) {
        let mut told: Vec<ConfigError> = Vec::new();
        self.errors.retain(|error| {
            let is_new = !told.contains(error);
            if is_new {
                told.push(error.clone());
            }
            is_new
        });
        let mut told = BTreeSet::new();
        self.warnings.retain(|warning| told.insert(warning.clone()));
    }

    /// Adds a mistake.
    pub(super) fn refuse(&mut self, error: ConfigError) {
        self.errors.push(error);
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }
}

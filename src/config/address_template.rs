//! Addresses with `$APP_NAME` and `$REGION`, which may hold secrets: they are filled in for each app, and never shown whole.

use std::fmt;

use url::Url;

use super::{AddressTemplate, QueryTemplate, Subject};
use crate::shown::{address, written_address};

impl AddressTemplate {
    pub(super) fn new(template: QueryTemplate) -> Self {
        Self(template)
    }

    /// The address for an app or a region of it, with all secrets in it.
    #[must_use]
    pub fn render<'a>(&self, about: impl Into<Subject<'a>>) -> String {
        self.0.render(about)
    }

    /// Whether it is another one for each region.
    #[must_use]
    pub fn asks_each_region(&self) -> bool {
        self.0.asks_each_region()
    }

    /// The address as it may be shown: without user, password and query string.
    #[must_use]
    pub fn shown<'a>(&self, about: impl Into<Subject<'a>>) -> String {
        let written = self.render(about);
        Url::parse(&written).map_or_else(|_| written_address(&written), |url| address(&url))
    }
}

impl fmt::Debug for AddressTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown("$APP_NAME"), formatter)
    }
}

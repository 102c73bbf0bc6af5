//! Addresses with `$APP_NAME`, which may hold secrets: they are filled in for each app, and never shown whole.

use std::fmt;

use url::Url;

use super::{AddressTemplate, QueryTemplate};
use crate::shown::{address, written_address};

impl AddressTemplate {
    pub(super) fn new(template: QueryTemplate) -> Self {
        Self(template)
    }

    /// The address for `app`, with all secrets in it.
    #[must_use]
    pub fn render(&self, app: &str) -> String {
        self.0.render(app)
    }

    /// The address for `app` as it may be shown: without user, password and query string.
    #[must_use]
    pub fn shown(&self, app: &str) -> String {
        let written = self.render(app);
        Url::parse(&written).map_or_else(|_| written_address(&written), |url| address(&url))
    }
}

impl fmt::Debug for AddressTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown("$APP_NAME"), formatter)
    }
}

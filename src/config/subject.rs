//! What a query is about.

use std::sync::Arc;

/// What `$APP_NAME` and `$REGION` stand for when something is asked: an app, or one region of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The app's name.
    pub app: &'a str,
    /// The region, where each has a fleet of its own; without one, `$REGION` stays as it is.
    pub region: Option<&'a str>,
}

impl<'a> Subject<'a> {
    /// One region of an app.
    #[must_use]
    pub fn in_region(app: &'a str, region: &'a str) -> Self {
        Self {
            app,
            region: Some(region),
        }
    }
}

impl<'a> From<&'a str> for Subject<'a> {
    /// The whole app.
    fn from(app: &'a str) -> Self {
        Self { app, region: None }
    }
}

impl<'a> From<&'a String> for Subject<'a> {
    fn from(app: &'a String) -> Self {
        app.as_str().into()
    }
}

impl<'a> From<&'a Arc<str>> for Subject<'a> {
    fn from(app: &'a Arc<str>) -> Self {
        (**app).into()
    }
}

//! Which machines are meant.

use std::{fmt, ops::Deref, sync::Arc};

/// A fleet: an app's machines, and of those one process group's, and of those perhaps one region's. From `fleets.md`.
///
/// Clones share what they are: a fleet's name is kept in many places, once for each fleet, and taken along by every pass.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FleetName(Arc<FleetParts>);

/// What a [`FleetName`] is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FleetParts {
    /// The app.
    pub app: Arc<str>,
    /// The process group; `*` for all.
    pub group: Arc<str>,
    /// The region, where each has a target of its own.
    pub region: Option<Arc<str>>,
    /// Whether its policy is the only one of its app, so that the app's name is enough to tell which is meant.
    pub is_only: bool,
    /// What the user calls its policy, where that has a name of its own.
    pub policy: Option<Arc<str>>,
}

impl FleetParts {
    /// The only fleet of an app.
    #[must_use]
    pub fn only(app: impl Into<Arc<str>>, group: impl Into<Arc<str>>) -> Self {
        Self {
            app: app.into(),
            group: group.into(),
            region: None,
            is_only: true,
            policy: None,
        }
    }
}

impl From<FleetParts> for FleetName {
    fn from(parts: FleetParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for FleetName {
    type Target = FleetParts;

    fn deref(&self) -> &FleetParts {
        &self.0
    }
}

impl fmt::Debug for FleetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FleetName {
    /// The only fleet of an app.
    #[must_use]
    pub fn only(app: &str, group: &str) -> Self {
        FleetParts::only(app, group).into()
    }

    /// What comes before every fleet of an app in the order of names, and after those of the apps before it.
    #[must_use]
    pub fn before_all_of(app: impl Into<Arc<str>>) -> Self {
        let parts = FleetParts {
            is_only: false,
            ..FleetParts::only(app, "")
        };
        parts.into()
    }

    /// One of the regions of what this names.
    #[must_use]
    pub fn of_region(&self, region: &str) -> Self {
        let parts = FleetParts {
            region: Some(region.into()),
            ..(*self.0).clone()
        };
        parts.into()
    }

    /// The process group, where the app alone does not tell which fleet is meant.
    #[must_use]
    pub fn told_group(&self) -> Option<&str> {
        let is_told = !self.is_only || self.region.is_some();
        is_told.then_some(&*self.group)
    }
}

/// As short as is unambiguous: `my-app`, `my-app/worker`, `my-app/worker/iad`.
impl fmt::Display for FleetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.app)?;
        if let Some(group) = self.told_group() {
            write!(formatter, "/{group}")?;
        }
        if let Some(region) = &self.region {
            write!(formatter, "/{region}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_as_short_as_is_unambiguous() {
        let only = FleetName::only("my-app", "app");
        let one_of_several = FleetParts {
            is_only: false,
            ..FleetParts::only("my-app", "worker")
        };
        let one_of_several = FleetName::from(one_of_several);
        let of_region = one_of_several.of_region("iad");
        let of_only_group = only.of_region("iad");
        let names = [only, one_of_several, of_region, of_only_group].map(|name| name.to_string());
        assert_eq!(
            names,
            [
                "my-app",
                "my-app/worker",
                "my-app/worker/iad",
                "my-app/app/iad"
            ]
        );
    }
}

//! Which machines are meant.

use std::{fmt, sync::Arc};

/// A fleet: an app's machines, and of those one process group's, and of those perhaps one region's. From `fleets.md`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FleetName {
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

impl FleetName {
    /// The only fleet of an app.
    #[must_use]
    pub fn only(app: &str, group: &str) -> Self {
        Self {
            app: app.into(),
            group: group.into(),
            region: None,
            is_only: true,
            policy: None,
        }
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
        let one_of_several = FleetName {
            is_only: false,
            ..FleetName::only("my-app", "worker")
        };
        let of_region = FleetName {
            region: Some("iad".into()),
            ..one_of_several.clone()
        };
        let of_only_group = FleetName {
            region: Some("iad".into()),
            ..only.clone()
        };
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

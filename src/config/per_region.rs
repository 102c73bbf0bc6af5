//! `FAS_PER_REGION`: whether each region is a fleet of its own, which regions may then be named, and which machines two policies
//! have in common.

use super::{
    ConfigError, FleetConfig, Place,
    env::Environment,
    expansion::{REGION, names},
    file,
    problems::Problems,
    regions,
    settings::{Settings, Value},
    values,
};
use crate::scaling::{EVERY_GROUP, Policy};

/// Whether each region is a fleet of its own. That the setting cannot be read is told elsewhere.
pub(super) fn is_per_region(settings: &Settings) -> bool {
    let value = settings.per_region.as_ref();
    values::boolean(&mut Problems::default(), value, "false")
}

/// Whether `$REGION` stays as it is in a file, for the queries of a policy in it, or is replaced before the file is parsed, as
/// every other variable. Only a file that is parsed can say so.
pub(super) fn keeps_region(path: &str, text: &str, environment: &Environment) -> bool {
    if !names(text, REGION) {
        return false;
    }
    let raw = file::expand(path, text, environment, false)
        .and_then(|expanded| file::parse(path, text, &expanded, &mut Vec::new()));
    // What is wrong with it is told when it is read in earnest.
    let Ok(raw) = raw else { return false };
    let locate = |key: &str, line| Place::Key {
        key: key.to_owned(),
        path: path.to_owned(),
        line,
    };
    let of_environment = environment.settings(&mut Vec::new());
    let mut top = Settings::merge(of_environment, raw, &locate, &mut Vec::new());
    match top.policies.take() {
        Some(policies) => policies
            .into_iter()
            .any(|policy| is_per_region(&policy.under(&top))),
        None => is_per_region(&top),
    }
}

/// Refuses regions that no machine is in by that name, where each region is a fleet: it would be empty for ever, and be filled
/// again in each pass. One that is listed twice is one fleet.
pub(super) fn check_regions(problems: &mut Problems, settings: &Settings, policy: &mut Policy) {
    let (Some(value), Some(switch), true) =
        (&settings.regions, &settings.per_region, policy.per_region)
    else {
        return;
    };
    let mut refuse = |region: &str, what: &str| {
        let message = format!(
            "{} contains {what}, and with {} each region is a fleet of its own",
            value.label(),
            switch.label()
        );
        problems.refuse(
            ConfigError::new(value.place(), message)
                .value(region)
                .expected("the regions themselves, separated by commas")
                .example("iad,ord"),
        );
    };
    let mut own: Vec<String> = Vec::new();
    let mut repeated: Vec<String> = Vec::new();
    for region in std::mem::take(&mut policy.regions) {
        let lower = region.to_ascii_lowercase();
        if own.contains(&region) {
            repeated.push(region);
            continue;
        }
        if regions::is_alias(&lower) {
            refuse(&region, "an alias of regions, which no machine carries");
        } else if lower != region {
            refuse(&region, "capitals, which no machine's region has");
        }
        own.push(region);
    }
    repeated.sort_unstable();
    repeated.dedup();
    for region in repeated {
        problems.warn(format!(
            "{} lists {region} more than once: with {} it counts once",
            value.label(),
            switch.label()
        ));
    }
    policy.regions = own;
}

/// Which machines of an app a policy takes.
#[derive(Debug, Clone)]
pub(super) struct Share {
    group: String,
    /// Those in which it is a fleet: `None` if the machines of all regions are one; empty if each region is one.
    regions: Option<Vec<String>>,
}

/// What two policies of an app both take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Overlap {
    /// The same group, each as a whole.
    Group,
    /// The same group in a region, or in all.
    Region(Option<String>),
    /// One of them takes every group.
    EveryGroup,
}

/// What is left of a policy's machines where another policy comes before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Left {
    /// All of them.
    All,
    /// Those in other regions than these, each of which is a fleet.
    Without(Vec<String>),
    /// None.
    Nothing,
}

impl Share {
    /// What is left of it beside one that comes before it.
    pub(super) fn beside(&self, first: &Self) -> Left {
        if self.meets(first).is_none() {
            return Left::All;
        }
        let (Some(own), Some(taken)) = (&self.regions, &first.regions) else {
            return Left::Nothing;
        };
        if self.group != first.group || taken.is_empty() {
            return Left::Nothing;
        }
        if own.is_empty() {
            return Left::Without(taken.clone());
        }
        let common = own.iter().filter(|region| taken.contains(region));
        let common: Vec<String> = common.cloned().collect();
        match common.len() {
            0 => Left::Nothing,
            all if all == own.len() => Left::Nothing,
            _ => Left::Without(common),
        }
    }

    /// Whether it has anything in other regions than these.
    pub(super) fn has_any_but(&self, except: &[String]) -> bool {
        let regions = self.regions.as_ref().filter(|regions| !regions.is_empty());
        regions.is_none_or(|regions| regions.iter().any(|region| !except.contains(region)))
    }

    /// Whether it has a fleet for this region.
    pub(super) fn has(&self, region: &str) -> bool {
        let regions = self.regions.as_ref();
        regions.is_some_and(|regions| {
            let is_any = regions.is_empty() && !region.contains('/');
            is_any || regions.iter().any(|one| one == region)
        })
    }

    /// That of a policy as it is written.
    pub(super) fn written(settings: &Settings, default_group: &str) -> Self {
        let group = settings.process_group.as_ref();
        let regions = settings.regions.as_ref();
        Self {
            group: group.map_or(default_group, Value::text).to_owned(),
            regions: is_per_region(settings)
                .then(|| values::regions(&mut Problems::default(), regions, "")),
        }
    }

    /// The process group.
    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// What both take. One for every group is alone in its app.
    pub(super) fn meets(&self, other: &Self) -> Option<Overlap> {
        if self.group != other.group {
            let is_every = self.group == EVERY_GROUP || other.group == EVERY_GROUP;
            return is_every.then_some(Overlap::EveryGroup);
        }
        let (one, two) = match (&self.regions, &other.regions) {
            (None, None) => return Some(Overlap::Group),
            (Some(one), Some(two)) if !one.is_empty() && !two.is_empty() => (one, two),
            (Some(some), _) | (_, Some(some)) if !some.is_empty() => (some, some),
            _ => return Some(Overlap::Region(None)),
        };
        match one.iter().find(|region| two.contains(region)) {
            Some(common) => Some(Overlap::Region(Some(common.clone()))),
            None => (self.group == EVERY_GROUP).then_some(Overlap::EveryGroup),
        }
    }
}

impl From<&FleetConfig> for Share {
    fn from(fleet: &FleetConfig) -> Self {
        let policy = &fleet.policy;
        Self {
            group: policy.process_group.clone(),
            regions: policy.per_region.then(|| policy.regions.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group and its regions; `*`: each region; none: the group as a whole.
    fn share(text: &str) -> Share {
        let (group, regions) = text.split_once(' ').unwrap_or((text, "-"));
        let regions = (regions != "-").then(|| {
            let regions = regions.split(',').filter(|one| *one != "*");
            regions.map(str::to_owned).collect()
        });
        Share {
            group: group.to_owned(),
            regions,
        }
    }

    #[test]
    fn what_is_left_beside_the_first_is_every_fleet_that_it_does_not_have() {
        let without = |regions: &[&str]| {
            Left::Without(regions.iter().map(|region| (*region).to_owned()).collect())
        };
        let cases = [
            ("web iad", "web iad,ord", without(&["iad"])),
            ("web iad,fra", "web *", without(&["iad", "fra"])),
            ("web iad,ord", "web ord", Left::Nothing),
            ("web iad", "web ord", Left::All),
            ("web iad", "web", Left::Nothing),
            ("web *", "web iad", Left::Nothing),
            ("web *", "web *", Left::Nothing),
            ("web", "web iad", Left::Nothing),
            ("web iad", "worker iad", Left::All),
            ("* iad", "web iad,ord", Left::Nothing),
            ("web iad", "* iad,ord", Left::Nothing),
            ("* iad", "* ord", Left::Nothing),
        ];
        for (first, second, expected) in cases {
            assert_eq!(
                share(second).beside(&share(first)),
                expected,
                "{second} {first}"
            );
        }
    }

    #[test]
    fn policies_of_a_group_are_apart_where_both_list_regions_and_none_is_in_both() {
        let region = |name: &str| Some(Overlap::Region(Some(name.to_owned())));
        let cases = [
            ("web", "web", Some(Overlap::Group)),
            ("web", "worker", None),
            ("*", "web", Some(Overlap::EveryGroup)),
            ("*", "*", Some(Overlap::Group)),
            ("web iad", "web", region("iad")),
            ("web iad", "worker iad", None),
            ("web iad,ord", "web ord,iad", region("iad")),
            ("web ord", "web iad,ord", region("ord")),
            ("web iad", "web ord", None),
            ("web iad", "web *", region("iad")),
            ("web *", "web *", Some(Overlap::Region(None))),
            ("web *", "web", Some(Overlap::Region(None))),
            ("* iad", "web ord", Some(Overlap::EveryGroup)),
            ("* iad", "* ord", Some(Overlap::EveryGroup)),
            ("* iad", "* iad", region("iad")),
        ];
        for (one, other, expected) in cases {
            let (one, other) = (share(one), share(other));
            assert_eq!(one.meets(&other), expected, "{one:?} {other:?}");
            let back = other.meets(&one);
            assert_eq!(back.is_some(), expected.is_some(), "{other:?} {one:?}");
        }
    }
}

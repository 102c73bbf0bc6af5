//! Whose machines are whose where several policies would take the same: the first in the list has them.

use super::{
    AppPattern, Config, FleetConfig, OwnMachine,
    per_region::{Left, Share},
    settings::Settings,
    validate::{DEFAULT_PROCESS_GROUP, name_of},
};
use crate::scaling::EVERY_GROUP;

/// What a policy would take, were it alone.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The policy's name.
    pub policy: String,
    /// Which apps; nothing where that is neither a name nor a pattern.
    pattern: Option<AppPattern>,
    share: Share,
}

/// What a policy has of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its place among the policies.
    pub place: usize,
    /// The regions of its group that a policy before it has, where it has a fleet for each of the others.
    pub except: Vec<String>,
}

/// What a policy would take of an app that one before it has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shadowed {
    /// Its place among the policies.
    pub place: usize,
    /// The other one's.
    pub by: usize,
    /// The regions in question; empty: all that it would take.
    pub regions: Vec<String>,
}

impl Claim {
    /// That of a policy as it is written.
    pub(super) fn written(settings: &Settings) -> Self {
        let app = settings.app_name.as_ref();
        Self {
            policy: name_of(settings),
            pattern: app.and_then(|app| AppPattern::parse(app.text()).ok()),
            share: Share::written(settings, DEFAULT_PROCESS_GROUP),
        }
    }

    /// Whether it is about one app, by its name.
    pub(super) fn names_an_app(&self) -> bool {
        let pattern = self.pattern.as_ref();
        pattern.is_some_and(|pattern| !pattern.is_wildcard())
    }

    /// Whether it is about an app of this name. A pattern leaves the autoscaler's own app out where it means its own group.
    fn is_about(&self, app: &str, own: &OwnMachine) -> bool {
        let Some(pattern) = &self.pattern else {
            return false;
        };
        let group = self.share.group();
        let is_own =
            own.app.as_deref() == Some(app) && (group == EVERY_GROUP || group == own.process_group);
        pattern.takes(app) && !(pattern.is_wildcard() && is_own)
    }

    /// Which of several policies have what of an app, were it listed, and what the others lack of it.
    #[must_use]
    pub fn on(claims: &[Self], app: &str, own: &OwnMachine) -> (Vec<Taken>, Vec<Shadowed>) {
        let mut taken: Vec<Taken> = Vec::new();
        let mut shadowed = Vec::new();
        for (place, claim) in claims.iter().enumerate() {
            if !claim.is_about(app, own) {
                continue;
            }
            let mut except: Vec<String> = Vec::new();
            let mut lost = Vec::new();
            let mut is_left = true;
            for Taken { place: by, .. } in &taken {
                let by = *by;
                match claim.share.beside(&claims[by].share) {
                    Left::All => {}
                    Left::Nothing => {
                        lost = vec![Shadowed {
                            place,
                            by,
                            regions: Vec::new(),
                        }];
                        is_left = false;
                        break;
                    }
                    Left::Without(regions) => {
                        except.extend(regions.iter().cloned());
                        lost.push(Shadowed { place, by, regions });
                    }
                }
            }
            shadowed.extend(lost);
            if is_left && claim.share.has_any_but(&except) {
                taken.push(Taken { place, except });
            }
        }
        (taken, shadowed)
    }
}

impl From<&FleetConfig> for Claim {
    fn from(fleet: &FleetConfig) -> Self {
        Self {
            policy: fleet.name.clone(),
            pattern: Some(fleet.apps.pattern.clone()),
            share: fleet.into(),
        }
    }
}

/// What a policy has of one app.
#[derive(Debug, PartialEq, Eq)]
pub enum Has<'config> {
    /// All that it would take, but these regions.
    AllBut(Vec<String>),
    /// Nothing, because this one comes before it in the list.
    Nothing {
        /// Its name.
        by: &'config str,
    },
}

impl Config {
    /// What one of the policies has of an app beside all that the file has, those too that were not chosen.
    #[must_use]
    pub fn has(&self, fleet: &FleetConfig, app: &str) -> Has<'_> {
        let (taken, shadowed) = Claim::on(&self.claims, app, &self.own);
        let region = fleet.policy.region.as_deref();
        let is_in_question = |lost: &&Shadowed| {
            let mut regions = lost.regions.iter().map(String::as_str);
            let is_whole = lost.regions.is_empty();
            lost.place == fleet.place && (is_whole || regions.any(|one| Some(one) == region))
        };
        if let Some(lost) = shadowed.iter().find(is_in_question) {
            let by = &self.claims[lost.by].policy;
            return Has::Nothing { by };
        }
        let own = taken.into_iter().find(|taken| taken.place == fleet.place);
        Has::AllBut(own.map_or_else(Vec::new, |own| own.except))
    }
}

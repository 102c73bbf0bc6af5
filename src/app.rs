//! What one app keeps between passes: by which policies it is scaled, and the fleets that it has by them.
//!
//! A policy has one fleet of the app, or one for each region of its process group (`fleets.md`). Which regions those are is
//! set, or it is those in which the group has machines: a list tells. A region that was seen once keeps its fleet while
//! anything is remembered of it, for a list can lack a region that is there; nothing is done for it once it is known to
//! have none.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use crate::{
    collect::{BusyQuery, Collector},
    expr::{Names, Values},
    machines::AppClient,
    pass_log::PassLog,
    scaling::{
        Counts, Evaluation, FleetName, Machine, Memory, Now, Observed, Policy, TargetExpressions,
        regions_left_out, regions_of,
    },
};

/// What is wanted of a fleet, and where the numbers come from: one policy's share of every pass.
pub struct Wanted {
    /// Where metrics come from.
    pub collectors: Vec<Collector>,
    /// `FAS_PROMETHEUS_BUSY_QUERY`.
    pub busy: Option<BusyQuery>,
    /// The names that expressions may use.
    pub names: Names,
    /// The expressions.
    pub targets: Arc<TargetExpressions>,
    /// The settings that decisions read; a region's fleet has them as its own ([`FleetState::policy`]).
    pub policy: Arc<Policy>,
    /// Whether an app may be without machines: one that a wildcard matched, and nobody named.
    pub may_be_empty: bool,
}

/// What one app keeps between passes.
pub struct AppState {
    /// Its calls, with their cookies and pace.
    pub client: AppClient,
    /// What each of its fleets keeps; no two of them scale the same machines. Those of one policy stand together.
    pub fleets: Vec<FleetState>,
    /// Whether the app has not been among those that are scaled at some time since its last pass.
    pub was_away: bool,
    /// By what it is scaled, at least one.
    shares: Arc<[Share]>,
    /// Which regions of which policy's group the log has called no fleets.
    told_left_out: Vec<(usize, Vec<String>)>,
}

/// What one policy scales of an app.
pub struct Share {
    /// The app and the process group.
    pub name: FleetName,
    /// What is wanted of it.
    pub wanted: Arc<Wanted>,
    /// The regions of the group that another policy has, where each region is a fleet.
    pub except: Vec<String>,
}

impl Share {
    fn has_region(&self, region: &str) -> bool {
        self.except.iter().all(|taken| taken != region)
    }
}

/// What one fleet keeps between passes.
pub struct FleetState {
    /// Which one it is.
    pub name: FleetName,
    /// What is wanted of it.
    pub wanted: Arc<Wanted>,
    /// The settings that decisions read: the policy's, or one region's of it.
    pub policy: Arc<Policy>,
    /// Which of the app's policies that is, by its place among them.
    pub share: usize,
    /// What decisions remember.
    pub memory: Memory,
    /// What was said where the token was refused for a create, until one is accepted or none is wanted.
    pub refused_create: Option<String>,
    /// How much the last pass did for it, where it left something undone for want of time: the next one begins with the
    /// fleet that had the least.
    pub had: Option<usize>,
    /// When a pass began that left something undone and did something for it: of those that had as little, the one that has waited
    /// the longest comes first.
    pub served: Option<Instant>,
    /// What the log has said already.
    pub log: PassLog,
}

impl FleetState {
    /// Nothing remembered.
    fn new((place, share): (usize, &Share), region: Option<&str>) -> Self {
        let Share { name, wanted, .. } = share;
        Self {
            name: match region {
                Some(region) => name.of_region(region),
                None => name.clone(),
            },
            wanted: Arc::clone(wanted),
            policy: match region {
                Some(region) => Arc::new(wanted.policy.of_region(region)),
                None => Arc::clone(&wanted.policy),
            },
            share: place,
            memory: Memory::default(),
            refused_create: None,
            had: None,
            served: None,
            log: PassLog::default(),
        }
    }

    /// Whether it only stands for the regions of its group, of which none is known yet, or there is none.
    #[must_use]
    pub fn lacks_regions(&self) -> bool {
        self.policy.per_region && self.policy.region.is_none()
    }

    /// Whether its region was one only because it had machines, and has none any longer: nobody asked for one there.
    #[must_use]
    pub fn is_over(&self, observed: &Observed) -> bool {
        let is_found = self.policy.region.is_some() && self.wanted.policy.regions.is_empty();
        is_found && observed.is_vacant()
    }

    /// What the expressions ask for when they see these machines. A metric of the name of a count stands in for it.
    pub fn evaluate(&self, observed: &Observed, values: &Values, now: Now) -> Evaluation {
        let collectors = &self.wanted.collectors;
        let is_metric = |name: &str| collectors.iter().any(|one| one.metric() == name);
        let values = Counts::of(observed).beside(values, is_metric);
        self.wanted.targets.evaluate(&values, now)
    }
}

impl AppState {
    /// Whether lists have shown all that was done to the app's machines, or would have by now.
    #[must_use]
    pub fn expects_nothing(&self, now: std::time::Instant) -> bool {
        let mut fleets = self.fleets.iter();
        fleets.all(|fleet| fleet.memory.expects_nothing(now))
    }

    /// Nothing remembered; `shares` are in the order of the configuration.
    #[must_use]
    pub fn new(client: AppClient, shares: Vec<Share>) -> Self {
        let fleets = shares.iter().enumerate().flat_map(|share| {
            let policy = &share.1.wanted.policy;
            let regions = policy.regions.iter();
            let regions = regions.filter(|one| policy.per_region && share.1.has_region(one));
            let regions: BTreeSet<&str> = regions.map(String::as_str).collect();
            let regions = regions.into_iter();
            let fleets = regions.map(|region| FleetState::new(share, Some(region)));
            let mut fleets: Vec<FleetState> = fleets.collect();
            if fleets.is_empty() {
                fleets.push(FleetState::new(share, None));
            }
            fleets
        });
        // Room for no more than there are: they are large, and an app mostly has one.
        let fleets: Box<[FleetState]> = fleets.collect();
        Self {
            client,
            fleets: fleets.into(),
            was_away: false,
            shares: shares.into(),
            told_left_out: Vec::new(),
        }
    }

    /// By what it is scaled.
    #[must_use]
    pub fn shares(&self) -> Arc<[Share]> {
        Arc::clone(&self.shares)
    }

    /// Gives each region in which such a group has machines a fleet, and takes fleets back of regions that have none and of
    /// which nothing is remembered.
    pub fn note_regions(&mut self, listed: &ListedRegions, now: Instant) {
        for (place, regions) in &listed.left_out {
            let mut told = self.told_left_out.iter();
            let told = told.find(|(of, _)| of == place).map(|(_, told)| told);
            // A list can lack some for once, which are no news when they are there again.
            let is_told = |region| told.is_some_and(|told| told.contains(region));
            if regions.iter().all(is_told) {
                continue;
            }
            self.told_left_out.retain(|(of, _)| of != place);
            self.told_left_out.push((*place, regions.clone()));
            if let Some(share) = self.shares.get(*place) {
                let are_named = !share.wanted.policy.regions.is_empty();
                PassLog::warn_of_regions_left_out(&share.name, regions, are_named);
            }
        }
        for (share, regions) in self.shares().iter().enumerate().zip(&listed.found) {
            let Some(regions) = regions else { continue };
            let is_of_share = |fleet: &FleetState| fleet.share == share.0;
            let first = self.fleets.iter().position(is_of_share).unwrap_or(0);
            let count = self
                .fleets
                .iter()
                .filter(|fleet| is_of_share(fleet))
                .count();
            let known = self.fleets.splice(first..first + count, []);
            let mut fleets: Vec<FleetState> = known
                .filter(|fleet| match &fleet.policy.region {
                    Some(region) => regions.contains(&**region) || !fleet.memory.is_blank(now),
                    None => regions.is_empty(),
                })
                .collect();
            for region in regions {
                let mut known = fleets.iter();
                if !known.any(|fleet| fleet.policy.region.as_deref() == Some(region)) {
                    fleets.push(FleetState::new(share, Some(region)));
                }
            }
            if fleets.is_empty() {
                fleets.push(FleetState::new(share, None));
            }
            fleets.sort_by(|one, other| one.name.region.cmp(&other.name.region));
            self.fleets.splice(first..first, fleets);
        }
    }
}

/// The regions in which a list shows machines of each policy's group.
pub struct ListedRegions {
    /// Where they are not set.
    found: Vec<Option<BTreeSet<String>>>,
    /// Those that are no fleets although each region is one, by the place of the policy; of policies that have some.
    left_out: Vec<(usize, Vec<String>)>,
}

impl ListedRegions {
    /// What a list shows to an app that is scaled by this.
    #[must_use]
    pub fn of(machines: &[Machine], shares: &[Share]) -> Self {
        let are_listed = |share: &Share| {
            let policy = &share.wanted.policy;
            policy.per_region && policy.regions.is_empty()
        };
        let found = shares.iter().map(|share| {
            let policy = &share.wanted.policy;
            are_listed(share).then(|| {
                let mut regions = regions_of(machines, policy);
                regions.retain(|region| share.has_region(region));
                regions
            })
        });
        let policies: Vec<&Policy> = shares.iter().map(|share| &*share.wanted.policy).collect();
        let left_out = (0..shares.len()).filter_map(|place| {
            let regions = regions_left_out(machines, &policies, place);
            (!regions.is_empty()).then_some((place, regions))
        });
        Self {
            found: found.collect(),
            left_out: left_out.collect(),
        }
    }

    /// Whether there are any of the policy at this place.
    #[must_use]
    pub fn are_found(&self, share: usize) -> bool {
        let regions = self.found.get(share).and_then(Option::as_ref);
        regions.is_some_and(|regions| !regions.is_empty())
    }
}

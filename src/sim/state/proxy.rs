//! Fly Proxy: it spreads an app's requests over its running machines, starts one when all are busy, stops what is
//! too much.
//!
//! It only acts on machines that exist; it never creates one. Requests are modelled as how many are being served at
//! once: machines are filled up to the soft limit one after the other, and what is beyond all soft limits is spread
//! evenly. Filling one after the other is what makes the proxy's rule for stopping settle; an even spread would make it
//! stop a machine and start it again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::SignedDuration;

use super::{App, Due, HostStatus, Machine, MachineState, Platform, Sample, StopOrder};
use crate::sim::records::Actor;

/// The shortest time between two looks, so that the proxy's work stays bounded.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// The most machines that are presumed of a past that nobody remembers.
const MOST_PRESUMED: u16 = 1000;

/// What the proxy does with a machine that is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Autostop {
    /// Nothing.
    Off,
    /// It stops it.
    #[default]
    Stop,
    /// It suspends it.
    Suspend,
}

/// How the proxy serves an app.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxySettings {
    /// How many requests at once a machine takes before another is better.
    pub soft_limit: f64,
    /// Whether stopped and suspended machines are started when all running ones are at their soft limit.
    pub autostart: bool,
    /// What happens to machines that are too much.
    pub autostop: Autostop,
    /// How many machines stay running in the primary region.
    pub min_machines_running: usize,
    /// The region that the requests come from.
    pub primary_region: String,
    /// The process group that has a service; empty means every machine.
    pub group: String,
    /// How soon a lack of machines is noticed.
    pub start_every: Duration,
    /// How often each region is looked at for a machine too much.
    pub stop_every: Duration,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            soft_limit: 20.0,
            autostart: true,
            autostop: Autostop::Stop,
            min_machines_running: 0,
            primary_region: "ord".to_owned(),
            group: String::new(),
            start_every: Duration::from_secs(1),
            stop_every: Duration::from_secs(180),
        }
    }
}

#[derive(Debug)]
pub(super) struct ProxyRun {
    settings: ProxySettings,
    run: u64,
}

impl App {
    /// How many of the requests that there are at `at` are beyond the soft limits of the machines that serve; none where
    /// there is no proxy, and so no limit.
    #[must_use]
    pub fn waiting_at(&self, at: Duration) -> f64 {
        let Some(proxy) = &self.proxy else { return 0.0 };
        let room = self.shares(at).len() as f64 * proxy.settings.soft_limit.max(0.0);
        (self.load_at(at) - room).max(0.0)
    }

    /// What a metric of an app's machines was at a moment of which nothing is remembered, as its traffic tells: as many
    /// machines ran as it fills.
    pub(super) fn presumed(&self, name: &str, then: SignedDuration) -> Vec<Sample> {
        let proxy = self.proxy.as_ref().map(|proxy| &proxy.settings);
        let load = self.traffic.curve_at(then.unsigned_abs());
        let (Some(settings), Some(load)) = (proxy, load) else {
            return Vec::new();
        };
        let load = if load.is_finite() { load.max(0.0) } else { 0.0 };
        let filled = (load / settings.soft_limit.max(1.0)).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is not negative, and bounded"
        )]
        let running = (filled.min(f64::from(MOST_PRESUMED)) as usize)
            .max(settings.min_machines_running.min(MOST_PRESUMED.into()));
        let machine = |number: usize| Sample {
            labels: [
                ("app", self.name.to_string()),
                ("host", format!("{}-past", settings.primary_region)),
                ("instance", format!("{number:014x}")),
                ("region", settings.primary_region.clone()),
            ]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
            value: if name == "fly_app_concurrency" {
                load / running as f64
            } else {
                1.0
            },
        };
        (1..=running).map(machine).collect()
    }

    /// How many requests each machine that serves has to serve at `at`; those the proxy fills first come first.
    pub(super) fn shares(&self, at: Duration) -> Vec<(&Machine, f64)> {
        let settings = self.proxy.as_ref().map(|proxy| &proxy.settings);
        let mut serving: Vec<&Machine> = self
            .machines_at(at)
            .filter(|machine| {
                machine.state == MachineState::Started
                    && !machine.cordoned
                    && machine.host_status != HostStatus::Unreachable
                    && settings.is_none_or(|settings| machine.is_of(&settings.group))
            })
            .collect();
        let primary = settings.map_or("", |settings| &settings.primary_region);
        serving.sort_by_key(|machine| (*machine.region != *primary, &machine.region, &machine.id));
        let soft_limit = settings.map_or(0.0, |settings| settings.soft_limit.max(0.0));
        let mut left = self.load_at(at);
        let mut shares: Vec<(&Machine, f64)> = serving
            .into_iter()
            .map(|machine| {
                let share = left.min(soft_limit);
                left -= share;
                (machine, share)
            })
            .collect();
        let excess = left / shares.len().max(1) as f64;
        for (_, share) in &mut shares {
            *share += excess;
        }
        shares
    }
}

impl Platform {
    /// Puts an app behind the proxy with these settings, or takes it away from it.
    pub fn set_proxy(&mut self, app: &str, settings: Option<ProxySettings>) {
        self.serial += 1;
        let (run, now) = (self.serial, self.now);
        let Some(found) = self.apps.get_mut(app) else {
            return;
        };
        let Some(settings) = settings else {
            found.proxy = None;
            return;
        };
        let start = now.saturating_add(settings.start_every.max(SHORTEST_PAUSE));
        let stop = now.saturating_add(settings.stop_every.max(SHORTEST_PAUSE));
        let name = Arc::clone(&found.name);
        found.proxy = Some(ProxyRun { settings, run });
        let app = Arc::clone(&name);
        self.schedule(start, Due::ProxyStart { app, run });
        self.schedule(stop, Due::ProxyStop { app: name, run });
    }

    /// An app's settings, if this run of the proxy is the one that serves it.
    fn proxy_settings(&self, app: &str, run: u64) -> Option<ProxySettings> {
        let proxy = self.app(app)?.proxy.as_ref()?;
        (proxy.run == run).then(|| proxy.settings.clone())
    }

    /// Starts one machine if every running one is at its soft limit and none is on its way.
    pub(super) fn proxy_start(&mut self, app: &Arc<str>, run: u64) {
        let Some(settings) = self.proxy_settings(app, run) else {
            return;
        };
        let next = self
            .now
            .saturating_add(settings.start_every.max(SHORTEST_PAUSE));
        let due = Due::ProxyStart {
            app: Arc::clone(app),
            run,
        };
        self.schedule(next, due);
        if !settings.autostart {
            return;
        }
        let Some(found) = self.app(app) else { return };
        let busy = found.load_at(self.now) > 0.0
            && found
                .shares(self.now)
                .iter()
                .all(|(_, share)| *share >= settings.soft_limit);
        let on_the_way = found.machines().any(|machine| {
            machine.state == MachineState::Starting && machine.is_of(&settings.group)
        });
        if !busy || on_the_way {
            return;
        }
        let mut candidates: Vec<&Machine> = found
            .machines()
            .filter(|machine| {
                matches!(
                    machine.state,
                    MachineState::Stopped | MachineState::Suspended
                ) && !machine.cordoned
                    && machine.host_status == HostStatus::Ok
                    && machine.is_of(&settings.group)
            })
            .collect();
        candidates.sort_by_key(|machine| {
            let far = *machine.region != *settings.primary_region;
            (far, &machine.region, &machine.id)
        });
        let ids: Vec<Arc<str>> = candidates
            .into_iter()
            .map(|machine| Arc::clone(&machine.id))
            .collect();
        for id in ids {
            if self.start_machine(app, &id, Actor::Proxy.into()).is_ok() {
                return;
            }
        }
    }

    /// Stops at most one machine of each region that has more running than its requests need.
    pub(super) fn proxy_stop(&mut self, app: &Arc<str>, run: u64) {
        let Some(settings) = self.proxy_settings(app, run) else {
            return;
        };
        let next = self
            .now
            .saturating_add(settings.stop_every.max(SHORTEST_PAUSE));
        let due = Due::ProxyStop {
            app: Arc::clone(app),
            run,
        };
        self.schedule(next, due);
        if settings.autostop == Autostop::Off {
            return;
        }
        let Some(found) = self.app(app) else { return };
        let mut regions: BTreeMap<&str, Vec<(&Machine, f64)>> = BTreeMap::new();
        for (machine, share) in found.shares(self.now) {
            regions
                .entry(&machine.region)
                .or_default()
                .push((machine, share));
        }
        let mut surplus: Vec<Arc<str>> = Vec::new();
        for (region, shares) in regions {
            let running = shares.len();
            let busy = shares
                .iter()
                .filter(|(_, share)| *share >= settings.soft_limit)
                .count();
            let kept = if region == settings.primary_region {
                settings.min_machines_running
            } else {
                0
            };
            let idle = shares.iter().all(|(_, share)| *share <= 0.0);
            let too_many = running > busy + 1 || (running == 1 && idle);
            // The last of those that are filled serves the fewest.
            if let Some((machine, _)) = shares.last().filter(|_| too_many && running > kept) {
                surplus.push(Arc::clone(&machine.id));
            }
        }
        for id in surplus {
            // A machine that is leased or cut off is looked at again the next time.
            let _ = match settings.autostop {
                Autostop::Off => Ok(()),
                Autostop::Stop => {
                    self.stop_machine(app, &id, Actor::Proxy.into(), StopOrder::default())
                }
                Autostop::Suspend => self.suspend_machine(app, &id, Actor::Proxy.into()),
            };
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::sim::{NewMachine, Options};

    fn app(settings: ProxySettings, started: usize, stopped: usize) -> Platform {
        let mut platform = Platform::new(&Options::default());
        platform.add_app("web", "acme");
        let machine = NewMachine::in_region("ord");
        platform.add_machines("web", started, &machine).unwrap();
        platform
            .add_machines("web", stopped, &machine.state(MachineState::Stopped))
            .unwrap();
        platform.set_proxy("web", Some(settings));
        platform
    }

    fn ten() -> ProxySettings {
        ProxySettings {
            soft_limit: 10.0,
            ..ProxySettings::default()
        }
    }

    #[test]
    fn the_proxy_starts_what_it_needs_and_stops_what_it_does_not() {
        // Settings, started and stopped at first, requests, and how many run after a minute and after an hour.
        let off = ProxySettings {
            autostop: Autostop::Off,
            ..ten()
        };
        let no_start = ProxySettings {
            autostart: false,
            ..ten()
        };
        let keep_two = ProxySettings {
            min_machines_running: 2,
            ..ten()
        };
        let cases = [
            ("no requests", ten(), 3, 0, 0.0, 3, 0),
            ("no requests, some kept", keep_two, 3, 0, 0.0, 3, 2),
            ("below the soft limit", ten(), 1, 2, 9.0, 1, 1),
            ("at the soft limit", ten(), 1, 2, 10.0, 2, 2),
            ("over it", ten(), 1, 2, 15.0, 2, 2),
            ("far over it", ten(), 1, 2, 100.0, 3, 3),
            ("nothing to start", ten(), 2, 0, 100.0, 2, 2),
            ("from nothing", ten(), 0, 2, 1.0, 1, 1),
            ("too many", ten(), 4, 0, 15.0, 4, 2),
            ("too many, but left alone", off, 4, 0, 15.0, 4, 4),
            ("not started", no_start, 1, 2, 100.0, 1, 1),
        ];
        for (name, settings, started, stopped, load, minute, hour) in cases {
            let mut platform = app(settings, started, stopped);
            platform.set_load("web", load);
            platform.advance(Duration::from_secs(60));
            let after_a_minute = platform.started("web");
            platform.advance(Duration::from_secs(3600));
            let after_an_hour = platform.started("web");
            assert_eq!((after_a_minute, after_an_hour), (minute, hour), "{name}");
            assert_eq!(platform.living("web", ""), started + stopped, "{name}");
            assert!(
                platform
                    .changes()
                    .iter()
                    .filter(|change| change.kind == crate::sim::ChangeKind::Start)
                    .all(|change| change.actor == Actor::Proxy),
                "{name}"
            );
        }
    }

    #[test]
    fn one_machine_of_a_region_is_stopped_at_a_time() {
        let mut platform = app(ten(), 3, 0);
        let seen: Vec<usize> = (1..=4)
            .map(|round| {
                platform.advance(Duration::from_secs(180) * round + Duration::from_secs(5));
                platform.started("web")
            })
            .collect();
        assert_eq!(seen, [2, 1, 0, 0]);
    }

    #[test]
    fn cordoned_machines_other_groups_and_suspending_are_heeded() {
        let settings = ProxySettings {
            autostop: Autostop::Suspend,
            group: "app".to_owned(),
            ..ten()
        };
        let mut platform = app(settings, 1, 0);
        let stopped = NewMachine::in_region("ord").state(MachineState::Stopped);
        platform
            .add_machine("web", stopped.clone().cordoned())
            .unwrap();
        platform.add_machine("web", stopped.group("jobs")).unwrap();
        platform.set_load("web", 100.0);
        platform.advance(Duration::from_secs(60));
        assert_eq!(platform.started("web"), 1);
        platform.set_load("web", 0.0);
        platform.advance(Duration::from_secs(600));
        let suspended = platform
            .app("web")
            .unwrap()
            .machines()
            .filter(|machine| machine.state == MachineState::Suspended)
            .count();
        assert_eq!(suspended, 1);
    }

    #[test]
    fn requests_fill_one_machine_after_the_other() {
        let mut platform = app(ten(), 3, 0);
        for (load, expected, waiting) in [
            (0.0, [0.0, 0.0, 0.0], 0.0),
            (15.0, [10.0, 5.0, 0.0], 0.0),
            (36.0, [12.0, 12.0, 12.0], 6.0),
            (f64::NAN, [0.0, 0.0, 0.0], 0.0),
        ] {
            platform.set_load("web", load);
            let app = platform.app("web").unwrap();
            let shares: Vec<f64> = app
                .shares(platform.now())
                .iter()
                .map(|(_, share)| *share)
                .collect();
            assert_eq!(shares, expected, "{load}");
            let found = app.waiting_at(platform.now());
            assert!((found - waiting).abs() < 1e-9, "{load}: {found}");
        }
    }
}

//! The stage of the demo: the platform before the day begins, the daemon's settings for it, and how each event is brought
//! about on it.

use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};
use serde_json::json;

use super::{
    director::LOOK,
    relay,
    script::{DAY, Event, Speed},
};
use crate::sim::{
    Access, Canned, Clock, DailyCurve, Deploy, Effect, Fault, MetricsSettings, NewMachine,
    Operation, Options, Platform, ProxySettings, Random, Release, Strategy, Token,
};

/// The most apps that there may be.
pub const MOST_APPS: u16 = 500;

/// The most apps times the speed. A release build on one core keeps up with it: some 1,700 passes a second.
const MOST_WORK: f64 = 2_500.0;

/// The most copies of the daemon that there may be.
pub const MOST_COPIES: u8 = 3;

/// The app that is deployed in the story; the others are called alike, with a number.
pub const APP: &str = "my-target-app";

/// The region of the first machine, in which the requests arrive.
pub const HOME: &str = "ord";

/// The region that fails.
pub const FAILING: &str = "ams";

const ORG: &str = "demo";
const API_TOKEN: &str = "fm2_demo_machines";
const PROMETHEUS_TOKEN: &str = "fm2_demo_metrics";
const CONSUL_TOKEN: &str = "demo-consul-token";
const CONSUL_PREFIX: &str = "my-autoscaler/";

/// Requests that one machine takes at once before the proxy wakes another.
const SOFT_LIMIT: u32 = 10;

/// The most machines that the expression asks for.
const MOST: u32 = 10;

/// The requests at once in the quietest moment and in the busiest one, before noise: from a machine that is nearly idle
/// to nearly all that the expression allows.
const REQUESTS: (f64, f64) = (4.0, 84.0);

/// The time between two steps of a deploy. With [`MOST`] machines, made and destroyed one a step, it lasts for two hours
/// of the day.
const DEPLOY_PACE: Duration = Duration::from_secs(8);

/// Who plays, and what chance depends on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cast {
    /// How many apps there are; at least 1.
    pub apps: u16,
    /// What all chance depends on: the traffic's noise, the names of machines, how long each takes to be made.
    pub seed: u64,
    /// How fast it is played.
    pub speed: Speed,
    /// Whether each region has targets of its own.
    pub regions: bool,
    /// How many copies of the daemon there are; at least 1. Several take turns by a lock.
    pub copies: u8,
}

impl Cast {
    /// Whether so many apps can be played so fast: there are passes over each, and the platform has to be simulated too.
    ///
    /// # Errors
    ///
    /// With what would be possible.
    pub fn check(self) -> Result<(), String> {
        let factor = self.speed.factor();
        // Each copy makes all passes.
        let most = (MOST_WORK / factor / f64::from(self.copies.max(1)))
            .min(f64::from(MOST_APPS))
            .floor();
        if f64::from(self.apps) <= most {
            return Ok(());
        }
        let copies = match self.copies {
            0 | 1 => String::new(),
            copies => format!(" with --copies {copies}"),
        };
        Err(format!(
            "--apps {} is too many for --speed {factor}{copies}: at most {most} at this speed",
            self.apps
        ))
    }

    /// The name of each app.
    pub fn names(self) -> impl Iterator<Item = String> {
        (1..=self.apps.max(1)).map(|number| match number {
            1 => APP.to_owned(),
            _ => format!("{APP}-{number}"),
        })
    }

    /// What the platform starts with; the clock on the wall shows `epoch` then.
    #[must_use]
    pub fn options(self, epoch: Timestamp) -> Options {
        Options {
            seed: self.seed,
            epoch,
            clock: Clock::Running {
                speed: self.speed.pace(),
            },
            metrics: MetricsSettings::fly(),
            machines_access: Access::Tokens(vec![Token::new(API_TOKEN)]),
            prometheus_access: Access::Tokens(vec![Token::new(PROMETHEUS_TOKEN)]),
            default_region: HOME.to_owned(),
            ..Options::default()
        }
    }

    /// Sets the platform up: of each app one started machine, at dawn.
    pub fn set(self, platform: &mut Platform) {
        if self.copies > 1 {
            let consul = platform.consul_mut();
            consul.set_token(CONSUL_TOKEN, CONSUL_PREFIX);
            // The daemon renews its session at life's pace, however fast the platform's time passes.
            consul.set_pace(self.speed.pace());
        }
        let mut random = Random::new(self.seed);
        for (number, app) in self.names().enumerate() {
            platform.add_app(&app, ORG);
            // The scene is set with values that the simulator accepts.
            let machine = NewMachine::in_region(HOME).services(&services());
            let _ = platform.add_machine(&app, machine);
            let created_at = platform.wall().checked_sub(1.hour()).unwrap_or_default();
            platform.set_release(
                &app,
                Some(Release {
                    version: 1,
                    status: "complete".to_owned(),
                    created_at,
                    updated_at: created_at,
                    image: format!("registry.fly.io/{app}:v1"),
                }),
            );
            platform.set_proxy(
                &app,
                Some(ProxySettings {
                    soft_limit: f64::from(SOFT_LIMIT),
                    min_machines_running: 1,
                    primary_region: HOME.to_owned(),
                    // As often as the director looks: with hundreds of apps this is most of the simulator's work.
                    start_every: LOOK,
                    stop_every: Duration::from_secs(60),
                    ..ProxySettings::default()
                }),
            );
            // The app of the story has all of the traffic, the others have more or less of it.
            let size = if number == 0 {
                1.0
            } else {
                0.3 + 0.7 * random.fraction()
            };
            let curve = DailyCurve {
                night: REQUESTS.0 * size,
                day: REQUESTS.1 * size,
                length: DAY,
                noise: 0.1,
                seed: random.bits(),
            };
            platform.set_traffic(&app, curve.curve());
        }
    }

    /// What else a copy is told, by its number from 0, with the platform on `host`: who it is, and where its lock is. One alone
    /// has none.
    #[must_use]
    pub fn settings_of_copy(self, copy: usize, host: &str) -> Vec<(&'static str, String)> {
        if self.copies < 2 {
            return Vec::new();
        }
        let consul = format!("http://:{CONSUL_TOKEN}@{host}/{CONSUL_PREFIX}");
        vec![
            ("FLY_CONSUL_URL", consul),
            ("FLY_MACHINE_ID", relay::name(copy).replace(' ', "")),
            ("FLY_REGION", HOME.to_owned()),
        ]
    }

    /// The blueprint's settings for the daemon, with the platform behind `base` and times as fast as the platform's.
    ///
    /// What cannot be set stays at life's pace: one create a second for an app, and the minutes for which the daemon
    /// remembers what went wrong.
    #[must_use]
    pub fn settings(self, base: &str) -> Vec<(&'static str, String)> {
        let milliseconds = |moment: Duration| format!("{}ms", moment.as_millis().max(1));
        let (pattern, organization) = if self.apps > 1 {
            (format!("{APP}*"), Some(("FAS_ORG", ORG.to_owned())))
        } else {
            (APP.to_owned(), None)
        };
        let surplus_lasts = self.speed.lived(Duration::from_secs(45));
        let query = if self.regions {
            "count(fly_instance_up{app='$APP_NAME',region='$REGION'})"
        } else {
            "count(fly_instance_up{app='$APP_NAME'})"
        };
        let of_regions = [
            ("FAS_PER_REGION", "true"),
            // None runs where there is only a spare.
            ("FAS_PROMETHEUS_EMPTY_VALUE", "0"),
        ];
        let of_regions = of_regions.into_iter().filter(|_| self.regions);
        let of_regions = of_regions.map(|(name, value)| (name, value.to_owned()));
        let settings = [
            ("FAS_APP_NAME", pattern),
            ("FAS_REGIONS", format!("{HOME},{FAILING}")),
            (
                "FAS_CREATED_MACHINE_COUNT",
                format!("min(running_machines + 1, {MOST})"),
            ),
            ("FAS_INITIAL_MACHINE_STATE", "stopped".to_owned()),
            ("FAS_PROMETHEUS_METRIC_NAME", "running_machines".to_owned()),
            ("FAS_PROMETHEUS_QUERY", query.to_owned()),
            ("FAS_PROMETHEUS_ADDRESS", format!("{base}/prometheus/{ORG}")),
            ("FAS_PROMETHEUS_TOKEN", format!("FlyV1 {PROMETHEUS_TOKEN}")),
            ("FAS_API_TOKEN", format!("FlyV1 {API_TOKEN}")),
            ("FLY_FLAPS_BASE_URL", base.to_owned()),
            ("FLY_API_BASE_URL", base.to_owned()),
            ("FAS_INTERVAL", milliseconds(self.speed.interval())),
            ("FAS_DESTROY_RUNNING_AFTER", milliseconds(surplus_lasts)),
        ];
        let settings = settings.into_iter();
        settings.chain(organization).chain(of_regions).collect()
    }
}

/// How soon after its start a query sees the platform, in the platform's time.
#[must_use]
pub fn seen_after() -> Duration {
    let fly = MetricsSettings::fly();
    fly.lag + fly.scrape_interval
}

/// What Fly Proxy does for the machines, as `fly deploy` writes it into their configuration.
fn services() -> serde_json::Value {
    json!([{
        "protocol": "tcp",
        "internal_port": 8080,
        "ports": [{ "port": 443, "handlers": ["tls", "http"] }],
        "autostart": true,
        "autostop": "stop",
        "min_machines_running": 1,
        "concurrency": { "type": "requests", "soft_limit": SOFT_LIMIT, "hard_limit": 2 * SOFT_LIMIT },
    }])
}

/// Brings an event about. A [`Event::Day`] needs nothing: the traffic follows its curve.
pub(super) fn begin(event: Event, platform: &mut Platform) {
    match event {
        Event::Day => {}
        Event::FailingRegion => platform.set_region_capacity(FAILING, Some(0)),
        Event::Deploy => {
            let deploy = Deploy {
                pace: DEPLOY_PACE,
                ..Deploy::new(Strategy::BlueGreen)
            };
            platform.start_deploy(APP, deploy);
        }
        Event::Outage => {
            let away = Effect::Answer(Canned::status(503));
            platform.add_fault(Fault::new(away).on(Operation::Query));
        }
    }
}

/// Lets an event be over. A deploy ends by itself.
pub(super) fn end(event: Event, platform: &mut Platform) {
    match event {
        Event::Day | Event::Deploy => {}
        Event::FailingRegion => platform.set_region_capacity(FAILING, None),
        Event::Outage => platform.clear_faults(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{demo::script, sim::App};

    fn cast(apps: u16, speed: &str) -> Cast {
        Cast {
            apps,
            seed: 1,
            speed: Speed::parse(speed).expect(speed),
            regions: false,
            copies: 1,
        }
    }

    /// The platform at dawn, and its requests at noon.
    fn at_dawn(cast: Cast) -> (Platform, Vec<f64>) {
        let mut platform = Platform::new(&cast.options(Timestamp::UNIX_EPOCH));
        cast.set(&mut platform);
        let requests = platform.apps().map(|app| app.load_at(DAY / 2)).collect();
        (platform, requests)
    }

    #[test]
    fn more_apps_need_more_time() {
        let cases = [
            (1, "30", None),
            (83, "30", None),
            (
                84,
                "30",
                Some("--apps 84 is too many for --speed 30: at most 83 at this speed"),
            ),
            (250, "10", None),
            (
                251,
                "10",
                Some("--apps 251 is too many for --speed 10: at most 250 at this speed"),
            ),
            (500, "5", None),
            (500, "0.1", None),
            (
                500,
                "5.5",
                Some("--apps 500 is too many for --speed 5.5: at most 454 at this speed"),
            ),
        ];
        for (apps, speed, expected) in cases {
            let found = cast(apps, speed).check().err();
            assert_eq!(found.as_deref(), expected, "{apps} {speed}");
        }
    }

    #[test]
    fn a_seed_is_a_story() {
        let of = |seed| {
            let cast = Cast {
                seed,
                ..cast(3, "1")
            };
            let (platform, requests) = at_dawn(cast);
            let apps = platform.apps();
            let ids: Vec<String> = apps
                .flat_map(|app| app.machines().map(|machine| machine.id.to_string()))
                .collect();
            (ids, requests)
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1).0, of(2).0);
        assert_ne!(of(1).1, of(2).1);
    }

    #[test]
    fn every_app_has_one_machine_at_dawn_and_its_own_traffic() {
        let (platform, mut requests) = at_dawn(cast(500, "1"));
        let names: Vec<String> = cast(500, "1").names().collect();
        assert_eq!(
            (&*names[0], &*names[1], &*names[499]),
            (APP, "my-target-app-2", "my-target-app-500")
        );
        for name in &names {
            assert_eq!(
                (platform.living(name, "app"), platform.started(name)),
                (1, 1),
                "{name}"
            );
        }
        // The noise is a tenth.
        assert!(
            requests
                .iter()
                .all(|requests| (20.0..93.0).contains(requests)),
            "{requests:?}"
        );
        requests.sort_by(f64::total_cmp);
        requests.dedup();
        assert_eq!(requests.len(), 500);
    }

    /// The metric lags, and the daemon asks for no more than this; a deploy works on no more, and on none twice.
    #[test]
    fn a_deploy_of_all_machines_ends_before_its_hours_are_over() {
        let (mut platform, _) = at_dawn(cast(1, "1"));
        let (begins, ends) = Event::Deploy.hours();
        let most = usize::try_from(MOST).unwrap_or_default();
        let machine = NewMachine::in_region(FAILING).services(&services());
        let _ = platform.add_machines(APP, most - 1, &machine);
        platform.advance(script::HOUR * begins);
        begin(Event::Deploy, &mut platform);
        assert!(platform.app(APP).is_some_and(App::is_deploying));
        platform.advance(script::HOUR * ends);
        let app = platform.app(APP).expect(APP);
        assert!(!app.is_deploying());
        assert_eq!(
            app.release().map(|release| &*release.status),
            Some("complete")
        );
        assert_eq!(app.living("").count(), most);
    }

    #[test]
    fn settings_are_as_fast_as_the_platform() {
        let setting = |cast: Cast, name: &str| {
            let settings = cast.settings("http://platform");
            let found = settings.into_iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| value)
        };
        let cases = [
            ("0.1", "15000ms", "45000ms"),
            ("1", "1500ms", "4500ms"),
            ("7", "214ms", "642ms"),
            ("30", "50ms", "150ms"),
        ];
        for (speed, interval, surplus) in cases {
            let cast = cast(1, speed);
            assert_eq!(setting(cast, "FAS_INTERVAL").as_deref(), Some(interval));
            let found = setting(cast, "FAS_DESTROY_RUNNING_AFTER");
            assert_eq!(found.as_deref(), Some(surplus), "{speed}");
        }
        let name = "FAS_APP_NAME";
        assert_eq!(setting(cast(1, "1"), name).as_deref(), Some(APP));
        assert_eq!(setting(cast(1, "1"), "FAS_ORG"), None);
        assert_eq!(
            setting(cast(2, "1"), name).as_deref(),
            Some("my-target-app*")
        );
        assert_eq!(setting(cast(2, "1"), "FAS_ORG").as_deref(), Some(ORG));
    }
}

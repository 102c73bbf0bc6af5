//! What the program understood, for the line it logs at start-up: no token, key or password is in it.

use super::{CollectorConfig, CollectorSource, Config, FleetConfig, settings};
use crate::{scaling::Fallback, shown};

impl FleetConfig {
    /// The settings as key and value, in a fixed order, those of the daemon too. Settings that are unset are left out, and
    /// so are switches that are off.
    #[must_use]
    pub fn summary(&self, daemon: &Config) -> Vec<(&'static str, String)> {
        let mut entries = vec![("app", self.apps.pattern.as_str().to_owned())];
        let mut add = |key: &'static str, value: Option<String>| {
            entries.extend(value.map(|value| (key, value)));
        };
        add("org", self.apps.org.clone());
        add(
            "created",
            self.targets.created.as_ref().map(ToString::to_string),
        );
        add(
            "started",
            self.targets.started.as_ref().map(ToString::to_string),
        );
        add(
            "collectors",
            (!self.collectors.is_empty()).then(|| self.collector_list()),
        );
        add(
            "busy_limit",
            self.policy.busy_limit.map(|limit| limit.to_string()),
        );
        let Fallback {
            created, started, ..
        } = self.policy.fallback;
        let has_fallback = created.is_some() || started.is_some();
        entries.extend(
            settings::told(daemon, self)
                .into_iter()
                .filter(|(key, _)| match *key {
                    "concurrency" | "app_list_refresh_interval" => self.apps.pattern.is_wildcard(),
                    "fallback_after" => has_fallback,
                    _ => true,
                }),
        );
        let lock = daemon.lock.as_ref().map(|lock| {
            let address = shown::address(&lock.address);
            let shards = match lock.shards {
                1 => String::new(),
                shards => format!(", {shards} shards"),
            };
            (
                "lock",
                format!("{} in Consul at {address}{shards}", lock.name),
            )
        });
        entries.extend(lock);
        entries
    }

    fn collector_list(&self) -> String {
        let app = self.apps.pattern.as_str();
        let collectors = self.collectors.iter().map(|collector| {
            let CollectorConfig { metric, source, .. } = collector;
            let (kind, address) = (collector.kind(), collector.address(app));
            match source {
                CollectorSource::Temporal { namespace, .. } => {
                    format!("{metric} from {kind} at {address}, namespace {namespace}")
                }
                _ => format!("{metric} from {kind} at {address}"),
            }
        });
        collectors.collect::<Vec<_>>().join("; ")
    }
}

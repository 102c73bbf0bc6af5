//! What the program understood, for the line it logs at start-up: no token, key or password is in it.

use super::{CollectorSource, Config, ExpressionBand, LogFormat, duration};
use crate::{
    scaling::{InitialState, Step, StopAction},
    shown::address,
};

impl Config {
    /// The settings as key and value, in a fixed order. Settings that are unset are left out, and so are switches that
    /// are off.
    #[must_use]
    pub fn summary(&self) -> Vec<(&'static str, String)> {
        let policy = &self.policy;
        let mut entries = vec![("app", self.apps.pattern.as_str().to_owned())];
        let mut add = |key: &'static str, value: Option<String>| {
            entries.extend(value.map(|value| (key, value)));
        };
        add("org", self.apps.org.clone());
        add("created", self.targets.created.as_ref().map(band));
        add("started", self.targets.started.as_ref().map(band));
        add(
            "collectors",
            (!self.collectors.is_empty()).then(|| self.collector_list()),
        );
        add("process_group", Some(policy.process_group.clone()));
        add(
            "regions",
            (!policy.regions.is_empty()).then(|| policy.regions.join(",")),
        );
        let initial_state = match policy.initial_state {
            InitialState::Started => "started",
            InitialState::Stopped => "stopped",
        };
        add("initial_machine_state", Some(initial_state.to_owned()));
        add("interval", Some(duration::format(policy.interval)));
        add("timeout", Some(duration::format(policy.timeout)));
        if self.apps.pattern.is_wildcard() {
            add("concurrency", Some(self.concurrency.to_string()));
            add(
                "app_list_refresh_interval",
                Some(duration::format(self.app_list_refresh_interval)),
            );
        }
        add("floor", policy.floor.map(|count| count.to_string()));
        add("ceiling", policy.ceiling.map(|count| count.to_string()));
        add(
            "destroy_running_after",
            Some(duration::format(policy.destroy_running_after)),
        );
        add(
            "stop_action",
            (policy.stop_action == StopAction::Suspend).then(|| "suspend".to_owned()),
        );
        add(
            "clone_volumes",
            policy.clone_volumes.then(|| "true".to_owned()),
        );
        let window =
            |length: std::time::Duration| (!length.is_zero()).then(|| duration::format(length));
        add("scale_up_stabilization", window(policy.stabilization.up));
        add(
            "scale_down_stabilization",
            window(policy.stabilization.down),
        );
        add("scale_up_step", policy.step.up.map(step));
        add("scale_down_step", policy.step.down.map(step));
        add(
            "fallback_created",
            policy.fallback.created.map(|count| count.to_string()),
        );
        add(
            "fallback_started",
            policy.fallback.started.map(|count| count.to_string()),
        );
        let has_fallback = policy.fallback.created.is_some() || policy.fallback.started.is_some();
        add(
            "fallback_after",
            has_fallback.then(|| policy.fallback.after.to_string()),
        );
        add(
            "deploy_timeout",
            Some(duration::format(policy.deploy_timeout)),
        );
        add("machines_api", Some(address(&self.api.machines_url)));
        add("graphql_api", Some(address(&self.api.graphql_url)));
        add(
            "api_token",
            Some(
                if self.api.token.is_some() {
                    "set"
                } else {
                    "not set"
                }
                .to_owned(),
            ),
        );
        add("api_concurrency", Some(self.api.concurrency.to_string()));
        add(
            "metrics_address",
            Some(self.metrics_address.socket.to_string()),
        );
        add(
            "log_format",
            (self.log_format == LogFormat::Text).then(|| "text".to_owned()),
        );
        add("verbose", self.verbose.then(|| "true".to_owned()));
        add("dry_run", self.api.dry_run.then(|| "true".to_owned()));
        entries
    }

    fn collector_list(&self) -> String {
        let collectors = self
            .collectors
            .iter()
            .map(|collector| match &collector.source {
                CollectorSource::Prometheus { address: url, .. } => {
                    format!("{} from prometheus at {}", collector.metric, address(url))
                }
                CollectorSource::Temporal {
                    address, namespace, ..
                } => {
                    format!(
                        "{} from temporal at {address}, namespace {namespace}",
                        collector.metric
                    )
                }
            });
        collectors.collect::<Vec<_>>().join("; ")
    }
}

fn band(band: &ExpressionBand) -> String {
    match band {
        ExpressionBand::Exact(expression) => expression.source().to_owned(),
        ExpressionBand::Band { min, max } => format!("{} to {}", min.source(), max.source()),
    }
}

fn step(step: Step) -> String {
    match step {
        Step::Count(count) => count.to_string(),
        Step::Percent(percent) => format!("{percent}%"),
    }
}

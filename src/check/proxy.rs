//! The step `proxy`: Fly Proxy starts and stops machines too, by the services of their configuration. Whether that fits
//! the targets or fights with them.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    json::Object,
    scaling::{InitialState, MachineConfig},
};

use super::{Fleet, Seen, Step, StepKind, hints, machines};

/// What Fly Proxy does with machines of one configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Services {
    /// How many services there are.
    pub(super) count: usize,
    /// Whether a service lets the proxy stop or suspend machines that have no traffic.
    pub(super) autostop: bool,
    /// Whether a service lets the proxy start stopped machines for traffic.
    pub(super) autostart: bool,
}

#[derive(Deserialize)]
struct WireConfig {
    services: Option<Vec<Value>>,
}

impl Services {
    /// Those of a configuration; of one that cannot be read there are none.
    pub(super) fn of(config: &MachineConfig) -> Self {
        let wire: Option<Object<WireConfig>> = serde_json::from_str(&config.json).ok();
        let services = wire
            .and_then(|Object(wire)| wire.services)
            .unwrap_or_default();
        // Older configurations have a boolean, newer ones `off`, `stop` or `suspend`.
        let is_on = |value: Option<&Value>| match value {
            Some(Value::Bool(on)) => *on,
            Some(Value::String(word)) => matches!(word.as_str(), "stop" | "suspend"),
            _ => false,
        };
        Self {
            count: services.len(),
            autostop: services.iter().any(|one| is_on(one.get("autostop"))),
            autostart: services.iter().any(|one| is_on(one.get("autostart"))),
        }
    }
}

/// What the configuration asks for, as far as the proxy is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wishes {
    /// Whether machines are created and destroyed.
    pub(super) created: bool,
    /// Whether machines are started and stopped.
    pub(super) started: bool,
    /// What a new machine is brought to.
    pub(super) initial_state: InitialState,
}

/// How the two get on: what is said, and what to do where they do not.
pub(super) fn judge(services: Services, wishes: Wishes) -> (bool, &'static str, Option<String>) {
    let Services {
        count,
        autostop,
        autostart,
    } = services;
    let stays_stopped = wishes.created && wishes.initial_state == InitialState::Stopped;
    match (wishes.started, autostop, autostart) {
        (true, true, _) => (
            false,
            "Fly Proxy stops machines without traffic, and the started target starts them again: the two fight",
            Some(hints::proxy_off()),
        ),
        (true, false, true) => (
            false,
            "Fly Proxy starts machines for traffic, and the started target stops them again: the two fight",
            Some(hints::proxy_off()),
        ),
        (true, false, false) => (
            true,
            "Fly Proxy neither starts nor stops these machines: the started target does",
            None,
        ),
        (false, false, false) if stays_stopped => (
            false,
            "new machines are created stopped, and nothing starts them: Fly Proxy does not, and there is no started target",
            Some(hints::nobody_starts(count == 0)),
        ),
        (false, true, false) => (
            false,
            "Fly Proxy stops machines without traffic, and nothing starts them again",
            Some(hints::proxy_starts()),
        ),
        (false, false, true) if stays_stopped => (
            false,
            "Fly Proxy starts machines for traffic, and nothing stops them: in the end all of them run",
            Some(hints::proxy_stops()),
        ),
        (false, true, true) => (
            true,
            "Fly Proxy starts and stops machines by their traffic, and the created target says how many there are",
            None,
        ),
        (false, false, true) => (
            true,
            "Fly Proxy starts stopped machines for traffic, and stops none",
            None,
        ),
        (false, false, false) => (
            true,
            "Fly Proxy neither starts nor stops these machines",
            None,
        ),
    }
}

/// How Fly Proxy and the targets get on.
pub(super) fn step(seen: &Seen<'_>, fleet: &Fleet) -> Step {
    let source = machines::source(seen, fleet);
    let Some(config) = source.and_then(|member| member.machine.config.as_ref()) else {
        let why = "no machine shows its services";
        return Step::skipped(StepKind::Proxy, why);
    };
    let services = Services::of(config);
    let targets = &seen.settings.targets;
    let wishes = Wishes {
        created: targets.created.is_some(),
        started: targets.started.is_some(),
        initial_state: seen.settings.policy.initial_state,
    };
    let (fits, sentence, hint) = judge(services, wishes);
    let step = if fits {
        Step::ok(StepKind::Proxy, sentence)
    } else {
        Step::warning(StepKind::Proxy, sentence)
    };
    step.hint(hint).with(
        "services",
        json!({
            "count": services.count,
            "autostop": services.autostop,
            "autostart": services.autostart,
        }),
    )
}

//! What `/healthz` and `/readyz` answer: whether the loop runs, and whether passes succeed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    labels::PassError,
    lock::{Gate, Role},
    report::PassReport,
    scaling::FleetName,
};

/// How late the loop may be before it counts as hung.
const LATE: Duration = Duration::from_secs(30);

/// The health of the daemon; clones share it.
#[derive(Debug, Clone)]
pub struct Health {
    state: Arc<Mutex<State>>,
    /// Three intervals and the timeout: how old the last success may be.
    patience: Duration,
}

#[derive(Debug)]
struct State {
    expected_by: Instant,
    /// The last success of all apps.
    last_success: Option<Instant>,
    /// What went wrong last, unless something has succeeded since.
    last_failure: Option<String>,
    /// The fleets of which a pass has ended, and how the last one did.
    fleets: BTreeMap<FleetName, Last>,
    /// Whether this copy holds the lock, if there is one.
    gate: Gate,
    /// Whether all apps are other copies' affair.
    is_idle: bool,
}

/// What the last pass over a fleet says of readiness.
#[derive(Debug)]
enum Last {
    /// What it was shown was refused.
    Refused(Box<Refusal>),
    /// There are no machines: it went well, with nothing to ask for and nothing to do.
    Empty,
    /// Anything else.
    Seen,
}

/// What was refused, and what was said.
#[derive(Debug)]
struct Refusal {
    /// The metric whose source refuses; none where Fly does.
    metric: Option<String>,
    text: String,
}

impl Health {
    /// Nothing has succeeded yet.
    #[must_use]
    pub fn new(interval: Duration, timeout: Duration) -> Self {
        let state = State {
            expected_by: Instant::now(),
            last_success: None,
            last_failure: None,
            fleets: BTreeMap::new(),
            gate: Gate::open(),
            is_idle: false,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            patience: interval.saturating_mul(3).saturating_add(timeout),
        }
    }

    /// What is done goes through this gate.
    pub fn stand_at(&self, gate: Gate) {
        self.with(|state| state.gate = gate);
    }

    /// Whether another copy may be writing, and this one may not.
    #[must_use]
    pub fn stands_by(&self) -> bool {
        self.with(|state| state.gate.stands_by())
    }

    /// What this copy is among those that share its lock; `None`: there is none.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.gate().role()
    }

    /// Through what everything is done.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.with(|state| state.gate.clone())
    }

    /// Whether all apps are other copies' affair, so that there is no pass to succeed.
    pub fn stand_idle(&self, is_idle: bool) {
        self.with(|state| {
            // Until its first pass has ended nothing is wrong with a copy that gets apps.
            if std::mem::replace(&mut state.is_idle, is_idle) && !is_idle {
                state.last_success = Some(Instant::now());
            }
        });
    }

    /// Where an app is scaled that is not scaled here, in words, where the apps are divided among copies.
    #[must_use]
    pub fn whereabouts(&self, app: &str) -> Option<String> {
        self.with(|state| state.gate.whereabouts(app))
    }

    /// The loop is to turn again by `wake`.
    pub fn expect_by(&self, wake: Instant) {
        self.with(|state| state.expected_by = wake);
    }

    /// A pass ended. What an expression could do without (a metric whose token is refused, say) is no failure of it.
    pub fn passed(&self, reports: &[PassReport], now: Instant) {
        if let Some(first) = reports.first() {
            self.forget(&first.fleet.app);
        }
        for report in reports {
            self.fleet_passed(report, now);
        }
    }

    fn fleet_passed(&self, report: &PassReport, now: Instant) {
        let mut troubles = report.troubles();
        troubles.retain(|trouble| trouble.failed_the_pass);
        let by_fly = troubles
            .iter()
            .find(|trouble| trouble.reason == PassError::Unauthorized)
            .map(|trouble| &trouble.text)
            .or(report.still_refused.as_ref());
        let by_source = troubles.iter().find_map(|trouble| {
            let metric = trouble.refused_metric.as_ref()?;
            Some((Some(metric), &trouble.text))
        });
        let refused = by_fly.map(|text| (None, text)).or(by_source);
        let last = match refused {
            Some((metric, text)) => Last::Refused(Box::new(Refusal {
                metric: metric.cloned(),
                text: text.clone(),
            })),
            None if report.succeeded() && report.found_nothing() => Last::Empty,
            None => Last::Seen,
        };
        let first = troubles.first().map(|trouble| &trouble.text);
        self.with(|state| {
            state.fleets.insert(report.fleet.clone(), last);
            if report.succeeded() {
                // What an app without machines could do without may be all that the others need.
                let only_empty = state
                    .fleets
                    .values()
                    .all(|last| matches!(last, Last::Empty));
                if only_empty || !report.found_nothing() {
                    state.last_success = Some(now);
                    state.last_failure = None;
                }
            } else if let Some(why) = first.or(refused.map(|(_, text)| text)) {
                state.last_failure = Some(format!("{}: {why}", report.fleet));
            }
        });
    }

    /// A pass ended without a report.
    pub fn failed(&self, app: &str, why: &str) {
        self.forget(app);
        self.with(|state| {
            state.fleets.insert(FleetName::only(app, ""), Last::Seen);
            state.last_failure = Some(format!("{app}: {why}"));
        });
    }

    /// The apps of a wildcard were listed.
    pub fn apps_listed(&self, count: usize) {
        if count == 0 {
            self.with(|state| state.last_failure = Some("no app matches FAS_APP_NAME".to_owned()));
        }
    }

    /// The apps of a wildcard could not be listed. The last list stays, and its apps are scaled: whether they are is
    /// what counts.
    pub fn list_failed(&self, why: String) {
        self.with(|state| state.last_failure = Some(why));
    }

    /// An app is no longer scaled.
    pub fn forget(&self, app: &str) {
        // No other of the app's comes before it. Each pass ends with this, so the other apps' are not looked at.
        let first = FleetName::before_all_of(app);
        self.with(|state| {
            let names = state.fleets.range(first..).map(|(name, _)| name);
            let of_app = names.take_while(|name| *name.app == *app);
            for name in of_app.cloned().collect::<Vec<_>>() {
                state.fleets.remove(&name);
            }
        });
    }

    /// Whether the loop runs.
    #[must_use]
    pub fn is_alive(&self, now: Instant) -> bool {
        self.with(|state| now < state.expected_by + LATE)
    }

    /// Whether passes succeed: any app's, recently enough, and not all of them refused, by Fly or where a metric comes from.
    ///
    /// # Errors
    ///
    /// With the reason why not.
    pub fn readiness(&self, now: Instant) -> Result<(), String> {
        self.with(|state| {
            if let Some(refusal) = refused_for_all(&state.fleets) {
                return Err(refusal);
            }
            state.gate.readiness(now)?;
            if state.is_idle {
                return Ok(());
            }
            let failure = state.last_failure.as_deref();
            match state.last_success {
                None => Err(format!(
                    "no pass has succeeded yet: {}",
                    failure.unwrap_or("no pass has finished yet")
                )),
                Some(at) if now.saturating_duration_since(at) > self.patience => Err(format!(
                    "the last successful pass finished {} s ago: {}",
                    now.saturating_duration_since(at).as_secs(),
                    failure.unwrap_or("no pass has finished since")
                )),
                Some(_) => Ok(()),
            }
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What to say where every app that has machines is refused: by Fly, or by the source of a metric that it needs.
fn refused_for_all(fleets: &BTreeMap<FleetName, Last>) -> Option<String> {
    let mut refusals = Vec::new();
    for (fleet, last) in fleets {
        match last {
            Last::Refused(refusal) => refusals.push((fleet, &**refusal)),
            Last::Empty => {}
            Last::Seen => return None,
        }
    }
    let (fleet, first) = refusals.first()?;
    let is_alike = |(_, refusal): &&(_, &Refusal)| refusal.metric == first.metric;
    let others = match refusals.iter().filter(is_alike).count() - 1 {
        0 => String::new(),
        1 => " and another".to_owned(),
        others => format!(" and {others} others"),
    };
    let what = match &first.metric {
        None => "a token is refused".to_owned(),
        Some(metric) => format!("the source of {metric} refuses its password or token"),
    };
    Some(format!("{what} ({fleet}{others}): {}", first.text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::FleetParts;

    #[test]
    fn forgetting_an_app_forgets_each_of_its_fleets_and_no_other() {
        let of = |app: &str, group: &str, region: Option<&str>| {
            FleetName::from(FleetParts {
                region: region.map(Into::into),
                is_only: false,
                ..FleetParts::only(app, group)
            })
        };
        let own = [
            of("web", "", None),
            of("web", "*", Some("ord")),
            of("web", "worker", None),
            FleetName::only("web", "app"),
        ];
        let others = ["a", "we", "web-1", "web0"].map(|app| FleetName::only(app, "app"));
        let health = Health::new(Duration::ZERO, Duration::ZERO);
        health.with(|state| {
            let all = own.into_iter().chain(others.clone());
            state.fleets.extend(all.map(|name| (name, Last::Seen)));
        });
        health.forget("web");
        let left: Vec<FleetName> = health.with(|state| state.fleets.keys().cloned().collect());
        assert_eq!(left, others);
    }
}

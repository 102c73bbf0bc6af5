//! What `/healthz` and `/readyz` answer: whether the loop runs, and whether passes succeed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::reconcile::PassReport;

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
    last_success: Option<Instant>,
    last_failure: Option<String>,
    /// Apps whose last pass had its token refused, and what was said.
    refused: BTreeMap<String, String>,
}

/// The name under which the app list's own failure is kept among the refusals; no app has it.
const APP_LIST: &str = "";

impl Health {
    /// Nothing has succeeded yet.
    #[must_use]
    pub fn new(interval: Duration, timeout: Duration) -> Self {
        let state = State {
            expected_by: Instant::now(),
            last_success: None,
            last_failure: None,
            refused: BTreeMap::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            patience: interval.saturating_mul(3).saturating_add(timeout),
        }
    }

    /// The loop is to turn again by `wake`.
    pub fn expect_by(&self, wake: Instant) {
        self.with(|state| state.expected_by = wake);
    }

    /// A pass ended.
    pub fn passed(&self, report: &PassReport, now: Instant) {
        self.with(|state| {
            let first = report
                .faults
                .first()
                .map(|fault| format!("{}: {}", report.app, fault.text));
            if report.unauthorized() {
                let refusal = report
                    .faults
                    .iter()
                    .find(|fault| fault.reason == crate::metrics::PassError::Unauthorized)
                    .map(|fault| fault.text.clone())
                    .unwrap_or_default();
                state.refused.insert(report.app.clone(), refusal);
            } else {
                state.refused.remove(&report.app);
            }
            if report.succeeded() {
                state.last_success = Some(now);
            } else if first.is_some() {
                state.last_failure = first;
            }
        });
    }

    /// The apps of a wildcard were listed.
    pub fn apps_listed(&self, count: usize) {
        self.with(|state| {
            state.refused.remove(APP_LIST);
            if count == 0 {
                state.last_failure = Some("no app matches FAS_APP_NAME".to_owned());
            }
        });
    }

    /// The apps of a wildcard could not be listed.
    pub fn list_failed(&self, unauthorized: bool, why: String) {
        self.with(|state| {
            if unauthorized {
                state.refused.insert(APP_LIST.to_owned(), why.clone());
            }
            state.last_failure = Some(why);
        });
    }

    /// An app is no longer managed.
    pub fn forget(&self, app: &str) {
        self.with(|state| state.refused.remove(app));
    }

    /// Whether the loop runs.
    #[must_use]
    pub fn is_alive(&self, now: Instant) -> bool {
        self.with(|state| now < state.expected_by + LATE)
    }

    /// Whether passes succeed.
    ///
    /// # Errors
    ///
    /// With the reason why not.
    pub fn readiness(&self, now: Instant) -> Result<(), String> {
        self.with(|state| {
            if let Some((app, why)) = state.refused.first_key_value() {
                let subject = if app.is_empty() { "the app list" } else { app };
                return Err(format!("a token is refused ({subject}): {why}"));
            }
            let why = state
                .last_failure
                .as_deref()
                .unwrap_or("no pass has ended yet");
            match state.last_success {
                None => Err(format!("no pass has succeeded yet: {why}")),
                Some(at) if now.saturating_duration_since(at) > self.patience => Err(format!(
                    "the last pass that succeeded ended {} s ago: {why}",
                    now.saturating_duration_since(at).as_secs()
                )),
                Some(_) => Ok(()),
            }
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

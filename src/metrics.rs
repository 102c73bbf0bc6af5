//! What `/metrics` shows: upstream's series name for name, and ours.
//!
//! Labels are apps, metric names and closed sets, never messages. Every series with a closed label set exists at 0 from
//! the start; an app that is no longer scaled loses its series. The `prometheus` crate is used because it writes a
//! counter's name as it is; upstream's end in `_count`, not `_total`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus::{
    Encoder as _, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry,
    TextEncoder,
};

use crate::{
    labels::{CallResult, MachineWrite, Operation, PassError},
    scaling::{Bounds, Decision, Kind, StateLabel},
};

/// How an app's passes have gone so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// How many failed in a row; 0 is well.
    pub failing_passes: u32,
    /// When the last one that succeeded ended; `None`: none has.
    pub last_success: Option<jiff::Timestamp>,
}

/// The series; cheap to clone, all clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    decisions: IntCounterVec,
    creates: IntCounterVec,
    destroys: IntCounterVec,
    starts: IntCounterVec,
    stops: IntCounterVec,
    metric_value: GaugeVec,
    target_machines: GaugeVec,
    machines: GaugeVec,
    /// The states of `machines`, by app: what an app never had is no series.
    machine_states: Arc<Mutex<BTreeMap<String, BTreeSet<StateLabel>>>>,
    pass_duration: Histogram,
    pass_errors: IntCounterVec,
    last_success: GaugeVec,
    failing_passes: GaugeVec,
    api_requests: IntCounterVec,
    api_request_duration: HistogramVec,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

const VALID_SERIES: &str = "the names and labels of the series are constants, valid and distinct";

impl Metrics {
    /// A registry of its own with every series that has a closed label set at 0.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let metrics = Self {
            decisions: counters(
                &registry,
                "fas_reconcile_count",
                "Passes by decision.",
                &["status"],
            ),
            creates: counters(
                &registry,
                "fas_machine_create_count",
                "Machines created.",
                &["status"],
            ),
            destroys: counters(
                &registry,
                "fas_machine_destroy_count",
                "Machines destroyed.",
                &["status"],
            ),
            starts: counters(
                &registry,
                "fas_machine_start_count",
                "Machines started.",
                &["status"],
            ),
            stops: counters(
                &registry,
                "fas_machine_stop_count",
                "Machines stopped.",
                &["status"],
            ),
            metric_value: gauges(
                &registry,
                "fas_metric_value",
                "The last value of each metric; absent while it has none.",
                &["app", "metric"],
            ),
            target_machines: gauges(
                &registry,
                "fas_target_machines",
                "What each expression asks for, before limits; absent while it has no value.",
                &["app", "kind", "bound"],
            ),
            machines: gauges(
                &registry,
                "fas_machines",
                "Machines of the process group by their last known state; `unreachable` and `stuck` ones are counted only as such.",
                &["app", "state"],
            ),
            machine_states: Arc::default(),
            pass_duration: histogram(
                &registry,
                "fas_pass_duration_seconds",
                "Duration of a pass.",
            ),
            pass_errors: counters(
                &registry,
                "fas_pass_errors_total",
                "Errors in passes by reason.",
                &["reason"],
            ),
            last_success: gauges(
                &registry,
                "fas_last_success_timestamp_seconds",
                "When the last successful pass finished, as a Unix time; 0 while none has.",
                &["app"],
            ),
            failing_passes: gauges(
                &registry,
                "fas_failing_passes",
                "Consecutive failed passes; 0 is healthy.",
                &["app"],
            ),
            api_requests: counters(
                &registry,
                "fas_api_requests_total",
                "HTTP requests, retries included.",
                &["api", "operation", "status"],
            ),
            api_request_duration: histograms(
                &registry,
                "fas_api_request_duration_seconds",
                "Duration of HTTP requests.",
                &["api", "operation"],
            ),
            registry,
        };
        metrics.begin();
        metrics
    }

    /// Makes every series with a closed label set exist.
    fn begin(&self) {
        for decision in Decision::ALL {
            let _ = self.decisions.with_label_values(&[decision.as_str()]);
        }
        for counters in [&self.creates, &self.destroys, &self.starts, &self.stops] {
            for status in ["ok", "failed"] {
                let _ = counters.with_label_values(&[status]);
            }
        }
        for reason in PassError::ALL {
            let _ = self.pass_errors.with_label_values(&[reason.as_str()]);
        }
        let calls = Operation::ALL.map(|operation| (operation.api(), operation.as_str()));
        for (api, operation) in calls
            .into_iter()
            .chain([("prometheus", "query"), ("temporal", "count")])
        {
            for result in CallResult::ALL {
                let _ = self
                    .api_requests
                    .with_label_values(&[api, operation, result.as_str()]);
            }
            let _ = self
                .api_request_duration
                .with_label_values(&[api, operation]);
        }
        let build = gauges(
            &self.registry,
            "fas_build_info",
            "1, with the version as a label.",
            &["version"],
        );
        build
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        #[cfg(target_os = "linux")]
        {
            let process = prometheus::process_collector::ProcessCollector::for_self();
            self.registry
                .register(Box::new(process))
                .expect(VALID_SERIES);
        }
    }

    /// Counts a pass by what it decided.
    pub fn decided(&self, decision: Decision) {
        self.decisions.with_label_values(&[decision.as_str()]).inc();
    }

    /// Counts one write to a machine.
    pub fn wrote(&self, write: MachineWrite, ok: bool) {
        let counters = match write {
            MachineWrite::Create => &self.creates,
            MachineWrite::Destroy => &self.destroys,
            MachineWrite::Start => &self.starts,
            MachineWrite::Stop => &self.stops,
        };
        counters
            .with_label_values(&[if ok { "ok" } else { "failed" }])
            .inc();
    }

    /// Shows a metric's value, or that it has none.
    pub fn metric_value(&self, app: &str, metric: &str, value: Option<f64>) {
        show(&self.metric_value, &[app, metric], value);
    }

    /// Shows what a kind's expressions ask for, or that they have no value.
    pub fn target(&self, app: &str, kind: Kind, bounds: Option<Bounds>) {
        show(
            &self.target_machines,
            &[app, kind.as_str(), "min"],
            bounds.map(|bounds| bounds.min.into()),
        );
        show(
            &self.target_machines,
            &[app, kind.as_str(), "max"],
            bounds.map(|bounds| bounds.max.into()),
        );
    }

    /// Shows how many machines of an app are in each state that one of them is or was in.
    pub fn machines(&self, app: &str, by_state: &BTreeMap<StateLabel, u32>) {
        let mut states = self.states();
        let seen = states.entry(app.to_owned()).or_default();
        seen.extend(
            by_state
                .iter()
                .filter_map(|(label, count)| (*count > 0).then_some(*label)),
        );
        for label in &*seen {
            let count = by_state.get(label).copied().unwrap_or(0);
            self.machines
                .with_label_values(&[app, label.as_str()])
                .set(count.into());
        }
    }

    /// Records a pass's duration.
    pub fn pass_took(&self, duration: Duration) {
        self.pass_duration.observe(duration.as_secs_f64());
    }

    /// Counts what went wrong in a pass.
    pub fn pass_error(&self, reason: PassError) {
        self.pass_errors.with_label_values(&[reason.as_str()]).inc();
    }

    /// Shows how an app's passes have gone so far; from when the app is managed on.
    pub fn standing(&self, app: &str, standing: Standing) {
        let last_success = standing
            .last_success
            .map_or(0.0, |at| at.as_millisecond() as f64 / 1000.0);
        self.last_success
            .with_label_values(&[app])
            .set(last_success);
        self.failing_passes
            .with_label_values(&[app])
            .set(standing.failing_passes.into());
    }

    /// Counts one HTTP request to Fly.
    pub fn api_request(&self, operation: Operation, result: CallResult, took: Duration) {
        self.request(operation.api(), operation.as_str(), result, took);
    }

    /// Counts one request of a collector: `("prometheus", "query")` or `("temporal", "count")`.
    pub fn collector_request(&self, api: &'static str, result: CallResult, took: Duration) {
        self.request(
            api,
            if api == "temporal" { "count" } else { "query" },
            result,
            took,
        );
    }

    /// Drops every series of an app that is no longer scaled.
    pub fn forget_app(&self, app: &str, metrics: &[&str]) {
        // Removing a series that does not exist is an error that says nothing.
        for metric in metrics {
            let _ = self.metric_value.remove_label_values(&[app, metric]);
        }
        for kind in Kind::ALL {
            self.target(app, kind, None);
        }
        for label in self.states().remove(app).unwrap_or_default() {
            let _ = self.machines.remove_label_values(&[app, label.as_str()]);
        }
        let _ = self.last_success.remove_label_values(&[app]);
        let _ = self.failing_passes.remove_label_values(&[app]);
    }

    /// All series in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory does not fail; a family that cannot be written is left out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }

    fn states(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, BTreeSet<StateLabel>>> {
        self.machine_states
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, api: &str, operation: &str, result: CallResult, took: Duration) {
        self.api_requests
            .with_label_values(&[api, operation, result.as_str()])
            .inc();
        self.api_request_duration
            .with_label_values(&[api, operation])
            .observe(took.as_secs_f64());
    }
}

fn show(gauges: &GaugeVec, labels: &[&str], value: Option<f64>) {
    match value {
        Some(value) => gauges.with_label_values(labels).set(value),
        None => {
            let _ = gauges.remove_label_values(labels);
        }
    }
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let counters = IntCounterVec::new(Opts::new(name, help), labels).expect(VALID_SERIES);
    registry
        .register(Box::new(counters.clone()))
        .expect(VALID_SERIES);
    counters
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    let gauges = GaugeVec::new(Opts::new(name, help), labels).expect(VALID_SERIES);
    registry
        .register(Box::new(gauges.clone()))
        .expect(VALID_SERIES);
    gauges
}

fn histogram(registry: &Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets()))
        .expect(VALID_SERIES);
    registry
        .register(Box::new(histogram.clone()))
        .expect(VALID_SERIES);
    histogram
}

fn histograms(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(buckets());
    let histograms = HistogramVec::new(options, labels).expect(VALID_SERIES);
    registry
        .register(Box::new(histograms.clone()))
        .expect(VALID_SERIES);
    histograms
}

/// From a loopback answer to the default pass deadline.
fn buckets() -> Vec<f64> {
    vec![0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]
}

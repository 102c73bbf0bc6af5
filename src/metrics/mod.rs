//! What `/metrics` counts: upstream's series name for name, and ours.
//!
//! Labels are apps, metric names and closed sets, never messages. Every series with a closed label set exists at 0 from
//! the start. What is shown of each app stands in the record, [`crate::status`], which writes its series itself. The
//! `prometheus` crate is used because it writes a counter's name as it is; upstream's end in `_count`, not `_total`.

use std::time::Duration;

use jiff::Timestamp;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry,
    TextEncoder,
};

use crate::{
    labels::{
        COLLECTOR_REQUESTS, CONSUL_REQUESTS, CallResult, LockChange, MachineWrite, Operation,
        PassError,
    },
    scaling::Decision,
};

pub mod series;

use series::Series;

/// The series; cheap to clone, all clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    decisions: IntCounterVec,
    creates: IntCounterVec,
    destroys: IntCounterVec,
    starts: IntCounterVec,
    stops: IntCounterVec,
    dry_run_actions: IntCounterVec,
    pass_duration: Histogram,
    pass_errors: IntCounterVec,
    api_requests: IntCounterVec,
    api_request_duration: HistogramVec,
    leader: Gauge,
    shards: Gauge,
    lock_changes: IntCounterVec,
    lock_renewal: Gauge,
    peers: Gauge,
}

/// The API that a lock is kept by, as the metric label says.
const CONSUL: &str = "consul";

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
            decisions: counters(&registry, series::RECONCILES),
            creates: counters(&registry, series::CREATES),
            destroys: counters(&registry, series::DESTROYS),
            starts: counters(&registry, series::STARTS),
            stops: counters(&registry, series::STOPS),
            dry_run_actions: counters(&registry, series::DRY_RUN_ACTIONS),
            pass_duration: histogram(&registry, series::PASS_DURATION),
            pass_errors: counters(&registry, series::PASS_ERRORS),
            api_requests: counters(&registry, series::API_REQUESTS),
            api_request_duration: histograms(&registry, series::API_REQUEST_DURATION),
            leader: gauge(&registry, series::LEADER),
            shards: gauge(&registry, series::SHARDS),
            lock_changes: counters(&registry, series::LOCK_CHANGES),
            lock_renewal: gauge(&registry, series::LOCK_RENEWAL),
            peers: gauge(&registry, series::PEERS),
            registry,
        };
        metrics.begin();
        metrics
    }

    /// Makes every series with a closed label set exist.
    fn begin(&self) {
        for decision in Decision::ALL {
            let _ = self.decisions.with_label_values(&[decision.as_str()]);
            if decision != Decision::NoScale {
                self.would(decision, 0);
            }
        }
        for counters in [&self.creates, &self.destroys, &self.starts, &self.stops] {
            for status in ["ok", "failed"] {
                let _ = counters.with_label_values(&[status]);
            }
        }
        for reason in PassError::ALL {
            let _ = self.pass_errors.with_label_values(&[reason.as_str()]);
        }
        for change in LockChange::ALL {
            let _ = self.lock_changes.with_label_values(&[change.as_str()]);
        }
        let calls = Operation::ALL.map(|operation| (operation.api(), operation.as_str()));
        let of_lock = CONSUL_REQUESTS.map(|operation| (CONSUL, operation));
        let calls = calls.into_iter().chain(COLLECTOR_REQUESTS);
        for (api, operation) in calls.chain(of_lock) {
            for result in CallResult::ALL {
                let _ = self
                    .api_requests
                    .with_label_values(&[api, operation, result.as_str()]);
            }
            let _ = self
                .api_request_duration
                .with_label_values(&[api, operation]);
        }
        let build = gauges(&self.registry, series::BUILD_INFO);
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

    /// Counts a pass of a dry run that would have acted.
    pub fn would_have_acted(&self, decision: Decision) {
        self.would(decision, 1);
    }

    fn would(&self, decision: Decision, passes: u64) {
        self.dry_run_actions
            .with_label_values(&[decision.as_str()])
            .inc_by(passes);
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

    /// Records a pass's duration.
    pub fn pass_took(&self, duration: Duration) {
        self.pass_duration.observe(duration.as_secs_f64());
    }

    /// Counts what went wrong in a pass.
    pub fn pass_error(&self, reason: PassError) {
        self.pass_errors.with_label_values(&[reason.as_str()]).inc();
    }

    /// How many passes there were.
    #[must_use]
    pub fn passes(&self) -> u64 {
        self.pass_duration.get_sample_count()
    }

    /// How often something went wrong in a pass, by reason.
    #[must_use]
    pub fn pass_errors(&self) -> Vec<(&'static str, u64)> {
        let count = |reason| self.pass_errors.with_label_values(&[reason]).get();
        PassError::ALL
            .map(PassError::as_str)
            .map(|reason| (reason, count(reason)))
            .to_vec()
    }

    /// Counts one HTTP request to Fly.
    pub fn api_request(&self, operation: Operation, result: CallResult, took: Duration) {
        self.request(operation.api(), operation.as_str(), result, took);
    }

    /// Counts one request of a collector: one of [`COLLECTOR_REQUESTS`].
    pub fn collector_request(
        &self,
        (api, operation): (&'static str, &'static str),
        result: CallResult,
        took: Duration,
    ) {
        self.request(api, operation, result, took);
    }

    /// Counts one request to Consul: one of [`CONSUL_REQUESTS`].
    pub fn consul_request(&self, operation: &'static str, result: CallResult, took: Duration) {
        self.request(CONSUL, operation, result, took);
    }

    /// Whether this copy may write: 1 or 0, or to how many shards.
    pub fn leads(&self, shards: usize) {
        self.leader.set(as_gauge(shards));
    }

    /// Into how many shards the apps are divided; 1: not at all.
    pub fn divided_by(&self, shards: usize) {
        self.shards.set(as_gauge(shards));
    }

    /// Counts what became of the lock.
    pub fn lock_changed(&self, change: LockChange) {
        self.lock_changes
            .with_label_values(&[change.as_str()])
            .inc();
    }

    /// A renewal succeeded that was sent then.
    pub fn lock_renewed(&self, sent: Timestamp) {
        self.lock_renewal.set(sent.as_duration().as_secs_f64());
    }

    /// So many other copies run without a lock.
    pub fn peers(&self, others: usize) {
        self.peers.set(as_gauge(others));
    }

    /// Writes the series in the Prometheus text format.
    pub fn write(&self, text: &mut String) {
        // Writing to memory does not fail; a family that cannot be written is left out.
        let _ = TextEncoder::new().encode_utf8(&self.registry.gather(), text);
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

fn options(series: Series) -> Opts {
    Opts::new(series.name, series.help)
}

/// A count as a gauge shows it.
fn as_gauge(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn counters(registry: &Registry, series: Series) -> IntCounterVec {
    let counters = IntCounterVec::new(options(series), series.labels).expect(VALID_SERIES);
    registry
        .register(Box::new(counters.clone()))
        .expect(VALID_SERIES);
    counters
}

fn gauges(registry: &Registry, series: Series) -> GaugeVec {
    let gauges = GaugeVec::new(options(series), series.labels).expect(VALID_SERIES);
    registry
        .register(Box::new(gauges.clone()))
        .expect(VALID_SERIES);
    gauges
}

fn gauge(registry: &Registry, series: Series) -> Gauge {
    let gauge = Gauge::with_opts(options(series)).expect(VALID_SERIES);
    registry
        .register(Box::new(gauge.clone()))
        .expect(VALID_SERIES);
    gauge
}

fn histogram(registry: &Registry, series: Series) -> Histogram {
    let histogram = Histogram::with_opts(durations(series)).expect(VALID_SERIES);
    registry
        .register(Box::new(histogram.clone()))
        .expect(VALID_SERIES);
    histogram
}

fn histograms(registry: &Registry, series: Series) -> HistogramVec {
    let histograms = HistogramVec::new(durations(series), series.labels).expect(VALID_SERIES);
    registry
        .register(Box::new(histograms.clone()))
        .expect(VALID_SERIES);
    histograms
}

fn durations(series: Series) -> HistogramOpts {
    HistogramOpts::new(series.name, series.help).buckets(buckets())
}

/// From a loopback answer to the default pass deadline.
fn buckets() -> Vec<f64> {
    vec![0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]
}

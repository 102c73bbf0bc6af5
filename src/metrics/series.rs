//! Every series of `/metrics`, in one table: its name, what it says, its labels. What shows or asks for a series names it
//! by this table, so that a series that is renamed is renamed everywhere.

/// One series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What kind it is.
    pub kind: SeriesKind,
}

/// What kind a series is, in Prometheus' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesKind {
    /// It only grows.
    Counter,
    /// It is what it is now.
    Gauge,
    /// It counts durations by their length, in seconds.
    Histogram,
}

impl SeriesKind {
    /// Prometheus' word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

const fn series(
    kind: SeriesKind,
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
) -> Series {
    Series {
        name,
        help,
        labels,
        kind,
    }
}

use SeriesKind::{Counter, Gauge, Histogram};

/// Passes by decision.
pub const RECONCILES: Series = series(
    Counter,
    "fas_reconcile_count",
    "Passes by decision.",
    &["status"],
);
/// Machines created.
pub const CREATES: Series = series(
    Counter,
    "fas_machine_create_count",
    "Machines created.",
    &["status"],
);
/// Machines destroyed.
pub const DESTROYS: Series = series(
    Counter,
    "fas_machine_destroy_count",
    "Machines destroyed.",
    &["status"],
);
/// Machines started.
pub const STARTS: Series = series(
    Counter,
    "fas_machine_start_count",
    "Machines started.",
    &["status"],
);
/// Machines stopped.
pub const STOPS: Series = series(
    Counter,
    "fas_machine_stop_count",
    "Machines stopped.",
    &["status"],
);
/// Values of metrics.
pub const METRIC_VALUE: Series = series(
    Gauge,
    "fas_metric_value",
    "The last value of each metric; absent while it has none.",
    &["app", "metric"],
);
/// What expressions ask for.
pub const TARGET_MACHINES: Series = series(
    Gauge,
    "fas_target_machines",
    "What each expression asks for, before limits; absent while it has no value.",
    &["app", "kind", "bound"],
);
/// Machines by state.
pub const MACHINES: Series = series(
    Gauge,
    "fas_machines",
    "Machines of the process group by their last known state; `unreachable` and `stuck` ones are counted only as such.",
    &["app", "state"],
);
/// How long passes take.
pub const PASS_DURATION: Series = series(
    Histogram,
    "fas_pass_duration_seconds",
    "Duration of a pass.",
    &[],
);
/// What went wrong in passes.
pub const PASS_ERRORS: Series = series(
    Counter,
    "fas_pass_errors_total",
    "Errors in passes by reason.",
    &["reason"],
);
/// When a pass succeeded last.
pub const LAST_SUCCESS: Series = series(
    Gauge,
    "fas_last_success_timestamp_seconds",
    "When the last successful pass finished, as a Unix time; 0 while none has.",
    &["app"],
);
/// Passes in a row that failed.
pub const FAILING_PASSES: Series = series(
    Gauge,
    "fas_failing_passes",
    "Consecutive failed passes; 0 is healthy.",
    &["app"],
);
/// HTTP requests.
pub const API_REQUESTS: Series = series(
    Counter,
    "fas_api_requests_total",
    "HTTP requests, retries included.",
    &["api", "operation", "status"],
);
/// How long HTTP requests take.
pub const API_REQUEST_DURATION: Series = series(
    Histogram,
    "fas_api_request_duration_seconds",
    "Duration of HTTP requests.",
    &["api", "operation"],
);
/// Which build this is.
pub const BUILD_INFO: Series = series(
    Gauge,
    "fas_build_info",
    "1, with the version as a label.",
    &["version"],
);

/// Every series there is but those of the process.
pub const ALL: [Series; 15] = [
    RECONCILES,
    CREATES,
    DESTROYS,
    STARTS,
    STOPS,
    METRIC_VALUE,
    TARGET_MACHINES,
    MACHINES,
    PASS_DURATION,
    PASS_ERRORS,
    LAST_SUCCESS,
    FAILING_PASSES,
    API_REQUESTS,
    API_REQUEST_DURATION,
    BUILD_INFO,
];

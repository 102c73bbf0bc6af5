//! Every series of `/metrics`, in one table: its name, what it says, its labels. What shows or asks for a series names it
//! by this table, so that a series that is renamed is renamed everywhere.

use std::fmt;

/// The label that says which app a series is of.
pub const APP: &str = "app";

/// The label that says which process group of the app; `*` for all.
pub const GROUP: &str = "group";

/// The label that says which region of the group, where each has a target of its own; absent elsewhere.
pub const REGION: &str = "region";

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

/// Its name, as queries are written with it.
impl fmt::Display for Series {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
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

/// Passes of fleets by decision.
pub const RECONCILES: Series = series(
    Counter,
    "fas_reconcile_count",
    "Passes by decision; where an app has several fleets, a pass counts once for each of them.",
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
    "Machines destroyed; a stop before it that failed is a destroy that failed.",
    &["status"],
);
/// Machines started.
pub const STARTS: Series = series(
    Counter,
    "fas_machine_start_count",
    "Machines started.",
    &["status"],
);
/// Machines stopped or suspended.
pub const STOPS: Series = series(
    Counter,
    "fas_machine_stop_count",
    "Machines stopped or suspended.",
    &["status"],
);
/// What a dry run would have done.
pub const DRY_RUN_ACTIONS: Series = series(
    Counter,
    "fas_dry_run_actions_total",
    "Passes of a dry run that would have changed something, each fleet's by itself.",
    &["decision"],
);
/// Values of metrics.
pub const METRIC_VALUE: Series = series(
    Gauge,
    "fas_metric_value",
    "The last value of each metric; absent while it has none.",
    &[APP, GROUP, "metric"],
);
/// What expressions ask for.
pub const TARGET_MACHINES: Series = series(
    Gauge,
    "fas_target_machines",
    "What each expression asks for, before limits; absent while it has no value.",
    &[APP, GROUP, "kind", "bound"],
);
/// Machines by state.
pub const MACHINES: Series = series(
    Gauge,
    "fas_machines",
    "Machines of the process group by their last known state; `unreachable` and `stuck` ones are counted only as such.",
    &[APP, GROUP, "state"],
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
    &[APP, GROUP],
);
/// Passes in a row that failed.
pub const FAILING_PASSES: Series = series(
    Gauge,
    "fas_failing_passes",
    "Consecutive failed passes; 0 is healthy.",
    &[APP, GROUP],
);
/// HTTP requests.
pub const API_REQUESTS: Series = series(
    Counter,
    "fas_api_requests_total",
    "Requests, retries included.",
    &["api", "operation", "status"],
);
/// How long HTTP requests take.
pub const API_REQUEST_DURATION: Series = series(
    Histogram,
    "fas_api_request_duration_seconds",
    "Duration of requests.",
    &["api", "operation"],
);
/// Which copy may write.
pub const LEADER: Series = series(
    Gauge,
    "fas_leader",
    "1 while this copy may write: it holds the lock, or there is none; with shards, how many it holds; 0 on standby and in a dry run.",
    &[],
);
/// How many locks there are to hold.
pub const SHARDS: Series = series(
    Gauge,
    "fas_shards",
    "Into how many shards the apps are divided among copies; 1: not at all.",
    &[],
);
/// What became of the lock.
pub const LOCK_CHANGES: Series = series(
    Counter,
    "fas_lock_changes_total",
    "How often this copy got, gave back or lost the lock.",
    &["reason"],
);
/// When the lock was renewed last.
pub const LOCK_RENEWAL: Series = series(
    Gauge,
    "fas_lock_last_renewal_timestamp_seconds",
    "When the last renewal was sent that Consul answered, as a Unix time; 0 while none was, and without a lock.",
    &[],
);
/// Other copies.
pub const PEERS: Series = series(
    Gauge,
    "fas_peers",
    "How many other copies Fly's DNS has shown for a minute, where there is no lock; with one, in a dry run and outside of Fly 0.",
    &[],
);
/// Which build this is.
pub const BUILD_INFO: Series = series(Gauge, "fas_build_info", "1.", &["version"]);

/// Every series there is but those of the process.
pub const ALL: [Series; 21] = [
    RECONCILES,
    CREATES,
    DESTROYS,
    STARTS,
    STOPS,
    DRY_RUN_ACTIONS,
    METRIC_VALUE,
    TARGET_MACHINES,
    MACHINES,
    PASS_DURATION,
    PASS_ERRORS,
    LAST_SUCCESS,
    FAILING_PASSES,
    API_REQUESTS,
    API_REQUEST_DURATION,
    LEADER,
    SHARDS,
    LOCK_CHANGES,
    LOCK_RENEWAL,
    PEERS,
    BUILD_INFO,
];

/// Processor time that the process has used, in seconds.
pub const PROCESS_CPU: Series = process(Counter, "process_cpu_seconds_total");
/// Memory that the process has in use.
pub const PROCESS_MEMORY: Series = process(Gauge, "process_resident_memory_bytes");
/// Memory that the process may have in use.
pub const PROCESS_VIRTUAL_MEMORY: Series = process(Gauge, "process_virtual_memory_bytes");
/// Files that the process has open, connections among them.
pub const PROCESS_OPEN_FILES: Series = process(Gauge, "process_open_fds");
/// Files that the process may have open.
pub const PROCESS_MAX_FILES: Series = process(Gauge, "process_max_fds");
/// Threads of the process.
pub const PROCESS_THREADS: Series = process(Gauge, "process_threads");
/// When the process started, as a Unix time.
pub const PROCESS_START: Series = process(Gauge, "process_start_time_seconds");

/// The series of the process, which the `prometheus` crate writes with helps of its own.
pub const OF_PROCESS: [Series; 7] = [
    PROCESS_CPU,
    PROCESS_MEMORY,
    PROCESS_VIRTUAL_MEMORY,
    PROCESS_OPEN_FILES,
    PROCESS_MAX_FILES,
    PROCESS_THREADS,
    PROCESS_START,
];

const fn process(kind: SeriesKind, name: &'static str) -> Series {
    series(kind, name, "", &[])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn the_table_has_every_series_and_readme_too() {
        let mut text = String::new();
        Metrics::new().write(&mut text);
        let known: BTreeSet<String> = ALL
            .iter()
            .chain(&OF_PROCESS)
            .map(|series| format!("{series} {}", series.kind.as_str()))
            .collect();
        let mut written = BTreeSet::new();
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                assert!(known.contains(family), "{family} is not in the table");
                written.insert(family.to_owned());
            }
        }
        if cfg!(target_os = "linux") {
            for series in OF_PROCESS {
                let family = format!("{series} {}", series.kind.as_str());
                assert!(written.contains(&family), "{family} is not written");
            }
        }
        let readme = include_str!("../../README.md");
        for series in ALL.iter().chain(&OF_PROCESS) {
            assert!(readme.contains(&format!("`{series}`")), "{series}");
        }
    }

    #[test]
    fn readme_says_of_each_series_what_its_help_says() {
        let readme = include_str!("../../README.md");
        for series in ALL {
            let begins = format!("| `{series}` |");
            let row = readme.lines().find(|line| line.starts_with(&begins));
            let meaning = row
                .and_then(|row| row.trim_end_matches(" |").rsplit_once("| "))
                .map(|(_, meaning)| meaning.to_lowercase());
            let help = series.help.trim_end_matches('.').to_lowercase();
            assert_eq!(meaning, Some(help), "{series}");
        }
    }
}

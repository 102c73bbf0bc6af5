//! The simulated Fly platform: Machines API, GraphQL, Prometheus, Fly Proxy, deploys, hosts and a Consul, with faults on
//! demand.
//!
//! It stands in for the real thing in the demo, in tests over sockets and in tests that are repeated exactly by their
//! seed. It imports nothing of the program that it tries, and writes the services' JSON itself, so that a field misread
//! by the client cannot be miswritten here in the same way.
//!
//! [`Simulator`] is the handle: [`Simulator::platform`] is the scene, set and read by plain methods of [`Platform`];
//! [`Simulator::serve`] puts it on a socket and [`Simulator::call`] is one exchange in process. Time comes from a
//! [`Clock`]. What went over the wire is in [`Platform::requests`], what it led to in [`Platform::changes`].
//!
//! Deliberately absent: persistence, TLS, HTTP/2, and every endpoint that an autoscaler has no use for (a call to one is
//! answered with 404 and found in [`Platform::unexpected`]).

mod access;
mod clock;
mod consul;
mod faults;
mod graphql;
mod limits;
mod machines_api;
mod prometheus_api;
mod random;
mod records;
mod server;
mod state;
mod traffic;
mod wire;

use std::time::Duration;

use jiff::Timestamp;

pub use self::{
    access::{Access, Token},
    clock::Clock,
    consul::{Consul, ConsulRight},
    faults::{Canned, Effect, Fault, FaultHook, FaultId, Operation, RequestInfo},
    limits::{Rate, RateLimits, RetryAfter},
    random::Random,
    records::{Actor, Change, ChangeKind, Log, RequestRecord},
    server::{CallError, Simulator},
    state::{
        App, Autostop, Check, Curve, Deploy, Endings, Failures, Host, HostStatus, InvalidConfig,
        Lease, Machine, MachineConfig, MachineEvent, MachineState, MetricsSettings, NewMachine,
        NewVolume, Outcome, Platform, ProxySettings, Refusal, Release, Strategy, Timing, Volume,
    },
    traffic::DailyCurve,
};

/// What a simulator starts with; most of it can be changed later.
#[derive(Debug, Clone)]
pub struct Options {
    /// What all chance depends on.
    pub seed: u64,
    /// What the clock on the wall shows at the start.
    pub epoch: Timestamp,
    /// How time passes.
    pub clock: Clock,
    /// How long things take.
    pub timing: Timing,
    /// Who may use the Machines API and GraphQL.
    pub machines_access: Access,
    /// Who may query metrics.
    pub prometheus_access: Access,
    /// How often one may ask.
    pub rate_limits: RateLimits,
    /// How metrics are seen.
    pub metrics: MetricsSettings,
    /// How long each request is under way, in simulated time.
    pub latency: Duration,
    /// How many hosts a region has; at least 1.
    pub hosts_per_region: u32,
    /// The region of a machine that is created without one.
    pub default_region: String,
    /// Whether lists come in another order each time.
    pub shuffled_lists: bool,
    /// How many requests, and how many changes, are remembered.
    pub log_capacity: usize,
    /// How far lists and metrics can look back.
    pub history: Duration,
}

impl Default for Options {
    /// Everybody may ask, at Fly's rates; metrics are seen at once; life's pace; 2026-01-02 03:04:05 UTC.
    fn default() -> Self {
        Self {
            seed: 1,
            epoch: Timestamp::constant(1_767_323_045, 0),
            clock: Clock::default(),
            timing: Timing::default(),
            machines_access: Access::Anyone,
            prometheus_access: Access::Anyone,
            rate_limits: RateLimits::default(),
            metrics: MetricsSettings::default(),
            latency: Duration::ZERO,
            hosts_per_region: 3,
            default_region: "ord".to_owned(),
            shuffled_lists: false,
            log_capacity: 10_000,
            history: Duration::from_secs(180),
        }
    }
}

//! The decisions: what a machine counts as, how targets are limited, what a pass would do, and what is remembered.
//!
//! Pure and total: no sockets, no clocks, no environment, no logging. The time is an argument ([`Now`]), the order of
//! the machine list never changes a result, and everything a pass decided is data that can be printed and compared.
//! Carrying a decision out is `act`'s task; nothing that could be decided here is decided there.

mod backoff;
mod busy;
mod codes;
mod decided;
mod doubt;
mod evaluate;
mod fingerprint;
mod fleet_name;
mod group;
mod lately;
mod limits;
mod list;
mod machine;
mod memory;
mod note;
mod observe;
mod order;
mod placement;
mod plan;
mod policy;
mod pulse;
mod release;
mod steps;
mod surplus;
mod target;
mod template;
#[cfg(test)]
mod tests;
mod unlisted;
mod unsettled;
mod window;

pub use busy::{Busyness, Load};
pub use codes::{NOTE_CODES, REASON_CODES};
pub use decided::decided_by;
pub use doubt::Doubt;
pub use evaluate::{Counts, Evaluation, ExpressionBand, TargetError, TargetExpressions, to_count};
pub use fingerprint::Fingerprint;
pub use fleet_name::{FleetName, FleetParts};
pub use group::{
    Elsewhere, Group, regions_left_out, regions_of, strays_of, which_regions_are_fleets,
};
pub use lately::Lately;
pub use limits::{Limited, limit};
pub use list::{Ids, MachineList};
pub use machine::{DEFAULT_KILL_TIMEOUT, Machine, MachineConfig, State, StateLabel};
pub use memory::{ActingPass, Effect, Memory, stuck_after};
pub use note::Note;
pub use observe::{Member, Observed, Presence, SETTLE_TIME};
pub use order::clone_source;
pub use placement::Placement;
pub use plan::{Action, CloneSource, Decision, Plan, PlanFailure, Planner, Reason, Victim};
pub use policy::{EVERY_GROUP, Fallback, InitialState, Policy, Step, StopAction, UpDown};
pub use pulse::{BEAT, Pause, Pulse, Standstills};
pub use release::{DeploySign, Release, ReleaseView, Withheld};
pub use target::{Bounds, Kind, Target, Targets};
pub use template::CloneTemplate;
pub(crate) use template::{Mount, RawObject, raw_json};
pub use unlisted::{Answer, ids_to_ask};
pub use unsettled::Unsettled;

use std::time::Instant;

/// The time of a pass: both clocks, read once by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock: for everything that is remembered between passes.
    pub monotonic: Instant,
    /// The wall clock: for comparing with times that Fly reports, and for expressions.
    pub wall: jiff::Timestamp,
}

/// Whether an id is one of these, which are sorted: they can be all that there are.
fn is_among(id: &str, sorted: &[impl AsRef<str>]) -> bool {
    let found = sorted.binary_search_by(|other| other.as_ref().cmp(id));
    found.is_ok()
}

/// A length as a count of machines.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

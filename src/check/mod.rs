//! `check`: from what was seen of a configuration to steps, each with what was found and what to do about it.
//!
//! Pure: the command asks ([`Seen`] is what it brings back), and everything that is said of the answers is decided here, so
//! that each sentence and each hint can be tried without a server. What a pass would do is not worked out here either:
//! it comes from the code that the daemon itself decides by.
//!
//! Deliberately absent: a look at what only a running daemon knows. A check begins with an empty memory, as the daemon
//! does after a start.

mod apps;
mod by_region;
mod configuration;
mod expressions;
mod hints;
mod lock;
mod machines;
mod metrics;
mod outcome;
mod peers;
mod proxy;
mod report;
mod seen;
mod source_hints;
mod steps;
#[cfg(test)]
mod tests;
mod token;

pub use self::{
    apps::{App, Matched, of_another_policy, of_apps, of_fleets, unlisted_apps},
    configuration::{Port, accepted, refused, unreadable},
    expressions::worked_out,
    lock::lock,
    machines::left_out,
    peers::peers,
    report::{Report, Status, Step, StepKind},
    seen::{Crowd, Fleet, Reading, Seen, Wanted},
    steps::steps,
};

//! What would have happened: the daemon's own decisions over the past of its metrics, and a model of the fleet.
//!
//! Each step of a [`History`] is a pass: the real evaluation, limits and plan, with a real memory, at the time of the step.
//! What acting would have brought about is done to a model instead, in which everything succeeds: a create or start
//! takes the time to boot, a stop or destroy is at once. So limits, stabilization, steps, floors and fallbacks act as they
//! do in `serve`, and nothing here can disagree with it. Not in the model: deploys, refused or slow calls, hosts that do not
//! answer, the pace of creates.
//!
//! Pure: times are arguments, and nothing is asked for. Results are shown by [`terminal`] and [`page`], and [`export`] writes
//! them into what it is given.

pub mod export;
mod figures;
mod fleet;
mod history;
pub mod page;
mod replay;
pub mod report;
pub mod terminal;

pub use self::{
    figures::{FLAP, Figures},
    history::{History, HistoryError, MOST_STEPS},
    replay::{MOST_MACHINES, Missing, Outcome, Point, Replay, Start, TooMany},
};

//! The story of the demo: a day of a simulated Fly platform, and what is told of it.
//!
//! [`script`] says what happens when and at which speed, [`stage`] sets the platform up and lets it happen there,
//! [`Director`] goes through the script as the platform's time passes, [`Relay`] lets copies of the daemon take turns, and
//! [`Tally`] is what has happened so far, in words at the end. All of it is driven by the platform's own time and does no
//! I/O: the command `demo` puts the platform on a socket and the daemon beside it, and tests play the same day under paused
//! time.

mod director;
pub mod relay;
pub mod script;
pub mod stage;
mod summary;
mod tally;

pub use self::{
    director::{Director, LOOK, Told},
    relay::{HandOvers, Move, Relay},
    script::{Cue, Event, Phase, Speed},
    stage::{Cast, MOST_APPS, MOST_COPIES},
    summary::{Passes, summary},
    tally::{Range, Tally},
};

//! The two clocks of a pass, read together.

use jiff::Timestamp;
use tokio::time::Instant;

use crate::scaling::Now;

/// Where the time comes from.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// The machine's clocks.
    System,
    /// The runtime's monotonic clock, which tests can pause, and a wall clock that moves with it.
    Simulated {
        /// The wall clock at `since`.
        epoch: Timestamp,
        /// When the runtime's clock stood at `epoch`.
        since: Instant,
    },
}

impl Clock {
    /// The time now.
    #[must_use]
    pub fn now(&self) -> Now {
        let monotonic = Instant::now();
        let wall = match self {
            Self::System => Timestamp::now(),
            Self::Simulated { epoch, since } => epoch
                .checked_add(monotonic.duration_since(*since))
                .unwrap_or(Timestamp::MAX),
        };
        Now {
            monotonic: monotonic.into_std(),
            wall,
        }
    }
}

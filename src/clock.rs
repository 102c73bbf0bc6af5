//! The two clocks of a pass, read together, and whether somebody has looked at them all the time.

use std::{
    convert::Infallible,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::scaling::{Attention, BEAT, Now};

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
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the wall clock is read"
    )]
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

/// Looks at the clocks while a pass is under way, so that it knows whether the process stood still meanwhile.
#[derive(Debug)]
pub struct Watch {
    clock: Clock,
    attention: Mutex<Attention>,
    lapsed: AtomicBool,
}

impl Watch {
    /// Begins to watch.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            attention: Mutex::new(Attention::since(clock.now())),
            lapsed: AtomicBool::new(false),
        }
    }

    /// Set once the process has stood still, as far as the last look has shown.
    pub fn lapsed(&self) -> &AtomicBool {
        &self.lapsed
    }

    /// Whether the process has stood still since this was made.
    pub fn stood_still(&self) -> bool {
        self.look(self.clock.now())
    }

    fn look(&self, now: Now) -> bool {
        let mut attention = self
            .attention
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let lapsed = attention.look(now);
        self.lapsed.store(lapsed, Ordering::Relaxed);
        lapsed
    }

    /// Looks as often as has to be, for as long as this is polled, and tells `looked` the time of each look.
    pub async fn keep_looking(&self, looked: impl Fn(Now)) -> Infallible {
        loop {
            tokio::time::sleep(BEAT).await;
            let now = self.clock.now();
            looked(now);
            self.look(now);
        }
    }
}

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

use crate::scaling::{BEAT, Now, Policy, Pulse};

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
    /// Whatever this says, for tests in which a machine is suspended: its wall clock then goes on alone.
    Told(fn() -> Now),
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
            Self::Told(now) => return now(),
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
pub struct Watch<'pass> {
    clock: Clock,
    policy: &'pass Policy,
    pulse: &'pass Mutex<Pulse>,
    began: Now,
    lapsed: AtomicBool,
}

impl<'pass> Watch<'pass> {
    /// Watches over a pass that `began` and has told `pulse` so.
    #[must_use]
    pub fn new(
        clock: Clock,
        policy: &'pass Policy,
        pulse: &'pass Mutex<Pulse>,
        began: Now,
    ) -> Self {
        Self {
            clock,
            policy,
            pulse,
            began,
            lapsed: AtomicBool::new(false),
        }
    }

    /// Set once the process has stood still, as far as the last look has shown.
    pub fn lapsed(&self) -> &AtomicBool {
        &self.lapsed
    }

    /// Whether the process has stood still since the pass began.
    pub fn stood_still(&self) -> bool {
        let mut pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        let lapsed = pulse.look(self.policy, self.began, self.clock.now());
        self.lapsed.store(lapsed, Ordering::Relaxed);
        lapsed
    }

    /// Looks as often as has to be, for as long as this is polled.
    pub async fn keep_looking(&self) -> Infallible {
        loop {
            tokio::time::sleep(BEAT).await;
            self.stood_still();
        }
    }
}

//! Where the simulator's time comes from.

use std::time::Duration;

use tokio::time::Instant;

/// How time passes in a simulator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Clock {
    /// With the runtime's clock, this many times as fast; under a paused runtime that is simulated time.
    Running {
        /// 1 is life's pace; must be positive and finite.
        speed: f64,
    },
    /// Only when it is told to.
    Stepped,
}

impl Default for Clock {
    fn default() -> Self {
        Self::Running { speed: 1.0 }
    }
}

impl Clock {
    /// How many times as fast as the runtime's clock; 1 for a stepped one.
    pub(super) fn speed(self) -> f64 {
        match self {
            Self::Running { speed } if speed.is_finite() && speed > 0.0 => speed,
            _ => 1.0,
        }
    }

    /// The time since `start`; `None` when it does not pass by itself.
    pub(super) fn since(self, start: Instant) -> Option<Duration> {
        match self {
            Self::Running { .. } => {
                let lived = start.elapsed();
                let speed = self.speed();
                // A pace of 1 must be exact: a test compares durations to the nanosecond.
                if (speed - 1.0).abs() < f64::EPSILON {
                    return Some(lived);
                }
                Some(Duration::try_from_secs_f64(lived.as_secs_f64() * speed).unwrap_or(lived))
            }
            Self::Stepped => None,
        }
    }

    /// How long to wait on the runtime's clock for `simulated` to pass.
    pub(super) fn wait(self, simulated: Duration) -> Duration {
        Duration::try_from_secs_f64(simulated.as_secs_f64() / self.speed()).unwrap_or(simulated)
    }
}

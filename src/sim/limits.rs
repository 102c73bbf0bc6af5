//! The Machines API's rate limits: for each action and identifier, so many requests a second after a short burst.
//!
//! The identifier is the machine, or the app where no machine is named. The table of those seen is bounded: an entry
//! that limits nothing any more is dropped.

use std::{collections::BTreeMap, time::Duration};

use super::faults::Operation;

/// How many identifiers are kept before those that limit nothing are dropped.
const KEPT: usize = 4096;

/// A sustained rate and what may come at once before it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The time between two requests.
    pub every: Duration,
    /// How many may come at once after a pause.
    pub burst: u32,
}

/// What a 429 says about when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetryAfter {
    /// Nothing.
    #[default]
    Absent,
    /// Whole seconds.
    Seconds,
    /// An HTTP date.
    Date,
}

/// The limits that hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Whether there are any.
    pub enabled: bool,
    /// The rate of reading one machine.
    pub get: Rate,
    /// The rate of every other action.
    pub other: Rate,
    /// What a 429 says.
    pub retry_after: RetryAfter,
}

impl Default for RateLimits {
    /// Fly's documented limits, without `Retry-After`, which is not documented.
    fn default() -> Self {
        Self {
            enabled: true,
            get: Rate {
                every: Duration::from_millis(200),
                burst: 10,
            },
            other: Rate {
                every: Duration::from_secs(1),
                burst: 3,
            },
            retry_after: RetryAfter::Absent,
        }
    }
}

/// Who has used up how much.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    /// When each identifier's burst would be full again.
    full: BTreeMap<(Operation, String), Duration>,
}

impl Limiter {
    /// Counts a request at `now`.
    ///
    /// # Errors
    ///
    /// When it is one too many: how long until the next is allowed.
    pub(super) fn admit(
        &mut self,
        limits: &RateLimits,
        operation: Operation,
        identifier: &str,
        now: Duration,
    ) -> Result<(), Duration> {
        if !limits.enabled {
            return Ok(());
        }
        if self.full.len() >= KEPT {
            self.full.retain(|_, full| *full > now);
        }
        let rate = if operation == Operation::Get {
            limits.get
        } else {
            limits.other
        };
        let full = self
            .full
            .entry((operation, identifier.to_owned()))
            .or_default();
        let next = (*full).max(now).saturating_add(rate.every);
        let allowed = now.saturating_add(rate.every.saturating_mul(rate.burst.max(1)));
        if next > allowed {
            return Err(next.saturating_sub(allowed));
        }
        *full = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_the_rate() {
        let limits = RateLimits::default();
        let mut limiter = Limiter::default();
        let ms = Duration::from_millis;
        let cases = [
            ("burst", ms(0), Ok(())),
            ("burst", ms(0), Ok(())),
            ("burst", ms(0), Ok(())),
            ("one too many", ms(0), Err(ms(1000))),
            ("still", ms(400), Err(ms(600))),
            ("one is due", ms(1000), Ok(())),
            ("and no more", ms(1000), Err(ms(1000))),
            ("a full burst after a pause", ms(60_000), Ok(())),
        ];
        for (name, now, expected) in cases {
            let admitted = limiter.admit(&limits, Operation::Create, "web", now);
            assert_eq!(admitted, expected, "{name} at {now:?}");
        }
    }

    #[test]
    fn limits_are_of_one_action_and_one_identifier() {
        let limits = RateLimits::default();
        let mut limiter = Limiter::default();
        let now = Duration::ZERO;
        for _ in 0..3 {
            assert!(limiter.admit(&limits, Operation::Start, "m1", now).is_ok());
        }
        assert!(limiter.admit(&limits, Operation::Start, "m1", now).is_err());
        assert!(limiter.admit(&limits, Operation::Stop, "m1", now).is_ok());
        assert!(limiter.admit(&limits, Operation::Start, "m2", now).is_ok());
        let reads = (0..20)
            .filter(|_| limiter.admit(&limits, Operation::Get, "m1", now).is_ok())
            .count();
        assert_eq!(reads, 10);
    }

    #[test]
    fn the_table_stays_bounded() {
        let limits = RateLimits::default();
        let mut limiter = Limiter::default();
        for second in 0..3 * u64::try_from(KEPT).unwrap_or(0) {
            let now = Duration::from_secs(second);
            let _ = limiter.admit(&limits, Operation::Get, &second.to_string(), now);
        }
        assert!(limiter.full.len() <= KEPT);
    }
}

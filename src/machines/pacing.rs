//! Rates and repetitions: ahead of the server's limits, and after its refusals.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use backon::ExponentialBuilder;
use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout_at,
};

use super::error::ApiErrorCause;

/// The least that one attempt may take where as much is left of the pass.
const SHORTEST_LIMIT: Duration = Duration::from_secs(15);

/// Attempts of an idempotent call, the first included.
pub(super) const ATTEMPTS: usize = 4;

/// The pause before the first repetition; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How much longer the pauses are after a 429 without `Retry-After`: the documented rates are per second.
const RATE_LIMIT_FACTOR: u32 = 10;

/// Which outcomes of a call may be followed by another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repetition {
    /// The call may be repeated whatever became of it.
    Idempotent,
    /// The call may be repeated only where it surely had no effect.
    OnlyIfNothingHappened,
}

impl Repetition {
    pub(super) fn follows(self, cause: &ApiErrorCause) -> bool {
        match self {
            Self::Idempotent => cause.is_transient(),
            Self::OnlyIfNothingHappened => cause.allows_another_create(),
        }
    }
}

/// How long one attempt may take with `left` until the deadline: half of it, so that one that hangs leaves time for
/// another, but never less than 15 s where there is as much. No other limit hides behind `FAS_TIMEOUT`.
pub(super) fn attempt_limit(left: Duration) -> Duration {
    (left / 2).max(SHORTEST_LIMIT).min(left)
}

/// The pauses between attempts; `seed` makes their jitter reproducible.
pub(super) fn pauses(seed: u64) -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_factor(2.0)
        .with_max_times(ATTEMPTS - 1)
        .with_jitter()
        .with_jitter_seed(seed)
}

/// How long to pause after `cause` before the next attempt; `None` to give up, as when the pause would outlast
/// `remaining`.
pub(super) fn pause_after(
    cause: &ApiErrorCause,
    pause: Option<Duration>,
    remaining: Duration,
) -> Option<Duration> {
    let pause = pause?;
    let pause = match cause {
        ApiErrorCause::Status {
            status: 429,
            retry_after,
            ..
        } => retry_after
            .unwrap_or_else(|| pause.saturating_mul(RATE_LIMIT_FACTOR))
            .max(FIRST_PAUSE),
        _ => pause,
    };
    (pause < remaining).then_some(pause)
}

/// A source of jitter seeds: distinct for every call, the same in every run from the same beginning.
#[derive(Debug)]
pub(super) struct JitterSeeds(AtomicU64);

impl JitterSeeds {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)
    }
}

/// The documented rate of creates of one app: one a second, bursts of three.
#[derive(Debug)]
pub(super) struct CreatePace(
    RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Instant>>,
);

impl CreatePace {
    pub(super) fn new() -> Self {
        const BURST: std::num::NonZeroU32 = std::num::NonZeroU32::new(3).expect("3 is not zero");
        let one = std::num::NonZeroU32::MIN;
        Self(RateLimiter::direct_with_clock(
            Quota::per_second(one).allow_burst(BURST),
            TokioClock,
        ))
    }

    /// Waits for one of `places` and for the next turn, and takes both; `None` where there were none before `begin_before`,
    /// or once `is_open` no longer holds.
    ///
    /// A turn is taken by who has a place: turns that wait for places would come all at once when these become free.
    ///
    /// Cancel safe: a turn is taken at the very end.
    pub(super) async fn wait_turn<'places>(
        &self,
        places: &'places Semaphore,
        begin_before: tokio::time::Instant,
        is_open: impl Fn() -> bool,
    ) -> Option<SemaphorePermit<'places>> {
        while is_open() {
            let place = timeout_at(begin_before, places.acquire())
                .await
                .ok()?
                .ok()?;
            let now = tokio::time::Instant::now();
            if !is_open() || now >= begin_before {
                return None;
            }
            let Some(wait) = self.turn() else {
                return Some(place);
            };
            // For other calls meanwhile.
            drop(place);
            tokio::time::sleep_until(begin_before.min(now + wait)).await;
        }
        None
    }

    /// Takes the next turn: how long to wait for it, `None` when it is now.
    fn turn(&self) -> Option<Duration> {
        let refused = self.0.check().err()?;
        Some(
            refused
                .wait_time_from(TokioClock.now())
                .max(Duration::from_millis(1)),
        )
    }
}

/// The runtime's clock, which tests can pause.
#[derive(Debug, Clone, Copy)]
struct TokioClock;

impl Clock for TokioClock {
    type Instant = Instant;

    fn now(&self) -> Self::Instant {
        tokio::time::Instant::now().into_std()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::TransportError;

    fn status(status: u16, retry_after: Option<u64>) -> ApiErrorCause {
        ApiErrorCause::Status {
            status,
            message: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn only_what_surely_did_not_happen_is_created_again() {
        let cut = || ApiErrorCause::Transport(TransportError::Interrupted("reset".into()));
        let refused = || ApiErrorCause::Transport(TransportError::Connect("refused".into()));
        let cases = [
            (
                "401",
                ApiErrorCause::Unauthorized {
                    status: Some(401),
                    message: String::new(),
                },
                false,
                false,
            ),
            ("404", status(404, None), false, false),
            ("408", status(408, None), true, false),
            ("409", status(409, None), false, false),
            ("412", status(412, None), false, false),
            ("422", status(422, None), false, false),
            ("429", status(429, None), true, true),
            ("500", status(500, None), true, false),
            ("503", status(503, None), true, false),
            (
                "timeout",
                ApiErrorCause::Timeout {
                    waited: Duration::ZERO,
                    by_lock: false,
                },
                true,
                false,
            ),
            ("reset", cut(), true, false),
            ("connection refused", refused(), true, true),
            (
                "too large",
                ApiErrorCause::Transport(TransportError::BodyTooLarge { limit: 1 }),
                false,
                false,
            ),
            (
                "compressed by something unknown",
                ApiErrorCause::Transport(TransportError::Encoding {
                    problem: "br".to_owned(),
                }),
                false,
                false,
            ),
            (
                "no proxy",
                ApiErrorCause::Transport(TransportError::Proxy {
                    proxy: "http://proxy (HTTPS_PROXY)".to_owned(),
                    source: "refused".into(),
                }),
                true,
                true,
            ),
            (
                "garbage",
                ApiErrorCause::Decode("x".to_owned()),
                false,
                false,
            ),
            ("shutdown", ApiErrorCause::ShuttingDown, false, false),
        ];
        for (name, cause, idempotent, create) in cases {
            assert_eq!(Repetition::Idempotent.follows(&cause), idempotent, "{name}");
            assert_eq!(
                Repetition::OnlyIfNothingHappened.follows(&cause),
                create,
                "{name}"
            );
        }
    }

    #[test]
    fn an_attempt_takes_at_most_half_of_what_is_left_and_15_s_are_never_too_long() {
        let cases = [
            (0, 0),
            (9, 9),
            (15, 15),
            (16, 15),
            (30, 15),
            (31, 15),
            (40, 20),
            (120, 60),
        ];
        for (left, limit) in cases {
            let (left, limit) = (Duration::from_secs(left), Duration::from_secs(limit));
            assert!(
                attempt_limit(left).abs_diff(limit) < Duration::from_secs(1),
                "{left:?}"
            );
            assert!(attempt_limit(left) <= left, "{left:?}");
        }
    }

    #[test]
    fn a_pause_is_what_the_server_says_and_never_outlasts_the_deadline() {
        let tenth = Some(Duration::from_millis(100));
        let minute = Duration::from_secs(60);
        let cases = [
            ("5xx", status(500, None), tenth, minute, tenth),
            (
                "429 says 7 s",
                status(429, Some(7)),
                tenth,
                minute,
                Some(Duration::from_secs(7)),
            ),
            ("429 says 0 s", status(429, Some(0)), tenth, minute, tenth),
            (
                "429 says nothing",
                status(429, None),
                tenth,
                minute,
                Some(Duration::from_secs(1)),
            ),
            (
                "429 says more than is left",
                status(429, Some(61)),
                tenth,
                minute,
                None,
            ),
            (
                "nothing is left",
                status(500, None),
                tenth,
                Duration::ZERO,
                None,
            ),
            (
                "all attempts are spent",
                status(500, None),
                None,
                minute,
                None,
            ),
        ];
        for (name, cause, pause, remaining, expected) in cases {
            assert_eq!(pause_after(&cause, pause, remaining), expected, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn creates_follow_the_documented_rate() {
        let pace = CreatePace::new();
        for _ in 0..3 {
            assert_eq!(pace.turn(), None);
        }
        let wait = pace.turn().expect("the burst is spent");
        assert!(
            wait > Duration::from_millis(900) && wait <= Duration::from_secs(1),
            "{wait:?}"
        );
        tokio::time::advance(wait).await;
        assert_eq!(pace.turn(), None);
        assert!(pace.turn().is_some());
    }
}

//! How long creating pauses after it failed: 1, 2, 4 … intervals, at most five minutes.

use std::time::{Duration, Instant};

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// The pause after creates that failed, of an app or of one region.
///
/// Two reasons are counted apart. A refusal ends with the next accepted create. A clone that failed or vanished soon
/// after its create was accepted ends only when a later clone has lived, or the pause would never grow.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backoff {
    refusals: u32,
    lost_clones: u32,
    /// The pass of the last failure: the pause doubles from pass to pass, however many creates fail in one.
    failed_in: Option<Instant>,
    /// Whether nothing has succeeded since, here or elsewhere in the app.
    in_vain: bool,
    until: Option<Instant>,
}

impl Backoff {
    /// A create was refused, or its outcome is unknown. `pass_start` is when the pass began, so that a pause of one
    /// interval ends with the very next pass.
    pub(crate) fn refused(&mut self, interval: Duration, pass_start: Instant) {
        self.refusals = self.refusals.saturating_add(self.counts(pass_start));
        self.pause(interval, pass_start);
    }

    /// A clone failed or vanished within minutes of its create.
    pub(crate) fn lost_clone(&mut self, interval: Duration, pass_start: Instant) {
        self.lost_clones = self.lost_clones.saturating_add(self.counts(pass_start));
        self.pause(interval, pass_start);
    }

    /// A create was accepted.
    pub(crate) fn accepted(&mut self) {
        self.refusals = 0;
        self.failed_in = None;
        self.in_vain = false;
        self.until = None;
    }

    /// A create of the app was accepted elsewhere.
    pub(crate) fn accepted_elsewhere(&mut self) {
        self.in_vain = false;
    }

    /// When the pass of the last failure began, if no create of the app was accepted since.
    pub(crate) fn failed_in_vain(&self) -> Option<Instant> {
        self.failed_in.filter(|_| self.in_vain)
    }

    /// A clone has lived.
    pub(crate) fn clone_lived(&mut self) {
        self.lost_clones = 0;
    }

    /// The pause that is left, if any.
    pub(crate) fn remaining(&self, now: Instant) -> Option<Duration> {
        self.until
            .map(|until| until.saturating_duration_since(now))
            .filter(|remaining| !remaining.is_zero())
    }

    /// Whether nothing is left of it, so that it need not be kept.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.lost_clones == 0
            && self
                .until
                .is_none_or(|until| now.saturating_duration_since(until) >= LONGEST)
    }

    /// 1 for the first failure of a pass, 0 for the others.
    fn counts(&mut self, pass_start: Instant) -> u32 {
        u32::from(self.failed_in.replace(pass_start) != Some(pass_start))
    }

    fn pause(&mut self, interval: Duration, pass_start: Instant) {
        let failures = self.refusals.saturating_add(self.lost_clones).clamp(1, 32);
        let pause = interval
            .saturating_mul(1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX))
            .min(LONGEST);
        self.in_vain = true;
        self.until = Some(pass_start + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let start = Instant::now();
        let interval = Duration::from_secs(15);
        let mut backoff = Backoff::default();
        assert_eq!(backoff.remaining(start), None);
        let mut pass = start;
        for seconds in [15, 30, 60, 120, 240, 300, 300] {
            pass += Duration::from_secs(600);
            backoff.refused(interval, pass);
            assert_eq!(backoff.remaining(pass), Some(Duration::from_secs(seconds)));
        }
        for _ in 0..100 {
            pass += Duration::from_secs(600);
            backoff.refused(interval, pass);
        }
        assert_eq!(backoff.remaining(pass), Some(LONGEST));
        backoff.accepted();
        assert_eq!(backoff.remaining(pass), None);
        backoff.refused(interval, pass);
        assert_eq!(
            backoff.remaining(pass + interval),
            None,
            "one interval ends with the next pass"
        );
    }

    #[test]
    fn many_failures_of_one_pass_double_the_pause_once() {
        let start = Instant::now();
        let interval = Duration::from_secs(15);
        let mut backoff = Backoff::default();
        for _ in 0..3 {
            backoff.refused(interval, start);
            backoff.lost_clone(interval, start);
        }
        assert_eq!(backoff.remaining(start), Some(interval));
        let next = start + interval;
        for _ in 0..3 {
            backoff.lost_clone(interval, next);
            backoff.refused(interval, next);
        }
        assert_eq!(backoff.remaining(next), Some(2 * interval));
    }

    #[test]
    fn an_accepted_create_does_not_forget_lost_clones() {
        let start = Instant::now();
        let interval = Duration::from_secs(15);
        let mut backoff = Backoff::default();
        for seconds in [15, 30, 60] {
            backoff.accepted();
            backoff.lost_clone(interval, start);
            assert_eq!(backoff.remaining(start), Some(Duration::from_secs(seconds)));
        }
        backoff.accepted();
        backoff.clone_lived();
        backoff.lost_clone(interval, start);
        assert_eq!(backoff.remaining(start), Some(interval));
    }
}

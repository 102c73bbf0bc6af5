//! Whether the process stood still, as one that is frozen or whose machine is suspended does.
//!
//! What must have lasted for some time is known at the moments at which passes look, and two of them are no proof of the
//! time between. Passes over one app may be far apart because the pool is busy with others; then something is looked at
//! all the time. In a standstill nothing is.

use std::time::{Duration, Instant};

use super::{Now, Policy};

/// How much later than it should a pass may begin or end, or a look at the clocks come, before that is a standstill.
const LATENESS: Duration = Duration::from_secs(5);

/// How often somebody has to look at the clocks while a pass is under way; see [`Pulse::look`].
pub const BEAT: Duration = Duration::from_secs(1);

/// When passes, over whatever app, began and ended.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    /// The last beginning, look or end.
    last: Option<Now>,
    running: usize,
    standstill: Option<Instant>,
}

impl Pulse {
    /// A pass begins; returns the moment at which the last standstill ended.
    pub fn begin(&mut self, policy: &Policy, now: Now) -> Option<Instant> {
        self.beat(policy, now);
        self.running += 1;
        self.standstill
    }

    /// A pass ended.
    pub fn end(&mut self, policy: &Policy, now: Now) {
        self.beat(policy, now);
        self.running = self.running.saturating_sub(1);
    }

    /// A pass that is under way since `began` looks at the clocks, at least once a [`BEAT`]; returns whether the process has
    /// stood still since: what that pass has seen is then old by a time in which nobody looked, however little of its own
    /// time it has used.
    pub fn look(&mut self, policy: &Policy, began: Now, now: Now) -> bool {
        self.beat(policy, now);
        self.standstill.is_some_and(|ended| ended > began.monotonic)
    }

    /// Between passes there is an interval at most, and while one is under way it looks at the clocks.
    fn beat(&mut self, policy: &Policy, now: Now) {
        let longest = if self.running == 0 {
            let two_intervals = policy.interval.saturating_mul(2);
            two_intervals.saturating_add(policy.timeout.min(LATENESS))
        } else {
            BEAT + LATENESS
        };
        if self.last.is_some_and(|last| elapsed(last, now) > longest) {
            self.standstill = Some(now.monotonic);
        }
        self.last = Some(now);
    }
}

/// The time from one moment to the other, by the clock that says more: the monotonic one may stand still with its machine.
fn elapsed(from: Now, to: Now) -> Duration {
    let wall = Duration::try_from(to.wall.duration_since(from.wall)).unwrap_or_default();
    to.monotonic
        .saturating_duration_since(from.monotonic)
        .max(wall)
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    /// A pass that looks each second, by seconds of the monotonic clock, and by how much the wall clock is ahead of it by
    /// then.
    type Pass = (u64, u64, i64);

    /// In which passes a standstill is noticed.
    fn noticed(policy: &Policy, passes: &[Pass]) -> Vec<usize> {
        let start = Instant::now();
        let at = |second: u64, ahead: i64| Now {
            monotonic: start + Duration::from_secs(second),
            wall: Timestamp::UNIX_EPOCH
                + SignedDuration::from_secs(i64::try_from(second).expect("small") + ahead),
        };
        let mut pulse = Pulse::default();
        let mut before = None;
        let mut noticed = Vec::new();
        for (number, (begins, ends, ahead)) in passes.iter().enumerate() {
            let began = at(*begins, *ahead);
            let standstill = pulse.begin(policy, began);
            if standstill != before {
                noticed.push(number);
                before = standstill;
            }
            for second in *begins..*ends {
                pulse.look(policy, began, at(second, *ahead));
            }
            pulse.end(policy, at(*ends, *ahead));
        }
        noticed
    }

    #[test]
    fn a_standstill_is_where_neither_a_pass_nor_a_pause_takes_as_long_as_it_did() {
        let cases: [(&str, &[Pass], &[usize]); 6] = [
            ("as usual", &[(0, 1, 0), (15, 16, 0), (30, 31, 0)], &[]),
            ("slow", &[(0, 30, 0), (30, 60, 0), (60, 90, 0)], &[]),
            (
                "a pause of two intervals and 5 s",
                &[(0, 1, 0), (36, 37, 0)],
                &[],
            ),
            ("a longer one", &[(0, 1, 0), (37, 38, 0), (52, 53, 0)], &[1]),
            (
                "the wall clock jumps with a suspended machine",
                &[(0, 1, 0), (15, 16, 3600), (30, 31, 3600)],
                &[1],
            ),
            ("it is set back", &[(0, 1, 0), (15, 16, -3600)], &[]),
        ];
        for (name, passes, expected) in cases {
            assert_eq!(noticed(&Policy::default(), passes), expected, "{name}");
        }
    }

    #[test]
    fn a_pass_may_take_as_long_as_the_timeout_says_and_a_pause_as_the_interval_says() {
        let policy = |interval, timeout| Policy {
            interval: Duration::from_secs(interval),
            timeout: Duration::from_secs(timeout),
            ..Policy::default()
        };
        let (patient, rare) = (policy(15, 120), policy(120, 15));
        let cases: [(&str, &Policy, &[Pass], &[usize]); 4] = [
            ("a slow pass", &patient, &[(0, 120, 0), (120, 121, 0)], &[]),
            ("no slow pass", &patient, &[(0, 1, 0), (120, 121, 0)], &[1]),
            ("a long pause", &rare, &[(0, 1, 0), (120, 121, 0)], &[]),
            ("a slow pass", &rare, &[(0, 120, 0), (120, 121, 0)], &[]),
        ];
        for (name, policy, passes, expected) in cases {
            assert_eq!(noticed(policy, passes), expected, "{name}");
        }
    }

    #[test]
    fn while_a_pass_is_under_way_a_standstill_shows_in_the_looks_that_did_not_come() {
        let start = Instant::now();
        let at = |second: u64| Now {
            monotonic: start + Duration::from_secs(second),
            wall: Timestamp::UNIX_EPOCH
                + SignedDuration::from_secs(i64::try_from(second).expect("small")),
        };
        let policy = Policy {
            timeout: Duration::from_secs(60),
            ..Policy::default()
        };
        for (frozen_until, expected) in [(16, None), (17, Some(start + Duration::from_secs(17)))] {
            let mut pulse = Pulse::default();
            pulse.begin(&policy, at(0));
            for second in 1..=10 {
                pulse.look(&policy, at(0), at(second));
            }
            // The first that wakes is a pass over another app.
            assert_eq!(pulse.begin(&policy, at(frozen_until)), expected);
        }
    }

    #[test]
    fn a_pass_notices_a_standstill_between_two_looks_at_either_clock() {
        // Seconds of the monotonic clock since the beginning, and by how much the wall clock is ahead by then.
        type Case<'case> = (&'case str, &'case [(u64, i64)], bool);
        let cases: [Case<'_>; 6] = [
            ("each second", &[(1, 0), (2, 0), (3, 0)], false),
            ("late by 5 s", &[(1, 0), (7, 0)], false),
            ("later", &[(1, 0), (8, 0)], true),
            ("at the first look", &[(7, 0)], true),
            ("a suspended machine", &[(1, 0), (2, 30)], true),
            ("the wall clock is set back", &[(1, 0), (2, -3600)], false),
        ];
        let start = Instant::now();
        let at = |second: u64, ahead: i64| Now {
            monotonic: start + Duration::from_secs(second),
            wall: Timestamp::UNIX_EPOCH
                + SignedDuration::from_secs(i64::try_from(second).expect("small") + ahead),
        };
        for (name, looks, expected) in cases {
            let (policy, began) = (Policy::default(), at(0, 0));
            let mut pulse = Pulse::default();
            pulse.begin(&policy, began);
            let mut lapsed = false;
            for (second, ahead) in looks {
                lapsed = pulse.look(&policy, began, at(*second, *ahead));
            }
            assert_eq!(lapsed, expected, "{name}");
            let (second, ahead) = looks.last().expect("a look");
            let later = pulse.look(&policy, began, at(second + 1, *ahead));
            assert_eq!(later, expected, "{name}: it stays so");
        }
    }
}
